// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * console.c - the virtio console (virtio 1.3, 5.3).  How users find its ports
 * is lib/endpoint.h's, how bytes get there and back lib/stream.h's.
 *
 * Not trusted: the guest.  A control message is copied before it is looked at,
 * and what is pending towards the guest is a bit per port and kind.
 *
 * Requests.  All queues are pulled from: input and messages to the guest, when
 * there are some; output, while none of that port waits for its reader; the
 * guest's messages, always.  What a predecessor had begun is begun again: a
 * message or output may come twice then, but is not lost; a receive buffer gets
 * what comes next, since one without a byte is the end of the stream to Linux.
 *
 * State.  What a message of the guest changed is saved before the message is
 * shown as used; that one to the guest was sent, after it was.  So one who is
 * killed in between has it done twice, which changes nothing.
 */
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_console.h>

#include "dev/type.h"
#include "lib/endpoint.h"
#include "lib/stream.h"
#include "lib/util.h"
#include "virtio/state.h"

#define BIT(n)			(1u << (n))
#define PORTS_MAX		VG_ENDPOINTS_MAX
/* Port 0's, control, then two for each port: 5.3.2. */
#define QUEUES(nr_ports)	(2 * ((nr_ports) + 1))
#define QUEUE_CONTROL		2u	/* to the guest; from it: the next */

enum {
	STAT_CONTROL_MESSAGES = VG_STREAM_STAT_NR, STAT_BAD_MESSAGES,
	STAT_OPENS, STAT_NR
};

static const char *const stat_names[] = {
	"tx_bytes", "rx_bytes", "dropped_bytes", "log_bytes", "log_lost_bytes",
	"attaches", "attached_mask", "open_mask", "control_messages",
	"bad_messages", "opens", NULL,
};
_Static_assert(STAT_NR <= VG_DEV_STATS_NR_TYPE, "counters");
_Static_assert(ARRAY_SIZE(stat_names) == STAT_NR + 1, "names");
_Static_assert(sizeof(struct vg_endpoint_conf) <= VG_DEV_BLOB_BYTES, "blob");
_Static_assert(PORTS_MAX + 1 <= VG_DEV_FDS_MAX, "descriptors");

/* Messages that the guest is to get, in the order in which it gets them. */
enum { MSG_ADD, MSG_CONSOLE, MSG_NAME, MSG_RESIZE, MSG_OPEN, MSG_NR };

/* What a successor gets, and does not trust. */
struct state {
	uint16_t cols, rows;		/* as told; 0: not known */
	struct port_state {
		uint8_t is_added : 1, is_ready : 1; /* it was told; has it */
		uint8_t is_opened : 1;	/* the guest said so */
		uint8_t told_open : 1;	/* it was told of a peer */
		uint8_t pending;	/* BIT(MSG_*), until shown */
	} port[PORTS_MAX];
};
_Static_assert(sizeof(struct state) <= VG_STATE_TYPE_BYTES, "state");

struct queue {
	struct con *con;
	struct port *port;
	unsigned int index;
	bool is_asked;			/* for a request, by vg_queue_want() */
	struct vg_req *req;		/* which came */
};

struct port {
	struct con *con;
	unsigned int index;
	struct port_state *s;
	uint8_t sent;			/* of what is pending */
	struct vg_stream *stream;
	struct queue *rx, *tx;
};

struct con {
	struct vg_device *dev;
	struct vg_endpoint_conf conf;
	uint64_t *stats;
	struct vg_deferred *shown;
	struct state s;
	struct port port[PORTS_MAX];
	struct queue queue[QUEUES(PORTS_MAX)];
};

#define for_each_port(p, con) \
	for (p = (con)->port; p < (con)->port + (con)->conf.nr; p++)

/* ---- requests ------------------------------------------------------------ */

