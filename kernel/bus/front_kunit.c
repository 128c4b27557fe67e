// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * front_kunit.c - a device on the bus whose backends come, go, hang and lie; and how it
 * goes on with another one (queue/resume.c).
 *
 * life_kunit.c has the nodes, the backend and the driver that is bound.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/virtio_blk.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "bus/front_kunit.h"

/* Messages that a going on takes, and more. */
#define RESUME_MESSAGES	24

static struct front *front_of(struct kunit *test)
{
	return ((struct life *)test->priv)->priv;
}

static int front_test_init(struct kunit *test)
{
	struct front *front = kunit_kzalloc(test, sizeof(*front), GFP_KERNEL);
	int ret;

	if (!front)
		return -ENOMEM;
	ret = front_init(front);
	if (!ret)
		ret = life_init(test, &front_carrier, front);
	vgrant_wait_s = 0;
	return ret;
}

static void front_test_exit(struct kunit *test)
{
	struct life *life = test->priv;

	if (!life)
		return;
	front_exit(life->priv);
	life_exit(test);
}

static bool has_failed(struct front *front)
{
	return READ_ONCE(front_vgb(front)->has_failed);
}

#ifdef CONFIG_PM_SLEEP
static const struct dev_pm_ops *front_pm(struct front *front)
{
	return front_vgb(front)->dev.type->pm;
}
#endif

static bool is_silent_or_over(struct front *front)
{
	return READ_ONCE(front->peer.is_silent) ||
	       front_state() == XenbusStateConnected;
}

static bool is_resuming(struct front *front)
{
	return READ_ONCE(front_vgb(front)->link.reach) == VGB_RESUMING;
}

/* The last one is gone when the next one is, of whom nobody has asked anything. */
static int is_served_anew(struct front *front)
{
	if (!front_waits(front, front_is_published))
		return -ETIMEDOUT;
	peer_heal(&front->peer);
	return front_attach(front);
}

/* Another backend's, who takes over; as the toolstack says. */
static int goes_to_another(struct front *front)
{
	int ret;

	peer_set_silent(&front->peer, true);
	ret = front_new_back(front, "1-1");
	return ret ?: is_served_anew(front);
}

/* The same again, who has forgotten all. */
static int begins_anew(struct front *front)
{
	peer_set_silent(&front->peer, true);
	front_set_back(front, XenbusStateInitWait);
	return is_served_anew(front);
}

/* Coming and going */

/*
 * Detached, and attached again to the same node: the device is unmade and made again,
 * with all that a first one has.
 */
static void front_test_made_again(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 1; i <= 5; i++) {
		KUNIT_EXPECT_EQ(test, life->probes, i);
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		front_set_back(front, XenbusStateClosing);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateClosed));
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 0);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		KUNIT_EXPECT_EQ(test, front_vgb(front)->link.reach, VGB_DOWN);
		/* The backend closes as well, and is there anew. */
		front_set_back(front, XenbusStateClosed);
		KUNIT_ASSERT_EQ(test, begins_anew(front), 0);
		KUNIT_EXPECT_TRUE(test, life_is_bound(life));
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	}
	life_ends(life, "made again");
}

static int lets_go(void *arg)
{
	struct front *front = arg;

	if (!front_becomes(front, XenbusStateClosing))
		return -ETIMEDOUT;
	front_set_back(front, XenbusStateClosing);
	return 0;
}

/* The guest shuts down: what xenbus_frontend_dev_shutdown() does, and waits for. */
static void front_test_shutdown(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct task_struct *task;

	life_begins(life, LIFE_STAGES, NULL);
	KUNIT_ASSERT_EQ(test, peer_run(test, lets_go, front, &task), 0);
	xenbus_switch_state(front->xdev, XenbusStateClosing);
	KUNIT_EXPECT_NE(test,
			wait_for_completion_timeout(&front->xdev->down,
						    msecs_to_jiffies(FRONT_WAIT_MS)),
			0UL);
	KUNIT_EXPECT_EQ(test, peer_join(task), 0);
	KUNIT_EXPECT_EQ(test, front_state(), XenbusStateClosed);
	life_ends(life, "shut down");
}

/*
 * ... and what its bus does before that: whatever its backend says, there is nothing
 * that it could see after a kexec.
 */
static void front_test_ungrants(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct task_struct *task = NULL;
	struct vgb_device *vgb;
	unsigned long began;
	grant_ref_t ref;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		life_begins(life, LIFE_STAGES, NULL);
		vgb = front_vgb(front);
		ref = vgb->link.ref;
		KUNIT_EXPECT_TRUE(test, life_is_granted(life, front->self, ref));
		KUNIT_EXPECT_EQ(test, life_pages_granted(life, front->self), 2U);
		/* The second one says nothing at all. */
		if (!i)
			KUNIT_ASSERT_EQ(test, peer_run(test, lets_go, front,
						       &task), 0);
		else
			peer_set_silent(&front->peer, true);
		began = jiffies;
		vgb->dev.bus->shutdown(&vgb->dev);
		KUNIT_EXPECT_LT(test, jiffies - began, 20UL * HZ);
		if (!i)
			KUNIT_EXPECT_EQ(test, peer_join(task), 0);
		KUNIT_EXPECT_FALSE(test, life_is_granted(life, front->self, ref));
		KUNIT_EXPECT_EQ(test, life_pages_granted(life, front->self), 0U);
		/* xenbus has nothing to wait for. */
		KUNIT_EXPECT_EQ(test, front->xdev->state, XenbusStateClosed);
		KUNIT_EXPECT_TRUE(test, completion_done(&front->xdev->down));
		life_ends(life, "ungrants");
	}
}

/* Nodes that no driver has: a new kernel's begins with those of a saved guest. */
static void front_test_claims(struct kunit *test)
{
	static const struct {
		const char *node;
		unsigned int state, becomes;
	} is[] = {
		{ "data/vgb-kunit/claims/70", 4, 1 },
		{ "data/vgb-kunit/claims/71", 1, 1 },
		{ "data/vgb-kunit/claims/72", 5, 5 },
		{ "data/vgb-kunit/claims/73", 6, 6 },
	};
	unsigned int i, state;

	for (i = 0; i < ARRAY_SIZE(is); i++)
		front_write(is[i].node, "state", is[i].state);
	vgb_claim_connected("data/vgb-kunit/claims");
	for (i = 0; i < ARRAY_SIZE(is); i++) {
		state = 0;
		xenbus_scanf(XBT_NIL, is[i].node, "state", "%u", &state);
		KUNIT_EXPECT_EQ_MSG(test, state, is[i].becomes, "%s",
				    is[i].node);
	}
	/* There is none. */
	vgb_claim_connected("data/vgb-kunit/nothing");
}

