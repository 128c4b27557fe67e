// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_x86.c - the operations that only x86 has: those on page tables, which
 * are for PV guests, which dom0 is; interrupts of others (physdev.h); the
 * processor's counters and machine checks; Xen's table of all frames.
 */
#include <string.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/domctl.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/pmu.h>

/* Where no domain is meant, and Xen itself. */
static const struct target host = { .role = "host" };
static const struct target xen = { .role = "xen", .domid = DOMID_XEN };

/* A frame of 2 MiB each of a table of 8 bytes a page: 256 GiB. */
#define MACHPHYS_MAX	256u

static void *zeroed(void)
{
	memset(xbuf, 0, 4 * PAGE_BYTES);
	return xbuf;
}

/* Whose tables, in the two halves of one word: xen.h, at mmu_update. */
static void page_tables(const struct target *t)
{
	const uint64_t whose[] = {
		t->domid,
		(t->domid + 1ull) << 16 | DOMID_SELF,
		(t->domid + 1ull) << 16 | t->domid,
	};
	const uint64_t pte = (SOME_GFN + 1) * (uint64_t)PAGE_BYTES | 7;
	struct attempt *a = attempt_begin("mmu_update", t);
	uint64_t nr;

	for (unsigned int i = 0; i < 3; i++) {
		for (unsigned int cmd = 0; cmd < 4; cmd++) {
			struct mmu_update *op = zeroed();

			op->ptr = SOME_GFN * (uint64_t)PAGE_BYTES | cmd;
			op->val = pte;
			attempt_errno(a, cmd,
				      xen_call(__HYPERVISOR_mmu_update, xva(op),
					       1, 0, whose[i], 0));
		}
	}
	attempt_end(a);

	a = attempt_begin("mmuext_op", t);
	for (unsigned int cmd = 0; cmd < 24; cmd++) {
		struct mmuext_op *op = zeroed();

		op->cmd = cmd;
		op->arg1.mfn = SOME_GFN;
		op->arg2.src_mfn = SOME_GFN + 1;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_mmuext_op, xva(op),
					       1, 0, t->domid, 0));
	}
	attempt_end(a);

	a = attempt_begin("update_va_mapping", t);
	nr = __HYPERVISOR_update_va_mapping_otherdomain;
	for (unsigned int flags = 0; flags < 8; flags++)
		attempt_errno(a, flags, xen_call(nr, xinfo.buf_va, pte, flags,
						 t->domid, 0));
	attempt_end(a);
}

static void interrupts(const struct target *t)
{
	struct attempt *a = attempt_begin("physdev.map_pirq", t);

	for (int type = 0; type < 6; type++) {
		for (int nr = -1; nr < 32; nr++) {
			struct physdev_map_pirq *op = zeroed();

			op->domid = t->domid;
			op->type = type;
			op->index = nr;
			op->pirq = nr;
			attempt_errno(a, (unsigned int)type,
				      xen_call(__HYPERVISOR_physdev_op,
					       PHYSDEVOP_map_pirq, xva(op), 0,
					       0, 0));
		}
	}
	attempt_end(a);

	a = attempt_begin("physdev.unmap_pirq", t);
	for (int nr = 0; nr < 64; nr++) {
		struct physdev_unmap_pirq *op = zeroed();

		op->domid = t->domid;
		op->pirq = nr;
		attempt_errno(a, (unsigned int)nr,
			      xen_call(__HYPERVISOR_physdev_op,
				       PHYSDEVOP_unmap_pirq, xva(op), 0, 0, 0));
	}
	attempt_end(a);
}

/* The way by which Xen itself goes on with a long one. */
static void paging_continued(const struct target *t)
{
	static const uint32_t ops[] = {
		XEN_DOMCTL_SHADOW_OP_OFF, XEN_DOMCTL_SHADOW_OP_ENABLE,
		XEN_DOMCTL_SHADOW_OP_CLEAN, XEN_DOMCTL_SHADOW_OP_PEEK,
		XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION,
		XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION,
	};
	struct attempt *a = attempt_begin("domctl.paging_continued", t);

	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct xen_domctl *op = zeroed();

		op->cmd = XEN_DOMCTL_shadow_op;
		op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
		op->domain = t->domid;
		op->u.shadow_op.op = ops[i];
		attempt_errno(a, ops[i], xen_call(__HYPERVISOR_arch_1, xva(op),
						  0, 0, 0, 0));
	}
	attempt_end(a);
}

void attack_x86(const struct target *t)
{
	page_tables(t);
	interrupts(t);
	paging_continued(t);
}

/* Frame @mfn of Xen's own, as if it were another domain's. */
static long map_of_xen(uint64_t mfn)
{
	struct xen_add_to_physmap_batch *op = zeroed();
	xen_ulong_t *idx = (void *)(xbuf + PAGE_BYTES);
	xen_pfn_t *gpfn = (void *)(xbuf + 2 * PAGE_BYTES);
	int *err = (void *)(xbuf + 3 * PAGE_BYTES);
	long ret;

	*idx = mfn;
	*gpfn = xinfo.window_gfn[0];
	op->domid = DOMID_SELF;
	op->space = XENMAPSPACE_gmfn_foreign;
	op->size = 1;
	op->u.foreign_domid = DOMID_XEN;
	set_xen_guest_handle_raw(op->idxs, (xen_ulong_t *)xva(idx));
	set_xen_guest_handle_raw(op->gpfns, (xen_pfn_t *)xva(gpfn));
	set_xen_guest_handle_raw(op->errs, (int *)xva(err));
	ret = xen_call(__HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch,
		       xva(op), 0, 0, 0);
	return ret ? ret : *err;
}

/*
 * Which frame is whose and where there: Xen says where the table lies, and
 * gives PV guests a view of it.
 */
static void machphys(void)
{
	static uint64_t mfn[MACHPHYS_MAX];
	struct attempt *a = attempt_begin("frame.machphys", &xen);
	struct xen_machphys_mfn_list *op = zeroed();
	xen_pfn_t *list = (void *)(xbuf + PAGE_BYTES);
	unsigned int nr = 0;
	long ret;

	op->max_extents = MACHPHYS_MAX;
	set_xen_guest_handle_raw(op->extent_start, (xen_pfn_t *)xva(list));
	ret = xen_call(__HYPERVISOR_memory_op, XENMEM_machphys_mfn_list,
		       xva(op), 0, 0, 0);
	if (ret)
		attempt_errno(a, 0, ret);
	else
		nr = op->nr_extents;
	for (unsigned int i = 0; i < nr; i++)
		mfn[i] = list[i];
	/* Each page of each, or some. */
	for (unsigned int i = 0; i < nr; i++)
		for (unsigned int page = 0; page < 512; page += step)
			attempt_errno(a, mfn[i] + page,
				      map_of_xen(mfn[i] + page));
	attempt_end(a);
}

void attack_x86_host(void)
{
	struct attempt *a;

	a = attempt_begin("xenpmu_op", &host);
	for (unsigned int cmd = 0; cmd < 12; cmd++) {
		struct xen_pmu_params *op = zeroed();

		op->version.maj = XENPMU_VER_MAJ;
		op->version.min = XENPMU_VER_MIN;
		op->val = XENPMU_MODE_ALL;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_xenpmu_op, cmd,
					       xva(op), 0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("mca", &host);
	for (unsigned int cmd = 0; cmd < 12; cmd++) {
		struct xen_mc *op = zeroed();

		op->cmd = cmd;
		op->interface_version = XEN_MCA_INTERFACE_VERSION;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_mca, xva(op), 0, 0,
					       0, 0));
	}
	attempt_end(a);
	machphys();
}
