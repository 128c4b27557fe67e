// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mapper.c - see mapper.h.
 *
 * The process blocks in read(2) on the worker's requests and ends with the
 * worker; with the supervisor it dies.  What the supervisor says is looked for
 * when the worker asks for what is not its guest's: it permits a page of
 * another before it tells the worker of it.
 */
#include "grantd/mapper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "grantd/sandbox.h"
#include "lib/log.h"
#include "lib/util.h"
#include "xen/raw.h"

/* Of one worker in its life: the first tell what there is to know. */
#define COMPLAINTS_MAX	3u

void vg_mapper_allow(struct vg_mapper *m, const struct vg_mapper_permit *permit)
{
	if (permit->dev >= VG_MAPPER_PERMITS_MAX)
		return;
	m->permit[permit->dev] = *permit;
	m->has_permit[permit->dev] = permit->domid != VG_MAPPER_NOBODY;
}

static bool is_permitted_ref(const struct vg_mapper *m, uint32_t domid,
			 uint32_t ref)
{
	unsigned int i;

	for (i = 0; i < VG_MAPPER_PERMITS_MAX; i++)
		if (m->has_permit[i] && m->permit[i].domid == domid &&
		    m->permit[i].ref == ref)
			return true;
	return false;
}

static bool is_permitted_port(const struct vg_mapper *m, uint32_t domid,
			  uint32_t port)
{
	unsigned int i;

	for (i = 0; i < VG_MAPPER_PERMITS_MAX; i++)
		if (m->has_permit[i] && m->permit[i].domid == domid &&
		    m->permit[i].port == port)
			return true;
	return false;
}

static int refuse(struct vg_mapper *m, const char *what, uint32_t domid,
		  uint32_t number)
{
	if (m->refused++ < COMPLAINTS_MAX)
		vg_err("dom%u: its worker asks for %s %u of dom%u, which is none of its guest: refused; it may have been taken over by the guest",
		       m->guest, what, number, domid);
	return -EPERM;
}

/* ---- what is prepared --------------------------------------------------- */

/*
 * The worker holds back its next request until it has mapped what the last one
 * prepared, and mostly it has taken the trace of it back itself.
 */
static void take_back(struct vg_mapper *m)
{
	unsigned int i, left = 0;

	m->pages_prepared = 0;
	for (i = 0; i < m->nr_prepared; i++) {
		struct vg_mapper_prepared p = m->prepared[i];
		int err = xen_raw_forget(m->gntdev_fd, p.index, p.count);

		if (!err || err == -ENOENT)
			continue;
		m->prepared[left++] = p;
		m->pages_prepared += p.count;
	}
	m->nr_prepared = left;
}

