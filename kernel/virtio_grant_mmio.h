/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_grant_mmio.h - what the transport driver shows to its KUnit suite.
 */
#ifndef VIRTIO_GRANT_MMIO_H
#define VIRTIO_GRANT_MMIO_H

#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/types.h>

#include "virtio_grant_dma.h"

struct device;

/**
 * struct vgm_identity - what a register window says of the device behind it
 * @device: device type
 * @vendor: vendor
 * @need: what its queues ask of a pool
 * @ring_min: entries of its smallest ring
 */
struct vgm_identity {
	u32 device;
	u32 vendor;
	struct vgrant_pool_need need;
	unsigned int ring_min;
};

#if IS_ENABLED(CONFIG_KUNIT)
int vgm_identify(struct device *dev, void __iomem *base,
		 struct vgm_identity *id);
void vgm_spread(struct cpumask *cpus, unsigned int index, unsigned int nr);
u8 vgm_status(u8 written, u32 read);
#endif

#endif /* VIRTIO_GRANT_MMIO_H */
