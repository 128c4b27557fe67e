// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c - a virtio device between its registers, its queues, guest memory
 * and its type: see device.h.
 *
 * Not trusted: the guest.  What it can make us do in one turn of the loop is
 * bounded per queue; the rest waits for the next turn, after the neighbours.
 *
 * For each queue one deferred call does the work of a turn, in this order:
 * take requests from the ring and start them, submit them together, show the
 * driver what was completed (now or since the last turn), then notify it once
 * at the most.
 *
 * A request is the core's from pop to start(), the type's from start() to
 * vg_req_complete(), and is unmapped before the driver sees it used.  Where
 * memory wants it (mem.h, exchange), requests that were taken wait for each
 * other before start(), and completed ones before the used ring: then all that
 * a turn has to say to the domain's mapper is said at once.
 *
 * Threads.  If the driver has several queues ready when it sets DRIVER_OK,
 * each is run by its lane.  Main thread and lanes share what is changed only
 * between vg_device_freeze() and vg_device_thaw(), and these atomics:
 *
 *	to the lane	is_kicked_from_main	QueueNotify, then vg_lane_wake()
 *	to all lanes	is_halted		one of them found a bad ring
 *	to the main	is_bad, bad_*		... which; then wake_main()
 *	thread		stats, events, in_flight	counters, for show
 *
 * A lane that ends requests while wants_drain is set wakes the main thread,
 * which freezes and looks whether that was the last.
 */
#include "virtio/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "transport/ext.h"
#include "virtio/device_priv.h"

/* Requests that one queue may start in one turn. */
#define TURN_REQUESTS_MAX	64u
/*
 * ... and bytes, after which what is done is shown, and the driver told: it can
 * use them while we are at the next.
 */
#define TURN_BYTES_MAX		(256u << 10)
/* When something is short: so often a request is tried, or its result. */
#define RETRY_NS		(10u * 1000u * 1000u)
#define RETRIES_MAX		1000u
/* The same for a write to a register, for which a vCPU waits. */
#define AGAINS_MAX		100u

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
	[VG_BROKEN_UNDELIVERED] = { "undelivered",
		"the result of a request can't be written to the guest's memory" },
	[VG_BROKEN_SHORTAGE] = { "shortage",
		"the backend has been short of memory, or of mappings, for too long" },
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
	memset(dev->waiters, 0, sizeof(dev->waiters));
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
	       !dev->is_resetting && !dev->is_stopping && !dev->is_held;
}

static unsigned int in_flight(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->nr_queues; i++)
		n += count_read(dev->queues[i].in_flight);
	return n;
}

/* Of them, those that the type has: their end returns memory. */
static unsigned int started(const struct vg_device *dev)
{
	unsigned int i, n = in_flight(dev);

	for (i = 0; i < dev->nr_queues; i++)
		n -= count_read(dev->queues[i].nr_starting) +
		     count_read(dev->queues[i].nr_left);
	return n;
}

static void work_later(struct vg_device *dev)
{
	vg_deferred_schedule(dev->work);
}

/* ---- threads -------------------------------------------------------------- */

static void take_bad(struct vg_device *dev);

void vg_device_freeze(struct vg_device *dev)
{
	unsigned int i;

	if (dev->freezes++)
		return;
	for (i = 0; i < dev->nr_queues; i++)
		if (dev->queues[i].lane)
			vg_lane_pause(dev->queues[i].lane);
	/* Before its queue is stopped, and with it what it has to say. */
	if (count_read(dev->is_halted))
		take_bad(dev);
}

/* What follows for the queues from the state of the device. */
static void queue_update(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	/* Not into a ring that is being taken away. */
	q->may_show = q->is_ready && !q->is_draining && !dev->broken &&
		      !dev->is_resetting;
	q->may_take = q->may_show && q->loop && vg_device_is_live(dev);
	q->is_ending = q->is_draining || dev->is_resetting || dev->ext.closing ||
		       (dev->is_stopping && !dev->is_leaving);
}

void vg_device_thaw(struct vg_device *dev)
{
	bool wants = dev->is_resetting || dev->ext.closing ||
		     (dev->is_stopping && !dev->is_stopped);
	unsigned int i;

	if (--dev->freezes)
		return;
	for (i = 0; i < dev->nr_queues; i++) {
		queue_update(&dev->queues[i]);
		wants |= dev->queues[i].is_draining;
	}
	dev->wants_drain = wants;
	for (i = 0; i < dev->nr_queues; i++)
		if (dev->queues[i].lane)
			vg_lane_resume(dev->queues[i].lane);
}

