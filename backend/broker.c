// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broker.c - finds the guests' virtio devices in xenstore and gives each a
 * relay page and an event channel.
 *
 * Which backend serves which guest is read from /libxl, where only the
 * toolstack writes: a driver domain that makes up nodes below its own backend
 * directory reaches no guest that the toolstack did not give it.  Into the
 * backend's node we write only (relay.h); nothing there is believed.
 *
 * A scan compares /libxl with what we have.  It is made after every change
 * below /libxl that concerns a virtio device, once per turn of the loop.
 */
#include "broker.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker_guest.h"
#include "libxl_keys.h"
#include "log.h"
#include "relay.h"
#include "util.h"

#define NOT_TAKEN_WARN_NS	UINT64_C(5000000000)
#define NR_FAILURES		16

struct bdev {
	struct bdev *next;
	struct bguest *guest;		/* NULL: it has no relay */
	bool tried;			/* dev_start() was here */
	struct vg_devname name;
	struct vg_devkeys keys;
	char *label;
	struct vg_bdev *relay;		/* NULL: it failed, see failures */
	xen_ref_t ref;
	xen_port_t port;
	struct vg_timer *not_taken;	/* has the backend attached by then? */
	bool seen;			/* by the scan under way */
};

struct bguest {
	struct bguest *next;
	xen_domid_t domid;
	struct vg_bguest *io;
};

struct vg_broker {
	struct vg_broker_config cfg;
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *xs_fd;
	struct xen_gntshr *gs;
	xen_domid_t own_domid;
	struct vg_deferred *scan;
	struct bguest *guests;		/* those with an IOREQ server */
	struct bdev *devs;		/* failed ones too, until libxl
					 * removes them */
	bool first_scan_done;
	bool scan_failed;		/* not all that is there was seen */
	/* The last things that went wrong, for virtio-grantctl. */
	char *failure[NR_FAILURES];
	unsigned int nr_failures;
};

/* Logs it and keeps it; what every scan finds again is said once. */
static void __attribute__((format(printf, 2, 3)))
failed(struct vg_broker *b, const char *fmt, ...)
{
	char **slot, text[512];
	unsigned int i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (i = 0; i < NR_FAILURES; i++)
		if (b->failure[i] && !strcmp(b->failure[i], text))
			return;
	slot = &b->failure[b->nr_failures++ % NR_FAILURES];
	vg_err("%s", text);
	free(*slot);
	*slot = vg_strdup(text);
}

/* ---- ids of IOREQ servers, for a successor ---------------------------------- */

/*
 * One file per guest, with the server's id and the guest's VM path, which
 * holds its UUID: a domain id can come back, a UUID does not.
 */
static char *server_file(struct vg_broker *b, xen_domid_t domid)
{
	return vg_strf("%s/ioreq-%u", b->cfg.run_dir, domid);
}

static char *vm_of(struct vg_broker *b, xen_domid_t domid)
{
	char *dir = vg_strf("/local/domain/%u", domid);
	char *vm = vg_key_read(b->xs, dir, "vm");

	free(dir);
	return vm;
}

static void remember_server(struct vg_broker *b, xen_domid_t domid,
			    uint16_t id)
{
	char *path, *vm;
	FILE *f;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	vm = vm_of(b, domid);
	f = fopen(path, "we");
	if (!f || fprintf(f, "%u %s\n", id, vm ? vm : "-") < 0)
		vg_warn("%s: %s; a restarted broker will not find dom%u's IOREQ server",
			path, strerror(errno), domid);
	if (f)
		fclose(f);
	free(vm);
	free(path);
}

static void forget_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	unlink(path);
	free(path);
}

