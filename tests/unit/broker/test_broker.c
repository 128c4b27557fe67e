// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_broker.c - one guest's half of the broker, with a backend played by
 * hand on the relay page: honest, silent, and hostile in each way that the
 * page and its event channel allow.  No vCPU may wait beyond the bound, none
 * may get an answer that was not meant for its access, and one backend's
 * mischief may not reach the other's device.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker/child.h"
#include "driver.h"
#include "relay/page.h"
#include "unit.h"
#include "lib/util.h"

#define BE		1u
#define GUEST		3u
#define BASE		0x2000000u
#define BASE2		0x2000200u
#define TIMEOUT_NS	UINT64_C(150000000)
/* Where it is compared with a tenth of it, also on a busy machine. */
#define LONG_NS		UINT64_C(500000000)
/* Where a busy machine makes a test pass, at the worst. */
#define SHORT_NS	UINT64_C(20000000)

/* A backend by hand. */
struct hand {
	struct xen_gnttab *gt;
	struct xen_evtchn *ec;
	struct vg_relay_page *page;
	xen_port_t port;
};

/* What the broker's parent keeps of a device. */
struct kept {
	struct xen_shared_page *page;
	struct xen_evtchn *ec;
	xen_ref_t ref;
	xen_port_t port;
};

static struct vg_loop *loop;
static struct vg_bchild_guest *g;
static struct fake_proc *proc;		/* the child's */
static struct vg_bchild_shared shared;
static struct kept kept[2];
static struct vg_bchild_dev *dev[2];
static struct hand be[2];
static uint16_t server_id;
/* Of killed processes: never touched again, but known to the leak checker. */
static void *abandoned[16];
static unsigned int nr_abandoned;

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

static const struct vg_bchild_dev_stats *stats(unsigned int i)
{
	return &shared.dev[i].stats;
}

static bool is_dead(unsigned int i)
{
	return shared.dev[i].is_dead;
}

static void turn(void)
{
	fake_enter_proc(proc);
	assert_true(vg_loop_run_once(loop, 0) >= 0);
	fake_enter(0);
}

static void turns(unsigned int n)
{
	while (n--)
		turn();
}

static int relay_make(struct kept *k)
{
	fake_enter(0);
	return xen_shared_page_create(BE, &k->page, &k->ref) ||
	       xen_evtchn_open(&k->ec) ||
	       xen_evtchn_alloc_unbound(k->ec, BE, &k->port);
}

static void relay_drop(struct kept *k)
{
	fake_enter(0);
	xen_shared_page_close(k->page);
	xen_evtchn_close(k->ec);
	memset(k, 0, sizeof(*k));
}

/* With what a test is run: its initial state. */
static const struct with {
	uint64_t timeout_ns;
	/* Else the second device's is said to be another domain. */
	bool is_one_backend;
} with_defaults = { .timeout_ns = TIMEOUT_NS };
static struct with with;

/* As the child does with what it is sent. */
static int dev_add(unsigned int i)
{
	struct vg_bchild_dev_params p = {
		.label = i ? "second" : "first", .base = i ? BASE2 : BASE,
		.irq = 33 + i, .port = kept[i].port, .shared = &shared.dev[i],
		.backend = with.is_one_backend ? BE : (xen_domid_t)(BE + i),
	};
	int err;

	fake_enter_proc(proc);
	err = xen_shared_page_take(dup(xen_shared_page_fd(kept[i].page)),
				   &p.page) ||
	      xen_evtchn_take(dup(xen_evtchn_fd(kept[i].ec)), &p.ec) ||
	      vg_bchild_dev_add(g, &p, &dev[i]);
	fake_enter(0);
	return err;
}

/* All tests are run without and with looking before sleeping. */
static uint64_t poll_max_ns;

static int child_make(int adopt_id)
{
	int err;

	proc = fake_proc_create(0);
	fake_enter_proc(proc);
	err = vg_loop_create(&loop);
	if (!err)
		err = vg_bchild_guest_create(GUEST, adopt_id, with.timeout_ns,
					     &shared.seq, loop, &g, &server_id);
	if (!err)
		vg_bchild_guest_poll(g, poll_max_ns);
	fake_enter(0);
	return err;
}

static void start(void)
{
	fake_enter_proc(proc);
	assert_int_equal(vg_bchild_guest_start(g), 0);
	fake_enter(0);
}

