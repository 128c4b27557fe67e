// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * worker.c - the devices of one guest and their relays.
 *
 * Not trusted: the guest (device.h) and, in the relay page, the broker's
 * words: a broker has privilege over the guest, not over us.  Each of its
 * words is read once; vCPU numbers and offsets are bounded before use; one
 * event costs one pass over the slots whose bit was set.
 *
 * Answers and interrupts of one turn of the loop are told to the broker with
 * one notification per device at its end.
 *
 * Threads: see device.h.  A device with several queues has a channel for each:
 * an event channel handle of its own, so that a port's events arrive in the
 * loop of the thread that runs the queue.  What those threads use of a slot
 * (relay, port, channels) changes only while the device is frozen.
 */
#include "grantd/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "relay/page.h"
#include "virtio/state.h"

#define WINDOW_BYTES		0x200u
#define PORTS_PER_TURN_MAX	64u
#define BIND_TRIES_MAX		200u
#define RELAY_TRIES_MAX		20u	/* the supervisor tries, too */
#define WHOLE_TRIES_MAX		200u
#define REPORT_TRIES_MAX	200u
/* So long the broker may take to see what it was not told of. */
#define UNSEEN_NS		(10u * 1000u * 1000u)
/* Between two tries to attach to a relay, doubling up to the maximum. */
#define ATTACH_MIN_NS		(10u * 1000u * 1000u)
#define ATTACH_MAX_NS		(2000u * 1000u * 1000u)
/* Until a channel is waited for again that could not be. */
#define WATCH_NS		(10u * 1000u * 1000u)

int (*vg_worker_mem_create)(struct xen_gnttab *gt, xen_domid_t domid,
			    unsigned int budget_pages, uint32_t copy_max_bytes,
			    struct vg_mem **out) =
	vg_mem_pool_create;

struct slot;

/* Of one queue, if its device has several. */
struct channel {
	struct slot *s;
	unsigned int queue;
	struct xen_evtchn *ec;
	struct vg_loop *loop;		/* where its events go */
	struct vg_fd *vfd;		/* there; NULL: no port is bound */
};

struct slot {
	struct vg_worker *w;
	unsigned int index;
	bool used;
	bool removing;
	char label[VG_WORKER_TEXT_MAX];
	struct vg_device *dev;
	struct vg_state *state;		/* NULL: none is kept */
	int hold_fd;			/* its lock says that we, or the kernel
					 * for us, are here; the one of what
					 * `state' is mapped by, that we are */
	bool is_leaving, is_taking_over;
	struct vg_worker_relay where;
	struct vg_relay_page *relay;	/* NULL: none attached */
	xen_port_t port;
	struct vg_timer *attach;	/* to `where', what failed before */
	uint64_t attach_pause_ns;
	int attach_error;		/* as the supervisor knows it */
	unsigned int nr_vcpus;
	uint32_t asked;			/* by the broker, and answered */
	bool tell;			/* a notification is due */
	struct vg_ratelimit rl;
	/* Event channels to the guest, by queue; 0: none. */
	xen_port_t queue_port[VG_RELAY_QUEUES_MAX];
	struct channel *channels;	/* NULL: they come by the worker's */
	unsigned int nr_channels;
};

/* Whose event a port brings. */
struct port_owner {
	struct slot *s;			/* NULL: nobody's */
	int queue;			/* -1: the relay's */
};

struct vg_worker {
	xen_domid_t guest;
	struct vg_loop *loop;
	int sock;
	struct vg_fd *sock_fd, *ec_fd;
	void (*gone)(void *arg);
	void *gone_arg;
	struct xen_gnttab *gt;
	struct xen_evtchn *ec;
	struct vg_worker_shared *shared;
	struct vg_deferred *end_of_turn;
	struct vg_timer *unseen;	/* by a broker that said it looks */
	struct vg_timer *watch;		/* channels that are not waited for */
	struct port_owner *owners;	/* by local port */
	unsigned int nr_owners;
	/* Handles for channels, not in use. */
	struct xen_evtchn *stock[VG_WORKER_LANES_MAX];
	unsigned int nr_stock;
	struct slot slot[VG_WORKER_DEVICES_MAX];
};

/* ---- messages ----------------------------------------------------------------- */

/* Room for the descriptors of a message. */
union fd_room {
	struct cmsghdr hdr;
	char room[CMSG_SPACE(VG_WORKER_FDS_MAX * sizeof(int))];
};

