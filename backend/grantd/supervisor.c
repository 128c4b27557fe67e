// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * supervisor.c - what xenstore has for virtio-grantd, and its life.
 *
 * A device's life, as libxl sees it (tools/libs/light/libxl_device.c):
 *
 *	state 1  libxl made the node; we wait for it to be reachable
 *		 (transport.h), open its resource and hand both to the worker
 *	state 2  the worker serves it; libxl goes on (it waits 10 s for this)
 *	state 5  libxl wants it gone; the worker drains and unmaps
 *	state 6  done; libxl goes on (it waits 10 s for this, too) and then
 *		 waits for this domain to remove the node
 *
 * What can't be served loses its key "state", at which libxl gives up at once
 * instead of after its 10 s.  The reason is logged, and kept for
 * virtio-grantctl.
 *
 * A device whose driver has a node of its own is more than that: fronts.c.
 *
 * Not trusted: our own workers (worker.h), and the driver's node.  What
 * xenstore has is parsed strictly all the same.
 */
#include "grantd/supervisor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"
#include "toolstack/walk.h"

/* Between two tries of what failed, doubling up to the maximum. */
#define RETRY_MIN_NS		UINT64_C(10000000)
#define RETRY_MAX_NS		UINT64_C(5000000000)

unsigned int vg_sup_type_index(const struct vg_dev_type *type)
{
	unsigned int i = 0;

	while (vg_dev_types[i] != type)
		i++;
	return i;
}

unsigned int vg_sup_transport_index(const struct vg_transport_type *transport)
{
	unsigned int i = 0;

	while (vg_transport_types[i] != transport)
		i++;
	return i;
}

static uint64_t hash_text(const char *text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return h;
}

/* Of this device, since it was ready last.  So many reasons, and no more. */
static bool was_said(struct vg_sdev *d, const char *text)
{
	uint64_t h = hash_text(text);
	unsigned int i;

	for (i = 0; i < d->nr_said; i++)
		if (d->said[i] == h)
			return true;
	if (d->nr_said == NR_SAID)
		return true;
	d->said[d->nr_said++] = h;
	return false;
}

/* A guest can make its devices wait for something else each time. */
static bool may_be_said(struct vg_sguest *g)
{
	bool ok = vg_ratelimit_ok(&g->complaints);

	if (!ok && g->complaints.suppressed == 1)
		vg_warn("dom%u: what its devices wait for changes too often to be said here (virtio-grantctl list has it)",
			g->domid);
	return ok;
}

/*
 * Logs it and keeps it for virtio-grantctl.  What one try or scan after the
 * other finds is said once; of a device, it is also what that waits for.
 */
void vg_sup_failed(struct vg_supervisor *s, const char *fmt, ...)
{
	char **slot, text[512];
	struct vg_sdev *d = s->about;
	unsigned int i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d) {
		free(d->why);
		d->why = vg_strdup(text);
		if (was_said(d, text) || !may_be_said(d->guest))
			return;
	}
	for (i = 0; i < NR_FAILURES && !d; i++)
		if (s->failure[i] && !strcmp(s->failure[i], text))
			return;
	slot = &s->failure[s->nr_failures++ % NR_FAILURES];
	vg_err("%s", text);
	free(*slot);
	*slot = vg_strdup(text);
}

/* It waits for nothing any more. */
void vg_sdev_content(struct vg_sdev *d)
{
	free(d->why);
	d->why = NULL;
	d->nr_said = 0;
	d->is_published = false;
	d->pause_ns = 0;
}

/* Next time, a little later.  The caller has said why. */
uint64_t vg_sup_next_pause(uint64_t *pause_ns)
{
	*pause_ns = *pause_ns ? min_u(*pause_ns * 2, RETRY_MAX_NS) :
				RETRY_MIN_NS;
	return *pause_ns;
}

void vg_sdev_wait(struct vg_sdev *d)
{
	vg_timer_arm(d->retry, vg_sup_next_pause(&d->pause_ns));
}

/* ---- the scan ----------------------------------------------------------- */

static struct vg_sdev *dev_find(struct vg_supervisor *s, const char *node)
{
	struct vg_sdev *d;

