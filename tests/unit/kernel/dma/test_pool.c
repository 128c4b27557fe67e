// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_pool.c - what comes back out of the guest's pool: kernel/dma/ itself,
 * over the shim of tests/bench/ and the grants of tests/fake/.  Built for
 * kernels with pages of 4, 16 and 64 KiB.
 *
 * The pool is full of what others had in flight (OTHERS).  However a mapping
 * ends, and whatever the device wrote of it or promised to write, none of that
 * comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench.h"
#include "fake_xen.h"
#include "kshim.h"
#include "kshim_guest.h"

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

#define GUEST		3u
#define BACKEND		1u
#define OTHER_BACKEND	2u

#define OTHERS		0x5a	/* what was in a slot before */
#define OWN		0xa7	/* what was in the buffer before */
#define BUF_BYTES	(20 * XEN_PAGE_SIZE)
#define MAX_BYTES	(16 * XEN_PAGE_SIZE)
#define AROUND		5000u	/* where in it buffers begin, roughly */

static struct device dev;
static struct vgrant_pool *pool;
static const struct dma_map_ops *ops;
static struct vgrant_pool_stats at_first;
	size_t most;
static xen_domid_t backend;
static struct xen_gnttab *gt;	/* its */
static u8 *view;		/* of the pool, as its backend has it */
static u8 *buf;
static bool is_divided;		/* of the next pool */

/* Each is the end of the test. */
void bench_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fail();
	abort();
}

/* ---- a pool and its backend --------------------------------------------- */

static void backend_open(xen_domid_t domid)
{
	backend = domid;
	fake_enter(backend);
	assert_int_equal(xen_gnttab_open(&gt), 0);
	fake_enter(0);
}

static void backend_close(void)
{
	fake_enter(backend);
	xen_gnttab_close(gt);
	fake_enter(0);
}

static void view_map(void)
{
	xen_ref_t *refs = calloc(at_first.pages_total, sizeof(*refs));
	unsigned int i;

	assert_non_null(refs);
	/*
	 * No page of the kernel is granted in part: the rest may be anybody's.
	 */
	assert_int_equal(at_first.pages_total % XEN_PFN_PER_PAGE, 0);
	for (i = 0; i < at_first.pages_total; i++)
		refs[i] = at_first.first_ref + i;
	fake_enter(backend);
	assert_int_equal(xen_gnttab_map(gt, GUEST, refs, at_first.pages_total,
					3, (void **)&view), 0);
	fake_enter(0);
	free(refs);
}

static void view_unmap(void)
{
	fake_enter(backend);
	assert_int_equal(xen_gnttab_unmap(gt, view, at_first.pages_total), 0);
	fake_enter(0);
}

static void pool_make(unsigned int kib, bool is_filled)
{
	struct vgrant_pool_need need = {
		.segs_max = 64,
		.segs_enough = 8,
		.coherent_bytes = 4 * PAGE_SIZE,
		.is_divided = is_divided,
	};

	vgrant_pool_kib = kib;
	pool = vgrant_pool_create(&dev, BACKEND, &need);
	assert_false(IS_ERR(pool));
	vgrant_pool_attach(pool);
	ops = get_dma_ops(&dev);
	vgrant_pool_set_filled(pool, is_filled);
	vgrant_pool_read_stats(pool, &at_first);
	view_map();
	memset(view, OTHERS, at_first.pages_total * XEN_PAGE_SIZE);
}

static void pool_unmake(void)
{
	struct vgrant_pool_stats stats;

	vgrant_pool_read_stats(pool, &stats);
	assert_int_equal(stats.pages_in_use, at_first.pages_in_use);
	assert_int_equal(stats.small_in_use, 0);
	view_unmap();
	vgrant_pool_detach(pool);
	assert_int_equal(vgrant_pool_destroy(pool), 0);
}

static int setup(void **state)
{
	(void)state;
	kshim_start(GUEST, BACKEND);
	fake_domain_create(OTHER_BACKEND, 1, 64);
	backend_open(BACKEND);
	buf = kshim_buffer(BUF_BYTES);
	vgrant_direct_kib = 0;
	kshim_grants_version = 1;
	is_divided = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	backend_close();
	kshim_stop();
	return 0;
}

/* ---- buffers ------------------------------------------------------------ */

static u8 pattern(size_t i, unsigned int seed)
{
	u8 c = (u8)(i * 31 + (i >> 8) + seed);

	return c == OTHERS || c == OWN ? 1 : c;
}

static u8 *device_at(dma_addr_t addr)
{
	return view + (addr - virtio_grant_addr(at_first.first_ref, 0));
}

static void device_writes(dma_addr_t addr, size_t from, size_t end,
			  unsigned int seed)
{
	for (; from < end; from++)
		device_at(addr)[from] = pattern(from, seed);
}

/* The slot is used by others, and free again. */
static void others_write(dma_addr_t addr, size_t bytes)
{
	memset(device_at(addr), OTHERS, bytes <= VGRANT_SMALL_BYTES ?
	       VGRANT_SMALL_BYTES : ALIGN(bytes, XEN_PAGE_SIZE));
}

static dma_addr_t map(u8 *at, size_t bytes, enum dma_data_direction dir,
		      unsigned long attrs)
{
	return ops->map_phys(&dev, virt_to_phys(at), bytes, dir, attrs);
}

static bool is_pattern(const u8 *at, size_t from, size_t end, unsigned int seed)
{
	for (; from < end; from++)
		if (at[from] != pattern(from, seed))
			return false;
	return true;
}

static bool is_all(const u8 *at, size_t bytes, u8 c)
{
	return !bytes || (*at == c && !memcmp(at, at + 1, bytes - 1));
}

/* Nothing beside the buffer was written. */
static void check_around(const u8 *at, size_t bytes)
{
	assert_true(is_all(buf, (size_t)(at - buf), OWN));
	assert_true(is_all(at + bytes, BUF_BYTES - (size_t)(at - buf) - bytes,
			   OWN));
}

/* What a buffer is that nobody wrote to: no success, or zeroes. */
static u8 unwritten(size_t bytes)
{
	return bytes <= VGRANT_ANSWER_BYTES ? 0xff : 0;
}

