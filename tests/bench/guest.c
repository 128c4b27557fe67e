// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guest.c - the guest's slot allocator, kernel/dma/ itself over
 * kshim.h, called through its DMA operations as a virtio ring calls them.
 *
 * A unit is a single buffer mapped and unmapped, or a request: header, data,
 * status and an indirect table.  `depth` units are mapped, then unmapped in
 * some order; both are measured.  In between the device writes what it is to
 * write, which is not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "fake_xen.h"
#include "kshim.h"
#include "kshim_guest.h"

#include "uapi/virtio_grant.h"
#include "virtio_grant_dma.h"

#define GUEST		3u
#define BACKEND		1u
#define BUFS_MAX	20u
#define DEPTH_MAX	32u

/* Not every version of the driver can leave slots as they are. */
void vgrant_pool_set_filled(struct vgrant_pool *pool, bool is_filled)
	__attribute__((weak));
/* Nor grant large buffers instead of copying them. */
extern unsigned int vgrant_direct_kib __attribute__((weak));

enum order { FIFO, LIFO, RANDOM };

struct buf {
	u32 bytes;
	u8 dir;
};

struct config {
	const char *name;
	unsigned int depth;
	enum order order;
	bool is_filled;		/* the backend promises to fill its buffers */
	unsigned int direct_kib; /* granted, not copied, from this size */
	struct buf buf[BUFS_MAX];	/* until one of no bytes */
};

#define TO(bytes)	{ bytes, DMA_TO_DEVICE }
#define FROM(bytes)	{ bytes, DMA_FROM_DEVICE }
/* As a virtio ring maps it: the table last. */
#define READ(bytes)	{ TO(16), FROM(bytes), FROM(1), TO(48) }
#define WRITE(bytes)	{ TO(16), TO(bytes), FROM(1), TO(48) }
#define FOUR(x)		x, x, x, x

static const struct config configs[] = {
	{ "guest/pair/to-16/fifo", 32, FIFO, true, 0, { TO(16) } },
	{ "guest/pair/from-1/fifo", 32, FIFO, true, 0, { FROM(1) } },
	{ "guest/pair/table-48/fifo", 32, FIFO, true, 0, { TO(48) } },
	{ "guest/pair/to-4k/fifo", 32, FIFO, true, 0, { TO(4096) } },
	{ "guest/pair/from-4k/fifo", 32, FIFO, true, 0, { FROM(4096) } },
	{ "guest/pair/from-4k/lifo", 32, LIFO, true, 0, { FROM(4096) } },
	{ "guest/pair/from-4k/random", 32, RANDOM, true, 0, { FROM(4096) } },
	{ "guest/pair/from-4k/fifo-cleared", 32, FIFO, false, 0, { FROM(4096) } },
	{ "guest/pair/to-64k/fifo", 32, FIFO, true, 0, { TO(65536) } },
	{ "guest/pair/from-64k/fifo", 32, FIFO, true, 0, { FROM(65536) } },
	{ "guest/pair/from-64k/lifo", 32, LIFO, true, 0, { FROM(65536) } },
	{ "guest/pair/from-64k/random", 32, RANDOM, true, 0, { FROM(65536) } },
	{ "guest/pair/from-64k/fifo-cleared", 32, FIFO, false, 0, { FROM(65536) } },
	{ "guest/pair/from-64k/fifo-direct", 32, FIFO, true, 64, { FROM(65536) } },
	{ "guest/request/read-4k/qd1", 1, FIFO, true, 0, READ(4096) },
	{ "guest/request/read-4k/qd32", 32, FIFO, true, 0, READ(4096) },
	{ "guest/request/read-4k/qd32-random", 32, RANDOM, true, 0, READ(4096) },
	{ "guest/request/read-4k/qd32-cleared", 32, FIFO, false, 0, READ(4096) },
	/* Without a table, as with rings that are large enough. */
	{ "guest/request/read-4k/qd32-chains", 32, FIFO, true, 0,
	  { TO(16), FROM(4096), FROM(1) } },
	{ "guest/request/write-4k/qd1", 1, FIFO, true, 0, WRITE(4096) },
	{ "guest/request/write-4k/qd32", 32, FIFO, true, 0, WRITE(4096) },
	{ "guest/request/write-4k/qd32-random", 32, RANDOM, true, 0, WRITE(4096) },
	{ "guest/request/read-64k/qd16", 16, FIFO, true, 0, READ(65536) },
	{ "guest/request/write-64k/qd16", 16, FIFO, true, 0, WRITE(65536) },
	/* Of scattered pages, with a table that is no small slot. */
	{ "guest/request/read-16x4k/qd16", 16, FIFO, true, 0,
	  { TO(16), FOUR(FOUR(FROM(4096))), FROM(1), TO(288) } },
};

