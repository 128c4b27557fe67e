/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spawn.h - starts the processes of virtio-grantd's workers: itself, with
 * options that are not for people.
 */
#ifndef VG_SPAWN_H
#define VG_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "xen/xen.h"

/* Where a worker finds what the supervisor gave it. */
#define VG_WORKER_SOCK_FD	3
#define VG_WORKER_SHARED_FD	4

struct vg_spawn {
	/* Common to all workers, NULL at the end; argv[0] first. */
	const char *const *args;
	bool is_confined;
	uid_t uid_base;
};

/* As struct vg_supervisor_config has it; @spawn is a struct vg_spawn. */
int vg_spawn_worker(void *spawn, xen_domid_t guest, int sock, int shared_fd,
		    pid_t *pid);

#endif
