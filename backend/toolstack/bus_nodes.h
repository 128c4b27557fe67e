/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus_nodes.h - devices on the Xen bus, as the toolstack makes, moves and
 * removes them in xenstore.  What the nodes are:
 * kernel/uapi/virtio_grant_bus.h.
 *
 *	front	/local/domain/<guest>/device/virtio_grant/<devid>
 *		the guest's, readable by the backend's domain
 *	back	/local/domain/<backend>/backend/virtio_grant/<guest>/<devid>
 *		the backend's domain's, readable by the guest
 *	record	/virtio-grant/<guest's uuid>/<devid>
 *		the control domain's alone:
 *			name, type, device-id, backend, key/<k>...
 *			guest-id, guest, backend-id: the guest's number and
 *			name, and the backend's number, as they were when front
 *			and back were written last
 *			suspended: 1 if the guest's driver says that it is,
 *			until it is connected again: so that a guest which
 *			ends like that is one that was saved, and not forgotten
 *
 * A domain can write what it likes into its own nodes, so nothing here follows
 * a path or a number from one: they are made from the record, and from which
 * domains there are.  Each change is one transaction, so that whoever dies
 * leaves all of it or nothing; but one that removes and is disturbed each time
 * by a domain that changes its own nodes is done piece by piece, the record
 * last.
 */
#ifndef VG_BUS_NODES_H
#define VG_BUS_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "toolstack/bus_spec.h"
#include "toolstack/domains.h"
#include "xen/xen.h"

#define VG_BUS_KIND		"virtio_grant"
#define VG_BUS_RECORDS		"/virtio-grant"
/* More than a guest's grants are good for, and a bound for every loop. */
#define VG_BUS_DEVICES_MAX	1024u
/* Their numbers are below this. */
#define VG_BUS_DEVIDS		1000000u

/*
 * The number that is tried first for a new device.  Not that of one which was
 * there a moment ago: its guest may not have seen yet that it went, and Linux'
 * xenbus takes a node of the same name for the same device then, writes that it
 * is closed, or goes on with it.  So a program has it move on with the time, as
 * vg_bus_devid_now() does; 0 in tests.
 */
extern uint32_t (*vg_bus_devid_first)(void);
uint32_t vg_bus_devid_now(void);

struct vg_bus_dev {
	struct vg_bus_spec spec;	/* name and backend are set */
	char uuid[VG_UUID_CHARS + 1];	/* of the guest */
	uint32_t devid;
	char *guest_name;
	xen_domid_t guest, backend;
	bool is_suspended;		/* when it was there last */
};

void vg_bus_dev_free(struct vg_bus_dev *dev);

/* New strings. */
char *vg_bus_front(const struct vg_bus_dev *dev);
char *vg_bus_back(const struct vg_bus_dev *dev);
char *vg_bus_record(const struct vg_bus_dev *dev);
/* Where the guest's driver, and the backend, say what went wrong. */
char *vg_bus_front_error(const struct vg_bus_dev *dev);
char *vg_bus_back_error(const struct vg_bus_dev *dev);

/* ---- changes ------------------------------------------------------------ */

/*
 * Makes front, back and record of a new device; devid, and spec.name if there
 * is none, are chosen.  @own: the domain that we run in.  -EEXIST: the guest
 * has one of that name; -ESRCH: the guest is going, or gone; -ENXIO: the
 * backend's domain is; -ENODEV: it is no driver domain; -ENOSPC: too many; or
 * what xenstore says. Nothing has changed then.
 */
int vg_bus_create(struct xen_store *xs, struct vg_bus_dev *dev,
		  xen_domid_t own);
/*
 * A record, and no nodes, of a guest that is saved: what xenstore knew before
 * the host was booted.  dev->guest is set to 0, which no guest is.  -EEXIST: it
 * has one of that number.
 */
int vg_bus_recall(struct xen_store *xs, struct vg_bus_dev *dev,
		  xen_domid_t own);
/*
 * The record's guest, or backend's domain, have become @guest and @backend:
 * front and back are written for them.  A guest that is the same keeps its
 * front but for what names the backend.  -EALREADY: the record says so
 * already, or says something else than @dev; -ENOENT: it is gone.  Others as
 * above.
 */
int vg_bus_move(struct xen_store *xs, struct vg_bus_dev *dev,
		xen_domid_t guest, const char *guest_name,
		xen_domid_t backend, xen_domid_t own);
/*
 * What the guest's front says of being suspended, into the record: the front
 * goes with the guest.  That it is not any more, only if @may_clear.
 * dev->is_suspended is what the record says then.  -ENOENT, -EALREADY as above.
 */
int vg_bus_note_suspended(struct xen_store *xs, struct vg_bus_dev *dev,
			  bool may_clear);
/*
 * Front, back, record and what was said of errors, under the numbers that the
 * record has by now.  One that is gone already, or whose number another device
 * has, is as good as removed.
 */
int vg_bus_remove(struct xen_store *xs, const struct vg_bus_dev *dev);
/* Only the front, or what was said of errors by either. */
int vg_bus_remove_front(struct xen_store *xs, const struct vg_bus_dev *dev);
int vg_bus_forget_errors(struct xen_store *xs, const struct vg_bus_dev *dev);

/* What the back says, and whether the toolstack wants it. */
struct vg_bus_ask {
	const struct vg_bus_dev *dev;
	bool online;
	unsigned int state;
	unsigned int only_if;		/* its state now; 0: whatever it is */
	bool only_if_gone;		/* the guest */
	unsigned int was;		/* out: 0: it had none */
};
/*
 * Writes online and state of the back.  -ENOENT: it has no state; -ESTALE: not
 * only_if; -EALREADY: not only_if_gone.
 */
int vg_bus_ask(struct xen_store *xs, struct vg_bus_ask *ask);

/*
 * The backend is to look how large the device is by now: the key "resize" of
 * the back, which it removes.  What was said of errors goes.  -ENOENT: the back
 * has no state, or the guest has ended.
 */
int vg_bus_resize_ask(struct xen_store *xs, const struct vg_bus_dev *dev);
/* 1: not taken yet; 0: taken; -ENOENT: the back went, or its state. */
int vg_bus_resize_is_asked(struct xen_store *xs, const struct vg_bus_dev *dev);
int vg_bus_resize_take_back(struct xen_store *xs,
			    const struct vg_bus_dev *dev);

/* ---- looking ------------------------------------------------------------ */

struct vg_bus_devs {
	struct vg_bus_dev *d;
	unsigned int nr;
};

/* The records of @uuid, or with NULL all; to be freed.  Or negative errno. */
int vg_bus_devs_read(struct xen_store *xs, const char *uuid,
		     struct vg_bus_devs *all);
void vg_bus_devs_free(struct vg_bus_devs *all);

/* 1 .. 8; 0: it has no state; -ENOENT: no such node; -EINVAL: nonsense. */
int vg_bus_state(struct xen_store *xs, const char *node);
/*
 * What stands at @path, which a domain may write: new, one line, visible, at
 * most a few hundred bytes.  NULL: nothing.
 */
char *vg_bus_words(struct xen_store *xs, const char *path);
/* The same of why the backend refuses it, without its name there. */
char *vg_bus_back_words(struct xen_store *xs, const struct vg_bus_dev *dev);

#endif
