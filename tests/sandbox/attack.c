// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack.c - what a guest would do that has taken over its worker.  Linked
 * with everything that virtio-grantd is made of (build/arm64/
 * virtio-grantd-attacked, never installed): same set-up, same filter, and in
 * the loop of a worker this code, which has all that the worker has.
 *
 *	kill -USR1 WORKER	every attempt, one after the other; a line each
 *				on standard error, "attack: refused NAME" or
 *				"attack: ALLOWED NAME"; then a count of them
 *	kill -USR2 WORKER	a system call that is not on the list
 *
 * So that one run can make all attempts, a call that the filter refuses fails
 * with EPERM during the attack instead of ending the process.  For that the
 * handler of SIGSYS is replaced and rt_sigreturn(2) allowed, nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "lib/child_log.h"
#include "dev/blk/blk.h"
#include "grantd/mapper.h"
#include "grantd/sandbox.h"
#include "grantd/worker_main.h"
#include "xen/ioctls.h"
#include "xen/raw.h"

#define REFS		32768u	/* a grant table of Xen's default limit */
#define DOMIDS		10u
#define MARK		"the-neighbours-secret"

int __real_vg_worker_main(const struct vg_worker_start *start);
/* In the parent: all that the attack says is wanted. */
static void __attribute__((constructor)) hear_all(void)
{
	vg_child_log_burst = 100000;
}

int __wrap_vg_worker_main(const struct vg_worker_start *start);
int __real_sigaction(int sig, const struct sigaction *sa,
		     struct sigaction *old);
int __wrap_sigaction(int sig, const struct sigaction *sa,
		     struct sigaction *old);
scmp_filter_ctx __real_seccomp_init(uint32_t action);
scmp_filter_ctx __wrap_seccomp_init(uint32_t action);
int __real_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout);

static const struct vg_worker_start *self;
static struct vg_mapper_arena *arena;
static void (*sandbox_handler)(int sig, siginfo_t *si, void *ctx);
static volatile sig_atomic_t wanted, is_soft;
static unsigned int nr_refused, nr_allowed;

/* ---- how it gets in ----------------------------------------------------- */

static void on_wanted(int sig)
{
	wanted = sig;
}

static void on_sigsys(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;

	if (!is_soft)
		return sandbox_handler(sig, si, ctx);
#if defined(__aarch64__)
	uc->uc_mcontext.regs[0] = (unsigned long long)-EPERM;
#elif defined(__x86_64__)
	uc->uc_mcontext.gregs[REG_RAX] = -EPERM;
#endif
}

int __wrap_sigaction(int sig, const struct sigaction *sa, struct sigaction *old)
{
	struct sigaction own;

	if (sig != SIGSYS || !sa)
		return __real_sigaction(sig, sa, old);
	sandbox_handler = sa->sa_sigaction;
	own = *sa;
	own.sa_sigaction = on_sigsys;
	return __real_sigaction(sig, &own, old);
}

scmp_filter_ctx __wrap_seccomp_init(uint32_t action)
{
	scmp_filter_ctx ctx = __real_seccomp_init(action);

	seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(rt_sigreturn), 0);
	return ctx;
}

int __wrap_vg_worker_main(const struct vg_worker_start *start)
{
	struct sigaction sa = { .sa_handler = on_wanted };

	self = start;
	if (start->is_confined)
		arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
			     MAP_SHARED, start->arena_fd, 0);
	__real_sigaction(SIGUSR1, &sa, NULL);
	__real_sigaction(SIGUSR2, &sa, NULL);
	return __real_vg_worker_main(start);
}