/* -1: no predecessor left one. */
static int recall_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path, *vm, was[256];
	unsigned int id;
	int found = -1;
	FILE *f;

	if (!b->cfg.run_dir)
		return -1;
	path = server_file(b, domid);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return -1;
	vm = vm_of(b, domid);
	if (fscanf(f, "%u %255s", &id, was) == 2 && id <= UINT16_MAX && vm &&
	    !strcmp(was, vm))
		found = (int)id;
	fclose(f);
	free(vm);
	return found;
}

/* ---- guests and devices ------------------------------------------------------ */

static struct bguest *guest_get(struct vg_broker *b, xen_domid_t domid,
				int *err)
{
	struct bguest *g;
	uint16_t id;

	for (g = b->guests; g; g = g->next)
		if (g->domid == domid)
			return g;
	g = vg_zalloc(sizeof(*g));
	g->domid = domid;
	*err = vg_bguest_create(domid, recall_server(b, domid),
				b->cfg.answer_timeout_ns, b->loop, b->gs,
				&g->io, &id);
	if (*err) {
		free(g);
		return NULL;
	}
	remember_server(b, domid, id);
	g->next = b->guests;
	b->guests = g;
	vg_info("dom%u: IOREQ server %u, %u vCPU(s)", domid, id,
		vg_bguest_nr_vcpus(g->io));
	return g;
}

static void guest_put(struct vg_broker *b, struct bguest *g, bool leave)
{
	struct bguest **p;

	for (p = &b->guests; *p != g; p = &(*p)->next)
		;
	*p = g->next;
	if (leave) {
		vg_bguest_leave(g->io);
	} else {
		vg_bguest_destroy(g->io);
		forget_server(b, g->domid);
		vg_info("dom%u: no device left, IOREQ server destroyed",
			g->domid);
	}
	free(g);
}

static void dev_free(struct bdev *d)
{
	vg_timer_destroy(d->not_taken);
	free(d->label);
	free(d);
}

static void on_not_taken(void *arg)
{
	struct bdev *d = arg;

	if (d->relay &&
	    vg_bdev_backend_state(d->relay) == VG_RELAY_BACKEND_ABSENT)
		vg_warn("%s: no backend in dom%u has taken it up in %u s: is virtio-grantd running there?",
			d->label, d->name.backend,
			(unsigned int)(NOT_TAKEN_WARN_NS / 1000000000u));
}

/*
 * Tells the backend where its relay is.  The node must exist and be the
 * guest's: else we would create one.
 */
static int announce(struct vg_broker *b, struct bdev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	char ref[16], port[16], domid[16], *fe;
	int err;

	snprintf(ref, sizeof(ref), "%u", d->ref);
	snprintf(port, sizeof(port), "%u", d->port);
	snprintf(domid, sizeof(domid), "%u", b->own_domid);
	do {
		err = xen_store_begin(b->xs);
		if (err)
			break;
		fe = vg_key_read(b->xs, path, "frontend-id");
		err = fe ? 0 : -errno;
		free(fe);
		if (!err)
			err = vg_key_write(b->xs, path, "relay-domid", domid);
		if (!err)
			err = vg_key_write(b->xs, path, "relay-port", port);
		if (!err)
			err = vg_key_write(b->xs, path, "relay-ref", ref);
		if (err) {
			xen_store_abort(b->xs);
			break;
		}
		err = xen_store_commit(b->xs);
	} while (err == -EAGAIN);
	free(path);
	return err;
}

/*
 * libxl waits for the backend's state to become InitWait; a state that is
 * removed makes it give up at once instead of after its 10 s.
 */
static void give_up(struct vg_broker *b, struct bdev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	char *state = vg_strf("%s/state", path);

	xen_store_rm(b->xs, state);
	free(state);
	free(path);
}

static const char *why_no_server(int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "this domain may not issue device-model operations for it";
	case -ESRCH:
		return "there is no such domain";
	case -EOPNOTSUPP:
	case -ENOSYS:
		return "this Xen was built without IOREQ_SERVER";
	case -ENOSPC:
		return "all 8 IOREQ servers of the guest are taken";
	default:
		return strerror(-err);
	}
}

