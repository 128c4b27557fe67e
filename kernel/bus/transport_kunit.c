// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * transport_kunit.c - what a virtio device is asked, answered by a backend that
 * answers with too much, too little, of something else, or with numbers that can't be.
 *
 * Nothing drives the device here; what does, is tested by life_kunit.c.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/module.h>
#include <linux/string.h>
#include <uapi/linux/virtio_blk.h>

#include "bus/peer_kunit.h"

struct transport_test {
	struct vgb_device vgb;
	struct peer peer;
};

static int transport_test_init(struct kunit *test)
{
	struct transport_test *ctx = kunit_kzalloc(test, sizeof(*ctx),
						   GFP_KERNEL);
	struct vgb_device *vgb = &ctx->vgb;
	domid_t self = peer_own_domid();
	struct device *dev;
	int ret;

	if (!ctx)
		return -ENOMEM;
	dev = kunit_device_register(test, "vgb-transport");
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	vgb_transport_init(vgb);
	vgrant_dev_init(&vgb->vgd, dev, &vgb_transport, self);
	peer_init(&ctx->peer);
	ret = vgb_link_init(&vgb->link, vgb_changed);
	if (ret)
		return ret;
	vgb_answer_ms = 20000;
	vgb_silent_ms = 20;
	test->priv = ctx;
	ret = vgb_link_open(&vgb->link, self, "vgb-kunit") ?:
	      peer_attach(&ctx->peer, &vgb->link);
	if (ret)
		return ret;
	vgb_link_set_reach(&vgb->link, VGB_UP);
	return vgb_ask_info(vgb, &vgb->info);
}

static void transport_test_exit(struct kunit *test)
{
	struct transport_test *ctx = test->priv;

	if (!ctx)
		return;
	peer_detach(&ctx->peer);
	vgb_link_exit(&ctx->vgb.link);
	vgb_answer_ms = 5000;
	vgb_silent_ms = 100;
}

/* Operations, and what each says if the answer is right, nonsense, or not there */

static s64 op_answers(struct vgrant_device *vgd)
{
	return vgb_transport.answers(vgd);
}

static s64 op_identity(struct vgrant_device *vgd)
{
	return vgb_transport.ask_identity(vgd);
}

static s64 op_caps(struct vgrant_device *vgd)
{
	return vgb_transport.read_caps(vgd);
}

static s64 op_features(struct vgrant_device *vgd)
{
	return vgb_transport.read_features(vgd);
}

static s64 op_status(struct vgrant_device *vgd)
{
	return vgb_transport.read_status(vgd);
}

static s64 op_share(struct vgrant_device *vgd)
{
	return vgb_transport.share_range(vgd, 100, 10);
}

static s64 op_unshare(struct vgrant_device *vgd)
{
	return vgb_transport.unshare_range(vgd);
}

static s64 op_is_ready(struct vgrant_device *vgd)
{
	return vgb_transport.queue_is_ready(vgd, 1);
}

static s64 op_size_max(struct vgrant_device *vgd)
{
	return vgb_transport.queue_size_max(vgd, 1);
}

static s64 op_inflight(struct vgrant_device *vgd)
{
	static const u16 heads[] = { 3, 1, 2 };

	return vgb_transport.set_inflight(vgd, 1, 7, heads, ARRAY_SIZE(heads));
}

static s64 op_stop(struct vgrant_device *vgd)
{
	return vgb_transport.queue_stop(vgd, 1);
}

static s64 op_set_port(struct vgrant_device *vgd)
{
	return vgb_transport.set_port(vgd, 1, 77);
}

static s64 op_clear_port(struct vgrant_device *vgd)
{
	return vgb_transport.clear_port(vgd, 1);
}

/* Zeroes, if it is not what the device has there.  It is asked each time. */
static s64 op_config(struct vgrant_device *vgd)
{
	u8 buf[16];
	int ret;

	vgb_of(vgd)->config.is_valid = false;
	memset(buf, 0xc5, sizeof(buf));
	ret = vgb_transport.config_read(vgd, 8, buf, sizeof(buf));
	if (ret)
		return ret;
	if (!memchr_inv(buf, 0, sizeof(buf)))
		return 0;
	return memchr_inv(buf, 0x66, sizeof(buf)) ? -EINVAL : 1;
}

