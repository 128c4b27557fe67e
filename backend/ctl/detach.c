// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * detach.c - virtio-grantctl detach: asks guest and backend to let a device go,
 * and removes it when they have; or, forced, whether they have or not.
 *
 * A guest that still uses it decides for itself: then the request is taken
 * back, and the device goes on.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/transact.h"

#define NS_PER_MS	UINT64_C(1000000)
#define TIMEOUT_S	30u
#define TIMEOUT_S_MAX	86400u

struct detach {
	struct vg_session *s;
	struct vg_bus_dev *dev;
	bool force;
	unsigned int timeout_ms;
	char *front, *back;
	unsigned int was;		/* the back's state before we asked */
};

static int fail(struct detach *d, const char *what)
{
	return vg_answer_fail(d->s->a, VG_EXIT_FAILED, "%s %s: %s",
			      d->dev->guest_name, d->dev->spec.name, what);
}

/* ---- who is to let go --------------------------------------------------- */

static bool is_closed(int state)
{
	return state == VG_XENBUS_CLOSED || state == -ENOENT || !state;
}

/* One that no driver of the guest's has taken yet has nothing to let go. */
static bool front_let_go(int state)
{
	return is_closed(state) || state == VG_XENBUS_CLOSING ||
	       state == VG_XENBUS_INITIALISING;
}

/* 1: both have; 0: not yet; or negative errno. */
static int have_let_go(struct detach *d, bool *front_has)
{
	int front = vg_bus_state(d->s->xs, d->front);
	int back = vg_bus_state(d->s->xs, d->back);

	if (front < 0 && front != -ENOENT && front != -EINVAL)
		return front;
	if (back < 0 && back != -ENOENT && back != -EINVAL)
		return back;
	*front_has = front_let_go(front);
	return *front_has && is_closed(back);
}

/*
 * 0: both have let go.  -ETIMEDOUT: not, within @ms, or not the backend within
 * the time that it gets of its own when the guest has.
 */
static int wait_for_both(struct detach *d, unsigned int ms, bool *front_has)
{
	uint64_t until = vg_now_ns() + ms * NS_PER_MS;
	bool is_backends_turn = false;
	int r, err = 0;

	*front_has = false;
	while (!err) {
		r = have_let_go(d, front_has);
		if (r)
			return r < 0 ? r : 0;
		if (*front_has && !is_backends_turn) {
			is_backends_turn = true;
			until = vg_now_ns() + vg_ctl_wait_ms * NS_PER_MS;
		}
		err = vg_session_wait(d->s, until);
	}
	return err;
}

/* ---- asking ------------------------------------------------------------- */

/* -ENOENT: there is nobody to ask. */
static int ask_to_close(struct detach *d)
{
	struct vg_bus_ask ask = { .dev = d->dev, .online = false,
				  .state = VG_XENBUS_CLOSING };
	int err = vg_bus_ask(d->s->xs, &ask);

	d->was = ask.was;
	return err;
}

/* What it was; one that was closing stays so. */
static int take_back(struct detach *d)
{
	struct vg_bus_ask ask = { .dev = d->dev, .online = true,
				  .state = VG_XENBUS_CONNECTED,
				  .only_if = VG_XENBUS_CLOSING };

	if (d->was == VG_XENBUS_INITIALISING || d->was == VG_XENBUS_INIT_WAIT)
		ask.state = d->was;
	return vg_bus_ask(d->s->xs, &ask);
}

static int remove_all(struct detach *d, const char *note)
{
	struct vg_answer *a = d->s->a;
	int err = vg_bus_remove(d->s->xs, d->dev);

	if (err)
		return vg_session_store_failed(d->s, err);
	a->result = vg_session_json(d->s, d->dev);
	vg_answer_set(a->result, "state", "detached");
	vg_answer_set(a->result, "note", *note ? note : NULL);
	vg_answer_line(a, "%s %s: detached%s%s", d->dev->guest_name,
		       d->dev->spec.name, *note ? "; " : "", note);
	return 0;
}

#define NO_ANSWER "virtio-grantd in the backend's domain did not answer"

