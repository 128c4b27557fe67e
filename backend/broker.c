// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * broker.c - finds the guests' virtio devices in xenstore and gives each a
 * relay page and an event channel; runs a process for each guest that does the
 * rest (broker_child.h).
 *
 * This process issues no device-model operation and looks at nothing that a
 * guest wrote; of the driver domain it reads one word, the backend's state, for
 * the status.  It owns pages and ports, so that a guest's process that ends is
 * replaced by another with the same.
 *
 * Which backend serves which guest is read from /libxl, where only the
 * toolstack writes: a driver domain that makes up nodes below its own backend
 * directory reaches no guest that the toolstack did not give it.  Into the
 * backend's node we write only (relay.h); nothing there is believed.
 *
 * A scan compares /libxl with what we have.  It is made after every change
 * below /libxl that concerns a virtio device, once per turn of the loop.
 */
#include "broker.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker_child.h"
#include "libxl_keys.h"
#include "log.h"
#include "printable.h"
#include "relay.h"
#include "util.h"
#include "walk.h"

#define NOT_TAKEN_WARN_NS	UINT64_C(5000000000)
#define NR_FAILURES		16

/*
 * Between a process' end and its successor, from the second one on.  A guest
 * waits meanwhile, so it is short for those that lived; one that ends as soon as
 * it has begun serves nobody.
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
/* What failed and may pass is tried again, after pauses that grow. */
#define RETRY_MIN_NS		UINT64_C(10000000)
#define RETRY_MAX_NS		UINT64_C(5000000000)
/* Of a transaction, before a pause: others write to the same nodes. */
#define COMMIT_TRIES		5u
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

enum vg_bparent_state {
	VG_BPARENT_NEW,			/* found by a scan */
	VG_BPARENT_STARTING,		/* its relay is there, the child told */
	VG_BPARENT_RUNNING,		/* announced to the backend */
	VG_BPARENT_FAILED,		/* kept until libxl removes it */
	VG_BPARENT_IGNORED,		/* likewise: another backend's */
};

/* What the parent has of a device. */
struct vg_bparent_dev {
	struct vg_bparent_dev *next;
	struct vg_broker *b;
	enum vg_bparent_state state;
	struct vg_bparent_guest *guest;	/* STARTING and RUNNING */
	struct vg_devname name;
	struct vg_devkeys keys;
	char *label;
	unsigned int dev_index;		/* among the guest's */
	uint32_t serial;
	struct xen_shared_page *page;	/* the relay */
	xen_ref_t ref;
	struct xen_evtchn *ec;		/* with its port alone */
	xen_port_t port;
	struct vg_timer *not_taken;	/* has the backend attached by then? */
	bool is_added;			/* its process has it */
	struct vg_timer *retry;		/* of what failed and may pass */
	uint64_t retry_ns;
	bool seen;			/* by the scan under way */
};

/* A guest and its process. */
struct vg_bparent_guest {
	struct vg_bparent_guest *next;
	struct vg_broker *b;
	xen_domid_t domid;
	int server_id;			/* of its IOREQ server; -1: none yet */
	pid_t pid;
	bool is_dying;			/* killed; @reap looks for its end */
	struct vg_timer *reap;
	uint64_t reap_ns;
	bool was_known;			/* to a predecessor: it runs */
	unsigned int adds_owed;		/* answers to ADD */
	unsigned int nonsense;		/* answers that nobody had asked for */
	int sock;			/* -1: no process now */
	struct vg_fd *sock_fd;
	int shared_fd;
	const struct vg_bchild_shared *shared;
	bool is_up, is_started, is_ending;
	/* The watchdog. */
	struct vg_timer *watch;
	uint32_t pings, pongs;		/* numbers, of this process */
	unsigned int misses;
	bool is_hung;			/* said and killed */
	struct vg_bparent_dev *dev[VG_BROKER_DEVICES_MAX];
	struct vg_timer *respawn;
	uint64_t spawned_ns, respawn_delay_ns;
	unsigned int deaths;
};

struct vg_broker {
	struct vg_broker_config cfg;
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *xs_fd;
	xen_domid_t own_domid;
	struct vg_deferred *scan;
	struct vg_bparent_guest *guests;
	struct vg_bparent_dev *devs;	/* failed ones too, until libxl
					 * removes them */
	uint32_t serial;		/* of the last device */
	bool scan_failed;		/* not all that is there was seen */
	struct vg_timer *rescan;	/* then */
	uint64_t rescan_ns;
	/* The last things that went wrong, for virtio-grantctl. */
	char *failure[NR_FAILURES];
	unsigned int nr_failures;
};

