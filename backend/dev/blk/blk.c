// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blk.c - the virtio block device (virtio 1.3, 5.2) over an image file or a
 * block device.
 *
 * Not trusted: the guest.  The buffers of a request are shared with it while
 * the request runs; the header and the ranges of a discard are copied once,
 * before anything is checked.  Data is never looked at.
 *
 * Each request is one struct blk_req: at any time it has at most one
 * operation with the engine, whose end decides on the next:
 *
 *	start -> READ or WRITE, again while the kernel moves only a part -> end
 *	      -> SYNC -> end
 *	      -> FALLOCATE or, where that is not supported, WRITE of zeroes,
 *		 for each range -> [SYNC] -> end
 *
 * Under O_DIRECT the kernel wants memory, offset and length aligned, and the
 * guest owes us none of that (5.2: only multiples of 512 bytes).  Misaligned
 * memory goes through a buffer of ours; what is misaligned on the device is
 * done through the page cache.
 *
 * What is done by plain system calls (the page cache, discards of block
 * devices), and what makes more work than the guest has memory in flight for
 * (zeroes), is done in parts: a turn of the loop does so much of it and no
 * more, so that registers and the guest's other devices wait for one part at
 * the most, and a reset ends the rest.  Each part may be done again: who takes
 * over begins with the whole request.
 *
 * Each queue has its engine, buffers and counters, and is run by one thread
 * (device.h); the device is the same for all.
 */
#include "dev/blk/blk.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "dev/blk/engine.h"
#include "dev/blk/rings.h"
#include "lib/log.h"
#include "lib/util.h"

#define BIT64(n)		(UINT64_C(1) << (n))
#define SECTOR_SHIFT		9
#define SECTOR_BYTES		(1u << SECTOR_SHIFT)

#define RANGES_MAX		16u	/* of one discard or write-zeroes */
#define DISCARD_MAX_BYTES	(UINT64_C(256) << 20)	/* of one range */
#define ZEROES_MAX_BYTES	(UINT64_C(32) << 20)
#define BOUNCE_BYTES		65536u
#define ZERO_BYTES		65536u
#define ZERO_IOVS		16u	/* 1 MiB of zeroes in one write */
/* -EINTR or -EAGAIN so often in a row is no accident. */
#define RETRIES_MAX		1000u
/* One part, and the parts of a turn: so many bytes, or so long. */
#define PART_BYTES		(1u << 20)
#define PARTS_NS		(UINT64_C(2) * 1000 * 1000)
/* A part of a discard, which moves no data; or the device's granularity. */
#define DISCARD_PART_BYTES	(16u << 20)
#define FALLOC_PART_BYTES	(4u << 20)
/* Waiting for room: how soon the end of the device is seen; between tries. */
#define ROOM_TICK_NS		(UINT64_C(50) * 1000 * 1000)
#define ROOM_PAUSE_MIN_NS	(UINT64_C(100) * 1000 * 1000)
#define ROOM_PAUSE_MAX_NS	(UINT64_C(5) * 1000 * 1000 * 1000)

static const char *const stat_names[] = {
	"reads", "writes", "flushes", "discards", "write_zeroes",
	"get_ids", "errors", "unsupported", "bytes_read",
	"bytes_written", "bounced", "unaligned", "registered",
	"no_room", "waiting_for_room", NULL,
};

_Static_assert(VG_BLK_STAT_NR <= VG_DEV_STATS_NR_TYPE, "counters");
_Static_assert(ARRAY_SIZE(stat_names) == VG_BLK_STAT_NR + 1, "names");

/* Of all disks; what is only written from. */
static const uint8_t zeroes[ZERO_BYTES] __attribute__((aligned(4096)));
static const struct iovec zero_iov[ZERO_IOVS] = {
	[0 ... ZERO_IOVS - 1] = { (void *)zeroes, ZERO_BYTES },
};

struct bounce {
	struct bounce *next;
	uint8_t *data;			/* BOUNCE_BYTES, aligned */
};

/* The device: what its queues do not change. */
struct blk_dev {
	struct vg_device *dev;
	struct vg_blk_image image;
	int fd, buffered_fd; /* the same file; 0: see run_buffered() */
	int file_flags;			/* of fd */
	pthread_mutex_t flag_lock;	/* who changes those for a moment */
	bool is_read_only, is_direct, has_zeroes;
	unsigned int nr_queues;
	enum vg_blk_engine engine;
	unsigned int nr_reserved;	/* rings */
	struct vg_queue_traits traits[VG_BLK_QUEUES_MAX];
	uint64_t features;
	uint64_t sectors;		/* more while no queue is run */
	bool is_writeback;		/* config.wce; changes while no queue
					 * is run */
	/*
	 * Found out by trying; spares the next request the attempt.  Atomic,
	 * of all queues.
	 */
	bool no_punch, no_zero_range, no_discard;
	bool waits_for_room;		/* vg_blk_params */
	char serial[VIRTIO_BLK_ID_BYTES];
};

struct blk_req;

/* In the order in which they came. */
struct blk_reqs {
	struct blk_req *first, **tail;
};

/* One queue: its thread's. */
struct blk {
	struct blk_dev *d;
	struct blk_engine *engine;
	struct bounce *free_bounces;
	struct vg_ratelimit complaints;
	uint64_t *stats;
	struct vg_deferred *turn;	/* runs parts */
	struct blk_reqs parts;		/* have one to be done */
	uint64_t part_bytes;		/* of this turn's, so far */
	struct vg_timer *room_tick;
	struct blk_reqs roomless;	/* wait for room */
	uint64_t room_pause_ns, room_try_ns;	/* 0: nothing waits */
};

/* What is left of a list of buffers; the entries are changed in place. */
struct iovs {
	struct iovec *iov;
	unsigned int nr;
};

struct range {
	uint64_t offset_bytes, len_bytes;
	bool may_unmap;
};

/* How the kernel is asked to move data; each step down works more widely. */
enum how { AS_IS, BOUNCED, BUFFERED };

/* How a range is cleared; likewise.  DISCARD: of a block device. */
enum method { METHOD_PUNCH, METHOD_ZERO_RANGE, METHOD_WRITE, METHOD_DISCARD };

