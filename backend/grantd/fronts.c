// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fronts.c - devices whose driver has a node of its own, its front
 * (transport.h): what follows from the states of both nodes.
 *
 *	node	front
 *	1	1	the toolstack made them; the worker opens the device
 *	2	1	it is served, and its driver may come
 *	2	3	the driver is there: the worker attaches to it
 *	4	3, 4	attached
 *	5	5	the driver closes, as when its guest shuts down,
 *	6	6	... and has; when it says 1 again, we say 2
 *
 * and with a key "online" that is not 1:
 *
 *	5	4	the toolstack wants it gone, the driver is being asked
 *	5	else	... and is gone, too: as devices without a front
 *	6		closed, for good
 *
 * Not trusted: the guest, whose the front is.  Its path is made of the device's
 * name and never read; a state that is none, and keys that do not parse, are a
 * driver that is not there, or not there yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"

#define FRONT_TOKEN	"front"

/* ---- the front's node --------------------------------------------------- */

/* -EINVAL: the toolstack means another one. */
static int front_check(struct vg_sdev *d)
{
	char *named = vg_key_read(d->s->xs, d->node, "frontend");
	int err = named ? 0 : -errno;

	if (named && strcmp(named, d->front)) {
		vg_sup_failed(d->s, "%s: xenstore key %s/frontend: \"%s\" is not its front, %s",
			      d->label, d->node, named, d->front);
		err = -EINVAL;
	}
	free(named);
	return err == -ENOENT ? 0 : err;
}

int vg_front_begin(struct vg_sdev *d)
{
	int err;

	if (d->is_front_watched)
		return 0;
	if (!d->front)
		d->front = vg_devname_front_path(&d->name);
	err = front_check(d);
	if (err)
		return err;
	err = xen_store_watch(d->s->xs, d->front, FRONT_TOKEN);
	if (err && err != -EEXIST) {
		vg_sup_failed(d->s, "%s: watching %s in xenstore: %s%s",
			      d->label, d->front, strerror(-err),
			      err == -ENOSPC || err == -E2BIG ?
			      " (a domain has so many watches: xenstored's quota)" :
			      "");
		return -EAGAIN;
	}
	d->is_front_watched = true;
	return 0;
}

void vg_front_end(struct vg_sdev *d)
{
	if (d->is_front_watched)
		xen_store_unwatch(d->s->xs, d->front, FRONT_TOKEN);
	d->is_front_watched = false;
	free(d->front);
	d->front = NULL;
}

/*
 * 0, or negative errno; -ENOENT: there is none, for us.  Of what is not there
 * xenstored says EACCES where nothing above it may be read; and it is another
 * backend's if the toolstack has made it so.
 */
static int front_exists(const struct vg_sdev *d)
{
	char **names;
	int n = xen_store_directory(d->s->xs, d->front, &names);

	if (n >= 0)
		xen_store_free_dir(names);
	return n >= 0 ? 0 : n == -EACCES ? -ENOENT : n;
}

/*
 * *state: as the driver says, 0 for what makes no sense.  -ENOENT: there is no
 * front; another error: it can't be read now.
 */
static int front_read(const struct vg_sdev *d, unsigned int *state)
{
	char *text = vg_key_read(d->s->xs, d->front, "state");
	int err = text ? 0 : -errno;
	uint64_t v = 0;

	if (text && vg_parse_u64(text, 10, VG_XENBUS_CLOSED, &v))
		v = 0;
	free(text);
	*state = (unsigned int)v;
	if (err == -ENOENT || err == -EINVAL || err == -EACCES)
		err = front_exists(d);
	return err;
}

static bool is_driver_there(unsigned int front_state)
{
	return front_state == VG_XENBUS_INITIALISED ||
	       front_state == VG_XENBUS_CONNECTED;
}

static bool is_nobody(const struct vg_transport_where *where)
{
	static const struct vg_transport_where nobody;

	return !memcmp(where, &nobody, sizeof(nobody));
}

/* What an error is that the driver has made, and only it can mend. */
static bool is_drivers(int err)
{
	return err == -EINVAL || err == -ERANGE || err == -EPROTO;
}

int vg_front_find(struct vg_sdev *d, struct vg_transport_where *where)
{
	struct vg_keys keys = vg_node_keys(&d->s->xs, d->node);
	struct vg_keys front = vg_node_keys(&d->s->xs, d->front);
	char *why = NULL;
	unsigned int state;
	int err = front_read(d, &state);

	*where = (struct vg_transport_where){ { 0 } };
	if (err && err != -ENOENT)
		return err;
	d->is_front_new |= state != d->front_state &&
			   d->front_state == VG_XENBUS_CONNECTED;
	d->front_state = err ? 0 : state;
	d->has_front |= !err;
	d->is_front_gone = err == -ENOENT;
	if (!is_driver_there(d->front_state))
		return 0;
	err = d->transport->find(&keys, &front, d->s->own_domid, where, &why);
	if (err) {
		*where = (struct vg_transport_where){ { 0 } };
		d->s->about = d;
		vg_sup_failed(d->s, "%s: %s", d->label, why);
		d->s->about = NULL;
		if (is_drivers(err))
			vg_refusals_say(&d->s->refusals, &d->name, why);
	}
	free(why);
	return is_drivers(err) ? 0 : err;
}

/* ---- attaching ---------------------------------------------------------- */

static void front_move(struct vg_sdev *d,
		       const struct vg_transport_where *where)
{
	bool is_leaving = is_nobody(where);

	d->where = *where;
	d->is_attached = false;
	d->is_moving = true;
	d->is_front_new = false;
	/* To nobody takes as long as what is under way. */
	vg_sdev_ask(d, TELL_MOVE, is_leaving ? ANSWER_MAX_NS :
					       d->guest->patience_ns);
}

