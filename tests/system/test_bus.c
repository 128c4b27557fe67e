// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus.c - devices on the Xen bus through the whole stack: the nodes that
 * virtio-grantctl or libxl make, the supervisor that opens the device and follows
 * the states of both nodes, the worker that attaches to the driver's page.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u

static struct front f;
static struct drv_buf data;

/* No broker: nothing here wants one. */
static int setup(void **state)
{
	(void)state;
	rig_up();
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .has_ranges = true, .has_channels = true };
	rig_guest(GUEST, 1);
	return rig_sup_start();
}

static int teardown(void **state)
{
	(void)state;
	rig.die_at = rig.die_then = 0;
	/* What is mapped is unmapped first: the guest looks. */
	front_nodes_remove(&f);
	rig_until(!rig_worker_of(GUEST));
	if (f.page)
		assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

static struct fake_disk image;

static void disk_make(unsigned int n)
{
	image = rig_disk(GUEST, n);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	f.params = image.params;
	f.devid = n;
	front_nodes_make(&f, 2);
}

/* It reads what the image has, and what it has written. */
static void io(void)
{
	static unsigned int turn;
	uint64_t sector = ++turn % 32 * 8;

	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, sector, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(data.va[5], unit_pattern(sector * 512 + 5));
	memset(data.va, (int)turn, 4096);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_OUT, 1024, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(rig_image_byte(&image, 1024 * 512 + 77),
			 (int)(uint8_t)turn);
}

static void start(void)
{
	assert_true(front_attach(&f));
	assert_int_equal(front_start(&f, 1), 0);
	front_set_state(&f, 4);
	data = front_buf(&f, 8);
}

static void closes(void)
{
	front_ask_close(&f);
	rig_steps(20);
	/* The driver has it: it is being asked. */
	assert_int_equal(front_back_state(&f), 5);
	io();
	assert_int_equal(front_close(&f), 0);
	assert_int_equal(front_back_state(&f), 6);
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void served(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	closes();
}

/* Without ranges and channels: all goes by the page. */
static void served_plainly(void **state)
{
	(void)state;
	f.has_ranges = f.has_channels = false;
	disk_make(0);
	start();
	io();
	assert_in_range(f.page->used_events, 1, 100);
	closes();
}

static void versions_are_said(void **state)
{
	char *v;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	v = fake_store_read(0, front_back_path(&f, "msg-versions"));
	assert_string_equal(v, "1-1");
	free(v);
	front_ask_close(&f);
	assert_true(rig_until(front_back_state(&f) == 6));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(served), T(served_plainly), T(versions_are_said),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
