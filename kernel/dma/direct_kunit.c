// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * direct_kunit.c - KUnit: buffers that are granted where they are.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "dma/kunit_priv.h"

/* Direct grants */

static bool is_in_pool(struct vkt *ctx, dma_addr_t addr)
{
	return virtio_grant_addr_ref(addr) - ctx->stats.first_ref <
		ctx->stats.pages_total;
}

/* Large buffers of whole pages are the backend's to see where they are. */
static void vgrant_test_direct(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	struct vgrant_pool_stats stats;
	u8 *data = ctx->buf;
	size_t size = SZ_16K;
	dma_addr_t addr;
	unsigned int i;
	grant_ref_t ref;

	vgrant_direct_kib = 16;
	vkt_pool_make(test, 2048, SEGS_MAX, false);

	/* What the device reads, it can only read. */
	vkt_fill(data, size, 1);
	addr = dma_map_single(ctx->dev, data, size, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_FALSE(test, is_in_pool(ctx, addr));
	KUNIT_EXPECT_TRUE(test, virtio_grant_addr_valid(addr));
	ref = virtio_grant_addr_ref(addr);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &view, ref, 4), -EIO);
	view.flags = GNTMAP_readonly;
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref, 4), 0);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, memcmp(page_address(view.page[i]),
					     data + i * PAGE_SIZE, PAGE_SIZE), 0);
	vkt_view_unmap(&view);
	dma_unmap_single(ctx->dev, addr, size, DMA_TO_DEVICE);
	/* Now it cannot even do that. */
	view.flags = GNTMAP_readonly;
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &view, ref, 1), -EIO);

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, data, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	view.flags = 0;
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, virtio_grant_addr_ref(addr),
					   4), 0);
	for (i = 0; i < 4; i++)
		memset(page_address(view.page[i]), 0x21 + i, PAGE_SIZE);
	vkt_view_unmap(&view);
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_TRUE(test, vkt_is_all(data + i * PAGE_SIZE, PAGE_SIZE,
						   0x21 + i));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(data + size, BUF_BYTES - size, CANARY));

	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.direct_mappings, 2ULL);
	KUNIT_EXPECT_EQ(test, stats.bytes_in + stats.bytes_out, 0ULL);
	KUNIT_EXPECT_EQ(test, stats.pages_held, 0U);
	vkt_expect_idle(test);
}

/* Anything that shares a page with something else is copied. */
static void vgrant_test_direct_not(struct kunit *test)
{
	static const struct {
		size_t offset, size;
	} cases[] = {
		{ 0, 512 }, { 0, 4096 }, { 0, 12288 }, { 0, 16383 },
		{ 0, 16385 }, { 1, 16384 }, { 512, 16384 }, { 2048, 20480 },
		{ 4096, 18000 },
	};
	struct vkt *ctx = test->priv;
	struct vgrant_pool_stats stats;
	dma_addr_t addr, *all;
	void *slab;
	unsigned int i, nr;

	vgrant_direct_kib = 16;
	vkt_pool_make(test, 2048, SEGS_MAX, false);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		addr = dma_map_single(ctx->dev, ctx->buf + cases[i].offset,
				      cases[i].size, DMA_TO_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_TRUE_MSG(test, is_in_pool(ctx, addr),
				      "%zu bytes at %zu", cases[i].size,
				      cases[i].offset);
		dma_unmap_single(ctx->dev, addr, cases[i].size, DMA_TO_DEVICE);
	}
	vkt_expect_idle(test);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);

	/* Pages of the slab are not the buffer's own. */
	vgrant_direct_kib = 4;
	vkt_pool_make(test, 2048, SEGS_MAX, false);
	slab = kmalloc(SZ_4K, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slab);
	addr = dma_map_single(ctx->dev, slab, SZ_4K, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, is_in_pool(ctx, addr));
	dma_unmap_single(ctx->dev, addr, SZ_4K, DMA_TO_DEVICE);
	kfree(slab);

	/* Out of references: copies, until there is no room either. */
	all = kvcalloc(2048, sizeof(*all), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, all);
	nr = vkt_map_all(ctx, all, 2048, SZ_4K);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.direct_mappings,
			(u64)ctx->stats.pages_total);
	KUNIT_EXPECT_GT(test, nr, ctx->stats.pages_total);
	vkt_unmap_all(ctx, all, nr, SZ_4K);
	kvfree(all);
	vkt_expect_idle(test);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);
}

static void count_held(void *priv)
{
	(*(unsigned int *)priv)++;
}

/* A backend that keeps a buffer: its page is lost to both, and all is over. */
static void vgrant_test_direct_held(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	struct vgrant_pool_stats stats;
	unsigned int nr_calls = 0;
	dma_addr_t addr, late;
	struct page *page;
	u8 *held;

	vgrant_direct_kib = 8;
	vkt_pool_make(test, 2048, SEGS_MAX, false);
	vgrant_pool_set_held_handler(ctx->pool, count_held, &nr_calls);
	page = alloc_pages(GFP_KERNEL | __GFP_COMP, 1);
	KUNIT_ASSERT_NOT_NULL(test, page);
	addr = dma_map_page(ctx->dev, page, 0, SZ_8K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_FALSE(test, is_in_pool(ctx, addr));
	/* It keeps the second of two pages. */
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, virtio_grant_addr_ref(addr) + 1,
					   1), 0);
	held = page_address(view.page[0]);
	dma_unmap_page(ctx->dev, addr, SZ_8K, DMA_FROM_DEVICE);

	KUNIT_EXPECT_EQ(test, nr_calls, 1U);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.pages_held, 1U);
	late = dma_map_single(ctx->dev, ctx->buf, 16, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(ctx->dev, late));
	KUNIT_EXPECT_EQ(test, vgrant_pool_suspend(ctx->pool), -EBUSY);

	/* Its owner gives it back, and it is nobody's. */
	KUNIT_EXPECT_EQ(test, page_count(page), 2);
	put_page(page);
	memset(held, 0x77, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, page_count(page), 1);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 1U);
	KUNIT_EXPECT_EQ(test, page_count(page), 1);
	KUNIT_EXPECT_TRUE(test, vkt_is_all(held, PAGE_SIZE, 0x77));
	/* From here on the kernel's timer may free it. */
	vkt_view_unmap(&view);
}

/* One that lets go before the pool does costs nothing. */
static void vgrant_test_direct_let_go(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	dma_addr_t addr;

	vgrant_direct_kib = 4;
	vkt_pool_make(test, 2048, SEGS_MAX, false);
	addr = dma_map_single(ctx->dev, ctx->buf, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, virtio_grant_addr_ref(addr),
					   1), 0);
	dma_unmap_single(ctx->dev, addr, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, page_count(virt_to_page(ctx->buf)), 2);
	vkt_view_unmap(&view);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);
	KUNIT_EXPECT_EQ(test, page_count(virt_to_page(ctx->buf)), 1);
}

static struct kunit_case vgrant_direct_cases[] = {
	KUNIT_CASE(vgrant_test_direct),
	KUNIT_CASE(vgrant_test_direct_not),
	KUNIT_CASE(vgrant_test_direct_held),
	KUNIT_CASE(vgrant_test_direct_let_go),
	{ }
};

static struct kunit_suite vgrant_direct_suite = {
	.name = "virtio_grant_direct",
	.init = vkt_init,
	.exit = vkt_exit,
	.test_cases = vgrant_direct_cases,
};

kunit_test_suite(vgrant_direct_suite);