static void dev_start(struct vg_broker *b, struct bdev *d)
{
	struct vg_bdev_params p = {
		.label = d->label,
		.backend = d->name.backend,
		.base = d->keys.base,
		.irq = d->keys.irq,
	};
	int err = 0;

	d->tried = true;
	d->guest = guest_get(b, d->name.guest, &err);
	if (!d->guest) {
		failed(b, "%s: no IOREQ server: %s", d->label,
		       why_no_server(err));
		give_up(b, d);
		return;
	}
	err = vg_bguest_add(d->guest->io, &p, &d->relay, &d->ref, &d->port);
	if (err) {
		failed(b, "%s: window 0x%llx: %s", d->label,
		       (unsigned long long)p.base,
		       err == -EEXIST ? "another backend has it already" :
		       strerror(-err));
		give_up(b, d);
		return;
	}
	err = announce(b, d);
	if (err) {
		failed(b, "%s: writing the relay's keys to dom%u's node: %s",
		       d->label, d->name.backend, strerror(-err));
		vg_bguest_remove(d->relay);
		d->relay = NULL;
		give_up(b, d);
		return;
	}
	vg_info("%s: window 0x%llx, SPI %u, backend in dom%u", d->label,
		(unsigned long long)p.base, p.irq, p.backend);
	d->not_taken = vg_timer_create(b->loop, on_not_taken, d);
	vg_timer_arm(d->not_taken, NOT_TAKEN_WARN_NS);
}

static void dev_stop(struct bdev *d)
{
	if (!d->relay)
		return;
	vg_bguest_remove(d->relay);
	vg_info("%s: removed", d->label);
}

/* ---- the scan ------------------------------------------------------------------ */

static struct bdev *dev_find(struct vg_broker *b, const struct vg_devname *n,
			     const struct vg_devkeys *k)
{
	struct bdev *d;

	for (d = b->devs; d; d = d->next)
		if (d->name.kind == n->kind && d->name.guest == n->guest &&
		    d->name.devid == n->devid && d->name.backend == n->backend &&
		    d->keys.base == k->base && d->keys.irq == k->irq)
			return d;
	return NULL;
}

static void scan_device(struct vg_broker *b, const struct vg_kind *kind,
			xen_domid_t guest, const char *dir, const char *devid)
{
	char *path = vg_strf("%s/%s", dir, devid);
	struct vg_devkeys keys;
	struct vg_devname name;
	struct bdev *d, **p;
	char *backend, *why = NULL;
	int err;

	backend = vg_key_read(b->xs, path, "backend");
	if (!backend) {
		/* ENOENT: libxl removed it between our look-ups. */
		if (errno != ENOENT) {
			failed(b, "xenstore key %s/backend: %s", path,
			       strerror(errno));
			b->scan_failed = true;
		}
		goto out;
	}
	if (vg_devname_parse(backend, &name) || name.guest != guest ||
	    name.kind != kind) {
		failed(b, "xenstore key %s/backend: \"%s\" is not the path of a backend for dom%u",
		       path, backend, guest);
		goto out;
	}
	err = vg_devkeys_read(b->xs, path, kind, &keys, &why);
	if (err) {
		failed(b, "%s", why);
		if (err != -EINVAL && err != -ERANGE && err != -ENOENT)
			b->scan_failed = true;
		goto out;
	}
	/* Without grants it is another backend's: not ours to touch. */
	if (!keys.grant_usage && !b->cfg.serves_foreign)
		goto out;
	d = dev_find(b, &name, &keys);
	if (d) {
		d->seen = true;
		goto out;
	}
	d = vg_zalloc(sizeof(*d));
	d->name = name;
	d->keys = keys;
	d->label = vg_devname_label(&name);
	d->seen = true;
	for (p = &b->devs; *p; p = &(*p)->next)
		;
	*p = d;
out:
	free(why);
	free(backend);
	free(path);
}

