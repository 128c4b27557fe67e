// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * engine_uring.c - block I/O through io_uring: one ring per queue, one
 * submission per batch, the image as a registered file.
 *
 * Memory that stays mapped is registered, too: the kernel then need not look up
 * and pin the pages of each request, which is most of what a large one costs
 * beside the copy.  It takes requests of one piece; others go the usual way.
 *
 * The ring's own descriptor stands in the loop and is readable while
 * completions wait.  Completions are also looked for right after a
 * submission: what the page cache or a RAM disk answers at once then needs no
 * turn of the loop.
 */
#include "dev/blk/blk.h"
#include "dev/blk/engine.h"

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dev/blk/rings.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/util.h"

/* When the kernel has no memory for a submission just now. */
#define RETRY_NS	(2u * 1000u * 1000u)

struct uring_engine {
	struct blk_engine e;
	struct io_uring ring;
	struct vg_loop *loop;
	struct vg_fd *vfd;
	struct vg_timer *retry;
	struct blk_op_list queue;	/* not in the ring yet */
	struct iovec areas[VG_MEM_RANGES_MAX];	/* registered */
	unsigned int nr_areas;
	unsigned int nr_inside;		/* in the ring, to their completion */
	bool is_unsubmitted;		/* entries in the ring the kernel has
					 * not been told of */
	bool is_in_kick;
};

static struct uring_engine *to_uring(struct blk_engine *e)
{
	return container_of(e, struct uring_engine, e);
}

static void uring_submit(struct blk_engine *e, struct blk_op *op)
{
	blk_op_list_add(&to_uring(e)->queue, op);
}

/* Which area has all of it, or -1. */
static int area_of(const struct uring_engine *ue, const struct iovec *iov)
{
	unsigned int i;

	for (i = 0; i < ue->nr_areas; i++) {
		size_t at = (size_t)((uintptr_t)iov->iov_base -
				     (uintptr_t)ue->areas[i].iov_base);

		/* Wraps below the area, to more than its length. */
		if (at < ue->areas[i].iov_len &&
		    iov->iov_len <= ue->areas[i].iov_len - at)
			return (int)i;
	}
	return -1;
}

/* False: not by a registered buffer. */
static bool fill_fixed(struct uring_engine *ue, struct io_uring_sqe *sqe,
		       const struct blk_op *op)
{
	int area;

	if ((op->kind != BLK_OP_READ && op->kind != BLK_OP_WRITE) ||
	    op->nr_iov != 1)
		return false;
	area = area_of(ue, op->iov);
	if (area < 0)
		return false;
	if (op->kind == BLK_OP_READ)
		io_uring_prep_read_fixed(sqe, 0, op->iov->iov_base,
					 (unsigned int)op->iov->iov_len,
					 op->offset_bytes, area);
	else
		io_uring_prep_write_fixed(sqe, 0, op->iov->iov_base,
					  (unsigned int)op->iov->iov_len,
					  op->offset_bytes, area);
	sqe->rw_flags = op->rw_flags;
	return true;
}

static void fill_other(struct io_uring_sqe *sqe, struct blk_op *op)
{
	/* 0: the first registered file. */
	switch (op->kind) {
	case BLK_OP_READ:
		io_uring_prep_readv2(sqe, 0, op->iov, op->nr_iov,
				     op->offset_bytes, op->rw_flags);
		break;
	case BLK_OP_WRITE:
		io_uring_prep_writev2(sqe, 0, op->iov, op->nr_iov,
				      op->offset_bytes, op->rw_flags);
		break;
	case BLK_OP_SYNC:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	case BLK_OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, 0, op->falloc_mode,
					(off_t)op->offset_bytes,
					(off_t)op->len_bytes);
		break;
	}
}

static void fill(struct uring_engine *ue, struct io_uring_sqe *sqe,
		 struct blk_op *op)
{
	op->is_fixed = fill_fixed(ue, sqe, op);
	if (!op->is_fixed)
		fill_other(sqe, op);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

/* No more than there is room for completions. */
static bool is_fillable(const struct uring_engine *ue)
{
	return ue->queue.first && ue->nr_inside < VG_BLK_RING_DEPTH;
}

static void ring_fill(struct uring_engine *ue)
{
	while (is_fillable(ue)) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ue->ring);

		if (!sqe)
			return;		/* full: the rest after a submission */
		fill(ue, sqe, blk_op_list_take(&ue->queue));
		ue->is_unsubmitted = true;
		ue->nr_inside++;
	}
}

static bool reap(struct uring_engine *ue)
{
	struct io_uring_cqe *cqe;
	bool did = false;

	/*
	 * One by one: done() may submit, and the entry is the kernel's again
	 * as soon as it is marked seen.
	 */
	while (!io_uring_peek_cqe(&ue->ring, &cqe)) {
		struct blk_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&ue->ring, cqe);
		ue->nr_inside--;
		ue->e.done(ue->e.arg, op, res);
		did = true;
	}
	return did;
}

