// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_lives.c - the matrix of faults: each call that can fail fails, once and
 * for a while, at each place, in each part of a disk's life.
 *
 * Afterwards the disk is served, each request that was under way was executed
 * and used exactly once with the right data, and the driver never had to reset.
 * A disk that is new may be refused instead, if that is said; one that goes
 * away is gone, and its image is free.
 *
 * Every one is a process of its own, so that one which crashes is counted, too.
 * Time is made: a turn of all loops takes a millisecond, or more when there is
 * nothing but waiting.
 *
 *	test_lives [LIFE [CALL [N [COUNT]]]]	some of it, or one with its log
 *	VG_LIVES_ALL=1 test_lives		all of it (minutes)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"

#define GUEST	3u
#define NEXT	4u
#define IMAGE_BYTES	(32u * 4096u)

/* ---- time --------------------------------------------------------------- */

static uint64_t ahead_ns;

uint64_t __real_vg_now_ns(void);
uint64_t __wrap_vg_now_ns(void);
uint64_t __wrap_vg_now_ns(void)
{
	return __real_vg_now_ns() + ahead_ns;
}

/* ---- calls of the C library that fail ----------------------------------- */

enum libc_call {
	LIBC_OPEN, LIBC_FLOCK, LIBC_FCNTL, LIBC_FSTAT, LIBC_FTRUNCATE,
	LIBC_PREAD, LIBC_SOCKETPAIR, LIBC_MEMFD, LIBC_MMAP, LIBC_SENDMSG,
	LIBC_RECVMSG, LIBC_EPOLL_ADD, LIBC_EPOLL_CREATE, LIBC_EVENTFD,
	LIBC_CALL_MAX,
};

static struct {
	enum libc_call call;
	enum rig_actor actor;
	unsigned int n, count;
	int err;
	bool happened;
} libc;

static bool fails(enum libc_call call)
{
	if (!libc.n || libc.call != call || libc.actor != rig_actor)
		return false;
	if (libc.n > 1) {
		libc.n--;
		return false;
	}
	if (!--libc.count)
		libc.n = 0;
	libc.happened = true;
	errno = libc.err;
	return true;
}

#define WRAP(call, ret, name, params, args) \
	ret __real_##name params; \
	ret __wrap_##name params; \
	ret __wrap_##name params \
	{ \
		if (fails(call)) \
			return -1; \
		return __real_##name args; \
	}

WRAP(LIBC_FLOCK, int, flock, (int fd, int op), (fd, op))
WRAP(LIBC_FSTAT, int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(LIBC_FTRUNCATE, int, ftruncate, (int fd, off_t n), (fd, n))
WRAP(LIBC_PREAD, ssize_t, pread, (int fd, void *b, size_t n, off_t at),
     (fd, b, n, at))
WRAP(LIBC_PREAD, ssize_t, preadv2, (int fd, const struct iovec *v, int n,
				    off_t at, int flags),
     (fd, v, n, at, flags))
WRAP(LIBC_SOCKETPAIR, int, socketpair, (int d, int t, int p, int fd[2]),
     (d, t, p, fd))
WRAP(LIBC_MEMFD, int, memfd_create, (const char *name, unsigned int flags),
     (name, flags))
WRAP(LIBC_SENDMSG, ssize_t, sendmsg, (int fd, const struct msghdr *m, int f),
     (fd, m, f))
WRAP(LIBC_RECVMSG, ssize_t, recvmsg, (int fd, struct msghdr *m, int f),
     (fd, m, f))
WRAP(LIBC_EPOLL_CREATE, int, epoll_create1, (int flags), (flags))
WRAP(LIBC_EVENTFD, int, eventfd, (unsigned int n, int flags), (n, flags))

int __real_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	if (op == EPOLL_CTL_ADD && fails(LIBC_EPOLL_ADD))
		return -1;
	return __real_epoll_ctl(ep, op, fd, ev);
}

/* Those of Xen's stand-in are not meant. */
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	if (flags == MAP_SHARED && fails(LIBC_MMAP))
		return MAP_FAILED;
	return __real_mmap(at, n, prot, flags, fd, off);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (fails(LIBC_OPEN))
		return -1;
	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...)
{
	void *arg;
	va_list ap;

	if (fails(LIBC_FCNTL))
		return -1;
	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return __real_fcntl(fd, cmd, arg);
}

