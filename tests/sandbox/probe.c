// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe.c - tries to get out of the sandbox of virtio-grantd's workers
 * (backend/grantd/sandbox.c), the real one, without Xen.  A line "PASS name" or
 * "FAIL name: why" for each attempt; status 0 if all of them failed to get out,
 * and what a worker needs still works.
 *
 *	sandbox-probe [--quick]
 *
 * Needs root.  Each attempt is made by a process of its own, which was started
 * and confined as a worker is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dev/blk/blk.h"
#include "dev/blk/rings.h"
#include "grantd/sandbox.h"
#include "grantd/sandbox_filter.h"
#include "virtio/state.h"
#include "lib/util.h"

/* What a child finds: what it shares with us, an image, a socket. */
#define SHARED_FD	3
#define IMAGE_FD	4
#define SOCK_FD		5
#define UID_BASE	VG_SANDBOX_UID_BASE
#define DOMID		7u

enum outcome {
	DIES,		/* of SIGSYS, with the number of @nr recorded */
	WORKS,		/* returns 0 */
};

static uint32_t *shared;

/* ---- what must not be possible ------------------------------------------ */

#define CALL(name, ...) \
	static int try_##name(void) \
	{ \
		return (int)syscall(SYS_##name, ##__VA_ARGS__); \
	}

CALL(openat, AT_FDCWD, "/", O_RDONLY)
CALL(openat2, AT_FDCWD, "/", NULL, 0)
CALL(execve, "/proc/self/exe", NULL, NULL)
CALL(execveat, IMAGE_FD, "", NULL, NULL, AT_EMPTY_PATH)
CALL(socket, AF_UNIX, SOCK_STREAM, 0)
CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, NULL)
CALL(connect, SOCK_FD, NULL, 0)
CALL(bind, SOCK_FD, NULL, 0)
CALL(setsockopt, SOCK_FD, SOL_SOCKET, SO_RCVBUF, NULL, 0)
CALL(ptrace, PTRACE_TRACEME, 0, 0, 0)
CALL(process_vm_readv, 1, NULL, 0, NULL, 0, 0)
CALL(process_vm_writev, 1, NULL, 0, NULL, 0, 0)
CALL(kill, -1, SIGKILL)
CALL(tgkill, 1, 1, SIGKILL)
CALL(tkill, 1, SIGKILL)
CALL(pidfd_open, 1, 0)
CALL(pidfd_getfd, 0, 0, 0)
CALL(io_uring_setup, 4, NULL)
CALL(unshare, CLONE_NEWUSER)
CALL(setns, IMAGE_FD, 0)
CALL(mount, "none", "/", "tmpfs", 0, NULL)
CALL(umount2, "/", MNT_DETACH)
CALL(pivot_root, ".", ".")
CALL(chroot, "..")
CALL(chdir, "..")
CALL(fchdir, IMAGE_FD)
CALL(setresuid, 0, 0, 0)
CALL(setresgid, 0, 0, 0)
CALL(setgroups, 0, NULL)
CALL(capset, NULL, NULL)
CALL(seccomp, 0, 0, NULL)
CALL(bpf, BPF_MAP_CREATE, NULL, 0)
CALL(perf_event_open, NULL, 0, -1, -1, 0)
CALL(keyctl, 0, 0, 0, 0, 0)
CALL(add_key, "user", "a", "b", 1, 0)
CALL(userfaultfd, 0)
CALL(memfd_create, "a", 0)
CALL(dup, IMAGE_FD)
CALL(getdents64, IMAGE_FD, NULL, 0)
CALL(readlinkat, AT_FDCWD, "/", NULL, 0)
CALL(unlinkat, AT_FDCWD, "a", 0)
CALL(linkat, IMAGE_FD, "", AT_FDCWD, "a", AT_EMPTY_PATH)
CALL(symlinkat, "a", AT_FDCWD, "b")
CALL(mkdirat, AT_FDCWD, "a", 0755)
CALL(mknodat, AT_FDCWD, "a", S_IFCHR | 0666, 0x0a00)
CALL(fchmod, IMAGE_FD, 04755)
CALL(fchown, IMAGE_FD, 0, 0)
CALL(ftruncate, IMAGE_FD, 0)
CALL(statx, AT_FDCWD, "/", 0, 0, NULL)
CALL(name_to_handle_at, AT_FDCWD, "/", NULL, NULL, 0)
CALL(open_by_handle_at, IMAGE_FD, NULL, 0)
CALL(init_module, NULL, 0, "")
CALL(finit_module, IMAGE_FD, "", 0)
CALL(kexec_load, 0, 0, NULL, 0)
CALL(reboot, 0, 0, 0, NULL)
CALL(sethostname, "a", 1)
CALL(prlimit64, 0, RLIMIT_NOFILE, NULL, NULL)
CALL(sched_setaffinity, 0, 0, NULL)
CALL(sched_setscheduler, 0, 0, NULL)
CALL(setpriority, 0, 0, -20)
CALL(personality, 0)
CALL(rt_sigaction, SIGSYS, NULL, NULL, 8)
CALL(rt_sigreturn)
CALL(sigaltstack, NULL, NULL)
CALL(timer_create, 0, NULL, NULL)
CALL(timerfd_create, 0, 0)
CALL(inotify_init1, 0)
CALL(fanotify_init, 0, 0)
CALL(shmget, 1, 4096, 0)
CALL(msgget, 1, 0)
CALL(semget, 1, 1, 0)
CALL(mq_open, "a", 0, 0, NULL)
CALL(swapon, "a", 0)
CALL(acct, "a")
CALL(syslog, 3, NULL, 0)
CALL(mlock, NULL, 0)
CALL(mremap, NULL, 0, 0, 0, NULL)
CALL(remap_file_pages, NULL, 0, 0, 0, 0)
CALL(pkey_mprotect, NULL, 4096, PROT_EXEC, -1)
CALL(getpid)
CALL(sendto, SOCK_FD, "a", 1, 0, NULL, 0)
CALL(landlock_create_ruleset, NULL, 0, 0)

