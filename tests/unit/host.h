/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.h - for tests of devices and queues: a worker that only remembers
 * what the device asks of it, and a driver that sets the device up.
 */
#ifndef HOST_H
#define HOST_H

#include <linux/virtio_config.h>

#include "flat.h"
#include "transport/mmio.h"
#include "transport/mmio_regs.h"
#include "virtio/device.h"

#define HOST_REPLIES	256u

struct host {
	struct flat f;
	unsigned int vcpu;		/* whose accesses follow */
	struct vg_loop *loop;
	struct vg_device *dev;
	struct vg_mmio *mmio;
	struct {
		unsigned int vcpu;
		uint32_t seq, data;
	} reply[HOST_REPLIES];
	unsigned int nr_replies, irqs_used, irqs_config, stops;
	uint32_t seq;
	struct flat_queue q;
};

static inline void host_reply(void *arg, unsigned int vcpu, uint32_t seq,
			      uint32_t data)
{
	struct host *h = arg;

	assert_true(h->nr_replies < HOST_REPLIES);
	h->reply[h->nr_replies].vcpu = vcpu;
	h->reply[h->nr_replies].seq = seq;
	h->reply[h->nr_replies++].data = data;
}

static inline bool host_raise_irq(void *arg, uint32_t bits)
{
	struct host *h = arg;

	assert_true(bits && !(bits & ~(VG_NOTIFY_USED | VG_NOTIFY_CONFIG)));
	h->irqs_used += bits & VG_NOTIFY_USED ? 1 : 0;
	h->irqs_config += bits & VG_NOTIFY_CONFIG ? 1 : 0;
	return true;
}

static inline void host_stopped(void *arg)
{
	((struct host *)arg)->stops++;
}

static const struct vg_host_ops host_ops = {
	.stopped = host_stopped,
};

static const struct vg_mmio_link_ops host_link_ops = {
	.reply = host_reply,
	.raise = host_raise_irq,
};

/* A device over virtio-mmio, in the place of the one that was. */
static inline int host_device_create(struct host *h,
				     struct vg_device_params *p)
{
	int err;

	vg_mmio_destroy(h->mmio);
	h->mmio = vg_mmio_create(&host_link_ops, h);
	p->transport_ops = &vg_mmio_transport_ops;
	p->transport = h->mmio;
	err = vg_device_create(p, &h->f.mem, h->loop, &host_ops, h, &h->dev);
	if (!err)
		vg_mmio_set_device(h->mmio, h->dev);
	return err;
}

/* Turns of the loop until nothing more happens. */
static inline void host_run(struct host *h)
{
	unsigned int i;

	for (i = 0; i < 10000; i++)
		if (vg_loop_run_once(h->loop, 0) <= 0)
			return;
	fail_msg("the loop does not come to rest");
}

/* Starts an access; true if it was answered at once, with *data. */
static inline bool host_access(struct host *h, uint32_t offset, uint32_t len,
			       bool is_write, uint32_t value, uint32_t *data)
{
	struct vg_reg_access a = {
		.vcpu = h->vcpu, .seq = ++h->seq, .offset = offset,
		.len_bytes = len, .is_write = is_write, .data = value,
	};
	unsigned int before = h->nr_replies;

	vg_mmio_access(h->mmio, &a);
	if (h->nr_replies == before)
		return false;
	assert_int_equal(h->nr_replies, before + 1);
	assert_int_equal(h->reply[before].seq, a.seq);
	*data = h->reply[before].data;
	h->nr_replies = before;
	return true;
}

static inline uint32_t host_read(struct host *h, uint32_t offset)
{
	uint32_t v;

	assert_true(host_access(h, offset, 4, false, 0, &v));
	return v;
}

static inline void host_write(struct host *h, uint32_t offset, uint32_t value)
{
	uint32_t v;

	assert_true(host_access(h, offset, 4, true, value, &v));
}

static inline uint64_t host_features(struct host *h)
{
	uint64_t f;

	host_write(h, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	f = host_read(h, VIRTIO_MMIO_DEVICE_FEATURES);
	host_write(h, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return f | (uint64_t)host_read(h, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static inline void host_accept(struct host *h, uint64_t f)
{
	host_write(h, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	host_write(h, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)f);
	host_write(h, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	host_write(h, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(f >> 32));
}

static inline void host_describe_queue(struct host *h, unsigned int index,
				       const struct flat_queue *q)
{
	host_write(h, VIRTIO_MMIO_QUEUE_SEL, index);
	host_write(h, VIRTIO_MMIO_QUEUE_NUM, q->num);
	host_write(h, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc_addr);
	host_write(h, VIRTIO_MMIO_QUEUE_DESC_HIGH,
		   (uint32_t)(q->desc_addr >> 32));
	host_write(h, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail_addr);
	host_write(h, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		   (uint32_t)(q->avail_addr >> 32));
	host_write(h, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used_addr);
	host_write(h, VIRTIO_MMIO_QUEUE_USED_HIGH,
		   (uint32_t)(q->used_addr >> 32));
}

static inline void host_set_queue(struct host *h, unsigned int index,
				  const struct flat_queue *q)
{
	host_describe_queue(h, index, q);
	host_write(h, VIRTIO_MMIO_QUEUE_READY, 1);
}

#define ST_ACK		VIRTIO_CONFIG_S_ACKNOWLEDGE
#define ST_DRIVER	VIRTIO_CONFIG_S_DRIVER
#define ST_FEATURES	VIRTIO_CONFIG_S_FEATURES_OK
#define ST_LIVE		VIRTIO_CONFIG_S_DRIVER_OK
#define ST_BROKEN	VIRTIO_CONFIG_S_NEEDS_RESET

/* Everything up to DRIVER_OK, with one queue of @num and all but @without. */
static inline void host_start_driver(struct host *h, unsigned int num,
				     uint64_t without)
{
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK);
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER);
	host_accept(h, host_features(h) & ~without);
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER | ST_FEATURES);
	assert_true(host_read(h, VIRTIO_MMIO_STATUS) & ST_FEATURES);
	drv_init(&h->q, &h->f, num);
	host_set_queue(h, 0, &h->q);
	host_write(h, VIRTIO_MMIO_STATUS,
		   ST_ACK | ST_DRIVER | ST_FEATURES | ST_LIVE);
	host_run(h);
}

static inline struct host *host_create(const struct vg_dev_type *type,
				       const struct vg_dev_parts *parts)
{
	struct host *h = calloc(1, sizeof(*h));
	struct vg_device_params p = {
		.label = "dom5 test", .type = type,
		.parts = parts, .queue_size_max = 64,
	};

	flat_init(&h->f);
	assert_int_equal(vg_loop_create(&h->loop), 0);
	assert_int_equal(host_device_create(h, &p), 0);
	return h;
}

/* Stops it as the worker does and looks for what is left. */
static inline void host_destroy(struct host *h)
{
	unsigned int i;

	vg_device_stop(h->dev);
	for (i = 0; i < 2000 && !h->stops; i++)
		vg_loop_run_once(h->loop, 5);
	assert_int_equal(h->stops, 1);
	assert_int_equal(h->f.reqs_now, 0);
	assert_int_equal(h->f.rings_now, 0);
	vg_device_destroy(h->dev);
	vg_mmio_destroy(h->mmio);
	assert_true(h->f.is_destroyed);
	vg_loop_destroy(h->loop);
	flat_exit(&h->f);
	free(h);
}

#endif