/* libxl's is never moved: who serves it next, has another device. */
static void front_test_replaced(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	front->kind = "virtio_disk";
	life_begins(life, LIFE_STAGES, NULL);
	for (i = 2; i <= 4; i++) {
		front_set_back(front, XenbusStateInitWait);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateInitialised));
		peer_heal(&front->peer);
		/* It may well be one that the last one could not become. */
		front->peer.info.config_size = cpu_to_le32(16);
		KUNIT_ASSERT_EQ(test, front_attach(front), 0);
		KUNIT_EXPECT_EQ(test, life->probes, i);
		KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
		KUNIT_EXPECT_EQ(test, front->peer.queue[0].nr_heads, 0U);
		KUNIT_EXPECT_FALSE(test, life->is_wrong);
	}
	life_ends(life, "replaced");
}

/* What one backend could not do, is no reason to refuse the next. */
static void front_test_refused(struct kunit *test)
{
	static const char * const bad[] = {
		"2-3", "0-0", "1", "x", "", "2-1", "-1--1",
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
	front_set_back(front, XenbusStateClosing);
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateClosed));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* Its versions do not meet ours. */
		KUNIT_ASSERT_EQ(test, front_new_back(front, bad[i]), 0);
		KUNIT_EXPECT_TRUE_MSG(test, front_waits(front, has_failed),
				      "%s", bad[i]);
		KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateClosed));
		front_set_back(front, XenbusStateConnected);
		msleep(20);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		front_set_back(front, XenbusStateClosing);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateClosed));
	}
	front_remove(front);
	life->vdev = NULL;
}

/* Another backend's node, as the toolstack makes it: its backend comes to it later. */
static int names_another(struct front *front)
{
	char node[40];
	int ret;

	snprintf(node, sizeof(node), FRONT_BACK "-%u", ++front->back);
	xenbus_printf(XBT_NIL, node, "msg-versions", "1-1");
	front_write(node, "state", XenbusStateInitialising);
	ret = xenbus_printf(XBT_NIL, FRONT_NODE, "backend", "%s", node);
	vgb_follow(front_vgb(front));
	return ret;
}

/* A backend may wait for us to begin anew (virtio-grantd does). */
static void front_test_begins_anew(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	life_begins(life, LIFE_STAGES, NULL);
	front_set_back(front, XenbusStateClosing);
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateClosed));
	KUNIT_ASSERT_EQ(test, front_new_back(front, "2-3"), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
	/* That comes after it. */
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateClosed));
	KUNIT_ASSERT_EQ(test, names_another(front), 0);
	KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateInitialising));
	KUNIT_EXPECT_EQ(test, front->xdev->state, XenbusStateInitialising);
	front_set_back(front, XenbusStateInitWait);
	KUNIT_ASSERT_EQ(test, is_served_anew(front), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "begins anew");
}

static bool has_moved(struct front *front)
{
	return !READ_ONCE(front_vgb(front)->has_missed);
}

static bool is_at_rest(struct front *front)
{
	struct delayed_work *work = &front_vgb(front)->work;

	return !delayed_work_pending(work) && !work_busy(&work->work);
}

static void looks(struct front *front)
{
	mod_delayed_work(system_long_wq, &front_vgb(front)->work, 0);
}

/*
 * A move that could not be read, for want of memory, while the last backend's node is
 * watched: nobody tells of the next one's.
 */
static void front_test_missed(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	char node[40];

	life_begins(life, LIFE_STAGES, NULL);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	peer_set_silent(&front->peer, true);
	snprintf(node, sizeof(node), FRONT_BACK "-%u", ++front->back);
	xenbus_printf(XBT_NIL, node, "msg-versions", "1-1");
	front_write(node, "state", XenbusStateInitialising);
	xenbus_printf(XBT_NIL, FRONT_NODE, "backend", "%s", node);
	WRITE_ONCE(front_vgb(front)->has_missed, true);
	looks(front);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_moved));
	/* Looks that have other reasons are over. */
	msleep(1500);
	front_set_back(front, XenbusStateInitWait);
	KUNIT_ASSERT_EQ(test, is_served_anew(front), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "missed");
}

#ifdef CONFIG_PM_SLEEP
/* What xenbus watches, it does also after the guest was to be suspended, and was not. */
static void front_test_rests(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct vgb_device *vgb;

	life_begins(life, LIFE_STAGES, NULL);
	vgb = front_vgb(front);
	kfree(vgb->first_back);
	vgb->first_back = kasprintf(GFP_KERNEL, FRONT_BACK "-%u",
				    front->back + 1);
	peer_set_silent(&front->peer, true);
	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_EXPECT_NULL(test, vgb->back_watch.node);
	KUNIT_EXPECT_TRUE(test, front_waits(front, front_is_published));
	peer_heal(&front->peer);
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	looks(front);
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateConnected));
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_at_rest));
	KUNIT_EXPECT_EQ(test, front_pm(front)->freeze(&vgb->dev), 0);
	KUNIT_EXPECT_EQ(test, front_pm(front)->thaw(&vgb->dev), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_at_rest));
	life_ends(life, "rests");
}
#endif

static void no_such_type(struct peer *peer)
{
	peer->info.device_id = cpu_to_le32(VIRTIO_ID_CONSOLE);
}

static void no_features(struct peer *peer)
{
	peer->features = 0;
}

static void no_queues(struct peer *peer)
{
	peer->queue[0].max_size = 0;
}

/* No device is made with such a one; with the next there is one. */
static void front_test_no_device(struct kunit *test)
{
	static void (* const faults[])(struct peer *peer) = {
		no_such_type, no_features, no_queues,
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		peer_heal(&front->peer);
		faults[i](&front->peer);
		KUNIT_ASSERT_EQ(test, front_probe(front), 0);
		KUNIT_ASSERT_EQ(test, front_serve(front), 0);
		KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
		KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateClosed));
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		/* Not with the same again, whatever it says now. */
		peer_heal(&front->peer);
		front_set_back(front, XenbusStateInitWait);
		msleep(20);
		front_set_back(front, XenbusStateConnected);
		msleep(20);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
		KUNIT_EXPECT_TRUE(test, life_is_bound(life));
		KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		life_ends(life, "no device");
	}
}