static int setup(void **state)
{
	unsigned int i;

	with = *(const struct with *)*state;
	unit_log_start();
	fake_init();
	fake_domain_create(BE, 1, 64);
	fake_domain_create(GUEST, 4, 64);
	memset(&shared, 0, sizeof(shared));
	if (child_make(-1))
		return -1;
	for (i = 0; i < 2; i++) {
		if (relay_make(&kept[i]) || dev_add(i))
			return -1;
		attach(&be[i], kept[i].ref, kept[i].port);
	}
	start();
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
		vg_bchild_guest_destroy(g);
	g = NULL;
	relay_drop(&kept[0]);
	relay_drop(&kept[1]);
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

/* ---- honest ------------------------------------------------------------- */

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
	assert_int_equal(stats(0)->forwarded, 4);
	assert_int_equal(stats(0)->bad_answers, 0);
	assert_int_equal(stats(1)->traps, 0);
}

static void notify_is_posted(void **state)
{
	uint64_t before;
	unsigned int i;

	(void)state;
	before = stats(0)->forwarded;
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
	assert_int_equal(stats(0)->bad_accesses, 1);
	assert_int_equal(stats(0)->forwarded, before);
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

/* ---- the guest's odd accesses ------------------------------------------- */

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
	assert_int_equal(stats(0)->bad_accesses, 4);
	assert_int_equal(stats(0)->forwarded, 0);
}

/* ---- silent ------------------------------------------------------------- */

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

static void pass(uint64_t ns)
{
	uint64_t start = vg_now_ns();

	while (vg_now_ns() - start < ns)
		turn();
}

static void silence_ends_at_the_bound(void **state)
{
	uint64_t data, took;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	took = wait_done(0, &data);
	assert_int_equal(data, 0xffffffff);
	assert_true(took > TIMEOUT_NS / 2 && took < 20 * TIMEOUT_NS);
	assert_true(is_dead(0));
	assert_true(unit_logged("did not answer within 150 ms"));
	assert_int_equal(fake_spi_count(GUEST, 33), 1);
	begin_read(0, BASE + 0x60, 4);
	expect_read(0, 2);
	/* From now on at once, and without telling the backend. */
	begin_read(0, BASE + 0x100, 4);
	expect_read(0, 0xffffffff);
	assert_int_equal(stats(0)->timeouts, 1);
	assert_int_equal(stats(0)->forwarded, 1);
	/* The other device never noticed. */
	assert_false(is_dead(1));
	begin_read(1, BASE2 + 0x70, 4);
	answer(&be[1], 1, 15);
	expect_read(1, 15);
}

/* Of all devices together: one waits for the limit, the others much less. */
static void silence_of_one_backend(void **state)
{
	uint64_t took;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	took = wait_done(0, NULL);
	assert_true(took > LONG_NS / 2);
	begin_read(0, BASE2 + 0x70, 4);
	took = wait_done(0, NULL);
	if (took > LONG_NS / 2)
		fail_msg("the second device: %llu us more",
			 (unsigned long long)took / 1000);
	assert_true(unit_logged("did not answer within 50 ms"));
	assert_true(is_dead(0) && is_dead(1));
	/* Resets are asked for, and do not cost the limit either. */
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	took = wait_done(0, NULL);
	assert_true(took < LONG_NS / 2);
	/* It was stopped, and goes on. */
	answer(&be[0], 0, 0);
	turns(2);
	assert_false(is_dead(0));
	/* That restores nothing at once, but time does, for both devices. */
	pass(6 * LONG_NS);
	assert_int_equal(fake_mmio_start(GUEST, 1, BASE2 + 0x70, 4, true, 0),
			 0);
	took = wait_done(1, NULL);
	assert_true(took > LONG_NS / 2);
}

/* Two vCPUs wait: the second began later, and does not wait as long. */
static void silence_for_several_vcpus(void **state)
{
	uint64_t took;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	pass(LONG_NS / 2);
	begin_read(1, BASE2 + 0x70, 4);
	wait_done(0, NULL);
	assert_true(fake_mmio_waits(GUEST, 1));
	took = wait_done(1, NULL);
	if (took > LONG_NS * 3 / 8)
		fail_msg("%llu us more", (unsigned long long)took / 1000);
}