static void try_again(struct vg_timer *t, uint64_t *pause_ns)
{
	if (vg_timer_is_armed(t))
		return;
	*pause_ns = min_u(max_u(*pause_ns * 2, RETRY_MIN_NS), RETRY_MAX_NS);
	vg_timer_arm(t, *pause_ns);
}

/* Logs it and keeps it; what every scan finds again is said once. */
static void __attribute__((format(printf, 2, 3)))
failed(struct vg_broker *b, const char *fmt, ...)
{
	char **oldest, text[512];
	unsigned int i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vg_printable(text, "");
	for (i = 0; i < NR_FAILURES; i++)
		if (b->failure[i] && !strcmp(b->failure[i], text))
			return;
	oldest = &b->failure[b->nr_failures++ % NR_FAILURES];
	vg_err("%s", text);
	free(*oldest);
	*oldest = vg_strdup(text);
}
/* Its text; the device is another backend's. */
static char *why_ignored(const struct vg_bparent_dev *d)
{
	return vg_strf("%s: left to another backend, since its configuration does not have grant_usage=1",
		       d->label);
}

/* ---- ids of IOREQ servers, for a successor ---------------------------------- */

/*
 * One file per guest, with the server's id and the guest's VM path, which
 * holds its UUID: a domain id can come back, a UUID does not.
 */
static char *server_file(struct vg_broker *b, xen_domid_t domid)
{
	return vg_strf("%s/ioreq-%u", b->cfg.run_dir, domid);
}

static char *vm_of(struct vg_broker *b, xen_domid_t domid)
{
	char *dir = vg_strf("/local/domain/%u", domid);
	char *vm = vg_key_read(b->xs, dir, "vm");

	free(dir);
	return vm;
}

/* Whole or not at all: the old one is as good until then. */
static int write_server(const char *path, uint16_t id, const char *vm)
{
	char *fresh = vg_strf("%s.new", path);
	FILE *f = fopen(fresh, "we");
	int err = f ? 0 : -errno;

	if (f && fprintf(f, "%u %s\n", id, vm ? vm : "-") < 0)
		err = -errno;
	if (f && fclose(f) && !err)
		err = -errno;
	if (!err && rename(fresh, path) < 0)
		err = -errno;
	if (err)
		unlink(fresh);
	free(fresh);
	return err;
}

static void remember_server(struct vg_broker *b, xen_domid_t domid,
			    uint16_t id)
{
	char *path, *vm;
	int err;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	vm = vm_of(b, domid);
	err = write_server(path, id, vm);
	if (err)
		vg_warn("%s: %s; a restarted broker will not find dom%u's IOREQ server",
			path, strerror(-err), domid);
	free(vm);
	free(path);
}

static void forget_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path;

	if (!b->cfg.run_dir)
		return;
	path = server_file(b, domid);
	unlink(path);
	free(path);
}

/* Whether a predecessor left one, or seems to have. */
static bool has_server(struct vg_broker *b, xen_domid_t domid)
{
	char *path;
	bool has;

	if (!b->cfg.run_dir)
		return false;
	path = server_file(b, domid);
	has = !access(path, F_OK);
	free(path);
	return has;
}

/* *id: -1: no predecessor left one.  Else it can't be found out now. */
static int recall_server(struct vg_broker *b, xen_domid_t domid, int *id)
{
	char *path, *vm, was[256];
	unsigned int n;
	int err = 0;
	FILE *f;

	*id = -1;
	if (!b->cfg.run_dir)
		return 0;
	path = server_file(b, domid);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	vm = vm_of(b, domid);
	if (!vm && errno != ENOENT)
		err = -errno;
	if (fscanf(f, "%u %255s", &n, was) == 2 && n <= UINT16_MAX && vm &&
	    !strcmp(was, vm))
		*id = (int)n;
	fclose(f);
	free(vm);
	return err;
}

/* ---- devices ------------------------------------------------------------------ */

/* Its relay goes; the guest's process has been told, or is none. */
static void dev_release(struct vg_bparent_dev *d)
{
	if (d->guest)
		d->guest->dev[d->dev_index] = NULL;
	d->guest = NULL;
	xen_evtchn_close(d->ec);
	d->ec = NULL;
	xen_shared_page_close(d->page);
	d->page = NULL;
	d->is_added = false;
	vg_timer_cancel(d->not_taken);
	vg_timer_cancel(d->retry);
}

static void dev_free(struct vg_bparent_dev *d)
{
	dev_release(d);
	vg_timer_destroy(d->not_taken);
	vg_timer_destroy(d->retry);
	free(d->label);
	free(d);
}

