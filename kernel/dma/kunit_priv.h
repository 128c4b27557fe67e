/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kunit_priv.h - a pool, and a backend that the KUnit suites play themselves.
 */
#ifndef VIRTIO_GRANT_DMA_KUNIT_PRIV_H
#define VIRTIO_GRANT_DMA_KUNIT_PRIV_H

#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

#define POOL_KIB	512
#define SEGS_MAX	8
#define RING_BYTES	(2 * PAGE_SIZE)

/* Of the buffers' surroundings, of the data, and of what a backend writes. */
#define CANARY		0xc5
#define BACKEND_SEED	7

struct vkt_view {
	unsigned int nr;
	u32 flags;		/* GNTMAP_readonly, or nothing */
	struct page **page;
	grant_handle_t *handle;
};

struct vkt {
	struct platform_device *pdev;
	struct device *dev;
	domid_t self;
	struct vgrant_pool *pool;
	struct vgrant_pool_stats stats;
	struct vkt_view view;
	u8 *buf;		/* room for buffers, canaries around them */
	unsigned int segs_enough;
	bool is_divided;
	unsigned int pool_kib_before;
	unsigned int direct_kib_before;
	bool zero_before;
};

#define BUF_BYTES	(80 * PAGE_SIZE)

/* kunit.c */
u8 vkt_pattern(size_t i, u8 seed);
void vkt_fill(u8 *p, size_t len, u8 seed);
bool vkt_is_filled(const u8 *p, size_t len, u8 seed);
bool vkt_is_all(const u8 *p, size_t len, u8 c);
void vkt_view_unmap(struct vkt_view *view);
int vkt_view_map(struct vkt *ctx, struct vkt_view *view,
		 grant_ref_t first, unsigned int nr);
void vkt_backend_copy(struct vkt *ctx, dma_addr_t addr, u8 *data,
		      size_t len, bool is_write);
bool vkt_backend_sees_filled(struct vkt *ctx, dma_addr_t addr,
			     size_t len, u8 seed);
bool vkt_backend_sees_all(struct vkt *ctx, dma_addr_t addr,
			  size_t len, u8 c);
bool vkt_backend_sees_zeroes(struct vkt *ctx, dma_addr_t addr, size_t len);
void vkt_backend_fills_pool(struct vkt *ctx, unsigned int pages, u8 c);
u8 vkt_unwritten(size_t size);
int vkt_backend_fill(struct vkt *ctx, dma_addr_t addr, size_t len, u8 seed);
void vkt_pool_make(struct kunit *test, unsigned int pool_kib,
		   unsigned int segs_max, bool with_view);
void vkt_pool_make_filled(struct kunit *test, unsigned int pool_kib);
unsigned int vkt_pool_unmake(struct vkt *ctx);
unsigned int vkt_map_all(struct vkt *ctx, dma_addr_t *addr, unsigned int max,
			 size_t size);
void vkt_unmap_all(struct vkt *ctx, const dma_addr_t *addr, unsigned int nr,
		   size_t size);
void vkt_expect_idle(struct kunit *test);
int vkt_init(struct kunit *test);
void vkt_exit(struct kunit *test);

#endif /* VIRTIO_GRANT_DMA_KUNIT_PRIV_H */
