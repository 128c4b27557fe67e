// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * backend.c - the backend's end of a relay page: see page.h for the protocol.
 *
 * Not trusted: in the page, the broker's words; a broker has privilege over the
 * guest, not over us.  Each of its words is read once; vCPU numbers and offsets
 * are bounded before use; one event costs one pass over the slots whose bit was
 * set.
 *
 * Answers and interrupts of one turn of the loop are told to the broker with
 * one notification at its end.
 *
 * Threads: interrupts may be raised from any (raise_now); what that uses (page,
 * port) changes only while the device is frozen.
 */
#include "relay/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "relay/page.h"
#include "transport/mmio.h"
#include "transport/mmio_keys.h"
#include "transport/mmio_regs.h"

#define RELAY_TRIES_MAX		20u	/* the supervisor tries, too */
#define WHOLE_TRIES_MAX		200u
/* So long the broker may take to see what it was not told of. */
#define UNSEEN_NS		(10u * 1000u * 1000u)
/* Between two tries to attach to a relay, doubling up to the maximum. */
#define ATTACH_MIN_NS		(10u * 1000u * 1000u)
#define ATTACH_MAX_NS		(2000u * 1000u * 1000u)

_Static_assert(VG_RELAY_VCPUS_MAX == VG_MMIO_VCPUS_MAX, "vCPUs");

struct where {
	xen_domid_t domid;
	xen_ref_t ref;
	xen_port_t port;
};

struct relay {
	struct vg_transport t;
	struct vg_transport_env env;
	struct vg_mmio *mmio;
	struct vg_device *dev;		/* NULL: begin() has not come */
	struct where where;
	struct vg_relay_page *page;	/* NULL: none attached */
	xen_port_t port;
	unsigned int nr_vcpus;
	uint32_t asked;			/* by the broker, and answered */
	bool tell;			/* a notification is due */
	struct vg_timer *unseen;	/* by a broker that said it looks */
	struct vg_timer *attach;	/* to `where', what failed before */
	uint64_t attach_pause_ns;
	int attach_error;		/* as the worker knows it */
	struct vg_ratelimit rl;
};

static struct relay *to_relay(struct vg_transport *t)
{
	return container_of(t, struct relay, t);
}

/* ---- where it is -------------------------------------------------------- */

static void where_put(const struct where *w, struct vg_transport_where *out)
{
	*out = (struct vg_transport_where){ { w->domid, w->ref, w->port } };
}

static struct where where_get(const struct vg_transport_where *in)
{
	return (struct where){ (xen_domid_t)in->word[0], in->word[1],
			       in->word[2] };
}

/* What the toolstack wrote; whoever forwards for the guest uses it. */
static int check(const char *kind, const struct vg_keys *keys, char **why)
{
	struct vg_mmio_keys mmio;

	return vg_mmio_keys_read(kind, keys, &mmio, why);
}

static int find(const struct vg_keys *keys, const struct vg_keys *front,
		xen_domid_t own_domid, struct vg_transport_where *where,
		char **why)
{
	uint64_t domid, ref, port;
	int err;

	(void)front;
	(void)own_domid;

	/* relay-ref is written last, in one transaction with the others. */
	err = vg_keys_read_u64(keys, "relay-ref", UINT32_MAX, &ref, why);
	if (!err)
		err = vg_keys_read_u64(keys, "relay-port", UINT32_MAX, &port,
				       why);
	if (!err)
		err = vg_keys_read_u64(keys, "relay-domid", XEN_DOMID_MAX,
				       &domid, why);
	if (err)
		return err;
	where_put(&(struct where){ (xen_domid_t)domid, (xen_ref_t)ref,
				   (xen_port_t)port }, where);
	return 0;
}

static char *missing(unsigned int seconds)
{
	return vg_strf("no relay after %u s: is virtio-grant-broker running in the control domain?",
		       seconds);
}

static bool page_of(const struct vg_transport_where *where,
		    struct vg_transport_page *page)
{
	struct where w = where_get(where);

	*page = (struct vg_transport_page){ w.domid, w.ref, w.port };
	return true;
}

/* ---- to the broker ------------------------------------------------------ */

static void tell_broker(struct relay *r)
{
	r->tell = true;
	r->env.worked(r->env.arg);
}

