// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_blk_faults.c - the block device over a kernel that is difficult: moves
 * only a part, is interrupted, knows no fallocate(), fails, and insists on
 * 4096-byte blocks under O_DIRECT.
 *
 * dev/blk/blk.c is compiled into this program with an engine, a probe and
 * system calls of ours in place of its own.
 */
#define vg_dev_blk		vg_dev_blk_faulty
#define vg_blk_probe		faulty_probe
#define blk_engine_sync_create	faulty_engine_create
#define blk_op_run_sync		faulty_run_sync

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

static int faulty_ioctl(int fd, unsigned long nr, const uint64_t *range);
#define ioctl			faulty_ioctl

#include "dev/blk/blk.c"

#undef blk_op_run_sync
#undef ioctl
int64_t blk_op_run_sync(int fd, const struct blk_op *op);

#include "host.h"

#define IMAGE_BYTES	(4u << 20)
#define SECTORS		(IMAGE_BYTES / 512)

static struct {
	uint32_t block; /* of a pretended block device; 0: file */
	uint64_t discard_max;
	unsigned int part;		/* moves at most so many bytes */
	unsigned int interrupts;	/* so many -EINTR or -EAGAIN first */
	int rw_error, sync_error;
	int punch_error, zero_error;
	bool no_user_memory;		/* -EFAULT but for aligned memory */
	int discard_error;
	bool is_dirty;			/* -EBUSY until a sync, with ... */
	bool stays_dirty;		/* ... for good */
	uint64_t full_from;		/* no room from there on; 0: there is */
	uint64_t fail_from;		/* -EIO from there on; 0: none */
	unsigned int ops, punches, zero_ranges, writes, syncs;
	unsigned int discards, buffered, busy;
	unsigned int no_dsync; /* writes that were not written through */
	uint64_t discarded[64][2];
	uint64_t done_bytes;		/* by whatever call, in this turn */
} k;

static int faulty_ioctl(int fd, unsigned long nr, const uint64_t *range)
{
	assert_int_equal(nr, BLKDISCARD);
	k.done_bytes += range[1];
	if (k.discards < ARRAY_SIZE(k.discarded))
		memcpy(k.discarded[k.discards], range, 16);
	k.discards++;
	errno = k.is_dirty ? EBUSY : k.discard_error;
	if (errno)
		return -1;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)range[0], (off_t)range[1]);
}

static uint64_t op_bytes(const struct blk_op *op)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < op->nr_iov; i++)
		n += op->iov[i].iov_len;
	return n;
}

/* Past the engine: buffered. */
int64_t faulty_run_sync(int fd, const struct blk_op *op)
{
	uint64_t n = op_bytes(op);

	k.buffered++;
	k.done_bytes += n;
	if (op->kind == BLK_OP_WRITE) {
		k.no_dsync += !(op->rw_flags & RWF_DSYNC);
		if (k.full_from && op->offset_bytes + n > k.full_from)
			return -ENOSPC;
	}
	return blk_op_run_sync(fd, op);
}

struct faulty {
	struct blk_engine e;
	struct blk_op_list queue;
};

static int64_t rw(struct blk_engine *e, const struct blk_op *op)
{
	bool direct = fcntl(e->fd, F_GETFL) & O_DIRECT;
	struct blk_op small = *op;
	struct iovec first;
	uint64_t total = 0;
	unsigned int i;

	if (k.rw_error)
		return k.rw_error;
	if (k.fail_from && op->offset_bytes >= k.fail_from)
		return -EIO;
	k.done_bytes += op_bytes(op);
	if (op->kind == BLK_OP_WRITE) {
		k.no_dsync += !(op->rw_flags & RWF_DSYNC);
		if (k.full_from &&
		    op->offset_bytes + op_bytes(op) > k.full_from)
			return -ENOSPC;
	}
	for (i = 0; i < op->nr_iov; i++) {
		total += op->iov[i].iov_len;
		if (direct && k.block &&
		    ((uintptr_t)op->iov[i].iov_base % 512 ||
		     op->iov[i].iov_len % 512))
			return -EINVAL;
		if (k.no_user_memory && (uintptr_t)op->iov[i].iov_base % 4096)
			return -EFAULT;
	}
	if (direct && k.block &&
	    (op->offset_bytes % k.block || total % k.block))
		return -EINVAL;
	if (!k.part)
		return blk_op_run_sync(e->fd, op);
	first = op->iov[0];
	first.iov_len = min_u(first.iov_len, (size_t)k.part);
	small.iov = &first;
	small.nr_iov = 1;
	return blk_op_run_sync(e->fd, &small);
}

