// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * walk.c - see walk.h.
 */
#include "walk.h"

#include <errno.h>
#include <stdlib.h>

#include "util.h"

static void walk_guest(const struct vg_walk *w, xen_domid_t guest,
		       const char *dir)
{
	char **names, *node;
	uint64_t devid;
	int i, n = xen_store_directory(w->xs, dir, &names);

	if (n < 0 && n != -ENOENT)
		w->failed(w->arg, dir, n);
	if (n < 0)
		return;
	for (i = 0; i < n; i++) {
		if (vg_parse_u64(names[i], 10, UINT32_MAX, &devid))
			continue;
		node = vg_strf("%s/%s", dir, names[i]);
		w->leaf(w->arg, guest, (uint32_t)devid, node);
		free(node);
	}
	xen_store_free_dir(names);
}

void vg_walk(const struct vg_walk *w, const char *dir)
{
	char **names, *guest_dir;
	uint64_t guest;
	int i, n = xen_store_directory(w->xs, dir, &names);

	if (n < 0 && n != -ENOENT)
		w->failed(w->arg, dir, n);
	if (n < 0)
		return;
	for (i = 0; i < n; i++) {
		if (vg_parse_u64(names[i], 10, XEN_DOMID_MAX, &guest))
			continue;
		guest_dir = vg_strf("%s/%s%s%s", dir, names[i],
				    w->between ? "/" : "",
				    w->between ? w->between : "");
		walk_guest(w, (xen_domid_t)guest, guest_dir);
		free(guest_dir);
	}
	xen_store_free_dir(names);
}
