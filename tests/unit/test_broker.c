// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_broker.c - one guest's half of the broker, with a backend played by
 * hand on the relay page: honest, silent, and hostile in each way that the
 * page and its event channel allow.  No vCPU may wait beyond the bound, none
 * may get an answer that was not meant for its access, and one backend's
 * mischief may not reach the other's device.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "broker_guest.h"
#include "driver.h"
#include "relay.h"
#include "unit.h"
#include "util.h"

#define BE		1u
#define GUEST		3u
#define BASE		0x2000000u
#define BASE2		0x2000200u
#define TIMEOUT_NS	UINT64_C(150000000)

/* A backend by hand. */
struct hand {
	struct xen_gnttab *gt;
	struct xen_evtchn *ec;
	struct vg_relay_page *page;
	xen_port_t port;
};

static struct vg_loop *loop;
static struct xen_gntshr *gs;
static struct vg_bguest *g;
static struct vg_bdev *dev[2];
static struct hand be[2];
static uint16_t server_id;

static void attach(struct hand *h, xen_ref_t ref, xen_port_t port)
{
	void *va;

	fake_enter(BE);
	assert_int_equal(xen_gnttab_open(&h->gt), 0);
	assert_int_equal(xen_evtchn_open(&h->ec), 0);
	assert_int_equal(xen_gnttab_map(h->gt, 0, &ref, 1,
					PROT_READ | PROT_WRITE, &va), 0);
	h->page = va;
	assert_int_equal(xen_evtchn_bind_interdomain(h->ec, 0, port, &h->port),
			 0);
	h->page->backend_state = VG_RELAY_BACKEND_READY;
	fake_enter(0);
}

static void detach(struct hand *h)
{
	if (!h->gt)
		return;
	xen_gnttab_close(h->gt);
	xen_evtchn_close(h->ec);
	h->gt = NULL;
}

static void turn(void)
{
	fake_enter(0);
	assert_true(vg_loop_run_once(loop, 0) >= 0);
}

static void turns(unsigned int n)
{
	while (n--)
		turn();
}

static int setup(void **state)
{
	static const uint64_t base[] = { BASE, BASE2 };
	unsigned int i;

	(void)state;
	unit_log_start();
	fake_init();
	fake_domain_create(BE, 1, 64);
	fake_domain_create(GUEST, 4, 64);
	if (vg_loop_create(&loop) || xen_gntshr_open(&gs) ||
	    vg_bguest_create(GUEST, -1, TIMEOUT_NS, loop, gs, &g, &server_id))
		return -1;
	for (i = 0; i < 2; i++) {
		struct vg_bdev_params p = {
			.label = i ? "second" : "first", .backend = BE,
			.base = base[i], .irq = 33 + i,
		};
		xen_ref_t ref;
		xen_port_t port;

		if (vg_bguest_add(g, &p, &dev[i], &ref, &port))
			return -1;
		attach(&be[i], ref, port);
	}
	turns(4);
	return 0;
}

static int teardown(void **state)
{
	unsigned int n;

	(void)state;
	detach(&be[0]);
	detach(&be[1]);
	if (g)
		vg_bguest_destroy(g);
	g = NULL;
	xen_gntshr_close(gs);
	vg_loop_destroy(loop);
	n = fake_leaks();
	fake_exit();
	unit_log_stop();
	return n ? -1 : 0;
}

static void tell(struct hand *h)
{
	assert_int_equal(xen_evtchn_notify(h->ec, h->port), 0);
}

static void answer_as(struct hand *h, unsigned int vcpu, uint32_t seq,
		      uint32_t data)
{
	h->page->slot[vcpu].rsp_data = data;
	h->page->slot[vcpu].rsp_seq = seq;
	h->page->answered[vcpu / 32] |= 1u << (vcpu % 32);
	tell(h);
}

static void answer(struct hand *h, unsigned int vcpu, uint32_t data)
{
	h->page->pending[vcpu / 32] &= ~(1u << (vcpu % 32));
	answer_as(h, vcpu, h->page->slot[vcpu].seq, data);
}

/* Starts a read of @offset and lets the broker take it. */
static void begin_read(unsigned int vcpu, uint64_t addr, unsigned int size)
{
	assert_int_equal(fake_mmio_start(GUEST, vcpu, addr, size, false, 0), 0);
	turns(2);
}

static void expect_read(unsigned int vcpu, uint64_t want)
{
	uint64_t got = 0;

	turns(2);
	assert_true(fake_mmio_done(GUEST, vcpu, &got));
	assert_int_equal(got, want);
}

