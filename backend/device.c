// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c - a virtio device between its registers, its queues, guest memory
 * and its type: see device.h.
 *
 * Not trusted: the guest.  What it can make us do in one turn of the loop is
 * bounded per queue; the rest waits for the next turn, after the neighbours.
 *
 * One deferred call does the work of a turn, in this order: take requests
 * from the rings and start them, submit them together, show the driver what
 * was completed (now or since the last turn), then raise one interrupt at the
 * most.
 *
 * A request is the core's from pop to start(), the type's from start() to
 * vg_req_complete(), and is unmapped before the driver sees it used.
 */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../kernel/uapi/virtio_grant.h"
#include "device_priv.h"
#include "ext.h"
#include "util.h"

/* Requests that one queue may start in one turn. */
#define TURN_REQUESTS_MAX	64u
/* The shortest look at a ring that is worth it. */
#define POLL_MIN_NS		(10u * 1000u)
/* When memory is short and no request of ours will return any. */
#define RETRY_NS		(10u * 1000u * 1000u)
#define RETRIES_MAX		1000u

static const struct {
	const char *name, *text;
} reasons[VG_BROKEN_MAX] = {
	[VG_BROKEN_NOT] = { "ok", "works" },
	[VG_BROKEN_AVAIL_INDEX] = { "avail-index",
		"the available index says more buffers than the queue holds" },
	[VG_BROKEN_HEAD] = { "head", "a head index beyond the queue" },
	[VG_BROKEN_NEXT] = { "next",
		"a next index beyond the descriptor table" },
	[VG_BROKEN_LOOP] = { "loop",
		"a descriptor chain longer than its table" },
	[VG_BROKEN_INDIRECT] = { "indirect",
		"an indirect descriptor against the rules" },
	[VG_BROKEN_ORDER] = { "order",
		"a device-readable buffer behind a device-writable one" },
	[VG_BROKEN_TOO_LONG] = { "too-long",
		"a chain of more segments or bytes than allowed" },
	[VG_BROKEN_ZERO_LEN] = { "zero-length", "a buffer of no bytes" },
	[VG_BROKEN_ADDRESS] = { "address", "a buffer can't be reached" },
	[VG_BROKEN_RING_ADDRESS] = { "ring-address",
		"a part of the ring is misaligned or can't be reached" },
	[VG_BROKEN_QUEUE_SIZE] = { "queue-size",
		"a queue size of 0, too large, or no power of two" },
	[VG_BROKEN_REQUEST] = { "request",
		"buffers that have not the shape of a request" },
	[VG_BROKEN_RESTARTED] = { "restarted", "the backend was restarted" },
	[VG_BROKEN_UNDER_WAY] = { "under-way",
		"a buffer that is under way was made available again" },
	[VG_BROKEN_STATE] = { "state",
		"the backend was restarted, and what it left behind makes no sense" },
	[VG_BROKEN_DEADLY] = { "deadly",
		"a request was under way each time the backend died" },
	[VG_BROKEN_DEATHS] = { "deaths",
		"the backend died again and again without getting anything done" },
};

const char *vg_broken_name(enum vg_broken why)
{
	return (unsigned int)why < ARRAY_SIZE(reasons) ? reasons[why].name : "?";
}

const char *vg_broken_text(enum vg_broken why)
{
	return (unsigned int)why < ARRAY_SIZE(reasons) ? reasons[why].text : "?";
}

/* ---- what outlives us (state.h) -------------------------------------------- */

static void queue_save(const struct vg_queue *q, struct vg_state_regs *r)
{
	const struct vg_vq_config *c = &q->cfg;
	unsigned int i = q->index;

	r->queue[i].desc_addr = c->desc_addr;
	r->queue[i].driver_addr = c->driver_addr;
	r->queue[i].device_addr = c->device_addr;
	r->queue[i].num = c->num;
	r->queue[i].flags =
		(q->is_ready && !q->is_draining ? VG_STATE_Q_READY : 0) |
		(c->event_idx ? VG_STATE_Q_EVENT_IDX : 0) |
		(c->indirect ? VG_STATE_Q_INDIRECT : 0);
}

