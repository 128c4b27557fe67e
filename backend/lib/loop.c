// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * loop.c - see loop.h.
 *
 * Timers are few (some per device), so an unsorted list serves; the time to
 * the earliest goes to epoll_pwait2's older brother in whole milliseconds,
 * rounded up.
 *
 * A descriptor that a callback removes may still stand in the batch that
 * epoll_wait() returned: removal only marks it, and the memory is freed when
 * the turn is over.
 */
#include "lib/loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/util.h"

struct vg_fd {
	int fd;
	void (*cb)(void *arg);
	void *arg;
	bool dead;
	uint32_t wanted, events;	/* EPOLL* */
	struct vg_fd *next_dead;
};

struct vg_timer {
	struct vg_loop *loop;
	void (*cb)(void *arg);
	void *arg;
	uint64_t due_ns;	/* 0: not armed */
	struct vg_timer *next, **prevp;
};

struct vg_deferred {
	struct vg_loop *loop;
	void (*cb)(void *arg);
	void *arg;
	bool scheduled;
	struct vg_deferred *next, **prevp;	/* on loop->deferred */
};

struct vg_loop {
	int epfd;
	bool stop;
	struct vg_timer *timers;
	struct vg_timer *timer_cursor;	/* next to look at, survives removal */
	struct vg_deferred *deferred, **deferred_tail;
	struct vg_fd *dead;
};

int vg_loop_create(struct vg_loop **out)
{
	struct vg_loop *l = vg_zalloc(sizeof(*l));

	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		int err = -errno;

		free(l);
		return err;
	}
	l->deferred_tail = &l->deferred;
	*out = l;
	return 0;
}

static void reap(struct vg_loop *l)
{
	while (l->dead) {
		struct vg_fd *vfd = l->dead;

		l->dead = vfd->next_dead;
		free(vfd);
	}
}

void vg_loop_destroy(struct vg_loop *l)
{
	if (!l)
		return;
	reap(l);
	close(l->epfd);
	free(l);
}

int vg_loop_add_fd(struct vg_loop *l, int fd, void (*cb)(void *arg), void *arg,
		   struct vg_fd **out)
{
	struct vg_fd *vfd = vg_zalloc(sizeof(*vfd));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = vfd };

	vfd->fd = fd;
	vfd->cb = cb;
	vfd->arg = arg;
	vfd->wanted = EPOLLIN;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		int err = -errno;

		free(vfd);
		return err;
	}
	*out = vfd;
	return 0;
}

void vg_loop_del_fd(struct vg_loop *l, struct vg_fd *vfd)
{
	if (!vfd)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, vfd->fd, NULL);
	vfd->dead = true;
	vfd->next_dead = l->dead;
	l->dead = vfd;
}

void vg_loop_want(struct vg_loop *l, struct vg_fd *vfd, bool is_readable,
		  bool is_writable)
{
	struct epoll_event ev = {
		.events = (is_readable ? EPOLLIN : 0) |
			  (is_writable ? EPOLLOUT : 0),
		.data.ptr = vfd,
	};

	if (vfd->wanted == ev.events)
		return;
	vfd->wanted = ev.events;
	epoll_ctl(l->epfd, EPOLL_CTL_MOD, vfd->fd, &ev);
}

unsigned int vg_fd_events(const struct vg_fd *vfd)
{
	return (vfd->events & EPOLLIN ? VG_FD_READABLE : 0) |
	       (vfd->events & EPOLLOUT ? VG_FD_WRITABLE : 0) |
	       (vfd->events & (EPOLLHUP | EPOLLERR) ? VG_FD_HUNG_UP : 0);
}

struct vg_timer *vg_timer_create(struct vg_loop *l, void (*cb)(void *arg),
				 void *arg)
{
	struct vg_timer *t = vg_zalloc(sizeof(*t));

	t->loop = l;
	t->cb = cb;
	t->arg = arg;
	t->next = l->timers;
	t->prevp = &l->timers;
	if (t->next)
		t->next->prevp = &t->next;
	l->timers = t;
	return t;
}

void vg_timer_arm(struct vg_timer *t, uint64_t delay_ns)
{
	t->due_ns = vg_now_ns() + delay_ns;
}