/* Every size up to some, and those around the ends of pages. */
static size_t size_after(size_t bytes)
{
	size_t beyond = bytes % XEN_PAGE_SIZE;

	if (bytes < 600 || beyond < 20 || beyond >= XEN_PAGE_SIZE - 20)
		return bytes + 1;
	return ALIGN(bytes, XEN_PAGE_SIZE) - 20;
}

#define for_each_size(bytes) \
	for ((bytes) = 1; (bytes) <= MAX_BYTES; (bytes) = size_after(bytes))

/* ---- ways for a mapping to end ------------------------------------------ */

enum end {
	UNMAP, /* a request done, cancelled, or not mapped to its end */
	UNMAP_SG,
	SYNC_UNMAP,
	SYNC_ONLY,
	END_NR,
};

static void end_mapping(enum end end, dma_addr_t addr, size_t bytes,
			enum dma_data_direction dir)
{
	struct scatterlist sg = {
		.dma_address = addr, .dma_length = (unsigned int)bytes,
	};
	unsigned long attrs = end == SYNC_ONLY ? DMA_ATTR_SKIP_CPU_SYNC : 0;

	if (end == SYNC_UNMAP || end == SYNC_ONLY)
		ops->sync_single_for_cpu(&dev, addr, bytes, dir);
	if (end == UNMAP_SG)
		ops->unmap_sg(&dev, &sg, 1, dir, 0);
	else
		ops->unmap_phys(&dev, addr, bytes, dir, attrs);
}

/* The device wrote nothing. */
static void never_written(void **state)
{
	unsigned int filled, end;
	size_t bytes;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		for_each_size(bytes) {
			u8 *at = buf + AROUND + bytes % 7;

			for (end = 0; end < END_NR; end++) {
				dma_addr_t addr;

				memset(buf, OWN, BUF_BYTES);
				addr = map(at, bytes, DMA_FROM_DEVICE, 0);
				assert_true(addr != DMA_MAPPING_ERROR);
				end_mapping(end, addr, bytes, DMA_FROM_DEVICE);
				assert_true(
					is_all(at, bytes, unwritten(bytes)));
				check_around(at, bytes);
				others_write(addr, bytes);
			}
		}
		pool_unmake();
	}
}

/* It wrote all of it. */
static void all_written(void **state)
{
	unsigned int filled, end;
	size_t bytes;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		for_each_size(bytes) {
			u8 *at = buf + AROUND + bytes % 7;
			dma_addr_t addr;

			for (end = 0; end < END_NR; end++) {
				memset(buf, OWN, BUF_BYTES);
				addr = map(at, bytes, DMA_FROM_DEVICE, 0);
				assert_true(addr != DMA_MAPPING_ERROR);
				device_writes(addr, 0, bytes, end);
				end_mapping(end, addr, bytes, DMA_FROM_DEVICE);
				assert_true(is_pattern(at, 0, bytes, end));
				check_around(at, bytes);
			}
			/* Data that looks like nothing at all. */
			for (end = 0; end < 2; end++) {
				addr = map(at, bytes, DMA_FROM_DEVICE, 0);
				memset(device_at(addr), end ? 0 : OTHERS,
				       bytes);
				end_mapping(UNMAP, addr, bytes,
					    DMA_FROM_DEVICE);
				assert_true(
					is_all(at, bytes, end ? 0 : OTHERS));
			}
		}
		pool_unmake();
	}
}

/* It wrote some pages of many: these arrive, the others are zeroes. */
static void pages_written(void **state)
{
	unsigned int mask, page, end;
	size_t bytes = 5 * XEN_PAGE_SIZE + 600, from, to;
	u8 *at = buf + AROUND;

	(void)state;
	pool_make(1024, true);
	for (mask = 0; mask < 64; mask++) {
		for (end = 0; end < END_NR; end++) {
			dma_addr_t addr;

			memset(buf, OWN, BUF_BYTES);
			addr = map(at, bytes, DMA_FROM_DEVICE, 0);
			for (page = 0; page < 6; page++)
				if (mask & 1u << page)
					device_writes(
						addr, page * XEN_PAGE_SIZE,
						min((page + 1) * XEN_PAGE_SIZE,
						    bytes),
						mask);
			end_mapping(end, addr, bytes, DMA_FROM_DEVICE);
			for (page = 0; page < 6; page++) {
				from = page * XEN_PAGE_SIZE;
				to = min(from + XEN_PAGE_SIZE, bytes);
				if (mask & 1u << page)
					assert_true(is_pattern(at, from, to,
							       mask));
				else
					assert_true(is_all(at + from, to - from,
							   0));
			}
			check_around(at, bytes);
			others_write(addr, bytes);
		}
	}
	pool_unmake();
}

/* It stopped, or began, in the midst of a page. */
static void torn(void **state)
{
	static const size_t sizes[] = {
		300, 512, 4096, 4097, 4111, 9000, 65536
	};
	unsigned int filled, i, from_behind;
	u8 *at = buf + AROUND;
	size_t bytes, part, k;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			bytes = sizes[i];
			for (k = 0; k < 2 * 40; k++) {
				dma_addr_t addr;

				from_behind = k % 2;
				part = bytes * (k / 2) / 40;
				memset(buf, OWN, BUF_BYTES);
				addr = map(at, bytes, DMA_FROM_DEVICE, 0);
				if (from_behind)
					device_writes(addr, bytes - part, bytes,
						      1);
				else
					device_writes(addr, 0, part, 1);
				end_mapping(UNMAP, addr, bytes,
					    DMA_FROM_DEVICE);
				assert_null(memchr(at, OTHERS, bytes));
				check_around(at, bytes);
				if (!filled && !from_behind) {
					assert_true(is_pattern(at, 0, part, 1));
					assert_true(is_all(at + part,
							   bytes - part, 0));
				}
				others_write(addr, bytes);
			}
		}
		pool_unmake();
	}
}

