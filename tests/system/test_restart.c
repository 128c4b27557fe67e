// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_restart.c - one of broker, supervisor, worker dies, hangs or is
 * replaced while a guest uses its disk.  No vCPU waits for ever, neighbours
 * go on, and afterwards the disk works again, if need be after a reset.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pair.h"
#include "virtio/state.h"

#include "kernel/uapi/virtio_grant.h"

#define WATCHDOG_MS	400u

/* After whatever happened: a reset gives everything back. */
static int teardown(void **state)
{
	unsigned int i, busy = 0;

	for (i = 0; i < 2; i++)
		busy += drv_reset(&pair[i]) || drv_exit(&pair[i]);
	return rig_teardown(state) || busy ? -1 : 0;
}

static void again(unsigned int i)
{
	assert_int_equal(drv_reset(&pair[i]), 0);
	assert_int_equal(drv_exit(&pair[i]), 0);
	pair[i].hdrs.pages = 0;
	assert_int_equal(drv_start(&pair[i], 1), 0);
	assert_int_equal(pair_io(&pair[i]), 0);
}

/* ---- broker ------------------------------------------------------------- */

static void broker_replaced(void **state)
{
	long ref = fake_libxl_disk_key(&pair_disk[0], "relay-ref");
	unsigned int i;

	(void)state;
	rig_broker_stop(true);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_int_equal(rig_broker_start(), 0);
	assert_true(rig_until(fake_libxl_disk_key(&pair_disk[0], "relay-ref") !=
			      ref));
	rig_steps(10);
	/* No reset: the device's state is the worker's. */
	for (i = 0; i < 2; i++) {
		assert_false(drv_needs_reset(&pair[i]));
		assert_int_equal(pair_io(&pair[i]), 0);
		assert_int_equal(fake_ioreq_servers((xen_domid_t)(GUEST + i)),
				 1);
	}
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 2);
	/* One relay page each, not two. */
	assert_int_equal(rig_stats(&pair_disk[0])->broken, VG_BROKEN_NOT);
}

static void broker_killed_under_an_access(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);
	uint64_t data = 0;

	(void)state;
	rw->is_hung = true;
	assert_int_equal(
		fake_mmio_start(GUEST, 1, pair_disk[0].base, 4, false, 0), 0);
	rig_steps(3);
	rig_broker_kill();
	rw->is_hung = false;
	rig_steps(10);
	assert_true(fake_mmio_waits(GUEST, 1));
	assert_int_equal(
		fake_mmio_start(OTHER, 0, pair_disk[1].base, 4, false, 0), 0);
	assert_int_equal(rig_broker_start(), 0);
	assert_true(rig_until(fake_mmio_done(GUEST, 1, &data)));
	assert_int_equal(data, 0x74726976);
	assert_true(rig_until(fake_mmio_done(OTHER, 0, &data)));
	assert_int_equal(data, 0x74726976);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* The notification is in a relay page that nobody will look at any more. */
static void broker_killed_with_a_notification(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);
	struct drv_seg s;
	struct drv_buf b = drv_buf(&pair[0], 4096, false);
	uint8_t *status;
	int head;

	(void)state;
	s = (struct drv_seg){ b.addr, 4096, true };
	head = drv_blk_add(&pair[0], &pair[0].q[0], VIRTIO_BLK_T_IN, 0, &s, 1,
			   false, &status);
	rw->is_hung = true;
	/* The worker was not even told. */
	fake_fail_nth(0, FAKE_EVTCHN_NOTIFY, 1, EIO);
	drv_kick(&pair[0], &pair[0].q[0], true);
	assert_true(fake_failed(FAKE_EVTCHN_NOTIFY));
	rig_broker_kill();
	assert_int_equal(rig_broker_start(), 0);
	rw->is_hung = false;
	assert_int_equal(drv_wait(&pair[0], &pair[0].q[0], head, NULL), 0);
	assert_int_equal(*status, VIRTIO_BLK_S_OK);
	drv_buf_end(&pair[0], &b);
}

/* An interrupt that the old broker had raised but nobody had acknowledged. */
static void broker_killed_with_an_interrupt(void **state)
{
	uint64_t spis;

	(void)state;
	pair[0].no_irq_ack = true;
	assert_int_equal(pair_io(&pair[0]), 0);
	spis = fake_spi_count(GUEST, pair[0].irq);
	rig_broker_kill();
	assert_int_equal(rig_broker_start(), 0);
	assert_true(rig_until(fake_spi_count(GUEST, pair[0].irq) > spis));
	assert_true(drv_irq(&pair[0]) & 1);
	pair[0].no_irq_ack = false;
}

static void broker_killed_often(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 20; i++) {
		rig_steps(i % 7);
		rig_broker_kill();
		assert_int_equal(rig_broker_start(), 0);
		assert_int_equal(pair_io(&pair[i % 2]), 0);
	}
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_false(drv_needs_reset(&pair[0]));
}

