// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * registers.c - virtio over memory-mapped registers and Xen grants.
 *
 * A transport as virtio 1.2, section 4.2 describes it (version 2 of the register
 * layout), and the extension's registers (uapi/virtio_grant.h).  Every access is
 * trapped by Xen and answered by the broker or, through it, the backend.
 *
 * Who is not trusted: whoever answers.  Values read are checked before use, and
 * waits are bounded; reads of a backend that is gone give all ones.
 *
 * Who owns what: a probed device owns its pool, its interrupt and its virtio
 * device.
 *
 * Without the extension a notification is one register write, and an interrupt is
 * one read and one write; with it, each is an event.  Which of the two, and
 * whether the pool is announced as a persistent range, is found out whenever the
 * queues are made; what is refused costs speed only.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_mmio.h>

#include "uapi/virtio_grant.h"
#include "mmio/mmio_priv.h"

/* Linux's header does not have it: its own driver does not use it. */
#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET	0x0c0
#endif

static struct vgm_device *vgm_of_dev(struct vgrant_device *vgd)
{
	return container_of(vgd, struct vgm_device, vgd);
}

static u32 vgm_read(struct vgm_device *vgm, unsigned int offset)
{
	return readl(vgm->base + offset);
}

static void vgm_write(struct vgm_device *vgm, unsigned int offset, u32 value)
{
	writel(value, vgm->base + offset);
}

static void vgm_write_addr(struct vgm_device *vgm, unsigned int low,
			   unsigned int high, u64 addr)
{
	vgm_write(vgm, low, lower_32_bits(addr));
	vgm_write(vgm, high, upper_32_bits(addr));
}

/* QueueSel: what is said of a queue is said under queue_lock. */
static struct vgm_device *vgm_select(struct vgrant_device *vgd,
				     unsigned int index)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);

	lockdep_assert_held(&vgd->queue_lock);
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, index);
	return vgm;
}

/* The device */

static bool vgm_answers(struct vgrant_device *vgd)
{
	return vgm_read(vgm_of_dev(vgd), VIRTIO_MMIO_MAGIC_VALUE) !=
		VGRANT_NOBODY;
}

static int vgm_ask_identity(struct vgrant_device *vgd)
{
	static const u8 offset[] = {
		VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_VERSION,
		VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_VENDOR_ID,
	};
	const u32 expected[] = {
		VGM_MAGIC, 2, vgd->vdev.id.device, vgd->vdev.id.vendor,
	};
	struct vgm_device *vgm = vgm_of_dev(vgd);
	unsigned int i;
	u32 value;

	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		value = vgm_read(vgm, offset[i]);
		if (value != expected[i])
			return value == VGRANT_NOBODY ? -EAGAIN : -ENODEV;
	}
	return 0;
}

static u64 vgm_device_features(struct vgrant_device *vgd)
{
	void __iomem *base = vgm_of_dev(vgd)->base;
	u64 features = vgm_read_features(base, 1);

	features <<= 32;
	return features | vgm_read_features(base, 0);
}

static void vgm_driver_features(struct vgrant_device *vgd, u64 features)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);

	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES, upper_32_bits(features));
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES, lower_32_bits(features));
}

static u32 vgm_read_status(struct vgrant_device *vgd)
{
	return vgm_read(vgm_of_dev(vgd), VIRTIO_MMIO_STATUS);
}

static void vgm_write_status(struct vgrant_device *vgd, u8 status)
{
	vgm_write(vgm_of_dev(vgd), VIRTIO_MMIO_STATUS, status);
}

/* Queues (section 4.2.3.2) */

static int vgm_queue_is_ready(struct vgrant_device *vgd, unsigned int index)
{
	struct vgm_device *vgm = vgm_select(vgd, index);
	u32 ready = vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY);

	return ready == VGRANT_NOBODY ? -EAGAIN : !!ready;
}

static u32 vgm_queue_size_max(struct vgrant_device *vgd, unsigned int index)
{
	return vgm_read(vgm_select(vgd, index), VIRTIO_MMIO_QUEUE_NUM_MAX);
}