static void scan_guest(struct vg_broker *b, const char *domid_text)
{
	uint64_t domid;
	unsigned int k;
	int i, n;

	if (vg_parse_u64(domid_text, 10, XEN_DOMID_MAX, &domid))
		return;
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = vg_strf("/libxl/%s/device/%s", domid_text,
				    vg_kinds[k].name);
		char **names;

		n = xen_store_directory(b->xs, dir, &names);
		if (n < 0 && n != -ENOENT) {
			failed(b, "xenstore directory %s: %s", dir,
			       strerror(-n));
			b->scan_failed = true;
		}
		for (i = 0; i < n; i++)
			scan_device(b, &vg_kinds[k], (xen_domid_t)domid, dir,
				    names[i]);
		if (n >= 0)
			xen_store_free_dir(names);
		free(dir);
	}
}

static void remove_unseen(struct vg_broker *b)
{
	struct bdev **p = &b->devs, *d;

	while ((d = *p)) {
		if (d->seen) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		dev_stop(d);
		dev_free(d);
	}
}

static bool guest_has_device(struct vg_broker *b, const struct bguest *g)
{
	struct bdev *d;

	for (d = b->devs; d; d = d->next)
		if (d->guest == g && d->relay)
			return true;
	return false;
}

static void on_scan(void *arg)
{
	struct vg_broker *b = arg;
	struct bguest *g, *next;
	struct bdev *d;
	char **names;
	int i, n;

	b->scan_failed = false;
	for (d = b->devs; d; d = d->next)
		d->seen = false;
	n = xen_store_directory(b->xs, "/libxl", &names);
	if (n < 0 && n != -ENOENT) {
		failed(b, "xenstore directory /libxl: %s", strerror(-n));
		return;
	}
	for (i = 0; i < n; i++)
		scan_guest(b, names[i]);
	if (n >= 0)
		xen_store_free_dir(names);

	/* First what is gone: a successor may want the same window. */
	if (!b->scan_failed)
		remove_unseen(b);
	for (d = b->devs; d; d = d->next)
		if (!d->tried)
			dev_start(b, d);
	for (g = b->guests; g; g = next) {
		next = g->next;
		if (!guest_has_device(b, g)) {
			for (d = b->devs; d; d = d->next)
				if (d->guest == g)
					d->guest = NULL;
			guest_put(b, g, false);
		}
	}
	if (!b->first_scan_done)
		for (g = b->guests; g; g = g->next)
			vg_bguest_kick(g->io);
	b->first_scan_done = true;
}

static void on_xenstore(void *arg)
{
	struct vg_broker *b = arg;
	char *path, *token;

	while (!xen_store_next_watch(b->xs, &path, &token)) {
		/* "/libxl" itself, a guest's directory, or a device of ours. */
		if (!strstr(path, "/device/") || strstr(path, "/device/virtio"))
			vg_deferred_schedule(b->scan);
		free(path);
		free(token);
	}
}

/* ---- status -------------------------------------------------------------------- */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static struct json_object *dev_json(const struct bdev *d)
{
	const struct vg_bdev_stats *s = vg_bdev_stats(d->relay);
	struct json_object *o = json_object_new_object();
	uint32_t state = vg_bdev_backend_state(d->relay);

	json_object_object_add(o, "device", json_object_new_string(d->label));
	add_u64(o, "guest", d->name.guest);
	add_u64(o, "backend_domain", d->name.backend);
	add_u64(o, "base", d->keys.base);
	add_u64(o, "irq", d->keys.irq);
	json_object_object_add(o, "backend", json_object_new_string(
			vg_bdev_is_dead(d->relay) ? "dead" :
			state == VG_RELAY_BACKEND_READY ? "ready" :
			state == VG_RELAY_BACKEND_GONE ? "gone" :
			state == VG_RELAY_BACKEND_ABSENT ? "absent" :
			"invalid"));
	add_u64(o, "traps", s->traps);
	add_u64(o, "notifies", s->notifies);
	add_u64(o, "isr_reads", s->isr_reads);
	add_u64(o, "isr_acks", s->isr_acks);
	add_u64(o, "forwarded", s->forwarded);
	add_u64(o, "bad_accesses", s->bad_accesses);
	add_u64(o, "irqs", s->irqs);
	add_u64(o, "backend_events", s->backend_events);
	add_u64(o, "bad_answers", s->bad_answers);
	add_u64(o, "late_answers", s->late_answers);
	add_u64(o, "timeouts", s->timeouts);
	return o;
}

