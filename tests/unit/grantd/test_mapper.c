// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_mapper.c - what the mapper lets through (backend/grantd/mapper.c), over
 * requests of Xen that only note what they were asked.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/mapper.h"
#include "unit.h"
#include "xen/raw.h"

#define GUEST	7
#define DATA_BYTES	((uint32_t)sizeof(((struct vg_mapper_arena *)0)->data))

static struct {
	unsigned int maps, copies, binds;
	int fd;
	xen_domid_t domid;
	xen_ref_t first_ref, last_ref;
	unsigned int count, copied_before;	/* the first map */
	xen_port_t port;
	struct xen_copy_seg seg;
	int err;
	void (*on_map)(void);
	void (*on_copy)(void);
	unsigned int forgets, unbinds;
	uint64_t refs_sum, forgotten;		/* the last index */
	int forget_err;
} xen;

static struct vg_mapper m;

int xen_raw_map(int fd, xen_domid_t domid, const xen_ref_t *refs,
		unsigned int count, uint64_t *index)
{
	if (!xen.maps++)
		xen.copied_before = xen.copies;
	xen.fd = fd;
	xen.domid = domid;
	xen.first_ref = refs[0];
	xen.last_ref = refs[count - 1];
	xen.count = count;
	*index = 0x4000 + xen.maps * 0x1000;
	if (xen.on_map)
		xen.on_map();
	xen.refs_sum = 0;
	while (count--)
		xen.refs_sum += refs[count];
	return xen.err;
}

int xen_raw_forget(int fd, uint64_t index, unsigned int count)
{
	assert_int_equal(fd, 50);
	assert_true(count);
	xen.forgets++;
	xen.forgotten = index;
	return xen.forget_err;
}

int xen_raw_unbind(int fd, xen_port_t local)
{
	xen.unbinds++;
	xen.fd = fd;
	xen.port = local;
	return xen.err;
}

int xen_raw_copy(int fd, xen_domid_t domid, struct xen_copy_seg *segs,
		 unsigned int count)
{
	xen.copies++;
	xen.fd = fd;
	xen.domid = domid;
	xen.count = count;
	if (xen.on_copy)
		xen.on_copy();
	xen.seg = segs[0];
	segs[0].status = -3;
	return xen.err;
}

int xen_raw_bind(int fd, xen_domid_t domid, xen_port_t remote,
		 xen_port_t *local)
{
	xen.binds++;
	xen.fd = fd;
	xen.domid = domid;
	xen.port = remote;
	*local = 99;
	return xen.err;
}

static int setup(void **state)
{
	(void)state;
	memset(&xen, 0, sizeof(xen));
	m = (struct vg_mapper){
		.guest = GUEST, .gntdev_fd = 50, .evtchn_fd = { 60, 61 },
		.nr_evtchns = 2,
	};
	m.arena = aligned_alloc(4096, sizeof(*m.arena));
	memset(m.arena, 0, sizeof(*m.arena));
	unit_log_start();
	return !m.arena;
}

static int teardown(void **state)
{
	(void)state;
	free(m.arena);
	unit_log_stop();
	return 0;
}

static struct vg_mapper_rsp ask(struct vg_mapper_req req)
{
	struct vg_mapper_rsp rsp;

	memset(&rsp, 0xff, sizeof(rsp));
	vg_mapper_answer(&m, &req, &rsp);
	return rsp;
}

static struct vg_mapper_rsp map(uint32_t domid, uint32_t count)
{
	return ask((struct vg_mapper_req){
		.op = VG_MAPPER_MAP, .domid = domid, .count = count });
}

static struct vg_mapper_rsp bind_port(uint32_t domid, uint32_t port,
				      uint32_t evtchn)
{
	return ask((struct vg_mapper_req){
		.op = VG_MAPPER_BIND, .domid = domid, .port = port,
		.evtchn = evtchn });
}

/* ---- its own guest ------------------------------------------------------ */

static void test_maps_its_guests_grants(void **state)
{
	struct vg_mapper_rsp rsp;

	(void)state;
	m.arena->refs[0] = 123;
	rsp = map(GUEST, VG_MAPPER_REFS_MAX);
	assert_int_equal(rsp.err, 0);
	assert_int_equal(rsp.value, 0x5000);
	assert_int_equal(xen.domid, GUEST);
	assert_int_equal(xen.fd, 50);
	assert_int_equal(xen.first_ref, 123);
	assert_int_equal(xen.count, VG_MAPPER_REFS_MAX);
}

