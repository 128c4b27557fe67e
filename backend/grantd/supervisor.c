// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * supervisor.c - xenstore, images and workers of virtio-grantd.
 *
 * A device's life, as libxl sees it (tools/libs/light/libxl_device.c):
 *
 *	state 1  libxl made the node; we wait for the broker's relay keys
 *		 (relay.h), open the image and hand both to the worker
 *	state 2  the worker serves it; libxl goes on (it waits 10 s for this)
 *	state 5  libxl wants it gone; the worker drains and unmaps
 *	state 6  done; libxl goes on (it waits 10 s for this, too) and then
 *		 waits for this domain to remove the node
 *
 * What can't be served loses its key "state", at which libxl gives up at once
 * instead of after its 10 s.  The reason is logged, and kept for
 * virtio-grantctl.
 *
 * Not trusted: our own workers (worker.h), and the frontend's node, of which
 * nothing is read.  xenstore values are parsed strictly all the same.
 */
#include "grantd/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "grantd/mapper.h"
#include "grantd/sandbox.h"
#include "lib/log.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/refusals.h"
#include "toolstack/walk.h"
#include "transport/transport.h"
#include "virtio/state.h"

#define NR_FAILURES		16
/* For a transport to be there; libxl's own limit is 10 s. */
#define UNREACHED_WARN_NS	UINT64_C(5000000000)
/* Between state 6 and the removal of the node: libxl must have seen it. */
#define NODE_REMOVAL_NS		UINT64_C(1000000000)
/*
 * Between a worker's death and its successor: doubles with each death and is
 * halved for each time of calm that the worker lived.  The maximum is less
 * than what a driver's register access may take (the broker's 5 s).
 */
#define RESPAWN_MIN_NS		UINT64_C(1000000)
#define RESPAWN_MAX_NS		UINT64_C(2000000000)
#define RESPAWN_CALM_NS		UINT64_C(1000000000)
/* Between two tries of what failed, doubling up to the maximum. */
#define RETRY_MIN_NS		UINT64_C(10000000)
#define RETRY_MAX_NS		UINT64_C(5000000000)
/* So long a new device is tried, if what failed may pass: below libxl's 10 s. */
#define NEW_TRY_NS		UINT64_C(8000000000)
/* While the last I/O of a worker that died is not done. */
#define LOCK_RETRY_NS		UINT64_C(5000000)
#define LOCK_RETRY_MAX_NS	UINT64_C(250000000)
/* While somebody else has a resource, for a moment perhaps. */
#define RESOURCE_RETRY_NS		UINT64_C(20000000)
#define LOCK_WARN_NS		UINT64_C(5000000000)
/* Deaths in a row between which a device got nothing done. */
#define BARREN_MAX		8u
/* For a worker whose devices are removed, or whose supervisor ends. */
#define WORKER_END_NS		UINT64_C(2000000000)
/*
 * For a worker's answer, which libxl waits for as well: 10 s.  Each that is killed
 * for want of it leaves its successor twice the time, up to the maximum: on a
 * machine that is slow and not hung, one must get there.
 */
#define ANSWER_NS		UINT64_C(8000000000)
#define ANSWER_MAX_NS		UINT64_C(120000000000)
/* For a worker that takes no message now. */
#define TELL_NS			UINT64_C(10000000)
/* Between two looks whether a process has ended. */
#define REAP_MIN_NS		UINT64_C(500000)
#define REAP_MAX_NS		UINT64_C(50000000)
/* A transaction that others disturb is tried again so often at once. */
#define TRANSACTION_TRIES	8u
/* Reasons that are remembered per device, so that each is said once. */
#define NR_SAID			8u

enum dev_state {
	DEV_NEW,	/* libxl made it, the broker has not yet */
	DEV_STARTING,	/* given to the worker */
	DEV_READY,	/* served */
	DEV_STOPPING,	/* the worker drains it */
	DEV_CLOSED,	/* state 6 is written, the node goes soon */
	DEV_FAILED,	/* remembered until libxl removes it */
	DEV_IGNORED,	/* another backend's, or not understood */
};

static const char *const dev_state_names[] = {
	"not reached yet", "starting", "ready", "stopping", "closed",
	"failed", "ignored",
};

/* What a device's worker has not been told yet, one bit each. */
enum tell { TELL_RELEASE, TELL_MOVE, TELL_REMOVE, NR_TELLS };

struct guest;

struct dev {
	struct dev *next;
	struct vg_supervisor *s;
	struct guest *guest;
	struct vg_devname name;
	char *node, *label;
	enum dev_state state;
	bool seen;
	bool is_ours;		/* its node was read, and is for us */
	bool was_denied;	/* it was read once, and is not */
	bool is_orphan;		/* its node is gone, or another device's */
	bool is_shown;		/* what it came to stands in its node */
	/*
	 * Its node said that it is served: then it is never given up, whatever
	 * fails, for as long as the node is there.
	 */
	bool is_promised;
	uint64_t node_state;	/* that was seen or written last */
	uint64_t since_ns;	/* its node was seen first */
	bool was_served;	/* by somebody before this worker */
	unsigned int barren;	/* deaths in a row that nothing came between */
	uint64_t shown;		/* sum of used indices at the last death */
	uint64_t locked_out_ns;	/* since when; 0: not */
	char *why;		/* what it waits for; NULL: nothing that failed */
	uint64_t said[NR_SAID];	/* hashes of what was, since it was ready */
	unsigned int nr_said;
	struct vg_timer *retry;	/* ... to try once more, after */
	uint64_t pause_ns;
	/*
	 * Served, but none of its requests is before these are locked, state
	 * and resource: a worker that died has I/O under way.
	 */
	bool is_held;
	int held_state_fd;
	struct vg_dev_parts held;
	struct vg_timer *hold;	/* to try the locks */
	bool remove_wanted;	/* while STARTING */
	unsigned int index;	/* in its worker, from STARTING to STOPPING */
	bool has_index;
	uint32_t untold;	/* bits of enum tell */
	struct vg_timer *answer;	/* its worker owes one until then */
	bool has_where;
	struct vg_transport_where where;
	const struct vg_transport_type *transport;
	const struct vg_dev_type *type;	/* NULL: not known yet */
	void *res;		/* of the type: what is served */
	unsigned int nr_queues;	/* 0: not decided; then it stays */
	struct vg_timer *timer;	/* NEW: no broker; CLOSED: remove the node */
};

/* One guest and its worker. */
struct guest {
	struct guest *next;
	struct vg_supervisor *s;
	xen_domid_t domid;
	pid_t pid;
	int sock;			/* -1: no worker */
	struct vg_fd *sock_fd;
	struct vg_worker_shared *shared;
	struct vg_timer *tell;		/* what it did not take: once more */
	struct vg_timer *respawn;
	uint64_t spawned_ns, respawn_delay_ns;
	uint64_t patience_ns;		/* for answers */
	unsigned int deaths;
	bool index_used[VG_WORKER_DEVICES_MAX];
};

/* A worker that has ended, or is about to. */
struct child {
	struct child *next;
	xen_domid_t guest;
	pid_t pid;
	bool is_expected, is_killed;
	uint64_t kill_ns;		/* then it is made to */
	uint32_t violation;		/* as its shared memory said */
};

struct vg_supervisor {
	struct vg_supervisor_config cfg;
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *xs_fd;
	xen_domid_t own_domid;
	struct vg_deferred *scan;
	struct dev *devs;
	struct guest *guests;
	void **type_daemons;		/* by type: dev/type.h */
	struct vg_refusals refusals;
	struct child *children;
	struct vg_timer *reap;
	uint64_t reap_pause_ns;
	bool scan_failed;		/* not all that is there was seen */
	bool look_again;		/* what was seen may not be all */
	struct vg_timer *rescan;
	uint64_t rescan_pause_ns;
	struct dev *about;		/* what fails, is about it; or NULL */
	bool is_tidied;			/* a predecessor's states, too */
	char *failure[NR_FAILURES];
	unsigned int nr_failures;
};

