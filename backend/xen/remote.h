/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * remote.h - xen_gnttab and xen_evtchn of a process that has a mapper
 * (remote_msg.h): after xen_remote_set_up() the functions of xen.h go that way,
 * and who calls them sees no difference.
 */
#ifndef VG_XEN_REMOTE_H
#define VG_XEN_REMOTE_H

#include "xen/xen.h"

/*
 * Descriptors that the mapper has, too; @arena_fd is closed.  The evtchns are
 * @nr_evtchns in a row, which xen_evtchn_open() hands out one by one
 * (-EMFILE: none is left).  0 or negative errno.
 */
int xen_remote_set_up(int rpc_fd, int arena_fd, int gntdev_fd,
		      int first_evtchn_fd, unsigned int nr_evtchns);

/*
 * What gnttab.c and evtchn.c call in place of the libraries; NULL: there is no
 * mapper.
 */
struct xen_remote_ops {
	int (*map)(xen_domid_t domid, const xen_ref_t *refs,
		   unsigned int count, int prot, void **addr);
	int (*unmap)(void *addr, unsigned int count);
	int (*exchange)(xen_domid_t domid, struct xen_copy_seg *segs,
			unsigned int nr_segs, struct xen_map_job *jobs,
			unsigned int nr_jobs);
	void *(*buffer_get)(size_t bytes);
	/* False: it is none of buffer_get()'s. */
	bool (*buffer_put)(void *buffer, size_t bytes);
	void *(*buffer_area)(size_t *bytes);
	/* The next handle, its descriptor. */
	int (*open_evtchn)(unsigned int *handle, int *fd);
	int (*bind)(unsigned int handle, xen_domid_t domid, xen_port_t remote,
		    xen_port_t *local);
	int (*unbind)(unsigned int handle, xen_port_t local);
};

extern const struct xen_remote_ops *xen_gnttab_remote, *xen_evtchn_remote;

#endif
