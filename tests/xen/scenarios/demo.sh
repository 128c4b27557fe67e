# SPDX-License-Identifier: GPL-2.0-or-later
#
# What `make demo` shows: a stock guest gets a disk while it runs, an ext4 image of the
# host's, served over the Xen bus by a driver domain that holds nothing but grants, on
# the Xen that Debian ships; and gives it back.
#
#	host: image --virtio--> dom0 --PV block--> DomD: /dev/xvda
#					           | virtio-grantd
#		G1: ext4 on /dev/vda <--virtio, grants--+
#
# rig: arch arm64 x86
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend modules program:vg-probe
# rig: without fio
# rig: disk image 96M
# rig: timeout 240

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/demo.sh

step "the Xen that Debian ships, and a driver domain with the backend"
xen=$(xl info | sed -n 's/^xen_version *: //p')
say "Xen $xen, built by $(xl info | sed -n 's/^cc_compile_by *: //p')"
result xen_version "$xen"
demo_backend

step "a stock Debian guest with the virtio-grant modules, and without a disk"
start_guest G1
load_bus G1
in_domain G1 '! test -e /dev/vda'
demo_who

step "G1 gets one"
began=$(now_ms)
attach G1 backend=DomD type=blk target=/dev/xvda name=demo
say "attached in $(($(now_ms) - began)) ms: $(virtio-grantctl list G1 | tail -n 1)"
has_disk G1 vda
demo_disk
expect demo "$(in_domain G1 'cat /sys/block/vda/serial')" "its serial number"

step "G1 reads the host's files"
demo_reads

step "G1 writes files of its own"
demo_writes

step "what the backend could see"
demo_reach 1	# with the page of messages

step "what DomD may not do, and what dom0 does for the disk"
demo_privileges
! pidof virtio-grantd virtio-grant-broker || fail "dom0 has a daemon for it"
say "dom0: no process of ours runs there"

step "G1 unmounts, and the disk goes while it runs on"
in_domain G1 'umount /mnt'
virtio-grantctl detach G1 demo
retry 20 in_domain G1 '! test -e /dev/vda' || fail "G1 has it still"
say "detached; G1 is up since $(in_domain G1 'cut -d. -f1 /proc/uptime') s"
nothing_left
no_trouble G1 DomD
stop_guest G1
in_domain DomD 'sync; virtio-grantctl'
stop_guest DomD
