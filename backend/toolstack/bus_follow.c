// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bus_follow.c - see bus_follow.h.
 */
#include "toolstack/bus_follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/transact.h"

#define CLOSE_NS	UINT64_C(5000000000)
#define SLEEP_NS	UINT64_C(3000000000)
#define SAID_NS		UINT64_C(60000000000)

/*
 * A guest that is not under the number of its record.  What is lost with this
 * process is since when: that begins anew.
 */
struct vg_absence {
	char uuid[VG_UUID_CHARS + 1];
	uint64_t since_ns;
	bool is_seen;			/* in this look */
};

/* A guest that is noted as suspended, in the record of one device or more. */
struct vg_sleep {
	char uuid[VG_UUID_CHARS + 1];
	uint64_t noted_ns;		/* the look that did so last */
	uint64_t until_ns;		/* nothing of it is cleared before */
	bool is_seen;			/* in this look */
};

/* What failed, as it was logged. */
struct vg_complaint {
	char *text;
	uint64_t last_ns;		/* the look that failed so last */
};

void vg_follow_init(struct vg_follow *f, struct xen_store *xs,
		    xen_domid_t own, uint64_t forget_ns)
{
	*f = (struct vg_follow){ .xs = xs, .own = own, .close_ns = CLOSE_NS,
				 .sleep_ns = SLEEP_NS, .forget_ns = forget_ns };
}

void vg_follow_exit(struct vg_follow *f)
{
	while (f->nr_said)
		free(f->said[--f->nr_said].text);
	free(f->said);
	free(f->absent);
	free(f->asleep);
	free(f->last_failure);
}

/* ---- since when --------------------------------------------------------- */

static uint64_t absent_for(struct vg_follow *f, const char *uuid)
{
	struct vg_absence *a;
	unsigned int i;

	for (i = 0; i < f->nr_absent; i++) {
		if (strcmp(f->absent[i].uuid, uuid))
			continue;
		f->absent[i].is_seen = true;
		return f->now_ns - f->absent[i].since_ns;
	}
	f->absent = realloc(f->absent, (f->nr_absent + 1) * sizeof(*a));
	if (!f->absent)
		abort();
	a = &f->absent[f->nr_absent++];
	*a = (struct vg_absence){ .since_ns = f->now_ns, .is_seen = true };
	memcpy(a->uuid, uuid, sizeof(a->uuid));
	return 0;
}

static void forget_who_is_back(struct vg_follow *f)
{
	unsigned int i, n = 0;

	for (i = 0; i < f->nr_absent; i++) {
		if (!f->absent[i].is_seen)
			continue;
		f->absent[n] = f->absent[i];
		f->absent[n++].is_seen = false;
	}
	f->nr_absent = n;
}

/* The same of a guest that is noted as suspended: from now on, if it is new. */
static struct vg_sleep *sleep_of(struct vg_follow *f, const char *uuid)
{
	struct vg_sleep *s;
	unsigned int i;

	for (i = 0; i < f->nr_asleep; i++)
		if (!strcmp(f->asleep[i].uuid, uuid))
			return &f->asleep[i];
	f->asleep = realloc(f->asleep, (f->nr_asleep + 1) * sizeof(*s));
	if (!f->asleep)
		abort();
	s = &f->asleep[f->nr_asleep++];
	*s = (struct vg_sleep){ .noted_ns = f->now_ns,
				.until_ns = f->now_ns + f->sleep_ns };
	memcpy(s->uuid, uuid, sizeof(s->uuid));
	return s;
}

/*
 * Another look that notes devices of the same guest adds its time to what is
 * left: one that has its devices noted one after the other pays for each.
 */
static void sleep_longer(const struct vg_follow *f, struct vg_sleep *s)
{
	if (s->noted_ns == f->now_ns)
		return;
	s->noted_ns = f->now_ns;
	s->until_ns = max_u(s->until_ns, f->now_ns) + f->sleep_ns;
}

static void forget_who_is_awake(struct vg_follow *f)
{
	unsigned int i, n = 0;

	for (i = 0; i < f->nr_asleep; i++) {
		if (!f->asleep[i].is_seen)
			continue;
		f->asleep[n] = f->asleep[i];
		f->asleep[n++].is_seen = false;
	}
	f->nr_asleep = n;
}

/* ---- who is who now ----------------------------------------------------- */

