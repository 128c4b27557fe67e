// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - virtio-grantctl(8): asks the daemons of this domain for their
 * status and statistics, and shows them to people or passes on the JSON; in the
 * control domain it is also the toolstack of devices on the Xen bus.  All but
 * status and statistics is in files of their own (commands.h).
 *
 * Both daemons answer on a socket in the run directory, grantd in the driver
 * domain, the broker in the control domain; a domain may have both.  In the
 * control domain what other domains refused to serve is read from xenstore,
 * too.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/answer.h"
#include "ctl/ask.h"
#include "ctl/commands.h"
#include "lib/daemon.h"
#include "lib/printable.h"
#include "lib/util.h"
#include "toolstack/bus_nodes.h"
#include "toolstack/refusals.h"

static void usage(FILE *f)
{
	fputs("Usage: " PROGRAM " [options] [command]\n"
	      "Shows the virtio devices that this domain serves or relays, and makes those on\n"
	      "the Xen bus; see " PROGRAM "(8).\n\n"
	      "  status               a line per device, and what failed lately\n"
	      "  stats                all counters\n"
	      "  resize DEVICE        its image has grown: the guest is told\n\n"
	      "In the control domain:\n"
	      "  attach [--no-wait] [--timeout=SECONDS] GUEST type=TYPE [backend=DOMAIN]\n"
	      "         [name=NAME] [KEY=VALUE...]\n"
	      "  detach [--force] [--timeout=SECONDS] GUEST NAME\n"
	      "  list [GUEST]         devices on the Xen bus, and how they are\n"
	      "  resize GUEST NAME    as above, of one of these\n"
	      "  create [--timeout=SECONDS] CFG [options of xl create]\n"
	      "                       with the devices of virtio_grant = [ \"...\", ] in CFG\n"
	      "  watch [--forget=SECONDS] [--verbose]\n"
	      "                       a daemon: domains that come back find their devices\n\n"
	      "  -j, --json           JSON: {\"grantd\": ..., \"broker\": ..., \"refused\": [...]}, or\n"
	      "                       {\"result\": ..., \"error\": ..., \"status\": N} of other commands\n"
	      "  -r, --run-dir=DIR    where the sockets are (/run/virtio-grant)\n"
	      "  -h, --help           this text\n"
	      "  -V, --version        the version\n", f);
}

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ?
	       json_object_get_string(v) : "";
}

static uint64_t num(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ?
	       json_object_get_uint64(v) : 0;
}

