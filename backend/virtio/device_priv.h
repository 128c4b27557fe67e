/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_priv.h - what the files of a device share: device.c (operations,
 * life), queue.c (requests, the work of a turn), ranges.c (announced memory),
 * restore.c (what outlives us).  Nothing else includes it.
 */
#ifndef VG_VIRTIO_DEVICE_PRIV_H
#define VG_VIRTIO_DEVICE_PRIV_H

#include "lib/lane.h"
#include "lib/log.h"
#include "lib/util.h"
#include "virtio/device.h"
#include "virtio/poll.h"

/* When something is short: so often a request is tried, or its result. */
#define VG_RETRY_NS		(10u * 1000u * 1000u)

struct vg_queue;

/* A request with what the core needs to finish it. */
struct vg_request {
	struct vg_req req;
	struct vg_request *next;	/* free, or on one of the lists below */
	struct vg_queue *queue;
	struct vg_mem_req *mreq;
	uint32_t used_bytes;		/* while it is ending */
	uint16_t head;
};

/* In the order in which they came. */
struct vg_requests {
	struct vg_request *first, **tail;
};

/*
 * A queue is run either in the main thread or, if the driver uses several, by a
 * thread: its lane, which it may share.  What is below "run" belongs to whoever
 * runs it; the main thread touches it only while the device is frozen.
 * Operations and the life cycle are the main thread's.
 */
struct vg_queue {
	struct vg_device *dev;
	unsigned int index;
	struct vg_vq vq;
	struct vg_mem *mem;		/* the device's, or a view of it */
	struct vg_dev_stats *stats;	/* one writer: who runs it */
	const struct vg_queue_traits *traits;
	unsigned int num_max;		/* entries */

	struct vg_vq_config cfg;	/* changes while !is_ready only */
	bool is_ready;			/* enabled */
	bool is_enabling;		/* to be, and something was short:
					 * again_due() */
	bool is_draining;		/* to be stopped, and requests are under
					 * way */
	bool is_resuming;		/* its log says where it is to go on */
	struct vg_queue_log *own_log;	/* for that, without a state */

	bool is_bound;			/* to a channel of its own: */
	uint32_t channel;
	uint32_t events;		/* that came over it */

	/* from DRIVER_OK to the end of the queue; NULL before and after */
	struct vg_loop *loop;
	struct vg_lane *lane;		/* NULL: the main thread */
	void *priv;			/* of the type */
	struct vg_deferred *work;
	struct vg_timer *retry; /* memory was short: see retry_later() */

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
	bool is_completed; /* a request was, since that last began */
	unsigned int retries;		/* in a row: to take, to deliver */
	unsigned int undelivered;

	struct vg_poll poll;
	uint64_t untold_bytes;		/* of requests done, driver not told */

	unsigned int want;		/* is_pull: requests to be started */
	bool is_kicked;			/* the ring wants to be looked at */
	bool is_stalled;		/* ... once there is memory again */
	unsigned int in_flight;
	/* Between two exchanges of memory (mem.h), in flight as well: */
	struct vg_requests starting;	/* taken; the type knows nothing yet */
	struct vg_requests ending; /* completed, not yet in the used ring */
	unsigned int nr_starting;
	unsigned int nr_left;		/* of ending: memory was short */
	struct vg_request *free_requests;
	uint8_t *request_memory;	/* for num_max requests, and of how many
					 * of them something was made */
	unsigned int requests_made;
};

/* A thread, and the queues that it runs: those whose traits have its number. */
struct vg_queue_thread {
	struct vg_device *dev;
	unsigned int number;
	struct vg_lane *lane;		/* NULL: no queue is in it */
	unsigned int nr_queues;
};

struct vg_range {
	uint64_t addr, len_bytes;	/* 0: none */
};

/* Memory that was announced: ranges.c. */
struct vg_ranges {
	struct vg_range held[VG_MEM_RANGES_MAX];
	struct vg_range wanted[VG_MEM_RANGES_MAX];	/* while announcing */
	uint32_t closing;		/* bit per range: requests use it */
	uint32_t announcing;		/* ...: something was short */
};

struct vg_device {
	char *label;
	const struct vg_dev_type *type;
	void *priv;			/* of the type */
	struct vg_mem *mem;
	struct vg_loop *loop;
	const struct vg_transport_ops *transport_ops;
	void *transport;
	const struct vg_host_ops *host_ops;
	void *host;
	struct vg_device_info info;
	struct vg_dev_stats stats;

	uint64_t poll_max_ns, poll_unbound_max_ns;
	struct vg_queue *queues;

	uint64_t driver_features;
	uint32_t status;		/* as driver and device set it */
	uint32_t config_generation;
	struct vg_ranges ranges;

