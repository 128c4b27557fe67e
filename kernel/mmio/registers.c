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
#include <linux/blk_types.h>
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
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>

#include "uapi/virtio_grant.h"
#include "mmio/mmio_priv.h"

/* Linux's header does not have it: its own driver does not use it. */
#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET	0x0c0
#endif

static bool use_ranges = true;
module_param(use_ranges, bool, 0644);
MODULE_PARM_DESC(use_ranges,
		 "announce the pool to backends that can keep it mapped (default: yes)");

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

/* Reset of the device takes the announcement back, or vgm_withdraw_pool(). */
static void vgm_announce_pool(struct vgrant_device *vgd)
{
	struct vgm_device *vgm = vgm_of_dev(vgd);
	struct vgrant_pool_stats stats;
	u32 state;

	if (!(vgd->caps & VIRTIO_GRANT_CAP_RANGES) || !use_ranges ||
	    !vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_MAX))
		return;
	vgrant_pool_read_stats(vgd->pool, &stats);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_FIRST, stats.first_ref);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_PAGES, stats.pages_total);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	vgd->is_announced = true;
	state = vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE);
	if (state != VIRTIO_GRANT_RANGE_HELD)
		dev_warn(vgd->dev,
			 "the backend does not keep the pool mapped (%u): slower\n",
			 state);
}

/*
 * A driver that gives up in its probe does not reset the device.  Its queues are
 * stopped; if the pool stayed announced, the backend would hold it when it ends.
 */
static void vgm_withdraw_pool(struct vgrant_device *vgd)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGRANT_RESET_MS);
	struct vgm_device *vgm = vgm_of_dev(vgd);

	if (!vgd->is_announced || !vgd->status || vgd->has_failed)
		return;
	vgd->is_announced = false;
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	/* A request that is under way may take longer than the write. */
	while (vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE) !=
	       VIRTIO_GRANT_RANGE_NONE) {
		if (time_after(jiffies, end)) {
			dev_warn(vgd->dev, "the backend does not let go of the pool\n");
			return;
		}
		usleep_range(500, 1000);
	}
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

static const struct vgrant_transport vgm_transport = {
	.answers = vgm_answers,
	.ask_identity = vgm_ask_identity,
	.read_caps = vgm_ext_caps,
	.read_features = vgm_device_features,
	.write_features = vgm_driver_features,
	.read_status = vgm_read_status,
	.write_status = vgm_write_status,
	.announce = vgm_announce_pool,
	.withdraw = vgm_withdraw_pool,
	.queue_is_ready = vgm_queue_is_ready,
	.queue_size_max = vgm_queue_size_max,
	.queue_enable = vgm_queue_enable,
	.queue_stop = vgm_queue_stop,
	.queue_reset = vgm_queue_reset,
	.set_port = vgm_set_port,
	.clear_port = vgm_clear_port,
	.notify = vgm_notify,
	.interrupt = vgm_interrupt,
};

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
 * so twice, and is there to answer something else each time.  Where nobody
 * answers, the device fails; and a failed one has zeroes there, of which no
 * driver makes more than there is.  May sleep.
 */
static u32 vgm_config_read(struct vgm_device *vgm, unsigned int offset,
			   unsigned int bytes)
{
	const void __iomem *reg = vgm->base + offset;
	u32 ones = GENMASK(8 * bytes - 1, 0), value;
	unsigned int times = 0;

	while (!READ_ONCE(vgm->vgd.has_failed)) {
		value = vgm_config_ask(reg, bytes);
		if (value != ones)
			return value;
		if (!vgm_answers(&vgm->vgd)) {
			times = 0;
			vgrant_dev_check(&vgm->vgd);
		} else if (++times == 2) {
			return value;
		}
	}
	return 0;
}

/*
 * Linux counts the bytes of a disk in a signed number.  One that is too large
 * has been misunderstood, or is a lie.
 */
static void vgm_check_capacity(struct vgm_device *vgm, unsigned int offset,
			       __le64 *sectors)
{
	if (vgm->vgd.vdev.id.device != VIRTIO_ID_BLOCK ||
	    offset != offsetof(struct virtio_blk_config, capacity) ||
	    le64_to_cpu(*sectors) <= LLONG_MAX >> SECTOR_SHIFT)
		return;
	vgrant_dev_fail(&vgm->vgd, "a disk can't have so many sectors");
	*sectors = 0;
}

/*
 * A disk that wakes up has as many queues as before, whatever its configuration
 * says now: virtio_blk goes on using their numbers.
 */
static u16 vgm_num_queues(struct vgm_device *vgm, unsigned int offset,
			  u16 value)
{
	if (READ_ONCE(vgm->vgd.is_asleep) &&
	    vgm->vgd.vdev.id.device == VIRTIO_ID_BLOCK &&
	    offset == offsetof(struct virtio_blk_config, num_queues))
		return max_t(u16, value, vgm->vgd.nr_queues_before);
	return value;
}

/*
 * Fields of 1, 2 and 4 bytes are one access; longer ones are accesses of 4
 * bytes (section 4.2.2.2), made consistent by the caller's reading of the
 * generation.  Whatever else a driver asks for is bytes.
 */