static s64 op_generation(struct vgrant_device *vgd)
{
	u32 generation;
	int ret;

	vgb_of(vgd)->config.is_valid = false;
	ret = vgb_transport.read_generation(vgd, &generation);
	if (ret)
		return ret;
	return generation;
}

static const struct {
	const char *name;
	s64 (*op)(struct vgrant_device *vgd);
	s64 right;
	s64 nonsense;
	s64 silent;
	bool has_index;
} ops[] = {
	{ "answers", op_answers, 1, 0, 0 },
	{ "identity", op_identity, 0, -ENODEV, -EAGAIN },
	{ "caps", op_caps, VIRTIO_GRANT_CAP_RANGES, 0, 0 },
	{ "features", op_features, PEER_FEATURES, 0, 0, true },
	{ "status", op_status, 3, VGRANT_NOBODY, VGRANT_NOBODY },
	{ "share", op_share, VIRTIO_GRANT_RANGE_HELD,
	  VIRTIO_GRANT_RANGE_INVALID, VGRANT_NOBODY, true },
	{ "unshare", op_unshare, VIRTIO_GRANT_RANGE_NONE,
	  VIRTIO_GRANT_RANGE_INVALID, VGRANT_NOBODY, true },
	{ "is ready", op_is_ready, 1, 0, -EAGAIN, true },
	{ "size max", op_size_max, 16, VGRANT_NOBODY, VGRANT_NOBODY, true },
	{ "inflight", op_inflight, 0, -EPROTO, -EAGAIN, true },
	{ "set port", op_set_port, 0, -EIO, -EIO, true },
	{ "clear port", op_clear_port, 1, 0, 0, true },
	{ "config", op_config, 1, 0, -EAGAIN },
	{ "generation", op_generation, 5, 5, -EAGAIN },
	/* Last: it is ready no more.  Of what does not say, it believes so. */
	{ "stop", op_stop, 1, 1, 0 },
};

static void peer_has(struct peer *peer)
{
	peer_heal(peer);
	peer->status = 3;
	peer->generation = 5;
	memset(peer->config, 0x66, sizeof(peer->config));
	peer->queue[1].max_size = 16;
	peer->queue[1].cur_size = 16;
	peer->queue[1].port = 77;
}

/* Every kind of answer that is none: to arg bytes more than there are. */
static bool twist_length(struct peer *peer, const union peer_msg *req,
			 union peer_msg *rsp)
{
	rsp->head.msg_size = cpu_to_le16(le16_to_cpu(rsp->head.msg_size) +
					 peer->arg);
	return true;
}

static bool twist_header_alone(struct peer *peer, const union peer_msg *req,
			       union peer_msg *rsp)
{
	rsp->head.msg_size = cpu_to_le16(sizeof(rsp->head));
	return true;
}

static bool twist_other_message(struct peer *peer, const union peer_msg *req,
				union peer_msg *rsp)
{
	rsp->head.msg_id ^= 1;
	return true;
}

static bool twist_first_word(struct peer *peer, const union peer_msg *req,
			     union peer_msg *rsp)
{
	__le32 *word = (__le32 *)(&rsp->head + 1);

	*word = cpu_to_le32(le32_to_cpu(*word) ^ BIT(peer->arg));
	return true;
}

static void transport_test_right(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	unsigned int i;

	peer_has(&ctx->peer);
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		KUNIT_EXPECT_EQ_MSG(test, ops[i].op(&ctx->vgb.vgd), ops[i].right,
				    "%s", ops[i].name);
}

static void expect_nonsense(struct kunit *test, unsigned int i,
			    const char *what, int arg)
{
	struct transport_test *ctx = test->priv;

	/* What it has read before, it knows. */
	ctx->vgb.generation = 5;
	ctx->peer.arg = arg;
	KUNIT_EXPECT_EQ_MSG(test, ops[i].op(&ctx->vgb.vgd), ops[i].nonsense,
			    "%s: %s %d", ops[i].name, what, arg);
}

