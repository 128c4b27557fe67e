// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_memory.c - foreign mapping of frames nobody granted, by each
 * interface there is, and resources (memory.h: XENMEM_add_to_physmap,
 * XENMEM_add_to_physmap_batch, XENMEM_acquire_resource; privcmd.h).
 *
 * Frames of a guest on Arm (arch-arm.h): RAM from 0x40000000, the grant table
 * and the toolstack's pages at 0x38000000, the rest of the first gigabyte
 * sampled in any case.
 *
 * Those of a PVH guest on x86 (xg_dom_x86.c, libxl_x86.c): RAM from 0, then the
 * 128 MiB where Linux puts its grant table and what it maps, tables of ACPI
 * from 0xfc000000, the toolstack's pages below 0xff000000; what is between and
 * a bit above 4 GiB sampled in any case.  dom0 is a PV guest there: its frames
 * are the machine's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/memory.h>
#include <xen/hvm/dm_op.h>
#include <xen/sys/privcmd.h>

#define BATCH	1024u

/* The frames to try, BATCH at a time. */
struct walk {
	const struct target *target;
	unsigned int range;
	uint64_t next;
};

static bool walk_on(struct walk *w, uint64_t *gfn, unsigned int *nr)
{
	uint64_t ram = ram_frames(w->target);
	const struct {
		uint64_t first, end;
		unsigned int step;
	} ranges[] = {
#ifdef __x86_64__
		{ 0, ram, ram_step(w->target) },
		{ ram, ram + 0x8000, step > 1 ? 64 : 1 },
		{ ram + 0x8000, 0xfc000, step > 1 ? 1024 : 64 },
		{ 0xfc000, 0xfefe0, step > 1 ? 64 : 1 },
		{ 0xfefe0, 0xff010, 1 },
		{ 0xff010, 0x100000, step > 1 ? 64 : 1 },
		{ 0x100000, 0x100100, 1 },
#else
		{ 0, 0x400, step > 1 ? 16 : 1 },
		{ 0x400, 0x38000, step > 1 ? 1024 : 64 },
		{ 0x38000, 0x39100, step > 1 ? 8 : 1 },
		{ 0x40000, 0x40000 + ram + 0x100, ram_step(w->target) },
		{ 0x200000, 0x200100, 1 },
#endif
	};

	*nr = 0;
	while (w->range < sizeof(ranges) / sizeof(ranges[0])) {
		if (w->next < ranges[w->range].first)
			w->next = ranges[w->range].first;
		while (w->next < ranges[w->range].end && *nr < BATCH) {
			gfn[(*nr)++] = w->next;
			w->next += ranges[w->range].step;
		}
		if (*nr == BATCH)
			break;
		w->range++;
		w->next = 0;
	}
	return *nr;
}

static void unmap_window(unsigned int i)
{
	struct xen_remove_from_physmap *rm =
		(void *)(xbuf + VGA_BUF_BYTES - PAGE_BYTES);

	rm->domid = DOMID_SELF;
	rm->gpfn = xinfo.window_gfn[i];
	xen_call(__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, xva(rm), 0,
		 0, 0);
}

/* What ended up at window page @i is the target's frame @gfn. */
static void reached(struct attempt *a, unsigned int i, uint64_t gfn)
{
	xen_look(i, 1);
	attempt_search(a, gfn, xpage + (size_t)i * PAGE_BYTES, PAGE_BYTES);
	unmap_window(i);
}

