/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * look.h - how long it is worth to look for more before sleeping.
 *
 * As with KVM's halt polling: who was woken soon after it went to sleep should
 * have looked longer, who slept long need not look at all.  So a time that
 * grows and shrinks between 0 and a bound.
 */
#ifndef VG_LOOK_H
#define VG_LOOK_H

#include <stdint.h>

#include "lib/util.h"

/* The shortest look that is worth it. */
#define VG_LOOK_MIN_NS		(10u * 1000u)

struct vg_look {
	uint64_t now_ns;		/* how long to look, <= the bound */
	uint64_t slept_at_ns;		/* 0: awake, or never slept */
};

/* @max_ns: the bound; 0: never look. */
static inline void vg_look_sleep(struct vg_look *p, uint64_t max_ns)
{
	p->slept_at_ns = max_ns ? vg_now_ns() : 0;
}

static inline void vg_look_woken(struct vg_look *p, uint64_t max_ns)
{
	if (!max_ns || !p->slept_at_ns)
		return;
	if (vg_now_ns() - p->slept_at_ns < max_ns)
		p->now_ns = min_u(max_ns, max_u(p->now_ns * 2,
						(uint64_t)VG_LOOK_MIN_NS));
	else
		p->now_ns = p->now_ns / 2 < VG_LOOK_MIN_NS ? 0 :
							     p->now_ns / 2;
	p->slept_at_ns = 0;
}

#endif
