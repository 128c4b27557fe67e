/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * endpoint_faults.h - the calls of the C library that make an endpoint, each of
 * which can be made to fail.  For a program that is linked with --wrap for each
 * (UNIT_ENDS in unit.mk), and included once in it.
 */
#ifndef UNIT_ENDPOINT_FAULTS_H
#define UNIT_ENDPOINT_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* Those from the fail_at'th call on, fail_nr of them, are EIO; 0: none. */
static unsigned int nr_calls, fail_at;
static unsigned int fail_nr = 1;

static bool fails(void)
{
	if (!fail_at || ++nr_calls < fail_at || nr_calls >= fail_at + fail_nr)
		return false;
	errno = EIO;
	return true;
}

#define WRAP(name, params, args) \
	int __real_##name params; \
	int __wrap_##name params; \
	int __wrap_##name params \
	{ \
		return fails() ? -1 : __real_##name args; \
	}
WRAP(posix_openpt, (int flags), (flags))
WRAP(ioctl, (int fd, unsigned long nr, void *arg), (fd, nr, arg))
WRAP(mkdirat, (int at, const char *name, mode_t mode), (at, name, mode))
WRAP(openat, (int at, const char *name, int flags, mode_t mode),
     (at, name, flags, mode))
WRAP(open, (const char *name, int flags, mode_t mode), (name, flags, mode))
WRAP(fstat, (int fd, struct stat *st), (fd, st))
WRAP(fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(fcntl, (int fd, int cmd, long arg), (fd, cmd, arg))
WRAP(unlinkat, (int at, const char *name, int flags), (at, name, flags))
WRAP(symlinkat, (const char *to, int at, const char *name), (to, at, name))
WRAP(socket, (int domain, int type, int proto), (domain, type, proto))
WRAP(bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(listen, (int fd, int backlog), (fd, backlog))
WRAP(tcgetattr, (int fd, struct termios *t), (fd, t))
WRAP(tcsetattr, (int fd, int how, const struct termios *t), (fd, how, t))

#endif
