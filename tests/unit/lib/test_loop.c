// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_loop.c - the event loop: what its header promises about removal from
 * within callbacks, timers, and deferred calls.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/loop.h"
#include "unit.h"
#include "lib/util.h"

static struct vg_loop *loop;
static int fd[2];
static struct vg_fd *vfd[2];
static unsigned int calls[4];
static struct vg_timer *timer[2];
static struct vg_deferred *deferred[3];
static char order[16];

static void note(char c)
{
	order[strlen(order)] = c;
}

static int setup(void **state)
{
	unsigned int i;

	(void)state;
	memset(calls, 0, sizeof(calls));
	memset(order, 0, sizeof(order));
	memset(timer, 0, sizeof(timer));
	memset(deferred, 0, sizeof(deferred));
	for (i = 0; i < 2; i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vfd[i] = NULL;
	}
	return vg_loop_create(&loop);
}

static int teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		vg_loop_del_fd(loop, vfd[i]);
		close(fd[i]);
		vg_timer_destroy(timer[i]);
	}
	for (i = 0; i < 3; i++)
		vg_deferred_destroy(deferred[i]);
	vg_loop_destroy(loop);
	return 0;
}

static void signal_fd(unsigned int i)
{
	uint64_t one = 1;

	assert_int_equal(write(fd[i], &one, sizeof(one)), sizeof(one));
}

static void on_fd(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;
	uint64_t v;

	if (read(fd[i], &v, sizeof(v)) < 0)
		return;
	calls[i]++;
	note((char)('0' + i));
}

static void descriptors(void **state)
{
	(void)state;
	assert_int_equal(vg_loop_add_fd(loop, fd[0], on_fd, NULL, &vfd[0]), 0);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
	signal_fd(0);
	assert_int_equal(vg_loop_run_once(loop, -1), 1);
	assert_int_equal(calls[0], 1);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
	assert_true(vg_loop_add_fd(loop, -1, on_fd, NULL, &vfd[1]) < 0);
	vfd[1] = NULL;
	vg_loop_del_fd(loop, vfd[0]);
	vfd[0] = NULL;
	signal_fd(0);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
}

/* Either may run first; whichever does takes the other away. */
static void remove_the_other(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	calls[i]++;
	vg_loop_del_fd(loop, vfd[!i]);
	vfd[!i] = NULL;
	vg_loop_del_fd(loop, vfd[i]);
	vfd[i] = NULL;
}

static void removal_from_within(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(vg_loop_add_fd(loop, fd[i], remove_the_other,
						(void *)(uintptr_t)i, &vfd[i]),
				 0);
		signal_fd(i);
	}
	assert_int_equal(vg_loop_run_once(loop, 0), 1);
	assert_int_equal(calls[0] + calls[1], 1);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
}

static unsigned int events;

static void on_events(void *arg)
{
	(void)arg;
	calls[0]++;
	events = vg_fd_events(vfd[0]);
}

/* The next turn tells that, or with 0 nothing. */
static void expect_events(unsigned int want)
{
	assert_int_equal(vg_loop_run_once(loop, 0), want ? 1 : 0);
	if (want)
		assert_int_equal(events, want);
}

static void what_is_wanted(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(vg_loop_add_fd(loop, sv[0], on_events, NULL, &vfd[0]),
			 0);
	expect_events(0);
	vg_loop_want(loop, vfd[0], true, true);
	expect_events(VG_FD_WRITABLE);
	assert_int_equal(write(sv[1], "x", 1), 1);
	expect_events(VG_FD_READABLE | VG_FD_WRITABLE);
	vg_loop_want(loop, vfd[0], false, false);
	expect_events(0);
	vg_loop_want(loop, vfd[0], true, false);
	expect_events(VG_FD_READABLE);
	vg_loop_want(loop, vfd[0], false, true);
	expect_events(VG_FD_WRITABLE);
	/* Whatever is wanted. */
	vg_loop_want(loop, vfd[0], false, false);
	close(sv[1]);
	expect_events(VG_FD_HUNG_UP);
	expect_events(VG_FD_HUNG_UP);
	vg_loop_del_fd(loop, vfd[0]);
	vfd[0] = NULL;
	expect_events(0);
	close(sv[0]);
}

static void on_timer(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	calls[i]++;
	note((char)('a' + i));
}