	for (d = s->devs; d; d = d->next)
		if (!d->is_orphan && !strcmp(d->node, node))
			return d;
	return NULL;
}

/* A node that we see for the first time.  NULL: not ours to serve. */
static struct vg_sdev *dev_new(struct vg_supervisor *s,
			       const struct vg_devname *name, const char *node,
			       uint64_t state)
{
	struct vg_sdev *d = vg_zalloc(sizeof(*d));

	d->s = s;
	d->name = *name;
	d->node = vg_strdup(node);
	d->label = vg_devname_label(name);
	d->guest = vg_sguest_get(s, name->guest);
	d->timer = vg_timer_create(s->loop, vg_sup_on_dev_timer, d);
	d->retry = vg_timer_create(s->loop, vg_sup_on_retry, d);
	d->hold = vg_timer_create(s->loop, vg_sup_on_hold, d);
	d->answer = vg_timer_create(s->loop, vg_sup_on_answer_due, d);
	d->resize_due = vg_timer_create(s->loop, vg_sup_on_answer_due, d);
	d->since_ns = vg_now_ns();
	d->state = DEV_NEW;
	d->next = s->devs;
	s->devs = d;
	vg_timer_arm(d->timer, UNREACHED_WARN_NS);
	if (state > VG_XENBUS_INITIALISING && state < VG_XENBUS_CLOSING)
		d->was_served = d->is_promised = true;	/* by a predecessor */
	return d;
}

/* Whether the node's "dev" is one of cfg.only: 1, 0 or negative errno. */
static int is_listed(struct vg_supervisor *s, const char *node)
{
	char *vdev, *list, *word;
	int is;

	if (!s->cfg.only)
		return 1;
	vdev = vg_key_read(s->xs, node, "dev");
	if (!vdev && errno != ENOENT)
		return -errno;
	list = vg_strf(",%s,", s->cfg.only);
	word = vg_strf(",%s,", vdev ? vdev : "?");
	is = strstr(list, word) != NULL;
	free(word);
	free(list);
	free(vdev);
	return is;
}

static int read_grant_usage(const char *kind, const struct vg_keys *node,
			    bool *grant_usage, char **why)
{
	const struct vg_transport_type *type;
	int is = vg_transport_with_front(kind, node, &type);

	if (!is)
		return vg_grant_usage_read(node, grant_usage, why);
	/* What is granted to us is all that can be reached there. */
	*grant_usage = true;
	if (is < 0)
		*why = vg_strf("xenstore keys of %s: %s", node->where,
			       strerror(-is));
	return is < 0 ? is : 0;
}

/* A guest waits for it, whatever fails now.  0, or negative errno with *why. */
static int read_promise(struct vg_sdev *d, const struct vg_keys *node,
			char **why)
{
	int is = d->transport->has_front ? vg_keys_is_1(node, VG_KEY_MOVED) : 0;

	d->is_promised |= is == 1;
	if (is >= 0)
		return 0;
	*why = vg_strf("xenstore key %s/" VG_KEY_MOVED ": %s", node->where,
		       strerror(-is));
	return is;
}

/*
 * Whether this node is a device for us, checked when it is seen first: 1, 0,
 * or negative errno if it can't be told now.
 */
static int node_is_ours(struct vg_supervisor *s, struct vg_sdev *d)
{
	struct vg_keys node = vg_node_keys(&s->xs, d->node);
	const char *kind = d->name.kind->name;
	bool grant_usage = false;
	char *why = NULL;
	int err, listed = 1;

	err = read_grant_usage(kind, &node, &grant_usage, &why);
	if (!err)
		listed = is_listed(s, d->node);
	/* Else it is another instance's, or another backend's. */
	if (!err && listed == 1 && grant_usage == !s->cfg.is_foreign) {
		err = vg_transport_of(kind, &node, &d->transport, &why);
		if (!err)
			err = vg_dev_type_of(kind, &node, &d->type, &why);
		if (!err)
			err = read_promise(d, &node, &why);
	}
	if (err)
		vg_sup_failed(s, "%s", why);
	free(why);
	/* What is there and makes no sense will not make any later. */
	if (err)
		return err == -EINVAL || err == -ERANGE ? 0 : err;
	if (listed <= 0)
		return listed;
	if (!s->cfg.is_foreign && !grant_usage && d->was_denied)
		vg_warn("%s: grant_usage=0 asks for a backend that maps the guest's memory; this one serves grant_usage=1 only and leaves it alone",
			d->label);
	return grant_usage == !s->cfg.is_foreign;
}

