// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_grant_dma.c - DMA operations over a pool of granted pages.
 *
 * Who is not trusted: the backend.  It can read and write every page of the
 * pool at any time, it can go on mapping them for ever, and it learns whatever
 * is written to them.  So
 *  - only bytes in flight are ever copied into a pool;
 *  - what was in a slot before does not come out of it again: what the backend
 *    did not write, comes back as zeroes, or as an answer that is none (see
 *    "What comes back");
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
 *	0        small_pages                       coherent_first    N
 *	+--------+---------------------------------+-----------------+
 *	| small  | pages                           | coherent memory |
 *	| slots  |                                 | (rings)         |
 *	+--------+---------------------------------+-----------------+
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
 * Direct grants, off by default, are for backends that are trusted more: large
 * buffers of whole pages are granted for the time of their mapping, outside of
 * the pool, instead of copied.  Only then does the backend see pages that the
 * guest uses otherwise, and one that maps them for longer can do harm: see
 * vgrant_direct_unmap().
 *
 * Addresses: uapi/virtio_grant.h.  Required of a platform's DMA by virtio 1.2,
 * section 6.1 (VIRTIO_F_ACCESS_PLATFORM).
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>
#include <linux/vmalloc.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

#define VGRANT_SMALL_SHIFT	8
#define VGRANT_SMALL_PER_PAGE	(PAGE_SIZE >> VGRANT_SMALL_SHIFT)
/* One page in this many is set apart for small slots. */
#define VGRANT_SMALL_SHARE	16
/* No buffer is larger than this many pages. */
#define VGRANT_BUFFER_PAGES	16
/* References that are given back when addresses have been aligned. */
#define VGRANT_REFS_SPARE	(VGRANT_BUFFER_PAGES - 1)
/* The fewest slots that a CPU goes round in. */
#define VGRANT_WINDOW_MIN	64
/* Default size, and the share of the guest's memory it may not exceed. */
#define VGRANT_POOL_KIB		8192
#define VGRANT_QUEUE_KIB	2048	/* for each queue but the first */
#define VGRANT_POOL_RAM_SHARE	32
/*
 * gntdev in the backend's kernel unmaps when the last user of the page is
 * gone, which can be after the daemon's munmap() returned.
 */
#define VGRANT_UNMAP_GRACE_MS	500

VISIBLE_IF_KUNIT unsigned int vgrant_pool_kib;
EXPORT_SYMBOL_IF_KUNIT(vgrant_pool_kib);
module_param_named(pool_kib, vgrant_pool_kib, uint, 0644);
MODULE_PARM_DESC(pool_kib,
		 "KiB of granted pages per device (0, the default: 8192 and 2048 for each further queue, or a 32nd of the memory if that is less; never less than a device needs)");

VISIBLE_IF_KUNIT unsigned int vgrant_direct_kib;
EXPORT_SYMBOL_IF_KUNIT(vgrant_direct_kib);
module_param_named(direct_kib, vgrant_direct_kib, uint, 0644);
MODULE_PARM_DESC(direct_kib,
		 "grant buffers of whole pages and at least this many KiB instead of copying them; for backends that are trusted not to keep them mapped (0, the default: never)");

static int direct_domains[16];
static unsigned int nr_direct_domains;
module_param_array(direct_domains, int, &nr_direct_domains, 0444);
MODULE_PARM_DESC(direct_domains,
		 "numbers of the backend domains that direct_kib is for (default: all)");

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

/* Areas that cursors move in. */
enum vgrant_class {
	VGRANT_SMALL,
	VGRANT_PAGE,
	VGRANT_CLASSES,
};

/*
 * A CPU's place in an area.  Written without a lock: who is moved to another CPU
 * meanwhile may spoil it for a moment, which costs speed and nothing else.
 */
struct vgrant_cursor {
	unsigned int next;	/* slot to look at first */
	unsigned int end;	/* of the window */
	unsigned int start;
};

struct vgrant_cpu {
	struct vgrant_cursor cursor[VGRANT_CLASSES];
	u64 mappings;
	u64 exhaustions;
	u64 bytes_in;
	u64 bytes_out;
	u64 direct_mappings;
};

/* Slots side by side: first to end - 1.  Atomic operations on the bits only. */
struct vgrant_area {
	unsigned long *taken;
	unsigned int first;
	unsigned int end;
	unsigned int base;	/* number of slot 0 where alignment counts */
};

/* A page that is granted directly, by reference; the first one has the rest. */
struct vgrant_direct {
	struct page *page;
	u32 size_bytes;
	u8 dir;
	bool is_held;		/* given back, and the backend still maps it */
};

/* What a slot, or several from this one on, hold: nothing, if size_bytes is 0. */
struct vgrant_use {
	void *orig;		/* the driver's buffer; NULL: coherent */
	u32 size_bytes;
	u32 dir;
};

struct vgrant_pool {
	struct dma_map_ops ops;	/* per pool: leads from a device to its pool */
	struct device *dev;
	domid_t backend;
	const struct dma_map_ops *ops_before;
	bool attached;
	bool has_failed;
	bool is_filled;		/* see vgrant_pool_set_filled() */
	u64 mark;		/* see vgrant_mark() */
	unsigned int pages;
	unsigned int small_pages;
	unsigned int coherent_first;
	unsigned int mapping_max_pages;
	unsigned int segs_max;
	grant_ref_t first_ref;
	dma_addr_t base;
	u8 *va;
	struct page **page;
	struct vgrant_cpu __percpu *cpu;
	unsigned int direct_min_bytes;
	unsigned int direct_refs;	/* 0: no direct grants */
	grant_ref_t direct_first;
	dma_addr_t direct_base;
	struct vgrant_direct *direct;	/* by reference */
	void (*held)(void *priv);
	void *held_priv;
	struct vgrant_use *small_use;	/* by slot */
	struct vgrant_use *page_use;	/* by page: a buffer's first one */
	struct vgrant_area area[VGRANT_CLASSES];
	struct vgrant_area coherent;
	atomic_t pages_high_water;