static void wake_main(struct vg_device *dev)
{
	const uint64_t one = 1;

	/* Fails only when it is readable anyway. */
	if (write(dev->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* In the queue's own thread. */
static bool may_take(const struct vg_queue *q)
{
	return q->may_take && !count_read(q->dev->is_halted);
}

static bool may_show(const struct vg_queue *q)
{
	return q->may_show && !count_read(q->dev->is_halted);
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
	vg_device_freeze(dev);
	/* Maybe just now, by a lane: the first reason counts. */
	if (dev->broken) {
		vg_device_thaw(dev);
		return;
	}
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
	vg_device_thaw(dev);
	vg_device_save(dev);
}

/* In the queue's own thread: stops all of them, and has it said. */
static void queue_break(struct vg_queue *q, enum vg_broken why,
			enum vg_mem_fault fault, uint64_t value)
{
	struct vg_device *dev = q->dev;

	if (!q->lane) {
		vg_device_break(dev, q, why, fault, value);
		return;
	}
	if (q->is_bad)
		return;
	q->may_take = q->may_show = false;
	q->bad_why = why;
	q->bad_fault = fault;
	q->bad_value = value;
	__atomic_store_n(&dev->is_halted, true, __ATOMIC_RELAXED);
	/* After what it says; partner: take_bad(). */
	store_release(&q->is_bad, true);
	wake_main(dev);
}

static void take_bad(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		/* Partner: queue_break(). */
		if (q->lane && load_acquire(&q->is_bad))
			vg_device_break(dev, q, q->bad_why, q->bad_fault,
					q->bad_value);
	}
}

/* ---- requests ------------------------------------------------------------- */

static struct vg_slot *slot_of(struct vg_req *req)
{
	return container_of(req, struct vg_slot, req);
}

bool vg_req_is_ending(const struct vg_req *req)
{
	return container_of(req, struct vg_slot, req)->queue->is_ending;
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
		return -EAGAIN;
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

static void slots_init(struct vg_slots *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

static void slots_add(struct vg_slots *l, struct vg_slot *s)
{
	s->next = NULL;
	*l->tail = s;
	l->tail = &s->next;
}

/* Empties the list; what was in it, by ->next. */
static struct vg_slot *slots_take(struct vg_slots *l)
{
	struct vg_slot *first = l->first;

	slots_init(l);
	return first;
}

static void request_gone(struct vg_slot *s)
{
	struct vg_queue *q = s->queue;

	slot_put(s);
	count_add(q->in_flight, -1);
	count_add(q->stats->in_flight, -1);
}

static void request_show(struct vg_slot *s)
{
	struct vg_queue *q = s->queue;

	q->untold_bytes += s->req.out_bytes + s->req.in_bytes;
	count_add(q->stats->bytes_out, s->req.out_bytes);
	count_add(q->stats->bytes_in, s->used_bytes);
	if (may_show(q))
		vg_vq_push(&q->vq, s->head, s->used_bytes);
	request_gone(s);
}

/*
 * What the device wrote did not reach the guest; counted by memory.  To a driver,
 * used means done, whatever length goes with it: so it is not shown.
 */
static __attribute__((cold)) void
request_lost(struct vg_slot *s, enum vg_mem_fault fault)
{
	struct vg_queue *q = s->queue;

	if (may_show(q))
		queue_break(q, VG_BROKEN_UNDELIVERED, fault, s->head);
	request_gone(s);
}

void vg_req_complete(struct vg_req *req, uint32_t used_bytes)
{
	struct vg_slot *s = slot_of(req);
	struct vg_queue *q = s->queue;
	enum vg_mem_fault fault;
	int err;

	s->used_bytes = used_bytes;
	err = q->mem->ops->unmap_req(q->mem, s->mreq, &fault);
	if (err == VG_MEM_LATER)
		slots_add(&q->ending, s);
	else if (err)
		request_lost(s, fault);
	else
		request_show(s);
	q->is_completed = true;
	if (!q->is_working)
		vg_deferred_schedule(q->work);
}

/* For the main thread to do: ranges give way to what this queue wants. */
static void room_ask(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	q->mem->wants_room = false;
	__atomic_store_n(&dev->wants_room, true, __ATOMIC_RELAXED);
	if (q->lane)
		wake_main(dev);
	else
		work_later(dev);
}

static void room_make(struct vg_device *dev)
{
	if (!__atomic_exchange_n(&dev->wants_room, false, __ATOMIC_RELAXED) ||
	    !dev->mem->ops->make_room)
		return;
	vg_device_freeze(dev);
	dev->mem->ops->make_room(dev->mem);
	vg_device_thaw(dev);
}

/*
 * True: this is one more try.  The queue is looked at again in any case: that
 * memory comes back is nothing that we would be told of.
 */
static bool retry_later(struct vg_queue *q)
{
	if (vg_timer_is_armed(q->retry))
		return false;
	vg_timer_arm(q->retry, RETRY_NS);
	return true;
}

/*
 * Waits for memory: until a request of ours returns some, and for a while.  In
 * the end it is nobody's fault but must not go on for ever, unless it is a
 * request that the type has, of any queue, that has the memory.
 */
static __attribute__((cold)) void queue_stall(struct vg_queue *q)
{
	q->is_stalled = true;
	q->is_kicked = false;
	if (q->mem->wants_room)
		room_ask(q);
	if (retry_later(q) && !started(q->dev) && ++q->retries > RETRIES_MAX)
		queue_break(q, VG_BROKEN_SHORTAGE, VG_MEM_OK, 0);
}

/* True if it waited. */
static bool queue_unstall(struct vg_queue *q)
{
	if (!q->is_stalled)
		return false;
	q->is_stalled = false;
	q->is_kicked = true;
	return true;
}

static void retry_due(void *arg)
{
	struct vg_queue *q = arg;

	queue_unstall(q);
	vg_deferred_schedule(q->work);
}

/* 0, or -EPROTO: it is no request, and the device is broken. */
static int request_start(struct vg_slot *s, unsigned int nr_iov)
{
	const struct vg_dev_type *type = s->queue->dev->type;
	struct vg_queue *q = s->queue;
	enum vg_mem_fault fault;

	q->retries = 0;
	s->req.nr_in = nr_iov - s->req.nr_out;
	memset(s->req.type_priv, 0, type->req_priv_bytes);
	if (type->start(q->priv, &s->req) >= 0)
		return 0;
	queue_break(q, VG_BROKEN_REQUEST, VG_MEM_OK, s->head);
	s->used_bytes = 0;
	if (q->mem->ops->unmap_req(q->mem, s->mreq, &fault) == VG_MEM_LATER)
		slots_add(&q->ending, s);	/* and is not shown */
	else
		request_gone(s);
	return -EPROTO;
}

/*
 * 0, -EAGAIN (no memory now; nothing taken), or -EPROTO (the device is broken).
 */
static int request_take(struct vg_queue *q, const struct vg_chain *c)
{
	struct vg_device *dev = q->dev;
	struct vg_slot *s = q->free_slots;
	enum vg_mem_fault fault = VG_MEM_OK;
	unsigned int nr_iov = 0;
	int err;

	/* As many as the queue has entries, and no more can be outstanding. */
	if (!s) {
		queue_break(q, VG_BROKEN_AVAIL_INDEX, VG_MEM_OK, 0);
		return -EPROTO;
	}
	err = q->mem->ops->map_req(q->mem, c->segs, c->nr_segs, s->req.iov,
				   dev->type->segs_max, &s->req.nr_out,
				   &nr_iov, &s->mreq, &fault);
	if (err == -EAGAIN) {
		vg_vq_unpop(&q->vq);
		return err;
	}
	if (err < 0) {
		queue_break(q, VG_BROKEN_ADDRESS, fault, c->segs[0].addr);
		return -EPROTO;
	}
	q->free_slots = s->next;
	s->head = c->head;
	s->req.out_bytes = c->out_bytes;
	s->req.in_bytes = c->in_bytes;
	count_add(q->in_flight, 1);
	count_add(q->stats->in_flight, 1);
	count_add(q->stats->requests, 1);
	if (!err)
		return request_start(s, nr_iov);
	slots_add(&q->starting, s);
	count_add(q->nr_starting, 1);
	return 0;
}

/* What memory has said about a request that it had to ask for. */
static void request_begin(struct vg_slot *s)
{
	struct vg_queue *q = s->queue;
	enum vg_mem_fault fault = VG_MEM_OK;
	unsigned int nr_iov;
	int err;

	err = q->mem->ops->map_end(q->mem, s->mreq, s->req.iov,
				   q->dev->type->segs_max, &s->req.nr_out,
				   &nr_iov, &fault);
	if (err == -EAGAIN) {
		slots_add(&q->starting, s);
		return;
	}
	count_add(q->nr_starting, -1);
	if (!err) {
		request_start(s, nr_iov);
		return;
	}
	queue_break(q, VG_BROKEN_ADDRESS, fault, s->head);
	request_gone(s);
}

static bool has_exchange(const struct vg_queue *q)
{
	return q->starting.first || q->ending.first;
}

/* Results that nobody waits for any more, or that a successor will have. */
static void queue_drop_results(struct vg_queue *q)
{
	struct vg_slot *s, *next;
	enum vg_mem_fault fault;

	for (s = slots_take(&q->ending); s; s = next) {
		next = s->next;
		q->mem->ops->unmap_req(q->mem, s->mreq, &fault);
		request_gone(s);
	}
}

/* What completed goes to the used ring; true: none is left over. */
static bool queue_deliver(struct vg_queue *q)
{
	struct vg_slot *s, *next;
	enum vg_mem_fault fault;
	unsigned int left = 0;
	int err;

	for (s = slots_take(&q->ending); s; s = next) {
		next = s->next;
		err = q->mem->ops->unmap_end(q->mem, s->mreq, &fault);
		if (err == -EAGAIN) {
			slots_add(&q->ending, s);
			left++;
		} else if (err) {
			request_lost(s, fault);
		} else {
			request_show(s);
		}
	}
	if (left && may_show(q) && retry_later(q) &&
	    ++q->undelivered > RETRIES_MAX)
		queue_break(q, VG_BROKEN_UNDELIVERED, VG_MEM_OK,
			    q->ending.first->head);
	if (left && (!may_show(q) || (q->dev->is_leaving && q->dev->state))) {
		queue_drop_results(q);
		left = 0;
	}
	if (!left)
		q->undelivered = 0;
	__atomic_store_n(&q->nr_left, left, __ATOMIC_RELAXED);
	return !left;
}

/*
 * What was completed goes to the used ring, what was taken is started; what
 * there is no memory for has stalled the queue.  False: so have results.
 */
static __attribute__((noinline)) bool queue_exchange(struct vg_queue *q)
{
	struct vg_slot *s, *next;
	bool all;

	if (!has_exchange(q))
		return true;
	q->mem->ops->exchange(q->mem);
	all = queue_deliver(q);
	for (s = slots_take(&q->starting); s; s = next) {
		next = s->next;
		request_begin(s);
	}
	if (q->starting.first || !all)
		queue_stall(q);
	return all;
}

/* What completed since; not what could not go out a moment ago. */
static __attribute__((noinline)) void queue_end(struct vg_queue *q)
{
	const struct vg_dev_type *type = q->dev->type;
	bool all = !q->nr_left || !vg_timer_is_armed(q->retry);

	while (all && q->ending.first) {
		bool is_starting = q->starting.first;

		all = queue_exchange(q);
		if (is_starting && type->flush_batch)
			type->flush_batch(q->priv);
	}
}

/* The queue stops: what waits for memory is never started. */
static void queue_drop(struct vg_queue *q)
{
	struct vg_slot *s, *next;
	enum vg_mem_fault fault;

	for (s = slots_take(&q->starting); s; s = next) {
		next = s->next;
		count_add(q->nr_starting, -1);
		q->mem->ops->unmap_req(q->mem, s->mreq, &fault);
		request_gone(s);
	}
}

/* ---- looking before sleeping: poll.h ---------------------------------------- */

static uint64_t poll_max(const struct vg_queue *q)
{
	if (q->port_state == VIRTIO_GRANT_QUEUE_BOUND)
		return q->dev->poll_max_ns;
	return max_u(q->dev->poll_max_ns, q->dev->poll_mmio_max_ns);
}

static enum vg_poll_next poll_next(struct vg_queue *q)
{
	/* What is under way is submitted, and what is done shown, in turns. */
	bool has_work = q->in_flight || vg_vq_has_unpublished(&q->vq);
	bool was_looking = q->poll.until_ns, is_stolen;
	enum vg_poll_next next = vg_poll_next(&q->poll, has_work, &is_stolen);

	if (is_stolen)
		count_add(q->stats->polls_stolen, 1);
	else if (next == VG_POLL_SLEEP && was_looking)
		count_add(q->stats->polls_missed, 1);
	return next;
}

/*
 * Whether the driver can wait to be told.  Not if requests are under way, which
 * take their own time.
 */
static bool poll_holds(struct vg_queue *q, bool is_looking)
{
	return vg_poll_holds(&q->poll, vg_vq_unasked(&q->vq),
			     vg_vq_depth(&q->vq),
			     is_looking && !q->in_flight &&
				     q->untold_bytes < TURN_BYTES_MAX);
}

/* Takes what is there, within a turn's bound.  True: there may be more. */
static bool queue_run(struct vg_queue *q)
{
	unsigned int budget = TURN_REQUESTS_MAX;
	uint64_t bytes = 0;
	struct vg_chain c;

	vg_poll_turn(&q->poll, poll_max(q));
	vg_vq_busy(&q->vq);
	while (budget-- && bytes < TURN_BYTES_MAX) {
		int n = vg_vq_pop(&q->vq, &c);
		bool is_ending = q->ending.first;

		if (n > 0) {
			if (vg_poll_found(&q->poll))
				count_add(q->stats->polls_hit, 1);
			n = request_take(q, &c);
			bytes += (uint64_t)c.out_bytes + c.in_bytes;
			if (!n)
				continue;
		} else if (n == -EPROTO) {
			queue_break(q, q->vq.broken, q->vq.fault,
				    q->vq.bad_value);
		}
		/* What came before it, whatever is wrong with this one. */
		if (has_exchange(q)) {
			queue_exchange(q);
			if (!may_take(q) || q->is_stalled)
				return false;
			/* There may be more by now; or memory, if that lacks. */
			if (!n || is_ending)
				continue;
		}
		if (n == -EAGAIN)
			queue_stall(q);
		if (n < 0)
			return false;
		if (n == 0) {
			enum vg_poll_next next = poll_next(q);

			if (next == VG_POLL_TURN)
				return true;
			if (next == VG_POLL_SPIN) {
				budget++;
				continue;
			}
			if (!vg_vq_sleep(&q->vq))
				continue;
			vg_poll_sleep(&q->poll, poll_max(q));
			q->is_kicked = false;
			return false;
		}
	}
	queue_exchange(q);
	return !q->is_stalled;
}

/* ---- stopping: queue, reset, device ---------------------------------------- */

static void waiter_add(struct vg_device *dev, const struct vg_reg_access *acc,
		       enum vg_wait wait, struct vg_queue *q)
{
	dev->waiters[acc->vcpu] = (struct vg_waiter){ wait, acc->seq, q };
}

/*
 * A vCPU has one access at a time: its broker has given up what it waited for
 * before.  An answer to that would come in the place of the next one's.
 */
void vg_device_forget_waiter(struct vg_device *dev,
			     const struct vg_reg_access *acc)
{
	dev->waiters[acc->vcpu].wait = VG_WAIT_NOT;
}

static void waiter_answer(struct vg_device *dev, unsigned int vcpu)
{
	struct vg_waiter *w = &dev->waiters[vcpu];

	w->wait = VG_WAIT_NOT;
	save_answer(dev, vcpu, w->seq, 0);
	reply(dev, vcpu, w->seq, 0);
}

/* All that wait for @q; NULL: for anything. */
static void waiters_answer(struct vg_device *dev, const struct vg_queue *q)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dev->waiters); i++)
		if (dev->waiters[i].wait && (!q || dev->waiters[i].queue == q))
			waiter_answer(dev, i);
}

void vg_device_wait_reset(struct vg_device *dev,
			  const struct vg_reg_access *acc)
{
	waiter_add(dev, acc, VG_WAIT_DEVICE, NULL);
}

static void again_later(struct vg_device *dev)
{
	if (vg_timer_is_armed(dev->again))
		return;
	dev->agains = 0;
	vg_timer_arm(dev->again, RETRY_NS);
}

void vg_device_wait_range(struct vg_device *dev,
			  const struct vg_reg_access *acc, enum vg_wait wait)
{
	waiter_add(dev, acc, wait, NULL);
	if (wait == VG_WAIT_AGAIN)
		again_later(dev);
}

void vg_device_answer_ranges(struct vg_device *dev, enum vg_wait wait)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dev->waiters); i++)
		if (dev->waiters[i].wait == wait && !dev->waiters[i].queue)
			waiter_answer(dev, i);
}

