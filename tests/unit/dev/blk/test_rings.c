// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_rings.c - the io_urings that a worker makes before it is confined, when
 * there are too few of them: a device is refused or gets an error, and no
 * process is killed for a system call that it may not make.
 *
 * A program of its own, since what is prepared stays so.
 */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "dev/blk/blk.h"
#include "dev/blk/engine.h"
#include "dev/blk/rings.h"
#include "host.h"
#include "lib/util.h"

#define RINGS		3u

static char *dir, *image;

static int create(struct host *h, unsigned int nr_queues,
		  enum vg_blk_engine engine)
{
	struct vg_blk_params blk = {
		.fd = open(image, O_RDWR | O_CLOEXEC),
		.nr_queues = nr_queues, .engine = engine,
	};
	struct vg_dev_parts parts;
	struct vg_device_params p = {
		.label = "dom5 test", .type = &vg_dev_blk, .parts = &parts,
		.queue_size_max = 64,
	};

	memset(h, 0, sizeof(*h));
	flat_init(&h->f);
	assert_int_equal(vg_loop_create(&h->loop), 0);
	vg_blk_parts_fill(&parts, &blk);
	return host_device_create(h, &p);
}

static void destroy(struct host *h)
{
	if (h->dev) {
		vg_device_stop(h->dev);
		vg_device_destroy(h->dev);
	}
	vg_mmio_destroy(h->mmio);
	assert_true(h->f.is_destroyed);
	vg_loop_destroy(h->loop);
	flat_exit(&h->f);
}

/* What can't be made later is set aside when the device is made. */
static void too_few_rings(void **state)
{
	static const enum vg_blk_engine engines[] = {
		VG_BLK_ENGINE_AUTO, VG_BLK_ENGINE_URING,
	};
	struct host first, second;
	unsigned int i;

	(void)state;
	if (!vg_blk_rings_are_prepared())
		skip();
	for (i = 0; i < 2; i++) {
		assert_int_equal(create(&first, 2, engines[i]), 0);
		assert_int_equal(create(&second, 2, engines[i]), -EMFILE);
		assert_true(unit_logged("no io_uring left for its queues (2)"));
		destroy(&second);
		assert_int_equal(create(&second, 1, engines[i]), 0);
		destroy(&second);
		destroy(&first);
		assert_int_equal(create(&second, RINGS, engines[i]), 0);
		destroy(&second);
	}
}

/*
 * Should a queue have no ring all the same: the calls that the filter of such a
 * process has not are not made.  Here they would kill.
 */
static void no_ring_and_no_call(void **state)
{
	uint8_t buf[512] = { 0 };
	struct iovec iov = { buf, sizeof(buf) };
	struct blk_op sync = { .kind = BLK_OP_SYNC };
	struct blk_op punch = { .kind = BLK_OP_FALLOCATE, .len_bytes = 512,
				.falloc_mode = FALLOC_FL_PUNCH_HOLE |
					       FALLOC_FL_KEEP_SIZE };
	struct blk_op get = { .kind = BLK_OP_READ, .iov = &iov, .nr_iov = 1 };
	int fd = open(image, O_RDWR | O_CLOEXEC);
	scmp_filter_ctx ctx;

	(void)state;
	if (!vg_blk_rings_are_prepared())
		skip();
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	assert_non_null(ctx);
	assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS,
					  SCMP_SYS(fdatasync), 0), 0);
	assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS,
					  SCMP_SYS(fallocate), 0), 0);
	assert_int_equal(seccomp_load(ctx), 0);
	seccomp_release(ctx);
	assert_int_equal(blk_op_run_sync(fd, &sync), -EIO);
	assert_int_equal(blk_op_run_sync(fd, &punch), -EIO);
	assert_int_equal(blk_op_run_sync(fd, &get), sizeof(buf));
	assert_int_equal(buf[5], unit_pattern(5));
	close(fd);
}

static int setup(void **state)
{
	char *path;

	(void)state;
	dir = unit_tmpdir();
	path = vg_strf("%s/image", dir);
	image = unit_image(path, 1u << 20);
	free(path);
	/* Where the kernel has none, there is nothing to be short of. */
	if (vg_blk_rings_prepare(RINGS))
		fprintf(stderr, "no io_uring here\n");
	unit_log_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unit_log_stop();
	free(image);
	unit_rm_r(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_few_rings),
		cmocka_unit_test(no_ring_and_no_call),
	};

	return cmocka_run_group_tests_name("rings", tests, setup, teardown);
}
