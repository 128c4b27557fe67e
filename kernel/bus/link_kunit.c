// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * link_kunit.c - requests and their answers, with a backend that answers late, twice,
 * never, or with anything but what it was asked.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "bus/peer_kunit.h"

#define ANSWER_MS	200
#define SILENT_MS	100
/* No wait of ours is as long as this, whatever else the machine does. */
#define LONG_MS		20000
#define CANARY		0xc5

struct link_test {
	struct vgb_link link;
	struct peer peer;
	atomic_t changes;
	bool has_cause;
};

static bool link_changed(struct vgb_link *link, bool is_config, bool is_used)
{
	struct link_test *ctx = container_of(link, struct link_test, link);

	atomic_inc(&ctx->changes);
	return ctx->has_cause;
}

static int link_open(struct link_test *ctx)
{
	int ret = vgb_link_open(&ctx->link, peer_own_domid(), "vgb-kunit");

	if (!ret)
		ret = peer_attach(&ctx->peer, &ctx->link);
	if (!ret)
		vgb_link_set_reach(&ctx->link, VGB_UP);
	return ret;
}

static int link_test_init(struct kunit *test)
{
	struct link_test *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	int ret;

	if (!ctx)
		return -ENOMEM;
	peer_init(&ctx->peer);
	ret = vgb_link_init(&ctx->link, link_changed);
	if (ret)
		return ret;
	vgb_answer_ms = LONG_MS;
	vgb_silent_ms = SILENT_MS;
	test->priv = ctx;
	return link_open(ctx);
}

static void link_test_exit(struct kunit *test)
{
	struct link_test *ctx = test->priv;

	if (!ctx)
		return;
	peer_detach(&ctx->peer);
	vgb_link_exit(&ctx->link);
	vgb_answer_ms = 5000;
	vgb_silent_ms = 100;
}

/* A request whose answer is as long as itself.  Its buffer has room and canaries. */
struct ping {
	struct virtio_grant_bus_ping pong;
	u8 canary[2 * PEER_MSG_BYTES];
};

static int ping(struct link_test *ctx, struct ping *p)
{
	const struct virtio_grant_bus_ping req = {
		.data = cpu_to_le32(0x12345678),
	};

	memset(p, CANARY, sizeof(*p));
	return vgb_request(&ctx->link, VIRTIO_GRANT_MSG_TYPE_BUS,
			   VIRTIO_GRANT_BUS_PING, &req, sizeof(req), &p->pong,
			   sizeof(p->pong));
}

/* What it says of the answer; nothing else was written, and no part of a bad one. */
static void expect_ping(struct kunit *test, int want, const char *what, int arg)
{
	struct link_test *ctx = test->priv;
	struct ping p;

	KUNIT_EXPECT_EQ_MSG(test, ping(ctx, &p), want, "%s %#x", what, arg);
	if (want)
		KUNIT_EXPECT_EQ_MSG(test, le32_to_cpu(p.pong.data),
				    CANARY * 0x01010101U, "%s %#x", what, arg);
	else
		KUNIT_EXPECT_EQ_MSG(test, le32_to_cpu(p.pong.data), 0x12345678U,
				    "%s %#x", what, arg);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(p.canary, CANARY,
					       sizeof(p.canary)),
			      "%s %#x", what, arg);
}

static void link_test_answered(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < 100; i++)
		expect_ping(test, 0, "answered", i);
	KUNIT_EXPECT_EQ(test, ctx->peer.requests, 100U);
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 0U);
}

