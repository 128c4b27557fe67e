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
#include "supervisor.h"

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

#include "libxl_keys.h"
#include "log.h"
#include "refusals.h"
#include "sandbox.h"
#include "state.h"
#include "util.h"

#define NR_FAILURES		16
/* For the broker to write its keys; libxl's own limit is 10 s. */
#define NO_BROKER_WARN_NS	UINT64_C(5000000000)
/* Between state 6 and the removal of the node: libxl must have seen it. */
#define NODE_REMOVAL_NS		UINT64_C(1000000000)
/* Between a worker's death and its successor, doubling up to the maximum. */
#define RESPAWN_MIN_NS		UINT64_C(1000000)
#define RESPAWN_MAX_NS		UINT64_C(10000000000)
/* While the last I/O of a worker that died is not done. */
#define LOCK_RETRY_NS		UINT64_C(5000000)
/* While somebody else has an image, for a moment perhaps. */
#define IMAGE_RETRY_NS		UINT64_C(20000000)
#define LOCK_WARN_NS		UINT64_C(5000000000)
/* Deaths in a row between which a device got nothing done. */
#define BARREN_MAX		8u
/* For a worker whose devices are removed, or whose supervisor ends. */
#define WORKER_END_NS		UINT64_C(2000000000)

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
	"waiting for broker", "starting", "ready", "stopping", "closed",
	"failed", "ignored",
};

struct guest;

struct dev {
	struct dev *next;
	struct vg_supervisor *s;
	struct guest *guest;
	struct vg_devname name;
	char *node, *label;
	enum dev_state state;
	bool seen;
	bool was_served;	/* by somebody before this worker */
	unsigned int barren;	/* deaths in a row that nothing came between */
	uint64_t shown;		/* sum of used indices at the last death */
	uint64_t locked_out_ns;	/* since when; 0: not */
	struct vg_timer *retry;	/* ... to try once more */
	/*
	 * Served, but none of its requests is before these are locked, state
	 * and image: a worker that died has I/O under way.  -1: not so.
	 */
	int held_fd[2];
	bool remove_wanted;	/* while STARTING */
	unsigned int slot;	/* of the worker, from STARTING to STOPPING */
	bool has_slot;
	struct vg_worker_relay relay;
	struct vg_image image;
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
	struct vg_timer *respawn;
	uint64_t respawn_delay_ns;
	unsigned int deaths;
	bool slot_used[VG_WORKER_DEVICES_MAX];
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
	struct vg_image *images;	/* that are served */
	struct vg_refusals refusals;
	bool scan_failed;		/* not all that is there was seen */
	bool is_tidied;			/* a predecessor's states, too */
	char *failure[NR_FAILURES];
	unsigned int nr_failures;
};

static void __attribute__((format(printf, 2, 3)))
failed(struct vg_supervisor *s, const char *fmt, ...)
{
	char **slot, text[512];
	unsigned int last;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What one scan after the other finds is said once. */
	last = (s->nr_failures + NR_FAILURES - 1) % NR_FAILURES;
	if (s->failure[last] && !strcmp(s->failure[last], text))
		return;
	slot = &s->failure[s->nr_failures++ % NR_FAILURES];
	vg_err("%s", text);
	free(*slot);
	*slot = vg_strdup(text);
}