static void vgm_queue_enable(struct vgrant_device *vgd, struct virtqueue *vq)
{
	struct vgm_device *vgm = vgm_select(vgd, vq->index);

	vgm_write(vgm, VIRTIO_MMIO_QUEUE_NUM, virtqueue_get_vring_size(vq));
	vgm_write_addr(vgm, VIRTIO_MMIO_QUEUE_DESC_LOW,
		       VIRTIO_MMIO_QUEUE_DESC_HIGH,
		       virtqueue_get_desc_addr(vq));
	vgm_write_addr(vgm, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
		       VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		       virtqueue_get_avail_addr(vq));
	vgm_write_addr(vgm, VIRTIO_MMIO_QUEUE_USED_LOW,
		       VIRTIO_MMIO_QUEUE_USED_HIGH,
		       virtqueue_get_used_addr(vq));
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_READY, 1);
}

static bool vgm_queue_stop(struct vgrant_device *vgd, unsigned int index)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);
	struct vgm_device *vgm = vgm_select(vgd, index);
	bool is_ready;

	vgm_write(vgm, VIRTIO_MMIO_QUEUE_READY, 0);
	while ((is_ready = vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY)) &&
	       time_before(jiffies, end))
		usleep_range(500, 1000);
	return !is_ready;
}

/* QueueReset reads 1 until it is done; see vgrant_reset() for all ones. */
static const char *vgm_queue_reset(struct vgrant_device *vgd,
				   unsigned int index)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);
	struct vgm_device *vgm = vgm_select(vgd, index);

	vgm_write(vgm, VIRTIO_MMIO_QUEUE_RESET, 1);
	while (vgm_read(vgm, VIRTIO_MMIO_QUEUE_RESET)) {
		if (time_after(jiffies, end))
			return "a queue does not reset";
		usleep_range(500, 1000);
	}
	return vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY) ?
		"a queue is ready after its reset" : NULL;
}

/* Notifications, both ways (sections 4.2.3.3 and 4.2.3.4) */

static void vgm_notify(struct virtqueue *vq)
{
	/*
	 * writel() orders the write after what the ring wrote before; its
	 * partner is the backend's barrier after taking the notification.
	 */
	vgm_write(vgm_of(vq->vdev), VIRTIO_MMIO_QUEUE_NOTIFY, vq->index);
}

static irqreturn_t vgm_interrupt(int irq, void *opaque)
{
	struct vgrant_device *vgd = opaque;
	struct vgm_device *vgm = vgm_of_dev(vgd);
	u32 status = vgm_read(vgm, VIRTIO_MMIO_INTERRUPT_STATUS);

	if (!status)
		return IRQ_NONE;
	if (status == VGRANT_NOBODY) {
		vgrant_dev_suspect(vgd);
		return IRQ_HANDLED;
	}
	/* Before looking at the rings: what comes later interrupts again. */
	vgm_write(vgm, VIRTIO_MMIO_INTERRUPT_ACK, status);

	if (status & VIRTIO_MMIO_INT_CONFIG)
		vgrant_dev_config_changed(vgd);
	if (status & VIRTIO_MMIO_INT_VRING)
		vgrant_callbacks(vgd, irq);
	return IRQ_HANDLED;
}

/* The extension: uapi/virtio_grant.h */

static u32 vgm_ext_caps(struct vgrant_device *vgd)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);

	if (vgm_read(vgm, VIRTIO_GRANT_MMIO_MAGIC) != VIRTIO_GRANT_MAGIC)
		return 0;
	return vgm_read(vgm, VIRTIO_GRANT_MMIO_CAPS) &
		(VIRTIO_GRANT_CAP_RANGES | VIRTIO_GRANT_CAP_EVTCHN |
		 VIRTIO_GRANT_CAP_FILLS);
}

/* Returns NONE if the device has no room for any. */
static u32 vgm_share_range(struct vgrant_device *vgd, u32 first, u32 pages)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);

	if (!vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_MAX))
		return VIRTIO_GRANT_RANGE_NONE;
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_FIRST, first);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_PAGES, pages);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	return vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE);
}

