// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * life_kunit.c - the life and death of a device (queue/life_kunit.c) on the bus, whose
 * backend a suite plays (peer_kunit.c).
 *
 * Its nodes are in the part of xenstore that a guest may write itself, and front.c is
 * called as xenbus would.  So are the toolstack's and the backend's ends played here:
 * with states, keys and watches as they are.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ids.h>

#include "bus/front_kunit.h"

/* To make a device takes longer than with a window. */
static unsigned int stride = 1;
module_param(stride, uint, 0444);
MODULE_PARM_DESC(stride, "each so many'th fault in the life of a device (default: 1, all)");

/* Nodes */

void front_write(const char *node, const char *key, unsigned int value)
{
	xenbus_printf(XBT_NIL, node, key, "%u", value);
}

static void front_back_node(struct front *front, char *node, size_t size)
{
	snprintf(node, size, FRONT_BACK "-%u", front->back);
}

void front_set_back(struct front *front, enum xenbus_state state)
{
	char node[40];

	front_back_node(front, node, sizeof(node));
	front_write(node, "state", state);
}

/* Another backend's node, which waits for the driver: what the toolstack does. */
int front_new_back(struct front *front, const char *versions)
{
	char node[40];
	int ret;

	front->back++;
	front_back_node(front, node, sizeof(node));
	xenbus_printf(XBT_NIL, node, "msg-versions", "%s", versions);
	front_write(node, "state", XenbusStateInitWait);
	front_write(FRONT_NODE, "backend-id", front->self);
	ret = xenbus_printf(XBT_NIL, FRONT_NODE, "backend", "%s", node);
	/* The nodes are not where the driver's watch is, which xenwatch would follow. */
	if (!ret && front_vgb(front))
		vgb_follow(front_vgb(front));
	return ret;
}

/* Is it so within the time? */
bool front_waits(struct front *front, bool (*is)(struct front *front))
{
	unsigned long end = jiffies + msecs_to_jiffies(FRONT_WAIT_MS);

	while (!is(front) && time_before(jiffies, end))
		usleep_range(500, 1000);
	return is(front);
}

/* As a backend reads it: xenbus need not know of the first. */
enum xenbus_state front_state(void)
{
	unsigned int state;

	return xenbus_scanf(XBT_NIL, FRONT_NODE, "state", "%u", &state) == 1 ?
		state : XenbusStateUnknown;
}

/* Is the front's state that, within the time? */
bool front_becomes(struct front *front, enum xenbus_state state)
{
	unsigned long end = jiffies + msecs_to_jiffies(FRONT_WAIT_MS);

	while (front_state() != state && time_before(jiffies, end))
		usleep_range(500, 1000);
	return front_state() == state;
}

struct vgb_device *front_vgb(struct front *front)
{
	return dev_get_drvdata(&front->xdev->dev);
}

static void front_release(struct device *dev)
{
	kfree(to_xenbus_device(dev));
}

static int front_make_xdev(struct front *front)
{
	struct xenbus_device *xdev = kzalloc(sizeof(*xdev), GFP_KERNEL);
	int ret;

	if (!xdev)
		return -ENOMEM;
	xdev->devicetype = front->kind;
	xdev->nodename = FRONT_NODE;
	xdev->state = XenbusStateInitialising;
	init_completion(&xdev->down);
	device_initialize(&xdev->dev);
	xdev->dev.release = front_release;
	ret = dev_set_name(&xdev->dev, "vgb-kunit") ?: device_add(&xdev->dev);
	if (ret) {
		put_device(&xdev->dev);
		return ret;
	}
	front->xdev = xdev;
	return 0;
}

int front_init(struct front *front)
{
	front->self = peer_own_domid();
	front->kind = "virtio_grant";
	peer_init(&front->peer);
	/* More than a machine with other work stands still. */
	vgb_answer_ms = 1000;
	vgb_silent_ms = 50;
	return front->self == DOMID_INVALID ? -ENODEV : 0;
}

