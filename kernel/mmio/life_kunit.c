// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * life_kunit.c - the life and death of a device, over a register window that is
 * plain memory.
 *
 * It is driven by a virtio driver of one queue, and fails in each way at each
 * moment of its life.  Such a device remembers what was written, and never uses a
 * buffer.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <asm/xen/hypercall.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>

#include "mmio/kunit_priv.h"

#define LIFE_VENDOR	0x74736574
#define LIFE_BYTES	64
/* So long is a second of the driver's here; no wait takes as many of ours. */
#define LIFE_MS_PER_S	4
#define LIFE_HANG_S	20

/* Moments between the steps of the driver above. */
enum life_stage {
	LIFE_PROBING,
	LIFE_HAS_QUEUE,
	LIFE_READY,
	LIFE_RUNS,		/* with a buffer in the queue */
	LIFE_REMOVING,		/* likewise */
	LIFE_WAS_RESET,
	LIFE_FREEZING,
	LIFE_IS_FROZEN,
	LIFE_SLEEPS,
	LIFE_RESTORING,
	LIFE_RESTORED_QUEUE,
	LIFE_STAGES,
};

struct life {
	struct kunit *test;
	struct platform_device *pdev;
	void __iomem *base;
	int irq;
	enum life_stage stage;		/* at which fault is called, once */
	void (*fault)(struct life *life);
	struct virtio_device *vdev;
	struct virtqueue *vq;
	u8 *buf;
	atomic_t in_queue;
	unsigned int done;		/* buffers that came back */
	unsigned int probes;
	unsigned int shortages;		/* so often its driver has no memory */
	u16 nr_queues;			/* its configuration said at restoring */
	bool is_wrong;			/* one did not come back as all ones */
	bool hangs;			/* the driver waited for one in vain */
};

/* virtio drivers are not given anything of their tester's. */
static struct life *the_life;

static void life_reg(struct life *life, unsigned int offset, u32 value)
{
	writel(value, life->base + offset);
}

static void life_is(struct life *life, enum life_stage stage)
{
	if (life->fault && life->stage == stage) {
		life->fault(life);
		life->fault = NULL;
	}
}

static void life_nobody(struct life *life)
{
	memset_io(life->base, 0xff, WINDOW_BYTES);
}

static void life_forgets(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_STATUS, 0x7);
}

static void life_starts_anew(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_STATUS, 0);
	life_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

static void life_needs_reset(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_STATUS,
		 readl(life->base + VIRTIO_MMIO_STATUS) |
		 VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void life_is_another(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_VENDOR_ID, LIFE_VENDOR + 1);
}

static void life_is_no_device(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_DEVICE_ID, 0);
}

static void life_is_no_window(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_MAGIC_VALUE, 0);
}

