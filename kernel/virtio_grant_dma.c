// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_grant_dma.c - DMA operations over a pool of granted pages.
 *
 * Who is not trusted: the backend.  It can read and write every page of the
 * pool at any time, it can go on mapping them for ever, and it learns whatever
 * is written to them.  So
 *  - only bytes in flight are ever copied into a pool, and a slot that the
 *    backend is to write starts out as zeroes;
 *  - where a slot's data belongs (address, size, direction) is kept in private
 *    memory, never in the pool;
 *  - a page that the backend still maps when the pool is destroyed is left to
 *    the kernel's grant table code, which frees it when that mapping is gone
 *    and not before.  It is counted and never used for anything else.
 *
 * Who owns what: a pool belongs to the transport driver that made it (see
 * virtio_grant_dma.h).  Between map and unmap a slot belongs to the mapping;
 * otherwise to a CPU's magazine or to the pool's bitmap.
 *
 * Layout of a pool of N pages, page i being granted as first_ref + i:
 *
 *	0        small_pages                                        N
 *	+--------+--------------------------------------------------+
 *	| slots  | single pages ->       runs ->        <- coherent |
 *	| 256 B  |                                         (rings)  |
 *	+--------+--------------------------------------------------+
 *
 * Single slots (small ones and pages) come out of per-CPU magazines: a short
 * stack each, under a lock that nobody else wants in the common case.  It is a
 * lock and not just disabled interrupts so that a CPU that found nothing can
 * take from the others: slots idle in a magazine never make a request fail.
 * Magazines are filled from and emptied to the bitmaps, some slots at a time.
 *
 * Lock order: a magazine's lock, then the pool's.  Never two magazines.
 *
 * Addresses: uapi/virtio_grant.h.  Required of a platform's DMA by virtio 1.2,
 * section 6.1 (VIRTIO_F_ACCESS_PLATFORM).
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
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
/* No mapping is larger than this many pages, however large the pool. */
#define VGRANT_RUN_MAX_PAGES	64
/* Default size, and the share of the guest's memory it may not exceed. */
#define VGRANT_POOL_KIB		8192
#define VGRANT_POOL_RAM_SHARE	32
/* Slots in a full magazine; half of them are moved at a time. */
#define VGRANT_MAG_SLOTS	32
/*
 * gntdev in the backend's kernel unmaps when the last user of the page is
 * gone, which can be after the daemon's munmap() returned.
 */
#define VGRANT_UNMAP_GRACE_MS	500

VISIBLE_IF_KUNIT unsigned int vgrant_pool_kib;
EXPORT_SYMBOL_IF_KUNIT(vgrant_pool_kib);
module_param_named(pool_kib, vgrant_pool_kib, uint, 0644);
MODULE_PARM_DESC(pool_kib,
		 "KiB of granted pages per device (0, the default: 8192, or a 32nd of the memory if that is less; never less than a device needs)");

static unsigned int quarantined_pages;
module_param(quarantined_pages, uint, 0444);
MODULE_PARM_DESC(quarantined_pages,
		 "pages that a backend still mapped when their pool went away (read-only)");
static DEFINE_MUTEX(quarantined_lock);

enum vgrant_class {
	VGRANT_SMALL,
	VGRANT_PAGE,
	VGRANT_CLASSES,
};

/* Free slots that a CPU keeps at hand. */
struct vgrant_mag {
	spinlock_t lock;	/* nr and slot */
	unsigned int nr;
	u32 slot[VGRANT_MAG_SLOTS];
};

struct vgrant_cpu {
	struct vgrant_mag mag[VGRANT_CLASSES];
	u64 mappings;
	u64 exhaustions;
	u64 bytes_in;
	u64 bytes_out;
};

/*
 * What a slot holds.  A run's first page describes the run; its other pages
 * only say how far back that is.  size_bytes is 0 in a slot without mapping.
 */
struct vgrant_use {
	void *orig;		/* the driver's buffer; NULL: coherent */
	u32 size_bytes;
	u16 pages_back;
	u16 dir;
};