void vg_timer_cancel(struct vg_timer *t)
{
	t->due_ns = 0;
}

bool vg_timer_is_armed(const struct vg_timer *t)
{
	return t->due_ns;
}

void vg_timer_destroy(struct vg_timer *t)
{
	if (!t)
		return;
	if (t->loop->timer_cursor == t)
		t->loop->timer_cursor = t->next;
	*t->prevp = t->next;
	if (t->next)
		t->next->prevp = t->prevp;
	free(t);
}

struct vg_deferred *vg_deferred_create(struct vg_loop *l,
				       void (*cb)(void *arg), void *arg)
{
	struct vg_deferred *d = vg_zalloc(sizeof(*d));

	d->loop = l;
	d->cb = cb;
	d->arg = arg;
	return d;
}

static void deferred_unlink(struct vg_deferred *d)
{
	*d->prevp = d->next;
	if (d->next)
		d->next->prevp = d->prevp;
	else
		d->loop->deferred_tail = d->prevp;
	d->scheduled = false;
}

void vg_deferred_schedule(struct vg_deferred *d)
{
	if (d->scheduled)
		return;
	d->scheduled = true;
	d->next = NULL;
	d->prevp = d->loop->deferred_tail;
	*d->loop->deferred_tail = d;
	d->loop->deferred_tail = &d->next;
}

void vg_deferred_destroy(struct vg_deferred *d)
{
	if (!d)
		return;
	if (d->scheduled)
		deferred_unlink(d);
	free(d);
}

static int wait_ms(const struct vg_loop *l, int timeout_ms)
{
	const struct vg_timer *t;
	uint64_t now = 0, ms;

	if (l->deferred)
		return 0;
	for (t = l->timers; t; t = t->next) {
		if (!t->due_ns)
			continue;
		if (!now)
			now = vg_now_ns();
		if (t->due_ns <= now)
			return 0;
		ms = (t->due_ns - now + 999999) / 1000000;
		if (timeout_ms < 0 || ms < (uint64_t)timeout_ms)
			timeout_ms = ms > 3600000 ? 3600000 : (int)ms;
	}
	return timeout_ms;
}

static int run_timers(struct vg_loop *l)
{
	uint64_t now = 0;
	struct vg_timer *t;
	int ran = 0;

	for (t = l->timers; t; t = l->timer_cursor) {
		l->timer_cursor = t->next;
		if (!t->due_ns)
			continue;
		if (!now)
			now = vg_now_ns();
		if (t->due_ns > now)
			continue;
		t->due_ns = 0;
		t->cb(t->arg);
		ran++;
	}
	l->timer_cursor = NULL;
	return ran;
}

/* Only what was scheduled before now: a call may schedule itself again. */
static int run_deferred(struct vg_loop *l)
{
	struct vg_deferred *d, *last;
	int ran = 0;

	if (!l->deferred)
		return 0;
	last = container_of(l->deferred_tail, struct vg_deferred, next);
	do {
		d = l->deferred;
		if (!d)
			break;
		deferred_unlink(d);
		/* A call may destroy others, @last too: then all are run. */
		if (d == last)
			last = NULL;
		d->cb(d->arg);
		ran++;
	} while (last && ran < 4096);
	return ran;
}

int vg_loop_run_once(struct vg_loop *l, int timeout_ms)
{
	struct epoll_event ev[32];
	int i, n, ran = 0;

	n = epoll_wait(l->epfd, ev, ARRAY_SIZE(ev), wait_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	for (i = 0; i < n; i++) {
		struct vg_fd *vfd = ev[i].data.ptr;

		if (vfd->dead)
			continue;
		vfd->events = ev[i].events;
		vfd->cb(vfd->arg);
		ran++;
	}
	ran += run_timers(l);
	ran += run_deferred(l);
	reap(l);
	return ran;
}

int vg_loop_run(struct vg_loop *l)
{
	l->stop = false;
	while (!l->stop) {
		int n = vg_loop_run_once(l, -1);

		if (n < 0)
			return n;
	}
	return 0;
}

void vg_loop_stop(struct vg_loop *l)
{
	l->stop = true;
}
