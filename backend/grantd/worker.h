/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker.h - the devices of one guest: what brings their transports, types,
 * memory and channels together, and the messages between the worker and its
 * supervisor.
 *
 * The worker has /dev/xen/gntdev, /dev/xen/evtchn and what its devices were
 * handed, and nothing else: no xenstore, no file it could open itself
 * (sandbox.h).  The supervisor tells it over a SOCK_SEQPACKET pair what to
 * serve; it tells back what became of it.  Statistics stand in memory that both
 * map.
 *
 * A worker is what a guest attacks, so the supervisor believes nothing it
 * says beyond the fixed fields here, each checked for its range.
 */
#ifndef VG_GRANTD_WORKER_H
#define VG_GRANTD_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/type.h"
#include "lib/loop.h"
#include "transport/transport.h"
#include "virtio/device.h"
#include "xen/xen.h"

/*
 * One that is idle, with a queue and beside its pool, costs its state (20 KiB),
 * a page of counters, some 20 KiB of heap, a mapped page of messages, and what
 * its type has.
 */
#define VG_WORKER_DEVICES_MAX	64u
#define VG_WORKER_TEXT_MAX	128u
/* Threads of all devices together: what one guest can have of them. */
#define VG_WORKER_LANES_MAX	16u
#define VG_WORKER_QUEUES_MAX	VG_STATE_QUEUES_MAX

enum vg_worker_op {
	/* supervisor to worker */
	VG_WORKER_ADD = 1,
	VG_WORKER_MOVE,		/* the device is reached elsewhere now */
	VG_WORKER_RESIZE,	/* what it is made of has changed */
	VG_WORKER_REMOVE,
	VG_WORKER_RELEASE,	/* of a device that was added as held */
	/* worker to supervisor */
	VG_WORKER_ADDED,	/* error, text; or it is ready */
	VG_WORKER_REMOVED,	/* nothing is mapped or open any more */
	VG_WORKER_MOVED,	/* as VG_WORKER_MOVE or ADD said; or error,
				 * text: it goes on trying */
	VG_WORKER_RESIZED,	/* the driver is told; or error, text */
};

/* Descriptors of ADD, those that there are in this order: see fds_present. */
enum {
	VG_WORKER_FD_STATE,	/* the device's state (state.h) */
	VG_WORKER_FD_HOLD,	/* what is locked while the worker lives */
	VG_WORKER_FD_PARTS,	/* vg_dev_parts.fds[] */
	VG_WORKER_FDS_MAX = VG_WORKER_FD_PARTS + VG_DEV_FDS_MAX,
};

struct vg_worker_msg {
	uint32_t op;
	uint32_t index;				/* < VG_WORKER_DEVICES_MAX */
	int32_t error;				/* negative errno */
	uint32_t fds_present;			/* one bit each */
	char text[VG_WORKER_TEXT_MAX];		/* of an error; of ADD: label */
	struct vg_transport_where where;	/* ADD, MOVE; of MOVED: the
						 * one that it is about */
	struct vg_dev_change change;		/* RESIZE */
	/* ADD */
	uint32_t transport, type;		/* indices in their lists */
	uint32_t queue_size_max;
	uint32_t budget_pages;
	uint32_t copy_max_bytes;
	uint64_t poll_max_ns, poll_unbound_max_ns;
	uint32_t start;				/* enum vg_start */
	uint32_t start_broken;			/* enum vg_broken */
	uint32_t is_held;			/* struct vg_device_params */
	struct vg_dev_parts parts;		/* fds: those that came along */
};

/*
 * What both sides map; the supervisor reads only.  A device with several
 * queues counts what these do in queue[]: vg_worker_stats() has the sum.
 */
struct vg_worker_shared {
	struct vg_dev_stats dev[VG_WORKER_DEVICES_MAX];
	struct vg_dev_stats queue[VG_WORKER_DEVICES_MAX][VG_WORKER_QUEUES_MAX];
	uint32_t violation;		/* struct vg_sandbox */
	uint32_t has_begun;		/* its first message was read */
};

/* @nr_queues that the device has: of others no page is touched. */
void vg_worker_stats(const struct vg_worker_shared *shared, unsigned int index,
		     unsigned int nr_queues, struct vg_dev_stats *out);

struct vg_worker;

/*
 * How devices reach guest memory: vg_mem_pool_create, unless the program is
 * virtio-foreignd.
 */
extern int (*vg_worker_mem_create)(struct xen_gnttab *gt, xen_domid_t domid,
				   unsigned int budget_pages,
				   uint32_t copy_max_bytes,
				   struct vg_mem **out);

/*
 * @sock and @shared stay the caller's.  @gone is called when the supervisor
 * closed its end.
 */
int vg_worker_create(xen_domid_t guest, struct vg_loop *loop, int sock,
		     struct vg_worker_shared *shared, void (*gone)(void *arg),
		     void *arg, struct vg_worker **out);
/*
 * Requests under way are waited for in turns of the loop.  Devices that were
 * not removed are left as they are to a successor.
 */
void vg_worker_destroy(struct vg_worker *w);

/*
 * Messages: whole or not at all, and without waiting: -EAGAIN if the peer does
 * not take it now.  @fds: -1 for none; NULL: none at all.  0 or negative errno.
 */
int vg_worker_send(int sock, struct vg_worker_msg *msg,
		   const int fds[VG_WORKER_FDS_MAX]);
/*
 * 1: a message; 0: the peer closed; -EAGAIN: none now.  What came along is in
 * @fds, the caller's; the others are -1.
 */
int vg_worker_recv(int sock, struct vg_worker_msg *msg,
		   int fds[VG_WORKER_FDS_MAX]);
void vg_worker_close_fds(int fds[VG_WORKER_FDS_MAX]);
/* All -1. */
void vg_worker_no_fds(int fds[VG_WORKER_FDS_MAX]);

/*
 * Opens what @n queues with a thread each will need, for a worker that can't
 * open anything later.  0 or negative errno.
 */
int vg_worker_stock(struct vg_worker *w, unsigned int n);

/* For tests that kill it: its queues' threads stop, for good. */
void vg_worker_freeze(struct vg_worker *w);

#endif
