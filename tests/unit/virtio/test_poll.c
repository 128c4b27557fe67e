// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_poll.c - looking on and holding notifications back
 * (backend/virtio/poll.h), with a clock of its own: what each does at its
 * bounds, and what both come to with a driver that keeps so many requests under
 * way.
 */
#include "unit.h"

/* poll.c itself, with our clock in place of the real one. */
#define vg_now_ns test_now_ns
#include "virtio/poll.c"

#define US	1000u
#define MAX_NS	(1000u * US)

static uint64_t clock_ns;

uint64_t vg_now_ns(void)
{
	return clock_ns;
}

static void pass(uint64_t ns)
{
	clock_ns += ns;
}

/* Asleep and woken again, @times, with @ns in between. */
static void sleeps(struct vg_poll *p, unsigned int times, uint64_t ns)
{
	while (times--) {
		vg_poll_sleep(p, MAX_NS);
		pass(ns);
		vg_poll_turn(p, MAX_NS);
	}
}

static struct vg_poll fresh(void)
{
	struct vg_poll p;

	clock_ns = 1000000 * US;
	vg_poll_reset(&p);
	vg_poll_turn(&p, MAX_NS);
	return p;
}

/* ---- looking on --------------------------------------------------------- */

static void test_adapts(void **state)
{
	struct vg_poll p = fresh();
	bool is_stolen;

	(void)state;
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SLEEP);
	sleeps(&p, 20, 100 * US);
	assert_int_equal(p.look.now_ns, MAX_NS);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SPIN);
	sleeps(&p, 20, 2 * MAX_NS);
	assert_int_equal(p.look.now_ns, 0);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SLEEP);
}

static void test_off(void **state)
{
	struct vg_poll p = fresh();
	bool is_stolen;
	unsigned int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		vg_poll_sleep(&p, 0);
		pass(1);
		vg_poll_turn(&p, 0);
		assert_int_equal(vg_poll_next(&p, false, &is_stolen),
				 VG_POLL_SLEEP);
	}
}

/* In steps of 5 us; others get a turn, and it ends when it should. */
static void test_turns_and_bound(void **state)
{
	struct vg_poll p = fresh();
	unsigned int spins = 0, turns = 0;
	enum vg_poll_next next;
	bool is_stolen;
	uint64_t began;

	(void)state;
	sleeps(&p, 20, 100 * US);
	began = clock_ns;
	for (;;) {
		next = vg_poll_next(&p, false, &is_stolen);
		pass(5 * US);
		if (next == VG_POLL_SLEEP)
			break;
		if (next == VG_POLL_TURN) {
			turns++;
			vg_poll_turn(&p, MAX_NS);
		} else {
			spins++;
		}
	}
	assert_false(is_stolen);
	assert_in_range(clock_ns - began, MAX_NS, MAX_NS + 10 * US);
	assert_in_range(turns, 30, 60);
	assert_true(spins > turns);
}

static void test_work_first(void **state)
{
	struct vg_poll p = fresh();
	bool is_stolen;

	(void)state;
	sleeps(&p, 20, 100 * US);
	assert_int_equal(vg_poll_next(&p, true, &is_stolen), VG_POLL_TURN);
}

static void test_found(void **state)
{
	struct vg_poll p = fresh();
	bool is_stolen;

	(void)state;
	sleeps(&p, 20, 100 * US);
	assert_false(vg_poll_found(&p));
	vg_poll_next(&p, false, &is_stolen);
	assert_true(vg_poll_found(&p));
	/* And the time to look begins anew. */
	pass(MAX_NS);
	vg_poll_turn(&p, MAX_NS);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SPIN);
}

static void test_stolen(void **state)
{
	struct vg_poll p = fresh();
	bool is_stolen;

	(void)state;
	sleeps(&p, 20, 100 * US);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SPIN);
	pass(STOLEN_NS + 1);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SLEEP);
	assert_true(is_stolen);
	/* For a while it does not, however soon it is woken; then it may. */
	sleeps(&p, SLEEPS_OFF, 10 * US);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SLEEP);
	assert_false(is_stolen);
	sleeps(&p, 3, 10 * US);
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SPIN);

	/* A turn may take its time: what is in it is our own work. */
	pass(STOLEN_NS + 1);
	vg_poll_turn(&p, MAX_NS);
	p.until_ns = 0;
	assert_int_equal(vg_poll_next(&p, false, &is_stolen), VG_POLL_SPIN);
}

/* ---- holding ------------------------------------------------------------ */

static void test_not_held(void **state)
{
	struct vg_poll p = fresh();

	(void)state;
	sleeps(&p, 20, 100 * US);
	p.target = 100;
	assert_false(vg_poll_holds(&p, 1, 50, false));
	assert_true(vg_poll_holds(&p, 1, 50, true));
	assert_true(vg_poll_holds(&p, 99, 150, true));
	assert_false(vg_poll_holds(&p, 100, 150, true));
}

