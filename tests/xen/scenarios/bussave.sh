# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with disks on the bus, one of virtio-grantctl's and one of libxl's, is
# suspended and goes on, also where a third disk keeps it from being saved, and is saved
# and restored; one with the first alone moves to another domain of the same machine;
# each under verified load.  Xen has none of it on Arm.  What can be is PV, which is
# much faster here; but Debian's Xen does not log what a PV guest writes, so those that
# move are PVH; one has Debian's newest kernel, whose xenbus takes a node that begins
# anew for another device.
#
# rig: arch x86
# rig: xen stock
# rig: kernels 6.12
# rig: needs backend modules kernel:newest
# rig: disk saved 512M
# rig: timeout 500
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

SAVED=$(host_disk saved)
FORGET_S=3

# begin_load GUEST DISK...: verified I/O on each, until end_load.
begin_load() {
	local guest="$1" disk

	shift
	# Of a machine that does nothing else, as all limits.
	in_domain "$guest" "echo $(slow 90) >/sys/module/virtio_grant/parameters/wait_s"
	for disk; do
		in_domain "$guest" "setsid sh -c 'until test -e /tmp/stop; do
				fio --name=v --filename=/dev/$disk $VG_FIO --ioengine=libaio \
					--direct=1 --iodepth=8 --size=2m --rw=randrw \
					--bsrange=512-64k --blockalign=512 --output=/tmp/fio-$disk ||
					{ touch /tmp/failed; break; }
				echo >>/tmp/loops-$disk
			done; echo >>/tmp/ended' </dev/null >/tmp/load-$disk.log 2>&1 &"
	done
}

# passes GUEST DISK [MORE_THAN]: of its load; or is it more than so many, or failed?
passes() {
	in_domain "$1" "n=\$(cat /tmp/loops-$2 2>/dev/null | wc -l)
		${3:+test -e /tmp/failed || test \$n -gt $3 || exit 1}
		echo \$n"
}

# works_on WHAT GUEST DISK...: the loads have seen no error, and go on.
works_on() {
	local what="$1" guest="$2" before disk

	shift 2
	for disk; do
		before=$(passes "$guest" "$disk")
		retry 60 passes "$guest" "$disk" $((before + 1)) >/dev/null ||
			fail "$what: the load of $disk stands still"
	done
	in_domain "$guest" '! test -e /tmp/failed' ||
		fail "$what: I/O failed: $(in_domain "$guest" 'tail -n 2 /tmp/load-*.log')"
	in_domain "$guest" '! dmesg | grep -E "I/O error|Call Trace"' ||
		fail "$what: an I/O error"
	say "$what: no error"
}

# end_load GUEST LOADS
end_load() {
	in_domain "$1" 'touch /tmp/stop'
	retry 120 in_domain "$1" "test \$(cat /tmp/ended | wc -l) -eq $2" ||
		fail "the load of $1 does not end"
	in_domain "$1" '! test -e /tmp/failed' || fail "I/O of $1 failed"
}

is_saved() {
	virtio-grantctl list "$1" | grep "guest is saved"
}

# _is_away GUEST NAME: its device waits for a backend.
_is_away() {
	virtio-grantctl list "$1" | grep "$2" | grep "waits for its backend domain"
}

_watch_is_gone() {
	! kill -0 "$(cat "$VG_RUN/watch.pid")" 2>/dev/null
}

step "a driver domain, a guest with two disks, and who moves devices"
start_driver_domain DomD type=pv
in_domain DomD 'modprobe brd rd_nr=8 rd_size=32768'
start_backend DomD
start_guest G1 type=pv mem=192 "disk=[$(virtio_disk /dev/ram2 xvdc DomD)]"
load_bus G1
mkdir -p /var/lib
start_watch --forget="$FORGET_S"
has_disk G1 vda
attach G1 backend=DomD type=blk target=/dev/ram0 name=data
has_disk G1 vdb
begin_load G1 vda vdb
works_on "before anything" G1 vda vdb

step "suspended, and on in the same domain"
xl save -c G1 /dev/null || fail "xl save -c"
works_on "a checkpoint" G1 vda vdb

step "not saved while the domain of a third disk is away: the two others go on"
start_driver_domain DomE type=pv
in_domain DomE 'modprobe brd rd_nr=1 rd_size=4096'
start_backend DomE
attach G1 backend=DomE type=blk target=/dev/ram0 name=other
retry 20 in_domain G1 'grep -qx other /sys/block/vd*/serial' ||
	fail "G1 does not see its third disk"
xl destroy DomE
retry 30 _is_away G1 other || fail "it is not missed: $(virtio-grantctl list)"
began=$(now_ms)
! xl save G1 "$SAVED" || fail "xl save says nothing"
say "refused after $(($(now_ms) - began)) ms"
in_domain G1 'dmesg | grep "cannot sleep: its backend is away"' ||
	fail "its kernel does not say why"
