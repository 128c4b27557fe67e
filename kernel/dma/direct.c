// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * direct.c - buffers that are granted where they are, instead of copied.
 *
 * Off by default, and for backends that are trusted more: large buffers of
 * whole pages are granted for the time of their mapping, outside of the pool.
 * Only then does the backend see pages that the guest uses otherwise, and one
 * that maps them for longer can do harm: see vgrant_direct_unmap().
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "dma/pool_priv.h"

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

dma_addr_t vgrant_direct_map(struct vgrant_pool *pool,
			     phys_addr_t phys, size_t size,
			     enum dma_data_direction dir)
{
	unsigned int pages = size >> XEN_PAGE_SHIFT, nr, i;
	unsigned int first = XEN_PFN_DOWN(offset_in_page(phys));
	struct page *page = pfn_to_page(PHYS_PFN(phys));
	struct vgrant_direct *direct;

	if (!vgrant_direct_get(pool, pages, &nr))
		return DMA_MAPPING_ERROR;
	direct = &pool->direct[nr];
	direct->size_bytes = size;
	direct->dir = dir;
	for (i = 0; i < pages; i++) {
		direct[i].page = page + (first + i) / XEN_PFN_PER_PAGE;
		/* A write barrier before the entry's flags is in there. */
		gnttab_grant_foreign_access_ref(pool->direct_first + nr + i,
						pool->backend,
						vgrant_gfn(direct[i].page,
							   (first + i) %
							   XEN_PFN_PER_PAGE),
						dir == DMA_TO_DEVICE);
	}
	raw_cpu_inc(pool->cpu->direct_mappings);
	return pool->direct_base + ((dma_addr_t)nr << XEN_PAGE_SHIFT);
}

/*
 * The driver takes its buffer back, and the grants end.  If the backend still
 * maps a page, that cannot be undone (compare XSA-396), and its owner cannot be
 * told.  So the page never goes back to the kernel while it is mapped, its
 * reference is not used again, and the device has failed: nothing else of it is
 * believed.
 */
void vgrant_direct_unmap(struct vgrant_pool *pool,
			 dma_addr_t addr, size_t size,
			 enum dma_data_direction dir)
{
	unsigned int nr = (addr - pool->direct_base) >> XEN_PAGE_SHIFT;
	struct vgrant_direct *direct = &pool->direct[nr];
	unsigned int pages = size >> XEN_PAGE_SHIFT, nr_held = 0, i;
	unsigned long flags;

	if (WARN_ONCE(addr & ~XEN_PAGE_MASK || direct->size_bytes != size ||
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
void vgrant_direct_init(struct vgrant_pool *pool)
{
	unsigned int refs = pool->pages;

	if (!vgrant_direct_kib || !vgrant_direct_is_for(pool->backend))
		return;
	pool->direct_min_bytes = max_t(size_t, XEN_PAGE_SIZE,
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
unsigned int vgrant_direct_exit(struct vgrant_pool *pool)
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