/*
 * The record's own number first: while a guest is migrated on one host, there
 * are two of the uuid, and while a domain is renamed, two of a name.  NULL:
 * nobody, or nobody can say which.
 */
static const struct vg_domain *guest_of(const struct vg_domains *all,
					const struct vg_bus_dev *dev)
{
	const struct vg_domain *d = vg_domain_by_id(all, dev->guest);
	unsigned int i, nr = 0;

	if (d && !strcmp(d->uuid, dev->uuid))
		return d;
	for (i = 0; i < all->nr; i++) {
		if (strcmp(all->d[i].uuid, dev->uuid))
			continue;
		d = &all->d[i];
		nr++;
	}
	return nr == 1 ? d : NULL;
}

static const struct vg_domain *backend_of(const struct vg_domains *all,
					  const struct vg_bus_dev *dev)
{
	const struct vg_domain *d = vg_domain_by_id(all, dev->backend);
	int err;

	if (d && !strcmp(d->name, dev->spec.backend))
		return d;
	return vg_domain_by_name(all, dev->spec.backend, &err);
}

/* ---- what is to be done ------------------------------------------------- */

static bool is_said(struct vg_follow *f, const char *text)
{
	unsigned int i;

	for (i = 0; i < f->nr_said; i++) {
		if (strcmp(f->said[i].text, text))
			continue;
		f->said[i].last_ns = f->now_ns;
		return true;
	}
	return false;
}

/*
 * As many as there are devices, times the few ways in which looking at one can
 * fail: no device's complaints drive out another's.
 */
static void say(struct vg_follow *f, const char *text)
{
	vg_warn("%s", text);
	f->said = realloc(f->said, (f->nr_said + 1) * sizeof(*f->said));
	if (!f->said)
		abort();
	f->said[f->nr_said++] = (struct vg_complaint){
		.text = vg_strdup(text), .last_ns = f->now_ns,
	};
}

static void forget_what_was_said(struct vg_follow *f)
{
	unsigned int i, n = 0;

	for (i = 0; i < f->nr_said; i++) {
		if (f->now_ns - f->said[i].last_ns < SAID_NS)
			f->said[n++] = f->said[i];
		else
			free(f->said[i].text);
	}
	f->nr_said = n;
}

/* Logged once for the same text, until it did not come for a minute. */
static void failed(struct vg_follow *f, const struct vg_bus_dev *dev,
		   const char *what, int err)
{
	char *text = vg_strf("%s %s: %s: %s", dev->guest_name, dev->spec.name,
			     what, vg_store_error(err));

	f->failures++;
	if (!is_said(f, text))
		say(f, text);
	free(f->last_failure);
	f->last_failure = text;
}

/*
 * The backend lets go of what the guest that ended had: only then can the guest
 * that comes back have it.  True: it has, or had its time.
 */
static bool has_let_go(struct vg_follow *f, const struct vg_bus_dev *dev,
		       uint64_t absent_ns)
{
	struct vg_bus_ask ask = { .dev = dev, .state = VG_XENBUS_CLOSING,
				  .only_if_gone = true };
	char *back = vg_bus_back(dev);
	int err, state = vg_bus_state(f->xs, back);

	free(back);
	if (!state || state == -ENOENT || state == VG_XENBUS_CLOSED ||
	    absent_ns >= f->close_ns)
		return true;
	if (state == VG_XENBUS_CLOSING)
		return false;
	err = vg_bus_ask(f->xs, &ask);
	/* -EALREADY: it has come since we looked. */
	if (err && err != -ENOENT && err != -EALREADY)
		failed(f, dev, "asking its backend to let it go", err);
	return false;
}

/* 1: it is waited for. */
static int guest_is_gone(struct vg_follow *f, const struct vg_bus_dev *dev,
			 uint64_t absent_ns)
{
	int err;

	if (!has_let_go(f, dev, absent_ns))
		return 1;
	if (dev->is_suspended)
		return 0;
	if (absent_ns < f->forget_ns)
		return 1;
	err = vg_bus_remove(f->xs, dev);
	if (err) {
		failed(f, dev, "removing it", err);
		return 1;
	}
	f->forgotten++;
	vg_info("%s %s: its guest is gone: removed", dev->guest_name,
		dev->spec.name);
	return 0;
}

