// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_calls.c - the operations that look after, emulate for, and administer
 * another domain: device-model operations, domctl, sysctl, platform, memory,
 * HVM parameters, altp2m, argo, the console, and every number there could be
 * a hypercall behind.
 *
 * With the privilege that a foreign-mapping backend has, some of these harm
 * the target for good: run this part last.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/event_channel.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/version.h>

/* Where no domain is meant. */
static const struct target host = { .role = "host" };

static long memory_op(unsigned int op, void *arg)
{
	return xen_call(__HYPERVISOR_memory_op, op, xva(arg), 0, 0, 0);
}

static void *zeroed(void)
{
	memset(xbuf, 0, 4 * PAGE_BYTES);
	return xbuf;
}

static void dm_ops(const struct target *t)
{
	struct attempt *a = attempt_begin("dm_op", t);
	struct xen_dm_op *op = (void *)(xbuf + PAGE_BYTES);
	xen_dm_op_buf_t *buf;

	for (unsigned int nr = 0; nr < 64; nr++) {
		for (unsigned int value = 0; value < 2; value++) {
			buf = zeroed();
			memset(op, value ? 0xff : 0, sizeof(*op));
			op->op = nr;
			op->pad = 0;
			set_xen_guest_handle_raw(buf[0].h, (void *)xva(op));
			buf[0].size = sizeof(*op);
			attempt_errno(a, nr, xen_call(__HYPERVISOR_dm_op,
						      t->domid, 1, xva(buf), 0,
						      0));
		}
	}
	attempt_end(a);
}

static void domctls(const struct target *t)
{
	struct attempt *a = attempt_begin("domctl", t);

	for (uint32_t cmd = 0; cmd < 1100; cmd++) {
		struct xen_domctl *op = zeroed();

		if (cmd > 128 && cmd < 1000)
			continue;
		op->cmd = cmd;
		op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
		op->domain = t->domid;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_domctl, xva(op), 0,
					       0, 0, 0));
	}
	attempt_end(a);

	/* Those that hand out memory or rights, said properly. */
	a = attempt_begin("domctl.memory_mapping", t);
	for (unsigned int add = 0; add < 2; add++) {
		struct xen_domctl *op = zeroed();

		op->cmd = XEN_DOMCTL_memory_mapping;
		op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
		op->domain = t->domid;
		op->u.memory_mapping.first_gfn = FREE_GFN;
		op->u.memory_mapping.first_mfn = 0x9000;
		op->u.memory_mapping.nr_mfns = 1;
		op->u.memory_mapping.add_mapping = add;
		attempt_errno(a, add, xen_call(__HYPERVISOR_domctl, xva(op), 0,
					       0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("domctl.set_target", t);
	{
		struct xen_domctl *op = zeroed();

		op->cmd = XEN_DOMCTL_set_target;
		op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
		op->domain = own_domid;
		op->u.set_target.target = t->domid;
		attempt_errno(a, 0, xen_call(__HYPERVISOR_domctl, xva(op), 0,
					     0, 0, 0));
	}
	attempt_end(a);
}

static void host_ops(void)
{
	struct attempt *a;

	a = attempt_begin("sysctl", &host);
	for (uint32_t cmd = 0; cmd < 64; cmd++) {
		struct xen_sysctl *op = zeroed();

		op->cmd = cmd;
		op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_sysctl, xva(op), 0,
					       0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("platform_op", &host);
	for (uint32_t cmd = 0; cmd < 80; cmd++) {
		struct xen_platform_op *op = zeroed();

		op->cmd = cmd;
		op->interface_version = XENPF_INTERFACE_VERSION;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_platform_op,
					       xva(op), 0, 0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("physdev_op", &host);
	for (uint32_t cmd = 0; cmd < 48; cmd++)
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_physdev_op, cmd,
					       xva(zeroed()), 0, 0, 0));
	attempt_end(a);

	a = attempt_begin("console_io", &host);
	strcpy(zeroed(), "the attacker was here\n");
	attempt_errno(a, CONSOLEIO_write,
		      xen_call(__HYPERVISOR_console_io, CONSOLEIO_write, 22,
			       xva(xbuf), 0, 0));
	attempt_errno(a, CONSOLEIO_read,
		      xen_call(__HYPERVISOR_console_io, CONSOLEIO_read, 64,
			       xva(xbuf), 0, 0));
	attempt_end(a);

	a = attempt_begin("xsm_op", &host);
	attempt_errno(a, 0, xen_call(__HYPERVISOR_xsm_op, xva(zeroed()), 0, 0,
				     0, 0));
	attempt_end(a);

	a = attempt_begin("kexec_op", &host);
	for (uint32_t cmd = 0; cmd < 8; cmd++)
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_kexec_op, cmd,
					       xva(zeroed()), 0, 0, 0));
	attempt_end(a);

	a = attempt_begin("hypfs_op", &host);
	for (uint32_t cmd = 0; cmd < 8; cmd++) {
		strcpy(zeroed(), "/");
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_hypfs_op, cmd,
					       xva(xbuf), 2,
					       xva(xbuf + PAGE_BYTES),
					       PAGE_BYTES));
	}
	attempt_end(a);

	a = attempt_begin("xen_version", &host);
	for (uint32_t cmd = 0; cmd < 32; cmd++) {
		zeroed();
		/* build_id and the "2" ones want a length. */
		((uint32_t *)xbuf)[0] = cmd == 9 ? 0 : 1024;
		attempt_errno(a, cmd, xen_call(__HYPERVISOR_xen_version, cmd,
					       xva(xbuf), 0, 0, 0));
	}
	attempt_end(a);
}