static void vgm_get(struct virtio_device *vdev, unsigned int offset,
		    void *buf, unsigned int len)
{
	struct vgm_device *vgm = vgm_of(vdev);
	unsigned int i, at = VIRTIO_MMIO_CONFIG + offset;
	__le64 whole;
	__le16 half;
	__le32 word;
	u32 value;

	switch (len) {
	case 2:
		half = cpu_to_le16(vgm_num_queues(vgm, offset,
						  vgm_config_read(vgm, at, sizeof(half))));
		memcpy(buf, &half, sizeof(half));
		break;
	case 4:
	case 8:
		for (i = 0; i < len; i += sizeof(word)) {
			value = vgm_config_read(vgm, at + i, sizeof(word));
			/* More would not fit into the pool. */
			if (len == sizeof(word) &&
			    offset == vgm_seg_max_offset(vdev->id.device))
				value = min(value, vgm->vgd.segs_max);
			word = cpu_to_le32(value);
			memcpy(buf + i, &word, sizeof(word));
		}
		if (len == sizeof(whole)) {
			memcpy(&whole, buf, sizeof(whole));
			vgm_check_capacity(vgm, offset, &whole);
			memcpy(buf, &whole, sizeof(whole));
		}
		break;
	default:
		for (i = 0; i < len; i++)
			((u8 *)buf)[i] = vgm_config_read(vgm, at + i, 1);
	}
}

static void vgm_set(struct virtio_device *vdev, unsigned int offset,
		    const void *buf, unsigned int len)
{
	void __iomem *reg = vgm_of(vdev)->base + VIRTIO_MMIO_CONFIG + offset;
	unsigned int i;
	__le16 half;
	__le32 word;

	switch (len) {
	case 2:
		memcpy(&half, buf, sizeof(half));
		writew(le16_to_cpu(half), reg);
		break;
	case 4:
	case 8:
		for (i = 0; i < len; i += sizeof(word)) {
			memcpy(&word, buf + i, sizeof(word));
			writel(le32_to_cpu(word), reg + i);
		}
		break;
	default:
		for (i = 0; i < len; i++)
			writeb(((const u8 *)buf)[i], reg + i);
	}
}

/*
 * The virtio core reads a long field again and again until the generation is
 * the same before and after.  Is that still going to end?  Not if each reading
 * of the generation is another one.  Other readers may come in between, so one
 * that settles is a task that finds it unchanged since its own last look.
 */
bool vgm_settles(struct vgm_settling *s, u32 generation)
{
	bool settles;

	spin_lock(&s->lock);
	if (generation != s->generation)
		s->changes++;
	else if (s->reader == current)
		s->changes = 0;
	s->generation = generation;
	s->reader = current;
	settles = s->changes <= VGM_CHANGES_MAX;
	spin_unlock(&s->lock);
	return settles;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_settles);

/* Of a failed device it is always the same, as is all that is read. */
static u32 vgm_generation(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	u32 generation = vgm_config_read(vgm, VIRTIO_MMIO_CONFIG_GENERATION,
					 sizeof(generation));

	if (READ_ONCE(vgm->vgd.has_failed))
		return 0;
	if (vgm_settles(&vgm->settling, generation))
		return generation;
	vgrant_dev_fail(&vgm->vgd, "its configuration never settles");
	return 0;
}

static const char *vgm_bus_name(struct virtio_device *vdev)
{
	return vgm_of(vdev)->pdev->name;
}

VGRANT_FIND_VQS_ADAPTER(vgrant_find_vqs)

static const struct virtio_config_ops vgm_config_ops = {
	VGRANT_FIND_VQS_OP(vgrant_find_vqs),
	.get = vgm_get,
	.set = vgm_set,
	.generation = vgm_generation,
	.get_status = vgrant_get_status,
	.set_status = vgrant_set_status,
	.reset = vgrant_reset,
	.del_vqs = vgrant_del_vqs,
	.synchronize_cbs = vgrant_synchronize_cbs,
	.get_features = vgrant_get_features,
	.finalize_features = vgrant_finalize_features,
	.bus_name = vgm_bus_name,
	.set_vq_affinity = vgrant_set_vq_affinity,
	.get_vq_affinity = vgrant_get_vq_affinity,
	/*
	 * No get_shm_region: it would have us map whatever address the backend
	 * names.
	 */
	.disable_vq_and_reset = vgrant_disable_vq_and_reset,
	.enable_vq_after_reset = vgrant_enable_vq_after_reset,
};

/* Devices */

/* Returns: 0; -EAGAIN if nobody answers; or a negative errno. */
int vgm_create(struct platform_device *pdev, void __iomem *base, int irq,
	       domid_t backend)
{
	struct device *dev = &pdev->dev;
	struct vgrant_pool_stats stats;
	struct vgrant_device *vgd;
	struct vgm_identity id;
	struct vgm_device *vgm;
	int ret;

	vgm = kzalloc(sizeof(*vgm), GFP_KERNEL);
	if (!vgm)
		return -ENOMEM;
	vgm->pdev = pdev;
	vgm->base = base;
	spin_lock_init(&vgm->settling.lock);
	vgd = &vgm->vgd;
	vgrant_dev_init(vgd, dev, &vgm_transport, &vgm_config_ops, backend, irq);

	/* Time for a backend that is just starting. */
	vgrant_dev_is_gone(vgd);
	ret = vgm_identify(dev, base, &id);
	/* Who falls silent meanwhile, is no other device. */
	if (ret && !vgm_answers(vgd))
		ret = -EAGAIN;
	if (ret)
		goto free_vgm;
	vgd->vdev.id.device = id.device;
	vgd->vdev.id.vendor = id.vendor;
	vgd->ring_min = id.ring_min;
	platform_set_drvdata(pdev, vgm);

	ret = vgrant_dev_make_pool(vgd, &id.need);
	if (ret)
		goto free_vgm;
	vgrant_pool_read_stats(vgd->pool, &stats);
	dev_info(dev, "virtio device type %u, backend in domain %u sees %u granted pages%s%s\n",
		 id.device, backend, stats.pages_total,
		 vgd->caps & VIRTIO_GRANT_CAP_RANGES && use_ranges ?
		 ", persistent" : "",
		 vgrant_uses_events(vgd) ? ", event channels" : "");
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
