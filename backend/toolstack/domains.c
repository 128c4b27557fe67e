// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * domains.c - see domains.h.
 */
#include "toolstack/domains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "toolstack/libxl_keys.h"

int vg_uuid_check(const char *text)
{
	if (strlen(text) != VG_UUID_CHARS ||
	    strspn(text, "0123456789abcdefABCDEF-") != VG_UUID_CHARS)
		return -EINVAL;
	return 0;
}

int vg_domain_uuid(struct xen_store *xs, xen_domid_t id,
		   char uuid[VG_UUID_CHARS + 1])
{
	static const char prefix[] = "/vm/";
	const size_t skip = sizeof(prefix) - 1;
	char *dir = vg_strf("/local/domain/%u", id);
	char *vm = vg_key_read(xs, dir, "vm");
	int err = vm ? 0 : -errno;

	free(dir);
	if (!err && (strncmp(vm, prefix, skip) || vg_uuid_check(vm + skip)))
		err = -EINVAL;
	if (!err)
		memcpy(uuid, vm + skip, VG_UUID_CHARS + 1);
	free(vm);
	return err;
}

/* One that comes or goes meanwhile lacks something; it stays in the list. */
static int read_one(struct xen_store *xs, xen_domid_t id, struct vg_domain *d)
{
	char *dir = vg_strf("/local/domain/%u", id);
	int err;

	*d = (struct vg_domain){ .id = id, .name = vg_key_read(xs, dir,
							       "name") };
	err = d->name ? 0 : -errno;
	free(dir);
	if (!d->name)
		d->name = vg_strdup("");
	if (err && err != -ENOENT && err != -EINVAL)
		return err;
	err = vg_domain_uuid(xs, id, d->uuid);
	if (err)
		d->uuid[0] = 0;
	return err == -ENOENT || err == -EINVAL ? 0 : err;
}

int vg_domains_read(struct xen_store *xs, struct vg_domains *all)
{
	char **names;
	uint64_t id;
	int i, err = 0, n = xen_store_directory(xs, "/local/domain", &names);

	*all = (struct vg_domains){ 0 };
	if (n < 0)
		return n;
	all->d = vg_calloc((size_t)n, sizeof(*all->d));
	for (i = 0; i < n && !err; i++)
		if (!vg_parse_u64(names[i], 10, XEN_DOMID_MAX, &id))
			err = read_one(xs, (xen_domid_t)id, &all->d[all->nr++]);
	xen_store_free_dir(names);
	if (err)
		vg_domains_free(all);
	return err;
}

void vg_domains_free(struct vg_domains *all)
{
	while (all->nr)
		free(all->d[--all->nr].name);
	free(all->d);
	all->d = NULL;
}

const struct vg_domain *vg_domain_by_id(const struct vg_domains *all,
					xen_domid_t id)
{
	unsigned int i;

	for (i = 0; i < all->nr; i++)
		if (all->d[i].id == id)
			return &all->d[i];
	return NULL;
}

const struct vg_domain *vg_domain_by_name(const struct vg_domains *all,
					  const char *name, int *err)
{
	const struct vg_domain *found = NULL;
	unsigned int i;

	*err = -ENOENT;
	for (i = 0; i < all->nr; i++) {
		if (strcmp(all->d[i].name, name))
			continue;
		*err = found ? -EEXIST : 0;
		if (found)
			return NULL;
		found = &all->d[i];
	}
	return found;
}

const struct vg_domain *vg_domain_find(const struct vg_domains *all,
				       const char *text, int *err)
{
	const struct vg_domain *d;
	uint64_t id;

	if (vg_parse_u64(text, 10, XEN_DOMID_MAX, &id))
		return *text ? vg_domain_by_name(all, text, err) :
			       (*err = -ENOENT, NULL);
	d = vg_domain_by_id(all, (xen_domid_t)id);
	*err = d ? 0 : -ENOENT;
	return d;
}
