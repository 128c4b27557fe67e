// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_stream.c - one end of a byte stream with somebody attached, over a real
 * pty and a real socket, and with each call failing that it can do without.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "lib/stream.h"
#include "lib/util.h"
#include "unit.h"

#define MS	UINT64_C(1000000)
#define OPEN	(VG_STREAM_OPEN | VG_STREAM_INPUT)

/* ---- calls of the C library that fail ------------------------------------ */

static int epoll_ctl_errno, accept_errno, ppoll_errno;

#define WRAP(name, err, params, args) \
	int __real_##name params; \
	int __wrap_##name params; \
	int __wrap_##name params \
	{ \
		if (!(err)) \
			return __real_##name args; \
		errno = (err); \
		return -1; \
	}
WRAP(epoll_ctl, op == EPOLL_CTL_ADD ? epoll_ctl_errno : 0,
     (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
WRAP(accept4, accept_errno, (int fd, struct sockaddr *sa, socklen_t *len,
			     int flags), (fd, sa, len, flags))
WRAP(ppoll, ppoll_errno, (struct pollfd *fds, nfds_t nr,
			  const struct timespec *t, const sigset_t *set),
     (fds, nr, t, set))

/* ---- its user ------------------------------------------------------------ */

static struct vg_loop *loop;
static struct vg_stream *s;
static uint64_t stats[VG_STREAM_STAT_NR];
static unsigned int nr_changed, nr_ready, nr_input;
static char slave[64];
static struct sockaddr_un sa;
static int peer[2];

static void on_changed(void *arg)
{
	assert_ptr_equal(arg, &peer);
	nr_changed++;
}

static void on_ready(void *arg, bool has_input)
{
	assert_ptr_equal(arg, &peer);
	nr_ready++;
	nr_input += has_input;
}

static const struct vg_stream_user user = { on_changed, on_ready };

static int setup(void **state)
{
	int fd, unlock = 0;
	unsigned int n;

	memset(stats, 0, sizeof(stats));
	memset(peer, -1, sizeof(peer));
	nr_changed = nr_ready = nr_input = 0;
	if (*state) {
		static unsigned int nr;

		/* In the abstract. */
		memset(&sa, 0, sizeof(sa));
		sa.sun_family = AF_UNIX;
		snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1,
			 "test_stream-%d-%u", getpid(), nr++);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)),
				 0);
		assert_int_equal(listen(fd, 1), 0);
	} else {
		struct termios t;
		int tty;

		fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
		assert_int_equal(ioctl(fd, TIOCSPTLCK, &unlock), 0);
		assert_int_equal(ioctl(fd, TIOCGPTN, &n), 0);
		snprintf(slave, sizeof(slave), "/dev/pts/%u", n);
		tty = open(slave, O_RDWR | O_NOCTTY);
		tcgetattr(tty, &t);
		cfmakeraw(&t);
		tcsetattr(tty, TCSANOW, &t);
		close(tty);
	}
	assert_int_equal(vg_loop_create(&loop), 0);
	s = vg_stream_create(loop, fd, *state != NULL, &user, &peer, stats, 5);
	return 0;
}

static int teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++)
		if (peer[i] >= 0)
			close(peer[i]);
	vg_stream_destroy(s);
	vg_loop_destroy(loop);
	epoll_ctl_errno = accept_errno = ppoll_errno = 0;
	return 0;
}

/* ---- who attaches -------------------------------------------------------- */

static int attach(bool is_socket)
{
	int fd;

	if (!is_socket)
		return open(slave, O_RDWR | O_NOCTTY | O_NONBLOCK);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* Within two seconds. */
#define until(cond) \
	__extension__ ({ \
		uint64_t end_ = vg_now_ns() + 2000 * MS; \
		while (!(cond) && vg_now_ns() < end_) \
			vg_loop_run_once(loop, 5); \
		(cond); \
	})

static void run(void)
{
	while (vg_loop_run_once(loop, 0) > 0)
		;
}

static bool put(const char *text)
{
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };

	return vg_stream_put(s, &iov, 1, false);
}

