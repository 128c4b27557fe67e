// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * remote.c - see remote.h: the worker's end of the mapper's protocol.
 *
 * The mapper does what it is asked, but the process must not go on without it:
 * if it is gone, so are we, and the supervisor starts both anew.
 *
 * Threads: one request at a time, under a lock which also has the arena.
 */
#include "remote.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../log.h"
#include "../mapper.h"
#include "../util.h"
#include "raw.h"

static struct {
	pthread_mutex_t lock;
	int rpc_fd, gntdev_fd, first_evtchn_fd;
	unsigned int nr_evtchns, evtchns_taken;
	struct vg_mapper_arena *arena;
} remote = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Under the lock. */
static int ask(const struct vg_mapper_req *req, uint64_t *value)
{
	struct vg_mapper_rsp rsp;
	ssize_t n;

	if (write(remote.rpc_fd, req, sizeof(*req)) != sizeof(*req))
		goto gone;
	do {
		n = read(remote.rpc_fd, &rsp, sizeof(rsp));
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(rsp))
		goto gone;
	if (!rsp.err && value)
		*value = rsp.value;
	return rsp.err;
gone:
	vg_err("the mapper of this worker is gone");
	_exit(1);
}

static int remote_map(xen_domid_t domid, const xen_ref_t *refs,
		      unsigned int count, int prot, void **addr)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_MAP, .domid = domid, .count = count,
	};
	uint64_t index;
	void *va;
	int err;

	if (!count || count > VG_MAPPER_REFS_MAX)
		return -EINVAL;
	pthread_mutex_lock(&remote.lock);
	memcpy(remote.arena->refs, refs, count * sizeof(refs[0]));
	err = ask(&req, &index);
	pthread_mutex_unlock(&remote.lock);
	if (err)
		return err;
	va = mmap(NULL, (size_t)count << XEN_GRANT_PAGE_SHIFT, prot, MAP_SHARED,
		  remote.gntdev_fd, (off_t)index);
	err = va == MAP_FAILED ? -errno : 0;
	/* From now on the mapping alone holds it: no trace of it to be kept. */
	xen_raw_forget(remote.gntdev_fd, index, count);
	if (!err)
		*addr = va;
	return err;
}

static int remote_unmap(void *addr, unsigned int count)
{
	return munmap(addr, (size_t)count << XEN_GRANT_PAGE_SHIFT) ? -errno : 0;
}

/* Under the lock. */
static int copy_some(xen_domid_t domid, struct xen_copy_seg *segs,
		     unsigned int count)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_COPY, .domid = domid, .count = count,
	};
	struct vg_mapper_arena *a = remote.arena;
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		a->segs[i] = (struct vg_mapper_seg){
			.ref = segs[i].ref, .offset = segs[i].offset,
			.len_bytes = segs[i].len_bytes,
			.to_foreign = segs[i].to_foreign,
		};
		if (segs[i].len_bytes > XEN_GRANT_PAGE_SIZE)
			return -EINVAL;
		if (segs[i].to_foreign)
			memcpy(a->data[i], segs[i].local, segs[i].len_bytes);
	}
	err = ask(&req, NULL);
	/* -EFAULT: some were not copied, others may be. */
	if (err && err != -EFAULT)
		return err;
	for (i = 0; i < count; i++) {
		segs[i].status = a->segs[i].status;
		if (!segs[i].status && !segs[i].to_foreign)
			memcpy(segs[i].local, a->data[i], segs[i].len_bytes);
	}
	return err;
}

static int remote_copy(xen_domid_t domid, struct xen_copy_seg *segs,
		       unsigned int count)
{
	int err, ret = 0;

	while (count) {
		unsigned int n = min_u(count, VG_MAPPER_SEGS_MAX);

		pthread_mutex_lock(&remote.lock);
		err = copy_some(domid, segs, n);
		pthread_mutex_unlock(&remote.lock);
		if (err)
			ret = err;
		segs += n;
		count -= n;
	}
	return ret;
}

static int remote_open_evtchn(unsigned int *handle, int *fd)
{
	if (remote.evtchns_taken == remote.nr_evtchns)
		return -EMFILE;
	*handle = remote.evtchns_taken++;
	*fd = remote.first_evtchn_fd + (int)*handle;
	return 0;
}

static int remote_bind(unsigned int handle, xen_domid_t domid,
		       xen_port_t port, xen_port_t *local)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_BIND, .domid = domid, .port = port,
		.evtchn = handle,
	};
	uint64_t value;
	int err;

	pthread_mutex_lock(&remote.lock);
	err = ask(&req, &value);
	pthread_mutex_unlock(&remote.lock);
	if (!err)
		*local = (xen_port_t)value;
	return err;
}

static const struct xen_remote_ops ops = {
	.map = remote_map,
	.unmap = remote_unmap,
	.copy = remote_copy,
	.open_evtchn = remote_open_evtchn,
	.bind = remote_bind,
};

int xen_remote_set_up(int rpc_fd, int arena_fd, int gntdev_fd,
		      int first_evtchn_fd, unsigned int nr_evtchns)
{
	remote.arena = mmap(NULL, sizeof(*remote.arena),
			    PROT_READ | PROT_WRITE, MAP_SHARED, arena_fd, 0);
	if (remote.arena == MAP_FAILED)
		return -errno;
	close(arena_fd);
	remote.rpc_fd = rpc_fd;
	remote.gntdev_fd = gntdev_fd;
	remote.first_evtchn_fd = first_evtchn_fd;
	remote.nr_evtchns = nr_evtchns;
	xen_gnttab_remote = &ops;
	xen_evtchn_remote = &ops;
	return 0;
}