/* ---- attempts ----------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3)))
outcome(bool allowed, const char *fmt, ...)
{
	char text[200], line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	nr_allowed += allowed;
	nr_refused += !allowed;
	n = snprintf(line, sizeof(line), "attack: %s %s\n",
		     allowed ? "ALLOWED" : "refused", text);
	if (write(2, line, (size_t)n) < 0)
		return;
}

#define TRY(name, ...) \
	outcome(syscall(SYS_##name, ##__VA_ARGS__) != -1, "system call %s", \
		#name)

static void try_system_calls(void)
{
	static const char *const files[] = {
		"/", "/proc/self/mem", "/proc/1/maps", "/dev/xen/gntdev",
		"/dev/xen/xenbus", "/dev/ram0", "/run/virtio-grant", "/etc/passwd",
	};
	unsigned int i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		outcome(syscall(SYS_openat, AT_FDCWD, files[i], O_RDONLY) != -1,
			"opening %s", files[i]);
	TRY(execve, "/proc/self/exe", NULL, NULL);
	TRY(socket, AF_UNIX, SOCK_STREAM, 0);
	TRY(socket, AF_INET, SOCK_STREAM, 0);
	TRY(connect, self->sock, NULL, 0);
	TRY(ptrace, PTRACE_ATTACH, 1, 0, 0);
	TRY(process_vm_readv, 1, NULL, 0, NULL, 0, 0);
	TRY(process_vm_writev, 1, NULL, 0, NULL, 0, 0);
	TRY(kill, -1, SIGKILL);
	TRY(tgkill, 2, 2, SIGKILL);
	TRY(pidfd_open, 1, 0);
	TRY(pidfd_getfd, 3, 3, 0);
	TRY(io_uring_setup, 4, NULL);
	TRY(unshare, CLONE_NEWUSER);
	TRY(setns, 3, 0);
	TRY(mount, "none", "/", "tmpfs", 0, NULL);
	TRY(chroot, "..");
	TRY(setresuid, 0, 0, 0);
	TRY(capset, NULL, NULL);
	TRY(clone, SIGCHLD, NULL, NULL, NULL, NULL);
	TRY(bpf, 0, NULL, 0);
	TRY(memfd_create, "a", 0);
	TRY(init_module, NULL, 0, "");
	TRY(perf_event_open, NULL, 0, -1, -1, 0);
	TRY(mmap, NULL, 4096, PROT_READ | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	outcome(ioctl(2, TIOCSTI, "a") != -1, "typing into the terminal");
}

/* The mapper's answer; -EPROTO: none of the expected size. */
static int ask(const void *req, size_t bytes, uint64_t *value)
{
	struct vg_mapper_rsp rsp;

	if (write(self->rpc_fd, req, bytes) != (ssize_t)bytes ||
	    read(self->rpc_fd, &rsp, sizeof(rsp)) != sizeof(rsp))
		return -EPROTO;
	if (value)
		*value = rsp.value;
	return rsp.err;
}

/* A whole table, many references at a time: how many batches pass. */
static unsigned int batches(uint32_t op, uint32_t domid, unsigned int size)
{
	struct vg_mapper_req req = { .op = op, .domid = domid, .count = size };
	unsigned int ref, i, passed = 0;

	for (ref = 0; ref < REFS; ref += size) {
		for (i = 0; i < size; i++) {
			arena->refs[i] = ref + i;
			arena->segs[i] = (struct vg_mapper_seg){
				.ref = ref + i, .len_bytes = 64 };
		}
		passed += ask(&req, sizeof(req), NULL) != -EPERM;
	}
	return passed;
}

/* Whether @ref of @domid can be had mapped. */
static bool can_map(uint32_t domid, uint32_t ref, int *err)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_MAP, .domid = domid, .count = 1,
	};
	uint64_t index;
	void *va;

	arena->refs[0] = ref;
	*err = ask(&req, sizeof(req), &index);
	if (*err)
		return false;
	va = mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->gntdev_fd,
		  (off_t)index);
	xen_raw_forget(self->gntdev_fd, index, 1);
	if (va == MAP_FAILED) {
		*err = -errno;
		return false;
	}
	munmap(va, 4096);
	return true;
}

static bool can_copy(uint32_t domid, uint32_t ref)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = domid, .count = 1,
	};

	arena->segs[0] = (struct vg_mapper_seg){ .ref = ref, .len_bytes = 64 };
	return !ask(&req, sizeof(req), NULL);
}

/* As a job of an exchange. */
static bool can_map_job(uint32_t domid, uint32_t ref)
{
	struct vg_mapper_req req = {
		.op = VG_MAPPER_EXCHANGE, .domid = domid, .jobs = 1,
	};

	arena->refs[0] = ref;
	arena->jobs[0] = (struct vg_mapper_job){ .count = 1, .err = -1 };
	if (ask(&req, sizeof(req), NULL) || arena->jobs[0].err)
		return false;
	xen_raw_forget(self->gntdev_fd, arena->jobs[0].index, 1);
	return true;
}

