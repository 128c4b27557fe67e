// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pool.c - guest memory in ranges of references that the guest announced and
 * promised to keep granted (kernel/uapi/virtio_grant.h, "Persistent ranges").
 *
 * A range is mapped once, in one batch; from then on an address in it costs a
 * comparison and an addition, and a request neither a hypercall nor memory.
 * What lies outside of every range goes the way of grants.c.
 *
 * Not trusted: the guest.  It can keep its promise or not: a page that is
 * mapped here stays mapped and ours to read and write until we unmap it, so a
 * guest that breaks the promise harms only itself.  Bounds are checked for
 * every address, whatever was announced.
 *
 * Requests and rings that use a range are counted; it is unmapped when the
 * last of them is gone.
 *
 * Ranges have what rings and requests leave of the budget.  A range for which
 * there is too little is held without being mapped, and one that stands in the
 * way of what could never fit beside it is unmapped again: what lies in it goes
 * the way of grants.c then, like any other address.
 */
#include "mem/grants.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"

struct range {
	uint8_t *va;			/* NULL: not mapped */
	xen_ref_t first;
	unsigned int pages;		/* 0: none */
	unsigned int rings;		/* that use it */
	bool is_closing;		/* withdrawn, or to be unmapped: no new
					 * user */
};

/* Of a device; changes only while no other thread looks at it. */
struct table {
	struct range range[VG_MEM_RANGES_MAX];
	struct mem_pool *views;		/* all that use it */
};

struct vg_mem_req {
	struct vg_mem_req *next;	/* on the free list */
	struct vg_mem_req *mapped; /* grants.c's, or NULL: it is in ranges */
	uint32_t ranges;		/* bit per range it uses */
};

struct mem_pool {
	struct vg_mem mem;
	struct xen_gnttab *gt;
	struct vg_mem *map;		/* for all other addresses */
	struct vg_mem_req *free_reqs;
	struct table *table;
	unsigned int requests[VG_MEM_RANGES_MAX];	/* that use a range */
	struct mem_pool *next;		/* view of the same table */
	struct table own_table;
};

static struct mem_pool *to_pool(struct vg_mem *m)
{
	return container_of(m, struct mem_pool, mem);
}

/* Ours and grants.c's together, for who shows them. */
static void stats_gather(struct mem_pool *mp)
{
	struct vg_mem_stats *st = &mp->mem.stats, *sub = &mp->map->stats;
	uint64_t range_pages = st->range_pages, ranges = st->range_maps;
	uint64_t hits = st->range_hits;

	*st = *sub;
	st->range_pages = range_pages;
	st->range_maps = ranges;
	st->range_hits = hits;
}

static void wants_gather(struct mem_pool *mp)
{
	mp->mem.wants_room |= mp->map->wants_room;
	mp->map->wants_room = false;
}

/*
 * Where [addr, addr + len) is mapped, if one range has all of it; *index is
 * that range.
 */
static uint8_t *resolve(struct mem_pool *mp, uint64_t addr, uint64_t len_bytes,
			unsigned int *index)
{
	uint64_t at, bytes;
	unsigned int i;

	if (!(addr & VIRTIO_GRANT_ADDR_FLAG))
		return NULL;
	addr &= ~VIRTIO_GRANT_ADDR_FLAG;
	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		const struct range *r = &mp->table->range[i];

		if (!r->va || r->is_closing)
			continue;
		/* Wraps below the range, to more than its length. */
		at = addr - ((uint64_t)r->first << XEN_GRANT_PAGE_SHIFT);
		bytes = (uint64_t)r->pages << XEN_GRANT_PAGE_SHIFT;
		if (at < bytes && len_bytes <= bytes - at) {
			*index = i;
			return r->va + at;
		}
	}
	return NULL;
}

static struct range *range_of_va(struct mem_pool *mp, const void *va)
{
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		struct range *r = &mp->table->range[i];
		size_t bytes = (size_t)r->pages << XEN_GRANT_PAGE_SHIFT;

		if (r->va && (const uint8_t *)va >= r->va &&
		    (size_t)((const uint8_t *)va - r->va) < bytes)
			return r;
	}
	return NULL;
}

/* ---- ranges ------------------------------------------------------------- */

