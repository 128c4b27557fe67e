// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * host.c - disks in the supervisor (struct vg_dev_host): their options, their
 * images (image.h), and what is shown of them.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dev/blk/image.h"
#include "lib/util.h"

struct vg_blk_options vg_blk_options;

/* ---- options ------------------------------------------------------------ */

static const char *parse_direct(const char *s)
{
	enum vg_direct_io *v = &vg_blk_options.direct_io;

	if (!strcmp(s, "libxl"))
		*v = VG_DIRECT_IO_LIBXL;
	else if (!strcmp(s, "on"))
		*v = VG_DIRECT_IO_ON;
	else if (!strcmp(s, "off"))
		*v = VG_DIRECT_IO_OFF;
	else
		return "none of libxl, on, off";
	return NULL;
}

static const char *parse_engine(const char *s)
{
	enum vg_blk_engine *v = &vg_blk_options.engine;

	if (!strcmp(s, "auto"))
		*v = VG_BLK_ENGINE_AUTO;
	else if (!strcmp(s, "io_uring"))
		*v = VG_BLK_ENGINE_URING;
	else if (!strcmp(s, "sync"))
		*v = VG_BLK_ENGINE_SYNC;
	else
		return "none of auto, io_uring, sync";
	return NULL;
}

static const char *parse_on_enospc(const char *s)
{
	bool waits = !strcmp(s, "wait");

	if (!waits && strcmp(s, "report"))
		return "none of report, wait";
	vg_blk_options.waits_for_room = waits;
	return NULL;
}

/* For the life of the process. */
static const char *parse_serial(const char *s)
{
	static const char **serials;
	const char *last = strrchr(s, '=');
	unsigned int n = 0;

	if (*s != '/' || !last || !vg_image_serial_is_valid(last + 1))
		return "no PATH=TEXT with an absolute path and 1 to 20 visible characters of ASCII";
	while (serials && serials[n])
		n++;
	serials = realloc(serials, (n + 2) * sizeof(*serials));
	if (!serials)
		abort();
	serials[n] = s;
	serials[n + 1] = NULL;
	vg_blk_options.serials = serials;
	return NULL;
}

const struct vg_dev_option vg_blk_option_table[] = {
	{ "direct-io", 'd', "libxl|on|off",
	  "O_DIRECT: block devices, and files with direct-io-safe (libxl)",
	  parse_direct },
	{ "engine", 'e', "auto|io_uring|sync",
	  "how images are read and written (auto)", parse_engine },
	{ "on-enospc", 0, "report|wait",
	  "no room for a sparse image: an I/O error, or writes wait (report)",
	  parse_on_enospc },
	{ "serial", 0, "PATH=TEXT",
	  "the serial number of this image (its vdev)", parse_serial },
	{ NULL, 0, NULL, NULL, NULL },
};

/* ---- images ------------------------------------------------------------- */

/* All that one supervisor serves. */
struct images {
	struct vg_image *list;
};

struct disk {
	struct vg_image image;
	struct images *all;
};

static void *images_create(void)
{
	return vg_zalloc(sizeof(struct images));
}

static void images_destroy(void *daemon)
{
	free(daemon);
}

static void *disk_create(void *daemon, const char *label)
{
	struct disk *d = vg_zalloc(sizeof(*d));

	d->all = daemon;
	vg_image_init(&d->image, label);
	return d;
}

static void disk_destroy(void *res)
{
	struct disk *d = res;

	vg_image_exit(&d->image);
	free(d);
}

/* The limit is one of files: it does not hold for block devices. */
static uint64_t file_max(bool is_block_device, uint64_t size_bytes)
{
	return is_block_device ? 0 : size_bytes;
}

static int disk_open(void *res, const struct vg_dev_how *how,
		     struct vg_dev_parts *parts, char **why)
{
	struct disk *d = res;
	struct vg_image_how image_how = {
		.options = vg_blk_options,
		.was_served = how->was_served,
		.is_held = how->is_held,
		.list = &d->all->list,
	};
	struct vg_blk_params p = { .nr_queues = how->nr_queues };
	int err;

	_Static_assert(sizeof(d->image.id) <= sizeof(parts->resource), "id");
	if (how->has_left) {
		memcpy(&image_how.left, how->resource, sizeof(image_how.left));
		image_how.told_bytes = how->told[0];
	}
	err = vg_image_open(&d->image, how->keys, &image_how, &p, why);
	if (err)
		return err;
	vg_blk_parts_fill(parts, &p);
	memcpy(parts->resource, &d->image.id, sizeof(d->image.id));
	parts->file_max_bytes = file_max(p.image.is_block_device,
					 p.image.size_bytes);
	return 0;
}

static int disk_resize(void *res, struct vg_dev_change *change, char **why)
{
	const struct vg_image *im = &((const struct disk *)res)->image;
	uint64_t bytes;
	int err = vg_image_grown(im, &bytes, why);

	if (!err)
		*change = (struct vg_dev_change){
			.words = { bytes },
			.file_max_bytes = file_max(!im->id.ino, bytes),
		};
	return err;
}

static void disk_resized(void *res, const struct vg_dev_change *change)
{
	((struct disk *)res)->image.size_bytes = change->words[0];
}

static int disk_lock(void *res, const struct vg_dev_parts *parts, char **why)
{
	return vg_image_lock(&((struct disk *)res)->image, parts->fds[0], why);
}

static void disk_leave(void *res)
{
	vg_image_leave(&((struct disk *)res)->image);
}

static void disk_close(void *res)
{
	vg_image_close(&((struct disk *)res)->image);
}

static char *disk_summary(const void *res)
{
	const struct vg_image *im = &((const struct disk *)res)->image;

	return vg_strf("%s, %llu bytes%s%s", im->path ? im->path : "",
		       (unsigned long long)im->size_bytes,
		       im->read_only ? ", read-only" : "",
		       im->is_direct ? ", O_DIRECT" : "");
}

/* Of the image's file system. */
static void note_room(const uint64_t *counters, struct json_object *notes)
{
	uint64_t waiting = counters[VG_BLK_STAT_WAITING];
	uint64_t so_far = counters[VG_BLK_STAT_NO_ROOM];
	char *line;

	if (waiting)
		line = vg_strf("NO ROOM for its image: %llu requests wait for some",
			       (unsigned long long)waiting);
	else if (so_far)
		line = vg_strf("no room for its image, so far %llu times",
			       (unsigned long long)so_far);
	else
		return;
	json_object_array_add(notes, json_object_new_string(line));
	free(line);
}

static void disk_describe(const void *res, const uint64_t *counters,
			  struct json_object *o, struct json_object *notes)
{
	const struct vg_image *im = &((const struct disk *)res)->image;

	json_object_object_add(o, "image", json_object_new_string(
				       im->path ? im->path : ""));
	json_object_object_add(o, "size_bytes",
			       json_object_new_uint64(im->size_bytes));
	json_object_object_add(o, "read_only",
			       json_object_new_boolean(im->read_only));
	json_object_object_add(o, "direct_io",
			       json_object_new_boolean(im->is_direct));
	if (counters)
		note_room(counters, notes);
}

const struct vg_dev_host vg_blk_host = {
	.daemon_create = images_create,
	.daemon_destroy = images_destroy,
	.create = disk_create,
	.destroy = disk_destroy,
	.open = disk_open,
	.lock = disk_lock,
	.leave = disk_leave,
	.close = disk_close,
	.resize = disk_resize,
	.resized = disk_resized,
	.summary = disk_summary,
	.describe = disk_describe,
};
