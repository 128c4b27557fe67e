// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * peer_kunit.c - a backend that the KUnit suites of the bus play themselves.
 *
 * The page is granted to the guest's own domain, and its backend looks at it as plain
 * memory; the event channel is a real one, bound by the same domain.  Answers are
 * given by its interrupt handler: whether one is late is up to the test alone.  The
 * device behind it remembers what it is told and never uses a buffer.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/string.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <asm/xen/hypercall.h>
#include <uapi/linux/virtio_ids.h>

#include "bus/peer_kunit.h"

/* The device */

static struct peer_queue *peer_queue_of(struct peer *peer, u32 index)
{
	return index < PEER_QUEUES ? &peer->queue[index] : NULL;
}

static void peer_reset(struct peer *peer)
{
	unsigned int i;

	peer->status = 0;
	peer->range_pages = 0;
	for (i = 0; i < PEER_QUEUES; i++) {
		peer->queue[i].cur_size = 0;
		peer->queue[i].port = 0;
		peer->queue[i].nr_heads = 0;
	}
}

static unsigned int peer_state(union peer_msg *rsp, u32 index, u32 state)
{
	struct virtio_grant_bus_state *r = (void *)(&rsp->head + 1);

	r->index = cpu_to_le32(index);
	r->state = cpu_to_le32(state);
	return sizeof(*r);
}

static unsigned int peer_set_inflight(struct peer *peer, const void *payload,
				      union peer_msg *rsp)
{
	const struct virtio_grant_bus_inflight *q = payload;
	struct peer_queue *queue = peer_queue_of(peer, le32_to_cpu(q->index));
	unsigned int i, count = le16_to_cpu(q->count);

	if (!queue || le16_to_cpu(q->first) != queue->nr_heads ||
	    queue->nr_heads + count > PEER_HEADS)
		return 0;
	for (i = 0; i < count; i++)
		queue->heads[queue->nr_heads++] = le16_to_cpu(q->heads[i]);
	queue->used_idx = le16_to_cpu(q->used_idx);
	queue->total = le16_to_cpu(q->total);
	return peer_state(rsp, le32_to_cpu(q->index), VIRTIO_GRANT_QUEUE_BOUND);
}

static unsigned int peer_set_channel(struct peer *peer, const void *payload,
				     union peer_msg *rsp)
{
	const struct virtio_grant_bus_set_channel *q = payload;
	struct peer_queue *queue = peer_queue_of(peer, le32_to_cpu(q->index));

	if (!queue)
		return 0;
	queue->port = le32_to_cpu(q->port);
	return peer_state(rsp, le32_to_cpu(q->index),
			  queue->port ? VIRTIO_GRANT_QUEUE_BOUND :
					VIRTIO_GRANT_QUEUE_NONE);
}

static unsigned int peer_bus(struct peer *peer, u8 id, const void *payload,
			     union peer_msg *rsp)
{
	const struct virtio_grant_bus_share_range *range = payload;
	struct virtio_grant_bus_info *info = (void *)(&rsp->head + 1);

	switch (id) {
	case VIRTIO_GRANT_BUS_PING:
		memcpy(&rsp->head + 1, payload,
		       sizeof(struct virtio_grant_bus_ping));
		return sizeof(struct virtio_grant_bus_ping);
	case VIRTIO_GRANT_BUS_GET_BUS_INFO:
		info->caps = cpu_to_le32(peer->caps);
		info->range_max = cpu_to_le32(1);
		return sizeof(*info);
	case VIRTIO_GRANT_BUS_SHARE_RANGE:
		peer->range_pages = le32_to_cpu(range->pages);
		return peer_state(rsp, 0, VIRTIO_GRANT_RANGE_HELD);
	case VIRTIO_GRANT_BUS_UNSHARE_RANGE:
		peer->range_pages = 0;
		return peer_state(rsp, 0, VIRTIO_GRANT_RANGE_NONE);
	case VIRTIO_GRANT_BUS_SET_CHANNEL:
		return peer_set_channel(peer, payload, rsp);
	case VIRTIO_GRANT_BUS_SET_INFLIGHT:
		return peer_set_inflight(peer, payload, rsp);
	}
	return 0;
}

static unsigned int peer_get_features(struct peer *peer, union peer_msg *rsp)
{
	struct virtio_grant_msg_features *r = (void *)(&rsp->head + 1);

	r->num_blocks = cpu_to_le32(2);
	r->features[0] = cpu_to_le32(lower_32_bits(peer->features));
	r->features[1] = cpu_to_le32(upper_32_bits(peer->features));
	return sizeof(*r) + 2 * sizeof(r->features[0]);
}

static unsigned int peer_get_config(struct peer *peer, const void *payload,
				    union peer_msg *rsp)
{
	const struct virtio_grant_msg_get_config *q = payload;
	struct virtio_grant_msg_config *r = (void *)(&rsp->head + 1);
	u32 offset = le32_to_cpu(q->offset), len = le32_to_cpu(q->length), i;

