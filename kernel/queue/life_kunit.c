// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * life_kunit.c - the life and death of a device, whatever carries it.
 *
 * It is driven by a virtio driver of one queue, and fails in each way at each
 * moment of its life.  What carries it (life_kunit.h) has the device, which remembers
 * what it was told, and never uses a buffer; and the ways it fails in.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/sched/task.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_config.h>

#include <xen/grant_table.h>
#include <xen/page.h>

#include "queue/life_kunit.h"

/* virtio drivers are not given anything of their tester's. */
static struct life *the_life;

void life_is(struct life *life, enum life_stage stage)
{
	if (life->fault && life->stage == stage) {
		life->fault(life);
		life->fault = NULL;
	}
}
EXPORT_SYMBOL_GPL(life_is);

/* The driver */

static void life_done(struct virtqueue *vq)
{
	struct life *life = the_life;
	unsigned int len;
	u8 *buf;

	while ((buf = virtqueue_get_buf(vq, &len))) {
		life->is_wrong |= !life->is_fed &&
				  memchr_inv(buf, 0xff, LIFE_BYTES);
		life->done++;
		/* First: its queue is never empty. */
		if (life->is_fed)
			life_add(life);
		atomic_dec(&life->in_queue);
	}
}

/* One more buffer, of at most LIFE_BUFS that are in the queue at a time. */
int life_add(struct life *life)
{
	u8 *buf = life->buf + life->added++ % LIFE_BUFS * LIFE_BYTES;
	struct scatterlist sg;
	int ret;

	memset(buf, 0, LIFE_BYTES);
	sg_init_one(&sg, buf, LIFE_BYTES);
	atomic_inc(&life->in_queue);
	ret = virtqueue_add_inbuf(life->vq, &sg, 1, buf, GFP_KERNEL);
	if (ret)
		atomic_dec(&life->in_queue);
	else
		virtqueue_kick(life->vq);
	return ret;
}
EXPORT_SYMBOL_GPL(life_add);

/* As a disk's removal does, but not for ever. */
void life_drain(struct life *life)
{
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while (atomic_read(&life->in_queue) && time_before(jiffies, end))
		msleep(20);
	if (atomic_read(&life->in_queue))
		life->hangs = true;
}
EXPORT_SYMBOL_GPL(life_drain);

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
	if (life->carrier->was_reset)
		life->carrier->was_reset(life);
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
	if (READ_ONCE(life->reads_itself)) {
		unsigned long began = jiffies;

		life_drain(life);
		life->read_for = jiffies - began;
	}
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

static void life_config_changed(struct virtio_device *vdev)
{
	the_life->config_changes++;
}

static struct virtio_driver life_driver = {
	.driver.name = "virtio-grant-life",
	.id_table = life_ids,
	.probe = life_probe,
	.remove = life_remove,
	.config_changed = life_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = life_freeze,
	.restore = life_restore,
#endif
};

/* Before anything else, but for what carries it. */
int life_init(struct kunit *test, const struct life_carrier *carrier, void *priv)
{
	struct life *life = kunit_kzalloc(test, sizeof(*life), GFP_KERNEL);
	int ret;

	if (!life)
		return -ENOMEM;
	life->buf = kunit_kzalloc(test, LIFE_BUFS * LIFE_BYTES, GFP_KERNEL);
	if (!life->buf)
		return -ENOMEM;
	life->test = test;
	life->carrier = carrier;
	life->priv = priv;
	the_life = life;
	vgrant_pool_kib = 256;
	vgrant_ms_per_s = LIFE_MS_PER_S;
	ret = register_virtio_driver(&life_driver);
	if (!ret)
		test->priv = life;
	return ret;
}
EXPORT_SYMBOL_GPL(life_init);

/* After life_init() has succeeded. */
void life_exit(struct kunit *test)
{
	unregister_virtio_driver(&life_driver);
	vgrant_pool_kib = 0;
	vgrant_ms_per_s = MSEC_PER_SEC;
	vgrant_wait_s = 90;
	WRITE_ONCE(vgrant_kunit_stops, false);
}
EXPORT_SYMBOL_GPL(life_exit);

void life_begins(struct life *life, enum life_stage stage,
		 void (*fault)(struct life *life))
{
	life->carrier->heal(life);
	life->stage = stage;
	life->fault = fault;
	life->done = 0;
	life->probes = 0;
	life->nr_queues = 0;
	life->hangs = false;
	life->is_wrong = false;
	life->added = 0;
	KUNIT_ASSERT_EQ(life->test, life->carrier->create(life), 0);
}
EXPORT_SYMBOL_GPL(life_begins);

