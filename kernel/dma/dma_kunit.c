// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dma_kunit.c - the pool and its DMA operations, on a real grant table.
 *
 * The suite runs in a Xen guest and plays the backend itself: pools are
 * granted to the guest's own domain, and the pages are mapped back through
 * their grants.  What the tests call a view is thus exactly what a backend
 * would see, and a view that stays mapped is a backend that never unmaps.
 */
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/vmalloc.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <asm/xen/hypercall.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

#define POOL_KIB	512
#define SEGS_MAX	8
#define RING_BYTES	(2 * PAGE_SIZE)

/* Of the buffers' surroundings, of the data, and of what a backend writes. */
#define CANARY		0xc5
#define BACKEND_SEED	7

struct vgrant_view {
	unsigned int nr;
	u32 flags;		/* GNTMAP_readonly, or nothing */
	struct page **page;
	grant_handle_t *handle;
};

struct vgrant_test {
	struct platform_device *pdev;
	struct device *dev;
	domid_t self;
	struct vgrant_pool *pool;
	struct vgrant_pool_stats stats;
	struct vgrant_view view;
	u8 *buf;		/* room for buffers, canaries around them */
	unsigned int segs_enough;
	bool is_divided;
	unsigned int pool_kib_before;
	unsigned int direct_kib_before;
	bool zero_before;
};

#define BUF_BYTES	(80 * PAGE_SIZE)

/*
 * Test data: different at each place, and never the canary.  What looks at each
 * byte of it, does so without KASAN, which most of the suite's time went into.
 */
static __no_sanitize_address u8 pattern(size_t i, u8 seed)
{
	u8 c = i * 31 + (i >> 8) + seed;

	return c == CANARY ? 0 : c;
}

static noinline __no_sanitize_address void fill(u8 *p, size_t len, u8 seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern(i, seed);
}

static noinline __no_sanitize_address bool is_filled(const u8 *p, size_t len,
						     u8 seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != pattern(i, seed))
			return false;
	return true;
}

static bool is_all(const u8 *p, size_t len, u8 c)
{
	return !memchr_inv(p, c, len);
}

/* The backend */

/* Xen does not tell a domain its number; a port bound to oneself does. */
static domid_t own_domid(void)
{
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = DOMID_SELF,
	};
	struct evtchn_status status = { .dom = DOMID_SELF };
	struct evtchn_close close;
	domid_t domid = DOMID_INVALID;

	if (HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc))
		return DOMID_INVALID;
	status.port = alloc.port;
	if (!HYPERVISOR_event_channel_op(EVTCHNOP_status, &status) &&
	    status.status == EVTCHNSTAT_unbound)
		domid = status.u.unbound.dom;
	close.port = alloc.port;
	HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
	return domid;
}

static int view_map_page(struct vgrant_test *ctx, struct vgrant_view *view,
			 unsigned int i, grant_ref_t ref)
{
	struct gnttab_map_grant_ref op;
	int ret;

	gnttab_set_map_op(&op, (unsigned long)page_address(view->page[i]),
			  GNTMAP_host_map | view->flags, ref, ctx->self);
	ret = gnttab_map_refs(&op, NULL, &view->page[i], 1);
	if (ret || op.status != GNTST_okay)
		return -EIO;
	view->handle[i] = op.handle;
	return 0;
}

static void view_unmap(struct vgrant_view *view)
{
	struct gnttab_unmap_grant_ref op;
	unsigned int i;

	for (i = 0; i < view->nr; i++) {
		gnttab_set_unmap_op(&op,
				    (unsigned long)page_address(view->page[i]),
				    GNTMAP_host_map | view->flags,
				    view->handle[i]);
		gnttab_unmap_refs(&op, NULL, &view->page[i], 1);
	}
	if (view->page)
		gnttab_free_pages(view->nr, view->page);
	kfree(view->page);
	kfree(view->handle);
	memset(view, 0, sizeof(*view));
}

/* Maps @nr pages of the pool as its backend would. */
static int view_map(struct vgrant_test *ctx, struct vgrant_view *view,
		    grant_ref_t first, unsigned int nr)
{
	unsigned int i;

	view->page = kcalloc(nr, sizeof(*view->page), GFP_KERNEL);
	view->handle = kcalloc(nr, sizeof(*view->handle), GFP_KERNEL);
	if (!view->page || !view->handle || gnttab_alloc_pages(nr, view->page)) {
		kfree(view->page);
		kfree(view->handle);
		memset(view, 0, sizeof(*view));
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++) {
		if (view_map_page(ctx, view, i, first + i)) {
			unsigned int rest = i;

			for (; rest < nr; rest++)
				gnttab_free_pages(1, &view->page[rest]);
			view->nr = i;
			view_unmap(view);
			return -EIO;
		}
	}
	view->nr = nr;
	return 0;
}

/* Copies between a DMA address and the test, through the views. */
static void backend_copy(struct vgrant_test *ctx, dma_addr_t addr, u8 *data,
			 size_t len, bool is_write)
{
	size_t done = 0;

	while (done < len) {
		u32 ref = virtio_grant_addr_ref(addr + done);
		u32 offset = virtio_grant_addr_offset(addr + done);
		size_t part = min_t(size_t, len - done, PAGE_SIZE - offset);
		u8 *at = page_address(ctx->view.page[ref - ctx->stats.first_ref]);

		if (is_write)
			memcpy(at + offset, data + done, part);
		else
			memcpy(data + done, at + offset, part);
		done += part;
	}
}

static bool backend_sees_filled(struct vgrant_test *ctx, dma_addr_t addr,
				size_t len, u8 seed)
{
	u8 *copy = vmalloc(len);
	bool ok;

	if (!copy)
		return false;
	backend_copy(ctx, addr, copy, len, false);
	ok = is_filled(copy, len, seed);
	vfree(copy);
	return ok;
}

static bool backend_sees_all(struct vgrant_test *ctx, dma_addr_t addr,
			     size_t len, u8 c)
{
	u8 *copy = vmalloc(len);
	bool ok;

	if (!copy)
		return false;
	backend_copy(ctx, addr, copy, len, false);
	ok = is_all(copy, len, c);
	vfree(copy);
	return ok;
}

static bool backend_sees_zeroes(struct vgrant_test *ctx, dma_addr_t addr,
				size_t len)
{
	return backend_sees_all(ctx, addr, len, 0);
}

/* Every free slot has held something that is not its next user's. */
static void backend_fills_pool(struct vgrant_test *ctx, unsigned int pages,
			       u8 c)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		memset(page_address(ctx->view.page[i]), c, PAGE_SIZE);
}

/* What a buffer is that nobody wrote to: no status that means success. */
static u8 unwritten(size_t size)
{
	return size <= VGRANT_ANSWER_BYTES ? 0xff : 0;
}

static int backend_fill(struct vgrant_test *ctx, dma_addr_t addr, size_t len,
			u8 seed)
{
	u8 *copy = vmalloc(len);

	if (!copy)
		return -ENOMEM;
	fill(copy, len, seed);
	backend_copy(ctx, addr, copy, len, true);
	vfree(copy);
	return 0;
}

/* The pool */

static void pool_make(struct kunit *test, unsigned int pool_kib,
		      unsigned int segs_max, bool with_view)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_pool_need need = {
		.segs_max = segs_max,
		.segs_enough = ctx->segs_enough,
		.queues = 1,
		.is_divided = ctx->is_divided,
		.coherent_bytes = RING_BYTES,
	};

	vgrant_pool_kib = pool_kib;
	ctx->pool = vgrant_pool_create(ctx->dev, ctx->self, &need);
	if (IS_ERR(ctx->pool)) {
		int err = PTR_ERR(ctx->pool);

		ctx->pool = NULL;
		KUNIT_ASSERT_EQ_MSG(test, err, 0, "no pool");
	}
	vgrant_pool_attach(ctx->pool);
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(ctx->dev,
							DMA_BIT_MASK(64)), 0);
	vgrant_pool_read_stats(ctx->pool, &ctx->stats);
	if (with_view)
		KUNIT_ASSERT_EQ(test, view_map(ctx, &ctx->view,
					       ctx->stats.first_ref,
					       ctx->stats.pages_total), 0);
}

