// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio_keys.c - see mmio_keys.h.
 */
#include "transport/mmio_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "transport/mmio_regs.h"

int vg_mmio_has_no_window(const char *kind, const struct vg_keys *keys)
{
	int is;

	if (strcmp(kind, "virtio_disk"))
		return 0;
	is = vg_keys_is(keys, "transport", VG_MMIO_TRANSPORT);
	return is == 1 ? vg_keys_is(keys, "base", "0") : is;
}

int vg_mmio_keys_read(const char *kind, const struct vg_keys *keys,
		      struct vg_mmio_keys *out, char **why)
{
	/* libxl_disk.c writes it in decimal, libxl_virtio.c does not. */
	int radix = strcmp(kind, "virtio_disk") ? 16 : 10;
	uint64_t irq;
	int err;

	err = vg_keys_read_radix(keys, "base", radix,
				 UINT64_MAX - VG_MMIO_WINDOW_BYTES + 1,
				 &out->base, why);
	if (!err)
		err = vg_keys_read_u64(keys, "irq", 1019, &irq, why);
	if (err)
		return err;
	if (irq < 32) {
		*why = vg_strf("xenstore key %s/irq: %u is no SPI", keys->where,
			       (unsigned int)irq);
		return -EINVAL;
	}
	out->irq = (uint32_t)irq;
	return 0;
}