	r->generation = cpu_to_le32(peer->generation);
	r->offset = q->offset;
	r->length = q->length;
	if (len > VIRTIO_GRANT_MSG_CONFIG_MAX)
		return 0;
	for (i = 0; i < len; i++)
		r->data[i] = offset + i < PEER_CONFIG ?
			     peer->config[offset + i] : 0;
	return sizeof(*r) + len;
}

static unsigned int peer_set_config(struct peer *peer, const void *payload,
				    union peer_msg *rsp)
{
	const struct virtio_grant_msg_config *q = payload;
	struct virtio_grant_msg_config *r = (void *)(&rsp->head + 1);
	u32 offset = le32_to_cpu(q->offset), len = le32_to_cpu(q->length);

	r->generation = cpu_to_le32(peer->generation);
	r->offset = q->offset;
	if (le32_to_cpu(q->generation) == peer->generation &&
	    offset + len <= PEER_CONFIG) {
		memcpy(peer->config + offset, q->data, len);
		r->length = q->length;
	}
	return sizeof(*r);
}

static unsigned int peer_get_vqueue(struct peer *peer, u32 index,
				    union peer_msg *rsp)
{
	struct virtio_grant_msg_vqueue *r = (void *)(&rsp->head + 1);
	struct peer_queue *queue = peer_queue_of(peer, index);

	r->index = cpu_to_le32(index);
	if (queue) {
		r->max_size = cpu_to_le32(queue->max_size);
		r->cur_size = cpu_to_le32(queue->cur_size);
	}
	return sizeof(*r);
}

/* A ring that is larger than it has room for, it does not take. */
static void peer_set_vqueue(struct peer *peer, const void *payload)
{
	const struct virtio_grant_msg_set_vqueue *q = payload;
	struct peer_queue *queue = peer_queue_of(peer, le32_to_cpu(q->index));

	if (queue && le32_to_cpu(q->size) <= queue->max_size)
		queue->cur_size = le32_to_cpu(q->size);
}

static void peer_set_status(struct peer *peer, u32 status)
{
	if (status)
		peer->status = status;
	else
		peer_reset(peer);
}

static unsigned int peer_transport(struct peer *peer, u8 id,
				   const void *payload, union peer_msg *rsp)
{
	const struct virtio_grant_msg_features *features = payload;
	struct virtio_grant_msg_status *status = (void *)(&rsp->head + 1);
	const __le32 *word = payload;	/* most have an index here */

	switch (id) {
	case VIRTIO_GRANT_MSG_GET_DEVICE_INFO:
		memcpy(&rsp->head + 1, &peer->info, sizeof(peer->info));
		return sizeof(peer->info);
	case VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES:
		return peer_get_features(peer, rsp);
	case VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES:
		peer->driver_features = le32_to_cpu(features->features[0]) |
			(u64)le32_to_cpu(features->features[1]) << 32;
		return 0;
	case VIRTIO_GRANT_MSG_GET_CONFIG:
		return peer_get_config(peer, payload, rsp);
	case VIRTIO_GRANT_MSG_SET_CONFIG:
		return peer_set_config(peer, payload, rsp);
	case VIRTIO_GRANT_MSG_SET_DEVICE_STATUS:
		peer_set_status(peer, le32_to_cpu(*word));
		fallthrough;
	case VIRTIO_GRANT_MSG_GET_DEVICE_STATUS:
		status->status = cpu_to_le32(peer->status);
		return sizeof(*status);
	case VIRTIO_GRANT_MSG_GET_VQUEUE:
		return peer_get_vqueue(peer, le32_to_cpu(*word), rsp);
	case VIRTIO_GRANT_MSG_SET_VQUEUE:
		peer_set_vqueue(peer, payload);
		return 0;
	case VIRTIO_GRANT_MSG_RESET_VQUEUE:
		if (peer_queue_of(peer, le32_to_cpu(*word)))
			peer->queue[le32_to_cpu(*word)].cur_size = 0;
		return 0;
	}
	return 0;
}

/* The page */

/* Says what @rsp has, whatever that is, as the answer to request @seq. */
void peer_put(struct peer *peer, const union peer_msg *rsp, unsigned int seq)
{
	memcpy(peer->page->response, rsp, sizeof(*rsp));
	/* The answer before its number; partner: vgb_is_answered()'s acquire. */
	virt_store_release(&peer->page->response_seq, cpu_to_le32(seq));
	peer_kick(peer);
}

static void peer_answer(struct peer *peer)
{
	union peer_msg *req = &peer->req, rsp = { };
	unsigned int bytes;

	memcpy(req, peer->page->request, sizeof(*req));
	if (req->head.type == VIRTIO_GRANT_MSG_TYPE_BUS)
		bytes = peer_bus(peer, req->head.msg_id, &req->head + 1, &rsp);
	else
		bytes = peer_transport(peer, req->head.msg_id, &req->head + 1,
				       &rsp);
	rsp.head.type = req->head.type | VIRTIO_GRANT_MSG_TYPE_RESPONSE;
	rsp.head.msg_id = req->head.msg_id;
	rsp.head.token = req->head.token;
	rsp.head.msg_size = cpu_to_le16(sizeof(rsp.head) + bytes);
	if (peer->twist && !peer->twist(peer, req, &rsp))
		return;
	peer->last = rsp;
	peer_put(peer, &rsp, peer->seq);
}

