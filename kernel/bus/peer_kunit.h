/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer_kunit.h - a backend that the KUnit suites of the bus play themselves.
 */
#ifndef VIRTIO_GRANT_PEER_KUNIT_H
#define VIRTIO_GRANT_PEER_KUNIT_H

#include <kunit/test.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <uapi/linux/virtio_config.h>

#include "bus/bus_priv.h"
#include "queue/life_kunit.h"

#define PEER_FEATURES	(BIT_ULL(VIRTIO_F_VERSION_1) | \
			 BIT_ULL(VIRTIO_F_ACCESS_PLATFORM))
#define PEER_CONFIG	64
#define PEER_QUEUES	2
#define PEER_HEADS	512
#define PEER_MSG_BYTES	512		/* of the page */

/* A message as it lies in the page, which has more room than it takes. */
union peer_msg {
	struct virtio_grant_msg_header head;
	u8 raw[PEER_MSG_BYTES];
};

struct peer_queue {
	u32 max_size;
	u32 cur_size;
	u32 port;
	u16 heads[PEER_HEADS];	/* of SET_INFLIGHT */
	unsigned int nr_heads;
	u16 used_idx;
	u16 total;
};

/**
 * struct peer - the backend of one device, in the handler of its event channel
 * @page: the driver's, as plain memory
 * @irq: of its end of the channel; 0: it has none
 * @lock: all below
 * @twist: changes an answer before it is given, and may be NULL; returns no: there
 *	is to be none
 * @is_silent: it does not look into the page
 * @silent_at: it falls silent before this one of its requests, counted from 1; 0: not
 * @last: the last answer given
 */
struct peer {
	struct virtio_grant_bus_page *page;
	unsigned int irq;

	spinlock_t lock;	/* the rest */
	bool (*twist)(struct peer *peer, const union peer_msg *req,
		      union peer_msg *rsp);
	int arg;		/* of @twist */
	bool is_silent;
	unsigned int silent_at;
	u32 seq;
	unsigned int requests;
	union peer_msg req;
	union peer_msg last;

	/* The device, which remembers what it is told. */
	struct virtio_grant_msg_device_info info;
	u64 features;
	u64 driver_features;
	u32 caps;
	u32 status;
	u32 generation;
	u32 range_pages;	/* shared with it */
	u8 config[PEER_CONFIG];
	struct peer_queue queue[PEER_QUEUES];
};

void peer_init(struct peer *peer);
void peer_heal(struct peer *peer);
int peer_attach(struct peer *peer, struct vgb_link *link);
void peer_detach(struct peer *peer);
void peer_set_silent(struct peer *peer, bool is_silent);
void peer_put(struct peer *peer, const union peer_msg *rsp, unsigned int seq);
void peer_kick(struct peer *peer);
void peer_config_event(struct peer *peer);
void peer_used_event(struct peer *peer);
domid_t peer_own_domid(void);

/* A thread of the tester's that a test waits for. */
int peer_run(struct kunit *test, int (*fn)(void *arg), void *arg,
	     struct task_struct **task);
int peer_join(struct task_struct *task);

#endif /* VIRTIO_GRANT_PEER_KUNIT_H */
