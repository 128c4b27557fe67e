// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ops_kunit.c - KUnit: what goes in, what a backend gets to see, and what comes back.
 */
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "dma/kunit_priv.h"

/* Addresses */

static void vgrant_test_address(struct kunit *test)
{
	static const size_t sizes[] = { 1, 256, 257, SZ_4K, SZ_4K + 1, SZ_16K };
	struct vkt *ctx = test->priv;
	unsigned int i;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
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
	vkt_expect_idle(test);
}

/* Copies */

static void check_to_device(struct kunit *test, size_t offset, size_t size)
{
	struct vkt *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	vkt_fill(data, size, 1);
	addr = dma_map_single(ctx->dev, data, size, DMA_TO_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE_MSG(test, vkt_backend_sees_filled(ctx, addr, size, 1),
			      "%zu bytes at %zu: not what was sent", size, offset);
	/* Its buffer, but not ours to read: nothing comes back. */
	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE_MSG(test, vkt_is_filled(data, size, 1),
			      "%zu bytes at %zu: written by the backend", size,
			      offset);
}

static void check_from_device(struct kunit *test, size_t offset, size_t size)
{
	struct vkt *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, data, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE_MSG(test, vkt_backend_sees_all(ctx, addr, size,
							 vkt_unwritten(size)),
			      "%zu bytes at %zu: not cleared", size, offset);
	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	KUNIT_EXPECT_TRUE(test, vkt_is_all(data, size, CANARY));
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE_MSG(test, vkt_is_filled(data, size, BACKEND_SEED),
			      "%zu bytes at %zu: not what came", size, offset);
	KUNIT_EXPECT_TRUE_MSG(test, vkt_is_all(ctx->buf, offset, CANARY),
			      "%zu bytes at %zu: written before", size, offset);
	KUNIT_EXPECT_TRUE_MSG(test, vkt_is_all(data + size,
					       BUF_BYTES - offset - size, CANARY),
			      "%zu bytes at %zu: written after", size, offset);
}

/* The same, of a slot that nobody cleared. */
static void check_from_device_as_it_is(struct kunit *test, size_t size)
{
	struct vkt *ctx = test->priv;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	addr = dma_map_single(ctx->dev, ctx->buf + 9, size, DMA_FROM_DEVICE);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(ctx->buf + 9, size, BACKEND_SEED));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf, 9, CANARY));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf + 9 + size,
					   BUF_BYTES - 9 - size, CANARY));
}

static void check_both_ways(struct kunit *test, size_t offset, size_t size)
{
	struct vkt *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	memset(ctx->buf, CANARY, BUF_BYTES);
	vkt_fill(data, size, 2);
	addr = dma_map_single(ctx->dev, data, size, DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, addr, size, 2));
	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_unmap_single(ctx->dev, addr, size, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(data, size, BACKEND_SEED));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf, offset, CANARY));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(data + size, BUF_BYTES - offset - size,
					   CANARY));
}

static void vgrant_test_copies(struct kunit *test)
{
	static const size_t sizes[] = {
		1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 513, 4095, 4096,
		4097, 8191, 8192, 12289,
	};
	static const size_t offsets[] = { 0, 1, 7, 512, 4095, 4096 };
	struct vkt *ctx = test->priv;
	unsigned int i, j;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			check_to_device(test, offsets[j], sizes[i]);
			check_from_device(test, offsets[j], sizes[i]);
			check_both_ways(test, offsets[j], sizes[i]);
		}
	}
	check_to_device(test, 1, ctx->stats.mapping_max_bytes);
	check_from_device(test, 1, ctx->stats.mapping_max_bytes);
	vkt_expect_idle(test);
}

