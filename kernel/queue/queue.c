// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue.c - the queues of a device come and go, all of them or one.
 *
 * Who owns what: a queue is its device's (vgd->queue), and has our part of it
 * as its priv.
 */
#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>

#include "queue/queue.h"

/* The queues of a device, up to 65536, are set up in so long, or let go of. */
#define VGRANT_QUEUES_S		600
/* ... while somebody waits for that to remove the device, or to stop the guest. */
#define VGRANT_QUEUES_HURRY_S	30

/* How large we make a ring whose device offers @num_max entries. */
unsigned int vgrant_queue_size(u32 num_max)
{
	return rounddown_pow_of_two(min_t(u32, num_max, VGRANT_QUEUE_SIZE_MAX));
}

/* Each answer may be in time, but only just: of one that is so slow we have enough. */
static void vgrant_queues_take_time(struct vgrant_device *vgd)
{
	bool stops = vgd->is_asleep ? vgrant_guest_goes_down() :
				      vgrant_guest_stops();
	bool is_in_hurry = stops || READ_ONCE(vgd->is_leaving) ||
			   READ_ONCE(vgd->is_going);
	unsigned int limit_s = is_in_hurry ? VGRANT_QUEUES_HURRY_S :
					     VGRANT_QUEUES_S;

	if (vgd->status && time_after(jiffies, vgd->queues_began +
					       vgrant_seconds(limit_s)))
		vgrant_dev_give_up_locked(vgd, "its queues take too long");
}

/*
 * A device that was reset has let go of everything.  Otherwise it has to be told,
 * and waited for.
 */
static void vgrant_queue_stop(struct vgrant_device *vgd,
			      const struct vgrant_queue *q)
{
	const struct vgrant_transport *transport = vgd->transport;
	bool lets_go;

	if (!vgd->status || vgd->has_failed)
		return;
	lets_go = transport->queue_stop(vgd, q->index);
	if (q->irq && !transport->clear_port(vgd, q->index))
		lets_go = false;
	if (!lets_go)
		dev_warn(vgd->dev, "the backend does not let go of queue %u\n",
			 q->index);
}

static struct vgrant_queue *vgrant_queue_alloc(struct vgrant_device *vgd,
					       unsigned int index,
					       unsigned int num)
{
	struct vgrant_queue *q = kzalloc(sizeof(*q), GFP_KERNEL);

	if (!q)
		return NULL;
	q->busy = bitmap_zalloc(num, GFP_KERNEL);
	if (!q->busy) {
		kfree(q);
		return NULL;
	}
	q->vgd = vgd;
	q->index = index;
	spin_lock_init(&q->callback_lock);
	spin_lock_init(&q->lock);
	return q;
}

static void vgrant_queue_free(struct vgrant_queue *q)
{
	bitmap_free(q->busy);
	kfree(q);
}

/* A ring that the device does not know of yet. */
static struct virtqueue *vgrant_ring_create(struct vgrant_device *vgd,
					    unsigned int index,
					    unsigned int num,
					    struct virtqueue_info *info)
{
	struct vgrant_queue *q = vgrant_queue_alloc(vgd, index, num);
	struct virtqueue *vq;

	if (!q)
		return ERR_PTR(-ENOMEM);
	vq = vring_create_virtqueue(index, num, VGRANT_RING_ALIGN, &vgd->vdev,
				    true, true, info->ctx, vgrant_notify,
				    info->callback, info->name);
	if (!vq) {
		vgrant_queue_free(q);
		return ERR_PTR(-ENOMEM);
	}
	vq->num_max = num;
	vq->priv = q;
	return vq;
}

static struct virtqueue *vgrant_queue_create(struct vgrant_device *vgd,
					     unsigned int index,
					     struct virtqueue_info *info)
{
	struct virtqueue *vq;
	u32 num_max;

	if (vgd->transport->queue_is_ready(vgd, index))
		return ERR_PTR(-EBUSY);
	num_max = vgd->transport->queue_size_max(vgd, index);
	if (!num_max || num_max == VGRANT_NOBODY)
		return ERR_PTR(-ENOENT);

