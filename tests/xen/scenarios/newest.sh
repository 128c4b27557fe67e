# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with the newest kernel that Debian has.  Its rings map by the operations of
# the virtio device (Linux 6.18), and not by the DMA API, as those of a 6.12 guest do,
# which is beside it; what is written is what is read, and nothing stays granted.
#
# rig: kernels 6.12
# rig: needs backend kernel:newest modules program:vg-readers
# rig: timeout 300

. /vg/in/dom0/virtio.sh

# pool GUEST NAME: a statistic of its pool.
pool() {
	in_domain "$1" "cat /sys/bus/platform/devices/2000000.virtio/grant_pool/$2"
}

# probe PARAMETERS: the modules of G1 anew, with them.
probe() {
	in_domain -t 30 G1 "rmmod virtio_grant_mmio virtio_grant_dma 2>/dev/null
		modprobe virtio_grant_dma $1" || fail "$1"
	load_ours G1
	has_disk G1 vda
}

load() {
	fio_verify "$1" vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
		--rw=randrw --bssplit=512/10:4k/30:12k/10:64k/30:256k/10:1m/10"
	fio_verify "$1" vda "--ioengine=psync --size=4m --rw=write --bs_unaligned \
		--bsrange=700-90001 --end_fsync=1"
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
start_ours G1 kernel=newest mem=512 vcpus=2 \
	"disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
start_ours G2 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"
result kernel "$(in_domain G1 'uname -r')"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe'

step "who maps"
for g in G1 G2; do
	before=$(pool $g mappings)
	n=$(traced $g) || fail "no tracing in $g: $n"
	result "dma_events_$g" "$n"
	[ $(($(pool $g mappings) - before)) -ge 256 ] || fail "$g mapped nothing"
	case "$g" in
	G1) expect 0 "$n" "mappings of the newest kernel by the DMA API" ;;
	G2) [ "$n" -ge 256 ] || fail "$n mappings of 6.12 by the DMA API" ;;
	esac
done
stop_guest G2

step "copied"
load G1
[ "$(stats DomD 'mem.range_hits')" -gt 100 ] ||
	fail "the backend found nothing in the pool"
expect 0 "$(pool G1 small_in_use)" "small slots in use"

step "direct_kib=4"
probe direct_kib=4
load G1
n=$(pool G1 direct_mappings)
result direct_mappings "$n"
[ "$n" -gt 100 ] || fail "$n buffers were granted directly"
expect 0 "$(pool G1 pages_held)" "pages that the backend kept"

step "a pool of 1 MiB, and 24 readers that want three times that"
probe pool_kib=1024
reads=$(in_domain -t 120 G1 'vg-readers /dev/vda 15 8 16') ||
	fail "readers of a full pool: $reads"
say "$reads; $(pool G1 exhaustions) times there was no room"
expect 0 "$(pool G1 small_in_use)" "small slots in use after it"

step "nothing is left"
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
in_domain -t 30 G1 'rmmod virtio_grant_mmio'
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"
in_domain G1 'rmmod virtio_grant_dma'
if in_domain G1 'dmesg | grep -E "g\.e\. 0x.* still (in use|pending)"'; then
	fail "a grant was still in use"
fi
no_trouble G1 DomD
stop_guest G1
