// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * worker.c - the devices of one guest: see worker.h.
 *
 * Not trusted: the guest (device.h), and what its transports read (theirs to
 * say).  The supervisor is.
 *
 * Threads: see device.h.  What queues' threads use (channels, the transport's
 * way to notify) changes only while the device is frozen.
 */
#include "grantd/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "grantd/channels.h"
#include "lib/log.h"
#include "lib/msg.h"
#include "lib/util.h"
#include "mem/grants.h"
#include "virtio/state.h"

#define REPORT_TRIES_MAX	200u

int (*vg_worker_mem_create)(struct xen_gnttab *gt, xen_domid_t domid,
			    unsigned int budget_pages, uint32_t copy_max_bytes,
			    struct vg_mem **out) =
	vg_mem_pool_create;

/* One device, and all that is around it. */
struct wdev {
	struct vg_worker *w;
	unsigned int index;
	bool used;
	bool removing;
	char label[VG_WORKER_TEXT_MAX];
	struct vg_device *dev;
	struct vg_transport *transport;
	struct vg_transport_where where;	/* as it was told last */
	struct vg_channels *channels;
	unsigned int nr_queues;
	struct vg_state *state;		/* NULL: none is kept */
	int hold_fd;			/* its lock says that we, or the kernel
					 * for us, are here; the one of what
					 * `state' is mapped by, that we are */
	bool is_leaving;
};

struct vg_worker {
	xen_domid_t guest;
	struct vg_loop *loop;
	int sock;
	struct vg_fd *sock_fd;
	void (*gone)(void *arg);
	void *gone_arg;
	struct xen_gnttab *gt;
	struct xen_evtchn *ec;
	struct vg_ports *ports;
	struct vg_channel_stock stock;
	struct vg_worker_shared *shared;
	struct vg_deferred *end_of_turn;
	struct wdev wdev[VG_WORKER_DEVICES_MAX];
};

/* ---- messages ----------------------------------------------------------- */

_Static_assert(VG_WORKER_FDS_MAX <= VG_MSG_FDS_MAX, "descriptors");

int vg_worker_send(int sock, struct vg_worker_msg *msg,
		   const int fds[VG_WORKER_FDS_MAX])
{
	int present[VG_WORKER_FDS_MAX];
	unsigned int i, n = 0;

	msg->fds_present = 0;
	for (i = 0; fds && i < VG_WORKER_FDS_MAX; i++) {
		if (fds[i] < 0)
			continue;
		present[n++] = fds[i];
		msg->fds_present |= 1u << i;
	}
	return vg_msg_send(sock, msg, sizeof(*msg), present, n);
}

void vg_worker_no_fds(int fds[VG_WORKER_FDS_MAX])
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_FDS_MAX; i++)
		fds[i] = -1;
}

void vg_worker_close_fds(int fds[VG_WORKER_FDS_MAX])
{
	vg_msg_close_fds(fds, VG_WORKER_FDS_MAX);
}

int vg_worker_recv(int sock, struct vg_worker_msg *msg,
		   int fds[VG_WORKER_FDS_MAX])
{
	int came[VG_WORKER_FDS_MAX], n;
	unsigned int i, at = 0;

	n = vg_msg_recv(sock, msg, sizeof(*msg), came, VG_WORKER_FDS_MAX);
	for (i = 0; i < VG_WORKER_FDS_MAX; i++)
		fds[i] = n > 0 && msg->fds_present & 1u << i ? came[at++] : -1;
	if (n <= 0)
		return n;
	/* As many as were said, and no others. */
	if ((at && came[at - 1] < 0) ||
	    (at < VG_WORKER_FDS_MAX && came[at] >= 0) ||
	    msg->fds_present >> VG_WORKER_FDS_MAX ||
	    msg->index >= VG_WORKER_DEVICES_MAX) {
		vg_msg_close_fds(came, VG_WORKER_FDS_MAX);
		vg_worker_no_fds(fds);
		return -EPROTO;
	}
	msg->text[sizeof(msg->text) - 1] = 0;
	return 1;
}

void vg_worker_stats(const struct vg_worker_shared *shared, unsigned int index,
		     unsigned int nr_queues, struct vg_dev_stats *out)
{
	unsigned int i;

	*out = shared->dev[index];
	for (i = 0; i < min_u(nr_queues, VG_WORKER_QUEUES_MAX); i++)
		vg_dev_stats_add(out, &shared->queue[index][i]);
}

/*
 * There are fewer answers under way than a socket holds, since the supervisor
 * asks for the next thing only when it has the last answer: what fails is the
 * kernel's want of memory, and one that is not heard is ended.
 */
