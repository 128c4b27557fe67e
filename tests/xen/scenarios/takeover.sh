# SPDX-License-Identifier: GPL-2.0-or-later
#
# Workers and all of virtio-grantd killed with -9 under verified load: each time
# a successor goes on where the dead one was, and the guest sees a pause and no
# error.  Then both daemons are restarted, in either order, a worker dies together
# with the broker, and the image is not there for some seconds while it is taken
# over: the device waits for what it lacks, says so, and serves on.  `make torture`
# runs it with KILLS=200 BROKER=1.
#
#	KILLS=5		in all; workers and daemons in turns
#	BROKER=		if set, the broker is killed after each 20 of them
#	BUS=		if set, the disk is on the Xen bus, and there is no broker
#	SEED=...	of the random moments; printed
#	VCPUS=1		of the guest
#
# The keeper in DomD does what systemd does with Restart=on-failure.  The disk
# takes 3 ms for each request, so that there is always something under way.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 420

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

BUS="${BUS:-}"
[ -z "$BUS" ] || BROKER=
KILLS="${KILLS:-5}"
SEED="${SEED:-$((RANDOM + 1))}"

# What the guest does until it is told to stop: complete passes of writing,
# flushing, reading back and comparing; the longest time that any request took.
LOAD='rm -f /tmp/ended /tmp/stop /tmp/max; ( n=0; while [ ! -e /tmp/stop ]; do
	for bs in 4k 64k; do
		fio --name=v --filename=/dev/vda --verify=crc32c --verify_fatal=1 \
			--randrepeat=0 --output-format=terse --direct=1 \
			--ioengine=libaio --iodepth=16 --rw=randwrite --bs=$bs \
			--size=4m --fsync=64 --output=/tmp/fio.out 2>/tmp/fio.err ||
			{ echo bad >/tmp/ended; exit; }
		awk -F ";" "{ print (\$15 > \$56 ? \$15 : \$56) }" /tmp/fio.out >>/tmp/max
	done
	n=$((n + 1)); done; echo $n >/tmp/ended ) >/dev/null 2>&1 &'

# What runs in DomD, with LIMIT tenths of a second for each.  Its arguments: the
# first take-over to expect, then the seconds to wait before each kill.  Prints the longest time from a kill to the
# take-over, or which one there was none after.
cat >/tmp/kills <<'EOS'
n=$1 max=0
shift
taken() {
	# struct vg_state: takeovers
	od -A n -t u4 -j 16 -N 4 /run/virtio-grant/state/* 2>/dev/null | tr -d ' '
}
now_ms() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}0"
}
for pause; do
	sleep "$pause"
	if [ $((n % 2)) -eq 1 ]; then
		pid=$(virtio-grantctl -j |
			sed -n 's/.*"worker_pid": *\([0-9]*\).*/\1/p')
	else
		pid=$(cat /run/virtio-grant/virtio-grantd.pid)
	fi
	began=$(now_ms)
	kill -KILL "$pid" || { echo "kill $n: no process '$pid'"; exit 1; }
	i=0
	until t=$(taken); [ "${t:-0}" -ge "$n" ]; do
		i=$((i + 1))
		[ $i -lt $LIMIT ] || { echo "kill $n: nobody took over"; exit 1; }
		sleep 0.1
	done
	# Its socket, for the next kill.
	until virtio-grantctl -j 2>/dev/null | grep -q '"state": *"ready"'; do
		i=$((i + 1))
		[ $i -lt $LIMIT ] || { echo "kill $n: not ready"; exit 1; }
		sleep 0.1
	done
	ms=$(($(now_ms) - began))
	[ "$ms" -le "$max" ] || max=$ms
	n=$((n + 1))
done
echo "$max"
EOS

step "the daemons, and a guest (seed $SEED)"
result seed "$SEED"
RANDOM="$SEED"
[ -n "$BUS" ] || start_broker
start_driver_domain DomD
in_domain DomD 'modprobe null_blk nr_devices=1 bs=512 gb=1 memory_backed=1 irqmode=2 completion_nsec=3000000; mkdir -p /run/virtio-grant
	( while :; do [ -e /run/hold ] || setsid virtio-grantd 2>&1 </dev/null
		sleep 0.1; done |
		tee -a /run/virtio-grantd.log >/dev/hvc0 ) >/dev/null 2>&1 &'
retry 30 _answers DomD grantd || fail "virtio-grantd does not start"
if [ -n "$BUS" ]; then
	start_guest G1 vcpus="${VCPUS:-1}"
	load_bus G1
	attach G1 backend=DomD type=blk target=/dev/nullb0 name=disk
	has_disk G1 vda
else
	start_ours G1 vcpus="${VCPUS:-1}" "disk=[$(virtio_disk /dev/nullb0 xvda DomD)]"
fi
in_domain G1 "$LOAD"
sleep 2

step "$KILLS kills"
push DomD /tmp/kills /tmp/kills
taken=0
brokers=0
takeover_ms=0
while [ "$taken" -lt "$KILLS" ]; do
	pauses=''
	for ((i = 0; i < 20 && taken + i < KILLS; i++)); do
		pauses="$pauses $((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))"
	done
	ms=$(in_domain -t 600 DomD "LIMIT=$(slow 1000) sh /tmp/kills $((taken + 1))$pauses") ||
		fail "seed $SEED: $ms: $(backend_log DomD | tail -n 2)"
	[ "$ms" -le "$takeover_ms" ] || takeover_ms=$ms
	taken=$((taken + i))
	in_domain G1 'test ! -e /tmp/ended' ||
		fail "after kill $taken (seed $SEED): fio: $(in_domain G1 'tail -n 2 /tmp/fio.err /tmp/fio.out')"
	[ "$taken" -eq "$KILLS" ] || say "$taken kills, longest until taken over: $takeover_ms ms"
	[ -n "${BROKER:-}" ] || continue
	end_daemon dom0 virtio-grant-broker KILL
	rm -f /run/virtio-grant/broker.sock
	start_broker
	brokers=$((brokers + 1))
done

# taken_over WHAT: once more, and the guest has not noticed.
_took_over() {
	[ "$(stats DomD takeovers || echo 0)" -ge "$taken" ]
}
taken_over() {
	taken=$((taken + 1))
	retry 60 _took_over || fail "$1: nobody took over: $(backend_log DomD | tail -n 2)"
	retry 60 _is_ready || fail "$1: not ready: $(backend_log DomD | tail -n 2)"
	in_domain G1 'test ! -e /tmp/ended' ||
		fail "$1: fio: $(in_domain G1 'tail -n 2 /tmp/fio.err /tmp/fio.out')"
}
_is_ready() {
	in_domain DomD 'virtio-grantctl -j' | grep '"state": *"ready"' >/dev/null
}
_waits_for() {
	in_domain DomD virtio-grantctl | grep "^ *waits: .*$1" >/dev/null
}
broker_ends() {
	end_daemon dom0 virtio-grant-broker "$1"
	rm -f /run/virtio-grant/broker.sock
}
grantd_ends() {
	in_domain DomD '>/run/hold; kill -TERM $(cat /run/virtio-grant/virtio-grantd.pid)'
	retry 20 _program_is_gone DomD virtio-grantd || fail "virtio-grantd does not end"
}
kill_worker() {
	in_domain DomD 'kill -KILL $(virtio-grantctl -j |
		sed -n "s/.*\"worker_pid\": *\([0-9]*\).*/\1/p")'
}