/* VG_RELAY_BACKEND_*, or whatever the backend wrote. */
static uint32_t backend_state(const struct vg_bparent_dev *d)
{
	const struct vg_relay_page *relay = xen_shared_page_addr(d->page);

	return READ_ONCE(relay->backend_state);
}

static void on_not_taken(void *arg)
{
	struct vg_bparent_dev *d = arg;

	if (d->state == VG_BPARENT_RUNNING &&
	    backend_state(d) == VG_RELAY_BACKEND_ABSENT)
		vg_warn("%s: no backend in dom%u has taken it up in %u s: is virtio-grantd running there?",
			d->label, d->name.backend,
			(unsigned int)(NOT_TAKEN_WARN_NS / 1000000000u));
}

/* One transaction.  The node must exist: else we would create one. */
static int announce_once(struct vg_broker *b, const struct vg_bparent_dev *d,
			 const char *path)
{
	char ref[16], port[16], domid[16], *fe;
	int err;

	snprintf(ref, sizeof(ref), "%u", d->ref);
	snprintf(port, sizeof(port), "%u", d->port);
	snprintf(domid, sizeof(domid), "%u", b->own_domid);
	err = xen_store_begin(b->xs);
	if (err)
		return err;
	fe = vg_key_read(b->xs, path, "frontend-id");
	err = fe ? 0 : -errno;
	free(fe);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-domid", domid);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-port", port);
	if (!err)
		err = vg_key_write(b->xs, path, "relay-ref", ref);
	if (!err)
		return xen_store_commit(b->xs);
	xen_store_abort(b->xs);
	return err;
}

/*
 * Tells the backend where its relay is.  -EAGAIN: somebody, the backend's domain
 * for one, writes to its node all the time.
 */
static int announce(struct vg_broker *b, struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	unsigned int i;
	int err = -EAGAIN;

	for (i = 0; i < COMMIT_TRIES && err == -EAGAIN; i++)
		err = announce_once(b, d, path);
	free(path);
	return err;
}

/*
 * Can't be served; the caller has said why.  libxl waits for the backend's
 * state to become InitWait; a state that is removed makes it give up at once
 * instead of after its 10 s.
 */
static void dev_fail(struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name);
	char *state = vg_strf("%s/state", path);

	xen_store_rm(d->b->xs, state);
	free(state);
	free(path);
	dev_release(d);
	d->state = VG_BPARENT_FAILED;
}

