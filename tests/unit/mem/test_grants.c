// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_grants.c - guest memory by map and copy (mem/grants.c) over the Xen of
 * tests/fake/: what a request costs in hypercalls, what is refused and why,
 * and that everything is given back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/uapi/virtio_grant.h"
#include "mem/grants.h"
#include "unit.h"
#include "lib/util.h"

#define US	1u
#define GUEST	3u
#define PAGE	4096u
#define BUDGET	64u
#define IOVS	40u

struct env {
	struct xen_gnttab *gt;
	struct vg_mem *m;
	struct iovec iov[IOVS];
	struct vg_mem_bufs b;
	struct vg_mem_req *req;
	enum vg_mem_fault fault;
};

static uint32_t copy_max = 512;

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	fake_init();
	fake_domain_create(US, 1, 16);
	fake_domain_create(GUEST, 1, 4096);
	fake_enter(US);
	assert_int_equal(xen_gnttab_open(&e->gt), 0);
	assert_int_equal(
		vg_mem_map_create(e->gt, GUEST, BUDGET, copy_max, &e->m), 0);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	assert_int_equal(e->m->stats.mapped_pages_now, 0);
	assert_int_equal(fake_maps_held(US), 0);
	e->m->ops->destroy(e->m);
	xen_gnttab_close(e->gt);
	assert_int_equal(fake_leaks(), 0);
	fake_exit();
	free(e);
	return 0;
}

/* Fresh pages of the guest, granted; their address, and the guest's view. */
static uint64_t pages(unsigned int n, bool read_only, uint8_t **view)
{
	unsigned int pfn = fake_alloc_pages(GUEST, n);

	if (view)
		*view = fake_page(GUEST, pfn);
	return VIRTIO_GRANT_ADDR_FLAG | (uint64_t)fake_grant(GUEST, US, pfn, n,
						    read_only) << 12;
}

static int begin(struct env *e, const struct vg_seg *segs, unsigned int n)
{
	e->b = (struct vg_mem_bufs){ .iov = e->iov, .max = IOVS };
	return e->m->ops->map_req(e->m, segs, n, &e->b, &e->req, &e->fault);
}

static int end(struct env *e)
{
	e->b = (struct vg_mem_bufs){ .iov = e->iov, .max = IOVS };
	return e->m->ops->map_end(e->m, e->req, &e->b, &e->fault);
}

/* One request alone; what there is no memory for is given up. */
static int map(struct env *e, const struct vg_seg *segs, unsigned int n)
{
	enum vg_mem_fault fault;
	int err = begin(e, segs, n);

	if (err != VG_MEM_LATER)
		return err;
	e->m->ops->exchange(e->m);
	err = end(e);
	if (err == -EAGAIN)
		assert_int_equal(e->m->ops->unmap_req(e->m, e->req, &fault), 0);
	return err;
}

static int unmap(struct env *e)
{
	enum vg_mem_fault fault;
	int err = e->m->ops->unmap_req(e->m, e->req, &fault);

	if (err != VG_MEM_LATER)
		return err;
	e->m->ops->exchange(e->m);
	return e->m->ops->unmap_end(e->m, e->req, &fault);
}

static void expect_calls(unsigned int maps, unsigned int unmaps,
			 unsigned int copies)
{
	assert_int_equal(fake_calls(US, FAKE_GNTTAB_MAP), maps);
	assert_int_equal(fake_calls(US, FAKE_GNTTAB_UNMAP), unmaps);
	assert_int_equal(fake_calls(US, FAKE_GNTTAB_COPY), copies);
	fake_count_reset();
}

/* A read of a mainline guest: header granted read-only, data and status rw. */
static void test_read(void **state)
{
	struct env *e = *state;
	uint8_t *hdr, *data, *st;
	struct vg_seg s[] = {
		{ pages(1, true, &hdr) + 100, 16, false },
		{ pages(2, false, &data), 8192, true },
		{ pages(1, false, &st) + 7, 1, true },
	};
	unsigned int round;

	for (round = 0; round < 3; round++) {
		memset(hdr, (int)round + 1, PAGE);
		fake_count_reset();
		assert_int_equal(map(e, s, 3), 0);
		expect_calls(1, 0, 1);
		assert_int_equal(e->b.nr_out, 1);
		assert_int_equal(e->b.nr, 3);
		assert_int_equal(e->iov[0].iov_len, 16);
		assert_int_equal(*(uint8_t *)e->iov[0].iov_base, round + 1);
		/* A copy: what the guest does now is too late. */
		memset(hdr, 0xee, PAGE);
		assert_int_equal(*(uint8_t *)e->iov[0].iov_base, round + 1);
		memset(e->iov[1].iov_base, 0x40 + (int)round, 8192);
		*(uint8_t *)e->iov[2].iov_base = 0;
		st[6] = st[7] = st[8] = 0xff;
		*(uint8_t *)e->iov[2].iov_base = 0;
		assert_int_equal(unmap(e), 0);
		expect_calls(0, 1, 0);
		assert_int_equal(data[0], 0x40 + round);
		assert_int_equal(data[8191], 0x40 + round);
		assert_int_equal(st[6], 0xff);
		assert_int_equal(st[7], 0);
		assert_int_equal(st[8], 0xff);
	}
}

