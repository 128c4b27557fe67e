// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - virtio-grantd(8): options, signals, the loop; and the same
 * program as a worker, which the supervisor starts.  Of virtio-foreignd, too
 * (program.h).
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "grantd/mapper.h"
#include "grantd/program.h"
#include "grantd/sandbox.h"
#include "grantd/spawn.h"
#include "grantd/supervisor.h"
#include "grantd/worker_main.h"
#include "lib/child_log.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/util.h"

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
	      "  -q, --queue-size=N            descriptors per queue, a power of two (512)\n"
	      "      --copy-max=BYTES          copy, not map, requests up to this size (any)\n"
	      "      --queues=N                queues per device (as many as CPUs, at most 4)\n"
	      "  -m, --map-budget=MIB          guest memory mapped at once, per device (32)\n"
	      "  -p, --poll=US                 look at a ring for so long before sleeping (1000;\n"
	      "                                2000 for guests without event channels)\n"
	      "      --on-enospc=report|wait   no room for a sparse image: an I/O error, or writes wait (report)\n"
	      "      --serial=PATH=TEXT        the serial number of this image (its vdev)\n"
	      "      --only=VDEV,...           these devices (\"xvda,xvdb\") and no others\n"
	      "      --uid-base=N              workers run as users N, N + 1, ... (1900000000)\n"
	      "      --no-sandbox              workers run as this user, without confinement\n"
	      "  -r, --run-dir=DIR             pid file and socket (/run/virtio-grant)\n"
	      "  -v, --verbose                 say more\n"
	      "  -h, --help                    this text\n"
	      "  -V, --version                 the version\n", f);
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

static bool parse_on_enospc(const char *s, bool *waits)
{
	*waits = !strcmp(s, "wait");
	return *waits || !strcmp(s, "report");
}

/* False: it makes no sense.  For the life of the process. */
static bool add_serial(const char ***serials, const char *s)
{
	const char *last = strrchr(s, '=');
	unsigned int n = 0;

	if (*s != '/' || !last || !vg_image_serial_is_valid(last + 1))
		return false;
	while (*serials && (*serials)[n])
		n++;
	*serials = realloc(*serials, (n + 2) * sizeof(**serials));
	if (!*serials)
		abort();
	(*serials)[n] = s;
	(*serials)[n + 1] = NULL;
	return true;
}

/* More threads than CPUs serve nobody. */
static unsigned int default_queues(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 4 ? 4 : (unsigned int)n;
}

/*
 * What every worker is started with: name, engine, budget, rings, verbose,
 * memory.  Never freed: for the life of the process.
 */
static const char **worker_args(const struct vg_supervisor_config *cfg)
{
	static const char *const engines[] = {
		[VG_BLK_ENGINE_AUTO] = "auto",
		[VG_BLK_ENGINE_URING] = "io_uring",
		[VG_BLK_ENGINE_SYNC] = "sync",
	};
	static const char *args[8];
	unsigned int n = 0;

	args[n++] = vg_program.name;
	args[n++] = vg_strf("--engine=%s", engines[cfg->engine]);
	args[n++] = vg_strf("--map-budget=%u",
			    cfg->budget_pages >> (20 - XEN_GRANT_PAGE_SHIFT));
	/* One for each queue: see choose_nr_queues() in supervisor.c. */
	args[n++] = vg_strf("--rings=%u", VG_WORKER_DEVICES_MAX +
			    (cfg->nr_queues > 1 ? VG_WORKER_LANES_MAX : 0));
	if (log_level == VG_LOG_DEBUG)
		args[n++] = "--verbose";
	if (memory_mode)
		args[n] = vg_strf("--memory=%s", memory_mode);
	return args;
}

/* Whether workers can be confined as they shall be; says why not. */
static bool sandbox_works(uid_t uid_base)
{
	const char *step;
	char *owner;
	int err;

	owner = vg_sandbox_uid_owner(uid_base);
	if (owner) {
		vg_err("%s has one of the numbers %u to %u that workers run as: choose others with --uid-base",
		       owner, uid_base, uid_base + VG_SANDBOX_UIDS - 1);
		free(owner);
		return false;
	}
	err = vg_sandbox_check(uid_base, &step);
	if (err)
		vg_err("workers can't be confined here: %s: %s; with --no-sandbox they are served without",
		       step, strerror(-err));
	return !err;
}

