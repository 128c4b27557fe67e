// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * worker_main.c - the process of a worker: opens what it needs, gives up
 * everything else (sandbox.h), and serves.
 *
 * Nothing of the guest is looked at before the sandbox is closed.
 */
#include "grantd/worker_main.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "grantd/sandbox.h"
#include "grantd/worker.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/util.h"
#include "xen/remote.h"

/* Beside the guest's memory: programs, stacks, heaps, rings. */
#define OWN_MEMORY_BYTES	(UINT64_C(512) << 20)
/* Of a queue's thread. */
#define STACK_BYTES		(256u << 10)
/*
 * What is at least as large, is pages of its own: a device has arrays for what
 * its driver may do and most never does, and in the heap calloc() touches all.
 */
#define OWN_PAGES_BYTES		(16u << 10)
/* Of 1000: when memory is short, a worker ends before others do. */
#define OOM_SCORE		"500"

static void stop_loop(void *arg)
{
	vg_loop_stop(arg);
}

/* Not vital: without it the largest process ends. */
static void end_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
		vg_debug("oom_score_adj: %s", strerror(errno));
	close(fd);
}

static int small_stacks(void)
{
	pthread_attr_t attr;
	int err = pthread_attr_init(&attr);

	if (!err)
		err = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!err)
		err = pthread_setattr_default_np(&attr);
	return -err;
}

/* What the types make beforehand, and will call. */
static struct vg_sandbox_calls *prepare(const struct vg_worker_start *start,
					unsigned int *nr_registering)
{
	struct vg_sandbox_calls *calls = vg_calloc(vg_nr_dev_types,
						   sizeof(*calls));
	unsigned int i;

	*nr_registering = 0;
	for (i = 0; i < vg_nr_dev_types; i++) {
		/* One for each queue: see nr_queues_free() in devices.c. */
		struct vg_dev_prepared p = {
			.nr_queues = VG_WORKER_DEVICES_MAX +
				     (start->nr_queues > 1 ?
				      VG_WORKER_LANES_MAX : 0),
		};

		if (vg_dev_types[i]->prepare)
			vg_dev_types[i]->prepare(&p);
		calls[i].of = p.syscalls;
		calls[i].nr = p.nr_syscalls;
		*nr_registering += p.nr_registering;
	}
	return calls;
}

static int confine(const struct vg_worker_start *start,
		   struct vg_worker_shared *shared)
{
	uint64_t budget_bytes = (uint64_t)start->budget_pages <<
				VG_MEM_PAGE_SHIFT;
	unsigned int nr_registering;
	struct vg_sandbox_calls *calls = prepare(start, &nr_registering);
	const struct vg_sandbox sb = {
		.kind = VG_SANDBOX_WORKER,
		.calls = calls,
		.nr_calls = vg_nr_dev_types,
		.uid = start->uid,
		.memory_max_bytes = OWN_MEMORY_BYTES +
				    VG_WORKER_DEVICES_MAX * budget_bytes,
		.locked_max_bytes = nr_registering * budget_bytes,
		.violation = &shared->violation,
	};
	const char *step;
	int err = vg_sandbox_enter(&sb, &step);

	free(calls);
	if (err)
		vg_err("dom%u: its worker can't be confined: %s: %s",
		       start->guest, step, strerror(-err));
	return err;
}

int vg_worker_main(const struct vg_worker_start *start)
{
	struct vg_worker_shared *shared;
	struct vg_worker *w;
	struct vg_loop *loop;
	int err;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
		      start->shared_fd, 0);
	if (shared == MAP_FAILED)
		return 1;
	close(start->shared_fd);
	vg_name_process("worker", start->guest);
	/*
	 * A supervisor that is gone has a successor, which waits until we are:
	 * see life_lock() in states.c.  (Once more in vg_sandbox_enter(),
	 * since a change of user forgets it.)
	 */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Threads allocate when a queue starts, if at all. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
	/* Else there is room for them at the end of the heap. */
	mallopt(M_TOP_PAD, 0);
	if (start->is_confined &&
	    xen_remote_set_up(start->rpc_fd, start->arena_fd, start->gntdev_fd,
			      start->first_evtchn_fd, start->nr_evtchns))
		return 1;
	end_first();
	err = small_stacks();
	if (!err)
		err = vg_loop_create(&loop);
	if (!err)
		err = vg_worker_create(start->guest, loop, start->sock, shared,
				       stop_loop, loop, &w);
	if (err)
		return 1;
	err = vg_worker_stock(w, start->is_confined ? start->nr_evtchns - 1 :
			      VG_WORKER_LANES_MAX);
	if (err)
		vg_warn("dom%u: /dev/xen/evtchn: %s: few queues get a thread",
			start->guest, strerror(-err));
	if (start->is_confined && confine(start, shared))
		return 1;
	err = vg_loop_run(loop);
	if (err)
		vg_err("dom%u: event loop: %s", start->guest, strerror(-err));
	vg_worker_destroy(w);
	vg_loop_destroy(loop);
	return err ? 1 : 0;
}