/* One that can't be registered, since its name is taken, is none. */
static void front_test_not_registered(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct kobject *taken[32];
	unsigned int i;
	char name[16];

	KUNIT_ASSERT_EQ(test, front_probe(front), 0);
	for (i = 0; i < ARRAY_SIZE(taken); i++) {
		snprintf(name, sizeof(name), "virtio%u", i);
		taken[i] = kobject_create_and_add(name,
						  &front_vgb(front)->dev.kobj);
	}
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
	KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateClosed));
	KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
	for (i = 0; i < ARRAY_SIZE(taken); i++)
		kobject_put(taken[i]);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "not registered");
}

/*
 * Who identifies himself, and falls silent or hostile before there is a device, is
 * tried again; the device comes when he has come to his senses.
 */
static void front_test_silent_at_first(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 1; i <= 3; i++) {
		peer_heal(&front->peer);
		front->peer.requests = 0;
		front->peer.silent_at = i;
		front->peer.status = VIRTIO_CONFIG_S_NEEDS_RESET;
		KUNIT_ASSERT_EQ(test, front_probe(front), 0);
		KUNIT_ASSERT_EQ(test, front_serve(front), 0);
		msleep(1500);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_failed);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		peer_heal(&front->peer);
		KUNIT_EXPECT_TRUE(test, front_becomes(front,
						      XenbusStateConnected));
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life_ends(life, "silent at first");
	}
}

/* Of a driver, one message of this kind is not answered, as if it had been lost. */
static bool twist_loses(struct peer *peer, const union peer_msg *req,
			union peer_msg *rsp)
{
	if (req->head.type || req->head.msg_id != peer->arg ||
	    !(peer->status & VIRTIO_CONFIG_S_ACKNOWLEDGE))
		return true;
	peer->twist = NULL;
	return false;
}

/* ... before it has one. */
static bool twist_loses_at_first(struct peer *peer, const union peer_msg *req,
				 union peer_msg *rsp)
{
	if (req->head.type || req->head.msg_id != peer->arg || peer->status)
		return true;
	peer->twist = NULL;
	return false;
}

static bool is_loyal(struct front *front)
{
	return !READ_ONCE(front->peer.twist);
}

/* Nor is one smaller, of whose measures one was not told: the second queue's is less. */
static void front_test_silent_at_measure(struct kunit *test)
{
	static const u8 messages[] = {
		VIRTIO_GRANT_MSG_GET_CONFIG, VIRTIO_GRANT_MSG_GET_VQUEUE,
	};
	const unsigned int at = offsetof(struct virtio_blk_config, num_queues);
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++) {
		peer_heal(&front->peer);
		front->peer.features |= BIT_ULL(VIRTIO_BLK_F_MQ);
		front->peer.config[at] = 2;
		front->peer.queue[1].max_size = LIFE_RING / 2;
		front->peer.arg = messages[i];
		front->peer.twist = twist_loses_at_first;
		KUNIT_ASSERT_EQ(test, front_probe(front), 0);
		KUNIT_ASSERT_EQ(test, front_attach(front), 0);
		KUNIT_EXPECT_TRUE(test, is_loyal(front));
		KUNIT_EXPECT_EQ_MSG(test, front_vgb(front)->vgd.ring_min,
				    LIFE_RING / 2U, "message %u", messages[i]);
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		life_ends(life, "silent at measure");
	}
}

/* ... nor is who falls silent while its driver's probe asks, and answers again. */
static void front_test_silent_at_probe(struct kunit *test)
{
	static const u8 messages[] = {
		VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, VIRTIO_GRANT_MSG_GET_VQUEUE,
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i, tries;

	for (i = 0; i < ARRAY_SIZE(messages); i++) {
		peer_heal(&front->peer);
		life->probes = 0;
		front->peer.arg = messages[i];
		front->peer.twist = twist_loses;
		KUNIT_ASSERT_EQ(test, front_probe(front), 0);
		KUNIT_ASSERT_EQ(test, front_attach(front), 0);
		KUNIT_EXPECT_TRUE(test, is_loyal(front));
		for (tries = 0; tries < 1000 && !READ_ONCE(life->probes); tries++)
			msleep(20);
		KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, false),
				      "message %u", messages[i]);
		life_ends(life, "silent at probe");
	}
}

static const char *resets_queue(struct front *front)
{
	struct vgrant_device *vgd = &front_vgb(front)->vgd;
	const char *why;

	mutex_lock(&vgd->queue_lock);
	why = vgb_transport.queue_reset(vgd, 0);
	mutex_unlock(&vgd->queue_lock);
	return why;
}

/* A queue's reset that is not answered, or whose result is not, is none that failed. */
static void front_test_silent_at_reset(struct kunit *test)
{
	static const u8 messages[] = {
		VIRTIO_GRANT_MSG_RESET_VQUEUE, VIRTIO_GRANT_MSG_GET_VQUEUE,
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++) {
		life_begins(life, LIFE_STAGES, NULL);
		front->peer.arg = messages[i];
		front->peer.twist = twist_loses;
		KUNIT_EXPECT_NULL(test, resets_queue(front));
		KUNIT_EXPECT_TRUE(test, is_loyal(front));
		KUNIT_EXPECT_EQ(test, front->peer.queue[0].cur_size, 0U);
		peer_set_silent(&front->peer, true);
		KUNIT_EXPECT_STREQ(test, resets_queue(front),
				   "no answer to a queue's reset");
		life_ends(life, "silent at reset");
	}
}

/* A probe that waits for its buffer, as a disk's does for its partitions. */
static void probe_waits(struct life *life)
{
	life_drain(life);
}

/* Attached, with a backend that falls silent before this one of its requests. */
static void is_silent_at(struct kunit *test, unsigned int request)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	peer_heal(&front->peer);
	life->stage = LIFE_RUNS;
	life->fault = probe_waits;
	life->probes = 0;
	front->peer.requests = 0;
	front->peer.silent_at = request;
	vgb_answer_ms = 60000;
	KUNIT_ASSERT_EQ(test, front_probe(front), 0);
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_ASSERT_TRUE(test, front_waits(front, is_silent_or_over));
}

