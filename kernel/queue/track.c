// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * track.c - which buffers are in a queue, and the one place that calls its
 * driver.
 *
 * Who is not trusted: the backend, which writes the used ring.
 */
#include <linux/bitmap.h>
#include <linux/bottom_half.h>
#include <linux/module.h>
#include <linux/virtio_ring.h>

#include "queue/queue.h"

/*
 * Brings busy up to date.  A buffer is made available and used in turns, so
 * each entry of either ring changes its bit, whatever the order.  Called before
 * and after the driver's callback: between two calls no driver that takes
 * buffers in its callback only can go round the ring.
 */
void vgrant_track(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	struct vgrant_queue *q = vq->priv;
	unsigned int num = ring->num;
	u16 avail, used;
	unsigned long flags;
	u32 id;

	spin_lock_irqsave(&q->lock, flags);
	used = vgrant_used_idx(vq);
	/*
	 * What is used was available before: in this order, of all that is
	 * seen used, the making available is seen as well.  Partners: the
	 * backend's write barrier before used->idx, ours before avail->idx.
	 */
	virt_rmb();
	avail = virtio16_to_cpu(vq->vdev, READ_ONCE(ring->avail->idx));
	if ((u16)(used - q->used_seen) > num ||
	    (u16)(avail - q->avail_seen) > num)
		q->has_lost_track = true;
	for (; !q->has_lost_track && q->used_seen != used; q->used_seen++) {
		id = virtio32_to_cpu(vq->vdev,
				     READ_ONCE(ring->used->ring[q->used_seen &
								(num - 1)].id));
		if (id < num)
			change_bit(id, q->busy);
		else
			q->has_lost_track = true;
	}
	for (; !q->has_lost_track && q->avail_seen != avail; q->avail_seen++) {
		id = virtio16_to_cpu(vq->vdev,
				     READ_ONCE(ring->avail->ring[q->avail_seen &
								 (num - 1)]));
		if (id < num)
			change_bit(id, q->busy);
		else
			q->has_lost_track = true;
	}
	spin_unlock_irqrestore(&q->lock, flags);
}

/* The ring starts anew; the queue's channel is as it was. */
void vgrant_track_anew(struct virtqueue *vq)
{
	struct vgrant_queue *q = vq->priv;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	bitmap_zero(q->busy, vq->num_max);
	q->avail_seen = 0;
	q->used_seen = 0;
	q->used_watched = 0;
	q->used_at_event = 0;
	q->has_lost_track = false;
	spin_unlock_irqrestore(&q->lock, flags);
}

/*
 * The one place that calls a queue's driver.  Its event, the device's interrupt
 * (a backend may raise that for a queue with a channel, too) and a failure can
 * meet here on several CPUs, and drivers count on one at a time.  They are also
 * used to be called by an interrupt handler, so interrupts are off; but where
 * those are threads (PREEMPT_RT) they are not, and the lock sleeps.
 */
irqreturn_t vgrant_callback(int irq, struct virtqueue *vq)
{
	struct vgrant_queue *q = vq->priv;
	irqreturn_t ret = IRQ_NONE;
	unsigned long flags;

	spin_lock_irqsave(&q->callback_lock, flags);
	if (!READ_ONCE(q->is_reset)) {
		vgrant_track(vq);
		ret = vring_interrupt(irq, vq);
		vgrant_track(vq);
	}
	spin_unlock_irqrestore(&q->callback_lock, flags);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgrant_callback);

/* Without an interrupt; what it raises of softirqs runs at the end. */
void vgrant_callback_now(struct virtqueue *vq)
{
	local_bh_disable();
	vgrant_callback(0, vq);
	local_bh_enable();
}

/*
 * An event for this queue: calls its driver.  Returns: was a buffer used since the
 * last event began?  The driver may well have found it by itself meanwhile.
 */
bool vgrant_queue_event(int irq, struct virtqueue *vq)
{
	struct vgrant_queue *q = vq->priv;
	bool has_cause;
	u16 used;

	if (READ_ONCE(q->is_reset))
		return false;
	used = vgrant_used_idx(vq);
	has_cause = used != q->used_at_event && !virtqueue_is_broken(vq);
	q->used_at_event = used;
	vgrant_callback(irq, vq);
	return has_cause;
}

/*
 * Of each queue, for an interrupt that is all queues'.  Returns: was any of them
 * used, of those that have no events of their own?
 */
bool vgrant_callbacks(struct vgrant_device *vgd, int irq)
{
	bool has_cause = false;
	unsigned int i;

	for (i = 0; i < vgd->nr_queues; i++) {
		struct virtqueue *vq = READ_ONCE(vgd->queue[i]);
		struct vgrant_queue *q;

		if (!vq)
			continue;
		q = vq->priv;
		if (q->irq)
			vgrant_callback(irq, vq);
		else
			has_cause |= vgrant_queue_event(irq, vq);
	}
	return has_cause;
}
EXPORT_SYMBOL_GPL(vgrant_callbacks);

bool vgrant_queue_has_buffers(struct virtqueue *vq)
{
	return READ_ONCE(vq->num_free) < virtqueue_get_vring_size(vq);
}

/* Buffers are in there, and none has come back since the last look. */
bool vgrant_queue_is_stalled(struct virtqueue *vq)
{
	struct vgrant_queue *q = vq->priv;
	u16 used, used_before = q->used_watched;

	vgrant_track(vq);
	used = vgrant_used_idx(vq);
	q->used_watched = used;
	return used == used_before && vgrant_queue_has_buffers(vq);
}