/* All that is prepared for this guest comes by here. */
static int prepare(struct vg_mapper *m, xen_domid_t domid,
		   const xen_ref_t *refs, uint32_t count, uint64_t *index)
{
	int err;

	if (m->nr_prepared == VG_MAPPER_JOBS_MAX ||
	    count > VG_MAPPER_REFS_MAX - m->pages_prepared)
		return -ENOSPC;
	err = xen_raw_map(m->gntdev_fd, domid, refs, count, index);
	if (err)
		return err;
	m->prepared[m->nr_prepared++] = (struct vg_mapper_prepared){
		.index = *index, .count = count,
	};
	m->pages_prepared += count;
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

static int do_map(struct vg_mapper *m, const struct vg_mapper_req *req,
		  uint64_t *index)
{
	/* Ours alone: what is checked is what is used. */
	static xen_ref_t refs[VG_MAPPER_REFS_MAX];

	if (!req->count || req->count > VG_MAPPER_REFS_MAX)
		return -EINVAL;
	memcpy(refs, m->arena->refs, req->count * sizeof(refs[0]));
	if (req->domid != m->guest &&
	    (req->count != 1 || !is_permitted_ref(m, req->domid, refs[0])))
		return refuse(m, "grant reference", req->domid, refs[0]);
	return prepare(m, (xen_domid_t)req->domid, refs, req->count, index);
}

static int copy(struct vg_mapper *m, unsigned int count)
{
	/* As above: what is checked is what is used. */
	static struct vg_mapper_seg own[VG_MAPPER_SEGS_MAX];
	static struct xen_copy_seg segs[VG_MAPPER_SEGS_MAX];
	unsigned int i;
	int err;

	memcpy(own, m->arena->segs, count * sizeof(own[0]));
	for (i = 0; i < count; i++) {
		if (own[i].len_bytes > XEN_GRANT_PAGE_SIZE ||
		    own[i].offset > XEN_GRANT_PAGE_SIZE - own[i].len_bytes ||
		    own[i].at > sizeof(m->arena->data) - own[i].len_bytes)
			return -EINVAL;
		segs[i] = (struct xen_copy_seg){
			.ref = own[i].ref, .offset = own[i].offset,
			.len_bytes = own[i].len_bytes,
			.to_foreign = own[i].to_foreign,
			.local = m->arena->data + own[i].at,
			.status = XEN_COPY_NOT_TRIED,
		};
	}
	err = xen_raw_copy(m->gntdev_fd, m->guest, segs, count);
	for (i = 0; i < count; i++)
		m->arena->segs[i].status = segs[i].status;
	return err;
}

static void map_jobs(struct vg_mapper *m, unsigned int count)
{
	static xen_ref_t refs[VG_MAPPER_REFS_MAX];
	unsigned int i, n, at = 0;

	for (i = 0; i < count; i++) {
		struct vg_mapper_job *job = &m->arena->jobs[i];
		uint64_t index = 0;
		int err = -EINVAL;

		/* Once: the worker may write to it at any time. */
		n = READ_ONCE(job->count);
		if (n && n <= VG_MAPPER_REFS_MAX - at) {
			memcpy(refs, m->arena->refs + at, n * sizeof(refs[0]));
			at += n;
			err = prepare(m, m->guest, refs, n, &index);
		}
		job->index = index;
		job->err = err;
	}
}

static int do_exchange(struct vg_mapper *m, const struct vg_mapper_req *req)
{
	int err = 0;

	if ((!req->count && !req->jobs) || req->count > VG_MAPPER_SEGS_MAX ||
	    req->jobs > VG_MAPPER_JOBS_MAX)
		return -EINVAL;
	if (req->domid != m->guest)
		return refuse(m, req->count ? "a copy by reference" :
				 "grant reference", req->domid,
			      req->count ? m->arena->segs[0].ref :
					   m->arena->refs[0]);
	if (req->count)
		err = copy(m, req->count);
	map_jobs(m, req->jobs);
	return err;
}

static int do_bind(struct vg_mapper *m, const struct vg_mapper_req *req,
		   uint64_t *local)
{
	xen_port_t port;
	int err;

	if (req->evtchn >= m->nr_evtchns)
		return -EINVAL;
	if (req->domid != m->guest &&
	    !is_permitted_port(m, req->domid, req->port))
		return refuse(m, "port", req->domid, req->port);
	if (m->nr_bound == VG_MAPPER_PORTS_MAX)
		return -ENOSPC;
	err = xen_raw_bind(m->evtchn_fd[req->evtchn], (xen_domid_t)req->domid,
			   req->port, &port);
	if (err)
		return err;
	m->bound[m->nr_bound].evtchn = req->evtchn;
	m->bound[m->nr_bound++].port = port;
	*local = port;
	return 0;
}

static int do_unbind(struct vg_mapper *m, const struct vg_mapper_req *req)
{
	unsigned int i;
	int err;

	for (i = 0; i < m->nr_bound; i++)
		if (m->bound[i].evtchn == req->evtchn &&
		    m->bound[i].port == req->port)
			break;
	if (i == m->nr_bound)
		return -ENOENT;
	err = xen_raw_unbind(m->evtchn_fd[req->evtchn], req->port);
	if (!err)
		m->bound[i] = m->bound[--m->nr_bound];
	return err;
}

void vg_mapper_answer(struct vg_mapper *m, const struct vg_mapper_req *req,
		      struct vg_mapper_rsp *rsp)
{
	*rsp = (struct vg_mapper_rsp){ 0 };
	m->answered++;
	take_back(m);
	switch (req->op) {
	case VG_MAPPER_MAP:
		rsp->err = do_map(m, req, &rsp->value);
		break;
	case VG_MAPPER_EXCHANGE:
		rsp->err = do_exchange(m, req);
		break;
	case VG_MAPPER_BIND:
		rsp->err = do_bind(m, req, &rsp->value);
		break;
	case VG_MAPPER_UNBIND:
		rsp->err = do_unbind(m, req);
		break;
	default:
		rsp->err = -EINVAL;
	}
}

static void hear_supervisor(struct vg_mapper *m, int fd)
{
	struct vg_mapper_permit permit;

	/* Does not block; an end of file is seen as nothing new. */
	while (read(fd, &permit, sizeof(permit)) == sizeof(permit))
		vg_mapper_allow(m, &permit);
}

static int serve(struct vg_mapper *m, const struct vg_mapper_start *start)
{
	struct vg_mapper_req req;
	struct vg_mapper_rsp rsp;
	ssize_t n;

	for (;;) {
		n = read(start->rpc_fd, &req, sizeof(req));
		if (n == 0)
			return 0;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == sizeof(req)) {
			/* Of its guest nobody needs to tell it. */
			if (req.domid != m->guest)
				hear_supervisor(m, start->ctl_fd);
			vg_mapper_answer(m, &req, &rsp);
		} else {
			rsp = (struct vg_mapper_rsp){ .err = -EPROTO };
		}
		if (write(start->rpc_fd, &rsp, sizeof(rsp)) != sizeof(rsp))
			return errno == EPIPE ? 0 : -errno;
	}
}

int vg_mapper_main(const struct vg_mapper_start *start)
{
	static struct vg_mapper m;
	struct vg_sandbox sb = {
		.kind = VG_SANDBOX_MAPPER,
		.uid = start->uid,
		.memory_max_bytes = UINT64_C(1) << 30,
	};
	const char *step;
	unsigned int i;
	int err;

	if (start->nr_evtchns > VG_MAPPER_EVTCHNS_MAX)
		return 1;
	vg_name_process("mapper", start->guest);
	m.guest = start->guest;
	m.gntdev_fd = start->gntdev_fd;
	m.nr_evtchns = start->nr_evtchns;
	for (i = 0; i < m.nr_evtchns; i++)
		m.evtchn_fd[i] = start->first_evtchn_fd + (int)i;
	m.arena = mmap(NULL, sizeof(*m.arena), PROT_READ | PROT_WRITE,
		       MAP_SHARED, start->arena_fd, 0);
	if (m.arena == MAP_FAILED)
		return 1;
	close(start->arena_fd);
	if (vg_fd_nonblock(start->ctl_fd))
		return 1;
	err = vg_sandbox_enter(&sb, &step);
	if (err) {
		vg_err("dom%u: its mapper can't be confined: %s: %s",
		       start->guest, step, strerror(-err));
		return 1;
	}
	err = serve(&m, start);
	if (err)
		vg_err("dom%u: its mapper: %s", start->guest, strerror(-err));
	return err ? 1 : 0;
}
