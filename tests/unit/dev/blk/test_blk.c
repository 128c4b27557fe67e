// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_blk.c - the block device through its registers and one queue, with
 * both engines, through the page cache and with O_DIRECT.
 *
 * Environment: a directory for images; O_DIRECT needs a file system that has
 * it (TMPDIR), else those tests are skipped.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/virtio_blk.h>

#include "dev/blk/blk.h"
#include "host.h"
#include "lib/util.h"

#define IMAGE_BYTES	(4u << 20)
#define SECTORS		(IMAGE_BYTES / 512)

struct how {
	enum vg_blk_engine engine;
	bool direct, read_only, no_discard;
};

struct env {
	struct host *h;
	const struct how *how;
	char *dir, *image;
	int fd;			/* ours, to look at the image */
	int dev_fd;		/* the device's */
};

static const struct how sync_how = { .engine = VG_BLK_ENGINE_SYNC };
static const struct how uring_how = { .engine = VG_BLK_ENGINE_URING };
static const struct how sync_direct = { .engine = VG_BLK_ENGINE_SYNC,
					.direct = true };
static const struct how uring_direct = { .engine = VG_BLK_ENGINE_URING,
					 .direct = true };
static const struct how ro_how = { .engine = VG_BLK_ENGINE_AUTO,
				   .read_only = true };
static const struct how plain_how = { .engine = VG_BLK_ENGINE_AUTO,
				      .no_discard = true };

static bool uring_works(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "r");
	int v = 0;

	if (f && fscanf(f, "%d", &v) != 1)
		v = 0;
	if (f)
		fclose(f);
	return v == 0;
}

static struct env *env_make(const struct how *how)
{
	struct vg_blk_params p = { .serial = "serial-of-20-bytes.." };
	struct env *e = calloc(1, sizeof(*e));
	struct vg_dev_parts parts;
	char *path;

	e->how = how;
	e->dir = unit_tmpdir();
	path = vg_strf("%s/image", e->dir);
	e->image = unit_image(path, IMAGE_BYTES);
	free(path);
	e->fd = open(e->image, O_RDWR);
	/* Read-only is not left to the descriptor. */
	p.fd = open(e->image, O_RDWR | (how->direct ? O_DIRECT : 0) |
		    O_NONBLOCK);
	if ((p.fd < 0 && how->direct) ||
	    (how->engine == VG_BLK_ENGINE_URING && !uring_works())) {
		close(p.fd);
		close(e->fd);
		unit_rm_r(e->dir);
		free(e->image);
		free(e);
		return NULL;
	}
	e->dev_fd = p.fd;
	p.read_only = how->read_only;
	p.discard = !how->no_discard;
	p.engine = how->engine;
	vg_blk_parts_fill(&parts, &p);
	e->h = host_create(&vg_dev_blk, &parts);
	return e;
}

static int setup(void **state)
{
	const struct how *how = *state;
	struct env *e = env_make(how);

	if (e)
		host_start_driver(e->h, 64, 0);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	if (!e)
		return 0;
	host_destroy(e->h);
	close(e->fd);
	unit_rm_r(e->dir);
	free(e->image);
	free(e);
	return 0;
}

/* What setup could not have here: no O_DIRECT, no io_uring. */
#define NEED(e)	do { if (!(e)) skip(); } while (0)

/* ---- requests ----------------------------------------------------------- */

struct request {
	uint64_t hdr, data, status;	/* addresses */
	uint32_t data_bytes;
};

static void wait_used(struct env *e, uint32_t *id, uint32_t *len)
{
	unsigned int i;

	for (i = 0; i < 400; i++) {
		if (drv_used(&e->h->q, id, len))
			return;
		vg_loop_run_once(e->h->loop, 5);
	}
	fail_msg("the request is not answered");
}

static uint8_t *status_of(struct env *e, const struct request *r)
{
	return flat_ptr(&e->h->f, r->status);
}

static uint8_t *data_of(struct env *e, const struct request *r)
{
	return flat_ptr(&e->h->f, r->data);
}