static void moved(struct vg_follow *f, const struct vg_bus_dev *dev,
		  bool is_new_guest)
{
	if (is_new_guest)
		f->reattached++;
	else
		f->moved++;
	vg_info("%s %s: %s: guest dom%u, backend %s dom%u", dev->guest_name,
		dev->spec.name, is_new_guest ? "the guest is back" :
		"the backend's domain is back", dev->guest, dev->spec.backend,
		dev->backend);
}

static int move(struct vg_follow *f, struct vg_bus_dev *dev,
		const struct vg_domain *guest, const struct vg_domain *backend)
{
	bool is_new_guest = guest->id != dev->guest;
	int err = vg_bus_move(f->xs, dev, guest->id, guest->name, backend->id,
			      f->own);

	switch (err) {
	case 0:
		moved(f, dev, is_new_guest);
		return dev->is_suspended;
	case -ENODEV:	/* it is being made, and libxl is not there yet */
	case -ENXIO:
	case -ESRCH:	/* it goes, or is gone again */
	case -ENOENT:
	case -EALREADY:	/* somebody else was at it */
		return 1;
	default:
		failed(f, dev, "moving it", err);
		return 1;
	}
}

/*
 * xenstored says that a domain was released when it has suspended itself, and a
 * toolstack takes it away only then.  Nobody says when its driver goes on; and
 * a guest that ended before that was seen would be a saved one for ever.  But
 * one that says both by turns is not followed as quickly as it does.  What is
 * noted is noted at once; what waits is that it is cleared.  1: again.
 */
static int note_suspended(struct vg_follow *f, struct vg_bus_dev *dev)
{
	bool was = dev->is_suspended;
	uint64_t until_ns = was ? sleep_of(f, dev->uuid)->until_ns : 0;
	int err = vg_bus_note_suspended(f->xs, dev, f->now_ns >= until_ns);

	if (dev->is_suspended && !was) {
		sleep_longer(f, sleep_of(f, dev->uuid));
		vg_info("%s %s: its guest is suspended", dev->guest_name,
			dev->spec.name);
	}
	if (err == -ENOENT || err == -EALREADY)
		return 0;
	if (err)
		failed(f, dev, "noting that its guest is suspended", err);
	return err || dev->is_suspended;
}

/* 1: something is waited for. */
static int look_at(struct vg_follow *f, const struct vg_domains *all,
		   struct vg_bus_dev *dev)
{
	const struct vg_domain *guest = guest_of(all, dev);
	const struct vg_domain *backend = backend_of(all, dev);
	uint64_t absent_ns = 0;
	int again = 0;

	if (guest && guest->id == dev->guest) {
		again = note_suspended(f, dev);
		if (backend && backend->id == dev->backend)
			return again;
	} else {
		absent_ns = absent_for(f, dev->uuid);
	}
	if (!guest)
		return guest_is_gone(f, dev, absent_ns);
	if (guest->id != dev->guest && !has_let_go(f, dev, absent_ns))
		return 1;
	return backend ? move(f, dev, guest, backend) : 1;
}

static void look_at_all(struct vg_follow *f, const struct vg_domains *all,
			struct vg_bus_devs *devs)
{
	struct vg_bus_dev *dev;
	unsigned int i;

	f->devices = devs->nr;
	f->waiting = 0;
	f->suspended = 0;
	for (i = 0; i < devs->nr; i++) {
		dev = &devs->d[i];
		f->waiting += (unsigned int)look_at(f, all, dev);
		f->suspended += dev->is_suspended;
		if (dev->is_suspended)
			sleep_of(f, dev->uuid)->is_seen = true;
	}
	forget_who_is_back(f);
	forget_who_is_awake(f);
	forget_what_was_said(f);
}

/*
 * The records first: a guest that is made meanwhile, and gets a device, would
 * have one and not be there.
 */
int vg_follow_look(struct vg_follow *f, uint64_t now_ns)
{
	struct vg_domains all;
	struct vg_bus_devs devs;
	int err = vg_bus_devs_read(f->xs, NULL, &devs);

	if (err)
		return err;
	f->now_ns = now_ns;
	err = vg_domains_read(f->xs, &all);
	if (!err) {
		look_at_all(f, &all, &devs);
		vg_domains_free(&all);
	}
	vg_bus_devs_free(&devs);
	return err ? err : (int)f->waiting;
}
