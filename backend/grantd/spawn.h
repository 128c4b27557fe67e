/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spawn.h - starts the processes of virtio-grantd's workers: itself, with
 * options that are not for people.
 */
#ifndef VG_SPAWN_H
#define VG_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/loop.h"
#include "xen/xen.h"

/*
 * Where a worker and a mapper find what they were given.  0 to 2 are a pipe
 * that is read here (child_log.h): they have nothing of their parent's.
 */
#define VG_SOCK_FD		3	/* the supervisor's, of either */
#define VG_SHARED_FD		4	/* the worker's alone */
/* The rest only of confined ones: mapper.h. */
#define VG_GNTDEV_FD		5
#define VG_RPC_FD		6
#define VG_ARENA_FD		7
#define VG_EVTCHN_FD		8	/* and on */

struct vg_mapper_process;

struct vg_spawn {
	/* Common to all workers, NULL at the end; argv[0] first. */
	const char *const *args;
	bool is_confined;
	uid_t uid_base;
	unsigned int nr_evtchns;	/* handles of a confined worker */
	struct vg_loop *loop;		/* for what they log */
	struct vg_mapper_process *mappers;	/* spawn.c's */
};

/*
 * As struct vg_supervisor_config has them; @spawn is a struct vg_spawn.
 * -EAGAIN: what was killed of the guest's last worker is not gone yet; later.
 */
int vg_spawn_worker(void *spawn, xen_domid_t guest, int sock, int shared_fd,
		    pid_t *pid);
void vg_spawn_permit(void *spawn, xen_domid_t guest, unsigned int dev,
		     xen_domid_t domid, xen_ref_t ref, xen_port_t port);
int vg_spawn_allow_file(void *spawn, xen_domid_t guest, uint64_t size_bytes);
void vg_spawn_ended(void *spawn, xen_domid_t guest);

#endif
