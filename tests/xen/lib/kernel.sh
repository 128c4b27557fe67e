# SPDX-License-Identifier: GPL-2.0-or-later
#
# Kernels of the rig, for VG_ARCH.  Debian's own, unpacked from their packages, or
# one of our own: a directory with Image, version and lib/modules/<version>, as the
# script that builds it leaves it.  Image is what a loader takes without unpacking:
# arm64's raw one, x86's vmlinux.  Sourced after common.sh.
#
# A kernel's short name: 6.1, 6.12, newest (Debian's), 6.12-16k (Debian's with pages
# of 16 KiB, arm64 only); or that of a directory in build/kernels/ (x86: the name
# with -amd64 appended); or whatever stands before the "=" in VG_KERNELS, a list of
# NAME=DIRECTORY words, of which the run's machine decides the architecture.

# vg_kernel_suite NAME: the Debian suite that ships it.
vg_kernel_suite() {
	case "$1" in
	6.1) echo bookworm ;;
	6.12|6.12-16k) echo trixie ;;
	newest) vg_kernel_newest ;;
	*) return 1 ;;
	esac
}

# vg_kernel_newest: the newest suite that has all of one.
vg_kernel_newest() {
	local suite

	for suite in sid forky trixie; do
		vg_apt_kernel "$suite" "$VG_DEB_ARCH" all >/dev/null || continue
		printf '%s\n' "$suite"
		return 0
	done
	return 1
}

# vg_vmlinux BZIMAGE FILE: the ELF file in it.  Xen and libxl can unpack by
# themselves, but then it is the emulated machine that does.
vg_vmlinux() {
	python3 - "$1" "$2" <<-'EOP'
	import struct, subprocess, sys
	with open(sys.argv[1], "rb") as f:
	    image = f.read()
	# Documentation/arch/x86/boot.rst; what is not gzip ends with its size.
	setup = (image[0x1f1] or 4) + 1
	offset, length = struct.unpack_from("<II", image, 0x248)
	data = image[setup * 512 + offset:][:length]
	for magic, command in ((b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
			       (b"\x1f\x8b", "gzip")):
	    if data.startswith(magic):
	        break
	else:
	    sys.exit("packed in a way that is not known")
	with open(sys.argv[2], "wb") as out:
	    subprocess.run([command, "-dc"], stdout=out, check=True,
			   input=data if command == "gzip" else data[:-4])
	EOP
	[ "$(head -c 4 "$2" | tail -c 3)" = ELF ]
}

vg_make_kernel() {
	local debs="$1" dir="$2" deb version

	mkdir "$dir/deb"
	for deb in $debs; do
		dpkg-deb --fsys-tarfile "$deb" |
			tar -x -C "$dir/deb" --no-same-owner -f -
	done
	# Usrmerge, and vmlinuz and config among the modules, came with time.
	[ -d "$dir/deb/lib" ] || ln -s usr/lib "$dir/deb/lib"
	version=$(ls "$dir/deb/lib/modules")
	mkdir -p "$dir/lib/modules"
	mv "$dir/deb/lib/modules/$version" "$dir/lib/modules/"
	if [ -d "$dir/deb/boot" ]; then
		cp "$dir/deb/boot/vmlinuz-$version" "$dir/Image"
		cp "$dir/deb/boot/config-$version" "$dir/config"
	else
		mv "$dir/lib/modules/$version/vmlinuz" "$dir/Image"
		mv "$dir/lib/modules/$version/config" "$dir/config"
	fi
	# The older arm64 images are raw, some are gzip: Xen's loaders want raw.
	if [ "$VG_DEB_ARCH" = amd64 ]; then
		mv "$dir/Image" "$dir/bzImage"
		vg_vmlinux "$dir/bzImage" "$dir/Image"
		rm "$dir/bzImage"
	elif [ "$(head -c 2 "$dir/Image" | od -An -tx1 | tr -d ' ')" = 1f8b ]; then
		mv "$dir/Image" "$dir/Image.gz"
		gunzip "$dir/Image.gz"
	fi
	rm -rf "$dir/deb"
	PATH="$PATH:/usr/sbin:/sbin" depmod -b "$dir" "$version"
	printf '%s\n' "$version" >"$dir/version"
}

# vg_kernel NAME: its directory.
vg_kernel() {
	local word suite debs arch=$VG_DEB_ARCH

	for word in ${VG_KERNELS:-}; do
		if [ "${word%%=*}" = "$1" ]; then
			printf '%s\n' "${word#*=}"
			return 0
		fi
	done
	if [ -r "$VG_BUILD/kernels/$1$VG_SUFFIX/Image" ]; then
		printf '%s\n' "$VG_BUILD/kernels/$1$VG_SUFFIX"
		return 0
	fi
	suite=$(vg_kernel_suite "$1") || {
		vg_say "no kernel is called '$1'"
		return 1
	}
	case "$1:$arch" in
	6.12-16k:arm64) arch=arm64-16k ;;
	6.12-16k:*)
		vg_say "kernel $1 is arm64's"
		return 1 ;;
	esac
	debs=$(vg_apt_kernel "$suite" "$arch" all) || return 1
	debs=$(grep -E '/linux-(image|base|binary|modules)-[^/]*$' <<<"$debs")
	debs=" ${debs//$'\n'/ }"
	vg_cached "kernel-$1$VG_SUFFIX" \
		"$(vg_key "$debs" "$(declare -f vg_make_kernel vg_vmlinux)")" \
		vg_make_kernel "$debs"
}

