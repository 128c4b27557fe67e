// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * identify.c - may this device be driven, and what does it ask of a pool?
 *
 * Who is not trusted: whoever answers.
 */
#include <linux/device.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/virtio.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_net.h>
#include <uapi/linux/virtio_ring.h>
#include <uapi/linux/virtio_scsi.h>

#include "queue/queue.h"

/*
 * Of the segments that a driver may put into a request, we lower the number in
 * favour of larger segments, but not below this.
 */
#define VGRANT_SEGS_ENOUGH	64
/* Most buffers of a packet: Linux's largest MAX_SKB_FRAGS, head, header. */
#define VGRANT_SEGS_NET		(45 + 2)
/*
 * Queues that the pool is measured for; more may fit.  Of a type that we do not
 * know how many it has, fewer.
 */
#define VGRANT_QUEUES_MEASURED	64U
#define VGRANT_QUEUES_UNKNOWN	8

/*
 * Where a device's configuration says how many segments a request may have, a
 * field of 4 bytes; -1 if nowhere.
 */
int vgrant_seg_max_offset(u32 device)
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
static bool vgrant_keeps_buffers(u32 device)
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

/* A number of the configuration, of 2 or 4 bytes; 0 if nobody answers. */
static u32 vgrant_config_number(struct vgrant_device *vgd, unsigned int offset,
				unsigned int bytes)
{
	__le32 number = 0;

	if (vgd->transport->config_read(vgd, offset, &number, bytes))
		return 0;
	return le32_to_cpu(number);
}

/*
 * How many queues a driver of this type can ask for, whatever else there is.  The
 * device says it, and it costs memory only.
 */
static unsigned int vgrant_count_queues(struct vgrant_device *vgd, u32 device,
					u64 features)
{
	unsigned int nr;

	switch (device) {
	case VIRTIO_ID_BLOCK:
		nr = 1;
		if (features & BIT_ULL(VIRTIO_BLK_F_MQ))
			nr = vgrant_config_number(vgd,
						  offsetof(struct virtio_blk_config,
							   num_queues), 2);
		break;
	case VIRTIO_ID_NET:
		nr = 1;
		if (features & BIT_ULL(VIRTIO_NET_F_MQ))
			nr = vgrant_config_number(vgd,
						  offsetof(struct virtio_net_config,
							   max_virtqueue_pairs), 2);
		/* Each pair is two; and one for control. */
		nr = 2 * nr + !!(features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ));
		break;
	case VIRTIO_ID_CONSOLE:
		nr = 0;
		if (features & BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT))
			nr = min(VGRANT_QUEUES_MEASURED,
				 vgrant_config_number(vgd,
						      offsetof(struct virtio_console_config,
							       max_nr_ports), 4));
		/* Two for each port, and two for control. */
		nr = nr ? 2 * nr + 2 : 2;
		break;
	case VIRTIO_ID_SCSI:
		/* Control and events beside those for requests. */
		nr = 2 + min(VGRANT_QUEUES_MEASURED,
			     vgrant_config_number(vgd,
						  offsetof(struct virtio_scsi_config,
							   num_queues), 4));
		break;
	default:
		nr = VGRANT_QUEUES_UNKNOWN;
	}
	return clamp(nr, 1U, VGRANT_QUEUES_MEASURED);
}

static u32 vgrant_queue_size_max(struct vgrant_device *vgd, unsigned int index)
{
	u32 num_max;

	mutex_lock(&vgd->queue_lock);
	num_max = vgd->transport->queue_size_max(vgd, index);
	mutex_unlock(&vgd->queue_lock);
	return num_max == VGRANT_NOBODY ? 0 : num_max;
}

static void vgrant_measure_queues(struct vgrant_device *vgd, u64 features,
				  struct vgrant_identity *id)
{
	struct vgrant_pool_need *need = &id->need;
	unsigned int i, nr = vgrant_count_queues(vgd, id->device, features);
	u32 num_max;

	for (i = 0; i < nr; i++) {
		unsigned int size;

		num_max = vgrant_queue_size_max(vgd, i);
		if (!num_max)
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

static void vgrant_measure(struct vgrant_device *vgd, u64 features,
			   struct vgrant_identity *id)
{
	vgrant_measure_queues(vgd, features, id);
	id->need.is_divided = vgrant_keeps_buffers(id->device);
	if (vgrant_seg_max_offset(id->device) >= 0)
		id->need.segs_enough = VGRANT_SEGS_ENOUGH + VGRANT_SEGS_EXTRA;
	else if (id->device == VIRTIO_ID_NET)
		id->need.segs_max = min_t(unsigned int, id->need.segs_max,
					  VGRANT_SEGS_NET);
}

/**
 * vgrant_identify - may a device be driven?
 * @vgd: the device, of which its transport knows enough to ask it
 * @accepted: types of devices that this guest accepts
 * @list: the same as its owner wrote it, to be shown
 * @id: @device as the transport has it; the rest is filled, but for @vendor
 *
 * Says why if not.
 *
 * Returns: 0; -ENODEV if this guest does not accept the type; -EINVAL if it is
 * not for us.
 */
int vgrant_identify(struct vgrant_device *vgd,
		    const struct vgrant_types *accepted, const char *list,
		    struct vgrant_identity *id)
{
	u64 features;

	if (!vgrant_type_is_accepted(accepted, id->device)) {
		dev_err(vgd->dev, "refused: a device of type %u (%s), this guest accepts types=%s\n",
			id->device, vgrant_type_name(id->device), list);
		return -ENODEV;
	}
	features = vgd->transport->read_features(vgd);
	if (!(features & BIT_ULL(VIRTIO_F_VERSION_1))) {
		dev_err(vgd->dev, "refused: the backend does not offer VIRTIO_F_VERSION_1\n");
		return -EINVAL;
	}
	if (!(features & BIT_ULL(VIRTIO_F_ACCESS_PLATFORM))) {
		dev_err(vgd->dev, "refused: the backend does not offer VIRTIO_F_ACCESS_PLATFORM, it expects guest-physical addresses instead of grants\n");
		return -EINVAL;
	}
	vgrant_measure(vgd, features, id);
	if (!id->need.segs_max) {
		dev_err(vgd->dev, "refused: the device has no queue\n");
		return -EINVAL;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(vgrant_identify);