/* What is set in the page is there: will it be seen?  For the main thread. */
static void notify_broker(struct relay *r)
{
	/*
	 * Our bits are out before we ask whether the broker looks at them.
	 * Partner: look_on() of broker/window.c, which stops looking.
	 */
	smp_mb();
	if (!READ_ONCE(r->page->broker_looks))
		vg_ports_notify(r->env.ports, r->port);
	else if (!vg_timer_is_armed(r->unseen))
		vg_timer_arm(r->unseen, UNSEEN_NS);
}

/* Others of our domain can write that it looks; or it died while it did. */
static void unseen_due(void *arg)
{
	struct relay *r = arg;
	uint32_t bits = 0;
	unsigned int i;

	if (!r->page || !r->dev)
		return;
	for (i = 0; i < ARRAY_SIZE(r->page->answered); i++)
		bits |= READ_ONCE(r->page->answered[i]);
	if (bits || READ_ONCE(r->page->irq))
		vg_ports_notify(r->env.ports, r->port);
}

static void link_reply(void *link, unsigned int vcpu, uint32_t seq,
		       uint32_t data)
{
	struct relay *r = link;
	struct vg_relay_slot *rs;

	if (!r->page || vcpu >= r->nr_vcpus)
		return;		/* its broker is gone, and so is who waits */
	rs = &r->page->slot[vcpu];
	vg_step();
	WRITE_ONCE(rs->rsp_data, data);
	/* Data before seq; partner: take_answer() of broker/window.c. */
	store_release(&rs->rsp_seq, seq);
	vg_step();
	__atomic_fetch_or(&r->page->answered[vcpu / 32], 1u << (vcpu % 32),
			  __ATOMIC_RELEASE);
	tell_broker(r);
}

/* False: there is no broker whom to tell. */
static bool set_irq(struct relay *r, uint32_t bits)
{
	if (!r->page)
		return false;
	/*
	 * Release: used entries before the bit; partner: the exchange in
	 * backend_event() of broker/window.c.
	 */
	vg_step();
	__atomic_fetch_or(&r->page->irq, bits, __ATOMIC_RELEASE);
	vg_step();
	return true;
}

static bool link_raise(void *link, uint32_t bits)
{
	if (!set_irq(link, bits))
		return false;
	tell_broker(link);
	return true;
}

/* From any thread: the page changes only while the device is frozen. */
static void link_raise_now(void *link, uint32_t bits)
{
	struct relay *r = link;

	if (set_irq(r, bits))
		vg_ports_notify(r->env.ports, r->port);
}

static const struct vg_mmio_link_ops link_ops = {
	.reply = link_reply,
	.raise = link_raise,
	.raise_now = link_raise_now,
};

static void end_of_turn(struct vg_transport *t)
{
	struct relay *r = to_relay(t);

	if (r->tell && r->page)
		notify_broker(r);
	r->tell = false;
}

/* ---- from the broker ---------------------------------------------------- */

static void take_access(struct relay *r, unsigned int vcpu)
{
	struct vg_relay_slot *rs = &r->page->slot[vcpu];
	struct vg_reg_access acc = { .vcpu = vcpu };
	uint32_t op;

	/* Partner: the release in forward() of broker/window.c. */
	acc.seq = load_acquire(&rs->seq);
	op = READ_ONCE(rs->op);
	acc.data = READ_ONCE(rs->data);
	acc.offset = VG_RELAY_OP_OFFSET(op);
	acc.len_bytes = VG_RELAY_OP_LEN(op);
	acc.is_write = VG_RELAY_OP_IS_WRITE(op);
	if ((acc.len_bytes != 1 && acc.len_bytes != 2 && acc.len_bytes != 4) ||
	    acc.offset % acc.len_bytes ||
	    acc.offset + acc.len_bytes > VG_MMIO_WINDOW_BYTES) {
		if (vg_ratelimit_ok(&r->rl))
			vg_err("%s: the broker relays an impossible access (0x%x), answered with all ones",
			       r->env.label, op);
		link_reply(r, vcpu, acc.seq, UINT32_MAX);
		return;
	}
	vg_mmio_access(r->mmio, &acc);
}

/*
 * Says that we are here, and not who was before: what that one took, is asked
 * again.
 */