/*
 * What was not done yet is the successor's to do, who is asked again for what
 * was not answered.
 */
static void waiters_leave(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dev->waiters); i++)
		if (dev->waiters[i].wait == VG_WAIT_AGAIN)
			dev->waiters[i].wait = VG_WAIT_NOT;
}

static void queue_work(void *arg);
static void lane_woken(void *arg);

static struct vg_lane *lane_create(struct vg_queue *q)
{
	struct vg_lane *lane;
	char name[16];
	int err;

	snprintf(name, sizeof(name), "vg-queue-%u", q->index);
	err = vg_lane_create(name, lane_woken, q, &lane);
	if (!err)
		return lane;
	vg_warn("%s: queue %u: no thread (%s): the main one runs it",
		q->dev->label, q->index, strerror(-err));
	return NULL;
}

/* Frozen.  Tells the type what stays mapped. */
static void queue_show_areas(struct vg_queue *q)
{
	struct iovec areas[VG_MEM_RANGES_MAX];
	struct vg_device *dev = q->dev;

	if (!q->loop || !dev->type->queue_areas || !dev->mem->ops->areas)
		return;
	dev->mem->ops->areas(dev->mem, areas);
	dev->type->queue_areas(q->priv, areas);
}

/* Frozen, as whoever adds or removes ranges has it. */
static void areas_change(void *arg)
{
	struct vg_device *dev = arg;
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		queue_show_areas(&dev->queues[i]);
}

