// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * transport.c - what a virtio device is asked (queue/queue.h), as messages: those of
 * virtio-msg, and of our own where that has none.  uapi/virtio_grant_bus.h.
 *
 * Who is not trusted: the backend.  What it answers is as long as it has to be
 * (link.c), and its values are checked here or by whoever asked.
 */
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/virtio_ring.h>

#include "bus/bus_priv.h"

/* Between two looks at what became of a device whose configuration changes. */
#define VGB_CONFIG_MS		100
/* Feature bits that we know of are below this. */
#define VGB_FEATURE_BLOCKS	2

/* A transport message. */
static int vgb_msg(struct vgrant_device *vgd, u8 id, const void *req,
		   unsigned int req_bytes, void *rsp, unsigned int rsp_bytes)
{
	return vgb_request(&vgb_of(vgd)->link, 0, id, req, req_bytes, rsp,
			   rsp_bytes);
}

/* A bus message. */
static int vgb_bus_msg(struct vgrant_device *vgd, u8 id, const void *req,
		       unsigned int req_bytes, void *rsp, unsigned int rsp_bytes)
{
	return vgb_request(&vgb_of(vgd)->link, VIRTIO_GRANT_MSG_TYPE_BUS, id,
			   req, req_bytes, rsp, rsp_bytes);
}

/* A bus message that is answered with a state: of the only range, or of a queue. */
static int vgb_ask_state(struct vgrant_device *vgd, u8 id, const void *req,
			 unsigned int req_bytes, unsigned int index, u32 *state)
{
	struct virtio_grant_bus_state rsp;
	int ret = vgb_bus_msg(vgd, id, req, req_bytes, &rsp, sizeof(rsp));

	if (ret)
		return ret;
	*state = le32_to_cpu(rsp.state);
	return le32_to_cpu(rsp.index) == index ? 0 : -EPROTO;
}

/* The device */

static bool vgb_answers(struct vgrant_device *vgd)
{
	const struct virtio_grant_bus_ping ping = {
		.data = cpu_to_le32(VIRTIO_GRANT_BUS_MAGIC),
	};
	struct virtio_grant_bus_ping pong;

	return !vgb_bus_msg(vgd, VIRTIO_GRANT_BUS_PING, &ping, sizeof(ping),
			    &pong, sizeof(pong)) &&
	       pong.data == ping.data;
}

/* Returns 0, -EAGAIN if nobody answers, or -EPROTO. */
int vgb_ask_info(struct vgb_device *vgb, struct vgb_info *info)
{
	struct virtio_grant_msg_device_info rsp;
	int ret = vgb_msg(&vgb->vgd, VIRTIO_GRANT_MSG_GET_DEVICE_INFO, NULL, 0,
			  &rsp, sizeof(rsp));

	if (ret)
		return ret;
	info->device = le32_to_cpu(rsp.device_id);
	info->vendor = le32_to_cpu(rsp.vendor_id);
	info->config_bytes = le32_to_cpu(rsp.config_size);
	info->nr_queues = le32_to_cpu(rsp.max_virtqueues);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_ask_info);

static int vgb_ask_identity(struct vgrant_device *vgd)
{
	struct vgb_device *vgb = vgb_of(vgd);
	struct vgb_info info;
	int ret = vgb_ask_info(vgb, &info);

	if (ret)
		return ret == -EAGAIN ? ret : -ENODEV;
	/* It may have learnt something, but not forgotten. */
	return info.device == vgb->info.device &&
	       info.vendor == vgb->info.vendor &&
	       info.config_bytes >= vgb->info.config_bytes ? 0 : -ENODEV;
}

static u32 vgb_read_caps(struct vgrant_device *vgd)
{
	struct virtio_grant_bus_info rsp;
	u32 caps;

	if (vgb_bus_msg(vgd, VIRTIO_GRANT_BUS_GET_BUS_INFO, NULL, 0, &rsp,
			sizeof(rsp)))
		return 0;
	caps = le32_to_cpu(rsp.caps) &
	       (VIRTIO_GRANT_CAP_RANGES | VIRTIO_GRANT_CAP_EVTCHN |
		VIRTIO_GRANT_CAP_FILLS);
	return rsp.range_max ? caps : caps & ~VIRTIO_GRANT_CAP_RANGES;
}

