// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_device.c - the life of a device and of its queues (backend/virtio/
 * device.c, queue.c, restore.c), driven by the registers of virtio-mmio.
 */
#include <stdio.h>

#include "held.h"
#include "virtio/state.h"

/* ---- features and status ------------------------------------------------ */

static void test_features_refused(void **state)
{
	struct host *h = *state;
	uint64_t f = host_features(h);

	assert_int_equal(try_features(h, f & ~(UINT64_C(1) << 32)), 3);
	assert_true(unit_logged("VIRTIO_F_VERSION_1"));
	assert_int_equal(try_features(h, f & ~(UINT64_C(1) << 33)), 3);
	assert_true(unit_logged("no grant layer in the guest"));
	assert_int_equal(try_features(h, f | UINT64_C(1) << 6), 3);
	assert_int_equal(try_features(h, f | UINT64_C(1) << 63), 3);
	assert_int_equal(held.features, 0);
	held.refuse_features = true;
	assert_int_equal(try_features(h, f), 3);
	/* A guest that repeats it does not fill the log. */
	assert_in_range(unit_log_lines(), 4, 8);
	held.refuse_features = false;
	assert_int_equal(try_features(h, f), 11);
	assert_true(held.features == f);
	/* From here on they stand. */
	host_accept(h, 0);
	assert_int_equal(stats(h)->bad_accesses, 2);
	assert_true(stats(h)->driver_features == f);
}

static void test_status_rules(void **state)
{
	struct host *h = *state;

	/* DRIVER_OK before FEATURES_OK is none. */
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER | ST_LIVE);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 3);
	/* Bits are not taken back, and NEEDS_RESET is not the driver's. */
	host_write(h, VIRTIO_MMIO_STATUS, ST_BROKEN);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 3);
	host_write(h, VIRTIO_MMIO_STATUS, 0x80);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0x83);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(held.resets, 1);
}

/* ---- queues ------------------------------------------------------------- */

/* The guest without a grant layer: refused in words, nothing is read. */
static void test_no_grant_layer(void **state)
{
	struct host *h = *state;
	struct flat_queue q;
	uint32_t v;

	drv_init(&q, &h->f, 16);
	q.desc_addr = 0x48001000;
	try_features(h, host_features(h));
	host_set_queue(h, 0, &q);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(host_read(h, VIRTIO_MMIO_STATUS) & ST_BROKEN);
	assert_true(unit_logged("dom5 test: queue 0"));
	assert_true(unit_logged("the guest passed an address that is no grant"));
	assert_true(unit_logged("0x48001000"));
	assert_int_equal(unit_log_lines(), 1);
	assert_int_equal(stats(h)->broken, VG_BROKEN_RING_ADDRESS);
	assert_int_equal(stats(h)->broken_fault, VG_MEM_NO_GRANT);
	assert_int_equal(stats(h)->broken_queue, 0);
	assert_true(stats(h)->broken_value == 0x48001000);
	/*
	 * Its driver finds nothing to wait for, and is told when it is there.
	 */
	assert_true(host_access(h, 0x100, 4, false, 0, &v));
	assert_int_equal(v, 0);
	host_run(h);
	assert_int_equal(h->irqs_config, 0);
	host_write(h, VIRTIO_MMIO_STATUS, 15);
	host_run(h);
	assert_int_equal(h->irqs_config, 1);
	host_set_queue(h, 0, &q);
	assert_int_equal(h->f.rings_now, 0);
	/* A reset makes it good. */
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_true(host_access(h, 0x100, 4, false, 0, &v));
	assert_int_equal(v, 0x04030201);
	host_start_driver(h, 16, 0);
	assert_int_equal(stats(h)->broken, VG_BROKEN_NOT);
	assert_int_equal(stats(h)->broken_count, 1);
}

static void test_queue_size_refused(void **state)
{
	static const uint32_t bad[] = { 0, 3, 128, 65536 };
	struct host *h = *state;
	struct flat_queue q;
	unsigned int i;

	drv_init(&q, &h->f, 16);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		try_features(h, host_features(h));
		q.num = bad[i];
		host_set_queue(h, 0, &q);
		assert_int_equal(stats(h)->broken, VG_BROKEN_QUEUE_SIZE);
	}
	assert_int_equal(h->f.rings_now, 0);
}

