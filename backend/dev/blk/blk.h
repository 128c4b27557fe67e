/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk.h - the virtio block device (virtio 1.3, 5.2): what the files of this
 * folder share, and what its tests need.
 */
#ifndef VG_DEV_BLK_H
#define VG_DEV_BLK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "dev/type.h"

extern const struct vg_dev_type vg_dev_blk;
/* host.c: the supervisor's side. */
extern const struct vg_dev_host vg_blk_host;
extern const struct vg_dev_option vg_blk_option_table[];
/* rings.c: before the sandbox. */
void vg_blk_prepare(struct vg_dev_prepared *p);

enum vg_blk_engine {
	VG_BLK_ENGINE_AUTO,	/* io_uring if the kernel has it, else sync */
	VG_BLK_ENGINE_URING,
	VG_BLK_ENGINE_SYNC,	/* preadv2(2), pwritev2(2) in the loop */
};

/*
 * What vg_blk_probe() finds about an open image; the supervisor calls it
 * before it offers the device, to say in words what is wrong with an image.
 */
struct vg_blk_image {
	bool is_block_device;
	uint64_t size_bytes;
	uint32_t logical_block_bytes;
	uint32_t physical_block_bytes;
	uint32_t io_min_bytes, io_opt_bytes;
	uint32_t alignment_offset_bytes;
	uint64_t discard_max_bytes;	/* 0: can't */
	uint32_t discard_granularity_bytes;
	/* With O_DIRECT; 1 without. */
	uint32_t dio_mem_align_bytes, dio_offset_align_bytes;
};

struct vg_blk_params {
	int fd;			/* image or block device, becomes the device's;
				 * O_DIRECT or not as it was opened */
	int buffered_fd;	/* the same opened without O_DIRECT, likewise
				 * the device's; 0: none */
	bool read_only;
	bool discard;		/* offer DISCARD and WRITE_ZEROES */
	bool waits_for_room;	/* what finds none in the image's file system
				 * is tried again; else it is an error */
	enum vg_blk_engine engine;
	/*
	 * Probed by who opened the image: a confined process can't.  Else the
	 * device does it.
	 */
	bool is_probed;
	struct vg_blk_image image;
	char serial[20]; /* VIRTIO_BLK_T_GET_ID, not NUL-terminated if full */
	unsigned int nr_queues;	/* 0 is 1; at most VG_BLK_QUEUES_MAX */
};

#define VG_BLK_QUEUES_MAX	16u

/* As they travel to the worker. */
static inline void vg_blk_parts_fill(struct vg_dev_parts *parts,
				     const struct vg_blk_params *p)
{
	_Static_assert(sizeof(*p) <= VG_DEV_BLOB_BYTES, "parameters");
	vg_dev_parts_init(parts);
	parts->fds[0] = p->fd;
	parts->fds[1] = p->buffered_fd > 0 ? p->buffered_fd : -1;
	parts->nr_queues = p->nr_queues;
	memcpy(parts->blob, p, sizeof(*p));
}

enum vg_direct_io {
	VG_DIRECT_IO_LIBXL,	/* block devices; files as the device's key
				 * direct-io-safe says */
	VG_DIRECT_IO_ON,
	VG_DIRECT_IO_OFF,
};

/* Counters: stats.type[]. */
enum {
	VG_BLK_STAT_READS, VG_BLK_STAT_WRITES, VG_BLK_STAT_FLUSHES,
	VG_BLK_STAT_DISCARDS, VG_BLK_STAT_ZEROES, VG_BLK_STAT_GET_IDS,
	VG_BLK_STAT_ERRORS, VG_BLK_STAT_UNSUPPORTED, VG_BLK_STAT_BYTES_READ,
	VG_BLK_STAT_BYTES_WRITTEN, VG_BLK_STAT_BOUNCED, VG_BLK_STAT_UNALIGNED,
	VG_BLK_STAT_REGISTERED, VG_BLK_STAT_NO_ROOM, VG_BLK_STAT_WAITING,
	VG_BLK_STAT_NR,
};

/* What the command line says, for all of a process' devices. */
struct vg_blk_options {
	enum vg_direct_io direct_io;
	enum vg_blk_engine engine;
	bool waits_for_room;		/* vg_blk_params */
	const char *const *serials;	/* "PATH=SERIAL", to NULL; or NULL */
};
extern struct vg_blk_options vg_blk_options;

/*
 * Where io_urings come from and go to: from the kernel, unless a process that
 * can't make any later has put some by.  0 or negative errno; any thread may
 * submit to the ring that it gets, one at a time.
 */
struct io_uring;
extern int (*vg_blk_ring_get)(unsigned int depth, struct io_uring *ring);
extern void (*vg_blk_ring_put)(struct io_uring *ring);
/* What these are at first. */
int vg_blk_ring_create(unsigned int depth, struct io_uring *ring);
void vg_blk_ring_destroy(struct io_uring *ring);

/*
 * What one request can be: seg_max (or queue_size_max - 2 if that is less)
 * pieces of size_max bytes, a header and a status byte.  Guest memory wants a
 * budget of VG_BLK_REQ_PAGES_MAX plus the rings, or a driver that keeps the
 * rules can still ask for too much.
 */
#define VG_BLK_SEG_MAX		254u
#define VG_BLK_SIZE_MAX_BYTES	65536u
#define VG_BLK_REQ_PAGES_MAX	(VG_BLK_SEG_MAX * 17u + 4u)

/*
 * 0 or negative errno; *why is then a static text ("is empty", "is not a
 * multiple of 512 bytes", "is a directory", ...).
 */
int vg_blk_probe(int fd, struct vg_blk_image *image, const char **why);
/* Its size alone, whatever that is, of a file or a block device; as above. */
int vg_blk_size(int fd, const struct stat *st, uint64_t *size_bytes,
		const char **why);

#endif