/* ---- the broker's process of one guest ---------------------------------- */

/* Neither the backend nor the guest notices: page, port and server are kept. */
static void broker_child_killed_under_an_access(void **state)
{
	long ref = fake_libxl_disk_key(&pair_disk[0], "relay-ref");
	struct rig_worker *rw = rig_worker_of(GUEST);
	uint64_t data = 0;

	(void)state;
	rw->is_hung = true;
	assert_int_equal(
		fake_mmio_start(GUEST, 1, pair_disk[0].base, 4, false, 0), 0);
	rig_steps(3);
	rig_bchild_kill(rig_bchild_of(GUEST));
	rig_steps(3);
	rw->is_hung = false;
	assert_true(rig_until(fake_mmio_done(GUEST, 1, &data)));
	assert_int_equal(data, 0x74726976);
	assert_true(unit_logged("dom3: its process ended unexpectedly"));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "relay-ref"), ref);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_false(drv_needs_reset(&pair[0]));
}

static void broker_child_killed_often(void **state)
{
	long ref = fake_libxl_disk_key(&pair_disk[0], "relay-ref");
	unsigned int i;

	(void)state;
	for (i = 0; i < 6; i++) {
		rig_steps(i % 7);
		assert_true(rig_until(rig_bchild_of(GUEST)));
		rig_bchild_kill(rig_bchild_of(GUEST));
		assert_int_equal(pair_io(&pair[0]), 0);
	}
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "relay-ref"), ref);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_false(drv_needs_reset(&pair[0]));
}

/* The old children are not gone yet when the new ones are there. */
static void broker_parent_killed(void **state)
{
	uint64_t data = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		assert_int_equal(fake_mmio_start(GUEST, 1, pair_disk[0].base, 4,
						 false, 0), 0);
		rig_broker_kill_parent();
		assert_int_equal(rig_broker_start(), 0);
		assert_true(rig_until(fake_mmio_done(GUEST, 1, &data)));
		assert_int_equal(data, 0x74726976);
		assert_int_equal(pair_io(&pair[0]), 0);
		assert_int_equal(pair_io(&pair[1]), 0);
	}
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
}

/* One that hangs is one that is dead, from the watchdog's time on. */
static void broker_child_hangs(void **state)
{
	long ref = fake_libxl_disk_key(&pair_disk[0], "relay-ref");
	struct rig_bchild *rc = rig_bchild_of(GUEST);
	uint64_t data = 0, began;

	(void)state;
	/* While it turns, nothing happens to it. */
	began = rig_now_ms();
	while (rig_now_ms() - began < 3 * WATCHDOG_MS)
		rig_step();
	assert_true(rig_bchild_of(GUEST) == rc);
	assert_false(unit_logged("does not answer"));
	rc->is_hung = true;
	began = rig_now_ms();
	assert_int_equal(
		fake_mmio_start(GUEST, 1, pair_disk[0].base, 4, false, 0), 0);
	assert_true(rig_until(fake_mmio_done(GUEST, 1, &data)));
	assert_true(rig_now_ms() - began < 3 * WATCHDOG_MS);
	assert_int_equal(data, 0x74726976);
	assert_true(unit_logged("dom3: its process does not answer"));
	assert_true(unit_logged("dom3: its process ended unexpectedly"));
	assert_false(unit_logged("dom4: its process"));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "relay-ref"), ref);
	assert_int_equal(fake_ioreq_servers(GUEST), 1);
	assert_false(drv_needs_reset(&pair[0]));
}

/* So does one that never gets as far as saying that it is there. */
static void broker_child_hangs_at_its_start(void **state)
{
	uint64_t began = rig_now_ms(), data = 0;
	struct rig_bchild *rc;

	(void)state;
	rig_bchild_kill(rig_bchild_of(GUEST));
	while (!(rc = rig_bchild_of(GUEST))) {
		fake_enter_proc(rig.broker_proc);
		vg_loop_run_once(rig.broker_loop, 0);
	}
	rc->is_hung = true;
	assert_int_equal(
		fake_mmio_start(GUEST, 1, pair_disk[0].base, 4, false, 0), 0);
	while (!fake_mmio_done(GUEST, 1, &data) &&
	       rig_now_ms() - began < 10000)
		rig_step();
	assert_int_equal(data, 0x74726976);
	assert_int_equal(pair_io(&pair[0]), 0);
}

/* The broker itself did not run for long: nobody is to blame. */
static void broker_parent_was_asleep(void **state)
{
	struct rig_bchild *rc = rig_bchild_of(GUEST);
	uint64_t began;
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		began = rig_now_ms();
		rig.broker_hung = rc->is_hung = true;
		while (rig_now_ms() - began < 2 * WATCHDOG_MS)
			rig_step();
		rig.broker_hung = rc->is_hung = false;
		rig_steps(4);
	}
	assert_true(rig_bchild_of(GUEST) == rc);
	assert_false(unit_logged("does not answer"));
}

