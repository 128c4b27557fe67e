// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * First process of the rig's guests and driver domains, once /init has set the
 * domain up: runs what dom0 asks for over the console (frame.h), reaps what is
 * left over, and shuts the domain down in order when xl asks for that.
 *
 * Test code; it trusts dom0 and nothing else reads its console.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"

#define RUNS_MAX 64

struct run {
	char id[48];
	uint32_t sequence;	/* of the last asking, to answer to */
	pid_t pid;		/* 0: has ended */
	int status;
	time_t deadline;
	bool is_killed;
};

static struct run runs[RUNS_MAX];	/* a ring; old ones are forgotten */
static unsigned int runs_nr;
static int console;

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (done > 0) {
			p += done;
			n -= done;
		}
	}
}

static void answer(uint32_t sequence, const char *payload, size_t len_bytes)
{
	char line[FRAME_LINE_BYTES];

	write_all(console, line, frame_encode(line, 'R', sequence, payload,
					      len_bytes));
}

static void answer_text(uint32_t sequence, const char *text)
{
	answer(sequence, text, strlen(text));
}

static void answer_errno(uint32_t sequence, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "error %s: %s", what, strerror(errno));
	answer_text(sequence, text);
}

static void answer_exit(const struct run *run)
{
	char text[32];

	snprintf(text, sizeof(text), "exit %d", run->status);
	answer_text(run->sequence, text);
}

static int open_output(const char *id, const char *suffix)
{
	char path[128];

	snprintf(path, sizeof(path), FRAME_RUN_DIR "/%.47s.%s", id, suffix);
	return open(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
}

static void run_child(const char *id, char *script)
{
	char *const argv[] = { "sh", "-c", script, NULL };
	int in, out, err;
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	in = open("/dev/null", O_RDONLY);
	out = open_output(id, "out");
	err = open_output(id, "err");
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	execv("/bin/sh", argv);
	_exit(127);
}

static void op_run(uint32_t sequence, const char *id, unsigned int seconds,
		   char *script)
{
	struct run *run;

	for (unsigned int i = 0; i < RUNS_MAX; i++) {
		run = &runs[i];
		if (strcmp(run->id, id))
			continue;
		run->sequence = sequence;
		if (run->pid)
			answer_text(sequence, "ok");
		else
			answer_exit(run);
		return;
	}
	run = &runs[runs_nr++ % RUNS_MAX];
	if (run->pid) {
		answer_text(sequence, "error too many commands at once");
		return;
	}
	memset(run, 0, sizeof(*run));
	run->pid = fork();
	if (run->pid < 0) {
		run->pid = 0;
		answer_errno(sequence, "fork");
		return;
	}
	if (!run->pid)
		run_child(id, script);
	snprintf(run->id, sizeof(run->id), "%.47s", id);
	run->sequence = sequence;
	run->deadline = now() + seconds;
	answer_text(sequence, "ok");
}

static void op_put(uint32_t sequence, const char *path, long long offset,
		   const char *data, size_t len_bytes)
{
	int fd = open(path, O_CREAT | O_WRONLY | (offset ? 0 : O_TRUNC), 0755);

	if (fd < 0 || pwrite(fd, data, len_bytes, offset) != (ssize_t)len_bytes)
		answer_errno(sequence, path);
	else
		answer_text(sequence, "ok");
	if (fd >= 0)
		close(fd);
}

static void op_get(uint32_t sequence, const char *path, long long offset)
{
	char payload[FRAME_PAYLOAD_BYTES];
	int fd = open(path, O_RDONLY);
	struct stat st;
	ssize_t n = -1;
	int head;

	if (fd >= 0 && !fstat(fd, &st)) {
		head = sprintf(payload, "ok %lld\n", (long long)st.st_size);
		n = pread(fd, payload + head, FRAME_DATA_BYTES, offset);
	}
	if (n < 0)
		answer_errno(sequence, path);
	else
		answer(sequence, payload, head + n);
	if (fd >= 0)
		close(fd);
}

static void handle(char *line)
{
	char payload[FRAME_PAYLOAD_BYTES + 4], word[256];
	char *data, *end;
	uint32_t sequence;
	long long number;
	int len_bytes = frame_decode(line, 'Q', &sequence, payload);

	if (len_bytes < 0)
		return;
	end = payload + len_bytes;
	data = memchr(payload, '\n', len_bytes);
	if (data)
		*data++ = 0;
	else
		data = end;
	if (!strcmp(payload, "ping"))
		answer_text(sequence, "ok");
	else if (sscanf(payload, "run %47s %lld", word, &number) == 2)
		op_run(sequence, word, number, data);
	else if (sscanf(payload, "put %255s %lld", word, &number) == 2)
		op_put(sequence, word, number, data, end - data);
	else if (sscanf(payload, "get %255s %lld", word, &number) == 2)
		op_get(sequence, word, number);
	else
		answer_text(sequence, "error what?");
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (struct run *run = runs; run < runs + RUNS_MAX; run++) {
			if (run->pid != pid)
				continue;
			run->pid = 0;
			run->status = run->is_killed ? 124 :
				WIFEXITED(status) ? WEXITSTATUS(status) :
				128 + WTERMSIG(status);
			answer_exit(run);
		}
	}
}

