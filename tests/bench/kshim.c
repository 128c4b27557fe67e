// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kshim.c - see kshim.h.  What is not inline there.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "fake_xen.h"
#include "kshim.h"
#include "kshim_guest.h"

static xen_domid_t guest;
static unsigned int nr_pages;
/* The first ones are Xen's. */
#define FIRST_REF	8u
#define NR_REFS		(KSHIM_GRANT_FRAMES * (unsigned int)(XEN_PAGE_SIZE / \
			 sizeof(struct grant_entry_v1)))
static unsigned long ref_taken[BITS_TO_LONGS(NR_REFS)];

struct page kshim_page[KSHIM_PAGES];
u8 *kshim_mem;
volatile unsigned long kshim_irq_flags;
unsigned long jiffies;
uint64_t kshim_grant_calls;
unsigned int kshim_grants_version = 1;

void kshim_start(unsigned int guest_domid, unsigned int backend_domid)
{
	fake_init();
	fake_domain_create((xen_domid_t)backend_domid, 1, 64);
	guest = (xen_domid_t)guest_domid;
	fake_domain_create(guest, 1, KSHIM_PAGES);
	/* Its first frame is the fake's: ours begin with a whole page. */
	fake_alloc_pages(guest, XEN_PFN_PER_PAGE - 1);
	kshim_mem = fake_page(guest, 0);
	nr_pages = 0;
}

void kshim_stop(void)
{
	if (fake_leaks())
		bench_die("something was left behind");
	fake_exit();
	memset(ref_taken, 0, sizeof(ref_taken));
}

/* Nothing else takes frames: they come in whole pages. */
static struct page *alloc_pages_in_a_row(unsigned int n)
{
	unsigned int frame = fake_alloc_pages(guest, n * XEN_PFN_PER_PAGE);

	if (frame % XEN_PFN_PER_PAGE)
		bench_die("frame %u does not begin a page", frame);
	return &kshim_page[frame / XEN_PFN_PER_PAGE];
}

void *kshim_buffer(size_t bytes)
{
	unsigned int n = (unsigned int)PFN_UP(bytes), i;
	struct page *page = alloc_pages_in_a_row(n);

	for (i = 0; i < n; i++)
		page[i].refs = 1;
	return page_address(page);
}

/* ---- memory ------------------------------------------------------------- */

void *kshim_zalloc(size_t bytes)
{
	return calloc(1, bytes ? bytes : 1);
}

void kshim_free(const void *p)
{
	free((void *)(uintptr_t)p);
}

char *kstrdup(const char *s, gfp_t gfp)
{
	(void)gfp;
	return strdup(s);
}

void *kmemdup(const void *p, size_t bytes, gfp_t gfp)
{
	void *copy = malloc(bytes);

	(void)gfp;
	return copy ? memcpy(copy, p, bytes) : NULL;
}

struct page *alloc_page(gfp_t gfp)
{
	struct page *page = alloc_pages_in_a_row(1);

	(void)gfp;	/* they are zero */
	page->refs = 1;
	nr_pages++;
	return page;
}

void __free_page(struct page *page)
{
	if (--page->refs)
		bench_die("a page is freed with %d references", page->refs);
	nr_pages--;
}

void kshim_put_page(struct page *page)
{
	if (page->refs < 1)
		bench_die("a page is put too often");
	if (page->refs == 1)
		__free_page(page);
	else
		page->refs--;
}

/* Nobody else allocates in between, so that pages of a pool are in a row. */
void *vmap(struct page **page, unsigned int n, unsigned long flags, int prot)
{
	unsigned int i;

	(void)flags, (void)prot;
	for (i = 1; i < n; i++)
		if (page[i] != page[0] + i)
			bench_die("pages that are not in a row");
	return page_address(page[0]);
}

void vunmap(const void *va)
{
	(void)va;
}

unsigned long totalram_pages(void)
{
	return 1ul << 20;
}

/* ---- bitmaps: lib/find_bit.c and lib/bitmap.c do it word by word, too ---- */

unsigned long kshim_find(const unsigned long *map, unsigned long bits,
			 unsigned long from, unsigned long invert)
{
	unsigned long at = from / BITS_PER_LONG, word;

	if (from >= bits)
		return bits;
	word = (map[at] ^ invert) & ~0UL << from % BITS_PER_LONG;
	while (!word) {
		at++;
		if (at * BITS_PER_LONG >= bits)
			return bits;
		word = map[at] ^ invert;
	}
	return min(at * BITS_PER_LONG + (unsigned long)__builtin_ctzl(word),
		   bits);
}

unsigned long bitmap_find_next_zero_area_off(unsigned long *map,
					     unsigned long bits,
					     unsigned long from, unsigned int n,
					     unsigned long align_mask,
					     unsigned long align_offset)
{
	unsigned long end, taken;

	for (;;) {
		from = find_next_zero_bit(map, bits, from);
		from = ((from + align_offset + align_mask) & ~align_mask) -
			align_offset;
		end = from + n;
		if (end > bits)
			return end;
		taken = find_next_bit(map, end, from);
		if (taken >= end)
			return from;
		from = taken + 1;
	}
}