void front_exit(struct front *front)
{
	/* After a test that gave up. */
	if (front->xdev)
		front_remove(front);
	xenbus_rm(XBT_NIL, "data/vgb-kunit", "");
	vgb_answer_ms = 5000;
	vgb_silent_ms = 100;
}

/* A node that waits for its driver, with a backend of these versions; and the driver. */
int front_make(struct front *front, const char *versions)
{
	int ret = front_make_xdev(front);

	if (ret)
		return ret;
	front_write(FRONT_NODE, "state", XenbusStateInitialising);
	front_write(FRONT_NODE, "device-id", VIRTIO_ID_BLOCK);
	ret = front_new_back(front, versions) ?: vgb_probe(front->xdev, NULL);
	if (ret)
		device_unregister(&front->xdev->dev);
	return ret;
}

/* ... with one that it speaks with. */
int front_probe(struct front *front)
{
	return front_make(front, "1-1");
}

void front_remove(struct front *front)
{
	vgb_remove(front->xdev);
	peer_detach(&front->peer);
	device_unregister(&front->xdev->dev);
	front->xdev = NULL;
}

/* A byte that nobody else has a use for: 0 in a page that begins anew. */
static u8 *front_mark(struct front *front)
{
	return &front_vgb(front)->link.page->reserved3[0];
}

/* Are its keys there, and those for this backend?  The state may be an old one. */
bool front_is_published(struct front *front)
{
	return !READ_ONCE(*front_mark(front)) &&
	       READ_ONCE(front_vgb(front)->is_published);
}

/* The driver has written its keys: the backend takes what they say. */
int front_serve(struct front *front)
{
	int ret;

	if (!front_waits(front, front_is_published) ||
	    !front_becomes(front, XenbusStateInitialised))
		return -ETIMEDOUT;
	WRITE_ONCE(*front_mark(front), 1);
	ret = peer_attach(&front->peer, &front_vgb(front)->link);
	if (!ret)
		front_set_back(front, XenbusStateConnected);
	return ret;
}

/* ... until the device is in use. */
int front_attach(struct front *front)
{
	int ret = front_serve(front);

	if (ret)
		return ret;
	return front_becomes(front, XenbusStateConnected) ? 0 : -ETIMEDOUT;
}

/* The life of a device */

static struct peer *peer_of(struct life *life)
{
	return &((struct front *)life->priv)->peer;
}

static void front_nobody(struct life *life)
{
	peer_set_silent(peer_of(life), true);
}

static void front_is_back(struct life *life)
{
	peer_set_silent(peer_of(life), false);
}

static void front_set_status(struct life *life, u8 status)
{
	WRITE_ONCE(peer_of(life)->status, status);
}

static void front_forgets(struct life *life)
{
	front_set_status(life, 0x7);
}

static void front_starts_anew(struct life *life)
{
	front_set_status(life, 0);
	peer_of(life)->queue[0].cur_size = 0;
}

