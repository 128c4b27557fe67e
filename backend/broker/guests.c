// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guests.c - the processes of guests, seen by their parent: one is
 * started with a guest's first device, told of each, replaced when it ends or
 * hangs, and told to end with the last.
 *
 * Such a process is not trusted (child.h): a message that answers none
 * of ours is nonsense, and too much of that ends it, as does not reading what
 * it is told.  It is not waited for, unless the broker ends: after a kill its
 * end is looked for by a timer.
 */
#include "broker/broker_priv.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"

/*
 * Between a process' end and its successor, from the second one on.  A guest
 * waits meanwhile, so it is short for those that lived; one that ends as soon
 * as it has begun serves nobody.
 */
#define RESPAWN_MIN_NS		UINT64_C(50000000)
#define RESPAWN_MAX_NS		UINT64_C(500000000)
#define RESPAWN_SHORT_MAX_NS	UINT64_C(10000000000)
/* Less than this is no life, and more than that makes an end a first one. */
#define RESPAWN_SHORT_NS	UINT64_C(1000000000)
#define RESPAWN_QUIET_NS	UINT64_C(30000000000)
/* Looks for the end of a process that was killed, growing. */
#define REAP_MIN_NS		UINT64_C(1000000)
#define REAP_MAX_NS		UINT64_C(1000000000)
/* For a process that was told to end. */
#define CHILD_END_NS		UINT64_C(2000000000)
/* For a new one, until it says UP: it may wait for its predecessor's end. */
#define CHILD_UP_NS		UINT64_C(5000000000)
/*
 * A PING every WATCH_PARTSth of the watchdog's time; one that found no answer
 * so many times that the next is due, is the last.
 */
#define WATCH_PARTS		4u
#define WATCH_MISSES		(WATCH_PARTS - 1)
/* Processes that die while they destroy their IOREQ server. */
#define END_TRIES		5u
/* Answers to nothing, of one process. */
#define NONSENSE_MAX		64u

struct vg_bparent_guest *vg_bparent_guest_find(struct vg_broker *b,
					       xen_domid_t domid)
{
	struct vg_bparent_guest *g;

	for (g = b->guests; g; g = g->next)
		if (g->domid == domid)
			return g;
	return NULL;
}

void vg_bparent_guest_free(struct vg_bparent_guest *g)
{
	struct vg_bparent_guest **p;

	for (p = &g->b->guests; *p != g; p = &(*p)->next)
		;
	*p = g->next;
	if (g->shared)
		munmap((void *)(uintptr_t)g->shared, sizeof(*g->shared));
	if (g->shared_fd >= 0)
		close(g->shared_fd);
	vg_timer_destroy(g->respawn);
	vg_timer_destroy(g->watch);
	vg_timer_destroy(g->reap);
	free(g);
}

bool vg_bparent_guest_has_device(const struct vg_bparent_guest *g)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++)
		if (g->dev[i])
			return true;
	return false;
}

bool vg_bparent_guest_has_later(const struct vg_bparent_guest *g)
{
	const struct vg_bparent_dev *d;

	for (d = g->b->devs; d; d = d->next)
		if (d->state == VG_BPARENT_NEW && d->name.guest == g->domid)
			return true;
	return false;
}

int vg_bparent_guest_take(struct vg_bparent_guest *g, struct vg_bparent_dev *d)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++) {
		if (g->dev[i])
			continue;
		g->dev[i] = d;
		d->dev_index = i;
		d->guest = g;
		return 0;
	}
	return -ENOSPC;
}

/* ---- what they are told ------------------------------------------------- */

static void child_kill(struct vg_bparent_guest *g, const char *why)
{
	if (!g->is_hung)
		vg_broker_failed(g->b, "dom%u: its process %s, killed",
				 g->domid, why);
	g->is_hung = true;
	/* What follows, follows from the end of its socket. */
	g->b->cfg.kill(g->b->cfg.spawn_arg, g->domid, g->pid);
}

/*
 * What one message less would be, a child that lost it could not know: whoever
 * does not take them is replaced by one that is told all.  If it is gone, the
 * end of its socket is read next.
 */