/* A write: header and data mapped read-only in one call, status copied. */
static void test_write(void **state)
{
	struct env *e = *state;
	uint8_t *hdr, *data, *st;
	struct vg_seg s[] = {
		{ pages(1, true, &hdr) + 4090, 6, false },
		{ pages(2, true, &data) + 512, 4096, false },
		{ pages(1, false, &st) + 4095, 1, true },
	};

	memset(data, 0x33, 8192);
	st[4094] = 0x11;
	fake_count_reset();
	assert_int_equal(map(e, s, 3), 0);
	expect_calls(1, 0, 0);
	assert_int_equal(fake_pages_mapped(US), 0);	/* just reset */
	assert_int_equal(e->m->stats.mapped_pages_now, 3);
	assert_int_equal(e->b.nr_out, 2);
	assert_int_equal(e->b.nr, 3);
	assert_int_equal(*(uint8_t *)e->iov[1].iov_base, 0x33);
	*(uint8_t *)e->iov[2].iov_base = 5;
	assert_int_equal(unmap(e), 0);
	expect_calls(0, 1, 1);
	assert_int_equal(st[4095], 5);
	assert_int_equal(st[4094], 0x11);
}

/* Small altogether: no map at all. */
static void test_small(void **state)
{
	struct env *e = *state;
	uint8_t *p, *st;
	struct vg_seg s[] = {
		{ pages(2, true, &p) + 4088, 16, false },	/* two pages */
		{ pages(1, false, &st), 20, true },
		{ pages(1, false, NULL), 1, true },
	};
	unsigned int i;

	for (i = 0; i < 16; i++)
		p[4088 + i] = (uint8_t)i;
	memset(st, 0xcc, PAGE);
	fake_count_reset();
	assert_int_equal(map(e, s, 3), 0);
	expect_calls(0, 0, 1);
	assert_int_equal(e->b.nr_out, 1);
	assert_int_equal(e->b.nr, 2);
	for (i = 0; i < 16; i++)
		assert_int_equal(((uint8_t *)e->iov[0].iov_base)[i], i);
	assert_int_equal(e->iov[1].iov_len, 21);
	memset(e->iov[1].iov_base, 0x5a, 10);
	assert_int_equal(unmap(e), 0);
	expect_calls(0, 0, 1);
	assert_int_equal(st[9], 0x5a);
	assert_int_equal(st[10], 0);	/* left alone by the device: zero */
	assert_int_equal(st[20], 0xcc);
}

/* Bounce memory is used again: nothing of the last request is in it. */
static void test_no_stale_bytes(void **state)
{
	struct env *e = *state;
	uint8_t *st;
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false },
		{ pages(1, false, &st), 400, true },
	};
	unsigned int i;

	assert_int_equal(map(e, s, 2), 0);
	memset(e->iov[1].iov_base, 0x99, 400);
	assert_int_equal(unmap(e), 0);
	assert_int_equal(st[399], 0x99);
	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(unmap(e), 0);
	for (i = 0; i < 400; i++)
		assert_int_equal(st[i], 0);
}

/* Neighbours in one page, and pages in a row, share mapping and entry. */
static void test_merge(void **state)
{
	struct env *e = *state;
	uint64_t a = pages(4, false, NULL);
	struct vg_seg s[] = {
		{ a, 1024, true }, { a + 1024, 1024, true },
		{ a + 2048, 6144, true }, { a + 3 * PAGE, 100, true },
	};

	assert_int_equal(map(e, s, 4), 0);
	/* Pages 0, 1 and 3, which follow each other in our memory. */
	assert_int_equal(e->m->stats.mapped_pages_now, 5);	/* at most */
	assert_int_equal(fake_calls(US, FAKE_GNTTAB_MAP), 1);
	assert_int_equal(fake_pages_mapped(US), 3);
	assert_int_equal(e->b.nr_out, 0);
	assert_int_equal(e->b.nr, 1);
	assert_int_equal(e->iov[0].iov_len, 8192 + 100);
	assert_int_equal(unmap(e), 0);
}

