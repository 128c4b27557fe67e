// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_gnt.c - grants: xen_gnttab_*, xen_shared_page_* and the guest's side.
 *
 * Guest memory is a memfd, so that a mapping of arbitrary references is
 * MAP_FIXED pieces of it: what one side writes the other reads, and a
 * read-only mapping faults on a write.  Addresses that were unmapped stay
 * PROT_NONE for a while: a use after unmap crashes here.
 *
 * Follows xen/common/grant_table.c and Linux drivers/xen/gntdev.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_int.h"
#include "xen/exchange.h"

#define GNTDEV_PAGES_MAX	65536u	/* gntdev's "limit", per request */
#define QUARANTINE		512u

struct map {
	struct map *next;
	struct xen_gnttab *gt;
	struct fake_domain *granter;
	void *va;
	unsigned int count;
	bool writable;
	xen_ref_t ref[];
};

struct xen_gnttab {
	struct fake_handle h;
	struct map *maps;
};

/* A page of ours that is granted; every process' part of it is a holder. */
struct share {
	struct share *next;
	struct fake_domain *d;
	xen_ref_t ref;
	unsigned int pfn, holders;
};

struct xen_shared_page {
	struct fake_handle h;
	struct share *share;
	int fd;
	void *va;
};

static struct share *shares;

static struct { void *va; size_t bytes; } quarantine[QUARANTINE];
static unsigned int quarantine_next;