/* The largest that there are, both ways, and one byte more. */
static void link_test_largest(struct kunit *test)
{
	const unsigned int max = VIRTIO_GRANT_BUS_MSG_BYTES -
				 sizeof(struct virtio_grant_msg_header);
	struct link_test *ctx = test->priv;
	u8 *buf = kunit_kzalloc(test, PEER_MSG_BYTES, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	memset(buf, 0x5a, PEER_MSG_BYTES);
	/* Nobody knows such a message: no payload. */
	KUNIT_EXPECT_EQ(test, vgb_request(&ctx->link, 0, 0xff, buf, max, NULL, 0),
			0);
	KUNIT_EXPECT_EQ(test, le16_to_cpu(ctx->peer.req.head.msg_size),
			VIRTIO_GRANT_BUS_MSG_BYTES);
	KUNIT_EXPECT_EQ(test, ctx->peer.req.raw[VIRTIO_GRANT_BUS_MSG_BYTES - 1],
			0x5a);
	KUNIT_EXPECT_EQ(test, ctx->peer.req.raw[VIRTIO_GRANT_BUS_MSG_BYTES], 0);
}

/* Lies, of which arg says more */

static bool twist_size(struct peer *peer, const union peer_msg *req,
		       union peer_msg *rsp)
{
	rsp->head.msg_size = cpu_to_le16(peer->arg);
	return true;
}

static bool twist_type(struct peer *peer, const union peer_msg *req,
		       union peer_msg *rsp)
{
	rsp->head.type = peer->arg;
	return true;
}

static bool twist_id(struct peer *peer, const union peer_msg *req,
		     union peer_msg *rsp)
{
	rsp->head.msg_id = peer->arg;
	return true;
}

static bool twist_token(struct peer *peer, const union peer_msg *req,
			union peer_msg *rsp)
{
	rsp->head.token = cpu_to_le16(le16_to_cpu(req->head.token) ^ peer->arg);
	return true;
}

static bool twist_dev_num(struct peer *peer, const union peer_msg *req,
			  union peer_msg *rsp)
{
	rsp->head.dev_num = cpu_to_le16(peer->arg);
	return true;
}

static bool twist_no_answer(struct peer *peer, const union peer_msg *req,
			    union peer_msg *rsp)
{
	peer->last = *rsp;
	return false;
}

static bool twist_seq(struct peer *peer, const union peer_msg *req,
		      union peer_msg *rsp)
{
	peer_put(peer, rsp, peer->seq + peer->arg);
	return false;
}

static void link_test_sizes(struct kunit *test)
{
	const unsigned int right = sizeof(struct virtio_grant_msg_header) +
				   sizeof(struct virtio_grant_bus_ping);
	static const int large[] = { 0x7fff, 0x8000, 0xfffe, 0xffff };
	struct link_test *ctx = test->priv;
	unsigned int i;

	ctx->peer.twist = twist_size;
	for (i = 0; i <= PEER_MSG_BYTES; i++) {
		ctx->peer.arg = i;
		expect_ping(test, i == right ? 0 : -EPROTO, "size", i);
	}
	for (i = 0; i < ARRAY_SIZE(large); i++) {
		ctx->peer.arg = large[i];
		expect_ping(test, -EPROTO, "size", large[i]);
	}
	/* Nonsense is an answer. */
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 0U);
}

static void link_test_headers(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < 256; i++) {
		ctx->peer.arg = i;
		ctx->peer.twist = twist_type;
		expect_ping(test, i == (VIRTIO_GRANT_MSG_TYPE_BUS |
					VIRTIO_GRANT_MSG_TYPE_RESPONSE) ?
			    0 : -EPROTO, "type", i);
		ctx->peer.twist = twist_id;
		expect_ping(test, i == VIRTIO_GRANT_BUS_PING ? 0 : -EPROTO,
			    "msg_id", i);
	}
	for (i = 0; i < 16; i++) {
		ctx->peer.arg = BIT(i);
		ctx->peer.twist = twist_token;
		expect_ping(test, -EPROTO, "token", BIT(i));
		ctx->peer.twist = twist_dev_num;
		expect_ping(test, -EPROTO, "dev_num", BIT(i));
	}
	ctx->peer.twist = NULL;
	expect_ping(test, 0, "right again", 0);
}

