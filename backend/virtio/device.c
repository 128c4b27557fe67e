// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c - a virtio device between its transport, its queues, guest memory
 * and its type: its operations and its life.  See device.h.
 *
 * Not trusted: the guest.
 *
 * Every operation is over at once, except those that stop something: a reset, a
 * queue's end, the withdrawal of a range are over when no request is under way
 * and nothing is mapped any more, so that the driver may reuse its memory.
 * What is to be mapped is tried again for a while if something is short, and is
 * over then.
 *
 * Threads.  If the driver has several queues enabled when it sets DRIVER_OK,
 * they are run by lanes.  Main thread and lanes share what is changed only
 * between vg_device_freeze() and vg_device_thaw(), and these atomics:
 *
 *	to the lane	is_kicked_from_main	queue_notify, vg_lane_wake()
 *	to all lanes	is_halted		one of them found a bad ring
 *	to the main	is_bad, bad_*		... which; vg_device_wake_main()
 *	thread		stats, events, in_flight	counters, for show
 *
 * A lane that ends requests while wants_drain is set wakes the main thread,
 * which freezes and looks whether that was the last.
 */
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "lib/util.h"
#include "virtio/device_priv.h"

/* So often an operation is tried that its driver may wait for. */
#define AGAINS_MAX		100u

#define BIT64(n)		(UINT64_C(1) << (n))

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
#define INDIRECT_BELOW		512u

static uint64_t core_features(unsigned int queue_size_max)
{
	return REQUIRED_FEATURES | BIT64(VIRTIO_RING_F_EVENT_IDX) |
	       BIT64(VIRTIO_F_RING_RESET) |
	       (queue_size_max < INDIRECT_BELOW ? VG_INDIRECT : 0);
}

static bool has_feature(const struct vg_device *dev, unsigned int bit)
{
	return dev->driver_features & BIT64(bit);
}

bool vg_device_is_live(const struct vg_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->broken &&
	       !dev->is_resetting && !dev->is_stopping && !dev->is_held;
}

bool vg_device_may_configure(const struct vg_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER && !dev->is_resetting &&
	       !dev->is_stopping && !dev->broken;
}

void vg_device_over(struct vg_device *dev, enum vg_op op, unsigned int index,
		    int err)
{
	dev->transport_ops->over(dev->transport, op, index, err);
}

static unsigned int in_flight(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->info.nr_queues; i++)
		n += count_read(dev->queues[i].in_flight);
	return n;
}

unsigned int vg_device_nr_started(const struct vg_device *dev)
{
	unsigned int i, n = in_flight(dev);

	for (i = 0; i < dev->info.nr_queues; i++)
		n -= count_read(dev->queues[i].nr_starting) +
		     count_read(dev->queues[i].nr_left);
	return n;
}

void vg_device_work_later(struct vg_device *dev)
{
	vg_deferred_schedule(dev->work);
}

/* ---- threads ------------------------------------------------------------ */

static void take_bad(struct vg_device *dev);

void vg_device_freeze(struct vg_device *dev)
{
	unsigned int i;

	if (dev->freezes++)
		return;
	for (i = 0; i < dev->nr_threads; i++)
		if (dev->threads[i].lane)
			vg_lane_pause(dev->threads[i].lane);
	/* Before its queue is stopped, and with it what it has to say. */
	if (count_read(dev->is_halted))
		take_bad(dev);
}

void vg_device_thaw(struct vg_device *dev)
{
	bool wants = dev->is_resetting || dev->ranges.closing ||
		     (dev->is_stopping && !dev->is_stopped);
	unsigned int i;

	if (--dev->freezes)
		return;
	for (i = 0; i < dev->info.nr_queues; i++) {
		vg_queue_update(&dev->queues[i]);
		vg_queue_cancel(&dev->queues[i]);
		wants |= dev->queues[i].is_draining;
	}
	dev->wants_drain = wants;
	for (i = 0; i < dev->nr_threads; i++)
		if (dev->threads[i].lane)
			vg_lane_resume(dev->threads[i].lane);
}