/* Whether there is one; else there will be. */
static bool has_request(struct queue *q)
{
	if (!q->req && !q->is_asked) {
		q->is_asked = true;
		vg_queue_want(q->con->dev, q->index, 1);
	}
	return q->req;
}

static void complete(struct queue *q, size_t bytes)
{
	struct vg_req *req = q->req;

	q->req = NULL;
	vg_req_complete(req, (uint32_t)bytes);
	if (q->index % 2)
		has_request(q);
}

/* ---- messages to the guest ----------------------------------------------- */

static bool host_is_open(const struct port *p)
{
	return !p->index || vg_stream_is_attached(p->stream);
}

/* Into the buffer that there is.  One that is too small is of no use. */
static void message_send(struct port *p, unsigned int what)
{
	static const uint16_t event[MSG_NR] = {
		VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
		VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_RESIZE,
		VIRTIO_CONSOLE_PORT_OPEN,
	};
	struct con *con = p->con;
	struct queue *q = &con->queue[QUEUE_CONTROL];
	const char *name = con->conf.name[p->index];
	/* In Linux before 2025 the other way round. */
	uint16_t size[] = { htole16(con->s.cols), htole16(con->s.rows) };
	struct {
		struct virtio_console_control c;
		uint8_t more[VG_ENDPOINT_NAME_MAX];
	} m = { .c = {
		.id = htole32(p->index), .event = htole16(event[what]),
		.value = htole16(what == MSG_OPEN ? host_is_open(p) : 1),
	} };
	size_t n = what == MSG_NAME ? strlen(name) :
		   what == MSG_RESIZE ? sizeof(size) : 0;

	memcpy(m.more, what == MSG_NAME ? (const void *)name : size, n);
	n += sizeof(m.c);
	if (n > q->req->in_bytes) {
		count_add(con->stats[STAT_BAD_MESSAGES], 1);
		return complete(q, 0);
	}
	vg_iov_copy(q->req->iov, q->req->nr_in, &m, n, true);
	p->sent |= (uint8_t)BIT(what);
	p->s->is_added |= what == MSG_ADD;
	if (what == MSG_OPEN)
		p->s->told_open = host_is_open(p);
	complete(q, n);
	/* In this order: the queue's turn, which shows it, comes first. */
	vg_deferred_schedule(con->shown);
}

/* More is pending; what is, is sent as far as there are buffers. */
static void post(struct port *p, unsigned int what)
{
	unsigned int left;

	p->s->pending |= (uint8_t)what;
	p->sent &= (uint8_t)~what;
	while ((left = p->s->pending & ~p->sent) &&
	       has_request(&p->con->queue[QUEUE_CONTROL]))
		message_send(p, (unsigned int)__builtin_ctz(left));
}

/* What is pending, and whether it is open if that is news. */
static void post_news(struct port *p)
{
	post(p, p->s->is_ready && p->s->told_open != host_is_open(p) ?
		BIT(MSG_OPEN) : 0);
}

static void on_shown(void *arg)
{
	struct con *con = arg;
	struct port *p;

	for_each_port(p, con) {
		p->s->pending &= (uint8_t)~p->sent;
		p->sent = 0;
	}
	vg_device_save(con->dev);
}

/* ---- bytes --------------------------------------------------------------- */

static void port_want(struct port *p)
{
	vg_stream_want(p->stream, (p->index ? 0 : VG_STREAM_SIZE) |
		       (p->tx->req ? VG_STREAM_ROOM : 0) |
		       (!p->s->is_opened ? 0 : VG_STREAM_OPEN |
			(p->rx->is_asked ? 0 : VG_STREAM_INPUT)));
}

/* What can be done now is, and it is seen to that the rest will be. */
static void port_run(struct port *p)
{
	port_want(p);
	vg_stream_look(p->stream);
}

