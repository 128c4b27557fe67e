# SPDX-License-Identifier: GPL-2.0-or-later
#
# A worker that its guest has taken over, beside another guest of the same
# driver domain: the attacker (tests/sandbox/attack.c) runs inside the worker's
# process, confined as any worker is, and tries to get at the neighbour, at the
# domain and at the mapper.  And the probe of the confinement on the kernels of
# a driver domain.
#
# rig: kernels 6.12 6.1
# rig: needs backend modules program:virtio-grantd-attacked program:vg-sandbox-probe
# rig: timeout 600

. /vg/in/dom0/virtio.sh

MARK=the-neighbours-secret

# worker GUEST: the process that serves it.
worker() {
	in_domain DomD "for p in /proc/[0-9]*; do
		tr '\\0' ' ' <\$p/cmdline | grep -q '^virtio-grantd .*--worker=$(domid "$1") ' &&
			echo \${p#/proc/}; done; :"
}

# attack_says WORDS: a line of it, which its parent shows as the worker's.
attack_says() {
	backend_log DomD >/tmp/log &&
		sed -n "s/^.*: dom$(domid G1)'s worker: \(attack: .*\)/\1/p" /tmp/log |
		grep -a "^attack: $1"
}

# has_said PATTERN: as log_says, for a log that is long: grep -q would end it
# in the middle.
_in_log() {
	backend_log DomD >/tmp/log && grep -a -E -- "$1" /tmp/log >/tmp/found
}

has_said() {
	retry 30 _in_log "$1" || fail "no line /$1/ in the backend's log"
	say "log: $(head -n 1 /tmp/found)"
}

step "the probe, on 6.1"
start_driver_domain Old kernel=6.1 mem=256
in_domain Old 'vg-sandbox-probe --quick' >/vg/out/probe-6.1 ||
	fail "on 6.1: $(grep -m 3 -v ^PASS /vg/out/probe-6.1)"
result probes_6_1 "$(grep -c ^PASS /vg/out/probe-6.1)"
destroy_guest Old

step "the daemons, and two guests"
start_broker
start_driver_domain DomD
in_domain DomD 'vg-sandbox-probe --quick' >/vg/out/probe-6.12 ||
	fail "on 6.12: $(grep -m 3 -v ^PASS /vg/out/probe-6.12)"
result probes_6_12 "$(grep -c ^PASS /vg/out/probe-6.12)"
in_domain DomD 'modprobe brd rd_nr=2 rd_size=32768
	cp /usr/local/bin/virtio-grantd-attacked /usr/local/bin/virtio-grantd'
start_backend DomD --queues=1
together 'start_guest G1 mem=192 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"' \
	'sleep 2; start_guest G2 mem=192 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"'
for name in G1 G2; do
	load_ours "$name"
	has_disk "$name" vda
done
in_domain DomD virtio-grantctl | grep 'workers confined' ||
	fail "virtio-grantctl does not say that workers are confined"
w1=$(worker G1)
w2=$(worker G2)
[ "$w1" ] && [ "$w2" ] && [ "$w1" != "$w2" ] || fail "the workers are '$w1' and '$w2'"
uids=$(in_domain DomD "for p in $w1 $w2; do grep ^Uid /proc/\$p/status; done")
expect 2 "$(sort -u <<<"$uids" | grep -c -v -w 0)" "users of the two workers"
# A state is mapped, and open for reading only: nobody can make it grow.
flags=$(in_domain DomD "cd /proc/$w1/fd && for f in *; do
	case \$(readlink \$f) in
	/run/virtio-grant/state/*) sed -n 's/^flags:.*\\(.\\)/\\1/p' ../fdinfo/\$f ;;
	esac; done")
expect 0 "$flags" "how the worker has its state open"

step "the neighbour works"
in_domain G2 "echo $MARK | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
	rm -f /tmp/ended /tmp/stop; ( n=0; while [ ! -e /tmp/stop ]; do
		fio --name=v --filename=/dev/vda --offset=1m $VG_FIO --direct=1 \
			--ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k \
			--size=2m --output=/tmp/fio.out 2>/tmp/fio.err || break
		n=\$((n + 1)); done
	[ -e /tmp/stop ] && echo \$n >/tmp/ended || echo bad >/tmp/ended
	) >/dev/null 2>&1 &"

step "the attack"
in_domain DomD "kill -USR1 $w1"
retry 240 attack_says 'done:' || fail "it does not end: $(attack_says '' | tail -n 1)"
attack_says '' >/vg/out/attack
# Made rightly, and with what a worker really has?
grep 'control: [1-9][0-9]* references of its own guest can be mapped, [1-9]' \
	/vg/out/attack || fail "the attack did not even map what it may"
grep 'control: the mapper goes on' /vg/out/attack || fail "the mapper is dead"
! grep 'NO ring' /vg/out/attack || fail "there was no ring to abuse"
say "$(attack_says 'done:')"
result attempts_refused "$(grep -c '^attack: refused' /vg/out/attack)"
result attempts_allowed "$(grep -c '^attack: ALLOWED' /vg/out/attack)"
! grep -m 3 '^attack: ALLOWED' /vg/out/attack ||
	fail "$(grep -m 1 '^attack: ALLOWED' /vg/out/attack)"
peak=$(in_domain DomD "awk '/^VmPeak/ { print \$2 }' /proc/$w1/status")
result worker_peak_kib "$peak"
has_said 'its worker asks for .* of dom[0-9]+, which is none of its guest'

step "the neighbour goes on, and so does the attacker's guest"
in_domain G2 '>/tmp/stop'
retry 120 in_domain G2 'test -e /tmp/ended' || fail "G2's I/O hangs"
passes=$(in_domain G2 'cat /tmp/ended')
[ "$passes" != bad ] && [ "$passes" -gt 0 ] ||
	fail "G2: fio: $passes passes, $(in_domain G2 'tail -n 2 /tmp/fio.err')"
result neighbour_passes "$passes"
expect "$w2" "$(worker G2)" "the neighbour's worker"
expect "$w1" "$(worker G1)" "the attacked worker"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"

step "a forbidden system call ends the worker, and its guest has another"
in_domain DomD "kill -USR2 $w1"
has_said "dom$(domid G1): its worker made a system call that it may not make \\(socket\\)"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite --bs=4k"
[ "$(worker G1)" != "$w1" ] || fail "it is still the same worker"
expect "$w2" "$(worker G2)" "the neighbour's worker"
no_trouble G1 G2 DomD
stop_guest G1
stop_guest G2

step "without confinement, and where it is not to be had"
end_daemon DomD virtio-grantd
in_domain DomD 'echo "alice:x:1900000100:100::/:/bin/false" >>/etc/passwd
	virtio-grantd 2>&1; echo status $?' >/tmp/said
grep 'user alice has one of the numbers' /tmp/said && grep 'status 1' /tmp/said ||
	fail "users with such numbers: $(cat /tmp/said)"
start_backend DomD --no-sandbox
has_said 'workers are not confined'
in_domain DomD virtio-grantctl | grep 'NOT confined' ||
	fail "virtio-grantctl does not say that workers are not confined"
