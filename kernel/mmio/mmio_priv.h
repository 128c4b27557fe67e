/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmio_priv.h - virtio over memory-mapped registers: what its files share, and
 * show to the KUnit suite.
 *
 * tree.c finds the devices, in the device tree, and takes them over; xenstore.c
 * says whether one may be accessed; identify.c says what is behind a window, and
 * whether it is wanted; registers.c carries it (queue/queue.h).
 */
#ifndef VIRTIO_GRANT_MMIO_PRIV_H
#define VIRTIO_GRANT_MMIO_PRIV_H

#include <linux/io.h>
#include <linux/platform_device.h>
#include <linux/types.h>
#include <uapi/linux/virtio_mmio.h>

#include "queue/queue.h"
#include "virtio_grant_dma.h"

#define VGM_MAGIC		('v' | 'i' << 8 | 'r' << 16 | 't' << 24)

struct vgm_device {
	struct vgrant_device vgd;
	void __iomem *base;
	int irq;
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
int vgm_identify(struct vgm_device *vgm, struct vgrant_identity *id);
int vgm_accept_types(const char *list);

/* xenstore.c */
int vgm_wait_for_server(struct platform_device *pdev);
bool vgm_is_served_now(struct platform_device *pdev);

/* registers.c: what a platform driver does, and its power management */
void vgm_dev_init(struct vgm_device *vgm, struct device *dev,
		  void __iomem *base, int irq, domid_t backend);
int vgm_create(struct platform_device *pdev, void __iomem *base, int irq,
	       domid_t backend);
void vgm_remove(struct platform_device *pdev);
void vgm_shutdown(struct platform_device *pdev);
int vgm_freeze(struct device *dev);
int vgm_restore(struct device *dev);

#endif /* VIRTIO_GRANT_MMIO_PRIV_H */
