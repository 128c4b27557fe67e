/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * child.h - the broker's process of one guest, and what its parent and
 * it say to each other.
 *
 *	parent (broker_priv.h)		child (child.c)
 *	xenstore, relay pages,		IOREQ server of one guest,
 *	event channels			relayed accesses, interrupts
 *		 socket: devices with page and event channel ->
 *		 <- what became of them
 *		 memory: counters, InterruptStatus
 *
 * The child holds no xenstore connection and can open nothing: the parent
 * makes each device's page and port, keeps a descriptor of both, and sends
 * copies.  So a child that died is replaced without the backend noticing, and
 * so is one that does not answer the parent's PINGs: it hangs, and a vCPU with
 * it.  The parent treats what the child says and writes as hostile: it decides
 * nothing but the fate of this guest's devices.
 *
 * The socket is SOCK_SEQPACKET; a message is one struct vg_bchild_msg.
 */
#ifndef VG_BROKER_CHILD_H
#define VG_BROKER_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/guest.h"
#include "lib/loop.h"
#include "xen/xen.h"

enum vg_bchild_op {
	/* parent to child */
	VG_BCHILD_ADD = 1,	/* with two descriptors: page, event channel */
	VG_BCHILD_REMOVE,
	VG_BCHILD_START,	/* all that is there at first has been added */
	VG_BCHILD_END,		/* destroy the IOREQ server, and end */
	VG_BCHILD_PING,		/* to be answered from the loop, at once */
	/* child to parent */
	VG_BCHILD_UP,		/* error; or server_id, from now on confined */
	VG_BCHILD_ADDED,	/* error */
	VG_BCHILD_PONG,		/* the PING's serial */
};

struct vg_bchild_msg {
	uint32_t op;
	uint32_t dev_index;	/* < VG_BROKER_DEVICES_MAX */
	uint32_t serial;	/* of the ADD: an index is used again.
				 * Of a PING */
	int32_t error;		/* negative errno */
	uint32_t server_id;
	uint32_t irq;
	uint64_t base;
	xen_port_t port;
	uint32_t backend;	/* its domain */
	uint32_t is_new;	/* nobody served it before */
	char label[60];
};

/* Which the parent maps to read, the child to write. */
struct vg_bchild_shared {
	uint32_t seq;			/* of vg_bchild_guest_create() */
	struct vg_bchild_dev_shared dev[VG_BROKER_DEVICES_MAX];
};

struct vg_bchild_config {
	xen_domid_t guest;
	int adopt_id;			/* of vg_bchild_guest_create() */
	uint64_t answer_timeout_ns;
	uint64_t poll_max_ns;		/* of vg_bchild_guest_poll() */
};

struct vg_bchild;

/*
 * @sock and @shared stay the caller's.  @gone is called when there is nothing
 * left to do: the parent closed its end, or said END, or there is no server.
 */
int vg_bchild_create(const struct vg_bchild_config *cfg, struct vg_loop *loop,
		     int sock, struct vg_bchild_shared *shared,
		     void (*gone)(void *arg), void *arg,
		     struct vg_bchild **out);
/* Leaves the IOREQ server to a successor, unless END was said. */
void vg_bchild_destroy(struct vg_bchild *c);

/* Messages: whole or not at all.  @fd: NULL or two.  0 or negative errno. */
int vg_bchild_send(int sock, const struct vg_bchild_msg *msg, const int *fd);
/*
 * 1: a message; 0: the peer closed; -EAGAIN: none now; else a broken one.
 * @fd: two, -1 if none came; the caller's to close.
 */
int vg_bchild_recv(int sock, struct vg_bchild_msg *msg, int fd[2]);

/* The process: its exit status. */
int vg_bchild_main(const struct vg_bchild_config *cfg, int sock,
		   int shared_fd);

#endif
