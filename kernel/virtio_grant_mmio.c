// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_grant_mmio.c - virtio over memory-mapped registers and Xen grants.
 *
 * A transport driver as virtio 1.2, section 4.2 describes it (version 2 of the
 * register layout), for those "virtio,mmio" nodes of the device tree whose
 * IOMMU is "xen,grant-dma".  The rings and buffers of such a device go through
 * a pool of granted pages (virtio_grant_dma.c).  Every access to a register is
 * trapped by Xen and answered by the broker or, through it, the backend.
 *
 * Who is not trusted: whoever answers.  Values read are checked before use,
 * and waits are bounded.  A backend that is gone (reads give all ones) is
 * waited for as long as the guest's owner says; then, or when what answers does
 * not run the device any more, the device fails: what is in its queues ends with
 * an error.  See "Failure" and "Coming back".
 *
 * Who owns what: a probed device owns its pool, its interrupt and its virtio
 * device.  A claim (see below) owns a reference to its node, and the right to
 * put back what it took from the node.
 *
 * Without the extension (uapi/virtio_grant.h) a notification is one register
 * write, and an interrupt is one read and one write; with it, each is an event.
 * Which of the two, and whether the pool is announced as a persistent range, is
 * found out whenever the queues are made; what is refused costs speed only.
 */
#include <linux/bitmap.h>
#include <linux/blk_types.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/of.h>
#include <linux/of_platform.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>
#include <uapi/linux/virtio_net.h>
#include <uapi/linux/virtio_scsi.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/xen.h>
#include <xen/xenbus.h>
#include <asm/xen/hypercall.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"
#include "virtio_grant_mmio.h"

/* Linux's header does not have it: its own driver does not use it. */
#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET	0x0c0
#endif

#define VGM_DRIVER_NAME		"virtio-grant-mmio"
#define VGM_MAGIC		('v' | 'i' << 8 | 'r' << 16 | 't' << 24)
/* What a read gives when nobody answers. */
#define VGM_NOBODY		U32_MAX
/* Rings are at most this large, whatever the device would accept. */
#define VGM_QUEUE_SIZE_MAX	1024
/*
 * Of the segments that a driver may put into a request, we lower the number in
 * favour of larger segments, but not below this; two more are for the request
 * itself and its status.
 */
#define VGM_SEGS_ENOUGH		64
#define VGM_SEGS_EXTRA		2
/* Most buffers of a packet: Linux's largest MAX_SKB_FRAGS, head, header. */
#define VGM_SEGS_NET		(45 + 2)
/*
 * Queues that the pool is measured for; more may fit.  Of a type that we do not
 * know how many it has, fewer.
 */
#define VGM_QUEUES_MEASURED	64
#define VGM_QUEUES_UNKNOWN	8
/* For a device whose backend has not got that far. */
#define VGM_SERVED_MS		3000
/* Of the used ring, and as in Linux's own driver. */
#define VGM_RING_ALIGN		PAGE_SIZE
/* Device types are numbers below this. */
#define VGM_TYPES		128
/* The device may be relayed to another domain, and that may be busy. */
#define VGM_RESET_MS		2000
#define VGM_RESET_FAILED_MS	500
/* Nobody answers, for longer than a busy machine would explain. */
#define VGM_GONE_S		3
/* Rings of this size hold enough requests without indirect tables. */
#define VGM_RING_ROOMY		512
#define VGM_INDIRECT_NEVER	0
#define VGM_INDIRECT_AUTO	(-1)
/* How often to see whether queues with buffers in them make progress. */
#define VGM_WATCH_S		10
/* The same, of a device that was asked and did not answer. */
#define VGM_SILENT_S		1
/* How often to see whether a device that failed for its silence answers again. */
#define VGM_COME_BACK_S		2
/* The same after it did, and was silent again before it worked. */
#define VGM_COME_BACK_AGAIN_S	30
/* How often the driver of a device that came back is bound in vain. */
#define VGM_BINDS		5
/* How often a driver that has no memory to wake up with is woken: 4 seconds. */
#define VGM_WAKE_TRIES		10
/* The first of the pauses between probes that nobody answers is as long as that. */
#define VGM_ABSENT_PAUSE_MAX_S	30u
/* While its driver leaves, no progress at so many looks is the end of it. */
#define VGM_LEAVE_LOOKS		3
/*
 * How long requests wait for a backend that does not answer.  Longer than a
 * driver domain's hiccup, or a restart of its daemons, takes; with what it takes
 * to notice, below the 120 s after which Linux warns of hung tasks, or panics.
 */
#define VGM_WAIT_S		90

static char *types = "block";
module_param(types, charp, 0444);
MODULE_PARM_DESC(types,
		 "types of devices that this guest accepts, by name or number, separated by commas (default: block)");

static bool use_ranges = true;
module_param(use_ranges, bool, 0644);
MODULE_PARM_DESC(use_ranges,
		 "announce the pool to backends that can keep it mapped (default: yes)");

static bool use_events = true;
module_param(use_events, bool, 0644);
MODULE_PARM_DESC(use_events,
		 "an event channel per queue with backends that can have one (default: yes)");

static int use_indirect = VGM_INDIRECT_AUTO;
module_param(use_indirect, int, 0644);
MODULE_PARM_DESC(use_indirect,
		 "indirect tables: 0 never, 1 if offered, -1 (default) with rings of less than 512 entries");

VISIBLE_IF_KUNIT unsigned int vgm_wait_s = VGM_WAIT_S;
EXPORT_SYMBOL_IF_KUNIT(vgm_wait_s);
module_param_named(wait_s, vgm_wait_s, uint, 0644);
MODULE_PARM_DESC(wait_s,
		 "seconds that requests wait for a backend that does not answer, before they fail (default: 90; 0: for ever)");

/* The KUnit suite has shorter seconds. */
VISIBLE_IF_KUNIT unsigned int vgm_ms_per_s = MSEC_PER_SEC;
EXPORT_SYMBOL_IF_KUNIT(vgm_ms_per_s);

/*
 * What we keep of a virtqueue; its priv.  The event channel: irq is 0 without
 * one, then registers and the device's interrupt serve.
 *
 * busy has a bit for each buffer (by the number of its first descriptor) that
 * was made available and not used yet, as far as seen: the ring does not tell,
 * and it takes knowing to fail them when the backend is gone.
 */
struct vgm_queue {
	struct vgm_device *vgm;
	unsigned int index;
	evtchn_port_t port;
	unsigned int irq;
	struct cpumask cpus;	/* that its events go to; empty: anywhere */
	bool is_reset;		/* nothing is called; under queue_lock */
	spinlock_t callback_lock;

	spinlock_t lock;	/* the rest */
	unsigned long *busy;
	u16 avail_seen;
	u16 used_seen;
	u16 used_watched;
	u16 used_at_event;
	bool has_lost_track;
};

struct vgm_device {
	struct virtio_device vdev;
	struct platform_device *pdev;
	void __iomem *base;
	struct vgrant_pool *pool;
	domid_t backend;
	int irq;
	u32 caps;		/* VIRTIO_GRANT_CAP_*, as probed */
	u32 segs_max;		/* what seg_max in the configuration may say */
	unsigned int ring_min;	/* size of the smallest ring */
	/*
	 * By queue index; entries are NULL while a queue does not exist.  The
	 * array and its length change only while no interrupt is requested.
	 */
	struct virtqueue **queue;
	unsigned int nr_queues;
	struct mutex queue_lock;	/* queues come and go, and fail */
	struct work_struct fault_work;
	struct delayed_work watch_work;
	struct delayed_work come_back_work;
	struct notifier_block bus_notifier;
	bool has_failed;	/* changes under queue_lock */
	bool may_come_back;	/* failed for its silence only; likewise */
	bool is_buffer_held;
	bool is_leaving;	/* its driver is about to let go of it */
	bool is_going;		/* so are we, or we fall asleep */
	bool is_asleep;		/* between freeze and the end of restore */
	bool is_last_try;	/* ... to wake its driver: with any queues */
	bool has_overslept;	/* its driver did not wake up */
	bool is_announced;	/* the pool, since the last reset */
	bool wants_driver;	/* the probe that come_back_work made failed */
	unsigned int nr_binds;	/* so often */
	unsigned int silent_s;	/* watch_work's: so long, as far as seen */
	unsigned int looks_in_vain;	/* watch_work's: without progress */
	u8 status;		/* as the driver has written it */
	unsigned int resets;	/* of status */
	unsigned int nr_queues_before;	/* it fell asleep */
	struct completion released;
	struct vgm_settling settling;
};

static struct vgm_device *vgm_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct vgm_device, vdev);
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

static unsigned long vgm_seconds(unsigned int s)
{
	return msecs_to_jiffies(s * vgm_ms_per_s);
}

/*
 * Does nobody answer, for longer than a busy machine would explain?  The
 * broker gives up sooner, and gives an answer that is late to the next read.
 */
static bool vgm_is_gone(void __iomem *base)
{
	unsigned long end = jiffies + vgm_seconds(VGM_GONE_S);

	while (readl(base + VIRTIO_MMIO_MAGIC_VALUE) == VGM_NOBODY) {
		if (time_after(jiffies, end))
			return true;
		msleep(100);
	}
	return false;
}

/*
 * Failure
 *
 * A device fails when nobody has answered for wait_s seconds, or when what
 * answers does not run it (vgm_fault()).  Its pool and its queues take nothing
 * more, what is in the queues goes back to the driver, and so every wait on the
 * device ends.  It stays so until a reset succeeds while it has no queues
 * (vgm_revive()): when a driver is bound again, or it comes back by itself.
 */

static u16 vgm_used_idx(struct virtqueue *vq)
{
	return virtio16_to_cpu(vq->vdev,
			       READ_ONCE(virtqueue_get_vring(vq)->used->idx));
}

/*
 * Brings busy up to date.  A buffer is made available and used in turns, so
 * each entry of either ring changes its bit, whatever the order.  Called before
 * and after the driver's callback: between two calls no driver that takes
 * buffers in its callback only can go round the ring.
 */
static void vgm_track(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	struct vgm_queue *q = vq->priv;
	unsigned int num = ring->num;
	u16 avail, used;
	unsigned long flags;
	u32 id;

	spin_lock_irqsave(&q->lock, flags);
	used = vgm_used_idx(vq);
	/*
	 * What is used was available before: in this order, of all that is
	 * seen used, the making available is seen as well.  Partners: the
	 * backend's write barrier before used->idx, ours before avail->idx.
	 */
	virt_rmb();
	avail = virtio16_to_cpu(vq->vdev, READ_ONCE(ring->avail->idx));
	if ((u16)(used - q->used_seen) > num ||
	    (u16)(avail - q->avail_seen) > num)
		q->has_lost_track = true;
	for (; !q->has_lost_track && q->used_seen != used; q->used_seen++) {
		id = virtio32_to_cpu(vq->vdev,
				     READ_ONCE(ring->used->ring[q->used_seen &
								(num - 1)].id));
		if (id < num)
			change_bit(id, q->busy);
		else
			q->has_lost_track = true;
	}
	for (; !q->has_lost_track && q->avail_seen != avail; q->avail_seen++) {
		id = virtio16_to_cpu(vq->vdev,
				     READ_ONCE(ring->avail->ring[q->avail_seen &
								 (num - 1)]));
		if (id < num)
			change_bit(id, q->busy);
		else
			q->has_lost_track = true;
	}
	spin_unlock_irqrestore(&q->lock, flags);
}