static void report(struct wdev *d, enum vg_worker_op op, int error,
		   const char *text)
{
	struct vg_worker_msg msg = { .op = op, .index = d->index,
				     .error = error, .where = d->where };
	size_t len = min_u(strlen(text), sizeof(msg.text) - 1);
	unsigned int tries = REPORT_TRIES_MAX;
	int err, epfd = -1;

	memcpy(msg.text, text, len);
	while ((err = vg_worker_send(d->w->sock, &msg, NULL)) &&
	       vg_error_passes(err) && --tries)
		vg_nap(&epfd);
	if (epfd >= 0)
		close(epfd);
	if (err)
		vg_debug("%s: the supervisor can't be told", d->label);
}

/* ---- what a device asks of us (struct vg_host_ops) ---------------------- */

static int queue_bind(void *host, unsigned int queue, uint32_t channel)
{
	return vg_channels_bind(((struct wdev *)host)->channels, queue,
				channel);
}

static void queue_unbind(void *host, unsigned int queue)
{
	vg_channels_unbind(((struct wdev *)host)->channels, queue);
}

static void queue_notify(void *host, unsigned int queue)
{
	vg_channels_notify(((struct wdev *)host)->channels, queue);
}

static void queue_move(void *host, unsigned int queue, struct vg_loop *loop)
{
	vg_channels_move(((struct wdev *)host)->channels, queue, loop);
}

static void device_worked(void *host)
{
	struct wdev *d = host;

	vg_deferred_schedule(d->w->end_of_turn);
}

static void device_stopped(void *host)
{
	struct wdev *d = host;

	/* From within the device's own code: it is destroyed at turn's end. */
	d->removing = true;
	vg_deferred_schedule(d->w->end_of_turn);
}

static const struct vg_host_ops host_ops = {
	.bind_queue = queue_bind,
	.unbind_queue = queue_unbind,
	.notify_queue = queue_notify,
	.move_queue = queue_move,
	.worked = device_worked,
	.stopped = device_stopped,
};

/* Its transport has gone where it was told, or not. */
static void device_moved(void *host, int err, const char *text)
{
	report(host, VG_WORKER_MOVED, err, text);
}

/* ---- the end of a device, and of a turn --------------------------------- */

static void close_state(struct wdev *d)
{
	vg_state_unmap(d->state, d->nr_queues);
	d->state = NULL;
	if (d->hold_fd >= 0)
		close(d->hold_fd);
	d->hold_fd = -1;
}

static void wdev_free(struct wdev *d)
{
	vg_device_destroy(d->dev);
	d->dev = NULL;
	vg_channels_destroy(d->channels);
	d->channels = NULL;
	d->transport->type->close(d->transport, d->is_leaving);
	d->transport = NULL;
	close_state(d);
	d->used = false;
	d->removing = false;
}

static void on_end_of_turn(void *arg)
{
	struct vg_worker *w = arg;
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		struct wdev *d = &w->wdev[i];

		if (!d->used)
			continue;
		vg_step();
		d->transport->type->end_of_turn(d->transport);
		w->shared->dev[i] = *vg_device_own_stats(d->dev);
		if (d->removing) {
			wdev_free(d);
			report(d, VG_WORKER_REMOVED, 0, "");
		}
	}
}

/* ---- from the supervisor ------------------------------------------------ */

/*
 * The mapping has the file open from now on, and its lock; nothing else has, so
 * that whoever takes this process over can't make the file grow.
 */
static int state_take(struct wdev *d, int fd)
{
	int err = vg_state_map(fd, d->nr_queues, &d->state);

	close(fd);
	return err;
}

/* The descriptors of @msg's parts are its type's, in any case. */
static int device_create(struct wdev *d, const struct vg_worker_msg *msg,
			 const struct vg_dev_parts *parts, const char **why)
{
	const struct vg_dev_type *type = vg_dev_types[msg->type];
	struct vg_worker *w = d->w;
	struct vg_device_params p = {
		.label = d->label,
		.type = type,
		.parts = parts,
		.transport_ops = d->transport->type->device_ops,
		.transport = d->transport->arg,
		.queue_size_max = msg->queue_size_max,
		.poll_max_ns = msg->poll_max_ns,
		.poll_unbound_max_ns = msg->poll_unbound_max_ns,
		.may_thread = vg_channels_may_thread(d->channels),
		.queue_stats = w->shared->queue[d->index],
		.state = d->state,
		.state_nr_queues = d->nr_queues,
		.hold_fd = d->hold_fd,
		.start = msg->start,
		.start_broken = msg->start_broken,
		.is_held = msg->is_held,
	};
	struct vg_mem *mem;
	unsigned int i;
	int err;

	*why = "guest memory";
	err = vg_worker_mem_create(w->gt, w->guest, msg->budget_pages,
				   msg->copy_max_bytes, &mem);
	if (err) {
		for (i = 0; i < VG_DEV_FDS_MAX; i++)
			if (parts->fds[i] >= 0)
				close(parts->fds[i]);
		return err;
	}
	err = vg_device_create(&p, mem, w->loop, &host_ops, d, &d->dev);
	*why = err == -EMFILE ? "device: nothing is left for its queues" :
				"device";
	return err;
}