/* Both directions large: one is mapped, the other copied, both arrive. */
static void test_both_large(void **state)
{
	struct env *e = *state;
	uint8_t *out, *in;
	struct vg_seg s[] = {
		{ pages(3, true, &out) + 1, 10000, false },
		{ pages(3, false, &in) + 2, 9000, true },
	};
	unsigned int i;

	for (i = 0; i < 10000; i++)
		out[1 + i] = (uint8_t)(i * 7);
	fake_count_reset();
	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(e->b.nr, 2);
	for (i = 0; i < 9000; i++)
		((uint8_t *)e->iov[1].iov_base)[i] =
			((uint8_t *)e->iov[0].iov_base)[i];
	assert_int_equal(unmap(e), 0);
	expect_calls(1, 1, 1);
	assert_memory_equal(in + 2, out + 1, 9000);

	s[0].len_bytes = 9000;
	s[1].len_bytes = 10000;
	assert_int_equal(map(e, s, 2), 0);
	for (i = 0; i < 9000; i++)
		((uint8_t *)e->iov[1].iov_base)[i] =
			(uint8_t)(((uint8_t *)e->iov[0].iov_base)[i] + 1);
	assert_int_equal(unmap(e), 0);
	expect_calls(1, 1, 1);
	assert_int_equal(in[2 + 8999], (uint8_t)(out[1 + 8999] + 1));
}

static void refused(struct env *e, uint64_t addr, uint32_t len,
		    enum vg_mem_fault why)
{
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false }, { addr, len, true },
	};
	uint64_t before = e->m->stats.faults[why];
	uint8_t buf[3 * PAGE];
	void *va;

	assert_true(map(e, s, 2) < 0);
	assert_int_equal(e->fault, why);
	assert_int_equal(e->m->stats.faults[why], before + 1);
	assert_int_equal(e->m->stats.mapped_pages_now, 0);
	e->fault = VG_MEM_OK;
	assert_true(e->m->ops->map_ring(e->m, addr, len, PROT_READ, &va,
					&e->fault) < 0);
	assert_int_equal(e->fault, why);
	e->fault = VG_MEM_OK;
	assert_true(e->m->ops->read(e->m, addr, buf, len, &e->fault) < 0);
	assert_int_equal(e->fault, why);
}

static void test_refused(void **state)
{
	struct env *e = *state;
	uint64_t good = pages(1, false, NULL);
	uint64_t last = VIRTIO_GRANT_ADDR_FLAG | (uint64_t)UINT32_MAX << 12;

	refused(e, 0x40001000, 4096, VG_MEM_NO_GRANT);
	refused(e, good & ~VIRTIO_GRANT_ADDR_FLAG, 64, VG_MEM_NO_GRANT);
	refused(e, 0, 1, VG_MEM_NO_GRANT);
	refused(e, good | UINT64_C(1) << 44, 64, VG_MEM_BAD_RANGE);
	refused(e, good | UINT64_C(1) << 62, 4096, VG_MEM_BAD_RANGE);
	refused(e, UINT64_MAX, 1, VG_MEM_BAD_RANGE);
	refused(e, last + 4095, 2, VG_MEM_BAD_RANGE);
	refused(e, last, 8192, VG_MEM_BAD_RANGE);
	refused(e, last, 4096, VG_MEM_NOT_GRANTED);
	refused(e, good + PAGE * 100, 4096, VG_MEM_NOT_GRANTED);
	/* Nothing was asked of Xen for what can be told from the number. */
	fake_count_reset();
	refused(e, 0x40001000, 64, VG_MEM_NO_GRANT);
	refused(e, last, 8192, VG_MEM_BAD_RANGE);
	expect_calls(0, 0, 0);
}

/*
 * Granted read-only, to be written: Xen says no, and it is the guest's fault.
 */
static void test_read_only_grant(void **state)
{
	struct env *e = *state;
	struct vg_seg s = { pages(1, true, NULL), 4096, true };
	void *va;

	assert_true(map(e, &s, 1) < 0);
	assert_int_equal(e->fault, VG_MEM_NOT_GRANTED);
	assert_true(e->m->ops->map_ring(e->m, s.addr, 64,
					PROT_READ | PROT_WRITE, &va,
					&e->fault) < 0);
	/* Small ones are copied, and fail when they are. */
	s.len_bytes = 1;
	assert_int_equal(map(e, &s, 1), 0);
	assert_true(unmap(e) < 0);
}

static void test_partly_granted(void **state)
{
	struct env *e = *state;
	uint64_t a = pages(3, false, NULL), hole = a + 2 * PAGE;

	pages(8, false, NULL);
	assert_int_equal(fake_grant_end(GUEST, (xen_ref_t)(hole >> 12)), 0);
	refused(e, a, 3 * PAGE, VG_MEM_NOT_GRANTED);
	assert_int_equal(fake_grant_maps(GUEST, (xen_ref_t)(a >> 12)), 0);
}

/* Taken back between map and unmap of a copied request: counted, survived. */
static void test_revoked_under_copy(void **state)
{
	struct env *e = *state;
	uint64_t st = pages(1, false, NULL);
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false }, { st, 1, true },
	};

	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(fake_grant_end(GUEST, (xen_ref_t)(st >> 12)), 0);
	assert_true(unmap(e) < 0);
	assert_int_equal(e->m->stats.faults[VG_MEM_NOT_GRANTED], 1);
}

