/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device.h - a virtio device: the core between the worker (above), the
 * virtqueues and guest memory (below) and the device types (dev/).
 *
 * Not trusted: the guest, in everything it writes (registers, rings,
 * buffers).  The relay's words have been checked by the worker already:
 * offset < 0x200, len 1, 2 or 4, vcpu < nr_vcpus <= VG_STATE_VCPUS_MAX.
 *
 * A bad ring stops the device, not the worker: `broken` is latched, Status
 * reads with DEVICE_NEEDS_RESET, the configuration-change interrupt is
 * raised, and the reason is named, counted and logged once.  Until the driver
 * resets it, the configuration space of a broken device reads as zeroes: no
 * driver hangs on a disk without sectors.
 *
 * All calls for one device come from its worker's main thread, but for those
 * that say otherwise.  A driver that uses several queues has each run by a
 * thread of its own (device_priv.h, lane.h).
 */
#ifndef VG_DEVICE_H
#define VG_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/log.h"
#include "lib/loop.h"
#include "mem/mem.h"

struct vg_device;
struct vg_req;
struct vg_state;
struct vg_state_relay;

/* ---- towards the worker -------------------------------------------------- */

struct vg_reg_access {
	unsigned int vcpu;
	uint32_t seq;		/* of the relay slot */
	uint32_t offset;	/* bytes in the register window */
	uint32_t len_bytes;
	bool is_write;
	uint32_t data;
};

