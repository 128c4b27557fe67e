// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_queues.c - a device of several queues, each run by a thread of its own
 * (backend/virtio/device.c, lane.h), end to end: data, counters, and everything
 * that has to wait for the threads: reset, one queue's end, ranges, a bad ring,
 * a new broker, removal.
 *
 * The guest and the main loops are this program's main thread; the queues'
 * threads run whenever they like.  Also built with ThreadSanitizer: unit.mk.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"
#include "lib/ctl_server.h"

#define GUEST	3u
#define QUEUES	3u
#define DEPTH	8u
#define BLOCK	4096u

static struct fake_disk disk;
static struct drv d;
static struct drv_buf data;

/* One block of the disk that one request at a time writes and reads back. */
static struct cell {
	int head;			/* -1: nothing under way */
	bool is_read;
	unsigned int round;
	uint8_t *status;
} cell[QUEUES][DEPTH];

static enum vg_blk_engine engine = VG_BLK_ENGINE_SYNC;

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.nr_queues = QUEUES;
	vg_blk_options.engine = engine;
	if (rig_broker_start() || rig_sup_start())
		return -1;
	rig_guest(GUEST, 2);
	disk = rig_disk(GUEST, 0);
	if (!rig_disk_add(&disk))
		return -1;
	d = rig_drv(&disk);
	memset(cell, 0, sizeof(cell));
	return 0;
}

static int setup_uring(void **state)
{
	engine = VG_BLK_ENGINE_AUTO;
	return setup(state);
}

static unsigned int data_end(void)
{
	unsigned int i, busy = 0;

	for (i = 0; i < data.pages; i++)
		busy += fake_grant_end(GUEST, data.ref + i) == -EBUSY;
	data.pages = 0;
	return busy;
}

static int teardown(void **state)
{
	unsigned int busy;

	engine = VG_BLK_ENGINE_SYNC;
	busy = drv_reset(&d) || drv_exit(&d) || data_end();
	return rig_teardown(state) || busy ? -1 : 0;
}

/* How many threads of queues this process has. */
static unsigned int nr_lanes(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int n = 0;
	struct dirent *e;

	while ((e = readdir(dir))) {
		char path[64], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm",
			 e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f))
			n += !strncmp(name, "vg-queue-", 9);
		fclose(f);
	}
	closedir(dir);
	return n;
}

/* A thread that was joined can still be seen for a moment. */
static void assert_lanes(unsigned int n)
{
	uint64_t until = rig_now_ms() + 5000;

	while (nr_lanes() != n && rig_now_ms() < until)
		usleep(1000);
	assert_int_equal(nr_lanes(), n);
}

/* ---- the guest ---------------------------------------------------------- */

static void announce(void)
{
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_FIRST, d.hdrs.ref);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_PAGES,
		  data.ref + data.pages - d.hdrs.ref);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
			 VIRTIO_GRANT_RANGE_HELD);
}

static void withdraw(void)
{
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
			 VIRTIO_GRANT_RANGE_NONE);
}

static void bind_port(unsigned int queue)
{
	xen_port_t port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);

	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, queue);
	drv_write(&d, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_QUEUE_STATE),
			 VIRTIO_GRANT_QUEUE_BOUND);
	assert_true(fake_guest_take_event(GUEST, port));
	d.q[queue].port = port;
}

static void start(unsigned int nr_queues, bool ranges, bool events)
{
	unsigned int i, k;

	assert_int_equal(drv_negotiate(&d), 0);
	d.spis_seen = fake_spi_count(GUEST, d.irq);
	d.nr_queues = nr_queues;
	for (i = 0; i < nr_queues; i++)
		assert_int_equal(drv_queue_init(&d, i, 64), 0);
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	data = drv_buf(&d, QUEUES * DEPTH * BLOCK, false);
	if (ranges)
		announce();
	for (i = 0; i < nr_queues; i++) {
		if (events)
			bind_port(i);
		assert_int_equal(drv_queue_enable(&d, i), 0);
	}
	assert_int_equal(drv_driver_ok(&d), 0);
	for (i = 0; i < QUEUES; i++)
		for (k = 0; k < DEPTH; k++)
			cell[i][k].head = -1;
}

static void stop(void)
{
	assert_int_equal(drv_reset(&d), 0);
	/* Nothing is mapped any more, and nobody runs. */
	assert_int_equal(drv_exit(&d), 0);
	assert_int_equal(data_end(), 0);
	assert_lanes(0);
}

