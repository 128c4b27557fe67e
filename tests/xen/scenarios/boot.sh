# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rig itself: a driver domain and two guests with different kernels come
# up, commands run in each, Xen's PV block works from the driver domain to a
# guest and from dom0 to the driver domain, bytes arrive in the host's file,
# and everything goes away again.
#
# rig: arch arm64 x86
# rig: long x86
# rig: kernels 6.12 6.1
# rig: disk image 32M
# rig: timeout 300

step "a driver domain with the host's image, by PV block from dom0"
start_driver_domain DomD "disk=[$(pv_disk "$(host_disk image)" xvda)]"
expect DomD "$(in_domain DomD hostname)" "the driver domain's name"
in_domain DomD 'test ! -e /dev/xen/privcmd'
in_domain DomD 'modprobe brd rd_nr=1 rd_size=32768; ls -l /dev/xvda /dev/ram0'

step "two guests, 6.12 with a PV disk of the driver domain, and 6.1"
together_booting \
	'start_guest G1 kernel=6.12 "disk=[$(pv_disk /dev/ram0 xvda DomD)]"' \
	'start_guest G2 kernel=6.1'
say "G1 runs $(in_domain G1 'uname -r'), G2 runs $(in_domain G2 'uname -r')"
case "$(in_domain G2 'uname -r')" in
6.1.*) ;;
*) fail "G2 does not run 6.1" ;;
esac

step "what the guest writes, the driver domain has"
in_domain G1 'dd if=/dev/urandom of=/dev/xvda bs=1M count=8 oflag=direct conv=fsync'
want=$(in_domain G1 'dd if=/dev/xvda bs=1M count=8 | md5sum')
got=$(in_domain DomD 'dd if=/dev/ram0 bs=1M count=8 | md5sum')
expect "$want" "$got" "checksum of 8 MiB"
expect 8388608 "$(in_domain G1 'dd if=/dev/xvda bs=1M count=8 | wc -c')" "bytes read"

step "exit status, output and files of a domain"
status=0
in_domain G2 'echo out; echo err >&2; exit 7' >/tmp/out 2>/tmp/err || status=$?
expect "7 out err" "$status $(cat /tmp/out) $(cat /tmp/err)" "a command's outcome"
status=0
in_domain -t 2 G2 'sleep 60' || status=$?
expect 124 "$status" "a command that takes too long"
in_domain G2 'i=0; while [ $i -lt 300 ]; do echo noise $i >/dev/kmsg; i=$((i+1)); done' &
head -c 20000 /dev/urandom >/tmp/sent
push G2 /tmp/sent /tmp/file
pull G2 /tmp/file /tmp/back
wait
cmp /tmp/sent /tmp/back || fail "a file came back different"

if has_perf; then
	step "Xen counts"
	perf_reset
	in_domain G1 'dd if=/dev/xvda of=/dev/null bs=4k count=64 iflag=direct'
	result mmio_traps "$(perf_read 'trap: guest data abort')"
fi

step "what the driver domain writes, the host has"
in_domain DomD 'echo "from the driver domain" | dd of=/dev/xvda bs=512 conv=sync,fsync'

step "reboot, shut down, destroy"
reboot_guest G2
stop_guest G1
stop_guest G2
destroy_guest DomD
expect 2 "$(xl list | wc -l)" "lines of xl list"
