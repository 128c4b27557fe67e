#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds what the scenarios flask and flask-typed use, for the rig to put into every
# domain: build/arm64/vg-resource (VG_ARCH=x86: build/amd64/), static, since the domains do not have the
# libraries of which the backend must have none, and vg-target for dom0.

set -eu
. "$(dirname "$0")/../lib/common.sh"

# tool NAME SOURCE WORDS...
tool() {
	local out="$VG_BUILD/$VG_DEB_ARCH/$1" source="$VG_XEN/$2"

	shift 2
	[ ! "$out" -nt "$source" ] || return 0
	mkdir -p "${out%/*}"
	"$("$VG_LIB/build-sysroot.sh")/$VG_DEB_ARCH-gcc" -O2 -Wall -Wextra -Werror \
		-o "$out.new" "$source" "$@"
	"${VG_CROSS}strip" "$out.new"
	mv "$out.new" "$out"
}

tool vg-resource flask/resource.c -static -lxendevicemodel \
	-lxenforeignmemory -lxengnttab -lxencall -lxentoolcore -lxentoollog
tool vg-target compare/target.c -lxenctrl -lxenstore
