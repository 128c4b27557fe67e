/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_priv.h - what device.c (requests, queues, life cycle) and mmio.c
 * (registers) share.  Nothing else includes it.
 */
#ifndef VG_DEVICE_PRIV_H
#define VG_DEVICE_PRIV_H

#include "lib/lane.h"
#include "virtio/device.h"
#include "virtio/poll.h"
#include "virtio/ring.h"
#include "virtio/state.h"

struct vg_queue;

/* A request with what the core needs to finish it. */
struct vg_slot {
	struct vg_req req;
	struct vg_slot *next;		/* free, or on one of the lists below */
	struct vg_queue *queue;
	struct vg_mem_req *mreq;
	uint32_t used_bytes;		/* while it is ending */
	uint16_t head;
};

/* In the order in which they came. */
struct vg_slots {
	struct vg_slot *first, **tail;
};

/*
 * A queue is run either in the main thread or, if the driver uses several, by
 * a thread of its own: its lane.  What is below "run" belongs to whoever runs
 * it; the main thread touches it only while the device is frozen.  Registers
 * and the life cycle are the main thread's.
 */
struct vg_queue {
	struct vg_device *dev;
	unsigned int index;
	struct vg_vq vq;
	struct vg_mem *mem;		/* the device's, or a view of it */
	struct vg_dev_stats *stats;	/* one writer: who runs it */

	/* registers; only change while !is_ready */
	struct vg_vq_config cfg;
	bool is_ready;			/* QueueReady */
	bool is_enabling;		/* ... = 1 was written, and something was
					 * short: again_due() */
	bool is_draining;		/* QueueReady = 0 or QueueReset = 1 was
					 * written and requests are under way */

	uint32_t port_state;		/* VIRTIO_GRANT_QUEUE_* */
	uint32_t port;			/* the guest's, if BOUND */
	uint32_t events;		/* that came over its channel */

	/* from DRIVER_OK to the end of the queue; NULL before and after */
	struct vg_loop *loop;
	struct vg_lane *lane;		/* NULL: the main thread */
	void *priv;			/* of the type */
	struct vg_deferred *work;
	struct vg_timer *retry;		/* memory was short: see retry_later() */

	/* set by the main thread, frozen: vg_device_thaw() */
	bool may_take;			/* from the available ring */
	bool may_show;			/* in the used ring */
	bool is_ending;			/* requests, now: vg_req_is_ending() */

	/* between the threads: atomic */
	bool is_kicked_from_main;
	bool is_bad;			/* ... and this is why: */
	enum vg_broken bad_why;
	enum vg_mem_fault bad_fault;
	uint64_t bad_value;

	/* run */
	bool is_working;		/* inside of the work of a turn */
	bool is_completed;		/* a request was, since that last began */
	unsigned int retries;		/* in a row: to take, to deliver */
	unsigned int undelivered;

	struct vg_poll poll;
	uint64_t untold_bytes;		/* of requests done, driver not told */

	bool is_kicked;			/* the ring wants to be looked at */
	bool is_stalled;		/* ... once there is memory again */
	unsigned int in_flight;
	/* Between two exchanges of memory (mem.h), in flight as well: */
	struct vg_slots starting;	/* taken; the type knows nothing yet */
	struct vg_slots ending;		/* completed, not yet in the used ring */
	unsigned int nr_starting;
	unsigned int nr_left;		/* of ending: memory was short */
	struct vg_slot *free_slots;
	void *slot_memory;		/* for queue_size_max requests */
};

/* What the answer to an access waits for. */
enum vg_wait {
	VG_WAIT_NOT,
	VG_WAIT_DEVICE,			/* until all is idle */
	VG_WAIT_QUEUE,			/* until one queue is */
	VG_WAIT_RANGES,			/* until those withdrawn are */
	VG_WAIT_AGAIN,			/* until what was short is there, for
					 * this queue or, NULL, the ranges */
};

/* The access of one vCPU: it has one at a time. */
struct vg_waiter {
	enum vg_wait wait;
	uint32_t seq;
	struct vg_queue *queue;
};

struct vg_ext_range {
	uint32_t first, pages;		/* references */
};

/* Registers of the extension: ext.c. */
struct vg_ext {
	uint32_t range_sel, range_first, range_pages;
	uint32_t range_state[VG_MEM_RANGES_MAX];	/* VIRTIO_GRANT_RANGE_* */
	struct vg_ext_range held[VG_MEM_RANGES_MAX];
	struct vg_ext_range wanted[VG_MEM_RANGES_MAX];	/* while announcing */
	uint32_t closing;		/* bit per range: requests use it */
	uint32_t announcing;		/* ...: something was short */
};

