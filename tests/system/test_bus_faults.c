// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_faults.c - each call of Xen and of xenstore fails once, and for a
 * while, at each place of the life of a device on the Xen bus: the guest waits,
 * and sees nothing else.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u

static struct front f;
static struct fake_disk image;

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.queue_size_max = 16;
	rig.cfg.respawn_calm_ns = 1;
	rig_guest(GUEST, 1);
	image = rig_disk(GUEST, 0);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	return rig_sup_start();
}

static int teardown(void **state)
{
	(void)state;
	front_nodes_remove(&f);
	rig_until(!rig_worker_of(GUEST));
	if (f.page)
		assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

static void io(void)
{
	struct drv_buf data = front_buf(&f, 1);

	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, 8, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(data.va[5], unit_pattern(8 * 512 + 5));
	assert_int_equal(front_status(&f), 15);
}

/*
 * Nodes made, attached, used, closed, back, asked to close, gone; and a worker
 * that dies in between.
 */
static void life(void)
{
	/* Where a channel is refused, the queue does without. */
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .params = image.params };
	f.d.num = 16;
	f.d.wanted = DRV_BIT(32) | DRV_BIT(33) | DRV_BIT(29);
	front_nodes_make(&f, 2);
	if (!front_attach(&f)) {
		/* A new device may be refused by its type, in words. */
		assert_int_equal(front_back_state(&f), -1);
		assert_true(fake_store_exists("/local/domain/1/error/backend/virtio_grant/3/0/error"));
		front_nodes_remove(&f);
		f.page = NULL;
		assert_true(rig_until(!rig_worker_of(GUEST)));
		return;
	}
	assert_int_equal(front_start(&f, 1), 0);
	front_set_state(&f, 4);
	io();
	rig_worker_kill(rig_worker_of(GUEST));
	io();
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	front_set_state(&f, 1);
	assert_true(front_attach(&f));
	assert_int_equal(front_start(&f, 1), 0);
	front_set_state(&f, 4);
	io();
	front_ask_close(&f);
	rig_steps(5);
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	/* The daemon would, a second later. */
	front_nodes_remove(&f);
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static const struct {
	enum fake_call call;
	int err;
} faults[] = {
	{ FAKE_STORE_BEGIN, EIO }, { FAKE_STORE_COMMIT, EAGAIN },
	{ FAKE_STORE_COMMIT, EIO }, { FAKE_STORE_WRITE, EIO },
	{ FAKE_STORE_DIRECTORY, EIO }, { FAKE_STORE_WATCH, ENOSPC },
	{ FAKE_STORE_RM, EIO }, { FAKE_GNTTAB_MAP, ENOMEM },
	{ FAKE_EVTCHN_BIND, ENOMEM }, { FAKE_EVTCHN_BIND, EINVAL },
	{ FAKE_EVTCHN_OPEN, EMFILE }, { FAKE_GNTTAB_OPEN, EMFILE },
	{ FAKE_STORE_READ, ENOMEM },
};

static void each(unsigned int nr_times, unsigned int stride)
{
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		for (n = 1; n < 400; n += stride) {
			fake_fail_from(RIG_BACKEND, faults[i].call, n,
				       nr_times, faults[i].err);
			life();
			if (!fake_failed(faults[i].call))
				break;
		}
		fake_fail_nth(RIG_BACKEND, faults[i].call, 0, 0);
		print_message("%s: %u places\n", fake_call_name(faults[i].call),
			      n - 1);
	}
}

static void once(void **state)
{
	(void)state;
	each(1, 1);
}

static void for_a_while(void **state)
{
	(void)state;
	each(3, 5);
}

/*
 * The driver has closed for now when another daemon comes, and one read fails:
 * the device is no leftover of the first.
 */
static void closed_over_a_restart(void **state)
{
	unsigned int n;

	(void)state;
	/* Without the first read, of who it is, it does not start. */
	for (n = 2; n < 100; n++) {
		f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
				    .params = image.params };
		f.d.num = 16;
		front_nodes_make(&f, 2);
		assert_true(front_attach(&f));
		assert_int_equal(front_close(&f), 0);
		assert_true(rig_until(front_back_state(&f) == 6));
		rig_sup_kill();
		rig_until(!rig_worker_of(GUEST));
		fake_fail_nth(RIG_BACKEND, FAKE_STORE_READ, n, ENOMEM);
		assert_int_equal(rig_sup_start(), 0);
		front_set_state(&f, 1);
		assert_true(front_attach(&f));
		assert_int_equal(front_close(&f), 0);
		front_nodes_remove(&f);
		assert_true(rig_until(!rig_worker_of(GUEST)));
		if (!fake_failed(FAKE_STORE_READ))
			break;
	}
	fake_fail_nth(RIG_BACKEND, FAKE_STORE_READ, 0, 0);
	print_message("%u places\n", n - 2);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = { T(once), T(for_a_while),
					   T(closed_over_a_restart) };

	return cmocka_run_group_tests_name("bus faults", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\nleak:vg_loop_run_once\n";
}
