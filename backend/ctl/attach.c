// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attach.c - virtio-grantctl attach: makes a device's nodes and looks on while
 * backend and guest come together.
 *
 * Neither is trusted: their states are numbers that are checked, their words
 * are shown and nothing else, and whatever they do, it ends at the deadline.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/transact.h"

unsigned int vg_ctl_wait_ms = 5000;
/*
 * Longer for a guest whose driver is at work: it may read the disk's partitions
 * before it says that it is done, on a machine that is busy.
 */
unsigned int vg_ctl_driver_wait_ms = 30000;

#define NS_PER_MS	UINT64_C(1000000)
/* A backend that refuses says why in another node, a moment later. */
#define WORDS_MS	500u
#define UNDO_TRIES	3u

struct bring_up {
	struct vg_session *s;
	const struct vg_bus_dev *dev;
	enum vg_attach_wait wait;
	uint64_t until_ns;
	bool is_extended;
	char *front, *back, *backend_name;
	int front_state, back_state;	/* as last seen */
};

static int fail(struct bring_up *b, const char *what, const char *words)
{
	return vg_answer_fail(b->s->a, VG_EXIT_FAILED, "%s %s: %s%s%s",
			      b->dev->guest_name, b->dev->spec.name, what,
			      *what && words ? ": " : "", words ? words : "");
}

/* The same with the backend's domain before it. */
static int fail_in_backend(struct bring_up *b, const char *what,
			   const char *words)
{
	char *text = vg_strf("%s %s", b->backend_name, what);
	int status = fail(b, text, words);

	free(text);
	return status;
}

/* ---- what went wrong ---------------------------------------------------- */

static bool domain_is_there(struct bring_up *b, xen_domid_t id)
{
	char *path = vg_strf("/local/domain/%u", id);
	int there = vg_node_exists(b->s->xs, path);

	free(path);
	return there > 0;
}

static int node_is_gone(struct bring_up *b)
{
	if (!domain_is_there(b, b->dev->guest))
		return fail(b, "the guest has ended", NULL);
	if (!domain_is_there(b, b->dev->backend))
		return fail_in_backend(b, "has ended: start it again, then attach", NULL);
	if (b->back_state == -ENOENT)
		return fail_in_backend(b, "removed the device's node in xenstore", NULL);
	return fail(b, "the guest removed the device's node in xenstore", NULL);
}

static char *front_words(struct bring_up *b)
{
	char *path = vg_bus_front_error(b->dev);
	char *words = vg_bus_words(b->s->xs, path);

	free(path);
	return words;
}

/* 0: it has not said why yet, and has a moment more. */
static int refused(struct bring_up *b, bool is_last)
{
	char *words = vg_bus_back_words(b->s->xs, b->dev);
	uint64_t soon = vg_now_ns() + WORDS_MS * NS_PER_MS;
	int status = 0;

	if (words || is_last)
		status = fail_in_backend(b, "refuses it", words ? words :
					 "it does not say why; the log of virtio-grantd there may");
	else if (soon < b->until_ns)
		b->until_ns = soon;
	free(words);
	return status;
}

static char *node_words(struct bring_up *b, const char *node, const char *key)
{
	char *path = vg_strf("%s/%s", node, key);
	char *words = vg_bus_words(b->s->xs, path);

	free(path);
	return words;
}

/* "1-3" and "4": both are whoever's who wrote them. */
static bool versions_meet(const char *have, const char *want)
{
	char *min = vg_strdup(have), *max = strchr(min, '-');
	uint64_t lo, hi, v;
	bool is;

	if (max)
		*max++ = 0;
	is = vg_parse_u64(want, 10, UINT32_MAX, &v) ||
	     vg_parse_u64(min, 10, UINT32_MAX, &lo) ||
	     vg_parse_u64(max ? max : min, 10, UINT32_MAX, &hi) ||
	     (v >= lo && v <= hi);
	free(min);
	return is;
}

