/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * raw.h - /dev/xen/gntdev and /dev/xen/evtchn as open files, for two processes
 * that share them (mapper.h).  Linux checks neither who opened such a file nor
 * whose address space a mapping goes to, except in a PV guest of x86, where
 * gntdev maps for the process that asked.
 *
 * Negative errno on failure.
 */
#ifndef VG_XEN_RAW_H
#define VG_XEN_RAW_H

#include "xen/xen.h"

int xen_raw_open_gntdev(void);
int xen_raw_open_evtchn(void);

/* *index: what mmap(2) of @count pages of @fd wants as its offset, once. */
int xen_raw_map(int fd, xen_domid_t domid, const xen_ref_t *refs,
		unsigned int count, uint64_t *index);
/*
 * Takes @index back.  What is mapped of it stays mapped until munmap(2), which
 * then ends the mapping of the grants, too.
 */
int xen_raw_forget(int fd, uint64_t index, unsigned int count);
/*
 * As xen_gnttab_copy(), of so many pieces; gntdev makes hypercalls of 16 each.
 */
#define XEN_RAW_COPY_SEGS_MAX	512u
int xen_raw_copy(int fd, xen_domid_t domid, struct xen_copy_seg *segs,
		 unsigned int count);
int xen_raw_bind(int fd, xen_domid_t domid, xen_port_t remote,
		 xen_port_t *local);
int xen_raw_unbind(int fd, xen_port_t local);

#endif