/* ---- what fails --------------------------------------------------------- */

static const struct call {
	const char *name;
	unsigned int places;	/* so many; then it is a request's; 0: all */
	bool is_verdict;	/* about the guest: believed when repeated */
	bool is_xens;
	int kind;		/* enum fake_call, or enum libc_call */
	unsigned int whose;	/* domain, or enum rig_actor */
	int err;
} calls[] = {
#define X(kind, dom, err) { #kind " dom" #dom " " #err, 0, false, true, kind, dom, err }
#define L(kind, who, err) { #kind " " #who " " #err, 0, false, false, kind, who, err }
	X(FAKE_GNTTAB_OPEN, 1, ENOMEM),
	{ "FAKE_GNTTAB_MAP dom1 EINVAL", 4, true, true, FAKE_GNTTAB_MAP, 1,
	  EINVAL },
	X(FAKE_GNTTAB_MAP, 1, ENOMEM),
	X(FAKE_EVTCHN_OPEN, 1, ENOMEM),
	X(FAKE_EVTCHN_BIND, 1, EINVAL),
	X(FAKE_EVTCHN_BIND, 1, ENOSPC),
	X(FAKE_EVTCHN_UNBIND, 1, ENOTCONN),
	X(FAKE_STORE_OPEN, 1, EAGAIN),
	X(FAKE_STORE_BEGIN, 1, ENOSPC),
	X(FAKE_STORE_COMMIT, 1, EAGAIN),
	X(FAKE_STORE_COMMIT, 1, EIO),
	{ "FAKE_STORE_READ dom1 ENOENT", 0, true, true, FAKE_STORE_READ, 1,
	  ENOENT },
	X(FAKE_STORE_READ, 1, EACCES),
	X(FAKE_STORE_READ, 1, ENOMEM),
	X(FAKE_STORE_WRITE, 1, ENOSPC),
	X(FAKE_STORE_RM, 1, EIO),
	X(FAKE_STORE_DIRECTORY, 1, EIO),
	X(FAKE_STORE_WATCH, 1, ENOSPC),
	L(LIBC_OPEN, RIG_SUP, ENOENT),
	L(LIBC_OPEN, RIG_SUP, ENFILE),
	L(LIBC_FLOCK, RIG_SUP, ENOLCK),
	L(LIBC_FCNTL, RIG_SUP, ENOLCK),
	L(LIBC_FSTAT, RIG_SUP, ENOMEM),
	L(LIBC_FTRUNCATE, RIG_SUP, ENOSPC),
	L(LIBC_PREAD, RIG_SUP, EIO),
	L(LIBC_SOCKETPAIR, RIG_SUP, EMFILE),
	L(LIBC_MEMFD, RIG_SUP, EMFILE),
	L(LIBC_MMAP, RIG_SUP, ENOMEM),
	L(LIBC_SENDMSG, RIG_SUP, EAGAIN),
	L(LIBC_SENDMSG, RIG_SUP, ENOBUFS),
	L(LIBC_RECVMSG, RIG_SUP, ENOMEM),
	L(LIBC_EPOLL_ADD, RIG_SUP, ENOSPC),
	L(LIBC_MMAP, RIG_WORKER, ENOMEM),
	L(LIBC_SENDMSG, RIG_WORKER, ENOBUFS),
	L(LIBC_RECVMSG, RIG_WORKER, ENOMEM),
	L(LIBC_EPOLL_ADD, RIG_WORKER, ENOSPC),
	L(LIBC_EPOLL_CREATE, RIG_WORKER, EMFILE),
	L(LIBC_EVENTFD, RIG_WORKER, EMFILE),
#undef X
#undef L
};

static void arm(const struct call *c, unsigned int n, unsigned int count)
{
	if (c->is_xens) {
		fake_fail_from(c->whose, (enum fake_call)c->kind, n, count,
			       c->err);
		return;
	}
	libc.call = (enum libc_call)c->kind;
	libc.actor = c->whose;
	libc.n = n;
	libc.count = count;
	libc.err = c->err;
}