	spinlock_t direct_lock;	/* all below */
	unsigned long *direct_taken;	/* a bit per reference */
	unsigned int direct_hint;
	unsigned int pages_held;
};

/* A slot, or the first of several: its class, and its number there. */
struct vgrant_slot {
	enum vgrant_class class;
	unsigned int nr;
};

static struct vgrant_pool *vgrant_pool_of(struct device *dev)
{
	return container_of((struct dma_map_ops *)get_dma_ops(dev),
			    struct vgrant_pool, ops);
}

static size_t vgrant_mapping_max(const struct vgrant_pool *pool)
{
	return (size_t)pool->mapping_max_pages << PAGE_SHIFT;
}

/* Bytes from the start of the pool. */
static size_t vgrant_slot_offset(struct vgrant_slot slot)
{
	return (size_t)slot.nr << (slot.class == VGRANT_SMALL ?
				   VGRANT_SMALL_SHIFT : PAGE_SHIFT);
}

/* Areas */

/* The bits of @at to @end - 1 that are in the word of @at. */
static unsigned long vgrant_bits(unsigned int at, unsigned int end)
{
	unsigned long bits = ~0UL << at % BITS_PER_LONG;
	unsigned int beyond = round_up(at + 1, BITS_PER_LONG);

	return end < beyond ? bits & ~0UL >> (beyond - end) : bits;
}

static noinline void vgrant_release_run(struct vgrant_area *area,
					unsigned int at, unsigned int nr)
{
	unsigned int end = at + nr;

	for (; at < end; at = round_up(at + 1, BITS_PER_LONG))
		atomic_long_fetch_andnot_release(vgrant_bits(at, end),
						 (atomic_long_t *)area->taken +
						 at / BITS_PER_LONG);
}