int vg_worker_send(int sock, const struct vg_worker_msg *msg, const int *fds,
		   unsigned int nr_fds)
{
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	union fd_room ctl = { 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nr_fds) {
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		ctl.hdr.cmsg_level = SOL_SOCKET;
		ctl.hdr.cmsg_type = SCM_RIGHTS;
		ctl.hdr.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&ctl.hdr), fds, nr_fds * sizeof(int));
	}
	do {
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*msg) ? 0 : -EIO;
}

void vg_worker_close_fds(int fds[VG_WORKER_FDS_MAX])
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_FDS_MAX; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

int vg_worker_recv(int sock, struct vg_worker_msg *msg,
		   int fds[VG_WORKER_FDS_MAX])
{
	struct iovec iov = { msg, sizeof(*msg) };
	union fd_room ctl;
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &ctl, .msg_controllen = sizeof(ctl),
	};
	struct cmsghdr *c;
	unsigned int i;
	ssize_t n;

	for (i = 0; i < VG_WORKER_FDS_MAX; i++)
		fds[i] = -1;
	do {
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/*
		 * ECONNRESET: the peer ended without reading all.  It is said
		 * once, before what the peer had sent.
		 */
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len >= CMSG_LEN(0) && c->cmsg_len <= sizeof(ctl))
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(*msg) ||
	    mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    msg->slot >= VG_WORKER_DEVICES_MAX) {
		vg_worker_close_fds(fds);
		return -EPROTO;
	}
	msg->text[sizeof(msg->text) - 1] = 0;
	return 1;
}

void vg_worker_stats(const struct vg_worker_shared *shared, unsigned int slot,
		     struct vg_dev_stats *out)
{
	unsigned int i;

	*out = shared->dev[slot];
	for (i = 0; i < VG_WORKER_QUEUES_MAX; i++)
		vg_dev_stats_add(out, &shared->queue[slot][i]);
}

/* A sleep: a confined worker has no other.  Close *@epfd, at first -1. */
static void nap(int *epfd)
{
	struct epoll_event none;

	if (*epfd < 0)
		*epfd = epoll_create1(EPOLL_CLOEXEC);
	epoll_pwait(*epfd, &none, 1, 1, NULL);
}

/*
 * There are fewer answers under way than a socket holds, since the supervisor
 * asks for the next thing only when it has the last answer: what fails is the
 * kernel's want of memory, and one that is not heard is ended.
 */
static void report(struct slot *s, enum vg_worker_op op, int error,
		   const char *text)
{
	struct vg_worker_msg msg = { .op = op, .slot = s->index,
				     .error = error };
	size_t len = min_u(strlen(text), sizeof(msg.text) - 1);
	unsigned int tries = REPORT_TRIES_MAX;
	int err, epfd = -1;

	memcpy(msg.text, text, len);
	while ((err = vg_worker_send(s->w->sock, &msg, NULL, 0)) &&
	       vg_error_passes(err) && --tries)
		nap(&epfd);
	if (epfd >= 0)
		close(epfd);
	if (err)
		vg_debug("%s: the supervisor can't be told", s->label);
}

/* ---- what a device asks of us (struct vg_host_ops) ------------------------------ */

static void tell_broker(struct slot *s)
{
	s->tell = true;
	vg_deferred_schedule(s->w->end_of_turn);
}

/*
 * What is set in the page is there: will it be seen?  For the main thread.
 */
static void notify_broker(struct slot *s)
{
	/*
	 * Our bits are out before we ask whether the broker looks at them.
	 * Partner: look_on() in broker_guest.c, which stops looking.
	 */
	smp_mb();
	if (!READ_ONCE(s->relay->broker_looks))
		xen_evtchn_notify(s->w->ec, s->port);
	else if (!vg_timer_is_armed(s->w->unseen))
		vg_timer_arm(s->w->unseen, UNSEEN_NS);
}

/* Others of our domain can write that it looks; or it died while it did. */
static void unseen_due(void *arg)
{
	struct vg_worker *w = arg;
	unsigned int i, k;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		struct slot *s = &w->slot[i];
		uint32_t bits = 0;

		if (!s->used || !s->relay)
			continue;
		for (k = 0; k < ARRAY_SIZE(s->relay->answered); k++)
			bits |= READ_ONCE(s->relay->answered[k]);
		if (bits || READ_ONCE(s->relay->irq))
			xen_evtchn_notify(w->ec, s->port);
	}
}