static void by_batch(const struct target *t, unsigned int space,
		     const char *what)
{
	struct attempt *a = attempt_begin(what, t);
	struct xen_add_to_physmap_batch *op = (void *)xbuf;
	xen_ulong_t *idx = (void *)(xbuf + PAGE_BYTES);
	xen_pfn_t *gpfn = (void *)(xbuf + 4 * PAGE_BYTES);
	int *err = (void *)(xbuf + 8 * PAGE_BYTES);
	struct walk walk = { .target = t };
	uint64_t gfn[BATCH];
	unsigned int nr;
	long ret;

	while (walk_on(&walk, gfn, &nr)) {
		for (unsigned int i = 0; i < nr; i++) {
			idx[i] = gfn[i];
			gpfn[i] = xinfo.window_gfn[i];
			err[i] = 1;
		}
		memset(op, 0, sizeof(*op));
		op->domid = DOMID_SELF;
		op->space = (uint16_t)space;
		op->size = (uint16_t)nr;
		op->u.foreign_domid = t->domid;
		set_xen_guest_handle_raw(op->idxs, (xen_ulong_t *)xva(idx));
		set_xen_guest_handle_raw(op->gpfns, (xen_pfn_t *)xva(gpfn));
		set_xen_guest_handle_raw(op->errs, (int *)xva(err));
		ret = xen_call(__HYPERVISOR_memory_op,
			       XENMEM_add_to_physmap_batch, xva(op), 0, 0, 0);
		for (unsigned int i = 0; i < nr; i++) {
			long one = ret ? ret : err[i];

			attempt_errno(a, gfn[i], one > 0 ? -EIO : one);
			if (!one)
				reached(a, i, gfn[i]);
		}
	}
	attempt_end(a);
}

/* The old one knows no foreign domain: space 4 must be refused by itself. */
static void by_single(const struct target *t)
{
	struct attempt *a = attempt_begin("frame.add_to_physmap", t);
	struct xen_add_to_physmap *op = (void *)xbuf;
	struct walk walk = { .target = t };
	uint64_t gfn[BATCH];
	unsigned int nr;
	long ret;

	while (walk_on(&walk, gfn, &nr)) {
		for (unsigned int i = 0; i < nr; i++) {
			memset(op, 0, sizeof(*op));
			op->domid = DOMID_SELF;
			op->size = t->domid;
			op->space = XENMAPSPACE_gmfn_foreign;
			op->idx = gfn[i];
			op->gpfn = xinfo.window_gfn[0];
			ret = xen_call(__HYPERVISOR_memory_op,
				       XENMEM_add_to_physmap, xva(op), 0, 0, 0);
			attempt_errno(a, gfn[i], ret);
			if (ret >= 0)
				reached(a, 0, gfn[i]);
		}
	}
	attempt_end(a);
}

/* Wrapped into a multicall, which has checks of its own to get wrong. */
static void by_multicall(const struct target *t)
{
	struct attempt *a = attempt_begin("frame.multicall", t);
	struct xen_add_to_physmap_batch *op = (void *)xbuf;
	xen_ulong_t *idx = (void *)(xbuf + PAGE_BYTES);
	xen_pfn_t *gpfn = (void *)(xbuf + 2 * PAGE_BYTES);
	int *err = (void *)(xbuf + 3 * PAGE_BYTES);
	multicall_entry_t *call = (void *)(xbuf + 4 * PAGE_BYTES);
	struct walk walk = { .target = t };
	uint64_t gfn[BATCH];
	unsigned int nr;
	long ret;

	while (walk_on(&walk, gfn, &nr)) {
		for (unsigned int i = 0; i < nr; i += 16) {
			memset(op, 0, sizeof(*op));
			*idx = gfn[i];
			*gpfn = xinfo.window_gfn[0];
			*err = 1;
			op->domid = DOMID_SELF;
			op->space = XENMAPSPACE_gmfn_foreign;
			op->size = 1;
			op->u.foreign_domid = t->domid;
			set_xen_guest_handle_raw(op->idxs,
						 (xen_ulong_t *)xva(idx));
			set_xen_guest_handle_raw(op->gpfns,
						 (xen_pfn_t *)xva(gpfn));
			set_xen_guest_handle_raw(op->errs, (int *)xva(err));
			memset(call, 0, sizeof(*call));
			call->op = __HYPERVISOR_memory_op;
			call->args[0] = XENMEM_add_to_physmap_batch;
			call->args[1] = xva(op);
			ret = xen_call(__HYPERVISOR_multicall, xva(call), 1, 0,
				       0, 0);
			if (!ret)
				ret = (long)call->result;
			if (!ret)
				ret = *err;
			attempt_errno(a, gfn[i], ret > 0 ? -EIO : ret);
			if (!ret)
				reached(a, 0, gfn[i]);
		}
	}
	attempt_end(a);
}

void attack_frames(void)
{
	xen_open();
	for (unsigned int i = 0; i < nr_targets; i++) {
		by_batch(&targets[i], XENMAPSPACE_gmfn_foreign,
			 "frame.add_to_physmap_batch");
		by_single(&targets[i]);
		by_multicall(&targets[i]);
		by_batch(&targets[i], XENMAPSPACE_dev_mmio, "frame.dev_mmio");
	}
}

