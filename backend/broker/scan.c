// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scan.c - compares /libxl with what the broker has, and has started and
 * stopped what differs.
 *
 * Only the toolstack writes below /libxl: a driver domain that makes up nodes
 * below its own backend directory reaches no guest that the toolstack did not
 * give it.
 *
 * A scan is made after every change there that concerns a virtio device, once
 * per turn of the loop.  One that could not read everything removes nothing,
 * and is made again.
 */
#include "broker/broker_priv.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "toolstack/walk.h"

static struct vg_bparent_dev *dev_find(struct vg_broker *b,
				       const struct vg_devname *n,
				       const struct vg_bparent_keys *k)
{
	struct vg_bparent_dev *d;

	for (d = b->devs; d; d = d->next)
		if (!d->seen && d->name.kind == n->kind &&
		    d->name.guest == n->guest && d->name.devid == n->devid &&
		    d->name.backend == n->backend &&
		    d->keys.mmio.base == k->mmio.base &&
		    d->keys.mmio.irq == k->mmio.irq &&
		    d->keys.grant_usage == k->grant_usage)
			return d;
	return NULL;
}

/*
 * Removed and added again between two scans: the backend's node is there, and
 * our keys are not in it.
 */
static bool is_another(struct vg_broker *b, const struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name), *fe, *ref;
	bool is = false;
	uint64_t v;

	if (d->state != VG_BPARENT_RUNNING) {
		free(path);
		return false;
	}
	fe = vg_key_read(b->xs, path, "frontend-id");
	if (fe) {
		ref = vg_key_read(b->xs, path, "relay-ref");
		is = ref ? vg_parse_u64(ref, 10, UINT32_MAX, &v) ||
			   v != d->ref : errno == ENOENT;
		free(ref);
	}
	free(fe);
	free(path);
	return is;
}

/* The walk's. */
struct scan {
	struct vg_broker *b;
	const struct vg_kind *kind;
};

/*
 * Register accesses are all that is relayed: 0, or -ENOENT for a device on
 * another transport, which is none of ours.
 */
static int is_mmio(const char *kind, const struct vg_keys *node, char **why)
{
	char *transport = vg_keys_read(node, "transport");
	int err = transport ? 0 : -errno;

	if (err && err != -ENOENT)
		*why = vg_strf("xenstore key %s/transport: %s", node->where,
			       strerror(-err));
	if (!err && strcmp(transport, VG_MMIO_TRANSPORT))
		err = -ENOENT;
	free(transport);
	if (err)
		return err;
	err = vg_mmio_has_no_window(kind, node);
	if (err < 0)
		*why = vg_strf("xenstore key %s/base: %s", node->where,
			       strerror(-err));
	return err == 1 ? -ENOENT : err;
}

static int read_keys(struct xen_store *xs, const char *kind, const char *dir,
		     struct vg_bparent_keys *keys, char **why)
{
	const struct vg_keys node = vg_node_keys(&xs, dir);
	int err = is_mmio(kind, &node, why);

	if (!err)
		err = vg_grant_usage_read(&node, &keys->grant_usage, why);
	if (!err)
		err = vg_mmio_keys_read(kind, &node, &keys->mmio, why);
	return err;
}

/*
 * What libxl says about a device: 0; -ENOENT: it is gone, or said to be none of
 * ours.  Otherwise it was not seen, perhaps.
 */
static int read_device(const struct scan *s, xen_domid_t guest,
		       const char *node, struct vg_devname *name,
		       struct vg_bparent_keys *keys)
{
	char *backend = vg_key_read(s->b->xs, node, "backend"), *why = NULL;
	int err = backend ? 0 : -errno;

	if (err == -ENOENT)		/* removed since we looked */
		return err;
	if (err) {
		vg_broker_failed(s->b, "xenstore key %s/backend: %s", node,
				 strerror(-err));
		return err;
	}
	if (vg_devname_parse(backend, name) || name->guest != guest ||
	    name->kind != s->kind) {
		vg_broker_failed(s->b, "xenstore key %s/backend: \"%s\" is not the path of a backend for dom%u",
				 node, backend, guest);
		err = -ENOENT;
	}
	free(backend);
	if (err)
		return err;
	err = read_keys(s->b->xs, s->kind->name, node, keys, &why);
	if (err && why)
		vg_broker_failed(s->b, "%s", why);
	free(why);
	return err == -EINVAL || err == -ERANGE ? -ENOENT : err;
}