static void on_ready(void *arg, bool has_input)
{
	struct port *p = arg;
	struct vg_req *req = p->tx->req;
	size_t n;

	if (has_input && has_request(p->rx)) {
		n = vg_stream_read(p->stream, p->rx->req->iov,
				   p->rx->req->nr_in);
		/* Nothing: a false alarm. */
		if (n)
			complete(p->rx, n);
	}
	if (req && vg_stream_put(p->stream, req->iov, req->nr_out, false))
		complete(p->tx, 0);
	port_want(p);
}

static void on_changed(void *arg)
{
	struct port *p = arg;
	struct con *con = p->con;

	post_news(p);
	if (vg_stream_resized(p->stream, &con->s.cols, &con->s.rows)) {
		post(p, p->s->is_ready ? BIT(MSG_RESIZE) : 0);
		vg_device_config_changed(con->dev);
	}
	vg_device_save(con->dev);
}

/* ---- messages of the guest ----------------------------------------------- */

static void set_opened(struct port *p, bool is_opened)
{
	count_add(p->con->stats[STAT_OPENS], is_opened && !p->s->is_opened);
	p->s->is_opened = is_opened;
}

/* Linux waits for it with a processor: it ends at once. */
static void message_take(struct con *con, struct queue *q)
{
	struct virtio_console_control c;
	bool is_whole = vg_iov_copy(q->req->iov, q->req->nr_out, &c, sizeof(c),
				    false) == sizeof(c);
	unsigned int event = is_whole ? le16toh(c.event) : UINT_MAX;
	struct port *p = is_whole && le32toh(c.id) < con->conf.nr ?
			 &con->port[le32toh(c.id)] : NULL;

	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		for_each_port(p, con) {
			p->s->pending &= p->sent;
			/* 5.3.6.2.1: none that there is. */
			post(p, c.value && !p->s->is_added ? BIT(MSG_ADD) : 0);
		}
	} else if (p && event == VIRTIO_CONSOLE_PORT_READY) {
		port_run(p);
		p->s->is_ready = p->s->is_added = !!c.value;
		p->s->pending &= p->sent;
		post(p, !c.value ? 0 : BIT(MSG_NAME) | BIT(MSG_OPEN) |
			(p->index ? 0 : BIT(MSG_CONSOLE)) |
			(p->index || !con->s.cols ? 0 : BIT(MSG_RESIZE)));
	} else if (p && event == VIRTIO_CONSOLE_PORT_OPEN) {
		set_opened(p, c.value);
		port_run(p);
	} else {
		count_add(con->stats[STAT_BAD_MESSAGES], 1);
	}
	count_add(con->stats[STAT_CONTROL_MESSAGES], 1);
	vg_device_save(con->dev);
	complete(q, 0);
}

/* ---- queues -------------------------------------------------------------- */

static unsigned int con_nr_queues(void *priv)
{
	return QUEUES(((struct con *)priv)->conf.nr);
}

static const struct vg_queue_traits *con_traits(void *priv, unsigned int queue)
{
	static const struct vg_queue_traits traits[] = {
		/* Linux fills them with a page for each entry, of each port. */
		{ .segs_max = 16, .size_max = 32, .is_pull = true },
		/* Linux splices a pipe at once, by default of 256 pages. */
		{ .segs_max = 256, .is_pull = true },
	};

	(void)priv;
	return &traits[queue % 2 && queue != QUEUE_CONTROL + 1];
}

/* There is a request, or none is asked for any more. */
static void queue_run(struct queue *q)
{
	struct port *p;

	q->is_asked = false;
	if (q->index == QUEUE_CONTROL)
		for_each_port(p, q->con)
			post(p, 0);
	else if (q->port)
		port_run(q->port);
	else if (q->req)
		message_take(q->con, q);
	if (q->index % 2)
		has_request(q);
}

static void *con_queue_create(void *priv, unsigned int queue,
			      struct vg_loop *loop, uint64_t *stats)
{
	struct queue *q = &((struct con *)priv)->queue[queue];

	(void)loop;
	(void)stats;
	queue_run(q);
	return q;
}

