// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broker_main.c - virtio-grant-broker(8): options, signals, the loop.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "broker_guest.h"
#include "ctl_server.h"
#include "daemon.h"
#include "log.h"
#include "util.h"

#define PROGRAM "virtio-grant-broker"

static void usage(FILE *f)
{
	fputs("Usage: " PROGRAM " [options]\n"
	      "Relays the register accesses of Xen guests' virtio devices to their backends.\n"
	      "Runs in the control domain; see " PROGRAM "(8).\n\n"
	      "  -t, --answer-timeout=MS  how long a vCPU may wait for a backend (1000)\n"
	      "  -r, --run-dir=DIR        pid file, socket, state (/run/virtio-grant)\n"
	      "      --foreign            also devices with grant_usage=0, whose backend\n"
	      "                           maps the guest's memory (for the comparison only)\n"
	      "  -v, --verbose            say more\n"
	      "  -h, --help               this text\n"
	      "  -V, --version            the version\n", f);
}

int main(int argc, char **argv)
{
	enum { OPT_FOREIGN = 256 };
	static const struct option options[] = {
		{ "answer-timeout", required_argument, NULL, 't' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "foreign", no_argument, NULL, OPT_FOREIGN },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct vg_broker_config cfg = {
		.answer_timeout_ns = VG_BROKER_ANSWER_TIMEOUT_NS,
		.run_dir = "/run/virtio-grant",
	};
	enum vg_log_level level = VG_LOG_INFO;
	struct vg_ctl_server *ctl = NULL;
	struct vg_broker *broker;
	struct vg_loop *loop;
	uint64_t ms;
	char *sock;
	int c, err;

	while ((c = getopt_long(argc, argv, "t:r:vhV", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (vg_parse_u64(optarg, 10, 600000, &ms) || !ms) {
				fprintf(stderr, PROGRAM ": --answer-timeout=%s: not 1 to 600000 ms\n",
					optarg);
				return 2;
			}
			cfg.answer_timeout_ns = ms * 1000000;
			break;
		case 'r':
			cfg.run_dir = optarg;
			break;
		case 'v':
			level = VG_LOG_DEBUG;
			break;
		case OPT_FOREIGN:	/* make compare: docs/comparison.md */
			cfg.serves_foreign = true;
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
	vg_log_init(PROGRAM, level);
	if (vg_daemon_run_dir(cfg.run_dir) ||
	    vg_daemon_only_one(cfg.run_dir, PROGRAM))
		return 1;
	err = vg_loop_create(&loop);
	if (!err)
		err = vg_daemon_signals(loop);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		return 1;
	}
	if (vg_broker_create(&cfg, loop, &broker))
		return 1;
	sock = vg_strf("%s/broker.sock", cfg.run_dir);
	err = vg_ctl_server_create(loop, sock, vg_broker_answer, broker, &ctl);
	if (err)
		vg_warn("%s: %s; virtio-grantctl will not see this broker",
			sock, strerror(-err));
	vg_info("ready");
	err = vg_loop_run(loop);
	if (err)
		vg_err("event loop: %s", strerror(-err));
	vg_ctl_server_destroy(ctl);
	vg_broker_destroy(broker, true);
	vg_loop_destroy(loop);
	free(sock);
	return err ? 1 : 0;
}
