// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pool.c - pools of granted pages: made, destroyed, and looked through for room.
 *
 * Who is not trusted: the backend.  It can read and write every page of the
 * pool at any time, it can go on mapping them for ever, and it learns whatever
 * is written to them.  So
 *  - only bytes in flight are ever copied into a pool;
 *  - what was in a slot before does not come out of it again: what the backend
 *    did not write, comes back as zeroes, or as an answer that is none (see
 *    "What comes back" in ops.c);
 *  - where a slot's data belongs (address, size, direction) is kept in private
 *    memory, never in the pool;
 *  - a page that the backend still maps when the pool is destroyed is left to
 *    the kernel's grant table code, which frees it when that mapping is gone
 *    and not before.  It is counted and never used for anything else.
 *
 * Who owns what: a pool belongs to the transport driver that made it (see
 * virtio_grant_dma.h).  Between map and unmap a slot belongs to the mapping.
 *
 * Layout of a pool of N pages, page i being granted as first_ref + i:
 *
 *	0        small_pages   reserve_first       coherent_first    N
 *	+--------+-------------+-------------------+-----------------+
 *	| small  | pages       : to     : from     | coherent memory |
 *	| slots  |             : device : device   | (rings)         |
 *	+--------+-------------+-------------------+-----------------+
 *
 * Each of the three is an area: a bitmap of slots, small ones of 256 bytes or
 * pages.  A buffer is contiguous in one small slot or in as many pages as it
 * needs.  There is no lock: a slot belongs to who set its bit.
 *
 * Each CPU has a cursor in each area, and goes round and round in a window of
 * its own: the slot below the cursor is most often free, since it was used a
 * round ago.  So slots are handed out in ascending order, and the buffers of
 * one request lie side by side, which lets the backend treat them as one.  The
 * window is as large as what is in flight asks for and no larger, so that the
 * same few pages stay in the caches.  A CPU whose window is full takes what is
 * free anywhere.
 *
 * A device that keeps buffers for what it may receive some day (a network card, a
 * console) could have all slots with them, and nothing could be sent any more.  In
 * its pool no window reaches the last pages, and who finds no room elsewhere looks
 * there: one half is for what the device only writes, the other for what it reads.
 * Only then is the direction looked at.  An indirect table is read; that of
 * buffers to be written is taken after them, at most one for two, so that such
 * tables never have more than half of what is for the other direction.
 *
 * Addresses: uapi/virtio_grant.h.  Required of a platform's DMA by virtio 1.2,
 * section 6.1 (VIRTIO_F_ACCESS_PLATFORM).
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <asm/xen/hypercall.h>

#include "dma/pool_priv.h"

/* Of a pool that is divided, one page in this many is one direction's alone. */
#define VGRANT_RESERVE_SHARE	8u
/* One page in this many is set apart for small slots. */
#define VGRANT_SMALL_SHARE	16
/* References that are given back when addresses have been aligned. */
#define VGRANT_REFS_SPARE	(VGRANT_BUFFER_PAGES - 1)
/* Of buffers of several pages, an idle pool may hold so many less. */
#define VGRANT_SEGS_MISSED	5u
/* The fewest slots that a CPU goes round in. */
#define VGRANT_WINDOW_MIN	64
/* Default size, and the share of the guest's memory it may not exceed. */
#define VGRANT_POOL_KIB		8192
#define VGRANT_QUEUE_KIB	2048	/* for each queue but the first */
#define VGRANT_POOLS_RAM_SHARE	8	/* all pools' */
#define VGRANT_POOL_SHARE	4	/* of what is left of it, one's */
/*
 * gntdev in the backend's kernel unmaps when the last user of the page is
 * gone, which can be after the daemon's munmap() returned.
 */
#define VGRANT_UNMAP_GRACE_MS	500

VISIBLE_IF_KUNIT unsigned int vgrant_pool_kib;
EXPORT_SYMBOL_IF_KUNIT(vgrant_pool_kib);
module_param_named(pool_kib, vgrant_pool_kib, uint, 0644);
MODULE_PARM_DESC(pool_kib,
		 "KiB of granted pages per device (0, the default: 8192 and 2048 for each further queue, or a quarter of what is left of an eighth of the memory, or a quarter or less of what is left of the grant table, if one of these is less; never less than a device needs)");

VISIBLE_IF_KUNIT bool vgrant_zero;
EXPORT_SYMBOL_IF_KUNIT(vgrant_zero);
module_param_named(zero, vgrant_zero, bool, 0644);
MODULE_PARM_DESC(zero,
		 "clear slots that the device is to write, even if it promised to write all of them (default: no)");

