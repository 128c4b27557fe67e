# SPDX-License-Identifier: GPL-2.0-or-later
#
# A driver domain that dies and comes back, under another number, with requests of
# its guests in flight: they see a pause and no error.  MOVES times.  AWAY=1: then for
# longer than the guest waits.
#
# rig: arch arm64 x86
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend modules
# rig: disk image 64M
# rig: timeout 400
# rig: long x86

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

MOVES="${MOVES:-1}"

# The image is dom0's, so that it is there whoever serves it.
driver_up() {
	start_driver_domain DomD "disk=[$(pv_disk "$(host_disk image)" xvda)]"
	start_backend DomD
}

step "a driver domain, a guest, and who moves devices"
driver_up
start_guest G1
load_bus G1
start_watch
attach G1 backend=DomD type=blk target=/dev/xvda name=data
has_disk G1 vda

step "load"
in_domain G1 "setsid sh -c 'until test -e /tmp/stop; do
		fio --name=v --filename=/dev/vda $VG_FIO --ioengine=libaio \
			--direct=1 --iodepth=16 --size=8m --rw=randrw \
			--bsrange=512-64k --blockalign=512 --output=/tmp/fio ||
			{ touch /tmp/failed; break; }
		echo >>/tmp/loops
	done; touch /tmp/ended' </dev/null >/tmp/load.log 2>&1 &"

for i in $(seq "$MOVES"); do
	step "move $i"
	# The default is for a machine that does nothing else.
	in_domain G1 "echo $(slow 120) >/sys/module/virtio_grant/parameters/wait_s"
	sleep 1
	began=$(now_ms)
	destroy_guest DomD
	driver_up
	booted=$(now_ms)
	retry 60 goes_on G1 "$i" || fail "the guest does not go on"
	result "pause_ms_$i" $(($(now_ms) - began))
	result "boot_ms_$i" $((booted - began))
	in_domain G1 '! test -e /tmp/failed' || fail "I/O failed"
done

step "it works still, and saw no error"
loops=$(in_domain G1 'cat /tmp/loops 2>/dev/null | wc -l')
retry 60 in_domain G1 "test \$(cat /tmp/loops | wc -l) -gt $loops" ||
	fail "no I/O after the last move"
in_domain G1 'touch /tmp/stop'
retry 120 in_domain G1 'test -e /tmp/ended' || fail "the load does not end"
in_domain G1 '! test -e /tmp/failed' || fail "I/O failed: $(in_domain G1 'tail -n 2 /tmp/load.log')"
in_domain G1 '! dmesg | grep "I/O error"' || fail "an I/O error"
no_trouble G1

step "suspended as far as devices go, and on"
in_domain G1 'echo devices >/sys/power/pm_test && echo freeze >/sys/power/state' ||
	fail "it does not sleep: $(in_domain G1 'dmesg | tail -n 3')"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-64k --blockalign=512"

# For longer than the guest waits.
away() {
	step "its domain stays away for longer than the guest waits"
	destroy_guest DomD
	in_domain G1 '! echo freeze >/sys/power/state' || fail "it sleeps without a backend"
	in_domain G1 'dmesg | grep "cannot sleep: its backend is away"' ||
		fail "it does not say why it does not sleep: $(in_domain G1 'dmesg | tail -n 3')"
	in_domain G1 '(dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct; echo $? >/tmp/read) \
			>/tmp/read.log 2>&1 </dev/null & sleep 1; ! test -e /tmp/read' ||
		fail "a read from nobody does not wait"
	in_domain G1 'echo 5 >/sys/module/virtio_grant/parameters/wait_s'
	retry 30 in_domain G1 'test -s /tmp/read' || fail "a read waits for ever"
	in_domain G1 'grep -v -x 0 /tmp/read' || fail "a read from nobody ends well"
	in_domain G1 'dmesg | grep "device failed: the backend does not answer"' ||
		fail "it did not fail for want of an answer"
	driver_up
	retry 60 in_domain G1 'dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct' ||
		fail "it does not come back"
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
		--rw=randrw --bsrange=512-64k --blockalign=512"
}
[ -z "${AWAY:-}" ] || away
