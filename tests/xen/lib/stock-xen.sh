#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian trixie's own Xen for VG_ARCH, unpacked from its package, for all runs on
# x86 and for "# rig: xen stock" on Arm; prints the path of the image.
#
# It has no performance counters.  x86's has the IOREQ server and no XSM.  arm64's
# has no IOREQ server, and XSM with SILO as the default, which forbids grants and
# event channels between two guests: "xsm=dummy" on the command line.

set -u
. "$(dirname "$0")/common.sh"

make_stock_xen() {
	local deb="$1" dir="$2" file

	dpkg-deb -x "$deb" "$dir/deb"
	file="$dir/deb/boot/xen-4.20-$VG_DEB_ARCH"
	# x86's is packed, and QEMU does not unpack what it takes for multiboot.
	if [ -e "$file.gz" ]; then
		gzip -dc "$file.gz" >"$dir/xen"
	else
		cp "$file" "$dir/xen"
	fi
	rm -rf "$dir/deb"
}

deb=$(vg_apt_deb trixie "$VG_DEB_ARCH" "xen-hypervisor-4.20-$VG_DEB_ARCH") || exit 1
dir=$(vg_cached "stock-xen$VG_SUFFIX" "$(vg_key "$deb" "@$0")" \
	make_stock_xen "$deb") || exit 1
printf '%s\n' "$dir/xen"