static void test_notify(void **state)
{
	struct host *h = *state;

	vg_device_queue_notify(h->dev, 0);	/* nobody there yet */
	host_start_driver(h, 16, 0);
	vg_device_queue_notify(h->dev, 1);	/* not ready */
	vg_device_queue_notify(h->dev, 2);	/* no such queue */
	vg_device_queue_notify(h->dev, 0xffffffff);
	assert_int_equal(stats(h)->spurious_notifies, 4);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.started, 0);
	add(h, &h->q);
	host_write(h, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	host_run(h);
	assert_int_equal(held.started, 1);
	assert_int_equal(h->irqs_used, 0);
	complete(1);
	host_run(h);
	assert_int_equal(h->irqs_used, 1);
}

/* Nothing is taken before DRIVER_OK; what waits is found then. */
static void test_not_before_driver_ok(void **state)
{
	struct host *h = *state;

	drv_init(&h->q, &h->f, 16);
	try_features(h, host_features(h));
	host_set_queue(h, 0, &h->q);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.started, 0);
	host_write(h, VIRTIO_MMIO_STATUS, 15);
	host_run(h);
	assert_int_equal(held.started, 1);
	complete(1);
}

/* Many at once: one flush, one batch, one interrupt. */
static void test_batch(void **state)
{
	struct host *h = *state;
	unsigned int i, flushes;
	uint32_t id, len;

	host_start_driver(h, 64, 0);
	flushes = held.flushes;
	for (i = 0; i < 30; i++)
		add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	vg_device_queue_notify(h->dev, 0);
	vg_loop_run_once(h->loop, 0);
	assert_int_equal(held.started, 30);
	assert_int_equal(held.flushes, flushes + 1);
	assert_int_equal(stats(h)->in_flight, 30);
	complete(30);
	host_run(h);
	for (i = 0; i < 30; i++) {
		assert_true(drv_used(&h->q, &id, &len));
		assert_int_equal(len, 64);
	}
	assert_int_equal(stats(h)->batches, 1);
	assert_int_equal(h->irqs_used, 1);
	assert_int_equal(stats(h)->bytes_in, 30 * 64);
	assert_int_equal(stats(h)->bytes_out, 30 * 16);
}

/* A driver that never stops offering does not keep the neighbours waiting. */
static void refill(void *arg)
{
	struct host *h = arg;
	uint32_t id, len;

	while (drv_used(&h->q, &id, &len))
		add(h, &h->q);
}

static void test_turn_is_bounded(void **state)
{
	struct host *h = *state;
	unsigned int i, before;
	uint32_t id, len;

	host_start_driver(h, 32, 0);
	held.complete_at_once = true;
	for (i = 0; i < 16; i++)
		add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	for (i = 0; i < 10; i++) {
		before = held.started;
		vg_loop_run_once(h->loop, 0);
		assert_true(held.started - before <= 64);
		refill(h);
		vg_device_queue_notify(h->dev, 0);
	}
	host_run(h);
	while (drv_used(&h->q, &id, &len))
		;
	assert_int_equal(stats(h)->broken, 0);
}

/* Large ones: after 256 KiB the driver has what is done, and is told. */
static void test_turn_is_bounded_in_bytes(void **state)
{
	struct drv_buf b[] = {
		{ VG_ADDR_GRANT | 0x200000, 32 << 10, false },
		{ VG_ADDR_GRANT | 0x300000, 32 << 10, true },
	};
	struct host *h = *state;
	unsigned int i;

	held.complete_at_once = true;
	host_start_driver(h, 64, 0);
	for (i = 0; i < 10; i++)
		drv_add(&h->q, b, 2);
	vg_device_queue_notify(h->dev, 0);
	for (i = 4; i <= 12; i += 4) {
		vg_loop_run_once(h->loop, 0);
		assert_int_equal(held.started, min_u(i, 10u));
		assert_int_equal(le16toh(h->q.used->idx), min_u(i, 10u));
		assert_int_equal(h->irqs_used, i / 4);
		drv_set_used_event(&h->q, (uint16_t)i);
	}
	b[1].len = 1 << 20;
	drv_add(&h->q, b, 2);
	drv_add(&h->q, b, 2);
	vg_device_queue_notify(h->dev, 0);
	vg_loop_run_once(h->loop, 0);
	assert_int_equal(held.started, 11);
	host_run(h);
	assert_int_equal(held.started, 12);
}