/* The bits of [first, end) that are in the word of @first. */
static unsigned long mask_at(unsigned int first, unsigned int end)
{
	unsigned long mask = ~0UL << first % BITS_PER_LONG;

	if (first / BITS_PER_LONG == end / BITS_PER_LONG)
		mask &= ~(~0UL << end % BITS_PER_LONG);
	return mask;
}

void bitmap_set(unsigned long *map, unsigned int first, unsigned int n)
{
	unsigned int end = first + n;

	for (; first < end; first = ALIGN(first + 1, BITS_PER_LONG))
		map[first / BITS_PER_LONG] |= mask_at(first, end);
}

void bitmap_clear(unsigned long *map, unsigned int first, unsigned int n)
{
	unsigned int end = first + n;

	for (; first < end; first = ALIGN(first + 1, BITS_PER_LONG))
		map[first / BITS_PER_LONG] &= ~mask_at(first, end);
}

unsigned int bitmap_weight(const unsigned long *map, unsigned int bits)
{
	unsigned int i, n = 0;

	for (i = 0; i < bits / BITS_PER_LONG; i++)
		n += (unsigned int)__builtin_popcountl(map[i]);
	if (bits % BITS_PER_LONG)
		n += (unsigned int)__builtin_popcountl(
			map[i] & (BIT(bits % BITS_PER_LONG) - 1));
	return n;
}

/* The same each time: so are the counts. */
u64 get_random_u64(void)
{
	return 0x9e3779b97f4a7c15;
}

/* ---- messages ----------------------------------------------------------- */

void kshim_warn(const char *where, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "WARNING in %s: ", where);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	bench_die("the driver warned");
}

void kshim_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	bench_die("the driver complained");
}

void kshim_deadlock(void)
{
	bench_die("a lock is taken twice");
}

/* ---- never called ------------------------------------------------------- */

int sysfs_emit(char *buf, const char *fmt, ...)
{
	(void)buf, (void)fmt;
	return 0;
}

int device_set_driver_override(struct device *dev, const char *name)
{
	(void)dev, (void)name;
	return -EINVAL;
}

int of_add_property(struct device_node *np, struct property *prop)
{
	(void)np, (void)prop;
	return -EINVAL;
}

/* ---- Xen ---------------------------------------------------------------- */

bool xen_domain(void)
{
	return true;
}

int gnttab_alloc_grant_reference_seq(unsigned int n, grant_ref_t *first)
{
	unsigned long at = bitmap_find_next_zero_area(ref_taken, NR_REFS,
						      FIRST_REF, n, 0);

	if (at + n > NR_REFS)
		return -ENOSPC;
	bitmap_set(ref_taken, (unsigned int)at, n);
	*first = (grant_ref_t)at;
	return 0;
}

void gnttab_free_grant_reference_seq(grant_ref_t first, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		gnttab_free_grant_reference(first + i);
}

void gnttab_free_grant_reference(grant_ref_t ref)
{
	if (ref >= NR_REFS || !test_and_clear_bit(ref, ref_taken))
		bench_die("reference %u is given back twice", ref);
}

void gnttab_grant_foreign_access_ref(grant_ref_t ref, domid_t domid,
				     unsigned long gfn, int is_read_only)
{
	kshim_grant_calls++;
	fake_grant_at(guest, ref, domid, (unsigned int)gfn, is_read_only);
}

/*
 * As Linux': what has ended can end once more; and in version 2 of the grant
 * table nothing is permitted any more by what is mapped still.
 */
int gnttab_end_foreign_access_ref(grant_ref_t ref)
{
	kshim_grant_calls++;
	if (kshim_grants_version > 1 && fake_grant_maps(guest, ref)) {
		fake_grant_withdraw(guest, ref);
		return 0;
	}
	return fake_grant_end(guest, ref) != -EBUSY;
}

int HYPERVISOR_grant_table_op(unsigned int cmd, void *op, unsigned int count)
{
	struct gnttab_get_version *get = op;

	if (cmd != GNTTABOP_get_version || count != 1 || get->dom != DOMID_SELF)
		bench_die("operation %u on the grant table", cmd);
	get->version = kshim_grants_version;
	return 0;
}

/* The reference is given back as well. */
int gnttab_try_end_foreign_access(grant_ref_t ref)
{
	int is_ended = gnttab_end_foreign_access_ref(ref);

	if (is_ended)
		gnttab_free_grant_reference(ref);
	return is_ended;
}

void gnttab_end_foreign_access(grant_ref_t ref, struct page *page)
{
	(void)page;
	bench_die("reference %u is mapped still", ref);
}
