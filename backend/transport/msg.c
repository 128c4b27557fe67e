// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * msg.c - messages as operations of a device: see msg.h.
 *
 * Not trusted: the driver.  A message is a copy already; its size is checked
 * against what its kind has, and what makes no sense is answered with the
 * header alone, changes nothing, and is counted in bad_accesses.
 *
 * A request is answered when what it asks for is over: at once, or when the
 * device says so.  The answer is saved with what the request did: a successor
 * that finds the same request gives it without doing that again.  One that is
 * not over when its process dies is the successor's to carry out.
 *
 * Ranges and channels are the device's; that a driver could read their states
 * back is nothing that messages know, so none are kept here.
 */
#include "transport/msg.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "transport/extension.h"

/* As over virtio-mmio. */
#define VENDOR_ID	0x544e5247u
#define FEATURE_BITS	64u

#define HEADER_BYTES	sizeof(struct virtio_grant_msg_header)
#define PAYLOAD_MAX	(VG_MSG_BYTES_MAX - HEADER_BYTES)

/* What a handler returns instead of the bytes of its answer's payload. */
#define NO_SENSE	(-1)
#define LATER		(-2)

_Static_assert(sizeof(struct virtio_grant_msg_config) +
	       VIRTIO_GRANT_MSG_CONFIG_MAX <= PAYLOAD_MAX, "configuration");
_Static_assert(sizeof(struct virtio_grant_bus_inflight) +
	       2 * VIRTIO_GRANT_BUS_HEADS_MAX <= PAYLOAD_MAX, "heads");

/* The last request that was carried out, and its answer. */
struct answered {
	uint32_t seq, bytes;		/* 0: there is none */
	uint8_t msg[VG_MSG_BYTES_MAX];
};

/* What a successor has to know; as it stands in the state. */
struct saved {
	struct vg_msg_link_id link;
	uint32_t reserved;
	struct answered answered;
};

_Static_assert(sizeof(struct saved) <= VG_STATE_TRANSPORT_BYTES, "state");

/* The request that waits for an operation: there is one at a time. */
struct waiter {
	bool is_waiting;
	enum vg_op op;
	unsigned int index;		/* of that one's queue or range */
};

struct vg_msg {
	const struct vg_msg_link_ops *ops;
	void *link;
	struct vg_device *dev;
	const struct vg_device_info *info;
	struct saved s;
	struct waiter waiter;
	struct virtio_grant_msg_header h;	/* of the last request */
	uint32_t seq;
	uint32_t undelivered;		/* VG_NOTIFY_*, for want of a link */
};

/* A request's payload, and where its answer's goes. */
struct call {
	const void *req;
	size_t req_bytes;
	void *rsp;			/* [PAYLOAD_MAX], zeroed */
};

static int no_sense(struct vg_msg *m)
{
	vg_device_count_bad(m->dev);
	return NO_SENSE;
}

/* ---- answers ------------------------------------------------------------ */

static void answer(struct vg_msg *m, const void *payload, size_t bytes)
{
	struct answered *a = &m->s.answered;
	struct virtio_grant_msg_header h = {
		.type = (m->h.type & VIRTIO_GRANT_MSG_TYPE_BUS) |
			VIRTIO_GRANT_MSG_TYPE_RESPONSE,
		.msg_id = m->h.msg_id,
		.token = m->h.token,
		.msg_size = htole16((uint16_t)(HEADER_BYTES + bytes)),
	};

	m->waiter.is_waiting = false;
	a->seq = m->seq;
	a->bytes = (uint32_t)(HEADER_BYTES + bytes);
	memset(a->msg, 0, sizeof(a->msg));
	memcpy(a->msg, &h, HEADER_BYTES);
	if (bytes)
		memcpy(a->msg + HEADER_BYTES, payload, bytes);
	vg_device_save(m->dev);
	m->ops->reply(m->link, m->seq, a->msg, a->bytes);
}