static void test_copies_at_its_place_of_the_arena(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .count = 1,
	};

	(void)state;
	m.arena->segs[0] = (struct vg_mapper_seg){
		.ref = 5, .offset = 4000, .len_bytes = 96, .to_foreign = 1,
	};
	xen.err = -EFAULT;
	assert_int_equal(ask(req).err, -EFAULT);
	assert_int_equal(xen.domid, GUEST);
	assert_int_equal(xen.seg.ref, 5);
	assert_int_equal(xen.seg.offset, 4000);
	assert_int_equal(xen.seg.len_bytes, 96);
	assert_true(xen.seg.to_foreign);
	assert_ptr_equal(xen.seg.local, m.arena->data);
	/* What became of it, can be read there. */
	assert_int_equal(m.arena->segs[0].status, -3);
	xen.err = 0;
	m.arena->segs[0].at = sizeof(m.arena->data) - 96;
	assert_int_equal(ask(req).err, 0);
	assert_ptr_equal(xen.seg.local,
			 m.arena->data + sizeof(m.arena->data) - 96);
	assert_int_equal(xen.maps, 0);
}

/* Worker's threads write to the arena while the mapper works. */
static void rewrite(void)
{
	m.arena->jobs[0].count = VG_MAPPER_REFS_MAX;
	m.arena->jobs[1].count = VG_MAPPER_REFS_MAX;
}

static void test_maps_the_jobs_of_an_exchange(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .count = 1, .jobs = 3,
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < 6; i++)
		m.arena->refs[i] = 100 + i;
	m.arena->segs[0] = (struct vg_mapper_seg){ .ref = 5, .len_bytes = 1 };
	m.arena->jobs[0].count = 1;
	m.arena->jobs[1].count = 3;
	m.arena->jobs[2].count = 2;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.copies, 1);
	assert_int_equal(xen.copied_before, 1);
	assert_int_equal(xen.maps, 3);
	assert_int_equal(xen.domid, GUEST);
	assert_int_equal(xen.count, 2);
	assert_int_equal(xen.first_ref, 104);
	assert_int_equal(xen.last_ref, 105);
	for (i = 0; i < 3; i++) {
		assert_int_equal(m.arena->jobs[i].err, 0);
		assert_int_equal(m.arena->jobs[i].index, 0x5000 + i * 0x1000);
	}
	/* Without a copy. */
	req.count = 0;
	xen.err = -ENOSPC;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.copies, 1);
	assert_int_equal(m.arena->jobs[1].err, -ENOSPC);
	/* A count counts as it was read, whatever is written over it. */
	xen.err = 0;
	xen.on_map = rewrite;
	xen.maps = 0;
	req.jobs = 2;
	m.arena->jobs[0].count = 1;
	m.arena->jobs[1].count = 1;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.maps, 1);
	assert_int_equal(xen.count, 1);
	assert_int_equal(m.arena->jobs[1].err, -EINVAL);
}

/* All of it, while a request is carried out. */
static void rewrite_all(void)
{
	memset(m.arena->refs, 0xff, sizeof(m.arena->refs));
	memset(m.arena->segs, 0xff, sizeof(m.arena->segs));
	memset(m.arena->jobs, 0xff, sizeof(m.arena->jobs));
}

static void test_uses_what_it_checked(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .count = 1,
	};
	struct vg_mapper_permit relay = { .domid = 0, .ref = 8, .port = 30 };

	(void)state;
	xen.on_map = xen.on_copy = rewrite_all;
	/* A relay's page, and then another. */
	vg_mapper_allow(&m, &relay);
	m.arena->refs[0] = 8;
	assert_int_equal(map(0, 1).err, 0);
	assert_int_equal(xen.refs_sum, 8);
	/* References of a map, of a job, and the pieces of a copy. */
	m.arena->refs[0] = 20;
	m.arena->refs[1] = 30;
	assert_int_equal(map(GUEST, 2).err, 0);
	assert_int_equal(xen.refs_sum, 50);
	m.arena->segs[0] = (struct vg_mapper_seg){
		.ref = 5, .offset = 8, .len_bytes = 64, .at = 4096 };
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.seg.ref, 5);
	assert_int_equal(xen.seg.offset, 8);
	assert_int_equal(xen.seg.len_bytes, 64);
	assert_ptr_equal(xen.seg.local, m.arena->data + 4096);
	req.count = 0;
	req.jobs = 1;
	m.arena->refs[0] = 40;
	m.arena->refs[1] = 50;
	m.arena->jobs[0].count = 2;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.refs_sum, 90);
	assert_int_equal(m.arena->jobs[0].err, 0);
}

