// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sandbox.c - see sandbox.h: everything but the list of system calls, which
 * is in sandbox_filter.c.
 *
 * The order matters: resource limits and the empty root while we are root,
 * then user and capabilities, then what setresuid(2) would undo (not
 * dumpable, death with the parent), the filter last, since it forbids all of
 * the above.
 */
#include "grantd/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "grantd/sandbox_filter.h"
#include "lib/util.h"
#include "virtio/state.h"

/* Threads; what the kernel starts for us counts as well. */
#define THREADS_MAX		512u
/* What devices are made of, loops: some per queue of 16 devices. */
#define FILES_MAX		1024u

pid_t vg_sandbox_fork(void)
{
	unsigned long flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
			      CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWCGROUP |
			      SIGCHLD;

	/* Zeroes where the architectures differ in order. */
	return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

static int limit(int what, rlim_t most)
{
	struct rlimit rl = { most, most };

	return setrlimit(what, &rl) ? -errno : 0;
}

/* Of @pid, 0: ourselves.  The hard limit is left for the next time. */
static int limit_files(pid_t pid, uint64_t bytes)
{
	struct rlimit rl;

	if (prlimit(pid, RLIMIT_FSIZE, NULL, &rl) < 0)
		return -errno;
	rl.rlim_cur = min_u(max_u(bytes, vg_state_bytes(VG_STATE_QUEUES_MAX)),
			    rl.rlim_max);
	return prlimit(pid, RLIMIT_FSIZE, &rl, NULL) < 0 ? -errno : 0;
}

/*
 * Without CAP_SYS_RESOURCE it takes the same real ids (prlimit(2)); no right
 * comes with them or goes.
 */
static int limit_files_as(uid_t uid, pid_t pid, uint64_t bytes)
{
	int err;

	err = setresgid(uid, (gid_t)-1, (gid_t)-1) < 0 ||
	      setresuid(uid, (uid_t)-1, (uid_t)-1) < 0 ? -errno : 0;
	if (!err)
		err = limit_files(pid, bytes);
	if (setresuid(0, (uid_t)-1, (uid_t)-1) < 0 ||
	    setresgid(0, (gid_t)-1, (gid_t)-1) < 0)
		err = -errno;
	return err;
}

int vg_sandbox_set_file_max(pid_t pid, uid_t uid, uint64_t bytes)
{
	const struct timespec ms1 = { .tv_nsec = 1000000 };
	unsigned int i;
	int err = -EPERM;

	/* It is root still, or that user already, or just becomes it. */
	for (i = 0; i < 100 && err == -EPERM; i++) {
		if (i)
			nanosleep(&ms1, NULL);
		err = limit_files(pid, bytes);
		if (err == -EPERM)
			err = limit_files_as(uid, pid, bytes);
	}
	return err;
}

/* Our own, unless our parent has done it: it may have allowed more by now. */
static int limit_own_files(uint64_t bytes)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_FSIZE, &rl) < 0)
		return -errno;
	return rl.rlim_cur == RLIM_INFINITY ? limit_files(0, bytes) : 0;
}

static int limit_resources(const struct vg_sandbox *sb, const char **step)
{
	int err;

	*step = "limiting resources (setrlimit)";
	err = limit_own_files(sb->file_max_bytes);
	if (!err)
		err = limit(RLIMIT_CORE, 0);
	if (!err)
		err = limit(RLIMIT_NOFILE, FILES_MAX);
	if (!err)
		err = limit(RLIMIT_NPROC, THREADS_MAX);
	if (!err)
		err = limit(RLIMIT_MEMLOCK, sb->locked_max_bytes);
	if (!err)
		err = limit(RLIMIT_MSGQUEUE, 0);
	if (!err && sb->memory_max_bytes)
		err = limit(RLIMIT_AS, sb->memory_max_bytes);
	return err;
}

/*
 * A tmpfs that nothing can be put into becomes the root, and the old one is
 * gone.  From an initramfs there is no pivot_root(2); there the old
 * root stays below ours, out of reach without CAP_SYS_CHROOT.
 */
