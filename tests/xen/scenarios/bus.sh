# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices over the Xen bus, on the hypervisor that the distribution ships: attached
# while the guest runs, from a driver domain and from dom0, used, detached; what a
# wrong set-up gets; and that nothing is left.  On x86, where everything takes
# longest, the half of it, unless FULL=1; and a disk of libxl's own (without a
# broker, and without a register window).  DOM0=pvh: with a PVH dom0 there.
#
# rig: arch arm64 x86
# rig: long x86
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend modules
# rig: timeout 300

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

IO="--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randrw \
	--bsrange=512-64k --blockalign=512"

FULL="${FULL:-$([ "$VG_ARCH" = x86 ] || echo 1)}"

step "a driver domain and guests; no broker"
start_driver DomD
case "$VG_ARCH" in
x86) start_guest G1 "disk=[$(virtio_disk /dev/ram2 xvdc DomD)]" ;;
*) start_guest G1 ;;
esac
[ -z "$FULL" ] || start_guest G2
load_bus G1
truncate -s 16M /tmp/image
if [ "$VG_ARCH" = x86 ]; then
	dom0_is=$(cat /sys/hypervisor/guest_type)
	expect "${DOM0:-pv}" "${dom0_is,,}" "what dom0 is"
fi
start_backend dom0

# Names that the kernel gives to those that are attached.
A=vda B=vdb turns=0
if [ "$VG_ARCH" = x86 ]; then
	step "a disk as libxl writes it"
	has_disk G1 vda
	fio_verify G1 vda "$IO"
	A=vdb B=vdc
fi

step "disks, of the driver domain and of dom0"
attach G1 backend=DomD type=blk target=/dev/ram0 name=data
has_disk G1 "$A"
expect 65536 "$(in_domain G1 "cat /sys/block/$A/size")" "sectors"
attach G1 type=blk target=/tmp/image access=rw name=image
has_disk G1 "$B"
together 'fio_verify G1 "$A" "$IO"' 'fio_verify G1 "$B" "$IO"'

more() {
	step "other types"
	in_domain G1 'modprobe virtio_rng'
	attach G1 backend=DomD type=rng
	in_domain G1 'grep virtio_rng /sys/class/misc/hw_random/rng_available &&
		dd if=/dev/hwrng bs=64 count=4 2>/dev/null | od -An -tx1 | sort -u | wc -l' |
		tail -n 1 | { read -r n; [ "$n" -ge 15 ]; } || fail "no random bytes"
	virtio-grantctl list
	virtio-grantctl list --json >/vg/out/list.json
	expect 3 "$(grep -c '"name"' /vg/out/list.json)" "devices in the list"

	step "what a wrong set-up gets"
	refused 1 'G1 .*image' attach --timeout="$(slow 5)" G1 type=blk target=/tmp/image name=image
	refused 1 'no such' attach nobody type=blk target=/tmp/image
	refused 1 'nobody' attach --timeout="$(slow 5)" G1 backend=nobody type=rng
	refused 1 'G2.*driver_domain=1' attach --timeout="$(slow 5)" G1 backend=G2 type=rng
	refused 1 'No such file' attach --timeout="$(slow 5)" G1 backend=DomD type=blk target=/nowhere
	refused 1 'in use' attach --timeout="$(slow 5)" G1 backend=DomD type=blk target=/dev/ram0 name=again
	refused 1 'type' attach --timeout="$(slow 5)" G1 backend=DomD type=999 name=what
	in_domain DomD 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe; mkfs.ext4 -q /dev/ram1 && mkdir -p /mnt/1 && mount -t ext4 /dev/ram1 /mnt/1'
	refused 1 'mount' attach --timeout="$(slow 5)" G1 backend=DomD type=blk target=/dev/ram1 name=mounted
	in_domain DomD 'umount /mnt/1'

	step "a guest without a driver; it comes up when that is loaded"
	status=0
	virtio-grantctl attach --timeout="$(slow 5)" G2 backend=DomD type=blk target=/dev/ram2 name=late || status=$?
	expect 3 "$status" "status of attach without a driver"
	load_bus G2
	has_disk G2 vda
}
[ -z "$FULL" ] || more

