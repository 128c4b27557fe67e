#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make demo`: from a fresh Debian machine to a stock guest whose disk is
# served by a driver domain without privilege, on real Xen in QEMU.  Installs
# what is missing (after saying so), builds, runs the scenario "demo"
# (scenarios/demo.sh and demo.host: read these to see what is checked).
#
# The last line is "demo: PASS" or "demo: FAIL (why)", the exit status agrees,
# build/demo/result.json has it for machines.

set -u
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"

out="$VG_BUILD/demo"
run="$VG_BUILD/xen/demo"
began=$SECONDS
mkdir -p "$out"
rm -f "$out/result.json"

# finish VERDICT [WHY]
finish() {
	python3 - "$1" "${2:-}" $((SECONDS - began)) "$run/result.json" \
		>"$out/result.json.new" <<-'EOP' && mv "$out/result.json.new" "$out/result.json"
	import json, sys
	verdict, why, seconds, scenario = sys.argv[1:5]
	doc = {"verdict": verdict, "why": why, "seconds": int(seconds)}
	try:
	    with open(scenario) as f:
	        doc["scenario"] = json.load(f)
	except (OSError, ValueError):
	    doc["scenario"] = None
	print(json.dumps(doc, indent=1))
	EOP
	if [ "$1" = PASS ]; then
		echo "demo: PASS"
		exit 0
	fi
	echo "demo: FAIL ($2)"
	exit 1
}

# part TEXT COMMAND...: one part of the preparation; its output is progress
# when it is the rig's, and goes to a log otherwise.
part() {
	local text="$1"

	shift
	printf '%4d s  %s\n' $((SECONDS - began)) "$text"
	"$@" >"$out/build.log" 2> >(tee -a "$out/build.log" |
		grep --line-buffered -E '^(rig|build|deps): ' | sed -u 's/^/        /') || {
		tail -n 20 "$out/build.log"
		finish FAIL "$text (log: ${out#"$VG_TOP/"}/build.log)"
	}
}

value() {
	python3 - "$run/result.json" "$1" <<-'EOP'
	import json, sys
	print(json.load(open(sys.argv[1]))["results"].get(sys.argv[2], "?"))
	EOP
}

rm -rf "$run"
echo "virtio-grant: a stock guest's disk on real Xen (in QEMU), by grants alone."
echo "The first run fetches Debian packages and builds Xen; logs are in build/."
vg_need_host_tools rig || finish FAIL "packages are missing"
part "the backend, for arm64" make -s -j "$VG_JOBS" -C "$VG_TOP" arm64
part "the guest's modules, for Debian's kernel" "$VG_TOP/kernel/build.sh" 6.12
part "the probe for privileges" "$VG_XEN/probe/build.sh"
part "Xen" "$VG_LIB/build-xen.sh"
part "the domains' file systems" "$VG_LIB/build-root.sh"
part "fio" "$VG_LIB/build-fio.sh"
printf '%4d s  %s\n' $((SECONDS - began)) "Xen boots"
"$VG_XEN/run.sh" demo 2>&1 | sed -u -E -e '/^demo: /d' \
	-e '/^ {9}[a-z0-9]+(_[A-Za-z0-9]+)+ [^ ]+$/d' -e 's/^/  /'
status=${PIPESTATUS[0]}
case "$status" in
0) ;;
*) finish FAIL "$(cat "$run/reason" 2>/dev/null || echo "the run ended with status $status"); logs: ${run#"$VG_TOP/"}" ;;
esac
echo "The host found e2fsck $(value host_e2fsck), and all of the guest's $(value host_files_verified) files as the guest wrote them."
echo "The backend could reach $(value guest_bytes_reachable) of the guest's $(value guest_bytes) bytes, and had no way to the others."
echo "$((SECONDS - began)) s in all; all of it is in ${run#"$VG_TOP/"}/."
finish PASS