static void quarantine_add(void *va, size_t bytes)
{
	unsigned int i = quarantine_next++ % QUARANTINE;

	if (quarantine[i].va)
		munmap(quarantine[i].va, quarantine[i].bytes);
	if (mmap(va, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		fake_die("quarantine: %s", strerror(errno));
	quarantine[i].va = va;
	quarantine[i].bytes = bytes;
}

/* ---- one reference ------------------------------------------------------ */

/* GNTST_*: may @by use @ref of @d?  As map_grant_ref() and _set_status(). */
static int grant_check(struct fake_domain *d, xen_ref_t ref,
		       struct fake_domain *by, bool write)
{
	struct fake_grant *g;

	if (!d)
		return FAKE_GNTST_bad_domain;
	if (ref >= FAKE_NR_REFS)
		return FAKE_GNTST_bad_gntref;
	g = &d->grant[ref];
	if (g->maps && g->mapped_by != by->domid)
		return FAKE_GNTST_general_error;
	if (!g->valid || g->to != by->domid)
		return FAKE_GNTST_general_error;
	if (write && g->read_only)
		return FAKE_GNTST_general_error;
	return 0;
}

static void grant_put(struct fake_domain *d, xen_ref_t ref, bool write)
{
	struct fake_grant *g = &d->grant[ref];

	g->maps--;
	g->write_maps -= write;
	if (!g->maps && g->end_deferred)
		memset(g, 0, sizeof(*g));
}

/* ---- gnttab ------------------------------------------------------------- */

int xen_gnttab_open(struct xen_gnttab **out)
{
	FAKE_LOCKED();
	int err = fake_call(fake_current_domain()->domid, FAKE_GNTTAB_OPEN);
	struct xen_gnttab *gt;

	if (err)
		return err;
	gt = fake_zalloc(sizeof(*gt));
	fake_handle_add(&gt->h, FAKE_H_GNTTAB);
	*out = gt;
	return 0;
}

static void map_release(struct map *m)
{
	struct fake_domain *by = fake_domain_need(m->gt->h.proc->domid);
	unsigned int i;

	for (i = 0; i < m->count; i++)
		grant_put(m->granter, m->ref[i], m->writable);
	by->maps_held -= m->count;
	quarantine_add(m->va, (size_t)m->count * FAKE_PAGE_BYTES);
	free(m);
}

static void gnttab_release_all(struct xen_gnttab *gt)
{
	struct map *m;

	while ((m = gt->maps)) {
		gt->maps = m->next;
		map_release(m);
	}
}

/* As with gntdev, closing it leaves nothing mapped. */
void xen_gnttab_close(struct xen_gnttab *gt)
{
	FAKE_LOCKED();

	if (!gt)
		return;
	gnttab_release_all(gt);
	fake_handle_free(&gt->h);
}

static void *map_pages(struct fake_domain *d, const xen_ref_t *refs,
		       unsigned int count, int prot)
{
	size_t bytes = (size_t)count * FAKE_PAGE_BYTES;
	uint8_t *va = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE |
			   MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned int i, n;

	if (va == MAP_FAILED)
		fake_die("mmap: %s", strerror(errno));
	for (i = 0; i < count; i += n) {
		unsigned int pfn = d->grant[refs[i]].pfn;

		for (n = 1; i + n < count &&
		     d->grant[refs[i + n]].pfn == pfn + n; n++)
			;
		if (mmap(va + (size_t)i * FAKE_PAGE_BYTES,
			 (size_t)n * FAKE_PAGE_BYTES, prot,
			 MAP_SHARED | MAP_FIXED, d->memfd,
			 (off_t)pfn * FAKE_PAGE_BYTES) == MAP_FAILED)
			fake_die("mmap: %s", strerror(errno));
	}
	return va;
}

int xen_gnttab_map(struct xen_gnttab *gt, xen_domid_t domid,
		   const xen_ref_t *refs, unsigned int count, int prot,
		   void **addr)
{
	FAKE_LOCKED();
	struct fake_domain *by, *d = fake_domain_alive(domid);
	bool writable = prot & PROT_WRITE;
	struct map *m;
	unsigned int i;
	int err = fake_hcall(&gt->h, FAKE_GNTTAB_MAP);

	if (err)
		return err;
	by = fake_domain_need(gt->h.proc->domid);
	if (!count || count > GNTDEV_PAGES_MAX || !(prot & PROT_READ))
		return -EINVAL;
	/* gntdev turns whatever Xen said into EINVAL. */
	if (count > by->maptrack_limit - by->maps_held)
		return -EINVAL;
	for (i = 0; i < count; i++)
		if (grant_check(d, refs[i], by, writable))
			return -EINVAL;

	m = fake_zalloc(sizeof(*m) + count * sizeof(m->ref[0]));
	m->gt = gt;
	m->granter = d;
	m->count = count;
	m->writable = writable;
	memcpy(m->ref, refs, count * sizeof(m->ref[0]));
	m->va = map_pages(d, refs, count, prot);
	for (i = 0; i < count; i++) {
		struct fake_grant *g = &d->grant[refs[i]];

		g->maps++;
		g->write_maps += writable;
		g->mapped_by = by->domid;
	}
	by->maps_held += count;
	by->pages_mapped += count;
	m->next = gt->maps;
	gt->maps = m;
	*addr = m->va;
	return 0;
}

int xen_gnttab_unmap(struct xen_gnttab *gt, void *addr, unsigned int count)
{
	FAKE_LOCKED();
	struct map *m, **p;
	int err = fake_hcall(&gt->h, FAKE_GNTTAB_UNMAP);

	if (err)
		return err;
	for (p = &gt->maps; (m = *p); p = &m->next)
		if (m->va == addr)
			break;
	if (!m || m->count != count)
		return -EINVAL;
	*p = m->next;
	map_release(m);
	return 0;
}

/*
 * As Xen, past the guest's own view of its memory: ThreadSanitizer does not see
 * it, since what orders it is words of the ring, seen by two mappings.
 */
static __attribute__((no_sanitize_thread)) void
bytes_copy(uint8_t *to, const uint8_t *from, size_t n)
{
	volatile uint8_t *t = to;	/* no memcpy(3) of it */

	while (n--)
		*t++ = *from++;
}

static int copy_one(struct fake_domain *by, struct fake_domain *d,
		    struct xen_copy_seg *s)
{
	uint8_t *foreign;
	int st;

	if (!s->len_bytes)
		return 0;
	st = grant_check(d, s->ref, by, s->to_foreign);
	if (st)
		return st;
	if ((unsigned int)s->offset + s->len_bytes > FAKE_PAGE_BYTES)
		return FAKE_GNTST_bad_copy_arg;
	foreign = d->mem + (size_t)d->grant[s->ref].pfn * FAKE_PAGE_BYTES +
		  s->offset;
	if (s->to_foreign)
		bytes_copy(foreign, s->local, s->len_bytes);
	else
		bytes_copy(s->local, foreign, s->len_bytes);
	by->bytes_copied += s->len_bytes;
	return 0;
}

int xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
		    struct xen_copy_seg *segs, unsigned int count)
{
	FAKE_LOCKED();
	struct fake_domain *by, *d = fake_domain_alive(domid);
	unsigned int i;
	int err = fake_hcall(&gt->h, FAKE_GNTTAB_COPY);

	for (i = 0; err && i < count; i++)
		segs[i].status = XEN_COPY_NOT_TRIED;
	if (err)
		return err;
	by = fake_domain_need(gt->h.proc->domid);
	for (i = 0; i < count; i++) {
		segs[i].status = (int16_t)copy_one(by, d, &segs[i]);
		if (segs[i].status)
			err = -EFAULT;
	}
	return err;
}

int xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			struct xen_copy_seg *segs, unsigned int nr_segs,
			struct xen_map_job *jobs, unsigned int nr_jobs)
{
	return exchange_by_calls(gt, domid, segs, nr_segs, jobs, nr_jobs);
}

