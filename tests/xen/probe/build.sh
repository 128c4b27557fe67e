#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds build/arm64/vg-probe, which the rig puts into every domain.  Static:
# the domains do not have the libraries of which the backend must have none.

set -eu
. "$(dirname "$0")/../lib/common.sh"

out="$VG_BUILD/arm64/vg-probe"
source="$VG_XEN/probe/probe.c"
[ "$out" -nt "$source" ] && exit
mkdir -p "${out%/*}"
"$("$VG_LIB/build-sysroot.sh")/arm64-gcc" -O2 -Wall -Wextra -Werror -static \
	-o "$out.new" "$source" -lxendevicemodel -lxenforeignmemory -lxencall \
	-lxentoolcore -lxentoollog
"${VG_CROSS}strip" "$out.new"
mv "$out.new" "$out"