static void transport_test_nonsense(struct kunit *test)
{
	static const int more[] = { -8, -4, -1, 1, 4, 8, 500, 0x7f00 };
	struct transport_test *ctx = test->priv;
	struct peer *peer = &ctx->peer;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		peer_has(peer);
		for (k = 0; k < ARRAY_SIZE(more); k++) {
			peer->twist = twist_length;
			expect_nonsense(test, i, "length", more[k]);
		}
		peer->twist = twist_header_alone;
		/* All that a message without payload has. */
		expect_nonsense(test, i, "header alone", 0);
		peer->twist = twist_other_message;
		expect_nonsense(test, i, "another message", 0);
		peer->twist = twist_first_word;
		for (k = 0; ops[i].has_index && k < 32; k++)
			expect_nonsense(test, i, "index, bit", k);
	}
	KUNIT_EXPECT_EQ(test, ctx->vgb.link.silences, 0U);
}

static void transport_test_silence(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	unsigned int i;

	vgb_answer_ms = 100;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		peer_has(&ctx->peer);
		peer_set_silent(&ctx->peer, true);
		KUNIT_EXPECT_EQ_MSG(test, ops[i].op(&ctx->vgb.vgd),
				    ops[i].silent, "%s", ops[i].name);
	}
	KUNIT_EXPECT_GE(test, ctx->vgb.link.silences,
			(unsigned int)ARRAY_SIZE(ops));
}

/* Numbers */

static const u32 numbers[] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 255, 256, 1023, 1024, 1025,
	32767, 32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe,
	U32_MAX,
};

/* The word of the answer's payload that is replaced, and by what. */
static unsigned int lie_at;
static u32 lie;

static bool twist_lie(struct peer *peer, const union peer_msg *req,
		      union peer_msg *rsp)
{
	__le32 *word = (__le32 *)(&rsp->head + 1);

	word[lie_at] = cpu_to_le32(lie);
	return true;
}

/* As many blocks as were asked for, from the first one on: or none. */
static void transport_test_feature_blocks(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	unsigned int i;

	ctx->peer.twist = twist_lie;
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		lie = numbers[i];
		lie_at = 0;
		KUNIT_EXPECT_EQ_MSG(test, op_features(&ctx->vgb.vgd),
				    lie ? 0 : (s64)PEER_FEATURES,
				    "block_index %u", lie);
		lie_at = 1;
		KUNIT_EXPECT_EQ_MSG(test, op_features(&ctx->vgb.vgd),
				    lie == 2 ? (s64)PEER_FEATURES : 0,
				    "num_blocks %u", lie);
	}
}

/* Of the configuration, too: another piece is none. */
static void transport_test_config_pieces(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		peer_has(&ctx->peer);
		ctx->peer.twist = twist_lie;
		lie = numbers[i];
		lie_at = 1;
		KUNIT_EXPECT_EQ_MSG(test, op_config(&ctx->vgb.vgd), lie == 0,
				    "offset %u", lie);
		lie_at = 2;
		KUNIT_EXPECT_EQ_MSG(test, op_config(&ctx->vgb.vgd),
				    lie == min(PEER_CONFIG,
					       VIRTIO_GRANT_MSG_CONFIG_MAX),
				    "length %u", lie);
	}
}

/* What was read, and how many requests that took. */
static void expect_config(struct kunit *test, u8 byte, unsigned int requests)
{
	struct transport_test *ctx = test->priv;
	struct vgrant_device *vgd = &ctx->vgb.vgd;
	unsigned int before = ctx->peer.requests;
	u32 generation;
	u8 buf[8];

	memset(buf, ~byte, sizeof(buf));
	KUNIT_EXPECT_EQ(test, vgb_transport.read_generation(vgd, &generation),
			0);
	KUNIT_EXPECT_EQ(test, vgb_transport.config_read(vgd, 8, buf,
							sizeof(buf)), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(buf, byte, sizeof(buf)));
	KUNIT_EXPECT_EQ(test, vgb_transport.config_read(vgd, 0, buf, 1), 0);
	KUNIT_EXPECT_EQ(test, buf[0], byte);
	KUNIT_EXPECT_EQ(test, generation, ctx->peer.generation);
	KUNIT_EXPECT_EQ(test, ctx->peer.requests - before, requests);
}