static void relay_reply(void *host, unsigned int vcpu, uint32_t seq,
			uint32_t data)
{
	struct slot *s = host;
	struct vg_relay_slot *rs;

	if (!s->relay || vcpu >= s->nr_vcpus)
		return;		/* its broker is gone, and so is who waits */
	rs = &s->relay->slot[vcpu];
	vg_step();
	WRITE_ONCE(rs->rsp_data, data);
	/* Data before seq; partner: take_answer() in broker_guest.c. */
	store_release(&rs->rsp_seq, seq);
	vg_step();
	__atomic_fetch_or(&s->relay->answered[vcpu / 32], 1u << (vcpu % 32),
			  __ATOMIC_RELEASE);
	tell_broker(s);
}

/* False: there is no broker whom to tell. */
static bool set_irq(struct slot *s, uint32_t bits)
{
	if (!s->relay)
		return false;
	/*
	 * Release: used entries before the bit; partner: the exchange in
	 * backend_event() of broker_guest.c.
	 */
	vg_step();
	__atomic_fetch_or(&s->relay->irq, bits, __ATOMIC_RELEASE);
	vg_step();
	return true;
}

static void relay_raise_irq(void *host, uint32_t bits)
{
	if (set_irq(host, bits))
		tell_broker(host);
}

/* From any thread: the relay changes only while the device is frozen. */
static void relay_raise_irq_now(void *host, uint32_t bits)
{
	struct slot *s = host;

	if (set_irq(s, bits))
		xen_evtchn_notify(s->w->ec, s->port);
}

/* ---- channels -------------------------------------------------------------------- */

int vg_worker_stock(struct vg_worker *w, unsigned int n)
{
	while (w->nr_stock < min_u(n, VG_WORKER_LANES_MAX)) {
		int err = xen_evtchn_open(&w->stock[w->nr_stock]);

		if (err)
			return err;
		w->nr_stock++;
	}
	return 0;
}

static void channel_put(struct vg_worker *w, struct xen_evtchn *ec)
{
	if (w->nr_stock < VG_WORKER_LANES_MAX)
		w->stock[w->nr_stock++] = ec;
	else
		xen_evtchn_close(ec);
}

static void channels_free(struct slot *s)
{
	while (s->nr_channels)
		channel_put(s->w, s->channels[--s->nr_channels].ec);
	free(s->channels);
	s->channels = NULL;
}

/* False: the queues have to do without. */
static bool channels_create(struct slot *s, unsigned int n)
{
	unsigned int i;

	if (n < 2)
		return false;
	/* What is missing; fails if the worker can open nothing any more. */
	if (n > VG_WORKER_LANES_MAX || vg_worker_stock(s->w, n)) {
		vg_warn("%s: no threads for its queues: the guest has too many",
			s->label);
		return false;
	}
	s->channels = vg_calloc(n, sizeof(*s->channels));
	for (i = 0; i < n; i++)
		s->channels[i] = (struct channel){
			.s = s, .queue = i, .loop = s->w->loop,
			.ec = s->w->stock[--s->w->nr_stock],
		};
	s->nr_channels = n;
	return true;
}

/* In the thread that runs the queue. */
static void on_channel(void *arg)
{
	struct channel *c = arg;
	xen_port_t port;

	/* One port at the most: were there more, we would be called again. */
	if (!xen_evtchn_pending_all(c->ec, &port, 1))
		return;
	xen_evtchn_unmask_all(c->ec, &port, 1);
	vg_device_event(c->s->dev, c->queue);
}

static void channel_unwatch(struct channel *c)
{
	if (c->vfd)
		vg_loop_del_fd(c->loop, c->vfd);
	c->vfd = NULL;
}

static int channel_watch(struct channel *c)
{
	return vg_loop_add_fd(c->loop, xen_evtchn_fd(c->ec), on_channel, c,
			      &c->vfd);
}

/* ---- ports ----------------------------------------------------------------------- */

static void own_port(struct vg_worker *w, xen_port_t port, struct slot *s,
		     int queue)
{
	if (port >= w->nr_owners) {
		unsigned int n = max_u(port + 1, w->nr_owners * 2);
		struct port_owner *o = vg_calloc(n, sizeof(*o));

		if (w->nr_owners)
			memcpy(o, w->owners, w->nr_owners * sizeof(*o));
		free(w->owners);
		w->owners = o;
		w->nr_owners = n;
	}
	w->owners[port] = (struct port_owner){ s, queue };
}

static void release_port(struct vg_worker *w, xen_port_t port)
{
	w->owners[port] = (struct port_owner){ 0 };
	xen_evtchn_unbind(w->ec, port);
}

/*
 * A predecessor's ports are closed when it is gone, its state file may have
 * been a moment before.
 */