static void scan_device(void *arg, xen_domid_t guest, uint32_t devid,
			const char *node)
{
	const struct scan *s = arg;
	struct vg_bparent_keys keys;
	struct vg_devname name;
	struct vg_bparent_dev *d;
	int err;

	(void)devid;		/* the backend's path has it, too */
	err = read_device(s, guest, node, &name, &keys);
	if (err) {
		s->b->scan_failed |= err != -ENOENT;
		return;
	}
	d = dev_find(s->b, &name, &keys);
	if (d && !is_another(s->b, d))
		d->seen = true;
	else
		vg_bparent_dev_new(s->b, &name, &keys);
}

static void scan_failed(void *arg, const char *dir, int err)
{
	const struct scan *s = arg;

	vg_broker_failed(s->b, "xenstore directory %s: %s", dir,
			 strerror(-err));
	s->b->scan_failed = true;
}

static void scan_kind(struct vg_broker *b, const struct vg_kind *kind)
{
	char *between = vg_strf("device/%s", kind->name);
	struct scan s = { .b = b, .kind = kind };
	const struct vg_walk walk = {
		.xs = b->xs, .between = between, .leaf = scan_device,
		.failed = scan_failed, .arg = &s,
	};

	vg_walk(&walk, "/libxl");
	free(between);
}

static void remove_unseen(struct vg_broker *b)
{
	struct vg_bparent_dev **p = &b->devs, *d;

	while ((d = *p)) {
		if (d->seen) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		vg_bparent_dev_stop(d);
		vg_bparent_dev_free(d);
	}
}

static void on_scan(void *arg)
{
	struct vg_broker *b = arg;
	struct vg_bparent_guest *g;
	struct vg_bparent_dev *d;
	unsigned int k;

	b->scan_failed = false;
	for (d = b->devs; d; d = d->next)
		d->seen = false;
	for (k = 0; k < vg_nr_kinds; k++)
		if (!vg_kinds[k].is_own)	/* those have no registers */
			scan_kind(b, &vg_kinds[k]);

	/* First what is gone: a successor may want the same window. */
	if (!b->scan_failed)
		remove_unseen(b);
	for (d = b->devs; d; d = d->next)
		if (d->state == VG_BPARENT_NEW && !vg_timer_is_armed(d->retry))
			vg_bparent_dev_start(d);
	if (b->scan_failed)
		vg_broker_try_again(b->rescan, &b->rescan_ns);
	else
		b->rescan_ns = 0;
	for (g = b->guests; g; g = g->next) {
		if (vg_bparent_guest_has_device(g))
			vg_bparent_guest_start(g);
		else if (!g->is_ending && !vg_bparent_guest_has_later(g))
			vg_bparent_guest_end(g);
	}
}

static void on_rescan(void *arg)
{
	struct vg_broker *b = arg;

	vg_deferred_schedule(b->scan);
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

/* Watches can be set on what may not be read. */
static int may_read_libxl(struct vg_broker *b)
{
	char **names;
	int n = xen_store_directory(b->xs, "/libxl", &names);

	if (n >= 0)
		xen_store_free_dir(names);
	if (n >= 0 || n == -ENOENT)
		return 0;
	vg_err("xenstore directory /libxl: %s%s", strerror(-n),
	       n == -EACCES || n == -EPERM ?
	       " (only the control domain may read it: virtio-grant-broker runs there, and a driver domain needs no more than virtio-grantd)" :
	       "");
	return n;
}

int vg_broker_scan_begin(struct vg_broker *b)
{
	int err;

	b->scan = vg_deferred_create(b->loop, on_scan, b);
	b->rescan = vg_timer_create(b->loop, on_rescan, b);
	err = may_read_libxl(b);
	if (err)
		return err;
	err = xen_store_watch(b->xs, "/libxl", "libxl");
	if (err) {
		vg_err("watching /libxl in xenstore: %s", strerror(-err));
		return err;
	}
	err = vg_loop_add_fd(b->loop, xen_store_fd(b->xs), on_xenstore, b,
			     &b->xs_fd);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		return err;
	}
	vg_deferred_schedule(b->scan);
	return 0;
}

void vg_broker_scan_end(struct vg_broker *b)
{
	vg_loop_del_fd(b->loop, b->xs_fd);
	vg_deferred_destroy(b->scan);
	vg_timer_destroy(b->rescan);
}