/* Of one that is ours.  False: it is refused, or not now. */
static bool dev_front_begin(struct vg_sdev *d)
{
	int err = 0;

	if (d->transport->has_front && d->state != DEV_FAILED) {
		d->s->about = d;
		err = vg_front_begin(d);
		d->s->about = NULL;
	}
	if (err == -EINVAL)
		vg_sdev_fail(d);
	else if (err)
		d->s->look_again = true;
	return !err;
}

/* False: nothing is to be done with it (now). */
static bool dev_identify(struct vg_sdev *d)
{
	int is;

	if (d->is_ours || d->state == DEV_IGNORED)
		return d->is_ours;
	d->s->about = d;
	is = node_is_ours(d->s, d);
	d->s->about = NULL;
	/* Ignored is for good: not for one look at xenstore alone. */
	if (is < 0 || (!is && !d->was_denied)) {
		d->was_denied = !is;
		d->s->look_again = true;
		return false;
	}
	d->is_ours = is;
	if (!is) {
		vg_timer_cancel(d->timer);
		d->state = DEV_IGNORED;
	} else {
		d->res = d->type->host->create(
			d->s->type_daemons[vg_sup_type_index(d->type)],
			d->label);
		vg_sdev_content(d);
		if (d->transport->has_front)
			vg_timer_cancel(d->timer);
	}
	return is;
}

/* The same name again, but a new device: libxl made it since we looked. */
static bool is_made_anew(const struct vg_sdev *d, uint64_t state)
{
	return state == VG_XENBUS_INITIALISING &&
	       d->node_state > VG_XENBUS_INITIALISING;
}

/* What a worker has is let go of; of the others nothing is left. */
static void dev_replaced(struct vg_sdev *d)
{
	if (d->has_index) {
		vg_warn("%s: another device has its name now", d->label);
		vg_sdev_orphan(d);
		return;
	}
	vg_sup_state_remove(d);
	vg_sdev_free(d);
}

/*
 * Closed under a predecessor that did not live to remove it: 1; or it is only
 * the driver that has closed, for now: then the toolstack still wants it, 0.
 * Negative errno if that can't be read now.
 */
static int is_leftover(struct vg_supervisor *s, const struct vg_kind *kind,
		       const char *node, uint64_t state)
{
	const struct vg_keys keys = vg_node_keys(&s->xs, node);
	const struct vg_transport_type *type;
	int is;

	if (state != VG_XENBUS_CLOSED)
		return 0;
	is = vg_keys_is_1(&keys, "online");
	if (is == 1)
		is = vg_transport_with_front(kind->name, &keys, &type);
	return is < 0 ? is : !is;
}

static void leftover(struct vg_sdev *d)
{
	d->is_ours = true;
	d->is_shown = true;
	d->state = DEV_CLOSED;
	vg_timer_arm(d->timer, NODE_REMOVAL_NS);
}

static void scan_where(struct vg_sdev *d)
{
	struct vg_transport_where where;
	bool is_new;
	int err;

	if (d->state != DEV_NEW && d->state != DEV_READY)
		return;
	err = vg_sup_find_where(d, &where);
	if (err) {
		/* Not there yet: xenstore will tell when it is. */
		d->s->look_again |= err != -ENOENT || d->has_where;
		return;
	}
	is_new = !d->has_where || memcmp(&where, &d->where, sizeof(where));
	if (d->state == DEV_NEW) {
		d->where = where;
		d->has_where = true;
		if (is_new || !vg_timer_is_armed(d->retry))
			vg_sdev_start(d);
	} else if (is_new) {
		d->where = where;
		vg_sup_permit_page(d);
		vg_sdev_ask(d, TELL_MOVE, d->guest->patience_ns);
	}
}

