// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_faults.c - every call to Xen fails once: the first, the second, ... of
 * each kind that a disk's whole life makes, with the errno that Xen or Linux
 * would give.  Nothing may crash, hang or stay behind; what the guest's I/O
 * returns is right or an error, never wrong data; and the next disk works.
 *
 * Then the same in each state that a device can be in, of the calls that its
 * worker makes.  What says that something is short for the moment is not seen
 * by the guest at all; of the rest the device may break, and works after a
 * reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "rig.h"

#include "kernel/uapi/virtio_grant.h"

#define GUEST	3u
#define NEXT	4u

static const struct {
	enum fake_call call;
	unsigned int domid;
	int err;
} kinds[] = {
	{ FAKE_GNTTAB_OPEN, 1, ENOENT },
	{ FAKE_GNTTAB_MAP, 1, EINVAL },
	{ FAKE_GNTTAB_MAP, 1, ENOMEM },
	{ FAKE_GNTTAB_MAP, 1, EAGAIN },
	{ FAKE_GNTTAB_COPY, 1, EFAULT },
	{ FAKE_GNTTAB_COPY, 1, ENOMEM },
	{ FAKE_GNTSHR_OPEN, 0, ENOENT },
	{ FAKE_GNTSHR_SHARE, 0, ENOSPC },
	{ FAKE_EVTCHN_OPEN, 0, ENOENT },
	{ FAKE_EVTCHN_OPEN, 1, ENOENT },
	{ FAKE_EVTCHN_ALLOC, 0, ENOSPC },
	{ FAKE_EVTCHN_BIND, 0, ENOSPC },
	{ FAKE_EVTCHN_BIND, 1, EINVAL },
	{ FAKE_EVTCHN_UNBIND, 1, ENOTCONN },
	{ FAKE_EVTCHN_PENDING, 1, EAGAIN },
	{ FAKE_STORE_OPEN, 0, ENOENT },
	{ FAKE_STORE_OPEN, 1, ENOENT },
	{ FAKE_STORE_BEGIN, 0, ENOSPC },
	{ FAKE_STORE_COMMIT, 0, EAGAIN },
	{ FAKE_STORE_COMMIT, 0, EIO },
	{ FAKE_STORE_READ, 0, EACCES },
	{ FAKE_STORE_READ, 0, ENOENT },
	{ FAKE_STORE_READ, 1, EACCES },
	{ FAKE_STORE_READ, 1, ENOENT },
	{ FAKE_STORE_WRITE, 0, EACCES },
	{ FAKE_STORE_WRITE, 1, ENOSPC },
	{ FAKE_STORE_DIRECTORY, 0, EIO },
	{ FAKE_STORE_DIRECTORY, 1, EIO },
	{ FAKE_STORE_WATCH, 0, ENOSPC },
	{ FAKE_STORE_WATCH, 1, ENOSPC },
	{ FAKE_IOREQ_CREATE, 0, EPERM },
	{ FAKE_IOREQ_CREATE, 0, ENOSPC },
	{ FAKE_IOREQ_MAP_RANGE, 0, EEXIST },
	{ FAKE_IOREQ_RAISE_SPI, 0, ESRCH },
};