static unsigned int quarantined_pages;
module_param(quarantined_pages, uint, 0444);
MODULE_PARM_DESC(quarantined_pages,
		 "pages that a backend still mapped when their pool went away (read-only)");
static DEFINE_MUTEX(quarantined_lock);

/* References of all pools. */
static atomic_t vgrant_pages_used = ATOMIC_INIT(0);

/* The bits of @at to @end - 1 that are in the word of @at. */
static unsigned long vgrant_bits(unsigned int at, unsigned int end)
{
	unsigned long bits = ~0UL << at % BITS_PER_LONG;
	unsigned int beyond = round_up(at + 1, BITS_PER_LONG);

	return end < beyond ? bits & ~0UL >> (beyond - end) : bits;
}

void vgrant_release_run(struct vgrant_area *area,
			unsigned int at, unsigned int nr)
{
	unsigned int end = at + nr;

	for (; at < end; at = round_up(at + 1, BITS_PER_LONG))
		atomic_long_fetch_andnot_release(vgrant_bits(at, end),
						 (atomic_long_t *)area->taken +
						 at / BITS_PER_LONG);
}

bool vgrant_claim_run(struct vgrant_area *area, unsigned int at,
		      unsigned int nr)
{
	unsigned int from = at, end = at + nr;
	unsigned long bits, old, *word;

	for (; at < end; at = round_up(at + 1, BITS_PER_LONG)) {
		bits = vgrant_bits(at, end);
		word = area->taken + at / BITS_PER_LONG;
		old = READ_ONCE(*word);
		do {
			if (old & bits) {
				vgrant_release_run(area, from, at - from);
				return false;
			}
		} while (!try_cmpxchg(word, &old, old | bits));
	}
	return true;
}

/*
 * The first place between @from and @end with @nr free slots in a row, at a
 * multiple of @align, which is a power of two.
 */
bool vgrant_take_within(struct vgrant_area *area, unsigned int from,
			unsigned int end, unsigned int nr,
			unsigned int align, unsigned int *at)
{
	while (from + nr <= end) {
		from = bitmap_find_next_zero_area_off(area->taken, end, from, nr,
						      align - 1, area->base);
		if (from >= end)
			return false;
		if (vgrant_claim(area, from, nr)) {
			*at = from;
			return true;
		}
		/* Another CPU was faster: somewhere behind it. */
	}
	return false;
}

unsigned int vgrant_count(const struct vgrant_area *area,
			  unsigned int from, unsigned int end)
{
	unsigned int below = bitmap_weight(area->taken, from);
	unsigned int both = bitmap_weight(area->taken, end);

	/* Others take and release meanwhile. */
	return both - min(both, below);
}

unsigned int vgrant_pages_in_use(struct vgrant_pool *pool)
{
	struct vgrant_area *area = &pool->area[VGRANT_PAGE];
	unsigned int n = vgrant_pages_apart(pool) +
			 vgrant_count(area, area->first, pool->coherent_first);
	int before = atomic_read(&pool->pages_high_water);

	/* Now and then is often enough for this, and nobody waits for it. */
	if (n > before)
		atomic_cmpxchg(&pool->pages_high_water, before, n);
	return n;
}

/*
 * The cursor is at the end of its window: back to the start, of a window that is
 * between an eighth and a half full if that can be.
 */
static void vgrant_turn_back(const struct vgrant_area *area,
			     struct vgrant_cursor *cursor)
{
	unsigned int start = cursor->start, end = cursor->end;
	unsigned int size = end - start, used = vgrant_count(area, start, end);

	if (used > size / 2)
		cursor->end = min(start + 2 * size, area->end);
	else if (used < size / 8 && size / 2 >= VGRANT_WINDOW_MIN)
		cursor->end = start + size / 2;
	cursor->next = start;
}

/* No page is left that either direction may have. */
static bool vgrant_take_reserve(struct vgrant_pool *pool, unsigned int nr,
				enum dma_data_direction dir, unsigned int *at)
{
	enum vgrant_reserve which = dir == DMA_FROM_DEVICE ?
				    VGRANT_FROM_DEVICE : VGRANT_TO_DEVICE;
	unsigned int first = pool->reserve_first + which * pool->reserve_pages;

	return vgrant_take_within(&pool->area[VGRANT_PAGE], first,
				  first + pool->reserve_pages, nr, 1, at);
}

