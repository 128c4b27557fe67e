// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * port.c - see port.h.
 *
 * The loop tells what can be read.  What else epoll knows (there is room again,
 * the other side hung up) it learns by watching an epoll descriptor, which is
 * readable when it has something to say: each port has one, with its pty, its
 * client, or its listening socket in it.
 *
 * A pty that nobody has open says so all the time (EPOLLHUP) and does not say
 * when somebody opens it, so it is not watched then but asked: when there is
 * output, and now and then while the guest has the port open.
 *
 * Input is not read before the guest has a buffer for it: it goes there at
 * once, and a worker that dies takes none with it.
 */
#include "dev/console/port.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util.h"

#define MS			UINT64_C(1000000)
#define PROBE_NS		(500 * MS)
/* Of one port, in one turn of the loop and each direction. */
#define TURN_BYTES		65536u
/*
 * Port 0: Linux' hvc console waits with a processor for each of its requests to
 * be used.  Waiting for a peer that does not read takes at most so long, and
 * over time no more than a tenth of it; then output is dropped.
 */
#define WAIT_MAX_NS		(100 * MS)
#define WAIT_SHARE		10u

static void count(struct vg_con_port *p, enum vg_con_stat what, uint64_t n)
{
	count_add(p->con->stats[what], n);
}

bool vg_con_port_is_open(const struct vg_con_port *p)
{
	return p->is_opened ||
	       (!p->index && p->con->has_driver && !p->con->is_multiport);
}

/* ---- what is waited for -------------------------------------------------- */

static void on_event(void *arg)
{
	vg_con_port_run(arg);
}

/* False: not now; nothing is lost, see arm(). */
static bool ep_set(struct vg_con_port *p)
{
	int fd = p->fd >= 0 ? p->fd : p->listen_fd;
	struct epoll_event ev = { .events = EPOLLIN };

	if (p->fd >= 0)
		ev.events = (vg_con_port_is_open(p) && !p->rx_asked ?
			     EPOLLIN : 0) | (p->tx ? EPOLLOUT : 0);
	if (fd == p->ep_fd && ev.events == p->ep_events)
		return true;
	if (epoll_ctl(p->ep, fd == p->ep_fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
		      fd, &ev) < 0)
		return false;
	p->ep_fd = fd;
	p->ep_events = ev.events;
	return true;
}

static void ep_forget(struct vg_con_port *p)
{
	if (p->ep_fd >= 0)
		epoll_ctl(p->ep, EPOLL_CTL_DEL, p->ep_fd, NULL);
	p->ep_fd = -1;
}

static bool watch_set(struct vg_con_port *p, bool is_wanted)
{
	struct vg_loop *loop = vg_device_loop(p->con->dev);

	if (!is_wanted) {
		vg_loop_del_fd(loop, p->watch);
		p->watch = NULL;
	}
	return !is_wanted || p->watch ||
	       !vg_loop_add_fd(loop, p->ep, on_event, p, &p->watch);
}

static void arm(struct vg_con_port *p, bool is_probing)
{
	uint64_t end_ns = p->wait_from_ns + p->patience_ns;
	uint64_t now_ns = vg_now_ns();

	if (p->wait_from_ns)
		vg_timer_arm(p->timer, end_ns > now_ns ? end_ns - now_ns : 0);
	else if (!is_probing && !p->tx)
		vg_timer_cancel(p->timer);
	else if (!vg_timer_is_armed(p->timer))
		vg_timer_arm(p->timer, PROBE_NS);
}

static void port_watch(struct vg_con_port *p, bool is_deaf)
{
	bool is_wanted = p->fd < 0 ? !is_deaf : p->has_peer;
	bool is_set = ep_set(p) && watch_set(p, is_wanted);

	arm(p, !is_set || is_deaf ||
	    (!is_wanted && vg_con_port_is_open(p)));
}

/* ---- the peer ------------------------------------------------------------ */

static void peer_set(struct vg_con_port *p, bool has_peer)
{
	if (p->has_peer == has_peer)
		return;
	p->has_peer = has_peer;
	if (has_peer) {
		count(p, VG_CON_ATTACHES, 1);
		count(p, VG_CON_ATTACHED, UINT64_C(1) << p->index);
	} else {
		count(p, VG_CON_ATTACHED, -(UINT64_C(1) << p->index));
	}
	vg_con_peer_changed(p);
}

