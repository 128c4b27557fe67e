// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * watch.c - virtio-grantctl watch: the daemon of the control domain that
 * follows domains which end and come back (toolstack/bus_follow.h).
 *
 * It wakes up for domains that come and go and for records that change, and at
 * most ten times a second; and by itself only while something is waited for.
 * None of it can a domain without privilege cause at will: by the nodes
 * "suspended" of its devices a guest has records change in two looks of each
 * three seconds, on average, and no more.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/saved.h"
#include "ctl/watch.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/util.h"

#define NAME		"virtio-grant-watch"
#define NS_PER_S	UINT64_C(1000000000)
#define PAUSE_NS	(NS_PER_S / 10)
#define PAUSE_MAX_NS	(NS_PER_S * 2)
#define FORGET_S	60u
#define EVENTS_A_TURN	64u

const char *vg_ctl_run_dir = "/run/virtio-grant";
#define STATE_DIR	"/var/lib/virtio-grant"

struct vg_watch {
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *vfd;
	struct vg_timer *timer;
	uint64_t last_ns, pause_ns;
	bool looks_again;
	struct vg_follow follow;
	struct vg_saved *saved;		/* NULL: what is saved is not kept */
	bool is_recalled;
	int err;
};

/* What another boot of the host has left comes first. */
static int look_at_all(struct vg_watch *w)
{
	int r, err = w->is_recalled || !w->saved ? 0 :
		     vg_saved_recall(w->saved);

	w->is_recalled = !err;
	r = vg_follow_look(&w->follow, w->last_ns);
	if (r < 0)
		vg_warn("looking at xenstore: %s; trying again", strerror(-r));
	else if (!err && w->saved)
		err = vg_saved_keep(w->saved, w->follow.suspended);
	return err ? err : r;
}

static void look(void *arg)
{
	struct vg_watch *w = arg;
	int r;

	w->last_ns = vg_now_ns();
	r = look_at_all(w);
	if (r) {
		vg_timer_arm(w->timer, w->pause_ns);
		w->pause_ns = min_u(w->pause_ns * 2, PAUSE_MAX_NS);
	} else if (w->looks_again) {
		/* A toolstack may write a domain's nodes behind its event. */
		w->looks_again = false;
		vg_timer_arm(w->timer, PAUSE_MAX_NS);
	}
}

static void on_events(void *arg)
{
	struct vg_watch *w = arg;
	uint64_t since;
	unsigned int i;
	char *path, *token;
	int err = 0;

	for (i = 0; i < EVENTS_A_TURN && !err; i++) {
		err = xen_store_next_watch(w->xs, &path, &token);
		if (err)
			break;
		free(path);
		free(token);
	}
	if (err && err != -EAGAIN) {
		vg_err("xenstore: %s", strerror(-err));
		w->err = err;
		vg_loop_stop(w->loop);
		return;
	}
	since = vg_now_ns() - w->last_ns;
	w->pause_ns = PAUSE_NS;
	w->looks_again = true;
	vg_timer_arm(w->timer, since >= PAUSE_NS ? 0 : PAUSE_NS - since);
}

static int watch_all(struct vg_watch *w)
{
	static const char *const paths[] = {
		"@introduceDomain", "@releaseDomain", VG_BUS_RECORDS,
	};
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(paths) && !err; i++)
		err = xen_store_watch(w->xs, paths[i], paths[i]);
	return err;
}

int vg_watch_create(struct vg_loop *loop, uint64_t forget_ns,
		    const char *state_dir, struct vg_watch **out)
{
	struct vg_watch *w = vg_zalloc(sizeof(*w));
	xen_domid_t own = 0;
	int err = xen_store_open(&w->xs);

	w->loop = loop;
	w->pause_ns = PAUSE_NS;
	if (!err)
		err = xen_store_own_domid(w->xs, &own);
	vg_follow_init(&w->follow, w->xs, own, forget_ns);
	if (state_dir)
		w->saved = vg_saved_create(w->xs, own, state_dir);
	w->timer = vg_timer_create(loop, look, w);
	if (!err)
		err = watch_all(w);
	if (!err)
		err = vg_loop_add_fd(loop, xen_store_fd(w->xs), on_events, w,
				     &w->vfd);
	if (err)
		vg_watch_destroy(w);
	else
		*out = w;
	return err;
}

void vg_watch_destroy(struct vg_watch *w)
{
	if (w->vfd)
		vg_loop_del_fd(w->loop, w->vfd);
	vg_timer_destroy(w->timer);
	vg_follow_exit(&w->follow);
	if (w->saved)
		vg_saved_destroy(w->saved);
	xen_store_close(w->xs);
	free(w);
}

int vg_watch_error(const struct vg_watch *w)
{
	return w->err;
}

const struct vg_follow *vg_watch_follow(const struct vg_watch *w)
{
	return &w->follow;
}

/* ---- the daemon --------------------------------------------------------- */

static void add(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)v));
}

static char *answer(void *arg, const char *request, uint64_t asker)
{
	const struct vg_follow *f = vg_watch_follow(arg);
	struct json_object *o = json_object_new_object();
	char *text;

	(void)request;
	(void)asker;
	vg_answer_set(o, "program", NAME);
	add(o, "devices", f->devices);
	add(o, "waiting", f->waiting);
	add(o, "suspended", f->suspended);
	add(o, "moved", f->moved);
	add(o, "reattached", f->reattached);
	add(o, "forgotten", f->forgotten);
	add(o, "failures", f->failures);
	vg_answer_set(o, "last_failure", f->last_failure);
	text = vg_strf("%s\n", json_object_to_json_string(o));
	json_object_put(o);
	return text;
}

static int serve(const char *run_dir, const char *state_dir, uint64_t forget_ns)
{
	struct vg_loop *loop;
	struct vg_watch *w;
	int err = vg_daemon_begin(run_dir, NAME, &loop);

	if (err)
		return err;
	err = vg_watch_create(loop, forget_ns, state_dir, &w);
	if (err) {
		vg_err("xenstore: %s: it is for the control domain, as root",
		       strerror(-err));
		vg_loop_destroy(loop);
		return err;
	}
	err = vg_daemon_serve(loop, run_dir, "watch.sock", answer, w);
	if (!err)
		err = vg_watch_error(w);
	vg_watch_destroy(w);
	vg_loop_destroy(loop);
	return err;
}

void vg_ctl_watch(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "forget", required_argument, NULL, 'f' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "state-dir", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	const char *run_dir = vg_ctl_run_dir, *state_dir = STATE_DIR;
	enum vg_log_level level = VG_LOG_INFO;
	uint64_t forget_s = FORGET_S;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "r:v", options, NULL)) != -1) {
		if (c == 'r')
			run_dir = optarg;
		else if (c == 's')
			state_dir = optarg;
		else if (c == 'v')
			level = VG_LOG_DEBUG;
		else if (c != 'f' ||
			 vg_parse_u64(optarg, 10, UINT32_MAX, &forget_s))
			optind = argc + 1;
		if (optind > argc)
			break;
	}
	if (optind != argc) {
		vg_answer_fail(a, VG_EXIT_USAGE, "watch: usage: watch [--forget=SECONDS] [--run-dir=DIR] [--state-dir=DIR] [-v]");
		return;
	}
	vg_log_init(NAME, level);
	/* What failed is logged. */
	if (serve(run_dir, state_dir, forget_s * NS_PER_S))
		a->status = VG_EXIT_FAILED;
}
