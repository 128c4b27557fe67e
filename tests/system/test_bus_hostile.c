// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_hostile.c - a guest on the Xen bus that breaks every rule there is,
 * beside one that keeps them: no worker dies of it, the neighbour does not
 * notice, and a driver that begins anew is served.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u
#define OTHER	4u

static struct front bad, good;
static struct drv_buf bad_data, good_data;
static char paths[2][256];
static uint32_t x;

static uint32_t roll(uint32_t n)
{
	x = x * 1664525u + 1013904223u;
	return (x >> 8) % n;
}

static void make(struct front *f, xen_domid_t guest)
{
	char *path = paths[guest == OTHER];

	*f = (struct front){ .guest = guest, .backend = RIG_BACKEND,
			     .params = path, .has_ranges = true,
			     .has_channels = true };
	f->d.wanted = DRV_BIT(32) | DRV_BIT(33) | DRV_BIT(29) | DRV_BIT(40);
	snprintf(path, sizeof(paths[0]), "%s/disk-%u-0", rig.dir, guest);
	free(unit_image(path, RIG_IMAGE_BYTES));
	rig_guest(guest, 1);
	front_nodes_make(f, 2);
}

static int start(struct front *f, struct drv_buf *data)
{
	if (!front_attach(f) || front_start(f, 1))
		return -1;
	front_set_state(f, 4);
	*data = front_buf(f, 4);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	rig_up();
	x = 1;
	if (rig_sup_start())
		return -1;
	make(&bad, GUEST);
	make(&good, OTHER);
	return start(&bad, &bad_data) || start(&good, &good_data) ? -1 : 0;
}