static int fork_plain(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int fork_namespace(void)
{
	return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL,
			    NULL, NULL);
}

static int thread_in_namespace(void)
{
	return (int)syscall(SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES |
			    CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |
			    CLONE_SETTLS | CLONE_PARENT_SETTID |
			    CLONE_CHILD_CLEARTID | CLONE_NEWNET, NULL, NULL,
			    NULL, NULL);
}

static int mmap_exec(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int mprotect_exec(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int ioctl_tiocsti(void)
{
	return ioctl(2, TIOCSTI, "a");
}

/* The upper half of a register counts for nothing: the kernel cuts it off. */
static int ioctl_tiocsti_high(void)
{
	return (int)syscall(SYS_ioctl, 2, (1ul << 32) | TIOCSTI, "a");
}

static int ioctl_blkroset(void)
{
	return ioctl(IMAGE_FD, BLKROSET, NULL);
}

/* Requests that gntdev and evtchn have and a worker has no use for. */
static int ioctl_gntdev_notify(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 7, 16), NULL);
}

static int ioctl_gntdev_dmabuf(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 9, 20), NULL);
}

/* What the mapper alone may ask. */
static int ioctl_gntdev_map(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 0, 24), NULL);
}

static int ioctl_gntdev_copy(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 8, 16), NULL);
}

static int ioctl_evtchn_unbind(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 3, 4), NULL);
}

static int ioctl_evtchn_bind(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 1, 8), NULL);
}

/* What a worker may: unmap, notify; here of a file that is neither. */
static int xen_ioctls(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 1, 16), NULL) != -1 ||
	       ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 4, 4), NULL) != -1;
}

static int mapper_ioctls(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 0, 24), NULL) != -1 ||
	       ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 1, 16), NULL) != -1 ||
	       ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'G', 8, 16), NULL) != -1 ||
	       ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 3, 4), NULL) != -1 ||
	       ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 1, 8), NULL) != -1;
}

static int mapper_mmaps(void)
{
	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) == MAP_FAILED;
}

static int mapper_sends(void)
{
	struct msghdr mh = { 0 };

	return (int)sendmsg(SOCK_FD, &mh, 0);
}

static int ioctl_evtchn_virq(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 0, 4), NULL);
}

static int ioctl_evtchn_unbound(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'E', 2, 4), NULL);
}

static int ioctl_privcmd(void)
{
	return ioctl(IMAGE_FD, _IOC(_IOC_NONE, 'P', 0, 48), NULL);
}

static int fcntl_dup(void)
{
	return fcntl(IMAGE_FD, F_DUPFD, 100);
}

static int fcntl_setown(void)
{
	return fcntl(IMAGE_FD, F_SETOWN, 1);
}

static int register_op(unsigned int op)
{
	return (int)syscall(SYS_io_uring_register, 10, op, NULL, 0);
}

static int register_eventfd(void)
{
	return register_op(IORING_REGISTER_EVENTFD);
}

static int register_restrictions(void)
{
	return register_op(IORING_REGISTER_RESTRICTIONS);
}

static int register_personality(void)
{
	return register_op(IORING_REGISTER_PERSONALITY);
}

static int register_enable(void)
{
	return register_op(IORING_REGISTER_ENABLE_RINGS);
}