bool vgrant_take_slowly(struct vgrant_pool *pool, enum vgrant_class class,
			unsigned int nr, enum dma_data_direction dir,
			unsigned int *at)
{
	struct vgrant_cursor *cursor = &raw_cpu_ptr(pool->cpu)->cursor[class];
	struct vgrant_area *area = &pool->area[class];
	unsigned int round;

	for (round = 0; round < 2; round++) {
		if (vgrant_take_within(area, cursor->next, cursor->end, nr, 1,
				       at)) {
			cursor->next = *at + nr;
			return true;
		}
		vgrant_turn_back(area, cursor);
	}
	if (vgrant_take_within(area, cursor->start, area->end, nr, 1, at) ||
	    vgrant_take_within(area, area->first, area->end, nr, 1, at))
		return true;
	if (class != VGRANT_PAGE)
		return false;
	if (vgrant_take_reserve(pool, nr, dir, at))
		return true;
	vgrant_pages_in_use(pool);
	return false;
}

/*
 * The slot in use that @addr lies in.  An address that is not ours, or of a
 * slot that nothing is mapped to, is the fault of the driver above us: loud,
 * and without consequences.
 */
bool vgrant_slot_find_within(struct vgrant_pool *pool,
			     u64 offset, size_t size_bytes,
			     struct vgrant_slot *slot)
{
	unsigned int i;

	if (WARN_ONCE(offset >= (u64)pool->pages << XEN_PAGE_SHIFT,
		      "address outside the pool\n"))
		return false;
	for (i = 1; slot->class == VGRANT_PAGE && i < VGRANT_BUFFER_PAGES &&
	     slot->nr > pool->small_pages; i++) {
		slot->nr--;
		if (vgrant_slot_has(pool, *slot, offset, size_bytes))
			return true;
	}
	WARN_ONCE(1, "address of a slot that is not mapped, or beyond its end\n");
	return false;
}

/* Pools */

static void vgrant_pool_grant(struct vgrant_pool *pool, unsigned int i)
{
	struct page *page = pool->page[i / XEN_PFN_PER_PAGE];

	gnttab_grant_foreign_access_ref(pool->first_ref + i, pool->backend,
					vgrant_gfn(page, i % XEN_PFN_PER_PAGE),
					0);
}

/*
 * Of the grant table: 1, or 2, which PV guests of hosts with more than 44 bits of
 * addresses have.  The kernel chooses, and anew when the guest wakes up elsewhere.
 */
static unsigned int vgrant_grants_version(void)
{
	struct gnttab_get_version version = { .dom = DOMID_SELF };

	if (HYPERVISOR_grant_table_op(GNTTABOP_get_version, &version, 1))
		return 1;
	return version.version;
}

/*
 * Pages 0 to @i - 1 have ended, and @i could not.  In version 2 the kernel has taken
 * back what that one permits all the same; in version 1 its entry has to stay as it
 * is, with Xen's bits that say that it is mapped.
 */
static void vgrant_pool_grant_again(struct vgrant_pool *pool, unsigned int i)
{
	if (vgrant_grants_version() > 1)
		i++;
	while (i--)
		vgrant_pool_grant(pool, i);
}

/* What a request may consist of at least. */
static unsigned int vgrant_segs_needed(const struct vgrant_pool_need *need)
{
	return need->segs_enough ? min(need->segs_max, need->segs_enough) :
				   need->segs_max;
}

/*
 * Buffers of one request that fit into an idle pool, of as many pages each.
 * Looking for room, a CPU passes the end of its window a few times, and what is
 * left there may be too small.
 */
static unsigned int vgrant_segs_fit(unsigned int data_pages, unsigned int pages)
{
	unsigned int fit = data_pages / 8 * 7 / pages;

	return pages == 1 ? fit : fit - min(fit, VGRANT_SEGS_MISSED);
}

/* The largest alignment that coherent memory of so many bytes asks for. */
static unsigned int vgrant_coherent_align(size_t bytes)
{
	return clamp_t(unsigned long, roundup_pow_of_two(XEN_PFN_UP(bytes) ?: 1),
		       XEN_PFN_PER_PAGE, VGRANT_BUFFER_PAGES);
}

/* Pages for it, and for its start to be aligned. */
static unsigned int vgrant_coherent_pages(size_t bytes)
{
	return XEN_PFN_UP(bytes) + vgrant_coherent_align(bytes) - 1;
}

/*
 * Sizes of everything, from the wish and the need.  A request must fit into
 * an otherwise idle pool, or it would wait for ever: its segments get seven
 * eighths of what the rings and the other direction leave, the last eighth is for
 * its headers and indirect table.  Of the sizes with which enough segments fit,
 * the largest.
 */
