# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make prove-isolation` in the rig; see dom0/isolation.sh.
#
# rig: arch arm64 x86
# rig: kernels 6.12
# rig: needs backend modules program:vg-attack program:vg-victim program:vg-target
# rig: timeout 5400

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/isolation.sh
VG_TIMEOUT_S=300

set_up_ours
attack_ours
with relay && attack_relay
attack_bus
case "$VG_ARCH" in
x86)
	target_in_place
	attack_conventional DomD G1 ;;
*)
	clear_ours
	set_up_conventional
	attack_conventional DomF GF ;;
esac
[ -z "${went_on:-}" ] || _verdict FAIL "see above"
