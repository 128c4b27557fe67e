// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_evtchn.c - event channels: xen_evtchn_* and the guest's side.
 *
 * Follows xen/common/event_channel.c (binding sets the local port pending;
 * closing makes the peer unbound again, for us) and Linux
 * drivers/xen/evtchn.c (a ring of ports per handle; a port on the ring or
 * taken from it stays masked until it is unmasked).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_int.h"

/* An open /dev/xen/evtchn; several processes may have a handle of it. */
struct fake_evfile {
	struct fake_evfile *next;
	unsigned int handles;
	/* A byte for each port on the ring.  A pipe, for it has an inode. */
	int rfd, wfd;
	ino_t ino;
	int restricted_to;		/* -1 */
	unsigned int head, tail;	/* free-running */
	xen_port_t ring[FAKE_NR_PORTS];
};

struct xen_evtchn {
	struct fake_handle h;
	struct fake_evfile *file;
	int fd;
};

static struct fake_evfile *files;

static struct fake_port *port_of(const struct xen_evtchn *ec, xen_port_t port)
{
	struct fake_domain *d = fake_domain_need(ec->h.proc->domid);

	if (port >= FAKE_NR_PORTS || d->port[port].owner != ec->file)
		return NULL;
	return &d->port[port];
}

static void ring_push(struct fake_evfile *ec, xen_port_t port)
{
	char one = 1;

	ec->ring[ec->tail++ % FAKE_NR_PORTS] = port;
	if (write(ec->wfd, &one, sizeof(one)) != sizeof(one))
		fake_die("pipe: %s", strerror(errno));
}

static void ring_drop(struct fake_evfile *ec, xen_port_t port)
{
	unsigned int i, n = ec->tail - ec->head;
	char one;

	for (i = 0; i < n; i++) {
		xen_port_t p = ec->ring[ec->head++ % FAKE_NR_PORTS];

		if (p != port)
			ec->ring[ec->tail++ % FAKE_NR_PORTS] = p;
		else if (read(ec->rfd, &one, sizeof(one)) != sizeof(one))
			fake_die("pipe: %s", strerror(errno));
	}
}

static void port_deliver(struct fake_domain *d, xen_port_t port)
{
	struct fake_port *p = &d->port[port];

	p->pending = true;
	if (!p->owner || p->masked)
		return;
	p->pending = false;
	p->masked = true;
	ring_push(p->owner, port);
}

xen_port_t fake_port_new(struct fake_domain *d)
{
	FAKE_LOCKED();
	xen_port_t i;

	for (i = 1; i < FAKE_NR_PORTS; i++)
		if (d->port[i].state == FAKE_PORT_FREE)
			return i;
	return 0;
}

void fake_port_close(struct fake_domain *d, xen_port_t port)
{
	FAKE_LOCKED();
	struct fake_port *p = &d->port[port];
	struct fake_domain *rd;

	if (p->owner)
		ring_drop(p->owner, port);
	if (p->state == FAKE_PORT_BOUND) {
		rd = fake_domain_need(p->remote_dom);
		rd->port[p->remote_port].state = FAKE_PORT_UNBOUND;
		rd->port[p->remote_port].remote_dom = d->domid;
	}
	memset(p, 0, sizeof(*p));
}

/* evtchn_send(): @port is @d's own. */
void fake_evtchn_send(struct fake_domain *d, xen_port_t port)
{
	FAKE_LOCKED();
	struct fake_port *p = &d->port[port];

	if (p->state == FAKE_PORT_BOUND)
		port_deliver(fake_domain_need(p->remote_dom), p->remote_port);
	/* unbound: silently dropped */
}

/* ---- handles ------------------------------------------------------------ */

static struct xen_evtchn *handle_new(struct fake_evfile *f, int fd)
{
	struct xen_evtchn *ec = fake_zalloc(sizeof(*ec));

	fake_handle_add(&ec->h, FAKE_H_EVTCHN);
	ec->file = f;
	ec->fd = fd;
	f->handles++;
	return ec;
}

int xen_evtchn_open(struct xen_evtchn **out)
{
	FAKE_LOCKED();
	int err = fake_call(fake_current_domain()->domid, FAKE_EVTCHN_OPEN);
	struct fake_evfile *f;
	struct stat st;
	int fd[2], dup_fd;

	if (err)
		return err;
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) || fstat(fd[0], &st))
		fake_die("pipe: %s", strerror(errno));
	dup_fd = fcntl(fd[0], F_DUPFD_CLOEXEC, 0);
	if (dup_fd < 0)
		fake_die("dup: %s", strerror(errno));
	f = fake_zalloc(sizeof(*f));
	f->rfd = fd[0];
	f->wfd = fd[1];
	f->ino = st.st_ino;
	f->restricted_to = -1;
	f->next = files;
	files = f;
	*out = handle_new(f, dup_fd);
	return 0;
}

