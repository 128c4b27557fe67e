# SPDX-License-Identifier: GPL-2.0-or-later
#
# The broker's process of each guest: what it holds and what it can't do; that
# the guests go on when it, its parent or both are killed under verified load;
# and that a backend which hangs holds a vCPU for the bound and no longer, stops
# no other device, and leaves one whose I/O fails.
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-broker-probe
# rig: timeout 480

. /vg/in/dom0/virtio.sh

# child NAME: the pid of the broker's process of that guest.
child() {
	local pid found=1

	for pid in $(pidof virtio-grant-broker); do
		if tr '\0' ' ' <"/proc/$pid/cmdline" |
			grep -q -e "--guest=$(domid "$1") "; then
			echo "$pid"
			found=0
		fi
	done
	return $found
}

# children: how many there are, of all guests.
children() {
	pidof virtio-grant-broker | wc -w | awk '{ print $1 - 1 }'
}

# relays NAME: what the backend was told of its relay pages, all of them.
relays() {
	xenstore-ls -fp /local/domain 2>/dev/null |
		sed -n "s,^\(.*/virtio_disk/$(domid "$1")/.*/relay-[^ ]* = [^ ]*\).*,\1,p"
}

step "two backends, two guests"
# On a slow machine a second is too short for what is no hang.
bound="--answer-timeout=$(slow 1000)"
start_broker "$bound"
start_driver DomD
modprobe brd rd_nr=1 rd_size=32768
start_backend dom0
together 'start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD),$(virtio_disk /dev/ram0 xvdb Domain-0),$(virtio_disk /dev/ram2 xvdc DomD)]"' \
	'start_ours G2 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"'
has_disk G1 vdb vdc

step "what a guest's process holds"
# check_child NAME DEVICES
check_child() {
	local pid maps

	pid=$(child "$1") || fail "$1 has no process of the broker"
	[ "$(wc -w <<<"$pid")" = 1 ] || fail "$1 has several: $pid"
	expect 0000000000000000 "$(awk '/^CapEff/ { print $2 }' "/proc/$pid/status")" "capabilities"
	expect 0000000000000000 "$(awk '/^CapBnd/ { print $2 }' "/proc/$pid/status")" "capabilities at most"
	expect "2 1" "$(awk '/^(Seccomp|NoNewPrivs):/ { v[$1] = $2 }
		END { print v["Seccomp:"], v["NoNewPrivs:"] }' "/proc/$pid/status")" "filter, no new privileges"
	# One page of Xen's, and a relay page per device: nothing else is mapped.
	maps=$(awk '$NF ~ "^/dev/" { print $NF, $1 }' "/proc/$pid/maps" |
		while read -r what range; do
			echo "$what $(((0x${range#*-} - 0x${range%-*}) / 4096))"
		done | sort | uniq -c | sed 's/^ *//')
	expect "$2 /dev/xen/gntalloc 1
1 /dev/xen/privcmd 1" "$maps" "devices' pages mapped by the process of $1"
	ls -l "/proc/$pid/fd" >/tmp/fds
	cat /tmp/fds
	! grep -q 'xenbus\|gntdev\|gntalloc' /tmp/fds || fail "it has xenstore or grants open"
	! ls -l "/proc/$pid/fd" | grep 'socket:' | grep -v ' 3 ->' | grep -q . ||
		fail "it has another socket than its parent's"
}
check_child G1 3
check_child G2 1
pid=$(daemon_pid dom0 virtio-grant-broker)
if ls -l "/proc/$pid/fd" | grep privcmd; then
	fail "the parent has privcmd open"
fi
expect 2 "$(children)" "processes"

step "what it can do, by another that confines itself in the same way"
status=0
vg-broker-probe "$(domid G1)" "$(domid G2)" \
	"$(cut -d ' ' -f 1 "/run/virtio-grant/ioreq-$(domid G2)")" >/vg/out/probe 2>/tmp/probe.err ||
	status=$?
cat /vg/out/probe
tail -n 5 /tmp/probe.err
say "$(grep 'system calls' /vg/out/probe)"
result attempts_refused "$(grep -c '^confined:.*: refused' /vg/out/probe)"
expect 0 "$status" "vg-broker-probe ($(grep -m 1 WRONG /vg/out/probe))"

step "it is killed under verified load, then its parent, then both"
for disk in vda vdb; do
	in_domain G1 "rm -f /tmp/ended.$disk /tmp/stop; ( n=0; while [ ! -e /tmp/stop ]; do
		fio --name=$disk --filename=/dev/$disk $VG_FIO --direct=1 \
			--ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k \
			--size=2m --output=/tmp/fio.$disk 2>/tmp/err.$disk || break
		n=\$((n + 1)); done
	[ -e /tmp/stop ] && echo \$n >/tmp/ended.$disk || echo bad >/tmp/ended.$disk
	) >/dev/null 2>&1 &"
done
# Register accesses meanwhile, which the load does not make.
in_domain G1 '( while [ ! -e /tmp/stop ]; do cat /sys/bus/virtio/devices/virtio*/status >>/tmp/status
	done; >/tmp/ended.status ) >/dev/null 2>&1 &'
before=$(relays G1)
for i in 1 2 3 4 5; do
	kill -KILL "$(child G1)"
	retry 10 child G1 || fail "no successor"
	sleep 0.$((i * 2))
done
retry 10 grep -q 'process ended unexpectedly (signal 9, time 5)' /vg/log/broker.log
expect "$before" "$(relays G1)" "relays after its process was killed"
for i in 1 2; do
	[ "$i" = 1 ] || kill -KILL "$(child G1)"
	end_daemon dom0 virtio-grant-broker KILL
	rm -f /run/virtio-grant/broker.sock
	start_broker "$bound"
	retry 10 child G1 || fail "no successor"
	sleep 1