static unsigned int type_index(const struct vg_dev_type *type)
{
	unsigned int i = 0;

	while (vg_dev_types[i] != type)
		i++;
	return i;
}

static unsigned int transport_index(const struct vg_transport_type *transport)
{
	unsigned int i = 0;

	while (vg_transport_types[i] != transport)
		i++;
	return i;
}

static uint64_t hash_text(const char *text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return h;
}

/* Of this device, since it was ready last.  So many reasons, and no more. */
static bool was_said(struct dev *d, const char *text)
{
	uint64_t h = hash_text(text);
	unsigned int i;

	for (i = 0; i < d->nr_said; i++)
		if (d->said[i] == h)
			return true;
	if (d->nr_said == NR_SAID)
		return true;
	d->said[d->nr_said++] = h;
	return false;
}

/*
 * Logs it and keeps it for virtio-grantctl.  What one try or scan after the
 * other finds is said once; of a device, it is also what that waits for.
 */
static void __attribute__((format(printf, 2, 3)))
failed(struct vg_supervisor *s, const char *fmt, ...)
{
	char **slot, text[512];
	struct dev *d = s->about;
	unsigned int i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d) {
		free(d->why);
		d->why = vg_strdup(text);
		if (was_said(d, text))
			return;
	}
	for (i = 0; i < NR_FAILURES && !d; i++)
		if (s->failure[i] && !strcmp(s->failure[i], text))
			return;
	slot = &s->failure[s->nr_failures++ % NR_FAILURES];
	vg_err("%s", text);
	free(*slot);
	*slot = vg_strdup(text);
}

/* It waits for nothing any more. */
static void dev_content(struct dev *d)
{
	free(d->why);
	d->why = NULL;
	d->nr_said = 0;
	d->pause_ns = 0;
}

/* Next time, a little later.  The caller has said why. */
static uint64_t next_pause(uint64_t *pause_ns)
{
	*pause_ns = *pause_ns ? min_u(*pause_ns * 2, RETRY_MAX_NS) :
				RETRY_MIN_NS;
	return *pause_ns;
}

static void dev_wait(struct dev *d)
{
	vg_timer_arm(d->retry, next_pause(&d->pause_ns));
}

/* ---- what xenstore is told ------------------------------------------------------ */

/*
 * -ESTALE: the node says something else than @from and @to: it was made again,
 * or libxl wants something else by now, and it is not ours to write.  -ENOENT:
 * it is gone.
 */
static int move_state_once(struct dev *d, enum vg_xenbus_state from,
			   enum vg_xenbus_state to)
{
	char text[2] = { (char)('0' + (int)to), 0 };
	struct xen_store *xs = d->s->xs;
	uint64_t now;
	char *why = NULL;
	int err = xen_store_begin(xs);

	if (err)
		return err;
	err = vg_key_read_u64(xs, d->node, "state", 10, 9, &now, &why);
	free(why);
	if (!err && now != from && now != to)
		err = -ESTALE;
	if (!err && now != to)
		err = vg_key_write(xs, d->node, "state", text);
	if (err)
		xen_store_abort(xs);
	else
		err = xen_store_commit(xs);
	return err;
}

static int move_state(struct dev *d, enum vg_xenbus_state from,
		      enum vg_xenbus_state to)
{
	unsigned int tries = TRANSACTION_TRIES;
	int err;

	do {
		err = move_state_once(d, from, to);
	} while (err == -EAGAIN && --tries);
	if (!err)
		d->node_state = to;
	return err;
}

/* libxl gives up at once on a device without it. */
static int remove_state(struct dev *d)
{
	char *path = vg_strf("%s/state", d->node);
	int err = xen_store_rm(d->s->xs, path);

	free(path);
	if (err == -ENOENT)
		err = 0;
	if (!err)
		d->node_state = VG_XENBUS_CLOSED;
	return err;
}

/* What became of it, until xenstore has it. */
static void dev_show(struct dev *d)
{
	int err = 0;

	if (d->is_orphan || d->is_shown)
		return;
	if (d->state == DEV_READY)
		err = move_state(d, VG_XENBUS_INITIALISING,
				 VG_XENBUS_INIT_WAIT);
	else if (d->state == DEV_CLOSED)
		err = move_state(d, VG_XENBUS_CLOSING, VG_XENBUS_CLOSED);
	else if (d->state == DEV_FAILED)
		err = remove_state(d);
	else
		return;
	if (err == -ESTALE) {
		vg_deferred_schedule(d->s->scan);
	} else if (err == -ENOENT) {
		/* Then the scan says so. */
		vg_deferred_schedule(d->s->scan);
		dev_wait(d);
		return;
	} else if (err) {
		d->s->about = d;
		failed(d->s, "%s: writing its state into xenstore: %s",
		       d->label, strerror(-err));
		d->s->about = NULL;
		dev_wait(d);
		return;
	}
	d->is_shown = true;
	if (d->state == DEV_READY) {
		d->is_promised = true;
		dev_content(d);
	} else if (d->state == DEV_CLOSED) {
		vg_timer_arm(d->timer, NODE_REMOVAL_NS);
	}
}

/* It was served, or is to be: what fails keeps its reason. */
static void dev_becomes(struct dev *d, enum dev_state state)
{
	d->state = state;
	d->is_shown = false;
	dev_show(d);
}

/* The last of our failures that was this device's, for who can't read the log. */
static void publish_failure(struct dev *d)
{
	struct vg_supervisor *s = d->s;
	size_t n = strlen(d->label);
	unsigned int i;

	for (i = 1; i <= NR_FAILURES && i <= s->nr_failures; i++) {
		const char *text = s->failure[(s->nr_failures - i) % NR_FAILURES];

		if (strncmp(text, d->label, n) || text[n] != ':')
			continue;
		vg_refusals_say(&s->refusals, &d->name, text);
		return;
	}
}

static void res_close(struct dev *d);

/* This device can't be served.  The caller has said why. */
static void dev_fail(struct dev *d)
{
	publish_failure(d);
	res_close(d);
	vg_timer_cancel(d->timer);
	dev_becomes(d, DEV_FAILED);
}

/* ---- workers -------------------------------------------------------------------- */

static void dev_start(struct dev *d);
static void dev_go_on(struct dev *d);
static void dev_closed(struct dev *d);
static bool state_is_barren(struct dev *d);
static void held_drop(struct dev *d);

static void worker_ended(struct vg_supervisor *s, xen_domid_t guest)
{
	if (s->cfg.worker_ended)
		s->cfg.worker_ended(s->cfg.spawn_arg, guest);
}

/* Before the worker hears of it. */
static void permit_page(struct dev *d)
{
	struct vg_supervisor *s = d->s;
	struct vg_transport_page page;

	if (s->cfg.permit && d->transport->page(&d->where, &page))
		s->cfg.permit(s->cfg.spawn_arg, d->guest->domid, d->index,
			      page.domid, page.ref, page.port);
}

static int allow_file(struct dev *d, uint64_t size_bytes)
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
	struct dev *d;

	for (d = s->devs; d; d = d->next)
		if (d->guest->domid == guest && d->state == DEV_NEW &&
		    d->is_ours && !vg_timer_is_armed(d->retry))
			dev_go_on(d);
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
static void say_violation(struct vg_supervisor *s, const struct child *c)
{
	char *name = c->violation ? vg_sandbox_syscall_name(c->violation - 1) :
				    vg_strdup("unknown");

	failed(s, "dom%u: its worker made a system call that it may not make (%s) and was killed: it may have been taken over by the guest",
	       c->guest, name);
	free(name);
}

/* Its process has not ended yet. */
static bool is_ending(const struct vg_supervisor *s, xen_domid_t guest)
{
	const struct child *c;

	for (c = s->children; c; c = c->next)
		if (c->guest == guest)
			return true;
	return false;
}

static void child_look(struct vg_supervisor *s, struct child *c)
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
	struct child **p = &s->children, *c;
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

