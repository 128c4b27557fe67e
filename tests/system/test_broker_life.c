// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_broker_life.c - the broker's parent (backend/broker/) when a call fails
 * while it takes over a guest that runs, and while it has a new one: nothing
 * that was served is given up, and what may pass is tried again by itself.  And
 * a guest's process that floods it, or does not read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#define GUEST	3u

static struct fake_disk disk;
static struct drv d;

static int io(void)
{
	struct drv_buf b = drv_buf(&d, 4096, false);
	int err = drv_blk_buf(&d, VIRTIO_BLK_T_IN, 8, &b, 0, 4096);

	if (!err && b.va[5] != unit_pattern(8 * 512 + 5))
		err = -EILSEQ;
	drv_buf_end(&d, &b);
	return err;
}

static int setup(void **state)
{
	if (rig_setup(state))
		return -1;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	d = rig_drv(&disk);
	return 0;
}

static int teardown(void **state)
{
	return rig_teardown(state);
}

static void disk_ends(void)
{
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	assert_true(rig_disk_remove(&disk));
}

/* ---- a call fails ------------------------------------------------------- */

static const struct {
	enum fake_call call;
	int err;
} kinds[] = {
	{ FAKE_GNTSHR_OPEN, ENOMEM },
	{ FAKE_GNTSHR_SHARE, ENOSPC },
	{ FAKE_GNTSHR_TAKE, ENOMEM },
	{ FAKE_EVTCHN_OPEN, EMFILE },
	{ FAKE_EVTCHN_TAKE, ENOMEM },
	{ FAKE_EVTCHN_ALLOC, ENOSPC },
	{ FAKE_EVTCHN_BIND, ENOMEM },
	{ FAKE_STORE_BEGIN, ENOSPC },
	{ FAKE_STORE_COMMIT, EAGAIN },
	{ FAKE_STORE_COMMIT, EIO },
	{ FAKE_STORE_READ, EACCES },
	{ FAKE_STORE_READ, EIO },
	{ FAKE_STORE_WRITE, EACCES },
	{ FAKE_STORE_WRITE, ENOSPC },
	{ FAKE_STORE_DIRECTORY, EIO },
	{ FAKE_IOREQ_ADOPT, ENOMEM },
	{ FAKE_IOREQ_MAP_RANGE, ENOMEM },
	{ FAKE_IOREQ_MAP_RANGE, EBUSY },
	{ FAKE_CONFINE, ENOMEM },
};

/*
 * The broker is replaced, and the @n'th such call of its successor fails: did
 * it?  What it says when it can't even begin, its service manager hears.
 */
static bool takes_over(unsigned int k, unsigned int n)
{
	bool happened;

	rig_broker_stop(true);
	fake_fail_nth(0, kinds[k].call, n, kinds[k].err);
	if (rig_broker_start()) {
		assert_true(fake_failed(kinds[k].call));
		assert_int_equal(rig_broker_start(), 0);
	}
	if (io()) {
		unit_log_dump();
		fail_msg("%s %u: no I/O", fake_call_name(kinds[k].call), n);
	}
	happened = fake_failed(kinds[k].call);
	fake_fail_nth(0, kinds[k].call, 0, 0);
	assert_int_equal(fake_libxl_disk_key(&disk, "state"), 2);
	return happened;
}

static void a_failure_in_a_take_over(void **state)
{
	unsigned int k, n, all = 0;

	(void)state;
	assert_true(rig_disk_add(&disk));
	assert_int_equal(drv_start(&d, 1), 0);
	assert_int_equal(io(), 0);
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (n = 1; n < 40 && takes_over(k, n); n++)
			all++;
	/* It is about these. */
	assert_true(all > sizeof(kinds) / sizeof(kinds[0]));
	disk_ends();
}

/* Of a new guest: libxl hears of it within its 10 s, or at once. */
static void a_failure_that_passes(void **state)
{
	unsigned int k;

	(void)state;
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		if (kinds[k].err == EACCES || kinds[k].err == EBUSY ||
		    kinds[k].call == FAKE_IOREQ_ADOPT)
			continue;
		fake_fail_nth(0, kinds[k].call, 1, kinds[k].err);
		if (!rig_disk_add(&disk)) {
			unit_log_dump();
			fail_msg("%s: not served", fake_call_name(kinds[k].call));
		}
		fake_fail_nth(0, kinds[k].call, 0, 0);
		assert_int_equal(drv_start(&d, 1), 0);
		assert_int_equal(io(), 0);
		disk_ends();
		d.hdrs.pages = 0;
	}
}

/* A domain that writes to its node all the time: later, and by itself. */
static void a_transaction_is_not_tried_for_ever(void **state)
{
	uint64_t tries;
	unsigned int i;

	(void)state;
	fake_fail_nth(0, FAKE_STORE_COMMIT, FAKE_EVERY, EAGAIN);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	assert_true(rig_until(unit_logged("writing the relay's keys")));
	tries = fake_calls(0, FAKE_STORE_COMMIT);
	assert_in_range(tries, 1, 20);
	/* The pauses grow. */
	for (i = 0; i < 400; i++) {
		rig_step();
		usleep(1000);
	}
	assert_in_range(fake_calls(0, FAKE_STORE_COMMIT), tries + 5,
			tries + 50);
	assert_int_equal(fake_libxl_disk_key(&disk, "state"), 1);
	fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	assert_int_equal(drv_start(&d, 1), 0);
	assert_int_equal(io(), 0);
	disk_ends();
}

