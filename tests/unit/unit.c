// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * unit.c - see unit.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/loop.h>

#include "lib/log.h"
#include "unit.h"
#include "lib/util.h"

#define LINES_MAX 1024

static char *lines[LINES_MAX];
static unsigned int nr_lines;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* From any thread. */
static void hook(enum vg_log_level level, const char *line)
{
	(void)level;
	pthread_mutex_lock(&lock);
	if (nr_lines < LINES_MAX)
		lines[nr_lines++] = strdup(line);
	pthread_mutex_unlock(&lock);
}

void unit_log_start(void)
{
	unit_log_stop();
	vg_log_hook(hook);
}

void unit_log_stop(void)
{
	while (nr_lines)
		free(lines[--nr_lines]);
	vg_log_hook(NULL);
}

bool unit_logged(const char *text)
{
	bool is = false;
	unsigned int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < nr_lines; i++)
		is |= strstr(lines[i], text) != NULL;
	pthread_mutex_unlock(&lock);
	return is;
}

unsigned int unit_log_lines(void)
{
	return nr_lines;
}

void unit_log_dump(void)
{
	unsigned int i;

	for (i = 0; i < nr_lines; i++)
		fprintf(stderr, "log: %s\n", lines[i]);
}

/* Differs between sectors, pages and neighbours. */
uint8_t unit_pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 9) * 13 + (offset >> 12) * 31);
}

unsigned int unit_nr_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

char *unit_tmpdir(void)
{
	const char *top = getenv("TMPDIR");
	char *dir;

	if (asprintf(&dir, "%s/vg-unit-XXXXXX", top ? top : "/tmp") < 0 ||
	    !mkdtemp(dir)) {
		perror("mkdtemp");
		abort();
	}
	return dir;
}

static int rm_one(const char *path, const struct stat *st, int flag,
		  struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void unit_rm_r(char *dir)
{
	if (!dir)
		return;
	nftw(dir, rm_one, 8, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

char *unit_image(const char *path, uint64_t bytes)
{
	uint8_t buf[4096];
	uint64_t at, i, n;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		abort();
	for (at = 0; at < bytes; at += n) {
		n = bytes - at < sizeof(buf) ? bytes - at : sizeof(buf);
		for (i = 0; i < n; i++)
			buf[i] = unit_pattern(at + i);
		if (write(fd, buf, n) != (ssize_t)n)
			abort();
	}
	close(fd);
	return strdup(path);
}

char *unit_loop(const char *file, int *loop)
{
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, fd;
	char *name;

	if (ctl < 0)
		return NULL;
	n = ioctl(ctl, LOOP_CTL_GET_FREE);
	close(ctl);
	name = vg_strf("/dev/loop%d", n);
	*loop = n < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (*loop >= 0 && ioctl(*loop, LOOP_SET_FD, fd) < 0) {
		close(*loop);
		*loop = -1;
	}
	close(fd);
	if (*loop >= 0)
		return name;
	free(name);
	return NULL;
}

void unit_loop_end(char *name, int loop)
{
	ioctl(loop, LOOP_CLR_FD);
	close(loop);
	free(name);
}