/*
 * What did not reach the guest is not shown as used: to a driver that would
 * mean that it is done.
 */
static void test_unmap_fails(void **state)
{
	struct host *h = *state;
	uint32_t id, len;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	h->f.unmap_fails = true;
	complete(1);
	host_run(h);
	h->f.unmap_fails = false;
	assert_false(drv_used(&h->q, &id, &len));
	assert_int_equal(stats(h)->broken, VG_BROKEN_UNDELIVERED);
	assert_int_equal(stats(h)->broken_queue, 0);
	assert_int_equal(stats(h)->in_flight, 0);
	assert_true(host_read(h, VIRTIO_MMIO_STATUS) & ST_BROKEN);
}

/* Nor if it is for nobody any more: a reset is no reason to break. */
static void test_unmap_fails_in_reset(void **state)
{
	struct host *h = *state;
	uint32_t v;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_false(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0, &v));
	h->f.unmap_fails = true;
	complete(1);
	host_run(h);
	h->f.unmap_fails = false;
	assert_int_equal(h->nr_replies, 1);
	h->nr_replies = 0;
	assert_int_equal(stats(h)->broken_count, 0);
	host_start_driver(h, 16, 0);
}

/* ---- stopping ----------------------------------------------------------- */

static bool answered(const struct host *h, uint32_t seq)
{
	unsigned int i;

	for (i = 0; i < h->nr_replies; i++)
		if (h->reply[i].seq == seq)
			return true;
	return false;
}

static void test_reset_waits(void **state)
{
	struct host *h = *state;
	uint32_t v, seq;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_false(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0, &v));
	seq = h->seq;
	host_run(h);
	assert_int_equal(h->nr_replies, 0);
	/* Others are answered; the reset is not over yet. */
	h->vcpu = 1;
	assert_int_not_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	host_write(h, VIRTIO_MMIO_STATUS, 1);
	host_write(h, VIRTIO_MMIO_QUEUE_READY, 1);
	vg_device_queue_notify(h->dev, 0);
	complete(1);
	host_run(h);
	assert_int_equal(h->nr_replies, 0);
	assert_int_equal(h->f.rings_now, 3);
	complete(1);
	host_run(h);
	assert_int_equal(h->nr_replies, 1);
	assert_true(answered(h, seq));
	assert_int_equal(h->f.rings_now, 0);
	assert_int_equal(h->f.reqs_now, 0);
	assert_int_equal(h->q.used->idx, 0);	/* nothing into that ring */
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(stats(h)->in_flight, 0);
	h->nr_replies = 0;
	host_start_driver(h, 16, 0);
}

static void test_two_wait_for_reset(void **state)
{
	struct host *h = *state;
	uint32_t v, first;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_false(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0, &v));
	first = h->seq;
	h->vcpu = 1;
	assert_false(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0, &v));
	/* And who ends one of its queues meanwhile: I/O is under way in it. */
	h->vcpu = 127;
	assert_false(host_access(h, VIRTIO_MMIO_QUEUE_READY, 4, true, 0, &v));
	h->vcpu = 0;
	host_run(h);
	assert_int_equal(h->nr_replies, 0);
	complete(1);
	host_run(h);
	assert_int_equal(h->nr_replies, 3);
	assert_true(answered(h, first) && answered(h, first + 1) &&
		    answered(h, first + 2));
	h->nr_replies = 0;
}

/*
 * Whatever a broker gave up: none is answered while I/O is under way, and in
 * the end what each vCPU asked last.
 */
