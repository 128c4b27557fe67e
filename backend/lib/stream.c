// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stream.c - see stream.h.
 *
 * A pty that nobody has open says so all the time (hung up) and does not say
 * when somebody opens it, so it is not watched then but looked at.  Likewise a
 * client that is gone, of which there is something left to be read.
 */
#include "lib/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util.h"

#define MS			UINT64_C(1000000)
#define LOOK_NS			(500 * MS)
#define SIZE_NS			(1000 * MS)

struct vg_stream {
	struct vg_loop *loop;
	const struct vg_stream_user *user;
	void *arg;
	uint64_t *stats, mask;		/* our bit */
	int listen_fd;			/* -1: a pty */
	int fd;				/* its master, or a client; -1 */
	unsigned int wants;
	bool is_attached;
	bool is_deaf;			/* there is a client, but no means */
	struct vg_fd *watch;		/* of fd, else of listen_fd; or NULL */
	struct vg_timer *timer;
	struct vg_deferred *later;
	int log_fd;			/* or -1 */
	uint64_t log_left_bytes;
	/* What is put waits until then, or 0; had waited then. */
	uint64_t wait_end_ns, waited_ns;
	uint64_t wait_max_ns;		/* 0: there is no end */
	unsigned int wait_share;
	uint16_t cols, rows;
	struct vg_timer *size_timer;
};

static void on_event(void *arg);

/* ---- what is waited for -------------------------------------------------- */

static void unwatch(struct vg_stream *s)
{
	vg_loop_del_fd(s->loop, s->watch);
	s->watch = NULL;
}

static uint64_t ns_until(uint64_t then_ns)
{
	uint64_t now_ns = vg_now_ns();

	return then_ns > now_ns ? then_ns - now_ns : 0;
}

static void watch(struct vg_stream *s)
{
	bool has_fd = s->fd >= 0;

	if (has_fd ? !s->is_attached : s->is_deaf)
		unwatch(s);
	else if (!s->watch &&
		 vg_loop_add_fd(s->loop, has_fd ? s->fd : s->listen_fd,
				on_event, s, &s->watch))
		s->is_deaf = true;
	if (s->watch)
		vg_loop_want(s->loop, s->watch,
			     !has_fd || s->wants & VG_STREAM_INPUT,
			     has_fd && s->wants & VG_STREAM_ROOM);
	if (s->wait_end_ns)
		vg_timer_arm(s->timer, ns_until(s->wait_end_ns));
	else if (s->watch || !(s->is_deaf || s->wants))
		vg_timer_cancel(s->timer);
	else if (!vg_timer_is_armed(s->timer))
		vg_timer_arm(s->timer, LOOK_NS);
}

void vg_stream_want(struct vg_stream *s, unsigned int what)
{
	s->wants = what;
	bit_set(s->stats[VG_STREAM_OPEN_MASK], s->mask, what & VG_STREAM_OPEN);
	watch(s);
}

/* ---- who is attached ----------------------------------------------------- */

/* True: it is another. */
static bool size_read(struct vg_stream *s)
{
	struct winsize ws;

	if (s->listen_fd >= 0 || !s->is_attached ||
	    !(s->wants & VG_STREAM_SIZE))
		return false;
	vg_timer_arm(s->size_timer, SIZE_NS);
	if (ioctl(s->fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_col || !ws.ws_row ||
	    (ws.ws_col == s->cols && ws.ws_row == s->rows))
		return false;
	s->cols = ws.ws_col;
	s->rows = ws.ws_row;
	return true;
}

static void on_size_timer(void *arg)
{
	struct vg_stream *s = arg;

	if (size_read(s))
		s->user->changed(s->arg);
}

bool vg_stream_resized(const struct vg_stream *s, uint16_t *cols,
		       uint16_t *rows)
{
	if (!s->cols || (s->cols == *cols && s->rows == *rows))
		return false;
	*cols = s->cols;
	*rows = s->rows;
	return true;
}

static void set_attached(struct vg_stream *s, bool is_attached)
{
	if (s->is_attached == is_attached)
		return;
	s->is_attached = is_attached;
	size_read(s);
	count_add(s->stats[VG_STREAM_ATTACHES], is_attached);
	bit_set(s->stats[VG_STREAM_ATTACHED_MASK], s->mask, is_attached);
	s->user->changed(s->arg);
}

/* There is nothing more to be had of it. */
static void peer_end(struct vg_stream *s)
{
	if (s->listen_fd >= 0) {
		unwatch(s);
		close(s->fd);
		s->fd = -1;
	}
	set_attached(s, false);
}

static void client_accept(struct vg_stream *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		s->is_deaf = errno != EAGAIN && errno != ECONNABORTED;
		return;
	}
	unwatch(s);
	s->fd = fd;
	set_attached(s, true);
}

