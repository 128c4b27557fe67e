// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bus_nodes.c - see bus_nodes.h.
 */
#include "toolstack/bus_nodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/printable.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/transact.h"

#define WORDS_MAX	400u
/* Of a front that is renewed: a driver has ten or so. */
#define FRONT_NODES_MAX	64
/* Of a device, while it is removed: domains don't come back so quickly. */
#define MOVES_MAX	8u

/* ---- names -------------------------------------------------------------- */

void vg_bus_dev_free(struct vg_bus_dev *dev)
{
	vg_bus_spec_free(&dev->spec);
	free(dev->guest_name);
	*dev = (struct vg_bus_dev){ 0 };
}

static char *front_dir(xen_domid_t guest)
{
	return vg_strf("/local/domain/%u/device/" VG_BUS_KIND, guest);
}

char *vg_bus_front(const struct vg_bus_dev *dev)
{
	return vg_strf("/local/domain/%u/device/" VG_BUS_KIND "/%u",
		       dev->guest, dev->devid);
}

char *vg_bus_back(const struct vg_bus_dev *dev)
{
	return vg_strf("/local/domain/%u/backend/" VG_BUS_KIND "/%u/%u",
		       dev->backend, dev->guest, dev->devid);
}

char *vg_bus_record(const struct vg_bus_dev *dev)
{
	return vg_strf(VG_BUS_RECORDS "/%s/%u", dev->uuid, dev->devid);
}

char *vg_bus_front_error(const struct vg_bus_dev *dev)
{
	return vg_strf("/local/domain/%u/error/device/" VG_BUS_KIND
		       "/%u/error", dev->guest, dev->devid);
}

char *vg_bus_back_error(const struct vg_bus_dev *dev)
{
	return vg_strf("/local/domain/%u/error/backend/" VG_BUS_KIND
		       "/%u/%u/error", dev->backend, dev->guest, dev->devid);
}

/* ---- writing ------------------------------------------------------------ */

/* Keys of one directory; the first error stays. */
struct writer {
	struct xen_store *xs;
	const char *dir;
	int err;
};

static void put(struct writer *w, const char *key, const char *value)
{
	if (!w->err)
		w->err = vg_key_write(w->xs, w->dir, key, value);
}

static void put_number(struct writer *w, const char *key, unsigned int value)
{
	char text[12];

	snprintf(text, sizeof(text), "%u", value);
	put(w, key, text);
}

/* Empty, and with what it says about who may do what. */
static int make_dir(struct xen_store *xs, const char *dir, xen_domid_t owner,
		    xen_domid_t reader)
{
	int err = vg_rm(xs, dir);

	if (!err)
		err = xen_store_write(xs, dir, "");
	if (!err)
		err = xen_store_set_perms(xs, dir, owner, reader);
	return err;
}

static void put_backend(struct writer *w, const struct vg_bus_dev *dev)
{
	char *back = vg_bus_back(dev);

	put(w, "backend", back);
	put_number(w, "backend-id", dev->backend);
	free(back);
}

static int write_front(struct xen_store *xs, const struct vg_bus_dev *dev,
		       enum vg_xenbus_state state)
{
	char *dir = vg_bus_front(dev);
	struct writer w = { .xs = xs, .dir = dir };

	w.err = make_dir(xs, dir, dev->guest, dev->backend);
	put_backend(&w, dev);
	put_number(&w, "device-id", dev->spec.device_id);
	put_number(&w, "state", state);
	free(dir);
	return w.err;
}

static int write_back(struct xen_store *xs, const struct vg_bus_dev *dev,
		      bool is_moved)
{
	char *dir = vg_bus_back(dev), *front = vg_bus_front(dev);
	char *type = vg_strf("virtio,device%x", dev->spec.device_id);
	struct writer w = { .xs = xs, .dir = dir };
	unsigned int i;

	w.err = make_dir(xs, dir, dev->backend, dev->guest);
	put(&w, "frontend", front);
	put_number(&w, "frontend-id", dev->guest);
	put(&w, "online", "1");
	put(&w, "type", type);
	put(&w, "grant_usage", "1");
	/* As with Xen's own disks: the serial number, if nobody chooses one. */
	put(&w, "dev", dev->spec.name);
	for (i = 0; i < dev->spec.nr_keys; i++)
		put(&w, dev->spec.key[i].key, dev->spec.key[i].value);
	if (is_moved)
		put(&w, VG_KEY_MOVED, "1");
	put_number(&w, "state", VG_XENBUS_INITIALISING);
	free(type);
	free(front);
	free(dir);
	return w.err;
}