static noinline bool vgrant_claim_run(struct vgrant_area *area, unsigned int at,
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

/* Takes @nr slots from @at on, all or nothing. */
static __always_inline bool vgrant_claim(struct vgrant_area *area,
					 unsigned int at, unsigned int nr)
{
	if (nr == 1)
		return !test_and_set_bit(at, area->taken);
	return vgrant_claim_run(area, at, nr);
}

/* Whatever was read from or written to the slots comes before. */
static __always_inline void vgrant_release(struct vgrant_area *area,
					   unsigned int at, unsigned int nr)
{
	if (nr == 1)
		clear_bit_unlock(at, area->taken);
	else
		vgrant_release_run(area, at, nr);
}

/*
 * The first place between @from and @end with @nr free slots in a row, at a
 * multiple of @align, which is a power of two.
 */
static bool vgrant_take_within(struct vgrant_area *area, unsigned int from,
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

static unsigned int vgrant_count(const struct vgrant_area *area,
				 unsigned int from, unsigned int end)
{
	unsigned int below = bitmap_weight(area->taken, from);
	unsigned int both = bitmap_weight(area->taken, end);

	/* Others take and release meanwhile. */
	return both - min(both, below);
}

/* Pages that are in use from the beginning: for small slots and for rings. */
static unsigned int vgrant_pages_apart(const struct vgrant_pool *pool)
{
	return pool->small_pages + pool->pages - pool->coherent_first;
}

static unsigned int vgrant_pages_in_use(struct vgrant_pool *pool)
{
	struct vgrant_area *area = &pool->area[VGRANT_PAGE];
	unsigned int n = vgrant_pages_apart(pool) +
			 vgrant_count(area, area->first, area->end);
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

static noinline bool vgrant_take_slowly(struct vgrant_pool *pool,
					enum vgrant_class class,
					unsigned int nr, unsigned int *at)
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
	if (class == VGRANT_PAGE)
		vgrant_pages_in_use(pool);
	return false;
}

static __always_inline bool vgrant_take(struct vgrant_pool *pool,
					enum vgrant_class class,
					unsigned int nr, unsigned int *at)
{
	struct vgrant_cursor *cursor = &raw_cpu_ptr(pool->cpu)->cursor[class];
	struct vgrant_area *area = &pool->area[class];
	unsigned int next = READ_ONCE(cursor->next);

	if (likely(next + nr <= READ_ONCE(cursor->end) &&
		   vgrant_claim(area, next, nr))) {
		WRITE_ONCE(cursor->next, next + nr);
		*at = next;
		return true;
	}
	return vgrant_take_slowly(pool, class, nr, at);
}

/* Slots */

static __always_inline bool vgrant_slot_get(struct vgrant_pool *pool,
					    size_t size_bytes,
					    struct vgrant_slot *slot)
{
	if (size_bytes <= VGRANT_SMALL_BYTES) {
		slot->class = VGRANT_SMALL;
		if (likely(vgrant_take(pool, VGRANT_SMALL, 1, &slot->nr)))
			return true;
		/* The small ones are used up, pages may be left. */
	}
	slot->class = VGRANT_PAGE;
	return vgrant_take(pool, VGRANT_PAGE, PFN_UP(size_bytes), &slot->nr);
}

static struct vgrant_use *vgrant_slot_use(struct vgrant_pool *pool,
					  struct vgrant_slot slot)
{
	return slot.class == VGRANT_SMALL ? &pool->small_use[slot.nr] :
					    &pool->page_use[slot.nr];
}

static void vgrant_slot_claim(struct vgrant_pool *pool,
			      struct vgrant_slot slot, void *orig,
			      size_t size_bytes, enum dma_data_direction dir)
{
	struct vgrant_use *use = vgrant_slot_use(pool, slot);

	use->orig = orig;
	use->size_bytes = size_bytes;
	use->dir = dir;
}

static __always_inline void vgrant_slot_put(struct vgrant_pool *pool,
					    struct vgrant_slot slot,
					    struct vgrant_use *use)
{
	unsigned int nr = slot.class == VGRANT_SMALL ? 1 :
						       PFN_UP(use->size_bytes);

	use->size_bytes = 0;
	use->orig = NULL;
	vgrant_release(&pool->area[slot.class], slot.nr, nr);
}

/* Does this slot hold these bytes of the pool? */
static bool vgrant_slot_has(struct vgrant_pool *pool, struct vgrant_slot slot,
			    u64 offset, size_t size_bytes)
{
	return offset - vgrant_slot_offset(slot) + size_bytes <=
		READ_ONCE(vgrant_slot_use(pool, slot)->size_bytes);
}

/*
 * The slot in use that @addr lies in.  An address that is not ours, or of a
 * slot that nothing is mapped to, is the fault of the driver above us: loud,
 * and without consequences.
 */
static noinline bool vgrant_slot_find_within(struct vgrant_pool *pool,
					     u64 offset, size_t size_bytes,
					     struct vgrant_slot *slot)
{
	unsigned int i;

	if (WARN_ONCE(offset >= (u64)pool->pages << PAGE_SHIFT,
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

static __always_inline struct vgrant_slot
vgrant_slot_at(const struct vgrant_pool *pool, u64 offset)
{
	struct vgrant_slot slot;

	if (offset >> PAGE_SHIFT < pool->small_pages) {
		slot.class = VGRANT_SMALL;
		slot.nr = offset >> VGRANT_SMALL_SHIFT;
	} else {
		slot.class = VGRANT_PAGE;
		slot.nr = offset >> PAGE_SHIFT;
	}
	return slot;
}

static bool vgrant_slot_find(struct vgrant_pool *pool, dma_addr_t addr,
			     size_t size_bytes, struct vgrant_slot *slot)
{
	u64 offset = addr - pool->base;

	*slot = vgrant_slot_at(pool, offset);
	if (likely(offset >> PAGE_SHIFT < pool->pages &&
		   vgrant_slot_has(pool, *slot, offset, size_bytes)))
		return true;
	return vgrant_slot_find_within(pool, offset, size_bytes, slot);
}

/* Direct grants */

static bool vgrant_direct_get(struct vgrant_pool *pool, unsigned int pages,
			      unsigned int *nr)
{
	unsigned long flags, start;
	bool found;

	spin_lock_irqsave(&pool->direct_lock, flags);
	/* Round and round, so that a reference rests after its use. */
	start = bitmap_find_next_zero_area(pool->direct_taken, pool->direct_refs,
					   pool->direct_hint, pages, 0);
	if (start >= pool->direct_refs)
		start = bitmap_find_next_zero_area(pool->direct_taken,
						   pool->direct_refs, 0, pages,
						   0);
	found = start < pool->direct_refs;
	if (found) {
		bitmap_set(pool->direct_taken, start, pages);
		pool->direct_hint = start + pages;
		*nr = start;
	}
	spin_unlock_irqrestore(&pool->direct_lock, flags);
	return found;
}

/*
 * Whole pages that can be held on to.  Those of the slab are its own, and others
 * without references cannot be kept from their owner either.
 */
static bool vgrant_is_direct(struct vgrant_pool *pool, phys_addr_t phys,
			     size_t size)
{
	struct page *page = pfn_to_page(PHYS_PFN(phys));
	size_t at;

	if (size < pool->direct_min_bytes || !PAGE_ALIGNED(phys | size))
		return false;
	for (at = 0; at < size; at += PAGE_SIZE, page++)
		if (PageSlab(page) || !page_count(page))
			return false;
	return true;
}

static noinline dma_addr_t vgrant_direct_map(struct vgrant_pool *pool,
					     phys_addr_t phys, size_t size,
					     enum dma_data_direction dir)
{
	unsigned int pages = size >> PAGE_SHIFT, nr, i;
	struct vgrant_direct *direct;

	if (!vgrant_direct_get(pool, pages, &nr))
		return DMA_MAPPING_ERROR;
	direct = &pool->direct[nr];
	direct->size_bytes = size;
	direct->dir = dir;
	for (i = 0; i < pages; i++) {
		direct[i].page = pfn_to_page(PHYS_PFN(phys)) + i;
		/* A write barrier before the entry's flags is in there. */
		gnttab_grant_foreign_access_ref(pool->direct_first + nr + i,
						pool->backend,
						xen_page_to_gfn(direct[i].page),
						dir == DMA_TO_DEVICE);
	}
	raw_cpu_inc(pool->cpu->direct_mappings);
	return pool->direct_base + ((dma_addr_t)nr << PAGE_SHIFT);
}

/*
 * The driver takes its buffer back, and the grants end.  If the backend still
 * maps a page, that cannot be undone (compare XSA-396), and its owner cannot be
 * told.  So the page never goes back to the kernel while it is mapped, its
 * reference is not used again, and the device has failed: nothing else of it is
 * believed.
 */
static noinline void vgrant_direct_unmap(struct vgrant_pool *pool,
					 dma_addr_t addr, size_t size,
					 enum dma_data_direction dir)
{
	unsigned int nr = (addr - pool->direct_base) >> PAGE_SHIFT;
	struct vgrant_direct *direct = &pool->direct[nr];
	unsigned int pages = size >> PAGE_SHIFT, nr_held = 0, i;
	unsigned long flags;

	if (WARN_ONCE(!PAGE_ALIGNED(addr) || direct->size_bytes != size ||
		      direct->dir != dir, "unmapped otherwise than mapped\n"))
		return;
	direct->size_bytes = 0;
	for (i = 0; i < pages; i++) {
		if (gnttab_end_foreign_access_ref(pool->direct_first + nr + i)) {
			direct[i].page = NULL;
			continue;
		}
		get_page(direct[i].page);
		direct[i].is_held = true;
		nr_held++;
	}
	spin_lock_irqsave(&pool->direct_lock, flags);
	for (i = 0; i < pages; i++)
		if (!direct[i].is_held)
			__clear_bit(nr + i, pool->direct_taken);
	pool->pages_held += nr_held;
	spin_unlock_irqrestore(&pool->direct_lock, flags);
	if (likely(!nr_held))
		return;
	dev_err(pool->dev, "domain %u still maps %u pages of a buffer that is not its any more: it can go on reading%s them\n",
		pool->backend, nr_held,
		dir == DMA_TO_DEVICE ? "" : " and writing");
	vgrant_pool_fail(pool);
	if (pool->held)
		pool->held(pool->held_priv);
}

static bool vgrant_addr_is_direct(struct vgrant_pool *pool, dma_addr_t addr)
{
	return (addr - pool->direct_base) >> PAGE_SHIFT < pool->direct_refs;
}

static bool vgrant_direct_is_for(domid_t backend)
{
	unsigned int i;

	if (!nr_direct_domains)
		return true;
	for (i = 0; i < nr_direct_domains; i++)
		if (direct_domains[i] == backend)
			return true;
	return false;
}

/* As many references as the pool has pages.  Without them, copying does. */
static void vgrant_direct_init(struct vgrant_pool *pool)
{
	unsigned int refs = pool->pages;

	if (!vgrant_direct_kib || !vgrant_direct_is_for(pool->backend))
		return;
	pool->direct_min_bytes = max_t(size_t, PAGE_SIZE,
				       min(vgrant_direct_kib, SZ_1M / SZ_1K) * SZ_1K);
	pool->direct_taken = bitmap_zalloc(refs, GFP_KERNEL);
	pool->direct = kvcalloc(refs, sizeof(*pool->direct), GFP_KERNEL);
	if (!pool->direct_taken || !pool->direct ||
	    gnttab_alloc_grant_reference_seq(refs, &pool->direct_first)) {
		dev_warn(pool->dev, "no room for direct grants, all is copied\n");
		return;
	}
	pool->direct_base = virtio_grant_addr(pool->direct_first, 0);
	pool->direct_refs = refs;
}

/* Returns how many pages the backend still maps: they are the kernel's now. */
static unsigned int vgrant_direct_exit(struct vgrant_pool *pool)
{
	unsigned int i, nr_held = 0;

	for (i = 0; i < pool->direct_refs; i++) {
		struct vgrant_direct *direct = &pool->direct[i];

		if (direct->is_held &&
		    !gnttab_try_end_foreign_access(pool->direct_first + i)) {
			gnttab_end_foreign_access(pool->direct_first + i,
						  direct->page);
			nr_held++;
		} else if (direct->is_held) {
			put_page(direct->page);
		} else {
			gnttab_free_grant_reference(pool->direct_first + i);
		}
	}
	bitmap_free(pool->direct_taken);
	kvfree(pool->direct);
	return nr_held;
}

/*
 * What comes back
 *
 * A slot holds what was in flight before, of whoever: a request that fails for
 * want of another slot, is cancelled by a reset or lost with its backend must
 * not hand that to its owner.  Clearing each slot costs as much as the copy.  So
 * only where the backend did not promise to write all of it, it is cleared;
 * otherwise each page of it gets a mark at either end, and one that still has a
 * mark when the buffer is given back was not written, or not to its end.  It
 * comes back as zeroes: not as it was, since then a backend that writes nothing
 * and says that it did would make the owner take its old memory for data, and
 * write that to the disk.
 *
 * The shortest buffers are answers, and in many zero means success (the status
 * of a disk, a file system's header), while their drivers do not preset them.
 * They begin as all ones, which is no success anywhere.
 */
#define VGRANT_MARK_BYTES	sizeof(u64)

/* One page of a buffer, or what there is of it. */
static __always_inline void vgrant_mark_page(const struct vgrant_pool *pool,
					     u8 *at, size_t size)
{
	put_unaligned(pool->mark, (u64 *)at);
	put_unaligned(pool->mark, (u64 *)(at + size - VGRANT_MARK_BYTES));
}

/* Not of const: for sparse, where get_unaligned() is more than a load (7.2). */
static __always_inline bool vgrant_is_marked(const struct vgrant_pool *pool,
					     const u8 *at, size_t size)
{
	return get_unaligned((u64 *)at) == pool->mark ||
	       get_unaligned((u64 *)(at + size - VGRANT_MARK_BYTES)) ==
		pool->mark;
}

/* What is too short for marks is cleared, and believed. */
static __always_inline void vgrant_mark(const struct vgrant_pool *pool, u8 *at,
					size_t size)
{
	for (; size > PAGE_SIZE; at += PAGE_SIZE, size -= PAGE_SIZE)
		vgrant_mark_page(pool, at, PAGE_SIZE);
	if (likely(size >= 2 * VGRANT_MARK_BYTES))
		vgrant_mark_page(pool, at, size);
	else
		memset(at, 0, size);
}

static __always_inline bool vgrant_has_mark(const struct vgrant_pool *pool,
					    const u8 *at, size_t size)
{
	for (; size > PAGE_SIZE; at += PAGE_SIZE, size -= PAGE_SIZE)
		if (unlikely(vgrant_is_marked(pool, at, PAGE_SIZE)))
			return true;
	return size >= 2 * VGRANT_MARK_BYTES && vgrant_is_marked(pool, at, size);
}

/* What the device finds in a slot that it is to write. */
static __always_inline void vgrant_preset(const struct vgrant_pool *pool,
					  u8 *copy, size_t size,
					  unsigned long attrs)
{
	if (size <= VGRANT_ANSWER_BYTES)
		memset(copy, 0xff, VGRANT_ANSWER_BYTES);
	else if (likely(pool->is_filled && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)))
		vgrant_mark(pool, copy, size);
	else	/* or its driver makes several buffers of it */
		memset(copy, 0, size);
}

/* The same, of a buffer that is not as the device should have left it. */
static noinline void vgrant_copy_some(struct vgrant_pool *pool,
				      const struct vgrant_use *use,
				      const u8 *copy, size_t from, size_t end)
{
	u8 *orig = use->orig;
	size_t page, next;

	for (; from < end; from = next) {
		page = ALIGN_DOWN(from, PAGE_SIZE);
		next = min(page + PAGE_SIZE, end);
		if (READ_ONCE(pool->has_failed))
			memset(orig + from, 0xff, next - from);
		else if (vgrant_has_mark(pool, copy + page,
					 min(use->size_bytes - page, PAGE_SIZE)))
			memset(orig + from, 0, next - from);
		else
			memcpy(orig + from, copy + from, next - from);
	}
}

/*
 * What a driver gets to see of a buffer that the device could write, from @from
 * to @end.  The backend wrote the data before used->idx; the ring's read barrier
 * after reading used->idx is the partner of its write barrier.  It may write on
 * while we look and copy: what it wrote is its to choose anyway.
 */
static __always_inline void vgrant_copy_out(struct vgrant_pool *pool,
					    const struct vgrant_use *use,
					    const u8 *copy, size_t from,
					    size_t end)
{
	raw_cpu_add(pool->cpu->bytes_out, end - from);
	if (unlikely(READ_ONCE(pool->has_failed) ||
		     (use->size_bytes > VGRANT_ANSWER_BYTES &&
		      use->dir == DMA_FROM_DEVICE &&
		      vgrant_has_mark(pool, copy, use->size_bytes))))
		vgrant_copy_some(pool, use, copy, from, end);
	else
		memcpy(use->orig + from, copy + from, end - from);
}

/* DMA operations: streaming */

static __always_inline dma_addr_t vgrant_map_phys(struct device *dev,
						  phys_addr_t phys, size_t size,
						  enum dma_data_direction dir,
						  unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	void *orig, *copy;
	size_t offset;

	if (WARN_ON_ONCE(dir == DMA_NONE || attrs & DMA_ATTR_MMIO))
		return DMA_MAPPING_ERROR;
	/*
	 * mapping_max_pages is for segments, of which there can be many; there
	 * is room for one indirect table of any size.
	 */
	if (unlikely(!size || size > VGRANT_BUFFER_PAGES * PAGE_SIZE)) {
		dev_warn_once(dev, "a buffer of %zu bytes cannot be mapped, the limit is %zu\n",
			      size, vgrant_mapping_max(pool));
		return DMA_MAPPING_ERROR;
	}
	if (unlikely(READ_ONCE(pool->has_failed)))
		return DMA_MAPPING_ERROR;
	if (unlikely(pool->direct_refs) && vgrant_is_direct(pool, phys, size)) {
		dma_addr_t addr = vgrant_direct_map(pool, phys, size, dir);

		if (addr != DMA_MAPPING_ERROR)
			return addr;
	}
	if (unlikely(!vgrant_slot_get(pool, size, &slot))) {
		/* The ring says -ENOMEM, and the layers above try again. */
		raw_cpu_inc(pool->cpu->exhaustions);
		return DMA_MAPPING_ERROR;
	}

	orig = phys_to_virt(phys);
	offset = vgrant_slot_offset(slot);
	copy = pool->va + offset;
	vgrant_slot_claim(pool, slot, orig, size, dir);
	/*
	 * Ordered before the backend sees the descriptor by the ring's write
	 * barrier before avail->idx; its partner is the backend's read barrier
	 * after reading avail->idx.
	 */
	if (dir == DMA_FROM_DEVICE) {
		vgrant_preset(pool, copy, size, attrs);
	} else if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		memcpy(copy, orig, size);
		raw_cpu_add(pool->cpu->bytes_in, size);
	} else {
		memset(copy, 0, size);
	}
	raw_cpu_inc(pool->cpu->mappings);
	return pool->base + offset;
}

/* No slot begins there: says what is wrong, or ends a direct grant. */
static noinline void vgrant_unmap_other(struct vgrant_pool *pool,
					dma_addr_t addr, size_t size,
					enum dma_data_direction dir)
{
	struct vgrant_slot slot;

	if (vgrant_addr_is_direct(pool, addr))
		vgrant_direct_unmap(pool, addr, size, dir);
	else if (vgrant_slot_find(pool, addr, size, &slot))
		WARN_ONCE(1, "unmapped otherwise than mapped\n");
}

static __always_inline void vgrant_unmap_phys(struct device *dev,
					      dma_addr_t addr, size_t size,
					      enum dma_data_direction dir,
					      unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	u64 offset = addr - pool->base;
	struct vgrant_slot slot = vgrant_slot_at(pool, offset);
	struct vgrant_use *use;

	if (unlikely(offset >> PAGE_SHIFT >= pool->pages))
		return vgrant_unmap_other(pool, addr, size, dir);
	use = vgrant_slot_use(pool, slot);
	if (unlikely(offset != vgrant_slot_offset(slot) || !use->orig ||
		     use->size_bytes != size || use->dir != dir))
		return vgrant_unmap_other(pool, addr, size, dir);
	if (dir != DMA_TO_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		vgrant_copy_out(pool, use, pool->va + offset, 0, size);
	vgrant_slot_put(pool, slot, use);
}

static void vgrant_sync_for_cpu(struct device *dev, dma_addr_t addr,
				size_t size, enum dma_data_direction dir)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	size_t offset, within;

	if (dir == DMA_TO_DEVICE || vgrant_addr_is_direct(pool, addr) ||
	    !vgrant_slot_find(pool, addr, size, &slot))
		return;
	offset = vgrant_slot_offset(slot);
	within = addr - pool->base - offset;
	vgrant_copy_out(pool, vgrant_slot_use(pool, slot), pool->va + offset,
			within, within + size);
}

static void vgrant_sync_for_device(struct device *dev, dma_addr_t addr,
				   size_t size, enum dma_data_direction dir)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	size_t within;

	if (dir == DMA_FROM_DEVICE || vgrant_addr_is_direct(pool, addr) ||
	    !vgrant_slot_find(pool, addr, size, &slot))
		return;
	within = addr - pool->base - vgrant_slot_offset(slot);
	memcpy(pool->va + (addr - pool->base),
	       vgrant_slot_use(pool, slot)->orig + within, size);
	raw_cpu_add(pool->cpu->bytes_in, size);
}

static void vgrant_unmap_sg(struct device *dev, struct scatterlist *sgl,
			    int nents, enum dma_data_direction dir,
			    unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		vgrant_unmap_phys(dev, sg_dma_address(sg), sg_dma_len(sg), dir,
				  attrs);
}

static int vgrant_map_sg(struct device *dev, struct scatterlist *sgl,
			 int nents, enum dma_data_direction dir,
			 unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		sg_dma_address(sg) = vgrant_map_phys(dev, sg_phys(sg),
						     sg->length, dir, attrs);
		if (sg_dma_address(sg) == DMA_MAPPING_ERROR) {
			vgrant_unmap_sg(dev, sgl, i, dir,
					attrs | DMA_ATTR_SKIP_CPU_SYNC);
			return -ENOMEM;
		}
		sg_dma_len(sg) = sg->length;
	}
	return nents;
}

static void vgrant_sync_sg_for_cpu(struct device *dev, struct scatterlist *sgl,
				   int nents, enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		vgrant_sync_for_cpu(dev, sg_dma_address(sg), sg_dma_len(sg),
				    dir);
}

static void vgrant_sync_sg_for_device(struct device *dev,
				      struct scatterlist *sgl, int nents,
				      enum dma_data_direction dir)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		vgrant_sync_for_device(dev, sg_dma_address(sg), sg_dma_len(sg),
				       dir);
}

