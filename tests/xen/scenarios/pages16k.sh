# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest whose kernel has pages of 16 KiB, Debian's arm64-16k.  Grants are of 4 KiB
# there as well: what is written is what is read, copied and granted directly, out of
# a pool that has room and one that has not; and nothing stays granted.
#
# rig: kernels 6.12
# rig: needs backend kernel:6.12-16k modules program:vg-readers
# rig: timeout 300

. /vg/in/dom0/virtio.sh

# pool NAME: a statistic of G1's pool.
pool() {
	in_domain G1 "cat /sys/bus/platform/devices/2000000.virtio/grant_pool/$1"
}

# probe PARAMETERS: the modules anew, with them.
probe() {
	in_domain -t 30 G1 "rmmod virtio_grant_mmio virtio_grant_dma 2>/dev/null
		modprobe virtio_grant_dma $1" || fail "$1"
	load_ours G1
	has_disk G1 vda
}

# Requests of all sizes, from user memory and through the page cache.
load() {
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
		--rw=randrw --bssplit=512/10:4k/30:12k/10:64k/30:256k/10:1m/10"
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=4 --size=4m \
		--rw=randwrite --bsrange=512-128k --blockalign=512"
	fio_verify G1 vda "--ioengine=psync --size=4m --rw=write --bs_unaligned \
		--bsrange=700-90001 --end_fsync=1"
}

step "the daemons, and a guest with pages of 16 KiB"
start_broker
start_driver DomD --copy-max=16384
start_guest G1 kernel=6.12-16k mem=512 vcpus=2 \
	"disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
expect 16 "$(in_domain G1 "awk '/^KernelPageSize/ { print \$2; exit }' /proc/self/smaps")" \
	"KiB of a page"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe'

step "copied"
probe ''
load
# Counted in 4 KiB, as grants are: 8 MiB, or a 32nd of 512 MiB.
expect 2048 "$(pool pages_total)" "pages of the pool"
[ "$(pool mapping_max_bytes)" -ge 16384 ] || fail "a page is no segment"
hits=$(stats DomD 'mem.range_hits')
result range_hits "$hits"
[ "$hits" -gt 100 ] || fail "the backend found only $hits buffers in the pool"
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
expect 0 "$(pool small_in_use)" "small slots in use"

# Of a part of its pages, and of whole ones only.
for kib in 4 16; do
	step "direct_kib=$kib"
	probe "direct_kib=$kib"
	load
	n=$(pool direct_mappings)
	result "direct_mappings_$kib" "$n"
	[ "$n" -gt 100 ] || fail "$n buffers were granted directly"
	expect 0 "$(pool pages_held)" "pages that the backend kept"
done

step "a pool of 1 MiB, and 24 readers that want three times that"
probe pool_kib=1024
reads=$(in_domain -t 120 G1 'vg-readers /dev/vda 15 8 16') ||
	fail "readers of a full pool: $reads"
say "$reads; $(pool exhaustions) times there was no room"
result full_pool_exhaustions "$(pool exhaustions)"
expect 0 "$(pool small_in_use)" "small slots in use after it"

step "nothing is left"
in_domain -t 30 G1 'rmmod virtio_grant_mmio'
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"
in_domain G1 'rmmod virtio_grant_dma'
if in_domain G1 'dmesg | grep -E "g\.e\. 0x.* still (in use|pending)"'; then
	fail "a grant was still in use"
fi
no_trouble G1 DomD
stop_guest G1