static int register_ring_fds(void)
{
	return register_op(IORING_REGISTER_RING_FDS);
}

/* ---- what must be possible ---------------------------------------------- */

static void *thread(void *arg)
{
	unsigned int i;
	void *p[64];

	/* Enough to make the C library's heap of this thread grow. */
	for (i = 0; i < 64; i++) {
		p[i] = malloc(4096 * i + 1);
		if (!p[i])
			return NULL;
		memset(p[i], 1, 4096 * i + 1);
	}
	for (i = 0; i < 64; i++)
		free(p[i]);
	return arg;
}

static int threads(void)
{
	pthread_t t[8];
	unsigned int i, round;
	void *ret;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 8; i++)
			if (pthread_create(&t[i], NULL, thread, shared))
				return 1;
		for (i = 0; i < 8; i++)
			if (pthread_join(t[i], &ret) || ret != shared)
				return 2;
	}
	return 0;
}

static int loop_things(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), ev = eventfd(0, EFD_NONBLOCK);
	struct epoll_event e = { .events = EPOLLIN };
	struct timespec ts;
	uint64_t v = 1;

	if (ep < 0 || ev < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e) ||
	    write(ev, &v, sizeof(v)) != sizeof(v) ||
	    epoll_wait(ep, &e, 1, 0) != 1 || read(ev, &v, sizeof(v)) < 0 ||
	    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts))
		return 1;
	return close(ep) || close(ev);
}

static int flags_of_an_image(void)
{
	int fl = fcntl(IMAGE_FD, F_GETFL);

	return fl < 0 || fcntl(IMAGE_FD, F_SETFL, fl | O_NONBLOCK) ||
	       fcntl(IMAGE_FD, F_SETFL, fl);
}

static int plain_io(void)
{
	char buf[512] = "x";
	struct iovec iov = { buf, sizeof(buf) };

	return pwritev2(IMAGE_FD, &iov, 1, 0, RWF_DSYNC) != sizeof(buf) ||
	       preadv2(IMAGE_FD, &iov, 1, 512, 0) != sizeof(buf);
}

static int sync_io(void)
{
	return plain_io() || fdatasync(IMAGE_FD) ||
	       fallocate(IMAGE_FD, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			 0, 4096);
}

/* Behind the limit there is an error, and no signal. */
static int grow_plain(void)
{
	char buf[512] = "x";
	struct iovec iov = { buf, sizeof(buf) };
	off_t end = (off_t)vg_state_bytes(VG_STATE_QUEUES_MAX);

	return pwritev2(IMAGE_FD, &iov, 1, end, 0) != -1 || errno != EFBIG ||
	       pwritev2(IMAGE_FD, &iov, 1, (off_t)1 << 40, 0) != -1 ||
	       pwritev2(IMAGE_FD, &iov, 1, end - 256, 0) != 256;
}

static int grow_fallocate(void)
{
	return fallocate(IMAGE_FD, 0, 0, 4096);
}

