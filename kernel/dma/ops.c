// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ops.c - DMA operations over a pool of granted pages: what goes in, and what
 * comes back.
 *
 * Who is not trusted, and who owns what: pool.c.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/sysfs.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "dma/pool_priv.h"

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
	for (; size > XEN_PAGE_SIZE; at += XEN_PAGE_SIZE, size -= XEN_PAGE_SIZE)
		vgrant_mark_page(pool, at, XEN_PAGE_SIZE);
	if (likely(size >= 2 * VGRANT_MARK_BYTES))
		vgrant_mark_page(pool, at, size);
	else
		memset(at, 0, size);
}

static __always_inline bool vgrant_has_mark(const struct vgrant_pool *pool,
					    const u8 *at, size_t size)
{
	for (; size > XEN_PAGE_SIZE; at += XEN_PAGE_SIZE, size -= XEN_PAGE_SIZE)
		if (unlikely(vgrant_is_marked(pool, at, XEN_PAGE_SIZE)))
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
	else if (likely(READ_ONCE(pool->is_filled) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)))
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
		page = ALIGN_DOWN(from, XEN_PAGE_SIZE);
		next = min(page + XEN_PAGE_SIZE, end);
		if (READ_ONCE(pool->has_failed))
			memset(orig + from, 0xff, next - from);
		else if (vgrant_has_mark(pool, copy + page,
					 min(use->size_bytes - page, XEN_PAGE_SIZE)))
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
	if (unlikely(!size || size > VGRANT_BUFFER_PAGES * XEN_PAGE_SIZE)) {
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
	if (unlikely(!vgrant_slot_get(pool, size, dir, &slot))) {
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

	if (unlikely(offset >> XEN_PAGE_SHIFT >= pool->pages))
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

	if (!size || size > VGRANT_BUFFER_PAGES * XEN_PAGE_SIZE)
		return NULL;
	/* The kernel rounds up to its own pages, and so does who frees it. */
	size = PAGE_ALIGN(size);
	pages = XEN_PFN_DOWN(size);
	align = roundup_pow_of_two(pages);
	/* More than was announced goes where the buffers are. */
	if (!vgrant_take_within(&pool->coherent, pool->coherent.first,
				pool->coherent.end, pages, align, &slot.nr) &&
	    !vgrant_take_within(more, more->first, more->end, pages, align,
				&slot.nr))
		return NULL;
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
	vgrant_release(&pool->coherent, slot.nr, size >> XEN_PAGE_SHIFT);
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

const struct dma_map_ops vgrant_dma_ops = {
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

/*
 * Mapping operations of a virtio device: the same
 *
 * Its rings call them without the DMA API in between.  Drivers find no device for
 * DMA then (virtqueue_dma_dev()): so virtio_net does not leave its unused pages
 * mapped, in slots that others could have.
 */

static dma_addr_t vgrant_virtio_map_page(union virtio_map map,
					 struct page *page,
					 unsigned long offset, size_t size,
					 enum dma_data_direction dir,
					 unsigned long attrs)
{
	return vgrant_map_phys(map.dma_dev, page_to_phys(page) + offset, size,
			       dir, attrs);
}

static void vgrant_virtio_unmap_page(union virtio_map map, dma_addr_t addr,
				     size_t size, enum dma_data_direction dir,
				     unsigned long attrs)
{
	vgrant_unmap_phys(map.dma_dev, addr, size, dir, attrs);
}

static void vgrant_virtio_sync_for_cpu(union virtio_map map, dma_addr_t addr,
				       size_t size,
				       enum dma_data_direction dir)
{
	vgrant_sync_for_cpu(map.dma_dev, addr, size, dir);
}

static void vgrant_virtio_sync_for_device(union virtio_map map,
					  dma_addr_t addr, size_t size,
					  enum dma_data_direction dir)
{
	vgrant_sync_for_device(map.dma_dev, addr, size, dir);
}

static void *vgrant_virtio_alloc(union virtio_map map, size_t size,
				 dma_addr_t *addr, gfp_t gfp)
{
	return vgrant_alloc(map.dma_dev, size, addr, gfp, 0);
}

static void vgrant_virtio_free(union virtio_map map, size_t size, void *va,
			       dma_addr_t addr, unsigned long attrs)
{
	vgrant_free(map.dma_dev, size, va, addr, attrs);
}

static bool vgrant_virtio_need_sync(union virtio_map map, dma_addr_t addr)
{
	return true;
}

static int vgrant_virtio_mapping_error(union virtio_map map, dma_addr_t addr)
{
	return addr == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

static size_t vgrant_virtio_max_mapping_size(union virtio_map map)
{
	return vgrant_max_mapping_size(map.dma_dev);
}

static const struct virtio_map_ops vgrant_virtio_map_ops = {
	.map_page = vgrant_virtio_map_page,
	.unmap_page = vgrant_virtio_unmap_page,
	.sync_single_for_cpu = vgrant_virtio_sync_for_cpu,
	.sync_single_for_device = vgrant_virtio_sync_for_device,
	.alloc = vgrant_virtio_alloc,
	.free = vgrant_virtio_free,
	.need_sync = vgrant_virtio_need_sync,
	.mapping_error = vgrant_virtio_mapping_error,
	.max_mapping_size = vgrant_virtio_max_mapping_size,
};

/**
 * vgrant_pool_set_map - have a virtio device's rings map without the DMA API
 * @pool: an attached pool
 * @vdev: a child of its device, not registered yet, and gone when the pool is
 *	detached
 *
 * Before Linux 6.18 rings have no such way, and nothing happens.
 */
void vgrant_pool_set_map(struct vgrant_pool *pool, struct virtio_device *vdev)
{
	vgrant_set_virtio_map(vdev, &vgrant_virtio_map_ops, pool->dev);
}
EXPORT_SYMBOL_GPL(vgrant_pool_set_map);

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
