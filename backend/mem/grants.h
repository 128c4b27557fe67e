/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grants.h - guest memory that is granted to this domain by Xen's grant tables.
 *
 * An address is bit 63 | grant reference << 12 | offset, consecutive pages
 * having consecutive references: kernel/uapi/virtio_grant.h, as mainline Linux
 * has it.  One without bit 63 is refused, always.
 */
#ifndef VG_MEM_GRANTS_H
#define VG_MEM_GRANTS_H

#include "mem/mem.h"
#include "xen/xen.h"

/*
 * One map and one unmap per request, for any guest; or one copy each way if it
 * has at most @copy_max_bytes in total, header and status included:
 * mem/grants.c.
 */
int vg_mem_map_create(struct xen_gnttab *gt, xen_domid_t domid,
		      unsigned int budget_pages, uint32_t copy_max_bytes,
		      struct vg_mem **out);
/*
 * All of them: from 4 KiB to 1 MiB copying was measured to be 1.6 times as fast
 * as mapping, or more (docs/comparison.md).
 */
#define VG_MEM_COPY_MAX_DEFAULT	UINT32_MAX

/*
 * The same, and ranges that the guest announces, each mapped once: what lies
 * in one costs no hypercall.  One budget for all that is mapped.
 */
int vg_mem_pool_create(struct xen_gnttab *gt, xen_domid_t domid,
		       unsigned int budget_pages, uint32_t copy_max_bytes,
		       struct vg_mem **out);

/*
 * What pool.c uses of grants.c besides struct vg_mem_ops: one budget, and one
 * way to map, for all that a device maps.  @m: of vg_mem_map_create().
 */

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
