#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs the scenarios named (or all), one after the other, and closes with a
# line for each that did not pass and the counts, which build/xen/summary also
# gets, as "PASSED FAILED SKIPPED".  Exit status: 0 if none failed.

set -u
. "$(dirname "$0")/lib/common.sh"

passed=0
failed=0
skipped=0
notes=''

[ $# -gt 0 ] || set -- $("$VG_XEN/run.sh" --list)
mkdir -p "$VG_BUILD/xen"
rm -f "$VG_BUILD/xen/summary"
for name; do
	echo "-- $name"
	"$VG_XEN/run.sh" "$name"
	status=$?
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