/* Header and status apart from data, which is @align-ed plus @skew. */
static void request_make(struct env *e, struct request *r, uint32_t type,
			 uint64_t sector, uint32_t bytes, uint32_t align,
			 uint32_t skew)
{
	struct virtio_blk_outhdr *hdr;

	e->h->f.next = (e->h->f.next + 4095) & ~(size_t)4095;
	if (e->h->f.next > FLAT_BYTES - (3u << 20))
		e->h->f.next = 1u << 20;	/* old buffers may go */
	r->hdr = flat_alloc(&e->h->f, sizeof(*hdr), 16);
	r->status = flat_alloc(&e->h->f, 1, 1);
	r->data = flat_alloc(&e->h->f, bytes + skew, align) + skew;
	r->data_bytes = bytes;
	hdr = flat_ptr(&e->h->f, r->hdr);
	hdr->type = htole32(type);
	hdr->ioprio = 0;
	hdr->sector = htole64(sector);
	*status_of(e, r) = 0xff;
}

static void request_add(struct env *e, const struct request *r, bool is_read)
{
	struct drv_buf b[] = {
		{ r->hdr, 16, false },
		{ r->data, r->data_bytes, is_read },
		{ r->status, 1, true },
	};

	if (!r->data_bytes)
		b[1] = b[2];
	drv_add(&e->h->q, b, r->data_bytes ? 3 : 2);
}

static uint8_t request_run(struct env *e, const struct request *r,
			   bool is_read, uint32_t *used)
{
	uint32_t id;

	request_add(e, r, is_read);
	vg_device_queue_notify(e->h->dev, 0);
	wait_used(e, &id, used);
	return *status_of(e, r);
}

static uint8_t simple(struct env *e, uint32_t type, uint64_t sector,
		      uint32_t bytes)
{
	struct request r;
	uint32_t used;

	request_make(e, &r, type, sector, bytes, 4096, 0);
	return request_run(e, &r, type == VIRTIO_BLK_T_IN ||
			   type == VIRTIO_BLK_T_GET_ID, &used);
}

static uint64_t counter(struct env *e, const char *name)
{
	const struct vg_dev_stats *s = vg_device_stats(e->h->dev);
	unsigned int i;

	for (i = 0; vg_dev_blk.stat_names[i]; i++)
		if (!strcmp(vg_dev_blk.stat_names[i], name))
			return s->type[i];
	fail_msg("no counter %s", name);
	return 0;
}