static int make_records(struct xen_store *xs, xen_domid_t own)
{
	int there = vg_node_exists(xs, VG_BUS_RECORDS);

	return there < 0 ? there : there ? 0 :
	       make_dir(xs, VG_BUS_RECORDS, own, own);
}

/* What changes when a domain comes back under another number. */
static void put_domains(struct writer *w, const struct vg_bus_dev *dev)
{
	put(w, "guest", dev->guest_name);
	put_number(w, "guest-id", dev->guest);
	put_number(w, "backend-id", dev->backend);
}

static int write_record(struct xen_store *xs, const struct vg_bus_dev *dev,
			xen_domid_t own)
{
	char *dir = vg_bus_record(dev);
	struct writer w = { .xs = xs, .dir = dir };
	unsigned int i;

	w.err = make_records(xs, own);
	put(&w, "name", dev->spec.name);
	put(&w, "type", dev->spec.type);
	put_number(&w, "device-id", dev->spec.device_id);
	put(&w, "backend", dev->spec.backend);
	put_domains(&w, dev);
	for (i = 0; i < dev->spec.nr_keys; i++) {
		char *key = vg_strf("key/%s", dev->spec.key[i].key);

		put(&w, key, dev->spec.key[i].value);
		free(key);
	}
	if (dev->is_suspended)
		put(&w, "suspended", "1");
	free(dir);
	return w.err;
}

/* The directory of @path, which is taken. */
static char *above(char *path)
{
	*strrchr(path, '/') = 0;
	return path;
}

/* What either said of an earlier device of this number. */
static int rm_errors(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *front = above(vg_bus_front_error(dev));
	char *back = above(vg_bus_back_error(dev));
	int err;

	/* "error" itself stays: libxl made it. */
	err = vg_rm_and_empty(xs, front, 2);
	if (!err)
		err = vg_rm_and_empty(xs, back, 3);
	free(back);
	free(front);
	return err;
}

/* ---- who is there ------------------------------------------------------- */

/*
 * Numbers of domains come back after a while: that the guest's directory is
 * there does not say that it is this guest's.
 */
static int guest_is_there(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char uuid[VG_UUID_CHARS + 1];
	int err = vg_domain_uuid(xs, dev->guest, uuid);

	if (err == -EINVAL || (!err && strcmp(uuid, dev->uuid)))
		return -EEXIST;		/* somebody else's */
	return err;
}

static int check_guest(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = guest_is_there(xs, dev);

	return err == -ENOENT || err == -EEXIST ? -ESRCH : err;
}

/*
 * libxl makes "libxl" for a domain with driver_domain=1 (libxl_create.c); our own
 * domain needs no mark.
 */
static int check_backend(struct xen_store *xs, const struct vg_bus_dev *dev,
			 xen_domid_t own)
{
	char *path = vg_strf("/local/domain/%u", dev->backend);
	int there = vg_node_exists(xs, path);

	free(path);
	if (there < 0)
		return there;
	if (!there)
		return -ENXIO;
	if (dev->backend == own)
		return 0;
	path = vg_strf("/local/domain/%u/libxl", dev->backend);
	there = vg_node_exists(xs, path);
	free(path);
	return there < 0 ? there : there ? 0 : -ENODEV;
}

/* ---- making ------------------------------------------------------------- */

struct creation {
	struct vg_bus_dev *dev;
	xen_domid_t own;
	bool name_is_ours;
};

static uint32_t devid_zero(void)
{
	return 0;
}

uint32_t (*vg_bus_devid_first)(void) = devid_zero;

/* Another one each 10 ms, for hours. */
uint32_t vg_bus_devid_now(void)
{
	return (uint32_t)(vg_now_ns() / 10000000u % VG_BUS_DEVIDS);
}

/*
 * Names of @dir that are numbers of devices, into @used: so many from @first
 * on, after the last one from 0.
 */
static int mark_used(struct xen_store *xs, const char *dir, uint32_t first,
		     bool *used)
{
	char **names;
	uint64_t id;
	int i, n = xen_store_directory(xs, dir, &names);

	if (n < 0)
		return n == -ENOENT ? 0 : n;
	for (i = 0; i < n; i++) {
		if (vg_parse_u64(names[i], 10, VG_BUS_DEVIDS - 1, &id))
			continue;
		id = (id + VG_BUS_DEVIDS - first) % VG_BUS_DEVIDS;
		if (id < VG_BUS_DEVICES_MAX)
			used[id] = true;
	}
	xen_store_free_dir(names);
	return 0;
}

