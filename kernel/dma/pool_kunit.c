// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pool_kunit.c - KUnit: how much fits into a pool, where it is, and its grants.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dma/kunit_priv.h"

/* Limits */

static void vgrant_test_limits(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	size_t max_bytes;
	dma_addr_t addr;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	max_bytes = dma_max_mapping_size(ctx->dev);
	KUNIT_EXPECT_EQ(test, max_bytes, ctx->stats.mapping_max_bytes);
	KUNIT_EXPECT_GE(test, max_bytes, PAGE_SIZE);
	KUNIT_ASSERT_LT(test, max_bytes, (size_t)BUF_BYTES);

	addr = dma_map_single(ctx->dev, ctx->buf, max_bytes, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	dma_unmap_single(ctx->dev, addr, max_bytes, DMA_TO_DEVICE);
	/* An indirect table can be larger than the segments should be. */
	addr = dma_map_single(ctx->dev, ctx->buf, SZ_64K, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	dma_unmap_single(ctx->dev, addr, SZ_64K, DMA_TO_DEVICE);
	addr = dma_map_single(ctx->dev, ctx->buf, SZ_64K + 1, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(ctx->dev, addr));

	/* An address has bit 63: nothing narrower will do. */
	KUNIT_EXPECT_NE(test, dma_set_mask(ctx->dev, DMA_BIT_MASK(32)), 0);
	KUNIT_EXPECT_NE(test, dma_set_mask(ctx->dev, DMA_BIT_MASK(48)), 0);
}

static void vgrant_test_exhaustion(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	unsigned int nr, pages, max, i, j;
	struct vgrant_pool_stats stats;
	dma_addr_t *addr;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	pages = ctx->stats.pages_total - ctx->stats.pages_in_use;
	max = ctx->stats.small_total + pages + 1;
	addr = kunit_kcalloc(test, max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	/* Every page, and not one twice. */
	nr = vkt_map_all(ctx, addr, max, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr, pages);
	for (i = 0; i < nr; i++)
		for (j = 0; j < i; j++)
			KUNIT_ASSERT_NE(test, addr[i], addr[j]);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.exhaustions, 1ULL);
	KUNIT_EXPECT_EQ(test, stats.pages_in_use, stats.pages_total);
	KUNIT_EXPECT_EQ(test, stats.pages_high_water, stats.pages_total);

	/* One comes back, and goes out again. */
	dma_unmap_single(ctx->dev, addr[nr / 2], PAGE_SIZE, DMA_TO_DEVICE);
	addr[nr / 2] = dma_map_single(ctx->dev, ctx->buf, PAGE_SIZE,
				      DMA_TO_DEVICE);
	KUNIT_EXPECT_FALSE(test, dma_mapping_error(ctx->dev, addr[nr / 2]));
	vkt_unmap_all(ctx, addr, nr, PAGE_SIZE);
	vkt_expect_idle(test);

	/* Small buffers go on in whole pages when their slots are used up. */
	nr = vkt_map_all(ctx, addr, max, 16);
	KUNIT_EXPECT_EQ(test, nr, ctx->stats.small_total + pages);
	vkt_unmap_all(ctx, addr, nr, 16);
	vkt_expect_idle(test);
}

/* Buffers that take a page each, and no two of them begin in one cache line. */
#define POSTED_BYTES	(VGRANT_SMALL_BYTES + 1)
#define POSTED_APART	320

/* Posted for ever in one direction: the other goes on, with what is its own. */
static void check_directions(struct kunit *test, enum dma_data_direction first,
			     enum dma_data_direction then)
{
	struct vkt *ctx = test->priv;
	unsigned int nr, max, round;
	dma_addr_t *addr, last;

	max = ctx->stats.pages_total;
	KUNIT_ASSERT_LE(test, max, BUF_BYTES / POSTED_APART);
	addr = kunit_kcalloc(test, max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	for (nr = 0; nr < max; nr++) {
		addr[nr] = dma_map_single(ctx->dev, ctx->buf + nr * POSTED_APART,
					  POSTED_BYTES, first);
		if (dma_mapping_error(ctx->dev, addr[nr]))
			break;
	}
	KUNIT_EXPECT_LE(test, nr, max - ctx->stats.pages_in_use -
				  ctx->stats.reserve_pages);
	for (round = 0; round < 100; round++) {
		last = dma_map_single(ctx->dev, ctx->buf + 64, SZ_64K, then);
		KUNIT_EXPECT_FALSE(test, dma_mapping_error(ctx->dev, last));
		dma_unmap_single(ctx->dev, last, SZ_64K, then);
		last = dma_map_single(ctx->dev, ctx->buf + 128, POSTED_BYTES,
				      first);
		KUNIT_EXPECT_TRUE(test, dma_mapping_error(ctx->dev, last));
	}
	while (nr--)
		dma_unmap_single(ctx->dev, addr[nr], POSTED_BYTES, first);
	vkt_expect_idle(test);
}

static void vgrant_test_directions(struct kunit *test)
{
	struct vkt *ctx = test->priv;

	ctx->is_divided = true;
	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	KUNIT_EXPECT_GE(test, ctx->stats.reserve_pages, 16U);
	check_directions(test, DMA_FROM_DEVICE, DMA_TO_DEVICE);
	check_directions(test, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL);
	check_directions(test, DMA_TO_DEVICE, DMA_FROM_DEVICE);
	check_directions(test, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE);
}

/* Each CPU can have all that is free, wherever it was used before. */
static void vgrant_test_cpus(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	int here = cpumask_first(cpu_online_mask);
	int there = cpumask_next(here, cpu_online_mask);
	unsigned int pages, nr;
	dma_addr_t *addr;

	if (there >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	pages = ctx->stats.pages_total - ctx->stats.pages_in_use;
	addr = kunit_kcalloc(test, pages + 1, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(there)), 0);
	nr = vkt_map_all(ctx, addr, pages + 1, PAGE_SIZE);
	vkt_unmap_all(ctx, addr, nr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr, pages);
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(here)), 0);
	nr = vkt_map_all(ctx, addr, pages + 1, PAGE_SIZE);
	vkt_unmap_all(ctx, addr, nr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr, pages);
	set_cpus_allowed_ptr(current, cpu_online_mask);
	vkt_expect_idle(test);
}

/* Takes all pages, and frees them in an order that is none. */
static void scatter(struct vkt *ctx, dma_addr_t *addr, unsigned int max)
{
	unsigned int nr = vkt_map_all(ctx, addr, max, PAGE_SIZE), start, i;

	for (start = 0; start < 30; start++)
		for (i = start; i < nr; i += 30)
			dma_unmap_single(ctx->dev, addr[i], PAGE_SIZE,
					 DMA_TO_DEVICE);
}

/* After any history, about as many of the largest buffers as in the beginning. */
static void vgrant_test_runs(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	unsigned int max, nr, fit, i, pages;
	dma_addr_t *addr;
	size_t bytes;

	vkt_pool_make(test, 4096, SEGS_MAX, false);
	KUNIT_EXPECT_EQ(test, ctx->stats.mapping_max_bytes, SZ_64K);
	max = ctx->stats.pages_total;
	addr = kunit_kcalloc(test, max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	nr = vkt_map_all(ctx, addr, max, SZ_64K);
	fit = (max - ctx->stats.pages_in_use) / 16 - 5;
	KUNIT_EXPECT_GE(test, nr, fit);
	vkt_unmap_all(ctx, addr, nr, SZ_64K);
	for (pages = 1; pages <= 16; pages++) {
		bytes = pages * PAGE_SIZE;
		nr = vkt_map_all(ctx, addr, max, bytes);
		KUNIT_EXPECT_GE(test, nr, fit);
		for (i = 0; i < nr; i++) {
			u64 first = (addr[i] >> PAGE_SHIFT) -
				(virtio_grant_addr(ctx->stats.first_ref, 0) >>
				 PAGE_SHIFT);

			KUNIT_EXPECT_LE(test, first + pages, max);
		}
		/* In an order that leaves holes meanwhile. */
		for (i = 0; i < nr; i += 2)
			dma_unmap_single(ctx->dev, addr[i], bytes, DMA_TO_DEVICE);
		for (i = 1; i < nr; i += 2)
			dma_unmap_single(ctx->dev, addr[i], bytes, DMA_TO_DEVICE);
		vkt_expect_idle(test);
	}
	nr = vkt_map_all(ctx, addr, max, SZ_64K);
	KUNIT_EXPECT_GE(test, nr, fit);
	vkt_unmap_all(ctx, addr, nr, SZ_64K);
	scatter(ctx, addr, max);
	nr = vkt_map_all(ctx, addr, max, SZ_64K);
	KUNIT_EXPECT_GE(test, nr, fit);
	vkt_unmap_all(ctx, addr, nr, SZ_64K);
	vkt_expect_idle(test);
}

/* Another CPU takes slots elsewhere. */
static void stay_here(struct kunit *test)
{
	int here = cpumask_first(cpu_online_mask);

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(here)), 0);
}