/* Whether that is what is wrong: then both are named. */
static int versions_differ(struct bring_up *b)
{
	char *have = node_words(b, b->back, "msg-versions");
	char *want = node_words(b, b->front, "msg-version"), *text;
	int status = 0;

	if (have && want && !versions_meet(have, want)) {
		text = vg_strf("the guest's driver speaks version %s of the bus, virtio-grantd in %s %s: update the older of the two",
			       want, b->backend_name, have);
		status = fail(b, text, NULL);
		free(text);
	}
	free(want);
	free(have);
	return status;
}

static int driver_failed(struct bring_up *b)
{
	int status = versions_differ(b);
	char *words;

	if (status)
		return status;
	words = front_words(b);
	status = fail(b, "the guest's driver", words ? words :
		      "it closed the device and does not say why (dmesg in the guest)");
	free(words);
	return status;
}

static bool driver_complains(struct bring_up *b)
{
	char *words = front_words(b);

	free(words);
	return words;
}

/* ---- looking on --------------------------------------------------------- */

/* > 0: a status, and the answer has why.  0: it goes on.  < 0: it is served. */
static int look_at_back(struct bring_up *b)
{
	int state = b->back_state;

	if (state == -ENOENT)
		return node_is_gone(b);
	if (state < 0 && state != -EINVAL)
		return vg_session_store_failed(b->s, state);
	if (!state)
		return refused(b, false);
	if (state == VG_XENBUS_CLOSING || state == VG_XENBUS_CLOSED) {
		char *words = vg_bus_back_words(b->s->xs, b->dev);
		int status = fail_in_backend(b, "closed it", words);

		free(words);
		return status;
	}
	if (state < 0 || state > VG_XENBUS_CLOSED)
		return fail_in_backend(b, "says nonsense about the device's state", NULL);
	return state == VG_XENBUS_INITIALISING ? 0 : -1;
}

static int look_at_front(struct bring_up *b)
{
	int state = b->front_state;

	if (state == -ENOENT || !state)
		return node_is_gone(b);
	if (state < 0 && state != -EINVAL)
		return vg_session_store_failed(b->s, state);
	if (state < 0 || state > VG_XENBUS_CLOSED)
		return fail(b, "the guest says nonsense about the device's state", NULL);
	if (state >= VG_XENBUS_CLOSING ||
	    (state != VG_XENBUS_CONNECTED && driver_complains(b)))
		return driver_failed(b);
	return state == VG_XENBUS_CONNECTED &&
	       b->back_state == VG_XENBUS_CONNECTED ? -1 : 0;
}

static int look(struct bring_up *b)
{
	int r;

	b->back_state = vg_bus_state(b->s->xs, b->back);
	b->front_state = vg_bus_state(b->s->xs, b->front);
	if (b->front_state == VG_XENBUS_INITIALISED && !b->is_extended) {
		b->is_extended = true;
		b->until_ns = vg_now_ns() + vg_ctl_driver_wait_ms * NS_PER_MS;
	}
	r = look_at_back(b);
	if (r > 0)
		return r;
	if (b->wait == VG_ATTACH_BACKEND)
		return r;
	return look_at_front(b);
}

static int at_deadline(struct bring_up *b)
{
	char *text;
	int status;

	if (!b->back_state)
		return refused(b, true);
	if (b->back_state == VG_XENBUS_INITIALISING) {
		text = vg_strf("no virtio-grantd answers in %s: is it running there?",
			       b->backend_name);
		status = fail(b, text, NULL);
		free(text);
		return status;
	}
	if (b->front_state == VG_XENBUS_INITIALISING)
		return VG_EXIT_NO_DRIVER;
	status = versions_differ(b);
	if (status)
		return status;
	text = vg_strf("guest and %s have not come together in time (states %d and %d): dmesg in the guest, and the log of virtio-grantd there",
		       b->backend_name, b->front_state, b->back_state);
	status = fail(b, text, NULL);
	free(text);
	return status;
}