static uint8_t *cell_data(unsigned int q, unsigned int k)
{
	return data.va + (q * DEPTH + k) * BLOCK;
}

static uint8_t cell_byte(unsigned int q, unsigned int k, unsigned int at)
{
	return (uint8_t)(q * 91 + k * 7 + cell[q][k].round * 13 + at * 3 + 1);
}

/* Writes the block, or reads what was written. */
static void cell_start(unsigned int q, unsigned int k)
{
	struct cell *c = &cell[q][k];
	struct drv_seg s[2] = {
		{ data.addr + (q * DEPTH + k) * BLOCK, 1024, c->is_read },
		{ data.addr + (q * DEPTH + k) * BLOCK + 1024, BLOCK - 1024,
		  c->is_read },
	};
	unsigned int i;

	for (i = 0; i < BLOCK; i++)
		cell_data(q, k)[i] = c->is_read ? 0 : cell_byte(q, k, i);
	c->head = drv_blk_add(&d, &d.q[q],
			      c->is_read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
			      (q * DEPTH + k) * BLOCK / 512, s, 2, false,
			      &c->status);
	assert_true(c->head >= 0);
}

static void cell_end(unsigned int q, unsigned int k)
{
	struct cell *c = &cell[q][k];
	unsigned int i;

	assert_int_equal(*c->status, VIRTIO_BLK_S_OK);
	for (i = 0; i < BLOCK; i++)
		assert_int_equal(cell_data(q, k)[i], cell_byte(q, k, i));
	c->round += c->is_read;
	c->is_read = !c->is_read;
	c->head = -1;
}

/* Takes what is done; the number of requests. */
static unsigned int take(unsigned int q)
{
	unsigned int k, n = 0;
	uint32_t len;
	int head;

	while ((head = drv_take(&d.q[q], &len)) != -EAGAIN) {
		assert_true(head >= 0);
		for (k = 0; k < DEPTH; k++)
			if (cell[q][k].head == head)
				break;
		assert_int_not_equal(k, DEPTH);
		assert_int_equal(len, cell[q][k].is_read ? BLOCK + 1 : 1);
		cell_end(q, k);
		n++;
	}
	return n;
}

static void ack_irq(void)
{
	if (fake_spi_count(d.guest, d.irq) != d.spis_seen)
		drv_irq(&d);
}

/* Fills the queues named in @mask. */
static void fill(unsigned int mask)
{
	unsigned int q, k;

	for (q = 0; q < QUEUES; q++) {
		for (k = 0; k < DEPTH && mask & 1u << q; k++)
			if (cell[q][k].head < 0)
				cell_start(q, k);
		if (mask & 1u << q)
			drv_kick(&d, &d.q[q], false);
	}
}

static bool is_idle(unsigned int mask)
{
	unsigned int q, k;

	for (q = 0; q < QUEUES; q++)
		for (k = 0; k < DEPTH && mask & 1u << q; k++)
			if (cell[q][k].head >= 0)
				return false;
	return true;
}

/* @n requests through each of the queues of @mask, and until they are done. */
static void storm(unsigned int mask, unsigned int n)
{
	uint64_t until = rig_now_ms() + 20000;
	unsigned int q, done[QUEUES] = { 0 }, more;

	do {
		more = 0;
		for (q = 0; q < QUEUES; q++) {
			if (!(mask & 1u << q))
				continue;
			done[q] += take(q);
			if (done[q] < n)
				more |= 1u << q;
		}
		ack_irq();
		fill(more);
		rig_step();
		assert_true(rig_now_ms() < until);
	} while (more);
	while (!is_idle(mask)) {
		for (q = 0; q < QUEUES; q++)
			take(q);
		ack_irq();
		rig_step();
		assert_true(rig_now_ms() < until);
	}
}

#define ALL	((1u << QUEUES) - 1)

static const struct vg_dev_stats *queue_stats(unsigned int q)
{
	return &rig_worker_of(GUEST)->shared->queue[0][q];
}

/* ---- tests -------------------------------------------------------------- */

