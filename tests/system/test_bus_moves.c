// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_moves.c - a device on the Xen bus whose backend's domain ends and
 * comes back under another number: requests of all sorts that were under way
 * end exactly once, and what the driver says of them is not believed more than
 * anything else that it says.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front.h"
#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u
#define NEXT	6u		/* the other number */
#define NR_REQS	5u

static struct front f;
static struct fake_disk image;
static struct drv_buf data;

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.queue_size_max = 64;
	rig_guest(GUEST, 1);
	if (rig_sup_start())
		return -1;
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .has_ranges = true, .has_channels = true };
	image = rig_disk(GUEST, 0);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	f.params = image.params;
	front_nodes_make(&f, 2);
	/* Without indirect tables, which would be pages of their own. */
	f.d.wanted = DRV_BIT(32) | DRV_BIT(33) | DRV_BIT(29) | DRV_BIT(9);
	if (!front_attach(&f) || front_start(&f, 1))
		return -1;
	data = front_buf(&f, 24);
	front_set_state(&f, 4);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig.die_at = 0;
	front_nodes_remove(&f);
	rig_until(!rig_worker_of(GUEST));
	assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

/* The domain dies with its workers, and the toolstack notices. */
static void backend_dies(void)
{
	rig_sup_kill();
	if (rig_worker_of(GUEST))
		rig_worker_kill(rig_worker_of(GUEST));
	fake_domain_destroy(rig.backend);
	fake_store_rm(0, front_back_path(&f, ""));
}

/* With no state of the one before: that was in its domain. */
static void backend_start(void)
{
	static unsigned int turn;

	snprintf(rig.state_dir, sizeof(rig.state_dir), "%s/%u", rig.dir,
		 turn++);
	assert_int_equal(mkdir(rig.state_dir, 0700), 0);
	strcat(rig.state_dir, "/state");
	assert_int_equal(rig_sup_start(), 0);
}

/* Another one, with nothing of the first; new nodes, new grants. */
static void backend_returns(xen_domid_t domid)
{
	fake_domain_create(domid, 1, 64);
	rig.backend = domid;
	backend_start();
	f.backend = domid;
	/* Its keys are for the one that is gone. */
	front_nodes_make(&f, 2);
	assert_true(rig_until(front_back_state(&f) == 2));
	assert_int_equal(front_regrant(&f, domid), 0);
	assert_true(rig_until(front_back_state(&f) == 4));
}

/* Three writes, a read, a flush; *heads in their order. */
static void add_requests(uint8_t value, uint16_t heads[NR_REQS],
			 uint8_t *status[NR_REQS])
{
	struct drv_queue *q = &f.d.q[0];
	struct drv_seg w[] = {
		{ data.addr, 4096, false }, { data.addr + 4096, 512, false },
		{ data.addr + 8192, 8192, false },
	};
	struct drv_seg r = { data.addr + 16 * 4096, 8192, true };
	unsigned int i;

	memset(data.va, value, 4 * 4096);
	memset(data.va + 16 * 4096, 0, 8192);
	for (i = 0; i < 3; i++)
		heads[i] = (uint16_t)drv_blk_add(&f.d, q, VIRTIO_BLK_T_OUT,
						 1000 + 100 * i, &w[i], 1,
						 false, &status[i]);
	heads[3] = (uint16_t)drv_blk_add(&f.d, q, VIRTIO_BLK_T_IN, 8, &r, 1,
					 false, &status[3]);
	heads[4] = (uint16_t)drv_blk_add(&f.d, q, VIRTIO_BLK_T_FLUSH, 0, NULL,
					 0, false, &status[4]);
}

