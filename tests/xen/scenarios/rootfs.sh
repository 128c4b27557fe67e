# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian guests, as they are installed, with their root file system on a disk of the
# Xen bus: the modules by DKMS and in the initial RAM disk, as README.md says
# (lib/build-debian.sh), the disk from the guest's configuration.  Each boots, reboots
# by itself (its disk is brought back by virtio-grantctl watch), shuts down, and boots
# once more; what it wrote is there, and its file system is clean.
#
# rig: arch arm64 x86
# rig: long
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend
# rig: without fio
# rig: disk trixie 3G
# rig: disk bookworm 3G
# rig: timeout 1500

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

# A whole system, which compares and unpacks much before its agent answers.
VG_BOOT_S=400
SUITES=$(ls /vg/in/debian)

# configure SUITE TARGET: G-SUITE.cfg.
configure() {
	local files="/run/kernel/$1" more='cpus="1"'

	mkdir -p "$files"
	cp "/vg/in/debian/$1"/{Image,initrd} "$files/"
	# As lib.sh has it.
	[ "$VG_ARCH" != x86 ] || more='type="pvh"
tsc_mode="native"'
	cat >"/vg/log/$1.cfg" <<-EOC
	name="$1"
	uuid="$(cat /proc/sys/kernel/random/uuid)"
	kernel="$files/Image"
	ramdisk="$files/initrd"
	memory=512
	vcpus=1
	cmdline="console=hvc0 root=/dev/disk/by-id/virtio-root ro loglevel=5"
	on_crash="preserve"
	on_reboot="restart"
	$more
	virtio_grant = [
		"backend=DomD,type=blk,name=root,target=$2",
	]
	EOC
}

# boot NAME: with what its configuration lists.
boot() {
	virtio-grantctl create --timeout="$(slow 5)" "/vg/log/$1.cfg" || fail "virtio-grantctl create $1"
	wait_guest "$1"
}

# is_well NAME: all of the system is up, its root file system where it is to be, and
# its modules are those that DKMS made.
is_well() {
	local said

	said=$(in_domain "$1" 'systemctl is-system-running --wait') ||
		fail "$1 is $said: $(in_domain "$1" 'systemctl --failed --no-legend' | head -n 3)"
	# By the name that the initial RAM disk mounted it by.
	expect "/dev/vda ext4" "$(in_domain "$1" 'set -- $(findmnt -no SOURCE,FSTYPE /)
		echo "$(readlink -f "$1") $2"')" "$1's root file system"
	expect root "$(in_domain "$1" 'cat /sys/block/vda/serial')" "its serial number"
	in_domain "$1" 'modinfo -n virtio_grant_bus | grep -q /updates/dkms/ &&
		grep -q "^virtio_grant_bus " /proc/modules' ||
		fail "$1: virtio_grant_bus is not that of DKMS"
	no_trouble "$1"
}

# writes NAME FILE: nothing but the end of the system takes it to the disk.
writes() {
	in_domain "$1" "cd /root && dd if=/dev/urandom of=$2 bs=64k count=50 2>/dev/null &&
		sha256sum $2 >>SUMS"
}

# has_all NAME FILES: of what was written.
has_all() {
	expect "$2" "$(in_domain "$1" 'cd /root && sha256sum -c SUMS | grep -c ": OK$"')" \
		"files of $1 with the right checksum"
}

# each COMMAND: for every suite; those that boot, as the machine can.
each() {
	local suite commands=()

	for suite in $SUITES; do
		commands+=("${1//SUITE/$suite}")
	done
	together_booting "${commands[@]}"
}

step "a driver domain with the disks, and who brings them back"
start_driver_domain DomD "disk=[$(pv_disk "$(host_disk trixie)" xvda),$(pv_disk "$(host_disk bookworm)" xvdb)]"
start_backend DomD
start_watch
for suite in $SUITES; do
	case "$suite" in
	trixie) configure trixie /dev/xvda ;;
	*) configure "$suite" /dev/xvdb ;;
	esac
done

step "they boot"
each 'boot SUITE; is_well SUITE'
for suite in $SUITES; do
	say "$suite: Debian $(in_domain "$suite" 'cat /etc/debian_version'), Linux" \
		"$(in_domain "$suite" 'uname -r'), root on /dev/vda"
	result "kernel_$suite" "$(in_domain "$suite" 'uname -r')"
done
each 'writes SUITE first'

# reboot SUITE: by itself.
reboot() {
	local id

	id=$(domid "$1")
	# It may be gone before it has answered.
	in_domain "$1" 'systemctl --no-block reboot' || [ $? -eq 125 ] ||
		fail "$1 is not told to reboot"
	retry 200 _is_other_domain "$1" "$id" || fail "$1 does not reboot"
	wait_guest "$1"
}

step "they reboot"
each 'reboot SUITE; is_well SUITE; has_all SUITE 1; writes SUITE second'

step "they shut down"
each 'stop_guest SUITE'
for suite in $SUITES; do
	! grep -a -E 'I/O error|EXT4-fs error|Failed unmounting|Failed to unmount' \
		"$(console "$suite")" || fail "$suite: that is no orderly end"
done

step "they boot once more, while what they had is remembered still"
each 'boot SUITE; is_well SUITE; has_all SUITE 2'
each 'stop_guest SUITE'
# A guest that is gone has nothing to detach; a minute later it is forgotten.
nothing_left 90
stop_guest DomD
