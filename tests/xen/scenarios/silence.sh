# SPDX-License-Identifier: GPL-2.0-or-later
#
# Storms of events from a hostile driver domain at guests under load, again and
# again, and after each a look whether every domain still runs; on a Xen whose
# timers' handlers are late at times, as they are where the host schedules the
# threads that are Xen's CPUs.  Without spec/xen/0003 (VG_XEN_UNMENDED=1) domains
# lose their timers, dom0 among them: then the run ends at its limit, and the end of
# serial.log has Xen's view of it.
#
# VG_XEN_VARIANT=plain: a Xen as it is.   ROUNDS=, STORM_S=, QUIET_S=.
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-attack program:vg-victim program:vg-target
# rig: timeout 600
# rig: xen slow-timers
# rig: long

: "${ROUNDS:=5}" "${STEP:=64}" "${GUEST_MIB:=256}" "${STORM_S:=5}" "${QUIET_S:=15}"
. /vg/in/dom0/virtio.sh
. /vg/in/dom0/isolation.sh

set_up_ours

for round in $(seq "$ROUNDS"); do
	attack DomD storm "$(everyone) storm $STORM_S"
	end=$((SECONDS + QUIET_S))
	while [ "$SECONDS" -lt "$end" ]; do
		for name in G1 G2 DomD; do
			in_domain -t 40 "$name" 'echo alive' >/dev/null ||
				fail "round $round: $name is silent"
		done
		sleep 1
	done
	say "round $round: all answer"
done
still_well G1 vda vdb
still_well G2 vda
