// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * grantd_main.c - virtio-grantd(8): options, signals, the loop; and the same
 * program as a worker, which the supervisor starts.  Of virtio-foreignd, too
 * (program.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_server.h"
#include "daemon.h"
#include "log.h"
#include "program.h"
#include "supervisor.h"
#include "util.h"
#include "worker.h"

/* Where a worker finds what the supervisor gave it. */
#define WORKER_SOCK_FD		3
#define WORKER_SHARED_FD	4

static enum vg_log_level log_level = VG_LOG_INFO;
static const char *memory_mode;	/* virtio-foreignd's --memory */

static void usage(FILE *f)
{
	fprintf(f, "Usage: %s [options]\n", vg_program.name);
	if (vg_program.set_memory)
		fputs("Serves virtio devices with grant_usage=0 by foreign mapping, for comparison.\n\n"
		      "      --memory=dynamic|static   map per request (dynamic), or the whole guest\n", f);
	else
		fputs("Serves virtio devices to Xen guests through grants; see virtio-grantd(8).\n\n", f);
	fputs(
	      "  -d, --direct-io=libxl|on|off  O_DIRECT: block devices, and files with direct-io-safe (libxl)\n"
	      "  -e, --engine=auto|io_uring|sync  how images are read and written (auto)\n"
	      "  -q, --queue-size=N            descriptors per queue, a power of two (256)\n"
	      "      --queues=N                queues per device (as many as CPUs, at most 4)\n"
	      "  -m, --map-budget=MIB          guest memory mapped at once, per device (32)\n"
	      "  -p, --poll=US                 look at a ring for so long before sleeping (0;\n"
	      "                                2000 for guests without event channels)\n"
	      "      --only=VDEV,...           these devices (\"xvda,xvdb\") and no others\n"
	      "  -r, --run-dir=DIR             pid file and socket (/run/virtio-grant)\n"
	      "  -v, --verbose                 say more\n"
	      "  -h, --help                    this text\n"
	      "  -V, --version                 the version\n", f);
}

/* In the child: only what async-signal-safe functions can do. */
static void __attribute__((noreturn))
become_worker(int sock, int shared_fd, char *const *argv)
{
	sigset_t none;
	int s, m;

	/* Out of the way first: either may stand where the other goes. */
	s = fcntl(sock, F_DUPFD, 10);
	m = fcntl(shared_fd, F_DUPFD, 10);
	if (s < 0 || m < 0 || dup2(s, WORKER_SOCK_FD) < 0 ||
	    dup2(m, WORKER_SHARED_FD) < 0)
		_exit(126);
	for (s = WORKER_SHARED_FD + 1; s < 1024; s++)
		close(s);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
	_exit(127);
}

static int spawn(void *arg, xen_domid_t guest, int sock, int shared_fd,
		 pid_t *pid)
{
	char *opt = vg_strf("--worker=%u", guest);
	char *name = vg_strdup(vg_program.name), verbose[] = "--verbose";
	char *mem = vg_strf("--memory=%s", memory_mode ? memory_mode : "");
	char *argv[] = { name, opt, NULL, NULL, NULL };
	unsigned int n = 2;
	pid_t child;
	int err = 0;

	(void)arg;
	if (log_level == VG_LOG_DEBUG)
		argv[n++] = verbose;
	if (memory_mode)
		argv[n] = mem;
	child = fork();
	if (child == 0)
		become_worker(sock, shared_fd, argv);
	if (child < 0)
		err = -errno;
	*pid = child;
	close(sock);
	close(shared_fd);
	free(mem);
	free(name);
	free(opt);
	return err;
}

static bool parse_direct(const char *s, enum vg_direct_io *v)
{
	if (!strcmp(s, "libxl"))
		*v = VG_DIRECT_IO_LIBXL;
	else if (!strcmp(s, "on"))
		*v = VG_DIRECT_IO_ON;
	else if (!strcmp(s, "off"))
		*v = VG_DIRECT_IO_OFF;
	else
		return false;
	return true;
}

static bool parse_engine(const char *s, enum vg_blk_engine *v)
{
	if (!strcmp(s, "auto"))
		*v = VG_BLK_ENGINE_AUTO;
	else if (!strcmp(s, "io_uring"))
		*v = VG_BLK_ENGINE_URING;
	else if (!strcmp(s, "sync"))
		*v = VG_BLK_ENGINE_SYNC;
	else
		return false;
	return true;
}

/* More threads than CPUs serve nobody. */
static unsigned int default_queues(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 4 ? 4 : (unsigned int)n;
}

static int run(struct vg_supervisor_config *cfg, const char *run_dir)
{
	struct vg_ctl_server *ctl = NULL;
	struct vg_supervisor *s;
	struct vg_loop *loop;
	char *sock, *state_dir;
	int err;

	if (vg_daemon_run_dir(run_dir) || vg_daemon_only_one(run_dir, vg_program.name))
		return 1;
	err = vg_loop_create(&loop);
	if (!err)
		err = vg_daemon_signals(loop);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		return 1;
	}
	state_dir = vg_strf("%s/state", run_dir);
	cfg->state_dir = state_dir;
	if (vg_supervisor_create(cfg, loop, &s))
		return 1;
	sock = vg_strf("%s/grantd.sock", run_dir);
	err = vg_ctl_server_create(loop, sock, vg_supervisor_answer, s, &ctl);
	if (err)
		vg_warn("%s: %s; virtio-grantctl will not see this daemon",
			sock, strerror(-err));
	vg_info("ready");
	err = vg_loop_run(loop);
	if (err)
		vg_err("event loop: %s", strerror(-err));
	vg_ctl_server_destroy(ctl);
	vg_supervisor_destroy(s);
	vg_loop_destroy(loop);
	free(sock);
	free(state_dir);
	return err ? 1 : 0;
}