/*
 * The one place that calls a queue's driver.  Its event, the device's interrupt
 * (a backend may raise that for a queue with a channel, too) and a failure can
 * meet here on several CPUs, and drivers count on one at a time.  They are also
 * used to be called by an interrupt handler, so interrupts are off; but where
 * those are threads (PREEMPT_RT) they are not, and the lock sleeps.
 */
VISIBLE_IF_KUNIT irqreturn_t vgm_callback(int irq, struct virtqueue *vq)
{
	struct vgm_queue *q = vq->priv;
	irqreturn_t ret = IRQ_NONE;
	unsigned long flags;

	spin_lock_irqsave(&q->callback_lock, flags);
	if (!READ_ONCE(q->is_reset)) {
		vgm_track(vq);
		ret = vring_interrupt(irq, vq);
		vgm_track(vq);
	}
	spin_unlock_irqrestore(&q->callback_lock, flags);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_callback);

/* Without an interrupt; what it raises of softirqs runs at the end. */
static void vgm_callback_now(struct virtqueue *vq)
{
	local_bh_disable();
	vgm_callback(0, vq);
	local_bh_enable();
}

/*
 * A disk's driver may have queues that it looks into by itself (virtio_blk's
 * poll_queues) and that have no callback.  What is handed back there is to be
 * taken all the same, so such a queue of a device that fails gets the callback
 * of the others, which is for any of them.
 */
static void vgm_lend_callback(struct virtqueue *vq)
{
	struct vgm_device *vgm = vgm_of(vq->vdev);
	unsigned int i;

	if (vgm->vdev.id.device != VIRTIO_ID_BLOCK)
		return;
	for (i = 0; i < vgm->nr_queues && !vq->callback; i++)
		if (vgm->queue[i])
			vq->callback = vgm->queue[i]->callback;
}

/* Shows descriptor @id as used, whatever the ring's next entry is. */
static void vgm_show_used(struct virtqueue *vq, unsigned int id, u16 used)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	unsigned int i;

	for (i = 0; i < ring->num; i++) {
		ring->used->ring[i].id = cpu_to_virtio32(vq->vdev, id);
		ring->used->ring[i].len = 0;
	}
	/* The ring's read barrier after used->idx is the partner. */
	virt_wmb();
	WRITE_ONCE(ring->used->idx, cpu_to_virtio16(vq->vdev, used));
	__virtqueue_unbreak(vq);
	vgm_callback_now(vq);
}

/*
 * vgm_queue_fail() where the backend scribbled over what tells which buffers are
 * in the ring: tries all of them.  The ring refuses (and says so) what is not the
 * first descriptor of a buffer, or is for the second time, and is broken again.
 */
static void vgm_queue_fail_blindly(struct virtqueue *vq)
{
	unsigned int num = virtqueue_get_vring_size(vq), id, before;
	struct vgm_queue *q = vq->priv;
	u16 used = vgm_used_idx(vq);

	q->has_lost_track = true;
	for (id = 0; id < num && vq->num_free < num; id++) {
		before = vq->num_free;
		vgm_show_used(vq, id, ++used);
		/* Of two indices, one is not where the ring has got to. */
		if (vq->num_free == before)
			vgm_show_used(vq, id, ++used);
	}
}

/*
 * Hands what the backend never answered back to the driver, as used buffers:
 * the pool gives all ones for their content, which no driver takes for
 * success.  The backend may still scribble into the ring; then the ring's own
 * checks stop this, and there is another way.
 */
static void vgm_queue_fail(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);
	struct vgm_queue *q = vq->priv;
	unsigned int id;
	u16 used;

	vgm_lend_callback(vq);
	/* What it did answer, first. */
	__virtqueue_unbreak(vq);
	vgm_callback_now(vq);
	if (q->has_lost_track)
		goto again_broken;

	used = q->used_seen;
	for_each_set_bit(id, q->busy, ring->num) {
		struct vring_used_elem *elem = &ring->used->ring[used++ &
							(ring->num - 1)];

		elem->id = cpu_to_virtio32(vq->vdev, id);
		elem->len = 0;
	}
	/* The ring's read barrier after used->idx is the partner. */
	virt_wmb();
	WRITE_ONCE(ring->used->idx, cpu_to_virtio16(vq->vdev, used));
	vgm_callback_now(vq);
again_broken:
	if (q->has_lost_track || virtqueue_is_broken(vq))
		vgm_queue_fail_blindly(vq);
	__virtqueue_break(vq);
}

/*
 * The device is no more.  No buffer enters its queues (whoever tries gets
 * -EIO), and those that are in there come back.  May sleep.
 */
static void vgm_fail_locked(struct vgm_device *vgm, const char *why)
{
	unsigned int i;

	lockdep_assert_held(&vgm->queue_lock);
	if (vgm->has_failed)
		return;
	WRITE_ONCE(vgm->has_failed, true);
	dev_err(&vgm->pdev->dev, "device failed: %s\n", why);
	vgrant_pool_fail(vgm->pool);
	virtio_break_device(&vgm->vdev);
	/* Whoever is adding a buffer does so under a spinlock. */
	synchronize_rcu();
	/* Otherwise its driver may not be ready for callbacks, nor has it buffers. */
	if (!(vgm->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	for (i = 0; i < vgm->nr_queues; i++)
		if (vgm->queue[i] && !vgm->queue[i]->reset)
			vgm_queue_fail(vgm->queue[i]);
}

static void vgm_fail(struct vgm_device *vgm, const char *why)
{
	mutex_lock(&vgm->queue_lock);
	vgm_fail_locked(vgm, why);
	mutex_unlock(&vgm->queue_lock);
}

/* The same, for want of an answer: it comes back when there is one. */
static void vgm_give_up_locked(struct vgm_device *vgm, const char *why)
{
	if (vgm->has_failed)
		return;
	vgm_fail_locked(vgm, why);
	WRITE_ONCE(vgm->may_come_back, true);
	queue_delayed_work(system_long_wq, &vgm->come_back_work,
			   vgm_seconds(VGM_COME_BACK_S));
}

static void vgm_give_up(struct vgm_device *vgm, const char *why)
{
	mutex_lock(&vgm->queue_lock);
	vgm_give_up_locked(vgm, why);
	mutex_unlock(&vgm->queue_lock);
}

/*
 * What is wrong with a Status that reads so, where the driver wrote @written?
 * A driver that is ready has written all that a running device shows.
 */
VISIBLE_IF_KUNIT const char *vgm_status_fault(u8 written, u32 read)
{
	const u8 running = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			   VIRTIO_CONFIG_S_FEATURES_OK |
			   VIRTIO_CONFIG_S_DRIVER_OK;

	if (read & VIRTIO_CONFIG_S_NEEDS_RESET)
		return "the backend asks for a reset (DEVICE_NEEDS_RESET)";
	if (written & VIRTIO_CONFIG_S_DRIVER_OK && written & running & ~read)
		return "the backend does not run it any more, its state is lost";
	return NULL;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_status_fault);

static bool vgm_is_faulty(struct vgm_device *vgm, u32 status)
{
	return status == VGM_NOBODY ||
	       vgm_status_fault(READ_ONCE(vgm->status), status);
}

/* Returns 0; -EAGAIN if nobody answers; -ENODEV if it is another device. */
static int vgm_ask_identity(struct vgm_device *vgm)
{
	static const u8 offset[] = {
		VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_VERSION,
		VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_VENDOR_ID,
	};
	const u32 expected[] = {
		VGM_MAGIC, 2, vgm->vdev.id.device, vgm->vdev.id.vendor,
	};
	unsigned int i;
	u32 value;

	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		value = vgm_read(vgm, offset[i]);
		if (value != expected[i])
			return value == VGM_NOBODY ? -EAGAIN : -ENODEV;
	}
	return 0;
}

/* While its driver is bound or restored: for @why, or for want of an answer. */
static void vgm_fail_setup_locked(struct vgm_device *vgm, const char *why)
{
	if (vgm_ask_identity(vgm) == -EAGAIN)
		vgm_give_up_locked(vgm, "no answer to its driver's setting up");
	else
		vgm_fail_locked(vgm, why);
}

/* Returns 0; -EAGAIN if nobody answers; -EIO if one that is ready is not. */
static int vgm_ask_queues(struct vgm_device *vgm)
{
	unsigned int i;
	int ret = 0;
	u32 ready;

	mutex_lock(&vgm->queue_lock);
	for (i = 0; i < vgm->nr_queues && !ret; i++) {
		if (!vgm->queue[i] || vgm->queue[i]->reset)
			continue;
		vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, i);
		ready = vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY);
		if (ready == VGM_NOBODY)
			ret = -EAGAIN;
		else if (!ready)
			ret = -EIO;
	}
	mutex_unlock(&vgm->queue_lock);
	return ret;
}

/*
 * Asks the device how it is: by the registers, not by what we show to the core.
 *
 * Its driver may reset it meanwhile, and begin anew: then what we read means
 * nothing.  Status of ours is lowered before the device's and raised after it,
 * so a running device never shows less.
 *
 * Returns: 0; -EAGAIN if nobody answers; or -EIO, and @why.
 */
static int vgm_ask(struct vgm_device *vgm, const char **why)
{
	unsigned int resets = READ_ONCE(vgm->resets);
	u8 written = READ_ONCE(vgm->status);
	u32 status;
	int ret;

	*why = "another device has taken its place";
	ret = vgm_ask_identity(vgm);
	if (ret)
		return ret == -ENODEV ? -EIO : ret;
	status = vgm_read(vgm, VIRTIO_MMIO_STATUS);
	if (status == VGM_NOBODY)
		return -EAGAIN;
	*why = vgm_status_fault(written, status);
	if (!*why && written & VIRTIO_CONFIG_S_DRIVER_OK) {
		ret = vgm_ask_queues(vgm);
		if (ret == -EIO)
			*why = "a queue is not ready any more";
	}
	if (READ_ONCE(vgm->resets) != resets)
		return 0;
	return *why ? -EIO : ret;
}

/*
 * Nobody has answered for @silent_s seconds, of them @s since this was said the
 * last time.  The device fails if that is too long.
 *
 * Seconds are counted, and not told by the clock: a guest that stood still with
 * its backend must not find that its time is over.
 */
static void vgm_is_silent(struct vgm_device *vgm, unsigned int silent_s,
			  unsigned int s)
{
	unsigned int limit_s = READ_ONCE(vgm_wait_s);

	/* While nothing is in flight, nothing is lost by trying again later. */
	if (READ_ONCE(vgm->is_leaving) || READ_ONCE(vgm->is_going) ||
	    !(READ_ONCE(vgm->status) & VIRTIO_CONFIG_S_DRIVER_OK)) {
		vgm_give_up(vgm, "the backend does not answer, and its driver comes or goes");
		return;
	}
	if (silent_s == s && limit_s)
		dev_warn(&vgm->pdev->dev, "the backend does not answer: waiting for up to %u s\n",
			 limit_s);
	else if (silent_s == s)
		dev_warn(&vgm->pdev->dev, "the backend does not answer: waiting\n");
	if (limit_s && silent_s >= limit_s)
		vgm_give_up(vgm, "the backend does not answer");
}

/*
 * Asks the device how it is, and waits until it answers or has failed.  May
 * sleep for as long as the guest's owner wants.
 */
static void vgm_check(struct vgm_device *vgm)
{
	unsigned int silent_s = 0;
	const char *why;
	int ret;

	while ((ret = vgm_ask(vgm, &why)) == -EAGAIN &&
	       !READ_ONCE(vgm->has_failed)) {
		/* One that says who it is, and no more, is as good as none. */
		if (!vgm_is_gone(vgm->base))
			schedule_timeout_uninterruptible(vgm_seconds(VGM_GONE_S));
		silent_s += VGM_GONE_S;
		vgm_is_silent(vgm, silent_s, VGM_GONE_S);
	}
	if (ret == -EIO)
		vgm_fail(vgm, why);
}