struct blk_req {
	struct blk_op op;
	struct blk_req *next;		/* on a list of its queue */
	struct vg_req *req;
	struct iovs out, in;		/* without header and status */
	uint8_t *status;
	uint32_t type;
	uint64_t offset_bytes, left_bytes;
	enum how how;
	enum method method;
	struct bounce *bounce;
	struct iovec own_iov;
	unsigned int retries;
	bool is_written_back;		/* the part of a range that is next */
	unsigned int nr_ranges, range_at;
	struct range ranges[RANGES_MAX];
};

/* ---- lists of buffers --------------------------------------------------- */

static void iovs_advance(struct iovs *l, size_t bytes)
{
	while (bytes && l->nr) {
		size_t n = min_u(bytes, l->iov->iov_len);

		l->iov->iov_base = (uint8_t *)l->iov->iov_base + n;
		l->iov->iov_len -= n;
		bytes -= n;
		if (!l->iov->iov_len) {
			l->iov++;
			l->nr--;
		}
	}
}

/* Copies between the first @bytes of the list and @buf; moves nothing on. */
static void iovs_copy(const struct iovs *l, void *buf, size_t bytes,
		      bool to_iovs)
{
	uint8_t *p = buf;
	unsigned int i;

	for (i = 0; bytes && i < l->nr; i++) {
		size_t n = min_u(bytes, l->iov[i].iov_len);

		if (to_iovs)
			memcpy(l->iov[i].iov_base, p, n);
		else
			memcpy(p, l->iov[i].iov_base, n);
		p += n;
		bytes -= n;
	}
}

static void iovs_zero(const struct iovs *l)
{
	unsigned int i;

	for (i = 0; i < l->nr; i++)
		memset(l->iov[i].iov_base, 0, l->iov[i].iov_len);
}

static bool iovs_are_aligned(const struct iovs *l, size_t mem_align,
			     size_t len_align)
{
	unsigned int i;

	for (i = 0; i < l->nr; i++)
		if ((uintptr_t)l->iov[i].iov_base % mem_align ||
		    l->iov[i].iov_len % len_align)
			return false;
	return true;
}

/* ---- the end of a request ----------------------------------------------- */

static void bounce_put(struct blk *b, struct blk_req *r)
{
	if (!r->bounce)
		return;
	r->bounce->next = b->free_bounces;
	b->free_bounces = r->bounce;
	r->bounce = NULL;
}

static void finish(struct blk *b, struct blk_req *r, uint8_t status)
{
	if (status == VIRTIO_BLK_S_IOERR)
		count_add(b->stats[VG_BLK_STAT_ERRORS], 1);
	else if (status == VIRTIO_BLK_S_UNSUPP)
		count_add(b->stats[VG_BLK_STAT_UNSUPPORTED], 1);
	bounce_put(b, r);
	/*
	 * used.len counts from the first writable byte (2.7.8.2) and the
	 * status is the last: what lies between is written in any case, as
	 * fills_buffers says.
	 */
	iovs_zero(&r->in);
	*r->status = status;
	vg_req_complete(r->req, (uint32_t)r->req->in_bytes);
}

static void finish_errno(struct blk *b, struct blk_req *r, const char *what,
			 int64_t res)
{
	if (vg_ratelimit_ok(&b->complaints))
		vg_err("%s: %s at byte %llu of the image failed: %s",
		       vg_device_label(b->d->dev), what,
		       (unsigned long long)r->offset_bytes,
		       res ? strerror((int)-res) : "the image ends there");
	finish(b, r, VIRTIO_BLK_S_IOERR);
}

/* ---- requests that wait ------------------------------------------------- */