static void vgrant_pool_measure(struct vgrant_pool *pool,
				const struct vgrant_pool_need *need)
{
	unsigned int data_pages, pages;

	pool->small_pages = DIV_ROUND_UP(pool->pages, VGRANT_SMALL_SHARE);
	pool->coherent_first = pool->pages -
			       vgrant_coherent_pages(need->coherent_bytes);
	data_pages = pool->coherent_first - pool->small_pages;
	if (need->is_divided) {
		pool->reserve_pages = max(data_pages / VGRANT_RESERVE_SHARE,
					  VGRANT_BUFFER_PAGES);
		/* The other direction's, and what is lost where ours begins. */
		data_pages -= pool->reserve_pages + VGRANT_BUFFER_PAGES;
	}
	/* The block layer wants a segment to hold a page of the kernel. */
	for (pages = VGRANT_BUFFER_PAGES; pages > XEN_PFN_PER_PAGE; pages /= 2)
		if (vgrant_segs_fit(data_pages, pages) >= vgrant_segs_needed(need))
			break;
	pool->mapping_max_pages = pages;
	pool->segs_max = min(need->segs_max, vgrant_segs_fit(data_pages, pages));
}

/* Of what pools may have, the pages that none has. */
static unsigned long vgrant_left(unsigned long all)
{
	unsigned long used = atomic_read(&vgrant_pages_used);

	return all - min(all, used);
}

/* Many devices find room, the later ones less of it. */
static unsigned long vgrant_ram_share(void)
{
	return vgrant_left(totalram_pages() * XEN_PFN_PER_PAGE /
			   VGRANT_POOLS_RAM_SHARE) / VGRANT_POOL_SHARE;
}

/*
 * Beyond the end of the grant table there is nothing.  So the share is the
 * smaller, the more is gone: the first nine pools of 8 MiB are whole, and 64
 * disks have theirs, which with a fixed share would be 38.
 */
static unsigned long vgrant_refs_share(void)
{
	size_t entry_bytes = vgrant_grants_version() > 1 ?
			     sizeof(union grant_entry_v2) :
			     sizeof(struct grant_entry_v1);
	unsigned long all = gnttab_max_grant_frames() *
			    (XEN_PAGE_SIZE / entry_bytes);
	unsigned long left = vgrant_left(all);

	return left * left / max(all, 1UL) / VGRANT_POOL_SHARE;
}

static unsigned int vgrant_pages_wanted(const struct vgrant_pool_need *need)
{
	unsigned long kib = VGRANT_POOL_KIB, pages;

	if (vgrant_pool_kib)
		return vgrant_pool_kib >> (XEN_PAGE_SHIFT - 10);
	if (need->queues > 1)
		kib += (need->queues - 1) * VGRANT_QUEUE_KIB;
	pages = min(kib >> (XEN_PAGE_SHIFT - 10), vgrant_ram_share());
	return min(pages, vgrant_refs_share());
}

/* The fewest pages with which vgrant_pool_measure() keeps its promise. */
static unsigned int vgrant_pages_needed(const struct vgrant_pool_need *need)
{
	unsigned int segs = vgrant_segs_needed(need), data_pages;

	if (XEN_PFN_PER_PAGE > 1)
		segs += VGRANT_SEGS_MISSED;
	data_pages = (segs * XEN_PFN_PER_PAGE + 7) / 7 * 8 + 8;
	if (need->is_divided)
		data_pages = (data_pages + VGRANT_BUFFER_PAGES) *
			     VGRANT_RESERVE_SHARE / (VGRANT_RESERVE_SHARE - 1) +
			     2 * VGRANT_BUFFER_PAGES + 1;
	return (data_pages + vgrant_coherent_pages(need->coherent_bytes)) *
		VGRANT_SMALL_SHARE / (VGRANT_SMALL_SHARE - 1) + 1;
}

/* So many that they are whole pages of the kernel. */
static unsigned int vgrant_whole_pages(unsigned long pages)
{
	return round_up(pages, XEN_PFN_PER_PAGE);
}

/*
 * As many consecutive references as wanted, or fewer, or not enough; and some
 * more, of which vgrant_pool_align() takes the right ones.
 */
