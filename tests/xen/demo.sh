#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make demo`: from a fresh Debian machine to a stock guest whose disk is
# served by a driver domain without privilege, on real Xen in QEMU.  Installs
# what is missing (after saying so), builds, runs a scenario (read it to see what is
# checked):
#
#	TRANSPORT=bus	(default) the disk is attached over the Xen bus, on the Xen that
#			Debian ships: scenarios/demo.sh
#	TRANSPORT=mmio	the disk is virtio-mmio, as libxl configures it, on a Xen with
#			an IOREQ server, built for it: scenarios/demo-mmio.sh
#	ARCH=arm64	(default) or x86, whichever this machine is; mmio is arm64's
#
# The last line is "demo: PASS" or "demo: FAIL (why)", the exit status agrees,
# build/demo/result.json has it for machines.

set -u
# What make was told is not for the makes below.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES
export VG_ARCH="${ARCH:-arm64}"
transport="${TRANSPORT:-bus}"
case "$VG_ARCH:$transport" in
arm64:bus|x86:bus) name=demo ;;
arm64:mmio) name=demo-mmio ;;
x86:mmio)
	echo "demo: FAIL (TRANSPORT=mmio is arm64's: libxl has no virtio-mmio on x86)"
	exit 1 ;;
*)
	echo "demo: FAIL (ARCH=arm64 or x86, TRANSPORT=bus or mmio)"
	exit 1 ;;
esac
unset ARCH TRANSPORT
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"
. "$VG_LIB/scenario.sh"

out="$VG_BUILD/demo"
script=$(vg_run_script "$name")
run="$VG_BUILD/xen/$(vg_run_dir "$name" "$VG_ARCH" "$script")"
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
kernel=6.12 xen="$VG_LIB/stock-xen.sh"
[ "$VG_ARCH" != x86 ] || kernel=6.12/amd64
echo "virtio-grant: a stock guest's disk on real Xen (in QEMU), by grants alone."
if [ "$transport" = mmio ]; then
	xen="$VG_LIB/build-xen.sh"
	echo "The first run fetches Debian packages and builds Xen; logs are in build/."
else
	echo "Xen and Linux are Debian's, which the first run fetches; logs are in build/."
fi
vg_need_host_tools rig || finish FAIL "packages are missing"
part "the backend, for $VG_ARCH" make -s -j "$VG_JOBS" -C "$VG_TOP" "$VG_DEB_ARCH"
part "the guest's modules, for Debian's kernel" "$VG_TOP/kernel/build.sh" "$kernel"
part "the probe for privileges" "$VG_XEN/probe/build.sh"
part "Xen" "$xen"
part "the domains' file systems" "$VG_LIB/build-root.sh"
printf '%4d s  %s\n' $((SECONDS - began)) "Xen boots"
"$VG_XEN/run.sh" "$name" 2>&1 | sed -u -E -e "/^${run##*/}: /d" \
	-e '/^ {9}[a-z0-9]+(_[A-Za-z0-9]+)+ [^ ]+$/d' -e 's/^/  /'
status=${PIPESTATUS[0]}
case "$status" in
0) ;;
*) finish FAIL "$(cat "$run/reason" 2>/dev/null || echo "the run ended with status $status"); logs: ${run#"$VG_TOP/"}" ;;
esac
echo "The host found e2fsck $(value host_e2fsck), and all of the guest's $(value host_files_verified) files as the guest wrote them."
echo "The backend could reach $(value guest_bytes_reachable) of the guest's $(value guest_bytes) bytes, and had no way to the others."
if [ "$transport" = mmio ]; then
	echo "Its registers went by way of the broker in dom0, which has no part in its data."
else
	echo "It came and went while the guest ran, on Debian's Xen, with nothing of ours in dom0."
fi
echo "$((SECONDS - began)) s in all; all of it is in ${run#"$VG_TOP/"}/."
finish PASS