/* Let everything end by itself, then not; leave no file system dirty. */
static void shut_down(int how)
{
	pid_t pid;

	kill(-1, SIGTERM);
	for (int tenths = 0; tenths < 50; tenths++) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)	/* no child is left */
			break;
		usleep(100 * 1000);
	}
	kill(-1, SIGKILL);
	pid = fork();
	if (!pid) {
		/* What it says of / and /dev is no news. */
		dup2(open("/dev/null", O_WRONLY), 2);
		execl("/bin/busybox", "umount", "-a", "-r", NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) != pid && errno == EINTR)
		;
	sync();
	reboot(how);
}

static void check_deadlines(void)
{
	for (struct run *run = runs; run < runs + RUNS_MAX; run++) {
		if (!run->pid || now() < run->deadline)
			continue;
		/* Its session, so that what it started goes too. */
		kill(-run->pid, run->is_killed ? SIGKILL : SIGTERM);
		run->is_killed = true;
		run->deadline = now() + 3;
	}
}

static void read_console(void)
{
	static char line[FRAME_LINE_BYTES + 1];
	static size_t len_bytes;
	char chunk[4096];
	ssize_t n = read(console, chunk, sizeof(chunk));

	for (ssize_t i = 0; i < n; i++) {
		if (chunk[i] != '\n') {
			if (len_bytes < FRAME_LINE_BYTES)
				line[len_bytes++] = chunk[i];
			continue;
		}
		line[len_bytes] = 0;
		if (len_bytes)
			handle(line);
		len_bytes = 0;
	}
}

int main(void)
{
	struct signalfd_siginfo info;
	struct termios tio;
	struct pollfd fds[2];
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);	/* what busybox's reboot sends, */
	sigaddset(&signals, SIGUSR1);	/* halt */
	sigaddset(&signals, SIGUSR2);	/* and poweroff */
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fds[0].fd = signalfd(-1, &signals, SFD_CLOEXEC);
	fds[0].events = POLLIN;
	console = open("/dev/hvc0", O_RDWR | O_CLOEXEC | O_NOCTTY);
	fds[1].fd = console;
	fds[1].events = POLLIN;
	mkdir(FRAME_RUN_DIR, 0700);
	if (!tcgetattr(console, &tio)) {
		cfmakeraw(&tio);
		tcsetattr(console, TCSAFLUSH, &tio);
	}
	answer_text(0, "ready");
	for (;;) {
		if (poll(fds, 2, 1000) > 0) {
			if (fds[0].revents & POLLIN &&
			    read(fds[0].fd, &info, sizeof(info)) ==
			    sizeof(info)) {
				/*
				 * Below systemd it is told to end, as others.
				 */
				if (info.ssi_signo == SIGTERM && getpid() != 1)
					return 0;
				if (info.ssi_signo == SIGUSR2 ||
				    info.ssi_signo == SIGUSR1)
					shut_down(RB_POWER_OFF);
				if (info.ssi_signo == SIGTERM)
					shut_down(RB_AUTOBOOT);
			}
			if (fds[1].revents)
				read_console();
		}
		reap();
		check_deadlines();
	}
}