/* Neighbours of the buffer in its page never reach the pool. */
static void vgrant_test_neighbours(struct kunit *test)
{
	static const size_t sizes[] = { 1, 16, 256, 300, 4096, 6000 };
	struct vkt *ctx = test->priv;
	unsigned int i, page;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		u8 *data = ctx->buf + 123;
		dma_addr_t addr;

		memset(ctx->buf, CANARY, BUF_BYTES);
		vkt_fill(data, sizes[i], 1);
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
static bool is_exposed(struct vkt *ctx)
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
	struct vkt *ctx = test->priv;
	u8 *data = ctx->buf + offset;
	dma_addr_t addr;

	/* What the device is to write, it need not see before either. */
	memset(ctx->buf, CANARY, offset + size + PAGE_SIZE);
	if (dir != DMA_FROM_DEVICE)
		vkt_fill(data, size, size + offset);
	addr = dma_map_single(ctx->dev, data, size, dir);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_FALSE_MSG(test, is_exposed(ctx),
			       "%zu bytes at %zu, direction %d: more than them",
			       size, offset, dir);
	if (dir != DMA_TO_DEVICE)
		KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, offset), 0);
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
	struct vkt *ctx = test->priv;
	unsigned int i, j, k, filled;

	vkt_pool_make_filled(test, 256);
	for (filled = 0; filled < 2; filled++) {
		vgrant_pool_set_filled(ctx->pool, filled);
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			for (j = 0; j < ARRAY_SIZE(offsets); j++)
				for (k = 0; k < ARRAY_SIZE(dirs); k++)
					check_exposure(test, offsets[j],
						       sizes[i], dirs[k]);
	}
	vkt_expect_idle(test);
}

/* A disk's request as its driver makes it, in structures full of secrets. */
static void vgrant_test_exposure_request(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct {
		u8 before[40], header[16], between[23], status, after[48];
	} *req = (void *)ctx->buf;
	u8 *table = ctx->buf + SZ_4K + 24, *data = ctx->buf + SZ_8K + 512;
	dma_addr_t addr[4], ring;
	unsigned int round, i;
	u8 *ring_va;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	ring_va = dma_alloc_coherent(ctx->dev, RING_BYTES, &ring, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ring_va);
	for (round = 0; round < 64; round++) {
		bool is_read = round % 2;
		size_t bytes = 512 * (1 + round % 9);

		memset(ctx->buf, CANARY, BUF_BYTES);
		vkt_fill(req->header, sizeof(req->header), round);
		vkt_fill(table, 48, round + 1);
		if (!is_read)
			vkt_fill(data, bytes, round + 2);
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
		KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, addr[0],
								sizeof(req->header),
								round));
		if (is_read)
			KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr[1], bytes,
							       9), 0);
		dma_unmap_single(ctx->dev, addr[0], sizeof(req->header),
				 DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[1], bytes,
				 is_read ? DMA_FROM_DEVICE : DMA_TO_DEVICE);
		dma_unmap_single(ctx->dev, addr[2], 1, DMA_FROM_DEVICE);
		dma_unmap_single(ctx->dev, addr[3], 48, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, req->status, 0xff);
		KUNIT_EXPECT_TRUE(test, vkt_is_all(req->between,
						   sizeof(req->between), CANARY));
		KUNIT_EXPECT_TRUE(test, vkt_is_all(req->after, sizeof(req->after),
						   CANARY));
		KUNIT_EXPECT_FALSE(test, is_exposed(ctx));
	}
	dma_free_coherent(ctx->dev, RING_BYTES, ring_va, ring);
	vkt_expect_idle(test);
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
	struct vkt *ctx = test->priv;
	size_t size, offset = 0;
	int off_by;

	vkt_pool_make_filled(test, 64);
	for (size = 1; size <= 4 * VGRANT_SMALL_BYTES + 1; size++) {
		check_exposure(test, offset, size, dirs[size % 3]);
		offset = (offset + 1549) % PAGE_SIZE;
	}
	vkt_expect_idle(test);
	vkt_pool_unmake(ctx);
	vkt_pool_make_filled(test, 256);
	for (size = PAGE_SIZE; size <= SZ_64K; size += PAGE_SIZE) {
		for (off_by = -1; off_by <= 1; off_by++) {
			if (size + off_by > SZ_64K)
				continue;
			check_exposure(test, offset, size + off_by,
				       dirs[(size / PAGE_SIZE + off_by) % 3]);
			offset = (offset + 1549) % PAGE_SIZE;
		}
	}
	vkt_expect_idle(test);
}

/*
 * Three in a row: no address, length or flag of a descriptor looks like that,
 * as the alphabet of is_exposed() can.
 */