static void uring_kick(struct blk_engine *e)
{
	struct uring_engine *ue = to_uring(e);

	if (ue->is_in_kick)
		return;
	ue->is_in_kick = true;
	do {
		ring_fill(ue);
		if (ue->is_unsubmitted) {
			int n = io_uring_submit(&ue->ring);

			if (n <= 0) {
				/* -EAGAIN, -EBUSY, -ENOMEM: not for long. */
				vg_timer_arm(ue->retry, RETRY_NS);
				reap(ue);
				break;
			}
			ue->is_unsubmitted =
				io_uring_sq_ready(&ue->ring) != 0;
		}
		reap(ue);
	} while (is_fillable(ue) || ue->is_unsubmitted);
	ue->is_in_kick = false;
}

static void uring_event(void *arg)
{
	struct uring_engine *ue = arg;

	if (reap(ue))
		uring_kick(&ue->e);
}

static void uring_retry(void *arg)
{
	uring_kick(arg);
}

/*
 * An old kernel, a limit on locked memory, or a mapping that can't be pinned:
 * then it goes the usual way.
 */
static void uring_areas(struct blk_engine *e,
			const struct iovec areas[VG_MEM_RANGES_MAX])
{
	struct uring_engine *ue = to_uring(e);
	unsigned int i;
	int err;

	/* Waits for what is under way in them. */
	if (ue->nr_areas)
		io_uring_unregister_buffers(&ue->ring);
	ue->nr_areas = 0;
	for (i = 0; i < VG_MEM_RANGES_MAX; i++)
		if (areas[i].iov_len)
			ue->areas[ue->nr_areas++] = areas[i];
	if (!ue->nr_areas)
		return;
	err = io_uring_register_buffers(&ue->ring, ue->areas, ue->nr_areas);
	if (!err)
		return;
	ue->nr_areas = 0;
	vg_debug("registering buffers: %s", strerror(-err));
}

static void uring_destroy(struct blk_engine *e)
{
	struct uring_engine *ue = to_uring(e);

	if (ue->nr_areas)
		io_uring_unregister_buffers(&ue->ring);

	vg_loop_del_fd(ue->loop, ue->vfd);
	vg_timer_destroy(ue->retry);
	io_uring_unregister_files(&ue->ring);
	vg_blk_ring_put(&ue->ring);
	free(ue);
}

static const struct blk_engine_ops uring_ops = {
	.name = "io_uring",
	.submit = uring_submit,
	.kick = uring_kick,
	.areas = uring_areas,
	.destroy = uring_destroy,
};

int vg_blk_ring_create(unsigned int depth, struct io_uring *ring)
{
	return vg_blk_ring_setup(min_u(depth, VG_BLK_RING_BATCH), 0, ring);
}

void vg_blk_ring_destroy(struct io_uring *ring)
{
	io_uring_queue_exit(ring);
}

int (*vg_blk_ring_get)(unsigned int depth, struct io_uring *ring) =
	vg_blk_ring_create;
void (*vg_blk_ring_put)(struct io_uring *ring) = vg_blk_ring_destroy;

int blk_engine_uring_probe(void)
{
	struct io_uring ring;
	int err = vg_blk_ring_get(4, &ring);

	if (!err)
		vg_blk_ring_put(&ring);
	return err;
}

int blk_engine_uring_create(int fd, int hold_fd, struct vg_loop *loop,
			    unsigned int depth,
			    void (*done)(void *arg, struct blk_op *op,
					 int64_t res),
			    void *arg, struct blk_engine **out)
{
	struct uring_engine *ue = vg_zalloc(sizeof(*ue));
	const int files[] = { fd, hold_fd };
	int err;

	ue->e = (struct blk_engine){
		.ops = &uring_ops, .fd = fd, .done = done, .arg = arg,
	};
	blk_op_list_init(&ue->queue);
	err = vg_blk_ring_get(depth, &ue->ring);
	if (err)
		goto free_engine;
	/*
	 * A ring lets go of its files when the last operation is done, which
	 * can be after the process that made it is gone.
	 */
	err = io_uring_register_files(&ue->ring, files, hold_fd > 0 ? 2 : 1);
	if (err)
		goto put_ring;
	err = vg_loop_add_fd(loop, ue->ring.ring_fd, uring_event, ue,
			     &ue->vfd);
	if (err)
		goto unregister;
	ue->loop = loop;
	ue->retry = vg_timer_create(loop, uring_retry, &ue->e);
	*out = &ue->e;
	return 0;

unregister:
	io_uring_unregister_files(&ue->ring);
put_ring:
	vg_blk_ring_put(&ue->ring);
free_engine:
	free(ue);
	return err;
}
