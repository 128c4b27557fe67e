# SPDX-License-Identifier: GPL-2.0-or-later
#
# Headers of Debian's kernels for building modules on this machine, whatever
# its own Debian and architecture.  Sourced; vg_apt_* must be there
# (tests/xen/lib/apt.sh).

vg_headers_tools="aarch64-linux-gnu-gcc make flex bison"

# vg_headers_cross ARCH: the prefix of its compiler, which on a machine of that kind is
# its own compiler's, too.
vg_headers_cross() {
	case "$1" in
	arm64*) echo aarch64-linux-gnu- ;;
	amd64) echo x86_64-linux-gnu- ;;
	esac
}

# vg_headers_debs SUITE ARCH: its packages.  They are those of the image that the rig
# boots, if there is one: the modules are to fit.
vg_headers_debs() {
	vg_apt_kernel "$1" "$2" all 2>/dev/null && return 0
	vg_apt_kernel "$1" "$2" headers
}

# vg_headers_version SUITE ARCH: the version of the suite's newest kernel whose
# packages are all to be had.
vg_headers_version() {
	local debs

	debs=$(vg_headers_debs "$1" "$2") && vg_apt_kernel_release "$debs"
}

# vg_headers_newest ARCH: the newest suite that has any.
vg_headers_newest() {
	local suite

	for suite in sid forky trixie; do
		vg_apt_init "$suite" 2>/dev/null &&
			vg_headers_debs "$suite" "$1" >/dev/null || continue
		printf '%s\n' "$suite"
		return 0
	done
	return 1
}

# A program of a newer Debian than ours runs with that Debian's C library.
vg_headers_wrap() {
	local suite="$1" root="$2" file loader lib="$2/hostlib" arch triplet

	arch=$(dpkg --print-architecture)
	case "$arch" in
	arm64)
		triplet=aarch64-linux-gnu
		loader="$lib/usr/lib/ld-linux-aarch64.so.1" ;;
	*)
		triplet=x86_64-linux-gnu
		loader="$lib/usr/lib64/ld-linux-x86-64.so.2" ;;
	esac
	while read -r file; do
		"$file" --help >/dev/null 2>&1 </dev/null || true
		# Not -q: it would end before ldd does, and with it the pipe.
		ldd "$file" 2>&1 | grep 'not found' >/dev/null || continue
		if [ ! -e "$loader" ]; then
			mkdir -p "$lib"
			for package in libc6 libelf1t64 zlib1g libzstd1 libcrypt1 \
					libssl3t64 liblzma5 libbz2-1.0; do
				vg_apt_unpack "$suite" "$arch" "$package" "$lib" \
					2>/dev/null || true
			done
			[ -e "$loader" ] || return 1
		fi
		mv "$file" "$file.bin"
		printf '#!/bin/sh\nexec %s --argv0 "$0" --library-path %s %s "$@"\n' \
			"$loader" \
			"$lib/usr/lib/$triplet" "$file.bin" >"$file"
		chmod +x "$file"
	done < <(find "$root"/usr/lib/linux-kbuild-*/ -type f -perm -u+x \
			-exec sh -c 'head -c 4 "$1" | grep -q ELF' sh {} \; -print)
}

# Whether sparse is fit for use: says 1 if it is.  Ours is Debian's.
vg_headers_checker() {
	[ -e "$1/scripts/checker-valid.sh" ] || {
		mkdir -p "$1/scripts"
		printf '#!/bin/sh\necho 1\n' >"$1/scripts/checker-valid.sh"
		chmod +x "$1/scripts/checker-valid.sh"
	}
}

# vg_headers SUITE ARCH: a directory to build modules against (KDIR).
vg_headers() {
	local suite="$1" arch="$2" version name debs deb root kdir

	debs=$(vg_headers_debs "$suite" "$arch") || {
		printf 'headers: no kernel for %s in %s\n' "$arch" "$suite" >&2
		return 1
	}
	version=$(vg_apt_kernel_release "$debs")
	name="linux-headers-$version"
	root="$(vg_cache_dir)/headers/$version"
	kdir="$root/usr/src/$name"
	(
		flock 9
		[ ! -e "$root/done" ] || exit 0
		rm -rf "$root" && mkdir -p "$root"
		for deb in $debs; do
			case "${deb##*/}" in
			linux-headers-*|linux-kbuild-*)
				dpkg-deb -x "$deb" "$root" || exit 1 ;;
			esac
		done
		# The packages name their own places absolutely.
		sed -i "s|/usr/src/|$root/usr/src/|g" "$kdir/Makefile"
		# Missing in Debian's packages of 7.2, and C=1 asks it.
		vg_headers_checker "$(printf '%s\n' "$root"/usr/src/linux-headers-*-common)"
		vg_headers_wrap "$suite" "$root" || exit 1
		touch "$root/done"
	) 9>"$(vg_cache_dir)/headers.lock" || return 1
	printf '%s\n' "$kdir"
}

# Assignments that take back what the kernel's configuration found out about
# its own compiler and this one cannot do.  None changes the ABI.
vg_headers_lacking() {
	local cc="$1" option config

	while read -r option config; do
		"$cc" "$option" -xc -c -o /dev/null /dev/null 2>/dev/null ||
			printf '%s=\n' "$config"
	done <<-EOL
	-fmin-function-alignment=8 CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT
	EOL
	# An attribute in the headers that compilers before GCC 15 ignore, with
	# a warning at each place.
	printf 'struct s { int n; char a[] __attribute__((counted_by(n))); };\n' |
		"$cc" -Werror -xc -c -o /dev/null - 2>/dev/null ||
		printf 'KCFLAGS=-Wno-attributes\n'
	# Type information for BPF would take pahole and the kernel's vmlinux.
	printf 'CONFIG_DEBUG_INFO_BTF_MODULES=\n'
}

# vg_headers_make KDIR ARCH OUT [ARGUMENTS]: builds the modules in OUT, JOBS (2) files
# at a time.  The compiler is this machine's, not the one that Debian built the kernel
# with.
vg_headers_make() {
	local kdir="$1" arch="$2" out="$3" prefix

	prefix=$(vg_headers_cross "$arch")
	shift 3
	case "$arch" in
	arm64*) arch=arm64 ;;
	amd64) arch=x86_64 ;;
	esac
	# shellcheck disable=SC2046 # words without blanks
	make -s -j "${JOBS:-2}" -C "$(dirname "${BASH_SOURCE[0]}")" \
		KDIR="$kdir" BUILD="$out" ARCH="$arch" \
		CROSS_COMPILE="$prefix" CC="${prefix}gcc" \
		$(vg_headers_lacking "${prefix}gcc") "$@"
}
