// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * refusals.c - why a device is not served: see refusals.h.
 */
#include "toolstack/refusals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"

#define TEXT_MAX	400u

static char *kind_dir(xen_domid_t domid, const struct vg_kind *kind)
{
	return vg_strf("/local/domain/%u/error/backend/%s", domid, kind->name);
}

static char *name_path(const struct vg_devname *n)
{
	return vg_strf("/local/domain/%u/error/backend/%s/%u/%u/error",
		       n->backend, n->kind->name, n->guest, n->devid);
}

void vg_refusals_init(struct vg_refusals *r, struct xen_store *xs,
		      xen_domid_t own_domid)
{
	unsigned int k;

	*r = (struct vg_refusals){ .xs = xs };
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = kind_dir(own_domid, &vg_kinds[k]);

		xen_store_rm(xs, dir);
		free(dir);
	}
}

void vg_refusals_exit(struct vg_refusals *r)
{
	unsigned int i;

	for (i = 0; i < VG_REFUSALS_MAX; i++)
		free(r->said[i].path);
}

/* With the guest's directory, if it is its last. */
static void drop(struct vg_refusals *r, unsigned int i)
{
	char *p = r->said[i].path, **names;
	int n;

	if (!p)
		return;
	*strrchr(p, '/') = 0;
	xen_store_rm(r->xs, p);
	*strrchr(p, '/') = 0;
	n = xen_store_directory(r->xs, p, &names);
	if (n >= 0)
		xen_store_free_dir(names);
	if (!n)
		xen_store_rm(r->xs, p);
	free(p);
	r->said[i].path = NULL;
}

/* VG_REFUSALS_MAX: it has none. */
static unsigned int find(const struct vg_refusals *r, const char *path)
{
	unsigned int i;

	for (i = 0; i < VG_REFUSALS_MAX; i++)
		if (r->said[i].path && !strcmp(r->said[i].path, path))
			break;
	return i;
}

/* VG_REFUSALS_MAX: none is free. */
static unsigned int find_free(const struct vg_refusals *r)
{
	unsigned int i;

	for (i = 0; i < VG_REFUSALS_MAX && r->said[i].path; i++)
		;
	return i;
}

static unsigned int nr_of(const struct vg_refusals *r, xen_domid_t guest)
{
	unsigned int i, nr = 0;

	for (i = 0; i < VG_REFUSALS_MAX; i++)
		nr += r->said[i].path && r->said[i].guest == guest;
	return nr;
}

/*
 * Whoever has more than half, which is so while nobody else needs them, gives
 * back; otherwise a guest with many devices drives out its own.
 */
static unsigned int rank(const struct vg_refusals *r,
			 const struct vg_refusal *it, xen_domid_t guest)
{
	if (nr_of(r, it->guest) > VG_REFUSALS_MAX / 2)
		return 2;
	return it->guest == guest;
}

/* Which one goes from a full table, for one of @guest. */
static unsigned int find_victim(const struct vg_refusals *r, xen_domid_t guest)
{
	unsigned int i, is, best = 0, found = 0;

	for (i = 0; i < VG_REFUSALS_MAX; i++) {
		is = rank(r, &r->said[i], guest);
		if (is < best ||
		    (is == best && r->said[i].turn > r->said[found].turn))
			continue;
		best = is;
		found = i;
	}
	return found;
}

/* One device has one. */
static unsigned int slot_for(const struct vg_refusals *r, const char *path,
			     xen_domid_t guest)
{
	unsigned int i = find(r, path);

	if (i == VG_REFUSALS_MAX)
		i = find_free(r);
	return i == VG_REFUSALS_MAX ? find_victim(r, guest) : i;
}

void vg_refusals_forget(struct vg_refusals *r, const struct vg_devname *name)
{
	char *path = name_path(name);
	unsigned int i = find(r, path);

	if (i < VG_REFUSALS_MAX)
		drop(r, i);
	free(path);
}

void vg_refusals_say(struct vg_refusals *r, const struct vg_devname *name,
		     const char *why)
{
	char *path = name_path(name);
	unsigned int i = slot_for(r, path, name->guest);
	int err;

	drop(r, i);
	r->said[i] = (struct vg_refusal){ .path = path, .guest = name->guest,
					  .turn = r->turn++ };
	err = xen_store_write(r->xs, path, why);
	if (err)
		vg_debug("writing %s: %s", path, strerror(-err));
}

/* ---- reading ------------------------------------------------------------ */

struct reader {
	struct xen_store *xs;
	xen_domid_t domid;
	unsigned int nr;		/* of this domain */
	void (*each)(void *arg, xen_domid_t domid, const char *text);
	void *arg;
};

static void read_one(struct reader *r, const char *dir)
{
	char *path = vg_strf("%s/error", dir);
	char *text = xen_store_read(r->xs, path), *p;

	free(path);
	if (!text)
		return;
	for (p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (strlen(text) > TEXT_MAX)
		text[TEXT_MAX] = 0;
	r->nr++;
	r->each(r->arg, r->domid, text);
	free(text);
}

/* @depth: directories below @dir to what holds an "error". */
static void read_dir(struct reader *r, const char *dir, unsigned int depth)
{
	char **names;
	int i, n;

	if (!depth) {
		read_one(r, dir);
		return;
	}
	n = xen_store_directory(r->xs, dir, &names);
	for (i = 0; i < n && r->nr < VG_REFUSALS_MAX; i++) {
		char *sub = vg_strf("%s/%s", dir, names[i]);

		read_dir(r, sub, depth - 1);
		free(sub);
	}
	if (n >= 0)
		xen_store_free_dir(names);
}

static void read_domain(struct reader *r)
{
	unsigned int k;

	r->nr = 0;
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = kind_dir(r->domid, &vg_kinds[k]);

		read_dir(r, dir, 2);
		free(dir);
	}
}

void vg_refusals_read(struct xen_store *xs, xen_domid_t own_domid,
		      void (*each)(void *arg, xen_domid_t domid,
				   const char *text),
		      void *arg)
{
	struct reader r = { .xs = xs, .each = each, .arg = arg };
	char **names;
	uint64_t domid;
	int i, n = xen_store_directory(xs, "/local/domain", &names);

	for (i = 0; i < n; i++) {
		if (vg_parse_u64(names[i], 10, XEN_DOMID_MAX, &domid) ||
		    domid == own_domid)
			continue;
		r.domid = (xen_domid_t)domid;
		read_domain(&r);
	}
	if (n >= 0)
		xen_store_free_dir(names);
}
