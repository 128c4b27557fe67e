#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Xen for the rig, from Debian's source package, cross-built for arm64; prints
# the path of the image (sources.sh: other ways to it).  Debian's own arm64 build
# lacks the IOREQ server.
# XSM stays out: the default access policy ("dummy") is what the project's
# claim is about, and SILO would forbid grants between two guests.
#
# With patches: what a domain's dump on the console says of its timers, and a fault
# of Xen's mended that costs domains their timer (spec/xen/0003).
#
# VG_XEN_COUNTERS=1: with counters by domain, for `make compare`.
# VG_XEN_UNMENDED=1: without the second patch.
# VG_XEN_VARIANT=flask: with FLASK, and a policy inside that has the project's
# module (spec/xen/flask) and the test's (../flask).  flask-typed: the same with
# the patches of spec/xen.  slow-timers: with timers whose handlers now and then
# begin late, as they do where the host schedules QEMU's threads.

set -u
. "$(dirname "$0")/common.sh"

VG_XEN_CONFIG='CONFIG_EXPERT=y
CONFIG_UNSUPPORTED=y
CONFIG_IOREQ_SERVER=y
CONFIG_PERF_COUNTERS=y'
VG_XEN_POLICY=

# As without, where a scenario asks for one by itself.
[ "${VG_XEN_VARIANT:-}" != plain ] || VG_XEN_VARIANT=
case "${VG_XEN_VARIANT:-}" in
''|slow-timers)
	VG_XEN_CONFIG="$VG_XEN_CONFIG
# CONFIG_XSM is not set" ;;
flask|flask-typed)
	# QEMU's guest-loader can't hand a policy over: it goes inside.
	VG_XEN_CONFIG="$VG_XEN_CONFIG
CONFIG_XSM=y
CONFIG_XSM_FLASK=y
CONFIG_XSM_FLASK_POLICY=y
CONFIG_XSM_FLASK_DEFAULT=y"
	VG_XEN_POLICY=$(printf '%s\n' "$VG_TOP"/spec/xen/flask/*.{if,te} \
		"$VG_XEN"/flask/*.te)
	;;
*)
	vg_die "no variant of Xen is called '$VG_XEN_VARIANT'" ;;
esac

make_xen() {
	local source="$1" dir="$2" src file

	src="$dir/src"
	vg_source_unpack xen "$source" "$src"
	# A source that the user names may have these, or another shape.
	for file in $VG_XEN_OWN_PATCHES; do
		patch -d "$src" -p1 -N -s --dry-run <"$file" || continue
		patch -d "$src" -p1 --no-backup-if-mismatch <"$file"
	done
	for file in $VG_XEN_PATCHES; do
		patch -d "$src" -p1 --no-backup-if-mismatch <"$file"
	done
	# Guests have no business on the host's console (docs/hardening.md).
	[ -z "$VG_XEN_POLICY" ] ||
		sed -i 's/\(gen_bool(guest_writeconsole, \)true/\1false/' \
			"$src/tools/flask/policy/modules/guest_features.te"
	for file in $VG_XEN_POLICY; do
		cp "$file" "$src/tools/flask/policy/modules/"
		case "$file" in
		*.te)
			file=${file##*/}
			echo "${file%.te} = on" \
				>>"$src/tools/flask/policy/modules/modules.conf" ;;
		esac
	done
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
	if [ -n "$VG_XEN_POLICY" ]; then
		grep -qx 'CONFIG_XSM_FLASK_POLICY=y' "$dir/config"
	fi
	rm -rf "$src"
}

VG_XEN_OWN_PATCHES="$VG_XEN/lib/xen-dump-timers.patch"
VG_XEN_PATCHES=
[ -z "${VG_XEN_COUNTERS:-}" ] || VG_XEN_PATCHES="$VG_XEN/compare/xen-counters.patch"
case "${VG_XEN_VARIANT:-}" in
flask-typed)
	VG_XEN_PATCHES="$VG_XEN_PATCHES $(printf '%s ' "$VG_TOP"/spec/xen/*.patch)" ;;
*)
	[ -n "${VG_XEN_UNMENDED:-}" ] ||
		VG_XEN_OWN_PATCHES+=" $(printf '%s ' "$VG_TOP"/spec/xen/0003-*.patch)" ;;
esac
[ "${VG_XEN_VARIANT:-}" != slow-timers ] ||
	VG_XEN_PATCHES="$VG_XEN_PATCHES $VG_XEN/lib/xen-slow-timers.patch"
inputs=
for file in $VG_XEN_OWN_PATCHES $VG_XEN_PATCHES $VG_XEN_POLICY; do
	inputs="$inputs @$file"
done
if [ -n "$VG_XEN_POLICY" ]; then
	. "$VG_LIB/deps.sh"
	vg_need_host_tools flask || exit 1
fi
source=$(vg_source xen) || exit 1
# shellcheck disable=SC2086 # a list of words
dir=$(vg_cached xen "$(vg_key "$(vg_source_key "$source")" "@$0" "${VG_XEN_VARIANT:-}" $inputs)" \
	make_xen "$source") || exit 1
printf '%s\n' "$dir/xen"
