// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ext.c - persistent ranges and event channels per queue: the registers of
 * kernel/uapi/virtio_grant.h, which says what each does.
 *
 * Not trusted: the guest.  A range is bounded by the device's budget of pages,
 * and mapping it is one batch; a port is bound by Xen only if the guest
 * allocated it for this domain.  Repeating either costs the guest a trap each
 * time, and us no more than its turn.
 */
#include "transport/ext.h"

#include <errno.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "virtio/device_priv.h"

static bool may_configure(const struct vg_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER && !dev->is_resetting &&
	       !dev->is_stopping && !dev->broken;
}

static uint32_t caps(const struct vg_device *dev)
{
	uint32_t c = 0;

	if (dev->mem->ops->range_add)
		c |= VIRTIO_GRANT_CAP_RANGES;
	if (dev->host_ops->bind_queue)
		c |= VIRTIO_GRANT_CAP_EVTCHN;
	/* Alone it is not worth being found: plain devices stay plain. */
	if (c && dev->type->fills_buffers)
		c |= VIRTIO_GRANT_CAP_FILLS;
	return c;
}

static struct vg_queue *queue_sel(struct vg_device *dev)
{
	return dev->queue_sel < dev->nr_queues ?
	       &dev->queues[dev->queue_sel] : NULL;
}

/* ---- ranges -------------------------------------------------------------------- */

static uint32_t range_error(int err)
{
	switch (err) {
	case 0:
		return VIRTIO_GRANT_RANGE_HELD;
	case -EBUSY:
	case -EINVAL:
		return VIRTIO_GRANT_RANGE_INVALID;
	case -E2BIG:
		return VIRTIO_GRANT_RANGE_TOO_MANY;
	default:
		return VIRTIO_GRANT_RANGE_REFUSED;
	}
}

/* False: something is short for the moment. */
static bool announce(struct vg_device *dev, unsigned int i,
		     const struct vg_ext_range *r)
{
	struct vg_ext *x = &dev->ext;
	int err;

	/* -EBUSY: one is held, and stays so. */
	err = dev->mem->ops->range_add(dev->mem, i, r->first, r->pages);
	if (err)
		vg_debug("%s: range %u, references %u + %u: refused (%d)",
			 dev->label, i, r->first, r->pages, err);
	/* xen_gnttab_map() gives -EINVAL as well: then it is Xen's word. */
	if (err == -EINVAL && r->pages &&
	    r->pages - 1 <= UINT32_MAX - r->first)
		err = -EFAULT;
	x->range_state[i] = range_error(err);
	if (!err)
		x->held[i] = *r;
	return err != -EAGAIN;
}

/* Returns whether the answer comes later. */
static bool announce_selected(struct vg_device *dev,
			      const struct vg_reg_access *acc)
{
	struct vg_ext *x = &dev->ext;
	struct vg_ext_range r = { x->range_first, x->range_pages };

	if (announce(dev, x->range_sel, &r))
		return false;
	x->announcing |= 1u << x->range_sel;
	x->wanted[x->range_sel] = r;
	vg_device_wait_range(dev, acc, VG_WAIT_AGAIN);
	return true;
}

/* Another write to the same range: the last one counts. */
static void announce_stop(struct vg_device *dev, unsigned int i)
{
	struct vg_ext *x = &dev->ext;

	if (!(x->announcing & 1u << i))
		return;
	x->announcing &= ~(1u << i);
	if (!x->announcing)
		vg_device_answer_ranges(dev, VG_WAIT_AGAIN);
}

/* Frozen. */
void vg_ext_again(struct vg_device *dev, bool is_last)
{
	struct vg_ext *x = &dev->ext;
	uint32_t left;

	if (!x->announcing)
		return;
	/* What has come between is the answer, too. */
	if (!may_configure(dev))
		x->announcing = 0;
	for (left = x->announcing; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(left);

		if (announce(dev, i, &x->wanted[i]) || is_last)
			x->announcing &= ~(1u << i);
	}
	if (!x->announcing)
		vg_device_answer_ranges(dev, VG_WAIT_AGAIN);
}