/* A disk's status, behind other members; its driver did not preset it. */
static void status_is_no_success(void **state)
{
	struct {
		u8 header[16];
		union {
			u8 status;
			struct {
				u64 sector;
				u8 status;
			} zone_append;
		} in;
		size_t in_bytes;
	} *req = (void *)buf;
	unsigned int filled, i, nr;
	dma_addr_t addr[2048];

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		memset(req, 0, sizeof(*req));
		addr[0] = map(&req->in.status, 1, DMA_FROM_DEVICE, 0);
		end_mapping(UNMAP, addr[0], 1, DMA_FROM_DEVICE);
		assert_int_equal(req->in.status, 0xff);
		assert_int_equal(req->in.zone_append.status, 0);
		addr[0] = map(&req->in.status, 9, DMA_FROM_DEVICE, 0);
		end_mapping(UNMAP, addr[0], 9, DMA_FROM_DEVICE);
		assert_int_equal(req->in.zone_append.status, 0xff);
		assert_int_equal(req->in_bytes, 0);

		/* Also of those for which no small slot was left. */
		for (nr = 0; nr < ARRAY_SIZE(addr); nr++) {
			addr[nr] = map(buf + nr, 1, DMA_FROM_DEVICE, 0);
			if (addr[nr] == DMA_MAPPING_ERROR)
				break;
		}
		assert_true(nr > at_first.small_total);
		memset(buf, 0, BUF_BYTES);
		for (i = 0; i < nr; i++)
			end_mapping(UNMAP, addr[i], 1, DMA_FROM_DEVICE);
		assert_true(is_all(buf, nr, 0xff));
		assert_true(is_all(buf + nr, BUF_BYTES - nr, 0));
		pool_unmake();
	}
}

/*
 * There is no room for all of a request: what was mapped of it is unmapped as
 * if it were done (virtqueue_add_split() in Linux).
 */
static void no_room_for_the_rest(void **state)
{
	static const size_t sizes[] = { 512, 4096, 8192, 65536 };
	struct vgrant_pool_stats stats;
	dma_addr_t addr[1024];
	unsigned int i, k, nr;
	u8 *many;

	(void)state;
	many = kshim_buffer(MAX_BYTES);
	pool_make(512, true);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (nr = 0; nr < ARRAY_SIZE(addr); nr++) {
			memset(many, OWN, sizes[i]);
			addr[nr] = map(many, sizes[i], DMA_FROM_DEVICE, 0);
			if (addr[nr] == DMA_MAPPING_ERROR)
				break;
		}
		assert_true(nr && nr < ARRAY_SIZE(addr));
		for (k = 0; k < nr; k++) {
			memset(many, OWN, sizes[i]);
			end_mapping(UNMAP, addr[k], sizes[i], DMA_FROM_DEVICE);
			assert_null(memchr(many, OTHERS, sizes[i]));
		}
		memset(view, OTHERS, at_first.pages_total * XEN_PAGE_SIZE);
	}
	vgrant_pool_read_stats(pool, &stats);
	assert_int_equal(stats.exhaustions, ARRAY_SIZE(sizes));
	pool_unmake();
}

static void list_without_room(void **state)
{
	static struct scatterlist sg[1024];
	unsigned int i;

	(void)state;
	pool_make(512, true);
	memset(buf, OWN, BUF_BYTES);
	for (i = 0; i < ARRAY_SIZE(sg); i++)
		sg[i] = (struct scatterlist){
			.phys = virt_to_phys(buf), .length = XEN_PAGE_SIZE,
		};
	assert_int_equal(ops->map_sg(&dev, sg, ARRAY_SIZE(sg), DMA_FROM_DEVICE,
				     0), -ENOMEM);
	assert_true(is_all(buf, BUF_BYTES, OWN));
	pool_unmake();
}

static void check_failed(bool is_filled, enum end end, bool is_written)
{
	static const size_t sizes[] = {
		1, 9, 16, 255, 256, 257, 600, 4095, 4096, 4097, 12288, 65536,
	};
	dma_addr_t addr[ARRAY_SIZE(sizes)];
	u8 *at = buf + AROUND;
	unsigned int i;

	pool_make(1024, is_filled);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		addr[i] = map(at, sizes[i], DMA_FROM_DEVICE, 0);
		assert_true(addr[i] != DMA_MAPPING_ERROR);
		if (is_written)
			device_writes(addr[i], 0, sizes[i], 3);
	}
	vgrant_pool_fail(pool);
	assert_true(map(at, 1, DMA_FROM_DEVICE, 0) == DMA_MAPPING_ERROR);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(buf, OWN, BUF_BYTES);
		end_mapping(end, addr[i], sizes[i], DMA_FROM_DEVICE);
		assert_true(is_all(at, sizes[i], 0xff));
		check_around(at, sizes[i]);
	}
	pool_unmake();
}

/* The device is given up while it has the buffers. */
static void failed(void **state)
{
	unsigned int filled, end;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		for (end = 0; end < END_NR; end++) {
			check_failed(filled, end, false);
			check_failed(filled, end, true);
		}
	}
}

/* What the device could read as well, comes back as it was. */
static void both_ways(void **state)
{
	unsigned int filled, end;
	u8 *at = buf + AROUND;
	size_t bytes;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		for_each_size(bytes) {
			dma_addr_t addr;

			for (end = 0; end < END_NR; end++) {
				memset(buf, OWN, BUF_BYTES);
				addr = map(at, bytes, DMA_BIDIRECTIONAL, 0);
				end_mapping(end, addr, bytes,
					    DMA_BIDIRECTIONAL);
				assert_true(is_all(buf, BUF_BYTES, OWN));
			}
			addr = map(at, bytes, DMA_BIDIRECTIONAL,
				   DMA_ATTR_SKIP_CPU_SYNC);
			end_mapping(UNMAP, addr, bytes, DMA_BIDIRECTIONAL);
			assert_true(is_all(at, bytes, 0));
			check_around(at, bytes);
		}
		pool_unmake();
	}
}

