// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kunit.c - the KUnit suites of the pool and its DMA operations, on a real grant
 * table: what they share.
 *
 * The suites run in a Xen guest and play the backend themselves: pools are
 * granted to the guest's own domain, and the pages are mapped back through
 * their grants.  What the tests call a view is thus exactly what a backend
 * would see, and a view that stays mapped is a backend that never unmaps.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <xen/interface/event_channel.h>
#include <xen/xen.h>
#include <asm/xen/hypercall.h>

#include "dma/kunit_priv.h"

/*
 * Test data: different at each place, and never the canary.  What looks at each
 * byte of it, does so without KASAN, which most of the suite's time went into.
 */
__no_sanitize_address u8 vkt_pattern(size_t i, u8 seed)
{
	u8 c = i * 31 + (i >> 8) + seed;

	return c == CANARY ? 0 : c;
}

noinline __no_sanitize_address void vkt_fill(u8 *p, size_t len, u8 seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = vkt_pattern(i, seed);
}

noinline __no_sanitize_address bool vkt_is_filled(const u8 *p, size_t len,
						  u8 seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != vkt_pattern(i, seed))
			return false;
	return true;
}

bool vkt_is_all(const u8 *p, size_t len, u8 c)
{
	return !memchr_inv(p, c, len);
}

/* The backend */

/* Xen does not tell a domain its number; a port bound to oneself does. */
static domid_t vkt_own_domid(void)
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

static int view_map_page(struct vkt *ctx, struct vkt_view *view,
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

void vkt_view_unmap(struct vkt_view *view)
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
int vkt_view_map(struct vkt *ctx, struct vkt_view *view,
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
			vkt_view_unmap(view);
			return -EIO;
		}
	}
	view->nr = nr;
	return 0;
}

/* Copies between a DMA address and the test, through the views. */
void vkt_backend_copy(struct vkt *ctx, dma_addr_t addr, u8 *data,
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

bool vkt_backend_sees_filled(struct vkt *ctx, dma_addr_t addr,
			     size_t len, u8 seed)
{
	u8 *copy = vmalloc(len);
	bool ok;

	if (!copy)
		return false;
	vkt_backend_copy(ctx, addr, copy, len, false);
	ok = vkt_is_filled(copy, len, seed);
	vfree(copy);
	return ok;
}

bool vkt_backend_sees_all(struct vkt *ctx, dma_addr_t addr,
			  size_t len, u8 c)
{
	u8 *copy = vmalloc(len);
	bool ok;

	if (!copy)
		return false;
	vkt_backend_copy(ctx, addr, copy, len, false);
	ok = vkt_is_all(copy, len, c);
	vfree(copy);
	return ok;
}

bool vkt_backend_sees_zeroes(struct vkt *ctx, dma_addr_t addr,
			     size_t len)
{
	return vkt_backend_sees_all(ctx, addr, len, 0);
}

/* Every free slot has held something that is not its next user's. */
void vkt_backend_fills_pool(struct vkt *ctx, unsigned int pages,
			    u8 c)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		memset(page_address(ctx->view.page[i]), c, PAGE_SIZE);
}

/* What a buffer is that nobody wrote to: no status that means success. */
u8 vkt_unwritten(size_t size)
{
	return size <= VGRANT_ANSWER_BYTES ? 0xff : 0;
}

int vkt_backend_fill(struct vkt *ctx, dma_addr_t addr, size_t len,
		     u8 seed)
{
	u8 *copy = vmalloc(len);

	if (!copy)
		return -ENOMEM;
	vkt_fill(copy, len, seed);
	vkt_backend_copy(ctx, addr, copy, len, true);
	vfree(copy);
	return 0;
}

/* The pool */

void vkt_pool_make(struct kunit *test, unsigned int pool_kib,
		   unsigned int segs_max, bool with_view)
{
	struct vkt *ctx = test->priv;
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
		KUNIT_ASSERT_EQ(test, vkt_view_map(ctx, &ctx->view,
						   ctx->stats.first_ref,
						   ctx->stats.pages_total), 0);
}

unsigned int vkt_pool_unmake(struct vkt *ctx)
{
	struct vgrant_pool *pool = ctx->pool;

	vkt_view_unmap(&ctx->view);
	if (!pool)
		return 0;
	ctx->pool = NULL;
	vgrant_pool_detach(pool);
	return vgrant_pool_destroy(pool);
}

/*
 * The same for a device that promises to write all, and with marks in which the
 * canary is not.
 */
void vkt_pool_make_filled(struct kunit *test, unsigned int pool_kib)
{
	struct vkt *ctx = test->priv;
	u8 mark[sizeof(u64)];
	dma_addr_t addr;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		vkt_pool_make(test, pool_kib, SEGS_MAX, true);
		vgrant_pool_set_filled(ctx->pool, true);
		addr = dma_map_single(ctx->dev, ctx->buf, 512, DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		vkt_backend_copy(ctx, addr, mark, sizeof(mark), false);
		dma_unmap_single(ctx->dev, addr, 512, DMA_FROM_DEVICE);
		if (!memchr(mark, CANARY, sizeof(mark)))
			return;
		vkt_pool_unmake(ctx);
	}
	KUNIT_FAIL(test, "the mark is not random");
}

/* Maps buffers of @size until there is no room, returns how many. */
unsigned int vkt_map_all(struct vkt *ctx, dma_addr_t *addr,
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

void vkt_unmap_all(struct vkt *ctx, const dma_addr_t *addr,
		   unsigned int nr, size_t size)
{
	while (nr--)
		dma_unmap_single(ctx->dev, addr[nr], size, DMA_TO_DEVICE);
}

/* Nothing is mapped any more: every slot came back. */
void vkt_expect_idle(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vgrant_pool_stats now;

	vgrant_pool_read_stats(ctx->pool, &now);
	KUNIT_EXPECT_EQ(test, now.pages_in_use, ctx->stats.pages_in_use);
	KUNIT_EXPECT_EQ(test, now.small_in_use, 0U);
}

int vkt_init(struct kunit *test)
{
	struct vkt *ctx;

	if (!xen_domain())
		kunit_skip(test, "needs a Xen guest");
	/* Larger ones are tests/unit/kernel/dma/test_pool.c's to test. */
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
	ctx->self = vkt_own_domid();
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

void vkt_exit(struct kunit *test)
{
	struct vkt *ctx = test->priv;

	if (!ctx || !ctx->buf)
		return;
	vkt_pool_unmake(ctx);
	platform_device_unregister(ctx->pdev);
	free_pages((unsigned long)ctx->buf, get_order(BUF_BYTES));
	vgrant_pool_kib = ctx->pool_kib_before;
	vgrant_direct_kib = ctx->direct_kib_before;
	vgrant_zero = ctx->zero_before;
}

VGRANT_KUNIT_IMPORTS;
MODULE_DESCRIPTION("KUnit suite of virtio_grant_dma");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
