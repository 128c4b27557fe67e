# SPDX-License-Identifier: GPL-2.0-or-later
#
# Verbs for scenarios about the Xen bus, on top of virtio.sh:
#
#	. /vg/in/dom0/bus.sh

# load_bus NAME [PARAMETERS]: the guest's modules.
load_bus() {
	in_domain "$1" "echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
		modprobe virtio_blk && modprobe virtio_grant_bus ${2:-}" ||
		fail "the modules do not load in $1"
}

# attach GUEST KEY=VALUE...: and it is connected.
attach() {
	local said

	said=$(virtio-grantctl attach "$@" 2>&1) || fail "attach $*: $said"
	echo "$said"
}
