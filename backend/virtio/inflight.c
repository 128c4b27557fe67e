// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * inflight.c - what a successor makes of its predecessor's words: see
 * inflight.h.
 */
#include "virtio/inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void vg_inflight_clear(struct vg_inflight *f, unsigned int num)
{
	struct vg_queue_log *log = f->log;

	f->taken = 0;
	if (!log)
		return;
	WRITE_ONCE(log->taken, 0);
	WRITE_ONCE(log->publishing, 0);
	WRITE_ONCE(log->published, 0);
	memset(log->heads, 0, num * sizeof(log->heads[0]));
	smp_wmb();
}

void vg_inflight_begin(struct vg_inflight *f, uint16_t used_idx,
		       uint16_t total)
{
	struct vg_queue_log *log = f->log;

	memset(log->heads, 0, sizeof(log->heads));
	WRITE_ONCE(log->publishing, used_idx);
	WRITE_ONCE(log->published, used_idx);
	f->taken = (uint64_t)used_idx + total;
	vg_inflight_taken_set(f);
}

bool vg_inflight_is_begun(const struct vg_inflight *f, uint16_t used_idx,
			  uint16_t total)
{
	return READ_ONCE(f->log->published) == used_idx &&
	       READ_ONCE(f->log->taken) == (uint64_t)used_idx + total;
}

bool vg_inflight_put(struct vg_inflight *f, uint16_t nth, uint16_t head)
{
	uint64_t word = VG_HEAD_TAKEN |
			((uint64_t)READ_ONCE(f->log->published) + nth);

	if (head >= VG_INFLIGHT_HEADS_MAX)
		return false;
	if (READ_ONCE(f->log->heads[head]))
		return READ_ONCE(f->log->heads[head]) == word;
	vg_inflight_head_set(f, head, word);
	return true;
}

unsigned int vg_inflight_redone(const struct vg_inflight *f, uint16_t head)
{
	return READ_ONCE(f->log->heads[head]) >> VG_HEAD_REDONE_SHIFT &
	       VG_HEAD_REDONE_MAX;
}

void vg_inflight_redo_count(struct vg_inflight *f, uint16_t head, int by)
{
	uint64_t word = READ_ONCE(f->log->heads[head]);

	vg_inflight_head_set(f, head, word + ((uint64_t)by <<
					      VG_HEAD_REDONE_SHIFT));
	count_add(f->log->redone, by);
}

/* ---- taking over -------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct vg_inflight_head *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

static int makes_no_sense(uint64_t value, uint64_t *bad)
{
	*bad = value;
	return -EPROTO;
}

/*
 * Whether the last batch was shown.  The guest could have written another
 * index: then nobody can say any more what it was shown.
 */
static int settle_published(const struct vg_inflight *f, unsigned int num,
			    uint16_t used_idx, uint64_t *bad)
{
	uint16_t next = READ_ONCE(f->log->publishing);
	uint16_t old = READ_ONCE(f->log->published);

	if (used_idx != old && used_idx != next)
		return makes_no_sense(used_idx, bad);
	if ((uint16_t)(next - old) > num)
		return makes_no_sense(next, bad);
	return 0;
}

/* 1: *e is TAKEN; 2: *e is DONE; 0: free.  -EPROTO: it can't be. */
static int head_read(const struct vg_inflight *f, unsigned int num,
		     uint16_t head, uint64_t taken, uint16_t published,
		     struct vg_inflight_head *e, uint64_t *bad)
{
	uint64_t word = READ_ONCE(f->log->heads[head]);
	uint64_t seq = word & VG_HEAD_SEQ;
	uint16_t index = (uint16_t)(word >> 32);

	*e = (struct vg_inflight_head){ .head = head };
	switch (word & VG_HEAD_STATE) {
	case 0:
		return 0;
	case VG_HEAD_TAKEN:
		if (seq == taken)
			return 0;		/* killed while taking it */
		e->key = seq;
		return seq < taken ? 1 : makes_no_sense(word, bad);
	case VG_HEAD_DONE:
		if ((uint16_t)(published - 1 - index) < num)
			return 0;		/* killed after showing it */
		e->key = (uint16_t)(index - published);
		e->len_bytes = (uint32_t)word;
		return e->key < num ? 2 : makes_no_sense(word, bad);
	}
	return makes_no_sense(word, bad);
}

/* Reads all heads, sorts them, and frees those that are neither. */
static int heads_read(struct vg_inflight *f, unsigned int num, uint64_t taken,
		      struct vg_inflight_found *found, uint64_t *bad)
{
	struct vg_inflight_head e;
	unsigned int head;

	for (head = 0; head < num; head++) {
		int n = head_read(f, num, (uint16_t)head, taken,
				  found->published, &e, bad);

		if (n < 0)
			return n;
		if (n == 1)
			found->redo[found->nr_redo++] = e;
		else if (n == 2)
			found->done[found->nr_done++] = e;
		else if (f->log->heads[head])
			vg_inflight_head_set(f, (uint16_t)head, 0);
	}
	qsort(found->redo, found->nr_redo, sizeof(e), by_key);
	qsort(found->done, found->nr_done, sizeof(e), by_key);
	return 0;
}

int vg_inflight_gather(struct vg_inflight *f, unsigned int num,
		       uint16_t used_idx, struct vg_inflight_found *found,
		       uint64_t *bad)
{
	uint64_t taken = READ_ONCE(f->log->taken);
	unsigned int i;
	int err;

	found->published = used_idx;
	found->nr_done = found->nr_redo = 0;
	err = settle_published(f, num, used_idx, bad);
	if (!err)
		err = heads_read(f, num, taken, found, bad);
	if (err)
		return err;
	/* Whatever was taken is either shown, or one of these. */
	if (found->nr_redo + found->nr_done != (uint16_t)(taken - used_idx))
		return makes_no_sense(found->nr_redo + found->nr_done, bad);
	for (i = 0; i < found->nr_done; i++)
		if (found->done[i].key != i)
			return makes_no_sense(found->done[i].key, bad);

	f->taken = taken;
	vg_inflight_publishing(f, used_idx);
	WRITE_ONCE(f->log->published, used_idx);
	return 0;
}