/* A thread of the worker that writes all the time. */
static bool stop_writing;

static void *write_on(void *arg)
{
	static const struct vg_mapper_seg good = {
		.ref = 1,
		.at = DATA_BYTES - 64,
		.offset = 4032,
		.len_bytes = 64,
	};
	static const struct vg_mapper_seg bad = {
		.ref = 2, .at = UINT32_MAX, .offset = 4095, .len_bytes = 4096,
	};

	(void)arg;
	while (!__atomic_load_n(&stop_writing, __ATOMIC_RELAXED)) {
		*(volatile struct vg_mapper_seg *)&m.arena->segs[0] = good;
		*(volatile uint32_t *)&m.arena->jobs[0].count = 1;
		*(volatile struct vg_mapper_seg *)&m.arena->segs[0] = bad;
		*(volatile uint32_t *)&m.arena->jobs[0].count = UINT32_MAX;
	}
	return NULL;
}

static void assert_in_the_arena(void)
{
	const uint8_t *at = xen.seg.local;

	assert_true(at >= m.arena->data && at + xen.seg.len_bytes <=
		    m.arena->data + sizeof(m.arena->data));
	assert_true(xen.seg.offset + xen.seg.len_bytes <= 4096);
}

static void test_a_racing_writer(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .count = 1, .jobs = 1,
	};
	unsigned int i;
	pthread_t t;

	(void)state;
	stop_writing = false;
	assert_int_equal(pthread_create(&t, NULL, write_on, NULL), 0);
	for (i = 0; i < 300000; i++) {
		xen.copies = 0;
		ask(req);
		if (xen.copies)
			assert_in_the_arena();
		if (xen.maps)
			assert_int_equal(xen.count, 1);
	}
	__atomic_store_n(&stop_writing, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
}

static void test_binds_its_guests_ports(void **state)
{
	(void)state;
	assert_int_equal(bind_port(GUEST, 17, 1).err, 0);
	assert_int_equal(bind_port(GUEST, 17, 1).value, 99);
	assert_int_equal(xen.fd, 61);
	assert_int_equal(xen.port, 17);
}

static void test_passes_errors_on(void **state)
{
	(void)state;
	xen.err = -ENOSPC;
	assert_int_equal(map(GUEST, 1).err, -ENOSPC);
	assert_int_equal(bind_port(GUEST, 1, 0).err, -ENOSPC);
}

/* ---- others ------------------------------------------------------------- */

static void test_refuses_other_domains(void **state)
{
	static const uint32_t others[] = {
		0, 1, GUEST - 1, GUEST + 1, 0x7ff0, 0x7ff1, 0x7ff4, 0x7fff,
		0x10000 + GUEST, UINT32_MAX, UINT32_MAX - 0xffff + GUEST,
	};
	struct vg_mapper_req copy = { .op = VG_MAPPER_EXCHANGE, .count = 1 };
	struct vg_mapper_req jobs = { .op = VG_MAPPER_EXCHANGE, .jobs = 1 };
	unsigned int i;

	(void)state;
	m.arena->jobs[0].count = 1;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_int_equal(map(others[i], 1).err, -EPERM);
		assert_int_equal(map(others[i], 4).err, -EPERM);
		assert_int_equal(bind_port(others[i], 3, 0).err, -EPERM);
		copy.domid = jobs.domid = others[i];
		assert_int_equal(ask(copy).err, -EPERM);
		assert_int_equal(ask(jobs).err, -EPERM);
	}
	assert_int_equal(xen.maps + xen.copies + xen.binds, 0);
	assert_int_equal(m.refused, 5 * i);
	/* It is said, and not again and again. */
	assert_true(unit_logged("none of its guest"));
	assert_int_equal(unit_log_lines(), 3);
}

