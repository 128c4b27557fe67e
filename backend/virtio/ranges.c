// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ranges.c - memory that the driver announced: the operations of device.h on
 * it, and what becomes of those that have to wait.
 *
 * Not trusted: the guest.  A range is bounded by the device's budget of pages,
 * and mapping it is one batch.  Repeating it costs the guest its own time, and
 * us no more than a turn.
 */
#include <errno.h>
#include <string.h>

#include "lib/util.h"
#include "virtio/device_priv.h"

/* False: something is short for the moment. */
static bool announce(struct vg_device *dev, unsigned int i,
		     const struct vg_range *r, int *err)
{
	/* -EBUSY: one is held, and stays so. */
	*err = dev->mem->ops->range_add(dev->mem, i, r->addr, r->len_bytes);
	if (*err)
		vg_debug("%s: range %u, 0x%llx + 0x%llx: refused (%d)",
			 dev->label, i, (unsigned long long)r->addr,
			 (unsigned long long)r->len_bytes, *err);
	else
		dev->ranges.held[i] = *r;
	return *err != -EAGAIN;
}

/* Another operation on the same range: the last one counts. */
static void announce_stop(struct vg_device *dev, unsigned int i)
{
	struct vg_ranges *x = &dev->ranges;

	if (!(x->announcing & 1u << i))
		return;
	x->announcing &= ~(1u << i);
	vg_device_over(dev, VG_OP_RANGE_ADD, i, -ECANCELED);
}

/* Whether the driver may do anything with it now. */
static int check(const struct vg_device *dev, unsigned int index)
{
	if (index >= dev->info.nr_ranges)
		return -ENOENT;
	return vg_device_may_configure(dev) ? 0 : -EPERM;
}

int vg_device_range_add(struct vg_device *dev, unsigned int index,
			uint64_t addr, uint64_t len_bytes)
{
	struct vg_range r = { addr, len_bytes };
	struct vg_ranges *x = &dev->ranges;
	int err = check(dev, index);

	if (err)
		return err;
	vg_device_freeze(dev);
	announce_stop(dev, index);
	if (!announce(dev, index, &r, &err)) {
		x->announcing |= 1u << index;
		x->wanted[index] = r;
		vg_device_again_later(dev);
		err = VG_LATER;
	} else if (err == -EPERM || err == -ENOENT) {
		err = -EFAULT;		/* those are ours to say */
	}
	vg_device_thaw(dev);
	return err;
}

int vg_device_range_remove(struct vg_device *dev, unsigned int index)
{
	struct vg_ranges *x = &dev->ranges;
	int err = check(dev, index);

	if (err)
		return err;
	vg_device_freeze(dev);
	announce_stop(dev, index);
	err = dev->is_held ? -EAGAIN :
	      dev->mem->ops->range_remove(dev->mem, index);
	if (!err)
		x->held[index].len_bytes = 0;
	if (err == -EAGAIN) {
		x->closing |= 1u << index;
		err = VG_LATER;
	}
	vg_device_thaw(dev);
	return err;
}

void vg_ranges_again(struct vg_device *dev, bool is_last)
{
	struct vg_ranges *x = &dev->ranges;
	bool may = vg_device_may_configure(dev);
	uint32_t left;
	int err;

	for (left = x->announcing; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(left);

		/* What has come between is the answer, too. */
		err = -EPERM;
		if (may && !announce(dev, i, &x->wanted[i], &err) && !is_last)
			continue;
		x->announcing &= ~(1u << i);
		vg_device_over(dev, VG_OP_RANGE_ADD, i, err);
	}
}

void vg_ranges_drained(struct vg_device *dev)
{
	struct vg_ranges *x = &dev->ranges;
	uint32_t left;

	for (left = x->closing; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(left);
		int err = dev->mem->ops->range_remove(dev->mem, i);

		if (err == -EAGAIN)
			continue;
		x->closing &= ~(1u << i);
		/* -EBUSY: it could not be asked while the device was held. */
		if (!err)
			x->held[i].len_bytes = 0;
		vg_device_over(dev, VG_OP_RANGE_REMOVE, i, err);
	}
}

void vg_ranges_reset(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->info.nr_ranges; i++)
		dev->mem->ops->range_remove(dev->mem, i);
	dev->ranges = (struct vg_ranges){ 0 };
}

/* ---- for a successor ---------------------------------------------------- */

/* A range that is being withdrawn is none any more: grants.c does without. */
void vg_ranges_save(const struct vg_device *dev, struct vg_state_regs *r)
{
	const struct vg_ranges *x = &dev->ranges;
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		r->range[i].addr = x->held[i].addr;
		r->range[i].len_bytes = x->closing & 1u << i ?
					0 : x->held[i].len_bytes;
	}
}

int vg_ranges_restore(struct vg_device *dev, const struct vg_state_regs *r)
{
	unsigned int i;
	int err;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		struct vg_range range = {
			r->range[i].addr, r->range[i].len_bytes
		};

		if (!range.len_bytes)
			continue;
		if (i >= dev->info.nr_ranges)
			return -EPROTO;
		announce(dev, i, &range, &err);
		if (err) {
			vg_warn("%s: taking over: range %u, 0x%llx + 0x%llx: %s",
				dev->label, i, (unsigned long long)range.addr,
				(unsigned long long)range.len_bytes,
				strerror(-err));
			return err;
		}
	}
	return 0;
}
