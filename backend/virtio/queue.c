// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue.c - the requests of one queue, and the work of a turn.
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
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "virtio/device_priv.h"

/* Requests that one queue may start in one turn. */
#define TURN_REQUESTS_MAX	64u
/*
 * ... and bytes, after which what is done is shown, and the driver told: it can
 * use them while we are at the next.
 */
#define TURN_BYTES_MAX		(256u << 10)
#define RETRIES_MAX		1000u

/* In the queue's own thread. */
static bool may_show(const struct vg_queue *q)
{
	return q->may_show && !count_read(q->dev->is_halted);
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
	vg_device_wake_main(dev);
}

/* ---- requests ----------------------------------------------------------- */

static struct vg_request *request_of(struct vg_req *req)
{
	return container_of(req, struct vg_request, req);
}

bool vg_req_is_ending(const struct vg_req *req)
{
	return container_of(req, struct vg_request, req)->queue->is_ending;
}

static void request_put(struct vg_request *r)
{
	r->next = r->queue->free_requests;
	r->queue->free_requests = r;
}

static size_t round_up16(size_t bytes)
{
	return (bytes + 15) & ~(size_t)15;
}

static size_t request_iov_bytes(const struct vg_queue *q)
{
	return round_up16(q->traits->segs_max * sizeof(struct iovec));
}

/* The request, its segments, what its type has. */
static size_t request_bytes(const struct vg_queue *q)
{
	return round_up16(sizeof(struct vg_request)) + request_iov_bytes(q) +
	       round_up16(q->dev->type->req_priv_bytes);
}

/* In one piece, reserved when the queue is first used. */
int vg_queue_requests_create(struct vg_queue *q)
{
	if (!q->request_memory)
		q->request_memory = calloc(q->num_max, request_bytes(q));
	return q->request_memory ? 0 : -EAGAIN;
}

/*
 * One that is free, or one more: of a queue that has never had many under way,
 * few pages of what is reserved are ever touched.  NULL: all are under way.
 */
static struct vg_request *request_get(struct vg_queue *q)
{
	size_t head_bytes = round_up16(sizeof(struct vg_request));
	struct vg_request *r = q->free_requests;
	uint8_t *p;

	if (r || q->requests_made == q->num_max)
		return r;
	p = q->request_memory + q->requests_made++ * request_bytes(q);
	r = (void *)p;
	r->queue = q;
	r->req.dev = q->dev;
	r->req.queue = q->index;
	r->req.iov = (void *)(p + head_bytes);
	r->req.type_priv = p + head_bytes + request_iov_bytes(q);
	request_put(r);
	return r;
}