/* One move after the other: its worker tells where it has come. */
static void front_follow(struct vg_sdev *d,
			 const struct vg_transport_where *where)
{
	bool is_other = memcmp(where, &d->where, sizeof(*where));
	bool is_again = d->is_front_new && !is_nobody(where);

	if (d->is_moving)
		return;
	if (is_other || is_again)
		front_move(d, where);
	else
		vg_front_show(d);
}

void vg_front_started(struct vg_sdev *d)
{
	d->is_attached = false;
	d->is_moving = !is_nobody(&d->where);
}

void vg_front_moved(struct vg_sdev *d, const struct vg_worker_msg *msg)
{
	/* About where it was told to go before: it is over with that. */
	if (memcmp(&msg->where, &d->where, sizeof(d->where)))
		return;
	d->is_moving = false;
	d->is_attached = !msg->error && !is_nobody(&d->where);
	if (msg->error)
		vg_refusals_say(&d->s->refusals, &d->name, d->why);
	else if (d->is_attached)
		vg_refusals_forget(&d->s->refusals, &d->name);
	if (d->state != DEV_READY)
		return;
	/* The driver waits for it; a scan would read all keys again first. */
	if (d->is_attached)
		vg_front_show(d);
	vg_sup_scan_device(d);
}

/* ---- the device's own node ---------------------------------------------- */

/* 0: as it is. */
static enum vg_xenbus_state wanted_state(const struct vg_sdev *d)
{
	if (d->is_attached)
		return VG_XENBUS_CONNECTED;
	if (d->node_state == VG_XENBUS_INITIALISING)
		return VG_XENBUS_INIT_WAIT;
	/* On the way, or not all of it is back yet. */
	if (d->is_moving || !is_nobody(&d->where))
		return 0;
	return d->front_state == VG_XENBUS_CLOSING ? VG_XENBUS_CLOSING :
	       d->front_state == VG_XENBUS_CLOSED ? VG_XENBUS_CLOSED :
						    VG_XENBUS_INIT_WAIT;
}

void vg_front_show(struct vg_sdev *d)
{
	enum vg_xenbus_state want = wanted_state(d);

	/* What the toolstack wants stands there until it is so. */
	if (d->state != DEV_READY || d->is_unwanted)
		return;
	d->front_target = want ? want : (enum vg_xenbus_state)d->node_state;
	if (d->front_target == d->node_state && d->is_shown)
		return;
	d->is_shown = false;
	vg_sdev_show(d);
}

/* ---- the scan ----------------------------------------------------------- */

/* Nobody else would remove what libxl knows nothing of. */
static bool is_abandoned(const struct vg_sdev *d)
{
	return d->name.kind->is_own && d->is_front_gone &&
	       (d->has_front || vg_now_ns() - d->since_ns > UNREACHED_WARN_NS);
}

/* The driver has it, and was asked to let go. */
static bool is_in_use(const struct vg_sdev *d)
{
	return is_driver_there(d->front_state) && !is_nobody(&d->where) &&
	       (d->is_attached || d->is_moving || d->state == DEV_NEW ||
		d->state == DEV_STARTING);
}

/*
 * These states are the toolstack's if it does not want the device any more, and
 * else our answer to the driver: 1, 0, or negative errno if that can't be read
 * now.
 */
static int is_unwanted(const struct vg_sdev *d, uint64_t state)
{
	const struct vg_keys node = vg_node_keys(&d->s->xs, d->node);
	int is;

	if (state != VG_XENBUS_CLOSING && state != VG_XENBUS_CLOSED)
		return 0;
	is = vg_keys_is_1(&node, "online");
	return is < 0 ? is : !is;
}

/* @state: of the device's node; @where its driver is. */
static void scan_known(struct vg_sdev *d, uint64_t state,
		       const struct vg_transport_where *where)
{
	bool is_new = !d->has_where || memcmp(where, &d->where, sizeof(*where));

	if (is_abandoned(d)) {
		if (d->state != DEV_STOPPING && d->state != DEV_CLOSED)
			vg_info("%s: its front is gone", d->label);
		d->is_abandoned = true;
		vg_sdev_stop(d);
		return;
	}
	if (d->name.kind->is_own && d->is_front_gone && !d->has_front)
		d->s->look_again = true;
	if (d->state == DEV_NEW) {
		d->where = *where;
		d->has_where = true;
	}
	if (d->is_unwanted && (state == VG_XENBUS_CLOSED || !is_in_use(d))) {
		vg_sdev_stop(d);
	} else if (d->state == DEV_NEW) {
		/* By a predecessor, and its driver is being asked. */
		if (state == VG_XENBUS_CLOSING)
			d->was_served = d->is_promised = true;
		/* ... and has let go of it; the next one finds it. */
		d->is_promised |= state == VG_XENBUS_CLOSED;
		if (is_new || !vg_timer_is_armed(d->retry))
			vg_sdev_start(d);
	} else if (d->state == DEV_READY) {
		front_follow(d, where);
	}
}

void vg_front_scan(struct vg_sdev *d, uint64_t state)
{
	struct vg_transport_where where;
	int err, is;

	if (d->state == DEV_CLOSED || d->state == DEV_STOPPING || !d->front)
		return;
	err = vg_front_find(d, &where);
	is = is_unwanted(d, state);
	if (err || is < 0) {
		d->s->look_again = true;
		return;
	}
	d->is_unwanted = is;
	scan_known(d, state, &where);
}