static void read_at(struct env *e, uint64_t sector, uint32_t bytes,
		    uint32_t align, uint32_t skew)
{
	struct request r;
	uint32_t used, i;
	uint8_t *guard;

	request_make(e, &r, VIRTIO_BLK_T_IN, sector, bytes, align, skew);
	guard = data_of(e, &r) + bytes;
	*guard = 0xa5;
	assert_int_equal(request_run(e, &r, true, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, bytes + 1);
	for (i = 0; i < bytes; i++)
		if (data_of(e, &r)[i] != unit_pattern(sector * 512 + i))
			fail_msg("byte %u of sector %u", i, (unsigned)sector);
	assert_int_equal(*guard, 0xa5);
}

static void write_at(struct env *e, uint64_t sector, uint32_t bytes,
		     uint32_t align, uint32_t skew)
{
	uint8_t *got = malloc(bytes + 1024);
	struct request r;
	uint32_t used, i;

	request_make(e, &r, VIRTIO_BLK_T_OUT, sector, bytes, align, skew);
	for (i = 0; i < bytes; i++)
		data_of(e, &r)[i] = (uint8_t)(i * 3 + sector + 1);
	assert_int_equal(request_run(e, &r, false, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(used, 1);
	assert_int_equal(pread(e->fd, got, bytes, (off_t)sector * 512),
			 bytes);
	assert_memory_equal(got, data_of(e, &r), bytes);
	/* Nothing before or behind. */
	assert_int_equal(pread(e->fd, got, 512, (off_t)sector * 512 - 512),
			 512);
	for (i = 0; i < 512; i++)
		assert_int_equal(got[i], unit_pattern(sector * 512 - 512 + i));
	assert_int_equal(pread(e->fd, got, 512, (off_t)sector * 512 + bytes),
			 512);
	for (i = 0; i < 512; i++)
		assert_int_equal(got[i], unit_pattern(sector * 512 + bytes +
						      i));
	free(got);
}

static void test_read(void **state)
{
	struct env *e = *state;

	NEED(e);
	read_at(e, 0, 512, 512, 0);
	read_at(e, 7, 4096, 4096, 0);
	read_at(e, SECTORS - 1, 512, 512, 0);
	read_at(e, 16, 1u << 20, 4096, 0);
	assert_int_equal(counter(e, "reads"), 4);
	assert_int_equal(counter(e, "bytes_read"), 512 + 4096 + 512 + (1 << 20));
}

/* Whatever the alignment, and nothing of it is an error of ours. */
static void test_read_misaligned(void **state)
{
	struct env *e = *state;

	NEED(e);
	read_at(e, 3, 512, 512, 1);
	read_at(e, 9, 4096, 4096, 3);
	read_at(e, 11, 65536 + 512, 4096, 64);
	read_at(e, 8, 300 * 512, 4096, 511);
}

static void test_write(void **state)
{
	struct env *e = *state;

	NEED(e);
	write_at(e, 1, 512, 512, 0);
	write_at(e, 8, 4096, 4096, 0);
	write_at(e, 101, 131072, 4096, 0);
	write_at(e, 1025, 512, 512, 1);
	write_at(e, 2049, 65536 + 1536, 4096, 7);
	assert_int_equal(counter(e, "writes"), 5);
}

static void test_direct_bounces(void **state)
{
	struct env *e = *state;

	NEED(e);
	read_at(e, 8, 4096, 4096, 1);
	assert_true(counter(e, "bounced") + counter(e, "unaligned") > 0);
}

/* Pieces that split header, data and status anywhere. */
static void test_odd_layout(void **state)
{
	struct env *e = *state;
	struct drv_buf b[] = {
		{ 0, 5, false }, { 0, 11 + 100, false }, { 0, 412, false },
		{ 0, 1, true },
	};
	struct drv_buf in[] = {
		{ 0, 16, false }, { 0, 7, true }, { 0, 506, true },
	};
	struct virtio_blk_outhdr hdr = { htole32(VIRTIO_BLK_T_OUT), 0,
					 htole64(33) };
	uint8_t data[512], got[512];
	uint32_t id, used, i;

	NEED(e);
	for (i = 0; i < 4; i++)
		b[i].addr = flat_alloc(&e->h->f, b[i].len, 1);
	for (i = 0; i < 512; i++)
		data[i] = (uint8_t)(i * 5 + 1);
	memcpy(flat_ptr(&e->h->f, b[0].addr), &hdr, 5);
	memcpy(flat_ptr(&e->h->f, b[1].addr), (uint8_t *)&hdr + 5, 11);
	memcpy((uint8_t *)flat_ptr(&e->h->f, b[1].addr) + 11, data, 100);
	memcpy(flat_ptr(&e->h->f, b[2].addr), data + 100, 412);
	drv_add_indirect(&e->h->q, b, 4);
	vg_device_queue_notify(e->h->dev, 0);
	wait_used(e, &id, &used);
	assert_int_equal(*(uint8_t *)flat_ptr(&e->h->f, b[3].addr), 0);
	assert_int_equal(pread(e->fd, got, 512, 33 * 512), 512);
	assert_memory_equal(got, data, 512);

	/* The status is the last of a piece that else holds data. */
	hdr.type = htole32(VIRTIO_BLK_T_IN);
	for (i = 0; i < 3; i++)
		in[i].addr = flat_alloc(&e->h->f, in[i].len, 1);
	memcpy(flat_ptr(&e->h->f, in[0].addr), &hdr, 16);
	((uint8_t *)flat_ptr(&e->h->f, in[2].addr))[505] = 0xff;
	drv_add(&e->h->q, in, 3);
	vg_device_queue_notify(e->h->dev, 0);
	wait_used(e, &id, &used);
	assert_int_equal(used, 513);
	assert_memory_equal(flat_ptr(&e->h->f, in[1].addr), data, 7);
	assert_memory_equal(flat_ptr(&e->h->f, in[2].addr), data + 7, 505);
	assert_int_equal(((uint8_t *)flat_ptr(&e->h->f, in[2].addr))[505], 0);
}

static void test_range(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t bytes;
	} bad[] = {
		{ SECTORS, 512 }, { SECTORS - 1, 1024 }, { UINT64_MAX, 512 },
		{ UINT64_MAX >> 9, 512 }, { UINT64_MAX - 7, 4096 },
		{ 0, 511 }, { 0, 513 }, { 0, 1 },
	};
	struct env *e = *state;
	struct request r;
	uint32_t used, i;

	NEED(e);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(simple(e, VIRTIO_BLK_T_OUT, bad[i].sector,
					bad[i].bytes), VIRTIO_BLK_S_IOERR);
		request_make(e, &r, VIRTIO_BLK_T_IN, bad[i].sector,
			     bad[i].bytes, 4096, 0);
		memset(data_of(e, &r), 0x77, bad[i].bytes);
		assert_int_equal(request_run(e, &r, true, &used),
				 VIRTIO_BLK_S_IOERR);
		/* What used.len claims was written was written. */
		assert_int_equal(used, bad[i].bytes + 1);
		assert_int_equal(data_of(e, &r)[0], 0);
		assert_int_equal(data_of(e, &r)[bad[i].bytes - 1], 0);
	}
	assert_int_equal(counter(e, "errors"), 2 * ARRAY_SIZE(bad));
	/* No data is no error. */
	assert_int_equal(simple(e, VIRTIO_BLK_T_IN, 5, 0), VIRTIO_BLK_S_OK);
}

/* What was there is read; of what is not, nothing old is left. */
static void test_truncated_image(void **state)
{
	struct env *e = *state;
	struct request r;
	uint32_t used, i;

	NEED(e);
	unit_log_start();
	assert_int_equal(ftruncate(e->fd, 1 << 20), 0);
	request_make(e, &r, VIRTIO_BLK_T_IN, (1 << 11) - 2, 4096, 4096, 0);
	memset(data_of(e, &r), 0xcc, 4096);
	assert_int_equal(request_run(e, &r, true, &used), VIRTIO_BLK_S_IOERR);
	assert_int_equal(used, 4097);
	for (i = 0; i < 4096; i++)
		if (data_of(e, &r)[i] !=
		    (i < 1024 ? unit_pattern((1 << 20) - 1024 + i) : 0))
			fail_msg("byte %u", i);
	assert_true(unit_logged("the image ends there"));
	unit_log_stop();
}

static void test_get_id(void **state)
{
	struct env *e = *state;
	struct request r;
	uint32_t used;

	NEED(e);
	request_make(e, &r, VIRTIO_BLK_T_GET_ID, 0, 20, 1, 0);
	assert_int_equal(request_run(e, &r, true, &used), VIRTIO_BLK_S_OK);
	assert_memory_equal(data_of(e, &r), "serial-of-20-bytes..", 20);
	assert_int_equal(used, 21);
	request_make(e, &r, VIRTIO_BLK_T_GET_ID, 0, 6, 1, 0);
	assert_int_equal(request_run(e, &r, true, &used), VIRTIO_BLK_S_OK);
	assert_memory_equal(data_of(e, &r), "serial", 6);
	request_make(e, &r, VIRTIO_BLK_T_GET_ID, 0, 30, 1, 0);
	memset(data_of(e, &r), 0x55, 30);
	assert_int_equal(request_run(e, &r, true, &used), VIRTIO_BLK_S_OK);
	assert_int_equal(data_of(e, &r)[20], 0);
	assert_int_equal(data_of(e, &r)[29], 0);
}

static void test_flush(void **state)
{
	struct env *e = *state;

	NEED(e);
	assert_int_equal(simple(e, VIRTIO_BLK_T_OUT, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(simple(e, VIRTIO_BLK_T_FLUSH, 0, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(counter(e, "flushes"), 1);
}

static void test_unknown(void **state)
{
	static const uint32_t types[] = {
		2, 3, 5, 7, 10, 14, 15, 0x80000000, 0x80000001, 0xffffffff,
	};
	struct env *e = *state;
	unsigned int i;

	NEED(e);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(simple(e, types[i], 0, 512),
				 VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(simple(e, types[i], 0, 0),
				 VIRTIO_BLK_S_UNSUPP);
	}
	assert_int_equal(counter(e, "unsupported"), 2 * ARRAY_SIZE(types));
}

/* ---- discard, write zeroes ---------------------------------------------- */

static uint8_t ranges(struct env *e, uint32_t type, unsigned int n,
		      const uint64_t (*g)[3], uint32_t bytes)
{
	struct request r;
	uint32_t used;
	unsigned int i;

	request_make(e, &r, type, 0, bytes, 16, 0);
	for (i = 0; i < n && (i + 1) * 16 <= bytes; i++) {
		struct virtio_blk_discard_write_zeroes d = {
			htole64(g[i][0]), htole32((uint32_t)g[i][1]),
			htole32((uint32_t)g[i][2]),
		};

		memcpy(data_of(e, &r) + i * 16, &d, 16);
	}
	return request_run(e, &r, false, &used);
}

static bool is_zero(struct env *e, uint64_t sector, uint64_t sectors)
{
	uint8_t buf[512];

	for (; sectors; sectors--, sector++) {
		unsigned int i;

		if (pread(e->fd, buf, 512, (off_t)sector * 512) != 512)
			fail_msg("short read");
		for (i = 0; i < 512; i++)
			if (buf[i])
				return false;
	}
	return true;
}

static void check_untouched(struct env *e, uint64_t sector)
{
	uint8_t buf[512];
	unsigned int i;

	assert_int_equal(pread(e->fd, buf, 512, (off_t)sector * 512), 512);
	for (i = 0; i < 512; i++)
		assert_int_equal(buf[i], unit_pattern(sector * 512 + i));
}

static void test_write_zeroes(void **state)
{
	static const uint64_t g[][3] = {
		{ 9, 3, 0 }, { 100, 300, 1 }, { 1000, 0, 0 }, { 2001, 1, 1 },
	};
	struct env *e = *state;

	NEED(e);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 4, g, 64),
			 VIRTIO_BLK_S_OK);
	check_untouched(e, 8);
	assert_true(is_zero(e, 9, 3));
	check_untouched(e, 12);
	check_untouched(e, 99);
	assert_true(is_zero(e, 100, 300));
	check_untouched(e, 400);
	check_untouched(e, 1000);
	assert_true(is_zero(e, 2001, 1));
	check_untouched(e, 2002);
	/* Larger than one write of zeroes. */
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 3, 5001, 0 } }, 16),
			 VIRTIO_BLK_S_OK);
	check_untouched(e, 2);
	assert_true(is_zero(e, 3, 5001));
	check_untouched(e, 5004);
}

