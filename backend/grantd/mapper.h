/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mapper.h - the process between a confined worker and the grants and event
 * channels of its domain.
 *
 * /dev/xen/gntdev maps whatever was granted to the domain, by any guest, and
 * /dev/xen/evtchn binds to any port that was made for the domain.  So a worker
 * may not ask them: its filter of system calls lets it notify, unbind and
 * unmap, and mmap(2) what was prepared.  It has the mapper ask, a process of
 * its own per guest that holds the same open files, does nothing else, and
 * knows whose grants and ports these may be: those of its guest, and of the
 * single pages of others that the supervisor has named.
 *
 *	worker                     mapper                   /dev/xen/gntdev
 *	  | map refs of dom3 ------> | is it dom3's mapper?
 *	  |                          | MAP_GRANT_REF --------> index
 *	  | <--------------- index   |
 *	  | mmap(index), UNMAP_GRANT_REF(index) ---------> mapped until munmap()
 *
 * What is prepared and not mapped costs the domain memory, and so does a bound
 * port of what it has of them.  So neither is left to the worker: what one
 * request had prepared is taken back when the next one is read, and ports are
 * unbound here, where they are counted.  What it can have mapped at once, its
 * limit of address space bounds.
 *
 * What worker and mapper say to each other is in xen/remote_msg.h.
 *
 * Not trusted by the mapper: the worker.  What it writes is copied before it
 * is checked; counts and places are bounded; a request that makes no sense is
 * answered with an error and nothing done.
 */
#ifndef VG_MAPPER_H
#define VG_MAPPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "xen/remote_msg.h"
#include "xen/xen.h"

#define VG_MAPPER_PERMITS_MAX	64u
/* The worker's loop, and its threads for queues. */
#define VG_MAPPER_EVTCHNS_MAX	32u
/*
 * Ports bound at once: one and those of four queues, of 64 devices that a guest
 * can have, and some more while who forwards for them is replaced.  Queues that
 * find none do with their device's.  Xen has 1023 for the whole domain, unless
 * its configuration says otherwise.
 */
#define VG_MAPPER_PORTS_MAX	384u

/*
 * Supervisor to mapper: a page of another domain, and its port, for the guest's
 * device number @dev from now on;
 * @domid VG_MAPPER_NOBODY: none, its device is gone.
 */
#define VG_MAPPER_NOBODY	UINT16_MAX

struct vg_mapper_permit {
	uint32_t dev;
	uint32_t domid, ref, port;
};

/* What the last request had prepared, until the next one. */
struct vg_mapper_prepared {
	uint64_t index;
	uint32_t count;
};

struct vg_mapper {
	xen_domid_t guest;
	struct vg_mapper_arena *arena;
	int gntdev_fd;
	int evtchn_fd[VG_MAPPER_EVTCHNS_MAX];
	unsigned int nr_evtchns;
	struct vg_mapper_permit permit[VG_MAPPER_PERMITS_MAX];
	bool has_permit[VG_MAPPER_PERMITS_MAX];
	struct vg_mapper_prepared prepared[VG_MAPPER_JOBS_MAX];
	unsigned int nr_prepared, pages_prepared;
	struct {
		uint32_t evtchn;
		xen_port_t port;	/* local */
	} bound[VG_MAPPER_PORTS_MAX];
	unsigned int nr_bound;
	uint64_t answered, refused;
};

/* A message of the supervisor. */
void vg_mapper_allow(struct vg_mapper *m,
		     const struct vg_mapper_permit *permit);
/* A message of the worker, and what it gets. */
void vg_mapper_answer(struct vg_mapper *m, const struct vg_mapper_req *req,
		      struct vg_mapper_rsp *rsp);

struct vg_mapper_start {
	xen_domid_t guest;
	int ctl_fd;			/* from the supervisor */
	int rpc_fd;			/* from the worker */
	int arena_fd, gntdev_fd, first_evtchn_fd;
	unsigned int nr_evtchns;
	uid_t uid;
};

/* The process: called by main() of virtio-grantd when it was started as one. */
int vg_mapper_main(const struct vg_mapper_start *start);

#endif