void vg_device_wake_main(struct vg_device *dev)
{
	const uint64_t one = 1;

	/* Fails only when it is readable anyway. */
	if (write(dev->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- broken ------------------------------------------------------------- */

static void break_log(struct vg_device *dev, const struct vg_queue *q,
		      enum vg_broken why, enum vg_mem_fault fault,
		      uint64_t value)
{
	char where[32] = "";

	/* A guest can break and reset in a circle: not a line for each. */
	if (!vg_ratelimit_ok(&dev->complaints))
		return;
	if (q)
		snprintf(where, sizeof(where), "queue %u: ", q->index);
	vg_err("%s: %s%s (%s%s%s, 0x%llx)%s%s; the device stops until the driver resets it",
	       dev->label, where, vg_broken_text(why), vg_broken_name(why),
	       fault ? ", " : "", fault ? vg_mem_fault_name(fault) : "",
	       (unsigned long long)value,
	       fault ? ": " : "", fault ? vg_mem_fault_text(fault) : "");
}

void vg_device_break(struct vg_device *dev, const struct vg_queue *q,
		     enum vg_broken why, enum vg_mem_fault fault,
		     uint64_t value)
{
	vg_device_freeze(dev);
	/* Maybe just now, by a lane: the first reason counts. */
	if (dev->broken) {
		vg_device_thaw(dev);
		return;
	}
	dev->broken = why;
	dev->stats.broken = why;
	dev->stats.broken_queue = q ? q->index : VG_NO_QUEUE;
	dev->stats.broken_fault = fault;
	dev->stats.broken_value = value;
	dev->stats.broken_count++;
	break_log(dev, q, why, fault, value);
	/* All of the configuration space changes: see device.h. */
	dev->config_generation++;
	/* 2.1.2: only a driver that has set DRIVER_OK is told. */
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		dev->config_notify_due = true;
		vg_device_work_later(dev);
	}
	vg_device_thaw(dev);
	vg_device_save(dev);
}

static void take_bad(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		/* Partner: queue_break(). */
		if (q->lane && load_acquire(&q->is_bad))
			vg_device_break(dev, q, q->bad_why, q->bad_fault,
					q->bad_value);
	}
}

void vg_device_fail(struct vg_device *dev, enum vg_broken why)
{
	vg_device_break(dev, NULL, why, VG_MEM_OK, 0);
}

/* ---- status, features (virtio 1.3, 2.1, 2.2, 3.1.1) --------------------- */

const struct vg_device_info *vg_device_info(const struct vg_device *dev)
{
	return &dev->info;
}

uint64_t vg_device_features(const struct vg_device *dev)
{
	return dev->driver_features;
}

int vg_device_set_features(struct vg_device *dev, uint64_t features)
{
	if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK || dev->is_resetting)
		return -EBUSY;
	dev->driver_features = features;
	return 0;
}

uint32_t vg_device_status(const struct vg_device *dev)
{
	return dev->status |
	       (dev->broken ? VIRTIO_CONFIG_S_NEEDS_RESET : 0u);
}

static bool features_are_ok(struct vg_device *dev)
{
	uint64_t f = dev->driver_features;
	const char *why = NULL;

	if (f & ~dev->info.features)
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
		       (unsigned long long)dev->info.features);
	return false;
}

int vg_device_set_status(struct vg_device *dev, uint32_t status)
{
	/* 2.1.1: a driver clears no bit but by a reset. */
	uint32_t fresh = status & DRIVER_STATUS_BITS & ~dev->status;
	int err = 0;

	if (dev->is_resetting)
		return -EBUSY;
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK && !features_are_ok(dev))
		fresh &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((dev->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		fresh &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
		err = -EINVAL;
	}
	dev->status |= fresh;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		vg_device_kick_all(dev);
	return err;
}

/* ---- the configuration space (2.5) -------------------------------------- */

static bool is_in_config(const struct vg_device *dev, unsigned int offset,
			 unsigned int len_bytes)
{
	return offset < dev->info.config_bytes &&
	       len_bytes <= dev->info.config_bytes - offset;
}

int vg_device_config_read(struct vg_device *dev, unsigned int offset,
			  void *buf, unsigned int len_bytes)
{
	memset(buf, 0, len_bytes);
	if (!is_in_config(dev, offset, len_bytes))
		return -EINVAL;
	/* See device.h: nobody shall wait for a broken device. */
	if (!dev->broken)
		dev->type->config_read(dev->priv, offset, buf, len_bytes);
	return 0;
}

int vg_device_config_write(struct vg_device *dev, unsigned int offset,
			   const void *buf, unsigned int len_bytes)
{
	if (!is_in_config(dev, offset, len_bytes))
		return -EINVAL;
	/* Broken, too: some devices take last words here (5.3.5). */
	if (dev->is_resetting || !dev->type->config_write)
		return 0;
	vg_device_freeze(dev);
	dev->type->config_write(dev->priv, offset, buf, len_bytes);
	vg_device_thaw(dev);
	return 0;
}

uint32_t vg_device_config_generation(const struct vg_device *dev)
{
	return dev->config_generation;
}

void vg_device_config_changed(struct vg_device *dev)
{
	dev->config_generation++;
	/* 2.1.2: before DRIVER_OK it is not told, but may have read it. */
	dev->config_notify_due = true;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		vg_device_work_later(dev);
	/* One that is killed before the driver is told has a successor. */
	vg_device_save(dev);
}

int vg_device_resized(struct vg_device *dev,
		      const uint64_t change[VG_DEV_WORDS])
{
	int err;

	if (!dev->type->resized)
		return -EOPNOTSUPP;
	vg_device_freeze(dev);
	err = dev->type->resized(dev->priv, change);
	vg_device_thaw(dev);
	return err;
}

/* ---- queues: where they run --------------------------------------------- */

