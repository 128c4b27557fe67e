#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs the scenarios named (or all but the long ones), one after the other, and closes with a
# line for each that did not pass and the counts, which build/xen/summary also
# gets, as "PASSED FAILED SKIPPED".  Exit status: 0 if none failed.
#
# A scenario that fails is run once more, since what else the machine does can
# stop an emulated one for many seconds.  If it passes then, it counts as passed
# and is named as UNSTABLE with what it said first, whose logs are kept in
# build/xen/NAME.first.  VG_RETRY=0: no second try.
#
# NAME@ARCH is a scenario on that machine, and NAME:VAR=VALUE or NAME@ARCH:VAR=VALUE
# one with one of its variables.  VG_ARCH, VG_XEN_VARIANT: as for run.sh.

set -u
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/scenario.sh"

passed=0
failed=0
skipped=0
notes=''

[ $# -gt 0 ] || set -- $("$VG_XEN/run.sh" --list)
mkdir -p "$VG_BUILD/xen"
rm -f "$VG_BUILD/xen/summary"
for name; do
	echo "-- $name"
	script=("${name%%:*}")
	[ "$name" = "${name#*:}" ] || script+=("${name#*:}")
	"$VG_XEN/run.sh" "${script[@]}"
	status=$?
	name="${name%%:*}"
	name=$(vg_run_dir "${name%@*}" "$(vg_run_arch "$name")" \
		"$(vg_run_script "$name")")
	rm -rf "$VG_BUILD/xen/$name.first"
	if [ "$status" -ne 0 ] && [ "$status" -ne 77 ] && [ "${VG_RETRY:-1}" = 1 ]; then
		first=$(cat "$VG_BUILD/xen/$name/reason" 2>/dev/null)
		mv "$VG_BUILD/xen/$name" "$VG_BUILD/xen/$name.first"
		echo "-- $name, once more"
		"$VG_XEN/run.sh" "${script[@]}"
		status=$?
		[ "$status" -ne 0 ] ||
			notes="$notes  UNSTABLE $name: first: $first"$'\n'
	fi
	reason=$(cat "$VG_BUILD/xen/$name/reason" 2>/dev/null)
	case "$status" in
	0) passed=$((passed + 1)) ;;
	77)
		skipped=$((skipped + 1))
		notes="$notes  SKIP $name: $reason"$'\n' ;;
	*)
		failed=$((failed + 1))
		notes="$notes  FAIL $name: $reason"$'\n' ;;
	esac
done
printf '%s' "$notes"
echo "xen scenarios: $passed passed, $failed failed, $skipped skipped"
echo "$passed $failed $skipped" >"$VG_BUILD/xen/summary"
[ "$failed" -eq 0 ]
