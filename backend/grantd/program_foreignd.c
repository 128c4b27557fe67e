// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * program_foreignd.c - virtio-foreignd: virtio-grantd with guest memory
 * reached by foreign mapping, for the comparison only.  Never installed.
 */
#include "grantd/program.h"

#include <string.h>

#include "grantd/worker.h"
#include "mem/foreign.h"

static int create_dynamic(struct xen_gnttab *gt, xen_domid_t domid,
			  unsigned int budget_pages, uint32_t copy_max_bytes,
			  struct vg_mem **out)
{
	(void)gt;
	(void)copy_max_bytes;
	return vg_mem_foreign_create(domid, budget_pages, false, out);
}

static int create_static(struct xen_gnttab *gt, xen_domid_t domid,
			 unsigned int budget_pages, uint32_t copy_max_bytes,
			 struct vg_mem **out)
{
	(void)gt;
	(void)copy_max_bytes;
	return vg_mem_foreign_create(domid, budget_pages, true, out);
}

static bool set_memory(const char *mode)
{
	if (!strcmp(mode, "dynamic"))
		vg_worker_mem_create = create_dynamic;
	else if (!strcmp(mode, "static"))
		vg_worker_mem_create = create_static;
	else
		return false;
	return true;
}

const struct vg_program vg_program = {
	.name = "virtio-foreignd",
	.set_memory = set_memory,
};