void vg_device_save(struct vg_device *dev)
{
	struct vg_state_regs *r = &dev->regs;
	unsigned int i;

	if (!dev->state || dev->is_leaving)
		return;
	r->driver_features = dev->driver_features;
	r->type_state = dev->type->get_state ?
			dev->type->get_state(dev->priv) : 0;
	r->status = dev->status;
	r->broken = dev->broken;
	r->config_generation = dev->config_generation;
	r->offered_sel = dev->offered_sel;
	r->driver_sel = dev->driver_sel;
	r->queue_sel = dev->queue_sel;
	r->flags = dev->is_resetting ? VG_STATE_RESETTING : 0;
	vg_ext_save(dev, r);
	for (i = 0; i < dev->nr_queues; i++)
		queue_save(&dev->queues[i], r);
	vg_state_write(dev->state, r);
}

/*
 * The answer to a write is saved with what the write did: a successor is asked
 * again when the broker has not had the answer, and gives it without doing it
 * again.
 */
static void save_answer(struct vg_device *dev, unsigned int vcpu, uint32_t seq,
			uint32_t data)
{
	if (vcpu < VG_STATE_VCPUS_MAX) {
		dev->regs.answered[vcpu].seq = seq;
		dev->regs.answered[vcpu].data = data;
	}
	vg_device_save(dev);
}

bool vg_device_was_answered(struct vg_device *dev,
			    const struct vg_reg_access *acc, uint32_t *data)
{
	if (!dev->state || acc->vcpu >= VG_STATE_VCPUS_MAX || !acc->seq ||
	    dev->regs.answered[acc->vcpu].seq != acc->seq)
		return false;
	*data = dev->regs.answered[acc->vcpu].data;
	return true;
}

void vg_device_set_relay(struct vg_device *dev,
			 const struct vg_state_relay *relay)
{
	struct vg_state_regs *r = &dev->regs;

	if (r->relay.domid == relay->domid && r->relay.ref == relay->ref &&
	    r->relay.port == relay->port)
		return;
	memset(r->answered, 0, sizeof(r->answered));
	r->relay = *relay;
	vg_device_save(dev);
}

static void reply(struct vg_device *dev, unsigned int vcpu, uint32_t seq,
		  uint32_t data)
{
	dev->host_ops->reply(dev->host, vcpu, seq, data);
}

void vg_device_reply(struct vg_device *dev, const struct vg_reg_access *acc,
		     uint32_t data)
{
	if (acc->is_write)
		save_answer(dev, acc->vcpu, acc->seq, data);
	reply(dev, acc->vcpu, acc->seq, data);
}

bool vg_device_is_live(const struct vg_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->broken &&
	       !dev->is_resetting && !dev->is_stopping;
}

static unsigned int in_flight(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->nr_queues; i++)
		n += dev->queues[i].in_flight;
	return n;
}

static void work_later(struct vg_device *dev)
{
	vg_deferred_schedule(dev->work);
}

/* ---- broken --------------------------------------------------------------- */

static void break_log(struct vg_device *dev, const struct vg_queue *q,
		      enum vg_broken why, enum vg_mem_fault fault,
		      uint64_t value)
{
	char where[32] = "";

	/* A guest can break and reset in a circle: not a line for each. */
	if (!vg_ratelimit_ok(&dev->complaints))
		return;
	if (q)
		snprintf(where, sizeof(where), "queue %u: ", q->index);
	vg_err("%s: %s%s (%s%s%s, 0x%llx)%s%s; the device stops until the driver resets it",
	       dev->label, where, vg_broken_text(why), vg_broken_name(why),
	       fault ? ", " : "", fault ? vg_mem_fault_name(fault) : "",
	       (unsigned long long)value,
	       fault ? ": " : "", fault ? vg_mem_fault_text(fault) : "");
}

