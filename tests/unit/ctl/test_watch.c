// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_watch.c - virtio-grantctl watch as it turns: it wakes up for domains
 * that come and go, does not for what they write, and sleeps otherwise.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus.h"
#include "ctl/commands.h"
#include "ctl/watch.h"
#include "lib/util.h"

static struct vg_loop *loop;
static struct vg_watch *watch;

static int setup(void **state)
{
	char words[] = "attach\0g1\0type=rng\0backend=DomD", *argv[5], *p;
	struct vg_answer a = { 0 };
	int argc = 0;

	(void)state;
	bus_setup();
	vg_session_is_interrupted = 0;
	for (p = words; argc < 4; p += strlen(p) + 1)
		argv[argc++] = p;
	argv[argc] = NULL;
	vg_ctl_attach(&a, argc, argv);
	assert_int_equal(a.status, 0);
	vg_answer_free(&a);
	unit_log_start();
	assert_int_equal(vg_loop_create(&loop), 0);
	assert_int_equal(vg_watch_create(loop, UINT64_C(60000000000), NULL,
					 &watch),
			 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (watch)
		vg_watch_destroy(watch);
	vg_loop_destroy(loop);
	unit_log_stop();
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	return 0;
}

/* For so long. */
static void turn(unsigned int ms)
{
	uint64_t until = vg_now_ns() + ms * UINT64_C(1000000);

	while (vg_now_ns() < until)
		vg_loop_run_once(loop, 5);
}

static unsigned int looks(void)
{
	return (unsigned int)fake_calls(0, FAKE_STORE_DIRECTORY);
}

static void a_backend_comes_back(void **state)
{
	(void)state;
	turn(150);
	bus_domain_gone(1);
	turn(150);
	bus_domain(9, "DomD", 0xd, true);
	turn(500);
	bus_assert_key(bus_front(5, 0, "backend-id"), "9");
	assert_int_equal(vg_watch_follow(watch)->moved, 1);
}

/* In the order in which libxl does it: who is introduced has no name yet. */
static void what_comes_late(void **state)
{
	(void)state;
	bus_domain_gone(1);
	bus_domain(9, "DomD--incoming", 0xd, false);
	turn(150);
	fake_store_write(0, "/local/domain/9/name", "DomD");
	turn(50);
	fake_store_mkdir(0, "/local/domain/9/libxl");
	turn(2500);
	bus_assert_key(bus_front(5, 0, "backend-id"), "9");
}

static void it_sleeps(void **state)
{
	unsigned int before, i;

	(void)state;
	turn(2500);
	before = looks();
	turn(500);
	assert_int_equal(looks(), before);
	/* Nothing that a domain writes wakes it up. */
	for (i = 0; i < 200; i++) {
		fake_store_write(5, bus_front(5, 0, "state"), "4");
		fake_store_write(1, bus_back(1, 5, 0, "state"), "4");
		fake_store_write(5, "/local/domain/5/data/x", "%u", i);
	}
	turn(200);
	assert_int_equal(looks(), before);
}

/* The domain's end is announced before its nodes are gone. */
static void what_goes_late(void **state)
{
	(void)state;
	turn(150);
	fake_domain_destroy(1);
	bus_domain(9, "DomD-new", 0xd, true);
	turn(300);
	fake_store_rm(0, "/local/domain/1");
	fake_store_write(0, "/local/domain/9/name", "DomD");
	turn(2500);
	bus_assert_key(bus_front(5, 0, "backend-id"), "9");
}

/* As many events as one likes: ten looks a second. */
static void no_more_than_so_often(void **state)
{
	unsigned int before, each, i;
	uint64_t begun;

	(void)state;
	turn(300);
	before = looks();
	fake_store_write(0, bus_record(0x51, 0, "x"), "y");
	turn(200);
	each = looks() - before;
	assert_in_range(each, 1, 20);
	before = looks();
	begun = vg_now_ns();
	for (i = 0; i < 50; i++) {
		fake_store_write(0, bus_record(0x51, 0, "x"), "%u", i);
		turn(10);
	}
	turn(200);
	/* A loaded machine takes longer for it. */
	assert_in_range((looks() - before) / each, 2,
			(vg_now_ns() - begun) / 100000000 + 1);
}

static void xenstore_fails(void **state)
{
	static const enum fake_call calls[] = {
		FAKE_STORE_OPEN, FAKE_STORE_READ, FAKE_STORE_WATCH,
	};
	struct vg_watch *w;
	unsigned int i, n;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < (calls[i] == FAKE_STORE_WATCH ? 4 : 2); n++) {
			fake_fail_nth(0, calls[i], n, EIO);
			assert_int_equal(vg_watch_create(loop, 0, NULL, &w),
					 -EIO);
		}
	}
	/* Once in a look: the next is soon. */
	bus_domain_gone(1);
	fake_fail_from(0, FAKE_STORE_DIRECTORY, 1, 2, EIO);
	bus_domain(9, "DomD", 0xd, true);
	turn(1000);
	assert_true(unit_logged("looking at xenstore: Input/output error"));
	bus_assert_key(bus_front(5, 0, "backend-id"), "9");
}

static void wrong_words(void **state)
{
	static const char *const all[] = {
		"--forget=x", "--what", "word",
	};
	struct vg_answer a;
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		char *argv[] = { (char[]){ "watch" }, vg_strdup(all[i]), NULL };

		a = (struct vg_answer){ 0 };
		vg_ctl_watch(&a, 2, argv);
		assert_int_equal(a.status, VG_EXIT_USAGE);
		vg_answer_free(&a);
		free(argv[1]);
	}
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_backend_comes_back),
		T(what_comes_late),
		T(what_goes_late),
		T(it_sleeps),
		T(no_more_than_so_often),
		T(xenstore_fails),
		T(wrong_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
