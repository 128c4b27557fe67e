// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * status.c - features and status of a device: what its driver and it agree on
 * (virtio 1.2, section 3.1), and its reset.
 *
 * Who is not trusted: the backend, which says any of it.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/virtio_ring.h>

#include "queue/queue.h"

/* Rings of this size hold enough requests without indirect tables. */
#define VGRANT_RING_ROOMY	512
#define VGRANT_INDIRECT_NEVER	0
#define VGRANT_INDIRECT_AUTO	(-1)
/* The same as VGRANT_RESET_MS, of a device whose backend was gone before. */
#define VGRANT_RESET_FAILED_MS	500
/* After so long, one that answers and is not reset, is told again. */
#define VGRANT_RESET_AGAIN_MS	500

static int use_indirect = VGRANT_INDIRECT_AUTO;
module_param(use_indirect, int, 0644);
MODULE_PARM_DESC(use_indirect,
		 "indirect tables: 0 never, 1 if offered, -1 (default) with rings of less than 512 entries");

u64 vgrant_get_features(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	u64 features = vgd->transport->read_features(vgd);

	/*
	 * Linux's packed ring turns a mapping that failed into -EIO, and a
	 * pool that is full for a moment into an I/O error; the split ring
	 * says -ENOMEM, and the drivers wait.  A device that uses buffers in
	 * order may say so for the last of several only, and vgrant_track()
	 * wants to see each.
	 */
	features &= ~(BIT_ULL(VIRTIO_F_RING_PACKED) |
		      BIT_ULL(VIRTIO_F_IN_ORDER) |
		      BIT_ULL(VIRTIO_F_NOTIFICATION_DATA));
	/*
	 * An indirect table is one more buffer to allocate, copy and look up,
	 * which a ring with room for all of them saves.
	 */
	if (use_indirect == VGRANT_INDIRECT_NEVER ||
	    (use_indirect == VGRANT_INDIRECT_AUTO &&
	     vgd->ring_min >= VGRANT_RING_ROOMY))
		features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	return features;
}

int vgrant_finalize_features(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	u64 features = vdev->features;

	if (READ_ONCE(vgd->has_failed)) {
		if (READ_ONCE(vgd->is_asleep))
			return 0;
		dev_err(&vdev->dev, "no driver for a device that has failed\n");
		return -ENODEV;
	}
	vring_transport_features(vdev);
	/* The ring code takes it for a transport's to accept. */
	if (features & BIT_ULL(VIRTIO_F_RING_RESET))
		__virtio_set_bit(vdev, VIRTIO_F_RING_RESET);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1) ||
	    !__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM)) {
		dev_err(&vdev->dev, "refused: no grants without VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM\n");
		return -EINVAL;
	}
	vgd->transport->write_features(vgd, vdev->features);
	return 0;
}

/*
 * Status is what the driver wrote, but for two bits that are the device's: it
 * takes FEATURES_OK back or sets DEVICE_NEEDS_RESET (section 2.1).  A backend
 * that says anything else would have the virtio core warn, of a driver that is
 * ready before it said so, or of a device that was not reset.
 */
u8 vgrant_status(u8 written, u32 read)
{
	/* All ones would claim FEATURES_OK as well. */
	if (read == VGRANT_NOBODY)
		return (written & ~VIRTIO_CONFIG_S_FEATURES_OK) |
		       VIRTIO_CONFIG_S_FAILED;
	return (written & (read | ~VIRTIO_CONFIG_S_FEATURES_OK)) |
	       (read & VIRTIO_CONFIG_S_NEEDS_RESET);
}
EXPORT_SYMBOL_IF_KUNIT(vgrant_status);

/*
 * What is wrong with a Status that reads so, where the driver wrote @written?
 * A driver that is ready has written all that a running device shows.
 */
const char *vgrant_status_fault(u8 written, u32 read)
{
	const u8 running = VIRTIO_CONFIG_S_ACKNOWLEDGE |
			   VIRTIO_CONFIG_S_DRIVER |
			   VIRTIO_CONFIG_S_FEATURES_OK |
			   VIRTIO_CONFIG_S_DRIVER_OK;

	if (read & VIRTIO_CONFIG_S_NEEDS_RESET)
		return "the backend asks for a reset (DEVICE_NEEDS_RESET)";
	if (written & VIRTIO_CONFIG_S_DRIVER_OK && written & running & ~read)
		return "the backend does not run it any more, its state is lost";
	return NULL;
}
EXPORT_SYMBOL_IF_KUNIT(vgrant_status_fault);

/*
 * A driver that is being restored can't be told that there is no device any more.
 * virtio_blk would leave its disk quiesced for ever, with pointers to queues that
 * are gone.  So for its restoring, a failed device does all that is asked of it;
 * its queues, which are broken, then end every request with an error.
 */