/* Frozen.  From here on the queue can be run. */
static void queue_place(struct vg_queue *q, bool own_thread)
{
	struct vg_device *dev = q->dev;

	if (q->loop)
		return;
	if (own_thread)
		q->lane = lane_create(q);
	q->loop = q->lane ? vg_lane_loop(q->lane) : dev->loop;
	q->work = vg_deferred_create(q->loop, queue_work, q);
	q->retry = vg_timer_create(q->loop, retry_due, q);
	q->priv = dev->priv;
	if (dev->type->queue_create)
		q->priv = dev->type->queue_create(dev->priv, q->loop,
						  q->stats->type);
	queue_show_areas(q);
	if (q->lane)
		dev->host_ops->move_queue(dev->host, q->index, q->loop);
}

/* Frozen, and no request is under way. */
static void queue_unplace(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	if (!q->loop)
		return;
	if (q->lane)
		dev->host_ops->move_queue(dev->host, q->index, dev->loop);
	if (dev->type->queue_destroy)
		dev->type->queue_destroy(q->priv);
	q->priv = NULL;
	vg_timer_destroy(q->retry);
	q->retry = NULL;
	vg_deferred_destroy(q->work);
	q->work = NULL;
	vg_lane_destroy(q->lane);
	q->lane = NULL;
	q->loop = NULL;
}

