// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * watch.c - is a device's backend there, and does it still run the device?
 *
 * A backend that is gone (nobody answers) is waited for as long as the guest's
 * owner says; then, or when what answers does not run the device any more, the
 * device fails: fail.c.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <linux/time.h>

#include "queue/queue.h"

/* Nobody answers, for longer than a busy machine would explain. */
#define VGRANT_GONE_S		3
/* How often to see whether queues with buffers in them make progress. */
#define VGRANT_WATCH_S		10
/* The same, of a device that was asked and did not answer. */
#define VGRANT_SILENT_S		1
/* So often in a row something may be left unanswered by one who is there. */
#define VGRANT_UNHEARD		2
/*
 * While its driver leaves, so long without progress is the end of it, and so long
 * with some.  That it is over is seen at the next look.
 */
#define VGRANT_LEAVE_STALLED_S	30
#define VGRANT_LEAVE_S		600
/* The same, while its driver is being bound. */
#define VGRANT_BIND_STALLED_S	180
#define VGRANT_BIND_S		600
/* ... and when the guest waits for that, to go down or to fall asleep. */
#define VGRANT_BIND_STOPPING_S	30
/*
 * How long requests wait for a backend that does not answer.  Longer than a
 * driver domain's hiccup, or a restart of its daemons, takes; with what it takes
 * to notice, below the 120 s after which Linux warns of hung tasks, or panics.
 */
#define VGRANT_WAIT_S		90

unsigned int vgrant_wait_s = VGRANT_WAIT_S;
EXPORT_SYMBOL_GPL(vgrant_wait_s);
module_param_named(wait_s, vgrant_wait_s, uint, 0644);
MODULE_PARM_DESC(wait_s,
		 "seconds that requests wait for a backend that does not answer, before they fail (default: 90; 0: for ever)");

/* The KUnit suite has shorter seconds. */
unsigned int vgrant_ms_per_s = MSEC_PER_SEC;
EXPORT_SYMBOL_GPL(vgrant_ms_per_s);

/* The KUnit suite can't have its guest go down. */
bool vgrant_kunit_stops;
EXPORT_SYMBOL_IF_KUNIT(vgrant_kunit_stops);

/* Kernel threads are frozen still when what slept is woken: this one then says more. */
bool vgrant_guest_goes_down(void)
{
	return READ_ONCE(vgrant_kunit_stops) || system_state > SYSTEM_RUNNING;
}

/*
 * Does the guest go down, or fall asleep?  Linux waits for each probe that is under
 * way before it asks any device, for as long as that takes, and Xen's suspending tells
 * nobody.  Kernel threads are being frozen then, of which the first task stands for
 * all.
 */
bool vgrant_guest_stops(void)
{
	return vgrant_guest_goes_down() || freezing(&init_task);
}

/*
 * Does nobody answer, for longer than a busy machine would explain?  The
 * broker gives up sooner, and gives an answer that is late to the next read.
 */
bool vgrant_dev_is_gone(struct vgrant_device *vgd)
{
	unsigned long end = jiffies + vgrant_seconds(VGRANT_GONE_S);

	while (!vgd->transport->answers(vgd)) {
		if (time_after(jiffies, end))
			return true;
		msleep(100);
	}
	return false;
}
EXPORT_SYMBOL_GPL(vgrant_dev_is_gone);

/* Returns 0; -EAGAIN if nobody answers; -EIO if one that is ready is not. */
static int vgrant_ask_queues(struct vgrant_device *vgd)
{
	unsigned int i;
	int ready, ret = 0;

	mutex_lock(&vgd->queue_lock);
	for (i = 0; i < vgd->nr_queues && !ret; i++) {
		if (!vgd->queue[i] || vgd->queue[i]->reset)
			continue;
		ready = vgd->transport->queue_is_ready(vgd, i);
		if (ready <= 0)
			ret = ready ?: -EIO;
	}
	mutex_unlock(&vgd->queue_lock);
	return ret;
}

/*
 * Asks the device how it is: it, and not what we show to the core.
 *
 * Its driver may reset it meanwhile, and begin anew: then what we read means
 * nothing.  Status of ours is lowered before the device's and raised after it,
 * so a running device never shows less.
 *
 * Returns: 0; -EAGAIN if nobody answers; or -EIO, and @why.
 */
