// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_life.c - workers that hang, are stopped, take no message, die again and
 * again, or do not end; names that are used again while they do; and that what
 * fails is waited for, and said once.  The supervisor goes on for the others
 * meanwhile.  What fails where: test_lives.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pair.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"


static int teardown(void **state)
{
	int busy = drv_reset(&pair[1]) || drv_exit(&pair[1]);

	return rig_teardown(state) || busy ? -1 : 0;
}

static void ms(unsigned int n)
{
	uint64_t until = rig_now_ms() + n;

	while (rig_now_ms() < until)
		rig_step();
}

static bool status_says(const char *what)
{
	char *text = vg_supervisor_answer(rig.sup, "status", 0);
	bool is = strstr(text, what);

	free(text);
	return is;
}

/* ---- workers that do not answer ----------------------------------------- */

/* libxl gave up on it, and its guest is gone: the image is free again, soon. */
static void hung_worker_loses_its_image(void **state)
{
	struct fake_disk again;

	(void)state;
	rig_worker_of(GUEST)->is_hung = true;
	fake_domain_destroy(GUEST);
	fake_libxl_disk_close(&pair_disk[0]);
	ms(200);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 5);
	fake_libxl_disk_remove(&pair_disk[0]);
	ms(3000);
	assert_null(rig_worker_of(GUEST));
	assert_true(unit_logged("dom3: its worker does not answer"));
	rig_guest(9, 1);
	again = rig_disk(9, 0);
	again.params = pair_disk[0].params;
	assert_true(rig_disk_add(&again));
	assert_true(rig_disk_remove(&again));
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* Its guest lives: removal ends in libxl's time all the same. */
static void hung_worker_is_removed_in_time(void **state)
{
	uint64_t began = rig_now_ms();

	(void)state;
	rig_worker_of(GUEST)->is_hung = true;
	fake_libxl_disk_close(&pair_disk[0]);
	while (fake_libxl_disk_key(&pair_disk[0], "state") != 6 &&
	       rig_now_ms() - began < 15000)
		rig_step();
	assert_in_range(rig_now_ms() - began, 5000, 9900);
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
	assert_int_equal(pair_io(&pair[1]), 0);
}

static struct rig_worker *next_worker(void)
{
	struct rig_worker *rw;

	while (!(rw = rig_worker_of(GUEST)) || rw->is_hung) {
		fake_enter_proc(rig.sup_proc);
		vg_loop_run_once(rig.sup_loop, 0);
	}
	return rw;
}

/* One that never says whether it could. */
static void hung_worker_is_replaced(void **state)
{
	(void)state;
	rig_worker_kill(rig_worker_of(GUEST));
	next_worker()->is_hung = true;
	ms(8500);
	assert_true(unit_logged("dom3: its worker does not answer"));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_false(drv_needs_reset(&pair[0]));
}

/*
 * Where the machine is what is slow, a successor has more time than the last.
 */
