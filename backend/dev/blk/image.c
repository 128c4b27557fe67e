// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * image.c - the image of a disk: see image.h.
 *
 * Every descriptor of it is opened from one that the supervisor keeps (O_PATH,
 * which neither locks nor reads): a name that leads elsewhere by now does not
 * matter.
 */
#include "dev/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fs.h>

#include "dev/blk/image_user.h"
#include "lib/log.h"
#include "lib/util.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ	_IOR(0x12, 128, __u64)
#endif

/*
 * So long somebody may have an image who is believed to be gone soon: udev, a
 * worker that ended.  libxl waits for 10 s.
 */
#define LOCK_WAIT_NS	UINT64_C(3000000000)

/* ---- keys --------------------------------------------------------------- */

/* What can't be read now is not the same as what is not there. */
static int not_read(const struct vg_keys *keys, const char *key, int err,
		    char **why)
{
	*why = vg_strf("xenstore key %s/%s: %s", keys->where, key,
		       strerror(-err));
	return err;
}

static int is_1(const struct vg_keys *keys, const char *key, bool *is,
		char **why)
{
	int n = vg_keys_is_1(keys, key);

	*is = n > 0;
	return n < 0 ? not_read(keys, key, n, why) : 0;
}

/* *@text: new, or NULL if there is none. */
static int text_read(const struct vg_keys *keys, const char *key, char **text,
		     char **why)
{
	*text = vg_keys_read(keys, key);
	return *text || errno == ENOENT || errno == EINVAL ?
	       0 : not_read(keys, key, -errno, why);
}

static int path_read(struct vg_image *im, const struct vg_keys *keys,
		     char **why)
{
	int err;

	free(im->path);
	err = text_read(keys, "params", &im->path, why);
	if (err)
		return err;
	if (!im->path || !*im->path) {
		*why = vg_strf("no image is named (xenstore key %s/params)",
			       keys->where);
		return -EINVAL;
	}
	if (im->path[0] != '/') {
		*why = vg_strf("image \"%s\": not an absolute path", im->path);
		return -EINVAL;
	}
	return 0;
}

static int mode_read(struct vg_image *im, const struct vg_keys *keys,
		     char **why)
{
	char *mode;
	int err = text_read(keys, "mode", &mode, why);

	if (err)
		return err;
	if (!mode || (strcmp(mode, "r") && strcmp(mode, "w"))) {
		*why = vg_strf("xenstore key %s/mode: \"%s\" is neither r nor w",
			       keys->where, mode ? mode : "");
		err = -EINVAL;
	} else {
		im->read_only = *mode == 'r';
	}
	free(mode);
	return err;
}

static int keys_read(struct vg_image *im, const struct vg_keys *keys,
		     const struct vg_image_how *how, char **why)
{
	int err = path_read(im, keys, why);

	if (!err)
		err = mode_read(im, keys, why);
	if (err)
		return err;
	im->is_direct = how->options.direct_io == VG_DIRECT_IO_ON;
	return how->options.direct_io == VG_DIRECT_IO_LIBXL ?
	       is_1(keys, "direct-io-safe", &im->is_direct, why) : 0;
}

bool vg_image_serial_is_valid(const char *s)
{
	size_t i, n = strlen(s);

	for (i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return n && n <= sizeof(((struct vg_blk_params *)NULL)->serial);
}

/* What --serial says of this image; NULL: nothing. */
static const char *serial_chosen(const struct vg_image *im,
				 const char *const *serials)
{
	size_t n = strlen(im->path);

	for (; serials && *serials; serials++)
		if (!strncmp(*serials, im->path, n) &&
		    strrchr(*serials, '=') == *serials + n)
			return *serials + n + 1;
	return NULL;
}

/* The toolstack's choice, ours, or as Xen's own disks have it: the name. */
static int serial_read(struct vg_image *im, const struct vg_keys *keys,
		       const struct vg_image_how *how,
		       struct vg_blk_params *blk, char **why)
{
	char *key, *vdev = NULL;
	const char *serial;
	int err = text_read(keys, "serial", &key, why);

	if (err)
		return err;
	if (key && !vg_image_serial_is_valid(key)) {
		*why = vg_strf("xenstore key %s/serial: not 1 to %zu visible characters of ASCII",
			       keys->where, sizeof(blk->serial));
		err = -EINVAL;
		goto out;
	}
	serial = key ? key : serial_chosen(im, how->options.serials);
	if (!serial) {
		err = text_read(keys, "dev", &vdev, why);
		serial = vdev;
	}
	if (serial)	/* no NUL behind it when it fills the field */
		memcpy(blk->serial, serial,
		       min_u(strlen(serial), sizeof(blk->serial)));
out:
	free(vdev);
	free(key);
	return err;
}

/* ---- which one it is ---------------------------------------------------- */

static void id_of_stat(const struct stat *st, struct vg_image_id *id)
{
	bool is_block = S_ISBLK(st->st_mode);

	*id = (struct vg_image_id){ .dev = is_block ? st->st_rdev : st->st_dev,
				    .ino = is_block ? 0 : st->st_ino };
}

/* @fd: open for reading. */
static void id_read(int fd, const struct stat *st, struct vg_image_id *id)
{
	struct statx sx;
	uint64_t seq;

	id_of_stat(st, id);
	if (S_ISBLK(st->st_mode)) {
		if (!ioctl(fd, BLKGETDISKSEQ, &seq))
			id->birth = seq;
	} else if (!statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) &&
		   sx.stx_mask & STATX_BTIME) {
		id->birth = (uint64_t)sx.stx_btime.tv_sec * 1000000000u +
			    sx.stx_btime.tv_nsec;
	}
}