static void peer_changes_config(struct peer *peer, u8 byte)
{
	memset(peer->config, byte, sizeof(peer->config));
	peer->generation++;
}

/* Asked for once, until it may be another; and of who is away, not what he said. */
static void transport_test_config_kept(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	struct vgb_device *vgb = &ctx->vgb;
	u8 buf[8] = { 0 };

	peer_has(&ctx->peer);
	expect_config(test, 0x66, 1);
	expect_config(test, 0x66, 0);
	peer_changes_config(&ctx->peer, 0x67);
	peer_config_event(&ctx->peer);
	expect_config(test, 0x67, 1);
	expect_config(test, 0x67, 0);
	/* Those that nobody tells of. */
	peer_changes_config(&ctx->peer, 0x68);
	vgb_transport.write_status(&vgb->vgd, 3);
	expect_config(test, 0x68, 1);
	peer_changes_config(&ctx->peer, 0x69);
	vgb_transport.config_write(&vgb->vgd, 32, buf, sizeof(buf));
	expect_config(test, 0x69, 1);
	/* Of another page. */
	vgb->link.opens++;
	expect_config(test, 0x69, 1);
	/* What an answer of nonsense has, is not kept. */
	peer_changes_config(&ctx->peer, 0x6a);
	peer_config_event(&ctx->peer);
	ctx->peer.twist = twist_lie;
	lie_at = 1;
	lie = 9;
	KUNIT_EXPECT_EQ(test, vgb_transport.config_read(&vgb->vgd, 8, buf,
							sizeof(buf)), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(buf, 0, sizeof(buf)));
	ctx->peer.twist = NULL;
	expect_config(test, 0x6a, 1);
	vgb_link_set_reach(&vgb->link, VGB_DOWN);
	KUNIT_EXPECT_EQ(test, vgb_transport.config_read(&vgb->vgd, 8, buf,
							sizeof(buf)), -EAGAIN);
	vgb_link_set_reach(&vgb->link, VGB_UP);
	expect_config(test, 0x6a, 1);
	expect_config(test, 0x6a, 0);
}

/* Whatever the device says that it has of it: no byte beyond, and no more asked. */
static void transport_test_config_bytes(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	struct vgrant_device *vgd = &ctx->vgb.vgd;
	u8 *buf = kunit_kzalloc(test, 1024, GFP_KERNEL);
	unsigned int i, k, len;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	peer_has(&ctx->peer);
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		ctx->vgb.info.config_bytes = numbers[i];
		for (len = 1; len <= 300; len += 23) {
			memset(buf, 0xc5, 1024);
			KUNIT_EXPECT_EQ(test,
					vgb_transport.config_read(vgd, 0, buf,
								  len), 0);
			for (k = 0; k < len; k++)
				if (buf[k] != (k < min_t(u32, numbers[i],
							 PEER_CONFIG) ?
					       0x66 : 0))
					break;
			KUNIT_EXPECT_EQ_MSG(test, k, len, "%u bytes of %u",
					    len, numbers[i]);
			KUNIT_EXPECT_NULL(test, memchr_inv(buf + len, 0xc5,
							   1024 - len));
		}
		/* At its end, and where there is none. */
		memset(buf, 0xc5, 1024);
		KUNIT_EXPECT_EQ(test,
				vgb_transport.config_read(vgd, U32_MAX - 4, buf,
							  16), 0);
		KUNIT_EXPECT_NULL(test, memchr_inv(buf, 0, 16));
	}
}

