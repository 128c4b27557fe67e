// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0's end of the console protocol (frame.h): asks a domain's agent for
 * something and brings the answer.
 *
 *	vg-call DOMID NAME ping SECONDS		wait until the agent answers
 *	vg-call DOMID NAME run SECONDS SCRIPT	run it: its output, its status
 *	vg-call DOMID NAME get PATH		file to stdout
 *	vg-call DOMID NAME put PATH		file from stdin
 *
 * Exit status: that of the script (124 when it took too long); 125 if the
 * domain could not be asked.  The limits of its own (not SECONDS) are
 * multiplied by VG_PACE tenths (pace.sh).  Requests are written to the terminal
 * that xenconsoled made for the domain, answers are read from its log: so
 * several callers do not steal each other's answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <xenstore.h>

#include "../domu/frame.h"

#define STATUS_UNREACHABLE 125
#define LOG_DIR "/vg/console"

static const char *name;
static unsigned int domid;
static struct xs_handle *xs;
static int tty, logfile, watch;
static uint32_t last_sequence;

/* The log's present line, as far as it has come. */
static char line[2 * FRAME_LINE_BYTES];
static size_t line_bytes;

static _Noreturn void fail(const char *why)
{
	fprintf(stderr, "%s: %s\n", name, why);
	exit(STATUS_UNREACHABLE);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* A limit of a machine that does nothing else, on this one. */
static double slow(double seconds)
{
	const char *pace = getenv("VG_PACE");
	int tenths = pace ? atoi(pace) : 10;

	return seconds * (tenths > 10 ? tenths : 10) / 10;
}

/* Connect, waiting up to @tenths for a domain that is about to be. */
static void connect_domain(int tenths)
{
	char path[256], *value = NULL;
	struct termios tio;
	unsigned int len;

	xs = xs_open(0);
	if (!xs)
		fail("no xenstore");
	snprintf(path, sizeof(path), "/local/domain/%u/console/tty", domid);
	/* Toolstack and xenconsoled take a moment over a new domain. */
	for (int tries = 0; tries < tenths + slow(50); tries++) {
		value = xs_read(xs, XBT_NULL, path, &len);
		if (value && *value)
			break;
		if (tries > tenths && !xs_is_domain_introduced(xs, domid))
			fail("there is no such domain");
		usleep(100 * 1000);
	}
	if (!value || !*value)
		fail("its console has no terminal (xenconsoled?)");
	tty = open(value, O_WRONLY | O_NOCTTY);
	if (tty < 0)
		fail("cannot open its terminal");
	if (!tcgetattr(tty, &tio)) {
		cfmakeraw(&tio);
		tcsetattr(tty, TCSANOW, &tio);
	}
	snprintf(path, sizeof(path), LOG_DIR "/guest-%s.log", name);
	logfile = open(path, O_RDONLY | O_CREAT, 0644);
	if (logfile < 0 || lseek(logfile, 0, SEEK_END) < 0)
		fail("cannot open its console log");
	watch = inotify_init1(IN_NONBLOCK);
	if (inotify_add_watch(watch, path, IN_MODIFY) < 0)
		fail("cannot watch its console log");
}

static void ask(uint32_t sequence, const char *payload, size_t len_bytes)
{
	char request[FRAME_LINE_BYTES];
	size_t n = frame_encode(request, 'Q', sequence, payload, len_bytes);

	/* One line at a time, whoever else is asking. */
	flock(tty, LOCK_EX);
	for (size_t done = 0; done < n;) {
		ssize_t part = write(tty, request + done, n - done);

		if (part < 0 && errno != EINTR)
			fail("its terminal went away");
		if (part > 0)
			done += part;
	}
	flock(tty, LOCK_UN);
}

/*
 * Wait for a frame with that sequence number.  Returns its length in bytes,
 * or -1 after @seconds.
 */
static int listen(uint32_t sequence, double seconds,
		  char payload[FRAME_PAYLOAD_BYTES + 4])
{
	double end = now() + seconds;

	for (;;) {
		struct pollfd fd = { .fd = watch, .events = POLLIN };
		char chunk[4096], events[4096];
		ssize_t n = read(logfile, chunk, 1);

		/* A byte at a time from a buffer: what follows stays there. */
		if (n == 1 && chunk[0] != '\n') {
			ssize_t more;

			line[line_bytes++ % (sizeof(line) - 1)] = chunk[0];
			more = read(logfile, chunk, sizeof(chunk));
			for (ssize_t i = 0; i < more; i++) {
				if (chunk[i] == '\n') {
					lseek(logfile, i - more, SEEK_CUR);
					break;
				}
				line[line_bytes++ % (sizeof(line) - 1)] =
					chunk[i];
			}
			continue;
		}
		if (n == 1) {
			uint32_t got;
			int len;

			line[line_bytes < sizeof(line) ? line_bytes :
			     sizeof(line) - 1] = 0;
			line_bytes = 0;
			len = frame_decode(line, 'R', &got, payload);
			if (len >= 0 && got == sequence)
				return len;
			if (strstr(line, "Kernel panic - "))
				fail("its kernel panicked");
			continue;
		}
		if (now() >= end)
			return -1;
		if (poll(&fd, 1, 1000) > 0)
			while (read(watch, events, sizeof(events)) > 0)
				;
		else if (!xs_is_domain_introduced(xs, domid))
			fail("the domain is gone");
	}
}

/* Ask until there is an answer. */
static int call(const char *payload, size_t len_bytes, double seconds,
		char answer[FRAME_PAYLOAD_BYTES + 4])
{
	double end = now() + seconds;

	while (now() < end) {
		uint32_t sequence = ++last_sequence;
		int n;

		ask(sequence, payload, len_bytes);
		n = listen(sequence, slow(3), answer);
		if (n >= 0)
			return n;
	}
	return -1;
}

static const char *checked(int len, char *answer)
{
	if (len < 0)
		fail("its agent does not answer");
	if (!strncmp(answer, "error ", 6))
		fail(answer + 6);
	return answer;
}

static void get(const char *path, FILE *to)
{
	char request[512], answer[FRAME_PAYLOAD_BYTES + 4], *data;
	long long offset = 0, size = 1;

	while (offset < size) {
		int n = snprintf(request, sizeof(request), "get %s %lld", path,
				 offset);

		n = call(request, n, slow(120), answer);
		if (sscanf(checked(n, answer), "ok %lld", &size) != 1)
			fail("strange answer");
		data = strchr(answer, '\n') + 1;
		n -= data - answer;
		if (!n)
			break;	/* it has shrunk, or is of /proc */
		fwrite(data, 1, n, to);
		offset += n;
		if (offset >= size && n == FRAME_DATA_BYTES)
			size = offset + 1;	/* sizes of /proc are 0 */
	}
	fflush(to);
}

static void put(const char *path, const char *data, size_t len_bytes)
{
	char request[FRAME_PAYLOAD_BYTES], answer[FRAME_PAYLOAD_BYTES + 4];
	size_t done = 0;

	do {
		size_t n = len_bytes - done;
		int head = snprintf(request, 512, "put %s %zu\n", path, done);

		if (n > FRAME_DATA_BYTES)
			n = FRAME_DATA_BYTES;
		memcpy(request + head, data + done, n);
		checked(call(request, head + n, slow(120), answer), answer);
		done += n;
	} while (done < len_bytes);
}

static int run(unsigned int seconds, const char *script)
{
	char request[FRAME_PAYLOAD_BYTES], answer[FRAME_PAYLOAD_BYTES + 4];
	char id[48], path[64];
	double end = now() + seconds + slow(60);
	size_t len_bytes = strlen(script);
	int n, status;

	snprintf(id, sizeof(id), "%x-%x", (unsigned int)time(NULL), getpid());
	n = snprintf(request, sizeof(request), "run %s %u\n", id, seconds);
	if (len_bytes > FRAME_DATA_BYTES) {
		snprintf(path, sizeof(path), FRAME_RUN_DIR "/%s.sh", id);
		put(path, script, len_bytes);
		n += sprintf(request + n, ". %s", path);
	} else {
		memcpy(request + n, script, len_bytes);
		n += len_bytes;
	}
	checked(call(request, n, slow(60), answer), answer);
	while (sscanf(answer, "exit %d", &status) != 1) {
		/* It says so when it ends; ask now and then in case the
		 * kernel spoilt that line. */
		if (listen(last_sequence, 10, answer) < 0) {
			if (now() > end)
				fail("its agent fell silent");
			checked(call(request, n, slow(60), answer), answer);
		}
	}
	snprintf(path, sizeof(path), FRAME_RUN_DIR "/%s.out", id);
	get(path, stdout);
	snprintf(path, sizeof(path), FRAME_RUN_DIR "/%s.err", id);
	get(path, stderr);
	return status;
}

int main(int argc, char **argv)
{
	char answer[FRAME_PAYLOAD_BYTES + 4];
	struct timespec ts;

	if (argc < 5) {
		fprintf(stderr, "usage: vg-call DOMID NAME ping|run|get|put ...\n");
		return STATUS_UNREACHABLE;
	}
	domid = atoi(argv[1]);
	name = argv[2];
	/* Distinct from every other caller's with near certainty. */
	clock_gettime(CLOCK_REALTIME, &ts);
	last_sequence = ((uint32_t)getpid() << 20 ^ (uint32_t)ts.tv_nsec) | 1;
	/* A rebooting domain has its number before xenstore knows it. */
	connect_domain(!strcmp(argv[3], "ping") ? 10 * atoi(argv[4]) :
		       slow(50));
	if (!strcmp(argv[3], "ping")) {
		if (call("ping", 4, atoi(argv[4]), answer) < 0)
			fail("its agent does not answer");
	} else if (!strcmp(argv[3], "run") && argc == 6) {
		return run(atoi(argv[4]), argv[5]);
	} else if (!strcmp(argv[3], "get")) {
		get(argv[4], stdout);
	} else if (!strcmp(argv[3], "put")) {
		static char data[16 << 20];

		put(argv[4], data, fread(data, 1, sizeof(data), stdin));
	} else {
		fail("what?");
	}
	return 0;
}
