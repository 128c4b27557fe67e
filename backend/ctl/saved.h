/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * saved.h - devices of guests that are saved, in a file: what xenstore knew is
 * gone when the host is booted anew, and who is restored then (xendomains does
 * that) finds its devices by it.
 *
 *	{ "boot": "<boot_id>", "devices": [ {
 *	    "uuid": "...", "guest": "...", "devid": 7,
 *	    "spec": [ "type=blk", "backend=DomD", "name=root", "params=..." ]
 *	} ] }
 *
 * In the boot that wrote the file xenstore knows better: what has no record
 * there was detached.
 */
#ifndef VG_CTL_SAVED_H
#define VG_CTL_SAVED_H

#include "toolstack/bus_nodes.h"

/* Of this boot of the host; tests have another one. */
extern const char *vg_saved_boot_id;

struct vg_saved;

/* Nothing is read or written yet.  @dir: made if it is not there. */
struct vg_saved *vg_saved_create(struct xen_store *xs, xen_domid_t own,
				 const char *dir);
void vg_saved_destroy(struct vg_saved *s);

/*
 * Makes records (vg_bus_recall()) of what another boot has left.  A file that
 * makes no sense is kept as "saved.json.bad" as well, or as ".bad.1" to
 * ".bad.9" beside earlier ones, and said, once; the file itself is as it was
 * until vg_saved_keep() writes another.  Returns 0, or negative errno: some
 * could not be made or it could not be kept, and it is to be tried again.
 */
int vg_saved_recall(struct vg_saved *s);
/*
 * Writes the file if it says something else than the records, of which
 * @nr_suspended are of guests that are saved: it is on the disk when this
 * returns 0.  Negative errno, which was said.
 */
int vg_saved_keep(struct vg_saved *s, unsigned int nr_suspended);

#endif