#define ADJACENT_DEPTH	16
#define ADJACENT_SEGS	16

/*
 * Requests of scattered pages, many at a time and not quite in order: their
 * buffers lie side by side in the pool, most often.
 */
static void vgrant_test_adjacent(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	dma_addr_t (*addr)[ADJACENT_SEGS];
	unsigned int round, i, good = 0, low = UINT_MAX, high = 0;
	struct rnd_state rnd;

	vkt_pool_make(test, 8192, SEGS_MAX, false);
	addr = kunit_kcalloc(test, ADJACENT_DEPTH, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	prandom_seed_state(&rnd, 5);
	stay_here(test);
	for (round = 0; round < 1000; round++) {
		/* One of the oldest four ends. */
		unsigned int nr = (round + prandom_u32_state(&rnd) % 4) %
				  ADJACENT_DEPTH;
		bool is_one = true;

		for (i = 0; round >= ADJACENT_DEPTH + 4 && i < ADJACENT_SEGS; i++)
			dma_unmap_single(ctx->dev, addr[nr][i], PAGE_SIZE,
					 DMA_TO_DEVICE);
		if (round < ADJACENT_DEPTH)
			nr = round;
		else if (round < ADJACENT_DEPTH + 4)
			continue;
		for (i = 0; i < ADJACENT_SEGS; i++) {
			addr[nr][i] = dma_map_single(ctx->dev, ctx->buf,
						     PAGE_SIZE, DMA_TO_DEVICE);
			KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev,
								   addr[nr][i]));
			is_one &= !i || addr[nr][i] == addr[nr][i - 1] + PAGE_SIZE;
		}
		good += round >= 200 && is_one;
		if (round >= 200) {
			low = min(low, virtio_grant_addr_ref(addr[nr][0]));
			high = max(high, virtio_grant_addr_ref(addr[nr][0]));
		}
	}
	for (round = 0; round < ADJACENT_DEPTH; round++)
		for (i = 0; i < ADJACENT_SEGS; i++)
			dma_unmap_single(ctx->dev, addr[round][i], PAGE_SIZE,
					 DMA_TO_DEVICE);
	kunit_info(test, "%u of 800 requests in one piece, all within %u pages",
		   good, high - low + ADJACENT_SEGS);
	KUNIT_EXPECT_GE(test, good, 600U);
	set_cpus_allowed_ptr(current, cpu_online_mask);
	/* And not all over the pool. */
	KUNIT_EXPECT_LE(test, high - low, 4U * ADJACENT_DEPTH * ADJACENT_SEGS);
	vkt_expect_idle(test);
}

