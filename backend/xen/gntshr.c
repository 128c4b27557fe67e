// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * gntshr.c - granting pages of our own, over libxengnttab's other half
 * (/dev/xen/gntalloc).  See xen.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xengnttab.h>

#include "../util.h"
#include "xen.h"

struct xen_gntshr {
	xengntshr_handle *h;
};

int xen_gntshr_open(struct xen_gntshr **out)
{
	struct xen_gntshr *gs = vg_zalloc(sizeof(*gs));

	gs->h = xengntshr_open(NULL, 0);
	if (!gs->h) {
		int err = errno ? -errno : -ENODEV;

		free(gs);
		return err;
	}
	*out = gs;
	return 0;
}

void xen_gntshr_close(struct xen_gntshr *gs)
{
	if (!gs)
		return;
	xengntshr_close(gs->h);
	free(gs);
}

int xen_gntshr_share_page(struct xen_gntshr *gs, xen_domid_t domid,
			  void **page, xen_ref_t *ref)
{
	uint32_t r;
	void *va = xengntshr_share_pages(gs->h, domid, 1, &r, 1);

	if (!va)
		return errno ? -errno : -ENOMEM;
	memset(va, 0, XEN_GRANT_PAGE_SIZE);
	*page = va;
	*ref = r;
	return 0;
}

void xen_gntshr_unshare_page(struct xen_gntshr *gs, void *page)
{
	xengntshr_unshare(gs->h, page, 1);
}
