// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_many.c - as many devices on the Xen bus as one guest may have: each
 * is served, one more is refused, and what happens to one of them costs what
 * one device costs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "grantd/worker.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST		3u
#define NR		VG_WORKER_DEVICES_MAX
#define IMAGE_BYTES	16384u

static struct front f[NR + 1];
static struct drv_buf data[NR + 1];
static char path[NR + 1][256];

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.queue_size_max = 16;
	rig_guest(GUEST, 1);
	return rig_sup_start();
}

static int teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i <= NR; i++)
		if (f[i].guest)
			front_nodes_remove(&f[i]);
	rig_until(!rig_worker_of(GUEST));
	for (i = 0; i <= NR; i++)
		if (f[i].page)
			assert_int_equal(front_exit(&f[i]), 0);
	return rig_down() ? -1 : 0;
}

static void make(unsigned int i)
{
	f[i] = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			       .devid = i, .params = path[i],
			       .has_ranges = true, .has_channels = true };
	f[i].d.num = 16;
	f[i].d.wanted = DRV_BIT(32) | DRV_BIT(33) | DRV_BIT(29);
	snprintf(path[i], sizeof(path[i]), "%s/disk-%u-%u", rig.dir, GUEST, i);
	free(unit_image(path[i], IMAGE_BYTES));
	front_nodes_make(&f[i], 2);
}

static void io(unsigned int i)
{
	memset(data[i].va, 0, 4096);
	assert_int_equal(front_blk(&f[i], VIRTIO_BLK_T_IN, i % 4 * 8, &data[i],
				   0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(data[i].va[5], unit_pattern(i % 4 * 4096 + 5));
}

static uint64_t store_calls(void)
{
	return fake_calls(RIG_BACKEND, FAKE_STORE_READ) +
	       fake_calls(RIG_BACKEND, FAKE_STORE_DIRECTORY) +
	       fake_calls(RIG_BACKEND, FAKE_STORE_WRITE) +
	       fake_calls(RIG_BACKEND, FAKE_STORE_BEGIN) +
	       fake_calls(RIG_BACKEND, FAKE_STORE_COMMIT) +
	       fake_calls(RIG_BACKEND, FAKE_STORE_WATCH);
}

static void all_that_there_can_be(void **state)
{
	uint64_t before = store_calls(), all, one, first = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < NR; i++) {
		make(i);
		assert_true(front_attach(&f[i]));
		assert_int_equal(front_start(&f[i], 1), 0);
		front_set_state(&f[i], 4);
		data[i] = front_buf(&f[i], 2);
		io(i);
		if (!i)
			first = store_calls() - before;
	}
	all = store_calls() - before;
	/* The last costs what the first did. */
	print_message("%u calls of xenstore for the first, %u for all\n",
		      (unsigned int)first, (unsigned int)all);
	assert_true(all < 2 * NR * first);
	for (i = 0; i < NR; i++)
		io(i);
	/* One more is refused, in words. */
	make(NR);
	assert_true(rig_until(front_back_state(&f[NR]) == -1));
	assert_true(unit_logged("has 64 devices already"));
	/* What one of them does, is a look at that one. */
	rig_steps(20);
	before = store_calls();
	assert_int_equal(front_close(&f[7]), 0);
	front_set_state(&f[7], 1);
	assert_true(front_attach(&f[7]));
	one = store_calls() - before;
	print_message("%u to close and return\n", (unsigned int)one);
	assert_in_range(one, 1, 150);
	assert_int_equal(front_start(&f[7], 1), 0);
	data[7] = front_buf(&f[7], 2);
	io(7);
	/* However many of them do something. */
	before = store_calls();
	for (i = 20; i < 50; i++)
		fake_store_write(GUEST, front_path(&f[i], "nonsense"), "1");
	rig_steps(5);
	one = store_calls() - before;
	print_message("%u for 30 of them\n", (unsigned int)one);
	assert_in_range(one, 30, 30 * 10);
	/* Without end: others have their turn between. */
	before = store_calls();
	for (i = 0; i < 500; i++)
		fake_store_write(GUEST, front_path(&f[8], "nonsense"), "%u", i);
	rig_step();
	rig_step();
	assert_true(store_calls() > before);
	before = store_calls();
	rig_steps(10);
	assert_true(store_calls() > before);
	/* The next worker has them all. */
	rig_worker_kill(rig_worker_of(GUEST));
	rig_steps(2);
	for (i = 0; i < NR; i++)
		io(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_that_there_can_be, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("bus many", tests, NULL, NULL);
}