/* The first that neither a record nor a front has. */
static int choose_devid(struct xen_store *xs, struct vg_bus_dev *dev)
{
	bool *used = vg_calloc(VG_BUS_DEVICES_MAX, sizeof(*used));
	char *records = vg_strf(VG_BUS_RECORDS "/%s", dev->uuid);
	char *fronts = front_dir(dev->guest);
	uint32_t i, first = vg_bus_devid_first();
	int err = mark_used(xs, records, first, used);

	if (!err)
		err = mark_used(xs, fronts, first, used);
	for (i = 0; i < VG_BUS_DEVICES_MAX; i++)
		if (!used[i])
			break;
	dev->devid = (first + i) % VG_BUS_DEVIDS;
	if (!err && i == VG_BUS_DEVICES_MAX)
		err = -ENOSPC;
	free(fronts);
	free(records);
	free(used);
	return err;
}

/* Names of a guest's devices; @nr of them. */
struct names {
	char **name;
	unsigned int nr;
};

static void names_free(struct names *all)
{
	while (all->nr)
		free(all->name[--all->nr]);
	free(all->name);
}

/*
 * Nothing but the names: of all that the records say, a guest with many devices
 * would have hundreds of keys read, one by one.
 */
static int names_read(struct xen_store *xs, const char *uuid,
		      struct names *all)
{
	char *dir = vg_strf(VG_BUS_RECORDS "/%s", uuid), **ids, *v, *record;
	int i, err = 0, n = xen_store_directory(xs, dir, &ids);

	*all = (struct names){ 0 };
	if (n > 0)
		all->name = vg_calloc((size_t)n, sizeof(*all->name));
	for (i = 0; i < n && !err; i++) {
		record = vg_strf("%s/%s", dir, ids[i]);
		v = vg_key_read(xs, record, "name");
		/* What has none, is none. */
		if (v)
			all->name[all->nr++] = v;
		else if (errno != ENOENT && errno != EINVAL)
			err = -errno;
		free(record);
	}
	if (n >= 0)
		xen_store_free_dir(ids);
	free(dir);
	if (!err && n < 0 && n != -ENOENT)
		err = n;
	if (err)
		names_free(all);
	return err;
}

static bool name_is_taken(const struct names *all, const char *name)
{
	unsigned int i;

	for (i = 0; i < all->nr; i++)
		if (!strcmp(all->name[i], name))
			return true;
	return false;
}

/* Its own, if it has one, or the first that is free. */
static int choose_name(struct xen_store *xs, struct creation *c)
{
	struct vg_bus_spec *spec = &c->dev->spec;
	struct names all;
	unsigned int i = 0;
	int err = names_read(xs, c->dev->uuid, &all);

	if (err)
		return err;
	/* At most one more than there are is looked at. */
	while (c->name_is_ours) {
		free(spec->name);
		spec->name = vg_bus_spec_default_name(spec, i++);
		if (!name_is_taken(&all, spec->name))
			break;
	}
	if (name_is_taken(&all, spec->name))
		err = -EEXIST;
	names_free(&all);
	return err;
}

static int choose(struct xen_store *xs, struct creation *c)
{
	int err = choose_devid(xs, c->dev);

	return err ? err : choose_name(xs, c);
}

static int create_body(struct xen_store *xs, void *arg)
{
	struct creation *c = arg;
	int err = check_guest(xs, c->dev);

	if (!err)
		err = check_backend(xs, c->dev, c->own);
	if (!err)
		err = choose(xs, c);
	if (!err)
		err = rm_errors(xs, c->dev);
	if (!err)
		err = write_front(xs, c->dev, VG_XENBUS_INITIALISING);
	if (!err)
		err = write_back(xs, c->dev, false);
	if (!err)
		err = write_record(xs, c->dev, c->own);
	return err;
}

int vg_bus_create(struct xen_store *xs, struct vg_bus_dev *dev,
		  xen_domid_t own)
{
	struct creation c = { .dev = dev, .own = own,
			      .name_is_ours = !dev->spec.name };

	return vg_transact(xs, create_body, &c);
}