static void channels_create(struct wdev *d, const struct vg_worker_msg *msg)
{
	struct vg_worker *w = d->w;

	d->channels = vg_channels_create(&(struct vg_channels_params){
		.label = d->label, .guest = w->guest, .loop = w->loop,
		.ports = w->ports, .ec = w->ec, .stock = &w->stock,
		.nr_queues = d->nr_queues,
		.wants_threads = vg_dev_types[msg->type]->has_threads,
		.is_taking_over = msg->start == VG_START_TAKE_OVER,
		.worked = device_worked, .arg = d,
	});
}

static int transport_open(struct wdev *d, const struct vg_worker_msg *msg,
			  const char **why)
{
	struct vg_worker *w = d->w;
	const struct vg_transport_env env = {
		.guest = w->guest, .label = d->label, .loop = w->loop,
		.gt = w->gt, .ports = w->ports,
		.is_taking_over = msg->start == VG_START_TAKE_OVER,
		.worked = device_worked, .moved = device_moved, .arg = d,
	};

	return vg_transport_types[msg->transport]->open(&env, &msg->where,
							&d->transport, why);
}

/* Takes fds[]: what is not used is closed. */
static int wdev_open(struct wdev *d, const struct vg_worker_msg *msg,
		     int fds[VG_WORKER_FDS_MAX], const char **why)
{
	struct vg_dev_parts parts = msg->parts;
	unsigned int i;
	int err;

	/*
	 * The transport comes first, since it is what can fail; a device that
	 * took over its state has to go on with it.
	 */
	err = transport_open(d, msg, why);
	if (err)
		goto close_fds;
	*why = "what outlives the worker";
	err = fds[VG_WORKER_FD_STATE] >= 0 ?
	      state_take(d, fds[VG_WORKER_FD_STATE]) : 0;
	fds[VG_WORKER_FD_STATE] = -1;
	if (err)
		goto close_transport;
	d->hold_fd = fds[VG_WORKER_FD_HOLD];
	fds[VG_WORKER_FD_HOLD] = -1;
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		parts.fds[i] = fds[VG_WORKER_FD_PARTS + i];
	vg_worker_no_fds(fds);
	channels_create(d, msg);
	err = device_create(d, msg, &parts, why);
	if (!err)
		return 0;
	vg_channels_destroy(d->channels);
	d->channels = NULL;
	close_state(d);
close_transport:
	d->transport->type->close(d->transport, false);
	d->transport = NULL;
close_fds:
	vg_worker_close_fds(fds);
	return err;
}

static bool is_possible(const struct wdev *d, const struct vg_worker_msg *msg)
{
	return !d->used && msg->type < vg_nr_dev_types &&
	       msg->transport < vg_nr_transport_types &&
	       msg->parts.nr_queues && msg->queue_size_max &&
	       msg->parts.nr_queues <= VG_WORKER_QUEUES_MAX;
}

static void add_device(struct vg_worker *w, const struct vg_worker_msg *msg,
		       int fds[VG_WORKER_FDS_MAX])
{
	struct wdev *d = &w->wdev[msg->index];
	char text[VG_WORKER_TEXT_MAX];
	const char *why;
	int err;

	if (!is_possible(d, msg)) {
		report(d, VG_WORKER_ADDED, -EINVAL, "supervisor's mistake");
		vg_worker_close_fds(fds);
		return;
	}
	memcpy(d->label, msg->text, sizeof(d->label));
	d->nr_queues = msg->parts.nr_queues;
	d->where = msg->where;
	/* Of others nothing is shown, and no page touched. */
	memset(w->shared->queue[d->index], 0,
	       d->nr_queues * sizeof(w->shared->queue[0][0]));
	d->is_leaving = false;
	err = wdev_open(d, msg, fds, &why);
	if (err) {
		snprintf(text, sizeof(text), "%s: %s", why, strerror(-err));
		report(d, VG_WORKER_ADDED, err, text);
		return;
	}
	d->used = true;
	vg_channels_set_device(d->channels, d->dev);
	d->transport->type->begin(d->transport, d->dev);
	vg_step();
	report(d, VG_WORKER_ADDED, 0, "");
	vg_step();
	d->transport->type->catch_up(d->transport);
	vg_channels_taken_over(d->channels);
}