static int64_t run(struct blk_engine *e, const struct blk_op *op)
{
	k.ops++;
	if (k.interrupts) {
		k.interrupts--;
		return k.interrupts & 1 ? -EINTR : -EAGAIN;
	}
	switch (op->kind) {
	case BLK_OP_SYNC:
		k.syncs++;
		k.is_dirty = k.stays_dirty;
		return k.sync_error;
	case BLK_OP_WRITE:
		k.writes++;
		return rw(e, op);
	case BLK_OP_READ:
		return rw(e, op);
	case BLK_OP_FALLOCATE:
		break;
	}
	if (k.is_dirty) {
		k.busy++;
		return -EBUSY;
	}
	if (op->falloc_mode & FALLOC_FL_PUNCH_HOLE) {
		k.punches++;
		if (k.punch_error)
			return k.punch_error;
	} else {
		k.zero_ranges++;
		if (k.zero_error)
			return k.zero_error;
	}
	if (k.block && (op->offset_bytes % k.block || op->len_bytes % k.block))
		return -EINVAL;
	return blk_op_run_sync(e->fd, op);
}

static void faulty_submit(struct blk_engine *e, struct blk_op *op)
{
	blk_op_list_add(&((struct faulty *)e)->queue, op);
}

static void faulty_kick(struct blk_engine *e)
{
	struct blk_op *op;

	while ((op = blk_op_list_take(&((struct faulty *)e)->queue)))
		e->done(e->arg, op, run(e, op));
}

static void faulty_destroy(struct blk_engine *e)
{
	free(e);
}

static const struct blk_engine_ops faulty_ops = {
	.name = "faulty",
	.submit = faulty_submit,
	.kick = faulty_kick,
	.destroy = faulty_destroy,
};

int faulty_engine_create(int fd, void (*done)(void *arg, struct blk_op *op,
					      int64_t res),
			 void *arg, struct blk_engine **out)
{
	struct faulty *f = vg_zalloc(sizeof(*f));

	f->e = (struct blk_engine){ &faulty_ops, fd, done, arg };
	blk_op_list_init(&f->queue);
	*out = &f->e;
	return 0;
}

int faulty_probe(int fd, struct vg_blk_image *im, const char **why)
{
	bool direct = fcntl(fd, F_GETFL) & O_DIRECT;
	uint32_t block = k.block ? k.block : 512;

	*why = "";
	*im = (struct vg_blk_image){
		.is_block_device = k.block != 0,
		.size_bytes = IMAGE_BYTES,
		.logical_block_bytes = block,
		.physical_block_bytes = 4096,
		.io_min_bytes = 4096,
		.io_opt_bytes = 65536,
		.discard_max_bytes = k.discard_max,
		.discard_granularity_bytes = 4096,
		.dio_mem_align_bytes = direct ? 512 : 1,
		.dio_offset_align_bytes = direct ? block : 1,
	};
	return 0;
}

/* ---- the environment ---------------------------------------------------- */

struct env {
	struct host *h;
	char *dir, *image;
	int fd;
};

/* False: no O_DIRECT here. */
static bool start_as(struct env *e, bool direct, bool waits_for_room)
{
	struct vg_blk_params p = { .engine = VG_BLK_ENGINE_SYNC,
				   .discard = true,
				   .waits_for_room = waits_for_room };
	struct vg_dev_parts parts;

	p.fd = open(e->image, O_RDWR | (direct ? O_DIRECT : 0));
	if (p.fd < 0)
		return false;
	vg_blk_parts_fill(&parts, &p);
	e->h = host_create(&vg_dev_blk, &parts);
	host_start_driver(e->h, 64, 0);
	return true;
}

static bool start(struct env *e, bool direct)
{
	return start_as(e, direct, false);
}

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	char *path;

	memset(&k, 0, sizeof(k));
	e->dir = unit_tmpdir();
	path = vg_strf("%s/image", e->dir);
	e->image = unit_image(path, IMAGE_BYTES);
	free(path);
	e->fd = open(e->image, O_RDWR);
	unit_log_start();
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	unit_log_stop();
	if (e->h)
		host_destroy(e->h);
	close(e->fd);
	unit_rm_r(e->dir);
	free(e->image);
	free(e);
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

#define HDR	(VG_ADDR_GRANT | 0x300000)
#define DATA	(VG_ADDR_GRANT | 0x400000)
#define STATUS	(VG_ADDR_GRANT | 0x3ff000)