/* Another domain's device has all of its time. */
static void silence_is_not_the_neighbours(void **state)
{
	uint64_t took;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	wait_done(0, NULL);
	begin_read(0, BASE2 + 0x70, 4);
	took = wait_done(0, NULL);
	assert_true(took > LONG_NS / 2);
}

/*
 * It answers each access just before the limit: no time-out, and the guest
 * would not get on for as long as it makes accesses.
 */
static void accesses_come_to_an_end(uint64_t limit_ns)
{
	uint64_t asked;
	unsigned int n;

	for (n = 0; n < 20 && !is_dead(0); n++) {
		begin_read(0, BASE + 0x70, 4);
		asked = vg_now_ns();
		while (fake_mmio_waits(GUEST, 0) &&
		       vg_now_ns() - asked < limit_ns * 3 / 5)
			turn();
		answer(&be[0], 0, 1);
		turns(2);
		assert_true(fake_mmio_done(GUEST, 0, NULL));
	}
	if (!is_dead(0))
		fail_msg("%u accesses, and no end", n);
	assert_true(unit_logged("did not answer within "));
}

static void answers_at_the_last_moment(void **state)
{
	uint64_t took;

	(void)state;
	accesses_come_to_an_end(LONG_NS);
	/* What is restored after a while is what the next access may wait. */
	pass(8 * LONG_NS);
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	turns(2);
	answer(&be[0], 0, 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 0, NULL));
	assert_false(is_dead(0));
	begin_read(0, BASE + 0x70, 4);
	took = wait_done(0, NULL);
	assert_true(took > LONG_NS / 2 && took < LONG_NS);
}

