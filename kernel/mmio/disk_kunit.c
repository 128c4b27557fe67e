// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * disk_kunit.c - the transport driver below a driver of our
 * own, for the first disk that no other driver has.
 *
 * What takes a backend that answers and guests that do more with their queues
 * than virtio_blk does: it never resets one.  Skipped where there is no disk.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>

#include "uapi/virtio_grant.h"
#include "mmio/mmio_priv.h"

#define DISK_REQUESTS	8
#define DISK_BYTES	4096

struct disk_request {
	struct virtio_blk_outhdr out;
	u8 data[DISK_BYTES];
	u8 status;
	bool is_done;
};

static struct {
	struct virtio_device *vdev;
	struct virtqueue *vq;
	spinlock_t lock;		/* of the queue */
	struct disk_request *request;	/* DISK_REQUESTS of them */
	atomic_t nr_done;
	unsigned int nr_recycled;
	bool lingers;			/* the callback, and takes nothing */
	enum { DISK_PROBES, DISK_IS_NOT_READY, DISK_IS_READY } gives_up;
	bool was_held;			/* the pool, when it did */
	bool is_registered;		/* our driver */
	atomic_t nr_inside;
	atomic_t nr_inside_max;
	atomic_t nr_calls;
} disk;

static void disk_done(struct virtqueue *vq)
{
	struct disk_request *request;
	unsigned long flags;
	unsigned int len;
	int inside;

	inside = atomic_inc_return(&disk.nr_inside);
	if (inside > atomic_read(&disk.nr_inside_max))
		atomic_set(&disk.nr_inside_max, inside);
	atomic_inc(&disk.nr_calls);
	if (READ_ONCE(disk.lingers)) {
		mdelay(2);
	} else {
		spin_lock_irqsave(&disk.lock, flags);
		while ((request = virtqueue_get_buf(vq, &len))) {
			request->is_done = true;
			atomic_inc(&disk.nr_done);
		}
		spin_unlock_irqrestore(&disk.lock, flags);
	}
	atomic_dec(&disk.nr_inside);
}

/* A register of a device, which is its driver's to look at. */
static u32 disk_reg(struct virtio_device *vdev, unsigned int offset)
{
	struct platform_device *pdev = to_platform_device(vdev->dev.parent);
	struct resource *window;
	void __iomem *base;
	u32 value;

	window = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	base = ioremap(window->start, resource_size(window));
	if (!base)
		return U32_MAX;
	value = readl(base + offset);
	iounmap(base);
	return value;
}

static bool disk_is_held(struct virtio_device *vdev)
{
	return disk_reg(vdev, VIRTIO_GRANT_MMIO_RANGE_STATE) !=
	       VIRTIO_GRANT_RANGE_NONE;
}

static int disk_probe(struct virtio_device *vdev)
{
	struct virtqueue *vq;

	if (disk.vdev)
		return -EBUSY;
	vq = virtio_find_single_vq(vdev, disk_done, "requests");
	if (IS_ERR(vq))
		return PTR_ERR(vq);
	disk.vq = vq;
	disk.vdev = vdev;
	if (disk.gives_up != DISK_IS_NOT_READY)
		virtio_device_ready(vdev);
	if (!disk.gives_up)
		return 0;
	disk.was_held = disk_is_held(vdev);
	vdev->config->del_vqs(vdev);
	return -ENOMEM;
}

static void disk_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	disk.vdev = NULL;
}

static const struct virtio_device_id disk_ids[] = {
	{ VIRTIO_ID_BLOCK, VIRTIO_DEV_ANY_ID },
	{ }
};

static struct virtio_driver disk_driver = {
	.driver.name = "vgm-kunit-disk",
	.id_table = disk_ids,
	.probe = disk_probe,
	.remove = disk_remove,
};

