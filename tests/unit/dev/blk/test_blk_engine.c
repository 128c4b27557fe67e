// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_blk_engine.c - what the two engines ask the kernel for: the calls
 * themselves are looked at on their way.
 *
 * Environment: TMPDIR; io_uring, else its half is skipped.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fs.h>

#include "dev/blk/engine.h"
#include "dev/blk/rings.h"
#include "lib/loop.h"
#include "unit.h"
#include "lib/util.h"

#define BYTES	65536u

/* Of the last write or read: whatever asked for it. */
static struct {
	unsigned int calls;
	int flags;
	bool is_fixed;
} seen;

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	seen.calls++;
	seen.flags = flags;
	return syscall(SYS_pwritev2, fd, iov, n, (long)at, 0L, flags);
}

int io_uring_submit(struct io_uring *ring)
{
	static int (*real)(struct io_uring *ring);
	unsigned int i;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
	for (i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		const struct io_uring_sqe *sqe =
			&ring->sq.sqes[i & *ring->sq.kring_mask];

		assert_true(sqe->flags & IOSQE_FIXED_FILE);
		seen.calls++;
		seen.flags = sqe->rw_flags;
		seen.is_fixed = sqe->opcode == IORING_OP_WRITE_FIXED;
	}
	return real(ring);
}

struct env {
	struct blk_engine *e;
	struct vg_loop *loop;
	char *dir, *image;
	int fd;
	uint8_t *mem;
	unsigned int nr_done;
	int64_t res;
};

static void done(void *arg, struct blk_op *op, int64_t res)
{
	struct env *e = arg;

	(void)op;
	e->nr_done++;
	e->res = res;
}

static struct env *setup(bool is_uring)
{
	struct env *e = calloc(1, sizeof(*e));
	char *path;

	e->dir = unit_tmpdir();
	path = vg_strf("%s/image", e->dir);
	e->image = unit_image(path, BYTES);
	free(path);
	e->fd = open(e->image, O_RDWR | O_CLOEXEC);
	e->mem = aligned_alloc(4096, BYTES);
	assert_int_equal(vg_loop_create(&e->loop), 0);
	memset(&seen, 0, sizeof(seen));
	if (!is_uring)
		assert_int_equal(blk_engine_sync_create(e->fd, done, e, &e->e),
				 0);
	else if (blk_engine_uring_create(e->fd, -1, e->loop, 8, done, e,
					 &e->e))
		e->e = NULL;
	return e;
}

static void teardown(struct env *e)
{
	if (e->e)
		e->e->ops->destroy(e->e);
	vg_loop_destroy(e->loop);
	close(e->fd);
	free(e->mem);
	unit_rm_r(e->dir);
	free(e->image);
	free(e);
}

static int64_t run(struct env *e, struct blk_op *op)
{
	unsigned int i;

	e->nr_done = 0;
	seen.calls = 0;
	e->e->ops->submit(e->e, op);
	assert_int_equal(e->nr_done, 0);	/* never from within */
	e->e->ops->kick(e->e);
	for (i = 0; i < 400 && !e->nr_done; i++)
		vg_loop_run_once(e->loop, 5);
	assert_int_equal(e->nr_done, 1);
	return e->res;
}

/* What a write through the cache is to say to the kernel is said. */
static void writes(struct env *e, bool is_fixed)
{
	struct iovec iov = { e->mem + 4096, 512 };
	struct blk_op op = {
		.kind = BLK_OP_WRITE, .iov = &iov, .nr_iov = 1,
		.offset_bytes = 1024, .rw_flags = RWF_DSYNC,
	};
	uint8_t got[512];

	memset(iov.iov_base, 0x3c, 512);
	assert_int_equal(run(e, &op), 512);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.is_fixed, is_fixed);
	assert_int_equal(seen.flags, RWF_DSYNC);
	assert_int_equal(pread(e->fd, got, 512, 1024), 512);
	assert_memory_equal(got, iov.iov_base, 512);
	op.rw_flags = 0;
	assert_int_equal(run(e, &op), 512);
	assert_int_equal(seen.flags, 0);
}