static noinline __no_sanitize_address bool
is_secret_exposed(struct vkt *ctx)
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
	struct vkt *ctx = test->priv;
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
		vkt_fill(req->header, sizeof(req->header), round);
		sg_init_one(header, req->header, sizeof(req->header));
		sg_init_one(status, &req->status, 1);
		sg_init_table(data, nr);
		for (i = 0; i < nr; i++) {
			size_t bytes = 512 * (1 + (round + i) % 9);

			if (!is_read)
				vkt_fill(at, bytes, round + i);
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
			KUNIT_EXPECT_TRUE(test, vkt_is_all(all[i].between,
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
	struct vkt *ctx = test->priv;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	check_exposure_ring(test, false);
	check_exposure_ring(test, true);
	vkt_expect_idle(test);
}

static void vgrant_test_skip_sync(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	size_t size = 5000;
	dma_addr_t addr;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	vkt_backend_fills_pool(ctx, ctx->view.nr, CANARY);
	vkt_fill(ctx->buf, size, 1);
	addr = dma_map_single_attrs(ctx->dev, ctx->buf, size, DMA_BIDIRECTIONAL,
				    DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_zeroes(ctx, addr, size));
	dma_sync_single_for_device(ctx->dev, addr, size, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, addr, size, 1));

	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, size, BACKEND_SEED), 0);
	dma_sync_single_range_for_cpu(ctx->dev, addr, 0, 100, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(ctx->buf, 100, BACKEND_SEED));
	KUNIT_EXPECT_EQ(test, ctx->buf[100], vkt_pattern(100, 1));
	dma_sync_single_range_for_cpu(ctx->dev, addr, 4200, 10,
				      DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, ctx->buf[4199], vkt_pattern(4199, 1));
	KUNIT_EXPECT_EQ(test, ctx->buf[4200], vkt_pattern(4200, BACKEND_SEED));
	KUNIT_EXPECT_EQ(test, ctx->buf[4210], vkt_pattern(4210, 1));

	dma_unmap_single_attrs(ctx->dev, addr, size, DMA_BIDIRECTIONAL,
			       DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_EXPECT_EQ(test, ctx->buf[4999], vkt_pattern(4999, 1));
	vkt_expect_idle(test);
}

static void vgrant_test_coherent(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	dma_addr_t addr, other;
	u8 *va, *other_va;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	va = dma_alloc_coherent(ctx->dev, 6000, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, va);
	other_va = dma_alloc_coherent(ctx->dev, 100, &other, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other_va);
	KUNIT_EXPECT_TRUE(test, virtio_grant_addr_valid(addr));
	KUNIT_EXPECT_EQ(test, virtio_grant_addr_offset(addr), 0U);
	KUNIT_EXPECT_NE(test, virtio_grant_addr_ref(addr),
			virtio_grant_addr_ref(other));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(va, 6000, 0));
	vkt_fill(va, 6000, 3);
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, addr, 6000, 3));
	KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr, 6000, BACKEND_SEED), 0);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(va, 6000, BACKEND_SEED));
	dma_free_coherent(ctx->dev, 100, other_va, other);
	dma_free_coherent(ctx->dev, 6000, va, addr);
	vkt_expect_idle(test);
	/* What it held is not what the next one starts with. */
	va = dma_alloc_coherent(ctx->dev, 6000, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, va);
	KUNIT_EXPECT_TRUE(test, vkt_is_all(va, 6000, 0));
	KUNIT_EXPECT_TRUE(test, vkt_backend_sees_zeroes(ctx, addr, 6000));
	dma_free_coherent(ctx->dev, 6000, va, addr);
	vkt_expect_idle(test);
}

/* Both addresses are aligned to the size, as the DMA API promises. */
static void vgrant_test_coherent_aligned(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	dma_addr_t addr[4];
	unsigned int i;
	size_t size;
	u8 *va[4];

	vkt_pool_make(test, 2048, SEGS_MAX, false);
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
	vkt_expect_idle(test);
}

/* Scatter-gather */

