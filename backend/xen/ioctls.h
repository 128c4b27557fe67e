/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ioctls.h - the requests of /dev/xen/gntdev and /dev/xen/evtchn as numbers,
 * for the filter of system calls (sandbox_filter.c).  Includes no Xen header;
 * raw.c compares them with the kernel's own.
 */
#ifndef VG_XEN_IOCTLS_H
#define VG_XEN_IOCTLS_H

#include <sys/ioctl.h>

#define XEN_IOCTL_GNTDEV_MAP	_IOC(_IOC_NONE, 'G', 0, 24)
#define XEN_IOCTL_GNTDEV_UNMAP	_IOC(_IOC_NONE, 'G', 1, 16)
#define XEN_IOCTL_GNTDEV_OFFSET	_IOC(_IOC_NONE, 'G', 2, 24)
#define XEN_IOCTL_GNTDEV_COPY	_IOC(_IOC_NONE, 'G', 8, 16)

#define XEN_IOCTL_EVTCHN_BIND	_IOC(_IOC_NONE, 'E', 1, 8)
#define XEN_IOCTL_EVTCHN_UNBIND	_IOC(_IOC_NONE, 'E', 3, 4)
#define XEN_IOCTL_EVTCHN_NOTIFY	_IOC(_IOC_NONE, 'E', 4, 4)

#endif
