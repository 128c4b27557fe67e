/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pool_priv.h - what the files of virtio_grant_dma share: a pool's layout, and
 * taking and giving back slots, which is inline since each buffer does both.
 *
 * pool.c makes pools and finds room; direct.c grants buffers where they are;
 * ops.c has the DMA operations, and what comes back; stats.c counts.
 */
#ifndef VIRTIO_GRANT_POOL_PRIV_H
#define VIRTIO_GRANT_POOL_PRIV_H

#include <linux/bitmap.h>
#include <linux/dma-map-ops.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <xen/page.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

/*
 * A page here is what a grant is of, XEN_PAGE_SIZE (4 KiB), and so are all counts
 * of pages.  A page of the kernel is one of these or several, XEN_PFN_PER_PAGE,
 * all of them the pool's.
 */
#define VGRANT_SMALL_SHIFT	8
#define VGRANT_SMALL_PER_PAGE	(XEN_PAGE_SIZE >> VGRANT_SMALL_SHIFT)
/* No buffer is larger than this many pages. */
#define VGRANT_BUFFER_PAGES	16u

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

/* Pages that one direction has for itself: what the device could read, or not. */
enum vgrant_reserve {
	VGRANT_TO_DEVICE,
	VGRANT_FROM_DEVICE,
	VGRANT_RESERVES,
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
	struct page *page;	/* the kernel's that it is in */
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
	unsigned int reserve_first;	/* == coherent_first: none */
	unsigned int reserve_pages;	/* for each direction */
	unsigned int coherent_first;
	unsigned int mapping_max_pages;
	unsigned int segs_max;
	grant_ref_t first_ref;
	dma_addr_t base;
	u8 *va;
	struct page **page;	/* the kernel's */
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
	struct mutex grants_lock;	/* grants end or begin; backend, is_asleep */
	bool is_asleep;		/* there are none */

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

extern const struct dma_map_ops vgrant_dma_ops;

static inline struct vgrant_pool *vgrant_pool_of(struct device *dev)
{
	return container_of((struct dma_map_ops *)get_dma_ops(dev),
			    struct vgrant_pool, ops);
}

static inline size_t vgrant_mapping_max(const struct vgrant_pool *pool)
{
	return (size_t)pool->mapping_max_pages << XEN_PAGE_SHIFT;
}

/* Bytes from the start of the pool. */
static inline size_t vgrant_slot_offset(struct vgrant_slot slot)
{
	return (size_t)slot.nr << (slot.class == VGRANT_SMALL ?
				   VGRANT_SMALL_SHIFT : XEN_PAGE_SHIFT);
}

/* The frame that page @nr of a page of the kernel is. */
static inline unsigned long vgrant_gfn(struct page *page, unsigned int nr)
{
	return xen_page_to_gfn(page) + nr;
}

/* Areas */

void vgrant_release_run(struct vgrant_area *area, unsigned int at,
			unsigned int nr);
bool vgrant_claim_run(struct vgrant_area *area, unsigned int at,
		      unsigned int nr);
bool vgrant_take_within(struct vgrant_area *area, unsigned int from,
			unsigned int end, unsigned int nr, unsigned int align,
			unsigned int *at);
bool vgrant_take_slowly(struct vgrant_pool *pool, enum vgrant_class class,
			unsigned int nr, enum dma_data_direction dir,
			unsigned int *at);
unsigned int vgrant_count(const struct vgrant_area *area, unsigned int from,
			  unsigned int end);
unsigned int vgrant_pages_in_use(struct vgrant_pool *pool);

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

/* Pages that are in use from the beginning: for small slots and for rings. */
static inline unsigned int vgrant_pages_apart(const struct vgrant_pool *pool)
{
	return pool->small_pages + pool->pages - pool->coherent_first;
}

static __always_inline bool vgrant_take(struct vgrant_pool *pool,
					enum vgrant_class class,
					unsigned int nr,
					enum dma_data_direction dir,
					unsigned int *at)
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
	return vgrant_take_slowly(pool, class, nr, dir, at);
}

/* Slots */

bool vgrant_slot_find_within(struct vgrant_pool *pool, u64 offset,
			     size_t size_bytes, struct vgrant_slot *slot);

