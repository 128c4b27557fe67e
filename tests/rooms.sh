#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# rooms.sh - whether the code stays in its rooms (docs/architecture.md): what is
# under virtio/ and grantd/ knows no device type and no transport, and what has
# nothing to do with Xen builds without it, and no room includes one that stands
# above it; and whether the top level has what it is to have alone.  Says what does
# not.
#
#	rooms.sh [CC]

set -u
cd "$(dirname "$0")/.." || exit 1
cc=${1:-gcc}
bad=0

# What was built somewhere else than below build/ would be committed with the rest.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	if git ls-files | sed 's,/.*,,' | sort -u |
			grep -vxE '\..*|kernel|backend|spec|tests|docs|Makefile|README\.md|LICENSE'; then
		echo "rooms: nothing of the project's (above)"
		bad=1
	fi
fi

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
		backend/dev/*/*.c backend/transport/mmio.c backend/transport/msg.c \
		backend/mem/mem.c backend/mem/bounce.c; do
	if "$cc" -std=gnu11 -D_GNU_SOURCE -iquote backend -iquote . -M "$file" |
			tr -s ' \\' '\n' | grep -E '(^|/)xen' ; then
		echo "rooms: $file includes that of Xen"
		bad=1
	fi
done

# Which room may include which, beside itself and kernel/uapi/: from the lowest
# to the highest, each only what stands above its line.  A room that is not here
# may include nothing.
may='lib:
xen: lib
mem: lib xen
virtio: lib mem
dev: lib mem virtio
transport: lib xen virtio
relay: lib transport
bus: lib xen transport
toolstack: lib xen
grantd: lib xen mem virtio dev transport toolstack
broker: lib xen transport relay toolstack
ctl: lib toolstack'
# Single files that do: what a device is made of, and the list of transports.
exceptions='virtio/device.h dev/type.h
transport/types.c relay/backend.h
transport/types.c bus/backend.h'

if ! find backend -name '*.[ch]' | sort | xargs awk -v may="$may" \
		-v exceptions="$exceptions" '
BEGIN {
	n = split(may, line, "\n")
	for (i = 1; i <= n; i++) {
		m = split(line[i], word, /[: ]+/)
		ok[word[1], word[1]] = ok[word[1], "kernel"] = 1
		for (k = 2; k <= m; k++)
			ok[word[1], word[k]] = 1
	}
	n = split(exceptions, line, "\n")
	for (i = 1; i <= n; i++)
		except[line[i]] = 1
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
	file = FILENAME
	sub(/^backend\//, "", file)
	split($0, part, "\"")
	split(file, from, "/")
	split(part[2], to, "/")
	if (!((from[1], to[1]) in ok) && !(file " " part[2] in except)) {
		printf "%s:%d: includes %s\n", FILENAME, FNR, part[2]
		bad = 1
	}
}
END { exit bad }'; then
	echo "rooms: a room includes what stands above it, or beside it (above)"
	bad=1
fi
exit $bad