/* A driver that cuts its mapping into buffers, and says itself when to copy. */
static void cut_up(void **state)
{
	unsigned int filled;
	size_t bytes = 32768, piece = 1536, from;
	u8 *at = buf + AROUND;
	dma_addr_t addr;

	(void)state;
	for (filled = 0; filled < 2; filled++) {
		pool_make(1024, filled);
		memset(buf, OWN, BUF_BYTES);
		addr = map(at, bytes, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
		for (from = 0; from + piece <= bytes; from += piece) {
			/* Every third one is not written. */
			if (from / piece % 3)
				device_writes(addr, from, from + piece, 9);
			ops->sync_single_for_cpu(&dev, addr + from, piece,
						 DMA_FROM_DEVICE);
			if (from / piece % 3)
				assert_true(
					is_pattern(at, from, from + piece, 9));
			else
				assert_true(is_all(at + from, piece, 0));
			check_around(at, from + piece);
		}
		ops->unmap_phys(&dev, addr, bytes, DMA_FROM_DEVICE,
				DMA_ATTR_SKIP_CPU_SYNC);
		pool_unmake();
	}
}

/*
 * The device writes to what was granted directly, whatever else is beside it.
 */
static void direct_writes(dma_addr_t addr, size_t bytes, u8 c)
{
	unsigned int i, pages = bytes / XEN_PAGE_SIZE;
	xen_ref_t refs[MAX_BYTES / XEN_PAGE_SIZE];
	u8 *there;

	for (i = 0; i < pages; i++)
		refs[i] = virtio_grant_addr_ref(addr) + i;
	fake_enter(backend);
	assert_int_equal(xen_gnttab_map(gt, GUEST, refs, pages, 3,
					(void **)&there), 0);
	memset(there, c, bytes);
	assert_int_equal(xen_gnttab_unmap(gt, there, pages), 0);
	fake_enter(0);
}

/*
 * Granted where they are: nothing is copied, and nothing of the pool is there.
 * Whole pages of Xen's are, also where they are in the midst of a kernel's.
 */
static void direct(void **state)
{
	struct vgrant_pool_stats stats;
	u8 *at = buf + XEN_PAGE_SIZE;
	dma_addr_t addr;
	size_t bytes;

	(void)state;
	vgrant_direct_kib = 4;
	pool_make(1024, true);
	for_each_size(bytes) {
		memset(buf, OWN, BUF_BYTES);
		addr = map(at, bytes, DMA_FROM_DEVICE, 0);
		assert_true(addr != DMA_MAPPING_ERROR);
		if (!(bytes % XEN_PAGE_SIZE))
			direct_writes(addr, bytes, OTHERS);
		end_mapping(UNMAP, addr, bytes, DMA_FROM_DEVICE);
		assert_true(is_all(at, bytes, bytes % XEN_PAGE_SIZE ?
			    unwritten(bytes) : OTHERS));
		check_around(at, bytes);
	}
	vgrant_pool_read_stats(pool, &stats);
	assert_int_equal(stats.direct_mappings, MAX_BYTES / XEN_PAGE_SIZE);
	pool_unmake();
}

/*
 * Coherent memory is zeroes, aligned to its size for both sides, nobody else's.
 */
static void coherent(void **state)
{
	unsigned int history, nr, i;
	dma_addr_t addr[64];
	size_t bytes, align;
	grant_ref_t ref;
	u8 *va[64];

	(void)state;
	for (history = 0; history < 16; history++) {
		assert_int_equal(gnttab_alloc_grant_reference_seq(history * 7,
								  &ref), 0);
		kshim_buffer((history % 5 + 1) * XEN_PAGE_SIZE);
		pool_make(1024, history % 2);
		for (bytes = 1; bytes <= MAX_BYTES; bytes += 700) {
			align = PAGE_SIZE << get_order(bytes);
			for (nr = 0; nr < ARRAY_SIZE(va); nr++) {
				va[nr] = ops->alloc(&dev, bytes, &addr[nr],
						    GFP_KERNEL, 0);
				if (!va[nr])
					break;
				assert_true(is_all(va[nr], bytes, 0));
				memset(va[nr], (int)nr + 1, bytes);
				assert_true(is_all(device_at(addr[nr]), bytes,
						   (u8)(nr + 1)));
				assert_true(IS_ALIGNED(addr[nr], align));
				assert_true(
					IS_ALIGNED((uintptr_t)va[nr], align));
			}
			assert_true(nr > 8);
			for (i = 0; i < nr; i++) {
				assert_true(is_all(va[i], bytes, (u8)(i + 1)));
				ops->free(&dev, bytes, va[i], addr[i], 0);
			}
		}
		assert_null(ops->alloc(&dev, MAX_BYTES + 1, &addr[0],
				       GFP_KERNEL, 0));
		pool_unmake();
	}
}

/* What was announced has room, each at its place, in an otherwise full pool. */
static void coherent_as_announced(void **state)
{
	static const size_t sizes[] = {
		4096, 10246, 8192, 20000, 28678, 65536
	};
	dma_addr_t addr, rings[8], full[1024];
	unsigned int i, k, nr;
	u8 *va[8];

	(void)state;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t bytes = PAGE_SIZE << get_order(sizes[i]);
		struct vgrant_pool_need need = {
			.segs_max = 8, .coherent_bytes = 8 * bytes,
		};

		vgrant_pool_kib = 4;
		pool = vgrant_pool_create(&dev, BACKEND, &need);
		assert_false(IS_ERR(pool));
		vgrant_pool_attach(pool);
		ops = get_dma_ops(&dev);
		for (nr = 0; nr < ARRAY_SIZE(full); nr++) {
			full[nr] = map(buf, XEN_PAGE_SIZE, DMA_TO_DEVICE, 0);
			if (full[nr] == DMA_MAPPING_ERROR)
				break;
		}
		assert_true(nr >= 8 && nr < ARRAY_SIZE(full));
		for (k = 0; k < 8; k++) {
			va[k] = ops->alloc(&dev, sizes[i], &addr, GFP_KERNEL,
					   0);
			assert_non_null(va[k]);
			assert_true(IS_ALIGNED(addr, bytes));
			rings[k] = addr;
		}
		for (k = 0; k < 8; k++)
			ops->free(&dev, sizes[i], va[k], rings[k], 0);
		while (nr--)
			end_mapping(UNMAP, full[nr], XEN_PAGE_SIZE,
				    DMA_TO_DEVICE);
		vgrant_pool_detach(pool);
		assert_int_equal(vgrant_pool_destroy(pool), 0);
	}
}

/* ---- many at once ------------------------------------------------------- */

/* With large pages, the smallest pool is larger. */
#define LIVE	(PAGE_SIZE > SZ_16K ? 160u : 40u)