static int bind_patiently(struct slot *s, struct xen_evtchn *ec,
			  xen_domid_t domid, xen_port_t remote,
			  xen_port_t *port, unsigned int tries)
{
	int err, epfd = -1;

	if (!s->is_taking_over)
		tries = 1;

	for (;;) {
		err = xen_evtchn_bind_interdomain(ec, domid, remote, port);
		if (err != -EINVAL || !--tries)
			break;
		nap(&epfd);
	}
	if (epfd >= 0)
		close(epfd);
	return err;
}

static struct xen_evtchn *queue_ec(struct slot *s, unsigned int queue)
{
	return s->channels ? s->channels[queue].ec : s->w->ec;
}

static int queue_bind(void *host, unsigned int queue, xen_port_t remote)
{
	struct slot *s = host;
	struct xen_evtchn *ec;
	xen_port_t port;
	int err;

	if (queue >= VG_RELAY_QUEUES_MAX)
		return -EINVAL;
	ec = queue_ec(s, queue);
	err = bind_patiently(s, ec, s->w->guest, remote, &port,
			     BIND_TRIES_MAX);
	if (err)
		return err;
	if (s->channels)
		err = channel_watch(&s->channels[queue]);
	else
		own_port(s->w, port, s, (int)queue);
	if (err) {
		xen_evtchn_unbind(ec, port);
		return err;
	}
	s->queue_port[queue] = port;
	/* As the contract has it: so that the driver finds the channel alive. */
	xen_evtchn_notify(ec, port);
	return 0;
}

static void queue_unbind(void *host, unsigned int queue)
{
	struct slot *s = host;

	if (s->channels) {
		channel_unwatch(&s->channels[queue]);
		xen_evtchn_unbind(s->channels[queue].ec, s->queue_port[queue]);
	} else {
		release_port(s->w, s->queue_port[queue]);
	}
	s->queue_port[queue] = 0;
}

static void queue_notify(void *host, unsigned int queue)
{
	struct slot *s = host;

	vg_step();
	/* Fails when the guest closed its end: then nobody listens. */
	xen_evtchn_notify(queue_ec(s, queue), s->queue_port[queue]);
}

static void queue_move(void *host, unsigned int queue, struct vg_loop *loop)
{
	struct slot *s = host;
	struct channel *c = &s->channels[queue];
	bool is_bound = s->queue_port[queue];

	channel_unwatch(c);
	c->loop = loop;
	if (is_bound && channel_watch(c)) {
		vg_err("%s: queue %u: its events can't be waited for now",
		       s->label, queue);
		vg_timer_arm(s->w->watch, WATCH_NS);
	}
}

/* False: one can't be waited for, still. */
static bool channels_rewatch(struct slot *s)
{
	bool all = true;
	unsigned int i;

	vg_device_freeze(s->dev);
	for (i = 0; i < s->nr_channels; i++) {
		struct channel *c = &s->channels[i];

		if (!s->queue_port[i] || c->vfd)
			continue;
		/* What came meanwhile is pending in it, and comes now. */
		if (channel_watch(c))
			all = false;
	}
	vg_device_thaw(s->dev);
	return all;
}

static void watch_due(void *arg)
{
	struct vg_worker *w = arg;
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		if (w->slot[i].used && !channels_rewatch(&w->slot[i]))
			vg_timer_arm(w->watch, WATCH_NS);
}

static void relay_detach(struct slot *s)
{
	struct vg_worker *w = s->w;
	int err;

	if (!s->relay)
		return;
	store_release(&s->relay->backend_state,
		      s->is_leaving ? VG_RELAY_BACKEND_RESTARTING :
				      VG_RELAY_BACKEND_GONE);
	xen_evtchn_notify(w->ec, s->port);
	release_port(w, s->port);
	err = xen_gnttab_unmap(w->gt, s->relay, 1);
	if (err)
		vg_err("%s: unmapping the relay page: %s", s->label,
		       strerror(-err));
	s->relay = NULL;
}

static void close_state(struct slot *s)
{
	vg_state_unmap(s->state);
	s->state = NULL;
	if (s->hold_fd >= 0)
		close(s->hold_fd);
	s->hold_fd = -1;
}

static void slot_free(struct slot *s)
{
	vg_device_destroy(s->dev);
	s->dev = NULL;
	channels_free(s);
	relay_detach(s);
	close_state(s);
	vg_timer_cancel(s->attach);
	s->used = false;
	s->removing = false;
}

static void device_stopped(void *host)
{
	struct slot *s = host;

	/* From within the device's own code: it is destroyed at turn's end. */
	s->removing = true;
	vg_deferred_schedule(s->w->end_of_turn);
}

