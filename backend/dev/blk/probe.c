// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe.c - what an image or a block device is like: see blk.h.
 */
#include "dev/blk/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fs.h>

#define SECTOR_BYTES	512u
#define FILE_DISCARD_MAX_BYTES	(UINT64_C(256) << 20)
#define FIRST_READ_BYTES	4096u

/* A number below /sys/dev/block/MAJ:MIN/queue, also of a partition; 0: none. */
static uint64_t queue_attr(dev_t rdev, const char *name)
{
	static const char *const dirs[] = { "", "../" };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		char path[128];
		uint64_t v = 0;
		FILE *f;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s",
			 major(rdev), minor(rdev), dirs[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%" SCNu64, &v) != 1)
			v = 0;
		fclose(f);
		return v;
	}
	return 0;
}

int vg_blk_size(int fd, const struct stat *st, uint64_t *size_bytes,
		const char **why)
{
	*why = "does not tell its size";
	if (!S_ISBLK(st->st_mode))
		*size_bytes = (uint64_t)st->st_size;
	else if (ioctl(fd, BLKGETSIZE64, size_bytes) < 0)
		return -errno;
	return 0;
}

static int probe_block_device(int fd, const struct stat *st,
			      struct vg_blk_image *im, const char **why)
{
	unsigned int v;
	int n, err;

	im->is_block_device = true;
	err = vg_blk_size(fd, st, &im->size_bytes, why);
	if (err)
		return err;
	*why = "does not tell its block size";
	if (ioctl(fd, BLKSSZGET, &n) < 0)
		return -errno;
	im->logical_block_bytes = (uint32_t)n;
	im->physical_block_bytes = im->logical_block_bytes;
	if (!ioctl(fd, BLKPBSZGET, &v) && v > im->logical_block_bytes)
		im->physical_block_bytes = v;
	if (!ioctl(fd, BLKIOMIN, &v))
		im->io_min_bytes = v;
	if (!ioctl(fd, BLKIOOPT, &v))
		im->io_opt_bytes = v;
	if (!ioctl(fd, BLKALIGNOFF, &n) && n > 0)
		im->alignment_offset_bytes = (uint32_t)n;
	im->discard_max_bytes = queue_attr(st->st_rdev, "discard_max_bytes");
	im->discard_granularity_bytes = (uint32_t)
		queue_attr(st->st_rdev, "discard_granularity");
	return 0;
}

/* Behind the end, a hole changes nothing: only the answer counts. */
static bool can_punch(int fd, uint64_t size_bytes)
{
	return !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)size_bytes, 4096);
}

static void probe_file(int fd, const struct stat *st, struct vg_blk_image *im)
{
	im->size_bytes = (uint64_t)st->st_size;
	/* Partition tables in images count in 512 bytes: never larger. */
	im->logical_block_bytes = SECTOR_BYTES;
	im->physical_block_bytes = st->st_blksize >= 4096 ? 4096 : SECTOR_BYTES;
	if (can_punch(fd, im->size_bytes)) {
		im->discard_max_bytes = FILE_DISCARD_MAX_BYTES;
		im->discard_granularity_bytes = im->physical_block_bytes;
	}
}

static void probe_direct(int fd, struct vg_blk_image *im)
{
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
	    sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align) {
		im->dio_mem_align_bytes = sx.stx_dio_mem_align;
		im->dio_offset_align_bytes = sx.stx_dio_offset_align;
		return;
	}
#endif
	/* A guess; where it is wrong the request is done another way. */
	im->dio_mem_align_bytes = im->logical_block_bytes;
	im->dio_offset_align_bytes = im->logical_block_bytes;
}

/* What fails at the first read is better known now. */
static int try_read(int fd)
{
	void *buf;
	int err = 0;

	if (posix_memalign(&buf, FIRST_READ_BYTES, FIRST_READ_BYTES))
		return 0;
	if (pread(fd, buf, FIRST_READ_BYTES, 0) < 0 && errno != EINVAL)
		err = -errno;
	free(buf);
	return err;
}

int vg_blk_probe(int fd, struct vg_blk_image *im, const char **why)
{
	int err, fl = fcntl(fd, F_GETFL);
	struct stat st;

	*im = (struct vg_blk_image){ .dio_mem_align_bytes = 1,
				     .dio_offset_align_bytes = 1 };
	*why = "can't be examined";
	if (fl < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		*why = "is a directory";
		return -EISDIR;
	}
	if ((fl & O_ACCMODE) == O_WRONLY) {
		*why = "is not open for reading";
		return -EACCES;
	}
	if (S_ISBLK(st.st_mode)) {
		err = probe_block_device(fd, &st, im, why);
		if (err)
			return err;
	} else if (S_ISREG(st.st_mode)) {
		probe_file(fd, &st, im);
	} else {
		*why = "is neither a file nor a block device";
		return -EINVAL;
	}
	if (!im->size_bytes) {
		*why = "is empty";
		return -ENODATA;
	}
	if (im->size_bytes % SECTOR_BYTES) {
		*why = "is not a multiple of 512 bytes";
		return -EINVAL;
	}
	if (fl & O_DIRECT)
		probe_direct(fd, im);
	err = try_read(fd);
	if (err) {
		*why = "can't be read";
		return err;
	}
	*why = "is fine";
	return 0;
}
