/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * child_log.h - what a child process writes to its standard error, in its
 * parent's log.
 *
 * Not trusted: the child.  What it writes comes by a pipe, of which it has
 * nothing but its own end; each line is shown as the child's, with nothing in
 * it that a terminal obeys, and only so many of them: the pipe of one that
 * writes without end is not read for a while, then it is full.  The child's end
 * does not block, so that the log holds up no child either.
 */
#ifndef VG_CHILD_LOG_H
#define VG_CHILD_LOG_H

#include "lib/loop.h"

/* Lines at once; a fiftieth of it per second in the long run. */
#define VG_CHILD_LOG_BURST_DEFAULT	200u
/* For all that are opened from now on. */
extern unsigned int vg_child_log_burst;

/*
 * A pipe whose lines are logged with "@who: " before them; *fd is the end for
 * the child, the caller's to close.  It goes away by itself when nobody has
 * that end any more.  0 or negative errno.
 */
int vg_child_log_open(struct vg_loop *loop, const char *who, int *fd);
/* Before a loop is destroyed: what was written by now is still logged. */
void vg_child_log_close_all(void);

#endif