static void peer_look(struct peer *peer)
{
	unsigned long flags;
	u32 seq;

	spin_lock_irqsave(&peer->lock, flags);
	/* Partner: the release in vgb_put_request(). */
	seq = le32_to_cpu(virt_load_acquire(&peer->page->request_seq));
	if (seq == peer->seq)
		goto unlock;
	if (peer->requests + 1 == peer->silent_at)
		peer->is_silent = true;
	if (peer->is_silent)
		goto unlock;
	peer->requests++;
	peer->seq = seq;
	peer_answer(peer);
unlock:
	spin_unlock_irqrestore(&peer->lock, flags);
}

static irqreturn_t peer_interrupt(int irq, void *opaque)
{
	peer_look(opaque);
	return IRQ_HANDLED;
}

void peer_kick(struct peer *peer)
{
	if (peer->irq)
		notify_remote_via_irq(peer->irq);
}

static void peer_count_event(__le32 *counter)
{
	WRITE_ONCE(*counter, cpu_to_le32(le32_to_cpu(READ_ONCE(*counter)) + 1));
}

void peer_config_event(struct peer *peer)
{
	peer_count_event(&peer->page->config_events);
	peer_kick(peer);
}

void peer_used_event(struct peer *peer)
{
	peer_count_event(&peer->page->used_events);
	peer_kick(peer);
}

/* Silent no more, it answers what it was asked last. */
void peer_set_silent(struct peer *peer, bool is_silent)
{
	unsigned long flags;

	spin_lock_irqsave(&peer->lock, flags);
	peer->is_silent = is_silent;
	peer->silent_at = 0;
	spin_unlock_irqrestore(&peer->lock, flags);
	if (!is_silent && peer->page)
		peer_look(peer);
}

void peer_init(struct peer *peer)
{
	memset(peer, 0, sizeof(*peer));
	spin_lock_init(&peer->lock);
	peer_heal(peer);
}

/* A device of the life suite's, of which nothing is known; but not its page. */
void peer_heal(struct peer *peer)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&peer->lock, flags);
	peer->twist = NULL;
	peer->arg = 0;
	peer->is_silent = false;
	peer->silent_at = 0;
	memset(&peer->info, 0, sizeof(peer->info));
	peer->info.device_id = cpu_to_le32(VIRTIO_ID_BLOCK);
	peer->info.vendor_id = cpu_to_le32(LIFE_VENDOR);
	peer->info.num_feature_bits = cpu_to_le32(64);
	peer->info.config_size = cpu_to_le32(PEER_CONFIG);
	peer->info.max_virtqueues = cpu_to_le32(1);
	peer->features = PEER_FEATURES;
	peer->caps = VIRTIO_GRANT_CAP_RANGES;
	peer->generation = 0;
	memset(peer->config, 0, sizeof(peer->config));
	peer_reset(peer);
	for (i = 0; i < PEER_QUEUES; i++)
		peer->queue[i].max_size = i ? 0 : LIFE_RING;
	spin_unlock_irqrestore(&peer->lock, flags);
	if (peer->page)
		peer_look(peer);
}

/* Serves the device of this link, which is open.  Returns: 0 or an error. */
int peer_attach(struct peer *peer, struct vgb_link *link)
{
	struct evtchn_bind_interdomain bind = {
		.remote_dom = DOMID_SELF,
		.remote_port = link->port,
	};
	int ret;

	peer_detach(peer);
	peer->page = link->page;
	peer->seq = 0;
	ret = HYPERVISOR_event_channel_op(EVTCHNOP_bind_interdomain, &bind);
	if (ret)
		return ret;
	ret = bind_evtchn_to_irqhandler(bind.local_port, peer_interrupt, 0,
					"vgb-peer", peer);
	if (ret < 0) {
		struct evtchn_close close = { .port = bind.local_port };

		HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
		return ret;
	}
	peer->irq = ret;
	peer_look(peer);
	return 0;
}

/* Before its page goes. */
void peer_detach(struct peer *peer)
{
	unsigned int irq = peer->irq;

	peer->irq = 0;
	if (irq)
		unbind_from_irqhandler(irq, peer);
	peer->page = NULL;
}

domid_t peer_own_domid(void)
{
	unsigned int domid;

	return xenbus_scanf(XBT_NIL, "domid", "", "%u", &domid) == 1 ?
		domid : DOMID_INVALID;
}

/* Threads */

int peer_run(struct kunit *test, int (*fn)(void *arg), void *arg,
	     struct task_struct **task)
{
	*task = kthread_create(fn, arg, "vgb-kunit");
	if (IS_ERR(*task))
		return PTR_ERR(*task);
	/* It may end by itself. */
	get_task_struct(*task);
	wake_up_process(*task);
	return 0;
}

/* Returns: what it did. */
int peer_join(struct task_struct *task)
{
	int ret = kthread_stop(task);

	put_task_struct(task);
	return ret;
}