/* Reads sectors of the disk, one request each. */
static int disk_submit(unsigned int nr)
{
	unsigned long flags;
	unsigned int i;
	int ret = 0;

	atomic_set(&disk.nr_done, 0);
	disk.nr_recycled = 0;
	spin_lock_irqsave(&disk.lock, flags);
	for (i = 0; !ret && i < nr; i++) {
		struct disk_request *request = &disk.request[i];
		struct scatterlist out, data, status, *sgs[] = {
			&out, &data, &status,
		};

		request->out.type = cpu_to_virtio32(disk.vdev, VIRTIO_BLK_T_IN);
		request->out.sector = cpu_to_virtio64(disk.vdev, 8 * i);
		request->status = 0xff;
		request->is_done = false;
		sg_init_one(&out, &request->out, sizeof(request->out));
		sg_init_one(&data, request->data, sizeof(request->data));
		sg_init_one(&status, &request->status, 1);
		ret = virtqueue_add_sgs(disk.vq, sgs, 1, 2, request,
					GFP_ATOMIC);
	}
	if (!ret)
		virtqueue_kick(disk.vq);
	spin_unlock_irqrestore(&disk.lock, flags);
	return ret;
}

static unsigned int disk_wait(unsigned int nr)
{
	unsigned int i, good = 0;

	for (i = 0; i < 500 && atomic_read(&disk.nr_done) < nr; i++)
		msleep(20);
	for (i = 0; i < nr; i++)
		good += disk.request[i].is_done && !disk.request[i].status;
	return good;
}

static int disk_register(void)
{
	int ret = register_virtio_driver(&disk_driver);

	disk.is_registered = !ret;
	return ret;
}

static void disk_unregister(void)
{
	unregister_virtio_driver(&disk_driver);
	disk.is_registered = false;
}

static int disk_test_init(struct kunit *test)
{
	int ret;

	memset(&disk, 0, sizeof(disk));
	spin_lock_init(&disk.lock);
	disk.request = kunit_kcalloc(test, DISK_REQUESTS, sizeof(*disk.request),
				     GFP_KERNEL);
	if (!disk.request)
		return -ENOMEM;
	ret = disk_register();
	if (ret)
		return ret;
	if (!disk.vdev) {
		disk_unregister();
		kunit_mark_skipped(test, "no disk without a driver here");
	}
	return 0;
}

static void disk_test_exit(struct kunit *test)
{
	if (disk.is_registered)
		disk_unregister();
}

static bool disk_is_missing(void)
{
	return !disk.vdev;
}

static void disk_test_features(struct kunit *test)
{
	if (disk_is_missing())
		return;
	KUNIT_EXPECT_TRUE(test, virtio_has_feature(disk.vdev,
						   VIRTIO_F_RING_RESET));
	KUNIT_EXPECT_FALSE(test, virtio_has_feature(disk.vdev,
						    VIRTIO_F_IN_ORDER));
	KUNIT_EXPECT_FALSE(test, virtio_has_feature(disk.vdev,
						    VIRTIO_F_RING_PACKED));
	KUNIT_EXPECT_PTR_EQ(test, disk.vdev->config->get_shm_region, NULL);
	KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(virtqueue_get_desc_addr(disk.vq)));
	KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(virtqueue_get_used_addr(disk.vq)));
	KUNIT_ASSERT_EQ(test, disk_submit(DISK_REQUESTS), 0);
	KUNIT_EXPECT_EQ(test, disk_wait(DISK_REQUESTS), DISK_REQUESTS);
}

static void disk_recycle(struct virtqueue *vq, void *request)
{
	disk.nr_recycled++;
}

/* A queue that is reset under way gives each buffer back once, and goes on. */
static void disk_test_reset(struct kunit *test)
{
	unsigned int i, size = disk_is_missing() ? 0 :
			       virtqueue_get_vring_size(disk.vq);

	for (i = 0; size && i < 20; i++) {
		KUNIT_ASSERT_EQ(test, disk_submit(DISK_REQUESTS), 0);
		if (i % 2)
			usleep_range(100, 200);
		KUNIT_ASSERT_EQ(test, i % 4 < 2 ?
				virtqueue_reset(disk.vq, disk_recycle, NULL) :
				virtqueue_resize(disk.vq, i % 4 == 2 ?
						 size / 2 : size,
						 disk_recycle, NULL), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&disk.nr_done) +
				disk.nr_recycled, DISK_REQUESTS);
		KUNIT_EXPECT_FALSE(test, disk.vq->reset);
		KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(virtqueue_get_used_addr(disk.vq)));
		KUNIT_ASSERT_EQ(test, disk_submit(DISK_REQUESTS), 0);
		KUNIT_ASSERT_EQ(test, disk_wait(DISK_REQUESTS), DISK_REQUESTS);
	}
}