static struct vg_queue *queue_of(const struct vg_device *dev,
				 unsigned int index)
{
	return index < dev->info.nr_queues ? &dev->queues[index] : NULL;
}

/* In the lane's thread: the main thread wants queues looked at. */
static void lane_woken(void *arg)
{
	const struct vg_queue_thread *t = arg;
	unsigned int i;

	for (i = 0; i < t->dev->info.nr_queues; i++) {
		struct vg_queue *q = &t->dev->queues[i];

		if (q->lane != t->lane)
			continue;
		/* Partner: the release in vg_device_queue_notify(). */
		if (__atomic_exchange_n(&q->is_kicked_from_main, false,
					__ATOMIC_ACQUIRE))
			vg_queue_kick(q);
	}
}

/* Frozen.  NULL: the main thread has to do. */
static struct vg_lane *lane_get(struct vg_queue *q)
{
	struct vg_queue_thread *t = &q->dev->threads[q->traits->thread];
	char name[16];
	int err = 0;

	if (!t->lane) {
		snprintf(name, sizeof(name), "vg-queue-%u", q->index);
		err = vg_lane_create(name, lane_woken, t, &t->lane);
	}
	if (err) {
		vg_warn("%s: queue %u: no thread (%s): the main one runs it",
			q->dev->label, q->index, strerror(-err));
		t->lane = NULL;
		return NULL;
	}
	t->nr_queues++;
	return t->lane;
}

static void lane_put(struct vg_queue *q)
{
	struct vg_queue_thread *t;

	if (!q->lane)
		return;		/* and where no queue has one, no threads[] */
	t = &q->dev->threads[q->traits->thread];
	if (--t->nr_queues)
		return;
	vg_lane_destroy(t->lane);
	t->lane = NULL;
}

/* Frozen.  Tells the type what stays mapped. */
static void queue_show_areas(struct vg_queue *q)
{
	struct iovec areas[VG_MEM_RANGES_MAX];
	struct vg_device *dev = q->dev;

	if (!q->loop || !dev->type->queue_areas || !dev->mem->ops->areas)
		return;
	dev->mem->ops->areas(dev->mem, areas);
	dev->type->queue_areas(q->priv, areas);
}

/* Frozen, as whoever adds or removes ranges has it. */
static void areas_change(void *arg)
{
	struct vg_device *dev = arg;
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++)
		queue_show_areas(&dev->queues[i]);
}

/* Frozen.  From here on the queue can be run. */
static void queue_place(struct vg_queue *q, bool own_thread)
{
	struct vg_device *dev = q->dev;

	if (q->loop)
		return;
	if (own_thread && q->traits->thread)
		q->lane = lane_get(q);
	q->loop = q->lane ? vg_lane_loop(q->lane) : dev->loop;
	q->work = vg_deferred_create(q->loop, vg_queue_work, q);
	q->retry = vg_timer_create(q->loop, vg_queue_retry, q);
	q->priv = dev->priv;
	if (dev->type->queue_create)
		q->priv = dev->type->queue_create(dev->priv, q->index, q->loop,
						  q->stats->type);
	queue_show_areas(q);
	if (q->lane)
		dev->host_ops->move_queue(dev->host, q->index, q->loop);
}

/* Frozen, and no request is under way. */
static void queue_unplace(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	if (!q->loop)
		return;
	if (q->lane)
		dev->host_ops->move_queue(dev->host, q->index, dev->loop);
	if (dev->type->queue_destroy)
		dev->type->queue_destroy(q->priv);
	q->priv = NULL;
	vg_timer_destroy(q->retry);
	q->retry = NULL;
	vg_deferred_destroy(q->work);
	q->work = NULL;
	lane_put(q);
	q->lane = NULL;
	q->loop = NULL;
}

static unsigned int nr_ready(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->info.nr_queues; i++)
		n += dev->queues[i].is_ready;
	return n;
}

/* Frozen. */
static void queues_start(struct vg_device *dev)
{
	bool own_threads = dev->may_thread && nr_ready(dev) > 1;
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++) {
		if (!dev->queues[i].is_ready)
			continue;
		queue_place(&dev->queues[i], own_threads);
		vg_queue_kick(&dev->queues[i]);
	}
}

/* Frozen, and no request is under way. */
static void queue_unmap(struct vg_queue *q)
{
	queue_unplace(q);
	vg_vq_unmap(&q->vq);
	vg_queue_show_mem(q);
	q->is_ready = false;
	q->is_enabling = false;
	q->is_draining = false;
	q->is_kicked = false;
	q->is_kicked_from_main = false;
	q->is_stalled = false;
	q->want = 0;
	q->is_completed = false;
	q->is_bad = false;
	q->retries = 0;
	q->undelivered = 0;
	q->untold_bytes = 0;
	vg_poll_reset(&q->poll);
}

/* Not mapped. */
static void queue_forget_resume(struct vg_queue *q)
{
	q->is_resuming = false;
	if (!q->own_log)
		return;
	vg_vq_drop_log(&q->vq);
	free(q->own_log);
	q->own_log = NULL;
}