static void life_has_no_queue(struct life *life)
{
	life_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

/* The same device again, and nothing known of what was before. */
static void life_heals(struct life *life)
{
	memset_io(life->base, 0, WINDOW_BYTES);
	life_reg(life, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
	life_reg(life, VIRTIO_MMIO_VERSION, 2);
	life_reg(life, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_BLOCK);
	life_reg(life, VIRTIO_MMIO_VENDOR_ID, LIFE_VENDOR);
	life_reg(life, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	life_reg(life, VIRTIO_MMIO_QUEUE_NUM_MAX, 8);
}

static const struct {
	const char *name;
	void (*fault)(struct life *life);
} life_faults[] = {
	{ "nobody", life_nobody },
	{ "forgets", life_forgets },
	{ "starts anew", life_starts_anew },
	{ "needs reset", life_needs_reset },
	{ "is another", life_is_another },
	{ "is no device", life_is_no_device },
	{ "is no window", life_is_no_window },
	{ "has no queue", life_has_no_queue },
};

/* The driver */

static void life_done(struct virtqueue *vq)
{
	struct life *life = the_life;
	unsigned int len;
	u8 *buf;

	while ((buf = virtqueue_get_buf(vq, &len))) {
		life->is_wrong |= !!memchr_inv(buf, 0xff, LIFE_BYTES);
		life->done++;
		atomic_dec(&life->in_queue);
	}
}

static int life_add(struct life *life)
{
	struct scatterlist sg;
	int ret;

	memset(life->buf, 0, LIFE_BYTES);
	sg_init_one(&sg, life->buf, LIFE_BYTES);
	atomic_inc(&life->in_queue);
	ret = virtqueue_add_inbuf(life->vq, &sg, 1, life->buf, GFP_KERNEL);
	if (ret)
		atomic_dec(&life->in_queue);
	else
		virtqueue_kick(life->vq);
	return ret;
}

/* As a disk's removal does, but not for ever. */
static void life_drain(struct life *life)
{
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while (atomic_read(&life->in_queue) && time_before(jiffies, end))
		msleep(20);
	if (atomic_read(&life->in_queue))
		life->hangs = true;
}

static int life_start(struct life *life, struct virtio_device *vdev)
{
	if (life->shortages) {
		life->shortages--;
		return -ENOMEM;
	}
	life->vq = virtio_find_single_vq(vdev, life_done, "life");
	if (IS_ERR(life->vq)) {
		int ret = PTR_ERR(life->vq);

		life->vq = NULL;
		return ret;
	}
	return 0;
}

static void life_stop(struct life *life, struct virtio_device *vdev)
{
	life_drain(life);
	virtio_reset_device(vdev);
	/* What hangs, is given up. */
	while (life->vq && virtqueue_detach_unused_buf(life->vq))
		atomic_dec(&life->in_queue);
	life_is(life, LIFE_WAS_RESET);
	vdev->config->del_vqs(vdev);
	life->vq = NULL;
	/* A device that was reset has no queues; memory does not know. */
	if (readl(life->base + VIRTIO_MMIO_QUEUE_READY) == 1)
		life_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

static int life_probe(struct virtio_device *vdev)
{
	struct life *life = the_life;
	int ret;

	life->vdev = vdev;
	life->probes++;
	life_is(life, LIFE_PROBING);
	ret = life_start(life, vdev);
	if (ret)
		return ret;
	life_is(life, LIFE_HAS_QUEUE);
	virtio_device_ready(vdev);
	life_is(life, LIFE_READY);
	/* A disk would read from itself here. */
	life_add(life);
	life_is(life, LIFE_RUNS);
	return 0;
}

static void life_remove(struct virtio_device *vdev)
{
	life_is(the_life, LIFE_REMOVING);
	life_stop(the_life, vdev);
}

static int life_freeze(struct virtio_device *vdev)
{
	life_is(the_life, LIFE_FREEZING);
	life_stop(the_life, vdev);
	life_is(the_life, LIFE_IS_FROZEN);
	return 0;
}

/* Like virtio_blk's, whose disk is of no use if this fails. */
static int life_restore(struct virtio_device *vdev)
{
	int ret;

	life_is(the_life, LIFE_RESTORING);
	vdev->config->get(vdev, offsetof(struct virtio_blk_config, num_queues),
			  &the_life->nr_queues, sizeof(u16));
	ret = life_start(the_life, vdev);
	if (ret)
		return ret;
	life_is(the_life, LIFE_RESTORED_QUEUE);
	virtio_device_ready(vdev);
	life_add(the_life);
	return 0;
}

static const struct virtio_device_id life_ids[] = {
	{ VIRTIO_ID_BLOCK, LIFE_VENDOR },
	{ 0 },
};

static struct virtio_driver life_driver = {
	.driver.name = "virtio-grant-life",
	.id_table = life_ids,
	.probe = life_probe,
	.remove = life_remove,
#ifdef CONFIG_PM_SLEEP
	.freeze = life_freeze,
	.restore = life_restore,
#endif
};

static irqreturn_t life_interrupt(int irq, void *opaque)
{
	return IRQ_NONE;
}

/* An interrupt line, which the device shares. */
static int life_irq_init(struct life *life)
{
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = 0,
	};
	int ret = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);

	if (ret)
		return ret;
	life->irq = bind_evtchn_to_irqhandler(alloc.port, life_interrupt,
					      IRQF_SHARED, "life", life);
	return min(life->irq, 0);
}

static int life_init(struct kunit *test)
{
	struct life *life = kunit_kzalloc(test, sizeof(*life), GFP_KERNEL);
	void *window = kunit_kzalloc(test, WINDOW_BYTES, GFP_KERNEL);
	int ret;

	if (!life || !window)
		return -ENOMEM;
	life->buf = kunit_kzalloc(test, LIFE_BYTES, GFP_KERNEL);
	if (!life->buf)
		return -ENOMEM;
	life->test = test;
	life->base = (void __iomem __force *)window;
	life_heals(life);
	life->pdev = platform_device_register_simple("vgm-life", PLATFORM_DEVID_NONE,
						     NULL, 0);
	if (IS_ERR(life->pdev))
		return PTR_ERR(life->pdev);
	ret = life_irq_init(life);
	if (ret)
		goto unregister_pdev;
	test->priv = life;
	the_life = life;
	vgrant_pool_kib = 256;
	vgrant_ms_per_s = LIFE_MS_PER_S;
	ret = register_virtio_driver(&life_driver);
	if (ret)
		goto unbind_irq;
	return 0;

unbind_irq:
	unbind_from_irqhandler(life->irq, life);
unregister_pdev:
	platform_device_unregister(life->pdev);
	test->priv = NULL;
	return ret;
}

static void life_exit(struct kunit *test)
{
	struct life *life = test->priv;

	if (!life)
		return;
	unregister_virtio_driver(&life_driver);
	unbind_from_irqhandler(life->irq, life);
	platform_device_unregister(life->pdev);
	vgrant_pool_kib = 0;
	vgrant_ms_per_s = MSEC_PER_SEC;
	vgrant_wait_s = 90;
}

static void life_begins(struct life *life, enum life_stage stage,
			void (*fault)(struct life *life))
{
	life_heals(life);
	life->stage = stage;
	life->fault = fault;
	life->done = 0;
	life->probes = 0;
	life->nr_queues = 0;
	life->hangs = false;
	life->is_wrong = false;
	KUNIT_ASSERT_EQ(life->test,
			vgm_create(life->pdev, life->base, life->irq, 0), 0);
}

static bool life_is_bound(struct life *life)
{
	return life->vdev && READ_ONCE(life->vdev->dev.driver);
}

/* It may be on its way back at this moment. */
static bool life_has_failed(struct life *life)
{
	bool has_failed = true;

	if (!life->vdev)
		return true;
	device_lock(&life->vdev->dev);
	if (life_is_bound(life) && life->vq)
		has_failed = virtqueue_is_broken(life->vq);
	device_unlock(&life->vdev->dev);
	return has_failed;
}

/* Is it as @has_failed says within the time? */
static bool life_becomes(struct life *life, bool has_failed)
{
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while (life_has_failed(life) != has_failed && time_before(jiffies, end))
		msleep(20);
	return life_has_failed(life) == has_failed;
}

/* It takes buffers again after its driver is bound once more. */
static void life_rebinds(struct life *life, const char *what)
{
	struct kunit *test = life->test;

	life_heals(life);
	KUNIT_EXPECT_GE_MSG(test, device_reprobe(&life->vdev->dev), 0, "%s",
			    what);
	KUNIT_EXPECT_TRUE_MSG(test, life_is_bound(life), "%s", what);
	KUNIT_EXPECT_FALSE_MSG(test, life_has_failed(life), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&life->in_queue), 1, "%s", what);
}

/* All its buffers came back, as all ones, and nobody waited in vain. */
static void life_ended_well(struct life *life, const char *what)
{
	struct kunit *test = life->test;

	KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s: hangs", what);
	KUNIT_EXPECT_FALSE_MSG(test, life->is_wrong, "%s: wrong data", what);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&life->in_queue), 0, "%s", what);
}

