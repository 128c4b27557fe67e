/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worker_main.h - the process of a worker. */
#ifndef VG_WORKER_MAIN_H
#define VG_WORKER_MAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "xen/xen.h"

struct vg_worker_start {
	xen_domid_t guest;
	int sock, shared_fd;		/* see worker.h */
	bool is_confined;
	/* The rest only if it is; what it shares with its mapper: mapper.h. */
	int rpc_fd, arena_fd, gntdev_fd, first_evtchn_fd;
	unsigned int nr_evtchns;	/* at least 1 */
	uid_t uid;
	unsigned int nr_queues;		/* most of one device: --queues */
	unsigned int budget_pages;	/* per device */
};

/* Called by main() of virtio-grantd when it was started as one. */
int vg_worker_main(const struct vg_worker_start *start);

#endif