u8 vgrant_get_status(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	u8 status;

	/* After a reset, whether or not the backend heard of it. */
	if (!vgd->status)
		return 0;
	status = vgrant_status(vgd->status, vgd->transport->read_status(vgd));
	if (!READ_ONCE(vgd->is_asleep) || status == vgd->status)
		return status;
	mutex_lock(&vgd->queue_lock);
	vgrant_dev_fail_setup_locked(vgd, "it can't be restored");
	mutex_unlock(&vgd->queue_lock);
	return vgd->status;
}

/*
 * The core takes what the device showed, adds that the driver is ready, and looks
 * no further.
 */
static void vgrant_check_ready_locked(struct vgrant_device *vgd)
{
	u32 status = vgd->transport->read_status(vgd);
	const char *why = vgrant_status_fault(vgd->status, status);

	if (!(vgd->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		vgrant_dev_fail_setup_locked(vgd, "the backend forgot its features");
	} else if (status == VGRANT_NOBODY) {
		/* Whether it was told, it says when it answers again. */
		WRITE_ONCE(vgd->is_in_doubt, true);
		vgrant_dev_suspect(vgd);
	} else if (why) {
		vgrant_dev_fail_setup_locked(vgd, why);
	}
}

static void vgrant_ready_locked(struct vgrant_device *vgd)
{
	if (!vgd->has_failed)
		vgrant_check_ready_locked(vgd);
	/* virtio_device_ready() believes that new queues are whole. */
	if (vgd->has_failed)
		virtio_break_device(&vgd->vdev);
}

void vgrant_set_status(struct virtio_device *vdev, u8 status)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);

	/* Zero is a reset, which is vgrant_reset()'s to do. */
	if (WARN_ON_ONCE(!status))
		return;
	mutex_lock(&vgd->queue_lock);
	vgd->transport->write_status(vgd, status);
	/* After the device's: see vgrant_ask(). */
	WRITE_ONCE(vgd->status, status);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		vgrant_ready_locked(vgd);
	mutex_unlock(&vgd->queue_lock);
}

/*
 * The device was reset and has no queues.  If it had failed, nothing is left of
 * that; but a backend that keeps pages of ours has lost our trust for good.  Nor is
 * a driver woken that has half a device (a disk without its partitions): that has
 * to be bound anew.
 */
static void vgrant_revive(struct vgrant_device *vgd)
{
	mutex_lock(&vgd->queue_lock);
	if (vgd->has_failed && !vgd->queue && !READ_ONCE(vgd->is_buffer_held) &&
	    !READ_ONCE(vgd->is_half_bound) && !vgd->transport->ask_identity(vgd)) {
		dev_info(vgd->dev, "reset: taken for working again\n");
		vgrant_pool_revive(vgd->pool);
		/* Nobody was there when it woke up. */
		vgrant_pool_resume(vgd->pool);
		vgd->may_come_back = false;
		WRITE_ONCE(vgd->has_failed, false);
	}
	mutex_unlock(&vgd->queue_lock);
}

/*
 * Waits until Status reads 0 (section 2.4.2): only then has the device let go of the
 * rings.  What writing it takes, is no time that the device had for it; and a backend
 * that did not take it until we asked the next thing, may never have seen it.
 *
 * Returns: what Status is in the end.
 */
u32 vgrant_reset_status(struct vgrant_device *vgd)
{
	unsigned long gone = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);
	unsigned long soon, again, end;
	u32 status;

	vgd->transport->write_status(vgd, 0);
	soon = jiffies + msecs_to_jiffies(VGRANT_RESET_FAILED_MS);
	again = jiffies + msecs_to_jiffies(VGRANT_RESET_AGAIN_MS);
	end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);
	for (;;) {
		status = vgd->transport->read_status(vgd);
		if (!status || time_after(jiffies, end))
			return status;
		/*
		 * No answer can mean that a request takes longer than the
		 * broker lets us wait for one: ask on, but not for long if
		 * the backend was gone before.
		 */
		if (status == VGRANT_NOBODY &&
		    (time_after(jiffies, gone) ||
		     (vgd->has_failed && time_after(jiffies, soon))))
			return status;
		if (status != VGRANT_NOBODY && time_after(jiffies, again)) {
			vgd->transport->write_status(vgd, 0);
			again = jiffies + msecs_to_jiffies(VGRANT_RESET_AGAIN_MS);
		}
		usleep_range(500, 1000);
	}
}

void vgrant_reset(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	u32 status;

	WRITE_ONCE(vgd->resets, vgd->resets + 1);
	WRITE_ONCE(vgd->status, 0);
	WRITE_ONCE(vgd->is_in_doubt, false);
	vgrant_dev_begin_setup(vgd);
	vgd->is_announced = false;
	status = vgrant_reset_status(vgd);
	if (!status)
		vgrant_revive(vgd);
	else if (status == VGRANT_NOBODY)
		vgrant_dev_give_up(vgd, "no answer to a reset");
	else
		vgrant_dev_fail(vgd, "the backend does not reset it");
}
