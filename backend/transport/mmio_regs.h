/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmio_regs.h - numbers of the virtio-mmio register window, version 2
 * (virtio 1.3, 4.2.2), beyond those of <linux/virtio_mmio.h>.
 */
#ifndef VG_MMIO_H
#define VG_MMIO_H

#include <linux/virtio_mmio.h>

#define VG_MMIO_WINDOW_BYTES	0x200u
#define VG_MMIO_MAGIC		0x74726976u	/* "virt" */
#define VG_MMIO_VERSION		2u
/* The specification leaves it to us; "GRNT" in the bytes' order. */
#define VG_MMIO_VENDOR		0x544e5247u

#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET	0x0c0		/* virtio 1.2 */
#endif

/*
 * Unused by the specification.  The extension of kernel/uapi (persistent
 * ranges, event channels) is here; a device without it reads 0.
 */
#define VG_MMIO_EXT_FIRST	0x0d0u
#define VG_MMIO_EXT_LAST	0x0fbu

#endif