/* Having been in time for long is no licence. */
static void patience_is_not_saved_up(void **state)
{
	(void)state;
	pass(100 * SHORT_NS);
	accesses_come_to_an_end(SHORT_NS);
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
	assert_int_equal(stats(0)->bad_answers, 1);
	assert_true(is_dead(0));
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
	assert_true(is_dead(0));
	answer_as(&be[0], 0, seq, 0x1234);
	turns(2);
	assert_int_equal(stats(0)->late_answers, 1);
	assert_int_equal(stats(0)->bad_answers, 0);
	assert_false(is_dead(0));
	/* Once: said again, it is a replay. */
	answer_as(&be[0], 0, seq, 0x1234);
	turns(2);
	assert_int_equal(stats(0)->late_answers, 1);
	assert_int_equal(stats(0)->bad_answers, 1);
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
	assert_true(is_dead(0));
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	turns(2);
	answer(&be[0], 0, 0);
	turns(2);
	assert_true(fake_mmio_done(GUEST, 0, NULL));
	assert_false(is_dead(0));
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
	assert_int_equal(stats(0)->timeouts, 0);
	be[0].page->backend_state = 0xdeadbeef;		/* no state at all */
	begin_read(0, BASE + 0x70, 4);
	answer(&be[0], 0, 7);
	expect_read(0, 7);
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

/* ---- hostile ------------------------------------------------------------ */

static void answers_nobody_asked_for(void **state)
{
	unsigned int i;

	(void)state;
	memset(be[0].page->answered, 0xff, sizeof(be[0].page->answered));
	tell(&be[0]);
	turns(2);
	assert_int_equal(stats(0)->bad_answers, 128);
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
	assert_int_equal(stats(0)->bad_answers, 3);
	answer_as(&be[0], 0, seq, 3);
	expect_read(0, 3);
	/* The same again: there is nobody left to answer. */
	answer_as(&be[0], 0, seq, 4);
	turns(2);
	assert_int_equal(stats(0)->bad_answers, 3);
	assert_int_equal(stats(0)->repeated_answers, 1);
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
	i = (unsigned int)stats(0)->backend_events;
	turns(3);
	i = (unsigned int)stats(0)->backend_events;
	for (unsigned int k = 0; k < 5000; k++)
		tell(&be[0]);
	turns(4);
	assert_true(stats(0)->backend_events <= i + 2);
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

/* ---- removal ------------------------------------------------------------ */

static void removal_completes_what_waits(void **state)
{
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	begin_read(1, BASE2 + 0x70, 4);
	vg_bchild_dev_remove(dev[0]);
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
	vg_bchild_guest_destroy(g);
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
	vg_bchild_guest_destroy(g);
	g = NULL;
	assert_true(fake_mmio_done(GUEST, 2, NULL));
}

/* ---- a successor -------------------------------------------------------- */

/* The process ends, with the access unanswered; kill -9 or in order. */
static void child_replace(bool killed)
{
	uint16_t id = server_id;

	if (killed) {
		fake_proc_crash(proc);
		abandoned[nr_abandoned++ % 16] = g;
		abandoned[nr_abandoned++ % 16] = loop;
	} else {
		vg_bchild_guest_leave(g);
		vg_loop_destroy(loop);
	}
	assert_int_equal(child_make(id), 0);
	assert_int_equal(server_id, id);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
}

/* With the devices that its predecessor had. */
static void successor_start(void)
{
	assert_int_equal(dev_add(0), 0);
	assert_int_equal(dev_add(1), 0);
	start();
}

static void successor_on_new_pages(void **state)
{
	uint64_t spis = fake_spi_count(GUEST, 33);

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	child_replace(false);
	assert_true(fake_mmio_waits(GUEST, 0));
	detach(&be[0]);
	relay_drop(&kept[0]);
	/* One more while nobody is there. */
	assert_int_equal(fake_mmio_start(GUEST, 1, BASE + 0x74, 4, false, 0),
			 0);
	memset(&shared, 0, sizeof(shared));
	assert_int_equal(relay_make(&kept[0]), 0);
	assert_int_equal(dev_add(0), 0);
	attach(&be[0], kept[0].ref, kept[0].port);
	start();
	assert_int_equal(be[0].page->pending[0], 3);
	answer(&be[0], 0, 11);
	answer(&be[0], 1, 12);
	expect_read(0, 11);
	expect_read(1, 12);
	/* InterruptStatus was lost: the driver is made to look. */
	assert_int_equal(fake_spi_count(GUEST, 33), spis + 1);
}

/* The backend keeps page and port, and has only to answer once more. */
static void successor_on_the_same_pages(void **state)
{
	unsigned int killed;
	uint64_t spis;
	uint32_t seq;

	for (killed = 0; killed < 2; killed++) {
		be[0].page->irq = 3;
		tell(&be[0]);
		turns(2);
		begin_read(0, BASE + 0x70, 4);
		seq = be[0].page->slot[0].seq;
		be[0].page->pending[0] = 0;	/* taken */
		spis = fake_spi_count(GUEST, 33);
		child_replace(killed);
		/* Said while nobody is there. */
		answer_as(&be[0], 0, seq, 0x666);
		successor_start();
		assert_false(fake_mmio_done(GUEST, 0, NULL));
		/* No number comes twice. */
		assert_true(be[0].page->slot[0].seq > seq);
		assert_int_equal(be[0].page->pending[0], 1);
		answer(&be[0], 0, 21);
		expect_read(0, 21);
		assert_int_equal(stats(0)->bad_answers, 0);
		assert_true(fake_spi_count(GUEST, 33) > spis);
		/* InterruptStatus was kept. */
		begin_read(0, BASE + 0x60, 4);
		expect_read(0, 3);
		begin_read(1, BASE2 + 0x70, 4);
		answer(&be[1], 1, 3);
		expect_read(1, 3);
	}
	(void)state;
}

/* It died between taking the backend's event and unmasking its port. */
static void successor_unmasks_the_port(void **state)
{
	struct xen_evtchn *ec;
	xen_port_t port;

	(void)state;
	fake_enter_proc(proc);
	assert_int_equal(xen_evtchn_take(dup(xen_evtchn_fd(kept[0].ec)), &ec),
			 0);
	be[0].page->irq = 1;
	tell(&be[0]);
	assert_int_equal(xen_evtchn_pending(ec, &port), 0);
	child_replace(true);
	successor_start();
	begin_read(0, BASE + 0x60, 4);
	expect_read(0, 1);
	begin_read(0, BASE + 0x70, 4);
	answer(&be[0], 0, 7);
	expect_read(0, 7);
}

static void successor_of_a_dead_device(void **state)
{
	uint64_t data;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	wait_done(0, &data);
	assert_true(is_dead(0));
	with.timeout_ns = LONG_NS;
	child_replace(true);
	successor_start();
	begin_read(0, BASE + 0x70, 4);
	expect_read(0, 0xffffffff);
	/* It knows what its predecessor has waited for in vain. */
	assert_int_equal(fake_mmio_start(GUEST, 0, BASE + 0x70, 4, true, 0), 0);
	assert_true(wait_done(0, NULL) < LONG_NS / 2);
}

static void predecessor_has_not_ended(void **state)
{
	struct vg_bchild_guest *g2;
	uint32_t seq = 0;
	uint16_t id;

	(void)state;
	assert_int_equal(vg_bchild_guest_create(GUEST, server_id, TIMEOUT_NS,
						&seq, loop, &g2, &id), -EBUSY);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
}

static void successor_of_nobody(void **state)
{
	struct vg_bchild_guest *g2;
	uint32_t seq = 0;
	uint16_t id;

	(void)state;
	vg_bchild_guest_destroy(g);
	g = NULL;
	assert_int_equal(vg_bchild_guest_create(GUEST, server_id, TIMEOUT_NS,
						&seq, loop, &g2, &id), 0);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	vg_bchild_guest_destroy(g2);
}

/* ---- a backend's successor ---------------------------------------------- */

static void new_session(struct hand *h)
{
	h->page->backend_session++;
	h->page->backend_state = VG_RELAY_BACKEND_READY;
	tell(h);
}

/* A worker took the access and died; the next one is asked the same. */
static void backend_is_asked_again(void **state)
{
	uint32_t seq;

	(void)state;
	begin_read(0, BASE + 0x70, 4);
	begin_read(1, BASE + 0x74, 4);
	begin_read(2, BASE2 + 0x70, 4);
	seq = be[0].page->slot[0].seq;
	be[0].page->pending[0] = 0;
	answer(&be[0], 1, 5);
	expect_read(1, 5);
	detach(&be[0]);
	attach(&be[0], kept[0].ref, kept[0].port);
	turns(2);
	assert_int_equal(be[0].page->pending[0], 0);
	be[1].page->pending[0] = 0;
	new_session(&be[0]);
	turns(2);
	/* What was answered is not, nor what another backend was asked. */
	assert_int_equal(be[0].page->pending[0], 1);
	assert_int_equal(be[0].page->slot[0].seq, seq);
	assert_int_equal(be[1].page->pending[0], 0);
	answer(&be[0], 0, 6);
	expect_read(0, 6);
	answer(&be[1], 2, 7);
	expect_read(2, 7);
	/* It says once more what its predecessor had said: nobody minds. */
	answer_as(&be[0], 0, seq, 6);
	turns(2);
	assert_int_equal(stats(0)->bad_answers, 0);
	assert_int_equal(stats(0)->repeated_answers, 1);
	assert_int_equal(stats(0)->sessions, 1);
}

/* Between the two the accesses wait, though for no longer than the limit. */
static void backend_restarts(void **state)
{
	uint64_t took;

	(void)state;
	be[0].page->backend_state = VG_RELAY_BACKEND_RESTARTING;
	begin_read(0, BASE + 0x70, 4);
	assert_false(fake_mmio_done(GUEST, 0, NULL));
	new_session(&be[0]);
	turns(2);
	answer(&be[0], 0, 6);
	expect_read(0, 6);
	be[0].page->backend_state = VG_RELAY_BACKEND_RESTARTING;
	begin_read(0, BASE + 0x70, 4);
	took = wait_done(0, NULL);
	assert_true(took < 20 * TIMEOUT_NS);
	assert_true(is_dead(0));
	/* One more second would do: it lives. */
	new_session(&be[0]);
	turns(2);
	assert_false(is_dead(0));
	begin_read(0, BASE + 0x70, 4);
	answer(&be[0], 0, 8);
	expect_read(0, 8);
	/* Not again so soon: it could hold the vCPU at every access. */
	begin_read(0, BASE + 0x70, 4);
	wait_done(0, NULL);
	assert_true(is_dead(0));
	new_session(&be[0]);
	turns(2);
	assert_true(is_dead(0));
}

/* Was the backend notified since it was last asked? */
static bool was_told(struct hand *h)
{
	xen_port_t port;
	bool told = false;

	while (!xen_evtchn_pending(h->ec, &port)) {
		told |= port == h->port;
		xen_evtchn_unmask(h->ec, port);
	}
	return told;
}

/*
 * Its domain's root has written that it is gone: an access is answered at once,
 * and asks whether that is so.
 */
static void gone_backend_is_asked_whether_it_is(void **state)
{
	uint32_t asked;

	(void)state;
	was_told(&be[0]);
	asked = be[0].page->asked;
	be[0].page->backend_state = VG_RELAY_BACKEND_GONE;
	begin_read(0, BASE, 4);
	expect_read(0, 0xffffffff);
	assert_int_not_equal(be[0].page->asked, asked);
	assert_true(was_told(&be[0]));
	new_session(&be[0]);
	turns(2);
	asked = be[0].page->asked;
	begin_read(0, BASE, 4);
	answer(&be[0], 0, 0x74726976);
	expect_read(0, 0x74726976);
	/* One that is there is not asked. */
	assert_int_equal(be[0].page->asked, asked);
}

/* No driver is bound that would reset it, and its probe ends with the magic. */
static void dead_device_is_asked_for(void **state)
{
	uint32_t asked;

	(void)state;
	begin_read(0, BASE, 4);
	wait_done(0, NULL);
	assert_true(is_dead(0));
	asked = be[0].page->asked;
	was_told(&be[0]);
	begin_read(0, BASE, 4);
	expect_read(0, 0xffffffff);
	assert_int_not_equal(be[0].page->asked, asked);
	assert_true(was_told(&be[0]));
	new_session(&be[0]);
	turns(2);
	assert_false(is_dead(0));
	begin_read(0, BASE, 4);
	answer(&be[0], 0, 0x74726976);
	expect_read(0, 0x74726976);
	/* While no answer would revive it, it is not asked. */
	begin_read(0, BASE, 4);
	wait_done(0, NULL);
	asked = be[0].page->asked;
	was_told(&be[0]);
	begin_read(0, BASE, 4);
	expect_read(0, 0xffffffff);
	assert_int_equal(be[0].page->asked, asked);
	assert_false(was_told(&be[0]));
}

static void own_words_are_mended(void **state)
{
	(void)state;
	be[0].page->magic = 0;
	be[0].page->version = 99;
	be[0].page->nr_vcpus = UINT32_MAX;
	be[0].page->nr_queues_max = 0;
	tell(&be[0]);
	turns(2);
	assert_int_equal(be[0].page->magic, VG_RELAY_MAGIC);
	assert_int_equal(be[0].page->version, VG_RELAY_VERSION);
	assert_int_equal(be[0].page->nr_vcpus, 4);
	assert_int_equal(be[0].page->nr_queues_max, VG_RELAY_QUEUES_MAX);
}

/*
 * Bounded work: whatever is in the page, an event costs its pass of one
 * pending, one unmask, one interrupt, one notification, and no completion of
 * an access that nobody answered rightly.
 */
static void work_per_event_is_bounded(void **state)
{
	static const enum fake_call kinds[] = {
		FAKE_EVTCHN_PENDING, FAKE_EVTCHN_UNMASK, FAKE_EVTCHN_NOTIFY,
		FAKE_IOREQ_RAISE_SPI, FAKE_IOREQ_COMPLETE,
	};
	static const unsigned int most[] = { 1, 1, 1, 1, 0 };
	unsigned int i, n, v;

	(void)state;
	for (v = 0; v < 4; v++)
		begin_read(v, BASE + 0x70, 4);
	for (i = 0; i < 200; i++) {
		memset(be[0].page->answered, 0xff,
		       sizeof(be[0].page->answered));
		be[0].page->irq = UINT32_MAX;
		be[0].page->backend_session = i;
		for (n = 0; n < 50; n++)
			tell(&be[0]);
		fake_count_reset();
		turn();
		for (n = 0; n < ARRAY_SIZE(kinds); n++)
			/*
			 * What is seen while looking on, its event brings
			 * again.
			 */
			if (fake_calls(0, kinds[n]) >
			    most[n] * (poll_max_ns ? 2 : 1))
				fail_msg("event %u: %llu calls of %s", i,
					 (unsigned long long)
					 fake_calls(0, kinds[n]),
					 fake_call_name(kinds[n]));
	}
	assert_int_equal(stats(0)->bad_answers, 200 * 128);
	for (v = 0; v < 4; v++)
		answer(&be[0], v, v);
	for (v = 0; v < 4; v++)
		expect_read(v, v);
}

/*
 * A backend that raises interrupts while the broker looks, and tells it only if
 * it does not.
 */
static struct {
	bool stop;
	unsigned int untold, told;
} raiser;

static void *raise_irqs(void *arg)
{
	struct vg_relay_page *page = arg;

	while (!count_read(raiser.stop)) {
		if (!READ_ONCE(page->broker_looks))
			continue;
		__atomic_fetch_or(&page->irq, 1, __ATOMIC_RELEASE);
		smp_mb();
		if (READ_ONCE(page->broker_looks)) {
			count_add(raiser.untold, 1);
		} else {
			/* Too late: by an event, from the main thread. */
			count_add(raiser.told, 1);
			while (READ_ONCE(page->irq) && !count_read(raiser.stop))
				;
		}
		while (READ_ONCE(page->irq) && !count_read(raiser.stop))
			;
	}
	return NULL;
}

static void looks_for_what_nobody_tells(void **state)
{
	uint64_t until = vg_now_ns() + UINT64_C(20000000000);
	unsigned int told = 0;
	pthread_t thread;

	(void)state;
	if (!poll_max_ns)
		return;
	vg_bchild_guest_poll(g, 1000000);
	memset(&raiser, 0, sizeof(raiser));
	assert_int_equal(pthread_create(&thread, NULL, raise_irqs,
					be[0].page), 0);
	while (count_read(raiser.untold) < 100 && vg_now_ns() < until) {
		/* Keeps it looking. */
		begin_read(0, BASE + 0x60, 4);
		assert_true(fake_mmio_done(GUEST, 0, NULL));
		if (told != count_read(raiser.told)) {
			told++;
			tell(&be[0]);
			turns(2);
		}
	}
	count_add(raiser.stop, 1);
	pthread_join(thread, NULL);
	assert_true(raiser.untold >= 100);
	assert_int_equal(be[0].page->broker_looks, 0);
	/* The last may still be there, if it was to be told. */
	assert_int_equal(fake_spi_count(GUEST, 33),
			 raiser.untold + raiser.told - !!be[0].page->irq);
	assert_true(!be[0].page->irq || raiser.told > told);
}

/* Somebody else writes that the broker looks: until its next event. */
static void looking_is_the_brokers_word(void **state)
{
	(void)state;
	be[0].page->broker_looks = 1;
	tell(&be[0]);
	turns(2);
	assert_int_equal(be[0].page->broker_looks, 0);
}

/* What tests differ in. */
static const struct with long_limit = { .timeout_ns = LONG_NS };
static const struct with short_limit = { .timeout_ns = SHORT_NS };
static const struct with one_backend = {
	.timeout_ns = LONG_NS,
	.is_one_backend = true,
};
/* What must not end by the limit, however slow the machine is. */
static const struct with patience = { .timeout_ns = 400 * TIMEOUT_NS };

#define T(f)		TW(f, with_defaults)
#define TW(f, with_)	cmocka_unit_test_prestate_setup_teardown(f, setup, \
				teardown, (void *)(uintptr_t)&(with_))

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(page_is_as_relay_h_says),
		T(reads_and_writes_are_forwarded),
		T(notify_is_posted),
		T(looks_for_what_nobody_tells),
		T(looking_is_the_brokers_word),
		T(interrupts),
		T(vcpus_wait_independently),
		T(odd_accesses_get_all_ones),
		T(silence_ends_at_the_bound),
		TW(silence_of_one_backend, one_backend),
		TW(silence_for_several_vcpus, one_backend),
		TW(silence_is_not_the_neighbours, long_limit),
		TW(answers_at_the_last_moment, one_backend),
		TW(patience_is_not_saved_up, short_limit),
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
		T(successor_on_new_pages),
		T(successor_on_the_same_pages),
		T(successor_unmasks_the_port),
		T(successor_of_a_dead_device),
		T(predecessor_has_not_ended),
		T(successor_of_nobody),
		T(backend_is_asked_again),
		T(backend_restarts),
		T(gone_backend_is_asked_whether_it_is),
		T(dead_device_is_asked_for),
		T(own_words_are_mended),
		TW(work_per_event_is_bounded, patience),
	};

	int failed = cmocka_run_group_tests_name("broker", tests, NULL, NULL);

	poll_max_ns = 100000;
	return failed + cmocka_run_group_tests_name("broker, looking on", tests,
						    NULL, NULL);
}
