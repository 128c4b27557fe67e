// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * window.c - the register windows of a guest's devices: between its
 * vCPUs and the relay pages.
 *
 * Not trusted: the guest (address, width and value of its accesses) and the
 * driver domain (everything in the relay page, and when it sends events).
 * Both can make us do no more than one bounded pass per event; a port that
 * fires stays masked until that pass is over, so a flood of events costs its
 * sender's time slice and delays nobody by more than a pass.  Likewise while we
 * look for what comes next (look_on): then it would have no event to wait for.
 *
 * A vCPU waits for its access to be completed.  Three registers are answered
 * here, at once: QueueNotify (posted), InterruptStatus, InterruptACK.  Every
 * other access goes to the backend and is completed by its answer or, when
 * that does not come within the time limit (credit.h), here: reads give
 * all ones and the device is `dead`.  A dead device answers everything with all
 * ones, so that Status reads with DEVICE_NEEDS_RESET and a driver's reset loop
 * ends; only a reset (Status := 0) is forwarded.  The answer to it, or the one
 * that was overdue, revives the device: a reset takes as long as its slowest
 * request.  So does a backend that attaches anew, but not more often than
 * SESSION_NS, or it could hold a vCPU for the limit at every access.  An access
 * that finds the device dead, or the backend gone, asks whether it is there
 * (relay/page.h): what a hostile process of its domain wrote does not outlast
 * the process.
 *
 * What the registers are called and where they are: transport/mmio_regs.h.
 */
#include "broker/guest_priv.h"

#include <string.h>

#include "lib/util.h"
#include "transport/mmio_regs.h"

#include "kernel/uapi/virtio_grant.h"

/* The bits of InterruptStatus that there are. */
#define INT_ALL			(VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)

#define ALL_ONES		(~UINT64_C(0))
#define SESSION_NS		UINT64_C(10000000000)
/* Events taken at once: those of the vCPUs. */
#define PORTS_MAX		VG_RELAY_VCPUS_MAX
/* The longest look before other work gets its turn. */
#define POLL_TURN_NS		(2u * 1000u * 1000u)

static void complete(struct vg_bchild_guest *g, unsigned int vcpu,
		     uint64_t data)
{
	int err = xen_ioreq_complete(g->io, vcpu, data);

	if (err)
		vg_err("dom%u: completing an access of vCPU %u: %s", g->domid,
		       vcpu, strerror(-err));
}

static void raise_irq(struct vg_bchild_dev *d, uint32_t bits)
{
	int err;

	d->sh->isr |= bits;
	d->sh->stats.irqs++;
	err = xen_ioreq_raise_spi(d->g->io, d->irq);
	if (err && vg_ratelimit_ok(&d->rl))
		vg_err("%s: raising SPI %u: %s", d->label, d->irq,
		       strerror(-err));
}

static void tell_backend(struct vg_bchild_dev *d)
{
	/* Fails while no backend is bound to the port: it will look then. */
	xen_evtchn_notify(d->ec, d->port);
}

/* Our words of the page: its other owner can write them, too. */
static void write_own_words(struct vg_bchild_dev *d)
{
	WRITE_ONCE(d->relay->nr_vcpus, d->g->nr_vcpus);
	WRITE_ONCE(d->relay->nr_queues_max, VG_RELAY_QUEUES_MAX);
	WRITE_ONCE(d->relay->version, VG_RELAY_VERSION);
	WRITE_ONCE(d->relay->broker_looks, d->g->is_looking);
	/* The others before it; partner: is_whole() of relay/backend.c. */
	store_release(&d->relay->magic, VG_RELAY_MAGIC);
}

/* An access costs its guest no waiting and us one notification. */
static void ask_backend(struct vg_bchild_dev *d)
{
	if (d->sh->is_dead && vg_now_ns() < d->revivable_ns)
		return;
	write_own_words(d);
	/* Partner: the acquire in correct() of relay/backend.c. */
	store_release(&d->relay->asked, ++d->asked);
	tell_backend(d);
}