/* Too much for now waits; too much for ever is a fault. */
static void test_budget(void **state)
{
	struct env *e = *state;
	uint64_t a = pages(BUDGET + 1, false, NULL);
	struct vg_seg s = { a, (BUDGET - 10) * PAGE, true };
	struct vg_mem_req *first;
	void *ring;

	assert_int_equal(e->m->ops->map_ring(e->m, a, 2 * PAGE,
					     PROT_READ | PROT_WRITE, &ring,
					     &e->fault), 0);
	assert_int_equal(map(e, &s, 1), 0);
	first = e->req;
	assert_int_equal(map(e, &s, 1), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	assert_int_equal(e->m->stats.waits, 1);
	e->req = first;
	assert_int_equal(unmap(e), 0);
	assert_int_equal(map(e, &s, 1), 0);
	assert_int_equal(unmap(e), 0);
	/* Beside the ring it can never fit. */
	s.len_bytes = (BUDGET - 1) * PAGE;
	assert_int_equal(map(e, &s, 1), -E2BIG);
	assert_int_equal(e->fault, VG_MEM_BUDGET);
	s.len_bytes = UINT32_MAX;
	assert_int_equal(map(e, &s, 1), -E2BIG);
	e->m->ops->unmap_ring(e->m, ring, 2 * PAGE);
	assert_int_equal(e->m->stats.mapped_pages_max, BUDGET - 8);
}

/* What we or Xen are short of is not the guest's fault. */
static void test_shortage(void **state)
{
	struct env *e = *state;
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false },
		{ pages(1, false, NULL), 4096, true },
	};

	fake_fail_nth(US, FAKE_GNTTAB_MAP, 1, ENOMEM);
	assert_int_equal(map(e, s, 2), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	fake_fail_nth(US, FAKE_GNTTAB_COPY, 1, ENOMEM);
	assert_int_equal(map(e, s, 2), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(unmap(e), 0);
}

static void test_ring(void **state)
{
	struct env *e = *state;
	uint8_t *view;
	uint64_t a = pages(2, false, &view);
	uint8_t buf[200];
	void *va;

	assert_int_equal(e->m->ops->map_ring(e->m, a + 4000, 200,
					     PROT_READ | PROT_WRITE, &va,
					     &e->fault), 0);
	memset(va, 0x6b, 200);
	assert_int_equal(view[3999], 0);
	assert_int_equal(view[4000], 0x6b);
	assert_int_equal(view[4199], 0x6b);
	assert_int_equal(e->m->ops->read(e->m, a + 4000, buf, 200, &e->fault),
			 0);
	assert_int_equal(buf[199], 0x6b);
	assert_int_equal(fake_grant_maps(GUEST, (xen_ref_t)(a >> 12)), 1);
	e->m->ops->unmap_ring(e->m, va, 200);
	assert_int_equal(fake_grant_maps(GUEST, (xen_ref_t)(a >> 12)), 0);
}

/* Random requests against a plain model: what goes out and comes back. */
static uint32_t rng_state = 88172645u;

static uint32_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 17;
	rng_state ^= rng_state << 5;
	return rng_state;
}

static void test_random(void **state)
{
	enum { PAGES = 24, BYTES = PAGES * 4096 };
	struct env *e = *state;
	uint8_t *out, *in, *model = malloc(BYTES);
	uint64_t a_out = pages(PAGES, true, &out);
	uint64_t a_in = pages(PAGES, false, &in);
	unsigned int round, i, k;

	for (i = 0; i < BYTES; i++)
		out[i] = (uint8_t)rng();
	for (round = 0; round < 3000; round++) {
		unsigned int n_out = 1 + rng() % 4, n_in = 1 + rng() % 4;
		uint32_t at = 0, max = rng() % 3 ? 5000 : 100, pos;
		struct vg_seg s[8];
		uint8_t *p;

		for (i = 0; i < n_out; i++) {
			uint32_t len = 1 + rng() % max;

			s[i] = (struct vg_seg){
				a_out + rng() % (BYTES - len), len, false
			};
		}
		/* Writable ones apart from each other, as a driver has them. */
		for (; i < n_out + n_in; i++) {
			uint32_t len = 1 + rng() % max;

			at += rng() % 100;
			s[i] = (struct vg_seg){ a_in + at, len, true };
			at += len;
		}
		memset(in, 0xd1, BYTES);
		memset(model, 0xd1, BYTES);
		assert_int_equal(map(e, s, n_out + n_in), 0);

		/* Readable bytes are the guest's, in order. */
		for (i = 0, k = 0, pos = 0; i < n_out; i++) {
			uint32_t left = s[i].len_bytes;
			const uint8_t *want = out + (s[i].addr - a_out);

			while (left) {
				uint32_t n = min_u(left, (uint32_t)
						   e->iov[k].iov_len - pos);

				assert_memory_equal((uint8_t *)
					e->iov[k].iov_base + pos, want, n);
				want += n;
				left -= n;
				pos += n;
				if (pos == e->iov[k].iov_len) {
					pos = 0;
					k++;
				}
			}
		}
		assert_int_equal(k, e->b.nr_out);
		/* Writable ones take what is written, and no byte more. */
		for (i = n_out, pos = 0; i < n_out + n_in; i++) {
			uint32_t j;

			for (j = 0; j < s[i].len_bytes; j++) {
				uint8_t v = (uint8_t)rng();

				p = e->iov[k].iov_base;
				p[pos++] = v;
				model[s[i].addr - a_in + j] = v;
				if (pos == e->iov[k].iov_len) {
					pos = 0;
					k++;
				}
			}
		}
		assert_int_equal(k, e->b.nr);
		fake_count_reset();
		assert_int_equal(unmap(e), 0);
		assert_true(fake_calls(US, FAKE_GNTTAB_UNMAP) <= 1);
		assert_true(fake_calls(US, FAKE_GNTTAB_COPY) <= 1);
		assert_memory_equal(in, model, BYTES);
	}
	free(model);
}