static void areas_change(struct mem_pool *mp)
{
	if (mp->mem.areas_change)
		mp->mem.areas_change(mp->mem.areas_arg);
}

static void pool_areas(struct vg_mem *m, struct iovec areas[VG_MEM_RANGES_MAX])
{
	struct mem_pool *mp = to_pool(m);
	const struct table *t = mp->table;
	bool has_range = false;
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++)
		has_range |= t->range[i].va != NULL;
	/* A guest without is one whose requests are copied, or mapped. */
	if (!has_range) {
		mp->map->ops->areas(mp->map, areas);
		return;
	}
	for (i = 0; i < VG_MEM_RANGES_MAX; i++)
		areas[i] = (struct iovec){
			t->range[i].va, t->range[i].va ?
			(size_t)t->range[i].pages << XEN_GRANT_PAGE_SHIFT : 0
		};
}

static void range_unmap(struct mem_pool *mp, struct range *r)
{
	uint8_t *va = r->va;

	r->va = NULL;
	r->is_closing = false;
	areas_change(mp);
	/* As with grants.c's: what stays mapped counts on. */
	if (!vg_map_unmap_pages(mp->map, va, r->pages))
		vg_map_range_uncharge(mp->map, r->pages);
	mp->mem.stats.range_pages -= r->pages;
	stats_gather(mp);
}

/* 0, also if there is no room for it. */
static int range_map(struct mem_pool *mp, struct range *r)
{
	xen_ref_t *refs;
	uint32_t i;
	void *va;
	int err;

	if (!vg_map_range_charge(mp->map, r->pages))
		return 0;
	refs = malloc(r->pages * sizeof(*refs));
	if (!refs) {
		err = -EAGAIN;
		goto uncharge;
	}
	for (i = 0; i < r->pages; i++)
		refs[i] = r->first + i;
	err = vg_map_pages(mp->map, refs, r->pages, PROT_READ | PROT_WRITE,
			   &va);
	free(refs);
	if (err)
		goto uncharge;
	r->va = va;
	mp->mem.stats.range_maps++;
	mp->mem.stats.range_pages += r->pages;
	return 0;

uncharge:
	vg_map_range_uncharge(mp->map, r->pages);
	return err;
}

static uint64_t pages_announced(const struct mem_pool *mp)
{
	uint64_t pages = 0;
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++)
		pages += mp->table->range[i].pages;
	return pages;
}

static int pool_range_add(struct vg_mem *m, unsigned int index,
			  uint64_t addr, uint64_t len_bytes)
{
	struct mem_pool *mp = to_pool(m);
	uint64_t pages = len_bytes >> XEN_GRANT_PAGE_SHIFT;
	struct range r = { .first = virtio_grant_addr_ref(addr) };
	int err;

	if (mp->table->range[index].pages)
		return -EBUSY;
	if (!pages || !virtio_grant_addr_valid(addr) ||
	    (addr | len_bytes) & VIRTIO_GRANT_OFFSET_MASK ||
	    pages - 1 > UINT32_MAX - r.first)
		return -EINVAL;
	if (pages > m->budget_pages ||
	    pages_announced(mp) > m->budget_pages - pages)
		return -E2BIG;
	r.pages = (unsigned int)pages;
	err = range_map(mp, &r);
	stats_gather(mp);
	if (err)
		return err == -EINVAL ? -EFAULT : err;
	mp->table->range[index] = r;
	areas_change(mp);
	return 0;
}

static bool is_in_use(const struct mem_pool *mp, unsigned int index)
{
	const struct mem_pool *view;

	for (view = mp->table->views; view; view = view->next)
		if (view->requests[index])
			return true;
	return false;
}

static int pool_range_remove(struct vg_mem *m, unsigned int index)
{
	struct mem_pool *mp = to_pool(m);
	struct range *r = &mp->table->range[index];

	if (r->rings)
		return -EBUSY;
	r->is_closing = r->va;
	if (is_in_use(mp, index))
		return -EAGAIN;
	if (r->va)
		range_unmap(mp, r);
	r->pages = 0;
	return 0;
}

