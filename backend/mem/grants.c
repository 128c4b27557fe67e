// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * grants.c - guest memory by one batched map and one unmap per request, or by
 * one batched copy in and one out.
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
 * None of it is done request by request.  map_req() checks and finds room,
 * unmap_req() unmaps; what is to be copied or mapped is gathered until
 * exchange(): the copies of all requests, in and out, are one call, and so is
 * what the domain's mapper is asked.
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
#include "mem/grants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"

/* Bounce memory that every request has without asking the budget. */
#define BOUNCE_OWN_BYTES	1024u
/* What lies in it; larger pieces lie in a buffer. */
#define SMALL_BYTES		256u
/* Buffers have 4 KiB << class; what needs more is not kept. */
#define CLASSES			10u
/* Buffers that nobody uses at the moment, per view. */
#define CACHE_BYTES		(4u << 20)
/* So often a mapping is ended that nobody will come back for. */
#define UNMAP_TRIES		3u
/* Pages that one copy asks Xen about: see are_granted(). */
#define PROBES			64u

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

/* How a request will be reached; made from its segments, nothing held yet. */
struct plan {
	bool maps[2];			/* [dev_writes] */
	uint64_t bytes[2], pages[2];
	unsigned int nr[2];
	uint64_t buffer_bytes, map_pages, copy_pages, charge_pages;
};

struct vg_mem_req {
	struct vg_mem_req *next;	/* on the free list, ins or outs */
	void *map;
	unsigned int map_pages, charged_pages, copy_pages;
	uint8_t *own;			/* BOUNCE_OWN_BYTES */
	uint8_t *buffer;		/* NULL: own suffices */
	unsigned int class;		/* of buffer */
	struct copy_out *outs;
	unsigned int nr_outs, outs_max;
	/* until map_end() */
	struct plan plan;
	struct vg_seg *segs;
	unsigned int nr_segs, segs_max;
	/* the exchange: where it is in it, what came of it */
	bool is_new;			/* until map_end() */
	bool is_in, is_out;		/* on the list of ins, of outs */
	bool has_job;
	unsigned int first_copy, nr_copies, job;
	int err;
};

/* Requests in the order in which they came. */
struct req_list {
	struct vg_mem_req *first, **tail;
};

/*
 * Pages in use by a device, by all of its threads: atomic.  The last two change
 * only while no thread runs.
 */
struct pages {
	unsigned int now, max;
	unsigned int rings, ranges;
};

/* A buffer that nobody uses begins with this. */
struct spare {
	struct spare *next;
};

struct mem_map {
	struct vg_mem mem;
	struct xen_gnttab *gt;
	xen_domid_t domid;
	uint32_t copy_max_bytes;
	struct spare *spares[CLASSES];
	size_t spare_bytes;
	struct pages *pages; /* own_pages, or those it is a view of */
	struct pages own_pages;
	struct vg_mem_req *free_reqs;
	struct req_list ins, outs;	/* for the next exchange */
	unsigned int nr_live;		/* requests, and their copy_pages: */
	uint64_t live_copy_pages;
	/* scratch */
	xen_ref_t *refs;		/* [budget_pages] */
	struct xen_copy_seg *copies;	/* [copies_max] >= live_copy_pages */
	struct xen_map_job *jobs;	/* [jobs_max] >= nr_live */
	uint64_t copies_max;
	unsigned int jobs_max;
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

/*
 * What says that we, or Linux, are short of something, not that a grant lacks.
 */
static bool is_shortage(int err)
{
	return vg_error_passes(err) || err == -EBUSY;
}

/* ---- addresses ---------------------------------------------------------- */

static int span_of(struct mem_map *mm, uint64_t addr, uint64_t len_bytes,
		   struct span *s, enum vg_mem_fault *fault)
{
	uint64_t pages;

