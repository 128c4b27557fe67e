// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * foreign.c - mapping a guest's memory, over libxenforeignmemory
 * (/dev/xen/privcmd).  See foreign.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <xenforeignmemory.h>

#include "xen/foreign.h"
#include "lib/util.h"

/* Frames per call of xen_foreign_map_all(). */
#define CHUNK_PAGES	512u

struct xen_foreign {
	xenforeignmemory_handle *h;
	/* Scratch, grown as needed. */
	xen_pfn_t *pfns;
	int *errs;
	unsigned int max;
};

int xen_foreign_open(struct xen_foreign **out)
{
	struct xen_foreign *xf = vg_zalloc(sizeof(*xf));

	xf->h = xenforeignmemory_open(NULL, 0);
	if (!xf->h) {
		int err = errno ? -errno : -ENODEV;

		free(xf);
		return err;
	}
	*out = xf;
	return 0;
}

void xen_foreign_close(struct xen_foreign *xf)
{
	if (!xf)
		return;
	xenforeignmemory_close(xf->h);
	free(xf->pfns);
	free(xf->errs);
	free(xf);
}

static void reserve(struct xen_foreign *xf, unsigned int count)
{
	if (count <= xf->max)
		return;
	free(xf->pfns);
	free(xf->errs);
	xf->pfns = vg_calloc(count, sizeof(*xf->pfns));
	xf->errs = vg_calloc(count, sizeof(*xf->errs));
	xf->max = count;
}

int xen_foreign_map(struct xen_foreign *xf, xen_domid_t domid,
		    const uint64_t *gfns, unsigned int count, void **addr)
{
	unsigned int i;
	void *va;

	reserve(xf, count);
	for (i = 0; i < count; i++)
		xf->pfns[i] = gfns[i];
	/* Without an array for errors: one that fails, fails all. */
	va = xenforeignmemory_map(xf->h, domid, PROT_READ | PROT_WRITE, count,
				  xf->pfns, NULL);
	if (!va)
		return errno ? -errno : -EFAULT;
	*addr = va;
	return 0;
}

int xen_foreign_unmap(struct xen_foreign *xf, void *addr, unsigned int count)
{
	return xenforeignmemory_unmap(xf->h, addr, count) ? -errno : 0;
}

/* How many of the chunk's frames are there now, from its start on. */
static unsigned int map_chunk(struct xen_foreign *xf, xen_domid_t domid,
			      uint64_t first_gfn, void *at)
{
	unsigned int i;

	for (i = 0; i < CHUNK_PAGES; i++)
		xf->pfns[i] = first_gfn + i;
	if (!xenforeignmemory_map2(xf->h, domid, at, PROT_READ | PROT_WRITE,
				   MAP_FIXED, CHUNK_PAGES, xf->pfns, xf->errs))
		return 0;
	for (i = 0; i < CHUNK_PAGES && !xf->errs[i]; i++)
		;
	return i;
}

int xen_foreign_map_all(struct xen_foreign *xf, xen_domid_t domid,
			uint64_t first_gfn, void **addr, unsigned int *count)
{
	unsigned int n = 0, got = CHUNK_PAGES;
	uint8_t *va;

	reserve(xf, CHUNK_PAGES);
	va = mmap(NULL, XEN_GUEST_RAM0_BYTES, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (va == MAP_FAILED)
		return -errno;
	while (got == CHUNK_PAGES &&
	       n < XEN_GUEST_RAM0_BYTES >> XEN_GRANT_PAGE_SHIFT) {
		got = map_chunk(xf, domid, first_gfn + n,
				va + ((size_t)n << XEN_GRANT_PAGE_SHIFT));
		n += got;
	}
	if (!n) {
		int err = errno ? -errno : -EFAULT;

		munmap(va, XEN_GUEST_RAM0_BYTES);
		return err;
	}
	*addr = va;
	*count = n;
	return 0;
}

void xen_foreign_unmap_all(struct xen_foreign *xf, void *addr,
			   unsigned int count)
{
	(void)xf;
	(void)count;
	munmap(addr, XEN_GUEST_RAM0_BYTES);
}