/* ---- honest --------------------------------------------------------------------- */

static void page_is_as_relay_h_says(void **state)
{
	(void)state;
	assert_int_equal(be[0].page->magic, VG_RELAY_MAGIC);
	assert_int_equal(be[0].page->version, VG_RELAY_VERSION);
	assert_int_equal(be[0].page->nr_vcpus, 4);
	assert_int_equal(be[0].page->nr_queues_max, VG_RELAY_QUEUES_MAX);
}

static void reads_and_writes_are_forwarded(void **state)
{
	static const struct { unsigned int size; uint64_t want; } cases[] = {
		{ 4, 0xcafebabe }, { 2, 0xbabe }, { 1, 0xbe },
	};
	struct vg_relay_slot *s = &be[0].page->slot[2];
	uint32_t last = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		begin_read(2, BASE + 0x100, cases[i].size);
		assert_int_equal(be[0].page->pending[0], 1u << 2);
		assert_int_equal(s->op, VG_RELAY_OP(0x100, cases[i].size, 0));
		assert_int_not_equal(s->seq, last);
		assert_int_not_equal(s->seq, 0);
		last = s->seq;
		assert_false(fake_mmio_done(GUEST, 2, NULL));
		answer(&be[0], 2, 0xcafebabe);
		expect_read(2, cases[i].want);
	}
	assert_int_equal(fake_mmio_start(GUEST, 2, BASE + 0x70, 4, true, 3), 0);
	turns(2);
	assert_int_equal(s->op, VG_RELAY_OP(0x70, 4, 1));
	assert_int_equal(s->data, 3);
	answer(&be[0], 2, 99);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 2, NULL));
	assert_int_equal(vg_bdev_stats(dev[0])->forwarded, 4);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 0);
	assert_int_equal(vg_bdev_stats(dev[1])->traps, 0);
}

static void notify_is_posted(void **state)
{
	uint64_t before;
	unsigned int i;

	(void)state;
	before = vg_bdev_stats(dev[0])->forwarded;
	for (i = 0; i < 64; i += 21) {
		assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x50, 4,
						 true, i), 0);
		turns(2);
		assert_true(fake_mmio_done(GUEST, 0, NULL));
		assert_true(be[0].page->notify[i / 32] & (1u << (i % 32)));
	}
	/* No such queue: nothing is set, nobody waits. */
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x50, 4, true, 64),
			 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 0, NULL));
	assert_int_equal(vg_bdev_stats(dev[0])->bad_accesses, 1);
	assert_int_equal(vg_bdev_stats(dev[0])->forwarded, before);
	assert_int_equal(be[1].page->notify[0] | be[1].page->notify[1], 0);
}

static void interrupts(void **state)
{
	(void)state;
	be[0].page->irq = 1;
	tell(&be[0]);
	turns(2);
	assert_int_equal(fake_spi_count(GUEST, 33), 1);
	assert_int_equal(fake_spi_count(GUEST, 34), 0);
	assert_int_equal(be[0].page->irq, 0);
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 1);
	be[0].page->irq = 2;
	tell(&be[0]);
	turns(2);
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 3);
	assert_int_equal(fake_mmio_start(GUEST, 1, BASE + 0x64, 4, true, 1), 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 1, NULL));
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 2);
	/* Bits that there are not. */
	be[0].page->irq = 0xfffffffc;
	tell(&be[0]);
	turns(2);
	assert_int_equal(fake_spi_count(GUEST, 33), 2);
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 2);
	be[0].page->irq = 0xffffffff;
	tell(&be[0]);
	turns(2);
	assert_int_equal(fake_spi_count(GUEST, 33), 3);
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 3);
	/* A reset clears them. */
	assert_int_equal(fake_mmio_start(GUEST, 1, BASE + 0x70, 4, true, 0), 0);
	turns(2);
	answer(&be[0], 1, 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 1, NULL));
	begin_read(1, BASE + 0x60, 4);
	expect_read(1, 0);
}

static void vcpus_wait_independently(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++)
		begin_read(i, (i % 2 ? BASE2 : BASE) + 0x100 + 4 * i, 4);
	for (i = 4; i-- > 0;)
		answer(&be[i % 2], i, 1000 + i);
	for (i = 0; i < 4; i++)
		expect_read(i, 1000 + i);
}

/* ---- the guest's odd accesses ------------------------------------------------------- */