static int recall_body(struct xen_store *xs, void *arg)
{
	struct creation *c = arg;
	char *record = vg_bus_record(c->dev);
	int there = vg_node_exists(xs, record);

	free(record);
	if (there)
		return there < 0 ? there : -EEXIST;
	return write_record(xs, c->dev, c->own);
}

int vg_bus_recall(struct xen_store *xs, struct vg_bus_dev *dev,
		  xen_domid_t own)
{
	struct creation c = { .dev = dev, .own = own };

	dev->guest = 0;
	dev->is_suspended = true;
	return vg_transact(xs, recall_body, &c);
}

/* ---- moving ------------------------------------------------------------- */

/* 1, 0, or negative errno. */
static int is_1(struct xen_store *xs, const char *dir, const char *key)
{
	const struct vg_keys keys = vg_node_keys(&xs, dir);

	return vg_keys_is_1(&keys, key);
}

struct move {
	struct vg_bus_dev *dev;		/* as the record has it */
	struct vg_bus_dev to;		/* borrows from it */
	xen_domid_t own;
};

static int record_number(struct xen_store *xs, const char *dir,
			 const char *key, uint64_t *v)
{
	char *why = NULL;
	int err = vg_key_read_u64(xs, dir, key, UINT32_MAX, v, &why);

	free(why);
	return err;
}

static int record_numbers(struct xen_store *xs, const char *dir,
			  uint64_t *guest, uint64_t *backend)
{
	int err = record_number(xs, dir, "guest-id", guest);

	return err ? err : record_number(xs, dir, "backend-id", backend);
}

/*
 * Whether the record still says what @dev does.  -EALREADY: it has moved;
 * -ENOENT: it is gone, whatever has its number now.
 */
static int check_record(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *dir = vg_bus_record(dev), *name = vg_key_read(xs, dir, "name");
	uint64_t guest, backend;
	int err = name ? 0 : -errno;

	if (!err && strcmp(name, dev->spec.name))
		err = -ENOENT;
	if (!err)
		err = record_numbers(xs, dir, &guest, &backend);
	if (!err && (guest != dev->guest || backend != dev->backend))
		err = -EALREADY;
	free(name);
	free(dir);
	return err;
}

/*
 * What the driver granted is the old domain's; its state and what else it has
 * there stay.  What the guest has put there besides is not ours to order.
 */
static int renew_front(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *dir = vg_bus_front(dev), **names, *path;
	struct writer w = { .xs = xs, .dir = dir };
	int i, n = xen_store_directory(xs, dir, &names);

	w.err = n < 0 ? n : xen_store_set_perms(xs, dir, dev->guest,
						dev->backend);
	for (i = 0; i < n && i < FRONT_NODES_MAX && !w.err; i++) {
		path = vg_strf("%s/%s", dir, names[i]);
		w.err = !strncmp(names[i], "msg-", 4) ? vg_rm(xs, path) :
			xen_store_set_perms(xs, path, dev->guest,
					    dev->backend);
		free(path);
	}
	if (n >= 0)
		xen_store_free_dir(names);
	put_backend(&w, dev);
	free(dir);
	return w.err;
}

/*
 * A guest that was saved knows of the device: xenbus would take a state of 1
 * for another one in its place (Linux from 7.1 on, xenbus_dev_changed()).  That
 * of a guest which is still there only the guest can have removed.
 */
static int move_front(struct xen_store *xs, const struct move *m)
{
	bool is_known = m->dev->is_suspended && m->to.guest != m->dev->guest;
	int err = -ENOENT;

	if (m->to.guest == m->dev->guest)
		err = renew_front(xs, &m->to);
	if (err != -ENOENT)
		return err;
	return write_front(xs, &m->to, is_known ? VG_XENBUS_CONNECTED :
						  VG_XENBUS_INITIALISING);
}

static int rm_back(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *back = vg_bus_back(dev);
	int err = vg_rm_and_empty(xs, back, 3);

	free(back);
	return err;
}

/* As long as the number is not another guest's by now. */
static int rm_old(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = guest_is_there(xs, dev);

	if (err == -EEXIST)
		return 0;
	return err && err != -ENOENT ? err : rm_back(xs, dev);
}

