// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_store.c - xenstore: every node there is, and floods.
 *
 * The list of nodes is dom0's, so that nothing is spared because the attacker
 * did not find it.  Nodes of its own it leaves alone: these are its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <xenstore.h>

#include "attack.h"

#define NODES_MAX	4096u

static char *node[NODES_MAX];
static unsigned int nr_nodes;
static char own_path[64];

static bool is_own(const char *path)
{
	size_t n = strlen(own_path);

	return !strncmp(path, own_path, n) && (!path[n] || path[n] == '/');
}

/* Objects are the lines of the list, from 1. */
static void read_list(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[512];

	if (!f) {
		perror(path);
		exit(2);
	}
	while (nr_nodes < NODES_MAX && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		node[nr_nodes++] = strdup(line);
	}
	fclose(f);
}

static struct xs_handle *open_store(void)
{
	struct xs_handle *xs = xs_open(0);

	if (!xs) {
		perror("xenstore");
		exit(2);
	}
	return xs;
}

/* Who a node belongs to, as far as its path says. */
static const char *owner_of(const char *path)
{
	static char prefix[64];

	for (unsigned int i = 0; i < nr_targets; i++) {
		static const char *const roots[] = {
			"/local/domain/%u", "/libxl/%u",
		};

		for (unsigned int k = 0; k < 2; k++) {
			int n = snprintf(prefix, sizeof(prefix), roots[k],
					 targets[i].domid);

			if (!strncmp(path, prefix, (size_t)n) &&
			    (!path[n] || path[n] == '/'))
				return targets[i].role;
		}
	}
	return "others";
}

static void each_node(struct xs_handle *xs, const char *role)
{
	static const char *const verbs[] = {
		"store.read", "store.list", "store.write", "store.mkdir",
		"store.set_permissions", "store.remove",
	};
	struct xs_permissions perms[2] = {
		{ .id = own_domid, .perms = XS_PERM_NONE },
		{ .id = own_domid, .perms = XS_PERM_READ | XS_PERM_WRITE },
	};
	struct target t = { .role = role };

	for (unsigned int verb = 0; verb < 6; verb++) {
		struct attempt *a = attempt_begin(verbs[verb], &t);

		for (unsigned int i = 0; i < nr_nodes; i++) {
			unsigned int len = 0, nr = 0;
			char child[600], **list;
			void *value = NULL;
			bool ok = false;

			if (is_own(node[i]) || strcmp(owner_of(node[i]), role))
				continue;
			errno = 0;
			switch (verb) {
			case 0:
				value = xs_read(xs, XBT_NULL, node[i], &len);
				ok = value;
				if (value)
					attempt_search(a, i + 1, value, len);
				free(value);
				break;
			case 1:
				list = xs_directory(xs, XBT_NULL, node[i], &nr);
				ok = list;
				free(list);
				break;
			case 2:
				ok = xs_write(xs, XBT_NULL, node[i], "666", 3);
				break;
			case 3:
				snprintf(child, sizeof(child), "%s/vg-attack",
					 strcmp(node[i], "/") ? node[i] : "");
				ok = xs_mkdir(xs, XBT_NULL, child);
				break;
			case 4:
				ok = xs_set_permissions(xs, XBT_NULL, node[i],
							perms, 2);
				break;
			case 5:
				ok = xs_rm(xs, XBT_NULL, node[i]);
				break;
			}
			attempt_errno(a, i + 1, ok ? 0 : errno ? -errno : -EIO);
		}
		attempt_end(a);
	}
}

static void commands(struct xs_handle *xs)
{
	struct target store = { .role = "xenstored" };
	struct attempt *a = attempt_begin("store.command", &store);
	char *text;

	for (unsigned int i = 0; i < nr_targets; i++) {
		unsigned int domid = targets[i].domid;

		errno = 0;
		attempt_errno(a, 1, xs_introduce_domain(xs, domid, 0x39000, 1) ?
			      0 : -errno);
		attempt_errno(a, 2, xs_release_domain(xs, domid) ? 0 : -errno);
		attempt_errno(a, 3, xs_resume_domain(xs, domid) ? 0 : -errno);
		attempt_errno(a, 4, xs_set_target(xs, own_domid, domid) ?
			      0 : -errno);
		attempt_errno(a, 5, xs_set_target(xs, domid, own_domid) ?
			      0 : -errno);
	}
	static const char *const orders[] = {
		"print", "log", "memreport", "quota", "logfile", "check",
		"live-update",
	};
	for (unsigned int i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		char order[32] = "";

		snprintf(order, sizeof(order), "%s", orders[i]);
		errno = 0;
		text = xs_control_command(xs, order, NULL, 0);
		attempt_errno(a, 10 + i, text && strcmp(text, "EACCES") ? 0 :
			      errno ? -errno : -EACCES);
		free(text);
	}
	attempt_end(a);
}

