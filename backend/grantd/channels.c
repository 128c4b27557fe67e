// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * channels.c - see channels.h.
 *
 * What a queue's thread uses of a channel (its port, its handle) changes only
 * while the device is frozen.
 */
#include "grantd/channels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"

#define BIND_TRIES_MAX		200u
/* Until a channel is waited for again that could not be. */
#define WATCH_NS		(10u * 1000u * 1000u)

struct channel {
	struct vg_channels *c;
	unsigned int queue;
	xen_port_t port;		/* 0: none */
	/* If it has a handle of its own: */
	struct xen_evtchn *ec;
	struct vg_loop *loop;		/* where its events go */
	struct vg_fd *vfd;		/* there; NULL: no port is bound */
};

struct vg_channels {
	struct vg_channels_params p;
	struct vg_device *dev;
	bool has_handles;
	struct vg_timer *watch;		/* channels that are not waited for */
	struct channel *of;		/* [p.nr_queues] */
};

/* ---- handles ------------------------------------------------------------ */

void vg_channel_stock_init(struct vg_channel_stock *s, unsigned int max)
{
	s->of = vg_calloc(max, sizeof(struct xen_evtchn *));
	s->nr = 0;
	s->max = max;
}

int vg_channel_stock_fill(struct vg_channel_stock *s, unsigned int n)
{
	while (s->nr < min_u(n, s->max)) {
		int err = xen_evtchn_open(&s->of[s->nr]);

		if (err)
			return err;
		s->nr++;
	}
	return 0;
}

void vg_channel_stock_exit(struct vg_channel_stock *s)
{
	while (s->nr)
		xen_evtchn_close(s->of[--s->nr]);
	free(s->of);
}

static void stock_put(struct vg_channel_stock *s, struct xen_evtchn *ec)
{
	if (s->nr < s->max)
		s->of[s->nr++] = ec;
	else
		xen_evtchn_close(ec);
}

/* ---- events ------------------------------------------------------------- */

/* By the worker's handle, in its main thread. */
static void on_port(void *arg, unsigned int queue)
{
	struct vg_channels *c = arg;

	vg_device_event(c->dev, queue);
	c->p.worked(c->p.arg);
}

/* By its own, in the thread that runs the queue. */
static void on_channel(void *arg)
{
	struct channel *ch = arg;
	xen_port_t port;

	/* One port at the most: were there more, we would be called again. */
	if (!xen_evtchn_pending_all(ch->ec, &port, 1))
		return;
	xen_evtchn_unmask_all(ch->ec, &port, 1);
	vg_device_event(ch->c->dev, ch->queue);
}

static void channel_unwatch(struct channel *ch)
{
	if (ch->vfd)
		vg_loop_del_fd(ch->loop, ch->vfd);
	ch->vfd = NULL;
}

static int channel_watch(struct channel *ch)
{
	return vg_loop_add_fd(ch->loop, xen_evtchn_fd(ch->ec), on_channel, ch,
			      &ch->vfd);
}

static void watch_due(void *arg)
{
	struct vg_channels *c = arg;
	unsigned int i;

	vg_device_freeze(c->dev);
	for (i = 0; i < c->p.nr_queues; i++) {
		struct channel *ch = &c->of[i];

		if (!ch->port || ch->vfd)
			continue;
		/* What came meanwhile is pending in it, and comes now. */
		if (channel_watch(ch))
			vg_timer_arm(c->watch, WATCH_NS);
	}
	vg_device_thaw(c->dev);
}

/* ---- binding ------------------------------------------------------------ */

int vg_channels_bind(struct vg_channels *c, unsigned int queue,
		     uint32_t channel)
{
	unsigned int tries = c->p.is_taking_over ? BIND_TRIES_MAX : 1;
	struct channel *ch = &c->of[queue];
	int err;

	if (!c->has_handles) {
		err = vg_ports_bind(c->p.ports, c->p.guest, channel, tries,
				    on_port, c, queue, &ch->port);
		if (err)
			return err;
	} else {
		err = vg_port_bind_patiently(ch->ec, c->p.guest, channel,
					     tries, &ch->port);
		if (err)
			return err;
		err = channel_watch(ch);
		if (err) {
			xen_evtchn_unbind(ch->ec, ch->port);
			ch->port = 0;
			return err;
		}
	}
	/*
	 * As the contract has it: so that the driver finds the channel alive.
	 */
	xen_evtchn_notify(ch->ec, ch->port);
	return 0;
}

void vg_channels_unbind(struct vg_channels *c, unsigned int queue)
{
	struct channel *ch = &c->of[queue];

	if (c->has_handles) {
		channel_unwatch(ch);
		xen_evtchn_unbind(ch->ec, ch->port);
	} else {
		vg_ports_unbind(c->p.ports, ch->port);
	}
	ch->port = 0;
}

void vg_channels_notify(struct vg_channels *c, unsigned int queue)
{
	const struct channel *ch = &c->of[queue];

	vg_step();
	/* Fails when the guest closed its end: then nobody listens. */
	xen_evtchn_notify(ch->ec, ch->port);
}

void vg_channels_move(struct vg_channels *c, unsigned int queue,
		      struct vg_loop *loop)
{
	struct channel *ch = &c->of[queue];

	channel_unwatch(ch);
	ch->loop = loop;
	if (ch->port && channel_watch(ch)) {
		vg_err("%s: queue %u: its events can't be waited for now",
		       c->p.label, queue);
		vg_timer_arm(c->watch, WATCH_NS);
	}
}

/* ---- life --------------------------------------------------------------- */

/* False: the queues have to do without. */
static bool handles_take(struct vg_channels *c)
{
	struct vg_channel_stock *stock = c->p.stock;
	unsigned int i, n = c->p.nr_queues;

	if (!c->p.wants_threads || n < 2)
		return false;
	/* What is missing; fails if the worker can open nothing any more. */
	if (n > stock->max || vg_channel_stock_fill(stock, n)) {
		vg_warn("%s: no threads for its queues: the guest has too many",
			c->p.label);
		return false;
	}
	for (i = 0; i < n; i++)
		c->of[i].ec = stock->of[--stock->nr];
	return true;
}

struct vg_channels *vg_channels_create(const struct vg_channels_params *p)
{
	struct vg_channels *c = vg_zalloc(sizeof(*c));
	unsigned int i;

	c->p = *p;
	c->of = vg_calloc(p->nr_queues, sizeof(*c->of));
	c->watch = vg_timer_create(p->loop, watch_due, c);
	c->has_handles = handles_take(c);
	for (i = 0; i < p->nr_queues; i++) {
		c->of[i].c = c;
		c->of[i].queue = i;
		c->of[i].loop = p->loop;
		if (!c->has_handles)
			c->of[i].ec = p->ec;
	}
	return c;
}

void vg_channels_set_device(struct vg_channels *c, struct vg_device *dev)
{
	c->dev = dev;
}

void vg_channels_taken_over(struct vg_channels *c)
{
	c->p.is_taking_over = false;
}

bool vg_channels_may_thread(const struct vg_channels *c)
{
	return c->has_handles;
}

void vg_channels_destroy(struct vg_channels *c)
{
	unsigned int i;

	if (!c)
		return;
	for (i = 0; i < c->p.nr_queues && c->has_handles; i++)
		stock_put(c->p.stock, c->of[i].ec);
	vg_timer_destroy(c->watch);
	free(c->of);
	free(c);
}