/* Few in flight stay in few pages. */
static void vgrant_test_window(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	u32 low = U32_MAX, high = 0;
	unsigned int round;
	dma_addr_t *addr;

	vkt_pool_make(test, 8192, SEGS_MAX, false);
	/* Whatever was in flight before. */
	addr = kvcalloc(ctx->stats.pages_total, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	stay_here(test);
	scatter(ctx, addr, ctx->stats.pages_total);
	for (round = 0; round < 10000; round++) {
		*addr = dma_map_single(ctx->dev, ctx->buf, PAGE_SIZE,
				       DMA_TO_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, *addr));
		if (round >= 9000) {
			low = min(low, virtio_grant_addr_ref(*addr));
			high = max(high, virtio_grant_addr_ref(*addr));
		}
		dma_unmap_single(ctx->dev, *addr, PAGE_SIZE, DMA_TO_DEVICE);
	}
	kvfree(addr);
	set_cpus_allowed_ptr(current, cpu_online_mask);
	/* Twice the smallest window that there is. */
	KUNIT_EXPECT_LT(test, high - low, 128U);
	vkt_expect_idle(test);
}

/* Buffers of all sizes at once: nobody's bytes are somebody else's. */
static void vgrant_test_mixed(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct rnd_state rnd;
	unsigned int nr = 0, i, j;
	dma_addr_t addr[64];
	size_t size[64];

	vkt_pool_make(test, 2048, SEGS_MAX, false);
	prandom_seed_state(&rnd, 3);
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		size[i] = 1 + prandom_u32_state(&rnd) %
			(i % 2 ? VGRANT_SMALL_BYTES :
				 ctx->stats.mapping_max_bytes);
		addr[i] = dma_map_single(ctx->dev, ctx->buf, size[i],
					 DMA_TO_DEVICE);
		nr += !dma_mapping_error(ctx->dev, addr[i]);
	}
	KUNIT_EXPECT_GE(test, nr, 40U);
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		for (j = 0; j < i; j++)
			if (!dma_mapping_error(ctx->dev, addr[i]) &&
			    !dma_mapping_error(ctx->dev, addr[j]))
				KUNIT_EXPECT_TRUE(test, addr[i] + size[i] <= addr[j] ||
						  addr[j] + size[j] <= addr[i]);
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		if (!dma_mapping_error(ctx->dev, addr[i]))
			dma_unmap_single(ctx->dev, addr[i], size[i],
					 DMA_TO_DEVICE);
	vkt_expect_idle(test);
}