static void queue_drained(struct vg_queue *q)
{
	queue_unmap(q);
	queue_forget_resume(q);
	vg_device_over(q->dev, VG_OP_QUEUE_STOP, q->index, 0);
}

/* ---- queues: operations ------------------------------------------------- */

int vg_device_queue_config(const struct vg_device *dev, unsigned int queue,
			   struct vg_vq_config *cfg)
{
	const struct vg_queue *q = queue_of(dev, queue);

	if (!q)
		return -ENOENT;
	*cfg = q->cfg;
	return 0;
}

int vg_device_queue_setup(struct vg_device *dev, unsigned int queue,
			  const struct vg_vq_config *cfg)
{
	struct vg_queue *q = queue_of(dev, queue);

	if (!q)
		return -ENOENT;
	if (q->is_ready || q->is_enabling || q->is_draining ||
	    dev->is_resetting)
		return -EBUSY;
	q->cfg = *cfg;
	return 0;
}

unsigned int vg_device_queue_num_max(const struct vg_device *dev,
				     unsigned int queue)
{
	const struct vg_queue *q = queue_of(dev, queue);

	return q ? q->num_max : 0;
}

bool vg_device_queue_is_enabled(const struct vg_device *dev,
				unsigned int queue)
{
	const struct vg_queue *q = queue_of(dev, queue);

	return q && q->is_ready;
}

bool vg_device_queue_is_stopping(const struct vg_device *dev,
				 unsigned int queue)
{
	const struct vg_queue *q = queue_of(dev, queue);

	return q && q->is_draining;
}

int vg_device_queue_stop(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = queue_of(dev, queue);

	if (!q)
		return -ENOENT;
	if (dev->is_resetting)
		return -EBUSY;
	vg_device_freeze(dev);
	q->is_kicked = false;
	q->is_stalled = false;
	if (q->is_enabling)
		vg_device_over(dev, VG_OP_QUEUE_ENABLE, queue, -ECANCELED);
	q->is_enabling = false;
	q->is_draining = (q->is_ready && q->in_flight) || dev->is_held;
	if (!q->is_draining)
		queue_drained(q);
	vg_device_thaw(dev);
	return VG_LATER;
}

/* 0, or the value that makes no sense, with 1. */
static int resume_put(struct vg_queue *q, const struct vg_queue_resume *r,
		      uint64_t *bad)
{
	struct vg_inflight *f = &q->vq.inflight;
	unsigned int i;

	*bad = r->total;
	if (r->total > q->num_max || r->nr > r->total ||
	    r->first > r->total - r->nr)
		return 1;
	if (!r->first)
		vg_inflight_begin(f, r->used_idx, r->total);
	else if (!q->is_resuming ||
		 !vg_inflight_is_begun(f, r->used_idx, r->total))
		return 1;
	for (i = 0; i < r->nr; i++) {
		*bad = r->heads[i];
		if (!vg_inflight_put(f, (uint16_t)(r->first + i), r->heads[i]))
			return 1;
	}
	return 0;
}

int vg_device_queue_resume(struct vg_device *dev, unsigned int queue,
			   const struct vg_queue_resume *r)
{
	struct vg_queue *q = queue_of(dev, queue);
	uint64_t bad;

	if (!q)
		return -ENOENT;
	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    !vg_device_may_configure(dev) || q->is_ready || q->is_enabling ||
	    q->is_draining)
		return -EINVAL;
	if (!q->vq.inflight.log) {
		q->own_log = vg_zalloc(sizeof(*q->own_log));
		vg_vq_set_log(&q->vq, q->own_log);
	}
	if (resume_put(q, r, &bad))
		vg_device_break(dev, q, VG_BROKEN_RESUME, VG_MEM_OK, bad);
	q->is_resuming = true;
	return 0;
}

static int queue_map_rings(struct vg_queue *q)
{
	int err;

	if (!q->is_resuming)
		return vg_vq_map(&q->vq, &q->cfg);
	err = vg_vq_resume(&q->vq, &q->cfg, q->traits->drops,
			   q->traits->is_pull);
	/* There it is the driver who says what is not so. */
	if (q->vq.broken == VG_BROKEN_STATE)
		q->vq.broken = VG_BROKEN_RESUME;
	return err;
}

/* The queue's memory.  -EAGAIN: it is short.  Another: the device is broken. */
static int queue_map(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	int err;

	if (q->cfg.num > q->num_max) {
		vg_device_break(dev, q, VG_BROKEN_QUEUE_SIZE, VG_MEM_OK,
				q->cfg.num);
		return -EINVAL;
	}
	err = vg_queue_requests_create(q);
	if (!err)
		err = queue_map_rings(q);
	if (q->mem->wants_room)
		vg_queue_ask_room(q);
	if (err && err != -EAGAIN)
		vg_device_break(dev, q, q->vq.broken, q->vq.fault,
				q->vq.bad_value);
	return err;
}