static struct device dev;
static struct vgrant_pool *pool;
static const struct dma_map_ops *ops;
static unsigned int nr_bufs;
static phys_addr_t buffer[DEPTH_MAX][BUFS_MAX];
static dma_addr_t mapped[DEPTH_MAX][BUFS_MAX];
static unsigned int turns[DEPTH_MAX];	/* which unit is unmapped when */
static u8 *device_view;			/* of the pool */
static dma_addr_t pool_addr;
static size_t pool_bytes;

static void map_all(const struct config *c)
{
	unsigned int i, k;

	for (i = 0; i < c->depth; i++)
		for (k = 0; k < nr_bufs; k++)
			mapped[i][k] = ops->map_phys(&dev, buffer[i][k],
						     c->buf[k].bytes,
						     c->buf[k].dir, 0);
}

/* The table first, if there is one: detach_buf_split(). */
static void unmap_all(const struct config *c)
{
	unsigned int i, k, at, rest = nr_bufs > 3 ? nr_bufs - 1 : nr_bufs;

	for (i = 0; i < c->depth; i++) {
		at = turns[i];
		for (k = rest; k < nr_bufs; k++)
			ops->unmap_phys(&dev, mapped[at][k], c->buf[k].bytes,
					c->buf[k].dir, 0);
		for (k = 0; k < rest; k++)
			ops->unmap_phys(&dev, mapped[at][k], c->buf[k].bytes,
					c->buf[k].dir, 0);
	}
}

static void turns_make(const struct config *c)
{
	unsigned int i, n = c->depth, at, seed = 12345;

	for (i = 0; i < n; i++)
		turns[i] = c->order == LIFO ? n - 1 - i : i;
	for (i = n - 1; c->order == RANDOM && i > 0; i--) {
		unsigned int t = turns[i];

		seed = seed * 1103515245 + 12345;
		at = (seed >> 16) % (i + 1);
		turns[i] = turns[at];
		turns[at] = t;
	}
}

static void check_mapped(const struct config *c)
{
	unsigned int i, k;

	for (i = 0; i < c->depth; i++)
		for (k = 0; k < nr_bufs; k++)
			if (mapped[i][k] == DMA_MAPPING_ERROR)
				bench_die("%s: the pool is exhausted", c->name);
}

/* The backend gets to see what the driver wrote, and the other way round. */
static void check_data(const struct config *c)
{
	struct xen_gnttab *gt;
	unsigned int i, k;

	fake_enter(BACKEND);
	if (xen_gnttab_open(&gt))
		bench_die("no gnttab");
	for (k = 0; k < nr_bufs; k++)
		memset(phys_to_virt(buffer[0][k]), 0x11 + (int)k,
		       c->buf[k].bytes);
	map_all(c);
	check_mapped(c);
	for (k = 0; k < nr_bufs; k++) {
		unsigned int offset = virtio_grant_addr_offset(mapped[0][k]);
		unsigned int pages = PFN_UP(offset + c->buf[k].bytes);
		xen_ref_t refs[32];
		u8 *va;

		for (i = 0; i < pages; i++)
			refs[i] = virtio_grant_addr_ref(mapped[0][k]) + i;
		if (xen_gnttab_map(gt, GUEST, refs, pages, 3, (void **)&va))
			bench_die("%s: not granted", c->name);
		for (i = 0; i < c->buf[k].bytes; i++) {
			if (c->buf[k].dir == DMA_TO_DEVICE &&
			    va[offset + i] != 0x11 + k)
				bench_die("%s: wrong data", c->name);
			va[offset + i] = (u8)(0x77 + k);
		}
		if (xen_gnttab_unmap(gt, va, pages))
			bench_die("%s: not unmapped", c->name);
	}
	unmap_all(c);
	for (k = 0; k < nr_bufs; k++)
		for (i = 0; i < c->buf[k].bytes; i++)
			if (((u8 *)phys_to_virt(buffer[0][k]))[i] !=
			    (c->buf[k].dir == DMA_TO_DEVICE ? 0x11 + k :
							      0x77 + k))
				bench_die("%s: wrong data back", c->name);
	xen_gnttab_close(gt);
	fake_enter(0);
}

