/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * supervisor.h - virtio-grantd without its main(): follows libxl's xenstore
 * protocol for the devices that this domain shall serve, opens what they are
 * made of, and has one worker per guest serve them.
 */
#ifndef VG_SUPERVISOR_H
#define VG_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "grantd/worker.h"
#include "lib/loop.h"
#include "xen/xen.h"

struct vg_supervisor;

struct vg_supervisor_config {
	unsigned int queue_size_max;	/* a power of two, 2 .. 1024 */
	unsigned int budget_pages;	/* mapped at once, per device */
	uint32_t copy_max_bytes;	/* see vg_mem_map_create() */
	unsigned int nr_queues;		/* offered per device, if the guest's
					 * others leave so many; 0 is 1 */
	/* See struct vg_device_params. */
	uint64_t poll_max_ns, poll_unbound_max_ns;
	bool is_foreign;	/* virtio-foreignd: grant_usage=0 is ours */
	bool is_confined;	/* workers are (sandbox.h), for the status */
	const char *only;	/* these vdevs only, "xvda,xvdb"; NULL: all */
	/*
	 * Where the devices' states are kept, a directory of ours alone on a
	 * tmpfs, made if need be; NULL: they are not, and a device whose worker
	 * died needs reset.
	 */
	const char *state_dir;
	const char *run_dir;	/* vg_dev_how; or NULL */

	/*
	 * Starts a worker that has @sock and @shared_fd, both its own to
	 * close.  *pid > 0: a process of ours, to be waited for.
	 */
	int (*spawn)(void *arg, xen_domid_t guest, int sock, int shared_fd,
		     pid_t *pid);
	/*
	 * Where workers reach grants and ports by a third party (mapper.h):
	 * that of @guest may pass on this page and port of another domain's,
	 * for its device @dev; called before the worker is told, and with
	 * @domid VG_MAPPER_NOBODY when there is no such device any more.  And:
	 * @guest's worker may write to a file of this size; 0 or negative
	 * errno.  And: @guest's worker has ended.  NULL: there is none.
	 */
	void (*permit)(void *arg, xen_domid_t guest, unsigned int dev,
		       xen_domid_t domid, xen_ref_t ref, xen_port_t port);
	int (*allow_file)(void *arg, xen_domid_t guest, uint64_t size_bytes);
	void (*worker_ended)(void *arg, xen_domid_t guest);
	/*
	 * Ends @guest's worker, which does not do so by itself; one that has
	 * ended is no error.  NULL: by SIGKILL to @pid.
	 */
	void (*kill)(void *arg, xen_domid_t guest, pid_t pid);
	void *spawn_arg;		/* of all five */
	/*
	 * A worker's death makes the next one's successor wait twice as long;
	 * for each such time that it lived before, half as long.  0: a second.
	 */
	uint64_t respawn_calm_ns;
	/* So long a new device is tried.  0: 8 s, and 2 minutes on the bus. */
	uint64_t new_try_ns;
	/* So long after the last removal a worker is replaced.  0: 5 s. */
	uint64_t replace_ns;
};

#define VG_QUEUE_SIZE_MAX_DEFAULT	512u
#define VG_BUDGET_PAGES_DEFAULT		8192u

/* Logs what is wrong, in words. */
int vg_supervisor_create(const struct vg_supervisor_config *cfg,
			 struct vg_loop *loop, struct vg_supervisor **out);
/*
 * Ends the workers, and waits for them, seconds at the most.  Devices whose
 * guests live keep their nodes and states: a successor takes them over.
 */
void vg_supervisor_destroy(struct vg_supervisor *s);

/* For vg_ctl_server_create(). */
char *vg_supervisor_answer(void *supervisor, const char *request,
			   uint64_t asker);

#endif
