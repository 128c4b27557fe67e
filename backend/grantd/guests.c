// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * guests.c - the worker of each guest: its process, its life and death, and
 * what it and its supervisor tell each other.
 *
 * Not trusted: the worker (worker.h).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "grantd/mapper.h"
#include "grantd/sandbox.h"
#include "grantd/supervisor_priv.h"
#include "lib/log.h"
#include "lib/util.h"

/*
 * Between a worker's death and its successor: doubles with each death and is
 * halved for each time of calm that the worker lived.  The maximum is less
 * than what a driver may be kept waiting for an answer (5 s).
 */
#define RESPAWN_MIN_NS		UINT64_C(1000000)
#define RESPAWN_MAX_NS		UINT64_C(2000000000)
#define RESPAWN_CALM_NS		UINT64_C(1000000000)
/*
 * So long a new device is tried, if what failed may pass: below libxl's 10 s;
 * longer on the bus, where who attaches it waits as long as he likes, and takes
 * it away.
 */
#define NEW_TRY_NS		UINT64_C(8000000000)
#define NEW_TRY_BUS_NS		UINT64_C(120000000000)
/*
 * From the removal of a device to the end of the worker that had its files, if
 * that has other devices: those of a guest that ends go one after the other.
 */
#define REPLACE_NS		UINT64_C(5000000000)
#define REPLACE_BY_TIMES	4u
/* For a worker that takes no message now. */
#define TELL_NS			UINT64_C(10000000)
/* Between two looks whether a process has ended. */
#define REAP_MIN_NS		UINT64_C(500000)
#define REAP_MAX_NS		UINT64_C(50000000)

/* ---- workers ------------------------------------------------------------ */

static void worker_ended(struct vg_supervisor *s, xen_domid_t guest)
{
	if (s->cfg.worker_ended)
		s->cfg.worker_ended(s->cfg.spawn_arg, guest);
}

/* Before the worker hears of it. */
void vg_sup_permit_page(struct vg_sdev *d)
{
	struct vg_supervisor *s = d->s;
	struct vg_transport_page page;

	if (!s->cfg.permit || !d->transport->page ||
	    !d->transport->page(&d->where, &page))
		return;
	d->has_page = true;
	s->cfg.permit(s->cfg.spawn_arg, d->guest->domid, d->index, page.domid,
		      page.ref, page.port);
}

int vg_sup_allow_file(struct vg_sdev *d, uint64_t size_bytes)
{
	struct vg_supervisor *s = d->s;

	if (!s->cfg.allow_file || !size_bytes)
		return 0;
	return s->cfg.allow_file(s->cfg.spawn_arg, d->guest->domid,
				 size_bytes);
}

/* Devices that wait for a worker, or for the end of the last one. */
static void guest_go_on(struct vg_supervisor *s, xen_domid_t guest)
{
	struct vg_sdev *d;

	for (d = s->devs; d; d = d->next)
		if (d->guest->domid == guest && d->state == DEV_NEW &&
		    d->is_ours && !vg_timer_is_armed(d->retry))
			vg_sdev_go_on(d);
}

static void kill_worker(struct vg_supervisor *s, xen_domid_t guest, pid_t pid)
{
	if (s->cfg.kill)
		s->cfg.kill(s->cfg.spawn_arg, guest, pid);
	else if (pid > 0)
		kill(pid, SIGKILL);
}

/*
 * A worker that was ended by its filter of system calls (sandbox.h) was most
 * likely taken over.  The number comes from itself: a hint, not a fact.
 */
static void say_violation(struct vg_supervisor *s, const struct vg_schild *c)
{
	char *name = c->violation ? vg_sandbox_syscall_name(c->violation - 1) :
				    vg_strdup("unknown");

	vg_sup_failed(s, "dom%u: its worker made a system call that it may not make (%s) and was killed: it may have been taken over by the guest",
		      c->guest, name);
	free(name);
}

/* Its process has not ended yet. */
bool vg_sup_is_ending(const struct vg_supervisor *s, xen_domid_t guest)
{
	const struct vg_schild *c;

	for (c = s->children; c; c = c->next)
		if (c->guest == guest)
			return true;
	return false;
}

