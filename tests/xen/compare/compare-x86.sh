# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make compare ARCH=x86` in the rig: a PVH guest with a disk on the bus and one of
# PV block, both served by one PVH driver domain.  The other ways are Arm's, or
# want a Xen with counters or a kernel of our own (docs/comparison.md).
#
# rig: arch x86
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 3600

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/compare.sh

# name	guest	vdev	ram	how
BACKEND_TABLE='bus	G1	xvdk	ram0	direct
pv	G1	xvdh	ram1	blkback'
choose_backends

step "a driver domain with RAM disks"
start_driver_domain DomD
ram_disks
instance /run/bus virtio-grantd --direct-io=on $OPTIONS

step "the guest, with a disk of either kind"
start_guest G1 "disk=[$(pv_disk /dev/ram1 xvdh DomD)]"
load_bus G1
attach G1 backend=DomD type=blk target=/dev/ram0 name=xvdk
retry 30 has_devices G1 1 || fail "G1 has only $(devices_of G1)"

compare
no_trouble G1 DomD
