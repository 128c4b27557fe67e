/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image.h - the image of a disk: what libxl's keys say of it, opened, locked,
 * and described for the worker that will serve it.
 *
 * The supervisor's.  Values of xenstore are parsed strictly; the file system
 * is the driver domain's own and trusted.
 */
#ifndef VG_IMAGE_H
#define VG_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/blk.h"
#include "xen/xen.h"

enum vg_direct_io {
	VG_DIRECT_IO_LIBXL,	/* block devices; files as the device's key
				 * direct-io-safe says */
	VG_DIRECT_IO_ON,
	VG_DIRECT_IO_OFF,
};

struct vg_image {
	/* As the keys say; NULL: not looked at yet. */
	char *path;
	bool read_only;
	bool is_direct;			/* opened with O_DIRECT */
	uint64_t size_bytes;
	uint64_t locked_out_ns;		/* since when; 0: not */
};

struct vg_image_how {
	const char *label;		/* of the device, for the log */
	enum vg_direct_io direct_io;
	enum vg_blk_engine engine;
	bool waits_for_room;		/* vg_blk_params */
	bool was_served;		/* the lock may be a predecessor's */
	bool is_held;			/* ... and is waited for by others */
};

void vg_image_exit(struct vg_image *im);

/*
 * Opens what the keys below @node ask for: *fd, and *buffered_fd, the same
 * without O_DIRECT or -1, are the caller's; @blk is filled but for its queues.
 * Negative errno, with *why a new text for the operator; -EAGAIN: somebody has
 * it who may be gone in a moment, to be tried again soon.
 */
int vg_image_open(struct vg_image *im, struct xen_store *xs, const char *node,
		  const struct vg_image_how *how, struct vg_blk_params *blk,
		  int *fd, int *buffered_fd, char **why);
/*
 * The lock keeps a second writer of ours away, in this domain.  As above;
 * @may_wait: it may be that of a worker of ours that died.
 */
int vg_image_lock(struct vg_image *im, int fd, bool may_wait, char **why);

#endif
