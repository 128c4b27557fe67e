# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guests come and go, in every way they can: created, probed, used, then
# destroyed, shut down or rebooted.  Afterwards nothing is left of them on any
# side: grants, event channels, processes, descriptors, xenstore nodes, memory.
#
#	CYCLES=10
#	BUS=		if set, the disks are on the Xen bus: attached while the guest
#			boots, and there is no broker
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 900
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

# `make check-long` has 50 of them (rig.mk).
CYCLES="${CYCLES:-10}"
BUS="${BUS:-}"
# Its only daemon in dom0, and the guest's module.
DAEMON=virtio-grant-broker MODULE=virtio_grant_mmio
[ -z "$BUS" ] || MODULE=virtio_grant_bus

# daemon_of_dom0: its pid.
daemon_of_dom0() {
	if [ -n "$BUS" ]; then
		cat "$VG_RUN/watch.pid"
	else
		daemon_pid dom0 "$DAEMON"
	fi
}

# census: what could be left behind, a line for each.
census() {
	local domain

	xenstore-ls -f | sed 's/ = .*//' | sort >"$1.nodes"
	xl dmesg -c >/dev/null
	xl debug-keys e
	sleep 0.5
	xl dmesg -c >"$1.evtchn"
	xl debug-keys g
	sleep 0.5
	xl dmesg -c >"$1.grants"
	{
		echo "domains $(($(xl list | wc -l) - 1))"
		echo "event_channels $(grep -c -E '^\(XEN\) +[0-9]+ \[' "$1.evtchn" || :)"
		echo "grants $(grep -c -E '^\(XEN\) \[ *[0-9a-fx]+\]' "$1.grants" || :)"
		echo "xenstore_nodes $(wc -l <"$1.nodes")"
		echo "dom0_fds $(ls "/proc/$(daemon_of_dom0)/fd" | wc -l)"
		echo "dom0_processes $(pidof virtio-grant-broker virtio-grantctl | wc -w)"
		echo "grantd_fds $(in_domain DomD 'ls /proc/$(cat /run/virtio-grant/virtio-grantd.pid)/fd | wc -l')"
		echo "grantd_processes $(in_domain DomD 'pidof virtio-grantd | wc -w')"
		echo "ioreq_files $(ls /run/virtio-grant | grep -c ^ioreq || :)"
		echo "grantctl_devices $(in_domain DomD virtio-grantctl | grep -c -E '^  dom.* virtio_(disk|grant)/' || :)"
	} >"$1"
	# These may wander a little: KiB.
	{
		echo "xen_used_kib $((-1024 * $(xl info free_memory)))"
		echo "dom0_rss_kib $(awk '/^VmRSS/ { print $2 }' "/proc/$(daemon_of_dom0)/status")"
		echo "grantd_rss_kib $(in_domain DomD 'awk "/^VmRSS/ { print \$2 }" /proc/$(cat /run/virtio-grant/virtio-grantd.pid)/status')"
		echo "DomD_used_kib $(in_domain DomD 'sync; echo 3 >/proc/sys/vm/drop_caches; awk "/^MemAvailable/ { print -\$2 }" /proc/meminfo')"
		echo "DomD_slab_kib $(in_domain DomD 'awk "/^SUnreclaim/ { print \$2 }" /proc/meminfo')"
		echo "dom0_slab_kib $(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)"
	} >"$1.kib"
	cat "$1" "$1.kib"
	# Counts that cannot be nothing, lest nothing is what is counted.
	awk '/^(event_channels|grants|xenstore_nodes|dom0_fds|dom0_processes|grantd_fds|grantd_processes) 0$/ {
		exit 1 }' "$1" || fail "the census does not count: $(tr '\n' ' ' <"$1")"
}

# io NAME: some, checked, as soon as it is up.
io() {
	in_domain -t 60 "$1" 'i=0; while [ ! -b /dev/vda ] && [ $i -lt '"$(slow 200)"' ]; do
			usleep 50000; i=$((i + 1)); done
		dd if=/dev/urandom of=/tmp/r bs=64k count=4 &&
		dd if=/tmp/r of=/dev/vda bs=64k oflag=direct &&
		dd if=/dev/vda bs=4k count=64 iflag=direct | cmp - /tmp/r' \
		2>/dev/null || fail "$1: I/O"
}