	vq = vgrant_ring_create(vgd, index, vgrant_queue_size(num_max), info);
	if (IS_ERR(vq))
		return vq;
	vgrant_channel_open(vq->priv, dev_name(&vgd->vdev.dev));
	vgd->transport->queue_enable(vgd, vq);
	return vq;
}

/*
 * Was it told of this queue?  If not its buffers would wait for ever.  What is said to
 * nobody, is no reason to have no device; one that answers it and has no such queue is.
 */
static void vgrant_queue_check(struct vgrant_device *vgd, unsigned int index)
{
	if (vgd->transport->queue_is_ready(vgd, index) != 1)
		vgrant_dev_fail_setup_locked(vgd, "it does not take a queue");
}

/*
 * What the device can do, which may be another backend's by now, or a restarted one's.
 * No answer reads as nothing: then its promise does not count, and all else stays.
 */
static void vgrant_read_caps(struct vgrant_device *vgd)
{
	unsigned int silences = vgrant_silences(vgd);
	u32 caps = vgd->transport->read_caps(vgd);

	if (!caps && (vgrant_silences(vgd) != silences ||
		      !vgd->transport->answers(vgd)))
		caps = vgd->caps & ~VIRTIO_GRANT_CAP_FILLS;
	vgd->caps = caps;
}

/*
 * A queue for a driver that is being restored and whose device has failed, or is
 * found to: nobody works on it.
 */
static struct virtqueue *vgrant_queue_stand_in(struct vgrant_device *vgd,
					       unsigned int index,
					       struct virtqueue_info *info)
{
	struct virtqueue *vq;

	vq = vgrant_ring_create(vgd, index, vgd->ring_min, info);
	vgrant_dev_fail_setup_locked(vgd, "it does not take its queues back");
	if (!IS_ERR(vq))
		__virtqueue_break(vq);
	return vq;
}

/*
 * The device was reset, or the queue alone was not even started: it must not
 * touch the ring any more.  If it does, it writes to granted pages that the
 * pool may reuse, within this device.
 */
static void vgrant_queue_destroy(struct vgrant_device *vgd, unsigned int index)
{
	struct virtqueue *vq = vgd->queue[index];
	struct vgrant_queue *q;

	if (!vq)
		return;
	q = vq->priv;
	vgrant_queue_stop(vgd, q);
	vgrant_channel_close(q);
	WRITE_ONCE(vgd->queue[index], NULL);
	vring_del_virtqueue(vq);
	vgrant_queue_free(q);
}

static void vgrant_destroy_queues(struct vgrant_device *vgd)
{
	unsigned int i;

	for (i = 0; i < vgd->nr_queues; i++) {
		vgrant_queues_take_time(vgd);
		vgrant_queue_destroy(vgd, i);
	}
	kfree(vgd->queue);
	vgd->queue = NULL;
	vgd->nr_queues = 0;
}

void vgrant_del_vqs(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);

	cancel_delayed_work_sync(&vgd->watch_work);
	mutex_lock(&vgd->queue_lock);
	/* Otherwise find_vqs() failed, or was never called. */
	if (vgd->queue) {
		vgd->transport->callbacks_end(vgd);
		vgd->queues_began = jiffies;
		vgrant_destroy_queues(vgd);
		vgrant_withdraw(vgd);
	}
	mutex_unlock(&vgd->queue_lock);
}

