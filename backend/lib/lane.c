// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lane.c - see lane.h.
 */
#include "lib/lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"

/* What one turn needs, and room for a sanitizer's redzones. */
#define STACK_BYTES	(256u << 10)

struct vg_lane {
	char name[16];
	void (*woken)(void *arg);
	void *arg;
	struct vg_loop *loop;
	int fd;				/* an eventfd in the loop */
	struct vg_fd *vfd;
	pthread_t thread;

	bool is_wanted;			/* a look at what follows is due */
	pthread_mutex_t lock;		/* for what follows; never on the way
					 * of a request */
	pthread_cond_t parked, go;
	unsigned int pauses;
	bool is_parked, is_ending;
};

static void on_wake(void *arg)
{
	struct vg_lane *l = arg;
	uint64_t n;

	if (read(l->fd, &n, sizeof(n)) == sizeof(n))
		l->woken(l->arg);
}

static void poke(struct vg_lane *l)
{
	const uint64_t one = 1;

	/* Fails only when it is readable anyway. */
	if (write(l->fd, &one, sizeof(one)) < 0)
		return;
}

void vg_lane_wake(struct vg_lane *l)
{
	poke(l);
}

/* Turns until the main thread wants something. */
static void run(struct vg_lane *l)
{
	while (!load_acquire(&l->is_wanted)) {
		int n = vg_loop_run_once(l->loop, -1);

		if (n < 0) {
			vg_err("%s: event loop: %s", l->name, strerror(-n));
			usleep(100000);
		}
	}
}

static void *lane_main(void *arg)
{
	struct vg_lane *l = arg;

	/* Refused in a confined worker, whose name it has then. */
	prctl(PR_SET_NAME, l->name);
	pthread_mutex_lock(&l->lock);
	for (;;) {
		while (l->pauses && !l->is_ending) {
			l->is_parked = true;
			pthread_cond_signal(&l->parked);
			pthread_cond_wait(&l->go, &l->lock);
		}
		if (l->is_ending)
			break;
		l->is_parked = false;
		pthread_mutex_unlock(&l->lock);
		run(l);
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

struct vg_loop *vg_lane_loop(struct vg_lane *l)
{
	return l->loop;
}

void vg_lane_pause(struct vg_lane *l)
{
	pthread_mutex_lock(&l->lock);
	if (!l->pauses++) {
		store_release(&l->is_wanted, true);
		poke(l);
	}
	while (!l->is_parked)
		pthread_cond_wait(&l->parked, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

void vg_lane_resume(struct vg_lane *l)
{
	pthread_mutex_lock(&l->lock);
	if (!--l->pauses) {
		store_release(&l->is_wanted, false);
		pthread_cond_signal(&l->go);
	}
	pthread_mutex_unlock(&l->lock);
}

static int thread_start(struct vg_lane *l)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	err = pthread_create(&l->thread, &attr, lane_main, l);
	pthread_attr_destroy(&attr);
	return -err;
}

int vg_lane_create(const char *name, void (*woken)(void *arg), void *arg,
		   struct vg_lane **out)
{
	struct vg_lane *l = vg_zalloc(sizeof(*l));
	int err;

	snprintf(l->name, sizeof(l->name), "%s", name);
	l->woken = woken;
	l->arg = arg;
	l->pauses = 1;
	l->is_wanted = true;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->parked, NULL);
	pthread_cond_init(&l->go, NULL);
	err = vg_loop_create(&l->loop);
	if (err)
		goto free_lane;
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->fd < 0) {
		err = -errno;
		goto destroy_loop;
	}
	err = vg_loop_add_fd(l->loop, l->fd, on_wake, l, &l->vfd);
	if (!err)
		err = thread_start(l);
	if (err)
		goto close_fd;
	/* So that it is as paused as it says. */
	pthread_mutex_lock(&l->lock);
	while (!l->is_parked)
		pthread_cond_wait(&l->parked, &l->lock);
	pthread_mutex_unlock(&l->lock);
	*out = l;
	return 0;

close_fd:
	vg_loop_del_fd(l->loop, l->vfd);
	close(l->fd);
destroy_loop:
	vg_loop_destroy(l->loop);
free_lane:
	free(l);
	return err;
}

void vg_lane_destroy(struct vg_lane *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->is_ending = true;
	pthread_cond_signal(&l->go);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	vg_loop_del_fd(l->loop, l->vfd);
	close(l->fd);
	vg_loop_destroy(l->loop);
	pthread_cond_destroy(&l->go);
	pthread_cond_destroy(&l->parked);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
