# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make prove-isolation` in short: the attacker in the driver domain, by every
# interface, but on every 64th frame and reference only; then the same attacker
# with its domain's target set to the guest, as foreign-mapping backends need
# it.  isolation.host judges, by docs/threat-model.md.  BUS=1: a disk on the Xen bus is
# among what is attacked (make check-long); on x86 all disks are there.
#
# rig: arch arm64 x86
# rig: long x86
# rig: kernels 6.12
# rig: needs backend modules program:vg-attack program:vg-victim program:vg-target
# rig: timeout 1800

[ "$VG_ARCH" != x86 ] || BUS=1
[ -n "${BUS:-}" ] || : "${WITHOUT:=bus}"
: "${STEP:=64}" "${GUEST_MIB:=256}" "${SAMPLE_S:=6}"
. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/isolation.sh

set_up_ours
attack_ours
with relay && attack_relay
[ -z "${BUS:-}" ] || attack_bus
conventional_in_place
[ -z "${went_on:-}" ] || _verdict FAIL "see above"
