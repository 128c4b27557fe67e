// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * devices.c - the life of a device: found, opened, given to its worker,
 * stopped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"

/* While somebody else has a resource, for a moment perhaps. */
#define RESOURCE_RETRY_NS		UINT64_C(20000000)

/* ---- resources (dev/type.h) --------------------------------------------- */

void vg_sup_res_close(struct vg_sdev *d)
{
	if (d->res && d->type->host->close)
		d->type->host->close(d->res);
}

static void res_leave(struct vg_sdev *d)
{
	if (d->res && d->type->host->leave)
		d->type->host->leave(d->res);
}

static int res_open(struct vg_sdev *d, const struct vg_dev_how *how,
		    struct vg_dev_parts *parts)
{
	char *why = NULL;
	int err = d->type->host->open(d->res, how, parts, &why);

	if (err == -EAGAIN)
		vg_timer_arm(d->retry, RESOURCE_RETRY_NS);
	if (why)
		vg_sup_failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/* ---- devices ------------------------------------------------------------ */

/* -ENOENT: it can't be reached (yet); other errors are said. */
int vg_sup_find_where(struct vg_sdev *d, struct vg_transport_where *where)
{
	struct vg_keys keys = vg_node_keys(&d->s->xs, d->node);
	char *why = NULL;
	int err;

	if (d->transport->has_front)
		return d->front ? vg_front_find(d, where) : -ENOENT;
	err = d->transport->find(&keys, NULL, d->s->own_domid, where, &why);
	if (err && err != -ENOENT) {
		d->s->about = d;
		vg_sup_failed(d->s, "%s: %s", d->label, why);
		d->s->about = NULL;
	}
	free(why);
	return err;
}

static int take_index(struct vg_sguest *g, unsigned int *slot)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		if (g->index_used[i])
			continue;
		g->index_used[i] = true;
		*slot = i;
		return 0;
	}
	return -E2BIG;
}

/*
 * A guest has so many threads for queues, shared out in the order of its
 * devices; who comes late has one queue, which needs none.  What was decided
 * for a device stays: its driver may know it.
 */
static unsigned int nr_queues_free(const struct vg_sdev *d)
{
	unsigned int left = VG_WORKER_LANES_MAX;
	unsigned int want = max_u(d->s->cfg.nr_queues, 1u);
	const struct vg_sdev *o;

	for (o = d->s->devs; o; o = o->next)
		if (o->guest == d->guest && o->nr_queues > 1 &&
		    o->type->has_threads)
			left -= min_u(left, o->nr_queues);
	return want <= left ? want : left > 1 ? left : 1;
}

/* Its state and what it is made of; fds[] as the worker gets them. */
static int dev_open(struct vg_sdev *d, struct vg_worker_msg *msg, int *fds)
{
	struct vg_keys keys = vg_node_keys(&d->s->xs, d->node);
	struct vg_dev_how how = {
		.keys = &keys,
		.guest = d->name.guest,
		.devid = d->name.devid,
		.run_dir = d->s->cfg.run_dir,
		.was_served = d->was_served,
	};
	struct vg_left left;
	unsigned int i;
	int err;

	err = vg_sup_state_open(d, &fds[VG_WORKER_FD_STATE],
				&fds[VG_WORKER_FD_HOLD], &how.is_held, &left);
	if (err)
		return err;
	if (!d->nr_queues)
		d->nr_queues = left.nr_queues;
	how.nr_queues = d->nr_queues ? d->nr_queues : nr_queues_free(d);
	how.has_left = left.nr_queues;
	memcpy(how.resource, left.resource, sizeof(how.resource));
	memcpy(how.told, left.told, sizeof(how.told));
	err = res_open(d, &how, &msg->parts);
	if (err)
		return err;
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		fds[VG_WORKER_FD_PARTS + i] = msg->parts.fds[i];
	if (fds[VG_WORKER_FD_STATE] >= 0)
		err = vg_sup_state_fit(d, fds[VG_WORKER_FD_STATE], &left,
				       &msg->parts);
	if (err)
		return err;
	if (!how.is_held)
		d->locked_out_ns = 0;
	d->nr_queues = msg->parts.nr_queues;
	msg->is_held = how.is_held;
	return 0;
}

