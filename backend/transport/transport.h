/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * transport.h - how the devices of a guest are reached: what the daemon knows
 * of a transport, which is where to look for it, and whom to hand a device to.
 *
 * A transport's code runs in two places: in the supervisor, which finds what
 * the toolstack or whoever forwards for the guest has written, and in the
 * worker, which attaches to that.  What is found is passed on as words that
 * only the transport understands.
 */
#ifndef VG_TRANSPORT_TRANSPORT_H
#define VG_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/keys.h"
#include "lib/loop.h"
#include "virtio/device.h"
#include "transport/ports.h"
#include "xen/xen.h"

struct vg_transport_where {
	uint32_t word[4];
};

/* A page of a third domain's, granted to ours, and a port of its. */
struct vg_transport_page {
	xen_domid_t domid;
	xen_ref_t ref;
	xen_port_t port;
};

/* What a transport has from its worker, and tells it. */
struct vg_transport_env {
	xen_domid_t guest;
	const char *label;		/* of the device; stays valid */
	struct vg_loop *loop;
	struct xen_gnttab *gt;
	struct vg_ports *ports;
	/* A predecessor served the device: what it had may not be free yet. */
	bool is_taking_over;
	/* end_of_turn() is wanted. */
	void (*worked)(void *arg);
	/* move() has led somewhere; or it has not, and goes on trying. */
	void (*moved)(void *arg, int err, const char *text);
	void *arg;
};

/* One device's; the transport has more behind it. */
struct vg_transport {
	const struct vg_transport_type *type;
	void *arg;			/* of type->device_ops */
};

/* Of the device's node. */
struct vg_transport_key {
	const char *key, *value;
};

struct vg_transport_type {
	/* The toolstack's key "transport"; NULL: it is not chosen by that. */
	const char *name;
	const struct vg_transport_ops *device_ops;
	/*
	 * The device's driver in the guest has a node of its own (its front),
	 * in which it says where it is reached, and comes and goes as the
	 * states of both nodes say.  Such a device is served before it can be
	 * reached: a vg_transport_where that is all zero is nobody.
	 */
	bool has_front;
	/* What the device's node says when it is served; or NULL. */
	const struct vg_transport_key *shown;	/* key NULL: the end */

	/* ---- in the supervisor */

	/*
	 * Whether what the toolstack wrote for this transport makes sense, in
	 * the directory @kind of its: asked once, when the device is seen.  0,
	 * or negative errno with *why a new text that names key and value.
	 */
	int (*check)(const char *kind, const struct vg_keys *keys, char **why);
	/*
	 * Where the device is reached, from the keys of its node, and of the
	 * driver's if that has one (@front; NULL: there is no driver) as far as
	 * they are for @own_domid.  -ENOENT: not there (yet); another error:
	 * *why is a new text for the operator.
	 */
	int (*find)(const struct vg_keys *keys, const struct vg_keys *front,
		    xen_domid_t own_domid, struct vg_transport_where *where,
		    char **why);
	/* When find() has found nothing for @seconds.  NULL: it may not. */
	char *(*missing)(unsigned int seconds);
	/*
	 * What the worker must be let have for it, beside what its guest
	 * grants; false, or NULL: nothing.
	 */
	bool (*page)(const struct vg_transport_where *where,
		     struct vg_transport_page *page);

	/* ---- in the worker */

	/*
	 * Attaches to @where, which nobody sees yet.  0, or negative errno with
	 * *why a static text: which step.
	 */
	int (*open)(const struct vg_transport_env *env,
		    const struct vg_transport_where *where,
		    struct vg_transport **out, const char **why);
	/* @dev was created with it: from here on it is served. */
	void (*begin)(struct vg_transport *t, struct vg_device *dev);
	/* What was asked before begin(), or of a predecessor. */
	void (*catch_up)(struct vg_transport *t);
	/* It is reached there from now on; env->moved() says how it goes. */
	void (*move)(struct vg_transport *t,
		     const struct vg_transport_where *where);
	/* Tells the other side what this turn has brought. */
	void (*end_of_turn)(struct vg_transport *t);
	/* The device is gone, to a successor or for good; @t is, too. */
	void (*close)(struct vg_transport *t, bool has_successor);
};

/* types.c: the list of them. */
extern const struct vg_transport_type *const vg_transport_types[];
extern const unsigned int vg_nr_transport_types;

/*
 * The one with a front that serves the device whose keys these are in the
 * directory @kind of the toolstack's: 1, and *@type; 0: none; negative errno:
 * it can't be told now.
 */
int vg_transport_with_front(const char *kind, const struct vg_keys *keys,
			    const struct vg_transport_type **type);

/*
 * Of the device whose keys these are, whose other keys for it are checked as
 * well: 0, or negative errno with *why a new text that names key and value.
 */
int vg_transport_of(const char *kind, const struct vg_keys *keys,
		    const struct vg_transport_type **type, char **why);

#endif
