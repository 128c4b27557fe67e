// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio.c - the virtio-mmio registers, version 2 (virtio 1.3, 4.2), and the
 * rules of the Status register (2.1, 3.1.1).
 *
 * Not trusted: the guest, which reads and writes anything in any order from
 * several vCPUs.  What makes no sense reads 0, is ignored when written, and
 * is counted in bad_accesses.
 *
 * Every access is answered at once, except those that stop something:
 * Status = 0, QueueReady = 0, QueueReset = 1 are answered when no request is
 * under way and nothing is mapped any more, so that the driver may reuse its
 * memory as soon as its write is over.  What is to be mapped is tried again for
 * a while if something is short, and answered then.
 *
 * The broker answers QueueNotify, InterruptStatus and InterruptACK itself.
 */
#include "transport/mmio_regs.h"

#include <endian.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "lib/util.h"
#include "transport/ext.h"
#include "virtio/device_priv.h"

#define BIT64(n)	(UINT64_C(1) << (n))

#define REQUIRED_FEATURES \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_ACCESS_PLATFORM))

#define DRIVER_STATUS_BITS \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FAILED)

/*
 * An indirect table is one more buffer of a request: of a mainline guest, to
 * be granted, copied before the request can be looked at, and revoked.  A ring
 * of so many entries holds enough requests without.
 */
#define INDIRECT_BELOW	512u

uint64_t vg_mmio_core_features(unsigned int queue_size_max)
{
	return REQUIRED_FEATURES | BIT64(VIRTIO_RING_F_EVENT_IDX) |
	       BIT64(VIRTIO_F_RING_RESET) |
	       (queue_size_max < INDIRECT_BELOW ? VG_MMIO_INDIRECT : 0);
}

void vg_mmio_reset(struct vg_device *dev)
{
	unsigned int i;

	dev->status = 0;
	dev->driver_features = 0;
	dev->offered_sel = 0;
	dev->driver_sel = 0;
	dev->queue_sel = 0;
	for (i = 0; i < dev->nr_queues; i++)
		dev->queues[i].cfg = (struct vg_vq_config){ 0 };
}

static bool has_feature(const struct vg_device *dev, unsigned int bit)
{
	return dev->driver_features & BIT64(bit);
}

static void bad_access(struct vg_device *dev)
{
	dev->stats.bad_accesses++;
}

/* ---- Status --------------------------------------------------------------- */

static uint32_t status_read(const struct vg_device *dev)
{
	return dev->status |
	       (dev->broken ? VIRTIO_CONFIG_S_NEEDS_RESET : 0u);
}

static bool features_are_ok(struct vg_device *dev)
{
	uint64_t f = dev->driver_features;
	const char *why = NULL;

	if (f & ~dev->offered)
		why = "it accepts features that were not offered";
	else if (!(f & BIT64(VIRTIO_F_VERSION_1)))
		why = "it does not accept VIRTIO_F_VERSION_1: a legacy driver?";
	else if (!(f & BIT64(VIRTIO_F_ACCESS_PLATFORM)))
		why = "it does not accept VIRTIO_F_ACCESS_PLATFORM: "
		      "no grant layer in the guest?";
	else if (dev->type->set_features &&
		 dev->type->set_features(dev->priv, f) < 0)
		why = "the device type refuses the combination";
	if (!why)
		return true;
	if (vg_ratelimit_ok(&dev->complaints))
		vg_err("%s: the guest's driver is refused: %s (features 0x%llx, offered 0x%llx)",
		       dev->label, why, (unsigned long long)f,
		       (unsigned long long)dev->offered);
	return false;
}

static void status_write(struct vg_device *dev, uint32_t value)
{
	/* 2.1.1: a driver clears no bit but by a reset. */
	uint32_t fresh = value & DRIVER_STATUS_BITS & ~dev->status;

	if (dev->is_resetting)
		return bad_access(dev);
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK && !features_are_ok(dev))
		fresh &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((dev->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		fresh &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
		bad_access(dev);
	}
	dev->status |= fresh;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		vg_device_kick_all(dev);
}

/* ---- queues --------------------------------------------------------------- */

static struct vg_queue *selected(struct vg_device *dev)
{
	return dev->queue_sel < dev->nr_queues ?
	       &dev->queues[dev->queue_sel] : NULL;
}

/* Where the driver may describe the selected queue; else counted, NULL. */
static struct vg_vq_config *configurable(struct vg_device *dev)
{
	struct vg_queue *q = selected(dev);

	if (q && !q->is_ready && !q->is_enabling && !q->is_draining &&
	    !dev->is_resetting)
		return &q->cfg;
	bad_access(dev);
	return NULL;
}

static void set_half(uint64_t *v, bool high, uint32_t half)
{
	if (high)
		*v = (*v & UINT32_MAX) | (uint64_t)half << 32;
	else
		*v = (*v & ~(uint64_t)UINT32_MAX) | half;
}

static void queue_write(struct vg_device *dev, uint32_t offset, uint32_t data)
{
	struct vg_vq_config *c = configurable(dev);
	bool high = offset & 4;

	if (!c)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		c->num = data;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&c->desc_addr, high, data);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&c->driver_addr, high, data);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&c->device_addr, high, data);
		break;
	}
}

/* Returns whether the answer will come later. */
static bool queue_ready(struct vg_device *dev, const struct vg_reg_access *acc)
{
	struct vg_queue *q = selected(dev);

	if (!q || q->is_ready || q->is_enabling || q->is_draining ||
	    dev->broken || dev->is_resetting || dev->is_stopping ||
	    !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		bad_access(dev);
		return false;
	}
	q->cfg.event_idx = has_feature(dev, VIRTIO_RING_F_EVENT_IDX);
	q->cfg.indirect = has_feature(dev, VIRTIO_RING_F_INDIRECT_DESC);
	return vg_queue_enable(q, acc);
}

