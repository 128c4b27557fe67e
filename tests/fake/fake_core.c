// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_core.c - domains, processes, counting and broken calls: fake_xen.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_int.h"

static struct fake_domain *domains[XEN_DOMID_MAX + 1];
static xen_domid_t highest_domid;
static struct fake_proc *procs;
static struct fake_proc *current;
static struct fake_handle *graveyard;

static struct {
	unsigned int domid, n, more;
	int err;
	bool happened;
} faults[FAKE_CALL_MAX];

static const char *const call_names[FAKE_CALL_MAX] = {
	[FAKE_GNTTAB_OPEN] = "gnttab_open",
	[FAKE_GNTTAB_MAP] = "gnttab_map",
	[FAKE_GNTTAB_UNMAP] = "gnttab_unmap",
	[FAKE_GNTTAB_COPY] = "gnttab_copy",
	[FAKE_GNTSHR_OPEN] = "gntshr_open",
	[FAKE_GNTSHR_SHARE] = "shared_page_create",
	[FAKE_GNTSHR_TAKE] = "shared_page_take",
	[FAKE_EVTCHN_OPEN] = "evtchn_open",
	[FAKE_EVTCHN_TAKE] = "evtchn_take",
	[FAKE_EVTCHN_ALLOC] = "evtchn_alloc_unbound",
	[FAKE_EVTCHN_BIND] = "evtchn_bind_interdomain",
	[FAKE_EVTCHN_UNBIND] = "evtchn_unbind",
	[FAKE_EVTCHN_NOTIFY] = "evtchn_notify",
	[FAKE_EVTCHN_PENDING] = "evtchn_pending",
	[FAKE_EVTCHN_UNMASK] = "evtchn_unmask",
	[FAKE_STORE_OPEN] = "store_open",
	[FAKE_STORE_BEGIN] = "store_begin",
	[FAKE_STORE_COMMIT] = "store_commit",
	[FAKE_STORE_READ] = "store_read",
	[FAKE_STORE_WRITE] = "store_write",
	[FAKE_STORE_RM] = "store_rm",
	[FAKE_STORE_PERMS] = "store_perms",
	[FAKE_STORE_DIRECTORY] = "store_directory",
	[FAKE_STORE_WATCH] = "store_watch",
	[FAKE_IOREQ_CREATE] = "ioreq_create",
	[FAKE_IOREQ_ADOPT] = "ioreq_adopt",
	[FAKE_IOREQ_MAP_RANGE] = "ioreq_map_range",
	[FAKE_IOREQ_UNMAP_RANGE] = "ioreq_unmap_range",
	[FAKE_IOREQ_COMPLETE] = "ioreq_complete",
	[FAKE_IOREQ_RAISE_SPI] = "ioreq_raise_spi",
	[FAKE_CONFINE] = "confine",
};

const char *fake_call_name(enum fake_call kind)
{
	return kind < FAKE_CALL_MAX ? call_names[kind] : "?";
}

/* ---- threads ------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

int fake_lock(void)
{
	return pthread_mutex_lock(&lock);
}

void fake_unlock(int *unused)
{
	(void)unused;
	pthread_mutex_unlock(&lock);
}

/* ---- small things ------------------------------------------------------- */

void fake_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "fake: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	abort();
}

void fake_leak(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "fake: left behind: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

void *fake_zalloc(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		fake_die("out of memory");
	return p;
}

char *fake_strf(const char *fmt, ...)
{
	char *s;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		fake_die("out of memory");
	va_end(ap);
	return s;
}

/* ---- domains ------------------------------------------------------------ */

struct fake_domain *fake_domain_any(unsigned int domid)
{
	return domid <= XEN_DOMID_MAX ? domains[domid] : NULL;
}

struct fake_domain *fake_domain_alive(unsigned int domid)
{
	struct fake_domain *d = fake_domain_any(domid);

	return d && d->alive ? d : NULL;
}

struct fake_domain *fake_domain_need(unsigned int domid)
{
	struct fake_domain *d = fake_domain_any(domid);

	if (!d)
		fake_die("no domain %u", domid);
	return d;
}

struct fake_domain *fake_current_domain(void)
{
	return fake_domain_need(current->domid);
}

void fake_domain_create(xen_domid_t domid, unsigned int nr_vcpus,
			unsigned int nr_pages)
{
	FAKE_LOCKED();
	struct fake_domain *d;

	if (domid > XEN_DOMID_MAX || domains[domid])
		fake_die("domain %u exists or can't", domid);
	if (!nr_vcpus || nr_vcpus > FAKE_NR_VCPUS)
		fake_die("domain %u: %u vCPUs", domid, nr_vcpus);
	d = fake_zalloc(sizeof(*d));
	d->domid = domid;
	d->alive = true;
	d->target = -1;
	d->nr_vcpus = nr_vcpus;
	d->nr_pages = nr_pages;
	/* Not from 0: a pfn or an address of 0 is a mistake more often. */
	d->next_page = 1;
	d->next_ref = FAKE_FIRST_REF;
	d->maptrack_limit = 1024 * 256;	/* frames, handles in each */
	d->memfd = memfd_create("fake guest", MFD_CLOEXEC);
	if (d->memfd < 0 ||
	    ftruncate(d->memfd, (off_t)nr_pages * FAKE_PAGE_BYTES))
		fake_die("memfd: %s", strerror(errno));
	d->mem = mmap(NULL, (size_t)nr_pages * FAKE_PAGE_BYTES,
		      PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);
	if (d->mem == MAP_FAILED)
		fake_die("mmap: %s", strerror(errno));
	domains[domid] = d;
	if (domid > highest_domid)
		highest_domid = domid;
	d->proc = fake_proc_create(domid);
	fake_store_domain(d);
	if (domid)
		fake_store_special("@introduceDomain");
}

void fake_domain_destroy(xen_domid_t domid)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);
	struct fake_proc *p;

	for (p = procs; p; p = p->next)
		if (p->domid == domid)
			fake_proc_crash(p);
	fake_ioreq_domain_gone(d);
	fake_evtchn_domain_gone(d);
	d->alive = false;
	fake_store_special("@releaseDomain");
}