void vg_bparent_guest_send(struct vg_bparent_guest *g,
			   const struct vg_bchild_msg *msg, const int *fd)
{
	int err;

	if (g->sock < 0 || g->is_hung)
		return;
	err = vg_bchild_send(g->sock, msg, fd);
	if (err && err != -EPIPE && err != -ECONNRESET)
		child_kill(g, "does not take messages");
}

void vg_bparent_guest_tell(struct vg_bparent_guest *g, enum vg_bchild_op op,
			   unsigned int dev_index)
{
	struct vg_bchild_msg msg = { .op = op, .dev_index = dev_index };

	vg_bparent_guest_send(g, &msg, NULL);
}

void vg_bparent_guest_start(struct vg_bparent_guest *g)
{
	if (g->is_started || g->sock < 0)
		return;
	vg_bparent_guest_tell(g, VG_BCHILD_START, 0);
	g->is_started = true;
}

void vg_bparent_guest_end(struct vg_bparent_guest *g)
{
	g->is_ending = true;
	vg_bparent_guest_tell(g, VG_BCHILD_END, 0);
}

/* ---- their end ---------------------------------------------------------- */

/* It has ended with @status, as waitpid() has it. */
static void child_ended(struct vg_bparent_guest *g, int status)
{
	struct vg_broker *b = g->b;
	uint64_t lived = vg_now_ns() - g->spawned_ns, most;

	if (g->is_ending ? !status || g->deaths >= END_TRIES :
	    !vg_bparent_guest_has_device(g)) {
		vg_broker_forget_server(b, g->domid);
		if (g->is_ending)
			vg_info("dom%u: no device left, IOREQ server destroyed",
				g->domid);
		vg_bparent_guest_free(g);
		/* Devices may wait for it to be gone. */
		vg_deferred_schedule(b->scan);
		return;
	}
	if (lived > RESPAWN_QUIET_NS)
		g->respawn_delay_ns = 0;
	g->deaths++;
	vg_broker_failed(b, "dom%u: its process ended unexpectedly (%s %d, time %u), starting another",
			 g->domid, WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) :
			 WEXITSTATUS(status), g->deaths);
	vg_timer_arm(g->respawn, g->respawn_delay_ns);
	most = lived < RESPAWN_SHORT_NS ? RESPAWN_SHORT_MAX_NS : RESPAWN_MAX_NS;
	g->respawn_delay_ns = min_u(max_u(g->respawn_delay_ns * 2,
					  RESPAWN_MIN_NS), most);
}

/* Killed, it ends soon, unless the kernel holds it up: not waited for. */
static void on_reap(void *arg)
{
	struct vg_bparent_guest *g = arg;
	int status = 0;

	if (g->pid > 0 && !waitpid(g->pid, &status, WNOHANG)) {
		if (g->reap_ns == REAP_MAX_NS)
			vg_broker_failed(g->b, "dom%u: its process was killed and does not end: waiting",
					 g->domid);
		g->reap_ns = min_u(g->reap_ns * 2, REAP_MAX_NS);
		vg_timer_arm(g->reap, g->reap_ns);
		return;
	}
	g->pid = 0;
	g->is_dying = false;
	child_ended(g, status);
}

void vg_bparent_guest_hang_up(struct vg_bparent_guest *g)
{
	if (g->sock < 0)
		return;
	vg_loop_del_fd(g->b->loop, g->sock_fd);
	close(g->sock);
	g->sock = -1;
}

/* Its socket is closed: it is about to end, or broken, and must not stay. */
static void child_gone(struct vg_bparent_guest *g)
{
	int status = 0;

	vg_bparent_guest_hang_up(g);
	g->is_started = false;
	g->is_up = false;
	vg_timer_cancel(g->watch);
	if (g->pid > 0 && !waitpid(g->pid, &status, WNOHANG)) {
		kill(g->pid, SIGKILL);
		g->is_dying = true;
		g->reap_ns = REAP_MIN_NS;
		vg_timer_arm(g->reap, g->reap_ns);
		return;
	}
	g->pid = 0;
	child_ended(g, status);
}

