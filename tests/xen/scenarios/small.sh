# SPDX-License-Identifier: GPL-2.0-or-later
#
# The small devices: entropy for a guest, and a console with a named port, both
# configured by libxl's generic virtio device, beside a disk of the same guest.
# What they have survives the death of their worker.  Then both for a mainline
# guest, whose kernel has virtio_console in itself.
#
# rig: kernels 6.12
# rig: needs backend modules kernel:lockdep
# rig: timeout 420

. /vg/in/dom0/virtio.sh

RATE=20000

# rng_reads GUEST BYTES: that many random bytes, as text; they are not the same.
rng_reads() {
	in_domain -t 60 "$1" "dd if=/dev/hwrng bs=$2 count=1 iflag=fullblock \
		2>/dev/null | od -An -v -tx1 | tr -d ' \n'"
}

# console_says PATTERN: what DomD has read from the guest's console so far.
console_says() {
	retry 20 in_domain DomD "grep -a -q '$1' /tmp/console" ||
		fail "the console does not say \"$1\" but" \
			"$(in_domain DomD 'tail -c 300 /tmp/console')"
}

# sum DOMAIN FILE BYTES: when the file has so many.
sum() {
	retry 60 in_domain "$1" "test \$(stat -c %s $2) -ge $3" ||
		fail "$2 of $1 has $(in_domain "$1" "stat -c %s $2") bytes, not $3"
	in_domain "$1" "md5sum <$2"
}

step "the daemons, and a guest with a disk, an entropy device and a console"
start_broker -v
start_driver DomD -v "--rng-rate=$RATE" --console-ports=console,agent \
	--console-log=/run
start_guest G1 cmdline=console=hvc1 \
	"disk=[$(virtio_disk /dev/ram0 xvda DomD)]" \
	"virtio=[$(virtio_device 4 DomD),$(virtio_device 3 DomD)]"
# What a backend may be, is the guest's choice: disks, unless it says more.
load_ours G1 types=block,rng,console
has_disk G1 vda
in_domain G1 'modprobe virtio_rng'
retry 30 in_domain G1 'grep -q virtio_rng /sys/class/misc/hw_random/rng_available' ||
	fail "no entropy device: $(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
in_domain G1 'echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current'

step "its console: the kernel's messages, both directions, its size"
con=/run/virtio-grant/console/$(domid G1)-1
retry 30 in_domain G1 ': 2>/dev/null </dev/hvc1' ||
	fail "no /dev/hvc1: $(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
in_domain DomD "test -L $con/console && cat $con/console >/tmp/console &"
in_domain G1 'stty -F /dev/hvc1 raw -echo; echo VG-KMSG >/dev/kmsg; echo VG-TTY >/dev/hvc1'
console_says VG-KMSG
console_says VG-TTY
# (Linux 6.12 does not repeat there what it said before the console was there.)
retry 20 in_domain DomD "grep -a -q VG-KMSG /run/dom*-1.log" ||
	fail "its log has \"$(in_domain DomD 'head -c 300 /run/dom*-1.log')\""
in_domain G1 'cat /dev/hvc1 >/tmp/typed & echo'
in_domain DomD "echo VG-TYPED >$con/console"
retry 20 in_domain G1 'grep -q VG-TYPED /tmp/typed' || fail "nothing can be typed"
in_domain DomD "stty -F $con/console rows 41 cols 123"
retry 20 in_domain G1 'test "$(stty -F /dev/hvc1 size)" = "41 123"' ||
	fail "its size is $(in_domain G1 'stty -F /dev/hvc1 size')"

step "its port: a stream between programs, and its worker is killed"
retry 20 in_domain G1 'grep -q agent /sys/class/virtio-ports/*/name' ||
	fail "no port of the name agent but" "$(in_domain G1 \
		'grep . /sys/class/virtio-ports/*/name')"
port=$(in_domain G1 'grep -l agent /sys/class/virtio-ports/*/name |
	cut -d / -f 5')
in_domain DomD "dd if=/dev/urandom of=/tmp/out bs=1k count=100 2>/dev/null
	cat $con/agent >/tmp/in & echo"
# Linux lets one program at a time open it, and reads nothing while there is
# nobody here.
in_domain G1 "dd if=/dev/urandom of=/tmp/out bs=1k count=200 2>/dev/null
	mkfifo /tmp/more
	exec 3<>/dev/$port
	while :; do cat <&3 >>/tmp/in; sleep 0.2; done >/dev/null 2>&1 &
	cat /tmp/out /tmp/more >&3 2>/dev/null & echo"
in_domain DomD "cat /tmp/out >$con/agent & echo"
expect "$(sum G1 /tmp/out 204800)" "$(sum DomD /tmp/in 204800)" "from the guest"
expect "$(sum DomD /tmp/out 102400)" "$(sum G1 /tmp/in 102400)" "to the guest"
pid=$(in_domain DomD "virtio-grantctl --json | sed -n 's/.*\"worker_pid\": *\([0-9]*\).*/\1/p' | head -n 1")
in_domain DomD "kill -9 $pid"
in_domain G1 'echo VG-AFTER >/dev/hvc1'
console_says VG-AFTER
in_domain G1 "echo VG-PORT >/tmp/more"
retry 20 in_domain DomD 'grep -a -q VG-PORT /tmp/in' || fail "the port is dead"

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

step "a mainline guest, and its boot console"
start_guest G2 kernel=lockdep cmdline=console=hvc1 \
	"virtio=[$(virtio_device 4 DomD),$(virtio_device 3 DomD)]"
id=$(domid G2)
in_domain G2 'modprobe virtio_rng; modprobe virtio_mmio
	! lsmod | grep "virtio_grant\|virtio_console"'
retry 30 in_domain G2 'grep "^hvc1 .*C" /proc/consoles' ||
	fail "not the kernel's console: $(in_domain G2 'cat /proc/consoles; dmesg |
		grep -i "virtio\|console" | tail -n 5')"
in_domain G2 'echo VG-BOOT >/dev/kmsg'
retry 20 in_domain DomD "grep -a -q VG-BOOT /run/dom$id-1.log" ||
	fail "its log has \"$(in_domain DomD "tail -c 300 /run/dom$id-1.log")\""
[ "$(rng_reads G2 64 | wc -c)" = 128 ] || fail "no random bytes"
no_trouble G2
stop_guest G2
