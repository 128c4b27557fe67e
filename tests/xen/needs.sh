#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
#	needs.sh NAME...	(NAME@ARCH:VAR=VALUE as for run-all.sh)
#
# Builds what these scenarios say in their heads that they need, and first
# installs, after saying so, what that takes on this machine.

set -eu
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"
. "$VG_LIB/scenario.sh"

declare -A words
for name; do
	script=$(vg_run_script "$name")
	[ -r "$script" ] ||
		vg_die "there is no scenario called $name (tests/xen/run.sh --list)"
	arch=$(vg_run_arch "$name")
	# Elsewhere it will be skipped.
	[[ " $(vg_scenario_archs "$script") " == *" $arch "* ]] || continue
	words[$arch]="${words[$arch]:- }$(vg_rig_words "$script" needs |
		tr '\n' ' ')"
done

# kernels_of WORDS: those that they name beside the usual ones.
kernels_of() {
	tr ' ' '\n' <<<"$1" | sed -n 's/^kernel://p' | sort -u
}

needs_arm64() {
	# vg-resource and others are for domains with FLASK, whose policy is
	# built, too.
	vg_need_host_tools rig-arm64 kernel-build flask
	[[ $1 != *' backend '* ]] || make -s -j "$VG_JOBS" -C "$VG_TOP" arm64
	if [[ $1 == *' program:'* ]]; then
		VG_ARCH=arm64 "$VG_XEN/probe/build.sh"
		VG_ARCH=arm64 "$VG_XEN/flask/build.sh"
		VG_ARCH=arm64 "$VG_XEN/isolation/build.sh"
		make -s -j "$VG_JOBS" -C "$VG_TOP" build/arm64/vg-sandbox-probe \
			build/arm64/virtio-grantd-attacked
	fi
	if [[ $1 == *' modules '* ]]; then
		# shellcheck disable=SC2046 # a list of words
		"$VG_TOP/kernel/build.sh" 6.1 6.12 $(kernels_of "$1")
	fi
}

# Kernels of our own are arm64's.
needs_x86() {
	vg_need_host_tools rig-x86
	[[ $1 != *' backend '* ]] || make -s -j "$VG_JOBS" -C "$VG_TOP" amd64
	if [[ $1 == *' program:'* ]]; then
		VG_ARCH=x86 "$VG_XEN/probe/build.sh"
		VG_ARCH=x86 "$VG_XEN/flask/build.sh"
		vg_need_host_tools kernel-build
		VG_ARCH=x86 "$VG_XEN/isolation/build.sh"
		make -s -j "$VG_JOBS" -C "$VG_TOP" build/amd64/vg-sandbox-probe \
			build/amd64/virtio-grantd-attacked
	fi
	if [[ $1 == *' modules '* ]]; then
		vg_need_host_tools kernel-build
		# shellcheck disable=SC2046 # a list of words
		"$VG_TOP/kernel/build.sh" 6.1/amd64 6.12/amd64 \
			$(kernels_of "$1" | sed -n 's,^newest$,&/amd64,p')
	fi
}

for arch in "${!words[@]}"; do
	"needs_$arch" "${words[$arch]}"
done