void vg_device_break(struct vg_device *dev, const struct vg_queue *q,
		     enum vg_broken why, enum vg_mem_fault fault,
		     uint64_t value)
{
	if (dev->broken)
		return;
	dev->broken = why;
	dev->stats.broken = why;
	dev->stats.broken_queue = q ? q->index : VG_NO_QUEUE;
	dev->stats.broken_fault = fault;
	dev->stats.broken_value = value;
	dev->stats.broken_count++;
	break_log(dev, q, why, fault, value);
	/* All of the configuration space changes: see device.h. */
	dev->config_generation++;
	/* 2.1.2: only a driver that has set DRIVER_OK is told. */
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		dev->config_irq_due = true;
		work_later(dev);
	}
	vg_device_save(dev);
}

/* ---- requests ------------------------------------------------------------- */

static struct vg_slot *slot_of(struct vg_req *req)
{
	return container_of(req, struct vg_slot, req);
}

static void slot_put(struct vg_slot *s)
{
	s->next = s->queue->free_slots;
	s->queue->free_slots = s;
}

static size_t round_up16(size_t bytes)
{
	return (bytes + 15) & ~(size_t)15;
}

/* Requests for one queue, in one piece; made when the queue is first used. */
static int slots_create(struct vg_queue *q)
{
	const struct vg_dev_type *type = q->dev->type;
	size_t slot_bytes = round_up16(sizeof(struct vg_slot));
	size_t iov_bytes = round_up16(type->segs_max * sizeof(struct iovec));
	size_t each = slot_bytes + iov_bytes + round_up16(type->req_priv_bytes);
	unsigned int i;
	uint8_t *p;

	if (q->slot_memory)
		return 0;
	p = calloc(q->dev->queue_size_max, each);
	if (!p)
		return -ENOMEM;
	q->slot_memory = p;
	for (i = 0; i < q->dev->queue_size_max; i++, p += each) {
		struct vg_slot *s = (void *)p;

		s->queue = q;
		s->req.dev = q->dev;
		s->req.queue = q->index;
		s->req.iov = (void *)(p + slot_bytes);
		s->req.type_priv = p + slot_bytes + iov_bytes;
		slot_put(s);
	}
	return 0;
}

/* False: what the device wrote did not reach the guest. */
static bool request_unmap(struct vg_slot *s)
{
	struct vg_mem *mem = s->queue->dev->mem;
	enum vg_mem_fault fault;
	int err;

	/* Counted there: a guest that takes its own pages back. */
	err = mem->ops->unmap_req(mem, s->mreq, &fault);
	s->mreq = NULL;
	return !err;
}

static void request_gone(struct vg_slot *s)
{
	struct vg_queue *q = s->queue;
	struct vg_device *dev = q->dev;

	slot_put(s);
	q->in_flight--;
	dev->stats.in_flight--;
}

void vg_req_complete(struct vg_req *req, uint32_t used_bytes)
{
	struct vg_slot *s = slot_of(req);
	struct vg_queue *q = s->queue;
	struct vg_device *dev = q->dev;

	if (!request_unmap(s))
		used_bytes = 0;
	dev->stats.bytes_out += req->out_bytes;
	dev->stats.bytes_in += used_bytes;
	/* Not into a ring that is being taken away. */
	if (!dev->broken && !dev->is_resetting && !q->is_draining)
		vg_vq_push(&q->vq, s->head, used_bytes);
	request_gone(s);
	dev->is_completed = true;
	if (!dev->is_working)
		work_later(dev);
}

/*
 * Waits for memory: until a request of ours returns some or, when none will,
 * for a while.  In the end it is nobody's fault but must not go on for ever.
 */
static void queue_stall(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	q->is_stalled = true;
	q->is_kicked = false;
	if (in_flight(dev) || vg_timer_is_armed(dev->retry))
		return;
	if (++dev->retries > RETRIES_MAX)
		vg_device_break(dev, q, VG_BROKEN_ADDRESS, VG_MEM_BUDGET, 0);
	else
		vg_timer_arm(dev->retry, RETRY_NS);
}

/* True if a queue waited. */
static bool queues_unstall(struct vg_device *dev)
{
	bool did_wait = false;
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		if (!q->is_stalled)
			continue;
		q->is_stalled = false;
		q->is_kicked = true;
		did_wait = true;
	}
	return did_wait;
}

