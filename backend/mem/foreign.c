// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mem/foreign.c - guest memory by foreign mapping, so that the comparison
 * compares memory access and nothing else: the rest of virtio-foreignd is
 * virtio-grantd.  Addresses are guest-physical.
 *
 *	foreign-dynamic	one map and one unmap per request
 *	foreign-static	the whole guest mapped once; an address costs a
 *			comparison and an addition
 *
 * Not trusted: the guest, whose addresses are arbitrary.  It may also take
 * away pages (balloon) that are mapped here; this process then dies by
 * SIGBUS.  That is what foreign mapping is like, and why it is not installed.
 */
#include "mem/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "xen/foreign.h"

/* What an address can be: 48 bits, no grant. */
#define ADDR_MAX	(UINT64_C(1) << 48)

struct span {
	uint64_t gfn;			/* of the first page */
	unsigned int offset_bytes;	/* in it */
	unsigned int pages;
};

struct vg_mem_req {
	struct vg_mem_req *next;	/* on the free list */
	void *map;
	unsigned int pages;
};

struct mem_foreign {
	struct vg_mem mem;
	xen_domid_t domid;
	struct xen_foreign *xf;		/* NULL: not opened yet */
	struct vg_mem_req *free_reqs;
	uint64_t *gfns;			/* scratch: [budget_pages] */
	bool is_static;
	uint8_t *all;			/* the guest, if static */
	unsigned int all_pages;
	struct mem_foreign *parent;	/* whose view this is, or NULL */
};

static struct mem_foreign *to_foreign(struct vg_mem *m)
{
	return container_of(m, struct mem_foreign, mem);
}

static int refuse(struct mem_foreign *mf, enum vg_mem_fault why,
		  enum vg_mem_fault *fault, int err)
{
	mf->mem.stats.faults[why]++;
	*fault = why;
	return err;
}

static int span_of(struct mem_foreign *mf, uint64_t addr, uint64_t len_bytes,
		   struct span *s, enum vg_mem_fault *fault)
{
	if (addr >= ADDR_MAX || !len_bytes || len_bytes > ADDR_MAX - addr)
		return refuse(mf, VG_MEM_BAD_RANGE, fault, -EFAULT);
	s->gfn = addr >> XEN_GRANT_PAGE_SHIFT;
	s->offset_bytes = addr & (XEN_GRANT_PAGE_SIZE - 1);
	s->pages = (unsigned int)((s->offset_bytes + len_bytes +
				   XEN_GRANT_PAGE_SIZE - 1) >>
				  XEN_GRANT_PAGE_SHIFT);
	return 0;
}

/* ---- mapping ------------------------------------------------------------ */

static void account(struct mem_foreign *mf, unsigned int pages)
{
	struct vg_mem_stats *st = &mf->mem.stats;

	st->maps++;
	st->map_pages += pages;
	st->mapped_pages_now += pages;
	st->mapped_pages_max = max_u(st->mapped_pages_max,
				     st->mapped_pages_now);
}

static int map_pages(struct mem_foreign *mf, unsigned int pages, void **va)
{
	int err = xen_foreign_map(mf->xf, mf->domid, mf->gfns, pages, va);

	if (!err)
		account(mf, pages);
	return err;
}

static void unmap_pages(struct mem_foreign *mf, void *va, unsigned int pages)
{
	xen_foreign_unmap(mf->xf, va, pages);
	mf->mem.stats.unmaps++;
	mf->mem.stats.mapped_pages_now -= pages;
}

/* The guest exists and is ours to map by now, or never will be. */
static int start(struct mem_foreign *mf)
{
	void *va;
	int err;

	if (mf->is_static && mf->parent) {
		err = start(mf->parent);
		mf->all = mf->parent->all;
		mf->all_pages = mf->parent->all_pages;
		return err;
	}
	if (!mf->xf) {
		err = xen_foreign_open(&mf->xf);
		if (err)
			return err;
	}
	if (!mf->is_static || mf->all)
		return 0;
	err = xen_foreign_map_all(mf->xf, mf->domid, XEN_GUEST_RAM0_BASE >>
				  XEN_GRANT_PAGE_SHIFT, &va, &mf->all_pages);
	if (err)
		return err;
	mf->all = va;
	account(mf, mf->all_pages);
	return 0;
}

/* Where it is in the map of the whole guest, or NULL. */
static uint8_t *resolve(const struct mem_foreign *mf, uint64_t addr,
			uint64_t len_bytes)
{
	uint64_t at = addr - XEN_GUEST_RAM0_BASE; /* may wrap: too large */
	uint64_t bytes = (uint64_t)mf->all_pages << XEN_GRANT_PAGE_SHIFT;

	if (at >= bytes || len_bytes > bytes - at)
		return NULL;
	return mf->all + at;
}

/* ---- rings and tables --------------------------------------------------- */