int vgrant_ask(struct vgrant_device *vgd, const char **why)
{
	unsigned int resets = READ_ONCE(vgd->resets);
	u8 written = READ_ONCE(vgd->status);
	u32 status;
	int ret;

	*why = "another device has taken its place";
	ret = vgd->transport->ask_identity(vgd);
	if (ret)
		return ret == -ENODEV ? -EIO : ret;
	status = vgd->transport->read_status(vgd);
	if (status == VGRANT_NOBODY)
		return -EAGAIN;
	*why = vgrant_status_fault(written, status);
	if (!*why && written & VIRTIO_CONFIG_S_DRIVER_OK) {
		ret = vgrant_ask_queues(vgd);
		if (ret == -EIO)
			*why = "a queue is not ready any more";
	}
	if (READ_ONCE(vgd->resets) != resets)
		return 0;
	if (!*why && !ret && written & VIRTIO_CONFIG_S_DRIVER_OK)
		WRITE_ONCE(vgd->is_in_doubt, false);
	return *why ? -EIO : ret;
}

/* It answers that it does not run; but one that was not told to, may be told again. */
static void vgrant_judge(struct vgrant_device *vgd, const char *why)
{
	if (READ_ONCE(vgd->is_in_doubt))
		vgrant_dev_give_up(vgd, "no answer to its driver's setting up");
	else
		vgrant_dev_fail(vgd, why);
}

/*
 * Nobody has answered for @silent_s seconds, of them @s since this was said the
 * last time.  The device fails if that is too long.
 *
 * Seconds are counted, and not told by the clock: a guest that stood still with
 * its backend must not find that its time is over.
 */
static void vgrant_is_silent(struct vgrant_device *vgd, unsigned int silent_s,
			     unsigned int s)
{
	unsigned int limit_s = READ_ONCE(vgrant_wait_s);

	/* While nothing is in flight, nothing is lost by trying again later. */
	if (READ_ONCE(vgd->is_leaving) || READ_ONCE(vgd->is_going) ||
	    !(READ_ONCE(vgd->status) & VIRTIO_CONFIG_S_DRIVER_OK)) {
		vgrant_dev_give_up(vgd,
				   "the backend does not answer, and its driver comes or goes");
		return;
	}
	if (silent_s == s && limit_s)
		dev_warn(vgd->dev, "the backend does not answer: waiting for up to %u s\n",
			 limit_s);
	else if (silent_s == s)
		dev_warn(vgd->dev, "the backend does not answer: waiting\n");
	if (limit_s && silent_s >= limit_s)
		vgrant_dev_give_up(vgd, "the backend does not answer");
}

/*
 * Asks the device how it is, and waits until it answers or has failed.  May
 * sleep for as long as the guest's owner wants.
 */
void vgrant_dev_check(struct vgrant_device *vgd)
{
	unsigned long pause = vgrant_seconds(VGRANT_GONE_S);
	unsigned int silent_s = 0;
	const char *why;
	int ret;

	while ((ret = vgrant_ask(vgd, &why)) == -EAGAIN &&
	       !READ_ONCE(vgd->has_failed)) {
		/* One that says who it is, and no more, is as good as none. */
		if (!vgrant_dev_is_gone(vgd))
			schedule_timeout_uninterruptible(pause);
		silent_s += VGRANT_GONE_S;
		vgrant_is_silent(vgd, silent_s, VGRANT_GONE_S);
	}
	if (ret == -EIO)
		vgrant_judge(vgd, why);
}

/* The same for watch_work, which comes again instead of waiting. */
static void vgrant_look(struct vgrant_device *vgd)
{
	unsigned int s = vgd->silent_s ? VGRANT_SILENT_S : VGRANT_GONE_S;
	const char *why;
	int ret = vgrant_ask(vgd, &why);

	if (ret == -EAGAIN && !vgd->silent_s && !vgrant_dev_is_gone(vgd))
		ret = vgrant_ask(vgd, &why);
	if (ret == -EAGAIN) {
		vgd->silent_s += s;
		vgrant_is_silent(vgd, vgd->silent_s, s);
		return;
	}
	if (vgd->silent_s)
		dev_info(vgd->dev, "the backend answers again\n");
	vgd->silent_s = 0;
	if (ret)
		vgrant_judge(vgd, why);
}

