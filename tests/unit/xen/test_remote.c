// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_remote.c - a worker's end of the mapper's protocol
 * (backend/xen/remote.c) against the mapper itself, in a thread of its own:
 * what is asked for arrives, in few messages, and each piece's bytes where they
 * belong.
 *
 * A Xen of its own: one page per reference, in a file, which is gntdev, too; a
 * map has the file's offset of its first reference as index.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "grantd/mapper.h"
#include "unit.h"
#include "lib/util.h"

/* It is none of what these programs are linked with. */
#include "xen/remote.c"

#define GUEST	7u
#define REFS	2048u
#define PAGE	XEN_GRANT_PAGE_SIZE
/* References that have no grant, and one that Xen has no memory for. */
#define BAD_REF		2000u
#define SHORT_REF	2001u

const struct xen_remote_ops *xen_gnttab_remote, *xen_evtchn_remote;

static struct {
	int fd;
	uint8_t *mem;
	unsigned int maps, copies, segs, forgotten;
	int unbound;
} xen;

static struct vg_mapper m;
static int sock[2];
static pthread_t thread;
static unsigned int messages;

/* ---- Xen ---------------------------------------------------------------- */

int xen_raw_map(int fd, xen_domid_t domid, const xen_ref_t *refs,
		unsigned int count, uint64_t *index)
{
	(void)fd;
	(void)count;
	assert_int_equal(domid, GUEST);
	xen.maps++;
	if (refs[0] == BAD_REF || refs[0] == SHORT_REF)
		return refs[0] == BAD_REF ? -EINVAL : -ENOMEM;
	*index = (uint64_t)refs[0] * PAGE;
	return 0;
}

int xen_raw_forget(int fd, uint64_t index, unsigned int count)
{
	(void)fd;
	(void)index;
	xen.forgotten += count;
	return 0;
}

int xen_raw_copy(int fd, xen_domid_t domid, struct xen_copy_seg *segs,
		 unsigned int count)
{
	unsigned int i;
	int ret = 0;

	(void)fd;
	assert_int_equal(domid, GUEST);
	xen.copies++;
	for (i = 0; i < count; i++)
		if (segs[i].ref == SHORT_REF)
			return -ENOMEM;
	for (i = 0; i < count; i++) {
		uint8_t *foreign = xen.mem + segs[i].ref * PAGE +
				   segs[i].offset;

		xen.segs++;
		segs[i].status = segs[i].ref == BAD_REF ? -1 : 0;
		if (segs[i].status)
			ret = -EFAULT;
		else if (segs[i].to_foreign)
			memcpy(foreign, segs[i].local, segs[i].len_bytes);
		else
			memcpy(segs[i].local, foreign, segs[i].len_bytes);
	}
	return ret;
}

int xen_raw_bind(int fd, xen_domid_t domid, xen_port_t port, xen_port_t *local)
{
	*local = (xen_port_t)fd + domid + port;
	return 0;
}

int xen_raw_unbind(int fd, xen_port_t local)
{
	xen.unbound = fd * 1000 + (int)local;
	return 0;
}

static void *mapper(void *arg)
{
	struct vg_mapper_req req;
	struct vg_mapper_rsp rsp;

	(void)arg;
	while (read(sock[1], &req, sizeof(req)) == sizeof(req)) {
		count_add(messages, 1);
		vg_mapper_answer(&m, &req, &rsp);
		if (write(sock[1], &rsp, sizeof(rsp)) != sizeof(rsp))
			break;
	}
	return NULL;
}

