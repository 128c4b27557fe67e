// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bounce.c - private memory in place of the guest's: see bounce.h.
 *
 * Small pieces lie one behind the other in the request's own 1 KiB.  Others lie
 * in a buffer, each as far into a page as in the guest's, so that no copy
 * crosses a page that need not and data is as aligned for O_DIRECT as the guest
 * had it.  Buffers are kept for the next request, up to CACHE_BYTES.
 *
 * Not trusted: the guest, whose lengths and offsets decide where a piece lies.
 * vg_bounce_bytes() and vg_bounce_get() walk the same private copy of the
 * segments with the same layout_next(), so what the one said is what the other
 * fills.
 */
#include "mem/bounce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Every request has so much without asking the budget. */
#define OWN_BYTES	1024u
/* What lies in it; larger pieces lie in a buffer. */
#define SMALL_BYTES	256u
/* Buffers that nobody uses at the moment, per cache. */
#define CACHE_BYTES	(4u << 20)

/* ---- buffers ------------------------------------------------------------ */

/* A buffer that nobody uses begins with this. */
struct vg_bounce_spare {
	struct vg_bounce_spare *next;
};

static size_t class_bytes(unsigned int class)
{
	return (size_t)VG_MEM_PAGE_BYTES << class;
}

void vg_bounce_cache_init(struct vg_bounce_cache *c,
			  const struct vg_bounce_source *source)
{
	*c = (struct vg_bounce_cache){ .source = source };
}

void vg_bounce_cache_exit(struct vg_bounce_cache *c)
{
	unsigned int i;

	for (i = 0; i < VG_BOUNCE_CLASSES; i++) {
		while (c->spares[i]) {
			struct vg_bounce_spare *s = c->spares[i];

			c->spares[i] = s->next;
			c->source->put(s, class_bytes(i));
		}
	}
}

static bool buffer_get(struct vg_bounce *b, struct vg_bounce_cache *c,
		       uint64_t bytes)
{
	struct vg_bounce_spare *s = NULL;
	unsigned int class = 0;

	while (class_bytes(class) < bytes)
		class++;
	if (class < VG_BOUNCE_CLASSES)
		s = c->spares[class];
	if (s) {
		c->spares[class] = s->next;
		c->spare_bytes -= class_bytes(class);
		b->buffer = (void *)s;
	} else {
		b->buffer = c->source->get(class_bytes(class));
	}
	b->class = class;
	return b->buffer;
}

static void buffer_put(struct vg_bounce *b, struct vg_bounce_cache *c)
{
	struct vg_bounce_spare *s = (void *)b->buffer;
	size_t bytes = class_bytes(b->class);

	b->buffer = NULL;
	if (b->class >= VG_BOUNCE_CLASSES ||
	    c->spare_bytes + bytes > CACHE_BYTES) {
		c->source->put(s, bytes);
		return;
	}
	s->next = c->spares[b->class];
	c->spares[b->class] = s;
	c->spare_bytes += bytes;
}

/* ---- where the pieces lie ----------------------------------------------- */

/* Where the next one goes; the same for each walk over the segments. */
struct layout {
	size_t own_bytes, buffer_bytes;
};

/* *in_buffer: at that offset of the buffer, else of the request's own. */
static size_t layout_next(struct layout *l, const struct vg_seg *seg,
			  bool *in_buffer)
{
	size_t len = seg->len_bytes, at;

	*in_buffer = len > SMALL_BYTES || l->own_bytes + len > OWN_BYTES;
	if (!*in_buffer) {
		at = l->own_bytes;
		l->own_bytes += len;
		return at;
	}
	at = l->buffer_bytes;
	/* As far into a page as the guest has it; gaps are never shown. */
	at += (seg->addr - at) & (VG_MEM_PAGE_BYTES - 1);
	l->buffer_bytes = at + len;
	return at;
}

uint64_t vg_bounce_bytes(const struct vg_seg *segs, unsigned int nr_segs,
			 const bool is_copied[2])
{
	struct layout l = { 0 };
	unsigned int i;
	bool ignored;

	for (i = 0; i < nr_segs; i++)
		if (is_copied[segs[i].dev_writes])
			layout_next(&l, &segs[i], &ignored);
	return l.buffer_bytes;
}

/* ---- the pieces of a request -------------------------------------------- */

int vg_bounce_init(struct vg_bounce *b, struct vg_bounce_cache *c)
{
	*b = (struct vg_bounce){ .own = c->source->get(OWN_BYTES) };
	return b->own ? 0 : -EAGAIN;
}

void vg_bounce_exit(struct vg_bounce *b, struct vg_bounce_cache *c)
{
	c->source->put(b->own, OWN_BYTES);
	free(b->pieces);
}

/* As many as there are segments are never too few. */
static bool pieces_reserve(struct vg_bounce *b, unsigned int count)
{
	struct vg_bounce_piece *p;

	if (count <= b->pieces_max)
		return true;
	p = realloc(b->pieces, count * sizeof(*p));
	if (!p)
		return false;
	b->pieces = p;
	b->pieces_max = count;
	return true;
}

int vg_bounce_get(struct vg_bounce *b, struct vg_bounce_cache *c,
		  const struct vg_seg *segs, unsigned int nr_segs,
		  const bool is_copied[2], uint64_t bytes)
{
	struct vg_bounce_piece *p;
	struct layout l = { 0 };
	unsigned int i;

	if (!pieces_reserve(b, nr_segs) || (bytes && !buffer_get(b, c, bytes)))
		return -EAGAIN;
	p = b->pieces;
	for (i = 0; i < nr_segs; i++) {
		bool in_buffer;
		size_t at;

		if (!is_copied[segs[i].dev_writes])
			continue;
		at = layout_next(&l, &segs[i], &in_buffer);
		p->seg = segs[i];
		p->at = (in_buffer ? b->buffer : b->own) + at;
		if (p->seg.dev_writes)
			memset(p->at, 0, p->seg.len_bytes);
		p++;
	}
	b->nr_pieces = (unsigned int)(p - b->pieces);
	return 0;
}

void vg_bounce_put(struct vg_bounce *b, struct vg_bounce_cache *c)
{
	if (b->buffer)
		buffer_put(b, c);
	b->nr_pieces = 0;
}
