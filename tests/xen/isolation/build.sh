#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds what the isolation test runs in its domains: the attacker
# (build/arm64/vg-attack, vg_attack.ko), the victim (vg-victim, vg_victim.ko),
# the tool that gives a domain a target (vg-target), for Debian's 6.12.

set -eu -o pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$VG_TOP/kernel/headers.sh"

here="$VG_XEN/isolation"
cc="$("$VG_LIB/build-sysroot.sh")/arm64-gcc"
mkdir -p "$VG_BUILD/arm64"

# program NAME SOURCES... -- LIBRARIES...
program() {
	local out="$VG_BUILD/arm64/$1" file sources=()

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

program vg-attack "$here"/attack*.c -- -lxenstore
program vg-victim "$here/victim.c" --
program vg-target "$VG_XEN/compare/target.c" -- -lxenctrl -lxenstore

kdir=$(vg_headers trixie arm64)
release=$(vg_headers_version trixie arm64)
work="$VG_BUILD/isolation-work/$release"
out="$VG_BUILD/modules/$release"
mkdir -p "$work" "$out"
hash=$(cat "$here"/modules/* "$kdir/Module.symvers" | sha256sum)
if [ "$(cat "$work/built" 2>/dev/null)" != "$hash" ] ||
   [ ! -e "$out/vg_attack.ko" ] || [ ! -e "$out/vg_victim.ko" ]; then
	ln -sf "$here"/modules/* "$work/"
	# shellcheck disable=SC2046 # words without blanks
	make -s -C "$kdir" M="$work" ARCH=arm64 CROSS_COMPILE="$VG_CROSS" \
		CC="${VG_CROSS}gcc" $(vg_headers_lacking "${VG_CROSS}gcc") modules
	cp "$work"/vg_{attack,victim}.ko "$out/"
	printf '%s\n' "$hash" >"$work/built"
fi