static bool id_is_known(const struct vg_image_id *id)
{
	return id->dev || id->ino;
}

/* Where one of them does not know its birth, the numbers have to do. */
static bool id_is_same(const struct vg_image_id *a, const struct vg_image_id *b)
{
	return a->dev == b->dev && a->ino == b->ino &&
	       (!a->birth || !b->birth || a->birth == b->birth);
}

static char *id_text(const struct vg_image_id *id)
{
	if (!id->ino)
		return vg_strf("device %u:%u (diskseq %llu)", major(id->dev),
			       minor(id->dev), (unsigned long long)id->birth);
	return vg_strf("inode %llu on %u:%u", (unsigned long long)id->ino,
		       major(id->dev), minor(id->dev));
}

/* Whether it is what the guest was served, and as large. */
static int check_predecessor(const struct vg_image *im,
			     const struct vg_image_how *how,
			     uint64_t size_bytes, char **why)
{
	uint64_t told_bytes = how->told_bytes;
	char *now, *then;

	if (!how->was_served || !id_is_known(&how->left))
		return 0;
	if (!id_is_same(&how->left, &im->id)) {
		now = id_text(&im->id);
		then = id_text(&how->left);
		*why = vg_strf("image %s was replaced while the guest used it: now it is %s, it was %s; the disk stops until that is there again, or the guest has ended",
			       im->path, now, then);
		free(now);
		free(then);
		return -ESTALE;
	}
	if (told_bytes && size_bytes < told_bytes)
		*why = vg_strf("image %s was cut from %llu to %llu bytes while the guest used it: what it had behind is an I/O error",
			       im->path, (unsigned long long)told_bytes,
			       (unsigned long long)size_bytes);
	else if (told_bytes && size_bytes > told_bytes)
		vg_info("%s: image %s grew from %llu to %llu bytes, the guest is told",
			im->label, im->path, (unsigned long long)told_bytes,
			(unsigned long long)size_bytes);
	return 0;
}

/* ---- others ------------------------------------------------------------- */

static bool overlaps(const struct vg_image *a, const struct vg_image *b)
{
	return id_is_same(&a->id, &b->id) || id_is_same(&a->id, &b->behind) ||
	       id_is_same(&a->behind, &b->id) ||
	       (id_is_known(&a->behind) && id_is_same(&a->behind, &b->behind));
}

/* For a writer.  The kernel's users stay: they are no reason to wait. */
static int check_others(const struct vg_image *im, const struct stat *st,
			char **why)
{
	char *who = NULL;
	int err = 0;

	if (im->read_only)
		return 0;
	if (!S_ISBLK(st->st_mode) || im->claim_fd < 0)
		err = vg_image_kernel_user(st, &who);
	if (!err && !who)
		err = vg_image_loop_user(st, &who);
	if (err)
		*why = vg_strf("image %s: who uses it can't be found out: %s",
			       im->path, strerror(-err));
	if (err || !who)
		return err;
	*why = vg_strf("image %s %s", im->path, who);
	free(who);
	return -EBUSY;
}

/*
 * -EAGAIN; after so long that it is not for a moment, with who it is: once, to
 * find out takes time.
 */
static int locked_out(struct vg_image *im, int fd, const char *what, char **why)
{
	uint64_t now = vg_now_ns();
	struct stat st;
	char *who;

	if (!im->locked_out_ns)
		im->locked_out_ns = now;
	if (now - im->locked_out_ns < LOCK_WAIT_NS)
		return -EAGAIN;
	im->locked_out_ns = now;
	who = fstat(fd, &st) ? NULL : vg_image_process_user(&st);
	*why = vg_strf("image %s %s%s%s", im->path, what, who ? ": it " : "",
		       who ? who : "");
	free(who);
	return -EAGAIN;
}