static int wait_for(struct vg_msg *m, enum vg_op op, unsigned int index)
{
	m->waiter = (struct waiter){ true, op, index };
	return LATER;
}

/* ---- what is there ------------------------------------------------------ */

static int get_device_info(struct vg_msg *m, struct call *c)
{
	struct virtio_grant_msg_device_info *r = c->rsp;

	r->device_id = htole32(m->info->virtio_id);
	r->vendor_id = htole32(VENDOR_ID);
	r->num_feature_bits = htole32(FEATURE_BITS);
	r->config_size = htole32((uint32_t)m->info->config_bytes);
	r->max_virtqueues = htole32(m->info->nr_queues);
	return sizeof(*r);
}

/* Half of @f, or zeroes beyond. */
static uint32_t features_block(uint64_t f, uint64_t block)
{
	return block < 2 ? (uint32_t)(f >> 32 * block) : 0;
}

static int get_device_features(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_features *q = c->req;
	struct virtio_grant_msg_features *r = c->rsp;
	uint32_t first = le32toh(q->block_index), n = le32toh(q->num_blocks);
	uint32_t i;

	if (!n || n > VIRTIO_GRANT_MSG_BLOCKS_MAX)
		return no_sense(m);
	r->block_index = q->block_index;
	r->num_blocks = q->num_blocks;
	for (i = 0; i < n; i++)
		r->features[i] = htole32(features_block(m->info->features,
							(uint64_t)first + i));
	return (int)(sizeof(*r) + n * sizeof(r->features[0]));
}

static int set_driver_features(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_features *q = c->req;
	uint32_t first = le32toh(q->block_index), n = le32toh(q->num_blocks);
	uint64_t f = vg_device_features(m->dev);
	bool is_bad = false;
	uint32_t i;

	if (!n || n > VIRTIO_GRANT_MSG_BLOCKS_MAX ||
	    c->req_bytes != sizeof(*q) + n * sizeof(q->features[0]))
		return no_sense(m);
	for (i = 0; i < n; i++) {
		uint64_t block = (uint64_t)first + i;
		uint64_t v = le32toh(q->features[i]);

		if (block == 0)
			f = (f & ~(uint64_t)UINT32_MAX) | v;
		else if (block == 1)
			f = (f & UINT32_MAX) | v << 32;
		else
			is_bad |= v;
	}
	if (is_bad || vg_device_set_features(m->dev, f))
		return no_sense(m);
	return 0;
}

static int get_shm(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_index *q = c->req;
	struct virtio_grant_msg_shm *r = c->rsp;

	(void)m;
	r->index = q->index;
	return sizeof(*r);
}

/* ---- the configuration space -------------------------------------------- */

static int get_config(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_get_config *q = c->req;
	struct virtio_grant_msg_config *r = c->rsp;
	uint32_t offset = le32toh(q->offset), n = le32toh(q->length);

	r->generation = htole32(vg_device_config_generation(m->dev));
	r->offset = q->offset;
	if (!n || n > VIRTIO_GRANT_MSG_CONFIG_MAX ||
	    vg_device_config_read(m->dev, offset, r->data, n)) {
		vg_device_count_bad(m->dev);
		return sizeof(*r);
	}
	r->length = q->length;
	return (int)(sizeof(*r) + n);
}

static int set_config(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_config *q = c->req;
	struct virtio_grant_msg_config *r = c->rsp;
	uint32_t offset = le32toh(q->offset), n = le32toh(q->length);
	bool is_stale = le32toh(q->generation) !=
			vg_device_config_generation(m->dev);

	r->offset = q->offset;
	if (!n || n > VIRTIO_GRANT_MSG_CONFIG_MAX ||
	    c->req_bytes != sizeof(*q) + n)
		return no_sense(m);
	/* It says so by the length; the driver reads, and tries again. */
	if (!is_stale) {
		if (vg_device_config_write(m->dev, offset, q->data, n))
			vg_device_count_bad(m->dev);
		else
			r->length = q->length;
	}
	r->generation = htole32(vg_device_config_generation(m->dev));
	return sizeof(*r);
}