/* Of memory, descriptors, processes, or what others use at the moment. */
static bool may_pass(int err)
{
	switch (err) {
	case -EAGAIN:
	case -EINTR:
	case -EBUSY:
	case -ENOMEM:
	case -ENOBUFS:
	case -ENOSPC:
	case -EMFILE:
	case -ENFILE:
	case -EIO:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

/*
 * It could not be served; the caller has said why.  One of a guest that was
 * served before is never given up: its driver waits for it.  Of a new guest libxl
 * shall hear at once, unless it may pass.
 */
static void dev_later(struct vg_bparent_dev *d, bool is_guest_known, int err)
{
	if (!is_guest_known && !may_pass(err)) {
		dev_fail(d);
		return;
	}
	dev_release(d);
	d->state = VG_BPARENT_NEW;
	try_again(d->retry, &d->retry_ns);
}

static int relay_create(struct vg_bparent_dev *d)
{
	int err;

	err = xen_shared_page_create(d->name.backend, &d->page, &d->ref);
	if (!err)
		err = xen_evtchn_open(&d->ec);
	if (!err)
		err = xen_evtchn_alloc_unbound(d->ec, d->name.backend,
					       &d->port);
	/* The guest's process gets this handle: no other ports with it. */
	if (!err)
		err = xen_evtchn_restrict(d->ec, d->name.guest);
	return err;
}

static void child_kill(struct vg_bparent_guest *g, const char *why)
{
	if (!g->is_hung)
		failed(g->b, "dom%u: its process %s, killed", g->domid, why);
	g->is_hung = true;
	/* What follows, follows from the end of its socket. */
	g->b->cfg.kill(g->b->cfg.spawn_arg, g->domid, g->pid);
}

/*
 * What one message less would be, a child that lost it could not know: whoever
 * does not take them is replaced by one that is told all.  If it is gone, the end
 * of its socket is read next.
 */
static void send_to(struct vg_bparent_guest *g, const struct vg_bchild_msg *msg,
		    const int *fd)
{
	int err;

	if (g->sock < 0 || g->is_hung)
		return;
	err = vg_bchild_send(g->sock, msg, fd);
	if (err && err != -EPIPE && err != -ECONNRESET)
		child_kill(g, "does not take messages");
}

static void tell_add(struct vg_bparent_dev *d)
{
	struct vg_bchild_msg msg = {
		.op = VG_BCHILD_ADD,
		.dev_index = d->dev_index, .serial = d->serial,
		.base = d->keys.base, .irq = d->keys.irq, .port = d->port,
		.backend = d->name.backend,
		/* Else it goes on as a process that ended has left it. */
		.is_new = d->state == VG_BPARENT_STARTING,
	};
	int fd[2] = { xen_shared_page_fd(d->page), xen_evtchn_fd(d->ec) };

	snprintf(msg.label, sizeof(msg.label), "%s", d->label);
	d->guest->adds_owed++;
	d->is_added = false;
	send_to(d->guest, &msg, fd);
}

static void tell(struct vg_bparent_guest *g, enum vg_bchild_op op,
		 unsigned int dev_index)
{
	struct vg_bchild_msg msg = { .op = op, .dev_index = dev_index };

	send_to(g, &msg, NULL);
}

static void dev_stop(struct vg_bparent_dev *d)
{
	if (!d->guest)
		return;
	tell(d->guest, VG_BCHILD_REMOVE, d->dev_index);
	dev_release(d);
	vg_info("%s: removed", d->label);
}

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

/* Its process has the window and serves it. */
static void dev_added(struct vg_bparent_dev *d, int err)
{
	struct vg_broker *b = d->b;

	if (err) {
		failed(b, "%s: window 0x%llx: %s", d->label,
		       (unsigned long long)d->keys.base,
		       err == -EEXIST ? "another backend has it already" :
		       strerror(-err));
		dev_later(d, d->guest->was_known ||
			  d->state == VG_BPARENT_RUNNING, err);
		return;
	}
	if (d->state != VG_BPARENT_STARTING)
		return;		/* with a new process: the relay is as it was */
	d->is_added = true;
	err = announce(b, d);
	if (err) {
		failed(b, "%s: writing the relay's keys to dom%u's node: %s",
		       d->label, d->name.backend, strerror(-err));
		if (err != -ENOENT && (may_pass(err) || d->guest->was_known)) {
			try_again(d->retry, &d->retry_ns);
			return;
		}
		tell(d->guest, VG_BCHILD_REMOVE, d->dev_index);
		dev_fail(d);
		return;
	}
	d->retry_ns = 0;
	d->state = VG_BPARENT_RUNNING;
	vg_info("%s: window 0x%llx, SPI %u, backend in dom%u", d->label,
		(unsigned long long)d->keys.base, d->keys.irq,
		d->name.backend);
	vg_timer_arm(d->not_taken, NOT_TAKEN_WARN_NS);
}

static void on_retry(void *arg)
{
	struct vg_bparent_dev *d = arg;

	if (d->state == VG_BPARENT_STARTING && d->is_added)
		dev_added(d, 0);
	else
		vg_deferred_schedule(d->b->scan);
}

/* ---- processes ------------------------------------------------------------------ */

static void guest_free(struct vg_bparent_guest *g)
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

static bool guest_has_device(const struct vg_bparent_guest *g)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++)
		if (g->dev[i])
			return true;
	return false;
}

/* One that waits to be tried again: its window must not go meanwhile. */
static bool guest_has_later(const struct vg_bparent_guest *g)
{
	const struct vg_bparent_dev *d;

	for (d = g->b->devs; d; d = d->next)
		if (d->state == VG_BPARENT_NEW && d->name.guest == g->domid)
			return true;
	return false;
}

static void fail_all(struct vg_bparent_guest *g, int err)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++) {
		struct vg_bparent_dev *d = g->dev[i];

		if (!d)
			continue;
		failed(g->b, "%s: no IOREQ server: %s", d->label,
		       why_no_server(err));
		dev_fail(d);
	}
}

/* It has ended with @status, as waitpid() has it. */
static void child_ended(struct vg_bparent_guest *g, int status)
{
	struct vg_broker *b = g->b;
	uint64_t lived = vg_now_ns() - g->spawned_ns, most;

	if (g->is_ending ? !status || g->deaths >= END_TRIES :
	    !guest_has_device(g)) {
		forget_server(b, g->domid);
		if (g->is_ending)
			vg_info("dom%u: no device left, IOREQ server destroyed",
				g->domid);
		guest_free(g);
		/* Devices may wait for it to be gone. */
		vg_deferred_schedule(b->scan);
		return;
	}
	if (lived > RESPAWN_QUIET_NS)
		g->respawn_delay_ns = 0;
	g->deaths++;
	failed(b, "dom%u: its process ended unexpectedly (%s %d, time %u), starting another",
	       g->domid, WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	       g->deaths);
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
			failed(g->b, "dom%u: its process was killed and does not end: waiting",
			       g->domid);
		g->reap_ns = min_u(g->reap_ns * 2, REAP_MAX_NS);
		vg_timer_arm(g->reap, g->reap_ns);
		return;
	}
	g->pid = 0;
	g->is_dying = false;
	child_ended(g, status);
}

