// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_spawn.c - the processes of virtio-grantd (backend/grantd/spawn.c) and
 * what they write (backend/lib/child_log.c): this program starts itself in
 * their place.  Each system call of it fails in turn; nothing may stay behind,
 * and the next works.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/child_log.h"
#include "lib/log.h"
#include "grantd/mapper.h"
#include "grantd/sandbox.h"
#include "grantd/spawn.c"	/* its list of mappers is looked into */
#include "virtio/state.h"
#include "unit.h"
#include "lib/util.h"
#include "xen/raw.h"

#define GUEST		7u
#define NR_EVTCHNS	3u

/* ---- calls that fail ---------------------------------------------------- */

static unsigned int fail_at, calls;	/* the so many'th; 0: none */

static bool fails(void)
{
	return ++calls == fail_at;
}

int xen_raw_open_gntdev(void)
{
	return fails() ? -EMFILE : open("/dev/null", O_RDWR | O_CLOEXEC);
}

int xen_raw_open_evtchn(void)
{
	return fails() ? -EMFILE : open("/dev/null", O_RDWR | O_CLOEXEC);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	if (fails()) {
		errno = ENFILE;
		return -1;
	}
	return (int)syscall(SYS_socketpair, domain, type, protocol, fds);
}

int pipe2(int fds[2], int flags)
{
	if (fails()) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_pipe2, fds, flags);
}

int memfd_create(const char *name, unsigned int flags)
{
	if (fails()) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_memfd_create, name, flags);
}

int ftruncate(int fd, off_t length)
{
	if (fails()) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_ftruncate, fd, length);
}

/*
 * vg_sandbox_fork()'s clone(2): here without namespaces, so without root.  It
 * takes six words whatever was given, as the C library's does, and no sanitizer
 * likes that.
 */