static unsigned int nr_ready(const struct vg_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->nr_queues; i++)
		n += dev->queues[i].is_ready;
	return n;
}

/* Frozen: it looks at its ring in its next turn. */
static void queue_kick(struct vg_queue *q)
{
	q->is_kicked = true;
	vg_deferred_schedule(q->work);
}

/* Frozen. */
static void queues_start(struct vg_device *dev)
{
	bool own_threads = dev->may_thread && nr_ready(dev) > 1;
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		if (!dev->queues[i].is_ready)
			continue;
		queue_place(&dev->queues[i], own_threads);
		queue_kick(&dev->queues[i]);
	}
}

/* Memory is counted by who uses it; shown where others can read it. */
static void queue_show_mem(struct vg_queue *q)
{
	const uint64_t *from = (const uint64_t *)&q->mem->stats;
	uint64_t *to = (uint64_t *)&q->stats->mem;
	unsigned int i;

	if (q->mem == q->dev->mem)
		return;
	for (i = 0; i < sizeof(q->mem->stats) / sizeof(*from); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* Frozen, and no request is under way. */
static void queue_unmap(struct vg_queue *q)
{
	queue_unplace(q);
	vg_vq_unmap(&q->vq);
	queue_show_mem(q);
	q->is_ready = false;
	q->is_enabling = false;
	q->is_draining = false;
	q->is_kicked = false;
	q->is_kicked_from_main = false;
	q->is_stalled = false;
	q->is_completed = false;
	q->is_bad = false;
	q->retries = 0;
	q->undelivered = 0;
	q->untold_bytes = 0;
	vg_poll_reset(&q->poll);
}

static void queue_drained(struct vg_queue *q)
{
	queue_unmap(q);
	waiters_answer(q->dev, q);
}

void vg_queue_disable(struct vg_queue *q, const struct vg_reg_access *acc)
{
	vg_device_freeze(q->dev);
	q->is_kicked = false;
	q->is_stalled = false;
	q->is_enabling = false;
	waiter_add(q->dev, acc, VG_WAIT_QUEUE, q);
	if ((q->is_ready && q->in_flight) || q->dev->is_held)
		q->is_draining = true;
	else
		queue_drained(q);
	vg_device_thaw(q->dev);
}

/* The queue's memory.  -EAGAIN: it is short.  Another: the device is broken. */
static int queue_map(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	int err;

	if (q->cfg.num > dev->queue_size_max) {
		vg_device_break(dev, q, VG_BROKEN_QUEUE_SIZE, VG_MEM_OK,
				q->cfg.num);
		return -EINVAL;
	}
	err = slots_create(q);
	if (!err)
		err = vg_vq_map(&q->vq, &q->cfg);
	if (q->mem->wants_room)
		room_ask(q);
	if (err && err != -EAGAIN)
		vg_device_break(dev, q, q->vq.broken, q->vq.fault,
				q->vq.bad_value);
	return err;
}

/* Frozen.  As queue_map(). */
static int queue_enable(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;
	int err = queue_map(q);

	if (err)
		return err;
	q->is_ready = true;
	/* Before anything is taken from it: its log is empty now. */
	vg_device_save(dev);
	queue_show_mem(q);
	if (vg_device_is_live(dev)) {
		queue_place(q, dev->may_thread && nr_ready(dev) > 1);
		queue_kick(q);
	}
	return 0;
}

bool vg_queue_enable(struct vg_queue *q, const struct vg_reg_access *acc)
{
	struct vg_device *dev = q->dev;

	vg_device_freeze(dev);
	q->is_enabling = queue_enable(q) == -EAGAIN;
	if (q->is_enabling) {
		waiter_add(dev, acc, VG_WAIT_AGAIN, q);
		again_later(dev);
	}
	vg_device_thaw(dev);
	return q->is_enabling;
}

/* Frozen.  What has come between is the answer, too. */
static void queue_enable_again(struct vg_queue *q, bool is_last)
{
	struct vg_device *dev = q->dev;
	int err = 0;

	if (!dev->broken && !dev->is_resetting && !dev->is_stopping)
		err = queue_enable(q);
	if (err == -EAGAIN && !is_last)
		return;
	if (err == -EAGAIN)
		vg_device_break(dev, q, VG_BROKEN_SHORTAGE, VG_MEM_OK, 0);
	q->is_enabling = false;
	waiters_answer(dev, q);
}

/* Something was short for writes to registers: once more, for a while. */
static void again_due(void *arg)
{
	struct vg_device *dev = arg;
	bool is_last = ++dev->agains >= AGAINS_MAX;
	bool is_more = false;
	unsigned int i;

	room_make(dev);
	vg_device_freeze(dev);
	for (i = 0; i < dev->nr_queues; i++) {
		if (dev->queues[i].is_enabling)
			queue_enable_again(&dev->queues[i], is_last);
		is_more |= dev->queues[i].is_enabling;
	}
	vg_ext_again(dev, is_last);
	if (is_more || dev->ext.announcing)
		vg_timer_arm(dev->again, RETRY_NS);
	vg_device_thaw(dev);
}

static void all_unmap(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		queue_unmap(&dev->queues[i]);
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
	dev->is_halted = false;
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
	bool idle;
	unsigned int i;

	if (!dev->wants_drain)
		return;
	/* What is under way is none of ours; who leaves need not know. */
	if (dev->is_held && !dev->is_leaving)
		return;
	vg_device_freeze(dev);
	idle = !in_flight(dev);
	for (i = 0; i < dev->nr_queues; i++)
		if (dev->queues[i].is_draining && !dev->queues[i].in_flight)
			queue_drained(&dev->queues[i]);
	vg_ext_drained(dev);
	if (idle && dev->is_resetting)
		reset_finish(dev);
	if (idle && dev->is_stopping && !dev->is_stopped) {
		if (dev->is_leaving)
			waiters_leave(dev);
		all_unmap(dev);
		vg_ext_reset(dev);
		waiters_answer(dev, NULL);
		dev->is_stopped = true;
		dev->host_ops->stopped(dev->host);
	}
	vg_device_thaw(dev);
}

void vg_device_reset(struct vg_device *dev, const struct vg_reg_access *acc)
{
	vg_device_freeze(dev);
	waiter_add(dev, acc, VG_WAIT_DEVICE, NULL);
	dev->is_resetting = true;
	vg_device_save(dev);
	vg_device_thaw(dev);
	drained_check(dev);
}

void vg_device_release(struct vg_device *dev)
{
	if (!dev->is_held)
		return;
	vg_device_freeze(dev);
	dev->is_held = false;
	vg_device_thaw(dev);
	drained_check(dev);
	vg_device_resume(dev);
}

void vg_device_leave(struct vg_device *dev)
{
	vg_device_freeze(dev);
	dev->is_leaving = true;
	vg_device_thaw(dev);
	vg_device_stop(dev);
}

void vg_device_stop(struct vg_device *dev)
{
	vg_device_freeze(dev);
	dev->is_stopping = true;
	vg_device_thaw(dev);
	drained_check(dev);
}

/* ---- the work of a turn ----------------------------------------------------- */

/*
 * True if the driver wants to be interrupted; one with an event channel is
 * told here.
 */
static bool queue_publish(struct vg_queue *q, bool is_looking)
{
	struct vg_device *dev = q->dev;

	if (!may_show(q))
		return false;
	if (vg_vq_has_unpublished(&q->vq)) {
		count_add(q->stats->batches, 1);
		vg_vq_show(&q->vq);
	}
	if (!vg_vq_unasked(&q->vq) || poll_holds(q, is_looking))
		return false;
	q->untold_bytes = 0;
	if (!vg_vq_wants_event(&q->vq)) {
		count_add(q->stats->irqs_suppressed, 1);
		return false;
	}
	if (q->port_state != VIRTIO_GRANT_QUEUE_BOUND)
		return true;
	count_add(q->stats->events_sent, 1);
	dev->host_ops->notify_queue(dev->host, q->index);
	return false;
}

/* One interrupt for all that is due. */
static void raise_irqs(struct vg_device *dev, bool is_used)
{
	uint32_t irq = 0;

	if (is_used || dev->used_irq_due) {
		dev->used_irq_due = false;
		dev->stats.irqs_used++;
		irq |= VG_IRQ_USED;
	}
	if (dev->config_irq_due) {
		dev->config_irq_due = false;
		dev->stats.irqs_config++;
		irq |= VG_IRQ_CONFIG;
	}
	if (irq)
		dev->host_ops->raise_irq(dev->host, irq);
}

static void queue_work(void *arg)
{
	struct vg_queue *q = arg;
	struct vg_device *dev = q->dev;
	bool is_more = false, wants_irq;

	q->is_working = true;
	if (q->is_completed)
		queue_unstall(q);
	q->is_completed = false;
	if (q->is_kicked && may_take(q))
		is_more = queue_run(q);
	if (!may_take(q))
		queue_drop(q);
	if (dev->type->flush_batch)
		dev->type->flush_batch(q->priv);
	if (q->ending.first)
		queue_end(q);
	wants_irq = queue_publish(q, is_more && q->poll.until_ns);
	q->is_working = false;
	/* Completed while we were at it: there is memory for who waits. */
	if (q->is_completed && queue_unstall(q))
		is_more = true;
	if (is_more)
		vg_deferred_schedule(q->work);
	queue_show_mem(q);
	if (!q->lane) {
		raise_irqs(dev, wants_irq);
		if (dev->host_ops->worked)
			dev->host_ops->worked(dev->host);
		drained_check(dev);	/* may be the end of this queue */
		return;
	}
	if (wants_irq) {
		count_add(q->stats->irqs_used, 1);
		dev->host_ops->raise_irq_now(dev->host, VG_IRQ_USED);
	}
	if (dev->wants_drain)
		wake_main(dev);
}

/* In the lane's thread: the main thread wants the queue looked at. */
static void lane_woken(void *arg)
{
	struct vg_queue *q = arg;

	/* Partner: the release in vg_device_notify(). */
	if (!__atomic_exchange_n(&q->is_kicked_from_main, false,
				 __ATOMIC_ACQUIRE))
		return;
	q->is_kicked = true;
	vg_deferred_schedule(q->work);
}

static void device_work(void *arg)
{
	struct vg_device *dev = arg;

	room_make(dev);
	raise_irqs(dev, false);
	drained_check(dev);
}

static void on_lanes(void *arg)
{
	struct vg_device *dev = arg;
	uint64_t n;

	if (read(dev->wake_fd, &n, sizeof(n)) != sizeof(n))
		return;
	take_bad(dev);
	room_make(dev);
	drained_check(dev);
}

void vg_device_notify(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = queue < dev->nr_queues ? &dev->queues[queue] :
						      NULL;

	dev->stats.notifies++;
	/* Without a loop: of a predecessor; vg_device_resume() comes. */
	if (!q || !q->loop || q->is_draining || !vg_device_is_live(dev)) {
		dev->stats.spurious_notifies++;
	} else if (q->lane && !dev->freezes) {
		store_release(&q->is_kicked_from_main, true);
		vg_lane_wake(q->lane);
	} else {
		queue_kick(q);
	}
}

void vg_device_event(struct vg_device *dev, unsigned int queue)
{
	struct vg_queue *q = &dev->queues[queue];

	count_add(q->stats->events_received, 1);
	count_add(q->stats->notifies, 1);
	count_add(q->events, 1);
	if (!may_take(q)) {
		count_add(q->stats->spurious_notifies, 1);
		return;
	}
	q->is_kicked = true;
	vg_deferred_schedule(q->work);
}

void vg_device_kick_all(struct vg_device *dev)
{
	vg_device_freeze(dev);
	if (vg_device_is_live(dev))
		queues_start(dev);
	/* It broke while there was no driver to tell. */
	if (dev->broken)
		dev->config_irq_due = true;
	work_later(dev);
	vg_device_thaw(dev);
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
		q->mem = dev->mem;
		if (dev->may_thread)
			q->mem = dev->mem->ops->view(dev->mem);
		slots_init(&q->starting);
		slots_init(&q->ending);
		q->stats = dev->queue_stats ? &dev->queue_stats[i] :
						  &dev->stats;
		vg_vq_init(&q->vq, q->mem, dev->type->segs_max);
		if (dev->state)
			vg_vq_set_log(&q->vq, &dev->state->queue[i]);
	}
}

static void queues_destroy(struct vg_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vg_queue *q = &dev->queues[i];

		vg_vq_exit(&q->vq);
		free(q->slot_memory);
		if (q->mem != dev->mem)
			q->mem->ops->destroy(q->mem);
	}
	free(dev->queues);
}