static void test_passes_a_relay_and_nothing_beside_it(void **state)
{
	struct vg_mapper_permit relay = {
		.dev = 2, .domid = 0, .ref = 8, .port = 30,
	};
	struct vg_mapper_req copy = {
		.op = VG_MAPPER_EXCHANGE, .domid = 0, .count = 1,
	};

	(void)state;
	vg_mapper_allow(&m, &relay);
	m.arena->refs[0] = 8;
	assert_int_equal(map(0, 1).err, 0);
	assert_int_equal(xen.first_ref, 8);
	assert_int_equal(bind_port(0, 30, 0).err, 0);
	/* Not two pages, another reference, port or domain; no copy. */
	assert_int_equal(map(0, 2).err, -EPERM);
	m.arena->refs[0] = 9;
	assert_int_equal(map(0, 1).err, -EPERM);
	m.arena->refs[0] = 8;
	assert_int_equal(map(1, 1).err, -EPERM);
	assert_int_equal(map(0x10000, 1).err, -EPERM);
	assert_int_equal(bind_port(0, 31, 0).err, -EPERM);
	assert_int_equal(bind_port(0, 8, 0).err, -EPERM);
	m.arena->segs[0] = (struct vg_mapper_seg){ .ref = 8, .len_bytes = 1 };
	assert_int_equal(ask(copy).err, -EPERM);
	copy.count = 0;
	copy.jobs = 1;
	m.arena->jobs[0].count = 1;
	assert_int_equal(ask(copy).err, -EPERM);
	/* Another broker, another relay: the old one is nobody's. */
	relay.ref = 11;
	relay.port = 40;
	vg_mapper_allow(&m, &relay);
	assert_int_equal(map(0, 1).err, -EPERM);
	assert_int_equal(bind_port(0, 30, 0).err, -EPERM);
	m.arena->refs[0] = 11;
	assert_int_equal(map(0, 1).err, 0);
	assert_int_equal(bind_port(0, 40, 0).err, 0);
	assert_int_equal(xen.maps, 2);
	assert_int_equal(xen.binds, 2);
}

/* With its device goes what was allowed for it, and nothing else. */
static void test_a_relay_is_withdrawn(void **state)
{
	struct vg_mapper_permit first = { .dev = 1, .domid = 0, .ref = 8,
					 .port = 30 };
	struct vg_mapper_permit other = { .dev = 2, .domid = 0, .ref = 9,
					 .port = 31 };
	struct vg_mapper_permit none = { .dev = 1,
					.domid = VG_MAPPER_NOBODY };

	(void)state;
	vg_mapper_allow(&m, &first);
	vg_mapper_allow(&m, &other);
	vg_mapper_allow(&m, &none);
	m.arena->refs[0] = 8;
	assert_int_equal(map(0, 1).err, -EPERM);
	assert_int_equal(bind_port(0, 30, 0).err, -EPERM);
	/* What says that there is none, names none. */
	m.arena->refs[0] = 0;
	assert_int_equal(map(VG_MAPPER_NOBODY, 1).err, -EPERM);
	assert_int_equal(bind_port(VG_MAPPER_NOBODY, 0, 0).err, -EPERM);
	m.arena->refs[0] = 9;
	assert_int_equal(map(0, 1).err, 0);
	assert_int_equal(bind_port(0, 31, 0).err, 0);
}

/* The same reference and port, of a domain that was not named. */
static void test_a_relay_is_its_domains(void **state)
{
	struct vg_mapper_permit relay = { .domid = 0, .ref = 8, .port = 30 };
	unsigned int d;

	(void)state;
	vg_mapper_allow(&m, &relay);
	m.arena->refs[0] = 8;
	for (d = 1; d < 20; d++) {
		if (d == GUEST)
			continue;
		assert_int_equal(map(d, 1).err, -EPERM);
		assert_int_equal(bind_port(d, 30, 0).err, -EPERM);
	}
	assert_int_equal(bind_port(0x10000, 30, 0).err, -EPERM);
	assert_int_equal(xen.maps + xen.binds, 0);
}

/* ---- budgets ------------------------------------------------------------ */

