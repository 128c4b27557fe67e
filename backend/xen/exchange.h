/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exchange.h - xen_gnttab_exchange() (xen.h) of a process that may copy and map
 * by itself: one call each.
 */
#ifndef VG_XEN_EXCHANGE_H
#define VG_XEN_EXCHANGE_H

#include "xen/xen.h"

static inline int exchange_by_calls(struct xen_gnttab *gt, xen_domid_t domid,
				    struct xen_copy_seg *segs,
				    unsigned int nr_segs,
				    struct xen_map_job *jobs,
				    unsigned int nr_jobs)
{
	struct xen_map_job *j;
	int err = 0;

	if (nr_segs)
		err = xen_gnttab_copy(gt, domid, segs, nr_segs);
	for (j = jobs; j < jobs + nr_jobs; j++)
		j->err = xen_gnttab_map(gt, domid, j->refs, j->count, j->prot,
					&j->addr);
	return err;
}

#endif
