// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * remote.c - see remote.h: the worker's end of the mapper's protocol.
 *
 * The mapper does what it is asked, but the process must not go on without it:
 * if it is gone, so are we, and the supervisor starts both anew.
 *
 * Threads: one request at a time, under a lock which also has the arena, and
 * which is held until what was prepared is mapped: the mapper takes it back
 * with the next request.  The buffers in the arena have a lock of their own.
 */
#include "xen/remote.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "xen/raw.h"
#include "xen/remote_msg.h"

/* Buffers have 1 KiB << class. */
#define BUFFER_SHIFT	10
#define BUFFER_CLASSES	15u

/* A buffer that nobody uses begins with this. */
struct buffer {
	struct buffer *next;
};

static struct {
	pthread_mutex_t lock;
	uint8_t *start, *end;		/* end: what no buffer has had yet */
	struct buffer *free[BUFFER_CLASSES];
} buffers = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

/* What the mapper prepared. */
static int map_index(uint64_t index, unsigned int count, int prot, void **addr)
{
	void *va = mmap(NULL, (size_t)count << XEN_GRANT_PAGE_SHIFT, prot,
			MAP_SHARED, remote.gntdev_fd, (off_t)index);
	int err = va == MAP_FAILED ? -errno : 0;

	/* From now on the mapping alone holds it: no trace of it to be kept. */
	xen_raw_forget(remote.gntdev_fd, index, count);
	if (!err)
		*addr = va;
	return err;
}

static int remote_map(xen_domid_t domid, const xen_ref_t *refs,
		      unsigned int count, int prot, void **addr)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_MAP, .domid = domid, .count = count,
	};
	uint64_t index;
	int err;

	if (!count || count > VG_MAPPER_REFS_MAX)
		return -EINVAL;
	pthread_mutex_lock(&remote.lock);
	memcpy(remote.arena->refs, refs, count * sizeof(refs[0]));
	err = ask(&req, &index);
	if (!err)
		err = map_index(index, count, prot, addr);
	pthread_mutex_unlock(&remote.lock);
	return err;
}

static int remote_unmap(void *addr, unsigned int count)
{
	return munmap(addr, (size_t)count << XEN_GRANT_PAGE_SHIFT) ? -errno : 0;
}

/* ---- exchange ----------------------------------------------------------- */

/*
 * Where a piece's bytes are in the arena: its own room, unless they are there.
 */
static uint32_t place_of(const struct xen_copy_seg *seg, unsigned int i)
{
	const uint8_t *data = remote.arena->data, *local = seg->local;

	if (local >= data && local < data + sizeof(remote.arena->data))
		return (uint32_t)(local - data);
	return i * XEN_GRANT_PAGE_SIZE;
}

static bool has_room(const struct xen_copy_seg *seg, unsigned int i)
{
	return place_of(seg, i) == i * XEN_GRANT_PAGE_SIZE;
}

static void put_segs(const struct xen_copy_seg *segs, unsigned int n)
{
	struct vg_mapper_arena *a = remote.arena;
	unsigned int i;

	for (i = 0; i < n; i++) {
		a->segs[i] = (struct vg_mapper_seg){
			.ref = segs[i].ref, .at = place_of(&segs[i], i),
			.offset = segs[i].offset,
			.len_bytes = segs[i].len_bytes,
			.to_foreign = segs[i].to_foreign,
			.status = XEN_COPY_NOT_TRIED,
		};
		if (segs[i].to_foreign && has_room(&segs[i], i))
			memcpy(a->data + a->segs[i].at, segs[i].local,
			       segs[i].len_bytes);
	}
}

static void take_segs(struct xen_copy_seg *segs, unsigned int n)
{
	const struct vg_mapper_arena *a = remote.arena;
	unsigned int i;

	for (i = 0; i < n; i++) {
		segs[i].status = a->segs[i].status;
		if (!segs[i].status && !segs[i].to_foreign &&
		    has_room(&segs[i], i))
			memcpy(segs[i].local, a->data + a->segs[i].at,
			       segs[i].len_bytes);
	}
}

/* How many of @jobs one message has room for. */
static unsigned int put_jobs(const struct xen_map_job *jobs, unsigned int nr)
{
	struct vg_mapper_arena *a = remote.arena;
	unsigned int i, refs = 0;

	for (i = 0; i < nr && i < VG_MAPPER_JOBS_MAX; i++) {
		if (jobs[i].count > VG_MAPPER_REFS_MAX - refs)
			break;
		memcpy(a->refs + refs, jobs[i].refs,
		       jobs[i].count * sizeof(a->refs[0]));
		refs += jobs[i].count;
		a->jobs[i] = (struct vg_mapper_job){
			.count = jobs[i].count, .err = -EINVAL,
		};
	}
	return i;
}

/* Before the lock is let go: another thread's jobs come into their place. */
static void take_jobs(struct xen_map_job *jobs, unsigned int n)
{
	const struct vg_mapper_arena *a = remote.arena;
	unsigned int i;

	for (i = 0; i < n; i++) {
		jobs[i].err = a->jobs[i].err;
		if (!jobs[i].err)
			jobs[i].err = map_index(a->jobs[i].index, jobs[i].count,
						jobs[i].prot, &jobs[i].addr);
	}
}