void fake_domain_set_target(xen_domid_t domid, xen_domid_t target)
{
	fake_domain_need(domid)->target = target;
}

static void domain_free(struct fake_domain *d)
{
	munmap(d->mem, (size_t)d->nr_pages * FAKE_PAGE_BYTES);
	close(d->memfd);
	free(d);
}

unsigned int fake_alloc_pages(xen_domid_t domid, unsigned int n)
{
	struct fake_domain *d = fake_domain_need(domid);
	unsigned int first = d->next_page;

	if (n > d->nr_pages - first)
		fake_die("domain %u is out of pages", domid);
	d->next_page += n;
	return first;
}

void *fake_page(xen_domid_t domid, unsigned int pfn)
{
	struct fake_domain *d = fake_domain_need(domid);

	if (pfn >= d->nr_pages)
		fake_die("domain %u has no page %u", domid, pfn);
	return d->mem + (size_t)pfn * FAKE_PAGE_BYTES;
}

/* ---- processes ---------------------------------------------------------- */

struct fake_proc *fake_proc_create(xen_domid_t domid)
{
	struct fake_proc *p = fake_zalloc(sizeof(*p));

	fake_domain_need(domid);
	p->domid = domid;
	p->next = procs;
	procs = p;
	return p;
}

void fake_enter(xen_domid_t domid)
{
	current = fake_domain_need(domid)->proc;
}

void fake_enter_proc(struct fake_proc *proc)
{
	current = proc;
}

struct fake_proc *fake_current_proc(void)
{
	return current;
}

void fake_handle_add(struct fake_handle *h, enum fake_kind kind)
{
	FAKE_LOCKED();

	h->kind = kind;
	h->proc = current;
	h->next = current->handles;
	current->handles = h;
}

static void handle_unlink(struct fake_handle *h)
{
	struct fake_handle **p = h->dead ? &graveyard : &h->proc->handles;

	while (*p && *p != h)
		p = &(*p)->next;
	if (!*p)
		fake_die("handle closed twice");
	*p = h->next;
}

void fake_handle_free(struct fake_handle *h)
{
	FAKE_LOCKED();

	handle_unlink(h);
	free(h);
}

void fake_proc_crash(struct fake_proc *proc)
{
	FAKE_LOCKED();
	struct fake_handle *h, **p;

	/* IOREQ first: it forgets its event channel handle, not its server. */
	for (h = proc->handles; h; h = h->next)
		if (h->kind == FAKE_H_IOREQ)
			fake_ioreq_crash((struct xen_ioreq *)h);
	for (h = proc->handles; h; h = h->next) {
		switch (h->kind) {
		case FAKE_H_GNTTAB:
		case FAKE_H_GNTSHR:
			fake_gnt_crash(h);
			break;
		case FAKE_H_EVTCHN:
			fake_evtchn_crash((struct xen_evtchn *)h);
			break;
		case FAKE_H_STORE:
			fake_store_crash((struct xen_store *)h);
			break;
		case FAKE_H_IOREQ:
			break;
		}
		h->dead = true;
	}
	for (p = &graveyard; *p; p = &(*p)->next)
		;
	*p = proc->handles;
	proc->handles = NULL;
}

void fake_crash(xen_domid_t domid)
{
	fake_proc_crash(fake_domain_need(domid)->proc);
}

/* ---- counting and breaking ---------------------------------------------- */

