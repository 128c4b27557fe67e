# SPDX-License-Identifier: GPL-2.0-or-later
#
# Daemons that die: the broker under verified load (the guest goes on), all of
# virtio-grantd with what its devices' state was (the device fails, the guest
# does not hang, and its driver can take the device up again), and the whole
# driver domain (the guest lives on without its disk).  A driver domain that only
# stands still is waited for, or comes back.  Deaths that the guest does not
# notice are takeover.sh's.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 420

. /vg/in/dom0/virtio.sh

# guest_says NAME PATTERN
guest_says() {
	in_domain "$1" "dmesg | grep -E '$2'" ||
		fail "$1 does not say /$2/: $(in_domain "$1" 'dmesg | tail -n 3')"
}

step "the daemons, and a guest"
start_broker
start_driver DomD
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"

step "the broker is killed and started again under verified load"
# Complete passes of writing and verifying, for as long as brokers die.
in_domain G1 "rm -f /tmp/ended /tmp/stop; ( n=0; while [ ! -e /tmp/stop ]; do
		fio --name=v --filename=/dev/vda $VG_FIO --direct=1 \
			--ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k \
			--size=4m --output=/tmp/fio.out 2>/tmp/fio.err || break
		n=\$((n + 1)); done
	[ -e /tmp/stop ] && echo \$n >/tmp/ended || echo bad >/tmp/ended
	) >/dev/null 2>&1 &"
for i in 1 2 3; do
	sleep 2
	end_daemon dom0 virtio-grant-broker KILL
	rm -f /run/virtio-grant/broker.sock
	sleep 1
	start_broker
done
in_domain G1 '>/tmp/stop'
retry 90 in_domain G1 'test -e /tmp/ended' || fail "fio hangs after the broker's restart"
passes=$(in_domain G1 'cat /tmp/ended')
[ "$passes" != bad ] || fail "fio: $(in_domain G1 'tail -n 2 /tmp/fio.err')"
result passes_during_restarts "$passes"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
no_trouble G1

# dies WHAT COMMAND: it is killed under load; fio must end, and in time.
dies() {
	local began

	in_domain G1 "rm -f /tmp/ended; ( fio --name=b --filename=/dev/vda \
		--direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k \
		--size=16m --time_based --runtime=$(($(slow 60) + 140)) --output-format=terse \
		>/tmp/busy 2>&1; echo \$? >/tmp/ended ) >/dev/null 2>&1 &
		sleep 1"
	began=$SECONDS
	eval "$2"
	retry 60 in_domain G1 'test -e /tmp/ended' ||
		fail "$1 dies: the guest's I/O hangs for more than $(slow 60) s"
	say "$1 dies: the guest's fio ends with status $(in_domain G1 'cat /tmp/ended') after $((SECONDS - began)) s"
	in_domain G1 'echo alive' || fail "$1 dies: the guest does not answer"
}

# again WHAT BUS/DRIVER DEVICE: the guest's own driver takes the device up once more.
again() {
	in_domain -t 30 G1 "cd /sys/bus/$2 && d=\$(basename $3) &&
		echo \$d >unbind; echo \$d >bind" ||
		fail "$1: the device cannot be taken up again"
	has_disk G1 vda
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
}

step "all of virtio-grantd is killed under load, and its state is lost"
# The fio ends when there is somebody again who says that the device is broken.
dies "virtio-grantd" 'in_domain DomD "killall -KILL virtio-grantd
		rm -r /run/virtio-grant/grantd.sock /run/virtio-grant/state"
	start_backend DomD'
log_says DomD 'what it left behind makes no sense' "a lost state"
again "after virtio-grantd's death" platform/drivers/virtio-grant-mmio '*.virtio'
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"

# And so that nobody knows it was in use: it answers, and does not run.
step "all of virtio-grantd is killed under load, and nothing is left of it"
dies "virtio-grantd" 'in_domain DomD "killall -KILL virtio-grantd
		rm -r /run/virtio-grant/grantd.sock /run/virtio-grant/state"
	xenstore-write "/local/domain/$(domid DomD)/backend/virtio_disk/$(domid G1)/51712/state" 1
	start_backend DomD'
guest_says G1 'device failed: the backend does not run it any more'
again "after a backend that forgot it" virtio/drivers/virtio_blk 'virtio*'
no_trouble G1

step "the next guest"
start_ours G2 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"
fio_verify G2 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"

# G1 waits for ever, G2 not as long as this takes.
step "the driver domain stands still for 40 s"
in_domain G1 'echo 0 >/sys/module/virtio_grant/parameters/wait_s'
in_domain G2 'echo 3 >/sys/module/virtio_grant/parameters/wait_s'
xl pause DomD
for guest in G1 G2; do
	in_domain $guest 'rm -f /tmp/ended; ( exec 3</dev/vda
		dd bs=4k count=1 iflag=direct <&3 >/dev/null 2>&1; echo $? >/tmp/ended
		while ! dd bs=4k count=1 iflag=direct <&3 >/dev/null 2>&1; do
			sleep 1; done; : >/tmp/works ) >/dev/null 2>&1 &'
done
began=$SECONDS
retry 60 in_domain G2 'test -e /tmp/ended' || fail "G2 waits although it is told not to"
result silent_failed_after_s $((SECONDS - began))
expect 1 "$(in_domain G2 'cat /tmp/ended')" "the exit status of G2's dd"
[ $((SECONDS - began)) -ge 40 ] || sleep $((40 - (SECONDS - began)))
in_domain G1 'test ! -e /tmp/ended' || fail "G1 does not wait for its driver domain"
xl unpause DomD
retry 30 in_domain G1 'test -e /tmp/ended' || fail "G1's request does not end"
expect 0 "$(in_domain G1 'cat /tmp/ended')" "the exit status of G1's dd"
began=$SECONDS
retry 60 in_domain G2 'test -e /tmp/works' ||
	fail "G2's disk does not come back: $(in_domain G2 'dmesg | tail -n 3')"
result came_back_after_s $((SECONDS - began))
for guest in G1 G2; do
	fio_verify $guest vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
	no_trouble $guest
done
in_domain G1 "dmesg | grep 'device failed: the backend does not answer'" &&
	fail "G1's disk failed"

step "it stands still, and the disk is taken away"
xl pause DomD
in_domain G1 '( dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct ) >/dev/null 2>&1 &'
in_domain -t 60 G1 'cd /sys/bus/virtio/drivers/virtio_blk && echo virtio* >unbind' ||
	fail "unbinding hangs"
xl unpause DomD
stop_guest G1

step "the driver domain is destroyed under a guest"
destroy_guest DomD
in_domain -t 60 G2 'dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct; echo alive' ||
	fail "the guest does not survive its driver domain"
virtio-grantctl
xl destroy G2
retry 30 _is_gone G2 || fail "G2 cannot be destroyed"