static void life_ends(struct life *life, const char *what)
{
	life_is(life, LIFE_REMOVING);
	vgm_remove(life->pdev);
	life->vdev = NULL;
	life_ended_well(life, what);
	atomic_set(&life->in_queue, 0);
}

/* While its driver is bound, and while it works. */
static void life_test_awake(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	vgrant_wait_s = 5;
	for (stage = 0; stage <= LIFE_RUNS; stage++) {
		for (i = 0; i < ARRAY_SIZE(life_faults); i++) {
			snprintf(what, sizeof(what), "%s at %u",
				 life_faults[i].name, stage);
			life_begins(life, stage, life_faults[i].fault);
			/* That would be news to nobody. */
			if (stage == LIFE_PROBING &&
			    life_faults[i].fault == life_has_no_queue)
				life_nobody(life);
			KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, true),
					      "%s", what);
			life_rebinds(life, what);
			life_ends(life, what);
		}
	}
}

static void life_test_removal(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	/* For ever: who leaves does not wait. */
	vgrant_wait_s = 0;
	for (stage = LIFE_REMOVING; stage <= LIFE_WAS_RESET; stage++) {
		for (i = 0; i < ARRAY_SIZE(life_faults); i++) {
			snprintf(what, sizeof(what), "%s at %u",
				 life_faults[i].name, stage);
			/* The driver's, then the device's. */
			life_begins(life, stage, life_faults[i].fault);
			KUNIT_EXPECT_GE(test,
					device_reprobe(&life->vdev->dev), 0);
			KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s", what);
			life_rebinds(life, what);
			life->fault = life_faults[i].fault;
			life_ends(life, what);
		}
	}
	/* Nothing wrong with it, but that it does nothing. */
	life_begins(life, LIFE_STAGES, NULL);
	life_ends(life, "does nothing");
}