/* Data in two pieces, the first of @split bytes (0: one piece). */
static void add_request(struct env *e, uint32_t type, uint64_t sector,
			   uint32_t bytes, uint32_t skew, uint32_t split)
{
	struct virtio_blk_outhdr *hdr = flat_ptr(&e->h->f, HDR);
	bool is_in = type == VIRTIO_BLK_T_IN;
	uint8_t *status = flat_ptr(&e->h->f, STATUS);
	struct drv_buf b[4];
	unsigned int n = 0;

	hdr->type = htole32(type);
	hdr->sector = htole64(sector);
	*status = 0xff;
	b[n++] = (struct drv_buf){ HDR, 16, false };
	if (split)
		b[n++] = (struct drv_buf){ DATA + skew, split, is_in };
	if (bytes - split)
		b[n++] = (struct drv_buf){ DATA + skew + split, bytes - split,
					   is_in };
	b[n++] = (struct drv_buf){ STATUS, 1, true };
	drv_add(&e->h->q, b, n);
	vg_device_queue_notify(e->h->dev, 0);
}

static uint8_t run_request(struct env *e, uint32_t type, uint64_t sector,
			   uint32_t bytes, uint32_t skew, uint32_t split)
{
	uint32_t id, len;

	add_request(e, type, sector, bytes, skew, split);
	host_run(e->h);
	assert_true(drv_used(&e->h->q, &id, &len));
	return *(uint8_t *)flat_ptr(&e->h->f, STATUS);
}

static uint8_t *data(struct env *e)
{
	return flat_ptr(&e->h->f, DATA);
}

static void read_ok(struct env *e, uint64_t sector, uint32_t bytes,
		    uint32_t skew, uint32_t split)
{
	uint32_t i;

	memset(data(e), 0, bytes + skew);
	assert_int_equal(run_request(e, VIRTIO_BLK_T_IN, sector, bytes, skew,
				     split), VIRTIO_BLK_S_OK);
	for (i = 0; i < bytes; i++)
		if (data(e)[skew + i] != unit_pattern(sector * 512 + i))
			fail_msg("byte %u", i);
}

static void write_ok(struct env *e, uint64_t sector, uint32_t bytes,
		     uint32_t skew, uint32_t split)
{
	uint8_t *got = malloc(bytes);
	uint32_t i;

	for (i = 0; i < bytes; i++)
		data(e)[skew + i] = (uint8_t)(i * 11 + sector);
	assert_int_equal(run_request(e, VIRTIO_BLK_T_OUT, sector, bytes, skew,
				     split), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(e->fd, got, bytes, (off_t)sector * 512), bytes);
	assert_memory_equal(got, data(e) + skew, bytes);
	free(got);
}

static void untouched(struct env *e, uint64_t sector)
{
	uint8_t buf[512];
	unsigned int i;

	assert_int_equal(pread(e->fd, buf, 512, (off_t)sector * 512), 512);
	for (i = 0; i < 512; i++)
		assert_int_equal(buf[i], unit_pattern(sector * 512 + i));
}

static bool is_zero(struct env *e, uint64_t sector, unsigned int n)
{
	uint8_t buf[512];
	unsigned int i;

	for (; n; n--, sector++) {
		assert_int_equal(pread(e->fd, buf, 512, (off_t)sector * 512),
				 512);
		for (i = 0; i < 512; i++)
			if (buf[i])
				return false;
	}
	return true;
}

static uint64_t counter(struct env *e, unsigned int which)
{
	return vg_device_stats(e->h->dev)->type[which];
}

static uint8_t one_range(struct env *e, uint32_t type, uint64_t sector,
			 uint32_t num, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes d = {
		htole64(sector), htole32(num), htole32(flags),
	};

	memcpy(data(e), &d, sizeof(d));
	return run_request(e, type, 0, sizeof(d), 0, 0);
}

/* ---- reading and writing ------------------------------------------------ */

/* Parts that end in the middle of a sector, over pieces of the guest's. */
static void test_parts(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	k.part = 777;
	read_ok(e, 3, 8192, 0, 0);
	read_ok(e, 3, 8192, 5, 1000);
	write_ok(e, 100, 8192, 0, 0);
	write_ok(e, 200, 8192, 3, 4097);
	assert_true(k.ops > 40);
	assert_int_equal(counter(e, VG_BLK_STAT_BYTES_READ), 2 * 8192);
	assert_int_equal(counter(e, VG_BLK_STAT_BYTES_WRITTEN), 2 * 8192);
}

static void test_interrupted(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	k.interrupts = 50;
	read_ok(e, 8, 4096, 0, 0);
	k.interrupts = 7;
	write_ok(e, 8, 4096, 0, 0);
	k.interrupts = 7;
	assert_int_equal(run_request(e, VIRTIO_BLK_T_FLUSH, 0, 0, 0, 0),
			 VIRTIO_BLK_S_OK);
	/* For ever is an error, and an end. */
	k.interrupts = 1000000;
	assert_int_equal(run_request(e, VIRTIO_BLK_T_IN, 8, 4096, 0, 0),
			 VIRTIO_BLK_S_IOERR);
}