/*
 * The largest possible request fits into a pool that holds nothing else, after
 * any history: or its driver would wait for ever.
 */
static void check_request_fits(struct kunit *test, unsigned int pool_kib,
			       unsigned int segs_max, unsigned int segs_enough)
{
	struct vkt *ctx = test->priv;
	dma_addr_t ring, table, *addr;
	unsigned int nr, max;
	size_t seg_bytes, table_bytes;
	void *ring_va;

	ctx->segs_enough = segs_enough;
	vkt_pool_make(test, pool_kib, segs_max, false);
	KUNIT_EXPECT_GE(test, ctx->stats.segs_max,
			segs_enough ? min(segs_max, segs_enough) : segs_max);
	KUNIT_EXPECT_LE(test, ctx->stats.segs_max, segs_max);
	segs_max = ctx->stats.segs_max;
	table_bytes = 16 * (segs_max + 2);
	seg_bytes = ctx->stats.mapping_max_bytes;
	max = max(ctx->stats.pages_total, segs_max) + 1;
	addr = kvcalloc(max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	ring_va = dma_alloc_coherent(ctx->dev, RING_BYTES, &ring, GFP_KERNEL);
	KUNIT_EXPECT_NOT_NULL(test, ring_va);

	scatter(ctx, addr, max);
	nr = vkt_map_all(ctx, addr, segs_max, seg_bytes);
	KUNIT_EXPECT_EQ_MSG(test, nr, segs_max, "%u KiB, %u segments of %zu",
			    pool_kib, segs_max, seg_bytes);
	table = dma_map_single(ctx->dev, ctx->buf, table_bytes, DMA_TO_DEVICE);
	KUNIT_EXPECT_FALSE(test, dma_mapping_error(ctx->dev, table));
	if (!dma_mapping_error(ctx->dev, table))
		dma_unmap_single(ctx->dev, table, table_bytes, DMA_TO_DEVICE);
	vkt_unmap_all(ctx, addr, nr, seg_bytes);
	if (ring_va)
		dma_free_coherent(ctx->dev, RING_BYTES, ring_va, ring);
	kvfree(addr);
	vkt_expect_idle(test);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);
}