static void transport_test_config_write(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	struct vgrant_device *vgd = &ctx->vgb.vgd;
	unsigned int requests;
	u8 buf[200];

	peer_has(&ctx->peer);
	memset(buf, 0x77, sizeof(buf));
	vgb_transport.config_write(vgd, 3, buf, 5);
	/* The generation was another one: once more. */
	KUNIT_EXPECT_EQ(test, ctx->peer.config[2], 0x66);
	KUNIT_EXPECT_NULL(test, memchr_inv(ctx->peer.config + 3, 0x77, 5));
	KUNIT_EXPECT_EQ(test, ctx->peer.config[8], 0x66);
	/* But not for as long as it is. */
	ctx->peer.twist = twist_lie;
	lie_at = 2;
	lie = 0;
	requests = ctx->peer.requests;
	vgb_transport.config_write(vgd, 3, buf, 5);
	KUNIT_EXPECT_EQ(test, ctx->peer.requests, requests + 2);
	/* More than fits. */
	requests = ctx->peer.requests;
	vgb_transport.config_write(vgd, 0, buf, sizeof(buf));
	KUNIT_EXPECT_EQ(test, ctx->peer.requests, requests);
}

/* What is said of queues, ranges and channels, is what the two agreed upon or not. */
static void transport_test_states(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	struct vgrant_device *vgd = &ctx->vgb.vgd;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		peer_has(&ctx->peer);
		ctx->peer.twist = twist_lie;
		lie_at = 1;
		lie = numbers[i];
		KUNIT_EXPECT_EQ(test, op_share(vgd) == VIRTIO_GRANT_RANGE_HELD,
				lie == VIRTIO_GRANT_RANGE_HELD);
		/* Who answers is there, whatever he says. */
		KUNIT_EXPECT_NE(test, op_share(vgd), (s64)VGRANT_NOBODY);
		KUNIT_EXPECT_EQ(test,
				op_unshare(vgd) == VIRTIO_GRANT_RANGE_NONE,
				lie == VIRTIO_GRANT_RANGE_NONE);
		KUNIT_EXPECT_EQ(test, op_set_port(vgd),
				lie == VIRTIO_GRANT_QUEUE_BOUND ? 0 : -EIO);
		KUNIT_EXPECT_EQ(test, op_clear_port(vgd),
				lie == VIRTIO_GRANT_QUEUE_NONE);
		KUNIT_EXPECT_EQ(test, op_inflight(vgd),
				lie == VIRTIO_GRANT_QUEUE_BOUND ? 0 : -EIO);
		ctx->peer.twist = twist_lie;
		/* max_size, cur_size */
		KUNIT_EXPECT_EQ(test, op_size_max(vgd), (s64)lie);
		lie_at = 2;
		KUNIT_EXPECT_EQ(test, op_is_ready(vgd), !!lie);
	}
}

/* Without room for a range there are none; and of what nobody knows, nothing. */
static void transport_test_caps(struct kunit *test)
{
	const u32 known = VIRTIO_GRANT_CAP_RANGES | VIRTIO_GRANT_CAP_EVTCHN |
			  VIRTIO_GRANT_CAP_FILLS;
	struct transport_test *ctx = test->priv;

	ctx->peer.caps = U32_MAX;
	KUNIT_EXPECT_EQ(test, op_caps(&ctx->vgb.vgd), (s64)known);
	ctx->peer.twist = twist_lie;
	lie_at = 1;
	lie = 0;
	KUNIT_EXPECT_EQ(test, op_caps(&ctx->vgb.vgd),
			(s64)(known & ~VIRTIO_GRANT_CAP_RANGES));
}

/* It may have learnt something, but neither forgotten nor become another. */
static void transport_test_identity(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	unsigned int i;

	ctx->peer.twist = twist_lie;
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		lie = numbers[i];
		lie_at = 0;
		KUNIT_EXPECT_EQ_MSG(test, op_identity(&ctx->vgb.vgd),
				    lie == 2 ? 0 : -ENODEV, "type %u", lie);
		lie_at = 1;
		KUNIT_EXPECT_EQ_MSG(test, op_identity(&ctx->vgb.vgd), -ENODEV,
				    "vendor %u", lie);
		lie_at = 3;
		KUNIT_EXPECT_EQ_MSG(test, op_identity(&ctx->vgb.vgd),
				    lie >= PEER_CONFIG ? 0 : -ENODEV,
				    "config_size %u", lie);
		lie_at = 4;
		KUNIT_EXPECT_EQ_MSG(test, op_identity(&ctx->vgb.vgd), 0,
				    "max_virtqueues %u", lie);
	}
}

