# SPDX-License-Identifier: GPL-2.0-or-later
#
# Puts together what one run boots from: cached pieces, and on top of them what
# may have changed since: the rig's own scripts, the project's programs
# (build/arm64/*, build/amd64/*) and modules (build/modules/<kernel version>/*.ko).  Sourced
# after common.sh and kernel.sh.

vg_make_tools() {
	local sysroot="$1" dir="$2"

	"$sysroot/$VG_DEB_ARCH-gcc" -O2 -Wall -Wextra -static -o "$dir/vg-agent" \
		"$VG_XEN/domu/agent.c"
	"$sysroot/$VG_DEB_ARCH-gcc" -O2 -Wall -Wextra -o "$dir/vg-call" \
		"$VG_XEN/dom0/call.c" -lxenstore
}

vg_tools() {
	local sysroot

	sysroot=$("$VG_LIB/build-sysroot.sh") || return 1
	vg_cached "tools$VG_SUFFIX" "$(vg_key "${sysroot##*/}" "@$VG_XEN/domu/agent.c" \
		"@$VG_XEN/domu/frame.h" "@$VG_XEN/dom0/call.c")" \
		vg_make_tools "$sysroot"
}

# vg_xen: the hypervisor's image, ours or Debian's own.
vg_xen() {
	case "$VG_DEB_ARCH:${VG_XEN_VARIANT:-}" in
	amd64:*|*:stock) "$VG_LIB/stock-xen.sh" ;;
	*) "$VG_LIB/build-xen.sh" ;;
	esac
}

# vg_fio: the path of the program; nothing for a scenario that says it makes no use of
# it, the one thing that is built from source for every run.
vg_fio() {
	[ -n "${VG_WITHOUT_FIO:-}" ] || "$VG_LIB/build-fio.sh"
}

# vg_prepare KERNEL...: all that takes long, so that it is done before a clock
# starts.
vg_prepare() {
	local kernel

	vg_xen >/dev/null &&
		"$VG_LIB/build-root.sh" >/dev/null &&
		vg_fio >/dev/null &&
		vg_tools >/dev/null || return 1
	for kernel; do
		vg_modules "$kernel" >/dev/null || return 1
	done
}

# vg_overlay KIND KERNELDIR MODULESDIR FILE: the piece on top.
vg_overlay() {
	local kind="$1" kernel="$2" modules="$3" file="$4" dir version tools fio ko

	dir=$(mktemp -d) || return 1
	version=$(cat "$kernel/version")
	tools=$(vg_tools) && fio=$(vg_fio) || return 1
	mkdir -p "$dir/usr/local/bin"
	cp "$VG_XEN/$kind/init" "$dir/init"
	[ -z "$fio" ] || cp "$fio" "$dir/usr/local/bin/fio"
	if [ "$kind" = dom0 ]; then
		cp "$tools/vg-call" "$dir/usr/local/bin/"
	else
		cp "$tools/vg-agent" "$VG_XEN/domu/vbd-hotplug" \
			"$dir/usr/local/bin/"
	fi
	for ko in "$VG_BUILD/$VG_DEB_ARCH"/*; do
		[ ! -f "$ko" ] || [ ! -x "$ko" ] || cp "$ko" "$dir/usr/local/bin/"
	done
	if [ "${VG_INIT:-}" = systemd ]; then
		mkdir -p "$dir/usr/sbin" "$dir/usr/lib/systemd/system"
		ln -s ../local/bin/virtio-grantd ../local/bin/virtio-grant-broker \
			"$dir/usr/sbin"
		cp "$VG_TOP"/backend/units/*.service "$dir/usr/lib/systemd/system/"
	fi
	if ls "$VG_BUILD/modules/$version"/*.ko >/dev/null 2>&1; then
		mkdir -p "$dir/lib/modules"
		cp -a "$modules/root/lib/modules/$version" "$dir/lib/modules/"
		mkdir -p "$dir/lib/modules/$version/extra"
		cp "$VG_BUILD/modules/$version"/*.ko \
			"$dir/lib/modules/$version/extra/"
		PATH="$PATH:/usr/sbin:/sbin" depmod -b "$dir" "$version"
		# Only what differs from the piece below.
		rm -rf "$dir/lib/modules/$version/kernel" \
			"$dir/lib/modules/$version"/modules.*.bin
	fi
	vg_cpio "$dir" "$file"
	rm -rf "$dir"
}

# vg_compose DIR KERNEL...: DIR/in/kernel/KERNEL/{Image,initrd} and DIR/in/dom0.
# VG_INIT=systemd: that is the domains' first process, and has the units.
vg_compose() {
	local dir="$1" root name kernel modules init=

	shift
	root=$("$VG_LIB/build-root.sh") || return 1
	if [ "${VG_INIT:-}" = systemd ]; then
		init=$("$VG_LIB/build-systemd.sh") || return 1
	fi
	mkdir -p "$dir/in/etc"
	cp -r "$VG_XEN/dom0/etc/." "$dir/in/etc/"
	mkdir -p "$dir/in/dom0"
	cp "$VG_XEN"/dom0/*.sh "$dir/in/dom0/"
	for name; do
		kernel=$(vg_kernel "$name") && modules=$(vg_modules "$name") ||
			return 1
		mkdir -p "$dir/in/kernel/$name"
		ln -f "$kernel/Image" "$dir/in/kernel/$name/Image" 2>/dev/null ||
			cp "$kernel/Image" "$dir/in/kernel/$name/Image" || return 1
		vg_overlay domu "$kernel" "${modules%/*}" "$dir/overlay.cpio" &&
			cat "$root/domu.cpio" "$modules" $init "$dir/overlay.cpio" \
				>"$dir/in/kernel/$name/initrd" || return 1
	done
	kernel=$(vg_kernel 6.12) && modules=$(vg_modules 6.12) || return 1
	vg_overlay dom0 "$kernel" "${modules%/*}" "$dir/overlay.cpio" &&
		cat "$root/dom0.cpio" "$modules" $init "$dir/overlay.cpio" \
			>"$dir/dom0.cpio" || return 1
	rm -f "$dir/overlay.cpio"
}