/* ---- Linux's privcmd ---------------------------------------------------- */

/* As many pages as a batch has, to be mapped over; again for each batch. */
static uint8_t *area(int fd, unsigned int pages)
{
	uint8_t *p = mmap(NULL, (size_t)pages * PAGE_BYTES,
			  PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void look(struct attempt *a, const uint8_t *at, uint64_t gfn)
{
	memcpy(xpage, at, PAGE_BYTES);
	attempt_search(a, gfn, xpage, PAGE_BYTES);
}

static void by_privcmd(int fd, const struct target *t, const char *how,
		       const char *call)
{
	struct walk walk = { .target = t };
	static char what[64];
	static xen_pfn_t arr[BATCH];
	static int err[BATCH];
	uint64_t gfn[BATCH];
	struct attempt *a;
	unsigned int nr;

	snprintf(what, sizeof(what), "privcmd-%s.%s", how, call);
	a = attempt_begin(what, t);
	while (walk_on(&walk, gfn, &nr)) {
		uint8_t *p = area(fd, nr);
		int ret = 0;

		if (!p) {
			attempt_errno(a, gfn[0], -errno);
			continue;
		}
		memset(err, 0, sizeof(err));
		for (unsigned int i = 0; i < nr; i++)
			arr[i] = gfn[i];
		if (!strcmp(call, "mmapbatch")) {
			struct privcmd_mmapbatch op = {
				(int)nr, t->domid, (uintptr_t)p, arr,
			};

			ret = ioctl(fd, IOCTL_PRIVCMD_MMAPBATCH, &op) ? -errno :
									0;
			for (unsigned int i = 0; i < nr; i++)
				if ((arr[i] ^ gfn[i]) & 0xf0000000u)
					err[i] = -EPERM;
		} else if (!strcmp(call, "mmapbatch_v2")) {
			struct privcmd_mmapbatch_v2 op = {
				nr, t->domid, (uintptr_t)p, arr, err,
			};

			ret = ioctl(fd, IOCTL_PRIVCMD_MMAPBATCH_V2, &op) ?
				-errno : 0;
		} else {
			/* One entry for each frame; all or nothing. */
			for (unsigned int i = 0; i < nr; i++) {
				struct privcmd_mmap_entry entry = {
					(uintptr_t)p + (size_t)i * PAGE_BYTES,
					gfn[i], 1,
				};
				struct privcmd_mmap op = { 1, t->domid,
							   &entry };

				err[i] = ioctl(fd, IOCTL_PRIVCMD_MMAP, &op) ?
					-errno : 0;
			}
		}
		for (unsigned int i = 0; i < nr; i++) {
			int one = err[i] ? err[i] : ret;

			attempt_errno(a, gfn[i], one);
			if (!one)
				look(a, p + (size_t)i * PAGE_BYTES, gfn[i]);
		}
		munmap(p, (size_t)nr * PAGE_BYTES);
	}
	attempt_end(a);
}

static void resources_by_privcmd(int fd, const struct target *t,
				 const char *how)
{
	static const uint32_t ids[] = { 0, 1, 2, 3, 7, 0xffff, 0xffffffff };
	static char what[64];
	struct attempt *a;

	snprintf(what, sizeof(what), "privcmd-%s.mmap_resource", how);
	a = attempt_begin(what, t);
	for (uint32_t type = 0; type < 8; type++) {
		for (unsigned int i = 0; i < sizeof(ids) / sizeof(ids[0]);
		     i++) {
			for (uint32_t frame = 0; frame < 4; frame++) {
				/* A second time on one area, Linux stumbles. */
				uint8_t *p = area(fd, 1);
				struct privcmd_mmap_resource op = {
					.dom = t->domid, .type = type,
					.id = ids[i], .idx = frame, .num = 1,
					.addr = (uintptr_t)p,
				};
				int ret = ioctl(fd, IOCTL_PRIVCMD_MMAP_RESOURCE,
						&op) ? -errno : 0;

				attempt_errno(a, type, ret);
				if (!ret)
					look(a, p, type);
				if (p)
					munmap(p, PAGE_BYTES);
			}
		}
	}
	attempt_end(a);
}

static void dm_ops_by_privcmd(int fd, const struct target *t, const char *how)
{
	static char what[64];
	struct xen_dm_op op;
	struct attempt *a;

	snprintf(what, sizeof(what), "privcmd-%s.dm_op", how);
	a = attempt_begin(what, t);
	/* Reading ones: attack_calls() makes them all. */
	for (unsigned int nr = 0; nr <= 32; nr++) {
		struct privcmd_dm_op_buf buf = { &op, sizeof(op) };
		struct privcmd_dm_op call = { t->domid, 1, &buf };

		if (nr && nr != XEN_DMOP_get_ioreq_server_info &&
		    nr != XEN_DMOP_nr_vcpus && nr < 21)
			continue;
		memset(&op, 0, sizeof(op));
		op.op = nr;
		attempt_errno(a, nr, ioctl(fd, IOCTL_PRIVCMD_DM_OP, &call) ?
			      -errno : 0);
	}
	attempt_end(a);
}

static void hypercalls_by_privcmd(int fd, const struct target *t,
				  const char *how)
{
	struct xen_memory_domain arg = { .domid = t->domid };
	struct privcmd_hypercall call = {
		.op = __HYPERVISOR_memory_op,
		.arg = { XENMEM_maximum_gpfn, (uintptr_t)&arg },
	};
	static char what[64];
	struct attempt *a;

	snprintf(what, sizeof(what), "privcmd-%s.hypercall", how);
	a = attempt_begin(what, t);
	attempt_errno(a, XENMEM_maximum_gpfn,
		      ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call) < 0 ? -errno :
								      0);
	attempt_end(a);
}

/* @how: "shipped" or "unrestricted": how the module was loaded. */
void attack_privcmd(const char *how)
{
	int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
	struct attempt *a;

	xen_open();
	if (fd < 0) {
		static char what[64];

		snprintf(what, sizeof(what), "privcmd-%s.open", how);
		a = attempt_begin(what, &targets[0]);
		attempt_errno(a, 0, -errno);
		attempt_end(a);
		return;
	}
	for (unsigned int i = 0; i < nr_targets; i++) {
		const struct target *t = &targets[i];

		by_privcmd(fd, t, how, "mmapbatch_v2");
		by_privcmd(fd, t, how, "mmapbatch");
		by_privcmd(fd, t, how, "mmap");
		resources_by_privcmd(fd, t, how);
		dm_ops_by_privcmd(fd, t, how);
		hypercalls_by_privcmd(fd, t, how);
	}
	close(fd);
}

/* ---- resources ---------------------------------------------------------- */

void attack_resources(void)
{
	static const uint32_t ids[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 0xfff,
					0xffff, 0x10000, 0xffffffff };
	struct xen_mem_acquire_resource *op;
	xen_pfn_t *list;
	struct attempt *a;
	long ret;

	xen_open();
	op = (void *)xbuf;
	list = (void *)(xbuf + PAGE_BYTES);
	for (unsigned int i = 0; i < nr_targets; i++) {
		a = attempt_begin("resource.acquire", &targets[i]);
		for (uint32_t type = 0; type < 16; type++) {
			for (unsigned int k = 0;
			     k < sizeof(ids) / sizeof(ids[0]); k++) {
				for (uint64_t frame = 0; frame < 70;
				     frame += step > 1 ? 23 : 1) {
					memset(op, 0, sizeof(*op));
					op->domid = targets[i].domid;
					op->type = (uint16_t)type;
					op->id = ids[k];
					op->nr_frames = 1;
					op->frame = frame;
					list[0] = xinfo.window_gfn[0];
					set_xen_guest_handle_raw(op->frame_list,
						(xen_pfn_t *)xva(list));
					ret = xen_call(__HYPERVISOR_memory_op,
						       XENMEM_acquire_resource,
						       xva(op), 0, 0, 0);
					attempt_errno(a, type, ret);
					if (ret >= 0)
						reached(a, 0, type);
				}
			}
			/* How many there are. */
			memset(op, 0, sizeof(*op));
			op->domid = targets[i].domid;
			op->type = (uint16_t)type;
			ret = xen_call(__HYPERVISOR_memory_op,
				       XENMEM_acquire_resource, xva(op), 0, 0,
				       0);
			attempt_errno(a, type, ret);
		}
		attempt_end(a);
	}
}
