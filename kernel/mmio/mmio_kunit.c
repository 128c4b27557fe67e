// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio_kunit.c - what the transport driver accepts and refuses.
 *
 * The register window is plain memory: enough for a driver that looks before
 * it does anything.  Selectors have no effect there, so a queue's and a
 * feature word's value holds for all.  What depends on a device that answers
 * (interrupts, claims) is tested with a real one, on Xen.
 *
 * life_kunit.c has such a window driven.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>
#include <uapi/linux/virtio_net.h>
#include <uapi/linux/virtio_ring.h>

#include "mmio/kunit_priv.h"

struct vgm_test {
	struct device *dev;
	void __iomem *base;
	struct vgm_device vgm;
	struct vgrant_identity id;
};

static void set_reg(struct vgm_test *ctx, unsigned int offset, u32 value)
{
	writel(value, ctx->base + offset);
}

static int identify(struct vgm_test *ctx)
{
	return vgm_identify(&ctx->vgm, &ctx->id);
}

/* A window as our backend's disk would show it. */
static int vgm_test_init(struct kunit *test)
{
	struct vgm_test *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	void *window = kunit_kzalloc(test, WINDOW_BYTES, GFP_KERNEL);

	if (!ctx || !window)
		return -ENOMEM;
	test->priv = ctx;
	ctx->base = (void __iomem __force *)window;
	ctx->dev = kunit_device_register(test, "vgm-kunit");
	if (IS_ERR(ctx->dev))
		return PTR_ERR(ctx->dev);
	vgm_dev_init(&ctx->vgm, ctx->dev, ctx->base, 0, 0);
	set_reg(ctx, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
	set_reg(ctx, VIRTIO_MMIO_VERSION, 2);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, 2);
	set_reg(ctx, VIRTIO_MMIO_VENDOR_ID, 0x4e455358);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	set_reg(ctx, VIRTIO_MMIO_QUEUE_NUM_MAX, 128);
	return vgm_accept_types("block");
}

static void vgm_test_accepts(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;

	KUNIT_ASSERT_EQ(test, identify(ctx), 0);
	KUNIT_EXPECT_EQ(test, ctx->id.device, 2U);
	KUNIT_EXPECT_EQ(test, ctx->id.vendor, 0x4e455358U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_max, 128U);
	/* Looking must not have touched the device's status. */
	KUNIT_EXPECT_EQ(test, readl(ctx->base + VIRTIO_MMIO_STATUS), 0U);
}

static void vgm_test_nobody(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < WINDOW_BYTES; i += 4)
		set_reg(ctx, i, U32_MAX);
	KUNIT_EXPECT_EQ(test, identify(ctx), -EAGAIN);
}

static void vgm_test_magic(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;

	set_reg(ctx, VIRTIO_MMIO_MAGIC_VALUE, MAGIC ^ 1);
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
	set_reg(ctx, VIRTIO_MMIO_MAGIC_VALUE, 0);
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
}

static void vgm_test_version(struct kunit *test)
{
	static const u32 bad[] = { 0, 1, 3, U32_MAX };
	struct vgm_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		set_reg(ctx, VIRTIO_MMIO_VERSION, bad[i]);
		KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
	}
}

static void vgm_test_no_device(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;

	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, 0);
	KUNIT_EXPECT_EQ(test, identify(ctx), -ENODEV);
}

