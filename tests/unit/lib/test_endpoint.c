// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_endpoint.c - ends of byte streams: what may lie in their directory's
 * place, who may open them, and each call of the C library failing once.  Which
 * names there may be, and the log, are in dev/console/test_console.c, through a
 * device's options.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "endpoint_faults.h"
#include "lib/endpoint.h"
#include "lib/util.h"
#include "unit.h"

/* ---- an owner ------------------------------------------------------------ */

static const char *ports, *backing;

static char *key_read(const struct vg_keys *keys, const char *key)
{
	const char *v = !strcmp(key, "kind-ports") ? ports :
			!strcmp(key, "kind-backing") ? backing : NULL;

	(void)keys;
	errno = ENOENT;
	return v ? strdup(v) : NULL;
}

static const struct vg_keys keys = { .where = "/node", .read = key_read };
static struct vg_endpoints *ends;
static char *top;

static int setup(void **state)
{
	ports = "a,b";
	backing = *state;
	top = unit_tmpdir();
	ends = vg_endpoints_create();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vg_endpoints_destroy(ends);
	unit_rm_r(top);
	return 0;
}

/* In the owner's directory, or with "" that. */
static char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/kind/me%s%s", top, *name ? "/" : "",
		 name);
	return path;
}

static int ends_open(char **why)
{
	*why = NULL;
	return vg_endpoints_open(ends, top, "kind", "me", &keys, 0, why);
}

static void refused(int err)
{
	char *why;

	assert_int_equal(ends_open(&why), err);
	assert_non_null(strstr(why, "/kind/me"));
	free(why);
}

static int copy(int *fds, struct vg_endpoint_conf *conf)
{
	char *why = NULL;
	int err = vg_endpoints_copy(ends, true, fds, conf, &why);

	assert_int_equal(!err, !why);
	free(why);
	return err;
}

static void fds_close(int *fds, unsigned int nr)
{
	while (nr--)
		if (fds[nr] >= 0)
			close(fds[nr]);
}

/* ---- tests --------------------------------------------------------------- */