static bool is_down(struct front *front)
{
	return READ_ONCE(front_vgb(front)->link.reach) == VGB_DOWN;
}

/*
 * Who closes, or removes, a device while its backend takes its time to say who it is,
 * does not wait for it, nor for what it does once it has said so.
 */
static void front_test_gone_at_first(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned long began;
	unsigned int i;

	for (i = 1; i <= 3; i++) {
		is_silent_at(test, i);
		front_set_back(front, XenbusStateClosing);
		KUNIT_EXPECT_TRUE(test, front_waits(front, is_down));
		peer_set_silent(&front->peer, false);
		KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateClosed));
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		KUNIT_EXPECT_EQ(test, life->probes, 0U);
		front_remove(front);

		is_silent_at(test, i);
		began = jiffies;
		front_remove(front);
		KUNIT_EXPECT_LT(test, jiffies - began, 20UL * HZ);
		KUNIT_EXPECT_FALSE(test, life->hangs);
		life->hangs = false;
	}
	life->fault = NULL;
	life->vdev = NULL;
}

#ifdef CONFIG_PM_SLEEP
/* ... nor does who suspends the guest; it is made when that runs again. */
static void front_test_asleep_at_first(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned long began;
	unsigned int i;

	for (i = 1; i <= 3; i++) {
		is_silent_at(test, i);
		life->fault = NULL;
		began = jiffies;
		KUNIT_EXPECT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev),
				0);
		KUNIT_EXPECT_LT(test, jiffies - began, 20UL * HZ);
		KUNIT_EXPECT_FALSE(test, front_vgb(front)->has_device);
		peer_set_silent(&front->peer, false);
		KUNIT_EXPECT_EQ(test, front_pm(front)->thaw(&front_vgb(front)->dev), 0);
		KUNIT_EXPECT_TRUE(test, front_becomes(front,
						      XenbusStateConnected));
		KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
		KUNIT_EXPECT_EQ(test, life->probes, 1U);
		vgb_answer_ms = 1000;
		life_ends(life, "asleep at first");
	}
}
#endif

static bool twist_config(struct peer *peer, const union peer_msg *req,
			 union peer_msg *rsp)
{
	if (!req->head.type && req->head.msg_id == VIRTIO_GRANT_MSG_GET_CONFIG)
		rsp->head.msg_size = cpu_to_le16(sizeof(rsp->head));
	return true;
}

/* A configuration that is nonsense: before there is a device, and thereafter. */
static void front_test_config_nonsense(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	u32 value = 1;

	life->carrier->heal(life);
	front->peer.features |= BIT_ULL(VIRTIO_BLK_F_MQ);
	front->peer.status = VIRTIO_CONFIG_S_NEEDS_RESET;
	front->peer.twist = twist_config;
	KUNIT_ASSERT_EQ(test, life->carrier->create(life), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life->vdev->config->get(life->vdev, 0, &value, sizeof(value));
	KUNIT_EXPECT_EQ(test, value, 0U);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, true));
	life_rebinds(life, "a configuration");
	life_ends(life, "a configuration");
}

/* Storms */

/* Pages that were granted: each is zeroes at its beginning. */
static bool was_published(struct vgb_device *vgb)
{
	u8 *mark = &vgb->link.page->reserved3[100];

	if (READ_ONCE(*mark))
		return false;
	WRITE_ONCE(*mark, 1);
	return true;
}

/* ... nor will have, as long as its backend is closed. */
static bool has_no_keys(struct front *front)
{
	return is_at_rest(front) && !READ_ONCE(front_vgb(front)->is_published);
}

/*
 * A backend that begins anew all the time has its front grant and write anew some
 * times, and when these are used up, once a second.
 */
static void front_test_flips(struct kunit *test)
{
	static const enum xenbus_state states[] = {
		XenbusStateInitWait, XenbusStateClosed,
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int flips, published = 0;
	unsigned long began;

	life_begins(life, LIFE_STAGES, NULL);
	vgrant_ms_per_s = MSEC_PER_SEC;
	was_published(front_vgb(front));
	front_vgb(front)->looks_paid = jiffies + 20 * HZ;
	began = jiffies;
	for (flips = 0; flips < 40 || jiffies - began < 4 * HZ; flips++) {
		front_set_back(front, states[flips % ARRAY_SIZE(states)]);
		usleep_range(2000, 3000);
		published += was_published(front_vgb(front));
	}
	kunit_info(test, "%u times anew in %u flips, %lu s\n", published, flips,
		   (jiffies - began) / HZ);
	KUNIT_EXPECT_LE(test, published, (jiffies - began) / HZ + 2);
	vgrant_ms_per_s = LIFE_MS_PER_S;
	/* No keys are left that nobody took; and all seconds are over. */
	front_vgb(front)->looks_paid = jiffies;
	front_set_back(front, XenbusStateClosed);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_no_keys));
	/* It works thereafter, as if nothing had been. */
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	life_ends(life, "flips");
}

/* A configuration that changes all the time is looked at some times a second. */
static void front_test_config_storm(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int requests;
	unsigned long end;

	life_begins(life, LIFE_STAGES, NULL);
	vgrant_ms_per_s = MSEC_PER_SEC;
	requests = front->peer.requests;
	life->config_changes = 0;
	end = jiffies + 2 * HZ;
	while (time_before(jiffies, end)) {
		peer_config_event(&front->peer);
		peer_used_event(&front->peer);
		cond_resched();
	}
	kunit_info(test, "%u changes, %u requests in two seconds\n",
		   life->config_changes, front->peer.requests - requests);
	KUNIT_EXPECT_GE(test, life->config_changes, 1U);
	KUNIT_EXPECT_LE(test, life->config_changes, 25U);
	vgrant_ms_per_s = LIFE_MS_PER_S;
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "storm");
}

/* Going on */

/* The backend uses the buffer with this head. */
static void uses(struct life *life, unsigned int head)
{
	const struct vring *ring = virtqueue_get_vring(life->vq);
	u16 idx = le16_to_cpu(ring->used->idx);

	ring->used->ring[idx % ring->num].id = cpu_to_le32(head);
	ring->used->ring[idx % ring->num].len = cpu_to_le32(LIFE_BYTES);
	/* Partner: the ring's read barrier after used->idx. */
	virt_wmb();
	ring->used->idx = cpu_to_le16(idx + 1);
}

