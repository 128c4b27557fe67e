/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inflight.h - which descriptor chains of a queue are under way, in words that
 * outlive the process: the ring (ring.h) says what happens, this says how it is
 * written down, and what a successor finds.  Where the words lie is whoever's
 * who hands them over: a device's state file, today.
 *
 * A process can be killed between any two of its stores, and what was stored
 * before stays.  So nothing here is locked, and each change takes effect with
 * one store.  One writer at a time: whoever runs the queue.
 *
 * Not trusted, by a successor: what stands here.  Each word is read once, and
 * bounded.
 */
#ifndef VG_VIRTIO_INFLIGHT_H
#define VG_VIRTIO_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"

#define VG_INFLIGHT_HEADS_MAX	1024u	/* most descriptors of a queue */

/*
 * heads[h], what became of the chain that begins at descriptor h:
 *
 *	 63 62 61     56 55   48 47                                        0
 *	+-----+---------+-------+-------------------------------------------+
 *	|  0  |                 free, or used and shown to the driver       |
 *	|  1  | redone  |   0   | taken: how many were taken before it      |
 *	|  2  |         0       | used index (47:32) | bytes written (31:0) |
 *	+-----+---------+-------+-------------------------------------------+
 *
 *	take	heads[h] = TAKEN | taken, then taken + 1.  Killed between the
 *		two: a TAKEN that is not below `taken` was not taken.
 *	finish	the used entry, then heads[h] = DONE | index.
 *	publish	publishing = n; the ring's used index = n; published = n; then
 *		heads[h] = 0 for the batch.  A DONE whose index lies below
 *		`published` was shown.
 *
 * The successor executes what is TAKEN again, in the order in which it was
 * taken, and shows what is DONE and not published.
 */
#define VG_HEAD_TAKEN		(UINT64_C(1) << 62)
#define VG_HEAD_DONE		(UINT64_C(2) << 62)
#define VG_HEAD_STATE		(UINT64_C(3) << 62)
#define VG_HEAD_SEQ		((UINT64_C(1) << 48) - 1)
#define VG_HEAD_REDONE_SHIFT	56
#define VG_HEAD_REDONE_MAX	63u

struct vg_queue_log {
	uint64_t taken; /* chains, since the queue was enabled */
	uint64_t redone;		/* a statistic */
	uint16_t publishing, published;	/* used indices */
	uint32_t reserved[11];
	uint64_t heads[VG_INFLIGHT_HEADS_MAX];
};

/* The writer's side of it. */
struct vg_inflight {
	struct vg_queue_log *log;	/* NULL: none is kept */
	uint64_t taken;			/* as in the log */
	uint16_t last_head;		/* of the last vg_inflight_taken() */
	/* [VG_INFLIGHT_HEADS_MAX], by used index: pushed, not yet published */
	uint16_t *batch;
};

/* What a predecessor left: heads in the order of their ends or beginnings. */
struct vg_inflight_found {
	uint16_t published; /* used index that the driver was shown */
	unsigned int nr_done, nr_redo;
	struct vg_inflight_head {
		uint64_t key;
		uint16_t head;
		uint32_t len_bytes;	/* written, of one that is done */
	} *done, *redo;			/* [num] each, the caller's */
};

/* Order within this process: the words are read by a successor only. */
#define vg_inflight_order()	__atomic_signal_fence(__ATOMIC_SEQ_CST)

/* A queue that was just enabled: nothing is under way. */
void vg_inflight_clear(struct vg_inflight *f, unsigned int num);
/*
 * A queue that is to go on where somebody left it whose log is not here: the
 * log says from now on that @total chains were taken behind @used_idx, and
 * vg_inflight_put() which.  Done again after a death, both come to the same.
 */
void vg_inflight_begin(struct vg_inflight *f, uint16_t used_idx,
		       uint16_t total);
bool vg_inflight_is_begun(const struct vg_inflight *f, uint16_t used_idx,
			  uint16_t total);
/* The @nth of them.  False: @head is none, or was put already. */
bool vg_inflight_put(struct vg_inflight *f, uint16_t nth, uint16_t head);

static inline void vg_inflight_head_set(struct vg_inflight *f, uint16_t head,
					uint64_t word)
{
	vg_step();
	WRITE_ONCE(f->log->heads[head], word);
	vg_inflight_order();
}

static inline void vg_inflight_taken_set(struct vg_inflight *f)
{
	vg_step();
	WRITE_ONCE(f->log->taken, f->taken);
	vg_inflight_order();
}

/* A chain was taken from the ring.  False: it is under way already. */
static inline bool vg_inflight_taken(struct vg_inflight *f, uint16_t head)
{
	if (READ_ONCE(f->log->heads[head]) & VG_HEAD_STATE)
		return false;
	vg_inflight_head_set(f, head, VG_HEAD_TAKEN | f->taken);
	f->taken++;
	vg_inflight_taken_set(f);
	f->last_head = head;
	return true;
}

/* The last one was not taken after all. */
static inline void vg_inflight_untaken(struct vg_inflight *f)
{
	/* The other way round: a TAKEN that is not below `taken` is none. */
	f->taken--;
	vg_inflight_taken_set(f);
	vg_inflight_head_set(f, f->last_head, 0);
}

/* Its used entry is written, as number @index; @mask: queue size - 1. */
static inline void vg_inflight_done(struct vg_inflight *f, uint16_t head,
				    uint16_t index, uint16_t mask,
				    uint32_t len_bytes)
{
	vg_inflight_order();
	f->batch[index & mask] = head;
	vg_inflight_head_set(f, head, VG_HEAD_DONE | (uint64_t)index << 32 |
			     len_bytes);
}

/* The ring's used index is about to become @next. */
static inline void vg_inflight_publishing(struct vg_inflight *f, uint16_t next)
{
	vg_step();
	WRITE_ONCE(f->log->publishing, next);
	vg_inflight_order();
	vg_step();
}

/* It is: what was done from @old on was shown. */
static inline void vg_inflight_published(struct vg_inflight *f, uint16_t old,
					 uint16_t next, uint16_t mask)
{
	vg_inflight_order();
	vg_step();
	WRITE_ONCE(f->log->published, next);
	vg_inflight_order();
	for (; old != next; old++)
		vg_inflight_head_set(f, f->batch[old & mask], 0);
	vg_step();
}

/*
 * What a predecessor left, for a queue of @num descriptors whose used index
 * reads @used_idx.  0, or -EPROTO with what makes no sense in *@bad: then
 * nothing can be said of any of it.  With 0 the log says what *@found says.
 */
int vg_inflight_gather(struct vg_inflight *f, unsigned int num,
		       uint16_t used_idx, struct vg_inflight_found *found,
		       uint64_t *bad);

/* One more, or less, execution of @head: a predecessor had taken it. */
void vg_inflight_redo_count(struct vg_inflight *f, uint16_t head, int by);
/* How many there were. */
unsigned int vg_inflight_redone(const struct vg_inflight *f, uint16_t head);

#endif
