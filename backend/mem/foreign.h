/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem/foreign.h - guest memory by foreign mapping: virtio-foreignd only.
 */
#ifndef VG_MEM_FOREIGN_H
#define VG_MEM_FOREIGN_H

#include "mem/mem.h"
#include "xen/xen.h"

/*
 * "foreign-dynamic": one map and one unmap per request; or, with
 * @is_static, "foreign-static": the whole guest when its driver enables the
 * first queue.  Nothing is opened before that: the guest must exist, and we
 * must have been given privilege over it.
 */
int vg_mem_foreign_create(xen_domid_t domid, unsigned int budget_pages,
			  bool is_static, struct vg_mem **out);

#endif
