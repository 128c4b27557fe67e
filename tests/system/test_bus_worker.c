// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_worker.c - what one device of a guest does to the worker that serves
 * the others: waiting, being refused again and again, being removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "front.h"
#include "grantd/mapper.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST		3u
#define NR		2u
#define REPLACE_MS	200u

static struct front f[NR];
static struct fake_disk image[NR];
static struct drv_buf data[NR];
static unsigned int nr_permits;

static void permit(void *arg, xen_domid_t guest, unsigned int dev,
		   xen_domid_t domid, xen_ref_t ref, xen_port_t port)
{
	(void)arg;
	(void)guest;
	(void)dev;
	(void)domid;
	(void)ref;
	(void)port;
	nr_permits++;
}

static int setup(void **state)
{
	unsigned int i;

	(void)state;
	rig_up();
	rig.cfg.permit = permit;
	rig.cfg.replace_ns = REPLACE_MS * UINT64_C(1000000);
	nr_permits = 0;
	rig_guest(GUEST, 1);
	for (i = 0; i < NR; i++) {
		f[i] = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
				       .devid = i, .has_ranges = true,
				       .has_channels = true };
		image[i] = rig_disk(GUEST, i);
		free(unit_image(image[i].params, RIG_IMAGE_BYTES));
		f[i].params = image[i].params;
	}
	return rig_sup_start();
}

static int teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < NR; i++)
		front_nodes_remove(&f[i]);
	rig_until(!rig_worker_of(GUEST));
	for (i = 0; i < NR; i++)
		if (f[i].page)
			assert_int_equal(front_exit(&f[i]), 0);
	return rig_down() ? -1 : 0;
}

static void start(unsigned int i)
{
	front_nodes_make(&f[i], 2);
	assert_true(front_attach(&f[i]));
	assert_int_equal(front_start(&f[i], 1), 0);
	front_set_state(&f[i], 4);
	data[i] = front_buf(&f[i], 2);
}

static void io(unsigned int i)
{
	assert_int_equal(front_blk(&f[i], VIRTIO_BLK_T_IN, 8, &data[i], 0,
				   4096), VIRTIO_BLK_S_OK);
	assert_int_equal(data[i].va[5], unit_pattern(8 * 512 + 5));
}

static void steps_ms(uint64_t ms)
{
	uint64_t until = rig_now_ms() + ms;

	while (rig_now_ms() < until)
		rig_step();
}

/* The toolstack removes it, and driver and backend let go. */
static void removed(unsigned int i)
{
	front_ask_close(&f[i]);
	rig_steps(5);
	assert_int_equal(front_close(&f[i]), 0);
	assert_true(rig_until(front_back_state(&f[i]) == 6));
	front_nodes_remove(&f[i]);
	rig_steps(10);
}

/* ---- waiting ------------------------------------------------------------ */

/* Its tries are nothing that a mapper has to hear of. */
static void waits_beside_another(void **state)
{
	int fd;

	(void)state;
	start(0);
	fd = open(image[1].params, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	front_nodes_make(&f[1], 2);
	steps_ms(500);
	assert_int_not_equal(front_back_state(&f[1]), 2);
	assert_int_equal(nr_permits, 0);
	io(0);
	close(fd);
	assert_true(front_attach(&f[1]));
	io(0);
}

/* ---- refused ------------------------------------------------------------ */

/* Another reason each time, and served between: which ends what was said. */
static void complains_without_end(void **state)
{
	unsigned int i, lines;
	char text[32], *why;

	(void)state;
	start(0);
	front_nodes_make(&f[1], 2);
	assert_true(rig_until(front_back_state(&f[1]) == 2));
	fake_store_write(GUEST, front_path(&f[1], "msg-port"), "1");
	lines = unit_log_lines();
	for (i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "nonsense %u", i);
		fake_store_write(GUEST, front_path(&f[1], "msg-ref"), text);
		front_set_state(&f[1], 3);
		rig_steps(3);
		front_set_state(&f[1], 1);
		assert_true(front_attach(&f[1]));
		assert_int_equal(front_close(&f[1]), 0);
		assert_true(rig_until(front_back_state(&f[1]) == 6));
		front_set_state(&f[1], 1);
		assert_true(rig_until(front_back_state(&f[1]) == 2));
	}
	/* Those of a minute, or of two. */
	assert_in_range(unit_log_lines() - lines, 60, 135);
	assert_true(unit_logged("nonsense 60"));
	assert_true(unit_logged("changes too often to be said here"));
	assert_int_equal(nr_permits, 0);
	io(0);
	/* Who attaches another one is told why it is refused all the same. */
	front_nodes_remove(&f[1]);
	rig_steps(10);
	f[1].params = "/nowhere/at/all";
	front_nodes_make(&f[1], 2);
	assert_true(rig_until(front_back_state(&f[1]) == -1));
	why = fake_store_read(0, "/local/domain/1/error/backend/virtio_grant/3/1/error");
	assert_non_null(why);
	assert_non_null(strstr(why, "/nowhere/at/all"));
	free(why);
}