static int map_span(struct mem_foreign *mf, uint64_t addr, size_t len_bytes,
		    void **base, struct span *s, enum vg_mem_fault *fault)
{
	unsigned int i;
	int err;

	err = span_of(mf, addr, len_bytes, s, fault);
	if (err)
		return err;
	if (s->pages > mf->mem.budget_pages)
		return refuse(mf, VG_MEM_BUDGET, fault, -E2BIG);
	for (i = 0; i < s->pages; i++)
		mf->gfns[i] = s->gfn + i;
	err = map_pages(mf, s->pages, base);
	return err ? refuse(mf, VG_MEM_NOT_GRANTED, fault, err) : 0;
}

static int foreign_map_ring(struct vg_mem *m, uint64_t addr, size_t len_bytes,
			    int prot, void **va, enum vg_mem_fault *fault)
{
	struct mem_foreign *mf = to_foreign(m);
	struct span s;
	void *base;
	int err;

	(void)prot;
	err = start(mf);
	if (err)
		return refuse(mf, VG_MEM_NOT_GRANTED, fault, err);
	if (mf->is_static) {
		*va = resolve(mf, addr, len_bytes);
		return *va ? 0 : refuse(mf, VG_MEM_BAD_RANGE, fault, -EFAULT);
	}
	err = map_span(mf, addr, len_bytes, &base, &s, fault);
	if (!err)
		*va = (uint8_t *)base + s.offset_bytes;
	return err;
}

static void foreign_unmap_ring(struct vg_mem *m, void *va, size_t len_bytes)
{
	size_t offset = (uintptr_t)va & (XEN_GRANT_PAGE_SIZE - 1);
	struct mem_foreign *mf = to_foreign(m);

	if (mf->is_static)
		return;
	unmap_pages(mf, (uint8_t *)va - offset, (unsigned int)
		    ((offset + len_bytes + XEN_GRANT_PAGE_SIZE - 1) >>
		     XEN_GRANT_PAGE_SHIFT));
}