static void pool_make_room(struct vg_mem *m)
{
	struct mem_pool *mp = to_pool(m);
	unsigned int i;

	for (i = 0; i < VG_MEM_RANGES_MAX; i++) {
		struct range *r = &mp->table->range[i];

		if (!r->va || r->rings)
			continue;
		r->is_closing = true;
		if (!is_in_use(mp, i))
			range_unmap(mp, r);
	}
}

/* ---- rings -------------------------------------------------------------- */

static int pool_map_ring(struct vg_mem *m, uint64_t addr, size_t len_bytes,
			 int prot, void **va, enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	unsigned int i;
	int err;

	*va = resolve(mp, addr, len_bytes, &i);
	if (*va) {
		mp->table->range[i].rings++;
		return 0;
	}
	err = mp->map->ops->map_ring(mp->map, addr, len_bytes, prot, va, fault);
	wants_gather(mp);
	stats_gather(mp);
	return err;
}

static void pool_unmap_ring(struct vg_mem *m, void *va, size_t len_bytes)
{
	struct mem_pool *mp = to_pool(m);
	struct range *r = range_of_va(mp, va);

	if (r)
		r->rings--;
	else
		mp->map->ops->unmap_ring(mp->map, va, len_bytes);
	stats_gather(mp);
}

/* ---- requests ----------------------------------------------------------- */

static int pool_read(struct vg_mem *m, uint64_t addr, void *buf,
		     size_t len_bytes, enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	unsigned int i;
	uint8_t *va = resolve(mp, addr, len_bytes, &i);
	int err;

	if (va) {
		/* volatile would forbid wide loads, and one copy it is. */
		__builtin_memcpy(buf, va, len_bytes);
		return 0;
	}
	err = mp->map->ops->read(mp->map, addr, buf, len_bytes, fault);
	stats_gather(mp);
	return err;
}

static struct vg_mem_req *req_get(struct mem_pool *mp)
{
	struct vg_mem_req *r = mp->free_reqs;

	if (r)
		mp->free_reqs = r->next;
	else
		r = malloc(sizeof(*r));
	if (r)
		*r = (struct vg_mem_req){ 0 };
	return r;
}

static void req_put(struct mem_pool *mp, struct vg_mem_req *r)
{
	r->next = mp->free_reqs;
	mp->free_reqs = r;
}