/* ---- several at once ---------------------------------------------------- */

#define N	8u

/* A mainline guest's read of one page, each of its own. */
struct one {
	struct vg_seg s[3];
	struct vg_mem_req *req;
	struct iovec iov[3];
	struct vg_mem_bufs b;
	uint8_t *hdr, *data, *st;
	int err;
};

static void one_make(struct one *o, unsigned int i)
{
	o->s[0] = (struct vg_seg){ pages(1, true, &o->hdr) + 64, 16, false };
	o->s[1] = (struct vg_seg){ pages(1, false, &o->data), PAGE, true };
	o->s[2] = (struct vg_seg){ pages(1, false, &o->st) + 9, 1, true };
	memset(o->hdr, (int)i + 1, PAGE);
}

static void one_begin(struct env *e, struct one *o)
{
	assert_int_equal(begin(e, o->s, 3), VG_MEM_LATER);
	o->req = e->req;
}

static void one_end(struct env *e, struct one *o)
{
	o->b = (struct vg_mem_bufs){ .iov = o->iov, .max = 3 };
	o->err = e->m->ops->map_end(e->m, o->req, &o->b, &e->fault);
}

static void one_check(const struct one *o, unsigned int i)
{
	assert_int_equal(o->err, 0);
	assert_int_equal(o->b.nr_out, 1);
	assert_int_equal(*(uint8_t *)o->iov[0].iov_base, i + 1);
	memset(o->iov[1].iov_base, 0x80 + (int)i, PAGE);
	*((uint8_t *)o->iov[o->b.nr - 1].iov_base +
	  o->iov[o->b.nr - 1].iov_len - 1) = (uint8_t)i;
}

static void one_finish(struct env *e, struct one *o, unsigned int i)
{
	enum vg_mem_fault fault;

	assert_int_equal(e->m->ops->unmap_end(e->m, o->req, &fault), 0);
	assert_int_equal(o->data[0], 0x80 + i);
	assert_int_equal(o->data[PAGE - 1], 0x80 + i);
	assert_int_equal(o->st[9], i);
}

/* One exchange for all that begin and all that end. */
static void test_together(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o[2][N];
	unsigned int i, k;
	uint64_t before;

	for (i = 0; i < N; i++) {
		one_make(&o[0][i], i);
		one_make(&o[1][i], N + i);
	}
	before = e->m->stats.exchanges;
	fake_count_reset();
	for (k = 0; k < 3; k++) {
		for (i = 0; k < 2 && i < N; i++)
			one_begin(e, &o[k][i]);
		for (i = 0; k && i < N; i++)
			assert_int_equal(e->m->ops->unmap_req(e->m,
						o[k - 1][i].req, &fault),
					 VG_MEM_LATER);
		e->m->ops->exchange(e->m);
		e->m->ops->exchange(e->m);	/* nothing more to do */
		for (i = 0; k < 2 && i < N; i++) {
			one_end(e, &o[k][i]);
			one_check(&o[k][i], k * N + i);
		}
		for (i = 0; k && i < N; i++)
			one_finish(e, &o[k - 1][i], (k - 1) * N + i);
		expect_calls(0, 0, 1);
	}
	assert_int_equal(e->m->stats.exchanges, before + 3);
	assert_int_equal(e->m->stats.copies, 3);
}

/* Mapped: a map for each, but asked for together; no copy when they end. */
static void test_together_mapped(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o[N];
	unsigned int i;

	for (i = 0; i < N; i++)
		one_make(&o[i], i);
	fake_count_reset();
	for (i = 0; i < N; i++)
		one_begin(e, &o[i]);
	expect_calls(0, 0, 0);
	e->m->ops->exchange(e->m);
	expect_calls(N, 0, 1);
	for (i = 0; i < N; i++) {
		one_end(e, &o[i]);
		one_check(&o[i], i);
	}
	for (i = 0; i < N; i++) {
		assert_int_equal(e->m->ops->unmap_req(e->m, o[i].req, &fault),
				 0);
		assert_int_equal(o[i].data[5], 0x80 + i);
		assert_int_equal(o[i].st[9], i);
	}
	expect_calls(0, N, 0);
	assert_int_equal(e->m->stats.exchanges, 1);
}