/* Its socket is closed: it is about to end, or broken, and must not stay. */
static void child_gone(struct vg_bparent_guest *g)
{
	int status = 0;

	vg_loop_del_fd(g->b->loop, g->sock_fd);
	close(g->sock);
	g->sock = -1;
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

static void on_up(struct vg_bparent_guest *g, const struct vg_bchild_msg *msg)
{
	if (msg->error) {
		if (msg->error == -ESRCH ||
		    (g->server_id < 0 && !may_pass(msg->error)))
			fail_all(g, msg->error);
		return;
	}
	if (msg->server_id > UINT16_MAX)
		return;
	g->is_up = true;
	if (g->server_id != (int)msg->server_id) {
		g->server_id = (int)msg->server_id;
		remember_server(g->b, g->domid, (uint16_t)msg->server_id);
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
	if (fd[0] >= 0) {
		close(fd[0]);
		close(fd[1]);
	}
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
			dev_added(d, msg.error);
	}
}

/* ---- those that hang ------------------------------------------------------------ */

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
		send_to(g, &ping, NULL);
	}
	if (is_late(g))
		child_kill(g, "does not answer (stopped, or hung)");
	watch_later(g);
}

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

static void guest_start(struct vg_bparent_guest *g)
{
	if (g->is_started || g->sock < 0)
		return;
	tell(g, VG_BCHILD_START, 0);
	g->is_started = true;
}

static void guest_end(struct vg_bparent_guest *g)
{
	g->is_ending = true;
	tell(g, VG_BCHILD_END, 0);
}

static void on_respawn(void *arg)
{
	struct vg_bparent_guest *g = arg;
	unsigned int i;
	int err;

	err = child_spawn(g);
	if (err) {
		failed(g->b, "dom%u: no process can be started: %s", g->domid,
		       strerror(-err));
		g->respawn_delay_ns = min_u(max_u(g->respawn_delay_ns * 2,
						  RESPAWN_MIN_NS),
					    RESPAWN_SHORT_MAX_NS);
		vg_timer_arm(g->respawn, g->respawn_delay_ns);
		return;
	}
	for (i = 0; i < VG_BROKER_DEVICES_MAX; i++)
		if (g->dev[i])
			tell_add(g->dev[i]);
	if (g->is_ending)
		guest_end(g);
	else
		guest_start(g);
}

static int guest_create(struct vg_broker *b, xen_domid_t domid,
			struct vg_bparent_guest **out)
{
	struct vg_bparent_guest *g;
	int id, err;

	err = recall_server(b, domid, &id);
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
	guest_free(g);
	return err;
}

static struct vg_bparent_guest *guest_find(struct vg_broker *b,
					   xen_domid_t domid)
{
	struct vg_bparent_guest *g;

	for (g = b->guests; g; g = g->next)
		if (g->domid == domid)
			return g;
	return NULL;
}

static int take_index(struct vg_bparent_guest *g, struct vg_bparent_dev *d)
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

static void dev_start(struct vg_broker *b, struct vg_bparent_dev *d)
{
	struct vg_bparent_guest *g = guest_find(b, d->name.guest);
	int err;

	if (g && g->is_ending)
		return;			/* scanned again when it has ended */
	if (!g) {
		err = guest_create(b, d->name.guest, &g);
		if (err) {
			failed(b, "%s: no process can be started: %s",
			       d->label, strerror(-err));
			dev_later(d, has_server(b, d->name.guest), err);
			return;
		}
	}
	err = take_index(g, d);
	if (err) {
		failed(b, "%s: dom%u has %u devices already", d->label,
		       g->domid, VG_BROKER_DEVICES_MAX);
		dev_fail(d);
		return;
	}
	d->state = VG_BPARENT_STARTING;
	d->serial = ++b->serial;
	err = relay_create(d);
	if (err) {
		failed(b, "%s: no relay: %s", d->label, strerror(-err));
		dev_later(d, g->was_known, err);
		return;
	}
	/* Without a process now, it is told when there is one again. */
	if (g->sock >= 0)
		tell_add(d);
}

/* ---- the scan ------------------------------------------------------------------ */

