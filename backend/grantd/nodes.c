// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nodes.c - what a device's node in xenstore says of it, and why one is
 * refused.
 *
 * Everything is written in transactions that look at what stands there first: a
 * node may be another device's of the same name by now.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"

/* A transaction that others disturb is tried again so often at once. */
#define TRANSACTION_TRIES	8u

/* ---- what xenstore is told ---------------------------------------------- */

#define STATE_BIT(state)	(1u << (unsigned int)(state))
/* Those that are not the toolstack's to want something by. */
#define STATES_WITH_FRONT \
	(STATE_BIT(VG_XENBUS_INITIALISING) | STATE_BIT(VG_XENBUS_INIT_WAIT) | \
	 STATE_BIT(VG_XENBUS_CONNECTED) | STATE_BIT(VG_XENBUS_CLOSED))

/*
 * May it say something else than @now?  Closing is what the driver was
 * answered, as long as the toolstack wants the device.  1, 0, negative errno.
 */
static int may_move(const struct vg_sdev *d, unsigned int from, uint64_t now)
{
	const struct vg_keys node = vg_node_keys(&d->s->xs, d->node);

	if (from & STATE_BIT(now))
		return 1;
	return from == STATES_WITH_FRONT && now == VG_XENBUS_CLOSING ?
	       vg_keys_is_1(&node, "online") : 0;
}

/* What it says beside its state: for who reads that. */
static int write_shown(struct vg_sdev *d, enum vg_xenbus_state to)
{
	const struct vg_transport_key *k = d->transport ?
					   d->transport->shown : NULL;
	int err = 0;

	if (to != VG_XENBUS_INIT_WAIT)
		return 0;
	for (; k && k->key && !err; k++)
		err = vg_key_write(d->s->xs, d->node, k->key, k->value);
	return err;
}

/*
 * -ESTALE: the node says something else than @from (bits) and @to: it was made
 * again, or libxl wants something else by now, and it is not ours to write.
 * -ENOENT: it is gone.
 */
static int move_state_once(struct vg_sdev *d, unsigned int from,
			   enum vg_xenbus_state to)
{
	char text[2] = { (char)('0' + (int)to), 0 };
	struct xen_store *xs = d->s->xs;
	uint64_t now;
	char *why = NULL;
	int may, err = xen_store_begin(xs);

	if (err)
		return err;
	err = vg_key_read_u64(xs, d->node, "state", 9, &now, &why);
	free(why);
	if (!err && now != to) {
		may = may_move(d, from, now);
		err = may < 0 ? may : may ? 0 : -ESTALE;
	}
	if (!err && now != to)
		err = write_shown(d, to);
	if (!err && now != to)
		err = vg_key_write(xs, d->node, "state", text);
	if (err)
		xen_store_abort(xs);
	else
		err = xen_store_commit(xs);
	return err;
}

static int move_state(struct vg_sdev *d, unsigned int from,
		      enum vg_xenbus_state to)
{
	unsigned int tries = TRANSACTION_TRIES;
	int err;

	do {
		err = move_state_once(d, from, to);
	} while (err == -EAGAIN && --tries);
	if (!err)
		d->node_state = to;
	return err;
}

/* libxl gives up at once on a device without it. */
static int remove_state(struct vg_sdev *d)
{
	char *path = vg_strf("%s/state", d->node);
	int err = xen_store_rm(d->s->xs, path);

	free(path);
	if (err == -ENOENT)
		err = 0;
	if (!err)
		d->node_state = VG_XENBUS_CLOSED;
	return err;
}