static int setup(void **state)
{
	int arena = memfd_create("arena", MFD_CLOEXEC);
	unsigned int i;

	(void)state;
	unit_log_start();
	memset(&xen, 0, sizeof(xen));
	messages = 0;
	xen.fd = memfd_create("gntdev", MFD_CLOEXEC);
	if (ftruncate(xen.fd, (off_t)REFS * PAGE) ||
	    ftruncate(arena, sizeof(struct vg_mapper_arena)) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -1;
	xen.mem = mmap(NULL, REFS * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       xen.fd, 0);
	for (i = 0; i < REFS; i++)
		memset(xen.mem + i * PAGE, (int)(i * 7 + 1), PAGE);
	m = (struct vg_mapper){
		.guest = GUEST, .gntdev_fd = xen.fd, .evtchn_fd = { 60, 61 },
		.nr_evtchns = 2,
	};
	m.arena = mmap(NULL, sizeof(*m.arena), PROT_READ | PROT_WRITE,
		       MAP_SHARED, arena, 0);
	memset(&buffers.free, 0, sizeof(buffers.free));
	remote.evtchns_taken = 0;
	return xen_remote_set_up(sock[0], arena, xen.fd, 60, 2) ||
	       pthread_create(&thread, NULL, mapper, NULL);
}

static int teardown(void **state)
{
	(void)state;
	shutdown(sock[0], SHUT_RDWR);
	pthread_join(thread, NULL);
	munmap(m.arena, sizeof(*m.arena));
	munmap(remote.arena, sizeof(*remote.arena));
	munmap(xen.mem, REFS * PAGE);
	close(xen.fd);
	close(sock[0]);
	close(sock[1]);
	unit_log_stop();
	return 0;
}

/* ---- tests -------------------------------------------------------------- */

static uint8_t fresh(xen_ref_t ref)
{
	return (uint8_t)(ref * 7 + 1);
}

/* From and to memory of any kind; more than one message has room for. */
static void copies(void **state)
{
	enum { N = 2 * VG_MAPPER_SEGS_MAX + 3 };
	static struct xen_copy_seg segs[N];
	uint8_t *own = malloc(N * 64), *buffer = remote_buffer_get(65536);
	unsigned int i;

	(void)state;
	assert_non_null(buffer);
	assert_int_equal((uintptr_t)buffer % PAGE, 0);
	for (i = 0; i < N; i++) {
		uint8_t *local = i % 3 ? own + i * 64 : buffer + i * 40;

		segs[i] = (struct xen_copy_seg){
			.ref = 8 + i, .offset = (uint16_t)(i % 4000),
			.len_bytes = 40, .to_foreign = i % 2, .local = local,
			.status = 77,
		};
		memset(local, 0xa0 + (int)(i % 16), 40);
	}
	assert_int_equal(remote_exchange(GUEST, segs, N, NULL, 0), 0);
	assert_int_equal(messages, 3);
	assert_int_equal(xen.segs, N);
	for (i = 0; i < N; i++) {
		const uint8_t *page = xen.mem + (8 + i) * PAGE;
		unsigned int at = i % 4000;

		assert_int_equal(segs[i].status, 0);
		if (!segs[i].to_foreign) {
			assert_int_equal(((uint8_t *)segs[i].local)[0],
					 fresh(8 + i));
			assert_int_equal(((uint8_t *)segs[i].local)[39],
					 fresh(8 + i));
			continue;
		}
		assert_int_equal(page[at], 0xa0 + i % 16);
		assert_int_equal(page[at + 39], 0xa0 + i % 16);
		assert_int_equal(page[at + 40], fresh(8 + i));
	}
	assert_true(remote_buffer_put(buffer, 65536));
	assert_false(remote_buffer_put(own, 64));
	free(own);
}

/* A copy and mappings in one message; each has its own result. */
static void exchanges(void **state)
{
	xen_ref_t refs[4] = { 20, 21, BAD_REF, 30 };
	struct xen_copy_seg segs[] = {
		{ .ref = 9, .len_bytes = 16 },
		{ .ref = BAD_REF, .len_bytes = 1 },
	};
	struct xen_map_job jobs[] = {
		{ .refs = refs, .count = 2, .prot = PROT_READ },
		{ .refs = refs + 2, .count = 1, .prot = PROT_READ },
		{ .refs = refs + 3,
		  .count = 1,
		  .prot = PROT_READ | PROT_WRITE },
	};
	uint8_t out[2][16];

	(void)state;
	segs[0].local = out[0];
	segs[1].local = out[1];
	assert_int_equal(remote_exchange(GUEST, segs, 2, jobs, 3), -EFAULT);
	assert_int_equal(messages, 1);
	assert_int_equal(segs[0].status, 0);
	assert_int_equal(out[0][15], fresh(9));
	assert_true(segs[1].status < 0);
	assert_int_equal(jobs[0].err, 0);
	assert_int_equal(((uint8_t *)jobs[0].addr)[0], fresh(20));
	assert_int_equal(((uint8_t *)jobs[0].addr)[PAGE], fresh(21));
	assert_int_equal(jobs[1].err, -EINVAL);
	assert_int_equal(jobs[2].err, 0);
	*(uint8_t *)jobs[2].addr = 0x55;
	assert_int_equal(xen.mem[30 * PAGE], 0x55);
	/* Nothing is left prepared. */
	assert_int_equal(xen.forgotten, 3);
	assert_int_equal(remote_unmap(jobs[0].addr, 2), 0);
	assert_int_equal(remote_unmap(jobs[2].addr, 1), 0);
}

/* More jobs than one message has room for, by number and by references. */
static void many_jobs(void **state)
{
	enum { N = VG_MAPPER_JOBS_MAX + 9 };
	static struct xen_map_job jobs[N];
	static xen_ref_t refs[VG_MAPPER_REFS_MAX];
	unsigned int i;

	(void)state;
	for (i = 0; i < VG_MAPPER_REFS_MAX; i++)
		refs[i] = i % 1000;
	for (i = 0; i < N; i++)
		jobs[i] = (struct xen_map_job){
			.refs = refs + 100 + i, .count = 1, .prot = PROT_READ,
		};
	assert_int_equal(remote_exchange(GUEST, NULL, 0, jobs, N), 0);
	assert_int_equal(messages, 2);
	for (i = 0; i < N; i++) {
		assert_int_equal(jobs[i].err, 0);
		assert_int_equal(*(uint8_t *)jobs[i].addr, fresh(100 + i));
		remote_unmap(jobs[i].addr, 1);
	}
	messages = 0;
	jobs[0].refs = refs;
	jobs[0].count = VG_MAPPER_REFS_MAX;
	assert_int_equal(remote_exchange(GUEST, NULL, 0, jobs, 2), 0);
	assert_int_equal(messages, 2);
	for (i = 0; i < 2; i++)
		remote_unmap(jobs[i].addr, jobs[i].count);
	/* More than gntdev takes: refused, not asked for ever. */
	jobs[0].count = VG_MAPPER_REFS_MAX + 1;
	assert_int_equal(remote_exchange(GUEST, NULL, 0, jobs, 2), -EINVAL);
	assert_int_equal(jobs[0].err, -EINVAL);
	assert_int_equal(jobs[1].err, -EINVAL);
}

/* A message that fails as a whole: neither it nor those after it are done. */
static void shortage(void **state)
{
	enum { N = 3 * VG_MAPPER_SEGS_MAX };
	static struct xen_copy_seg segs[N];
	xen_ref_t ref = 50;
	struct xen_map_job job = { .refs = &ref,
				   .count = 1,
				   .prot = PROT_READ };
	uint8_t byte;
	unsigned int i;

	(void)state;
	for (i = 0; i < N; i++)
		segs[i] = (struct xen_copy_seg){
			.ref = 8 + i % 64, .len_bytes = 1, .local = &byte,
		};
	segs[VG_MAPPER_SEGS_MAX + 5].ref = SHORT_REF;
	assert_int_equal(remote_exchange(GUEST, segs, N, &job, 1), -ENOMEM);
	assert_int_equal(messages, 2);
	for (i = 0; i < N; i++)
		assert_int_equal(segs[i].status, i < VG_MAPPER_SEGS_MAX ? 0 :
				 XEN_COPY_NOT_TRIED);
	assert_int_equal(job.err, 0);	/* with the first */
	remote_unmap(job.addr, 1);
}

/* Buffers do not overlap, are aligned, and come back. */
static void buffers_are_apart(void **state)
{
	static const size_t sizes[] = { 1024, 4096, 65536, 8192, 1048576 };
	struct {
		uint8_t *at;
		size_t bytes;
	} b[64];
	unsigned int i, k, n = 0;
	size_t area_bytes;
	uint8_t *area = remote_buffer_area(&area_bytes);

	(void)state;
	for (i = 0; n < 64; i++) {
		b[n].bytes = sizes[i % 5];
		b[n].at = remote_buffer_get(b[n].bytes);
		if (!b[n].at)
			break;
		assert_true(b[n].at >= area && b[n].at + b[n].bytes <=
			    area + area_bytes);
		assert_int_equal((uintptr_t)b[n].at %
				 min_u(b[n].bytes, (size_t)PAGE), 0);
		memset(b[n].at, (int)n, b[n].bytes);
		n++;
	}
	assert_true(n > 20);		/* and then there is no more */
	assert_null(remote_buffer_get((size_t)1 << 25));
	for (i = 0; i < n; i++)
		for (k = 0; k < b[i].bytes; k += 512)
			assert_int_equal(b[i].at[k], i);
	for (i = 0; i < n; i++)
		assert_true(remote_buffer_put(b[i].at, b[i].bytes));
	for (i = 0; i < n; i++)
		assert_non_null(remote_buffer_get(b[i].bytes));
}

static void maps_and_binds(void **state)
{
	xen_ref_t refs[] = { 40, 41 };
	xen_port_t port;
	unsigned int handle;
	void *va;
	int fd;

	(void)state;
	assert_int_equal(remote_map(GUEST, refs, 2, PROT_READ, &va), 0);
	assert_int_equal(((uint8_t *)va)[PAGE], fresh(41));
	assert_int_equal(remote_unmap(va, 2), 0);
	assert_int_equal(remote_map(GUEST + 1, refs, 2, PROT_READ, &va),
			 -EPERM);
	assert_int_equal(remote_exchange(GUEST + 1, (struct xen_copy_seg[]){
				{ .ref = 8, .len_bytes = 1, .local = &port } },
				1, NULL, 0), -EPERM);
	assert_int_equal(xen.copies, 0);
	assert_int_equal(remote_open_evtchn(&handle, &fd), 0);
	assert_int_equal(remote_open_evtchn(&handle, &fd), 0);
	assert_int_equal(handle, 1);
	assert_int_equal(remote_open_evtchn(&handle, &fd), -EMFILE);
	assert_int_equal(remote_bind(1, GUEST, 5, &port), 0);
	assert_int_equal(port, 61 + GUEST + 5);
	assert_int_equal(remote_unbind(0, port), -ENOENT);
	assert_int_equal(remote_unbind(1, port), 0);
	assert_int_equal(xen.unbound, 61 * 1000 + (int)port);
	assert_int_equal(remote_unbind(1, port), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(copies),
		T(exchanges),
		T(many_jobs),
		T(shortage),
		T(buffers_are_apart),
		T(maps_and_binds),
	};

	return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
