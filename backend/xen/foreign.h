/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * foreign.h - mapping a guest's memory by its frame numbers, without its
 * consent: what virtio-grantd never does.  Linked into virtio-foreignd only,
 * which exists for the comparison (docs/comparison.md); as xen.h otherwise.
 */
#ifndef VG_XEN_FOREIGN_H
#define VG_XEN_FOREIGN_H

#include "xen/xen.h"

/* The guest-physical addresses that Xen on Arm may give RAM below 4 GiB. */
#define XEN_GUEST_RAM0_BASE	UINT64_C(0x40000000)
#define XEN_GUEST_RAM0_BYTES	UINT64_C(0xc0000000)

struct xen_foreign;

/* Needs /dev/xen/privcmd, and privilege over the guest. */
int xen_foreign_open(struct xen_foreign **out);
void xen_foreign_close(struct xen_foreign *xf);

/*
 * Maps @count frames of @domid read-write at consecutive addresses: all or,
 * with a negative errno, none.  One call to the kernel.
 */
int xen_foreign_map(struct xen_foreign *xf, xen_domid_t domid,
		    const uint64_t *gfns, unsigned int count, void **addr);
int xen_foreign_unmap(struct xen_foreign *xf, void *addr, unsigned int count);

/*
 * Maps what there is from @first_gfn on, up to the first frame that can't be
 * mapped.  *@count: how many, at least 1.  Released by
 * xen_foreign_unmap_all().
 */
int xen_foreign_map_all(struct xen_foreign *xf, xen_domid_t domid,
			uint64_t first_gfn, void **addr, unsigned int *count);
void xen_foreign_unmap_all(struct xen_foreign *xf, void *addr,
			   unsigned int count);

#endif