static unsigned int rnd(unsigned int n)
{
	static unsigned int seed = 12345;

	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

struct live {
	dma_addr_t addr;
	size_t bytes;
	bool is_written;
};

static void live_end(struct live *l, unsigned int nr)
{
	memset(buf, OWN, l->bytes);
	if (l->is_written)
		device_writes(l->addr, 0, l->bytes, nr);
	end_mapping(rnd(END_NR), l->addr, l->bytes, DMA_FROM_DEVICE);
	if (l->is_written)
		assert_true(is_pattern(buf, 0, l->bytes, nr));
	else
		assert_true(is_all(buf, l->bytes, unwritten(l->bytes)));
	l->bytes = 0;
}

/* In any order, of any size: no slot is two buffers', and none is lost. */
static void many(void **state)
{
	static struct live live[LIVE];
	unsigned int round, i, k, exhausted = 0;

	(void)state;
	pool_make(512, true);
	for (round = 0; round < 10000; round++) {
		struct live *l = &live[i = rnd(LIVE)];

		if (l->bytes) {
			live_end(l, i);
			continue;
		}
		l->bytes = 1 + rnd(rnd(2) ? VGRANT_SMALL_BYTES : MAX_BYTES);
		l->is_written = rnd(2);
		l->addr = map(buf, l->bytes, DMA_FROM_DEVICE, 0);
		if (l->addr == DMA_MAPPING_ERROR) {
			l->bytes = 0;
			exhausted++;
			continue;
		}
		for (k = 0; k < LIVE; k++)
			assert_true(k == i || !live[k].bytes ||
				    live[k].addr + live[k].bytes <= l->addr ||
				    l->addr + l->bytes <= live[k].addr);
	}
	for (i = 0; i < LIVE; i++)
		if (live[i].bytes)
			live_end(&live[i], i);
	assert_true(exhausted > 100);
	pool_unmake();
}

/* A backend that looks into all that it was granted sees the pool alone. */
static void nothing_else_is_granted(void **state)
{
	u8 *before = kshim_buffer(1), *after;
	unsigned int turn;

	(void)state;
	for (turn = 0; turn < 20; turn++) {
		memset(before, OWN, PAGE_SIZE);
		/* 508 KiB are no whole number of the largest pages. */
		pool_make(508 + 4 * turn, true);
		after = kshim_buffer(1);
		memset(after, OWN, PAGE_SIZE);
		assert_null(memchr(view, OWN,
				   at_first.pages_total * XEN_PAGE_SIZE));
		assert_true(is_all(before, PAGE_SIZE, OWN));
		pool_unmake();
		before = after;
	}
}

/* A page of the kernel is one segment, of as many as a request needs. */
static void a_page_is_a_segment(void **state)
{
	struct vgrant_pool_need need = {
		.segs_max = 256, .segs_enough = 66, .coherent_bytes = SZ_64K,
	};
	dma_addr_t addr[256], header, table;
	struct vgrant_pool_stats stats;
	unsigned int i;
	u8 *page = kshim_buffer(1);

	(void)state;
	vgrant_pool_kib = 4;
	pool = vgrant_pool_create(&dev, BACKEND, &need);
	assert_false(IS_ERR(pool));
	vgrant_pool_attach(pool);
	ops = get_dma_ops(&dev);
	vgrant_pool_read_stats(pool, &stats);
	assert_true(stats.mapping_max_bytes >= PAGE_SIZE);
	assert_true(stats.segs_max >= 66 && stats.segs_max <= 256);
	for (i = 0; i < stats.segs_max; i++) {
		addr[i] = map(page, PAGE_SIZE, DMA_TO_DEVICE, 0);
		assert_true(addr[i] != DMA_MAPPING_ERROR);
	}
	header = map(page, 16, DMA_TO_DEVICE, 0);
	table = map(page, 16 * (stats.segs_max + 2), DMA_TO_DEVICE, 0);
	assert_true(header != DMA_MAPPING_ERROR && table != DMA_MAPPING_ERROR);
	end_mapping(UNMAP, table, 16 * (stats.segs_max + 2), DMA_TO_DEVICE);
	end_mapping(UNMAP, header, 16, DMA_TO_DEVICE);
	while (i--)
		end_mapping(UNMAP, addr[i], PAGE_SIZE, DMA_TO_DEVICE);
	vgrant_pool_detach(pool);
	assert_int_equal(vgrant_pool_destroy(pool), 0);
}

/* ---- directions --------------------------------------------------------- */

#define FULL_MAX	4096u

static dma_addr_t full[2][FULL_MAX];

/* Maps buffers until there is no room, returns how many. */
static unsigned int fill(unsigned int which, size_t bytes,
			 enum dma_data_direction dir)
{
	unsigned int n;

	for (n = 0; n < FULL_MAX; n++) {
		full[which][n] = map(buf, bytes, dir, 0);
		if (full[which][n] == DMA_MAPPING_ERROR)
			return n;
	}
	fail_msg("%u buffers of %zu bytes, and room for more", n, bytes);
	return 0;
}

static void empty(unsigned int which, unsigned int n, size_t bytes,
		  enum dma_data_direction dir)
{
	while (n--)
		end_mapping(UNMAP, full[which][n], bytes, dir);
}

static unsigned int pages_free(void)
{
	struct vgrant_pool_stats stats;

	vgrant_pool_read_stats(pool, &stats);
	return stats.pages_total - stats.pages_in_use;
}

/* One direction keeps all that it can get, and the other goes on. */
static void one_direction_is_full(void **state)
{
	static const struct {
		enum dma_data_direction first, then;
	} ways[] = {
		{ DMA_FROM_DEVICE, DMA_TO_DEVICE },
		{ DMA_FROM_DEVICE, DMA_BIDIRECTIONAL },
		{ DMA_TO_DEVICE, DMA_FROM_DEVICE },
		{ DMA_BIDIRECTIONAL, DMA_FROM_DEVICE },
	};
	static const size_t sizes[] = { 16, 256, 4096, 8192, 65536 };
	unsigned int way, i, k, round, n, left;

	(void)state;
	is_divided = true;
	for (way = 0; way < ARRAY_SIZE(ways); way++) {
		enum dma_data_direction first = ways[way].first;
		enum dma_data_direction then = ways[way].then;

		pool_make(1024, true);
		assert_true(at_first.reserve_pages >=
			    MAX_BYTES / XEN_PAGE_SIZE);
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			n = fill(0, sizes[i], first);
			assert_true(pages_free() >= at_first.reserve_pages);
			for (k = 0; k < ARRAY_SIZE(sizes); k++) {
				unsigned int pages = XEN_PFN_UP(sizes[k]);

				left = fill(1, sizes[k], then);
				assert_true(left >=
					    at_first.reserve_pages / pages);
				empty(1, left, sizes[k], then);
			}
			/* What comes back of one is never the other's. */
			for (round = 0; round < 1000; round++) {
				dma_addr_t addr =
					map(buf, sizes[round % 5], then, 0);

				assert_true(addr != DMA_MAPPING_ERROR);
				end_mapping(UNMAP, addr, sizes[round % 5],
					    then);
				assert_true(map(buf, sizes[i], first, 0) ==
					    DMA_MAPPING_ERROR);
			}
			empty(0, n, sizes[i], first);
		}
		pool_unmake();
	}
}

