# SPDX-License-Identifier: GPL-2.0-or-later
#
# KUnit suites of the modules in a Xen guest, on its real grant table, with a kernel
# that looks for mistakes (lockdep, UBSAN, DMA API debugging); then a disk under load
# on the same kernel, and the modules away again.  kasan is the same with all the
# debugging that there is.  BUS=1: with the suites of the Xen bus, and a disk on it
# (make check-long).
#
# rig: kernels 6.12
# rig: needs backend modules kernel:lockdep
# rig: timeout 600

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/kunit.sh

kunit_guest lockdep
in_domain G1 'test -r /proc/lockdep_stats' || fail "this kernel has no lockdep"
kunit_all 10 "${BUS:+8}"
in_domain G1 'grep -E "debug_locks: +1" /proc/lockdep_stats' ||
	fail "lockdep went off: $(in_domain G1 'dmesg | grep -m 1 -i lockdep' || :)"
stop_guest G1