static void on_reap(void *arg)
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
static void worker_leave(struct guest *g, bool is_expected,
			 uint64_t patience_ns)
{
	struct vg_supervisor *s = g->s;
	struct child *c;

	vg_loop_del_fd(s->loop, g->sock_fd);
	close(g->sock);
	g->sock = -1;
	if (!patience_ns)
		kill_worker(s, g->domid, g->pid);
	if (g->pid <= 0) {
		worker_ended(s, g->domid);
		return;
	}
	c = vg_zalloc(sizeof(*c));
	*c = (struct child){
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
static void children_end(struct vg_supervisor *s)
{
	const struct timespec ms5 = { .tv_nsec = 5000000 };
	uint64_t until = vg_now_ns() + 2 * WORKER_END_NS;

	children_reap(s);
	while (s->children && vg_now_ns() < until) {
		nanosleep(&ms5, NULL);
		children_reap(s);
	}
	while (s->children) {
		struct child *c = s->children;

		vg_warn("dom%u: its worker (process %d) can't be ended",
			c->guest, (int)c->pid);
		s->children = c->next;
		free(c);
	}
}

static void index_put(struct dev *d)
{
	struct vg_supervisor *s = d->s;

	/* The worker, if there is one, has forgotten it. */
	if (d->has_index && d->guest->sock >= 0 && s->cfg.permit)
		s->cfg.permit(s->cfg.spawn_arg, d->guest->domid, d->index,
			      VG_MAPPER_NOBODY, 0, 0);
	if (d->has_index)
		d->guest->index_used[d->index] = false;
	d->has_index = false;
	d->untold = 0;
	vg_timer_cancel(d->answer);
}

/*
 * It could not be started; the caller has said why.  A device that was served
 * waits for better times; a new one, only for what passes and while libxl does.
 */
static void dev_not_now(struct dev *d, int err)
{
	index_put(d);
	d->state = DEV_NEW;
	if (d->is_orphan || d->remove_wanted)
		dev_closed(d);
	else if (d->is_promised ||
		 (vg_error_passes(err) &&
		  vg_now_ns() - d->since_ns < NEW_TRY_NS))
		dev_wait(d);
	else
		dev_fail(d);
}

/* One death after the other: each successor comes later. */
static void respawn_later(struct guest *g)
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
static void count_barren(struct dev *d)
{
	const struct vg_worker_shared *shared = d->guest->shared;

	if (!shared || !READ_ONCE(shared->has_begun))
		return;
	d->barren = state_is_barren(d) ? d->barren + 1 : 0;
}

static void worker_died(struct guest *g)
{
	struct vg_supervisor *s = g->s;
	struct dev *d;

	g->deaths++;
	worker_leave(g, false, 0);
	failed(s, "dom%u: its worker ended unexpectedly (time %u), starting another",
	       g->domid, g->deaths);
	for (d = s->devs; d; d = d->next) {
		if (d->guest != g || !d->has_index)
			continue;
		count_barren(d);
		held_drop(d);
		index_put(d);
		d->was_served = true;
		if (d->state == DEV_STOPPING || d->remove_wanted)
			dev_closed(d);
		else if (d->is_promised ||
			 vg_now_ns() - d->since_ns < NEW_TRY_NS)
			d->state = DEV_NEW;
		else
			dev_fail(d);
	}
	respawn_later(g);
}

/* Its worker took too long for an answer. */
static void on_answer_due(void *arg)
{
	struct dev *d = arg;

	failed(d->s, "dom%u: its worker does not answer (stopped, or hung; %s), killed",
	       d->guest->domid, d->label);
	d->guest->patience_ns = min_u(2 * d->guest->patience_ns, ANSWER_MAX_NS);
	worker_died(d->guest);
}

/* What of it its worker can't take now, it is told later. */
static void dev_tell(struct dev *d)
{
	static const uint32_t ops[NR_TELLS] = {
		[TELL_RELEASE] = VG_WORKER_RELEASE,
		[TELL_MOVE] = VG_WORKER_MOVE,
		[TELL_REMOVE] = VG_WORKER_REMOVE,
	};
	struct vg_worker_msg msg = { .index = d->index, .where = d->where };
	unsigned int i;
	int err;

	for (i = 0; i < NR_TELLS; i++) {
		if (!(d->untold & 1u << i))
			continue;
		msg.op = ops[i];
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
	struct guest *g = arg;
	struct dev *d;

	for (d = g->s->devs; d && g->sock >= 0; d = d->next)
		if (d->guest == g && d->has_index)
			dev_tell(d);
}

/* @patience_ns: for its answer; 0: there will be none. */
static void dev_ask(struct dev *d, enum tell what, uint64_t patience_ns)
{
	d->untold |= 1u << what;
	if (patience_ns)
		vg_timer_arm(d->answer, patience_ns);
	dev_tell(d);
}

static void on_added(struct dev *d, const struct vg_worker_msg *msg)
{
	char *summary;

	vg_timer_cancel(d->answer);
	d->guest->patience_ns = ANSWER_NS;
	if (msg->error) {
		d->s->about = d;
		failed(d->s, "%s: %s", d->label, msg->text);
		d->s->about = NULL;
		held_drop(d);
		dev_not_now(d, msg->error);
		return;
	}
	vg_refusals_forget(&d->s->refusals, &d->name);
	summary = d->type->host->summary(d->res);
	vg_info("%s: ready: %s", d->label, summary);
	free(summary);
	dev_content(d);
	dev_becomes(d, DEV_READY);
	vg_deferred_schedule(d->s->scan);
}

/* It tries by itself, and tells how it goes. */
static void on_moved(struct dev *d, const struct vg_worker_msg *msg)
{
	if (d->state == DEV_READY)
		vg_timer_cancel(d->answer);
	/* It logs by itself. */
	dev_content(d);
	if (msg->error)
		d->why = vg_strf("%s: %s", d->label, msg->text);
}

static void on_worker(void *arg)
{
	struct guest *g = arg;
	struct vg_worker_msg msg;
	struct dev *d;
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
	} else if (msg.op == VG_WORKER_REMOVED && d->state == DEV_STOPPING) {
		held_drop(d);
		index_put(d);
		dev_closed(d);
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

static int worker_start(struct guest *g)
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
	struct guest *g = arg;

	guest_go_on(g->s, g->domid);
}

static struct guest *guest_get(struct vg_supervisor *s, xen_domid_t domid)
{
	struct guest *g;

	for (g = s->guests; g; g = g->next)
		if (g->domid == domid)
			return g;
	g = vg_zalloc(sizeof(*g));
	g->s = s;
	g->domid = domid;
	g->sock = -1;
	g->patience_ns = ANSWER_NS;
	g->respawn = vg_timer_create(s->loop, on_respawn, g);
	g->tell = vg_timer_create(s->loop, on_tell, g);
	g->next = s->guests;
	s->guests = g;
	return g;
}

static void guest_free(struct guest *g)
{
	struct guest **p;

	for (p = &g->s->guests; *p != g; p = &(*p)->next)
		;
	*p = g->next;
	if (g->sock >= 0)
		worker_leave(g, true, WORKER_END_NS);
	if (g->shared)
		munmap(g->shared, sizeof(*g->shared));
	vg_timer_destroy(g->respawn);
	vg_timer_destroy(g->tell);
	free(g);
}

static bool guest_has_device(const struct guest *g)
{
	struct dev *d;

	for (d = g->s->devs; d; d = d->next)
		if (d->guest == g)
			return true;
	return false;
}

/* ---- states (state.h) ---------------------------------------------------------------- */

static char *state_path(const struct dev *d)
{
	return vg_strf("%s/%u-%s-%u", d->s->cfg.state_dir, d->name.guest,
		       d->name.kind->name, d->name.devid);
}

static void state_remove(const struct dev *d)
{
	char *path;

	if (!d->s->cfg.state_dir)
		return;
	path = state_path(d);
	unlink(path);
	free(path);
}

/*
 * Something of a worker that died is not over yet.  False: it has been for so
 * long that it may be another's lock.
 */
static bool lock_awaited(struct dev *d)
{
	uint64_t now = vg_now_ns(), waited;

	if (!d->locked_out_ns)
		d->locked_out_ns = now;
	waited = now - d->locked_out_ns;
	/* Mostly it takes a moment only: the longer, the less it matters. */
	vg_timer_arm(d->is_held ? d->hold : d->retry,
		     min_u(max_u(waited / 16, LOCK_RETRY_NS),
			   LOCK_RETRY_MAX_NS));
	return waited < LOCK_WARN_NS;
}

/*
 * Two locks on a state, which do not mind each other.
 *
 * The one by fcntl(2) is that of a worker's process: by what it is on the
 * process has mapped the state, and nobody else has it open, so it goes when the
 * process does, which until then may write into the state.
 *
 * The one by flock(2) is on the state as it is registered with the worker's
 * io_urings, opened for reading only, so the kernel holds it, too, until the last
 * I/O of a worker that died is done: before that, what it reads would land in
 * buffers that the guest uses for something else by then.  There is no bound on waiting for it, and
 * the guest's driver has one on waiting for a register.  So a successor begins
 * before, and holds the requests back.
 */
static int life_lock(struct dev *d, int fd)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(fd, F_OFD_SETLK, &all))
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	if (!lock_awaited(d))
		failed(d->s, "%s: waits for the end of its last worker",
		       d->label);
	return -EAGAIN;
}

static int io_lock(struct dev *d, int fd)
{
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	if (!lock_awaited(d))
		failed(d->s, "%s: waits for I/O that its last worker had begun",
		       d->label);
	return -EAGAIN;
}

static int res_lock(struct dev *d, const struct vg_dev_parts *parts)
{
	char *why = NULL;
	int err = 0;

	if (d->type->host->lock)
		err = d->type->host->lock(d->res, parts, &why);
	if (err == -EAGAIN)
		lock_awaited(d);
	if (why)
		failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/* What a predecessor says in @fd; zeroes: there was none. */
struct left {
	uint32_t nr_queues;
	uint64_t resource[VG_DEV_WORDS], told[VG_DEV_WORDS];
};

/*
 * Read, not mapped: a worker could have made the file shorter.  If it lies,
 * about its own device, this is checked in vain.  0 or negative errno.
 */
static int left_read(int fd, struct left *left)
{
	struct vg_state head;
	ssize_t n = pread(fd, &head, offsetof(struct vg_state, regs), 0);
	struct stat sb;

	*left = (struct left){ 0 };
	if (n < 0 || fstat(fd, &sb) < 0)
		return -errno;
	/* Of another size: of another version. */
	if (n != (ssize_t)offsetof(struct vg_state, regs) ||
	    head.nr_queues > VG_STATE_QUEUES_MAX ||
	    sb.st_size != (off_t)vg_state_bytes(head.nr_queues))
		return 0;
	left->nr_queues = head.nr_queues;
	memcpy(left->resource, head.resource, sizeof(left->resource));
	memcpy(left->told, head.told, sizeof(left->told));
	return 0;
}

/*
 * -EAGAIN: it is somebody's still.  @left: what a predecessor wrote, if there was
 * one that was served.
 */
static int state_open(struct dev *d, int *state_fd, int *hold_fd,
		      bool *is_held, struct left *left)
{
	char *path;
	int fd, hold, err;

	*left = (struct left){ 0 };
	if (!d->s->cfg.state_dir)
		return 0;
	path = state_path(d);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	hold = fd < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	err = hold < 0 ? -errno : life_lock(d, fd);
	if (!err)
		err = io_lock(d, hold);
	else if (err == -EAGAIN)
		goto not_yet;
	*is_held = err == -EAGAIN && d->was_served;
	if (*is_held)
		err = 0;
	if (!err && d->was_served)
		err = left_read(fd, left);
	if (err && err != -EAGAIN)
		failed(d->s, "%s: %s: %s", d->label, path, strerror(-err));
not_yet:
	free(path);
	if (!err) {
		*state_fd = fd;
		*hold_fd = hold;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (hold >= 0)
		close(hold);
	return err;
}

/*
 * Makes it what a device with so many queues wants: emptied, if it is another's
 * (@left has none).  Which resource it is, is noted in any case.
 */
static int state_fit(struct dev *d, int fd, const struct left *left,
		     const struct vg_dev_parts *parts)
{
	size_t bytes = sizeof(parts->resource);
	ssize_t n;
	int err = 0;

	if (left->nr_queues != parts->nr_queues &&
	    (ftruncate(fd, 0) < 0 ||
	     ftruncate(fd, (off_t)vg_state_bytes(parts->nr_queues)) < 0))
		err = -errno;
	if (!err)
		err = vg_state_reserve(fd, parts->nr_queues);
	if (!err) {
		n = pwrite(fd, parts->resource, bytes,
			   (off_t)offsetof(struct vg_state, resource));
		err = n == (ssize_t)bytes ? 0 : n < 0 ? -errno : -EIO;
	}
	if (err)
		failed(d->s, "%s: its state: %s", d->label, strerror(-err));
	return err;
}

static void held_drop(struct dev *d)
{
	unsigned int i;

	if (!d->is_held)
		return;
	d->is_held = false;
	close(d->held_state_fd);
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		if (d->held.fds[i] >= 0)
			close(d->held.fds[i]);
	d->locked_out_ns = 0;
	vg_timer_cancel(d->hold);
}

/* Its worker was told; it has @fds[] open as we have. */
static void held_begin(struct dev *d, const struct vg_dev_parts *parts,
		       int fds[VG_WORKER_FDS_MAX])
{
	unsigned int i;

	d->is_held = true;
	d->held = *parts;
	d->held_state_fd = fds[VG_WORKER_FD_HOLD];
	fds[VG_WORKER_FD_HOLD] = -1;
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		fds[VG_WORKER_FD_PARTS + i] = -1;
	vg_timer_arm(d->hold, LOCK_RETRY_NS);
}

static int held_lock(struct dev *d)
{
	int err = io_lock(d, d->held_state_fd);

	if (!err)
		err = res_lock(d, &d->held);
	return err;
}

/* Its worker has both open as we have: what we lock is locked for it. */
static void on_hold(void *arg)
{
	struct dev *d = arg;
	int err;

	d->s->about = d;
	err = held_lock(d);
	if (err && err != -EAGAIN) {
		failed(d->s, "%s: its requests are held back: %s", d->label,
		       strerror(-err));
		vg_timer_arm(d->hold, next_pause(&d->pause_ns));
	}
	d->s->about = NULL;
	if (err)
		return;
	held_drop(d);
	if (d->state == DEV_READY)
		dev_content(d);
	dev_ask(d, TELL_RELEASE, 0);
}

/*
 * Did its worker die with requests under way, and without having shown the
 * driver any?  Or before it was there?  Read, not mapped: a worker could have
 * made the file shorter.  If it lies, its guest has the worse service.
 */
static bool state_is_barren(struct dev *d)
{
	struct vg_queue_log log;
	bool is_under_way = d->state == DEV_STARTING;
	char *path = state_path(d);
	int fd = d->s->cfg.state_dir ?
		 open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	uint64_t shown = 0, before = d->shown;
	unsigned int i;

	for (i = 0; fd >= 0 && i < VG_STATE_QUEUES_MAX; i++) {
		size_t head = offsetof(struct vg_queue_log, reserved);
		off_t at = (off_t)(offsetof(struct vg_state, queue) +
				   i * sizeof(log));

		if (pread(fd, &log, head, at) != (ssize_t)head)
			break;
		shown += log.published;
		is_under_way |= (uint16_t)log.taken != log.published;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	d->shown = shown;
	return is_under_way && shown == before;
}

static void how_to_start(struct dev *d, struct vg_worker_msg *msg,
			 bool has_state)
{
	if (!d->was_served)
		return;
	if (has_state && d->barren < BARREN_MAX) {
		msg->start = VG_START_TAKE_OVER;
		return;
	}
	msg->start = VG_START_RESET;
	if (has_state) {
		msg->start_broken = VG_BROKEN_DEATHS;
		failed(d->s, "%s: %u deaths of its worker in a row, and nothing done between: it needs reset",
		       d->label, d->barren);
	}
	d->barren = 0;
}

static void on_retry(void *arg)
{
	struct dev *d = arg;

	if (d->state == DEV_NEW && d->is_ours)
		dev_go_on(d);
	else
		dev_show(d);
}

/* Of devices that went while nobody looked. */
static void remove_stale_states(struct vg_supervisor *s)
{
	struct dirent *e;
	struct dev *d;
	DIR *dir;

	if (!s->cfg.state_dir)
		return;
	dir = opendir(s->cfg.state_dir);
	while (dir && (e = readdir(dir))) {
		bool is_known = *e->d_name == '.';

		for (d = s->devs; d && !is_known; d = d->next) {
			char *path = state_path(d);

			is_known = !strcmp(strrchr(path, '/') + 1, e->d_name);
			free(path);
		}
		if (!is_known)
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

/* ---- resources (dev/type.h) ------------------------------------------------------------ */

static void res_close(struct dev *d)
{
	if (d->res)
		d->type->host->close(d->res);
}

static void res_leave(struct dev *d)
{
	if (d->res && d->type->host->leave)
		d->type->host->leave(d->res);
}

static int res_open(struct dev *d, const struct vg_dev_how *how,
		    struct vg_dev_parts *parts)
{
	char *why = NULL;
	int err = d->type->host->open(d->res, how, parts, &why);

	if (err == -EAGAIN)
		vg_timer_arm(d->retry, RESOURCE_RETRY_NS);
	if (why)
		failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/* ---- devices ------------------------------------------------------------------------- */

/* -ENOENT: it can't be reached (yet); other errors are said. */
static int find_where(struct dev *d, struct vg_transport_where *where)
{
	struct vg_keys keys = vg_node_keys(&d->s->xs, d->node);
	char *why = NULL;
	int err = d->transport->find(&keys, where, &why);

	if (err && err != -ENOENT) {
		d->s->about = d;
		failed(d->s, "%s: %s", d->label, why);
		d->s->about = NULL;
	}
	free(why);
	return err;
}

static int take_index(struct guest *g, unsigned int *slot)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		if (g->index_used[i])
			continue;
		g->index_used[i] = true;
		*slot = i;
		return 0;
	}
	return -E2BIG;
}

/*
 * A guest has so many threads for queues, shared out in the order of its
 * devices; who comes late has one queue, which needs none.  What was decided
 * for a device stays: its driver may know it.
 */
static unsigned int nr_queues_free(const struct dev *d)
{
	unsigned int left = VG_WORKER_LANES_MAX;
	unsigned int want = max_u(d->s->cfg.nr_queues, 1u);
	const struct dev *o;

	for (o = d->s->devs; o; o = o->next)
		if (o->guest == d->guest && o->nr_queues > 1 &&
		    o->type->has_threads)
			left -= min_u(left, o->nr_queues);
	return want <= left ? want : left > 1 ? left : 1;
}

/* Its state and what it is made of; fds[] as the worker gets them. */
static int dev_open(struct dev *d, struct vg_worker_msg *msg, int *fds)
{
	struct vg_keys keys = vg_node_keys(&d->s->xs, d->node);
	struct vg_dev_how how = {
		.keys = &keys,
		.guest = d->name.guest,
		.devid = d->name.devid,
		.run_dir = d->s->cfg.run_dir,
		.was_served = d->was_served,
	};
	struct left left;
	unsigned int i;
	int err;

	err = state_open(d, &fds[VG_WORKER_FD_STATE], &fds[VG_WORKER_FD_HOLD],
			 &how.is_held, &left);
	if (err)
		return err;
	if (!d->nr_queues)
		d->nr_queues = left.nr_queues;
	how.nr_queues = d->nr_queues ? d->nr_queues : nr_queues_free(d);
	how.has_left = left.nr_queues;
	memcpy(how.resource, left.resource, sizeof(how.resource));
	memcpy(how.told, left.told, sizeof(how.told));
	err = res_open(d, &how, &msg->parts);
	if (err)
		return err;
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		fds[VG_WORKER_FD_PARTS + i] = msg->parts.fds[i];
	if (fds[VG_WORKER_FD_STATE] >= 0)
		err = state_fit(d, fds[VG_WORKER_FD_STATE], &left, &msg->parts);
	if (err)
		return err;
	if (!how.is_held)
		d->locked_out_ns = 0;
	d->nr_queues = msg->parts.nr_queues;
	msg->is_held = how.is_held;
	return 0;
}

static int dev_add(struct dev *d)
{
	struct vg_supervisor *s = d->s;
	struct guest *g = d->guest;
	struct vg_worker_msg msg = {
		.op = VG_WORKER_ADD,
		.where = d->where,
		.transport = transport_index(d->transport),
		.type = type_index(d->type),
		.queue_size_max = s->cfg.queue_size_max,
		.budget_pages = s->cfg.budget_pages,
		.copy_max_bytes = s->cfg.copy_max_bytes,
		.poll_max_ns = s->cfg.poll_max_ns,
		.poll_unbound_max_ns = s->cfg.poll_unbound_max_ns,
		.start = VG_START_NEW,
		.index = d->index,
	};
	int fds[VG_WORKER_FDS_MAX];
	unsigned int barren = d->barren;
	int err;

	vg_worker_no_fds(fds);
	err = dev_open(d, &msg, fds);
	if (err)
		goto close;
	snprintf(msg.text, sizeof(msg.text), "%s", d->label);
	how_to_start(d, &msg, fds[VG_WORKER_FD_STATE] >= 0);
	err = allow_file(d, msg.parts.file_max_bytes);
	if (err) {
		failed(s, "%s: its worker can't be allowed to write its files: %s",
		       d->label, strerror(-err));
		goto close;
	}
	permit_page(d);
	err = vg_worker_send(g->sock, &msg, fds);
	if (err) {
		d->barren = barren;
		failed(s, "%s: its worker can't be told: %s", d->label,
		       strerror(-err));
		/* It has ended, and the next one can. */
		if (err == -EPIPE || err == -ECONNRESET)
			err = -ENOBUFS;
		goto close;
	}
	if (msg.is_held)
		held_begin(d, &msg.parts, fds);
close:
	vg_worker_close_fds(fds);
	return err;
}

static int dev_try(struct dev *d)
{
	struct guest *g = d->guest;
	int err;

	if (g->sock < 0) {
		err = worker_start(g);
		if (err) {
			failed(d->s, "%s: no worker can be started: %s",
			       d->label, strerror(-err));
			return err;
		}
	}
	if (take_index(g, &d->index)) {
		failed(d->s, "%s: dom%u has %u devices already", d->label,
		       g->domid, VG_WORKER_DEVICES_MAX);
		return -E2BIG;
	}
	d->has_index = true;
	return dev_add(d);
}

/* Where it is reached is known: opens its resource and gives both to the worker. */
static void dev_start(struct dev *d)
{
	struct guest *g = d->guest;
	int err;

	/* Until then; both go on with it. */
	if (g->sock < 0 && (vg_timer_is_armed(g->respawn) ||
			    is_ending(d->s, g->domid)))
		return;
	vg_timer_cancel(d->retry);
	d->s->about = d;
	err = dev_try(d);
	d->s->about = NULL;
	if (!err) {
		vg_timer_cancel(d->timer);
		d->state = DEV_STARTING;
		vg_timer_arm(d->answer, d->guest->patience_ns);
	} else if (err == -EAGAIN && vg_timer_is_armed(d->retry)) {
		index_put(d);		/* a lock, see lock_awaited() */
	} else {
		dev_not_now(d, err);
	}
}

static void dev_go_on(struct dev *d)
{
	int err = find_where(d, &d->where);

	if (!err) {
		d->has_where = true;
		dev_start(d);
	} else if (err != -ENOENT || d->has_where) {
		dev_wait(d);
	} else if (!vg_timer_is_armed(d->timer)) {
		vg_timer_arm(d->timer, UNREACHED_WARN_NS);
	}
}

static void dev_closed(struct dev *d)
{
	d->remove_wanted = false;
	res_close(d);
	dev_content(d);
	vg_timer_cancel(d->retry);
	if (d->is_orphan) {
		d->state = DEV_CLOSED;
		vg_deferred_schedule(d->s->scan);
		return;
	}
	state_remove(d);
	dev_becomes(d, DEV_CLOSED);
	vg_info("%s: closed", d->label);
}

/* libxl wants it gone. */
static void dev_stop(struct dev *d)
{
	switch (d->state) {
	case DEV_NEW:
	case DEV_FAILED:
		dev_closed(d);
		break;
	case DEV_STARTING:
		d->remove_wanted = true;	/* when the worker has answered */
		break;
	case DEV_READY:
		res_leave(d);
		d->state = DEV_STOPPING;
		vg_timer_cancel(d->retry);
		dev_ask(d, TELL_REMOVE, ANSWER_NS);
		break;
	case DEV_STOPPING:
	case DEV_CLOSED:
	case DEV_IGNORED:
		break;
	}
}

/*
 * Its node is gone without the protocol, or is another device's by now, while
 * the worker has it still: from here on it has neither node nor state, and the
 * worker not much time.
 */
static void dev_orphan(struct dev *d)
{
	d->is_orphan = true;
	state_remove(d);
	/* Who wants it now waits for its lock only. */
	res_close(d);
	dev_stop(d);
	vg_timer_arm(d->answer, WORKER_END_NS);
}

/* -ESTALE: libxl made a new one of the same name. */
static int remove_node_once(struct dev *d, const char *dir)
{
	struct xen_store *xs = d->s->xs;
	char **names, *state;
	int n, err = xen_store_begin(xs);

	if (err)
		return err;
	state = vg_key_read(xs, d->node, "state");
	if (!state && errno != ENOENT)
		err = -errno;
	else if (state && strcmp(state, "6"))
		err = -ESTALE;
	free(state);
	if (!err)
		err = xen_store_rm(xs, d->node);
	if (err == -ENOENT)
		err = 0;
	if (err) {
		xen_store_abort(xs);
		return err;
	}
	n = xen_store_directory(xs, dir, &names);
	if (n >= 0)
		xen_store_free_dir(names);
	if (n == 0)
		xen_store_rm(xs, dir);
	return xen_store_commit(xs);
}

static int remove_node(struct dev *d)
{
	char *dir = vg_strf("/local/domain/%u/backend/%s/%u", d->name.backend,
			    d->name.kind->name, d->name.guest);
	unsigned int tries = TRANSACTION_TRIES;
	int err;

	do {
		err = remove_node_once(d, dir);
	} while (err == -EAGAIN && --tries);
	free(dir);
	return err == -ESTALE ? 0 : err;
}

static void not_reached(struct dev *d)
{
	char *what = d->transport->missing(UNREACHED_WARN_NS / 1000000000u);

	d->s->about = d;
	failed(d->s, "%s: %s", d->label, what);
	d->s->about = NULL;
	free(what);
	/* In case that it was there, and we were not told. */
	vg_timer_arm(d->timer, UNREACHED_WARN_NS);
}

static void on_dev_timer(void *arg)
{
	struct dev *d = arg;
	int err;

	if (d->state == DEV_NEW && d->is_ours && !d->has_where) {
		not_reached(d);
		dev_go_on(d);
	} else if (d->state == DEV_CLOSED) {
		err = remove_node(d);
		if (err) {
			failed(d->s, "%s: removing its node: %s", d->label,
			       strerror(-err));
			vg_timer_arm(d->timer, NODE_REMOVAL_NS);
		}
		vg_deferred_schedule(d->s->scan);
	}
}

static void dev_free(struct dev *d)
{
	struct dev **p;

	for (p = &d->s->devs; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	held_drop(d);
	vg_timer_destroy(d->timer);
	vg_timer_destroy(d->retry);
	vg_timer_destroy(d->hold);
	vg_timer_destroy(d->answer);
	free(d->why);
	if (d->res)
		d->type->host->destroy(d->res);
	free(d->label);
	free(d->node);
	free(d);
}

/* ---- the scan --------------------------------------------------------------------------- */

static struct dev *dev_find(struct vg_supervisor *s, const char *node)
{
	struct dev *d;

	for (d = s->devs; d; d = d->next)
		if (!d->is_orphan && !strcmp(d->node, node))
			return d;
	return NULL;
}

/* A node that we see for the first time.  NULL: not ours to serve. */
static struct dev *dev_new(struct vg_supervisor *s,
			   const struct vg_devname *name, const char *node,
			   uint64_t state)
{
	struct dev *d = vg_zalloc(sizeof(*d));

	d->s = s;
	d->name = *name;
	d->node = vg_strdup(node);
	d->label = vg_devname_label(name);
	d->guest = guest_get(s, name->guest);
	d->timer = vg_timer_create(s->loop, on_dev_timer, d);
	d->retry = vg_timer_create(s->loop, on_retry, d);
	d->hold = vg_timer_create(s->loop, on_hold, d);
	d->answer = vg_timer_create(s->loop, on_answer_due, d);
	d->since_ns = vg_now_ns();
	d->state = DEV_NEW;
	d->next = s->devs;
	s->devs = d;
	vg_timer_arm(d->timer, UNREACHED_WARN_NS);
	if (state > VG_XENBUS_INITIALISING && state < VG_XENBUS_CLOSING)
		d->was_served = d->is_promised = true;	/* by a predecessor */
	return d;
}

/* Whether the node's "dev" is one of cfg.only: 1, 0 or negative errno. */
static int is_listed(struct vg_supervisor *s, const char *node)
{
	char *vdev, *list, *word;
	int is;

	if (!s->cfg.only)
		return 1;
	vdev = vg_key_read(s->xs, node, "dev");
	if (!vdev && errno != ENOENT)
		return -errno;
	list = vg_strf(",%s,", s->cfg.only);
	word = vg_strf(",%s,", vdev ? vdev : "?");
	is = strstr(list, word) != NULL;
	free(word);
	free(list);
	free(vdev);
	return is;
}

/*
 * Whether this node is a device for us, checked when it is seen first: 1, 0,
 * or negative errno if it can't be told now.
 */
static int node_is_ours(struct vg_supervisor *s, struct dev *d)
{
	struct vg_keys node = vg_node_keys(&s->xs, d->node);
	struct vg_devkeys keys;
	char *why = NULL;
	int err, listed = 1;

	err = vg_devkeys_read(s->xs, d->node, d->name.kind, &keys, &why);
	if (!err)
		listed = is_listed(s, d->node);
	/* Else it is another instance's, or another backend's. */
	if (!err && listed == 1 && keys.grant_usage == !s->cfg.is_foreign) {
		d->transport = vg_transport_named(keys.transport);
		err = vg_dev_type_of(d->name.kind->name, &node, &d->type, &why);
	}
	if (err)
		failed(s, "%s", why);
	free(why);
	/* What is there and makes no sense will not make any later. */
	if (err)
		return err == -EINVAL || err == -ERANGE ? 0 : err;
	if (listed <= 0)
		return listed;
	if (!s->cfg.is_foreign && !keys.grant_usage && d->was_denied)
		vg_warn("%s: grant_usage=0 asks for a backend that maps the guest's memory; this one serves grant_usage=1 only and leaves it alone",
			d->label);
	return keys.grant_usage == !s->cfg.is_foreign;
}

/* False: nothing is to be done with it (now). */
static bool dev_identify(struct dev *d)
{
	int is;

	if (d->is_ours || d->state == DEV_IGNORED)
		return d->is_ours;
	d->s->about = d;
	is = node_is_ours(d->s, d);
	d->s->about = NULL;
	/* Ignored is for good: not for one look at xenstore alone. */
	if (is < 0 || (!is && !d->was_denied)) {
		d->was_denied = !is;
		d->s->look_again = true;
		return false;
	}
	d->is_ours = is;
	if (!is) {
		vg_timer_cancel(d->timer);
		d->state = DEV_IGNORED;
	} else {
		d->res = d->type->host->create(
			d->s->type_daemons[type_index(d->type)], d->label);
		dev_content(d);
	}
	return is;
}

/* The same name again, but a new device: libxl made it since we looked. */
static bool is_made_anew(const struct dev *d, uint64_t state)
{
	return state == VG_XENBUS_INITIALISING &&
	       d->node_state > VG_XENBUS_INITIALISING;
}

/* What a worker has is let go of; of the others nothing is left. */
static void dev_replaced(struct dev *d)
{
	if (d->has_index) {
		vg_warn("%s: another device has its name now", d->label);
		dev_orphan(d);
		return;
	}
	state_remove(d);
	dev_free(d);
}

/* Closed under a predecessor that did not live to remove it. */
static void leftover(struct dev *d)
{
	d->is_ours = true;
	d->is_shown = true;
	d->state = DEV_CLOSED;
	vg_timer_arm(d->timer, NODE_REMOVAL_NS);
}

static void scan_where(struct dev *d)
{
	struct vg_transport_where where;
	bool is_new;
	int err;

	if (d->state != DEV_NEW && d->state != DEV_READY)
		return;
	err = find_where(d, &where);
	if (err) {
		/* Not there yet: xenstore will tell when it is. */
		d->s->look_again |= err != -ENOENT || d->has_where;
		return;
	}
	is_new = !d->has_where || memcmp(&where, &d->where, sizeof(where));
	if (d->state == DEV_NEW) {
		d->where = where;
		d->has_where = true;
		if (is_new || !vg_timer_is_armed(d->retry))
			dev_start(d);
	} else if (is_new) {
		d->where = where;
		permit_page(d);
		dev_ask(d, TELL_MOVE, d->guest->patience_ns);
	}
}

struct scan {
	struct vg_supervisor *s;
	const struct vg_kind *kind;
};

/* Nodes that are not ours are remembered, so that it is said once. */
static void scan_device(void *arg, xen_domid_t guest, uint32_t devid,
			const char *node)
{
	const struct scan *scan = arg;
	struct vg_supervisor *s = scan->s;
	struct vg_devname name = { .kind = scan->kind,
				   .backend = s->own_domid,
				   .guest = guest, .devid = devid };
	struct dev *d = dev_find(s, node);
	char *why = NULL;
	uint64_t state;
	int err;

	err = vg_key_read_u64(s->xs, node, "state", 10, 9, &state, &why);
	if (err == -ENOENT) {
		/* We took it away; or else it goes, or is not whole yet. */
		if (d)
			d->seen = true;
		s->look_again |= !d || (d->state != DEV_FAILED &&
					d->state != DEV_IGNORED);
		goto out;
	}
	if (err) {
		failed(s, "%s", why);
		s->scan_failed = true;
		goto out;
	}
	if (d && is_made_anew(d, state)) {
		dev_replaced(d);
		d = NULL;
	}
	if (!d) {
		d = dev_new(s, &name, node, state);
		if (state == VG_XENBUS_CLOSED)
			leftover(d);
	}
	d->seen = true;
	d->node_state = state;
	if (!dev_identify(d))
		goto out;
	if (state == VG_XENBUS_CLOSING)
		dev_stop(d);
	else
		scan_where(d);
out:
	free(why);
}

static void scan_not_read(void *arg, const char *dir, int err)
{
	struct vg_supervisor *s = ((const struct scan *)arg)->s;

	failed(s, "xenstore directory %s: %s", dir, strerror(-err));
	s->scan_failed = true;
}

static void scan_kind(struct vg_supervisor *s, const struct vg_kind *kind)
{
	struct scan scan = { s, kind };
	const struct vg_walk walk = {
		.xs = s->xs, .leaf = scan_device, .failed = scan_not_read,
		.arg = &scan,
	};
	char *dir = vg_strf("/local/domain/%u/backend/%s", s->own_domid,
			    kind->name);

	vg_walk(&walk, dir);
	free(dir);
}

/* Devices whose node is gone without the protocol: libxl was forced. */
static void forget_unseen(struct vg_supervisor *s)
{
	struct dev *d, *next;

	for (d = s->devs; d; d = next) {
		next = d->next;
		if (d->seen || (d->is_orphan && d->has_index))
			continue;
		switch (d->state) {
		case DEV_STARTING:
		case DEV_READY:
			vg_warn("%s: its node was removed while it was served",
				d->label);
			dev_orphan(d);
			break;
		case DEV_STOPPING:
			dev_orphan(d);
			break;
		default:
			if (!d->is_orphan)
				state_remove(d);
			dev_free(d);
		}
	}
}

/* What could not be read is read again. */
static void scan_again_if_need_be(struct vg_supervisor *s)
{
	if (s->scan_failed || s->look_again) {
		vg_timer_arm(s->rescan, next_pause(&s->rescan_pause_ns));
		return;
	}
	s->rescan_pause_ns = 0;
	vg_timer_cancel(s->rescan);
	if (!s->is_tidied)
		remove_stale_states(s);
	s->is_tidied = true;
}

static void on_scan(void *arg)
{
	struct vg_supervisor *s = arg;
	struct guest *g, *next;
	unsigned int k;
	struct dev *d;

	s->scan_failed = s->look_again = false;
	for (d = s->devs; d; d = d->next)
		d->seen = false;
	for (k = 0; k < vg_nr_kinds; k++)
		scan_kind(s, &vg_kinds[k]);
	if (!s->scan_failed)
		forget_unseen(s);
	scan_again_if_need_be(s);
	for (d = s->devs; d; d = d->next)
		if (d->remove_wanted && d->state == DEV_READY) {
			d->remove_wanted = false;
			dev_stop(d);
		}
	for (g = s->guests; g; g = next) {
		next = g->next;
		if (!guest_has_device(g))
			guest_free(g);
	}
}

static void on_rescan(void *arg)
{
	struct vg_supervisor *s = arg;

	vg_deferred_schedule(s->scan);
}

static void on_xenstore(void *arg)
{
	struct vg_supervisor *s = arg;
	char *path, *token;

	while (!xen_store_next_watch(s->xs, &path, &token)) {
		vg_deferred_schedule(s->scan);
		free(path);
		free(token);
	}
}

/* ---- status ------------------------------------------------------------------------------- */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_str(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static struct json_object *mem_json(const struct vg_mem_stats *m)
{
	struct json_object *o = json_object_new_object();
	struct json_object *faults = json_object_new_object();
	unsigned int f;

	add_u64(o, "maps", m->maps);
	add_u64(o, "map_pages", m->map_pages);
	add_u64(o, "unmaps", m->unmaps);
	add_u64(o, "copies", m->copies);
	add_u64(o, "copied_bytes", m->copied_bytes);
	add_u64(o, "exchanges", m->exchanges);
	add_u64(o, "mapped_pages_now", m->mapped_pages_now);
	add_u64(o, "mapped_pages_max", m->mapped_pages_max);
	add_u64(o, "waits", m->waits);
	add_u64(o, "range_maps", m->range_maps);
	add_u64(o, "range_pages", m->range_pages);
	add_u64(o, "range_hits", m->range_hits);
	for (f = 1; f < VG_MEM_FAULT_MAX; f++)
		add_u64(faults, vg_mem_fault_name(f), m->faults[f]);
	json_object_object_add(o, "faults", faults);
	return o;
}

static struct json_object *stats_json(const struct vg_dev_type *t,
				      const struct vg_dev_stats *st)
{
	struct json_object *o = json_object_new_object();
	const char *const *name = t->stat_names;
	struct json_object *type = json_object_new_object();
	unsigned int i;

	add_u64(o, "status", st->status);
	/* From the worker, which is not trusted: bounded before it is used. */
	add_str(o, "broken", st->broken == VG_BROKEN_NOT ? "" :
		st->broken < VG_BROKEN_MAX ? vg_broken_name(st->broken) :
		"invalid");
	add_u64(o, "driver_features", st->driver_features);
	add_u64(o, "accesses", st->accesses);
	add_u64(o, "notifies", st->notifies);
	add_u64(o, "spurious_notifies", st->spurious_notifies);
	add_u64(o, "irqs_used", st->irqs_used);
	add_u64(o, "irqs_config", st->irqs_config);
	add_u64(o, "irqs_suppressed", st->irqs_suppressed);
	add_u64(o, "events_sent", st->events_sent);
	add_u64(o, "events_received", st->events_received);
	add_u64(o, "polls_hit", st->polls_hit);
	add_u64(o, "polls_missed", st->polls_missed);
	add_u64(o, "polls_stolen", st->polls_stolen);
	add_u64(o, "requests", st->requests);
	add_u64(o, "in_flight", st->in_flight);
	add_u64(o, "batches", st->batches);
	add_u64(o, "bytes_out", st->bytes_out);
	add_u64(o, "bytes_in", st->bytes_in);
	add_u64(o, "resets", st->resets);
	add_u64(o, "takeovers", st->takeovers);
	add_u64(o, "redone", st->redone);
	json_object_object_add(o, "mem", mem_json(&st->mem));
	for (i = 0; i < VG_DEV_STATS_NR_TYPE && name && name[i]; i++)
		add_u64(type, name[i], st->type[i]);
	json_object_object_add(o, t->name, type);
	return o;
}

/* What each queue did, if there are several. */
static struct json_object *queues_json(const struct dev *d)
{
	struct json_object *all = json_object_new_object(), *o;
	unsigned int i;

	for (i = 0; i < d->nr_queues && d->nr_queues > 1; i++) {
		struct vg_dev_stats q = d->guest->shared->queue[d->index][i];
		char name[12];

		o = json_object_new_object();
		add_u64(o, "requests", q.requests);
		add_u64(o, "in_flight", q.in_flight);
		add_u64(o, "batches", q.batches);
		add_u64(o, "notifies", q.notifies);
		add_u64(o, "events_sent", q.events_sent);
		add_u64(o, "events_received", q.events_received);
		add_u64(o, "range_hits", q.mem.range_hits);
		add_u64(o, "maps", q.mem.maps);
		add_u64(o, "bytes_out", q.bytes_out);
		add_u64(o, "bytes_in", q.bytes_in);
		snprintf(name, sizeof(name), "%u", i);
		json_object_object_add(all, name, o);
	}
	return all;
}

/* What its type says of it. */
static void describe(const struct dev *d, const struct vg_dev_stats *st,
		     struct json_object *o)
{
	struct json_object *notes = json_object_new_array();
	char *summary = d->res ? d->type->host->summary(d->res) :
				 vg_strdup("");

	add_str(o, "type", d->type ? d->type->name : "");
	add_str(o, "summary", summary);
	free(summary);
	if (d->res)
		d->type->host->describe(d->res, st ? st->type : NULL, o, notes);
	json_object_object_add(o, "notes", notes);
}

static struct json_object *dev_json(const struct dev *d)
{
	bool has_stats = d->has_index && d->guest->shared;
	struct json_object *o = json_object_new_object();
	struct vg_dev_stats st;

	if (has_stats)
		vg_worker_stats(d->guest->shared, d->index, &st);
	add_str(o, "device", d->label);
	add_u64(o, "guest", d->name.guest);
	add_str(o, "state", d->state == DEV_NEW && d->has_where ? "waiting" :
		dev_state_names[d->state]);
	add_str(o, "waits_for", d->why ? d->why : "");
	describe(d, has_stats ? &st : NULL, o);
	/* Its last worker's I/O is under way: no request is served. */
	json_object_object_add(o, "held", json_object_new_boolean(d->is_held));
	add_u64(o, "worker_pid", d->guest->pid > 0 ? (uint64_t)d->guest->pid : 0);
	add_u64(o, "worker_deaths", d->guest->deaths);
	if (has_stats) {
		json_object_object_add(o, "stats", stats_json(d->type, &st));
		json_object_object_add(o, "queues", queues_json(d));
	}
	return o;
}

char *vg_supervisor_answer(void *supervisor, const char *request)
{
	struct vg_supervisor *s = supervisor;
	struct json_object *root, *devs, *fails;
	unsigned int i;
	struct dev *d;
	char *text;

	if (strcmp(request, "status"))
		return NULL;
	root = json_object_new_object();
	add_str(root, "program", s->cfg.is_foreign ? "virtio-foreignd" :
		"virtio-grantd");
	add_u64(root, "domain", s->own_domid);
	json_object_object_add(root, "sandbox",
			       json_object_new_boolean(s->cfg.is_confined));
	devs = json_object_new_array();
	for (d = s->devs; d; d = d->next)
		json_object_array_add(devs, dev_json(d));
	json_object_object_add(root, "devices", devs);
	fails = json_object_new_array();
	for (i = s->nr_failures > NR_FAILURES ? s->nr_failures - NR_FAILURES : 0;
	     i < s->nr_failures; i++)
		json_object_array_add(fails, json_object_new_string(
					      s->failure[i % NR_FAILURES]));
	json_object_object_add(root, "failures", fails);
	text = vg_strf("%s\n", json_object_to_json_string_ext(root,
						JSON_C_TO_STRING_PLAIN));
	json_object_put(root);
	return text;
}

/* ---- life ----------------------------------------------------------------------------------- */

int vg_supervisor_create(const struct vg_supervisor_config *cfg,
			 struct vg_loop *loop, struct vg_supervisor **out)
{
	struct vg_supervisor *s = vg_zalloc(sizeof(*s));
	unsigned int k;
	int err;

	s->cfg = *cfg;
	s->loop = loop;
	s->scan = vg_deferred_create(loop, on_scan, s);
	s->rescan = vg_timer_create(loop, on_rescan, s);
	s->type_daemons = vg_calloc(vg_nr_dev_types, sizeof(void *));
	for (k = 0; k < vg_nr_dev_types; k++)
		if (vg_dev_types[k]->host->daemon_create)
			s->type_daemons[k] =
				vg_dev_types[k]->host->daemon_create();
	s->reap = vg_timer_create(loop, on_reap, s);
	if (cfg->state_dir && mkdir(cfg->state_dir, 0700) < 0 &&
	    errno != EEXIST) {
		err = -errno;
		vg_err("%s: %s", cfg->state_dir, strerror(-err));
		goto fail;
	}
	err = xen_store_open(&s->xs);
	if (err) {
		vg_err("xenstore can't be reached: %s", strerror(-err));
		goto fail;
	}
	err = xen_store_own_domid(s->xs, &s->own_domid);
	if (err) {
		vg_err("xenstore does not tell this domain's id: %s",
		       strerror(-err));
		goto fail;
	}
	vg_refusals_init(&s->refusals, s->xs, s->own_domid);
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = vg_strf("/local/domain/%u/backend/%s", s->own_domid,
				    vg_kinds[k].name);

		err = xen_store_watch(s->xs, dir, vg_kinds[k].name);
		if (err)
			vg_err("watching %s in xenstore: %s", dir,
			       strerror(-err));
		free(dir);
		if (err)
			goto fail;
	}
	err = vg_loop_add_fd(loop, xen_store_fd(s->xs), on_xenstore, s,
			     &s->xs_fd);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		goto fail;
	}
	vg_deferred_schedule(s->scan);
	*out = s;
	return 0;
fail:
	vg_supervisor_destroy(s);
	return err;
}

void vg_supervisor_destroy(struct vg_supervisor *s)
{
	unsigned int i;

	while (s->devs)
		dev_free(s->devs);
	while (s->guests)
		guest_free(s->guests);
	children_end(s);
	if (s->xs_fd)
		vg_loop_del_fd(s->loop, s->xs_fd);
	vg_deferred_destroy(s->scan);
	vg_refusals_exit(&s->refusals);
	vg_timer_destroy(s->rescan);
	vg_timer_destroy(s->reap);
	xen_store_close(s->xs);
	for (i = 0; i < vg_nr_dev_types; i++)
		if (vg_dev_types[i]->host->daemon_destroy)
			vg_dev_types[i]->host->daemon_destroy(
				s->type_daemons[i]);
	free(s->type_daemons);
	for (i = 0; i < NR_FAILURES; i++)
		free(s->failure[i]);
	free(s);
}