/* Where all buffers come back, either direction can have everything. */
static void undivided(void **state)
{
	enum dma_data_direction dir;
	unsigned int n;

	(void)state;
	pool_make(1024, true);
	assert_int_equal(at_first.reserve_pages, 0);
	for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE; dir++) {
		n = fill(0, XEN_PAGE_SIZE, dir);
		assert_int_equal(n,
				 at_first.pages_total - at_first.pages_in_use);
		assert_int_equal(pages_free(), 0);
		empty(0, n, XEN_PAGE_SIZE, dir);
	}
	pool_unmake();
}

/*
 * Each with a table that the device reads: those don't fill the other
 * direction.
 */
static void posted_with_tables(void **state)
{
	static const size_t tables[] = { 32, 300 };
	unsigned int i, n, left;
	dma_addr_t table[FULL_MAX];

	(void)state;
	is_divided = true;
	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		pool_make(1024, true);
		for (n = 0; n + 1 < FULL_MAX; n += 2) {
			full[0][n] = map(buf, 4096, DMA_FROM_DEVICE, 0);
			if (full[0][n] == DMA_MAPPING_ERROR)
				break;
			full[0][n + 1] = map(buf, 4096, DMA_FROM_DEVICE, 0);
			if (full[0][n + 1] == DMA_MAPPING_ERROR) {
				end_mapping(UNMAP, full[0][n], 4096,
					    DMA_FROM_DEVICE);
				break;
			}
			table[n] = map(buf, tables[i], DMA_TO_DEVICE, 0);
			assert_true(table[n] != DMA_MAPPING_ERROR);
		}
		left = fill(1, XEN_PAGE_SIZE, DMA_TO_DEVICE);
		assert_true(left >= at_first.reserve_pages / 2 - 1);
		empty(1, left, XEN_PAGE_SIZE, DMA_TO_DEVICE);
		while (n) {
			n -= 2;
			end_mapping(UNMAP, table[n], tables[i], DMA_TO_DEVICE);
			end_mapping(UNMAP, full[0][n], 4096, DMA_FROM_DEVICE);
			end_mapping(UNMAP, full[0][n + 1], 4096,
				    DMA_FROM_DEVICE);
		}
		pool_unmake();
	}
}

/* The largest request fits into an idle pool, whatever its direction. */
static void a_request_fits(void **state)
{
	static const unsigned int segs[] = { 1, 2, 7, 47, 64 };
	/* Pages that are given back are not used again by the shim. */
	static const unsigned int kib[] = { 4, 512, 1000,
					    PAGE_SIZE > SZ_16K ? 4 : 4096 };
	enum dma_data_direction dir;
	unsigned int i, k, n, divided;

	(void)state;
	for (divided = 0; divided < 2; divided++) {
		for (i = 0; i < ARRAY_SIZE(segs); i++) {
			for (k = 0; k < ARRAY_SIZE(kib); k++) {
				struct vgrant_pool_need need = {
					.segs_max = segs[i],
					.coherent_bytes = 2 * PAGE_SIZE,
					.is_divided = divided,
				};
				size_t table = 16 * (segs[i] + 2);
				dma_addr_t addr[3];

				vgrant_pool_kib = kib[k];
				pool = vgrant_pool_create(&dev, BACKEND, &need);
				assert_false(IS_ERR(pool));
				vgrant_pool_attach(pool);
				ops = get_dma_ops(&dev);
				vgrant_pool_read_stats(pool, &at_first);
				most = at_first.mapping_max_bytes;
				assert_int_equal(at_first.segs_max, segs[i]);
				for (dir = DMA_TO_DEVICE;
				     dir <= DMA_FROM_DEVICE; dir++) {
					addr[0] =
						map(buf, 16, DMA_TO_DEVICE, 0);
					for (n = 0; n < segs[i]; n++) {
						full[0][n] = map(buf, most, dir,
								 0);
						assert_true(full[0][n] !=
							    DMA_MAPPING_ERROR);
					}
					addr[1] =
						map(buf, 1, DMA_FROM_DEVICE, 0);
					addr[2] = map(buf, table, DMA_TO_DEVICE,
						      0);
					for (n = 0; n < 3; n++)
						assert_true(addr[n] !=
							    DMA_MAPPING_ERROR);
					end_mapping(UNMAP, addr[2], table,
						    DMA_TO_DEVICE);
					empty(0, segs[i],
					      at_first.mapping_max_bytes, dir);
					end_mapping(UNMAP, addr[1], 1,
						    DMA_FROM_DEVICE);
					end_mapping(UNMAP, addr[0], 16,
						    DMA_TO_DEVICE);
				}
				vgrant_pool_detach(pool);
				assert_int_equal(vgrant_pool_destroy(pool), 0);
			}
		}
	}
}

/*
 * A virtio ring's own way to map (Linux 6.18) is the same, but for the DMA API.
 */