static unsigned int pool_unmake(struct vgrant_test *ctx);

/*
 * The same for a device that promises to write all, and with marks in which the
 * canary is not.
 */
static void pool_make_filled(struct kunit *test, unsigned int pool_kib)
{
	struct vgrant_test *ctx = test->priv;
	u8 mark[sizeof(u64)];
	dma_addr_t addr;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		pool_make(test, pool_kib, SEGS_MAX, true);
		vgrant_pool_set_filled(ctx->pool, true);
		addr = dma_map_single(ctx->dev, ctx->buf, 512, DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		backend_copy(ctx, addr, mark, sizeof(mark), false);
		dma_unmap_single(ctx->dev, addr, 512, DMA_FROM_DEVICE);
		if (!memchr(mark, CANARY, sizeof(mark)))
			return;
		pool_unmake(ctx);
	}
	KUNIT_FAIL(test, "the mark is not random");
}

static unsigned int pool_unmake(struct vgrant_test *ctx)
{
	struct vgrant_pool *pool = ctx->pool;

	view_unmap(&ctx->view);
	if (!pool)
		return 0;
	ctx->pool = NULL;
	vgrant_pool_detach(pool);
	return vgrant_pool_destroy(pool);
}

/* Nothing is mapped any more: every slot came back. */
static void expect_idle(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_pool_stats now;

	vgrant_pool_read_stats(ctx->pool, &now);
	KUNIT_EXPECT_EQ(test, now.pages_in_use, ctx->stats.pages_in_use);
	KUNIT_EXPECT_EQ(test, now.small_in_use, 0U);
}

static int vgrant_test_init(struct kunit *test)
{
	struct vgrant_test *ctx;

	if (!xen_domain())
		kunit_skip(test, "needs a Xen guest");
	/* Larger ones are tests/unit/guest/test_pool.c's to test. */
	if (PAGE_SIZE != XEN_PAGE_SIZE)
		kunit_skip(test, "maps grants as pages of the kernel's");
	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;
	test->priv = ctx;
	ctx->pool_kib_before = vgrant_pool_kib;
	ctx->direct_kib_before = vgrant_direct_kib;
	vgrant_direct_kib = 0;
	ctx->zero_before = vgrant_zero;
	vgrant_zero = false;
	ctx->self = own_domid();
	if (ctx->self == DOMID_INVALID)
		return -ENODEV;
	ctx->buf = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_COMP,
					  get_order(BUF_BYTES));
	if (!ctx->buf)
		return -ENOMEM;
	ctx->pdev = platform_device_register_simple("vgrant-kunit",
						    PLATFORM_DEVID_AUTO,
						    NULL, 0);
	if (IS_ERR(ctx->pdev)) {
		free_pages((unsigned long)ctx->buf, get_order(BUF_BYTES));
		ctx->buf = NULL;
		return PTR_ERR(ctx->pdev);
	}
	ctx->dev = &ctx->pdev->dev;
	return 0;
}

static void vgrant_test_exit(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;

	if (!ctx || !ctx->buf)
		return;
	pool_unmake(ctx);
	platform_device_unregister(ctx->pdev);
	free_pages((unsigned long)ctx->buf, get_order(BUF_BYTES));
	vgrant_pool_kib = ctx->pool_kib_before;
	vgrant_direct_kib = ctx->direct_kib_before;
	vgrant_zero = ctx->zero_before;
}

/* Addresses */

static void vgrant_test_address(struct kunit *test)
{
	static const size_t sizes[] = { 1, 256, 257, SZ_4K, SZ_4K + 1, SZ_16K };
	struct vgrant_test *ctx = test->priv;
	unsigned int i;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	KUNIT_EXPECT_EQ(test, ctx->stats.backend, ctx->self);
	KUNIT_EXPECT_EQ(test, ctx->stats.pages_total, POOL_KIB / 4U);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		dma_addr_t addr = dma_map_single(ctx->dev, ctx->buf, sizes[i],
						 DMA_TO_DEVICE);
		u32 ref, last;

		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		ref = virtio_grant_addr_ref(addr);
		last = virtio_grant_addr_ref(addr + sizes[i] - 1);
		KUNIT_EXPECT_TRUE(test, virtio_grant_addr_valid(addr));
		KUNIT_EXPECT_TRUE(test, addr >> 63 == 1);
		KUNIT_EXPECT_GE(test, ref, ctx->stats.first_ref);
		KUNIT_EXPECT_LT(test, last, ctx->stats.first_ref +
				ctx->stats.pages_total);
		/* Buffers above the size of small slots are alone in a page. */
		if (sizes[i] > VGRANT_SMALL_BYTES)
			KUNIT_EXPECT_EQ(test, virtio_grant_addr_offset(addr), 0U);
		dma_unmap_single(ctx->dev, addr, sizes[i], DMA_TO_DEVICE);
	}
	expect_idle(test);
}

/* Copies */

static void check_to_device(struct kunit *test, size_t offset, size_t size)
{
	struct vgrant_test *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	fill(data, size, 1);
	addr = dma_map_single(ctx->dev, data, size, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE_MSG(test, backend_sees_filled(ctx, addr, size, 1),
			      "%zu bytes at %zu: not what was sent", size, offset);
	/* Its buffer, but not ours to read: nothing comes back. */
	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE_MSG(test, is_filled(data, size, 1),
			      "%zu bytes at %zu: written by the backend", size,
			      offset);
}

static void check_from_device(struct kunit *test, size_t offset, size_t size)
{
	struct vgrant_test *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, data, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE_MSG(test, backend_sees_all(ctx, addr, size,
						     unwritten(size)),
			      "%zu bytes at %zu: not cleared", size, offset);
	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	KUNIT_EXPECT_TRUE(test, is_all(data, size, CANARY));
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE_MSG(test, is_filled(data, size, BACKEND_SEED),
			      "%zu bytes at %zu: not what came", size, offset);
	KUNIT_EXPECT_TRUE_MSG(test, is_all(ctx->buf, offset, CANARY),
			      "%zu bytes at %zu: written before", size, offset);
	KUNIT_EXPECT_TRUE_MSG(test, is_all(data + size,
					   BUF_BYTES - offset - size, CANARY),
			      "%zu bytes at %zu: written after", size, offset);
}

/* The same, of a slot that nobody cleared. */
static void check_from_device_as_it_is(struct kunit *test, size_t size)
{
	struct vgrant_test *ctx = test->priv;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, ctx->buf + 9, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, is_filled(ctx->buf + 9, size, BACKEND_SEED));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf, 9, CANARY));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf + 9 + size,
				       BUF_BYTES - 9 - size, CANARY));
}

static void check_both_ways(struct kunit *test, size_t offset, size_t size)
{
	struct vgrant_test *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	fill(data, size, 2);
	addr = dma_map_single(ctx->dev, data, size, DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, addr, size, 2));
	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, is_filled(data, size, BACKEND_SEED));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf, offset, CANARY));
	KUNIT_EXPECT_TRUE(test, is_all(data + size, BUF_BYTES - offset - size,
				       CANARY));
}

static void vgrant_test_copies(struct kunit *test)
{
	static const size_t sizes[] = {
		1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 513, 4095, 4096,
		4097, 8191, 8192, 12289,
	};
	static const size_t offsets[] = { 0, 1, 7, 512, 4095, 4096 };
	struct vgrant_test *ctx = test->priv;
	unsigned int i, j;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			check_to_device(test, offsets[j], sizes[i]);
			check_from_device(test, offsets[j], sizes[i]);
			check_both_ways(test, offsets[j], sizes[i]);
		}
	}
	check_to_device(test, 1, ctx->stats.mapping_max_bytes);
	check_from_device(test, 1, ctx->stats.mapping_max_bytes);
	expect_idle(test);
}