works_on "a save that was refused" G1 vda vdb
! is_saved G1 || fail "it is in the list as saved: $(virtio-grantctl list)"
virtio-grantctl detach --force G1 other || fail "virtio-grantctl detach"
retry 30 in_domain G1 '! grep -qx other /sys/block/vd*/serial' ||
	fail "the third disk stays"

step "saved; and restored when its records would be forgotten"
xl save G1 "$SAVED" || fail "xl save"
retry 30 _is_gone G1 || fail "G1 is still there"
sleep "$(slow $((2 * FORGET_S)))"
is_saved G1 || fail "the saved guest is not in the list: $(virtio-grantctl list)"
# As if the host were booted meanwhile: xenstore knows of nothing.
kill "$(cat "$VG_RUN/watch.pid")"
retry 10 _watch_is_gone || fail "virtio-grantctl watch does not end"
xenstore-rm /virtio-grant
xenstore-rm "/local/domain/$(domid DomD)/backend/virtio_grant" || :
sed -i 's/"boot": *"[^"]*"/"boot": "another"/' /var/lib/virtio-grant/saved.json
start_watch --forget="$FORGET_S"
retry 10 is_saved G1 || fail "after a boot of the host it is not in the list"
began=$(now_ms)
# Of libxl's 10 s for a backend: see create_again().  What was saved, stays saved.
xl restore "$SAVED" || {
	say "xl restore: once more"
	retry 30 _is_gone G1
	sleep "$(slow $((2 * FORGET_S)))"
	is_saved G1 || fail "a restore that failed made it forgotten"
	xl restore "$SAVED" || fail "xl restore"
}
wait_guest G1
works_on "saving and restoring" G1 vda vdb
result restore_ms $(($(now_ms) - began))
retry 10 connected G1 || fail "not connected: $(virtio-grantctl list)"
end_load G1 2
no_trouble G1

step "saved; and booted instead of restored"
xenstore-read "/local/domain/$(domid G1)/vm" >/vg/log/G1.vm
xl save G1 "$SAVED" || fail "xl save"
retry 30 _is_gone G1 || fail "G1 is still there"
start_guest G1 type=pv mem=192 "uuid=\"$(sed 's/.*\///' /vg/log/G1.vm)\""
load_bus G1
retry 30 in_domain G1 'grep -qx data /sys/block/vd*/serial' ||
	fail "the disk does not come: $(virtio-grantctl list)"
retry 10 connected G1 || fail "not connected: $(virtio-grantctl list)"
no_trouble G1 DomD
stop_guest G1

# ready_to_move NAME IMAGE WORDS...: a PVH guest with a disk of virtio-grantctl's.
ready_to_move() {
	local name="$1" image="$2"

	shift 2
	start_guest "$name" mem=160 "$@"
	load_bus "$name"
	attach "$name" backend=DomD type=blk target="$image" name=data
	retry 20 in_domain "$name" 'grep -qx data /sys/block/vd*/serial' ||
		fail "$name has no disk"
	disk=$(in_domain "$name" 'grep -lx data /sys/block/vd*/serial | cut -d/ -f4')
	begin_load "$name" "$disk"
	works_on "before moving" "$name" "$disk"
}

step "moved to another domain of this machine"
ready_to_move G2 /dev/ram1 kernel=newest
say "$(in_domain G2 'uname -r')"
before=$(domid G2)
began=$(now_ms)
xl migrate -s "" G2 "xl migrate-receive" || fail "xl migrate"
[ "$(domid G2)" != "$before" ] || fail "it is the same domain"
# xenconsoled has named the log for what it was called first.
mv /vg/console/guest-G2.log /vg/console/guest-G2.before.log
ln -s guest-G2--incoming.log /vg/console/guest-G2.log
wait_guest G2
works_on "migrating" G2 "$disk"
result migrate_ms $(($(now_ms) - began))
retry 10 connected G2 || fail "not connected: $(virtio-grantctl list)"
end_load G2 1
no_trouble G2 DomD

step "the guest ends, for good"
stop_guest G2
retry $((FORGET_S + 30)) _nothing_left || fail "left: $(_bus_nodes | head -n 3)"

step "not moved with a disk of libxl's, whose image is in use: it goes on"
ready_to_move G3 /dev/ram4 "disk=[$(virtio_disk /dev/ram5 xvdc DomD)]"
before=$(domid G3)
! xl migrate -s "" G3 "xl migrate-receive" || fail "xl migrate says nothing"
expect "$before" "$(domid G3)" "the domain"
works_on "a migration that failed" G3 "$disk"
end_load G3 1
no_trouble G3
