// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * transact.c - see transact.h.
 */
#include "toolstack/transact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

/* Other toolstacks are at work beside us; a domain's writes disturb rarely. */
#define TRIES	32u

static int once(struct xen_store *xs,
		int (*body)(struct xen_store *xs, void *arg), void *arg)
{
	int err = xen_store_begin(xs);

	if (err)
		return err;
	err = body(xs, arg);
	if (!err)
		return xen_store_commit(xs);
	xen_store_abort(xs);
	return err;
}

int vg_transact(struct xen_store *xs,
		int (*body)(struct xen_store *xs, void *arg), void *arg)
{
	unsigned int tries = TRIES;
	int err;

	do {
		err = once(xs, body, arg);
	} while (err == -EAGAIN && --tries);
	return err;
}

int vg_rm(struct xen_store *xs, const char *path)
{
	int err = xen_store_rm(xs, path);

	return err == -ENOENT ? 0 : err;
}

int vg_rm_and_empty(struct xen_store *xs, const char *path,
		    unsigned int levels)
{
	char *p = vg_strdup(path), *slash, **names;
	int n = 0, err = vg_rm(xs, path);

	while (!err && levels-- && (slash = strrchr(p, '/')) && slash != p) {
		*slash = 0;
		n = xen_store_directory(xs, p, &names);
		if (n >= 0)
			xen_store_free_dir(names);
		if (n > 0)
			break;
		err = n == -ENOENT ? 0 : n < 0 ? n : vg_rm(xs, p);
	}
	free(p);
	return err;
}

int vg_node_exists(struct xen_store *xs, const char *path)
{
	char *v = xen_store_read(xs, path);
	int err = v ? 1 : errno == ENOENT ? 0 : errno == EINVAL ? 1 : -errno;

	free(v);
	return err;
}

const char *vg_store_error(int err)
{
	switch (-err) {
	case EACCES:
	case EPERM:
		return "no rights to xenstore: run it as root in the control domain";
	case EAGAIN:
		return "xenstore is too busy: others change the same nodes; try again";
	case ENOSPC:
		return "xenstore has no room (its quotas)";
	default:
		return strerror(-err);
	}
}