static int foreign_read(struct vg_mem *m, uint64_t addr, void *buf,
			size_t len_bytes, enum vg_mem_fault *fault)
{
	struct mem_foreign *mf = to_foreign(m);
	struct span s;
	void *base;
	int err;

	if (mf->is_static) {
		base = resolve(mf, addr, len_bytes);
		if (!base)
			return refuse(mf, VG_MEM_BAD_RANGE, fault, -EFAULT);
		memcpy(buf, base, len_bytes);
		return 0;
	}
	err = map_span(mf, addr, len_bytes, &base, &s, fault);
	if (err)
		return err;
	memcpy(buf, (uint8_t *)base + s.offset_bytes, len_bytes);
	unmap_pages(mf, base, s.pages);
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

static struct vg_mem_req *req_get(struct mem_foreign *mf)
{
	struct vg_mem_req *r = mf->free_reqs;

	if (r)
		mf->free_reqs = r->next;
	else
		r = malloc(sizeof(*r));
	if (r)
		*r = (struct vg_mem_req){ 0 };
	return r;
}

static void req_put(struct mem_foreign *mf, struct vg_mem_req *r)
{
	r->next = mf->free_reqs;
	mf->free_reqs = r;
}

struct iov_list {
	struct iovec *iov;
	unsigned int nr, max, nr_out;
	bool last_dir;
};

/* An entry for a segment, in the one before if it continues that. */
static bool iov_add(struct iov_list *l, uint8_t *va, const struct vg_seg *seg)
{
	struct iovec *last = l->nr ? &l->iov[l->nr - 1] : NULL;

	if (last && l->last_dir == seg->dev_writes &&
	    (uint8_t *)last->iov_base + last->iov_len == va) {
		last->iov_len += seg->len_bytes;
		return true;
	}
	if (l->nr == l->max)
		return false;
	l->iov[l->nr++] = (struct iovec){ va, seg->len_bytes };
	l->last_dir = seg->dev_writes;
	if (!seg->dev_writes)
		l->nr_out = l->nr;
	return true;
}

static int lay_static(struct mem_foreign *mf, const struct vg_seg *segs,
		      unsigned int nr_segs, struct iov_list *l,
		      enum vg_mem_fault *fault)
{
	unsigned int i;
	uint8_t *va;

	for (i = 0; i < nr_segs; i++) {
		va = resolve(mf, segs[i].addr, segs[i].len_bytes);
		if (!va || !iov_add(l, va, &segs[i]))
			return refuse(mf, VG_MEM_BAD_RANGE, fault, -EFAULT);
	}
	return 0;
}

/* Fills mf->gfns: a page that the segment before ended in, once. */
static int gather(struct mem_foreign *mf, const struct vg_seg *segs,
		  unsigned int nr_segs, unsigned int *pages,
		  enum vg_mem_fault *fault)
{
	unsigned int i, k, first, n = 0;
	struct span s;
	int err;

	for (i = 0; i < nr_segs; i++) {
		err = span_of(mf, segs[i].addr, segs[i].len_bytes, &s, fault);
		if (err)
			return err;
		first = n && mf->gfns[n - 1] == s.gfn ? n - 1 : n;
		if (s.pages > mf->mem.budget_pages - first)
			return refuse(mf, VG_MEM_BUDGET, fault, -E2BIG);
		for (k = 0; k < s.pages; k++)
			mf->gfns[first + k] = s.gfn + k;
		n = first + s.pages;
	}
	*pages = n;
	return 0;
}

static int lay_dynamic(struct mem_foreign *mf, struct vg_mem_req *r,
		       const struct vg_seg *segs, unsigned int nr_segs,
		       struct iov_list *l, enum vg_mem_fault *fault)
{
	unsigned int i, first, n = 0;
	struct span s = { 0 };
	int err;

	err = gather(mf, segs, nr_segs, &r->pages, fault);
	if (err)
		return err;
	if (r->pages > mf->mem.budget_pages - mf->mem.stats.mapped_pages_now) {
		mf->mem.stats.waits++;
		return -EAGAIN;
	}
	err = map_pages(mf, r->pages, &r->map);
	if (err == -ENOMEM || err == -EAGAIN || err == -EINTR)
		return -EAGAIN;
	if (err)
		return refuse(mf, VG_MEM_NOT_GRANTED, fault, -EFAULT);
	for (i = 0; i < nr_segs; i++) {
		span_of(mf, segs[i].addr, segs[i].len_bytes, &s, fault);
		first = n && mf->gfns[n - 1] == s.gfn ? n - 1 : n;
		n = first + s.pages;
		if (iov_add(l, (uint8_t *)r->map + s.offset_bytes +
			    ((size_t)first << XEN_GRANT_PAGE_SHIFT), &segs[i]))
			continue;
		unmap_pages(mf, r->map, r->pages);
		return refuse(mf, VG_MEM_BAD_RANGE, fault, -E2BIG);
	}
	return 0;
}

static int foreign_map_req(struct vg_mem *m, const struct vg_seg *segs,
			   unsigned int nr_segs, struct vg_mem_bufs *bufs,
			   struct vg_mem_req **req, enum vg_mem_fault *fault)
{
	struct iov_list l = { .iov = bufs->iov, .max = bufs->max };
	struct mem_foreign *mf = to_foreign(m);
	struct vg_mem_req *r = req_get(mf);
	int err;

	*fault = VG_MEM_OK;
	if (!r)
		return -EAGAIN;
	err = mf->is_static ?
	      lay_static(mf, segs, nr_segs, &l, fault) :
	      lay_dynamic(mf, r, segs, nr_segs, &l, fault);
	if (err) {
		req_put(mf, r);
		return err;
	}
	bufs->nr_out = l.nr_out;
	bufs->nr = l.nr;
	*req = r;
	return 0;
}

static int foreign_unmap_req(struct vg_mem *m, struct vg_mem_req *r,
			     enum vg_mem_fault *fault)
{
	struct mem_foreign *mf = to_foreign(m);

	*fault = VG_MEM_OK;
	if (!mf->is_static)
		unmap_pages(mf, r->map, r->pages);
	req_put(mf, r);
	return 0;
}

static void foreign_destroy(struct vg_mem *m)
{
	struct mem_foreign *mf = to_foreign(m);

	while (mf->free_reqs) {
		struct vg_mem_req *r = mf->free_reqs;

		mf->free_reqs = r->next;
		free(r);
	}
	if (mf->all && !mf->parent)
		xen_foreign_unmap_all(mf->xf, mf->all, mf->all_pages);
	xen_foreign_close(mf->xf);
	free(mf->gfns);
	free(mf);
}

/* The budget is each view's own: this is for the comparison only. */
static struct vg_mem *foreign_view(struct vg_mem *m)
{
	struct mem_foreign *mf = to_foreign(m);
	struct vg_mem *view;

	vg_mem_foreign_create(mf->domid, m->budget_pages, mf->is_static, &view);
	to_foreign(view)->parent = mf;
	return view;
}

#define FOREIGN_OPS(name_)				\
	{						\
		.name = name_,				\
		.map_ring = foreign_map_ring,		\
		.unmap_ring = foreign_unmap_ring,	\
		.read = foreign_read,			\
		.map_req = foreign_map_req,		\
		.unmap_req = foreign_unmap_req,		\
		.view = foreign_view,			\
		.destroy = foreign_destroy,		\
	}

static const struct vg_mem_ops ops_dynamic = FOREIGN_OPS("foreign-dynamic");
static const struct vg_mem_ops ops_static = FOREIGN_OPS("foreign-static");

int vg_mem_foreign_create(xen_domid_t domid, unsigned int budget_pages,
			  bool is_static, struct vg_mem **out)
{
	struct mem_foreign *mf;

	if (!budget_pages)
		return -EINVAL;
	mf = vg_zalloc(sizeof(*mf));
	mf->mem = (struct vg_mem){
		.ops = is_static ? &ops_static : &ops_dynamic,
		.budget_pages = budget_pages,
	};
	mf->domid = domid;
	mf->is_static = is_static;
	mf->gfns = vg_calloc(budget_pages, sizeof(*mf->gfns));
	*out = &mf->mem;
	return 0;
}
