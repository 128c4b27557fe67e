# SPDX-License-Identifier: GPL-2.0-or-later
#
# The small devices: entropy for a guest, configured by libxl's generic virtio
# device, beside a disk of the same guest; over the pool, and of a mainline guest
# over its own grants.  What they have survives the death of their worker.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 300

. /vg/in/dom0/virtio.sh

RATE=20000

# small TYPE...: libxl's device for each virtio device ID, in hexadecimal.
small() {
	local id sep=

	printf 'virtio=['
	for id; do
		printf "%s'type=virtio,device%s,transport=mmio,backend=DomD,grant_usage=1'" \
			"$sep" "$id"
		sep=','
	done
	printf ']'
}

# rng_reads GUEST BYTES: that many random bytes, as text; they are not the same.
rng_reads() {
	in_domain -t 60 "$1" "dd if=/dev/hwrng bs=$2 count=1 iflag=fullblock \
		2>/dev/null | od -An -v -tx1 | tr -d ' \n'"
}

step "the daemons, and a guest with a disk and an entropy device"
start_broker -v
start_driver DomD -v "--rng-rate=$RATE"
start_guest G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]" "$(small 4)"
# What a backend may be, is the guest's choice: disks, unless it says more.
load_ours G1 types=block,rng,console
has_disk G1 vda
in_domain G1 'modprobe virtio_rng'
retry 30 in_domain G1 'grep -q virtio_rng /sys/class/misc/hw_random/rng_available' ||
	fail "no entropy device: $(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
in_domain G1 'echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current'

step "random bytes, at their rate and no more, while the disk is used"
one=$(rng_reads G1 64) two=$(rng_reads G1 64)
[ "${#one}" = 128 ] && [ "${#two}" = 128 ] && [ "$one" != "$two" ] ||
	fail "no random bytes: \"$one\", \"$two\""
took=$(in_domain -t 120 G1 "read a x </proc/uptime
	dd if=/dev/hwrng of=/tmp/r bs=1000 count=$((3 * RATE / 1000)) \
		iflag=fullblock 2>/dev/null &
	fio --name=v --filename=/dev/vda $VG_FIO --ioengine=libaio --direct=1 \
		--iodepth=8 --rw=randwrite --bs=4k --size=4m --output=/tmp/fio ||
		exit 1
	wait; read b x </proc/uptime; awk \"BEGIN { print \$b - \$a }\"") ||
	fail "fio or dd"
say "three seconds' worth took $took s"
# One second's worth is there at once.
awk "BEGIN { exit !($took >= 1.8) }" || fail "faster than $RATE bytes a second"
expect $((3 * RATE)) "$(in_domain G1 'stat -c %s /tmp/r')" "bytes"
# A run of equal bytes as long as a block is no random number.
in_domain G1 "od -An -v -tx1 -w16 /tmp/r | sort | uniq -d | head -n 1 | grep ." &&
	fail "blocks of 16 bytes come twice"
[ "$(stats DomD rng.bytes)" -ge $((3 * RATE)) ] || fail "its counters"
in_domain DomD 'virtio-grantctl' | grep -q "virtio/0: ready, random bytes, $RATE a second" ||
	fail "virtio-grantctl: $(in_domain DomD virtio-grantctl)"

step "its worker is killed while it waits"
in_domain G1 "dd if=/dev/hwrng of=/tmp/r bs=1000 count=$((2 * RATE / 1000)) \
	iflag=fullblock >/dev/null 2>&1 & echo \$! >/tmp/dd"
pid=$(in_domain DomD "virtio-grantctl --json | sed -n 's/.*\"worker_pid\": *\([0-9]*\).*/\1/p' | head -n 1")
in_domain DomD "kill -9 $pid"
retry 30 in_domain G1 "! kill -0 \$(cat /tmp/dd) 2>/dev/null" ||
	fail "a read of /dev/hwrng hangs after its worker's death"
expect $((2 * RATE)) "$(in_domain G1 'stat -c %s /tmp/r')" "bytes"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=4 --size=1m --rw=randwrite --bs=4k"

step "it goes and comes with its modules and its guest"
in_domain G1 'rmmod virtio_rng && modprobe virtio_rng'
[ "$(rng_reads G1 16 | wc -c)" = 32 ] || fail "no random bytes after rmmod"
no_trouble G1 DomD
stop_guest G1
retry 20 in_domain DomD "! virtio-grantctl | grep 'virtio/0'" ||
	fail "the device is left: $(in_domain DomD virtio-grantctl)"