/* Frozen.  As queue_map(). */
static int queue_enable(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	int err = queue_map(q);

	if (err)
		return err;
	q->is_ready = true;
	q->is_resuming = false;
	/*
	 * Before anything is taken from it: its log is empty now, or says what
	 * the driver did.
	 */
	vg_device_save(dev);
	vg_queue_show_mem(q);
	if (vg_device_is_live(dev)) {
		queue_place(q, dev->may_thread && nr_ready(dev) > 1);
		vg_queue_kick(q);
	}
	return 0;
}

int vg_device_queue_enable(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = queue_of(dev, queue);

	if (!q)
		return -ENOENT;
	if (q->is_ready || q->is_enabling || q->is_draining || dev->broken ||
	    dev->is_resetting || dev->is_stopping ||
	    !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EINVAL;
	vg_device_freeze(dev);
	q->cfg.event_idx = has_feature(dev, VIRTIO_RING_F_EVENT_IDX);
	q->cfg.indirect = has_feature(dev, VIRTIO_RING_F_INDIRECT_DESC);
	q->is_enabling = queue_enable(q) == -EAGAIN;
	if (q->is_enabling)
		vg_device_again_later(dev);
	vg_device_thaw(dev);
	return q->is_enabling ? VG_LATER : 0;
}

/* Frozen.  What has come between is the answer, too. */
static void queue_enable_again(struct vg_queue *q, bool is_last)
{
	struct vg_device *dev = q->dev;
	int err = 0;

	if (!dev->broken && !dev->is_resetting && !dev->is_stopping)
		err = queue_enable(q);
	if (err == -EAGAIN && !is_last)
		return;
	if (err == -EAGAIN)
		vg_device_break(dev, q, VG_BROKEN_SHORTAGE, VG_MEM_OK, 0);
	q->is_enabling = false;
	vg_device_over(dev, VG_OP_QUEUE_ENABLE, q->index, 0);
}

void vg_device_again_later(struct vg_device *dev)
{
	if (vg_timer_is_armed(dev->again))
		return;
	dev->agains = 0;
	vg_timer_arm(dev->again, VG_RETRY_NS);
}

/* Something was short for operations: once more, for a while. */
static void again_due(void *arg)
{
	struct vg_device *dev = arg;
	bool is_last = ++dev->agains >= AGAINS_MAX;
	bool is_more = false;
	unsigned int i;

	vg_device_make_room(dev);
	vg_device_freeze(dev);
	for (i = 0; i < dev->info.nr_queues; i++) {
		if (dev->queues[i].is_enabling)
			queue_enable_again(&dev->queues[i], is_last);
		is_more |= dev->queues[i].is_enabling;
	}
	vg_ranges_again(dev, is_last);
	if (is_more || dev->ranges.announcing)
		vg_timer_arm(dev->again, VG_RETRY_NS);
	vg_device_thaw(dev);
}

void vg_queue_unbind(struct vg_queue *q)
{
	if (q->is_bound)
		q->dev->host_ops->unbind_queue(q->dev->host, q->index);
	q->is_bound = false;
}

int vg_device_queue_bind(struct vg_device *dev, unsigned int queue,
			 uint32_t channel)
{
	struct vg_queue *q = queue_of(dev, queue);
	int err = 0;

	if (!q)
		return -ENOENT;
	if (!dev->info.has_channels || !vg_device_may_configure(dev))
		return -EINVAL;
	vg_device_freeze(dev);
	vg_queue_unbind(q);
	if (channel) {
		err = dev->host_ops->bind_queue(dev->host, queue, channel);
		if (err)
			vg_debug("%s: queue %u: channel %u: refused (%d)",
				 dev->label, queue, channel, err);
		q->is_bound = !err;
		q->channel = channel;
		/* An event on the one before may have gone with it. */
		vg_device_queue_notify(dev, queue);
	}
	vg_device_thaw(dev);
	/* Those are ours to say. */
	return err == -EINVAL || err == -ENOENT ? -EREMOTEIO : err;
}

uint32_t vg_device_queue_events(const struct vg_device *dev,
				unsigned int queue)
{
	const struct vg_queue *q = queue_of(dev, queue);

	return q ? count_read(q->events) : 0;
}

void vg_device_queue_notify(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = queue_of(dev, queue);

	dev->stats.notifies++;
	/* Without a loop: of a predecessor; vg_device_resume() comes. */
	if (!q || !q->loop || q->is_draining || !vg_device_is_live(dev)) {
		dev->stats.spurious_notifies++;
	} else if (q->lane && !dev->freezes) {
		store_release(&q->is_kicked_from_main, true);
		vg_lane_wake(q->lane);
	} else {
		vg_queue_kick(q);
	}
}

void vg_device_event(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = &dev->queues[queue];

	count_add(q->stats->events_received, 1);
	count_add(q->stats->notifies, 1);
	count_add(q->events, 1);
	if (!vg_queue_may_take(q)) {
		count_add(q->stats->spurious_notifies, 1);
		return;
	}
	q->is_kicked = true;
	vg_deferred_schedule(q->work);
}

/* ---- notifying the driver, and the main thread's work ------------------- */

void vg_device_notify_driver(struct vg_device *dev, bool is_used)
{
	bool is_config = dev->config_notify_due &&
			 dev->status & VIRTIO_CONFIG_S_DRIVER_OK;
	uint32_t what = 0;

	if (is_used || dev->used_notify_due) {
		dev->used_notify_due = false;
		dev->stats.irqs_used++;
		what |= VG_NOTIFY_USED;
	}
	if (is_config) {
		dev->stats.irqs_config++;
		what |= VG_NOTIFY_CONFIG;
	}
	if (!what)
		return;
	dev->transport_ops->notify(dev->transport, what);
	if (!is_config)
		return;
	dev->config_notify_due = false;
	vg_device_save(dev);
}

void vg_device_make_room(struct vg_device *dev)
{
	if (!__atomic_exchange_n(&dev->wants_room, false, __ATOMIC_RELAXED) ||
	    !dev->mem->ops->make_room)
		return;
	vg_device_freeze(dev);
	dev->mem->ops->make_room(dev->mem);
	vg_device_thaw(dev);
}

static void device_work(void *arg)
{
	struct vg_device *dev = arg;

	vg_device_make_room(dev);
	vg_device_notify_driver(dev, false);
	vg_device_drained(dev);
}

static void on_lanes(void *arg)
{
	struct vg_device *dev = arg;
	uint64_t n;

	if (read(dev->wake_fd, &n, sizeof(n)) != sizeof(n))
		return;
	take_bad(dev);
	vg_device_make_room(dev);
	vg_device_drained(dev);
}

void vg_device_kick_all(struct vg_device *dev)
{
	vg_device_freeze(dev);
	if (vg_device_is_live(dev))
		queues_start(dev);
	/* It broke while there was no driver to tell. */
	if (dev->broken)
		dev->config_notify_due = true;
	vg_device_work_later(dev);
	vg_device_thaw(dev);
}

void vg_device_resume(struct vg_device *dev)
{
	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	dev->used_notify_due = true;
	vg_device_kick_all(dev);
}

/* ---- stopping: reset, device -------------------------------------------- */

void vg_device_unmap_all(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++)
		queue_unmap(&dev->queues[i]);
}