static void retry_due(void *arg)
{
	struct vg_device *dev = arg;

	queues_unstall(dev);
	work_later(dev);
}

/* 0, -EAGAIN (stalled; nothing taken), or -EPROTO (the device is broken). */
static int request_start(struct vg_queue *q, const struct vg_chain *c)
{
	struct vg_device *dev = q->dev;
	struct vg_slot *s = q->free_slots;
	enum vg_mem_fault fault = VG_MEM_OK;
	unsigned int nr_iov;
	int err;

	/* As many as the queue has entries, and no more can be outstanding. */
	if (!s) {
		vg_device_break(dev, q, VG_BROKEN_AVAIL_INDEX, VG_MEM_OK, 0);
		return -EPROTO;
	}
	err = dev->mem->ops->map_req(dev->mem, c->segs, c->nr_segs, s->req.iov,
				     dev->type->segs_max, &s->req.nr_out,
				     &nr_iov, &s->mreq, &fault);
	if (err == -EAGAIN) {
		vg_vq_unpop(&q->vq);
		queue_stall(q);
		return err;
	}
	if (err) {
		vg_device_break(dev, q, VG_BROKEN_ADDRESS, fault,
				c->segs[0].addr);
		return -EPROTO;
	}
	dev->retries = 0;
	q->free_slots = s->next;
	s->head = c->head;
	s->req.nr_in = nr_iov - s->req.nr_out;
	s->req.out_bytes = c->out_bytes;
	s->req.in_bytes = c->in_bytes;
	memset(s->req.type_priv, 0, dev->type->req_priv_bytes);
	q->in_flight++;
	dev->stats.in_flight++;
	dev->stats.requests++;

	if (dev->type->start(dev->priv, &s->req) < 0) {
		vg_device_break(dev, q, VG_BROKEN_REQUEST, VG_MEM_OK, c->head);
		request_unmap(s);
		request_gone(s);
		return -EPROTO;
	}
	return 0;
}

/* ---- looking before sleeping ------------------------------------------------ */

/*
 * As with KVM's halt polling: who was woken soon after it went to sleep should
 * have looked longer, who slept long need not look at all.
 */
static uint64_t poll_max(const struct vg_queue *q)
{
	if (q->port_state == VIRTIO_GRANT_QUEUE_BOUND)
		return q->dev->poll_max_ns;
	return max_u(q->dev->poll_max_ns, q->dev->poll_mmio_max_ns);
}

static void poll_woken(struct vg_queue *q)
{
	uint64_t max = poll_max(q);

	if (!max || !q->slept_at_ns)
		return;
	if (vg_now_ns() - q->slept_at_ns < max)
		q->poll_ns = min_u(max, max_u(q->poll_ns * 2, POLL_MIN_NS));
	else
		q->poll_ns = q->poll_ns / 2 < POLL_MIN_NS ? 0 : q->poll_ns / 2;
	q->slept_at_ns = 0;
}

/* True: look again in the next turn, which does not sleep. */
static bool poll_goes_on(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	uint64_t now;

	if (!q->poll_ns)
		return false;
	now = vg_now_ns();
	if (!q->poll_until_ns)
		q->poll_until_ns = now + q->poll_ns;
	if (now < q->poll_until_ns)
		return true;
	dev->stats.polls_missed++;
	return false;
}

static void poll_found(struct vg_queue *q)
{
	if (q->poll_until_ns)
		q->dev->stats.polls_hit++;
	q->poll_until_ns = 0;
}

static void poll_end(struct vg_queue *q)
{
	q->poll_until_ns = 0;
	q->slept_at_ns = poll_max(q) ? vg_now_ns() : 0;
}

/* Takes what is there, within a turn's bound.  True: there may be more. */
static bool queue_run(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	unsigned int budget = TURN_REQUESTS_MAX;
	struct vg_chain c;

	poll_woken(q);
	vg_vq_busy(&q->vq);
	while (budget--) {
		int n = vg_vq_pop(&q->vq, &c);

		if (n == -EAGAIN) {
			queue_stall(q);
			return false;
		}
		if (n < 0) {
			vg_device_break(dev, q, q->vq.broken, q->vq.fault,
					q->vq.bad_value);
			return false;
		}
		if (n == 0) {
			if (poll_goes_on(q))
				return true;
			if (!vg_vq_sleep(&q->vq))
				continue;
			poll_end(q);
			q->is_kicked = false;
			return false;
		}
		poll_found(q);
		if (request_start(q, &c))
			return false;
	}
	return true;
}

