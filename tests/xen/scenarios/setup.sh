# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a wrong set-up gets: one clear line where the operator looks, and an
# `xl create` that fails rather than hangs; after each, a right one works.
#
# rig: kernels 6.12
# rig: needs backend
# rig: timeout 420
# rig: long

. /vg/in/dom0/virtio.sh

# refused_create WHAT DISK [SECONDS]: it fails in good time and leaves no
# domain behind.  Where nobody answers, libxl gives the backend 10 s to appear
# and as much to go again; else the time is for building the domain.
refused_create() {
	local began=$SECONDS took

	if create_guest Bad mem=128 "disk=[$2]"; then
		fail "$1: xl create succeeded"
	fi
	took=$((SECONDS - began))
	say "$1: xl create failed after $took s"
	# libxl's own limits, where nobody answers it: 10 s until it gives up
	# and 10 s more for the node to be taken down.
	[ "$took" -le "$(slow 35)" ] || fail "$1: that is too long"
	retry 10 _is_gone Bad || fail "$1: the domain is still there"
}

# said FILE PATTERN WHAT
_has_line() {
	grep -q -E -- "$2" "$1"
}

said() {
	retry 30 _has_line "$1" "$2" ||
		fail "$3: no line /$2/ in ${1##*/}: $(tail -n 2 "$1")"
	say "log: $(grep -E -- "$2" "$1" | tail -n 1)"
}

works() {
	create_guest Good "disk=[$(virtio_disk /dev/ram0 xvda DomD)]" ||
		fail "$1: a right xl create fails: $(grep -m 1 error /vg/log/Good.xl)"
	destroy_guest Good
}

step "images that cannot be served"
start_broker
start_driver DomD
in_domain DomD '>/tmp/empty; truncate -s 1M /tmp/img; mkdir /tmp/ro /tmp/dir
	mount -t tmpfs none /tmp/ro && truncate -s 1M /tmp/ro/img &&
	mount -o remount,ro /tmp/ro
	echo hello >/tmp/odd'
refused_create "missing image" "$(virtio_disk /tmp/none xvda DomD)"
log_says DomD 'image /tmp/none: No such file' "missing image"
in_domain DomD virtio-grantctl | grep 'failed:.*/tmp/none' ||
	fail "virtio-grantctl does not say that the image is missing"
refused_create "a directory" "$(virtio_disk /tmp/dir xvda DomD)"
log_says DomD 'image /tmp/dir.*[Ii]s a directory' "a directory"
refused_create "not writable" "$(virtio_disk /tmp/ro/img xvda DomD)"
log_says DomD 'image /tmp/ro/img: Read-only file system' "not writable"
refused_create "zero length" "$(virtio_disk /tmp/empty xvda DomD)"
log_says DomD 'image /tmp/empty is empty' "zero length"
refused_create "odd length" "$(virtio_disk /tmp/odd xvda DomD)"
log_says DomD 'image /tmp/odd is not a multiple of 512' "odd length"
works "after wrong images"

step "an image that is in use"
create_guest First "disk=[$(virtio_disk /tmp/img xvda DomD)]"
refused_create "image in use" "$(virtio_disk /tmp/img xvda DomD)"
log_says DomD 'image /tmp/img is in use by another device' "image in use"
destroy_guest First

step "an image that others use"
# As udev does, who looks at a device and is gone.
in_domain DomD '( flock -s /dev/ram0 sleep 2 ) >/dev/null 2>&1 &'
works "while somebody has it locked for a moment"
in_domain DomD 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
	modprobe ext4 && /usr/sbin/mke2fs -q -t ext4 /dev/ram2 && mkdir -p /mnt &&
	mount -t ext4 /dev/ram2 /mnt'
refused_create "mounted device" "$(virtio_disk /dev/ram2 xvda DomD)"
log_says DomD 'image /dev/ram2 is mounted on /mnt' "mounted device"
# Where xl has failed, it is said as well.
virtio-grantctl | grep 'refused by dom1: .*/dev/ram2 is mounted on /mnt' ||
	fail "virtio-grantctl in dom0 does not say why: $(virtio-grantctl)"
in_domain DomD 'umount /mnt; modprobe loop && losetup /dev/loop0 /tmp/img'
refused_create "behind a loop device" "$(virtio_disk /tmp/img xvda DomD)"
log_says DomD 'image /tmp/img is behind /dev/loop0' "behind a loop device"
in_domain DomD 'losetup /dev/loop1 /tmp/img'
refused_create "two loop devices" "$(virtio_disk /dev/loop1 xvda DomD)"
log_says DomD 'image /dev/loop1 is over a file that is behind /dev/loop0, too' \
	"two loop devices"
in_domain DomD 'losetup -d /dev/loop1; losetup -d /dev/loop0'

step "daemons twice, and where they must not be"
status=0
in_domain DomD 'virtio-grantd 2>&1' >/tmp/second || status=$?
expect 1 "$status" "status of a second virtio-grantd"
said /tmp/second 'another virtio-grantd is running already' "second virtio-grantd"
status=0
virtio-grant-broker >/tmp/second 2>&1 || status=$?
expect 1 "$status" "status of a second broker"
said /tmp/second 'another virtio-grant-broker is running already' "second broker"
# The libraries of the privileged half are not in a driver domain of the rig.
in_domain DomD 'modprobe xen-gntalloc || :; mkdir -p /tmp/run /tmp/lib'
for lib in libxendevicemodel libxenforeignmemory libxencall libxentoolcore \
	libxentoollog; do
	file=$(ls /usr/lib/aarch64-linux-gnu/$lib.so.1* | head -n 1)
	push DomD "$file" "/tmp/lib/$lib.so.1"
done
in_domain DomD "LD_LIBRARY_PATH=/tmp/lib timeout $(slow 5) virtio-grant-broker \
	-r /tmp/run 2>&1 || :" >/tmp/second
said /tmp/second '[Pp]ermi|only the control domain|privileg' "a broker in DomD"
works "after daemons too many"

step "grant_usage=0"
disk=$(virtio_disk /dev/ram1 xvda DomD)
refused_create "grant_usage=0" "${disk/grant_usage=1/grant_usage=0}" 26
log_says DomD 'grant_usage=0 asks for' "grant_usage=0"
works "after grant_usage=0"

step "no virtio-grantd in the driver domain"
end_daemon DomD virtio-grantd
refused_create "no grantd" "$(virtio_disk /dev/ram0 xvda DomD)" 26
said /vg/log/broker.log 'no backend in dom1 has taken it up.*virtio-grantd' "no grantd"
start_backend DomD
works "after starting virtio-grantd"

step "no broker"
end_daemon dom0 virtio-grant-broker
refused_create "no broker" "$(virtio_disk /dev/ram0 xvda DomD)" 26
log_says DomD 'no relay after.*virtio-grant-broker' "no broker"
start_broker
works "after starting the broker"

step "no driver domain"
refused_create "no driver domain" "$(virtio_disk /dev/ram0 xvda NoDom)"
# libxl's own line: it looks the backend's domain up before all else.
said /vg/log/Bad.xl 'Unable to set disk defaults for disk 0' "no driver domain"
works "at the end"
in_domain DomD virtio-grantctl
expect 0 "$(in_domain DomD virtio-grantctl | grep -c 'virtio_disk/.*ready')" "devices at the end"
