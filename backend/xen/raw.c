// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * raw.c - see raw.h.  The system calls that the Xen libraries would make; they
 * have no way to use a gntdev that somebody else opened.
 */
#include "xen/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include <xengnttab.h>
#include <xen/evtchn.h>
#include <xen/gntdev.h>

#include "lib/util.h"
#include "xen/ioctls.h"

_Static_assert(XEN_IOCTL_GNTDEV_MAP == IOCTL_GNTDEV_MAP_GRANT_REF, "");
_Static_assert(XEN_IOCTL_GNTDEV_UNMAP == IOCTL_GNTDEV_UNMAP_GRANT_REF, "");
_Static_assert(XEN_IOCTL_GNTDEV_COPY == IOCTL_GNTDEV_GRANT_COPY, "");
_Static_assert(XEN_IOCTL_EVTCHN_BIND == IOCTL_EVTCHN_BIND_INTERDOMAIN, "");
_Static_assert(XEN_IOCTL_EVTCHN_UNBIND == IOCTL_EVTCHN_UNBIND, "");
_Static_assert(XEN_IOCTL_EVTCHN_NOTIFY == IOCTL_EVTCHN_NOTIFY, "");

#define REFS_MAX	65536u	/* gntdev's own limit */

int xen_raw_open_gntdev(void)
{
	int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int xen_raw_open_evtchn(void)
{
	int fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int xen_raw_map(int fd, xen_domid_t domid, const xen_ref_t *refs,
		unsigned int count, uint64_t *index)
{
	/* One caller at a time: the mapper has one thread. */
	static struct {
		struct ioctl_gntdev_map_grant_ref op;
		struct ioctl_gntdev_grant_ref more[REFS_MAX - 1];
	} map;
	struct ioctl_gntdev_grant_ref *ref = map.op.refs;
	unsigned int i;

	if (!count || count > REFS_MAX)
		return -EINVAL;
	map.op.count = count;
	for (i = 0; i < count; i++, ref = i == 1 ? map.more : ref + 1) {
		ref->domid = domid;
		ref->ref = refs[i];
	}
	if (ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, &map.op))
		return -errno;
	*index = map.op.index;
	return 0;
}

int xen_raw_forget(int fd, uint64_t index, unsigned int count)
{
	struct ioctl_gntdev_unmap_grant_ref op = {
		.index = index, .count = count,
	};

	return ioctl(fd, IOCTL_GNTDEV_UNMAP_GRANT_REF, &op) ? -errno : 0;
}

int xen_raw_copy(int fd, xen_domid_t domid, struct xen_copy_seg *segs,
		 unsigned int count)
{
	struct gntdev_grant_copy_segment lib[XEN_RAW_COPY_SEGS_MAX];
	struct ioctl_gntdev_grant_copy op = {
		.count = count, .segments = lib,
	};
	unsigned int i;
	int ret = 0;

	if (count > XEN_RAW_COPY_SEGS_MAX)
		return -EINVAL;
	memset(lib, 0, count * sizeof(lib[0]));
	for (i = 0; i < count; i++) {
		struct gntdev_grant_copy_segment *c = &lib[i];

		c->len = segs[i].len_bytes;
		if (segs[i].to_foreign) {
			c->flags = GNTCOPY_dest_gref;
			c->source.virt = segs[i].local;
			c->dest.foreign.ref = segs[i].ref;
			c->dest.foreign.offset = segs[i].offset;
			c->dest.foreign.domid = domid;
		} else {
			c->flags = GNTCOPY_source_gref;
			c->dest.virt = segs[i].local;
			c->source.foreign.ref = segs[i].ref;
			c->source.foreign.offset = segs[i].offset;
			c->source.foreign.domid = domid;
		}
	}
	if (ioctl(fd, IOCTL_GNTDEV_GRANT_COPY, &op)) {
		/*
		 * gntdev sets a status to GNTST_okay before the copy is made,
		 * and makes 16 at a time: what it says now means nothing.
		 */
		ret = -errno;
		for (i = 0; i < count; i++)
			segs[i].status = XEN_COPY_NOT_TRIED;
		return ret;
	}
	for (i = 0; i < count; i++) {
		segs[i].status = lib[i].status;
		if (segs[i].status)
			ret = -EFAULT;
	}
	return ret;
}

int xen_raw_bind(int fd, xen_domid_t domid, xen_port_t remote,
		 xen_port_t *local)
{
	struct ioctl_evtchn_bind_interdomain op = {
		.remote_domain = domid, .remote_port = remote,
	};
	int port = ioctl(fd, IOCTL_EVTCHN_BIND_INTERDOMAIN, &op);

	if (port < 0)
		return -errno;
	*local = (xen_port_t)port;
	return 0;
}

int xen_raw_unbind(int fd, xen_port_t local)
{
	struct ioctl_evtchn_unbind op = { .port = local };

	return ioctl(fd, IOCTL_EVTCHN_UNBIND, &op) ? -errno : 0;
}
