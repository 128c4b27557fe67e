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

#include "dev/type.h"
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
#include "mem/grants.h"

static enum vg_log_level log_level = VG_LOG_INFO;
static const char *memory_mode;	/* virtio-foreignd's --memory */
/* Those of the device types, as they were given: for workers, too. */
static char **type_args;
static unsigned int nr_type_args;

/* More threads than CPUs serve nobody. */
static unsigned int default_queues(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 4 ? 4 : (unsigned int)n;
}

/* ---- options ------------------------------------------------------------ */

enum {
	OPT_MEMORY = 256, OPT_ONLY, OPT_UID_BASE, OPT_NO_SANDBOX, OPT_QUEUES,
	OPT_COPY_MAX,
	/* Not for people: the same program as a worker or a mapper, spawn.c. */
	OPT_WORKER, OPT_MAPPER, OPT_CONFINE, OPT_HANDLES,
	/* And on, one for each option of a device type. */
	OPT_TYPES,
};

static const struct option own_options[] = {
	{ "queue-size", required_argument, NULL, 'q' },
	{ "map-budget", required_argument, NULL, 'm' },
	{ "poll", required_argument, NULL, 'p' },
	{ "run-dir", required_argument, NULL, 'r' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "only", required_argument, NULL, OPT_ONLY },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "copy-max", required_argument, NULL, OPT_COPY_MAX },
	{ "uid-base", required_argument, NULL, OPT_UID_BASE },
	{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
	{ "worker", required_argument, NULL, OPT_WORKER },
	{ "mapper", required_argument, NULL, OPT_MAPPER },
	{ "confine", required_argument, NULL, OPT_CONFINE },
	{ "handles", required_argument, NULL, OPT_HANDLES },
};

#define TYPE_OPTIONS_MAX	64u

/* Everything that options say, of whichever of the three processes. */
struct settings {
	struct vg_supervisor_config cfg;
	struct vg_spawn spawn;
	struct vg_worker_start start;
	const char *run_dir;
	int child_of;			/* domain; -1: the daemon itself */
	bool is_mapper;
	/* For getopt_long(3), with those of the types. */
	struct option options[ARRAY_SIZE(own_options) + TYPE_OPTIONS_MAX + 1];
	char letters[TYPE_OPTIONS_MAX * 2 + 16];
	const struct vg_dev_option *type_options[TYPE_OPTIONS_MAX];
	unsigned int nr_type_options;
};

static void options_collect(struct settings *st)
{
	unsigned int i, n = ARRAY_SIZE(own_options);
	const struct vg_dev_option *o;
	char *letter = stpcpy(st->letters, "q:m:p:r:vhV");

	memcpy(st->options, own_options, sizeof(own_options));
	for (i = 0; i < vg_nr_dev_types; i++) {
		for (o = vg_dev_types[i]->options; o && o->name; o++) {
			if (st->nr_type_options == TYPE_OPTIONS_MAX)
				abort();
			st->options[n++] = (struct option){
				o->name, required_argument, NULL,
				OPT_TYPES + (int)st->nr_type_options
			};
			st->type_options[st->nr_type_options++] = o;
			if (o->letter) {
				*letter++ = o->letter;
				*letter++ = ':';
			}
		}
	}
	*letter = 0;
}

static void usage_types(FILE *f, const struct settings *st)
{
	unsigned int i;

	for (i = 0; i < st->nr_type_options; i++) {
		const struct vg_dev_option *o = st->type_options[i];
		char *name = vg_strf("%s=%s", o->name, o->arg);

		if (o->letter)
			fprintf(f, "  -%c, ", o->letter);
		else
			fputs("      ", f);
		fprintf(f, "--%-26s %s\n", name, o->help);
		free(name);
	}
}

static void usage(FILE *f, const struct settings *st)
{
	fprintf(f, "Usage: %s [options]\n", vg_program.name);
	if (vg_program.set_memory)
		fputs("Serves virtio devices with grant_usage=0 by foreign mapping, for comparison.\n\n"
		      "      --memory=dynamic|static   map per request (dynamic), or the whole guest\n", f);
	else
		fputs("Serves virtio devices to Xen guests through grants; see virtio-grantd(8).\n\n", f);
	fputs("  -q, --queue-size=N            descriptors per queue, a power of two (512)\n"
	      "      --copy-max=BYTES          copy, not map, requests up to this size (any)\n"
	      "      --queues=N                queues per device (as many as CPUs, at most 4)\n"
	      "  -m, --map-budget=MIB          guest memory mapped at once, per device (32)\n"
	      "  -p, --poll=US                 look at a ring for so long before sleeping (1000;\n"
	      "                                2000 for guests without event channels)\n"
	      "      --only=NAME,...           these devices (\"xvda,xvdb\") and no others\n"
	      "      --uid-base=N              workers run as users N, N + 1, ... (1900000000)\n"
	      "      --no-sandbox              workers run as this user, without confinement\n"
	      "  -r, --run-dir=DIR             pid file and socket (/run/virtio-grant)\n"
	      "  -v, --verbose                 say more\n"
	      "  -h, --help                    this text\n"
	      "  -V, --version                 the version\n\n", f);
	usage_types(f, st);
}