/* All slots of a class. */
struct vgrant_depot {
	unsigned long *taken;	/* a bit per slot: not in the bitmap's hands */
	struct vgrant_use *use;
	unsigned int slots;
	unsigned int first;	/* lowest slot that is ever handed out */
	unsigned int hint;	/* no slot below this one is free */
	unsigned int nr_taken;
	unsigned int high_water;
};

struct vgrant_pool {
	struct dma_map_ops ops;	/* per pool: leads from a device to its pool */
	struct device *dev;
	domid_t backend;
	const struct dma_map_ops *ops_before;
	bool attached;
	bool has_failed;
	unsigned int pages;
	unsigned int small_pages;
	unsigned int mapping_max_pages;
	unsigned int mag_slots;	/* at most VGRANT_MAG_SLOTS */
	grant_ref_t first_ref;
	dma_addr_t base;
	u8 *va;
	struct page **page;
	struct vgrant_cpu __percpu *cpu;
	spinlock_t lock;	/* taken, hint, nr_taken of both depots */
	struct vgrant_depot depot[VGRANT_CLASSES];
};

/* A slot: its class and number there. */
struct vgrant_slot {
	enum vgrant_class class;
	u32 nr;
};

static struct vgrant_pool *vgrant_pool_of(struct device *dev)
{
	return container_of((struct dma_map_ops *)get_dma_ops(dev),
			    struct vgrant_pool, ops);
}

/* Bytes from the start of the pool. */
static size_t vgrant_slot_offset(struct vgrant_slot slot)
{
	return (size_t)slot.nr << (slot.class == VGRANT_SMALL ?
				   VGRANT_SMALL_SHIFT : PAGE_SHIFT);
}

/* Depots */

/* Takes up to @want free slots, returns how many it got.  Pool lock held. */
static unsigned int vgrant_depot_take(struct vgrant_depot *depot, u32 *slot,
				      unsigned int want)
{
	unsigned int bit = depot->hint, got = 0;

	while (got < want) {
		bit = find_next_zero_bit(depot->taken, depot->slots, bit);
		if (bit >= depot->slots)
			break;
		__set_bit(bit, depot->taken);
		slot[got++] = bit++;
	}
	depot->hint = bit;
	depot->nr_taken += got;
	depot->high_water = max(depot->high_water, depot->nr_taken);
	return got;
}

/* Pool lock held. */
static void vgrant_depot_give(struct vgrant_depot *depot, const u32 *slot,
			      unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		__clear_bit(slot[i], depot->taken);
		depot->hint = min(depot->hint, slot[i]);
	}
	depot->nr_taken -= nr;
}

/* Magazines */

static void vgrant_mag_refill(struct vgrant_pool *pool,
			      enum vgrant_class class, struct vgrant_mag *mag)
{
	/* Half full: the next operation is as likely to give as to take. */
	unsigned int batch = max(pool->mag_slots / 2, 1U);

	spin_lock(&pool->lock);
	mag->nr = vgrant_depot_take(&pool->depot[class], mag->slot, batch);
	spin_unlock(&pool->lock);
}

static void vgrant_mag_drain(struct vgrant_pool *pool, enum vgrant_class class,
			     struct vgrant_mag *mag, unsigned int nr)
{
	nr = min(nr, mag->nr);
	mag->nr -= nr;
	spin_lock(&pool->lock);
	vgrant_depot_give(&pool->depot[class], mag->slot + mag->nr, nr);
	spin_unlock(&pool->lock);
}

/* A slot out of another CPU's magazine. */
static bool vgrant_steal(struct vgrant_pool *pool, enum vgrant_class class,
			 u32 *nr)
{
	unsigned long flags;
	bool found = false;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vgrant_mag *mag = &per_cpu_ptr(pool->cpu, cpu)->mag[class];

		spin_lock_irqsave(&mag->lock, flags);
		if (!mag->nr)
			vgrant_mag_refill(pool, class, mag);
		if (mag->nr) {
			*nr = mag->slot[--mag->nr];
			found = true;
		}
		spin_unlock_irqrestore(&mag->lock, flags);
		if (found)
			break;
	}
	return found;
}