static int grow_memory(void)
{
	return mmap(NULL, (size_t)5 << 30, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

/* A thing that does no harm is refused, and the process lives on. */
static int refusals(void)
{
	return syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS ||
	       prctl(PR_SET_NAME, "a") != -1 || errno != EPERM ||
	       prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != -1 ||
	       syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) != -1;
}

/* ---- rings -------------------------------------------------------------- */

static int ring_of_image(struct io_uring *ring)
{
	int fd = IMAGE_FD;

	return vg_blk_ring_get(8, ring) ||
	       io_uring_register_files(ring, &fd, 1);
}

static int ring_do(struct io_uring *ring, struct io_uring_sqe *sqe)
{
	struct io_uring_cqe *cqe;
	int res;

	(void)sqe;
	if (io_uring_submit(ring) < 0 || io_uring_wait_cqe(ring, &cqe))
		return -EIO;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static int ring_io(void)
{
	static char buf[512];
	struct iovec iov = { buf, sizeof(buf) };
	struct io_uring ring;
	struct io_uring_sqe *s;

	if (ring_of_image(&ring))
		return 1;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_writev2(s, 0, &iov, 1, 0, RWF_DSYNC);
	s->flags |= IOSQE_FIXED_FILE;
	if (ring_do(&ring, s) != sizeof(buf))
		return 2;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_readv(s, 0, &iov, 1, 0);
	s->flags |= IOSQE_FIXED_FILE;
	if (ring_do(&ring, s) != sizeof(buf))
		return 3;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_fsync(s, 0, IORING_FSYNC_DATASYNC);
	s->flags |= IOSQE_FIXED_FILE;
	if (ring_do(&ring, s))
		return 4;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_fallocate(s, 0, FALLOC_FL_KEEP_SIZE, 0, 4096);
	s->flags |= IOSQE_FIXED_FILE;
	if (ring_do(&ring, s))
		return 5;
	io_uring_unregister_files(&ring);
	vg_blk_ring_put(&ring);
	return 0;
}

/* Nor by a ring. */
static int grow_ring(void)
{
	static char buf[512];
	struct iovec iov = { buf, sizeof(buf) };
	off_t end = (off_t)vg_state_bytes(VG_STATE_QUEUES_MAX);
	struct io_uring ring;
	struct io_uring_sqe *s;

	if (ring_of_image(&ring))
		return 1;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_writev(s, 0, &iov, 1, (uint64_t)end);
	s->flags |= IOSQE_FIXED_FILE;
	if (ring_do(&ring, s) != -EFBIG)
		return 2;
	s = io_uring_get_sqe(&ring);
	io_uring_prep_fallocate(s, 0, 0, 0, end + 1);
	s->flags |= IOSQE_FIXED_FILE;
	return ring_do(&ring, s) == -EFBIG ? 0 : 3;
}

/* One after the other by whatever thread. */
static void *ring_thread(void *arg)
{
	return ring_io() ? NULL : arg;
}

static int ring_again(void)
{
	unsigned int i;
	pthread_t t;
	void *ret;

	for (i = 0; i < 5; i++)
		if (ring_io() ||
		    pthread_create(&t, NULL, ring_thread, shared) ||
		    pthread_join(t, &ret) || ret != shared)
			return 50;
	return 0;
}

/* What a ring could be asked for instead: each must give -EACCES. */
static int ring_abuse(void)
{
	static char buf[512];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct io_uring ring;
	struct io_uring_sqe *s;
	unsigned int i;

	if (ring_of_image(&ring))
		return 1;
	for (i = 0; i < 12; i++) {
		int res;

		s = io_uring_get_sqe(&ring);
		switch (i) {
		case 0:
			io_uring_prep_openat(s, AT_FDCWD, "/", O_RDONLY, 0);
			break;
		case 1:
			io_uring_prep_read(s, IMAGE_FD, buf, 1, 0);
			break;
		case 2:	/* not a registered file */
			io_uring_prep_readv(s, IMAGE_FD, &iov, 1, 0);
			break;
		case 3:
			io_uring_prep_writev(s, IMAGE_FD, &iov, 1, 0);
			break;
		case 4:
			io_uring_prep_sendmsg(s, SOCK_FD, &mh, 0);
			break;
		case 5:
			io_uring_prep_connect(s, SOCK_FD, NULL, 0);
			break;
		case 6:
			io_uring_prep_accept(s, SOCK_FD, NULL, NULL, 0);
			break;
		case 7:
			io_uring_prep_unlinkat(s, AT_FDCWD, "a", 0);
			break;
		case 8:
			io_uring_prep_statx(s, AT_FDCWD, "/", 0, 0,
					    (struct statx *)buf);
			break;
		case 9:
			io_uring_prep_splice(s, IMAGE_FD, 0, IMAGE_FD, 0, 1, 0);
			break;
		case 10:
			io_uring_prep_nop(s);
			break;
		case 11: /* IORING_OP_URING_CMD: ioctls by another name */
			io_uring_prep_rw(46, s, IMAGE_FD, NULL, 0, 0);
			break;
		}
		res = ring_do(&ring, s);
		/* Refused before its arguments are looked at. */
		if (res != -EACCES && !(i == 11 && res == -EINVAL)) {
			*shared = i;
			return 100 + (int)i;
		}
	}
	return 0;
}

/* The stock has as many as were made, and that is final. */
static int ring_stock(void)
{
	struct io_uring a, b, c;

	if (vg_blk_ring_get(8, &a) || vg_blk_ring_get(8, &b) ||
	    vg_blk_ring_get(8, &c) != -EMFILE)
		return 1;
	vg_blk_ring_put(&b);
	return vg_blk_ring_get(8, &c) || c.ring_fd != b.ring_fd;
}

/* ---- the table ---------------------------------------------------------- */

/* A worker with rings for its images, one without; and a mapper. */
enum kind { URING, SYNC, MAPPER };

#define D(name)	{ #name, try_##name, DIES, SYS_##name, URING }
#define DX(fn, nr) { #fn, fn, DIES, nr, URING }
#define M(fn, want, nr) { "mapper: " #fn, fn, want, nr, MAPPER }
#define W(fn)	{ #fn, fn, WORKS, 0, URING }

static const struct probe {
	const char *name;
	int (*fn)(void);
	enum outcome want;
	long nr;
	enum kind kind;
} probes[] = {
	D(openat),
	D(openat2),
	D(execve),
	D(execveat),
	D(socket),
	D(socketpair),
	D(connect),
	D(bind),
	D(setsockopt),
	D(ptrace),
	D(process_vm_readv),
	D(process_vm_writev),
	D(kill),
	D(tgkill),
	D(tkill),
	D(pidfd_open),
	D(pidfd_getfd),
	D(io_uring_setup),
	D(unshare),
	D(setns),
	D(mount),
	D(umount2),
	D(pivot_root),
	D(chroot),
	D(chdir),
	D(fchdir),
	D(setresuid),
	D(setresgid),
	D(setgroups),
	D(capset),
	D(seccomp),
	D(bpf),
	D(perf_event_open),
	D(keyctl),
	D(add_key),
	D(userfaultfd),
	D(memfd_create),
	D(dup),
	D(getdents64),
	D(readlinkat),
	D(unlinkat),
	D(linkat),
	D(symlinkat),
	D(mkdirat),
	D(mknodat),
	D(fchmod),
	D(fchown),
	D(ftruncate),
	D(statx),
	D(name_to_handle_at),
	D(open_by_handle_at),
	D(init_module),
	D(finit_module),
	D(kexec_load),
	D(reboot),
	D(sethostname),
	D(prlimit64),
	D(sched_setaffinity),
	D(sched_setscheduler),
	D(setpriority),
	D(personality),
	D(rt_sigaction),
	D(rt_sigreturn),
	D(sigaltstack),
	D(timer_create),
	D(timerfd_create),
	D(inotify_init1),
	D(fanotify_init),
	D(shmget),
	D(msgget),
	D(semget),
	D(mq_open),
	D(swapon),
	D(acct),
	D(syslog),
	D(mlock),
	D(mremap),
	D(remap_file_pages),
	D(pkey_mprotect),
	D(getpid),
	D(sendto),
	D(landlock_create_ruleset),
	DX(fork_plain, SYS_clone),
	DX(fork_namespace, SYS_clone),
	DX(thread_in_namespace, SYS_clone),
	DX(mmap_exec, SYS_mmap),
	DX(mprotect_exec, SYS_mprotect),
	DX(ioctl_tiocsti, SYS_ioctl),
	DX(ioctl_tiocsti_high, SYS_ioctl),
	DX(ioctl_blkroset, SYS_ioctl),
	DX(ioctl_gntdev_notify, SYS_ioctl),
	DX(ioctl_gntdev_dmabuf, SYS_ioctl),
	DX(ioctl_evtchn_virq, SYS_ioctl),
	DX(ioctl_evtchn_unbound, SYS_ioctl),
	DX(ioctl_gntdev_map, SYS_ioctl),
	DX(ioctl_gntdev_copy, SYS_ioctl),
	DX(ioctl_evtchn_bind, SYS_ioctl),
	DX(ioctl_evtchn_unbind, SYS_ioctl),
	DX(ioctl_privcmd, SYS_ioctl),
	DX(fcntl_dup, SYS_fcntl),
	DX(fcntl_setown, SYS_fcntl),
	DX(register_eventfd, SYS_io_uring_register),
	DX(register_restrictions, SYS_io_uring_register),
	DX(register_personality, SYS_io_uring_register),
	DX(register_enable, SYS_io_uring_register),
	DX(register_ring_fds, SYS_io_uring_register),
	DX(sync_io, SYS_fdatasync),
	W(xen_ioctls),
	W(threads),
	W(loop_things),
	W(flags_of_an_image),
	W(plain_io),
	W(grow_plain),
	W(grow_ring),
	W(grow_memory),
	W(refusals),
	W(ring_io),
	W(ring_again),
	W(ring_abuse),
	W(ring_stock),
	{ "sync_io without io_uring", sync_io, WORKS, 0, SYNC },
	{ "grow_plain without io_uring", grow_plain, WORKS, 0, SYNC },
	{ "grow_fallocate without io_uring", grow_fallocate, DIES,
	  SYS_fallocate, SYNC },
	{ "threads without io_uring", threads, WORKS, 0, SYNC },
	M(mapper_ioctls, WORKS, 0),
	M(mapper_mmaps, DIES, SYS_mmap),
	M(mapper_sends, DIES, SYS_sendmsg),
	M(try_openat, DIES, SYS_openat),
	M(try_io_uring_setup, DIES, SYS_io_uring_setup),
	M(try_socket, DIES, SYS_socket),
	M(fork_plain, DIES, SYS_clone),
	M(ioctl_evtchn_unbound, DIES, SYS_ioctl),
	M(ioctl_gntdev_notify, DIES, SYS_ioctl),
	{ "a ring without io_uring", ring_io, DIES, SYS_io_uring_setup, SYNC },
};

static unsigned int nr_failed;

static void __attribute__((format(printf, 3, 4)))
report(bool ok, const char *name, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (ok)
		printf("PASS sandbox: %s\n", name);
	else
		printf("FAIL sandbox: %s: %s\n", name, why);
	fflush(stdout);
	nr_failed += !ok;
}

/* ---- as a child --------------------------------------------------------- */

static struct vg_sandbox_calls calls[16];

/* What the device types call, as a worker has it. */
static void prepare(enum kind kind)
{
	unsigned int i;

	vg_blk_options.engine = kind == URING ? VG_BLK_ENGINE_AUTO :
						VG_BLK_ENGINE_SYNC;
	for (i = 0; i < vg_nr_dev_types; i++) {
		struct vg_dev_prepared p = { .nr_queues = 2 };

		if (vg_dev_types[i]->prepare)
			vg_dev_types[i]->prepare(&p);
		calls[i].of = p.syscalls;
		calls[i].nr = p.nr_syscalls;
	}
}

static struct vg_sandbox sandbox(enum kind kind)
{
	return (struct vg_sandbox){
		.kind = kind == MAPPER ? VG_SANDBOX_MAPPER : VG_SANDBOX_WORKER,
		.calls = calls,
		.nr_calls = kind == MAPPER ? 0 : vg_nr_dev_types,
		.uid = VG_SANDBOX_UID(UID_BASE, DOMID, false),
		.memory_max_bytes = UINT64_C(4) << 30,
		.locked_max_bytes = UINT64_C(1) << 20,
		.violation = shared + 1,
	};
}

static int confine(enum kind kind)
{
	struct vg_sandbox sb = sandbox(kind);
	const char *step;
	int err;

	/* In the other kind the one ring that is there is not prepared. */
	prepare(kind);
	if (kind == URING && !vg_blk_rings_are_prepared())
		return -ENOSYS;
	err = vg_sandbox_enter(&sb, &step);
	if (err)
		fprintf(stderr, "%s: %s\n", step, strerror(-err));
	return err;
}

static int as_child(const char *index)
{
	const struct probe *p;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD,
		      0);
	if (shared == MAP_FAILED)
		return 99;
	if (!strcmp(index, "wait")) {
		char c;

		if (confine(URING))
			return 98;
		if (write(SOCK_FD, "r", 1) != 1)
			return 97;
		/* Until the other end is closed. */
		return read(SOCK_FD, &c, 1) != 0;
	}
	p = &probes[atoi(index)];
	if (confine(p->kind))
		return 98;
	return p->fn();
}

static pid_t start_child(const char *index, int shared_fd, int image_fd,
			 int sock)
{
	char *argv[] = { (char *)"sandbox-probe", (char *)"--child",
			 (char *)(uintptr_t)index, NULL };
	pid_t pid = vg_sandbox_fork();

	if (pid)
		return pid;
	dup2(shared_fd, SHARED_FD);
	dup2(image_fd, IMAGE_FD);
	dup2(sock, SOCK_FD);
	close_range(SOCK_FD + 1, ~0u, 0);
	execv("/proc/self/exe", argv);
	_exit(96);
}

static void run_probe(unsigned int i, int shared_fd, int image_fd, int sock)
{
	const struct probe *p = &probes[i];
	char index[16];
	int status;
	pid_t pid;

	snprintf(index, sizeof(index), "%u", i);
	shared[0] = shared[1] = 0;
	pid = start_child(index, shared_fd, image_fd, sock);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		report(false, p->name, "no process: %s", strerror(errno));
		return;
	}
	if (p->want == DIES) {
		bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;

		report(killed && shared[1] == (uint32_t)p->nr + 1, p->name,
		       "status 0x%x, violation %u", (unsigned int)status,
		       shared[1]);
	} else {
		report(WIFEXITED(status) && !WEXITSTATUS(status), p->name,
		       "status 0x%x, violation %u, step %u",
		       (unsigned int)status, shared[1], shared[0]);
	}
}

