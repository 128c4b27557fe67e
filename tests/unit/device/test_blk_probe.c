// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_blk_probe.c - what is found about an image, from a kernel that answers
 * as we please: files, block devices, and each question that fails.
 *
 * dev/blk/probe.c is compiled into this program with calls of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fs.h>

#include "unit.h"

enum call {
	CALL_FCNTL, CALL_FSTAT, CALL_SIZE, CALL_BLOCK, CALL_PHYSICAL,
	CALL_IO_MIN, CALL_IO_OPT, CALL_ALIGN, CALL_STATX, CALL_PUNCH,
	CALL_READ, CALL_MAX,
};

/* The answers; an error (positive errno) in place of one. */
static struct {
	int err[CALL_MAX];
	unsigned int calls[CALL_MAX];
	int flags;
	struct stat st;
	uint64_t size_bytes;
	unsigned int block, physical, io_min, io_opt;
	int align;
	unsigned int mem_align, offset_align;
	const char *sysfs[4];		/* "discard_max_bytes 4096" */
	bool is_partition;
} k;

static int answer(enum call c)
{
	k.calls[c]++;
	errno = k.err[c];
	return k.err[c] ? -1 : 0;
}

static int fake_fcntl(int fd, int cmd)
{
	(void)fd;
	assert_int_equal(cmd, F_GETFL);
	return answer(CALL_FCNTL) ? -1 : k.flags;
}

static int fake_fstat(int fd, struct stat *st)
{
	(void)fd;
	*st = k.st;
	return answer(CALL_FSTAT);
}

static int fake_ioctl(int fd, unsigned long nr, void *out)
{
	(void)fd;
	switch (nr) {
	case BLKGETSIZE64:
		*(uint64_t *)out = k.size_bytes;
		return answer(CALL_SIZE);
	case BLKSSZGET:
		*(int *)out = (int)k.block;
		return answer(CALL_BLOCK);
	case BLKPBSZGET:
		*(unsigned int *)out = k.physical;
		return answer(CALL_PHYSICAL);
	case BLKIOMIN:
		*(unsigned int *)out = k.io_min;
		return answer(CALL_IO_MIN);
	case BLKIOOPT:
		*(unsigned int *)out = k.io_opt;
		return answer(CALL_IO_OPT);
	case BLKALIGNOFF:
		*(int *)out = k.align;
		return answer(CALL_ALIGN);
	}
	fail_msg("ioctl 0x%lx", nr);
	return -1;
}

static int fake_statx(int fd, const char *path, int flags, unsigned int mask,
		      struct statx *sx)
{
	(void)fd;
	(void)path;
	(void)flags;
	memset(sx, 0, sizeof(*sx));
#ifdef STATX_DIOALIGN
	sx->stx_mask = mask;
	sx->stx_dio_mem_align = k.mem_align;
	sx->stx_dio_offset_align = k.offset_align;
#else
	(void)mask;
#endif
	return answer(CALL_STATX);
}