/* DMA operations: coherent */

/*
 * Aligned to the power of two that its size is rounded up to: so the DMA API
 * wants it, for both addresses, and vgrant_pool_align() has them agree.
 */
static void *vgrant_alloc(struct device *dev, size_t size, dma_addr_t *addr,
			  gfp_t gfp, unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_area *more = &pool->area[VGRANT_PAGE];
	struct vgrant_slot slot = { .class = VGRANT_PAGE };
	unsigned int pages, align;
	size_t offset;

	if (!size || size > VGRANT_BUFFER_PAGES * PAGE_SIZE)
		return NULL;
	pages = PFN_UP(size);
	align = roundup_pow_of_two(pages);
	/* More than was announced goes where the buffers are. */
	if (!vgrant_take_within(&pool->coherent, pool->coherent.first,
				pool->coherent.end, pages, align, &slot.nr) &&
	    !vgrant_take_within(more, more->first, more->end, pages, align,
				&slot.nr))
		return NULL;
	size = PAGE_ALIGN(size);
	offset = vgrant_slot_offset(slot);
	vgrant_slot_claim(pool, slot, NULL, size, DMA_BIDIRECTIONAL);
	memset(pool->va + offset, 0, size);
	*addr = pool->base + offset;
	return pool->va + offset;
}