void *xen_gnttab_buffer_get(size_t bytes)
{
	void *buffer;

	if (posix_memalign(&buffer, bytes < FAKE_PAGE_BYTES ? bytes :
			   FAKE_PAGE_BYTES, bytes))
		return NULL;
	return buffer;
}

void xen_gnttab_buffer_put(void *buffer, size_t bytes)
{
	(void)bytes;
	free(buffer);
}

void *xen_gnttab_buffer_area(size_t *bytes)
{
	*bytes = 0;
	return NULL;
}

/* ---- gntshr ------------------------------------------------------------- */

int xen_shared_page_probe(void)
{
	return fake_call(fake_current_domain()->domid, FAKE_GNTSHR_OPEN);
}

static void share_put(struct share *s)
{
	struct fake_grant *g = &s->d->grant[s->ref];
	struct share **p;

	if (--s->holders)
		return;
	for (p = &shares; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	if (g->maps)
		g->end_deferred = true;	/* gntalloc's gref list */
	else
		memset(g, 0, sizeof(*g));
	free(s);
}

static void page_release(struct xen_shared_page *sp)
{
	if (!sp->share)
		return;
	share_put(sp->share);
	sp->share = NULL;
	quarantine_add(sp->va, FAKE_PAGE_BYTES);
}

static struct xen_shared_page *holder_new(struct share *s, int fd, int prot)
{
	struct xen_shared_page *sp = fake_zalloc(sizeof(*sp));

	fake_handle_add(&sp->h, FAKE_H_GNTSHR);
	sp->share = s;
	sp->fd = fd;
	s->holders++;
	sp->va = mmap(NULL, FAKE_PAGE_BYTES, prot, MAP_SHARED, s->d->memfd,
		      (off_t)s->pfn * FAKE_PAGE_BYTES);
	if (sp->va == MAP_FAILED)
		fake_die("mmap: %s", strerror(errno));
	return sp;
}

/*
 * A descriptor of the domain's memory whose position is the page's: that
 * survives being sent.
 */
static int page_fd(const struct share *s)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->d->memfd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || lseek(fd, (off_t)s->pfn * FAKE_PAGE_BYTES, SEEK_SET) < 0)
		fake_die("memfd: %s", strerror(errno));
	return fd;
}

int xen_shared_page_create(xen_domid_t domid, struct xen_shared_page **out,
			   xen_ref_t *ref)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_current_domain();
	int err = fake_call(d->domid, FAKE_GNTSHR_SHARE);
	struct share *s;

	if (err)
		return err;
	s = fake_zalloc(sizeof(*s));
	s->d = d;
	s->pfn = fake_alloc_pages(d->domid, 1);
	s->ref = fake_grant(d->domid, domid, s->pfn, 1, false);
	s->next = shares;
	shares = s;
	*out = holder_new(s, page_fd(s), PROT_READ);
	*ref = s->ref;
	return 0;
}

int xen_shared_page_fd(const struct xen_shared_page *sp)
{
	return sp->fd;
}

int xen_shared_page_take(int fd, struct xen_shared_page **out)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_current_domain();
	int err = fake_call(d->domid, FAKE_GNTSHR_TAKE);
	off_t at = lseek(fd, 0, SEEK_CUR);
	struct share *s;

	close(fd);
	if (err)
		return err;
	for (s = shares; s; s = s->next)
		if (s->d == d && (off_t)s->pfn * FAKE_PAGE_BYTES == at)
			break;
	if (!s)
		return -EINVAL;
	*out = holder_new(s, -1, PROT_READ | PROT_WRITE);
	return 0;
}

