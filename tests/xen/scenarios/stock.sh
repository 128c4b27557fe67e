# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's own hypervisor for arm64 in place of ours: a driver domain and a guest
# come up, and a PV disk works between them.  By default it forbids grants between
# two guests (SILO), so the policy is named.
#
# rig: kernels 6.12
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: timeout 200

step "a driver domain with a RAM disk"
start_driver_domain DomD
in_domain DomD 'modprobe brd rd_nr=1 rd_size=16384'

step "a guest with a PV disk of the driver domain"
start_guest G1 "disk=[$(pv_disk /dev/ram0 xvda DomD)]"

step "what the guest writes, the driver domain has"
want=$(in_domain G1 'dd if=/dev/urandom of=/dev/xvda bs=1M count=8 oflag=direct conv=fsync 2>/dev/null
	dd if=/dev/xvda bs=1M count=8 iflag=direct 2>/dev/null | md5sum')
got=$(in_domain DomD 'dd if=/dev/ram0 bs=1M count=8 2>/dev/null | md5sum')
expect "$want" "$got" "checksum of 8 MiB"

step "it does not count, and what asks for counters is told so"
! has_perf || fail "Debian's Xen counts"

step "shut down, destroy"
stop_guest G1
destroy_guest DomD