/* Neighbours of the buffer in its page never reach the pool. */
static void vgrant_test_neighbours(struct kunit *test)
{
	static const size_t sizes[] = { 1, 16, 256, 300, 4096, 6000 };
	struct vgrant_test *ctx = test->priv;
	unsigned int i, page;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		u8 *data = ctx->buf + 123;
		dma_addr_t addr;

		memset(ctx->buf, CANARY, BUF_BYTES);
		fill(data, sizes[i], 1);
		addr = dma_map_single(ctx->dev, data, sizes[i],
				      DMA_BIDIRECTIONAL);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		for (page = 0; page < ctx->view.nr; page++)
			KUNIT_EXPECT_PTR_EQ_MSG(test, NULL,
						memchr(page_address(ctx->view.page[page]),
						       CANARY, PAGE_SIZE),
						"a neighbour of %zu bytes is in page %u",
						sizes[i], page);
		dma_unmap_single(ctx->dev, addr, sizes[i], DMA_BIDIRECTIONAL);
	}
}

/* In words: is one of a word's bytes zero when that is taken off it? */
static noinline __no_sanitize_address bool has_canary(const u64 *page)
{
	const u64 ones = ~0ULL / 0xff;
	unsigned int i;
	u64 word;

	for (i = 0; i < PAGE_SIZE / sizeof(*page); i++) {
		word = page[i] ^ ones * CANARY;
		if ((word - ones) & ~word & ones << 7)
			return true;
	}
	return false;
}

/* Is the canary anywhere in the pool?  Nothing that is sent contains it. */
static bool is_exposed(struct vgrant_test *ctx)
{
	unsigned int page;

	for (page = 0; page < ctx->view.nr; page++)
		if (has_canary(page_address(ctx->view.page[page])))
			return true;
	return false;
}

static void check_exposure(struct kunit *test, size_t offset, size_t size,
			   enum dma_data_direction dir)
{
	struct vgrant_test *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	/* What the device is to write, it need not see before either. */
	memset(ctx->buf, CANARY, offset + size + PAGE_SIZE);
	if (dir != DMA_FROM_DEVICE)
		fill(data, size, size + offset);
	addr = dma_map_single(ctx->dev, data, size, dir);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_FALSE_MSG(test, is_exposed(ctx),
			       "%zu bytes at %zu, direction %d: more than them",
			       size, offset, dir);
	if (dir != DMA_TO_DEVICE)
		KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, offset), 0);
	dma_unmap_single(ctx->dev, addr, size, dir);
	KUNIT_EXPECT_FALSE_MSG(test, is_exposed(ctx),
			       "%zu bytes at %zu, direction %d: when unmapped",
			       size, offset, dir);
}

/*
 * Of buffers of every kind of size and place, in turns, so that each slot is
 * used for all of them: only their own bytes are ever in the pool.
 */
static void vgrant_test_exposure(struct kunit *test)
{
	static const enum dma_data_direction dirs[] = {
		DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL,
	};
	static const size_t sizes[] = {
		1, 16, 100, 255, 256, 257, 512, 4095, 4096, 4097, 12289, 32768,
	};
	static const size_t offsets[] = { 0, 1, 511, 4095 };
	struct vgrant_test *ctx = test->priv;
	unsigned int i, j, k, filled;

	pool_make_filled(test, 256);
	for (filled = 0; filled < 2; filled++) {
		vgrant_pool_set_filled(ctx->pool, filled);
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			for (j = 0; j < ARRAY_SIZE(offsets); j++)
				for (k = 0; k < ARRAY_SIZE(dirs); k++)
					check_exposure(test, offsets[j],
						       sizes[i], dirs[k]);
	}
	expect_idle(test);
}

/* A disk's request as its driver makes it, in structures full of secrets. */
static void vgrant_test_exposure_request(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct {
		u8 before[40], header[16], between[23], status, after[48];
	} *req = (void *)ctx->buf;
	u8 *table = ctx->buf + SZ_4K + 24, *data = ctx->buf + SZ_8K + 512;
	dma_addr_t addr[4], ring;
	unsigned int round, i;
	u8 *ring_va;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	ring_va = dma_alloc_coherent(ctx->dev, RING_BYTES, &ring, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ring_va);
	for (round = 0; round < 64; round++) {
		bool is_read = round % 2;
		size_t bytes = 512 * (1 + round % 9);

		memset(ctx->buf, CANARY, BUF_BYTES);
		fill(req->header, sizeof(req->header), round);
		fill(table, 48, round + 1);
		if (!is_read)
			fill(data, bytes, round + 2);
		addr[0] = dma_map_single(ctx->dev, req->header,
					 sizeof(req->header), DMA_TO_DEVICE);
		addr[1] = dma_map_single(ctx->dev, data, bytes,
					 is_read ? DMA_FROM_DEVICE : DMA_TO_DEVICE);
		addr[2] = dma_map_single(ctx->dev, &req->status, 1,
					 DMA_FROM_DEVICE);
		addr[3] = dma_map_single(ctx->dev, table, 48, DMA_TO_DEVICE);
		for (i = 0; i < ARRAY_SIZE(addr); i++)
			KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev,
								   addr[i]));
		KUNIT_EXPECT_FALSE(test, is_exposed(ctx));
		KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, addr[0],
							    sizeof(req->header),
							    round));
		if (is_read)
			KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr[1], bytes,
							   9), 0);
		dma_unmap_single(ctx->dev, addr[0], sizeof(req->header),
				 DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[1], bytes,
				 is_read ? DMA_FROM_DEVICE : DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[2], 1, DMA_FROM_DEVICE);
		dma_unmap_single(ctx->dev, addr[3], 48, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, req->status, 0xff);
		KUNIT_EXPECT_TRUE(test, is_all(req->between,
					       sizeof(req->between), CANARY));
		KUNIT_EXPECT_TRUE(test, is_all(req->after, sizeof(req->after),
					       CANARY));
		KUNIT_EXPECT_FALSE(test, is_exposed(ctx));
	}
	dma_free_coherent(ctx->dev, RING_BYTES, ring_va, ring);
	expect_idle(test);
}

/*
 * All sizes to beyond four small slots, each at another alignment, and those
 * around every page's end; odd strides, so that all meet all in time.
 */
static void vgrant_test_exposure_sizes(struct kunit *test)
{
	static const enum dma_data_direction dirs[] = {
		DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL,
	};
	struct vgrant_test *ctx = test->priv;
	size_t size, offset = 0;
	int off_by;

	pool_make_filled(test, 64);
	for (size = 1; size <= 4 * VGRANT_SMALL_BYTES + 1; size++) {
		check_exposure(test, offset, size, dirs[size % 3]);
		offset = (offset + 1549) % PAGE_SIZE;
	}
	expect_idle(test);
	pool_unmake(ctx);
	pool_make_filled(test, 256);
	for (size = PAGE_SIZE; size <= SZ_64K; size += PAGE_SIZE) {
		for (off_by = -1; off_by <= 1; off_by++) {
			if (size + off_by > SZ_64K)
				continue;
			check_exposure(test, offset, size + off_by,
				       dirs[(size / PAGE_SIZE + off_by) % 3]);
			offset = (offset + 1549) % PAGE_SIZE;
		}
	}
	expect_idle(test);
}

/*
 * Three in a row: no address, length or flag of a descriptor looks like that,
 * as the alphabet of is_exposed() can.
 */
static noinline __no_sanitize_address bool
is_secret_exposed(struct vgrant_test *ctx)
{
	unsigned int page, i, run;

	for (page = 0; page < ctx->view.nr; page++) {
		const u8 *at = page_address(ctx->view.page[page]);

		for (i = 0, run = 0; i < PAGE_SIZE; i++) {
			run = at[i] == CANARY ? run + 1 : 0;
			if (run == 3)
				return true;
		}
	}
	return false;
}

