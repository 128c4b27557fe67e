// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broken.c - see broken.h.
 */
#include "virtio/broken.h"

#include "lib/util.h"

static const struct {
	const char *name, *text;
} reasons[VG_BROKEN_MAX] = {
	[VG_BROKEN_NOT] = { "ok", "works" },
	[VG_BROKEN_AVAIL_INDEX] = { "avail-index",
		"the available index says more buffers than the queue holds" },
	[VG_BROKEN_HEAD] = { "head", "a head index beyond the queue" },
	[VG_BROKEN_NEXT] = { "next",
		"a next index beyond the descriptor table" },
	[VG_BROKEN_LOOP] = { "loop",
		"a descriptor chain longer than its table" },
	[VG_BROKEN_INDIRECT] = { "indirect",
		"an indirect descriptor against the rules" },
	[VG_BROKEN_ORDER] = { "order",
		"a device-readable buffer behind a device-writable one" },
	[VG_BROKEN_TOO_LONG] = { "too-long",
		"a chain of more segments or bytes than allowed" },
	[VG_BROKEN_ZERO_LEN] = { "zero-length", "a buffer of no bytes" },
	[VG_BROKEN_ADDRESS] = { "address", "a buffer can't be reached" },
	[VG_BROKEN_RING_ADDRESS] = { "ring-address",
		"a part of the ring is misaligned or can't be reached" },
	[VG_BROKEN_QUEUE_SIZE] = { "queue-size",
		"a queue size of 0, too large, or no power of two" },
	[VG_BROKEN_REQUEST] = { "request",
		"buffers that have not the shape of a request" },
	[VG_BROKEN_RESTARTED] = { "restarted", "the backend was restarted" },
	[VG_BROKEN_UNDER_WAY] = { "under-way",
		"a buffer that is under way was made available again" },
	[VG_BROKEN_STATE] = { "state",
		"the backend was restarted, and what it left behind makes no sense" },
	[VG_BROKEN_DEADLY] = { "deadly",
		"a request was under way each time the backend died" },
	[VG_BROKEN_DEATHS] = { "deaths",
		"the backend died again and again without getting anything done" },
	[VG_BROKEN_UNDELIVERED] = { "undelivered",
		"the result of a request can't be written to the guest's memory" },
	[VG_BROKEN_SHORTAGE] = { "shortage",
		"the backend has been short of memory, or of mappings, for too long" },
	[VG_BROKEN_RESUME] = { "resume",
		"what the driver says is under way in a queue makes no sense" },
};

const char *vg_broken_name(enum vg_broken why)
{
	return (unsigned int)why < ARRAY_SIZE(reasons) ? reasons[why].name : "?";
}

const char *vg_broken_text(enum vg_broken why)
{
	return (unsigned int)why < ARRAY_SIZE(reasons) ? reasons[why].text : "?";
}