# create NAME IMAGE: with that disk.
create() {
	local disk=

	[ -n "$BUS" ] || disk="disk=[$(virtio_disk "$2" xvda DomD)]"
	set -- "$1" mem=192 "modprobe=virtio_blk,$MODULE" ${disk:+"$disk"} "$2"
	create_guest "${@:1:$# - 1}" || create_again "${@:1:$# - 1}" ||
		fail "xl create $1"
	[ -z "$BUS" ] || virtio-grantctl attach --no-wait "$1" backend=DomD type=blk \
		"target=${!#}" name=disk || fail "attach to $1"
}

# one NAME IMAGE NUMBER: a cycle of one guest.
one() {
	local old

	case $(($3 % 10)) in
	0 | 5 | 7 | 9)	# destroyed while it boots
		create "$1" "$2"
		sleep "$(($3 / 10 % 3)).$(($3 % 10))"
		destroy_guest "$1" ;;
	1 | 6)	# destroyed in the middle of its work
		create "$1" "$2"
		wait_guest "$1"
		io "$1"
		in_domain "$1" 'while :; do dd if=/dev/vda of=/dev/null bs=64k \
			iflag=direct; done >/dev/null 2>&1 &'
		destroy_guest "$1" ;;
	2 | 8)	# shut down
		create "$1" "$2"
		wait_guest "$1"
		io "$1"
		stop_guest "$1" ;;
	3)	# rebooted, and destroyed when it is up again
		create "$1" "$2"
		wait_guest "$1"
		old=$(domid "$1")
		xl reboot "$1" >/dev/null
		retry 60 _is_other_domain "$1" "$old" || fail "$1 does not reboot"
		# The xl that watches it, is still at creating it.
		wait_guest "$1"
		destroy_guest "$1" ;;
	4)	# its module taken away before it is shut down
		create "$1" "$2"
		wait_guest "$1"
		io "$1"
		# xenbus holds a module whose devices are bound.
		[ -z "$BUS" ] || in_domain "$1" 'cd /sys/bus/xen/drivers/virtio_grant_bus
			for dev in virtio_*-*; do echo $dev >unbind; done'
		in_domain "$1" "rmmod $MODULE"
		stop_guest "$1" ;;
	esac
}

step "the daemons, and a first round whose leftovers do not count"
if [ -n "$BUS" ]; then
	start_watch --forget=10
else
	start_broker
fi
start_driver DomD
# What the first use allocates for good, is there after it.
together 'one G1 /dev/ram0 2' 'one G2 /dev/ram1 1' || fail "the first guests"
[ -z "$BUS" ] || nothing_left
sleep "$(slow 3)"
census /tmp/before

step "$CYCLES cycles, two at a time"
lane() {
	local name="$1" i began

	for i in $(seq "$3" 2 $((CYCLES - 1))); do
		began=$SECONDS
		one "$name" "$2" "$i"
		echo "cycle $i: $((SECONDS - began)) s"
		[ $((i % 10)) != 0 ] || step "cycle $i"
	done
}
together 'lane G1 /dev/ram0 0' 'lane G2 /dev/ram1 1' || fail "a cycle failed"
result cycles "$CYCLES"

step "what is left"
[ -z "$BUS" ] || nothing_left
sleep "$(slow 4)"
census /tmp/after
diff /tmp/before.nodes /tmp/after.nodes >/tmp/nodes.diff || :
cp /tmp/before* /tmp/after* /tmp/nodes.diff /vg/out/
while read -r key before; do
	after=$(awk -v key="$key" '$1 == key { print $2 }' /tmp/after)
	result "left_$key" $((after - before))
	[ "$before" = "$after" ] ||
		bad="${bad:-} $key: $before before, $after after;"
done </tmp/before
while read -r key before; do
	after=$(awk -v key="$key" '$1 == key { print $2 }' /tmp/after.kib)
	result "grown_$key" $((after - before))
	case "$key" in
	xen_used_kib) slack=1024 ;;
	*_rss_kib) slack=512 ;;
	*_slab_kib) slack=3072 ;;
	*) slack=8192 ;;
	esac
	[ $((after - before)) -le "$slack" ] ||
		bad="${bad:-} $key: $before before, $after after;"
done </tmp/before.kib
[ -z "${bad:-}" ] || fail "left behind:$bad $(head -n 3 /tmp/nodes.diff)"
no_trouble DomD