__attribute__((no_sanitize("address"))) long syscall(long nr, ...)
{
	static long (*real)(long nr, ...);
	long a[6];
	va_list ap;
	int i;

	va_start(ap, nr);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	if (nr == SYS_clone) {
		if (!fails())
			return fork();
		errno = EAGAIN;
		return -1;
	}
	return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- as a child --------------------------------------------------------- */

/* What it has, as a line: the descriptors that are open. */
static void tell_fds(int sock)
{
	char line[512] = "", one[16];
	int fd;

	for (fd = 0; fd < 256; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(one, sizeof(one), "%d ", fd);
		strcat(line, one);
	}
	if (send(sock, line, strlen(line), 0) < 0)
		_exit(3);
}

static int as_child(bool is_mapper)
{
	struct vg_mapper_permit relay;
	char c;

	if (is_mapper) {
		/* Until the worker is gone. */
		while (recv(VG_SOCK_FD, &relay, sizeof(relay), MSG_DONTWAIT) >
		       0)
			dprintf(2, "<6>relay %u of slot %u\n", relay.ref,
				relay.dev);
		while (read(VG_RPC_FD, &c, 1) > 0)
			;
		return 0;
	}
	tell_fds(VG_SOCK_FD);
	dprintf(2, "<3>an error\n<6>dom9: forged \x1b[2J\n");
	/* All that it could do to ours. */
	fcntl(2, F_SETFL, fcntl(2, F_GETFL) ^ O_NONBLOCK);
	while (read(VG_SOCK_FD, &c, 1) > 0)
		;
	return 0;
}

/* ---- set-up ------------------------------------------------------------- */

static const char *const args[] = { "virtio-grantd", NULL };
static struct vg_loop *loop;
static struct vg_spawn sp;
static unsigned int nr_fds;

static int setup_as(bool is_confined)
{
	unit_log_start();
	fail_at = calls = 0;
	nr_fds = unit_nr_fds();
	if (vg_loop_create(&loop))
		return -1;
	sp = (struct vg_spawn){
		.args = args, .is_confined = is_confined,
		.uid_base = VG_SANDBOX_UID_BASE, .nr_evtchns = NR_EVTCHNS,
		.loop = loop,
	};
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_as(true);
}

static int setup_unconfined(void **state)
{
	(void)state;
	return setup_as(false);
}

static int teardown(void **state)
{
	(void)state;
	fail_at = 0;
	vg_spawn_ended(&sp, GUEST);
	vg_child_log_close_all();
	vg_loop_destroy(loop);
	unit_log_stop();
	/* No process, and no descriptor. */
	if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
		return -1;
	return unit_nr_fds() == nr_fds ? 0 : -1;
}

/* Our end of its socket; *err what came of it. */
static int begin(pid_t *pid, int *err)
{
	int pair[2], shared = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(syscall(SYS_socketpair, AF_UNIX,
				 SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*err = vg_spawn_worker(&sp, GUEST, pair[1], shared, pid);
	return pair[0];
}

static void stop(int sock, pid_t pid)
{
	close(sock);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static bool turns_until(const char *text)
{
	unsigned int i;

	for (i = 0; i < 500 && !unit_logged(text); i++)
		vg_loop_run_once(loop, 10);
	return unit_logged(text);
}

/* ---- tests -------------------------------------------------------------- */

static void has_what_it_was_given(const char *want)
{
	char line[512];
	ssize_t n;
	pid_t pid;
	int err, sock = begin(&pid, &err);

	assert_int_equal(err, 0);
	n = recv(sock, line, sizeof(line) - 1, 0);
	line[n > 0 ? n : 0] = 0;
	assert_string_equal(line, want);
	stop(sock, pid);
}

static void a_confined_one(void **state)
{
	/* Of ours, that nobody closed at exec. */
	int leak = fcntl(0, F_DUPFD, 100);

	(void)state;
	has_what_it_was_given("0 1 2 3 4 5 6 7 8 9 10 ");
	close(leak);
}

static void an_unconfined_one(void **state)
{
	int leak = fcntl(0, F_DUPFD, 100);

	(void)state;
	has_what_it_was_given("0 1 2 3 4 ");
	assert_null(sp.mappers);
	close(leak);
}

static void what_it_writes(void **state)
{
	int flags = fcntl(2, F_GETFL), err, sock;
	pid_t pid;

	(void)state;
	sock = begin(&pid, &err);
	assert_int_equal(err, 0);
	assert_true(turns_until("dom7's worker: an error"));
	assert_true(turns_until("dom7's worker: dom9: forged ?[2J"));
	stop(sock, pid);
	assert_int_equal(fcntl(2, F_GETFL), flags);
}

static void each_call_fails(void **state)
{
	unsigned int n, before = unit_nr_fds();
	int err, sock;
	pid_t pid;

	(void)state;
	for (n = 1;; n++) {
		calls = 0;
		fail_at = n;
		sock = begin(&pid, &err);
		fail_at = 0;
		if (!err)
			break;
		close(sock);
		assert_true(err == -EMFILE || err == -ENFILE ||
			    err == -ENOMEM || err == -ENOSPC || err == -EAGAIN);
		vg_spawn_ended(&sp, GUEST);
		vg_child_log_close_all();
		assert_null(sp.mappers);
		assert_int_equal(unit_nr_fds(), before);
	}
	/* Arena, its size, gntdev, handles, two sockets; twice log and fork. */
	assert_int_equal(
		n, sp.is_confined ? 1 + 1 + 1 + NR_EVTCHNS + 2 + 4 + 1 : 1 + 1);
	stop(sock, pid);
}

/*
 * Not half an arena either: a worker must not cut what its mapper has mapped.
 */
static void the_arena_is_sealed(void **state)
{
	char path[64];
	int err, sock, fd, i;
	struct stat st;
	pid_t pid;
	char line[512];

	(void)state;
	sock = begin(&pid, &err);
	assert_int_equal(err, 0);
	assert_true(recv(sock, line, sizeof(line), 0) > 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, VG_ARENA_FD);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, sizeof(struct vg_mapper_arena));
	for (i = 0; i < 2; i++)
		assert_int_equal(syscall(SYS_ftruncate, fd, st.st_size +
					 (i ? 4096 : -4096)), -1);
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW |
			 F_SEAL_SEAL);
	close(fd);
	stop(sock, pid);
}

/* A worker's mapper ends before the next one of its guest begins. */
static void one_mapper_a_guest(void **state)
{
	pid_t pid, other, mapper;
	int err, sock = begin(&pid, &err), again;

	(void)state;
	assert_int_equal(err, 0);
	mapper = sp.mappers->pid;
	again = begin(&other, &err);
	assert_int_equal(err, 0);
	assert_null(sp.mappers->next);
	assert_true(sp.mappers->pid != mapper);
	assert_int_equal(kill(mapper, 0), -1);
	assert_int_equal(errno, ESRCH);
	stop(sock, pid);
	stop(again, other);
}

/* One that takes long to end is waited for once, and not for each try. */
static void a_mapper_that_does_not_end(void **state)
{
	struct vg_mapper_process *mp = vg_zalloc(sizeof(*mp));
	pid_t pid, child = fork();
	siginfo_t info;
	uint64_t began;
	int err, sock;

	(void)state;
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	*mp = (struct vg_mapper_process){ .guest = GUEST, .pid = child,
					  .is_ending = true };
	sp.mappers = mp;
	began = vg_now_ns();
	sock = begin(&pid, &err);
	assert_int_equal(err, -EAGAIN);
	close(sock);
	vg_spawn_ended(&sp, GUEST + 1);
	assert_in_range(vg_now_ns() - began, 0, UINT64_C(100000000));
	assert_ptr_equal(sp.mappers, mp);
	kill(child, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)child, &info,
				WEXITED | WNOWAIT), 0);
	sock = begin(&pid, &err);
	assert_int_equal(err, 0);
	stop(sock, pid);
}