/* ---- stopping: queue, reset, device ---------------------------------------- */

static void waiter_add(struct vg_device *dev, const struct vg_reg_access *acc,
		       struct vg_queue *q, bool is_range)
{
	unsigned int i;

	for (i = 0; i < VG_WAITERS_MAX; i++) {
		struct vg_waiter *w = &dev->waiters[i];

		if (w->is_used)
			continue;
		*w = (struct vg_waiter){ true, acc->vcpu, acc->seq, q,
					 is_range };
		return;
	}
	/* More than there are vCPUs: no honest broker asks. */
	vg_device_reply(dev, acc, 0);
}

static void waiters_answer(struct vg_device *dev, const struct vg_queue *q)
{
	unsigned int i;

	for (i = 0; i < VG_WAITERS_MAX; i++) {
		struct vg_waiter *w = &dev->waiters[i];

		if (!w->is_used || (q && w->queue != q))
			continue;
		w->is_used = false;
		save_answer(dev, w->vcpu, w->seq, 0);
		reply(dev, w->vcpu, w->seq, 0);
	}
}

void vg_device_wait_range(struct vg_device *dev,
			  const struct vg_reg_access *acc)
{
	waiter_add(dev, acc, NULL, true);
}

void vg_device_answer_ranges(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < VG_WAITERS_MAX; i++) {
		struct vg_waiter *w = &dev->waiters[i];

		if (!w->is_used || !w->is_range)
			continue;
		w->is_used = false;
		save_answer(dev, w->vcpu, w->seq, 0);
		reply(dev, w->vcpu, w->seq, 0);
	}
}

static void queue_unmap(struct vg_queue *q)
{
	vg_vq_unmap(&q->vq);
	q->is_ready = false;
	q->is_draining = false;
	q->is_kicked = false;
	q->is_stalled = false;
	q->poll_ns = 0;
	q->poll_until_ns = 0;
	q->slept_at_ns = 0;
}

static void queue_drained(struct vg_queue *q)
{
	queue_unmap(q);
	waiters_answer(q->dev, q);
}

void vg_queue_disable(struct vg_queue *q, const struct vg_reg_access *acc)
{
	q->is_kicked = false;
	q->is_stalled = false;
	waiter_add(q->dev, acc, q, false);
	if (q->is_ready && q->in_flight)
		q->is_draining = true;
	else
		queue_drained(q);
}

void vg_queue_enable(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	if (q->cfg.num > dev->queue_size_max) {
		vg_device_break(dev, q, VG_BROKEN_QUEUE_SIZE, VG_MEM_OK,
				q->cfg.num);
		return;
	}
	if (slots_create(q)) {
		vg_device_break(dev, q, VG_BROKEN_RING_ADDRESS, VG_MEM_OK, 0);
		return;
	}
	if (vg_vq_map(&q->vq, &q->cfg)) {
		vg_device_break(dev, q, q->vq.broken, q->vq.fault,
				q->vq.bad_value);
		return;
	}
	q->is_ready = true;
	/* Before anything is taken from it: its log is empty now. */
	vg_device_save(dev);
	if (vg_device_is_live(dev)) {
		q->is_kicked = true;
		work_later(dev);
	}
}

static void all_unmap(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		queue_unmap(&dev->queues[i]);
	vg_timer_cancel(dev->retry);
	dev->retries = 0;
}

static void reset_finish(struct vg_device *dev)
{
	all_unmap(dev);
	vg_ext_reset(dev);
	if (dev->broken)
		dev->config_generation++;	/* it reads differently again */
	vg_mmio_reset(dev);
	dev->is_resetting = false;
	dev->broken = VG_BROKEN_NOT;
	dev->stats.broken = VG_BROKEN_NOT;
	dev->config_irq_due = false;
	dev->used_irq_due = false;
	if (dev->type->reset)
		dev->type->reset(dev->priv);
	dev->stats.resets++;
	waiters_answer(dev, NULL);
}

