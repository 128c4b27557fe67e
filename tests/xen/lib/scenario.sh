# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a scenario says of itself in its head, for run.sh, run-all.sh and needs.sh.
# Sourced after common.sh.
#
# A run is named SCENARIO, SCENARIO@ARCH, and :VAR=VALUE after either.  Without an
# ARCH it is that of VG_ARCH, and without that the first that the scenario names.

# vg_rig_words SCRIPT KEY: the rest of each "# rig: KEY ..." line of it.
vg_rig_words() {
	sed -n "s/^# rig: $2 *//p" "$1"
}

# vg_scenario_archs SCRIPT: those that it runs on.
vg_scenario_archs() {
	local archs

	archs=$(vg_rig_words "$1" arch)
	echo "${archs:-arm64}"
}

# vg_run_script RUN, vg_run_arch RUN [SCRIPT]
vg_run_script() {
	local name="${1%%:*}"

	printf '%s\n' "$VG_XEN/scenarios/${name%@*}.sh"
}

vg_run_arch() {
	local name="${1%%:*}" archs

	case "$name" in
	*@*) echo "${name##*@}" ;;
	*)
		archs=$(vg_scenario_archs "${2:-$(vg_run_script "$1")}")
		echo "${VG_ARCH:-${archs%% *}}" ;;
	esac
}

# vg_run_dir NAME ARCH SCRIPT: what its directory is called, below build/xen.
vg_run_dir() {
	local archs variant

	archs=$(vg_scenario_archs "$3")
	variant=$(vg_rig_words "$3" xen)
	printf '%s' "$1"
	[ "$2" = "${archs%% *}" ] || printf -- '-%s' "$2"
	[ "${VG_XEN_VARIANT:-$variant}" = "$variant" ] ||
		printf -- '-%s' "$VG_XEN_VARIANT"
	printf '\n'
}

# vg_scenarios -L|-l: a run for each arch of those that are not, or are, long.  With
# VG_ARCH, those that run there.
vg_scenarios() {
	local script name arch archs

	for script in "$VG_XEN"/scenarios/*.sh; do
		case "$1:$(grep -c '^# rig: long' "$script")" in
		-L:0|-l:[1-9]*) ;;
		*) continue ;;
		esac
		name=$(basename "$script" .sh)
		archs=$(vg_scenario_archs "$script")
		for arch in $archs; do
			case "${VG_ARCH:-}:$arch" in
			"$arch:$arch"|":${archs%% *}") echo "$name" ;;
			:*) echo "$name@$arch" ;;
			esac
		done
	done | LC_ALL=C sort
}