/* The backend has seen the last request, however long that takes on this machine. */
static bool link_is_seen(struct link_test *ctx)
{
	unsigned long end = jiffies + msecs_to_jiffies(LONG_MS);

	while (READ_ONCE(ctx->peer.seq) != ctx->link.seq &&
	       time_before(jiffies, end))
		usleep_range(1000, 2000);
	/* ... and is done with it. */
	synchronize_irq(ctx->peer.irq);
	return ctx->peer.seq == ctx->link.seq;
}

/* Numbers that are not the request's: no answer, however often one is notified. */
static void link_test_seq_jumps(struct kunit *test)
{
	static const int jumps[] = {
		1, -1, 2, 0x10000, -0x10000, INT_MIN, INT_MAX,
	};
	struct link_test *ctx = test->priv;
	unsigned int i;

	vgb_answer_ms = ANSWER_MS;
	ctx->peer.twist = twist_seq;
	for (i = 0; i < ARRAY_SIZE(jumps); i++) {
		ctx->peer.arg = jumps[i];
		expect_ping(test, -EAGAIN, "jump", jumps[i]);
		KUNIT_EXPECT_EQ(test, ctx->link.silences, i + 1);
		KUNIT_EXPECT_TRUE(test, ctx->link.is_silent);
		/* Or it would be there when the next is asked: in_advance(). */
		KUNIT_EXPECT_TRUE(test, link_is_seen(ctx));
		WRITE_ONCE(ctx->link.page->response_seq, 0);
	}
	ctx->peer.twist = NULL;
	vgb_silent_ms = LONG_MS;
	expect_ping(test, 0, "answered again", 0);
	KUNIT_EXPECT_FALSE(test, ctx->link.is_silent);
}

/* The answer to the next request is not there because its number is. */
static void link_test_in_advance(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	union peer_msg early;

	expect_ping(test, 0, "first", 0);
	early = ctx->peer.last;
	ctx->peer.twist = twist_no_answer;
	peer_put(&ctx->peer, &early, ctx->peer.seq + 1);
	/* Its token is the last one's. */
	expect_ping(test, -EPROTO, "in advance", 0);
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 0U);
}

/* Over the end of the numbers, 0 included. */
static void link_test_wraps(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i;

	ctx->link.seq = U32_MAX - 3;
	for (i = 0; i < 8; i++)
		expect_ping(test, 0, "wrap", i);
	KUNIT_EXPECT_EQ(test, ctx->link.seq, 4U);
}

static void link_test_answered_twice(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	union peer_msg again;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		expect_ping(test, 0, "twice", i);
		/* Other content, and the same number. */
		again = ctx->peer.last;
		memset(&again.head + 1, 0xee, sizeof(struct virtio_grant_bus_ping));
		peer_put(&ctx->peer, &again, ctx->peer.seq);
		peer_put(&ctx->peer, &again, ctx->peer.seq);
	}
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 0U);
}

/* One that comes after nobody waits any more, is nobody's. */
static void link_test_late(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i;

	vgb_answer_ms = ANSWER_MS;
	/* The next one is waited for. */
	vgb_silent_ms = LONG_MS;
	for (i = 0; i < 3; i++) {
		ctx->peer.twist = twist_no_answer;
		expect_ping(test, -EAGAIN, "late", i);
		KUNIT_EXPECT_TRUE(test, link_is_seen(ctx));
		ctx->peer.twist = NULL;
		peer_put(&ctx->peer, &ctx->peer.last, ctx->peer.seq);
		expect_ping(test, 0, "the next", i);
	}
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 3U);
}

