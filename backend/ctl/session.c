// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * session.c - see session.h.
 */
#include "ctl/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "toolstack/transact.h"

/* Of one turn: domains can make any number, and we look at all anyway. */
#define EVENTS_A_TURN	64u

/* A signal may come between our look for it and the poll. */
#define TURN_MS		1000u

volatile sig_atomic_t vg_session_is_interrupted;

static void on_signal(int number)
{
	(void)number;
	vg_session_is_interrupted = 1;
}

void vg_session_catch_signals(void)
{
	/* No SA_RESTART: the poll is to end. */
	const struct sigaction sa = { .sa_handler = on_signal };
	struct sigaction was;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* Whoever has it ignored (nohup) wants it to go on. */
	if (!sigaction(SIGHUP, NULL, &was) && was.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
}

static int is_about_rights(int err)
{
	return err == -EACCES || err == -EPERM;
}

int vg_session_store_failed(struct vg_session *s, int err)
{
	return vg_answer_fail(s->a, VG_EXIT_FAILED, is_about_rights(err) ?
			      "%s" : "xenstore: %s", vg_store_error(err));
}

int vg_session_open(struct vg_session *s, struct vg_answer *a)
{
	int err;

	*s = (struct vg_session){ .a = a };
	err = xen_store_open(&s->xs);
	if (err) {
		if (is_about_rights(err))
			vg_session_store_failed(s, err);
		else
			vg_answer_fail(a, VG_EXIT_FAILED, "xenstore can't be reached (%s): is this a control domain of Xen, and xenstored running?",
				       strerror(-err));
		return err;
	}
	err = xen_store_own_domid(s->xs, &s->own);
	if (!err)
		err = vg_domains_read(s->xs, &s->domains);
	if (!err)
		return 0;
	vg_session_store_failed(s, err);
	xen_store_close(s->xs);
	return err;
}

void vg_session_close(struct vg_session *s)
{
	vg_domains_free(&s->domains);
	xen_store_close(s->xs);
}

const struct vg_domain *vg_session_guest(struct vg_session *s,
					 const char *text)
{
	int err;
	const struct vg_domain *d = vg_domain_find(&s->domains, text, &err);

	if (d && *d->uuid)
		return d;
	if (err == -EEXIST)
		vg_answer_fail(s->a, VG_EXIT_FAILED, "%s: two domains have that name: give the number (xl list)",
			       text);
	else if (d)
		vg_answer_fail(s->a, VG_EXIT_FAILED, "%s: the guest is ending, or is being made: it has no uuid in xenstore",
			       text);
	else
		vg_answer_fail(s->a, VG_EXIT_FAILED, "%s: no such guest (xl list has those that run)",
			       text);
	return NULL;
}

/* A guest that does not run is known by what its records say. */
static bool is_of_guest(const struct vg_bus_dev *dev,
			const struct vg_domain *guest, const char *text)
{
	if (guest)
		return !strcmp(dev->uuid, guest->uuid);
	return !strcmp(dev->guest_name, text) || !strcmp(dev->uuid, text);
}

struct vg_bus_dev *vg_session_dev(struct vg_session *s,
				  struct vg_bus_devs *all,
				  const char *guest_text, const char *name)
{
	int err;
	const struct vg_domain *guest = vg_domain_find(&s->domains, guest_text,
						       &err);
	unsigned int i, nr = 0;
	struct vg_bus_dev *found = NULL;

	if (err == -EEXIST) {
		vg_session_guest(s, guest_text);
		return NULL;
	}
	for (i = 0; i < all->nr; i++) {
		if (!is_of_guest(&all->d[i], guest, guest_text))
			continue;
		nr++;
		if (!strcmp(all->d[i].spec.name, name))
			found = &all->d[i];
	}
	if (!found && !nr && !guest)
		vg_session_guest(s, guest_text);
	else if (!found)
		vg_answer_fail(s->a, VG_EXIT_FAILED, "%s has no device %s on the Xen bus (virtio-grantctl list %s has those that it has)",
			       guest_text, name, guest_text);
	return found;
}

char *vg_session_name_of(const struct vg_session *s, xen_domid_t id)
{
	const struct vg_domain *d = vg_domain_by_id(&s->domains, id);

	return d && *d->name ? vg_strdup(d->name) : vg_strf("dom%u", id);
}

struct json_object *vg_session_json(const struct vg_session *s,
				    const struct vg_bus_dev *dev)
{
	struct json_object *o = json_object_new_object();

	(void)s;
	vg_answer_set(o, "name", dev->spec.name);
	vg_answer_set(o, "guest", dev->guest_name);
	vg_answer_set_number(o, "guest_id", dev->guest);
	vg_answer_set(o, "uuid", dev->uuid);
	vg_answer_set(o, "type", dev->spec.type);
	vg_answer_set_number(o, "virtio_id", dev->spec.device_id);
	vg_answer_set_number(o, "devid", dev->devid);
	vg_answer_set(o, "backend", dev->spec.backend);
	vg_answer_set_number(o, "backend_id", dev->backend);
	return o;
}

static int take_events(struct vg_session *s)
{
	unsigned int i;
	char *path, *token;
	int err = 0;

	for (i = 0; i < EVENTS_A_TURN && !err; i++) {
		err = xen_store_next_watch(s->xs, &path, &token);
		if (err)
			break;
		free(path);
		free(token);
	}
	return err == -EAGAIN ? 0 : err;
}

int vg_session_wait(struct vg_session *s, uint64_t until_ns)
{
	struct pollfd p = { .fd = xen_store_fd(s->xs), .events = POLLIN };
	uint64_t now;
	int n;

	vg_step();	/* the tests' guests and backends have their turn */
	now = vg_now_ns();
	if (vg_session_is_interrupted)
		return -EINTR;
	if (now >= until_ns)
		return -ETIMEDOUT;
	n = poll(&p, 1, (int)min_u((until_ns - now) / 1000000 + 1, TURN_MS));
	if (n < 0 && errno != EINTR)
		return -errno;
	return n > 0 ? take_events(s) : 0;
}