static void test_errors(void **state)
{
	struct env *e = *state;
	unsigned int i;

	assert_true(start(e, false));
	k.rw_error = -EIO;
	for (i = 0; i < 50; i++) {
		assert_int_equal(run_request(e, VIRTIO_BLK_T_IN, 8, 4096, 0,
					     0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run_request(e, VIRTIO_BLK_T_OUT, 8, 4096, 0,
					     0), VIRTIO_BLK_S_IOERR);
	}
	k.rw_error = -ENOSPC;
	assert_int_equal(run_request(e, VIRTIO_BLK_T_OUT, 8, 4096, 0, 0),
			 VIRTIO_BLK_S_IOERR);
	k.sync_error = -EIO;
	assert_int_equal(run_request(e, VIRTIO_BLK_T_FLUSH, 0, 0, 0, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 102);
	assert_true(unit_logged("reading at byte 4096 of the image failed"));
	assert_in_range(unit_log_lines(), 1, 20);
	/* An error is one request's, not the device's. */
	k.rw_error = 0;
	read_ok(e, 8, 4096, 0, 0);
	assert_int_equal(vg_device_stats(e->h->dev)->broken, 0);
}

/* A disk of 4096-byte blocks under O_DIRECT, a guest that counts in 512. */
static void test_4k_direct(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	if (!start(e, true))
		skip();
	read_ok(e, 8, 4096, 0, 0);
	assert_int_equal(counter(e, VG_BLK_STAT_UNALIGNED), 0);
	assert_int_equal(counter(e, VG_BLK_STAT_BOUNCED), 0);
	read_ok(e, 1, 512, 0, 0);
	read_ok(e, 15, 1024, 0, 512);
	read_ok(e, 9, 65536 + 512, 3, 1000);
	assert_int_equal(counter(e, VG_BLK_STAT_UNALIGNED), 3);
	write_ok(e, 801, 512, 0, 0);
	untouched(e, 800);
	untouched(e, 802);
	write_ok(e, 1607, 8192, 1, 4000);
	untouched(e, 1606);
	untouched(e, 1607 + 16);
	assert_int_equal(counter(e, VG_BLK_STAT_UNALIGNED), 5);
	/* Only the memory is off: through a buffer, still direct. */
	read_ok(e, 16, 3 * 65536, 7, 0);
	write_ok(e, 2048, 3 * 65536, 9, 4096);
	assert_int_equal(counter(e, VG_BLK_STAT_UNALIGNED), 5);
	assert_int_equal(counter(e, VG_BLK_STAT_BOUNCED), 6);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
	/* O_DIRECT is back after each. */
	read_ok(e, 8, 4096, 0, 0);
	assert_int_equal(counter(e, VG_BLK_STAT_UNALIGNED), 5);
}

/* The probe promised more than the kernel keeps: found out by trying. */
static void test_wrong_promise(void **state)
{
	struct env *e = *state;

	if (!start(e, true))
		skip();
	k.block = 4096;		/* after the probe */
	read_ok(e, 1, 512, 0, 0);
	write_ok(e, 801, 512, 0, 0);
	untouched(e, 802);
	assert_true(counter(e, VG_BLK_STAT_UNALIGNED) >= 2);
	k.block = 0;
	k.no_user_memory = true;
	read_ok(e, 8, 4096, 512, 0);
	write_ok(e, 16, 8192, 1024, 0);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
}

/* Parts that leave the rest misaligned on the device. */
static void test_4k_direct_parts(void **state)
{
	struct env *e = *state;

	if (!start(e, true))
		skip();
	k.part = 512 * 3;
	read_ok(e, 8, 65536, 0, 0);
	write_ok(e, 1024, 65536, 0, 32768);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
}

/* ---- clearing ----------------------------------------------------------- */

static void test_zeroes_methods(void **state)
{
	struct env *e = *state;

	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), 0);
	assert_int_equal(k.punches, 0);
	assert_int_equal(k.zero_ranges, 1);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1), 0);
	assert_int_equal(k.punches, 1);
	k.punch_error = -EOPNOTSUPP;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 24, 8, 1), 0);
	assert_int_equal(k.punches, 2);
	assert_int_equal(k.zero_ranges, 2);
	assert_int_equal(k.writes, 0);
	k.zero_error = -EOPNOTSUPP;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 32, 4001, 1),
			 0);
	/* What was learned is remembered. */
	assert_int_equal(k.punches, 2);
	assert_int_equal(k.zero_ranges, 3);
	assert_int_equal(k.writes, 3);	/* 1 MiB, 15 * 64 KiB, the rest */
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 5000, 1, 1),
			 0);
	assert_int_equal(k.punches, 2);
	assert_int_equal(k.zero_ranges, 3);
	untouched(e, 7);
	assert_true(is_zero(e, 8, 32 - 8 + 4001));
	untouched(e, 32 + 4001);
	assert_true(is_zero(e, 5000, 1));
	untouched(e, 5001);
	k.part = 1000;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 6000, 17, 0),
			 0);
	assert_true(is_zero(e, 6000, 17));
	untouched(e, 6017);
	k.rw_error = -EIO;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 7000, 1, 0),
			 VIRTIO_BLK_S_IOERR);
}

