/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device.h - a virtio device: what its transport drives (operations, each
 * answered now or later), and what its host, the worker, gives it.  The device
 * types are beyond dev/type.h.
 *
 * Not trusted: the guest, in everything that comes by the transport (features,
 * addresses, queue numbers) and in rings and buffers.
 *
 * A bad ring stops the device, not the worker: `broken` is latched, the status
 * has DEVICE_NEEDS_RESET, the driver is told that the configuration changed,
 * and the reason is named, counted and logged once.  Until the driver resets
 * it, the configuration space of a broken device reads as zeroes: no driver
 * hangs on a device without size.
 *
 * All calls for one device come from its worker's main thread, but for those
 * that say otherwise.  A driver that uses several queues has them run by
 * threads of their own (device_priv.h, lane.h).
 */
#ifndef VG_VIRTIO_DEVICE_H
#define VG_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/type.h"
#include "lib/loop.h"
#include "mem/mem.h"
#include "virtio/broken.h"
#include "virtio/ring.h"
#include "virtio/state.h"
#include "virtio/stats.h"

struct vg_device;

/* ---- towards the transport ---------------------------------------------- */

/* Of an operation: it is not over; vg_transport_ops.over() says when. */
#define VG_LATER	1

/* What was asked for: one operation on one thing (a queue, a range, or 0). */
enum vg_op {
	VG_OP_RESET,
	VG_OP_QUEUE_ENABLE, VG_OP_QUEUE_STOP,
	VG_OP_RANGE_ADD, VG_OP_RANGE_REMOVE,
};

/* Reasons to notify the driver (virtio 1.3, 2.3). */
#define VG_NOTIFY_USED		1u
#define VG_NOTIFY_CONFIG	2u

/*
 * What a device tells its transport.  Nothing here may call back into the
 * device, but to read.
 */
struct vg_transport_ops {
	/* Tells the driver, at the end of this turn at the latest. */
	void (*notify)(void *transport, uint32_t what);
	/* The same from any thread, and at once.  NULL: no such threads. */
	void (*notify_now)(void *transport, uint32_t what);
	/*
	 * An operation that was VG_LATER; maybe from within it.  -ECANCELED:
	 * another one of its kind took its place.
	 */
	void (*over)(void *transport, enum vg_op op, unsigned int index,
		     int err);
	/* The device is as it was at first. */
	void (*reset)(void *transport);
	/*
	 * The transport's own part of the state (VG_STATE_TRANSPORT_BYTES,
	 * zeroed), and what a predecessor wrote there: not trusted; NULL: it
	 * is lost.
	 */
	void (*save)(void *transport, void *state);
	void (*restore)(void *transport, const void *state);
	/*
	 * The device is left to a successor: what is not over now is the
	 * successor's to do, and to answer.
	 */
	void (*leave)(void *transport);
};

/* Does not change. */
struct vg_device_info {
	uint32_t virtio_id;
	uint64_t features;		/* offered */
	unsigned int nr_queues, queue_size_max;	/* of any: some take less */
	size_t config_bytes;
	unsigned int nr_ranges;		/* that can be announced; 0: none */
	bool has_channels;		/* vg_device_queue_bind() works */
	bool fills_buffers;		/* all of its queues: dev/type.h */
};
const struct vg_device_info *vg_device_info(const struct vg_device *dev);

/*
 * The driver's choice.  It counts when it sets FEATURES_OK, and is checked
 * then; -EBUSY: it has, or the device is being reset.
 */
uint64_t vg_device_features(const struct vg_device *dev);
int vg_device_set_features(struct vg_device *dev, uint64_t features);

/*
 * The status (virtio 1.3, 2.1), with DEVICE_NEEDS_RESET.  Setting it adds bits,
 * as far as the device accepts them; -EINVAL: one made no sense, -EBUSY: it is
 * being reset, and nothing was done.
 */
uint32_t vg_device_status(const struct vg_device *dev);
int vg_device_set_status(struct vg_device *dev, uint32_t status);
/*
 * VG_LATER, always: VG_OP_RESET is over when nothing is under way or mapped any
 * more, so that the driver may reuse its memory.
 */
int vg_device_reset(struct vg_device *dev);
bool vg_device_is_resetting(const struct vg_device *dev);

