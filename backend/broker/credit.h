/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * credit.h - how long a guest waits for the domain of a backend.
 *
 * A guest has more than one device and makes more than one access.  So each
 * backend domain has a credit of time that the guest waits for it.  Long waits
 * use it up, and one in vain takes all of it; it is restored slowly.  No access
 * waits longer than what is left, or a backend could answer everything just
 * before the limit.
 *
 * Times are nanoseconds of vg_now_ns(), by the broker's own clock: nothing here
 * is anybody else's word.
 */
#ifndef VG_BROKER_CREDIT_H
#define VG_BROKER_CREDIT_H

#include <stdint.h>

struct vg_credit {
	uint64_t limit_ns;	/* for one access */
	uint64_t left_ns, at_ns;
};

/* All that there can be; @limit_ns: what one access may wait at the most. */
void vg_credit_begin(struct vg_credit *c, uint64_t limit_ns, uint64_t now);
/* Nothing is left, as after an access in vain. */
void vg_credit_spend(struct vg_credit *c, uint64_t now);

/* How long an access that begins now may wait. */
uint64_t vg_credit_limit(struct vg_credit *c, uint64_t now);
/* An access was answered, having waited for @took_ns. */
void vg_credit_charge(struct vg_credit *c, uint64_t took_ns, uint64_t now);
/*
 * One was not.  Until when others that wait for the same domain go on at the
 * most.
 */
uint64_t vg_credit_in_vain(struct vg_credit *c, uint64_t now);

#endif