/* Everything that the driver gave us but queues is given back. */
static void withdraw_all(struct vg_device *dev)
{
	unsigned int i;

	vg_ranges_reset(dev);
	for (i = 0; i < dev->info.nr_queues; i++)
		vg_queue_unbind(&dev->queues[i]);
}

void vg_device_forget(struct vg_device *dev)
{
	unsigned int i;

	vg_device_unmap_all(dev);
	withdraw_all(dev);
	dev->status = 0;
	dev->driver_features = 0;
	for (i = 0; i < dev->info.nr_queues; i++) {
		queue_forget_resume(&dev->queues[i]);
		dev->queues[i].cfg = (struct vg_vq_config){ 0 };
	}
	dev->transport_ops->reset(dev->transport);
}

static void reset_finish(struct vg_device *dev)
{
	vg_device_forget(dev);
	if (dev->broken)
		dev->config_generation++;	/* it reads differently again */
	dev->is_resetting = false;
	dev->broken = VG_BROKEN_NOT;
	dev->is_halted = false;
	dev->stats.broken = VG_BROKEN_NOT;
	dev->config_notify_due = false;
	dev->used_notify_due = false;
	if (dev->type->reset)
		dev->type->reset(dev->priv);
	dev->stats.resets++;
	vg_device_over(dev, VG_OP_RESET, 0, 0);
}

static void stop_finish(struct vg_device *dev)
{
	if (dev->is_leaving)
		dev->transport_ops->leave(dev->transport);
	vg_device_unmap_all(dev);
	withdraw_all(dev);
	vg_device_over(dev, VG_OP_RESET, 0, 0);
	dev->is_stopped = true;
	dev->host_ops->stopped(dev->host);
}

void vg_device_drained(struct vg_device *dev)
{
	bool idle;
	unsigned int i;

	if (!dev->wants_drain)
		return;
	/* What is under way is none of ours; who leaves need not know. */
	if (dev->is_held && !dev->is_leaving)
		return;
	vg_device_freeze(dev);
	idle = !in_flight(dev);
	for (i = 0; i < dev->info.nr_queues; i++)
		if (dev->queues[i].is_draining && !dev->queues[i].in_flight)
			queue_drained(&dev->queues[i]);
	vg_ranges_drained(dev);
	if (idle && dev->is_resetting)
		reset_finish(dev);
	if (idle && dev->is_stopping && !dev->is_stopped)
		stop_finish(dev);
	vg_device_thaw(dev);
}

bool vg_device_is_resetting(const struct vg_device *dev)
{
	return dev->is_resetting;
}