static void front_needs_reset(struct life *life)
{
	front_set_status(life, peer_of(life)->status |
			       VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void front_is_another(struct life *life)
{
	peer_of(life)->info.vendor_id = cpu_to_le32(LIFE_VENDOR + 1);
}

static void front_is_no_device(struct life *life)
{
	peer_of(life)->info.device_id = 0;
}

static void front_has_less(struct life *life)
{
	peer_of(life)->info.config_size = cpu_to_le32(PEER_CONFIG - 1);
}

static void front_has_no_queue(struct life *life)
{
	peer_of(life)->queue[0].cur_size = 0;
}

static bool twist_nonsense(struct peer *peer, const union peer_msg *req,
			   union peer_msg *rsp)
{
	rsp->head.msg_size = cpu_to_le16(le16_to_cpu(rsp->head.msg_size) + 1);
	return true;
}

static void front_answers_nonsense(struct life *life)
{
	WRITE_ONCE(peer_of(life)->twist, twist_nonsense);
}

/* What the healed device has beside that. */
static u64 more_features;
static u32 more_caps;

static void front_heal(struct life *life)
{
	peer_heal(peer_of(life));
	peer_of(life)->features |= more_features;
	peer_of(life)->caps |= more_caps;
}

static int front_create(struct life *life)
{
	return front_probe(life->priv) ?: front_attach(life->priv);
}

static void front_destroy(struct life *life)
{
	front_remove(life->priv);
}

#ifdef CONFIG_PM_SLEEP
static int front_freeze(struct life *life)
{
	return vgrant_dev_freeze(&front_vgb(life->priv)->vgd);
}

static int front_restore(struct life *life)
{
	return vgrant_dev_restore(&front_vgb(life->priv)->vgd);
}
#endif

static const struct life_fault front_faults[] = {
	{ "nobody", front_nobody },
	{ "forgets", front_forgets },
	{ "starts anew", front_starts_anew },
	{ "needs reset", front_needs_reset },
	{ "is another", front_is_another },
	{ "is no device", front_is_no_device },
	{ "has less", front_has_less },
	{ "answers nonsense", front_answers_nonsense },
	{ "has no queue", front_has_no_queue, true },
};

struct life_carrier front_carrier = {
	.faults = front_faults,
	.nr_faults = ARRAY_SIZE(front_faults),
	.heal = front_heal,
	.nobody = front_nobody,
	.is_back = front_is_back,
	.set_status = front_set_status,
	.create = front_create,
	.destroy = front_destroy,
#ifdef CONFIG_PM_SLEEP
	.freeze = front_freeze,
	.restore = front_restore,
#endif
};

static int bus_life_init(struct kunit *test)
{
	struct front *front = kunit_kzalloc(test, sizeof(*front), GFP_KERNEL);
	int ret;

	if (!front)
		return -ENOMEM;
	front_carrier.stride = stride;
	ret = front_init(front);
	if (!ret)
		ret = life_init(test, &front_carrier, front);
	return ret;
}

static void bus_life_exit(struct kunit *test)
{
	struct life *life = test->priv;

	if (!life)
		return;
	front_exit(life->priv);
	life_exit(test);
	more_features = 0;
	more_caps = 0;
}

/* What only the bus can do */

static bool twist_no_config(struct peer *peer, const union peer_msg *req,
			    union peer_msg *rsp)
{
	return req->head.type || req->head.msg_id != VIRTIO_GRANT_MSG_GET_CONFIG;
}

struct reader {
	struct virtio_device *vdev;
	bool wants_generation;
	bool sees_failure;	/* at its end; thereafter the device may come back */
	struct completion done;
};

static int reader_reads(void *arg)
{
	struct reader *reader = arg;
	const struct virtio_config_ops *config = reader->vdev->config;
	u8 byte;

	if (reader->wants_generation)
		config->generation(reader->vdev);
	else
		config->get(reader->vdev, 0, &byte, sizeof(byte));
	reader->sees_failure = READ_ONCE(vgrant_dev_of(reader->vdev)->has_failed);
	complete(&reader->done);
	return 0;
}

/* Its buffer comes back; nothing else is in the queue. */
static void front_uses(struct life *life)
{
	const struct vring *ring = virtqueue_get_vring(life->vq);

	ring->used->ring[0].id = 0;
	/* Partner: the ring's read barrier after used->idx. */
	virt_wmb();
	ring->used->idx = cpu_to_le16(1);
	peer_used_event(peer_of(life));
	life_drain(life);
	life->is_wrong = false;
}

/*
 * All is answered but for the configuration: who reads that is done when it has taken
 * too long, or when the driver leaves, whoever it is that reads.
 */
static void life_test_config_unheard(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		bool is_for_ever = !i;
		struct reader reader = { .wants_generation = i == 1 };
		struct task_struct *task;

		/* The third silence counts as 3 seconds, and so on. */
		vgrant_wait_s = is_for_ever ? 0 : 6;
		life_begins(life, LIFE_STAGES, NULL);
		front_uses(life);
		init_completion(&reader.done);
		reader.vdev = life->vdev;
		WRITE_ONCE(peer_of(life)->twist, twist_no_config);
		KUNIT_ASSERT_EQ(test, peer_run(test, reader_reads, &reader,
					       &task), 0);
		if (is_for_ever) {
			KUNIT_EXPECT_EQ(test, wait_for_completion_timeout(&reader.done,
									  5 * HZ), 0UL);
			vgrant_dev_leave(&front_vgb(life->priv)->vgd);
		}
		KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&reader.done,
								  LIFE_HANG_S * HZ), 0UL);
		KUNIT_EXPECT_TRUE(test, reader.sees_failure);
		/* However it went, this ends it. */
		WRITE_ONCE(peer_of(life)->twist, NULL);
		peer_join(task);
		if (!is_for_ever)
			KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life_ends(life, "config unheard");
	}
}

