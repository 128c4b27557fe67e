/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem.h - guest memory, as one device of one guest may reach it.
 *
 * What an address means is the implementation's business: a device, its queues
 * and its transport pass it on.  One that means nothing is refused; there is no
 * fallback to another meaning.
 *
 * The guest is not trusted: it can revoke nothing that is mapped, but it
 * writes to mapped pages at any moment, and its addresses are arbitrary.
 *
 * Implementations: pool.c (announced ranges), on top of grants.c (map or copy,
 * for the rest and for mainline guests; of it bounce.c and copies.c); foreign.c
 * for the comparison only.
 */
#ifndef VG_MEM_H
#define VG_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* What pages are counted in, whatever the guest's are, or ours. */
#define VG_MEM_PAGE_SHIFT	12
#define VG_MEM_PAGE_BYTES	(1u << VG_MEM_PAGE_SHIFT)

/* One buffer of a request, as the descriptors gave it: unchecked address. */
struct vg_seg {
	uint64_t addr;
	uint32_t len_bytes;
	bool dev_writes;	/* device-writable (VIRTQ_DESC_F_WRITE) */
};

/* Why an access was refused; counted and shown by name. */
enum vg_mem_fault {
	VG_MEM_OK = 0,
	VG_MEM_NO_GRANT,	/* address without bit 63: a guest without a
				 * grant layer gave a guest-physical one */
	VG_MEM_BAD_RANGE,	/* wraps, or beyond what an address can say */
	VG_MEM_NOT_GRANTED,	/* Xen refused to map or copy the reference */
	VG_MEM_BUDGET,		/* one request of more pages than the device
				 * may ever have mapped at once */
	VG_MEM_FAULT_MAX,
};
const char *vg_mem_fault_name(enum vg_mem_fault f);	/* "not-granted" */
const char *vg_mem_fault_text(enum vg_mem_fault f);	/* for an operator */

struct vg_mem_stats {
	/* hypercalls, and what they moved */
	uint64_t maps, map_pages, unmaps, copies, copied_bytes;
	/* how often the domain's mapper was asked, by a process that has one */
	uint64_t exchanges;
	/*
	 * Rings, requests, and bounce memory beyond a request's own; the
	 * maximum is that of all views together.
	 */
	uint64_t mapped_pages_now, mapped_pages_max;
	uint64_t waits;		/* requests that had to wait for pages */
	/* ranges mapped so far, their pages now, requests all inside of them */
	uint64_t range_maps, range_pages, range_hits;
	uint64_t faults[VG_MEM_FAULT_MAX];
};

#define VG_MEM_RANGES_MAX	8u

#define VG_MEM_LATER		1	/* see map_req */

/* Where the buffers of one request are, those that the device reads first. */
struct vg_mem_bufs {
	struct iovec *iov;
	unsigned int max;		/* of iov[] */
	unsigned int nr, nr_out;	/* all, and those to be read */
};

struct vg_mem;
struct vg_mem_req; /* what one request holds; private to the implementation */

struct vg_mem_ops {
	const char *name;

	/*
	 * A long-lived view of [addr, addr + len) for a ring part; released
	 * by unmap_ring.  @prot as for mmap(2).  -EAGAIN (with VG_MEM_OK): as
	 * for map_req.
	 */
	int (*map_ring)(struct vg_mem *m, uint64_t addr, size_t len_bytes,
			int prot, void **va, enum vg_mem_fault *fault);
	void (*unmap_ring)(struct vg_mem *m, void *va, size_t len_bytes);

	/*
	 * One copy of guest memory into private memory (an indirect table).
	 * -EAGAIN: our own memory is short, nothing is wrong with @addr.
	 */
	int (*read)(struct vg_mem *m, uint64_t addr, void *buf,
		    size_t len_bytes, enum vg_mem_fault *fault);

