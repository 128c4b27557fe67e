/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair.h - the rig with two guests, each with a disk that its driver uses: for
 * tests in which something happens to the one, and the other is to go on.
 */
#ifndef UNIT_PAIR_H
#define UNIT_PAIR_H

#include "rig.h"

#define GUEST	3u
#define OTHER	4u

extern struct fake_disk pair_disk[2];	/* GUEST's, OTHER's */
extern struct drv pair[2];

/* Reads 4 KiB somewhere; 0 if it is what the image has, or negative errno. */
int pair_io(struct drv *drv);
/* Guests, disks and drivers on a rig that is up: 0 or -1. */
int pair_start(void);
/* cmocka's: rig_setup(), and drivers that have read. */
int pair_setup(void **state);

#endif