static void test_zeroes_4k_direct(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	k.discard_max = 1 << 20;
	if (!start(e, true))
		skip();
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1), 0);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 33, 300, 1),
			 0);
	assert_true(is_zero(e, 33, 300));
	untouched(e, 32);
	untouched(e, 333);
	/* -EINVAL was about that range; the next may punch again. */
	k.punches = 0;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 800, 8, 1),
			 0);
	assert_int_equal(k.punches, 1);
	assert_true(is_zero(e, 800, 8));
	assert_int_equal(k.discards, 0);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
}

/* No hole can be punched: a discard is a hint, and done. */
static void test_discard_not_supported(void **state)
{
	struct env *e = *state;

	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	k.punch_error = -EOPNOTSUPP;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0), 0);
	untouched(e, 8);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 16, 8, 0), 0);
	assert_int_equal(k.punches, 1);
	assert_int_equal(k.writes, 0);
}

static void test_discard_fails(void **state)
{
	struct env *e = *state;

	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	k.punch_error = -EIO;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0),
			 VIRTIO_BLK_S_IOERR);
}

/*
 * A block device is asked to discard, never to punch holes: these are zeroes,
 * which it might write.  Whole blocks, or nothing.
 */
static void test_discard_block_device(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 1601, 20, 0), 0);
	untouched(e, 1601);
	untouched(e, 1607);
	assert_true(is_zero(e, 1608, 8));
	untouched(e, 1616);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 2401, 3, 0), 0);
	untouched(e, 2402);
	assert_int_equal(k.discards, 1);
	k.discard_error = EIO;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_true(unit_logged("discarding at byte 4096"));
	/* Refused for this range only; then for good: a hint all the same. */
	k.discard_error = EINVAL;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0), 0);
	assert_int_equal(k.discards, 3);
	k.discard_error = EOPNOTSUPP;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0), 0);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0), 0);
	assert_int_equal(k.discards, 4);
	untouched(e, 8);
	assert_int_equal(k.punches + k.zero_ranges + k.writes, 0);
	/* Zeroes that may be unmapped are something else. */
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1), 0);
	assert_int_equal(k.punches, 1);
	assert_true(is_zero(e, 8, 8));
}

/*
 * Dirty pages of a device that somebody has opened exclusively: written back,
 * once a part; a discard is a hint, and zeroes can be written.
 */
static void test_cleared_while_dirty(void **state)
{
	struct env *e = *state;

	k.block = 512;
	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	k.is_dirty = true;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 8, 8, 0), 0);
	assert_int_equal(k.discards, 2);
	assert_int_equal(k.syncs, 1);
	assert_true(is_zero(e, 8, 8));
	k.is_dirty = true;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1), 0);
	k.is_dirty = true;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 24, 8, 0), 0);
	assert_int_equal(k.busy, 2);
	assert_int_equal(k.punches, 1);
	assert_int_equal(k.zero_ranges, 1);
	assert_int_equal(k.syncs, 3);
	assert_int_equal(k.writes, 0);
	assert_true(is_zero(e, 16, 16));
	untouched(e, 32);
	/* Somebody writes there all the time. */
	k.is_dirty = k.stays_dirty = true;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 40, 8, 0), 0);
	untouched(e, 40);
	assert_int_equal(k.discards, 4);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 48, 8, 1), 0);
	assert_true(is_zero(e, 48, 8));
	assert_int_equal(k.busy, 4);
	assert_int_equal(k.syncs, 5);
	assert_int_equal(k.writes, 1);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
	/* It was not "not supported". */
	k.is_dirty = k.stays_dirty = false;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 56, 8, 0), 0);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 64, 8, 1), 0);
	assert_true(is_zero(e, 56, 16));
	assert_int_equal(k.punches, 2);
	/* What can't be written back is an error. */
	k.is_dirty = true;
	k.sync_error = -EIO;
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 72, 8, 0),
			 VIRTIO_BLK_S_IOERR);
	untouched(e, 72);
}

