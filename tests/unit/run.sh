#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh BUILDDIR PROGRAM... - runs cmocka programs, two at a time and in the order
# in which they are named, and counts tests from their output, which is in
# PROGRAM.log: two rooms may have programs of one name.  A program that dies without
# a failed test of its own counts as one failed test.  BUILDDIR/summary gets the
# count, BUILDDIR/seconds what each took; the exit status is 0 only if nothing
# failed and something passed.
set -u

build=$1
shift
limit_s=${UNIT_TIMEOUT_S:-360}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The next one begins when any has ended.
n=0
# shellcheck disable=SC2016 # for the shell that runs one
for prog; do
	n=$((n + 1))
	printf '%s\0%s\0' "$n" "$prog"
done | xargs -0 -r -n 2 -P 2 sh -c '
	began=$(date +%s)
	timeout "$0" "$3" >"$3.log" 2>&1
	echo $? >"$1/$2.rc"
	echo "$(($(date +%s) - began)) $3" >"$1/$2.seconds"
' "$limit_s" "$work"
cat "$work"/*.seconds 2>/dev/null | sort -rn >"$build/seconds"

passed=0 failed=0 skipped=0 n=0
for prog; do
	n=$((n + 1))
	name=$(basename "$prog")
	log=$prog.log
	rc=$(cat "$work/$n.rc")
	p=$(grep -c '^\[       OK \]' "$log")
	# ERROR: a failed setup or teardown (with "---": an assertion's text).
	grep '^\[  FAILED  \]\|^\[  ERROR   \]' "$log" |
		grep -v 'test(s)\|---' | sed 's/^\[[A-Z ]*\] *//' |
		sort -u >"$work/failed"
	f=$(wc -l <"$work/failed")
	if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1
		why="died"
		[ "$rc" -ne 124 ] || why="took longer than $limit_s s"
		echo "FAIL $name: $why (status $rc) after $(
			grep '^\[ RUN' "$log" | tail -n 1), see $log"
	elif [ "$f" -ne 0 ]; then
		sed "s/^/FAIL $name: /" "$work/failed"
		echo "     see $log"
	fi
	# cmocka lists a skipped test twice: when it happens and at the end.
	s=$(grep '^\[  SKIPPED \]' "$log" | grep -v 'test(s)' | sort -u |
		wc -l)
	[ "$s" -eq 0 ] || grep '^\[  SKIPPED \]' "$log" |
		grep -v 'test(s)' | sort -u |
		sed "s/^\[  SKIPPED \]/SKIP $name:/"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line="$line, $skipped skipped"
echo "$line" | tee "$build/summary"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
