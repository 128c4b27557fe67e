/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bounce.h - private memory in place of the guest's, for those buffers of a
 * request that are copied and not mapped: where each lies, and the memory.
 *
 * How bytes get from the guest to here and back is not known here, nor how much
 * a device may have.  Whoever uses this (grants.c) asks the budget for
 * vg_bounce_bytes() first, and copies what the pieces say.
 *
 * Not trusted: the guest.  Lengths are what it says, checked by the caller, who
 * has a budget; of an address only the offset in its page is looked at.  What
 * was copied into a piece holds still, but says what the guest likes.
 *
 * Owners: a request has its struct vg_bounce, the memory of its pieces until
 * vg_bounce_put(), and 1 KiB of it until vg_bounce_exit().  Buffers that no
 * request has are the cache's, of which each thread has its own.  Nothing is
 * allocated per request once both have grown.
 */
#ifndef VG_MEM_BOUNCE_H
#define VG_MEM_BOUNCE_H

#include "mem/mem.h"

/* Buffers have 4 KiB << class; what needs more is not kept. */
#define VG_BOUNCE_CLASSES	10u

/*
 * Where memory is from: @bytes is a power of two, 1024 at least; aligned to
 * that, or to a page if that is less; NULL: there is none for the moment.
 */
struct vg_bounce_source {
	void *(*get)(size_t bytes);
	void (*put)(void *buffer, size_t bytes);
};

/* Buffers that nobody uses at the moment. */
struct vg_bounce_cache {
	const struct vg_bounce_source *source;
	struct vg_bounce_spare *spares[VG_BOUNCE_CLASSES];
	size_t spare_bytes;
};

/* A buffer of the guest's, and what stands for it here. */
struct vg_bounce_piece {
	struct vg_seg seg;
	uint8_t *at;			/* seg.len_bytes of ours */
};

/* Of one request. */
struct vg_bounce {
	struct vg_bounce_piece *pieces;	/* in the order of the segments */
	unsigned int nr_pieces;
	/* bounce.c's */
	unsigned int pieces_max;
	unsigned int class;		/* of buffer */
	uint8_t *buffer;		/* NULL: own suffices */
	uint8_t *own;
};

void vg_bounce_cache_init(struct vg_bounce_cache *c,
			  const struct vg_bounce_source *source);
/* Every request's vg_bounce_exit() comes before it. */
void vg_bounce_cache_exit(struct vg_bounce_cache *c);

/* -EAGAIN: no memory; then there is nothing to exit. */
int vg_bounce_init(struct vg_bounce *b, struct vg_bounce_cache *c);
/* After vg_bounce_put(), if there was a vg_bounce_get(). */
void vg_bounce_exit(struct vg_bounce *b, struct vg_bounce_cache *c);

/*
 * What those of @segs that are copied take beyond the 1 KiB that every request
 * has.  @is_copied: those that the device reads [0], those that it writes [1].
 */
uint64_t vg_bounce_bytes(const struct vg_seg *segs, unsigned int nr_segs,
			 const bool is_copied[2]);
/*
 * Memory for them, @bytes being what vg_bounce_bytes() said: b->pieces.  Those
 * that the device writes are zeroes, so that nothing of an earlier request can
 * reach the guest with this one.  -EAGAIN: no memory; nothing is held.
 */
int vg_bounce_get(struct vg_bounce *b, struct vg_bounce_cache *c,
		  const struct vg_seg *segs, unsigned int nr_segs,
		  const bool is_copied[2], uint64_t bytes);
/* The pieces are none any more.  Without vg_bounce_get(): nothing. */
void vg_bounce_put(struct vg_bounce *b, struct vg_bounce_cache *c);

#endif