/*
 * Queues; @queue is any number: -ENOENT if there is none.
 *
 * setup: -EBUSY while it is enabled, or being it or stopped.  What makes no
 * sense in it is found when it is enabled.
 * enable: -EINVAL: not now (features not accepted, broken, enabled already).  A
 * queue that can't be enabled breaks the device, and that is 0.  VG_LATER:
 * something is short.
 * stop: VG_LATER until it is idle and unmapped; -EBUSY: the device is being
 * reset, which does the same.
 */
int vg_device_queue_config(const struct vg_device *dev, unsigned int queue,
			   struct vg_vq_config *cfg);
int vg_device_queue_setup(struct vg_device *dev, unsigned int queue,
			  const struct vg_vq_config *cfg);
int vg_device_queue_enable(struct vg_device *dev, unsigned int queue);
int vg_device_queue_stop(struct vg_device *dev, unsigned int queue);
/*
 * A queue that is not enabled yet goes on, once it is, where another backend
 * left it: behind @used_idx @total chains were taken, and are not used; which,
 * in the order in which they are to be executed, is said by one or more calls,
 * @first being how many came before.  A reset or a stop forgets it.  -EINVAL:
 * not now.  What makes no sense breaks the device, at once or when the queue is
 * enabled, and that is 0.
 */
struct vg_queue_resume {
	uint16_t used_idx, total, first, nr;
	const uint16_t *heads;		/* [nr] */
};
int vg_device_queue_resume(struct vg_device *dev, unsigned int queue,
			   const struct vg_queue_resume *r);
/* How many entries it can have; 0: there is no such queue. */
unsigned int vg_device_queue_num_max(const struct vg_device *dev,
				     unsigned int queue);
bool vg_device_queue_is_enabled(const struct vg_device *dev,
				unsigned int queue);
bool vg_device_queue_is_stopping(const struct vg_device *dev,
				 unsigned int queue);
/* The driver says that there is something; one that is not ready is counted. */
void vg_device_queue_notify(struct vg_device *dev, unsigned int queue);
/*
 * A channel of its own for both directions of a queue's notifications, in place
 * of the transport's: as vg_host_ops.bind_queue knows it; 0: none any more.
 * -EINVAL: not now.
 */
int vg_device_queue_bind(struct vg_device *dev, unsigned int queue,
			 uint32_t channel);
/* Notifications that came that way; 0 if there is no such queue. */
uint32_t vg_device_queue_events(const struct vg_device *dev,
				unsigned int queue);

/*
 * Ranges of memory that the driver promises to keep reachable (mem.h).  @index
 * below info.nr_ranges, else -ENOENT.  -EPERM: not now.
 * add: as range_add of mem.h; VG_LATER in place of -EAGAIN, while it is tried.
 * remove: 0; -EBUSY: a ring is in it; VG_LATER: until no request uses it.
 */
int vg_device_range_add(struct vg_device *dev, unsigned int index,
			uint64_t addr, uint64_t len_bytes);
int vg_device_range_remove(struct vg_device *dev, unsigned int index);

/*
 * The configuration space; -EINVAL: not inside of it.  All zeroes while the
 * device is broken; nothing is written while it is being reset.
 */
int vg_device_config_read(struct vg_device *dev, unsigned int offset,
			  void *buf, unsigned int len_bytes);
int vg_device_config_write(struct vg_device *dev, unsigned int offset,
			   const void *buf, unsigned int len_bytes);
uint32_t vg_device_config_generation(const struct vg_device *dev);

/*
 * For the statistics: the driver asked for something, or for what is no sense.
 */
void vg_device_count_access(struct vg_device *dev);
void vg_device_count_bad(struct vg_device *dev);
/* Whether there is a successor to save for: then vg_device_save() does. */
bool vg_device_has_state(const struct vg_device *dev);

/* ---- towards the worker ------------------------------------------------- */

struct vg_host_ops {
	/*
	 * A channel for one queue, in place of the transport's notifications;
	 * all NULL where there is no such thing.  After bind_queue, the
	 * guest's events come as vg_device_event(), in @loop's thread after
	 * move_queue(), which may be called at any time.  notify_queue: used
	 * buffers are published, tell the driver; from the thread that runs
	 * the queue.
	 */
	int (*bind_queue)(void *host, unsigned int queue, uint32_t channel);
	void (*unbind_queue)(void *host, unsigned int queue);
	void (*notify_queue)(void *host, unsigned int queue);
	void (*move_queue)(void *host, unsigned int queue,
			   struct vg_loop *loop);
	/*
	 * The main thread has run a queue, perhaps because it looked on and
	 * not because something happened: counters changed.  Or NULL.
	 */
	void (*worked)(void *host);
	/* All requests are done and nothing is mapped: vg_device_stop(). */
	void (*stopped)(void *host);
};