/* Objects of the caches that indirect tables come from, every other one freed. */
static void plant_secrets(u8 *object[], unsigned int nr, size_t bytes)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		object[i] = kmalloc(bytes, GFP_KERNEL);
		if (object[i])
			memset(object[i], CANARY, bytes);
	}
	for (i = 0; i < nr; i += 2) {
		kfree(object[i]);
		object[i] = NULL;
	}
}

static bool ring_notify(struct virtqueue *vq)
{
	return true;
}

/*
 * A disk's requests through a real virtqueue, with and without indirect
 * tables, from structures and among objects full of secrets: rings, tables,
 * header, data, status, and not one byte beside them.
 */
static void check_exposure_ring(struct kunit *test, bool is_indirect)
{
	struct vgrant_test *ctx = test->priv;
	struct {
		u8 before[40], header[16], between[23], status, after[48];
	} *all = (void *)ctx->buf, *req;
	struct scatterlist header[1], data[3], status[1], *sgs[3];
	static u8 *planted[8][16];
	struct virtio_device *vdev;
	unsigned int round, i, k;
	struct virtqueue *vq;

	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	vdev->dev.parent = ctx->dev;
	INIT_LIST_HEAD(&vdev->vqs);
	spin_lock_init(&vdev->vqs_list_lock);
	__virtio_set_bit(vdev, VIRTIO_F_VERSION_1);
	__virtio_set_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	if (is_indirect)
		__virtio_set_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	vq = vring_create_virtqueue(0, 64, SMP_CACHE_BYTES, vdev, true, false,
				    false, ring_notify, NULL, "exposure");
	KUNIT_ASSERT_NOT_NULL(test, vq);
	for (k = 0; k < ARRAY_SIZE(planted); k++)
		plant_secrets(planted[k], ARRAY_SIZE(planted[k]), 32UL << k);
	for (round = 0; round < 48; round++) {
		bool is_read = round % 2;
		unsigned int nr_out = 0, nr_in = 0, nr = 1 + round % 3;
		u8 *at = ctx->buf + SZ_8K + SZ_32K * (round % 4) + 512 * (round % 5);

		req = &all[round % 4];
		memset(ctx->buf, CANARY, BUF_BYTES);
		fill(req->header, sizeof(req->header), round);
		sg_init_one(header, req->header, sizeof(req->header));
		sg_init_one(status, &req->status, 1);
		sg_init_table(data, nr);
		for (i = 0; i < nr; i++) {
			size_t bytes = 512 * (1 + (round + i) % 9);

			if (!is_read)
				fill(at, bytes, round + i);
			sg_set_buf(&data[i], at, bytes);
			at += bytes + 512;
		}
		sgs[nr_out++] = header;
		if (is_read)
			sgs[nr_out + nr_in++] = data;
		else
			sgs[nr_out++] = data;
		sgs[nr_out + nr_in++] = status;
		KUNIT_ASSERT_EQ(test, virtqueue_add_sgs(vq, sgs, nr_out, nr_in,
							req, GFP_KERNEL), 0);
		virtqueue_kick(vq);
		KUNIT_EXPECT_FALSE_MSG(test, is_secret_exposed(ctx),
				       "request %u, %u pieces", round, nr);
		/* A ring of 64 takes some before they are taken back. */
		if (round % 4 != 3)
			continue;
		for (i = 0; virtqueue_detach_unused_buf(vq); i++)
			;
		KUNIT_EXPECT_EQ(test, i, 4U);
		KUNIT_EXPECT_FALSE(test, is_secret_exposed(ctx));
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_TRUE(test, is_all(all[i].between,
						       sizeof(req->between),
						       CANARY));
	}
	for (k = 0; k < ARRAY_SIZE(planted); k++)
		for (i = 0; i < ARRAY_SIZE(planted[k]); i++)
			kfree(planted[k][i]);
	vring_del_virtqueue(vq);
}

static void vgrant_test_exposure_ring(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	check_exposure_ring(test, false);
	check_exposure_ring(test, true);
	expect_idle(test);
}

static void vgrant_test_skip_sync(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	size_t size = 5000;
	dma_addr_t addr;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	backend_fills_pool(ctx, ctx->view.nr, CANARY);
	fill(ctx->buf, size, 1);
	addr = dma_map_single_attrs(ctx->dev, ctx->buf, size, DMA_BIDIRECTIONAL,
				    DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, backend_sees_zeroes(ctx, addr, size));
	dma_sync_single_for_device(ctx->dev, addr, size, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, addr, size, 1));

	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_sync_single_range_for_cpu(ctx->dev, addr, 0, 100, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, is_filled(ctx->buf, 100, BACKEND_SEED));
	KUNIT_EXPECT_EQ(test, ctx->buf[100], pattern(100, 1));
	dma_sync_single_range_for_cpu(ctx->dev, addr, 4200, 10,
				      DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, ctx->buf[4199], pattern(4199, 1));
	KUNIT_EXPECT_EQ(test, ctx->buf[4200], pattern(4200, BACKEND_SEED));
	KUNIT_EXPECT_EQ(test, ctx->buf[4210], pattern(4210, 1));

	dma_unmap_single_attrs(ctx->dev, addr, size, DMA_BIDIRECTIONAL,
			       DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_EXPECT_EQ(test, ctx->buf[4999], pattern(4999, 1));
	expect_idle(test);
}

static void vgrant_test_coherent(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	dma_addr_t addr, other;
	u8 *va, *other_va;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	va = dma_alloc_coherent(ctx->dev, 6000, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, va);
	other_va = dma_alloc_coherent(ctx->dev, 100, &other, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other_va);
	KUNIT_EXPECT_TRUE(test, virtio_grant_addr_valid(addr));
	KUNIT_EXPECT_EQ(test, virtio_grant_addr_offset(addr), 0U);
	KUNIT_EXPECT_NE(test, virtio_grant_addr_ref(addr),
			virtio_grant_addr_ref(other));
	KUNIT_EXPECT_TRUE(test, is_all(va, 6000, 0));
	fill(va, 6000, 3);
	KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, addr, 6000, 3));
	KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr, 6000, BACKEND_SEED), 0);
	KUNIT_EXPECT_TRUE(test, is_filled(va, 6000, BACKEND_SEED));
	dma_free_coherent(ctx->dev, 100, other_va, other);
	dma_free_coherent(ctx->dev, 6000, va, addr);
	expect_idle(test);
	/* What it held is not what the next one starts with. */
	va = dma_alloc_coherent(ctx->dev, 6000, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, va);
	KUNIT_EXPECT_TRUE(test, is_all(va, 6000, 0));
	KUNIT_EXPECT_TRUE(test, backend_sees_zeroes(ctx, addr, 6000));
	dma_free_coherent(ctx->dev, 6000, va, addr);
	expect_idle(test);
}

/* Both addresses are aligned to the size, as the DMA API promises. */
static void vgrant_test_coherent_aligned(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	dma_addr_t addr[4];
	unsigned int i;
	size_t size;
	u8 *va[4];

	pool_make(test, 2048, SEGS_MAX, false);
	for (size = 1000; size <= SZ_64K; size += 1000) {
		size_t align = PAGE_SIZE << get_order(size);

		for (i = 0; i < ARRAY_SIZE(va); i++) {
			va[i] = dma_alloc_coherent(ctx->dev, size, &addr[i],
						   GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, va[i]);
			KUNIT_EXPECT_TRUE_MSG(test, IS_ALIGNED(addr[i], align),
					      "%zu bytes at %pad", size, &addr[i]);
			KUNIT_EXPECT_TRUE_MSG(test, IS_ALIGNED((unsigned long)va[i],
							       align),
					      "%zu bytes", size);
		}
		for (i = 0; i < ARRAY_SIZE(va); i++)
			dma_free_coherent(ctx->dev, size, va[i], addr[i]);
	}
	expect_idle(test);
}