static __always_inline bool vgrant_slot_get(struct vgrant_pool *pool,
					    size_t size_bytes,
					    enum dma_data_direction dir,
					    struct vgrant_slot *slot)
{
	if (size_bytes <= VGRANT_SMALL_BYTES) {
		slot->class = VGRANT_SMALL;
		if (likely(vgrant_take(pool, VGRANT_SMALL, 1, dir, &slot->nr)))
			return true;
		/* The small ones are used up, pages may be left. */
	}
	slot->class = VGRANT_PAGE;
	return vgrant_take(pool, VGRANT_PAGE, XEN_PFN_UP(size_bytes), dir,
			   &slot->nr);
}

static inline struct vgrant_use *vgrant_slot_use(struct vgrant_pool *pool,
						 struct vgrant_slot slot)
{
	return slot.class == VGRANT_SMALL ? &pool->small_use[slot.nr] :
					    &pool->page_use[slot.nr];
}

static inline void vgrant_slot_claim(struct vgrant_pool *pool,
				     struct vgrant_slot slot, void *orig,
				     size_t size_bytes,
				     enum dma_data_direction dir)
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
						       XEN_PFN_UP(use->size_bytes);

	use->size_bytes = 0;
	use->orig = NULL;
	vgrant_release(&pool->area[slot.class], slot.nr, nr);
}

/* Does this slot hold these bytes of the pool? */
static inline bool vgrant_slot_has(struct vgrant_pool *pool,
				   struct vgrant_slot slot, u64 offset,
				   size_t size_bytes)
{
	return offset - vgrant_slot_offset(slot) + size_bytes <=
		READ_ONCE(vgrant_slot_use(pool, slot)->size_bytes);
}

static __always_inline struct vgrant_slot
vgrant_slot_at(const struct vgrant_pool *pool, u64 offset)
{
	struct vgrant_slot slot;

	if (offset >> XEN_PAGE_SHIFT < pool->small_pages) {
		slot.class = VGRANT_SMALL;
		slot.nr = offset >> VGRANT_SMALL_SHIFT;
	} else {
		slot.class = VGRANT_PAGE;
		slot.nr = offset >> XEN_PAGE_SHIFT;
	}
	return slot;
}

static inline bool vgrant_slot_find(struct vgrant_pool *pool, dma_addr_t addr,
				    size_t size_bytes, struct vgrant_slot *slot)
{
	u64 offset = addr - pool->base;

	*slot = vgrant_slot_at(pool, offset);
	if (likely(offset >> XEN_PAGE_SHIFT < pool->pages &&
		   vgrant_slot_has(pool, *slot, offset, size_bytes)))
		return true;
	return vgrant_slot_find_within(pool, offset, size_bytes, slot);
}

/* Direct grants */

dma_addr_t vgrant_direct_map(struct vgrant_pool *pool, phys_addr_t phys,
			     size_t size, enum dma_data_direction dir);
void vgrant_direct_unmap(struct vgrant_pool *pool, dma_addr_t addr,
			 size_t size, enum dma_data_direction dir);
void vgrant_direct_init(struct vgrant_pool *pool);
unsigned int vgrant_direct_exit(struct vgrant_pool *pool);

/*
 * Whole pages that can be held on to, with those of the kernel that they are in.
 * Those of the slab are its own, and others without references cannot be kept
 * from their owner either.
 */
static inline bool vgrant_is_direct(struct vgrant_pool *pool, phys_addr_t phys,
				    size_t size)
{
	struct page *page = pfn_to_page(PHYS_PFN(phys));
	size_t at;

	if (size < pool->direct_min_bytes ||
	    !IS_ALIGNED(phys | size, XEN_PAGE_SIZE))
		return false;
	/* From where the kernel's page begins. */
	size += ALIGN_DOWN(offset_in_page(phys), XEN_PAGE_SIZE);
	for (at = 0; at < size; at += PAGE_SIZE, page++)
		if (PageSlab(page) || !page_count(page))
			return false;
	return true;
}

static inline bool vgrant_addr_is_direct(struct vgrant_pool *pool,
					 dma_addr_t addr)
{
	return (addr - pool->direct_base) >> XEN_PAGE_SHIFT < pool->direct_refs;
}

/* Statistics: grant_pool/ in the device's sysfs directory */

extern const struct attribute_group vgrant_group;

#endif /* VIRTIO_GRANT_POOL_PRIV_H */
