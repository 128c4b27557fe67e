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

# vg_is_long SCRIPT ARCH: "# rig: long", or the same with this arch among others.
vg_is_long() {
	local archs

	while read -r archs; do
		case " ${archs:-$2} " in
		*" $2 "*) return 0 ;;
		esac
	done < <(vg_rig_words "$1" long)
	return 1
}

# vg_scenarios -L|-l: a run for each arch where it is not, or is, long.  With VG_ARCH,
# those that run there.
vg_scenarios() {
	local script name arch archs long

	for script in "$VG_XEN"/scenarios/*.sh; do
		name=$(basename "$script" .sh)
		archs=$(vg_scenario_archs "$script")
		for arch in $archs; do
			long=-L
			! vg_is_long "$script" "$arch" || long=-l
			[ "$long" = "$1" ] || continue
			case "${VG_ARCH:-}:$arch" in
			"$arch:$arch"|":${archs%% *}") echo "$name" ;;
			:*) echo "$name@$arch" ;;
			esac
		done
	done | LC_ALL=C sort
}