/* ---- removed ------------------------------------------------------------ */

/* What the worker had of it, ends with the worker; the other goes on. */
static void one_is_removed(void **state)
{
	xen_domid_t guest = GUEST;
	struct fake_proc *proc;

	(void)state;
	start(0);
	start(1);
	io(0);
	io(1);
	proc = rig_worker_of(guest)->proc;
	removed(1);
	/* Those that are removed together, first. */
	assert_ptr_equal(rig_worker_of(guest)->proc, proc);
	assert_true(rig_until(unit_logged("its worker is replaced")));
	io(0);
	assert_ptr_not_equal(rig_worker_of(guest)->proc, proc);
	assert_int_equal(front_state(&f[0]), 4);
	assert_int_equal(front_back_state(&f[0]), 4);
	assert_false(unit_logged("ended unexpectedly"));
	/* Once. */
	proc = rig_worker_of(guest)->proc;
	steps_ms(3 * REPLACE_MS);
	assert_ptr_equal(rig_worker_of(guest)->proc, proc);
	f[1].page = NULL;
	start(1);
	io(1);
	io(0);
}

/* With a request that waits for its backend meanwhile. */
static void request_meanwhile(void **state)
{
	(void)state;
	start(0);
	start(1);
	removed(1);
	while (!unit_logged("its worker is replaced"))
		io(0);
	io(0);
}

static void all_are_removed(void **state)
{
	(void)state;
	start(0);
	start(1);
	removed(1);
	removed(0);
	steps_ms(2 * REPLACE_MS);
	assert_false(unit_logged("its worker is replaced"));
}

/* Another device is on its way: not before it is there. */
static void another_comes(void **state)
{
	(void)state;
	start(0);
	start(1);
	removed(1);
	f[1].page = NULL;
	steps_ms(REPLACE_MS / 2);
	rig_worker_of(GUEST)->is_hung = true;
	front_nodes_make(&f[1], 2);
	steps_ms(3 * REPLACE_MS);
	assert_false(unit_logged("its worker is replaced"));
	rig_worker_of(GUEST)->is_hung = false;
	assert_true(front_attach(&f[1]));
	assert_true(rig_until(unit_logged("its worker is replaced")));
	io(0);
	assert_int_equal(front_start(&f[1], 1), 0);
	front_set_state(&f[1], 4);
	data[1] = front_buf(&f[1], 2);
	io(1);
}

/* Or will never be there. */
static void another_never_comes(void **state)
{
	(void)state;
	start(0);
	start(1);
	removed(1);
	f[1].page = NULL;
	rig_worker_of(GUEST)->is_hung = true;
	front_nodes_make(&f[1], 2);
	assert_true(rig_until(unit_logged("its worker is replaced")));
	io(0);
	assert_true(front_attach(&f[1]));
	assert_int_equal(front_start(&f[1], 1), 0);
	front_set_state(&f[1], 4);
	data[1] = front_buf(&f[1], 2);
	io(1);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(waits_beside_another), T(complains_without_end),
		T(one_is_removed), T(request_meanwhile), T(all_are_removed),
		T(another_comes), T(another_never_comes),
	};

	return cmocka_run_group_tests_name("bus worker", tests, NULL, NULL);
}