static void vgrant_free(struct device *dev, size_t size, void *va,
			dma_addr_t addr, unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	struct vgrant_use *use;

	size = PAGE_ALIGN(size);
	if (!vgrant_slot_find(pool, addr, size, &slot))
		return;
	use = vgrant_slot_use(pool, slot);
	if (WARN_ONCE(addr - pool->base != vgrant_slot_offset(slot) ||
		      use->size_bytes != size || use->orig,
		      "freed otherwise than allocated\n"))
		return;
	if (slot.nr < pool->coherent_first) {
		vgrant_slot_put(pool, slot, use);
		return;
	}
	use->size_bytes = 0;
	vgrant_release(&pool->coherent, slot.nr, size >> PAGE_SHIFT);
}

/* Bit 63 is part of every address. */
static int vgrant_dma_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static size_t vgrant_max_mapping_size(struct device *dev)
{
	return vgrant_mapping_max(vgrant_pool_of(dev));
}

VGRANT_MAP_ADAPTERS(vgrant_map_phys, vgrant_unmap_phys)

static const struct dma_map_ops vgrant_dma_ops = {
	VGRANT_MAP_OPS(vgrant_map_phys, vgrant_unmap_phys),
	.alloc = vgrant_alloc,
	.free = vgrant_free,
	.map_sg = vgrant_map_sg,
	.unmap_sg = vgrant_unmap_sg,
	.sync_single_for_cpu = vgrant_sync_for_cpu,
	.sync_single_for_device = vgrant_sync_for_device,
	.sync_sg_for_cpu = vgrant_sync_sg_for_cpu,
	.sync_sg_for_device = vgrant_sync_sg_for_device,
	.dma_supported = vgrant_dma_supported,
	.max_mapping_size = vgrant_max_mapping_size,
};

