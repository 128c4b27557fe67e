// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * saved.c - see saved.h.
 */
#include "ctl/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "toolstack/transact.h"

/* Far more than all devices of all guests. */
#define FILE_BYTES_MAX	(64u << 20)
#define BOOT_ID_CHARS	36u
/* Files that made no sense: nobody has looked at so many. */
#define BAD_MAX		10u

const char *vg_saved_boot_id = "/proc/sys/kernel/random/boot_id";

struct vg_saved {
	struct xen_store *xs;
	xen_domid_t own;
	char *dir, *path;
	char boot[BOOT_ID_CHARS + 1];
	char *text;		/* that is in the file; NULL: not known */
};

static void read_boot_id(struct vg_saved *s)
{
	FILE *f = fopen(vg_saved_boot_id, "re");

	if (!f || fscanf(f, "%36[0-9a-f-]", s->boot) != 1)
		vg_warn("%s can't be read", vg_saved_boot_id);
	if (f)
		fclose(f);
}

struct vg_saved *vg_saved_create(struct xen_store *xs, xen_domid_t own,
				 const char *dir)
{
	struct vg_saved *s = vg_zalloc(sizeof(*s));

	s->xs = xs;
	s->own = own;
	s->dir = vg_strdup(dir);
	s->path = vg_strf("%s/saved.json", dir);
	read_boot_id(s);
	return s;
}

void vg_saved_destroy(struct vg_saved *s)
{
	free(s->text);
	free(s->path);
	free(s->dir);
	free(s);
}

/* ---- the text ----------------------------------------------------------- */

static void add_word(struct json_object *spec, const char *key,
		     const char *value)
{
	char *word = vg_strf("%s=%s", key, value);

	json_object_array_add(spec, json_object_new_string(word));
	free(word);
}

static struct json_object *device_json(const struct vg_bus_dev *dev)
{
	struct json_object *o = json_object_new_object();
	struct json_object *spec = json_object_new_array();
	unsigned int i;

	json_object_object_add(o, "uuid", json_object_new_string(dev->uuid));
	json_object_object_add(o, "guest",
			       json_object_new_string(dev->guest_name));
	json_object_object_add(o, "devid",
			       json_object_new_int((int32_t)dev->devid));
	add_word(spec, "type", dev->spec.type);
	add_word(spec, "backend", dev->spec.backend);
	add_word(spec, "name", dev->spec.name);
	for (i = 0; i < dev->spec.nr_keys; i++)
		add_word(spec, dev->spec.key[i].key, dev->spec.key[i].value);
	json_object_object_add(o, "spec", spec);
	return o;
}

static char *text_of(const struct vg_saved *s, const struct vg_bus_devs *all)
{
	struct json_object *o = json_object_new_object();
	struct json_object *devices = json_object_new_array();
	unsigned int i;
	char *text;

	for (i = 0; i < all->nr; i++)
		if (all->d[i].is_suspended)
			json_object_array_add(devices, device_json(&all->d[i]));
	json_object_object_add(o, "boot", json_object_new_string(s->boot));
	json_object_object_add(o, "devices", devices);
	text = vg_strf("%s\n", json_object_to_json_string_ext(
			o, JSON_C_TO_STRING_PRETTY |
			   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return text;
}

/* A string of @o, or NULL. */
static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) &&
	       json_object_is_type(v, json_type_string) ?
	       json_object_get_string(v) : NULL;
}

static struct json_object *array_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) &&
	       json_object_is_type(v, json_type_array) ? v : NULL;
}

/* 0, or -EINVAL with *@why. */
static int spec_parse(struct json_object *o, struct vg_bus_spec *spec,
		      char **why)
{
	struct json_object *words = array_of(o, "spec"), *v;
	size_t i, n = words ? json_object_array_length(words) : 0;
	int err = 0;

	for (i = 0; i < n && !err; i++) {
		v = json_object_array_get_idx(words, i);
		err = vg_bus_spec_add(spec, json_object_get_string(v) ?: "",
				      why);
	}
	if (!err)
		err = vg_bus_spec_complete(spec, why);
	if (!err && (!spec->name || !spec->backend)) {
		*why = vg_strdup("a device without name= and backend=");
		err = -EINVAL;
	}
	return err;
}

static int device_parse(struct json_object *o, struct vg_bus_dev *dev,
			char **why)
{
	const char *uuid = string_of(o, "uuid"), *guest = string_of(o, "guest");
	struct json_object *devid;
	int64_t id = -1;

	if (json_object_object_get_ex(o, "devid", &devid) &&
	    json_object_is_type(devid, json_type_int))
		id = json_object_get_int64(devid);
	if (!uuid || vg_uuid_check(uuid) || !guest || id < 0 ||
	    id >= VG_BUS_DEVIDS) {
		*why = vg_strdup("a device without a uuid, guest or devid that can be one");
		return -EINVAL;
	}
	memcpy(dev->uuid, uuid, VG_UUID_CHARS + 1);
	dev->guest_name = vg_strdup(guest);
	dev->devid = (uint32_t)id;
	dev->is_suspended = true;
	return spec_parse(o, &dev->spec, why);
}

/* ---- what another boot left --------------------------------------------- */

/* 0; -EINVAL with *@why; or another negative errno. */
static int recall_one(struct vg_saved *s, struct json_object *o, char **why)
{
	struct vg_bus_dev dev = { 0 };
	int err = device_parse(o, &dev, why);

	if (!err)
		err = vg_bus_recall(s->xs, &dev, s->own);
	if (!err)
		vg_info("%s %s: its guest was saved before the host was booted",
			dev.guest_name, dev.spec.name);
	if (err == -EEXIST)
		err = 0;
	vg_bus_dev_free(&dev);
	return err;
}

