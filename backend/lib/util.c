// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * util.c - see util.h.
 */
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#include "lib/log.h"

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int vg_parse_u64(const char *s, int base, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (base == 16 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		s += 2;
	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		int d = digit_value(*s);

		if (d < 0 || d >= base)
			return -EINVAL;
		if (v > (UINT64_MAX - (unsigned int)d) / (unsigned int)base)
			return -ERANGE;
		v = v * (unsigned int)base + (unsigned int)d;
	}
	if (v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

static void __attribute__((noreturn)) no_memory(void)
{
	vg_err("out of memory");
	abort();
}

void *vg_zalloc(size_t bytes)
{
	return vg_calloc(1, bytes);
}

void *vg_calloc(size_t n, size_t bytes)
{
	void *p = calloc(n ? n : 1, bytes ? bytes : 1);

	if (!p)
		no_memory();
	return p;
}

char *vg_strdup(const char *s)
{
	char *p = strdup(s);

	if (!p)
		no_memory();
	return p;
}

char *vg_strf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		no_memory();
	return s;
}

size_t vg_iov_copy(const struct iovec *v, unsigned int nr, void *buf,
		   size_t bytes, bool is_to_iov)
{
	size_t left = bytes, n;
	uint8_t *p = buf;

	for (; nr && left; nr--, v++, p += n, left -= n) {
		n = min_u(left, v->iov_len);
		memcpy(is_to_iov ? v->iov_base : p,
		       is_to_iov ? p : v->iov_base, n);
	}
	return bytes - left;
}

bool vg_error_passes(int err)
{
	switch (err) {
	case -EAGAIN:
	case -EINTR:
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
	case -ENOSPC:
		return true;
	default:
		return false;
	}
}

uint64_t vg_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vg_name_process(const char *kind, unsigned int guest)
{
	char name[16];		/* as long as the kernel keeps */

	snprintf(name, sizeof(name), "vg-%s-%u", kind, guest);
	prctl(PR_SET_NAME, name);
}

int vg_fd_nonblock(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0)
		return -errno;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

#ifdef VG_STEPS
void (*vg_step_hook)(void);
void (*vg_read_hook)(const volatile void *word, size_t bytes);
#endif

void vg_nap(int *epfd)
{
	struct epoll_event none;

	if (*epfd < 0)
		*epfd = epoll_create1(EPOLL_CLOEXEC);
	epoll_pwait(*epfd, &none, 1, 1, NULL);
}
