#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The user land of the rig's domains: Debian trixie's packages for VG_ARCH, of
# which two initramfs bases are cut: dom0.cpio with the Xen toolstack, domu.cpio with
# what a guest or a driver domain needs.  Nothing of it is run on this machine,
# so neither emulation nor root is needed.  Prints the directory they are in.

set -u
. "$(dirname "$0")/common.sh"
. "$VG_LIB/kernel.sh"

packages='xen-utils-4.20 xen-utils-common xenstore-utils libxengnttab1
libxenevtchn1 libxenstore4 libxendevicemodel1 libxenforeignmemory1
libxentoolcore1 libxentoollog1 libxencall1 libxenmisc4.20 liburing2 libjson-c5
libseccomp2 libgcc-s1 libc6 busybox-static e2fsprogs bash strace'

# What a guest gets; libraries that a file needs follow by themselves.
VG_DOMU_FILES="usr/bin/busybox usr/bin/strace
usr/sbin/mke2fs usr/sbin/mkfs.ext4 usr/sbin/e2fsck usr/sbin/fsck.ext4
usr/sbin/dumpe2fs etc/mke2fs.conf usr/bin/xenstore
usr/bin/xenstore-*
usr/lib/$VG_TRIPLET/libxengnttab.so.1
usr/lib/$VG_TRIPLET/libxenevtchn.so.1
usr/lib/$VG_TRIPLET/libxenstore.so.4
usr/lib/$VG_TRIPLET/liburing.so.2
usr/lib/$VG_TRIPLET/libjson-c.so.5
usr/lib/$VG_TRIPLET/libseccomp.so.2
usr/lib/$VG_TRIPLET/libgcc_s.so.1"

VG_DOM0_FILES="$VG_DOMU_FILES usr/bin/bash usr/sbin/debugfs
usr/lib/xen-4.20/bin/xl usr/lib/xen-4.20/bin/xenstored
usr/lib/xen-4.20/bin/xenconsoled usr/lib/xen-4.20/bin/xenconsole
usr/lib/xen-4.20/bin/xenperf usr/lib/xen-4.20/bin/xen-init-dom0
usr/lib/xen-4.20/bin/xenstore-control usr/lib/xen-4.20/bin/libxl-save-helper
usr/lib/xen-4.20/bin/xen-diag usr/lib/xen-4.20/bin/xentrace
usr/lib/xen-4.20/bin/xenctx usr/lib/xen-4.20/bin/xenlockprof
usr/lib/$VG_TRIPLET/libxendevicemodel.so.1
usr/lib/$VG_TRIPLET/libxenforeignmemory.so.1
usr/lib/$VG_TRIPLET/libxentoolcore.so.1"

# lay OUT DIR: the frame around them.
lay() {
	local dir="$1" loader

	mkdir -p "$dir"/{proc,sys,dev,run,tmp,mnt,root,etc,var/lib,var/log} \
		"$dir"/usr/{bin,sbin,lib} "$dir/lib/modules"
	ln -sf ../run "$dir/var/run"
	ln -s usr/bin "$dir/bin"
	ln -s usr/sbin "$dir/sbin"
	# Programs name their loader without the usr: /lib, and on x86 /lib64.
	loader="$dir/${VG_LOADER#usr/}"
	mkdir -p "$dir/usr/lib/$VG_TRIPLET" "${loader%/*}"
	ln -s "../$VG_LOADER" "$loader"
	ln -s "../usr/lib/$VG_TRIPLET" "$dir/lib/$VG_TRIPLET"
	ln -sf busybox "$dir/usr/bin/sh"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' \
		>"$dir/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/etc/group"
	ln -sf /proc/mounts "$dir/etc/mtab"
}

make_root() {
	local debs="$1" dir="$2" deb kind name

	vg_unpack "$dir/packages" $debs
	for kind in dom0 domu; do
		lay "$dir/$kind"
		name="VG_${kind^^}_FILES"
		# The patterns are for the packages' directory.
		vg_pick "$dir/packages" "$dir/$kind" \
			$(cd "$dir/packages" && ls -d ${!name})
	done
	for name in "$dir"/dom0/usr/lib/xen-4.20/bin/*; do
		ln -sf "../lib/xen-4.20/bin/${name##*/}" "$dir/dom0/usr/sbin/${name##*/}"
	done
	mkdir -p "$dir"/dom0/{etc/xen/scripts,var/lib/xen,var/log/xen/console}
	for kind in dom0 domu; do
		vg_cpio "$dir/$kind" "$dir/$kind.cpio"
		rm -rf "${dir:?}/$kind"
	done
	rm -rf "$dir/packages"
}

# shellcheck disable=SC2086 # lists of words
debs=$(vg_apt_closure trixie "$VG_DEB_ARCH" $packages) || exit 1
# shellcheck disable=SC2086
vg_cached "root$VG_SUFFIX" "$(vg_key ${debs//$'\n'/ } "@$0" \
	"$(declare -f vg_unpack vg_pick vg_cpio)")" \
	make_root "$debs"