/* Five buffers, of which the first backend uses one, and gets another for it. */
static void has_five(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	life_begins(life, LIFE_STAGES, NULL);
	for (i = 0; i < 4; i++)
		KUNIT_ASSERT_EQ(test, life_add(life), 0);
	uses(life, 2);
	peer_used_event(&front->peer);
	for (i = 0; i < 1000 && atomic_read(&life->in_queue) != 4; i++)
		usleep_range(1000, 2000);
	KUNIT_ASSERT_EQ(test, atomic_read(&life->in_queue), 4);
	KUNIT_ASSERT_EQ(test, life_add(life), 0);
	/* It is not all ones, for once. */
	life->is_wrong = false;
}

/* The new backend knows what is under way, in the order in which it began. */
static void expect_told(struct kunit *test, const char *what, int arg)
{
	static const u16 heads[] = { 0, 1, 3, 4, 2 };
	const struct peer_queue *queue = &front_of(test)->peer.queue[0];

	KUNIT_EXPECT_EQ_MSG(test, queue->nr_heads, 5U, "%s %d", what, arg);
	KUNIT_EXPECT_EQ_MSG(test, queue->total, 5, "%s %d", what, arg);
	KUNIT_EXPECT_EQ_MSG(test, queue->used_idx, 1, "%s %d", what, arg);
	KUNIT_EXPECT_EQ_MSG(test, queue->cur_size, (u32)LIFE_RING, "%s %d", what,
			    arg);
	KUNIT_EXPECT_EQ_MSG(test, memcmp(queue->heads, heads, sizeof(heads)), 0,
			    "%s %d: %u %u %u %u %u", what, arg,
			    queue->heads[0], queue->heads[1], queue->heads[2],
			    queue->heads[3], queue->heads[4]);
}

/* ... and executes it: nothing is lost, nothing twice. */
static void expect_executed(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i, done = life->done;

	for (i = 0; i < 5; i++)
		uses(life, front->peer.queue[0].heads[i]);
	peer_used_event(&front->peer);
	life_drain(life);
	KUNIT_EXPECT_EQ(test, life->done - done, 5U);
	KUNIT_EXPECT_FALSE(test, life->hangs);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_EQ(test, life->probes, 1U);
	life->is_wrong = false;
}

static void front_test_goes_on(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	has_five(test);
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_EQ(test, i % 2 ? goes_to_another(front) :
					      begins_anew(front), 0);
		expect_told(test, "move", i);
	}
	expect_executed(test);
	life_ends(life, "goes on");
}

/* A device that waits for its next backend, is not closed for one that is too new. */
static void front_test_next_refused(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	has_five(test);
	KUNIT_ASSERT_EQ(test, front_new_back(front, "2-3"), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
	KUNIT_EXPECT_EQ(test, front_state(), XenbusStateConnected);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	expect_told(test, "refused", 0);
	expect_executed(test);
	life_ends(life, "next refused");
}

/*
 * A node as long as xenstore lets one be: its "state" is there, and what has a longer
 * name, is not to be read.
 */
static char *longest_back(struct kunit *test)
{
	const unsigned int part = 200, max = 2048;
	char *node = kunit_kzalloc(test, max, GFP_KERNEL);
	unsigned int i, len;

	KUNIT_ASSERT_NOT_NULL(test, node);
	for (len = max - sizeof("/state"); len > part; len -= sizeof("/state") - 1) {
		memset(node, 'x', len);
		for (i = part; i < len - 1; i += part)
			node[i] = '/';
		memcpy(node, "data/vgb-kunit/", strlen("data/vgb-kunit/"));
		node[len] = '\0';
		if (!xenbus_printf(XBT_NIL, node, "state", "%u",
				   XenbusStateInitWait))
			break;
	}
	KUNIT_ASSERT_TRUE(test, xenbus_exists(XBT_NIL, node, "state"));
	return node;
}

/* What can't be read for a moment, says nothing of the backend. */
static void front_test_not_to_be_read(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct vgb_device *vgb;
	char *back;

	has_five(test);
	vgb = front_vgb(front);
	back = kstrdup(longest_back(test), GFP_KERNEL);
	mutex_lock(&vgb->back_lock);
	swap(vgb->back, back);
	vgb->is_other_back = true;
	mutex_unlock(&vgb->back_lock);
	kfree(back);
	mod_delayed_work(system_long_wq, &vgb->work, 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_down));
	msleep(1500);
	KUNIT_EXPECT_FALSE(test, has_failed(front));
	KUNIT_EXPECT_FALSE(test, vgb->is_published);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	expect_told(test, "not to be read", 0);
	expect_executed(test);
	life_ends(life, "not to be read");
}

/* What the last one used and could not tell, is used. */
static void front_test_used_untold(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	has_five(test);
	uses(life, 3);
	uses(life, 0);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	KUNIT_EXPECT_EQ(test, front->peer.queue[0].nr_heads, 3U);
	KUNIT_EXPECT_EQ(test, front->peer.queue[0].used_idx, 3);
	KUNIT_EXPECT_EQ(test, front->peer.queue[0].heads[0], 1);
	KUNIT_EXPECT_EQ(test, front->peer.queue[0].heads[1], 4);
	KUNIT_EXPECT_EQ(test, front->peer.queue[0].heads[2], 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 3);
	life->is_wrong = false;
	life_ends(life, "untold");
}

/*
 * Silent again at each of the messages that it takes: the device waits, and goes on
 * when somebody does answer, with all that was under way.
 */
static void front_test_silent_again(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i, took;
	bool is_over = false;

	for (i = 1; i <= RESUME_MESSAGES && !is_over; i++) {
		has_five(test);
		KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateInitialised));
		peer_heal(&front->peer);
		front->peer.requests = 0;
		front->peer.silent_at = i;
		KUNIT_ASSERT_EQ(test, front_serve(front), 0);
		KUNIT_EXPECT_TRUE(test, front_waits(front, is_silent_or_over));
		is_over = front_state() == XenbusStateConnected;
		msleep(20);
		KUNIT_EXPECT_FALSE_MSG(test, life_has_failed(life),
				       "silent at %u", i);
		took = front->peer.requests;
		if (is_over) {
			peer_set_silent(&front->peer, false);
		} else {
			KUNIT_EXPECT_EQ(test, took, i - 1);
			KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
			expect_told(test, "silent at", i);
			expect_executed(test);
		}
		life_ends(life, "silent again");
	}
	KUNIT_EXPECT_TRUE(test, is_over);
	kunit_info(test, "going on takes %u messages\n", i - 2);
}