static int write_state(struct dev *d, enum vg_xenbus_state state)
{
	char text[2] = { (char)('0' + (int)state), 0 };
	int err = vg_key_write(d->s->xs, d->node, "state", text);

	if (err)
		vg_err("%s: writing its state %s: %s", d->label, text,
		       strerror(-err));
	return err;
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

/* This device can't be served.  The caller has said why. */
static void dev_fail(struct dev *d)
{
	char *path = vg_strf("%s/state", d->node);

	publish_failure(d);
	xen_store_rm(d->s->xs, path);
	free(path);
	vg_image_close(&d->image);
	vg_timer_cancel(d->timer);
	d->state = DEV_FAILED;
}

/* ---- workers -------------------------------------------------------------------- */

static void dev_start(struct dev *d);
static void dev_closed(struct dev *d);
static bool state_is_barren(struct dev *d);
static void held_drop(struct dev *d);

static void worker_ended(struct guest *g)
{
	if (g->s->cfg.worker_ended)
		g->s->cfg.worker_ended(g->s->cfg.spawn_arg, g->domid);
}

/* Before the worker hears of it. */
static void allow_relay(struct dev *d)
{
	struct vg_supervisor *s = d->s;

	if (s->cfg.allow_relay)
		s->cfg.allow_relay(s->cfg.spawn_arg, d->guest->domid, d->slot,
				   d->relay.domid, d->relay.ref, d->relay.port);
}

/* Its status as wait(2) has it, 0 if there was no process of ours. */
static int worker_drop(struct guest *g)
{
	int status = 0;

	if (g->sock < 0)
		return 0;
	vg_loop_del_fd(g->s->loop, g->sock_fd);
	close(g->sock);
	g->sock = -1;
	if (g->pid > 0) {
		/*
		 * It ends by itself when the socket closes, unless it is
		 * broken: then it must not outlive its replacement.
		 */
		kill(g->pid, SIGKILL);
		waitpid(g->pid, &status, 0);
		g->pid = 0;
	}
	worker_ended(g);
	return status;
}

/*
 * A worker that was ended by its filter of system calls (sandbox.h) was most
 * likely taken over.  The number comes from itself: a hint, not a fact.
 */
static void say_violation(struct guest *g)
{
	uint32_t nr = g->shared ? READ_ONCE(g->shared->violation) : 0;
	char *name = nr ? vg_sandbox_syscall_name(nr - 1) : vg_strdup("unknown");

	failed(g->s, "dom%u: its worker made a system call that it may not make (%s) and was killed: it may have been taken over by the guest",
	       g->domid, name);
	free(name);
}

static void worker_died(struct guest *g)
{
	struct vg_supervisor *s = g->s;
	struct dev *d;
	int status;

	g->deaths++;
	status = worker_drop(g);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		say_violation(g);
	failed(s, "dom%u: its worker ended unexpectedly (time %u), starting another",
	       g->domid, g->deaths);
	memset(g->slot_used, 0, sizeof(g->slot_used));
	for (d = s->devs; d; d = d->next) {
		if (d->guest != g || !d->has_slot)
			continue;
		d->barren = state_is_barren(d) ? d->barren + 1 : 0;
		held_drop(d);
		d->has_slot = false;
		d->was_served = true;
		if (d->state == DEV_STOPPING || d->remove_wanted)
			dev_closed(d);
		else
			d->state = DEV_NEW;
	}
	vg_timer_arm(g->respawn, g->respawn_delay_ns);
	g->respawn_delay_ns = min_u(g->respawn_delay_ns * 2, RESPAWN_MAX_NS);
}

static void on_worker(void *arg)
{
	struct guest *g = arg;
	struct vg_worker_msg msg;
	struct dev *d;
	int fds[VG_WORKER_FDS_MAX], n;

	n = vg_worker_recv(g->sock, &msg, fds);
	vg_worker_close_fds(fds);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		worker_died(g);
		return;
	}
	for (d = g->s->devs; d; d = d->next)
		if (d->guest == g && d->has_slot && d->slot == msg.slot)
			break;
	if (!d)
		return;
	if (msg.op == VG_WORKER_ADDED && d->state == DEV_STARTING) {
		if (msg.error) {
			failed(g->s, "%s: %s", d->label, msg.text);
			held_drop(d);
			g->slot_used[d->slot] = false;
			d->has_slot = false;
			dev_fail(d);
			return;
		}
		d->state = DEV_READY;
		g->respawn_delay_ns = RESPAWN_MIN_NS;
		vg_info("%s: ready: %s, %llu bytes%s%s", d->label,
			d->image.path, (unsigned long long)d->image.size_bytes,
			d->image.read_only ? ", read-only" : "",
			d->image.is_direct ? ", O_DIRECT" : "");
		vg_refusals_forget(&g->s->refusals, &d->name);
		write_state(d, VG_XENBUS_INIT_WAIT);
		vg_deferred_schedule(g->s->scan);
	} else if (msg.op == VG_WORKER_REMOVED && d->state == DEV_STOPPING) {
		g->slot_used[d->slot] = false;
		d->has_slot = false;
		dev_closed(d);
	}
}