static void disk_call_work(struct work_struct *work)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		vgrant_callback(0, disk.vq);
}

/* Wherever a queue's callback is called from, it is by one at a time. */
static void disk_test_callback(struct kunit *test)
{
	struct work_struct work[2];
	unsigned int i;
	int cpu;

	if (disk_is_missing())
		return;
	if (num_online_cpus() < 2) {
		kunit_mark_skipped(test, "one CPU only");
		return;
	}
	disk.lingers = true;
	KUNIT_ASSERT_EQ(test, disk_submit(1), 0);
	for (i = 0; i < 500 && !atomic_read(&disk.nr_calls); i++)
		msleep(20);
	cpu = cpumask_first(cpu_online_mask);
	for (i = 0; i < 2; i++) {
		INIT_WORK_ONSTACK(&work[i], disk_call_work);
		schedule_work_on(cpu, &work[i]);
		cpu = cpumask_next(cpu, cpu_online_mask);
	}
	for (i = 0; i < 2; i++) {
		flush_work(&work[i]);
		destroy_work_on_stack(&work[i]);
	}
	disk.lingers = false;
	vgrant_callback(0, disk.vq);
	KUNIT_EXPECT_EQ(test, disk_wait(1), 1U);
	KUNIT_EXPECT_GE(test, atomic_read(&disk.nr_calls), 40);
	KUNIT_EXPECT_EQ(test, atomic_read(&disk.nr_inside_max), 1);
}

/*
 * A driver that gives up in its probe does not reset the device: the backend holds
 * nothing of ours then, and the next one finds it as the first did.
 */
static void disk_test_gives_up(struct kunit *test)
{
	struct virtio_device *vdev = disk.vdev;
	unsigned int i;

	if (disk_is_missing())
		return;
	if (!disk_is_held(vdev)) {
		kunit_mark_skipped(test, "the pool is not announced");
		return;
	}
	for (i = 0; i < 2; i++) {
		disk_unregister();
		disk.gives_up = i ? DISK_IS_READY : DISK_IS_NOT_READY;
		KUNIT_EXPECT_EQ(test, disk_register(), 0);
		KUNIT_EXPECT_PTR_EQ(test, disk.vdev, vdev);
		KUNIT_EXPECT_NULL(test, vdev->dev.driver);
		KUNIT_EXPECT_TRUE(test, disk.was_held);
		KUNIT_EXPECT_FALSE(test, disk_is_held(vdev));
		KUNIT_EXPECT_EQ(test, disk_reg(vdev, VIRTIO_MMIO_QUEUE_READY),
				0U);
		disk_unregister();
		disk.gives_up = DISK_PROBES;
		disk.vdev = NULL;
		KUNIT_ASSERT_EQ(test, disk_register(), 0);
		KUNIT_ASSERT_PTR_EQ(test, disk.vdev, vdev);
		KUNIT_EXPECT_TRUE(test, disk_is_held(vdev));
		KUNIT_ASSERT_EQ(test, disk_submit(DISK_REQUESTS), 0);
		KUNIT_EXPECT_EQ(test, disk_wait(DISK_REQUESTS), DISK_REQUESTS);
	}
}

static struct kunit_case disk_test_cases[] = {
	KUNIT_CASE(disk_test_features),
	KUNIT_CASE(disk_test_reset),
	KUNIT_CASE(disk_test_callback),
	KUNIT_CASE(disk_test_gives_up),
	{ }
};

static struct kunit_suite disk_test_suite = {
	.name = "virtio_grant_mmio_disk",
	.init = disk_test_init,
	.exit = disk_test_exit,
	.test_cases = disk_test_cases,
};
kunit_test_suite(disk_test_suite);

VGRANT_KUNIT_IMPORTS;
MODULE_DESCRIPTION("KUnit suite of virtio_grant_mmio, with a disk");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
