// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * evtchn.c - event channels, over libxenevtchn (/dev/xen/evtchn).
 * See xen.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <unistd.h>

#include <xenevtchn.h>

#include "lib/util.h"
#include "xen/remote.h"
#include "xen/xen.h"

const struct xen_remote_ops *xen_evtchn_remote;

struct xen_evtchn {
	xenevtchn_handle *h;
	unsigned int number;	/* of the handle, for the mapper */
};

int xen_evtchn_open(struct xen_evtchn **out)
{
	struct xen_evtchn *ec = vg_zalloc(sizeof(*ec));
	int err, fd;

	if (xen_evtchn_remote) {
		err = xen_evtchn_remote->open_evtchn(&ec->number, &fd);
		if (err) {
			free(ec);
			return err;
		}
		ec->h = xenevtchn_fdopen(NULL, fd, 0);
	} else {
		ec->h = xenevtchn_open(NULL, 0);
	}
	if (!ec->h) {
		err = errno ? -errno : -ENODEV;
		free(ec);
		return err;
	}
	/* xen_evtchn_pending() must not block. */
	err = vg_fd_nonblock(xenevtchn_fd(ec->h));
	if (err) {
		xen_evtchn_close(ec);
		return err;
	}
	*out = ec;
	return 0;
}

int xen_evtchn_take(int fd, struct xen_evtchn **out)
{
	struct xen_evtchn *ec = vg_zalloc(sizeof(*ec));
	int err;

	ec->h = xenevtchn_fdopen(NULL, fd, 0);
	if (!ec->h) {
		err = errno ? -errno : -ENODEV;
		free(ec);
		close(fd);
		return err;
	}
	err = vg_fd_nonblock(fd);
	if (err) {
		xen_evtchn_close(ec);
		return err;
	}
	*out = ec;
	return 0;
}

int xen_evtchn_restrict(struct xen_evtchn *ec, xen_domid_t domid)
{
	return xenevtchn_restrict(ec->h, domid) ? -errno : 0;
}

void xen_evtchn_close(struct xen_evtchn *ec)
{
	if (!ec)
		return;
	xenevtchn_close(ec->h);
	free(ec);
}

int xen_evtchn_fd(const struct xen_evtchn *ec)
{
	return xenevtchn_fd(ec->h);
}

static int port_or_errno(xenevtchn_port_or_error_t r, xen_port_t *port)
{
	if (r < 0)
		return errno ? -errno : -EINVAL;
	*port = (xen_port_t)r;
	return 0;
}

int xen_evtchn_alloc_unbound(struct xen_evtchn *ec, xen_domid_t domid,
			     xen_port_t *port)
{
	return port_or_errno(xenevtchn_bind_unbound_port(ec->h, domid), port);
}

int xen_evtchn_bind_interdomain(struct xen_evtchn *ec, xen_domid_t domid,
				xen_port_t remote, xen_port_t *port)
{
	if (xen_evtchn_remote)
		return xen_evtchn_remote->bind(ec->number, domid, remote, port);
	return port_or_errno(xenevtchn_bind_interdomain(ec->h, domid, remote),
			     port);
}

int xen_evtchn_unbind(struct xen_evtchn *ec, xen_port_t port)
{
	if (xen_evtchn_remote)
		return xen_evtchn_remote->unbind(ec->number, port);
	return xenevtchn_unbind(ec->h, port) ? -errno : 0;
}

int xen_evtchn_notify(struct xen_evtchn *ec, xen_port_t port)
{
	return xenevtchn_notify(ec->h, port) ? -errno : 0;
}

int xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port)
{
	return port_or_errno(xenevtchn_pending(ec->h), port);
}

int xen_evtchn_unmask(struct xen_evtchn *ec, xen_port_t port)
{
	return xenevtchn_unmask(ec->h, port) ? -errno : 0;
}

/*
 * The library reads and writes one port at a time; the device takes as many as
 * there are (Linux, drivers/xen/evtchn.c).
 */
unsigned int xen_evtchn_pending_all(struct xen_evtchn *ec, xen_port_t *ports,
				    unsigned int max)
{
	ssize_t n = read(xenevtchn_fd(ec->h), ports, max * sizeof(*ports));

	return n > 0 ? (unsigned int)((size_t)n / sizeof(*ports)) : 0;
}

void xen_evtchn_unmask_all(struct xen_evtchn *ec, const xen_port_t *ports,
			   unsigned int n)
{
	/* Fails for none of what pending_all() gave. */
	if (write(xenevtchn_fd(ec->h), ports, n * sizeof(*ports)) < 0)
		return;
}