# What domains need beyond what is built in; absent names are skipped (they
# are built in, or that kernel has none).
VG_MODULES='xenfs xen-privcmd xen-evtchn xen-gntdev xen-gntalloc xen-blkfront
xen-blkback virtio_mmio virtio_pci virtio_blk virtio_rng 9p 9pnet_virtio loop brd null_blk ext4
crc32c_generic crc32c libcrc32c crc32c-cryptoapi xxhash_generic
dm-mod dm-flakey dm-snapshot'

# vg_make_modules KERNELDIR DIR: modules.cpio with those, uncompressed (it is
# the emulated machine that would have to unpack them), and their depmod files.
vg_make_modules() {
	local kernel="$1" dir="$2" version name file dep from to

	version=$(cat "$kernel/version")
	from="$kernel/lib/modules/$version"
	to="$dir/root/lib/modules/$version"
	mkdir -p "$to"
	if [ -e "$from/modules.dep" ]; then
		cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/" || true
		for name in $VG_MODULES; do
			file=$(awk -F: -v want="${name//-/_}" '{
				name = $1
				sub(".*/", "", name)
				sub("[.]ko.*", "", name)
				gsub("-", "_", name)
				if (name == want)
					print $1, $2
			}' "$from/modules.dep")
			for dep in $file; do
				mkdir -p "$to/${dep%/*}"
				case "$dep" in
				*.xz) xz -dc "$from/$dep" >"$to/${dep%.xz}" ;;
				*.zst) zstd -qdc "$from/$dep" >"$to/${dep%.zst}" ;;
				*.gz) gzip -dc "$from/$dep" >"$to/${dep%.gz}" ;;
				*) cp "$from/$dep" "$to/$dep" ;;
				esac
			done
		done
		PATH="$PATH:/usr/sbin:/sbin" depmod -b "$dir/root" "$version"
		rm -f "$to"/modules.*.bin
	fi
	vg_cpio "$dir/root" "$dir/modules.cpio"

}

# vg_modules NAME: the path of that cpio.
vg_modules() {
	local kernel dir

	kernel=$(vg_kernel "$1") || return 1
	dir=$(vg_cached "modules-$1$VG_SUFFIX" "$(vg_key "$kernel" "$VG_MODULES" \
		"@$kernel/version" "$(stat -L -c %Y "$kernel/Image")" \
		"$(declare -f vg_make_modules vg_cpio)")" \
		vg_make_modules "$kernel") || return 1
	printf '%s/modules.cpio\n' "$dir"
}

# vg_cpio DIR FILE: an initramfs piece.  Pieces are concatenated, later ones
# win, so what changes often sits in a small one of its own.
vg_cpio() {
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort |
		cpio --quiet -o -H newc -R 0:0) >"$2.new" && mv "$2.new" "$2"
}

# vg_unpack DIR DEBS...: what is in packages, but documentation.
vg_unpack() {
	local dir="$1" deb

	shift
	mkdir -p "$dir"/usr/{lib,bin,sbin}
	ln -s usr/lib "$dir/lib"
	ln -s usr/bin "$dir/bin"
	ln -s usr/sbin "$dir/sbin"
	for deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir" \
			--no-same-owner --keep-directory-symlink \
			--exclude='./usr/share/*' --exclude='./usr/lib/python3*' -f -
	done
}

# vg_pick FROM TO FILES...: copy files with the shared libraries they need.
vg_pick() {
	local from="$1" to="$2" file lib todo path

	shift 2
	todo=$(cd "$from" && printf '%s\n' "$@")
	while [ -n "$todo" ]; do
		path=
		for file in $todo; do
			# A link is followed: guests have one name for one file.
			[ -e "$from/$file" ] || {
				echo "no $file in the packages"
				return 1
			}
			[ ! -e "$to/$file" ] || continue
			mkdir -p "$to/${file%/*}"
			cp -L --preserve=mode "$from/$file" "$to/$file"
			for lib in $("${VG_CROSS}objdump" -p "$from/$file" \
					2>/dev/null | awk '$1 == "NEEDED" { print $2 }'); do
				case "$lib" in
				"${VG_LOADER##*/}") path="$path $VG_LOADER" ;;
				libsystemd-*)
					path="$path usr/lib/$VG_TRIPLET/systemd/$lib" ;;
				*) path="$path usr/lib/$VG_TRIPLET/$lib" ;;
				esac
			done
		done
		todo="$path"
	done
}