static void test_discard(void **state)
{
	struct env *e = *state;

	NEED(e);
	if (!(host_features(e->h) & (1u << VIRTIO_BLK_F_DISCARD)))
		skip();
	assert_int_equal(ranges(e, VIRTIO_BLK_T_DISCARD, 2,
				(const uint64_t[][3]){ { 16, 8, 0 },
						       { 64, 64, 0 } }, 32),
			 VIRTIO_BLK_S_OK);
	check_untouched(e, 15);
	assert_true(is_zero(e, 16, 8));
	check_untouched(e, 24);
	assert_true(is_zero(e, 64, 64));
	check_untouched(e, 128);
	assert_int_equal(counter(e, "discards"), 1);
}

static void test_ranges_refused(void **state)
{
	static const struct {
		uint32_t type, bytes;
		uint8_t status;
		uint64_t g[1][3];
	} bad[] = {
		{ VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_UNSUPP,
		  { { 0, 8, 1 } } },
		{ VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_UNSUPP,
		  { { 0, 8, 2 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_UNSUPP,
		  { { 0, 8, 2 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_UNSUPP,
		  { { 0, 8, 0x80000001 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR,
		  { { SECTORS, 1, 0 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR,
		  { { UINT64_MAX, 2, 0 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR,
		  { { 0, 0xffffffff, 0 } } },
		{ VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_IOERR,
		  { { SECTORS - 1, 2, 0 } } },
		{ VIRTIO_BLK_T_DISCARD, 15, VIRTIO_BLK_S_IOERR, { { 0 } } },
		{ VIRTIO_BLK_T_DISCARD, 17, VIRTIO_BLK_S_IOERR, { { 0 } } },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 17 * 16, VIRTIO_BLK_S_IOERR,
		  { { 0 } } },
		{ VIRTIO_BLK_T_DISCARD, 0, VIRTIO_BLK_S_IOERR, { { 0 } } },
	};
	struct env *e = *state;
	unsigned int i;

	NEED(e);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ranges(e, bad[i].type, 1, bad[i].g,
					bad[i].bytes), bad[i].status);
	check_untouched(e, 0);
	check_untouched(e, SECTORS - 1);
}

static void test_read_only(void **state)
{
	struct env *e = *state;
	uint64_t f = host_features(e->h);

	assert_true(f & (1u << VIRTIO_BLK_F_RO));
	assert_false(f & (1u << VIRTIO_BLK_F_DISCARD));
	assert_false(f & (1u << VIRTIO_BLK_F_WRITE_ZEROES));
	read_at(e, 0, 4096, 4096, 0);
	assert_int_equal(simple(e, VIRTIO_BLK_T_OUT, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 0, 8, 0 } }, 16),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_DISCARD, 1,
				(const uint64_t[][3]){ { 0, 8, 0 } }, 16),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(simple(e, VIRTIO_BLK_T_FLUSH, 0, 0),
			 VIRTIO_BLK_S_OK);
	check_untouched(e, 0);
}

static void test_no_discard(void **state)
{
	struct env *e = *state;

	assert_int_equal(ranges(e, VIRTIO_BLK_T_DISCARD, 1,
				(const uint64_t[][3]){ { 0, 8, 0 } }, 16),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 0, 8, 0 } }, 16),
			 VIRTIO_BLK_S_UNSUPP);
	check_untouched(e, 0);
}

/* ---- configuration ------------------------------------------------------ */

static uint32_t conf(struct env *e, unsigned int offset, unsigned int len)
{
	uint32_t v;

	assert_true(host_access(e->h, 0x100 + offset, len, false, 0, &v));
	return v;
}

#define CONF(e, field) conf(e, offsetof(struct virtio_blk_config, field), \
		min_u(sizeof(((struct virtio_blk_config *)0)->field), 4u))

static void test_config(void **state)
{
	struct env *e = *state;

	NEED(e);
	assert_false(fcntl(e->dev_fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(conf(e, 0, 4), SECTORS);
	assert_int_equal(conf(e, 4, 4), 0);
	assert_int_equal(conf(e, 1, 1), SECTORS >> 8);
	assert_int_equal(conf(e, 0, 2), SECTORS & 0xffff);
	assert_int_equal(CONF(e, size_max), 65536);
	assert_int_equal(CONF(e, seg_max), 62);	/* of a queue of 64 */
	assert_int_equal(CONF(e, blk_size), 512);
	assert_int_equal(CONF(e, wce), 1);
	assert_int_equal(CONF(e, num_queues), 0);
	assert_int_equal(CONF(e, max_write_zeroes_seg), 16);
	assert_int_equal(conf(e, 60, 4), 0);	/* behind its end */
	assert_int_equal(conf(e, 2, 4), 0);	/* misaligned */
}

static int resize_to(struct env *e, uint64_t bytes)
{
	const uint64_t change[VG_DEV_WORDS] = { bytes };
	int err = vg_device_resized(e->h->dev, change);

	host_run(e->h);
	return err;
}

/* The bounds of each kind of request are the new ones, and no others. */
static void test_resized(void **state)
{
	struct env *e = *state;
	uint32_t generation;

	NEED(e);
	generation = host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(ftruncate(e->fd, 2 * IMAGE_BYTES), 0);
	assert_int_equal(simple(e, VIRTIO_BLK_T_IN, SECTORS, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(resize_to(e, 2 * IMAGE_BYTES), 0);
	assert_int_equal(e->h->irqs_config, 1);
	assert_int_not_equal(host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION),
			     generation);
	assert_int_equal(conf(e, 0, 4), 2 * SECTORS);
	assert_int_equal(simple(e, VIRTIO_BLK_T_OUT, SECTORS - 1, 1024),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(simple(e, VIRTIO_BLK_T_IN, 2 * SECTORS - 1, 512),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(simple(e, VIRTIO_BLK_T_IN, 2 * SECTORS - 1, 1024),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 2 * SECTORS - 8, 8,
							 0 } }, 16),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 2 * SECTORS - 8, 9,
							 0 } }, 16),
			 VIRTIO_BLK_S_IOERR);
	/* The same again is nothing new. */
	assert_int_equal(resize_to(e, 2 * IMAGE_BYTES), 0);
	assert_int_equal(e->h->irqs_config, 1);
}

static void test_resized_refused(void **state)
{
	struct env *e = *state;
	uint32_t generation;

	NEED(e);
	generation = host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(resize_to(e, IMAGE_BYTES - 512), -EINVAL);
	assert_int_equal(resize_to(e, 0), -EINVAL);
	assert_int_equal(resize_to(e, IMAGE_BYTES + 511), -EINVAL);
	assert_int_equal(conf(e, 0, 4), SECTORS);
	assert_int_equal(e->h->irqs_config, 0);
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION),
			 generation);
	assert_int_equal(simple(e, VIRTIO_BLK_T_IN, SECTORS, 512),
			 VIRTIO_BLK_S_IOERR);
}

