// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * identify.c - what is behind a register window, and what it asks of a pool.
 *
 * Who is not trusted: whoever answers.
 */
#include <linux/device.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/virtio.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>
#include <uapi/linux/virtio_net.h>
#include <uapi/linux/virtio_ring.h>
#include <uapi/linux/virtio_scsi.h>

#include "mmio/mmio_priv.h"

/*
 * Of the segments that a driver may put into a request, we lower the number in
 * favour of larger segments, but not below this.
 */
#define VGM_SEGS_ENOUGH		64
/* Most buffers of a packet: Linux's largest MAX_SKB_FRAGS, head, header. */
#define VGM_SEGS_NET		(45 + 2)
/*
 * Queues that the pool is measured for; more may fit.  Of a type that we do not
 * know how many it has, fewer.
 */
#define VGM_QUEUES_MEASURED	64
#define VGM_QUEUES_UNKNOWN	8

/*
 * Where a device's configuration says how many segments a request may have, a
 * field of 4 bytes; -1 if nowhere.
 */
int vgm_seg_max_offset(u32 device)
{
	switch (device) {
	case VIRTIO_ID_BLOCK:
		return offsetof(struct virtio_blk_config, seg_max);
	case VIRTIO_ID_SCSI:
		return offsetof(struct virtio_scsi_config, seg_max);
	default:
		return -1;
	}
}

/*
 * Do drivers of this type leave buffers with the device until it has something
 * for them?  One that is not known here may.
 */
static bool vgm_keeps_buffers(u32 device)
{
	switch (device) {
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_RNG:
	case VIRTIO_ID_9P:
	case VIRTIO_ID_CRYPTO:
	case VIRTIO_ID_FS:
	case VIRTIO_ID_PMEM:
	case VIRTIO_ID_I2C_ADAPTER:
	/* Eight events, in small slots. */
	case VIRTIO_ID_SCSI:
		return false;
	default:
		return true;
	}
}

/*
 * How many queues a driver of this type can ask for, whatever else answers to
 * QueueSel.  The device says it, and it costs memory only.
 */
static unsigned int vgm_count_queues(void __iomem *base, u32 device)
{
	void __iomem *config = base + VIRTIO_MMIO_CONFIG;
	u32 features = vgm_read_features(base, 0);
	unsigned int nr;

	switch (device) {
	case VIRTIO_ID_BLOCK:
		nr = 1;
		if (features & BIT(VIRTIO_BLK_F_MQ))
			nr = readw(config + offsetof(struct virtio_blk_config,
						     num_queues));
		break;
	case VIRTIO_ID_NET:
		nr = 1;
		if (features & BIT(VIRTIO_NET_F_MQ))
			nr = readw(config + offsetof(struct virtio_net_config,
						     max_virtqueue_pairs));
		/* Each pair is two; and one for control. */
		nr = 2 * nr + !!(features & BIT(VIRTIO_NET_F_CTRL_VQ));
		break;
	case VIRTIO_ID_CONSOLE:
		nr = 0;
		if (features & BIT(VIRTIO_CONSOLE_F_MULTIPORT))
			nr = min_t(u32, VGM_QUEUES_MEASURED,
				   readl(config + offsetof(struct virtio_console_config,
							   max_nr_ports)));
		/* Two for each port, and two for control. */
		nr = nr ? 2 * nr + 2 : 2;
		break;
	case VIRTIO_ID_SCSI:
		/* Control and events beside those for requests. */
		nr = 2 + min_t(u32, VGM_QUEUES_MEASURED,
			       readl(config + offsetof(struct virtio_scsi_config,
						       num_queues)));
		break;
	default:
		nr = VGM_QUEUES_UNKNOWN;
	}
	return clamp(nr, 1U, VGM_QUEUES_MEASURED);
}

static void vgm_measure_queues(void __iomem *base, struct vgm_identity *id)
{
	struct vgrant_pool_need *need = &id->need;
	unsigned int i, nr = vgm_count_queues(base, id->device);
	u32 num_max;

	for (i = 0; i < nr; i++) {
		unsigned int size;

		writel(i, base + VIRTIO_MMIO_QUEUE_SEL);
		num_max = readl(base + VIRTIO_MMIO_QUEUE_NUM_MAX);
		if (!num_max || num_max == VGRANT_NOBODY)
			break;
		size = vgrant_queue_size(num_max);
		/* No request has more segments than its ring has entries. */
		need->segs_max = max(need->segs_max, size);
		/* A driver has no use for more queues than CPUs. */
		need->queues = min(i + 1, num_possible_cpus());
		id->ring_min = i ? min(id->ring_min, size) : size;
		need->coherent_bytes +=
			PAGE_SIZE << get_order(vring_size(size, VGRANT_RING_ALIGN));
	}
}

/*
 * Is there a device behind the window, and one that we can drive?  Says why if
 * not.
 *
 * Returns: 0; -EAGAIN if nobody answers; -ENODEV if there is none, or one of a
 * type that this guest does not accept; -EINVAL if it is not for us.
 */
int vgm_identify(struct device *dev, void __iomem *base,
		 struct vgm_identity *id)
{
	u32 magic, version, features;

	memset(id, 0, sizeof(*id));
	magic = readl(base + VIRTIO_MMIO_MAGIC_VALUE);
	if (magic == VGRANT_NOBODY) {
		dev_err(dev, "no backend answers: are the broker and the backend running?\n");
		return -EAGAIN;
	}
	if (magic != VGM_MAGIC) {
		dev_err(dev, "refused: magic value %#x is not that of virtio-mmio\n",
			magic);
		return -EINVAL;
	}
	version = readl(base + VIRTIO_MMIO_VERSION);
	if (version != 2) {
		dev_err(dev, "refused: version %u of the registers, grants need 2\n",
			version);
		return -EINVAL;
	}
	id->device = readl(base + VIRTIO_MMIO_DEVICE_ID);
	if (!id->device || id->device == VGRANT_NOBODY) {
		dev_info(dev, "a place without a device\n");
		return -ENODEV;
	}
	if (!vgm_type_is_accepted(id->device)) {
		dev_err(dev, "refused: a device of type %u (%s), this guest accepts types=%s\n",
			id->device, vgm_type_name(id->device), vgm_types);
		return -ENODEV;
	}
	id->vendor = readl(base + VIRTIO_MMIO_VENDOR_ID);
	features = vgm_read_features(base, 1);
	if (!(features & BIT(VIRTIO_F_VERSION_1 - 32))) {
		dev_err(dev, "refused: the backend does not offer VIRTIO_F_VERSION_1\n");
		return -EINVAL;
	}
	if (!(features & BIT(VIRTIO_F_ACCESS_PLATFORM - 32))) {
		dev_err(dev, "refused: the backend does not offer VIRTIO_F_ACCESS_PLATFORM, it expects guest-physical addresses instead of grants\n");
		return -EINVAL;
	}
	vgm_measure_queues(base, id);
	id->need.is_divided = vgm_keeps_buffers(id->device);
	if (!id->need.segs_max) {
		dev_err(dev, "refused: the device has no queue\n");
		return -EINVAL;
	}
	if (vgm_seg_max_offset(id->device) >= 0)
		id->need.segs_enough = VGM_SEGS_ENOUGH + VGRANT_SEGS_EXTRA;
	else if (id->device == VIRTIO_ID_NET)
		id->need.segs_max = min(id->need.segs_max, VGM_SEGS_NET);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_identify);