static void device_worked(void *host)
{
	struct slot *s = host;

	vg_deferred_schedule(s->w->end_of_turn);
}

static const struct vg_host_ops host_ops = {
	.reply = relay_reply,
	.raise_irq = relay_raise_irq,
	.raise_irq_now = relay_raise_irq_now,
	.bind_queue = queue_bind,
	.unbind_queue = queue_unbind,
	.notify_queue = queue_notify,
	.move_queue = queue_move,
	.worked = device_worked,
	.stopped = device_stopped,
};

static void on_end_of_turn(void *arg)
{
	struct vg_worker *w = arg;
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		struct slot *s = &w->slot[i];

		if (!s->used)
			continue;
		vg_step();
		if (s->tell && s->relay)
			notify_broker(s);
		s->tell = false;
		w->shared->dev[i] = *vg_device_own_stats(s->dev);
		if (s->removing) {
			slot_free(s);
			report(s, VG_WORKER_REMOVED, 0, "");
		}
	}
}

/* ---- from the broker ------------------------------------------------------------- */

static void relay_take(struct slot *s, unsigned int vcpu)
{
	struct vg_relay_slot *rs = &s->relay->slot[vcpu];
	struct vg_reg_access acc = { .vcpu = vcpu };
	uint32_t op;

	/* Partner: the release in forward() of broker_guest.c. */
	acc.seq = load_acquire(&rs->seq);
	op = READ_ONCE(rs->op);
	acc.data = READ_ONCE(rs->data);
	acc.offset = VG_RELAY_OP_OFFSET(op);
	acc.len_bytes = VG_RELAY_OP_LEN(op);
	acc.is_write = VG_RELAY_OP_IS_WRITE(op);
	if ((acc.len_bytes != 1 && acc.len_bytes != 2 && acc.len_bytes != 4) ||
	    acc.offset % acc.len_bytes ||
	    acc.offset + acc.len_bytes > WINDOW_BYTES) {
		if (vg_ratelimit_ok(&s->rl))
			vg_err("%s: the broker relays an impossible access (0x%x), answered with all ones",
			       s->label, op);
		relay_reply(s, vcpu, acc.seq, UINT32_MAX);
		return;
	}
	vg_device_access(s->dev, &acc);
}

/*
 * Says that we are here, and not who was before: what that one took, is asked
 * again.
 */
static void relay_announce(struct slot *s)
{
	struct vg_relay_page *relay = s->relay;

	WRITE_ONCE(relay->backend_session,
		   READ_ONCE(relay->backend_session) + 1);
	/* Session before state; partner: backend_event() of broker_guest.c. */
	store_release(&relay->backend_state, VG_RELAY_BACKEND_READY);
}

/*
 * Whatever has been written there since we did: our domain's other processes
 * are no friends.  The broker knows when it wants to know again.
 */
static void relay_correct(struct slot *s)
{
	/* Partner: the release in ask_backend() of broker_guest.c. */
	uint32_t asked = load_acquire(&s->relay->asked);

	if (asked == s->asked &&
	    READ_ONCE(s->relay->backend_state) == VG_RELAY_BACKEND_READY)
		return;
	s->asked = asked;
	relay_announce(s);
	/* In any case: whoever looks for answers does not look for this. */
	xen_evtchn_notify(s->w->ec, s->port);
}

static void relay_event(struct slot *s)
{
	struct vg_relay_page *relay = s->relay;
	unsigned int i, v, q;
	uint32_t bits;

	relay_correct(s);
	for (i = 0; i < ARRAY_SIZE(relay->pending); i++) {
		bits = __atomic_exchange_n(&relay->pending[i], 0,
					   __ATOMIC_ACQUIRE);
		vg_step();
		for (; bits; bits &= bits - 1) {
			v = i * 32 + (unsigned int)__builtin_ctz(bits);
			if (v < s->nr_vcpus)
				relay_take(s, v);
		}
	}
	for (i = 0; i < ARRAY_SIZE(relay->notify); i++) {
		bits = __atomic_exchange_n(&relay->notify[i], 0,
					   __ATOMIC_ACQUIRE);
		vg_step();
		for (; bits; bits &= bits - 1) {
			q = i * 32 + (unsigned int)__builtin_ctz(bits);
			vg_device_notify(s->dev, q);
		}
	}
	vg_deferred_schedule(s->w->end_of_turn);
}

static void queue_event(struct slot *s, unsigned int queue)
{
	vg_device_event(s->dev, queue);
	vg_deferred_schedule(s->w->end_of_turn);
}

