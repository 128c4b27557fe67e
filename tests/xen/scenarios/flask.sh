# SPDX-License-Identifier: GPL-2.0-or-later
#
# Xen with FLASK, enforcing, and the project's policy module (spec/xen/flask):
# disks, over both ways in, work and nothing they need is refused; what the driver
# domain may not do stays forbidden even if somebody tries to make it privileged.
# Then the trap that the module avoids: a driver domain with an IOREQ server of its
# own, which must not map the guest, reads the guest's secret by way of its grant
# table.
#
# (Other scenarios under FLASK: VG_XEN_VARIANT=flask tests/xen/run.sh NAME.)
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-probe program:vg-resource program:vg-target
# rig: xen flask
# rig: timeout 300

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh
. /vg/in/dom0/flask.sh

step "FLASK enforces"
expect Enforcing "$(xl getenforce || :)" "xl getenforce"
start_broker
start_driver DomD
flask_label Domain-0 dom0_t
flask_label DomD vg_driver_t

step "two guests with disks"
# G2 is of the type that may not talk to other guests, and does without the
# extension: its requests are mapped and copied one by one.
together \
	'start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"' \
	'start_guest G2 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]" \
		"seclabel=\"system_u:system_r:isolated_domU_t\""'
flask_label G1 domU_t
flask_label G2 isolated_domU_t
in_domain G2 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
	modprobe virtio_blk && modprobe virtio_grant use_ranges=0 use_events=0 &&
	modprobe virtio_grant_mmio'
has_disk G2 vda
for guest in G1 G2; do
	fio_verify $guest vda "--ioengine=libaio --direct=1 --iodepth=16 \
		--size=4m --rw=randrw --bsrange=512-64k --blockalign=512"
done
for counter in events_received mem.range_hits mem.maps mem.copies; do
	[ "$(stats DomD "$counter")" -gt 0 ] || fail "$counter is 0"
done
no_denials "guests with disks"
no_trouble G1 G2

step "a disk on the Xen bus"
load_bus G1
attach G1 backend=DomD type=blk target=/dev/ram2 name=bus
has_disk G1 vdb
fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-64k --blockalign=512"
virtio-grantctl detach G1 bus || fail "detach"
no_denials "a disk on the bus"
no_trouble G1

step "what the driver domain may not do"
guest=$(domid G1)
frame=0x40400
with_privcmd DomD
attempt DomD 1 "with privcmd forced upon it" "vg-probe map $guest $frame"
attempt DomD 1 "with privcmd forced upon it" "vg-probe dm $guest"
attempt DomD 1 "with privcmd forced upon it" \
	"vg-resource gnttab $guest $(domid DomD) 256"
for class in mmu hvm; do
	[ -n "$(denials "vg_driver_t.*tclass=$class")" ] ||
		fail "it was not FLASK that refused (class $class): $(denials)"
done
say "xl dmesg: $(denials 'tclass=mmu' | tail -n 1)"
result driver_domain_refusals "$(denials vg_driver_t | wc -l)"

step "dom0 can't make it privileged, as a foreign-mapping backend needs it"
if said=$(vg-target "$(domid DomD)" "$guest" 2>&1); then
	fail "DomD has become privileged over G1: $said"
fi
say "dom0, set_target: $said"
attempt DomD 1 "after that" "vg-probe map $guest $frame"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"

step "a driver domain with hvm:dm and domain2:resource_map, but no mmu:map_*"
start_driver_domain DomT 'seclabel="system_u:system_r:vg_tempted_t"'
flask_label DomT vg_tempted_t
with_privcmd DomT
hide_secret G1
attempt DomT 1 "foreign mapping" "vg-probe map $guest $frame"
attempt DomT 0 "its own IOREQ server" "vg-resource ioreq $guest"
attempt DomT 0 "the guest's grant table" \
	"vg-resource gnttab $guest $(domid DomT) 256"
expect "$(in_domain G1 'cut -c 11- /run/secret')" "${said##* }" \
	"what DomT has read of G1"
result secret_read_by_resource_map true
no_trouble G1

step "the end"
stop_guest G1
stop_guest G2
