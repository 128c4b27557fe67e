#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the host must have, per set: says what is missing, then installs it with
# apt-get (as root, or through sudo).
#
#	deps.sh SET...		rig-arm64, rig-x86: booting Xen for that; rig: for
#				VG_ARCH; kernel-build: modules and kernels;
#				host: the programs, for this machine;
#				kernel-check: what checks the modules' sources;
#				unit: unit tests on this machine; flask: Xen's policy;
#				spec: spec/check.sh; debian: lib/build-debian.sh;
#				units: what checks systemd's units
#
# VG_NO_INSTALL=1: only say what is missing, and fail.

# Package:file-that-proves-it.  A command is looked up in PATH and the sbins.
vg_host_tools() {
	case "$1" in
	rig)
		vg_host_tools "rig-${VG_ARCH:-arm64}"
		;;
	rig-arm64)
		echo qemu-system-arm:qemu-system-aarch64 \
			gcc-aarch64-linux-gnu:aarch64-linux-gnu-gcc \
			gcc:gcc libc6-dev:/usr/include/stdio.h make:make bison:bison flex:flex cpio:cpio \
			xz-utils:xz zstd:zstd kmod:depmod e2fsprogs:mke2fs \
			python3:python3 util-linux:flock patch:patch
		;;
	rig-x86)
		# On a machine of that kind, gcc itself has the second name.
		echo qemu-system-x86:qemu-system-x86_64 \
			gcc-x86-64-linux-gnu:x86_64-linux-gnu-gcc \
			gcc:gcc libc6-dev:/usr/include/stdio.h make:make cpio:cpio \
			xz-utils:xz zstd:zstd kmod:depmod e2fsprogs:mke2fs \
			python3:python3 util-linux:flock
		;;
	debian)
		echo mmdebstrap:mmdebstrap util-linux:unshare uidmap:newuidmap \
			e2fsprogs:mke2fs
		;;
	flask)
		echo checkpolicy:checkpolicy m4:m4 make:make patch:patch
		;;
	spec)
		echo git:git xz-utils:xz
		;;
	kernel-check)
		# checkpatch wants more of Perl than is always there.
		echo sparse:sparse perl:corelist
		;;
	units)
		echo systemd:systemd-analyze
		;;
	kernel-build)
		echo gcc-aarch64-linux-gnu:aarch64-linux-gnu-gcc \
			gcc:gcc libc6-dev:/usr/include/stdio.h make:make bison:bison flex:flex bc:bc \
			cpio:cpio xz-utils:xz zstd:zstd kmod:depmod \
			rsync:rsync python3:python3 perl:corelist \
			libssl-dev:/usr/include/openssl/ssl.h \
			libelf-dev:/usr/include/libelf.h
		;;
	host)
		echo gcc:gcc libc6-dev:/usr/include/stdio.h make:make \
			libxen-dev:/usr/include/xengnttab.h \
			liburing-dev:/usr/include/liburing.h \
			libjson-c-dev:/usr/include/json-c/json.h \
			libseccomp-dev:/usr/include/seccomp.h
		;;
	unit)
		echo gcc:gcc libc6-dev:/usr/include/stdio.h make:make pkg-config:pkg-config \
			libcmocka-dev:/usr/include/cmocka.h \
			liburing-dev:/usr/include/liburing.h \
			libjson-c-dev:/usr/include/json-c/json.h \
			libseccomp-dev:/usr/include/seccomp.h
		;;
	*)
		echo "deps: no set is called '$1'" >&2
		return 1
		;;
	esac
}

# vg_need_host_tools SET...
vg_need_host_tools() {
	local set tools tool proof missing='' sudo=''

	for set; do
		tools=$(vg_host_tools "$set") || return 1
		for tool in $tools; do
			proof=${tool#*:}
			tool=${tool%%:*}
			case "$proof" in
			/*) [ -e "$proof" ] && continue ;;
			*) PATH="$PATH:/usr/sbin:/sbin" command -v "$proof" \
				>/dev/null && continue ;;
			esac
			case " $missing " in
			*" $tool "*) ;;
			*) missing="$missing $tool" ;;
			esac
		done
	done
	[ -n "$missing" ] || return 0
	echo "deps: this machine lacks:$missing" >&2
	if [ -n "${VG_NO_INSTALL:-}" ]; then
		echo "deps: not installing (VG_NO_INSTALL is set)" >&2
		return 1
	fi
	if ! command -v apt-get >/dev/null; then
		echo "deps: this is no Debian; install them yourself" >&2
		return 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		sudo=$(command -v sudo) || {
			echo "deps: neither root nor sudo: apt-get install$missing" >&2
			return 1
		}
	fi
	echo "deps: installing them with apt-get (log: ${TMPDIR:-/tmp}/virtio-grant-deps.log)" >&2
	# shellcheck disable=SC2086 # a list of words
	if ! { $sudo apt-get -q update &&
	       $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
			--no-install-recommends install $missing
	     } >"${TMPDIR:-/tmp}/virtio-grant-deps.log" 2>&1; then
		tail -n 5 "${TMPDIR:-/tmp}/virtio-grant-deps.log" >&2
		echo "deps: apt-get failed" >&2
		return 1
	fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	vg_need_host_tools "$@"
fi
