// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * backend.c - the backend's end of a message page: see
 * kernel/uapi/virtio_grant_bus.h for the protocol.
 *
 * Not trusted: the guest, whose page it is and which can write any word of it
 * at any moment, our own as well.  Each word of its is read once, into a copy;
 * what we wrote is never read back to learn from it (but for counters of which
 * any other value does).  One event costs one request, and one look at each
 * queue.
 *
 * A device is there before its driver is: it is attached to nobody then, and
 * again when its driver has closed.  Between the two it is reset, so that
 * nothing of the guest's stays mapped.
 *
 * Answers and notifications of one turn of the loop are one event at its end.
 *
 * Threads: notifications may come from any (raise_now); what that uses (page,
 * port) changes only while the device is frozen.
 */
#include "bus/backend.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/uapi/virtio_grant_bus.h"
#include "lib/log.h"
#include "lib/util.h"
#include "transport/msg.h"

#define STRING2(x)		#x
#define STRING(x)		STRING2(x)
#define OUR_VERSION		STRING(VIRTIO_GRANT_BUS_VERSION)

/* While the one who had the port before is not quite gone. */
#define TAKE_OVER_TRIES		20u
/* Between two tries to attach, doubling up to the maximum. */
#define ATTACH_MIN_NS		(10u * 1000u * 1000u)
#define ATTACH_MAX_NS		(2000u * 1000u * 1000u)
#define TEXT_BYTES		128u

_Static_assert(sizeof(struct virtio_grant_bus_page) == XEN_GRANT_PAGE_SIZE,
	       "message page");

/* Words of struct vg_transport_where; all zero: nobody. */
struct where {
	bool has_front;
	xen_ref_t ref;
	xen_port_t port;
	uint32_t version;
};

struct bus {
	struct vg_transport t;
	struct vg_transport_env env;
	struct vg_msg *msg;
	struct vg_device *dev;		/* NULL: begin() has not come */
	struct where where;
	struct virtio_grant_bus_page *page;	/* NULL: not attached */
	xen_port_t port;
	uint32_t taken;			/* request_seq */
	uint32_t avail_events;		/* as seen last */
	bool tell;			/* an event is due */
	/* To nobody: until the device is reset. */
	bool is_leaving, is_reset;
	struct vg_timer *attach;	/* what failed before */
	uint64_t attach_pause_ns;
	char attach_text[TEXT_BYTES];	/* why, as the worker knows it */
};

static struct bus *to_bus(struct vg_transport *t)
{
	return container_of(t, struct bus, t);
}

/* ---- where it is (in the supervisor) ------------------------------------ */

static struct where where_get(const struct vg_transport_where *in)
{
	return (struct where){ in->word[0], in->word[1], in->word[2],
			       in->word[3] };
}

/* The toolstack has nothing to say of a page that the guest makes. */
static int check(const char *kind, const struct vg_keys *keys, char **why)
{
	(void)kind;
	(void)keys;
	(void)why;
	return 0;
}

/* 1: these keys are for us; 0: none are, or for another domain's backend. */
static int is_for_us(const struct vg_keys *front, xen_domid_t own_domid,
		     char **why)
{
	uint64_t domid;
	int err = vg_keys_read_u64(front, "msg-backend-id", XEN_DOMID_MAX,
				   &domid, why);

	if (err == -ENOENT) {
		free(*why);
		*why = NULL;
		return 0;
	}
	return err ? err : domid == own_domid;
}

static int find(const struct vg_keys *keys, const struct vg_keys *front,
		xen_domid_t own_domid, struct vg_transport_where *where,
		char **why)
{
	uint64_t version, ref, port;
	int err;

	(void)keys;
	*where = (struct vg_transport_where){ { 0 } };
	err = front ? is_for_us(front, own_domid, why) : 0;
	if (err <= 0)
		return err;
	err = vg_keys_read_u64(front, "msg-version", UINT32_MAX, &version, why);
	if (!err && version != VIRTIO_GRANT_BUS_VERSION) {
		*why = vg_strf("the guest's driver speaks version %u of the bus, and this backend "
			       OUR_VERSION, (unsigned int)version);
		return -EINVAL;
	}
	if (!err)
		err = vg_keys_read_u64(front, "msg-ref", UINT32_MAX, &ref, why);
	if (!err)
		err = vg_keys_read_u64(front, "msg-port", UINT32_MAX, &port,
				       why);
	/* In one transaction with the others, or never. */
	if (err)
		return err == -ENOENT ? -EINVAL : err;
	*where = (struct vg_transport_where){
		{ true, (uint32_t)ref, (uint32_t)port, (uint32_t)version }
	};
	return 0;
}