static void rearm(struct vg_bchild_guest *g)
{
	uint64_t first = UINT64_MAX, now;
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++)
		if (g->out[i].dev)
			first = min_u(first, g->out[i].deadline_ns);
	if (first == UINT64_MAX) {
		vg_timer_cancel(g->timer);
		return;
	}
	now = vg_now_ns();
	vg_timer_arm(g->timer, first > now ? first - now : 1);
}

/* ---- from the guest ----------------------------------------------------- */

static struct vg_bchild_dev *dev_of_addr(struct vg_bchild_guest *g,
					 uint64_t addr)
{
	struct vg_bchild_dev *d;

	for (d = g->devs; d; d = d->next)
		if (addr >= d->base && addr - d->base < VG_MMIO_WINDOW_BYTES)
			return d;
	return NULL;
}

static void ring(struct vg_bchild_dev *d, uint64_t queue)
{
	if (queue >= VG_RELAY_QUEUES_MAX) {
		d->sh->stats.bad_accesses++;
		return;
	}
	d->sh->stats.notifies++;
	/*
	 * Release: what the guest wrote to the ring before its MMIO write is
	 * ordered before it by Xen's world switch; this keeps our bit behind
	 * it.  Partner: the exchange (acquire) in on_event() of
	 * relay/backend.c.
	 */
	__atomic_fetch_or(&d->relay->notify[queue / 32], 1u << (queue % 32),
			  __ATOMIC_RELEASE);
	tell_backend(d);
}

static void forward(struct vg_bchild_dev *d, unsigned int vcpu, uint32_t op,
		    uint32_t data)
{
	struct vg_bchild_guest *g = d->g;
	struct vg_relay_slot *slot = &d->relay->slot[vcpu];
	struct vg_bchild_access *o = &g->out[vcpu];

	if (++*g->seq == 0)
		*g->seq = 1;
	o->dev = d;
	o->last_dev = d;
	o->seq = *g->seq;
	o->op = op;
	o->began_ns = vg_now_ns();
	o->deadline_ns = o->began_ns +
			 vg_credit_limit(&d->peer->credit, o->began_ns);
	d->sh->stats.forwarded++;

	WRITE_ONCE(slot->op, op);
	WRITE_ONCE(slot->data, data);
	/* op and data before seq; partner: take_access() of relay/backend.c. */
	store_release(&slot->seq, o->seq);
	__atomic_fetch_or(&d->relay->pending[vcpu / 32], 1u << (vcpu % 32),
			  __ATOMIC_RELEASE);
	tell_backend(d);
	rearm(g);
}

/* The registers that are answered here; false: it is none of them. */
static bool answer_here(struct vg_bchild_dev *d, unsigned int vcpu,
			uint32_t offset, const struct xen_ioreq_access *acc)
{
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (acc->is_write)
			ring(d, acc->data & UINT32_MAX);
		complete(d->g, vcpu, 0);
		return true;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		if (!acc->is_write)
			d->sh->stats.isr_reads++;
		complete(d->g, vcpu, d->sh->isr);
		return true;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		if (acc->is_write) {
			d->sh->stats.isr_acks++;
			d->sh->isr &= ~(uint32_t)acc->data;
		}
		complete(d->g, vcpu, 0);
		return true;
	default:
		return false;
	}
}

static void guest_access(struct vg_bchild_guest *g, unsigned int vcpu,
			 const struct xen_ioreq_access *acc)
{
	struct vg_bchild_dev *d = dev_of_addr(g, acc->addr);
	uint32_t offset, state, data = (uint32_t)acc->data;
	bool is_reset;

	if (!d) {	/* its device was removed meanwhile */
		complete(g, vcpu, ALL_ONES);
		return;
	}
	d->sh->stats.traps++;
	offset = (uint32_t)(acc->addr - d->base);
	if ((acc->size_bytes != 1 && acc->size_bytes != 2 &&
	     acc->size_bytes != 4) || offset % acc->size_bytes) {
		d->sh->stats.bad_accesses++;
		complete(g, vcpu, ALL_ONES);
		return;
	}
	if (acc->size_bytes == 4 && answer_here(d, vcpu, offset, acc))
		return;

	is_reset = acc->is_write && offset == VIRTIO_MMIO_STATUS && data == 0;
	if (is_reset)
		d->sh->isr = 0;
	state = READ_ONCE(d->relay->backend_state);
	if ((d->sh->is_dead && !is_reset) || state == VG_RELAY_BACKEND_GONE) {
		complete(g, vcpu, ALL_ONES);
		ask_backend(d);
		return;
	}
	forward(d, vcpu, VG_RELAY_OP(offset, acc->size_bytes, acc->is_write),
		data);
}