static void vgrant_test_sg(struct kunit *test)
{
	static const unsigned int lens[] = { 512, 16, 4096, 4097, 1, 9000 };
	struct vkt *ctx = test->priv;
	struct scatterlist sg[ARRAY_SIZE(lens)], *s;
	size_t at = 5;
	int i, nents;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	memset(ctx->buf, CANARY, BUF_BYTES);
	sg_init_table(sg, ARRAY_SIZE(lens));
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		vkt_fill(ctx->buf + at, lens[i], i);
		sg_set_buf(&sg[i], ctx->buf + at, lens[i]);
		at += lens[i] + 99;
	}
	nents = dma_map_sg(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_EQ(test, nents, (int)ARRAY_SIZE(lens));
	for_each_sg(sg, s, nents, i) {
		KUNIT_EXPECT_EQ(test, sg_dma_len(s), lens[i]);
		KUNIT_EXPECT_TRUE(test, vkt_backend_sees_filled(ctx, sg_dma_address(s),
								lens[i], i));
		KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, sg_dma_address(s),
						       lens[i], 50 + i), 0);
	}
	dma_sync_sg_for_cpu(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	for (i = 0; i < ARRAY_SIZE(lens); i++)
		KUNIT_EXPECT_TRUE(test, vkt_is_filled(sg_virt(&sg[i]), lens[i],
						      50 + i));
	dma_unmap_sg(ctx->dev, sg, ARRAY_SIZE(lens), DMA_BIDIRECTIONAL);
	vkt_expect_idle(test);
}

/* A list whose end does not fit leaves nothing behind. */
static void vgrant_test_sg_partial(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	unsigned int nents, i;
	struct scatterlist *sg;
	struct sg_table table;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, false);
	nents = ctx->stats.pages_total + 1;
	sg = kunit_kcalloc(test, nents, sizeof(*sg), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sg);
	sg_init_table(sg, nents);
	for (i = 0; i < nents; i++)
		sg_set_buf(&sg[i], ctx->buf, PAGE_SIZE);
	table = (struct sg_table){ .sgl = sg, .nents = nents, .orig_nents = nents };
	vkt_fill(ctx->buf, PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, dma_map_sgtable(ctx->dev, &table, DMA_FROM_DEVICE, 0),
			-ENOMEM);
	KUNIT_EXPECT_TRUE(test, vkt_is_filled(ctx->buf, PAGE_SIZE, 1));
	vkt_expect_idle(test);
}

