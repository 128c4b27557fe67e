/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * poll.h - of one queue: whether to look at the ring once more before sleeping,
 * and whether to tell the driver at once of what it was shown.
 *
 * Looking on.  Below a bound, for a time that follows how soon requests really
 * come (look.h).  Who finds out that its processor was given to others
 * meanwhile stops for a while: looking is for processors that have nothing
 * better to do.
 *
 * Holding.  A backend that looks all the time finds requests one by one, and
 * would interrupt the driver for each, where one that sleeps finds many and
 * interrupts once.  A driver that goes on submitting although it has not seen
 * its last request completed need not be told yet; one that waits for it must
 * be.  So the depth of the queue is found out, once in PROBE_EVERY times, by
 * holding the notification back until nothing more comes.  In between, the
 * driver is told when three quarters of that depth are done, and has the rest
 * under way while it takes them.  At a depth of up to two it is told at once.
 *
 * That nothing more comes is said after twice the time that this driver has
 * lately taken from being told to its next request: so there is no figure in
 * here that fits one machine and not another.
 *
 * What is held is in the used ring already, the driver is only not woken.  It
 * is told at the latest when the time to look is over, and before the queue
 * sleeps.  (virtio 1.3, 2.7.7.2 sets no time for a used buffer notification.)
 *
 * All of this follows what the guest does.  The bounds hold whatever it does,
 * and what it says of itself (depth) changes only when it is told.
 *
 * Of the thread that runs the queue alone.
 */
#ifndef VG_POLL_H
#define VG_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/look.h"

struct vg_poll {
	struct vg_look look;
	uint64_t until_ns;		/* 0: not looking on */
	uint64_t spin_until_ns;		/* of this turn; 0: not yet */
	uint64_t last_ns;		/* last look of this turn; 0: none */
	unsigned int sleeps_off;	/* so often it does not look on */

	unsigned int target;		/* tell it when so many are held */
	unsigned int held;		/* at the last call */
	uint64_t held_ns;		/* since when; 0: none */
	uint64_t fresh_ns;		/* when one was added last */
	unsigned int told; /* times since the depth was found out */
	bool is_probing;

	uint64_t told_all_ns;		/* when, if nothing was left; else 0 */
	uint64_t answer_ns; /* from then to its next request, lately */
};

enum vg_poll_next {
	VG_POLL_SLEEP,
	VG_POLL_SPIN,			/* look again */
	VG_POLL_TURN,			/* ... in the next turn of the loop,
					 * which does not sleep */
};

/* Looks no more, holds nothing, has learned nothing. */
void vg_poll_reset(struct vg_poll *p);

/* At the begin of a turn.  @max_ns: the bound, 0: never look on. */
void vg_poll_turn(struct vg_poll *p, uint64_t max_ns);
/*
 * Nothing is in the ring.  @has_work: what was taken or done wants the rest of
 * the turn.  SLEEP with *@is_stolen set: others want the processor.
 */
enum vg_poll_next vg_poll_next(struct vg_poll *p, bool has_work,
			       bool *is_stolen);
/* A request was found.  True: by looking on. */
bool vg_poll_found(struct vg_poll *p);
/* The queue sleeps now. */
void vg_poll_sleep(struct vg_poll *p, uint64_t max_ns);

/*
 * @held: requests in the used ring, more than 0, of which the driver was not
 * told; @depth: those it has under way, as it sees it (vg_vq_depth());
 * @may_wait: this is called again soon, even if nothing happens.  False: it
 * must be told now.
 */
bool vg_poll_holds(struct vg_poll *p, unsigned int held, unsigned int depth,
		   bool may_wait);

#endif