static void io(struct front *f, struct drv_buf *data)
{
	uint64_t sector = roll(200) * 8;

	memset(data->va, 0, 4096);
	assert_int_equal(front_blk(f, VIRTIO_BLK_T_IN, sector, data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(data->va[5], unit_pattern(sector * 512 + 5));
}

/* Of both, whatever the one has done. */
static int teardown(void **state)
{
	unsigned int i;

	(void)state;
	io(&good, &good_data);
	assert_int_equal(front_status(&good), 15);
	assert_false(unit_logged("ended unexpectedly"));
	assert_false(unit_logged("dom4 virtio_grant/0: queue"));
	/* It closes, and all that it has granted is its own again. */
	front_set_state(&bad, 6);
	assert_true(rig_until(front_back_state(&bad) == 6));
	assert_int_equal(front_exit(&bad), 0);
	bad.page = NULL;
	front_set_state(&bad, 1);
	assert_int_equal(start(&bad, &bad_data), 0);
	io(&bad, &bad_data);
	front_nodes_remove(&bad);
	front_nodes_remove(&good);
	for (i = GUEST; i <= OTHER; i++)
		rig_until(!rig_worker_of((xen_domid_t)i));
	assert_int_equal(front_exit(&bad), 0);
	assert_int_equal(front_exit(&good), 0);
	return rig_down() ? -1 : 0;
}

/* ---- what it does ------------------------------------------------------- */

/* Requests faster than they are answered, and events for nothing. */
static void storms(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 3000; i++) {
		front_send(&bad, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
		if (i % 2)
			bad.page->avail_events++;
		fake_guest_notify(GUEST, bad.d.q[0].port);
		if (i % 16 == 0)
			rig_step();
		if (i % 200 == 0)
			io(&good, &good_data);
	}
	assert_true(rig_until(front_is_answered(&bad)));
	assert_int_equal(front_status(&bad), 15);
}

static void scribbles(void **state)
{
	uint32_t *w = (uint32_t *)bad.page;
	unsigned int i, k;

	(void)state;
	for (i = 0; i < 500; i++) {
		for (k = 0; k < 40; k++)
			w[roll(1024)] = x;
		bad.page->request[0] = (uint8_t)(roll(2) * 2);
		bad.page->request[1] = (uint8_t)roll(16);
		bad.page->request[2] = bad.page->request[3] = 0;
		bad.page->request[6] = (uint8_t)roll(64);
		bad.page->request[7] = 0;
		bad.page->request_seq = ++bad.seq;
		fake_guest_notify(GUEST, bad.port);
		rig_step();
		if (i % 50 == 0)
			io(&good, &good_data);
	}
}

/* Whole messages of the right size, with any contents. */
static void random_messages(void **state)
{
	static const struct {
		unsigned int id, words;
	} kinds[] = {
		{ 2, 0 }, { 3, 2 }, { 4, 4 }, { 5, 2 }, { 6, 4 }, { 7, 0 },
		{ 8, 1 }, { 9, 1 }, { 10, 10 }, { 11, 1 }, { 12, 1 },
		{ FRONT_BUS | 3, 1 }, { FRONT_BUS | 0x80, 0 },
		{ FRONT_BUS | 0x81, 3 }, { FRONT_BUS | 0x82, 1 },
		{ FRONT_BUS | 0x83, 2 }, { FRONT_BUS | 0x84, 4 },
	};
	unsigned int i, k;

	(void)state;
	for (i = 0; i < 3000; i++) {
		unsigned int n = roll(ARRAY_SIZE(kinds));
		uint32_t words[10];

		for (k = 0; k < 10; k++)
			words[k] = roll(3) ? roll(20) : x;
		if (roll(2))
			words[1] = bad.pool.ref + roll(70);
		if (kinds[n].id == 8 && roll(2))
			words[0] = roll(2) ? 11 : 15;
		front_send(&bad, kinds[n].id, words, 4 * kinds[n].words);
		rig_step();
		if (i % 200 == 0)
			io(&good, &good_data);
	}
	rig_steps(20);
}

/* The neighbour's numbers for a page, a port, memory, channels. */
static void what_is_anothers(void **state)
{
	struct virtio_grant_bus_share_range r = {
		1, good.pool.ref + 1000, 4
	};
	struct virtio_grant_bus_set_channel c = { 0, good.port + 40 };
	struct virtio_grant_bus_state s = { 0 };

	(void)state;
	assert_int_equal(front_msg(&bad, FRONT_BUS | 0x81, &r, sizeof(r), &s,
				   sizeof(s)), 8);
	assert_int_equal(s.state, VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(front_msg(&bad, FRONT_BUS | 0x83, &c, sizeof(c), &s,
				   sizeof(s)), 8);
	assert_int_equal(s.state, VIRTIO_GRANT_QUEUE_REFUSED);
	/* As if it were in the neighbour's domain: its own has none such. */
	fake_guest_close(GUEST, bad.port);
	fake_store_write(GUEST, front_path(&bad, "msg-port"), "%u",
			 good.port + 40);
	fake_store_write(GUEST, front_path(&bad, "msg-ref"), "%u",
			 good.ref + 2000);
	rig_steps(30);
	io(&good, &good_data);
	bad.port = 0;
}

/* Keys and states that change at every look. */
static void flaps(void **state)
{
	static const char *const keys[] = {
		"msg-ref", "msg-port", "msg-version", "msg-backend-id", "state",
	};
	static const char *const values[] = {
		"1", "2", "3", "4", "5", "6", "0", "", "x", "99999999999", "7",
	};
	uint64_t before = fake_calls(RIG_BACKEND, FAKE_STORE_READ);
	unsigned int i;

	(void)state;
	for (i = 0; i < 500; i++) {
		fake_store_write(GUEST,
				 front_path(&bad, keys[roll(ARRAY_SIZE(keys))]),
				 "%s", values[roll(ARRAY_SIZE(values))]);
		if (i % 3 == 0)
			rig_step();
		if (i % 50 == 0)
			io(&good, &good_data);
	}
	rig_steps(30);
	/* A few reads for each, of the one device. */
	assert_in_range(fake_calls(RIG_BACKEND, FAKE_STORE_READ) - before, 1,
			500 * 12);
	assert_in_range(unit_log_lines(), 1, 200);
}

/* It goes without a word while requests are under way. */
static void tears_down(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 10; i++) {
		struct drv_seg seg = { bad_data.addr, 4096, true };
		uint8_t *status;

		assert_true(drv_blk_add(&bad.d, &bad.d.q[0], VIRTIO_BLK_T_IN,
					8, &seg, 1, false, &status) >= 0);
		front_kick(&bad, &bad.d.q[0]);
		rig_steps(i % 3);
		front_set_state(&bad, i % 2 ? 6 : 1);
		assert_true(rig_until(front_back_state(&bad) ==
				      (i % 2 ? 6 : 2)));
		assert_int_equal(front_exit(&bad), 0);
		bad.page = NULL;
		front_set_state(&bad, 1);
		assert_int_equal(start(&bad, &bad_data), 0);
		io(&good, &good_data);
	}
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(storms), T(scribbles), T(random_messages),
		T(what_is_anothers), T(flaps), T(tears_down),
	};

	return cmocka_run_group_tests_name("bus hostile", tests, NULL, NULL);
}
