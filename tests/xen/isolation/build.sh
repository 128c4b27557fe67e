#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds what the isolation test runs in its domains: the attacker
# (build/arm64/vg-attack, with VG_ARCH=x86 build/amd64/; vg_attack.ko), the
# victim (vg-victim, vg_victim.ko), the tool that gives a domain a target
# (vg-target), for Debian's 6.12.

set -eu -o pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$VG_TOP/kernel/headers.sh"

here="$VG_XEN/isolation"
cc="$("$VG_LIB/build-sysroot.sh")/$VG_DEB_ARCH-gcc"
mkdir -p "$VG_BUILD/$VG_DEB_ARCH"

# program NAME SOURCES... -- LIBRARIES...
program() {
	local out="$VG_BUILD/$VG_DEB_ARCH/$1" file sources=()

	shift
	while [ "$1" != -- ]; do
		sources+=("$1")
		shift
	done
	shift
	for file in "$here"/*.h "$here"/modules/*.h "$VG_TOP/backend/relay/page.h" \
			"$VG_TOP"/kernel/uapi/*.h "${sources[@]}"; do
		[ "$out" -nt "$file" ] || {
			"$cc" -std=gnu11 -O2 -Wall -Wextra -Werror \
				-o "$out.new" "${sources[@]}" "$@"
			"${VG_CROSS}strip" "$out.new"
			mv "$out.new" "$out"
			return
		}
	done
}

attack=()
for file in "$here"/attack*.c; do
	case "$VG_DEB_ARCH:$file" in
	arm64:*_x86.c) ;;
	*) attack+=("$file") ;;
	esac
done
program vg-attack "${attack[@]}" -- -lxenstore
program vg-victim "$here/victim.c" --
program vg-target "$VG_XEN/compare/target.c" -- -lxenctrl -lxenstore

case "$VG_DEB_ARCH" in
arm64) kernel_arch=arm64 ;;
amd64) kernel_arch=x86_64 ;;
esac
kdir=$(vg_headers trixie "$VG_DEB_ARCH")
release=$(vg_headers_version trixie "$VG_DEB_ARCH")
work="$VG_BUILD/isolation-work/$release"
out="$VG_BUILD/modules/$release"
mkdir -p "$work" "$out"
hash=$(cat "$here"/modules/* "$kdir/Module.symvers" | sha256sum)
if [ "$(cat "$work/built" 2>/dev/null)" != "$hash" ] ||
   [ ! -e "$out/vg_attack.ko" ] || [ ! -e "$out/vg_victim.ko" ]; then
	ln -sf "$here"/modules/* "$work/"
	# shellcheck disable=SC2046 # words without blanks
	make -s -C "$kdir" M="$work" ARCH="$kernel_arch" CROSS_COMPILE="$VG_CROSS" \
		CC="${VG_CROSS}gcc" $(vg_headers_lacking "${VG_CROSS}gcc") modules
	cp "$work"/vg_{attack,victim}.ko "$out/"
	printf '%s\n' "$hash" >"$work/built"
fi