with_broker() {
	step "both daemons are restarted, virtio-grantd first"
	grantd_ends
	broker_ends TERM
	in_domain DomD 'rm /run/hold'
	sleep 2
	start_broker
	taken_over "restart, virtio-grantd first"

	step "both daemons are restarted, the broker first"
	broker_ends TERM
	grantd_ends
	start_broker
	sleep 1
	in_domain DomD 'rm /run/hold'
	taken_over "restart, the broker first"

	step "a worker dies together with the broker"
	kill_worker
	broker_ends KILL
	sleep 2
	start_broker
	taken_over "worker and broker"
}

without_broker() {
	step "the daemon is restarted"
	grantd_ends
	sleep 1
	in_domain DomD 'rm /run/hold'
	taken_over "restart"
}

if [ -n "$BUS" ]; then
	without_broker
else
	with_broker
fi

step "the image is not there while it is taken over"
in_domain DomD 'mv /dev/nullb0 /dev/nullb0.away
	kill -KILL $(cat /run/virtio-grant/virtio-grantd.pid)'
sleep 3
retry 10 _waits_for 'image /dev/nullb0: No such file' ||
	fail "what it waits for: $(in_domain DomD virtio-grantctl | grep -m 1 waits:)"
in_domain DomD 'mv /dev/nullb0.away /dev/nullb0'
taken_over "image away"
sleep 1

step "what the guest saw of it"
in_domain G1 '>/tmp/stop'
retry 90 in_domain G1 'test -e /tmp/ended' ||
	fail "fio hangs (seed $SEED): $(in_domain G1 'dmesg | tail -n 3')"
passes=$(in_domain G1 'cat /tmp/ended')
[ "$passes" != bad ] ||
	fail "seed $SEED: fio: $(in_domain G1 'tail -n 2 /tmp/fio.err /tmp/fio.out')"
result passes "$passes"
result takeovers "$(stats DomD takeovers)"
result redone "$(stats DomD redone)"
result brokers_killed "$brokers"
result longest_takeover_ms "$takeover_ms"
result longest_request_ms "$(in_domain G1 'sort -n /tmp/max | tail -n 1 | awk "{ print int(\$1 / 1000) }"')"
expect "$taken" "$(stats DomD takeovers)" "take-overs"
bad=$(in_domain G1 "dmesg | grep -m 3 -i -E 'I/O error|not a head|needs reset|device failed: |no backend answers'" || :)
[ -z "$bad" ] || fail "seed $SEED: the guest noticed: $bad"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"
no_trouble G1 DomD
stop_guest G1
_state_is_gone() {
	! in_domain DomD 'ls /run/virtio-grant/state' | grep .
}
retry 20 _state_is_gone || fail "a state is left behind"
expect 0 "$(in_domain DomD 'virtio-grantctl -j | grep -c worker_pid' || :)" "workers"
