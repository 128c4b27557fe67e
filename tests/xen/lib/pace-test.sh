#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pace-test.sh - limits follow what the machine can, and a hang still ends: the
# arithmetic, dom0's verbs, and run.sh with a QEMU that is none.
#
#	pace-test.sh verbs	what needs nothing
#	pace-test.sh run	run.sh; the rig must have been built
#
# One line per check, "PASS ..." or "FAIL ..."; exit status 1 if one failed.

set -u
lib=$(cd "$(dirname "$0")" && pwd)
xen=$(dirname "$lib")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

# verdict WHAT WANT GOT
verdict() {
	if [ "$2" = "$3" ]; then
		echo "PASS limits: $1"
	else
		failed=1
		echo "FAIL limits: $1: wanted '$2', got '$3'"
	fi
}

# ---- arithmetic and verbs ---------------------------------------------------------

# took COMMAND...: "STATUS SECONDS" of it.
took() {
	local began=$SECONDS status=0

	"$@" || status=$?
	echo "$status $((SECONDS - began))"
}

verbs() {
	export VG_RUN="$tmp/run"
	. "$xen/dom0/lib.sh"
	_tell() { echo "$*" >>"$tmp/told"; }

	verdict "as fast as the reference" 10 "$(pace_of 8000 8000)"
	verdict "faster is no less" 10 "$(pace_of 100 8000)"
	verdict "three times as slow" 30 "$(pace_of 24000 8000)"
	verdict "rounded up" 11 "$(pace_of 8001 8000)"
	verdict "bounded" 60 "$(pace_of 99999999 8000)"
	verdict "a limit" 36 "$(pace_limit 30 12)"
	verdict "a limit, rounded up" 2 "$(pace_limit 1 11)"

	verdict "nothing is known" 30 "$(slow 30)"
	set_pace 25
	verdict "after dom0's boot" 75 "$(slow 30)"
	_raise_pace 20
	verdict "it does not fall" 75 "$(slow 30)"
	_raise_pace 30
	verdict "it rises" "90 PACE 30" "$(slow 30) $(tail -n 1 "$tmp/told")"

	_work_us() { echo 1000; }
	set_pace 10
	verdict "retry ends a hang" "1 2" "$(took retry 2 false)"
	_raise_pace 20
	verdict "retry ends a hang later on a slow machine" "1 4" "$(took retry 2 false)"
	verdict "retry, at once" "0 0" "$(took retry 2 true)"
	set_pace 10
	began=$SECONDS
	late() { [ $((SECONDS - began)) -ge 5 ]; }
	# As if the machine had got other work since.
	_work_us() { echo 3000; }
	verdict "what is late because the machine got busy, is waited for" "0 30" \
		"$(retry 2 late; echo "$?") $(pace)"
	_work_us() { echo 1000; }
	set_pace 10
	began=$SECONDS
	verdict "what is late without a reason, is not" 1 "$(retry 2 late; echo $?)"
}

# ---- run.sh -----------------------------------------------------------------------

# QEMU for run.sh: after BOOT_S seconds dom0 is up, after WORK_S it has passed.
fake_qemu() {
	mkdir -p "$tmp/bin"
	cat >"$tmp/bin/qemu-system-aarch64" <<-'EOQ'
	#!/bin/bash
	dir=$(tr ' ' '\n' <<<"$*" | sed -n 's/^local,id=vg,path=\([^,]*\),.*/\1/p')
	# Little by little: what is left of it when it is killed, ends soon.  By the
	# clock: on a busy machine ten sleeps of 0.1 s take more than a second.
	pause() {
		local until=$((${EPOCHREALTIME/[.,]/} + 1000000 * $1))
		while [ "${EPOCHREALTIME/[.,]/}" -lt "$until" ]; do sleep 0.1; done
	}
	pause "$BOOT_S"
	mkdir "$dir/console"
	pause "$WORK_S"
	echo PASS >>"$dir/progress"
	EOQ
	chmod +x "$tmp/bin/qemu-system-aarch64"
}

# machine BOOT_S WORK_S [PACE]: "STATUS REASON" of a run there, after one that saw
# that pace.
machine() {
	mkdir -p "$VG_BUILD/xen"
	echo "${3:-10}" >"$VG_BUILD/xen/.pace"
	[ -n "${LOAD:-}" ] || LOAD=0.00
	echo "$LOAD 0 0" >"$tmp/loadavg"
	export VG_LOADAVG="$tmp/loadavg"
	BOOT_S="$1" WORK_S="$2" "$xen/run.sh" "$tmp/fake.sh" >"$tmp/log" 2>&1
	cat "$VG_BUILD/xen/fake/status" "$VG_BUILD/xen/fake/reason" | tr '\n' ' ' |
		sed 's/ *$//'
}

run() {
	fake_qemu
	# Nothing that is built is touched.
	export VG_BUILD="$tmp/build" PATH="$tmp/bin:$PATH"
	printf '# rig: kernels 6.12\n# rig: timeout 4\n' >"$tmp/fake.sh"
	export VG_LIMIT_S=4 VG_DOM0_S=4 VG_PACE_DOM0_MS=1000
	verdict "an idle machine, work that ends" PASS "$(machine 0 1)"
	verdict "an idle machine, a hang" \
		"FAIL booting Xen and dom0: time limit of" \
		"$(VG_PACE_DOM0_MS=60000 machine 0 3600 | sed 's/ of .*/ of/')"
	verdict "dom0 hangs" \
		"FAIL booting Xen and dom0: dom0 did not come up in 4 s" \
		"$(machine 3600 0)"
	verdict "a slow machine, work that takes longer than the limit" PASS \
		"$(VG_LIMIT_S=3 machine 2 3)"
	verdict "what the run before saw, dom0's boot has as well" PASS \
		"$(VG_DOM0_S=3 machine 4 0 20)"
	verdict "a load that is there, too" PASS \
		"$(VG_DOM0_S=3 VG_PACE_MAX=20 LOAD=$(($(nproc) * 3)).00 machine 4 0)"
	verdict "a slow machine, a hang" \
		"FAIL booting Xen and dom0: time limit of 6 s (3 s at a pace of 2.0)" \
		"$(VG_LIMIT_S=3 VG_PACE_MAX=20 machine 3 3600)"
}

case "${1:-}" in
verbs|run) "$1" ;;
*)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2 ;;
esac
exit $failed