/* What a child that was taken over can say: its own devices suffer, at most. */
static void broker_child_is_not_believed(void **state)
{
	struct vg_bchild_msg m = { .op = VG_BCHILD_ADDED, .error = -EIO };
	struct rig_bchild *rc = rig_bchild_of(GUEST);
	unsigned int i;

	(void)state;
	for (i = 0; i < 20; i++) { /* wrong serial, no such op, no device */
		m.serial = i % 2 ? 77 : 0;
		m.op = i % 5 ? VG_BCHILD_ADDED : i;
		m.dev_index = i % VG_BROKER_DEVICES_MAX;
		assert_int_equal(vg_bchild_send(rc->sock, &m, NULL), 0);
		rig_steps(2);
	}
	m.op = VG_BCHILD_UP;
	m.error = 0;
	m.server_id = 0x12345;
	assert_int_equal(vg_bchild_send(rc->sock, &m, NULL), 0);
	m.dev_index = 1000;
	assert_int_equal(vg_bchild_send(rc->sock, &m, NULL), 0);
	/* No message: it is replaced. */
	assert_true(rig_until(unit_logged("ended unexpectedly")));
	rig_steps(20);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* Removed and added again while the broker does not look. */
static void same_disk_between_two_scans(void **state)
{
	long ref = fake_libxl_disk_key(&pair_disk[0], "relay-ref");

	(void)state;
	assert_int_equal(drv_reset(&pair[0]), 0);
	assert_int_equal(drv_exit(&pair[0]), 0);
	pair[0].hdrs.pages = 0;
	fake_libxl_disk_close(&pair_disk[0]);
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 6));
	rig.broker_hung = true;
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
	fake_libxl_disk_add(&pair_disk[0]);
	rig_steps(20);
	rig.broker_hung = false;
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 2));
	assert_int_not_equal(fake_libxl_disk_key(&pair_disk[0], "relay-ref"),
			     ref);
	assert_int_equal(drv_start(&pair[0], 1), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

static void broker_in_a_driver_domain(void **state)
{
	struct vg_broker_config cfg = { .answer_timeout_ns = 1000000000 };
	struct vg_broker *b;

	(void)state;
	fake_enter(RIG_BACKEND);
	assert_int_equal(vg_broker_create(&cfg, rig.sup_loop, &b), -EACCES);
	assert_true(unit_logged("only the control domain may read it"));
}

static void disk_without_grants_is_named(void **state)
{
	struct fake_disk other = rig_disk(GUEST, 3);
	char *text;

	(void)state;
	other.no_grants = true;
	fake_libxl_disk_add(&other);
	rig_steps(20);
	text = vg_broker_answer(rig.broker, "status", 0);
	assert_non_null(strstr(text, "does not have grant_usage=1"));
	free(text);
	fake_libxl_disk_remove(&other);
	rig_steps(20);
}

/* A guest's domid came back with another guest: its server is not adopted. */
static void broker_meets_another_guest(void **state)
{
	(void)state;
	rig_broker_stop(true);
	fake_store_write(0, "/local/domain/3/vm", "/vm/another");
	assert_int_equal(rig_broker_start(), 0);
	rig_steps(20);
	/* The stale one is Xen's to remove with its domain. */
	assert_int_equal(fake_ioreq_servers(GUEST), 2);
	assert_int_equal(pair_io(&pair[0]), 0);
	fake_domain_destroy(GUEST);
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
}

static int teardown_other(void **state)
{
	int busy = drv_reset(&pair[1]) || drv_exit(&pair[1]);

	return rig_teardown(state) || busy ? -1 : 0;
}

/* ---- worker ------------------------------------------------------------- */

static void worker_killed(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);

	(void)state;
	rig_worker_kill(rw);
	assert_int_equal(fake_maps_held(RIG_BACKEND), 4); /* the other's */
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_true(unit_logged("ended unexpectedly"));
	/* Its successor goes on where it was: no reset. */
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_int_equal(rig_stats(&pair_disk[0])->takeovers, 1);
	assert_int_equal(rig_stats(&pair_disk[0])->redone, 0);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 2);
	again(0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

static void worker_killed_under_an_access(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);
	uint64_t data;

	(void)state;
	rw->is_hung = true;
	assert_int_equal(fake_mmio_start(GUEST, 0, pair_disk[0].base + 0x70, 4,
					 false, 0), 0);
	rig_steps(3);
	rig_worker_kill(rw);
	/* The successor answers it, from the slot. */
	assert_true(rig_until(fake_mmio_done(GUEST, 0, &data)));
	assert_int_equal(data, VIRTIO_CONFIG_S_ACKNOWLEDGE |
			 VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
			 VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(pair_io(&pair[0]), 0);
}

static void worker_killed_while_removed(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);

	(void)state;
	rw->is_hung = true;
	fake_libxl_disk_close(&pair_disk[0]);
	rig_steps(5);
	rig_worker_kill(rw);
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 6));
	fake_libxl_disk_remove(&pair_disk[0]);
	rig_steps(20);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_int_equal(drv_exit(&pair[0]), 0);
}