static int empty_root(const char **step)
{
	*step = "a mount namespace of its own";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	/* Any directory that is there on every system. */
	*step = "an empty root (tmpfs)";
	if (mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=2,mode=0555") < 0 || chdir("/proc") < 0)
		return -errno;
	*step = "changing the root";
	if (!syscall(SYS_pivot_root, ".", ".")) {
		if (umount2(".", MNT_DETACH) < 0)
			return -errno;
	} else if (errno != EINVAL ||
		   mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
		   chroot(".") < 0) {
		return -errno;
	}
	if (chdir("/") < 0 ||
	    mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY |
		  MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	return 0;
}

static int drop_capabilities(const struct vg_sandbox *sb, const char **step)
{
	struct __user_cap_header_struct hdr = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };
	unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
			     SECBIT_KEEP_CAPS_LOCKED |
			     SECBIT_NO_CAP_AMBIENT_RAISE |
			     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	unsigned int cap;

	*step = "dropping capabilities";
	for (cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno != EINVAL || cap <= CAP_SETPCAP)
				return -errno;
			break;	/* the kernel knows no more */
		}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
		return -errno;
	*step = "a user of its own";
	if (setgroups(0, NULL) < 0 ||
	    setresgid(sb->uid, sb->uid, sb->uid) < 0 ||
	    setresuid(sb->uid, sb->uid, sb->uid) < 0)
		return -errno;
	*step = "dropping capabilities";
	if (syscall(SYS_capset, &hdr, data) < 0)
		return -errno;
	/* What must not be taken on trust. */
	if (syscall(SYS_capget, &hdr, data) < 0)
		return -errno;
	if (data[0].effective || data[0].permitted || data[0].inheritable ||
	    data[1].effective || data[1].permitted || data[1].inheritable ||
	    !setresuid(0, 0, 0))
		return -EPERM;
	return 0;
}

static void *nothing(void *arg)
{
	return arg;
}

/*
 * The C library prepares some things when they are wanted first, with calls
 * that are not on the list.
 */
static int warm_up(const char **step)
{
	pthread_t t;
	int err;

	*step = "a thread";
	/*
	 * Without these malloc() opens files: to count CPUs before it makes
	 * an arena, to see the overcommit policy before it shrinks one.
	 */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, -1);
	err = pthread_create(&t, NULL, nothing, NULL);
	return err ? -err : -pthread_join(t, NULL);
}

int vg_sandbox_enter(const struct vg_sandbox *sb, const char **step)
{
	int err = warm_up(step);

	if (err)
		return err;
	/* No terminal to type into; it can be that there is none. */
	setsid();
	signal(SIGPIPE, SIG_IGN);
	/* Behind the limit it is EFBIG, and no signal. */
	signal(SIGXFSZ, SIG_IGN);
	err = limit_resources(sb, step);
	if (!err)
		err = empty_root(step);
	if (!err)
		err = drop_capabilities(sb, step);
	if (err)
		return err;
	*step = "no new privileges";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	*step = "the filter of system calls (seccomp)";
	return vg_sandbox_filter(sb);
}

/* ---- can it be done here? ----------------------------------------------- */

struct verdict {
	int err;
	size_t step_at;		/* from a text that both processes have */
};

static void __attribute__((noreturn)) try_it(int fd, uid_t uid_base)
{
	struct vg_sandbox sb = {
		.kind = VG_SANDBOX_WORKER,
		.uid = VG_SANDBOX_UID(uid_base, 0, false),
	};
	const char *step = "";
	struct verdict v;

	v.err = vg_sandbox_enter(&sb, &step);
	/* We are a copy of our parent: texts are at the same place. */
	v.step_at = (size_t)step;
	if (write(fd, &v, sizeof(v)) != sizeof(v))
		_exit(1);
	_exit(0);
}

int vg_sandbox_check(uid_t uid_base, const char **step)
{
	struct verdict v = { .err = -EIO };
	int p[2], status;
	ssize_t n;
	pid_t pid;

	*step = "a pipe";
	if (pipe(p) < 0)
		return -errno;
	*step = "namespaces (mount, net, ipc, uts, pid, cgroup)";
	pid = vg_sandbox_fork();
	if (pid < 0) {
		int err = -errno;

		close(p[0]);
		close(p[1]);
		return err;
	}
	if (pid == 0) {
		close(p[0]);
		try_it(p[1], uid_base);
	}
	close(p[1]);
	n = read(p[0], &v, sizeof(v));
	close(p[0]);
	waitpid(pid, &status, 0);
	if (n == sizeof(v)) {
		if (v.err)
			*step = (const char *)v.step_at;
		return v.err;
	}
	*step = "the filter of system calls (seccomp): it ends the process";
	return -EIO;
}

/* ---- whose numbers? ----------------------------------------------------- */

static bool is_ours(uid_t base, uid_t id)
{
	return id >= base && id - base < VG_SANDBOX_UIDS;
}

char *vg_sandbox_uid_owner(uid_t base)
{
	struct passwd *pw;
	struct group *gr;
	char *name = NULL;

	setpwent();
	while (!name && (pw = getpwent()))
		if (is_ours(base, pw->pw_uid) || is_ours(base, pw->pw_gid))
			name = vg_strf("user %s", pw->pw_name);
	endpwent();
	setgrent();
	while (!name && (gr = getgrent()))
		if (is_ours(base, gr->gr_gid))
			name = vg_strf("group %s", gr->gr_name);
	endgrent();
	return name;
}