/* 5.3.6.1: no buffer goes the wrong way. */
static int con_start(void *queue, struct vg_req *req)
{
	struct queue *q = queue;

	if (q->index % 2 ? req->nr_in : req->nr_out)
		return -EPROTO;
	q->req = req;
	queue_run(q);
	return 0;
}

static void con_cancel(void *queue)
{
	struct queue *q = queue;
	struct vg_req *req = q->req;

	if (!req)
		return;
	q->req = NULL;
	/* If it is left to a successor, that one writes it from its start. */
	if (q->port && q == q->port->tx)
		vg_stream_give_up(q->port->stream, req->iov,
				  vg_req_is_ending(req) ? req->nr_out : 0);
	vg_req_cancel(req);
	if (q->index % 2)
		has_request(q);
}

/* ---- features, configuration, state -------------------------------------- */

static uint64_t con_features(void *priv)
{
	(void)priv;
	return BIT(VIRTIO_CONSOLE_F_SIZE) | BIT(VIRTIO_CONSOLE_F_MULTIPORT) |
	       BIT(VIRTIO_CONSOLE_F_EMERG_WRITE);
}

/* There is but one port then, and nobody says of it that it is open. */
static int con_set_features(void *priv, uint64_t features)
{
	if (!(features & BIT(VIRTIO_CONSOLE_F_MULTIPORT)))
		set_opened(((struct con *)priv)->port, true);
	return 0;
}

static void con_reset(void *priv)
{
	struct port *p;

	for_each_port(p, (struct con *)priv) {
		set_opened(p, false);
		*p->s = (struct port_state){ 0 };
		p->sent = 0;
		port_run(p);
	}
}

static void con_config_read(void *priv, unsigned int offset, void *buf,
			    unsigned int len_bytes)
{
	const struct con *con = priv;
	const struct virtio_console_config c = {
		.cols = htole16(con->s.cols), .rows = htole16(con->s.rows),
		.max_nr_ports = htole32(con->conf.nr),
	};

	memcpy(buf, (const uint8_t *)&c + offset, len_bytes);
}

/* An emergency: one byte past the queues, now or never. */
static void con_config_write(void *priv, unsigned int offset, const void *buf,
			     unsigned int len_bytes)
{
	unsigned int at = offsetof(struct virtio_console_config, emerg_wr);
	struct port *p = ((struct con *)priv)->port;
	struct iovec byte = { (uint8_t *)buf + at - offset, 1 };

	if (offset <= at && at - offset < len_bytes)
		vg_stream_put(p->stream, &byte, 1, true);
}

static void con_get_state(void *priv, void *state)
{
	memcpy(state, &((struct con *)priv)->s, sizeof(struct state));
}

static void con_put_state(void *priv, const void *state)
{
	struct con *con = priv;
	struct port *p;

	memcpy(&con->s, state, sizeof(con->s));
	for_each_port(p, con)
		p->s->pending &= BIT(MSG_NR) - 1;
}

/* Who was attached may be gone, or somebody else be there. */
static void con_begin(void *priv, bool is_taken_over)
{
	struct con *con = priv;
	struct port *p;

	(void)is_taken_over;
	for_each_port(p, con) {
		port_run(p);
		post_news(p);
	}
	vg_device_save(con->dev);
}

/* ---- life ---------------------------------------------------------------- */

static void con_prepare(struct vg_dev_prepared *p)
{
	/* They lead to who connects here, and to its ptys. */
	static const struct vg_dev_syscall calls[] = { VG_STREAM_SYSCALLS };

	/* A log that grew behind our back is no reason to die. */
	signal(SIGXFSZ, SIG_IGN);
	p->syscalls = calls;
	p->nr_syscalls = ARRAY_SIZE(calls);
}

static void con_destroy(void *priv)
{
	struct con *con = priv;
	struct port *p;

	for_each_port(p, con)
		vg_stream_destroy(p->stream);
	vg_deferred_destroy(con->shown);
	free(con);
}