/* Heads in order, whatever number of messages it takes, and none beside them. */
static void transport_test_heads(struct kunit *test)
{
	static const unsigned int totals[] = { 0, 1, 99, 100, 101, 200, 512 };
	struct transport_test *ctx = test->priv;
	struct vgrant_device *vgd = &ctx->vgb.vgd;
	struct peer_queue *queue = &ctx->peer.queue[1];
	u16 *heads = kunit_kzalloc(test, PEER_HEADS * sizeof(*heads),
				   GFP_KERNEL);
	unsigned int i, before;

	KUNIT_ASSERT_NOT_NULL(test, heads);
	for (i = 0; i < PEER_HEADS; i++)
		heads[i] = i * 37 % PEER_HEADS;
	for (i = 0; i < ARRAY_SIZE(totals); i++) {
		peer_heal(&ctx->peer);
		before = ctx->peer.requests;
		KUNIT_EXPECT_EQ(test,
				vgb_transport.set_inflight(vgd, 1, 0xfff0, heads,
							   totals[i]), 0);
		KUNIT_EXPECT_EQ(test, queue->nr_heads, totals[i]);
		KUNIT_EXPECT_EQ(test, queue->total, (u16)totals[i]);
		KUNIT_EXPECT_EQ(test, queue->used_idx, 0xfff0);
		KUNIT_EXPECT_EQ(test, memcmp(queue->heads, heads,
					     totals[i] * sizeof(*heads)), 0);
		KUNIT_EXPECT_EQ(test, ctx->peer.requests - before,
				max(DIV_ROUND_UP(totals[i],
						 VIRTIO_GRANT_BUS_HEADS_MAX), 1));
	}
}

/* Before there is a device, nothing comes of what the backend says about one. */
static void transport_test_nonsense_at_first(struct kunit *test)
{
	struct transport_test *ctx = test->priv;
	struct vgrant_identity id = { .device = VIRTIO_ID_BLOCK };
	struct vgrant_types types;

	KUNIT_ASSERT_EQ(test, vgrant_types_parse("any", &types), 0);
	ctx->peer.features |= BIT_ULL(VIRTIO_BLK_F_MQ);
	ctx->peer.status = VIRTIO_CONFIG_S_NEEDS_RESET;
	ctx->peer.twist = twist_lie;
	/* Of the features that is a zero, of the configuration it is none. */
	lie_at = 0;
	lie = 0;
	KUNIT_EXPECT_EQ(test, vgrant_identify(&ctx->vgb.vgd, &types, "any", &id),
			0);
	lie_at = 1;
	KUNIT_EXPECT_EQ(test, op_config(&ctx->vgb.vgd), 0);
	peer_config_event(&ctx->peer);
	peer_used_event(&ctx->peer);
	KUNIT_EXPECT_FALSE(test, work_pending(&ctx->vgb.vgd.fault_work));
	flush_work(&ctx->vgb.vgd.fault_work);
	KUNIT_EXPECT_FALSE(test, ctx->vgb.vgd.has_failed);
}

static struct kunit_case transport_test_cases[] = {
	KUNIT_CASE(transport_test_right),
	KUNIT_CASE_SLOW(transport_test_nonsense),
	KUNIT_CASE(transport_test_silence),
	KUNIT_CASE(transport_test_feature_blocks),
	KUNIT_CASE(transport_test_config_pieces),
	KUNIT_CASE(transport_test_config_kept),
	KUNIT_CASE(transport_test_config_bytes),
	KUNIT_CASE(transport_test_config_write),
	KUNIT_CASE(transport_test_states),
	KUNIT_CASE(transport_test_caps),
	KUNIT_CASE(transport_test_identity),
	KUNIT_CASE(transport_test_heads),
	KUNIT_CASE(transport_test_nonsense_at_first),
	{ }
};

static struct kunit_suite transport_test_suite = {
	.name = "virtio_grant_bus_transport",
	.init = transport_test_init,
	.exit = transport_test_exit,
	.test_cases = transport_test_cases,
};

kunit_test_suite(transport_test_suite);
