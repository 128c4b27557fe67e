// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * engine_sync.c - block I/O by plain system calls: for a kernel without
 * io_uring, and to compare with.  Blocks the worker's loop for each one.
 *
 * A process that is confined to its io_urings may read and write like this and
 * nothing else: whoever comes here all the same gets an error and no signal.
 */
#include "dev/blk/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dev/blk/rings.h"
#include "lib/util.h"

struct sync_engine {
	struct blk_engine e;
	struct blk_op_list queue;
};

int64_t blk_op_run_sync(int fd, const struct blk_op *op)
{
	int64_t res = -EINVAL;

	if (vg_blk_rings_are_prepared() && op->kind != BLK_OP_READ &&
	    op->kind != BLK_OP_WRITE)
		return -EIO;
	switch (op->kind) {
	case BLK_OP_READ:
		res = preadv2(fd, op->iov, (int)op->nr_iov,
			      (off_t)op->offset_bytes, op->rw_flags);
		break;
	case BLK_OP_WRITE:
		res = pwritev2(fd, op->iov, (int)op->nr_iov,
			       (off_t)op->offset_bytes, op->rw_flags);
		break;
	case BLK_OP_SYNC:
		res = fdatasync(fd);
		break;
	case BLK_OP_FALLOCATE:
		res = fallocate(fd, op->falloc_mode, (off_t)op->offset_bytes,
				(off_t)op->len_bytes);
		break;
	}
	return res < 0 ? -errno : res;
}

static void sync_submit(struct blk_engine *e, struct blk_op *op)
{
	struct sync_engine *se = container_of(e, struct sync_engine, e);

	blk_op_list_add(&se->queue, op);
}

static void sync_kick(struct blk_engine *e)
{
	struct sync_engine *se = container_of(e, struct sync_engine, e);
	struct blk_op *op;

	while ((op = blk_op_list_take(&se->queue)))
		e->done(e->arg, op, blk_op_run_sync(e->fd, op));
}

static void sync_destroy(struct blk_engine *e)
{
	free(container_of(e, struct sync_engine, e));
}

static const struct blk_engine_ops sync_ops = {
	.name = "sync",
	.submit = sync_submit,
	.kick = sync_kick,
	.destroy = sync_destroy,
};

int blk_engine_sync_create(int fd,
			   void (*done)(void *arg, struct blk_op *op,
					int64_t res),
			   void *arg, struct blk_engine **out)
{
	struct sync_engine *se = vg_zalloc(sizeof(*se));

	se->e = (struct blk_engine){
		.ops = &sync_ops, .fd = fd, .done = done, .arg = arg,
	};
	blk_op_list_init(&se->queue);
	*out = &se->e;
	return 0;
}
