// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mem.c - names for what can go wrong with guest memory: see mem.h.
 */
#include "mem/mem.h"

#include "lib/util.h"

static const struct {
	const char *name, *text;
} faults[VG_MEM_FAULT_MAX] = {
	[VG_MEM_OK] = { "ok", "no fault" },
	[VG_MEM_NO_GRANT] = { "no-grant",
		"the guest passed an address that is no grant: "
		"no grant layer in the guest?" },
	[VG_MEM_BAD_RANGE] = { "bad-range",
		"the buffer wraps or lies beyond all grant references" },
	[VG_MEM_NOT_GRANTED] = { "not-granted",
		"Xen refused the grant reference" },
	[VG_MEM_BUDGET] = { "budget",
		"one request needs more pages than the device may map" },
};

const char *vg_mem_fault_name(enum vg_mem_fault f)
{
	return (unsigned int)f < ARRAY_SIZE(faults) ? faults[f].name : "?";
}

const char *vg_mem_fault_text(enum vg_mem_fault f)
{
	return (unsigned int)f < ARRAY_SIZE(faults) ? faults[f].text : "?";
}