static bool vgrant_single_get(struct vgrant_pool *pool,
			      enum vgrant_class class, u32 *nr)
{
	/* Being moved to another CPU meanwhile costs speed, nothing else. */
	struct vgrant_mag *mag = &raw_cpu_ptr(pool->cpu)->mag[class];
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&mag->lock, flags);
	if (!mag->nr)
		vgrant_mag_refill(pool, class, mag);
	if (mag->nr) {
		*nr = mag->slot[--mag->nr];
		found = true;
	}
	spin_unlock_irqrestore(&mag->lock, flags);
	return found || vgrant_steal(pool, class, nr);
}

static void vgrant_single_put(struct vgrant_pool *pool,
			      enum vgrant_class class, u32 nr)
{
	struct vgrant_mag *mag = &raw_cpu_ptr(pool->cpu)->mag[class];
	unsigned long flags;

	spin_lock_irqsave(&mag->lock, flags);
	if (mag->nr >= pool->mag_slots)
		vgrant_mag_drain(pool, class, mag,
				 max(pool->mag_slots / 2, 1U));
	mag->slot[mag->nr++] = nr;
	spin_unlock_irqrestore(&mag->lock, flags);
}

/* Empties every CPU's magazine, so that neighbours can form runs again. */
static void vgrant_drain_all(struct vgrant_pool *pool, enum vgrant_class class)
{
	unsigned long flags;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vgrant_mag *mag = &per_cpu_ptr(pool->cpu, cpu)->mag[class];

		spin_lock_irqsave(&mag->lock, flags);
		vgrant_mag_drain(pool, class, mag, mag->nr);
		spin_unlock_irqrestore(&mag->lock, flags);
	}
}

/* Runs of pages */

static bool vgrant_run_try(struct vgrant_pool *pool, unsigned int pages,
			   unsigned int from, u32 *nr)
{
	struct vgrant_depot *depot = &pool->depot[VGRANT_PAGE];
	unsigned long flags, start;
	bool found;

	spin_lock_irqsave(&pool->lock, flags);
	start = bitmap_find_next_zero_area(depot->taken, depot->slots, from,
					   pages, 0);
	found = start < depot->slots;
	if (found) {
		bitmap_set(depot->taken, start, pages);
		depot->nr_taken += pages;
		depot->high_water = max(depot->high_water, depot->nr_taken);
		*nr = start;
	}
	spin_unlock_irqrestore(&pool->lock, flags);
	return found;
}

static bool vgrant_run_get(struct vgrant_pool *pool, unsigned int pages,
			   u32 *nr)
{
	unsigned int first = pool->depot[VGRANT_PAGE].first;

	/* Leave the low end to single pages, which fill it from below. */
	if (vgrant_run_try(pool, pages, first + (pool->pages - first) / 8, nr) ||
	    vgrant_run_try(pool, pages, first, nr))
		return true;
	vgrant_drain_all(pool, VGRANT_PAGE);
	return vgrant_run_try(pool, pages, first, nr);
}

/* From the top, so that what stays for long does not part the rest. */
static bool vgrant_run_get_top(struct vgrant_pool *pool, unsigned int pages,
			       u32 *nr)
{
	struct vgrant_depot *depot = &pool->depot[VGRANT_PAGE];
	unsigned long flags;
	bool found = false;
	unsigned int start;

	if (pages > depot->slots - depot->first)
		return false;
	vgrant_drain_all(pool, VGRANT_PAGE);
	spin_lock_irqsave(&pool->lock, flags);
	for (start = depot->slots - pages; start >= depot->first; start--) {
		unsigned int end = start + pages;

		if (find_next_bit(depot->taken, end, start) < end)
			continue;
		bitmap_set(depot->taken, start, pages);
		depot->nr_taken += pages;
		depot->high_water = max(depot->high_water, depot->nr_taken);
		*nr = start;
		found = true;
		break;
	}
	spin_unlock_irqrestore(&pool->lock, flags);
	return found;
}