static void worker_killed_often(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		assert_true(rig_until(rig_worker_of(GUEST)));
		assert_int_equal(pair_io(&pair[0]), 0);
		rig_steps(i * 3);
		rig_worker_kill(rig_worker_of(GUEST));
		assert_int_equal(pair_io(&pair[1]), 0);
	}
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_int_equal(rig_stats(&pair_disk[0])->takeovers, i);
	again(0);
}

/* ---- what outlives a worker --------------------------------------------- */

static char *state_file(unsigned int i)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%u-virtio_disk-%u", rig.state_dir,
		 pair_disk[i].guest, pair_disk[i].devid);
	return path;
}

static unsigned int nr_states(void)
{
	DIR *dir = opendir(rig.state_dir);
	unsigned int n = 0;
	struct dirent *e;

	while ((e = readdir(dir)))
		n += *e->d_name != '.';
	closedir(dir);
	return n;
}

/* How often this process has it open so. */
static unsigned int nr_open(const char *path, int accmode)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;
	struct stat sb, want;
	struct dirent *e;

	assert_int_equal(stat(path, &want), 0);
	while ((e = readdir(dir))) {
		int fd = atoi(e->d_name);

		n += *e->d_name != '.' && !fstat(fd, &sb) &&
		     sb.st_dev == want.st_dev && sb.st_ino == want.st_ino &&
		     (fcntl(fd, F_GETFL) & O_ACCMODE) == accmode;
	}
	closedir(dir);
	return n;
}

/* Who takes a worker over could make a file grow that it has open to write. */
static void state_is_not_writable(void **state)
{
	(void)state;
	assert_int_equal(nr_open(state_file(0), O_RDONLY), 1);
	assert_int_equal(nr_open(state_file(0), O_RDWR), 0);
	rig_worker_kill(rig_worker_of(GUEST));
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(nr_open(state_file(0), O_RDONLY), 1);
	assert_int_equal(nr_open(state_file(0), O_RDWR), 0);
	again(0);
}

static void state_is_lost(void **state)
{
	(void)state;
	assert_int_equal(unlink(state_file(0)), 0);
	rig_worker_kill(rig_worker_of(GUEST));
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_true(rig_until(drv_needs_reset(&pair[0])));
	assert_int_equal(rig_stats(&pair_disk[0])->broken, VG_BROKEN_STATE);
	assert_int_equal(pair_io(&pair[1]), 0);
	again(0);
	/* From then on there is one again. */
	rig_worker_kill(rig_worker_of(GUEST));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(drv_needs_reset(&pair[0]));
}

static void state_is_garbage(void **state)
{
	struct vg_state *st;
	int fd;

	(void)state;
	fd = open(state_file(0), O_RDWR | O_CLOEXEC);
	assert_int_equal(vg_state_map(fd, 1, &st), 0);
	st->regs[st->turn & 1].queue[0].num ^= 4;
	vg_state_unmap(st, 1);
	close(fd);
	rig_worker_kill(rig_worker_of(GUEST));
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_true(rig_until(drv_needs_reset(&pair[0])));
	assert_int_equal(rig_stats(&pair_disk[0])->broken, VG_BROKEN_STATE);
	again(0);
}

/* With a checksum that is right: values that no driver could have set. */
static void state_lies(void **state)
{
	struct vg_state_regs r;
	struct vg_state *st;
	unsigned int i;
	int fd;

	(void)state;
	for (i = 0; i < 7; i++) {
		fd = open(state_file(0), O_RDWR | O_CLOEXEC);
		assert_int_equal(vg_state_map(fd, 1, &st), 0);
		assert_int_equal(vg_state_read(st, 2, 1, &r), 0);
		switch (i) {
		case 0:
			r.driver_features |= UINT64_C(1) << 50;
			break;
		case 1:
			r.queue[0].num = 3;
			break;
		case 2:
			r.queue[0].num = 1u << 31;
			break;
		case 3:
			r.queue[0].device_addr = 0x1000;
			break;
		case 4:
			r.range[0].addr = virtio_grant_addr(0xfffffff0, 0);
			r.range[0].len_bytes = 0x20 << 12;
			break;
		case 5:
			r.queue[0].flags |= VG_STATE_Q_CHANNEL;
			r.queue[0].channel = 4711;
			break;
		case 6:
			r.broken = 4711;
			break;
		}
		vg_state_write(st, &r);
		vg_state_unmap(st, 1);
		close(fd);
		rig_worker_kill(rig_worker_of(GUEST));
		assert_true(rig_until(rig_worker_of(GUEST)));
		assert_true(rig_until(drv_needs_reset(&pair[0])));
		assert_int_equal(pair_io(&pair[1]), 0);
		again(0);
	}
}

