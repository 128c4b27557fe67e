/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xengnttab.h - what backend/xen/raw.c and gnttab.c use of Xen's library and
 * headers, for test_raw.c: unit tests need no Xen.  Names and values are those
 * of xen/include/public/grant_table.h and tools/include/xengnttab.h.
 */
#ifndef STAND_IN_XENGNTTAB_H
#define STAND_IN_XENGNTTAB_H

#include <stdint.h>

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;

#define GNTCOPY_source_gref	1
#define GNTCOPY_dest_gref	2

typedef struct xengntdev_handle xengnttab_handle;

xengnttab_handle *xengnttab_open(void *logger, unsigned int flags);
int xengnttab_close(xengnttab_handle *h);
int xengnttab_fd(xengnttab_handle *h);
void *xengnttab_map_domain_grant_refs(xengnttab_handle *h, uint32_t count,
				      uint32_t domid, uint32_t *refs, int prot);
int xengnttab_unmap(xengnttab_handle *h, void *addr, uint32_t count);

#endif