int vg_device_reset(struct vg_device *dev)
{
	vg_device_freeze(dev);
	dev->is_resetting = true;
	vg_device_save(dev);
	vg_device_thaw(dev);
	vg_device_drained(dev);
	return VG_LATER;
}

void vg_device_release(struct vg_device *dev)
{
	if (!dev->is_held)
		return;
	vg_device_freeze(dev);
	dev->is_held = false;
	vg_device_thaw(dev);
	vg_device_drained(dev);
	vg_device_resume(dev);
}

void vg_device_leave(struct vg_device *dev)
{
	vg_device_freeze(dev);
	dev->is_leaving = true;
	vg_device_thaw(dev);
	vg_device_stop(dev);
}

bool vg_device_is_leaving(const struct vg_device *dev)
{
	return dev->is_leaving;
}

void vg_device_stop(struct vg_device *dev)
{
	vg_device_freeze(dev);
	dev->is_stopping = true;
	vg_device_thaw(dev);
	vg_device_drained(dev);
}

/* ---- life cycle --------------------------------------------------------- */

static void queues_create(struct vg_device *dev)
{
	unsigned int i;

	dev->queues = vg_calloc(dev->info.nr_queues, sizeof(*dev->queues));
	for (i = 0; i < dev->info.nr_queues; i++)
		vg_queue_init(&dev->queues[i], dev, i);
}

static void queues_destroy(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->info.nr_queues; i++)
		vg_queue_exit(&dev->queues[i]);
	free(dev->queues);
}

const struct vg_queue_traits *vg_device_traits(const struct vg_device *dev,
					       unsigned int queue)
{
	const struct vg_dev_type *type = dev->type;

	return type->traits ? type->traits(dev->priv, queue) : type->all_traits;
}

static unsigned int max_thread(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->info.nr_queues; i++)
		n = max_u(n, vg_device_traits(dev, i)->thread);
	return n;
}

/* For several queues: counters of their own, and a way for them to call. */
static int threads_create(struct vg_device *dev,
			  const struct vg_device_params *params)
{
	unsigned int i;
	int err;

	dev->wake_fd = -1;
	if (dev->info.nr_queues < 2)
		return 0;
	dev->has_own_stats = !params->queue_stats;
	dev->queue_stats = params->queue_stats;
	if (!dev->queue_stats)
		dev->queue_stats = vg_calloc(dev->info.nr_queues,
					     sizeof(*dev->queue_stats));
	memset(dev->queue_stats, 0,
	       dev->info.nr_queues * sizeof(*dev->queue_stats));
	dev->may_thread = params->may_thread && dev->type->has_threads &&
			  dev->mem->ops->view && dev->transport_ops->notify_now;
	if (!dev->may_thread)
		return 0;
	dev->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->wake_fd < 0)
		return -errno;
	err = vg_loop_add_fd(dev->loop, dev->wake_fd, on_lanes, dev,
			     &dev->wake_vfd);
	if (err) {
		close(dev->wake_fd);
		return err;
	}
	dev->nr_threads = max_thread(dev) + 1;
	dev->threads = vg_calloc(dev->nr_threads, sizeof(*dev->threads));
	for (i = 0; i < dev->nr_threads; i++)
		dev->threads[i] = (struct vg_queue_thread){ .dev = dev,
							    .number = i };
	return 0;
}

static void threads_destroy(struct vg_device *dev)
{
	if (dev->wake_vfd) {
		vg_loop_del_fd(dev->loop, dev->wake_vfd);
		close(dev->wake_fd);
	}
	free(dev->threads);
	if (dev->has_own_stats)
		free(dev->queue_stats);
}

static void info_init(struct vg_device *dev, unsigned int queue_size_max)
{
	const struct vg_dev_type *type = dev->type;
	unsigned int i;

	dev->info = (struct vg_device_info){
		.virtio_id = type->virtio_id,
		.features = core_features(queue_size_max) |
			    (type->features ? type->features(dev->priv) : 0),
		.nr_queues = type->nr_queues ? type->nr_queues(dev->priv) : 1,
		.queue_size_max = queue_size_max,
		.config_bytes = type->config_bytes,
		.nr_ranges = dev->mem->ops->range_add ? VG_MEM_RANGES_MAX : 0,
		.has_channels = dev->host_ops->bind_queue,
		.fills_buffers = true,
	};
	for (i = 0; i < dev->info.nr_queues; i++)
		dev->info.fills_buffers &=
			vg_device_traits(dev, i)->fills_buffers;
}