static void found_and_gone(void **state)
{
	struct vg_endpoint_conf conf;
	struct stat st;
	int fds[3];
	char *why;

	assert_int_equal(ends_open(&why), 0);
	assert_int_equal(ends_open(&why), 0);	/* they are there */
	assert_int_equal(lstat(path_of(""), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(lstat(path_of("b"), &st), 0);
	assert_int_equal(!!S_ISSOCK(st.st_mode), *state != NULL);
	if (!*state)
		assert_int_equal(stat(path_of("b"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	why = vg_endpoints_summary(ends);
	assert_non_null(strstr(why, "/kind/me/a, 2 ports"));
	free(why);
	assert_int_equal(copy(fds, &conf), 0);
	assert_int_equal(conf.nr, 2);
	assert_int_equal(conf.is_socket, *state != NULL);
	assert_int_equal(conf.log_max_bytes, 0);
	assert_int_equal(fds[0], -1);
	assert_true(fcntl(fds[2], F_GETFL, 0) & O_NONBLOCK);
	assert_true(fcntl(fds[2], F_GETFD, 0) & FD_CLOEXEC);
	vg_endpoints_close(ends);
	assert_int_equal(access(path_of(""), F_OK), -1);
	/* A copy is a copy. */
	assert_int_equal(fcntl(fds[1], F_GETFD, 0), FD_CLOEXEC);
	fds_close(fds, 3);
	why = vg_endpoints_summary(ends);
	assert_string_equal(why, "");
	free(why);
	assert_int_equal(ends_open(&why), 0);
	assert_int_equal(access(path_of(""), F_OK), 0);
}

/* Raw at once, and it says that nobody has it open. */
static void pty_is_raw(void **state)
{
	struct vg_endpoint_conf conf;
	struct termios t;
	char *why, c;
	int fd, fds[3];

	(void)state;
	assert_int_equal(ends_open(&why), 0);
	assert_int_equal(copy(fds, &conf), 0);
	assert_int_equal(read(fds[1], &c, 1), -1);
	assert_int_equal(errno, EIO);
	fd = open(path_of("a"), O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(tcgetattr(fd, &t), 0);
	assert_false(t.c_lflag & (ECHO | ICANON | ISIG));
	assert_false(t.c_oflag & OPOST);
	close(fd);
	fds_close(fds, 3);
}

/* Without a directory there are ptys, where the kernel has them. */
static void nowhere(void **state)
{
	char *why = NULL;

	(void)state;
	assert_int_equal(vg_endpoints_open(ends, NULL, "kind", "me", &keys, 0,
					   &why), 0);
	why = vg_endpoints_summary(ends);
	assert_non_null(strstr(why, "/dev/pts/"));
	free(why);
	vg_endpoints_close(ends);
	backing = "socket";
	assert_int_equal(vg_endpoints_open(ends, NULL, "kind", "me", &keys, 0,
					   &why), -ENOENT);
	assert_non_null(strstr(why, "/kind/me"));
	free(why);
}

static void known(void **state)
{
	char *why;

	(void)state;
	assert_int_equal(vg_endpoints_open(ends, top, "kind", "me", &keys, 3,
					   &why), -EINVAL);
	assert_non_null(strstr(why, "kind-ports: 2, but its guest knows 3"));
	free(why);
	assert_int_equal(access(path_of(""), F_OK), -1);
	assert_int_equal(vg_endpoints_open(ends, top, "kind", "me", &keys, 2,
					   &why), 0);
}

/* What lies there leads nowhere. */
static void stale(void **state)
{
	char *victim = vg_strf("%s/victim", top);
	char *kind = vg_strf("%s/kind", top), *why;

	(void)state;
	close(open(victim, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(symlink(top, kind), 0);
	refused(-ENOTDIR);
	unlink(kind);
	assert_int_equal(mkdir(kind, 0777), 0);
	assert_int_equal(symlink(top, path_of("")), 0);
	refused(-ENOTDIR);
	unlink(path_of(""));
	close(open(path_of(""), O_CREAT | O_WRONLY, 0600));
	refused(-ENOTDIR);
	unlink(path_of(""));
	assert_int_equal(mkdir(path_of(""), 0777), 0);
	assert_int_equal(symlink(victim, path_of("a")), 0);
	close(open(path_of("old"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(ends_open(&why), 0);
	assert_int_equal(access(victim, F_OK), 0);
	assert_int_equal(access(path_of("old"), F_OK), -1);
	/* A directory in it is nobody's that we know. */
	vg_endpoints_close(ends);
	mkdir(path_of(""), 0700);
	mkdir(path_of("dir"), 0700);
	refused(-EISDIR);
	free(victim);
	free(kind);
}

/* Root's own is not somebody else's. */
static void not_ours(void **state)
{
	char *kind = vg_strf("%s/kind", top);

	(void)state;
	if (!geteuid()) {
		assert_int_equal(mkdir(kind, 0700), 0);
		assert_int_equal(chown(kind, 12345, 12345), 0);
		refused(-EPERM);
	}
	free(kind);
}

static void calls_fail(void **state)
{
	char *kind = vg_strf("%s/kind", top), *why;
	struct vg_endpoint_conf conf;
	unsigned int n, nr_fds = unit_nr_fds();
	int err, fds[3];

	(void)state;
	for (n = 1; n < 100; n++) {
		mkdir(kind, 0700);
		mkdir(path_of(""), 0700);
		symlink("/nowhere", path_of("old"));
		nr_calls = 0;
		fail_at = n;
		err = ends_open(&why);
		free(err ? why : NULL);
		assert_int_equal(!err, !why);
		if (!err)
			err = copy(fds, &conf);
		fail_at = 0;
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		vg_endpoints_close(ends);
		assert_int_equal(unit_nr_fds(), nr_fds);
	}
	assert_in_range(n, 15, 99);
	assert_true(nr_calls < n);
	fds_close(fds, 3);
	free(kind);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define P(f)	{ #f " (pty)", f, setup, teardown, NULL }, \
		{ #f " (socket)", f, setup, teardown, \
		  (void *)(uintptr_t)"socket" }

int main(void)
{
	const struct CMUnitTest tests[] = {
		P(found_and_gone), T(pty_is_raw), T(nowhere), T(known),
		P(stale), T(not_ours), P(calls_fail),
	};

	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
