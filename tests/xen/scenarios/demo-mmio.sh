# SPDX-License-Identifier: GPL-2.0-or-later
#
# What `make demo TRANSPORT=mmio` shows: a stock guest's disk, an ext4 image of the
# host's, served by a driver domain that holds nothing but grants; as libxl
# configures it, with a Xen that has an IOREQ server, and the broker in dom0.
#
#	host: image --virtio--> dom0 --PV block--> DomD: /dev/xvda
#					           | virtio-grantd
#		G1: ext4 on /dev/vda <--virtio, grants--+
#		G1's registers --> Xen --> dom0: virtio-grant-broker --> DomD
#
# rig: needs backend modules program:vg-probe
# rig: without fio
# rig: disk image 96M
# rig: timeout 240

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/demo.sh

step "the broker in dom0, and a driver domain with the backend"
start_broker
demo_backend

step "a stock Debian guest with the virtio-grant modules"
start_guest G1 "disk=[$(virtio_disk /dev/xvda xvda DomD)]"
load_ours G1
has_disk G1 vda
demo_who
demo_disk

step "G1 reads the host's files"
demo_reads

step "G1 writes files of its own"
demo_writes

step "what the backend could see"
demo_reach 0

step "what DomD may not do"
demo_privileges

step "G1 unmounts and shuts down"
in_domain G1 'umount /mnt'
stop_guest G1
in_domain DomD 'sync; virtio-grantctl'
stop_guest DomD
