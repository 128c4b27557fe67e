// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resume.c - a device goes on with another backend, which knows nothing of it.
 *
 * The backend's domain ended, and another one serves the device.  What the driver
 * had set up is set up again, without the driver's knowing; what was in the queues
 * and not used yet is told to the new backend, which executes it; so the driver
 * sees a pause.
 *
 * Who is not trusted: either backend.  What the last one left in the rings is taken
 * as it stands: no other word of it is needed.
 */
#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>

#include "queue/queue.h"

/* That needs no word of the new backend to be so. */
static const char vgrant_ring_is_broken[] =
	"the last backend broke the rules of a ring";

/*
 * The heads of what is in the queue, in the order in which it was made available,
 * as far as that is known still: an entry of the available ring that was written
 * over belonged to a buffer that is older than all of those.
 *
 * Returns: how many; -ENOMEM; or -EPROTO if the last backend broke the ring.
 */
static int vgrant_in_flight(struct virtqueue *vq, u16 *heads, u16 *used_idx)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	unsigned int num = ring->num, at = num, i, nr;
	struct vgrant_queue *q = vq->priv;
	unsigned long *left;
	u16 id;

	left = bitmap_alloc(num, GFP_KERNEL);
	if (!left)
		return -ENOMEM;
	vgrant_track(vq);
	spin_lock_irq(&q->lock);
	bitmap_copy(left, q->busy, num);
	*used_idx = q->used_seen;
	/* From the last one made available backwards. */
	for (i = 1; i <= num; i++) {
		id = virtio16_to_cpu(vq->vdev,
				     READ_ONCE(ring->avail->ring[(q->avail_seen - i) &
								 (num - 1)]));
		if (id < num && __test_and_clear_bit(id, left))
			heads[--at] = id;
	}
	for_each_set_bit(i, left, num)
		heads[--at] = i;
	nr = num - at;
	if (q->has_lost_track || (u16)(q->avail_seen - q->used_seen) != nr)
		nr = num + 1;
	spin_unlock_irq(&q->lock);
	bitmap_free(left);
	if (nr > num)
		return -EPROTO;
	memmove(heads, heads + at, nr * sizeof(*heads));
	return nr;
}

/* Returns NULL, or what went wrong. */
static const char *vgrant_resume_queue(struct vgrant_device *vgd,
				       struct virtqueue *vq)
{
	const struct vgrant_transport *transport = vgd->transport;
	struct vgrant_queue *q = vq->priv;
	const char *why = NULL;
	u16 *heads, used_idx;
	int nr;

	heads = kcalloc(virtqueue_get_vring_size(vq), sizeof(*heads),
			GFP_KERNEL);
	if (!heads)
		return "no memory";
	nr = vgrant_in_flight(vq, heads, &used_idx);
	if (nr == -ENOMEM)
		why = "no memory";
	else if (nr < 0)
		why = vgrant_ring_is_broken;
	else if (transport->set_inflight(vgd, vq->index, used_idx, heads, nr))
		why = "the new backend does not take what is in flight";
	kfree(heads);
	if (why)
		return why;
	vgrant_channel_close(q);
	vgrant_channel_open(q, dev_name(&vgd->vdev.dev));
	vgrant_route(q);
	transport->queue_enable(vgd, vq);
	return transport->queue_is_ready(vgd, vq->index) == 1 ? NULL :
		"the new backend does not take a queue";
}

static const char *vgrant_resume_features(struct vgrant_device *vgd)
{
	const struct vgrant_transport *transport = vgd->transport;
	u64 features = vgd->vdev.features;
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	/* Whoever had it before, if not nobody. */
	if (vgrant_reset_status(vgd))
		return "the new backend does not reset it";
	if (features & ~transport->read_features(vgd))
		return "the new backend does not offer what the last one did";
	transport->write_status(vgd, status);
	transport->write_features(vgd, features);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	transport->write_status(vgd, status);
	if (transport->read_status(vgd) != status)
		return "the new backend does not take its features";
	return NULL;
}

static bool vgrant_has_in_flight(struct vgrant_device *vgd)
{
	unsigned int i;

	for (i = 0; i < vgd->nr_queues; i++) {
		struct virtqueue *vq = vgd->queue[i];
		struct vgrant_queue *q;

		if (!vq || vq->reset)
			continue;
		q = vq->priv;
		vgrant_track(vq);
		if (q->has_lost_track ||
		    !bitmap_empty(q->busy, virtqueue_get_vring_size(vq)))
			return true;
	}
	return false;
}

/*
 * What the new backend can do.  One that does not promise to write all of a buffer, as
 * the last one did, gets cleared ones from now on; but what is in flight is not, and
 * could come back with what was in its place before.
 *
 * Returns: can it go on?
 */