char *vg_broker_answer(void *broker, const char *request)
{
	struct json_object *root, *devs, *fails;
	struct vg_broker *b = broker;
	struct bdev *d;
	unsigned int i;
	char *text;

	if (strcmp(request, "status"))
		return NULL;
	root = json_object_new_object();
	json_object_object_add(root, "program",
			       json_object_new_string("virtio-grant-broker"));
	add_u64(root, "answer_timeout_ms", b->cfg.answer_timeout_ns / 1000000);
	devs = json_object_new_array();
	for (d = b->devs; d; d = d->next)
		if (d->relay)
			json_object_array_add(devs, dev_json(d));
	json_object_object_add(root, "devices", devs);
	fails = json_object_new_array();
	for (i = b->nr_failures > NR_FAILURES ? b->nr_failures - NR_FAILURES : 0;
	     i < b->nr_failures; i++)
		json_object_array_add(fails, json_object_new_string(
					      b->failure[i % NR_FAILURES]));
	json_object_object_add(root, "failures", fails);
	text = vg_strf("%s\n", json_object_to_json_string_ext(root,
						JSON_C_TO_STRING_PLAIN));
	json_object_put(root);
	return text;
}

/* ---- life ------------------------------------------------------------------------ */

int vg_broker_create(const struct vg_broker_config *cfg, struct vg_loop *loop,
		     struct vg_broker **out)
{
	struct vg_broker *b = vg_zalloc(sizeof(*b));
	int err;

	b->cfg = *cfg;
	b->loop = loop;
	b->scan = vg_deferred_create(loop, on_scan, b);
	err = xen_store_open(&b->xs);
	if (err) {
		vg_err("xenstore can't be reached: %s", strerror(-err));
		goto fail;
	}
	err = xen_store_own_domid(b->xs, &b->own_domid);
	if (err) {
		vg_err("xenstore does not tell this domain's id: %s",
		       strerror(-err));
		goto fail;
	}
	err = xen_gntshr_open(&b->gs);
	if (err) {
		vg_err("/dev/xen/gntalloc: %s (is the module xen-gntalloc loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = xen_store_watch(b->xs, "/libxl", "libxl");
	if (err) {
		vg_err("watching /libxl in xenstore: %s (only the control domain may)",
		       strerror(-err));
		goto fail;
	}
	err = vg_loop_add_fd(loop, xen_store_fd(b->xs), on_xenstore, b,
			     &b->xs_fd);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		goto fail;
	}
	vg_deferred_schedule(b->scan);
	*out = b;
	return 0;
fail:
	vg_broker_destroy(b, false);
	return err;
}

void vg_broker_destroy(struct vg_broker *b, bool leave)
{
	struct bdev *d;
	unsigned int i;

	while ((d = b->devs)) {
		b->devs = d->next;
		if (!leave)
			dev_stop(d);
		dev_free(d);
	}
	while (b->guests)
		guest_put(b, b->guests, leave);
	if (b->xs_fd)
		vg_loop_del_fd(b->loop, b->xs_fd);
	vg_deferred_destroy(b->scan);
	xen_gntshr_close(b->gs);
	xen_store_close(b->xs);
	for (i = 0; i < NR_FAILURES; i++)
		free(b->failure[i]);
	free(b);
}
