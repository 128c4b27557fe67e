# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh - what the deps.sh of a kind of test does with its packages: says what
# is missing, then installs it.  With --list only prints the names; with --check
# installs nothing and fails when something is missing.  Sourced, by sh, with
# $kind and $packages set, and the script's arguments.

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

echo "$kind: these packages are missing:$missing"
[ "${1-}" != --check ] || exit 1

run=
[ "$(id -u)" -eq 0 ] || run=sudo
echo "$kind: installing them (${run:+$run }apt-get install)"
# Names come from the list: one argument each.
# shellcheck disable=SC2086
$run apt-get install -y --no-install-recommends $missing || {
	$run apt-get update
	# shellcheck disable=SC2086
	$run apt-get install -y --no-install-recommends $missing
}
