// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * devices.c - what the broker's parent has of a device: its relay page
 * and its port, which outlive the process that serves it, and the three keys by
 * which the backend finds them.
 *
 * Into the backend's node we write only (relay/page.h); nothing there is
 * believed.  Nor is the backend's state in the page, which is shown and no
 * more.
 *
 * A device begins NEW, as the scan has found it; vg_bparent_dev_start() gives
 * it a relay and to its guest's process (STARTING), and when that has the
 * window the backend is told (RUNNING).  One that fails in what may pass is NEW
 * again, or announced again, after a pause that grows.
 */
#include "broker/broker_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "relay/page.h"

#define NOT_TAKEN_WARN_NS	UINT64_C(5000000000)
/* Of a transaction, before a pause: others write to the same nodes. */
#define COMMIT_TRIES		5u

char *vg_bparent_dev_why_ignored(const struct vg_bparent_dev *d)
{
	return vg_strf("%s: left to another backend, since its configuration does not have grant_usage=1",
		       d->label);
}

/* Its relay goes; the guest's process has been told, or is none. */
static void dev_release(struct vg_bparent_dev *d)
{
	if (d->guest)
		d->guest->dev[d->dev_index] = NULL;
	d->guest = NULL;
	xen_evtchn_close(d->ec);
	d->ec = NULL;
	xen_shared_page_close(d->page);
	d->page = NULL;
	d->is_added = false;
	vg_timer_cancel(d->not_taken);
	vg_timer_cancel(d->retry);
}

void vg_bparent_dev_free(struct vg_bparent_dev *d)
{
	dev_release(d);
	vg_timer_destroy(d->not_taken);
	vg_timer_destroy(d->retry);
	free(d->label);
	free(d);
}

uint32_t vg_bparent_dev_backend(const struct vg_bparent_dev *d)
{
	const struct vg_relay_page *relay = xen_shared_page_addr(d->page);

	return READ_ONCE(relay->backend_state);
}

static void on_not_taken(void *arg)
{
	struct vg_bparent_dev *d = arg;

	if (d->state == VG_BPARENT_RUNNING &&
	    vg_bparent_dev_backend(d) == VG_RELAY_BACKEND_ABSENT)
		vg_warn("%s: no backend in dom%u has taken it up in %u s: is virtio-grantd running there?",
			d->label, d->name.backend,
			(unsigned int)(NOT_TAKEN_WARN_NS / 1000000000u));
}

/* ---- the keys in the backend's node ------------------------------------- */

/* One transaction.  The node must exist: else we would create one. */
static int announce_once(struct vg_broker *b, const struct vg_bparent_dev *d,
			 const char *path)
{
	char ref[16], port[16], domid[16], *fe;
	int err;

	snprintf(ref, sizeof(ref), "%u", d->ref);
	snprintf(port, sizeof(port), "%u", d->port);
	snprintf(domid, sizeof(domid), "%u", b->own_domid);
	err = xen_store_begin(b->xs);
	if (err)
		return err;
	fe = vg_key_read(b->xs, path, "frontend-id");
	err = fe ? 0 : -errno;
	free(fe);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-domid", domid);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-port", port);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-ref", ref);
	if (!err)
		return xen_store_commit(b->xs);
	xen_store_abort(b->xs);
	return err;
}

/*
 * Tells the backend where its relay is.  -EAGAIN: somebody, the backend's
 * domain for one, writes to its node all the time.
 */
static int announce(struct vg_broker *b, struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	unsigned int i;
	int err = -EAGAIN;

	for (i = 0; i < COMMIT_TRIES && err == -EAGAIN; i++)
		err = announce_once(b, d, path);
	free(path);
	return err;
}

/* ---- what can't be served ----------------------------------------------- */

void vg_bparent_dev_fail(struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	char *state = vg_strf("%s/state", path);

	xen_store_rm(d->b->xs, state);
	free(state);
	free(path);
	dev_release(d);
	d->state = VG_BPARENT_FAILED;
}

/*
 * It could not be served; the caller has said why.  One of a guest that was
 * served before is never given up: its driver waits for it.  Of a new guest
 * libxl shall hear at once, unless it may pass.
 */
static void dev_later(struct vg_bparent_dev *d, bool is_guest_known, int err)
{
	if (!is_guest_known && !vg_broker_may_pass(err)) {
		vg_bparent_dev_fail(d);
		return;
	}
	dev_release(d);
	d->state = VG_BPARENT_NEW;
	vg_broker_try_again(d->retry, &d->retry_ns);
}

/* ---- its guest's process ------------------------------------------------ */

void vg_bparent_dev_tell(struct vg_bparent_dev *d)
{
	struct vg_bchild_msg msg = {
		.op = VG_BCHILD_ADD,
		.dev_index = d->dev_index, .serial = d->serial,
		.base = d->keys.mmio.base, .irq = d->keys.mmio.irq,
		.port = d->port,
		.backend = d->name.backend,
		/* Else it goes on as a process that ended has left it. */
		.is_new = d->state == VG_BPARENT_STARTING,
	};
	int fd[2] = { xen_shared_page_fd(d->page), xen_evtchn_fd(d->ec) };

	snprintf(msg.label, sizeof(msg.label), "%s", d->label);
	d->guest->adds_owed++;
	d->is_added = false;
	vg_bparent_guest_send(d->guest, &msg, fd);
}

