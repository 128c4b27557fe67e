#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Xen for the rig, from Debian's source package, cross-built for arm64; prints
# the path of the image.  Debian's own arm64 build lacks the IOREQ server.
# XSM stays out: the default access policy ("dummy") is what the project's
# claim is about, and SILO would forbid grants between two guests.
#
# VG_XEN_COUNTERS=1: with counters by domain, for `make compare`.

set -u
. "$(dirname "$0")/common.sh"

VG_XEN_CONFIG='CONFIG_EXPERT=y
CONFIG_UNSUPPORTED=y
CONFIG_IOREQ_SERVER=y
CONFIG_PERF_COUNTERS=y
# CONFIG_XSM is not set'

make_xen() {
	local tar="$1" dir="$2" src

	src="$dir/src"
	mkdir "$src"
	tar -xf "$tar" -C "$src" --strip-components=1
	[ -z "$VG_XEN_PATCH" ] || patch -d "$src" -p1 --no-backup-if-mismatch \
		<"$VG_XEN_PATCH"
	printf '%s\n' "$VG_XEN_CONFIG" >"$dir/config.fragment"
	cp "$src/xen/arch/arm/configs/arm64_defconfig" "$dir/defconfig"
	cat "$dir/config.fragment" >>"$src/xen/arch/arm/configs/arm64_defconfig"
	make -C "$src/xen" XEN_TARGET_ARCH=arm64 CROSS_COMPILE="$VG_CROSS" \
		arm64_defconfig
	make -C "$src/xen" XEN_TARGET_ARCH=arm64 CROSS_COMPILE="$VG_CROSS" \
		-j "$VG_JOBS"
	cp "$src/xen/xen" "$dir/xen"
	cp "$src/xen/.config" "$dir/config"
	# Kconfig drops what it does not like without a word.
	grep -qx 'CONFIG_IOREQ_SERVER=y' "$dir/config"
	grep -qx 'CONFIG_PERF_COUNTERS=y' "$dir/config"
	rm -rf "$src"
}

VG_XEN_PATCH=
[ -z "${VG_XEN_COUNTERS:-}" ] || VG_XEN_PATCH="$VG_XEN/compare/xen-counters.patch"
tar=$(vg_apt_source trixie xen '*.orig.tar.*z') || exit 1
dir=$(vg_cached xen "$(vg_key "${tar##*/}" "@$0" ${VG_XEN_PATCH:+"@$VG_XEN_PATCH"})" make_xen "$tar") || exit 1
printf '%s\n' "$dir/xen"
