// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * rings.c - see blk_rings.h.
 *
 * Restrictions (io_uring_register(2), IORING_REGISTER_RESTRICTIONS): reads and
 * writes, syncing, allocating, all on registered files only, and of the
 * register operations those for files and for buffers, which are memory that
 * the process has anyway.
 */
#include "dev/blk/rings.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* Flags as vg_blk_ring_create() has them, and disabled at first. */
static int ring_make(struct io_uring *ring)
{
	unsigned int flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
	int err = io_uring_queue_init(VG_BLK_RING_DEPTH, ring, flags |
				      IORING_SETUP_COOP_TASKRUN |
				      IORING_SETUP_TASKRUN_FLAG);

	if (err == -EINVAL)
		err = io_uring_queue_init(VG_BLK_RING_DEPTH, ring, flags);
	if (err)
		return err;
	err = ring_restrict(ring);
	if (!err)
		err = ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
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