static struct vg_bparent_dev *dev_find(struct vg_broker *b,
				       const struct vg_devname *n,
				       const struct vg_devkeys *k)
{
	struct vg_bparent_dev *d;

	for (d = b->devs; d; d = d->next)
		if (!d->seen && d->name.kind == n->kind &&
		    d->name.guest == n->guest && d->name.devid == n->devid &&
		    d->name.backend == n->backend &&
		    d->keys.base == k->base && d->keys.irq == k->irq &&
		    d->keys.grant_usage == k->grant_usage)
			return d;
	return NULL;
}

/*
 * Removed and added again between two scans: the backend's node is there, and
 * our keys are not in it.
 */
static bool is_another(struct vg_broker *b, const struct vg_bparent_dev *d)
{
	char *path = vg_devname_backend_path(&d->name), *fe, *ref;
	bool is = false;
	uint64_t v;

	if (d->state != VG_BPARENT_RUNNING) {
		free(path);
		return false;
	}
	fe = vg_key_read(b->xs, path, "frontend-id");
	if (fe) {
		ref = vg_key_read(b->xs, path, "relay-ref");
		is = ref ? vg_parse_u64(ref, 10, UINT32_MAX, &v) ||
			   v != d->ref : errno == ENOENT;
		free(ref);
	}
	free(fe);
	free(path);
	return is;
}

/* The walk's. */
struct scan {
	struct vg_broker *b;
	const struct vg_kind *kind;
};

/*
 * What libxl says about a device: 0; -ENOENT: it is gone, or said to be none of
 * ours.  Otherwise it was not seen, perhaps.
 */
static int read_device(const struct scan *s, xen_domid_t guest,
		       const char *node, struct vg_devname *name,
		       struct vg_devkeys *keys)
{
	char *backend = vg_key_read(s->b->xs, node, "backend"), *why = NULL;
	int err = backend ? 0 : -errno;

	if (err == -ENOENT)		/* removed since we looked */
		return err;
	if (err) {
		failed(s->b, "xenstore key %s/backend: %s", node,
		       strerror(-err));
		return err;
	}
	if (vg_devname_parse(backend, name) || name->guest != guest ||
	    name->kind != s->kind) {
		failed(s->b, "xenstore key %s/backend: \"%s\" is not the path of a backend for dom%u",
		       node, backend, guest);
		err = -ENOENT;
	}
	free(backend);
	if (err)
		return err;
	err = vg_devkeys_read(s->b->xs, node, s->kind, keys, &why);
	if (err)
		failed(s->b, "%s", why);
	free(why);
	return err == -EINVAL || err == -ERANGE ? -ENOENT : err;
}

static void dev_new(struct vg_broker *b, const struct vg_devname *name,
		    const struct vg_devkeys *keys)
{
	struct vg_bparent_dev *d = vg_zalloc(sizeof(*d)), **p;
	char *why;

	d->b = b;
	d->name = *name;
	d->keys = *keys;
	d->label = vg_devname_label(name);
	d->not_taken = vg_timer_create(b->loop, on_not_taken, d);
	d->retry = vg_timer_create(b->loop, on_retry, d);
	d->seen = true;
	for (p = &b->devs; *p; p = &(*p)->next)
		;
	*p = d;
	/* Without grants it is another backend's: not ours to touch. */
	if (!keys->grant_usage && !b->cfg.serves_foreign) {
		d->state = VG_BPARENT_IGNORED;
		why = why_ignored(d);
		vg_info("%s", why);
		free(why);
	}
}

static void scan_device(void *arg, xen_domid_t guest, uint32_t devid,
			const char *node)
{
	const struct scan *s = arg;
	struct vg_devkeys keys;
	struct vg_devname name;
	struct vg_bparent_dev *d;
	int err;

	(void)devid;		/* the backend's path has it, too */
	err = read_device(s, guest, node, &name, &keys);
	if (err) {
		s->b->scan_failed |= err != -ENOENT;
		return;
	}
	d = dev_find(s->b, &name, &keys);
	if (d && !is_another(s->b, d))
		d->seen = true;
	else
		dev_new(s->b, &name, &keys);
}

static void scan_failed(void *arg, const char *dir, int err)
{
	const struct scan *s = arg;

	failed(s->b, "xenstore directory %s: %s", dir, strerror(-err));
	s->b->scan_failed = true;
}

static void scan_kind(struct vg_broker *b, const struct vg_kind *kind)
{
	char *between = vg_strf("device/%s", kind->name);
	struct scan s = { .b = b, .kind = kind };
	const struct vg_walk walk = {
		.xs = b->xs, .between = between, .leaf = scan_device,
		.failed = scan_failed, .arg = &s,
	};

	vg_walk(&walk, "/libxl");
	free(between);
}