/*
 * What one request names and has not granted is none of the others' business.
 */
static void test_together_one_bad(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o[N];
	unsigned int i;
	int err;

	for (i = 0; i < N; i++) {
		one_make(&o[i], i);
		one_begin(e, &o[i]);
	}
	assert_int_equal(
		fake_grant_end(GUEST, (xen_ref_t)(o[2].s[0].addr >> 12)), 0);
	assert_int_equal(
		fake_grant_end(GUEST, (xen_ref_t)(o[4].s[1].addr >> 12)), 0);
	assert_int_equal(
		fake_grant_end(GUEST, (xen_ref_t)(o[5].s[2].addr >> 12)), 0);
	e->m->ops->exchange(e->m);
	for (i = 0; i < N; i++) {
		one_end(e, &o[i]);
		/* A map finds out now, a copy of what is written later. */
		if (i == 2 || (!copy_max && (i == 4 || i == 5)))
			assert_int_equal(o[i].err, -EFAULT);
		else
			one_check(&o[i], i);
	}
	for (i = 0; i < N; i++) {
		if (o[i].err)
			continue;
		err = e->m->ops->unmap_req(e->m, o[i].req, &fault);
		assert_int_equal(err, copy_max ? VG_MEM_LATER : 0);
	}
	e->m->ops->exchange(e->m);
	for (i = 0; copy_max && i < N; i++) {
		if (o[i].err)
			continue;
		if (i != 4 && i != 5)
			one_finish(e, &o[i], i);
		else
			assert_true(e->m->ops->unmap_end(e->m, o[i].req,
							 &fault) < 0);
	}
	assert_int_equal(e->m->stats.faults[VG_MEM_NOT_GRANTED], 3);
}

/* Short of memory: they wait, in their order, and may be given up meanwhile. */
static void test_together_shortage(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o[N];
	unsigned int i;

	for (i = 0; i < N; i++) {
		one_make(&o[i], i);
		one_begin(e, &o[i]);
	}
	fake_fail_nth(US, FAKE_GNTTAB_COPY, 1, ENOMEM);
	fake_fail_nth(US, FAKE_GNTTAB_MAP, 3, ENOMEM);
	e->m->ops->exchange(e->m);
	for (i = 0; i < N; i++) {
		one_end(e, &o[i]);
		assert_int_equal(o[i].err, -EAGAIN);
	}
	if (!copy_max) {
		/* What is mapped waits so for what is not copied. */
		assert_int_equal(fake_maps_held(US), 2 * (N - 1));
		fake_count_reset();
		fake_fail_nth(US, FAKE_GNTTAB_MAP, 1, ENOMEM);
		e->m->ops->exchange(e->m);
		expect_calls(1, 0, 1);
		one_end(e, &o[1]);
		one_check(&o[1], 1);
		one_end(e, &o[2]);
		assert_int_equal(o[2].err, -EAGAIN);
	}
	assert_int_equal(e->m->ops->unmap_req(e->m, o[2].req, &fault), 0);
	e->m->ops->exchange(e->m);
	for (i = 0; i < N; i++) {
		if (i == 2)
			continue;
		if (copy_max || i != 1)
			one_end(e, &o[i]);
		one_check(&o[i], i);
		if (e->m->ops->unmap_req(e->m, o[i].req, &fault))
			continue;
		assert_int_equal(o[i].st[9], i);
	}
	e->m->ops->exchange(e->m);
	for (i = 0; copy_max && i < N; i++)
		if (i != 2)
			one_finish(e, &o[i], i);
	assert_int_equal(e->m->stats.faults[VG_MEM_NOT_GRANTED], 0);
}

/* Given up after the exchange, by who has not been told of it yet. */
static void test_given_up_late(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o[2];

	one_make(&o[0], 0);
	one_make(&o[1], 1);
	memset(o[0].data, 0x3c, PAGE);
	one_begin(e, &o[0]);
	one_begin(e, &o[1]);
	e->m->ops->exchange(e->m);
	assert_int_equal(e->m->ops->unmap_req(e->m, o[0].req, &fault), 0);
	one_end(e, &o[1]);
	one_check(&o[1], 1);
	if (e->m->ops->unmap_req(e->m, o[1].req, &fault)) {
		e->m->ops->exchange(e->m);
		one_finish(e, &o[1], 1);
	}
	assert_int_equal(o[0].data[0], 0x3c);
	assert_int_equal(fake_maps_held(US), 0);
}

/* ---- what is short for a moment ----------------------------------------- */

/* A read of one page, mapped here, whose result is not delivered yet. */
static void result_begin(struct env *e, struct one *o)
{
	enum vg_mem_fault fault;

	one_make(o, 0);
	memset(o->data, 0x11, PAGE);
	o->st[9] = 0xff;
	one_begin(e, o);
	e->m->ops->exchange(e->m);
	one_end(e, o);
	one_check(o, 0);
	assert_int_equal(e->m->ops->unmap_req(e->m, o->req, &fault),
			 VG_MEM_LATER);
}