static void child_look(struct vg_supervisor *s, struct vg_schild *c)
{
	if (c->is_killed || vg_now_ns() < c->kill_ns)
		return;
	vg_warn("dom%u: its worker does not end, killed", c->guest);
	c->is_killed = true;
	kill_worker(s, c->guest, c->pid);
}

/* Takes those that have ended out of the list. */
static void children_reap(struct vg_supervisor *s)
{
	struct vg_schild **p = &s->children, *c;
	int status;

	while ((c = *p)) {
		status = 0;
		if (!waitpid(c->pid, &status, WNOHANG)) {
			child_look(s, c);
			p = &c->next;
			continue;
		}
		*p = c->next;
		if (!c->is_expected && WIFSIGNALED(status) &&
		    WTERMSIG(status) == SIGSYS)
			say_violation(s, c);
		worker_ended(s, c->guest);
		guest_go_on(s, c->guest);
		free(c);
		p = &s->children;	/* more may have been added */
	}
}

void vg_sup_on_reap(void *arg)
{
	struct vg_supervisor *s = arg;

	children_reap(s);
	s->reap_pause_ns = min_u(s->reap_pause_ns * 2, REAP_MAX_NS);
	if (s->children)
		vg_timer_arm(s->reap, s->reap_pause_ns);
}

/*
 * Its socket is closed: it finishes what is under way, unmaps, and ends.  One
 * that does not, in @patience_ns, is made to.
 */
static void worker_leave(struct vg_sguest *g, bool is_expected,
			 uint64_t patience_ns)
{
	struct vg_supervisor *s = g->s;
	struct vg_schild *c;
	struct vg_sdev *d;

	for (d = s->devs; d; d = d->next)
		if (d->guest == g)
			d->has_files = false;
	vg_loop_del_fd(s->loop, g->sock_fd);
	vg_timer_cancel(g->replace);
	g->left_ns = 0;
	close(g->sock);
	g->sock = -1;
	if (!patience_ns)
		kill_worker(s, g->domid, g->pid);
	if (g->pid <= 0) {
		worker_ended(s, g->domid);
		return;
	}
	c = vg_zalloc(sizeof(*c));
	*c = (struct vg_schild){
		.next = s->children, .guest = g->domid, .pid = g->pid,
		.is_expected = is_expected, .is_killed = !patience_ns,
		.kill_ns = vg_now_ns() + patience_ns,
		.violation = g->shared ? READ_ONCE(g->shared->violation) : 0,
	};
	s->children = c;
	g->pid = 0;
	s->reap_pause_ns = REAP_MIN_NS;
	vg_timer_arm(s->reap, s->reap_pause_ns);
}

/* The supervisor ends: all at once, and not for long. */
void vg_sup_children_end(struct vg_supervisor *s)
{
	const struct timespec ms5 = { .tv_nsec = 5000000 };
	uint64_t until = vg_now_ns() + 2 * WORKER_END_NS;

	children_reap(s);
	while (s->children && vg_now_ns() < until) {
		nanosleep(&ms5, NULL);
		children_reap(s);
	}
	while (s->children) {
		struct vg_schild *c = s->children;

		vg_warn("dom%u: its worker (process %d) can't be ended",
			c->guest, (int)c->pid);
		s->children = c->next;
		free(c);
	}
}

static uint64_t replace_ns(const struct vg_supervisor *s)
{
	return s->cfg.replace_ns ? s->cfg.replace_ns : REPLACE_NS;
}

/* Then it is replaced whatever its others do: a guest has them do it. */
static uint64_t replace_by_ns(const struct vg_sguest *g)
{
	return g->left_ns + REPLACE_BY_TIMES * replace_ns(g->s);
}

static void replace_later(struct vg_sguest *g)
{
	uint64_t by = replace_by_ns(g), now = vg_now_ns();

	vg_timer_arm(g->replace,
		     min_u(replace_ns(g->s), by > now ? by - now : 1));
}

/* It has gone, or has failed for good; its worker may have its files still. */
void vg_sup_files_left(struct vg_sdev *d)
{
	struct vg_sguest *g = d->guest;

	if (d->has_files && g->sock >= 0) {
		if (!g->left_ns)
			g->left_ns = vg_now_ns();
		replace_later(g);
	}
	d->has_files = false;
}