/* The same for watch_work, which comes again instead of waiting. */
static void vgm_look(struct vgm_device *vgm)
{
	unsigned int s = vgm->silent_s ? VGM_SILENT_S : VGM_GONE_S;
	const char *why;
	int ret = vgm_ask(vgm, &why);

	if (ret == -EAGAIN && !vgm->silent_s && !vgm_is_gone(vgm->base))
		ret = vgm_ask(vgm, &why);
	if (ret == -EAGAIN) {
		vgm->silent_s += s;
		vgm_is_silent(vgm, vgm->silent_s, s);
		return;
	}
	if (vgm->silent_s)
		dev_info(&vgm->pdev->dev, "the backend answers again\n");
	vgm->silent_s = 0;
	if (ret)
		vgm_fail(vgm, why);
}

static void vgm_buffer_held(void *priv)
{
	struct vgm_device *vgm = priv;

	WRITE_ONCE(vgm->is_buffer_held, true);
	queue_work(system_long_wq, &vgm->fault_work);
}

/* A configuration change that looked like a failure, or a failure. */
static void vgm_fault_work(struct work_struct *work)
{
	struct vgm_device *vgm = container_of(work, struct vgm_device,
					      fault_work);

	if (READ_ONCE(vgm->is_buffer_held)) {
		vgm_fail(vgm, "the backend keeps a buffer mapped");
		return;
	}
	vgm_check(vgm);
	if (!READ_ONCE(vgm->has_failed))
		virtio_config_changed(&vgm->vdev);
}

/* Buffers are in there, and none has come back since the last look. */
static bool vgm_queue_is_stalled(struct virtqueue *vq)
{
	struct vgm_queue *q = vq->priv;
	u16 used, used_before = q->used_watched;

	vgm_track(vq);
	used = vgm_used_idx(vq);
	q->used_watched = used;
	return used == used_before &&
	       READ_ONCE(vq->num_free) < virtqueue_get_vring_size(vq);
}

static void vgm_watch_queues(struct vgm_device *vgm, bool *is_stalled,
			     bool *is_broken)
{
	unsigned int i;

	*is_stalled = false;
	*is_broken = false;
	mutex_lock(&vgm->queue_lock);
	for (i = 0; i < vgm->nr_queues; i++) {
		if (!vgm->queue[i] || vgm->queue[i]->reset)
			continue;
		if (vgm_queue_is_stalled(vgm->queue[i]))
			*is_stalled = true;
		if (virtqueue_is_broken(vgm->queue[i]) &&
		    vgm->status & VIRTIO_CONFIG_S_DRIVER_OK)
			*is_broken = true;
	}
	mutex_unlock(&vgm->queue_lock);
}

/*
 * With event channels no register is ever accessed, and a backend that died
 * would go unnoticed.  So where buffers wait and none comes back, ask; a
 * backend that is only slow will answer.
 *
 * A driver that leaves waits for its buffers, and nothing but their coming back
 * ends that: there a backend that answers must do something as well.
 */
static void vgm_watch_work(struct work_struct *work)
{
	struct vgm_device *vgm = container_of(to_delayed_work(work),
					      struct vgm_device, watch_work);
	bool is_stalled, is_broken;

	if (READ_ONCE(vgm->has_failed))
		return;
	vgm_watch_queues(vgm, &is_stalled, &is_broken);
	if (is_broken)
		vgm_fail(vgm, "the backend broke the rules of a ring");
	else if (is_stalled || READ_ONCE(vgm->is_leaving))
		vgm_look(vgm);
	else
		vgm->silent_s = 0;

	vgm->looks_in_vain = is_stalled && READ_ONCE(vgm->is_leaving) ?
			     vgm->looks_in_vain + 1 : 0;
	if (vgm->looks_in_vain >= VGM_LEAVE_LOOKS)
		vgm_fail(vgm, "its driver leaves, and the backend does nothing");
	if (!READ_ONCE(vgm->has_failed) && READ_ONCE(vgm->nr_queues))
		queue_delayed_work(system_long_wq, &vgm->watch_work,
				   vgm_seconds(vgm->silent_s ? VGM_SILENT_S :
							       VGM_WATCH_S));
}

/*
 * Its driver is about to let go of the device, for which it waits for what is in
 * the queues.  What the device's owner would wait for is not worth it any more.
 */
static void vgm_leave(struct vgm_device *vgm)
{
	WRITE_ONCE(vgm->is_leaving, true);
	mod_delayed_work(system_long_wq, &vgm->watch_work, 0);
}

/* Configuration (section 4.2.2) */

/* No device offers all of them, but that is how it looks when none answers. */
static u32 vgm_read_features(void __iomem *base, unsigned int word)
{
	u32 features;

	writel(word, base + VIRTIO_MMIO_DEVICE_FEATURES_SEL);
	features = readl(base + VIRTIO_MMIO_DEVICE_FEATURES);
	return features == VGM_NOBODY ? 0 : features;
}

static u64 vgm_get_features(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	u64 features;

	features = vgm_read_features(vgm->base, 1);
	features <<= 32;
	features |= vgm_read_features(vgm->base, 0);

	/*
	 * Linux's packed ring turns a mapping that failed into -EIO, and a
	 * pool that is full for a moment into an I/O error; the split ring
	 * says -ENOMEM, and the drivers wait.  A device that uses buffers in
	 * order may say so for the last of several only, and vgm_track() wants
	 * to see each.
	 */
	features &= ~(BIT_ULL(VIRTIO_F_RING_PACKED) |
		      BIT_ULL(VIRTIO_F_IN_ORDER) |
		      BIT_ULL(VIRTIO_F_NOTIFICATION_DATA));
	/*
	 * An indirect table is one more buffer to allocate, copy and look up,
	 * which a ring with room for all of them saves.
	 */
	if (use_indirect == VGM_INDIRECT_NEVER ||
	    (use_indirect == VGM_INDIRECT_AUTO &&
	     vgm->ring_min >= VGM_RING_ROOMY))
		features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	return features;
}

static int vgm_finalize_features(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	u64 features = vdev->features;

	if (READ_ONCE(vgm->has_failed)) {
		if (READ_ONCE(vgm->is_asleep))
			return 0;
		dev_err(&vdev->dev, "no driver for a device that has failed\n");
		return -ENODEV;
	}
	vring_transport_features(vdev);
	/* The ring code takes it for a transport's to accept. */
	if (features & BIT_ULL(VIRTIO_F_RING_RESET))
		__virtio_set_bit(vdev, VIRTIO_F_RING_RESET);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1) ||
	    !__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM)) {
		dev_err(&vdev->dev, "refused: no grants without VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM\n");
		return -EINVAL;
	}
	features = vdev->features;
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES, upper_32_bits(features));
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vgm_write(vgm, VIRTIO_MMIO_DRIVER_FEATURES, lower_32_bits(features));
	return 0;
}

/*
 * Where a device's configuration says how many segments a request may have, a
 * field of 4 bytes; -1 if nowhere.
 */
