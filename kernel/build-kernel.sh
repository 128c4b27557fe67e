#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the rig's own arm64 kernel from Debian's linux-source-6.12 (or another,
# tests/xen/lib/sources.sh):
#
#	build-kernel.sh lockdep	KUnit, lockdep, UBSAN, DMA API checks: for make check
#	build-kernel.sh debug	KASAN, kmemleak and debugging of objects as well: for
#				the scenario kasan, in make check-long
#	build-kernel.sh plain	without any of it: for measurements, make compare
#
# Results in build/kernels/KIND/: Image, config, version, its own modules (lib/
# modules/VERSION/) and kdir, a link to what other modules build against.  The
# rig takes it as VG_KERNELS="KIND=$PWD/build/kernels/KIND".  Cached under the cache directory by a hash of
# source, fragments and compiler (change "layout" below when this script makes
# something else of the same); a cached kernel costs a second.
#
# JOBS: parallel compiles (2).  The build is niced: the machine is shared.

set -eu -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
# shellcheck source=SCRIPTDIR/../tests/xen/lib/apt.sh
. "$top/tests/xen/lib/apt.sh"
# shellcheck source=SCRIPTDIR/../tests/xen/lib/sources.sh
. "$top/tests/xen/lib/sources.sh"

kind="${1:-}"
case "$kind" in
lockdep) fragments="$here/guest.config $here/lockdep.config" ;;
debug) fragments="$here/guest.config $here/lockdep.config $here/debug.config" ;;
plain) fragments="$here/guest.config" ;;
*) sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

say() {
	printf 'build-kernel: %s\n' "$*" >&2
}

for tool in aarch64-linux-gnu-gcc flex bison bc make xz; do
	command -v "$tool" >/dev/null || {
		say "needs $tool (packages gcc-aarch64-linux-gnu flex bison bc make xz-utils libssl-dev)"
		exit 1
	}
done

export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
export KBUILD_BUILD_USER=virtio-grant KBUILD_BUILD_HOST=rig
source=$(vg_source linux)
# shellcheck disable=SC2086 # a list of paths without blanks
hash=$({ echo "layout 1"; vg_source_key "$source"; cat $fragments
	 aarch64-linux-gnu-gcc --version | head -n 1; } |
	sha256sum | cut -c 1-16)
cache="$(vg_cache_dir)/kernels/$kind-$hash"

# What external modules need stays (the way Debian's headers packages do it),
# the rest of source and objects goes.
prune() {
	local tree="$1" dir

	for dir in "$tree"/src/* "$tree"/src/arch/* "$tree"/obj/*; do
		[ -d "$dir" ] && [ ! -L "$dir" ] || continue
		case "$dir" in
		*/src/include|*/src/scripts|*/src/arch|*/src/arch/arm64|\
		*/src/tools|*/obj/include|*/obj/scripts|*/obj/arch) ;;
		*) rm -rf "$dir" ;;
		esac
	done
	rm -f "$tree"/obj/vmlinux* "$tree"/obj/.tmp* "$tree"/obj/*.a
	find "$tree"/obj/arch "$tree"/src/arch -name '*.o' -delete
}

build() {
	local tree="$cache.tmp" log="$cache.log" option

	rm -rf "$tree"
	mkdir -p "$tree/src" "$tree/obj" "$tree/modules"
	say "building the $kind kernel (log: $log); several minutes"
	vg_source_unpack linux "$source" "$tree/src"
	# shellcheck disable=SC2086
	cat $fragments >"$tree/fragment"
	printf 'CONFIG_LOCALVERSION="-vgrant-%s"\n' "$kind" >>"$tree/fragment"
	(
		cd "$tree/src"
		make -s O="$tree/obj" KCONFIG_ALLCONFIG="$tree/fragment" \
			allnoconfig
		while read -r option; do
			grep -qxF "$option" "$tree/obj/.config" || {
				say "the configuration lost $option"
				exit 1
			}
		done < <(grep '^CONFIG_' "$tree/fragment")
		nice -n 10 make -s -j"${JOBS:-2}" O="$tree/obj" Image modules
	) >"$log" 2>&1 || {
		say "failed, the end of $log:"
		tail -n 20 "$log" >&2
		exit 1
	}
	make -s -C "$tree/src" O="$tree/obj" kernelrelease >"$tree/version"
	cp "$tree/obj/arch/arm64/boot/Image" "$tree/Image"
	cp "$tree/obj/.config" "$tree/config"
	find "$tree/obj" -name '*.ko' -exec cp {} "$tree/modules/" \;
	prune "$tree"
	# The object tree's Makefile and links name the source by path.
	rm -rf "$cache"
	mv "$tree" "$cache"
	ln -sfn "$cache/src" "$cache/obj/source"
	printf 'include %s\n' "$cache/src/Makefile" >"$cache/obj/Makefile"
	touch "$cache/done"
}

mkdir -p "$(dirname "$cache")"
exec 9>"$cache.lock"
flock 9
[ -e "$cache/done" ] || build

out="$top/build/kernels/$kind"
version=$(cat "$cache/version")
# Of another configuration there may be newer files, and modules that this has not.
[ "$(cat "$out/key" 2>/dev/null)" = "$hash" ] || rm -rf "$out"
mkdir -p "$out/lib/modules/$version/kernel"
printf '%s\n' "$hash" >"$out/key"
cp -u "$cache/Image" "$cache/config" "$cache/version" "$out/"
cp -u "$cache"/modules/*.ko "$out/lib/modules/$version/kernel/"
: >"$out/lib/modules/$version/modules.order"
cp -u "$cache/obj/modules.builtin" "$cache/obj/modules.builtin.modinfo" \
	"$out/lib/modules/$version/"
PATH="$PATH:/usr/sbin:/sbin" depmod -b "$out" "$version"
ln -sfn "$cache/obj" "$out/kdir"
say "$kind kernel $version: build/kernels/$kind/Image"