struct vgb_features {
	struct virtio_grant_msg_features head;
	__le32 word[VGB_FEATURE_BLOCKS];
};

static u64 vgb_read_features(struct vgrant_device *vgd)
{
	const struct virtio_grant_msg_features req = {
		.num_blocks = cpu_to_le32(VGB_FEATURE_BLOCKS),
	};
	struct vgb_features rsp;

	if (vgb_msg(vgd, VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, &req,
		    sizeof(req), &rsp, sizeof(rsp)) ||
	    rsp.head.block_index || rsp.head.num_blocks != req.num_blocks)
		return 0;
	return (u64)le32_to_cpu(rsp.word[1]) << 32 | le32_to_cpu(rsp.word[0]);
}

static void vgb_write_features(struct vgrant_device *vgd, u64 features)
{
	const struct vgb_features req = {
		.head.num_blocks = cpu_to_le32(VGB_FEATURE_BLOCKS),
		.word[0] = cpu_to_le32(lower_32_bits(features)),
		.word[1] = cpu_to_le32(upper_32_bits(features)),
	};

	/* What became of it, FEATURES_OK says. */
	vgb_msg(vgd, VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, &req, sizeof(req),
		NULL, 0);
}

static u32 vgb_read_status(struct vgrant_device *vgd)
{
	struct virtio_grant_msg_status rsp;

	if (vgb_msg(vgd, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0, &rsp,
		    sizeof(rsp)))
		return VGRANT_NOBODY;
	return le32_to_cpu(rsp.status);
}

/* What is there next, is asked for. */
static void vgb_config_forget(struct vgb_device *vgb)
{
	mutex_lock(&vgb->config.lock);
	vgb->config.is_valid = false;
	mutex_unlock(&vgb->config.lock);
}

/* Before DRIVER_OK, a device does not say that its configuration has changed. */
static void vgb_write_status(struct vgrant_device *vgd, u8 status)
{
	const struct virtio_grant_msg_status req = {
		.status = cpu_to_le32(status),
	};
	struct virtio_grant_msg_status rsp;

	/* Whoever wants to know, reads it. */
	vgb_msg(vgd, VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &req, sizeof(req),
		&rsp, sizeof(rsp));
	vgb_config_forget(vgb_of(vgd));
}

/*
 * The configuration: a driver reads it field by field, and of the long ones the
 * generation before and after.  Asked for it is in whole, and kept until the device
 * says that it is another (config_events).
 */

struct vgb_config {
	struct virtio_grant_msg_config head;
	u8 data[VIRTIO_GRANT_MSG_CONFIG_MAX];
};

static int vgb_config_piece(struct vgrant_device *vgd, unsigned int offset,
			    void *buf, unsigned int len)
{
	const struct virtio_grant_msg_get_config req = {
		.offset = cpu_to_le32(offset),
		.length = cpu_to_le32(len),
	};
	struct vgb_config rsp;
	int ret = vgb_msg(vgd, VIRTIO_GRANT_MSG_GET_CONFIG, &req, sizeof(req),
			  &rsp, sizeof(rsp.head) + len);

	if (ret)
		return ret;
	if (rsp.head.offset != req.offset || rsp.head.length != req.length)
		return -EPROTO;
	WRITE_ONCE(vgb_of(vgd)->generation, le32_to_cpu(rsp.head.generation));
	memcpy(buf, rsp.data, len);
	return 0;
}

/* How much of it is kept. */
static unsigned int vgb_config_kept(const struct vgb_device *vgb)
{
	return min_t(u32, vgb->info.config_bytes, VIRTIO_GRANT_MSG_CONFIG_MAX);
}