/* Finishes whatever waited for requests to end. */
static void drained_check(struct vg_device *dev)
{
	bool idle = !in_flight(dev);
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		if (dev->queues[i].is_draining && !dev->queues[i].in_flight)
			queue_drained(&dev->queues[i]);
	vg_ext_drained(dev);
	if (!idle)
		return;
	if (dev->is_resetting)
		reset_finish(dev);
	if (dev->is_stopping && !dev->is_stopped) {
		all_unmap(dev);
		vg_ext_reset(dev);
		waiters_answer(dev, NULL);
		dev->is_stopped = true;
		dev->host_ops->stopped(dev->host);
	}
}

void vg_device_reset(struct vg_device *dev, const struct vg_reg_access *acc)
{
	waiter_add(dev, acc, NULL, false);
	dev->is_resetting = true;
	vg_device_save(dev);
	drained_check(dev);
}

void vg_device_leave(struct vg_device *dev)
{
	dev->is_leaving = true;
	vg_device_stop(dev);
}

void vg_device_stop(struct vg_device *dev)
{
	dev->is_stopping = true;
	drained_check(dev);
}

/* ---- the work of a turn ----------------------------------------------------- */

static bool queues_run(struct vg_device *dev)
{
	bool is_more = false;
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		if (q->is_kicked && q->is_ready && !q->is_draining &&
		    vg_device_is_live(dev))
			is_more |= queue_run(q);
	}
	return is_more;
}

/*
 * True if the driver of any queue wants to be interrupted; one with an event
 * channel is told here.
 */
static bool queues_publish(struct vg_device *dev)
{
	bool wants_irq = false;
	unsigned int i;

	if (dev->broken)
		return false;
	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		if (!vg_vq_has_unpublished(&q->vq))
			continue;
		dev->stats.batches++;
		if (!vg_vq_publish(&q->vq)) {
			dev->stats.irqs_suppressed++;
		} else if (q->port_state == VIRTIO_GRANT_QUEUE_BOUND) {
			dev->stats.events_sent++;
			dev->host_ops->notify_queue(dev->host, i);
		} else {
			wants_irq = true;
		}
	}
	return wants_irq;
}

static void work(void *arg)
{
	struct vg_device *dev = arg;
	uint32_t irq = 0;
	bool is_more;

	dev->is_working = true;
	if (dev->is_completed)
		queues_unstall(dev);
	dev->is_completed = false;
	is_more = queues_run(dev);
	if (dev->type->flush_batch)
		dev->type->flush_batch(dev->priv);
	if (queues_publish(dev) || dev->used_irq_due) {
		dev->used_irq_due = false;
		dev->stats.irqs_used++;
		irq |= VG_IRQ_USED;
	}
	if (dev->config_irq_due) {
		dev->config_irq_due = false;
		dev->stats.irqs_config++;
		irq |= VG_IRQ_CONFIG;
	}
	dev->is_working = false;
	if (irq)
		dev->host_ops->raise_irq(dev->host, irq);
	/* Completed while we were at it: there is memory for who waits. */
	if (dev->is_completed && queues_unstall(dev))
		is_more = true;
	if (is_more)
		work_later(dev);
	drained_check(dev);
}

void vg_device_notify(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = queue < dev->nr_queues ? &dev->queues[queue] :
						      NULL;

	dev->stats.notifies++;
	if (!q || !q->is_ready || q->is_draining || !vg_device_is_live(dev)) {
		dev->stats.spurious_notifies++;
		return;
	}
	q->is_kicked = true;
	work_later(dev);
}

void vg_device_event(struct vg_device *dev, unsigned int queue)
{
	dev->stats.events_received++;
	dev->queues[queue].events++;
	vg_device_notify(dev, queue);
}

void vg_device_kick_all(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		dev->queues[i].is_kicked = true;
	/* It broke while there was no driver to tell. */
	if (dev->broken)
		dev->config_irq_due = true;
	work_later(dev);
}