static int vgm_seg_max_offset(u32 device)
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

	while (!READ_ONCE(vgm->has_failed)) {
		value = vgm_config_ask(reg, bytes);
		if (value != ones)
			return value;
		if (vgm_read(vgm, VIRTIO_MMIO_MAGIC_VALUE) == VGM_NOBODY) {
			times = 0;
			vgm_check(vgm);
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
	if (vgm->vdev.id.device != VIRTIO_ID_BLOCK ||
	    offset != offsetof(struct virtio_blk_config, capacity) ||
	    le64_to_cpu(*sectors) <= LLONG_MAX >> SECTOR_SHIFT)
		return;
	vgm_fail(vgm, "a disk can't have so many sectors");
	*sectors = 0;
}

/*
 * A disk that wakes up has as many queues as before, whatever its configuration
 * says now: virtio_blk goes on using their numbers.
 */
static u16 vgm_num_queues(struct vgm_device *vgm, unsigned int offset,
			  u16 value)
{
	if (READ_ONCE(vgm->is_asleep) &&
	    vgm->vdev.id.device == VIRTIO_ID_BLOCK &&
	    offset == offsetof(struct virtio_blk_config, num_queues))
		return max_t(u16, value, vgm->nr_queues_before);
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
				value = min(value, vgm->segs_max);
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
VISIBLE_IF_KUNIT bool vgm_settles(struct vgm_settling *s, u32 generation)
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

	if (READ_ONCE(vgm->has_failed))
		return 0;
	if (vgm_settles(&vgm->settling, generation))
		return generation;
	vgm_fail(vgm, "its configuration never settles");
	return 0;
}

/*
 * Status is what the driver wrote, but for two bits that are the device's: it
 * takes FEATURES_OK back or sets DEVICE_NEEDS_RESET (section 2.1).  A backend
 * that says anything else would have the virtio core warn, of a driver that is
 * ready before it said so, or of a device that was not reset.
 */
VISIBLE_IF_KUNIT u8 vgm_status(u8 written, u32 read)
{
	/* All ones would claim FEATURES_OK as well. */
	if (read == VGM_NOBODY)
		return (written & ~VIRTIO_CONFIG_S_FEATURES_OK) |
		       VIRTIO_CONFIG_S_FAILED;
	return (written & (read | ~VIRTIO_CONFIG_S_FEATURES_OK)) |
	       (read & VIRTIO_CONFIG_S_NEEDS_RESET);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_status);

/*
 * A driver that is being restored can't be told that there is no device any more.
 * virtio_blk would leave its disk quiesced for ever, with pointers to queues that
 * are gone.  So for its restoring, a failed device does all that is asked of it;
 * its queues, which are broken, then end every request with an error.
 */
static u8 vgm_get_status(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	u8 status;

	/* After a reset, whether or not the backend heard of it. */
	if (!vgm->status)
		return 0;
	status = vgm_status(vgm->status, vgm_read(vgm, VIRTIO_MMIO_STATUS));
	if (!READ_ONCE(vgm->is_asleep) || status == vgm->status)
		return status;
	mutex_lock(&vgm->queue_lock);
	vgm_fail_setup_locked(vgm, "it can't be restored");
	mutex_unlock(&vgm->queue_lock);
	return vgm->status;
}

/*
 * The core takes what the device showed, adds that the driver is ready, and looks
 * no further.
 */
static void vgm_ready_locked(struct vgm_device *vgm)
{
	if (!(vgm->status & VIRTIO_CONFIG_S_FEATURES_OK))
		vgm_fail_setup_locked(vgm, "the backend forgot its features");
	/* virtio_device_ready() believes that new queues are whole. */
	if (vgm->has_failed)
		virtio_break_device(&vgm->vdev);
}

static void vgm_set_status(struct virtio_device *vdev, u8 status)
{
	struct vgm_device *vgm = vgm_of(vdev);

	/* Zero is a reset, which is vgm_reset()'s to do. */
	if (WARN_ON_ONCE(!status))
		return;
	mutex_lock(&vgm->queue_lock);
	vgm_write(vgm, VIRTIO_MMIO_STATUS, status);
	/* After the device's: see vgm_ask(). */
	WRITE_ONCE(vgm->status, status);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		vgm_ready_locked(vgm);
	mutex_unlock(&vgm->queue_lock);
}

static u32 vgm_ext_caps(void __iomem *base);

/*
 * The device was reset and has no queues.  If it had failed, nothing is left of
 * that; but a backend that keeps pages of ours has lost our trust for good.
 */
static void vgm_revive(struct vgm_device *vgm)
{
	mutex_lock(&vgm->queue_lock);
	if (vgm->has_failed && !vgm->queue && !READ_ONCE(vgm->is_buffer_held) &&
	    !vgm_ask_identity(vgm)) {
		dev_info(&vgm->pdev->dev, "reset: taken for working again\n");
		vgrant_pool_revive(vgm->pool);
		vgm->caps = vgm_ext_caps(vgm->base);
		vgm->may_come_back = false;
		WRITE_ONCE(vgm->has_failed, false);
	}
	mutex_unlock(&vgm->queue_lock);
}

/*
 * The driver waits until Status reads 0 (section 4.2.3.1): only then has the
 * device let go of the rings.
 */
static void vgm_reset(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	unsigned long end = jiffies + msecs_to_jiffies(VGM_RESET_MS), soon;
	u32 status;

	WRITE_ONCE(vgm->resets, vgm->resets + 1);
	WRITE_ONCE(vgm->status, 0);
	vgm->is_announced = false;
	vgm_write(vgm, VIRTIO_MMIO_STATUS, 0);
	soon = jiffies + msecs_to_jiffies(VGM_RESET_FAILED_MS);
	for (;;) {
		status = vgm_read(vgm, VIRTIO_MMIO_STATUS);
		if (!status) {
			vgm_revive(vgm);
			return;
		}
		/*
		 * All ones can mean that a request takes longer than the
		 * broker lets us wait for an answer: ask on, but not for
		 * long if the backend was gone before.
		 */
		if ((status == VGM_NOBODY && vgm->has_failed &&
		     time_after(jiffies, soon)) || time_after(jiffies, end))
			break;
		usleep_range(500, 1000);
	}
	if (status == VGM_NOBODY)
		vgm_give_up(vgm, "no answer to a reset");
	else
		vgm_fail(vgm, "the backend does not reset it");
}

static const char *vgm_bus_name(struct virtio_device *vdev)
{
	return vgm_of(vdev)->pdev->name;
}

/* Notifications, both ways (sections 4.2.3.3 and 4.2.3.4) */

static bool vgm_notify(struct virtqueue *vq)
{
	struct vgm_queue *q = vq->priv;

	if (q->irq) {
		/*
		 * A hypercall is a full barrier to what the ring wrote before;
		 * its partner is the backend's unmasking before it looks.
		 */
		notify_remote_via_evtchn(q->port);
		return true;
	}
	/*
	 * writel() orders the write after what the ring wrote before; its
	 * partner is the backend's barrier after taking the notification.
	 */
	vgm_write(vgm_of(vq->vdev), VIRTIO_MMIO_QUEUE_NOTIFY, vq->index);
	return true;
}

static irqreturn_t vgm_interrupt(int irq, void *opaque)
{
	struct vgm_device *vgm = opaque;
	u32 status = vgm_read(vgm, VIRTIO_MMIO_INTERRUPT_STATUS);
	unsigned int i;

	if (!status)
		return IRQ_NONE;
	if (status == VGM_NOBODY) {
		queue_work(system_long_wq, &vgm->fault_work);
		return IRQ_HANDLED;
	}
	/* Before looking at the rings: what comes later interrupts again. */
	vgm_write(vgm, VIRTIO_MMIO_INTERRUPT_ACK, status);

	if (status & VIRTIO_MMIO_INT_CONFIG) {
		/* A failed device's configuration is nothing to act upon. */
		if (vgm_is_faulty(vgm, vgm_read(vgm, VIRTIO_MMIO_STATUS)))
			queue_work(system_long_wq, &vgm->fault_work);
		else
			virtio_config_changed(&vgm->vdev);
	}
	if (status & VIRTIO_MMIO_INT_VRING) {
		for (i = 0; i < vgm->nr_queues; i++) {
			struct virtqueue *vq = READ_ONCE(vgm->queue[i]);

			if (vq)
				vgm_callback(irq, vq);
		}
	}
	return IRQ_HANDLED;
}

/*
 * An event of the backend's.  One without a cause is held against it: the
 * kernel delays the next ones (late EOI), so that a storm starves nobody.  The
 * cause is a buffer that was used since the last event began; its driver may
 * well have found it by itself meanwhile.
 */
static irqreturn_t vgm_event(int irq, void *opaque)
{
	struct vgm_queue *q = opaque;
	struct virtqueue *vq = READ_ONCE(q->vgm->queue[q->index]);
	bool has_cause = false;
	u16 used;

	if (vq && !READ_ONCE(q->is_reset)) {
		used = vgm_used_idx(vq);
		has_cause = used != q->used_at_event && !virtqueue_is_broken(vq);
		q->used_at_event = used;
		vgm_callback(irq, vq);
	}
	xen_irq_lateeoi(irq, has_cause ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

static void vgm_synchronize_cbs(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);
	unsigned int i;

	synchronize_irq(vgm->irq);
	for (i = 0; i < vgm->nr_queues; i++) {
		struct vgm_queue *q;

		if (!vgm->queue[i])
			continue;
		q = vgm->queue[i]->priv;
		if (q->irq)
			synchronize_irq(q->irq);
	}
}

/* The extension: uapi/virtio_grant.h */

static u32 vgm_ext_caps(void __iomem *base)
{
	if (readl(base + VIRTIO_GRANT_MMIO_MAGIC) != VIRTIO_GRANT_MAGIC)
		return 0;
	return readl(base + VIRTIO_GRANT_MMIO_CAPS) &
		(VIRTIO_GRANT_CAP_RANGES | VIRTIO_GRANT_CAP_EVTCHN |
		 VIRTIO_GRANT_CAP_FILLS);
}

/* Reset of the device takes the announcement back, or vgm_withdraw_pool(). */
static void vgm_announce_pool(struct vgm_device *vgm)
{
	struct vgrant_pool_stats stats;
	u32 state;

	if (!(vgm->caps & VIRTIO_GRANT_CAP_RANGES) || !use_ranges ||
	    !vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_MAX))
		return;
	vgrant_pool_read_stats(vgm->pool, &stats);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_FIRST, stats.first_ref);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_PAGES, stats.pages_total);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	vgm->is_announced = true;
	state = vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE);
	if (state != VIRTIO_GRANT_RANGE_HELD)
		dev_warn(&vgm->pdev->dev,
			 "the backend does not keep the pool mapped (%u): slower\n",
			 state);
}

/*
 * A driver that gives up in its probe does not reset the device.  Its queues are
 * stopped; if the pool stayed announced, the backend would hold it when it ends.
 */
static void vgm_withdraw_pool(struct vgm_device *vgm)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGM_RESET_MS);

	if (!vgm->is_announced || !vgm->status || vgm->has_failed)
		return;
	vgm->is_announced = false;
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	vgm_write(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	/* A request that is under way may take longer than the write. */
	while (vgm_read(vgm, VIRTIO_GRANT_MMIO_RANGE_STATE) !=
	       VIRTIO_GRANT_RANGE_NONE) {
		if (time_after(jiffies, end)) {
			dev_warn(&vgm->pdev->dev, "the backend does not let go of the pool\n");
			return;
		}
		usleep_range(500, 1000);
	}
}

static void vgm_channel_close(struct vgm_queue *q)
{
	if (q->irq)
		unbind_from_irqhandler(q->irq, q);
	q->irq = 0;
}

/* QueueSel is set.  Without a channel, registers do as well. */
static void vgm_channel_open(struct vgm_queue *q, const char *name)
{
	struct vgm_device *vgm = q->vgm;
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = vgm->backend,
	};
	struct evtchn_close close;
	int ret;

	if (!(vgm->caps & VIRTIO_GRANT_CAP_EVTCHN) || !use_events)
		return;
	if (HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc))
		goto refused;
	ret = bind_evtchn_to_irqhandler_lateeoi(alloc.port, vgm_event, 0, name,
						q);
	if (ret < 0) {
		close.port = alloc.port;
		HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
		goto refused;
	}
	q->port = alloc.port;
	q->irq = ret;
	vgm_write(vgm, VIRTIO_GRANT_MMIO_QUEUE_PORT, q->port);
	if (vgm_read(vgm, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
	    VIRTIO_GRANT_QUEUE_BOUND)
		return;
	/* All ones would say nothing: let go of it first in any case. */
	vgm_write(vgm, VIRTIO_GRANT_MMIO_QUEUE_PORT, 0);
	vgm_channel_close(q);
refused:
	dev_warn(&vgm->pdev->dev, "no event channel for queue %u: slower\n",
		 q->index);
}

/*
 * The CPUs that share queue @index of @nr: each CPU has one.  A driver that asks
 * for this (by a description of affinity) has its CPUs use the queue whose
 * events they take.
 */
VISIBLE_IF_KUNIT void vgm_spread(struct cpumask *cpus, unsigned int index,
				 unsigned int nr)
{
	unsigned int turn = 0, possible = num_possible_cpus();
	int cpu;

	cpumask_clear(cpus);
	for_each_possible_cpu(cpu) {
		if (turn % nr == index || (nr > possible &&
					   turn == index % possible))
			cpumask_set_cpu(cpu, cpus);
		turn++;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vgm_spread);

static int vgm_route(struct vgm_queue *q)
{
	/* Where all queues share an interrupt, there is nothing to choose. */
	if (!q->irq)
		return -EINVAL;
	return irq_set_affinity(q->irq,
				cpumask_intersects(&q->cpus, cpu_online_mask) ?
				&q->cpus : cpu_online_mask);
}

static int vgm_set_vq_affinity(struct virtqueue *vq, const struct cpumask *cpus)
{
	struct vgm_queue *q = vq->priv;

	if (cpus)
		cpumask_copy(&q->cpus, cpus);
	else
		cpumask_clear(&q->cpus);
	return vgm_route(q);
}

static const struct cpumask *vgm_get_vq_affinity(struct virtio_device *vdev,
						 int index)
{
	struct vgm_device *vgm = vgm_of(vdev);
	struct vgm_queue *q;

	if (index < 0 || index >= vgm->nr_queues || !vgm->queue[index])
		return NULL;
	q = vgm->queue[index]->priv;
	return q->irq && !cpumask_empty(&q->cpus) ? &q->cpus : NULL;
}

/* Queues (section 4.2.3.2) */

/* How large we make a ring whose device offers @num_max entries. */
static unsigned int vgm_queue_size(u32 num_max)
{
	return rounddown_pow_of_two(min_t(u32, num_max, VGM_QUEUE_SIZE_MAX));
}

/* Tells the device where the ring is.  QueueSel is set. */
static void vgm_queue_enable(struct vgm_device *vgm, struct virtqueue *vq)
{
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

/*
 * A device that was reset has let go of everything.  Otherwise it has to be told,
 * and waited for: of the queue QueueReady says so, of the port QUEUE_STATE.
 */
static void vgm_queue_stop(struct vgm_device *vgm, const struct vgm_queue *q)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGM_RESET_MS);
	bool is_ready;

	if (!vgm->status || vgm->has_failed)
		return;
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, q->index);
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_READY, 0);
	while ((is_ready = vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY)) &&
	       time_before(jiffies, end))
		usleep_range(500, 1000);
	if (q->irq)
		vgm_write(vgm, VIRTIO_GRANT_MMIO_QUEUE_PORT, 0);
	if (is_ready || (q->irq &&
			 vgm_read(vgm, VIRTIO_GRANT_MMIO_QUEUE_STATE) !=
			 VIRTIO_GRANT_QUEUE_NONE))
		dev_warn(&vgm->pdev->dev, "the backend does not let go of queue %u\n",
			 q->index);
}