static void test_takes_back_what_it_prepared(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .jobs = 2,
	};

	(void)state;
	m.arena->jobs[0].count = m.arena->jobs[1].count = 3;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(xen.forgets, 0);
	/* With the next request, whatever it is; mostly it is gone already. */
	xen.forget_err = -ENOENT;
	assert_int_equal(ask((struct vg_mapper_req){ 0 }).err, -EINVAL);
	assert_int_equal(xen.forgets, 2);
	assert_int_equal(xen.forgotten, 0x6000);
	ask((struct vg_mapper_req){ 0 });
	assert_int_equal(xen.forgets, 2);
	/* However often: a whole request's worth at a time. */
	xen.forget_err = 0;
	assert_int_equal(map(GUEST, VG_MAPPER_REFS_MAX).err, 0);
	assert_int_equal(map(GUEST, VG_MAPPER_REFS_MAX).err, 0);
	assert_int_equal(m.pages_prepared, VG_MAPPER_REFS_MAX);
}

/* What can't be taken back, counts. */
static void test_prepares_so_many_pages(void **state)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = GUEST, .jobs = 1,
	};
	unsigned int i, maps;

	(void)state;
	xen.forget_err = -EINVAL;
	for (i = 0; i < 4; i++)
		assert_int_equal(map(GUEST, VG_MAPPER_REFS_MAX / 4).err, 0);
	maps = xen.maps;
	assert_int_equal(map(GUEST, 1).err, -ENOSPC);
	m.arena->jobs[0].count = 1;
	assert_int_equal(ask(req).err, 0);
	assert_int_equal(m.arena->jobs[0].err, -ENOSPC);
	assert_int_equal(xen.maps, maps);
	xen.forget_err = 0;
	assert_int_equal(map(GUEST, 1).err, 0);
	/* Nor so many times. */
	xen.forget_err = -EINVAL;
	for (i = 0; i < VG_MAPPER_JOBS_MAX - 1; i++)
		assert_int_equal(map(GUEST, 1).err, 0);
	assert_int_equal(map(GUEST, 1).err, -ENOSPC);
}

static void test_binds_so_many_ports(void **state)
{
	struct vg_mapper_req unbind = {
		.op = VG_MAPPER_UNBIND, .evtchn = 1, .port = 99,
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < VG_MAPPER_PORTS_MAX; i++)
		assert_int_equal(bind_port(GUEST, i, 1).err, 0);
	assert_int_equal(bind_port(GUEST, i, 1).err, -ENOSPC);
	assert_int_equal(bind_port(GUEST, i, 0).err, -ENOSPC);
	/* One that is bound, by the handle that it is bound by. */
	unbind.port = 98;
	assert_int_equal(ask(unbind).err, -ENOENT);
	unbind.port = 99;
	unbind.evtchn = 0;
	assert_int_equal(ask(unbind).err, -ENOENT);
	unbind.evtchn = UINT32_MAX;
	assert_int_equal(ask(unbind).err, -ENOENT);
	assert_int_equal(xen.unbinds, 0);
	unbind.evtchn = 1;
	xen.err = -ENOTCONN;
	assert_int_equal(ask(unbind).err, -ENOTCONN);
	xen.err = 0;
	assert_int_equal(bind_port(GUEST, i, 1).err, -ENOSPC);
	assert_int_equal(ask(unbind).err, 0);
	assert_int_equal(xen.fd, 61);
	assert_int_equal(xen.port, 99);
	assert_int_equal(bind_port(GUEST, i, 1).err, 0);
	/* What was not bound, does not count. */
	assert_int_equal(ask(unbind).err, 0);
	xen.err = -ENOSPC;
	for (i = 0; i < 10; i++)
		assert_int_equal(bind_port(GUEST, i, 1).err, -ENOSPC);
	xen.err = 0;
	assert_int_equal(bind_port(GUEST, i, 1).err, 0);
}

/* Zeroes are no relay that was named. */
static void test_has_no_relay_at_first(void **state)
{
	(void)state;
	m.arena->refs[0] = 0;
	assert_int_equal(map(0, 1).err, -EPERM);
	assert_int_equal(bind_port(0, 0, 0).err, -EPERM);
	vg_mapper_allow(&m, &(struct vg_mapper_permit){
				.dev = VG_MAPPER_PERMITS_MAX });
	assert_int_equal(map(0, 1).err, -EPERM);
}

/* ---- nonsense ----------------------------------------------------------- */

