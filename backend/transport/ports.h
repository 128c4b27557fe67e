/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ports.h - event channels of one handle, each with a function that its events
 * go to.
 */
#ifndef VG_TRANSPORT_PORTS_H
#define VG_TRANSPORT_PORTS_H

#include "lib/loop.h"
#include "xen/xen.h"

struct vg_ports;

/* @ec stays the caller's.  0 or negative errno. */
int vg_ports_create(struct xen_evtchn *ec, struct vg_loop *loop,
		    struct vg_ports **out);
void vg_ports_destroy(struct vg_ports *p);

/*
 * Binds to @domid's port @remote: *port is ours, and @event(@arg, @n) is called
 * for what comes over it.  -EINVAL, which is what it is while the one who had
 * it before is not quite gone, is tried @tries times, a millisecond apart.
 */
int vg_ports_bind(struct vg_ports *p, xen_domid_t domid, xen_port_t remote,
		  unsigned int tries,
		  void (*event)(void *arg, unsigned int n), void *arg,
		  unsigned int n, xen_port_t *port);
void vg_ports_unbind(struct vg_ports *p, xen_port_t port);
/* Fails when the other end is closed: then nobody listens. */
void vg_ports_notify(struct vg_ports *p, xen_port_t port);

/* As above, for a handle that has but one port. */
int vg_port_bind_patiently(struct xen_evtchn *ec, xen_domid_t domid,
			   xen_port_t remote, unsigned int tries,
			   xen_port_t *port);

#endif