/* ---- from the backend --------------------------------------------------- */

static uint64_t widen(uint32_t op, uint32_t data)
{
	uint32_t len = VG_RELAY_OP_LEN(op);

	return len == 4 ? data : data & ((1u << (8 * len)) - 1);
}

/*
 * Writes that stop something are answered when the requests under way have
 * ended, which can take longer than a vCPU may wait.  For these alone a late
 * answer speaks for the backend: or it could hold a vCPU for the time limit
 * at every access.
 */
static bool may_take_long(uint32_t op)
{
	if (!VG_RELAY_OP_IS_WRITE(op))
		return false;
	switch (VG_RELAY_OP_OFFSET(op)) {
	case VIRTIO_MMIO_STATUS:
	case VIRTIO_MMIO_QUEUE_READY:
	case VIRTIO_MMIO_QUEUE_RESET:
	case VIRTIO_GRANT_MMIO_RANGE_STATE:
		return true;
	default:
		return false;
	}
}

static void revive(struct vg_bchild_dev *d)
{
	if (!d->sh->is_dead)
		return;
	d->sh->is_dead = 0;
	vg_info("%s: the backend answers again", d->label);
}

static void take_answer(struct vg_bchild_dev *d, unsigned int vcpu)
{
	struct vg_relay_slot *slot = &d->relay->slot[vcpu];
	struct vg_bchild_access *o = &d->g->out[vcpu];
	/* Partner: the release in link_reply() of relay/backend.c. */
	uint32_t seq = load_acquire(&slot->rsp_seq);
	uint32_t data = READ_ONCE(slot->rsp_data);
	uint64_t now;

	if (o->late_dev == d && o->late_seq == seq) {
		/* Too late for the vCPU, but it was busy and not dead. */
		o->late_dev = NULL;
		d->sh->stats.late_answers++;
		revive(d);
		return;
	}
	if (o->dev != d || o->seq != seq) {
		/* A backend's successor may answer once more: no harm. */
		if (!o->dev && o->last_dev == d && o->seq == seq)
			d->sh->stats.repeated_answers++;
		else
			d->sh->stats.bad_answers++;
		return;
	}
	o->dev = NULL;
	now = vg_now_ns();
	vg_credit_charge(&d->peer->credit, now - o->began_ns, now);
	revive(d);
	complete(d->g, vcpu, widen(o->op, data));
}

/*
 * Another process of the backend has attached.  What its predecessor took from
 * the page and did not answer is asked again; the time limit goes on.
 */
static void new_session(struct vg_bchild_dev *d, uint32_t session)
{
	struct vg_bchild_guest *g = d->g;
	uint64_t now = vg_now_ns();
	unsigned int v, n = 0;

	d->session = session;
	d->sh->stats.sessions++;
	if (d->sh->is_dead && now >= d->revivable_ns) {
		d->revivable_ns = now + SESSION_NS;
		revive(d);
	}
	for (v = 0; v < g->nr_vcpus; v++) {
		if (g->out[v].dev != d)
			continue;
		/* Partner: the exchange (acquire) in on_event(), as above. */
		__atomic_fetch_or(&d->relay->pending[v / 32], 1u << (v % 32),
				  __ATOMIC_RELEASE);
		n++;
	}
	if (n)
		tell_backend(d);
}