/* A device that promised to fill buffers is handed them as they are. */
static void vgrant_test_filled(struct kunit *test)
{
	static const size_t sizes[] = { 1, 300, 4096, 5000, 65536 };
	struct vkt *ctx = test->priv;
	unsigned int i, j;
	dma_addr_t addr;

	vkt_pool_make(test, 2048, SEGS_MAX, true);
	vkt_backend_fills_pool(ctx, ctx->view.nr, CANARY);
	vgrant_pool_set_filled(ctx->pool, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		addr = dma_map_single(ctx->dev, ctx->buf, sizes[i],
				      DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_FALSE(test, vkt_backend_sees_zeroes(ctx, addr, sizes[i]));
		dma_unmap_single(ctx->dev, addr, sizes[i], DMA_FROM_DEVICE);
		check_from_device_as_it_is(test, sizes[i]);
		/* The promise is not about what the device is to read. */
		addr = dma_map_single_attrs(ctx->dev, ctx->buf, sizes[i],
					    DMA_BIDIRECTIONAL,
					    DMA_ATTR_SKIP_CPU_SYNC);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		KUNIT_EXPECT_TRUE(test, vkt_backend_sees_zeroes(ctx, addr, sizes[i]));
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
	vkt_expect_idle(test);
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
static dma_addr_t begin_mapping(struct vkt *ctx, enum end end,
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

static void end_mapping(struct vkt *ctx, enum end end,
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
	struct vkt *ctx = test->priv;
	u8 *data = ctx->buf + 77;
	struct scatterlist sg;
	dma_addr_t addr;

	memset(ctx->buf, 0x11, BUF_BYTES);
	addr = begin_mapping(ctx, end, &sg, data, size);
	KUNIT_ASSERT_FALSE(test, addr == DMA_MAPPING_ERROR);
	if (part)
		KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr + from, part,
						       BACKEND_SEED), 0);
	end_mapping(ctx, end, &sg, addr, size);
	KUNIT_EXPECT_PTR_EQ_MSG(test, memchr(data, CANARY, size), NULL,
				"%zu of %zu bytes written, end %d: others' data",
				part, size, end);
	if (!part)
		KUNIT_EXPECT_TRUE_MSG(test, vkt_is_all(data, size, vkt_unwritten(size)),
				      "%zu bytes, end %d", size, end);
	if (part == size)
		KUNIT_EXPECT_TRUE_MSG(test, vkt_is_filled(data, size, BACKEND_SEED),
				      "%zu bytes, end %d", size, end);
	KUNIT_EXPECT_TRUE(test, vkt_is_all(ctx->buf, 77, 0x11));
	KUNIT_EXPECT_TRUE(test, vkt_is_all(data + size, BUF_BYTES - 77 - size, 0x11));
	/* Others use the slot. */
	memset(ctx->buf, CANARY, size);
	vkt_backend_copy(ctx, addr, ctx->buf, size, true);
}

static void vgrant_test_unwritten(struct kunit *test)
{
	static const size_t sizes[] = {
		1, 2, 8, 9, 16, 108, 255, 256, 257, 271, 272, 512, 1536, 4095,
		4096, 4097, 4111, 4112, 8191, 8192, 12289, 65535, 65536,
	};
	struct vkt *ctx = test->priv;
	unsigned int filled, i, end;

	vkt_pool_make(test, 512, SEGS_MAX, true);
	for (filled = 0; filled < 2; filled++) {
		vgrant_pool_set_filled(ctx->pool, filled);
		vkt_backend_fills_pool(ctx, ctx->view.nr, CANARY);
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
	vkt_expect_idle(test);
}

/* Of many pages those arrive that were written. */
static void vgrant_test_pages_written(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	size_t size = 4 * PAGE_SIZE;
	unsigned int mask, i;
	dma_addr_t addr;

	vkt_pool_make(test, POOL_KIB, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	for (mask = 0; mask < 16; mask++) {
		vkt_backend_fills_pool(ctx, ctx->view.nr, CANARY);
		addr = dma_map_single(ctx->dev, ctx->buf, size, DMA_FROM_DEVICE);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
		for (i = 0; i < 4; i++)
			if (mask & BIT(i))
				KUNIT_ASSERT_EQ(test, vkt_backend_fill(ctx, addr + i * PAGE_SIZE,
								       PAGE_SIZE, i), 0);
		dma_unmap_single(ctx->dev, addr, size, DMA_FROM_DEVICE);
		for (i = 0; i < 4; i++) {
			u8 *at = ctx->buf + i * PAGE_SIZE;

			if (mask & BIT(i))
				KUNIT_EXPECT_TRUE(test, vkt_is_filled(at, PAGE_SIZE, i));
			else
				KUNIT_EXPECT_TRUE(test, vkt_is_all(at, PAGE_SIZE, 0));
		}
	}
	vkt_expect_idle(test);
}

/*
 * A request that does not fit, through a real virtqueue: it unmaps what it
 * mapped as if it were done.
 */
static void check_no_room(struct kunit *test, bool is_indirect)
{
	struct vkt *ctx = test->priv;
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
	vkt_backend_fills_pool(ctx, nr_free, CANARY);
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
	vkt_backend_fills_pool(ctx, nr_free, CANARY);
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
	vkt_expect_idle(test);
}

static void vgrant_test_no_room(struct kunit *test)
{
	struct vkt *ctx = test->priv;
	struct vgrant_pool_stats stats;

	vkt_pool_make(test, 128, SEGS_MAX, true);
	vgrant_pool_set_filled(ctx->pool, true);
	check_no_room(test, false);
	check_no_room(test, true);
	vgrant_pool_read_stats(ctx->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.exhaustions, 2ULL);
}

static struct kunit_case vgrant_ops_cases[] = {
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
	KUNIT_CASE(vgrant_test_filled),
	KUNIT_CASE_SLOW(vgrant_test_unwritten),
	KUNIT_CASE(vgrant_test_pages_written),
	KUNIT_CASE(vgrant_test_no_room),
	{ }
};

static struct kunit_suite vgrant_ops_suite = {
	.name = "virtio_grant_ops",
	.init = vkt_init,
	.exit = vkt_exit,
	.test_cases = vgrant_ops_cases,
};

kunit_test_suite(vgrant_ops_suite);