bool life_is_bound(struct life *life)
{
	return life->vdev && READ_ONCE(life->vdev->dev.driver);
}
EXPORT_SYMBOL_GPL(life_is_bound);

/* It may be on its way back at this moment. */
bool life_has_failed(struct life *life)
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
EXPORT_SYMBOL_GPL(life_has_failed);

/* Is it as @has_failed says within the time? */
bool life_becomes(struct life *life, bool has_failed)
{
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while (life_has_failed(life) != has_failed && time_before(jiffies, end))
		msleep(20);
	return life_has_failed(life) == has_failed;
}
EXPORT_SYMBOL_GPL(life_becomes);

/* Was its driver probed so often within the time, the last time to the end? */
bool life_is_probed(struct life *life, unsigned int times)
{
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while ((READ_ONCE(life->probes) < times || life_has_failed(life)) &&
	       time_before(jiffies, end))
		msleep(20);
	return READ_ONCE(life->probes) == times && !life_has_failed(life);
}
EXPORT_SYMBOL_GPL(life_is_probed);

/* It takes buffers again after its driver is bound once more. */
void life_rebinds(struct life *life, const char *what)
{
	struct kunit *test = life->test;

	life->carrier->heal(life);
	KUNIT_EXPECT_GE_MSG(test, device_reprobe(&life->vdev->dev), 0, "%s",
			    what);
	KUNIT_EXPECT_TRUE_MSG(test, life_is_bound(life), "%s", what);
	KUNIT_EXPECT_FALSE_MSG(test, life_has_failed(life), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&life->in_queue), 1, "%s", what);
}
EXPORT_SYMBOL_GPL(life_rebinds);

/* All its buffers came back, as all ones, and nobody waited in vain. */
void life_ended_well(struct life *life, const char *what)
{
	struct kunit *test = life->test;

	KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s: hangs", what);
	KUNIT_EXPECT_FALSE_MSG(test, life->is_wrong, "%s: wrong data", what);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&life->in_queue), 0, "%s", what);
}
EXPORT_SYMBOL_GPL(life_ended_well);

void life_ends(struct life *life, const char *what)
{
	life_is(life, LIFE_REMOVING);
	life->carrier->destroy(life);
	life->vdev = NULL;
	life_ended_well(life, what);
	atomic_set(&life->in_queue, 0);
}
EXPORT_SYMBOL_GPL(life_ends);

/* Can the backend's domain, which is ours, read the page of this reference? */
bool life_is_granted(struct life *life, domid_t self, grant_ref_t ref)
{
	void *page = kunit_kzalloc(life->test, PAGE_SIZE, GFP_KERNEL);
	struct gnttab_copy copy = {
		.source.u.ref = ref,
		.source.domid = self,
		.dest.domid = DOMID_SELF,
		.len = 16,
		.flags = GNTCOPY_source_gref,
	};

	KUNIT_ASSERT_NOT_NULL(life->test, page);
	copy.dest.u.gmfn = virt_to_gfn(page);
	gnttab_batch_copy(&copy, 1);
	return copy.status == GNTST_okay;
}
EXPORT_SYMBOL_GPL(life_is_granted);

/* Of the first and the last of its pool. */
unsigned int life_pages_granted(struct life *life, domid_t self)
{
	struct vgrant_pool_stats stats;

	vgrant_pool_read_stats(vgrant_dev_of(life->vdev)->pool, &stats);
	return life_is_granted(life, self, stats.first_ref) +
	       life_is_granted(life, self, stats.first_ref +
					   stats.pages_total - 1);
}
EXPORT_SYMBOL_GPL(life_pages_granted);

/* Is it the turn of the next fault? */
static bool life_skips(struct life *life)
{
	return life->turn++ % max(life->carrier->stride, 1U);
}

/* While its driver is bound, and while it works. */
void life_test_awake(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	vgrant_wait_s = 5;
	for (stage = 0; stage <= LIFE_RUNS; stage++) {
		for (i = 0; i < life->carrier->nr_faults; i++) {
			if (life_skips(life))
				continue;
			snprintf(what, sizeof(what), "%s at %u",
				 life->carrier->faults[i].name, stage);
			life_begins(life, stage, life->carrier->faults[i].fault);
			/* That would be news to nobody. */
			if (stage == LIFE_PROBING &&
			    life->carrier->faults[i].wants_queue)
				life->carrier->nobody(life);
			KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, true),
					      "%s", what);
			life_rebinds(life, what);
			life_ends(life, what);
		}
	}
}
EXPORT_SYMBOL_GPL(life_test_awake);