/* The first wait is the long one, until there is an answer again. */
static void link_test_never(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned long began, first, second;

	vgb_answer_ms = ANSWER_MS;
	peer_set_silent(&ctx->peer, true);
	began = jiffies;
	expect_ping(test, -EAGAIN, "never", 0);
	first = jiffies - began;
	vgb_answer_ms = 10 * LONG_MS;
	began = jiffies;
	expect_ping(test, -EAGAIN, "never", 1);
	second = jiffies - began;
	KUNIT_EXPECT_GE(test, first, msecs_to_jiffies(ANSWER_MS));
	KUNIT_EXPECT_LT(test, first, msecs_to_jiffies(LONG_MS));
	KUNIT_EXPECT_GE(test, second, msecs_to_jiffies(SILENT_MS));
	KUNIT_EXPECT_LT(test, second, msecs_to_jiffies(LONG_MS));
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 2U);
	vgb_silent_ms = LONG_MS;
	peer_set_silent(&ctx->peer, false);
	expect_ping(test, 0, "again", 0);
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 2U);
}

/* Threads that ask, and are waited for */

struct asker {
	struct link_test *ctx;
	int ret;
	bool is_killable;
	bool is_done;
};

static int asker_fn(void *arg)
{
	struct asker *asker = arg;
	struct ping p;

	if (asker->is_killable)
		allow_signal(SIGKILL);
	asker->ret = ping(asker->ctx, &p);
	WRITE_ONCE(asker->is_done, true);
	return 0;
}

/* It waits for an answer by then, or did. */
static void asker_asks(struct kunit *test, struct asker *asker,
		       struct task_struct **task)
{
	unsigned int before = READ_ONCE(asker->ctx->link.seq), i;

	KUNIT_ASSERT_EQ(test, peer_run(test, asker_fn, asker, task), 0);
	for (i = 0; i < 5000 && READ_ONCE(asker->ctx->link.seq) == before; i++)
		usleep_range(1000, 2000);
	KUNIT_EXPECT_NE(test, READ_ONCE(asker->ctx->link.seq), before);
}

static bool asker_ends(struct asker *asker, unsigned int ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);

	while (!READ_ONCE(asker->is_done) && time_before(jiffies, end))
		usleep_range(1000, 2000);
	return READ_ONCE(asker->is_done);
}

/* Nobody is kept from being killed; and it is not held against the backend. */
static void link_test_killed(struct kunit *test)
{
	struct asker asker = { .ctx = test->priv, .is_killable = true };
	struct link_test *ctx = test->priv;
	struct task_struct *task;

	vgb_answer_ms = 10 * LONG_MS;
	peer_set_silent(&ctx->peer, true);
	asker_asks(test, &asker, &task);
	KUNIT_EXPECT_FALSE(test, asker_ends(&asker, 50));
	send_sig(SIGKILL, task, 1);
	KUNIT_EXPECT_TRUE(test, asker_ends(&asker, LONG_MS));
	peer_join(task);
	KUNIT_EXPECT_EQ(test, asker.ret, -EAGAIN);
	KUNIT_EXPECT_EQ(test, ctx->link.silences, 0U);
	KUNIT_EXPECT_FALSE(test, ctx->link.is_silent);
	/* One who is killed gets an answer all the same, if that does not take long. */
	asker.is_done = false;
	vgb_silent_ms = LONG_MS;
	asker_asks(test, &asker, &task);
	send_sig(SIGKILL, task, 1);
	KUNIT_EXPECT_FALSE(test, asker_ends(&asker, 50));
	peer_set_silent(&ctx->peer, false);
	KUNIT_EXPECT_TRUE(test, asker_ends(&asker, LONG_MS / 2));
	peer_join(task);
	KUNIT_EXPECT_EQ(test, asker.ret, 0);
}