static void backend_event(struct vg_bchild_dev *d)
{
	struct vg_bchild_guest *g = d->g;
	uint32_t irq, answered, session;
	unsigned int w, v;

	d->sh->stats.backend_events++;
	write_own_words(d);
	for (w = 0; w < ARRAY_SIZE(d->relay->answered); w++) {
		answered = __atomic_exchange_n(&d->relay->answered[w], 0,
					       __ATOMIC_ACQUIRE);
		while (answered) {
			v = w * 32 + (unsigned int)__builtin_ctz(answered);
			answered &= answered - 1;
			if (v < g->nr_vcpus)
				take_answer(d, v);
			else
				d->sh->stats.bad_answers++;
		}
	}
	/* Acquire: used entries are in the ring before the guest looks. */
	irq = __atomic_exchange_n(&d->relay->irq, 0, __ATOMIC_ACQUIRE);
	if (irq & INT_ALL)
		raise_irq(d, irq & INT_ALL);
	/* Acquire: partner of the release of the state in announce(). */
	if (load_acquire(&d->relay->backend_state) == VG_RELAY_BACKEND_READY) {
		session = READ_ONCE(d->relay->backend_session);
		if (session != d->session)
			new_session(d, session);
	}
	rearm(g);
}

/* ---- time limit --------------------------------------------------------- */

static void declare_dead(struct vg_bchild_dev *d, uint64_t limit_ns)
{
	d->sh->stats.timeouts++;
	if (d->sh->is_dead)
		return;
	d->sh->is_dead = 1;
	vg_err("%s: the backend did not answer within %llu ms; the device needs reset",
	       d->label, (unsigned long long)limit_ns / 1000000);
	raise_irq(d, VIRTIO_MMIO_INT_CONFIG);
}

/* An access was not answered: others that wait for @peer need not go on. */
static void in_vain(struct vg_bchild_guest *g, struct vg_bchild_peer *peer,
		    uint64_t now)
{
	uint64_t end = vg_credit_in_vain(&peer->credit, now);
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++)
		if (g->out[i].dev && g->out[i].dev->peer == peer)
			g->out[i].deadline_ns = min_u(g->out[i].deadline_ns,
						      end);
}

void vg_window_on_deadline(void *arg)
{
	struct vg_bchild_guest *g = arg;
	uint64_t now = vg_now_ns();
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++) {
		struct vg_bchild_access *o = &g->out[i];
		struct vg_bchild_dev *d = o->dev;

		if (!d || o->deadline_ns > now)
			continue;
		o->dev = NULL;
		o->last_dev = NULL;
		o->late_dev = may_take_long(o->op) ? d : NULL;
		o->late_seq = o->seq;
		declare_dead(d, o->deadline_ns - o->began_ns);
		in_vain(g, d->peer, now);
		complete(g, i, ALL_ONES);
	}
	rearm(g);
}

/* ---- events ------------------------------------------------------------- */

/* True: there was one. */
static bool on_vcpu(struct vg_bchild_guest *g, unsigned int vcpu)
{
	struct xen_ioreq_access acc;

	if (g->out[vcpu].dev || !xen_ioreq_fetch(g->io, vcpu, &acc))
		return false;
	guest_access(g, vcpu, &acc);
	return true;
}

static bool backend_said(const struct vg_bchild_dev *d)
{
	unsigned int w;

	if (READ_ONCE(d->relay->irq))
		return true;
	for (w = 0; w * 32 < d->g->nr_vcpus; w++)
		if (READ_ONCE(d->relay->answered[w]))
			return true;
	return false;
}

static bool look(struct vg_bchild_guest *g)
{
	struct vg_bchild_dev *d;
	bool found = false;
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++)
		found |= on_vcpu(g, i);
	for (d = g->devs; d; d = d->next) {
		if (!backend_said(d))
			continue;
		backend_event(d);
		found = true;
	}
	return found;
}

static void say_looking(struct vg_bchild_guest *g, bool looks)
{
	struct vg_bchild_dev *d;

	g->is_looking = looks;
	for (d = g->devs; d; d = d->next)
		WRITE_ONCE(d->relay->broker_looks, looks);
}

/*
 * An access is seldom alone: InterruptStatus follows the interrupt, and
 * InterruptACK follows that, sooner than we are asleep and woken again.  The
 * parent and the time limit wait for POLL_TURN_NS at the most.
 *
 * Backends need not tell us meanwhile.  What the guest does makes an event,
 * which wakes nobody while its port is masked.
 */