static void disarm(const struct call *c)
{
	bool happened = c->is_xens && fake_failed((enum fake_call)c->kind);

	if (c->is_xens)
		fake_fail_nth(0, (enum fake_call)c->kind, 0, 0);
	libc.happened |= happened;
	libc.n = 0;
}

static bool has_happened(const struct call *c)
{
	return libc.happened ||
	       (c->is_xens && fake_failed((enum fake_call)c->kind));
}

/* ---- a guest that works ------------------------------------------------- */

enum outcome {
	DID_NOT_HAPPEN = 30, WELL, LOST, NO_WORKER, WRONG, LEFT, SILENT,
	BROKEN_TEST, OUTCOME_MAX,
};
static const char *const outcome_names[] = {
	[WELL - DID_NOT_HAPPEN] = "well",
	[LOST - DID_NOT_HAPPEN] = "lost",
	[NO_WORKER - DID_NOT_HAPPEN] = "no worker",
	[WRONG - DID_NOT_HAPPEN] = "wrong",
	[LEFT - DID_NOT_HAPPEN] = "left behind",
	[SILENT - DID_NOT_HAPPEN] = "not said",
	[BROKEN_TEST - DID_NOT_HAPPEN] = "test broken",
};

static struct fake_disk disk;
static struct drv d;
static struct drv_buf data;
static bool has_ext, has_two;

static void step(uint64_t ns)
{
	static unsigned int turns;

	ahead_ns += ns;
	rig_step();
	/* Queues' threads live in the time that is. */
	if (has_two && d.nr_queues && turns++ % 16 == 0)
		usleep(20);
}

/* Turns until @cond, or @s seconds of made time; its last value. */
#define until_made(s, cond) ({ \
	uint64_t began_ = ahead_ns; \
	bool is_; \
	while (!(is_ = (cond)) && ahead_ns - began_ < (s) * 1000000000ull) \
		step(max_u((ahead_ns - began_) / 32, 1000000ull)); \
	is_; \
})

static long node_state(void)
{
	return fake_libxl_disk_key(&disk, "state");
}

#define NR_REQS	4u
static int heads[NR_REQS];
static uint8_t *status[NR_REQS];
static unsigned int turn;

static uint64_t sector_of(unsigned int i)
{
	return (turn * NR_REQS + i) % 32 * 8;
}

static uint8_t written(unsigned int i, unsigned int at)
{
	return (uint8_t)(turn * 11 + i * 5 + at * 3);
}

/* Two writes and two reads, on the queues in turn; not told yet. */
static void submit(void)
{
	unsigned int i, k;

	turn++;
	for (i = 0; i < NR_REQS; i++) {
		struct drv_queue *q = &d.q[has_two ? i & 1 : 0];
		struct drv_seg s = { data.addr + i * 4096, 4096, i & 2 };

		for (k = 0; k < 4096; k++)
			data.va[i * 4096 + k] = s.dev_writes ? 0xee :
						written(i, k);
		heads[i] = drv_blk_add(&d, q, s.dev_writes ?
				       VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
				       sector_of(i), &s, 1, false, &status[i]);
		if (heads[i] < 0)
			_exit(BROKEN_TEST);
	}
}

static void kick_queue(struct drv_queue *q)
{
	drv_publish(q);
	if (q->port)
		fake_guest_notify(GUEST, q->port);
	else if (!fake_mmio_waits(GUEST, 1))
		fake_mmio_start(GUEST, 1, disk.base + VIRTIO_MMIO_QUEUE_NOTIFY,
				4, true, q->index);
}

/* Once: a notification that is lost is the backend's to make up for. */
static void kick(void)
{
	unsigned int i;

	for (i = 0; i < d.nr_queues; i++)
		kick_queue(&d.q[i]);
}

static unsigned int nr_done;
static bool is_wrong;