/* Of no size while it is broken; of the new one when it is reset. */
static void test_resized_while_broken(void **state)
{
	struct env *e = *state;

	NEED(e);
	unit_log_start();
	e->h->q.avail->ring[e->h->q.avail->idx % e->h->q.num] = 0xffff;
	e->h->q.avail->idx++;
	vg_device_queue_notify(e->h->dev, 0);
	host_run(e->h);
	assert_true(host_read(e->h, VIRTIO_MMIO_STATUS) & ST_BROKEN);
	assert_int_equal(resize_to(e, 2 * IMAGE_BYTES), 0);
	assert_int_equal(conf(e, 0, 4), 0);
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	host_run(e->h);
	assert_int_equal(conf(e, 0, 4), 2 * SECTORS);
	unit_log_stop();
}

/* A driver that can't flush gets a cache that is written through. */
static void test_writethrough(void **state)
{
	struct env *e = *state;
	uint32_t v;

	host_start_driver(e->h, 64, 1u << VIRTIO_BLK_F_FLUSH);
	assert_int_equal(CONF(e, wce), 0);
	write_at(e, 8, 4096, 4096, 0);
	assert_int_equal(ranges(e, VIRTIO_BLK_T_WRITE_ZEROES, 1,
				(const uint64_t[][3]){ { 8, 8, 0 } }, 16),
			 VIRTIO_BLK_S_OK);
	assert_true(host_access(e->h, 0x100 + 32, 1, true, 1, &v));
	assert_int_equal(CONF(e, wce), 1);
	/* A reset is a reset. */
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	host_start_driver(e->h, 64, 1u << VIRTIO_BLK_F_CONFIG_WCE);
	assert_int_equal(CONF(e, wce), 1);
	assert_true(host_access(e->h, 0x100 + 32, 1, true, 0, &v));
	assert_int_equal(CONF(e, wce), 1);
}