static void test_bounds(void **state)
{
	struct vg_mapper_req copy = { .op = VG_MAPPER_EXCHANGE,
				      .domid = GUEST };
	static const struct {
		uint16_t offset, len_bytes;
	} bad[] = { { 4095, 2 }, { 1, 4096 }, { 0, 4097 }, { 65535, 1 },
		    { 65535, 65535 }, { 4097, 0 } };
	static const uint32_t bad_at[] = {
		DATA_BYTES - 63, DATA_BYTES, UINT32_MAX, UINT32_MAX - 63,
	};
	unsigned int i;

	(void)state;
	assert_int_equal(map(GUEST, 0).err, -EINVAL);
	assert_int_equal(map(GUEST, VG_MAPPER_REFS_MAX + 1).err, -EINVAL);
	assert_int_equal(map(GUEST, UINT32_MAX).err, -EINVAL);
	assert_int_equal(bind_port(GUEST, 1, 2).err, -EINVAL);
	assert_int_equal(bind_port(GUEST, 1, UINT32_MAX).err, -EINVAL);
	assert_int_equal(ask(copy).err, -EINVAL);
	copy.count = VG_MAPPER_SEGS_MAX + 1;
	assert_int_equal(ask(copy).err, -EINVAL);
	copy.count = UINT32_MAX;
	assert_int_equal(ask(copy).err, -EINVAL);
	copy.count = 2;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m.arena->segs[1] = (struct vg_mapper_seg){
			.offset = bad[i].offset, .len_bytes = bad[i].len_bytes,
		};
		assert_int_equal(ask(copy).err, -EINVAL);
	}
	assert_int_equal(xen.maps + xen.copies + xen.binds, 0);
	for (i = 0; i < sizeof(bad_at) / sizeof(bad_at[0]); i++) {
		m.arena->segs[1] = (struct vg_mapper_seg){
			.at = bad_at[i], .len_bytes = 64,
		};
		assert_int_equal(ask(copy).err, -EINVAL);
	}
	assert_int_equal(xen.copies, 0);
	/* What just fits. */
	m.arena->segs[1] = (struct vg_mapper_seg){
		.at = DATA_BYTES - 4096, .len_bytes = 4096 };
	assert_int_equal(ask(copy).err, 0);
	/* Jobs: as many as there are, of references that there are. */
	copy.count = 0;
	copy.jobs = VG_MAPPER_JOBS_MAX + 1;
	assert_int_equal(ask(copy).err, -EINVAL);
	copy.jobs = UINT32_MAX;
	assert_int_equal(ask(copy).err, -EINVAL);
	assert_int_equal(xen.maps, 0);
	copy.jobs = 5;
	m.arena->jobs[0].count = 0;
	m.arena->jobs[1].count = VG_MAPPER_REFS_MAX + 1;
	m.arena->jobs[2].count = UINT32_MAX;
	m.arena->jobs[3].count = VG_MAPPER_REFS_MAX;
	m.arena->jobs[4].count = 1;
	assert_int_equal(ask(copy).err, 0);
	assert_int_equal(xen.maps, 1);
	for (i = 0; i < 5; i++)
		assert_int_equal(m.arena->jobs[i].err, i == 3 ? 0 : -EINVAL);
}

static void test_unknown_requests(void **state)
{
	struct vg_mapper_req req = { .domid = GUEST, .count = 1 };

	(void)state;
	assert_int_equal(ask(req).err, -EINVAL);
	req.op = VG_MAPPER_UNBIND + 1;
	assert_int_equal(ask(req).err, -EINVAL);
	memset(&req, 0xff, sizeof(req));
	assert_int_equal(ask(req).err, -EINVAL);
	assert_int_equal(xen.maps + xen.copies + xen.binds, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_maps_its_guests_grants),
		T(test_copies_at_its_place_of_the_arena),
		T(test_maps_the_jobs_of_an_exchange),
		T(test_uses_what_it_checked),
		T(test_a_racing_writer),
		T(test_binds_its_guests_ports),
		T(test_passes_errors_on),
		T(test_refuses_other_domains),
		T(test_passes_a_relay_and_nothing_beside_it),
		T(test_a_relay_is_withdrawn),
		T(test_a_relay_is_its_domains),
		T(test_takes_back_what_it_prepared),
		T(test_prepares_so_many_pages),
		T(test_binds_so_many_ports),
		T(test_has_no_relay_at_first),
		T(test_bounds),
		T(test_unknown_requests),
	};

	return cmocka_run_group_tests_name("mapper", tests, NULL, NULL);
}
