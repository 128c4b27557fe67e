/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * extension.h - what of kernel/uapi/virtio_grant.h is the same over any
 * transport: what a device can do beside the specification, and how it went
 * with a range.
 */
#ifndef VG_TRANSPORT_EXTENSION_H
#define VG_TRANSPORT_EXTENSION_H

#include <errno.h>
#include <stdint.h>

#include "kernel/uapi/virtio_grant.h"
#include "virtio/device.h"

/* VIRTIO_GRANT_CAP_* */
static inline uint32_t vg_extension_caps(const struct vg_device_info *info)
{
	uint32_t c = 0;

	if (info->nr_ranges)
		c |= VIRTIO_GRANT_CAP_RANGES;
	if (info->has_channels)
		c |= VIRTIO_GRANT_CAP_EVTCHN;
	/* Alone it is not worth being found: plain devices stay plain. */
	if (c && info->fills_buffers)
		c |= VIRTIO_GRANT_CAP_FILLS;
	return c;
}

/* VIRTIO_GRANT_RANGE_*, after vg_device_range_add() */
static inline uint32_t vg_extension_range_state(int err)
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

#endif