static int setup_cold(void **state)
{
	*state = env_make(*state);
	return 0;
}

/* ---- shapes, many at once, hostile -------------------------------------- */

static void expect_request_refused(struct env *e, const struct drv_buf *b,
				   unsigned int n)
{
	unit_log_start();
	drv_add(&e->h->q, b, n);
	vg_device_queue_notify(e->h->dev, 0);
	host_run(e->h);
	assert_int_equal(vg_device_stats(e->h->dev)->broken,
			 VG_BROKEN_REQUEST);
	assert_true(host_read(e->h, VIRTIO_MMIO_STATUS) & ST_BROKEN);
	assert_int_equal(unit_log_lines(), 1);
	assert_int_equal(e->h->irqs_config, 1);
	/* Nobody waits for a disk without sectors. */
	assert_int_equal(conf(e, 0, 4), 0);
	unit_log_stop();
}

static void test_no_status(void **state)
{
	struct env *e = *state;
	struct drv_buf b = { flat_alloc(&e->h->f, 16, 1), 16, false };

	expect_request_refused(e, &b, 1);
}

static void test_short_header(void **state)
{
	struct env *e = *state;
	struct drv_buf b[] = {
		{ flat_alloc(&e->h->f, 15, 1), 15, false },
		{ flat_alloc(&e->h->f, 1, 1), 1, true },
	};

	expect_request_refused(e, b, 2);
}