static int result(struct env *e, struct one *o)
{
	enum vg_mem_fault fault;
	int err;

	e->m->ops->exchange(e->m);
	err = e->m->ops->unmap_end(e->m, o->req, &fault);
	assert_int_equal(fault, VG_MEM_OK);
	return err;
}

/*
 * The call as a whole fails, with EFAULT as well: nothing was copied, and
 * nobody is told that it was.
 */
static void test_result_waits(void **state)
{
	static const int errs[] = { ENOMEM, EFAULT, EAGAIN, EIO };
	struct env *e = *state;
	struct one o;
	unsigned int i;

	for (i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		result_begin(e, &o);
		fake_fail_nth(US, FAKE_GNTTAB_COPY, 1, errs[i]);
		assert_int_equal(result(e, &o), -EAGAIN);
		fake_fail_nth(US, FAKE_GNTTAB_COPY, 1, errs[i]);
		assert_int_equal(result(e, &o), -EAGAIN);
		assert_int_equal(o.st[9], 0xff);
		assert_int_equal(result(e, &o), 0);
		assert_int_equal(o.data[5], 0x80);
		assert_int_equal(o.st[9], 0);
	}
	assert_int_equal(e->m->stats.faults[VG_MEM_NOT_GRANTED], 0);
}

static void test_result_given_up(void **state)
{
	struct env *e = *state;
	enum vg_mem_fault fault;
	struct one o;

	result_begin(e, &o);
	fake_fail_nth(US, FAKE_GNTTAB_COPY, 1, ENOMEM);
	assert_int_equal(result(e, &o), -EAGAIN);
	assert_int_equal(e->m->ops->unmap_req(e->m, o.req, &fault), 0);
	assert_int_equal(o.st[9], 0xff);
	/* And before it was tried. */
	result_begin(e, &o);
	assert_int_equal(e->m->ops->unmap_req(e->m, o.req, &fault), 0);
}

/* A request whose pages are still ours must not be shown as used. */
static void test_unmap_waits(void **state)
{
	struct env *e = *state;
	uint8_t *data;
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false },
		{ pages(2, false, &data), 8192, true },
	};
	enum vg_mem_fault fault;

	assert_int_equal(map(e, s, 2), 0);
	memset(e->iov[1].iov_base, 0x77, 8192);
	fake_fail_nth(US, FAKE_GNTTAB_UNMAP, 1, ENOMEM);
	assert_int_equal(e->m->ops->unmap_req(e->m, e->req, &fault),
			 VG_MEM_LATER);
	fake_fail_nth(US, FAKE_GNTTAB_UNMAP, 1, ENOMEM);
	e->m->ops->exchange(e->m);
	assert_int_equal(e->m->ops->unmap_end(e->m, e->req, &fault), -EAGAIN);
	assert_int_equal(fake_maps_held(US), 2);
	e->m->ops->exchange(e->m);
	assert_int_equal(e->m->ops->unmap_end(e->m, e->req, &fault), 0);
	assert_int_equal(fake_maps_held(US), 0);
	assert_int_equal(data[8191], 0x77);
}

/* gntdev says the same of no handle for a mapping as of no grant. */
static void test_no_handles(void **state)
{
	struct env *e = *state;
	uint8_t *data;
	uint64_t ring = pages(1, false, NULL);
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false },
		{ pages(2, false, &data), 8192, true },
	};
	struct vg_seg ro[] = { { pages(2, true, NULL), 8192, true } };
	void *va;

	data[0] = data[4096] = 0x5a;
	fake_set_maptrack_limit(US, 1);
	assert_int_equal(map(e, s, 2), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	/* The buffer's owner knows it as the device's until it is used. */
	assert_int_equal(data[4097], 0);
	assert_int_equal(map(e, ro, 1), -EFAULT);
	assert_int_equal(e->fault, VG_MEM_NOT_GRANTED);
	fake_set_maptrack_limit(US, 0);
	assert_int_equal(e->m->ops->map_ring(e->m, ring, 100, PROT_READ, &va,
					     &e->fault), -EAGAIN);
	assert_int_equal(e->m->ops->map_ring(e->m, ring + 0x100000, 100,
					     PROT_READ, &va, &e->fault),
			 -EINVAL);
	fake_set_maptrack_limit(US, 1024);
	assert_int_equal(e->m->ops->map_ring(e->m, ring, 100, PROT_READ, &va,
					     &e->fault), 0);
	fake_fail_nth(US, FAKE_GNTTAB_UNMAP, 1, ENOMEM);
	e->m->ops->unmap_ring(e->m, va, 100);
	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(unmap(e), 0);
}

/* ---- how much is copied ------------------------------------------------- */

static int setup_copy(void **state)
{
	copy_max = UINT32_MAX;
	return setup(state);
}