static void resize_device(struct wdev *d, const struct vg_worker_msg *msg)
{
	int err = vg_device_resized(d->dev, msg->change.words);

	vg_step();
	report(d, VG_WORKER_RESIZED, err, err ? strerror(-err) : "");
	vg_deferred_schedule(d->w->end_of_turn);
}

static void on_supervisor(void *arg)
{
	struct vg_worker *w = arg;
	struct vg_worker_msg msg;
	int fds[VG_WORKER_FDS_MAX], n;
	struct wdev *d;

	n = vg_worker_recv(w->sock, &msg, fds);
	if (vg_error_passes(n))
		return;			/* it is there still */
	if (n <= 0) {
		vg_loop_del_fd(w->loop, w->sock_fd);
		w->sock_fd = NULL;
		w->gone(w->gone_arg);
		return;
	}
	WRITE_ONCE(w->shared->has_begun, 1);
	if (msg.op == VG_WORKER_ADD) {
		add_device(w, &msg, fds);
		return;
	}
	vg_worker_close_fds(fds);
	d = &w->wdev[msg.index];
	if (!d->used)
		return;
	switch (msg.op) {
	case VG_WORKER_MOVE:
		d->where = msg.where;
		d->transport->type->move(d->transport, &msg.where);
		break;
	case VG_WORKER_RESIZE:
		resize_device(d, &msg);
		break;
	case VG_WORKER_REMOVE:
		vg_device_stop(d->dev);
		break;
	case VG_WORKER_RELEASE:
		vg_device_release(d->dev);
		vg_deferred_schedule(w->end_of_turn);
		break;
	}
}

/* ---- life --------------------------------------------------------------- */

int vg_worker_create(xen_domid_t guest, struct vg_loop *loop, int sock,
		     struct vg_worker_shared *shared, void (*gone)(void *arg),
		     void *arg, struct vg_worker **out)
{
	struct vg_worker *w = vg_zalloc(sizeof(*w));
	unsigned int i;
	int err;

	w->guest = guest;
	w->loop = loop;
	w->sock = sock;
	w->shared = shared;
	w->gone = gone;
	w->gone_arg = arg;
	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		w->wdev[i].w = w;
		w->wdev[i].hold_fd = -1;
		w->wdev[i].index = i;
	}
	vg_channel_stock_init(&w->stock, VG_WORKER_LANES_MAX);
	w->end_of_turn = vg_deferred_create(loop, on_end_of_turn, w);
	err = xen_gnttab_open(&w->gt);
	if (err) {
		vg_err("/dev/xen/gntdev: %s (is the module xen-gntdev loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = xen_evtchn_open(&w->ec);
	if (err) {
		vg_err("/dev/xen/evtchn: %s (is the module xen-evtchn loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = vg_ports_create(w->ec, loop, &w->ports);
	if (!err)
		err = vg_loop_add_fd(loop, sock, on_supervisor, w, &w->sock_fd);
	if (err)
		goto fail;
	*out = w;
	return 0;
fail:
	vg_worker_destroy(w);
	return err;
}

int vg_worker_stock(struct vg_worker *w, unsigned int n)
{
	return vg_channel_stock_fill(&w->stock, n);
}

static bool any_used(const struct vg_worker *w)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		if (w->wdev[i].used)
			return true;
	return false;
}

void vg_worker_freeze(struct vg_worker *w)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		if (w->wdev[i].used)
			vg_device_freeze(w->wdev[i].dev);
}

void vg_worker_destroy(struct vg_worker *w)
{
	unsigned int i;

	if (w->sock_fd)
		vg_loop_del_fd(w->loop, w->sock_fd);
	w->sock_fd = NULL;
	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		if (!w->wdev[i].used)
			continue;
		w->wdev[i].is_leaving = w->wdev[i].state;
		vg_device_leave(w->wdev[i].dev);
	}
	while (any_used(w) && vg_loop_run_once(w->loop, -1) >= 0)
		;
	vg_ports_destroy(w->ports);
	vg_deferred_destroy(w->end_of_turn);
	vg_channel_stock_exit(&w->stock);
	xen_evtchn_close(w->ec);
	xen_gnttab_close(w->gt);
	free(w);
}