static int vgrant_pool_alloc_refs(struct vgrant_pool *pool,
				  const struct vgrant_pool_need *need)
{
	unsigned int needed = vgrant_whole_pages(vgrant_pages_needed(need));
	unsigned int wanted = max(vgrant_whole_pages(vgrant_pages_wanted(need)),
				  needed);

	for (pool->pages = wanted; pool->pages >= needed;
	     pool->pages = max(vgrant_whole_pages(pool->pages / 2), needed)) {
		if (!gnttab_alloc_grant_reference_seq(pool->pages +
						      VGRANT_REFS_SPARE,
						      &pool->first_ref)) {
			if (pool->pages < wanted)
				dev_warn(pool->dev,
					 "the grant table has room for %u pages only, %u were wanted\n",
					 pool->pages, wanted);
			return 0;
		}
		if (pool->pages == needed)
			break;
	}
	dev_err(pool->dev, "no room for %u consecutive references in the grant table\n",
		needed);
	return -ENOSPC;
}

static void vgrant_pool_free_pages(struct vgrant_pool *pool)
{
	unsigned int i, nr = pool->pages / XEN_PFN_PER_PAGE;

	for (i = 0; i < nr && pool->page[i]; i++)
		__free_page(pool->page[i]);
	kvfree(pool->page);
}

static int vgrant_pool_alloc_pages(struct vgrant_pool *pool)
{
	unsigned int i, nr = pool->pages / XEN_PFN_PER_PAGE;

	pool->page = kvcalloc(nr, sizeof(*pool->page), GFP_KERNEL);
	if (!pool->page)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		pool->page[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pool->page[i])
			goto free_pages;
	}
	pool->va = vmap(pool->page, nr, VM_MAP, PAGE_KERNEL);
	if (!pool->va)
		goto free_pages;
	return 0;

free_pages:
	vgrant_pool_free_pages(pool);
	return -ENOMEM;
}

/*
 * Where the pages are for the device, and where for us, differ by a multiple of
 * the largest buffer: what is aligned for one is for the other.  Coherent memory
 * begins at the next such place.
 */
static void vgrant_pool_align(struct vgrant_pool *pool, size_t coherent_bytes)
{
	unsigned int align = vgrant_coherent_align(coherent_bytes);
	unsigned long pfn = (unsigned long)pool->va >> XEN_PAGE_SHIFT;
	unsigned int skip = (pfn - pool->first_ref) % VGRANT_BUFFER_PAGES;

	gnttab_free_grant_reference_seq(pool->first_ref, skip);
	pool->first_ref += skip;
	gnttab_free_grant_reference_seq(pool->first_ref + pool->pages,
					VGRANT_REFS_SPARE - skip);
	pool->base = virtio_grant_addr(pool->first_ref, 0);
	pool->coherent_first = round_up(pool->first_ref + pool->coherent_first,
					align) - pool->first_ref;
	pool->reserve_first = pool->coherent_first - 2 * pool->reserve_pages;
}

static int vgrant_area_init(struct vgrant_area *area, unsigned int first,
			    unsigned int end, unsigned int base)
{
	area->first = first;
	area->end = end;
	area->base = base;
	area->taken = bitmap_zalloc(end, GFP_KERNEL);
	return area->taken ? 0 : -ENOMEM;
}

static void vgrant_pool_free_slots(struct vgrant_pool *pool)
{
	bitmap_free(pool->area[VGRANT_SMALL].taken);
	bitmap_free(pool->area[VGRANT_PAGE].taken);
	bitmap_free(pool->coherent.taken);
	kvfree(pool->page_use);
	kvfree(pool->small_use);
}

static int vgrant_pool_alloc_slots(struct vgrant_pool *pool)
{
	unsigned int nr_small = pool->small_pages * VGRANT_SMALL_PER_PAGE;

	pool->page_use = kvcalloc(pool->pages, sizeof(*pool->page_use),
				  GFP_KERNEL);
	pool->small_use = kvcalloc(nr_small, sizeof(*pool->small_use),
				   GFP_KERNEL);
	if (vgrant_area_init(&pool->area[VGRANT_SMALL], 0, nr_small, 0) ||
	    vgrant_area_init(&pool->area[VGRANT_PAGE], pool->small_pages,
			     pool->coherent_first, pool->first_ref) ||
	    vgrant_area_init(&pool->coherent, pool->coherent_first,
			     pool->pages, pool->first_ref) ||
	    !pool->page_use || !pool->small_use) {
		vgrant_pool_free_slots(pool);
		return -ENOMEM;
	}
	/* The reserves have bits there as well; nobody comes to them by chance. */
	pool->area[VGRANT_PAGE].end = pool->reserve_first;
	atomic_set(&pool->pages_high_water, vgrant_pages_apart(pool));
	return 0;
}