static void expect_read(const char *text)
{
	char buf[64];
	struct iovec iov[] = { { buf, 2 }, { buf + 2, sizeof(buf) - 2 } };

	assert_int_equal(vg_stream_read(s, iov, 2), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void expect_peer(const char *text)
{
	char buf[64];

	assert_int_equal(read(peer[0], buf, sizeof(buf)), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

/* ---- tests --------------------------------------------------------------- */

static void comes_and_goes(void **state)
{
	unsigned int i;

	vg_stream_want(s, OPEN);
	assert_int_equal(stats[VG_STREAM_OPEN_MASK], 1 << 5);
	for (i = 0; i < 2; i++) {
		assert_false(vg_stream_is_attached(s));
		assert_true(put("lost"));
		peer[0] = attach(*state);
		/* A pty's is seen by the clock, or when one looks. */
		if (i)
			vg_stream_look(s);
		assert_true(until(vg_stream_is_attached(s)));
		assert_int_equal(nr_changed, 2 * i + 1);
		assert_int_equal(stats[VG_STREAM_ATTACHED_MASK], 1 << 5);
		assert_true(put("hello"));
		expect_peer("hello");
		assert_int_equal(write(peer[0], "abcd", 4), 4);
		assert_true(until(nr_input));
		expect_read("abcd");
		run();
		nr_input = 0;
		close(peer[0]);
		peer[0] = -1;
		assert_true(until(!vg_stream_is_attached(s)));
		assert_int_equal(nr_changed, 2 * i + 2);
		assert_int_equal(stats[VG_STREAM_ATTACHED_MASK], 0);
		assert_int_equal(nr_input, 0);
	}
	assert_int_equal(stats[VG_STREAM_WRITTEN_BYTES], 10);
	assert_int_equal(stats[VG_STREAM_READ_BYTES], 8);
	assert_int_equal(stats[VG_STREAM_DROPPED_BYTES], 8);
	assert_int_equal(stats[VG_STREAM_ATTACHES], 2);
	vg_stream_want(s, 0);
	assert_int_equal(stats[VG_STREAM_OPEN_MASK], 0);
}

/* Input is announced if it is wanted; what one leaves who goes, too. */
static void input_as_wanted(void **state)
{
	peer[0] = attach(*state);
	vg_stream_want(s, VG_STREAM_OPEN);
	vg_stream_look(s);
	assert_true(until(vg_stream_is_attached(s)));
	assert_int_equal(write(peer[0], "bye", 3), 3);
	run();
	assert_int_equal(nr_input, 0);
	vg_stream_want(s, OPEN);
	assert_true(until(nr_input));
	close(peer[0]);
	peer[0] = -1;
	assert_true(until(!vg_stream_is_attached(s)));
	expect_read("bye");
	nr_input = 0;
	run();
	assert_int_equal(nr_input, 0);
	/* And the next one can come. */
	peer[0] = attach(*state);
	assert_true(until(vg_stream_is_attached(s)));
	/* What nobody wants is not kept for the next client. */
	vg_stream_want(s, 0);
	assert_int_equal(write(peer[0], "old", 3), 3);
	close(peer[0]);
	peer[0] = -1;
	assert_true(until(!vg_stream_is_attached(s)));
	if (!*state)
		return;
	peer[0] = attach(true);
	vg_stream_want(s, OPEN);
	assert_true(until(vg_stream_is_attached(s)));
	run();
	assert_int_equal(nr_input, 0);
}

static void one_client_at_a_time(void **state)
{
	(void)state;
	vg_stream_want(s, OPEN);
	peer[0] = attach(true);
	peer[1] = attach(true);
	run();
	assert_int_equal(stats[VG_STREAM_ATTACHES], 1);
	/* It has no more to say: that is its end. */
	shutdown(peer[0], SHUT_WR);
	assert_true(until(stats[VG_STREAM_ATTACHES] == 2));
	assert_true(put("x"));
	assert_int_equal(read(peer[1], (char[4]){ 0 }, 4), 1);
	assert_int_equal(read(peer[0], (char[4]){ 0 }, 4), 0);
}

static char big[300000];

/* Until it waits: how much of big[] is left. */
static size_t fill(struct iovec *iov)
{
	*iov = (struct iovec){ big, sizeof(big) };
	while (!vg_stream_put(s, iov, 1, false) && nr_ready < 100) {
		unsigned int before = nr_ready;

		vg_stream_want(s, VG_STREAM_ROOM);
		if (vg_loop_run_once(loop, 0) <= 0 || nr_ready == before)
			break;
	}
	return iov->iov_len;
}

static void room(void **state)
{
	struct iovec iov;
	size_t got = 0;
	ssize_t n;
	unsigned int i;

	memset(big, 'x', sizeof(big));
	peer[0] = attach(*state);
	vg_stream_look(s);
	assert_true(vg_stream_is_attached(s));
	assert_int_not_equal(fill(&iov), 0);
	run();
	i = nr_ready;
	run();
	assert_int_equal(nr_ready, i);		/* it rests */
	/* Urgent: at once or not at all. */
	{
		struct iovec byte = { big, 1 };

		assert_true(vg_stream_put(s, &byte, 1, true));
	}
	for (i = 0; iov.iov_len && i < 10000; i++) {
		n = read(peer[0], big, sizeof(big));
		got += n > 0 ? (size_t)n : 0;
		vg_loop_run_once(loop, 1);
		vg_stream_put(s, &iov, 1, false);
	}
	assert_int_equal(iov.iov_len, 0);
	assert_true(stats[VG_STREAM_DROPPED_BYTES] <= 1);
	/* Who goes takes it along. */
	fill(&iov);
	vg_stream_want(s, VG_STREAM_ROOM);
	close(peer[0]);
	peer[0] = -1;
	assert_true(until(!vg_stream_is_attached(s)));
	/* So much in a turn. */
	assert_true(until(vg_stream_put(s, &iov, 1, false)));
	/* Given up. */
	got = stats[VG_STREAM_DROPPED_BYTES];
	iov = (struct iovec){ big, 7 };
	vg_stream_give_up(s, &iov, 1);
	assert_int_equal(stats[VG_STREAM_DROPPED_BYTES], got + 7);
}

static void patience(void **state)
{
	uint64_t from;
	struct iovec iov;

	vg_stream_patience(s, 50 * MS, 10);
	peer[0] = attach(*state);
	vg_stream_look(s);
	from = vg_now_ns();
	fill(&iov);
	vg_stream_want(s, VG_STREAM_ROOM);
	assert_true(until(vg_stream_put(s, &iov, 1, false)));
	assert_in_range((vg_now_ns() - from) / MS, 45, 1500);
	/* Not again at once. */
	from = vg_now_ns();
	assert_true(put("more"));
	assert_true(vg_now_ns() - from < 40 * MS);
	assert_true(stats[VG_STREAM_DROPPED_BYTES] > 4);
}

static void size(void **state)
{
	struct winsize ws = { .ws_col = 80, .ws_row = 25 };
	uint16_t cols = 0, rows = 0;

	(void)state;
	vg_stream_want(s, VG_STREAM_SIZE);
	assert_false(vg_stream_resized(s, &cols, &rows));
	peer[0] = attach(false);
	ioctl(peer[0], TIOCSWINSZ, &ws);
	vg_stream_look(s);
	assert_int_equal(nr_changed, 1);
	assert_true(vg_stream_resized(s, &cols, &rows));
	assert_int_equal(cols, 80);
	assert_int_equal(rows, 25);
	assert_false(vg_stream_resized(s, &cols, &rows));
	ws.ws_row = 50;
	ioctl(peer[0], TIOCSWINSZ, &ws);
	assert_true(until(nr_changed == 2));
	assert_true(vg_stream_resized(s, &cols, &rows));
	assert_int_equal(rows, 50);
}

/* Written or dropped, and no more than that. */
static void logged(void **state)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	char got[32] = "";

	vg_stream_log(s, dup(fd), 10);
	assert_true(put("first "));
	peer[0] = attach(*state);
	vg_stream_look(s);
	assert_true(put("second"));
	assert_int_equal(pread(fd, got, sizeof(got), 0), 10);
	assert_string_equal(got, "first seco");
	assert_int_equal(stats[VG_STREAM_LOG_BYTES], 10);
	assert_int_equal(stats[VG_STREAM_LOG_LOST_BYTES], 2);
	close(fd);
}

/* Then it is looked at, and what failed is tried again. */
static void calls_fail(void **state)
{
	unsigned int before;

	vg_stream_want(s, OPEN);
	epoll_ctl_errno = ENOSPC;
	accept_errno = EMFILE;
	ppoll_errno = ENOMEM;
	peer[0] = attach(*state);
	vg_stream_look(s);
	before = nr_ready;
	vg_loop_run_once(loop, 20);
	vg_loop_run_once(loop, 20);
	assert_false(vg_stream_is_attached(s));
	assert_true(nr_ready <= before + 1);	/* it does not spin */
	ppoll_errno = accept_errno = 0;
	assert_true(until(vg_stream_is_attached(s)));
	assert_int_equal(write(peer[0], "in", 2), 2);
	assert_true(until(nr_input));
	epoll_ctl_errno = 0;
	expect_read("in");
	nr_input = 0;
	assert_int_equal(write(peer[0], "more", 4), 4);
	assert_true(until(nr_input));
	expect_read("more");
}

/* Clients come whether or not somebody here takes part. */
static void listening_fails(void **state)
{
	(void)state;
	peer[0] = attach(true);
	assert_true(until(vg_stream_is_attached(s)));
	epoll_ctl_errno = ENOSPC;
	close(peer[0]);
	assert_true(until(!vg_stream_is_attached(s)));
	epoll_ctl_errno = 0;
	peer[0] = attach(true);
	assert_true(until(vg_stream_is_attached(s)));
}

/* Nothing runs, whoever is there. */
static void rests(void **state)
{
	unsigned int turns = 0, i;
	uint64_t end;

	vg_stream_want(s, OPEN);
	peer[0] = attach(*state);
	vg_stream_look(s);
	assert_int_equal(write(peer[0], "x", 1), 1);
	vg_stream_want(s, VG_STREAM_OPEN);
	for (i = 0; i < 2; i++) {
		end = vg_now_ns() + 600 * MS;
		while (vg_now_ns() < end)
			turns += vg_loop_run_once(loop, 600) > 0;
		close(peer[0]);
		peer[0] = -1;
	}
	assert_in_range(turns, 1, 8);
}

#define P1(f)	{ #f " (pty)", f, setup, teardown, NULL }
#define S1(f)	{ #f " (socket)", f, setup, teardown, \
		  (void *)(uintptr_t)"socket" }
#define P(f)	P1(f), S1(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		P(comes_and_goes), P(input_as_wanted), S1(one_client_at_a_time),
		P(room), P(patience), P1(size), P(logged), P(calls_fail),
		S1(listening_fails), P(rests),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
