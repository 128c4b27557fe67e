/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_priv.h - what guest.c (the guest's devices, and their
 * life) and window.c (accesses, answers, interrupts) share.  Nothing
 * else includes it.
 */
#ifndef VG_BROKER_GUEST_PRIV_H
#define VG_BROKER_GUEST_PRIV_H

#include "broker/credit.h"
#include "broker/guest.h"
#include "lib/log.h"
#include "lib/look.h"
#include "relay/page.h"

/* A backend's domain, as far as this guest has to do with it. */
struct vg_bchild_peer {
	unsigned int nr_devs;		/* 0: not in use */
	xen_domid_t domid;
	struct vg_credit credit;
};

struct vg_bchild_dev {
	struct vg_bchild_guest *g;
	struct vg_bchild_dev *next;
	struct vg_bchild_peer *peer;
	char *label;
	uint64_t base;
	uint32_t irq;
	bool range_mapped;
	struct xen_shared_page *page;
	struct vg_relay_page *relay;
	struct xen_evtchn *ec;
	struct vg_fd *ec_fd;
	xen_port_t port;
	uint32_t session;		/* of the backend, as last seen */
	uint64_t revivable_ns;		/* by a new session from then on */
	uint32_t asked;			/* as last written to the page */
	/* Outlives us; written here only, or by a predecessor. */
	struct vg_bchild_dev_shared *sh;
	struct vg_ratelimit rl;
};

/* An access that a vCPU waits for and that the backend has been told of. */
struct vg_bchild_access {
	struct vg_bchild_dev *dev;	/* NULL: none */
	uint32_t seq;
	uint32_t op;
	uint64_t began_ns, deadline_ns;
	struct vg_bchild_dev *last_dev;	/* dev, or who answered it in time */
	struct vg_bchild_dev *late_dev;	/* owes the answer to late_seq */
	uint32_t late_seq;
};

struct vg_bchild_guest {
	xen_domid_t domid;
	struct vg_loop *loop;
	struct xen_evtchn *ec;		/* Xen's ports, one per vCPU */
	struct vg_fd *ec_fd;
	struct xen_ioreq *io;
	struct vg_timer *timer;		/* of the first deadline */
	bool adopted;			/* a predecessor's IOREQ server */
	uint64_t answer_timeout_ns;
	uint64_t poll_max_ns;
	struct vg_look poll;
	bool is_looking;		/* for what comes next */
	uint32_t *seq;			/* of the last request, any vCPU's */
	unsigned int nr_vcpus;
	struct vg_bchild_access *out;	/* by vCPU */
	struct vg_bchild_dev *devs;
	struct vg_bchild_peer peers[VG_BROKER_DEVICES_MAX];
};

/* ---- window.c ----------------------------------------------------------- */

/* For the loop: @arg is the guest, the device, the guest. */
void vg_window_on_vcpus(void *arg);
void vg_window_on_backend(void *arg);
void vg_window_on_deadline(void *arg);

/* Accesses are taken from here on, those first whose event is gone. */
void vg_window_start(struct vg_bchild_guest *g);
/* The server goes: so do the accesses that nobody has come to yet. */
void vg_window_end(struct vg_bchild_guest *g);

/* Of a device's page: our words, before the device is among g->devs. */
void vg_window_open(struct vg_bchild_dev *d);
/* And of one that a predecessor had, when it is. */
void vg_window_take_over(struct vg_bchild_dev *d);
/* It is none of g->devs any more: what waits for it is completed. */
void vg_window_close(struct vg_bchild_dev *d);

#endif
