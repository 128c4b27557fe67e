# SPDX-License-Identifier: GPL-2.0-or-later
#
# What kunit does, with a kernel that has KASAN, kmemleak and debugging of objects
# beside lockdep: everything is several times slower.
#
# rig: long
# rig: kernels 6.12
# rig: needs backend modules kernel:debug
# rig: timeout 900

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/kunit.sh

kunit_guest debug
in_domain G1 'test -r /proc/lockdep_stats && test -w /sys/kernel/debug/kmemleak' ||
	fail "this is no debugging kernel"
kunit_all 1 2

step "kmemleak"
in_domain -t 240 G1 'echo scan >/sys/kernel/debug/kmemleak; sleep 6
	echo scan >/sys/kernel/debug/kmemleak; cat /sys/kernel/debug/kmemleak' >/tmp/leaks
cp /tmp/leaks /vg/out/kmemleak
result kmemleak_objects "$(grep -c '^unreferenced' /tmp/leaks || :)"
if grep -q -E 'vgrant|vgm_|vgb_|virtio_grant' /tmp/leaks; then
	fail "kmemleak: $(grep -c '^unreferenced' /tmp/leaks) objects, ours among them"
fi
stop_guest G1