static int fake_fallocate(int fd, int mode, off_t at, off_t len)
{
	(void)fd;
	assert_int_equal(mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	/* Of what the guest has there nothing may be touched. */
	assert_true(at >= k.st.st_size && len > 0);
	return answer(CALL_PUNCH);
}

static ssize_t fake_pread(int fd, void *buf, size_t n, off_t at)
{
	(void)fd;
	assert_int_equal((uintptr_t)buf % 4096, 0);
	assert_int_equal(at, 0);
	return answer(CALL_READ) ? -1 : (ssize_t)n;
}

static FILE *fake_fopen(const char *path, const char *mode)
{
	const char *name = strrchr(path, '/') + 1;
	bool is_parent = strstr(path, "../queue/");
	FILE *f;
	unsigned int i;

	assert_non_null(strstr(path, "/sys/dev/block/8:17/"));
	for (i = 0; i < 4 && k.sysfs[i]; i++) {
		size_t len = strlen(name);

		if (is_parent != k.is_partition ||
		    strncmp(k.sysfs[i], name, len) || k.sysfs[i][len] != ' ')
			continue;
		f = tmpfile();
		assert_non_null(f);
		fputs(k.sysfs[i] + len + 1, f);
		rewind(f);
		return f;
	}
	(void)mode;
	errno = ENOENT;
	return NULL;
}

#define vg_blk_probe	probe_under_test
#define fcntl		fake_fcntl
#define fstat		fake_fstat
#define ioctl		fake_ioctl
#define statx(...)	fake_statx(__VA_ARGS__)
#define fallocate	fake_fallocate
#define pread		fake_pread
#define fopen		fake_fopen

/* "struct statx" stays what it is: the macro wants a parenthesis. */
#include "dev/blk/probe.c"

static struct vg_blk_image im;
static const char *why;

static int probe(void)
{
	memset(k.calls, 0, sizeof(k.calls));
	memset(&im, 0xee, sizeof(im));
	why = NULL;
	return vg_blk_probe(3, &im, &why);
}

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	k.flags = O_RDWR;
	k.st.st_rdev = makedev(8, 17);
	k.st.st_size = 1 << 20;
	k.st.st_blksize = 4096;
	k.size_bytes = 1 << 20;
	k.block = 512;
	k.physical = 4096;
	k.io_min = 4096;
	k.io_opt = 65536;
	return 0;
}

static void is_file(void)
{
	k.st.st_mode = S_IFREG | 0600;
}

static void is_block(void)
{
	k.st.st_mode = S_IFBLK | 0600;
	k.st.st_size = 0;
}

static void file(void **state)
{
	(void)state;
	is_file();
	assert_int_equal(probe(), 0);
	assert_string_equal(why, "is fine");
	assert_false(im.is_block_device);
	assert_int_equal(im.size_bytes, 1 << 20);
	assert_int_equal(im.logical_block_bytes, 512);
	assert_int_equal(im.physical_block_bytes, 4096);
	assert_true(im.discard_max_bytes);
	assert_int_equal(im.discard_granularity_bytes, 4096);
	assert_int_equal(im.dio_mem_align_bytes, 1);
	assert_int_equal(im.dio_offset_align_bytes, 1);
	assert_int_equal(k.calls[CALL_STATX], 0);
	k.st.st_blksize = 512;
	k.err[CALL_PUNCH] = EOPNOTSUPP;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.physical_block_bytes, 512);
	assert_int_equal(im.discard_max_bytes, 0);
}

static void block_device(void **state)
{
	(void)state;
	is_block();
	k.block = 4096;
	k.physical = 512;		/* smaller: nonsense */
	k.align = 512;
	k.sysfs[0] = "discard_max_bytes 2147450880\n";
	k.sysfs[1] = "discard_granularity 65536\n";
	assert_int_equal(probe(), 0);
	assert_true(im.is_block_device);
	assert_int_equal(im.size_bytes, 1 << 20);
	assert_int_equal(im.logical_block_bytes, 4096);
	assert_int_equal(im.physical_block_bytes, 4096);
	assert_int_equal(im.io_min_bytes, 4096);
	assert_int_equal(im.io_opt_bytes, 65536);
	assert_int_equal(im.alignment_offset_bytes, 512);
	assert_int_equal(im.discard_max_bytes, 2147450880);
	assert_int_equal(im.discard_granularity_bytes, 65536);
	assert_int_equal(k.calls[CALL_PUNCH], 0);
	/* A partition's are its disk's. */
	k.is_partition = true;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.discard_granularity_bytes, 65536);
	k.sysfs[0] = "discard_max_bytes none\n";
	k.sysfs[1] = NULL;
	k.align = -1;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.discard_max_bytes, 0);
	assert_int_equal(im.discard_granularity_bytes, 0);
	assert_int_equal(im.alignment_offset_bytes, 0);
}