int fake_call(xen_domid_t domid, enum fake_call kind)
{
	FAKE_LOCKED();

	fake_domain_need(domid)->calls[kind]++;
	if (!faults[kind].n || (faults[kind].domid != FAKE_ANY_DOMID &&
				faults[kind].domid != domid))
		return 0;
	if (faults[kind].n != FAKE_EVERY && --faults[kind].n)
		return 0;
	if (faults[kind].more) {
		faults[kind].more--;
		faults[kind].n = 1;	/* the next one, too */
	}
	faults[kind].happened = true;
	return -faults[kind].err;
}

int fake_hcall(const struct fake_handle *h, enum fake_call kind)
{
	if (h->dead)
		return -EBADF;
	return fake_call(h->proc->domid, kind);
}

int xen_confine(xen_domid_t guest, const char **what)
{
	(void)guest;
	*what = "confine";
	return fake_call(current->domid, FAKE_CONFINE);
}

void fake_fail_nth(unsigned int domid, enum fake_call kind, unsigned int n,
		   int err)
{
	fake_fail_from(domid, kind, n, 1, err);
}

void fake_fail_from(unsigned int domid, enum fake_call kind, unsigned int n,
		    unsigned int count, int err)
{
	FAKE_LOCKED();

	faults[kind].domid = domid;
	faults[kind].n = n;
	faults[kind].more = n ? count - 1 : 0;
	faults[kind].err = err;
	faults[kind].happened = false;
}

bool fake_failed(enum fake_call kind)
{
	FAKE_LOCKED();

	return faults[kind].happened;
}

static uint64_t sum(unsigned int domid, size_t offset)
{
	FAKE_LOCKED();
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i <= highest_domid; i++)
		if (domains[i] && (domid == FAKE_ANY_DOMID || domid == i))
			total += *(uint64_t *)((char *)domains[i] + offset);
	return total;
}

uint64_t fake_calls(unsigned int domid, enum fake_call kind)
{
	return sum(domid, offsetof(struct fake_domain, calls) +
			  kind * sizeof(uint64_t));
}

uint64_t fake_pages_mapped(unsigned int domid)
{
	return sum(domid, offsetof(struct fake_domain, pages_mapped));
}

uint64_t fake_bytes_copied(unsigned int domid)
{
	return sum(domid, offsetof(struct fake_domain, bytes_copied));
}

void fake_count_reset(void)
{
	FAKE_LOCKED();
	unsigned int i;

	for (i = 0; i <= highest_domid; i++) {
		if (!domains[i])
			continue;
		memset(domains[i]->calls, 0, sizeof(domains[i]->calls));
		domains[i]->pages_mapped = 0;
		domains[i]->bytes_copied = 0;
	}
}

/* ---- beginning and end -------------------------------------------------- */

void fake_init(void)
{
	if (procs)
		fake_die("fake_init() twice");
	memset(faults, 0, sizeof(faults));
	fake_set_pump(NULL, NULL);
	fake_store_init();
	fake_domain_create(0, 1, 4096);
	fake_enter(0);
}

unsigned int fake_leaks(void)
{
	static const char *const kinds[] = {
		[FAKE_H_GNTTAB] = "gnttab", [FAKE_H_GNTSHR] = "gntshr",
		[FAKE_H_EVTCHN] = "evtchn", [FAKE_H_STORE] = "store",
		[FAKE_H_IOREQ] = "ioreq",
	};
	unsigned int n = 0;
	struct fake_proc *p;
	struct fake_handle *h;

	for (p = procs; p; p = p->next) {
		for (h = p->handles; h; h = h->next) {
			fake_leak("dom%u: an open %s handle", p->domid,
				  kinds[h->kind]);
			n++;
		}
	}
	return n + fake_gnt_leaks() + fake_evtchn_leaks() +
	       fake_store_leaks() + fake_ioreq_leaks();
}

void fake_exit(void)
{
	struct fake_proc *p;
	struct fake_handle *h;
	unsigned int i;

	for (p = procs; p; p = p->next)
		fake_proc_crash(p);
	while ((h = graveyard)) {
		if (h->kind == FAKE_H_EVTCHN)
			fake_evtchn_fini((struct xen_evtchn *)h);
		if (h->kind == FAKE_H_STORE)
			fake_store_fini((struct xen_store *)h);
		fake_gnt_fini(h);
		graveyard = h->next;
		free(h);
	}
	fake_gnt_exit();
	fake_store_exit();
	while ((p = procs)) {
		procs = p->next;
		free(p);
	}
	for (i = 0; i <= highest_domid; i++)
		if (domains[i])
			domain_free(domains[i]);
	memset(domains, 0, sizeof(domains));
	highest_domid = 0;
	current = NULL;
}