static int worker_start(struct guest *g)
{
	struct vg_supervisor *s = g->s;
	int pair[2], shared_fd, err;

	shared_fd = memfd_create("virtio-grant-stats", MFD_CLOEXEC);
	if (shared_fd < 0)
		return -errno;
	if (ftruncate(shared_fd, sizeof(*g->shared)) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err = -errno;
		close(shared_fd);
		return err;
	}
	if (g->shared)
		munmap(g->shared, sizeof(*g->shared));
	g->shared = mmap(NULL, sizeof(*g->shared), PROT_READ, MAP_SHARED,
			 shared_fd, 0);
	if (g->shared == MAP_FAILED) {
		err = -errno;
		g->shared = NULL;
		close(shared_fd);
		close(pair[0]);
		close(pair[1]);
		return err;
	}
	err = s->cfg.spawn(s->cfg.spawn_arg, g->domid, pair[1], shared_fd,
			   &g->pid);
	if (!err)
		err = vg_loop_add_fd(s->loop, pair[0], on_worker, g,
				     &g->sock_fd);
	if (err) {
		close(pair[0]);
		return err;
	}
	g->sock = pair[0];
	return 0;
}

static void on_respawn(void *arg)
{
	struct guest *g = arg;

	vg_deferred_schedule(g->s->scan);
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
	g->respawn = vg_timer_create(s->loop, on_respawn, g);
	g->respawn_delay_ns = RESPAWN_MIN_NS;
	g->next = s->guests;
	s->guests = g;
	return g;
}

/*
 * Its socket is closed: it finishes what is under way, unmaps, and ends.  One
 * that does not, within reason, is made to.
 */
static void worker_reap(const struct guest *g)
{
	const struct timespec ms10 = { .tv_nsec = 10000000 };
	unsigned int i;

	for (i = 0; i < WORKER_END_NS / 10000000; i++) {
		if (waitpid(g->pid, NULL, WNOHANG))
			return;
		nanosleep(&ms10, NULL);
	}
	vg_warn("dom%u: its worker does not end, killed", g->domid);
	kill(g->pid, SIGKILL);
	waitpid(g->pid, NULL, 0);
}

static void guest_free(struct guest *g)
{
	struct guest **p;

	for (p = &g->s->guests; *p != g; p = &(*p)->next)
		;
	*p = g->next;
	if (g->sock >= 0) {
		vg_loop_del_fd(g->s->loop, g->sock_fd);
		close(g->sock);
		if (g->pid > 0)
			worker_reap(g);
		worker_ended(g);
	}
	if (g->shared)
		munmap(g->shared, sizeof(*g->shared));
	vg_timer_destroy(g->respawn);
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
	uint64_t now = vg_now_ns();

	if (!d->locked_out_ns)
		d->locked_out_ns = now;
	vg_timer_arm(d->retry, LOCK_RETRY_NS);
	return now - d->locked_out_ns < LOCK_WARN_NS;
}

/*
 * Two locks on a state, which do not mind each other.
 *
 * The one by fcntl(2) is that of a worker's process: only the process has open
 * what it is on, so it goes when the process does, which until then may write
 * into the state.
 *
 * The one by flock(2) is on the state as it is registered with the worker's
 * io_urings, so the kernel holds it, too, until the last I/O of a worker that
 * died is done: before that, what it reads would land in buffers that the guest
 * uses for something else by then.  There is no bound on waiting for it, and
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

static int image_lock(struct dev *d, int fd)
{
	char *why = NULL;
	int err = vg_image_lock(&d->image, fd, &why);

	if (err == -EAGAIN)
		vg_timer_arm(d->retry, LOCK_RETRY_NS);
	if (why)
		failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/*
 * The file of a device that nobody has used yet is emptied, and so is one of
 * another size: of another version.  -EAGAIN: it is somebody's still.
 */