#ifdef CONFIG_PM_SLEEP
static bool twist_no_info(struct peer *peer, const union peer_msg *req,
			  union peer_msg *rsp)
{
	return req->head.type ||
	       req->head.msg_id != VIRTIO_GRANT_MSG_GET_DEVICE_INFO;
}

/* Who it is, comes too late when it wakes up: that is no other device. */
static void life_test_identity_unheard(struct kunit *test)
{
	struct life *life = test->priv;

	life_begins(life, LIFE_STAGES, NULL);
	/* Or it fails, since this is not. */
	front_uses(life);
	KUNIT_ASSERT_EQ(test, life->carrier->freeze(life), 0);
	WRITE_ONCE(peer_of(life)->twist, twist_no_info);
	KUNIT_EXPECT_EQ(test, life->carrier->restore(life), 0);
	KUNIT_EXPECT_TRUE(test, life_has_failed(life));
	WRITE_ONCE(peer_of(life)->twist, NULL);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
	life_ends(life, "identity unheard");
}
#endif

/* The first reset is lost: what is asked next, has taken its place. */
static bool twist_loses_reset(struct peer *peer, const union peer_msg *req,
			      union peer_msg *rsp)
{
	const __le32 *status = (void *)(&req->head + 1);

	if (req->head.type || *status || peer->arg ||
	    req->head.msg_id != VIRTIO_GRANT_MSG_SET_DEVICE_STATUS)
		return true;
	peer->arg = 1;
	peer->status = 0xf;
	return false;
}

static void front_lost_a_reset(struct life *life)
{
	KUNIT_EXPECT_EQ(life->test, peer_of(life)->arg, 1);
	KUNIT_EXPECT_EQ(life->test, peer_of(life)->status, 0U);
	KUNIT_EXPECT_FALSE(life->test,
			   READ_ONCE(front_vgb(life->priv)->vgd.has_failed));
}

static void life_test_reset_unheard(struct kunit *test)
{
	struct life *life = test->priv;

	life_begins(life, LIFE_WAS_RESET, front_lost_a_reset);
	front_uses(life);
	/* Longer than a device is given for a reset. */
	vgb_answer_ms = VGRANT_RESET_MS + 500;
	WRITE_ONCE(peer_of(life)->twist, twist_loses_reset);
	life_ends(life, "reset unheard");
	KUNIT_EXPECT_NULL(test, life->fault);
}

