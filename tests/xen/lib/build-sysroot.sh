#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A sysroot of Debian trixie for VG_ARCH with the headers and libraries that the
# backend and the rig's own helpers are built against; prints its path.  Use:
#
#	CC=$(VG_ARCH=arm64 tests/xen/lib/build-sysroot.sh)/arm64-gcc
#	CC=$(VG_ARCH=x86 tests/xen/lib/build-sysroot.sh)/amd64-gcc
#
# and not the compiler with --sysroot alone: Debian's looks into its own libc (of
# the host's release) before it looks into any sysroot.  Where the host is of that
# architecture, its own compiler has the cross compiler's name, too.

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
	# libc.so names the loader there.
	[[ $VG_LOADER != usr/lib64/* ]] || ln -s usr/lib64 "$dir/lib64"
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
	cat >"$dir/$VG_DEB_ARCH-gcc" <<-EOC
	#!/bin/sh
	root=\$(dirname "\$(readlink -f "\$0")")
	exec ${VG_CROSS}gcc --sysroot="\$root" \\
		-B"\$root/usr/lib/$VG_TRIPLET" -nostdinc \\
		-isystem "$("${VG_CROSS}gcc" -print-file-name=include)" \\
		-isystem "\$root/usr/include/$VG_TRIPLET" \\
		-isystem "\$root/usr/include" "\$@"
	EOC
	chmod +x "$dir/$VG_DEB_ARCH-gcc"
	echo 'int main(void) { return 0; }' >"$dir/t.c"
	"$dir/$VG_DEB_ARCH-gcc" "$dir/t.c" -o "$dir/t" -Wl,--no-as-needed \
		-lxengnttab -lxenevtchn -lxenstore -lxendevicemodel \
		-lxenforeignmemory -lxentoolcore -luring -ljson-c -lseccomp
	rm "$dir/t.c" "$dir/t"
}

# shellcheck disable=SC2086 # lists of words
debs=$(vg_apt_closure trixie "$VG_DEB_ARCH" $packages) || exit 1
# shellcheck disable=SC2086
vg_cached "sysroot$VG_SUFFIX" "$(vg_key ${debs//$'\n'/ } "@$0")" make_sysroot "$debs"