static struct vgm_queue *vgm_queue_alloc(struct vgm_device *vgm,
					 unsigned int index, unsigned int num)
{
	struct vgm_queue *q = kzalloc(sizeof(*q), GFP_KERNEL);

	if (!q)
		return NULL;
	q->busy = bitmap_zalloc(num, GFP_KERNEL);
	if (!q->busy) {
		kfree(q);
		return NULL;
	}
	q->vgm = vgm;
	q->index = index;
	spin_lock_init(&q->callback_lock);
	spin_lock_init(&q->lock);
	return q;
}

static void vgm_queue_free(struct vgm_queue *q)
{
	bitmap_free(q->busy);
	kfree(q);
}

/* A ring that the device does not know of yet. */
static struct virtqueue *vgm_ring_create(struct vgm_device *vgm,
					 unsigned int index, unsigned int num,
					 struct virtqueue_info *info)
{
	struct vgm_queue *q = vgm_queue_alloc(vgm, index, num);
	struct virtqueue *vq;

	if (!q)
		return ERR_PTR(-ENOMEM);
	vq = vring_create_virtqueue(index, num, VGM_RING_ALIGN, &vgm->vdev,
				    true, true, info->ctx, vgm_notify,
				    info->callback, info->name);
	if (!vq) {
		vgm_queue_free(q);
		return ERR_PTR(-ENOMEM);
	}
	vq->num_max = num;
	vq->priv = q;
	return vq;
}

static struct virtqueue *vgm_queue_create(struct vgm_device *vgm,
					  unsigned int index,
					  struct virtqueue_info *info)
{
	struct virtqueue *vq;
	u32 num_max;

	vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, index);
	if (vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY))
		return ERR_PTR(-EBUSY);
	num_max = vgm_read(vgm, VIRTIO_MMIO_QUEUE_NUM_MAX);
	if (!num_max || num_max == VGM_NOBODY)
		return ERR_PTR(-ENOENT);

	vq = vgm_ring_create(vgm, index, vgm_queue_size(num_max), info);
	if (IS_ERR(vq))
		return vq;
	vgm_channel_open(vq->priv, dev_name(&vgm->vdev.dev));
	vgm_queue_enable(vgm, vq);
	return vq;
}

/*
 * A queue for a driver that is being restored and whose device has failed, or is
 * found to: nobody works on it.
 */
static struct virtqueue *vgm_queue_stand_in(struct vgm_device *vgm,
					    unsigned int index,
					    struct virtqueue_info *info)
{
	struct virtqueue *vq = vgm_ring_create(vgm, index, vgm->ring_min, info);

	vgm_fail_setup_locked(vgm, "it does not take its queues back");
	if (!IS_ERR(vq))
		__virtqueue_break(vq);
	return vq;
}

/*
 * The device was reset, or the queue alone was not even started: it must not
 * touch the ring any more.  If it does, it writes to granted pages that the
 * pool may reuse, within this device.
 */
static void vgm_queue_destroy(struct vgm_device *vgm, unsigned int index)
{
	struct virtqueue *vq = vgm->queue[index];
	struct vgm_queue *q;

	if (!vq)
		return;
	q = vq->priv;
	vgm_queue_stop(vgm, q);
	vgm_channel_close(q);
	WRITE_ONCE(vgm->queue[index], NULL);
	vring_del_virtqueue(vq);
	vgm_queue_free(q);
}

static void vgm_destroy_queues(struct vgm_device *vgm)
{
	unsigned int i;

	for (i = 0; i < vgm->nr_queues; i++)
		vgm_queue_destroy(vgm, i);
	kfree(vgm->queue);
	vgm->queue = NULL;
	vgm->nr_queues = 0;
}

static void vgm_del_vqs(struct virtio_device *vdev)
{
	struct vgm_device *vgm = vgm_of(vdev);

	cancel_delayed_work_sync(&vgm->watch_work);
	mutex_lock(&vgm->queue_lock);
	/* Otherwise find_vqs() failed, or was never called. */
	if (vgm->queue) {
		free_irq(vgm->irq, vgm);
		vgm_destroy_queues(vgm);
		vgm_withdraw_pool(vgm);
	}
	mutex_unlock(&vgm->queue_lock);
}

static int vgm_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			struct virtqueue *vqs[],
			struct virtqueue_info vqs_info[],
			struct irq_affinity *desc)
{
	struct vgm_device *vgm = vgm_of(vdev);
	unsigned int i, index = 0;
	int ret = -ENOMEM;

	mutex_lock(&vgm->queue_lock);
	/* Its driver reads the configuration first, and that may have shown. */
	if (vgm->has_failed && !vgm->is_asleep) {
		ret = -EIO;
		goto unlock;
	}
	vgm->queue = kcalloc(nvqs, sizeof(*vgm->queue), GFP_KERNEL);
	if (!vgm->queue)
		goto unlock;
	vgm->nr_queues = nvqs;
	vgrant_pool_set_filled(vgm->pool, vgm->caps & VIRTIO_GRANT_CAP_FILLS);
	if (!vgm->has_failed)
		vgm_announce_pool(vgm);

	for (i = 0; i < nvqs; i++) {
		vqs[i] = NULL;
		if (!vqs_info[i].name)
			continue;
		if (!vgm->has_failed)
			vqs[i] = vgm_queue_create(vgm, index, &vqs_info[i]);
		if (vgm->is_asleep && IS_ERR_OR_NULL(vqs[i]) &&
		    (vqs[i] != ERR_PTR(-ENOMEM) || vgm->is_last_try))
			vqs[i] = vgm_queue_stand_in(vgm, index, &vqs_info[i]);
		if (IS_ERR(vqs[i])) {
			ret = PTR_ERR(vqs[i]);
			goto destroy_queues;
		}
		vgm->queue[index++] = vqs[i];
	}
	for (i = 0; desc && index > 1 && i < index; i++) {
		struct vgm_queue *q = vgm->queue[i]->priv;

		vgm_spread(&q->cpus, i, index);
		vgm_route(q);
	}

	/* Last, so that the handler never meets half a set of queues. */
	ret = request_irq(vgm->irq, vgm_interrupt, IRQF_SHARED,
			  dev_name(&vdev->dev), vgm);
	if (ret)
		goto destroy_queues;
	mutex_unlock(&vgm->queue_lock);
	vgm->silent_s = 0;
	queue_delayed_work(system_long_wq, &vgm->watch_work,
			   vgm_seconds(VGM_WATCH_S));
	return 0;

destroy_queues:
	vgm_destroy_queues(vgm);
	vgm_withdraw_pool(vgm);
unlock:
	mutex_unlock(&vgm->queue_lock);
	return ret;
}

VGRANT_FIND_VQS_ADAPTER(vgm_find_vqs)

/* Resetting one queue (section 4.2.3.2, VIRTIO_F_RING_RESET) */

/* QueueReset reads 1 until it is done; see vgm_reset() for all ones. */
static const char *vgm_queue_reset(struct vgm_device *vgm, unsigned int index)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGM_RESET_MS);

	lockdep_assert_held(&vgm->queue_lock);
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, index);
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_RESET, 1);
	while (vgm_read(vgm, VIRTIO_MMIO_QUEUE_RESET)) {
		if (time_after(jiffies, end))
			return "a queue does not reset";
		usleep_range(500, 1000);
	}
	return vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY) ?
		"a queue is ready after its reset" : NULL;
}

/* Of a device that failed, all buffers came back already. */
static int vgm_disable_vq_and_reset(struct virtqueue *vq)
{
	struct vgm_device *vgm = vgm_of(vq->vdev);
	struct vgm_queue *q = vq->priv;
	const char *why = NULL;
	int ret = -EIO;

	if (!virtio_has_feature(vq->vdev, VIRTIO_F_RING_RESET))
		return -ENOENT;
	mutex_lock(&vgm->queue_lock);
	if (!vgm->has_failed)
		why = vgm_queue_reset(vgm, vq->index);
	if (!vgm->has_failed && !why) {
		WRITE_ONCE(q->is_reset, true);
		vq->reset = true;
		ret = 0;
	}
	mutex_unlock(&vgm->queue_lock);
	if (why)
		vgm_fail(vgm, why);
	/* Whoever calls the driver has seen it from here on, or is through. */
	if (!ret)
		vgm_synchronize_cbs(vq->vdev);
	return ret;
}

/* The ring starts anew; the queue's channel is as it was. */
static void vgm_track_anew(struct virtqueue *vq)
{
	struct vgm_queue *q = vq->priv;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	bitmap_zero(q->busy, vq->num_max);
	q->avail_seen = 0;
	q->used_seen = 0;
	q->used_watched = 0;
	q->used_at_event = 0;
	q->has_lost_track = false;
	spin_unlock_irqrestore(&q->lock, flags);
}

static int vgm_enable_vq_after_reset(struct virtqueue *vq)
{
	struct vgm_device *vgm = vgm_of(vq->vdev);
	struct vgm_queue *q = vq->priv;
	bool is_ready = false;
	int ret = -EIO;

	if (!vq->reset)
		return -EBUSY;
	mutex_lock(&vgm->queue_lock);
	if (vgm->has_failed)
		goto unlock;
	vgm_write(vgm, VIRTIO_MMIO_QUEUE_SEL, vq->index);
	ret = -EBUSY;
	if (vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY))
		goto unlock;
	vgm_track_anew(vq);
	vq->reset = false;
	WRITE_ONCE(q->is_reset, false);
	vgm_queue_enable(vgm, vq);
	is_ready = vgm_read(vgm, VIRTIO_MMIO_QUEUE_READY) == 1;
	ret = 0;
unlock:
	mutex_unlock(&vgm->queue_lock);
	/* Or its buffers would wait for ever. */
	if (!ret && !is_ready)
		vgm_fail(vgm, "a queue does not start again after its reset");
	return ret;
}

static const struct virtio_config_ops vgm_config_ops = {
	VGRANT_FIND_VQS_OP(vgm_find_vqs),
	.get = vgm_get,
	.set = vgm_set,
	.generation = vgm_generation,
	.get_status = vgm_get_status,
	.set_status = vgm_set_status,
	.reset = vgm_reset,
	.del_vqs = vgm_del_vqs,
	.synchronize_cbs = vgm_synchronize_cbs,
	.get_features = vgm_get_features,
	.finalize_features = vgm_finalize_features,
	.bus_name = vgm_bus_name,
	.set_vq_affinity = vgm_set_vq_affinity,
	.get_vq_affinity = vgm_get_vq_affinity,
	/*
	 * No get_shm_region: it would have us map whatever address the backend
	 * names.
	 */
	.disable_vq_and_reset = vgm_disable_vq_and_reset,
	.enable_vq_after_reset = vgm_enable_vq_after_reset,
};

/*
 * The device's node in xenstore
 *
 * Where no IOREQ server has the window, an access ends in an abort that no
 * exception table is asked about (Xen makes it an "address size fault"), and
 * the task with it.  A toolstack that wrote the device's node keeps its state
 * there, so look before the first access.
 */
struct vgm_store {
	struct notifier_block nb;
	bool is_there;
};

static int vgm_store_called(struct notifier_block *nb, unsigned long event,
			    void *data)
{
	container_of(nb, struct vgm_store, nb)->is_there = true;
	return NOTIFY_DONE;
}