static bool vgrant_resume_caps(struct vgrant_device *vgd)
{
	u32 caps = vgd->transport->read_caps(vgd);
	bool fills;

	/* No answer reads the same, and would mean this. */
	if (vgd->caps & ~caps & VIRTIO_GRANT_CAP_FILLS)
		caps = vgd->transport->read_caps(vgd);
	fills = caps & VIRTIO_GRANT_CAP_FILLS;
	if (vgrant_pool_is_filled(vgd->pool) && !fills) {
		vgrant_pool_set_filled(vgd->pool, false);
		/* Whoever is adding a buffer does so under a spinlock. */
		synchronize_rcu();
		if (vgrant_has_in_flight(vgd)) {
			vgrant_pool_set_filled(vgd->pool, true);
			return false;
		}
	}
	vgrant_pool_set_filled(vgd->pool, fills);
	vgd->caps = caps;
	return true;
}

/* Its driver leaves, or the guest goes down. */
static bool vgrant_resume_is_vain(struct vgrant_device *vgd)
{
	return READ_ONCE(vgd->is_leaving) || READ_ONCE(vgd->is_going) ||
	       vgrant_guest_goes_down();
}

static const char *vgrant_resume_locked(struct vgrant_device *vgd)
{
	const struct vgrant_transport *transport = vgd->transport;
	const char *why;
	unsigned int i;

	why = vgrant_resume_features(vgd);
	if (why)
		return why;
	vgrant_announce(vgd);
	for (i = 0; i < vgd->nr_queues; i++) {
		if (!vgd->queue[i] || vgd->queue[i]->reset)
			continue;
		/* Who waits for queue_lock, does not until all queues are through. */
		if (vgrant_resume_is_vain(vgd))
			return "it is not to go on any more";
		why = vgrant_resume_queue(vgd, vgd->queue[i]);
		if (why)
			return why;
	}
	transport->write_status(vgd, vgd->status);
	if (vgrant_status_fault(vgd->status, transport->read_status(vgd)))
		return "the new backend does not run it";
	return NULL;
}

/* What the last backend did and could not tell, and what came meanwhile. */
static void vgrant_resume_callbacks(struct vgrant_device *vgd)
{
	unsigned int i;

	for (i = 0; i < vgd->nr_queues; i++) {
		if (!vgd->queue[i] || vgd->queue[i]->reset)
			continue;
		vgrant_callback_now(vgd->queue[i]);
		vgrant_notify(vgd->queue[i]);
	}
}

/*
 * Returns: 0; -EAGAIN if nobody answers, or has not to something that was asked, whatever
 * became of that; -EIO, and @why; or -ESTALE, and why: but it can be set up anew.
 */
static int vgrant_try_resume_locked(struct vgrant_device *vgd, const char **why)
{
	unsigned int silences = vgrant_silences(vgd);
	int ret;

	if (vgd->has_failed || !vgd->queue ||
	    !(vgd->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		*why = "its backend was replaced while its driver came or went";
		return -ESTALE;
	}
	ret = vgd->transport->ask_identity(vgd);
	if (ret == -EAGAIN)
		return ret;
	if (ret) {
		*why = "another device has taken its place";
		return -EIO;
	}
	if (!vgrant_resume_caps(vgd)) {
		*why = "the new backend does not promise to write all of what is in flight";
		ret = -ESTALE;
	} else {
		*why = vgrant_resume_locked(vgd);
		ret = *why ? -EIO : 0;
	}
	if (!ret || *why == vgrant_ring_is_broken)
		return ret;
	if (vgrant_silences(vgd) != silences || vgrant_resume_is_vain(vgd) ||
	    vgd->transport->ask_identity(vgd) == -EAGAIN)
		return -EAGAIN;
	return ret;
}

/**
 * vgrant_dev_resume - go on with another backend
 * @vgd: the device, whose transport reaches the new backend, though for the caller
 *	alone
 *
 * One whose driver is not ready has nothing in flight: it fails, and comes back by
 * being set up anew; as does one that has failed already, and one whose buffers in
 * flight are not for this backend.  May sleep.
 *
 * Returns: 0; -EAGAIN if nobody answers: to be called again with the next one; or
 * -EIO: the device has failed, and why was said.
 */
int vgrant_dev_resume(struct vgrant_device *vgd)
{
	const char *why;
	int ret;

	mutex_lock(&vgd->queue_lock);
	ret = vgrant_try_resume_locked(vgd, &why);
	if (!ret)
		vgrant_resume_callbacks(vgd);
	mutex_unlock(&vgd->queue_lock);
	if (ret == -EIO)
		vgrant_dev_fail(vgd, why);
	if (ret != -ESTALE)
		return ret;
	if (vgd->status && !READ_ONCE(vgd->has_failed))
		vgrant_dev_give_up(vgd, why);
	return 0;
}
EXPORT_SYMBOL_GPL(vgrant_dev_resume);
