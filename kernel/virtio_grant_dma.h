/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_grant_dma.h - a device's pool of granted pages, and DMA operations
 * that serve every buffer of the device out of it.
 *
 * The caller owns the pool: it is made before the device is registered and
 * destroyed after the device is gone.  None of these functions may be called
 * concurrently for one pool; the DMA operations themselves may, from any
 * context.
 */
#ifndef VIRTIO_GRANT_DMA_H
#define VIRTIO_GRANT_DMA_H

#include <linux/types.h>
#include <xen/interface/xen.h>
#include <xen/interface/grant_table.h>

struct device;
struct vgrant_pool;
struct virtio_device;

/**
 * struct vgrant_pool_need - what a pool has to be able to hold
 * @segs_max: the most buffers that one request can consist of
 * @segs_enough: its driver can be told to be content with fewer, but not with
 *	fewer than these; 0 if it cannot.  What it must be content with, is
 *	segs_max of struct vgrant_pool_stats
 * @queues: how many queues share it
 * @is_divided: buffers stay in a queue until there is something to receive: so
 *	that they can't take all that there is, each direction has an eighth of the
 *	pool for itself.  Otherwise all of them come back by and by, and either
 *	direction can have everything
 * @coherent_bytes: sum of the coherent allocations (the rings), each of at most
 *	64 KiB and rounded up to a power of two of pages: so they are aligned
 */
struct vgrant_pool_need {
	unsigned int segs_max;
	unsigned int segs_enough;
	unsigned int queues;
	bool is_divided;
	size_t coherent_bytes;
};

/**
 * struct vgrant_pool_stats - a pool at one moment
 * @backend: the domain that the pages are granted to
 * @first_ref: grant reference of the first page; the others follow
 * @pages_total: pages of the pool
 * @pages_in_use: of those, pages that a mapping occupies, and those set apart
 *	for rings and small slots
 * @pages_high_water: most pages seen in use at a time, by this function and
 *	whenever there was no room
 * @small_total: slots of VGRANT_SMALL_BYTES
 * @small_in_use: of those, occupied
 * @mapping_max_bytes: largest buffer that can be mapped
 * @segs_max: as many of them make the largest request
 * @reserve_pages: pages that each direction has for itself
 * @mappings: buffers mapped so far
 * @exhaustions: mappings refused because nothing was free
 * @bytes_in: bytes copied into the pool
 * @bytes_out: bytes copied out of it
 * @direct_mappings: buffers granted instead of copied so far
 * @pages_held: pages of such buffers that the backend mapped for too long
 */
struct vgrant_pool_stats {
	domid_t backend;
	grant_ref_t first_ref;
	unsigned int pages_total;
	unsigned int pages_in_use;
	unsigned int pages_high_water;
	unsigned int small_total;
	unsigned int small_in_use;
	size_t mapping_max_bytes;
	unsigned int segs_max;
	unsigned int reserve_pages;
	u64 mappings;
	u64 exhaustions;
	u64 bytes_in;
	u64 bytes_out;
	u64 direct_mappings;
	unsigned int pages_held;
};

/* Buffers up to this size share pages with other small ones of the device. */
#define VGRANT_SMALL_BYTES	256

/*
 * Buffers up to this size, for the device to write, are answers: all ones until
 * it does.  A header of virtio-fs or of an append to a zone is as long.
 */
#define VGRANT_ANSWER_BYTES	16

struct vgrant_pool *vgrant_pool_create(struct device *dev, domid_t backend,
				       const struct vgrant_pool_need *need);
unsigned int vgrant_pool_destroy(struct vgrant_pool *pool);

void vgrant_pool_attach(struct vgrant_pool *pool);
void vgrant_pool_detach(struct vgrant_pool *pool);
void vgrant_pool_set_map(struct vgrant_pool *pool, struct virtio_device *vdev);

void vgrant_pool_fail(struct vgrant_pool *pool);
void vgrant_pool_revive(struct vgrant_pool *pool);
void vgrant_pool_set_held_handler(struct vgrant_pool *pool,
				  void (*held)(void *priv), void *priv);
void vgrant_pool_set_filled(struct vgrant_pool *pool, bool is_filled);
bool vgrant_pool_is_filled(const struct vgrant_pool *pool);
int vgrant_pool_suspend(struct vgrant_pool *pool);
unsigned int vgrant_pool_end(struct vgrant_pool *pool);
void vgrant_pool_resume(struct vgrant_pool *pool);
int vgrant_pool_move(struct vgrant_pool *pool, domid_t backend);

void vgrant_pool_read_stats(struct vgrant_pool *pool,
			    struct vgrant_pool_stats *stats);

#if IS_ENABLED(CONFIG_KUNIT)
/* Parameters of the module. */
extern unsigned int vgrant_pool_kib;
extern unsigned int vgrant_direct_kib;
extern bool vgrant_zero;
#endif

#endif /* VIRTIO_GRANT_DMA_H */