static void every_queue_has_a_thread(void **state)
{
	unsigned int i, q, before = unit_nr_fds();
	uint64_t sum = 0;

	(void)state;
	assert_lanes(0);
	for (i = 0; i < 4; i++) {
		bool ranges = i & 1, events = i & 2;

		start(QUEUES, ranges, events);
		assert_true(d.features & DRV_BIT(VIRTIO_BLK_F_MQ));
		assert_int_equal(drv_config(&d, 34, 2), QUEUES);
		assert_lanes(QUEUES);
		fake_count_reset();
		storm(ALL, 100);
		assert_int_equal(!fake_calls(RIG_BACKEND, FAKE_GNTTAB_MAP) &&
				 !fake_calls(RIG_BACKEND, FAKE_GNTTAB_COPY),
				 ranges);
		for (q = 0; q < QUEUES; q++)
			assert_int_equal(
				!!count_read(queue_stats(q)->events_received),
				events || i == 3);
		stop();
	}
	for (q = 0; q < QUEUES; q++) {
		assert_true(queue_stats(q)->requests >= 400);
		assert_int_equal(queue_stats(q)->in_flight, 0);
		assert_true(queue_stats(q)->mem.range_hits >= 200);
		sum += queue_stats(q)->requests;
	}
	assert_int_equal(rig_stats(&disk)->requests, sum);
	assert_int_equal(rig_stats(&disk)->mem.mapped_pages_now, 0);
	assert_int_equal(unit_nr_fds(), before);
}

static void one_queue_needs_no_thread(void **state)
{
	(void)state;
	start(1, true, true);
	assert_lanes(0);
	storm(1, 50);
	stop();
	start(1, false, false);
	assert_lanes(0);
	storm(1, 50);
	stop();
	start(2, true, true);
	assert_lanes(2);
	storm(3, 50);
	stop();
}

static void reset_under_load(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		start(QUEUES, i & 1, i & 2);
		fill(ALL);
		if (i & 4)
			rig_steps(1 + i % 5);
		stop();
	}
	start(QUEUES, true, true);
	storm(ALL, 20);
	stop();
}

static void one_queue_ends_while_others_run(void **state)
{
	unsigned int i;

	(void)state;
	start(QUEUES, true, true);
	for (i = 0; i < 10; i++) {
		fill(ALL);
		drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 1);
		drv_write(&d, 0x0c0, 1);
		assert_int_equal(drv_read(&d, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_lanes(QUEUES - 1);
		storm(ALL & ~2u, 10);
		memset(cell[1], 0, sizeof(cell[1]));
		for (unsigned int k = 0; k < DEPTH; k++)
			cell[1][k].head = -1;
		drv_buf_end(&d, &d.q[1].mem);
		assert_int_equal(drv_queue_init(&d, 1, 64), 0);
		assert_int_equal(drv_queue_enable(&d, 1), 0);
		bind_port(1);
		storm(ALL, 10);
		assert_lanes(QUEUES);
	}
	stop();
}

static void ranges_come_and_go(void **state)
{
	unsigned int i;

	(void)state;
	start(QUEUES, false, true);
	for (i = 0; i < 20; i++) {
		fill(ALL);
		announce();
		storm(ALL, 5);
		fill(ALL);
		/* Answered when no request uses it any more. */
		withdraw();
		storm(ALL, 5);
	}
	stop();
}

static void a_bad_ring_stops_all(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 6; i++) {
		unsigned int bad = i % QUEUES;

		start(QUEUES, true, i & 1);
		storm(ALL, 10);
		fill(ALL & ~(1u << bad));
		d.q[bad].avail->ring[d.q[bad].avail_idx++ % d.q[bad].num] =
			0x7777;
		drv_kick(&d, &d.q[bad], true);
		assert_true(rig_until(drv_needs_reset(&d)));
		assert_int_equal(rig_stats(&disk)->broken, VG_BROKEN_HEAD);
		assert_int_equal(rig_stats(&disk)->broken_queue, bad);
		assert_true(rig_stats(&disk)->broken_value == 0x7777);
		assert_int_equal(drv_config(&d, 0, 8), 0);
		stop();
		assert_int_equal(rig_stats(&disk)->broken, VG_BROKEN_NOT);
	}
	start(QUEUES, true, true);
	storm(ALL, 10);
	stop();
}

/*
 * Its queue is ended before the main thread has heard of it: heard all the
 * same.
 */