static int watch_both(struct bring_up *b)
{
	char *error = vg_bus_back_error(b->dev);
	int err = xen_store_watch(b->s->xs, b->back, "back");

	if (!err)
		err = xen_store_watch(b->s->xs, b->front, "front");
	if (!err)
		err = xen_store_watch(b->s->xs, error, "refusal");
	free(error);
	if (!err) {
		error = vg_bus_front_error(b->dev);
		err = xen_store_watch(b->s->xs, error, "complaint");
		free(error);
	}
	return err;
}

static int look_on(struct bring_up *b)
{
	int r, err = watch_both(b);

	while (!err) {
		r = look(b);
		if (r)
			return r < 0 ? 0 : r;
		err = vg_session_wait(b->s, b->until_ns);
	}
	if (err == -ETIMEDOUT)
		return at_deadline(b);
	return err == -EINTR ? fail(b, "interrupted", NULL) :
			       vg_session_store_failed(b->s, err);
}

void vg_attach_undo(struct vg_session *s, const struct vg_bus_dev *dev)
{
	unsigned int tries = UNDO_TRIES;
	int err;

	do {
		err = vg_bus_remove(s->xs, dev);
	} while (err && --tries);
	if (err)
		vg_answer_add(s->a, "; and it could not be removed (%s): virtio-grantctl detach --force %u %s",
			      vg_store_error(err), dev->guest, dev->spec.name);
}

static int bring_up(struct vg_session *s, const struct vg_bus_dev *dev,
		    enum vg_attach_wait wait)
{
	struct bring_up b = {
		.s = s, .dev = dev, .wait = wait,
		.until_ns = vg_now_ns() + vg_ctl_wait_ms * NS_PER_MS,
		.front = vg_bus_front(dev), .back = vg_bus_back(dev),
		.backend_name = vg_session_name_of(s, dev->backend),
	};
	int status = look_on(&b);

	if (status && status != VG_EXIT_NO_DRIVER)
		vg_attach_undo(s, dev);
	free(b.backend_name);
	free(b.back);
	free(b.front);
	return status;
}

/* ---- making ------------------------------------------------------------- */

static int not_made(struct vg_session *s, const struct vg_bus_dev *dev,
		    int err)
{
	const char *guest = dev->guest_name, *be = dev->spec.backend;

	switch (-err) {
	case EEXIST:
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "%s has a device %s already (virtio-grantctl list %s): give this one another name=",
				      guest, dev->spec.name, guest);
	case ESRCH:
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "%s is ending, or has ended",
				      guest);
	case ENXIO:
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "the backend's domain %s has ended: start it again, then attach",
				      be);
	case ENODEV:
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "%s is no driver domain: driver_domain=1 in its configuration, then start it again",
				      be);
	case ENOSPC:
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "%s has too many devices, or xenstore no room",
				      guest);
	default:
		return vg_session_store_failed(s, err);
	}
}

/* By the name that it has now, since that is what it will come back under. */
static int choose_backend(struct vg_session *s, struct vg_bus_dev *dev)
{
	const char *text = dev->spec.backend;
	const struct vg_domain *d;
	int err;

	if (!text)
		d = vg_domain_by_id(&s->domains, s->own);
	else
		d = vg_domain_find(&s->domains, text, &err);
	if (!d && text && err == -EEXIST)
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "backend=%s: two domains have that name: give the number (xl list)",
				      text);
	if (!d)
		return vg_answer_fail(s->a, VG_EXIT_FAILED, "backend=%s: no such domain: start it first",
				      text ? text : "");
	dev->backend = d->id;
	free(dev->spec.backend);
	dev->spec.backend = vg_session_name_of(s, d->id);
	return 0;
}

int vg_attach(struct vg_session *s, const struct vg_domain *guest,
	      struct vg_bus_spec *spec, enum vg_attach_wait wait,
	      struct vg_bus_dev *dev)
{
	int err, status;

