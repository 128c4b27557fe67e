/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmio_priv.h - virtio over memory-mapped registers: what its files share, and
 * show to the KUnit suite.
 *
 * tree.c finds the devices, in the device tree, and takes them over; xenstore.c
 * says whether one may be accessed; identify.c says what is behind a window, and
 * types.c whether it is wanted; registers.c carries it (queue/queue.h).
 */
#ifndef VIRTIO_GRANT_MMIO_PRIV_H
#define VIRTIO_GRANT_MMIO_PRIV_H

#include <linux/io.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <uapi/linux/virtio_mmio.h>

#include "queue/queue.h"
#include "virtio_grant_dma.h"

#define VGM_MAGIC		('v' | 'i' << 8 | 'r' << 16 | 't' << 24)
/* Device types are numbers below this. */
#define VGM_TYPES		128

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

/* Changes of the configuration in a row, each while it was being read. */
#define VGM_CHANGES_MAX		16

/**
 * struct vgm_settling - does reading the configuration come to an end?
 * @lock: of the rest
 * @reader: who looked at the generation last
 * @generation: what it was then
 * @changes: so many times in a row it was another one
 */
struct vgm_settling {
	spinlock_t lock;	/* the rest */
	struct task_struct *reader;
	u32 generation;
	unsigned int changes;
};

struct vgm_device {
	struct vgrant_device vgd;
	struct platform_device *pdev;
	void __iomem *base;
	struct vgm_settling settling;
};

static inline struct vgm_device *vgm_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct vgm_device, vgd.vdev);
}

/* No device offers all of them, but that is how it looks when none answers. */
static inline u32 vgm_read_features(void __iomem *base, unsigned int word)
{
	u32 features;

	writel(word, base + VIRTIO_MMIO_DEVICE_FEATURES_SEL);
	features = readl(base + VIRTIO_MMIO_DEVICE_FEATURES);
	return features == VGRANT_NOBODY ? 0 : features;
}

/* identify.c */
int vgm_identify(struct device *dev, void __iomem *base,
		 struct vgm_identity *id);
int vgm_seg_max_offset(u32 device);

/* types.c */
extern char *vgm_types;
int vgm_accept_types(const char *list);
bool vgm_type_is_accepted(u32 type);
const char *vgm_type_name(u32 type);

/* xenstore.c */
int vgm_wait_for_server(struct platform_device *pdev);
bool vgm_is_served_now(struct platform_device *pdev);

/* registers.c: what a platform driver does, and its power management */
int vgm_create(struct platform_device *pdev, void __iomem *base, int irq,
	       domid_t backend);
void vgm_remove(struct platform_device *pdev);
int vgm_freeze(struct device *dev);
int vgm_restore(struct device *dev);
bool vgm_settles(struct vgm_settling *s, u32 generation);

#endif /* VIRTIO_GRANT_MMIO_PRIV_H */