/* Whether it is refused or not: what follows works. */
static void use_extension(struct drv *d, const struct drv_buf *b)
{
	xen_port_t port = fake_guest_alloc_unbound(d->guest, d->backend);

	drv_write(d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	drv_write(d, VIRTIO_GRANT_MMIO_RANGE_FIRST, b->ref);
	drv_write(d, VIRTIO_GRANT_MMIO_RANGE_PAGES, 2);
	drv_write(d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	drv_write(d, VIRTIO_MMIO_QUEUE_SEL, 0);
	drv_write(d, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
	if (drv_read(d, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
	    VIRTIO_GRANT_QUEUE_BOUND)
		d->q[0].port = port;
}

/*
 * The guest's part: every step may fail, none may lie.  After the first
 * failure it resets the device and gives up, as a driver would.
 */
static void use_disk(struct drv *d, bool ext)
{
	struct drv_buf b = drv_buf(d, 16 * 4096, false);
	struct drv_seg s = { b.addr + 100, 12 * 4096, true };
	unsigned int i;
	int st;

	if (!drv_start(d, 1)) {
		if (ext)
			use_extension(d, &b);
		st = drv_blk(d, VIRTIO_BLK_T_IN, 8, &s, 1, true, NULL);
		for (i = 0; st == VIRTIO_BLK_S_OK && i < s.len_bytes; i += 61)
			if (b.va[100 + i] != unit_pattern(8 * 512 + i))
				fail_msg("wrong data with a status of OK");
		if (!st)
			st = drv_blk_buf(d, VIRTIO_BLK_T_OUT, 200, &b, 100,
					 512);
		if (!st)
			drv_blk_buf(d, VIRTIO_BLK_T_IN, 9, &b, 0, 512);
	}
	if (drv_reset(d) && !unit_logged("removed while it was served"))
		fail_msg("the device can't be reset");
	rig_steps(5);
	if (drv_exit(d))
		fail_msg("rings are mapped after a reset");
	drv_buf_end(d, &b);
}

/* Whatever happened to it, libxl takes it away and it is gone. */
static void take_away(const struct fake_disk *disk)
{
	unsigned int i;

	fake_libxl_disk_close(disk);
	for (i = 0; i < 50 && fake_libxl_disk_key(disk, "state") != 6; i++)
		rig_step();
	fake_libxl_disk_remove(disk);
	rig_steps(20);
}

/* One life of a disk with the @n-th call of kind @k failing: did it? */
static bool life(unsigned int k, unsigned int n, bool ext)
{
	struct fake_disk disk;
	struct drv d;
	int broker, sup;
	bool happened;

	rig_up();
	/* The requests must not wait long for what never comes. */
	rig.answer_timeout_ns = 100000000;
	fake_fail_nth(kinds[k].domid, kinds[k].call, n, kinds[k].err);
	broker = rig_broker_start();
	sup = rig_sup_start();
	if (broker || sup) {
		assert_true(fake_failed(kinds[k].call));
		if (!unit_log_lines())
			fail_msg("%s: the daemon did not start and did not say why",
				 fake_call_name(kinds[k].call));
	}
	/* The operator tries again. */
	if (broker)
		assert_int_equal(rig_broker_start(), 0);
	if (sup)
		assert_int_equal(rig_sup_start(), 0);

	rig_guest(GUEST, 2);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	/* Served, refused, or (with a broken watch or scan) not noticed. */
	for (n = 0; n < 40 && fake_libxl_disk_key(&disk, "state") == 1; n++)
		rig_step();
	if (fake_libxl_disk_key(&disk, "state") == 2) {
		d = rig_drv(&disk);
		use_disk(&d, ext);
	}
	/* Of one that it lost sight of, the supervisor says so after 5 s. */
	if (fake_failed(kinds[k].call) &&
	    fake_libxl_disk_key(&disk, "state") != 2 &&
	    fake_libxl_disk_key(&disk, "state") != 1 && !unit_log_lines())
		fail_msg("%s: not served, and not a word about it",
			 fake_call_name(kinds[k].call));
	take_away(&disk);
	happened = fake_failed(kinds[k].call);
	fake_fail_nth(0, kinds[k].call, 0, 0);

	/* Nothing sticks: the next guest's disk works. */
	rig_guest(NEXT, 1);
	disk = rig_disk(NEXT, 0);
	if (!rig_disk_add(&disk)) {
		unit_log_dump();
		fail_msg("%s: the next disk is not served",
			 fake_call_name(kinds[k].call));
	}
	d = rig_drv(&disk);
	use_disk(&d, ext);
	assert_true(rig_disk_remove(&disk));
	rig_steps(20);
	if (fake_ioreq_servers(GUEST) || fake_ioreq_servers(NEXT))
		fail_msg("%s: an IOREQ server is left",
			 fake_call_name(kinds[k].call));
	return happened;
}

static int setup(void **state)
{
	(void)state;
	return 0;
}

/* After a failure in the middle: or the next test could not begin. */
static int teardown(void **state)
{
	(void)state;
	if (rig.dir)
		rig_down();
	return 0;
}

static void each_call_fails(void **state)
{
	unsigned int k = (unsigned int)(uintptr_t)*state, n, leaks, ext;
	bool happened = true;

	/* The n-th for every n, thinned out where there are very many. */
	for (n = 1; happened && n < 200; n += 1 + n / 24) {
		for (ext = 0, happened = false; ext < 2; ext++) {
			happened |= life(k, n, ext);
			leaks = rig_down();
			if (leaks)
				fail_msg("%s, number %u, %s: %u things left",
					 fake_call_name(kinds[k].call), n,
					 strerror(kinds[k].err), leaks);
		}
	}
	if (n < 3)
		fail_msg("%s is never called: nothing was tested",
			 fake_call_name(kinds[k].call));
}

/* ---- in each state ------------------------------------------------------ */

static struct fake_disk dev_disk;
static struct drv dd;
static struct drv_buf dd_data;
static unsigned int dd_queues;
static bool dd_ext;

static const struct {
	enum fake_call call;
	int err;
	bool may_break;			/* it is no shortage */
} worker_kinds[] = {
	{ FAKE_GNTTAB_MAP, ENOMEM, false },
	/* As for want of a handle: what is granted is tried again. */
	{ FAKE_GNTTAB_MAP, EINVAL, false },
	{ FAKE_GNTTAB_MAP, EPERM, true },
	{ FAKE_GNTTAB_UNMAP, ENOMEM, false },
	{ FAKE_GNTTAB_COPY, ENOMEM, false },
	{ FAKE_GNTTAB_COPY, EFAULT, false },
	/* A queue without a channel works by its registers. */
	{ FAKE_EVTCHN_BIND, ENOSPC, false },
	{ FAKE_EVTCHN_BIND, EINVAL, false },
	{ FAKE_EVTCHN_UNBIND, ENOTCONN, false },
	{ FAKE_EVTCHN_PENDING, EAGAIN, false },
};

/* 0, or why the guest could not: never for what passes. */
static int dd_start(void)
{
	unsigned int i;
	int err = drv_negotiate(&dd);

	dd.spis_seen = fake_spi_count(dd.guest, dd.irq);
	dd.nr_queues = dd_queues;
	for (i = 0; !err && i < dd_queues; i++)
		err = drv_queue_init(&dd, i, 32);
	if (err)
		return err;
	dd.hdrs = drv_buf(&dd, DRV_NUM_MAX * 64, false);
	dd_data = drv_buf(&dd, 4 * 4096, false);
	if (dd_ext) {
		drv_write(&dd, VIRTIO_GRANT_MMIO_RANGE_SEL, 1);
		drv_write(&dd, VIRTIO_GRANT_MMIO_RANGE_FIRST, dd_data.ref);
		drv_write(&dd, VIRTIO_GRANT_MMIO_RANGE_PAGES, 2);
		drv_write(&dd, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	}
	for (i = 0; !err && i < dd_queues; i++) {
		if (dd_ext) {
			xen_port_t port = fake_guest_alloc_unbound(GUEST,
								   RIG_BACKEND);

			drv_write(&dd, VIRTIO_MMIO_QUEUE_SEL, i);
			drv_write(&dd, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
			if (drv_read(&dd, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
			    VIRTIO_GRANT_QUEUE_BOUND)
				dd.q[i].port = port;
		}
		err = drv_queue_enable(&dd, i);
	}
	return err ? err : drv_driver_ok(&dd);
}

static void dd_check(const uint8_t *status, unsigned int at, unsigned int i)
{
	unsigned int k;

	if (*status != VIRTIO_BLK_S_OK)
		fail_msg("a request ended with status %u", *status);
	for (k = 0; k < 4096; k += 5)
		if (dd_data.va[at + k] != unit_pattern(i * 4096 + k))
			fail_msg("wrong data with a status of OK");
}

/* Offers a read of block @i into page @i; its head. */
static int dd_offer(unsigned int queue, unsigned int i, uint8_t **status)
{
	struct drv_seg s = { dd_data.addr + i * 4096, 4096, true };

	memset(dd_data.va + i * 4096, 0, 4096);
	return drv_blk_add(&dd, &dd.q[queue], VIRTIO_BLK_T_IN, i * 8, &s, 1,
			   false, status);
}

/* Until it is done, or the device says that it is broken. */
static int dd_wait(unsigned int queue, const uint8_t *status, unsigned int i)
{
	uint64_t until = rig_now_ms() + 8000;
	int n = 0;

	while (drv_take(&dd.q[queue], NULL) < 0) {
		rig_step();
		if (!(++n % 64) && drv_needs_reset(&dd))
			return -EIO;
		if (rig_now_ms() > until) {
			unit_log_dump();
			fail_msg("a request is not done, and the device does not say why");
		}
	}
	dd_check(status, i * 4096, i);
	return 0;
}

/* In a range and out of one, in each queue. */
static int dd_io(void)
{
	unsigned int q, i;
	uint8_t *status;
	int err;

	for (q = 0; q < dd_queues; q++) {
		for (i = 1; i < 4; i += 2) {
			if (dd_offer(q, i, &status) < 0)
				return -EIO;
			drv_kick(&dd, &dd.q[q], false);
			err = dd_wait(q, status, i);
			if (err)
				return err;
		}
	}
	return 0;
}

/* Writes a register and steps until it is answered. */
static void dd_write(uint32_t offset, uint32_t value)
{
	assert_int_equal(fake_mmio_start(GUEST, 1, dev_disk.base + offset, 4,
					 true, value), 0);
	if (!rig_until(fake_mmio_done(GUEST, 1, NULL)))
		fail_msg("a write to register 0x%x is not answered", offset);
}

static void nothing(void)
{
}

static void started(void)
{
	assert_int_equal(dd_start(), 0);
	assert_int_equal(dd_io(), 0);
}

static int act_set_up(void)
{
	int err = dd_start();

	return err ? err : dd_io();
}

static int act_run(void)
{
	int err = dd_io();

	return err ? err : dd_io();
}

/* Queue 0 ends with a request offered, and begins anew. */
static int act_stop_queue(void)
{
	uint8_t *status;
	int err;

	dd_offer(0, 3, &status);
	drv_kick(&dd, &dd.q[0], true);
	dd_write(VIRTIO_MMIO_QUEUE_SEL, 0);
	dd_write(0x0c0, 1);
	if (drv_read(&dd, VIRTIO_MMIO_QUEUE_READY))
		return -EIO;
	drv_buf_end(&dd, &dd.q[0].mem);
	if (fake_grant_maps(GUEST, dd.q[0].mem.ref))
		fail_msg("the ring of a queue that was ended is mapped");
	err = drv_queue_init(&dd, 0, 32);
	if (!err && dd_ext) {
		xen_port_t port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);

		dd_write(VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
		if (drv_read(&dd, VIRTIO_GRANT_MMIO_QUEUE_STATE) ==
		    VIRTIO_GRANT_QUEUE_BOUND)
			dd.q[0].port = port;
	}
	if (!err)
		err = drv_queue_enable(&dd, 0);
	return err ? err : dd_io();
}

/* The driver's side of it is given back: then nothing may be mapped. */
static void dd_end(void)
{
	unsigned int i, busy = 0;

	for (i = 0; i < dd_data.pages; i++)
		busy += fake_grant_end(GUEST, dd_data.ref + i) == -EBUSY;
	dd_data.pages = 0;
	if (drv_exit(&dd) || busy)
		fail_msg("something is mapped after a reset");
}

static int act_reset(void)
{
	uint8_t *status;
	int err;

	dd_offer(0, 3, &status);
	drv_kick(&dd, &dd.q[0], true);
	dd_write(VIRTIO_MMIO_STATUS, 0);
	if (drv_read(&dd, VIRTIO_MMIO_STATUS))
		return -EIO;
	dd_end();
	err = dd_start();
	return err ? err : dd_io();
}

static int act_withdraw(void)
{
	uint8_t *status;
	int err;

	if (!dd_ext)
		return 0;
	dd_offer(0, 1, &status);
	drv_kick(&dd, &dd.q[0], true);
	dd_write(VIRTIO_GRANT_MMIO_RANGE_SEL, 1);
	dd_write(VIRTIO_GRANT_MMIO_RANGE_STATE, 0);
	/* Of a broken device none is withdrawn but by a reset. */
	if (drv_needs_reset(&dd))
		return -EIO;
	if (fake_grant_maps(GUEST, dd_data.ref))
		fail_msg("a range that was withdrawn is mapped");
	err = dd_wait(0, status, 1);
	return err ? err : dd_io();
}

static bool is_served(void)
{
	return rig_worker_of(GUEST) && rig_stats(&dev_disk);
}

static unsigned int dd_takeovers;

static bool is_taken_over(void)
{
	return is_served() && rig_stats(&dev_disk)->takeovers > dd_takeovers;
}

static int hold_fd;

/* As the kernel holds it, for the I/O of a worker that died. */
static void held(void)
{
	char path[512];

	started();
	dd_takeovers = (unsigned int)rig_stats(&dev_disk)->takeovers;
	snprintf(path, sizeof(path), "%s/%u-virtio_disk-51712", rig.state_dir,
		 GUEST);
	rig_worker_kill(rig_worker_of(GUEST));
	hold_fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(hold_fd >= 0);
	assert_int_equal(flock(hold_fd, LOCK_EX | LOCK_NB), 0);
	assert_true(rig_until(is_taken_over()));
}

/* Ends a range while it is held, and a queue. */
static int act_held(void)
{
	uint8_t *status;

	dd_offer(0, 3, &status);
	drv_kick(&dd, &dd.q[0], true);
	if (dd_ext) {
		dd_write(VIRTIO_GRANT_MMIO_RANGE_SEL, 1);
		assert_int_equal(fake_mmio_start(GUEST, 1, dev_disk.base +
				 VIRTIO_GRANT_MMIO_RANGE_STATE, 4, true, 0), 0);
		rig_steps(20);
		if (!fake_mmio_waits(GUEST, 1))
			fail_msg("a range is withdrawn under another's I/O");
	}
	close(hold_fd);
	if (dd_ext && !rig_until(fake_mmio_done(GUEST, 1, NULL)))
		fail_msg("the end of a range is not answered");
	return dd_wait(0, status, 3) || dd_io() ? -EIO : 0;
}

static const struct {
	const char *name;
	void (*before)(void);
	int (*act)(void);
} states[] = {
	{ "set-up", nothing, act_set_up },
	{ "running", started, act_run },
	{ "ending a queue", started, act_stop_queue },
	{ "reset", started, act_reset },
#define ENDING_A_RANGE	4u
	{ "ending a range", started, act_withdraw },
	{ "held", held, act_held },
};

/* The @n-th call fails in that state: did it? */
static bool life_in_state(unsigned int st, unsigned int k, unsigned int n)
{
	enum fake_call call = worker_kinds[k].call;
	bool happened, broke;
	int err;

	rig_up();
	rig.cfg.nr_queues = dd_queues;
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(rig_sup_start(), 0);
	rig_guest(GUEST, 2);
	dev_disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&dev_disk));
	dd = rig_drv(&dev_disk);
	states[st].before();
	fake_fail_nth(RIG_BACKEND, call, n, worker_kinds[k].err);
	err = states[st].act();
	happened = fake_failed(call);
	fake_fail_nth(0, call, 0, 0);
	broke = drv_needs_reset(&dd);
	if ((err || broke) && (!happened || !worker_kinds[k].may_break)) {
		unit_log_dump();
		fail_msg("%s, %s %u: %s: %s", states[st].name,
			 fake_call_name(call), n,
			 strerror(worker_kinds[k].err),
			 broke ? vg_broken_name(rig_stats(&dev_disk)->broken) :
				 "error");
	}
	/* Whatever it was: a reset helps, and nothing is left behind. */
	assert_int_equal(drv_reset(&dd), 0);
	dd_end();
	started();
	assert_int_equal(drv_reset(&dd), 0);
	dd_end();
	assert_true(rig_disk_remove(&dev_disk));
	if (rig_down())
		fail_msg("%s, %s %u: something is left", states[st].name,
			 fake_call_name(call), n);
	return happened;
}

static void each_call_fails_in_state(void **state)
{
	unsigned int st = (unsigned int)(uintptr_t)*state, k, n, lives = 0;

	/* Copied, and mapped in threads; with the extension, or without. */
	for (k = 0; k < 2 * sizeof(worker_kinds) / sizeof(worker_kinds[0]);
	     k++) {
		dd_queues = 1 + k % 2;
		dd_ext = (k / 2 + k) % 2 || st == ENDING_A_RANGE;
		rig_copy_max_bytes = k % 2 ? RIG_COPY_LITTLE :
					     VG_MEM_COPY_MAX_DEFAULT;
		for (n = 1; n < 60 && life_in_state(st, k / 2, n);
		     n += 1 + n / 6)
			lives++;
	}
	rig_copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT;
	print_message("%s: %u calls failed\n", states[st].name, lives);
	assert_true(lives > 10);
}

/* With an argument: the test of that name alone. */
int main(int argc, char **argv)
{
	enum {
		N = sizeof(kinds) / sizeof(kinds[0]),
		M = sizeof(states) / sizeof(states[0]),
	};
	struct CMUnitTest tests[N + M];
	static char names[N][80];
	unsigned int k;

	for (k = 0; k < N; k++) {
		snprintf(names[k], sizeof(names[k]), "%s in dom%u: %s",
			 fake_call_name(kinds[k].call), kinds[k].domid,
			 strerror(kinds[k].err));
		tests[k] = (struct CMUnitTest){
			.name = names[k], .test_func = each_call_fails,
			.setup_func = setup, .teardown_func = teardown,
			.initial_state = (void *)(uintptr_t)k,
		};
	}
	for (k = 0; k < M; k++)
		tests[N + k] = (struct CMUnitTest){
			.name = states[k].name,
			.test_func = each_call_fails_in_state,
			.setup_func = setup, .teardown_func = teardown,
			.initial_state = (void *)(uintptr_t)k,
		};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("failing calls", tests, NULL, NULL);
}
