# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the scripts of the rig share: where things are, the cache, and a few
# ways of saying what is going on.  Sourced, not run.

VG_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VG_XEN=$(dirname "$VG_LIB")
VG_TOP=$(cd "$VG_XEN/../.." && pwd)
VG_BUILD="${VG_BUILD:-$VG_TOP/build}"
# VG_ARCH: arm64 (if not set) or x86, the rig's machine and its domains; in Debian's
# words, and the compilers':
case "${VG_ARCH:-arm64}" in
arm64)
	VG_DEB_ARCH=arm64
	VG_TRIPLET=aarch64-linux-gnu
	VG_LOADER=usr/lib/ld-linux-aarch64.so.1 ;;
x86)
	VG_DEB_ARCH=amd64
	VG_TRIPLET=x86_64-linux-gnu
	VG_LOADER=usr/lib64/ld-linux-x86-64.so.2 ;;
*)
	printf 'rig: error: VG_ARCH is arm64 or x86, not %s\n' "$VG_ARCH" >&2
	exit 1 ;;
esac
VG_CROSS=$VG_TRIPLET-
# What the cache's pieces are called: arm64's have the plain name.
VG_SUFFIX=
[ "$VG_DEB_ARCH" = arm64 ] || VG_SUFFIX=-$VG_DEB_ARCH
# Never take the machine over: two jobs at the most unless told otherwise.
VG_JOBS="${VG_JOBS:-$(n=$(nproc); echo $((n < 2 ? n : 2)))}"

# shellcheck source=apt.sh
. "$VG_LIB/apt.sh"
# shellcheck source=sources.sh
. "$VG_LIB/sources.sh"

vg_say() {
	printf 'rig: %s\n' "$*" >&2
}

vg_die() {
	printf 'rig: error: %s\n' "$*" >&2
	exit 1
}

# vg_key WORDS... : a short hash of the words and of the files named @FILE.
vg_key() {
	local word

	for word; do
		case "$word" in
		@*) cat "${word#@}" ;;
		*) printf '%s\n' "$word" ;;
		esac
	done | sha256sum | cut -c 1-16
}

# vg_cached NAME KEY FUNCTION [ARGS...]: print the cache directory NAME-KEY; if
# it is not there yet, FUNCTION ARGS... DIR fills a directory that becomes it (it
# sees functions and VG_ variables; with -e).
# Several callers may ask at once; one builds, the others wait.
vg_cached() {
	local name="$1" key="$2" function="$3" dir log

	shift 3
	dir="$(vg_cache_dir)/$name-$key"
	if [ ! -d "$dir" ]; then
		log="$(vg_cache_dir)/$name-$key.log"
		(
			flock 8
			[ ! -d "$dir" ] || exit 0
			rm -rf "$dir.new"
			mkdir -p "$dir.new"
			start=$(date +%s)
			vg_say "making $name (log: $log)"
			# In a shell of its own: when the caller says "||" to
			# any of this, bash takes no notice of -e in here.
			VG_FUNCTIONS="$(declare -f)" \
			VG_GLOBALS="$(declare -p "${!VG_@}")" \
			bash -e -c 'eval "$VG_GLOBALS"; eval "$VG_FUNCTIONS"
				unset VG_FUNCTIONS VG_GLOBALS; "$@"' \
				_ "$function" "$@" "$dir.new" >"$log" 2>&1
			if [ $? -ne 0 ]; then
				vg_say "$name failed; the end of $log:"
				tail -n 15 "$log" >&2
				exit 1
			fi
			mv "$dir.new" "$dir"
			# What nobody has used for long, its inputs are gone.
			find "$(vg_cache_dir)" -maxdepth 1 -mtime +14 \
				-name "$name-*" -exec rm -rf {} +
			vg_say "$name made in $(($(date +%s) - start)) s"
		) 8>"$(vg_cache_dir)/$name-$key.lock" || return 1
	fi
	touch -c "$dir"
	printf '%s\n' "$dir"
}