/* No change was told since it was read, and who told us is there still. */
static bool vgb_config_is_current(const struct vgb_device *vgb)
{
	const struct vgb_link *link = &vgb->link;
	const struct vgb_config_copy *copy = &vgb->config;

	return copy->is_valid && vgb_link_reaches(link) &&
	       copy->bytes == vgb_config_kept(vgb) &&
	       copy->opens == READ_ONCE(link->opens) &&
	       copy->events == le32_to_cpu(READ_ONCE(link->page->config_events));
}

static int vgb_config_load(struct vgrant_device *vgd)
{
	struct vgb_device *vgb = vgb_of(vgd);
	struct vgb_config_copy *copy = &vgb->config;
	int ret;

	if (vgb_config_is_current(vgb))
		return 0;
	copy->is_valid = false;
	copy->opens = READ_ONCE(vgb->link.opens);
	copy->events = le32_to_cpu(READ_ONCE(vgb->link.page->config_events));
	/*
	 * Before it is asked for; partner: the device's release of the event, after
	 * the change.
	 */
	virt_rmb();
	copy->bytes = vgb_config_kept(vgb);
	ret = vgb_config_piece(vgd, 0, copy->data, copy->bytes);
	copy->is_valid = !ret;
	return ret;
}

/* Of the part that is kept. */
static int vgb_config_copy(struct vgrant_device *vgd, unsigned int offset,
			   void *buf, unsigned int len)
{
	struct vgb_config_copy *copy = &vgb_of(vgd)->config;
	int ret;

	mutex_lock(&copy->lock);
	ret = vgb_config_load(vgd);
	if (!ret)
		memcpy(buf, copy->data + offset, len);
	mutex_unlock(&copy->lock);
	return ret;
}

/* As much as one answer can have, or what is kept.  Returns: how much; or an error. */
static int vgb_config_part(struct vgrant_device *vgd, unsigned int offset,
			   void *buf, unsigned int len)
{
	unsigned int kept = VIRTIO_GRANT_MSG_CONFIG_MAX;
	int ret;

	len = min(len, offset < kept ? kept - offset : kept);
	ret = offset < kept ? vgb_config_copy(vgd, offset, buf, len) :
			      vgb_config_piece(vgd, offset, buf, len);
	return ret ?: len;
}

/*
 * What is beyond its end, reads as zeroes.  So does what a backend answers with
 * nonsense, which is the end of a device: to look whether it is well would have
 * its driver read again, and again.
 */
static int vgb_config_read(struct vgrant_device *vgd, unsigned int offset,
			   void *buf, unsigned int len)
{
	u32 config_bytes = vgb_of(vgd)->info.config_bytes;
	unsigned int at;
	int ret;

	memset(buf, 0, len);
	if (offset >= config_bytes)
		return 0;
	len = min(len, config_bytes - offset);
	for (at = 0; at < len; at += ret) {
		ret = vgb_config_part(vgd, offset + at, buf + at, len - at);
		if (ret == -EAGAIN)
			return ret;
		if (ret < 0 && READ_ONCE(vgb_of(vgd)->has_device))
			vgrant_dev_fail(vgd, "its configuration can't be read");
		if (ret < 0)
			break;
	}
	return 0;
}

static int vgb_config_write_piece(struct vgrant_device *vgd,
				  unsigned int offset, const void *buf,
				  unsigned int len)
{
	struct vgb_config req = {
		.head.generation = cpu_to_le32(READ_ONCE(vgb_of(vgd)->generation)),
		.head.offset = cpu_to_le32(offset),
		.head.length = cpu_to_le32(len),
	}, rsp;
	int ret;

	memcpy(req.data, buf, len);
	ret = vgb_msg(vgd, VIRTIO_GRANT_MSG_SET_CONFIG, &req,
		      sizeof(req.head) + len, &rsp.head, sizeof(rsp.head));
	if (ret)
		return ret;
	WRITE_ONCE(vgb_of(vgd)->generation, le32_to_cpu(rsp.head.generation));
	return rsp.head.length ? 0 : -EBUSY;
}