/* One answer is lost, of this type and number. */
static bool twist_loses_one(struct peer *peer, const union peer_msg *req,
			    union peer_msg *rsp)
{
	if ((req->head.type << BITS_PER_BYTE | req->head.msg_id) != peer->arg)
		return true;
	peer->twist = NULL;
	return false;
}

/* ... or silent for one of them: that refuses nothing, and all is said once more. */
static void front_test_silent_once(struct kunit *test)
{
	static const u16 messages[] = {
		VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES,
		VIRTIO_GRANT_MSG_SET_VQUEUE,
		VIRTIO_GRANT_MSG_GET_VQUEUE,
		VIRTIO_GRANT_MSG_TYPE_BUS << BITS_PER_BYTE |
			VIRTIO_GRANT_BUS_GET_BUS_INFO,
		VIRTIO_GRANT_MSG_TYPE_BUS << BITS_PER_BYTE |
			VIRTIO_GRANT_BUS_SET_INFLIGHT,
	};
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++) {
		has_five(test);
		KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateInitialised));
		peer_heal(&front->peer);
		front->peer.arg = messages[i];
		front->peer.twist = twist_loses_one;
		KUNIT_ASSERT_EQ(test, front_attach(front), 0);
		KUNIT_EXPECT_TRUE(test, is_loyal(front));
		KUNIT_EXPECT_FALSE_MSG(test, life_has_failed(life), "message %#x",
				       messages[i]);
		expect_told(test, "message", messages[i]);
		expect_executed(test);
		life_ends(life, "silent once");
	}
}

/* Rings that the last backend made nonsense of: no going on, but an end. */
static void lie_used_far(struct life *life)
{
	virtqueue_get_vring(life->vq)->used->idx = cpu_to_le16(999);
}

static void lie_used_back(struct life *life)
{
	virtqueue_get_vring(life->vq)->used->idx = 0;
}

static void lie_used_id(struct life *life)
{
	uses(life, 1000);
}

static void lie_used_twice(struct life *life)
{
	uses(life, 1);
	uses(life, 1);
}

static void lie_never_given(struct life *life)
{
	uses(life, 7);
}

static void lie_avail_far(struct life *life)
{
	virtqueue_get_vring(life->vq)->avail->idx = cpu_to_le16(1234);
}

static void lie_avail_ids(struct life *life)
{
	const struct vring *ring = virtqueue_get_vring(life->vq);

	/* It was looked at before. */
	vgrant_callback(0, life->vq);
	memset(ring->avail->ring, 0xee, ring->num * sizeof(ring->avail->ring[0]));
}

static void lie_all_ones(struct life *life)
{
	const struct vring *ring = virtqueue_get_vring(life->vq);

	memset(ring->used, 0xff, sizeof(*ring->used) +
	       ring->num * sizeof(ring->used->ring[0]));
}

static const struct {
	const char *name;
	void (*lie)(struct life *life);
	bool is_fatal;
} lies[] = {
	{ "used index far ahead", lie_used_far, true },
	{ "used index behind", lie_used_back, true },
	{ "used id that is none", lie_used_id, true },
	{ "used twice", lie_used_twice, true },
	{ "used what was never given", lie_never_given, true },
	{ "available index far ahead", lie_avail_far, true },
	{ "all ones", lie_all_ones, true },
	/* Which they are is known without; only their order is not. */
	{ "available ids that are none", lie_avail_ids, false },
};

static void front_test_ring_lies(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lies); i++) {
		has_five(test);
		peer_set_silent(&front->peer, true);
		lies[i].lie(life);
		KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateInitialised));
		peer_heal(&front->peer);
		KUNIT_ASSERT_EQ(test, front_serve(front), 0);
		if (lies[i].is_fatal) {
			KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, true),
					      "%s", lies[i].name);
			life_drain(life);
			KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s",
					       lies[i].name);
			life->is_wrong = false;
			life_rebinds(life, lies[i].name);
		} else {
			KUNIT_EXPECT_TRUE(test, front_becomes(front,
							      XenbusStateConnected));
			KUNIT_EXPECT_EQ(test, front->peer.queue[0].nr_heads, 5U);
			KUNIT_EXPECT_FALSE(test, life_has_failed(life));
		}
		life_ends(life, lies[i].name);
	}
}

/* Backends that are not what the last one was. */
static void other_ring(struct peer *peer)
{
	peer->queue[0].max_size = LIFE_RING / 2;
}

static void other_no_ring(struct peer *peer)
{
	peer->queue[0].max_size = 0;
}

static void other_features(struct peer *peer)
{
	peer->features = BIT_ULL(VIRTIO_F_VERSION_1);
}

static void other_vendor(struct peer *peer)
{
	peer->info.vendor_id = 0;
}

static void other_config(struct peer *peer)
{
	peer->info.config_size = cpu_to_le32(8);
}

static bool twist_refuses_heads(struct peer *peer, const union peer_msg *req,
				union peer_msg *rsp)
{
	if (req->head.type == VIRTIO_GRANT_MSG_TYPE_BUS &&
	    req->head.msg_id == VIRTIO_GRANT_BUS_SET_INFLIGHT)
		rsp->head.msg_size = cpu_to_le16(sizeof(rsp->head));
	return true;
}

static void other_refuses_heads(struct peer *peer)
{
	peer->twist = twist_refuses_heads;
}

static bool twist_status(struct peer *peer, const union peer_msg *req,
			 union peer_msg *rsp)
{
	__le32 *word = (__le32 *)(&rsp->head + 1);

	if (!req->head.type &&
	    req->head.msg_id == VIRTIO_GRANT_MSG_GET_DEVICE_STATUS)
		*word = cpu_to_le32(peer->arg);
	return true;
}

static void other_never_resets(struct peer *peer)
{
	peer->twist = twist_status;
	peer->arg = 0xf;
}

static void other_always_reset(struct peer *peer)
{
	peer->twist = twist_status;
	peer->arg = 0;
}

/* More than before is no reason. */
static void other_better(struct peer *peer)
{
	peer->queue[0].max_size = 1024;
	peer->features |= 0xff;
	peer->info.config_size = cpu_to_le32(4096);
	peer->caps = U32_MAX;
}