/* ---- from outside ------------------------------------------------------- */

static void expect_line(const char *text, const char *line)
{
	char name[128];

	snprintf(name, sizeof(name), "status has \"%s\"", line);
	report(strstr(text, line), name, "it has not");
}

static void look_at_status(pid_t pid)
{
	unsigned int uid = VG_SANDBOX_UID(UID_BASE, DOMID, false);
	char path[64], text[8192], line[128];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[n] = 0;
	if (f)
		fclose(f);
	snprintf(line, sizeof(line), "\nUid:\t%u\t%u\t%u\t%u\n", uid, uid, uid,
		 uid);
	report(strstr(text, line), "its four user ids are its own", "%s", text);
	snprintf(line, sizeof(line), "\nGid:\t%u\t%u\t%u\t%u\n", uid, uid, uid,
		 uid);
	report(strstr(text, line), "its four group ids are its own", "%s", text);
	expect_line(text, "CapInh:\t0000000000000000");
	expect_line(text, "CapPrm:\t0000000000000000");
	expect_line(text, "CapEff:\t0000000000000000");
	expect_line(text, "CapBnd:\t0000000000000000");
	expect_line(text, "CapAmb:\t0000000000000000");
	expect_line(text, "NoNewPrivs:\t1");
	expect_line(text, "Seccomp:\t2");
	report(strstr(text, "\nGroups:\t \n"), "it has no other groups", "%s",
	       text);
	snprintf(line, sizeof(line), "\nNSpid:\t%d\t1\n", pid);
	report(strstr(text, line), "it is process 1 of its own", "%s", text);
}