/* A notifier is called at once if there is a xenstore; without, we would hang. */
static bool vgm_store_is_there(void)
{
	struct vgm_store store = { .nb.notifier_call = vgm_store_called };

	if (!register_xenstore_notifier(&store.nb))
		unregister_xenstore_notifier(&store.nb);
	return store.is_there;
}

/* Numbers are written in decimal, or as 0x... */
static int vgm_store_read(const char *dir, const char *node, u64 *number)
{
	char *text = xenbus_read(XBT_NIL, dir, node, NULL);
	int ret;

	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = kstrtou64(text, 0, number);
	kfree(text);
	return ret;
}

/* The state of the device in @dir if it is the one at @base, or -ENODEV. */
static int vgm_store_state_of(const char *dir, const char *node,
			      phys_addr_t base)
{
	char *path = kasprintf(GFP_KERNEL, "%s/%s", dir, node), *back;
	int ret = -ENODEV;
	u64 number;

	if (!path)
		return -ENOMEM;
	back = xenbus_read(XBT_NIL, path, "backend", NULL);
	kfree(path);
	if (IS_ERR(back))
		return -ENODEV;
	if (!vgm_store_read(back, "base", &number) && number == base) {
		/* A state that was taken away: it can't be served. */
		ret = XenbusStateUnknown;
		if (!vgm_store_read(back, "state", &number) &&
		    number <= XenbusStateReconfigured)
			ret = number;
	}
	kfree(back);
	return ret;
}

static int vgm_store_state(phys_addr_t base)
{
	/* libxl's kinds of devices that have a register window. */
	static const char * const kinds[] = {
		"device/virtio_disk", "device/virtio",
	};
	unsigned int kind, i, nr;
	int state = -ENODEV;
	char **nodes;

	for (kind = 0; state < 0 && kind < ARRAY_SIZE(kinds); kind++) {
		nodes = xenbus_directory(XBT_NIL, kinds[kind], "", &nr);
		if (IS_ERR(nodes))
			continue;
		for (i = 0; state < 0 && i < nr; i++)
			state = vgm_store_state_of(kinds[kind], nodes[i], base);
		kfree(nodes);
	}
	return state;
}

static bool vgm_is_served_state(int state)
{
	switch (state) {
	case XenbusStateUnknown:
	case XenbusStateInitialising:
	case XenbusStateClosing:
	case XenbusStateClosed:
		return false;
	default:
		/* And if there is no node, it is not for us to say. */
		return true;
	}
}

/*
 * May the device's window be accessed?  With some time for a backend that is just
 * starting, says why if not.
 *
 * Returns: 0; or -EAGAIN, it may come.
 */
static int vgm_wait_for_server(struct platform_device *pdev)
{
	struct resource *window = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	unsigned long end = jiffies + msecs_to_jiffies(VGM_SERVED_MS);
	int state;

	if (!window || !vgm_store_is_there())
		return 0;
	while (!vgm_is_served_state(state = vgm_store_state(window->start))) {
		if (time_after(jiffies, end)) {
			dev_err(&pdev->dev, "no backend serves it (state %d in xenstore): are the broker and the backend running?\n",
				state);
			return -EAGAIN;
		}
		msleep(100);
	}
	return 0;
}

/*
 * The same, at once and without a word, of one that nobody answered for before.
 * Where there is a xenstore, it has to say so: a node that is gone is a device
 * that was detached, and nobody has its window any more.
 */
static bool vgm_is_served_now(struct platform_device *pdev)
{
	struct resource *window = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	int state;

	if (!window || !vgm_store_is_there())
		return true;
	state = vgm_store_state(window->start);
	return state >= 0 && vgm_is_served_state(state);
}

/*
 * Types of devices
 *
 * The backend says which type its device is of, and with it which driver binds:
 * one that turned from a disk into a console would be listened to as one.  So
 * the guest says what it expects.
 */

/* Those that Linux has drivers for; the others go by their number. */
static const char * const vgm_type_names[] = {
	[VIRTIO_ID_NET] = "net",
	[VIRTIO_ID_BLOCK] = "block",
	[VIRTIO_ID_CONSOLE] = "console",
	[VIRTIO_ID_RNG] = "rng",
	[VIRTIO_ID_BALLOON] = "balloon",
	[VIRTIO_ID_RPMSG] = "rpmsg",
	[VIRTIO_ID_SCSI] = "scsi",
	[VIRTIO_ID_9P] = "9p",
	[VIRTIO_ID_CAIF] = "caif",
	[VIRTIO_ID_GPU] = "gpu",
	[VIRTIO_ID_INPUT] = "input",
	[VIRTIO_ID_VSOCK] = "vsock",
	[VIRTIO_ID_CRYPTO] = "crypto",
	[VIRTIO_ID_IOMMU] = "iommu",
	[VIRTIO_ID_MEM] = "mem",
	[VIRTIO_ID_SOUND] = "sound",
	[VIRTIO_ID_FS] = "fs",
	[VIRTIO_ID_PMEM] = "pmem",
	[VIRTIO_ID_SCMI] = "scmi",
	[VIRTIO_ID_I2C_ADAPTER] = "i2c",
	[VIRTIO_ID_CAN] = "can",
	[VIRTIO_ID_BT] = "bt",
	[VIRTIO_ID_GPIO] = "gpio",
};

static DECLARE_BITMAP(vgm_types, VGM_TYPES);

static const char *vgm_type_name(u32 type)
{
	const char *name = type < ARRAY_SIZE(vgm_type_names) ?
			   vgm_type_names[type] : NULL;

	return name ?: "no name";
}

/* Returns 0, of which there is no device, if it is neither. */
static unsigned int vgm_type_parse(const char *word)
{
	unsigned int type;

	for (type = 0; type < ARRAY_SIZE(vgm_type_names); type++)
		if (vgm_type_names[type] && !strcmp(word, vgm_type_names[type]))
			return type;
	return !kstrtouint(word, 10, &type) && type < VGM_TYPES ? type : 0;
}

/*
 * From now on accept the types of @list and no other.
 *
 * Returns: 0, -ENOMEM, or -EINVAL: a word that is none, and nothing changed.
 */
VISIBLE_IF_KUNIT int vgm_accept_types(const char *list)
{
	char *copy = kstrdup(list, GFP_KERNEL), *rest = copy, *word;
	DECLARE_BITMAP(accepted, VGM_TYPES) = { 0 };
	unsigned int type;
	int ret = 0;

	if (!copy)
		return -ENOMEM;
	while (!ret && (word = strsep(&rest, ","))) {
		word = strim(word);
		type = vgm_type_parse(word);
		if (type) {
			__set_bit(type, accepted);
		} else {
			pr_err("types=%s: \"%s\" is no type of device: names are block, net, console and so on, numbers 1 to %u\n",
			       list, word, VGM_TYPES - 1);
			ret = -EINVAL;
		}
	}
	if (!ret)
		bitmap_copy(vgm_types, accepted, VGM_TYPES);
	kfree(copy);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_accept_types);

static bool vgm_type_is_accepted(u32 type)
{
	return type < VGM_TYPES && test_bit(type, vgm_types);
}

/* Devices */

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
		if (!num_max || num_max == VGM_NOBODY)
			break;
		size = vgm_queue_size(num_max);
		/* No request has more segments than its ring has entries. */
		need->segs_max = max(need->segs_max, size);
		/* A driver has no use for more queues than CPUs. */
		need->queues = min(i + 1, num_possible_cpus());
		id->ring_min = i ? min(id->ring_min, size) : size;
		need->coherent_bytes +=
			PAGE_SIZE << get_order(vring_size(size, VGM_RING_ALIGN));
	}
}

/*
 * Is there a device behind the window, and one that we can drive?  Says why if
 * not.
 *
 * Returns: 0; -EAGAIN if nobody answers; -ENODEV if there is none, or one of a
 * type that this guest does not accept; -EINVAL if it is not for us.
 */
VISIBLE_IF_KUNIT int vgm_identify(struct device *dev, void __iomem *base,
				  struct vgm_identity *id)
{
	u32 magic, version, features;