static void announce(struct relay *r)
{
	WRITE_ONCE(r->page->backend_session,
		   READ_ONCE(r->page->backend_session) + 1);
	/* Session before state; partner: backend_event(), as above. */
	store_release(&r->page->backend_state, VG_RELAY_BACKEND_READY);
}

/*
 * Whatever has been written there since we did: our domain's other processes
 * are no friends.  The broker knows when it wants to know again.
 */
static void correct(struct relay *r)
{
	/* Partner: the release in ask_backend() of broker/window.c. */
	uint32_t asked = load_acquire(&r->page->asked);

	if (asked == r->asked &&
	    READ_ONCE(r->page->backend_state) == VG_RELAY_BACKEND_READY)
		return;
	r->asked = asked;
	announce(r);
	/* In any case: whoever looks for answers does not look for this. */
	vg_ports_notify(r->env.ports, r->port);
}

static void on_event(void *arg, unsigned int n)
{
	struct relay *r = arg;
	struct vg_relay_page *page = r->page;
	unsigned int i, v, q;
	uint32_t bits;

	(void)n;
	if (!page || !r->dev)
		return;
	correct(r);
	for (i = 0; i < ARRAY_SIZE(page->pending); i++) {
		bits = __atomic_exchange_n(&page->pending[i], 0,
					   __ATOMIC_ACQUIRE);
		vg_step();
		for (; bits; bits &= bits - 1) {
			v = i * 32 + (unsigned int)__builtin_ctz(bits);
			if (v < r->nr_vcpus)
				take_access(r, v);
		}
	}
	for (i = 0; i < ARRAY_SIZE(page->notify); i++) {
		bits = __atomic_exchange_n(&page->notify[i], 0,
					   __ATOMIC_ACQUIRE);
		vg_step();
		for (; bits; bits &= bits - 1) {
			q = i * 32 + (unsigned int)__builtin_ctz(bits);
			vg_device_queue_notify(r->dev, q);
		}
	}
	r->env.worked(r->env.arg);
}

/* ---- attaching ---------------------------------------------------------- */

static bool is_whole(struct relay *r, const struct vg_relay_page *page)
{
	/* Partner: the release in write_own_words() of broker/window.c. */
	uint32_t magic = load_acquire(&page->magic);
	uint32_t version = READ_ONCE(page->version);

	r->nr_vcpus = READ_ONCE(page->nr_vcpus);
	return magic == VG_RELAY_MAGIC && version == VG_RELAY_VERSION &&
	       r->nr_vcpus <= VG_RELAY_VCPUS_MAX;
}

/* The broker mends what is its own when it gets an event. */
static bool becomes_whole(struct relay *r, const struct vg_relay_page *page)
{
	unsigned int tries = WHOLE_TRIES_MAX;
	int epfd = -1;

	while (!is_whole(r, page) && --tries) {
		if (epfd < 0)
			vg_ports_notify(r->env.ports, r->port);
		vg_nap(&epfd);
	}
	if (epfd >= 0)
		close(epfd);
	return tries;
}

/* Nothing is written there, or kept, if it fails. */
static int page_open(struct relay *r, struct vg_relay_page **page,
		     const char **why)
{
	unsigned int tries = r->env.is_taking_over ? RELAY_TRIES_MAX : 1;
	void *va;
	int err;

	*why = "mapping the relay page";
	err = xen_gnttab_map(r->env.gt, r->where.domid, &r->where.ref, 1,
			     PROT_READ | PROT_WRITE, &va);
	if (err)
		return err;
	*why = "binding the relay's event channel";
	err = vg_ports_bind(r->env.ports, r->where.domid, r->where.port, tries,
			    on_event, r, 0, &r->port);
	if (err)
		goto unmap;
	*why = "the relay page is none of this version";
	err = -EPROTO;
	if (!becomes_whole(r, va))
		goto unbind;
	*page = va;
	return 0;
unbind:
	vg_ports_unbind(r->env.ports, r->port);
unmap:
	xen_gnttab_unmap(r->env.gt, va, 1);
	return err;
}

/* From here on the device is served over it. */
static void page_use(struct relay *r)
{
	vg_mmio_set_link(r->mmio, &(struct vg_mmio_link_id){
		{ r->where.domid, r->where.ref, r->where.port } });
	r->asked = READ_ONCE(r->page->asked);
	announce(r);
}