static void take(struct drv_queue *q)
{
	unsigned int i;
	int head = drv_take(q, NULL);

	if (head == -EAGAIN)
		return;
	for (i = 0; i < NR_REQS; i++)
		if (heads[i] == head && &d.q[has_two ? i & 1 : 0] == q)
			break;
	if (i == NR_REQS) {
		is_wrong = true;
		return;
	}
	heads[i] = -1;
	nr_done++;
	is_wrong |= *status[i] != VIRTIO_BLK_S_OK;
}

static bool all_done(void)
{
	unsigned int i;

	for (i = 0; i < d.nr_queues; i++)
		take(&d.q[i]);
	return nr_done == NR_REQS || is_wrong;
}

static bool data_is_right(void)
{
	int fd = __real_open(disk.params, O_RDONLY | O_CLOEXEC);
	unsigned int i, k;
	uint8_t there[4096];
	bool is = true;

	for (i = 0; i < NR_REQS; i++) {
		is &= __real_pread(fd, there, sizeof(there),
				   (off_t)sector_of(i) * 512) == sizeof(there);
		for (k = 0; k < sizeof(there); k++)
			is &= there[k] == (i & 2 ? data.va[i * 4096 + k] :
						   written(i, k));
	}
	close(fd);
	return is;
}

/* What became of what submit() made. */
static enum outcome collect(void)
{
	uint64_t until_ms = rig_now_ms() + 3000;

	nr_done = 0;
	is_wrong = false;
	while (!until_made(60, all_done()) && has_two &&
	       rig_now_ms() < until_ms)
		usleep(1000);
	if (!all_done())
		return node_state() < 0 ? LOST :
		       !rig_worker_of(GUEST) ? NO_WORKER : LOST;
	if (is_wrong || !data_is_right())
		return WRONG;
	return WELL;
}

static bool needs_reset(void)
{
	uint64_t v = ~0ull;

	if (fake_mmio_start(GUEST, 0, disk.base + VIRTIO_MMIO_STATUS, 4, false,
			    0))
		return true;
	until_made(60, fake_mmio_done(GUEST, 0, &v));
	return v & VIRTIO_CONFIG_S_NEEDS_RESET || !(v & 4);
}

/* It serves, and goes on to. */
static enum outcome is_served(void)
{
	enum outcome o;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		submit();
		kick();
		o = collect();
		if (o != WELL)
			return o;
		if (needs_reset())
			return LOST;
		until_made(12, false);
	}
	if (node_state() != 2)
		return LOST;
	return WELL;
}

static void start_driver(void)
{
	unsigned int i;

	d = rig_drv(&disk);
	d.num = 16;
	if (drv_negotiate(&d))
		_exit(BROKEN_TEST);
	d.nr_queues = has_two ? 2 : 1;
	for (i = 0; i < d.nr_queues; i++)
		drv_queue_init(&d, i, d.num);
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	data = drv_buf(&d, NR_REQS * 4096, false);
	if (has_ext) {
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_FIRST, d.q[0].mem.ref);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_PAGES,
			  data.ref + data.pages - d.q[0].mem.ref);
		drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	}
	for (i = 0; i < d.nr_queues; i++) {
		if (has_ext) {
			d.q[i].port = fake_guest_alloc_unbound(GUEST,
							       RIG_BACKEND);
			drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, i);
			drv_write(&d, VIRTIO_GRANT_MMIO_QUEUE_PORT,
				  d.q[i].port);
		}
		if (drv_queue_enable(&d, i))
			_exit(BROKEN_TEST);
	}
	if (drv_driver_ok(&d))
		_exit(BROKEN_TEST);
}

/* As systemd has it: until it starts. */
static void sup_start(void)
{
	unsigned int i;

	for (i = 0; i < 20 && rig_sup_start(); i++)
		until_made(1, false);
	if (!rig.sup)
		_exit(BROKEN_TEST);
}

static void broker_start(void)
{
	if (rig_broker_start())
		_exit(BROKEN_TEST);
}

static void be_served(void)
{
	broker_start();
	if (rig_sup_start())
		_exit(BROKEN_TEST);
	fake_libxl_disk_add(&disk);
	if (!until_made(10, node_state() == 2))
		_exit(BROKEN_TEST);
	start_driver();
	submit();
	kick();
	if (collect() != WELL)
		_exit(BROKEN_TEST);
}