/* For several queues: counters of their own, and a way for them to call. */
static int threads_create(struct vg_device *dev,
			  const struct vg_device_params *params)
{
	int err;

	dev->wake_fd = -1;
	if (dev->nr_queues < 2)
		return 0;
	dev->has_own_stats = !params->queue_stats;
	dev->queue_stats = params->queue_stats;
	if (!dev->queue_stats)
		dev->queue_stats = vg_calloc(dev->nr_queues,
					     sizeof(*dev->queue_stats));
	memset(dev->queue_stats, 0, dev->nr_queues * sizeof(*dev->queue_stats));
	dev->may_thread = params->may_thread && dev->mem->ops->view &&
			  dev->host_ops->raise_irq_now;
	if (!dev->may_thread)
		return 0;
	dev->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->wake_fd < 0)
		return -errno;
	err = vg_loop_add_fd(dev->loop, dev->wake_fd, on_lanes, dev,
			     &dev->wake_vfd);
	if (err)
		close(dev->wake_fd);
	return err;
}

static void threads_destroy(struct vg_device *dev)
{
	if (dev->wake_vfd) {
		vg_loop_del_fd(dev->loop, dev->wake_vfd);
		close(dev->wake_fd);
	}
	if (dev->has_own_stats)
		free(dev->queue_stats);
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

/* 0, or why the queue can't go on; *err, if a call failed. */
static enum vg_broken queue_restore(struct vg_queue *q,
				    const struct vg_state_regs *r, int *err)
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
	if (q->cfg.num > dev->queue_size_max)
		return VG_BROKEN_STATE;
	*err = slots_create(q);
	if (*err)
		return VG_BROKEN_STATE;
	*err = vg_vq_take_over(&q->vq, &q->cfg);
	if (vg_error_passes(*err))
		return VG_BROKEN_STATE;
	if (*err) {
		vg_warn("%s: taking over: queue %u: %s, 0x%llx", dev->label, i,
			vg_broken_name(q->vq.broken),
			(unsigned long long)q->vq.bad_value);
		return q->vq.broken;
	}
	q->is_ready = true;
	return VG_BROKEN_NOT;
}

