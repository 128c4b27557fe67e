#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# rooms.sh - whether the code stays in its rooms (docs/architecture.md): what is
# under virtio/ and grantd/ knows no device type and no transport, and what has
# nothing to do with Xen builds without it.  Says what does not.
#
#	rooms.sh [CC]

set -u
cd "$(dirname "$0")/.." || exit 1
cc=${1:-gcc}
bad=0

# Words that only one type of device, or one transport, knows.
types='blk|disks?|images?|sectors?|io_uring|o_direct|discard|serial'
types="$types|console|pty|tty|rng|entropy|getrandom|netdev|tap"
transports='mmio|relays?|brokers?|ioreqs?|vcpus?|xenbus|isr|interruptstatus'

if grep -rnwiE "$types|$transports" backend/virtio backend/grantd; then
	echo "rooms: a word of one device type or transport (above)"
	bad=1
fi

# Neither a header of Xen's nor ours of it.
for file in backend/lib/*.c backend/virtio/*.c backend/dev/*.c \
		backend/dev/*/*.c backend/transport/mmio.c backend/mem/mem.c; do
	if "$cc" -std=gnu11 -D_GNU_SOURCE -iquote backend -iquote . -M "$file" |
			tr -s ' \\' '\n' | grep -E '(^|/)xen' ; then
		echo "rooms: $file includes that of Xen"
		bad=1
	fi
done
exit $bad