/* A change of the backend's may have come between: once more then. */
static void vgb_config_write(struct vgrant_device *vgd, unsigned int offset,
			     const void *buf, unsigned int len)
{
	if (len > VIRTIO_GRANT_MSG_CONFIG_MAX)
		return;
	if (vgb_config_write_piece(vgd, offset, buf, len) == -EBUSY)
		vgb_config_write_piece(vgd, offset, buf, len);
	vgb_config_forget(vgb_of(vgd));
}

static int vgb_read_generation(struct vgrant_device *vgd, u32 *generation)
{
	u8 byte;
	int ret = 0;

	if (vgb_of(vgd)->info.config_bytes)
		ret = vgb_config_copy(vgd, 0, &byte, sizeof(byte));
	*generation = READ_ONCE(vgb_of(vgd)->generation);
	return ret == -EAGAIN ? ret : 0;
}

/* Queues */

static int vgb_get_vqueue(struct vgrant_device *vgd, unsigned int index,
			  struct virtio_grant_msg_vqueue *rsp)
{
	const struct virtio_grant_msg_index req = {
		.index = cpu_to_le32(index),
	};

	int ret = vgb_msg(vgd, VIRTIO_GRANT_MSG_GET_VQUEUE, &req, sizeof(req),
			  rsp, sizeof(*rsp));

	if (ret)
		return ret;
	return rsp->index == req.index ? 0 : -EPROTO;
}

static int vgb_queue_is_ready(struct vgrant_device *vgd, unsigned int index)
{
	struct virtio_grant_msg_vqueue rsp;
	int ret = vgb_get_vqueue(vgd, index, &rsp);

	if (ret)
		return ret == -EAGAIN ? ret : 0;
	return !!rsp.cur_size;
}

static u32 vgb_queue_size_max(struct vgrant_device *vgd, unsigned int index)
{
	struct virtio_grant_msg_vqueue rsp;

	if (vgb_get_vqueue(vgd, index, &rsp))
		return VGRANT_NOBODY;
	return le32_to_cpu(rsp.max_size);
}

static void vgb_queue_enable(struct vgrant_device *vgd, struct virtqueue *vq)
{
	const struct virtio_grant_msg_set_vqueue req = {
		.index = cpu_to_le32(vq->index),
		.size = cpu_to_le32(virtqueue_get_vring_size(vq)),
		.desc_addr = cpu_to_le64(virtqueue_get_desc_addr(vq)),
		.driver_addr = cpu_to_le64(virtqueue_get_avail_addr(vq)),
		.device_addr = cpu_to_le64(virtqueue_get_used_addr(vq)),
	};

	vgb_msg(vgd, VIRTIO_GRANT_MSG_SET_VQUEUE, &req, sizeof(req), NULL, 0);
}

/*
 * The answer comes when the device has let go.  If it does not come in time, our next
 * request may have taken this one's place.
 *
 * Returns: as vgb_queue_is_ready().
 */
static int vgb_queue_ask_stop(struct vgrant_device *vgd, unsigned int index)
{
	const struct virtio_grant_msg_index req = {
		.index = cpu_to_le32(index),
	};
	int ret = vgb_msg(vgd, VIRTIO_GRANT_MSG_RESET_VQUEUE, &req, sizeof(req),
			  NULL, 0);

	return ret == -EAGAIN ? ret : vgb_queue_is_ready(vgd, index);
}

static bool vgb_queue_stop(struct vgrant_device *vgd, unsigned int index)
{
	return !vgb_queue_ask_stop(vgd, index);
}

/* Who has been silent, is asked for as long again as a device may take. */
static const char *vgb_queue_reset(struct vgrant_device *vgd,
				   unsigned int index)
{
	int ready = vgb_queue_ask_stop(vgd, index);
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);

	while (ready == -EAGAIN && vgb_link_reaches(&vgb_of(vgd)->link) &&
	       time_before(jiffies, end))
		ready = vgb_queue_ask_stop(vgd, index);
	if (ready == -EAGAIN)
		return "no answer to a queue's reset";
	return ready ? "a queue does not reset" : NULL;
}

struct vgb_inflight {
	struct virtio_grant_bus_inflight head;
	__le16 heads[VIRTIO_GRANT_BUS_HEADS_MAX];
};