static void direct(void **state)
{
	(void)state;
	k.flags = O_RDWR | O_DIRECT;
	is_block();
	k.block = 4096;
#ifdef STATX_DIOALIGN
	k.mem_align = 64;
	k.offset_align = 8192;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.dio_mem_align_bytes, 64);
	assert_int_equal(im.dio_offset_align_bytes, 8192);
	/* "Not at all" is no answer: it was opened with O_DIRECT. */
	k.offset_align = 0;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.dio_offset_align_bytes, 4096);
	k.offset_align = 8192;
#endif
	k.err[CALL_STATX] = ENOSYS;
	assert_int_equal(probe(), 0);
	assert_int_equal(im.dio_mem_align_bytes, 4096);
	assert_int_equal(im.dio_offset_align_bytes, 4096);
}

static void refused(void **state)
{
	static const struct {
		mode_t mode;
		int flags;
		uint64_t size_bytes;
		int err;
		const char *why;
	} cases[] = {
		{ S_IFDIR, O_RDONLY, 4096, -EISDIR, "is a directory" },
		{ S_IFCHR, O_RDWR, 4096, -EINVAL,
		  "is neither a file nor a block device" },
		{ S_IFIFO, O_RDWR, 4096, -EINVAL,
		  "is neither a file nor a block device" },
		{ S_IFREG, O_WRONLY, 4096, -EACCES, "is not open for reading" },
		{ S_IFREG, O_RDWR, 0, -ENODATA, "is empty" },
		{ S_IFBLK, O_RDWR, 0, -ENODATA, "is empty" },
		{ S_IFREG, O_RDWR, 4097, -EINVAL,
		  "is not a multiple of 512 bytes" },
		{ S_IFREG, O_RDWR, 511, -EINVAL,
		  "is not a multiple of 512 bytes" },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		k.st.st_mode = cases[i].mode | 0600;
		k.st.st_size = (off_t)cases[i].size_bytes;
		k.size_bytes = cases[i].size_bytes;
		k.flags = cases[i].flags;
		assert_int_equal(probe(), cases[i].err);
		assert_string_equal(why, cases[i].why);
	}
}

/* Each question in turn, for a file and for a block device, direct or not. */
static void each_call_fails(void **state)
{
	static const struct {
		enum call call;
		const char *why;	/* NULL: goes on without the answer */
	} cases[] = {
		{ CALL_FCNTL, "can't be examined" },
		{ CALL_FSTAT, "can't be examined" },
		{ CALL_SIZE, "does not tell its size" },
		{ CALL_BLOCK, "does not tell its block size" },
		{ CALL_PHYSICAL, NULL }, { CALL_IO_MIN, NULL },
		{ CALL_IO_OPT, NULL }, { CALL_ALIGN, NULL },
		{ CALL_STATX, NULL }, { CALL_PUNCH, NULL },
		{ CALL_READ, "can't be read" },
	};
	unsigned int i, shape;

	(void)state;
	assert_int_equal(sizeof(cases) / sizeof(cases[0]), CALL_MAX);
	for (shape = 0; shape < 4; shape++) {
		for (i = 0; i < CALL_MAX; i++) {
			int err;

			setup(NULL);
			if (shape & 1)
				is_block();
			else
				is_file();
			k.flags |= shape & 2 ? O_DIRECT : 0;
			k.err[cases[i].call] = EIO;
			err = probe();
			if (!k.calls[cases[i].call] || !cases[i].why) {
				assert_int_equal(err, 0);
				continue;
			}
			assert_int_equal(err, -EIO);
			assert_string_equal(why, cases[i].why);
		}
	}
	/* The first read may be misaligned for O_DIRECT: that says nothing. */
	setup(NULL);
	is_block();
	k.err[CALL_READ] = EINVAL;
	assert_int_equal(probe(), 0);
}

#define T(f)	cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(file), T(block_device), T(direct), T(refused),
		T(each_call_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