/* True: every segment is in a range, iov[] is filled, *used says which. */
static bool resolve_all(struct mem_pool *mp, const struct vg_seg *segs,
			unsigned int nr_segs, struct vg_mem_bufs *bufs,
			uint32_t *used)
{
	struct iovec *iov = bufs->iov;
	unsigned int i, n = 0, out = 0, index;
	bool last_dir = false;

	*used = 0;
	for (i = 0; i < nr_segs; i++) {
		uint8_t *va = resolve(mp, segs[i].addr, segs[i].len_bytes,
				      &index);

		if (!va)
			return false;
		*used |= 1u << index;
		if (n && last_dir == segs[i].dev_writes &&
		    (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == va) {
			iov[n - 1].iov_len += segs[i].len_bytes;
			continue;
		}
		if (n == bufs->max)
			return false;
		last_dir = segs[i].dev_writes;
		iov[n++] = (struct iovec){ va, segs[i].len_bytes };
		if (!last_dir)
			out = n;
	}
	bufs->nr_out = out;
	bufs->nr = n;
	return true;
}

static void use_ranges(struct mem_pool *mp, uint32_t used, int by)
{
	for (; used; used &= used - 1)
		mp->requests[__builtin_ctz(used)] += (unsigned int)by;
}

static int pool_map_req(struct vg_mem *m, const struct vg_seg *segs,
			unsigned int nr_segs, struct vg_mem_bufs *bufs,
			struct vg_mem_req **req, enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	struct vg_mem_req *r = req_get(mp);
	int err;

	*fault = VG_MEM_OK;
	if (!r)
		return -EAGAIN;
	*req = r;
	if (resolve_all(mp, segs, nr_segs, bufs, &r->ranges)) {
		use_ranges(mp, r->ranges, 1);
		m->stats.range_hits++;
		return 0;
	}
	r->ranges = 0;
	err = mp->map->ops->map_req(mp->map, segs, nr_segs, bufs, &r->mapped,
				    fault);
	wants_gather(mp);
	stats_gather(mp);
	if (err < 0)
		req_put(mp, r);
	return err;
}

static int pool_map_end(struct vg_mem *m, struct vg_mem_req *r,
			struct vg_mem_bufs *bufs, enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	int err = mp->map->ops->map_end(mp->map, r->mapped, bufs, fault);

	if (err && err != -EAGAIN) {
		stats_gather(mp);
		req_put(mp, r);
	}
	return err;
}

static int pool_unmap_req(struct vg_mem *m, struct vg_mem_req *r,
			  enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	int err = 0;

	*fault = VG_MEM_OK;
	if (r->mapped) {
		err = mp->map->ops->unmap_req(mp->map, r->mapped, fault);
		if (err == VG_MEM_LATER)
			return err;
		stats_gather(mp);
	} else {
		use_ranges(mp, r->ranges, -1);
	}
	req_put(mp, r);
	return err;
}

static int pool_unmap_end(struct vg_mem *m, struct vg_mem_req *r,
			  enum vg_mem_fault *fault)
{
	struct mem_pool *mp = to_pool(m);
	int err = mp->map->ops->unmap_end(mp->map, r->mapped, fault);

	stats_gather(mp);
	if (err != -EAGAIN)
		req_put(mp, r);
	return err;
}

static void pool_exchange(struct vg_mem *m)
{
	struct mem_pool *mp = to_pool(m);

	mp->map->ops->exchange(mp->map);
	stats_gather(mp);
}

static void pool_destroy(struct vg_mem *m)
{
	struct mem_pool **p, *mp = to_pool(m);
	unsigned int i;

	for (p = &mp->table->views; *p != mp; p = &(*p)->next)
		;
	*p = mp->next;
	m->areas_change = NULL;		/* whoever it was is gone */
	for (i = 0; i < VG_MEM_RANGES_MAX; i++)
		if (mp->own_table.range[i].va)
			range_unmap(mp, &mp->own_table.range[i]);
	while (mp->free_reqs) {
		struct vg_mem_req *r = mp->free_reqs;

		mp->free_reqs = r->next;
		free(r);
	}
	mp->map->ops->destroy(mp->map);
	free(mp);
}

static struct mem_pool *pool_new(struct xen_gnttab *gt, const struct vg_mem *m,
				 struct vg_mem *map, struct table *table);

static struct vg_mem *pool_view(struct vg_mem *m)
{
	struct mem_pool *mp = to_pool(m);

	return &pool_new(mp->gt, m, mp->map->ops->view(mp->map),
			 mp->table)->mem;
}

static const struct vg_mem_ops pool_ops = {
	.name = "pool",
	.map_ring = pool_map_ring,
	.unmap_ring = pool_unmap_ring,
	.read = pool_read,
	.map_req = pool_map_req,
	.unmap_req = pool_unmap_req,
	.exchange = pool_exchange,
	.map_end = pool_map_end,
	.unmap_end = pool_unmap_end,
	.range_add = pool_range_add,
	.range_remove = pool_range_remove,
	.make_room = pool_make_room,
	.areas = pool_areas,
	.view = pool_view,
	.destroy = pool_destroy,
};

/* @table: NULL for one of its own. */
static struct mem_pool *pool_new(struct xen_gnttab *gt, const struct vg_mem *m,
				 struct vg_mem *map, struct table *table)
{
	struct mem_pool *mp = vg_zalloc(sizeof(*mp));

	mp->mem = (struct vg_mem){
		.ops = &pool_ops,
		.budget_pages = m->budget_pages,
	};
	mp->gt = gt;
	mp->map = map;
	mp->table = table ? table : &mp->own_table;
	mp->next = mp->table->views;
	mp->table->views = mp;
	return mp;
}

int vg_mem_pool_create(struct xen_gnttab *gt, xen_domid_t domid,
		       unsigned int budget_pages, uint32_t copy_max_bytes,
		       struct vg_mem **out)
{
	struct vg_mem *map;
	int err;

	err = vg_mem_map_create(gt, domid, budget_pages, copy_max_bytes, &map);
	if (err)
		return err;
	*out = &pool_new(gt, map, map, NULL)->mem;
	return 0;
}
