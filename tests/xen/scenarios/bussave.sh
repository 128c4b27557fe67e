# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with disks on the bus, one of virtio-grantctl's and one of libxl's, is
# suspended and goes on, is saved and restored, and moves to another domain of the
# same machine, each under verified load.  Xen has none of it on Arm.
#
# rig: arch x86
# rig: xen stock
# rig: needs backend modules
# rig: disk saved 512M
# rig: timeout 500
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

SAVED=$(host_disk saved)
FORGET_S=3

# loaded GUEST COUNT: so many passes of its load, without an error.
loops() {
	in_domain G1 'cat /tmp/loops 2>/dev/null | wc -l'
}

more_loops() {
	in_domain G1 "test \$(cat /tmp/loops | wc -l) -gt $1 || test -e /tmp/failed"
}

# works_on WHAT: the load has seen no error, and goes on.
works_on() {
	local before

	before=$(loops)
	retry 60 more_loops "$((before + 1))" || fail "$1: the load stands still"
	in_domain G1 '! test -e /tmp/failed' ||
		fail "$1: I/O failed: $(in_domain G1 'tail -n 2 /tmp/load-*.log')"
	in_domain G1 '! dmesg | grep -E "I/O error|Call Trace"' || fail "$1: an I/O error"
	say "$1: no error"
}

step "a driver domain, a guest with two disks, and who moves devices"
start_driver DomD
start_guest G1 mem=160 "disk=[$(virtio_disk /dev/ram2 xvdc DomD)]"
load_bus G1
start_watch --forget="$FORGET_S"
has_disk G1 vda
attach G1 backend=DomD type=blk target=/dev/ram0 name=data
has_disk G1 vdb

step "load"
for disk in vda vdb; do
	in_domain G1 "setsid sh -c 'until test -e /tmp/stop; do
			fio --name=v --filename=/dev/$disk $VG_FIO --ioengine=libaio \
				--direct=1 --iodepth=8 --size=2m --rw=randrw \
				--bsrange=512-64k --blockalign=512 --output=/tmp/fio-$disk ||
				{ touch /tmp/failed; break; }
			echo >>/tmp/loops
		done; echo >>/tmp/ended' </dev/null >/tmp/load-$disk.log 2>&1 &"
done
works_on "before anything"

step "suspended, and on in the same domain"
xl save -c G1 /dev/null || fail "xl save -c"
works_on "a checkpoint"
in_domain G1 'xenstore-ls device >/dev/null 2>&1 || :'

step "saved; and restored when its records would be forgotten"
xl save G1 "$SAVED" || fail "xl save"
retry 30 _is_gone G1 || fail "G1 is still there"
sleep "$(slow $((2 * FORGET_S)))"
virtio-grantctl list
virtio-grantctl list --json >/vg/out/saved.json
began=$(now_ms)
xl restore "$SAVED" || fail "xl restore"
wait_guest G1
works_on "saving and restoring"
result restore_ms $(($(now_ms) - began))
connected G1 || fail "not connected: $(virtio-grantctl list)"

step "migrated to the same machine"
if xl migrate -s "" G1 "xl migrate-receive"; then
	mv /vg/console/guest-G1.log /vg/console/guest-G1.before.log
	ln -s guest-G1--incoming.log /vg/console/guest-G1.log
	wait_guest G1
	works_on "migrating"
	connected G1 || fail "not connected: $(virtio-grantctl list)"
else
	fail "xl migrate"
fi

step "the load ends; then the guest, for good"
in_domain G1 'touch /tmp/stop'
retry 120 in_domain G1 'test "$(cat /tmp/ended | wc -l)" -eq 2' || fail "the load does not end"
works=$(in_domain G1 'test -e /tmp/failed && echo no || echo yes')
expect yes "$works" "I/O without an error"
no_trouble G1 DomD
stop_guest G1
retry $((FORGET_S + 30)) _nothing_left || fail "left: $(_bus_nodes | head -n 3)"