/* As the kernel holds it, for the I/O of a worker that died. */
static int lock_io(unsigned int i)
{
	int fd;

	rig_worker_kill(rig_worker_of((xen_domid_t)(GUEST + i)));
	fd = open(state_file(i), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	return fd;
}

static bool is_taken_over(void)
{
	const struct vg_dev_stats *st = rig_stats(&pair_disk[0]);

	return st && st->takeovers;
}

static bool is_said_held(void)
{
	char *text = vg_supervisor_answer(rig.sup, "status", 0);
	bool is = strstr(text, "\"held\":true");

	free(text);
	return is;
}

/*
 * Somebody's I/O is not done yet: no request is before it is, but the registers
 * are served, or the driver would believe the device dead.
 */
static void last_io_is_waited_for(void **state)
{
	struct drv_buf b = drv_buf(&pair[0], 4096, false);
	struct drv_seg s = { b.addr, 4096, true };
	uint64_t began = rig_now_ms(), data = 0;
	uint8_t *status;
	int fd, head;

	(void)state;
	fd = lock_io(0);
	assert_true(rig_until(is_taken_over()));
	head = drv_blk_add(&pair[0], &pair[0].q[0], VIRTIO_BLK_T_IN, 0, &s, 1,
			   false, &status);
	drv_publish(&pair[0].q[0]);
	drv_kick(&pair[0], &pair[0].q[0], true);
	assert_int_equal(fake_mmio_read(GUEST, 0, pair_disk[0].base, 4, &data),
			 0);
	assert_int_equal(data, 0x74726976);
	assert_true(rig_now_ms() - began < 3000);
	while (!unit_logged("waits for I/O that its last worker had begun") &&
	       rig_now_ms() - began < 10000)
		rig_step();
	assert_true(
		unit_logged("waits for I/O that its last worker had begun"));
	assert_int_equal(rig_stats(&pair_disk[0])->requests, 0);
	assert_true(is_said_held());
	assert_int_equal(pair_io(&pair[1]), 0);
	close(fd);
	assert_int_equal(drv_wait(&pair[0], &pair[0].q[0], head, NULL), 0);
	assert_int_equal(*status, VIRTIO_BLK_S_OK);
	drv_buf_end(&pair[0], &b);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(is_said_held());
	assert_int_equal(rig_stats(&pair_disk[0])->takeovers, 1);
	assert_false(drv_needs_reset(&pair[0]));
}

/*
 * What tells a driver that its buffers are its own again, is no less held back.
 */
static void reset_waits_for_the_last_io(void **state)
{
	int fd;

	(void)state;
	fd = lock_io(0);
	assert_true(rig_until(is_taken_over()));
	assert_int_equal(
		fake_mmio_start(GUEST, 0, pair_disk[0].base + 0x70, 4, true, 0),
		0);
	rig_steps(200);
	assert_true(fake_mmio_waits(GUEST, 0));
	assert_int_equal(rig_stats(&pair_disk[0])->resets, 0);
	close(fd);
	assert_true(rig_until(fake_mmio_done(GUEST, 0, NULL)));
	assert_int_equal(rig_stats(&pair_disk[0])->resets, 1);
	again(0);
}

/* The reset was begun under the dead worker: it is not done before, either. */
static void reset_begun(bool is_asked_again)
{
	struct vg_state_regs r;
	struct vg_state *st;
	uint64_t data;
	int fd;

	fd = lock_io(0);
	assert_int_equal(vg_state_map(fd, 1, &st), 0);
	assert_int_equal(vg_state_read(st, 2, 1, &r), 0);
	r.flags |= VG_STATE_RESETTING;
	vg_state_write(st, &r);
	vg_state_unmap(st, 1);
	assert_true(rig_until(is_taken_over()));
	assert_int_equal(fake_mmio_read(GUEST, 0, pair_disk[0].base + 0x70, 4,
					&data), 0);
	assert_int_not_equal(data, 0);
	if (is_asked_again) {
		assert_int_equal(fake_mmio_start(GUEST, 0,
						 pair_disk[0].base + 0x70, 4,
						 true, 0),
				 0);
		rig_steps(200);
		assert_true(fake_mmio_waits(GUEST, 0));
	}
	close(fd);
	assert_true(rig_until(rig_stats(&pair_disk[0])->resets));
	if (is_asked_again)
		assert_true(rig_until(fake_mmio_done(GUEST, 0, NULL)));
	assert_int_equal(fake_mmio_read(GUEST, 0, pair_disk[0].base + 0x70, 4,
					&data), 0);
	assert_int_equal(data, 0);
	again(0);
}

static void reset_begun_waits_for_the_last_io(void **state)
{
	(void)state;
	reset_begun(true);
	/* The broker did not wait for the answer, so it does not ask again. */
	reset_begun(false);
}

/* So are one queue's, and the withdrawal of a range. */
static void lesser_stops_wait_for_the_last_io(void **state)
{
	static const struct {
		unsigned int sel, at, value;
	} stops[] = {
		{ 0x30, 0x44, 0 },			/* QueueReady */
		{ VIRTIO_GRANT_MMIO_RANGE_SEL,
		  VIRTIO_GRANT_MMIO_RANGE_STATE, 0 },
	};
	unsigned int i;
	int fd;

	(void)state;
	fd = lock_io(0);
	assert_true(rig_until(is_taken_over()));
	for (i = 0; i < 2; i++) {
		assert_int_equal(fake_mmio_write(GUEST, i, pair_disk[0].base +
						 stops[i].sel, 4, 0), 0);
		assert_int_equal(fake_mmio_start(GUEST, i, pair_disk[0].base +
						 stops[i].at, 4, true,
						 stops[i].value), 0);
		rig_steps(100);
		assert_true(fake_mmio_waits(GUEST, i));
		if (i == 0)
			continue;
		close(fd);
		assert_true(rig_until(fake_mmio_done(GUEST, 0, NULL)));
		assert_true(rig_until(fake_mmio_done(GUEST, 1, NULL)));
	}
	again(0);
}

/* libxl removes it, or the daemon ends: the one waits, the other does not. */
static void ends_while_the_last_io_is_waited_for(void **state)
{
	int fd;

	(void)state;
	fd = lock_io(0);
	assert_true(rig_until(is_taken_over()));
	rig_sup_stop();
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(rig_worker_of(GUEST)));
	assert_true(rig_until(is_taken_over()));
	fake_libxl_disk_close(&pair_disk[0]);
	rig_steps(200);
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 5);
	close(fd);
	assert_true(
		rig_until(fake_libxl_disk_key(&pair_disk[0], "state") == 6));
	fake_libxl_disk_remove(&pair_disk[0]);
}