void vg_sup_index_put(struct vg_sdev *d)
{
	struct vg_supervisor *s = d->s;

	/* The worker, if there is one, has forgotten it. */
	if (d->has_page && d->guest->sock >= 0)
		s->cfg.permit(s->cfg.spawn_arg, d->guest->domid, d->index,
			      VG_MAPPER_NOBODY, 0, 0);
	d->has_page = false;
	if (d->has_index)
		d->guest->index_used[d->index] = false;
	d->has_index = false;
	d->untold = 0;
	d->is_moving = d->is_attached = false;
	vg_timer_cancel(d->answer);
	vg_timer_cancel(d->resize_due);
}

static bool may_try_again(const struct vg_sdev *d)
{
	uint64_t try_ns = d->name.kind->is_own ? NEW_TRY_BUS_NS : NEW_TRY_NS;

	if (d->s->cfg.new_try_ns)
		try_ns = d->s->cfg.new_try_ns;
	return d->is_promised || vg_now_ns() - d->since_ns < try_ns;
}

/*
 * It could not be started; the caller has said why.  A device that was served
 * waits for better times; a new one, only for what passes and while libxl does.
 */
void vg_sdev_not_now(struct vg_sdev *d, int err)
{
	vg_sup_index_put(d);
	d->state = DEV_NEW;
	if (d->is_orphan || d->remove_wanted)
		vg_sdev_closed(d);
	else if (d->is_promised || (vg_error_passes(err) && may_try_again(d)))
		vg_sdev_wait(d);
	else
		vg_sdev_fail(d);
	if (d->is_promised)
		vg_sdev_publish_failure(d);
}

/* One death after the other: each successor comes later. */
static void respawn_later(struct vg_sguest *g)
{
	uint64_t calm_ns = g->s->cfg.respawn_calm_ns ?
			   g->s->cfg.respawn_calm_ns : RESPAWN_CALM_NS;
	uint64_t calm = (vg_now_ns() - g->spawned_ns) / calm_ns;
	uint64_t last_ns = calm < 32 ? g->respawn_delay_ns >> calm : 0;

	g->respawn_delay_ns = min_u(max_u(2 * last_ns, RESPAWN_MIN_NS),
				    RESPAWN_MAX_NS);
	vg_timer_arm(g->respawn, g->respawn_delay_ns);
}

/* One that did not get as far as its first message died of something else. */
static void count_barren(struct vg_sdev *d)
{
	const struct vg_worker_shared *shared = d->guest->shared;

	if (!shared || !READ_ONCE(shared->has_begun))
		return;
	d->barren = vg_sup_state_is_barren(d) ? d->barren + 1 : 0;
}

/* What its devices had in the worker, is over. */
static void devices_go_on(struct vg_sguest *g, bool has_died)
{
	struct vg_sdev *d;

	for (d = g->s->devs; d; d = d->next) {
		if (d->guest != g || !d->has_index)
			continue;
		if (has_died)
			count_barren(d);
		vg_sup_held_drop(d);
		vg_sup_index_put(d);
		d->was_served = true;
		if (d->state == DEV_STOPPING || d->remove_wanted)
			vg_sdev_closed(d);
		else if (may_try_again(d))
			d->state = DEV_NEW;
		else
			vg_sdev_fail(d);
	}
}

static void worker_died(struct vg_sguest *g)
{
	g->deaths++;
	worker_leave(g, false, 0);
	vg_sup_failed(g->s, "dom%u: its worker ended unexpectedly (time %u), starting another",
		      g->domid, g->deaths);
	devices_go_on(g, true);
	respawn_later(g);
}

/* None is on its way into the worker, or out of it. */
static bool all_are_ready(const struct vg_sguest *g)
{
	struct vg_sdev *d;

	for (d = g->s->devs; d; d = d->next)
		if (d->guest == g && d->has_index &&
		    (d->state != DEV_READY || d->remove_wanted))
			return false;
	return true;
}

/*
 * A worker that was taken over closes nothing of a device that is removed: only
 * its end takes the files from it.  The others of its devices go to another
 * one, as when we end.
 */
