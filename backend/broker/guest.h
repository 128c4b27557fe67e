/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest.h - the broker's half that belongs to one guest: its IOREQ
 * server, and its end of a relay page per device.
 *
 * Knows no device type, no virtqueue, no xenstore, and touches no guest
 * memory.  What it holds privilege for is in xen_ioreq_*().  Runs in a process
 * of its own (child.h).
 */
#ifndef VG_BROKER_GUEST_H
#define VG_BROKER_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/loop.h"
#include "xen/xen.h"

#define VG_BROKER_DEVICES_MAX		16u	/* libxl gives 11 */
/* For one access; for several, see credit.h. */
#define VG_BROKER_ANSWER_TIMEOUT_NS	UINT64_C(1000000000)
#define VG_BROKER_POLL_MAX_NS		UINT64_C(200000)

struct vg_bchild_guest;
struct vg_bchild_dev;

/*
 * Counters of a device.  Those from `bad_answers` on are the backend's
 * misbehaviour, those before them the guest's doing.
 */
struct vg_bchild_dev_stats {
	uint64_t traps;			/* accesses of the guest, all */
	uint64_t notifies;		/* QueueNotify, answered here */
	uint64_t isr_reads, isr_acks;	/* answered here */
	uint64_t forwarded;		/* to the backend */
	uint64_t bad_accesses;		/* width, alignment, queue index */
	uint64_t irqs;			/* edges raised */
	uint64_t backend_events;
	uint64_t bad_answers;		/* unasked for, replayed */
	uint64_t repeated_answers;	/* to what was answered, the same */
	uint64_t late_answers;		/* to what had timed out */
	uint64_t timeouts;		/* answered here with all ones */
	uint64_t sessions;		/* backends that attached */
};

/*
 * What a device's successor, in another process, goes on with; and what the
 * broker's parent shows.  The parent does not trust it.
 */
struct vg_bchild_dev_shared {
	struct vg_bchild_dev_stats stats;
	uint32_t isr;			/* InterruptStatus */
	uint32_t is_dead;
};

struct vg_bchild_dev_params {
	const char *label;		/* "dom3 virtio_disk/51712" */
	uint64_t base;			/* guest physical, of the window */
	uint32_t irq;			/* SPI */
	xen_domid_t backend;
	struct xen_shared_page *page;	/* the relay, taken */
	struct xen_evtchn *ec;		/* with only this port */
	xen_port_t port;
	struct vg_bchild_dev_shared *shared;	/* the caller's */
};

/*
 * @adopt_id >= 0: the IOREQ server that a predecessor left behind is taken
 * over; if it does not exist (any more), a new one is made.  *server_id is
 * what a successor of ours will need.  -EBUSY: the predecessor still holds it.
 * *@seq is the caller's and outlives us: the number of the last access that was
 * forwarded, none of which may come twice in the life of a relay page.
 */
int vg_bchild_guest_create(xen_domid_t guest, int adopt_id,
			   uint64_t answer_timeout_ns, uint32_t *seq,
			   struct vg_loop *loop, struct vg_bchild_guest **out,
			   uint16_t *server_id);
/*
 * Completes what the guest's vCPUs wait for, removes every device and the
 * IOREQ server.
 */
void vg_bchild_guest_destroy(struct vg_bchild_guest *g);
/*
 * The broker ends, the guest goes on: everything is let go but the IOREQ
 * server, in which accesses wait for a successor.
 */
void vg_bchild_guest_leave(struct vg_bchild_guest *g);

/*
 * How long to look for the guest's next access, or the backend's next word,
 * before sleeping; 0, which it is at first: not at all.
 */
void vg_bchild_guest_poll(struct vg_bchild_guest *g, uint64_t max_ns);

/*
 * To be called once, after the devices that are known at the start have been
 * added: accesses are taken from here on, also those whose event a predecessor
 * took.
 */
int vg_bchild_guest_start(struct vg_bchild_guest *g);

/*
 * Takes the window of VG_MMIO_WINDOW_BYTES at base.  Page and event channel
 * become the device's, also when this fails; the port may be bound, unbound by
 * the backend's death and bound again.
 */
int vg_bchild_dev_add(struct vg_bchild_guest *g,
		      const struct vg_bchild_dev_params *params,
		      struct vg_bchild_dev **out);
void vg_bchild_dev_remove(struct vg_bchild_dev *d);

unsigned int vg_bchild_guest_nr_vcpus(const struct vg_bchild_guest *g);
#endif