/* In parts that end where the device can discard. */
static void test_discard_parts(void **state)
{
	struct env *e = *state;
	struct blk_dev d = { 0 };
	struct blk b = { .d = &d };
	struct blk_req r = { .offset_bytes = 5u << 20,
			     .left_bytes = UINT64_C(256) << 20 };
	static const uint32_t granularity[] = { 0, 4096, 3u << 20, 64u << 20 };
	unsigned int i;

	(void)e;
	for (i = 0; i < ARRAY_SIZE(granularity); i++) {
		uint32_t unit = max_u(granularity[i], 1u);
		uint64_t n;

		d.image.discard_granularity_bytes = granularity[i];
		n = discard_part_bytes(&b, &r);
		assert_in_range(n, 1, max_u(DISCARD_PART_BYTES, unit));
		assert_int_equal((r.offset_bytes + n) % unit, 0);
	}
	r.left_bytes = 512;
	assert_int_equal(discard_part_bytes(&b, &r), 512);
}

/* Written through: cleared ranges are followed by a flush of our own. */
static void test_writethrough(void **state)
{
	struct env *e = *state;
	uint32_t v;

	assert_true(start(e, false));
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), 0);
	assert_int_equal(k.syncs, 0);
	assert_true(host_access(e->h, 0x100 + 32, 1, true, 0, &v));
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), 0);
	assert_int_equal(k.syncs, 1);
	write_ok(e, 100, 4096, 0, 0);	/* RWF_DSYNC: no operation more */
	assert_int_equal(k.syncs, 1);
}

/* ... and every write says so, whichever way it goes. */
static void test_dsync(void **state)
{
	struct env *e = *state;
	uint32_t v;

	k.block = 4096;
	if (!start(e, true))
		skip();
	write_ok(e, 8, 4096, 0, 0);
	write_ok(e, 17, 512, 0, 0);
	assert_int_equal(k.no_dsync, 2);
	assert_true(host_access(e->h, 0x100 + 32, 1, true, 0, &v));
	k.no_dsync = 0;
	k.zero_error = k.punch_error = -EOPNOTSUPP;
	write_ok(e, 800, 4096, 0, 0);			/* as it is */
	write_ok(e, 808, 4096, 7, 1000);		/* bounced */
	write_ok(e, 817, 512, 0, 0);			/* page cache */
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 824, 8, 0), 0);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_WRITE_ZEROES, 833, 1, 0), 0);
	assert_int_equal(k.no_dsync, 0);
	assert_int_equal(k.buffered, 3);
	/* The driver takes it back. */
	assert_true(host_access(e->h, 0x100 + 32, 1, true, 1, &v));
	write_ok(e, 800, 4096, 0, 0);
	assert_int_equal(k.no_dsync, 1);
}

/* ---- what a turn does --------------------------------------------------- */

#define MANY		16u
#define MANY_AT(i)	(VG_ADDR_GRANT | (0x300000 + (i) * 0x1000))

/* @n requests that clear almost all of the image, 16 times each. */
static void add_many(struct env *e, uint32_t type, uint32_t first_sector)
{
	struct virtio_blk_discard_write_zeroes *z;
	unsigned int i, r;

	for (i = 0; i < MANY; i++) {
		struct virtio_blk_outhdr *hdr = flat_ptr(&e->h->f, MANY_AT(i));
		struct drv_buf b[3] = {
			{ MANY_AT(i), 16, false },
			{ MANY_AT(i) + 64, 16 * sizeof(*z), false },
			{ MANY_AT(i) + 1024, 1, true },
		};

		hdr->type = htole32(type);
		hdr->sector = 0;
		z = flat_ptr(&e->h->f, b[1].addr);
		for (r = 0; r < 16; r++)
			z[r] = (struct virtio_blk_discard_write_zeroes){
				htole64(first_sector), htole32(SECTORS - 16), 0,
			};
		drv_add(&e->h->q, b, 3);
	}
	vg_device_queue_notify(e->h->dev, 0);
}

static uint64_t longest_turn(struct env *e, unsigned int *turns)
{
	uint64_t most = 0;

	do {
		k.done_bytes = 0;
		(*turns)++;
		if (vg_loop_run_once(e->h->loop, 0) <= 0)
			break;
		most = max_u(most, k.done_bytes);
	} while (*turns < 100000);
	return most;
}

static void each_turn_is_bounded(struct env *e, uint32_t type,
				 uint32_t first_sector, uint64_t bound)
{
	unsigned int i, turns = 0;
	uint32_t id, len;

	add_many(e, type, first_sector);
	assert_in_range(longest_turn(e, &turns), 1, bound);
	assert_in_range(turns, MANY, 10000);
	for (i = 0; i < MANY; i++)
		assert_true(drv_used(&e->h->q, &id, &len));
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
}

