// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * image_user.c - who else uses an image: see image_user.h.
 */
#include "image_user.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "util.h"

/* ---- block devices in sysfs -------------------------------------------------- */

/* ".../block/sda/sda1"; "" if there is none. */
static void sysfs_dir(dev_t rdev, char dir[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(rdev),
		 minor(rdev));
	if (!realpath(link, dir))
		dir[0] = 0;
}

static bool is_below(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	return n && !strncmp(dir, path, n) && (path[n] == '/' || !path[n]);
}

/* The same, a partition of it, or the disk that it is a partition of. */
static bool is_same_disk(dev_t a, dev_t b)
{
	char dir[2][PATH_MAX];

	if (a == b)
		return true;
	sysfs_dir(a, dir[0]);
	sysfs_dir(b, dir[1]);
	return is_below(dir[0], dir[1]) || is_below(dir[1], dir[0]);
}

/* The first line of a file, without its end; false: there is none. */
static bool read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "re");
	bool is = f && fgets(line, size, f);

	if (f)
		fclose(f);
	if (is)
		line[strcspn(line, "\n")] = 0;
	return is;
}

/* Device mapper, md and the like. */
static char *holder_of(dev_t rdev)
{
	char dir[PATH_MAX], path[PATH_MAX + 280], name[128];
	char *text = NULL;
	struct dirent *e;
	DIR *d;

	sysfs_dir(rdev, dir);
	snprintf(path, sizeof(path), "%s/holders", dir);
	d = *dir ? opendir(path) : NULL;
	while (d && !text && (e = readdir(d))) {
		if (*e->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/dm/name",
			 e->d_name);
		text = read_line(path, name, sizeof(name)) ?
		       vg_strf("is part of %s (%s)", e->d_name, name) :
		       vg_strf("is part of %s", e->d_name);
	}
	if (d)
		closedir(d);
	return text;
}

/*
 * A line of mountinfo (proc(5)): ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS
 * [TAG...] - TYPE SOURCE OPTIONS.  Some file systems have a number of their own
 * there, but name their device.
 */
static char *mount_of(dev_t rdev, char *line)
{
	unsigned int maj, min;
	char point[PATH_MAX], *source = strstr(line, " - ");
	struct stat st;

	if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, point) != 3)
		return NULL;
	if (is_same_disk(makedev(maj, min), rdev))
		return vg_strf("is mounted on %s", point);
	source = source ? strchr(source + 3, ' ') : NULL;
	if (!source || source[1] != '/')
		return NULL;
	source++;
	source[strcspn(source, " \n")] = 0;
	if (stat(source, &st) || !S_ISBLK(st.st_mode) ||
	    !is_same_disk(st.st_rdev, rdev))
		return NULL;
	return vg_strf("is mounted on %s", point);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) != S_ISBLK(b->st_mode))
		return false;
	return S_ISBLK(a->st_mode) ? is_same_disk(a->st_rdev, b->st_rdev) :
				     a->st_dev == b->st_dev &&
				     a->st_ino == b->st_ino;
}

static char *swap_of(const struct stat *image, char *line)
{
	struct stat st;

	line[strcspn(line, " \t\n")] = 0;
	if (*line != '/' || stat(line, &st) || !is_same(image, &st))
		return NULL;
	return vg_strf("is swap");
}

char *vg_image_kernel_user(const struct stat *image)
{
	char *line = NULL, *text = NULL;
	size_t room = 0;
	FILE *f;

	f = S_ISBLK(image->st_mode) ? fopen("/proc/self/mountinfo", "re") :
				      NULL;
	while (f && !text && getline(&line, &room, f) > 0)
		text = mount_of(image->st_rdev, line);
	if (f)
		fclose(f);
	f = text ? NULL : fopen("/proc/swaps", "re");
	while (f && !text && getline(&line, &room, f) > 0)
		text = swap_of(image, line);
	if (f)
		fclose(f);
	free(line);
	if (!text && S_ISBLK(image->st_mode))
		text = holder_of(image->st_rdev);
	return text;
}

/* ---- loop devices -------------------------------------------------------------- */

/* A file that was unlinked is called "... (deleted)" there. */
static int backing_file(const char *dir, struct stat *file)
{
	char path[PATH_MAX + 32], name[PATH_MAX];

	snprintf(path, sizeof(path), "%s/loop/backing_file", dir);
	return read_line(path, name, sizeof(name)) && !stat(name, file) ?
	       0 : -ENOENT;
}

int vg_image_loop_file(const struct stat *st, struct stat *file)
{
	char dir[PATH_MAX], *slash;

	if (!S_ISBLK(st->st_mode))
		return -ENOENT;
	sysfs_dir(st->st_rdev, dir);
	if (!*dir || !backing_file(dir, file))
		return *dir ? 0 : -ENOENT;
	slash = strrchr(dir, '/');
	*slash = 0;
	return backing_file(dir, file);
}

char *vg_image_loop_user(const struct stat *st)
{
	DIR *d = S_ISREG(st->st_mode) ? opendir("/sys/block") : NULL;
	char *text = NULL, dir[300];
	struct stat file;
	struct dirent *e;

	while (d && !text && (e = readdir(d))) {
		if (strncmp(e->d_name, "loop", 4))
			continue;
		snprintf(dir, sizeof(dir), "/sys/block/%s", e->d_name);
		if (!backing_file(dir, &file) && is_same(st, &file))
			text = vg_strf("is behind /dev/%s", e->d_name);
	}
	if (d)
		closedir(d);
	return text;
}

/* ---- processes -------------------------------------------------------------------- */

static char *process_text(const char *what, const char *pid)
{
	char path[64], name[32];

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	return read_line(path, name, sizeof(name)) ?
	       vg_strf("%s process %s (%s)", what, pid, name) :
	       vg_strf("%s process %s, which is gone", what, pid);
}

/* "1: FLOCK  ADVISORY  WRITE 812 fe:01:4711 0 EOF", of the inode's own number. */
static char *lock_of(const struct stat *st, const char *line)
{
	unsigned int maj, min;
	unsigned long ino;
	char kind[16], pid[21];

	if (sscanf(line, "%*s %15s %*s %*s %20s %x:%x:%lu", kind, pid, &maj,
		   &min, &ino) != 5 || strcmp(kind, "FLOCK") ||
	    makedev(maj, min) != st->st_dev || ino != st->st_ino)
		return NULL;
	return process_text("is locked by", pid);
}

/* One that has it open. */
static char *opener_of(const struct stat *st, const char *pid)
{
	char path[600], *text = NULL;
	struct stat other;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && !text && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, e->d_name);
		if (*e->d_name != '.' && !stat(path, &other) &&
		    is_same(st, &other))
			text = process_text("is open in", pid);
	}
	if (d)
		closedir(d);
	return text;
}

char *vg_image_process_user(const struct stat *st)
{
	char line[256], *text = NULL;
	FILE *f = fopen("/proc/locks", "re");
	struct dirent *e;
	DIR *d;

	while (f && !text && fgets(line, sizeof(line), f))
		text = lock_of(st, line);
	if (f)
		fclose(f);
	d = text ? NULL : opendir("/proc");
	while (d && !text && (e = readdir(d)))
		if (*e->d_name >= '1' && *e->d_name <= '9' &&
		    strtol(e->d_name, NULL, 10) != getpid())
			text = opener_of(st, e->d_name);
	if (d)
		closedir(d);
	return text;
}