/* Returns whether the answer comes later. */
static bool withdraw(struct vg_device *dev, const struct vg_reg_access *acc)
{
	struct vg_ext *x = &dev->ext;
	int err = dev->is_held ? -EAGAIN :
		  dev->mem->ops->range_remove(dev->mem, x->range_sel);

	if (err == -EBUSY) {
		x->range_state[x->range_sel] = VIRTIO_GRANT_RANGE_IN_USE;
		return false;
	}
	if (!err) {
		x->range_state[x->range_sel] = VIRTIO_GRANT_RANGE_NONE;
		x->held[x->range_sel].pages = 0;
		return false;
	}
	x->closing |= 1u << x->range_sel;
	vg_device_wait_range(dev, acc, VG_WAIT_RANGES);
	return true;
}

static bool range_write(struct vg_device *dev, const struct vg_reg_access *acc)
{
	bool later = false;

	if (!dev->mem->ops->range_add || !may_configure(dev) ||
	    dev->ext.range_sel >= VG_MEM_RANGES_MAX || acc->data > 1) {
		dev->stats.bad_accesses++;
		return false;
	}
	vg_device_freeze(dev);
	announce_stop(dev, dev->ext.range_sel);
	if (acc->data)
		later = announce_selected(dev, acc);
	else
		later = withdraw(dev, acc);
	vg_device_thaw(dev);
	return later;
}

/* Frozen. */
void vg_ext_drained(struct vg_device *dev)
{
	struct vg_ext *x = &dev->ext;
	uint32_t left;

	if (!x->closing)
		return;
	for (left = x->closing; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(left);
		int err = dev->mem->ops->range_remove(dev->mem, i);

		if (err == -EAGAIN)
			continue;
		x->closing &= ~(1u << i);
		/* -EBUSY: it could not be asked while the device was held. */
		x->range_state[i] = err ? VIRTIO_GRANT_RANGE_IN_USE :
					  VIRTIO_GRANT_RANGE_NONE;
		if (!err)
			x->held[i].pages = 0;
	}
	if (!x->closing)
		vg_device_answer_ranges(dev, VG_WAIT_RANGES);
}

/* ---- event channels --------------------------------------------------------------- */

static void unbind(struct vg_device *dev, struct vg_queue *q)
{
	if (q->port_state == VIRTIO_GRANT_QUEUE_BOUND)
		dev->host_ops->unbind_queue(dev->host, q->index);
	q->port_state = VIRTIO_GRANT_QUEUE_NONE;
}

static void port_write(struct vg_device *dev, uint32_t port)
{
	struct vg_queue *q = queue_sel(dev);
	int err;

	if (!q || !dev->host_ops->bind_queue || !may_configure(dev)) {
		dev->stats.bad_accesses++;
		return;
	}
	vg_device_freeze(dev);
	unbind(dev, q);
	if (!port)
		goto thaw;
	err = dev->host_ops->bind_queue(dev->host, q->index, port);
	if (err)
		vg_debug("%s: queue %u: port %u: refused (%d)", dev->label,
			 q->index, port, err);
	q->port_state = err ? VIRTIO_GRANT_QUEUE_REFUSED :
			      VIRTIO_GRANT_QUEUE_BOUND;
	q->port = port;
	/* An event on the port before this one may have gone with it. */
	vg_device_notify(dev, q->index);
thaw:
	vg_device_thaw(dev);
}

/* ---- registers ---------------------------------------------------------------------- */

bool vg_ext_read(struct vg_device *dev, uint32_t offset, uint32_t *data)
{
	const struct vg_queue *q = queue_sel(dev);
	const struct vg_ext *x = &dev->ext;

	if (!caps(dev))
		return false;
	switch (offset) {
	case VIRTIO_GRANT_MMIO_MAGIC:
		*data = VIRTIO_GRANT_MAGIC;
		return true;
	case VIRTIO_GRANT_MMIO_CAPS:
		*data = caps(dev);
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_MAX:
		*data = dev->mem->ops->range_add ? VG_MEM_RANGES_MAX : 0;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_STATE:
		*data = x->range_sel < VG_MEM_RANGES_MAX ?
			x->range_state[x->range_sel] :
			VIRTIO_GRANT_RANGE_INVALID;
		return true;
	case VIRTIO_GRANT_MMIO_QUEUE_STATE:
		*data = q ? q->port_state : VIRTIO_GRANT_QUEUE_REFUSED;
		return true;
	case VIRTIO_GRANT_MMIO_EVENTS:
		*data = q ? count_read(q->events) : 0;
		return true;
	}
	return false;
}