static void vgrant_run_put(struct vgrant_pool *pool, u32 nr,
			   unsigned int pages)
{
	struct vgrant_depot *depot = &pool->depot[VGRANT_PAGE];
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	bitmap_clear(depot->taken, nr, pages);
	depot->nr_taken -= pages;
	depot->hint = min(depot->hint, nr);
	spin_unlock_irqrestore(&pool->lock, flags);
}

/* Slots */

static bool vgrant_slot_get(struct vgrant_pool *pool, size_t size_bytes,
			    struct vgrant_slot *slot)
{
	if (size_bytes <= VGRANT_SMALL_BYTES) {
		slot->class = VGRANT_SMALL;
		if (vgrant_single_get(pool, VGRANT_SMALL, &slot->nr))
			return true;
	}
	slot->class = VGRANT_PAGE;
	if (size_bytes <= PAGE_SIZE)
		return vgrant_single_get(pool, VGRANT_PAGE, &slot->nr);
	return vgrant_run_get(pool, PFN_UP(size_bytes), &slot->nr);
}

static struct vgrant_use *vgrant_slot_use(struct vgrant_pool *pool,
					  struct vgrant_slot slot)
{
	return &pool->depot[slot.class].use[slot.nr];
}

static void vgrant_slot_claim(struct vgrant_pool *pool,
			      struct vgrant_slot slot, void *orig,
			      size_t size_bytes, enum dma_data_direction dir)
{
	struct vgrant_use *use = vgrant_slot_use(pool, slot);
	unsigned int i;

	use->orig = orig;
	use->size_bytes = size_bytes;
	use->dir = dir;
	use->pages_back = 0;
	if (slot.class == VGRANT_PAGE)
		for (i = 1; i < PFN_UP(size_bytes); i++)
			use[i].pages_back = i;
}

static void vgrant_slot_put(struct vgrant_pool *pool, struct vgrant_slot slot)
{
	struct vgrant_use *use = vgrant_slot_use(pool, slot);
	unsigned int pages = PFN_UP(use->size_bytes), i;

	use->size_bytes = 0;
	use->orig = NULL;
	if (slot.class == VGRANT_SMALL || pages == 1) {
		vgrant_single_put(pool, slot.class, slot.nr);
		return;
	}
	for (i = 1; i < pages; i++)
		use[i].pages_back = 0;
	vgrant_run_put(pool, slot.nr, pages);
}

/*
 * The slot in use that @addr lies in.  An address that is not ours, or of a
 * slot that nothing is mapped to, is the fault of the driver above us: loud,
 * and without consequences.
 */
static bool vgrant_slot_find(struct vgrant_pool *pool, dma_addr_t addr,
			     size_t size_bytes, struct vgrant_slot *slot)
{
	u64 offset = addr - pool->base, start;
	struct vgrant_use *use;

	if (WARN_ONCE(offset >= (u64)pool->pages << PAGE_SHIFT,
		      "address outside the pool\n"))
		return false;
	if (offset >> PAGE_SHIFT < pool->small_pages) {
		slot->class = VGRANT_SMALL;
		slot->nr = offset >> VGRANT_SMALL_SHIFT;
	} else {
		slot->class = VGRANT_PAGE;
		slot->nr = offset >> PAGE_SHIFT;
		slot->nr -= vgrant_slot_use(pool, *slot)->pages_back;
	}
	use = vgrant_slot_use(pool, *slot);
	start = vgrant_slot_offset(*slot);
	return !WARN_ONCE(offset - start + size_bytes > use->size_bytes,
			  "address of a slot that is not mapped, or beyond its end\n");
}

/* DMA operations: streaming */