/* Every slot of the ring, over and over, with a few kinds mixed. */
static void test_many(void **state)
{
	struct env *e = *state;
	struct request r[16];
	unsigned int round, i, done, irqs;
	uint32_t id, used;

	NEED(e);
	irqs = e->h->irqs_used;
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 16; i++) {
			uint64_t sector = (round * 131 + i * 257) %
					  (SECTORS - 16);

			request_make(e, &r[i], i % 5 == 4 ? VIRTIO_BLK_T_FLUSH :
				     VIRTIO_BLK_T_IN, sector,
				     i % 5 == 4 ? 0 : 4096, 4096, 0);
			request_add(e, &r[i], true);
		}
		vg_device_queue_notify(e->h->dev, 0);
		for (done = 0; done < 16; done++)
			wait_used(e, &id, &used);
		for (i = 0; i < 16; i++) {
			uint64_t sector = (round * 131 + i * 257) %
					  (SECTORS - 16);

			assert_int_equal(*status_of(e, &r[i]), 0);
			if (i % 5 != 4)
				assert_int_equal(data_of(e, &r[i])[4095],
						 unit_pattern(sector * 512 +
							      4095));
		}
		/* The driver wants to hear of the next one. */
		drv_set_used_event(&e->h->q, e->h->q.used_seen);
	}
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	assert_int_equal(counter(e, "reads"), 50 * 13);
	/* One interrupt for a round: that is what batches are for. */
	assert_in_range(e->h->irqs_used - irqs, 49, 50);
}