/* What became of it, until xenstore has it. */
void vg_sdev_show(struct vg_sdev *d)
{
	int err = 0;

	if (d->is_orphan || d->is_shown)
		return;
	if (d->state == DEV_READY && d->transport->has_front)
		err = move_state(d, STATES_WITH_FRONT, d->front_target);
	else if (d->state == DEV_READY)
		err = move_state(d, STATE_BIT(VG_XENBUS_INITIALISING),
				 VG_XENBUS_INIT_WAIT);
	else if (d->state == DEV_CLOSED)
		err = move_state(d, STATE_BIT(VG_XENBUS_CLOSING) |
				    (d->is_abandoned ? STATES_WITH_FRONT : 0),
				 VG_XENBUS_CLOSED);
	else if (d->state == DEV_FAILED)
		err = remove_state(d);
	else
		return;
	if (err == -ESTALE) {
		vg_sup_scan_device(d);
	} else if (err == -ENOENT) {
		/* Then the scan says so. */
		vg_sup_scan_device(d);
		vg_sdev_wait(d);
		return;
	} else if (err) {
		d->s->about = d;
		vg_sup_failed(d->s, "%s: writing its state into xenstore: %s",
			      d->label, strerror(-err));
		d->s->about = NULL;
		vg_sdev_wait(d);
		return;
	}
	d->is_shown = true;
	if (d->state == DEV_READY) {
		d->is_promised = true;
		vg_sdev_content(d);
	} else if (d->state == DEV_CLOSED) {
		vg_timer_arm(d->timer, NODE_REMOVAL_NS);
	}
}

/* It was served, or is to be: what fails keeps its reason. */
void vg_sdev_becomes(struct vg_sdev *d, enum dev_state state)
{
	d->state = state;
	d->is_shown = false;
	if (state == DEV_READY && d->transport->has_front)
		vg_front_show(d);
	else
		vg_sdev_show(d);
}

/*
 * The last of our failures that was this device's, for who can't read the log;
 * of one that waits, its first.
 */
void vg_sdev_publish_failure(struct vg_sdev *d)
{
	struct vg_supervisor *s = d->s;
	size_t n = strlen(d->label);
	unsigned int i;

	if (d->is_published)
		return;
	d->is_published = true;
	/* Whether the log has it or not. */
	if (d->why) {
		vg_refusals_say(&s->refusals, &d->name, d->why);
		return;
	}
	for (i = 1; i <= NR_FAILURES && i <= s->nr_failures; i++) {
		const char *text =
			s->failure[(s->nr_failures - i) % NR_FAILURES];

		if (strncmp(text, d->label, n) || text[n] != ':')
			continue;
		vg_refusals_say(&s->refusals, &d->name, text);
		return;
	}
}

/* This device can't be served.  The caller has said why. */
void vg_sdev_fail(struct vg_sdev *d)
{
	d->is_published = false;
	vg_sdev_publish_failure(d);
	vg_sup_files_left(d);
	vg_sup_res_close(d);
	vg_timer_cancel(d->timer);
	vg_sdev_becomes(d, DEV_FAILED);
}

/*
 * Of a node that the toolstack has removed together with what was above it,
 * xenstored says EACCES: what is left above that is not ours to read.
 */
static bool is_gone(int err)
{
	return err == -ENOENT || err == -EACCES;
}

/* -ESTALE: libxl made a new one of the same name. */
static int remove_node_once(struct vg_sdev *d, const char *dir)
{
	struct xen_store *xs = d->s->xs;
	char **names, *state;
	int n, err = xen_store_begin(xs);

	if (err)
		return err;
	state = vg_key_read(xs, d->node, "state");
	if (!state && !is_gone(-errno))
		err = -errno;
	else if (state && strcmp(state, "6"))
		err = -ESTALE;
	free(state);
	if (!err)
		err = xen_store_rm(xs, d->node);
	if (is_gone(err))
		err = 0;
	if (err) {
		xen_store_abort(xs);
		return err;
	}
	n = xen_store_directory(xs, dir, &names);
	if (n >= 0)
		xen_store_free_dir(names);
	if (n == 0)
		xen_store_rm(xs, dir);
	return xen_store_commit(xs);
}

int vg_sup_remove_node(struct vg_sdev *d)
{
	char *dir = vg_strf("/local/domain/%u/backend/%s/%u", d->name.backend,
			    d->name.kind->name, d->name.guest);
	unsigned int tries = TRANSACTION_TRIES;
	int err;

	do {
		err = remove_node_once(d, dir);
	} while (err == -EAGAIN && --tries);
	free(dir);
	return err == -ESTALE ? 0 : err;
}