/*
 * vgrant_dev_check() for who asked for something else, and was not answered the
 * @times'th time in a row.  One that says how it is, and never that, is as good as
 * none; what was waited for it, counts as a moment without a backend.
 */
void vgrant_dev_check_unheard(struct vgrant_device *vgd, unsigned int times)
{
	vgrant_dev_check(vgd);
	if (times > VGRANT_UNHEARD)
		vgrant_is_silent(vgd, (times - VGRANT_UNHEARD) * VGRANT_GONE_S,
				 VGRANT_GONE_S);
}

void vgrant_buffer_held(void *priv)
{
	struct vgrant_device *vgd = priv;

	WRITE_ONCE(vgd->is_buffer_held, true);
	vgrant_dev_suspect(vgd);
}

/* A configuration change that looked like a failure, or a failure. */
void vgrant_fault_work(struct work_struct *work)
{
	struct vgrant_device *vgd = container_of(work, struct vgrant_device,
						 fault_work);

	if (READ_ONCE(vgd->is_buffer_held)) {
		vgrant_dev_fail(vgd, "the backend keeps a buffer mapped");
		return;
	}
	vgrant_dev_check(vgd);
	if (!READ_ONCE(vgd->has_failed))
		virtio_config_changed(&vgd->vdev);
}

/*
 * The configuration changed, says the device; from its interrupt.  That of one
 * which has failed is nothing to act upon.
 */
void vgrant_dev_config_changed(struct vgrant_device *vgd)
{
	u32 status = vgd->transport->read_status(vgd);

	if (status == VGRANT_NOBODY ||
	    vgrant_status_fault(READ_ONCE(vgd->status), status))
		vgrant_dev_suspect(vgd);
	else
		virtio_config_changed(&vgd->vdev);
}
EXPORT_SYMBOL_GPL(vgrant_dev_config_changed);

/* Something looks as if nobody were there; from any context. */
void vgrant_dev_suspect(struct vgrant_device *vgd)
{
	queue_work(system_long_wq, &vgd->fault_work);
}
EXPORT_SYMBOL_GPL(vgrant_dev_suspect);

/* What a look at the queues shows, of any of them. */
struct vgrant_sight {
	bool has_buffers;
	bool is_stalled;
	bool is_broken;
};

static void vgrant_watch_queue(struct vgrant_device *vgd, struct virtqueue *vq,
			       struct vgrant_sight *sight)
{
	bool is_ready = vgd->status & VIRTIO_CONFIG_S_DRIVER_OK;

	/*
	 * The index of what was used is the backend's word.  The driver takes what
	 * that says, or the ring finds that it is none of its buffers, and breaks.
	 */
	if (is_ready && READ_ONCE(vgd->is_leaving))
		vgrant_callback_now(vq);
	if (vgrant_queue_is_stalled(vq))
		sight->is_stalled = true;
	if (vgrant_queue_has_buffers(vq))
		sight->has_buffers = true;
	if (is_ready && virtqueue_is_broken(vq))
		sight->is_broken = true;
}

static void vgrant_watch_queues(struct vgrant_device *vgd,
				struct vgrant_sight *sight)
{
	unsigned int i;

	memset(sight, 0, sizeof(*sight));
	mutex_lock(&vgd->queue_lock);
	for (i = 0; i < vgd->nr_queues; i++)
		if (vgd->queue[i] && !vgd->queue[i]->reset)
			vgrant_watch_queue(vgd, vgd->queue[i], sight);
	mutex_unlock(&vgd->queue_lock);
}

static void vgrant_wait_begins(struct vgrant_device *vgd, bool is_leaving)
{
	vgd->waits = (struct vgrant_waits) {
		.looked = jiffies,
		.is_leaving = is_leaving,
	};
}

/*
 * Adds the time since the last look, of which there may be several in a row.  A guest
 * that stood still with its backend has lost no more than the time between two.
 */