static void list_init(struct vg_requests *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

static void list_add(struct vg_requests *l, struct vg_request *r)
{
	r->next = NULL;
	*l->tail = r;
	l->tail = &r->next;
}

/* Empties the list; what was in it, by ->next. */
static struct vg_request *list_take(struct vg_requests *l)
{
	struct vg_request *first = l->first;

	list_init(l);
	return first;
}

static void request_gone(struct vg_request *r)
{
	struct vg_queue *q = r->queue;

	request_put(r);
	count_add(q->in_flight, -1);
	count_add(q->stats->in_flight, -1);
}

static void request_show(struct vg_request *r)
{
	struct vg_queue *q = r->queue;

	q->untold_bytes += r->req.out_bytes + r->req.in_bytes;
	count_add(q->stats->bytes_out, r->req.out_bytes);
	count_add(q->stats->bytes_in, r->used_bytes);
	if (may_show(q))
		vg_vq_push(&q->vq, r->head, r->used_bytes);
	request_gone(r);
}

/*
 * What the device wrote did not reach the guest; counted by memory.  To a
 * driver, used means done, whatever length goes with it: so it is not shown.
 */
static __attribute__((cold)) void
request_lost(struct vg_request *r, enum vg_mem_fault fault)
{
	struct vg_queue *q = r->queue;

	if (may_show(q))
		queue_break(q, VG_BROKEN_UNDELIVERED, fault, r->head);
	request_gone(r);
}

static void request_ended(struct vg_queue *q)
{
	q->is_completed = true;
	if (!q->is_working)
		vg_deferred_schedule(q->work);
}

void vg_req_complete(struct vg_req *req, uint32_t used_bytes)
{
	struct vg_request *r = request_of(req);
	struct vg_queue *q = r->queue;
	enum vg_mem_fault fault;
	int err;

	r->used_bytes = used_bytes;
	err = q->mem->ops->unmap_req(q->mem, r->mreq, &fault);
	if (err == VG_MEM_LATER)
		list_add(&q->ending, r);
	else if (err)
		request_lost(r, fault);
	else
		request_show(r);
	request_ended(q);
}

void vg_req_cancel(struct vg_req *req)
{
	struct vg_request *r = request_of(req);
	struct vg_queue *q = r->queue;
	enum vg_mem_fault fault;

	if (!q->dev->is_leaving || !q->dev->state) {
		vg_req_complete(req, 0);
		return;
	}
	/* To its log it is under way, as it was to us. */
	if (q->mem->ops->unmap_req(q->mem, r->mreq, &fault) == VG_MEM_LATER)
		q->mem->ops->unmap_req(q->mem, r->mreq, &fault);
	request_gone(r);
	request_ended(q);
}

void vg_queue_want(struct vg_device *dev, unsigned int queue, unsigned int n)
{
	struct vg_queue *q = &dev->queues[queue];

	q->want = n;
	if (!n)
		return;
	q->is_kicked = true;
	if (!q->is_working && q->work)
		vg_deferred_schedule(q->work);
}

/* For the main thread to do: ranges give way to what this queue wants. */
void vg_queue_ask_room(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	q->mem->wants_room = false;
	__atomic_store_n(&dev->wants_room, true, __ATOMIC_RELAXED);
	if (q->lane)
		vg_device_wake_main(dev);
	else
		vg_device_work_later(dev);
}

/*
 * True: this is one more try.  The queue is looked at again in any case: that
 * memory comes back is nothing that we would be told of.
 */
static bool retry_later(struct vg_queue *q)
{
	if (vg_timer_is_armed(q->retry))
		return false;
	vg_timer_arm(q->retry, VG_RETRY_NS);
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
		vg_queue_ask_room(q);
	if (retry_later(q) && !vg_device_nr_started(q->dev) &&
	    ++q->retries > RETRIES_MAX)
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

void vg_queue_retry(void *arg)
{
	struct vg_queue *q = arg;

	queue_unstall(q);
	vg_deferred_schedule(q->work);
}

/* 0, or -EPROTO: it is no request, and the device is broken. */
static int request_start(struct vg_request *r,
			 const struct vg_mem_bufs *bufs)
{
	const struct vg_dev_type *type = r->queue->dev->type;
	struct vg_queue *q = r->queue;
	enum vg_mem_fault fault;

	q->retries = 0;
	r->req.nr_out = bufs->nr_out;
	r->req.nr_in = bufs->nr - bufs->nr_out;
	memset(r->req.type_priv, 0, type->req_priv_bytes);
	if (type->start(q->priv, &r->req) >= 0)
		return 0;
	queue_break(q, VG_BROKEN_REQUEST, VG_MEM_OK, r->head);
	r->used_bytes = 0;
	if (q->mem->ops->unmap_req(q->mem, r->mreq, &fault) == VG_MEM_LATER)
		list_add(&q->ending, r);	/* and is not shown */
	else
		request_gone(r);
	return -EPROTO;
}

/*
 * 0, -EAGAIN (no memory now; nothing taken), or -EPROTO (the device is broken).
 */
static int request_take(struct vg_queue *q, const struct vg_chain *c)
{
	struct vg_request *r = request_get(q);
	enum vg_mem_fault fault = VG_MEM_OK;
	struct vg_mem_bufs bufs;
	int err;

	/* As many as the queue has entries, and no more can be outstanding. */
	if (!r) {
		queue_break(q, VG_BROKEN_AVAIL_INDEX, VG_MEM_OK, 0);
		return -EPROTO;
	}
	bufs.iov = r->req.iov;
	bufs.max = q->traits->segs_max;
	err = q->mem->ops->map_req(q->mem, c->segs, c->nr_segs, &bufs,
				   &r->mreq, &fault);
	if (err == -EAGAIN) {
		vg_vq_unpop(&q->vq);
		return err;
	}
	if (err < 0) {
		queue_break(q, VG_BROKEN_ADDRESS, fault, c->segs[0].addr);
		return -EPROTO;
	}
	q->free_requests = r->next;
	q->want -= q->want > 0;
	r->head = c->head;
	r->req.out_bytes = c->out_bytes;
	r->req.in_bytes = c->in_bytes;
	count_add(q->in_flight, 1);
	count_add(q->stats->in_flight, 1);
	count_add(q->stats->requests, 1);
	if (!err)
		return request_start(r, &bufs);
	list_add(&q->starting, r);
	count_add(q->nr_starting, 1);
	return 0;
}

/* What memory has said about a request that it had to ask for. */
static void request_begin(struct vg_request *r)
{
	struct vg_queue *q = r->queue;
	struct vg_mem_bufs bufs = {
		.iov = r->req.iov, .max = q->traits->segs_max,
	};
	enum vg_mem_fault fault = VG_MEM_OK;
	int err;

	err = q->mem->ops->map_end(q->mem, r->mreq, &bufs, &fault);
	if (err == -EAGAIN) {
		list_add(&q->starting, r);
		return;
	}
	count_add(q->nr_starting, -1);
	if (!err) {
		request_start(r, &bufs);
		return;
	}
	queue_break(q, VG_BROKEN_ADDRESS, fault, r->head);
	request_gone(r);
}

static bool has_exchange(const struct vg_queue *q)
{
	return q->starting.first || q->ending.first;
}

/* Results that nobody waits for any more, or that a successor will have. */
static void queue_drop_results(struct vg_queue *q)
{
	struct vg_request *r, *next;
	enum vg_mem_fault fault;

	for (r = list_take(&q->ending); r; r = next) {
		next = r->next;
		q->mem->ops->unmap_req(q->mem, r->mreq, &fault);
		request_gone(r);
	}
}

/* What completed goes to the used ring; true: none is left over. */
static bool queue_deliver(struct vg_queue *q)
{
	struct vg_request *r, *next;
	enum vg_mem_fault fault;
	unsigned int left = 0;
	int err;

	for (r = list_take(&q->ending); r; r = next) {
		next = r->next;
		err = q->mem->ops->unmap_end(q->mem, r->mreq, &fault);
		if (err == -EAGAIN) {
			list_add(&q->ending, r);
			left++;
		} else if (err) {
			request_lost(r, fault);
		} else {
			request_show(r);
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
	struct vg_request *r, *next;
	bool all;

	if (!has_exchange(q))
		return true;
	q->mem->ops->exchange(q->mem);
	all = queue_deliver(q);
	for (r = list_take(&q->starting); r; r = next) {
		next = r->next;
		request_begin(r);
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
	struct vg_request *r, *next;
	enum vg_mem_fault fault;

	for (r = list_take(&q->starting); r; r = next) {
		next = r->next;
		count_add(q->nr_starting, -1);
		q->mem->ops->unmap_req(q->mem, r->mreq, &fault);
		request_gone(r);
	}
}

/* ---- looking before sleeping: poll.h ------------------------------------ */

static uint64_t poll_max(const struct vg_queue *q)
{
	if (!q->traits->may_poll)
		return 0;
	if (q->is_bound)
		return q->dev->poll_max_ns;
	return max_u(q->dev->poll_max_ns, q->dev->poll_unbound_max_ns);
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

/* Whether anybody asked for the next request. */
static bool is_wanted(const struct vg_queue *q)
{
	return !q->traits->is_pull || q->want;
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
		bool is_ending = q->ending.first;
		int n;

		if (!is_wanted(q))
			break;
		n = vg_vq_pop(&q->vq, &c);

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
			if (!vg_queue_may_take(q) || q->is_stalled)
				return false;
			/*
			 * There may be more by now; or memory, if that lacks.
			 */
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
	if (!is_wanted(q)) {
		/* Nor is it to be notified: vg_queue_want() looks again. */
		q->is_kicked = false;
		return false;
	}
	return !q->is_stalled;
}

/* Memory is counted by who uses it; shown where others can read it. */
void vg_queue_show_mem(struct vg_queue *q)
{
	const uint64_t *from = (const uint64_t *)&q->mem->stats;
	uint64_t *to = (uint64_t *)&q->stats->mem;
	unsigned int i;

	if (q->mem == q->dev->mem)
		return;
	for (i = 0; i < sizeof(q->mem->stats) / sizeof(*from); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* ---- the work of a turn ------------------------------------------------- */

/*
 * True if the driver wants to be notified; one with a channel of its own is
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
	if (!q->is_bound)
		return true;
	count_add(q->stats->events_sent, 1);
	dev->host_ops->notify_queue(dev->host, q->index);
	return false;
}

void vg_queue_work(void *arg)
{
	struct vg_queue *q = arg;
	struct vg_device *dev = q->dev;
	bool is_more = false, wants_notify;

	q->is_working = true;
	if (q->is_completed)
		queue_unstall(q);
	q->is_completed = false;
	if (q->is_kicked && vg_queue_may_take(q))
		is_more = queue_run(q);
	if (!vg_queue_may_take(q))
		queue_drop(q);
	if (dev->type->flush_batch)
		dev->type->flush_batch(q->priv);
	if (q->ending.first)
		queue_end(q);
	wants_notify = queue_publish(q, is_more && q->poll.until_ns);
	q->is_working = false;
	/* Completed while we were at it: there is memory for who waits. */
	if (q->is_completed && queue_unstall(q))
		is_more = true;
	/* Asked for since the ring was looked at. */
	if (q->want && q->is_kicked && vg_queue_may_take(q))
		is_more = true;
	if (is_more)
		vg_deferred_schedule(q->work);
	vg_queue_show_mem(q);
	if (!q->lane) {
		vg_device_notify_driver(dev, wants_notify);
		if (dev->host_ops->worked)
			dev->host_ops->worked(dev->host);
		vg_device_drained(dev);	/* may be the end of this queue */
		return;
	}
	if (wants_notify) {
		count_add(q->stats->irqs_used, 1);
		dev->transport_ops->notify_now(dev->transport,
					       VG_NOTIFY_USED);
	}
	if (dev->wants_drain)
		vg_device_wake_main(dev);
}

void vg_queue_kick(struct vg_queue *q)
{
	q->is_kicked = true;
	vg_deferred_schedule(q->work);
}

/* ---- life --------------------------------------------------------------- */

void vg_queue_update(struct vg_queue *q)
{
	struct vg_device *dev = q->dev;

	/* Not into a ring that is being taken away. */
	q->may_show = q->is_ready && !q->is_draining && !dev->broken &&
		      !dev->is_resetting;
	q->may_take = q->may_show && q->loop && vg_device_is_live(dev);
	q->is_ending = q->is_draining || dev->is_resetting ||
		       dev->ranges.closing ||
		       (dev->is_stopping && !dev->is_leaving);
}

void vg_queue_cancel(struct vg_queue *q)
{
	const struct vg_dev_type *type = q->dev->type;

	if (type->cancel && q->in_flight && q->loop &&
	    (q->is_ending || q->dev->is_leaving))
		type->cancel(q->priv);
}

void vg_queue_init(struct vg_queue *q, struct vg_device *dev,
		   unsigned int index)
{
	q->dev = dev;
	q->index = index;
	q->traits = vg_device_traits(dev, index);
	q->num_max = dev->info.queue_size_max;
	if (q->traits->size_max)
		q->num_max = min_u(q->num_max, q->traits->size_max);
	q->mem = dev->mem;
	if (dev->may_thread)
		q->mem = dev->mem->ops->view(dev->mem);
	list_init(&q->starting);
	list_init(&q->ending);
	q->stats = dev->queue_stats ? &dev->queue_stats[index] : &dev->stats;
	vg_vq_init(&q->vq, q->mem, q->traits->segs_max);
	if (dev->state)
		vg_vq_set_log(&q->vq, &dev->state->queue[index]);
}

void vg_queue_exit(struct vg_queue *q)
{
	vg_vq_exit(&q->vq);
	free(q->own_log);
	free(q->request_memory);
	if (q->mem != q->dev->mem)
		q->mem->ops->destroy(q->mem);
}