static int __attribute__((format(printf, 1, 2)))
bad_option(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", vg_program.name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 2;
}

/* An option of a device type: 0, or 2 and it is said why not. */
static int type_option(const struct vg_dev_option *o, const char *arg)
{
	const char *why = o->parse(arg);

	if (why)
		return bad_option("--%s=%s: %s", o->name, arg, why);
	type_args = realloc(type_args, (nr_type_args + 1) * sizeof(*type_args));
	if (!type_args)
		abort();
	type_args[nr_type_args++] = vg_strf("--%s=%s", o->name, arg);
	return 0;
}

static int set_queue_size(struct settings *st, const char *arg)
{
	uint64_t v;

	if (vg_parse_u64(arg, 10, VG_INFLIGHT_HEADS_MAX, &v) || v < 2 ||
	    (v & (v - 1)))
		return bad_option("--queue-size=%s: no power of two from 2 to %u",
				  arg, VG_INFLIGHT_HEADS_MAX);
	st->cfg.queue_size_max = (unsigned int)v;
	return 0;
}

static int set_budget(struct settings *st, const char *arg)
{
	uint64_t v;

	if (vg_parse_u64(arg, 10, 1024, &v) || v < 2)
		return bad_option("--map-budget=%s: not 2 to 1024 MiB", arg);
	st->cfg.budget_pages = (unsigned int)(v << 20 >> VG_MEM_PAGE_SHIFT);
	return 0;
}

static int set_poll(struct settings *st, const char *arg)
{
	uint64_t v;

	if (vg_parse_u64(arg, 10, 10000, &v))
		return bad_option("--poll=%s: not 0 to 10000 microseconds", arg);
	st->cfg.poll_max_ns = v * 1000;
	st->cfg.poll_unbound_max_ns = v * 1000;
	return 0;
}

static int set_copy_max(struct settings *st, const char *arg)
{
	uint64_t v;

	if (vg_parse_u64(arg, 10, UINT32_MAX, &v))
		return bad_option("--copy-max=%s: no number of bytes", arg);
	st->cfg.copy_max_bytes = (uint32_t)v;
	return 0;
}

static int set_queues(struct settings *st, const char *arg)
{
	uint64_t v;

	if (vg_parse_u64(arg, 10, VG_WORKER_LANES_MAX, &v) || !v)
		return bad_option("--queues=%s: not 1 to %u", arg,
				  VG_WORKER_LANES_MAX);
	st->cfg.nr_queues = (unsigned int)v;
	return 0;
}

static int set_uid_base(struct settings *st, const char *arg)
{
	const unsigned int most = UINT32_MAX - 2 * VG_SANDBOX_UIDS;
	uint64_t v;

	if (vg_parse_u64(arg, 10, most, &v) || v < VG_SANDBOX_UIDS)
		return bad_option("--uid-base=%s: not %u to %u", arg,
				  VG_SANDBOX_UIDS, most);
	st->spawn.uid_base = (uid_t)v;
	return 0;
}

/* What spawn.c passes: 0, or 2. */
static int hidden_option(struct settings *st, int c, const char *arg)
{
	uint64_t v;

	switch (c) {
	case OPT_MAPPER:
	case OPT_WORKER:
		if (vg_parse_u64(arg, 10, XEN_DOMID_MAX, &v))
			return 2;
		st->is_mapper = c == OPT_MAPPER;
		st->child_of = (int)v;
		return 0;
	case OPT_CONFINE:
		if (vg_parse_u64(arg, 10, UINT32_MAX - 1, &v) || !v)
			return 2;
		st->start.uid = (uid_t)v;
		st->start.is_confined = true;
		return 0;
	case OPT_HANDLES:
		if (vg_parse_u64(arg, 10, VG_MAPPER_EVTCHNS_MAX, &v) || !v)
			return 2;
		st->start.nr_evtchns = (unsigned int)v;
		return 0;
	}
	return 2;
}

static const struct vg_dev_option *letter_option(const struct settings *st,
						 int c)
{
	unsigned int i;

	for (i = 0; i < st->nr_type_options; i++)
		if (st->type_options[i]->letter == c)
			return st->type_options[i];
	return NULL;
}

static int one_option(struct settings *st, int c)
{
	const struct vg_dev_option *o = letter_option(st, c);

	if (c >= OPT_TYPES)
		o = st->type_options[c - OPT_TYPES];
	if (o)
		return type_option(o, optarg);
	switch (c) {
	case 'q':
		return set_queue_size(st, optarg);
	case 'm':
		return set_budget(st, optarg);
	case 'p':
		return set_poll(st, optarg);
	case OPT_COPY_MAX:
		return set_copy_max(st, optarg);
	case OPT_QUEUES:
		return set_queues(st, optarg);
	case OPT_UID_BASE:
		return set_uid_base(st, optarg);
	case 'r':
		st->run_dir = optarg;
		return 0;
	case 'v':
		log_level = VG_LOG_DEBUG;
		return 0;
	case OPT_MEMORY:
		memory_mode = optarg;
		return 0;
	case OPT_ONLY:
		st->cfg.only = optarg;
		return 0;
	case OPT_NO_SANDBOX:
		st->spawn.is_confined = false;
		return 0;
	case OPT_WORKER:
	case OPT_MAPPER:
	case OPT_CONFINE:
	case OPT_HANDLES:
		return hidden_option(st, c, optarg);
	}
	usage(stderr, st);
	return 2;
}