static void remove_unseen(struct vg_broker *b)
{
	struct vg_bparent_dev **p = &b->devs, *d;

	while ((d = *p)) {
		if (d->seen) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		dev_stop(d);
		dev_free(d);
	}
}

static void on_scan(void *arg)
{
	struct vg_broker *b = arg;
	struct vg_bparent_guest *g;
	struct vg_bparent_dev *d;
	unsigned int k;

	b->scan_failed = false;
	for (d = b->devs; d; d = d->next)
		d->seen = false;
	for (k = 0; k < vg_nr_kinds; k++)
		scan_kind(b, &vg_kinds[k]);

	/* First what is gone: a successor may want the same window. */
	if (!b->scan_failed)
		remove_unseen(b);
	for (d = b->devs; d; d = d->next)
		if (d->state == VG_BPARENT_NEW && !vg_timer_is_armed(d->retry))
			dev_start(b, d);
	if (b->scan_failed)
		try_again(b->rescan, &b->rescan_ns);
	else
		b->rescan_ns = 0;
	for (g = b->guests; g; g = g->next) {
		if (guest_has_device(g))
			guest_start(g);
		else if (!g->is_ending && !guest_has_later(g))
			guest_end(g);
	}
}

static void on_rescan(void *arg)
{
	struct vg_broker *b = arg;

	vg_deferred_schedule(b->scan);
}

static void on_xenstore(void *arg)
{
	struct vg_broker *b = arg;
	char *path, *token;

	while (!xen_store_next_watch(b->xs, &path, &token)) {
		/* "/libxl" itself, a guest's directory, or a device of ours. */
		if (!strstr(path, "/device/") || strstr(path, "/device/virtio"))
			vg_deferred_schedule(b->scan);
		free(path);
		free(token);
	}
}

/* ---- status -------------------------------------------------------------------- */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static struct json_object *dev_json(const struct vg_bparent_dev *d)
{
	/* The other process writes it: a copy. */
	const struct vg_bchild_dev_shared sh =
		d->guest->shared->dev[d->dev_index];
	const struct vg_bchild_dev_stats *s = &sh.stats;
	struct json_object *o = json_object_new_object();
	uint32_t state = backend_state(d);

	json_object_object_add(o, "device", json_object_new_string(d->label));
	add_u64(o, "guest", d->name.guest);
	add_u64(o, "backend_domain", d->name.backend);
	add_u64(o, "base", d->keys.base);
	add_u64(o, "irq", d->keys.irq);
	json_object_object_add(o, "backend", json_object_new_string(
			sh.is_dead ? "dead" :
			state == VG_RELAY_BACKEND_READY ? "ready" :
			state == VG_RELAY_BACKEND_GONE ? "gone" :
			state == VG_RELAY_BACKEND_RESTARTING ? "restarting" :
			state == VG_RELAY_BACKEND_ABSENT ? "absent" :
			"invalid"));
	add_u64(o, "process", d->guest->pid > 0 ? (uint64_t)d->guest->pid : 0);
	add_u64(o, "process_deaths", d->guest->deaths);
	add_u64(o, "traps", s->traps);
	add_u64(o, "notifies", s->notifies);
	add_u64(o, "isr_reads", s->isr_reads);
	add_u64(o, "isr_acks", s->isr_acks);
	add_u64(o, "forwarded", s->forwarded);
	add_u64(o, "bad_accesses", s->bad_accesses);
	add_u64(o, "irqs", s->irqs);
	add_u64(o, "backend_events", s->backend_events);
	add_u64(o, "bad_answers", s->bad_answers);
	add_u64(o, "repeated_answers", s->repeated_answers);
	add_u64(o, "late_answers", s->late_answers);
	add_u64(o, "timeouts", s->timeouts);
	add_u64(o, "backend_sessions", s->sessions);
	return o;
}