static struct json_object *sub(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static void print_failures(struct json_object *root)
{
	struct json_object *f = sub(root, "failures");
	size_t i, n = f ? json_object_array_length(f) : 0;

	for (i = 0; i < n; i++)
		printf("  failed: %s\n", json_object_get_string(
			       json_object_array_get_idx(f, i)));
}

/* "broken: address (no-grant 1)": the reason and, if it is memory, why. */
static void print_broken(struct json_object *stats)
{
	struct json_object *mem = sub(stats, "mem");
	struct json_object *faults = mem ? sub(mem, "faults") : NULL;
	const char *why = str(stats, "broken");

	if (!*why)
		return;
	printf("  NEEDS RESET: %s", why);
	if (faults) {
		json_object_object_foreach(faults, key, val) {
			if (json_object_get_uint64(val))
				printf(" (%s: %llu)", key, (unsigned long long)
				       json_object_get_uint64(val));
		}
	}
	putchar('\n');
}

/* What an operator should see, in the words of the device's type. */
static void print_notes(struct json_object *dev)
{
	struct json_object *notes = sub(dev, "notes");
	size_t i, n = notes ? json_object_array_length(notes) : 0;

	for (i = 0; i < n; i++)
		printf("  %s\n", json_object_get_string(
			       json_object_array_get_idx(notes, i)));
}

static void print_grantd(struct json_object *root)
{
	struct json_object *devs = sub(root, "devices"), *d, *st;
	size_t i, n = devs ? json_object_array_length(devs) : 0;

	printf("%s in domain %llu: %zu device(s)%s\n", str(root, "program"),
	       (unsigned long long)num(root, "domain"), n,
	       num(root, "sandbox") ? ", workers confined" :
	       ", workers NOT confined");
	for (i = 0; i < n; i++) {
		d = json_object_array_get_idx(devs, i);
		st = sub(d, "stats");
		printf("  %s: %s, %s", str(d, "device"), str(d, "state"),
		       str(d, "summary"));
		if (st)
			printf(", %llu requests, %llu pages mapped now (%llu at most)",
			       (unsigned long long)num(st, "requests"),
			       (unsigned long long)num(sub(st, "mem"),
						       "mapped_pages_now"),
			       (unsigned long long)num(sub(st, "mem"),
						       "mapped_pages_max"));
		if (num(st, "takeovers"))
			printf(", taken over %llu times (%llu requests executed again)",
			       (unsigned long long)num(st, "takeovers"),
			       (unsigned long long)num(st, "redone"));
		putchar('\n');
		if (*str(d, "waits_for"))
			printf("    waits: %s\n", str(d, "waits_for"));
		if (st)
			print_broken(st);
		print_notes(d);
	}
	print_failures(root);
}

static void add_refusal(void *list, xen_domid_t domid, const char *text)
{
	char line[600];

	snprintf(line, sizeof(line), "dom%u: %s", domid, text);
	json_object_array_add(list, json_object_new_string(line));
}

/* What other domains did not serve, and why; empty where that can't be read. */
static struct json_object *refusals(void)
{
	struct json_object *list = json_object_new_array();
	struct xen_store *xs;
	xen_domid_t own;

	if (xen_store_open(&xs))
		return list;
	if (!xen_store_own_domid(xs, &own))
		vg_refusals_read(xs, own, add_refusal, list);
	xen_store_close(xs);
	return list;
}

static void print_refusals(struct json_object *list)
{
	size_t i, n = json_object_array_length(list);

	for (i = 0; i < n; i++)
		printf("  refused by %s\n", json_object_get_string(
			       json_object_array_get_idx(list, i)));
}

static void print_broker(struct json_object *root)
{
	struct json_object *devs = sub(root, "devices"), *d;
	size_t i, n = devs ? json_object_array_length(devs) : 0;

	printf("virtio-grant-broker: %zu device(s)\n", n);
	for (i = 0; i < n; i++) {
		d = json_object_array_get_idx(devs, i);
		printf("  %s: backend in domain %llu %s, window 0x%llx, SPI %llu, %llu traps, %llu interrupts",
		       str(d, "device"),
		       (unsigned long long)num(d, "backend_domain"),
		       str(d, "backend"), (unsigned long long)num(d, "base"),
		       (unsigned long long)num(d, "irq"),
		       (unsigned long long)num(d, "traps"),
		       (unsigned long long)num(d, "irqs"));
		if (num(d, "timeouts"))
			printf(", %llu accesses not answered in time",
			       (unsigned long long)num(d, "timeouts"));
		if (num(d, "bad_answers"))
			printf(", %llu answers that nobody waited for",
			       (unsigned long long)num(d, "bad_answers"));
		if (num(d, "process_deaths"))
			printf(", the guest's process ended %llu times",
			       (unsigned long long)num(d, "process_deaths"));
		putchar('\n');
	}
	print_failures(root);
}

/* Every number below @o, as "path.key value". */
static void print_flat(const char *prefix, struct json_object *o)
{
	char path[256];

	json_object_object_foreach(o, key, val) {
		snprintf(path, sizeof(path), "%s.%s", prefix, key);
		if (json_object_is_type(val, json_type_object))
			print_flat(path, val);
		else if (json_object_is_type(val, json_type_int))
			printf("%s %llu\n", path, (unsigned long long)
			       json_object_get_uint64(val));
	}
}

static void print_stats(const char *program, struct json_object *root)
{
	struct json_object *devs = sub(root, "devices"), *d;
	size_t i, n = devs ? json_object_array_length(devs) : 0;
	char prefix[128];

	for (i = 0; i < n; i++) {
		d = json_object_array_get_idx(devs, i);
		snprintf(prefix, sizeof(prefix), "%s %s", program,
			 str(d, "device"));
		print_flat(prefix, d);
	}
}

static void print_all_stats(struct json_object *grantd,
			    struct json_object *broker)
{
	if (grantd)
		print_stats("grantd", grantd);
	if (broker)
		print_stats("broker", broker);
}

static void print_status(struct json_object *grantd, struct json_object *broker)
{
	if (grantd)
		print_grantd(grantd);
	if (broker) {
		struct json_object *list = refusals();

		print_broker(broker);
		print_refusals(list);
		json_object_put(list);
	}
}

static void print_json(struct json_object *grantd, struct json_object *broker)
{
	struct json_object *both = json_object_new_object();

	json_object_object_add(both, "grantd", json_object_get(grantd));
	json_object_object_add(both, "broker", json_object_get(broker));
	json_object_object_add(both, "refused", broker ? refusals() :
			       json_object_new_array());
	puts(json_object_to_json_string_ext(both, JSON_C_TO_STRING_PRETTY));
	json_object_put(both);
}

/*
 * Workers, guests, backends and xenstore have a hand in what is shown, and it
 * goes to a terminal: collected first, then made printable as a whole, names of
 * counters and all.
 */
struct output {
	FILE *real;
	char *text;
	size_t bytes;
};

static void open_output(struct output *o)
{
	o->real = stdout;
	stdout = open_memstream(&o->text, &o->bytes);
	if (stdout)
		return;
	perror(PROGRAM);
	exit(1);
}

static int close_output(struct output *o)
{
	int err = fclose(stdout);

	stdout = o->real;
	if (!err) {
		vg_printable(o->text, "\n");
		err = fputs(o->text, stdout) < 0 || fflush(stdout);
	}
	if (err)
		perror(PROGRAM);
	free(o->text);
	return err;
}

/* ---- the command line --------------------------------------------------- */

struct settings {
	bool json;
	const char *run_dir;
};

/* @letters: with '+' before them, up to the command.  -1, or an exit status. */
static int take_options(struct settings *st, int argc, char **argv,
			const char *letters)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		switch (c) {
		case 'j':
			st->json = true;
			break;
		case 'r':
			st->run_dir = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts(PROGRAM " " VG_VERSION);
			return 0;
		default:
			usage(stderr);
			return VG_EXIT_USAGE;
		}
	}
	return -1;
}

