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
pv	G1	xvdh	ram7	blkback
map	G2	xvdi	ram8	direct
copy	G2	xvdj	ram9	direct'
choose_backends

# foreign_disk TARGET VDEV
foreign_disk() {
	virtio_disk "$1" "$2" DomD | sed 's/grant_usage=1/grant_usage=0/'
}

# disks_of GUEST: its part of xl's list; those on the bus are attached later.
disks_of() {
	local name g vdev ram how list=

	while IFS=$'\t' read -r name g vdev ram how; do
		[ "$g" = "$1" ] || continue
		case "$name" in
		bus) ;;
		pv) list="$list,$(pv_disk "/dev/$ram" "$vdev" DomD)" ;;
		foreign-*) list="$list,$(foreign_disk "/dev/$ram" "$vdev")" ;;
		*) list="$list,$(virtio_disk "/dev/$ram" "$vdev" DomD)" ;;
		esac
	done <<<"$BACKEND_TABLE"
	echo "disk=[${list#,}]"
}

# virtio_of GUEST: how many of the others but PV block's and the bus's it has.
virtio_of() {
	grep -v -E '^(bus|pv)	' <<<"$BACKEND_TABLE" | cut -f 2 |
		grep -c -x "$1" || :
}

wants_foreign() {
	wants foreign-dynamic || wants foreign-static
}

wants_mainline() {
	wants map || wants copy
}

step "the broker, and a driver domain with RAM disks"
# Mapping all of a guest can take more than a vCPU may wait by default.
start_broker --foreign --answer-timeout=20000
start_driver_domain DomD mem=1600
ram_disks
# The same $OPTIONS for all: an experiment must not favour one of ours.
instance /run/pool virtio-grantd --direct-io=on --only=xvda,xvdb,xvdc,xvdd \
	$OPTIONS
wants bus && instance /run/bus virtio-grantd --direct-io=on --only=xvdk $OPTIONS
# What a guest without the extension gets by default is one or the other, by
# the size of the request.
wants map && instance /run/map virtio-grantd --direct-io=on --only=xvdi \
	--copy-max=0 $OPTIONS
wants copy && instance /run/copy virtio-grantd --direct-io=on --only=xvdj \
	--copy-max=$((4 << 20)) $OPTIONS
wants pool-cached && instance /run/pool-cached virtio-grantd --direct-io=off \
	--only=xvde $OPTIONS
wants foreign-dynamic && instance /run/foreign-dynamic virtio-foreignd \
	--direct-io=off --only=xvdf --memory=dynamic $OPTIONS
wants foreign-static && instance /run/foreign-static virtio-foreignd \
	--direct-io=off --only=xvdg --memory=static $OPTIONS

step "the guest, with a disk of every kind"
start_guest G1 "$(disks_of G1)"
nr_disks=$(virtio_of G1)
wants_foreign && {
	vg-target "$(domid DomD)" "$(domid G1)"
	in_domain DomD 'modprobe xen-privcmd && test -c /dev/xen/privcmd'
}
load_ours G1
wants_foreign && in_domain G1 'modprobe virtio_mmio'
retry 30 has_devices G1 "$nr_disks" || fail "G1 has only $(devices_of G1)"
# That device again, without these halves of the extension.
rebind() {
	wants "$1" || return 0
	in_domain G1 "set -e
		disk=\$(grep -l -x $2 /sys/block/vd*/serial)
		dev=\$(basename \$(readlink -f \${disk%/serial}/device/..))
		cd /sys/bus/platform/drivers/virtio-grant-mmio
		echo \$dev >unbind
		for p in ${*:3}; do echo 0 >/sys/module/virtio_grant/parameters/\$p; done
		echo \$dev >bind
		for p in ${*:3}; do echo 1 >/sys/module/virtio_grant/parameters/\$p; done"
}
rebind pool-noranges xvdb use_ranges
rebind pool-noevents xvdc use_events
rebind pool-plain xvdd use_ranges use_events
retry 30 has_devices G1 "$nr_disks" || fail "G1 has only $(devices_of G1)"
wants bus && {
	load_bus G1
	attach G1 backend=DomD type=blk target=/dev/ram10 name=xvdk
	retry 30 has_devices G1 $((nr_disks + 1)) || fail "G1 has only $(devices_of G1)"
}

wants_mainline && {
	step "the mainline guest"
	start_guest G2 kernel=plain "$(disks_of G2)"
	in_domain G2 'modprobe virtio_mmio; modprobe virtio_blk'
	retry 30 has_devices G2 "$(virtio_of G2)" || fail "G2 has only $(devices_of G2)"
}

# What is read through it, is in the page cache.
in_domain DomD 'cat /dev/ram4 /dev/ram5 /dev/ram6 >/dev/null'
compare
virtio-grantctl -j stats >/vg/out/ctl-broker.json
# shellcheck disable=SC2046 # none, or one
no_trouble G1 $(wants_mainline && echo G2) DomD