static bool has_ended(pid_t pid)
{
	const struct timespec ms10 = { .tv_nsec = 10000000 };
	unsigned int i;

	for (i = 0; i < CHILD_END_NS / 10000000; i++) {
		if (waitpid(pid, NULL, WNOHANG))
			return true;
		nanosleep(&ms10, NULL);
	}
	return false;
}

void vg_bparent_guest_reap(struct vg_bparent_guest *g)
{
	if (g->pid <= 0 || (!g->is_dying && has_ended(g->pid)))
		return;
	vg_warn("dom%u: its process does not end, killed", g->domid);
	kill(g->pid, SIGKILL);
	if (!has_ended(g->pid))
		vg_warn("dom%u: its process %d is left to end by itself",
			g->domid, (int)g->pid);
}

/* ---- what they say ------------------------------------------------------ */

static const char *why_no_server(int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "this domain may not issue device-model operations for it";
	case -ESRCH:
		return "there is no such domain";
	case -EOPNOTSUPP:
	case -ENOSYS:
		return "this Xen was built without IOREQ_SERVER";
	case -ENOSPC:
		return "all 8 IOREQ servers of the guest are taken";
	default:
		return strerror(-err);
	}
}

static void fail_all(struct vg_bparent_guest *g, int err)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++) {
		struct vg_bparent_dev *d = g->dev[i];

		if (!d)
			continue;
		vg_broker_failed(g->b, "%s: no IOREQ server: %s", d->label,
				 why_no_server(err));
		vg_bparent_dev_fail(d);
	}
}

static void on_up(struct vg_bparent_guest *g, const struct vg_bchild_msg *msg)
{
	if (msg->error) {
		if (msg->error == -ESRCH ||
		    (g->server_id < 0 && !vg_broker_may_pass(msg->error)))
			fail_all(g, msg->error);
		return;
	}
	if (msg->server_id > UINT16_MAX)
		return;
	g->is_up = true;
	if (g->server_id != (int)msg->server_id) {
		g->server_id = (int)msg->server_id;
		vg_broker_remember_server(g->b, g->domid,
					  (uint16_t)msg->server_id);
	}
	vg_info("dom%u: IOREQ server %d, process %d", g->domid, g->server_id,
		(int)g->pid);
}

/* Each of its messages answers one of ours: no flood, no answer by guess. */
static bool is_expected(const struct vg_bparent_guest *g,
			const struct vg_bchild_msg *msg)
{
	switch (msg->op) {
	case VG_BCHILD_UP:
		return !g->is_up;
	case VG_BCHILD_ADDED:
		return g->adds_owed;
	case VG_BCHILD_PONG:
		return g->pings != g->pongs && msg->serial == g->pings;
	default:
		return false;
	}
}

static void on_child(void *arg)
{
	struct vg_bparent_guest *g = arg;
	struct vg_bchild_msg msg;
	struct vg_bparent_dev *d;
	int fd[2], n;

	n = vg_bchild_recv(g->sock, &msg, fd);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		child_gone(g);
		return;
	}
	vg_msg_close_fds(fd, 2);	/* none were asked for */
	if (!is_expected(g, &msg)) {
		if (g->nonsense++ == NONSENSE_MAX)
			child_kill(g, "says what it was not asked (it may have been taken over)");
		return;
	}
	d = g->dev[msg.dev_index];
	if (msg.op == VG_BCHILD_UP) {
		on_up(g, &msg);
	} else if (msg.op == VG_BCHILD_PONG) {
		g->pongs = msg.serial;
	} else {
		g->adds_owed--;
		if (d && d->serial == msg.serial)
			vg_bparent_dev_added(d, msg.error);
	}
}

/* ---- those that hang ---------------------------------------------------- */

static void watch_later(struct vg_bparent_guest *g)
{
	vg_timer_arm(g->watch, g->b->cfg.watchdog_ns / WATCH_PARTS);
}

static bool is_late(const struct vg_bparent_guest *g)
{
	if (!g->is_up)
		return vg_now_ns() - g->spawned_ns > CHILD_UP_NS;
	return g->misses >= WATCH_MISSES;
}

/*
 * Answers that are there have been read by now: descriptors come before timers
 * in a turn.  A turn counts one miss, however late it is: time in which we did
 * not run ourselves says nothing about the child.
 */