#ifdef CONFIG_PM_SLEEP
/*
 * Its driver is not told that waking up failed; all that it puts into the queue
 * fails.
 */
static void life_test_sleep(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	vgrant_wait_s = 0;
	for (stage = LIFE_FREEZING; stage < LIFE_STAGES; stage++) {
		for (i = 0; i < ARRAY_SIZE(life_faults); i++) {
			snprintf(what, sizeof(what), "%s at %u",
				 life_faults[i].name, stage);
			life_begins(life, stage, life_faults[i].fault);
			KUNIT_EXPECT_EQ_MSG(test, vgm_freeze(&life->pdev->dev),
					    0, "%s", what);
			life_ended_well(life, what);
			life_is(life, LIFE_SLEEPS);
			KUNIT_EXPECT_EQ_MSG(test, vgm_restore(&life->pdev->dev),
					    0, "%s", what);
			KUNIT_EXPECT_TRUE_MSG(test, life_is_bound(life), "%s",
					      what);
			KUNIT_EXPECT_NOT_NULL_MSG(test, life->vq, "%s", what);
			/* No fewer than it had, whatever is there now. */
			KUNIT_EXPECT_GE_MSG(test, life->nr_queues, 1, "%s",
					    what);
			if (life_has_failed(life))
				life_drain(life);
			KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s", what);
			life_rebinds(life, what);
			life_ends(life, what);
		}
	}
}
#endif

/*
 * Whatever Status says, while a driver is ready: each bit another, none and all.
 * vgm_test_status_fault() goes through all that are judged in the same way.
 */
static void life_test_every_bit_of_status(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;
	char what[40];

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 0; i < 10; i++) {
		u8 status = i < 8 ? 0xf ^ BIT(i) : i == 8 ? 0 : 0xff;
		bool is_bad = vgrant_status_fault(0xf, status);

		snprintf(what, sizeof(what), "status %#x", status);
		life_reg(life, VIRTIO_MMIO_STATUS, status);
		if (is_bad) {
			KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, true),
					      "%s", what);
			life_rebinds(life, what);
		} else {
			/* Three looks. */
			msleep(10 * 3 * LIFE_MS_PER_S);
			KUNIT_EXPECT_FALSE_MSG(test, life_has_failed(life),
					       "%s", what);
		}
	}
	life_ends(life, "every status");
}