static int vgb_put_inflight(struct vgrant_device *vgd, unsigned int index,
			    u16 used_idx, const u16 *heads, unsigned int total,
			    unsigned int first)
{
	unsigned int i, count = min_t(unsigned int, total - first,
				      VIRTIO_GRANT_BUS_HEADS_MAX);
	struct vgb_inflight req = {
		.head.index = cpu_to_le32(index),
		.head.used_idx = cpu_to_le16(used_idx),
		.head.total = cpu_to_le16(total),
		.head.first = cpu_to_le16(first),
		.head.count = cpu_to_le16(count),
	};
	u32 state;
	int ret;

	for (i = 0; i < count; i++)
		req.heads[i] = cpu_to_le16(heads[first + i]);
	ret = vgb_ask_state(vgd, VIRTIO_GRANT_BUS_SET_INFLIGHT, &req,
			    sizeof(req.head) + count * sizeof(req.heads[0]),
			    index, &state);
	if (ret)
		return ret;
	return state == VIRTIO_GRANT_QUEUE_BOUND ? count : -EIO;
}

static int vgb_set_inflight(struct vgrant_device *vgd, unsigned int index,
			    u16 used_idx, const u16 *heads, unsigned int nr)
{
	unsigned int first = 0;
	int ret;

	do {
		ret = vgb_put_inflight(vgd, index, used_idx, heads, nr, first);
		if (ret < 0)
			return ret;
		first += ret;
	} while (first < nr);
	return 0;
}

/* Ranges and channels */

static u32 vgb_range_state(int ret, u32 state)
{
	if (ret == -EAGAIN)
		return VGRANT_NOBODY;
	/* That one means that nobody is there, which he said himself. */
	return ret || state == VGRANT_NOBODY ? VIRTIO_GRANT_RANGE_INVALID :
					       state;
}

static u32 vgb_share_range(struct vgrant_device *vgd, u32 first, u32 pages)
{
	const struct virtio_grant_bus_share_range req = {
		.first = cpu_to_le32(first),
		.pages = cpu_to_le32(pages),
	};
	u32 state = 0;
	int ret = vgb_ask_state(vgd, VIRTIO_GRANT_BUS_SHARE_RANGE, &req,
				sizeof(req), 0, &state);

	return vgb_range_state(ret, state);
}

static u32 vgb_unshare_range(struct vgrant_device *vgd)
{
	const struct virtio_grant_msg_index req = { 0 };
	u32 state = 0;
	int ret = vgb_ask_state(vgd, VIRTIO_GRANT_BUS_UNSHARE_RANGE, &req,
				sizeof(req), 0, &state);

	return vgb_range_state(ret, state);
}

/* Returns VIRTIO_GRANT_QUEUE_*. */
static u32 vgb_set_channel(struct vgrant_device *vgd, unsigned int index,
			   evtchn_port_t port)
{
	const struct virtio_grant_bus_set_channel req = {
		.index = cpu_to_le32(index),
		.port = cpu_to_le32(port),
	};
	u32 state;

	if (vgb_ask_state(vgd, VIRTIO_GRANT_BUS_SET_CHANNEL, &req, sizeof(req),
			  index, &state))
		return VIRTIO_GRANT_QUEUE_REFUSED;
	return state;
}

static int vgb_set_port(struct vgrant_device *vgd, unsigned int index,
			evtchn_port_t port)
{
	return vgb_set_channel(vgd, index, port) == VIRTIO_GRANT_QUEUE_BOUND ?
		0 : -EIO;
}

static bool vgb_clear_port(struct vgrant_device *vgd, unsigned int index)
{
	return vgb_set_channel(vgd, index, 0) == VIRTIO_GRANT_QUEUE_NONE;
}

/* Notifications without a channel, both ways */

static void vgb_notify(struct virtqueue *vq)
{
	struct vgb_link *link = &vgb_of(vgrant_dev_of(vq->vdev))->link;
	__le32 *avail_events = &link->page->avail_events;

	/* Which of two that do so at once counts, does not matter: it changes. */
	WRITE_ONCE(*avail_events,
		   cpu_to_le32(le32_to_cpu(READ_ONCE(*avail_events)) + 1));
	vgb_link_kick(link);
}