static void test_many_wait_for_reset(void **state)
{
	struct host *h = *state;
	unsigned int i;
	uint32_t v;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	for (i = 0; i < 1000; i++) {
		h->vcpu = i % 3;
		assert_false(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0,
					 &v));
	}
	/* Who reads meanwhile has its answer, and gets no other. */
	h->vcpu = 1;
	assert_int_not_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	h->vcpu = 0;
	complete(1);
	host_run(h);
	assert_int_equal(h->nr_replies, 2);
	assert_true(answered(h, h->seq - 1) && answered(h, h->seq - 2));
	h->nr_replies = 0;
}

/* ---- what is short for a moment ----------------------------------------- */

/* Turns for so long. */
static void run_ms(struct host *h, unsigned int ms)
{
	uint64_t until = vg_now_ns() + ms * UINT64_C(1000000);

	while (vg_now_ns() < until)
		vg_loop_run_once(h->loop, 5);
}

/* Up to QueueReady, which is not answered: memory is short. */
static uint32_t ready_while_short(struct host *h, unsigned int times)
{
	uint32_t v;

	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER);
	host_accept(h, host_features(h));
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER | ST_FEATURES);
	drv_init(&h->q, &h->f, 16);
	host_describe_queue(h, 0, &h->q);
	h->f.ring_again = times;
	assert_false(host_access(h, VIRTIO_MMIO_QUEUE_READY, 4, true, 1, &v));
	/* It is not described anew meanwhile, nor enabled by another vCPU. */
	v = h->seq;
	h->vcpu = 1;
	host_write(h, VIRTIO_MMIO_QUEUE_NUM, 8);
	host_write(h, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	return v;
}

static void test_ring_waits_for_memory(void **state)
{
	struct host *h = *state;
	uint32_t seq = ready_while_short(h, 3);

	run_ms(h, 200);
	assert_int_equal(h->nr_replies, 1);
	assert_true(answered(h, seq));
	h->nr_replies = 0;
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(h->f.rings_now, 3);
	host_write(h, VIRTIO_MMIO_STATUS,
		   ST_ACK | ST_DRIVER | ST_FEATURES | ST_LIVE);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.nr, 1);
	complete(1);
	host_run(h);
	assert_int_equal(stats(h)->broken_count, 0);
}

static void test_ring_waits_in_vain(void **state)
{
	struct host *h = *state;
	uint32_t seq = ready_while_short(h, UINT32_MAX);

	run_ms(h, 3000);
	h->f.ring_again = 0;
	assert_int_equal(h->nr_replies, 1);
	assert_true(answered(h, seq));
	h->nr_replies = 0;
	assert_int_equal(stats(h)->broken, VG_BROKEN_SHORTAGE);
	assert_int_equal(stats(h)->broken_queue, 0);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	host_start_driver(h, 16, 0);
}

/* Who ends the queue, or all, ends the wait. */
static void test_ring_waits_no_more(void **state)
{
	struct host *h = *state;
	static const uint32_t reg[] = {
		VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_STATUS,
	};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		uint32_t seq = ready_while_short(h, UINT32_MAX);
		struct vg_reg_access a = {
			.vcpu = 1, .seq = ++h->seq, .offset = reg[i],
			.len_bytes = 4, .is_write = true,
		};

		vg_mmio_access(h->mmio, &a);
		assert_int_equal(h->nr_replies, 2);
		assert_true(answered(h, seq) && answered(h, a.seq));
		h->nr_replies = 0;
		h->vcpu = 0;
	}
	ready_while_short(h, UINT32_MAX);
	vg_device_stop(h->dev);
	assert_int_equal(h->stops, 1);
	assert_int_equal(h->nr_replies, 1);
	h->nr_replies = 0;
	h->f.ring_again = 0;
	run_ms(h, 50);
	assert_int_equal(h->f.rings_now, 0);
}