/* Scatter-gather */

static void vgrant_test_sg(struct kunit *test)
{
	static const unsigned int lens[] = { 512, 16, 4096, 4097, 1, 9000 };
	struct vgrant_test *ctx = test->priv;
	struct scatterlist sg[ARRAY_SIZE(lens)], *s;
	size_t at = 5;
	int i, nents;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	memset(ctx->buf, CANARY, BUF_BYTES);
	sg_init_table(sg, ARRAY_SIZE(lens));
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		fill(ctx->buf + at, lens[i], i);
		sg_set_buf(&sg[i], ctx->buf + at, lens[i]);
		at += lens[i] + 99;
	}
	nents = dma_map_sg(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_EQ(test, nents, (int)ARRAY_SIZE(lens));
	for_each_sg(sg, s, nents, i) {
		KUNIT_EXPECT_EQ(test, sg_dma_len(s), lens[i]);
		KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, sg_dma_address(s),
							    lens[i], i));
		KUNIT_ASSERT_EQ(test, backend_fill(ctx, sg_dma_address(s),
						   lens[i], 50 + i), 0);
	}
	dma_sync_sg_for_cpu(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	for (i = 0; i < ARRAY_SIZE(lens); i++)
		KUNIT_EXPECT_TRUE(test, is_filled(sg_virt(&sg[i]), lens[i],
						  50 + i));
	dma_unmap_sg(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	expect_idle(test);
}

/* A list whose end does not fit leaves nothing behind. */
static void vgrant_test_sg_partial(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	unsigned int nents, i;
	struct scatterlist *sg;
	struct sg_table table;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	nents = ctx->stats.pages_total + 1;
	sg = kunit_kcalloc(test, nents, sizeof(*sg), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sg);
	sg_init_table(sg, nents);
	for (i = 0; i < nents; i++)
		sg_set_buf(&sg[i], ctx->buf, PAGE_SIZE);
	table = (struct sg_table){ .sgl = sg, .nents = nents, .orig_nents = nents };
	fill(ctx->buf, PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, dma_map_sgtable(ctx->dev, &table, DMA_FROM_DEVICE, 0),
			-ENOMEM);
	KUNIT_EXPECT_TRUE(test, is_filled(ctx->buf, PAGE_SIZE, 1));
	expect_idle(test);
}

/* Limits */

static void vgrant_test_limits(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	size_t max_bytes;
	dma_addr_t addr;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
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

/* Maps buffers of @size until there is no room, returns how many. */
static unsigned int map_all(struct vgrant_test *ctx, dma_addr_t *addr,
			    unsigned int max, size_t size)
{
	unsigned int nr = 0;

	while (nr < max) {
		addr[nr] = dma_map_single(ctx->dev, ctx->buf, size,
					  DMA_TO_DEVICE);
		if (dma_mapping_error(ctx->dev, addr[nr]))
			break;
		nr++;
	}
	return nr;
}

static void unmap_all(struct vgrant_test *ctx, const dma_addr_t *addr,
		      unsigned int nr, size_t size)
{
	while (nr--)
		dma_unmap_single(ctx->dev, addr[nr], size, DMA_TO_DEVICE);
}

static void vgrant_test_exhaustion(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	unsigned int nr, pages, max, i, j;
	struct vgrant_pool_stats stats;
	dma_addr_t *addr;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	pages = ctx->stats.pages_total - ctx->stats.pages_in_use;
	max = ctx->stats.small_total + pages + 1;
	addr = kunit_kcalloc(test, max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	/* Every page, and not one twice. */
	nr = map_all(ctx, addr, max, PAGE_SIZE);
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
	unmap_all(ctx, addr, nr, PAGE_SIZE);
	expect_idle(test);

	/* Small buffers go on in whole pages when their slots are used up. */
	nr = map_all(ctx, addr, max, 16);
	KUNIT_EXPECT_EQ(test, nr, ctx->stats.small_total + pages);
	unmap_all(ctx, addr, nr, 16);
	expect_idle(test);
}

/* Buffers that take a page each, and no two of them begin in one cache line. */
#define POSTED_BYTES	(VGRANT_SMALL_BYTES + 1)
#define POSTED_APART	320

/* Posted for ever in one direction: the other goes on, with what is its own. */
static void check_directions(struct kunit *test, enum dma_data_direction first,
			     enum dma_data_direction then)
{
	struct vgrant_test *ctx = test->priv;
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
	expect_idle(test);
}

static void vgrant_test_directions(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;

	ctx->is_divided = true;
	pool_make(test, POOL_KIB, SEGS_MAX, false);
	KUNIT_EXPECT_GE(test, ctx->stats.reserve_pages, 16U);
	check_directions(test, DMA_FROM_DEVICE, DMA_TO_DEVICE);
	check_directions(test, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL);
	check_directions(test, DMA_TO_DEVICE, DMA_FROM_DEVICE);
	check_directions(test, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE);
}

/* Each CPU can have all that is free, wherever it was used before. */
static void vgrant_test_cpus(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	int here = cpumask_first(cpu_online_mask);
	int there = cpumask_next(here, cpu_online_mask);
	unsigned int pages, nr;
	dma_addr_t *addr;

	if (there >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	pool_make(test, POOL_KIB, SEGS_MAX, false);
	pages = ctx->stats.pages_total - ctx->stats.pages_in_use;
	addr = kunit_kcalloc(test, pages + 1, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(there)), 0);
	nr = map_all(ctx, addr, pages + 1, PAGE_SIZE);
	unmap_all(ctx, addr, nr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr, pages);
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(here)), 0);
	nr = map_all(ctx, addr, pages + 1, PAGE_SIZE);
	unmap_all(ctx, addr, nr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr, pages);
	set_cpus_allowed_ptr(current, cpu_online_mask);
	expect_idle(test);
}

/* Takes all pages, and frees them in an order that is none. */
static void scatter(struct vgrant_test *ctx, dma_addr_t *addr, unsigned int max)
{
	unsigned int nr = map_all(ctx, addr, max, PAGE_SIZE), start, i;

	for (start = 0; start < 30; start++)
		for (i = start; i < nr; i += 30)
			dma_unmap_single(ctx->dev, addr[i], PAGE_SIZE,
					 DMA_TO_DEVICE);
}

/* After any history, about as many of the largest buffers as in the beginning. */
static void vgrant_test_runs(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	unsigned int max, nr, fit, i, pages;
	dma_addr_t *addr;
	size_t bytes;

	pool_make(test, 4096, SEGS_MAX, false);
	KUNIT_EXPECT_EQ(test, ctx->stats.mapping_max_bytes, SZ_64K);
	max = ctx->stats.pages_total;
	addr = kunit_kcalloc(test, max, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	nr = map_all(ctx, addr, max, SZ_64K);
	fit = (max - ctx->stats.pages_in_use) / 16 - 5;
	KUNIT_EXPECT_GE(test, nr, fit);
	unmap_all(ctx, addr, nr, SZ_64K);
	for (pages = 1; pages <= 16; pages++) {
		bytes = pages * PAGE_SIZE;
		nr = map_all(ctx, addr, max, bytes);
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
		expect_idle(test);
	}
	nr = map_all(ctx, addr, max, SZ_64K);
	KUNIT_EXPECT_GE(test, nr, fit);
	unmap_all(ctx, addr, nr, SZ_64K);
	scatter(ctx, addr, max);
	nr = map_all(ctx, addr, max, SZ_64K);
	KUNIT_EXPECT_GE(test, nr, fit);
	unmap_all(ctx, addr, nr, SZ_64K);
	expect_idle(test);
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
	struct vgrant_test *ctx = test->priv;
	dma_addr_t (*addr)[ADJACENT_SEGS];
	unsigned int round, i, good = 0, low = UINT_MAX, high = 0;
	struct rnd_state rnd;

	pool_make(test, 8192, SEGS_MAX, false);
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
	expect_idle(test);
}

/* Few in flight stay in few pages. */
static void vgrant_test_window(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	u32 low = U32_MAX, high = 0;
	unsigned int round;
	dma_addr_t *addr;

	pool_make(test, 8192, SEGS_MAX, false);
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
	expect_idle(test);
}

/* Buffers of all sizes at once: nobody's bytes are somebody else's. */
static void vgrant_test_mixed(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct rnd_state rnd;
	unsigned int nr = 0, i, j;
	dma_addr_t addr[64];
	size_t size[64];

	pool_make(test, 2048, SEGS_MAX, false);
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
	expect_idle(test);
}

/*
 * The largest possible request fits into a pool that holds nothing else, after
 * any history: or its driver would wait for ever.
 */
static void check_request_fits(struct kunit *test, unsigned int pool_kib,
			       unsigned int segs_max, unsigned int segs_enough)
{
	struct vgrant_test *ctx = test->priv;
	dma_addr_t ring, table, *addr;
	unsigned int nr, max;
	size_t seg_bytes, table_bytes;
	void *ring_va;

	ctx->segs_enough = segs_enough;
	pool_make(test, pool_kib, segs_max, false);
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
	nr = map_all(ctx, addr, segs_max, seg_bytes);
	KUNIT_EXPECT_EQ_MSG(test, nr, segs_max, "%u KiB, %u segments of %zu",
			    pool_kib, segs_max, seg_bytes);
	table = dma_map_single(ctx->dev, ctx->buf, table_bytes, DMA_TO_DEVICE);
	KUNIT_EXPECT_FALSE(test, dma_mapping_error(ctx->dev, table));
	if (!dma_mapping_error(ctx->dev, table))
		dma_unmap_single(ctx->dev, table, table_bytes, DMA_TO_DEVICE);
	unmap_all(ctx, addr, nr, seg_bytes);
	if (ring_va)
		dma_free_coherent(ctx->dev, RING_BYTES, ring_va, ring);
	kvfree(addr);
	expect_idle(test);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);
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
	struct vgrant_test *ctx = test->priv;
	unsigned long flags;
	dma_addr_t addr[3];
	bool ok = true;
	int i, round;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
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
	expect_idle(test);
}

/* Several threads at once: nobody gets another's bytes */

#define STRESS_THREADS	4
#define STRESS_ROUNDS	150
#define STRESS_HELD	16

struct stress {
	struct vgrant_test *ctx;
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
			fill(buf[i], size[i], me->nr * 8 + i);
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
			if (!is_filled(buf[i], size[i], me->nr * 8 + i))
				me->wrong++;
		}
	}
	for (i = 0; i < STRESS_HELD; i++)
		kfree(buf[i]);
	return 0;
}

