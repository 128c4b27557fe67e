// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * gnttab.c - mapping and copying of granted pages, over libxengnttab
 * (/dev/xen/gntdev), or by the mapper of a confined worker (remote.h).  See
 * xen.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <xengnttab.h>

#include "lib/util.h"
#include "xen/exchange.h"
#include "xen/raw.h"
#include "xen/remote.h"
#include "xen/xen.h"

const struct xen_remote_ops *xen_gnttab_remote;

struct xen_gnttab {
	xengnttab_handle *h;	/* NULL: the mapper does it */
};

int xen_gnttab_open(struct xen_gnttab **out)
{
	struct xen_gnttab *gt = vg_zalloc(sizeof(*gt));

	if (!xen_gnttab_remote)
		gt->h = xengnttab_open(NULL, 0);
	if (!gt->h && !xen_gnttab_remote) {
		int err = errno ? -errno : -ENODEV;

		free(gt);
		return err;
	}
	*out = gt;
	return 0;
}

void xen_gnttab_close(struct xen_gnttab *gt)
{
	if (!gt)
		return;
	if (gt->h)
		xengnttab_close(gt->h);
	free(gt);
}

int xen_gnttab_map(struct xen_gnttab *gt, xen_domid_t domid,
		   const xen_ref_t *refs, unsigned int count, int prot,
		   void **addr)
{
	void *va;

	if (!gt->h)
		return xen_gnttab_remote->map(domid, refs, count, prot, addr);
	/* The library takes them as not const, and does not write to them. */
	va = xengnttab_map_domain_grant_refs(gt->h, count, domid,
					     (uint32_t *)(uintptr_t)refs, prot);
	if (!va)
		return errno ? -errno : -EFAULT;
	*addr = va;
	return 0;
}

int xen_gnttab_unmap(struct xen_gnttab *gt, void *addr, unsigned int count)
{
	if (!gt->h)
		return xen_gnttab_remote->unmap(addr, count);
	if (xengnttab_unmap(gt->h, addr, count))
		return errno ? -errno : -EFAULT;
	return 0;
}

int xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
		    struct xen_copy_seg *segs, unsigned int count)
{
	int err = 0, ret = 0;
	unsigned int n;

	if (!gt->h)
		return xen_gnttab_remote->exchange(domid, segs, count, NULL, 0);
	for (; count; segs += n, count -= n) {
		n = min_u(count, XEN_RAW_COPY_SEGS_MAX);
		err = xen_raw_copy(xengnttab_fd(gt->h), domid, segs, n);
		if (err)
			ret = err;
		if (err && err != -EFAULT)
			break;
	}
	while (count)
		segs[--count].status = XEN_COPY_NOT_TRIED;
	return ret;
}

int xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			struct xen_copy_seg *segs, unsigned int nr_segs,
			struct xen_map_job *jobs, unsigned int nr_jobs)
{
	if (!gt->h)
		return xen_gnttab_remote->exchange(domid, segs, nr_segs, jobs,
						   nr_jobs);
	return exchange_by_calls(gt, domid, segs, nr_segs, jobs, nr_jobs);
}

void *xen_gnttab_buffer_get(size_t bytes)
{
	void *buffer = NULL;

	if (xen_gnttab_remote)
		buffer = xen_gnttab_remote->buffer_get(bytes);
	if (!buffer && posix_memalign(&buffer, min_u(bytes,
					(size_t)XEN_GRANT_PAGE_SIZE), bytes))
		return NULL;
	return buffer;
}

void xen_gnttab_buffer_put(void *buffer, size_t bytes)
{
	if (!xen_gnttab_remote || !xen_gnttab_remote->buffer_put(buffer, bytes))
		free(buffer);
}

void *xen_gnttab_buffer_area(size_t *bytes)
{
	*bytes = 0;
	return xen_gnttab_remote ? xen_gnttab_remote->buffer_area(bytes) : NULL;
}
