/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch.h - the daemon that follows domains, without the process around it.
 */
#ifndef VG_CTL_WATCH_H
#define VG_CTL_WATCH_H

#include "lib/loop.h"
#include "toolstack/bus_follow.h"

struct vg_watch;

/*
 * Turns with @loop; the first look is at once.  @state_dir: where what is saved
 * is kept (saved.h), or NULL.
 */
int vg_watch_create(struct vg_loop *loop, uint64_t forget_ns,
		    const char *state_dir, struct vg_watch **out);
void vg_watch_destroy(struct vg_watch *w);
/* Why it stopped the loop; 0: it did not. */
int vg_watch_error(const struct vg_watch *w);
const struct vg_follow *vg_watch_follow(const struct vg_watch *w);

#endif