/* A reset while requests run: answered when none does any more. */
static void test_reset_under_load(void **state)
{
	struct env *e = *state;
	struct request r;
	unsigned int i, round;

	NEED(e);
	for (round = 0; round < 20; round++) {
		uint32_t v;
		bool at_once;

		for (i = 0; i < 16; i++) {
			request_make(e, &r, VIRTIO_BLK_T_OUT, i * 8, 4096,
				     4096, 0);
			request_add(e, &r, false);
		}
		vg_device_queue_notify(e->h->dev, 0);
		vg_loop_run_once(e->h->loop, 0);
		e->h->nr_replies = 0;
		at_once = host_access(e->h, VIRTIO_MMIO_STATUS, 4, true, 0,
				      &v);
		for (i = 0; i < 2000 && !at_once && !e->h->nr_replies; i++)
			vg_loop_run_once(e->h->loop, 5);
		assert_true(at_once || e->h->nr_replies == 1);
		assert_int_equal(e->h->f.reqs_now, 0);
		assert_int_equal(e->h->f.rings_now, 0);
		assert_int_equal(host_read(e->h, VIRTIO_MMIO_STATUS), 0);
		e->h->f.next = 4096;
		host_start_driver(e->h, 64, 0);
	}
}

/* ---- images ------------------------------------------------------------- */

static void probe(const char *path, int flags, int err, const char *why_part)
{
	struct vg_blk_image im;
	const char *why;
	int fd = open(path, flags);

	assert_true(fd >= 0);
	assert_int_equal(vg_blk_probe(fd, &im, &why), err);
	assert_non_null(strstr(why, why_part));
	close(fd);
}

static void test_probe(void **state)
{
	char *dir = unit_tmpdir(), *path = vg_strf("%s/x", dir);

	(void)state;
	free(unit_image(path, 0));
	probe(path, O_RDWR, -ENODATA, "is empty");
	free(unit_image(path, 513));
	probe(path, O_RDWR, -EINVAL, "not a multiple of 512");
	free(unit_image(path, 512));
	probe(path, O_RDWR, 0, "fine");
	probe(path, O_RDONLY, 0, "fine");
	probe(path, O_WRONLY, -EACCES, "not open for reading");
	probe(dir, O_RDONLY, -EISDIR, "directory");
	probe("/dev/null", O_RDWR, -EINVAL, "neither");
	free(path);
	unit_rm_r(dir);
}

/* What was handed over is gone, too, when the device can't be made. */
static void test_create_fails(void **state)
{
	struct vg_blk_params p = { .engine = VG_BLK_ENGINE_SYNC };
	struct vg_dev_parts parts;
	struct vg_device_params dp = {
		.label = "dom5 test", .type = &vg_dev_blk, .parts = &parts,
		.queue_size_max = 64,
	};
	struct host h = { 0 };

	(void)state;
	unit_log_start();
	assert_int_equal(vg_loop_create(&h.loop), 0);
	flat_init(&h.f);
	p.fd = open("/dev/null", O_RDWR);
	vg_blk_parts_fill(&parts, &p);
	assert_int_equal(host_device_create(&h, &dp), -EINVAL);
	assert_true(h.f.is_destroyed);
	vg_mmio_destroy(h.mmio);
	assert_int_equal(fcntl(p.fd, F_GETFD), -1);
	assert_true(unit_logged("neither a file nor a block device"));
	flat_exit(&h.f);
	vg_loop_destroy(h.loop);
	unit_log_stop();
}

#define TH(f, how) { #f " [" #how "]", f, setup, teardown, (void *)(uintptr_t)&how }
#define T4(f) TH(f, sync_how), TH(f, uring_how), TH(f, sync_direct), \
	      TH(f, uring_direct)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_read), T4(test_read_misaligned), T4(test_write),
		TH(test_direct_bounces, sync_direct),
		TH(test_direct_bounces, uring_direct),
		T4(test_odd_layout), T4(test_range),
		T4(test_truncated_image), T4(test_get_id), T4(test_flush),
		T4(test_unknown), T4(test_write_zeroes), T4(test_discard),
		T4(test_ranges_refused), TH(test_read_only, ro_how),
		TH(test_no_discard, plain_how), T4(test_config),
		T4(test_resized), T4(test_resized_refused),
		TH(test_resized_while_broken, sync_how),
		{ "test_writethrough", test_writethrough, setup_cold, teardown,
		  (void *)(uintptr_t)&sync_how },
		TH(test_no_status, sync_how), TH(test_short_header, sync_how),
		T4(test_many), T4(test_reset_under_load),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_create_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