static void look_at_namespaces(pid_t pid)
{
	static const char *const names[] = { "mnt", "net", "ipc", "uts", "pid",
					     "cgroup" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		char a[64], b[64], name[64];
		struct stat sa, sb;

		snprintf(a, sizeof(a), "/proc/%d/ns/%s", pid, names[i]);
		snprintf(b, sizeof(b), "/proc/self/ns/%s", names[i]);
		snprintf(name, sizeof(name), "its %s namespace is its own",
			 names[i]);
		report(!stat(a, &sa) && !stat(b, &sb) && sa.st_ino != sb.st_ino,
		       name, "%s", a);
	}
}

static void look_at_root(pid_t pid)
{
	unsigned int entries = 0;
	char path[64];
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/root/", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		entries++;
	report(dir && entries == 2, "its root is empty", "%u entries", entries);
	if (dir)
		closedir(dir);
	snprintf(path, sizeof(path), "/proc/%d/root/a", pid);
	report(mkdir(path, 0755) < 0 && errno == EROFS,
	       "its root can't be written to", "%s", strerror(errno));
	/* What is not dumpable belongs to root in /proc. */
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	report(!stat(path, &st) && st.st_uid == 0, "it is not dumpable",
	       "uid %u", st.st_uid);
}

static void look_at_limits(pid_t pid)
{
	static const struct {
		const char *name, *format;
		unsigned long long most;
	} limits[] = {
		{ "core", "Max core file size %*u %llu", 0 },
		{ "processes", "Max processes %*u %llu", 1024 },
		{ "files", "Max open files %*u %llu", 4096 },
		{ "locked memory", "Max locked memory %*u %llu", 1ull << 40 },
		{ "file size", "Max file size %llu", 1ull << 40 },
		{ "address space", "Max address space %*u %llu", 1ull << 40 },
	};
	bool seen[ARRAY_SIZE(limits)] = { false };
	char path[64], line[256], name[64];
	unsigned int i;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		for (i = 0; i < ARRAY_SIZE(limits); i++) {
			unsigned long long hard;

			if (sscanf(line, limits[i].format, &hard) == 1 &&
			    hard <= limits[i].most)
				seen[i] = true;
		}
	if (f)
		fclose(f);
	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		snprintf(name, sizeof(name), "a limit: %s", limits[i].name);
		report(seen[i], name, "not as it should be");
	}
}

