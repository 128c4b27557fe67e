/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image.h - the image of a disk: what libxl's keys say of it, found, opened,
 * kept from other writers, and described for the worker that will serve it.
 *
 * A writer is kept away by flock(2), which is the file's; by O_EXCL on a block
 * device, which is the device's, with its partitions and whatever the kernel
 * does with it; and by what is known of loop devices.  A disk that is only read
 * minds other writers of ours, and who has it locked.
 *
 * What a guest was served is served on, whatever stands under its name later:
 * as long as this process lives it knows the file itself, and in the device's
 * state (state.h) it finds what file its predecessor served.
 *
 * The supervisor's.  Values of xenstore are parsed strictly; the file system
 * is the driver domain's own and trusted.
 */
#ifndef VG_IMAGE_H
#define VG_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/blk/blk.h"
/* Which file or block device; all zeroes: not known. */
struct vg_image_id {
	uint64_t dev;		/* of a block device: its own number */
	uint64_t ino;		/* of a block device: 0 */
	uint64_t birth;		/* when it was made, or its diskseq; 0: not
				 * known.  Numbers are used again. */
};

struct vg_image {
	struct vg_image *next;		/* all that are served */
	struct vg_image **list;		/* ... NULL: this is not */
	const char *label;		/* of its device */

	/* As the keys say; NULL: not looked at yet. */
	char *path;
	bool read_only;
	bool is_direct;			/* opened with O_DIRECT */
	uint64_t size_bytes;

	/* image.c's */
	int node_fd;			/* O_PATH; -1: none */
	int claim_fd;			/* O_EXCL of a block device; -1: none */
	struct vg_image_id id;
	struct vg_image_id behind;	/* the file, if this is a loop device */
	uint64_t locked_out_ns;		/* since when; 0: not */
	bool is_replaced;		/* it was said */
	bool is_leaving;		/* closed soon */
};

struct vg_image_how {
	struct vg_blk_options options;
	bool was_served;		/* what was, is served on */
	bool is_held;			/* ... and is locked by the caller */
	struct vg_image_id left;	/* what that was; zeroes: not known */
	uint64_t told_bytes;		/* ... and how large; 0: not known */
	struct vg_image **list;		/* the supervisor's */
};

void vg_image_init(struct vg_image *im, const char *label);
/* Its worker was told to close it: others may wait. */
void vg_image_leave(struct vg_image *im);
/* The device is closed; its worker has closed its own descriptors. */
void vg_image_close(struct vg_image *im);
void vg_image_exit(struct vg_image *im);

/*
 * Opens what the keys ask for: @blk is filled but for its queues, its
 * descriptors are the caller's.
 * Negative errno with *why a new text for the operator; -EAGAIN: somebody has
 * it who may be gone in a moment, to be tried again soon; *why only if that
 * takes long.  With 0, *why is NULL or what the operator should know.
 */
int vg_image_open(struct vg_image *im, const struct vg_keys *keys,
		  const struct vg_image_how *how, struct vg_blk_params *blk,
		  char **why);
/* The lock of an image that was opened as held: as above. */
int vg_image_lock(struct vg_image *im, int fd, char **why);

/*
 * How large it is by now, if that is more than size_bytes.  Negative errno with
 * *why a new text; -EALREADY: as large as it was, -ERANGE: less.
 */
int vg_image_grown(const struct vg_image *im, uint64_t *size_bytes,
		   char **why);

/* As --serial has it: 1 to 20 characters of ASCII that can be seen. */
bool vg_image_serial_is_valid(const char *s);

#endif
