// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * store.c - xenstore, over libxenstore.  See xen.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xenstore.h>

#include "lib/util.h"
#include "xen/xen.h"

struct xen_store {
	struct xs_handle *h;
	xs_transaction_t t;
};

int xen_store_open(struct xen_store **out)
{
	struct xen_store *xs = vg_zalloc(sizeof(*xs));

	xs->h = xs_open(0);
	if (!xs->h) {
		int err = errno ? -errno : -ENODEV;

		free(xs);
		return err;
	}
	xs->t = XBT_NULL;
	*out = xs;
	return 0;
}

void xen_store_close(struct xen_store *xs)
{
	if (!xs)
		return;
	xs_close(xs->h);
	free(xs);
}

int xen_store_fd(const struct xen_store *xs)
{
	return xs_fileno(xs->h);
}

int xen_store_begin(struct xen_store *xs)
{
	xs->t = xs_transaction_start(xs->h);
	return xs->t == XBT_NULL ? -errno : 0;
}

int xen_store_commit(struct xen_store *xs)
{
	xs_transaction_t t = xs->t;

	xs->t = XBT_NULL;
	return xs_transaction_end(xs->h, t, false) ? 0 : -errno;
}

void xen_store_abort(struct xen_store *xs)
{
	xs_transaction_end(xs->h, xs->t, true);
	xs->t = XBT_NULL;
}

char *xen_store_read(struct xen_store *xs, const char *path)
{
	unsigned int len;
	char *v = xs_read(xs->h, xs->t, path, &len);

	/* The library puts a NUL behind the value; there must be no other. */
	if (v && strlen(v) != len) {
		free(v);
		errno = EINVAL;
		return NULL;
	}
	return v;
}

int xen_store_write(struct xen_store *xs, const char *path, const char *value)
{
	if (!xs_write(xs->h, xs->t, path, value, (unsigned int)strlen(value)))
		return -errno;
	return 0;
}

int xen_store_rm(struct xen_store *xs, const char *path)
{
	return xs_rm(xs->h, xs->t, path) ? 0 : -errno;
}

int xen_store_set_perms(struct xen_store *xs, const char *path,
			xen_domid_t owner, xen_domid_t reader)
{
	struct xs_permissions p[2] = {
		{ .id = owner, .perms = XS_PERM_NONE },
		{ .id = reader, .perms = XS_PERM_READ },
	};

	/* One entry for a domain counts, the first. */
	return xs_set_permissions(xs->h, xs->t, path, p,
				  owner == reader ? 1 : 2) ? 0 : -errno;
}

int xen_store_directory(struct xen_store *xs, const char *path, char ***names)
{
	unsigned int n;
	char **v = xs_directory(xs->h, xs->t, path, &n);

	if (!v)
		return -errno;
	*names = v;
	return (int)n;
}

void xen_store_free_dir(char **names)
{
	free(names);	/* one block: pointers, then the strings */
}

int xen_store_watch(struct xen_store *xs, const char *path, const char *token)
{
	return xs_watch(xs->h, path, token) ? 0 : -errno;
}

void xen_store_unwatch(struct xen_store *xs, const char *path,
		       const char *token)
{
	/* It fails only if there is none, or no xenstored. */
	xs_unwatch(xs->h, path, token);
}

int xen_store_next_watch(struct xen_store *xs, char **path, char **token)
{
	char **v = xs_check_watch(xs->h);

	if (!v)
		return errno ? -errno : -EAGAIN;
	*path = vg_strdup(v[XS_WATCH_PATH]);
	*token = vg_strdup(v[XS_WATCH_TOKEN]);
	free(v);
	return 0;
}

int xen_store_own_domid(struct xen_store *xs, xen_domid_t *domid)
{
	char *v = xen_store_read(xs, "domid");
	uint64_t id;
	int err;

	if (!v)
		return -errno;
	err = vg_parse_u64(v, 10, XEN_DOMID_MAX, &id);
	free(v);
	if (!err)
		*domid = (xen_domid_t)id;
	return err;
}