char *vg_broker_answer(void *broker, const char *request)
{
	struct json_object *root, *devs, *fails;
	struct vg_broker *b = broker;
	struct vg_bparent_dev *d;
	unsigned int i;
	char *text;

	if (strcmp(request, "status"))
		return NULL;
	root = json_object_new_object();
	json_object_object_add(root, "program",
			       json_object_new_string("virtio-grant-broker"));
	add_u64(root, "answer_timeout_ms", b->cfg.answer_timeout_ns / 1000000);
	devs = json_object_new_array();
	for (d = b->devs; d; d = d->next)
		if (d->page)
			json_object_array_add(devs, dev_json(d));
	json_object_object_add(root, "devices", devs);
	fails = json_object_new_array();
	for (i = b->nr_failures > NR_FAILURES ? b->nr_failures - NR_FAILURES : 0;
	     i < b->nr_failures; i++)
		json_object_array_add(fails, json_object_new_string(
					      b->failure[i % NR_FAILURES]));
	for (d = b->devs; d; d = d->next) {
		if (d->state != VG_BPARENT_IGNORED)
			continue;
		text = why_ignored(d);
		json_object_array_add(fails, json_object_new_string(text));
		free(text);
	}
	json_object_object_add(root, "failures", fails);
	text = vg_strf("%s\n", json_object_to_json_string_ext(root,
						JSON_C_TO_STRING_PLAIN));
	json_object_put(root);
	return text;
}

/* ---- life ------------------------------------------------------------------------ */

/* Watches can be set on what may not be read. */
static int may_read_libxl(struct vg_broker *b)
{
	char **names;
	int n = xen_store_directory(b->xs, "/libxl", &names);

	if (n >= 0)
		xen_store_free_dir(names);
	if (n >= 0 || n == -ENOENT)
		return 0;
	vg_err("xenstore directory /libxl: %s%s", strerror(-n),
	       n == -EACCES || n == -EPERM ?
	       " (only the control domain may read it: virtio-grant-broker runs there, and a driver domain needs no more than virtio-grantd)" :
	       "");
	return n;
}

int vg_broker_create(const struct vg_broker_config *cfg, struct vg_loop *loop,
		     struct vg_broker **out)
{
	struct vg_broker *b = vg_zalloc(sizeof(*b));
	int err;

	b->cfg = *cfg;
	b->loop = loop;
	b->scan = vg_deferred_create(loop, on_scan, b);
	b->rescan = vg_timer_create(loop, on_rescan, b);
	err = xen_store_open(&b->xs);
	if (err) {
		vg_err("xenstore can't be reached: %s", strerror(-err));
		goto fail;
	}
	err = xen_store_own_domid(b->xs, &b->own_domid);
	if (err) {
		vg_err("xenstore does not tell this domain's id: %s",
		       strerror(-err));
		goto fail;
	}
	/* Both are opened when needed; what is amiss is to be said now. */
	err = xen_shared_page_probe();
	if (err) {
		vg_err("/dev/xen/gntalloc: %s (is the module xen-gntalloc loaded?)",
		       strerror(-err));
		goto fail;
	}
	err = may_read_libxl(b);
	if (err)
		goto fail;
	err = xen_store_watch(b->xs, "/libxl", "libxl");
	if (err) {
		vg_err("watching /libxl in xenstore: %s", strerror(-err));
		goto fail;
	}
	err = vg_loop_add_fd(loop, xen_store_fd(b->xs), on_xenstore, b,
			     &b->xs_fd);
	if (err) {
		vg_err("event loop: %s", strerror(-err));
		goto fail;
	}
	vg_deferred_schedule(b->scan);
	*out = b;
	return 0;
fail:
	vg_broker_destroy(b, false);
	return err;
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

/* One that does not end by itself, within reason, is made to. */
static void child_reap(struct vg_bparent_guest *g)
{
	if (!g->is_dying && has_ended(g->pid))
		return;
	vg_warn("dom%u: its process does not end, killed", g->domid);
	kill(g->pid, SIGKILL);
	if (!has_ended(g->pid))
		vg_warn("dom%u: its process %d is left to end by itself",
			g->domid, (int)g->pid);
}

void vg_broker_destroy(struct vg_broker *b, bool leave)
{
	struct vg_bparent_guest *g;
	struct vg_bparent_dev *d;
	unsigned int i;

	for (g = b->guests; g; g = g->next) {
		if (!leave)
			guest_end(g);
		if (g->sock < 0)
			continue;
		vg_loop_del_fd(b->loop, g->sock_fd);
		close(g->sock);
	}
	for (g = b->guests; g; g = g->next) {
		if (g->pid > 0)
			child_reap(g);
		if (!leave)
			forget_server(b, g->domid);
	}
	while ((d = b->devs)) {
		b->devs = d->next;
		dev_free(d);
	}
	while (b->guests)
		guest_free(b->guests);
	if (b->xs_fd)
		vg_loop_del_fd(b->loop, b->xs_fd);
	vg_deferred_destroy(b->scan);
	vg_timer_destroy(b->rescan);
	xen_store_close(b->xs);
	for (i = 0; i < NR_FAILURES; i++)
		free(b->failure[i]);
	free(b);
}