/* What the device asks of its worker. */
struct vg_host_ops {
	/* Answers an access; possibly long after, in any order. */
	void (*reply)(void *host, unsigned int vcpu, uint32_t seq,
		      uint32_t data);
	/* Raises bits of InterruptStatus (virtio 1.3, 4.2.2). */
	void (*raise_irq)(void *host, uint32_t bits);
	/* The same from any thread, and at once.  NULL: no such threads. */
	void (*raise_irq_now)(void *host, uint32_t bits);
	/*
	 * An event channel for one queue, in place of notifications and
	 * interrupts; all NULL where there is no such thing.  After
	 * bind_queue, the guest's events come as vg_device_event(), in
	 * @loop's thread after move_queue(), which may be called at any time.
	 * notify_queue: used buffers are published, tell the driver; from the
	 * thread that runs the queue.
	 */
	int (*bind_queue)(void *host, unsigned int queue, xen_port_t remote);
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

#define VG_IRQ_USED	1u	/* VIRTIO_MMIO_INT_VRING */
#define VG_IRQ_CONFIG	2u	/* VIRTIO_MMIO_INT_CONFIG */

/* Parameters common to all types; strings are for messages. */
struct vg_device_params {
	xen_domid_t guest;
	const char *label;		/* "dom3 virtio_disk/51712" */
	const struct vg_dev_type *type;
	const void *type_params;	/* e.g. struct vg_blk_params */
	unsigned int queue_size_max;	/* QueueNumMax: a power of two */
	/*
	 * How long a queue may be looked at after its last buffer, before we
	 * ask to be notified and sleep; 0: not at all.  The time adapts below
	 * this bound to how soon buffers really come.
	 */
	uint64_t poll_max_ns;
	/*
	 * The same for a queue without an event channel, if that is more: its
	 * driver's notification is a trap, for which the guest's vCPU waits.
	 */
	uint64_t poll_mmio_max_ns;
	/*
	 * Several queues in use get a thread each.  Wants raise_irq_now,
	 * move_queue, and memory that has views.
	 */
	bool may_thread;
	/* One per queue, if there are several: theirs to write; or NULL. */
	struct vg_dev_stats *queue_stats;
	/*
	 * What outlives this process, kept up to date from now on; NULL: such
	 * a thing is not kept.  It must outlive the device.
	 */
	struct vg_state *state;
	/*
	 * VG_START_NEW: nobody has used the device.  VG_START_TAKE_OVER: goes
	 * on where the writer of @state was killed; if that is not possible,
	 * as needing reset; and if it is not possible just now, vg_device_create()
	 * fails, and @state is left as it was.  VG_START_RESET: starts as needing
	 * reset, because of start_broken.
	 */
	enum vg_start { VG_START_NEW, VG_START_TAKE_OVER, VG_START_RESET } start;
	unsigned int start_broken;	/* enum vg_broken */
	/*
	 * I/O of a predecessor is under way: until vg_device_release() the
	 * registers are served, no request is, and what waits for requests to
	 * end waits for that as well.
	 */
	bool is_held;
};

/*
 * @mem, and what @params->type_params owns (the image's descriptor), become
 * the device's, also when this fails.  The device's descriptors register in
 * @loop.
 */
int vg_device_create(const struct vg_device_params *params,
		     struct vg_mem *mem, struct vg_loop *loop,
		     const struct vg_host_ops *host_ops, void *host,
		     struct vg_device **out);

/*
 * Every access is answered exactly once through host_ops->reply, unless its vCPU
 * comes with another one meanwhile: then nobody waits for the answer any more.
 */
void vg_device_access(struct vg_device *dev, const struct vg_reg_access *acc);

/* QueueNotify; a queue that does not exist or is not ready is counted. */
void vg_device_notify(struct vg_device *dev, unsigned int queue);

/*
 * The same, over the event channel that bind_queue() made for @queue; in the
 * thread of the loop that move_queue() named last, the main thread before.
 */
void vg_device_event(struct vg_device *dev, unsigned int queue);

/*
 * Notifications may have been lost (another broker): looks at every ready
 * queue, and raises the used-buffer interrupt if any was ever ready.
 */
void vg_device_resume(struct vg_device *dev);

/* Started with is_held: the predecessor's I/O is over. */
void vg_device_release(struct vg_device *dev);

/*
 * Accesses come over this relay from now on: those over another one, answered
 * or not, will not come again, and are not answered.
 */
void vg_device_set_relay(struct vg_device *dev,
			 const struct vg_state_relay *relay);

/*
 * As vg_device_stop(), but for a successor: what the guest set up stays as it
 * is in the state, and so do requests that nobody has taken.
 */
void vg_device_leave(struct vg_device *dev);

/*
 * No new request is taken; host_ops->stopped is called, maybe from within,
 * when those under way are finished and everything is unmapped.
 */
void vg_device_stop(struct vg_device *dev);
void vg_device_destroy(struct vg_device *dev);	/* only once stopped */

/*
 * Statistics: fixed-size, for shared memory that the supervisor reads without
 * trusting it.  Counters only grow, until reset of the worker.
 */
enum vg_broken {
	VG_BROKEN_NOT = 0,
	VG_BROKEN_AVAIL_INDEX,		/* more new buffers than the queue has */
	VG_BROKEN_HEAD,			/* head index >= queue size */
	VG_BROKEN_NEXT,			/* next >= table size */
	VG_BROKEN_LOOP,			/* chain longer than the table */
	VG_BROKEN_INDIRECT,		/* nested, or with NEXT, or bad length */
	VG_BROKEN_ORDER,		/* readable behind writable */
	VG_BROKEN_TOO_LONG,		/* more segments or bytes than allowed */
	VG_BROKEN_ZERO_LEN,		/* zero-length buffer or chain */
	VG_BROKEN_ADDRESS,		/* see mem.faults for why */
	VG_BROKEN_RING_ADDRESS,		/* ring parts misaligned or not mappable */
	VG_BROKEN_QUEUE_SIZE,		/* 0, no power of two, or too large */
	VG_BROKEN_REQUEST,		/* the device type refused its shape */
	VG_BROKEN_RESTARTED,		/* the worker was restarted */
	VG_BROKEN_UNDER_WAY,		/* a head that is under way already */
	VG_BROKEN_STATE,		/* what a predecessor left makes no sense */
	VG_BROKEN_DEADLY,		/* a request under way at many deaths */
	VG_BROKEN_DEATHS,		/* many deaths, and nothing done between */
	VG_BROKEN_UNDELIVERED,		/* a result did not reach the guest */
	VG_BROKEN_SHORTAGE,		/* something of ours was short for long */
	VG_BROKEN_MAX,
};
const char *vg_broken_name(enum vg_broken why);	/* "avail-index" */
const char *vg_broken_text(enum vg_broken why);	/* for an operator */

#define VG_NO_QUEUE		UINT32_MAX
#define VG_DEV_STATS_NR_TYPE	16	/* counters of the device type */

struct vg_dev_stats {
	uint32_t status;		/* virtio Status register */
	uint32_t broken;		/* enum vg_broken */
	uint32_t broken_queue;		/* where; VG_NO_QUEUE: nowhere */
	uint32_t broken_fault;		/* enum vg_mem_fault, if an address */
	uint64_t broken_value;		/* the offending address, index, ... */
	uint64_t broken_count;		/* times the device broke */
	uint64_t driver_features;
	/* From here on nothing but counters: vg_dev_stats_add(). */
	uint64_t accesses, bad_accesses;	/* bad: width, offset, state */
	uint64_t notifies, spurious_notifies;
	uint64_t irqs_used, irqs_config, irqs_suppressed;
	uint64_t events_sent, events_received;	/* over queues' channels */
	/* before going to sleep; stolen: others wanted the processor */
	uint64_t polls_hit, polls_missed, polls_stolen;
	uint64_t requests, in_flight, batches;
	uint64_t bytes_out, bytes_in;	/* read, written by the device */
	uint64_t resets;
	uint64_t takeovers, redone;	/* of the device, requests; of all time */
	struct vg_mem_stats mem;
	uint64_t type[VG_DEV_STATS_NR_TYPE];	/* names: vg_dev_type */
};
/* All of the device's, brought up to date by the call. */
const struct vg_dev_stats *vg_device_stats(struct vg_device *dev);
/* Without its queues', if they have some of their own (queue_stats). */
const struct vg_dev_stats *vg_device_own_stats(struct vg_device *dev);
/* Adds a queue's counters to its device's. */
void vg_dev_stats_add(struct vg_dev_stats *sum, const struct vg_dev_stats *q);

/*
 * Around changes of what the host's functions use that are not called by the
 * main thread alone: no queue runs in between.
 */
void vg_device_freeze(struct vg_device *dev);
void vg_device_thaw(struct vg_device *dev);

/* ---- towards the device types (dev/) -------------------------------------- */

/*
 * A request: bounded buffers, and nothing of rings or of Xen.  The first
 * nr_out entries of iov[] are read by the device, the rest written.
 */
struct vg_req {
	struct vg_device *dev;
	unsigned int queue;
	struct iovec *iov;
	unsigned int nr_out, nr_in;
	uint64_t out_bytes, in_bytes;
	void *type_priv;	/* type->req_priv_bytes, zeroed */
};

struct vg_dev_type {
	const char *name;		/* "blk" */
	uint32_t virtio_id;		/* VIRTIO_ID_BLOCK */
	unsigned int nr_queues_max;
	size_t req_priv_bytes;
	unsigned int segs_max;		/* most descriptors of a chain */
	/* Every writable byte is written before vg_req_complete(). */
	bool fills_buffers;
	const char *const *stat_names;	/* NULL-terminated, for stats.type[] */