static dma_addr_t vgrant_map_phys(struct device *dev, phys_addr_t phys,
				  size_t size, enum dma_data_direction dir,
				  unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	void *orig, *copy;
	size_t offset;

	if (WARN_ON_ONCE(dir == DMA_NONE || attrs & DMA_ATTR_MMIO))
		return DMA_MAPPING_ERROR;
	if (!size || size > (size_t)pool->mapping_max_pages << PAGE_SHIFT) {
		dev_warn_once(dev, "a buffer of %zu bytes cannot be mapped, the limit is %zu\n",
			      size,
			      (size_t)pool->mapping_max_pages << PAGE_SHIFT);
		return DMA_MAPPING_ERROR;
	}
	if (READ_ONCE(pool->has_failed))
		return DMA_MAPPING_ERROR;
	if (!vgrant_slot_get(pool, size, &slot)) {
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
	if (dir != DMA_FROM_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		memcpy(copy, orig, size);
		raw_cpu_add(pool->cpu->bytes_in, size);
	} else {
		memset(copy, 0, size);
	}
	raw_cpu_inc(pool->cpu->mappings);
	return pool->base + offset;
}

static void vgrant_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	struct vgrant_use *use;

	if (!vgrant_slot_find(pool, addr, size, &slot))
		return;
	use = vgrant_slot_use(pool, slot);
	if (WARN_ONCE(addr - pool->base != vgrant_slot_offset(slot) ||
		      use->size_bytes != size || use->dir != dir || !use->orig,
		      "unmapped otherwise than mapped\n"))
		return;
	/*
	 * The backend wrote the data before used->idx; the ring's read barrier
	 * after reading used->idx is the partner of its write barrier.  It may
	 * write on while we copy: what it wrote is its to choose anyway.
	 */
	if (dir != DMA_TO_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		if (READ_ONCE(pool->has_failed))
			memset(use->orig, 0xff, size);
		else
			memcpy(use->orig, pool->va + vgrant_slot_offset(slot),
			       size);
		raw_cpu_add(pool->cpu->bytes_out, size);
	}
	vgrant_slot_put(pool, slot);
}

static void vgrant_sync_for_cpu(struct device *dev, dma_addr_t addr,
				size_t size, enum dma_data_direction dir)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	size_t within;

	if (dir == DMA_TO_DEVICE || !vgrant_slot_find(pool, addr, size, &slot))
		return;
	within = addr - pool->base - vgrant_slot_offset(slot);
	memcpy(vgrant_slot_use(pool, slot)->orig + within,
	       pool->va + (addr - pool->base), size);
	raw_cpu_add(pool->cpu->bytes_out, size);
}

static void vgrant_sync_for_device(struct device *dev, dma_addr_t addr,
				   size_t size, enum dma_data_direction dir)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot;
	size_t within;

	if (dir == DMA_FROM_DEVICE || !vgrant_slot_find(pool, addr, size, &slot))
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

static void *vgrant_alloc(struct device *dev, size_t size, dma_addr_t *addr,
			  gfp_t gfp, unsigned long attrs)
{
	struct vgrant_pool *pool = vgrant_pool_of(dev);
	struct vgrant_slot slot = { .class = VGRANT_PAGE };
	size_t offset;

	if (!size || size > (size_t)pool->pages << PAGE_SHIFT ||
	    !vgrant_run_get_top(pool, PFN_UP(size), &slot.nr))
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
	vgrant_slot_put(pool, slot);
}

