#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# fio for the rig: static, for VG_ARCH, from Debian's source package (Debian's own
# binary drags a cluster file system's client libraries along, tens of megabytes
# for each initramfs).  Prints the path of the program.

set -u
. "$(dirname "$0")/common.sh"

make_fio() {
	local source="$1" sysroot="$2" dir="$3"

	vg_source_unpack fio "$source" "$dir/src"
	cd "$dir/src"
	./configure --cc="$sysroot/$VG_DEB_ARCH-gcc" --cpu="${VG_TRIPLET%%-*}" --build-static \
		--disable-native --disable-http --disable-rados --disable-rbd \
		--disable-gfapi --disable-numa --disable-rdma --disable-pmem \
		--disable-lex --disable-shm --disable-tcmalloc --disable-libnfs
	grep -q 'CONFIG_LIBAIO' config-host.h
	make -j "$VG_JOBS" fio
	"${VG_CROSS}strip" -o "$dir/fio" fio
	cd "$dir"
	rm -rf "$dir/src"
}

source=$(vg_source fio) || exit 1
sysroot=$("$VG_LIB/build-sysroot.sh") || exit 1
dir=$(vg_cached "fio$VG_SUFFIX" "$(vg_key "$(vg_source_key "$source")" "${sysroot##*/}" "@$0")" \
	make_fio "$source" "$sysroot") || exit 1
printf '%s\n' "$dir/fio"
