# SPDX-License-Identifier: GPL-2.0-or-later
#
# Xen with FLASK and the patch of spec/xen, which makes the check of
# XENMEM_acquire_resource depend on the type: the attack that succeeds in the
# scenario flask is refused here, the page of an IOREQ server is not, and all
# else works as before.
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-probe program:vg-resource
# rig: xen flask-typed
# rig: timeout 300
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/flask.sh

step "a guest with a disk"
expect Enforcing "$(xl getenforce || :)" "xl getenforce"
start_broker
start_driver DomD
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m --rw=randrw --bsrange=512-64k --blockalign=512"
no_denials "a guest with a disk"

step "a driver domain with hvm:dm and domain2:resource_map, but no mmu:map_*"
guest=$(domid G1)
start_driver_domain DomT 'seclabel="system_u:system_r:vg_tempted_t"'
flask_label DomT vg_tempted_t
with_privcmd DomT
hide_secret G1
attempt DomT 1 "foreign mapping" "vg-probe map $guest 0x40400"
attempt DomT 0 "its own IOREQ server" "vg-resource ioreq $guest"
attempt DomT 1 "the guest's grant table" \
	"vg-resource gnttab $guest $(domid DomT) 256"
line=$(denials 'resource_map_gnttab.*vg_tempted_t')
[ -n "$line" ] || fail "it was not the typed check that refused: $(denials | tail -n 1)"
say "xl dmesg: $line"
result secret_read_by_resource_map false

step "the guest goes on"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
no_trouble G1 DomD
stop_guest G1