/* Every CPU begins somewhere else. */
static void vgrant_cursor_init(struct vgrant_cursor *cursor,
			       const struct vgrant_area *area, unsigned int turn)
{
	unsigned int slots = area->end - area->first;

	cursor->start = area->first + slots / num_possible_cpus() * turn;
	cursor->end = min(cursor->start + VGRANT_WINDOW_MIN, area->end);
	cursor->next = cursor->start;
}

static int vgrant_pool_alloc_cpus(struct vgrant_pool *pool)
{
	unsigned int class, turn = 0;
	int cpu;

	pool->cpu = alloc_percpu(struct vgrant_cpu);
	if (!pool->cpu)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		for (class = 0; class < VGRANT_CLASSES; class++)
			vgrant_cursor_init(&per_cpu_ptr(pool->cpu, cpu)->cursor[class],
					   &pool->area[class], turn);
		turn++;
	}
	return 0;
}

/**
 * vgrant_pool_create - make a pool and grant its pages
 * @dev: the device whose buffers it is for
 * @backend: the domain to grant to, read and write
 * @need: what the device will ask of it
 *
 * May sleep.
 *
 * Returns: the pool, to be released by vgrant_pool_destroy(), or an ERR_PTR:
 * -ENOSPC without room in the grant table, -ENOMEM.
 */
struct vgrant_pool *vgrant_pool_create(struct device *dev, domid_t backend,
				       const struct vgrant_pool_need *need)
{
	unsigned int i, nr_spare = VGRANT_REFS_SPARE;
	struct vgrant_pool *pool;
	int ret;

	BUILD_BUG_ON(XEN_PAGE_SHIFT != VIRTIO_GRANT_PAGE_SHIFT);
	BUILD_BUG_ON(XEN_PFN_PER_PAGE > VGRANT_BUFFER_PAGES);
	if (!need->segs_max || need->segs_max > U16_MAX ||
	    need->coherent_bytes > SZ_64M)
		return ERR_PTR(-EINVAL);

	pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	pool->ops = vgrant_dma_ops;
	pool->dev = dev;
	pool->backend = backend;
	/* Not what a cleared page has. */
	pool->mark = get_random_u64() | 1;
	spin_lock_init(&pool->direct_lock);
	mutex_init(&pool->grants_lock);

	ret = vgrant_pool_alloc_refs(pool, need);
	if (ret)
		goto free_pool;
	vgrant_pool_measure(pool, need);
	ret = vgrant_pool_alloc_pages(pool);
	if (ret)
		goto free_refs;
	vgrant_pool_align(pool, need->coherent_bytes);
	nr_spare = 0;
	ret = vgrant_pool_alloc_slots(pool);
	if (ret)
		goto free_pages;
	ret = vgrant_pool_alloc_cpus(pool);
	if (ret)
		goto free_slots;

	vgrant_direct_init(pool);
	atomic_add(pool->pages, &vgrant_pages_used);

	for (i = 0; i < pool->pages; i++)
		vgrant_pool_grant(pool, i);
	return pool;

free_slots:
	vgrant_pool_free_slots(pool);
free_pages:
	vunmap(pool->va);
	vgrant_pool_free_pages(pool);
free_refs:
	gnttab_free_grant_reference_seq(pool->first_ref, pool->pages + nr_spare);
free_pool:
	kfree(pool);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(vgrant_pool_create);

/*
 * Ends all grants, clears the pages and frees them.  Those that the backend
 * still maps after the time of grace stay out of use, with their reference,
 * until it lets go: the kernel keeps that list, and it outlives this module.
 */
static unsigned int vgrant_pool_end_grants(struct vgrant_pool *pool)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_UNMAP_GRACE_MS);
	unsigned int i, nr_held = 0;
	struct page *page;

	for (i = 0; i < pool->pages; i++) {
		page = pool->page[i / XEN_PFN_PER_PAGE];
		while (!gnttab_try_end_foreign_access(pool->first_ref + i)) {
			if (time_after(jiffies, end)) {
				/* The kernel puts it when it is let go of. */
				get_page(page);
				gnttab_end_foreign_access(pool->first_ref + i,
							  page);
				nr_held++;
				break;
			}
			msleep(20);
		}
		/* The last of this page of the kernel. */
		if (i % XEN_PFN_PER_PAGE == XEN_PFN_PER_PAGE - 1) {
			clear_highpage(page);
			put_page(page);
		}
	}
	return nr_held;
}

