# SPDX-License-Identifier: GPL-2.0-or-later
#
# Direct grants (virtio_grant_dma.direct_kib), the guest's second mode: whole
# pages are granted where they are, everything else goes through the pool as
# always. What is written is what is read, both ways are really taken, and
# nothing stays granted or mapped. Then a pool that is far too small: requests
# wait for room, and no reader sees what was another's.
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-readers
# rig: timeout 300

. /vg/in/dom0/virtio.sh

# pool NAME: a statistic of G1's pool.
pool() {
	in_domain G1 "cat /sys/bus/platform/devices/2000000.virtio/grant_pool/$1"
}

# probe PARAMETER: the modules anew, with it.
probe() {
	in_domain -t 30 G1 "rmmod virtio_grant_mmio virtio_grant virtio_grant_dma 2>/dev/null
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

step "the daemons, and a guest that grants every whole page"
start_broker
# Mapped, as large requests of a trusted backend would be.
start_driver DomD --copy-max=16384
start_guest G1 vcpus=2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe'

for kib in 4 32; do
	step "direct_kib=$kib"
	probe "direct_kib=$kib"
	maps=$(stats DomD 'mem.maps')
	hits=$(stats DomD 'mem.range_hits')
	load
	n=$(pool direct_mappings)
	result "direct_mappings_$kib" "$n"
	result "mappings_$kib" "$(pool mappings)"
	if [ "$kib" = 4 ]; then
		[ "$n" -gt 1000 ] || fail "$n buffers were granted directly"
		[ "$(stats DomD 'mem.maps')" -gt "$maps" ] ||
			fail "the backend mapped nothing"
	fi
	[ "$(pool mappings)" -gt 1000 ] || fail "nothing was copied"
	[ "$(stats DomD 'mem.range_hits')" -gt "$hits" ] ||
		fail "the backend found nothing in the pool"
	expect 0 "$(pool pages_held)" "pages that the backend kept"
done

step "without, as ever"
probe direct_kib=0
load
expect 0 "$(pool direct_mappings)" "direct mappings"

step "a pool of 1 MiB, and 24 readers that want three times that"
probe pool_kib=1024
reads=$(in_domain -t 120 G1 'vg-readers /dev/vda 15 8 16') ||
	fail "readers of a full pool: $reads"
say "$reads; $(pool exhaustions) times there was no room"
result full_pool_reads "${reads%% *}"
result full_pool_exhaustions "$(pool exhaustions)"
[ "$(pool exhaustions)" -gt 100 ] || fail "the pool was never full"
expect 0 "$(pool small_in_use)" "small slots in use after it"

step "nothing is left"
in_domain -t 30 G1 'rmmod virtio_grant_mmio'
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"
in_domain G1 'rmmod virtio_grant && rmmod virtio_grant_dma'
if in_domain G1 'dmesg | grep -E "g\.e\. 0x.* still (in use|pending)"'; then
	fail "a grant was still in use"
fi
no_trouble G1 DomD
stop_guest G1
