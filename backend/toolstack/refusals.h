/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * refusals.h - why a device is not served, in xenstore: for the operator of
 * the control domain, who sees `xl create` fail and no log of the backend.
 *
 * Where Linux' own backends leave it (xenbus_dev_error(), drivers/xen/xenbus/
 * xenbus_client.c):
 *	/local/domain/<backend>/error/backend/<kind>/<guest>/<devid>/error
 * libxl makes "error" the domain's own, and it outlives the device's nodes,
 * which libxl removes at once.
 */
#ifndef VG_REFUSALS_H
#define VG_REFUSALS_H

#include "toolstack/libxl_keys.h"
#include "xen/xen.h"

/*
 * The oldest go: xenstore grants a domain so many nodes.  Guests are not
 * trusted, and one can have many devices refused again and again: those of a
 * guest that has more than half go first, then those of the guest that is
 * refused something now.  So one guest drives out one of others' at the most.
 */
#define VG_REFUSALS_MAX		8u

struct vg_refusal {
	char *path;			/* NULL: none */
	xen_domid_t guest;
	uint64_t turn;			/* they are numbered as they come */
};

struct vg_refusals {
	struct xen_store *xs;
	struct vg_refusal said[VG_REFUSALS_MAX];
	uint64_t turn;			/* of the next */
};

/* What a predecessor left goes.  @xs stays the caller's, and open. */
void vg_refusals_init(struct vg_refusals *r, struct xen_store *xs,
		      xen_domid_t own_domid);
/* The nodes stay. */
void vg_refusals_exit(struct vg_refusals *r);
/* Failures are logged at most: it is a service. */
void vg_refusals_say(struct vg_refusals *r, const struct vg_devname *name,
		     const char *why);
/* It is served now. */
void vg_refusals_forget(struct vg_refusals *r, const struct vg_devname *name);

/*
 * Those of all domains but @own_domid, as far as we may read: @each gets the
 * domain and the text.  Domains are not trusted: a text is one line of visible
 * ASCII, cut to a few hundred characters, and of each domain there are
 * VG_REFUSALS_MAX at the most.
 */
void vg_refusals_read(struct xen_store *xs, xen_domid_t own_domid,
		      void (*each)(void *arg, xen_domid_t domid,
				   const char *text),
		      void *arg);

#endif