static int con_create(struct vg_device *dev, const struct vg_dev_parts *parts,
		      void **priv)
{
	static const struct vg_stream_user user = { on_changed, on_ready };
	struct con *con = vg_zalloc(sizeof(*con));
	unsigned int i;
	struct port *p;

	con->dev = dev;
	memcpy(&con->conf, parts->blob, sizeof(con->conf));
	con->stats = vg_device_type_stats(dev);
	con->shown = vg_deferred_create(vg_device_loop(dev), on_shown, con);
	for (i = 0; i < con_nr_queues(con); i++)
		con->queue[i] = (struct queue){ .con = con, .index = i };
	for_each_port(p, con) {
		p->con = con;
		p->index = (unsigned int)(p - con->port);
		p->s = &con->s.port[p->index];
		p->rx = &con->queue[p->index ? QUEUES(p->index) : 0];
		p->tx = p->rx + 1;
		p->rx->port = p->tx->port = p;
		p->stream = vg_stream_create(vg_device_loop(dev),
					     parts->fds[p->index + 1],
					     con->conf.is_socket, &user,
					     p, con->stats, p->index);
	}
	/*
	 * Linux' hvc console waits with a processor for each of its requests:
	 * at most 0.1 s, and over time a tenth of it.
	 */
	vg_stream_patience(con->port[0].stream, UINT64_C(100000000), 10);
	vg_stream_log(con->port[0].stream, parts->fds[0],
		      con->conf.log_left_bytes);
	*priv = con;
	return 0;
}

/* ---- in the supervisor -------------------------------------------------- */

static const struct vg_dev_option options[] = {
	{ "console-ports", 0, "NAME,...",
	  "the ports of a console device, up to 16; the first is the console",
	  vg_endpoint_option_names },
	{ "console-backing", 0, "pty|socket", "what they are here (pty)",
	  vg_endpoint_option_backing },
	{ "console-log", 0, "DIR",
	  "append each console's output to a file in DIR",
	  vg_endpoint_option_log },
	{ "console-log-max", 0, "KIB", "as long as that is no larger (1024)",
	  vg_endpoint_option_log_max },
	{ 0 },
};

static void *res_create(void *daemon, const char *label)
{
	(void)daemon;
	(void)label;
	return vg_endpoints_create();
}

static int res_open(void *res, const struct vg_dev_how *how,
		    struct vg_dev_parts *parts, char **why)
{
	bool is_known = how->was_served || how->has_left;
	char *owner = vg_strf("%u-%u", how->guest, how->devid);
	struct vg_endpoint_conf conf = { 0 };
	int err = vg_endpoints_open(res, how->run_dir, "console", owner,
				    how->keys, is_known ?
				    how->nr_queues / 2 - 1 : 0, why);

	free(owner);
	vg_dev_parts_init(parts);
	/* A guest that was served goes on without a log. */
	if (!err)
		err = vg_endpoints_copy(res, !is_known, parts->fds, &conf, why);
	memcpy(parts->blob, &conf, sizeof(conf));
	parts->nr_queues = QUEUES(conf.nr);
	parts->file_max_bytes = conf.log_max_bytes;
	return err;
}

static const struct vg_dev_host host = {
	.create = res_create,
	.destroy = vg_endpoints_destroy,
	.open = res_open,
	.close = vg_endpoints_close,
	.summary = vg_endpoints_summary,
	.describe = vg_endpoints_describe,
};

extern const struct vg_dev_type vg_dev_console;	/* types.c */
const struct vg_dev_type vg_dev_console = {
	.name = "console",
	.virtio_id = VIRTIO_ID_CONSOLE,
	.options = options,
	.stat_names = stat_names,
	.host = &host,
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
	.start = con_start,
	.cancel = con_cancel,
	.queue_create = con_queue_create,
	.get_state = con_get_state,
	.put_state = con_put_state,
};
