// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_ctl_server.c - the socket that virtio-grantctl asks
 * (backend/lib/ctl_server.c): clients that are slow, many, silent, or gone in
 * the middle.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/ctl_server.h"
#include "unit.h"
#include "lib/util.h"

#define BIG_BYTES	(8u << 20)

static char *dir, *path;
static struct vg_loop *loop;
static struct vg_ctl_server *server;
static unsigned int nr_asked, nr_fds;
static uint64_t who_waits;

static char *answer(void *arg, const char *request, uint64_t asker)
{
	char *text;

	assert_ptr_equal(arg, &nr_asked);
	nr_asked++;
	assert_true(asker);
	if (!strcmp(request, "later")) {
		who_waits = asker;
		return VG_CTL_LATER;
	}
	if (!strcmp(request, "big")) {
		text = malloc(BIG_BYTES + 1);
		memset(text, 'x', BIG_BYTES);
		text[BIG_BYTES] = 0;
		return text;
	}
	if (!strcmp(request, "bad"))
		return vg_strdup("{\"a\":\"\x1b[2J\x7f\xc2\x9b" "1m\xff\xe2\x80\xae\\u001b\xc3\xa4\"}\n");
	return strcmp(request, "status") ? NULL : vg_strdup("{}\n");
}

static int setup(void **state)
{
	(void)state;
	nr_fds = unit_nr_fds();
	nr_asked = 0;
	dir = unit_tmpdir();
	path = vg_strf("%s/x.sock", dir);
	return vg_loop_create(&loop) ||
	       vg_ctl_server_create(loop, path, answer, &nr_asked, &server);
}

static int teardown(void **state)
{
	(void)state;
	vg_ctl_server_destroy(server);
	vg_loop_destroy(loop);
	if (!access(path, F_OK))
		return -1;
	free(path);
	unit_rm_r(dir);
	return unit_nr_fds() == nr_fds ? 0 : -1;
}

static void turns(unsigned int n)
{
	while (n--)
		assert_true(vg_loop_run_once(loop, 0) >= 0);
}

static int client(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
	turns(3);
}

static void expect(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = 0;
	assert_string_equal(got, text);
	assert_int_equal(recv(fd, got, 1, 0), 0);
	close(fd);
}

static void answers(void **state)
{
	int fd = client();

	(void)state;
	say(fd, "status\n");
	expect(fd, "{}\n");
	fd = client();
	say(fd, "nonsense\n");
	expect(fd, "{\"error\":\"unknown request\"}\n");
	/* In pieces, and with more behind it. */
	fd = client();
	say(fd, "sta");
	say(fd, "tus\nmore\n");
	expect(fd, "{}\n");
	assert_int_equal(nr_asked, 3);
}