/* The guest, and not the backend, chooses which driver binds. */
static void vgm_test_types(struct kunit *test)
{
	static const char * const bad[] = {
		"", "disk", "0", "128", "4294967297", "-2", "2x", "block,,net",
		"block,", "block console", "Block",
	};
	struct vgm_test *ctx = test->priv;
	unsigned int i;
	u32 id;

	for (id = 3; id < 128; id++) {
		set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, id);
		KUNIT_EXPECT_EQ(test, identify(ctx), -ENODEV);
		KUNIT_EXPECT_EQ(test, ctx->id.vendor, 0U);
	}
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, 0x102);
	KUNIT_EXPECT_EQ(test, identify(ctx), -ENODEV);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, U32_MAX);
	KUNIT_EXPECT_EQ(test, identify(ctx), -ENODEV);

	KUNIT_ASSERT_EQ(test, vgm_accept_types("console, 26,net"), 0);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_BLOCK);
	KUNIT_EXPECT_EQ(test, identify(ctx), -ENODEV);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_CONSOLE);
	KUNIT_EXPECT_EQ(test, identify(ctx), 0);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_FS);
	KUNIT_EXPECT_EQ(test, identify(ctx), 0);

	/* What is refused changes nothing. */
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, vgm_accept_types(bad[i]), -EINVAL,
				    "\"%s\"", bad[i]);
		KUNIT_EXPECT_EQ(test, identify(ctx), 0);
	}
	KUNIT_EXPECT_EQ(test, vgm_accept_types("127"), 0);
}

/* Queues that the pool has room for: as many as the type can have. */
static unsigned int rings(struct vgm_test *ctx)
{
	return identify(ctx) ? 0 : ctx->id.need.coherent_bytes /
		(PAGE_SIZE << get_order(vring_size(128, VGRANT_RING_ALIGN)));
}

static void set_config16(struct vgm_test *ctx, unsigned int offset, u16 value)
{
	writew(value, ctx->base + VIRTIO_MMIO_CONFIG + offset);
}

static void vgm_test_count(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;
	const unsigned int nr_blk = offsetof(struct virtio_blk_config,
					     num_queues);
	const unsigned int nr_net = offsetof(struct virtio_net_config,
					     max_virtqueue_pairs);

	KUNIT_ASSERT_EQ(test, vgm_accept_types("block,net,console,scsi,rng"), 0);
	set_config16(ctx, nr_blk, 4);
	KUNIT_EXPECT_EQ(test, rings(ctx), 1U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.queues, 1U);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES,
		BOTH_FEATURES | BIT(VIRTIO_BLK_F_MQ));
	KUNIT_EXPECT_EQ(test, rings(ctx), 4U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.queues,
			min(4U, num_possible_cpus()));
	set_config16(ctx, nr_blk, 0);
	KUNIT_EXPECT_EQ(test, rings(ctx), 1U);
	set_config16(ctx, nr_blk, U16_MAX);
	KUNIT_EXPECT_EQ(test, rings(ctx), 64U);

	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_NET);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	KUNIT_EXPECT_EQ(test, rings(ctx), 2U);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES |
		BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ));
	set_config16(ctx, nr_net, 3);
	KUNIT_EXPECT_EQ(test, rings(ctx), 7U);
	set_config16(ctx, nr_net, U16_MAX);
	KUNIT_EXPECT_EQ(test, rings(ctx), 64U);

	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_CONSOLE);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES & ~BIT(1));
	KUNIT_EXPECT_EQ(test, rings(ctx), 0U);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_RNG);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	KUNIT_EXPECT_EQ(test, rings(ctx), 8U);
}

static void vgm_test_features(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;

	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, 0);
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES,
		BIT(VIRTIO_F_ACCESS_PLATFORM - 32));
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BIT(VIRTIO_F_VERSION_1 - 32));
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	KUNIT_EXPECT_EQ(test, identify(ctx), 0);
}

