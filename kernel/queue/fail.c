// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fail.c - a device that is no more, and what it had.
 *
 * A device fails when nobody has answered for wait_s seconds, or when what
 * answers does not run it (watch.c).  Its pool and its queues take nothing
 * more, what is in the queues goes back to the driver, and so every wait on the
 * device ends.  It stays so until a reset succeeds while it has no queues
 * (vgrant_revive()): when a driver is bound again, or it comes back by itself.
 */
#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_ids.h>

#include "queue/queue.h"

/* A driver's probe that comes to nothing took long, if it took more than this. */
#define VGRANT_BIND_LONG_S	10

/*
 * A disk's driver may have queues that it looks into by itself (virtio_blk's
 * poll_queues) and that have no callback.  What is handed back there is to be
 * taken all the same, so such a queue of a device that fails gets the callback
 * of the others, which is for any of them.
 */
static void vgrant_lend_callback(struct virtqueue *vq)
{
	struct vgrant_device *vgd = vgrant_dev_of(vq->vdev);
	unsigned int i;

	if (vgd->vdev.id.device != VIRTIO_ID_BLOCK)
		return;
	for (i = 0; i < vgd->nr_queues && !vq->callback; i++)
		if (vgd->queue[i])
			vq->callback = vgd->queue[i]->callback;
}

/* Shows descriptor @id as used, whatever the ring's next entry is. */
static void vgrant_show_used(struct virtqueue *vq, unsigned int id, u16 used)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	unsigned int i;

	for (i = 0; i < ring->num; i++) {
		ring->used->ring[i].id = cpu_to_virtio32(vq->vdev, id);
		ring->used->ring[i].len = 0;
	}
	/* The ring's read barrier after used->idx is the partner. */
	virt_wmb();
	WRITE_ONCE(ring->used->idx, cpu_to_virtio16(vq->vdev, used));
	__virtqueue_unbreak(vq);
	vgrant_callback_now(vq);
}

/*
 * vgrant_queue_fail() where the backend scribbled over what tells which buffers
 * are in the ring: tries all of them.  The ring refuses (and says so) what is not
 * the first descriptor of a buffer, or is for the second time, and is broken
 * again.
 */
static void vgrant_queue_fail_blindly(struct virtqueue *vq)
{
	unsigned int num = virtqueue_get_vring_size(vq), id, before;
	struct vgrant_queue *q = vq->priv;
	u16 used = vgrant_used_idx(vq);

	q->has_lost_track = true;
	for (id = 0; id < num && vq->num_free < num; id++) {
		before = vq->num_free;
		vgrant_show_used(vq, id, ++used);
		/* Of two indices, one is not where the ring has got to. */
		if (vq->num_free == before)
			vgrant_show_used(vq, id, ++used);
	}
}

/*
 * Hands what the backend never answered back to the driver, as used buffers:
 * the pool gives all ones for their content, which no driver takes for
 * success.  The backend may still scribble into the ring; then the ring's own
 * checks stop this, and there is another way.
 */
static void vgrant_queue_fail(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	struct vgrant_queue *q = vq->priv;
	unsigned int id;
	u16 used;

	vgrant_lend_callback(vq);
	/* What it did answer, first. */
	__virtqueue_unbreak(vq);
	vgrant_callback_now(vq);
	if (q->has_lost_track)
		goto again_broken;

	used = q->used_seen;
	for_each_set_bit(id, q->busy, ring->num) {
		struct vring_used_elem *elem = &ring->used->ring[used++ &
							(ring->num - 1)];

		elem->id = cpu_to_virtio32(vq->vdev, id);
		elem->len = 0;
	}
	/* The ring's read barrier after used->idx is the partner. */
	virt_wmb();
	WRITE_ONCE(ring->used->idx, cpu_to_virtio16(vq->vdev, used));
	vgrant_callback_now(vq);
again_broken:
	if (q->has_lost_track || virtqueue_is_broken(vq))
		vgrant_queue_fail_blindly(vq);
	__virtqueue_break(vq);
}

/*
 * The device is no more.  No buffer enters its queues (whoever tries gets
 * -EIO), and those that are in there come back.  May sleep.
 */
static void vgrant_dev_fail_locked(struct vgrant_device *vgd, const char *why)
{
	unsigned int i;

	lockdep_assert_held(&vgd->queue_lock);
	if (vgd->has_failed)
		return;
	WRITE_ONCE(vgd->has_failed, true);
	dev_err(vgd->dev, "device failed: %s\n", why);
	vgrant_pool_fail(vgd->pool);
	virtio_break_device(&vgd->vdev);
	/* Whoever is adding a buffer does so under a spinlock. */
	synchronize_rcu();
	/* Otherwise its driver may not be ready for callbacks, nor has it buffers. */
	if (!(vgd->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	for (i = 0; i < vgd->nr_queues; i++)
		if (vgd->queue[i] && !vgd->queue[i]->reset)
			vgrant_queue_fail(vgd->queue[i]);
}

void vgrant_dev_fail(struct vgrant_device *vgd, const char *why)
{
	mutex_lock(&vgd->queue_lock);
	vgrant_dev_fail_locked(vgd, why);
	mutex_unlock(&vgd->queue_lock);
}
EXPORT_SYMBOL_GPL(vgrant_dev_fail);

/*
 * How long it stays away.  Whoever has long probes come to nothing, again and again, has
 * one under way for little of the time.
 */
static unsigned int vgrant_pause_s(struct vgrant_device *vgd)
{
	unsigned long took = jiffies - vgd->bind_began;

	if (!READ_ONCE(vgd->is_binding))
		return VGRANT_COME_BACK_S;
	if (took >= vgrant_seconds(VGRANT_BIND_LONG_S))
		vgd->bind_pause_s = clamp(2 * vgd->bind_pause_s,
					  VGRANT_COME_BACK_AGAIN_S,
					  VGRANT_COME_BACK_MAX_S);
	return max(vgd->bind_pause_s, VGRANT_COME_BACK_S);
}

/* The same, for want of an answer: it comes back when there is one. */
void vgrant_dev_give_up_locked(struct vgrant_device *vgd, const char *why)
{
	if (vgd->has_failed)
		return;
	vgrant_dev_fail_locked(vgd, why);
	WRITE_ONCE(vgd->may_come_back, true);
	if (READ_ONCE(vgd->is_binding))
		WRITE_ONCE(vgd->is_half_bound, true);
	queue_delayed_work(system_long_wq, &vgd->come_back_work,
			   vgrant_seconds(vgrant_pause_s(vgd)));
}

void vgrant_dev_give_up(struct vgrant_device *vgd, const char *why)
{
	mutex_lock(&vgd->queue_lock);
	vgrant_dev_give_up_locked(vgd, why);
	mutex_unlock(&vgd->queue_lock);
}

/* What is asked of the device from here on, is asked to set it up. */
void vgrant_dev_begin_setup(struct vgrant_device *vgd)
{
	vgd->silences = vgrant_silences(vgd);
}

/*
 * While its driver is bound or restored: for @why, or for want of an answer, be it to
 * something that was asked before: a device that was not told all is not at fault.
 */
void vgrant_dev_fail_setup_locked(struct vgrant_device *vgd, const char *why)
{
	if (vgrant_silences(vgd) != vgd->silences ||
	    vgd->transport->ask_identity(vgd) == -EAGAIN)
		vgrant_dev_give_up_locked(vgd, "no answer to its driver's setting up");
	else
		vgrant_dev_fail_locked(vgd, why);
}