static int move_body(struct xen_store *xs, void *arg)
{
	struct move *m = arg;
	char *record = vg_bus_record(m->dev);
	struct writer w = { .xs = xs, .dir = record };

	w.err = check_record(xs, m->dev);
	if (!w.err)
		w.err = check_guest(xs, &m->to);
	if (!w.err)
		w.err = check_backend(xs, &m->to, m->own);
	if (!w.err)
		w.err = rm_old(xs, m->dev);
	if (!w.err)
		w.err = rm_errors(xs, &m->to);
	if (!w.err)
		w.err = move_front(xs, m);
	if (!w.err)
		w.err = write_back(xs, &m->to, true);
	put_domains(&w, &m->to);
	free(record);
	return w.err;
}

int vg_bus_move(struct xen_store *xs, struct vg_bus_dev *dev,
		xen_domid_t guest, const char *guest_name,
		xen_domid_t backend, xen_domid_t own)
{
	struct move m = { .dev = dev, .to = *dev, .own = own };
	char *name = vg_strdup(guest_name);
	int err;

	if (dev->guest == guest && dev->backend == backend) {
		free(name);
		return -EALREADY;
	}
	m.to.guest = guest;
	m.to.guest_name = name;
	m.to.backend = backend;
	err = vg_transact(xs, move_body, &m);
	if (!err) {
		dev->guest = guest;
		dev->backend = backend;
		free(dev->guest_name);
		dev->guest_name = name;
	} else {
		free(name);
	}
	return err;
}

/* 1, 0, or negative errno; what is nonsense, is not. */
static int is_connected(struct xen_store *xs, const char *node)
{
	int state = vg_bus_state(xs, node);

	if (state >= 0)
		return state == VG_XENBUS_CONNECTED;
	return state == -ENOENT || state == -EINVAL ? 0 : state;
}

/* Both say so: the front of a guest that was saved is made like that. */
static int are_connected(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *front = vg_bus_front(dev), *back = vg_bus_back(dev);
	int are = is_connected(xs, front);

	if (are == 1)
		are = is_connected(xs, back);
	free(back);
	free(front);
	return are;
}

/*
 * Whose driver is not there (it may just have ended, or be restored and not
 * have got so far), is what it was.
 */
static int front_is_suspended(struct xen_store *xs,
			      const struct vg_bus_dev *dev, bool *is_suspended)
{
	char *front = vg_bus_front(dev);
	int is = is_1(xs, front, "suspended"), are = 0;

	if (!is && dev->is_suspended)
		are = are_connected(xs, dev);
	*is_suspended = is == 1 || (!is && dev->is_suspended && are != 1);
	free(front);
	return is < 0 ? is : are < 0 ? are : 0;
}

static int rm_suspended(struct xen_store *xs, const char *record)
{
	char *path = vg_strf("%s/suspended", record);
	int err = vg_rm(xs, path);

	free(path);
	return err;
}

struct note {
	const struct vg_bus_dev *dev;
	bool is_suspended;		/* out */
};

static int note_body(struct xen_store *xs, void *arg)
{
	struct note *n = arg;
	char *record = vg_bus_record(n->dev);
	struct writer w = { .xs = xs, .dir = record };

	w.err = check_record(xs, n->dev);
	if (!w.err)
		w.err = front_is_suspended(xs, n->dev, &n->is_suspended);
	/* Whoever watches the records is not woken up for nothing. */
	if (!w.err && n->is_suspended != n->dev->is_suspended) {
		if (n->is_suspended)
			put(&w, "suspended", "1");
		else
			w.err = rm_suspended(xs, record);
	}
	free(record);
	return w.err;
}

int vg_bus_note_suspended(struct xen_store *xs, struct vg_bus_dev *dev,
			  bool may_clear)
{
	struct note n = { .dev = dev };
	int err = front_is_suspended(xs, dev, &n.is_suspended);

	if (err || n.is_suspended == dev->is_suspended ||
	    (!n.is_suspended && !may_clear))
		return err;
	/* The guest may change its mind meanwhile: what was noted counts. */
	err = vg_transact(xs, note_body, &n);
	if (!err)
		dev->is_suspended = n.is_suspended;
	return err;
}

/* ---- removing ----------------------------------------------------------- */

static int rm_front(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *front = vg_bus_front(dev);
	int err = vg_rm_and_empty(xs, front, 1);

	free(front);
	return err;
}

/* -EEXIST: the number is another guest's. */
static int rm_both(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = guest_is_there(xs, dev);

	if (!err)
		err = rm_front(xs, dev);
	return err && err != -ENOENT ? err : rm_back(xs, dev);
}