/* ---- status ------------------------------------------------------------- */

static int get_device_status(struct vg_msg *m, struct call *c)
{
	struct virtio_grant_msg_status *r = c->rsp;

	r->status = htole32(vg_device_status(m->dev));
	return sizeof(*r);
}

static int set_device_status(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_status *q = c->req;
	uint32_t status = le32toh(q->status);

	if (status) {
		if (vg_device_set_status(m->dev, status))
			vg_device_count_bad(m->dev);
		return get_device_status(m, c);
	}
	/* Before: it may be over from within. */
	wait_for(m, VG_OP_RESET, 0);
	vg_device_reset(m->dev);
	return LATER;
}

/* ---- queues ------------------------------------------------------------- */

static int get_vqueue(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_index *q = c->req;
	struct virtio_grant_msg_vqueue *r = c->rsp;
	uint32_t index = le32toh(q->index);
	struct vg_vq_config cfg;

	r->index = q->index;
	r->max_size = htole32(vg_device_queue_num_max(m->dev, index));
	if (!vg_device_queue_is_enabled(m->dev, index) ||
	    vg_device_queue_config(m->dev, index, &cfg))
		return sizeof(*r);
	r->cur_size = htole32(cfg.num);
	r->desc_addr = htole64(cfg.desc_addr);
	r->driver_addr = htole64(cfg.driver_addr);
	r->device_addr = htole64(cfg.device_addr);
	return sizeof(*r);
}

static int set_vqueue(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_set_vqueue *q = c->req;
	uint32_t index = le32toh(q->index);
	const struct vg_vq_config cfg = {
		.num = le32toh(q->size),
		.desc_addr = le64toh(q->desc_addr),
		.driver_addr = le64toh(q->driver_addr),
		.device_addr = le64toh(q->device_addr),
	};
	int err = vg_device_queue_setup(m->dev, index, &cfg);

	if (!err)
		err = vg_device_queue_enable(m->dev, index);
	if (err == VG_LATER)
		return wait_for(m, VG_OP_QUEUE_ENABLE, index);
	return err ? no_sense(m) : 0;
}

static int reset_vqueue(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_index *q = c->req;
	uint32_t index = le32toh(q->index);
	int err;

	if (!(vg_device_features(m->dev) >> VIRTIO_F_RING_RESET & 1))
		return no_sense(m);
	/* Before: it may be over from within. */
	wait_for(m, VG_OP_QUEUE_STOP, index);
	err = vg_device_queue_stop(m->dev, index);
	if (err == VG_LATER)
		return LATER;
	m->waiter.is_waiting = false;
	if (err == -EBUSY)
		return wait_for(m, VG_OP_RESET, 0);
	return no_sense(m);
}

/* ---- of the bus --------------------------------------------------------- */

static int ping(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_bus_ping *q = c->req;
	struct virtio_grant_bus_ping *r = c->rsp;

	(void)m;
	r->data = q->data;
	return sizeof(*r);
}

static int get_bus_info(struct vg_msg *m, struct call *c)
{
	struct virtio_grant_bus_info *r = c->rsp;

	r->caps = htole32(vg_extension_caps(m->info));
	r->range_max = htole32(m->info->nr_ranges);
	return sizeof(*r);
}

static int state_put(void *rsp, uint32_t index, uint32_t state)
{
	struct virtio_grant_bus_state *r = rsp;

	r->index = htole32(index);
	r->state = htole32(state);
	return sizeof(*r);
}

static uint32_t range_state(enum vg_op op, int err)
{
	if (op == VG_OP_RANGE_ADD)
		return vg_extension_range_state(err);
	return err ? VIRTIO_GRANT_RANGE_IN_USE : VIRTIO_GRANT_RANGE_NONE;
}