/* However large a queue the device would take, ours are bounded. */
static void vgm_test_queues(struct kunit *test)
{
	static const struct {
		u32 num_max;
		unsigned int size;
	} cases[] = {
		{ 1, 1 }, { 2, 2 }, { 3, 2 }, { 100, 64 }, { 256, 256 },
		{ 1023, 512 }, { 1024, 1024 }, { 32768, 1024 },
		{ 0x80000000, 1024 }, { 0xfffffffe, 1024 },
	};
	struct vgm_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		set_reg(ctx, VIRTIO_MMIO_QUEUE_NUM_MAX, cases[i].num_max);
		KUNIT_ASSERT_EQ(test, identify(ctx), 0);
		KUNIT_EXPECT_EQ(test, ctx->id.need.segs_max, cases[i].size);
		/* Parts that peers may map page by page, and no page more. */
		KUNIT_EXPECT_EQ(test, ctx->id.need.coherent_bytes,
				PAGE_SIZE << get_order(vring_size(cases[i].size,
								  VGRANT_RING_ALIGN)));
		KUNIT_EXPECT_LE(test, ctx->id.need.coherent_bytes,
				(size_t)SZ_2M);
	}
	set_reg(ctx, VIRTIO_MMIO_QUEUE_NUM_MAX, 0);
	KUNIT_EXPECT_EQ(test, identify(ctx), -EINVAL);
}

/* What of a request the pool may bound depends on the kind of device. */
static void vgm_test_segs(struct kunit *test)
{
	struct vgm_test *ctx = test->priv;

	KUNIT_ASSERT_EQ(test, vgm_accept_types("block,net,console"), 0);
	set_reg(ctx, VIRTIO_MMIO_QUEUE_NUM_MAX, 256);
	KUNIT_ASSERT_EQ(test, identify(ctx), 0);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_max, 256U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_enough, 66U);
	KUNIT_EXPECT_EQ(test, ctx->id.ring_min, 256U);
	KUNIT_EXPECT_FALSE(test, ctx->id.need.is_divided);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_NET);
	KUNIT_ASSERT_EQ(test, identify(ctx), 0);
	KUNIT_EXPECT_TRUE(test, ctx->id.need.is_divided);
	KUNIT_EXPECT_LT(test, ctx->id.need.segs_max, 64U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_enough, 0U);
	set_reg(ctx, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_CONSOLE);
	KUNIT_ASSERT_EQ(test, identify(ctx), 0);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_max, 256U);
	KUNIT_EXPECT_EQ(test, ctx->id.need.segs_enough, 0U);
}

struct look {
	struct work_struct work;
	struct vgrant_settling *settling;
	u32 generation;
	bool settles;
};

static void look_work(struct work_struct *work)
{
	struct look *look = container_of(work, struct look, work);

	look->settles = vgrant_settles(look->settling, look->generation);
}

/* Reading a long field ends: with another task's looks in between, too. */
static void vgm_test_settles(struct kunit *test)
{
	struct vgrant_settling s = { .generation = 7 };
	struct look look = { .settling = &s };
	unsigned int i, n;

	spin_lock_init(&s.lock);
	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_TRUE(test, vgrant_settles(&s, 7));
	/* A change before each reading, or in the midst of it now and then. */
	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_TRUE(test, vgrant_settles(&s, 1000 + i));
		KUNIT_EXPECT_TRUE(test, vgrant_settles(&s, 2000 + i));
		KUNIT_EXPECT_TRUE(test, vgrant_settles(&s, 2000 + i));
	}
	for (n = 0; n < 1000 && vgrant_settles(&s, 3000 + n); n++)
		;
	KUNIT_EXPECT_EQ(test, n, (unsigned int)VGRANT_CHANGES_MAX);
	/* Once settled, all is well. */
	KUNIT_EXPECT_TRUE(test, vgrant_settles(&s, 3000 + n));

	INIT_WORK_ONSTACK(&look.work, look_work);
	for (n = 0; n < 1000; n++) {
		look.generation = 5000 + n;
		if (!vgrant_settles(&s, look.generation))
			break;
		schedule_work(&look.work);
		flush_work(&look.work);
		if (!look.settles)
			break;
	}
	destroy_work_on_stack(&look.work);
	KUNIT_EXPECT_LT(test, n, 1000U);
}