/**
 * vgrant_pool_destroy - end the grants and release everything
 * @pool: a pool that is not attached
 *
 * May sleep, for VGRANT_UNMAP_GRACE_MS at most.
 *
 * Returns: how many pages the backend still maps.  They are quarantined.
 */
unsigned int vgrant_pool_destroy(struct vgrant_pool *pool)
{
	struct vgrant_pool_stats stats;
	unsigned int nr_held;

	WARN_ON(pool->attached);
	vgrant_pool_read_stats(pool, &stats);
	stats.pages_in_use -= vgrant_pages_apart(pool);
	stats.pages_in_use += vgrant_count(&pool->coherent, pool->coherent.first,
					   pool->coherent.end);
	if (stats.pages_in_use || stats.small_in_use)
		dev_warn(pool->dev, "destroyed with %u pages and %u small slots still in use\n",
			 stats.pages_in_use, stats.small_in_use);

	atomic_sub(pool->pages, &vgrant_pages_used);
	vunmap(pool->va);
	nr_held = vgrant_pool_end_grants(pool) + vgrant_direct_exit(pool);
	if (nr_held) {
		mutex_lock(&quarantined_lock);
		quarantined_pages += nr_held;
		mutex_unlock(&quarantined_lock);
		dev_err(pool->dev, "domain %u still maps %u pages of its pool: quarantined until it lets go\n",
			pool->backend, nr_held);
	}
	free_percpu(pool->cpu);
	vgrant_pool_free_slots(pool);
	kvfree(pool->page);
	kfree(pool);
	return nr_held;
}
EXPORT_SYMBOL_GPL(vgrant_pool_destroy);

/**
 * vgrant_pool_fail - the device is no more
 * @pool: the pool
 *
 * From now on nothing can be mapped, and what is mapped comes back as all
 * ones, as a register of a device does that is not there: no status of a
 * virtio request that means success.  Callable from any context.
 */
void vgrant_pool_fail(struct vgrant_pool *pool)
{
	WRITE_ONCE(pool->has_failed, true);
}
EXPORT_SYMBOL_GPL(vgrant_pool_fail);

/**
 * vgrant_pool_revive - undo vgrant_pool_fail()
 * @pool: a pool whose device was reset since, and holds none of its buffers
 */
void vgrant_pool_revive(struct vgrant_pool *pool)
{
	WRITE_ONCE(pool->has_failed, false);
}
EXPORT_SYMBOL_GPL(vgrant_pool_revive);

/**
 * vgrant_pool_set_held_handler - who wants to know of a buffer that is kept
 * @pool: a pool that nothing is mapped in
 * @held: called after the pool failed since the backend still maps a buffer
 *	that was unmapped (direct grants only); from any context
 * @priv: its argument
 */
void vgrant_pool_set_held_handler(struct vgrant_pool *pool,
				  void (*held)(void *priv), void *priv)
{
	pool->held = held;
	pool->held_priv = priv;
}
EXPORT_SYMBOL_GPL(vgrant_pool_set_held_handler);

/**
 * vgrant_pool_set_filled - need buffers be cleared for the device to write?
 * @pool: the pool; what is mapped already, is as it was to be
 * @is_filled: no: the device promised to write all of them
 *
 * In either case what a device does not write comes back as zeroes, and not as
 * what an earlier request of the device left in the slot; but from one that made
 * this promise, whole pages at a time, and if it writes both ends of a page and
 * not all between them, it is believed.  There is nothing to gain for a device
 * that lies: what it leaves there, it could write.
 */
void vgrant_pool_set_filled(struct vgrant_pool *pool, bool is_filled)
{
	WRITE_ONCE(pool->is_filled, is_filled && !vgrant_zero);
}
EXPORT_SYMBOL_GPL(vgrant_pool_set_filled);

/* Is what is mapped not cleared? */
bool vgrant_pool_is_filled(const struct vgrant_pool *pool)
{
	return READ_ONCE(pool->is_filled);
}
EXPORT_SYMBOL_GPL(vgrant_pool_is_filled);

static void vgrant_pool_grant_all(struct vgrant_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pool->pages; i++)
		vgrant_pool_grant(pool, i);
}

static int vgrant_pool_suspend_locked(struct vgrant_pool *pool)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_UNMAP_GRACE_MS);
	unsigned int i;

	if (pool->pages_held)
		return -EBUSY;
	for (i = 0; i < pool->pages; i++) {
		while (!gnttab_end_foreign_access_ref(pool->first_ref + i)) {
			if (time_after(jiffies, end))
				goto grant_again;
			msleep(50);
		}
	}
	pool->is_asleep = true;
	return 0;