/* Taking over: as if it had not begun, so that it can begin again. */
static void test_take_over_waits_for_memory(void **state)
{
	size_t bytes = vg_state_bytes(2);
	struct vg_state *st = calloc(1, bytes), *before = malloc(bytes);
	struct host *h = *state;
	struct vg_device_params p = {
		.label = "dom5 test", .type = &test_type,
		.queue_size_max = 64, .state = st, .state_nr_queues = 2,
	};
	uint32_t id, len;
	unsigned int i;

	/* One with a state in place of the one of setup(). */
	vg_device_stop(h->dev);
	vg_device_destroy(h->dev);
	h->stops = 0;
	assert_int_equal(host_device_create(h, &p), 0);
	host_start_driver(h, 16, 0);
	vg_device_leave(h->dev);
	assert_int_equal(h->stops, 1);
	vg_device_destroy(h->dev);
	h->stops = 0;
	add(h, &h->q);

	memcpy(before, st, bytes);
	p.start = VG_START_TAKE_OVER;
	for (i = 0; i < 3; i++) {
		h->f.ring_again = 2;	/* it tries twice itself */
		assert_int_equal(host_device_create(h, &p), -EAGAIN);
		assert_int_equal(h->f.rings_now, 0);
		assert_memory_equal(st, before, bytes);
	}
	assert_int_equal(host_device_create(h, &p), 0);
	vg_device_resume(h->dev);
	host_run(h);
	assert_int_equal(held.nr, 1);
	complete(1);
	host_run(h);
	assert_true(drv_used(&h->q, &id, &len));
	assert_int_equal(stats(h)->broken_count, 0);
	/* The device writes it until it is gone. */
	vg_device_stop(h->dev);
	vg_device_destroy(h->dev);
	h->stops = 0;
	p = (struct vg_device_params){
		.label = "dom5 test", .type = &test_type, .queue_size_max = 64,
	};
	assert_int_equal(host_device_create(h, &p), 0);
	free(before);
	free(st);
}

static void queue_stop(void **state, uint32_t reg, uint32_t value)
{
	struct host *h = *state;
	struct flat_queue other;
	uint32_t v, id, len;

	drv_init(&other, &h->f, 8);
	host_start_driver(h, 16, 0);
	host_set_queue(h, 1, &other);
	add(h, &h->q);
	add(h, &other);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	vg_device_queue_notify(h->dev, 1);
	host_run(h);
	assert_int_equal(held.nr, 2);
	host_write(h, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_false(host_access(h, reg, 4, true, value, &v));
	h->vcpu = 1;
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_RESET), 1);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.nr, 2);		/* nothing new from it */
	complete_of(1);
	host_run(h);
	assert_int_equal(h->nr_replies, 0);
	assert_true(drv_used(&other, &id, &len));
	complete_of(0);
	host_run(h);
	assert_int_equal(h->nr_replies, 1);
	h->nr_replies = 0;
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_RESET), 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(h->f.rings_now, 3);
	assert_int_equal(h->q.used->idx, 0);
	/* On with new rings, from index 0. */
	drv_init(&h->q, &h->f, 32);
	host_set_queue(h, 0, &h->q);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_RESET), 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	complete(1);
	host_run(h);
	assert_true(drv_used(&h->q, &id, &len));
}

static void test_queue_reset(void **state)
{
	queue_stop(state, VIRTIO_MMIO_QUEUE_RESET, 1);
}

static void test_queue_ready_0(void **state)
{
	queue_stop(state, VIRTIO_MMIO_QUEUE_READY, 0);
}

static void test_queue_reset_not_negotiated(void **state)
{
	struct host *h = *state;

	host_start_driver(h, 16, UINT64_C(1) << 40);
	host_write(h, VIRTIO_MMIO_QUEUE_RESET, 1);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(stats(h)->bad_accesses, 1);
}

static void test_stop_waits(void **state)
{
	struct host *h = *state;
	uint32_t id, len;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	vg_device_stop(h->dev);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(h->stops, 0);
	assert_int_equal(held.nr, 1);
	complete(1);
	host_run(h);
	assert_int_equal(h->stops, 1);
	assert_int_equal(h->f.rings_now, 0);
	/* What was under way did reach the driver. */
	assert_true(drv_used(&h->q, &id, &len));
	host_read(h, VIRTIO_MMIO_STATUS);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(h->stops, 1);
}