	enum vg_broken broken;
	bool is_resetting; /* a reset was asked for, not yet idle */
	bool is_stopping, is_stopped;
	bool is_held;			/* vg_device_params */
	struct vg_timer *again;		/* operations that were short of
					 * something; how often: */
	unsigned int agains;

	struct vg_deferred *work;	/* notifications; the end of waiting */
	bool config_notify_due, used_notify_due;

	/* lanes */
	bool may_thread;
	struct vg_queue_thread *threads;	/* [nr_threads], by number */
	unsigned int nr_threads;
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
	int hold_fd;
	bool is_leaving;		/* it is the successor's now */
	struct vg_ratelimit complaints;	/* about what the driver can repeat */
};

/* ---- device.c ----------------------------------------------------------- */

/* Offered for all types, and understood although it may not be offered. */
#define VG_INDIRECT	(UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

/* May the queues be used: DRIVER_OK, not broken, not being reset or stopped? */
bool vg_device_is_live(const struct vg_device *dev);
const struct vg_queue_traits *vg_device_traits(const struct vg_device *dev,
					       unsigned int queue);
/* May the driver set something up? */
bool vg_device_may_configure(const struct vg_device *dev);

void vg_device_break(struct vg_device *dev, const struct vg_queue *q,
		     enum vg_broken why, enum vg_mem_fault fault,
		     uint64_t value);
/* Status, features, queues back to what they are after a reset. */
void vg_device_forget(struct vg_device *dev);
/* Everything is unmapped: frozen. */
void vg_device_unmap_all(struct vg_device *dev);
/* Frozen: the channel of @q, if it has one, is given back. */
void vg_queue_unbind(struct vg_queue *q);
/* DRIVER_OK was set, or may have been: look at every queue. */
void vg_device_kick_all(struct vg_device *dev);
/* Finishes whatever waited for requests to end. */
void vg_device_drained(struct vg_device *dev);
/* Operations are tried again a little later. */
void vg_device_again_later(struct vg_device *dev);
/* An operation that was VG_LATER is over. */
void vg_device_over(struct vg_device *dev, enum vg_op op, unsigned int index,
		    int err);
/* A lane wants the main thread to look. */
void vg_device_wake_main(struct vg_device *dev);
void vg_device_work_later(struct vg_device *dev);
/* One notification for all that is due. */
void vg_device_notify_driver(struct vg_device *dev, bool is_used);
/* Ranges give way to what a queue wants, if one does. */
void vg_device_make_room(struct vg_device *dev);
/* Requests that the types have, of all queues: their end returns memory. */
unsigned int vg_device_nr_started(const struct vg_device *dev);

/* ---- queue.c: in the thread that runs the queue, or frozen -------------- */

void vg_queue_init(struct vg_queue *q, struct vg_device *dev,
		   unsigned int index);
void vg_queue_exit(struct vg_queue *q);
static inline bool vg_queue_may_take(const struct vg_queue *q)
{
	return q->may_take && !count_read(q->dev->is_halted);
}
/* Memory for its requests.  0 or -EAGAIN. */
int vg_queue_requests_create(struct vg_queue *q);
/* The work of a turn, a struct vg_queue's. */
void vg_queue_work(void *queue);
/* Memory was short a while ago, a struct vg_queue's. */
void vg_queue_retry(void *queue);
/* It looks at its ring in its next turn. */
void vg_queue_kick(struct vg_queue *q);
/* Frozen: what follows for it from the state of the device. */
void vg_queue_update(struct vg_queue *q);
/* Frozen: waiting requests of a queue that stops are given up. */
void vg_queue_cancel(struct vg_queue *q);
/* Frozen: asks for ranges to give way. */
void vg_queue_ask_room(struct vg_queue *q);
/* Memory is counted by who uses it; shown where others can read it. */
void vg_queue_show_mem(struct vg_queue *q);

/* ---- ranges.c: frozen --------------------------------------------------- */

/* Requests ended: a range that was withdrawn may be free now. */
void vg_ranges_drained(struct vg_device *dev);
/* Something was short when ranges were announced; @is_last: no more tries. */
void vg_ranges_again(struct vg_device *dev, bool is_last);
/* Everything is unmapped but the ranges: withdraws all. */
void vg_ranges_reset(struct vg_device *dev);
void vg_ranges_save(const struct vg_device *dev, struct vg_state_regs *r);
/* 0, or negative errno with part of it done, for vg_ranges_reset(). */
int vg_ranges_restore(struct vg_device *dev, const struct vg_state_regs *r);

/* ---- restore.c ---------------------------------------------------------- */

/* As vg_device_params.start has it. */
int vg_device_start(struct vg_device *dev, const struct vg_device_params *p);

#endif
