/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.h - one split virtqueue (virtio 1.3, 2.7): the only code that
 * reads or writes a ring.
 *
 * Not trusted: the guest, which owns all three parts and the indirect tables
 * and may change any word at any moment, also between two of our reads.
 * Every word is therefore read once into a copy, and the copy is checked.
 * A violation is latched in vq->broken with the offending value; the queue
 * then gives and takes nothing more until it is mapped anew.
 *
 * Owned by its device; knows guest memory only through struct vg_mem.
 *
 * With a log (inflight.h), what is under way outlives the process that was at
 * it: vg_vq_take_over() goes on where the predecessor was killed, and each
 * chain is shown to the driver as used exactly once.
 */
#ifndef VG_VIRTIO_RING_H
#define VG_VIRTIO_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "mem/mem.h"
#include "virtio/broken.h"
#include "virtio/inflight.h"

#define VG_VQ_NUM_MAX	32768u	/* virtio 1.3, 2.7 */

/* Where the driver said the queue is, and what was negotiated. */
struct vg_vq_config {
	unsigned int num;		/* Queue Size */
	uint64_t desc_addr, driver_addr, device_addr;
	bool event_idx;			/* VIRTIO_F_EVENT_IDX */
	bool indirect;			/* VIRTIO_F_INDIRECT_DESC */
};

/* One chain of descriptors, checked; segs are the queue's until next pop. */
struct vg_chain {
	uint16_t head;
	unsigned int nr_segs;
	const struct vg_seg *segs;	/* device-readable ones first */
	uint32_t out_bytes, in_bytes;	/* their sum fits, too */
};

struct vg_vq {
	/* set by vg_vq_init() */
	struct vg_mem *mem;
	unsigned int segs_max, table_max;
	struct vg_seg *segs;		/* scratch: [segs_max] */
	struct vring_desc *table;	/* scratch: [table_max] */

	/* set by vg_vq_map(); the rings are shared with the guest */
	bool is_mapped;
	struct vg_vq_config cfg;
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;

	/* ours alone: free-running indices */
	uint16_t last_avail;		/* next entry to take */
	uint16_t avail_seen;		/* copy of avail->idx, checked */
	uint16_t used_next;		/* next entry to fill */
	uint16_t used_published; /* last used->idx the driver was shown */
	uint16_t used_asked; /* ... when vg_vq_wants_event() was last */
	bool is_notify_off;		/* VRING_USED_F_NO_NOTIFY is set */

	struct vg_inflight inflight;	/* ours alone to write */
	uint16_t *redo;			/* heads of a predecessor's, in order */
	unsigned int nr_redo, redo_at;
	bool is_redone;			/* the last chain was one of them */
	bool is_resumed;		/* they are no victims of a death */
	bool waits;			/* see vg_vq_take_over() */

	enum vg_broken broken;
	enum vg_mem_fault fault;	/* if broken by an address */
	uint64_t bad_value;
};

/* @segs_max: most descriptors of a chain.  No ring is touched. */
void vg_vq_init(struct vg_vq *vq, struct vg_mem *mem, unsigned int segs_max);
void vg_vq_exit(struct vg_vq *vq);
/*
 * Before it is mapped: @log, which must outlive @vq, is written from then on.
 * For queues of at most VG_INFLIGHT_HEADS_MAX descriptors.
 */
void vg_vq_set_log(struct vg_vq *vq, struct vg_queue_log *log);
/* No longer, when it is not mapped. */
void vg_vq_drop_log(struct vg_vq *vq);

/*
 * Checks @cfg and maps the three parts; the indices start at 0.  0, -EAGAIN
 * (something is short for the moment), or another negative errno with
 * vq->broken, fault and bad_value saying why.
 */
int vg_vq_map(struct vg_vq *vq, const struct vg_vq_config *cfg);
/*
 * The same for a queue that a predecessor ran, and whose log is believed as far
 * as it makes sense (else VG_BROKEN_STATE).  What was under way comes out of
 * vg_vq_pop() first, or with @drops is used without a byte; what was finished
 * is there to be shown.  A request that was under way at too many deaths is
 * VG_BROKEN_DEADLY; not with @waits: those wait (for input, for a reader).
 */
int vg_vq_take_over(struct vg_vq *vq, const struct vg_vq_config *cfg,
		    bool drops, bool waits);
/*
 * The same for a queue that goes on where another backend left it, by a log
 * that was made of what the driver says (vg_inflight_begin()): nobody died of
 * these requests, so none is counted.
 */
int vg_vq_resume(struct vg_vq *vq, const struct vg_vq_config *cfg, bool drops,
		 bool waits);
void vg_vq_unmap(struct vg_vq *vq);

/*
 * 1: a chain was taken.  0: none is there.  -EPROTO: see vq->broken.
 * -EAGAIN: one is there, but memory to look at it is short for now.
 */
int vg_vq_pop(struct vg_vq *vq, struct vg_chain *chain);
/* Puts the chain of the last pop back; it will be read afresh. */
void vg_vq_unpop(struct vg_vq *vq);

/* We are looking at the ring anyway: the driver need not notify. */
void vg_vq_busy(struct vg_vq *vq);
/*
 * Asks for a notification of the next buffer.  True: none is there, we may
 * sleep.  False: one came meanwhile, or the queue broke; look again.
 */
bool vg_vq_sleep(struct vg_vq *vq);

/*
 * A chain is done, @len_bytes of its device-writable part were written.  The
 * driver sees it at vg_vq_show(), which is called once for a batch.
 */
void vg_vq_push(struct vg_vq *vq, uint16_t head, uint32_t len_bytes);
/* Shows the batch to the driver. */
void vg_vq_show(struct vg_vq *vq);
bool vg_vq_has_unpublished(const struct vg_vq *vq);
/* True if it wants to be interrupted for what was shown since the last call. */
bool vg_vq_wants_event(struct vg_vq *vq);
/* For how many chains that would be. */
unsigned int vg_vq_unasked(const struct vg_vq *vq);
/*
 * How many chains the driver has under way as it sees it: made available, and
 * not yet seen as used.  With EVENT_IDX it says so itself: hence a hint.
 */
unsigned int vg_vq_depth(const struct vg_vq *vq);

#endif