/* ---- broken ------------------------------------------------------------- */

static void test_broken_ring(void **state)
{
	struct host *h = *state;
	uint32_t v;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	h->q.avail->idx = htole16(100);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(stats(h)->broken, VG_BROKEN_AVAIL_INDEX);
	assert_true(stats(h)->broken_value == 100);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0x4f);
	assert_int_equal(h->irqs_config, 1);
	assert_int_equal(unit_log_lines(), 1);
	assert_true(unit_logged("(avail-index, 0x64)"));
	/* What was under way ends, and goes nowhere. */
	complete(1);
	host_run(h);
	assert_int_equal(h->f.reqs_now, 0);
	assert_int_equal(h->q.used->idx, 0);
	assert_int_equal(h->irqs_used, 0);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(unit_log_lines(), 1);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	host_start_driver(h, 16, 0);
	assert_true(host_access(h, 0x100, 1, false, 0, &v));
	assert_int_equal(v, 1);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.nr, 1);
	complete(1);
}

static void test_broken_address(void **state)
{
	struct host *h = *state;
	struct drv_buf b = { 0x12345000, 512, true };

	host_start_driver(h, 16, 0);
	drv_add(&h->q, &b, 1);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(stats(h)->broken, VG_BROKEN_ADDRESS);
	assert_int_equal(stats(h)->broken_fault, VG_MEM_NO_GRANT);
	assert_true(unit_logged("no grant layer in the guest?"));
	assert_int_equal(h->f.reqs_now, 0);
}

static void test_broken_request(void **state)
{
	struct host *h = *state;

	host_start_driver(h, 16, 0);
	held.refuse_requests = true;
	add(h, &h->q);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(stats(h)->broken, VG_BROKEN_REQUEST);
	assert_int_equal(stats(h)->requests, 1);
	assert_int_equal(stats(h)->in_flight, 0);
	assert_int_equal(h->f.reqs_now, 0);
}

/*
 * Breaking and resetting in a circle: counted each time, logged now and then.
 */
static void test_broken_again_and_again(void **state)
{
	struct host *h = *state;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		host_start_driver(h, 16, 0);
		h->q.avail->idx = htole16(99);
		vg_device_queue_notify(h->dev, 0);
		host_run(h);
		assert_int_equal(stats(h)->broken, VG_BROKEN_AVAIL_INDEX);
		host_write(h, VIRTIO_MMIO_STATUS, 0);
		h->f.next = 4096;
		memset(h->f.ram, 0, 1 << 20);
	}
	assert_int_equal(stats(h)->broken_count, 100);
	assert_in_range(unit_log_lines(), 1, 20);
}

/* ---- memory is short ---------------------------------------------------- */

/* Waits for a request of its own that gives some back. */
static void test_stall_and_go(void **state)
{
	struct host *h = *state;

	host_start_driver(h, 16, 0);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	h->f.again = 2;
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(held.started, 1);
	h->f.again = 0;
	complete(1);
	host_run(h);
	assert_int_equal(held.started, 2);
	complete(1);
}

/* All of its own are done within the turn, and it still goes on. */
static void test_stall_in_own_turn(void **state)
{
	struct host *h = *state;

	host_start_driver(h, 16, 0);
	held.complete_at_once = true;
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	h->f.again = 0;
	host_run(h);
	assert_int_equal(held.started, 1);
	h->f.again = 1;
	add(h, &h->q);
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	/* None of its own returns memory: after a while by the clock. */
	if (held.started != 3) {
		vg_loop_run_once(h->loop, 100);
		host_run(h);
	}
	assert_int_equal(held.started, 3);
	/* The one under way ends in the same turn, after the other stalled. */
	held.complete_at_once = false;
	held.complete_in_flush = true;
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	h->f.again_after = 1;
	h->f.again = 1;
	add(h, &h->q);
	host_run(h);
	assert_int_equal(held.started, 5);
	assert_int_equal(stats(h)->broken, 0);
}

