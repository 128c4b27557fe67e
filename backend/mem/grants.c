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
 * Which piece of private memory stands for which buffer is bounce.c's, what a
 * copy is page by page, and what Xen said to it, copies.c's.
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
#include "mem/bounce.h"
#include "mem/copies.h"

/* So often a mapping is ended that nobody will come back for. */
#define UNMAP_TRIES		3u

/* A checked address. */
struct span {
	xen_ref_t ref;			/* of the first page */
	unsigned int offset_bytes;	/* in it */
	unsigned int pages;
};

/* How a request will be reached; made from its segments, nothing held yet. */
struct plan {
	bool is_copied[2];		/* [dev_writes]; else mapped */
	uint64_t bytes[2], pages[2];
	uint64_t bounce_bytes, map_pages, copy_pages, charge_pages;
};

struct vg_mem_req {
	struct vg_mem_req *next;	/* on the free list, ins or outs */
	struct plan plan;
	void *map;
	unsigned int map_pages, charged_pages, copy_pages;
	struct vg_bounce bounce;	/* what is copied */
	/* until map_end() */
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

struct mem_map {
	struct vg_mem mem;
	struct xen_gnttab *gt;
	xen_domid_t domid;
	uint32_t copy_max_bytes;
	struct vg_bounce_cache cache;
	struct pages *pages; /* own_pages, or those it is a view of */
	struct pages own_pages;
	struct vg_mem_req *free_reqs;
	struct req_list ins, outs;	/* for the next exchange */
	unsigned int nr_live;		/* requests, and their copy_pages: */
	uint64_t live_copy_pages;
	/* scratch */
	xen_ref_t *refs;		/* [budget_pages] */
	struct vg_copies copies;	/* room for live_copy_pages */
	struct xen_map_job *jobs;	/* [jobs_max] >= nr_live */
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

/* ---- mapping ------------------------------------------------------------ */

/*
 * gntdev says -EINVAL whatever Xen said: that a page is not granted, or that no
 * handle is left for one more mapping (maptrack), which is nobody's fault and
 * passes.  A copy wants no handle, so a byte of each page is copied: as far as
 * can be read, since what is there is not to be written to.
 */
static bool are_granted(const struct mem_map *mm, const xen_ref_t *refs,
			unsigned int count)
{
	struct vg_probe p;
	unsigned int i;

	vg_probe_init(&p, &mm->copies);
	for (i = 0; i < count; i++)
		vg_probe_page(&p, virtio_grant_addr(refs[i], 0), false);
	return vg_probe_end(&p);
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

static int map_read(struct vg_mem *m, uint64_t addr, void *buf,
		    size_t len_bytes, enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);
	struct span s;
	int err;

	err = span_of(mm, addr, len_bytes, &s, fault);
	if (err)
		return err;
	err = vg_copies_reserve(&mm->copies, mm->live_copy_pages + s.pages);
	if (err)
		return err;
	mm->copies.nr = 0;
	vg_copies_add(&mm->copies, addr, len_bytes, buf, false);
	err = vg_copies_make(&mm->copies);
	return err == -EFAULT ? refuse(mm, VG_MEM_NOT_GRANTED, fault, err) :
				err;
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

static struct vg_mem_req *req_get(struct mem_map *mm)
{
	struct vg_mem_req *r = mm->free_reqs;

	if (r) {
		mm->free_reqs = r->next;
	} else {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		if (vg_bounce_init(&r->bounce, &mm->cache)) {
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
	vg_bounce_put(&r->bounce, &mm->cache);
	uncharge(mm, r->charged_pages);
	mm->live_copy_pages -= r->copy_pages;
	mm->nr_live--;
	r->charged_pages = 0;
	r->copy_pages = 0;
	r->map = NULL;
	r->map_pages = 0;
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

static int plan_make(struct mem_map *mm, const struct vg_seg *segs,
		     unsigned int nr_segs, struct plan *p,
		     enum vg_mem_fault *fault)
{
	unsigned int i, dir;
	struct span s;
	int err;

	*p = (struct plan){ .is_copied = { true, true } };
	for (i = 0; i < nr_segs; i++) {
		err = span_of(mm, segs[i].addr, segs[i].len_bytes, &s, fault);
		if (err)
			return err;
		dir = segs[i].dev_writes;
		p->bytes[dir] += segs[i].len_bytes;
		p->pages[dir] += s.pages;
	}
	if (p->bytes[0] + p->bytes[1] > mm->copy_max_bytes)
		p->is_copied[p->bytes[1] > p->bytes[0]] = false;

	for (dir = 0; dir < 2; dir++) {
		if (p->is_copied[dir])
			p->copy_pages += p->pages[dir];
		else
			p->map_pages += p->pages[dir];
	}
	p->bounce_bytes = vg_bounce_bytes(segs, nr_segs, p->is_copied);
	p->charge_pages = p->map_pages +
			  (p->bounce_bytes + XEN_GRANT_PAGE_SIZE - 1) /
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
	if (nr_segs > r->segs_max) {
		struct vg_seg *own = realloc(r->segs, nr_segs * sizeof(*own));

		if (!own)
			return -EAGAIN;
		r->segs = own;
		r->segs_max = nr_segs;
	}
	/* Now, so that nothing can be missing when it is exchanged. */
	if (vg_copies_reserve(&mm->copies,
			      mm->live_copy_pages + p->copy_pages) ||
	    !jobs_reserve(mm, mm->nr_live) ||
	    vg_bounce_get(&r->bounce, &mm->cache, segs, nr_segs, p->is_copied,
			  p->bounce_bytes))
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
 * To be copied: what the device reads comes in, or what it wrote goes out.
 * Where they are among the copies is the request's to know.
 */
static void bounce_copy(struct mem_map *mm, struct vg_mem_req *r, bool out)
{
	const struct vg_bounce_piece *p = r->bounce.pieces;
	const struct vg_bounce_piece *end = p + r->bounce.nr_pieces;

	r->first_copy = mm->copies.nr;
	for (; p < end; p++)
		if (p->seg.dev_writes == out)
			vg_copies_add(&mm->copies, p->seg.addr,
				      p->seg.len_bytes, p->at, out);
	r->nr_copies = mm->copies.nr - r->first_copy;
}

/* Entries for one direction that is copied. */
static bool bounce_walk(const struct vg_mem_req *r, bool dir,
			struct iov_list *l)
{
	const struct vg_bounce_piece *p = r->bounce.pieces;
	const struct vg_bounce_piece *end = p + r->bounce.nr_pieces;

	for (; p < end; p++)
		if (p->seg.dev_writes == dir &&
		    !iov_add(l, p->at, p->seg.len_bytes))
			return false;
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

/* What the device may have written lies here, and not yet in the guest. */
static bool goes_out(const struct vg_mem_req *r)
{
	return r->plan.is_copied[1] && r->plan.bytes[1];
}

static int unmap_req(struct vg_mem *m, struct vg_mem_req *r,
		     enum vg_mem_fault *fault)
{
	struct mem_map *mm = to_map(m);

	*fault = VG_MEM_OK;
	/* Nobody has seen one that is new: there is nothing to go out. */
	if (!r->is_new && !r->is_out && (req_unmap(mm, r) || goes_out(r))) {
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
	enum vg_mem_fault ignored;
	struct span s = { 0 };
	struct vg_probe p;
	unsigned int i, k;

	vg_probe_init(&p, &mm->copies);
	for (i = 0; i < r->nr_segs; i++) {
		const struct vg_seg *seg = &r->segs[i];

		if (r->plan.is_copied[seg->dev_writes])
			continue;
		span_of(mm, seg->addr, seg->len_bytes, &s, &ignored);
		for (k = 0; k < s.pages; k++)
			vg_probe_page(&p, virtio_grant_addr(s.ref + k, k ? 0 :
							    s.offset_bytes),
				      seg->dev_writes);
	}
	return vg_probe_end(&p);
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

/* What is mapped stays so while the rest is tried again. */
static void in_result(struct mem_map *mm, struct vg_mem_req *r)
{
	int copied = vg_copies_result(&mm->copies, r->first_copy, r->nr_copies);
	int mapped = job_result(mm, r);

	r->err = copied == -EFAULT || !mapped ? copied : mapped;
	r->is_in = r->err == -EAGAIN;
	if (r->is_in)
		list_add(&mm->ins, r);
}

static void out_result(struct mem_map *mm, struct vg_mem_req *r)
{
	int copied = vg_copies_result(&mm->copies, r->first_copy, r->nr_copies);

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
	unsigned int nr_refs = 0, nr_jobs = 0;

	if (!outs && !ins)
		return;
	list_init(&mm->outs);
	list_init(&mm->ins);
	mm->copies.nr = 0;
	for (r = outs; r; r = r->next) {
		r->err = req_unmap(mm, r) ? -EAGAIN : 0;
		bounce_copy(mm, r, true);
	}
	for (r = ins; r; r = r->next) {
		bool dir = !r->plan.is_copied[1];

		bounce_copy(mm, r, false);
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
	if (mm->copies.nr)
		m->stats.copies++;
	m->stats.exchanges++;
	/* Each copy and each job says itself what became of it. */
	xen_gnttab_exchange(mm->gt, mm->domid, mm->copies.segs, mm->copies.nr,
			    mm->jobs, nr_jobs);
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
		if (r->plan.is_copied[dir])
			ok = bounce_walk(r, dir, &l);
		else
			ok = map_walk(mm, r, dir, mm->refs, r->map, &l);
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

	while (mm->free_reqs) {
		struct vg_mem_req *r = mm->free_reqs;

		mm->free_reqs = r->next;
		vg_bounce_exit(&r->bounce, &mm->cache);
		free(r->segs);
		free(r);
	}
	vg_bounce_cache_exit(&mm->cache);
	vg_copies_exit(&mm->copies);
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

static const struct vg_bounce_source bounce_source = {
	.get = xen_gnttab_buffer_get,
	.put = xen_gnttab_buffer_put,
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
	vg_bounce_cache_init(&mm->cache, &bounce_source);
	vg_copies_init(&mm->copies, gt, domid, &mm->mem.stats);
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