/* Found out first: who was told of input would wait for the next client's. */
static bool is_at_end(const struct vg_stream *s)
{
	uint8_t byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(s->fd, &msg, MSG_PEEK | MSG_DONTWAIT);

	return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* @is: VG_FD_*, what is so of the one descriptor that counts. */
static void found(struct vg_stream *s, unsigned int is)
{
	bool has_input = is & VG_FD_READABLE && s->fd >= 0;

	s->is_deaf = false;
	if (s->fd >= 0 && is & VG_FD_HUNG_UP)
		set_attached(s, false);
	else if (s->listen_fd < 0)
		set_attached(s, true);
	else if (s->fd < 0 && is)
		client_accept(s);
	/* Gone, and nothing is left, or nobody wants it. */
	if (s->listen_fd >= 0 && s->fd >= 0 &&
	    ((is & (VG_FD_READABLE | VG_FD_HUNG_UP) && is_at_end(s)) ||
	     (!s->is_attached && !(s->wants & VG_STREAM_OPEN)))) {
		peer_end(s);
		has_input = false;
	}
	s->user->ready(s->arg, has_input && s->wants & VG_STREAM_INPUT);
	watch(s);
}

static void on_event(void *arg)
{
	struct vg_stream *s = arg;

	found(s, vg_fd_events(s->watch));
}

void vg_stream_look(struct vg_stream *s)
{
	static const struct timespec at_once;
	struct pollfd p = {
		.fd = s->fd >= 0 ? s->fd : s->listen_fd, .events = POLLIN,
	};

	if (ppoll(&p, 1, &at_once, NULL) < 0)
		watch(s);
	else
		found(s, (p.revents & POLLIN ? VG_FD_READABLE : 0) |
			 (p.revents & (POLLHUP | POLLERR) ? VG_FD_HUNG_UP : 0));
}

static void on_look(void *arg)
{
	vg_stream_look(arg);
}

bool vg_stream_is_attached(const struct vg_stream *s)
{
	return s->is_attached;
}

/* ---- bytes --------------------------------------------------------------- */

static void log_add(struct vg_stream *s, const void *buf, size_t len)
{
	size_t n = min_u(len, s->log_left_bytes);
	ssize_t done;

	if (s->log_fd < 0)
		return;
	done = n ? write(s->log_fd, buf, n) : 0;
	if (done < 0)
		done = 0;
	s->log_left_bytes -= (uint64_t)done;
	count_add(s->stats[VG_STREAM_LOG_BYTES], done);
	count_add(s->stats[VG_STREAM_LOG_LOST_BYTES], len - (size_t)done);
}

size_t vg_stream_read(struct vg_stream *s, const struct iovec *iov,
		      unsigned int nr)
{
	size_t bytes = 0, len;
	ssize_t n;

	for (; nr && s->fd >= 0 && bytes < VG_STREAM_TURN_BYTES; nr--, iov++) {
		len = min_u(iov->iov_len, VG_STREAM_TURN_BYTES - bytes);
		n = read(s->fd, iov->iov_base, len);
		if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
			peer_end(s);
		if (n <= 0)
			break;
		bytes += (size_t)n;
		if ((size_t)n < len)
			break;
	}
	count_add(s->stats[VG_STREAM_READ_BYTES], bytes);
	/* What somebody who is gone has left is not announced. */
	if (bytes && !s->is_attached)
		vg_deferred_schedule(s->later);
	return bytes;
}

static bool may_wait(struct vg_stream *s)
{
	uint64_t now_ns = vg_now_ns(), left_ns;

	if (!s->wait_max_ns)
		return true;
	if (s->wait_end_ns)
		return now_ns < s->wait_end_ns;
	left_ns = min_u((now_ns - s->waited_ns) / s->wait_share,
			s->wait_max_ns);
	if (left_ns < s->wait_max_ns / s->wait_share)
		return false;
	s->wait_end_ns = now_ns + left_ns;
	return true;
}

/* What is left of the time remains. */
static void wait_end(struct vg_stream *s)
{
	if (!s->wait_end_ns)
		return;
	s->waited_ns = vg_now_ns() - s->wait_share * ns_until(s->wait_end_ns);
	s->wait_end_ns = 0;
}

/* How many bytes are done with; 0: they wait. */
static size_t put(struct vg_stream *s, const void *buf, size_t len,
		  bool is_urgent)
{
	ssize_t n = s->is_attached ? write(s->fd, buf, len) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		peer_end(s);
	else if (n <= 0 && s->is_attached && !is_urgent && may_wait(s))
		return 0;
	if (n > 0)
		len = (size_t)n;
	count_add(s->stats[n > 0 ? VG_STREAM_WRITTEN_BYTES :
				   VG_STREAM_DROPPED_BYTES], len);
	log_add(s, buf, len);
	return len;
}

bool vg_stream_put(struct vg_stream *s, struct iovec *iov, unsigned int nr,
		   bool is_urgent)
{
	size_t n, budget = VG_STREAM_TURN_BYTES;

	if (is_urgent && !s->is_attached)
		vg_stream_look(s);
	while (nr) {
		if (!iov->iov_len) {
			iov++;
			nr--;
			continue;
		}
		if (!budget) {
			vg_deferred_schedule(s->later);
			return false;
		}
		n = put(s, iov->iov_base, min_u(iov->iov_len, budget),
			is_urgent);
		if (!n)
			return false;
		budget -= n;
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= n;
	}
	if (!is_urgent)
		wait_end(s);
	return true;
}

void vg_stream_give_up(struct vg_stream *s, const struct iovec *iov,
		       unsigned int nr)
{
	for (; nr; nr--, iov++)
		count_add(s->stats[VG_STREAM_DROPPED_BYTES], iov->iov_len);
	wait_end(s);
}

/* ---- life ---------------------------------------------------------------- */

struct vg_stream *vg_stream_create(struct vg_loop *loop, int fd, bool is_socket,
				   const struct vg_stream_user *user, void *arg,
				   uint64_t *stats, unsigned int bit)
{
	struct vg_stream *s = vg_zalloc(sizeof(*s));

	s->loop = loop;
	s->user = user;
	s->arg = arg;
	s->stats = stats;
	s->mask = UINT64_C(1) << bit;
	s->fd = is_socket ? -1 : fd;
	s->listen_fd = is_socket ? fd : -1;
	s->log_fd = -1;
	s->timer = vg_timer_create(loop, on_look, s);
	s->size_timer = vg_timer_create(loop, on_size_timer, s);
	s->later = vg_deferred_create(loop, on_look, s);
	watch(s);
	return s;
}

void vg_stream_log(struct vg_stream *s, int fd, uint64_t left_bytes)
{
	s->log_fd = fd;
	s->log_left_bytes = left_bytes;
}

void vg_stream_patience(struct vg_stream *s, uint64_t max_ns,
			unsigned int share)
{
	s->wait_max_ns = max_ns;
	s->wait_share = share;
}

void vg_stream_destroy(struct vg_stream *s)
{
	if (!s)
		return;
	unwatch(s);
	vg_timer_destroy(s->timer);
	vg_timer_destroy(s->size_timer);
	vg_deferred_destroy(s->later);
	if (s->fd >= 0)
		close(s->fd);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->log_fd >= 0)
		close(s->log_fd);
	free(s);
}