/*
 * As the guest left it, as far as it could have come there; else why not, and
 * *err, if a call failed.
 */
static enum vg_broken restore(struct vg_device *dev, int *err)
{
	const struct vg_state_regs *r = &dev->regs;
	enum vg_broken why = VG_BROKEN_NOT;
	unsigned int i;

	/* The predecessor may have been an older one. */
	if (r->driver_features & ~(dev->offered | VG_MMIO_INDIRECT) &&
	    r->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return VG_BROKEN_STATE;
	if (r->broken >= VG_BROKEN_MAX)
		return VG_BROKEN_STATE;
	dev->config_generation = r->config_generation;
	if (r->flags & VG_STATE_RESETTING) {
		/* Done when nothing is under way any more. */
		dev->is_resetting = dev->is_held;
		if (dev->is_held)
			dev->status = r->status & 0xffu;
		return VG_BROKEN_NOT;
	}
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
	*err = vg_ext_restore(dev, r);
	if (*err)
		return VG_BROKEN_STATE;
	for (i = 0; !why && i < dev->nr_queues; i++)
		why = queue_restore(&dev->queues[i], r, err);
	return why;
}

/*
 * What Xen refuses is asked for once more before it is believed: a device that
 * could have gone on is lost with it.
 */
static enum vg_broken restore_surely(struct vg_device *dev, int *err)
{
	enum vg_broken why = restore(dev, err);

