/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domains.h - the domains that there are, as xenstore has them.
 *
 * /local/domain/<id>, "name" and "vm" in it are the control domain's to write,
 * so they are believed, but parsed strictly.  There is no hypercall here: a
 * domain is there as long as its directory is.
 */
#ifndef VG_DOMAINS_H
#define VG_DOMAINS_H

#include "xen/xen.h"

#define VG_UUID_CHARS	36u

struct vg_domain {
	xen_domid_t id;
	char *name;			/* "": none (yet, or any more) */
	char uuid[VG_UUID_CHARS + 1];	/* likewise */
};

struct vg_domains {
	struct vg_domain *d;
	unsigned int nr;
};

/* 0, to be freed; or negative errno, and nothing to free. */
int vg_domains_read(struct xen_store *xs, struct vg_domains *all);
void vg_domains_free(struct vg_domains *all);

const struct vg_domain *vg_domain_by_id(const struct vg_domains *all,
					xen_domid_t id);
/* NULL: none, *err = -ENOENT; or more than one, -EEXIST. */
const struct vg_domain *vg_domain_by_name(const struct vg_domains *all,
					  const char *name, int *err);
/* The same for what a user typed: a number counts as such. */
const struct vg_domain *vg_domain_find(const struct vg_domains *all,
				       const char *text, int *err);

/* -EINVAL: no uuid in the form that xenstore has it. */
int vg_uuid_check(const char *text);
/* What /local/domain/@id says now, for a look inside a transaction. */
int vg_domain_uuid(struct xen_store *xs, xen_domid_t id,
		   char uuid[VG_UUID_CHARS + 1]);

#endif
