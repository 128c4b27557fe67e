# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make compare` in the rig: one guest, one disk per way of serving it, all of
# them in one driver domain; and a mainline guest, which has only one way.
# What is measured goes to out/runs/, one file per run; report.py reads them.
#
#	DomD: 5 x virtio-grantd, 2 x virtio-foreignd, blkback
#	    O_DIRECT             page cache, a RAM disk each
#	        | | | | | | |      | | |
#	G1:     | | | | | | +pv    | | +foreign-static
#	        | | | | | +map,    | +foreign-dynamic
#	        | | | | |  copy    +pool-cached
#	        | | | | |  (G2)
#	        | | | | +pool-plain
#	        | | | +pool-noevents
#	        | | +pool-noranges
#	        | +bus
#	        +pool
#
# Pages mapped by privcmd can't be the target of direct I/O in Linux, so the
# foreign ones use the page cache, and pool-cached is what they compare with.
#
# rig: kernels 6.12
# rig: needs backend modules program:virtio-foreignd program:vg-target kernel:plain?
# rig: timeout 7200

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/compare.sh

# name	guest	vdev	ram	how
BACKEND_TABLE='pool	G1	xvda	ram0	direct
bus	G1	xvdk	ram10	direct
pool-noranges	G1	xvdb	ram1	direct
pool-noevents	G1	xvdc	ram2	direct
pool-plain	G1	xvdd	ram3	direct
pool-cached	G1	xvde	ram4	cached
foreign-dynamic	G1	xvdf	ram5	cached
foreign-static	G1	xvdg	ram6	cached
pv	G1	xvdh	ram7	blkback'
INSTANCES='pool bus pool-cached foreign-dynamic foreign-static'
# Only who wants these, has the kernel built for them.
if [ -z "$BACKENDS" ] || [[ " $BACKENDS " =~ \ (map|copy)\  ]]; then
	MAINLINE=1
	INSTANCES="$INSTANCES map copy"
	BACKEND_TABLE="$BACKEND_TABLE
map	G2	xvdi	ram8	direct
copy	G2	xvdj	ram9	direct"
fi

# foreign_disk TARGET VDEV
foreign_disk() {
	virtio_disk "$1" "$2" DomD | sed 's/grant_usage=1/grant_usage=0/'
}

step "the broker, and a driver domain with RAM disks"
# Mapping all of a guest can take more than a vCPU may wait by default.
start_broker --foreign --answer-timeout=20000
start_driver_domain DomD mem=1600
ram_disks 11
# The same $OPTIONS for all: an experiment must not favour one of ours.
instance /run/pool virtio-grantd --direct-io=on --only=xvda,xvdb,xvdc,xvdd \
	$OPTIONS
instance /run/bus virtio-grantd --direct-io=on --only=xvdk $OPTIONS
mainline_instances() {
	# What a guest without the extension gets by default is one or the other,
	# by the size of the request.
	instance /run/map virtio-grantd --direct-io=on --only=xvdi --copy-max=0 \
		$OPTIONS
	instance /run/copy virtio-grantd --direct-io=on --only=xvdj \
		--copy-max=$((4 << 20)) $OPTIONS
}
[ -z "${MAINLINE:-}" ] || mainline_instances
instance /run/pool-cached virtio-grantd --direct-io=off --only=xvde $OPTIONS
instance /run/foreign-dynamic virtio-foreignd --direct-io=off --only=xvdf \
	--memory=dynamic $OPTIONS
instance /run/foreign-static virtio-foreignd --direct-io=off --only=xvdg \
	--memory=static $OPTIONS

step "the guest, with a disk of every kind"
start_guest G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD),
	$(virtio_disk /dev/ram1 xvdb DomD),$(virtio_disk /dev/ram2 xvdc DomD),
	$(virtio_disk /dev/ram3 xvdd DomD),$(virtio_disk /dev/ram4 xvde DomD),
	$(foreign_disk /dev/ram5 xvdf),$(foreign_disk /dev/ram6 xvdg),
	$(pv_disk /dev/ram7 xvdh DomD)]"
vg-target "$(domid DomD)" "$(domid G1)"
in_domain DomD 'modprobe xen-privcmd && test -c /dev/xen/privcmd'
load_ours G1
in_domain G1 'modprobe virtio_mmio'
retry 30 has_devices G1 7 || fail "G1 has only $(devices_of G1)"
# That device again, without these halves of the extension.
in_domain G1 'rebind() {
		set -e
		disk=$(grep -l -x $1 /sys/block/vd*/serial)
		dev=$(basename $(readlink -f ${disk%/serial}/device/..))
		shift
		cd /sys/bus/platform/drivers/virtio-grant-mmio
		echo $dev >unbind
		for p; do echo 0 >/sys/module/virtio_grant/parameters/$p; done
		echo $dev >bind
		for p; do echo 1 >/sys/module/virtio_grant/parameters/$p; done
	}
	(rebind xvdb use_ranges) && (rebind xvdc use_events) &&
		(rebind xvdd use_ranges use_events)'
retry 30 has_devices G1 7 || fail "G1 has only $(devices_of G1)"
load_bus G1
attach G1 backend=DomD type=blk target=/dev/ram10 name=xvdk
retry 30 has_devices G1 8 || fail "G1 has only $(devices_of G1)"

mainline_guest() {
	step "the mainline guest"
	start_guest G2 kernel=plain "disk=[$(virtio_disk /dev/ram8 xvdi DomD),
		$(virtio_disk /dev/ram9 xvdj DomD)]"
	in_domain G2 'modprobe virtio_mmio; modprobe virtio_blk'
	retry 30 has_devices G2 2 || fail "G2 has only $(devices_of G2)"
}
[ -z "${MAINLINE:-}" ] || mainline_guest

choose_backends
# What is read through it, is in the page cache.
in_domain DomD 'cat /dev/ram4 /dev/ram5 /dev/ram6 >/dev/null'
compare
virtio-grantctl -j stats >/vg/out/ctl-broker.json
no_trouble G1 ${MAINLINE:+G2} DomD