static void a_bad_ring_of_a_queue_that_ends(void **state)
{
	static const struct {
		uint32_t reg, value;
	} end[] = {
		{ VIRTIO_MMIO_QUEUE_READY, 0 }, { 0x0c0, 1 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		start(QUEUES, true, true);
		storm(ALL, 5);
		d.q[0].avail->ring[d.q[0].avail_idx++ % d.q[0].num] = 0x7777;
		drv_publish(&d.q[0]);
		drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
		rig_worker_of(GUEST)->is_hung = true;
		assert_int_equal(fake_mmio_start(GUEST, 1, disk.base +
						 end[i % 2].reg, 4, true,
						 end[i % 2].value), 0);
		rig_steps(5);
		fake_guest_notify(GUEST, d.q[0].port);
		usleep(100000);			/* its thread's turn */
		rig_worker_of(GUEST)->is_hung = false;
		assert_true(rig_until(fake_mmio_done(GUEST, 1, NULL)));
		assert_true(rig_until(drv_needs_reset(&d)));
		assert_int_equal(rig_stats(&disk)->broken, VG_BROKEN_HEAD);
		assert_int_equal(rig_stats(&disk)->broken_queue, 0);
		stop();
	}
	start(QUEUES, true, true);
	storm(ALL, 10);
	stop();
}

/* Two find one at the same time: one reason, once. */
static void bad_rings_at_once(void **state)
{
	unsigned int i, q;

	(void)state;
	for (i = 0; i < 5; i++) {
		uint64_t before = rig_stats(&disk)->broken_count;

		start(QUEUES, false, true);
		for (q = 0; q < QUEUES; q++) {
			d.q[q].avail_idx += 1000;
			drv_kick(&d, &d.q[q], true);
		}
		assert_true(rig_until(drv_needs_reset(&d)));
		rig_steps(20);
		assert_int_equal(rig_stats(&disk)->broken,
				 VG_BROKEN_AVAIL_INDEX);
		assert_int_equal(rig_stats(&disk)->broken_count, before + 1);
		stop();
	}
}

static void another_broker(void **state)
{
	unsigned int i;

	(void)state;
	start(QUEUES, false, false);
	for (i = 0; i < 3; i++) {
		fill(ALL);
		rig_broker_stop(true);
		assert_int_equal(rig_broker_start(), 0);
		assert_true(rig_until(drv_read(&d, 0) == 0x74726976));
		storm(ALL, 20);
	}
	stop();
}

/* While each of them checks requests against what there was before. */
static void grown_under_load(void **state)
{
	unsigned int i;
	char *text;

	(void)state;
	start(QUEUES, true, true);
	for (i = 2; i < 12; i++) {
		fill(ALL);
		assert_int_equal(truncate(disk.params, i * RIG_IMAGE_BYTES), 0);
		fake_enter_proc(rig.sup_proc);
		text = vg_supervisor_answer(rig.sup,
					    "resize dom3 virtio_disk/51712", 0);
		assert_ptr_equal(text, VG_CTL_LATER);
		storm(ALL, 20);
		assert_true(rig_until(drv_config(&d, 0, 8) ==
				      i * (RIG_IMAGE_BYTES / 512)));
	}
	assert_false(drv_needs_reset(&d));
	stop();
}

/* Its threads end with what was under way done, and begin where they were. */
static void another_daemon(void **state)
{
	unsigned int i;

	(void)state;
	start(QUEUES, true, true);
	for (i = 0; i < 3; i++) {
		storm(ALL, 10);
		fill(ALL);
		rig_sup_stop();
		fill(ALL);
		assert_true(rig_until(!rig_worker_of(GUEST)));
		assert_lanes(0);
		assert_int_equal(fake_maps_held(RIG_BACKEND), 0);
		assert_int_equal(rig_sup_start(), 0);
		storm(ALL, 20);
		assert_lanes(QUEUES);
	}
	assert_false(drv_needs_reset(&d));
	assert_int_equal(rig_stats(&disk)->takeovers, 3);
	stop();
}

static void removal_under_load(void **state)
{
	(void)state;
	start(QUEUES, true, true);
	storm(ALL, 10);
	fill(ALL);
	assert_true(rig_disk_remove(&disk));
	assert_lanes(0);
	assert_int_equal(drv_exit(&d), 0);
	assert_int_equal(data_end(), 0);
	disk = rig_disk(GUEST, 1);
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
}

/* Its successor goes on with all queues, each in a thread again. */
static void killed_under_load(void **state)
{
	unsigned int i, k, q;

	(void)state;
	assert_lanes(0);
	start(QUEUES, true, true);
	for (i = 0; i < 4; i++) {
		storm(ALL, 5);
		fill(ALL);
		rig_steps(i);
		rig_worker_kill(rig_worker_of(GUEST));
		assert_true(rig_until(rig_worker_of(GUEST)));
		storm(ALL, 20);
		assert_false(drv_needs_reset(&d));
		/* A killed one's threads stay here, parked. */
		assert_lanes((i + 2) * QUEUES);
	}
	assert_int_equal(rig_stats(&disk)->takeovers, i);
	for (q = 0; q < QUEUES; q++)
		for (k = 0; k < DEPTH; k++)
			assert_true(cell[q][k].round > 4);
	assert_int_equal(drv_reset(&d), 0);
	assert_lanes(i * QUEUES);
}

/* Memory for two requests, wanted by three queues of eight. */
static void a_budget_for_all(void **state)
{
	struct vg_dev_stats st;

	(void)state;
	assert_true(rig_disk_remove(&disk));
	rig_sup_stop();
	rig_steps(10);
	rig.cfg.budget_pages = 3 + 3 * QUEUES;
	assert_int_equal(rig_sup_start(), 0);
	disk = rig_disk(GUEST, 1);
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	start(QUEUES, false, true);
	storm(ALL, 20);
	vg_worker_stats(rig_worker_of(GUEST)->shared, 0, VG_WORKER_QUEUES_MAX,
			&st);
	assert_true(st.mem.waits > 0);
	assert_in_range(st.mem.mapped_pages_max, 1, 3 + 3 * QUEUES);
	stop();
}

/* Without a handle for each, the main thread runs them all. */
static void no_handles_no_threads(void **state)
{
	(void)state;
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
	disk = rig_disk(GUEST, 1);
	/* The worker's own, then one of the queues'. */
	fake_fail_nth(RIG_BACKEND, FAKE_EVTCHN_OPEN, 3, EMFILE);
	assert_true(rig_disk_add(&disk));
	assert_true(fake_failed(FAKE_EVTCHN_OPEN));
	assert_true(unit_logged("no threads for its queues"));
	d = rig_drv(&disk);
	start(QUEUES, true, true);
	assert_lanes(0);
	storm(ALL, 20);
	stop();
}

/* What is announced is registered with the kernel, and given back. */
static void ranges_are_registered(void **state)
{
	const uint64_t *registered = NULL;
	unsigned int i;

	(void)state;
	if (unit_logged("no io_uring here"))
		skip();
	for (i = 0; vg_dev_blk.stat_names[i]; i++)
		if (!strcmp(vg_dev_blk.stat_names[i], "registered"))
			registered = &queue_stats(1)->type[i];
	assert_non_null(registered);
	start(QUEUES, true, true);
	storm(ALL, 50);
	assert_true(count_read(*registered) >= 50);
	withdraw();
	i = (unsigned int)count_read(*registered);
	storm(ALL, 50);
	assert_int_equal(count_read(*registered), i);
	announce();
	storm(ALL, 50);
	assert_true(count_read(*registered) >= i + 50);
	stop();
	/* The main thread's, too. */
	start(1, true, false);
	storm(1, 50);
	stop();
}

/* Sixteen threads, and not one more, however many disks a guest has. */
static void threads_are_bounded(void **state)
{
	struct fake_disk more[7];
	unsigned int i, n = QUEUES;

	(void)state;
	for (i = 0; i < 7; i++) {
		struct drv o;

		more[i] = rig_disk(GUEST, i + 1);
		assert_true(rig_disk_add(&more[i]));
		o = rig_drv(&more[i]);
		assert_int_equal(drv_negotiate(&o), 0);
		n += o.features & DRV_BIT(VIRTIO_BLK_F_MQ) ?
		     (unsigned int)drv_config(&o, 34, 2) : 0;
		assert_int_equal(drv_reset(&o), 0);
	}
	assert_in_range(n, VG_WORKER_LANES_MAX - 1, VG_WORKER_LANES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(every_queue_has_a_thread),
		TEST(one_queue_needs_no_thread),
		TEST(reset_under_load),
		TEST(one_queue_ends_while_others_run),
		TEST(ranges_come_and_go),
		TEST(a_bad_ring_stops_all),
		TEST(a_bad_ring_of_a_queue_that_ends),
		TEST(bad_rings_at_once),
		TEST(another_broker),
		TEST(another_daemon),
		TEST(removal_under_load),
		TEST(grown_under_load),
		TEST(a_budget_for_all),
		TEST(no_handles_no_threads),
		TEST(threads_are_bounded),
#define TEST_URING(f) cmocka_unit_test_setup_teardown(f, setup_uring, teardown)
		TEST_URING(ranges_are_registered),
		TEST_URING(every_queue_has_a_thread),
		TEST_URING(reset_under_load),
		TEST_URING(one_queue_ends_while_others_run),
		TEST_URING(ranges_come_and_go),
		TEST_URING(a_bad_ring_stops_all),
		TEST_URING(removal_under_load),
		TEST_URING(grown_under_load),
		/* Last: it leaves threads behind. */
		TEST(killed_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