static const struct {
	const char *name;
	void (*other)(struct peer *peer);
	bool is_fatal;
} others[] = {
	{ "a smaller ring", other_ring, true },
	{ "no ring", other_no_ring, true },
	{ "fewer features", other_features, true },
	{ "another vendor", other_vendor, true },
	{ "less configuration", other_config, true },
	{ "refuses what is in flight", other_refuses_heads, true },
	{ "never reset", other_never_resets, true },
	{ "takes no status", other_always_reset, true },
	{ "better", other_better, false },
};

static void front_test_others(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(others); i++) {
		has_five(test);
		KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
		KUNIT_ASSERT_TRUE(test, front_becomes(front,
						      XenbusStateInitialised));
		peer_heal(&front->peer);
		others[i].other(&front->peer);
		KUNIT_ASSERT_EQ(test, front_serve(front), 0);
		if (others[i].is_fatal) {
			KUNIT_EXPECT_TRUE_MSG(test, life_becomes(life, true),
					      "%s", others[i].name);
			life_drain(life);
			KUNIT_EXPECT_FALSE_MSG(test, life->hangs, "%s",
					       others[i].name);
			KUNIT_EXPECT_FALSE_MSG(test, life->is_wrong, "%s",
					       others[i].name);
			life_rebinds(life, others[i].name);
		} else {
			KUNIT_EXPECT_TRUE(test, front_becomes(front,
							      XenbusStateConnected));
			expect_told(test, others[i].name, i);
		}
		life_ends(life, others[i].name);
	}
}

#ifdef CONFIG_PM_SLEEP
static bool is_asleep(struct front *front)
{
	return READ_ONCE(front_vgb(front)->is_asleep);
}

static int front_exists(const char *key)
{
	return xenbus_exists(XBT_NIL, FRONT_NODE, key);
}

/* The guest is suspended while the backend has nothing to do. */
static void falls_asleep(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	life_begins(life, LIFE_STAGES, NULL);
	uses(life, 0);
	peer_used_event(&front->peer);
	life_drain(life);
	life->is_wrong = false;
	KUNIT_ASSERT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev), 0);
	KUNIT_EXPECT_TRUE(test, front_exists("suspended"));
	/* xenbus, for its part. */
	front->xdev->state = XenbusStateInitialising;
}

static void expect_awake(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateConnected));
	KUNIT_EXPECT_FALSE(test, front_exists("suspended"));
	KUNIT_EXPECT_EQ(test, front->xdev->state, XenbusStateConnected);
	KUNIT_EXPECT_FALSE(test, is_asleep(front));
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	KUNIT_EXPECT_EQ(test, life->probes, 1U);
	KUNIT_EXPECT_EQ(test, atomic_read(&life->in_queue), 1);
}

/* Another device refused to: nothing of ours was lost. */
static void front_test_stays(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	grant_ref_t ref;

	falls_asleep(test);
	ref = front_vgb(front)->link.ref;
	KUNIT_EXPECT_EQ(test, front_pm(front)->restore(&front_vgb(front)->dev), 0);
	expect_awake(test);
	KUNIT_EXPECT_EQ(test, front_vgb(front)->link.ref, ref);
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "stays");
}

/* ... nor of one that has no page: it is not saved, and no other one is kept waiting. */
static void front_test_stays_closed(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct vgb_device *vgb;

	life->carrier->heal(life);
	KUNIT_ASSERT_EQ(test, front_make(front, "2-3"), 0);
	vgb = front_vgb(front);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateClosed));
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_at_rest));
	KUNIT_ASSERT_EQ(test, front_pm(front)->freeze(&vgb->dev), 0);
	KUNIT_EXPECT_TRUE(test, front_exists("suspended"));
	/* xenbus, for its part. */
	front->xdev->state = XenbusStateInitialising;
	KUNIT_EXPECT_EQ(test, front_pm(front)->restore(&vgb->dev), 0);
	KUNIT_EXPECT_FALSE(test, front_exists("suspended"));
	KUNIT_ASSERT_EQ(test, names_another(front), 0);
	KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateInitialising));
	front_set_back(front, XenbusStateInitWait);
	KUNIT_ASSERT_EQ(test, is_served_anew(front), 0);
	KUNIT_EXPECT_FALSE(test, life_has_failed(life));
	life_ends(life, "stays closed");
}

/* ... nor is a node made where there is none. */
static void front_test_no_node(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	life->carrier->heal(life);
	KUNIT_ASSERT_EQ(test, front_make(front, "2-3"), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, has_failed));
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateClosed));
	KUNIT_ASSERT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev), 0);
	xenbus_rm(XBT_NIL, FRONT_NODE, "");
	KUNIT_EXPECT_EQ(test, front_pm(front)->restore(&front_vgb(front)->dev), 0);
	KUNIT_EXPECT_FALSE(test, front_exists(""));
	front_remove(front);
	life->vdev = NULL;
}

/* In a new domain: the toolstack made a node in which nothing of ours is. */
static void front_test_restored(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;

	falls_asleep(test);
	xenbus_rm(XBT_NIL, FRONT_NODE, "");
	front_write(FRONT_NODE, "state", XenbusStateConnected);
	KUNIT_EXPECT_EQ(test, front_pm(front)->restore(&front_vgb(front)->dev), 0);
	KUNIT_EXPECT_TRUE(test, is_asleep(front));
	KUNIT_EXPECT_FALSE(test, front_vgb(front)->is_published);
	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_ASSERT_EQ(test, is_served_anew(front), 0);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
	expect_awake(test);
	life_ends(life, "restored");
}
#endif

#ifdef CONFIG_PM_SLEEP
static int answers_soon(void *arg)
{
	struct front *front = arg;

	msleep(500);
	peer_set_silent(&front->peer, false);
	return 0;
}

/* Another backend, who says nothing yet when the device is to go on with him. */
static void is_resumed_slowly(struct kunit *test)
{
	struct front *front = front_of(test);

	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateInitialised));
	peer_heal(&front->peer);
	peer_set_silent(&front->peer, true);
	vgb_answer_ms = 60000;
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_resuming));
	vgb_answer_ms = 1000;
}

/*
 * Who suspends the guest meanwhile, waits for as long as an answer takes; what is in
 * flight has no backend then, and goes on when there is an answer.
 */
