// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_foreign.c - guest memory by foreign mapping (mem/foreign.c): the twin
 * of backend/xen/foreign.c over the guest memory of tests/fake/ is in here,
 * since nothing else maps without a grant.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/uapi/virtio_grant.h"
#include "mem/foreign.h"
#include "unit.h"
#include "lib/util.h"
#include "xen/foreign.h"

#define US	1u
#define GUEST	3u
#define PAGE	4096u
#define PAGES	600u		/* more than a chunk of the whole map */
#define BUDGET	16u
#define IOVS	16u
#define BASE	XEN_GUEST_RAM0_BASE

/* ---- the twin ----------------------------------------------------------- */

struct xen_foreign {
	int dummy;
};

static unsigned int nr_open, nr_maps, nr_unmaps, nr_pages, nr_all;
static int next_error;

int xen_foreign_open(struct xen_foreign **out)
{
	*out = calloc(1, sizeof(**out));
	nr_open++;
	return 0;
}

void xen_foreign_close(struct xen_foreign *xf)
{
	nr_open -= xf != NULL;
	free(xf);
}

/* Copies would do to look at, not to write to: so pages must be neighbours. */
int xen_foreign_map(struct xen_foreign *xf, xen_domid_t domid,
		    const uint64_t *gfns, unsigned int count, void **addr)
{
	uint64_t first = BASE >> XEN_GRANT_PAGE_SHIFT;
	unsigned int i;
	uint8_t *va;

	assert_non_null(xf);
	if (next_error) {
		int err = next_error;

		next_error = 0;
		return err;
	}
	for (i = 0; i < count; i++)
		if (gfns[i] < first || gfns[i] - first >= PAGES)
			return -EINVAL;
	va = mmap(NULL, (size_t)count * PAGE, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < count; i++)
		/* The same page at a second address. */
		assert_true(mremap(fake_page(domid, (unsigned int)
					     (gfns[i] - first)), 0, PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED,
				   va + (size_t)i * PAGE) != MAP_FAILED);
	*addr = va;
	nr_maps++;
	nr_pages += count;
	return 0;
}

int xen_foreign_unmap(struct xen_foreign *xf, void *addr, unsigned int count)
{
	assert_non_null(xf);
	munmap(addr, (size_t)count * PAGE);
	nr_unmaps++;
	nr_pages -= count;
	return 0;
}

int xen_foreign_map_all(struct xen_foreign *xf, xen_domid_t domid,
			uint64_t first_gfn, void **addr, unsigned int *count)
{
	assert_non_null(xf);
	assert_int_equal(first_gfn, BASE >> XEN_GRANT_PAGE_SHIFT);
	*addr = fake_page(domid, 0);
	*count = PAGES;
	nr_all++;
	return 0;
}

void xen_foreign_unmap_all(struct xen_foreign *xf, void *addr,
			   unsigned int count)
{
	assert_non_null(xf);
	assert_ptr_equal(addr, fake_page(GUEST, 0));
	assert_int_equal(count, PAGES);
	nr_all--;
}

/* ---- the tests ---------------------------------------------------------- */

struct env {
	struct vg_mem *m;
	struct iovec iov[IOVS];
	struct vg_mem_bufs b;
	struct vg_mem_req *req;
	enum vg_mem_fault fault;
};

static int setup_with(void **state, bool is_static)
{
	struct env *e = calloc(1, sizeof(*e));
	enum vg_mem_fault fault;
	void *ring;

	fake_init();
	fake_domain_create(US, 1, 16);
	fake_domain_create(GUEST, 1, PAGES);
	fake_enter(US);
	nr_maps = nr_unmaps = nr_pages = nr_all = 0;
	assert_int_equal(vg_mem_foreign_create(GUEST, BUDGET, is_static,
					       &e->m), 0);
	/* Before a driver's first queue, the guest may not even exist. */
	assert_int_equal(nr_open, 0);
	assert_int_equal(e->m->ops->map_ring(e->m, BASE + 8 * PAGE + 16, PAGE,
					     PROT_READ, &ring, &fault), 0);
	assert_int_equal(nr_open, 1);
	((uint8_t *)fake_page(GUEST, 8))[16] = 0x5a;
	((uint8_t *)fake_page(GUEST, 9))[15] = 0xa5;
	assert_int_equal(*(uint8_t *)ring, 0x5a);
	assert_int_equal(((uint8_t *)ring)[PAGE - 1], 0xa5);
	e->m->ops->unmap_ring(e->m, ring, PAGE);
	*state = e;
	return 0;
}

static int setup_dynamic(void **state)
{
	return setup_with(state, false);
}

static int setup_static(void **state)
{
	return setup_with(state, true);
}

static int teardown(void **state)
{
	struct env *e = *state;

	e->m->ops->destroy(e->m);
	assert_int_equal(nr_pages, 0);
	assert_int_equal(nr_maps, nr_unmaps);
	assert_int_equal(nr_all, 0);
	assert_int_equal(nr_open, 0);
	fake_exit();
	free(e);
	return 0;
}

static int map(struct env *e, const struct vg_seg *segs, unsigned int n)
{
	e->b = (struct vg_mem_bufs){ .iov = e->iov, .max = IOVS };
	return e->m->ops->map_req(e->m, segs, n, &e->b, &e->req, &e->fault);
}

static void unmap(struct env *e)
{
	enum vg_mem_fault fault;

	assert_int_equal(e->m->ops->unmap_req(e->m, e->req, &fault), 0);
}

