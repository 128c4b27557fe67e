#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the modules for the rig's kernels into build/modules/RELEASE/*.ko.
#
#	build.sh [KERNEL...]
#
# KERNEL is 6.1, 6.12, 6.12-16k or newest (Debian's, arm64), one of them with /amd64
# appended (but 6.12-16k), or lockdep, debug or plain (ours, see build-kernel.sh; built if need be).
# Without arguments: 6.1 6.12.  Nothing is rebuilt that is up to date.

set -eu -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
# shellcheck source=SCRIPTDIR/../tests/xen/lib/apt.sh
. "$top/tests/xen/lib/apt.sh"
# shellcheck source=SCRIPTDIR/headers.sh
. "$here/headers.sh"

say() {
	printf 'build: %s\n' "$*" >&2
}

# need TOOL...
need() {
	local tool

	for tool; do
		command -v "$tool" >/dev/null || {
			say "needs $tool (tests/xen/lib/deps.sh kernel-build)"
			exit 1
		}
	done
}

# inputs KDIR CC: what a build depends on: sources, headers, compiler.
inputs() {
	cat "$here"/*.[ch] "$here"/*/*.[ch] "$here/Kbuild" "$here/Makefile"
	cksum "$1/Module.symvers" "$1/.config"
	"$2" --version | head -n 1
}

build_one() {
	local name="${1%/*}" arch=arm64 suite kdir release work hash out cc

	case "$1" in
	*/amd64) arch=amd64 ;;
	esac
	cc=$(vg_headers_cross "$arch")gcc
	need "$cc" make
	case "$name" in
	6.1) suite=bookworm ;;
	6.12) suite=trixie ;;
	6.12-16k) suite=trixie arch=arm64-16k ;;
	newest) suite=$(vg_headers_newest "$arch") ;;
	lockdep|debug|plain)
		"$here/build-kernel.sh" "$name"
		kdir=$(readlink -f "$top/build/kernels/$name/kdir")
		release=$(cat "$top/build/kernels/$name/version")
		;;
	*)
		sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
	if [ -n "${suite:-}" ]; then
		kdir=$(vg_headers "$suite" "$arch")
		release=$(vg_headers_version "$suite" "$arch")
	fi

	work="$top/build/kernel-work/$release"
	out="$top/build/modules/$release"
	hash=$(inputs "$kdir" "$cc" | sha256sum | cut -c 1-16)
	mkdir -p "$work" "$out"
	if [ "$(cat "$work/built" 2>/dev/null)" != "$hash" ] ||
	   [ ! -e "$out/virtio_grant_bus.ko" ]; then
		say "modules for $release"
		vg_headers_make "$kdir" "$arch" "$work" >"$work/log" 2>&1 || {
			say "failed, the end of $work/log:"
			tail -n 20 "$work/log" >&2
			return 1
		}
		cp "$work"/*.ko "$out/"
		printf '%s\n' "$hash" >"$work/built"
	fi
	say "build/modules/$release: $(cd "$out" && echo virtio_grant*.ko)"
}

[ $# -gt 0 ] || set -- 6.1 6.12
for kernel; do
	build_one "$kernel"
done