static int vgb_callbacks_begin(struct vgrant_device *vgd)
{
	struct vgb_device *vgb = vgb_of(vgd);

	spin_lock_irq(&vgb->lock);
	vgb->has_queues = true;
	spin_unlock_irq(&vgb->lock);
	return 0;
}

static void vgb_callbacks_end(struct vgrant_device *vgd)
{
	struct vgb_device *vgb = vgb_of(vgd);

	spin_lock_irq(&vgb->lock);
	vgb->has_queues = false;
	spin_unlock_irq(&vgb->lock);
	cancel_delayed_work_sync(&vgb->config_work);
}

/* Those that are made, are made under the lock. */
static void vgb_callbacks_sync(struct vgrant_device *vgd)
{
	struct vgb_device *vgb = vgb_of(vgd);

	spin_lock_irq(&vgb->lock);
	spin_unlock_irq(&vgb->lock);
}

/*
 * A change of the configuration costs the most: the device is asked how it is, and its
 * driver told.  A backend that has it change all the time, has it cost that some
 * times per second.
 */
static void vgb_config_work(struct work_struct *work)
{
	struct vgb_device *vgb = container_of(to_delayed_work(work),
					      struct vgb_device, config_work);

	WRITE_ONCE(vgb->config_next,
		   jiffies + msecs_to_jiffies(VGB_CONFIG_MS));
	vgrant_dev_suspect(&vgb->vgd);
}

static bool vgb_config_changed(struct vgb_device *vgb)
{
	unsigned long next = READ_ONCE(vgb->config_next), now = jiffies;

	return queue_delayed_work(system_long_wq, &vgb->config_work,
				  time_before(now, next) ? next - now : 0);
}

/*
 * The backend says that something is another than it was; from an interrupt.
 * Returns: and not merely to keep us busy.
 */
bool vgb_changed(struct vgb_link *link, bool is_config, bool is_used)
{
	struct vgb_device *vgb = container_of(link, struct vgb_device, link);
	bool has_cause = false;
	unsigned long flags;

	spin_lock_irqsave(&vgb->lock, flags);
	if (vgb->has_queues && is_used)
		has_cause = vgrant_callbacks(&vgb->vgd, link->irq);
	if (vgb->has_queues && is_config)
		has_cause |= vgb_config_changed(vgb);
	spin_unlock_irqrestore(&vgb->lock, flags);
	return has_cause;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_changed);

/* Of a device that is zeroes but for its link. */
void vgb_transport_init(struct vgb_device *vgb)
{
	spin_lock_init(&vgb->lock);
	mutex_init(&vgb->config.lock);
	INIT_DELAYED_WORK(&vgb->config_work, vgb_config_work);
	vgb->config_next = jiffies;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_transport_init);

const struct vgrant_transport vgb_transport = {
	.answers = vgb_answers,
	.ask_identity = vgb_ask_identity,
	.read_caps = vgb_read_caps,
	.read_features = vgb_read_features,
	.write_features = vgb_write_features,
	.read_status = vgb_read_status,
	.write_status = vgb_write_status,
	.share_range = vgb_share_range,
	.unshare_range = vgb_unshare_range,
	.queue_is_ready = vgb_queue_is_ready,
	.queue_size_max = vgb_queue_size_max,
	.queue_enable = vgb_queue_enable,
	.set_inflight = vgb_set_inflight,
	.queue_stop = vgb_queue_stop,
	.queue_reset = vgb_queue_reset,
	.set_port = vgb_set_port,
	.clear_port = vgb_clear_port,
	.notify = vgb_notify,
	.config_read = vgb_config_read,
	.config_write = vgb_config_write,
	.read_generation = vgb_read_generation,
	.callbacks_begin = vgb_callbacks_begin,
	.callbacks_end = vgb_callbacks_end,
	.callbacks_sync = vgb_callbacks_sync,
};
EXPORT_SYMBOL_IF_KUNIT(vgb_transport);