	/*
	 * Makes the @nr_segs buffers of a request addressable: @bufs is filled
	 * in the order of the segments, and a segment never shares an entry
	 * with one of the other direction.  Neighbours that follow each other
	 * in our memory share one, so bufs->max = nr_segs always suffices.  One
	 * map hypercall at the most.  On success *req must go to unmap_req
	 * exactly once.
	 *
	 * -EAGAIN (with VG_MEM_OK): the pages do not fit while others are
	 * mapped, or memory is short for the moment.  Nothing is held; try
	 * again when a request has been unmapped, or some time later.  Every
	 * other error has its fault and is the guest's doing.
	 *
	 * VG_MEM_LATER: so far so good, but @bufs is not filled.  That is
	 * map_end()'s, after exchange().
	 *
	 * Device-writable bytes that the device leaves alone may reach the
	 * guest as zeroes.
	 */
	int (*map_req)(struct vg_mem *m, const struct vg_seg *segs,
		       unsigned int nr_segs, struct vg_mem_bufs *bufs,
		       struct vg_mem_req **req, enum vg_mem_fault *fault);
	/*
	 * Before the request is completed.  What the device wrote reaches the
	 * guest's pages here at the latest.  One unmap hypercall at the most.
	 * An error: it did not (the guest took a page back under a copy);
	 * counted, and nobody must take the request for done.
	 *
	 * VG_MEM_LATER: it is unmap_end() that says so and is the end of @req,
	 * after exchange().
	 *
	 * A request that is VG_MEM_LATER, to be mapped or to be unmapped, may
	 * be given up by this as well, which is never VG_MEM_LATER then.
	 */
	int (*unmap_req)(struct vg_mem *m, struct vg_mem_req *req,
			 enum vg_mem_fault *fault);

	/*
	 * All that is VG_MEM_LATER, of all requests, with one copy and, for
	 * each request that wants one, a map.  Where a process guards the
	 * domain's grants it is asked once, so this is called once for all
	 * requests of a turn.
	 *
	 * map_end() returns what map_req() would, unmap_end() what unmap_req()
	 * would.  -EAGAIN, of either: something was short, @req is still
	 * there, and part of the next exchange.  Another error: it is gone.
	 *
	 * NULL, all three: nothing is VG_MEM_LATER.
	 */
	void (*exchange)(struct vg_mem *m);
	int (*map_end)(struct vg_mem *m, struct vg_mem_req *req,
		       struct vg_mem_bufs *bufs, enum vg_mem_fault *fault);
	int (*unmap_end)(struct vg_mem *m, struct vg_mem_req *req,
			 enum vg_mem_fault *fault);

	/*
	 * Ranges of addresses that the guest announced as staying reachable;
	 * both NULL where there is no such thing.  @index < VG_MEM_RANGES_MAX.
	 *
	 * range_add: -EBUSY (it holds one), -EINVAL (empty, no whole pages, or
	 * beyond the last address), -E2BIG (all ranges together are more than
	 * the budget), -EAGAIN (something is short for the moment), or why it
	 * could not be mapped (never -EINVAL).  What the budget has no room for
	 * beside the rings and requests of now is held without being mapped.
	 * range_remove: no new use from here on.  -EAGAIN: requests use it
	 * still, call again when one is unmapped; -EBUSY: a ring is in it,
	 * nothing is changed.
	 */
	int (*range_add)(struct vg_mem *m, unsigned int index, uint64_t addr,
			 uint64_t len_bytes);
	int (*range_remove)(struct vg_mem *m, unsigned int index);
	/*
	 * Ranges give way, as far as nothing lies in them: vg_mem.wants_room.
	 * While no thread runs; through @m itself.  NULL: none can.
	 */
	void (*make_room)(struct vg_mem *m);

	/*
	 * What stays mapped, so that a device may make it known to the kernel
	 * once instead of with every request: areas[i] is range i, empty if
	 * there is none; without ranges, what requests are copied to.
	 * vg_mem.areas_change is called before one goes and after one came.
	 * NULL: nothing stays mapped.
	 */
	void (*areas)(struct vg_mem *m, struct iovec areas[VG_MEM_RANGES_MAX]);

	/*
	 * The same memory for another thread: the same ranges and budget, but
	 * requests, counters and scratch memory of its own.  Rings are mapped,
	 * ranges added and removed, and views made and destroyed only while
	 * no other thread uses any of them; ranges through @m itself.  Every
	 * view is destroyed before @m.  NULL: there is no such thing.
	 */
	struct vg_mem *(*view)(struct vg_mem *m);

	void (*destroy)(struct vg_mem *m);
};

struct vg_mem {
	const struct vg_mem_ops *ops;
	unsigned int budget_pages;	/* most pages mapped at once */
	struct vg_mem_stats stats;
	/*
	 * -EAGAIN, and it would be for ever: ranges have what is wanted.  The
	 * caller's to clear, and to have make_room() called.
	 */
	bool wants_room;
	/* Of the device's own, not of a view: see ops->areas; or NULL. */
	void (*areas_change)(void *arg);
	void *areas_arg;
};

#endif