static void map_of_a_virtio_device(void **state)
{
	struct virtio_device vdev = { 0 };
	const struct virtio_map_ops *m;
	struct page *page = virt_to_page(buf);
	dma_addr_t addr, ring;
	unsigned int n;
	u8 *va;

	(void)state;
	pool_make(512, true);
	vgrant_pool_set_map(pool, &vdev);
	m = vdev.map;
	assert_int_equal(m->max_mapping_size(vdev.vmap),
			 at_first.mapping_max_bytes);

	memset(buf, OWN, BUF_BYTES);
	addr = m->map_page(vdev.vmap, page, 100, 5000, DMA_TO_DEVICE, 0);
	assert_false(m->mapping_error(vdev.vmap, addr));
	assert_true(virtio_grant_addr_valid(addr));
	assert_true(is_all(device_at(addr), 5000, OWN));
	memset(buf + 100, OTHERS, 50);
	assert_true(m->need_sync(vdev.vmap, addr));
	m->sync_single_for_device(vdev.vmap, addr, 50, DMA_TO_DEVICE);
	assert_true(is_all(device_at(addr), 50, OTHERS));
	m->unmap_page(vdev.vmap, addr, 5000, DMA_TO_DEVICE, 0);

	memset(buf, OWN, BUF_BYTES);
	addr = m->map_page(vdev.vmap, page, 100, 5000, DMA_FROM_DEVICE, 0);
	device_writes(addr, 0, 5000, 3);
	m->sync_single_for_cpu(vdev.vmap, addr, 100, DMA_FROM_DEVICE);
	assert_true(is_pattern(buf + 100, 0, 100, 3));
	assert_true(is_all(buf + 200, 4900, OWN));
	m->unmap_page(vdev.vmap, addr, 5000, DMA_FROM_DEVICE, 0);
	assert_true(is_pattern(buf + 100, 0, 5000, 3));
	check_around(buf + 100, 5000);

	va = m->alloc(vdev.vmap, 10246, &ring, GFP_KERNEL);
	assert_non_null(va);
	memset(va, OTHERS, 10246);
	assert_true(is_all(device_at(ring), 10246, OTHERS));
	for (n = 0; n < FULL_MAX; n++) {
		full[0][n] = m->map_page(vdev.vmap, page, 0, 4096,
					 DMA_TO_DEVICE, 0);
		if (m->mapping_error(vdev.vmap, full[0][n]))
			break;
	}
	assert_true(n > 8 && n < FULL_MAX);
	empty(0, n, 4096, DMA_TO_DEVICE);
	m->free(vdev.vmap, 10246, va, ring, 0);
	pool_unmake();
}

static void over_a_suspend(void **state)
{
	dma_addr_t addr;

	(void)state;
	pool_make(1024, true);
	view_unmap();
	assert_int_equal(vgrant_pool_suspend(pool), 0);
	vgrant_pool_resume(pool);
	view_map();
	addr = map(buf, 8192, DMA_FROM_DEVICE, 0);
	end_mapping(UNMAP, addr, 8192, DMA_FROM_DEVICE);
	assert_true(is_all(buf, 8192, 0));
	pool_unmake();
}

/* ---- another backend ----------------------------------------------------- */

/* Page @i of the pool, for the backend to write: NULL if it must not. */
static void *page_map(unsigned int i)
{
	xen_ref_t ref = at_first.first_ref + i;
	void *va = NULL;

	fake_enter(backend);
	if (xen_gnttab_map(gt, GUEST, &ref, 1, 3, &va))
		va = NULL;
	fake_enter(0);
	return va;
}

static void page_unmap(void *va)
{
	fake_enter(backend);
	assert_int_equal(xen_gnttab_unmap(gt, va, 1), 0);
	fake_enter(0);
}

static void nothing_is_granted_to(xen_domid_t domid)
{
	unsigned int i;

	backend_close();
	backend_open(domid);
	for (i = 0; i < at_first.pages_total; i++)
		assert_null(page_map(i));
}

static xen_domid_t granted_to(void)
{
	struct vgrant_pool_stats stats;

	vgrant_pool_read_stats(pool, &stats);
	assert_int_equal(stats.first_ref, at_first.first_ref);
	return stats.backend;
}

/* All pages are the other's, and what is in them, and in use, stays. */
static void moved(void **state)
{
	dma_addr_t sent, received;

	(void)state;
	pool_make(1024, true);
	memset(buf, OWN, BUF_BYTES);
	sent = map(buf, 8192, DMA_TO_DEVICE, 0);
	received = map(buf + 8192, 5000, DMA_FROM_DEVICE, 0);
	device_writes(received, 0, 100, 1);
	view_unmap();
	assert_int_equal(vgrant_pool_move(pool, OTHER_BACKEND), 0);
	assert_int_equal(granted_to(), OTHER_BACKEND);
	nothing_is_granted_to(BACKEND);

	backend_close();
	backend_open(OTHER_BACKEND);
	view_map();
	assert_true(is_all(device_at(sent), 8192, OWN));
	device_writes(received, 100, 5000, 1);
	end_mapping(UNMAP, received, 5000, DMA_FROM_DEVICE);
	assert_true(is_pattern(buf + 8192, 0, 5000, 1));
	end_mapping(UNMAP, sent, 8192, DMA_TO_DEVICE);
	received = map(buf, 8192, DMA_FROM_DEVICE, 0);
	device_writes(received, 0, 8192, 2);
	end_mapping(UNMAP, received, 8192, DMA_FROM_DEVICE);
	assert_true(is_pattern(buf, 0, 8192, 2));
	pool_unmake();
}

/*
 * All is granted as it was.  To write the entry of a page that is mapped, which
 * must not be in version 1, is the fake's end.
 */
static void all_is_granted(void)
{
	unsigned int i;
	void *va;

	for (i = 0; i < at_first.pages_total; i++) {
		va = page_map(i);
		assert_non_null(va);
		page_unmap(va);
	}
}

/* Not while the last one has a page, wherever it is in the pool. */
static void moved_when_let_go(unsigned int version)
{
	unsigned int where[3], i, k;
	void *va;

	kshim_grants_version = version;
	pool_make(1024, true);
	view_unmap();
	where[0] = 0;
	where[1] = at_first.pages_total / 2;
	where[2] = at_first.pages_total - 1;
	for (i = 0; i < ARRAY_SIZE(where); i++) {
		xen_domid_t last = backend;
		xen_domid_t next = last == BACKEND ? OTHER_BACKEND : BACKEND;

		va = page_map(where[i]);
		assert_non_null(va);
		for (k = 0; k < 3; k++) {
			assert_int_equal(k == 2 ? vgrant_pool_suspend(pool) :
						  vgrant_pool_move(pool, next),
					 -EBUSY);
			assert_int_equal(granted_to(), last);
			all_is_granted();
		}
		page_unmap(va);
		assert_int_equal(vgrant_pool_move(pool, next), 0);
		assert_int_equal(granted_to(), next);
		nothing_is_granted_to(last);
		backend_close();
		backend_open(next);
	}
	view_map();
	pool_unmake();
}

