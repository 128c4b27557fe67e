// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_kill.c - a worker killed at every step of what it does for its guest:
 * at every store to a ring, to the state that outlives it, to the relay page,
 * before every event.  And its successor at every step of taking over.
 *
 * The guest sees no error: every request is used exactly once, with the right
 * data, every register access is answered, and the device never needs reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"

#define GUEST	3u
#define PAGES	24u

static struct fake_disk disk;
static struct drv d;
static struct drv_buf data;
static bool has_ext;		/* ranges and event channels */

static int setup_common(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.queue_size_max = 16;	/* many devices are made here */
	rig.cfg.respawn_calm_ns = 1;	/* and many workers */
	if (rig_broker_start() || rig_sup_start())
		return -1;
	rig_guest(GUEST, 2);
	disk = rig_disk(GUEST, 0);
	if (!rig_disk_add(&disk))
		return -1;
	d = rig_drv(&disk);
	d.num = 16;
	return 0;
}

static int setup_plain(void **state)
{
	has_ext = false;
	return setup_common(state);
}

static int setup_ext(void **state)
{
	has_ext = true;
	return setup_common(state);
}

static int teardown(void **state)
{
	unsigned int busy;

	rig.die_at = rig.die_then = 0;
	busy = drv_reset(&d) || drv_exit(&d);
	drv_buf_end(&d, &data);
	return rig_teardown(state) || busy ? -1 : 0;
}

/* Everything that a driver does until it can send requests. */
static void start(void)
{
	assert_int_equal(drv_negotiate(&d), 0);
	d.nr_queues = 1;
	assert_int_equal(drv_queue_init(&d, 0, d.num), 0);
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	data = drv_buf(&d, PAGES * 4096, false);
	if (has_ext) {
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_FIRST, d.q[0].mem.ref);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_PAGES,
			  data.ref + data.pages - d.q[0].mem.ref);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
		assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
				 VIRTIO_GRANT_RANGE_HELD);
		d.q[0].port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);
		drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
		drv_write(&d, VIRTIO_GRANT_MMIO_QUEUE_PORT, d.q[0].port);
		assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_QUEUE_STATE),
				 VIRTIO_GRANT_QUEUE_BOUND);
	}
	assert_int_equal(drv_queue_enable(&d, 0), 0);
	assert_int_equal(drv_driver_ok(&d), 0);
}

static void stop(void)
{
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	drv_buf_end(&d, &data);
	data.pages = 0;
	d.hdrs.pages = 0;
	if (d.q[0].port)
		assert_int_equal(fake_guest_close(GUEST, d.q[0].port), 0);
	d.q[0].port = 0;
}

/* ---- requests ----------------------------------------------------------- */

#define NR_REQS	5u

static uint8_t written(unsigned int turn, unsigned int i)
{
	return (uint8_t)(turn * 3 + i + (i >> 8) * 5);
}

/* Waits for all of them, in any order, and for nothing but them. */
static void wait_all(const int *heads)
{
	uint64_t until = rig_now_ms() + 5000;
	unsigned int k, got = 0;
	bool seen[NR_REQS] = { 0 };

	while (got < NR_REQS) {
		int head = drv_take(&d.q[0], NULL);

		if (head == -EAGAIN) {
			assert_true(rig_now_ms() < until);
			rig_step();
			continue;
		}
		for (k = 0; k < NR_REQS && heads[k] != head; k++)
			;
		assert_in_range(k, 0, NR_REQS - 1);
		assert_false(seen[k]);
		seen[k] = true;
		got++;
	}
	/* Nor later, when a successor has caught up. */
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(4);
	assert_int_equal(drv_take(&d.q[0], NULL), -EAGAIN);
	assert_int_equal(d.q[0].used->idx, d.q[0].avail_idx);
}

