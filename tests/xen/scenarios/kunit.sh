# SPDX-License-Identifier: GPL-2.0-or-later
#
# KUnit suites of both modules in a Xen guest, on its real grant table, with a
# kernel that looks for mistakes (KASAN, lockdep, kmemleak, DMA API debugging);
# then a disk under load on the same kernel, and both modules away again.
#
# rig: kernels 6.12
# rig: needs backend modules kernel:debug
# rig: timeout 900

. /vg/in/dom0/virtio.sh

step "the daemons, and a guest with the debugging kernel"
start_broker
start_driver DomD
start_guest G1 kernel=debug mem=640 vcpus=2 cmdline=log_buf_len=4M \
	"disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'zcat /proc/config.gz 2>/dev/null | grep -E "KASAN=|PROVE_LOCKING=|KMEMLEAK=" ; test -w /sys/kernel/debug/kmemleak' ||
	fail "this is no debugging kernel"

# suites MODULE: its results, which must be there and all be "ok".
suites() {
	in_domain -t 480 G1 "dmesg -c >/dev/null; modprobe $1; dmesg" >/tmp/ktap ||
		fail "$1: $(tail -n 3 /tmp/ktap)"
	cp /tmp/ktap "/vg/out/$1.dmesg"		# with the time that each took
	sed -i 's/^\[[^]]*\] //' /tmp/ktap
	cp /tmp/ktap "/vg/out/$1.ktap"
	if grep -E '^ *not ok' /tmp/ktap; then
		fail "$1: $(grep -m 1 -E '^ *not ok' /tmp/ktap)"
	fi
	skipped=$(grep -c -E '^    ok [0-9].*# SKIP' /tmp/ktap || :)
	passed=$(($(grep -c -E '^    ok [0-9]' /tmp/ktap || :) - skipped))
	suites=$(grep -c -E '^ok [0-9]' /tmp/ktap || :)
	[ "$suites" -gt 0 ] && [ "$passed" -gt 0 ] || fail "$1 ran no test"
	say "$1: $passed tests of $suites suites passed ($skipped skipped)"
	result "$1" "$passed"
}

# look WHAT: complaints of the kernel since the last look.
look() {
	local bad

	# "g.e. ... still in use" is what the tests provoke.
	bad=$(in_domain G1 "dmesg | grep -v 'g\.e\. 0x' | grep -m 3 -E 'BUG:|WARNING:|KASAN|Oops|possible recursive|possible circular|inconsistent lock|DMA-API:.*(error|warn)|INFO: task'" || :)
	[ -z "$bad" ] || fail "$1: the kernel complains: $bad"
}

step "KUnit: virtio_grant_dma"
suites virtio_grant_dma_kunit
look "KUnit of the DMA layer"
step "KUnit: virtio_grant_mmio"
suites virtio_grant_mmio_kunit
look "KUnit of the transport"
step "KUnit: virtio_grant_mmio, with the disk"
suites virtio_grant_mmio_disk_kunit
[ "$skipped" -eq 0 ] || fail "the suite did not find the disk"
look "KUnit of the transport with a disk"

step "a disk under verified load, on the same kernel"
in_domain G1 'rmmod virtio_grant_mmio_disk_kunit virtio_grant_mmio_kunit virtio_grant_dma_kunit; :'
load_ours G1
has_disk G1 vda
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=1m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
fio_verify G1 vda "--ioengine=psync --size=512k --rw=write --bs_unaligned \
	--bsrange=700-60001 --end_fsync=1"
look "load"

step "both modules away"
in_domain G1 'rmmod virtio_grant_mmio && rmmod virtio_grant_dma'
look "unloading"

step "kmemleak"
in_domain -t 240 G1 'echo scan >/sys/kernel/debug/kmemleak; sleep 6
	echo scan >/sys/kernel/debug/kmemleak; cat /sys/kernel/debug/kmemleak' >/tmp/leaks
cp /tmp/leaks /vg/out/kmemleak
result kmemleak_objects "$(grep -c '^unreferenced' /tmp/leaks || :)"
if grep -q -E 'vgrant|vgm_|virtio_grant' /tmp/leaks; then
	fail "kmemleak: $(grep -c '^unreferenced' /tmp/leaks) objects, ours among them"
fi
stop_guest G1
