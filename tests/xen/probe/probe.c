// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe.c - tries what a backend without privilege must not be able to do: to
 * map a page of a guest's memory that nobody granted, and to issue a
 * device-model operation for the guest.
 *
 *	vg-probe map DOMID GFN
 *	vg-probe dm DOMID
 *
 * Says in one line what came of it.  Exit status: 0 it worked, 1 it was
 * refused (errno in the line), 2 this program was called wrongly.
 *
 * A test's program, run in the driver domain and, so that a refusal means
 * something, in dom0 too, where the same must succeed.  The project's backend
 * has none of this in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xendevicemodel.h>
#include <xenforeignmemory.h>

static int refused(const char *what, int err)
{
	printf("%s refused: %s (errno %d)\n", what, strerror(err), err);
	return 1;
}

static int try_map(uint32_t domid, uint64_t gfn)
{
	xenforeignmemory_handle *fmem = xenforeignmemory_open(NULL, 0);
	xen_pfn_t pfn = gfn;
	const volatile uint64_t *page;
	int err = 0;

	if (!fmem)
		return refused("opening /dev/xen/privcmd", errno);
	page = xenforeignmemory_map(fmem, domid, PROT_READ, 1, &pfn, &err);
	if (!page)
		return refused("foreign mapping", errno);
	if (err)
		return refused("foreign mapping", -err);
	printf("foreign mapping works: frame 0x%" PRIx64 " of domain %u begins with %016" PRIx64 "\n",
	       gfn, domid, page[0]);
	return 0;
}

static int try_dm(uint32_t domid)
{
	xendevicemodel_handle *dm = xendevicemodel_open(NULL, 0);
	unsigned int nr_vcpus;

	if (!dm)
		return refused("opening /dev/xen/privcmd", errno);
	if (xendevicemodel_nr_vcpus(dm, (domid_t)domid, &nr_vcpus))
		return refused("device-model operation", errno);
	printf("device-model operation works: domain %u has %u vCPU(s)\n",
	       domid, nr_vcpus);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "map"))
		return try_map((uint32_t)strtoul(argv[2], NULL, 0),
			       strtoull(argv[3], NULL, 0));
	if (argc == 3 && !strcmp(argv[1], "dm"))
		return try_dm((uint32_t)strtoul(argv[2], NULL, 0));
	fputs("Usage: vg-probe map DOMID GFN | vg-probe dm DOMID\n", stderr);
	return 2;
}