void vg_bparent_dev_stop(struct vg_bparent_dev *d)
{
	if (!d->guest)
		return;
	vg_bparent_guest_tell(d->guest, VG_BCHILD_REMOVE, d->dev_index);
	dev_release(d);
	vg_info("%s: removed", d->label);
}

static void not_announced(struct vg_bparent_dev *d, int err)
{
	vg_broker_failed(d->b, "%s: writing the relay's keys to dom%u's node: %s",
			 d->label, d->name.backend, strerror(-err));
	if (err != -ENOENT &&
	    (vg_broker_may_pass(err) || d->guest->was_known)) {
		vg_broker_try_again(d->retry, &d->retry_ns);
		return;
	}
	vg_bparent_guest_tell(d->guest, VG_BCHILD_REMOVE, d->dev_index);
	vg_bparent_dev_fail(d);
}

void vg_bparent_dev_added(struct vg_bparent_dev *d, int err)
{
	if (err) {
		vg_broker_failed(d->b, "%s: window 0x%llx: %s", d->label,
				 (unsigned long long)d->keys.mmio.base,
				 err == -EEXIST ?
				 "another backend has it already" :
				 strerror(-err));
		dev_later(d, d->guest->was_known ||
			  d->state == VG_BPARENT_RUNNING, err);
		return;
	}
	if (d->state != VG_BPARENT_STARTING)
		return;		/* with a new process: the relay is as it was */
	d->is_added = true;
	err = announce(d->b, d);
	if (err) {
		not_announced(d, err);
		return;
	}
	d->retry_ns = 0;
	d->state = VG_BPARENT_RUNNING;
	vg_info("%s: window 0x%llx, SPI %u, backend in dom%u", d->label,
		(unsigned long long)d->keys.mmio.base, d->keys.mmio.irq,
		d->name.backend);
	vg_timer_arm(d->not_taken, NOT_TAKEN_WARN_NS);
}

static void on_retry(void *arg)
{
	struct vg_bparent_dev *d = arg;

	if (d->state == VG_BPARENT_STARTING && d->is_added)
		vg_bparent_dev_added(d, 0);
	else
		vg_deferred_schedule(d->b->scan);
}

static int relay_create(struct vg_bparent_dev *d)
{
	int err;

	err = xen_shared_page_create(d->name.backend, &d->page, &d->ref);
	if (!err)
		err = xen_evtchn_open(&d->ec);
	if (!err)
		err = xen_evtchn_alloc_unbound(d->ec, d->name.backend,
					       &d->port);
	/* The guest's process gets this handle: no other ports with it. */
	if (!err)
		err = xen_evtchn_restrict(d->ec, d->name.guest);
	return err;
}

void vg_bparent_dev_start(struct vg_bparent_dev *d)
{
	struct vg_broker *b = d->b;
	struct vg_bparent_guest *g = vg_bparent_guest_find(b, d->name.guest);
	int err;

	if (g && g->is_ending)
		return;			/* scanned again when it has ended */
	if (!g) {
		err = vg_bparent_guest_create(b, d->name.guest, &g);
		if (err) {
			vg_broker_failed(b, "%s: no process can be started: %s",
					 d->label, strerror(-err));
			dev_later(d, vg_broker_has_server(b, d->name.guest),
				  err);
			return;
		}
	}
	err = vg_bparent_guest_take(g, d);
	if (err) {
		vg_broker_failed(b, "%s: dom%u has %u devices already",
				 d->label, g->domid, VG_BROKER_DEVICES_MAX);
		vg_bparent_dev_fail(d);
		return;
	}
	d->state = VG_BPARENT_STARTING;
	d->serial = ++b->serial;
	err = relay_create(d);
	if (err) {
		vg_broker_failed(b, "%s: no relay: %s", d->label,
				 strerror(-err));
		dev_later(d, g->was_known, err);
		return;
	}
	/* Without a process now, it is told when there is one again. */
	if (g->sock >= 0)
		vg_bparent_dev_tell(d);
}

/* ---- its beginning ------------------------------------------------------ */

void vg_bparent_dev_new(struct vg_broker *b, const struct vg_devname *name,
			const struct vg_bparent_keys *keys)
{
	struct vg_bparent_dev *d = vg_zalloc(sizeof(*d)), **p;
	char *why;

	d->b = b;
	d->name = *name;
	d->keys = *keys;
	d->label = vg_devname_label(name);
	d->not_taken = vg_timer_create(b->loop, on_not_taken, d);
	d->retry = vg_timer_create(b->loop, on_retry, d);
	d->seen = true;
	for (p = &b->devs; *p; p = &(*p)->next)
		;
	*p = d;
	/* Without grants it is another backend's: not ours to touch. */
	if (!keys->grant_usage && !b->cfg.serves_foreign) {
		d->state = VG_BPARENT_IGNORED;
		why = vg_bparent_dev_why_ignored(d);
		vg_info("%s", why);
		free(why);
	}
}