/* A write, an indirect write, a read, the serial number, a flush at once. */
static void batch(unsigned int turn)
{
	struct drv_queue *q = &d.q[0];
	struct drv_seg w = { data.addr, 6000, false };
	struct drv_seg w2[2] = { { data.addr + 3 * 4096 + 100, 512, false },
				 { data.addr + 5 * 4096, 1024, false } };
	struct drv_seg r = { data.addr + 9 * 4096 + 8, 8192, true };
	struct drv_seg id = { data.addr + 20 * 4096, 20, true };
	uint8_t *status[NR_REQS], got[5632];
	int heads[NR_REQS], fd;
	unsigned int i;

	w.len_bytes = 5632;
	for (i = 0; i < w.len_bytes; i++)
		data.va[i] = written(turn, i);
	memset(data.va + 9 * 4096, 0, 4 * 4096);
	heads[0] = drv_blk_add(&d, q, VIRTIO_BLK_T_OUT, 100, &w, 1, false,
			       &status[0]);
	heads[1] = drv_blk_add(&d, q, VIRTIO_BLK_T_OUT, 300, w2, 2, true,
			       &status[1]);
	heads[2] = drv_blk_add(&d, q, VIRTIO_BLK_T_IN, 1000, &r, 1, false,
			       &status[2]);
	heads[3] = drv_blk_add(&d, q, VIRTIO_BLK_T_GET_ID, 0, &id, 1, false,
			       &status[3]);
	heads[4] = drv_blk_add(&d, q, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false,
			       &status[4]);
	drv_kick(&d, q, false);
	wait_all(heads);
	for (i = 0; i < NR_REQS; i++)
		assert_int_equal(*status[i], VIRTIO_BLK_S_OK);
	for (i = 0; i < r.len_bytes; i += 97)
		assert_int_equal(data.va[9 * 4096 + 8 + i],
				 unit_pattern(1000 * 512 + i));
	fd = open(disk.params, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, sizeof(got), 100 * 512), sizeof(got));
	close(fd);
	for (i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], written(turn, i));
}

/*
 * Who sleeps is woken: by an event, or by an interrupt and its status.  The
 * test itself only polls.
 */
static void is_told(unsigned int died)
{
	if (!died)
		return;
	if (has_ext)
		assert_true(fake_guest_take_event(GUEST, d.q[0].port));
	else
		assert_true(drv_irq(&d) & 1);
}

static void __attribute__((unused)) requests_at_each_step(void **state)
{
	unsigned int at, deaths;

	(void)state;
	start();
	for (at = 1;; at++) {
		deaths = rig.deaths;
		fake_guest_take_event(GUEST, d.q[0].port);
		drv_irq(&d);
		rig.die_at = at;
		batch(at);
		rig.die_at = 0;
		is_told(rig.deaths - deaths);
		if (rig.deaths == deaths)
			break;
	}
	assert_false(drv_needs_reset(&d));
	assert_in_range(at, 30, 400);
	assert_int_equal(rig_stats(&disk)->takeovers, rig.deaths);
	assert_true(rig_stats(&disk)->redone > 5);
	print_message("%u steps, %u requests again\n", at - 1,
		      (unsigned int)rig_stats(&disk)->redone);
}

static void __attribute__((unused)) successors_at_each_step(void **state)
{
	unsigned int at, then, deaths;

	(void)state;
	start();
	for (at = 1;; at += 11) {
		for (then = 1;; then++) {
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
	assert_false(drv_needs_reset(&d));
	/* Who died early in taking over has not counted. */
	assert_in_range(rig_stats(&disk)->takeovers, rig.deaths / 2,
			rig.deaths);
	print_message("%u deaths\n", rig.deaths);
}

/* ---- registers ---------------------------------------------------------- */

/*
 * All that a driver does from its first access on, and its reset.  Each access
 * is answered by somebody, and each is carried out once: an announcement twice
 * would read RANGE_INVALID.
 */
static void __attribute__((unused)) registers_at_each_step(void **state)
{
	unsigned int at, deaths;

	(void)state;
	for (at = 1;; at++) {
		deaths = rig.deaths;
		rig.die_at = at;
		start();
		rig.die_at = 0;
		batch(at);
		assert_false(drv_needs_reset(&d));
		stop();
		if (rig.deaths == deaths)
			break;
	}
	start();
	print_message("%u deaths\n", rig.deaths);
}

static void __attribute__((unused)) reset_at_each_step(void **state)
{
	unsigned int at, deaths;

	(void)state;
	for (at = 1;; at++) {
		start();
		batch(at);
		deaths = rig.deaths;
		rig.die_at = at;
		stop();
		rig.die_at = 0;
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 3, 60);
	start();
	print_message("%u deaths\n", rig.deaths);
}

#define P(f) cmocka_unit_test_setup_teardown(f, setup_plain, teardown)
#define E(f) { #f " (extension)", f, setup_ext, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef KILL_REGISTERS	/* test_kill_registers.c */
		P(requests_at_each_step),
		E(requests_at_each_step),
		P(successors_at_each_step),
		E(successors_at_each_step),
#else
		P(registers_at_each_step),
		E(registers_at_each_step),
		P(reset_at_each_step),
		E(reset_at_each_step),
#endif
	};

	return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\nleak:vg_loop_run_once\n";
}
