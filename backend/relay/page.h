/* SPDX-License-Identifier: GPL-2.0-or-later OR MIT */
/*
 * page.h - the relay page: register accesses of one device, between the
 * broker in the control domain and the backend in the driver domain.
 *
 * The broker allocates one page and one unbound event channel per device,
 * grants the page read-write to the backend's domain, and writes into the
 * device's backend node in xenstore
 *
 *	relay-ref	grant reference of the page, decimal
 *	relay-port	the broker's port to bind to, decimal
 *	relay-domid	the broker's domain, decimal
 *
 * in one transaction.  A change of relay-ref means a new broker: the backend
 * maps the new page and forgets the old one; the device's state stays.
 *
 * Neither side trusts the other.  Each word has one writer, except the four
 * bitmaps, in which one side sets bits and the other exchanges for zero.
 * Every word the other side writes is read once, into a copy, and the copy
 * is checked.  No pointer and no length crosses; whatever one side writes,
 * the other does at most one pass over the slots per event.
 *
 *	  0  +-------------------------------------------+
 *	     | magic, version, nr_vcpus, nr_queues_max,  | broker
 *	     | asked, broker_looks                       |
 *	 64  +-------------------------------------------+
 *	     | pending[4]: vCPUs that wait for an answer | broker sets,
 *	     | notify[2]:  queues to look at             | backend takes
 *	128  +-------------------------------------------+
 *	     | answered[4]: vCPUs whose answer is there  | backend sets,
 *	     | irq: bits of InterruptStatus to raise     | broker takes
 *	192  +-------------------------------------------+
 *	     | backend_state, backend_session            | backend
 *	1024 +-------------------------------------------+
 *	     | slot[128], 24 bytes each                  | per slot, see there
 *	4096 +-------------------------------------------+
 *
 * Order, request:  broker writes op and data, then seq (release), then sets
 * the bit in pending (release), then notifies.  The backend exchanges pending
 * (acquire), reads seq (acquire), then op and data.
 * Order, answer:   backend writes rsp_data, then rsp_seq (release), then sets
 * the bit in answered, then notifies.  An answer whose rsp_seq is not the seq
 * of the outstanding request is dropped and counted: late (the broker's time
 * limit has passed) or hostile.
 * While broker_looks is not 0, the broker looks at the page and need not be
 * notified: it writes 0, then looks a last time, then sleeps; the backend reads
 * it after setting bits.  A backend that has believed it, and finds some time
 * later that nobody has taken the bits, notifies.
 * A backend's process that takes over from another, on the same page and port,
 * writes another value into backend_session, then backend_state (release),
 * then notifies.  The broker thereupon sets the bits in pending again of all
 * that it still waits for, since a dead process may have taken them: such an
 * access may be executed twice.  Slots whose bit is not set are nobody's.
 *
 * The backend's domain can write any word of the page, so what stands there may
 * be false although the backend is well: none of it holds for good.  The broker
 * writes its own words (magic to nr_queues_max) again at each event.  When it
 * answers an access itself, since backend_state says that the backend has left
 * or since it regards the device as dead, it writes another value into asked
 * and notifies.  A backend that finds a new value there, or a backend_state
 * that is not what it wrote, announces itself as one that takes over does.
 */
#ifndef VG_RELAY_H
#define VG_RELAY_H

#include <stdint.h>

#define VG_RELAY_MAGIC		0x31524756u	/* "VGR1" */
#define VG_RELAY_VERSION	1u
#define VG_RELAY_VCPUS_MAX	128u
#define VG_RELAY_QUEUES_MAX	64u

/* op: the access. */
#define VG_RELAY_OP_OFFSET(op)	((op) & 0xfffu)		/* in the window */
#define VG_RELAY_OP_LEN(op)	(((op) >> 16) & 0x7u)	/* 1, 2 or 4 */
#define VG_RELAY_OP_IS_WRITE(op) (((op) >> 31) & 1u)
#define VG_RELAY_OP(offset, len, is_write)            \
	((uint32_t)(offset) | (uint32_t)(len) << 16 | \
	 (uint32_t)(is_write) << 31)

struct vg_relay_slot {
	/* broker */
	uint32_t seq;		/* of the request; never 0 once used */
	uint32_t op;
	uint32_t data;		/* of a write */
	/* backend */
	uint32_t rsp_seq;
	uint32_t rsp_data;
	uint32_t reserved;
};

/* backend_state */
#define VG_RELAY_BACKEND_ABSENT	0u	/* initial */
#define VG_RELAY_BACKEND_READY	1u	/* attached, answers */
#define VG_RELAY_BACKEND_GONE	2u	/* left on purpose: answer locally */
#define VG_RELAY_BACKEND_RESTARTING 3u	/* left, another comes: wait for it */

struct vg_relay_page {
	uint32_t magic;
	uint32_t version;
	uint32_t nr_vcpus;
	uint32_t nr_queues_max;
	uint32_t asked;		/* another value: is the backend there? */
	uint32_t broker_looks;
	uint32_t pad0[10];

	uint32_t pending[VG_RELAY_VCPUS_MAX / 32];
	uint32_t notify[VG_RELAY_QUEUES_MAX / 32];
	uint32_t pad1[10];

	uint32_t answered[VG_RELAY_VCPUS_MAX / 32];
	uint32_t irq;
	uint32_t pad2[11];

	uint32_t backend_state;
	uint32_t backend_session;
	uint32_t pad3[206];

	struct vg_relay_slot slot[VG_RELAY_VCPUS_MAX];
};

_Static_assert(sizeof(struct vg_relay_slot) == 24, "slot");
_Static_assert(sizeof(struct vg_relay_page) == 4096, "relay page");

#endif