static void others(struct env *e)
{
	struct iovec iov[2] = { { e->mem, 4096 }, { e->mem + 8192, 4096 } };
	struct blk_op op = {
		.kind = BLK_OP_READ, .iov = iov, .nr_iov = 2,
		.offset_bytes = BYTES - 4096 - 512,
	};

	/* A part, up to the end; and behind it. */
	assert_int_equal(run(e, &op), 4096 + 512);
	assert_int_equal(e->mem[1], unit_pattern(BYTES - 4096 - 512 + 1));
	assert_int_equal(e->mem[8192], unit_pattern(BYTES - 512));
	op.offset_bytes = BYTES;
	assert_int_equal(run(e, &op), 0);
	op = (struct blk_op){ .kind = BLK_OP_SYNC };
	assert_int_equal(run(e, &op), 0);
	op = (struct blk_op){
		.kind = BLK_OP_FALLOCATE, .len_bytes = 4096,
		.falloc_mode = FALLOC_FL_PUNCH_HOLE,	/* without KEEP_SIZE */
	};
	assert_true(run(e, &op) < 0);
	op = (struct blk_op){ .kind = BLK_OP_WRITE, .iov = iov, .nr_iov = 1,
			      .offset_bytes = UINT64_C(1) << 63 };
	assert_int_equal(run(e, &op), -EINVAL);
}

static void sync_engine(void **state)
{
	struct env *e = setup(false);

	(void)state;
	writes(e, false);
	others(e);
	teardown(e);
}

static void uring_engine(void **state)
{
	struct env *e = setup(true);
	struct iovec areas[VG_MEM_RANGES_MAX] = { { 0 } };

	(void)state;
	if (!e->e) {
		teardown(e);
		skip();
	}
	writes(e, false);
	others(e);
	/* Memory that is registered has another call. */
	areas[0] = (struct iovec){ e->mem, BYTES };
	e->e->ops->areas(e->e, areas);
	writes(e, true);
	others(e);
	teardown(e);
}

/* More than the ring has room for: the others wait, and none is lost. */
static void more_than_the_ring_takes(void **state)
{
	static struct blk_op op[700];
	struct env *e = setup(false);
	struct iovec iov = { e->mem, 1 };
	unsigned int i;
	int fds[2];

	(void)state;
	e->e->ops->destroy(e->e);
	assert_int_equal(pipe(fds), 0);
	if (blk_engine_uring_create(fds[0], -1, e->loop, 512, done, e,
				    &e->e)) {
		e->e = NULL;
		teardown(e);
		skip();
	}
	e->nr_done = seen.calls = 0;
	for (i = 0; i < ARRAY_SIZE(op); i++) {
		op[i] = (struct blk_op){ .kind = BLK_OP_READ, .iov = &iov,
					 .nr_iov = 1 };
		e->e->ops->submit(e->e, &op[i]);
	}
	e->e->ops->kick(e->e);
	assert_int_equal(seen.calls, VG_BLK_RING_DEPTH);
	assert_int_equal(e->nr_done, 0);
	assert_int_equal(write(fds[1], e->mem, 10), 10);
	for (i = 0; i < 400 && e->nr_done < 10; i++)
		vg_loop_run_once(e->loop, 5);
	assert_int_equal(e->nr_done, 10);
	assert_int_equal(seen.calls, VG_BLK_RING_DEPTH + 10);
	assert_int_equal(write(fds[1], e->mem, 690), 690);
	for (i = 0; i < 400 && e->nr_done < ARRAY_SIZE(op); i++)
		vg_loop_run_once(e->loop, 5);
	assert_int_equal(e->nr_done, ARRAY_SIZE(op));
	assert_int_equal(seen.calls, ARRAY_SIZE(op));
	close(fds[0]);
	close(fds[1]);
	teardown(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync_engine), cmocka_unit_test(uring_engine),
		cmocka_unit_test(more_than_the_ring_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