struct scan {
	struct vg_supervisor *s;
	const struct vg_kind *kind;
};

/* Nodes that are not ours are remembered, so that it is said once. */
static void scan_device(void *arg, xen_domid_t guest, uint32_t devid,
			const char *node)
{
	const struct scan *scan = arg;
	struct vg_supervisor *s = scan->s;
	struct vg_devname name = { .kind = scan->kind,
				   .backend = s->own_domid,
				   .guest = guest, .devid = devid };
	struct vg_sdev *d = dev_find(s, node);
	char *why = NULL;
	uint64_t state;
	int err;

	err = vg_key_read_u64(s->xs, node, "state", 9, &state, &why);
	if (err == -ENOENT) {
		/* We took it away; or else it goes, or is not whole yet. */
		if (d)
			d->seen = true;
		s->look_again |= !d || (d->state != DEV_FAILED &&
					d->state != DEV_IGNORED);
		goto out;
	}
	if (err) {
		vg_sup_failed(s, "%s", why);
		s->scan_failed = true;
		goto out;
	}
	if (d && is_made_anew(d, state)) {
		dev_replaced(d);
		d = NULL;
	}
	if (!d) {
		err = is_leftover(s, name.kind, node, state);
		if (err < 0) {
			s->look_again = true;
			goto out;
		}
		d = dev_new(s, &name, node, state);
		if (err)
			leftover(d);
	}
	d->seen = true;
	d->node_state = state;
	if (!dev_identify(d))
		goto out;
	if (d->transport && d->transport->has_front) {
		if (dev_front_begin(d))
			vg_front_scan(d, state);
	} else if (state == VG_XENBUS_CLOSING)
		vg_sdev_stop(d);
	else
		scan_where(d);
	vg_sdev_resize_by_key(d);
out:
	free(why);
}

static void scan_not_read(void *arg, const char *dir, int err)
{
	struct vg_supervisor *s = ((const struct scan *)arg)->s;

	vg_sup_failed(s, "xenstore directory %s: %s", dir, strerror(-err));
	s->scan_failed = true;
}

static void scan_kind(struct vg_supervisor *s, const struct vg_kind *kind)
{
	struct scan scan = { s, kind };
	const struct vg_walk walk = {
		.xs = s->xs, .leaf = scan_device, .failed = scan_not_read,
		.arg = &scan,
	};
	char *dir = vg_strf("/local/domain/%u/backend/%s", s->own_domid,
			    kind->name);

	vg_walk(&walk, dir);
	free(dir);
}

/* Its node is gone without the protocol: libxl was forced. */
static void dev_forget(struct vg_sdev *d)
{
	switch (d->state) {
	case DEV_STARTING:
	case DEV_READY:
		vg_warn("%s: its node was removed while it was served",
			d->label);
		vg_sdev_orphan(d);
		break;
	case DEV_STOPPING:
		vg_sdev_orphan(d);
		break;
	default:
		if (!d->is_orphan)
			vg_sup_state_remove(d);
		vg_sdev_free(d);
	}
}

static void forget_unseen(struct vg_supervisor *s)
{
	struct vg_sdev *d, *next;

	for (d = s->devs; d; d = next) {
		next = d->next;
		if (!d->seen && !(d->is_orphan && d->has_index))
			dev_forget(d);
	}
}

/* One device's node, if it is there. */
static void scan_one(struct vg_supervisor *s, const struct vg_devname *name)
{
	struct scan scan = { s, name->kind };
	char *node = vg_devname_backend_path(name), **names;
	int n = xen_store_directory(s->xs, node, &names);
	struct vg_sdev *d;

	if (n >= 0) {
		xen_store_free_dir(names);
		scan_device(&scan, name->guest, name->devid, node);
	} else if (n == -ENOENT) {
		d = dev_find(s, node);
		if (d)
			dev_forget(d);
	} else {
		scan_not_read(&scan, node, n);
	}
	free(node);
}