static void look_on(struct vg_bchild_guest *g)
{
	uint64_t now = vg_now_ns(), end = now + POLL_TURN_NS;
	uint64_t until = now + g->poll.now_ns;

	if (!g->poll.now_ns)
		return;
	say_looking(g, true);
	while (now < until && now < end) {
		bool found = look(g);

		now = vg_now_ns();
		if (found)
			until = now + g->poll.now_ns;
	}
	say_looking(g, false);
	/*
	 * From here on they tell us; what they have set before is looked for a
	 * last time.  Partner: notify_broker() of relay/backend.c.
	 */
	smp_mb();
	look(g);
}

void vg_window_on_vcpus(void *arg)
{
	xen_port_t ports[PORTS_MAX];
	struct vg_bchild_guest *g = arg;
	unsigned int i, n;
	bool found = false;
	int vcpu;

	n = xen_evtchn_pending_all(g->ec, ports, PORTS_MAX);
	for (i = 0; i < n; i++) {
		vcpu = xen_ioreq_vcpu_of_port(g->io, ports[i]);
		if (vcpu >= 0)
			found |= on_vcpu(g, (unsigned int)vcpu);
	}
	/* Otherwise it is the event of what was found by looking. */
	if (found) {
		vg_look_woken(&g->poll, g->poll_max_ns);
		look_on(g);
	}
	/* What came since the last look makes a new event. */
	xen_evtchn_unmask_all(g->ec, ports, n);
	if (found)
		vg_look_sleep(&g->poll, g->poll_max_ns);
}

void vg_window_on_backend(void *arg)
{
	struct vg_bchild_dev *d = arg;
	xen_port_t port;

	if (xen_evtchn_pending(d->ec, &port))
		return;
	vg_look_woken(&d->g->poll, d->g->poll_max_ns);
	backend_event(d);
	look_on(d->g);
	xen_evtchn_unmask(d->ec, port);		/* last, as above */
	vg_look_sleep(&d->g->poll, d->g->poll_max_ns);
}

/* ---- life --------------------------------------------------------------- */

void vg_window_start(struct vg_bchild_guest *g)
{
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++)
		on_vcpu(g, i);
}

void vg_window_end(struct vg_bchild_guest *g)
{
	struct xen_ioreq_access acc;
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++)
		if (!g->out[i].dev && xen_ioreq_fetch(g->io, i, &acc))
			complete(g, i, ALL_ONES);
}

void vg_window_open(struct vg_bchild_dev *d)
{
	d->sh->isr &= INT_ALL;
	d->asked = READ_ONCE(d->relay->asked);
	write_own_words(d);
}

/*
 * Where a predecessor stopped is not known: it may have taken an event and left
 * its port masked, set a bit and not said so, raised no interrupt for what is
 * in InterruptStatus.  Answers to it are nothing to us: what it had asked will
 * be asked again.
 */
void vg_window_take_over(struct vg_bchild_dev *d)
{
	xen_port_t port;
	unsigned int w;

	d->session = READ_ONCE(d->relay->backend_session);
	for (w = 0; w < ARRAY_SIZE(d->relay->answered); w++)
		__atomic_exchange_n(&d->relay->answered[w], 0,
				    __ATOMIC_RELAXED);
	xen_evtchn_pending(d->ec, &port);
	xen_evtchn_unmask(d->ec, d->port);
	backend_event(d);
	tell_backend(d);
	raise_irq(d, VIRTIO_MMIO_INT_VRING);
}

void vg_window_close(struct vg_bchild_dev *d)
{
	struct vg_bchild_guest *g = d->g;
	unsigned int i;

	for (i = 0; i < g->nr_vcpus; i++) {
		if (g->out[i].late_dev == d)
			g->out[i].late_dev = NULL;
		if (g->out[i].last_dev == d)
			g->out[i].last_dev = NULL;
		if (g->out[i].dev != d)
			continue;
		g->out[i].dev = NULL;
		complete(g, i, ALL_ONES);
	}
	rearm(g);
}
