// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * range.c - the pool as a persistent range: the backend keeps it mapped, where it
 * can and is wanted to.  What is refused costs speed only.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/module.h>

#include "queue/queue.h"

static bool use_ranges = true;
module_param(use_ranges, bool, 0644);
MODULE_PARM_DESC(use_ranges,
		 "announce the pool to backends that can keep it mapped (default: yes)");

/* Does the device have them, and are they wanted? */
bool vgrant_uses_ranges(const struct vgrant_device *vgd)
{
	return vgd->caps & VIRTIO_GRANT_CAP_RANGES && use_ranges;
}

/* Reset of the device takes the announcement back, or vgrant_withdraw(). */
void vgrant_announce(struct vgrant_device *vgd)
{
	struct vgrant_pool_stats stats;
	u32 state;

	if (!vgrant_uses_ranges(vgd))
		return;
	vgrant_pool_read_stats(vgd->pool, &stats);
	vgd->is_announced = true;
	state = vgd->transport->share_range(vgd, stats.first_ref,
					    stats.pages_total);
	if (state == VIRTIO_GRANT_RANGE_NONE)
		vgd->is_announced = false;
	else if (state != VIRTIO_GRANT_RANGE_HELD)
		dev_warn(vgd->dev,
			 "the backend does not keep the pool mapped (%u): slower\n",
			 state);
}

/*
 * A driver that gives up in its probe does not reset the device.  Its queues are
 * stopped; if the pool stayed announced, the backend would hold it when it ends.
 */
void vgrant_withdraw(struct vgrant_device *vgd)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);

	if (!vgd->is_announced || !vgd->status || vgd->has_failed)
		return;
	vgd->is_announced = false;
	/* A request that is under way may take longer than the answer. */
	while (vgd->transport->unshare_range(vgd) != VIRTIO_GRANT_RANGE_NONE) {
		if (time_after(jiffies, end)) {
			dev_warn(vgd->dev, "the backend does not let go of the pool\n");
			return;
		}
		usleep_range(500, 1000);
	}
}