static void try_grants(void)
{
	unsigned int d, ref, mapped, copied, other;
	int err;

	/* That the attempts below are made rightly. */
	for (ref = mapped = copied = 0; ref < REFS / 32; ref++) {
		mapped += can_map(self->guest, ref, &err);
		copied += can_copy(self->guest, ref);
	}
	dprintf(2, "attack: control: %u references of its own guest can be mapped, %u copied; a job %s\n",
		mapped, copied, can_map_job(self->guest, 8) ? "passes" : "FAILS");
	for (d = 0; d < DOMIDS; d++) {
		unsigned int most = d == self->guest + 1u ? 512 : 64;

		if (d == self->guest)
			continue;
		for (ref = mapped = copied = other = 0; ref < most; ref++) {
			mapped += can_map(d, ref, &err);
			other += err != -EPERM;
			/* Prepared is too much already. */
			other += can_map_job(d, ref);
			copied += can_copy(d, ref);
		}
		/* The control domain's relay pages are ours by right. */
		outcome(d ? mapped || copied || other : mapped > 1 || copied,
			"mapping and copying %u references of dom%u: %u mapped, %u copied, %u tried in vain",
			most, d, mapped, copied, other - mapped);
		if (d && d != self->guest + 1u)
			continue;
		mapped = batches(VG_MAPPER_MAP, d, 128);
		copied = batches(VG_MAPPER_EXCHANGE, d, VG_MAPPER_SEGS_MAX);
		outcome(mapped || copied,
			"all %u references of dom%u, many at a time: %u and %u passed",
			REFS, d, mapped, copied);
	}
	outcome(can_map(0x7ff0, 8, &err), "mapping a reference of DOMID_SELF");
	outcome(can_map(0x10000 + self->guest, 8, &err),
		"mapping with a domain number of 17 bits");
	for (ref = mapped = 0; ref < 4096; ref++) {
		void *va = mmap(NULL, 4096, PROT_READ, MAP_SHARED,
				self->gntdev_fd, (off_t)ref << 12);

		mapped += va != MAP_FAILED;
	}
	outcome(mapped, "mapping what was not prepared: %u", mapped);
}

/* Memory of the domain, and its disks. */
static void try_growing(void)
{
	static char buf[512];
	struct vg_mapper_req req = {
		.op = VG_MAPPER_MAP, .domid = self->guest, .count = 64,
	};
	struct iovec iov = { buf, sizeof(buf) };
	uint64_t index, pages = 0;
	unsigned int fd, grown = 0, i, told = 0;

	for (fd = 0; fd < 1024; fd++)
		grown += pwritev2((int)fd, &iov, 1, (off_t)1 << 40, 0) > 0;
	outcome(grown, "growing the files behind 1024 descriptors: %u", grown);
	for (i = 0; i < 2048; i++) {
		if (ask(&req, sizeof(req), &index))
			continue;
		told++;
		if ((index >> 12) + 64 > pages)
			pages = (index >> 12) + 64;
	}
	outcome(pages > VG_MAPPER_REFS_MAX || !told,
		"having %u pages prepared and none mapped: %llu at once",
		told * 64, (unsigned long long)pages);
}

static void try_gntdev(void)
{
	static const unsigned int requests[] = {
		XEN_IOCTL_GNTDEV_MAP, XEN_IOCTL_GNTDEV_COPY,
		_IOC(_IOC_NONE, 'G', 7, 16), _IOC(_IOC_NONE, 'G', 9, 20),
		_IOC(_IOC_NONE, 'G', 11, 16),
	};
	static uint64_t arg[64];
	unsigned int i;

	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		outcome(ioctl(self->gntdev_fd, requests[i], arg) != -1,
			"request 0x%x of gntdev", requests[i]);
}

static void try_ports(void)
{
	struct vg_mapper_req req = { .op = VG_MAPPER_BIND };
	static uint32_t arg[64];
	unsigned int bound = 0, mine = 0, most, d, port, n;

	for (d = 0; d < DOMIDS; d++) {
		if (d == self->guest)
			continue;
		most = d == self->guest + 1u ? 256 : 32;
		for (port = 1, bound = 0; port < most; port++) {
			req.domid = d;
			req.port = port;
			bound += !ask(&req, sizeof(req), NULL);
		}
		outcome(bound, "binding to %u ports of dom%u", most - 1, d);
	}
	req.domid = self->guest;
	req.evtchn = 99;
	outcome(!ask(&req, sizeof(req), NULL), "a handle that is not there");
	for (n = 0; n < 4; n++)
		outcome(ioctl(self->first_evtchn_fd,
			      _IOC(_IOC_NONE, 'E', n, n == 1 ? 8 : 4),
			      arg) != -1,
			"request %u of evtchn", n);
	for (port = 1; port < 1024; port++)
		mine += !ioctl(self->first_evtchn_fd, XEN_IOCTL_EVTCHN_NOTIFY,
			       &port);
	/* Those that are bound to this handle: relay and queue of its disk. */
	outcome(mine > 4, "notifying %u ports of 1023", mine);
}