static unsigned int line_of(const char *path)
{
	for (unsigned int i = 0; i < nr_nodes; i++)
		if (!strcmp(node[i], path))
			return i + 1;
	return 0;
}

/*
 * Events of watches on everything, for some seconds, in which the test changes
 * a node "vg-poke" below each target's and dom0's.
 */
static void watches(struct xs_handle *xs, unsigned int seconds)
{
	static const struct target everyone = { .role = "everyone" };
	struct attempt *a = attempt_begin("store.watch_event", &everyone);
	static const char *const paths[] = {
		"/", "/local/domain", "/libxl", "/vm", "@introduceDomain",
		"@releaseDomain", "/local/domain/0",
	};
	struct pollfd pfd = { .fd = xs_fileno(xs), .events = POLLIN };
	time_t end = time(NULL) + (time_t)seconds;
	unsigned int nr, events = 0;
	char path[64], **event;

	for (unsigned int i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!xs_watch(xs, paths[i], paths[i]))
			attempt_errno(a, 0, -errno);
	for (unsigned int i = 0; i < nr_targets; i++) {
		snprintf(path, sizeof(path), "/local/domain/%u",
			 targets[i].domid);
		if (!xs_watch(xs, path, path))
			attempt_errno(a, 0, -errno);
	}
	while (time(NULL) < end) {
		if (poll(&pfd, 1, 200) <= 0)
			continue;
		event = xs_read_watch(xs, &nr);
		if (!event)
			continue;
		/*
		 * When a watch is set, it fires once, with its own path; that
		 * says nothing.  Nor is news of one's own nodes of interest.
		 */
		if (strcmp(event[XS_WATCH_PATH], event[XS_WATCH_TOKEN]) &&
		    !is_own(event[XS_WATCH_PATH])) {
			attempt_allowed(a, line_of(event[XS_WATCH_PATH]));
			events++;
		}
		free(event);
	}
	if (!events)
		attempt_refused(a, "silence");
	attempt_end(a);
}

void attack_store(const char *list)
{
	struct xs_handle *xs = open_store();

	snprintf(own_path, sizeof(own_path), "/local/domain/%u", own_domid);
	read_list(list);
	for (unsigned int i = 0; i < nr_targets; i++)
		each_node(xs, targets[i].role);
	each_node(xs, "others");
	commands(xs);
	watches(xs, 5);
	xs_close(xs);
}

static struct attempt *unfinished;

/* libxenstore can wait for ever when a watch was refused. */
static void stuck(int sig)
{
	(void)sig;
	attempt_refused(unfinished, "stuck");
	attempt_end(unfinished);
	_exit(0);
}

/* Until xenstored says that it is enough; what it gave is given back. */
void attack_floods(void)
{
	static const struct target store = { .role = "xenstored" };
	struct xs_handle *xs = open_store();
	char path[128], token[32], value[1024];
	xs_transaction_t t[64];
	struct attempt *a;
	/* xenstored slows down those who write too much. */
	time_t end = time(NULL) + 20;
	unsigned int nr;
	bool ok;

	a = attempt_begin("store.flood_nodes", &store);
	memset(value, 'x', sizeof(value));
	for (nr = 0; nr < 20000 && time(NULL) < end; nr++) {
		snprintf(path, sizeof(path), "/local/domain/%u/data/flood/%u",
			 own_domid, nr);
		ok = xs_write(xs, XBT_NULL, path, value, sizeof(value));
		attempt_errno(a, nr, ok ? 0 : -errno);
		if (!ok && a->made - a->allowed > 20)
			break;
	}
	attempt_end(a);
	snprintf(path, sizeof(path), "/local/domain/%u/data/flood", own_domid);
	xs_rm(xs, XBT_NULL, path);

	a = attempt_begin("store.flood_transactions", &store);
	for (nr = 0; nr < 64; nr++) {
		t[nr] = xs_transaction_start(xs);
		attempt_errno(a, nr, t[nr] ? 0 : -errno);
	}
	attempt_end(a);
	for (nr = 0; nr < 64; nr++)
		if (t[nr])
			xs_transaction_end(xs, t[nr], true);

	a = attempt_begin("store.flood_requests", &store);
	for (end = time(NULL) + 3; time(NULL) < end;) {
		snprintf(path, sizeof(path), "/local/domain/%u/data", own_domid);
		free(xs_read(xs, XBT_NULL, path, &nr));
		attempt_errno(a, 0, 0);
	}
	attempt_end(a);

	a = attempt_begin("store.flood_watches", &store);
	unfinished = a;
	signal(SIGALRM, stuck);
	alarm(10);
	for (nr = 0; nr < 5000; nr++) {
		snprintf(token, sizeof(token), "%u", nr);
		ok = xs_watch(xs, "/local", token);
		attempt_errno(a, nr, ok ? 0 : -errno);
		if (!ok && a->made - a->allowed > 20)
			break;
	}
	alarm(0);
	attempt_end(a);
}
