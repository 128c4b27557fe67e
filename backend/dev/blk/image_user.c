// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * image_user.c - who else uses an image: see image_user.h.
 */
#include "dev/blk/image_user.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/util.h"

/* ---- block devices in sysfs --------------------------------------------- */

/*
 * Of what was just tried: there is nothing, or nothing for us; or a shortage.
 */
static int shortage(void)
{
	return vg_error_passes(-errno) ? -errno : 0;
}

/* ".../block/sda/sda1"; "" if there is none. */
static int sysfs_dir(dev_t rdev, char dir[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(rdev),
		 minor(rdev));
	if (realpath(link, dir))
		return 0;
	dir[0] = 0;
	return shortage();
}

static bool is_below(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	return n && !strncmp(dir, path, n) && (path[n] == '/' || !path[n]);
}

/*
 * The same, a partition of it, or the disk that it is a partition of: 1, 0, or
 * -errno of a shortage.
 */
static int is_same_disk(dev_t a, dev_t b)
{
	char dir[2][PATH_MAX];
	int err;

	if (a == b)
		return 1;
	err = sysfs_dir(a, dir[0]);
	if (!err)
		err = sysfs_dir(b, dir[1]);
	return err ? err :
	       is_below(dir[0], dir[1]) || is_below(dir[1], dir[0]);
}

/* The first line of a file, without its end: 1, 0: there is none, or -errno. */
static int read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "re");
	int res;

	if (!f)
		return shortage();
	errno = 0;
	res = fgets(line, size, f) ? 1 : shortage();
	fclose(f);
	if (res > 0)
		line[strcspn(line, "\n")] = 0;
	return res;
}

/* Whoever @look finds in one of the lines of a file: its words, or -errno. */
static int look_through(const char *path, const struct stat *image,
			int (*look)(const struct stat *image, char *line,
				    char **who), char **who)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int err = 0;

	if (!f)
		return shortage();
	while (!err && !*who) {
		errno = 0;
		if (getline(&line, &room, f) < 0) {
			err = shortage();
			break;
		}
		err = look(image, line, who);
	}
	free(line);
	fclose(f);
	return err;
}

/* The next entry of a directory: 1, 0: the end, or -errno. */
static int next_of(DIR *d, struct dirent **e)
{
	errno = 0;
	*e = readdir(d);
	return *e ? 1 : shortage();
}

/* Device mapper, md and the like. */
static int holder_of(dev_t rdev, char **who)
{
	char dir[PATH_MAX], path[PATH_MAX + 280], name[128];
	struct dirent *e;
	DIR *d;
	int res = sysfs_dir(rdev, dir);

	if (res || !*dir)
		return res;
	snprintf(path, sizeof(path), "%s/holders", dir);
	d = opendir(path);
	if (!d)
		return shortage();
	while (!*who && (res = next_of(d, &e)) > 0) {
		if (*e->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/dm/name",
			 e->d_name);
		*who = read_line(path, name, sizeof(name)) > 0 ?
		       vg_strf("is part of %s (%s)", e->d_name, name) :
		       vg_strf("is part of %s", e->d_name);
	}
	closedir(d);
	return res < 0 ? res : 0;
}

/*
 * A line of mountinfo (proc(5)): ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS
 * [TAG...] - TYPE SOURCE OPTIONS.  Some file systems have a number of their own
 * there, but name their device.
 */
static int mount_of(const struct stat *image, char *line, char **who)
{
	unsigned int maj, min;
	char point[PATH_MAX], *source = strstr(line, " - ");
	struct stat st;
	int is;

	if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, point) != 3)
		return 0;
	is = is_same_disk(makedev(maj, min), image->st_rdev);
	source = source ? strchr(source + 3, ' ') : NULL;
	if (!is && source && source[1] == '/') {
		source++;
		source[strcspn(source, " \n")] = 0;
		if (stat(source, &st))
			is = shortage();
		else if (S_ISBLK(st.st_mode))
			is = is_same_disk(st.st_rdev, image->st_rdev);
	}
	if (is <= 0)
		return is;
	*who = vg_strf("is mounted on %s", point);
	return 0;
}

/* 1, 0, or -errno. */
static int is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) != S_ISBLK(b->st_mode))
		return 0;
	return S_ISBLK(a->st_mode) ? is_same_disk(a->st_rdev, b->st_rdev) :
				     a->st_dev == b->st_dev &&
				     a->st_ino == b->st_ino;
}