/* What could not be read is read again. */
static void scan_again_if_need_be(struct vg_supervisor *s)
{
	if (s->scan_failed || s->look_again) {
		vg_timer_arm(s->rescan, vg_sup_next_pause(&s->rescan_pause_ns));
		return;
	}
	s->rescan_pause_ns = 0;
	vg_timer_cancel(s->rescan);
	if (!s->is_tidied)
		vg_sup_remove_stale_states(s);
	s->is_tidied = true;
}

static void scan_everything(struct vg_supervisor *s)
{
	struct vg_sdev *d;
	unsigned int k;

	s->nr_look_at = 0;
	s->scan_failed = s->look_again = false;
	for (d = s->devs; d; d = d->next)
		d->seen = d->wants_look = false;
	for (k = 0; k < vg_nr_kinds; k++)
		scan_kind(s, &vg_kinds[k]);
	if (!s->scan_failed)
		forget_unseen(s);
	scan_again_if_need_be(s);
}

static struct vg_sdev *next_looked_at(const struct vg_supervisor *s)
{
	struct vg_sdev *d;

	for (d = s->devs; d && !d->is_looked_at; d = d->next)
		;
	return d;
}

/* What could not be seen of them is looked for with everything. */
static void scan_some(struct vg_supervisor *s)
{
	struct vg_devname names[SCAN_NAMES_MAX], name;
	unsigned int i, n = s->nr_look_at;
	struct vg_sdev *d;

	memcpy(names, s->look_at, n * sizeof(names[0]));
	s->nr_look_at = 0;
	/* What happens to them from here on, is the next turn's. */
	for (d = s->devs; d; d = d->next) {
		d->is_looked_at = d->wants_look;
		d->wants_look = false;
	}
	for (i = 0; i < n; i++)
		scan_one(s, &names[i]);
	/* Each may end others. */
	while ((d = next_looked_at(s))) {
		d->is_looked_at = false;
		name = d->name;
		scan_one(s, &name);
	}
	if ((s->scan_failed || s->look_again) && !vg_timer_is_armed(s->rescan))
		scan_again_if_need_be(s);
}

static void on_scan(void *arg)
{
	struct vg_supervisor *s = arg;
	bool all = s->scan_all || s->nr_look_at > SCAN_NAMES_MAX;
	struct vg_sguest *g, *next;
	struct vg_sdev *d;

	s->scan_all = false;
	if (all)
		scan_everything(s);
	else
		scan_some(s);
	for (d = s->devs; d; d = d->next)
		if (d->remove_wanted && d->state == DEV_READY) {
			d->remove_wanted = false;
			vg_sdev_stop(d);
		}
	for (g = s->guests; g; g = next) {
		next = g->next;
		if (!vg_sguest_has_device(g))
			vg_sguest_free(g);
	}
}

void vg_sup_scan_all(struct vg_supervisor *s)
{
	s->scan_all = true;
	vg_deferred_schedule(s->scan);
}

static bool is_same_name(const struct vg_devname *a, const struct vg_devname *b)
{
	return a->kind == b->kind && a->guest == b->guest &&
	       a->devid == b->devid && a->backend == b->backend;
}

/* What is known has a mark: however many a guest has, no others are seen to. */
static void look_at(struct vg_supervisor *s, const struct vg_devname *name)
{
	struct vg_sdev *d;
	unsigned int i;

	vg_deferred_schedule(s->scan);
	for (d = s->devs; d; d = d->next)
		if (!d->is_orphan && is_same_name(&d->name, name)) {
			d->wants_look = true;
			return;
		}
	for (i = 0; i < s->nr_look_at && i < SCAN_NAMES_MAX; i++)
		if (is_same_name(&s->look_at[i], name))
			return;
	if (s->nr_look_at < SCAN_NAMES_MAX)
		s->look_at[s->nr_look_at] = *name;
	if (s->nr_look_at <= SCAN_NAMES_MAX)
		s->nr_look_at++;
}

void vg_sup_scan_device(const struct vg_sdev *d)
{
	look_at(d->s, &d->name);
}

static void on_rescan(void *arg)
{
	vg_sup_scan_all(arg);
}

/* Whether @path is @dir, or in it. */
static bool is_in(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return !strncmp(path, dir, len) && (!path[len] || path[len] == '/');
}