static void on_evtchn(void *arg)
{
	xen_port_t ports[PORTS_PER_TURN_MAX];
	struct vg_worker *w = arg;
	unsigned int i, n;

	n = xen_evtchn_pending_all(w->ec, ports, PORTS_PER_TURN_MAX);
	/* Unmask first: what comes from here on makes a new event. */
	xen_evtchn_unmask_all(w->ec, ports, n);
	for (i = 0; i < n; i++) {
		struct port_owner o = { 0 };

		/* What came before it may have changed whose it is. */
		if (ports[i] < w->nr_owners)
			o = w->owners[ports[i]];
		if (!o.s)
			continue;
		if (o.queue < 0)
			relay_event(o.s);
		else
			queue_event(o.s, (unsigned int)o.queue);
	}
}

static bool relay_is_whole(struct slot *s, const struct vg_relay_page *relay)
{
	/* Partner: the release in write_own_words() of broker_guest.c. */
	uint32_t magic = load_acquire(&relay->magic);
	uint32_t version = READ_ONCE(relay->version);

	s->nr_vcpus = READ_ONCE(relay->nr_vcpus);
	return magic == VG_RELAY_MAGIC && version == VG_RELAY_VERSION &&
	       s->nr_vcpus <= VG_RELAY_VCPUS_MAX;
}

/* The broker mends what is its own when it gets an event. */
static bool relay_becomes_whole(struct slot *s,
				const struct vg_relay_page *relay)
{
	unsigned int tries = WHOLE_TRIES_MAX;
	int epfd = -1;

	while (!relay_is_whole(s, relay) && --tries) {
		if (epfd < 0)
			xen_evtchn_notify(s->w->ec, s->port);
		nap(&epfd);
	}
	if (epfd >= 0)
		close(epfd);
	return tries;
}

/*
 * A relay's page and port, which needs no device yet.  Nothing is written
 * there, or kept, if it fails.
 */
static int relay_open(struct slot *s, const struct vg_worker_relay *where,
		      struct vg_relay_page **relay, const char **why)
{
	struct vg_worker *w = s->w;
	void *va;
	int err;

	*why = "mapping the relay page";
	err = xen_gnttab_map(w->gt, where->domid, &where->ref, 1,
			     PROT_READ | PROT_WRITE, &va);
	if (err)
		return err;
	*why = "binding the relay's event channel";
	err = bind_patiently(s, w->ec, where->domid, where->port, &s->port,
			     RELAY_TRIES_MAX);
	if (err)
		goto unmap;
	own_port(w, s->port, s, -1);
	*why = "the relay page is none of this version";
	err = -EPROTO;
	if (!relay_becomes_whole(s, va))
		goto unbind;
	*relay = va;
	return 0;
unbind:
	release_port(w, s->port);
unmap:
	xen_gnttab_unmap(w->gt, va, 1);
	return err;
}

/* Opened, but not used. */
static void relay_close(struct slot *s, struct vg_relay_page *relay)
{
	release_port(s->w, s->port);
	xen_gnttab_unmap(s->w->gt, relay, 1);
}

/* From here on the device is served over it. */
static void relay_use(struct slot *s, const struct vg_worker_relay *where,
		      struct vg_relay_page *relay)
{
	s->relay = relay;
	s->where = *where;
	vg_device_set_relay(s->dev, &(struct vg_state_relay){
		.domid = where->domid, .ref = where->ref, .port = where->port,
	});
	s->asked = READ_ONCE(relay->asked);
	relay_announce(s);
}

/* What was asked before we attached, or of a predecessor. */
static void relay_catch_up(struct slot *s)
{
	relay_event(s);
	/* A notification may have been in a relay page that is gone. */
	vg_device_resume(s->dev);
	/* In any case, as above. */
	xen_evtchn_notify(s->w->ec, s->port);
}

/* ---- from the supervisor ----------------------------------------------------------- */

static void close_images(const struct vg_blk_params *blk)
{
	close(blk->fd);
	if (blk->buffered_fd > 0)
		close(blk->buffered_fd);
}

/*
 * A driver that knew the image as larger or smaller reads again.  Told twice,
 * if we are killed in between, it is told what it knows.
 */
static void tell_size(struct slot *s, uint64_t size_bytes)
{
	if (!s->state)
		return;
	if (s->is_taking_over && s->state->image_bytes != size_bytes)
		vg_device_config_changed(s->dev);
	vg_step();
	WRITE_ONCE(s->state->image_bytes, size_bytes);
}

/*
 * The mapping has the file open from now on, and its lock; nothing else has, so
 * that whoever takes this process over can't make the file grow.
 */
static int state_take(struct slot *s, int fd)
{
	int err = vg_state_map(fd, &s->state);

	close(fd);
	return err;
}

