// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_msg.c - messages with descriptors (backend/lib/msg.c): each arrives
 * whole, and what is no message leaves no descriptor behind, whoever sent it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/msg.h"
#include "unit.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct msg {
	char text[40];
};

static const struct msg hello = { "hello" };
static int pair[2];
static int files[VG_MSG_FDS_MAX + 1];	/* different ones */
static unsigned int nr_fds;		/* open before a test */

/*
 * In place of the C library's, for what is called by libunit.a: the next calls
 * end with an errno, as by a signal.
 */
static unsigned int nr_fail;
static int fail_errno;

static bool fails(void)
{
	if (!nr_fail)
		return false;
	nr_fail--;
	errno = fail_errno;
	return true;
}

ssize_t sendmsg(int sock, const struct msghdr *mh, int flags)
{
	return fails() ? -1 : syscall(SYS_sendmsg, sock, mh, flags);
}

ssize_t recvmsg(int sock, struct msghdr *mh, int flags)
{
	return fails() ? -1 : syscall(SYS_recvmsg, sock, mh, flags);
}

static int setup(void **state)
{
	unsigned int i;

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -1;
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		files[i] = memfd_create("test", MFD_CLOEXEC);
		if (files[i] < 0)
			return -1;
	}
	nr_fds = unit_nr_fds();
	return 0;
}

static int teardown(void **state)
{
	unsigned int i;
	bool leaks = unit_nr_fds() != nr_fds;

	(void)state;
	nr_fail = 0;
	for (i = 0; i < ARRAY_SIZE(files); i++)
		close(files[i]);
	vg_msg_close_fds(pair, 2);
	return leaks ? -1 : 0;
}

/* To be closed and opened again by a test. */
static void end_of(int *fd)
{
	close(*fd);
	*fd = -1;
	nr_fds--;
}

/* Not by way of msg.c: what a peer of ill will can send. */
static void send_raw(const void *data, size_t bytes, unsigned int n)
{
	struct iovec iov = { (void *)(uintptr_t)data, bytes };
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(files))];
	} ctl = { 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		ctl.hdr.cmsg_level = SOL_SOCKET;
		ctl.hdr.cmsg_type = SCM_RIGHTS;
		ctl.hdr.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&ctl.hdr), files, n * sizeof(int));
	}
	assert_int_equal(sendmsg(pair[0], &mh, 0), bytes);
}

static void is_same_file(int a, int b)
{
	struct stat sa, sb;

	assert_int_equal(fstat(a, &sa), 0);
	assert_int_equal(fstat(b, &sb), 0);
	assert_true(sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

static int receive(int *fds, unsigned int fds_max)
{
	struct msg got;
	int n = vg_msg_recv(pair[1], &got, sizeof(got), fds, fds_max);

	if (n == 1)
		assert_memory_equal(&got, &hello, sizeof(got));
	return n;
}

/* It is refused, and nothing of it stays. */
static void expect_no_message(unsigned int fds_max)
{
	int fds[VG_MSG_FDS_MAX];
	unsigned int i;

	assert_int_equal(receive(fds, fds_max), -EPROTO);
	for (i = 0; i < fds_max; i++)
		assert_int_equal(fds[i], -1);
	assert_int_equal(unit_nr_fds(), nr_fds);
	/* The next is as good as any. */
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), NULL, 0),
			 0);
	assert_int_equal(receive(fds, fds_max), 1);
}

/* ---- as it should be ---------------------------------------------------- */

static void a_message_arrives(void **state)
{
	int fds[VG_MSG_FDS_MAX];
	unsigned int n, i;

	(void)state;
	for (n = 0; n <= VG_MSG_FDS_MAX; n++) {
		assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello),
					     files, n), 0);
		assert_int_equal(receive(fds, VG_MSG_FDS_MAX), 1);
		assert_int_equal(unit_nr_fds(), nr_fds + n);
		for (i = 0; i < n; i++) {
			is_same_file(fds[i], files[i]);
			assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		}
		for (; i < VG_MSG_FDS_MAX; i++)
			assert_int_equal(fds[i], -1);
		vg_msg_close_fds(fds, VG_MSG_FDS_MAX);
		for (i = 0; i < VG_MSG_FDS_MAX; i++)
			assert_int_equal(fds[i], -1);
		assert_int_equal(unit_nr_fds(), nr_fds);
	}
}

/* As many as there is room for, which may be an odd number. */
static void room_is_used_up(void **state)
{
	int fds[VG_MSG_FDS_MAX];
	unsigned int n;

	(void)state;
	for (n = 1; n <= VG_MSG_FDS_MAX; n++) {
		send_raw(&hello, sizeof(hello), n);
		assert_int_equal(receive(fds, n), 1);
		is_same_file(fds[n - 1], files[n - 1]);
		vg_msg_close_fds(fds, n);
	}
}

