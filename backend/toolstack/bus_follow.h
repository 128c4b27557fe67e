/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus_follow.h - domains that end and come back under another number find
 * their devices on the Xen bus again: backends' domains by their name, guests
 * by their uuid.
 *
 * All that it takes stands in the records (bus_nodes.h) and in the list of
 * domains, both of them the control domain's.  Of what domains write, the
 * states are read, whether a front is suspended, and the names in it, so
 * nothing else that they write makes it do anything; and it is looked at as
 * often as the caller says, not as often as they write.  A guest that says by
 * turns that it is suspended and that it is not has records written in two
 * looks of each three seconds, however many devices it has: what is noted of
 * any of them stays for so long, and for so long again if another one is noted
 * later.
 */
#ifndef VG_BUS_FOLLOW_H
#define VG_BUS_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "toolstack/bus_nodes.h"

struct vg_absence;
struct vg_sleep;
struct vg_complaint;

struct vg_follow {
	struct xen_store *xs;		/* the caller's */
	xen_domid_t own;
	uint64_t forget_ns;		/* a guest that is gone for so long */
	uint64_t close_ns;		/* what a backend gets to let go */
	uint64_t sleep_ns;		/* what a look notes stays so long */
	uint64_t now_ns;		/* of this look */
	struct vg_absence *absent;
	unsigned int nr_absent;
	struct vg_sleep *asleep;	/* guests */
	unsigned int nr_asleep;
	struct vg_complaint *said;	/* of the last minute */
	unsigned int nr_said;
	/* Out. */
	unsigned int devices, waiting;	/* now */
	unsigned int suspended;		/* ... of guests that are saved */
	uint64_t moved, reattached, forgotten, failures;	/* ever */
	char *last_failure;
};

void vg_follow_init(struct vg_follow *f, struct xen_store *xs,
		    xen_domid_t own, uint64_t forget_ns);
void vg_follow_exit(struct vg_follow *f);

/*
 * Looks at everything once, and does what is to be done.  > 0: something is to
 * be waited for, so look again soon.  0: all is well.  Negative errno:
 * xenstore can't be read.
 */
int vg_follow_look(struct vg_follow *f, uint64_t now_ns);

#endif
