// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resize.c - virtio-grantctl resize: virtio-grantd looks at what a device is
 * made of, and has the guest told if that has grown.  That of this domain is
 * asked by its socket; in the control domain, that of a backend's domain by a
 * key of a device on the Xen bus.
 *
 * Not trusted: the backend's domain, whose the node is.  It can say that it has
 * looked; its words are shown and nothing else.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"

#define NS_PER_MS	UINT64_C(1000000)
/* What it refuses it says a moment after it has taken the key. */
#define WORDS_MS	500u

static void usage(struct vg_answer *a, const char *why)
{
	vg_answer_fail(a, VG_EXIT_USAGE, "resize: %s (usage: resize DEVICE | resize GUEST NAME)",
		       why);
}

/* ---- by virtio-grantd of this domain ------------------------------------ */

/* "dom3 virtio_disk/51712", new, of that or the same with a slash.  Or NULL. */
static char *label_of(struct vg_answer *a, const char *text)
{
	struct vg_devname name;
	char *why = NULL, *label = NULL;

	if (vg_devname_parse_label(text, &name, &why))
		usage(a, why);
	else
		label = vg_devname_label(&name);
	free(why);
	return label;
}

static int take_answer(struct vg_answer *a, const char *label,
		       struct json_object *said)
{
	struct json_object *done, *text;

	if (!json_object_object_get_ex(said, "done", &done) ||
	    !json_object_object_get_ex(said, "text", &text))
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not know this request: it is older");
	if (!json_object_get_boolean(done))
		return vg_answer_fail(a, VG_EXIT_FAILED, "refused: %s",
				      json_object_get_string(text));
	vg_answer_line(a, "%s", json_object_get_string(text));
	a->result = json_object_new_object();
	vg_answer_set(a->result, "device", label);
	vg_answer_set(a->result, "text", json_object_get_string(text));
	return 0;
}

static int no_answer(struct vg_answer *a, const char *label,
		     const char *run_dir, int err)
{
	if (err == -EIO)
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not answer: %s may be resized yet, see " PROGRAM " status",
				      label);
	if (err)
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd: %s",
				      strerror(-err));
	return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not run in this domain (%s)",
			      run_dir);
}

static void by_daemon(struct vg_answer *a, const char *text,
		      const char *run_dir)
{
	char *label = label_of(a, text), *request;
	struct json_object *said;
	int err;

	if (!label)
		return;
	request = vg_strf("resize %s\n", label);
	said = vg_ctl_ask(run_dir, "grantd.sock", request, &err);
	if (said)
		take_answer(a, label, said);
	else
		no_answer(a, label, run_dir, err);
	json_object_put(said);
	free(request);
	free(label);
}

/* ---- by that of the backend's domain ------------------------------------ */

static int fail(struct vg_session *s, const struct vg_bus_dev *dev,
		const char *what)
{
	return vg_answer_fail(s->a, VG_EXIT_FAILED, "%s %s: %s",
			      dev->guest_name, dev->spec.name, what);
}

/* 0: the backend has taken the key. */
static int wait_taken(struct vg_session *s, const struct vg_bus_dev *dev)
{
	uint64_t until = vg_now_ns() + vg_ctl_wait_ms * NS_PER_MS;
	int r, err = 0;

	while (!err) {
		r = vg_bus_resize_is_asked(s->xs, dev);
		if (r <= 0)
			return r;
		err = vg_session_wait(s, until);
	}
	return err;
}

/* New; NULL: it has not refused. */
static char *wait_words(struct vg_session *s, const struct vg_bus_dev *dev)
{
	uint64_t until = vg_now_ns() +
			 min_u(WORDS_MS, vg_ctl_wait_ms) * NS_PER_MS;
	char *words;
	int err;

	do {
		err = vg_session_wait(s, until);
		words = vg_bus_back_words(s->xs, dev);
	} while (!words && !err);
	return words;
}

static int taken(struct vg_session *s, const struct vg_bus_dev *dev)
{
	char *backend = vg_session_name_of(s, dev->backend);
	char *words = wait_words(s, dev), *text = NULL;

	if (words) {
		text = vg_strf("%s refuses it: %s", backend, words);
		fail(s, dev, text);
	} else {
		vg_answer_line(s->a, "%s %s: %s has looked at it; the guest is told if it has grown",
			       dev->guest_name, dev->spec.name, backend);
		s->a->result = vg_session_json(s, dev);
		vg_answer_set(s->a->result, "state", "looked at");
	}
	free(text);
	free(words);
	free(backend);
	return s->a->status;
}

static int not_taken(struct vg_session *s, const struct vg_bus_dev *dev,
		     int err)
{
	char *text;

	if (err == -EINTR)
		return fail(s, dev, "interrupted: the request is taken back");
	if (err != -ENOENT && err != -ETIMEDOUT)
		return vg_session_store_failed(s, err);
	text = err == -ENOENT ?
	       vg_strf("it is not served now (virtio-grantctl list %s has how it is)",
		       dev->guest_name) :
	       vg_strf("virtio-grantd in domain %u does not take the request, which is taken back: is it running there, and as new as this?",
		       dev->backend);
	fail(s, dev, text);
	free(text);
	return s->a->status;
}

static int watch(struct vg_session *s, const struct vg_bus_dev *dev)
{
	char *back = vg_bus_back(dev), *error = vg_bus_back_error(dev);
	int err = xen_store_watch(s->xs, back, "back");

	if (!err)
		err = xen_store_watch(s->xs, error, "refusal");
	free(error);
	free(back);
	return err;
}

static void ask_backend(struct vg_session *s, const struct vg_bus_dev *dev)
{
	int err = watch(s, dev), back_err;

	if (!err)
		err = vg_bus_resize_ask(s->xs, dev);
	if (err) {
		not_taken(s, dev, err);
		return;
	}
	err = wait_taken(s, dev);
	if (!err) {
		taken(s, dev);
		return;
	}
	back_err = vg_bus_resize_take_back(s->xs, dev);
	not_taken(s, dev, back_err ? back_err : err);
}

static void by_key(struct vg_answer *a, const char *guest, const char *name)
{
	struct vg_session s;
	struct vg_bus_devs all;
	const struct vg_bus_dev *dev;
	int err;

	if (vg_session_open(&s, a))
		return;
	err = vg_bus_devs_read(s.xs, NULL, &all);
	if (err) {
		vg_session_store_failed(&s, err);
	} else {
		dev = vg_session_dev(&s, &all, guest, name);
		if (dev)
			ask_backend(&s, dev);
		vg_bus_devs_free(&all);
	}
	vg_session_close(&s);
}

/* ---- the command -------------------------------------------------------- */

void vg_ctl_resize(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *run_dir = vg_ctl_run_dir;
	char *text;
	int c, n;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "jr:", options, NULL)) != -1) {
		if (c == 'j')
			a->is_json = true;
		else if (c == 'r')
			run_dir = optarg;
		else
			return usage(a, "no such option");
	}
	n = argc - optind;
	if (n < 1 || n > 2)
		return usage(a, n ? "one device at a time" : "which device?");
	/* No name on the Xen bus has a slash. */
	if (n == 2 && !strchr(argv[optind + 1], '/'))
		return by_key(a, argv[optind], argv[optind + 1]);
	/* As one word, or as the two that it is unquoted. */
	text = n == 1 ? vg_strdup(argv[optind]) :
			vg_strf("%s %s", argv[optind], argv[optind + 1]);
	by_daemon(a, text, run_dir);
	free(text);
}