/* By another device of ours, if either of them writes. */
static int check_ours(struct vg_image *im, const struct vg_image *list, int fd,
		      char **why)
{
	const struct vg_image *o;

	for (o = list; o; o = o->next) {
		if (o == im || (o->read_only && im->read_only) ||
		    !overlaps(o, im))
			continue;
		if (o->is_leaving)
			return locked_out(im, fd, "is in use by another device, which does not end",
					  why);
		*why = strcmp(o->path, im->path) ?
		       vg_strf("image %s is in use by another device, %s (as %s)",
			       im->path, o->label, o->path) :
		       vg_strf("image %s is in use by another device, %s",
			       im->path, o->label);
		return -EBUSY;
	}
	return 0;
}

int vg_image_lock(struct vg_image *im, int fd, char **why)
{
	if (!flock(fd, (im->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		im->locked_out_ns = 0;
		return 0;
	}
	if (errno != EWOULDBLOCK) {
		*why = vg_strf("image %s: locking it: %s", im->path,
			       strerror(errno));
		return -errno;
	}
	return locked_out(im, fd, "is locked by somebody else", why);
}

static void node_path(int fd, char path[32])
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/*
 * The block device with its partitions, or that it is one of: nobody else's who
 * asks like this, as mounting, swapping and device mapper do.  Not the
 * worker's, so that it does not depend on when that one's last I/O is done.
 */
static int claim(struct vg_image *im, const struct stat *st, char **why)
{
	char path[32];
	int err;

	if (im->read_only || !S_ISBLK(st->st_mode) || im->claim_fd >= 0)
		return 0;
	node_path(im->node_fd, path);
	im->claim_fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	if (im->claim_fd >= 0)
		return 0;
	if (errno != EBUSY) {
		err = -errno;
		*why = vg_strf("image %s: opening it exclusively: %s", im->path,
			       strerror(-err));
		return err;
	}
	if (check_others(im, st, why))
		return -EBUSY;
	return locked_out(im, im->node_fd, "is in exclusive use", why);
}

/* ---- opening ------------------------------------------------------------ */

void vg_image_init(struct vg_image *im, const char *label)
{
	*im = (struct vg_image){ .label = label, .node_fd = -1,
				 .claim_fd = -1 };
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vg_image_close(struct vg_image *im)
{
	struct vg_image **p;

	fd_close(&im->node_fd);
	fd_close(&im->claim_fd);
	im->locked_out_ns = 0;
	im->is_replaced = im->is_leaving = false;
	for (p = im->list; p && *p; p = &(*p)->next)
		if (*p == im) {
			*p = im->next;
			break;
		}
	im->list = NULL;
}

void vg_image_leave(struct vg_image *im)
{
	im->is_leaving = true;
}

void vg_image_exit(struct vg_image *im)
{
	vg_image_close(im);
	free(im->path);
	im->path = NULL;
}

/* Under its name, unless it is the one that we have been serving. */
static int find_node(struct vg_image *im, const struct vg_image_how *how)
{
	struct stat named, ours;

	if (!how->was_served) {
		fd_close(&im->node_fd);
		fd_close(&im->claim_fd);
	}
	if (im->node_fd < 0) {
		im->node_fd = open(im->path, O_PATH | O_CLOEXEC);
		return im->node_fd < 0 ? -errno : 0;
	}
	if (im->is_replaced || fstat(im->node_fd, &ours) ||
	    (!stat(im->path, &named) && named.st_dev == ours.st_dev &&
	     named.st_ino == ours.st_ino))
		return 0;
	vg_warn("%s: image %s was replaced under its name: the guest is served the one that it knows until it ends",
		im->label, im->path);
	im->is_replaced = true;
	return 0;
}

static int open_node(struct vg_image *im)
{
	int flags = (im->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC |
		    O_NONBLOCK;
	char path[32];
	int fd;

	node_path(im->node_fd, path);
	fd = open(path, flags | (im->is_direct ? O_DIRECT : 0));
	if (fd < 0 && errno == EINVAL && im->is_direct) {
		vg_warn("%s: image %s can't do O_DIRECT, the page cache is used",
			im->label, im->path);
		im->is_direct = false;
		fd = open(path, flags);
	}
	return fd < 0 ? -errno : fd;
}

/* The same without O_DIRECT, for what is misaligned; -1: none. */
static int open_buffered(const struct vg_image *im)
{
	char path[32];

	node_path(im->node_fd, path);
	return open(path, (im->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
}

static int probe(struct vg_image *im, const struct vg_image_how *how, int fd,
		 struct vg_blk_image *out, char **why)
{
	const char *what;
	int err = vg_blk_probe(fd, out, &what);

	/*
	 * A block device needs no page cache of ours, the guest has one; and
	 * through it io_uring could not write without a kernel thread.
	 */
	if (!err && how->options.direct_io == VG_DIRECT_IO_LIBXL &&
	    out->is_block_device && !im->is_direct &&
	    !fcntl(fd, F_SETFL, O_NONBLOCK | O_DIRECT)) {
		im->is_direct = true;
		err = vg_blk_probe(fd, out, &what);
	}
	if (err)
		*why = vg_strf("image %s %s", im->path, what);
	return err;
}

/* Opened and examined: may we have it, too? */
static int take(struct vg_image *im, const struct vg_image_how *how, int fd,
		char **why)
{
	struct stat st, file;
	int err;

	if (fstat(fd, &st)) {
		*why = vg_strf("image %s: %s", im->path, strerror(errno));
		return -errno;
	}
	id_read(fd, &st, &im->id);
	im->behind = (struct vg_image_id){ 0 };
	err = vg_image_loop_file(&st, &file);
	if (!err) {
		id_of_stat(&file, &im->behind);
	} else if (err != -ENOENT) {
		*why = vg_strf("image %s: what is behind it can't be found out: %s",
			       im->path, strerror(-err));
		return err;
	}
	err = check_ours(im, *how->list, fd, why);
	if (!err)
		err = claim(im, &st, why);
	if (!err)
		err = check_others(im, &st, why);
	if (!err && !how->is_held)
		err = vg_image_lock(im, fd, why);
	/* A new device does not wait for ever. */
	if (err == -EAGAIN && *why && !how->was_served)
		err = -EBUSY;
	return err;
}

int vg_image_open(struct vg_image *im, const struct vg_keys *keys,
		  const struct vg_image_how *how, struct vg_blk_params *blk,
		  char **why)
{
	int err = keys_read(im, keys, how, why);

	blk->fd = blk->buffered_fd = -1;
	if (err)
		return err;
	err = serial_read(im, keys, how, blk, why);
	if (!err)
		err = is_1(keys, "discard-enable", &blk->discard, why);
	if (err)
		return err;
	err = find_node(im, how);
	if (!err)
		err = blk->fd = open_node(im);
	if (err < 0) {
		*why = vg_strf("image %s: %s", im->path, strerror(-err));
		blk->fd = -1;
		return err;
	}
	err = probe(im, how, blk->fd, &blk->image, why);
	if (!err)
		err = take(im, how, blk->fd, why);
	if (!err)
		err = check_predecessor(im, how, blk->image.size_bytes, why);
	if (err) {
		fd_close(&blk->fd);
		return err;
	}
	if (!im->list) {
		im->list = how->list;
		im->next = *how->list;
		*how->list = im;
	}
	im->is_leaving = false;
	im->size_bytes = blk->image.size_bytes;
	blk->read_only = im->read_only;
	blk->discard &= !im->read_only;
	blk->engine = how->options.engine;
	blk->waits_for_room = how->options.waits_for_room;
	blk->is_probed = true;
	blk->buffered_fd = im->is_direct ? open_buffered(im) : -1;
	return 0;
}

/* ---- growing ------------------------------------------------------------ */

/* Of the one that is served, whatever stands under its name. */
static int size_now(const struct vg_image *im, uint64_t *size_bytes,
		    const char **what)
{
	struct vg_image_id id;
	struct stat st;
	char path[32];
	int fd, err;

	node_path(im->node_fd, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
		*what = "can't be examined";
	} else {
		id_read(fd, &st, &id);
		*what = "is another block device by now";
		err = id_is_same(&id, &im->id) ?
		      vg_blk_size(fd, &st, size_bytes, what) : -ESTALE;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int vg_image_grown(const struct vg_image *im, uint64_t *size_bytes,
		   char **why)
{
	unsigned long long knows = im->size_bytes, now;
	const char *what;
	int err = size_now(im, size_bytes, &what);

	if (err) {
		*why = vg_strf("image %s %s: %s", im->path, what,
			       strerror(-err));
		return err;
	}
	now = *size_bytes;
	if (now == knows) {
		*why = vg_strf("the image has %llu bytes, as the guest knows",
			       now);
		return -EALREADY;
	}
	if (now < knows) {
		*why = vg_strf("the image has %llu bytes now, the guest knows %llu; a disk does not shrink while it is used",
			       now, knows);
		return -ERANGE;
	}
	if (now % 512) {
		*why = vg_strf("the image has %llu bytes now, which is not a multiple of 512 bytes",
			       now);
		return -EINVAL;
	}
	return 0;
}
