// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_broker_credit.c - how long a guest waits for a backend's domain
 * (backend/broker/credit.c), whatever that does, by a clock of the test's.
 */
#include "broker/credit.h"
#include "unit.h"

#define LIMIT	UINT64_C(1000)

static struct vg_credit c;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	now = 123456789;
	vg_credit_begin(&c, LIMIT, now);
	return 0;
}

/* An access that is answered after @took_ns, which it may wait. */
static void answered(uint64_t took_ns)
{
	assert_true(took_ns <= vg_credit_limit(&c, now));
	now += took_ns;
	vg_credit_charge(&c, took_ns, now);
}

static void in_vain(void)
{
	now += vg_credit_limit(&c, now);
	assert_int_equal(vg_credit_in_vain(&c, now), now + LIMIT / 10);
}

static void quick_answers_cost_nothing(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		answered(LIMIT / 10);
	assert_int_equal(vg_credit_limit(&c, now), LIMIT);
}

static void one_in_vain_takes_all(void **state)
{
	(void)state;
	in_vain();
	assert_int_equal(vg_credit_limit(&c, now), LIMIT / 10);
	/* A tenth of the time comes back, and none of it twice. */
	now += 5 * LIMIT;
	assert_int_equal(vg_credit_limit(&c, now), LIMIT / 2);
	assert_int_equal(vg_credit_limit(&c, now), LIMIT / 2);
	now += 5 * LIMIT;
	assert_int_equal(vg_credit_limit(&c, now), LIMIT);
	vg_credit_spend(&c, now);
	assert_int_equal(vg_credit_limit(&c, now), LIMIT / 10);
}

/* It answers each just before the limit: in the end that is a ninth. */
static void answers_at_the_last_moment(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 20; i++)
		answered(vg_credit_limit(&c, now));
	for (; i < 1000; i++) {
		assert_in_range(vg_credit_limit(&c, now), LIMIT / 10,
				LIMIT / 8);
		answered(vg_credit_limit(&c, now));
	}
}

static void it_is_not_saved_up(void **state)
{
	unsigned int n;

	(void)state;
	now += 1000000 * LIMIT;
	for (n = 0; n < 100 && vg_credit_limit(&c, now) == LIMIT; n++)
		answered(LIMIT);
	/* 5 limits, a tenth free each time, and a tenth that comes back. */
	assert_in_range(n, 5, 7);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(quick_answers_cost_nothing),
		T(one_in_vain_takes_all),
		T(answers_at_the_last_moment),
		T(it_is_not_saved_up),
	};

	return cmocka_run_group_tests_name("broker_credit", tests, NULL, NULL);
}
