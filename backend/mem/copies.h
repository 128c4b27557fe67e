/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copies.h - grant copies (GNTTABOP_copy): lists of them, page by page, what
 * became of each, and what they tell about a grant.
 *
 * Not trusted: the guest.  Its addresses have been checked by who adds them,
 * but only the copy itself shows whether a page is granted, and the next may
 * show something else.
 *
 * A list is one thread's.  It owns its entries, not the memory that they copy
 * from and to, which stays until they are made.
 */
#ifndef VG_MEM_COPIES_H
#define VG_MEM_COPIES_H

#include <errno.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "mem/mem.h"
#include "xen/xen.h"

struct vg_copies {
	struct xen_gnttab *gt;
	xen_domid_t domid;		/* whose addresses they are */
	struct vg_mem_stats *stats;
	struct xen_copy_seg *segs;	/* [max] */
	unsigned int nr;		/* 0: begin anew */
	uint64_t max;
};

void vg_copies_init(struct vg_copies *c, struct xen_gnttab *gt,
		    xen_domid_t domid, struct vg_mem_stats *stats);
void vg_copies_exit(struct vg_copies *c);

/* All that are in the list, now, with one call.  As vg_copies_result(). */
int vg_copies_make(struct vg_copies *c);

/*
 * Whether pages are granted, as far as a copy of one byte of each can tell:
 * vg_probe_init(), vg_probe_page() for each, vg_probe_end().
 */
#define VG_PROBES	64u		/* of one call */

struct vg_probe {
	struct vg_copies list;
	struct xen_copy_seg segs[VG_PROBES];
	uint8_t byte;
	bool is_refused;
};

/* Of the same domain as @c, which it leaves alone. */
void vg_probe_init(struct vg_probe *p, const struct vg_copies *c);
/* @writes: by writing a zero there, which must be ours to write to. */
void vg_probe_page(struct vg_probe *p, uint64_t addr, bool writes);
/* False: Xen refused one. */
bool vg_probe_end(struct vg_probe *p);

/* ---- what every request calls ------------------------------------------- */

int vg_copies_grow(struct vg_copies *c, uint64_t max);

/* Room for @count in all.  -EAGAIN: there is no memory; what is in it stays. */
static inline int vg_copies_reserve(struct vg_copies *c, uint64_t count)
{
	return count <= c->max ? 0 : vg_copies_grow(c, count);
}

/*
 * [addr, addr + len) from or to @local: one entry for each page of the guest's
 * that it touches, for which there is room.  Counted as copied.
 */
static inline void vg_copies_add(struct vg_copies *c, uint64_t addr,
				 size_t len_bytes, uint8_t *local,
				 bool to_guest)
{
	unsigned int offset = virtio_grant_addr_offset(addr);
	struct xen_copy_seg *s = c->segs + c->nr;
	xen_ref_t ref = virtio_grant_addr_ref(addr);

	c->stats->copied_bytes += len_bytes;
	while (len_bytes) {
		size_t piece = min_u(len_bytes,
				     (size_t)XEN_GRANT_PAGE_SIZE - offset);

		*s++ = (struct xen_copy_seg){
			.ref = ref++,
			.offset = (uint16_t)offset,
			.len_bytes = (uint16_t)piece,
			.to_foreign = to_guest,
			.local = local,
			.status = XEN_COPY_NOT_TRIED,
		};
		local += piece;
		len_bytes -= piece;
		offset = 0;
	}
	c->nr = (unsigned int)(s - c->segs);
}

/*
 * What became of @nr from @first on once they were made, whatever the call as a
 * whole said.  0; -EFAULT: Xen refused one; -EAGAIN: one was not even tried,
 * for reasons of our own.
 */
static inline int vg_copies_result(const struct vg_copies *c,
				   unsigned int first, unsigned int nr)
{
	unsigned int i;
	int ret = 0;

	for (i = first; i < first + nr; i++) {
		if (c->segs[i].status == XEN_COPY_NOT_TRIED)
			ret = -EAGAIN;
		else if (c->segs[i].status)
			return -EFAULT;
	}
	return ret;
}

#endif