/* What may not be waited for is no reason to know nothing. */
static void test_probe_cut_short(void **state)
{
	struct vg_poll p = fresh();

	(void)state;
	p.is_probing = true;
	assert_false(vg_poll_holds(&p, 4, 16, false));
	assert_int_equal(p.target, 12);
	assert_false(p.is_probing);
	p.is_probing = true;
	assert_false(vg_poll_holds(&p, 4, 4, false));
	assert_int_equal(p.target, 12);
}

/* With a request every 10 us, and a target out of reach. */
static void test_hold_bound(void **state)
{
	struct vg_poll p = fresh();
	unsigned int held = 1;
	uint64_t began;

	(void)state;
	sleeps(&p, 20, 100 * US);
	p.target = 30000;
	began = clock_ns;
	while (vg_poll_holds(&p, held, held, true)) {
		held++;
		pass(10 * US);
	}
	assert_in_range(clock_ns - began, MAX_NS - 10 * US, MAX_NS + 10 * US);
}

/*
 * A driver with so many under way: woken, it sees all that is done, and submits
 * as many new ones, EACH_NS apart, the first after ANSWERS_NS.
 */
#define EACH_NS		(20 * US)
#define ANSWERS_NS	(80 * US)

struct run {
	unsigned int requests, told;
	uint64_t ns;
};

static struct run run_driver(struct vg_poll *p, unsigned int depth,
			     unsigned int requests)
{
	struct run r = { 0, 0, clock_ns };
	unsigned int may = depth, under_way = 0, held = 0, told = 0;
	uint64_t next_ns = clock_ns;
	bool is_stolen;

	while (r.requests < requests) {
		vg_poll_turn(p, MAX_NS);
		if (told && clock_ns >= next_ns) {	/* it is awake */
			may += told;
			under_way -= told;
			told = 0;
		}
		if (may && clock_ns >= next_ns) {
			vg_poll_found(p);
			may--;
			under_way++;
			held++;
			r.requests++;
			next_ns = clock_ns + EACH_NS;
		}
		assert_int_not_equal(vg_poll_next(p, true, &is_stolen),
				     VG_POLL_SLEEP);
		if (held && !vg_poll_holds(p, held, under_way, true)) {
			/* It had nothing to do, so it takes a while. */
			if (!may && !told)
				next_ns = clock_ns + ANSWERS_NS;
			told += held;
			held = 0;
			r.told++;
		}
		pass(2 * US);
	}
	r.ns = clock_ns - r.ns;
	return r;
}

static void test_depth_1(void **state)
{
	struct vg_poll p = fresh();
	struct run r;

	(void)state;
	sleeps(&p, 20, 100 * US);
	r = run_driver(&p, 1, 10000);
	/* Told at once, and what it costs to find out is little. */
	assert_in_range(r.told, 9999, 10000);
	assert_true(r.ns / r.requests < (ANSWERS_NS + 4 * US) * 105 / 100);
	assert_int_equal(p.target, 1);
	assert_in_range(p.answer_ns, ANSWERS_NS - 4 * US, ANSWERS_NS + 8 * US);
}

static void test_depth_16(void **state)
{
	struct vg_poll p = fresh();
	struct run r;

	(void)state;
	sleeps(&p, 20, 100 * US);
	run_driver(&p, 16, 1000);
	assert_int_equal(p.target, 12);
	r = run_driver(&p, 16, 12000);
	assert_in_range(r.told, 12000 / 16, 12000 / 11);
	/* The driver is busy nearly all the time. */
	assert_true(r.ns / r.requests < (EACH_NS + 2 * US) * 120 / 100);
}

/* From deep to shallow within a few requests, and back within a probe. */
static void test_depth_changes(void **state)
{
	struct vg_poll p = fresh();

	(void)state;
	sleeps(&p, 20, 100 * US);
	run_driver(&p, 32, 3000);
	assert_int_equal(p.target, 24);
	run_driver(&p, 1, 40);
	assert_int_equal(p.target, 1);
	run_driver(&p, 16, PROBE_EVERY * 2);
	assert_int_equal(p.target, 12);
}

/* A driver that is late once is not taken for one that has no more to give. */
static void test_late_once(void **state)
{
	struct vg_poll p = fresh();

	(void)state;
	sleeps(&p, 20, 100 * US);
	p.target = 12;
	assert_true(vg_poll_holds(&p, 1, 2, true));
	pass(MAX_NS / 2);
	assert_false(vg_poll_holds(&p, 1, 2, true));
	assert_int_equal(p.target, 9);
	/* Unless that was to be found out. */
	p.is_probing = true;
	assert_true(vg_poll_holds(&p, 1, 2, true));
	pass(MAX_NS / 2);
	assert_false(vg_poll_holds(&p, 1, 2, true));
	assert_int_equal(p.target, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adapts),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_turns_and_bound),
		cmocka_unit_test(test_work_first),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_stolen),
		cmocka_unit_test(test_not_held),
		cmocka_unit_test(test_probe_cut_short),
		cmocka_unit_test(test_hold_bound),
		cmocka_unit_test(test_depth_1),
		cmocka_unit_test(test_depth_16),
		cmocka_unit_test(test_depth_changes),
		cmocka_unit_test(test_late_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