	/* What @params hands over is the type's, also on failure. */
	int (*create)(struct vg_device *dev, const void *params, void **priv);
	void (*destroy)(void *priv);
	uint64_t (*features)(void *priv);	/* device-specific bits */
	unsigned int (*nr_queues)(void *priv);
	/* The driver accepted @features (FEATURES_OK). */
	int (*set_features)(void *priv, uint64_t features);
	/* Configuration space; offset and len are inside @config_bytes. */
	size_t config_bytes;
	void (*config_read)(void *priv, unsigned int offset, void *buf,
			    unsigned int len_bytes);
	void (*config_write)(void *priv, unsigned int offset, const void *buf,
			     unsigned int len_bytes);
	/*
	 * Starts a request; ends, now or later, in vg_req_complete().  A
	 * negative return says that its shape is no request of this type:
	 * the device breaks (VG_BROKEN_REQUEST), and @req is gone.  iov[] is
	 * private and the type's to change; what it points to is shared with
	 * the guest.  @queue: of queue_create(), or @priv.
	 */
	int (*start)(void *queue, struct vg_req *req);
	/* End of a batch of start()s: submit what was gathered. */
	void (*flush_batch)(void *queue);
	/*
	 * What a queue needs of its own, in the thread of @loop, which is the
	 * only one to use it and @stats; no thread runs when these are
	 * called.  NULL: nothing, and @priv may be used by one thread only.
	 */
	void *(*queue_create)(void *priv, struct vg_loop *loop,
			      uint64_t *stats);
	void (*queue_destroy)(void *queue);
	/*
	 * Memory that stays mapped until this is called again: buffers of
	 * requests mostly lie in it.  No thread runs; requests may be under
	 * way, in what stays the same.  May be NULL.
	 */
	void (*queue_areas)(void *queue,
			    const struct iovec areas[VG_MEM_RANGES_MAX]);
	/* Device reset: forget what set_features and config_write set. */
	void (*reset)(void *priv);
	/*
	 * What config_write set, for a successor, which gives it to its own
	 * put_state after set_features.  Not trusted.  Both NULL: nothing.
	 */
	uint64_t (*get_state)(void *priv);
	void (*put_state)(void *priv, uint64_t state);
};

/*
 * @used_bytes: how many bytes were written, from the start of the writable
 * buffers (virtio 1.3, 2.7.8.2).  @req is gone after this.  From the thread
 * that runs the queue.
 */
void vg_req_complete(struct vg_req *req, uint32_t used_bytes);

/*
 * Somebody waits for the requests of its queue to end, so one that would take
 * long ends with an error.  Not when they are left to a successor.  From the
 * thread that runs the queue.
 */
bool vg_req_is_ending(const struct vg_req *req);

unsigned int vg_device_queue_size_max(const struct vg_device *dev);
const char *vg_device_label(const struct vg_device *dev);
/* The configuration space changed: generation + 1, interrupt. */
void vg_device_config_changed(struct vg_device *dev);

#endif