/* What is kept for a successor can be kept whole, or the device is refused. */
static int state_set(struct vg_device *dev, const struct vg_device_params *p)
{
	if (dev->info.nr_queues > VG_STATE_QUEUES_MAX) {
		vg_err("%s: %u queues are more than the %u that there can be",
		       dev->label, dev->info.nr_queues, VG_STATE_QUEUES_MAX);
		return -EINVAL;
	}
	if (!p->state)
		return 0;
	if (p->state_nr_queues != dev->info.nr_queues ||
	    p->queue_size_max > VG_INFLIGHT_HEADS_MAX) {
		vg_err("%s: its state is for %u queues of at most %u, and it has %u of %u",
		       dev->label, p->state_nr_queues, VG_INFLIGHT_HEADS_MAX,
		       dev->info.nr_queues, p->queue_size_max);
		return -EINVAL;
	}
	dev->state = p->state;
	return 0;
}

int vg_device_create(const struct vg_device_params *params,
		     struct vg_mem *mem, struct vg_loop *loop,
		     const struct vg_host_ops *host_ops, void *host,
		     struct vg_device **out)
{
	unsigned int size = params->queue_size_max;
	struct vg_device *dev = vg_zalloc(sizeof(*dev));
	int err;

	dev->label = vg_strdup(params->label);
	dev->type = params->type;
	dev->mem = mem;
	dev->loop = loop;
	dev->transport_ops = params->transport_ops;
	dev->transport = params->transport;
	dev->host_ops = host_ops;
	dev->host = host;
	dev->info.queue_size_max = size;	/* the type may ask */
	dev->hold_fd = params->hold_fd > 0 ? params->hold_fd : -1;
	dev->poll_max_ns = params->poll_max_ns;
	dev->poll_unbound_max_ns = params->poll_unbound_max_ns;
	dev->complaints.burst = 4;
	dev->stats.broken_queue = VG_NO_QUEUE;
	dev->is_held = params->is_held;
	err = dev->type->create(dev, params->parts, &dev->priv);
	if (err)
		goto free_dev;
	err = -EINVAL;
	if (!size || size > VG_VQ_NUM_MAX || size & (size - 1))
		goto destroy_type;
	info_init(dev, size);
	err = state_set(dev, params);
	if (err)
		goto destroy_type;
	err = threads_create(dev, params);
	if (err)
		goto destroy_threads;
	queues_create(dev);
	dev->work = vg_deferred_create(loop, device_work, dev);
	dev->again = vg_timer_create(loop, again_due, dev);
	mem->areas_arg = dev;
	mem->areas_change = areas_change;
	err = vg_device_start(dev, params);
	if (err) {
		vg_device_destroy(dev);
		return err;
	}
	*out = dev;
	return 0;

destroy_threads:
	threads_destroy(dev);
destroy_type:
	dev->type->destroy(dev->priv);
free_dev:
	mem->ops->destroy(mem);
	free(dev->label);
	free(dev);
	return err;
}

void vg_device_destroy(struct vg_device *dev)
{
	if (!dev)
		return;
	vg_deferred_destroy(dev->work);
	vg_timer_destroy(dev->again);
	queues_destroy(dev);
	threads_destroy(dev);
	dev->type->destroy(dev->priv);
	dev->mem->ops->destroy(dev->mem);
	free(dev->label);
	free(dev);
}

/* ---- statistics --------------------------------------------------------- */

void vg_device_count_access(struct vg_device *dev)
{
	dev->stats.accesses++;
}

void vg_device_count_bad(struct vg_device *dev)
{
	dev->stats.bad_accesses++;
}

const struct vg_dev_stats *vg_device_own_stats(struct vg_device *dev)
{
	unsigned int i;

	dev->stats.status = vg_device_status(dev);
	dev->stats.driver_features = dev->driver_features;
	dev->stats.mem = dev->mem->stats;
	if (dev->state) {
		dev->stats.takeovers = dev->state->takeovers;
		dev->stats.redone = 0;
		for (i = 0; i < dev->info.nr_queues; i++)
			dev->stats.redone +=
				count_read(dev->state->queue[i].redone);
	}
	return &dev->stats;
}

const struct vg_dev_stats *vg_device_stats(struct vg_device *dev)
{
	unsigned int i;

	vg_device_own_stats(dev);
	if (!dev->queue_stats)
		return &dev->stats;
	dev->total = dev->stats;
	for (i = 0; i < dev->info.nr_queues; i++)
		vg_dev_stats_add(&dev->total, &dev->queue_stats[i]);
	return &dev->total;
}

/* ---- for the type (dev/type.h) ------------------------------------------ */

const char *vg_device_label(const struct vg_device *dev)
{
	return dev->label;
}

unsigned int vg_device_queue_size_max(const struct vg_device *dev)
{
	return dev->info.queue_size_max;
}

struct vg_loop *vg_device_loop(const struct vg_device *dev)
{
	return dev->loop;
}

uint64_t *vg_device_type_stats(struct vg_device *dev)
{
	return dev->stats.type;
}

int vg_device_hold_fd(const struct vg_device *dev)
{
	return dev->hold_fd;
}

uint64_t *vg_device_told(struct vg_device *dev)
{
	return dev->state ? dev->state->told : NULL;
}

bool vg_device_has_state(const struct vg_device *dev)
{
	return dev->state;
}