static void vgrant_test_stress(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct stress stress[STRESS_THREADS] = {};
	unsigned int i, exhausted = 0;

	/* Small enough that they run into each other. */
	pool_make(test, 256, SEGS_MAX, false);
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
	expect_idle(test);
}

/* A device that promised to fill buffers is handed them as they are. */
static void vgrant_test_filled(struct kunit *test)
{
	static const size_t sizes[] = { 1, 300, 4096, 5000, 65536 };
	struct vgrant_test *ctx = test->priv;
	unsigned int i, j;
	dma_addr_t addr;

	pool_make(test, 2048, SEGS_MAX, true);
	backend_fills_pool(ctx, ctx->view.nr, CANARY);
	vgrant_pool_set_filled(ctx->pool, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		addr = dma_map_single(ctx->dev, ctx->buf, sizes[i],
				      DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_FALSE(test, backend_sees_zeroes(ctx, addr, sizes[i]));
		dma_unmap_single(ctx->dev, addr, sizes[i], DMA_FROM_DEVICE);
		check_from_device_as_it_is(test, sizes[i]);
		/* The promise is not about what the device is to read. */
		addr = dma_map_single_attrs(ctx->dev, ctx->buf, sizes[i],
					    DMA_BIDIRECTIONAL,
					    DMA_ATTR_SKIP_CPU_SYNC);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_TRUE(test, backend_sees_zeroes(ctx, addr, sizes[i]));
		dma_unmap_single_attrs(ctx->dev, addr, sizes[i],
				       DMA_BIDIRECTIONAL,
				       DMA_ATTR_SKIP_CPU_SYNC);
	}
	/* Not believed: by the administrator, or any more. */
	for (j = 0; j < 2; j++) {
		vgrant_zero = !j;
		vgrant_pool_set_filled(ctx->pool, !j);
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			check_from_device(test, 7, sizes[i]);
	}
	expect_idle(test);
}

/* What comes back: never what was in the slot before */

enum end {
	END_UNMAP,	/* done, cancelled, or a request that did not fit */
	END_SYNC,
	END_SYNC_UNMAP,
	END_SG,
	END_NR,
};

/* What is mapped as a list is unmapped as one: the DMA API's debugging minds. */
static dma_addr_t begin_mapping(struct vgrant_test *ctx, enum end end,
				struct scatterlist *sg, void *data, size_t size)
{
	dma_addr_t addr;

	if (end != END_SG) {
		addr = dma_map_single(ctx->dev, data, size, DMA_FROM_DEVICE);
		return dma_mapping_error(ctx->dev, addr) ? DMA_MAPPING_ERROR :
							   addr;
	}
	sg_init_one(sg, data, size);
	return dma_map_sg(ctx->dev, sg, 1, DMA_FROM_DEVICE) == 1 ?
	       sg_dma_address(sg) : DMA_MAPPING_ERROR;
}

static void end_mapping(struct vgrant_test *ctx, enum end end,
			struct scatterlist *sg, dma_addr_t addr, size_t size)
{
	if (end == END_SYNC || end == END_SYNC_UNMAP)
		dma_sync_single_for_cpu(ctx->dev, addr, size, DMA_FROM_DEVICE);
	if (end == END_SG)
		dma_unmap_sg(ctx->dev, sg, 1, DMA_FROM_DEVICE);
	else
		dma_unmap_single_attrs(ctx->dev, addr, size, DMA_FROM_DEVICE,
				       end == END_SYNC ?
				       DMA_ATTR_SKIP_CPU_SYNC : 0);
}

/* The device writes @part from @from on, and then the mapping ends. */
static void check_unwritten(struct kunit *test, size_t size, size_t from,
			    size_t part, enum end end)
{
	struct vgrant_test *ctx = test->priv;
	u8 *data = ctx->buf + 77;
	struct scatterlist sg;
	dma_addr_t addr;

	memset(ctx->buf, 0x11, BUF_BYTES);
	addr = begin_mapping(ctx, end, &sg, data, size);
	KUNIT_ASSERT_FALSE(test, addr == DMA_MAPPING_ERROR);
	if (part)
		KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr + from, part,
						   BACKEND_SEED), 0);
	end_mapping(ctx, end, &sg, addr, size);
	KUNIT_EXPECT_PTR_EQ_MSG(test, memchr(data, CANARY, size), NULL,
				"%zu of %zu bytes written, end %d: others' data",
				part, size, end);
	if (!part)
		KUNIT_EXPECT_TRUE_MSG(test, is_all(data, size, unwritten(size)),
				      "%zu bytes, end %d", size, end);
	if (part == size)
		KUNIT_EXPECT_TRUE_MSG(test, is_filled(data, size, BACKEND_SEED),
				      "%zu bytes, end %d", size, end);
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf, 77, 0x11));
	KUNIT_EXPECT_TRUE(test, is_all(data + size, BUF_BYTES - 77 - size, 0x11));
	/* Others use the slot. */
	memset(ctx->buf, CANARY, size);
	backend_copy(ctx, addr, ctx->buf, size, true);
}

