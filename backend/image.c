// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * image.c - the image of a disk: see image.h.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libxl_keys.h"
#include "log.h"
#include "util.h"

/* So long somebody may have an image who is believed to be gone soon. */
#define LOCK_WAIT_NS	UINT64_C(5000000000)

void vg_image_exit(struct vg_image *im)
{
	free(im->path);
	im->path = NULL;
}

/* ---- keys ------------------------------------------------------------------- */

static bool key_is_1(struct xen_store *xs, const char *node, const char *key)
{
	char *v = vg_key_read(xs, node, key);
	bool is = v && !strcmp(v, "1");

	free(v);
	return is;
}

static int keys_read(struct vg_image *im, struct xen_store *xs,
		     const char *node, const struct vg_image_how *how,
		     char **why)
{
	char *mode;
	bool is_bad;

	free(im->path);
	im->path = vg_key_read(xs, node, "params");
	if (!im->path || !*im->path) {
		*why = vg_strf("no image is named (xenstore key %s/params)",
			       node);
		return -EINVAL;
	}
	if (im->path[0] != '/') {
		*why = vg_strf("image \"%s\": not an absolute path", im->path);
		return -EINVAL;
	}
	mode = vg_key_read(xs, node, "mode");
	is_bad = !mode || (strcmp(mode, "r") && strcmp(mode, "w"));
	if (is_bad)
		*why = vg_strf("xenstore key %s/mode: \"%s\" is neither r nor w",
			       node, mode ? mode : "");
	else
		im->read_only = *mode == 'r';
	free(mode);
	if (is_bad)
		return -EINVAL;
	im->is_direct = how->direct_io == VG_DIRECT_IO_ON ||
			(how->direct_io == VG_DIRECT_IO_LIBXL &&
			 key_is_1(xs, node, "direct-io-safe"));
	return 0;
}

static void set_serial(struct xen_store *xs, const char *node,
		       struct vg_blk_params *blk)
{
	char *vdev = vg_key_read(xs, node, "dev");

	if (vdev)	/* no NUL behind it when it fills the field */
		memcpy(blk->serial, vdev,
		       min_u(strlen(vdev), sizeof(blk->serial)));
	free(vdev);
}

/* ---- the lock --------------------------------------------------------------- */

/* Whether it is worth while to wait for who has it. */
static bool lock_awaited(struct vg_image *im)
{
	uint64_t now = vg_now_ns();

	if (!im->locked_out_ns)
		im->locked_out_ns = now;
	return now - im->locked_out_ns < LOCK_WAIT_NS;
}

int vg_image_lock(struct vg_image *im, int fd, bool may_wait, char **why)
{
	if (!flock(fd, (im->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		im->locked_out_ns = 0;
		return 0;
	}
	if (may_wait && lock_awaited(im))
		return -EAGAIN;
	*why = vg_strf("image %s is in use by another device", im->path);
	return -EBUSY;
}

/* ---- opening ---------------------------------------------------------------- */

static int open_as_asked(struct vg_image *im, const char *label)
{
	int flags = (im->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC |
		    O_NONBLOCK;
	int fd = open(im->path, flags | (im->is_direct ? O_DIRECT : 0));

	if (fd < 0 && errno == EINVAL && im->is_direct) {
		vg_warn("%s: image %s can't do O_DIRECT, the page cache is used",
			label, im->path);
		im->is_direct = false;
		fd = open(im->path, flags);
	}
	return fd;
}

/* The same file without O_DIRECT, for what is misaligned; -1: none. */
static int open_buffered(const struct vg_image *im, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (im->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
}

int vg_image_open(struct vg_image *im, struct xen_store *xs, const char *node,
		  const struct vg_image_how *how, struct vg_blk_params *blk,
		  int *fd, int *buffered_fd, char **why)
{
	struct vg_blk_image image;
	const char *what;
	int err;

	err = keys_read(im, xs, node, how, why);
	if (err)
		return err;
	*fd = open_as_asked(im, how->label);
	if (*fd < 0) {
		err = -errno;
		*why = vg_strf("image %s: %s", im->path, strerror(-err));
		return err;
	}
	err = vg_blk_probe(*fd, &image, &what);
	if (err) {
		*why = vg_strf("image %s %s", im->path, what);
		goto fail;
	}
	/*
	 * A block device needs no page cache of ours, the guest has one; and
	 * through it io_uring could not write without a kernel thread.
	 */
	if (how->direct_io == VG_DIRECT_IO_LIBXL && image.is_block_device &&
	    !im->is_direct && !fcntl(*fd, F_SETFL, O_NONBLOCK | O_DIRECT)) {
		im->is_direct = true;
		vg_blk_probe(*fd, &image, &what);
	}
	err = how->is_held ? 0 : vg_image_lock(im, *fd, how->was_served ||
					       im->locked_out_ns, why);
	if (err)
		goto fail;
	im->size_bytes = image.size_bytes;
	blk->read_only = im->read_only;
	blk->discard = !im->read_only && key_is_1(xs, node, "discard-enable");
	blk->engine = how->engine;
	blk->waits_for_room = how->waits_for_room;
	blk->is_probed = true;
	blk->image = image;
	set_serial(xs, node, blk);
	*buffered_fd = im->is_direct ? open_buffered(im, *fd) : -1;
	return 0;
fail:
	close(*fd);
	*fd = -1;
	return err;
}