static void look_from_outside(int shared_fd, int image_fd)
{
	int pair[2], status;
	char c;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return report(false, "a process to look at", "socketpair");
	pid = start_child("wait", shared_fd, image_fd, pair[1]);
	close(pair[1]);
	if (pid < 0 || read(pair[0], &c, 1) != 1)
		return report(false, "a process to look at", "does not start");
	look_at_status(pid);
	look_at_namespaces(pid);
	look_at_root(pid);
	look_at_limits(pid);
	close(pair[0]);
	waitpid(pid, &status, 0);
	report(WIFEXITED(status) && !WEXITSTATUS(status), "it ends orderly",
	       "status 0x%x", (unsigned int)status);
}

/* Its parent dies, and the child with it, whatever the child is doing. */
static void dies_with_parent(int shared_fd, int image_fd)
{
	int pair[2];
	pid_t middle;
	ssize_t n;
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return;
	middle = fork();
	if (middle == 0) {
		int keep[2];

		/* So that it is not the end of file that ends the child. */
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, keep) ||
		    start_child("wait", shared_fd, image_fd, pair[1]) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	close(pair[1]);
	n = read(pair[0], &c, 1);
	kill(middle, SIGKILL);
	waitpid(middle, NULL, 0);
	/* Our end stays open: only its death closes the child's. */
	report(n == 1 && read(pair[0], &c, 1) == 0, "it dies with its parent",
	       "read %zd", n);
	close(pair[0]);
}