/* A queue alone is reset, or starts again; and nobody answers to that. */
static void life_test_queue_reset_unheard(struct kunit *test)
{
	struct life *life = test->priv;
	const struct virtio_config_ops *config;
	unsigned int i;

	more_features = BIT_ULL(VIRTIO_F_RING_RESET);
	for (i = 0; i < 3; i++) {
		life_begins(life, LIFE_STAGES, NULL);
		front_uses(life);
		config = life->vdev->config;
		if (!i)
			front_nobody(life);
		KUNIT_EXPECT_EQ(test, config->disable_vq_and_reset(life->vq),
				i ? 0 : -EIO);
		if (i == 1)
			front_nobody(life);
		if (i)
			KUNIT_EXPECT_EQ(test, config->enable_vq_after_reset(life->vq),
					i == 1 ? -EIO : 0);
		if (i == 2) {
			KUNIT_EXPECT_FALSE(test, life_has_failed(life));
			KUNIT_EXPECT_EQ(test, life_add(life), 0);
		} else {
			KUNIT_EXPECT_TRUE(test, life_has_failed(life));
			front_is_back(life);
			KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		}
		life_ends(life, "queue reset unheard");
	}
}

static bool is_msg(const union peer_msg *req, u8 id)
{
	return !req->head.type && req->head.msg_id == id;
}

/* What starts the queue is lost, once. */
static bool twist_loses_queue(struct peer *peer, const union peer_msg *req,
			      union peer_msg *rsp)
{
	if (peer->arg || !is_msg(req, VIRTIO_GRANT_MSG_SET_VQUEUE))
		return true;
	peer->arg = 1;
	peer->queue[0].cur_size = 0;
	return false;
}

/* So is DRIVER_OK; and then what asks for it. */
static bool twist_loses_ready(struct peer *peer, const union peer_msg *req,
			      union peer_msg *rsp)
{
	const __le32 *status = (void *)(&req->head + 1);

	if (peer->arg || !is_msg(req, VIRTIO_GRANT_MSG_SET_DEVICE_STATUS) ||
	    !(le32_to_cpu(*status) & VIRTIO_CONFIG_S_DRIVER_OK))
		return true;
	peer->arg = 1;
	peer->status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	return false;
}

static bool twist_loses_ready_twice(struct peer *peer, const union peer_msg *req,
				    union peer_msg *rsp)
{
	if (peer->arg != 1 || !is_msg(req, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS))
		return twist_loses_ready(peer, req, rsp);
	peer->arg = 2;
	return false;
}

static void front_loses_queue(struct life *life)
{
	WRITE_ONCE(peer_of(life)->twist, twist_loses_queue);
}

static void front_loses_ready(struct life *life)
{
	WRITE_ONCE(peer_of(life)->twist, twist_loses_ready);
}

static void front_loses_ready_twice(struct life *life)
{
	WRITE_ONCE(peer_of(life)->twist, twist_loses_ready_twice);
}

/* The backend stands still for a moment: its device comes back, and is not at fault. */
static void life_test_setup_unheard(struct kunit *test)
{
	static void (*const fault[])(struct life *life) = {
		front_loses_queue, front_loses_ready, front_loses_ready_twice,
	};
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fault); i++) {
		vgrant_wait_s = 0;
		life_begins(life, LIFE_PROBING, fault[i]);
		KUNIT_EXPECT_GE(test, READ_ONCE(peer_of(life)->arg), 1);
		/* It may have come back by now. */
		KUNIT_EXPECT_TRUE(test, life_is_probed(life, 2));
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		KUNIT_EXPECT_NE(test, READ_ONCE(peer_of(life)->queue[0].cur_size), 0U);
		life_ends(life, "setup unheard");
	}
}

/* What is said of queues is answered, and only just. */
#define FRONT_SLOW_MS	60

static bool twist_slow(struct peer *peer, const union peer_msg *req,
		       union peer_msg *rsp)
{
	if (is_msg(req, VIRTIO_GRANT_MSG_GET_VQUEUE) ||
	    is_msg(req, VIRTIO_GRANT_MSG_SET_VQUEUE))
		mdelay(FRONT_SLOW_MS);
	return true;
}