static void test_stall_and_reset(void **state)
{
	struct host *h = *state;

	host_start_driver(h, 16, 0);
	h->f.again = 1000;
	add(h, &h->q);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	vg_loop_run_once(h->loop, 30);
	h->f.again = 0;
	assert_int_equal(held.started, 0);
	host_start_driver(h, 16, 0);
}

/* ---- other lives -------------------------------------------------------- */

static void test_resume(void **state)
{
	struct host *h = *state;

	vg_device_resume(h->dev);
	host_run(h);
	assert_int_equal(h->irqs_used, 0);
	host_start_driver(h, 16, 0);
	add(h, &h->q);
	/* The notification was lost with a broker. */
	vg_device_resume(h->dev);
	host_run(h);
	assert_int_equal(held.started, 1);
	assert_int_equal(h->irqs_used, 1);
	complete(1);
}

static void test_restarted(void **state)
{
	struct vg_device_params p = {
		.label = "dom5 restarted", .type = &test_type,
		.queue_size_max = 64, .start = VG_START_RESET,
	};
	struct host *h = calloc(1, sizeof(*h));

	(void)state;
	flat_init(&h->f);
	assert_int_equal(vg_loop_create(&h->loop), 0);
	assert_int_equal(host_device_create(h, &p), 0);
	host_run(h);
	assert_int_equal(h->irqs_config, 1);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0x4f);
	assert_int_equal(vg_device_stats(h->dev)->broken, VG_BROKEN_RESTARTED);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	host_start_driver(h, 16, 0);
	host_destroy(h);
}

/* A queue's own, if that is less. */
static void test_queue_num_max(void **state)
{
	static const struct vg_queue_traits small = {
		.segs_max = 8, .size_max = 16,
	}, large = {
		.segs_max = 8, .size_max = 256,
	};
	struct flat_queue q;
	struct host *h;

	(void)state;
	held = (struct held){ .traits = &large, .nr_queues = 2 };
	h = host_create(&test_type, NULL);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	host_destroy(h);
	held.traits = &small;
	h = host_create(&test_type, NULL);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_NUM_MAX), 16);
	host_start_driver(h, 16, 0);
	assert_int_equal(stats(h)->broken, VG_BROKEN_NOT);
	drv_init(&q, &h->f, 32);
	host_set_queue(h, 1, &q);
	assert_int_equal(stats(h)->broken, VG_BROKEN_QUEUE_SIZE);
	host_destroy(h);
}

static void test_queue_size_max(void **state)
{
	static const unsigned int bad[] = { 0, 3, 100, 65536 };
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vg_device_params p = {
			.label = "x", .type = &test_type,
			.queue_size_max = bad[i],
		};
		struct host h = { 0 };

		assert_int_equal(vg_loop_create(&h.loop), 0);
		flat_init(&h.f);
		assert_int_equal(host_device_create(&h, &p), -EINVAL);
		assert_true(h.f.is_destroyed);
		vg_mmio_destroy(h.mmio);
		flat_exit(&h.f);
		vg_loop_destroy(h.loop);
	}
}


int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_features_refused), T(test_status_rules),
		T(test_no_grant_layer),
		T(test_queue_size_refused), T(test_notify),
		T(test_not_before_driver_ok), T(test_batch),
		T(test_turn_is_bounded), T(test_turn_is_bounded_in_bytes),
		T(test_unmap_fails), T(test_unmap_fails_in_reset),
		T(test_ring_waits_for_memory), T(test_ring_waits_in_vain),
		T(test_ring_waits_no_more),
		T(test_take_over_waits_for_memory), T(test_reset_waits),
		T(test_two_wait_for_reset), T(test_many_wait_for_reset),
		T(test_queue_reset), T(test_queue_ready_0),
		T(test_queue_reset_not_negotiated), T(test_stop_waits),
		T(test_broken_ring), T(test_broken_address),
		T(test_broken_request), T(test_broken_again_and_again),
		T(test_stall_and_go), T(test_stall_in_own_turn),
		T(test_stall_and_reset), T(test_resume),
		cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_queue_num_max),
		cmocka_unit_test(test_queue_size_max),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