static void reqs_init(struct blk_reqs *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

static void reqs_add(struct blk_reqs *l, struct blk_req *r)
{
	r->next = NULL;
	*l->tail = r;
	l->tail = &r->next;
}

static struct blk_req *reqs_take(struct blk_reqs *l)
{
	struct blk_req *r = l->first;

	if (r) {
		l->first = r->next;
		if (!l->first)
			l->tail = &l->first;
	}
	return r;
}

/* The next part of it, in this turn or the next. */
static void part_later(struct blk *b, struct blk_req *r)
{
	reqs_add(&b->parts, r);
	vg_deferred_schedule(b->turn);
}

static void part_run(struct blk *b, struct blk_req *r);

static bool parts_are_enough(const struct blk *b, uint64_t begun_ns)
{
	return b->part_bytes >= PART_BYTES ||
	       vg_now_ns() - begun_ns >= PARTS_NS;
}

/*
 * One at least.  Those who wait for the device's requests to end do not wait
 * for the rest of them.
 */
static void on_turn(void *arg)
{
	uint64_t begun_ns = vg_now_ns();
	struct blk *b = arg;
	struct blk_req *r;

	b->part_bytes = 0;
	do {
		r = reqs_take(&b->parts);
		if (r && vg_req_is_ending(r->req))
			finish(b, r, VIRTIO_BLK_S_IOERR);
		else if (r)
			part_run(b, r);
	} while (b->parts.first && !parts_are_enough(b, begun_ns));
	b->engine->ops->kick(b->engine);
	if (b->parts.first)
		vg_deferred_schedule(b->turn);
}

static void rooms_try(struct blk *b)
{
	struct blk_req *r = reqs_take(&b->roomless);

	for (; r; r = reqs_take(&b->roomless)) {
		count_add(b->stats[VG_BLK_STAT_WAITING], -1);
		part_later(b, r);
	}
}

/*
 * All is tried again, after pauses that grow while there is no room.  That the
 * device ends is looked for more often: on_turn() has it then.
 */
static void on_room_tick(void *arg)
{
	struct blk *b = arg;

	if (!b->roomless.first) {
		/* Nothing came back since the last try. */
		if (vg_now_ns() < b->room_try_ns)
			goto wait;
		vg_info("%s: there is room for the image again",
			vg_device_label(b->d->dev));
		b->room_pause_ns = b->room_try_ns = 0;
		return;
	}
	if (vg_req_is_ending(b->roomless.first->req) ||
	    vg_now_ns() >= b->room_try_ns) {
		b->room_pause_ns = min_u(b->room_pause_ns * 2,
					 ROOM_PAUSE_MAX_NS);
		b->room_try_ns = vg_now_ns() + b->room_pause_ns;
		rooms_try(b);
	}
wait:
	vg_timer_arm(b->room_tick, ROOM_TICK_NS);
}

/*
 * What an operation that takes room ended with.  True: it was for want of it,
 * and the request waits for some.
 */
static bool is_roomless(struct blk *b, struct blk_req *r, int64_t res)
{
	if (res != -ENOSPC && res != -EDQUOT)
		return false;
	if (!b->d->waits_for_room || vg_req_is_ending(r->req)) {
		count_add(b->stats[VG_BLK_STAT_NO_ROOM], 1);
		return false;
	}
	if (!b->room_pause_ns) {
		vg_warn("%s: no room for the image (%s): writes wait for some",
			vg_device_label(b->d->dev), strerror((int)-res));
		count_add(b->stats[VG_BLK_STAT_NO_ROOM], 1);
		b->room_pause_ns = ROOM_PAUSE_MIN_NS;
		b->room_try_ns = vg_now_ns() + b->room_pause_ns;
		vg_timer_arm(b->room_tick, ROOM_TICK_NS);
	}
	bounce_put(b, r);
	reqs_add(&b->roomless, r);
	count_add(b->stats[VG_BLK_STAT_WAITING], 1);
	return true;
}

/* ---- read and write ----------------------------------------------------- */

static struct iovs *data_of(struct blk_req *r)
{
	return r->type == VIRTIO_BLK_T_IN ? &r->in : &r->out;
}

static int write_flags(const struct blk *b)
{
	return b->d->is_writeback ? 0 : RWF_DSYNC;
}

static bool is_dio_place(const struct blk *b, uint64_t offset, uint64_t len)
{
	uint32_t align = b->d->image.dio_offset_align_bytes;

	return !b->d->is_direct || (offset % align == 0 && len % align == 0);
}

/*
 * One operation past O_DIRECT, by the second descriptor.  Without one it is
 * the flag of the first, which belongs to the open file: others' operations
 * may then go through the page cache meanwhile, too, which Linux keeps
 * coherent.
 */
static int64_t run_buffered(struct blk *b, const struct blk_op *op)
{
	struct blk_dev *d = b->d;
	int64_t res;

	count_add(b->stats[VG_BLK_STAT_UNALIGNED], 1);
	if (d->buffered_fd > 0)
		return blk_op_run_sync(d->buffered_fd, op);
	pthread_mutex_lock(&d->flag_lock);
	if (fcntl(d->fd, F_SETFL, d->file_flags & ~O_DIRECT) < 0) {
		res = -errno;
	} else {
		res = blk_op_run_sync(d->fd, op);
		if (fcntl(d->fd, F_SETFL, d->file_flags) < 0 && res >= 0)
			res = -errno;
	}
	pthread_mutex_unlock(&d->flag_lock);
	return res;
}

static bool bounce_get(struct blk *b, struct blk_req *r)
{
	struct bounce *bo = b->free_bounces;
	void *data;

	if (r->bounce)
		return true;
	if (bo) {
		b->free_bounces = bo->next;
		r->bounce = bo;
		return true;
	}
	bo = malloc(sizeof(*bo));
	if (!bo)
		return false;
	if (posix_memalign(&data, max_u(4096u, b->d->image.dio_mem_align_bytes),
			   BOUNCE_BYTES)) {
		free(bo);
		return false;
	}
	bo->data = data;
	r->bounce = bo;
	return true;
}

static void rw_moved(struct blk *b, struct blk_req *r, uint64_t bytes)
{
	bool is_read = r->type == VIRTIO_BLK_T_IN;

	iovs_advance(data_of(r), bytes);
	r->offset_bytes += bytes;
	r->left_bytes -= bytes;
	r->retries = 0;
	count_add(b->stats[is_read ? VG_BLK_STAT_BYTES_READ :
				     VG_BLK_STAT_BYTES_WRITTEN],
		  bytes);
}

static bool is_again(struct blk_req *r, int64_t res)
{
	return (res == -EINTR || res == -EAGAIN) &&
	       r->retries++ < RETRIES_MAX;
}

static const char *rw_name(const struct blk_req *r)
{
	return r->type == VIRTIO_BLK_T_IN ? "reading" : "writing";
}

/* The first of its buffers, together a part at the most. */
static void part_of_data(struct blk_req *r)
{
	const struct iovs *data = data_of(r);
	uint64_t bytes = 0;
	unsigned int n = 0;

	while (n < data->nr && bytes + data->iov[n].iov_len <= PART_BYTES)
		bytes += data->iov[n++].iov_len;
	r->op.iov = data->iov;
	r->op.nr_iov = n;
	if (n)
		return;
	r->own_iov = (struct iovec){ data->iov->iov_base, PART_BYTES };
	r->op.iov = &r->own_iov;
	r->op.nr_iov = 1;
}

static void rw_failed(struct blk *b, struct blk_req *r, int64_t res)
{
	if (r->type == VIRTIO_BLK_T_OUT && is_roomless(b, r, res))
		return;
	finish_errno(b, r, rw_name(r), res);
}

static void rw_part(struct blk *b, struct blk_req *r)
{
	int64_t res;

	part_of_data(r);
	r->op.offset_bytes = r->offset_bytes;
	res = run_buffered(b, &r->op);
	if (is_again(r, res))
		return part_later(b, r);
	if (res <= 0)
		return rw_failed(b, r, res);
	b->part_bytes += (uint64_t)res;
	rw_moved(b, r, (uint64_t)res);
	if (r->left_bytes)
		return part_later(b, r);
	finish(b, r, VIRTIO_BLK_S_OK);
}

static enum how rw_how(struct blk *b, struct blk_req *r)
{
	const struct vg_blk_image *im = &b->d->image;

	if (!b->d->is_direct)
		return AS_IS;
	if (r->how == BUFFERED ||
	    !is_dio_place(b, r->offset_bytes, r->left_bytes))
		return BUFFERED;
	if (r->how == AS_IS &&
	    iovs_are_aligned(data_of(r), im->dio_mem_align_bytes,
			     im->dio_mem_align_bytes))
		return AS_IS;
	return bounce_get(b, r) ? BOUNCED : BUFFERED;
}

/* Asks for all that is left. */
static void rw_next(struct blk *b, struct blk_req *r)
{
	struct iovs *data = data_of(r);
	size_t n;

	r->how = rw_how(b, r);
	switch (r->how) {
	case AS_IS:
		r->op.iov = data->iov;
		r->op.nr_iov = data->nr;
		break;
	case BOUNCED:
		count_add(b->stats[VG_BLK_STAT_BOUNCED], 1);
		n = min_u(r->left_bytes, (uint64_t)BOUNCE_BYTES);
		if (r->type == VIRTIO_BLK_T_OUT)
			iovs_copy(data, r->bounce->data, n, false);
		r->own_iov = (struct iovec){ r->bounce->data, n };
		r->op.iov = &r->own_iov;
		r->op.nr_iov = 1;
		break;
	case BUFFERED:
		return part_later(b, r);
	}
	r->op.offset_bytes = r->offset_bytes;
	b->engine->ops->submit(b->engine, &r->op);
}

static void rw_done(struct blk *b, struct blk_req *r, int64_t res)
{
	if (r->op.is_fixed)
		count_add(b->stats[VG_BLK_STAT_REGISTERED], 1);
	if (is_again(r, res))
		return rw_next(b, r);
	/* Our notion of alignment, or of pinnable memory, was too good. */
	if ((res == -EINVAL || res == -EFAULT) && b->d->is_direct) {
		r->how = r->how == AS_IS ? BOUNCED : BUFFERED;
		return rw_next(b, r);
	}
	if (res <= 0)
		return rw_failed(b, r, res);
	if (r->how == BOUNCED && r->type == VIRTIO_BLK_T_IN)
		iovs_copy(&r->in, r->bounce->data, (size_t)res, true);
	rw_moved(b, r, (uint64_t)res);
	if (r->left_bytes)
		rw_next(b, r);
	else
		finish(b, r, VIRTIO_BLK_S_OK);
}

/* 5.2.6.2: a request beyond the end, or not of whole sectors, is an error. */
static bool is_in_image(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = bytes >> SECTOR_SHIFT;

	return bytes % SECTOR_BYTES == 0 && sector <= b->d->sectors &&
	       sectors <= b->d->sectors - sector;
}

static void rw_start(struct blk *b, struct blk_req *r, uint64_t sector)
{
	bool is_read = r->type == VIRTIO_BLK_T_IN;

	count_add(b->stats[is_read ? VG_BLK_STAT_READS : VG_BLK_STAT_WRITES],
		  1);
	r->left_bytes = is_read ? r->req->in_bytes - 1 :
				  r->req->out_bytes -
				  sizeof(struct virtio_blk_outhdr);
	if ((!is_read && b->d->is_read_only) ||
	    !is_in_image(b, sector, r->left_bytes))
		return finish(b, r, VIRTIO_BLK_S_IOERR);
	if (!r->left_bytes)
		return finish(b, r, VIRTIO_BLK_S_OK);
	r->offset_bytes = sector << SECTOR_SHIFT;
	r->op.kind = is_read ? BLK_OP_READ : BLK_OP_WRITE;
	r->op.rw_flags = is_read ? 0 : write_flags(b);
	rw_next(b, r);
}

/* ---- flush -------------------------------------------------------------- */

/* Covers every write completed so far: they are done before this begins. */
static void sync_start(struct blk *b, struct blk_req *r)
{
	r->op.kind = BLK_OP_SYNC;
	b->engine->ops->submit(b->engine, &r->op);
}

static void sync_done(struct blk *b, struct blk_req *r, int64_t res)
{
	if (is_again(r, res))
		return sync_start(b, r);
	if (res < 0)
		return finish_errno(b, r, "flushing", res);
	if (r->is_written_back)
		return part_later(b, r);
	finish(b, r, VIRTIO_BLK_S_OK);
}

/* ---- discard and write zeroes ------------------------------------------- */

static void range_next(struct blk *b, struct blk_req *r);

static bool is_not_supported(int64_t res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -EINVAL ||
	       res == -ENODEV || res == -ENOTTY;
}

static void range_moved(struct blk_req *r, uint64_t bytes)
{
	r->offset_bytes += bytes;
	r->left_bytes -= bytes;
	r->retries = 0;
	r->is_written_back = false;
}

static void range_finished(struct blk *b, struct blk_req *r)
{
	r->range_at++;
	r->left_bytes = 0;
	r->is_written_back = false;
	range_next(b, r);
}

/*
 * What is cleared of a block device leaves the page cache first.  Who has not
 * opened it exclusively, while somebody else has (image.c has), gets -EBUSY for
 * pages that are dirty: Linux, truncate_bdev_range().  Written back, they can
 * go.
 */
static bool is_busy(struct blk *b, struct blk_req *r, int64_t res)
{
	if (res != -EBUSY || r->is_written_back)
		return false;
	r->is_written_back = true;
	sync_start(b, r);
	return true;
}

/*
 * As much as one part, up to a multiple of what the device discards at all: a
 * part that ends within that would leave it as it is.
 */
static uint64_t discard_part_bytes(const struct blk *b, const struct blk_req *r)
{
	uint64_t unit = max_u(b->d->image.discard_granularity_bytes, 1u);
	uint64_t part = max_u(DISCARD_PART_BYTES / unit * unit, unit);

	return min_u(r->left_bytes, part - r->offset_bytes % part);
}

/*
 * BLKDISCARD is what the guest asks for.  Punching a hole is not: it promises
 * zeroes, and Linux writes them where the device can't unmap that way, which
 * fills what the guest wants to have emptied.
 */
static void discard_part(struct blk *b, struct blk_req *r)
{
	uint64_t range[2] = { r->offset_bytes, discard_part_bytes(b, r) };
	int64_t res = 0;

	if (count_read(b->d->no_discard))
		return range_finished(b, r);
	if (ioctl(b->d->fd, BLKDISCARD, range) < 0)
		res = -errno;
	b->part_bytes += PART_BYTES;
	if (is_again(r, res))
		return part_later(b, r);
	if (is_busy(b, r, res))
		return;
	/* It is a hint: who can't has done what there is to be done. */
	if (is_not_supported(res) || res == -EBUSY) {
		if (res != -EINVAL && res != -EBUSY)
			__atomic_store_n(&b->d->no_discard, true,
					 __ATOMIC_RELAXED);
		return range_finished(b, r);
	}
	if (res < 0)
		return finish_errno(b, r, "discarding", res);
	range_moved(r, range[1]);
	if (r->left_bytes)
		return part_later(b, r);
	range_finished(b, r);
}

/* The next part of the range as a write of zeroes. */
static void zeroes_fill(struct blk *b, struct blk_req *r)
{
	uint64_t left = r->left_bytes;

	r->op.kind = BLK_OP_WRITE;
	r->op.rw_flags = write_flags(b);
	r->op.offset_bytes = r->offset_bytes;
	if (left >= ZERO_BYTES) {
		r->op.iov = zero_iov;
		r->op.nr_iov = (unsigned int)
			min_u(left / ZERO_BYTES, (uint64_t)ZERO_IOVS);
	} else {
		r->own_iov = (struct iovec){ (void *)zeroes, left };
		r->op.iov = &r->own_iov;
		r->op.nr_iov = 1;
	}
}

static void zeroes_done(struct blk *b, struct blk_req *r, int64_t res)
{
	if (is_again(r, res))
		return part_later(b, r);
	/* Our notion of alignment was too good. */
	if (res == -EINVAL && b->d->is_direct && r->how != BUFFERED) {
		r->how = BUFFERED;
		return part_later(b, r);
	}
	if (is_roomless(b, r, res))
		return;
	if (res <= 0)
		return finish_errno(b, r, "writing zeroes", res);
	range_moved(r, (uint64_t)res);
	if (r->left_bytes)
		return part_later(b, r);
	range_finished(b, r);
}

/* Past O_DIRECT where the place is misaligned. */
static void zeroes_part(struct blk *b, struct blk_req *r)
{
	zeroes_fill(b, r);
	b->part_bytes += PART_BYTES;
	if (r->how != BUFFERED &&
	    is_dio_place(b, r->offset_bytes, r->left_bytes))
		b->engine->ops->submit(b->engine, &r->op);
	else
		zeroes_done(b, r, run_buffered(b, &r->op));
}

/* A block device may have to write the zeroes, for which we wait. */
static uint64_t falloc_bytes(const struct blk *b, const struct blk_req *r)
{
	if (b->d->engine == VG_BLK_ENGINE_SYNC && b->d->image.is_block_device)
		return min_u(r->left_bytes, (uint64_t)FALLOC_PART_BYTES);
	return r->left_bytes;
}

static void range_try(struct blk *b, struct blk_req *r)
{
	if (r->method == METHOD_PUNCH && count_read(b->d->no_punch))
		r->method = METHOD_ZERO_RANGE;
	/* Of a file: nothing but a hole makes room. */
	if (r->method == METHOD_ZERO_RANGE && r->type == VIRTIO_BLK_T_DISCARD)
		return range_finished(b, r);
	if (r->method == METHOD_ZERO_RANGE && count_read(b->d->no_zero_range))
		r->method = METHOD_WRITE;
	if (r->method == METHOD_WRITE)
		return zeroes_part(b, r);
	b->part_bytes += PART_BYTES;
	r->op.kind = BLK_OP_FALLOCATE;
	r->op.falloc_mode = FALLOC_FL_KEEP_SIZE |
			    (r->method == METHOD_PUNCH ? FALLOC_FL_PUNCH_HOLE :
							 FALLOC_FL_ZERO_RANGE);
	r->op.offset_bytes = r->offset_bytes;
	r->op.len_bytes = falloc_bytes(b, r);
	b->engine->ops->submit(b->engine, &r->op);
}

static enum method first_method(const struct blk *b, const struct blk_req *r)
{
	if (r->type == VIRTIO_BLK_T_DISCARD && b->d->image.is_block_device)
		return METHOD_DISCARD;
	return r->ranges[r->range_at].may_unmap ? METHOD_PUNCH :
						  METHOD_ZERO_RANGE;
}

/* What can't be discarded exactly need not be: whole blocks inside only. */
static void shrink_to_blocks(const struct blk *b, struct blk_req *r)
{
	uint64_t align = b->d->image.logical_block_bytes;
	uint64_t first = (r->offset_bytes + align - 1) / align * align;
	uint64_t end = (r->offset_bytes + r->left_bytes) / align * align;

	r->offset_bytes = first;
	r->left_bytes = end > first ? end - first : 0;
}

/* The next range that has bytes, or the end. */
static void range_next(struct blk *b, struct blk_req *r)
{
	for (; r->range_at < r->nr_ranges; r->range_at++) {
		const struct range *g = &r->ranges[r->range_at];

		r->offset_bytes = g->offset_bytes;
		r->left_bytes = g->len_bytes;
		r->method = first_method(b, r);
		if (r->type == VIRTIO_BLK_T_DISCARD)
			shrink_to_blocks(b, r);
		if (r->left_bytes)
			return part_later(b, r);
	}
	if (b->d->is_writeback)
		finish(b, r, VIRTIO_BLK_S_OK);
	else
		sync_start(b, r);
}

static void range_done(struct blk *b, struct blk_req *r, int64_t res)
{
	if (r->method == METHOD_WRITE)
		return zeroes_done(b, r, res);
	if (is_again(r, res))
		return part_later(b, r);
	if (is_roomless(b, r, res) || is_busy(b, r, res))
		return;
	/* It is written to all the time. */
	if (res == -EBUSY) {
		r->method = METHOD_WRITE;
		return part_later(b, r);
	}
	if (is_not_supported(res)) {
		/* -EINVAL is about this range: blocks larger than sectors. */
		if (res != -EINVAL && r->method == METHOD_PUNCH)
			__atomic_store_n(&b->d->no_punch, true,
					 __ATOMIC_RELAXED);
		else if (res != -EINVAL)
			__atomic_store_n(&b->d->no_zero_range, true,
					 __ATOMIC_RELAXED);
		r->method++;
		return part_later(b, r);
	}
	if (res < 0)
		return finish_errno(b, r, "clearing", res);
	range_moved(r, r->op.len_bytes);
	if (r->left_bytes)
		return part_later(b, r);
	range_finished(b, r);
}

/* Copies and checks the ranges; VIRTIO_BLK_S_OK or what is wrong. */
static uint8_t ranges_take(struct blk *b, struct blk_req *r)
{
	bool is_discard = r->type == VIRTIO_BLK_T_DISCARD;
	uint64_t bytes_max = is_discard ? DISCARD_MAX_BYTES : ZEROES_MAX_BYTES;
	struct virtio_blk_discard_write_zeroes d;
	uint64_t bytes = r->req->out_bytes - sizeof(struct virtio_blk_outhdr);
	unsigned int i, n = (unsigned int)(bytes / sizeof(d));

	if (b->d->is_read_only)
		return VIRTIO_BLK_S_IOERR;
	if (is_discard ? !b->d->image.discard_max_bytes || !b->d->has_zeroes :
			 !b->d->has_zeroes)
		return VIRTIO_BLK_S_UNSUPP;
	if (!bytes || bytes % sizeof(d) || bytes / sizeof(d) > RANGES_MAX)
		return VIRTIO_BLK_S_IOERR;

	for (i = 0; i < n; i++) {
		uint32_t flags, num;
		uint64_t sector;

		iovs_copy(&r->out, &d, sizeof(d), false);
		iovs_advance(&r->out, sizeof(d));
		sector = le64toh(d.sector);
		num = le32toh(d.num_sectors);
		flags = le32toh(d.flags);
		/* 5.2.6.2: unmap only with write zeroes, nothing else ever. */
		if (flags & ~(is_discard ? 0u :
			      VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
			return VIRTIO_BLK_S_UNSUPP;
		if (num > bytes_max >> SECTOR_SHIFT ||
		    !is_in_image(b, sector, (uint64_t)num << SECTOR_SHIFT))
			return VIRTIO_BLK_S_IOERR;
		r->ranges[i] = (struct range){
			.offset_bytes = sector << SECTOR_SHIFT,
			.len_bytes = (uint64_t)num << SECTOR_SHIFT,
			.may_unmap = is_discard || flags,
		};
	}
	r->nr_ranges = n;
	return VIRTIO_BLK_S_OK;
}

static void range_part(struct blk *b, struct blk_req *r)
{
	if (r->method == METHOD_DISCARD)
		discard_part(b, r);
	else
		range_try(b, r);
}

static void ranges_start(struct blk *b, struct blk_req *r)
{
	uint8_t status = ranges_take(b, r);

	count_add(b->stats[r->type == VIRTIO_BLK_T_DISCARD ?
				   VG_BLK_STAT_DISCARDS :
				   VG_BLK_STAT_ZEROES],
		  1);
	if (status != VIRTIO_BLK_S_OK)
		return finish(b, r, status);
	range_next(b, r);
}

/* ---- requests ----------------------------------------------------------- */

static void get_id(struct blk *b, struct blk_req *r)
{
	size_t n = min_u(r->req->in_bytes - 1, (uint64_t)sizeof(b->d->serial));

	count_add(b->stats[VG_BLK_STAT_GET_IDS], 1);
	iovs_copy(&r->in, b->d->serial, n, true);
	iovs_advance(&r->in, n);
	finish(b, r, VIRTIO_BLK_S_OK);
}

/* The last writable byte, wherever the driver's descriptors put it. */
static void status_take(struct blk_req *r)
{
	struct iovec *last = &r->in.iov[r->in.nr - 1];

	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	if (!last->iov_len)
		r->in.nr--;
}

static int blk_start(void *queue, struct vg_req *req)
{
	struct blk_req *r = req->type_priv;
	struct virtio_blk_outhdr hdr;
	struct blk *b = queue;

	if (req->out_bytes < sizeof(hdr) || req->in_bytes < 1)
		return -EINVAL;
	r->req = req;
	r->out = (struct iovs){ req->iov, req->nr_out };
	r->in = (struct iovs){ req->iov + req->nr_out, req->nr_in };
	status_take(r);
	iovs_copy(&r->out, &hdr, sizeof(hdr), false);
	iovs_advance(&r->out, sizeof(hdr));
	r->type = le32toh(hdr.type);

	switch (r->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		rw_start(b, r, le64toh(hdr.sector));
		break;
	case VIRTIO_BLK_T_FLUSH:
		count_add(b->stats[VG_BLK_STAT_FLUSHES], 1);
		sync_start(b, r);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(b, r);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		ranges_start(b, r);
		break;
	default:
		finish(b, r, VIRTIO_BLK_S_UNSUPP);
		break;
	}
	return 0;
}

static void part_run(struct blk *b, struct blk_req *r)
{
	if (r->nr_ranges)
		range_part(b, r);
	else if (r->how == BUFFERED)
		rw_part(b, r);
	else
		rw_next(b, r);		/* it waited for room */
}

static void op_done(void *arg, struct blk_op *op, int64_t res)
{
	struct blk_req *r = container_of(op, struct blk_req, op);
	struct blk *b = arg;

	if (r->op.kind == BLK_OP_SYNC)
		sync_done(b, r, res);
	else if (r->nr_ranges)
		range_done(b, r, res);
	else
		rw_done(b, r, res);
}

static void blk_flush_batch(void *queue)
{
	struct blk *b = queue;

	b->engine->ops->kick(b->engine);
}

/* ---- features and configuration space ----------------------------------- */

static bool offers_discard(const struct blk_dev *b)
{
	return b->has_zeroes && b->image.discard_max_bytes;
}

static uint64_t blk_features(void *priv)
{
	const struct blk_dev *b = priv;
	uint64_t f = BIT64(VIRTIO_BLK_F_SEG_MAX) |
		     BIT64(VIRTIO_BLK_F_SIZE_MAX) |
		     BIT64(VIRTIO_BLK_F_BLK_SIZE) |
		     BIT64(VIRTIO_BLK_F_TOPOLOGY) |
		     BIT64(VIRTIO_BLK_F_FLUSH) |
		     BIT64(VIRTIO_BLK_F_CONFIG_WCE);

	if (b->is_read_only)
		f |= BIT64(VIRTIO_BLK_F_RO);
	if (b->has_zeroes)
		f |= BIT64(VIRTIO_BLK_F_WRITE_ZEROES);
	if (offers_discard(b))
		f |= BIT64(VIRTIO_BLK_F_DISCARD);
	if (b->nr_queues > 1)
		f |= BIT64(VIRTIO_BLK_F_MQ);
	return f;
}

static int blk_set_features(void *priv, uint64_t features)
{
	struct blk_dev *b = priv;

	b->features = features;
	/* 5.2.5.2: a driver that can't flush gets a writethrough cache. */
	b->is_writeback = features & BIT64(VIRTIO_BLK_F_FLUSH);
	return 0;
}

static void blk_reset(void *priv)
{
	struct blk_dev *b = priv;

	b->features = 0;
	b->is_writeback = true;
}

static uint32_t seg_max(const struct blk_dev *b)
{
	unsigned int size = vg_device_queue_size_max(b->dev);

	return size > 3 ? min_u(size - 2, VG_BLK_SEG_MAX) : 1;
}

static uint8_t log2_of(uint32_t v)
{
	uint8_t n = 0;

	while (v >>= 1)
		n++;
	return n;
}

static void config_fill(const struct blk_dev *b, struct virtio_blk_config *c)
{
	const struct vg_blk_image *im = &b->image;
	uint32_t block = im->logical_block_bytes;

	memset(c, 0, sizeof(*c));
	c->capacity = htole64(b->sectors);
	c->size_max = htole32(VG_BLK_SIZE_MAX_BYTES);
	c->seg_max = htole32(seg_max(b));
	c->blk_size = htole32(block);
	c->physical_block_exp = log2_of(im->physical_block_bytes / block);
	c->alignment_offset = (uint8_t)
		min_u(im->alignment_offset_bytes / block, 255u);
	c->min_io_size = htole16((uint16_t)
				 min_u(im->io_min_bytes / block, 65535u));
	c->opt_io_size = htole32(im->io_opt_bytes / block);
	c->wce = b->is_writeback;
	if (b->nr_queues > 1)
		c->num_queues = htole16((uint16_t)b->nr_queues);
	if (offers_discard(b)) {
		c->max_discard_sectors =
			htole32(DISCARD_MAX_BYTES >> SECTOR_SHIFT);
		c->max_discard_seg = htole32(RANGES_MAX);
		c->discard_sector_alignment = htole32(
			max_u(im->discard_granularity_bytes, block) >>
			SECTOR_SHIFT);
	}
	if (b->has_zeroes) {
		c->max_write_zeroes_sectors =
			htole32(ZEROES_MAX_BYTES >> SECTOR_SHIFT);
		c->max_write_zeroes_seg = htole32(RANGES_MAX);
		c->write_zeroes_may_unmap = offers_discard(b);
	}
}

static void blk_config_read(void *priv, unsigned int offset, void *buf,
			    unsigned int len_bytes)
{
	struct virtio_blk_config c;

	config_fill(priv, &c);
	memcpy(buf, (const uint8_t *)&c + offset, len_bytes);
}

static void blk_config_write(void *priv, unsigned int offset, const void *buf,
			     unsigned int len_bytes)
{
	struct blk_dev *b = priv;

	if (offset != offsetof(struct virtio_blk_config, wce) ||
	    len_bytes != 1 ||
	    !(b->features & BIT64(VIRTIO_BLK_F_CONFIG_WCE)))
		return;
	b->is_writeback = *(const uint8_t *)buf & 1;
}

/* What config_write set. */
struct blk_state {
	uint32_t is_writeback;
};

static void blk_get_state(void *priv, void *state)
{
	((struct blk_state *)state)->is_writeback =
		((struct blk_dev *)priv)->is_writeback;
}

static void blk_put_state(void *priv, const void *state)
{
	((struct blk_dev *)priv)->is_writeback =
		((const struct blk_state *)state)->is_writeback & 1;
}

/* Told twice, if we are killed in between, it is told what it knows. */
static void note_told(struct blk_dev *b)
{
	uint64_t *told = vg_device_told(b->dev);

	vg_step();
	if (told)
		WRITE_ONCE(told[0], b->image.size_bytes);
}

/* A driver that knew the image as larger or smaller reads again. */
static void blk_begin(void *priv, bool is_taken_over)
{
	struct blk_dev *b = priv;
	const uint64_t *told = vg_device_told(b->dev);

	if (is_taken_over && told && told[0] != b->image.size_bytes)
		vg_device_config_changed(b->dev);
	note_told(b);
}

/*
 * Only larger: what is under way was checked against what there was.  One that
 * takes over finds the size by itself, whether we got here or not.
 */
static int blk_resized(void *priv, const uint64_t change[VG_DEV_WORDS])
{
	struct blk_dev *b = priv;

	if (change[0] < b->image.size_bytes || change[0] % SECTOR_BYTES)
		return -EINVAL;
	if (change[0] == b->image.size_bytes)
		return 0;
	vg_step();
	b->image.size_bytes = change[0];
	b->sectors = change[0] >> SECTOR_SHIFT;
	vg_device_config_changed(b->dev);
	note_told(b);
	return 0;
}

static unsigned int blk_nr_queues(void *priv)
{
	return ((struct blk_dev *)priv)->nr_queues;
}

/* ---- life cycle --------------------------------------------------------- */

/* So that a device which wants io_uring and has none is refused at once. */
static int engine_probe(struct blk_dev *d, enum vg_blk_engine which)
{
	int err;

	d->engine = which;
	if (which == VG_BLK_ENGINE_SYNC)
		return 0;
	err = vg_blk_rings_reserve(d->nr_queues);
	if (err) {
		vg_err("%s: the worker has no io_uring left for its queues (%u)",
		       vg_device_label(d->dev), d->nr_queues);
		return err;
	}
	d->nr_reserved = d->nr_queues;
	err = blk_engine_uring_probe();
	if (err && which == VG_BLK_ENGINE_URING) {
		vg_err("%s: no io_uring here: %s", vg_device_label(d->dev),
		       strerror(-err));
		return err;
	}
	if (err) {
		vg_info("%s: no io_uring here (%s): plain system calls",
			vg_device_label(d->dev), strerror(-err));
		d->engine = VG_BLK_ENGINE_SYNC;
	}
	return 0;
}

static void engine_create(struct blk *b, struct vg_loop *loop)
{
	unsigned int depth = vg_device_queue_size_max(b->d->dev);
	int err;

	if (b->d->engine != VG_BLK_ENGINE_SYNC) {
		err = blk_engine_uring_create(b->d->fd,
					      vg_device_hold_fd(b->d->dev),
					      loop, depth, op_done, b,
					      &b->engine);
		if (!err)
			return;
		vg_warn("%s: no io_uring for a queue (%s): plain system calls",
			vg_device_label(b->d->dev), strerror(-err));
	}
	blk_engine_sync_create(b->d->fd, op_done, b, &b->engine);
}

static void *blk_queue_create(void *priv, unsigned int queue,
			      struct vg_loop *loop, uint64_t *stats)
{
	struct blk *b = vg_zalloc(sizeof(*b));

	(void)queue;
	b->d = priv;
	b->stats = stats;
	b->complaints.burst = 4;
	b->turn = vg_deferred_create(loop, on_turn, b);
	b->room_tick = vg_timer_create(loop, on_room_tick, b);
	reqs_init(&b->parts);
	reqs_init(&b->roomless);
	engine_create(b, loop);
	return b;
}

static void blk_queue_destroy(void *queue)
{
	struct blk *b = queue;

	b->engine->ops->destroy(b->engine);
	vg_deferred_destroy(b->turn);
	vg_timer_destroy(b->room_tick);
	while (b->free_bounces) {
		struct bounce *bo = b->free_bounces;

		b->free_bounces = bo->next;
		free(bo->data);
		free(bo);
	}
	free(b);
}

static void blk_queue_areas(void *queue,
			    const struct iovec areas[VG_MEM_RANGES_MAX])
{
	struct blk *b = queue;

	if (b->engine->ops->areas)
		b->engine->ops->areas(b->engine, areas);
}

static void close_files(const struct blk_dev *b)
{
	close(b->fd);
	if (b->buffered_fd > 0)
		close(b->buffered_fd);
}

/* Each queue a thread. */
static void traits_init(struct blk_dev *b)
{
	unsigned int i;

	for (i = 0; i < b->nr_queues; i++)
		b->traits[i] = (struct vg_queue_traits){
			/* Header and status in a few pieces each is odd, but
			 * no fault. */
			.segs_max = VG_BLK_SEG_MAX + 8,
			.fills_buffers = true,	/* finish() */
			.may_poll = true,
			.thread = i + 1,
		};
}

static const struct vg_queue_traits *blk_traits(void *priv, unsigned int queue)
{
	return &((struct blk_dev *)priv)->traits[queue];
}

static int blk_create(struct vg_device *dev, const struct vg_dev_parts *parts,
		      void **priv)
{
	const struct vg_blk_params *p = (const void *)parts->blob;
	struct blk_dev *b = vg_zalloc(sizeof(*b));
	const char *why;
	int err, fl;

	if (parts->fds[0] < 0) {
		free(b);
		return -EINVAL;
	}
	b->dev = dev;
	b->fd = parts->fds[0];
	b->buffered_fd = max_u(parts->fds[1], 0);
	b->nr_queues = parts->nr_queues ?
		       min_u(parts->nr_queues, VG_BLK_QUEUES_MAX) : 1;
	traits_init(b);
	b->image = p->image;
	err = p->is_probed ? 0 : vg_blk_probe(b->fd, &b->image, &why);
	if (err) {
		vg_err("%s: the image %s", vg_device_label(dev), why);
		goto free_blk;
	}
	/* io_uring takes O_NONBLOCK at its word: -EAGAIN rather than wait. */
	fl = fcntl(b->fd, F_GETFL);
	b->is_direct = fl & O_DIRECT;
	b->file_flags = fl & ~O_NONBLOCK;
	pthread_mutex_init(&b->flag_lock, NULL);
	if (fl & O_NONBLOCK && fcntl(b->fd, F_SETFL, b->file_flags) < 0) {
		err = -errno;
		goto free_blk;
	}
	err = engine_probe(b, p->engine);
	if (err)
		goto unreserve;
	b->is_read_only = p->read_only;
	b->has_zeroes = p->discard && !p->read_only;
	b->waits_for_room = p->waits_for_room;
	b->sectors = b->image.size_bytes >> SECTOR_SHIFT;
	b->is_writeback = true;
	memcpy(b->serial, p->serial, sizeof(b->serial));
	*priv = b;
	return 0;

unreserve:
	vg_blk_rings_unreserve(b->nr_reserved);
free_blk:
	close_files(b);
	free(b);
	return err;
}

static void blk_destroy(void *priv)
{
	struct blk_dev *b = priv;

	vg_blk_rings_unreserve(b->nr_reserved);
	close_files(b);
	free(b);
}

const struct vg_dev_type vg_dev_blk = {
	.name = "blk",
	.virtio_id = VIRTIO_ID_BLOCK,
	.kind = "virtio_disk",
	.has_threads = true,
	.options = vg_blk_option_table,
	.stat_names = stat_names,
	.host = &vg_blk_host,
	.prepare = vg_blk_prepare,
	.req_priv_bytes = sizeof(struct blk_req),
	.create = blk_create,
	.destroy = blk_destroy,
	.features = blk_features,
	.nr_queues = blk_nr_queues,
	.traits = blk_traits,
	.begin = blk_begin,
	.resized = blk_resized,
	.set_features = blk_set_features,
	.config_bytes = offsetof(struct virtio_blk_config,
				 max_secure_erase_sectors),
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.queue_create = blk_queue_create,
	.queue_destroy = blk_queue_destroy,
	.queue_areas = blk_queue_areas,
	.start = blk_start,
	.flush_batch = blk_flush_batch,
	.reset = blk_reset,
	.get_state = blk_get_state,
	.put_state = blk_put_state,
};