static void timers(void **state)
{
	uint64_t start;

	(void)state;
	timer[0] = vg_timer_create(loop, on_timer, NULL);
	timer[1] = vg_timer_create(loop, on_timer, (void *)1);
	assert_false(vg_timer_is_armed(timer[0]));
	vg_timer_arm(timer[0], 60 * UINT64_C(1000000000));
	vg_timer_arm(timer[1], 5000000);
	assert_true(vg_timer_is_armed(timer[0]));
	start = vg_now_ns();
	assert_int_equal(vg_loop_run_once(loop, -1), 1);
	assert_true(vg_now_ns() - start >= 5000000);
	assert_int_equal(calls[1], 1);
	assert_false(vg_timer_is_armed(timer[1]));
	vg_timer_cancel(timer[0]);
	assert_int_equal(vg_loop_run_once(loop, 30), 0);
	assert_int_equal(calls[0], 0);
	/* Arming again moves it. */
	vg_timer_arm(timer[0], 1000000000000);
	vg_timer_arm(timer[0], 1000000);
	assert_int_equal(vg_loop_run_once(loop, 1000), 1);
	assert_int_equal(calls[0], 1);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
}

static void destroy_the_other_timer(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	calls[i]++;
	vg_timer_destroy(timer[!i]);
	timer[!i] = NULL;
}

static void timer_destroys_another(void **state)
{
	(void)state;
	timer[0] = vg_timer_create(loop, destroy_the_other_timer, NULL);
	timer[1] = vg_timer_create(loop, destroy_the_other_timer, (void *)1);
	vg_timer_arm(timer[0], 1);
	vg_timer_arm(timer[1], 1);
	usleep(1000);
	assert_int_equal(vg_loop_run_once(loop, 0), 1);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
	assert_int_equal(calls[0] + calls[1], 1);
}

static void on_deferred(void *arg)
{
	unsigned int i = (unsigned int)(uintptr_t)arg;

	calls[i]++;
	note((char)('A' + i));
	if (i == 1 && calls[1] < 3)
		vg_deferred_schedule(deferred[1]);
}

static void deferred_calls(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++)
		deferred[i] = vg_deferred_create(loop, on_deferred,
						 (void *)(uintptr_t)i);
	assert_int_equal(vg_loop_add_fd(loop, fd[0], on_fd, NULL, &vfd[0]), 0);
	signal_fd(0);
	vg_deferred_schedule(deferred[2]);
	vg_deferred_schedule(deferred[0]);
	vg_deferred_schedule(deferred[2]);	/* once, at its first place */
	vg_deferred_schedule(deferred[1]);
	/* Descriptors first; does not sleep. */
	assert_int_equal(vg_loop_run_once(loop, -1), 4);
	assert_string_equal(order, "0CAB");
	/* Scheduled from within: the next turn, which does not sleep. */
	assert_int_equal(vg_loop_run_once(loop, -1), 1);
	assert_int_equal(vg_loop_run_once(loop, -1), 1);
	assert_string_equal(order, "0CABBB");
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
}

static void destroy_the_rest(void *arg)
{
	(void)arg;
	calls[0]++;
	vg_deferred_destroy(deferred[1]);
	vg_deferred_destroy(deferred[2]);
	deferred[1] = deferred[2] = NULL;
}

static void deferred_destroys_others(void **state)
{
	(void)state;
	deferred[0] = vg_deferred_create(loop, destroy_the_rest, NULL);
	deferred[1] = vg_deferred_create(loop, on_deferred, (void *)1);
	deferred[2] = vg_deferred_create(loop, on_deferred, (void *)2);
	vg_deferred_schedule(deferred[0]);
	vg_deferred_schedule(deferred[1]);
	vg_deferred_schedule(deferred[2]);
	assert_int_equal(vg_loop_run_once(loop, 0), 1);
	assert_int_equal(vg_loop_run_once(loop, 0), 0);
	assert_int_equal(calls[0], 1);
	assert_int_equal(calls[1] + calls[2], 0);
}

static void stop(void *arg)
{
	vg_loop_stop(arg);
}

static void run_until_stopped(void **state)
{
	(void)state;
	timer[0] = vg_timer_create(loop, stop, loop);
	timer[1] = vg_timer_create(loop, on_timer, (void *)1);
	vg_timer_arm(timer[1], 1000000);
	vg_timer_arm(timer[0], 200000000);
	assert_int_equal(vg_loop_run(loop), 0);
	assert_int_equal(calls[1], 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(descriptors),
		T(removal_from_within),
		T(what_is_wanted),
		T(timers),
		T(timer_destroys_another),
		T(deferred_calls),
		T(deferred_destroys_others),
		T(run_until_stopped),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