static void on_replace(void *arg)
{
	struct vg_sguest *g = arg;
	bool are_ready = all_are_ready(g);

	if (g->sock < 0)
		return;
	if (!are_ready && vg_now_ns() < replace_by_ns(g)) {
		replace_later(g);
		return;
	}
	vg_info("dom%u: its worker is replaced: it had the files of a device that was removed",
		g->domid);
	/* What is closed with it, it must not use any more. */
	worker_leave(g, true, are_ready ? WORKER_END_NS : 0);
	devices_go_on(g, false);
	vg_timer_arm(g->respawn, RESPAWN_MIN_NS);
}

/* Its worker took too long for an answer. */
void vg_sup_on_answer_due(void *arg)
{
	struct vg_sdev *d = arg;

	vg_sup_failed(d->s, "dom%u: its worker does not answer (stopped, or hung; %s), killed",
		      d->guest->domid, d->label);
	d->guest->patience_ns = min_u(2 * d->guest->patience_ns, ANSWER_MAX_NS);
	worker_died(d->guest);
}

/* What of it its worker can't take now, it is told later. */
static void dev_tell(struct vg_sdev *d)
{
	static const uint32_t ops[NR_TELLS] = {
		[TELL_RELEASE] = VG_WORKER_RELEASE,
		[TELL_MOVE] = VG_WORKER_MOVE,
		[TELL_RESIZE] = VG_WORKER_RESIZE,
		[TELL_REMOVE] = VG_WORKER_REMOVE,
	};
	struct vg_worker_msg msg = { .index = d->index, .where = d->where };
	unsigned int i;
	int err;

	for (i = 0; i < NR_TELLS; i++) {
		if (!(d->untold & 1u << i))
			continue;
		msg.op = ops[i];
		msg.change = d->change;
		err = vg_worker_send(d->guest->sock, &msg, NULL);
		/* One that has ended is heard of otherwise. */
		if (err && err != -EPIPE && err != -ECONNRESET) {
			vg_timer_arm(d->guest->tell, TELL_NS);
			return;
		}
		d->untold &= ~(1u << i);
	}
}

static void on_tell(void *arg)
{
	struct vg_sguest *g = arg;
	struct vg_sdev *d;

	for (d = g->s->devs; d && g->sock >= 0; d = d->next)
		if (d->guest == g && d->has_index)
			dev_tell(d);
}

/* @patience_ns: for its answer; 0: there will be none. */
void vg_sdev_ask(struct vg_sdev *d, enum tell what, uint64_t patience_ns)
{
	d->untold |= 1u << what;
	if (patience_ns)
		vg_timer_arm(d->answer, patience_ns);
	dev_tell(d);
}

static void on_added(struct vg_sdev *d, const struct vg_worker_msg *msg)
{
	char *summary;

	vg_timer_cancel(d->answer);
	d->guest->patience_ns = ANSWER_NS;
	if (msg->error) {
		d->s->about = d;
		vg_sup_failed(d->s, "%s: %s", d->label, msg->text);
		d->s->about = NULL;
		vg_sup_held_drop(d);
		vg_sdev_not_now(d, msg->error);
		return;
	}
	vg_refusals_forget(&d->s->refusals, &d->name);
	summary = d->type->host->summary(d->res);
	vg_info("%s: ready: %s", d->label, summary);
	free(summary);
	vg_sdev_content(d);
	vg_sdev_becomes(d, DEV_READY);
	vg_sdev_resize_taken_over(d);
	vg_sup_scan_device(d);
}

/* It tries by itself, and tells how it goes. */
static void on_moved(struct vg_sdev *d, const struct vg_worker_msg *msg)
{
	if (d->state == DEV_READY)
		vg_timer_cancel(d->answer);
	/* It logs by itself.  What was said stays so: a guest makes these. */
	free(d->why);
	d->why = msg->error ? vg_strf("%s: %s", d->label, msg->text) : NULL;
	if (d->transport->has_front)
		vg_front_moved(d, msg);
}

