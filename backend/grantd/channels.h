/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * channels.h - the queues' event channels of one device (vg_host_ops): by the
 * worker's own handle or, where threads may run the queues, by a handle each,
 * so that a port's events arrive in the loop of the thread that runs the queue.
 */
#ifndef VG_GRANTD_CHANNELS_H
#define VG_GRANTD_CHANNELS_H

#include <stdbool.h>

#include "virtio/device.h"
#include "transport/ports.h"

/* Handles that are not in use: what a worker opened before it was confined. */
struct vg_channel_stock {
	struct xen_evtchn **of;
	unsigned int nr, max;
};

/* @max: most that are ever kept. */
void vg_channel_stock_init(struct vg_channel_stock *s, unsigned int max);
/* Opens what is missing to @n.  0 or negative errno. */
int vg_channel_stock_fill(struct vg_channel_stock *s, unsigned int n);
void vg_channel_stock_exit(struct vg_channel_stock *s);

struct vg_channels;

struct vg_channels_params {
	const char *label;		/* stays valid */
	xen_domid_t guest;
	struct vg_loop *loop;
	struct vg_ports *ports;		/* of the worker's own handle, @ec */
	struct xen_evtchn *ec;
	struct vg_channel_stock *stock;
	unsigned int nr_queues;
	bool wants_threads;		/* a handle for each queue */
	/* A predecessor's ports may not be free yet. */
	bool is_taking_over;
	/* An event came by the worker's handle: counters changed. */
	void (*worked)(void *arg);
	void *arg;
};

struct vg_channels *vg_channels_create(const struct vg_channels_params *p);
/* Once, when it is there; the queues' events go to it. */
void vg_channels_set_device(struct vg_channels *c, struct vg_device *dev);
/* What a predecessor had is free, or never will be. */
void vg_channels_taken_over(struct vg_channels *c);
void vg_channels_destroy(struct vg_channels *c);
/* Threads can run the queues. */
bool vg_channels_may_thread(const struct vg_channels *c);

/* As vg_host_ops has them; @queue < nr_queues. */
int vg_channels_bind(struct vg_channels *c, unsigned int queue,
		     uint32_t channel);
void vg_channels_unbind(struct vg_channels *c, unsigned int queue);
void vg_channels_notify(struct vg_channels *c, unsigned int queue);
void vg_channels_move(struct vg_channels *c, unsigned int queue,
		      struct vg_loop *loop);

#endif
