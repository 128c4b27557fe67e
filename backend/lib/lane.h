/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lane.h - a thread with a loop of its own, for a queue of a device.
 *
 * The main thread owns a lane.  While the lane is paused, the main thread may
 * use the lane's loop and everything that its callbacks use; while it is not,
 * only vg_lane_wake().  So what the two share needs no lock: pausing waits
 * until the thread is between two turns of its loop, and orders all that
 * either side did before.
 */
#ifndef VG_LANE_H
#define VG_LANE_H

#include <stdbool.h>

#include "lib/loop.h"

struct vg_lane;

/*
 * A new thread, paused.  @name: at most 15 characters, as ps(1) shows it.
 * @woken runs in the thread after vg_lane_wake(), once for several of them.
 */
int vg_lane_create(const char *name, void (*woken)(void *arg), void *arg,
		   struct vg_lane **out);
/* Paused only. */
void vg_lane_destroy(struct vg_lane *l);

struct vg_loop *vg_lane_loop(struct vg_lane *l);

/* Pauses nest: as many resumes as pauses let it run. */
void vg_lane_pause(struct vg_lane *l);
void vg_lane_resume(struct vg_lane *l);

void vg_lane_wake(struct vg_lane *l);

#endif
