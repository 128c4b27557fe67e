// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * list.c - virtio-grantctl list: the devices on the Xen bus that this toolstack
 * made, and how each is.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/transact.h"

/* ---- in words ----------------------------------------------------------- */

static char *refusal(struct vg_session *s, const struct vg_bus_dev *dev)
{
	char *words = vg_bus_back_words(s->xs, dev);
	char *text = vg_strf("refused: %s", words ? words :
			     "it does not say why");

	free(words);
	return text;
}

static bool is_closing(int state)
{
	return state == VG_XENBUS_CLOSING || state == VG_XENBUS_CLOSED;
}

static const char *words_of(int front, int back)
{
	if (is_closing(front) || is_closing(back))
		return "closing";
	if (front == -ENOENT || !front)
		return "the guest removed its node";
	if (back == -EINVAL || front == -EINVAL || front > VG_XENBUS_CLOSED ||
	    back > VG_XENBUS_CLOSED)
		return "nonsense in xenstore";
	if (back == VG_XENBUS_INITIALISING)
		return "waits for virtio-grantd";
	if (front == VG_XENBUS_CONNECTED && back == VG_XENBUS_CONNECTED)
		return "connected";
	if (front == VG_XENBUS_INITIALISING)
		return "waits for a driver";
	return "connecting";
}

/* NULL: no more, or its number is another's by now. */
static const struct vg_domain *guest_of(const struct vg_session *s,
					const struct vg_bus_dev *dev)
{
	const struct vg_domain *d = vg_domain_by_id(&s->domains, dev->guest);

	return d && !strcmp(d->uuid, dev->uuid) ? d : NULL;
}

/* New; NULL: xenstore fails, and the answer says so. */
static char *state_of(struct vg_session *s, const struct vg_bus_dev *dev)
{
	char *front = vg_bus_front(dev), *back = vg_bus_back(dev), *text;
	int fs = vg_bus_state(s->xs, front), bs = vg_bus_state(s->xs, back);
	int err = fs < 0 && fs != -ENOENT && fs != -EINVAL ? fs :
		  bs < 0 && bs != -ENOENT && bs != -EINVAL ? bs : 0;

	free(back);
	free(front);
	if (err)
		text = NULL;
	else if (!guest_of(s, dev))
		text = vg_strdup(dev->is_suspended ? "guest is saved" :
				 "guest is not running");
	else if (!vg_domain_by_id(&s->domains, dev->backend) || bs == -ENOENT)
		text = vg_strdup("waits for its backend domain");
	else if (!bs)
		text = refusal(s, dev);
	else
		text = vg_strdup(words_of(fs, bs));
	if (err)
		vg_session_store_failed(s, err);
	return text;
}

/* ---- lines -------------------------------------------------------------- */

/* "params=/srv/a mode=w", new. */
static char *made_of(const struct vg_bus_spec *spec)
{
	char *text = vg_strdup(""), *more;
	unsigned int i;

	for (i = 0; i < spec->nr_keys; i++) {
		more = vg_strf("%s%s%s=%s", text, i ? " " : "",
			       spec->key[i].key, spec->key[i].value);
		free(text);
		text = more;
	}
	return text;
}

static void add_json(struct vg_session *s, const struct vg_bus_dev *dev,
		     const char *state)
{
	struct json_object *o = vg_session_json(s, dev);
	struct json_object *keys = json_object_new_object();
	unsigned int i;

	for (i = 0; i < dev->spec.nr_keys; i++)
		vg_answer_set(keys, dev->spec.key[i].key,
			      dev->spec.key[i].value);
	json_object_object_add(o, "keys", keys);
	vg_answer_set(o, "state", state);
	json_object_array_add(s->a->result, o);
}

/* It may have been renamed since. */
static void name_guest(const struct vg_session *s, struct vg_bus_dev *dev)
{
	if (!guest_of(s, dev))
		return;
	free(dev->guest_name);
	dev->guest_name = vg_session_name_of(s, dev->guest);
}

static void add(struct vg_session *s, struct vg_bus_dev *dev)
{
	char *state = state_of(s, dev), *keys;

	if (!state)
		return;
	name_guest(s, dev);
	keys = made_of(&dev->spec);
	vg_answer_line(s->a, "%s %s: %s, %s, backend %s (%u)%s%s",
		       dev->guest_name, dev->spec.name, state, dev->spec.type,
		       dev->spec.backend, dev->backend, *keys ? ", " : "",
		       keys);
	add_json(s, dev, state);
	free(keys);
	free(state);
}

static bool is_asked_for(const struct vg_bus_dev *dev,
			 const struct vg_domain *guest, const char *text)
{
	if (!text)
		return true;
	if (guest)
		return !strcmp(guest->uuid, dev->uuid);
	return !strcmp(dev->guest_name, text) || !strcmp(dev->uuid, text);
}

static void list(struct vg_session *s, const char *text)
{
	const struct vg_domain *guest = NULL;
	struct vg_bus_devs all;
	unsigned int i, nr = 0;
	int err = 0;

	if (text)
		guest = vg_domain_find(&s->domains, text, &err);
	if (err == -EEXIST) {
		vg_session_guest(s, text);
		return;
	}
	err = vg_bus_devs_read(s->xs, NULL, &all);
	if (err) {
		vg_session_store_failed(s, err);
		return;
	}
	s->a->result = json_object_new_array();
	for (i = 0; i < all.nr; i++) {
		if (!is_asked_for(&all.d[i], guest, text))
			continue;
		nr++;
		add(s, &all.d[i]);
	}
	if (text && !guest && !nr)
		vg_session_guest(s, text);
	vg_bus_devs_free(&all);
}

void vg_ctl_list(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct vg_session s;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "j", options, NULL)) != -1) {
		if (c == 'j')
			a->is_json = true;
		else
			break;
	}
	if (c != -1 || argc - optind > 1) {
		vg_answer_fail(a, VG_EXIT_USAGE, "list: usage: list [-j] [GUEST]");
		return;
	}
	if (vg_session_open(&s, a))
		return;
	list(&s, argv[optind]);
	vg_session_close(&s);
}