/* Each who waits gets its own answer, and nobody another's. */
static void answers_later(void **state)
{
	uint64_t first, second;
	int one = client(), two;
	char c;

	(void)state;
	say(one, "later\n");
	first = who_waits;
	two = client();
	say(two, "later\nstatus\n");
	second = who_waits;
	assert_int_not_equal(first, second);
	assert_int_equal(recv(one, &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	vg_ctl_answer(0, vg_strdup("nobody's\n"));
	vg_ctl_answer(second + 1, vg_strdup("nobody's\n"));
	vg_ctl_answer(second, vg_strdup("second \x1b\n"));
	expect(two, "second ?\n");
	vg_ctl_answer(first, vg_strdup("first\n"));
	expect(one, "first\n");
	/* It had its answer, or does not wait for it. */
	vg_ctl_answer(first, vg_strdup("more\n"));
	one = client();
	say(one, "later\n");
	close(one);
	turns(3);
	vg_ctl_answer(who_waits, vg_strdup("{}\n"));
	assert_int_equal(nr_asked, 3);
}

/* Nor does what waits for an answer that never comes hold up anybody. */
static void answers_later_than_there_is_a_server(void **state)
{
	int fd = client(), other[16], i;
	char c;

	(void)state;
	say(fd, "later\n");
	for (i = 0; i < 16; i++) {
		other[i] = client();
		turns(3);
	}
	for (i = 0; i < 16; i++)
		close(other[i]);
	vg_ctl_answer(who_waits, vg_strdup("too late\n"));
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
	fd = client();
	say(fd, "later\n");
	vg_ctl_server_destroy(server);
	vg_ctl_answer(who_waits, vg_strdup("much too late\n"));
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
	assert_int_equal(vg_ctl_server_create(loop, path, answer, &nr_asked,
					      &server), 0);
}

static void is_the_users_alone(void **state)
{
	struct stat st;
	mode_t was = umask(0);

	(void)state;
	vg_ctl_server_destroy(server);
	assert_int_equal(vg_ctl_server_create(loop, path, answer, &nr_asked,
					      &server), 0);
	umask(was);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_request_without_end(void **state)
{
	char c, text[4096];
	int fd = client();

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_true(send(fd, text, sizeof(text), MSG_NOSIGNAL) > 0);
	turns(5);
	assert_true(recv(fd, &c, 1, 0) <= 0 && errno != EAGAIN);
	close(fd);
	/* One byte less than there is room for is still none. */
	fd = client();
	text[62] = 0;
	say(fd, text);
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	say(fd, "\n");
	expect(fd, "{\"error\":\"unknown request\"}\n");
	assert_int_equal(nr_asked, 1);
	/* A NUL ends no line. */
	fd = client();
	assert_int_equal(send(fd, "status\0x\n", 9, MSG_NOSIGNAL), 9);
	turns(3);
	expect(fd, "{}\n");
}

/*
 * Nobody waits for one that says nothing, half a line, or that does not read.
 */
static void slow_clients(void **state)
{
	static char room[65536];
	int silent = client(), half = client(), deaf = client(), fd;
	uint64_t begin = vg_now_ns(), most = 0, t;
	size_t got = 0;
	ssize_t n;

	(void)state;
	say(half, "sta");
	say(deaf, "big\n");
	fd = client();
	t = vg_now_ns();
	say(fd, "status\n");
	most = vg_now_ns() - t;
	expect(fd, "{}\n");
	assert_true(most < 900000000);
	say(half, "tus\n");
	expect(half, "{}\n");
	/* Slowly, but all of it. */
	while (vg_now_ns() - begin < UINT64_C(9000000000)) {
		vg_loop_run_once(loop, 1);
		n = recv(deaf, room, sizeof(room), 0);
		if (!n)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, BIG_BYTES);
	close(deaf);
	close(silent);
	turns(3);
}

static void gone_in_the_middle(void **state)
{
	int fd = client();

	(void)state;
	say(fd, "big\n");
	close(fd);
	usleep(10000);
	turns(3);
	fd = client();
	say(fd, "sta");
	close(fd);
	turns(3);
	fd = client();
	close(fd);
	turns(3);
	/* It asked and went before it was heard. */
	fd = client();
	assert_int_equal(send(fd, "big\n", 4, MSG_NOSIGNAL), 4);
	close(fd);
	turns(5);
	usleep(10000);
	turns(3);
	fd = client();
	say(fd, "status\n");
	expect(fd, "{}\n");
}

/* More than there is room for: the oldest goes, the newest is served. */
static void many_clients(void **state)
{
	unsigned int i, alive = 0;
	int fd[200], last;
	char c;

	(void)state;
	for (i = 0; i < 200; i++) {
		fd[i] = client();
		turns(2);
	}
	last = client();
	say(last, "status\n");
	expect(last, "{}\n");
	for (i = 0; i < 200; i++) {
		alive += recv(fd[i], &c, 1, 0) < 0 && errno == EAGAIN;
		close(fd[i]);
	}
	assert_in_range(alive, 1, 32);
	turns(3);
}

/* Whatever stood in what it shows: no terminal obeys it. */
static void says_nothing_to_a_terminal(void **state)
{
	int fd = client();

	(void)state;
	say(fd, "bad\n");
	expect(fd, "{\"a\":\"?[2J???1m????\\u001b\xc3\xa4\"}\n");
}

static void a_dead_ones_socket(void **state)
{
	struct vg_ctl_server *other;

	(void)state;
	/* Its name is taken over; the caller has the lock. */
	assert_int_equal(vg_ctl_server_create(loop, path, answer, &nr_asked,
					      &other), 0);
	vg_ctl_server_destroy(server);
	server = other;
	assert_int_equal(vg_ctl_server_create(loop, "/nowhere/x.sock", answer,
					      NULL, &other), -ENOENT);
	free(path);
	path = vg_strf("%s/%0110d", dir, 1);
	assert_int_equal(vg_ctl_server_create(loop, path, answer, NULL, &other),
			 -ENAMETOOLONG);
}

static void only_one_daemon(void **state)
{
	char *file = vg_strf("%s/d.pid", dir), text[32] = "";
	int other = 1, fd;

	(void)state;
	assert_int_equal(vg_pidfile_lock(dir, "d", &other), 0);
	fd = open(file, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_int_equal(atoi(text), getpid());
	close(fd);
	assert_int_equal(vg_pidfile_lock(dir, "d", &other), -EBUSY);
	assert_int_equal(other, getpid());
	assert_int_equal(vg_pidfile_lock("/nowhere", "d", &other), -ENOENT);
	free(file);
	nr_fds++;	/* kept for ever */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(answers),
		T(answers_later),
		T(answers_later_than_there_is_a_server),
		T(is_the_users_alone),
		T(a_request_without_end),
		T(slow_clients),
		T(gone_in_the_middle),
		T(many_clients),
		T(says_nothing_to_a_terminal),
		T(a_dead_ones_socket),
		T(only_one_daemon),
	};

	return cmocka_run_group_tests_name("ctl_server", tests, NULL, NULL);
}
