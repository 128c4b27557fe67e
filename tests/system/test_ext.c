// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_ext.c - the extension of kernel/uapi/virtio_grant.h end to end:
 * persistent ranges and one event channel per queue, alone and together, what
 * they save, each of their errors, and what a hostile guest can do with them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "rig.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"

#define GUEST	3u
#define OTHER	4u
#define POOL	64u		/* pages of data */

static struct fake_disk disk[2];
static struct drv d, other;
static struct drv_buf data;

static uint64_t poll_max_ns;
static unsigned int budget_pages;

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.poll_max_ns = poll_max_ns;
	if (budget_pages)
		rig.cfg.budget_pages = budget_pages;
	if (rig_broker_start() || rig_sup_start())
		return -1;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk[0] = rig_disk(GUEST, 0);
	disk[1] = rig_disk(OTHER, 0);
	if (!rig_disk_add(&disk[0]) || !rig_disk_add(&disk[1]))
		return -1;
	d = rig_drv(&disk[0]);
	other = rig_drv(&disk[1]);
	return drv_start(&other, 1) || drv_negotiate(&d) ||
	       drv_queue_init(&d, 0, 64);
}

static int setup_polling(void **state)
{
	poll_max_ns = 1000000;
	return setup(state);
}

/* Every request is mapped. */
static int setup_budget(void **state)
{
	int err;

	budget_pages = 70;
	rig_copy_max_bytes = 0;
	err = setup(state);
	budget_pages = 0;
	rig_copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT;
	return err;
}

static int teardown(void **state)
{
	unsigned int i, busy;

	poll_max_ns = 0;

	busy = drv_reset(&d) || drv_exit(&d) || drv_reset(&other) ||
	       drv_exit(&other);
	for (i = 0; i < data.pages; i++)
		busy += fake_grant_end(GUEST, data.ref + i) == -EBUSY;
	data.pages = 0;
	return rig_teardown(state) || busy ? -1 : 0;
}

static void neighbour_reads(void)
{
	struct drv_buf b = drv_buf(&other, 4096, false);

	assert_int_equal(drv_blk_buf(&other, VIRTIO_BLK_T_IN, 3, &b, 0, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(b.va[9], unit_pattern(3 * 512 + 9));
	drv_buf_end(&other, &b);
}

/* Ring, headers and data: consecutive references, since made in a row. */
static void make_pool(void)
{
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	data = drv_buf(&d, POOL * 4096, false);
	assert_int_equal(d.hdrs.ref, d.q[0].mem.ref + d.q[0].mem.pages);
	assert_int_equal(data.ref, d.hdrs.ref + d.hdrs.pages);
}

static uint32_t announce(uint32_t sel, uint32_t first, uint32_t pages)
{
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, sel);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_FIRST, first);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_PAGES, pages);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	return drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE);
}

static uint32_t withdraw(uint32_t sel)
{
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, sel);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	return drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE);
}

static uint32_t announce_pool(void)
{
	return announce(0, d.q[0].mem.ref,
			data.ref + data.pages - d.q[0].mem.ref);
}

static uint32_t set_port(uint32_t queue, uint32_t port)
{
	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, queue);
	drv_write(&d, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
	return drv_read(&d, VIRTIO_GRANT_MMIO_QUEUE_STATE);
}

static xen_port_t bind_port(void)
{
	xen_port_t port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);

	assert_int_equal(set_port(0, port), VIRTIO_GRANT_QUEUE_BOUND);
	/* "The device gives an event of its own when it has bound the port." */
	assert_true(fake_guest_take_event(GUEST, port));
	d.q[0].port = port;
	return port;
}

static void go(void)
{
	assert_int_equal(drv_queue_enable(&d, 0), 0);
	assert_int_equal(drv_driver_ok(&d), 0);
}

static void go_with_everything(void)
{
	make_pool();
	assert_int_equal(announce_pool(), VIRTIO_GRANT_RANGE_HELD);
	bind_port();
	go();
}

