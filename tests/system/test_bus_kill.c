// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_kill.c - a worker killed at every step of what it does for a device
 * on the Xen bus: of messages, of requests, of attaching and of leaving.
 *
 * The guest sees no error: every message is answered, every request is used
 * exactly once, with the right data, and the device never needs reset.
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
static struct fake_disk image;
static struct drv_buf data;

static int setup_common(bool has_ext)
{
	rig_up();
	rig.cfg.queue_size_max = 16;	/* many devices are made here */
	rig.cfg.respawn_calm_ns = 1;	/* and many workers */
	rig_guest(GUEST, 1);
	if (rig_sup_start())
		return -1;
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .has_ranges = has_ext, .has_channels = has_ext };
	f.d.num = 16;
	/* Without indirect tables, which would be pages of their own. */
	f.d.wanted = DRV_BIT(32) | DRV_BIT(33) | DRV_BIT(29) | DRV_BIT(9);
	image = rig_disk(GUEST, 0);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	f.params = image.params;
	front_nodes_make(&f, 2);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_common(true);
}

static int setup_plain(void **state)
{
	(void)state;
	return setup_common(false);
}

static int teardown(void **state)
{
	(void)state;
	rig.die_at = rig.die_then = 0;
	front_nodes_remove(&f);
	rig_until(!rig_worker_of(GUEST));
	assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

static void start(void)
{
	assert_true(front_attach(&f));
	assert_int_equal(front_start(&f, 1), 0);
	front_set_state(&f, 4);
	data = front_buf(&f, 8);
}

static void returns(void)
{
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	front_set_state(&f, 1);
}

static void batch(unsigned int turn)
{
	struct drv_seg w = { data.addr, 4096, false };
	struct drv_seg r = { data.addr + 4096, 8192, true };
	struct drv_queue *q = &f.d.q[0];
	uint8_t *status[3];
	int heads[3], head;
	bool seen[3] = { 0 };
	unsigned int i, k;

	memset(data.va, (int)turn, 4096);
	memset(data.va + 4096, 0, 8192);
	heads[0] = drv_blk_add(&f.d, q, VIRTIO_BLK_T_OUT, 1000, &w, 1, false,
			       &status[0]);
	heads[1] = drv_blk_add(&f.d, q, VIRTIO_BLK_T_IN, 8, &r, 1, false,
			       &status[1]);
	heads[2] = drv_blk_add(&f.d, q, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false,
			       &status[2]);
	front_kick(&f, q);
	for (i = 0; i < 3; i++) {
		assert_true(rig_until((head = drv_take(q, NULL)) != -EAGAIN));
		for (k = 0; k < 3 && heads[k] != head; k++)
			;
		assert_in_range(k, 0, 2);
		assert_false(seen[k]);
		seen[k] = true;
		assert_int_equal(*status[k], VIRTIO_BLK_S_OK);
	}
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(4);
	assert_int_equal(drv_take(q, NULL), -EAGAIN);
	assert_int_equal(q->used->idx, q->avail_idx);
	for (i = 0; i < 8192; i += 97)
		assert_int_equal(data.va[4096 + i], unit_pattern(8 * 512 + i));
	assert_int_equal(rig_image_byte(&image, 1000 * 512 + 7),
			 (int)(uint8_t)turn);
}

/* Who sleeps is woken; the test itself only polls. */
static void is_told(unsigned int died, uint32_t used_events)
{
	if (!died)
		return;
	if (f.has_channels)
		assert_true(fake_guest_take_event(GUEST, f.d.q[0].port));
	else
		assert_int_not_equal(f.page->used_events, used_events);
}

static void requests_at_each_step(void **state)
{
	unsigned int at, deaths;
	uint32_t events;

	(void)state;
	start();
	for (at = 1;; at++) {
		deaths = rig.deaths;
		if (f.has_channels)
			fake_guest_take_event(GUEST, f.d.q[0].port);
		events = f.page->used_events;
		rig.die_at = at;
		batch(at);
		rig.die_at = 0;
		is_told(rig.deaths - deaths, events);
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 20, 400);
	assert_int_equal(front_status(&f), 15);
	assert_int_equal(front_back_state(&f), 4);
	print_message("%u steps\n", at - 1);
}

/* All that a driver does until it can send requests, and until it is gone. */
static void messages_at_each_step(void **state)
{
	unsigned int at, deaths;

	(void)state;
	for (at = 1;; at += 1 + at / 40) {
		deaths = rig.deaths;
		rig.die_at = at;
		start();
		rig.die_at = 0;
		batch(at);
		assert_int_equal(front_status(&f), 15);
		returns();
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 30, 2000);
	print_message("%u deaths\n", rig.deaths);
}

static void closing_at_each_step(void **state)
{
	unsigned int at, deaths;

	(void)state;
	for (at = 1;; at++) {
		start();
		batch(at);
		deaths = rig.deaths;
		rig.die_at = at;
		returns();
		rig.die_at = 0;
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 3, 100);
	print_message("%u deaths\n", rig.deaths);
}

/* Its successor as well. */
static void successors_at_each_step(void **state)
{
	unsigned int at, then, deaths;

	(void)state;
	start();
	for (at = 1;; at += 11) {
		for (then = 1;; then += 2) {
			deaths = rig.deaths;
			rig.die_at = at;
			rig.die_then = then;
			batch(at * 100 + then);
			rig.die_at = rig.die_then = 0;
			if (rig.deaths - deaths < 2)
				break;
		}
		if (rig.deaths == deaths)
			break;
	}
	assert_int_equal(front_status(&f), 15);
	print_message("%u deaths\n", rig.deaths);
}

#define P(t) cmocka_unit_test_setup_teardown(t, setup_plain, teardown)
#define E(t) { #t " (ranges, channels)", t, setup, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		P(requests_at_each_step), E(requests_at_each_step),
		P(messages_at_each_step), E(messages_at_each_step),
		P(closing_at_each_step), E(closing_at_each_step),
		P(successors_at_each_step), E(successors_at_each_step),
	};

	return cmocka_run_group_tests_name("bus kill", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\nleak:vg_loop_run_once\n";
}