/* Statistics */

void vgrant_pool_read_stats(struct vgrant_pool *pool,
			    struct vgrant_pool_stats *stats)
{
	struct vgrant_area *small = &pool->area[VGRANT_SMALL];
	int cpu;

	memset(stats, 0, sizeof(*stats));
	stats->backend = pool->backend;
	stats->first_ref = pool->first_ref;
	stats->pages_total = pool->pages;
	stats->small_total = small->end;
	stats->mapping_max_bytes = vgrant_mapping_max(pool);
	stats->segs_max = pool->segs_max;

	stats->pages_in_use = vgrant_pages_in_use(pool);
	stats->pages_high_water = atomic_read(&pool->pages_high_water);
	stats->small_in_use = vgrant_count(small, 0, small->end);
	stats->pages_held = READ_ONCE(pool->pages_held);

	for_each_possible_cpu(cpu) {
		struct vgrant_cpu *local = per_cpu_ptr(pool->cpu, cpu);

		stats->mappings += READ_ONCE(local->mappings);
		stats->exhaustions += READ_ONCE(local->exhaustions);
		stats->bytes_in += READ_ONCE(local->bytes_in);
		stats->bytes_out += READ_ONCE(local->bytes_out);
		stats->direct_mappings += READ_ONCE(local->direct_mappings);
	}
}
EXPORT_SYMBOL_GPL(vgrant_pool_read_stats);

