# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests with other kernels than 6.12: what is written is what is read, copied and
# granted directly, out of a pool that has room and one that has not; and nothing
# stays granted.
#
# The newest kernel that Debian has: its rings map by the operations of the virtio
# device (Linux 6.18), and not by the DMA API, as those of a 6.12 guest do, which is
# beside it.  Debian's arm64-16k: pages of 16 KiB, while grants are of 4 KiB there as
# well.
#
# rig: kernels 6.12
# rig: needs backend kernel:newest kernel:6.12-16k modules program:vg-readers
# rig: timeout 480
# rig: long

. /vg/in/dom0/virtio.sh

# pool GUEST NAME: a statistic of its pool.
pool() {
	in_domain "$1" "cat /sys/bus/platform/devices/2000000.virtio/grant_pool/$2"
}

# probe GUEST PARAMETERS: its modules anew, with them.
probe() {
	in_domain -t 30 "$1" "rmmod virtio_grant_mmio virtio_grant virtio_grant_dma 2>/dev/null
		modprobe virtio_grant_dma $2" || fail "$2"
	load_ours "$1"
	has_disk "$1" vda
}

# load GUEST: requests of all sizes, from user memory and through the page cache.
load() {
	fio_verify "$1" vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
		--rw=randrw --bssplit=512/10:4k/30:12k/10:64k/30:256k/10:1m/10"
	fio_verify "$1" vda "--ioengine=psync --size=4m --rw=write --bs_unaligned \
		--bsrange=700-90001 --end_fsync=1"
}

copied() {
	local hits

	hits=$(stats DomD 'mem.range_hits')
	load "$1"
	hits=$(($(stats DomD 'mem.range_hits') - hits))
	result "range_hits_$1" "$hits"
	[ "$hits" -gt 100 ] || fail "the backend found only $hits buffers in the pool"
	expect 0 "$(pool "$1" small_in_use)" "small slots in use"
}

# directly GUEST KIB
directly() {
	local n

	probe "$1" "direct_kib=$2"
	load "$1"
	n=$(pool "$1" direct_mappings)
	result "direct_mappings_$1_$2" "$n"
	[ "$n" -gt 100 ] || fail "$n buffers were granted directly"
	expect 0 "$(pool "$1" pages_held)" "pages that the backend kept"
}

full_pool() {
	local reads

	probe "$1" pool_kib=1024
	reads=$(in_domain -t 120 "$1" 'vg-readers /dev/vda 15 8 16') ||
		fail "readers of a full pool: $reads"
	say "$reads; $(pool "$1" exhaustions) times there was no room"
	expect 0 "$(pool "$1" small_in_use)" "small slots in use after it"
}

nothing_is_left() {
	expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
	in_domain -t 30 "$1" 'rmmod virtio_grant_mmio'
	expect 0 "$(in_domain "$1" 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
		"quarantined pages"
	in_domain "$1" 'rmmod virtio_grant && rmmod virtio_grant_dma'
	if in_domain "$1" 'dmesg | grep -E "g\.e\. 0x.* still (in use|pending)"'; then
		fail "a grant was still in use"
	fi
	no_trouble "$1" DomD
	stop_guest "$1"
}

# traced GUEST: how often the DMA API was asked for the device during some I/O.
traced() {
	in_domain "$1" 'cd /sys/kernel/tracing 2>/dev/null && [ -e events ] ||
			{ mount -t tracefs tracefs /sys/kernel/tracing
			  cd /sys/kernel/tracing || exit 1; }
		echo >trace; echo 1 >events/dma/enable || exit 1
		dd if=/dev/vda of=/dev/null bs=4k count=256 iflag=direct 2>/dev/null ||
			exit 1
		echo 0 >events/dma/enable
		grep -c -F 2000000.virtio trace || :'
}

step "the daemons, a guest with the newest kernel and one with 6.12"
start_broker
start_driver DomD --copy-max=16384
start_ours new kernel=newest mem=512 vcpus=2 \
	"disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
start_ours old "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"
result kernel "$(in_domain new 'uname -r')"
in_domain new 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe'

step "who maps"
for g in new old; do
	before=$(pool $g mappings)
	n=$(traced $g) || fail "no tracing in $g: $n"
	result "dma_events_$g" "$n"
	[ $(($(pool $g mappings) - before)) -ge 256 ] || fail "$g mapped nothing"
	case "$g" in
	new) expect 0 "$n" "mappings of the newest kernel by the DMA API" ;;
	old) [ "$n" -ge 256 ] || fail "$n mappings of 6.12 by the DMA API" ;;
	esac
done
stop_guest old

step "the newest kernel: copied"
copied new
step "the newest kernel: direct_kib=4"
directly new 4
step "the newest kernel: a pool of 1 MiB, and 24 readers that want three times that"
full_pool new
nothing_is_left new

step "a guest with pages of 16 KiB"
start_guest wide kernel=6.12-16k mem=512 vcpus=2 \
	"disk=[$(virtio_disk /dev/ram2 xvda DomD)]"
expect 16 "$(in_domain wide "awk '/^KernelPageSize/ { print \$2; exit }' /proc/self/smaps")" \
	"KiB of a page"
in_domain wide 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe'

step "16 KiB: copied"
probe wide ''
copied wide
# Counted in 4 KiB, as grants are: 8 MiB, or a 32nd of 512 MiB.
expect 2048 "$(pool wide pages_total)" "pages of the pool"
[ "$(pool wide mapping_max_bytes)" -ge 16384 ] || fail "a page is no segment"
# Of a part of its pages, and of whole ones only.
for kib in 4 16; do
	step "16 KiB: direct_kib=$kib"
	directly wide $kib
done
step "16 KiB: a pool of 1 MiB, and 24 readers that want three times that"
full_pool wide
nothing_is_left wide