/* All of every buffer, but for those that are granted instead of copied. */
static void device_writes(const struct config *c)
{
	unsigned int i, k;

	for (i = 0; i < c->depth; i++)
		for (k = 0; k < nr_bufs; k++)
			if (c->buf[k].dir == DMA_FROM_DEVICE &&
			    mapped[i][k] - pool_addr < pool_bytes)
				memset(device_view + (mapped[i][k] - pool_addr),
				       0, c->buf[k].bytes);
}

static struct xen_gnttab *device_open(void)
{
	struct vgrant_pool_stats stats;
	struct xen_gnttab *gt;
	xen_ref_t *refs;
	unsigned int i;

	vgrant_pool_read_stats(pool, &stats);
	pool_addr = virtio_grant_addr(stats.first_ref, 0);
	pool_bytes = stats.pages_total * PAGE_SIZE;
	refs = calloc(stats.pages_total, sizeof(*refs));
	for (i = 0; refs && i < stats.pages_total; i++)
		refs[i] = stats.first_ref + i;
	fake_enter(BACKEND);
	if (!refs || xen_gnttab_open(&gt) ||
	    xen_gnttab_map(gt, GUEST, refs, stats.pages_total, 3,
			   (void **)&device_view))
		bench_die("the pool is not granted");
	fake_enter(0);
	free(refs);
	return gt;
}

static void device_close(struct xen_gnttab *gt)
{
	fake_enter(BACKEND);
	if (xen_gnttab_unmap(gt, device_view, PFN_UP(pool_bytes)))
		bench_die("the pool is not unmapped");
	xen_gnttab_close(gt);
	fake_enter(0);
}

static void run(const struct config *c, unsigned int units)
{
	for (; units; units -= c->depth) {
		bench_enter();
		map_all(c);
		bench_leave();
		device_writes(c);
		bench_enter();
		unmap_all(c);
		bench_leave();
	}
}

static void run_config(const struct config *c)
{
	struct vgrant_pool_need need = {
		.segs_max = 64, .coherent_bytes = 4 * PAGE_SIZE,
	};
	unsigned int i, k, units = 512;
	struct xen_gnttab *gt;
	uint64_t before;

	/* Copying is the machine's. */
	if (c->buf[0].bytes > 4096 || c->buf[1].bytes > 4096)
		units /= 4;
	if (&vgrant_direct_kib)
		vgrant_direct_kib = c->direct_kib;
	kshim_start(GUEST, BACKEND);
	pool = vgrant_pool_create(&dev, BACKEND, &need);
	if (IS_ERR(pool))
		bench_die("no pool: %ld", PTR_ERR(pool));
	vgrant_pool_attach(pool);
	ops = get_dma_ops(&dev);
	if (vgrant_pool_set_filled)
		vgrant_pool_set_filled(pool, c->is_filled);
	for (nr_bufs = 0; c->buf[nr_bufs].bytes; nr_bufs++)
		;
	for (i = 0; i < c->depth; i++)
		for (k = 0; k < nr_bufs; k++)
			buffer[i][k] =
				virt_to_phys(kshim_buffer(c->buf[k].bytes));
	turns_make(c);
	check_data(c);
	gt = device_open();
	run(c, units);

	bench_begin(c->name);
	before = kshim_grant_calls;
	do {
		run(c, units);
		bench_round(units);
	} while (bench_more());
	bench_per_unit("grants", kshim_grant_calls - before);
	check_mapped(c);
	bench_end();

	device_close(gt);
	vgrant_pool_detach(pool);
	if (vgrant_pool_destroy(pool))
		bench_die("pages of the pool are held");
	kshim_stop();
}

int main(int argc, char **argv)
{
	unsigned int i;

	bench_init(argc, argv);
	for (i = 0; i < ARRAY_SIZE(configs); i++) {
		if ((!configs[i].is_filled && !vgrant_pool_set_filled) ||
		    (configs[i].direct_kib && !&vgrant_direct_kib))
			continue;
		if (bench_is_wanted(configs[i].name))
			run_config(&configs[i]);
	}
	return 0;
}