void *xen_shared_page_addr(const struct xen_shared_page *sp)
{
	return sp->va;
}

void xen_shared_page_close(struct xen_shared_page *sp)
{
	FAKE_LOCKED();

	if (!sp)
		return;
	page_release(sp);
	if (sp->fd >= 0)
		close(sp->fd);
	fake_handle_free(&sp->h);
}

/* ---- the guest's side --------------------------------------------------- */

xen_ref_t fake_free_ref(struct fake_domain *d, unsigned int n)
{
	FAKE_LOCKED();
	xen_ref_t ref, run = 0;

	for (ref = d->next_ref; ref < FAKE_NR_REFS; ref++) {
		run = d->grant[ref].valid ? 0 : run + 1;
		if (run == n) {
			d->next_ref = ref + 1;
			return ref + 1 - n;
		}
	}
	fake_die("dom%u: out of references", d->domid);
}

void fake_grant_at(xen_domid_t domid, xen_ref_t ref, xen_domid_t to,
		   unsigned int pfn, bool read_only)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);
	struct fake_grant *g;

	if (ref >= FAKE_NR_REFS || d->grant[ref].valid || pfn >= d->nr_pages)
		fake_die("dom%u can't grant page %u at %u", domid, pfn, ref);
	g = &d->grant[ref];
	g->valid = true;
	g->read_only = read_only;
	g->to = to;
	g->pfn = pfn;
}

xen_ref_t fake_grant(xen_domid_t domid, xen_domid_t to, unsigned int pfn,
		     unsigned int n, bool read_only)
{
	xen_ref_t ref = fake_free_ref(fake_domain_need(domid), n);
	unsigned int i;

	for (i = 0; i < n; i++)
		fake_grant_at(domid, ref + i, to, pfn + i, read_only);
	return ref;
}

int fake_grant_end(xen_domid_t domid, xen_ref_t ref)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);

	if (ref >= FAKE_NR_REFS || !d->grant[ref].valid)
		return -ENOENT;
	if (d->grant[ref].maps)
		return -EBUSY;
	memset(&d->grant[ref], 0, sizeof(d->grant[ref]));
	return 0;
}

void fake_grant_withdraw(xen_domid_t domid, xen_ref_t ref)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);

	if (ref >= FAKE_NR_REFS)
		fake_die("dom%u has no reference %u", domid, ref);
	d->grant[ref].valid = false;
}

unsigned int fake_grant_maps(xen_domid_t domid, xen_ref_t ref)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);

	return ref < FAKE_NR_REFS ? d->grant[ref].maps : 0;
}

unsigned int fake_maps_held(xen_domid_t domid)
{
	FAKE_LOCKED();

	return fake_domain_need(domid)->maps_held;
}

void fake_set_maptrack_limit(xen_domid_t domid, unsigned int pages)
{
	FAKE_LOCKED();

	fake_domain_need(domid)->maptrack_limit = pages;
}

/* ---- the end ------------------------------------------------------------ */

void fake_gnt_crash(struct fake_handle *h)
{
	if (h->kind == FAKE_H_GNTTAB)
		gnttab_release_all((struct xen_gnttab *)h);
	else
		page_release((struct xen_shared_page *)h);
}

/* A crash leaves the descriptor open, as with event channels. */
void fake_gnt_fini(struct fake_handle *h)
{
	struct xen_shared_page *sp = (struct xen_shared_page *)h;

	if (h->kind == FAKE_H_GNTSHR && sp->fd >= 0)
		close(sp->fd);
}

unsigned int fake_gnt_leaks(void)
{
	unsigned int domid, n = 0;
	xen_ref_t ref;

	for (domid = 0; domid <= XEN_DOMID_MAX; domid++) {
		struct fake_domain *d = fake_domain_any(domid);

		for (ref = 0; d && ref < FAKE_NR_REFS; ref++) {
			if (!d->grant[ref].maps)
				continue;
			fake_leak("dom%u: reference %u mapped %u times",
				  domid, ref, d->grant[ref].maps);
			n++;
		}
	}
	return n;
}

void fake_gnt_exit(void)
{
	unsigned int i;

	for (i = 0; i < QUARANTINE; i++)
		if (quarantine[i].va)
			munmap(quarantine[i].va, quarantine[i].bytes);
	memset(quarantine, 0, sizeof(quarantine));
}