struct vg_device {
	char *label;
	const struct vg_dev_type *type;
	void *priv;			/* of the type */
	struct vg_mem *mem;
	struct vg_loop *loop;
	const struct vg_host_ops *host_ops;
	void *host;
	struct vg_dev_stats stats;

	unsigned int queue_size_max;
	uint64_t poll_max_ns, poll_mmio_max_ns;
	unsigned int nr_queues;
	struct vg_queue *queues;

	/* registers */
	uint64_t offered, driver_features;
	uint32_t offered_sel, driver_sel, queue_sel;
	uint32_t status;		/* as driver and device set it */
	uint32_t config_generation;
	struct vg_ext ext;

	enum vg_broken broken;
	bool is_resetting;		/* Status = 0 written, not yet idle */
	bool is_stopping, is_stopped;
	bool is_held;			/* vg_device_params */
	struct vg_waiter waiters[VG_STATE_VCPUS_MAX];
	struct vg_timer *again;		/* registers' writes that were short of
					 * something; how often: */
	unsigned int agains;

	struct vg_deferred *work;	/* interrupts; the end of waiting */
	bool config_irq_due, used_irq_due;

	/* lanes */
	bool may_thread;
	unsigned int freezes;		/* they nest */
	bool wants_drain;		/* set frozen: somebody waits for
					 * requests to end */
	bool is_halted;			/* atomic: a queue is bad, all stop */
	bool wants_room;		/* atomic: mem.h */
	int wake_fd;			/* lanes want the main thread; -1: no
					 * lanes */
	struct vg_fd *wake_vfd;
	struct vg_dev_stats *queue_stats;	/* NULL: one queue */
	bool has_own_stats;
	struct vg_dev_stats total;

	struct vg_state *state;		/* NULL: none */
	struct vg_state_regs regs;	/* as last written there */
	bool is_leaving;		/* it is the successor's now */
	struct vg_ratelimit complaints;	/* about what the driver can repeat */
};

/* ---- mmio.c ---------------------------------------------------------------- */

/* The offered features that do not depend on the type. */
uint64_t vg_mmio_core_features(unsigned int queue_size_max);
/* Not always offered, but always understood. */
#define VG_MMIO_INDIRECT	(UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

/* Registers back to what they are after a reset. */
void vg_mmio_reset(struct vg_device *dev);

/* ---- device.c, for mmio.c -------------------------------------------------- */

void vg_device_reply(struct vg_device *dev, const struct vg_reg_access *acc,
		     uint32_t data);

/*
 * In between no queue is run by another thread, and whatever of the device
 * they use may be changed.
 */
void vg_device_freeze(struct vg_device *dev);
void vg_device_thaw(struct vg_device *dev);

/* For the main thread.  May the queues be used: DRIVER_OK, not broken, not being reset or stopped? */
bool vg_device_is_live(const struct vg_device *dev);

void vg_device_break(struct vg_device *dev, const struct vg_queue *q,
		     enum vg_broken why, enum vg_mem_fault fault,
		     uint64_t value);

/*
 * QueueReady = 1, as q->cfg says.  On failure the device is broken.  True: @acc
 * is answered later.
 */
bool vg_queue_enable(struct vg_queue *q, const struct vg_reg_access *acc);
/* QueueReady = 0; answers @acc when the queue is idle and unmapped. */
void vg_queue_disable(struct vg_queue *q, const struct vg_reg_access *acc);

/* Status = 0; answers @acc when everything is idle and unmapped. */
void vg_device_reset(struct vg_device *dev, const struct vg_reg_access *acc);
/* Answers @acc when the reset that is going on is over. */
void vg_device_wait_reset(struct vg_device *dev,
			  const struct vg_reg_access *acc);
/* DRIVER_OK was set: look at every queue. */
void vg_device_kick_all(struct vg_device *dev);

/*
 * For ext.c: @acc is answered by vg_device_answer_ranges() with the same @wait,
 * VG_WAIT_RANGES or VG_WAIT_AGAIN; for the latter vg_ext_again() is called.
 */
void vg_device_wait_range(struct vg_device *dev,
			  const struct vg_reg_access *acc, enum vg_wait wait);
void vg_device_answer_ranges(struct vg_device *dev, enum vg_wait wait);
/* The vCPU of @acc waits for nothing else any more. */
void vg_device_forget_waiter(struct vg_device *dev,
			     const struct vg_reg_access *acc);

/* A predecessor carried out this write; *data is what it answers. */
bool vg_device_was_answered(struct vg_device *dev,
			    const struct vg_reg_access *acc, uint32_t *data);
/* Writes the registers into the state, if there is one. */
void vg_device_save(struct vg_device *dev);

#endif