static void memory_ops(const struct target *t)
{
	xen_pfn_t *gfn = (void *)(xbuf + PAGE_BYTES);
	static const unsigned int reservations[] = {
		XENMEM_increase_reservation, XENMEM_populate_physmap,
		XENMEM_decrease_reservation,
	};
	static const unsigned int counts[] = {
		XENMEM_current_reservation, XENMEM_maximum_reservation,
		XENMEM_maximum_gpfn,
	};
	struct attempt *a;

	a = attempt_begin("memory.reservation", t);
	for (unsigned int i = 0; i < 3; i++) {
		struct xen_memory_reservation *op = zeroed();
		long ret;

		gfn[0] = reservations[i] == XENMEM_decrease_reservation ?
			SOME_GFN : 0x5ffffff;
		op->nr_extents = 1;
		op->domid = t->domid;
		set_xen_guest_handle_raw(op->extent_start,
					 (xen_pfn_t *)xva(gfn));
		ret = memory_op(reservations[i], op);
		/* Says how many it did. */
		if (ret)
			attempt_errno(a, reservations[i], ret);
		else
			attempt_refused(a, "none_done");
	}
	attempt_end(a);

	a = attempt_begin("memory.exchange", t);
	{
		struct xen_memory_exchange *op = zeroed();

		gfn[0] = SOME_GFN;
		gfn[1] = SOME_GFN;
		op->in.nr_extents = 1;
		op->in.domid = t->domid;
		set_xen_guest_handle_raw(op->in.extent_start,
					 (xen_pfn_t *)xva(gfn));
		op->out.nr_extents = 1;
		op->out.domid = t->domid;
		set_xen_guest_handle_raw(op->out.extent_start,
					 (xen_pfn_t *)xva(gfn + 1));
		attempt_errno(a, 0, memory_op(XENMEM_exchange, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.counts", t);
	for (unsigned int i = 0; i < 3; i++) {
		struct xen_memory_domain *op = zeroed();

		op->domid = t->domid;
		attempt_errno(a, counts[i], memory_op(counts[i], op));
	}
	attempt_end(a);

	/* Into the target's address space, instead of the attacker's. */
	a = attempt_begin("memory.add_to_physmap_of", t);
	for (unsigned int space = 0; space < 6; space++) {
		struct xen_add_to_physmap *op = zeroed();

		op->domid = t->domid;
		op->space = space;
		op->idx = space == XENMAPSPACE_gmfn ? SOME_GFN : 0;
		op->gpfn = FREE_GFN;
		attempt_errno(a, space, memory_op(XENMEM_add_to_physmap, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.remove_from_physmap_of", t);
	{
		struct xen_remove_from_physmap *op = zeroed();

		op->domid = t->domid;
		op->gpfn = SOME_GFN + 1;
		attempt_errno(a, 0, memory_op(XENMEM_remove_from_physmap, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.set_memory_map", t);
	{
		struct xen_foreign_memory_map *op = zeroed();

		op->domid = t->domid;
		attempt_errno(a, 0, memory_op(XENMEM_set_memory_map, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.pod", t);
	for (unsigned int i = 0; i < 2; i++) {
		struct xen_pod_target *op = zeroed();

		op->domid = t->domid;
		attempt_errno(a, i, memory_op(i ? XENMEM_get_pod_target :
					      XENMEM_set_pod_target, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.paging", t);
	for (unsigned int i = 0; i < 4; i++) {
		struct xen_mem_paging_op *op = zeroed();

		op->op = (uint8_t)i;
		op->domain = t->domid;
		op->gfn = SOME_GFN;
		attempt_errno(a, i, memory_op(XENMEM_paging_op, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.access", t);
	for (unsigned int i = 0; i < 6; i++) {
		struct xen_mem_access_op *op = zeroed();

		op->op = (uint8_t)i;
		op->domid = t->domid;
		op->nr = 1;
		op->pfn = SOME_GFN;
		attempt_errno(a, i, memory_op(XENMEM_access_op, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.sharing", t);
	for (unsigned int i = 0; i < 12; i++) {
		struct xen_mem_sharing_op *op = zeroed();

		op->op = (uint8_t)i;
		op->domain = t->domid;
		op->u.nominate.u.gfn = SOME_GFN;
		attempt_errno(a, i, memory_op(XENMEM_sharing_op, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.claim", t);
	{
		struct xen_memory_reservation *op = zeroed();

		op->nr_extents = 1;
		op->domid = t->domid;
		attempt_errno(a, 0, memory_op(XENMEM_claim_pages, op));
	}
	attempt_end(a);

	a = attempt_begin("memory.vnuma", t);
	{
		struct xen_vnuma_topology_info *op = zeroed();

		op->domid = t->domid;
		attempt_errno(a, 0, memory_op(XENMEM_get_vnumainfo, op));
	}
	attempt_end(a);
}

static void memory_of_host(void)
{
	struct attempt *a = attempt_begin("memory.host", &host);
	static const unsigned int ops[] = {
		XENMEM_maximum_ram_page, XENMEM_machphys_mfn_list,
		XENMEM_machphys_mapping, XENMEM_machine_memory_map,
		XENMEM_memory_map, XENMEM_get_sharing_freed_pages,
		XENMEM_get_sharing_shared_pages, 8, 25,
		XENMEM_reserved_device_memory_map, 29, 30, 31,
	};

	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		attempt_errno(a, ops[i], memory_op(ops[i], zeroed()));
	attempt_end(a);
}

static void hvm_ops(const struct target *t)
{
	struct attempt *a;

	a = attempt_begin("hvm.get_param", t);
	for (uint32_t i = 0; i <= HVM_NR_PARAMS; i++) {
		struct xen_hvm_param *op = zeroed();

		op->domid = t->domid;
		op->index = i;
		attempt_errno(a, i,
			      xen_call(__HYPERVISOR_hvm_op, HVMOP_get_param,
				       xva(op), 0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("hvm.set_param", t);
	for (uint32_t i = 0; i <= HVM_NR_PARAMS; i++) {
		struct xen_hvm_param *op = zeroed();

		op->domid = t->domid;
		op->index = i;
		op->value = 1;
		attempt_errno(a, i,
			      xen_call(__HYPERVISOR_hvm_op, HVMOP_set_param,
				       xva(op), 0, 0, 0));
	}
	attempt_end(a);

	a = attempt_begin("hvm.other", t);
	for (uint32_t i = 2; i < 32; i++) {
		uint16_t *op = zeroed();

		/* Most have the domain in front; 24 is about the caller. */
		if (i == HVMOP_altp2m || i == HVMOP_guest_request_vm_event)
			continue;
		op[0] = t->domid;
		attempt_errno(a, i, xen_call(__HYPERVISOR_hvm_op, i, xva(op), 0,
					     0, 0));
	}
	attempt_end(a);

	a = attempt_begin("hvm.altp2m", t);
	for (uint32_t i = 0; i < 20; i++) {
		struct xen_hvm_altp2m_op *op = zeroed();

		op->version = HVMOP_ALTP2M_INTERFACE_VERSION;
		op->cmd = i;
		op->domain = t->domid;
		attempt_errno(a, i, xen_call(__HYPERVISOR_hvm_op, HVMOP_altp2m,
					     xva(op), 0, 0, 0));
	}
	attempt_end(a);
}

static void others(const struct target *t)
{
	struct sched_remote_shutdown *shutdown;
	struct attempt *a;

	a = attempt_begin("argo", t);
	for (uint32_t cmd = 0; cmd < 12; cmd++) {
		uint16_t *op = zeroed();

		op[2] = own_domid;
		op[6] = t->domid;
		attempt_errno(a, cmd,
			      xen_call(__HYPERVISOR_argo_op, cmd, xva(xbuf),
				       xva(xbuf + PAGE_BYTES), 1, 1));
	}
	attempt_end(a);

	a = attempt_begin("sched.remote_shutdown", t);
	for (unsigned int reason = 0; reason < 6; reason++) {
		shutdown = zeroed();
		shutdown->domain_id = t->domid;
		shutdown->reason = reason;
		attempt_errno(a, reason, xen_call(__HYPERVISOR_sched_op,
						  SCHEDOP_remote_shutdown,
						  xva(shutdown), 0, 0, 0));
	}
	attempt_end(a);
}

/* With the right to do that, the target would lose all its ports. */
static void event_reset(const struct target *t)
{
	struct attempt *a = attempt_begin("event.reset", t);
	struct evtchn_reset *op = zeroed();

	op->dom = t->domid;
	attempt_errno(a, 0, xen_call(__HYPERVISOR_event_channel_op,
				     EVTCHNOP_reset, xva(op), 0, 0, 0));
	/* The one with which Xen goes on with it later is Xen's own. */
	op->dom = t->domid;
	attempt_errno(a, 1, xen_call(__HYPERVISOR_event_channel_op, 14, xva(op),
				     0, 0, 0));
	attempt_end(a);
}

/* Nonsense, at every number; what Xen makes of it must harm nobody. */
static void every_number(void)
{
	struct attempt *a = attempt_begin("hypercall.every_number", &host);
	const struct target *t = &targets[0];

	for (uint64_t nr = 0; nr < 64; nr++) {
		attempt_errno(a, nr, xen_call(nr, ~0ull, ~0ull, ~0ull, ~0ull,
					      ~0ull));
		/* Names the target, and hypervisor addresses. */
		attempt_errno(a, nr, xen_call(nr, t->domid | 0x80000000u,
					      0x0000800000000000ull,
					      0xffffffffff000000ull, t->domid,
					      ~0ull));
	}
	for (uint64_t nr = 64; nr < 1ull << 60; nr = nr * 2 + 1)
		attempt_errno(a, 63, xen_call(nr, 0, 0, 0, 0, 0));
	attempt_end(a);
}

void attack_calls(void)
{
	xen_open();
	host_ops();
	memory_of_host();
	every_number();
#ifdef __x86_64__
	attack_x86_host();
#endif
	for (unsigned int i = 0; i < nr_targets; i++) {
		const struct target *t = &targets[i];

		domctls(t);
		hvm_ops(t);
		memory_ops(t);
		dm_ops(t);
		event_reset(t);
		others(t);
#ifdef __x86_64__
		attack_x86(t);
#endif
	}
}