static void kill_worker(void)
{
	struct rig_worker *rw = rig_worker_of(GUEST);

	if (rw)
		rig_worker_kill(rw);
}

/* ---- lives -------------------------------------------------------------- */

static const struct call *call;
static unsigned int call_n, call_count;

static void now(void)
{
	arm(call, call_n, call_count);
}

/* A new one: served in libxl's time, or refused and said. */
static enum outcome is_new_served(void)
{
	unsigned int i;

	/* The operator tries again. */
	for (i = 0; i < 8 && node_state() != 2; i++) {
		if (!unit_log_lines())
			return SILENT;
		if (node_state() != -1)
			return NO_WORKER;
		fake_libxl_disk_remove(&disk);
		until_made(1, false);
		fake_libxl_disk_add(&disk);
		until_made(10, node_state() == 2 || node_state() == -1);
	}
	if (node_state() != 2)
		return LOST;
	/* What its driver asks for first may be refused. */
	disarm(call);
	start_driver();
	return is_served();
}

static enum outcome first_start(void)
{
	broker_start();
	now();
	if (rig_sup_start() && !unit_log_lines())
		return SILENT;
	if (!rig.sup)
		sup_start();
	fake_libxl_disk_add(&disk);
	until_made(10, node_state() != 1);
	return is_new_served();
}

static enum outcome running(void)
{
	char key[300];
	unsigned int i;
	enum outcome o;

	be_served();
	now();
	for (i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "%s/online",
			 fake_libxl_disk_path(&disk));
		fake_store_write(0, key, "%u", 1);
		submit();
		kick();
		o = collect();
		if (o != WELL)
			return o;
	}
	return is_served();
}

/* Requests that nobody has seen, and no process to see them. */
static void submit_unseen(void)
{
	rig_worker_of(GUEST)->is_hung = true;
	submit();
	kick();
	rig_steps(3);
	rig_worker_of(GUEST)->is_hung = false;
}

static enum outcome after(void)
{
	enum outcome o = collect();

	return o == WELL ? is_served() : o;
}

static enum outcome worker_dies(void)
{
	be_served();
	if (has_two)
		submit_unseen();
	else
		submit();
	now();
	if (!has_two) {		/* some are taken, some are done */
		rig.die_at = 9;
		kick();
		until_made(1, rig.deaths);
		rig.die_at = 0;
	}
	if (!rig.deaths)
		kill_worker();
	return after();
}

static enum outcome supervisor_dies(void)
{
	be_served();
	submit_unseen();
	rig_sup_kill();
	kill_worker();		/* PR_SET_PDEATHSIG */
	now();
	sup_start();
	return after();
}

static enum outcome broker_dies(void)
{
	be_served();
	submit_unseen();
	rig_broker_kill();
	now();
	broker_start();
	return after();
}

static enum outcome worker_and_broker_die(void)
{
	be_served();
	submit_unseen();
	rig_broker_kill();
	kill_worker();
	now();
	until_made(3, false);
	broker_start();
	return after();
}

static void sup_stop(void)
{
	rig_sup_stop();
	until_made(5, !rig_worker_of(GUEST));
}

static enum outcome supervisor_then_broker(void)
{
	be_served();
	submit_unseen();
	now();
	sup_stop();
	rig_broker_stop(true);
	sup_start();
	until_made(2, false);
	broker_start();
	return after();
}

static enum outcome broker_then_supervisor(void)
{
	be_served();
	submit_unseen();
	now();
	rig_broker_stop(true);
	until_made(1, false);
	sup_stop();
	broker_start();
	until_made(1, false);
	sup_start();
	return after();
}

/* The image is not there while its disk is taken over. */
static enum outcome image_is_away(void)
{
	char away[300];

	snprintf(away, sizeof(away), "%s.away", disk.params);
	be_served();
	submit_unseen();
	rename(disk.params, away);
	rig_sup_kill();
	kill_worker();
	now();
	sup_start();
	until_made(4, false);
	if (node_state() != 2)
		return LOST;
	rename(away, disk.params);
	return after();
}

/* I/O of the worker that died is under way, for a while. */
static enum outcome last_io_is_awaited(void)
{
	char path[512];
	int fd;

