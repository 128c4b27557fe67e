// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * console.c - the virtio console device (virtio 1.3, 5.3) in the worker: its
 * configuration space, control messages and state.  The bytes are port.c's.
 *
 * Not trusted: the guest.  A control message is copied before it is looked at,
 * and what is pending towards the guest is a bit per port and kind: however
 * often it asks, there is no more to be sent than that.
 *
 * Requests.  All queues are pulled from: input and messages to the guest, when
 * there are some; output, while none of that port waits for its reader; the
 * guest's messages, always.  What a predecessor had begun is begun again, in
 * all queues: output may be written twice then, but not be lost; a receive
 * buffer is filled with what comes next, since one without a byte is the end of
 * the stream to Linux, or an old message.
 *
 * State.  What a message of the guest changed is saved before the message is
 * shown as used; that one to the guest was sent, after it was.  So one who is
 * killed in between has it done twice, which changes nothing.
 */
#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/virtio_console.h>

#include "dev/console/port.h"
#include "lib/util.h"
#include "virtio/state.h"

#define BIT(n)			(1u << (n))
#define SIZE_NS			(UINT64_C(1000) * 1000 * 1000)
/* Linux splices a whole pipe at once, of 256 pages at the most by default. */
#define TX_SEGS_MAX		256u
#define SEGS_MAX		16u
/* Linux fills them with a page for each entry, of each port. */
#define RX_SIZE_MAX		32u
#define QUEUE_CONTROL		2u	/* to the guest; from it: the next */

static const char *const stat_names[] = {
	"tx_bytes", "rx_bytes", "dropped_bytes", "emergency_bytes",
	"control_messages", "bad_messages", "opens", "attaches", "resizes",
	"log_bytes", "log_lost_bytes", "attached_mask", "open_mask", NULL,
};

_Static_assert(VG_CON_STAT_NR <= VG_DEV_STATS_NR_TYPE, "counters");
_Static_assert(ARRAY_SIZE(stat_names) == VG_CON_STAT_NR + 1, "names");

/* ---- messages to the guest ----------------------------------------------- */

struct message {
	struct virtio_console_control c;
	union {
		struct {
			uint16_t cols, rows;
		} size;
		char name[VG_CON_NAME_MAX];
	};
};

static bool host_is_open(const struct vg_con_port *p)
{
	return !p->index || p->has_peer;
}

static size_t message_build(const struct vg_con_port *p, enum vg_con_msg what,
			    struct message *m)
{
	static const uint16_t event[] = {
		VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
		VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_RESIZE,
		VIRTIO_CONSOLE_PORT_OPEN,
	};
	const char *name = p->con->parts.name[p->index];
	uint16_t value = what == VG_CON_MSG_OPEN ? host_is_open(p) : 1;

	m->c.id = htole32(p->index);
	m->c.event = htole16(event[what]);
	m->c.value = htole16(value);
	if (what == VG_CON_MSG_NAME) {
		memcpy(m->name, name, strlen(name));
		return sizeof(m->c) + strlen(name);
	}
	if (what != VG_CON_MSG_RESIZE)
		return sizeof(m->c);
	/* In Linux before 2025 the other way round. */
	m->size.cols = htole16(p->con->cols);
	m->size.rows = htole16(p->con->rows);
	return sizeof(m->c) + sizeof(m->size);
}

static size_t copy_in(const struct vg_req *req, const void *from, size_t bytes)
{
	const uint8_t *p = from;
	unsigned int i;

	if (bytes > req->in_bytes)
		return 0;
	for (i = req->nr_out; bytes; i++) {
		size_t n = min_u(bytes, req->iov[i].iov_len);

		memcpy(req->iov[i].iov_base, p, n);
		p += n;
		bytes -= n;
	}
	return (size_t)(p - (const uint8_t *)from);
}

/* Into the buffer that there is.  One that is too small is of no use. */
static void message_send(struct vg_con_port *p, enum vg_con_msg what)
{
	struct vg_con *con = p->con;
	struct vg_req *req = con->control;
	struct message m;
	size_t n = copy_in(req, &m, message_build(p, what, &m));

	con->control = NULL;
	if (n) {
		p->pending &= (uint8_t)~BIT(what);
		p->unshown |= (uint8_t)BIT(what);
		p->is_added |= what == VG_CON_MSG_ADD;
		if (what == VG_CON_MSG_OPEN)
			p->told_open = host_is_open(p);
	} else {
		count_add(con->stats[VG_CON_BAD_MESSAGES], 1);
	}
	vg_req_complete(req, (uint32_t)n);
	/* In this order: the queue's turn, which shows it, comes first. */
	vg_deferred_schedule(con->shown);
}

