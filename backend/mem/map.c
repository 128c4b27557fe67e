// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * map.c - guest memory by one batched map and one unmap per request, or by one
 * batched copy in and one out.
 *
 * Serves every guest whose addresses are grants, with no help from it: what
 * a mainline guest (CONFIG_XEN_VIRTIO) offers suffices.
 *
 * A map call has one protection for all of its pages, and a mainline guest
 * grants what the device only reads read-only.  So the direction that carries
 * the bulk of a request is mapped; the few bytes of the other one (a header,
 * a status byte) go through private memory by GNTTABOP_copy.  A request of at
 * most copy_max_bytes does so as a whole:
 *
 *			mapped				copied
 *	read	copy in the header		copy in the header
 *		map data + status, unmap	copy out data + status
 *	write	map header + data, unmap	copy in header + data
 *		copy out the status		copy out the status
 *	flush	as copied, unless copy_max_bytes is 0
 *
 * Private memory: small pieces lie one behind the other in the request's own
 * 1 KiB.  Others lie in a buffer, each as far into a page as in the guest's,
 * so that no copy crosses a page that need not and data is as aligned for
 * O_DIRECT as the guest had it.  Buffers are kept for the next request, up to
 * CACHE_BYTES.
 *
 * Not trusted: the guest.  Its addresses are arbitrary; its grants may be
 * missing, and may vanish between copies.  Mapped pages stay, their contents
 * do not hold still.
 *
 * Nothing is allocated per request once the free lists have grown.
 */
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../util.h"

/* Bounce memory that every request has without asking the budget. */
#define BOUNCE_OWN_BYTES	1024u
/* What lies in it; larger pieces lie in a buffer. */
#define SMALL_BYTES		256u
/* Buffers have 4 KiB << class; what needs more is not kept. */
#define CLASSES			10u
/* Buffers that nobody uses at the moment, per view. */
#define CACHE_BYTES		(4u << 20)

#define ADDR_REF_BITS		32
#define ADDR_UNUSED_BITS \
	(~(VG_ADDR_GRANT | ((UINT64_C(1) << (ADDR_REF_BITS + \
					    XEN_GRANT_PAGE_SHIFT)) - 1)))

/* A checked address. */
struct span {
	xen_ref_t ref;			/* of the first page */
	unsigned int offset_bytes;	/* in it */
	unsigned int pages;
};

/* Bounced bytes that unmap_req must carry to the guest. */
struct copy_out {
	struct span at;
	size_t len_bytes;
	uint8_t *from;
};

struct vg_mem_req {
	struct vg_mem_req *next;	/* on the free list */
	void *map;
	unsigned int map_pages, charged_pages;
	uint8_t *buffer;		/* NULL: bounce_own suffices */
	unsigned int class;		/* of buffer */
	struct copy_out *outs;
	unsigned int nr_outs, outs_max;
	uint8_t bounce_own[BOUNCE_OWN_BYTES]
		__attribute__((aligned(XEN_GRANT_PAGE_SIZE / 4)));
};

/* Pages in use by a device, by all of its threads: atomic. */
struct pages {
	unsigned int now, max, rings;
};

/* A buffer that nobody uses begins with this. */
struct spare {
	struct spare *next;
};

struct mem_map {
	struct vg_mem mem;
	struct xen_gnttab *gt;
	uint32_t copy_max_bytes;
	struct spare *spares[CLASSES];
	size_t spare_bytes;
	struct pages *pages;		/* own_pages, or those it is a view of */
	struct pages own_pages;
	struct vg_mem_req *free_reqs;
	xen_ref_t *refs;		/* scratch: [budget_pages] */
	struct xen_copy_seg *copies;	/* scratch: [copies_max] */
	unsigned int copies_max;
};

static struct mem_map *to_map(struct vg_mem *m)
{
	return container_of(m, struct mem_map, mem);
}

static int refuse(struct mem_map *mm, enum vg_mem_fault why,
		  enum vg_mem_fault *fault, int err)
{
	mm->mem.stats.faults[why]++;
	*fault = why;
	return err;
}

/* What says that we, or Xen, are short of something, not that a grant lacks. */
static bool is_shortage(int err)
{
	return err == -ENOMEM || err == -ENOSPC || err == -EAGAIN ||
	       err == -EBUSY || err == -EINTR;
}

