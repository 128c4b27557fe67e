# SPDX-License-Identifier: GPL-2.0-or-later
#
# Storage that takes long, and a worker that is killed with requests in flight:
# its successor may not begin before the last of them is done (architecture.md,
# "Taking over"), which is longer than the guest's driver waits for a register.
# So registers are served meanwhile, and requests wait.
#
# The storage is slow for the first worker alone: a request in two seconds, by its
# control group.  Its requests stay there when it is dead.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 240

. /vg/in/dom0/virtio.sh

worker() {
	in_domain DomD 'virtio-grantctl -j' |
		sed -n 's/.*"worker_pid": *\([0-9]*\).*/\1/p'
}

step "a guest on slow storage"
start_broker
start_driver_domain DomD
in_domain DomD 'modprobe brd rd_nr=1 rd_size=32768'
start_backend DomD
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
status=$(in_domain G1 'echo /sys/bus/virtio/devices/virtio*/status')

step "the worker is killed with writes in flight"
pid=$(worker)
# Long enough for a slow machine to see them there.
rate=$((327680 / $(pace)))
in_domain DomD "mkdir -p /run/cgroup && mount -t cgroup2 none /run/cgroup && cd /run/cgroup &&
	echo +io >cgroup.subtree_control && mkdir slow &&
	echo \"\$(cat /sys/block/ram0/dev) rbps=$rate wbps=$rate\" >slow/io.max &&
	echo $pid >slow/cgroup.procs && cat slow/io.max" ||
	fail "the storage can't be slowed down"
in_domain G1 'rm -f /tmp/ended.*; yes 0123456789abcde | head -c 65536 >/tmp/data
	for i in 1 2 3 4 5 6; do
		( dd if=/tmp/data of=/dev/vda bs=64k seek=$i count=1 oflag=direct
		  echo $? >/tmp/ended.$i ) >/dev/null 2>&1 &
	done'
retry 10 eval '[ "$(stats DomD stats.in_flight)" -ge 4 ]' || fail "$(stats DomD 'stats.in_flight') requests are in flight"
in_domain DomD "kill -KILL $pid"
retry 10 in_domain DomD 'virtio-grantctl -j | grep -q "\"held\": *true"' ||
	fail "its successor does not wait for them"
# Until they are done, and its successor's own.
in_domain -t 60 G1 "for i in \$(seq $(slow 10)); do
	a=\$(cut -d ' ' -f 1 /proc/uptime); s=\$(cat $status)
	echo \$s \$a \$(cut -d ' ' -f 1 /proc/uptime); sleep 0.7; done" | tee /tmp/registers
expect 0x0000000f "$(cut -d ' ' -f 1 /tmp/registers | sort -u | tr '\n' ' ' | sed 's/ $//')" \
	"the status register, all the while"
result longest_register_ms "$(awk '{ t = ($3 - $2) * 1000; if (t > m) m = t } END { printf "%d", m }' /tmp/registers)"
[ "$(worker)" != "$pid" ] || fail "there is no successor"
expect 1 "$(stats DomD takeovers)" "take-overs"

step "what was in flight ends, and without an error"
for i in 1 2 3 4 5 6; do
	retry 60 in_domain G1 "test -e /tmp/ended.$i" || fail "a write hangs"
	expect 0 "$(in_domain G1 "cat /tmp/ended.$i")" "a write's exit status"
done
[ "$(stats DomD redone)" -gt 0 ] || fail "no request was done again"
result redone "$(stats DomD redone)"
in_domain -t 60 G1 'dd if=/dev/vda of=/tmp/back bs=64k skip=1 count=6 iflag=direct 2>/dev/null
	for i in 1 2 3 4 5 6; do cat /tmp/data; done | cmp - /tmp/back' || fail "what was written is not what is read"
bad=$(in_domain G1 "dmesg | grep -m 3 -i -E 'I/O error|needs reset|device failed: |no backend answers'" || :)
[ -z "$bad" ] || fail "the guest noticed: $bad"
no_trouble G1 DomD
stop_guest G1