	if (!(addr & VIRTIO_GRANT_ADDR_FLAG))
		return refuse(mm, VG_MEM_NO_GRANT, fault, -EFAULT);
	s->ref = virtio_grant_addr_ref(addr);
	s->offset_bytes = virtio_grant_addr_offset(addr);
	pages = (s->offset_bytes + len_bytes + XEN_GRANT_PAGE_SIZE - 1) >>
		XEN_GRANT_PAGE_SHIFT;
	if (addr & VIRTIO_GRANT_ADDR_RESERVED || !len_bytes ||
	    s->ref + pages - 1 > UINT32_MAX)
		return refuse(mm, VG_MEM_BAD_RANGE, fault, -EFAULT);
	s->pages = (unsigned int)pages;
	return 0;
}

/* ---- pages in use ------------------------------------------------------- */

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

/* ---- copying ------------------------------------------------------------ */

static bool copies_reserve(struct mem_map *mm, uint64_t count)
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

static bool jobs_reserve(struct mem_map *mm, unsigned int count)
{
	struct xen_map_job *j;

	if (count <= mm->jobs_max)
		return true;
	j = realloc(mm->jobs, count * sizeof(*j));
	if (!j)
		return false;
	mm->jobs = j;
	mm->jobs_max = count;
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
			.status = XEN_COPY_NOT_TRIED,
		};
		mm->mem.stats.copied_bytes += piece;
		local += piece;
		len_bytes -= piece;
		offset = 0;
	}
	return n;
}

/*
 * What became of copies, whatever the call as a whole said.  0; -EFAULT: Xen
 * refused one; -EAGAIN: one was not even tried, for reasons of our own.
 */
static int copies_result(const struct xen_copy_seg *c, unsigned int nr)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < nr; i++) {
		if (c[i].status == XEN_COPY_NOT_TRIED)
			ret = -EAGAIN;
		else if (c[i].status)
			return -EFAULT;
	}
	return ret;
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
	if (!copies_reserve(mm, mm->live_copy_pages + s.pages))
		return -EAGAIN;
	n = copies_add(mm, 0, &s, len_bytes, buf, false);
	mm->mem.stats.copies++;
	mm->mem.stats.exchanges++;
	xen_gnttab_copy(mm->gt, mm->domid, mm->copies, n);
	err = copies_result(mm->copies, n);
	return err == -EFAULT ? refuse(mm, VG_MEM_NOT_GRANTED, fault, err) :
				err;
}

/* ---- mapping ------------------------------------------------------------ */

/*
 * gntdev says -EINVAL whatever Xen said: that a page is not granted, or that no
 * handle is left for one more mapping (maptrack), which is nobody's fault and
 * passes.  A copy wants no handle, so a byte of each page is copied.
 */
struct probe {
	struct xen_copy_seg copy[PROBES];
	unsigned int nr;
	uint8_t byte;
	bool is_refused;
};

static void probe_ask(struct mem_map *mm, struct probe *p)
{
	if (!p->nr)
		return;
	mm->mem.stats.copies++;
	mm->mem.stats.exchanges++;
	xen_gnttab_copy(mm->gt, mm->domid, p->copy, p->nr);
	p->is_refused |= copies_result(p->copy, p->nr) == -EFAULT;
	p->nr = 0;
}

static void probe_add(struct mem_map *mm, struct probe *p, xen_ref_t ref,
		      unsigned int offset_bytes, bool writes)
{
	p->copy[p->nr++] = (struct xen_copy_seg){
		.ref = ref, .offset = (uint16_t)offset_bytes, .len_bytes = 1,
		.to_foreign = writes, .local = &p->byte,
		.status = XEN_COPY_NOT_TRIED,
	};
	if (p->nr == PROBES)
		probe_ask(mm, p);
}

/* As far as can be read: what is there is not to be written to. */
static bool are_granted(struct mem_map *mm, const xen_ref_t *refs,
			unsigned int count)
{
	struct probe p = { .nr = 0 };
	unsigned int i;

	for (i = 0; i < count; i++)
		probe_add(mm, &p, refs[i], 0, false);
	probe_ask(mm, &p);
	return !p.is_refused;
}

int vg_map_pages(struct vg_mem *m, const xen_ref_t *refs, unsigned int count,
		 int prot, void **va)
{
	struct mem_map *mm = to_map(m);
	int err = xen_gnttab_map(mm->gt, mm->domid, refs, count, prot, va);

	m->stats.maps++;
	m->stats.exchanges++;
	if (!err)
		m->stats.map_pages += count;
	else if (is_shortage(err) ||
		 (err == -EINVAL && are_granted(mm, refs, count)))
		return -EAGAIN;
	return err;
}

int vg_map_unmap_pages(struct vg_mem *m, void *va, unsigned int count)
{
	struct mem_map *mm = to_map(m);
	unsigned int tries = UNMAP_TRIES;
	int err;

	do {
		err = xen_gnttab_unmap(mm->gt, va, count);
		m->stats.unmaps++;
	} while (err && --tries);
	return err;
}