/* It was removed in the meantime: nothing is left of it, and nothing made. */
static void removed_while_it_waits(void **state)
{
	(void)state;
	fake_fail_nth(0, FAKE_STORE_COMMIT, FAKE_EVERY, EAGAIN);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	assert_true(rig_until(unit_logged("writing the relay's keys")));
	fake_libxl_disk_remove(&disk);
	rig_steps(20);
	fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
	assert_true(rig_until(!rig_bchild_of(GUEST)));
	assert_false(fake_store_exists(fake_libxl_disk_path(&disk)));
}

static void a_scan_fails_again_and_again(void **state)
{
	uint64_t tries;
	unsigned int i;

	(void)state;
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, FAKE_EVERY, EIO);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	rig_steps(10);
	tries = fake_calls(0, FAKE_STORE_DIRECTORY);
	for (i = 0; i < 200; i++) {
		rig_step();
		usleep(1000);
	}
	assert_in_range(fake_calls(0, FAKE_STORE_DIRECTORY), tries, tries + 20);
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, 0, 0);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	assert_int_equal(drv_start(&d, 1), 0);
	assert_int_equal(io(), 0);
	disk_ends();
}

/* ---- a guest's process -------------------------------------------------- */

static void ends_as_soon_as_it_begins(void **state)
{
	unsigned int i, deaths = 0;

	(void)state;
	assert_true(rig_disk_add(&disk));
	assert_int_equal(drv_start(&d, 1), 0);
	for (i = 0; i < 1500; i++) {
		if (rig_bchild_of(GUEST)) {
			rig_bchild_kill(rig_bchild_of(GUEST));
			deaths++;
		}
		rig_step();
		usleep(1000);
	}
	/* 0, 50, 100, 200, 400, 800 ms, and more on a busy machine. */
	assert_in_range(deaths, 4, 12);
	assert_int_equal(io(), 0);
	disk_ends();
}

/* What it was not asked: it is replaced before it keeps its parent busy. */
static void floods_its_parent(void **state)
{
	struct vg_bchild_msg pong = { .op = VG_BCHILD_PONG, .serial = 12345 };
	struct rig_bchild *rc;
	unsigned int i;

	(void)state;
	assert_true(rig_disk_add(&disk));
	assert_int_equal(drv_start(&d, 1), 0);
	rc = rig_bchild_of(GUEST);
	for (i = 0; i < 1000 && !unit_logged("says what it was not asked"); i++) {
		vg_bchild_send(rc->sock, &pong, NULL);
		rig_step();
	}
	assert_in_range(i, 10, 200);
	assert_int_equal(io(), 0);
	disk_ends();
}

/* Its socket is full: what it is told would be lost, the end of a disk, too. */
static void does_not_read(void **state)
{
	static const struct vg_bchild_msg nothing;
	struct vg_bchild_msg got;
	struct fake_disk more = rig_disk(GUEST, 1);
	struct rig_bchild *rc;
	unsigned int i = 0;

	(void)state;
	assert_true(rig_disk_add(&disk));
	assert_int_equal(drv_start(&d, 1), 0);
	rc = rig_bchild_of(GUEST);
	rc->is_hung = true;
	/* By the parent's end, which is the other of the pair. */
	while (i < 100000 && !vg_bchild_send(rc->sock - 1, &nothing, NULL))
		i++;
	assert_int_equal(recv(rc->sock, &got, sizeof(got), MSG_PEEK |
			      MSG_DONTWAIT), sizeof(got));
	assert_in_range(i, 1, 99999);
	free(unit_image(more.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&more);
	assert_true(rig_until(unit_logged("does not take messages")));
	assert_true(rig_until(fake_libxl_disk_key(&more, "state") == 2));
	assert_int_equal(io(), 0);
	assert_true(rig_disk_remove(&more));
	disk_ends();
}

/* More descriptors than there is room for come with a message: it is none. */
static void too_many_descriptors(void **state)
{
	struct vg_bchild_msg msg = { .op = VG_BCHILD_PONG }, got;
	struct iovec iov = { &msg, sizeof(msg) };
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(3 * sizeof(int))];
	} ctl = { 0 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl,
	};
	int pair[2], fds[2], three[3] = { 0, 0, 0 };
	unsigned int n, nr_fds;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	nr_fds = unit_nr_fds();
	for (n = 0; n <= 3; n++) {
		mh.msg_controllen = n ? CMSG_SPACE(n * sizeof(int)) : 0;
		ctl.hdr.cmsg_level = SOL_SOCKET;
		ctl.hdr.cmsg_type = SCM_RIGHTS;
		ctl.hdr.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&ctl.hdr), three, n * sizeof(int));
		mh.msg_control = n ? &ctl : NULL;
		assert_int_equal(sendmsg(pair[0], &mh, 0), sizeof(msg));
		assert_int_equal(vg_bchild_recv(pair[1], &got, fds),
				 n == 0 || n == 2 ? 1 : -EPROTO);
		if (n == 2) {
			close(fds[0]);
			close(fds[1]);
		}
		assert_int_equal(unit_nr_fds(), nr_fds);
	}
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_failure_in_a_take_over),
		T(a_failure_that_passes),
		T(a_transaction_is_not_tried_for_ever),
		T(removed_while_it_waits),
		T(a_scan_fails_again_and_again),
		T(ends_as_soon_as_it_begins),
		T(floods_its_parent),
		T(does_not_read),
		cmocka_unit_test(too_many_descriptors),
	};

	return cmocka_run_group_tests_name("broker_life", tests, NULL, NULL);
}