static void test_turn_zeroes_misaligned(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	if (!start(e, true))
		skip();
	each_turn_is_bounded(e, VIRTIO_BLK_T_WRITE_ZEROES, 1, 2 << 20);
	untouched(e, 0);
	assert_true(is_zero(e, 1, SECTORS - 16));
	untouched(e, SECTORS - 15);
}

static void test_turn_zeroes_written(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	k.punch_error = k.zero_error = -EOPNOTSUPP;
	each_turn_is_bounded(e, VIRTIO_BLK_T_WRITE_ZEROES, 8, 2 << 20);
	assert_true(is_zero(e, 8, SECTORS - 16));
}

static void test_turn_discards(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	k.discard_max = 1 << 20;
	assert_true(start(e, false));
	each_turn_is_bounded(e, VIRTIO_BLK_T_DISCARD, 8, DISCARD_PART_BYTES);
	assert_int_equal(k.discards, MANY * 16);
}

/* A request larger than a part, by way of the page cache, in one piece. */
static void test_turn_reads_misaligned(void **state)
{
	struct env *e = *state;
	unsigned int turns = 0;
	uint32_t id, len, i;

	k.block = 4096;
	if (!start(e, true))
		skip();
	add_request(e, VIRTIO_BLK_T_IN, 1, 3 << 20, 0, 512);
	assert_in_range(longest_turn(e, &turns), 1, 2 << 20);
	assert_true(turns > 2);
	assert_true(drv_used(&e->h->q, &id, &len));
	for (i = 0; i < 3 << 20; i++)
		if (data(e)[i] != unit_pattern(512 + i))
			fail_msg("byte %u", i);
}

/* A reset does not wait for the rest. */
static void test_reset_ends_parts(void **state)
{
	struct env *e = *state;
	unsigned int i;
	uint32_t v;

	k.block = 4096;
	if (!start(e, true))
		skip();
	add_many(e, VIRTIO_BLK_T_WRITE_ZEROES, 1);
	for (i = 0; i < 5; i++)
		vg_loop_run_once(e->h->loop, 0);
	k.done_bytes = 0;
	host_access(e->h, VIRTIO_MMIO_STATUS, 4, true, 0, &v);
	host_run(e->h);
	assert_in_range(k.done_bytes, 0, 2 << 20);
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	host_start_driver(e->h, 64, 0);
	write_ok(e, 8, 4096, 0, 0);
}

/* ---- no room ------------------------------------------------------------ */

static void test_no_room_is_reported(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	k.full_from = 1 << 20;
	assert_int_equal(run_request(e, VIRTIO_BLK_T_OUT, 4096, 4096, 0, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_true(unit_logged("No space left on device"));
	assert_int_equal(counter(e, VG_BLK_STAT_NO_ROOM), 1);
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 0);
	write_ok(e, 8, 4096, 0, 0);
}

/* Turns until @cond, for 3 s. */
#define run_until(e, cond) ({ \
	uint64_t until_ = vg_now_ns() + UINT64_C(3000000000); \
	bool is_; \
	while (!(is_ = (cond)) && vg_now_ns() < until_) \
		vg_loop_run_once((e)->h->loop, 5); \
	is_; \
})

static void waits_and_goes_on(struct env *e, bool is_zeroes, uint32_t bytes,
			      uint32_t skew)
{
	struct virtio_blk_discard_write_zeroes d = {
		htole64(4001), htole32(16), 0,
	};
	uint32_t id, len, i;
	uint8_t buf[512];

	for (i = 0; i < bytes; i++)
		data(e)[skew + i] = 0x5e;
	k.full_from = 1 << 20;
	if (is_zeroes)
		memcpy(data(e), &d, sizeof(d));
	add_request(e, is_zeroes ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_OUT,
		    4001, is_zeroes ? sizeof(d) : bytes, skew, 0);
	host_run(e->h);
	assert_true(run_until(e, counter(e, VG_BLK_STAT_WAITING) == 1));
	assert_false(drv_used(&e->h->q, &id, &len));
	/* Reading goes on, and so does writing where there is room. */
	k.full_from = 0;
	assert_true(run_until(e, drv_used(&e->h->q, &id, &len)));
	assert_int_equal(*(uint8_t *)flat_ptr(&e->h->f, STATUS),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(pread(e->fd, buf, 512, 4001 * 512), 512);
	assert_int_equal(buf[77], is_zeroes ? 0 : 0x5e);
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 0);
	untouched(e, 4000);
	assert_true(run_until(e, unit_logged("there is room for the image again")));
}