/*
 * /sys/devices/.../grant_pool/NAME: the fields of struct vgrant_pool_stats,
 * one decimal number each.  They are there while the pool is attached.
 */
#define VGRANT_ATTR(field, mode)					\
static ssize_t field##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct vgrant_pool_stats stats;					\
									\
	vgrant_pool_read_stats(vgrant_pool_of(dev), &stats);		\
	return sysfs_emit(buf, "%llu\n", (u64)stats.field);		\
}									\
static struct device_attribute dev_attr_##field =			\
	__ATTR(field, mode, field##_show, NULL)

VGRANT_ATTR(backend, 0444);
VGRANT_ATTR(first_ref, 0400);
VGRANT_ATTR(pages_total, 0444);
VGRANT_ATTR(pages_in_use, 0444);
VGRANT_ATTR(pages_high_water, 0444);
VGRANT_ATTR(small_total, 0444);
VGRANT_ATTR(small_in_use, 0444);
VGRANT_ATTR(mapping_max_bytes, 0444);
VGRANT_ATTR(segs_max, 0444);
VGRANT_ATTR(mappings, 0444);
VGRANT_ATTR(exhaustions, 0444);
VGRANT_ATTR(bytes_in, 0444);
VGRANT_ATTR(bytes_out, 0444);
VGRANT_ATTR(direct_mappings, 0444);
VGRANT_ATTR(pages_held, 0444);

static struct attribute *vgrant_attrs[] = {
	&dev_attr_backend.attr,
	&dev_attr_first_ref.attr,
	&dev_attr_pages_total.attr,
	&dev_attr_pages_in_use.attr,
	&dev_attr_pages_high_water.attr,
	&dev_attr_small_total.attr,
	&dev_attr_small_in_use.attr,
	&dev_attr_mapping_max_bytes.attr,
	&dev_attr_segs_max.attr,
	&dev_attr_mappings.attr,
	&dev_attr_exhaustions.attr,
	&dev_attr_bytes_in.attr,
	&dev_attr_bytes_out.attr,
	&dev_attr_direct_mappings.attr,
	&dev_attr_pages_held.attr,
	NULL
};

static const struct attribute_group vgrant_group = {
	.name = "grant_pool",
	.attrs = vgrant_attrs,
};

/* Pools */

static void vgrant_pool_grant(struct vgrant_pool *pool, unsigned int i)
{
	gnttab_grant_foreign_access_ref(pool->first_ref + i, pool->backend,
					xen_page_to_gfn(pool->page[i]), 0);
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

	return pages == 1 ? fit : fit - min(fit, 5U);
}

/* The largest alignment that coherent memory of so many bytes asks for. */
static unsigned int vgrant_coherent_align(size_t bytes)
{
	return min_t(unsigned int, VGRANT_BUFFER_PAGES,
		     roundup_pow_of_two(max(PFN_UP(bytes), 1UL)));
}

/* Pages for it, and for its start to be aligned. */
static unsigned int vgrant_coherent_pages(size_t bytes)
{
	return PFN_UP(bytes) + vgrant_coherent_align(bytes) - 1;
}

/*
 * Sizes of everything, from the wish and the need.  A request must fit into
 * an otherwise idle pool, or it would wait for ever: its segments get seven
 * eighths of what the rings leave, the last eighth is for its headers and
 * indirect table.  Of the sizes with which enough segments fit, the largest.
 */
static void vgrant_pool_measure(struct vgrant_pool *pool,
				const struct vgrant_pool_need *need)
{
	unsigned int data_pages, pages;

	pool->small_pages = DIV_ROUND_UP(pool->pages, VGRANT_SMALL_SHARE);
	pool->coherent_first = pool->pages -
			       vgrant_coherent_pages(need->coherent_bytes);
	data_pages = pool->coherent_first - pool->small_pages;
	for (pages = VGRANT_BUFFER_PAGES; pages > 1; pages /= 2)
		if (vgrant_segs_fit(data_pages, pages) >= vgrant_segs_needed(need))
			break;
	pool->mapping_max_pages = pages;
	pool->segs_max = min(need->segs_max, vgrant_segs_fit(data_pages, pages));
}

static unsigned int vgrant_pages_wanted(const struct vgrant_pool_need *need)
{
	unsigned long kib = VGRANT_POOL_KIB;

	if (vgrant_pool_kib)
		return vgrant_pool_kib >> (PAGE_SHIFT - 10);
	if (need->queues > 1)
		kib += (need->queues - 1) * VGRANT_QUEUE_KIB;
	return min(kib >> (PAGE_SHIFT - 10),
		   totalram_pages() / VGRANT_POOL_RAM_SHARE);
}

/* The fewest pages with which vgrant_pool_measure() keeps its promise. */
static unsigned int vgrant_pages_needed(const struct vgrant_pool_need *need)
{
	unsigned int data_pages = (vgrant_segs_needed(need) + 7) / 7 * 8 + 8;

	return (data_pages + vgrant_coherent_pages(need->coherent_bytes)) *
		VGRANT_SMALL_SHARE / (VGRANT_SMALL_SHARE - 1) + 1;
}

/*
 * As many consecutive references as wanted, or fewer, or not enough; and some
 * more, of which vgrant_pool_align() takes the right ones.
 */
static int vgrant_pool_alloc_refs(struct vgrant_pool *pool,
				  const struct vgrant_pool_need *need)
{
	unsigned int needed = vgrant_pages_needed(need);
	unsigned int wanted = max(vgrant_pages_wanted(need), needed);

	for (pool->pages = wanted; pool->pages >= needed;
	     pool->pages = max(pool->pages / 2, needed)) {
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
	unsigned int i;

	for (i = 0; i < pool->pages && pool->page[i]; i++)
		__free_page(pool->page[i]);
	kvfree(pool->page);
}

static int vgrant_pool_alloc_pages(struct vgrant_pool *pool)
{
	unsigned int i;

	pool->page = kvcalloc(pool->pages, sizeof(*pool->page), GFP_KERNEL);
	if (!pool->page)
		return -ENOMEM;
	for (i = 0; i < pool->pages; i++) {
		pool->page[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pool->page[i])
			goto free_pages;
	}
	pool->va = vmap(pool->page, pool->pages, VM_MAP, PAGE_KERNEL);
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
	unsigned long pfn = (unsigned long)pool->va >> PAGE_SHIFT;
	unsigned int skip = (pfn - pool->first_ref) % VGRANT_BUFFER_PAGES;

	gnttab_free_grant_reference_seq(pool->first_ref, skip);
	pool->first_ref += skip;
	gnttab_free_grant_reference_seq(pool->first_ref + pool->pages,
					VGRANT_REFS_SPARE - skip);
	pool->base = virtio_grant_addr(pool->first_ref, 0);
	pool->coherent_first = round_up(pool->first_ref + pool->coherent_first,
					align) - pool->first_ref;
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
 * -EOPNOTSUPP with other page sizes than 4096, -ENOSPC without room in the
 * grant table, -ENOMEM.
 */
struct vgrant_pool *vgrant_pool_create(struct device *dev, domid_t backend,
				       const struct vgrant_pool_need *need)
{
	unsigned int i, nr_spare = VGRANT_REFS_SPARE;
	struct vgrant_pool *pool;
	int ret;

	if (PAGE_SIZE != VIRTIO_GRANT_PAGE_BYTES) {
		dev_err(dev, "grants are of 4096 bytes, this kernel's pages of %lu: not supported\n",
			PAGE_SIZE);
		return ERR_PTR(-EOPNOTSUPP);
	}
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

	for (i = 0; i < pool->pages; i++) {
		while (!gnttab_try_end_foreign_access(pool->first_ref + i)) {
			if (time_after(jiffies, end)) {
				clear_highpage(pool->page[i]);
				gnttab_end_foreign_access(pool->first_ref + i,
							  pool->page[i]);
				pool->page[i] = NULL;
				nr_held++;
				break;
			}
			msleep(20);
		}
		if (pool->page[i]) {
			clear_highpage(pool->page[i]);
			__free_page(pool->page[i]);
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
 * vgrant_pool_attach - route the device's DMA through the pool
 * @pool: the pool; its device must have no DMA mapping yet
 *
 * Adds the statistics (grant_pool/ in the device's sysfs directory).
 */
void vgrant_pool_attach(struct vgrant_pool *pool)
{
	pool->ops_before = pool->dev->dma_ops;
	set_dma_ops(pool->dev, &pool->ops);
	pool->attached = true;
	if (device_add_group(pool->dev, &vgrant_group))
		dev_warn(pool->dev, "no statistics in sysfs\n");
}
EXPORT_SYMBOL_GPL(vgrant_pool_attach);

/**
 * vgrant_pool_detach - undo vgrant_pool_attach()
 * @pool: the pool; its device must have no DMA mapping left
 */
void vgrant_pool_detach(struct vgrant_pool *pool)
{
	device_remove_group(pool->dev, &vgrant_group);
	set_dma_ops(pool->dev, pool->ops_before);
	pool->attached = false;
}
EXPORT_SYMBOL_GPL(vgrant_pool_detach);

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
 * @pool: a pool that nothing is mapped in
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
	pool->is_filled = is_filled && !vgrant_zero;
}
EXPORT_SYMBOL_GPL(vgrant_pool_set_filled);

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
	return 0;

grant_again:
	while (i--)
		vgrant_pool_grant(pool, i);
	return -EBUSY;
}
EXPORT_SYMBOL_GPL(vgrant_pool_suspend);

/**
 * vgrant_pool_resume - grant the pages again
 * @pool: a pool after a successful vgrant_pool_suspend()
 */
void vgrant_pool_resume(struct vgrant_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pool->pages; i++)
		vgrant_pool_grant(pool, i);
}
EXPORT_SYMBOL_GPL(vgrant_pool_resume);

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