static bool has_files(const struct vg_dev_parts *parts)
{
	unsigned int i;

	for (i = 0; i < VG_DEV_FDS_MAX && parts->fds[i] < 0; i++)
		;
	return i < VG_DEV_FDS_MAX;
}

static int dev_add(struct vg_sdev *d)
{
	struct vg_supervisor *s = d->s;
	struct vg_sguest *g = d->guest;
	struct vg_worker_msg msg = {
		.op = VG_WORKER_ADD,
		.where = d->where,
		.transport = vg_sup_transport_index(d->transport),
		.type = vg_sup_type_index(d->type),
		.queue_size_max = s->cfg.queue_size_max,
		.budget_pages = s->cfg.budget_pages,
		.copy_max_bytes = s->cfg.copy_max_bytes,
		.poll_max_ns = s->cfg.poll_max_ns,
		.poll_unbound_max_ns = s->cfg.poll_unbound_max_ns,
		.start = VG_START_NEW,
		.index = d->index,
	};
	int fds[VG_WORKER_FDS_MAX];
	unsigned int barren = d->barren;
	int err;

	vg_worker_no_fds(fds);
	err = dev_open(d, &msg, fds);
	if (err)
		goto close;
	snprintf(msg.text, sizeof(msg.text), "%s", d->label);
	vg_sup_how_to_start(d, &msg, fds[VG_WORKER_FD_STATE] >= 0);
	err = vg_sup_allow_file(d, msg.parts.file_max_bytes);
	if (err) {
		vg_sup_failed(s, "%s: its worker can't be allowed to write its files: %s",
			      d->label, strerror(-err));
		goto close;
	}
	vg_sup_permit_page(d);
	err = vg_worker_send(g->sock, &msg, fds);
	if (err) {
		d->barren = barren;
		vg_sup_failed(s, "%s: its worker can't be told: %s", d->label,
			      strerror(-err));
		/* It has ended, and the next one can. */
		if (err == -EPIPE || err == -ECONNRESET)
			err = -ENOBUFS;
		goto close;
	}
	d->has_files = has_files(&msg.parts);
	if (msg.is_held)
		vg_sup_held_begin(d, &msg.parts, fds);
close:
	vg_worker_close_fds(fds);
	return err;
}

static int dev_try(struct vg_sdev *d)
{
	struct vg_sguest *g = d->guest;
	int err;

	if (g->sock < 0) {
		err = vg_sup_worker_start(g);
		if (err) {
			vg_sup_failed(d->s, "%s: no worker can be started: %s",
				      d->label, strerror(-err));
			return err;
		}
	}
	if (take_index(g, &d->index)) {
		vg_sup_failed(d->s, "%s: dom%u has %u devices already", d->label,
			      g->domid, VG_WORKER_DEVICES_MAX);
		return -E2BIG;
	}
	d->has_index = true;
	return dev_add(d);
}

/*
 * Where it is reached is known: opens its resource and gives both to the
 * worker.
 */
void vg_sdev_start(struct vg_sdev *d)
{
	struct vg_sguest *g = d->guest;
	int err;

	/* Until then; both go on with it. */
	if (g->sock < 0 && (vg_timer_is_armed(g->respawn) ||
			    vg_sup_is_ending(d->s, g->domid)))
		return;
	vg_timer_cancel(d->retry);
	d->s->about = d;
	err = dev_try(d);
	d->s->about = NULL;
	if (!err) {
		vg_timer_cancel(d->timer);
		d->state = DEV_STARTING;
		vg_front_started(d);
		vg_timer_arm(d->answer, d->guest->patience_ns);
	} else if (err == -EAGAIN && vg_timer_is_armed(d->retry)) {
		vg_sup_index_put(d); /* a lock, see vg_sup_lock_awaited() */
	} else {
		vg_sdev_not_now(d, err);
	}
}