static void vgrant_test_unwritten(struct kunit *test)
{
	static const size_t sizes[] = {
		1, 2, 8, 9, 16, 108, 255, 256, 257, 271, 272, 512, 1536, 4095,
		4096, 4097, 4111, 4112, 8191, 8192, 12289, 65535, 65536,
	};
	struct vgrant_test *ctx = test->priv;
	unsigned int filled, i, end;

	pool_make(test, 512, SEGS_MAX, true);
	for (filled = 0; filled < 2; filled++) {
		vgrant_pool_set_filled(ctx->pool, filled);
		backend_fills_pool(ctx, ctx->view.nr, CANARY);
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			for (end = 0; end < END_NR; end++) {
				size_t size = sizes[i], half = size / 2;

				check_unwritten(test, size, 0, 0, end);
				check_unwritten(test, size, 0, size, end);
				/* It stopped, or began, in the midst. */
				check_unwritten(test, size, 0, half, end);
				check_unwritten(test, size, half, size - half,
						end);
			}
		}
	}
	expect_idle(test);
}

/* Of many pages those arrive that were written. */
static void vgrant_test_pages_written(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	size_t size = 4 * PAGE_SIZE;
	unsigned int mask, i;
	dma_addr_t addr;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	for (mask = 0; mask < 16; mask++) {
		backend_fills_pool(ctx, ctx->view.nr, CANARY);
		addr = dma_map_single(ctx->dev, ctx->buf, size, DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		for (i = 0; i < 4; i++)
			if (mask & BIT(i))
				KUNIT_ASSERT_EQ(test, backend_fill(ctx, addr + i * PAGE_SIZE,
								   PAGE_SIZE, i), 0);
		dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
		for (i = 0; i < 4; i++) {
			u8 *at = ctx->buf + i * PAGE_SIZE;

			if (mask & BIT(i))
				KUNIT_EXPECT_TRUE(test, is_filled(at, PAGE_SIZE, i));
			else
				KUNIT_EXPECT_TRUE(test, is_all(at, PAGE_SIZE, 0));
		}
	}
	expect_idle(test);
}

/*
 * A request that does not fit, through a real virtqueue: it unmaps what it
 * mapped as if it were done.
 */
static void check_no_room(struct kunit *test, bool is_indirect)
{
	struct vgrant_test *ctx = test->priv;
	static struct scatterlist data[64];
	struct scatterlist header, status, *sgs[] = { &header, data, &status };
	/* Where the ring is, nothing may write: at the end. */
	unsigned int nr_free = ctx->view.nr - 8, i;
	struct virtio_device *vdev;
	struct virtqueue *vq;
	u8 *first = ctx->buf, *pages = ctx->buf + PAGE_SIZE;

	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	vdev->dev.parent = ctx->dev;
	INIT_LIST_HEAD(&vdev->vqs);
	spin_lock_init(&vdev->vqs_list_lock);
	__virtio_set_bit(vdev, VIRTIO_F_VERSION_1);
	__virtio_set_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	if (is_indirect)
		__virtio_set_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	vq = vring_create_virtqueue(0, 128, SMP_CACHE_BYTES, vdev, true, false,
				    false, ring_notify, NULL, "no-room");
	KUNIT_ASSERT_NOT_NULL(test, vq);
	backend_fills_pool(ctx, nr_free, CANARY);
	memset(ctx->buf, 0x11, BUF_BYTES);
	sg_init_one(&header, first, 16);
	sg_init_one(&status, first + 40, 1);
	sg_init_table(data, ARRAY_SIZE(data));
	for (i = 0; i < ARRAY_SIZE(data); i++)
		sg_set_buf(&data[i], pages + i * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, virtqueue_add_sgs(vq, sgs, 1, 2, first, GFP_ATOMIC),
			-ENOMEM);
	KUNIT_EXPECT_PTR_EQ(test, memchr(ctx->buf, CANARY, BUF_BYTES), NULL);
	/* And of one that fits nobody sees the end. */
	backend_fills_pool(ctx, nr_free, CANARY);
	memset(first, 0, 41);
	sg_init_table(data, 8);
	for (i = 0; i < 8; i++)
		sg_set_buf(&data[i], pages + i * PAGE_SIZE, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, virtqueue_add_sgs(vq, sgs, 1, 2, first, GFP_ATOMIC),
			0);
	KUNIT_EXPECT_PTR_EQ(test, virtqueue_detach_unused_buf(vq), (void *)first);
	KUNIT_EXPECT_PTR_EQ(test, memchr(ctx->buf, CANARY, BUF_BYTES), NULL);
	KUNIT_EXPECT_EQ(test, first[40], 0xff);
	vring_del_virtqueue(vq);
	expect_idle(test);
}

static void vgrant_test_no_room(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_pool_stats stats;

	pool_make(test, 128, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	check_no_room(test, false);
	check_no_room(test, true);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.exhaustions, 2ULL);
}

/* Grants */

static void vgrant_test_grants_end(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	grant_ref_t first;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	first = ctx->stats.first_ref;
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, first,
				       ctx->stats.pages_total), 0);
	view_unmap(&view);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);
	/* And nothing can be mapped afterwards. */
	KUNIT_EXPECT_EQ(test, view_map(ctx, &view, first, 1), -EIO);
	view_unmap(&view);
}

static void vgrant_test_quarantine(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	unsigned long before;
	struct page **fresh;
	unsigned int i, j;
	u8 *held[3];

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	/* A backend that keeps three pages from the middle of the pool. */
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, ctx->stats.first_ref + 20,
				       3), 0);
	for (i = 0; i < 3; i++) {
		held[i] = page_address(view.page[i]);
		memset(held[i], CANARY, PAGE_SIZE);
	}
	before = jiffies;
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 3U);
	KUNIT_EXPECT_LT(test, jiffies_to_msecs(jiffies - before), 3000U);
	/* Nothing is left in them. */
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_TRUE(test, is_all(held[i], PAGE_SIZE, 0));
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
		KUNIT_EXPECT_TRUE_MSG(test, is_all(held[j], PAGE_SIZE,
						   0x11 * (j + 1)),
				      "page %u is in use again", j);
	while (i--)
		__free_page(fresh[i]);

	/* The guest goes on, with another pool. */
	pool_make(test, POOL_KIB, SEGS_MAX, false);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);

	/* The backend lets go: the kernel's timer takes the pages back. */
	view_unmap(&view);
}

/* After a failure nothing goes in, and what comes out is no success. */
static void vgrant_test_failed(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	dma_addr_t in, out, late;

	pool_make(test, POOL_KIB, SEGS_MAX, true);
	memset(ctx->buf, CANARY, BUF_BYTES);
	fill(ctx->buf, 600, 1);
	out = dma_map_single(ctx->dev, ctx->buf, 600, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, out));
	in = dma_map_single(ctx->dev, ctx->buf + 1000, 600, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, in));

	vgrant_pool_fail(ctx->pool);
	late = dma_map_single(ctx->dev, ctx->buf + 2000, 16, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(ctx->dev, late));
	dma_unmap_single(ctx->dev, out, 600, DMA_TO_DEVICE);
	dma_unmap_single(ctx->dev, in, 600, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, is_filled(ctx->buf, 600, 1));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf + 600, 400, CANARY));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf + 1000, 600, 0xff));
	KUNIT_EXPECT_TRUE(test, is_all(ctx->buf + 1600, 400, CANARY));
	expect_idle(test);
}

/* Direct grants */

static bool is_in_pool(struct vgrant_test *ctx, dma_addr_t addr)
{
	return virtio_grant_addr_ref(addr) - ctx->stats.first_ref <
		ctx->stats.pages_total;
}

