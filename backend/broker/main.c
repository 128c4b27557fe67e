// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - virtio-grant-broker(8): options, signals, the loop; and the
 * same program as the process of one guest, which the broker starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/child.h"
#include "lib/child_log.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/util.h"

#define PROGRAM "virtio-grant-broker"

/* Where a guest's process finds what the broker gave it. */
#define CHILD_SOCK_FD		3
#define CHILD_SHARED_FD		4

static enum vg_log_level log_level = VG_LOG_INFO;

static void usage(FILE *f)
{
	fputs("Usage: " PROGRAM " [options]\n"
	      "Relays the register accesses of Xen guests' virtio devices to their backends.\n"
	      "Runs in the control domain; see " PROGRAM "(8).\n\n"
	      "  -t, --answer-timeout=MS  how long a vCPU may wait for a backend (1000)\n"
	      "  -p, --poll=US            look for a guest's next access for so long before\n"
	      "                           sleeping (200; 0: not at all)\n"
	      "  -r, --run-dir=DIR        pid file, socket, state (/run/virtio-grant)\n"
	      "      --foreign            also devices with grant_usage=0, whose backend\n"
	      "                           maps the guest's memory (for the comparison only)\n"
	      "  -v, --verbose            say more\n"
	      "  -h, --help               this text\n"
	      "  -V, --version            the version\n", f);
}

/* In the child: only what async-signal-safe functions can do. */
static void __attribute__((noreturn))
become_child(int sock, int shared_fd, int log, char *const *argv)
{
	sigset_t none;
	int s, m, l;

	/* Out of the way first: any may stand where another goes. */
	s = fcntl(sock, F_DUPFD, 10);
	m = fcntl(shared_fd, F_DUPFD, 10);
	l = fcntl(log, F_DUPFD, 10);
	/* 0 to 2, too: it has nothing of ours. */
	if (s < 0 || m < 0 || l < 0 || dup2(l, 0) < 0 || dup2(l, 1) < 0 ||
	    dup2(l, 2) < 0 || dup2(s, CHILD_SOCK_FD) < 0 ||
	    dup2(m, CHILD_SHARED_FD) < 0 ||
	    close_range(CHILD_SHARED_FD + 1, ~0U, 0))
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* @loop: for what it logs. */
static int spawn(void *loop, const struct vg_bchild_config *cfg, int sock,
		 int shared_fd, pid_t *pid)
{
	char *guest = vg_strf("--guest=%u", cfg->guest);
	char *who = vg_strf("dom%u's process", cfg->guest);
	char *server = vg_strf("--server=%d", cfg->adopt_id);
	char *timeout = vg_strf("--answer-timeout=%llu",
		(unsigned long long)(cfg->answer_timeout_ns / 1000000));
	char *poll = vg_strf("--poll=%llu",
		(unsigned long long)(cfg->poll_max_ns / 1000));
	char name[] = PROGRAM, verbose[] = "--verbose";
	char *argv[] = { name, guest, timeout, poll, NULL, NULL, NULL };
	unsigned int n = 4;
	pid_t child = -1;
	int log, err;

	if (cfg->adopt_id >= 0)
		argv[n++] = server;
	if (log_level == VG_LOG_DEBUG)
		argv[n] = verbose;
	err = vg_child_log_open(loop, who, &log);
	if (!err) {
		child = fork();
		if (child == 0)
			become_child(sock, shared_fd, log, argv);
		if (child < 0)
			err = -errno;
		close(log);
	}
	*pid = child;
	close(sock);
	close(shared_fd);
	free(who);
	free(poll);
	free(timeout);
	free(server);
	free(guest);
	return err;
}

static void kill_child(void *arg, xen_domid_t guest, pid_t pid)
{
	(void)arg;
	(void)guest;
	kill(pid, SIGKILL);
}

static int run(struct vg_broker_config *cfg)
{
	struct vg_broker *broker;
	struct vg_loop *loop;
	int err;

	if (vg_daemon_begin(cfg->run_dir, PROGRAM, &loop))
		return 1;
	cfg->spawn_arg = loop;
	if (log_level == VG_LOG_DEBUG)
		vg_child_log_burst *= 100;
	if (vg_broker_create(cfg, loop, &broker))
		return 1;
	err = vg_daemon_serve(loop, cfg->run_dir, "broker.sock",
			      vg_broker_answer, broker);
	vg_broker_destroy(broker, true);
	vg_child_log_close_all();
	vg_loop_destroy(loop);
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	enum { OPT_FOREIGN = 256, OPT_GUEST, OPT_SERVER };
	static const struct option options[] = {
		{ "answer-timeout", required_argument, NULL, 't' },
		{ "poll", required_argument, NULL, 'p' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "foreign", no_argument, NULL, OPT_FOREIGN },
		/* For ourselves: not documented. */
		{ "guest", required_argument, NULL, OPT_GUEST },
		{ "server", required_argument, NULL, OPT_SERVER },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct vg_broker_config cfg = {
		.answer_timeout_ns = VG_BROKER_ANSWER_TIMEOUT_NS,
		.poll_max_ns = VG_BROKER_POLL_MAX_NS,
		.watchdog_ns = VG_BROKER_WATCHDOG_NS,
		.run_dir = "/run/virtio-grant",
		.spawn = spawn,
		.kill = kill_child,
	};
	struct vg_bchild_config child = { .adopt_id = -1 };
	bool is_child = false;
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "t:p:r:vhV", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (vg_parse_u64(optarg, 10, 600000, &n) || !n) {
				fprintf(stderr, PROGRAM ": --answer-timeout=%s: not 1 to 600000 ms\n",
					optarg);
				return 2;
			}
			cfg.answer_timeout_ns = n * 1000000;
			break;
		case 'p':
			if (vg_parse_u64(optarg, 10, 10000, &n)) {
				fprintf(stderr, PROGRAM ": --poll=%s: not 0 to 10000 microseconds\n",
					optarg);
				return 2;
			}
			cfg.poll_max_ns = n * 1000;
			break;
		case 'r':
			cfg.run_dir = optarg;
			break;
		case 'v':
			log_level = VG_LOG_DEBUG;
			break;
		case OPT_FOREIGN:	/* make compare: docs/comparison.md */
			cfg.serves_foreign = true;
			break;
		case OPT_GUEST:
			if (vg_parse_u64(optarg, 10, XEN_DOMID_MAX, &n))
				return 2;
			child.guest = (xen_domid_t)n;
			is_child = true;
			break;
		case OPT_SERVER:
			if (vg_parse_u64(optarg, 10, UINT16_MAX, &n))
				return 2;
			child.adopt_id = (int)n;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts(PROGRAM " " VG_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, PROGRAM ": %s: no argument is expected\n",
			argv[optind]);
		return 2;
	}
	vg_log_init(PROGRAM, log_level);
	if (!is_child)
		return run(&cfg);
	vg_log_to_parent();
	child.answer_timeout_ns = cfg.answer_timeout_ns;
	child.poll_max_ns = cfg.poll_max_ns;
	return vg_bchild_main(&child, CHILD_SOCK_FD, CHILD_SHARED_FD);
}