static int still_used(struct detach *d)
{
	int err = take_back(d);
	bool front_has;

	/* Between our last look and this. */
	if (err == -ESTALE || err == -ENOENT) {
		if (have_let_go(d, &front_has) == 1)
			return remove_all(d, "");
	} else if (err) {
		return vg_session_store_failed(d->s, err);
	}
	return fail(d, "the guest still uses it (mounted?): unmount it there, or --force");
}

static int after_asking(struct detach *d)
{
	bool front_has;
	int err = wait_for_both(d, d->timeout_ms, &front_has);

	if (!err)
		return remove_all(d, "");
	if (err == -ETIMEDOUT && front_has)
		return remove_all(d, NO_ANSWER);
	if (err == -ETIMEDOUT)
		return still_used(d);
	take_back(d);
	return err == -EINTR ? fail(d, "interrupted: the request is taken back") :
			       vg_session_store_failed(d->s, err);
}

/* The front goes, then the backend has its time: 0, -ETIMEDOUT, or others. */
static int let_go_of_backend(struct detach *d)
{
	bool front_has;
	int err = vg_bus_remove_front(d->s->xs, d->dev);

	/* The backend is asked whatever the guest does to its nodes. */
	if (!err || err == -EAGAIN)
		err = ask_to_close(d);
	if (!err)
		err = wait_for_both(d, vg_ctl_wait_ms, &front_has);
	return err == -ENOENT ? 0 : err;
}

static int forced(struct detach *d)
{
	int err = let_go_of_backend(d);

	return remove_all(d, err == -ETIMEDOUT ? NO_ANSWER : "");
}

static int gently(struct detach *d)
{
	int err = ask_to_close(d);

	if (err == -ENOENT)
		return remove_all(d, "");
	return err ? vg_session_store_failed(d->s, err) : after_asking(d);
}

static int watch_both(struct detach *d)
{
	int err = xen_store_watch(d->s->xs, d->front, "front");

	return err ? err : xen_store_watch(d->s->xs, d->back, "back");
}

static void detach_device(struct detach *d)
{
	int err;

	d->front = vg_bus_front(d->dev);
	d->back = vg_bus_back(d->dev);
	err = watch_both(d);
	if (err)
		vg_session_store_failed(d->s, err);
	else
		d->s->a->status = d->force ? forced(d) : gently(d);
	free(d->back);
	free(d->front);
}

int vg_detach_gone(struct vg_session *s, struct vg_bus_dev *dev)
{
	struct detach d = { .s = s, .dev = dev };
	int err;

	d.front = vg_bus_front(dev);
	d.back = vg_bus_back(dev);
	err = watch_both(&d);
	/* Whatever it says, it has had its time. */
	if (!err)
		let_go_of_backend(&d);
	if (!err)
		err = vg_bus_remove(s->xs, dev);
	free(d.back);
	free(d.front);
	return err ? vg_session_store_failed(s, err) : 0;
}

/* ---- the command -------------------------------------------------------- */

static void detach(struct vg_answer *a, const char *guest_text,
		   const char *name, struct detach *d)
{
	struct vg_session s;
	struct vg_bus_devs all;
	int err;

	if (vg_session_open(&s, a))
		return;
	err = vg_bus_devs_read(s.xs, NULL, &all);
	if (err) {
		vg_session_store_failed(&s, err);
	} else {
		d->s = &s;
		d->dev = vg_session_dev(&s, &all, guest_text, name);
		if (d->dev)
			detach_device(d);
		vg_bus_devs_free(&all);
	}
	vg_session_close(&s);
}

static void usage(struct vg_answer *a, const char *why)
{
	vg_answer_fail(a, VG_EXIT_USAGE, "detach: %s (usage: detach [--force] [--timeout=SECONDS] GUEST NAME)",
		       why);
}

void vg_ctl_detach(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct detach d = { 0 };
	uint64_t seconds = TIMEOUT_S;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "fj", options, NULL)) != -1) {
		if (c == 'f')
			d.force = true;
		else if (c == 'j')
			a->is_json = true;
		else if (c != 't')
			return usage(a, "no such option");
		else if (vg_parse_u64(optarg, 10, TIMEOUT_S_MAX, &seconds))
			return usage(a, "--timeout: not 0 to 86400 seconds");
	}
	if (argc - optind != 2)
		return usage(a, "which device of which guest?");
	d.timeout_ms = (unsigned int)seconds * 1000;
	detach(a, argv[optind], argv[optind + 1], &d);
}
