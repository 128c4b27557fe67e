#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
#	build-debian.sh SUITE
#
# Debian SUITE for VG_ARCH, whole, with its own kernel, and with the guest's modules
# installed as README.md says: by DKMS, and into the initial RAM disk.  Prints the
# directory with root.img (ext4), and with what a toolstack needs that does not read
# its /boot: Image, initrd.
#
# Beside that it has the rig's agent (domu/agent.c) and no network.  Its programs run
# on this machine while it is made, in a user namespace: without root, where
# newuidmap is set up.  Those of another architecture run in QEMU, by a binfmt_misc
# of that namespace (Linux 6.7).

set -u
. "$(dirname "$0")/common.sh"
. "$VG_LIB/kernel.sh"
. "$VG_LIB/compose.sh"
. "$VG_LIB/deps.sh"

# What a guest has, and what README.md has its administrator install.
packages="systemd-sysv udev kmod e2fsprogs util-linux procps zstd initramfs-tools
linux-image-$VG_DEB_ARCH linux-headers-$VG_DEB_ARCH dkms make"

# The interpreter of the image's programs; nothing where they run by themselves.
interpreter() {
	case "$(dpkg --print-architecture):$VG_DEB_ARCH" in
	arm64:amd64) echo qemu-x86_64-static ;;
	amd64:arm64) echo qemu-aarch64-static ;;
	esac
}

# in_namespace COMMAND...: as root of a namespace with 65536 users.  Root maps them by
# itself, and whoever executes something thereafter is root there.
in_namespace() {
	local inside='read -r _; exec unshare --mount --pid --fork --kill-child --mount-proc "$@"'
	local pid go

	if [ "$(id -u)" -ne 0 ]; then
		unshare --map-auto --map-root-user --mount --pid --fork --kill-child \
			--mount-proc "$@"
		return
	fi
	go=$(mktemp -u) && mkfifo "$go"
	unshare --user bash -c "$inside" _ "$@" <"$go" &
	pid=$!
	exec 7>"$go"
	rm "$go"
	until [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ]; do
		kill -0 "$pid" || return 1
		sleep 0.1
	done
	echo 0 0 65536 >"/proc/$pid/uid_map"
	echo 0 0 65536 >"/proc/$pid/gid_map"
	echo >&7
	exec 7>&-
	wait "$pid"
}

# register INTERPRETER: by the ELF header of a program or a library, as the package
# of qemu-user-static has it.
register() {
	local machine='\xb7' dir=/proc/sys/fs/binfmt_misc
	local zero='\x00\x00\x00\x00\x00\x00\x00\x00' ones='\xff\xff\xff\xff\xff\xff\xff'

	[[ $1 != *x86_64* ]] || machine='\x3e'
	mount -t binfmt_misc binfmt_misc "$dir" &&
		printf '%s' ":rig:M::\\x7fELF\\x02\\x01\\x01\\x00$zero\\x02\\x00$machine\\x00:$ones\\x00$ones\\xff\\xfe\\xff\\xff\\xff:$1:F" \
			>"$dir/register"
}

# What the image's shell is told.  Its kernel does not run yet: uname says to DKMS
# that it does.
installation() {
	cat <<-'EOS'
	set -eux
	release=$(ls /lib/modules)
	printf '#!/bin/sh\n[ "$*" != -r ] || { echo %s; exit; }\nexec /usr/bin/uname "$@"\n' \
		"$release" >/usr/local/bin/uname
	chmod +x /usr/local/bin/uname
	cd /root/virtio-grant
	make install-modules
	printf 'virtio_grant_bus\nvirtio_blk\n' >>/etc/initramfs-tools/modules
	update-initramfs -u
	cd /
	rm -r /usr/local/bin/uname /root/virtio-grant
	echo debian >/etc/hostname
	echo '/dev/disk/by-id/virtio-root / ext4 errors=remount-ro 0 1' >/etc/fstab
	systemctl enable vg-agent.service
	systemctl mask serial-getty@hvc0.service
	EOS
}