/* What is behind the device: fds[] are its own, or closed. */
static int device_create(struct slot *s, const struct vg_worker_msg *msg,
			 int fds[VG_WORKER_FDS_MAX], const char **why)
{
	struct vg_worker *w = s->w;
	struct vg_blk_params blk = msg->blk;
	struct vg_device_params p = {
		.guest = w->guest,
		.label = s->label,
		.type = &vg_dev_blk,
		.type_params = &blk,
		.queue_size_max = msg->queue_size_max,
		.poll_max_ns = msg->poll_max_ns,
		.poll_mmio_max_ns = msg->poll_mmio_max_ns,
		.queue_stats = w->shared->queue[msg->slot],
		.start = msg->start,
		.start_broken = msg->start_broken,
		.is_held = msg->is_held,
	};
	struct vg_mem *mem;
	int err;

	blk.fd = fds[0];
	blk.buffered_fd = fds[3];
	blk.hold_fd = s->hold_fd = fds[2];
	*why = "what outlives the worker";
	err = fds[1] >= 0 ? state_take(s, fds[1]) : 0;
	if (err)
		goto fail;
	p.state = s->state;
	*why = "guest memory";
	err = vg_worker_mem_create(w->gt, w->guest, msg->budget_pages,
				   msg->copy_max_bytes, &mem);
	if (err)
		goto fail;
	*why = "device";
	p.may_thread = channels_create(s, blk.nr_queues);
	err = vg_device_create(&p, mem, w->loop, &host_ops, s, &s->dev);
	if (!err)
		return 0;
	if (err == -EMFILE)
		*why = "device: no io_uring is left for its queues";
	channels_free(s);
	close_state(s);
	return err;
fail:
	close_images(&blk);
	close_state(s);
	return err;
}

/*
 * Takes fds[]: what is not used is closed.  The relay comes first, since it is
 * what can fail; a device that took over its state has to go on with it.
 */
static void add_device(struct vg_worker *w, const struct vg_worker_msg *msg,
		       int fds[VG_WORKER_FDS_MAX])
{
	struct slot *s = &w->slot[msg->slot];
	char text[VG_WORKER_TEXT_MAX];
	struct vg_relay_page *relay;
	const char *why;
	int err;

	if (s->used || fds[0] < 0) {
		report(s, VG_WORKER_ADDED, -EINVAL, "supervisor's mistake");
		vg_worker_close_fds(fds);
		return;
	}
	memcpy(s->label, msg->text, sizeof(s->label));
	memset(w->shared->queue[s->index], 0, sizeof(w->shared->queue[0]));
	s->rl.burst = 3;
	s->is_taking_over = msg->start == VG_START_TAKE_OVER;
	s->attach_error = 0;
	err = relay_open(s, &msg->relay, &relay, &why);
	if (err) {
		vg_worker_close_fds(fds);
		goto fail;
	}
	err = device_create(s, msg, fds, &why);
	if (err) {
		relay_close(s, relay);
		goto fail;
	}
	s->used = true;
	relay_use(s, &msg->relay, relay);
	tell_size(s, msg->blk.image.size_bytes);
	vg_step();
	report(s, VG_WORKER_ADDED, 0, "");
	vg_step();
	relay_catch_up(s);
	s->is_taking_over = false;
	return;
fail:
	snprintf(text, sizeof(text), "%s: %s", why, strerror(-err));
	report(s, VG_WORKER_ADDED, err, text);
}

/* As s->where has it.  Until it works, and the supervisor knows which. */
static void relay_attach(struct slot *s)
{
	char text[VG_WORKER_TEXT_MAX] = "";
	struct vg_relay_page *relay;
	const char *why;
	int err;

	err = relay_open(s, &s->where, &relay, &why);
	if (err) {
		snprintf(text, sizeof(text), "new relay: %s: %s", why,
			 strerror(-err));
		if (err != s->attach_error)
			vg_err("%s: %s; going on trying", s->label, text);
		vg_timer_arm(s->attach, s->attach_pause_ns);
		s->attach_pause_ns = min_u(s->attach_pause_ns * 2,
					   ATTACH_MAX_NS);
	} else {
		vg_device_freeze(s->dev);
		relay_use(s, &s->where, relay);
		vg_device_thaw(s->dev);
		vg_info("%s: attached to a new broker", s->label);
	}
	if (!err || err != s->attach_error)
		report(s, VG_WORKER_ATTACHED, err, text);
	s->attach_error = err;
	if (!err)
		relay_catch_up(s);
}

