// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guest.c - one guest's IOREQ server and its devices: how they come and
 * go.  What its vCPUs do with them, and the backends: window.c.
 *
 * The parent, which names the devices, is trusted, and hands over each one's
 * page and port, which are ours then.  Of what the guest or a driver domain
 * wrote nothing is looked at here.
 */
#include "broker/guest_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/util.h"
#include "transport/mmio_regs.h"

/* ---- devices ------------------------------------------------------------ */

static struct vg_bchild_peer *peer_get(struct vg_bchild_guest *g,
				       xen_domid_t domid)
{
	struct vg_bchild_peer *p, *unused = NULL;

	for (p = g->peers; p < g->peers + VG_BROKER_DEVICES_MAX; p++) {
		if (p->nr_devs && p->domid == domid)
			break;
		if (!p->nr_devs && !unused)
			unused = p;
	}
	if (p == g->peers + VG_BROKER_DEVICES_MAX) {
		p = unused;
		p->domid = domid;
		vg_credit_begin(&p->credit, g->answer_timeout_ns, vg_now_ns());
	}
	p->nr_devs++;
	return p;
}

static void dev_free(struct vg_bchild_dev *d)
{
	struct vg_bchild_guest *g = d->g;

	if (d->peer)
		d->peer->nr_devs--;
	if (d->range_mapped)
		xen_ioreq_unmap_range(g->io, d->base,
				      d->base + VG_MMIO_WINDOW_BYTES - 1);
	vg_loop_del_fd(g->loop, d->ec_fd);
	xen_evtchn_close(d->ec);
	xen_shared_page_close(d->page);
	free(d->label);
	free(d);
}

static int map_window(struct vg_bchild_dev *d)
{
	struct xen_ioreq *io = d->g->io;
	uint64_t last = d->base + VG_MMIO_WINDOW_BYTES - 1;
	int err;

	if (d->g->adopted)
		xen_ioreq_unmap_range(io, d->base, last);
	err = xen_ioreq_map_range(io, d->base, last);
	d->range_mapped = !err;
	return err;
}

static struct vg_bchild_dev *dev_new(struct vg_bchild_guest *g,
				     const struct vg_bchild_dev_params *params)
{
	struct vg_bchild_dev *d = vg_zalloc(sizeof(*d));

	d->g = g;
	d->label = vg_strdup(params->label);
	d->base = params->base;
	d->irq = params->irq;
	d->page = params->page;
	d->relay = xen_shared_page_addr(d->page);
	d->ec = params->ec;
	d->port = params->port;
	d->sh = params->shared;
	d->rl.burst = 3;
	return d;
}

static unsigned int count_devs(const struct vg_bchild_guest *g)
{
	const struct vg_bchild_dev *d;
	unsigned int n = 0;

	for (d = g->devs; d; d = d->next)
		n++;
	return n;
}

int vg_bchild_dev_add(struct vg_bchild_guest *g,
		      const struct vg_bchild_dev_params *params,
		      struct vg_bchild_dev **out)
{
	struct vg_bchild_dev *d = dev_new(g, params);
	int err = count_devs(g) < VG_BROKER_DEVICES_MAX ? 0 : -ENOSPC;

	if (!err) {
		d->peer = peer_get(g, params->backend);
		if (d->sh->is_dead)
			vg_credit_spend(&d->peer->credit, vg_now_ns());
		err = vg_loop_add_fd(g->loop, xen_evtchn_fd(d->ec),
				     vg_window_on_backend, d, &d->ec_fd);
	}
	if (!err)
		err = map_window(d);
	if (err) {
		dev_free(d);
		return err;
	}
	vg_window_open(d);
	d->next = g->devs;
	g->devs = d;
	*out = d;
	if (g->adopted)
		vg_window_take_over(d);
	return 0;
}

void vg_bchild_dev_remove(struct vg_bchild_dev *d)
{
	struct vg_bchild_dev **p;

	for (p = &d->g->devs; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	vg_window_close(d);
	dev_free(d);
}

/* ---- the guest ---------------------------------------------------------- */

static int server_get(struct vg_bchild_guest *g, int adopt_id,
		      uint16_t *server_id)
{
	int err;

	if (adopt_id >= 0) {
		err = xen_ioreq_adopt(g->domid, (uint16_t)adopt_id, g->ec,
				      &g->io);
		/* The vCPUs' ports are bound: by whom we are to replace. */
		if (err == -EINVAL)
			return -EBUSY;
		g->adopted = !err;
		*server_id = (uint16_t)adopt_id;
		/* It can be gone, with a guest that had the same domid. */
		if (err != -ENOENT && err != -EPERM)
			return err;
	}
	return xen_ioreq_create(g->domid, g->ec, &g->io, server_id);
}

int vg_bchild_guest_create(xen_domid_t guest, int adopt_id,
			   uint64_t answer_timeout_ns, uint32_t *seq,
			   struct vg_loop *loop, struct vg_bchild_guest **out,
			   uint16_t *server_id)
{
	struct vg_bchild_guest *g = vg_zalloc(sizeof(*g));
	int err;

	g->domid = guest;
	g->loop = loop;
	g->answer_timeout_ns = answer_timeout_ns;
	g->seq = seq;
	err = xen_evtchn_open(&g->ec);
	if (err)
		goto fail;
	err = server_get(g, adopt_id, server_id);
	if (err)
		goto fail;
	g->nr_vcpus = xen_ioreq_nr_vcpus(g->io);
	if (g->nr_vcpus > VG_RELAY_VCPUS_MAX) {
		err = -E2BIG;
		goto fail;
	}
	g->out = vg_calloc(g->nr_vcpus, sizeof(*g->out));
	g->timer = vg_timer_create(loop, vg_window_on_deadline, g);
	*out = g;
	return 0;
fail:
	vg_bchild_guest_destroy(g);
	return err;
}

void vg_bchild_guest_poll(struct vg_bchild_guest *g, uint64_t max_ns)
{
	g->poll_max_ns = max_ns;
}

int vg_bchild_guest_start(struct vg_bchild_guest *g)
{
	int err;

	err = vg_loop_add_fd(g->loop, xen_evtchn_fd(g->ec), vg_window_on_vcpus,
			     g, &g->ec_fd);
	if (err)
		return err;
	vg_window_start(g);
	return 0;
}

static void guest_free(struct vg_bchild_guest *g)
{
	if (g->ec_fd)
		vg_loop_del_fd(g->loop, g->ec_fd);
	vg_timer_destroy(g->timer);
	xen_evtchn_close(g->ec);
	free(g->out);
	free(g);
}

void vg_bchild_guest_destroy(struct vg_bchild_guest *g)
{
	if (!g)
		return;
	if (g->io && g->out)
		vg_window_end(g);
	while (g->devs)
		vg_bchild_dev_remove(g->devs);
	xen_ioreq_destroy(g->io);
	guest_free(g);
}

void vg_bchild_guest_leave(struct vg_bchild_guest *g)
{
	while (g->devs) {
		struct vg_bchild_dev *d = g->devs;

		g->devs = d->next;
		d->range_mapped = false;	/* the successor's */
		dev_free(d);
	}
	xen_ioreq_leave(g->io);
	guest_free(g);
}

unsigned int vg_bchild_guest_nr_vcpus(const struct vg_bchild_guest *g)
{
	return g->nr_vcpus;
}
