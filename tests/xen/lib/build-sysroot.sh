#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An arm64 sysroot of Debian trixie with the headers and libraries that the
# backend and the rig's own helpers are built against; prints its path.  Use:
#
#	aarch64-linux-gnu-gcc --sysroot="$(tests/xen/lib/build-sysroot.sh)" ...

set -u
. "$(dirname "$0")/common.sh"

packages='libc6-dev linux-libc-dev libxen-dev liburing-dev libjson-c-dev
libseccomp-dev libaio-dev zlib1g-dev'

make_sysroot() {
	local debs="$1" dir="$2" deb name target

	# trixie's packages put everything under usr and take these for granted.
	mkdir -p "$dir/usr/lib" "$dir/usr/bin" "$dir/usr/sbin"
	ln -s usr/lib "$dir/lib"
	ln -s usr/bin "$dir/bin"
	ln -s usr/sbin "$dir/sbin"
	for deb in $debs; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir" --no-same-owner \
			--exclude='./usr/share/*' --exclude='./etc/*' \
			--keep-directory-symlink -f -
	done
	# An absolute link would leave the sysroot.
	find "$dir/usr/lib" -type l -lname '/*' | while read -r name; do
		target=$(readlink "$name")
		ln -sfr "$dir$target" "$name"
	done
	echo 'int main(void) { return 0; }' >"$dir/t.c"
	"${VG_CROSS}gcc" --sysroot="$dir" "$dir/t.c" -o "$dir/t" \
		-lxengnttab -lxenevtchn -lxenstore -lxendevicemodel \
		-lxenforeignmemory -lxentoolcore -luring -ljson-c -lseccomp
	rm "$dir/t.c" "$dir/t"
}

# shellcheck disable=SC2086 # lists of words
debs=$(vg_apt_closure trixie arm64 $packages) || exit 1
# shellcheck disable=SC2086
vg_cached sysroot "$(vg_key ${debs//$'\n'/ } "@$0")" make_sysroot "$debs"
