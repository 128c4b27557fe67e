# SPDX-License-Identifier: GPL-2.0-or-later
#
# A small system: backend and broker both in dom0, no driver domain; the same
# programs, the same path.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 240

. /vg/in/dom0/virtio.sh

step "both daemons in dom0"
modprobe brd rd_nr=2 rd_size=32768
start_broker
start_backend dom0

step "a guest with a disk of dom0's"
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda Domain-0)]"
virtio-grantctl | tee /tmp/status
grep -q 'virtio-grantd in domain 0: 1 device' /tmp/status || fail "grantd's status"
grep -q 'backend in domain 0 ready' /tmp/status || fail "the broker's status"

step "verified load"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
[ "$(stats dom0 'stats.requests')" -gt 0 ] || fail "no request was counted"
for pid in $(pidof virtio-grantd); do
	if ls -l "/proc/$pid/fd" | grep -q privcmd; then
		fail "virtio-grantd in dom0 has privcmd open"
	fi
done
no_trouble G1

step "its worker is confined, has a mapper, and is replaced when it is killed"
for kind in worker mapper; do
	found=''
	for pid in $(pidof virtio-grantd); do
		tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -e "--$kind=" || continue
		found=$pid
		expect "0000000000000000 2" "$(awk '/^(CapEff|Seccomp):/ { print $2 }' \
			"/proc/$pid/status" | tr '\n' ' ' | sed 's/ $//')" "capabilities and filter of the $kind"
		expect "vg-$kind-$(domid G1)" "$(cat "/proc/$pid/comm")" "its name"
	done
	[ -n "$found" ] || fail "there is no $kind"
done
kill -KILL "$(virtio-grantctl -j | sed -n 's/.*"worker_pid": *\([1-9][0-9]*\).*/\1/p')"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
expect 1 "$(stats dom0 takeovers)" "take-overs"

step "reboot and shut down"
reboot_guest G1
load_ours G1
has_disk G1 vda
stop_guest G1
retry 10 eval '! virtio-grantctl | grep -q virtio_disk/' ||
	fail "a device is left: $(virtio-grantctl)"