void life_test_removal(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	/* For ever: who leaves does not wait. */
	vgrant_wait_s = 0;
	for (stage = LIFE_REMOVING; stage <= LIFE_WAS_RESET; stage++) {
		for (i = 0; i < life->carrier->nr_faults; i++) {
			if (life_skips(life))
				continue;
			snprintf(what, sizeof(what), "%s at %u",
				 life->carrier->faults[i].name, stage);
			/* The driver's, then the device's. */
			life_begins(life, stage, life->carrier->faults[i].fault);
			KUNIT_EXPECT_GE(test,
					device_reprobe(&life->vdev->dev), 0);
			KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s", what);
			life_rebinds(life, what);
			life->fault = life->carrier->faults[i].fault;
			life_ends(life, what);
		}
	}
	/* Nothing wrong with it, but that it does nothing. */
	life_begins(life, LIFE_STAGES, NULL);
	life_ends(life, "does nothing");
}
EXPORT_SYMBOL_GPL(life_test_removal);

#ifdef CONFIG_PM_SLEEP
/*
 * Its driver is not told that waking up failed; all that it puts into the queue
 * fails.
 */
void life_test_sleep(struct kunit *test)
{
	struct life *life = test->priv;
	enum life_stage stage;
	unsigned int i;
	char what[40];

	vgrant_wait_s = 0;
	for (stage = LIFE_FREEZING; stage < LIFE_STAGES; stage++) {
		for (i = 0; i < life->carrier->nr_faults; i++) {
			if (life_skips(life))
				continue;
			snprintf(what, sizeof(what), "%s at %u",
				 life->carrier->faults[i].name, stage);
			life_begins(life, stage, life->carrier->faults[i].fault);
			KUNIT_EXPECT_EQ_MSG(test, life->carrier->freeze(life),
					    0, "%s", what);
			life_ended_well(life, what);
			life_is(life, LIFE_SLEEPS);
			KUNIT_EXPECT_EQ_MSG(test, life->carrier->restore(life),
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
EXPORT_SYMBOL_GPL(life_test_sleep);
#endif

/*
 * Whatever Status says, while a driver is ready: each bit another, none and all.
 * vgm_test_status_fault() goes through all that are judged in the same way.
 */
void life_test_every_bit_of_status(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;
	char what[40];

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 0; i < 10; i++) {
		u8 status = i < 8 ? 0xf ^ BIT(i) : i == 8 ? 0 : 0xff;
		bool is_bad = vgrant_status_fault(0xf, status);

		snprintf(what, sizeof(what), "status %#x", status);
		life->carrier->set_status(life, status);
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
EXPORT_SYMBOL_GPL(life_test_every_bit_of_status);

/* Nobody answers for a while: less than, and more than one wants to wait. */
void life_test_silence(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 0; i < 3; i++) {
		vgrant_wait_s = i == 1 ? 4 : 0;
		KUNIT_ASSERT_FALSE(test, life_has_failed(life));
		life->carrier->nobody(life);
		if (vgrant_wait_s) {
			KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
			life_drain(life);
			KUNIT_EXPECT_EQ(test, life->done, 1U);
		} else {
			msleep(200 * LIFE_MS_PER_S);
			KUNIT_EXPECT_FALSE(test, life_has_failed(life));
			KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		}
		life->carrier->is_back(life);
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life->done = 0;
	}
	KUNIT_EXPECT_EQ(test, life->probes, 1U);
	/* And if it has forgotten all, its driver is bound anew. */
	vgrant_wait_s = 4;
	life->carrier->nobody(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life->carrier->heal(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
	/* The reset that heals it comes before the probe. */
	for (i = 0; i < LIFE_HANG_S * 50 && !(READ_ONCE(life->probes) == 2 &&
					      atomic_read(&life->in_queue) == 1); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
	KUNIT_EXPECT_EQ(test, life->probes, 2U);
	life_ends(life, "silence");
}
EXPORT_SYMBOL_GPL(life_test_silence);

/* A driver that finds no memory when it wakes up, or is bound anew, is asked again. */
void life_test_shortage(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
#ifdef CONFIG_PM_SLEEP
	KUNIT_EXPECT_EQ(test, life->carrier->freeze(life), 0);
	life->shortages = 3;
	KUNIT_EXPECT_EQ(test, life->carrier->restore(life), 0);
	KUNIT_EXPECT_EQ(test, life->shortages, 0U);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
	/* One that does not wake up at all, does so to be unbound. */
	KUNIT_EXPECT_EQ(test, life->carrier->freeze(life), 0);
	life->shortages = 1000;
	KUNIT_EXPECT_EQ(test, life->carrier->restore(life), -ENOMEM);
	KUNIT_EXPECT_TRUE(test, life_has_failed(life));
	/* Nor is it put to sleep again. */
	KUNIT_EXPECT_EQ(test, life->carrier->freeze(life), 0);
	KUNIT_EXPECT_EQ(test, life->carrier->restore(life), -ENOMEM);
	life->shortages = 1;
	life_rebinds(life, "sleeping");
	KUNIT_EXPECT_EQ(test, life->shortages, 0U);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life->probes = 1;
#endif
	vgrant_wait_s = 4;
	life->carrier->nobody(life);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life->shortages = 2;
	life->carrier->heal(life);
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
EXPORT_SYMBOL_GPL(life_test_shortage);

/* A backend that writes nonsense into the ring, and then does nothing more. */
void life_test_broken_ring(struct kunit *test)
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
			/* Or it would be one that was used. */
			ring->used->ring[0].id = cpu_to_le32(7);
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
EXPORT_SYMBOL_GPL(life_test_broken_ring);

/* Shows one more buffer as used, again and again, and tells nobody. */
static int life_uses(void *arg)
{
	struct life *life = arg;
	struct vgrant_device *vgd = vgrant_dev_of(life->vdev);
	const struct vring *ring = virtqueue_get_vring(life->vq);
	u16 used = 0;

	while (!kthread_should_stop() && !READ_ONCE(vgd->has_failed)) {
		WRITE_ONCE(ring->used->idx, cpu_to_le16(++used));
		/* Some times between two looks. */
		msleep(3 * LIFE_MS_PER_S);
	}
	return 0;
}

static void life_uses_no_more(struct life *life)
{
	kthread_stop(life->user);
	put_task_struct(life->user);
}

/*
 * Its driver leaves, and what the backend shows as used is none of its buffers; or is
 * one, and so for ever.
 */
void life_test_leaves_in_vain(struct kunit *test)
{
	struct life *life = test->priv;
	const struct vring *ring;
	unsigned int i, kind;

	vgrant_wait_s = 0;
	for (kind = 0; kind < 2; kind++) {
		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_ASSERT_NOT_NULL(test, life->vq);
		ring = virtqueue_get_vring(life->vq);
		life->is_fed = kind;
		/* Of the only buffer there is, that is number 0. */
		for (i = 0; i < ring->num; i++)
			ring->used->ring[i].id = cpu_to_le32(kind ? 0 : 5);
		life->user = kthread_create(life_uses, life, "vgrant-life");
		KUNIT_ASSERT_FALSE(test, IS_ERR(life->user));
		get_task_struct(life->user);
		wake_up_process(life->user);
		life->stage = LIFE_WAS_RESET;
		life->fault = life_uses_no_more;
		life_ends(life, kind ? "one at a time" : "none of its buffers");
		KUNIT_EXPECT_EQ(test, life->done > 1, kind);
		life->is_fed = false;
	}
}
EXPORT_SYMBOL_GPL(life_test_leaves_in_vain);

/* The pause before its driver is bound anew becomes that, of the suite's seconds. */
static bool life_pauses(struct life *life, unsigned int pause_s)
{
	struct vgrant_device *vgd = vgrant_dev_of(life->vdev);
	unsigned long end = jiffies + LIFE_HANG_S * HZ;

	while (READ_ONCE(vgd->bind_pause_s) != pause_s && time_before(jiffies, end))
		msleep(20);
	return READ_ONCE(vgd->bind_pause_s) == pause_s;
}

/*
 * The backend is there, and never ends what its driver's probe waits for: while the guest
 * runs, and while it goes down.
 */
void life_test_probe_hangs(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int stops;

	vgrant_wait_s = 0;
	vgrant_ms_per_s = LIFE_MS_PER_S_LONG;
	for (stops = 0; stops < 2; stops++) {
		WRITE_ONCE(life->reads_itself, true);
		WRITE_ONCE(vgrant_kunit_stops, stops);
		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_EXPECT_EQ(test, stops, life->read_for < vgrant_seconds(150));
		KUNIT_EXPECT_FALSE(test, life->hangs);
		KUNIT_EXPECT_TRUE(test, life_has_failed(life));
		if (stops) {
			/* Nor is there another one meanwhile. */
			msleep(60 * LIFE_MS_PER_S_LONG);
			KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 1U);
			/* Nor is half a device one after it slept. */
			KUNIT_EXPECT_EQ(test, life->carrier->freeze(life), 0);
			life->carrier->restore(life);
			KUNIT_EXPECT_TRUE(test, life_has_failed(life));
			WRITE_ONCE(vgrant_kunit_stops, false);
		} else {
			KUNIT_EXPECT_TRUE(test, life_pauses(life, 60));
			KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 2U);
		}
		/* Half a probe is repeated, and not gone on from. */
		WRITE_ONCE(life->reads_itself, false);
		KUNIT_EXPECT_TRUE(test, life_is_probed(life, stops ? 2 : 3));
		KUNIT_EXPECT_TRUE(test, life_pauses(life, 0));
		life_ends(life, "probe hangs");
	}
}
EXPORT_SYMBOL_GPL(life_test_probe_hangs);

/* A driver is bound to a device that is being removed: its leaving is bounded still. */
void life_test_bound_while_going(struct kunit *test)
{
	struct life *life = test->priv;
	struct vgrant_device *vgd;

	vgrant_wait_s = 0;
	life_begins(life, LIFE_STAGES, NULL);
	vgd = vgrant_dev_of(life->vdev);
	WRITE_ONCE(vgd->is_going, true);
	vgrant_dev_leave(vgd);
	KUNIT_EXPECT_GE(test, device_reprobe(&life->vdev->dev), 0);
	KUNIT_EXPECT_TRUE(test, life_is_bound(life));
	KUNIT_EXPECT_TRUE(test, READ_ONCE(vgd->is_leaving));
	life_ends(life, "bound while going");
}
EXPORT_SYMBOL_GPL(life_test_bound_while_going);

/* Who says again and again that its driver leaves, does not shorten its time. */
void life_test_leaves_often(struct kunit *test)
{
	struct life *life = test->priv;
	struct vgrant_device *vgd;
	unsigned int i;

	vgrant_wait_s = 0;
	vgrant_ms_per_s = LIFE_MS_PER_S_LONG;
	life_begins(life, LIFE_STAGES, NULL);
	vgd = vgrant_dev_of(life->vdev);
	for (i = 0; i < 5; i++) {
		vgrant_dev_leave(vgd);
		flush_delayed_work(&vgd->watch_work);
	}
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life_ends(life, "leaves often");
}
EXPORT_SYMBOL_GPL(life_test_leaves_often);

#ifdef CONFIG_PM_SLEEP
/*
 * A device whose driver was taken away sleeps, and wakes up while nobody answers: none is
 * bound when somebody does, until the guest's owner does so.
 */
void life_test_sleeps_alone(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		vgrant_wait_s = 5;
		life_begins(life, LIFE_STAGES, NULL);
		device_release_driver(&life->vdev->dev);
		life_ended_well(life, "alone");
		/* Its leaving failed it, and all that was its driver's is over. */
		virtio_reset_device(life->vdev);
		virtio_add_status(life->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		KUNIT_EXPECT_FALSE(test, vgrant_dev_of(life->vdev)->has_failed);
		/* Silent before it falls asleep, or when it wakes up. */
		if (!i)
			life->carrier->nobody(life);
		KUNIT_EXPECT_EQ(test, life->carrier->freeze(life), 0);
		if (i)
			life->carrier->nobody(life);
		KUNIT_EXPECT_EQ(test, life->carrier->restore(life), 0);
		KUNIT_EXPECT_TRUE(test, vgrant_dev_of(life->vdev)->has_failed);
		msleep(20 * LIFE_MS_PER_S);
		life->carrier->heal(life);
		msleep(100 * LIFE_MS_PER_S);
		KUNIT_EXPECT_FALSE(test, life_is_bound(life));
		KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 1U);
		KUNIT_EXPECT_EQ(test, device_attach(&life->vdev->dev), 1);
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		life_ends(life, "sleeps alone");
	}
}
EXPORT_SYMBOL_GPL(life_test_sleeps_alone);
#endif

MODULE_DESCRIPTION("KUnit tests of the life of a device: what transports share");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
VGRANT_KUNIT_IMPORTS;