	be_served();
	submit_unseen();
	kill_worker();
	snprintf(path, sizeof(path), "%s/%u-virtio_disk-%u", rig.state_dir,
		 disk.guest, disk.devid);
	fd = __real_open(path, O_RDWR | O_CLOEXEC);
	__real_flock(fd, LOCK_EX | LOCK_NB);
	now();
	until_made(3, false);
	close(fd);
	return after();
}

/* Another machine gets the image. */
static enum outcome image_is_free(void)
{
	struct fake_disk other = disk;

	disarm(call);
	other.guest = NEXT;
	rig_guest(NEXT, 1);
	fake_libxl_disk_add(&other);
	if (!until_made(10, fake_libxl_disk_key(&other, "state") == 2))
		return LEFT;
	return rig_worker_of(GUEST) ? LEFT : WELL;
}

static enum outcome guest_ends(void)
{
	be_served();
	now();
	fake_domain_destroy(GUEST);
	until_made(1, false);
	fake_libxl_disk_close(&disk);
	until_made(10, node_state() == 6);
	fake_libxl_disk_remove(&disk);
	until_made(10, false);
	return image_is_free();
}

static enum outcome removed_by_force(void)
{
	be_served();
	drv_reset(&d);
	now();
	fake_libxl_disk_remove(&disk);
	until_made(10, false);
	return image_is_free();
}

static enum outcome same_name_again(void)
{
	be_served();
	drv_reset(&d);
	drv_exit(&d);
	now();
	fake_libxl_disk_close(&disk);
	until_made(10, node_state() == 6);
	fake_libxl_disk_remove(&disk);
	until_made(1, false);
	fake_libxl_disk_add(&disk);
	until_made(10, node_state() == 2 || node_state() == -1);
	return is_new_served();
}

static const struct {
	const char *name;
	enum outcome (*live)(void);
	bool takes_no_over;	/* which calls[].places is for */
} lives[] = {
	{ "first_start", first_start, false },
	{ "running", running, true },
	{ "worker_dies", worker_dies, false },
	{ "supervisor_dies", supervisor_dies, false },
	{ "broker_dies", broker_dies, false },
	{ "worker_and_broker_die", worker_and_broker_die, false },
	{ "supervisor_then_broker", supervisor_then_broker, false },
	{ "broker_then_supervisor", broker_then_supervisor, true },
	{ "image_is_away", image_is_away, false },
	{ "last_io_is_awaited", last_io_is_awaited, false },
	{ "guest_ends", guest_ends, false },
	{ "removed_by_force", removed_by_force, false },
	{ "same_name_again", same_name_again, false },
};

/* ---- one of them, in a process of its own ------------------------------- */

static bool is_verbose;

static void __attribute__((noreturn)) live(unsigned int l)
{
	enum outcome o;

	alarm(60);
	rig_up();
	rig.cfg.queue_size_max = 16;
	rig.cfg.nr_queues = has_two ? 2 : 1;
	rig_guest(GUEST, 2);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, IMAGE_BYTES));
	o = lives[l].live();
	if (o != BROKEN_TEST && !has_happened(call))
		o = DID_NOT_HAPPEN;
	if (is_verbose)
		unit_log_dump();
	unit_rm_r(rig.dir);
	_exit(o);
}

/* Of all that run at once. */
static struct counts {
	unsigned int of[OUTCOME_MAX], crashes;
} *counts;

#define count_one(c)	__atomic_fetch_add(&(c), 1, __ATOMIC_RELAXED)