/* What one event is about: a device's node, its front, or who knows. */
static void on_event(struct vg_supervisor *s, const char *path)
{
	struct vg_devname name;
	struct vg_sdev *d;

	if (!vg_devname_parse_below(path, &name) &&
	    name.backend == s->own_domid) {
		look_at(s, &name);
		return;
	}
	for (d = s->devs; d; d = d->next)
		if (d->front && !d->is_orphan && is_in(path, d->front)) {
			vg_sup_scan_device(d);
			return;
		}
	/* Of a front that is not watched any more, it is nothing. */
	if (strncmp(path, "/local/domain/", 14) || !strstr(path, "/device/"))
		vg_sup_scan_all(s);
}

static void on_xenstore(void *arg)
{
	struct vg_supervisor *s = arg;
	char *path, *token;
	unsigned int i;

	/* Those that a guest makes without end, are not all there is to do. */
	for (i = 0; i < EVENTS_A_TURN &&
	     !xen_store_next_watch(s->xs, &path, &token); i++) {
		on_event(s, path);
		free(path);
		free(token);
	}
}

/* ---- life --------------------------------------------------------------- */

int vg_supervisor_create(const struct vg_supervisor_config *cfg,
			 struct vg_loop *loop, struct vg_supervisor **out)
{
	struct vg_supervisor *s = vg_zalloc(sizeof(*s));
	unsigned int k;
	int err;

	s->cfg = *cfg;
	s->loop = loop;
	s->scan = vg_deferred_create(loop, on_scan, s);
	s->rescan = vg_timer_create(loop, on_rescan, s);
	s->type_daemons = vg_calloc(vg_nr_dev_types, sizeof(void *));
	for (k = 0; k < vg_nr_dev_types; k++)
		if (vg_dev_types[k]->host->daemon_create)
			s->type_daemons[k] =
				vg_dev_types[k]->host->daemon_create();
	s->reap = vg_timer_create(loop, vg_sup_on_reap, s);
	if (cfg->state_dir && mkdir(cfg->state_dir, 0700) < 0 &&
	    errno != EEXIST) {
		err = -errno;
		vg_err("%s: %s", cfg->state_dir, strerror(-err));
		goto fail;
	}
	err = xen_store_open(&s->xs);
	if (err) {
		vg_err("xenstore can't be reached: %s", strerror(-err));
		goto fail;
	}
	err = xen_store_own_domid(s->xs, &s->own_domid);
	if (err) {
		vg_err("xenstore does not tell this domain's id: %s",
		       strerror(-err));
		goto fail;
	}
	vg_refusals_init(&s->refusals, s->xs, s->own_domid);
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = vg_strf("/local/domain/%u/backend/%s", s->own_domid,
				    vg_kinds[k].name);

		err = xen_store_watch(s->xs, dir, vg_kinds[k].name);
		if (err)
			vg_err("watching %s in xenstore: %s", dir,
			       strerror(-err));
		free(dir);
		if (err)
			goto fail;
	}
	err = vg_loop_add_fd(loop, xen_store_fd(s->xs), on_xenstore, s,
			     &s->xs_fd);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		goto fail;
	}
	vg_sup_scan_all(s);
	*out = s;
	return 0;
fail:
	vg_supervisor_destroy(s);
	return err;
}

void vg_supervisor_destroy(struct vg_supervisor *s)
{
	unsigned int i;

	while (s->devs)
		vg_sdev_free(s->devs);
	while (s->guests)
		vg_sguest_free(s->guests);
	vg_sup_children_end(s);
	if (s->xs_fd)
		vg_loop_del_fd(s->loop, s->xs_fd);
	vg_deferred_destroy(s->scan);
	vg_refusals_exit(&s->refusals);
	vg_timer_destroy(s->rescan);
	vg_timer_destroy(s->reap);
	xen_store_close(s->xs);
	for (i = 0; i < vg_nr_dev_types; i++)
		if (vg_dev_types[i]->host->daemon_destroy)
			vg_dev_types[i]->host->daemon_destroy(
				s->type_daemons[i]);
	free(s->type_daemons);
	for (i = 0; i < NR_FAILURES; i++)
		free(s->failure[i]);
	free(s);
}