/* Parameters common to all types; strings are for messages. */
struct vg_device_params {
	const char *label;		/* "dom3 virtio_disk/51712" */
	const struct vg_dev_type *type;
	const struct vg_dev_parts *parts;
	const struct vg_transport_ops *transport_ops;
	void *transport;
	unsigned int queue_size_max;	/* a power of two */
	/*
	 * How long a queue may be looked at after its last buffer, before we
	 * ask to be notified and sleep; 0: not at all.  The time adapts below
	 * this bound to how soon buffers really come.
	 */
	uint64_t poll_max_ns;
	/*
	 * The same for a queue without a channel of its own, if that is more:
	 * its driver may have to wait while it notifies.
	 */
	uint64_t poll_unbound_max_ns;
	/*
	 * Several queues in use get threads.  Wants notify_now, move_queue, and
	 * memory that has views.
	 */
	bool may_thread;
	/* One per queue, if there are several: theirs to write; or NULL. */
	struct vg_dev_stats *queue_stats;
	/*
	 * What outlives this process, kept up to date from now on; NULL: such
	 * a thing is not kept.  It must outlive the device, and be for as many
	 * queues as the device has: else -EINVAL, as for one with more than a
	 * state can have, or with queues that are larger.
	 */
	struct vg_state *state;
	unsigned int state_nr_queues;
	int hold_fd;			/* vg_device_hold_fd(); 0 or -1: none */
	/*
	 * VG_START_NEW: nobody has used the device.  VG_START_TAKE_OVER: goes
	 * on where the writer of @state was killed; if that is not possible, as
	 * needing reset; and if it is not possible just now, vg_device_create()
	 * fails, and @state is left as it was.  VG_START_RESET: starts as
	 * needing reset, because of start_broken.
	 */
	enum vg_start {
		VG_START_NEW,
		VG_START_TAKE_OVER,
		VG_START_RESET
	} start;
	unsigned int start_broken;	/* enum vg_broken */
	/*
	 * I/O of a predecessor is under way: until vg_device_release() the
	 * transport is served, no request is, and what waits for requests to
	 * end waits for that as well.
	 */
	bool is_held;
};

/*
 * @mem, and what @params->parts hands over, become the device's, also when this
 * fails.  What the device waits for is in @loop.
 */
int vg_device_create(const struct vg_device_params *params,
		     struct vg_mem *mem, struct vg_loop *loop,
		     const struct vg_host_ops *host_ops, void *host,
		     struct vg_device **out);

/*
 * As vg_device_queue_notify(), over the channel that bind_queue() made for
 * @queue; in the thread of the loop that move_queue() named last, the main
 * thread before.
 */
void vg_device_event(struct vg_device *dev, unsigned int queue);

/*
 * Notifications may have been lost (who forwards them was replaced): looks at
 * every enabled queue, and tells the driver of used buffers if any ever was.
 */
void vg_device_resume(struct vg_device *dev);

/* Started with is_held: the predecessor's I/O is over. */
void vg_device_release(struct vg_device *dev);

/* What its resource has become: resized() of dev/type.h; else -EOPNOTSUPP. */
int vg_device_resized(struct vg_device *dev,
		      const uint64_t change[VG_DEV_WORDS]);

/*
 * As vg_device_stop(), but for a successor: what the guest set up stays as it
 * is in the state, and so do requests that nobody has taken.
 */
void vg_device_leave(struct vg_device *dev);
/* It was: what is done from now on, the successor does not know. */
bool vg_device_is_leaving(const struct vg_device *dev);

/*
 * No new request is taken; host_ops->stopped is called, maybe from within,
 * when those under way are finished and everything is unmapped.
 */
void vg_device_stop(struct vg_device *dev);
void vg_device_destroy(struct vg_device *dev);	/* only once stopped */

/* All of the device's, brought up to date by the call. */
const struct vg_dev_stats *vg_device_stats(struct vg_device *dev);
/* Without its queues', if they have some of their own (queue_stats). */
const struct vg_dev_stats *vg_device_own_stats(struct vg_device *dev);

/*
 * Around changes of what the host's functions use that are not called by the
 * main thread alone: no queue runs in between.
 */
void vg_device_freeze(struct vg_device *dev);
void vg_device_thaw(struct vg_device *dev);

#endif
