// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_util.c - strict numbers, the log and its limit.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "unit.h"
#include "lib/util.h"

static void numbers(void **state)
{
	static const struct {
		const char *s;
		int base;
		uint64_t max;
		int err;
		uint64_t want;
	} cases[] = {
		{ "0", 10, 9, 0, 0 },
		{ "33554432", 10, UINT64_MAX, 0, 33554432 },
		{ "007", 10, 9, 0, 7 },
		{ "10", 10, 9, -ERANGE, 0 },
		{ "18446744073709551615", 10, UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", 10, UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999999", 10, UINT64_MAX, -ERANGE, 0 },
		{ "", 10, 9, -EINVAL, 0 },
		{ " 1", 10, 9, -EINVAL, 0 },
		{ "1 ", 10, 9, -EINVAL, 0 },
		{ "1\n", 10, 9, -EINVAL, 0 },
		{ "+1", 10, 9, -EINVAL, 0 },
		{ "-1", 10, UINT64_MAX, -EINVAL, 0 },
		{ "0x1", 10, 9, -EINVAL, 0 },
		{ "1a", 10, 99, -EINVAL, 0 },
		{ "1.5", 10, 99, -EINVAL, 0 },
		{ "a", 16, 99, 0, 10 },
		{ "0x2000000", 16, UINT64_MAX, 0, 0x2000000 },
		{ "0X2aF", 16, UINT64_MAX, 0, 0x2af },
		{ "0x", 16, 99, -EINVAL, 0 },
		{ "0xg", 16, 99, -EINVAL, 0 },
		{ "x1", 16, 99, -EINVAL, 0 },
		{ "0x0x1", 16, 99, -EINVAL, 0 },
		{ "ffffffffffffffff", 16, UINT64_MAX, 0, UINT64_MAX },
		{ "10000000000000000", 16, UINT64_MAX, -ERANGE, 0 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t v = 4711;
		int err = vg_parse_u64(cases[i].s, cases[i].base, cases[i].max,
				       &v);

		if (err != cases[i].err ||
		    v != (err ? 4711 : cases[i].want))
			fail_msg("\"%s\": %d, %llu", cases[i].s, err,
				 (unsigned long long)v);
	}
}

static char *last_line;

static void keep(enum vg_log_level level, const char *line)
{
	(void)level;
	free(last_line);
	last_line = strdup(line);
}

/* What a guest or xenstore wrote can't forge a line or move the cursor. */
static void log_is_one_printable_line(void **state)
{
	char big[5000];

	(void)state;
	vg_log_hook(keep);
	vg_err("a%sb", "\n<0>forged\x1b[2J\r\t\x7f");
	assert_string_equal(last_line, "a?<0>forged?[2J???b");
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = 0;
	vg_err("%s", big);
	assert_true(strlen(last_line) < 2000);
	vg_log_hook(NULL);
	free(last_line);
	last_line = NULL;
}

static void ratelimit(void **state)
{
	struct vg_ratelimit rl = { .burst = 3 };
	unsigned int i, ok = 0;
	uint64_t second = vg_now_ns() / 1000000000u;

	(void)state;
	for (i = 0; i < 1000; i++)
		ok += vg_ratelimit_ok(&rl);
	/* Three, or six if a second began meanwhile. */
	assert_true(ok == 3 || (ok <= 6 &&
				vg_now_ns() / 1000000000u != second));
	rl.period = 1;		/* long ago */
	assert_true(vg_ratelimit_ok(&rl));
}

static void ratelimit_of_minutes(void **state)
{
	struct vg_ratelimit rl = { .burst = 3, .seconds = 1000000000 };
	const struct timespec s1 = { .tv_sec = 1, .tv_nsec = 1000000 };
	unsigned int i, ok = 0;

	(void)state;
	for (i = 0; i < 1000; i++)
		ok += vg_ratelimit_ok(&rl);
	nanosleep(&s1, NULL);
	assert_int_equal(ok, 3);
	assert_false(vg_ratelimit_ok(&rl));
	assert_int_equal(rl.suppressed, 998);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(log_is_one_printable_line),
		cmocka_unit_test(ratelimit),
		cmocka_unit_test(ratelimit_of_minutes),
	};

	return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
