# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make prove-isolation` in the rig; see dom0/isolation.sh.
#
# rig: kernels 6.12
# rig: needs backend modules program:virtio-foreignd program:vg-attack program:vg-victim program:vg-target
# rig: timeout 5400

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/isolation.sh
VG_TIMEOUT_S=300

set_up_ours
attack_ours
attack_relay
attack_bus
clear_ours
set_up_conventional
attack_conventional
[ -z "${went_on:-}" ] || _verdict FAIL "see above"