	*dev = (struct vg_bus_dev){ .spec = *spec, .guest = guest->id };
	*spec = (struct vg_bus_spec){ 0 };
	memcpy(dev->uuid, guest->uuid, sizeof(dev->uuid));
	dev->guest_name = vg_session_name_of(s, guest->id);
	status = choose_backend(s, dev);
	if (status)
		return status;
	err = vg_bus_create(s->xs, dev, s->own);
	if (err)
		return not_made(s, dev, err);
	return wait == VG_ATTACH_NO_WAIT ? 0 : bring_up(s, dev, wait);
}

int vg_ctl_set_wait(const char *seconds)
{
	uint64_t s;

	if (vg_parse_u64(seconds, 10, 86400, &s) || !s)
		return -EINVAL;
	vg_ctl_wait_ms = (unsigned int)s * 1000;
	return 0;
}

/* ---- the command -------------------------------------------------------- */

static void usage(struct vg_answer *a, const char *why)
{
	vg_answer_fail(a, VG_EXIT_USAGE, "attach: %s (usage: attach [--no-wait] [--timeout=SECONDS] GUEST type=TYPE [backend=DOMAIN] [name=NAME] [KEY=VALUE...])",
		       why);
}

static void say(struct vg_session *s, const struct vg_bus_dev *dev,
		enum vg_attach_wait wait, int status)
{
	const char *guest = dev->guest_name, *name = dev->spec.name;
	struct vg_answer *a = s->a;

	if (status && status != VG_EXIT_NO_DRIVER)
		return;
	a->status = status;
	a->result = vg_session_json(s, dev);
	vg_answer_set(a->result, "state", status ? "waits for a driver" :
		      wait == VG_ATTACH_NO_WAIT ? "attached" : "connected");
	if (status)
		vg_answer_line(a, "%s %s: attached; the guest has no driver for it yet (virtio_grant_bus): it comes up when that is loaded, or when a guest that is paused goes on",
			       guest, name);
	else if (wait == VG_ATTACH_NO_WAIT)
		vg_answer_line(a, "%s %s: attached (%s, %s)", guest, name,
			       dev->spec.type, dev->spec.backend);
	else
		vg_answer_line(a, "%s %s: connected (%s, %s)", guest, name,
			       dev->spec.type, dev->spec.backend);
}

static void attach(struct vg_answer *a, const char *guest_text,
		   struct vg_bus_spec *spec, enum vg_attach_wait wait)
{
	const struct vg_domain *guest;
	struct vg_bus_dev dev = { 0 };
	struct vg_session s;

	if (vg_session_open(&s, a))
		return;
	guest = vg_session_guest(&s, guest_text);
	if (guest)
		say(&s, &dev, wait, vg_attach(&s, guest, spec, wait, &dev));
	vg_bus_dev_free(&dev);
	vg_session_close(&s);
}

void vg_ctl_attach(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "no-wait", no_argument, NULL, 'n' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	enum vg_attach_wait wait = VG_ATTACH_CONNECTED;
	struct vg_bus_spec spec = { 0 };
	char *why = NULL;
	int c, i, err = 0;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "j", options, NULL)) != -1) {
		if (c == 'n')
			wait = VG_ATTACH_NO_WAIT;
		else if (c == 'j')
			a->is_json = true;
		else if (c != 't')
			return usage(a, "no such option");
		else if (vg_ctl_set_wait(optarg))
			return usage(a, "--timeout: not 1 to 86400 seconds");
	}
	if (optind == argc)
		return usage(a, "which guest?");
	for (i = optind + 1; i < argc && !err; i++)
		err = vg_bus_spec_add(&spec, argv[i], &why);
	if (!err)
		err = vg_bus_spec_complete(&spec, &why);
	if (err)
		usage(a, why);
	else
		attach(a, argv[optind], &spec, wait);
	free(why);
	vg_bus_spec_free(&spec);
}