static void attach_due(void *arg)
{
	relay_attach(arg);
}

static void change_relay(struct vg_worker *w, const struct vg_worker_msg *msg)
{
	struct slot *s = &w->slot[msg->slot];

	if (!s->used)
		return;
	vg_device_freeze(s->dev);
	relay_detach(s);
	vg_device_thaw(s->dev);
	s->where = msg->relay;
	s->attach_error = 0;
	s->attach_pause_ns = ATTACH_MIN_NS;
	relay_attach(s);
}

static void on_supervisor(void *arg)
{
	struct vg_worker *w = arg;
	struct vg_worker_msg msg;
	int fds[VG_WORKER_FDS_MAX], n;

	n = vg_worker_recv(w->sock, &msg, fds);
	if (vg_error_passes(n))
		return;			/* it is there still */
	if (n <= 0) {
		vg_loop_del_fd(w->loop, w->sock_fd);
		w->sock_fd = NULL;
		w->gone(w->gone_arg);
		return;
	}
	WRITE_ONCE(w->shared->has_begun, 1);
	switch (msg.op) {
	case VG_WORKER_ADD:
		add_device(w, &msg, fds);
		return;
	case VG_WORKER_RELAY:
		change_relay(w, &msg);
		break;
	case VG_WORKER_REMOVE:
		if (w->slot[msg.slot].used)
			vg_device_stop(w->slot[msg.slot].dev);
		break;
	case VG_WORKER_RELEASE:
		if (w->slot[msg.slot].used)
			vg_device_release(w->slot[msg.slot].dev);
		vg_deferred_schedule(w->end_of_turn);
		break;
	}
	vg_worker_close_fds(fds);
}

/* ---- life ---------------------------------------------------------------------------- */

int vg_worker_create(xen_domid_t guest, struct vg_loop *loop, int sock,
		     struct vg_worker_shared *shared, void (*gone)(void *arg),
		     void *arg, struct vg_worker **out)
{
	struct vg_worker *w = vg_zalloc(sizeof(*w));
	unsigned int i;
	int err;

	w->guest = guest;
	w->loop = loop;
	w->sock = sock;
	w->shared = shared;
	w->gone = gone;
	w->gone_arg = arg;
	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		w->slot[i].w = w;
		w->slot[i].hold_fd = -1;
		w->slot[i].index = i;
		w->slot[i].attach = vg_timer_create(loop, attach_due,
						    &w->slot[i]);
	}
	w->end_of_turn = vg_deferred_create(loop, on_end_of_turn, w);
	w->unseen = vg_timer_create(loop, unseen_due, w);
	w->watch = vg_timer_create(loop, watch_due, w);
	err = xen_gnttab_open(&w->gt);
	if (err) {
		vg_err("/dev/xen/gntdev: %s (is the module xen-gntdev loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = xen_evtchn_open(&w->ec);
	if (err) {
		vg_err("/dev/xen/evtchn: %s (is the module xen-evtchn loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = vg_loop_add_fd(loop, xen_evtchn_fd(w->ec), on_evtchn, w,
			     &w->ec_fd);
	if (!err)
		err = vg_loop_add_fd(loop, sock, on_supervisor, w, &w->sock_fd);
	if (err)
		goto fail;
	*out = w;
	return 0;
fail:
	vg_worker_destroy(w);
	return err;
}

static bool any_used(const struct vg_worker *w)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		if (w->slot[i].used)
			return true;
	return false;
}

void vg_worker_freeze(struct vg_worker *w)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		if (w->slot[i].used)
			vg_device_freeze(w->slot[i].dev);
}

void vg_worker_destroy(struct vg_worker *w)
{
	unsigned int i;

	if (w->sock_fd)
		vg_loop_del_fd(w->loop, w->sock_fd);
	w->sock_fd = NULL;
	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		if (!w->slot[i].used)
			continue;
		w->slot[i].is_leaving = w->slot[i].state;
		vg_device_leave(w->slot[i].dev);
	}
	while (any_used(w) && vg_loop_run_once(w->loop, -1) >= 0)
		;
	if (w->ec_fd)
		vg_loop_del_fd(w->loop, w->ec_fd);
	vg_timer_destroy(w->unseen);
	vg_timer_destroy(w->watch);
	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++)
		vg_timer_destroy(w->slot[i].attach);
	vg_deferred_destroy(w->end_of_turn);
	while (w->nr_stock)
		xen_evtchn_close(w->stock[--w->nr_stock]);
	xen_evtchn_close(w->ec);
	xen_gnttab_close(w->gt);
	free(w->owners);
	free(w);
}
