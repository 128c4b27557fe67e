#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the test programs that the rig puts into every domain, into
# build/arm64/, or with VG_ARCH=x86 into build/amd64/: vg-probe, static, since the domains do not have the libraries of
# which the backend must have none; vg-readers, for guests; and vg-broker-probe,
# for dom0, with the broker's own code.

set -eu
. "$(dirname "$0")/../lib/common.sh"

top=$(realpath "$VG_XEN/../..")
xen="$top/backend/xen"

# program NAME SOURCE... -- FLAGS...: unless it is newer than what it is made of
program() {
	local out="$VG_BUILD/$VG_DEB_ARCH/$1" sources=() s

	shift
	while [ "$1" != -- ]; do
		sources+=("$1")
		shift
	done
	shift
	for s in "${sources[@]}" "$xen/xen.h"; do
		[ "$out" -nt "$s" ] || break
		s=
	done
	[ -n "$s" ] || return 0
	mkdir -p "${out%/*}"
	"$("$VG_LIB/build-sysroot.sh")/$VG_DEB_ARCH-gcc" -O2 -Wall -Wextra -Werror \
		-D_GNU_SOURCE -iquote "$top/backend" -o "$out.new" "${sources[@]}" "$@"
	"${VG_CROSS}strip" "$out.new"
	mv "$out.new" "$out"
}

program vg-probe "$VG_XEN/probe/probe.c" -- -static \
	-lxendevicemodel -lxenforeignmemory -lxencall -lxentoolcore -lxentoollog
program vg-readers "$VG_XEN/probe/readers.c" -- -static -pthread
program vg-broker-probe "$VG_XEN/probe/broker_probe.c" "$xen/ioreq.c" \
	"$xen/evtchn.c" "$xen/confine.c" "$top/backend/lib/util.c" \
	"$top/backend/lib/log.c" "$top/backend/lib/printable.c" -- \
	-lxendevicemodel -lxenforeignmemory -lxencall \
	-lxenevtchn -lxentoolcore -lseccomp