/*
 * Traced, as by strace(1), it dies of a violation as well.  That it is the
 * first process of its PID namespace must not spare it.
 */
static void dies_traced(unsigned int i, int shared_fd, int image_fd, int sock)
{
	unsigned int stops = 0;
	char index[16];
	int status = 0;
	pid_t pid;

	snprintf(index, sizeof(index), "%u", i);
	shared[0] = shared[1] = 0;
	pid = start_child(index, shared_fd, image_fd, sock);
	if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
		report(false, "traced", "%s", strerror(errno));
		return;
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (++stops == 100)
			kill(pid, SIGKILL);
		/* The signal that it was stopped for. */
		ptrace(PTRACE_CONT, pid, NULL, (void *)(uintptr_t)
		       (status >> 16 ? 0 : WSTOPSIG(status)));
	}
	report(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS &&
	       shared[1] == (uint32_t)probes[i].nr + 1,
	       "traced, it dies all the same",
	       "status 0x%x, violation %u, %u stops", (unsigned int)status,
	       shared[1], stops);
}

/*
 * Every number there is, all arguments zero: who survives is on the list, or
 * is answered with an error.
 */
static void count_survivors(enum kind kind)
{
	unsigned int most = kind == MAPPER ? VG_SANDBOX_MAPPER_MAX :
					      VG_SANDBOX_SYSCALLS_MAX;
	unsigned int nr, alive = 0, listed;
	struct vg_sandbox sb = sandbox(kind);
	char list[1024] = "", name[64];

	prepare(kind);
	listed = vg_sandbox_nr_syscalls(&sb);
	for (nr = 0; nr < 512; nr++) {
		int status;
		char *text;
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
			if (vg_sandbox_filter(&sb))
				_exit(1);
			syscall(nr, 0, 0, 0, 0, 0, 0);
			syscall(SYS_exit_group, 0);
		}
		waitpid(pid, &status, 0);
		/*
		 * x86's uretprobe and its like pass every filter, and kill who
		 * calls them from anywhere but the kernel's trampoline.
		 */
		if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS ||
					    WTERMSIG(status) == SIGILL))
			continue;
		alive++;
		text = vg_sandbox_syscall_name(nr);
		if (strlen(list) + strlen(text) + 2 < sizeof(list)) {
			strcat(list, " ");
			strcat(list, text);
		}
		free(text);
	}
	printf("survivors:%s\n", list);
	snprintf(name, sizeof(name), "at most %u system calls (%s)", most,
		 kind == URING ? "io_uring" :
		 kind == SYNC ? "sync" : "mapper");
	/* Five are only answered; some live with other arguments only. */
	report(alive > 3 && alive <= most + 5 && listed <= most, name,
	       "%u survive, %u in the table", alive,
	       listed);
}

int main(int argc, char **argv)
{
	bool quick = argc == 2 && !strcmp(argv[1], "--quick");
	int shared_fd, image_fd, pair[2], err;
	const char *step;
	unsigned int i;

	if (argc == 3 && !strcmp(argv[1], "--child"))
		return as_child(argv[2]);
	if (getuid()) {
		puts("SKIP sandbox: needs root");
		return 0;
	}
	/* Out of the way of what a child has. */
	if (fcntl(0, F_DUPFD, 20) < 0)
		return 2;
	shared_fd = fcntl(memfd_create("shared", MFD_CLOEXEC),
			  F_DUPFD_CLOEXEC, 20);
	image_fd = fcntl(memfd_create("image", MFD_CLOEXEC), F_DUPFD_CLOEXEC,
			 20);
	if (shared_fd < 0 || image_fd < 0 || ftruncate(shared_fd, 4096) ||
	    ftruncate(image_fd, 65536) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return 2;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd,
		      0);
	err = vg_sandbox_check(UID_BASE, &step);
	report(!err, "it can be had on this kernel", "%s: %s", step,
	       strerror(-err));
	if (err)
		return 1;
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		run_probe(i, shared_fd, image_fd, pair[1]);
	dies_traced(0, shared_fd, image_fd, pair[1]);
	look_from_outside(shared_fd, image_fd);
	dies_with_parent(shared_fd, image_fd);
	if (!quick) {
		count_survivors(URING);
		count_survivors(SYNC);
		count_survivors(MAPPER);
	}
	return nr_failed ? 1 : 0;
}
