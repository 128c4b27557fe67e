// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ports.c - see ports.h.
 */
#include "transport/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

#define PER_TURN_MAX	64u

struct owner {
	void (*event)(void *arg, unsigned int n);	/* NULL: nobody's */
	void *arg;
	unsigned int n;
};

struct vg_ports {
	struct xen_evtchn *ec;
	struct vg_loop *loop;
	struct vg_fd *vfd;
	struct owner *owners;			/* by local port */
	unsigned int nr_owners;
};

static void own(struct vg_ports *p, xen_port_t port, struct owner owner)
{
	if (port >= p->nr_owners) {
		unsigned int n = max_u(port + 1, p->nr_owners * 2);
		struct owner *o = vg_calloc(n, sizeof(*o));

		if (p->nr_owners)
			memcpy(o, p->owners, p->nr_owners * sizeof(*o));
		free(p->owners);
		p->owners = o;
		p->nr_owners = n;
	}
	p->owners[port] = owner;
}

int vg_port_bind_patiently(struct xen_evtchn *ec, xen_domid_t domid,
			   xen_port_t remote, unsigned int tries,
			   xen_port_t *port)
{
	int err, epfd = -1;

	for (;;) {
		err = xen_evtchn_bind_interdomain(ec, domid, remote, port);
		if (err != -EINVAL || !--tries)
			break;
		vg_nap(&epfd);
	}
	if (epfd >= 0)
		close(epfd);
	return err;
}

int vg_ports_bind(struct vg_ports *p, xen_domid_t domid, xen_port_t remote,
		  unsigned int tries,
		  void (*event)(void *arg, unsigned int n), void *arg,
		  unsigned int n, xen_port_t *port)
{
	int err = vg_port_bind_patiently(p->ec, domid, remote, tries, port);

	if (!err)
		own(p, *port, (struct owner){ event, arg, n });
	return err;
}

void vg_ports_unbind(struct vg_ports *p, xen_port_t port)
{
	p->owners[port] = (struct owner){ 0 };
	xen_evtchn_unbind(p->ec, port);
}

void vg_ports_notify(struct vg_ports *p, xen_port_t port)
{
	xen_evtchn_notify(p->ec, port);
}

static void on_events(void *arg)
{
	xen_port_t ports[PER_TURN_MAX];
	struct vg_ports *p = arg;
	unsigned int i, n;

	n = xen_evtchn_pending_all(p->ec, ports, PER_TURN_MAX);
	/* Unmask first: what comes from here on makes a new event. */
	xen_evtchn_unmask_all(p->ec, ports, n);
	for (i = 0; i < n; i++) {
		struct owner o = { 0 };

		/* What came before it may have changed whose it is. */
		if (ports[i] < p->nr_owners)
			o = p->owners[ports[i]];
		if (o.event)
			o.event(o.arg, o.n);
	}
}

int vg_ports_create(struct xen_evtchn *ec, struct vg_loop *loop,
		    struct vg_ports **out)
{
	struct vg_ports *p = vg_zalloc(sizeof(*p));
	int err;

	p->ec = ec;
	p->loop = loop;
	err = vg_loop_add_fd(loop, xen_evtchn_fd(ec), on_events, p, &p->vfd);
	if (err) {
		free(p);
		return err;
	}
	*out = p;
	return 0;
}

void vg_ports_destroy(struct vg_ports *p)
{
	if (!p)
		return;
	vg_loop_del_fd(p->loop, p->vfd);
	free(p->owners);
	free(p);
}