/* Reads and writes of several shapes inside of the pool. */
static void traffic(unsigned int n, bool indirect)
{
	unsigned int i, k;

	for (i = 0; i < n; i++) {
		struct drv_seg s[2] = {
			{ data.addr + (i % 7) * 4096 + i * 3, 1536 + 512,
			  true },
			{ data.addr + 20 * 4096 + 4090 - i, 20480 - 1536,
			  true },
		};
		uint64_t sector = i % 50;

		memset(data.va, 0, POOL * 4096);
		assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, sector, s, 2,
					 indirect && i & 1, NULL),
				 VIRTIO_BLK_S_OK);
		for (k = 0; k < s[1].len_bytes; k += 301)
			assert_int_equal(data.va[20 * 4096 + 4090 - i + k],
				unit_pattern(sector * 512 + 2048 + k));
		assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT,
				sector * 8, &data, (i % 7) * 4096 + i * 3, 0 +
				512), VIRTIO_BLK_S_OK);
		/* Put the pattern back for the next reader. */
		for (k = 0; k < 512; k++)
			data.va[k] = unit_pattern(sector * 4096 + k);
		assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT, sector * 8,
					     &data, 0, 512), VIRTIO_BLK_S_OK);
	}
}

static void is_found_by_its_magic(void **state)
{
	(void)state;
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_MAGIC),
			 VIRTIO_GRANT_MAGIC);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_CAPS),
			 VIRTIO_GRANT_CAP_RANGES | VIRTIO_GRANT_CAP_EVTCHN |
			 VIRTIO_GRANT_CAP_FILLS);
	assert_true(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_MAX) >= 1);
}

/*
 * Each half, both, neither: the data are right, and with both nothing is
 * mapped, copied or trapped any more and no SPI is raised.
 */
static void combinations(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		bool ranges = i & 1, evtchn = i & 2;

		if (i) {
			assert_int_equal(drv_reset(&d), 0);
			assert_int_equal(drv_exit(&d), 0);
			drv_buf_end(&d, &data);
			assert_int_equal(drv_negotiate(&d), 0);
			assert_int_equal(drv_queue_init(&d, 0, 64), 0);
		}
		make_pool();
		if (ranges)
			assert_int_equal(announce_pool(),
					 VIRTIO_GRANT_RANGE_HELD);
		if (evtchn)
			bind_port();
		go();
		traffic(3, false);
		fake_count_reset();
		traffic(20, false);
		assert_int_equal(!fake_calls(RIG_BACKEND, FAKE_GNTTAB_MAP) &&
				 !fake_calls(RIG_BACKEND, FAKE_GNTTAB_UNMAP) &&
				 !fake_bytes_copied(RIG_BACKEND), ranges);
		assert_int_equal(!fake_calls(0, FAKE_IOREQ_COMPLETE) &&
				 !fake_calls(0, FAKE_IOREQ_RAISE_SPI), evtchn);
		if (evtchn)
			assert_true(fake_guest_take_event(GUEST, d.q[0].port));
		/* Indirect tables lie outside of the range here. */
		traffic(3, true);
		neighbour_reads();
	}
}

static void buffers_inside_and_outside(void **state)
{
	struct drv_buf out;
	struct drv_seg s;
	unsigned int k;

	(void)state;
	make_pool();
	out = drv_buf(&d, 8 * 4096, false);
	assert_int_equal(out.ref, data.ref + data.pages);
	assert_int_equal(announce_pool(), VIRTIO_GRANT_RANGE_HELD);
	go();
	/* Begins in the range, ends behind it. */
	s = (struct drv_seg){ out.addr - 6000, 8192 + 512 * 3, true };
	assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, 11, &s, 1, false, NULL),
			 VIRTIO_BLK_S_OK);
	for (k = 0; k < s.len_bytes; k += 13)
		assert_int_equal(*(data.va + POOL * 4096 - 6000 + k),
				 unit_pattern(11 * 512 + k));
	s = (struct drv_seg){ out.addr + 5, 20480, true };
	assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, 1, &s, 1, false, NULL),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(out.va[5 + 777], unit_pattern(512 + 777));
	drv_buf_end(&d, &out);		/* nothing of it stays mapped */
	assert_int_equal(fake_grant_maps(GUEST, out.ref), 0);
}

