# SPDX-License-Identifier: GPL-2.0-or-later
#
# The first whole thing: a guest's virtio disk, served with grants by an
# unprivileged driver domain.  The disk is an image of the host's, so that the
# host can look at what arrived.
#
# rig: kernels 6.12 6.1
# rig: needs backend modules
# rig: disk image 64M
# rig: timeout 420

. /vg/in/dom0/virtio.sh

step "the broker, and a driver domain with the backend"
start_broker -v
start_driver_domain DomD "disk=[$(pv_disk "$(host_disk image)" xvda)]"
start_backend DomD -v
in_domain DomD 'test ! -e /dev/xen/privcmd'

for kernel in 6.12 6.1; do
	step "a $kernel guest finds its disk"
	start_guest G1 "kernel=$kernel" "disk=[$(virtio_disk /dev/xvda xvda DomD)]"
	in_domain G1 'modprobe virtio_blk && modprobe virtio_grant_mmio'
	retry 30 in_domain G1 'test -b /dev/vda' ||
		fail "no /dev/vda: $(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
	expect 131072 "$(in_domain G1 'cat /sys/block/vda/size')" "sectors"

	step "writes and reads it ($kernel)"
	# xenconsoled's ring is no place for progress bars: terse output.
	in_domain -t 300 G1 'fio --name=v --filename=/dev/vda --direct=1 \
		--ioengine=libaio --iodepth=8 --rw=randwrite --bsrange=512-64k \
		--size=16m --verify=crc32c --verify_fatal=1 --output-format=terse' ||
		fail "fio"
	in_domain G1 "printf '%-32s' 'from $kernel' |
		dd of=/dev/vda bs=32 count=1 conv=notrunc,fsync"

	step "shuts down ($kernel)"
	stop_loaded G1 vda
	expect "from $kernel" "$(in_domain DomD 'dd if=/dev/xvda bs=32 count=1 2>/dev/null' |
		sed 's/ *$//')" "what the driver domain reads"
done
