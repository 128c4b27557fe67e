/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rings.h - io_uring instances for the images, made before the process
 * is confined.
 *
 * What a ring is asked for is done by the kernel without passing the filter of
 * system calls, so a confined process gets rings that can do nothing but its
 * block I/O, and no way to make others: each is made disabled
 * (IORING_SETUP_R_DISABLED), given its restrictions, which last, and enabled.
 */
#ifndef VG_DEV_BLK_RINGS_H
#define VG_DEV_BLK_RINGS_H

#include <stdbool.h>

/* As many operations are under way at once; more wait in the process. */
#define VG_BLK_RING_DEPTH	256u
/*
 * And so many are told to the kernel by one call.  Small, since most of what a
 * ring costs is their entries, and a confined process has rings for all the
 * disks that may come: 12 KiB each.
 */
#define VG_BLK_RING_BATCH	64u

/*
 * Makes a ring with @flags (IORING_SETUP_*) and with what this kernel has to
 * make it faster.  0 or negative errno.
 */
struct io_uring;
int vg_blk_ring_setup(unsigned int batch, unsigned int flags,
		      struct io_uring *ring);

/*
 * Makes @count rings, which vg_blk_ring_get() (blk.h) hands out from then on:
 * these and no more, -EMFILE when all are taken.  0 or the negative errno of
 * io_uring_setup(2) and its like: then there are none, and vg_blk_ring_get()
 * gives that error.
 */
int vg_blk_rings_prepare(unsigned int count);

/*
 * A device sets aside what its queues will need, since a confined process has
 * no other way to sync: 0, or -EMFILE if too few are left.  Always 0 where none
 * are prepared.
 */
int vg_blk_rings_reserve(unsigned int count);
void vg_blk_rings_unreserve(unsigned int count);
/* Rings were prepared: the process may not fdatasync(2) or fallocate(2). */
bool vg_blk_rings_are_prepared(void);

#endif