void vg_device_resume(struct vg_device *dev)
{
	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	dev->used_irq_due = true;
	vg_device_kick_all(dev);
}

void vg_device_config_changed(struct vg_device *dev)
{
	dev->config_generation++;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		dev->config_irq_due = true;
		work_later(dev);
	}
}

/* ---- life cycle ------------------------------------------------------------- */

static void queues_create(struct vg_device *dev)
{
	unsigned int i;

	dev->queues = vg_calloc(dev->nr_queues, sizeof(*dev->queues));
	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		q->dev = dev;
		q->index = i;
		vg_vq_init(&q->vq, dev->mem, dev->type->segs_max);
		if (dev->state)
			vg_vq_set_log(&q->vq, &dev->state->queue[i]);
	}
}

static void queues_destroy(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		vg_vq_exit(&dev->queues[i].vq);
		free(dev->queues[i].slot_memory);
	}
	free(dev->queues);
}

/*
 * A driver that worked with our predecessor does not know that it is gone.
 * We know of its state only that there was one: let Status say so.
 */
static void start_as_broken(struct vg_device *dev, enum vg_broken why)
{
	all_unmap(dev);
	vg_ext_reset(dev);
	vg_mmio_reset(dev);
	dev->broken = VG_BROKEN_NOT;
	memset(&dev->regs, 0, sizeof(dev->regs));
	if (dev->state)
		vg_state_init(dev->state, dev->type->virtio_id, dev->nr_queues);
	dev->status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	vg_device_break(dev, NULL, why, VG_MEM_OK, 0);
}

/* 0, or why the queue can't go on. */
static enum vg_broken queue_restore(struct vg_queue *q,
				    const struct vg_state_regs *r)
{
	struct vg_device *dev = q->dev;
	unsigned int i = q->index;

	q->cfg = (struct vg_vq_config){
		.num = r->queue[i].num,
		.desc_addr = r->queue[i].desc_addr,
		.driver_addr = r->queue[i].driver_addr,
		.device_addr = r->queue[i].device_addr,
		.event_idx = r->queue[i].flags & VG_STATE_Q_EVENT_IDX,
		.indirect = r->queue[i].flags & VG_STATE_Q_INDIRECT,
	};
	if (!(r->queue[i].flags & VG_STATE_Q_READY))
		return VG_BROKEN_NOT;
	if (q->cfg.num > dev->queue_size_max || slots_create(q))
		return VG_BROKEN_STATE;
	if (vg_vq_take_over(&q->vq, &q->cfg))
		return q->vq.broken;
	q->is_ready = true;
	return VG_BROKEN_NOT;
}

/* As the guest left it, as far as it could have come there; else why not. */
static enum vg_broken restore(struct vg_device *dev)
{
	const struct vg_state_regs *r = &dev->regs;
	enum vg_broken why = VG_BROKEN_NOT;
	unsigned int i;