/* A backend that is gone is waited for by nobody. */
static void link_test_reach(struct kunit *test)
{
	struct asker asker = { .ctx = test->priv };
	struct link_test *ctx = test->priv;
	struct task_struct *task;
	unsigned int before;

	vgb_answer_ms = 10 * LONG_MS;
	peer_set_silent(&ctx->peer, true);
	asker_asks(test, &asker, &task);
	KUNIT_EXPECT_FALSE(test, asker_ends(&asker, 50));
	vgb_link_set_reach(&ctx->link, VGB_DOWN);
	KUNIT_EXPECT_TRUE(test, asker_ends(&asker, LONG_MS));
	peer_join(task);
	KUNIT_EXPECT_EQ(test, asker.ret, -EAGAIN);
	/* Nor is it asked. */
	before = ctx->link.seq;
	expect_ping(test, -EAGAIN, "down", 0);
	KUNIT_EXPECT_EQ(test, ctx->link.seq, before);

	/* While one sees to its going on, only he reaches it. */
	peer_set_silent(&ctx->peer, false);
	ctx->link.is_silent = false;
	vgb_link_set_reach(&ctx->link, VGB_RESUMING);
	expect_ping(test, 0, "resuming", 0);
	before = ctx->link.seq;
	asker.is_done = false;
	KUNIT_ASSERT_EQ(test, peer_run(test, asker_fn, &asker, &task), 0);
	KUNIT_EXPECT_TRUE(test, asker_ends(&asker, LONG_MS));
	peer_join(task);
	KUNIT_EXPECT_EQ(test, asker.ret, -EAGAIN);
	KUNIT_EXPECT_EQ(test, ctx->link.seq, before);
	vgb_link_set_reach(&ctx->link, VGB_UP);
	expect_ping(test, 0, "up", 0);
}

/* Two requests at once are two, one after the other. */
static void link_test_one_at_a_time(struct kunit *test)
{
	struct asker asker[4];
	struct task_struct *task[ARRAY_SIZE(asker)];
	struct link_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asker); i++) {
		asker[i] = (struct asker){ .ctx = ctx };
		KUNIT_ASSERT_EQ(test, peer_run(test, asker_fn, &asker[i],
					       &task[i]), 0);
	}
	for (i = 0; i < ARRAY_SIZE(asker); i++) {
		KUNIT_EXPECT_TRUE(test, asker_ends(&asker[i], LONG_MS));
		peer_join(task[i]);
		KUNIT_EXPECT_EQ(test, asker[i].ret, 0);
	}
	KUNIT_EXPECT_EQ(test, ctx->peer.requests, (unsigned int)ARRAY_SIZE(asker));
}

/* A page that is opened again begins anew, whatever was in it. */
static void link_test_opened_again(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		expect_ping(test, 0, "opened", i);
		memset(ctx->link.page, 0xff, sizeof(*ctx->link.page));
		KUNIT_EXPECT_TRUE(test, vgb_link_close(&ctx->link));
		KUNIT_EXPECT_EQ(test, ctx->link.ref, 0U);
		KUNIT_ASSERT_EQ(test, link_open(ctx), 0);
		KUNIT_EXPECT_EQ(test, le32_to_cpu(ctx->link.page->magic),
				(u32)VIRTIO_GRANT_BUS_MAGIC);
		KUNIT_EXPECT_EQ(test, ctx->link.page->reserved3[2047], 0);
	}
}

/* Scribbling */

static int scribbler_fn(void *arg)
{
	struct link_test *ctx = arg;
	u32 n = 1;

	while (!kthread_should_stop()) {
		u8 *rsp = ctx->link.page->response;

		n = n * 1664525 + 1013904223;
		WRITE_ONCE(rsp[(n >> 8) % 12], n >> 24);
		WRITE_ONCE(rsp[6], n >> 16);
		if (!(n & 0xff000))
			cond_resched();
	}
	return 0;
}

/* Whatever the answer becomes while it is read: it is one, or it is none. */
static void link_test_changes_under_reader(struct kunit *test)
{
	struct link_test *ctx = test->priv;
	unsigned int i, good = 0, bad = 0;
	struct task_struct *task;
	struct ping p;

	KUNIT_ASSERT_EQ(test, peer_run(test, scribbler_fn, ctx, &task), 0);
	for (i = 0; i < 2000; i++) {
		int ret = ping(ctx, &p);

		good += !ret;
		bad += ret == -EPROTO;
		KUNIT_EXPECT_TRUE(test, !ret || ret == -EPROTO || ret == -EAGAIN);
		KUNIT_EXPECT_NULL(test, memchr_inv(p.canary, CANARY,
						   sizeof(p.canary)));
		if (ret)
			KUNIT_EXPECT_EQ(test, le32_to_cpu(p.pong.data),
					CANARY * 0x01010101U);
	}
	peer_join(task);
	kunit_info(test, "%u answers, %u that were none\n", good, bad);
	expect_ping(test, 0, "afterwards", 0);
}

