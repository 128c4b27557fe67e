/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grants.h - what pool.c uses of map.c besides struct vg_mem_ops: one budget, and
 * one way to map, for all that a device maps.  @m: of vg_mem_map_create().
 */
#ifndef VG_MEM_MAP_H
#define VG_MEM_MAP_H

#include "mem/mem.h"

/*
 * Maps pages that stay so.  0; -EAGAIN: something is short, nothing is wrong
 * with the grants; else why Xen, or Linux, did not.
 */
int vg_map_pages(struct vg_mem *m, const xen_ref_t *refs, unsigned int count,
		 int prot, void **va);
/* Tried a few times; an error leaves it mapped, for good. */
int vg_map_unmap_pages(struct vg_mem *m, void *va, unsigned int count);

/* Of the budget.  False: not while others have theirs.  No thread runs. */
bool vg_map_range_charge(struct vg_mem *m, unsigned int pages);
void vg_map_range_uncharge(struct vg_mem *m, unsigned int pages);

#endif