/* Large buffers of whole pages are the backend's to see where they are. */
static void vgrant_test_direct(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	struct vgrant_pool_stats stats;
	u8 *data = ctx->buf;
	size_t size = SZ_16K;
	dma_addr_t addr;
	unsigned int i;
	grant_ref_t ref;

	vgrant_direct_kib = 16;
	pool_make(test, 2048, SEGS_MAX, false);

	/* What the device reads, it can only read. */
	fill(data, size, 1);
	addr = dma_map_single(ctx->dev, data, size, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_FALSE(test, is_in_pool(ctx, addr));
	KUNIT_EXPECT_TRUE(test, virtio_grant_addr_valid(addr));
	ref = virtio_grant_addr_ref(addr);
	KUNIT_EXPECT_EQ(test, view_map(ctx, &view, ref, 4), -EIO);
	view.flags = GNTMAP_readonly;
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, ref, 4), 0);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, memcmp(page_address(view.page[i]),
					     data + i * PAGE_SIZE, PAGE_SIZE), 0);
	view_unmap(&view);
	dma_unmap_single(ctx->dev, addr, size, DMA_TO_DEVICE);
	/* Now it cannot even do that. */
	view.flags = GNTMAP_readonly;
	KUNIT_EXPECT_EQ(test, view_map(ctx, &view, ref, 1), -EIO);

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, data, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	view.flags = 0;
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, virtio_grant_addr_ref(addr),
				       4), 0);
	for (i = 0; i < 4; i++)
		memset(page_address(view.page[i]), 0x21 + i, PAGE_SIZE);
	view_unmap(&view);
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_TRUE(test, is_all(data + i * PAGE_SIZE, PAGE_SIZE,
					       0x21 + i));
	KUNIT_EXPECT_TRUE(test, is_all(data + size, BUF_BYTES - size, CANARY));

	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.direct_mappings, 2ULL);
	KUNIT_EXPECT_EQ(test, stats.bytes_in + stats.bytes_out, 0ULL);
	KUNIT_EXPECT_EQ(test, stats.pages_held, 0U);
	expect_idle(test);
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
	struct vgrant_test *ctx = test->priv;
	struct vgrant_pool_stats stats;
	dma_addr_t addr, *all;
	void *slab;
	unsigned int i, nr;

	vgrant_direct_kib = 16;
	pool_make(test, 2048, SEGS_MAX, false);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		addr = dma_map_single(ctx->dev, ctx->buf + cases[i].offset,
				      cases[i].size, DMA_TO_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_TRUE_MSG(test, is_in_pool(ctx, addr),
				      "%zu bytes at %zu", cases[i].size,
				      cases[i].offset);
		dma_unmap_single(ctx->dev, addr, cases[i].size, DMA_TO_DEVICE);
	}
	expect_idle(test);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);

	/* Pages of the slab are not the buffer's own. */
	vgrant_direct_kib = 4;
	pool_make(test, 2048, SEGS_MAX, false);
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
	nr = map_all(ctx, all, 2048, SZ_4K);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.direct_mappings,
			(u64)ctx->stats.pages_total);
	KUNIT_EXPECT_GT(test, nr, ctx->stats.pages_total);
	unmap_all(ctx, all, nr, SZ_4K);
	kvfree(all);
	expect_idle(test);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);
}

static void count_held(void *priv)
{
	(*(unsigned int *)priv)++;
}

/* A backend that keeps a buffer: its page is lost to both, and all is over. */
static void vgrant_test_direct_held(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	struct vgrant_pool_stats stats;
	unsigned int nr_calls = 0;
	dma_addr_t addr, late;
	struct page *page;
	u8 *held;

	vgrant_direct_kib = 8;
	pool_make(test, 2048, SEGS_MAX, false);
	vgrant_pool_set_held_handler(ctx->pool, count_held, &nr_calls);
	page = alloc_pages(GFP_KERNEL | __GFP_COMP, 1);
	KUNIT_ASSERT_NOT_NULL(test, page);
	addr = dma_map_page(ctx->dev, page, 0, SZ_8K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_FALSE(test, is_in_pool(ctx, addr));
	/* It keeps the second of two pages. */
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, virtio_grant_addr_ref(addr) + 1,
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
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 1U);
	KUNIT_EXPECT_EQ(test, page_count(page), 1);
	KUNIT_EXPECT_TRUE(test, is_all(held, PAGE_SIZE, 0x77));
	/* From here on the kernel's timer may free it. */
	view_unmap(&view);
}

/* One that lets go before the pool does costs nothing. */
static void vgrant_test_direct_let_go(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	dma_addr_t addr;

	vgrant_direct_kib = 4;
	pool_make(test, 2048, SEGS_MAX, false);
	addr = dma_map_single(ctx->dev, ctx->buf, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, virtio_grant_addr_ref(addr),
				       1), 0);
	dma_unmap_single(ctx->dev, addr, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, page_count(virt_to_page(ctx->buf)), 2);
	view_unmap(&view);
	KUNIT_EXPECT_EQ(test, pool_unmake(ctx), 0U);
	KUNIT_EXPECT_EQ(test, page_count(virt_to_page(ctx->buf)), 1);
}

static void vgrant_test_suspend(struct kunit *test)
{
	struct vgrant_test *ctx = test->priv;
	struct vgrant_view view = {};
	dma_addr_t addr;
	grant_ref_t ref;

	pool_make(test, POOL_KIB, SEGS_MAX, false);
	ref = ctx->stats.first_ref;

	/* Not while the backend maps something; then nothing changed. */
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, ref + 5, 1), 0);
	KUNIT_EXPECT_EQ(test, vgrant_pool_suspend(ctx->pool), -EBUSY);
	view_unmap(&view);
	KUNIT_ASSERT_EQ(test, view_map(ctx, &view, ref, ctx->stats.pages_total), 0);
	view_unmap(&view);

	KUNIT_ASSERT_EQ(test, vgrant_pool_suspend(ctx->pool), 0);
	KUNIT_EXPECT_EQ(test, view_map(ctx, &view, ref, 1), -EIO);
	vgrant_pool_resume(ctx->pool);
	KUNIT_ASSERT_EQ(test, view_map(ctx, &ctx->view, ref,
				       ctx->stats.pages_total), 0);
	fill(ctx->buf, 5000, 1);
	addr = dma_map_single(ctx->dev, ctx->buf, 5000, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, backend_sees_filled(ctx, addr, 5000, 1));
	dma_unmap_single(ctx->dev, addr, 5000, DMA_TO_DEVICE);
}

static struct kunit_case vgrant_test_cases[] = {
	KUNIT_CASE(vgrant_test_address),
	KUNIT_CASE_SLOW(vgrant_test_copies),
	KUNIT_CASE(vgrant_test_neighbours),
	KUNIT_CASE_SLOW(vgrant_test_exposure),
	KUNIT_CASE(vgrant_test_exposure_request),
	KUNIT_CASE_SLOW(vgrant_test_exposure_sizes),
	KUNIT_CASE_SLOW(vgrant_test_exposure_ring),
	KUNIT_CASE(vgrant_test_skip_sync),
	KUNIT_CASE(vgrant_test_coherent),
	KUNIT_CASE(vgrant_test_coherent_aligned),
	KUNIT_CASE(vgrant_test_sg),
	KUNIT_CASE(vgrant_test_sg_partial),
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
	KUNIT_CASE(vgrant_test_filled),
	KUNIT_CASE_SLOW(vgrant_test_unwritten),
	KUNIT_CASE(vgrant_test_pages_written),
	KUNIT_CASE(vgrant_test_no_room),
	KUNIT_CASE(vgrant_test_direct),
	KUNIT_CASE(vgrant_test_direct_not),
	KUNIT_CASE(vgrant_test_direct_held),
	KUNIT_CASE(vgrant_test_direct_let_go),
	KUNIT_CASE_SLOW(vgrant_test_suspend),
	{ }
};

static struct kunit_suite vgrant_test_suite = {
	.name = "virtio_grant_dma",
	.init = vgrant_test_init,
	.exit = vgrant_test_exit,
	.test_cases = vgrant_test_cases,
};
kunit_test_suite(vgrant_test_suite);

VGRANT_KUNIT_IMPORTS;
MODULE_DESCRIPTION("KUnit suite of virtio_grant_dma");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