static void front_test_asleep_meanwhile(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned long began;

	has_five(test);
	is_resumed_slowly(test);
	began = jiffies;
	KUNIT_EXPECT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev),
			-EBUSY);
	KUNIT_EXPECT_LT(test, jiffies - began, 20UL * HZ);
	KUNIT_EXPECT_FALSE(test, front_exists("suspended"));
	peer_set_silent(&front->peer, false);
	KUNIT_EXPECT_TRUE(test, front_becomes(front, XenbusStateConnected));
	expect_told(test, "asleep meanwhile", 0);
	expect_executed(test);
	life_ends(life, "asleep meanwhile");
}

/* One who answers in time, is not taken for away. */
static void front_test_asleep_in_time(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	struct task_struct *task;

	life_begins(life, LIFE_STAGES, NULL);
	uses(life, 0);
	peer_used_event(&front->peer);
	life_drain(life);
	life->is_wrong = false;
	is_resumed_slowly(test);
	KUNIT_ASSERT_EQ(test, peer_run(test, answers_soon, front, &task), 0);
	KUNIT_EXPECT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev), 0);
	KUNIT_EXPECT_EQ(test, peer_join(task), 0);
	KUNIT_EXPECT_EQ(test, front_pm(front)->thaw(&front_vgb(front)->dev), 0);
	expect_awake(test);
	life_ends(life, "asleep in time");
}

static bool is_silent(struct front *front)
{
	return READ_ONCE(front->peer.is_silent);
}

/* While its driver wakes up, which goes on. */
static void front_test_asleep_waking(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned long began;

	falls_asleep(test);
	xenbus_rm(XBT_NIL, FRONT_NODE, "");
	front_write(FRONT_NODE, "state", XenbusStateConnected);
	KUNIT_EXPECT_EQ(test, front_pm(front)->restore(&front_vgb(front)->dev), 0);
	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_ASSERT_TRUE(test, front_waits(front, front_is_published));
	peer_heal(&front->peer);
	front->peer.requests = 0;
	front->peer.silent_at = 1;
	vgb_answer_ms = 60000;
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_silent));
	began = jiffies;
	KUNIT_EXPECT_EQ(test, front_pm(front)->freeze(&front_vgb(front)->dev),
			-EBUSY);
	KUNIT_EXPECT_LT(test, jiffies - began, 20UL * HZ);
	peer_set_silent(&front->peer, false);
	KUNIT_EXPECT_TRUE(test, life_becomes(life, false));
	expect_awake(test);
	life_ends(life, "asleep waking");
}
#endif

static bool twist_slowly(struct peer *peer, const union peer_msg *req,
			 union peer_msg *rsp)
{
	return false;
}

/* Named another, or removed, while a backend takes its time: not for as long. */
static void front_test_removed_meanwhile(struct kunit *test)
{
	struct front *front = front_of(test);
	struct life *life = test->priv;
	unsigned long began;

	has_five(test);
	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_ASSERT_TRUE(test, front_becomes(front, XenbusStateInitialised));
	peer_heal(&front->peer);
	front->peer.twist = twist_slowly;
	vgb_answer_ms = 60000;
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_resuming));
	/* Another one is named: the first is not waited for. */
	began = jiffies;
	KUNIT_ASSERT_EQ(test, goes_to_another(front), 0);
	expect_told(test, "meanwhile", 0);
	front->peer.twist = twist_slowly;
	KUNIT_ASSERT_EQ(test, front_new_back(front, "1-1"), 0);
	KUNIT_ASSERT_EQ(test, front_serve(front), 0);
	KUNIT_EXPECT_TRUE(test, front_waits(front, is_resuming));
	life_ends(life, "meanwhile");
	KUNIT_EXPECT_LT(test, jiffies - began, msecs_to_jiffies(30000));
}

static struct kunit_case front_test_cases[] = {
	KUNIT_CASE_SLOW(front_test_made_again),
	KUNIT_CASE_SLOW(front_test_shutdown),
	KUNIT_CASE_SLOW(front_test_ungrants),
	KUNIT_CASE(front_test_claims),
	KUNIT_CASE_SLOW(front_test_replaced),
	KUNIT_CASE_SLOW(front_test_refused),
	KUNIT_CASE_SLOW(front_test_begins_anew),
	KUNIT_CASE_SLOW(front_test_missed),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(front_test_rests),
#endif
	KUNIT_CASE_SLOW(front_test_no_device),
	KUNIT_CASE_SLOW(front_test_not_registered),
	KUNIT_CASE_SLOW(front_test_silent_at_first),
	KUNIT_CASE_SLOW(front_test_silent_at_measure),
	KUNIT_CASE_SLOW(front_test_silent_at_probe),
	KUNIT_CASE_SLOW(front_test_silent_at_reset),
	KUNIT_CASE_SLOW(front_test_gone_at_first),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(front_test_asleep_at_first),
#endif
	KUNIT_CASE_SLOW(front_test_config_nonsense),
	KUNIT_CASE_SLOW(front_test_flips),
	KUNIT_CASE_SLOW(front_test_config_storm),
	KUNIT_CASE_SLOW(front_test_goes_on),
	KUNIT_CASE_SLOW(front_test_next_refused),
	KUNIT_CASE_SLOW(front_test_not_to_be_read),
	KUNIT_CASE_SLOW(front_test_used_untold),
	KUNIT_CASE_SLOW(front_test_silent_again),
	KUNIT_CASE_SLOW(front_test_silent_once),
	KUNIT_CASE_SLOW(front_test_ring_lies),
	KUNIT_CASE_SLOW(front_test_others),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(front_test_stays),
	KUNIT_CASE_SLOW(front_test_stays_closed),
	KUNIT_CASE_SLOW(front_test_no_node),
	KUNIT_CASE_SLOW(front_test_restored),
	KUNIT_CASE_SLOW(front_test_asleep_meanwhile),
	KUNIT_CASE_SLOW(front_test_asleep_in_time),
	KUNIT_CASE_SLOW(front_test_asleep_waking),
#endif
	KUNIT_CASE_SLOW(front_test_removed_meanwhile),
	{ }
};

static struct kunit_suite front_test_suite = {
	.name = "virtio_grant_bus_front",
	.init = front_test_init,
	.exit = front_test_exit,
	.test_cases = front_test_cases,
};

kunit_test_suite(front_test_suite);
