# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests of x86 on the bus that are not the usual one: PV ones, whose grants and page
# tables are of another kind, and other kernels of Debian's; and a driver domain that
# is PV, where gntdev maps into one address space alone.
#
# rig: arch x86
# rig: kernels 6.12
# rig: xen stock
# rig: needs backend modules kernel:6.1 kernel:newest
# rig: timeout 500
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

# served GUEST BACKEND IMAGE: a disk of it, all that a disk is for.
served() {
	attach "$1" backend="$2" type=blk target="$3" name="of-$2"
	retry 20 in_domain "$1" "grep -qx of-$2 /sys/block/vd*/serial" ||
		fail "$1 has no disk of $2"
	disk=$(in_domain "$1" "grep -lx of-$2 /sys/block/vd*/serial | cut -d/ -f4")
	fio_verify "$1" "$disk" "--ioengine=libaio --direct=1 --iodepth=16 \
		--size=4m --rw=randrw --bsrange=512-256k --blockalign=512"
	fio_verify "$1" "$disk" "--ioengine=psync --size=1m --rw=write \
		--bs_unaligned --bsrange=700-60001 --end_fsync=1"
	virtio-grantctl detach "$1" "of-$2"
}

step "two driver domains: PVH, and PV"
start_driver DomD
start_driver_domain DomP type=pv
in_domain DomP 'modprobe brd rd_nr=4 rd_size=32768'
start_backend DomP

step "a PV guest"
start_guest G1 type=pv mem=192
in_domain G1 'grep -x PV /sys/hypervisor/guest_type' || fail "G1 is not PV"
load_bus G1
served G1 DomD /dev/ram0
served G1 DomP /dev/ram0
in_domain -t 60 G1 'rmmod virtio_blk; rmmod virtio_grant_bus && rmmod virtio_grant &&
	rmmod virtio_grant_dma' || fail "the modules do not go"
load_bus G1
served G1 DomD /dev/ram0
no_trouble G1 DomD
stop_guest G1

for kernel in 6.1 newest; do
	step "a PVH guest with kernel $kernel"
	start_guest G1 "kernel=$kernel" mem=192
	say "$(in_domain G1 'uname -r')"
	load_bus G1
	served G1 DomD /dev/ram1
	served G1 DomP /dev/ram1
	no_trouble G1 DomD
	stop_guest G1
done
nothing_left
