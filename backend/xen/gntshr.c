// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * gntshr.c - granting pages of our own, over /dev/xen/gntalloc.  See xen.h.
 *
 * Not over libxengnttab's other half: that ends the descriptor's hold on the
 * page at once, and the page would die with the one process that mapped it.
 * Here each page has a descriptor of its own, which can be sent.
 *
 * Follows Linux' include/uapi/xen/gntalloc.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/gntalloc.h>

#include "lib/util.h"
#include "xen/xen.h"

struct xen_shared_page {
	int fd;			/* -1: the mapping alone holds it */
	void *addr;
};

static int gntalloc_open(void)
{
	int fd = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int xen_shared_page_probe(void)
{
	int fd = gntalloc_open();

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int page_map(int fd, int prot, struct xen_shared_page **out)
{
	struct xen_shared_page *sp;
	/* A descriptor's first page is at offset 0. */
	void *va = mmap(NULL, XEN_GRANT_PAGE_SIZE, prot, MAP_SHARED, fd, 0);

	if (va == MAP_FAILED)
		return -errno;
	sp = vg_zalloc(sizeof(*sp));
	sp->fd = fd;
	sp->addr = va;
	*out = sp;
	return 0;
}

int xen_shared_page_create(xen_domid_t domid, struct xen_shared_page **out,
			   xen_ref_t *ref)
{
	struct ioctl_gntalloc_alloc_gref op = {
		.domid = domid, .flags = GNTALLOC_FLAG_WRITABLE, .count = 1,
	};
	int err, fd = gntalloc_open();

	if (fd < 0)
		return fd;
	err = ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, &op) ? -errno :
	      op.index ? -EPROTO : page_map(fd, PROT_READ, out);
	if (err) {
		close(fd);
		return err;
	}
	*ref = op.gref_ids[0];
	return 0;
}

int xen_shared_page_fd(const struct xen_shared_page *sp)
{
	return sp->fd;
}

int xen_shared_page_take(int fd, struct xen_shared_page **out)
{
	int err = page_map(fd, PROT_READ | PROT_WRITE, out);

	close(fd);
	if (!err)
		(*out)->fd = -1;
	return err;
}

void *xen_shared_page_addr(const struct xen_shared_page *sp)
{
	return sp->addr;
}

void xen_shared_page_close(struct xen_shared_page *sp)
{
	if (!sp)
		return;
	munmap(sp->addr, XEN_GRANT_PAGE_SIZE);
	if (sp->fd >= 0)
		close(sp->fd);
	free(sp);
}