grant_again:
	vgrant_pool_grant_again(pool, i);
	return -EBUSY;
}

/**
 * vgrant_pool_suspend - end the grants and keep everything else
 * @pool: a pool that nothing is mapped in
 *
 * The device is asleep, and may wake up in another grant table.  May sleep.
 *
 * Returns: 0, or -EBUSY if the backend still maps a page; then all the grants
 * are as they were.
 */
int vgrant_pool_suspend(struct vgrant_pool *pool)
{
	int ret;

	mutex_lock(&pool->grants_lock);
	ret = vgrant_pool_suspend_locked(pool);
	mutex_unlock(&pool->grants_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_pool_suspend);

static unsigned int vgrant_pool_end_locked(struct vgrant_pool *pool)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_UNMAP_GRACE_MS);
	unsigned int i, nr_held = 0;

	for (i = 0; !pool->is_asleep && i < pool->pages; i++) {
		while (!gnttab_end_foreign_access_ref(pool->first_ref + i)) {
			if (time_after(jiffies, end)) {
				nr_held++;
				break;
			}
			msleep(50);
		}
	}
	/* Of those that are held, the entries have to stay as they are. */
	if (!nr_held)
		pool->is_asleep = true;
	return nr_held + READ_ONCE(pool->pages_held);
}

/**
 * vgrant_pool_end - end all grants that can be ended, for good
 * @pool: a pool that nothing is mapped in, and never will be
 *
 * The guest stops, or another kernel takes its place.  May sleep.
 *
 * Returns: how many pages the backend still maps; it may be called again then.
 */
unsigned int vgrant_pool_end(struct vgrant_pool *pool)
{
	unsigned int nr_held;

	mutex_lock(&pool->grants_lock);
	nr_held = vgrant_pool_end_locked(pool);
	mutex_unlock(&pool->grants_lock);
	return nr_held;
}
EXPORT_SYMBOL_GPL(vgrant_pool_end);

/**
 * vgrant_pool_resume - grant the pages again
 * @pool: the pool; nothing is done but after a successful vgrant_pool_suspend():
 *	what is granted may be mapped, and its entry in the table says so
 */
void vgrant_pool_resume(struct vgrant_pool *pool)
{
	mutex_lock(&pool->grants_lock);
	if (pool->is_asleep)
		vgrant_pool_grant_all(pool);
	pool->is_asleep = false;
	mutex_unlock(&pool->grants_lock);
}
EXPORT_SYMBOL_GPL(vgrant_pool_resume);

static int vgrant_pool_move_locked(struct vgrant_pool *pool, domid_t backend)
{
	unsigned int i;

	if (pool->direct_refs &&
	    !bitmap_empty(pool->direct_taken, pool->direct_refs))
		return -EOPNOTSUPP;
	for (i = 0; !pool->is_asleep && i < pool->pages; i++) {
		if (!gnttab_end_foreign_access_ref(pool->first_ref + i)) {
			vgrant_pool_grant_again(pool, i);
			return -EBUSY;
		}
	}
	WRITE_ONCE(pool->backend, backend);
	if (!pool->is_asleep)
		vgrant_pool_grant_all(pool);
	return 0;
}

/**
 * vgrant_pool_move - grant the pages to another domain, and no more to the last
 * @pool: the pool; what is in it stays, and buffers may be in use
 * @backend: the other domain
 *
 * The last one is gone, and with it whatever it had mapped; or it will be.  The
 * addresses stay as they are.  Not with direct grants in use: these belong to their
 * buffers.  A pool that is suspended, has its pages granted to the other domain when
 * it is resumed; one that is being suspended, is waited for.  May sleep.
 *
 * Returns: 0; -EBUSY if the last domain maps a page still: to be called again, and the
 * grants are as they were; or -EOPNOTSUPP.
 */
int vgrant_pool_move(struct vgrant_pool *pool, domid_t backend)
{
	int ret;

	mutex_lock(&pool->grants_lock);
	ret = vgrant_pool_move_locked(pool, backend);
	mutex_unlock(&pool->grants_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_pool_move);

static int __init vgrant_dma_init(void)
{
	return xen_domain() ? 0 : -ENODEV;
}
module_init(vgrant_dma_init);

static void __exit vgrant_dma_exit(void)
{
}
module_exit(vgrant_dma_exit);

MODULE_DESCRIPTION("DMA through a pool of pages granted to a Xen backend");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