static void odd_accesses_get_all_ones(void **state)
{
	static const struct { unsigned int at, size; } cases[] = {
		{ 0x100, 8 }, { 0x102, 4 }, { 0x101, 2 }, { 0x61, 4 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		begin_read(0, BASE + cases[i].at, cases[i].size);
		expect_read(0, cases[i].size == 8 ? UINT64_MAX :
			    (UINT64_C(1) << (8 * cases[i].size)) - 1);
	}
	assert_int_equal(vg_bdev_stats(dev[0])->bad_accesses, 4);
	assert_int_equal(vg_bdev_stats(dev[0])->forwarded, 0);
}

/* ---- silent -------------------------------------------------------------------------- */

static uint64_t wait_done(unsigned int vcpu, uint64_t *data)
{
	uint64_t start = vg_now_ns();

	while (!fake_mmio_done(GUEST, vcpu, data)) {
		if (vg_now_ns() - start > 5 * UINT64_C(1000000000))
			fail_msg("the vCPU waits for ever");
		turn();
	}
	return vg_now_ns() - start;
}

static void silence_ends_at_the_bound(void **state)
{
	uint64_t data, took;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	took = wait_done(0, &data);
	assert_int_equal(data, 0xffffffff);
	assert_true(took > TIMEOUT_NS / 2 && took < 20 * TIMEOUT_NS);
	assert_true(vg_bdev_is_dead(dev[0]));
	assert_true(unit_logged("did not answer within 150 ms"));
	assert_int_equal(fake_spi_count(GUEST, 33), 1);
	begin_read(0, BASE + 0x60, 4);
	expect_read(0, 2);
	/* From now on at once, and without telling the backend. */
	begin_read(0, BASE + 0x100, 4);
	expect_read(0, 0xffffffff);
	assert_int_equal(vg_bdev_stats(dev[0])->timeouts, 1);
	assert_int_equal(vg_bdev_stats(dev[0])->forwarded, 1);
	/* The other device never noticed. */
	assert_false(vg_bdev_is_dead(dev[1]));
	begin_read(1, BASE2 + 0x70, 4);
	answer(&be[1], 1, 15);
	expect_read(1, 15);
}

static void late_answer_is_dropped(void **state)
{
	uint32_t seq;
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	seq = be[0].page->slot[0].seq;
	wait_done(0, &data);
	answer_as(&be[0], 0, seq, 0x1234);
	turns(2);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 1);
	assert_true(vg_bdev_is_dead(dev[0]));
}

/* A reset takes as long as its requests: then it was busy and not dead. */
static void late_answer_to_a_reset_revives(void **state)
{
	uint32_t seq;

	(void)state;
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	turns(2);
	seq = be[0].page->slot[0].seq;
	wait_done(0, NULL);
	assert_true(vg_bdev_is_dead(dev[0]));
	answer_as(&be[0], 0, seq, 0x1234);
	turns(2);
	assert_int_equal(vg_bdev_stats(dev[0])->late_answers, 1);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 0);
	assert_false(vg_bdev_is_dead(dev[0]));
	/* Once: said again, it is a replay. */
	answer_as(&be[0], 0, seq, 0x1234);
	turns(2);
	assert_int_equal(vg_bdev_stats(dev[0])->late_answers, 1);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 1);
}

static void reset_revives(void **state)
{
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	wait_done(0, &data);
	/* A reset that is not answered either ends at the bound as well. */
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	wait_done(0, NULL);
	assert_true(vg_bdev_is_dead(dev[0]));
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	turns(2);
	answer(&be[0], 0, 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 0, NULL));
	assert_false(vg_bdev_is_dead(dev[0]));
	begin_read(0, BASE + 0x70, 4);
	answer(&be[0], 0, 0);
	expect_read(0, 0);
}

static void gone_backend_needs_no_waiting(void **state)
{
	(void)state;
	be[0].page->backend_state = VG_RELAY_BACKEND_GONE;
	begin_read(0, BASE + 0x70, 4);
	expect_read(0, 0xffffffff);
	assert_int_equal(vg_bdev_stats(dev[0])->timeouts, 0);
	be[0].page->backend_state = 0xdeadbeef;		/* no state at all */
	begin_read(0, BASE + 0x70, 4);
	answer(&be[0], 0, 7);
	expect_read(0, 7);
	assert_int_equal(vg_bdev_backend_state(dev[0]), 0xdeadbeef);
}

/* The backend's process dies under an access; its successor binds again. */
static void backend_dies_and_comes_back(void **state)
{
	uint64_t data;
	(void)state;

	begin_read(0, BASE + 0x70, 4);
	detach(&be[0]);
	wait_done(0, &data);
	assert_int_equal(data, 0xffffffff);
	begin_read(1, BASE2 + 0x70, 4);
	answer(&be[1], 1, 1);
	expect_read(1, 1);
}