static void on_worker(void *arg)
{
	struct vg_sguest *g = arg;
	struct vg_worker_msg msg;
	struct vg_sdev *d;
	int fds[VG_WORKER_FDS_MAX], n;

	n = vg_worker_recv(g->sock, &msg, fds);
	vg_worker_close_fds(fds);
	if (vg_error_passes(n))
		return;			/* it is there still */
	if (n <= 0) {
		worker_died(g);
		return;
	}
	/* An index is one device's until the worker has let go of that. */
	for (d = g->s->devs; d; d = d->next)
		if (d->guest == g && d->has_index && d->index == msg.index)
			break;
	if (!d)
		return;
	if (msg.op == VG_WORKER_ADDED && d->state == DEV_STARTING) {
		on_added(d, &msg);
	} else if (msg.op == VG_WORKER_MOVED) {
		on_moved(d, &msg);
	} else if (msg.op == VG_WORKER_RESIZED) {
		vg_sdev_resized(d, &msg);
	} else if (msg.op == VG_WORKER_REMOVED && d->state == DEV_STOPPING) {
		vg_sup_held_drop(d);
		vg_sup_index_put(d);
		vg_sdev_closed(d);
	}
}

/* *shared_fd: for the worker, the caller's to close. */
static int shared_create(struct vg_worker_shared **shared, int *shared_fd)
{
	int fd = memfd_create("virtio-grant-stats", MFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(**shared)) < 0)
		goto fail;
	*shared = mmap(NULL, sizeof(**shared), PROT_READ, MAP_SHARED, fd, 0);
	if (*shared == MAP_FAILED)
		goto fail;
	*shared_fd = fd;
	return 0;
fail:
	err = -errno;
	close(fd);
	return err;
}

int vg_sup_worker_start(struct vg_sguest *g)
{
	struct vg_supervisor *s = g->s;
	struct vg_worker_shared *shared;
	int pair[2], shared_fd = -1, err;

	err = shared_create(&shared, &shared_fd);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err = -errno;
		goto close_shared;
	}
	/* Before there is a process: nothing fails once there is. */
	err = vg_loop_add_fd(s->loop, pair[0], on_worker, g, &g->sock_fd);
	if (err)
		goto close_pair;
	err = s->cfg.spawn(s->cfg.spawn_arg, g->domid, pair[1], shared_fd,
			   &g->pid);
	if (err) {
		vg_loop_del_fd(s->loop, g->sock_fd);
		close(pair[0]);
		munmap(shared, sizeof(*shared));
		g->pid = 0;
		return err;
	}
	if (g->shared)
		munmap(g->shared, sizeof(*g->shared));
	g->shared = shared;
	g->sock = pair[0];
	g->spawned_ns = vg_now_ns();
	return 0;
close_pair:
	close(pair[0]);
	close(pair[1]);
close_shared:
	munmap(shared, sizeof(*shared));
	close(shared_fd);
	return err;
}

static void on_respawn(void *arg)
{
	struct vg_sguest *g = arg;

	guest_go_on(g->s, g->domid);
}

struct vg_sguest *vg_sguest_get(struct vg_supervisor *s, xen_domid_t domid)
{
	struct vg_sguest *g;

	for (g = s->guests; g; g = g->next)
		if (g->domid == domid)
			return g;
	g = vg_zalloc(sizeof(*g));
	g->s = s;
	g->domid = domid;
	g->sock = -1;
	g->patience_ns = ANSWER_NS;
	g->complaints = (struct vg_ratelimit){ .burst = SAID_A_MINUTE,
					       .seconds = 60 };
	g->respawn = vg_timer_create(s->loop, on_respawn, g);
	g->replace = vg_timer_create(s->loop, on_replace, g);
	g->tell = vg_timer_create(s->loop, on_tell, g);
	g->next = s->guests;
	s->guests = g;
	return g;
}

void vg_sguest_free(struct vg_sguest *g)
{
	struct vg_sguest **p;

	for (p = &g->s->guests; *p != g; p = &(*p)->next)
		;
	*p = g->next;
	if (g->sock >= 0)
		worker_leave(g, true, WORKER_END_NS);
	if (g->shared)
		munmap(g->shared, sizeof(*g->shared));
	vg_timer_destroy(g->respawn);
	vg_timer_destroy(g->replace);
	vg_timer_destroy(g->tell);
	free(g);
}

bool vg_sguest_has_device(const struct vg_sguest *g)
{
	struct vg_sdev *d;

	for (d = g->s->devs; d; d = d->next)
		if (d->guest == g)
			return true;
	return false;
}
