// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * victim.c - plants secrets in a guest, and does I/O around them.
 *
 *	vg-victim SECRETS hold NAME MIB		in this process's memory
 *	vg-victim SECRETS churn NAME MIB	in memory that is free then
 *	vg-victim SECRETS file NAME PATH KIB	in a file
 *	vg-victim SECRETS io AROUND INFLIGHT DEVICE FIRST_KIB KIB STOP
 *
 * The last writes INFLIGHT to its part of the device and reads it back, with
 * O_DIRECT, from buffers in the midst of AROUND: every size from one sector to
 * 64 KiB, at every sector's offset in a page, until the file STOP appears.
 * What it reads must be what it wrote, and what is around must be as it was.
 * Prints how many transfers there were.  Exit status: 0, 1 (data was wrong or
 * an error), 2 (called wrongly).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "secret.h"

#define SECTOR_BYTES	512u
#define PAGE_BYTES	4096u
#define IO_MAX_BYTES	65536u
#define GUARD_BYTES	PAGE_BYTES

static uint8_t *pages(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static int hold(const char *name, size_t bytes, bool stay)
{
	uint8_t *p = pages(bytes);

	secret_fill(secret_named(name), p, bytes);
	while (stay)
		pause();
	/* Not everything the compiler may drop: look at it once. */
	return p[bytes - 1] == secret_named(name)
				       ->byte[(bytes - 1) % SECRET_BYTES] ?
		       0 :
		       1;
}

static int file(const char *name, const char *path, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	uint8_t *p = pages(bytes);

	secret_fill(secret_named(name), p, bytes);
	if (fd < 0 || write(fd, p, bytes) != (ssize_t)bytes || fsync(fd) ||
	    close(fd)) {
		perror(path);
		return 1;
	}
	return 0;
}

static bool is_filled(const struct secret *s, const uint8_t *from, size_t skip,
		      size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (from[i] != s->byte[(skip + i) % SECRET_BYTES])
			return false;
	return true;
}

/* A write and a read of @bytes, @shift into a page. */
static bool transfer(int fd, const struct secret *around,
		     const struct secret *inflight, uint8_t *buf,
		     size_t shift, size_t bytes, off_t where)
{
	size_t before = GUARD_BYTES + shift,
	       all = 2 * GUARD_BYTES + PAGE_BYTES + IO_MAX_BYTES;

	secret_fill(around, buf, all);
	secret_fill(inflight, buf + before, bytes);
	if (pwrite(fd, buf + before, bytes, where) != (ssize_t)bytes) {
		perror("pwrite");
		return false;
	}
	secret_fill(around, buf, all);
	if (pread(fd, buf + before, bytes, where) != (ssize_t)bytes) {
		perror("pread");
		return false;
	}
	if (!is_filled(inflight, buf + before, 0, bytes)) {
		fprintf(stderr, "read something else than was written: %zu bytes at %lld\n",
			bytes, (long long)where);
		return false;
	}
	if (!is_filled(around, buf, 0, before) ||
	    !is_filled(around, buf + before + bytes, before + bytes,
		       all - before - bytes)) {
		fprintf(stderr, "what lies around a buffer of %zu bytes has changed\n",
			bytes);
		return false;
	}
	return true;
}

static int io(char **arg)
{
	const struct secret *around = secret_named(arg[0]);
	const struct secret *inflight = secret_named(arg[1]);
	off_t first = strtol(arg[3], NULL, 0) * 1024;
	size_t span = strtoul(arg[4], NULL, 0) * 1024;
	uint8_t *buf = pages(2 * GUARD_BYTES + PAGE_BYTES + IO_MAX_BYTES);
	int fd = open(arg[2], O_RDWR | O_DIRECT);
	unsigned long transfers = 0;

	if (fd < 0) {
		perror(arg[2]);
		return 1;
	}
	while (access(arg[5], F_OK)) {
		for (size_t bytes = SECTOR_BYTES; bytes <= IO_MAX_BYTES;
		     bytes += bytes < 2 * PAGE_BYTES ? SECTOR_BYTES :
			      5 * PAGE_BYTES + SECTOR_BYTES) {
			size_t shift = SECTOR_BYTES * (transfers % 8);
			size_t at = (transfers * 13 * SECTOR_BYTES) %
				(span - IO_MAX_BYTES);

			if (!transfer(fd, around, inflight, buf, shift, bytes,
				      first + (off_t)at))
				return 1;
			transfers++;
		}
	}
	printf("%lu\n", transfers);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5)
		secrets_read(argv[1]);
	if (argc == 5 && !strcmp(argv[2], "hold"))
		return hold(argv[3], strtoul(argv[4], NULL, 0) << 20, true);
	if (argc == 5 && !strcmp(argv[2], "churn"))
		return hold(argv[3], strtoul(argv[4], NULL, 0) << 20, false);
	if (argc == 6 && !strcmp(argv[2], "file"))
		return file(argv[3], argv[4], strtoul(argv[5], NULL, 0) << 10);
	if (argc == 9 && !strcmp(argv[2], "io"))
		return io(argv + 3);
	fputs("Usage: see the head of victim.c\n", stderr);
	return 2;
}