/* A read: header, data over a page's end, status in the page of the header. */
static void check_read(struct env *e)
{
	const struct vg_seg s[] = {
		{ BASE + 20 * PAGE + 100, 16, false },
		{ BASE + 30 * PAGE + 512, 4096, true },
		{ BASE + 20 * PAGE + 116, 1, true },
	};
	uint8_t *data = fake_page(GUEST, 30), *hdr = fake_page(GUEST, 20);

	hdr[100] = 0x77;
	assert_int_equal(map(e, s, 3), 0);
	assert_int_equal(e->b.nr_out, 1);
	assert_int_equal(e->b.nr, 3);
	assert_int_equal(*(uint8_t *)e->iov[0].iov_base, 0x77);
	assert_int_equal(e->iov[1].iov_len, 4096);
	memset(e->iov[1].iov_base, 0x42, 4096);
	*(uint8_t *)e->iov[2].iov_base = 0x11;
	unmap(e);
	assert_int_equal(data[511], 0);
	assert_int_equal(data[512], 0x42);
	assert_int_equal(((uint8_t *)fake_page(GUEST, 31))[511], 0x42);
	assert_int_equal(((uint8_t *)fake_page(GUEST, 31))[512], 0);
	assert_int_equal(hdr[116], 0x11);
}

static void test_read_maps_once(void **state)
{
	struct env *e = *state;
	unsigned int maps = nr_maps, unmaps = nr_unmaps;

	check_read(e);
	check_read(e);
	assert_int_equal(nr_maps - maps, 2);
	assert_int_equal(nr_unmaps - unmaps, 2);
}

static void test_read_maps_nothing(void **state)
{
	check_read(*state);
	check_read(*state);
	assert_int_equal(nr_maps, 0);
	assert_int_equal(nr_all, 1);
}

/* Neighbours share an entry, but never two directions. */
static void test_merge(void **state)
{
	const struct vg_seg s[] = {
		{ BASE + 40 * PAGE, 2048, false },
		{ BASE + 40 * PAGE + 2048, 2048, false },
		{ BASE + 41 * PAGE, 512, true },
		{ BASE + 41 * PAGE + 512, 512, true },
	};
	struct env *e = *state;

	assert_int_equal(map(e, s, 4), 0);
	assert_int_equal(e->b.nr, 2);
	assert_int_equal(e->b.nr_out, 1);
	assert_int_equal(e->iov[0].iov_len, 4096);
	assert_int_equal(e->iov[1].iov_len, 1024);
	unmap(e);
}

/* What is no address of the guest's memory. */
static void test_refused(void **state)
{
	static const struct vg_seg bad[] = {
		{ VIRTIO_GRANT_ADDR_FLAG | 8 << 12, 512, true },
		{ BASE - PAGE, 512, true },
		{ BASE + PAGES * PAGE, 512, true },
		{ BASE + PAGES * PAGE - 256, 512, true },
		{ UINT64_MAX - 100, 512, true },
		{ 0, 512, true },
	};
	struct env *e = *state;
	unsigned int i;
	uint8_t buf[16];

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(map(e, &bad[i], 1) < 0);
		assert_int_not_equal(e->fault, VG_MEM_OK);
		assert_true(e->m->ops->read(e->m, bad[i].addr, buf, 512,
					    &e->fault) < 0);
	}
}

static void test_table(void **state)
{
	struct env *e = *state;
	uint8_t buf[64];

	memcpy((uint8_t *)fake_page(GUEST, 50) + PAGE - 32,
	       "0123456789abcdef0123456789abcdef", 32);
	memset(fake_page(GUEST, 51), 'x', 32);
	assert_int_equal(e->m->ops->read(e->m, BASE + 51 * PAGE - 32, buf, 64,
					 &e->fault), 0);
	assert_memory_equal(buf, "0123456789abcdef", 16);
	assert_int_equal(buf[32], 'x');
	assert_int_equal(buf[63], 'x');
}

static void test_budget_and_shortage(void **state)
{
	const struct vg_seg large = { BASE, (BUDGET + 1) * PAGE, true };
	const struct vg_seg half = { BASE, (BUDGET - 4) * PAGE, true };
	struct env *e = *state;
	struct vg_mem_req *first;

	assert_int_equal(map(e, &large, 1), -E2BIG);
	assert_int_equal(e->fault, VG_MEM_BUDGET);
	assert_int_equal(map(e, &half, 1), 0);
	first = e->req;
	assert_int_equal(map(e, &half, 1), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	e->req = first;
	unmap(e);
	next_error = -ENOMEM;
	assert_int_equal(map(e, &half, 1), -EAGAIN);
	assert_int_equal(e->fault, VG_MEM_OK);
	next_error = -EPERM;
	assert_int_equal(map(e, &half, 1), -EFAULT);
	assert_int_equal(e->fault, VG_MEM_NOT_GRANTED);
	assert_int_equal(map(e, &half, 1), 0);
	unmap(e);
}

#define D(f)	{ #f "_dynamic", f, setup_dynamic, teardown, NULL }
#define S(f)	{ #f "_static", f, setup_static, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		D(test_read_maps_once), S(test_read_maps_nothing),
		D(test_merge), S(test_merge),
		D(test_refused), S(test_refused),
		D(test_table), S(test_table),
		D(test_budget_and_shortage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
