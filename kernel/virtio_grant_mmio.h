/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_grant_mmio.h - what the transport driver shows to its KUnit suite.
 */
#ifndef VIRTIO_GRANT_MMIO_H
#define VIRTIO_GRANT_MMIO_H

#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/irqreturn.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "virtio_grant_dma.h"

struct device;
struct platform_device;
struct task_struct;
struct virtqueue;

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

#if IS_ENABLED(CONFIG_KUNIT)
int vgm_accept_types(const char *list);
irqreturn_t vgm_callback(int irq, struct virtqueue *vq);
bool vgm_settles(struct vgm_settling *s, u32 generation);
int vgm_identify(struct device *dev, void __iomem *base,
		 struct vgm_identity *id);
void vgm_spread(struct cpumask *cpus, unsigned int index, unsigned int nr);
u8 vgm_status(u8 written, u32 read);
const char *vgm_status_fault(u8 written, u32 read);

/* What a platform driver does, and its power management. */
int vgm_create(struct platform_device *pdev, void __iomem *base, int irq,
	       domid_t backend);
void vgm_remove(struct platform_device *pdev);
int vgm_freeze(struct device *dev);
int vgm_restore(struct device *dev);

/* A parameter of the module, and what counts as 1000 ms there. */
extern unsigned int vgm_wait_s;
extern unsigned int vgm_ms_per_s;
#endif

#endif /* VIRTIO_GRANT_MMIO_H */