static int swap_of(const struct stat *image, char *line, char **who)
{
	struct stat st;
	int is;

	line[strcspn(line, " \t\n")] = 0;
	if (*line != '/')
		return 0;
	is = stat(line, &st) ? shortage() : is_same(image, &st);
	if (is <= 0)
		return is;
	*who = vg_strf("is swap");
	return 0;
}

int vg_image_kernel_user(const struct stat *image, char **who)
{
	bool is_disk = S_ISBLK(image->st_mode);
	int err = 0;

	*who = NULL;
	if (is_disk)
		err = look_through("/proc/self/mountinfo", image, mount_of, who);
	if (!err && !*who)
		err = look_through("/proc/swaps", image, swap_of, who);
	if (!err && !*who && is_disk)
		err = holder_of(image->st_rdev, who);
	return err;
}

/* ---- loop devices ------------------------------------------------------- */

/* A file that was unlinked is called "... (deleted)" there. */
static int backing_file(const char *dir, struct stat *file)
{
	char path[PATH_MAX + 32], name[PATH_MAX];
	int res;

	snprintf(path, sizeof(path), "%s/loop/backing_file", dir);
	res = read_line(path, name, sizeof(name));
	if (res > 0)
		res = stat(name, file) ? shortage() : 1;
	return res > 0 ? 0 : res < 0 ? res : -ENOENT;
}

int vg_image_loop_file(const struct stat *st, struct stat *file)
{
	char dir[PATH_MAX], *slash;
	int err;

	if (!S_ISBLK(st->st_mode))
		return -ENOENT;
	err = sysfs_dir(st->st_rdev, dir);
	if (err || !*dir)
		return err ? err : -ENOENT;
	err = backing_file(dir, file);
	if (err != -ENOENT)
		return err;
	slash = strrchr(dir, '/');
	*slash = 0;
	return backing_file(dir, file);
}

/*
 * Whether the loop device in @dir is another one than @rdev and what @rdev is a
 * partition of: 1; 0, also if it can't be told; or -errno.
 */
static int is_other_loop(const char *dir, dev_t rdev)
{
	char path[320], number[32];
	unsigned int maj, min;
	int res;

	snprintf(path, sizeof(path), "%s/dev", dir);
	res = read_line(path, number, sizeof(number));
	if (res <= 0 || sscanf(number, "%u:%u", &maj, &min) != 2)
		return res < 0 ? res : 0;
	res = is_same_disk(makedev(maj, min), rdev);
	return res < 0 ? res : !res;
}

/* 1: the loop device in @dir is over @file, and is not @st; 0, or -errno. */
static int is_loop_over(const char *dir, const struct stat *file,
			const struct stat *st)
{
	struct stat over;
	int err = backing_file(dir, &over);

	if (err || is_same(file, &over) <= 0)
		return err == -ENOENT ? 0 : err;
	return S_ISBLK(st->st_mode) ? is_other_loop(dir, st->st_rdev) : 1;
}

int vg_image_loop_user(const struct stat *st, char **who)
{
	char dir[300];
	struct stat file = *st;
	struct dirent *e;
	int res = 0;
	DIR *d;

	*who = NULL;
	if (!S_ISREG(st->st_mode))
		res = vg_image_loop_file(st, &file);
	if (res)
		return res == -ENOENT ? 0 : res;
	d = opendir("/sys/block");
	if (!d)
		return shortage();
	while (!*who && (res = next_of(d, &e)) > 0) {
		if (strncmp(e->d_name, "loop", 4))
			continue;
		snprintf(dir, sizeof(dir), "/sys/block/%s", e->d_name);
		res = is_loop_over(dir, &file, st);
		if (res < 0)
			break;
		if (!res)
			continue;
		*who = S_ISREG(st->st_mode) ?
		       vg_strf("is behind /dev/%s", e->d_name) :
		       vg_strf("is over a file that is behind /dev/%s, too",
			       e->d_name);
	}
	closedir(d);
	return res < 0 ? res : 0;
}

/* ---- processes ---------------------------------------------------------- */

static char *process_text(const char *what, const char *pid)
{
	char path[64], name[32];

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	return read_line(path, name, sizeof(name)) > 0 ?
	       vg_strf("%s process %s (%s)", what, pid, name) :
	       vg_strf("%s process %s, which is gone", what, pid);
}

/*
 * "1: FLOCK  ADVISORY  WRITE 812 fe:01:4711 0 EOF", of the inode's own number.
 */
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
		    is_same(st, &other) > 0)
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