static void test_no_room_waits(void **state)
{
	struct env *e = *state;

	assert_true(start_as(e, false, true));
	waits_and_goes_on(e, false, 4096, 0);
	assert_int_equal(counter(e, VG_BLK_STAT_ERRORS), 0);
	assert_int_equal(counter(e, VG_BLK_STAT_NO_ROOM), 1);
	assert_int_equal(unit_log_lines(), 2);
}

static void test_no_room_waits_buffered(void **state)
{
	struct env *e = *state;

	k.block = 4096;
	if (!(start_as(e, true, true)))
		skip();
	waits_and_goes_on(e, false, 8192, 3);
}

static void test_no_room_waits_zeroes(void **state)
{
	struct env *e = *state;

	assert_true(start_as(e, false, true));
	k.zero_error = -EOPNOTSUPP;
	waits_and_goes_on(e, true, 0, 0);
}

/* Part of it is written when there is no more room: that is not done twice. */
static void test_no_room_after_a_part(void **state)
{
	struct env *e = *state;
	uint32_t id, len, i;

	assert_true(start_as(e, false, true));
	for (i = 0; i < 8192; i++)
		data(e)[i] = (uint8_t)(i * 7);
	k.part = 1000;
	k.full_from = 3000;
	add_request(e, VIRTIO_BLK_T_OUT, 2, 8192, 0, 0);
	host_run(e->h);
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 1);
	k.full_from = 0;
	assert_true(run_until(e, drv_used(&e->h->q, &id, &len)));
	assert_int_equal(counter(e, VG_BLK_STAT_BYTES_WRITTEN), 8192);
	for (i = 0; i < 8192; i += 512) {
		uint8_t buf[512];

		assert_int_equal(pread(e->fd, buf, 512, 1024 + i), 512);
		assert_memory_equal(buf, data(e) + i, 512);
	}
}

/* Nobody waits with it: not a reset, and not a removal (teardown). */
static void test_no_room_ends(void **state)
{
	struct env *e = *state;
	uint32_t v;

	assert_true(start_as(e, false, true));
	k.full_from = 1 << 20;
	add_request(e, VIRTIO_BLK_T_OUT, 4096, 4096, 0, 0);
	host_run(e->h);
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 1);
	if (!host_access(e->h, VIRTIO_MMIO_STATUS, 4, true, 0, &v))
		assert_true(run_until(e, e->h->nr_replies));
	e->h->nr_replies = 0;
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 0);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	host_start_driver(e->h, 64, 0);
	add_request(e, VIRTIO_BLK_T_OUT, 4096, 4096, 0, 0);
	host_run(e->h);
	assert_int_equal(counter(e, VG_BLK_STAT_WAITING), 1);
}

/* ---- what a read leaves in its buffer ----------------------------------- */

/* Nothing of what the buffer held before, whatever became of the request. */
static void read_fails_after(struct env *e, uint32_t bytes, uint32_t good)
{
	uint32_t i;

	memset(data(e), 0xcc, bytes);
	assert_int_equal(run_request(e, VIRTIO_BLK_T_IN, 8, bytes, 0, 1000),
			 VIRTIO_BLK_S_IOERR);
	for (i = 0; i < bytes; i++)
		if (data(e)[i] != (i < good ? unit_pattern(4096 + i) : 0))
			fail_msg("byte %u", i);
}

static void test_read_fails_after_a_part(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	k.part = 777;
	k.fail_from = 4096 + 2000;
	read_fails_after(e, 8192, 2554);	/* 777, 223, 777, 777 */
	k.fail_from = 4096;
	read_fails_after(e, 8192, 0);
}

static void test_read_beyond_a_cut_image(void **state)
{
	struct env *e = *state;

	assert_true(start(e, false));
	assert_int_equal(ftruncate(e->fd, 4096 + 3000), 0);
	read_fails_after(e, 8192, 3000);
	assert_true(unit_logged("the image ends there"));
}

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_parts), T(test_interrupted), T(test_errors),
		T(test_4k_direct), T(test_wrong_promise),
		T(test_4k_direct_parts), T(test_zeroes_methods),
		T(test_zeroes_4k_direct), T(test_discard_not_supported),
		T(test_discard_fails), T(test_discard_block_device),
		T(test_discard_parts), T(test_cleared_while_dirty),
		T(test_writethrough), T(test_dsync),
		T(test_turn_zeroes_misaligned), T(test_turn_zeroes_written),
		T(test_turn_discards), T(test_turn_reads_misaligned),
		T(test_reset_ends_parts), T(test_no_room_is_reported),
		T(test_no_room_waits), T(test_no_room_waits_buffered),
		T(test_no_room_waits_zeroes), T(test_no_room_after_a_part),
		T(test_no_room_ends), T(test_read_fails_after_a_part),
		T(test_read_beyond_a_cut_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