static int check_memory(void)
{
	if (!vg_program.set_memory)
		return memory_mode ?
		       bad_option("--memory is virtio-foreignd's") : 0;
	if (!memory_mode)
		memory_mode = "dynamic";
	if (!vg_program.set_memory(memory_mode))
		return bad_option("--memory=%s: none of dynamic, static",
				  memory_mode);
	return 0;
}

/* 0: go on; -1: it is done, and well; else the exit status. */
static int options_read(struct settings *st, int argc, char **argv)
{
	int c, err = 0;

	options_collect(st);
	while (!err && (c = getopt_long(argc, argv, st->letters, st->options,
					NULL)) != -1) {
		if (c == 'h') {
			usage(stdout, st);
			return -1;
		}
		if (c == 'V') {
			printf("%s %s\n", vg_program.name, VG_VERSION);
			return -1;
		}
		err = one_option(st, c);
	}
	if (!err)
		err = check_memory();
	if (!err && optind < argc)
		err = bad_option("%s: no argument is expected", argv[optind]);
	return err;
}

/* ---- the three processes ------------------------------------------------ */

/*
 * What every worker is started with.  Never freed: for the life of the process.
 */
static const char **worker_args(const struct vg_supervisor_config *cfg)
{
	const char **args = vg_calloc(nr_type_args + 6, sizeof(*args));
	unsigned int i, n = 0;

	args[n++] = vg_program.name;
	args[n++] = vg_strf("--map-budget=%u",
			    cfg->budget_pages >> (20 - VG_MEM_PAGE_SHIFT));
	args[n++] = vg_strf("--queues=%u", cfg->nr_queues);
	for (i = 0; i < nr_type_args; i++)
		args[n++] = type_args[i];
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
		cfg->permit = vg_spawn_permit;
		cfg->allow_file = vg_spawn_allow_file;
		cfg->worker_ended = vg_spawn_ended;
		sp->nr_evtchns = 1 + (cfg->nr_queues > 1 ?
				      VG_WORKER_LANES_MAX : 0);
	}
	sp->args = worker_args(cfg);
	cfg->run_dir = run_dir;
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

static int run_mapper(const struct settings *st)
{
	const struct vg_mapper_start mapper = {
		.guest = (xen_domid_t)st->child_of,
		.ctl_fd = VG_SOCK_FD,
		.rpc_fd = VG_RPC_FD,
		.arena_fd = VG_ARENA_FD,
		.gntdev_fd = VG_GNTDEV_FD,
		.first_evtchn_fd = VG_EVTCHN_FD,
		.nr_evtchns = st->start.nr_evtchns,
		.uid = st->start.uid,
	};

	return vg_mapper_main(&mapper);
}

static int run_worker(struct settings *st)
{
	st->start.guest = (xen_domid_t)st->child_of;
	st->start.nr_queues = st->cfg.nr_queues;
	st->start.budget_pages = st->cfg.budget_pages;
	return vg_worker_main(&st->start);
}

int main(int argc, char **argv)
{
	static struct settings st = {
		.cfg = {
			.queue_size_max = VG_QUEUE_SIZE_MAX_DEFAULT,
			.budget_pages = VG_BUDGET_PAGES_DEFAULT,
			.copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT,
			.poll_max_ns = 1000000,
			.poll_unbound_max_ns = 2000000,
			.spawn = vg_spawn_worker,
		},
		.spawn.uid_base = VG_SANDBOX_UID_BASE,
		.start = {
			.sock = VG_SOCK_FD,
			.shared_fd = VG_SHARED_FD,
			.rpc_fd = VG_RPC_FD,
			.arena_fd = VG_ARENA_FD,
			.gntdev_fd = VG_GNTDEV_FD,
			.first_evtchn_fd = VG_EVTCHN_FD,
			.nr_evtchns = 1,
		},
		.run_dir = "/run/virtio-grant",
		.child_of = -1,
	};
	int err;

	st.cfg.nr_queues = default_queues();
	st.cfg.is_foreign = vg_program.set_memory;
	/* Foreign mapping needs /dev/xen/privcmd at any moment. */
	st.spawn.is_confined = !vg_program.set_memory;
	err = options_read(&st, argc, argv);
	if (err)
		return max_u(err, 0);
	vg_log_init(vg_program.name, log_level);
	if (st.child_of < 0) {
		st.cfg.spawn_arg = &st.spawn;
		return run(&st.cfg, &st.spawn, st.run_dir);
	}
	vg_log_to_parent();
	return st.is_mapper ? run_mapper(&st) : run_worker(&st);
}