	if (r->driver_features & ~dev->offered &&
	    r->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return VG_BROKEN_STATE;
	if (r->broken >= VG_BROKEN_MAX)
		return VG_BROKEN_STATE;
	dev->config_generation = r->config_generation;
	/* Nothing is under way any more: the reset is done. */
	if (r->flags & VG_STATE_RESETTING)
		return VG_BROKEN_NOT;
	dev->status = r->status & 0xffu & ~VIRTIO_CONFIG_S_NEEDS_RESET;
	dev->driver_features = r->driver_features;
	dev->offered_sel = r->offered_sel;
	dev->driver_sel = r->driver_sel;
	dev->queue_sel = r->queue_sel;
	if (r->status & VIRTIO_CONFIG_S_FEATURES_OK &&
	    dev->type->set_features &&
	    dev->type->set_features(dev->priv, r->driver_features) < 0)
		return VG_BROKEN_STATE;
	if (dev->type->put_state)
		dev->type->put_state(dev->priv, r->type_state);
	if (r->broken)
		return r->broken;
	if (vg_ext_restore(dev, r))
		return VG_BROKEN_STATE;
	for (i = 0; !why && i < dev->nr_queues; i++)
		why = queue_restore(&dev->queues[i], r);
	return why;
}

static void start_by_take_over(struct vg_device *dev)
{
	enum vg_broken why = VG_BROKEN_STATE;

	if (!vg_state_read(dev->state, dev->type->virtio_id, dev->nr_queues,
			   &dev->regs))
		why = restore(dev);
	if (why) {
		start_as_broken(dev, why);
		return;
	}
	dev->state->takeovers++;
	vg_device_save(dev);
}

static void start(struct vg_device *dev, const struct vg_device_params *p)
{
	if (p->start == VG_START_TAKE_OVER && dev->state)
		start_by_take_over(dev);
	else if (p->start == VG_START_RESET || p->start == VG_START_TAKE_OVER)
		start_as_broken(dev, p->start_broken ? p->start_broken :
						       VG_BROKEN_RESTARTED);
	else if (dev->state)
		vg_state_init(dev->state, dev->type->virtio_id, dev->nr_queues);
}

int vg_device_create(const struct vg_device_params *params,
		     struct vg_mem *mem, struct vg_loop *loop,
		     const struct vg_host_ops *host_ops, void *host,
		     struct vg_device **out)
{
	unsigned int size = params->queue_size_max;
	struct vg_device *dev = vg_zalloc(sizeof(*dev));
	int err;

	dev->label = vg_strdup(params->label);
	dev->type = params->type;
	dev->mem = mem;
	dev->loop = loop;
	dev->host_ops = host_ops;
	dev->host = host;
	dev->queue_size_max = size;
	dev->poll_max_ns = params->poll_max_ns;
	dev->poll_mmio_max_ns = params->poll_mmio_max_ns;
	dev->complaints.burst = 4;
	dev->stats.broken_queue = VG_NO_QUEUE;
	err = dev->type->create(dev, params->type_params, &dev->priv);
	if (err)
		goto free_dev;
	err = -EINVAL;
	if (!size || size > VG_VQ_NUM_MAX || size & (size - 1))
		goto destroy_type;
	dev->offered = vg_mmio_core_features() |
		       dev->type->features(dev->priv);
	dev->nr_queues = dev->type->nr_queues(dev->priv);
	if (dev->nr_queues <= VG_STATE_QUEUES_MAX &&
	    size <= VG_STATE_HEADS_MAX)
		dev->state = params->state;
	queues_create(dev);
	dev->work = vg_deferred_create(loop, work, dev);
	dev->retry = vg_timer_create(loop, retry_due, dev);
	start(dev, params);
	*out = dev;
	return 0;

destroy_type:
	dev->type->destroy(dev->priv);
free_dev:
	mem->ops->destroy(mem);
	free(dev->label);
	free(dev);
	return err;
}

void vg_device_destroy(struct vg_device *dev)
{
	if (!dev)
		return;
	vg_timer_destroy(dev->retry);
	vg_deferred_destroy(dev->work);
	queues_destroy(dev);
	dev->type->destroy(dev->priv);
	dev->mem->ops->destroy(dev->mem);
	free(dev->label);
	free(dev);
}

const struct vg_dev_stats *vg_device_stats(struct vg_device *dev)
{
	unsigned int i;

	dev->stats.status = dev->status |
		(dev->broken ? VIRTIO_CONFIG_S_NEEDS_RESET : 0u);
	dev->stats.driver_features = dev->driver_features;
	dev->stats.mem = dev->mem->stats;
	if (dev->state) {
		dev->stats.takeovers = dev->state->takeovers;
		dev->stats.redone = 0;
		for (i = 0; i < dev->nr_queues; i++)
			dev->stats.redone += dev->state->queue[i].redone;
	}
	return &dev->stats;
}

struct vg_loop *vg_device_loop(struct vg_device *dev)
{
	return dev->loop;
}

const char *vg_device_label(const struct vg_device *dev)
{
	return dev->label;
}

unsigned int vg_device_queue_size_max(const struct vg_device *dev)
{
	return dev->queue_size_max;
}

uint64_t *vg_device_type_stats(struct vg_device *dev)
{
	return dev->stats.type;
}