/* Events */

#define EVENTS	60

/* So many jiffies it takes until as many events were taken, one after the other. */
static unsigned long events_take(struct kunit *test, bool has_cause)
{
	struct link_test *ctx = test->priv;
	unsigned long began = jiffies, end = began + msecs_to_jiffies(LONG_MS);
	unsigned int i;

	ctx->has_cause = has_cause;
	for (i = 0; i < EVENTS; i++) {
		int before = atomic_read(&ctx->changes);

		peer_config_event(&ctx->peer);
		while (atomic_read(&ctx->changes) == before &&
		       time_before(jiffies, end))
			cond_resched();
	}
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, end));
	return jiffies - began;
}

/*
 * Events without a cause are taken later: the kernel makes a pause of a jiffy after
 * each second one.  Whatever the counters say is no cause.
 */
static void expect_damped(struct kunit *test, unsigned long took)
{
	kunit_info(test, "%u events took %lu jiffies\n", EVENTS, took);
	KUNIT_EXPECT_GE(test, took, EVENTS / 2UL - 5);
}

static void link_test_event_flood(struct kunit *test)
{
	expect_damped(test, events_take(test, false));
	/* With a cause each is taken, and an answer always is. */
	kunit_info(test, "with a cause %lu\n", events_take(test, true));
	expect_damped(test, events_take(test, false));
	expect_ping(test, 0, "after a storm", 0);
}

/* A request that is not answered gives nobody leave to storm. */
static void link_test_flood_while_waiting(struct kunit *test)
{
	struct asker asker = { .ctx = test->priv };
	struct link_test *ctx = test->priv;
	struct task_struct *task;

	ctx->peer.twist = twist_no_answer;
	asker_asks(test, &asker, &task);
	expect_damped(test, events_take(test, false));
	KUNIT_EXPECT_FALSE(test, READ_ONCE(asker.is_done));
	peer_put(&ctx->peer, &ctx->peer.last, ctx->peer.seq);
	KUNIT_EXPECT_TRUE(test, asker_ends(&asker, LONG_MS / 2));
	peer_join(task);
	KUNIT_EXPECT_EQ(test, asker.ret, 0);
}

static struct kunit_case link_test_cases[] = {
	KUNIT_CASE(link_test_answered),
	KUNIT_CASE(link_test_largest),
	KUNIT_CASE_SLOW(link_test_sizes),
	KUNIT_CASE_SLOW(link_test_headers),
	KUNIT_CASE(link_test_seq_jumps),
	KUNIT_CASE(link_test_in_advance),
	KUNIT_CASE(link_test_wraps),
	KUNIT_CASE(link_test_answered_twice),
	KUNIT_CASE(link_test_late),
	KUNIT_CASE(link_test_never),
	KUNIT_CASE(link_test_killed),
	KUNIT_CASE(link_test_reach),
	KUNIT_CASE(link_test_one_at_a_time),
	KUNIT_CASE_SLOW(link_test_opened_again),
	KUNIT_CASE_SLOW(link_test_changes_under_reader),
	KUNIT_CASE_SLOW(link_test_event_flood),
	KUNIT_CASE_SLOW(link_test_flood_while_waiting),
	{ }
};

static struct kunit_suite link_test_suite = {
	.name = "virtio_grant_bus_link",
	.init = link_test_init,
	.exit = link_test_exit,
	.test_cases = link_test_cases,
};

kunit_test_suite(link_test_suite);

MODULE_DESCRIPTION("KUnit tests of virtio over messages on the Xen bus");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
VGRANT_KUNIT_IMPORTS;