static void vgrant_test_request_fits(struct kunit *test)
{
	check_request_fits(test, 64, 1, 0);
	check_request_fits(test, 256, 8, 0);
	check_request_fits(test, 1024, 128, 0);
	check_request_fits(test, 8192, 128, 0);
	check_request_fits(test, 8192, 256, 0);
	/* Asked for less than the device needs: the need wins. */
	check_request_fits(test, 4, 64, 0);
	check_request_fits(test, 0, 256, 0);
	/* A driver that is content with less. */
	check_request_fits(test, 8192, 1024, 66);
	check_request_fits(test, 4096, 256, 66);
	check_request_fits(test, 4, 1024, 66);
	check_request_fits(test, 4, 1024, 0);
}

/* Interrupts off, as in a driver's submission path. */
static void vgrant_test_atomic(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	unsigned long flags;
	dma_addr_t addr[3];
	bool ok = true;
	int i, round;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	local_irq_save(flags);
	for (round = 0; round < 100; round++) {
		addr[0] = dma_map_single(ctx->dev, ctx->buf, 16, DMA_TO_DEVICE);
		addr[1] = dma_map_single(ctx->dev, ctx->buf, 4096,
					 DMA_TO_DEVICE);
		addr[2] = dma_map_single(ctx->dev, ctx->buf, 9000,
					 DMA_TO_DEVICE);
		for (i = 0; i < 3; i++)
			ok &= !dma_mapping_error(ctx->dev, addr[i]);
		dma_unmap_single(ctx->dev, addr[2], 9000, DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[1], 4096, DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[0], 16, DMA_TO_DEVICE);
	}
	local_irq_restore(flags);
	KUNIT_EXPECT_TRUE(test, ok);
	vkt_expect_idle(test);
}

/* Several threads at once: nobody gets another's bytes */

#define STRESS_THREADS	4
#define STRESS_ROUNDS	150
#define STRESS_HELD	16

struct stress {
	struct vkt *ctx;
	struct task_struct *task;
	unsigned int nr;
	unsigned int exhausted;
	unsigned int wrong;
};

static int stress_thread(void *opaque)
{
	struct stress *me = opaque;
	struct device *dev = me->ctx->dev;
	size_t size[STRESS_HELD], max_bytes;
	dma_addr_t addr[STRESS_HELD];
	struct rnd_state rnd;
	u8 *buf[STRESS_HELD] = {};
	unsigned int round, i;

	max_bytes = min_t(size_t, dma_max_mapping_size(dev), SZ_16K);
	prandom_seed_state(&rnd, me->nr + 1);
	for (i = 0; i < STRESS_HELD; i++) {
		buf[i] = kmalloc(max_bytes, GFP_KERNEL);
		if (!buf[i])
			me->wrong++;
		addr[i] = DMA_MAPPING_ERROR;
	}
	for (round = 0; round < STRESS_ROUNDS && !me->wrong; round++) {
		for (i = 0; i < STRESS_HELD; i++) {
			u32 r = prandom_u32_state(&rnd);

			size[i] = r % 3 == 0 ? 1 + (r >> 8) % 256 :
				  r % 3 == 1 ? 1 + (r >> 8) % PAGE_SIZE :
					       1 + (r >> 8) % max_bytes;
			vkt_fill(buf[i], size[i], me->nr * 8 + i);
			addr[i] = dma_map_single(dev, buf[i], size[i],
						 DMA_BIDIRECTIONAL);
			if (dma_mapping_error(dev, addr[i]))
				me->exhausted++;
			/* The copy must outlive this. */
			memset(buf[i], 0, size[i]);
		}
		cond_resched();
		for (i = 0; i < STRESS_HELD; i++) {
			if (dma_mapping_error(dev, addr[i]))
				continue;
			dma_unmap_single(dev, addr[i], size[i],
					 DMA_BIDIRECTIONAL);
			if (!vkt_is_filled(buf[i], size[i], me->nr * 8 + i))
				me->wrong++;
		}
	}
	for (i = 0; i < STRESS_HELD; i++)
		kfree(buf[i]);
	return 0;
}