void vg_sdev_go_on(struct vg_sdev *d)
{
	int err = vg_sup_find_where(d, &d->where);

	if (!err) {
		d->has_where = true;
		vg_sdev_start(d);
	} else if (err != -ENOENT || d->has_where) {
		vg_sdev_wait(d);
	} else if (!vg_timer_is_armed(d->timer)) {
		vg_timer_arm(d->timer, UNREACHED_WARN_NS);
	}
}

void vg_sdev_closed(struct vg_sdev *d)
{
	d->remove_wanted = false;
	vg_sup_files_left(d);
	vg_sup_res_close(d);
	if (d->is_promised && d->is_published)
		vg_refusals_forget(&d->s->refusals, &d->name);
	vg_sdev_content(d);
	vg_timer_cancel(d->retry);
	if (d->is_orphan) {
		d->state = DEV_CLOSED;
		vg_sup_scan_all(d->s);	/* it has no name any more */
		return;
	}
	vg_sup_state_remove(d);
	vg_sdev_becomes(d, DEV_CLOSED);
	vg_info("%s: closed", d->label);
}

/* libxl wants it gone. */
void vg_sdev_stop(struct vg_sdev *d)
{
	switch (d->state) {
	case DEV_NEW:
	case DEV_FAILED:
		vg_sdev_closed(d);
		break;
	case DEV_STARTING:
		d->remove_wanted = true; /* when the worker has answered */
		break;
	case DEV_READY:
		res_leave(d);
		d->state = DEV_STOPPING;
		vg_timer_cancel(d->retry);
		vg_sdev_ask(d, TELL_REMOVE, ANSWER_NS);
		break;
	case DEV_STOPPING:
	case DEV_CLOSED:
	case DEV_IGNORED:
		break;
	}
}

/*
 * Its node is gone without the protocol, or is another device's by now, while
 * the worker has it still: from here on it has neither node nor state, and the
 * worker not much time.
 */
void vg_sdev_orphan(struct vg_sdev *d)
{
	d->is_orphan = true;
	vg_front_end(d);
	vg_sup_state_remove(d);
	/* Who wants it now waits for its lock only. */
	vg_sup_res_close(d);
	vg_sdev_stop(d);
	vg_timer_arm(d->answer, WORKER_END_NS);
}

static void not_reached(struct vg_sdev *d)
{
	char *what;

	if (!d->transport->missing)
		return;
	what = d->transport->missing(UNREACHED_WARN_NS / 1000000000u);

	d->s->about = d;
	vg_sup_failed(d->s, "%s: %s", d->label, what);
	d->s->about = NULL;
	free(what);
	/* In case that it was there, and we were not told. */
	vg_timer_arm(d->timer, UNREACHED_WARN_NS);
}

void vg_sup_on_dev_timer(void *arg)
{
	struct vg_sdev *d = arg;
	int err;

	if (d->state == DEV_NEW && d->is_ours && !d->has_where) {
		not_reached(d);
		vg_sdev_go_on(d);
	} else if (d->state == DEV_CLOSED) {
		err = vg_sup_remove_node(d);
		if (err) {
			vg_sup_failed(d->s, "%s: removing its node: %s", d->label,
				      strerror(-err));
			vg_timer_arm(d->timer, NODE_REMOVAL_NS);
		}
		vg_sup_scan_device(d);
	}
}

void vg_sdev_free(struct vg_sdev *d)
{
	struct vg_sdev **p;

	for (p = &d->s->devs; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	vg_sup_files_left(d);
	vg_sup_held_drop(d);
	vg_front_end(d);
	vg_sdev_resize_drop(d);
	vg_timer_destroy(d->resize_due);
	vg_timer_destroy(d->timer);
	vg_timer_destroy(d->retry);
	vg_timer_destroy(d->hold);
	vg_timer_destroy(d->answer);
	free(d->why);
	if (d->res)
		d->type->host->destroy(d->res);
	free(d->label);
	free(d->node);
	free(d);
}
