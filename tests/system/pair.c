// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pair.c - the rig with two guests: see pair.h.
 */
#include "pair.h"

#include <errno.h>

struct fake_disk pair_disk[2];
struct drv pair[2];

int pair_io(struct drv *drv)
{
	static uint32_t turn;
	struct drv_buf b = drv_buf(drv, 4096, false);
	uint64_t sector = turn++ % 64 * 8;
	int err = drv_blk_buf(drv, VIRTIO_BLK_T_IN, sector, &b, 0, 4096);

	if (!err && b.va[5] != unit_pattern(sector * 512 + 5))
		err = -EILSEQ;
	drv_buf_end(drv, &b);
	return err;
}

int pair_start(void)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		rig_guest((xen_domid_t)(GUEST + i), 2);
		pair_disk[i] = rig_disk((xen_domid_t)(GUEST + i), 0);
		if (!rig_disk_add(&pair_disk[i]))
			return -1;
		pair[i] = rig_drv(&pair_disk[i]);
		if (drv_start(&pair[i], 1))
			return -1;
	}
	return 0;
}

int pair_setup(void **state)
{
	return rig_setup(state) || pair_start() || pair_io(&pair[0]) ||
	       pair_io(&pair[1]) ? -1 : 0;
}