/* There is nothing more to be had of it. */
static void peer_end(struct vg_con_port *p)
{
	peer_set(p, false);
	if (p->listen_fd < 0)
		return;
	ep_forget(p);
	close(p->fd);
	p->fd = -1;
}

/* True: it can't be done now. */
static bool client_accept(struct vg_con_port *p)
{
	int fd = accept4(p->listen_fd, NULL, NULL,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return errno != EAGAIN && errno != ECONNABORTED;
	ep_forget(p);
	p->fd = fd;
	peer_set(p, true);
	return false;
}

/* ---- output -------------------------------------------------------------- */

static void log_add(struct vg_con *con, const void *buf, size_t len)
{
	size_t n = min_u(len, con->parts.log_left_bytes);
	ssize_t done;

	if (con->log_fd < 0)
		return;
	done = n ? write(con->log_fd, buf, n) : 0;
	if (done < 0)
		done = 0;
	con->parts.log_left_bytes -= (uint64_t)done;
	count_add(con->stats[VG_CON_LOG_BYTES], done);
	count_add(con->stats[VG_CON_LOG_LOST_BYTES], len - (size_t)done);
}

static bool may_wait(struct vg_con_port *p)
{
	uint64_t now_ns = vg_now_ns();

	if (p->index)
		return true;
	if (!p->wait_from_ns) {
		p->patience_ns += (now_ns - p->patience_at_ns) / WAIT_SHARE;
		p->patience_ns = min_u(p->patience_ns, WAIT_MAX_NS);
		p->patience_at_ns = now_ns;
		if (p->patience_ns < WAIT_MAX_NS / WAIT_SHARE)
			return false;
		p->wait_from_ns = now_ns;
	}
	return now_ns - p->wait_from_ns < p->patience_ns;
}

static void wait_end(struct vg_con_port *p)
{
	if (!p->wait_from_ns)
		return;
	p->patience_at_ns = vg_now_ns();
	p->patience_ns -= min_u(p->patience_at_ns - p->wait_from_ns,
				p->patience_ns);
	p->wait_from_ns = 0;
}

/* How many bytes are done with: written, or dropped; 0: they wait. */
static size_t emit(struct vg_con_port *p, const void *buf, size_t len,
		   bool is_urgent)
{
	ssize_t n = p->has_peer ? write(p->fd, buf, len) : 0;
	bool is_full = n < 0 && (errno == EAGAIN || errno == EINTR);

	if (n < 0 && !is_full)
		peer_end(p);
	else if (n <= 0 && p->has_peer && !is_urgent && may_wait(p))
		return 0;
	count(p, n > 0 ? VG_CON_TX_BYTES : VG_CON_DROPPED_BYTES,
	      n > 0 ? (uint64_t)n : len);
	if (n > 0)
		len = (size_t)n;
	if (!p->index)
		log_add(p->con, buf, len);
	return len;
}

static void tx_run(struct vg_con_port *p)
{
	struct vg_req *req = p->tx;
	struct vg_con_tx *t = req->type_priv;
	size_t n, budget = TURN_BYTES;

	while (t->seg < req->nr_out) {
		const struct iovec *v = &req->iov[t->seg];

		if (!budget) {
			vg_deferred_schedule(p->turn);
			return;
		}
		n = emit(p, (uint8_t *)v->iov_base + t->at_bytes,
			 min_u(v->iov_len - t->at_bytes, budget), false);
		if (!n)
			return;
		budget -= n;
		t->done_bytes += n;
		t->at_bytes += n;
		if (t->at_bytes == v->iov_len) {
			t->seg++;
			t->at_bytes = 0;
		}
	}
	wait_end(p);
	p->tx = NULL;
	vg_req_complete(req, 0);
	vg_queue_want(p->con->dev, vg_con_rx_queue(p) + 1, 1);
}

void vg_con_port_start_tx(struct vg_con_port *p, struct vg_req *req)
{
	p->tx = req;
	if (!p->has_peer)
		vg_con_port_run(p);
	if (p->tx == req)
		tx_run(p);
	port_watch(p, false);
}

void vg_con_port_emergency(struct vg_con_port *p, uint8_t byte)
{
	count(p, VG_CON_EMERGENCY_BYTES, 1);
	if (!p->has_peer)
		vg_con_port_run(p);
	emit(p, &byte, 1, true);
}

/* ---- input --------------------------------------------------------------- */

/* As much as there is and the request takes; 0: nothing. */
static size_t rx_read(struct vg_con_port *p)
{
	const struct vg_req *req = p->rx;
	size_t bytes = 0;
	unsigned int i;

	for (i = req->nr_out; i < req->nr_out + req->nr_in; i++) {
		size_t len = min_u(req->iov[i].iov_len, TURN_BYTES - bytes);
		ssize_t n = read(p->fd, req->iov[i].iov_base, len);

		if (!n || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			peer_end(p);
			break;
		}
		if (n < 0)
			break;
		bytes += (size_t)n;
		if ((size_t)n < req->iov[i].iov_len || bytes == TURN_BYTES)
			break;
	}
	return bytes;
}

/* Found out first: a request taken for it would wait for the next client. */
static bool is_at_end(const struct vg_con_port *p)
{
	uint8_t byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (p->listen_fd < 0)
		return false;
	n = recvmsg(p->fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* There is something to read, or the end. */
static void rx_run(struct vg_con_port *p)
{
	struct vg_req *req = p->rx;
	size_t bytes;

	if (p->fd < 0 || !vg_con_port_is_open(p))
		return;
	if (!req && is_at_end(p)) {
		peer_end(p);
		return;
	}
	if (!req) {
		p->rx_asked = true;
		vg_queue_want(p->con->dev, vg_con_rx_queue(p), 1);
		return;
	}
	bytes = rx_read(p);
	if (!bytes)
		return;			/* a false alarm: at the next one */
	count(p, VG_CON_RX_BYTES, bytes);
	p->rx = NULL;
	vg_req_complete(req, (uint32_t)bytes);
	/* What somebody who is gone has left is not announced. */
	if (!p->has_peer)
		vg_deferred_schedule(p->turn);
}

void vg_con_port_start_rx(struct vg_con_port *p, struct vg_req *req)
{
	p->rx_asked = false;
	p->rx = req;
	rx_run(p);
	port_watch(p, false);
}

/* ---- both ---------------------------------------------------------------- */

void vg_con_port_run(struct vg_con_port *p)
{
	struct epoll_event ev = { 0 };
	bool is_deaf = false;
	uint32_t is;

	if (!ep_set(p) || epoll_wait(p->ep, &ev, 1, 0) < 0) {
		port_watch(p, false);
		return;
	}
	is = ev.events;
	if (p->fd < 0) {
		is_deaf = is && client_accept(p);
		is = 0;
	} else if (is & (EPOLLHUP | EPOLLERR)) {
		peer_set(p, false);
	} else if (p->listen_fd < 0) {
		peer_set(p, true);
	}
	if (is & EPOLLIN)
		rx_run(p);
	/* Gone, and nobody wants what it may have left. */
	if (p->listen_fd >= 0 && p->fd >= 0 && !p->has_peer &&
	    !vg_con_port_is_open(p))
		peer_end(p);
	if (p->tx)
		tx_run(p);
	port_watch(p, is_deaf);
}

void vg_con_port_cancel(struct vg_con_port *p, bool is_tx)
{
	struct vg_req *req = is_tx ? p->tx : p->rx;

	if (!req)
		return;
	if (!is_tx) {
		p->rx = NULL;
		vg_req_cancel(req);
		return;
	}
	/* Else it is not lost: the successor writes it from its start. */
	if (vg_req_is_ending(req))
		count(p, VG_CON_DROPPED_BYTES, req->out_bytes -
		      ((struct vg_con_tx *)req->type_priv)->done_bytes);
	wait_end(p);
	p->tx = NULL;
	vg_req_cancel(req);
	vg_queue_want(p->con->dev, vg_con_rx_queue(p) + 1, 1);
}

int vg_con_port_init(struct vg_con_port *p)
{
	struct vg_loop *loop = vg_device_loop(p->con->dev);

	p->ep_fd = -1;
	p->ep = epoll_create1(EPOLL_CLOEXEC);
	if (p->ep < 0)
		return -errno;
	p->patience_ns = WAIT_MAX_NS;
	p->timer = vg_timer_create(loop, on_event, p);
	p->turn = vg_deferred_create(loop, on_event, p);
	return 0;
}

void vg_con_port_exit(struct vg_con_port *p)
{
	if (p->watch)
		vg_loop_del_fd(vg_device_loop(p->con->dev), p->watch);
	vg_timer_destroy(p->timer);
	vg_deferred_destroy(p->turn);
	if (p->ep >= 0)
		close(p->ep);
	if (p->fd >= 0)
		close(p->fd);
	if (p->listen_fd >= 0)
		close(p->listen_fd);
}
