/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * transact.h - several changes of xenstore, all or none.
 */
#ifndef VG_TRANSACT_H
#define VG_TRANSACT_H

#include "xen/xen.h"

/*
 * Calls @body in a transaction and commits if it returns 0; otherwise nothing
 * has changed and what it returned comes back.  One that others disturbed is
 * done again, a bounded number of times (-EAGAIN after that), so @body may run
 * more than once and must begin anew each time.
 */
int vg_transact(struct xen_store *xs,
		int (*body)(struct xen_store *xs, void *arg), void *arg);

/* As xen_store_rm(), but what is not there is as good as removed. */
int vg_rm(struct xen_store *xs, const char *path);
/*
 * The same; and then each directory above it, at most @levels, that is empty by
 * that.  In a transaction, so that nobody fills it meanwhile.
 */
int vg_rm_and_empty(struct xen_store *xs, const char *path,
		    unsigned int levels);
/* Whether it is there: 1, 0, or negative errno. */
int vg_node_exists(struct xen_store *xs, const char *path);

/* What it means for whoever has called a program of ours: a text for people. */
const char *vg_store_error(int err);

#endif