/* After vg_device_range_*(). */
static int range_answer(struct vg_msg *m, struct call *c, enum vg_op op,
			uint32_t index, int err)
{
	if (err == -ENOENT || err == -EPERM)
		return no_sense(m);
	if (err == VG_LATER)
		return wait_for(m, op, index);
	return state_put(c->rsp, index, range_state(op, err));
}

static int share_range(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_bus_share_range *q = c->req;
	uint32_t index = le32toh(q->index);
	int err = vg_device_range_add(m->dev, index,
		virtio_grant_addr(le32toh(q->first), 0),
		(uint64_t)le32toh(q->pages) << VIRTIO_GRANT_PAGE_SHIFT);

	return range_answer(m, c, VG_OP_RANGE_ADD, index, err);
}

static int unshare_range(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_msg_index *q = c->req;
	uint32_t index = le32toh(q->index);
	int err = vg_device_range_remove(m->dev, index);

	return range_answer(m, c, VG_OP_RANGE_REMOVE, index, err);
}

static int set_channel(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_bus_set_channel *q = c->req;
	uint32_t index = le32toh(q->index), port = le32toh(q->port);
	int err = vg_device_queue_bind(m->dev, index, port);

	if (err == -ENOENT || err == -EINVAL)
		return no_sense(m);
	return state_put(c->rsp, index, !port ? VIRTIO_GRANT_QUEUE_NONE :
			 err ? VIRTIO_GRANT_QUEUE_REFUSED :
			       VIRTIO_GRANT_QUEUE_BOUND);
}

static int set_inflight(struct vg_msg *m, struct call *c)
{
	const struct virtio_grant_bus_inflight *q = c->req;
	uint16_t heads[VIRTIO_GRANT_BUS_HEADS_MAX];
	struct vg_queue_resume r = {
		.used_idx = le16toh(q->used_idx),
		.total = le16toh(q->total),
		.first = le16toh(q->first),
		.nr = le16toh(q->count),
		.heads = heads,
	};
	unsigned int i;
	int err;

	if (r.nr > VIRTIO_GRANT_BUS_HEADS_MAX ||
	    c->req_bytes != sizeof(*q) + r.nr * sizeof(q->heads[0]))
		return no_sense(m);
	for (i = 0; i < r.nr; i++)
		heads[i] = le16toh(q->heads[i]);
	err = vg_device_queue_resume(m->dev, le32toh(q->index), &r);
	if (err)
		return no_sense(m);
	return state_put(c->rsp, le32toh(q->index), VIRTIO_GRANT_QUEUE_BOUND);
}

/* ---- requests ----------------------------------------------------------- */

struct handler {
	bool is_bus;
	uint8_t msg_id;
	bool is_longer;			/* than this: then it looks itself */
	size_t bytes;			/* of the payload */
	int (*carry_out)(struct vg_msg *m, struct call *c);
};