static void slow_worker_gets_there(void **state)
{
	struct rig_worker *first, *second;

	(void)state;
	rig_worker_kill(rig_worker_of(GUEST));
	first = next_worker();
	first->is_hung = true;
	ms(7500);
	second = next_worker();
	second->is_hung = true;
	ms(9000);
	assert_ptr_equal(rig_worker_of(GUEST), second);
	/* Not another one in its place. */
	assert_true(second->is_hung);
	second->is_hung = false;
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* Nor is the supervisor held up by one that reads nothing. */
static void supervisor_does_not_wait_for_a_worker(void **state)
{
	unsigned int i;
	char key[300];

	(void)state;
	rig_worker_of(GUEST)->is_hung = true;
	snprintf(key, sizeof(key), "%s/relay-ref",
		 fake_libxl_disk_path(&pair_disk[0]));
	alarm(30);
	for (i = 0; i < 1500; i++) {
		fake_store_write(0, key, "%u", 1000 + i);
		rig_steps(2);
	}
	alarm(0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* ---- names that are used again ------------------------------------------ */

/* The old one's last answer is not the new one's. */
static void late_answer_is_of_the_old_device(void **state)
{
	(void)state;
	rig_worker_of(GUEST)->is_hung = true;
	fake_libxl_disk_close(&pair_disk[0]);
	rig_steps(20);
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
	fake_libxl_disk_add(&pair_disk[0]);
	rig_steps(20);
	rig_worker_of(GUEST)->is_hung = false;
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 2));
	ms(1500);		/* the old node's removal would come now */
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 2);
	assert_int_equal(drv_exit(&pair[0]), 0);
	pair[0].hdrs.pages = 0;
	assert_int_equal(drv_start(&pair[0], 1), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	/* It has a state of its own. */
	rig_worker_kill(rig_worker_of(GUEST));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* Removed and made again between two looks, with nothing in between. */
static void made_again_unseen(void **state)
{
	(void)state;
	rig.sup_hung = true;
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
	fake_libxl_disk_add(&pair_disk[0]);
	rig_steps(20);
	rig.sup_hung = false;
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 2));
	assert_int_equal(drv_exit(&pair[0]), 0);
	pair[0].hdrs.pages = 0;
	assert_int_equal(drv_start(&pair[0], 1), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
}

/* ---- workers that die again and again ----------------------------------- */

static bool is_up(void)
{
	return rig_worker_of(GUEST) && status_says("\"held\":false") &&
	       !status_says("\"state\":\"starting\"") &&
	       !status_says("\"state\":\"wait");
}

/* It is ready each time, and the pause grows all the same; then it heals. */
static void deaths_in_a_row_come_ever_later(void **state)
{
	uint64_t until = rig_now_ms() + 2500;
	unsigned int n = 0, lines = unit_log_lines();

	(void)state;
	while (rig_now_ms() < until) {
		rig_step();
		if (!is_up())
			continue;
		rig_worker_kill(rig_worker_of(GUEST));
		n++;
	}
	assert_in_range(n, 5, 14);
	assert_true(unit_log_lines() - lines <= 2 * n + 2);
	assert_true(rig_until(is_up()));
	assert_int_equal(pair_io(&pair[0]), 0);
	/* Calm for as long as this, it is replaced at once again. */
	ms(4000);
	rig_worker_kill(rig_worker_of(GUEST));
	until = rig_now_ms();
	assert_true(rig_until(is_up()));
	assert_true(rig_now_ms() - until < 700);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* ---- processes that do not end ------------------------------------------ */

static pid_t stopped[2];

/* Takes no notice of its socket, nor of SIGTERM. */
static int spawn_stopped(void *arg, xen_domid_t guest, int sock, int shared_fd,
			 pid_t *pid)
{
	(void)arg;
	*pid = fork();
	if (*pid == 0) {
		signal(SIGTERM, SIG_IGN);
		for (;;)
			pause();
	}
	stopped[guest != GUEST] = *pid;
	close(sock);
	close(shared_fd);
	return 0;
}

/* Its end is not waited for while others want something. */
static void process_that_does_not_end(void **state)
{
	struct rig_worker *rw = rig_worker_of(OTHER);
	struct fake_disk more = rig_disk(7, 0);
	uint64_t began, longest = 0;

	(void)state;
	rig_sup_stop();
	assert_true(rig_until(!rig_worker_of(GUEST) && !rig_worker_of(OTHER)));
	(void)rw;
	rig.cfg.spawn = spawn_stopped;
	rig.cfg.kill = NULL;
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(stopped[0] && stopped[1]));
	rig_guest(7, 1);
	free(unit_image(more.params, RIG_IMAGE_BYTES));
	/* One of them is removed: its process has 2 s, others none of them. */
	fake_libxl_disk_remove(&pair_disk[0]);
	began = rig_now_ms();
	while (!kill(stopped[0], 0) && rig_now_ms() - began < 8000) {
		uint64_t step = rig_now_ms();

		rig_step();
		longest = max_u(longest, rig_now_ms() - step);
	}
	assert_in_range(rig_now_ms() - began, 0, 6000);
	assert_true(longest < 500);
	/* All others at the end, together. */
	began = rig_now_ms();
	rig_sup_stop();
	assert_true(rig_now_ms() - began < 5000);
	assert_int_equal(kill(stopped[1], 0), -1);
	fake_libxl_disk_remove(&pair_disk[1]);
}

static int teardown_bare(void **state)
{
	return rig_teardown(state);
}

/* ---- what is waited for ------------------------------------------------- */

/* A daemon that knows of nothing. */
static void restart(void)
{
	rig_sup_kill();
	assert_true(rig_until(!rig_worker_of(GUEST) && !rig_worker_of(OTHER)));
	assert_int_equal(rig_sup_start(), 0);
}

/* An image that is away while its disk is taken over. */
static void missing_image_is_waited_for(void **state)
{
	unsigned int lines;
	char away[300];

	(void)state;
	snprintf(away, sizeof(away), "%s.away", pair_disk[0].params);
	assert_int_equal(rename(pair_disk[0].params, away), 0);
	restart();
	assert_true(rig_until(status_says("\"waits_for\":\"dom3")));
	assert_true(status_says("No such file or directory"));
	assert_int_equal(pair_io(&pair[1]), 0);
	lines = unit_log_lines();
	ms(1500);
	/* Tried again and again, said once. */
	assert_int_equal(unit_log_lines(), lines);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 2);
	assert_int_equal(rename(away, pair_disk[0].params), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_false(status_says("\"waits_for\":\"dom3"));
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* Two that wait take turns in the log no more than once each. */
static void two_that_wait_are_said_once_each(void **state)
{
	unsigned int i, lines;
	char away[2][300];

	(void)state;
	for (i = 0; i < 2; i++) {
		snprintf(away[i], sizeof(away[i]), "%s.away",
			 pair_disk[i].params);
		assert_int_equal(rename(pair_disk[i].params, away[i]), 0);
	}
	restart();
	assert_true(rig_until(unit_logged("disk-3-0: No such file") &&
			      unit_logged("disk-4-0: No such file")));
	lines = unit_log_lines();
	ms(1000);
	assert_int_equal(unit_log_lines(), lines);
	for (i = 0; i < 2; i++) {
		assert_int_equal(rename(away[i], pair_disk[i].params), 0);
		assert_int_equal(pair_io(&pair[i]), 0);
	}
}

/*
 * A device that is held, and a relay that can't be mapped just then: nothing of
 * what the guest had set up is lost, nor touched when it is gone.
 */
static void held_and_no_relay(void **state)
{
	char path[512];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/%u-virtio_disk-%u", rig.state_dir,
		 pair_disk[0].guest, pair_disk[0].devid);
	rig_worker_kill(rig_worker_of(GUEST));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	fake_fail_from(RIG_BACKEND, FAKE_GNTTAB_MAP, 1, 3, EINVAL);
	assert_true(rig_until(unit_logged("mapping the relay page")));
	assert_true(rig_until(status_says("\"held\":true")));
	close(fd);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_int_equal(rig_stats(&pair_disk[0])->takeovers, 1);
}

/* A new broker whose page can't be mapped at first. */
static void new_relay_is_tried_again(void **state)
{
	(void)state;
	rig_broker_kill();
	fake_fail_from(RIG_BACKEND, FAKE_GNTTAB_MAP, 1, 3, ENOMEM);
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_true(fake_failed(FAKE_GNTTAB_MAP));
	assert_false(drv_needs_reset(&pair[0]));
}

/* xenstore can't be read for a moment, and nothing else happens in it. */
static void failed_scan_is_repeated(void **state)
{
	(void)state;
	rig_sup_kill();
	assert_true(rig_until(!rig_worker_of(GUEST) && !rig_worker_of(OTHER)));
	fake_fail_from(RIG_BACKEND, FAKE_STORE_DIRECTORY, 1, 4, EIO);
	assert_int_equal(rig_sup_start(), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_false(drv_needs_reset(&pair[0]));
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hung_worker_loses_its_image),
		T(hung_worker_is_removed_in_time),
		T(hung_worker_is_replaced),
		T(slow_worker_gets_there),
		T(supervisor_does_not_wait_for_a_worker),
		T(late_answer_is_of_the_old_device),
		T(made_again_unseen),
		T(deaths_in_a_row_come_ever_later),
		cmocka_unit_test_setup_teardown(process_that_does_not_end,
						pair_setup, teardown_bare),
		T(missing_image_is_waited_for),
		T(two_that_wait_are_said_once_each),
		T(held_and_no_relay),
		T(new_relay_is_tried_again),
		T(failed_scan_is_repeated),
	};

	return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\n";
}
