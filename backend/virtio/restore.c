// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * restore.c - what of a device outlives its process (state.h): kept up to date
 * here, and made a device again from.
 *
 * Not trusted: what a predecessor wrote.  It is what the guest could have said
 * as well, and is checked like that.
 */
#include <errno.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "lib/util.h"
#include "virtio/device_priv.h"

_Static_assert(VG_STATE_WORDS == VG_DEV_WORDS, "words");

/* ---- writing ------------------------------------------------------------ */

static void queue_save(const struct vg_queue *q, struct vg_state_regs *r)
{
	const struct vg_vq_config *c = &q->cfg;
	unsigned int i = q->index;

	r->queue[i].desc_addr = c->desc_addr;
	r->queue[i].driver_addr = c->driver_addr;
	r->queue[i].device_addr = c->device_addr;
	r->queue[i].num = c->num;
	r->queue[i].flags =
		(q->is_ready && !q->is_draining ? VG_STATE_Q_READY : 0) |
		(c->event_idx ? VG_STATE_Q_EVENT_IDX : 0) |
		(c->indirect ? VG_STATE_Q_INDIRECT : 0) |
		(q->is_bound ? VG_STATE_Q_CHANNEL : 0) |
		(q->is_resuming ? VG_STATE_Q_RESUMING : 0);
	r->queue[i].channel = q->channel;
	r->queue[i].events = count_read(q->events);
}

void vg_device_save(struct vg_device *dev)
{
	struct vg_state_regs *r = &dev->regs;
	unsigned int i;

	if (!dev->state || dev->is_leaving)
		return;
	memset(r, 0, sizeof(*r));
	r->driver_features = dev->driver_features;
	r->status = dev->status;
	r->broken = dev->broken;
	r->config_generation = dev->config_generation;
	r->flags = (dev->is_resetting ? VG_STATE_RESETTING : 0) |
		   (dev->config_notify_due ? VG_STATE_CONFIG_DUE : 0);
	vg_ranges_save(dev, r);
	for (i = 0; i < dev->info.nr_queues; i++)
		queue_save(&dev->queues[i], r);
	if (dev->type->get_state)
		dev->type->get_state(dev->priv, r->type);
	dev->transport_ops->save(dev->transport, r->transport);
	vg_state_write(dev->state, r);
}

/* ---- reading ------------------------------------------------------------ */

/* A device that nobody has used. */
static void state_begin(struct vg_device *dev)
{
	if (dev->state)
		vg_state_init(dev->state, dev->info.virtio_id,
			      dev->info.nr_queues);
}

/*
 * A driver that worked with our predecessor does not know that it is gone.
 * We know of its state only that there was one: let the status say so.
 */
static void start_as_broken(struct vg_device *dev, enum vg_broken why)
{
	vg_device_forget(dev);
	dev->transport_ops->restore(dev->transport, NULL);
	dev->broken = VG_BROKEN_NOT;
	state_begin(dev);
	dev->status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	vg_device_break(dev, NULL, why, VG_MEM_OK, 0);
}

/* 0, or why the queue can't go on; *err, if a call failed. */
static enum vg_broken ring_restore(struct vg_queue *q, unsigned int flags,
				   int *err)
{
	struct vg_device *dev = q->dev;

	if (!(flags & VG_STATE_Q_READY))
		return VG_BROKEN_NOT;
	if (q->cfg.num > q->num_max)
		return VG_BROKEN_STATE;
	*err = vg_queue_requests_create(q);
	if (*err)
		return VG_BROKEN_STATE;
	*err = vg_vq_take_over(&q->vq, &q->cfg, q->traits->drops,
			       q->traits->is_pull);
	if (vg_error_passes(*err))
		return VG_BROKEN_STATE;
	if (*err) {
		vg_warn("%s: taking over: queue %u: %s, 0x%llx", dev->label,
			q->index, vg_broken_name(q->vq.broken),
			(unsigned long long)q->vq.bad_value);
		return q->vq.broken;
	}
	q->is_ready = true;
	return VG_BROKEN_NOT;
}

static int channel_restore(struct vg_queue *q, uint32_t channel)
{
	struct vg_device *dev = q->dev;
	int err;

	if (!dev->info.has_channels)
		return -EPROTO;
	err = dev->host_ops->bind_queue(dev->host, q->index, channel);
	if (err)
		vg_warn("%s: taking over: queue %u, channel %u: %s", dev->label,
			q->index, channel, strerror(-err));
	q->is_bound = !err;
	q->channel = channel;
	return err;
}