/* An old worker that is not gone yet: its successor does not even begin. */
static void last_worker_is_waited_for(void **state)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	uint64_t began = rig_now_ms();
	int fd;

	(void)state;
	rig_worker_kill(rig_worker_of(GUEST));
	fd = open(state_file(0), O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0);
	while (rig_now_ms() - began < 500)
		rig_step();
	assert_false(is_taken_over());
	close(fd);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_true(is_taken_over());
}

/* A request that no worker survives. */
static void worker_dies_each_time(void **state)
{
	struct drv_buf b = drv_buf(&pair[0], 4096, false);
	struct drv_seg s = { b.addr, 4096, true };
	uint64_t until = rig_now_ms() + 20000;
	unsigned int deaths = 0;
	uint8_t *status;

	(void)state;
	assert_true(drv_blk_add(&pair[0], &pair[0].q[0], VIRTIO_BLK_T_IN, 0, &s,
				1, false, &status) >= 0);
	rig.die_at = 4;		/* has taken it */
	drv_kick(&pair[0], &pair[0].q[0], true);
	while (!unit_logged("deaths of its worker in a row") &&
	       rig_now_ms() < until) {
		if (!rig.die_at && ++deaths)
			rig.die_at = 2;
		rig_step();
	}
	rig.die_at = 0;
	assert_in_range(deaths, 6, 12);
	assert_true(rig_until(drv_needs_reset(&pair[0])));
	/* The last one may have died while it said so. */
	assert_true(rig_stats(&pair_disk[0])->broken == VG_BROKEN_DEATHS ||
		    rig_stats(&pair_disk[0])->broken == VG_BROKEN_STATE);
	assert_int_equal(pair_io(&pair[1]), 0);
	again(0);
	drv_buf_end(&pair[0], &b);
}

static void states_come_and_go(void **state)
{
	char path[512];

	(void)state;
	assert_int_equal(nr_states(), 2);
	assert_true(rig_disk_remove(&pair_disk[0]));
	assert_int_equal(nr_states(), 1);
	rig_sup_kill();
	snprintf(path, sizeof(path), "%s/9-virtio_disk-51712", rig.state_dir);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(nr_states(), 2);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(nr_states() == 1));
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_int_equal(drv_exit(&pair[0]), 0);
}

/* ---- hung --------------------------------------------------------------- */

static int setup_short(void **state)
{
	(void)state;
	rig_up();
	rig.answer_timeout_ns = 200000000;
	return rig_broker_start() || rig_sup_start() ? -1 : pair_start();
}

