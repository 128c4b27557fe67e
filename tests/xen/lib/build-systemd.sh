#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian trixie's systemd for VG_ARCH, as one more piece of an initramfs, for domains
# that it is to be the first process of: the manager, its commands, and targets
# only: what runs in them, the scenario says.  Prints the path of the piece.

set -u
. "$(dirname "$0")/common.sh"
. "$VG_LIB/kernel.sh"

make_systemd() {
	local debs="$1" dir="$2" unit
	local files='usr/lib/systemd/systemd usr/lib/systemd/systemd-executor
usr/lib/systemd/systemd-shutdown usr/bin/systemctl usr/bin/systemd-analyze
usr/bin/systemd-run'

	vg_unpack "$dir/packages" $debs
	for unit in "$dir"/packages/usr/lib/systemd/system/{*.target,systemd-{poweroff,reboot}.service}; do
		[ -L "$unit" ] ||
			files="$files usr/lib/systemd/system/${unit##*/}"
	done
	vg_pick "$dir/packages" "$dir/tree" $files
	mkdir -p "$dir/tree/etc"
	: >"$dir/tree/etc/machine-id"
	vg_cpio "$dir/tree" "$dir/systemd.cpio"
	rm -rf "$dir/packages" "$dir/tree"
}

debs=$(vg_apt_closure trixie "$VG_DEB_ARCH" systemd libc6 libapparmor1 libaudit1) || exit 1
# shellcheck disable=SC2086 # lists of words
dir=$(vg_cached "systemd$VG_SUFFIX" "$(vg_key ${debs//$'\n'/ } "@$0" \
	"$(declare -f vg_unpack vg_pick vg_cpio)")" make_systemd "$debs") || exit 1
printf '%s/systemd.cpio\n' "$dir"