static void try_mapper(void)
{
	static uint8_t garbage[4096];
	struct vg_mapper_req req = { .domid = self->guest };
	int err;

	memset(garbage, 0xa5, sizeof(garbage));
	outcome(!ask(garbage, 1, NULL), "a short message to the mapper");
	outcome(!ask(garbage, sizeof(garbage), NULL), "a long one");
	outcome(!ask(garbage, sizeof(req), NULL), "one of noise");
	req.op = VG_MAPPER_MAP;
	outcome(!ask(&req, sizeof(req), NULL), "mapping nothing");
	req.count = VG_MAPPER_REFS_MAX + 1;
	outcome(!ask(&req, sizeof(req), NULL), "mapping too much");
	req.count = UINT32_MAX;
	outcome(!ask(&req, sizeof(req), NULL), "mapping far too much");
	req.op = VG_MAPPER_EXCHANGE;
	outcome(!ask(&req, sizeof(req), NULL), "copying far too much");
	req.count = 0;
	req.jobs = VG_MAPPER_JOBS_MAX + 1;
	outcome(!ask(&req, sizeof(req), NULL), "too many jobs");
	req.jobs = 1;
	arena->jobs[0] = (struct vg_mapper_job){ .count = UINT32_MAX };
	outcome(!ask(&req, sizeof(req), NULL) && !arena->jobs[0].err,
		"a job of too many references");
	req.jobs = 0;
	req.count = 1;
	arena->segs[0] = (struct vg_mapper_seg){
		.len_bytes = 64, .at = sizeof(arena->data) - 63 };
	outcome(!ask(&req, sizeof(req), NULL), "copying past the arena");
	arena->segs[0] = (struct vg_mapper_seg){
		.len_bytes = 64, .at = UINT32_MAX - 31, .to_foreign = 1 };
	outcome(!ask(&req, sizeof(req), NULL), "copying from far past it");
	arena->segs[0] = (struct vg_mapper_seg){ .offset = 4095,
						 .len_bytes = 4096 };
	outcome(!ask(&req, sizeof(req), NULL), "copying past a page");
	arena->segs[0] = (struct vg_mapper_seg){ .len_bytes = 65535 };
	outcome(!ask(&req, sizeof(req), NULL), "copying more than a page");
	/* And it lives. */
	can_map(self->guest, 0, &err);
	dprintf(2, "attack: control: the mapper %s\n",
		err == -EPROTO ? "is DEAD" : "goes on");
}

static int ring_do(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	if (io_uring_submit(ring) < 0 || io_uring_wait_cqe(ring, &cqe))
		return -EIO;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static void try_ring(void)
{
	static char buf[512];
	struct iovec iov = { buf, sizeof(buf) };
	struct io_uring_sqe *s;
	struct io_uring ring;
	unsigned int i;

	if (vg_blk_ring_get(8, &ring)) {
		dprintf(2, "attack: control: there is NO ring\n");
		return;
	}
	for (i = 0; i < 64; i++) {
		int res;

		/* With these, on registered files, it does its work. */
		if (i == IORING_OP_READV || i == IORING_OP_WRITEV ||
		    i == IORING_OP_READ_FIXED || i == IORING_OP_WRITE_FIXED ||
		    i == IORING_OP_FSYNC || i == IORING_OP_FALLOCATE)
			continue;
		s = io_uring_get_sqe(&ring);
		io_uring_prep_rw(i, s, AT_FDCWD, "/", 0, 0);
		s->flags |= i == IORING_OP_OPENAT || i == IORING_OP_SOCKET ? 0 :
			    IOSQE_FIXED_FILE;
		res = ring_do(&ring);
		outcome(res != -EACCES && res != -EINVAL,
			"operation %u of a ring: %d", i, res);
	}
	s = io_uring_get_sqe(&ring);
	io_uring_prep_readv(s, self->sock, &iov, 1, 0);
	outcome(ring_do(&ring) != -EACCES, "reading what is not registered");
	vg_blk_ring_put(&ring);
}

/* Does any descriptor lead to the neighbour's image? */
static void try_descriptors(void)
{
	static char buf[65536];
	struct iovec iov = { buf, sizeof(buf) };
	unsigned int found = 0, readable = 0;
	int fd;

	for (fd = 0; fd < 1024; fd++) {
		ssize_t n = preadv2(fd, &iov, 1, 0, 0);

		if (n < (ssize_t)sizeof(MARK))
			continue;
		readable++;
		found += memmem(buf, (size_t)n, MARK, strlen(MARK)) != NULL;
	}
	outcome(found, "finding the neighbour's data behind %u descriptors",
		readable);
}

static void attack(void)
{
	/* The pipe is its own: now it waits for room. */
	fcntl(2, F_SETFL, fcntl(2, F_GETFL) & ~O_NONBLOCK);
	dprintf(2, "attack: on dom%u's worker begins\n", self->guest);
	is_soft = 1;
	nr_refused = nr_allowed = 0;
	try_system_calls();
	try_growing();
	try_gntdev();
	try_ports();
	try_mapper();
	try_ring();
	try_descriptors();
	try_grants();
	is_soft = 0;
	dprintf(2, "attack: done: %u refused, %u allowed\n", nr_refused,
		nr_allowed);
}

int __wrap_epoll_wait(int fd, struct epoll_event *ev, int max, int timeout)
{
	int what = wanted;

	/* The main thread's loop alone: nobody else makes signals its own. */
	if (what && self) {
		wanted = 0;
		if (what == SIGUSR1)
			attack();
		else
			syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	}
	return __real_epoll_wait(fd, ev, max, timeout);
}
