# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices over the Xen bus, on the hypervisor that the distribution ships: attached
# while the guest runs, from a driver domain and from dom0, used, detached.
#
# rig: arch arm64 x86
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend modules
# rig: timeout 300

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

step "a driver domain and a guest; no broker"
start_driver DomD
start_guest G1
load_bus G1
start_backend dom0

step "a disk of the driver domain's"
attach G1 backend=DomD type=blk target=/dev/ram0 name=data
has_disk G1 vda
expect 65536 "$(in_domain G1 'cat /sys/block/vda/size')" "sectors"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-64k --blockalign=512"