done
in_domain G1 '>/tmp/stop'
for what in vda vdb status; do
	retry 60 in_domain G1 "test -e /tmp/ended.$what" || fail "$what hangs after the kills"
done
for disk in vda vdb; do
	passes=$(in_domain G1 "cat /tmp/ended.$disk")
	[ "$passes" != bad ] || fail "fio: $(in_domain G1 "tail -n 2 /tmp/err.$disk")"
	result "passes_$disk" "$passes"
done
result register_reads "$(in_domain G1 'wc -l </tmp/status')"
expect 0x0000000f "$(in_domain G1 'sort -u /tmp/status')" "the status registers, all the while"
check_child G1 3
no_trouble G1 G2

# centiseconds NAME COMMAND
centiseconds() {
	in_domain -t 60 "$1" "a=\$(cut -d ' ' -f 1 /proc/uptime); $2 >/tmp/said 2>&1
		b=\$(cut -d ' ' -f 1 /proc/uptime); echo \$a \$b" |
		awk '{ printf "%d", ($2 - $1) * 100 + 0.5 }'
}
# quickest NAME COMMAND: of three times: other work can make one slow, a bound that
# is waited for makes all.
quickest() {
	local i

	for i in 1 2 3; do
		centiseconds "$@"
		echo
	done | sort -n | head -n 1
}
# status DEVICE: the file of the register; its address says which virtioN it is.
status_of() {
	in_domain G1 "echo /sys/bus/platform/devices/$1.virtio/virtio*/status"
}

step "a process of the broker that hangs is replaced"
# has_successor PID
has_successor() {
	local now

	now=$(child G1) && [ "$now" != "$1" ]
}
# Asked for all the while: on a slow machine one question after the signal would
# come after the successor.
in_domain G1 "rm -f /tmp/said /tmp/stop /tmp/longest; ( while [ ! -e /tmp/stop ]; do
		read a x </proc/uptime; cat $(status_of 2000200) >>/tmp/said
		read b x </proc/uptime; echo \$a \$b
	done | awk '{ d = \$2 - \$1; if (d > max) max = d }
		END { printf \"%d\", max * 100 + 0.5 }' >/tmp/longest
	) >/dev/null 2>&1 & sleep 1"
pid=$(child G1)
kill -STOP "$pid"
retry 10 has_successor "$pid" || fail "the stopped process is still there, or has no successor"
in_domain G1 '>/tmp/stop'
retry 10 in_domain G1 'test -s /tmp/longest' || fail "the access hangs"
hung=$(in_domain G1 'cat /tmp/longest')
result hung_process_ms "$((hung * 10))"
expect 0x0000000f "$(in_domain G1 'sort -u /tmp/said')" "the register that was asked for meanwhile"
[ "$hung" -ge 40 ] || fail "the longest access took ${hung}0 ms: was the process stopped?"
[ "$hung" -le "$(slow 300)" ] || fail "an access held the vCPU for ${hung}0 ms"
grep -q "dom$(domid G1): its process does not answer" /vg/log/broker.log ||
	fail "the broker does not say that its process hung"
! grep "dom$(domid G2): its process" /vg/log/broker.log || fail "another guest's process ended"
fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"

step "a backend that hangs: one vCPU waits for the bound, nobody else does"
worker=$(in_domain DomD 'virtio-grantctl -j' | tr -d ' ",' |
	awk -F : -v "g=$(domid G1)" '$1 == "guest" { mine = $2 == g }
		mine && $1 == "worker_pid" { print $2 }' | sort -u)
in_domain DomD "kill -STOP $worker"
frozen=$(status_of 2000000)
beside=$(status_of 2000400)
first=$(centiseconds G1 "cat $frozen")
second=$(quickest G1 "cat $frozen")
other=$(quickest G1 "cat $beside")
result frozen_ms "$((first * 10))"
result frozen_again_ms "$((second * 10))"
result frozen_other_device_ms "$((other * 10))"
[ "$first" -ge 90 ] || fail "the access took ${first}0 ms: was the worker stopped?"
[ "$first" -le "$(slow 300)" ] || fail "the access held the vCPU for ${first}0 ms"
[ "$second" -le 90 ] || fail "a second access held the vCPU for ${second}0 ms"
[ "$other" -le 90 ] || fail "the other device of that backend held it for ${other}0 ms"
virtio-grantctl | tee /tmp/status
grep "dom$(domid G1) virtio_disk/51712:" /tmp/status | grep -q 'backend in domain .* dead' ||
	fail "the broker does not say that the backend is dead"
expect 2 "$(grep -c ' dead, ' /tmp/status)" "devices with a dead backend"
fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"
fio_verify G2 vda "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"

step "its I/O fails, instead of hanging; the driver takes it up when it is back"
in_domain G1 'echo 5 >/sys/module/virtio_grant/parameters/wait_s'
status=0
in_domain -t 60 G1 'dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct' || status=$?
[ "$status" -ne 0 ] || fail "a read of a hung backend succeeded"
[ "$status" -lt 124 ] || fail "a read of a hung backend hangs"
in_domain DomD "kill -CONT $worker"
for device in 2000000 2000400; do
	in_domain -t 30 G1 "cd /sys/bus/platform/drivers/virtio-grant-mmio &&
		echo $device.virtio >unbind; echo $device.virtio >bind" ||
		fail "$device cannot be taken up again"
done
has_disk G1 vda vdc
fio_verify G1 vdc "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"
no_trouble G1 G2

step "the guests go, and their processes with them"
destroy_guest G1
stop_guest G2
retry 10 eval '[ "$(children)" = 0 ]' || fail "$(children) processes are left"
expect "" "$(ls /run/virtio-grant | grep ioreq-)" "files of IOREQ servers"