/* Nobody answers for a while: less than, and more than one wants to wait. */
static void life_test_silence(struct kunit *test)
{
	struct life *life = test->priv;
	u8 running[WINDOW_BYTES];
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 0; i < 3; i++) {
		vgrant_wait_s = i == 1 ? 4 : 0;
		KUNIT_ASSERT_FALSE(test, life_has_failed(life));
		memcpy_fromio(running, life->base, WINDOW_BYTES);
		life_nobody(life);
		if (vgrant_wait_s) {
			KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
			life_drain(life);
			KUNIT_EXPECT_EQ(test, life->done, 1U);
		} else {
			msleep(200 * LIFE_MS_PER_S);
			KUNIT_EXPECT_FALSE(test, life_has_failed(life));
			KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		}
		memcpy_toio(life->base, running, WINDOW_BYTES);
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life->done = 0;
	}
	KUNIT_EXPECT_EQ(test, life->probes, 1U);
	/* And if it has forgotten all, its driver is bound anew. */
	vgrant_wait_s = 4;
	life_nobody(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life_heals(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
	/* The reset that heals it comes before the probe. */
	for (i = 0; i < LIFE_HANG_S * 50 && !(READ_ONCE(life->probes) == 2 &&
					      atomic_read(&life->in_queue) == 1); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
	KUNIT_EXPECT_EQ(test, life->probes, 2U);
	life_ends(life, "silence");
}

/* A driver that finds no memory when it wakes up, or is bound anew, is asked again. */
static void life_test_shortage(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
#ifdef CONFIG_PM_SLEEP
	KUNIT_EXPECT_EQ(test, vgm_freeze(&life->pdev->dev), 0);
	life->shortages = 3;
	KUNIT_EXPECT_EQ(test, vgm_restore(&life->pdev->dev), 0);
	KUNIT_EXPECT_EQ(test, life->shortages, 0U);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
	/* One that does not wake up at all, does so to be unbound. */
	KUNIT_EXPECT_EQ(test, vgm_freeze(&life->pdev->dev), 0);
	life->shortages = 1000;
	KUNIT_EXPECT_EQ(test, vgm_restore(&life->pdev->dev), -ENOMEM);
	KUNIT_EXPECT_TRUE(test, life_has_failed(life));
	/* Nor is it put to sleep again. */
	KUNIT_EXPECT_EQ(test, vgm_freeze(&life->pdev->dev), 0);
	KUNIT_EXPECT_EQ(test, vgm_restore(&life->pdev->dev), -ENOMEM);
	life->shortages = 1;
	life_rebinds(life, "sleeping");
	KUNIT_EXPECT_EQ(test, life->shortages, 0U);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life->probes = 1;
#endif
	vgrant_wait_s = 4;
	life_nobody(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life->shortages = 2;
	life_heals(life);
	for (i = 0; i < LIFE_HANG_S * 50 && !(READ_ONCE(life->probes) == 4 &&
					      atomic_read(&life->in_queue) == 1); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
	/* And not again. */
	msleep(100 * LIFE_MS_PER_S);
	KUNIT_EXPECT_EQ(test, life->probes, 4U);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "shortage");
}

/* A backend that writes nonsense into the ring, and then does nothing more. */
static void life_test_broken_ring(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int kind;

	for (kind = 0; kind < 4; kind++) {
		const struct vring *ring;

		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_ASSERT_NOT_NULL(test, life->vq);
		ring = virtqueue_get_vring(life->vq);
		switch (kind) {
		case 0:
			ring->used->ring[0].id = cpu_to_le32(7);
			ring->used->idx = cpu_to_le16(1);
			break;
		case 1:
			ring->used->ring[0].id = cpu_to_le32(1000);
			ring->used->idx = cpu_to_le16(1);
			break;
		case 2:
			ring->used->idx = cpu_to_le16(999);
			break;
		case 3:
			ring->avail->ring[0] = cpu_to_le16(3);
			ring->avail->idx = cpu_to_le16(1234);
			break;
		}
		life_ends(life, "broken ring");
	}
}

static struct kunit_case life_test_cases[] = {
	KUNIT_CASE_SLOW(life_test_awake),
	KUNIT_CASE_SLOW(life_test_removal),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_sleep),
#endif
	KUNIT_CASE_SLOW(life_test_every_bit_of_status),
	KUNIT_CASE_SLOW(life_test_silence),
	KUNIT_CASE_SLOW(life_test_shortage),
	KUNIT_CASE(life_test_broken_ring),
	{ }
};

static struct kunit_suite life_test_suite = {
	.name = "virtio_grant_mmio_life",
	.init = life_init,
	.exit = life_exit,
	.test_cases = life_test_cases,
};

kunit_test_suite(life_test_suite);
