// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_faults.c - every call to Xen fails once: the first, the second, ... of
 * each kind that a disk's whole life makes, with the errno that Xen or Linux
 * would give.  Nothing may crash, hang or stay behind; what the guest's I/O
 * returns is right or an error, never wrong data; and the next disk works.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"

#include "../../kernel/uapi/virtio_grant.h"

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

int main(void)
{
	enum { N = sizeof(kinds) / sizeof(kinds[0]) };
	struct CMUnitTest tests[N];
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
	return cmocka_run_group_tests_name("failing calls", tests, NULL, NULL);
}