/* Each ends once, in whatever order, with its result. */
static void end_once(uint8_t value, const uint16_t heads[NR_REQS],
		     uint8_t *const status[NR_REQS])
{
	struct drv_queue *q = &f.d.q[0];
	bool seen[NR_REQS] = { 0 };
	unsigned int i, k;

	for (i = 0; i < NR_REQS; i++) {
		int head = -EAGAIN;

		assert_true(rig_until((head = drv_take(q, NULL)) != -EAGAIN));
		for (k = 0; k < NR_REQS && heads[k] != head; k++)
			;
		assert_in_range(k, 0, NR_REQS - 1);
		assert_false(seen[k]);
		seen[k] = true;
		assert_int_equal(*status[k], VIRTIO_BLK_S_OK);
	}
	rig_steps(10);
	assert_int_equal(drv_take(q, NULL), -EAGAIN);
	assert_int_equal(q->used->idx, q->avail_idx);
	assert_int_equal(rig_image_byte(&image, 1000 * 512 + 4095), value);
	assert_int_equal(rig_image_byte(&image, 1100 * 512 + 511), value);
	assert_int_equal(rig_image_byte(&image, 1200 * 512 + 8191), value);
	for (i = 0; i < 8192; i += 97)
		assert_int_equal(data.va[16 * 4096 + i],
				 unit_pattern(8 * 512 + i));
}

/* As the kernel's driver does it: it keeps what is under way by itself. */
static void go_on(const uint16_t *heads, unsigned int n)
{
	assert_int_equal(front_negotiate(&f), 0);
	assert_int_equal(front_tell_inflight(&f, 0, heads, n), 0);
	assert_int_equal(front_queue_enable(&f, 0), 0);
	assert_int_equal(front_set_status(&f, 15), 15);
	front_set_state(&f, 4);
}

/* Nobody had taken them; the new one is told, and is asked for new ones. */
static void untaken(void **state)
{
	uint16_t heads[NR_REQS];
	uint8_t *status[NR_REQS];
	unsigned int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		add_requests((uint8_t)(10 + i), heads, status);
		drv_publish(&f.d.q[0]);
		backend_dies();
		backend_returns((xen_domid_t)(NEXT + i));
		go_on(heads, NR_REQS);
		end_once((uint8_t)(10 + i), heads, status);
		add_requests((uint8_t)(20 + i), heads, status);
		front_kick(&f, &f.d.q[0]);
		end_once((uint8_t)(20 + i), heads, status);
	}
}

/* Killed at each step of what it does with them. */
static void at_each_step(void **state)
{
	uint16_t heads[NR_REQS], left[NR_REQS];
	uint8_t *status[NR_REQS];
	unsigned int at, i, n, deaths;

	(void)state;
	for (at = 1; at < 100; at += 7) {
		bool seen[NR_REQS] = { 0 };

		deaths = rig.deaths;
		add_requests((uint8_t)at, heads, status);
		rig.sup_hung = true;	/* it starts no other worker */
		rig.die_at = at;
		front_kick(&f, &f.d.q[0]);
		for (i = 0; i < 50 && rig.deaths == deaths; i++)
			rig_step();
		rig.die_at = 0;
		rig.sup_hung = false;
		backend_dies();
		/* What was shown is done. */
		while ((n = (unsigned int)drv_take(&f.d.q[0], NULL)) < 64)
			for (i = 0; i < NR_REQS; i++)
				seen[i] |= heads[i] == n;
		for (i = n = 0; i < NR_REQS; i++)
			if (!seen[i])
				left[n++] = heads[i];
		backend_returns((xen_domid_t)(NEXT + at));
		go_on(left, n);
		for (i = 0; i < n; i++)
			assert_true(rig_until(drv_take(&f.d.q[0], NULL) !=
					      -EAGAIN));
		rig_steps(5);
		assert_int_equal(drv_take(&f.d.q[0], NULL), -EAGAIN);
		for (i = 0; i < NR_REQS; i++)
			assert_int_equal(*status[i], VIRTIO_BLK_S_OK);
		assert_int_equal(rig_image_byte(&image, 1000 * 512 + 5),
				 (int)at);
		assert_int_equal(front_status(&f), 15);
	}
}

/* The new domain's worker dies at each step of going on. */
static void and_dies_again(void **state)
{
	uint16_t heads[NR_REQS];
	uint8_t *status[NR_REQS];
	unsigned int at, deaths;

	(void)state;
	rig.cfg.respawn_calm_ns = 1;
	for (at = 1;; at += 3) {
		add_requests((uint8_t)at, heads, status);
		drv_publish(&f.d.q[0]);
		backend_dies();
		backend_returns((xen_domid_t)(NEXT + at));
		deaths = rig.deaths;
		rig.die_at = at;
		go_on(heads, NR_REQS);
		end_once((uint8_t)at, heads, status);
		rig.die_at = 0;
		assert_int_equal(front_status(&f), 15);
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 30, 1000);
}