static int rm_nodes(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = rm_both(xs, dev);

	if (err == -EEXIST)
		return 0;
	return err ? err : rm_errors(xs, dev);
}

static int rm_record(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *record = vg_bus_record(dev);
	int err = vg_rm_and_empty(xs, record, 2);

	free(record);
	return err;
}

static int remove_body(struct xen_store *xs, void *arg)
{
	int err = check_record(xs, arg);

	if (!err)
		err = rm_nodes(xs, arg);
	return err ? err : rm_record(xs, arg);
}

static int remove_both_body(struct xen_store *xs, void *arg)
{
	int err = check_record(xs, arg);

	return err ? err : rm_both(xs, arg);
}

static int forget_body(struct xen_store *xs, void *arg)
{
	return rm_errors(xs, arg);
}

int vg_bus_forget_errors(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	return vg_transact(xs, forget_body, (void *)(uintptr_t)dev);
}

static int remove_record_body(struct xen_store *xs, void *arg)
{
	int err = check_record(xs, arg);

	return err ? err : rm_record(xs, arg);
}

static int rm_plainly(struct xen_store *xs, char *path)
{
	int err = vg_rm(xs, path);

	free(path);
	return err;
}

/*
 * Whoever changes nodes of its own for as long as it likes has each transaction
 * fail that reads them.  It can't keep them from being removed one by one; nor
 * make its front again, above which all is the control domain's.
 */
static int rm_front_plainly(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = guest_is_there(xs, dev);

	return err ? err : rm_plainly(xs, vg_bus_front(dev));
}

/* What was said of errors, and what is empty then, may stay: it is harmless. */
static int rm_nodes_plainly(struct xen_store *xs, struct vg_bus_dev *dev)
{
	int err = rm_front_plainly(xs, dev);

	if (err == -EEXIST)
		return 0;
	if (!err || err == -ENOENT)
		err = rm_plainly(xs, vg_bus_back(dev));
	if (err)
		return err;
	rm_plainly(xs, above(vg_bus_front_error(dev)));
	rm_plainly(xs, above(vg_bus_back_error(dev)));
	vg_transact(xs, remove_both_body, dev);
	vg_bus_forget_errors(xs, dev);
	return 0;
}

/* The record goes last, so that it can be tried again. */
static int remove_plainly(struct xen_store *xs, struct vg_bus_dev *dev)
{
	int err = check_record(xs, dev);

	if (!err)
		err = rm_nodes_plainly(xs, dev);
	return err ? err : vg_transact(xs, remove_record_body, dev);
}

static int remove_device(struct xen_store *xs, struct vg_bus_dev *dev)
{
	int err = vg_transact(xs, remove_body, dev);

	return err == -EAGAIN ? remove_plainly(xs, dev) : err;
}

/* Where it is now.  Its name is looked at by who comes next. */
static int follow_record(struct xen_store *xs, struct vg_bus_dev *dev)
{
	char *dir = vg_bus_record(dev);
	uint64_t guest = 0, backend = 0;
	int err = record_numbers(xs, dir, &guest, &backend);

	free(dir);
	if (!err && (guest > XEN_DOMID_MAX || backend > XEN_DOMID_MAX))
		err = -EINVAL;
	dev->guest = (xen_domid_t)guest;
	dev->backend = (xen_domid_t)backend;
	return err;
}

int vg_bus_remove(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	struct vg_bus_dev now = *dev;	/* borrows from it */
	unsigned int moves = MOVES_MAX;
	int err = remove_device(xs, &now);

	while (err == -EALREADY && moves--) {
		err = follow_record(xs, &now);
		if (!err)
			err = remove_device(xs, &now);
	}
	return err == -ENOENT ? 0 : err == -EALREADY ? -EAGAIN : err;
}

static int remove_front_body(struct xen_store *xs, void *arg)
{
	int err = check_record(xs, arg);

	if (!err)
		err = guest_is_there(xs, arg);
	return err ? err : rm_front(xs, arg);
}

/* What it leaves empty is vg_bus_remove()'s. */
static int remove_front_plainly(struct xen_store *xs,
				const struct vg_bus_dev *dev)
{
	int err = check_record(xs, dev);

	return err ? err : rm_front_plainly(xs, dev);
}

int vg_bus_remove_front(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	int err = vg_transact(xs, remove_front_body, (void *)(uintptr_t)dev);

	if (err == -EAGAIN)
		err = remove_front_plainly(xs, dev);
	/* One that has moved is removed where it is then, later. */
	return err == -ENOENT || err == -EEXIST || err == -EALREADY ? 0 : err;
}