/* Both were killed, and the broker is not back yet. */
static void supervisor_alone(void)
{
	rig_sup_kill();
	rig_until(!rig_worker_of(GUEST) && !rig_worker_of(OTHER));
	rig_broker_kill();
	rig.cfg.replace_ns = UINT64_C(100000000);
	assert_int_equal(rig_sup_start(), 0);
	rig_steps(100);
}

/*
 * Who comes first can't reach the device yet, and is given its files in vain:
 * they are the same device's when it can.
 */
static void supervisor_comes_first(void **state)
{
	uint64_t until;

	(void)state;
	supervisor_alone();
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	for (until = rig_now_ms() + 400; rig_now_ms() < until;)
		rig_step();
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_false(unit_logged("its worker is replaced"));
	assert_true(unit_logged("relay"));
}

/* The worker had its files already. */
static void removed_before_it_begins(void **state)
{
	struct fake_disk more = rig_disk(GUEST, 1);

	(void)state;
	assert_true(rig_disk_add(&more));
	supervisor_alone();
	assert_true(unit_logged("relay"));
	fake_libxl_disk_remove(&more);
	rig_steps(5);
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_true(rig_until(unit_logged("its worker is replaced")));
	assert_int_equal(pair_io(&pair[0]), 0);
}

static int setup_watched(void **state)
{
	int err;

	rig_watchdog_ns = WATCHDOG_MS * UINT64_C(1000000);
	err = pair_setup(state);
	rig_watchdog_ns = 0;
	return err;
}

static void worker_hangs(void **state)
{
	struct rig_worker *rw = rig_worker_of(GUEST);
	uint64_t begin;

	(void)state;
	rw->is_hung = true;
	begin = rig_now_ms();
	assert_int_equal(drv_read(&pair[0], VIRTIO_MMIO_STATUS), 0xffffffff);
	assert_true(rig_now_ms() - begin >= 190);
	assert_true(rig_now_ms() - begin < 2000);
	assert_true(drv_needs_reset(&pair[0]));
	begin = rig_now_ms();
	assert_int_equal(drv_read(&pair[0], VIRTIO_MMIO_STATUS), 0xffffffff);
	assert_true(rig_now_ms() - begin < 190);
	assert_int_equal(pair_io(&pair[1]), 0);
	rw->is_hung = false;
	rig_steps(10);
	again(0);
}

/* ---- supervisor --------------------------------------------------------- */

static void supervisor_replaced(void **state)
{
	(void)state;
	rig_sup_stop();
	assert_int_equal(fake_libxl_disk_key(&pair_disk[0], "state"), 2);
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_int_equal(fake_maps_held(RIG_BACKEND), 0);
	assert_int_equal(drv_exit(&pair[0]), 0);
	pair[0].hdrs.pages = 0;
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(10);
	/* This guest took its rings away, the other one did not. */
	assert_true(drv_needs_reset(&pair[0]));
	assert_int_equal(rig_stats(&pair_disk[0])->broken,
			 VG_BROKEN_RING_ADDRESS);
	assert_int_equal(drv_reset(&pair[0]), 0);
	assert_int_equal(drv_start(&pair[0], 1), 0);
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_false(drv_needs_reset(&pair[1]));
}