static const struct handler handlers[] = {
#define TRANSPORT(id, bytes, longer, fn) \
	{ false, VIRTIO_GRANT_MSG_##id, longer, bytes, fn }
#define BUS(id, bytes, longer, fn) \
	{ true, VIRTIO_GRANT_BUS_##id, longer, bytes, fn }
	TRANSPORT(GET_DEVICE_INFO, 0, false, get_device_info),
	TRANSPORT(GET_DEVICE_FEATURES, sizeof(struct virtio_grant_msg_features),
		  false, get_device_features),
	TRANSPORT(SET_DRIVER_FEATURES, sizeof(struct virtio_grant_msg_features),
		  true, set_driver_features),
	TRANSPORT(GET_CONFIG, sizeof(struct virtio_grant_msg_get_config),
		  false, get_config),
	TRANSPORT(SET_CONFIG, sizeof(struct virtio_grant_msg_config), true,
		  set_config),
	TRANSPORT(GET_DEVICE_STATUS, 0, false, get_device_status),
	TRANSPORT(SET_DEVICE_STATUS, sizeof(struct virtio_grant_msg_status),
		  false, set_device_status),
	TRANSPORT(GET_VQUEUE, sizeof(struct virtio_grant_msg_index), false,
		  get_vqueue),
	TRANSPORT(SET_VQUEUE, sizeof(struct virtio_grant_msg_set_vqueue), false,
		  set_vqueue),
	TRANSPORT(RESET_VQUEUE, sizeof(struct virtio_grant_msg_index), false,
		  reset_vqueue),
	TRANSPORT(GET_SHM, sizeof(struct virtio_grant_msg_index), false,
		  get_shm),
	BUS(PING, sizeof(struct virtio_grant_bus_ping), false, ping),
	BUS(GET_BUS_INFO, 0, false, get_bus_info),
	BUS(SHARE_RANGE, sizeof(struct virtio_grant_bus_share_range), false,
	    share_range),
	BUS(UNSHARE_RANGE, sizeof(struct virtio_grant_msg_index), false,
	    unshare_range),
	BUS(SET_CHANNEL, sizeof(struct virtio_grant_bus_set_channel), false,
	    set_channel),
	BUS(SET_INFLIGHT, sizeof(struct virtio_grant_bus_inflight), true,
	    set_inflight),
#undef TRANSPORT
#undef BUS
};

/* NULL: what it is, or its size, makes no sense. */
static const struct handler *handler_of(const struct vg_msg *m, size_t bytes)
{
	bool is_bus = m->h.type & VIRTIO_GRANT_MSG_TYPE_BUS;
	size_t payload = bytes - HEADER_BYTES;
	unsigned int i;

	/* The bits behind are reserved, and ignored. */
	if (m->h.type & VIRTIO_GRANT_MSG_TYPE_RESPONSE || m->h.dev_num ||
	    le16toh(m->h.msg_size) != bytes)
		return NULL;
	for (i = 0; i < ARRAY_SIZE(handlers); i++) {
		const struct handler *h = &handlers[i];

		if (h->is_bus == is_bus && h->msg_id == m->h.msg_id)
			return payload == h->bytes ||
			       (h->is_longer && payload > h->bytes) ? h : NULL;
	}
	return NULL;
}

void vg_msg_request(struct vg_msg *m, uint32_t seq, const void *msg,
		    size_t bytes)
{
	/* As they are aligned in a message. */
	_Alignas(8) uint8_t req[PAYLOAD_MAX], rsp[PAYLOAD_MAX] = { 0 };
	struct call c = { req, bytes - HEADER_BYTES, rsp };
	const struct handler *h;
	int n;

	vg_device_count_access(m->dev);
	/* Its driver does not wait any longer for what came before. */
	m->waiter.is_waiting = false;
	m->seq = seq;
	memcpy(&m->h, msg, HEADER_BYTES);
	memcpy(req, (const uint8_t *)msg + HEADER_BYTES, c.req_bytes);
	h = handler_of(m, bytes);
	n = h ? h->carry_out(m, &c) : no_sense(m);
	if (n != LATER)
		answer(m, rsp, n < 0 ? 0 : (size_t)n);
}

void vg_msg_avail(struct vg_msg *m)
{
	unsigned int i;

	for (i = 0; i < m->info->nr_queues; i++)
		if (vg_device_queue_is_enabled(m->dev, i))
			vg_device_queue_notify(m->dev, i);
}

/* ---- from the device (struct vg_transport_ops) -------------------------- */

static void msg_notify(void *transport, uint32_t what)
{
	struct vg_msg *m = transport;

	if (!m->ops->raise(m->link, what))
		m->undelivered |= what;
}

static void msg_notify_now(void *transport, uint32_t what)
{
	struct vg_msg *m = transport;

	m->ops->raise_now(m->link, what);
}

/* The request that waited for @op, or for what a reset has ended. */
static void waiter_answer(struct vg_msg *m, int err)
{
	struct virtio_grant_bus_state state = { 0 };
	struct virtio_grant_msg_status status = {
		.status = htole32(vg_device_status(m->dev)),
	};
	enum vg_op op = m->waiter.op;

	switch (op) {
	case VG_OP_RESET:
		if (m->h.msg_id == VIRTIO_GRANT_MSG_SET_DEVICE_STATUS)
			answer(m, &status, sizeof(status));
		else
			answer(m, NULL, 0);
		break;
	case VG_OP_RANGE_ADD:
	case VG_OP_RANGE_REMOVE:
		state_put(&state, m->waiter.index, range_state(op, err));
		answer(m, &state, sizeof(state));
		break;
	case VG_OP_QUEUE_ENABLE:
	case VG_OP_QUEUE_STOP:
		answer(m, NULL, 0);
		break;
	}
}

static void msg_over(void *transport, enum vg_op op, unsigned int index,
		     int err)
{
	struct vg_msg *m = transport;
	struct waiter *w = &m->waiter;

	/* A reset ends whatever else was under way. */
	if (w->is_waiting && (op == VG_OP_RESET ||
			      (w->op == op && w->index == index)))
		waiter_answer(m, op == w->op ? err : 0);
	if (op == VG_OP_RESET)
		m->ops->was_reset(m->link);
}

static void msg_reset(void *transport)
{
	(void)transport;	/* the link and its last answer stay */
}

static void msg_save(void *transport, void *state)
{
	const struct vg_msg *m = transport;

	memcpy(state, &m->s, sizeof(m->s));
}

static void msg_restore(void *transport, const void *state)
{
	struct vg_msg *m = transport;

	m->s = (struct saved){ 0 };
	if (state)
		memcpy(&m->s, state, sizeof(m->s));
	/* A predecessor's word. */
	if (m->s.answered.bytes < HEADER_BYTES ||
	    m->s.answered.bytes > VG_MSG_BYTES_MAX)
		m->s.answered = (struct answered){ 0 };
}

/* What is not over is the successor's, which finds the same request. */
static void msg_leave(void *transport)
{
	((struct vg_msg *)transport)->waiter.is_waiting = false;
}

const struct vg_transport_ops vg_msg_transport_ops = {
	.notify = msg_notify,
	.notify_now = msg_notify_now,
	.over = msg_over,
	.reset = msg_reset,
	.save = msg_save,
	.restore = msg_restore,
	.leave = msg_leave,
};

/* ---- life --------------------------------------------------------------- */

struct vg_msg *vg_msg_create(const struct vg_msg_link_ops *ops, void *link)
{
	struct vg_msg *m = vg_zalloc(sizeof(*m));

	m->ops = ops;
	m->link = link;
	return m;
}

void vg_msg_set_device(struct vg_msg *m, struct vg_device *dev)
{
	m->dev = dev;
	m->info = vg_device_info(dev);
}

void vg_msg_destroy(struct vg_msg *m)
{
	free(m);
}

bool vg_msg_set_link(struct vg_msg *m, const struct vg_msg_link_id *id,
		     bool is_new, uint32_t *last)
{
	static const struct vg_msg_link_id none;
	bool is_same = id && !is_new && !memcmp(&m->s.link, id, sizeof(*id));

	if (id && m->undelivered && m->ops->raise(m->link, m->undelivered))
		m->undelivered = 0;
	*last = is_same ? m->s.answered.seq : 0;
	if (is_same)
		return true;
	m->waiter.is_waiting = false;
	m->s.answered = (struct answered){ 0 };
	m->s.link = id ? *id : none;
	vg_device_save(m->dev);
	return false;
}

void vg_msg_repeat(struct vg_msg *m)
{
	const struct answered *a = &m->s.answered;

	if (a->bytes)
		m->ops->reply(m->link, a->seq, a->msg, a->bytes);
}
