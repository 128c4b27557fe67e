/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * held.h - a device type for tests: its requests end when the test says so, and
 * what it refuses and offers is the test's.
 */
#ifndef UNIT_HELD_H
#define UNIT_HELD_H

#include <errno.h>
#include <string.h>

#include <linux/virtio_mmio.h>

#include "host.h"
#include "lib/util.h"

#define HELD_MAX	128u

/* The type under test's control. */
static struct held {
	struct vg_req *req[HELD_MAX];
	unsigned int nr, flushes, resets, started;
	bool refuse_features, refuse_requests, complete_at_once;
	bool complete_in_flush;
	uint64_t features;
	uint8_t config[10];
	unsigned int nr_queues;
	const struct vg_queue_traits *traits;	/* NULL: as a disk has them */
	unsigned int cancels;
} held;

static int t_create(struct vg_device *dev, const struct vg_dev_parts *parts,
		    void **priv)
{
	(void)parts;
	*priv = dev;
	return 0;
}

static void t_destroy(void *priv)
{
	(void)priv;
}

static uint64_t t_features(void *priv)
{
	(void)priv;
	return 1u << 5;
}

static unsigned int t_nr_queues(void *priv)
{
	(void)priv;
	return held.nr_queues;
}

static const struct vg_queue_traits *t_traits(void *priv, unsigned int queue)
{
	static const struct vg_queue_traits traits = {
		.segs_max = 8, .may_poll = true,
	};

	(void)priv;
	(void)queue;
	return held.traits ? held.traits : &traits;
}

static int t_set_features(void *priv, uint64_t f)
{
	(void)priv;
	held.features = f;
	return held.refuse_features ? -EINVAL : 0;
}

static void t_config_read(void *priv, unsigned int offset, void *buf,
			  unsigned int len_bytes)
{
	(void)priv;
	assert_true(offset + len_bytes <= sizeof(held.config));
	memcpy(buf, held.config + offset, len_bytes);
}

static void t_config_write(void *priv, unsigned int offset, const void *buf,
			   unsigned int len_bytes)
{
	(void)priv;
	assert_true(offset + len_bytes <= sizeof(held.config));
	memcpy(held.config + offset, buf, len_bytes);
}

static int t_start(void *priv, struct vg_req *req)
{
	unsigned int i;

	(void)priv;
	if (held.refuse_requests)
		return -EINVAL;
	for (i = 0; i < 32; i++)
		assert_int_equal(((uint8_t *)req->type_priv)[i], 0);
	memset(req->type_priv, 0xff, 32);
	held.started++;
	if (held.complete_at_once) {
		vg_req_complete(req, (uint32_t)req->in_bytes);
		return 0;
	}
	assert_true(held.nr < HELD_MAX);
	held.req[held.nr++] = req;
	return 0;
}

static inline void complete(unsigned int n)
{
	while (n--) {
		struct vg_req *req = held.req[--held.nr];

		vg_req_complete(req, (uint32_t)req->in_bytes);
	}
}

/* One of @queue's. */
static inline void complete_of(unsigned int queue)
{
	unsigned int i;

	for (i = 0; i < held.nr; i++) {
		struct vg_req *req = held.req[i];

		if (req->queue != queue)
			continue;
		held.req[i] = held.req[--held.nr];
		vg_req_complete(req, (uint32_t)req->in_bytes);
		return;
	}
	fail_msg("queue %u has none", queue);
}

static void t_flush(void *priv)
{
	(void)priv;
	held.flushes++;
	if (held.complete_in_flush)
		complete(held.nr);
}

static void t_reset(void *priv)
{
	(void)priv;
	held.resets++;
}

static const struct vg_dev_type test_type = {
	.name = "test",
	.virtio_id = 42,
	.req_priv_bytes = 32,
	.create = t_create,
	.destroy = t_destroy,
	.features = t_features,
	.nr_queues = t_nr_queues,
	.traits = t_traits,
	.set_features = t_set_features,
	.config_bytes = sizeof(held.config),
	.config_read = t_config_read,
	.config_write = t_config_write,
	.start = t_start,
	.flush_batch = t_flush,
	.reset = t_reset,
};

static inline int setup(void **state)
{
	memset(&held, 0, sizeof(held));
	held.nr_queues = 2;
	memcpy(held.config, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	*state = host_create(&test_type, NULL);
	unit_log_start();
	return 0;
}

static inline int teardown(void **state)
{
	unit_log_stop();
	host_destroy(*state);
	return 0;
}

static inline const struct vg_dev_stats *stats(struct host *h)
{
	return vg_device_stats(h->dev);
}

static inline void add(struct host *h, struct flat_queue *q)
{
	struct drv_buf b[] = {
		{ VG_ADDR_GRANT | 0x200000, 16, false },
		{ VG_ADDR_GRANT | 0x200100, 64, true },
	};

	(void)h;
	drv_add(q, b, 2);
}

static inline uint32_t try_features(struct host *h, uint64_t f)
{
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER);
	host_accept(h, f);
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER | ST_FEATURES);
	return host_read(h, VIRTIO_MMIO_STATUS);
}

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