	memset(id, 0, sizeof(*id));
	magic = readl(base + VIRTIO_MMIO_MAGIC_VALUE);
	if (magic == VGM_NOBODY) {
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
	if (!id->device || id->device == VGM_NOBODY) {
		dev_info(dev, "a place without a device\n");
		return -ENODEV;
	}
	if (!vgm_type_is_accepted(id->device)) {
		dev_err(dev, "refused: a device of type %u (%s), this guest accepts types=%s\n",
			id->device, vgm_type_name(id->device), types);
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
	if (!id->need.segs_max) {
		dev_err(dev, "refused: the device has no queue\n");
		return -EINVAL;
	}
	if (vgm_seg_max_offset(id->device) >= 0)
		id->need.segs_enough = VGM_SEGS_ENOUGH + VGM_SEGS_EXTRA;
	else if (id->device == VIRTIO_ID_NET)
		id->need.segs_max = min(id->need.segs_max, VGM_SEGS_NET);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_identify);

static void vgm_release(struct device *dev)
{
	complete(&vgm_of(dev_to_virtio(dev))->released);
}

/*
 * Coming back
 *
 * A device that failed for no other reason than that nobody answered, works again
 * when somebody does.  If that is who ran it before, its driver is frozen and
 * restored, as for suspending: the disk stays the same disk, and whoever has it
 * open can go on, having got errors meanwhile.  A device that has forgotten what
 * its driver told it may have become another: there the driver is bound anew.
 */

#ifdef CONFIG_PM_SLEEP
static bool vgm_can_go_on(struct vgm_device *vgm)
{
	struct virtio_driver *drv = drv_to_virtio(vgm->vdev.dev.driver);
	const char *why;

	return drv->freeze && drv->restore &&
	       !(vgm->status & VIRTIO_CONFIG_S_FAILED) && !vgm_ask(vgm, &why);
}

/*
 * Its driver sleeps, and is awake again when vgm_wake() returns; which is as it
 * was before, or has got a device that failed.
 */
static int vgm_sleep(struct vgm_device *vgm)
{
	int ret;

	WRITE_ONCE(vgm->is_asleep, true);
	/* It sleeps still. */
	if (vgm->has_overslept)
		return 0;
	vgm->nr_queues_before = vgm->nr_queues;
	ret = virtio_device_freeze(&vgm->vdev);
	if (ret)
		WRITE_ONCE(vgm->is_asleep, false);
	return ret;
}

/*
 * A driver that fails for want of memory sleeps on, with all that waits for it, and
 * is not asked again by anybody.
 */
static int vgm_wake(struct vgm_device *vgm)
{
	unsigned int pause_ms, tries = VGM_WAKE_TRIES;
	int ret;

	for (pause_ms = 10; ; pause_ms = min(2 * pause_ms, 1000U)) {
		vgm->is_last_try = !--tries;
		ret = virtio_device_restore(&vgm->vdev);
		if (ret != -ENOMEM || vgm->is_last_try)
			break;
		msleep(pause_ms);
	}
	WRITE_ONCE(vgm->is_asleep, false);
	vgm->has_overslept = ret;
	if (ret)
		vgm_fail(vgm, "its driver does not wake up");
	return ret;
}

/* A driver can't be unbound while requests wait in what it stopped for its sleep. */
static void vgm_wake_to_leave(struct vgm_device *vgm)
{
	if (!vgm->has_overslept)
		return;
	WRITE_ONCE(vgm->is_asleep, true);
	vgm_wake(vgm);
}

/* Returns: no: its driver has to be bound anew. */
static bool vgm_go_on(struct vgm_device *vgm)
{
	if (!vgm_can_go_on(vgm) || vgm_sleep(vgm))
		return false;
	/* Its size may be another, for one. */
	if (!vgm_wake(vgm) && !READ_ONCE(vgm->has_failed))
		virtio_config_changed(&vgm->vdev);
	return true;
}
#else
static void vgm_wake_to_leave(struct vgm_device *vgm)
{
}

static bool vgm_go_on(struct vgm_device *vgm)
{
	return false;
}
#endif

static bool vgm_has_to_come_back(struct vgm_device *vgm)
{
	return (READ_ONCE(vgm->may_come_back) ||
		READ_ONCE(vgm->wants_driver)) &&
	       !READ_ONCE(vgm->is_asleep) && !READ_ONCE(vgm->is_going);
}

/* A probe that failed, perhaps for want of memory, is repeated some times. */
static void vgm_bind_again(struct vgm_device *vgm)
{
	struct device *dev = &vgm->vdev.dev;

	device_lock(dev);
	WRITE_ONCE(vgm->wants_driver, !dev->driver &&
		   vgm->status & VIRTIO_CONFIG_S_FAILED &&
		   vgm->nr_binds++ < VGM_BINDS);
	device_unlock(dev);
}

static void vgm_come_back(struct vgm_device *vgm)
{
	struct device *dev = &vgm->vdev.dev;
	bool is_bound = false, is_unbound = false;
	int ret = 0;

	device_lock(dev);
	/* Bound in the end, perhaps by somebody else: the count begins anew. */
	if (dev->driver) {
		vgm->nr_binds = 0;
		WRITE_ONCE(vgm->wants_driver, false);
	}
	if (!vgm_has_to_come_back(vgm)) {
		/* Nothing is left to do. */
	} else if (dev->driver) {
		dev_info(&vgm->pdev->dev, "the backend answers again\n");
		is_bound = !vgm_go_on(vgm);
	} else if (vgm->status & VIRTIO_CONFIG_S_FAILED) {
		/* For want of an answer, its driver's probe failed. */
		is_unbound = true;
	} else {
		/* Its driver was taken away.  Who binds another, resets it. */
		WRITE_ONCE(vgm->may_come_back, false);
		WRITE_ONCE(vgm->wants_driver, false);
	}
	device_unlock(dev);
	if (is_bound)
		ret = device_reprobe(dev);
	else if (is_unbound)
		ret = device_attach(dev);
	if (ret < 0)
		dev_err(&vgm->pdev->dev, "its driver can't be bound again\n");
	if (is_bound || is_unbound)
		vgm_bind_again(vgm);
}

static void vgm_come_back_work(struct work_struct *work)
{
	struct vgm_device *vgm = container_of(to_delayed_work(work),
					      struct vgm_device, come_back_work);
	unsigned int again_s = VGM_COME_BACK_S;

	if (vgm_ask_identity(vgm) != -EAGAIN) {
		vgm_come_back(vgm);
		if (READ_ONCE(vgm->is_buffer_held) ||
		    vgm_ask_identity(vgm) == -ENODEV)
			return;
		again_s = VGM_COME_BACK_AGAIN_S;
	}
	if (vgm_has_to_come_back(vgm))
		queue_delayed_work(system_long_wq, &vgm->come_back_work,
				   vgm_seconds(again_s));
}

/* A driver is about to be bound or unbound, under the device's lock. */
static int vgm_driver_event(struct notifier_block *nb, unsigned long event,
			    void *data)
{
	struct vgm_device *vgm = container_of(nb, struct vgm_device,
					      bus_notifier);

	if (data != &vgm->vdev.dev)
		return NOTIFY_DONE;
	switch (event) {
	case BUS_NOTIFY_BIND_DRIVER:
		WRITE_ONCE(vgm->is_leaving, false);
		vgm->has_overslept = false;
		/* Whatever became of it while nobody drove it. */
		vgm_reset(&vgm->vdev);
		virtio_add_status(&vgm->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		break;
	case BUS_NOTIFY_UNBIND_DRIVER:
		vgm_wake_to_leave(vgm);
		vgm_leave(vgm);
		break;
	}
	return NOTIFY_DONE;
}

/* Returns: 0; -EAGAIN if nobody answers; or a negative errno. */
VISIBLE_IF_KUNIT int vgm_create(struct platform_device *pdev,
				void __iomem *base, int irq, domid_t backend)
{
	struct device *dev = &pdev->dev;
	struct vgrant_pool_stats stats;
	struct vgm_identity id;
	struct vgm_device *vgm;
	int ret;

	vgm = kzalloc(sizeof(*vgm), GFP_KERNEL);
	if (!vgm)
		return -ENOMEM;
	vgm->pdev = pdev;
	vgm->base = base;
	vgm->irq = irq;
	init_completion(&vgm->released);
	mutex_init(&vgm->queue_lock);
	spin_lock_init(&vgm->settling.lock);
	INIT_WORK(&vgm->fault_work, vgm_fault_work);
	/* Not deferrable: an idle guest waits for its disk, too. */
	INIT_DELAYED_WORK(&vgm->watch_work, vgm_watch_work);
	INIT_DELAYED_WORK(&vgm->come_back_work, vgm_come_back_work);
	vgm->bus_notifier.notifier_call = vgm_driver_event;

	/* Time for a backend that is just starting. */
	vgm_is_gone(vgm->base);
	ret = vgm_identify(dev, vgm->base, &id);
	/* Who falls silent meanwhile, is no other device. */
	if (ret && readl(base + VIRTIO_MMIO_MAGIC_VALUE) == VGM_NOBODY)
		ret = -EAGAIN;
	if (ret)
		goto free_vgm;

	vgm->pool = vgrant_pool_create(dev, backend, &id.need);
	if (IS_ERR(vgm->pool)) {
		ret = PTR_ERR(vgm->pool);
		dev_err(dev, "no pool of granted pages: error %d\n", ret);
		goto free_vgm;
	}
	vgrant_pool_set_held_handler(vgm->pool, vgm_buffer_held, vgm);
	vgrant_pool_attach(vgm->pool);
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		goto destroy_pool;

	vgm->backend = backend;
	vgm->caps = vgm_ext_caps(vgm->base);
	vgm->vdev.dev.parent = dev;
	vgm->vdev.dev.release = vgm_release;
	vgm->vdev.config = &vgm_config_ops;
	vgm->vdev.id.device = id.device;
	vgm->vdev.id.vendor = id.vendor;
	platform_set_drvdata(pdev, vgm);

	vgrant_pool_read_stats(vgm->pool, &stats);
	vgm->ring_min = id.ring_min;
	vgm->segs_max = max_t(u32, stats.segs_max, VGM_SEGS_EXTRA + 1) -
			VGM_SEGS_EXTRA;
	dev_info(dev, "virtio device type %u, backend in domain %u sees %u granted pages%s%s\n",
		 id.device, backend, stats.pages_total,
		 vgm->caps & VIRTIO_GRANT_CAP_RANGES && use_ranges ?
		 ", persistent" : "",
		 vgm->caps & VIRTIO_GRANT_CAP_EVTCHN && use_events ?
		 ", event channels" : "");
	ret = register_virtio_device(&vgm->vdev);
	if (ret)
		goto put_vdev;
	bus_register_notifier(vgm->vdev.dev.bus, &vgm->bus_notifier);
	return 0;

put_vdev:
	cancel_delayed_work_sync(&vgm->come_back_work);
	put_device(&vgm->vdev.dev);
	wait_for_completion(&vgm->released);
destroy_pool:
	vgrant_pool_detach(vgm->pool);
	vgrant_pool_destroy(vgm->pool);
free_vgm:
	kfree(vgm);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_create);

/* @is_again: a device that was absent before is asked once, without waiting. */
static int vgm_probe_at(struct platform_device *pdev, domid_t backend,
			bool is_again)
{
	void __iomem *base;
	int ret, irq;

	if (is_again)
		ret = vgm_is_served_now(pdev) ? 0 : -EAGAIN;
	else
		ret = vgm_wait_for_server(pdev);
	if (ret)
		return ret;
	base = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(base))
		return PTR_ERR(base);
	if (is_again && readl(base + VIRTIO_MMIO_MAGIC_VALUE) == VGM_NOBODY)
		return -EAGAIN;
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	return vgm_create(pdev, base, irq, backend);
}

static int vgm_claimed_backend(struct device_node *np, domid_t *backend,
			       bool *is_again);
static void vgm_claim_note(struct device_node *np, bool is_absent);

static int vgm_probe(struct platform_device *pdev)
{
	struct device_node *np = pdev->dev.of_node;
	bool is_again;
	domid_t backend;
	int ret;

	ret = vgm_claimed_backend(np, &backend, &is_again);
	if (ret)
		return ret;
	ret = vgm_probe_at(pdev, backend, is_again);
	/* Once probed again, it is so until it works or is refused. */
	vgm_claim_note(np, ret == -EAGAIN || (is_again && ret == -ENOMEM));
	/* Which the core does not complain of. */
	return ret == -EAGAIN ? -ENODEV : ret;
}

VISIBLE_IF_KUNIT void vgm_remove(struct platform_device *pdev)
{
	struct vgm_device *vgm = platform_get_drvdata(pdev);

	/* What it waits for on its way back, ends as well. */
	WRITE_ONCE(vgm->is_going, true);
	vgm_leave(vgm);
	cancel_delayed_work_sync(&vgm->come_back_work);
	unregister_virtio_device(&vgm->vdev);
	bus_unregister_notifier(vgm->vdev.dev.bus, &vgm->bus_notifier);
	cancel_work_sync(&vgm->fault_work);
	cancel_delayed_work_sync(&vgm->watch_work);
	cancel_delayed_work_sync(&vgm->come_back_work);
	/* vgm_release() is code of this module, which may be leaving. */
	wait_for_completion(&vgm->released);
	vgrant_pool_detach(vgm->pool);
	vgrant_pool_destroy(vgm->pool);
	kfree(vgm);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_remove);

#ifdef CONFIG_PM_SLEEP
static void vgm_awake(struct vgm_device *vgm)
{
	WRITE_ONCE(vgm->is_leaving, false);
	WRITE_ONCE(vgm->is_going, false);
	if (vgm_has_to_come_back(vgm))
		queue_delayed_work(system_long_wq, &vgm->come_back_work,
				   vgm_seconds(VGM_COME_BACK_S));
}

/*
 * Asleep, the device holds nothing of ours: its driver deletes the queues, and
 * the grants end here.  After waking up (perhaps in another grant table) they
 * are made anew and the driver starts from the beginning.
 */
VISIBLE_IF_KUNIT int vgm_freeze(struct device *dev)
{
	struct vgm_device *vgm = dev_get_drvdata(dev);
	int ret;

	/* Its driver waits for what is in the queues. */
	WRITE_ONCE(vgm->is_going, true);
	vgm_leave(vgm);
	device_lock(&vgm->vdev.dev);
	ret = vgm_sleep(vgm);
	if (!ret) {
		ret = vgrant_pool_suspend(vgm->pool);
		if (ret) {
			dev_err(dev, "cannot sleep: the backend still maps the pool\n");
			vgm_wake(vgm);
		}
	}
	device_unlock(&vgm->vdev.dev);
	if (ret)
		vgm_awake(vgm);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_freeze);

VISIBLE_IF_KUNIT int vgm_restore(struct device *dev)
{
	struct vgm_device *vgm = dev_get_drvdata(dev);
	int ret;

	device_lock(&vgm->vdev.dev);
	vgrant_pool_resume(vgm->pool);
	if (vgm_is_gone(vgm->base))
		vgm_give_up(vgm, "no answer after waking up");
	else if (vgm_ask_identity(vgm))
		vgm_fail(vgm, "not the same device after waking up");
	else
		vgm->caps = vgm_ext_caps(vgm->base);
	ret = vgm_wake(vgm);
	device_unlock(&vgm->vdev.dev);
	vgm_awake(vgm);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_restore);

static const struct dev_pm_ops vgm_pm_ops = {
	SET_SYSTEM_SLEEP_PM_OPS(vgm_freeze, vgm_restore)
};
#define VGM_PM_OPS	(&vgm_pm_ops)
#else
#define VGM_PM_OPS	NULL
#endif

/* No table of matches: only devices that we claimed are ours. */
static struct platform_driver vgm_driver = {
	.probe = vgm_probe,
	VGRANT_REMOVE_OP(vgm_remove),
	.driver = {
		.name = VGM_DRIVER_NAME,
		.pm = VGM_PM_OPS,
	},
};

/*
 * Claims
 *
 * The stock driver virtio_mmio matches the same nodes.  A node whose IOMMU is
 * "xen,grant-dma" is claimed: its device gets a driver override, and the
 * property "iommus" is taken out of the node for as long as we are there.
 *
 * The latter because a kernel without CONFIG_XEN_VIRTIO has no driver that
 * such an IOMMU could be configured with, and waits for one, 10 seconds for
 * each device.  Registering as that IOMMU would do as well, but Linux 6.1
 * keeps pointing to an IOMMU driver that was unregistered (bus->iommu_ops).
 * It also keeps the layer of kernels with CONFIG_XEN_VIRTIO from replacing
 * our DMA operations: it looks for the same property.
 *
 * The other wait is for the node of the IOMMU, of which the device is said to
 * be a consumer: vgm_iommu_driver binds to it and does nothing.
 */
struct vgm_claim {
	struct list_head list;
	struct device_node *np;
	struct property *iommus;
	domid_t backend;
	bool is_absent;			/* nobody answered its probe */
	bool is_again;			/* the next one is by vgm_absent_work */
};

static LIST_HEAD(vgm_claims);
static DEFINE_MUTEX(vgm_claims_lock);

/*
 * A device that nobody answers for when it is probed (a guest that boots while its
 * driver domain is paused) is probed again until somebody does.
 */
static void vgm_absent_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(vgm_absent_work, vgm_absent_work_fn);
static unsigned int vgm_absent_pause_s;

static struct vgm_claim *vgm_claim_find(struct device_node *np)
{
	struct vgm_claim *claim;

	lockdep_assert_held(&vgm_claims_lock);
	list_for_each_entry(claim, &vgm_claims, list)
		if (claim->np == np)
			return claim;
	return NULL;
}

static int vgm_claimed_backend(struct device_node *np, domid_t *backend,
			       bool *is_again)
{
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	if (claim) {
		*backend = claim->backend;
		*is_again = claim->is_again;
		claim->is_again = false;
	}
	mutex_unlock(&vgm_claims_lock);
	return claim ? 0 : -ENODEV;
}

static void vgm_claim_note(struct device_node *np, bool is_absent)
{
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	if (claim && is_absent && !claim->is_absent) {
		vgm_absent_pause_s = VGM_COME_BACK_S;
		mod_delayed_work(system_long_wq, &vgm_absent_work,
				 vgm_seconds(vgm_absent_pause_s));
	}
	if (claim)
		claim->is_absent = is_absent;
	mutex_unlock(&vgm_claims_lock);
}

/* ... and is probed @again if so? */
static bool vgm_is_absent(struct device_node *np, bool again)
{
	struct vgm_claim *claim;
	bool is_absent;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	is_absent = claim && claim->is_absent;
	if (is_absent)
		claim->is_again = again;
	mutex_unlock(&vgm_claims_lock);
	return is_absent;
}

static int vgm_attach_absent(struct device *dev, void *nr_absent)
{
	int ret;

	if (!dev->of_node || !vgm_is_absent(dev->of_node, true))
		return 0;
	ret = device_attach(dev);
	if (ret < 0)
		dev_err(dev, "cannot be probed again: error %d\n", ret);
	*(unsigned int *)nr_absent += vgm_is_absent(dev->of_node, false);
	return 0;
}

static void vgm_absent_work_fn(struct work_struct *work)
{
	unsigned int nr_absent = 0;

	bus_for_each_dev(&platform_bus_type, NULL, &nr_absent,
			 vgm_attach_absent);
	if (!nr_absent)
		return;
	mutex_lock(&vgm_claims_lock);
	vgm_absent_pause_s = min(2 * vgm_absent_pause_s, VGM_ABSENT_PAUSE_MAX_S);
	queue_delayed_work(system_long_wq, &vgm_absent_work,
			   vgm_seconds(vgm_absent_pause_s));
	mutex_unlock(&vgm_claims_lock);
}

/* Is this a virtio-mmio device behind a grant IOMMU, and of which domain? */
static bool vgm_is_wanted(struct device_node *np, domid_t *backend)
{
	struct of_phandle_args spec;
	bool is_grant;

	if (!of_device_is_compatible(np, "virtio,mmio") ||
	    of_parse_phandle_with_args(np, "iommus", "#iommu-cells", 0, &spec))
		return false;
	is_grant = of_device_is_compatible(spec.np, "xen,grant-dma");
	of_node_put(spec.np);
	if (!is_grant)
		return false;
	if (spec.args_count != 1 || spec.args[0] >= DOMID_FIRST_RESERVED) {
		pr_err("%pOF: cannot tell the backend's domain from \"iommus\"\n",
		       np);
		return false;
	}
	*backend = spec.args[0];
	return true;
}

/*
 * A kernel with CONFIG_XEN_VIRTIO can serve the device by itself.  If it
 * already does, something may be mounted from it.
 */
static bool vgm_is_served(struct device *dev)
{
	return IS_ENABLED(CONFIG_XEN_VIRTIO) && READ_ONCE(dev->driver);
}

static void vgm_claim_free(struct vgm_claim *claim)
{
	of_node_put(claim->np);
	kfree(claim);
}

static int vgm_claim_node(struct platform_device *pdev, domid_t backend)
{
	struct device_node *np = pdev->dev.of_node;
	struct vgm_claim *claim;
	int ret;

	claim = kzalloc(sizeof(*claim), GFP_KERNEL);
	if (!claim)
		return -ENOMEM;
	claim->np = of_node_get(np);
	claim->backend = backend;
	claim->iommus = of_find_property(np, "iommus", NULL);
	ret = vgrant_set_override(pdev, VGM_DRIVER_NAME);
	if (ret)
		goto free_claim;
	ret = of_remove_property(np, claim->iommus);
	if (ret)
		goto clear_override;
	list_add_tail(&claim->list, &vgm_claims);
	return 0;

clear_override:
	vgrant_set_override(pdev, "");
free_claim:
	vgm_claim_free(claim);
	return ret;
}

/* Claims a device if it is for us.  Errors concern that device alone. */
static void vgm_claim(struct platform_device *pdev)
{
	domid_t backend;
	int ret;

	mutex_lock(&vgm_claims_lock);
	if (!pdev->dev.of_node || !vgm_is_wanted(pdev->dev.of_node, &backend))
		goto unlock;
	if (vgm_is_served(&pdev->dev)) {
		dev_info(&pdev->dev, "left to its driver and the grant layer of this kernel\n");
		goto unlock;
	}
	ret = vgm_claim_node(pdev, backend);
	if (ret)
		dev_err(&pdev->dev, "cannot be claimed: error %d\n", ret);
unlock:
	mutex_unlock(&vgm_claims_lock);
}

/* Undoes vgm_claim(), for a device that is bound to no driver. */
static void vgm_unclaim(struct vgm_claim *claim)
{
	struct platform_device *pdev = of_find_device_by_node(claim->np);

	if (vgrant_of_put_back(claim->np, claim->iommus))
		pr_err("%pOF: \"iommus\" is lost\n", claim->np);
	if (pdev) {
		vgrant_set_override(pdev, "");
		put_device(&pdev->dev);
	}
	vgm_claim_free(claim);
}

static int vgm_claim_one(struct device *dev, void *unused)
{
	vgm_claim(to_platform_device(dev));
	return 0;
}

/* Devices that another driver was faster to bind. */
static void vgm_take_over(void)
{
	struct platform_device *pdev;
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	list_for_each_entry(claim, &vgm_claims, list) {
		pdev = of_find_device_by_node(claim->np);
		if (!pdev)
			continue;
		if (pdev->dev.driver) {
			dev_info(&pdev->dev, "taken over from %s\n",
				 pdev->dev.driver->name);
			device_release_driver(&pdev->dev);
		}
		put_device(&pdev->dev);
	}
	mutex_unlock(&vgm_claims_lock);
}

static int vgm_bus_event(struct notifier_block *nb, unsigned long event,
			 void *data)
{
	struct device *dev = data;
	struct vgm_claim *claim;

	switch (event) {
	case BUS_NOTIFY_ADD_DEVICE:
		vgm_claim(to_platform_device(dev));
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		mutex_lock(&vgm_claims_lock);
		claim = dev->of_node ? vgm_claim_find(dev->of_node) : NULL;
		if (claim)
			list_del(&claim->list);
		mutex_unlock(&vgm_claims_lock);
		if (claim) {
			vgrant_of_put_back(claim->np, claim->iommus);
			vgm_claim_free(claim);
		}
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block vgm_bus_notifier = {
	.notifier_call = vgm_bus_event,
};

/* Nothing is bound to our drivers any more. */
static void vgm_unclaim_all(void)
{
	struct vgm_claim *claim, *next;

	bus_unregister_notifier(&platform_bus_type, &vgm_bus_notifier);
	list_for_each_entry_safe(claim, next, &vgm_claims, list)
		vgm_unclaim(claim);
	INIT_LIST_HEAD(&vgm_claims);
}

static int vgm_iommu_probe(struct platform_device *pdev)
{
	return 0;
}

static const struct of_device_id vgm_iommu_match[] = {
	{ .compatible = "xen,grant-dma" },
	{ }
};
MODULE_DEVICE_TABLE(of, vgm_iommu_match);

static struct platform_driver vgm_iommu_driver = {
	.probe = vgm_iommu_probe,
	.driver = {
		.name = "virtio-grant-iommu",
		.of_match_table = vgm_iommu_match,
		.suppress_bind_attrs = true,
	},
};

static int __init vgm_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;

	ret = vgm_accept_types(types);
	if (ret)
		return ret;
	ret = bus_register_notifier(&platform_bus_type, &vgm_bus_notifier);
	if (ret)
		return ret;
	bus_for_each_dev(&platform_bus_type, NULL, NULL, vgm_claim_one);
	ret = platform_driver_register(&vgm_iommu_driver);
	if (ret)
		goto unclaim;
	vgm_take_over();
	ret = platform_driver_register(&vgm_driver);
	if (ret)
		goto unregister_iommu;
	return 0;

unregister_iommu:
	platform_driver_unregister(&vgm_iommu_driver);
unclaim:
	vgm_unclaim_all();
	return ret;
}
module_init(vgm_init);

static void __exit vgm_exit(void)
{
	/* It probes, and what is probed meanwhile may ask for it again. */
	cancel_delayed_work_sync(&vgm_absent_work);
	platform_driver_unregister(&vgm_driver);
	cancel_delayed_work_sync(&vgm_absent_work);
	platform_driver_unregister(&vgm_iommu_driver);
	vgm_unclaim_all();
}
module_exit(vgm_exit);

MODULE_DESCRIPTION("virtio over memory-mapped registers and Xen grants");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