static void on_watch(void *arg)
{
	struct vg_bparent_guest *g = arg;
	struct vg_bchild_msg ping = { .op = VG_BCHILD_PING };

	if (g->pings != g->pongs) {
		g->misses++;
	} else if (g->is_up) {
		g->misses = 0;
		ping.serial = ++g->pings;
		vg_bparent_guest_send(g, &ping, NULL);
	}
	if (is_late(g))
		child_kill(g, "does not answer (stopped, or hung)");
	watch_later(g);
}

/* ---- their beginning ---------------------------------------------------- */

static int child_spawn(struct vg_bparent_guest *g)
{
	const struct vg_broker_config *cfg = &g->b->cfg;
	const struct vg_bchild_config child = {
		.guest = g->domid, .adopt_id = g->server_id,
		.answer_timeout_ns = cfg->answer_timeout_ns,
		.poll_max_ns = cfg->poll_max_ns,
	};
	int pair[2], shared_fd, err;

	shared_fd = dup(g->shared_fd);
	if (shared_fd < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err = -errno;
		close(shared_fd);
		return err;
	}
	err = vg_loop_add_fd(g->b->loop, pair[0], on_child, g, &g->sock_fd);
	if (err) {
		close(pair[1]);
		close(shared_fd);
		goto fail;
	}
	err = cfg->spawn(cfg->spawn_arg, &child, pair[1], shared_fd, &g->pid);
	if (err) {
		g->pid = 0;
		vg_loop_del_fd(g->b->loop, g->sock_fd);
		goto fail;
	}
	g->sock = pair[0];
	g->spawned_ns = vg_now_ns();
	g->pings = g->pongs = g->misses = 0;
	g->adds_owed = g->nonsense = 0;
	g->is_hung = false;
	watch_later(g);
	return 0;
fail:
	close(pair[0]);
	return err;
}

static void on_respawn(void *arg)
{
	struct vg_bparent_guest *g = arg;
	unsigned int i;
	int err;

	err = child_spawn(g);
	if (err) {
		vg_broker_failed(g->b, "dom%u: no process can be started: %s",
				 g->domid, strerror(-err));
		g->respawn_delay_ns = min_u(max_u(g->respawn_delay_ns * 2,
						  RESPAWN_MIN_NS),
					    RESPAWN_SHORT_MAX_NS);
		vg_timer_arm(g->respawn, g->respawn_delay_ns);
		return;
	}
	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++)
		if (g->dev[i])
			vg_bparent_dev_tell(g->dev[i]);
	if (g->is_ending)
		vg_bparent_guest_end(g);
	else
		vg_bparent_guest_start(g);
}

int vg_bparent_guest_create(struct vg_broker *b, xen_domid_t domid,
			    struct vg_bparent_guest **out)
{
	struct vg_bparent_guest *g;
	int id, err;

	err = vg_broker_recall_server(b, domid, &id);
	if (err)
		return err;
	g = vg_zalloc(sizeof(*g));
	g->b = b;
	g->domid = domid;
	g->sock = -1;
	g->next = b->guests;
	b->guests = g;
	g->server_id = id;
	g->was_known = g->server_id >= 0;
	g->respawn = vg_timer_create(b->loop, on_respawn, g);
	g->watch = vg_timer_create(b->loop, on_watch, g);
	g->reap = vg_timer_create(b->loop, on_reap, g);
	g->shared_fd = memfd_create("virtio-grant-broker", MFD_CLOEXEC);
	if (g->shared_fd < 0 ||
	    ftruncate(g->shared_fd, sizeof(*g->shared)) < 0) {
		err = -errno;
		goto fail;
	}
	g->shared = mmap(NULL, sizeof(*g->shared), PROT_READ, MAP_SHARED,
			 g->shared_fd, 0);
	if (g->shared == MAP_FAILED) {
		err = -errno;
		g->shared = NULL;
		goto fail;
	}
	err = child_spawn(g);
	if (err)
		goto fail;
	*out = g;
	return 0;
fail:
	vg_bparent_guest_free(g);
	return err;
}
