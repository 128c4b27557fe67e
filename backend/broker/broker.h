/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * broker.h - virtio-grant-broker without its main(): finds the guests' virtio
 * devices in xenstore, gives each a relay, and each guest a process
 * (child.h).
 */
#ifndef VG_BROKER_H
#define VG_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/child.h"
#include "lib/loop.h"

/* A guest's process that hangs is killed this much later at the latest. */
#define VG_BROKER_WATCHDOG_NS		UINT64_C(2000000000)

struct vg_broker;

struct vg_broker_config {
	uint64_t answer_timeout_ns;	/* VG_BROKER_ANSWER_TIMEOUT_NS */
	uint64_t poll_max_ns;		/* VG_BROKER_POLL_MAX_NS */
	uint64_t watchdog_ns;		/* VG_BROKER_WATCHDOG_NS */
	/*
	 * Where the ids of IOREQ servers are kept for a successor; NULL: not
	 * kept.  Must not survive a reboot of the host.
	 */
	const char *run_dir;
	/* Relay for devices with grant_usage=0, too: for virtio-foreignd. */
	bool serves_foreign;
	/*
	 * Starts the process of one guest, which runs vg_bchild_main() or the
	 * like.  Both descriptors become its own, also on failure; *pid is for
	 * waitpid(), 0 where there is nothing to wait for.
	 */
	int (*spawn)(void *arg, const struct vg_bchild_config *cfg, int sock,
		     int shared_fd, pid_t *pid);
	/*
	 * Ends such a process, whatever it does; its socket closes then.  Not
	 * waited for: it may be held up in the kernel.
	 */
	void (*kill)(void *arg, xen_domid_t guest, pid_t pid);
	void *spawn_arg;
};

/*
 * Logs what is wrong, in words, and returns negative errno, when xenstore,
 * /dev/xen/gntalloc or /dev/xen/evtchn can't be had.
 */
int vg_broker_create(const struct vg_broker_config *cfg, struct vg_loop *loop,
		     struct vg_broker **out);
/*
 * @leave: the guests go on, their IOREQ servers wait for a successor.
 * Otherwise every server is destroyed, which only suits tests and guests that
 * are gone.  The processes of the guests have ended, or been told to where
 * there is no pid.
 */
void vg_broker_destroy(struct vg_broker *b, bool leave);

/* For vg_ctl_server_create(). */
char *vg_broker_answer(void *broker, const char *request, uint64_t asker);

#endif