static const struct vg_transport_key shown[] = {
	{ "msg-versions", OUR_VERSION "-" OUR_VERSION },
	{ NULL, NULL },
};

/* ---- to the driver ------------------------------------------------------ */

static void tell_driver(struct bus *b)
{
	b->tell = true;
	b->env.worked(b->env.arg);
}

static void link_reply(void *link, uint32_t seq, const void *msg, size_t bytes)
{
	struct bus *b = link;

	if (!b->page)
		return;		/* who waited is gone */
	vg_step();
	memcpy(b->page->response, msg, bytes);
	vg_step();
	/* The message before its number; partner: the driver's acquire. */
	store_release(&b->page->response_seq, htole32(seq));
	vg_step();
	tell_driver(b);
}

/* Adds one, by several threads; whatever stood there, it is another then. */
static void count_event(uint32_t *word)
{
	uint32_t v = load_acquire(word);

	/* Bounded: the guest can write it, too, and then it is another. */
	__atomic_compare_exchange_n(word, &v, htole32(le32toh(v) + 1), false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* False: there is nobody to tell. */
static bool set_events(struct bus *b, uint32_t what)
{
	if (!b->page)
		return false;
	vg_step();
	/*
	 * Used entries, the configuration's generation, before the number;
	 * partner: the driver's acquire of it.
	 */
	if (what & VG_NOTIFY_USED)
		count_event(&b->page->used_events);
	if (what & VG_NOTIFY_CONFIG)
		count_event(&b->page->config_events);
	vg_step();
	return true;
}

static bool link_raise(void *link, uint32_t what)
{
	if (!set_events(link, what))
		return false;
	tell_driver(link);
	return true;
}

/* From any thread: the page changes only while the device is frozen. */
static void link_raise_now(void *link, uint32_t what)
{
	struct bus *b = link;

	if (set_events(b, what))
		vg_ports_notify(b->env.ports, b->port);
}

static void link_was_reset(void *link)
{
	struct bus *b = link;

	if (!b->is_leaving)
		return;
	b->is_reset = true;
	b->env.worked(b->env.arg);	/* in end_of_turn() */
}

static const struct vg_msg_link_ops link_ops = {
	.reply = link_reply,
	.raise = link_raise,
	.raise_now = link_raise_now,
	.was_reset = link_was_reset,
};

/* ---- from the driver ---------------------------------------------------- */

/* The message, by whole words and each once: how many bytes. */
static size_t copy_request(const struct virtio_grant_bus_page *page,
			   uint64_t msg[VG_MSG_BYTES_MAX / 8])
{
	const uint64_t *from = (const uint64_t *)page->request;
	struct virtio_grant_msg_header h;
	size_t i, bytes;

	msg[0] = READ_ONCE(from[0]);
	memcpy(&h, msg, sizeof(h));
	bytes = le16toh(h.msg_size);
	if (bytes < sizeof(h) || bytes > VG_MSG_BYTES_MAX)
		return sizeof(h);	/* which says then what is wrong */
	for (i = 1; i < (bytes + 7) / 8; i++)
		msg[i] = READ_ONCE(from[i]);
	return bytes;
}

static void take_request(struct bus *b)
{
	uint64_t msg[VG_MSG_BYTES_MAX / 8];
	/* Partner: the driver's release, after its message. */
	uint32_t seq = le32toh(load_acquire(&b->page->request_seq));
	size_t bytes;

	if (seq == b->taken)
		return;
	b->taken = seq;
	bytes = copy_request(b->page, msg);
	vg_step();
	vg_msg_request(b->msg, seq, msg, bytes);
}

static void take_avail(struct bus *b)
{
	/* Partner: the driver's release, after its available entries. */
	uint32_t n = load_acquire(&b->page->avail_events);

	if (n == b->avail_events)
		return;
	b->avail_events = n;
	vg_msg_avail(b->msg);
}

static void on_event(void *arg, unsigned int n)
{
	struct bus *b = arg;

	(void)n;
	/* What it asks while we leave, its successor is asked. */
	if (!b->page || b->is_leaving || vg_device_is_leaving(b->dev))
		return;
	take_request(b);
	/* Maybe that was all: a page is not left from within. */
	take_avail(b);
	b->env.worked(b->env.arg);
}

/* ---- attaching ---------------------------------------------------------- */

static int page_check(const struct virtio_grant_bus_page *page, char *text)
{
	uint32_t magic = le32toh(READ_ONCE(page->magic));
	uint32_t version = le32toh(READ_ONCE(page->version));

	if (magic != VIRTIO_GRANT_BUS_MAGIC)
		snprintf(text, TEXT_BYTES,
			 "its page is no message page (magic 0x%x, not 0x%x)",
			 magic, VIRTIO_GRANT_BUS_MAGIC);
	else if (version != VIRTIO_GRANT_BUS_VERSION)
		snprintf(text, TEXT_BYTES,
			 "its page is of version %u, and this backend speaks "
			 OUR_VERSION, version);
	else
		return 0;
	return -EPROTO;
}

/*
 * The port first: for that, Xen says by -EPERM that its security module forbids
 * it, for a grant by nothing of the kind.
 */
static int port_bind(struct bus *b, char *text)
{
	unsigned int tries = b->env.is_taking_over ? TAKE_OVER_TRIES : 1;
	int err = vg_ports_bind(b->env.ports, b->env.guest, b->where.port,
				tries, on_event, b, 0, &b->port);

	if (err == -EPERM)
		snprintf(text, TEXT_BYTES,
			 "Xen's XSM forbids event channels between the two (SILO?): boot Xen with xsm=dummy, or serve the device from dom0");
	else if (err)
		snprintf(text, TEXT_BYTES, "its event channel %u: %s",
			 b->where.port, strerror(-err));
	return err;
}

/* Nothing is kept if it fails; @text says why then. */
static int page_open(struct bus *b, struct virtio_grant_bus_page **page,
		     char *text)
{
	int err = port_bind(b, text);
	void *va;

	if (err)
		return err;
	err = xen_gnttab_map(b->env.gt, b->env.guest, &b->where.ref, 1,
			     PROT_READ | PROT_WRITE, &va);
	if (err) {
		snprintf(text, TEXT_BYTES, "its page, grant reference %u: %s",
			 b->where.ref, strerror(-err));
		goto unbind;
	}
	err = page_check(va, text);
	if (err)
		goto unmap;
	*page = va;
	return 0;
unmap:
	xen_gnttab_unmap(b->env.gt, va, 1);
unbind:
	vg_ports_unbind(b->env.ports, b->port);
	return err;
}

static void page_close(struct bus *b)
{
	struct virtio_grant_bus_page *page = b->page;
	int err;

	if (!page)
		return;
	if (b->dev)
		vg_device_freeze(b->dev);
	b->page = NULL;
	if (b->dev)
		vg_device_thaw(b->dev);
	b->tell = false;
	vg_ports_unbind(b->env.ports, b->port);
	err = xen_gnttab_unmap(b->env.gt, page, 1);
	if (err)
		vg_err("%s: unmapping its message page: %s", b->env.label,
		       strerror(-err));
}

/* From here on the device is served over it. */
static void page_use(struct bus *b, struct virtio_grant_bus_page *page,
		     bool is_new)
{
	const struct vg_msg_link_id id = { { true, b->where.ref,
					     b->where.port } };
	bool is_same;

	vg_device_freeze(b->dev);
	b->page = page;
	vg_device_thaw(b->dev);
	b->avail_events = READ_ONCE(page->avail_events);
	is_same = vg_msg_set_link(b->msg, &id, is_new, &b->taken);
	/* Its predecessor may have died before the driver could see it. */
	if (is_same && le32toh(load_acquire(&page->request_seq)) == b->taken)
		vg_msg_repeat(b->msg);
}

/* What the driver did while nobody looked. */
static void look(struct bus *b)
{
	if (!b->page)
		return;
	on_event(b, 0);
	vg_device_resume(b->dev);
	/* In any case: what a predecessor wrote, it may not have told. */
	tell_driver(b);
}

static void attach_failed(struct bus *b, int err, const char *text)
{
	vg_timer_arm(b->attach, b->attach_pause_ns);
	b->attach_pause_ns = min_u(b->attach_pause_ns * 2, ATTACH_MAX_NS);
	if (!strcmp(text, b->attach_text))
		return;
	snprintf(b->attach_text, sizeof(b->attach_text), "%s", text);
	vg_err("%s: not attached to its driver: %s; going on trying",
	       b->env.label, text);
	b->env.moved(b->env.arg, err, text);
}

/* To b->where.  Until it works, and the worker knows which. */
static bool attach(struct bus *b, bool is_new)
{
	struct virtio_grant_bus_page *page;
	char text[TEXT_BYTES];
	int err = page_open(b, &page, text);

	if (err) {
		attach_failed(b, err, text);
		return false;
	}
	page_use(b, page, is_new);
	b->attach_text[0] = 0;
	b->env.moved(b->env.arg, 0, "");
	return true;
}

static void attach_begin(struct bus *b)
{
	vg_timer_cancel(b->attach);
	b->attach_text[0] = 0;
	b->attach_pause_ns = ATTACH_MIN_NS;
}

static void attach_due(void *arg)
{
	struct bus *b = arg;

	/* A predecessor's link may be this one still. */
	if (!attach(b, !b->env.is_taking_over))
		return;
	b->env.is_taking_over = false;
	look(b);
}

/* To nobody: over when the device is reset. */
static void leave(struct bus *b)
{
	b->is_leaving = true;
	b->is_reset = false;
	vg_device_reset(b->dev);
}

static void left(struct bus *b)
{
	uint32_t last;

	b->is_leaving = false;
	page_close(b);
	vg_msg_set_link(b->msg, NULL, true, &last);
	b->env.is_taking_over = false;
	if (!b->where.has_front)
		b->env.moved(b->env.arg, 0, "");
	else if (attach(b, true))
		look(b);
}

static void move(struct vg_transport *t, const struct vg_transport_where *where)
{
	struct bus *b = to_bus(t);

	attach_begin(b);
	b->where = where_get(where);
	/* It stands when that is over. */
	if (b->is_leaving)
		return;
	if (!b->where.has_front) {
		leave(b);
		return;
	}
	b->env.is_taking_over = false;
	page_close(b);
	if (attach(b, true))
		look(b);
}

static void end_of_turn(struct vg_transport *t)
{
	struct bus *b = to_bus(t);

	if (b->is_leaving && b->is_reset)
		left(b);
	if (b->tell && b->page)
		vg_ports_notify(b->env.ports, b->port);
	b->tell = false;
}

/* ---- life --------------------------------------------------------------- */

/* What can fail is tried when there is a device, and again. */
static int bus_open(const struct vg_transport_env *env,
		    const struct vg_transport_where *where,
		    struct vg_transport **out, const char **why)
{
	struct bus *b = vg_zalloc(sizeof(*b));

	(void)why;
	b->env = *env;
	b->where = where_get(where);
	b->attach = vg_timer_create(env->loop, attach_due, b);
	b->msg = vg_msg_create(&link_ops, b);
	b->t = (struct vg_transport){ &vg_transport_bus, b->msg };
	*out = &b->t;
	return 0;
}

static void begin(struct vg_transport *t, struct vg_device *dev)
{
	struct bus *b = to_bus(t);

	b->dev = dev;
	vg_msg_set_device(b->msg, dev);
	attach_begin(b);
	if (b->where.has_front)
		attach(b, !b->env.is_taking_over);
	else if (b->env.is_taking_over)
		leave(b);	/* its driver went while nobody looked */
}

static void catch_up(struct vg_transport *t)
{
	struct bus *b = to_bus(t);

	if (b->page)
		b->env.is_taking_over = false;
	/* Queues with a channel of their own go on without a page. */
	vg_device_resume(b->dev);
	look(b);
}

static void bus_close(struct vg_transport *t, bool has_successor)
{
	struct bus *b = to_bus(t);

	/* Nothing in the page says who serves it. */
	(void)has_successor;
	b->dev = NULL;		/* gone */
	page_close(b);
	vg_timer_destroy(b->attach);
	vg_msg_destroy(b->msg);
	free(b);
}

const struct vg_transport_type vg_transport_bus = {
	.device_ops = &vg_msg_transport_ops,
	.has_front = true,
	.shown = shown,
	.check = check,
	.find = find,
	.open = bus_open,
	.begin = begin,
	.catch_up = catch_up,
	.move = move,
	.end_of_turn = end_of_turn,
	.close = bus_close,
};