/* As above. */
static enum vg_broken queues_restore(struct vg_device *dev,
				     const struct vg_state_regs *r, int *err)
{
	enum vg_broken why = VG_BROKEN_NOT;
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		q->cfg = (struct vg_vq_config){
			.num = r->queue[i].num,
			.desc_addr = r->queue[i].desc_addr,
			.driver_addr = r->queue[i].driver_addr,
			.device_addr = r->queue[i].device_addr,
			.event_idx = r->queue[i].flags & VG_STATE_Q_EVENT_IDX,
			.indirect = r->queue[i].flags & VG_STATE_Q_INDIRECT,
		};
		q->events = r->queue[i].events;
		q->is_resuming = r->queue[i].flags & VG_STATE_Q_RESUMING &&
				 !(r->queue[i].flags & VG_STATE_Q_READY);
		if (r->queue[i].flags & VG_STATE_Q_CHANNEL)
			*err = channel_restore(q, r->queue[i].channel);
		if (*err)
			return VG_BROKEN_STATE;
	}
	for (i = 0; !why && i < dev->info.nr_queues; i++)
		why = ring_restore(&dev->queues[i], r->queue[i].flags, err);
	return why;
}

/*
 * As the guest left it, as far as it could have come there; else why not, and
 * *err, if a call failed.
 */
static enum vg_broken restore(struct vg_device *dev, int *err)
{
	const struct vg_state_regs *r = &dev->regs;

	/* The predecessor may have been an older one. */
	if (r->driver_features & ~(dev->info.features | VG_INDIRECT) &&
	    r->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return VG_BROKEN_STATE;
	if (r->broken >= VG_BROKEN_MAX)
		return VG_BROKEN_STATE;
	dev->transport_ops->restore(dev->transport, r->transport);
	dev->config_generation = r->config_generation;
	if (r->flags & VG_STATE_RESETTING) {
		/* Done when nothing is under way any more. */
		dev->is_resetting = dev->is_held;
		if (dev->is_held)
			dev->status = r->status & 0xffu;
		else
			dev->transport_ops->reset(dev->transport);
		return VG_BROKEN_NOT;
	}
	dev->status = r->status & 0xffu & ~VIRTIO_CONFIG_S_NEEDS_RESET;
	dev->driver_features = r->driver_features;
	if (r->status & VIRTIO_CONFIG_S_FEATURES_OK &&
	    dev->type->set_features &&
	    dev->type->set_features(dev->priv, r->driver_features) < 0)
		return VG_BROKEN_STATE;
	if (dev->type->put_state)
		dev->type->put_state(dev->priv, r->type);
	dev->config_notify_due = r->flags & VG_STATE_CONFIG_DUE;
	if (r->broken)
		return r->broken;
	*err = vg_ranges_restore(dev, r);
	return *err ? VG_BROKEN_STATE : queues_restore(dev, r, err);
}

/*
 * What Xen refuses is asked for once more before it is believed: a device that
 * could have gone on is lost with it.
 */
static enum vg_broken restore_surely(struct vg_device *dev, int *err)
{
	enum vg_broken why = restore(dev, err);

	if (!why || !*err)
		return why;
	vg_device_forget(dev);
	*err = 0;
	return restore(dev, err);
}

/* Negative errno: the state is as it was, and later it may work. */
static int start_by_take_over(struct vg_device *dev)
{
	enum vg_broken why = VG_BROKEN_STATE;
	int err = 0;

	if (!vg_state_read(dev->state, dev->info.virtio_id,
			   dev->info.nr_queues, &dev->regs))
		why = restore_surely(dev, &err);
	else
		vg_warn("%s: taking over: no whole state", dev->label);
	if (vg_error_passes(err)) {
		vg_warn("%s: taking over: something is short for the moment",
			dev->label);
		vg_device_forget(dev);
		return err;
	}
	if (why) {
		start_as_broken(dev, why);
		return 0;
	}
	dev->state->takeovers++;
	vg_device_save(dev);
	return 0;
}

int vg_device_start(struct vg_device *dev, const struct vg_device_params *p)
{
	bool takes_over = p->start == VG_START_TAKE_OVER && dev->state;
	int err = 0;

	if (takes_over) {
		err = start_by_take_over(dev);
	} else if (p->start != VG_START_NEW) {
		start_as_broken(dev, p->start_broken ? p->start_broken :
						       VG_BROKEN_RESTARTED);
	} else {
		state_begin(dev);
		vg_device_save(dev);
	}
	if (!err && dev->type->begin)
		dev->type->begin(dev->priv, takes_over);
	return err;
}