/* ---- hostile -------------------------------------------------------------------------- */

static void answers_nobody_asked_for(void **state)
{
	unsigned int i;

	(void)state;
	memset(be[0].page->answered, 0xff, sizeof(be[0].page->answered));
	tell(&be[0]);
	turns(2);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 128);
	for (i = 0; i < 4; i++)
		assert_false(fake_mmio_done(GUEST, i, NULL));
	/* For a vCPU that waits for the other device. */
	begin_read(0, BASE2 + 0x70, 4);
	answer_as(&be[0], 0, be[1].page->slot[0].seq, 0x666);
	turns(2);
	assert_false(fake_mmio_done(GUEST, 0, NULL));
	answer(&be[1], 0, 5);
	expect_read(0, 5);
}

static void wrong_and_replayed_sequence_numbers(void **state)
{
	uint32_t seq, old;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	old = be[0].page->slot[0].seq;
	answer(&be[0], 0, 1);
	expect_read(0, 1);
	begin_read(0, BASE + 0x70, 4);
	seq = be[0].page->slot[0].seq;
	answer_as(&be[0], 0, old, 2);
	answer_as(&be[0], 0, old, 2);
	turns(2);
	assert_false(fake_mmio_done(GUEST, 0, NULL));
	answer_as(&be[0], 0, 0, 2);
	turns(2);
	answer_as(&be[0], 0, seq + 1, 2);
	turns(2);
	assert_false(fake_mmio_done(GUEST, 0, NULL));
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 3);
	answer_as(&be[0], 0, seq, 3);
	expect_read(0, 3);
	/* The same again: there is nobody left to answer. */
	answer_as(&be[0], 0, seq, 4);
	turns(2);
	assert_int_equal(vg_bdev_stats(dev[0])->bad_answers, 4);
	assert_false(fake_mmio_done(GUEST, 0, NULL));
}

/* What the broker wrote is not read back: scribbling changes nothing. */
static void scribbling_over_the_brokers_words(void **state)
{
	struct vg_relay_slot *s = &be[0].page->slot[3];
	uint32_t seq;

	(void)state;
	begin_read(3, BASE + 0x100, 2);
	seq = s->seq;
	memset(be[0].page, 0xa5, 128);
	s->seq = s->op = s->data = 0xa5a5a5a5;
	s->reserved = 1;
	answer_as(&be[0], 3, seq, 0x12345678);
	expect_read(3, 0x5678);		/* the width of the access, not of op */
	begin_read(3, BASE + 0x104, 4);
	assert_int_equal(s->op, VG_RELAY_OP(0x104, 4, 0));
	answer_as(&be[0], 3, s->seq, 9);
	expect_read(3, 9);
	/* A page full of anything, told often. */
	memset(be[0].page, 0xff, sizeof(*be[0].page));
	tell(&be[0]);
	turns(4);
	begin_read(1, BASE2 + 0x70, 4);
	answer(&be[1], 1, 1);
	expect_read(1, 1);
}

/* As many events as it likes: a bounded pass each turn, others get theirs. */
static void storm_of_events(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2000; i++) {
		be[0].page->irq = 0xffffffff;
		memset(be[0].page->answered, 0xff, 16);
		tell(&be[0]);
		if (i % 50 == 0) {
			begin_read(1, BASE2 + 0x70, 4);
			answer(&be[1], 1, i);
			expect_read(1, i);
		}
		turn();
	}
	/* One edge for one event at the most. */
	assert_true(fake_spi_count(GUEST, 33) <= 2000);
	assert_int_equal(fake_spi_count(GUEST, 34), 0);
	/* Without a turn of ours, thousands cost one wake-up. */
	i = (unsigned int)vg_bdev_stats(dev[0])->backend_events;
	turns(3);
	i = (unsigned int)vg_bdev_stats(dev[0])->backend_events;
	for (unsigned int k = 0; k < 5000; k++)
		tell(&be[0]);
	turns(4);
	assert_true(vg_bdev_stats(dev[0])->backend_events <= i + 2);
}

static void random_pages(void **state)
{
	uint64_t x = 1234567, data;
	unsigned int i, k;

	(void)state;
	for (i = 0; i < 300; i++) {
		uint32_t *w = (void *)be[0].page;

		for (k = 0; k < 1024; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			if (x % 3)
				w[k] = (uint32_t)(x >> 20);
		}
		if (!fake_mmio_waits(GUEST, 0) &&
		    !fake_mmio_start(GUEST, 0, BASE + i % 128 * 4, 4, i & 1, i))
			turn();
		tell(&be[0]);
		turns(2);
		fake_mmio_done(GUEST, 0, &data);
	}
	while (fake_mmio_waits(GUEST, 0))
		turn();			/* to the bound */
	begin_read(1, BASE2 + 0x70, 4);
	answer(&be[1], 1, 1);
	expect_read(1, 1);
}