static void supervisor_killed(void **state)
{
	(void)state;
	rig_sup_kill();
	assert_true(rig_until(!rig_worker_of(GUEST) && !rig_worker_of(OTHER)));
	assert_int_equal(fake_maps_held(RIG_BACKEND), 0);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(rig_worker_of(GUEST) && rig_worker_of(OTHER)));
	assert_int_equal(pair_io(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
	assert_false(drv_needs_reset(&pair[0]));
	assert_false(drv_needs_reset(&pair[1]));
}

static void no_worker_can_be_started(void **state)
{
	struct fake_disk more;
	unsigned int lines;

	(void)state;
	rig_guest(7, 1);
	more = rig_disk(7, 0);
	rig.spawn_fails = 1;
	rig.spawn_error = EACCES;
	assert_false(rig_disk_add(&more));
	assert_true(unit_logged("no worker can be started"));
	assert_int_equal(fake_libxl_disk_key(&more, "state"), -1);
	fake_libxl_disk_remove(&more);
	rig_steps(10);
	/* What passes is waited for, and said once. */
	rig.spawn_fails = 4;
	rig.spawn_error = EAGAIN;
	lines = unit_log_lines();
	assert_true(rig_disk_add(&more));
	assert_int_equal(rig.spawn_fails, 0);
	/* "ready", and two of the broker's. */
	assert_true(unit_log_lines() <= lines + 4);
	assert_true(rig_disk_remove(&more));
	rig_steps(10);
	assert_int_equal(pair_io(&pair[0]), 0);
}

/* ---- guests that go ----------------------------------------------------- */

/* xl destroy of a running guest: Xen's part first, then libxl's. */
static void guest_destroyed(void **state)
{
	(void)state;
	fake_domain_destroy(GUEST);
	rig_steps(5);
	assert_true(rig_disk_remove(&pair_disk[0]));
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* The nodes vanish without a word. */
static void nodes_removed_by_force(void **state)
{
	(void)state;
	fake_libxl_disk_remove(&pair_disk[0]);
	assert_true(rig_until(!fake_ioreq_servers(GUEST)));
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_int_equal(drv_exit(&pair[0]), 0);
	assert_int_equal(pair_io(&pair[1]), 0);
}

/* xl block-detach, xl block-attach: the same name with another image. */
static void same_name_again(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		assert_true(rig_disk_remove(&pair_disk[0]));
		assert_int_equal(drv_exit(&pair[0]), 0);
		pair[0].hdrs.pages = 0;
		/* Both daemons see that it was gone, as over xl it takes ms. */
		rig_steps(5 + i);
		assert_true(rig_disk_add(&pair_disk[0]));
		assert_int_equal(drv_start(&pair[0], 1), 0);
		assert_int_equal(pair_io(&pair[0]), 0);
	}
}

/* The guest writes what it may write in xenstore: its frontend's node. */
static void frontend_is_not_believed(void **state)
{
	static const char fe[] = "/local/domain/3/device/virtio_disk/51712";
	char path[128];
	unsigned int i;
	static const char *const keys[] = { "state", "backend", "backend-id" };

	(void)state;
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", fe, keys[i]);
		assert_int_equal(fake_store_write(GUEST, path,
				"/local/domain/0/backend/virtio_disk/4/51712"),
				 0);
		rig_steps(5);
	}
	assert_int_equal(fake_store_rm(GUEST, fe), 0);
	rig_steps(5);
	assert_int_equal(pair_io(&pair[0]), 0);
	/* Not the backend's, the toolstack's, or a neighbour's. */
	assert_int_equal(fake_store_write(GUEST,
		"/local/domain/1/backend/virtio_disk/3/51712/params", "/etc"),
			 -EACCES);
	assert_int_equal(fake_store_write(GUEST,
		"/local/domain/1/backend/virtio_disk/4/51712/state", "5"),
			 -EACCES);
}

/* A driver domain makes up a device for a guest that it does not serve. */
static void backend_makes_up_a_device(void **state)
{
	static const char be[] = "/local/domain/1/backend/virtio_disk/3/51999";

	(void)state;
	/* Below a node that libxl gave it. */
	fake_store_set_perms(0, "/local/domain/1/backend/virtio_disk/3", "n1");
	assert_int_equal(fake_store_mkdir(RIG_BACKEND, be), 0);
	rig_steps(10);
	assert_false(fake_store_exists(
		"/local/domain/1/backend/virtio_disk/3/51999/relay-ref"));
	assert_int_equal(fake_store_rm(RIG_BACKEND, be), 0);
	rig_steps(5);
	assert_int_equal(pair_io(&pair[0]), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, teardown)
#define G(f) cmocka_unit_test_setup_teardown(f, pair_setup, teardown_other)
#define W(f) cmocka_unit_test_setup_teardown(f, setup_watched, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(broker_replaced),
		T(broker_killed_under_an_access),
		T(broker_killed_with_a_notification),
		T(broker_killed_with_an_interrupt),
		T(broker_killed_often), T(supervisor_comes_first),
		T(removed_before_it_begins),
		T(broker_child_killed_under_an_access),
		T(broker_child_killed_often),
		W(broker_child_hangs),
		W(broker_child_hangs_at_its_start),
		W(broker_parent_was_asleep),
		T(broker_parent_killed),
		T(broker_child_is_not_believed),
		T(same_disk_between_two_scans),
		T(broker_in_a_driver_domain),
		T(disk_without_grants_is_named),
		G(broker_meets_another_guest),
		T(worker_killed),
		T(worker_killed_under_an_access),
		G(worker_killed_while_removed),
		T(worker_killed_often),
		T(state_is_not_writable), T(state_is_lost),
		T(state_is_garbage),
		T(state_lies),
		T(last_io_is_waited_for),
		T(reset_waits_for_the_last_io),
		T(reset_begun_waits_for_the_last_io),
		T(lesser_stops_wait_for_the_last_io),
		G(ends_while_the_last_io_is_waited_for),
		T(last_worker_is_waited_for),
		T(worker_dies_each_time),
		G(states_come_and_go),
		cmocka_unit_test_setup_teardown(worker_hangs, setup_short,
						teardown),
		T(supervisor_replaced),
		T(supervisor_killed),
		T(no_worker_can_be_started),
		G(guest_destroyed),
		G(nodes_removed_by_force),
		T(same_name_again),
		T(frontend_is_not_believed),
		T(backend_makes_up_a_device),
	};

	return cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\n";
}