bool vg_ext_write(struct vg_device *dev, const struct vg_reg_access *acc,
		  bool *later)
{
	struct vg_ext *x = &dev->ext;

	*later = false;
	if (!caps(dev))
		return false;
	switch (acc->offset) {
	case VIRTIO_GRANT_MMIO_RANGE_SEL:
		x->range_sel = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_FIRST:
		x->range_first = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_PAGES:
		x->range_pages = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_STATE:
		*later = range_write(dev, acc);
		return true;
	case VIRTIO_GRANT_MMIO_QUEUE_PORT:
		port_write(dev, acc->data);
		return true;
	}
	return false;
}

void vg_ext_reset(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX && dev->mem->ops->range_add; i++)
		dev->mem->ops->range_remove(dev->mem, i);
	for (i = 0; i < dev->nr_queues; i++)
		unbind(dev, &dev->queues[i]);
	dev->ext = (struct vg_ext){ 0 };
}

/* ---- for a successor ------------------------------------------------------------------ */

/* A range that is being withdrawn is none any more: map.c does without. */
void vg_ext_save(const struct vg_device *dev, struct vg_state_regs *r)
{
	const struct vg_ext *x = &dev->ext;
	unsigned int i;

	r->range_sel = x->range_sel;
	r->range_first = x->range_first;
	r->range_pages = x->range_pages;
	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		bool is_closing = x->closing & 1u << i;

		r->range[i].state = is_closing ? VIRTIO_GRANT_RANGE_NONE :
				    x->range_state[i];
		r->range[i].first = x->held[i].first;
		r->range[i].pages = is_closing ? 0 : x->held[i].pages;
	}
	for (i = 0; i < dev->nr_queues; i++) {
		r->queue[i].port_state = dev->queues[i].port_state;
		r->queue[i].port = dev->queues[i].port;
		r->queue[i].events = count_read(dev->queues[i].events);
	}
}

int vg_ext_restore(struct vg_device *dev, const struct vg_state_regs *r)
{
	struct vg_ext *x = &dev->ext;
	unsigned int i;
	int err;

	x->range_sel = r->range_sel;
	x->range_first = r->range_first;
	x->range_pages = r->range_pages;
	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		x->range_state[i] = r->range[i].state;
		x->held[i].first = r->range[i].first;
		x->held[i].pages = r->range[i].pages;
		if (!r->range[i].pages)
			continue;
		if (!dev->mem->ops->range_add)
			return -EPROTO;
		err = dev->mem->ops->range_add(dev->mem, i, r->range[i].first,
					       r->range[i].pages);
		if (err) {
			vg_warn("%s: taking over: range %u, references %u + %u: %s",
				dev->label, i, r->range[i].first,
				r->range[i].pages, strerror(-err));
			return err;
		}
	}
	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		q->events = r->queue[i].events;
		q->port_state = r->queue[i].port_state;
		q->port = r->queue[i].port;
		if (q->port_state != VIRTIO_GRANT_QUEUE_BOUND)
			continue;
		q->port_state = VIRTIO_GRANT_QUEUE_NONE;
		if (!dev->host_ops->bind_queue)
			return -EPROTO;
		err = dev->host_ops->bind_queue(dev->host, i, q->port);
		if (err) {
			vg_warn("%s: taking over: queue %u, port %u: %s",
				dev->label, i, q->port, strerror(-err));
			return err;
		}
		q->port_state = VIRTIO_GRANT_QUEUE_BOUND;
	}
	return 0;
}
