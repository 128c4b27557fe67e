// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * copies.c - grant copies: see copies.h.
 *
 * Not trusted: the guest, whose grants may be missing and may vanish between
 * two copies.
 */
#include "mem/copies.h"

#include <errno.h>
#include <stdlib.h>

#include "kernel/uapi/virtio_grant.h"

void vg_copies_init(struct vg_copies *c, struct xen_gnttab *gt,
		    xen_domid_t domid, struct vg_mem_stats *stats)
{
	*c = (struct vg_copies){ .gt = gt, .domid = domid, .stats = stats };
}

void vg_copies_exit(struct vg_copies *c)
{
	free(c->segs);
}

int vg_copies_grow(struct vg_copies *c, uint64_t max)
{
	struct xen_copy_seg *s = realloc(c->segs, max * sizeof(*s));

	if (!s)
		return -EAGAIN;
	c->segs = s;
	c->max = max;
	return 0;
}

int vg_copies_make(struct vg_copies *c)
{
	c->stats->copies++;
	c->stats->exchanges++;
	xen_gnttab_copy(c->gt, c->domid, c->segs, c->nr);
	return vg_copies_result(c, 0, c->nr);
}

/* ---- probes ------------------------------------------------------------- */

void vg_probe_init(struct vg_probe *p, const struct vg_copies *c)
{
	vg_copies_init(&p->list, c->gt, c->domid, c->stats);
	p->list.segs = p->segs;
	p->list.max = VG_PROBES;
	p->byte = 0;
	p->is_refused = false;
}

static void probe_ask(struct vg_probe *p)
{
	if (!p->list.nr)
		return;
	p->is_refused |= vg_copies_make(&p->list) == -EFAULT;
	p->list.nr = 0;
}

void vg_probe_page(struct vg_probe *p, uint64_t addr, bool writes)
{
	/* Not counted: these bytes are nobody's data. */
	p->segs[p->list.nr++] = (struct xen_copy_seg){
		.ref = virtio_grant_addr_ref(addr),
		.offset = (uint16_t)virtio_grant_addr_offset(addr),
		.len_bytes = 1,
		.to_foreign = writes,
		.local = &p->byte,
		.status = XEN_COPY_NOT_TRIED,
	};
	if (p->list.nr == VG_PROBES)
		probe_ask(p);
}

bool vg_probe_end(struct vg_probe *p)
{
	probe_ask(p);
	return !p->is_refused;
}