step "detach: not what is mounted, but by force"
in_domain G1 "mkfs.ext4 -q /dev/$A && mkdir -p /mnt/a && mount -t ext4 /dev/$A /mnt/a"
refused 1 'still uses it' detach G1 data --timeout=2
in_domain G1 'echo still >/mnt/a/there && sync && umount /mnt/a'
virtio-grantctl detach G1 data
retry 20 in_domain G1 "! test -e /dev/$A" || fail "it is there still"
attach G1 backend=DomD type=blk target=/dev/ram0 name=data
retry 20 in_domain G1 "test -b /dev/$A && mount -t ext4 /dev/$A /mnt/a" || fail "not there again"
expect still "$(in_domain G1 'cat /mnt/a/there')" "what was written before"
attach G1 backend=DomD type=blk target=/dev/ram3 name=killed
retry 20 in_domain G1 'grep -x killed /sys/block/vd*/serial' || fail "no disk"
disk=$(in_domain G1 'grep -lx killed /sys/block/vd*/serial | cut -d/ -f4')
virtio-grantctl detach G1 data --force
in_domain G1 'umount /mnt/a; :'

step "the process that had the removed disk is replaced under load"
while ! _log_has DomD 'its worker is replaced'; do
	[ $((turns += 1)) -le 30 ] || fail "it is not replaced"
	fio_verify G1 "$disk" "$IO"
done
fio_verify G1 "$disk" "$IO"

step "the daemon is killed under load; then its guest's modules go and come"
(for i in 1 2 3; do fio_verify G1 "$disk" "$IO"; done) &
pid=$!
sleep 1
stop_backend DomD KILL
start_backend DomD
wait "$pid" || fail "I/O while the daemon was killed"
# xenbus holds a module whose devices are bound.
in_domain -t 60 G1 'cd /sys/bus/xen/drivers/virtio_grant_bus
	for dev in virtio_*-*; do echo $dev >unbind; done
	rmmod virtio_grant_bus && rmmod virtio_grant && rmmod virtio_grant_dma &&
	modprobe virtio_grant_bus' || fail "the modules do not go and come"
retry 30 connected G1 || fail "not connected after loading again"
has_disk G1 "$A"
no_trouble G1 DomD

# Linux waits for each probe before it tells any driver that it shuts down.  The disk is
# there, its backend answers, and what the probe reads never comes.
never_probed() {
	step "a guest goes down while a disk's driver waits for what never comes"
	in_domain G2 'ls /sys/bus/virtio/devices >/tmp/before &&
		echo 0 >/sys/bus/virtio/drivers_autoprobe'
	attach G2 backend=DomD type=blk target=/dev/ram1 name=never
	in_domain DomD 'mkdir -p /run/cgroup && mount -t cgroup2 none /run/cgroup &&
		cd /run/cgroup && echo +io >cgroup.subtree_control && mkdir slow &&
		echo 1:1 rbps=2 >slow/io.max &&
		for pid in $(pidof virtio-grantd); do echo $pid >slow/cgroup.procs; done' ||
		fail "DomD does not slow its disk down"
	in_domain G2 'dev=$(ls /sys/bus/virtio/devices | grep -vxFf /tmp/before)
		setsid sh -c "echo $dev >/sys/bus/virtio/drivers_probe" \
			</dev/null >/dev/null 2>&1 &'
	retry 20 in_domain G2 'grep " [1-9]" /sys/block/vdb/inflight' ||
		fail "nobody reads it"
	began=$(now_ms)
	# At once: sync(2) waits for such a disk as well.
	in_domain G2 'dmesg -n 8; setsid sh -c "sleep 1; poweroff -n -f" \
			</dev/null >/dev/null 2>&1 &'
	retry 120 _is_gone G2 || fail "G2 does not go down"
	result down_unprobed_ms $(($(now_ms) - began))
	[ $(($(now_ms) - began)) -lt $((40000 + $(slow 30) * 1000)) ] ||
		fail "it took $(($(now_ms) - began)) ms"
	in_domain DomD 'echo 1:1 rbps=max >/run/cgroup/slow/io.max'
}
[ -z "$FULL" ] || never_probed

step "removal with the guest, which is not kept waiting: nothing is left"
stop_loaded G1 "$A"
! grep -a "timeout closing" /vg/console/guest-G1.log || fail "G1 waited for a device"
virtio-grantctl list
for name in image rng1 rng2 rng0 killed late; do
	virtio-grantctl detach "$name" "$name" >/dev/null 2>&1 || :
done
retry 20 in_domain DomD 'virtio-grantctl status | grep -q ": 0 device(s)"' ||
	fail "the backend serves on: $(in_domain DomD 'virtio-grantctl status')"