static enum outcome live_once(unsigned int l, const struct call *c,
			      unsigned int n, unsigned int times)
{
	int st = 0, code;
	pid_t pid;

	call = c;
	call_n = n;
	call_count = times;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		live(l);
	waitpid(pid, &st, 0);
	code = WIFEXITED(st) ? WEXITSTATUS(st) : 0;
	if (code == WELL || code == DID_NOT_HAPPEN) {
		count_one(counts->of[code]);
		return (enum outcome)code;
	}
	fprintf(stderr, "%s, %s, call %u, %u times%s: %s", lives[l].name,
		c->name, n, times, has_two ? ", ranges, two queues" : "",
		code > WELL && code < OUTCOME_MAX ?
		outcome_names[code - DID_NOT_HAPPEN] : "crashed");
	if (code > WELL && code < OUTCOME_MAX) {
		count_one(counts->of[code]);
		fprintf(stderr, "\n");
		return (enum outcome)code;
	}
	count_one(counts->crashes);
	fprintf(stderr, " (%s %d)\n", WIFSIGNALED(st) ? "signal" : "status",
		WIFSIGNALED(st) ? WTERMSIG(st) : code);
	return BROKEN_TEST;
}

/*
 * Once at each place, for a while at every other; thinned out where there are
 * many, unless all are wanted.
 */
static bool is_all;

static void each_place(unsigned int l, const struct call *c)
{
	unsigned int n, k = 0;
	bool happened = true;

	for (n = 1; happened && n < 200; n += 1 + n / (is_all ? 12 : 4)) {
		enum outcome o;

		if (c->places && n > c->places)
			break;
		o = live_once(l, c, n, 1);
		happened = o != DID_NOT_HAPPEN && o != BROKEN_TEST;
		if (happened && !c->is_verdict && (is_all || k++ % 2 == 0))
			live_once(l, c, n, 6);
	}
}

#define JOBS	4u

/* Each in one of the two ways that a guest uses a disk, or in both. */
static void each_call(unsigned int l, const char *only)
{
	unsigned int i, k, jobs = 0;

	for (i = 0; i < 2 * ARRAY_SIZE(calls); i++) {
		k = i / 2;
		if (only && strcmp(calls[k].name, only))
			continue;
		if (!is_all && (k + l + i) % 2)
			continue;
		if (calls[k].places && lives[l].takes_no_over)
			continue;
		if (jobs == JOBS) {
			wait(NULL);
			jobs--;
		}
		fflush(NULL);
		jobs++;
		if (fork())
			continue;
		has_ext = has_two = i % 2;
		each_place(l, &calls[k]);
		_exit(0);
	}
	while (jobs--)
		wait(NULL);
}

static void every_fault(void **state)
{
	unsigned int l = (unsigned int)(uintptr_t)*state, bad, i;
	const unsigned int *of = counts->of;

	memset(counts, 0, sizeof(*counts));
	each_call(l, NULL);
	for (bad = counts->crashes, i = WELL + 1; i < OUTCOME_MAX; i++)
		bad += of[i];
	print_message("%s: %u well, %u lost, %u without worker, %u wrong, %u left behind, %u not said, %u crashed, %u broken\n",
		      lives[l].name, of[WELL], of[LOST], of[NO_WORKER],
		      of[WRONG], of[LEFT], of[SILENT], counts->crashes,
		      of[BROKEN_TEST]);
	assert_int_equal(bad, 0);
	/* Fewer, and the life was not lived. */
	assert_true(of[WELL] > 15);
}

static int by_hand(int argc, char **argv)
{
	unsigned int l, i;

	is_all = true;
	has_ext = has_two = !getenv("PLAIN");
	for (l = 0; strcmp(lives[l].name, argv[1]); l++)
		if (l + 1 == ARRAY_SIZE(lives))
			return 2;
	if (argc < 4) {
		each_call(l, argc > 2 ? argv[2] : NULL);
		return 0;
	}
	is_verbose = true;
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (!strcmp(calls[i].name, argv[2]))
			printf("%d\n", live_once(l, &calls[i],
				(unsigned int)atoi(argv[3]),
				argc > 4 ? (unsigned int)atoi(argv[4]) : 1));
	return 0;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ARRAY_SIZE(lives)];
	unsigned int l;

	counts = __real_mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	is_all = getenv("VG_LIVES_ALL");
	if (argc > 1)
		return by_hand(argc, argv);
	for (l = 0; l < ARRAY_SIZE(lives); l++)
		tests[l] = (struct CMUnitTest){
			.name = lives[l].name, .test_func = every_fault,
			.initial_state = (void *)(uintptr_t)l,
		};
	return cmocka_run_group_tests_name("lives", tests, NULL, NULL);
}