/* ---- addresses ------------------------------------------------------------ */

static int span_of(struct mem_map *mm, uint64_t addr, uint64_t len_bytes,
		   struct span *s, enum vg_mem_fault *fault)
{
	uint64_t pages;

	if (!(addr & VG_ADDR_GRANT))
		return refuse(mm, VG_MEM_NO_GRANT, fault, -EFAULT);
	s->ref = (xen_ref_t)(addr >> XEN_GRANT_PAGE_SHIFT);
	s->offset_bytes = addr & (XEN_GRANT_PAGE_SIZE - 1);
	pages = (s->offset_bytes + len_bytes + XEN_GRANT_PAGE_SIZE - 1) >>
		XEN_GRANT_PAGE_SHIFT;
	if (addr & ADDR_UNUSED_BITS || !len_bytes ||
	    s->ref + pages - 1 > UINT32_MAX)
		return refuse(mm, VG_MEM_BAD_RANGE, fault, -EFAULT);
	s->pages = (unsigned int)pages;
	return 0;
}

/* ---- pages in use --------------------------------------------------------- */

/* False: not while others have theirs. */
static bool charge(struct mem_map *mm, unsigned int pages)
{
	struct vg_mem_stats *st = &mm->mem.stats;
	unsigned int max, now;

	now = __atomic_add_fetch(&mm->pages->now, pages, __ATOMIC_RELAXED);
	if (now > mm->mem.budget_pages) {
		__atomic_sub_fetch(&mm->pages->now, pages, __ATOMIC_RELAXED);
		return false;
	}
	max = count_read(mm->pages->max);
	while (now > max &&
	       !__atomic_compare_exchange_n(&mm->pages->max, &max, now, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	st->mapped_pages_now += pages;
	st->mapped_pages_max = max_u(st->mapped_pages_max, now);
	return true;
}

static void uncharge(struct mem_map *mm, unsigned int pages)
{
	__atomic_sub_fetch(&mm->pages->now, pages, __ATOMIC_RELAXED);
	mm->mem.stats.mapped_pages_now -= pages;
}

/* ---- copying -------------------------------------------------------------- */

static bool copies_reserve(struct mem_map *mm, unsigned int count)
{
	struct xen_copy_seg *c;

	if (count <= mm->copies_max)
		return true;
	c = realloc(mm->copies, count * sizeof(*c));
	if (!c)
		return false;
	mm->copies = c;
	mm->copies_max = count;
	return true;
}

/* Appends the pieces of one span, page by page, at mm->copies[n]. */
static unsigned int copies_add(struct mem_map *mm, unsigned int n,
			       const struct span *s, size_t len_bytes,
			       uint8_t *local, bool to_foreign)
{
	unsigned int offset = s->offset_bytes;
	xen_ref_t ref = s->ref;

	while (len_bytes) {
		size_t piece = min_u(len_bytes,
				     (size_t)XEN_GRANT_PAGE_SIZE - offset);

		mm->copies[n++] = (struct xen_copy_seg){
			.ref = ref++,
			.offset = (uint16_t)offset,
			.len_bytes = (uint16_t)piece,
			.to_foreign = to_foreign,
			.local = local,
		};
		mm->mem.stats.copied_bytes += piece;
		local += piece;
		len_bytes -= piece;
		offset = 0;
	}
	return n;
}

static int copies_run(struct mem_map *mm, unsigned int n)
{
	mm->mem.stats.copies++;
	return xen_gnttab_copy(mm->gt, mm->mem.domid, mm->copies, n);
}

static int map_read(struct vg_mem *m, uint64_t addr, void *buf,
		    size_t len_bytes, enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	unsigned int n;
	struct span s;
	int err;

	err = span_of(mm, addr, len_bytes, &s, fault);
	if (err)
		return err;
	if (!copies_reserve(mm, s.pages))
		return -EAGAIN;
	n = copies_add(mm, 0, &s, len_bytes, buf, false);
	err = copies_run(mm, n);
	if (is_shortage(err))
		return -EAGAIN;
	return err ? refuse(mm, VG_MEM_NOT_GRANTED, fault, -EFAULT) : 0;
}

/* ---- rings ---------------------------------------------------------------- */

static int map_ring(struct vg_mem *m, uint64_t addr, size_t len_bytes,
		    int prot, void **va, enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	struct span s;
	unsigned int i;
	void *base;
	int err;

	err = span_of(mm, addr, len_bytes, &s, fault);
	if (err)
		return err;
	if (s.pages > m->budget_pages || !charge(mm, s.pages))
		return refuse(mm, VG_MEM_BUDGET, fault, -E2BIG);
	for (i = 0; i < s.pages; i++)
		mm->refs[i] = s.ref + i;
	err = xen_gnttab_map(mm->gt, m->domid, mm->refs, s.pages, prot, &base);
	if (err) {
		uncharge(mm, s.pages);
		return refuse(mm, VG_MEM_NOT_GRANTED, fault, err);
	}
	m->stats.maps++;
	m->stats.map_pages += s.pages;
	mm->pages->rings += s.pages;
	*va = (uint8_t *)base + s.offset_bytes;
	return 0;
}

static void unmap_ring(struct vg_mem *m, void *va, size_t len_bytes)
{
	struct mem_map *mm = to_map(m);
	size_t offset = (uintptr_t)va & (XEN_GRANT_PAGE_SIZE - 1);
	unsigned int pages = (unsigned int)
		((offset + len_bytes + XEN_GRANT_PAGE_SIZE - 1) >>
		 XEN_GRANT_PAGE_SHIFT);

	xen_gnttab_unmap(mm->gt, (uint8_t *)va - offset, pages);
	m->stats.unmaps++;
	mm->pages->rings -= pages;
	uncharge(mm, pages);
}

/* ---- requests ------------------------------------------------------------- */

static size_t class_bytes(unsigned int class)
{
	return (size_t)XEN_GRANT_PAGE_SIZE << class;
}

static bool buffer_get(struct mem_map *mm, struct vg_mem_req *r, size_t bytes)
{
	unsigned int class = 0;
	struct spare *s = NULL;
	void *b;

	while (class_bytes(class) < bytes)
		class++;
	if (class < CLASSES)
		s = mm->spares[class];
	if (s) {
		mm->spares[class] = s->next;
		mm->spare_bytes -= class_bytes(class);
		b = s;
	} else if (posix_memalign(&b, XEN_GRANT_PAGE_SIZE,
				  class_bytes(class))) {
		return false;
	}
	r->buffer = b;
	r->class = class;
	return true;
}

static void buffer_put(struct mem_map *mm, struct vg_mem_req *r)
{
	struct spare *s = (void *)r->buffer;
	size_t bytes = class_bytes(r->class);

	r->buffer = NULL;
	if (!s)
		return;
	if (r->class >= CLASSES || mm->spare_bytes + bytes > CACHE_BYTES) {
		free(s);
		return;
	}
	s->next = mm->spares[r->class];
	mm->spares[r->class] = s;
	mm->spare_bytes += bytes;
}

static struct vg_mem_req *req_get(struct mem_map *mm)
{
	struct vg_mem_req *r = mm->free_reqs;

	if (r)
		mm->free_reqs = r->next;
	else if (posix_memalign((void **)&r, _Alignof(struct vg_mem_req),
				sizeof(*r)))
		return NULL;
	else
		memset(r, 0, sizeof(*r));
	r->next = NULL;
	return r;
}

static void req_put(struct mem_map *mm, struct vg_mem_req *r)
{
	buffer_put(mm, r);
	uncharge(mm, r->charged_pages);
	r->charged_pages = 0;
	r->map = NULL;
	r->map_pages = 0;
	r->nr_outs = 0;
	r->next = mm->free_reqs;
	mm->free_reqs = r;
}

/* Where the next piece goes; the same for each walk over the segments. */
struct layout {
	size_t own_bytes, buffer_bytes;
};

/* *in_buffer: at that offset of the buffer, else of bounce_own. */
static size_t layout_next(struct layout *l, const struct vg_seg *seg,
			  bool *in_buffer)
{
	size_t len = seg->len_bytes, at;

	*in_buffer = len > SMALL_BYTES ||
		     l->own_bytes + len > BOUNCE_OWN_BYTES;
	if (!*in_buffer) {
		at = l->own_bytes;
		l->own_bytes += len;
		return at;
	}
	at = l->buffer_bytes;
	/* As far into a page as the guest has it; gaps are never shown. */
	at += (seg->addr - at) & (XEN_GRANT_PAGE_SIZE - 1);
	l->buffer_bytes = at + len;
	return at;
}

static uint8_t *layout_place(struct vg_mem_req *r, struct layout *l,
			     const struct vg_seg *seg)
{
	bool in_buffer;
	size_t at = layout_next(l, seg, &in_buffer);

	return in_buffer ? r->buffer + at : r->bounce_own + at;
}

/* How a request will be reached; made from its segments, nothing held yet. */
struct plan {
	bool maps[2];			/* [dev_writes] */
	uint64_t bytes[2], pages[2];
	unsigned int nr[2];
	uint64_t buffer_bytes, map_pages, copy_pages, charge_pages;
};

static int plan_make(struct mem_map *mm, const struct vg_seg *segs,
		     unsigned int nr_segs, struct plan *p,
		     enum vg_mem_fault *fault)
{
	struct layout l = { 0 };
	unsigned int i, dir;
	struct span s;
	bool ignored;
	int err;

	*p = (struct plan){ 0 };
	for (i = 0; i < nr_segs; i++) {
		err = span_of(mm, segs[i].addr, segs[i].len_bytes, &s, fault);
		if (err)
			return err;
		dir = segs[i].dev_writes;
		p->bytes[dir] += segs[i].len_bytes;
		p->pages[dir] += s.pages;
		p->nr[dir]++;
	}
	if (p->bytes[0] + p->bytes[1] > mm->copy_max_bytes)
		p->maps[p->bytes[1] > p->bytes[0]] = true;

	for (dir = 0; dir < 2; dir++) {
		if (p->maps[dir])
			p->map_pages += p->pages[dir];
		else
			p->copy_pages += p->pages[dir];
	}
	for (i = 0; i < nr_segs; i++)
		if (!p->maps[segs[i].dev_writes])
			layout_next(&l, &segs[i], &ignored);
	p->buffer_bytes = l.buffer_bytes;
	p->charge_pages = p->map_pages +
			  (p->buffer_bytes + XEN_GRANT_PAGE_SIZE - 1) /
			  XEN_GRANT_PAGE_SIZE;
	/*
	 * A page named often is counted often; so a chain of many tiny pieces
	 * can be refused although it would fit.  Its driver is no driver.
	 */
	if (p->charge_pages > mm->mem.budget_pages - mm->pages->rings ||
	    p->copy_pages > mm->mem.budget_pages)
		return refuse(mm, VG_MEM_BUDGET, fault, -E2BIG);
	return 0;
}

static int req_prepare(struct mem_map *mm, struct vg_mem_req *r,
		       const struct plan *p)
{
	/* First: nothing is allocated for a request that has to wait. */
	if (!charge(mm, (unsigned int)p->charge_pages)) {
		mm->mem.stats.waits++;
		return -EAGAIN;
	}
	r->charged_pages = (unsigned int)p->charge_pages;
	if (!p->maps[1] && p->nr[1] > r->outs_max) {
		struct copy_out *o = realloc(r->outs, p->nr[1] * sizeof(*o));

		if (!o)
			return -EAGAIN;
		r->outs = o;
		r->outs_max = p->nr[1];
	}
	if (p->buffer_bytes && !buffer_get(mm, r, p->buffer_bytes))
		return -EAGAIN;
	if (!copies_reserve(mm, (unsigned int)p->copy_pages))
		return -EAGAIN;
	return 0;
}

/* An entry for [base, base + len), in the one before if it continues that. */
struct iov_list {
	struct iovec *iov;
	unsigned int nr, max, first_of_dir;
};

static bool iov_add(struct iov_list *l, void *base, size_t len_bytes)
{
	if (l->nr > l->first_of_dir) {
		struct iovec *last = &l->iov[l->nr - 1];

		if ((uint8_t *)last->iov_base + last->iov_len == base) {
			last->iov_len += len_bytes;
			return true;
		}
	}
	if (l->nr == l->max)
		return false;
	l->iov[l->nr++] = (struct iovec){ base, len_bytes };
	return true;
}

/*
 * The segments of one mapped direction.  First pass (@base NULL): fills
 * mm->refs and returns the number of pages.  Second pass: fills the iov.
 * A segment that goes on in the page where the one before it ended shares
 * that page's mapping.
 */
static unsigned int map_walk(struct mem_map *mm, const struct vg_seg *segs,
			     unsigned int nr_segs, bool dir, uint8_t *base,
			     struct iov_list *l)
{
	unsigned int i, k, first, n = 0;
	enum vg_mem_fault ignored;
	struct span s = { 0 };

	for (i = 0; i < nr_segs; i++) {
		if (segs[i].dev_writes != dir)
			continue;
		/* Private memory, checked by plan_make(): can't fail now. */
		span_of(mm, segs[i].addr, segs[i].len_bytes, &s, &ignored);
		first = n && mm->refs[n - 1] == s.ref ? n - 1 : n;
		for (k = 0; k < s.pages; k++)
			mm->refs[first + k] = s.ref + k;
		n = first + s.pages;
		if (base && !iov_add(l, base + (size_t)first *
				     XEN_GRANT_PAGE_SIZE + s.offset_bytes,
				     segs[i].len_bytes))
			return 0;
	}
	return n;
}

static int req_map(struct mem_map *mm, struct vg_mem_req *r,
		   const struct vg_seg *segs, unsigned int nr_segs, bool dir,
		   enum vg_mem_fault *fault)
{
	unsigned int n = map_walk(mm, segs, nr_segs, dir, NULL, NULL);
	int err;

	err = xen_gnttab_map(mm->gt, mm->mem.domid, mm->refs, n,
			     dir ? PROT_READ | PROT_WRITE : PROT_READ,
			     &r->map);
	if (is_shortage(err))
		return -EAGAIN;
	if (err)
		return refuse(mm, VG_MEM_NOT_GRANTED, fault, -EFAULT);
	r->map_pages = n;
	mm->mem.stats.maps++;
	mm->mem.stats.map_pages += n;
	return 0;
}

/* Copies in what the device reads; remembers what goes out. */
static int req_bounce(struct mem_map *mm, struct vg_mem_req *r,
		      const struct vg_seg *segs, unsigned int nr_segs,
		      const struct plan *p, enum vg_mem_fault *fault)
{
	struct layout l = { 0 };
	unsigned int i, n = 0;
	struct span s;
	uint8_t *at;
	int err;

	for (i = 0; i < nr_segs; i++) {
		if (p->maps[segs[i].dev_writes])
			continue;
		at = layout_place(r, &l, &segs[i]);
		span_of(mm, segs[i].addr, segs[i].len_bytes, &s, fault);
		if (!segs[i].dev_writes) {
			n = copies_add(mm, n, &s, segs[i].len_bytes, at, false);
			continue;
		}
		/* Nothing of an earlier request may go out with this one. */
		memset(at, 0, segs[i].len_bytes);
		r->outs[r->nr_outs++] = (struct copy_out){
			s, segs[i].len_bytes, at
		};
	}
	if (!n)
		return 0;
	err = copies_run(mm, n);
	if (is_shortage(err))
		return -EAGAIN;
	return err ? refuse(mm, VG_MEM_NOT_GRANTED, fault, -EFAULT) : 0;
}

/* Entries for one direction that is copied. */
static bool bounce_walk(struct vg_mem_req *r, const struct vg_seg *segs,
			unsigned int nr_segs, const struct plan *p, bool dir,
			struct iov_list *l)
{
	struct layout lay = { 0 };
	unsigned int i;
	uint8_t *at;

	for (i = 0; i < nr_segs; i++) {
		if (p->maps[segs[i].dev_writes])
			continue;
		at = layout_place(r, &lay, &segs[i]);
		if (segs[i].dev_writes == dir &&
		    !iov_add(l, at, segs[i].len_bytes))
			return false;
	}
	return true;
}

static int map_req(struct vg_mem *m, const struct vg_seg *segs,
		   unsigned int nr_segs, struct iovec *iov,
		   unsigned int iov_max, unsigned int *nr_iov_out,
		   unsigned int *nr_iov, struct vg_mem_req **req,
		   enum vg_mem_fault *fault)
{
	struct iov_list l = { .iov = iov, .max = iov_max };
	struct mem_map *mm = to_map(m);
	struct vg_mem_req *r;
	struct plan p;
	unsigned int dir;
	int err;

	*fault = VG_MEM_OK;
	err = plan_make(mm, segs, nr_segs, &p, fault);
	if (err)
		return err;
	r = req_get(mm);
	if (!r)
		return -EAGAIN;
	err = req_prepare(mm, r, &p);
	if (err)
		goto put;
	err = req_bounce(mm, r, segs, nr_segs, &p, fault);
	if (err)
		goto put;
	if (p.map_pages) {
		err = req_map(mm, r, segs, nr_segs, p.maps[1], fault);
		if (err)
			goto put;
	}

	for (dir = 0; dir < 2; dir++) {
		bool ok;

		l.first_of_dir = l.nr;
		if (p.maps[dir])
			ok = map_walk(mm, segs, nr_segs, dir, r->map, &l);
		else
			ok = bounce_walk(r, segs, nr_segs, &p, dir, &l);
		if (!ok) {
			err = refuse(mm, VG_MEM_BAD_RANGE, fault, -E2BIG);
			goto unmap;
		}
		if (!dir)
			*nr_iov_out = l.nr;
	}
	*nr_iov = l.nr;
	*req = r;
	return 0;

unmap:
	if (r->map) {
		xen_gnttab_unmap(mm->gt, r->map, r->map_pages);
		m->stats.unmaps++;
	}
put:
	req_put(mm, r);
	return err;
}

static int unmap_req(struct vg_mem *m, struct vg_mem_req *r,
		     enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	unsigned int i, n = 0;
	int err = 0;

	*fault = VG_MEM_OK;
	if (r->map) {
		err = xen_gnttab_unmap(mm->gt, r->map, r->map_pages);
		m->stats.unmaps++;
	}
	for (i = 0; i < r->nr_outs; i++)
		n = copies_add(mm, n, &r->outs[i].at, r->outs[i].len_bytes,
			       r->outs[i].from, true);
	if (n && copies_run(mm, n))
		err = refuse(mm, VG_MEM_NOT_GRANTED, fault, -EFAULT);
	req_put(mm, r);
	return err;
}

static void map_destroy(struct vg_mem *m)
{
	struct mem_map *mm = to_map(m);
	unsigned int i;

	while (mm->free_reqs) {
		struct vg_mem_req *r = mm->free_reqs;

		mm->free_reqs = r->next;
		free(r->outs);
		free(r);
	}
	for (i = 0; i < CLASSES; i++) {
		while (mm->spares[i]) {
			struct spare *s = mm->spares[i];

			mm->spares[i] = s->next;
			free(s);
		}
	}
	free(mm->copies);
	free(mm->refs);
	free(mm);
}

static struct mem_map *map_new(struct xen_gnttab *gt, xen_domid_t domid,
			       unsigned int budget_pages,
			       uint32_t copy_max_bytes);

static struct vg_mem *map_view(struct vg_mem *m)
{
	struct mem_map *parent = to_map(m);
	struct mem_map *mm = map_new(parent->gt, m->domid, m->budget_pages,
				     parent->copy_max_bytes);

	mm->pages = parent->pages;
	return &mm->mem;
}

static const struct vg_mem_ops map_ops = {
	.name = "map",
	.map_ring = map_ring,
	.unmap_ring = unmap_ring,
	.read = map_read,
	.map_req = map_req,
	.unmap_req = unmap_req,
	.view = map_view,
	.destroy = map_destroy,
};

static struct mem_map *map_new(struct xen_gnttab *gt, xen_domid_t domid,
			       unsigned int budget_pages,
			       uint32_t copy_max_bytes)
{
	struct mem_map *mm = vg_zalloc(sizeof(*mm));

	mm->mem = (struct vg_mem){
		.ops = &map_ops,
		.domid = domid,
		.budget_pages = budget_pages,
	};
	mm->gt = gt;
	mm->copy_max_bytes = copy_max_bytes;
	mm->pages = &mm->own_pages;
	mm->refs = vg_calloc(budget_pages, sizeof(*mm->refs));
	return mm;
}

int vg_mem_map_create(struct xen_gnttab *gt, xen_domid_t domid,
		      unsigned int budget_pages, uint32_t copy_max_bytes,
		      struct vg_mem **out)
{
	if (!budget_pages)
		return -EINVAL;
	*out = &map_new(gt, domid, budget_pages, copy_max_bytes)->mem;
	return 0;
}