static void nothing_is_waited_for(void **state)
{
	struct pollfd full = { .fd = pair[0], .events = POLLOUT };
	unsigned int i, n = 0;
	int err, fds[1];

	(void)state;
	assert_int_equal(receive(fds, 1), -EAGAIN);
	do {
		err = vg_msg_send(pair[0], &hello, sizeof(hello), NULL, 0);
	} while (!err && ++n < 100000);
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(poll(&full, 1, 0), 0);
	/* None is lost, none is half. */
	for (i = 0; i < n; i++)
		assert_int_equal(receive(fds, 1), 1);
	assert_int_equal(receive(fds, 1), -EAGAIN);
}

static void interrupted(void **state)
{
	int fds[1];

	(void)state;
	fail_errno = EINTR;
	nr_fail = 3;
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), files, 1),
			 0);
	assert_int_equal(nr_fail, 0);
	nr_fail = 3;
	assert_int_equal(receive(fds, 1), 1);
	assert_int_equal(nr_fail, 0);
	is_same_file(fds[0], files[0]);
	vg_msg_close_fds(fds, 1);
}

/* ---- no message --------------------------------------------------------- */

static void another_size(void **state)
{
	static const char much[sizeof(hello) + 1];
	unsigned int n;

	(void)state;
	for (n = 0; n <= 2; n++) {
		send_raw(much, 1, n);
		expect_no_message(2);
		send_raw(much, sizeof(hello) - 1, n);
		expect_no_message(2);
		send_raw(much, sizeof(much), n);
		expect_no_message(2);
	}
	/* No end of file, as it looks. */
	send_raw(much, 0, 1);
	expect_no_message(2);
	send_raw(much, 0, 1);
	expect_no_message(0);
}

static void too_many_descriptors(void **state)
{
	unsigned int n, room;

	(void)state;
	for (n = 1; n < ARRAY_SIZE(files); n++)
		for (room = 0; room < n; room++) {
			send_raw(&hello, sizeof(hello), n);
			expect_no_message(room);
		}
	send_raw(&hello, sizeof(hello), VG_MSG_FDS_MAX + 1);
	expect_no_message(VG_MSG_FDS_MAX);
}

/* The receiver has too many files open: some come, and are not kept. */
static void no_more_files(void **state)
{
	struct rlimit was, lower;
	int spare[2], fds[3], n;

	(void)state;
	spare[0] = dup(files[0]);
	spare[1] = dup(files[0]);
	assert_true(spare[0] >= 0 && spare[1] > spare[0]);
	send_raw(&hello, sizeof(hello), 3);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	lower = was;
	lower.rlim_cur = (rlim_t)spare[1];
	/* The only one below the limit. */
	close(spare[0]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
	n = receive(fds, 3);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	close(spare[1]);
	assert_int_equal(n, -EPROTO);
	assert_true(fds[0] == -1 && fds[1] == -1 && fds[2] == -1);
	assert_int_equal(unit_nr_fds(), nr_fds);
}

static void more_than_there_may_be(void **state)
{
	int fds[VG_MSG_FDS_MAX + 1];

	(void)state;
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), files,
				     VG_MSG_FDS_MAX + 1), -EINVAL);
	assert_int_equal(receive(fds, VG_MSG_FDS_MAX), -EAGAIN);
	assert_int_equal(receive(fds, VG_MSG_FDS_MAX + 1), -EINVAL);
}

static void a_call_fails(void **state)
{
	int closed = dup(files[0]), fds[1];

	(void)state;
	close(closed);
	fail_errno = ENOBUFS;
	nr_fail = 1;
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), NULL, 0),
			 -ENOBUFS);
	fail_errno = ENOMEM;
	nr_fail = 1;
	assert_int_equal(receive(fds, 1), -ENOMEM);
	/* A descriptor that is none: not sent without it. */
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), &closed,
				     1), -EBADF);
	assert_int_equal(receive(fds, 1), -EAGAIN);
}

/* ---- the peer is gone --------------------------------------------------- */

static void peer_has_closed(void **state)
{
	int fds[1];

	(void)state;
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), files, 1),
			 0);
	end_of(&pair[0]);
	/* What it had said is heard first. */
	assert_int_equal(receive(fds, 1), 1);
	vg_msg_close_fds(fds, 1);
	assert_int_equal(receive(fds, 1), 0);
	assert_int_equal(receive(fds, 1), 0);
	assert_int_equal(vg_msg_send(pair[1], &hello, sizeof(hello), NULL, 0),
			 -EPIPE);
}

/* Without having read what it was told: ECONNRESET. */
static void peer_has_not_read(void **state)
{
	int fds[1];

	(void)state;
	assert_int_equal(vg_msg_send(pair[1], &hello, sizeof(hello), files, 1),
			 0);
	assert_int_equal(vg_msg_send(pair[0], &hello, sizeof(hello), files, 1),
			 0);
	end_of(&pair[0]);
	assert_int_equal(receive(fds, 1), 1);
	is_same_file(fds[0], files[0]);
	vg_msg_close_fds(fds, 1);
	assert_int_equal(receive(fds, 1), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_message_arrives),
		T(room_is_used_up),
		T(nothing_is_waited_for),
		T(interrupted),
		T(another_size),
		T(too_many_descriptors),
		T(no_more_files),
		T(more_than_there_may_be),
		T(a_call_fails),
		T(peer_has_closed),
		T(peer_has_not_read),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
