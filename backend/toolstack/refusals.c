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
		free(r->path[i]);
}

/* With the guest's directory, if it is its last. */
static void drop(struct vg_refusals *r, unsigned int i)
{
	char *p = r->path[i], **names;
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
	r->path[i] = NULL;
}

/* VG_REFUSALS_MAX: it has none. */
static unsigned int find(const struct vg_refusals *r, const char *path)
{
	unsigned int i;

	for (i = 0; i < VG_REFUSALS_MAX; i++)
		if (r->path[i] && !strcmp(r->path[i], path))
			break;
	return i;
}

/* One device has one: it drives out no others'. */
static unsigned int slot_for(struct vg_refusals *r, const char *path)
{
	unsigned int i = find(r, path);

	if (i == VG_REFUSALS_MAX)
		for (i = 0; i < VG_REFUSALS_MAX && r->path[i]; i++)
			;
	return i < VG_REFUSALS_MAX ? i : r->next++ % VG_REFUSALS_MAX;
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
	unsigned int i = slot_for(r, path);
	int err;

	drop(r, i);
	r->path[i] = path;
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
