/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * session.h - what the commands about the Xen bus begin with: xenstore, and
 * who is there.  And waiting for it to change.
 */
#ifndef VG_CTL_SESSION_H
#define VG_CTL_SESSION_H

#include <signal.h>
#include <stdint.h>

#include "ctl/answer.h"
#include "toolstack/bus_nodes.h"
#include "toolstack/domains.h"

struct vg_session {
	struct vg_answer *a;
	struct xen_store *xs;
	xen_domid_t own;
	struct vg_domains domains;
};

/* 0; otherwise the answer has why not, and there is nothing to close. */
int vg_session_open(struct vg_session *s, struct vg_answer *a);
void vg_session_close(struct vg_session *s);

/* The guest that a user named, or NULL and the answer has why not. */
const struct vg_domain *vg_session_guest(struct vg_session *s,
					 const char *text);
/* Of @all, the one that a user named; or NULL and the answer has why not. */
struct vg_bus_dev *vg_session_dev(struct vg_session *s,
				  struct vg_bus_devs *all,
				  const char *guest_text, const char *name);
/* The domain's name for people: "DomD", or "dom3" if it has none. */
char *vg_session_name_of(const struct vg_session *s, xen_domid_t id);
/* Negative errno of xenstore becomes the answer. */
int vg_session_store_failed(struct vg_session *s, int err);
/* The members that every command has of a device. */
struct json_object *vg_session_json(const struct vg_session *s,
				    const struct vg_bus_dev *dev);

/* Set by SIGINT, SIGTERM and SIGHUP (a terminal is gone), which end a wait. */
extern volatile sig_atomic_t vg_session_is_interrupted;
void vg_session_catch_signals(void);

/*
 * Sleeps until what is watched with @s changed, and takes the events; or for a
 * second.  0; -ETIMEDOUT at @until_ns (CLOCK_MONOTONIC), -EINTR if interrupted;
 * other negative errno.
 */
int vg_session_wait(struct vg_session *s, uint64_t until_ns);

#endif