	if (!why || !*err)
		return why;
	all_unmap(dev);
	vg_ext_reset(dev);
	*err = 0;
	return restore(dev, err);
}

/* Negative errno: the state is as it was, and later it may work. */
static int start_by_take_over(struct vg_device *dev)
{
	enum vg_broken why = VG_BROKEN_STATE;
	int err = 0;

	if (!vg_state_read(dev->state, dev->type->virtio_id, dev->nr_queues,
			   &dev->regs))
		why = restore_surely(dev, &err);
	else
		vg_warn("%s: taking over: no whole state", dev->label);
	if (vg_error_passes(err)) {
		vg_warn("%s: taking over: something is short for the moment",
			dev->label);
		all_unmap(dev);
		vg_ext_reset(dev);
		return err;
	}
	if (why) {
		start_as_broken(dev, why);
		return 0;
	}
	dev->state->takeovers++;
	vg_device_save(dev);
	return 0;
}

static int start(struct vg_device *dev, const struct vg_device_params *p)
{
	if (p->start == VG_START_TAKE_OVER && dev->state) {
		return start_by_take_over(dev);
	} else if (p->start != VG_START_NEW) {
		start_as_broken(dev, p->start_broken ? p->start_broken :
						       VG_BROKEN_RESTARTED);
	} else if (dev->state) {
		vg_state_init(dev->state, dev->type->virtio_id, dev->nr_queues);
		vg_device_save(dev);
	}
	return 0;
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
	dev->is_held = params->is_held;
	err = dev->type->create(dev, params->type_params, &dev->priv);
	if (err)
		goto free_dev;
	err = -EINVAL;
	if (!size || size > VG_VQ_NUM_MAX || size & (size - 1))
		goto destroy_type;
	dev->offered = vg_mmio_core_features(size) |
		       dev->type->features(dev->priv);
	dev->nr_queues = dev->type->nr_queues(dev->priv);
	if (dev->nr_queues <= VG_STATE_QUEUES_MAX &&
	    size <= VG_STATE_HEADS_MAX)
		dev->state = params->state;
	err = threads_create(dev, params);
	if (err)
		goto destroy_threads;
	queues_create(dev);
	dev->work = vg_deferred_create(loop, device_work, dev);
	dev->again = vg_timer_create(loop, again_due, dev);
	mem->areas_arg = dev;
	mem->areas_change = areas_change;
	err = start(dev, params);
	if (err) {
		vg_device_destroy(dev);
		return err;
	}
	*out = dev;
	return 0;

destroy_threads:
	threads_destroy(dev);
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
	vg_deferred_destroy(dev->work);
	vg_timer_destroy(dev->again);
	queues_destroy(dev);
	threads_destroy(dev);
	dev->type->destroy(dev->priv);
	dev->mem->ops->destroy(dev->mem);
	free(dev->label);
	free(dev);
}

const struct vg_dev_stats *vg_device_own_stats(struct vg_device *dev)
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
			dev->stats.redone +=
				count_read(dev->state->queue[i].redone);
	}
	return &dev->stats;
}

void vg_dev_stats_add(struct vg_dev_stats *sum, const struct vg_dev_stats *q)
{
	/* From here on nothing but counters. */
	const size_t first = offsetof(struct vg_dev_stats, accesses) /
			     sizeof(uint64_t);
	const uint64_t *from = (const uint64_t *)q;
	uint64_t *to = (uint64_t *)sum;
	uint64_t most = max_u(sum->mem.mapped_pages_max,
			      count_read(q->mem.mapped_pages_max));
	size_t i;

	for (i = first; i < sizeof(*sum) / sizeof(uint64_t); i++)
		to[i] += count_read(from[i]);
	sum->mem.mapped_pages_max = most;	/* not ever at one time */
}

const struct vg_dev_stats *vg_device_stats(struct vg_device *dev)
{
	unsigned int i;

	vg_device_own_stats(dev);
	if (!dev->queue_stats)
		return &dev->stats;
	dev->total = dev->stats;
	for (i = 0; i < dev->nr_queues; i++)
		vg_dev_stats_add(&dev->total, &dev->queue_stats[i]);
	return &dev->total;
}

const char *vg_device_label(const struct vg_device *dev)
{
	return dev->label;
}

unsigned int vg_device_queue_size_max(const struct vg_device *dev)
{
	return dev->queue_size_max;
}