static int __attribute__((format(printf, 1, 2))) bad_option(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", vg_program.name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 2;
}

int main(int argc, char **argv)
{
	enum { OPT_WORKER = 256, OPT_MEMORY, OPT_ONLY, OPT_QUEUES };
	static const struct option options[] = {
		{ "direct-io", required_argument, NULL, 'd' },
		{ "engine", required_argument, NULL, 'e' },
		{ "queue-size", required_argument, NULL, 'q' },
		{ "map-budget", required_argument, NULL, 'm' },
		{ "poll", required_argument, NULL, 'p' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "worker", required_argument, NULL, OPT_WORKER },
		{ "memory", required_argument, NULL, OPT_MEMORY },
		{ "only", required_argument, NULL, OPT_ONLY },
		{ "queues", required_argument, NULL, OPT_QUEUES },
		{ NULL, 0, NULL, 0 },
	};
	struct vg_supervisor_config cfg = {
		.direct_io = VG_DIRECT_IO_LIBXL,
		.engine = VG_BLK_ENGINE_AUTO,
		.queue_size_max = VG_QUEUE_SIZE_MAX_DEFAULT,
		.budget_pages = VG_BUDGET_PAGES_DEFAULT,
		.nr_queues = default_queues(),
		.poll_mmio_max_ns = 2000000,
		.spawn = spawn,
		.is_foreign = vg_program.set_memory,
	};
	const char *run_dir = "/run/virtio-grant";
	int worker_for = -1, c;
	uint64_t v;

	while ((c = getopt_long(argc, argv, "d:e:q:m:p:r:vhV", options,
				NULL)) != -1) {
		switch (c) {
		case 'd':
			if (!parse_direct(optarg, &cfg.direct_io))
				return bad_option("--direct-io=%s: none of libxl, on, off",
						  optarg);
			break;
		case 'e':
			if (!parse_engine(optarg, &cfg.engine))
				return bad_option("--engine=%s: none of auto, io_uring, sync",
						  optarg);
			break;
		case 'q':
			if (vg_parse_u64(optarg, 10, 1024, &v) || v < 2 ||
			    (v & (v - 1)))
				return bad_option("--queue-size=%s: no power of two from 2 to 1024",
						  optarg);
			cfg.queue_size_max = (unsigned int)v;
			break;
		case 'm':
			if (vg_parse_u64(optarg, 10, 1024, &v) || v < 2)
				return bad_option("--map-budget=%s: not 2 to 1024 MiB",
						  optarg);
			cfg.budget_pages = (unsigned int)(v << 20 >>
							  XEN_GRANT_PAGE_SHIFT);
			break;
		case 'p':
			if (vg_parse_u64(optarg, 10, 10000, &v))
				return bad_option("--poll=%s: not 0 to 10000 microseconds",
						  optarg);
			cfg.poll_max_ns = v * 1000;
			cfg.poll_mmio_max_ns = v * 1000;
			break;
		case 'r':
			run_dir = optarg;
			break;
		case 'v':
			log_level = VG_LOG_DEBUG;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			printf("%s %s\n", vg_program.name, VG_VERSION);
			return 0;
		case OPT_WORKER:	/* not for people: see spawn() */
			if (vg_parse_u64(optarg, 10, XEN_DOMID_MAX, &v))
				return 2;
			worker_for = (int)v;
			break;
		case OPT_MEMORY:
			memory_mode = optarg;
			break;
		case OPT_ONLY:
			cfg.only = optarg;
			break;
		case OPT_QUEUES:
			if (vg_parse_u64(optarg, 10, VG_BLK_QUEUES_MAX, &v) ||
			    !v)
				return bad_option("--queues=%s: not 1 to %u",
						  optarg, VG_BLK_QUEUES_MAX);
			cfg.nr_queues = (unsigned int)v;
			break;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (!vg_program.set_memory && memory_mode)
		return bad_option("--memory is virtio-foreignd's");
	if (vg_program.set_memory) {
		if (!memory_mode)
			memory_mode = "dynamic";
		if (!vg_program.set_memory(memory_mode))
			return bad_option("--memory=%s: none of dynamic, static",
					  memory_mode);
	}
	if (optind < argc)
		return bad_option("%s: no argument is expected", argv[optind]);
	vg_log_init(vg_program.name, log_level);
	if (worker_for >= 0)
		return vg_worker_main((xen_domid_t)worker_for, WORKER_SOCK_FD,
				      WORKER_SHARED_FD);
	return run(&cfg, run_dir);
}
