#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh - the packages that the micro-benchmark needs: says what is missing,
# then installs it.  With --list only prints the names.
set -eu

packages="$(sh "$(dirname "$0")/../unit/deps.sh" --list) linux-libc-dev make python3 strace valgrind"

if [ "${1-}" = --list ]; then
	echo "$packages"
	exit 0
fi

missing=
for p in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0

run=
[ "$(id -u)" -eq 0 ] || run=sudo
echo "benchmark: these packages are missing:$missing"
echo "benchmark: installing them (${run:+$run }apt-get install)"
# Names come from the list above: one argument each.
# shellcheck disable=SC2086
$run apt-get install -y --no-install-recommends $missing || {
	$run apt-get update
	# shellcheck disable=SC2086
	$run apt-get install -y --no-install-recommends $missing
}