/* What is pending, as far as there are buffers; or asks for one. */
static void messages_send(struct vg_con *con)
{
	unsigned int i;

	for (i = 0; i < con->parts.nr_ports; i++) {
		struct vg_con_port *p = &con->port[i];

		while (con->control && p->pending)
			message_send(p, (enum vg_con_msg)
					__builtin_ctz(p->pending));
		if (!p->pending || con->control_asked)
			continue;
		con->control_asked = true;
		vg_queue_want(con->dev, QUEUE_CONTROL, 1);
	}
}

static void post(struct vg_con_port *p, uint8_t what)
{
	p->pending |= what;
	messages_send(p->con);
}

static void on_shown(void *arg)
{
	struct vg_con *con = arg;
	unsigned int i;

	for (i = 0; i < con->parts.nr_ports; i++)
		con->port[i].unshown = 0;
	vg_device_save(con->dev);
}

/* ---- size ---------------------------------------------------------------- */

static void on_size_timer(void *arg)
{
	struct vg_con *con = arg;
	struct vg_con_port *p = &con->port[0];
	struct winsize ws;

	if (!p->has_peer || con->parts.is_socket)
		return;
	vg_timer_arm(con->size_timer, SIZE_NS);
	if (ioctl(p->fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_col || !ws.ws_row ||
	    (ws.ws_col == con->cols && ws.ws_row == con->rows))
		return;
	con->cols = ws.ws_col;
	con->rows = ws.ws_row;
	count_add(con->stats[VG_CON_RESIZES], 1);
	if (p->is_ready)
		post(p, BIT(VG_CON_MSG_RESIZE));
	vg_device_config_changed(con->dev);
	vg_device_save(con->dev);
}

void vg_con_peer_changed(struct vg_con_port *p)
{
	if (!p->index) {
		on_size_timer(p->con);
	} else if (p->is_ready && p->told_open != p->has_peer) {
		post(p, BIT(VG_CON_MSG_OPEN));
		vg_device_save(p->con->dev);
	}
}

/* ---- messages of the guest ----------------------------------------------- */

static void port_set_open(struct vg_con_port *p, bool is_opened)
{
	uint64_t bit = UINT64_C(1) << p->index;

	if (p->is_opened == is_opened)
		return;
	p->is_opened = is_opened;
	count_add(p->con->stats[VG_CON_OPENS], is_opened);
	count_add(p->con->stats[VG_CON_OPEN], is_opened ? bit : -bit);
}

static void ports_announce(struct vg_con *con, bool is_wanted)
{
	unsigned int i;

	for (i = 0; i < con->parts.nr_ports; i++) {
		con->port[i].pending = 0;
		/* 5.3.6.2.1: none that there is. */
		if (is_wanted && !con->port[i].is_added)
			post(&con->port[i], BIT(VG_CON_MSG_ADD));
	}
}

static void port_ready(struct vg_con_port *p, bool is_ready)
{
	p->is_ready = p->is_added = is_ready;
	p->pending = 0;
	if (!is_ready)
		return;
	if (!p->index)
		p->pending = BIT(VG_CON_MSG_CONSOLE) |
			     (p->con->cols ? BIT(VG_CON_MSG_RESIZE) : 0);
	post(p, BIT(VG_CON_MSG_NAME) | BIT(VG_CON_MSG_OPEN));
}

/* False: it is none that we know. */
static bool message_take(struct vg_con *con, const struct vg_req *req)
{
	struct virtio_console_control c;
	struct vg_con_port *p;
	size_t at = 0;
	unsigned int i;

	for (i = 0; i < req->nr_out && at < sizeof(c); i++) {
		size_t n = min_u(sizeof(c) - at, req->iov[i].iov_len);

		memcpy((uint8_t *)&c + at, req->iov[i].iov_base, n);
		at += n;
	}
	if (at < sizeof(c))
		return false;
	if (le16toh(c.event) == VIRTIO_CONSOLE_DEVICE_READY) {
		ports_announce(con, c.value);
		return true;
	}
	if (le32toh(c.id) >= con->parts.nr_ports)
		return false;
	p = &con->port[le32toh(c.id)];
	if (le16toh(c.event) == VIRTIO_CONSOLE_PORT_READY)
		port_ready(p, c.value);
	else if (le16toh(c.event) == VIRTIO_CONSOLE_PORT_OPEN)
		port_set_open(p, c.value);
	else
		return false;
	vg_con_port_run(p);
	return true;
}

/* Linux waits for it with a processor: it ends at once. */
static void message_start(struct vg_con *con, struct vg_req *req)
{
	bool is_good = con->is_multiport && message_take(con, req);

	count_add(con->stats[VG_CON_CONTROL_MESSAGES], 1);
	count_add(con->stats[VG_CON_BAD_MESSAGES], !is_good);
	if (is_good)
		vg_device_save(con->dev);
	vg_req_complete(req, 0);
	vg_queue_want(con->dev, QUEUE_CONTROL + 1, 1);
}

/* ---- queues -------------------------------------------------------------- */

static struct vg_con_port *port_of(struct vg_con *con, unsigned int queue)
{
	return &con->port[queue < QUEUE_CONTROL ? 0 : queue / 2 - 1];
}

static unsigned int con_nr_queues(void *priv)
{
	return VG_CON_QUEUES(((struct vg_con *)priv)->parts.nr_ports);
}

static const struct vg_queue_traits *con_traits(void *priv, unsigned int queue)
{
	static const struct vg_queue_traits rx = {
		.segs_max = SEGS_MAX, .size_max = RX_SIZE_MAX, .is_pull = true,
	}, tx = {
		.segs_max = TX_SEGS_MAX, .is_pull = true,
	};

	(void)priv;
	return queue % 2 && queue != QUEUE_CONTROL + 1 ? &tx : &rx;
}

struct con_queue {
	struct vg_con *con;
	unsigned int index;
};

static void *con_queue_create(void *priv, unsigned int queue,
			      struct vg_loop *loop, uint64_t *stats)
{
	struct con_queue *q = vg_zalloc(sizeof(*q));
	struct vg_con *con = priv;

	(void)loop;
	(void)stats;
	q->con = con;
	q->index = queue;
	if (queue % 2) {
		vg_queue_want(con->dev, queue, 1);
	} else if (queue == QUEUE_CONTROL) {
		con->control_asked = false;
		messages_send(con);
	} else {
		port_of(con, queue)->rx_asked = false;
		vg_con_port_run(port_of(con, queue));
	}
	return q;
}

static void con_queue_destroy(void *queue)
{
	free(queue);
}

/* 5.3.6.1: no buffer goes the wrong way. */
static int con_start(void *queue, struct vg_req *req)
{
	const struct con_queue *q = queue;
	struct vg_con *con = q->con;
	bool is_tx = q->index % 2;

	if (is_tx ? req->nr_in : req->nr_out)
		return -EPROTO;
	if (q->index == QUEUE_CONTROL) {
		con->control_asked = false;
		con->control = req;
		messages_send(con);
	} else if (q->index == QUEUE_CONTROL + 1) {
		message_start(con, req);
	} else if (is_tx) {
		vg_con_port_start_tx(port_of(con, q->index), req);
	} else {
		vg_con_port_start_rx(port_of(con, q->index), req);
	}
	return 0;
}

static void con_cancel(void *queue)
{
	const struct con_queue *q = queue;
	struct vg_req *req = q->con->control;

	if (q->index / 2 != QUEUE_CONTROL / 2) {
		vg_con_port_cancel(port_of(q->con, q->index), q->index % 2);
	} else if (q->index == QUEUE_CONTROL && req) {
		q->con->control = NULL;
		vg_req_cancel(req);
	}
}

/* ---- features, configuration, state -------------------------------------- */

static uint64_t con_features(void *priv)
{
	(void)priv;
	return BIT(VIRTIO_CONSOLE_F_SIZE) | BIT(VIRTIO_CONSOLE_F_MULTIPORT) |
	       BIT(VIRTIO_CONSOLE_F_EMERG_WRITE);
}

static int con_set_features(void *priv, uint64_t features)
{
	struct vg_con *con = priv;

	con->has_driver = true;
	con->is_multiport = features & BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	return 0;
}

static void con_reset(void *priv)
{
	struct vg_con *con = priv;
	unsigned int i;

	con->has_driver = con->is_multiport = false;
	for (i = 0; i < con->parts.nr_ports; i++) {
		struct vg_con_port *p = &con->port[i];

		p->is_added = p->is_ready = p->told_open = false;
		p->pending = p->unshown = 0;
		port_set_open(p, false);
		vg_con_port_run(p);
	}
}

static void con_config_read(void *priv, unsigned int offset, void *buf,
			    unsigned int len_bytes)
{
	const struct vg_con *con = priv;
	const struct virtio_console_config c = {
		.cols = htole16(con->cols), .rows = htole16(con->rows),
		.max_nr_ports = htole32(con->parts.nr_ports),
	};

	memcpy(buf, (const uint8_t *)&c + offset, len_bytes);
}

static void con_config_write(void *priv, unsigned int offset, const void *buf,
			     unsigned int len_bytes)
{
	unsigned int at = offsetof(struct virtio_console_config, emerg_wr);
	struct vg_con *con = priv;

	if (offset <= at && at - offset < len_bytes)
		vg_con_port_emergency(&con->port[0],
				      ((const uint8_t *)buf)[at - offset]);
}

struct con_state {
	uint16_t cols, rows;
	struct {
		uint8_t is_added, is_ready, is_opened, told_open, pending;
	} port[VG_CON_PORTS_MAX];
};
_Static_assert(sizeof(struct con_state) <= VG_STATE_TYPE_BYTES, "state");

static void con_get_state(void *priv, void *state)
{
	const struct vg_con *con = priv;
	struct con_state *s = state;
	unsigned int i;

	s->cols = con->cols;
	s->rows = con->rows;
	for (i = 0; i < con->parts.nr_ports; i++) {
		const struct vg_con_port *p = &con->port[i];

		s->port[i].is_added = p->is_added;
		s->port[i].is_ready = p->is_ready;
		s->port[i].is_opened = p->is_opened;
		s->port[i].told_open = p->told_open;
		s->port[i].pending = p->pending | p->unshown;
	}
}

static void con_put_state(void *priv, const void *state)
{
	const struct con_state *s = state;
	struct vg_con *con = priv;
	unsigned int i;

	con->cols = s->cols;
	con->rows = s->rows;
	for (i = 0; i < con->parts.nr_ports; i++) {
		struct vg_con_port *p = &con->port[i];

		p->is_added = s->port[i].is_added & 1;
		p->is_ready = s->port[i].is_ready & 1;
		p->told_open = s->port[i].told_open & 1;
		p->pending = s->port[i].pending & (BIT(VG_CON_MSG_NR) - 1);
		port_set_open(p, s->port[i].is_opened & 1);
	}
}

/* Who was attached may be gone, or somebody else be there. */
static void con_begin(void *priv, bool is_taken_over)
{
	struct vg_con *con = priv;
	unsigned int i;

	(void)is_taken_over;
	for (i = 0; i < con->parts.nr_ports; i++) {
		struct vg_con_port *p = &con->port[i];

		vg_con_port_run(p);
		if (p->is_ready && p->told_open != host_is_open(p))
			post(p, BIT(VG_CON_MSG_OPEN));
	}
	messages_send(con);
	vg_device_save(con->dev);
}

/* ---- life ---------------------------------------------------------------- */

/* It leads to who connects to this device's sockets; to its ptys. */
static void con_prepare(struct vg_dev_prepared *p)
{
	static const struct vg_dev_syscall calls[] = {
		{ SYS_accept4, -1, 0 },
		{ SYS_ioctl, 1, TIOCGWINSZ },
	};

	/* A log that grew behind our back is no reason to die. */
	signal(SIGXFSZ, SIG_IGN);
	p->syscalls = calls;
	p->nr_syscalls = ARRAY_SIZE(calls);
}

static void con_destroy(void *priv)
{
	struct vg_con *con = priv;
	unsigned int i;

	for (i = 0; i < con->parts.nr_ports; i++)
		vg_con_port_exit(&con->port[i]);
	vg_timer_destroy(con->size_timer);
	vg_deferred_destroy(con->shown);
	if (con->log_fd >= 0)
		close(con->log_fd);
	free(con);
}

static int con_create(struct vg_device *dev, const struct vg_dev_parts *parts,
		      void **priv)
{
	struct vg_con *con = vg_zalloc(sizeof(*con));
	struct vg_loop *loop = vg_device_loop(dev);
	unsigned int i;
	int err = 0;

	con->dev = dev;
	memcpy(&con->parts, parts->blob, sizeof(con->parts));
	con->stats = vg_device_type_stats(dev);
	con->log_fd = parts->fds[VG_CON_FD_LOG];
	con->shown = vg_deferred_create(loop, on_shown, con);
	con->size_timer = vg_timer_create(loop, on_size_timer, con);
	for (i = 0; i < con->parts.nr_ports; i++) {
		struct vg_con_port *p = &con->port[i];
		int fd = parts->fds[VG_CON_FD_PORTS + i];

		p->con = con;
		p->index = i;
		p->ep = -1;
		p->fd = con->parts.is_socket ? -1 : fd;
		p->listen_fd = con->parts.is_socket ? fd : -1;
		if (!err)
			err = vg_con_port_init(p);
	}
	if (err) {
		con_destroy(con);
		return err;
	}
	*priv = con;
	return 0;
}

const struct vg_dev_type vg_dev_console = {
	.name = "console",
	.virtio_id = VIRTIO_ID_CONSOLE,
	.options = vg_con_options,
	.stat_names = stat_names,
	.host = &vg_con_host,
	.prepare = con_prepare,
	.create = con_create,
	.destroy = con_destroy,
	.features = con_features,
	.nr_queues = con_nr_queues,
	.traits = con_traits,
	.begin = con_begin,
	.set_features = con_set_features,
	.reset = con_reset,
	.config_bytes = sizeof(struct virtio_console_config),
	.config_read = con_config_read,
	.config_write = con_config_write,
	.req_priv_bytes = sizeof(struct vg_con_tx),
	.start = con_start,
	.cancel = con_cancel,
	.queue_create = con_queue_create,
	.queue_destroy = con_queue_destroy,
	.get_state = con_get_state,
	.put_state = con_put_state,
};