/* @back: its state, as vg_bus_state() has it; @guest: guest_is_there(). */
static int check_ask(const struct vg_bus_ask *ask, int back, int guest)
{
	if (guest == -EEXIST || !back || back == -ENOENT)
		return -ENOENT;
	/* Nonsense is the backend's own doing, and no reason to stop. */
	if (back < 0 && back != -EINVAL)
		return back;
	if (ask->only_if_gone && guest != -ENOENT)
		return guest ? guest : -EALREADY;
	return ask->only_if && ask->was != ask->only_if ? -ESTALE : 0;
}

static int ask_body(struct xen_store *xs, void *arg)
{
	struct vg_bus_ask *ask = arg;
	char *back = vg_bus_back(ask->dev);
	struct writer w = { .xs = xs, .dir = back };
	int now = vg_bus_state(xs, back);

	ask->was = now > 0 ? (unsigned int)now : 0;
	w.err = check_ask(ask, now, guest_is_there(xs, ask->dev));
	put(&w, "online", ask->online ? "1" : "0");
	put_number(&w, "state", ask->state);
	free(back);
	return w.err;
}

int vg_bus_ask(struct xen_store *xs, struct vg_bus_ask *ask)
{
	return vg_transact(xs, ask_body, ask);
}

static char *resize_path(const struct vg_bus_dev *dev)
{
	return vg_strf("/local/domain/%u/backend/" VG_BUS_KIND "/%u/%u/resize",
		       dev->backend, dev->guest, dev->devid);
}

static int resize_body(struct xen_store *xs, void *arg)
{
	const struct vg_bus_dev *dev = arg;
	char *back = vg_bus_back(dev);
	struct writer w = { .xs = xs, .dir = back };
	int state = vg_bus_state(xs, back);

	w.err = guest_is_there(xs, dev);
	if (w.err == -EEXIST || (!w.err && !state))
		w.err = -ENOENT;
	/* Nonsense as above. */
	if (!w.err && state < 0 && state != -EINVAL)
		w.err = state;
	if (!w.err)
		w.err = rm_errors(xs, dev);
	put(&w, "resize", "1");
	free(back);
	return w.err;
}

int vg_bus_resize_ask(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	return vg_transact(xs, resize_body, (void *)(uintptr_t)dev);
}

int vg_bus_resize_is_asked(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *path = resize_path(dev), *back;
	int state, there = vg_node_exists(xs, path);

	free(path);
	if (there)
		return there;
	back = vg_bus_back(dev);
	state = vg_bus_state(xs, back);
	free(back);
	return !state ? -ENOENT : state > 0 || state == -EINVAL ? 0 : state;
}

int vg_bus_resize_take_back(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *path = resize_path(dev);
	int err = vg_rm(xs, path);

	free(path);
	return err;
}

/* ---- reading ------------------------------------------------------------ */

static int record_keys(struct xen_store *xs, const char *record,
		       struct vg_bus_spec *spec)
{
	char *dir = vg_strf("%s/key", record), **names, *v;
	int i, n = xen_store_directory(xs, dir, &names);
	int err = n < 0 && n != -ENOENT ? n : 0;

	for (i = 0; i < n && spec->nr_keys < VG_BUS_KEYS_MAX && !err; i++) {
		v = vg_key_read(xs, dir, names[i]);
		if (v)
			spec->key[spec->nr_keys++] = (struct vg_bus_key){
				vg_strdup(names[i]), v };
		else
			err = -errno;
	}
	if (n >= 0)
		xen_store_free_dir(names);
	free(dir);
	return err;
}

static char *record_text(struct xen_store *xs, const char *dir,
			 const char *key, int *err)
{
	char *v = *err ? NULL : vg_key_read(xs, dir, key);

	if (!*err && !v)
		*err = -errno;
	return v;
}