static int remote_exchange(xen_domid_t domid, struct xen_copy_seg *segs,
			   unsigned int nr_segs, struct xen_map_job *jobs,
			   unsigned int nr_jobs)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = domid,
	};
	int err, ret = 0;

	while (nr_segs || nr_jobs) {
		req.count = min_u(nr_segs, VG_MAPPER_SEGS_MAX);
		pthread_mutex_lock(&remote.lock);
		put_segs(segs, req.count);
		req.jobs = put_jobs(jobs, nr_jobs);
		/* Nothing: one has more references than gntdev takes. */
		err = req.count || req.jobs ? ask(&req, NULL) : -EINVAL;
		take_segs(segs, req.count);
		take_jobs(jobs, req.jobs);
		pthread_mutex_unlock(&remote.lock);
		if (err)
			ret = err;
		/* Either may be NULL: NULL + 0 is not defined before C2y. */
		if (req.count)
			segs += req.count;
		nr_segs -= req.count;
		if (req.jobs)
			jobs += req.jobs;
		nr_jobs -= req.jobs;
		if (err && err != -EFAULT)
			break;
	}
	while (nr_segs)
		segs[--nr_segs].status = XEN_COPY_NOT_TRIED;
	while (nr_jobs)
		jobs[--nr_jobs].err = ret;
	return ret;
}

/* ---- buffers ------------------------------------------------------------ */

static unsigned int class_of(size_t bytes)
{
	unsigned int class = 0;

	while (((size_t)1 << BUFFER_SHIFT) << class < bytes)
		class++;
	return class;
}

/* Never returned to another class: sizes are few, and malloc() is left. */
static void *remote_buffer_get(size_t bytes)
{
	unsigned int class = class_of(bytes);
	size_t align = min_u(bytes, (size_t)XEN_GRANT_PAGE_SIZE);
	uint8_t *data = remote.arena->data;
	struct buffer *b = NULL;
	size_t at;

	if (class >= BUFFER_CLASSES)
		return NULL;
	pthread_mutex_lock(&buffers.lock);
	if (buffers.free[class]) {
		b = buffers.free[class];
		buffers.free[class] = b->next;
	} else {
		at = ((size_t)(buffers.end - data) + align - 1) & ~(align - 1);
		if (bytes <= sizeof(remote.arena->data) - at) {
			b = (void *)(data + at);
			buffers.end = data + at + bytes;
		}
	}
	pthread_mutex_unlock(&buffers.lock);
	return b;
}

static bool remote_buffer_put(void *buffer, size_t bytes)
{
	unsigned int class = class_of(bytes);
	struct buffer *b = buffer;

	if ((uint8_t *)buffer < buffers.start ||
	    (uint8_t *)buffer >= remote.arena->data +
				 sizeof(remote.arena->data))
		return false;
	pthread_mutex_lock(&buffers.lock);
	b->next = buffers.free[class];
	buffers.free[class] = b;
	pthread_mutex_unlock(&buffers.lock);
	return true;
}

static void *remote_buffer_area(size_t *bytes)
{
	*bytes = VG_MAPPER_BUFFER_BYTES;
	return buffers.start;
}

/* ---- event channels ----------------------------------------------------- */

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

static int remote_unbind(unsigned int handle, xen_port_t local)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_UNBIND, .port = local, .evtchn = handle,
	};
	int err;

	pthread_mutex_lock(&remote.lock);
	err = ask(&req, NULL);
	pthread_mutex_unlock(&remote.lock);
	return err;
}

static const struct xen_remote_ops ops = {
	.map = remote_map,
	.unmap = remote_unmap,
	.exchange = remote_exchange,
	.buffer_get = remote_buffer_get,
	.buffer_put = remote_buffer_put,
	.buffer_area = remote_buffer_area,
	.open_evtchn = remote_open_evtchn,
	.bind = remote_bind,
	.unbind = remote_unbind,
};

int xen_remote_set_up(int rpc_fd, int arena_fd, int gntdev_fd,
		      int first_evtchn_fd, unsigned int nr_evtchns)
{
	remote.arena = mmap(NULL, sizeof(*remote.arena),
			    PROT_READ | PROT_WRITE, MAP_SHARED, arena_fd, 0);
	if (remote.arena == MAP_FAILED)
		return -errno;
	close(arena_fd);
	buffers.start = buffers.end = remote.arena->data +
		VG_MAPPER_SEGS_MAX * XEN_GRANT_PAGE_SIZE;
	remote.rpc_fd = rpc_fd;
	remote.gntdev_fd = gntdev_fd;
	remote.first_evtchn_fd = first_evtchn_fd;
	remote.nr_evtchns = nr_evtchns;
	xen_gnttab_remote = &ops;
	xen_evtchn_remote = &ops;
	return 0;
}