int vgrant_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		    struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
		    struct irq_affinity *desc)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	unsigned int i, index = 0;
	int ret = -ENOMEM;

	mutex_lock(&vgd->queue_lock);
	/* Its driver reads the configuration first, and that may have shown. */
	if (vgd->has_failed && !vgd->is_asleep) {
		ret = -EIO;
		goto unlock;
	}
	vgd->queue = kcalloc(nvqs, sizeof(*vgd->queue), GFP_KERNEL);
	if (!vgd->queue)
		goto unlock;
	vgd->nr_queues = nvqs;
	if (!vgd->has_failed)
		vgrant_read_caps(vgd);
	vgrant_pool_set_filled(vgd->pool, vgd->caps & VIRTIO_GRANT_CAP_FILLS);
	if (!vgd->has_failed)
		vgrant_announce(vgd);
	vgd->queues_began = jiffies;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = NULL;
		if (!vqs_info[i].name)
			continue;
		if (!vgd->has_failed)
			vqs[i] = vgrant_queue_create(vgd, index, &vqs_info[i]);
		if (vgd->is_asleep && IS_ERR_OR_NULL(vqs[i]) &&
		    (vqs[i] != ERR_PTR(-ENOMEM) || vgd->is_last_try))
			vqs[i] = vgrant_queue_stand_in(vgd, index,
						       &vqs_info[i]);
		if (IS_ERR(vqs[i])) {
			ret = PTR_ERR(vqs[i]);
			goto destroy_queues;
		}
		vgd->queue[index] = vqs[i];
		if (!vgd->has_failed)
			vgrant_queue_check(vgd, index);
		index++;
		vgrant_queues_take_time(vgd);
		/* One that sleeps has queues in any case. */
		if (vgd->has_failed && !vgd->is_asleep) {
			ret = -EIO;
			goto destroy_queues;
		}
	}
	for (i = 0; desc && index > 1 && i < index; i++) {
		struct vgrant_queue *q = vgd->queue[i]->priv;

		vgrant_spread(&q->cpus, i, index);
		vgrant_route(q);
	}

	/* Last, so that the handler never meets half a set of queues. */
	ret = vgd->transport->callbacks_begin(vgd);
	if (ret)
		goto destroy_queues;
	mutex_unlock(&vgd->queue_lock);
	vgrant_dev_watch(vgd);
	return 0;

destroy_queues:
	vgrant_destroy_queues(vgd);
	vgrant_withdraw(vgd);
unlock:
	mutex_unlock(&vgd->queue_lock);
	return ret;
}

/* Resetting one queue (VIRTIO_F_RING_RESET) */

/* Of a device that failed, all buffers came back already. */
int vgrant_disable_vq_and_reset(struct virtqueue *vq)
{
	struct vgrant_device *vgd = vgrant_dev_of(vq->vdev);
	struct vgrant_queue *q = vq->priv;
	const char *why = NULL;
	int ret = -EIO;

	if (!virtio_has_feature(vq->vdev, VIRTIO_F_RING_RESET))
		return -ENOENT;
	mutex_lock(&vgd->queue_lock);
	vgrant_dev_begin_setup(vgd);
	if (!vgd->has_failed)
		why = vgd->transport->queue_reset(vgd, vq->index);
	if (why) {
		vgrant_dev_fail_setup_locked(vgd, why);
	} else if (!vgd->has_failed) {
		WRITE_ONCE(q->is_reset, true);
		vq->reset = true;
		ret = 0;
	}
	mutex_unlock(&vgd->queue_lock);
	/* Whoever calls the driver has seen it from here on, or is through. */
	if (!ret)
		vgrant_synchronize_cbs(vq->vdev);
	return ret;
}

int vgrant_enable_vq_after_reset(struct virtqueue *vq)
{
	struct vgrant_device *vgd = vgrant_dev_of(vq->vdev);
	struct vgrant_queue *q = vq->priv;
	int ret = -EIO;

	if (!vq->reset)
		return -EBUSY;
	mutex_lock(&vgd->queue_lock);
	if (vgd->has_failed)
		goto unlock;
	vgrant_dev_begin_setup(vgd);
	/* Its driver would not try again, and nobody looks after such a queue. */
	if (vgd->transport->queue_is_ready(vgd, vq->index)) {
		vgrant_dev_fail_setup_locked(vgd, "a queue is not reset any more");
		goto unlock;
	}
	vgrant_track_anew(vq);
	vq->reset = false;
	WRITE_ONCE(q->is_reset, false);
	vgd->transport->queue_enable(vgd, vq);
	/* Or its buffers would wait for ever. */
	if (vgd->transport->queue_is_ready(vgd, vq->index) != 1)
		vgrant_dev_fail_setup_locked(vgd, "a queue does not start again after its reset");
	ret = 0;
unlock:
	mutex_unlock(&vgd->queue_lock);
	return ret;
}