/* Every CPU has exactly one queue, every queue a CPU. */
static void vgm_test_spread(struct kunit *test)
{
	struct cpumask *mask = kunit_kzalloc(test, sizeof(*mask), GFP_KERNEL);
	struct cpumask *seen = kunit_kzalloc(test, sizeof(*seen), GFP_KERNEL);
	unsigned int cpus = num_possible_cpus(), nr, i;

	KUNIT_ASSERT_NOT_NULL(test, mask);
	KUNIT_ASSERT_NOT_NULL(test, seen);
	for (nr = 1; nr <= cpus + 3; nr++) {
		cpumask_clear(seen);
		for (i = 0; i < nr; i++) {
			vgrant_spread(mask, i, nr);
			KUNIT_EXPECT_FALSE(test, cpumask_empty(mask));
			if (nr <= cpus)
				KUNIT_EXPECT_FALSE(test,
						   cpumask_intersects(seen, mask));
			cpumask_or(seen, seen, mask);
		}
		KUNIT_EXPECT_TRUE(test, cpumask_equal(seen, cpu_possible_mask));
	}
}

/* Whatever the backend says: two bits are the device's, the others the driver's. */
static void vgm_test_status(struct kunit *test)
{
	const u8 features_ok = VIRTIO_CONFIG_S_FEATURES_OK;
	const u8 needs_reset = VIRTIO_CONFIG_S_NEEDS_RESET;
	unsigned int written, read, bad = 0;

	for (written = 0; written < 0x100; written++) {
		u8 nobody = vgrant_status(written, U32_MAX);

		bad += nobody != ((written & ~features_ok) |
				  VIRTIO_CONFIG_S_FAILED);
		for (read = 0; read < 0x100; read++) {
			u8 got = vgrant_status(written, read);

			bad += got != vgrant_status(written, read | 0xffffff00 << 1);
			bad += !!((got ^ written) & ~(features_ok | needs_reset));
			bad += (got & features_ok) !=
			       (written & read & features_ok);
			bad += (got & needs_reset) !=
			       ((written | read) & needs_reset);
		}
	}
	KUNIT_EXPECT_EQ(test, bad, 0U);
}

/* A device that runs shows all that a ready driver wrote, and needs no reset. */
static void vgm_test_status_fault(struct kunit *test)
{
	const u8 ready = VIRTIO_CONFIG_S_DRIVER_OK;
	unsigned int written, read, bad = 0;

	for (written = 0; written < 0x100; written++)
		for (read = 0; read < 0x100; read++) {
			bool is_bad = read & VIRTIO_CONFIG_S_NEEDS_RESET ||
				      (written & ready && 0xf & written & ~read);

			bad += is_bad != !!vgrant_status_fault(written, read);
		}
	KUNIT_EXPECT_EQ(test, bad, 0U);
}

static struct kunit_case vgm_test_cases[] = {
	KUNIT_CASE(vgm_test_accepts),
	KUNIT_CASE(vgm_test_nobody),
	KUNIT_CASE(vgm_test_magic),
	KUNIT_CASE(vgm_test_version),
	KUNIT_CASE(vgm_test_no_device),
	KUNIT_CASE(vgm_test_types),
	KUNIT_CASE(vgm_test_count),
	KUNIT_CASE(vgm_test_settles),
	KUNIT_CASE(vgm_test_features),
	KUNIT_CASE(vgm_test_queues),
	KUNIT_CASE(vgm_test_segs),
	KUNIT_CASE(vgm_test_spread),
	KUNIT_CASE(vgm_test_status),
	KUNIT_CASE(vgm_test_status_fault),
	{ }
};

/* As the module was loaded. */
static void vgm_test_suite_exit(struct kunit_suite *suite)
{
	vgm_accept_types("block");
}

static struct kunit_suite vgm_test_suite = {
	.name = "virtio_grant_mmio",
	.suite_exit = vgm_test_suite_exit,
	.init = vgm_test_init,
	.test_cases = vgm_test_cases,
};

kunit_test_suite(vgm_test_suite);


VGRANT_KUNIT_IMPORTS;
MODULE_DESCRIPTION("KUnit suite of virtio_grant_mmio");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
