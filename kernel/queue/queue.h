/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue.h - a virtio device of a backend that sees granted pages only: its
 * queues, and its life.  Whatever carries it, a transport, is a table of
 * functions (struct vgrant_transport): nothing here knows of a register.
 *
 * queue.c has queues come and go; track.c knows which buffers are in them;
 * channel.c has their events; status.c features and status; fail.c gives back
 * what a backend that is gone never answered; watch.c looks whether it is; life.c
 * has the device come back, sleep and leave.
 *
 * Who is not trusted: the backend, and whoever answers for it.  Waits are
 * bounded, and what it wrote is checked before use.
 */
#ifndef VIRTIO_GRANT_QUEUE_H
#define VIRTIO_GRANT_QUEUE_H

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <xen/interface/xen.h>
#include <xen/interface/event_channel.h>

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

/* What a transport's answer is when nobody gives one. */
#define VGRANT_NOBODY		U32_MAX
/* Rings are at most this large, whatever the device would accept. */
#define VGRANT_QUEUE_SIZE_MAX	1024
/*
 * Of the used ring, as in Linux's own driver, but not for larger pages: the
 * device does not ask for it, and the largest ring would be over 64 KiB.
 */
#define VGRANT_RING_ALIGN	VIRTIO_GRANT_PAGE_BYTES
/* Segments of a request that are for the request itself and its status. */
#define VGRANT_SEGS_EXTRA	2
/* The device may be relayed to another domain, and that may be busy. */
#define VGRANT_RESET_MS		2000
/* How often to see whether a device that failed for its silence answers again. */
#define VGRANT_COME_BACK_S	2U
/*
 * The same, of a device that did, and was silent again before it worked; and of one
 * whose driver's probe came to nothing: twice as long each time, up to 8 minutes.
 */
#define VGRANT_COME_BACK_AGAIN_S	30U
#define VGRANT_COME_BACK_MAX_S		480U

/* Changes of the configuration in a row, each while it was being read. */
#define VGRANT_CHANGES_MAX	16
/* Device types are numbers below this. */
#define VGRANT_TYPES		128

struct vgrant_device;

/* Those that a guest accepts. */
struct vgrant_types {
	DECLARE_BITMAP(accepted, VGRANT_TYPES);
};

/**
 * struct vgrant_identity - what a device says of itself
 * @device: device type
 * @vendor: vendor
 * @need: what its queues ask of a pool
 * @ring_min: entries of its smallest ring
 */
struct vgrant_identity {
	u32 device;
	u32 vendor;
	struct vgrant_pool_need need;
	unsigned int ring_min;
};

/**
 * struct vgrant_settling - does reading the configuration come to an end?
 * @lock: of the rest
 * @reader: who looked at the generation last
 * @generation: what it was then
 * @changes: so many times in a row it was another one
 */
struct vgrant_settling {
	spinlock_t lock;	/* the rest */
	struct task_struct *reader;
	u32 generation;
	unsigned int changes;
};

/**
 * struct vgrant_waits - how long somebody has waited for what is in the queues
 * @looked: when that was seen, in jiffies; the rest is so many of them
 * @stalled: without progress, up to now
 * @busy: with buffers in the queues
 * @stopping: the guest waits for this as well
 * @is_leaving: it is the driver's leaving that waits, and not its being bound
 */
struct vgrant_waits {
	unsigned long looked;
	unsigned long stalled;
	unsigned long busy;
	unsigned long stopping;
	bool is_leaving;
};

