/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port.h - the bytes of one port of a console, between its two queues and
 * whoever is attached to its pty or socket (the peer).
 *
 * Not trusted: the guest, and the peer: neither holds up the loop, and a peer
 * that does not read holds up the guest no longer than port.c says.
 */
#ifndef VG_DEV_CONSOLE_PORT_H
#define VG_DEV_CONSOLE_PORT_H

#include "dev/console/console.h"

struct vg_con;

/* Messages that the guest is to get, in the order in which it gets them. */
enum vg_con_msg {
	VG_CON_MSG_ADD, VG_CON_MSG_CONSOLE, VG_CON_MSG_NAME, VG_CON_MSG_RESIZE,
	VG_CON_MSG_OPEN, VG_CON_MSG_NR
};

struct vg_con_port {
	struct vg_con *con;
	unsigned int index;

	/* control: console.c */
	bool is_added, is_ready;	/* the guest was told of it; has it */
	bool is_opened;			/* the guest said so */
	bool told_open;			/* it was told that there is a peer */
	uint8_t pending, unshown;	/* BIT(VG_CON_MSG_*): console.c */

	/* bytes: port.c */
	int fd;				/* pty's master, or a client's; -1 */
	int listen_fd;			/* -1: a pty */
	bool has_peer;
	int ep;				/* an epoll of its own; there is: */
	int ep_fd;			/* fd or listen_fd, or -1 */
	uint32_t ep_events;
	struct vg_fd *watch;		/* of ep */
	struct vg_timer *timer;
	struct vg_deferred *turn;
	struct vg_req *tx, *rx;		/* under way */
	bool rx_asked;			/* for a request, by vg_queue_want() */
	uint64_t wait_from_ns;		/* port 0: output waits since; or 0 */
	uint64_t patience_ns, patience_at_ns;
};

struct vg_con {
	struct vg_device *dev;
	struct vg_con_parts parts;
	uint64_t *stats;
	int log_fd;
	bool has_driver, is_multiport;
	uint16_t cols, rows;		/* as told; 0: not known */
	struct vg_req *control;		/* a buffer for the next message */
	bool control_asked;
	struct vg_deferred *shown;
	struct vg_timer *size_timer;
	struct vg_con_port port[VG_CON_PORTS_MAX];
};

/* What a request of a transmit queue has besides: vg_req.type_priv. */
struct vg_con_tx {
	unsigned int seg;
	size_t at_bytes;		/* in it */
	uint64_t done_bytes;
};

/* Of a port whose descriptors are set.  After a failure: vg_con_port_exit(). */
int vg_con_port_init(struct vg_con_port *p);
void vg_con_port_exit(struct vg_con_port *p);
/* What can be done now is, and it is seen to that the rest will be. */
void vg_con_port_run(struct vg_con_port *p);
/* The guest has it open: then input is read. */
bool vg_con_port_is_open(const struct vg_con_port *p);
void vg_con_port_start_tx(struct vg_con_port *p, struct vg_req *req);
void vg_con_port_start_rx(struct vg_con_port *p, struct vg_req *req);
/* Its requests of that direction are given up. */
void vg_con_port_cancel(struct vg_con_port *p, bool is_tx);
/* One byte past the queues, now or never. */
void vg_con_port_emergency(struct vg_con_port *p, uint8_t byte);

/* console.c: somebody came or went. */
void vg_con_peer_changed(struct vg_con_port *p);

static inline unsigned int vg_con_rx_queue(const struct vg_con_port *p)
{
	return p->index ? VG_CON_QUEUES(p->index) : 0;
}

#endif
