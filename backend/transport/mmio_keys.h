/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmio_keys.h - what libxl writes of a device's virtio-mmio registers: the two
 * keys that a device on another transport does not have.  Read by who serves
 * the device and by who forwards for its guest, strictly.
 */
#ifndef VG_MMIO_KEYS_H
#define VG_MMIO_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/keys.h"

/* The value of the key "transport". */
#define VG_MMIO_TRANSPORT	"mmio"

struct vg_mmio_keys {
	uint64_t base;			/* guest physical, of the registers */
	uint32_t irq;			/* SPI, 32 .. 1019 */
};

/*
 * @kind: libxl's directory that the device is in, "virtio_disk" or another.
 * 0, or negative errno with *@why a new text that names the key and its value.
 */
int vg_mmio_keys_read(const char *kind, const struct vg_keys *keys,
		      struct vg_mmio_keys *out, char **why);

/*
 * Whether it is a device of libxl's that has no such registers, as libxl writes
 * it where it gives none an address (on x86): then it is on another transport.
 * 1 or 0; negative errno if that can't be told now.
 */
int vg_mmio_has_no_window(const char *kind, const struct vg_keys *keys);

#endif