int xen_evtchn_take(int fd, struct xen_evtchn **out)
{
	FAKE_LOCKED();
	int err = fake_call(fake_current_domain()->domid, FAKE_EVTCHN_TAKE);
	struct fake_evfile *f;
	struct stat st;

	if (!err && fstat(fd, &st))
		err = -errno;
	for (f = files; !err && f; f = f->next)
		if (f->ino == st.st_ino)
			break;
	if (!err && !f)
		err = -EINVAL;
	if (err) {
		close(fd);
		return err;
	}
	*out = handle_new(f, fd);
	return 0;
}

int xen_evtchn_restrict(struct xen_evtchn *ec, xen_domid_t domid)
{
	FAKE_LOCKED();

	if (ec->h.dead)
		return -EBADF;
	if (ec->file->restricted_to >= 0)
		return -EACCES;
	if (!domid)
		return -EINVAL;
	ec->file->restricted_to = domid;
	return 0;
}

static void file_put(struct fake_evfile *f, struct fake_domain *d)
{
	struct fake_evfile **p;
	xen_port_t i;

	if (--f->handles)
		return;
	for (i = 1; i < FAKE_NR_PORTS; i++)
		if (d->port[i].owner == f)
			fake_port_close(d, i);
	for (p = &files; *p != f; p = &(*p)->next)
		;
	*p = f->next;
	close(f->rfd);
	close(f->wfd);
	free(f);
}

void fake_evtchn_crash(struct xen_evtchn *ec)
{
	FAKE_LOCKED();

	file_put(ec->file, fake_domain_need(ec->h.proc->domid));
	ec->file = NULL;
}

/*
 * A crash leaves the descriptor open: its number must not come back while an
 * abandoned loop may still know it.
 */
void fake_evtchn_fini(struct xen_evtchn *ec)
{
	close(ec->fd);
}

void xen_evtchn_close(struct xen_evtchn *ec)
{
	FAKE_LOCKED();

	if (!ec)
		return;
	if (!ec->h.dead)
		fake_evtchn_crash(ec);
	close(ec->fd);
	fake_handle_free(&ec->h);
}

int xen_evtchn_fd(const struct xen_evtchn *ec)
{
	return ec->fd;
}

int xen_evtchn_alloc_unbound(struct xen_evtchn *ec, xen_domid_t domid,
			     xen_port_t *port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_ALLOC);
	struct fake_domain *d;
	xen_port_t p;

	if (err)
		return err;
	if (ec->file->restricted_to >= 0)
		return -EACCES;
	d = fake_domain_need(ec->h.proc->domid);
	p = fake_port_new(d);
	if (!p)
		return -ENOSPC;
	d->port[p] = (struct fake_port){
		.state = FAKE_PORT_UNBOUND, .remote_dom = domid,
		.owner = ec->file,
	};
	*port = p;
	return 0;
}

static int bind(struct fake_domain *d, struct fake_evfile *owner,
		xen_domid_t domid, xen_port_t remote, xen_port_t *port)
{
	struct fake_domain *rd = fake_domain_alive(domid);
	xen_port_t p;

	if (!rd)
		return -ESRCH;
	p = fake_port_new(d);
	if (!p)
		return -ENOSPC;
	if (!remote || remote >= FAKE_NR_PORTS ||
	    rd->port[remote].state != FAKE_PORT_UNBOUND ||
	    rd->port[remote].remote_dom != d->domid)
		return -EINVAL;
	d->port[p] = (struct fake_port){
		.state = FAKE_PORT_BOUND, .remote_dom = domid,
		.remote_port = remote, .owner = owner,
	};
	rd->port[remote].state = FAKE_PORT_BOUND;
	rd->port[remote].remote_port = p;
	/* What was sent before the bind may be lost: Xen makes it pending. */
	port_deliver(d, p);
	*port = p;
	return 0;
}

int xen_evtchn_bind_interdomain(struct xen_evtchn *ec, xen_domid_t domid,
				xen_port_t remote, xen_port_t *port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_BIND);

	if (err)
		return err;
	if (ec->file->restricted_to >= 0 && ec->file->restricted_to != domid)
		return -EACCES;
	return bind(fake_domain_need(ec->h.proc->domid), ec->file, domid,
		    remote, port);
}