static void page_close(struct relay *r, bool has_successor)
{
	int err;

	if (!r->page)
		return;
	if (r->dev) {
		store_release(&r->page->backend_state,
			      has_successor ? VG_RELAY_BACKEND_RESTARTING :
					      VG_RELAY_BACKEND_GONE);
		vg_ports_notify(r->env.ports, r->port);
	}
	vg_ports_unbind(r->env.ports, r->port);
	err = xen_gnttab_unmap(r->env.gt, r->page, 1);
	if (err)
		vg_err("%s: unmapping the relay page: %s", r->env.label,
		       strerror(-err));
	r->page = NULL;
}

static void catch_up(struct vg_transport *t)
{
	struct relay *r = to_relay(t);

	on_event(r, 0);
	/* A notification may have been in a relay page that is gone. */
	vg_device_resume(r->dev);
	/* In any case, as above. */
	vg_ports_notify(r->env.ports, r->port);
	r->env.is_taking_over = false;
}

/* As r->where has it.  Until it works, and the worker knows which. */
static void attach(struct relay *r)
{
	struct vg_relay_page *page;
	char text[96] = "";
	const char *why;
	int err;

	err = page_open(r, &page, &why);
	if (err) {
		snprintf(text, sizeof(text), "new relay: %s: %s", why,
			 strerror(-err));
		if (err != r->attach_error)
			vg_err("%s: %s; going on trying", r->env.label, text);
		vg_timer_arm(r->attach, r->attach_pause_ns);
		r->attach_pause_ns = min_u(r->attach_pause_ns * 2,
					   ATTACH_MAX_NS);
	} else {
		vg_device_freeze(r->dev);
		r->page = page;
		page_use(r);
		vg_device_thaw(r->dev);
		vg_info("%s: attached to a new broker", r->env.label);
	}
	if (!err || err != r->attach_error)
		r->env.moved(r->env.arg, err, text);
	r->attach_error = err;
	if (!err)
		catch_up(&r->t);
}

static void attach_due(void *arg)
{
	attach(arg);
}

static void move(struct vg_transport *t, const struct vg_transport_where *where)
{
	struct relay *r = to_relay(t);

	vg_device_freeze(r->dev);
	page_close(r, false);
	vg_device_thaw(r->dev);
	r->where = where_get(where);
	r->attach_error = 0;
	r->attach_pause_ns = ATTACH_MIN_NS;
	vg_timer_cancel(r->attach);
	attach(r);
}

/* ---- life --------------------------------------------------------------- */

static void relay_close(struct vg_transport *t, bool has_successor)
{
	struct relay *r = to_relay(t);

	page_close(r, has_successor);
	vg_timer_destroy(r->unseen);
	vg_timer_destroy(r->attach);
	vg_mmio_destroy(r->mmio);
	free(r);
}

static int relay_open(const struct vg_transport_env *env,
		      const struct vg_transport_where *where,
		      struct vg_transport **out, const char **why)
{
	struct relay *r = vg_zalloc(sizeof(*r));
	int err;

	r->env = *env;
	r->where = where_get(where);
	r->rl.burst = 3;
	r->unseen = vg_timer_create(env->loop, unseen_due, r);
	r->attach = vg_timer_create(env->loop, attach_due, r);
	r->mmio = vg_mmio_create(&link_ops, r);
	r->t = (struct vg_transport){ &vg_transport_mmio, r->mmio };
	err = page_open(r, &r->page, why);
	if (err) {
		relay_close(&r->t, false);
		return err;
	}
	*out = &r->t;
	return 0;
}

static void begin(struct vg_transport *t, struct vg_device *dev)
{
	struct relay *r = to_relay(t);

	r->dev = dev;
	vg_mmio_set_device(r->mmio, dev);
	page_use(r);
}

const struct vg_transport_type vg_transport_mmio = {
	.name = VG_MMIO_TRANSPORT,
	.device_ops = &vg_mmio_transport_ops,
	.check = check,
	.find = find,
	.missing = missing,
	.page = page_of,
	.open = relay_open,
	.begin = begin,
	.catch_up = catch_up,
	.move = move,
	.end_of_turn = end_of_turn,
	.close = relay_close,
};