static int setup_map(void **state)
{
	copy_max = 0;
	return setup(state);
}

static int teardown_bound(void **state)
{
	copy_max = 512;
	return teardown(state);
}

/* One copy each way; data as far into a page as the guest's, and together. */
static void test_copy(void **state)
{
	struct env *e = *state;
	uint8_t *hdr, *out, *in, *st, *before = NULL;
	uint64_t a_out = pages(20, true, &out), a_in = pages(20, false, &in);
	struct vg_seg s[] = {
		{ pages(1, true, &hdr) + 100, 16, false },
		{ a_out + 512, PAGE - 512, false },
		{ a_out + 3 * PAGE, 8 * PAGE, false },
		{ a_in + 1024, 65536, true },
		{ pages(1, false, &st) + 7, 1, true },
	};
	unsigned int round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 20 * PAGE; i++)
			out[i] = (uint8_t)(i * 3 + round);
		memset(in, 0xaa, 20 * PAGE);
		fake_count_reset();
		assert_int_equal(map(e, s, 5), 0);
		expect_calls(0, 0, 1);
		assert_int_equal(e->b.nr_out, 2);
		assert_int_equal(e->b.nr, 4);
		assert_int_equal((uintptr_t)e->iov[1].iov_base % PAGE, 512);
		assert_int_equal(e->iov[1].iov_len, 9 * PAGE - 512);
		assert_memory_equal(e->iov[1].iov_base, out + 512, PAGE - 512);
		assert_memory_equal((uint8_t *)e->iov[1].iov_base + PAGE - 512,
				    out + 3 * PAGE, 8 * PAGE);
		assert_int_equal((uintptr_t)e->iov[2].iov_base % PAGE, 1024);
		/* The same buffer: none is allocated in steady state. */
		assert_true(!before || before == e->iov[1].iov_base);
		before = e->iov[1].iov_base;
		assert_in_range(e->m->stats.mapped_pages_now, 25, 28);
		/* Half of it: the rest are zeroes, not the last round's. */
		memset(e->iov[2].iov_base, 0x77, 40000);
		*(uint8_t *)e->iov[3].iov_base = 5;
		assert_int_equal(unmap(e), 0);
		expect_calls(0, 0, 1);
		assert_int_equal(in[1023], 0xaa);
		assert_int_equal(in[1024 + 39999], 0x77);
		for (i = 40000; i < 65536; i++)
			assert_int_equal(in[1024 + i], 0);
		assert_int_equal(in[1024 + 65536], 0xaa);
		assert_int_equal(st[7], 5);
	}
	assert_int_equal(e->m->stats.maps, 0);
}

/* A bound of 0: nothing is copied whole. */
static void test_never_copy(void **state)
{
	struct env *e = *state;
	struct vg_seg s[] = {
		{ pages(1, true, NULL), 16, false },
		{ pages(1, false, NULL), 1, true },
	};

	fake_count_reset();
	assert_int_equal(map(e, s, 2), 0);
	assert_int_equal(unmap(e), 0);
	expect_calls(1, 1, 1);
}

/* More than the budget, to be copied: refused, and nothing is left. */
static void test_copy_budget(void **state)
{
	struct env *e = *state;
	uint64_t a = pages(BUDGET + 8, false, NULL);
	struct vg_seg s[] = {
		{ a, 40 * PAGE, true }, { a, (BUDGET + 1) * PAGE, true },
	};
	struct vg_mem_req *first;

	assert_int_equal(map(e, s, 1), 0);
	first = e->req;
	assert_int_equal(map(e, s, 1), -EAGAIN);
	assert_int_equal(e->m->stats.waits, 1);
	assert_int_equal(map(e, s + 1, 1), -E2BIG);
	assert_int_equal(e->fault, VG_MEM_BUDGET);
	e->req = first;
	assert_int_equal(unmap(e), 0);
	assert_int_equal(map(e, s, 1), 0);
	assert_int_equal(unmap(e), 0);
}

#define C(f)	cmocka_unit_test_setup_teardown(f, setup_copy, teardown_bound)
#define M(f)	cmocka_unit_test_setup_teardown(f, setup_map, teardown_bound)
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_read), T(test_write), T(test_small),
		T(test_no_stale_bytes), T(test_merge), T(test_both_large),
		T(test_refused), T(test_read_only_grant),
		T(test_partly_granted), T(test_revoked_under_copy),
		T(test_budget), T(test_shortage), T(test_ring),
		T(test_random),
		C(test_copy), C(test_copy_budget), C(test_random),
		C(test_no_stale_bytes), C(test_revoked_under_copy),
		M(test_never_copy), M(test_random), M(test_both_large),
		C(test_together), M(test_together_mapped),
		C(test_given_up_late), M(test_given_up_late),
		C(test_together_one_bad), M(test_together_one_bad),
		C(test_together_shortage), M(test_together_shortage),
		C(test_result_waits), C(test_result_given_up),
		T(test_unmap_waits), T(test_no_handles), M(test_no_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
