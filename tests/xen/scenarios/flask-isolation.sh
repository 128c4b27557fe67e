# SPDX-License-Identifier: GPL-2.0-or-later
#
# The attacker of `make prove-isolation` in a driver domain that FLASK confines,
# enforcing: by every interface, on every 256th frame; then again after dom0 has
# tried to make it privileged over the guest, which must be refused and change
# nothing.  flask-isolation.host judges, by docs/threat-model.md.
#
# Each refusal of FLASK's is a line at level "info" of Xen's log, tens of
# thousands of them in a run: loglvl=warning/info lets one through every five
# seconds (docs/hardening.md).  FLASK has no say in xenstored and in what lies in
# a page that was granted: both are left to the scenario isolation.  Without
# spec/xen/0002 it allows what the default policy refuses, EVTCHNOP_status of others.
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-attack program:vg-victim program:vg-target
# rig: xen flask-typed
# rig: cmdline loglvl=warning/info
# rig: timeout 900
# rig: long

: "${STEP:=256}" "${GUEST_MIB:=256}" "${SAMPLE_S:=3}" "${STORM_S:=1}"
: "${WITHOUT:=store relay bus}"
. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/isolation.sh
. /vg/in/dom0/flask.sh

expect Enforcing "$(xl getenforce || :)" "xl getenforce"
set_up_ours
echo "flask 1" >>/vg/out/settings
flask_label DomD vg_driver_t
step "what docs/hardening.md says about FLASK"
for file in /vg/in/hardening/*.flask; do
	bash "$file" || fail "it does not hold: $(head -n 1 "$file")"
	say "holds: $(head -n 1 "$file" | sed 's/^# //')"
done
attack_ours
[ -n "$(denials vg_driver_t)" ] || fail "FLASK has refused nothing: $(xl dmesg | tail -n 1)"
say "xl dmesg: $(denials vg_driver_t | tail -n 1)"
result lines_of_refusals "$(denials vg_driver_t | wc -l)"
with relay && attack_relay
attack_as_target
[ -z "${went_on:-}" ] || _verdict FAIL "see above"