/**
 * struct vgrant_transport - what carries a device
 * @answers: does somebody answer at all?
 * @ask_identity: returns 0; -EAGAIN if nobody answers; -ENODEV if it is not the
 *	device that it was
 * @read_caps: VIRTIO_GRANT_CAP_* of the contract, of a device that is there
 * @read_features: what the device offers; 0 if nobody answers
 * @write_features: what the driver accepts
 * @read_status: the device's Status, or VGRANT_NOBODY
 * @write_status: sets it; 0 begins a reset, which is over when it reads 0
 * @share_range: the device is to keep so many pages from this reference on mapped;
 *	returns VIRTIO_GRANT_RANGE_*
 * @unshare_range: it is to let go of them; likewise, or VGRANT_NOBODY.  May be
 *	called again while it has not
 * @queue_is_ready: returns 0, 1, or -EAGAIN if nobody answers
 * @queue_size_max: entries that the device has for it; 0 or VGRANT_NOBODY if
 *	there is no such queue
 * @queue_enable: tells the device where the ring is, and starts it
 * @set_inflight: the next queue_enable() of this queue is to go on behind this used
 *	index with these heads; 0 or a negative errno.  NULL: there is no going on
 * @queue_stop: stops it alone; returns no if the device does not let go
 * @queue_reset: resets it alone; returns NULL, or what went wrong
 * @set_port: the device is to use this event channel; 0 or a negative errno
 * @clear_port: it is to let go of it; returns no if it does not
 * @notify: there are buffers, of a queue without a channel; from any context
 * @config_read: bytes of the configuration, as a driver gets them; 0, or -EAGAIN
 *	if nobody answers
 * @config_write: the same, written
 * @read_generation: of the configuration; likewise
 * @silences: how many requests nobody has answered so far; NULL: that is not known
 * @callbacks_begin: there are queues: from now on vgrant_callbacks() may be
 *	called; 0 or a negative errno
 * @callbacks_end: it must not any more, and is not running
 * @callbacks_sync: what was running has ended
 *
 * All but @notify may sleep.  Those of queues are called one at a
 * time, under queue_lock.
 */
struct vgrant_transport {
	bool (*answers)(struct vgrant_device *vgd);
	int (*ask_identity)(struct vgrant_device *vgd);
	u32 (*read_caps)(struct vgrant_device *vgd);
	u64 (*read_features)(struct vgrant_device *vgd);
	void (*write_features)(struct vgrant_device *vgd, u64 features);
	u32 (*read_status)(struct vgrant_device *vgd);
	void (*write_status)(struct vgrant_device *vgd, u8 status);
	u32 (*share_range)(struct vgrant_device *vgd, u32 first, u32 pages);
	u32 (*unshare_range)(struct vgrant_device *vgd);
	int (*queue_is_ready)(struct vgrant_device *vgd, unsigned int index);
	u32 (*queue_size_max)(struct vgrant_device *vgd, unsigned int index);
	void (*queue_enable)(struct vgrant_device *vgd, struct virtqueue *vq);
	int (*set_inflight)(struct vgrant_device *vgd, unsigned int index,
			    u16 used_idx, const u16 *heads, unsigned int nr);
	bool (*queue_stop)(struct vgrant_device *vgd, unsigned int index);
	const char *(*queue_reset)(struct vgrant_device *vgd,
				   unsigned int index);
	int (*set_port)(struct vgrant_device *vgd, unsigned int index,
			evtchn_port_t port);
	bool (*clear_port)(struct vgrant_device *vgd, unsigned int index);
	void (*notify)(struct virtqueue *vq);
	int (*config_read)(struct vgrant_device *vgd, unsigned int offset,
			   void *buf, unsigned int len);
	void (*config_write)(struct vgrant_device *vgd, unsigned int offset,
			     const void *buf, unsigned int len);
	int (*read_generation)(struct vgrant_device *vgd, u32 *generation);
	unsigned int (*silences)(struct vgrant_device *vgd);
	int (*callbacks_begin)(struct vgrant_device *vgd);
	void (*callbacks_end)(struct vgrant_device *vgd);
	void (*callbacks_sync)(struct vgrant_device *vgd);
};

/*
 * What we keep of a virtqueue; its priv.  The event channel: irq is 0 without
 * one, then the transport and its interrupt serve.
 *
 * busy has a bit for each buffer (by the number of its first descriptor) that
 * was made available and not used yet, as far as seen: the ring does not tell,
 * and it takes knowing to fail them when the backend is gone.
 */
