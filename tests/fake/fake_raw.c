// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fake_raw.c - backend/xen/raw.h where there is no such device: what a test
 * does not play itself (mapper, worker's end of it) fails as it does then.
 */
#include <errno.h>

#include "../../backend/xen/raw.h"

#define __weak	__attribute__((weak))

int __weak xen_raw_open_gntdev(void)
{
	return -ENOENT;
}

int __weak xen_raw_open_evtchn(void)
{
	return -ENOENT;
}

int __weak xen_raw_map(int fd, xen_domid_t domid, const xen_ref_t *refs,
		       unsigned int count, uint64_t *index)
{
	(void)fd;
	(void)domid;
	(void)refs;
	(void)count;
	(void)index;
	return -ENOTTY;
}

int __weak xen_raw_forget(int fd, uint64_t index, unsigned int count)
{
	(void)fd;
	(void)index;
	(void)count;
	return -ENOTTY;
}

int __weak xen_raw_copy(int fd, xen_domid_t domid, struct xen_copy_seg *segs,
			unsigned int count)
{
	(void)fd;
	(void)domid;
	(void)segs;
	(void)count;
	return -ENOTTY;
}

int __weak xen_raw_bind(int fd, xen_domid_t domid, xen_port_t remote,
			xen_port_t *local)
{
	(void)fd;
	(void)domid;
	(void)remote;
	(void)local;
	return -ENOTTY;
}

int __weak xen_raw_unbind(int fd, xen_port_t local)
{
	(void)fd;
	(void)local;
	return -ENOTTY;
}