bool vg_map_range_charge(struct vg_mem *m, unsigned int pages)
{
	struct mem_map *mm = to_map(m);

	if (!charge(mm, pages))
		return false;
	mm->pages->ranges += pages;
	return true;
}

void vg_map_range_uncharge(struct vg_mem *m, unsigned int pages)
{
	struct mem_map *mm = to_map(m);

	mm->pages->ranges -= pages;
	uncharge(mm, pages);
}

/* ---- rings -------------------------------------------------------------- */

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
	if (s.pages > m->budget_pages - mm->pages->rings)
		return refuse(mm, VG_MEM_BUDGET, fault, -E2BIG);
	if (!charge(mm, s.pages)) {
		m->wants_room = true;
		return -EAGAIN;
	}
	for (i = 0; i < s.pages; i++)
		mm->refs[i] = s.ref + i;
	err = vg_map_pages(m, mm->refs, s.pages, prot, &base);
	if (err) {
		uncharge(mm, s.pages);
		return err == -EAGAIN ? err :
		       refuse(mm, VG_MEM_NOT_GRANTED, fault, err);
	}
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

	/* What stays mapped counts on; its granter finds it in use. */
	if (vg_map_unmap_pages(m, (uint8_t *)va - offset, pages))
		return;
	mm->pages->rings -= pages;
	uncharge(mm, pages);
}

/* ---- requests ----------------------------------------------------------- */

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
	} else {
		b = xen_gnttab_buffer_get(class_bytes(class));
		if (!b)
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
		xen_gnttab_buffer_put(s, bytes);
		return;
	}
	s->next = mm->spares[r->class];
	mm->spares[r->class] = s;
	mm->spare_bytes += bytes;
}

static struct vg_mem_req *req_get(struct mem_map *mm)
{
	struct vg_mem_req *r = mm->free_reqs;

	if (r) {
		mm->free_reqs = r->next;
	} else {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		r->own = xen_gnttab_buffer_get(BOUNCE_OWN_BYTES);
		if (!r->own) {
			free(r);
			return NULL;
		}
	}
	r->next = NULL;
	mm->nr_live++;
	return r;
}

static void req_put(struct mem_map *mm, struct vg_mem_req *r)
{
	buffer_put(mm, r);
	uncharge(mm, r->charged_pages);
	mm->live_copy_pages -= r->copy_pages;
	mm->nr_live--;
	r->charged_pages = 0;
	r->copy_pages = 0;
	r->map = NULL;
	r->map_pages = 0;
	r->nr_outs = 0;
	r->next = mm->free_reqs;
	mm->free_reqs = r;
}

