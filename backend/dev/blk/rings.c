// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rings.c - see rings.h.
 *
 * Restrictions (io_uring_register(2), IORING_REGISTER_RESTRICTIONS): reads and
 * writes, syncing, allocating, all on registered files only, and of the
 * register operations those for files and for buffers, which are memory that
 * the process has anyway.
 */
#include "dev/blk/rings.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "dev/blk/blk.h"
#include "lib/util.h"

struct stocked {
	struct io_uring ring;
	bool is_taken;
};

static struct {
	pthread_mutex_t lock;
	int err;			/* why there are none */
	struct stocked *of;
	unsigned int nr, nr_reserved;
} stock = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* liburing's own functions for it are not in Debian 12's library. */
static int ring_register(struct io_uring *ring, unsigned int opcode,
			 const void *arg, unsigned int nr_args)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg,
		       nr_args) < 0 ? -errno : 0;
}

static int ring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction r[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_READV },
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_WRITEV },
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_READ_FIXED },
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_WRITE_FIXED },
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_FSYNC },
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_FALLOCATE },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_REGISTER_FILES },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_UNREGISTER_FILES },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_REGISTER_BUFFERS },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP,
		  .register_op = IORING_UNREGISTER_BUFFERS },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		  .sqe_flags = IOSQE_FIXED_FILE },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
		  .sqe_flags = IOSQE_FIXED_FILE },
	};

	return ring_register(ring, IORING_REGISTER_RESTRICTIONS, r,
			     ARRAY_SIZE(r));
}

/*
 * Not IORING_SETUP_DEFER_TASKRUN: with it, a ring in an epoll set does not
 * become readable for what completes later (seen with Linux 6.18).  Not
 * IORING_SETUP_SINGLE_ISSUER: the thread that makes a ring need not be the one
 * that uses it.
 */
int vg_blk_ring_setup(unsigned int batch, unsigned int flags,
		      struct io_uring *ring)
{
	static const unsigned int more[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	unsigned int i;
	int err = -EINVAL;

	for (i = 0; i < ARRAY_SIZE(more) && err == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags | more[i] | IORING_SETUP_CLAMP |
				 IORING_SETUP_CQSIZE,
			.cq_entries = VG_BLK_RING_DEPTH,
		};

		err = io_uring_queue_init_params(batch, ring, &p);
	}
	return err;
}

/* Disabled at first. */
static int ring_make(struct io_uring *ring)
{
	int err = vg_blk_ring_setup(VG_BLK_RING_BATCH, IORING_SETUP_R_DISABLED,
				    ring);

	if (err)
		return err;
	err = ring_restrict(ring);
	if (!err)
		err = ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL,
				    0);
	if (err)
		io_uring_queue_exit(ring);
	return err;
}

static int stock_get(unsigned int depth, struct io_uring *ring)
{
	unsigned int i;
	int err = -EMFILE;

	(void)depth;
	if (stock.err)
		return stock.err;
	pthread_mutex_lock(&stock.lock);
	for (i = 0; i < stock.nr && err; i++)
		if (!stock.of[i].is_taken) {
			stock.of[i].is_taken = true;
			*ring = stock.of[i].ring;
			err = 0;
		}
	pthread_mutex_unlock(&stock.lock);
	return err;
}

static void stock_put(struct io_uring *ring)
{
	unsigned int i;

	pthread_mutex_lock(&stock.lock);
	for (i = 0; i < stock.nr; i++)
		if (stock.of[i].ring.ring_fd == ring->ring_fd) {
			/* How far its queues are, is in the copy. */
			stock.of[i].ring = *ring;
			stock.of[i].is_taken = false;
		}
	pthread_mutex_unlock(&stock.lock);
}

int vg_blk_rings_reserve(unsigned int count)
{
	if (!vg_blk_rings_are_prepared())
		return 0;
	if (count > stock.nr - stock.nr_reserved)
		return -EMFILE;
	stock.nr_reserved += count;
	return 0;
}

void vg_blk_rings_unreserve(unsigned int count)
{
	if (vg_blk_rings_are_prepared())
		stock.nr_reserved -= count;
}

bool vg_blk_rings_are_prepared(void)
{
	return stock.nr;
}

int vg_blk_rings_prepare(unsigned int count)
{
	int err = 0;

	vg_blk_ring_get = stock_get;
	vg_blk_ring_put = stock_put;
	stock.of = vg_calloc(count, sizeof(*stock.of));
	while (stock.nr < count && !err) {
		err = ring_make(&stock.of[stock.nr].ring);
		stock.nr += !err;
	}
	if (!err)
		return 0;
	while (stock.nr)
		io_uring_queue_exit(&stock.of[--stock.nr].ring);
	stock.err = err;
	return err;
}

/*
 * What a disk calls besides read(2) and its like.  Its descriptors are its own
 * image's; operations of an io_uring do not pass the filter, so the rings are
 * restricted themselves, and none can be made later.
 */
#define IMAGE_CALLS \
	/* O_DIRECT is put off for what is misaligned. */ \
	{ SYS_fcntl, 1, F_GETFL }, \
	{ SYS_fcntl, 1, F_SETFL }, \
	{ SYS_preadv2, -1, 0 }, \
	{ SYS_pwritev2, -1, 0 }, \
	{ SYS_ioctl, 1, BLKDISCARD }

static const struct vg_dev_syscall sync_calls[] = {
	IMAGE_CALLS,
	{ SYS_fdatasync, -1, 0 },
	{ SYS_fallocate, 1, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE },
	{ SYS_fallocate, 1, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE },
};

static const struct vg_dev_syscall ring_calls[] = {
	IMAGE_CALLS,
	{ SYS_io_uring_enter, -1, 0 },
	{ SYS_io_uring_register, 1, IORING_REGISTER_FILES },
	{ SYS_io_uring_register, 1, IORING_UNREGISTER_FILES },
	{ SYS_io_uring_register, 1, IORING_REGISTER_BUFFERS },
	{ SYS_io_uring_register, 1, IORING_UNREGISTER_BUFFERS },
};

/* Without rings: what that means is decided with the first image. */
void vg_blk_prepare(struct vg_dev_prepared *p)
{
	bool has_rings = vg_blk_options.engine != VG_BLK_ENGINE_SYNC &&
			 !vg_blk_rings_prepare(p->nr_queues);

	/* Each ring registers its device's memory by itself. */
	p->nr_registering = has_rings ? p->nr_queues : 0;
	p->syscalls = has_rings ? ring_calls : sync_calls;
	p->nr_syscalls = has_rings ? ARRAY_SIZE(ring_calls) :
				     ARRAY_SIZE(sync_calls);
}
