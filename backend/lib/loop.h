/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - an event loop over epoll: descriptors, one-shot timers and
 * deferred calls, on one thread.
 *
 * vg_loop_run_once() exists so that tests can step the daemon and the broker,
 * which live in one process there, in any order.
 */
#ifndef VG_LOOP_H
#define VG_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct vg_loop;
struct vg_fd;
struct vg_timer;
struct vg_deferred;

int vg_loop_create(struct vg_loop **out);
void vg_loop_destroy(struct vg_loop *loop);

/* @cb runs while @fd is readable.  The caller keeps and closes @fd. */
int vg_loop_add_fd(struct vg_loop *loop, int fd, void (*cb)(void *arg),
		   void *arg, struct vg_fd **out);
/* Also from within any callback; @cb is not called again. */
void vg_loop_del_fd(struct vg_loop *loop, struct vg_fd *vfd);

/*
 * @cb runs while @fd is one of these, in place of readable; or has hung up,
 * which goes without asking, and does not end: then it is to be deleted.
 */
void vg_loop_want(struct vg_loop *loop, struct vg_fd *vfd, bool is_readable,
		  bool is_writable);
/* From within @cb: why it runs. */
#define VG_FD_READABLE		1u
#define VG_FD_WRITABLE		2u
#define VG_FD_HUNG_UP		4u	/* or is in error */
unsigned int vg_fd_events(const struct vg_fd *vfd);

/* One-shot, disarmed at first; arming again moves it.  Owned by the caller. */
struct vg_timer *vg_timer_create(struct vg_loop *loop, void (*cb)(void *arg),
				 void *arg);
void vg_timer_arm(struct vg_timer *t, uint64_t delay_ns);
void vg_timer_cancel(struct vg_timer *t);
bool vg_timer_is_armed(const struct vg_timer *t);
void vg_timer_destroy(struct vg_timer *t);

/*
 * A call to be made in this turn of the loop, after all descriptors and
 * before it sleeps: what gathers the work of a turn into one submission or
 * one notification.  Scheduling twice runs it once; scheduling from within a
 * deferred call runs it in the next turn, which then does not sleep.
 */
struct vg_deferred *vg_deferred_create(struct vg_loop *loop,
				       void (*cb)(void *arg), void *arg);
void vg_deferred_schedule(struct vg_deferred *d);
void vg_deferred_destroy(struct vg_deferred *d);

/*
 * One turn: waits at most @timeout_ms (-1: until something happens) and runs
 * what is due.  The number of callbacks that ran, or negative errno.
 */
int vg_loop_run_once(struct vg_loop *loop, int timeout_ms);
/* Turns until vg_loop_stop(). */
int vg_loop_run(struct vg_loop *loop);
void vg_loop_stop(struct vg_loop *loop);

#endif
