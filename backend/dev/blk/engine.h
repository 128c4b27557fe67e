/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h - what does the I/O of a block device: io_uring, or plain
 * system calls.
 *
 * Private to dev/blk*.c.  An engine moves bytes and reports what the kernel
 * said; it knows nothing of requests, of virtio or of the guest, and it
 * neither retries nor checks.
 */
#ifndef VG_DEV_BLK_ENGINE_H
#define VG_DEV_BLK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "mem/mem.h"

struct vg_loop;

enum blk_op_kind {
	BLK_OP_READ,
	BLK_OP_WRITE,
	BLK_OP_SYNC,		/* fdatasync(2) */
	BLK_OP_FALLOCATE,
};

/* One operation; the caller's, and left alone until done() has it back. */
struct blk_op {
	struct blk_op *next;		/* the engine's */
	enum blk_op_kind kind;
	int rw_flags;			/* RWF_*, for READ and WRITE */
	bool is_fixed;			/* the engine's: a registered buffer */
	int falloc_mode;
	const struct iovec *iov;	/* stays valid until done() */
	unsigned int nr_iov;
	uint64_t offset_bytes, len_bytes;	/* len: FALLOCATE only */
};

struct blk_engine;

struct blk_engine_ops {
	const char *name;
	/* Queues; done() is never called from within. */
	void (*submit)(struct blk_engine *e, struct blk_op *op);
	/*
	 * Hands what was queued to the kernel.  Calls done() for what is
	 * finished already, and for what done() submits in turn.
	 */
	void (*kick)(struct blk_engine *e);
	/*
	 * Memory that stays mapped until the next call; NULL, or ignored, where
	 * that is no help.
	 */
	void (*areas)(struct blk_engine *e,
		      const struct iovec areas[VG_MEM_RANGES_MAX]);
	/* Only when every operation is done. */
	void (*destroy)(struct blk_engine *e);
};

struct blk_engine {
	const struct blk_engine_ops *ops;
	int fd;
	/* @res: as the system call returned it, negative errno on failure. */
	void (*done)(void *arg, struct blk_op *op, int64_t res);
	void *arg;
};

/* A first-in first-out list of operations. */
struct blk_op_list {
	struct blk_op *first, **last;
};

static inline void blk_op_list_init(struct blk_op_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static inline void blk_op_list_add(struct blk_op_list *l, struct blk_op *op)
{
	op->next = NULL;
	*l->last = op;
	l->last = &op->next;
}

static inline struct blk_op *blk_op_list_take(struct blk_op_list *l)
{
	struct blk_op *op = l->first;

	if (op) {
		l->first = op->next;
		if (!l->first)
			l->last = &l->first;
	}
	return op;
}

/*
 * 0 or negative errno.  @depth: operations likely under way at once.  @hold_fd:
 * see struct vg_blk_params.
 */
int blk_engine_uring_create(int fd, int hold_fd, struct vg_loop *loop,
			    unsigned int depth,
			    void (*done)(void *arg, struct blk_op *op,
					 int64_t res),
			    void *arg, struct blk_engine **out);
/* Whether there can be any: 0 or negative errno. */
int blk_engine_uring_probe(void);
int blk_engine_sync_create(int fd,
			   void (*done)(void *arg, struct blk_op *op,
					int64_t res),
			   void *arg, struct blk_engine **out);

/* One operation by plain system calls, at once. */
int64_t blk_op_run_sync(int fd, const struct blk_op *op);

#endif
