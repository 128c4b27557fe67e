// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * poll.c - see poll.h.
 */
#include "virtio/poll.h"

#include <limits.h>

#include "lib/util.h"

/* So long it looks without a turn of the loop, if nothing is under way. */
#define SPIN_NS		(20u * 1000u)
/*
 * Between two looks of a spin nothing takes so long but another thread, or
 * another domain.
 */
#define STOLEN_NS	(500u * 1000u)
#define SLEEPS_OFF	64u
#define PROBE_EVERY	64u
/* Taken for vg_poll.answer_ns until it is known. */
#define ANSWER_NS	(50u * 1000u)

void vg_poll_reset(struct vg_poll *p)
{
	*p = (struct vg_poll){ .target = 1, .answer_ns = ANSWER_NS };
}

void vg_poll_turn(struct vg_poll *p, uint64_t max_ns)
{
	p->spin_until_ns = 0;
	p->last_ns = 0;
	if (p->sleeps_off && p->look.slept_at_ns) {
		p->sleeps_off--;
		p->look.slept_at_ns = 0;
	}
	vg_look_woken(&p->look, max_ns);
}

enum vg_poll_next vg_poll_next(struct vg_poll *p, bool has_work,
			       bool *is_stolen)
{
	uint64_t now;

	*is_stolen = false;
	if (!p->look.now_ns)
		return VG_POLL_SLEEP;
	now = vg_now_ns();
	if (p->last_ns && now - p->last_ns > STOLEN_NS) {
		*is_stolen = true;
		p->look.now_ns = 0;
		p->sleeps_off = SLEEPS_OFF;
		return VG_POLL_SLEEP;
	}
	p->last_ns = now;
	if (!p->until_ns)
		p->until_ns = now + p->look.now_ns;
	if (now >= p->until_ns)
		return VG_POLL_SLEEP;
	if (has_work)
		return VG_POLL_TURN;
	if (!p->spin_until_ns)
		p->spin_until_ns = now + SPIN_NS;
	return now < p->spin_until_ns ? VG_POLL_SPIN : VG_POLL_TURN;
}

bool vg_poll_found(struct vg_poll *p)
{
	bool was_looking = p->until_ns;

	p->until_ns = 0;
	if (p->told_all_ns && was_looking)
		p->answer_ns =
			(p->answer_ns + vg_now_ns() - p->told_all_ns) / 2;
	p->told_all_ns = 0;
	return was_looking;
}

void vg_poll_sleep(struct vg_poll *p, uint64_t max_ns)
{
	p->until_ns = 0;
	vg_look_sleep(&p->look, max_ns);
}

/* @is_all: the driver has nothing more under way.  False, for the caller. */
static bool tell(struct vg_poll *p, bool is_all)
{
	p->told_all_ns = is_all ? vg_now_ns() : 0;
	p->held = 0;
	p->held_ns = 0;
	if (++p->told >= PROBE_EVERY) {
		p->told = 0;
		p->is_probing = true;
	}
	return false;
}

static unsigned int target_of(unsigned int depth)
{
	return max_u(depth * 3 / 4, 1u);
}

/* The driver gave no more than @depth. */
static void retarget(struct vg_poll *p, unsigned int depth)
{
	unsigned int target = target_of(depth);

	/*
	 * It may only have been busy: down in steps, unless it was the probe.
	 */
	if (!p->is_probing && target < p->target)
		target = max_u(target,
			       p->target - max_u(p->target / 4, 1u));
	p->target = target;
	p->is_probing = false;
	p->told = 0;
}

bool vg_poll_holds(struct vg_poll *p, unsigned int held, unsigned int depth,
		   bool may_wait)
{
	uint64_t now, quiet_ns;

	if (p->is_probing && !may_wait) {
		/* It is no less; better than nothing. */
		p->target = max_u(p->target, target_of(depth));
		p->is_probing = false;
	}
	if (!may_wait || held >= (p->is_probing ? UINT_MAX : p->target))
		return tell(p, may_wait && depth <= 1);
	now = vg_now_ns();
	if (!p->held_ns)
		p->held_ns = now;
	if (held != p->held) {
		p->held = held;
		p->fresh_ns = now;
	}
	quiet_ns = min_u(2 * p->answer_ns, p->look.now_ns / 2);
	if (now - p->fresh_ns < quiet_ns &&
	    now - p->held_ns < p->look.now_ns)
		return true;
	retarget(p, depth);
	return tell(p, true);
}