/* Of dev->uuid and dev->devid.  -ENOENT, -EINVAL: it is none. */
static int record_read(struct xen_store *xs, struct vg_bus_dev *dev)
{
	char *dir = vg_bus_record(dev);
	uint64_t id = 0, guest = 0, backend = 0;
	int suspended = 0, err = 0;

	dev->spec.name = record_text(xs, dir, "name", &err);
	dev->spec.type = record_text(xs, dir, "type", &err);
	dev->spec.backend = record_text(xs, dir, "backend", &err);
	dev->guest_name = record_text(xs, dir, "guest", &err);
	if (!err)
		err = record_number(xs, dir, "device-id", &id);
	if (!err)
		err = record_number(xs, dir, "guest-id", &guest);
	if (!err)
		err = record_number(xs, dir, "backend-id", &backend);
	if (!err && (guest > XEN_DOMID_MAX || backend > XEN_DOMID_MAX))
		err = -EINVAL;
	if (!err) {
		suspended = is_1(xs, dir, "suspended");
		err = suspended < 0 ? suspended : 0;
	}
	if (!err)
		err = record_keys(xs, dir, &dev->spec);
	dev->is_suspended = suspended == 1;
	dev->spec.device_id = (uint32_t)id;
	dev->guest = (xen_domid_t)guest;
	dev->backend = (xen_domid_t)backend;
	free(dir);
	return err;
}

static int read_guest(struct xen_store *xs, const char *uuid,
		      struct vg_bus_devs *all)
{
	char *dir = vg_strf(VG_BUS_RECORDS "/%s", uuid), **names;
	int i, err = 0, n = xen_store_directory(xs, dir, &names);
	uint64_t devid;

	free(dir);
	if (n < 0)
		return n == -ENOENT ? 0 : n;
	all->d = realloc(all->d, (all->nr + (size_t)n + 1) * sizeof(*all->d));
	if (!all->d)
		abort();
	for (i = 0; i < n && !err; i++) {
		struct vg_bus_dev *dev = &all->d[all->nr];

		if (vg_parse_u64(names[i], 10, VG_BUS_DEVIDS - 1, &devid))
			continue;
		*dev = (struct vg_bus_dev){ .devid = (uint32_t)devid };
		memcpy(dev->uuid, uuid, VG_UUID_CHARS + 1);
		err = record_read(xs, dev);
		if (!err)
			all->nr++;
		else
			vg_bus_dev_free(dev);
		/* One that is made or removed just now. */
		if (err == -ENOENT || err == -EINVAL || err == -ERANGE)
			err = 0;
	}
	xen_store_free_dir(names);
	return err;
}

static int read_all(struct xen_store *xs, struct vg_bus_devs *all)
{
	char **names;
	int i, err = 0, n = xen_store_directory(xs, VG_BUS_RECORDS, &names);

	if (n < 0)
		return n == -ENOENT ? 0 : n;
	for (i = 0; i < n && !err; i++)
		if (!vg_uuid_check(names[i]))
			err = read_guest(xs, names[i], all);
	xen_store_free_dir(names);
	return err;
}

int vg_bus_devs_read(struct xen_store *xs, const char *uuid,
		     struct vg_bus_devs *all)
{
	int err;

	*all = (struct vg_bus_devs){ 0 };
	err = uuid ? read_guest(xs, uuid, all) : read_all(xs, all);
	if (err)
		vg_bus_devs_free(all);
	return err;
}

void vg_bus_devs_free(struct vg_bus_devs *all)
{
	while (all->nr)
		vg_bus_dev_free(&all->d[--all->nr]);
	free(all->d);
	all->d = NULL;
}

int vg_bus_state(struct xen_store *xs, const char *node)
{
	char *v = vg_key_read(xs, node, "state");
	int there, err = v ? 0 : -errno;
	uint64_t state = 0;

	if (v)
		err = vg_parse_u64(v, 10, 8, &state) || !state ? -EINVAL : 0;
	free(v);
	if (err != -ENOENT)
		return err ? err : (int)state;
	there = vg_node_exists(xs, node);
	return there < 0 ? there : there ? 0 : -ENOENT;
}

char *vg_bus_words(struct xen_store *xs, const char *path)
{
	char *v = xen_store_read(xs, path);

	if (!v)
		return NULL;
	if (strlen(v) > WORDS_MAX)
		v[WORDS_MAX] = 0;
	vg_printable(v, "");
	return v;
}

char *vg_bus_back_words(struct xen_store *xs, const struct vg_bus_dev *dev)
{
	char *path = vg_bus_back_error(dev), *words = vg_bus_words(xs, path);
	char *label = vg_strf("dom%u " VG_BUS_KIND "/%u: ", dev->guest,
			      dev->devid);
	size_t len = strlen(label);

	if (words && !strncmp(words, label, len))
		memmove(words, words + len, strlen(words + len) + 1);
	free(label);
	free(path);
	return words;
}