static void list_init(struct req_list *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

static void list_add(struct req_list *l, struct vg_mem_req *r)
{
	r->next = NULL;
	*l->tail = r;
	l->tail = &r->next;
}

/* Rare: see unmap_req(). */
static void list_del(struct req_list *l, struct vg_mem_req *r)
{
	struct vg_mem_req **p;

	for (p = &l->first; *p != r; p = &(*p)->next)
		;
	*p = r->next;
	if (!*p)
		l->tail = p;
}

/* Where the next piece goes; the same for each walk over the segments. */
struct layout {
	size_t own_bytes, buffer_bytes;
};

/* *in_buffer: at that offset of the buffer, else of the request's own. */
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

	return (in_buffer ? r->buffer : r->own) + at;
}

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
		       const struct vg_seg *segs, unsigned int nr_segs)
{
	const struct plan *p = &r->plan;

	/* First: nothing is allocated for a request that has to wait. */
	if (!charge(mm, (unsigned int)p->charge_pages)) {
		mm->mem.stats.waits++;
		mm->mem.wants_room = p->charge_pages + mm->pages->rings +
				     mm->pages->ranges > mm->mem.budget_pages;
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
	if (nr_segs > r->segs_max) {
		struct vg_seg *own = realloc(r->segs, nr_segs * sizeof(*own));

		if (!own)
			return -EAGAIN;
		r->segs = own;
		r->segs_max = nr_segs;
	}
	if (p->buffer_bytes && !buffer_get(mm, r, p->buffer_bytes))
		return -EAGAIN;
	/* Now, so that nothing can be missing when it is exchanged. */
	if (!copies_reserve(mm, mm->live_copy_pages + p->copy_pages) ||
	    !jobs_reserve(mm, mm->nr_live))
		return -EAGAIN;
	r->copy_pages = (unsigned int)p->copy_pages;
	mm->live_copy_pages += p->copy_pages;
	memcpy(r->segs, segs, nr_segs * sizeof(*segs));
	r->nr_segs = nr_segs;
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
 * The segments of the direction that is mapped.  First pass (@base NULL): fills
 * @refs and returns the number of pages.  Second pass: fills the iov, too.
 * A segment that goes on in the page where the one before it ended shares
 * that page's mapping.
 */
static unsigned int map_walk(struct mem_map *mm, const struct vg_mem_req *r,
			     bool dir, xen_ref_t *refs, uint8_t *base,
			     struct iov_list *l)
{
	unsigned int i, k, first, n = 0;
	enum vg_mem_fault ignored;
	struct span s = { 0 };

	for (i = 0; i < r->nr_segs; i++) {
		const struct vg_seg *seg = &r->segs[i];

		if (seg->dev_writes != dir)
			continue;
		/* Private memory, checked by plan_make(): can't fail now. */
		span_of(mm, seg->addr, seg->len_bytes, &s, &ignored);
		first = n && refs[n - 1] == s.ref ? n - 1 : n;
		for (k = 0; k < s.pages; k++)
			refs[first + k] = s.ref + k;
		n = first + s.pages;
		if (base && !iov_add(l, base + (size_t)first *
				     XEN_GRANT_PAGE_SIZE + s.offset_bytes,
				     seg->len_bytes))
			return 0;
	}
	return n;
}

/*
 * What the device reads, to be copied in, as copies from @n on; remembers what
 * goes out.  The number of copies then.
 */
static unsigned int bounce_in(struct mem_map *mm, struct vg_mem_req *r,
			      unsigned int n)
{
	enum vg_mem_fault ignored;
	struct layout l = { 0 };
	unsigned int i;
	struct span s;
	uint8_t *at;

	r->nr_outs = 0;
	for (i = 0; i < r->nr_segs; i++) {
		const struct vg_seg *seg = &r->segs[i];

		if (r->plan.maps[seg->dev_writes])
			continue;
		at = layout_place(r, &l, seg);
		span_of(mm, seg->addr, seg->len_bytes, &s, &ignored);
		if (!seg->dev_writes) {
			n = copies_add(mm, n, &s, seg->len_bytes, at, false);
			continue;
		}
		/* Nothing of an earlier request may go out with this one. */
		memset(at, 0, seg->len_bytes);
		r->outs[r->nr_outs++] = (struct copy_out){
			s, seg->len_bytes, at
		};
	}
	return n;
}

static unsigned int bounce_out(struct mem_map *mm, struct vg_mem_req *r,
			       unsigned int n)
{
	unsigned int i;

	for (i = 0; i < r->nr_outs; i++)
		n = copies_add(mm, n, &r->outs[i].at, r->outs[i].len_bytes,
			       r->outs[i].from, true);
	return n;
}

/* Entries for one direction that is copied. */
static bool bounce_walk(struct vg_mem_req *r, bool dir, struct iov_list *l)
{
	struct layout lay = { 0 };
	unsigned int i;
	uint8_t *at;

	for (i = 0; i < r->nr_segs; i++) {
		const struct vg_seg *seg = &r->segs[i];

		if (r->plan.maps[seg->dev_writes])
			continue;
		at = layout_place(r, &lay, seg);
		if (seg->dev_writes == dir && !iov_add(l, at, seg->len_bytes))
			return false;
	}
	return true;
}

static int map_req(struct vg_mem *m, const struct vg_seg *segs,
		   unsigned int nr_segs, struct vg_mem_bufs *bufs,
		   struct vg_mem_req **req, enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	struct vg_mem_req *r;
	struct plan p;
	int err;

	(void)bufs;		/* it is map_end() that fills them */
	*fault = VG_MEM_OK;
	err = plan_make(mm, segs, nr_segs, &p, fault);
	if (err)
		return err;
	r = req_get(mm);
	if (!r)
		return -EAGAIN;
	r->plan = p;
	err = req_prepare(mm, r, segs, nr_segs);
	if (err) {
		req_put(mm, r);
		return err;
	}
	list_add(&mm->ins, r);
	r->is_new = r->is_in = true;
	*req = r;
	return VG_MEM_LATER;
}

static int req_unmap(struct mem_map *mm, struct vg_mem_req *r)
{
	int err;

	if (!r->map)
		return 0;
	err = xen_gnttab_unmap(mm->gt, r->map, r->map_pages);
	mm->mem.stats.unmaps++;
	if (!err)
		r->map = NULL;
	return err;
}

/* Its end, whatever state it is in. */
static void req_drop(struct mem_map *mm, struct vg_mem_req *r)
{
	/* As with a ring: what stays mapped counts on. */
	if (r->map && vg_map_unmap_pages(&mm->mem, r->map, r->map_pages))
		r->charged_pages -= r->map_pages;
	if (r->is_in)
		list_del(&mm->ins, r);
	if (r->is_out)
		list_del(&mm->outs, r);
	r->is_in = r->is_out = false;
	req_put(mm, r);
}

static int unmap_req(struct vg_mem *m, struct vg_mem_req *r,
		     enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);

	*fault = VG_MEM_OK;
	/* Nobody has seen one that is new: there is nothing to go out. */
	if (!r->is_new && !r->is_out && (req_unmap(mm, r) || r->nr_outs)) {
		r->is_out = true;
		list_add(&mm->outs, r);
		return VG_MEM_LATER;
	}
	req_drop(mm, r);
	return 0;
}

/* ---- the exchange ------------------------------------------------------- */

/*
 * As are_granted(), of the buffers that @r wants mapped.  Those that the device
 * writes are its to write to at any time until they are used.
 */
static bool is_granted(struct mem_map *mm, const struct vg_mem_req *r)
{
	struct probe p = { .nr = 0 };
	enum vg_mem_fault ignored;
	struct span s = { 0 };
	unsigned int i, k;

	for (i = 0; i < r->nr_segs; i++) {
		const struct vg_seg *seg = &r->segs[i];

		if (!r->plan.maps[seg->dev_writes])
			continue;
		span_of(mm, seg->addr, seg->len_bytes, &s, &ignored);
		for (k = 0; k < s.pages; k++)
			probe_add(mm, &p, s.ref + k, k ? 0 : s.offset_bytes,
				  seg->dev_writes);
	}
	probe_ask(mm, &p);
	return !p.is_refused;
}

/* 0, -EAGAIN or -EFAULT, of what a request wanted mapped. */
static int job_result(struct mem_map *mm, struct vg_mem_req *r)
{
	const struct xen_map_job *job = &mm->jobs[r->job];

	if (!r->has_job)
		return 0;
	if (job->err)
		return is_shortage(job->err) ||
		       (job->err == -EINVAL && is_granted(mm, r)) ? -EAGAIN :
								    -EFAULT;
	r->map = job->addr;
	r->map_pages = job->count;
	mm->mem.stats.maps++;
	mm->mem.stats.map_pages += job->count;
	return 0;
}

/* What became of a request's copies: 0 also where none was ever made. */
static int req_copies_result(const struct mem_map *mm,
			     const struct vg_mem_req *r)
{
	return r->nr_copies ?
		       copies_result(mm->copies + r->first_copy, r->nr_copies) :
		       0;
}

/* What is mapped stays so while the rest is tried again. */
static void in_result(struct mem_map *mm, struct vg_mem_req *r)
{
	int copied = req_copies_result(mm, r);
	int mapped = job_result(mm, r);

	r->err = copied == -EFAULT || !mapped ? copied : mapped;
	r->is_in = r->err == -EAGAIN;
	if (r->is_in)
		list_add(&mm->ins, r);
}

static void out_result(struct mem_map *mm, struct vg_mem_req *r)
{
	int copied = req_copies_result(mm, r);

	/* It may be that it was copied, and could not be unmapped. */
	if (copied)
		r->err = copied;
	r->is_out = r->err == -EAGAIN;
	if (r->is_out)
		list_add(&mm->outs, r);
}

static void map_exchange(struct vg_mem *m)
{
	struct mem_map *mm = to_map(m);
	struct vg_mem_req *r, *next, *outs = mm->outs.first;
	struct vg_mem_req *ins = mm->ins.first;
	unsigned int nr_refs = 0, nr_jobs = 0, n = 0;

	if (!outs && !ins)
		return;
	list_init(&mm->outs);
	list_init(&mm->ins);
	for (r = outs; r; r = r->next) {
		r->err = req_unmap(mm, r) ? -EAGAIN : 0;
		r->first_copy = n;
		n = bounce_out(mm, r, n);
		r->nr_copies = n - r->first_copy;
	}
	for (r = ins; r; r = r->next) {
		bool dir = r->plan.maps[1];

		r->first_copy = n;
		n = bounce_in(mm, r, n);
		r->nr_copies = n - r->first_copy;
		r->job = nr_jobs;
		r->has_job = r->plan.map_pages && !r->map;
		if (!r->has_job)
			continue;
		mm->jobs[nr_jobs] = (struct xen_map_job){
			.refs = mm->refs + nr_refs,
			.prot = dir ? PROT_READ | PROT_WRITE : PROT_READ,
		};
		/* They are charged, so there is room. */
		nr_refs += mm->jobs[nr_jobs++].count =
			map_walk(mm, r, dir, mm->refs + nr_refs, NULL, NULL);
	}
	if (n)
		m->stats.copies++;
	m->stats.exchanges++;
	/* Each copy and each job says itself what became of it. */
	xen_gnttab_exchange(mm->gt, mm->domid, mm->copies, n, mm->jobs,
			    nr_jobs);
	for (r = outs; r; r = next) {
		next = r->next;
		out_result(mm, r);
	}
	for (r = ins; r; r = next) {
		next = r->next;
		in_result(mm, r);
	}
}

static int map_end(struct vg_mem *m, struct vg_mem_req *r,
		   struct vg_mem_bufs *bufs, enum vg_mem_fault *fault)
{
	struct iov_list l = { .iov = bufs->iov, .max = bufs->max };
	struct mem_map *mm = to_map(m);
	unsigned int dir;
	bool ok = true;
	int err;

	*fault = VG_MEM_OK;
	if (r->is_in)
		return -EAGAIN;
	if (r->err) {
		req_drop(mm, r);
		return refuse(mm, VG_MEM_NOT_GRANTED, fault, -EFAULT);
	}
	for (dir = 0; ok && dir < 2; dir++) {
		l.first_of_dir = l.nr;
		if (r->plan.maps[dir])
			ok = map_walk(mm, r, dir, mm->refs, r->map, &l);
		else
			ok = bounce_walk(r, dir, &l);
		if (!dir)
			bufs->nr_out = l.nr;
	}
	bufs->nr = l.nr;
	r->is_new = false;
	if (ok)
		return 0;
	err = refuse(mm, VG_MEM_BAD_RANGE, fault, -E2BIG);
	req_drop(mm, r);
	return err;
}

static int unmap_end(struct vg_mem *m, struct vg_mem_req *r,
		     enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	int err = r->err;

	*fault = VG_MEM_OK;
	if (r->is_out)
		return -EAGAIN;
	if (err)
		refuse(mm, VG_MEM_NOT_GRANTED, fault, err);
	req_drop(mm, r);
	return err;
}

/* Not of the guest, but what is copied lies there: I/O goes to it. */
static void map_areas(struct vg_mem *m, struct iovec areas[VG_MEM_RANGES_MAX])
{
	(void)m;
	memset(areas, 0, VG_MEM_RANGES_MAX * sizeof(*areas));
	areas[0].iov_base = xen_gnttab_buffer_area(&areas[0].iov_len);
}

static void map_destroy(struct vg_mem *m)
{
	struct mem_map *mm = to_map(m);
	unsigned int i;

	while (mm->free_reqs) {
		struct vg_mem_req *r = mm->free_reqs;

		mm->free_reqs = r->next;
		xen_gnttab_buffer_put(r->own, BOUNCE_OWN_BYTES);
		free(r->outs);
		free(r->segs);
		free(r);
	}
	for (i = 0; i < CLASSES; i++) {
		while (mm->spares[i]) {
			struct spare *s = mm->spares[i];

			mm->spares[i] = s->next;
			xen_gnttab_buffer_put(s, class_bytes(i));
		}
	}
	free(mm->copies);
	free(mm->jobs);
	free(mm->refs);
	free(mm);
}

static struct mem_map *map_new(struct xen_gnttab *gt, xen_domid_t domid,
			       unsigned int budget_pages,
			       uint32_t copy_max_bytes);

static struct vg_mem *map_view(struct vg_mem *m)
{
	struct mem_map *parent = to_map(m);
	struct mem_map *mm = map_new(parent->gt, parent->domid, m->budget_pages,
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
	.exchange = map_exchange,
	.map_end = map_end,
	.unmap_end = unmap_end,
	.areas = map_areas,
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
		.budget_pages = budget_pages,
	};
	mm->gt = gt;
	mm->domid = domid;
	mm->copy_max_bytes = copy_max_bytes;
	mm->pages = &mm->own_pages;
	mm->refs = vg_calloc(budget_pages, sizeof(*mm->refs));
	list_init(&mm->ins);
	list_init(&mm->outs);
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