struct vgrant_queue {
	struct vgrant_device *vgd;
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

struct vgrant_device {
	struct virtio_device vdev;
	struct device *dev;	/* the parent: for messages, and for DMA */
	const struct vgrant_transport *transport;
	struct vgrant_pool *pool;
	domid_t backend;
	struct vgrant_settling settling;
	u32 caps;		/* VIRTIO_GRANT_CAP_*, when its queues were made */
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
	bool is_binding;	/* a driver's probe is under way, or may be */
	bool is_half_bound;	/* it failed during that */
	unsigned long bind_began;	/* in jiffies */
	bool is_going;		/* so are we, or we fall asleep */
	bool is_asleep;		/* between freeze and the end of restore */
	bool is_last_try;	/* ... to wake its driver: with any queues */
	bool has_overslept;	/* its driver did not wake up */
	bool is_announced;	/* the pool, since the last reset */
	bool wants_driver;	/* the probe that come_back_work made failed */
	unsigned int nr_binds;	/* so often */
	unsigned int silent_s;	/* watch_work's: so long, as far as seen */
	struct vgrant_waits waits;	/* watch_work's */
	unsigned int bind_pause_s;	/* before it is bound anew; 0: as usual */
	unsigned int silences;	/* when its setting up began */
	unsigned long queues_began;	/* to be made, or deleted; in jiffies */
	bool is_in_doubt;	/* whether it took what that ended with */
	u8 status;		/* as the driver has written it */
	unsigned int resets;	/* of status */
	unsigned int nr_queues_before;	/* it fell asleep */
	struct completion released;
};

static inline struct vgrant_device *vgrant_dev_of(struct virtio_device *vdev)
{
	return container_of(vdev, struct vgrant_device, vdev);
}

/* Requests that nobody has answered, as far as the transport can tell. */
static inline unsigned int vgrant_silences(struct vgrant_device *vgd)
{
	return vgd->transport->silences ? vgd->transport->silences(vgd) : 0;
}

extern unsigned int vgrant_ms_per_s;

static inline unsigned long vgrant_seconds(unsigned int s)
{
	return msecs_to_jiffies(s * vgrant_ms_per_s);
}

static inline u16 vgrant_used_idx(struct virtqueue *vq)
{
	return virtio16_to_cpu(vq->vdev,
			       READ_ONCE(virtqueue_get_vring(vq)->used->idx));
}

/* track.c */
void vgrant_track(struct virtqueue *vq);
void vgrant_track_anew(struct virtqueue *vq);
irqreturn_t vgrant_callback(int irq, struct virtqueue *vq);
void vgrant_callback_now(struct virtqueue *vq);
bool vgrant_queue_event(int irq, struct virtqueue *vq);
bool vgrant_callbacks(struct vgrant_device *vgd, int irq);
bool vgrant_queue_has_buffers(struct virtqueue *vq);
bool vgrant_queue_is_stalled(struct virtqueue *vq);

/* channel.c */
bool vgrant_uses_events(const struct vgrant_device *vgd);
bool vgrant_notify(struct virtqueue *vq);
void vgrant_channel_open(struct vgrant_queue *q, const char *name);
void vgrant_channel_close(struct vgrant_queue *q);
void vgrant_synchronize_cbs(struct virtio_device *vdev);
void vgrant_spread(struct cpumask *cpus, unsigned int index, unsigned int nr);
int vgrant_route(struct vgrant_queue *q);
int vgrant_set_vq_affinity(struct virtqueue *vq, const struct cpumask *cpus);
const struct cpumask *vgrant_get_vq_affinity(struct virtio_device *vdev,
					     int index);

/* queue.c: what a virtio_config_ops has for queues */
unsigned int vgrant_queue_size(u32 num_max);
int vgrant_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		    struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
		    struct irq_affinity *desc);
void vgrant_del_vqs(struct virtio_device *vdev);
int vgrant_disable_vq_and_reset(struct virtqueue *vq);
int vgrant_enable_vq_after_reset(struct virtqueue *vq);

