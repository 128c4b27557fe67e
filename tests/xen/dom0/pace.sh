# SPDX-License-Identifier: GPL-2.0-or-later
#
# Limits that follow what this machine can.  Machines differ, and one that has
# other work to do is slower than itself: a limit is to end a hang, not a slow day.
# So limits are written for a machine that does nothing else, and are multiplied by
# a pace: how much longer than there a known thing took here.  Sourced by run.sh
# on the host and by lib.sh in dom0.
#
# A pace is in tenths: 10 is that machine (2 cores of x86-64 in 2025).  A faster
# one has 10, too.  The upper bound is there so that what hangs ends, still.

VG_PACE_MAX=${VG_PACE_MAX:-60}
# From QEMU's start until dom0's first process has mounted the host's directory,
# and from xl create until a guest's agent answers.
case "${VG_ARCH:-arm64}" in
x86)
	VG_PACE_DOM0_MS=${VG_PACE_DOM0_MS:-25000}
	VG_PACE_GUEST_MS=${VG_PACE_GUEST_MS:-20000} ;;
*)
	VG_PACE_DOM0_MS=${VG_PACE_DOM0_MS:-8000}
	VG_PACE_GUEST_MS=${VG_PACE_GUEST_MS:-6000} ;;
esac

# pace_of MS REFERENCE_MS: what took MS, says this pace.
pace_of() {
	local pace=$((($1 * 10 + $2 - 1) / $2))

	[ "$pace" -ge 10 ] || pace=10
	[ "$pace" -le "$VG_PACE_MAX" ] || pace=$VG_PACE_MAX
	echo "$pace"
}

# pace_limit SECONDS PACE: the limit here, in whole seconds.
pace_limit() {
	echo $((($1 * $2 + 9) / 10))
}

# pace_text PACE: for people.
pace_text() {
	echo "$(($1 / 10)).$(($1 % 10))"
}

now_ms() {
	echo $((${EPOCHREALTIME/[.,]/} / 1000))
}