static int state_open(struct dev *d, int *state_fd, int *life_fd, bool *is_held)
{
	struct stat sb;
	char *path;
	int fd, life, err;

	if (!d->s->cfg.state_dir)
		return 0;
	path = state_path(d);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	life = fd < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	err = life < 0 ? -errno : life_lock(d, life);
	if (!err)
		err = io_lock(d, fd);
	else if (err == -EAGAIN)
		goto not_yet;
	*is_held = err == -EAGAIN && d->was_served;
	if (*is_held)
		err = 0;
	if (!err && fstat(fd, &sb) < 0)
		err = -errno;
	if (!err && (!d->was_served ||
		     sb.st_size != (off_t)sizeof(struct vg_state)) &&
	    (ftruncate(fd, 0) < 0 ||
	     ftruncate(fd, (off_t)sizeof(struct vg_state)) < 0))
		err = -errno;
	if (err && err != -EAGAIN)
		failed(d->s, "%s: %s: %s", d->label, path, strerror(-err));
not_yet:
	free(path);
	if (!err) {
		*state_fd = fd;
		*life_fd = life;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (life >= 0)
		close(life);
	return err;
}

static void held_drop(struct dev *d)
{
	if (d->held_fd[0] < 0)
		return;
	close(d->held_fd[0]);
	close(d->held_fd[1]);
	d->held_fd[0] = d->held_fd[1] = -1;
	d->locked_out_ns = 0;
	vg_timer_cancel(d->retry);
}

/* Its worker has both open as we have: what we lock is locked for it. */
static void held_retry(struct dev *d)
{
	struct vg_worker_msg msg = { .op = VG_WORKER_RELEASE, .slot = d->slot };
	int err = io_lock(d, d->held_fd[0]);

	if (!err)
		err = image_lock(d, d->held_fd[1]);
	if (err == -EAGAIN)
		return;
	if (err) {
		/* Then nobody has it, and it is removed or replaced some day. */
		failed(d->s, "%s: its requests stay held back: %s", d->label,
		       strerror(-err));
		held_drop(d);
		return;
	}
	held_drop(d);
	vg_worker_send(d->guest->sock, &msg, NULL, 0);
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

	if (d->held_fd[0] >= 0)
		held_retry(d);
	else
		vg_deferred_schedule(d->s->scan);
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

/* ---- images ------------------------------------------------------------------------ */

static int open_image(struct dev *d, struct vg_blk_params *blk, bool is_held,
		      int state_fd, int *fd, int *buffered_fd)
{
	const struct vg_image_how how = {
		.direct_io = d->s->cfg.direct_io,
		.engine = d->s->cfg.engine,
		.waits_for_room = d->s->cfg.waits_for_room,
		.serials = d->s->cfg.serials,
		.state_fd = state_fd,
		.was_served = d->was_served,
		.is_held = is_held,
		.list = &d->s->images,
	};
	char *why = NULL;
	int err = vg_image_open(&d->image, d->s->xs, d->node, &how, blk, fd,
				buffered_fd, &why);

	if (err == -EAGAIN)
		vg_timer_arm(d->retry, IMAGE_RETRY_NS);
	if (why)
		failed(d->s, "%s: %s", d->label, why);
	free(why);
	return err;
}

/* ---- devices ------------------------------------------------------------------------- */

/* False: the keys are not there (yet). */
static bool read_relay(struct dev *d, struct vg_worker_relay *r)
{
	uint64_t domid, ref, port;
	char *why = NULL;
	int err;

	/* relay-ref is written last, in one transaction with the others. */
	err = vg_key_read_u64(d->s->xs, d->node, "relay-ref", 10, UINT32_MAX,
			      &ref, &why);
	if (!err)
		err = vg_key_read_u64(d->s->xs, d->node, "relay-port", 10,
				      UINT32_MAX, &port, &why);
	if (!err)
		err = vg_key_read_u64(d->s->xs, d->node, "relay-domid", 10,
				      XEN_DOMID_MAX, &domid, &why);
	if (err && err != -ENOENT)
		failed(d->s, "%s: %s", d->label, why);
	free(why);
	if (err)
		return false;
	r->domid = (xen_domid_t)domid;
	r->ref = (xen_ref_t)ref;
	r->port = (xen_port_t)port;
	return true;
}

static bool same_relay(const struct vg_worker_relay *a,
		       const struct vg_worker_relay *b)
{
	return a->domid == b->domid && a->ref == b->ref && a->port == b->port;
}

static int take_slot(struct guest *g, unsigned int *slot)
{
	unsigned int i;

	for (i = 0; i < VG_WORKER_DEVICES_MAX; i++) {
		if (g->slot_used[i])
			continue;
		g->slot_used[i] = true;
		*slot = i;
		return 0;
	}
	return -ENOSPC;
}

/*
 * A guest has so many threads for queues, shared out in the order of its
 * devices; who comes late has one queue, which needs none.  What was decided
 * for a device stays: its driver may know it.
 */
static unsigned int choose_nr_queues(struct dev *d, int state_fd)
{
	unsigned int left = VG_WORKER_LANES_MAX;
	unsigned int want = max_u(d->s->cfg.nr_queues, 1u);
	const struct dev *o;
	uint32_t n;

	if (d->nr_queues)
		return d->nr_queues;
	if (d->was_served && state_fd >= 0 &&
	    pread(state_fd, &n, sizeof(n), offsetof(struct vg_state,
						    nr_queues)) == sizeof(n) &&
	    n && n <= VG_WORKER_QUEUES_MAX)
		return d->nr_queues = n;
	for (o = d->s->devs; o; o = o->next)
		if (o->guest == d->guest && o->nr_queues > 1)
			left -= min_u(left, o->nr_queues);
	want = min_u(want, VG_WORKER_QUEUES_MAX);
	d->nr_queues = want <= left ? want : left > 1 ? left : 1;
	return d->nr_queues;
}

/* The relay is known: opens the image and gives both to the worker. */
static void dev_start(struct dev *d)
{
	struct vg_supervisor *s = d->s;
	struct guest *g = d->guest;
	struct vg_worker_msg msg = {
		.op = VG_WORKER_ADD,
		.relay = d->relay,
		.queue_size_max = s->cfg.queue_size_max,
		.budget_pages = s->cfg.budget_pages,
		.copy_max_bytes = s->cfg.copy_max_bytes,
		.poll_max_ns = s->cfg.poll_max_ns,
		.poll_mmio_max_ns = s->cfg.poll_mmio_max_ns,
		.start = VG_START_NEW,
	};
	int fds[VG_WORKER_FDS_MAX], err;
	bool is_held = false;
	unsigned int i;

	if (g->sock < 0) {
		if (vg_timer_is_armed(g->respawn))
			return;		/* scanned again when it fires */
		err = worker_start(g);
		if (err) {
			failed(s, "%s: no worker can be started: %s", d->label,
			       strerror(-err));
			dev_fail(d);
			return;
		}
	}
	if (take_slot(g, &d->slot)) {
		failed(s, "%s: dom%u has %u devices already", d->label,
		       g->domid, VG_WORKER_DEVICES_MAX);
		dev_fail(d);
		return;
	}
	d->has_slot = true;
	for (i = 0; i < VG_WORKER_FDS_MAX; i++)
		fds[i] = -1;
	err = state_open(d, &fds[1], &fds[2], &is_held);
	if (!err)
		err = open_image(d, &msg.blk, is_held, fds[1], &fds[0],
				 &fds[3]);
	if (err == -EAGAIN) {
		vg_worker_close_fds(fds);
		d->has_slot = g->slot_used[d->slot] = false;
		return;			/* scanned again, soon */
	}
	if (err < 0)
		goto fail;
	if (!is_held)
		d->locked_out_ns = 0;
	msg.blk.nr_queues = choose_nr_queues(d, fds[1]);
	msg.slot = d->slot;
	snprintf(msg.text, sizeof(msg.text), "%s", d->label);
	how_to_start(d, &msg, fds[1] >= 0);
	msg.is_held = is_held;
	allow_relay(d);
	err = vg_worker_send(g->sock, &msg, fds, fds[1] < 0 ? 1 :
			     fds[3] < 0 ? 3 : 4);
	if (err) {
		failed(s, "%s: its worker can't be told: %s", d->label,
		       strerror(-err));
		goto fail;
	}
	if (is_held) {
		d->held_fd[0] = fds[1];
		d->held_fd[1] = fds[0];
		fds[0] = fds[1] = -1;
		vg_timer_arm(d->retry, LOCK_RETRY_NS);
	}
	vg_worker_close_fds(fds);
	vg_timer_cancel(d->timer);
	d->state = DEV_STARTING;
	return;
fail:
	vg_worker_close_fds(fds);
	g->slot_used[d->slot] = false;
	d->has_slot = false;
	dev_fail(d);
}

static void dev_closed(struct dev *d)
{
	d->state = DEV_CLOSED;
	d->remove_wanted = false;
	vg_image_close(&d->image);
	state_remove(d);
	write_state(d, VG_XENBUS_CLOSED);
	vg_timer_arm(d->timer, NODE_REMOVAL_NS);
	vg_info("%s: closed", d->label);
}

/* libxl wants it gone. */
static void dev_stop(struct dev *d)
{
	struct vg_worker_msg msg = { .op = VG_WORKER_REMOVE, .slot = d->slot };

	switch (d->state) {
	case DEV_NEW:
	case DEV_FAILED:
		dev_closed(d);
		break;
	case DEV_STARTING:
		d->remove_wanted = true;	/* when the worker has answered */
		break;
	case DEV_READY:
		vg_image_leave(&d->image);
		d->state = DEV_STOPPING;
		vg_worker_send(d->guest->sock, &msg, NULL, 0);
		break;
	case DEV_STOPPING:
	case DEV_CLOSED:
	case DEV_IGNORED:
		break;
	}
}

/* Removes the node, and the guest's directory with its last one. */
static void remove_node(struct dev *d)
{
	struct xen_store *xs = d->s->xs;
	char *dir = vg_strf("/local/domain/%u/backend/%s/%u", d->name.backend,
			    d->name.kind->name, d->name.guest);
	char **names, *state;
	int n, err;

	do {
		err = xen_store_begin(xs);
		if (err)
			break;
		state = vg_key_read(xs, d->node, "state");
		if (state && strcmp(state, "6")) {
			/* libxl made a new one of the same name. */
			free(state);
			xen_store_abort(xs);
			break;
		}
		free(state);
		xen_store_rm(xs, d->node);
		n = xen_store_directory(xs, dir, &names);
		if (n >= 0)
			xen_store_free_dir(names);
		if (n == 0)
			xen_store_rm(xs, dir);
		err = xen_store_commit(xs);
	} while (err == -EAGAIN);
	free(dir);
}

static void on_dev_timer(void *arg)
{
	struct dev *d = arg;

	if (d->state == DEV_NEW) {
		failed(d->s, "%s: no relay after %u s: is virtio-grant-broker running in the control domain?",
		       d->label, (unsigned int)(NO_BROKER_WARN_NS / 1000000000u));
	} else if (d->state == DEV_CLOSED) {
		remove_node(d);
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
	vg_image_exit(&d->image);
	free(d->label);
	free(d->node);
	free(d);
}

/* ---- the scan --------------------------------------------------------------------------- */

static struct dev *dev_find(struct vg_supervisor *s, const char *node)
{
	struct dev *d;

	for (d = s->devs; d; d = d->next)
		if (!strcmp(d->node, node))
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
	vg_image_init(&d->image, d->label);
	d->guest = guest_get(s, name->guest);
	d->timer = vg_timer_create(s->loop, on_dev_timer, d);
	d->retry = vg_timer_create(s->loop, on_retry, d);
	d->held_fd[0] = d->held_fd[1] = -1;
	d->state = DEV_NEW;
	d->next = s->devs;
	s->devs = d;
	if (state == VG_XENBUS_INITIALISING)
		vg_timer_arm(d->timer, NO_BROKER_WARN_NS);
	else if (state < VG_XENBUS_CLOSING)
		d->was_served = true;	/* by a predecessor of ours */
	return d;
}

/* Whether the node's "dev" is one of cfg.only. */
static bool is_listed(struct vg_supervisor *s, const char *node)
{
	char *vdev, *list, *word;
	bool is;

	if (!s->cfg.only)
		return true;
	vdev = vg_key_read(s->xs, node, "dev");
	list = vg_strf(",%s,", s->cfg.only);
	word = vg_strf(",%s,", vdev ? vdev : "?");
	is = strstr(list, word);
	free(word);
	free(list);
	free(vdev);
	return is;
}

/* Whether this node is a device for us, checked when it is seen first. */
static bool node_is_ours(struct vg_supervisor *s, const struct vg_devname *name,
			 const char *node)
{
	struct vg_devkeys keys;
	char *why = NULL, *label;
	bool ours = false;

	if (vg_devkeys_read(s->xs, node, name->kind, &keys, &why)) {
		failed(s, "%s", why);
	} else if (!is_listed(s, node)) {
		ours = false;		/* another instance's */
	} else if (s->cfg.is_foreign) {
		ours = !keys.grant_usage;
	} else if (!keys.grant_usage) {
		label = vg_devname_label(name);
		vg_warn("%s: grant_usage=0 asks for a backend that maps the guest's memory; this one serves grant_usage=1 only and leaves it alone",
			label);
		free(label);
	} else {
		ours = true;
	}
	free(why);
	return ours;
}

/* Nodes that are not ours are remembered, so that it is said once. */
static void scan_device(struct vg_supervisor *s, const struct vg_kind *kind,
			xen_domid_t guest, const char *dir, const char *devid)
{
	struct vg_devname name = { .kind = kind, .backend = s->own_domid,
				   .guest = guest };
	char *node = vg_strf("%s/%s", dir, devid), *why = NULL;
	struct vg_worker_relay relay;
	struct vg_worker_msg msg = { .op = VG_WORKER_RELAY };
	uint64_t id, state;
	struct dev *d = dev_find(s, node);
	int err;

	if (vg_parse_u64(devid, 10, UINT32_MAX, &id))
		goto out;
	name.devid = (uint32_t)id;
	err = vg_key_read_u64(s->xs, node, "state", 10, 9, &state, &why);
	if (err) {
		/* -ENOENT: libxl removes it, or we took the state away. */
		if (err != -ENOENT) {
			failed(s, "%s", why);
			s->scan_failed = true;
		} else if (d && d->state == DEV_FAILED) {
			d->seen = true;
		}
		goto out;
	}
	if (!d) {
		if (state == VG_XENBUS_CLOSED)
			goto leftover;
		d = dev_new(s, &name, node, state);
		if (!node_is_ours(s, &name, node)) {
			vg_timer_cancel(d->timer);
			d->state = DEV_IGNORED;
		}
	} else if (state == VG_XENBUS_INITIALISING &&
		   (d->state == DEV_FAILED || d->state == DEV_CLOSED)) {
		/* The same name again, a new device. */
		vg_timer_arm(d->timer, NO_BROKER_WARN_NS);
		d->was_served = false;
		d->barren = 0;
		d->state = DEV_NEW;
	}
	d->seen = true;
	if (state == VG_XENBUS_CLOSING) {
		dev_stop(d);
		goto out;
	}
	if (!read_relay(d, &relay))
		goto out;
	if (d->state == DEV_NEW) {
		d->relay = relay;
		dev_start(d);
	} else if (d->state == DEV_READY && !same_relay(&relay, &d->relay)) {
		d->relay = relay;
		msg.slot = d->slot;
		msg.relay = relay;
		allow_relay(d);
		vg_worker_send(d->guest->sock, &msg, NULL, 0);
	}
	goto out;
leftover:
	/* Closed under a predecessor that did not live to remove it. */
	d = dev_new(s, &name, node, state);
	d->seen = true;
	d->state = DEV_CLOSED;
	vg_timer_arm(d->timer, NODE_REMOVAL_NS);
out:
	free(why);
	free(node);
}

static void scan_guest(struct vg_supervisor *s, const struct vg_kind *kind,
		       const char *dir, const char *guest_text)
{
	char *guest_dir = vg_strf("%s/%s", dir, guest_text), **names;
	uint64_t guest;
	int i, n;

	if (vg_parse_u64(guest_text, 10, XEN_DOMID_MAX, &guest))
		goto out;
	n = xen_store_directory(s->xs, guest_dir, &names);
	if (n < 0 && n != -ENOENT) {
		failed(s, "xenstore directory %s: %s", guest_dir,
		       strerror(-n));
		s->scan_failed = true;
	}
	for (i = 0; i < n; i++)
		scan_device(s, kind, (xen_domid_t)guest, guest_dir, names[i]);
	if (n >= 0)
		xen_store_free_dir(names);
out:
	free(guest_dir);
}

/* Devices whose node is gone without the protocol: libxl was forced. */
static void forget_unseen(struct vg_supervisor *s)
{
	struct dev *d, *next;

	for (d = s->devs; d; d = next) {
		next = d->next;
		if (d->seen)
			continue;
		switch (d->state) {
		case DEV_STARTING:
		case DEV_READY:
			vg_warn("%s: its node was removed while it was served",
				d->label);
			dev_stop(d);
			break;
		case DEV_STOPPING:
			break;
		default:
			state_remove(d);
			dev_free(d);
		}
	}
}

static void on_scan(void *arg)
{
	struct vg_supervisor *s = arg;
	struct guest *g, *next;
	unsigned int k;
	char **names;
	struct dev *d;
	int i, n;

	s->scan_failed = false;
	for (d = s->devs; d; d = d->next)
		d->seen = false;
	for (k = 0; k < vg_nr_kinds; k++) {
		char *dir = vg_strf("/local/domain/%u/backend/%s", s->own_domid,
				    vg_kinds[k].name);

		n = xen_store_directory(s->xs, dir, &names);
		if (n < 0 && n != -ENOENT) {
			failed(s, "xenstore directory %s: %s", dir,
			       strerror(-n));
			s->scan_failed = true;
		}
		for (i = 0; i < n; i++)
			scan_guest(s, &vg_kinds[k], dir, names[i]);
		if (n >= 0)
			xen_store_free_dir(names);
		free(dir);
	}
	if (!s->scan_failed)
		forget_unseen(s);
	if (!s->scan_failed && !s->is_tidied) {
		remove_stale_states(s);
		s->is_tidied = true;
	}
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

static struct json_object *stats_json(const struct vg_dev_stats *st)
{
	struct json_object *o = json_object_new_object();
	const char *const *name = vg_dev_blk.stat_names;
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
	json_object_object_add(o, vg_dev_blk.name, type);
	return o;
}

/* What each queue did, if there are several. */
static struct json_object *queues_json(const struct dev *d)
{
	struct json_object *all = json_object_new_object(), *o;
	unsigned int i;

	for (i = 0; i < d->nr_queues && d->nr_queues > 1; i++) {
		struct vg_dev_stats q = d->guest->shared->queue[d->slot][i];
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

static struct json_object *dev_json(const struct dev *d)
{
	struct json_object *o = json_object_new_object();
	struct vg_dev_stats st;

	add_str(o, "device", d->label);
	add_u64(o, "guest", d->name.guest);
	add_str(o, "state", dev_state_names[d->state]);
	add_str(o, "image", d->image.path ? d->image.path : "");
	add_u64(o, "size_bytes", d->image.size_bytes);
	/* Its last worker's I/O is under way: no request is served. */
	json_object_object_add(o, "held",
			       json_object_new_boolean(d->held_fd[0] >= 0));
	json_object_object_add(o, "read_only",
			       json_object_new_boolean(d->image.read_only));
	json_object_object_add(o, "direct_io",
			       json_object_new_boolean(d->image.is_direct));
	add_u64(o, "worker_pid", d->guest->pid > 0 ? (uint64_t)d->guest->pid : 0);
	add_u64(o, "worker_deaths", d->guest->deaths);
	if (d->has_slot && d->guest->shared) {
		vg_worker_stats(d->guest->shared, d->slot, &st);
		json_object_object_add(o, "stats", stats_json(&st));
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
	if (s->xs_fd)
		vg_loop_del_fd(s->loop, s->xs_fd);
	vg_deferred_destroy(s->scan);
	vg_refusals_exit(&s->refusals);
	xen_store_close(s->xs);
	for (i = 0; i < NR_FAILURES; i++)
		free(s->failure[i]);
	free(s);
}
