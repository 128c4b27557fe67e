// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_blk_faults.c - the block device over a kernel that is difficult: moves
 * only a part, is interrupted, knows no fallocate(), fails, and insists on
 * 4096-byte blocks under O_DIRECT.
 *
 * dev/blk.c is compiled into this program with an engine and a probe of ours
 * in place of its own.
 */
#define vg_dev_blk		vg_dev_blk_faulty
#define vg_blk_probe		faulty_probe
#define blk_engine_sync_create	faulty_engine_create

#include <fcntl.h>

#include "dev/blk.c"

#include "host.h"

#define IMAGE_BYTES	(4u << 20)
#define SECTORS		(IMAGE_BYTES / 512)

static struct {
	uint32_t block;			/* of a pretended block device; 0: file */
	uint64_t discard_max;
	unsigned int part;		/* moves at most so many bytes */
	unsigned int interrupts;	/* so many -EINTR or -EAGAIN first */
	int rw_error, sync_error;
	int punch_error, zero_error;
	bool no_user_memory;		/* -EFAULT but for aligned memory */
	unsigned int ops, punches, zero_ranges, writes, syncs;
} k;

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
		return k.sync_error;
	case BLK_OP_WRITE:
		k.writes++;
		return rw(e, op);
	case BLK_OP_READ:
		return rw(e, op);
	case BLK_OP_FALLOCATE:
		break;
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

/* ---- the environment ------------------------------------------------------------ */

struct env {
	struct host *h;
	char *dir, *image;
	int fd;
};

/* False: no O_DIRECT here. */
static bool start(struct env *e, bool direct)
{
	struct vg_blk_params p = { .engine = VG_BLK_ENGINE_SYNC,
				   .discard = true };

	p.fd = open(e->image, O_RDWR | (direct ? O_DIRECT : 0));
	if (p.fd < 0)
		return false;
	e->h = host_create(&vg_dev_blk, &p);
	host_start_driver(e->h, 64, 0);
	return true;
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

/* ---- requests --------------------------------------------------------------------- */

#define HDR	(VG_ADDR_GRANT | 0x300000)
#define DATA	(VG_ADDR_GRANT | 0x400000)
#define STATUS	(VG_ADDR_GRANT | 0x3ff000)

/* Data in two pieces, the first of @split bytes (0: one piece). */
static uint8_t run_request(struct env *e, uint32_t type, uint64_t sector,
			   uint32_t bytes, uint32_t skew, uint32_t split)
{
	struct virtio_blk_outhdr *hdr = flat_ptr(&e->h->f, HDR);
	bool is_in = type == VIRTIO_BLK_T_IN;
	uint8_t *status = flat_ptr(&e->h->f, STATUS);
	struct drv_buf b[4];
	unsigned int n = 0;
	uint32_t id, len;

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
	vg_device_notify(e->h->dev, 0);
	host_run(e->h);
	assert_true(drv_used(&e->h->q, &id, &len));
	return *status;
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

/* ---- reading and writing ------------------------------------------------------------- */

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
	assert_int_equal(counter(e, STAT_BYTES_READ), 2 * 8192);
	assert_int_equal(counter(e, STAT_BYTES_WRITTEN), 2 * 8192);
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
	assert_int_equal(counter(e, STAT_ERRORS), 102);
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
	assert_int_equal(counter(e, STAT_UNALIGNED), 0);
	assert_int_equal(counter(e, STAT_BOUNCED), 0);
	read_ok(e, 1, 512, 0, 0);
	read_ok(e, 15, 1024, 0, 512);
	read_ok(e, 9, 65536 + 512, 3, 1000);
	assert_int_equal(counter(e, STAT_UNALIGNED), 3);
	write_ok(e, 801, 512, 0, 0);
	untouched(e, 800);
	untouched(e, 802);
	write_ok(e, 1607, 8192, 1, 4000);
	untouched(e, 1606);
	untouched(e, 1607 + 16);
	assert_int_equal(counter(e, STAT_UNALIGNED), 5);
	/* Only the memory is off: through a buffer, still direct. */
	read_ok(e, 16, 3 * 65536, 7, 0);
	write_ok(e, 2048, 3 * 65536, 9, 4096);
	assert_int_equal(counter(e, STAT_UNALIGNED), 5);
	assert_int_equal(counter(e, STAT_BOUNCED), 6);
	assert_int_equal(counter(e, STAT_ERRORS), 0);
	/* O_DIRECT is back after each. */
	read_ok(e, 8, 4096, 0, 0);
	assert_int_equal(counter(e, STAT_UNALIGNED), 5);
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
	assert_true(counter(e, STAT_UNALIGNED) >= 2);
	k.block = 0;
	k.no_user_memory = true;
	read_ok(e, 8, 4096, 512, 0);
	write_ok(e, 16, 8192, 1024, 0);
	assert_int_equal(counter(e, STAT_ERRORS), 0);
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
	assert_int_equal(counter(e, STAT_ERRORS), 0);
}

/* ---- clearing -------------------------------------------------------------------------- */

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
	/* A discard keeps to whole blocks, or does nothing. */
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 1601, 20, 0), 0);
	untouched(e, 1601);
	untouched(e, 1607);
	assert_true(is_zero(e, 1608, 8));
	untouched(e, 1616);
	assert_int_equal(one_range(e, VIRTIO_BLK_T_DISCARD, 2401, 3, 0), 0);
	untouched(e, 2402);
	assert_int_equal(counter(e, STAT_ERRORS), 0);
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

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_parts), T(test_interrupted), T(test_errors),
		T(test_4k_direct), T(test_wrong_promise),
		T(test_4k_direct_parts), T(test_zeroes_methods),
		T(test_zeroes_4k_direct), T(test_discard_not_supported),
		T(test_discard_fails), T(test_writethrough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
