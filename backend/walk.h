/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk.h - the devices below a directory of xenstore, as libxl lays them out:
 *
 *	/local/domain/<backend>/backend/<kind> / <guest> / <devid>
 *	/libxl / <guest> / device/<kind> / <devid>
 *
 * Names that are not strictly numbers are passed over, and what they are the
 * names of is not looked at: nobody but libxl makes nodes there that mean a
 * device, and libxl writes numbers.
 */
#ifndef VG_WALK_H
#define VG_WALK_H

#include <stdint.h>

#include "xen/xen.h"

struct vg_walk {
	struct xen_store *xs;
	const char *between;		/* the two numbers; NULL: nothing */
	/* @node: its path, valid until this returns. */
	void (*leaf)(void *arg, xen_domid_t guest, uint32_t devid,
		     const char *node);
	/*
	 * A directory can't be read, for this negative errno, so not all that
	 * is there was seen; the walk goes on with the next.  One that does not
	 * exist is empty.
	 */
	void (*failed)(void *arg, const char *dir, int err);
	void *arg;
};

/* Calls leaf() for each <dir>/<guest>[/<between>]/<devid>. */
void vg_walk(const struct vg_walk *w, const char *dir);

#endif