/* Returns whether the answer will come later. */
static bool queue_stop(struct vg_device *dev, const struct vg_reg_access *acc)
{
	struct vg_queue *q = selected(dev);

	if (!q) {
		bad_access(dev);
		return false;
	}
	if (dev->is_resetting) {
		bad_access(dev);
		vg_device_wait_reset(dev, acc);
		return true;
	}
	vg_queue_disable(q, acc);
	return true;
}

/* ---- configuration space (4.2.2, 2.5) -------------------------------------- */

/* Where an access lies in the configuration space, or -1. */
static int config_offset(struct vg_device *dev, const struct vg_reg_access *acc)
{
	uint32_t at = acc->offset - VIRTIO_MMIO_CONFIG;

	if (at % acc->len_bytes || at >= dev->type->config_bytes ||
	    acc->len_bytes > dev->type->config_bytes - at) {
		bad_access(dev);
		return -1;
	}
	return (int)at;
}

static uint32_t config_read(struct vg_device *dev,
			    const struct vg_reg_access *acc)
{
	int at = config_offset(dev, acc);
	uint32_t v = 0;

	/* See device.h: nobody shall wait for a broken device. */
	if (at < 0 || dev->broken)
		return 0;
	dev->type->config_read(dev->priv, (unsigned int)at, &v,
			       acc->len_bytes);
	return le32toh(v);
}

static void config_write(struct vg_device *dev,
			 const struct vg_reg_access *acc)
{
	uint32_t v = htole32(acc->data);
	int at = config_offset(dev, acc);

	if (at < 0 || dev->broken || dev->is_resetting)
		return;
	if (!dev->type->config_write)
		return;
	vg_device_freeze(dev);
	dev->type->config_write(dev->priv, (unsigned int)at, &v,
				acc->len_bytes);
	vg_device_thaw(dev);
}

/* ---- registers ------------------------------------------------------------ */

static uint32_t features_read(const struct vg_device *dev)
{
	switch (dev->offered_sel) {
	case 0:
		return (uint32_t)dev->offered;
	case 1:
		return (uint32_t)(dev->offered >> 32);
	default:
		return 0;
	}
}

static void features_write(struct vg_device *dev, uint32_t data)
{
	if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK || dev->is_resetting)
		return bad_access(dev);
	if (dev->driver_sel < 2)
		set_half(&dev->driver_features, dev->driver_sel, data);
	else if (data)
		bad_access(dev);
}

static uint32_t reg_read(struct vg_device *dev, uint32_t offset)
{
	const struct vg_queue *q = selected(dev);
	uint32_t data;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return VG_MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VG_MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->type->virtio_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VG_MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return features_read(dev);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? dev->queue_size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->is_ready;
	case VIRTIO_MMIO_QUEUE_RESET:
		return q && q->is_draining;
	case VIRTIO_MMIO_STATUS:
		return status_read(dev);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;	/* no such region: -1 */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->config_generation;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return 0;		/* the broker's to answer */
	}
	if (vg_ext_read(dev, offset, &data))
		return data;
	if (offset >= VG_MMIO_EXT_FIRST && offset <= VG_MMIO_EXT_LAST)
		return 0;		/* "no extension", a fair question */
	bad_access(dev);
	return 0;
}

/* Returns whether the answer will come later. */
static bool reg_write(struct vg_device *dev, const struct vg_reg_access *acc)
{
	bool later;

	switch (acc->offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		dev->offered_sel = acc->data;
		return false;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		features_write(dev, acc->data);
		return false;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		dev->driver_sel = acc->data;
		return false;
	case VIRTIO_MMIO_QUEUE_SEL:
		dev->queue_sel = acc->data;
		return false;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		queue_write(dev, acc->offset, acc->data);
		return false;
	case VIRTIO_MMIO_QUEUE_READY:
		return acc->data ? queue_ready(dev, acc) :
				   queue_stop(dev, acc);
	case VIRTIO_MMIO_QUEUE_RESET:
		if (acc->data == 1 && has_feature(dev, VIRTIO_F_RING_RESET))
			return queue_stop(dev, acc);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		/* No VIRTIO_F_NOTIFICATION_DATA: the value is the index. */
		vg_device_notify(dev, acc->data);
		return false;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		return false;		/* the broker's to handle */
	case VIRTIO_MMIO_STATUS:
		if (!acc->data) {
			vg_device_reset(dev, acc);
			return true;
		}
		status_write(dev, acc->data);
		return false;
	case VIRTIO_MMIO_SHM_SEL:
		return false;
	}
	if (vg_ext_write(dev, acc, &later))
		return later;
	bad_access(dev);
	return false;
}

void vg_device_access(struct vg_device *dev, const struct vg_reg_access *acc)
{
	bool is_config = acc->offset >= VIRTIO_MMIO_CONFIG;
	uint32_t data = 0;

	dev->stats.accesses++;
	vg_device_forget_waiter(dev, acc);
	if (acc->is_write && vg_device_was_answered(dev, acc, &data)) {
		;
	} else if (is_config && acc->is_write) {
		config_write(dev, acc);
	} else if (is_config) {
		data = config_read(dev, acc);
	} else if (acc->len_bytes != 4 || acc->offset % 4) {
		bad_access(dev);
	} else if (!acc->is_write) {
		data = reg_read(dev, acc->offset);
	} else if (reg_write(dev, acc)) {
		return;
	}
	vg_device_reply(dev, acc, data);
}