/* ---- removal ---------------------------------------------------------------------------- */

static void removal_completes_what_waits(void **state)
{
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	begin_read(1, BASE2 + 0x70, 4);
	vg_bguest_remove(dev[0]);
	assert_true(fake_mmio_done(GUEST, 0, &data));
	assert_int_equal(data, 0xffffffff);
	assert_false(fake_mmio_done(GUEST, 1, &data));
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE, 4, false, 0), -ENXIO);
	answer(&be[1], 1, 3);
	expect_read(1, 3);
	/* Its page is gone for the broker, not under the backend's feet. */
	be[0].page->answered[0] = 1;
	tell(&be[0]);
	turns(2);
}

static void everything_goes_under_an_access(void **state)
{
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	begin_read(1, BASE2 + 0x70, 4);
	vg_bguest_destroy(g);
	g = NULL;
	assert_true(fake_mmio_done(GUEST, 0, &data));
	assert_true(fake_mmio_done(GUEST, 1, &data));
	assert_int_equal(fake_ioreq_servers(GUEST), 0);
}

/*
 * An access that the broker has not even looked at when its server goes: the
 * vCPU would wait for ever (fake_ioreq.c), so it has to be looked at.
 */
static void everything_goes_before_an_access_is_seen(void **state)
{
	(void)state;
	assert_int_equal(fake_mmio_start(GUEST, 2, BASE + 0x70, 4, false, 0),
			 0);
	vg_bguest_destroy(g);
	g = NULL;
	assert_true(fake_mmio_done(GUEST, 2, NULL));
}

/* ---- a successor -------------------------------------------------------------------------- */

static void successor_finds_the_access(void **state)
{
	struct vg_bdev_params p = { .label = "first", .backend = BE,
				    .base = BASE, .irq = 33 };
	uint64_t spis = fake_spi_count(GUEST, 33);
	uint16_t id = server_id;
	xen_port_t port;
	xen_ref_t ref;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	vg_bguest_leave(g);
	assert_true(fake_mmio_waits(GUEST, 0));
	detach(&be[0]);
	/* One more while nobody is there. */
	assert_int_equal(fake_mmio_start(GUEST, 1, BASE + 0x74, 4, false, 0),
			 0);
	assert_int_equal(vg_bguest_create(GUEST, id, TIMEOUT_NS, loop, gs, &g,
					  &server_id), 0);
	assert_int_equal(server_id, id);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_int_equal(vg_bguest_add(g, &p, &dev[0], &ref, &port), 0);
	attach(&be[0], ref, port);
	vg_bguest_kick(g);
	assert_int_equal(be[0].page->pending[0], 3);
	answer(&be[0], 0, 11);
	answer(&be[0], 1, 12);
	expect_read(0, 11);
	expect_read(1, 12);
	/* InterruptStatus was lost: the driver is made to look. */
	assert_int_equal(fake_spi_count(GUEST, 33), spis + 1);
}

static void successor_of_nobody(void **state)
{
	struct vg_bguest *g2;
	uint16_t id;

	(void)state;
	vg_bguest_destroy(g);
	g = NULL;
	assert_int_equal(vg_bguest_create(GUEST, server_id, TIMEOUT_NS, loop,
					  gs, &g2, &id), 0);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	vg_bguest_destroy(g2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(page_is_as_relay_h_says),
		T(reads_and_writes_are_forwarded),
		T(notify_is_posted),
		T(interrupts),
		T(vcpus_wait_independently),
		T(odd_accesses_get_all_ones),
		T(silence_ends_at_the_bound),
		T(late_answer_is_dropped),
		T(late_answer_to_a_reset_revives),
		T(reset_revives),
		T(gone_backend_needs_no_waiting),
		T(backend_dies_and_comes_back),
		T(answers_nobody_asked_for),
		T(wrong_and_replayed_sequence_numbers),
		T(scribbling_over_the_brokers_words),
		T(storm_of_events),
		T(random_pages),
		T(removal_completes_what_waits),
		T(everything_goes_under_an_access),
		T(everything_goes_before_an_access_is_seen),
		T(successor_finds_the_access),
		T(successor_of_nobody),
	};

	return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
