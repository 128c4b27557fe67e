/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compat.h - what differs between the kernels we build for (6.1 and later).
 *
 * Included by force before every source file of an out-of-tree build, and the
 * only place that looks at LINUX_VERSION_CODE: the drivers are written for the
 * newest kernel, and this file makes older ones look like it.  Version
 * boundaries are those of mainline; stable trees did not move them.
 */
#ifndef VIRTIO_GRANT_COMPAT_H
#define VIRTIO_GRANT_COMPAT_H

#ifndef pr_fmt
#define pr_fmt(fmt)	KBUILD_MODNAME ": " fmt
#endif

#include <linux/version.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <uapi/linux/virtio_config.h>

/* 6.12 moved it. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "virtio-grant needs Linux 6.1 or later"
#endif

#if !IS_ENABLED(CONFIG_64BIT)
#error "virtio-grant needs a 64-bit kernel: bit 63 is part of each address"
#endif

#if !IS_ENABLED(CONFIG_XEN)
#error "virtio-grant needs a kernel with CONFIG_XEN"
#endif

#if !IS_ENABLED(CONFIG_DMA_OPS) && !IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS)
#error "virtio-grant needs a kernel whose devices can have DMA operations"
#endif

/*
 * Some changes reached stable trees as well, at other versions: Kbuild looks
 * for these in the headers and defines VGRANT_HAVE_*.
 */

/*
 * The driver override moved from struct platform_device to struct device.
 * The older field belongs to driver_set_override(), locking included.  An
 * empty name clears it.
 */
#ifdef VGRANT_HAVE_DEVICE_OVERRIDE
static inline int vgrant_set_override(struct platform_device *pdev,
				      const char *name)
{
	return device_set_driver_override(&pdev->dev, name);
}
#else
static inline int vgrant_set_override(struct platform_device *pdev,
				      const char *name)
{
	return driver_set_override(&pdev->dev, &pdev->driver_override,
				   name, strlen(name));
}
#endif

/* Streaming DMA operations take a physical address instead of a page. */
#ifdef VGRANT_HAVE_MAP_PHYS
#define VGRANT_MAP_ADAPTERS(map, unmap)
#define VGRANT_MAP_OPS(map, unmap) \
	.map_phys = map, \
	.unmap_phys = unmap
#else
#define VGRANT_MAP_ADAPTERS(map, unmap)					\
static dma_addr_t map##_page(struct device *dev, struct page *page,	\
			     unsigned long offset, size_t size,		\
			     enum dma_data_direction dir,		\
			     unsigned long attrs)			\
{									\
	return map(dev, page_to_phys(page) + offset, size, dir, attrs);	\
}
#define VGRANT_MAP_OPS(map, unmap) \
	.map_page = map##_page, \
	.unmap_page = unmap
#endif

#ifndef DMA_ATTR_MMIO
#define DMA_ATTR_MMIO	0
#endif

/*
 * 6.18: a virtio device can have its own operations for mapping, which its rings
 * call in place of the DMA API.  Before, there are none to be set.
 */
#ifdef VGRANT_HAVE_VIRTIO_MAP
static inline void vgrant_set_virtio_map(struct virtio_device *vdev,
					 const struct virtio_map_ops *ops,
					 struct device *dev)
{
	vdev->map = ops;
	vdev->vmap.dma_dev = dev;
}
#else
union virtio_map {
	struct device *dma_dev;
};

struct virtio_map_ops {
	dma_addr_t (*map_page)(union virtio_map map, struct page *page,
			       unsigned long offset, size_t size,
			       enum dma_data_direction dir,
			       unsigned long attrs);
	void (*unmap_page)(union virtio_map map, dma_addr_t addr, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
	void (*sync_single_for_cpu)(union virtio_map map, dma_addr_t addr,
				    size_t size, enum dma_data_direction dir);
	void (*sync_single_for_device)(union virtio_map map, dma_addr_t addr,
				       size_t size,
				       enum dma_data_direction dir);
	void *(*alloc)(union virtio_map map, size_t size, dma_addr_t *addr,
		       gfp_t gfp);
	void (*free)(union virtio_map map, size_t size, void *va,
		     dma_addr_t addr, unsigned long attrs);
	bool (*need_sync)(union virtio_map map, dma_addr_t addr);
	int (*mapping_error)(union virtio_map map, dma_addr_t addr);
	size_t (*max_mapping_size)(union virtio_map map);
};

static inline void vgrant_set_virtio_map(struct virtio_device *vdev,
					 const struct virtio_map_ops *ops,
					 struct device *dev)
{
}
#endif

/* 6.4 */
#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA	38
#endif

/* 6.11: platform drivers' remove() returns nothing. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define VGRANT_REMOVE_OP(fn)	.remove = fn
#else
#define VGRANT_REMOVE_OP(fn)	.remove_new = fn
#endif

/* 6.11: find_vqs() takes an array of descriptions instead of three arrays. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define VGRANT_FIND_VQS_ADAPTER(fn)
#define VGRANT_FIND_VQS_OP(fn)	.find_vqs = fn
#else
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
	bool ctx;
};

#define VGRANT_FIND_VQS_ADAPTER(fn)					\
static int fn##_arrays(struct virtio_device *vdev, unsigned int nvqs,	\
		       struct virtqueue *vqs[],				\
		       vq_callback_t *callbacks[],			\
		       const char * const names[], const bool *ctx,	\
		       struct irq_affinity *desc)			\
{									\
	struct virtqueue_info *info;					\
	unsigned int i;							\
	int ret;							\
									\
	info = kcalloc(nvqs, sizeof(*info), GFP_KERNEL);		\
	if (!info)							\
		return -ENOMEM;						\
	for (i = 0; i < nvqs; i++) {					\
		info[i].name = names[i];				\
		info[i].callback = callbacks[i];			\
		info[i].ctx = ctx && ctx[i];				\
	}								\
	ret = fn(vdev, nvqs, vqs, info, desc);				\
	kfree(info);							\
	return ret;							\
}
#define VGRANT_FIND_VQS_OP(fn)	.find_vqs = fn##_arrays
#endif

/*
 * Puts back a property that of_remove_property() took out.  That one keeps it
 * on a list of its own, and older kernels do not look there when the property
 * is added again: there it has to be a copy, which then belongs to the node.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
static inline int vgrant_of_put_back(struct device_node *np,
				     struct property *prop)
{
	return of_add_property(np, prop);
}
#else
static inline int vgrant_of_put_back(struct device_node *np,
				     struct property *prop)
{
	struct property *copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	int ret = -ENOMEM;

	if (!copy)
		return ret;
	copy->name = kstrdup(prop->name, GFP_KERNEL);
	copy->value = kmemdup(prop->value, prop->length, GFP_KERNEL);
	copy->length = prop->length;
	if (copy->name && copy->value)
		ret = of_add_property(np, copy);
	if (ret) {
		kfree(copy->name);
		kfree(copy->value);
		kfree(copy);
	}
	return ret;
}
#endif

/* Functions that a KUnit suite in another module may call. */
#if IS_ENABLED(CONFIG_KUNIT)
#include <kunit/visibility.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define VGRANT_KUNIT_IMPORTS	MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING")
#else
#define VGRANT_KUNIT_IMPORTS	MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING)
#endif
#else
#define VISIBLE_IF_KUNIT	static
#define EXPORT_SYMBOL_IF_KUNIT(symbol)
#endif

#endif /* VIRTIO_GRANT_COMPAT_H */
