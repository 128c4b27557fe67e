// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broker.c - finds the guests' virtio devices in xenstore and gives each a
 * relay page and an event channel; runs a process for each guest that does the
 * rest (child.h).  How that is divided: broker_priv.h.
 *
 * This process issues no device-model operation and looks at nothing that a
 * guest wrote; of the driver domain it reads one word, the backend's state, for
 * the status.  It owns pages and ports, so that a guest's process that ends is
 * replaced by another with the same.
 */
#include "broker/broker_priv.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

static int xen_open(struct vg_broker *b)
{
	int err;

	err = xen_store_open(&b->xs);
	if (err) {
		vg_err("xenstore can't be reached: %s", strerror(-err));
		return err;
	}
	err = xen_store_own_domid(b->xs, &b->own_domid);
	if (err) {
		vg_err("xenstore does not tell this domain's id: %s",
		       strerror(-err));
		return err;
	}
	/* Opened when needed; what is amiss is to be said now. */
	err = xen_shared_page_probe();
	if (err)
		vg_err("/dev/xen/gntalloc: %s (is the module xen-gntalloc loaded?)",
		       strerror(-err));
	return err;
}

int vg_broker_create(const struct vg_broker_config *cfg, struct vg_loop *loop,
		     struct vg_broker **out)
{
	struct vg_broker *b = vg_zalloc(sizeof(*b));
	int err;

	b->cfg = *cfg;
	b->loop = loop;
	err = xen_open(b);
	if (!err)
		err = vg_broker_scan_begin(b);
	if (err) {
		vg_broker_destroy(b, false);
		return err;
	}
	*out = b;
	return 0;
}

void vg_broker_destroy(struct vg_broker *b, bool leave)
{
	struct vg_bparent_guest *g;
	struct vg_bparent_dev *d;

	/* All are told before one is waited for. */
	for (g = b->guests; g; g = g->next) {
		if (!leave)
			vg_bparent_guest_end(g);
		vg_bparent_guest_hang_up(g);
	}
	for (g = b->guests; g; g = g->next) {
		vg_bparent_guest_reap(g);
		if (!leave)
			vg_broker_forget_server(b, g->domid);
	}
	while ((d = b->devs)) {
		b->devs = d->next;
		vg_bparent_dev_free(d);
	}
	while (b->guests)
		vg_bparent_guest_free(b->guests);
	vg_broker_scan_end(b);
	xen_store_close(b->xs);
	vg_broker_forget_failures(b);
	free(b);
}
