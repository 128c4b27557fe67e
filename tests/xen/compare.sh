#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make compare`: the ways to serve a guest's disk, side by side on real Xen in
# QEMU (compare/compare.sh says how, docs/comparison.md what it means).
#
#	QUICK=1		the essential part, in under 10 minutes
#	ROUNDS=3	how often each is measured
#	BACKENDS="..."	only these	WORKLOADS="..."	only these
#	SECONDS_EACH=5	of one run, SWEEP_S=2 of one of the sweeps
#	OPTIONS="..."	for every backend daemon (virtio-grantd(8))
#	ARCH=x86	on that machine, Debian's own Xen: bus and pv
#
# Leaves build/compare/{results.csv,report.html,summary.txt} (x86: build/compare-x86/).

set -u
export VG_ARCH="${ARCH:-${VG_ARCH:-arm64}}"
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"

name=compare
[ "$VG_ARCH" = arm64 ] || name="compare-$VG_ARCH"
out="$VG_BUILD/$name"
run="$VG_BUILD/xen/$name"
began=$SECONDS
mkdir -p "$out"
rm -f "$out"/{results.csv,report.html,summary.txt}

part() {
	printf '%4d s  %s\n' $((SECONDS - began)) "$1"
	shift
	"$@" >"$out/build.log" 2> >(tee -a "$out/build.log" |
		grep --line-buffered -E '^(rig|build|deps|build-kernel): ' |
		sed -u 's/^/        /') || {
		tail -n 20 "$out/build.log"
		echo "compare: FAIL (log: ${out#"$VG_TOP/"}/build.log)"
		exit 1
	}
}

vg_target() {
	local tool="$VG_BUILD/arm64/vg-target"

	[ "$tool" -nt "$VG_XEN/compare/target.c" ] ||
		"$("$VG_LIB/build-sysroot.sh")/arm64-gcc" -O2 -Wall -Wextra \
			-Werror -o "$tool" "$VG_XEN/compare/target.c" \
			-lxenctrl -lxenstore
}

build_arm64() {
	# Xen with counters by domain: compare/xen-counters.patch.
	export VG_XEN_COUNTERS=1
	part "the backends, for arm64" make -s -C "$VG_TOP" arm64 \
		build/arm64/virtio-foreignd
	part "the tool that makes the driver domain privileged" vg_target
	part "the guest's modules" "$VG_TOP/kernel/build.sh" 6.12
	# Nobody else needs it.
	[ -n "${BACKENDS:-}" ] && [[ ! " $BACKENDS " =~ \ (map|copy)\  ]] ||
		part "the mainline guest's kernel (minutes, the first time)" \
			"$VG_TOP/kernel/build-kernel.sh" plain
	part "Xen" "$VG_LIB/build-xen.sh"
}

build_x86() {
	part "the backend, for amd64" make -s -C "$VG_TOP" amd64
	part "the guest's modules" "$VG_TOP/kernel/build.sh" 6.12/amd64
}

vg_need_host_tools rig || exit 1
"build_$VG_ARCH"
printf '%4d s  %s\n' $((SECONDS - began)) "Xen boots"
set -o pipefail
"$VG_XEN/run.sh" "$VG_XEN/compare/$name.sh" "QUICK=${QUICK:-}" \
	"ROUNDS=${ROUNDS:-3}" "BACKENDS=${BACKENDS:-}" \
	"WORKLOADS=${WORKLOADS:-}" "OPTIONS=${OPTIONS:-}" \
	"SECONDS_EACH=${SECONDS_EACH:-}" "SWEEP_S=${SWEEP_S:-}" 2>&1 |
	sed -u 's/^/  /' || {
	echo "compare: FAIL (${run#"$VG_TOP/"})"
	exit 1
}
python3 "$VG_XEN/compare/report.py" "$run" "$out" || {
	echo "compare: FAIL (report.py)"
	exit 1
}
echo
echo "$((SECONDS - began)) s; ${out#"$VG_TOP/"}/report.html, results.csv"
