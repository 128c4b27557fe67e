# SPDX-License-Identifier: GPL-2.0-or-later
#
# Verbs for scenarios about the Xen bus, on top of virtio.sh:
#
#	. /vg/in/dom0/bus.sh

# Until a device is to be connected.
VG_ATTACH_S="${VG_ATTACH_S:-5}"

# load_bus NAME [PARAMETERS]: the guest's modules.
load_bus() {
	in_domain "$1" "echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
		modprobe virtio_blk && modprobe virtio_grant_bus ${2:-}" ||
		fail "the modules do not load in $1"
}

# attach GUEST KEY=VALUE...: and it is connected, before long: on a machine with
# other work a guest takes more than the 5 s that virtio-grantctl waits for it.
attach() {
	local said status=0

	said=$(virtio-grantctl attach --timeout="$(slow "$VG_ATTACH_S")" "$@" 2>&1) ||
		status=$?
	echo "$said"
	case "$status" in
	0) return 0 ;;
	3) retry 30 connected "$1" && return ;;
	esac
	fail "attach $*: status $status, $said"
}

# connected GUEST: all of its devices are.
connected() {
	! virtio-grantctl list "$1" | grep -v connected
}

# refused STATUS TEXT COMMAND...: virtio-grantctl ends so, says this, and leaves
# xenstore as it was.
refused() {
	local want="$1" text="$2" said status=0

	shift 2
	_bus_nodes >"$VG_RUN/before"
	said=$(virtio-grantctl "$@" 2>&1) || status=$?
	echo "-- virtio-grantctl $*: $status: $said"
	expect "$want" "$status" "status of virtio-grantctl $* ($said)"
	grep -qE -- "$text" <<<"$said" ||
		fail "virtio-grantctl $* says '$said', not '$text'"
	expect 1 "$(wc -l <<<"$said")" "lines that virtio-grantctl $* says"
	_bus_nodes >"$VG_RUN/after"
	diff "$VG_RUN/before" "$VG_RUN/after" || fail "virtio-grantctl $* leaves something"
}

# All that is anybody's device on the bus, or says something of one.
_bus_nodes() {
	xenstore-ls -f | grep -E 'virtio_grant|/virtio-grant' | LC_ALL=C sort || :
}

# nothing_left [SECONDS]: no node of the bus, of whichever domain, then.
_nothing_left() {
	[ -z "$(_bus_nodes)" ]
}

nothing_left() {
	retry "${1:-30}" _nothing_left || fail "left in xenstore: $(_bus_nodes | head -n 3)"
}

# start_watch [OPTIONS]: virtio-grantctl watch, in dom0.
start_watch() {
	setsid virtio-grantctl watch "$@" >>/vg/log/watch.log 2>&1 </dev/null &
	echo $! >"$VG_RUN/watch.pid"
}

# goes_on NAME TIMES: its kernel has said so often that a device goes on.
goes_on() {
	[ "$(in_domain "$1" 'dmesg | grep -c "goes on with the backend"')" -ge "$2" ]
}