/* config.c: and for the configuration */
void vgrant_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		unsigned int len);
void vgrant_set(struct virtio_device *vdev, unsigned int offset,
		const void *buf, unsigned int len);
u32 vgrant_generation(struct virtio_device *vdev);
bool vgrant_settles(struct vgrant_settling *s, u32 generation);

/* identify.c */
int vgrant_identify(struct vgrant_device *vgd,
		    const struct vgrant_types *accepted, const char *list,
		    struct vgrant_identity *id);
int vgrant_seg_max_offset(u32 device);

/* types.c */
int vgrant_types_parse(const char *list, struct vgrant_types *types);
bool vgrant_type_is_accepted(const struct vgrant_types *types, u32 type);
const char *vgrant_type_name(u32 type);

/* range.c */
bool vgrant_uses_ranges(const struct vgrant_device *vgd);
void vgrant_announce(struct vgrant_device *vgd);
void vgrant_withdraw(struct vgrant_device *vgd);

/* resume.c */
int vgrant_dev_resume(struct vgrant_device *vgd);

/* status.c: and for features and status */
u64 vgrant_get_features(struct virtio_device *vdev);
int vgrant_finalize_features(struct virtio_device *vdev);
u8 vgrant_status(u8 written, u32 read);
const char *vgrant_status_fault(u8 written, u32 read);
u8 vgrant_get_status(struct virtio_device *vdev);
void vgrant_set_status(struct virtio_device *vdev, u8 status);
u32 vgrant_reset_status(struct vgrant_device *vgd);
void vgrant_reset(struct virtio_device *vdev);

/* fail.c: the device is no more */
void vgrant_dev_fail(struct vgrant_device *vgd, const char *why);
void vgrant_dev_begin_setup(struct vgrant_device *vgd);
void vgrant_dev_fail_setup_locked(struct vgrant_device *vgd, const char *why);
void vgrant_dev_give_up_locked(struct vgrant_device *vgd, const char *why);
void vgrant_dev_give_up(struct vgrant_device *vgd, const char *why);

/* watch.c: is it there? */
extern unsigned int vgrant_wait_s;
extern bool vgrant_kunit_stops;
bool vgrant_guest_goes_down(void);
bool vgrant_guest_stops(void);
bool vgrant_dev_is_gone(struct vgrant_device *vgd);
int vgrant_ask(struct vgrant_device *vgd, const char **why);
void vgrant_dev_check(struct vgrant_device *vgd);
void vgrant_dev_check_unheard(struct vgrant_device *vgd, unsigned int times);
void vgrant_dev_config_changed(struct vgrant_device *vgd);
void vgrant_dev_suspect(struct vgrant_device *vgd);
void vgrant_dev_watch(struct vgrant_device *vgd);
void vgrant_dev_leave(struct vgrant_device *vgd);
void vgrant_buffer_held(void *priv);
void vgrant_fault_work(struct work_struct *work);
void vgrant_watch_work(struct work_struct *work);

/* life.c */
void vgrant_dev_init(struct vgrant_device *vgd, struct device *dev,
		     const struct vgrant_transport *transport, domid_t backend);
int vgrant_dev_make_pool(struct vgrant_device *vgd,
			 const struct vgrant_identity *id);
int vgrant_dev_add(struct vgrant_device *vgd);
void vgrant_dev_discard(struct vgrant_device *vgd);
void vgrant_dev_shutdown(struct vgrant_device *vgd);
int vgrant_dev_register(struct vgrant_device *vgd);
void vgrant_dev_was_silent(struct vgrant_device *vgd);
void vgrant_dev_unregister(struct vgrant_device *vgd);
int vgrant_dev_freeze(struct vgrant_device *vgd);
int vgrant_dev_restore(struct vgrant_device *vgd);
void vgrant_come_back_work(struct work_struct *work);

#endif /* VIRTIO_GRANT_QUEUE_H */