static void front_slows(struct life *life)
{
	WRITE_ONCE(peer_of(life)->twist, twist_slow);
}

/* That is long for one queue, which the guest has time for, and has not when it stops. */
static void life_test_slow_queues(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int stops;

	for (stops = 0; stops < 2; stops++) {
		WRITE_ONCE(vgrant_kunit_stops, stops);
		life_begins(life, LIFE_PROBING, front_slows);
		KUNIT_EXPECT_EQ(test, life_has_failed(life), stops);
		KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 1U);
		WRITE_ONCE(peer_of(life)->twist, NULL);
		WRITE_ONCE(vgrant_kunit_stops, false);
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life_ends(life, "slow queues");
	}
}

#ifdef CONFIG_PM_SLEEP
/* Nor is it when the guest wakes up. */
static void life_test_slow_awake(struct kunit *test)
{
	struct life *life = test->priv;

	life_begins(life, LIFE_STAGES, NULL);
	front_uses(life);
	KUNIT_ASSERT_EQ(test, life->carrier->freeze(life), 0);
	WRITE_ONCE(peer_of(life)->twist, twist_slow);
	KUNIT_EXPECT_EQ(test, life->carrier->restore(life), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 1U);
	WRITE_ONCE(peer_of(life)->twist, NULL);
	life_ends(life, "slow awake");
}
#endif

/* To another backend, that can do so much. */
static int front_moves(struct life *life, u32 caps,
		       bool (*twist)(struct peer *peer, const union peer_msg *req,
				     union peer_msg *rsp))
{
	struct front *front = life->priv;
	int ret;

	peer_set_silent(&front->peer, true);
	ret = front_new_back(front, "1-1");
	if (ret)
		return ret;
	if (!front_waits(front, front_is_published))
		return -ETIMEDOUT;
	peer_heal(&front->peer);
	front->peer.caps = caps;
	WRITE_ONCE(front->peer.twist, twist);
	return front_attach(front);
}

static bool front_is_filled(struct life *life)
{
	return vgrant_pool_is_filled(front_vgb(life->priv)->vgd.pool);
}

/*
 * The last backend promised to write all of a buffer, and the next one does, or does
 * not: while something is in flight, while nothing is, and while it has no driver.
 */
static void life_test_promise(struct kunit *test)
{
	const u32 caps = VIRTIO_GRANT_CAP_RANGES;
	struct life *life = test->priv;
	unsigned int i;

	more_caps = VIRTIO_GRANT_CAP_FILLS;
	for (i = 0; i < 4; i++) {
		bool has_less = i, has_driver = i != 3;

		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_EXPECT_TRUE(test, front_is_filled(life));
		if (i >= 2)
			front_uses(life);
		if (!has_driver)
			device_release_driver(&life->vdev->dev);
		KUNIT_ASSERT_EQ(test, front_moves(life, has_less ? caps :
							caps | more_caps, NULL), 0);
		if (!has_driver)
			KUNIT_EXPECT_EQ(test, device_attach(&life->vdev->dev), 1);
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		KUNIT_EXPECT_EQ(test, front_is_filled(life), !has_less);
		/* One that was in flight, ended with the driver. */
		KUNIT_EXPECT_EQ(test, life->probes, i == 1 || i == 3 ? 2U : 1U);
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), i != 2);
		life_ends(life, "promise");
	}
}

/* While no driver is bound, the backend is started anew and promises less; or is silent. */
static bool twist_loses_caps(struct peer *peer, const union peer_msg *req,
			     union peer_msg *rsp)
{
	return req->head.type != VIRTIO_GRANT_MSG_TYPE_BUS ||
	       req->head.msg_id != VIRTIO_GRANT_BUS_GET_BUS_INFO;
}