static u32 vgm_unshare_range(struct vgrant_device *vgd)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);

	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	/* Once: the write may take as long as requests do. */
	if (vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE) ==
	    VIRTIO_GRANT_RANGE_HELD)
		vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	return vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE);
}

static int vgm_set_port(struct vgrant_device *vgd, unsigned int index,
			evtchn_port_t port)
{
	struct vgm_device *vgm = vgm_select(vgd, index);

	vgm_write(vgm, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
	return vgm_read(vgm, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
		VIRTIO_GRANT_QUEUE_BOUND ? 0 : -EIO;
}

static bool vgm_clear_port(struct vgrant_device *vgd, unsigned int index)
{
	struct vgm_device *vgm = vgm_select(vgd, index);

	vgm_write(vgm, VIRTIO_GRANT_MMIO_QUEUE_PORT, 0);
	return vgm_read(vgm, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
		VIRTIO_GRANT_QUEUE_NONE;
}

/* Configuration (section 4.2.2) */

static u32 vgm_config_ask(const void __iomem *reg, unsigned int bytes)
{
	switch (bytes) {
	case 1:
		return readb(reg);
	case 2:
		return readw(reg);
	default:
		return readl(reg);
	}
}

/*
 * One access to the configuration or its generation.  All ones may be what the
 * device says, or that nobody said anything: they are the device's if it says
 * so twice, and is there to answer something else each time.
 *
 * Returns: 0, or -EAGAIN if nobody answers.
 */
static int vgm_config_access(struct vgm_device *vgm, unsigned int offset,
			     unsigned int bytes, u32 *value)
{
	const void __iomem *reg = vgm->base + offset;
	u32 ones = GENMASK(8 * bytes - 1, 0);
	unsigned int times;

	for (times = 0; times < 2; times++) {
		*value = vgm_config_ask(reg, bytes);
		if (*value != ones)
			return 0;
		if (!vgm_answers(&vgm->vgd))
			return -EAGAIN;
	}
	return 0;
}

/* Of a field's width, how much one access is (section 4.2.2.2). */
static unsigned int vgm_access_bytes(unsigned int len)
{
	switch (len) {
	case 2:
		return 2;
	case 4:
	case 8:
		return 4;
	default:
		return 1;
	}
}

/*
 * Fields of 1, 2 and 4 bytes are one access; longer ones are accesses of 4
 * bytes (section 4.2.2.2), made consistent by the caller's reading of the
 * generation.  Whatever else a driver asks for is bytes.
 */
static int vgm_config_read(struct vgrant_device *vgd, unsigned int offset,
			   void *buf, unsigned int len)
{
	unsigned int i, bytes = vgm_access_bytes(len);
	__le32 word;
	u32 value;
	int ret;

	for (i = 0; i < len; i += bytes) {
		ret = vgm_config_access(vgm_of_dev(vgd),
					VIRTIO_MMIO_CONFIG + offset + i, bytes,
					&value);
		if (ret)
			return ret;
		/* The lower bytes come first. */
		word = cpu_to_le32(value);
		memcpy(buf + i, &word, bytes);
	}
	return 0;
}

static void vgm_config_write(struct vgrant_device *vgd, unsigned int offset,
			     const void *buf, unsigned int len)
{
	void __iomem *reg = vgm_of_dev(vgd)->base + VIRTIO_MMIO_CONFIG + offset;
	unsigned int i, bytes = vgm_access_bytes(len);
	__le32 word;

	for (i = 0; i < len; i += bytes) {
		word = 0;
		memcpy(&word, buf + i, bytes);
		if (bytes == 1)
			writeb(le32_to_cpu(word), reg + i);
		else if (bytes == 2)
			writew(le32_to_cpu(word), reg + i);
		else
			writel(le32_to_cpu(word), reg + i);
	}
}

static int vgm_read_generation(struct vgrant_device *vgd, u32 *generation)
{
	return vgm_config_access(vgm_of_dev(vgd), VIRTIO_MMIO_CONFIG_GENERATION,
				 sizeof(*generation), generation);
}

/* The interrupt, while there are queues. */
static int vgm_callbacks_begin(struct vgrant_device *vgd)
{
	return request_irq(vgm_of_dev(vgd)->irq, vgm_interrupt, IRQF_SHARED,
			   dev_name(&vgd->vdev.dev), vgd);
}

static void vgm_callbacks_end(struct vgrant_device *vgd)
{
	free_irq(vgm_of_dev(vgd)->irq, vgd);
}

static void vgm_callbacks_sync(struct vgrant_device *vgd)
{
	synchronize_irq(vgm_of_dev(vgd)->irq);
}

static const struct vgrant_transport vgm_transport = {
	.answers = vgm_answers,
	.ask_identity = vgm_ask_identity,
	.read_caps = vgm_ext_caps,
	.read_features = vgm_device_features,
	.write_features = vgm_driver_features,
	.read_status = vgm_read_status,
	.write_status = vgm_write_status,
	.share_range = vgm_share_range,
	.unshare_range = vgm_unshare_range,
	.queue_is_ready = vgm_queue_is_ready,
	.queue_size_max = vgm_queue_size_max,
	.queue_enable = vgm_queue_enable,
	.queue_stop = vgm_queue_stop,
	.queue_reset = vgm_queue_reset,
	.set_port = vgm_set_port,
	.clear_port = vgm_clear_port,
	.notify = vgm_notify,
	.config_read = vgm_config_read,
	.config_write = vgm_config_write,
	.read_generation = vgm_read_generation,
	.callbacks_begin = vgm_callbacks_begin,
	.callbacks_end = vgm_callbacks_end,
	.callbacks_sync = vgm_callbacks_sync,
};

/* Devices */

/* A device that nothing is known of yet; nothing to undo. */
void vgm_dev_init(struct vgm_device *vgm, struct device *dev,
		  void __iomem *base, int irq, domid_t backend)
{
	vgm->base = base;
	vgm->irq = irq;
	vgrant_dev_init(&vgm->vgd, dev, &vgm_transport, backend);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_dev_init);

/* Returns: 0; -EAGAIN if nobody answers; or a negative errno. */
int vgm_create(struct platform_device *pdev, void __iomem *base, int irq,
	       domid_t backend)
{
	struct vgrant_identity id;
	struct vgrant_device *vgd;
	struct vgm_device *vgm;
	int ret;

	vgm = kzalloc(sizeof(*vgm), GFP_KERNEL);
	if (!vgm)
		return -ENOMEM;
	vgm_dev_init(vgm, &pdev->dev, base, irq, backend);
	vgd = &vgm->vgd;

	/* Time for a backend that is just starting. */
	vgrant_dev_is_gone(vgd);
	ret = vgm_identify(vgm, &id);
	/* Who falls silent meanwhile, is no other device. */
	if (ret && !vgm_answers(vgd))
		ret = -EAGAIN;
	if (ret)
		goto free_vgm;
	platform_set_drvdata(pdev, vgm);
	ret = vgrant_dev_make_pool(vgd, &id);
	if (!ret)
		ret = vgrant_dev_register(vgd);
	if (ret)
		goto free_vgm;
	return 0;

free_vgm:
	kfree(vgm);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_create);

void vgm_remove(struct platform_device *pdev)
{
	struct vgm_device *vgm = platform_get_drvdata(pdev);

	vgrant_dev_unregister(&vgm->vgd);
	kfree(vgm);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_remove);

void vgm_shutdown(struct platform_device *pdev)
{
	struct vgm_device *vgm = platform_get_drvdata(pdev);

	vgrant_dev_shutdown(&vgm->vgd);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_shutdown);

#ifdef CONFIG_PM_SLEEP
int vgm_freeze(struct device *dev)
{
	struct vgm_device *vgm = dev_get_drvdata(dev);

	return vgrant_dev_freeze(&vgm->vgd);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_freeze);

int vgm_restore(struct device *dev)
{
	struct vgm_device *vgm = dev_get_drvdata(dev);

	return vgrant_dev_restore(&vgm->vgd);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_restore);
#endif
