#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make prove-isolation`: a hostile root in the driver domain against a guest
# on real Xen in QEMU, by every interface, at every frame and every reference;
# then the same attacker in the set-up that foreign-mapping backends need.
#
#	ARCH=x86	on that machine, Debian's own Xen, all disks on the bus
#
# Leaves build/prove-isolation/{result.json,report.txt,report.html} (x86:
# build/prove-isolation-x86/).  The last line is "prove-isolation: PASS" or "prove-isolation: FAIL (why)", the exit
# status agrees.

set -u
export VG_ARCH="${ARCH:-${VG_ARCH:-arm64}}"
. "$(dirname "$0")/../lib/common.sh"
. "$VG_LIB/deps.sh"

name=prove-isolation
[ "$VG_ARCH" = arm64 ] || name="$name-$VG_ARCH"
out="$VG_BUILD/$name"
run="$VG_BUILD/xen/$name"
began=$SECONDS
mkdir -p "$out"
rm -f "$out"/{result.json,report.txt,report.html}

finish() {
	if [ "$1" = PASS ]; then
		echo "prove-isolation: PASS"
		exit 0
	fi
	[ -e "$out/result.json" ] || python3 -c 'import json, sys
json.dump({"verdict": "FAIL", "problems": [sys.argv[1]]}, sys.stdout, indent=1)' \
		"$2" >"$out/result.json"
	echo "prove-isolation: FAIL ($2)"
	exit 1
}

part() {
	printf '%4d s  %s\n' $((SECONDS - began)) "$1"
	shift
	"$@" >"$out/build.log" 2> >(tee -a "$out/build.log" |
		grep --line-buffered -E '^(rig|build|deps): ' | sed -u 's/^/        /') || {
		tail -n 20 "$out/build.log"
		finish FAIL "building (log: ${out#"$VG_TOP/"}/build.log)"
	}
}

build_arm64() {
	part "the programs, for arm64" make -s -C "$VG_TOP" arm64 \
		build/arm64/virtio-foreignd
	part "the guest's modules" "$VG_TOP/kernel/build.sh" 6.12
	part "the attacker and the victim" "$VG_XEN/isolation/build.sh"
	part "Xen" "$VG_LIB/build-xen.sh"
}

# Nothing serves foreign mapping there, see dom0/isolation.sh.
build_x86() {
	part "the programs, for amd64" make -s -C "$VG_TOP" amd64
	part "the guest's modules" "$VG_TOP/kernel/build.sh" 6.12/amd64
	part "the attacker and the victim" "$VG_XEN/isolation/build.sh"
	part "Xen" "$VG_LIB/stock-xen.sh"
}

vg_need_host_tools rig kernel-build || finish FAIL "packages are missing"
"build_$VG_ARCH"
printf '%4d s  %s\n' $((SECONDS - began)) "Xen boots"
rm -rf "$run"
"$VG_XEN/run.sh" "$VG_XEN/isolation/prove-isolation.sh" 2>&1 |
	sed -u -e "/^$name: /d" -e 's/^/  /'
status=${PIPESTATUS[0]}
cp "$run"/report/* "$out/" 2>/dev/null
if [ -e "$out/report.txt" ]; then
	sed -n '/^$/,/^attempt/p' "$out/report.txt" | sed '$d'
fi
echo "$((SECONDS - began)) s; the report is ${out#"$VG_TOP/"}/report.txt (and .html), the logs are in ${run#"$VG_TOP/"}/."
[ "$status" -eq 0 ] || finish FAIL "$(cat "$run/reason" 2>/dev/null);" \
	"$(grep -m 1 PROBLEM "$run/log/host-after.log" 2>/dev/null)"
finish PASS