static void vgrant_test_stress(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct stress stress[STRESS_THREADS] = {};
	unsigned int i, exhausted = 0;

	/* Small enough that they run into each other. */
	vkt_pool_make(test, 256, SEGS_MAX, false);
	for (i = 0; i < STRESS_THREADS; i++) {
		stress[i].ctx = ctx;
		stress[i].nr = i;
		stress[i].task = kthread_create(stress_thread, &stress[i],
						"vgrant-stress%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(stress[i].task));
		get_task_struct(stress[i].task);
	}
	for (i = 0; i < STRESS_THREADS; i++)
		wake_up_process(stress[i].task);
	for (i = 0; i < STRESS_THREADS; i++) {
		/* A thread that was never run would be stopped before it ran. */
		while (!(READ_ONCE(stress[i].task->exit_state)))
			msleep(20);
		kthread_stop(stress[i].task);
		put_task_struct(stress[i].task);
		KUNIT_EXPECT_EQ(test, stress[i].wrong, 0U);
		exhausted += stress[i].exhausted;
	}
	kunit_info(test, "%u mappings refused for lack of room", exhausted);
	vkt_expect_idle(test);
}

/* Grants */

static void vgrant_test_grants_end(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	grant_ref_t first;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	first = ctx->stats.first_ref;
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, first,
					   ctx->stats.pages_total), 0);
	vkt_view_unmap(&view);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);
	/* And nothing can be mapped afterwards. */
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &view, first, 1), -EIO);
	vkt_view_unmap(&view);
}

static void vgrant_test_quarantine(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	unsigned long before;
	struct page **fresh;
	unsigned int i, j;
	u8 *held[3];

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	/* A backend that keeps three pages from the middle of the pool. */
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ctx->stats.first_ref + 20,
					   3), 0);
	for (i = 0; i < 3; i++) {
		held[i] = page_address(view.page[i]);
		memset(held[i], CANARY, PAGE_SIZE);
	}
	before = jiffies;
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 3U);
	KUNIT_EXPECT_LT(test, jiffies_to_msecs(jiffies - before), 3000U);
	/* Nothing is left in them. */
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_TRUE(test, vkt_is_all(held[i], PAGE_SIZE, 0));
		memset(held[i], 0x11 * (i + 1), PAGE_SIZE);
	}

	/* Whoever gets memory now, it is not those pages. */
	fresh = kunit_kcalloc(test, 4096, sizeof(*fresh), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fresh);
	for (i = 0; i < 4096; i++) {
		fresh[i] = alloc_page(GFP_KERNEL | __GFP_NOWARN |
				      __GFP_NORETRY);
		if (!fresh[i])
			break;
		memset(page_address(fresh[i]), CANARY, PAGE_SIZE);
	}
	for (j = 0; j < 3; j++)
		KUNIT_EXPECT_TRUE_MSG(test, vkt_is_all(held[j], PAGE_SIZE,
						       0x11 * (j + 1)),
				      "page %u is in use again", j);
	while (i--)
		__free_page(fresh[i]);

	/* The guest goes on, with another pool. */
	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	KUNIT_EXPECT_EQ(test, vkt_pool_unmake(ctx), 0U);

	/* The backend lets go: the kernel's timer takes the pages back. */
	vkt_view_unmap(&view);
}

/* After a failure nothing goes in, and what comes out is no success. */
static void vgrant_test_failed(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	dma_addr_t in, out, late;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	memset(ctx->buf, CANARY, BUF_BYTES);
	vkt_fill(ctx->buf, 600, 1);
	out = dma_map_single(ctx->dev, ctx->buf, 600, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, out));
	in = dma_map_single(ctx->dev, ctx->buf + 1000, 600, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, in));

	vgrant_pool_fail(ctx->pool);
	late = dma_map_single(ctx->dev, ctx->buf + 2000, 16, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(ctx->dev, late));
	dma_unmap_single(ctx->dev, out, 600, DMA_TO_DEVICE);
	dma_unmap_single(ctx->dev, in, 600, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(ctx->buf, 600, 1));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf + 600, 400, CANARY));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf + 1000, 600, 0xff));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf + 1600, 400, CANARY));
	vkt_expect_idle(test);
}