static void range_errors(void **state)
{
	unsigned int max = drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_MAX);
	unsigned int maps = fake_maps_held(RIG_BACKEND);
	struct drv_buf ro = drv_buf(&d, 4096, true), rw = drv_buf(&d, 8192,
								  false);
	xen_ref_t foreign = fake_grant(GUEST, 0, ro.pfn, 1, false);

	(void)state;
	assert_int_equal(announce(max, rw.ref, 1), VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(announce(0xffffffff, rw.ref, 1),
			 VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(announce(0, rw.ref, 0), VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(announce(0, 0xffffffff, 2),
			 VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(announce(0, 2, 0xffffffff),
			 VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(announce(0, ro.ref, 1), VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(announce(0, foreign, 1), VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(announce(0, 30000, 1), VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(announce(0, rw.ref, 3), VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(announce(0, 8, 0x40000000),
			 VIRTIO_GRANT_RANGE_TOO_MANY);
	assert_int_equal(fake_maps_held(RIG_BACKEND), maps);
	assert_int_equal(announce(0, rw.ref, 2), VIRTIO_GRANT_RANGE_HELD);
	/* A second announcement, whatever it reads as, loses nothing. */
	announce(0, rw.ref, 1);
	assert_int_equal(fake_grant_maps(GUEST, rw.ref), 1);
	assert_int_equal(fake_grant_end(GUEST, rw.ref + 1), -EBUSY);
	assert_int_equal(withdraw(0), VIRTIO_GRANT_RANGE_NONE);
	assert_int_equal(withdraw(0), VIRTIO_GRANT_RANGE_NONE);
	assert_int_equal(fake_maps_held(RIG_BACKEND), maps);
	drv_buf_end(&d, &rw);
	drv_buf_end(&d, &ro);
	assert_false(drv_needs_reset(&d));
}

static void range_under_a_ready_queue(void **state)
{
	(void)state;
	make_pool();
	assert_int_equal(announce_pool(), VIRTIO_GRANT_RANGE_HELD);
	go();
	assert_int_equal(withdraw(0), VIRTIO_GRANT_RANGE_IN_USE);
	traffic(2, true);
	/* Reset withdraws: everything can be taken back (teardown). */
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(fake_grant_maps(GUEST, data.ref), 0);
}

/* More, and more often, than a driver would: bounded, and all unmapped. */
static void ranges_in_a_circle(void **state)
{
	unsigned int i, k, max = drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_MAX);
	unsigned int maps = fake_maps_held(RIG_BACKEND);

	(void)state;
	make_pool();
	for (i = 0; i < 50; i++) {
		for (k = 0; k < max; k++)
			assert_int_equal(announce(k, data.ref + k, 1 + i % 3),
					 VIRTIO_GRANT_RANGE_HELD);
		for (k = 0; k < max; k++)
			assert_int_equal(withdraw(k), VIRTIO_GRANT_RANGE_NONE);
	}
	assert_int_equal(fake_maps_held(RIG_BACKEND), maps);
	neighbour_reads();
}

static void port_errors(void **state)
{
	xen_port_t not_ours = fake_guest_alloc_unbound(GUEST, 0);
	xen_port_t port, second;

	(void)state;
	assert_int_equal(set_port(0, 999), VIRTIO_GRANT_QUEUE_REFUSED);
	assert_int_equal(set_port(0, 0xffffffff), VIRTIO_GRANT_QUEUE_REFUSED);
	assert_int_equal(set_port(0, not_ours), VIRTIO_GRANT_QUEUE_REFUSED);
	port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);
	assert_int_equal(set_port(5, port), VIRTIO_GRANT_QUEUE_REFUSED);
	assert_int_equal(set_port(0, port), VIRTIO_GRANT_QUEUE_BOUND);
	/* A new one takes the place of the old, which is free again. */
	second = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);
	assert_int_equal(set_port(0, second), VIRTIO_GRANT_QUEUE_BOUND);
	fake_guest_take_event(GUEST, port);
	assert_int_equal(set_port(0, 0), VIRTIO_GRANT_QUEUE_NONE);
	fake_guest_take_event(GUEST, second);
	make_pool();
	go();
	traffic(2, true);
	assert_false(fake_guest_take_event(GUEST, port));
	assert_false(fake_guest_take_event(GUEST, second));
}

/* The guest closes its end, or floods it. */
static void port_misuse(void **state)
{
	xen_port_t port;
	unsigned int i;

	(void)state;
	make_pool();
	port = bind_port();
	go();
	for (i = 0; i < 3000; i++) {
		fake_guest_notify(GUEST, port);
		if (i % 100 == 0) {
			neighbour_reads();
			rig_step();
		}
	}
	traffic(1, true);
	assert_int_equal(fake_guest_close(GUEST, port), 0);
	/* QueueNotify stays valid. */
	d.q[0].port = 0;
	traffic(2, true);
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(set_port(0, 0), VIRTIO_GRANT_QUEUE_NONE);
}

/* The successor maps the ranges again and binds the port again. */
static void worker_killed_and_followed(void **state)
{
	unsigned int i;

	(void)state;
	go_with_everything();
	traffic(2, true);
	for (i = 0; i < 3; i++) {
		rig_worker_kill(rig_worker_of(GUEST));
		assert_int_equal(fake_grant_maps(GUEST, data.ref), 0);
		traffic(2, true);
		assert_int_equal(fake_grant_maps(GUEST, data.ref), 1);
	}
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
			 VIRTIO_GRANT_RANGE_HELD);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_QUEUE_STATE),
			 VIRTIO_GRANT_QUEUE_BOUND);
	assert_false(drv_needs_reset(&d));
}

/* kill -9 of the worker: Xen takes all of it back, the guest can, too. */
static void worker_killed_with_everything(void **state)
{
	unsigned int i;

	(void)state;
	go_with_everything();
	traffic(2, true);
	rig_worker_kill(rig_worker_of(GUEST));
	for (i = 0; i < data.pages; i++)
		assert_int_equal(fake_grant_maps(GUEST, data.ref + i), 0);
	assert_int_equal(fake_guest_close(GUEST, d.q[0].port), 0);
	d.q[0].port = 0;
	assert_true(rig_until(rig_worker_of(GUEST)));
	/* Without the port it is not the device that it was. */
	assert_true(rig_until(drv_needs_reset(&d)));
	/* The successor has nothing of it. */
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
			 VIRTIO_GRANT_RANGE_NONE);
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	drv_buf_end(&d, &data);
	assert_int_equal(drv_negotiate(&d), 0);
	assert_int_equal(drv_queue_init(&d, 0, 64), 0);
	go_with_everything();
	traffic(2, true);
}

static void disk_removed_with_everything(void **state)
{
	unsigned int i;

	(void)state;
	go_with_everything();
	traffic(1, true);
	assert_true(rig_disk_remove(&disk[0]));
	for (i = 0; i < data.pages; i++)
		assert_int_equal(fake_grant_maps(GUEST, data.ref + i), 0);
	rig_steps(10);
	/* For the teardown, which wants a device. */
	assert_int_equal(drv_exit(&d), 0);
	drv_buf_end(&d, &data);
	data.pages = 0;
	assert_true(rig_disk_add(&disk[0]));
}

/* Keeps so many under way, and looks at the used ring only when it is told. */
static void waits_to_be_told(unsigned int depth, unsigned int requests)
{
	struct drv_queue *q = &d.q[0];
	unsigned int sent = 0, done = 0, under_way = 0;

	while (done < requests) {
		while (under_way < depth && sent < requests) {
			uint8_t *status;
			struct drv_seg s = { data.addr + sent % 16 * 4096,
					     4096, true };

			assert_true(drv_blk_add(&d, q, VIRTIO_BLK_T_IN,
						sent % 50, &s, 1, false,
						&status) >= 0);
			drv_kick(&d, q, false);
			rig_step();
			sent++;
			under_way++;
		}
		/* The last of them: when the time to look is over. */
		if (sent == requests)
			usleep(2000);
		assert_true(rig_until(fake_guest_take_event(GUEST, q->port)));
		while (drv_take(q, NULL) >= 0) {
			done++;
			under_way--;
		}
	}
}

/* However long notifications are held back, none is lost. */
static void looks_on(void **state)
{
	const struct vg_dev_stats *st;

	(void)state;
	go_with_everything();
	waits_to_be_told(1, 300);
	waits_to_be_told(16, 3000);
	waits_to_be_told(4, 300);
	waits_to_be_told(1, 300);
	assert_true(rig_until(rig_stats(&disk[0])->requests == 3900));
	st = rig_stats(&disk[0]);
	assert_int_equal(st->mem.copies, 0);
	/* Others may have wanted the processor all the time. */
	assert_true(st->polls_hit || st->polls_stolen);
	traffic(2, true);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A read of @pages that lie in one piece, through the whole of them. */
static void read_pages(const struct drv_buf *b, unsigned int first,
		       unsigned int pages)
{
	struct drv_seg s = { b->addr + first * 4096, pages * 4096, true };
	unsigned int i;

	memset(b->va + first * 4096, 0, pages * 4096);
	assert_int_equal(drv_blk(&d, VIRTIO_BLK_T_IN, 0, &s, 1, false, NULL),
			 VIRTIO_BLK_S_OK);
	for (i = 0; i < pages * 4096; i += 61)
		assert_int_equal(b->va[first * 4096 + i], unit_pattern(i));
	assert_true(rig_stats(&disk[0])->mem.mapped_pages_max <= 70);
}

/* One budget, of which a range has what the rest leaves. */
static void one_budget(void **state)
{
	struct drv_buf range, b;
	unsigned int maps;

	(void)state;
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	go();
	b = drv_buf(&d, 60 * 4096, false);
	range = drv_buf(&d, 70 * 4096, false);
	/* Too large beside the ring: held, and reached like any other. */
	assert_int_equal(announce(0, range.ref, 70), VIRTIO_GRANT_RANGE_HELD);
	assert_int_equal(fake_grant_maps(GUEST, range.ref), 0);
	read_pages(&range, 0, 60);
	assert_int_equal(announce(1, b.ref, 1), VIRTIO_GRANT_RANGE_TOO_MANY);
	assert_int_equal(withdraw(0), VIRTIO_GRANT_RANGE_NONE);

	/* Fits, is used, and gives way to what does not fit beside it. */
	assert_int_equal(announce(0, range.ref, 40), VIRTIO_GRANT_RANGE_HELD);
	assert_int_equal(fake_grant_maps(GUEST, range.ref), 1);
	read_pages(&range, 20, 20);
	read_pages(&b, 0, 20);
	assert_int_equal(fake_grant_maps(GUEST, range.ref), 1);
	read_pages(&b, 0, 60);
	assert_int_equal(fake_grant_maps(GUEST, range.ref), 0);
	read_pages(&range, 0, 40);
	assert_int_equal(withdraw(0), VIRTIO_GRANT_RANGE_NONE);

	/* Announced anew it is mapped again; a ring has the better right. */
	assert_int_equal(announce(0, range.ref, 60), VIRTIO_GRANT_RANGE_HELD);
	maps = fake_maps_held(RIG_BACKEND);
	assert_int_equal(fake_grant_maps(GUEST, range.ref), 1);
	assert_int_equal(drv_reset(&d), 0);
	assert_true(fake_maps_held(RIG_BACKEND) < maps);
	assert_int_equal(rig_stats(&disk[0])->mem.mapped_pages_now, 0);
	assert_int_equal(rig_stats(&disk[0])->broken_count, 0);
	drv_buf_end(&d, &b);
	drv_buf_end(&d, &range);
}

/*
 * Asked while the last worker's I/O is under way: answered when that is over.
 */
static void withdrawn_while_held(void **state)
{
	char path[512];
	int fd;

	(void)state;
	go_with_everything();
	traffic(5, false);
	snprintf(path, sizeof(path), "%s/%u-virtio_disk-51712", rig.state_dir,
		 GUEST);
	rig_worker_kill(rig_worker_of(GUEST));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_true(rig_until(rig_stats(&disk[0]) &&
			      rig_stats(&disk[0])->takeovers));
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	assert_int_equal(fake_mmio_start(GUEST, 0, disk[0].base +
			 VIRTIO_GRANT_MMIO_RANGE_STATE, 4, true, 0), 0);
	rig_steps(100);
	assert_true(fake_mmio_waits(GUEST, 0));
	close(fd);
	assert_true(rig_until(fake_mmio_done(GUEST, 0, NULL)));
	/* The ring lies in it. */
	assert_int_equal(drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE),
			 VIRTIO_GRANT_RANGE_IN_USE);
	traffic(5, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(is_found_by_its_magic),
		T(combinations),
		T(buffers_inside_and_outside),
		T(range_errors),
		T(range_under_a_ready_queue),
		T(ranges_in_a_circle),
		T(port_errors),
		T(port_misuse),
		T(worker_killed_and_followed),
		T(worker_killed_with_everything),
		T(disk_removed_with_everything),
		T(withdrawn_while_held),
		cmocka_unit_test_setup_teardown(one_budget, setup_budget,
						teardown),
		cmocka_unit_test_setup_teardown(looks_on, setup_polling,
						teardown),
	};

	return cmocka_run_group_tests_name("extension", tests, NULL, NULL);
}