static int run(struct vg_supervisor_config *cfg, struct vg_spawn *sp,
	       const char *run_dir)
{
	struct vg_supervisor *s;
	struct vg_loop *loop;
	char *state_dir;
	int err;

	if (vg_daemon_begin(run_dir, vg_program.name, &loop))
		return 1;
	if (sp->is_confined && !sandbox_works(sp->uid_base))
		return 1;
	if (!sp->is_confined && !cfg->is_foreign)
		vg_warn("workers are not confined (--no-sandbox): whoever takes one over has this user's rights");
	cfg->is_confined = sp->is_confined;
	if (sp->is_confined) {
		cfg->allow_relay = vg_spawn_allow;
		cfg->allow_image = vg_spawn_allow_image;
		cfg->worker_ended = vg_spawn_ended;
		sp->nr_evtchns = 1 + (cfg->nr_queues > 1 ?
				      VG_WORKER_LANES_MAX : 0);
	}
	sp->args = worker_args(cfg);
	sp->loop = loop;
	if (log_level == VG_LOG_DEBUG)
		vg_child_log_burst *= 100;
	state_dir = vg_strf("%s/state", run_dir);
	cfg->state_dir = state_dir;
	if (vg_supervisor_create(cfg, loop, &s))
		return 1;
	err = vg_daemon_serve(loop, run_dir, "grantd.sock",
			      vg_supervisor_answer, s);
	vg_supervisor_destroy(s);
	vg_child_log_close_all();
	vg_loop_destroy(loop);
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
	enum {
		OPT_WORKER = 256, OPT_MEMORY, OPT_ONLY, OPT_UID_BASE,
		OPT_NO_SANDBOX, OPT_CONFINE, OPT_RINGS, OPT_MAPPER, OPT_HANDLES,
		OPT_QUEUES, OPT_COPY_MAX, OPT_ON_ENOSPC,
		OPT_SERIAL,
	};
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
		{ "copy-max", required_argument, NULL, OPT_COPY_MAX },
		{ "on-enospc", required_argument, NULL, OPT_ON_ENOSPC },
		{ "serial", required_argument, NULL, OPT_SERIAL },
		{ "uid-base", required_argument, NULL, OPT_UID_BASE },
		{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
		{ "confine", required_argument, NULL, OPT_CONFINE },
		{ "rings", required_argument, NULL, OPT_RINGS },
		{ "mapper", required_argument, NULL, OPT_MAPPER },
		{ "handles", required_argument, NULL, OPT_HANDLES },
		{ NULL, 0, NULL, 0 },
	};
	struct vg_supervisor_config cfg = {
		.direct_io = VG_DIRECT_IO_LIBXL,
		.engine = VG_BLK_ENGINE_AUTO,
		.queue_size_max = VG_QUEUE_SIZE_MAX_DEFAULT,
		.budget_pages = VG_BUDGET_PAGES_DEFAULT,
		.copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT,
		.nr_queues = default_queues(),
		.poll_max_ns = 1000000,
		.poll_mmio_max_ns = 2000000,
		.spawn = vg_spawn_worker,
		.is_foreign = vg_program.set_memory,
	};
	/* Foreign mapping needs /dev/xen/privcmd at any moment. */
	struct vg_spawn sp = {
		.is_confined = !vg_program.set_memory,
		.uid_base = VG_SANDBOX_UID_BASE,
	};
	struct vg_worker_start start = {
		.sock = VG_SOCK_FD,
		.shared_fd = VG_SHARED_FD,
		.rpc_fd = VG_RPC_FD,
		.arena_fd = VG_ARENA_FD,
		.gntdev_fd = VG_GNTDEV_FD,
		.first_evtchn_fd = VG_EVTCHN_FD,
		.nr_evtchns = 1,
	};
	const char *run_dir = "/run/virtio-grant", **serials = NULL;
	int worker_for = -1, c;
	bool is_mapper = false;
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
		case OPT_MAPPER:	/* not for people: see spawn.c */
			is_mapper = true;
			/* fall through */
		case OPT_WORKER:
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
		case OPT_COPY_MAX:
			if (vg_parse_u64(optarg, 10, UINT32_MAX, &v))
				return bad_option("--copy-max=%s: no number of bytes",
						  optarg);
			cfg.copy_max_bytes = (uint32_t)v;
			break;
		case OPT_ON_ENOSPC:
			if (!parse_on_enospc(optarg, &cfg.waits_for_room))
				return bad_option("--on-enospc=%s: none of report, wait",
						  optarg);
			break;
		case OPT_SERIAL:
			if (!add_serial(&serials, optarg))
				return bad_option("--serial=%s: no PATH=TEXT with an absolute path and 1 to 20 visible characters of ASCII",
						  optarg);
			cfg.serials = serials;
			break;
		case OPT_QUEUES:
			if (vg_parse_u64(optarg, 10, VG_BLK_QUEUES_MAX, &v) ||
			    !v)
				return bad_option("--queues=%s: not 1 to %u",
						  optarg, VG_BLK_QUEUES_MAX);
			cfg.nr_queues = (unsigned int)v;
			break;
		case OPT_UID_BASE:
			if (vg_parse_u64(optarg, 10,
					 UINT32_MAX - 2 * VG_SANDBOX_UIDS, &v) ||
			    v < VG_SANDBOX_UIDS)
				return bad_option("--uid-base=%s: not %u to %u",
						  optarg, VG_SANDBOX_UIDS,
						  UINT32_MAX - 2 * VG_SANDBOX_UIDS);
			sp.uid_base = (uid_t)v;
			break;
		case OPT_NO_SANDBOX:
			sp.is_confined = false;
			break;
		case OPT_CONFINE:	/* nor are these three */
			if (vg_parse_u64(optarg, 10, UINT32_MAX - 1, &v) || !v)
				return 2;
			start.uid = (uid_t)v;
			start.is_confined = true;
			break;
		case OPT_HANDLES:
			if (vg_parse_u64(optarg, 10, VG_MAPPER_EVTCHNS_MAX,
					 &v) || !v)
				return 2;
			start.nr_evtchns = (unsigned int)v;
			break;
		case OPT_RINGS:
			if (vg_parse_u64(optarg, 10, 512, &v))
				return 2;
			start.rings = (unsigned int)v;
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
	if (is_mapper || worker_for >= 0)
		vg_log_to_parent();
	if (is_mapper) {
		struct vg_mapper_start mapper = {
			.guest = (xen_domid_t)worker_for,
			.ctl_fd = VG_SOCK_FD,
			.rpc_fd = VG_RPC_FD,
			.arena_fd = VG_ARENA_FD,
			.gntdev_fd = VG_GNTDEV_FD,
			.first_evtchn_fd = VG_EVTCHN_FD,
			.nr_evtchns = start.nr_evtchns,
			.uid = start.uid,
		};

		return vg_mapper_main(&mapper);
	}
	if (worker_for >= 0) {
		start.guest = (xen_domid_t)worker_for;
		start.engine = cfg.engine;
		start.budget_pages = cfg.budget_pages;
		return vg_worker_main(&start);
	}
	cfg.spawn_arg = &sp;
	return run(&cfg, &sp, run_dir);
}