agent_unit() {
	cat <<-'EOU'
	[Unit]
	Description=The agent of the rig
	[Service]
	ExecStart=/usr/local/bin/vg-agent
	[Install]
	WantedBy=multi-user.target
	EOU
}

# populate SUITE DIR INTERPRETER SOURCES TOOLS: in the namespace.
populate() {
	local suite="$1" dir="$2" over="$2/over/root/virtio-grant" hook

	[ -z "$3" ] || register "$3"
	mkdir -p "$over" "$dir/over/usr/local/bin" "$dir/over/etc/systemd/system"
	cp "$5/vg-agent" "$dir/over/usr/local/bin/"
	agent_unit >"$dir/over/etc/systemd/system/vg-agent.service"
	cp -r "$VG_TOP"/{Makefile,backend,kernel,tests,spec} "$over/"
	installation >"$over/install.sh"
	hook="cp -r '$dir/over/.' \"\$1/\" && chroot \"\$1\" sh /root/virtio-grant/install.sh"
	mmdebstrap --mode=root --variant=apt --architectures="$VG_DEB_ARCH" \
		--skip=check/qemu,check/signed-by,chroot/mount/sys \
		--aptopt='APT::Sandbox::User "root"' \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/*/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$(echo $packages | tr ' ' ,)" --customize-hook="$hook" \
		"$suite" "$dir/tree" "$4"
	cp "$dir"/tree/boot/initrd.img-* "$dir/initrd"
	vg_raw_kernel "$dir"/tree/boot/vmlinuz-* "$dir/Image"
	PATH="$PATH:/usr/sbin:/sbin" mke2fs -q -t ext4 -d "$dir/tree" "$dir/root.img" 3G
	rm -rf "$dir/tree" "$dir/over"
}

# vg_raw_kernel FILE IMAGE: as loaders take it without unpacking.
vg_raw_kernel() {
	if [ "$VG_DEB_ARCH" = amd64 ]; then
		vg_vmlinux "$1" "$2"
	elif [ "$(head -c 2 "$1" | od -An -tx1 | tr -d ' ')" = 1f8b ]; then
		gzip -dc "$1" >"$2"
	else
		cp "$1" "$2"
	fi
}

# make_debian SUITE INTERPRETER SOURCES TOOLS DIR
make_debian() {
	local dir="$5" qemu=

	if [ -n "$2" ]; then
		vg_apt_unpack bookworm "$(dpkg --print-architecture)" \
			qemu-user-static "$dir/qemu"
		qemu="$dir/qemu/usr/bin/$2"
	fi
	in_namespace "$VG_LIB/build-debian.sh" --populate "$1" "$dir" "$qemu" "$3" "$4"
	rm -rf "$dir/qemu"
}

if [ "${1:-}" = --populate ]; then
	set -e
	shift
	# mmdebstrap has apt run "cat >&N" for a file of its own, and N has one digit in
	# Debian's sh.  What callers have open would make it two.
	for fd in {3..99}; do
		eval "exec $fd>&-"
	done
	populate "$@"
	exit
fi
vg_need_host_tools debian || exit 1
suite="${1:?which suite}"
vg_apt_init "$suite" && sources=$(vg_apt_sources "$suite" deb) &&
	tools=$(vg_tools) || exit 1
dir=$(vg_cached "debian-$suite$VG_SUFFIX" "$(vg_key "$suite" "$packages" "@$0" \
		"${tools##*/}" "$(vg_apt_candidate "$suite" "$VG_DEB_ARCH" \
			"linux-image-$VG_DEB_ARCH")" \
		"$(cd "$VG_TOP" && find kernel -type f ! -name '*.md' ! -name '*.sh' \
			-exec cksum {} + | sort)")" \
	make_debian "$suite" "$(interpreter)" "$sources" "$tools") || exit 1
printf '%s\n' "$dir"