/* Those that make sense; *@why: of the first that does not. */
static int recall_all(struct vg_saved *s, struct json_object *devices,
		      char **why)
{
	size_t i, n = json_object_array_length(devices);
	char *bad = NULL;
	int one, err = 0;

	for (i = 0; i < n; i++) {
		one = recall_one(s, json_object_array_get_idx(devices, i),
				 &bad);
		if (!bad)
			err = err ? err : one;
		else if (!*why)
			*why = bad;
		else
			free(bad);
		bad = NULL;
	}
	return err;
}

static int recall_text(struct vg_saved *s, const char *text, char **why)
{
	struct json_object *o = json_tokener_parse(text), *devices = NULL;
	const char *boot = o ? string_of(o, "boot") : NULL;
	int err = 0;

	if (o)
		devices = array_of(o, "devices");
	if (!boot || !devices) {
		*why = vg_strdup("it is not JSON with \"boot\" and \"devices\"");
		err = -EINVAL;
	} else if (!*s->boot || strcmp(boot, s->boot)) {
		err = recall_all(s, devices, why);
	}
	json_object_put(o);
	return err;
}

/* Its text, new; NULL with errno. */
static char *read_file(const char *path)
{
	int err = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st))
		err = errno;
	else if (st.st_size > FILE_BYTES_MAX)
		err = EFBIG;
	else
		text = vg_zalloc((size_t)st.st_size + 1);
	if (text && read(fd, text, (size_t)st.st_size) < 0) {
		err = errno;
		free(text);
		text = NULL;
	}
	close(fd);
	errno = err;
	return text;
}

static bool is_same_file(const char *one, const char *other)
{
	struct stat a, b;

	return !stat(one, &a) && !stat(other, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* 0: it is kept as @bad. */
static int keep_bad_as(const struct vg_saved *s, const char *bad,
		       const char *why)
{
	int err = link(s->path, bad) ? -errno : 0;

	if (!err)
		vg_err("%s: %s: kept as %s", s->path, why, bad);
	else if (err != -EEXIST)
		vg_err("%s: %s: it can't be kept as %s: %s: move it away",
		       s->path, why, bad, strerror(-err));
	else if (is_same_file(s->path, bad))
		err = 0;	/* Said when an earlier start kept it. */
	return err;
}

/*
 * Under another name, too: what makes sense in it stands nowhere else until
 * write_file() has put the next one in its place, and the host can stop before.
 */
static int keep_bad(const struct vg_saved *s, const char *why)
{
	unsigned int n;
	char *bad;
	int err;

	for (n = 0; n < BAD_MAX; n++) {
		bad = n ? vg_strf("%s.bad.%u", s->path, n) :
			  vg_strf("%s.bad", s->path);
		err = keep_bad_as(s, bad, why);
		free(bad);
		if (err != -EEXIST)
			return err;
	}
	vg_err("%s: %s: not kept: there are %u of the kind, up to %s.bad.%u",
	       s->path, why, BAD_MAX, s->path, BAD_MAX - 1);
	return 0;
}

int vg_saved_recall(struct vg_saved *s)
{
	char *text = read_file(s->path), *why = NULL;
	int err;

	if (!text && errno == ENOENT)
		return 0;
	err = text ? recall_text(s, text, &why) : -errno;
	free(text);
	if (err && (!why || err != -EINVAL)) {
		vg_err("%s: devices of guests that were saved are not known: %s",
		       s->path, vg_store_error(err));
	} else if (why) {
		err = keep_bad(s, why);
	}
	free(why);
	return err;
}

/* ---- keeping ------------------------------------------------------------ */

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);
	ssize_t n;

	while (left) {
		n = write(fd, text, left);
		if (n < 0 && errno != EINTR)
			return -errno;
		text += max_u(n, 0);
		left -= (size_t)max_u(n, 0);
	}
	return fsync(fd) ? -errno : 0;
}

static int sync_dir(const char *dir)
{
	int err, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

/* Whoever reads it, and whenever the host stops, finds the old or the new. */
static int write_file(const struct vg_saved *s, const char *text)
{
	char *new = vg_strf("%s.new", s->path);
	int err = 0, fd;

	if (mkdir(s->dir, 0755) && errno != EEXIST)
		err = -errno;
	fd = err ? -1 : open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			     0600);
	if (fd >= 0) {
		err = write_all(fd, text);
		close(fd);
	} else if (!err) {
		err = -errno;
	}
	if (!err && rename(new, s->path))
		err = -errno;
	if (!err)
		err = sync_dir(s->dir);
	free(new);
	return err;
}

int vg_saved_keep(struct vg_saved *s, unsigned int nr_suspended)
{
	struct vg_bus_devs all = { 0 };
	char *text;
	int err = 0;

	/* Nothing is noted, and nothing was. */
	if (!nr_suspended && !s->text && access(s->path, F_OK))
		return 0;
	if (nr_suspended)
		err = vg_bus_devs_read(s->xs, NULL, &all);
	if (err)
		return err;
	text = text_of(s, &all);
	vg_bus_devs_free(&all);
	if (s->text && !strcmp(text, s->text)) {
		free(text);
		return 0;
	}
	free(s->text);
	s->text = NULL;
	err = write_file(s, text);
	if (err) {
		vg_warn("%s: %s: guests that are saved would not find their devices after a boot of the host; trying again",
			s->path, strerror(-err));
		free(text);
		return err;
	}
	s->text = text;
	return 0;
}