int xen_evtchn_unbind(struct xen_evtchn *ec, xen_port_t port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_UNBIND);

	if (err)
		return err;
	if (!port_of(ec, port))
		return -ENOTCONN;
	fake_port_close(fake_domain_need(ec->h.proc->domid), port);
	return 0;
}

int xen_evtchn_notify(struct xen_evtchn *ec, xen_port_t port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_NOTIFY);

	if (err)
		return err;
	if (!port_of(ec, port))
		return -ENOTCONN;
	fake_evtchn_send(fake_domain_need(ec->h.proc->domid), port);
	return 0;
}

int xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_PENDING);
	char one;

	if (err)
		return err;
	if (read(ec->fd, &one, sizeof(one)) != sizeof(one))
		return -EAGAIN;
	*port = ec->file->ring[ec->file->head++ % FAKE_NR_PORTS];
	return 0;
}

int xen_evtchn_unmask(struct xen_evtchn *ec, xen_port_t port)
{
	FAKE_LOCKED();
	int err = fake_hcall(&ec->h, FAKE_EVTCHN_UNMASK);
	struct fake_port *p;

	if (err)
		return err;
	p = port_of(ec, port);
	if (!p)
		return 0;	/* evtchn_write() ignores what is not ours */
	p->masked = false;
	if (p->pending)
		port_deliver(fake_domain_need(ec->h.proc->domid), port);
	return 0;
}

unsigned int xen_evtchn_pending_all(struct xen_evtchn *ec, xen_port_t *ports,
				    unsigned int max)
{
	FAKE_LOCKED();
	unsigned int n = 0;

	while (n < max && !xen_evtchn_pending(ec, &ports[n]))
		n++;
	return n;
}

void xen_evtchn_unmask_all(struct xen_evtchn *ec, const xen_port_t *ports,
			   unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		xen_evtchn_unmask(ec, ports[i]);
}

/* ---- the guest's side --------------------------------------------------- */

xen_port_t fake_guest_alloc_unbound(xen_domid_t domid, xen_domid_t remote)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);
	xen_port_t p = fake_port_new(d);

	if (!p)
		fake_die("dom%u: out of ports", domid);
	d->port[p] = (struct fake_port){
		.state = FAKE_PORT_UNBOUND, .remote_dom = remote,
	};
	return p;
}

int fake_guest_bind(xen_domid_t domid, xen_domid_t remote_dom,
		    xen_port_t remote, xen_port_t *port)
{
	FAKE_LOCKED();

	return bind(fake_domain_need(domid), NULL, remote_dom, remote, port);
}

static bool is_guest_port(struct fake_domain *d, xen_port_t port)
{
	return port && port < FAKE_NR_PORTS &&
	       d->port[port].state != FAKE_PORT_FREE &&
	       !d->port[port].owner && !d->port[port].is_xens;
}

int fake_guest_notify(xen_domid_t domid, xen_port_t port)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);

	if (!is_guest_port(d, port))
		return -EINVAL;
	fake_evtchn_send(d, port);
	return 0;
}

int fake_guest_close(xen_domid_t domid, xen_port_t port)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);

	if (!is_guest_port(d, port))
		return -EINVAL;
	fake_port_close(d, port);
	return 0;
}

bool fake_guest_take_event(xen_domid_t domid, xen_port_t port)
{
	FAKE_LOCKED();
	struct fake_domain *d = fake_domain_need(domid);
	bool was = port < FAKE_NR_PORTS && d->port[port].pending;

	if (was)
		d->port[port].pending = false;
	return was;
}

/* ---- the end ------------------------------------------------------------ */

void fake_evtchn_domain_gone(struct fake_domain *d)
{
	xen_port_t i;

	for (i = 1; i < FAKE_NR_PORTS; i++)
		if (d->port[i].state != FAKE_PORT_FREE)
			fake_port_close(d, i);
}

unsigned int fake_evtchn_leaks(void)
{
	unsigned int domid, n = 0;
	xen_port_t i;

	for (domid = 0; domid <= XEN_DOMID_MAX; domid++) {
		struct fake_domain *d = fake_domain_any(domid);

		for (i = 1; d && i < FAKE_NR_PORTS; i++) {
			if (!d->port[i].owner)
				continue;
			fake_leak("dom%u: event channel port %u", domid, i);
			n++;
		}
	}
	return n;
}