/* It sets the device up from its beginning instead. */
static void begins_anew(void **state)
{
	(void)state;
	backend_dies();
	backend_returns(NEXT);
	f.pool_used = 0;
	f.d.hdrs.pages = 0;
	assert_int_equal(front_start(&f, 1), 0);
	data = front_buf(&f, 8);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, 8, &data, 0, 4096), 0);
	assert_int_equal(data.va[5], unit_pattern(8 * 512 + 5));
}

/*
 * Its guest waits: that a new domain can't serve it at first (its image comes
 * later than virtio-grantd) is not the end of it, as it is of a new device.
 */
static void image_comes_later(void **state)
{
	static const char why[] =
		"/local/domain/6/error/backend/virtio_grant/3/0/error";
	char *away = vg_strf("%s.away", image.params);
	uint64_t until;

	(void)state;
	backend_dies();
	assert_int_equal(rename(image.params, away), 0);
	fake_domain_create(NEXT, 1, 64);
	rig.backend = NEXT;
	backend_start();
	f.backend = NEXT;
	front_nodes_make(&f, 2);
	fake_store_write(0, front_back_path(&f, "moved"), "1");
	assert_true(rig_until(fake_store_exists(why)));
	until = vg_now_ns() + 300000000;
	rig_until(vg_now_ns() > until);
	assert_int_equal(front_back_state(&f), 1);
	assert_true(unit_logged("No such file or directory"));
	assert_int_equal(rename(away, image.params), 0);
	free(away);
	assert_true(rig_until(front_back_state(&f) == 2));
	assert_false(fake_store_exists(why));
	assert_int_equal(front_regrant(&f, NEXT), 0);
	assert_true(rig_until(front_back_state(&f) == 4));
	f.pool_used = 0;
	f.d.hdrs.pages = 0;
	assert_int_equal(front_start(&f, 1), 0);
}

static void lies(void **state)
{
	uint16_t heads[NR_REQS];
	uint8_t *status[NR_REQS];

	(void)state;
	add_requests(1, heads, status);
	drv_publish(&f.d.q[0]);
	backend_dies();
	backend_returns(NEXT);
	heads[2] = heads[1];
	assert_int_equal(front_negotiate(&f), 0);
	front_tell_inflight(&f, 0, heads, NR_REQS);
	assert_int_equal(front_status(&f), 11 | 64);
	assert_true(unit_logged("what the driver says is under way in a queue makes no sense (resume"));
	assert_int_equal(front_set_status(&f, 0), 0);
	f.pool_used = 0;
	f.d.hdrs.pages = 0;
	assert_int_equal(front_start(&f, 1), 0);
}

/* Keys that were for the old domain do not count. */
static void keys_of_before(void **state)
{
	(void)state;
	backend_dies();
	fake_domain_create(NEXT, 1, 64);
	rig.backend = NEXT;
	backend_start();
	f.backend = NEXT;
	front_nodes_make(&f, 2);
	fake_store_write(GUEST, front_path(&f, "msg-version"), "1");
	fake_store_write(GUEST, front_path(&f, "msg-ref"), "%u", f.ref);
	fake_store_write(GUEST, front_path(&f, "msg-port"), "%u", f.port);
	fake_store_write(GUEST, front_path(&f, "msg-backend-id"), "1");
	front_set_state(&f, 4);
	assert_true(rig_until(front_back_state(&f) == 2));
	rig_steps(20);
	assert_int_equal(front_back_state(&f), 2);
	assert_int_equal(front_regrant(&f, NEXT), 0);
	assert_true(rig_until(front_back_state(&f) == 4));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(untaken), T(at_each_step), T(and_dies_again), T(begins_anew),
		T(image_comes_later), T(lies), T(keys_of_before),
	};

	return cmocka_run_group_tests_name("bus moves", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\nleak:vg_loop_run_once\n";
}