static void moved_when_let_go_v1(void **state)
{
	(void)state;
	moved_when_let_go(1);
}

static void moved_when_let_go_v2(void **state)
{
	(void)state;
	moved_when_let_go(2);
}

/* One that sleeps has no grants until it wakes; then they are the other's. */
static void moved_asleep(void **state)
{
	(void)state;
	pool_make(1024, true);
	view_unmap();
	assert_int_equal(vgrant_pool_suspend(pool), 0);
	assert_int_equal(vgrant_pool_move(pool, OTHER_BACKEND), 0);
	assert_int_equal(granted_to(), OTHER_BACKEND);
	nothing_is_granted_to(BACKEND);
	nothing_is_granted_to(OTHER_BACKEND);
	vgrant_pool_resume(pool);
	nothing_is_granted_to(BACKEND);
	backend_close();
	backend_open(OTHER_BACKEND);
	view_map();
	/* Awake again, it moves as any other. */
	view_unmap();
	assert_int_equal(vgrant_pool_move(pool, BACKEND), 0);
	backend_close();
	backend_open(BACKEND);
	view_map();
	pool_unmake();
}

/* A buffer that was granted where it is, is the last one's to the end. */
static void moved_with_direct_grants(void **state)
{
	u8 *at = buf + XEN_PAGE_SIZE;
	dma_addr_t addr;

	(void)state;
	vgrant_direct_kib = 4;
	pool_make(1024, true);
	addr = map(at, 2 * XEN_PAGE_SIZE, DMA_FROM_DEVICE, 0);
	view_unmap();
	assert_int_equal(vgrant_pool_move(pool, OTHER_BACKEND), -EOPNOTSUPP);
	assert_int_equal(granted_to(), BACKEND);
	view_map();
	direct_writes(addr, 2 * XEN_PAGE_SIZE, OTHERS);
	view_unmap();
	end_mapping(UNMAP, addr, 2 * XEN_PAGE_SIZE, DMA_FROM_DEVICE);
	assert_true(is_all(at, 2 * XEN_PAGE_SIZE, OTHERS));

	assert_int_equal(vgrant_pool_move(pool, OTHER_BACKEND), 0);
	backend_close();
	backend_open(OTHER_BACKEND);
	view_map();
	addr = map(at, 2 * XEN_PAGE_SIZE, DMA_FROM_DEVICE, 0);
	direct_writes(addr, 2 * XEN_PAGE_SIZE, OWN);
	end_mapping(UNMAP, addr, 2 * XEN_PAGE_SIZE, DMA_FROM_DEVICE);
	assert_true(is_all(at, 2 * XEN_PAGE_SIZE, OWN));
	pool_unmake();
}

/* ---- many pools ---------------------------------------------------------- */

/* Of a disk: with large pages, it needs more. */
#define POOLS	(PAGE_SIZE > SZ_16K ? 16u : PAGE_SIZE > SZ_4K ? 32u : 64u)

static struct vgrant_pool *disk_pool(unsigned int kib, unsigned int *pages)
{
	const struct vgrant_pool_need need = {
		.segs_max = 256, .segs_enough = 66,
		.coherent_bytes = PAGE_SIZE << get_order(10246),
	};
	struct vgrant_pool_stats stats;
	struct vgrant_pool *p;

	vgrant_pool_kib = kib;
	p = vgrant_pool_create(&dev, BACKEND, &need);
	assert_false(IS_ERR(p));
	vgrant_pool_read_stats(p, &stats);
	assert_true(stats.segs_max >= need.segs_enough);
	*pages = stats.pages_total;
	return p;
}

/*
 * All fit into a grant table of so many references, since the later ones are
 * smaller; the first ones are whole, none is less than what it needs.
 */
static void many_pools(unsigned int nr, unsigned int whole, unsigned int refs)
{
	static struct vgrant_pool *all[64];
	unsigned int i, least, pages, before = 8192 / 4, sum = 0;

	assert_int_equal(vgrant_pool_destroy(disk_pool(4, &least)), 0);
	for (i = 0; i < nr; i++) {
		all[i] = disk_pool(0, &pages);
		assert_true(pages <= before && pages >= least);
		assert_true(i >= whole || pages == 8192 / 4);
		before = pages;
		sum += pages;
	}
	assert_true(sum <= refs);
	assert_true(pages < 8192 / 4);
	/* What went is there again. */
	for (i = 0; i < nr; i++)
		assert_int_equal(vgrant_pool_destroy(all[i]), 0);
	assert_int_equal(vgrant_pool_destroy(disk_pool(0, &pages)), 0);
	assert_int_equal(pages, 8192 / 4);
}

static void many_pools_v1(void **state)
{
	(void)state;
	many_pools(POOLS, 8, 32768);
}

/* As large, with half as many references. */
static void many_pools_v2(void **state)
{
	(void)state;
	kshim_grants_version = 2;
	many_pools(POOLS / 2, 3, 16384);
}

int main(void)
{
#define TEST(fn)	cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(never_written),
		TEST(all_written),
		TEST(pages_written),
		TEST(torn),
		TEST(status_is_no_success),
		TEST(no_room_for_the_rest),
		TEST(list_without_room),
		TEST(failed),
		TEST(both_ways),
		TEST(cut_up),
		TEST(direct),
		TEST(coherent),
		TEST(coherent_as_announced),
		TEST(many),
		TEST(nothing_else_is_granted),
		TEST(a_page_is_a_segment),
		TEST(one_direction_is_full),
		TEST(undivided),
		TEST(posted_with_tables),
		TEST(a_request_fits),
		TEST(map_of_a_virtio_device),
		TEST(over_a_suspend),
		TEST(moved),
		TEST(moved_when_let_go_v1),
		TEST(moved_when_let_go_v2),
		TEST(moved_asleep),
		TEST(moved_with_direct_grants),
		TEST(many_pools_v1),
		TEST(many_pools_v2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