/* Stopped, it takes no messages: what was withdrawn must not stay. */
static void a_mapper_that_does_not_listen(void **state)
{
	pid_t pid;
	int err, sock = begin(&pid, &err);
	unsigned int i, lines;

	(void)state;
	assert_int_equal(err, 0);
	kill(sp.mappers->pid, SIGSTOP);
	for (i = 0; i < 100000 && !unit_logged("can't be told"); i++)
		vg_spawn_permit(&sp, GUEST, 0, VG_MAPPER_NOBODY, 0, 0);
	assert_in_range(i, 2, 99999);
	/* Once is enough. */
	lines = unit_log_lines();
	vg_spawn_permit(&sp, GUEST, 0, VG_MAPPER_NOBODY, 0, 0);
	assert_int_equal(unit_log_lines(), lines);
	assert_int_equal(waitpid(sp.mappers->pid, NULL, 0), sp.mappers->pid);
	stop(sock, pid);
}

/* ---- what a child writes ------------------------------------------------ */

static void writes_without_end(void **state)
{
	unsigned int i, lines;
	char text[4096];
	int fd;

	(void)state;
	memset(text, 'a', sizeof(text));
	for (i = 15; i < sizeof(text); i += 16)
		text[i] = '\n';
	assert_int_equal(vg_child_log_open(loop, "it", &fd), 0);
	for (i = 0; i < 300; i++) {
		/* It is full in the end, and does not block. */
		if (write(fd, text, sizeof(text)) < 0)
			assert_int_equal(errno, EAGAIN);
		vg_loop_run_once(loop, 0);
	}
	lines = unit_log_lines();
	assert_in_range(lines, VG_CHILD_LOG_BURST_DEFAULT,
			VG_CHILD_LOG_BURST_DEFAULT + 60);
	assert_true(unit_logged("it: writes more than"));
	/* Nor is one without a line. */
	memset(text, 'b', sizeof(text));
	for (i = 0; i < 300; i++) {
		if (write(fd, text, sizeof(text)) < 0)
			assert_int_equal(errno, EAGAIN);
		vg_loop_run_once(loop, 0);
	}
	assert_in_range(unit_log_lines(), lines, lines + 60);
	close(fd);
}

static void what_a_line_is(void **state)
{
	char text[2048];
	int fd;

	(void)state;
	assert_int_equal(vg_child_log_open(loop, "it", &fd), 0);
	assert_int_equal(write(fd, "no level\n<7>x\n\n<9>y\n<3>\na\0b\n", 28),
			 28);
	memset(text, 'c', sizeof(text));
	assert_int_equal(write(fd, text, 2000), 2000);
	assert_int_equal(write(fd, "\nafter\nlast", 11), 11);
	close(fd);
	assert_true(turns_until("it: last"));
	assert_true(unit_logged("it: no level"));
	assert_true(unit_logged("it: x"));
	assert_true(unit_logged("it: <9>y"));
	assert_true(unit_logged("it: a?b"));
	assert_true(unit_logged("it: ccccc"));
	assert_true(unit_logged("it: after"));
	assert_int_equal(unit_log_lines(), 7);
}

/* ---- what it may write to ----------------------------------------------- */

/* prlimit(2) may be refused to us. */
static unsigned long long file_limit_of(pid_t pid)
{
	unsigned long long soft = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Max file size %llu", &soft) == 1)
			break;
	if (f)
		fclose(f);
	return soft;
}

/* From outside, by one that has no right over it but the same user. */
static void an_images_size(void **state)
{
	struct rlimit rl;
	int ready[2];
	pid_t pid;
	char c;

	(void)state;
	if (getuid())
		skip();
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		rl = (struct rlimit){ 4096, RLIM_INFINITY };
		if (setrlimit(RLIMIT_FSIZE, &rl) ||
		    setresgid(1900000014, 1900000014, 1900000014) ||
		    setresuid(1900000014, 1900000014, 1900000014))
			_exit(1);
		/* A change of user forgets it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(vg_sandbox_set_file_max(pid, 1900000014, 1 << 30), 0);
	assert_int_equal(getuid(), 0);
	assert_int_equal(getgid(), 0);
	assert_int_equal(file_limit_of(pid), 1 << 30);
	assert_int_equal(vg_sandbox_set_file_max(pid, 1900000014, 1), 0);
	assert_int_equal(file_limit_of(pid),
			 vg_state_bytes(VG_STATE_QUEUES_MAX));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(vg_sandbox_set_file_max(pid, 1900000014, 1), -ESRCH);
	assert_int_equal(getuid(), 0);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define U(f) { #f " unconfined", f, setup_unconfined, teardown, NULL }
	const struct CMUnitTest tests[] = {
		T(a_confined_one),
		U(an_unconfined_one),
		T(what_it_writes),
		U(what_it_writes),
		T(each_call_fails),
		U(each_call_fails),
		T(the_arena_is_sealed),
		T(one_mapper_a_guest),
		T(a_mapper_that_does_not_end),
		T(a_mapper_that_does_not_listen),
		T(writes_without_end),
		T(what_a_line_is),
		cmocka_unit_test(an_images_size),
	};

	for (; argc > 1; argc--)
		if (!strncmp(argv[argc - 1], "--worker=", 9) ||
		    !strncmp(argv[argc - 1], "--mapper=", 9))
			_exit(as_child(argv[argc - 1][2] == 'm'));
	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