static void vgrant_test_suspend(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	dma_addr_t addr;
	grant_ref_t ref;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	ref = ctx->stats.first_ref;

	/* Not while the backend maps something; then nothing changed. */
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref + 5, 1), 0);
	KUNIT_EXPECT_EQ(test, vgrant_pool_suspend(ctx->pool), -EBUSY);
	vkt_view_unmap(&view);
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref, ctx->stats.pages_total), 0);
	vkt_view_unmap(&view);

	KUNIT_ASSERT_EQ(test, vgrant_pool_suspend(ctx->pool), 0);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &view, ref, 1), -EIO);
	vgrant_pool_resume(ctx->pool);
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &ctx->view, ref,
					   ctx->stats.pages_total), 0);
	vkt_fill(ctx->buf, 5000, 1);
	addr = dma_map_single(ctx->dev, ctx->buf, 5000, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, addr, 5000, 1));
	dma_unmap_single(ctx->dev, addr, 5000, DMA_TO_DEVICE);
}

/* For good: what the backend keeps mapped, is all that it has. */
static void vgrant_test_end(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {}, other = {};
	grant_ref_t ref;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	ref = ctx->stats.first_ref;
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref + 5, 2), 0);
	KUNIT_EXPECT_EQ(test, vgrant_pool_end(ctx->pool), 2U);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &other, ref, 1), -EIO);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &other, ref + 4, 1), -EIO);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &other, ref + 7, 1), -EIO);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &other,
					   ref + ctx->stats.pages_total - 1, 1), -EIO);
	/* The last ones end when they are let go of, and nothing is granted again. */
	vkt_view_unmap(&view);
	KUNIT_EXPECT_EQ(test, vgrant_pool_end(ctx->pool), 0U);
	KUNIT_EXPECT_EQ(test, vgrant_pool_end(ctx->pool), 0U);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &other, ref + 5, 1), -EIO);
}

/* Not to another domain either; then nothing changed, for the last one. */
static void vgrant_test_move(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vkt_view view = {};
	domid_t other = ctx->self ? 0 : 1;
	grant_ref_t ref;
	unsigned int i;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	ref = ctx->stats.first_ref;
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref + 5, 1), 0);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, vgrant_pool_move(ctx->pool, other), -EBUSY);
	vkt_view_unmap(&view);
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref, ctx->stats.pages_total), 0);
	vkt_view_unmap(&view);

	KUNIT_ASSERT_EQ(test, vgrant_pool_move(ctx->pool, other), 0);
	KUNIT_EXPECT_EQ(test, vkt_view_map(ctx, &view, ref, 1), -EIO);
	KUNIT_ASSERT_EQ(test, vgrant_pool_move(ctx->pool, ctx->self), 0);
	KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &view, ref, 1), 0);
	vkt_view_unmap(&view);
}

static struct kunit_case vgrant_pool_cases[] = {
	KUNIT_CASE(vgrant_test_limits),
	KUNIT_CASE(vgrant_test_exhaustion),
	KUNIT_CASE(vgrant_test_directions),
	KUNIT_CASE(vgrant_test_cpus),
	KUNIT_CASE_SLOW(vgrant_test_runs),
	KUNIT_CASE(vgrant_test_adjacent),
	KUNIT_CASE_SLOW(vgrant_test_window),
	KUNIT_CASE(vgrant_test_mixed),
	KUNIT_CASE_SLOW(vgrant_test_request_fits),
	KUNIT_CASE(vgrant_test_atomic),
	KUNIT_CASE_SLOW(vgrant_test_stress),
	KUNIT_CASE(vgrant_test_grants_end),
	KUNIT_CASE_SLOW(vgrant_test_quarantine),
	KUNIT_CASE(vgrant_test_failed),
	KUNIT_CASE_SLOW(vgrant_test_suspend),
	KUNIT_CASE(vgrant_test_move),
	KUNIT_CASE_SLOW(vgrant_test_end),
	{ }
};

static struct kunit_suite vgrant_pool_suite = {
	.name = "virtio_grant_pool",
	.init = vkt_init,
	.exit = vkt_exit,
	.test_cases = vgrant_pool_cases,
};

kunit_test_suite(vgrant_pool_suite);