static const struct {
	const char *name;
	void (*run)(struct vg_answer *a, int argc, char **argv);
} commands[] = {
	{ "attach", vg_ctl_attach },
	{ "detach", vg_ctl_detach },
	{ "list", vg_ctl_list },
	{ "create", vg_ctl_create },
	{ "resize", vg_ctl_resize },
	{ "watch", vg_ctl_watch },
};

/* Also of a command line that is wrong before or behind it. */
static bool asks_for_json(int argc, char **argv)
{
	int i;

	/* Behind its file, create's words are xl's. */
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			return true;
		if (argv[i][0] != '-' && !strcmp(argv[0], "create"))
			break;
	}
	return false;
}

/* -1: it is none of them. */
static int run_command(const struct settings *st, int argc, char **argv)
{
	struct vg_answer a = { .is_json = st->json };
	unsigned int i;
	int status;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, argv[0]))
			break;
	if (i == ARRAY_SIZE(commands))
		return -1;
	a.is_json |= asks_for_json(argc, argv);
	vg_ctl_run_dir = st->run_dir;
	/* The daemon has its own ways. */
	if (commands[i].run != vg_ctl_watch)
		vg_session_catch_signals();
	commands[i].run(&a, argc, argv);
	status = vg_answer_print(&a, stdout, stderr);
	vg_answer_free(&a);
	return status;
}

static int show(const struct settings *st, const char *what)
{
	struct json_object *grantd, *broker;
	int err_grantd, err_broker;
	struct output o;

	grantd = vg_ctl_ask(st->run_dir, "grantd.sock", "status\n", &err_grantd);
	broker = vg_ctl_ask(st->run_dir, "broker.sock", "status\n", &err_broker);
	if (err_grantd)
		fprintf(stderr, PROGRAM ": virtio-grantd: %s\n",
			strerror(-err_grantd));
	if (err_broker)
		fprintf(stderr, PROGRAM ": virtio-grant-broker: %s\n",
			strerror(-err_broker));
	if (!grantd && !broker) {
		if (!err_grantd && !err_broker)
			fprintf(stderr, PROGRAM ": neither virtio-grantd nor virtio-grant-broker runs in this domain (%s)\n",
				st->run_dir);
		return 1;
	}
	open_output(&o);
	if (st->json)
		print_json(grantd, broker);
	else if (!strcmp(what, "stats"))
		print_all_stats(grantd, broker);
	else
		print_status(grantd, broker);
	json_object_put(grantd);
	json_object_put(broker);
	return close_output(&o) ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct settings st = { .run_dir = "/run/virtio-grant" };
	const char *what = "status";
	int status = take_options(&st, argc, argv, "+jr:hV"), at = optind;

	vg_bus_devid_first = vg_bus_devid_now;
	if (status < 0 && at < argc)
		status = run_command(&st, argc - at, argv + at);
	/* Options may stand behind these commands, too. */
	if (status < 0)
		status = take_options(&st, argc, argv, "jr:hV");
	if (status >= 0)
		return status;
	if (optind < argc)
		what = argv[optind++];
	if (optind < argc || (strcmp(what, "status") && strcmp(what, "stats"))) {
		usage(stderr);
		return VG_EXIT_USAGE;
	}
	return show(&st, what);
}