static void vgrant_wait_goes_on(struct vgrant_device *vgd,
				const struct vgrant_sight *sight)
{
	struct vgrant_waits *waits = &vgd->waits;
	unsigned long now = jiffies;
	unsigned long passed = min(now - waits->looked,
				   vgrant_seconds(VGRANT_WATCH_S));

	waits->looked = now;
	waits->stalled = sight->is_stalled ? waits->stalled + passed : 0;
	if (sight->has_buffers)
		waits->busy += passed;
	if (sight->has_buffers && vgrant_guest_stops())
		waits->stopping += passed;
}

/*
 * A driver that leaves waits for its buffers, and nothing but their coming back
 * ends that: there a backend that answers must do something as well, and be done
 * some day.
 */
static void vgrant_watch_leaving(struct vgrant_device *vgd)
{
	if (vgd->waits.stalled >= vgrant_seconds(VGRANT_LEAVE_STALLED_S))
		vgrant_dev_fail(vgd, "its driver leaves, and the backend does nothing");
	else if (vgd->waits.busy >= vgrant_seconds(VGRANT_LEAVE_S))
		vgrant_dev_fail(vgd, "its driver leaves, and the backend is never done");
}

/*
 * So does a driver's probe (a disk's partitions are read in it), and the guest can
 * neither go down nor sleep while one is under way.
 */
static void vgrant_watch_binding(struct vgrant_device *vgd)
{
	if (vgd->waits.stopping >= vgrant_seconds(VGRANT_BIND_STOPPING_S))
		vgrant_dev_give_up(vgd, "the guest stops, and its driver is not bound yet");
	else if (vgd->waits.stalled >= vgrant_seconds(VGRANT_BIND_STALLED_S))
		vgrant_dev_give_up(vgd, "its driver is being bound, and the backend does nothing");
	else if (vgd->waits.busy >= vgrant_seconds(VGRANT_BIND_S))
		vgrant_dev_give_up(vgd, "its driver is being bound, and the backend is never done");
}

static void vgrant_watch_waiting(struct vgrant_device *vgd,
				 const struct vgrant_sight *sight)
{
	bool is_leaving = READ_ONCE(vgd->is_leaving);

	if (is_leaving != vgd->waits.is_leaving ||
	    (!is_leaving && !READ_ONCE(vgd->is_binding))) {
		vgrant_wait_begins(vgd, is_leaving);
		return;
	}
	vgrant_wait_goes_on(vgd, sight);
	if (is_leaving)
		vgrant_watch_leaving(vgd);
	else
		vgrant_watch_binding(vgd);
}

/*
 * With event channels nobody is ever asked anything, and a backend that died
 * would go unnoticed.  So where buffers wait and none comes back, ask; a
 * backend that is only slow will answer.
 */
void vgrant_watch_work(struct work_struct *work)
{
	struct vgrant_device *vgd = container_of(to_delayed_work(work),
						 struct vgrant_device,
						 watch_work);
	struct vgrant_sight sight;

	if (READ_ONCE(vgd->has_failed))
		return;
	vgrant_watch_queues(vgd, &sight);
	if (sight.is_broken)
		vgrant_dev_fail(vgd, "the backend broke the rules of a ring");
	else if (sight.is_stalled || READ_ONCE(vgd->is_leaving))
		vgrant_look(vgd);
	else
		vgd->silent_s = 0;

	vgrant_watch_waiting(vgd, &sight);
	if (!READ_ONCE(vgd->has_failed) && READ_ONCE(vgd->nr_queues))
		queue_delayed_work(system_long_wq, &vgd->watch_work,
				   vgrant_seconds(vgd->silent_s ?
						  VGRANT_SILENT_S :
						  VGRANT_WATCH_S));
}

/*
 * Its driver is about to let go of the device, for which it waits for what is in
 * the queues.  What the device's owner would wait for is not worth it any more.
 */
void vgrant_dev_leave(struct vgrant_device *vgd)
{
	WRITE_ONCE(vgd->is_leaving, true);
	mod_delayed_work(system_long_wq, &vgd->watch_work, 0);
}
EXPORT_SYMBOL_GPL(vgrant_dev_leave);

/* Its queues are there. */
void vgrant_dev_watch(struct vgrant_device *vgd)
{
	vgd->silent_s = 0;
	vgrant_wait_begins(vgd, READ_ONCE(vgd->is_leaving));
	queue_delayed_work(system_long_wq, &vgd->watch_work,
			   vgrant_seconds(VGRANT_WATCH_S));
}