static void life_test_caps_anew(struct kunit *test)
{
	struct life *life = test->priv;
	unsigned int is_unheard;

	more_caps = VIRTIO_GRANT_CAP_FILLS;
	for (is_unheard = 0; is_unheard < 2; is_unheard++) {
		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_EXPECT_TRUE(test, front_is_filled(life));
		device_release_driver(&life->vdev->dev);
		if (is_unheard)
			WRITE_ONCE(peer_of(life)->twist, twist_loses_caps);
		else
			WRITE_ONCE(peer_of(life)->caps, VIRTIO_GRANT_CAP_RANGES);
		KUNIT_EXPECT_EQ(test, device_attach(&life->vdev->dev), 1);
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		KUNIT_EXPECT_FALSE(test, front_is_filled(life));
		KUNIT_EXPECT_EQ(test, front_vgb(life->priv)->vgd.caps,
				VIRTIO_GRANT_CAP_RANGES);
		life_ends(life, "caps anew");
	}
}

/* An answer to this is lost, once. */
static bool twist_loses_features(struct peer *peer, const union peer_msg *req,
				 union peer_msg *rsp)
{
	if (peer->arg || !is_msg(req, VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES))
		return true;
	peer->arg = 1;
	return false;
}

/*
 * A driver that is loaded later is bound by somebody else, and then the backend stands
 * still: it is bound again.
 */
static void life_test_late_unheard(struct kunit *test)
{
	struct life *life = test->priv;

	life_begins(life, LIFE_STAGES, NULL);
	device_release_driver(&life->vdev->dev);
	WRITE_ONCE(peer_of(life)->arg, 0);
	WRITE_ONCE(peer_of(life)->twist, twist_loses_features);
	KUNIT_EXPECT_EQ(test, device_attach(&life->vdev->dev), 0);
	KUNIT_EXPECT_EQ(test, READ_ONCE(peer_of(life)->arg), 1);
	KUNIT_EXPECT_TRUE(test, life_is_probed(life, 2));
	life_ends(life, "late unheard");
}

/* The next backend stands still while it is set up: it goes on with that one. */
static void life_test_resume_unheard(struct kunit *test)
{
	static bool (*const twist[])(struct peer *peer, const union peer_msg *req,
				     union peer_msg *rsp) = {
		twist_loses_features, twist_loses_queue, twist_loses_ready,
	};
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(twist); i++) {
		vgrant_wait_s = 0;
		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_ASSERT_EQ(test, front_moves(life, VIRTIO_GRANT_CAP_RANGES,
						  twist[i]), 0);
		KUNIT_EXPECT_EQ(test, READ_ONCE(peer_of(life)->arg), 1);
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		KUNIT_EXPECT_EQ(test, READ_ONCE(life->probes), 1U);
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		life_ends(life, "resume unheard");
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
	KUNIT_CASE_SLOW(life_test_leaves_in_vain),
	KUNIT_CASE_SLOW(life_test_probe_hangs),
	KUNIT_CASE(life_test_bound_while_going),
	KUNIT_CASE_SLOW(life_test_leaves_often),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_sleeps_alone),
#endif
	KUNIT_CASE_SLOW(life_test_config_unheard),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_identity_unheard),
#endif
	KUNIT_CASE_SLOW(life_test_reset_unheard),
	KUNIT_CASE_SLOW(life_test_queue_reset_unheard),
	KUNIT_CASE_SLOW(life_test_promise),
	KUNIT_CASE_SLOW(life_test_setup_unheard),
	KUNIT_CASE_SLOW(life_test_slow_queues),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_slow_awake),
#endif
	KUNIT_CASE_SLOW(life_test_late_unheard),
	KUNIT_CASE(life_test_caps_anew),
	KUNIT_CASE_SLOW(life_test_resume_unheard),
	{ }
};

static struct kunit_suite life_test_suite = {
	.name = "virtio_grant_bus_life",
	.init = bus_life_init,
	.exit = bus_life_exit,
	.test_cases = life_test_cases,
};

kunit_test_suite(life_test_suite);
