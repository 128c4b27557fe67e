/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus_priv.h - virtio over messages on the Xen bus: what its files share.
 *
 * front.c finds the devices, through xenbus, and has them come and go; link.c has
 * the page that messages are in; transport.c makes messages of what a virtio device
 * is asked (queue/queue.h).  uapi/virtio_grant_bus.h is the contract.
 */
#ifndef VIRTIO_GRANT_BUS_PRIV_H
#define VIRTIO_GRANT_BUS_PRIV_H

#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/xenbus.h>

#include "queue/queue.h"
#include "uapi/virtio_grant_bus.h"

/*
 * What of the backend can be reached over the page:
 *
 *	VGB_DOWN	nobody
 *	VGB_RESUMING	one who is to go on; for the task alone that sees to it
 *	VGB_UP		the backend
 */
enum vgb_reach {
	VGB_DOWN,
	VGB_RESUMING,
	VGB_UP,
};

/**
 * struct vgb_link - the page, and who answers in it
 * @page: ours, and the backend's to write
 * @ref: it is granted by; 0: it is not
 * @backend: to this domain
 * @irq: of the event channel; 0: there is none
 * @port: its number
 * @changed: called when the backend says that something has; from an interrupt.
 *	Returns: has it, and is that not too often?
 * @reach: enum vgb_reach
 * @resumer: whose requests pass while that is VGB_RESUMING
 * @lock: one request at a time, and all below
 * @opens: how often the page began anew
 * @seq: of the last request
 * @is_silent: the last one was not answered
 * @silences: how many were not
 * @answered: woken when there may be an answer
 * @response_seen: of the last request that an event told the answer to
 * @config_events: of the page, as seen last
 * @used_events: likewise
 */
struct vgb_link {
	struct virtio_grant_bus_page *page;
	grant_ref_t ref;
	domid_t backend;
	unsigned int irq;
	evtchn_port_t port;
	bool (*changed)(struct vgb_link *link, bool is_config, bool is_used);

	enum vgb_reach reach;
	struct task_struct *resumer;
	struct mutex lock;	/* a request, and what is below */
	unsigned int opens;
	u32 seq;
	bool is_silent;
	unsigned int silences;
	wait_queue_head_t answered;
	u32 response_seen;
	u32 config_events;
	u32 used_events;
};

/* link.c */
#if IS_ENABLED(CONFIG_KUNIT)
extern unsigned int vgb_answer_ms;
extern unsigned int vgb_silent_ms;
#endif
int vgb_link_init(struct vgb_link *link,
		  bool (*changed)(struct vgb_link *link, bool is_config,
				  bool is_used));
void vgb_link_exit(struct vgb_link *link);
int vgb_link_open(struct vgb_link *link, domid_t backend, const char *name);
bool vgb_link_reaches(const struct vgb_link *link);
bool vgb_link_close(struct vgb_link *link);
void vgb_link_set_reach(struct vgb_link *link, enum vgb_reach reach);
void vgb_link_kick(struct vgb_link *link);
int vgb_request(struct vgb_link *link, u8 type, u8 id, const void *req,
		unsigned int req_bytes, void *rsp, unsigned int rsp_bytes);

/* What a backend said of its device, when it was identified. */
struct vgb_info {
	u32 device;
	u32 vendor;
	u32 config_bytes;
	u32 nr_queues;
};

/**
 * struct vgb_config_copy - the configuration, or its beginning, as it was read last
 * @lock: all below
 * @is_valid: no status was written since, nor anything into it
 * @opens: of the page that it was read over
 * @events: the page's config_events, before it was asked for
 * @bytes: how many of @data are it
 * @data: in whole, of one generation
 */
struct vgb_config_copy {
	struct mutex lock;	/* all below */
	bool is_valid;
	unsigned int opens;
	u32 events;
	unsigned int bytes;
	u8 data[VIRTIO_GRANT_MSG_CONFIG_MAX];
};

/**
 * struct vgb_device - a device on the bus
 * @vgd: it, once it was identified; @has_device says so
 * @dev: its parent, a child of @xdev: that one has no DMA mask
 * @link: to its backend
 * @xdev: its node
 * @info: of the backend's; what a later one has to be, too
 * @device_id: what the toolstack says that it is
 * @generation: of the configuration that was read last
 * @config: and what it was
 * @lock: @has_queues, against callbacks
 * @has_queues: callbacks may be made
 * @config_work: looks what became of the device, when its configuration changed
 * @config_next: not before
 * @work: looks at the nodes and does what follows
 * @make_work: makes the device: its driver's probe may wait for the backend, and
 *	that for @work
 * @wake_work: likewise, wakes it after the guest was restored
 */
struct vgb_device {
	struct vgrant_device vgd;
	struct device dev;
	u64 dma_mask;
	struct vgb_link link;
	struct xenbus_device *xdev;
	struct vgb_info info;
	u32 device_id;
	u32 generation;
	struct vgb_config_copy config;

	spinlock_t lock;	/* has_queues */
	bool has_queues;
	struct delayed_work config_work;
	unsigned long config_next;

	struct delayed_work work;
	unsigned long looks_paid;	/* @work's: see vgb_look_wait() */
	struct work_struct make_work;
	struct delayed_work wake_work;
	/* Changed by xenwatch alone, but for the first time: vgb_follow(). */
	struct list_head list;			/* whose nodes are watched */
	struct xenbus_watch back_watch;		/* that one's "state" */
	char *first_back;	/* the node that xenbus watches as well; or NULL */
	struct mutex back_lock;	/* the next four */
	char *back;		/* its node; NULL: none is known */
	domid_t back_id;
	bool is_other_back;	/* than @work knows */
	bool is_back_watched;	/* by us or xenbus: we are told of its state */
	bool has_missed;	/* what our node says, for want of memory */
	bool is_published;	/* our keys are for @back */
	bool is_connected;	/* ... and it has taken them */
	bool is_made;		/* make_work was begun */
	struct mutex device_lock;	/* make_work shows a device, or takes it back */
	bool has_device;	/* ... it made one */
	bool is_unwanted;	/* ... which is to go as soon as it is there */
	bool has_failed;	/* ... and could not, for good */
	bool is_closed;		/* the toolstack wanted it gone, and it is */
	bool is_refusing;	/* it was said that it is in use */
	spinlock_t gate;	/* the next two, with what they forbid: see vgb_queue() */
	bool is_leaving;	/* remove() was called */
	bool is_frozen;		/* the guest is asleep: nothing is done */
	bool is_gone;		/* ... and has unmade it; under the lock of @dev */
	bool was_restored;	/* the guest was, once: xenbus may watch another */
	bool is_asleep;		/* ... was restored, and it waits for a backend */
	bool is_libxls;		/* "virtio_disk", which is never moved */
};

static inline struct vgb_device *vgb_of(struct vgrant_device *vgd)
{
	return container_of(vgd, struct vgb_device, vgd);
}

/* front.c: what xenbus calls */
#if IS_ENABLED(CONFIG_KUNIT)
void vgb_follow(struct vgb_device *vgb);
int vgb_probe(struct xenbus_device *xdev, const struct xenbus_device_id *id);
void vgb_remove(struct xenbus_device *xdev);
void vgb_claim_connected(const char *dir);
#endif

/* transport.c */
extern const struct vgrant_transport vgb_transport;
void vgb_transport_init(struct vgb_device *vgb);
int vgb_ask_info(struct vgb_device *vgb, struct vgb_info *info);
bool vgb_changed(struct vgb_link *link, bool is_config, bool is_used);

#endif /* VIRTIO_GRANT_BUS_PRIV_H */