/* Bit 63 is part of every address. */
static int vgrant_dma_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static size_t vgrant_max_mapping_size(struct device *dev)
{
	return (size_t)vgrant_pool_of(dev)->mapping_max_pages << PAGE_SHIFT;
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
	struct vgrant_depot *small = &pool->depot[VGRANT_SMALL];
	struct vgrant_depot *page = &pool->depot[VGRANT_PAGE];
	unsigned long flags;
	int cpu;

	memset(stats, 0, sizeof(*stats));
	stats->backend = pool->backend;
	stats->first_ref = pool->first_ref;
	stats->pages_total = pool->pages;
	stats->small_total = small->slots;
	stats->mapping_max_bytes = (size_t)pool->mapping_max_pages << PAGE_SHIFT;

	spin_lock_irqsave(&pool->lock, flags);
	stats->pages_in_use = page->nr_taken;
	stats->pages_high_water = page->high_water;
	stats->small_in_use = small->nr_taken;
	spin_unlock_irqrestore(&pool->lock, flags);

	/* Slots move between here and there: exact only when all is quiet. */
	for_each_possible_cpu(cpu) {
		struct vgrant_cpu *local = per_cpu_ptr(pool->cpu, cpu);

		stats->pages_in_use -= min(stats->pages_in_use,
					   READ_ONCE(local->mag[VGRANT_PAGE].nr));
		stats->small_in_use -= min(stats->small_in_use,
					   READ_ONCE(local->mag[VGRANT_SMALL].nr));
		stats->mappings += READ_ONCE(local->mappings);
		stats->exhaustions += READ_ONCE(local->exhaustions);
		stats->bytes_in += READ_ONCE(local->bytes_in);
		stats->bytes_out += READ_ONCE(local->bytes_out);
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
VGRANT_ATTR(mappings, 0444);
VGRANT_ATTR(exhaustions, 0444);
VGRANT_ATTR(bytes_in, 0444);
VGRANT_ATTR(bytes_out, 0444);

static struct attribute *vgrant_attrs[] = {
	&dev_attr_backend.attr,
	&dev_attr_first_ref.attr,
	&dev_attr_pages_total.attr,
	&dev_attr_pages_in_use.attr,
	&dev_attr_pages_high_water.attr,
	&dev_attr_small_total.attr,
	&dev_attr_small_in_use.attr,
	&dev_attr_mapping_max_bytes.attr,
	&dev_attr_mappings.attr,
	&dev_attr_exhaustions.attr,
	&dev_attr_bytes_in.attr,
	&dev_attr_bytes_out.attr,
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

/*
 * Sizes of everything, from the wish and the need.  A request must fit into
 * an otherwise idle pool, or it would wait for ever: its segments, of at most
 * mapping_max_pages each, get seven eighths of what the rings leave, and the
 * last eighth is for its headers and indirect table.
 */
static void vgrant_pool_measure(struct vgrant_pool *pool,
				const struct vgrant_pool_need *need)
{
	unsigned int ring_pages = PFN_UP(need->coherent_bytes), data_pages;

	pool->small_pages = DIV_ROUND_UP(pool->pages, VGRANT_SMALL_SHARE);
	data_pages = pool->pages - pool->small_pages - ring_pages;
	pool->mapping_max_pages = clamp(data_pages / 8 * 7 / need->segs_max,
					1U, VGRANT_RUN_MAX_PAGES);
	pool->mag_slots = clamp(data_pages / 8 / num_possible_cpus(),
				2U, VGRANT_MAG_SLOTS);
}

static unsigned int vgrant_pages_wanted(void)
{
	unsigned long pages = VGRANT_POOL_KIB >> (PAGE_SHIFT - 10);

	if (vgrant_pool_kib)
		return vgrant_pool_kib >> (PAGE_SHIFT - 10);
	return min(pages, totalram_pages() / VGRANT_POOL_RAM_SHARE);
}

/* The fewest pages with which vgrant_pool_measure() keeps its promise. */
static unsigned int vgrant_pages_needed(const struct vgrant_pool_need *need)
{
	unsigned int data_pages = (need->segs_max + 7) / 7 * 8 + 8;

	return (data_pages + PFN_UP(need->coherent_bytes)) *
		VGRANT_SMALL_SHARE / (VGRANT_SMALL_SHARE - 1) + 1;
}

/* As many consecutive references as wanted, or fewer, or not enough. */
static int vgrant_pool_alloc_refs(struct vgrant_pool *pool,
				  unsigned int needed)
{
	unsigned int wanted = max(vgrant_pages_wanted(), needed);

	for (pool->pages = wanted; pool->pages >= needed;
	     pool->pages = max(pool->pages / 2, needed)) {
		if (!gnttab_alloc_grant_reference_seq(pool->pages,
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

static void vgrant_depot_exit(struct vgrant_depot *depot)
{
	kvfree(depot->use);
	bitmap_free(depot->taken);
}

static int vgrant_depot_init(struct vgrant_depot *depot, unsigned int first,
			     unsigned int slots)
{
	depot->slots = slots;
	depot->first = first;
	depot->hint = first;
	depot->nr_taken = first;
	depot->high_water = first;
	depot->taken = bitmap_zalloc(slots, GFP_KERNEL);
	depot->use = kvcalloc(slots, sizeof(*depot->use), GFP_KERNEL);
	if (!depot->taken || !depot->use) {
		vgrant_depot_exit(depot);
		return -ENOMEM;
	}
	bitmap_set(depot->taken, 0, first);
	return 0;
}

static int vgrant_pool_alloc_cpus(struct vgrant_pool *pool)
{
	int cpu, class;

	pool->cpu = alloc_percpu(struct vgrant_cpu);
	if (!pool->cpu)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		for (class = 0; class < VGRANT_CLASSES; class++)
			spin_lock_init(&per_cpu_ptr(pool->cpu, cpu)->mag[class].lock);
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
	struct vgrant_pool *pool;
	unsigned int i;
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
	spin_lock_init(&pool->lock);

	ret = vgrant_pool_alloc_refs(pool, vgrant_pages_needed(need));
	if (ret)
		goto free_pool;
	pool->base = virtio_grant_addr(pool->first_ref, 0);
	vgrant_pool_measure(pool, need);
	ret = vgrant_pool_alloc_pages(pool);
	if (ret)
		goto free_refs;
	ret = vgrant_depot_init(&pool->depot[VGRANT_SMALL], 0,
				pool->small_pages * VGRANT_SMALL_PER_PAGE);
	if (ret)
		goto free_pages;
	ret = vgrant_depot_init(&pool->depot[VGRANT_PAGE], pool->small_pages,
				pool->pages);
	if (ret)
		goto exit_small;
	ret = vgrant_pool_alloc_cpus(pool);
	if (ret)
		goto exit_page;

	for (i = 0; i < pool->pages; i++)
		vgrant_pool_grant(pool, i);
	return pool;

exit_page:
	vgrant_depot_exit(&pool->depot[VGRANT_PAGE]);
exit_small:
	vgrant_depot_exit(&pool->depot[VGRANT_SMALL]);
free_pages:
	vunmap(pool->va);
	vgrant_pool_free_pages(pool);
free_refs:
	gnttab_free_grant_reference_seq(pool->first_ref, pool->pages);
free_pool:
	kfree(pool);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(vgrant_pool_create);

/*
 * Ends all grants and frees the pages.  Those that the backend still maps
 * after the time of grace stay out of use, with their reference, until it
 * lets go: the kernel keeps that list, and it outlives this module.
 */
static unsigned int vgrant_pool_end_grants(struct vgrant_pool *pool)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_UNMAP_GRACE_MS);
	unsigned int i, nr_held = 0;

	for (i = 0; i < pool->pages; i++) {
		while (!gnttab_try_end_foreign_access(pool->first_ref + i)) {
			if (time_after(jiffies, end)) {
				gnttab_end_foreign_access(pool->first_ref + i,
							  pool->page[i]);
				pool->page[i] = NULL;
				nr_held++;
				break;
			}
			msleep(20);
		}
		if (pool->page[i])
			__free_page(pool->page[i]);
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
	if (stats.pages_in_use != pool->small_pages || stats.small_in_use)
		dev_warn(pool->dev, "destroyed with %u pages and %u small slots still in use\n",
			 stats.pages_in_use - pool->small_pages,
			 stats.small_in_use);

	vunmap(pool->va);
	nr_held = vgrant_pool_end_grants(pool);
	if (nr_held) {
		mutex_lock(&quarantined_lock);
		quarantined_pages += nr_held;
		mutex_unlock(&quarantined_lock);
		dev_err(pool->dev, "domain %u still maps %u pages of its pool: quarantined until it lets go\n",
			pool->backend, nr_held);
	}
	free_percpu(pool->cpu);
	vgrant_depot_exit(&pool->depot[VGRANT_PAGE]);
	vgrant_depot_exit(&pool->depot[VGRANT_SMALL]);
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
