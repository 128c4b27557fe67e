// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spawn.c - see spawn.h.
 *
 * A confined worker comes with a mapper (mapper.h), and they end together: the
 * mapper when the worker's end of their socket closes, and before another
 * worker of the same guest is started at the latest, since ports stay bound as
 * long as either has the file open.  Nothing here waits for a process for
 * longer than one needs that was killed and can end.
 */
#include "grantd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "grantd/mapper.h"
#include "grantd/sandbox.h"
#include "lib/child_log.h"
#include "lib/log.h"
#include "lib/util.h"
#include "virtio/state.h"
#include "xen/raw.h"

#define FDS_MAX		(VG_EVTCHN_FD - VG_SOCK_FD + VG_MAPPER_EVTCHNS_MAX)
/* Where none of the numbers above is, and nothing is closed by mistake. */
#define AWAY_FD		64
/*
 * For the end of a process that was killed, in milliseconds: nobody else is
 * served meanwhile.
 */
#define END_MS		200u

struct vg_mapper_process {
	struct vg_mapper_process *next;
	xen_domid_t guest;
	pid_t pid, worker;
	int ctl;
	bool is_ending;			/* killed, and waited for */
	bool is_killed;			/* ... but its worker is there */
	uint64_t file_max_bytes;	/* of the worker */
};

/* What a child gets as descriptors VG_SOCK_FD and on; -1: nothing there. */
struct hand {
	int fd[FDS_MAX];
	unsigned int nr;
	int log;			/* 0 to 2 */
	bool is_confined;
};

static void __attribute__((noreturn)) give_up(const char *line)
{
	/* Nobody to tell, if it fails. */
	_exit(write(STDERR_FILENO, line, strlen(line)) < 0 ? 126 : 127);
}

/* In the child: only what async-signal-safe functions can do. */
static void __attribute__((noreturn))
become(const struct hand *hand, char *const *argv)
{
	int away[FDS_MAX], log = fcntl(hand->log, F_DUPFD, AWAY_FD);
	struct rlimit rl;
	sigset_t none;
	unsigned int i;

	/* No file but its state, until vg_spawn_allow_file(). */
	if (hand->is_confined && !getrlimit(RLIMIT_FSIZE, &rl)) {
		rl.rlim_cur = min_u(vg_state_bytes(VG_STATE_QUEUES_MAX),
				    rl.rlim_max);
		setrlimit(RLIMIT_FSIZE, &rl);
	}
	for (i = 0; i < VG_SOCK_FD; i++)
		if (log < 0 || dup2(log, (int)i) < 0)
			_exit(126);

	/* Out of the way first: any may stand where another goes. */
	for (i = 0; i < hand->nr; i++) {
		away[i] = hand->fd[i] < 0 ? -1 :
			  fcntl(hand->fd[i], F_DUPFD, AWAY_FD);
		if (hand->fd[i] >= 0 && away[i] < 0)
			give_up("<3>too few descriptors\n");
	}
	for (i = 0; i < hand->nr; i++) {
		close(VG_SOCK_FD + (int)i);
		if (away[i] >= 0 && dup2(away[i], VG_SOCK_FD + (int)i) < 0)
			give_up("<3>too few descriptors\n");
	}
	if (close_range(VG_SOCK_FD + hand->nr, ~0u, 0) < 0)
		give_up("<3>its parent's descriptors can't be closed\n");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
	give_up("<3>/proc/self/exe can't be executed\n");
}

/* The options of a child, each to be freed, and so is the array. */
static char **make_args(const struct vg_spawn *sp, xen_domid_t guest,
			bool is_mapper)
{
	unsigned int n = 0, i;
	char **argv;

	while (sp->args[n])
		n++;
	argv = vg_calloc(n + 4, sizeof(*argv));
	for (i = 0; i < n; i++)
		argv[i] = vg_strdup(sp->args[i]);
	argv[n++] = vg_strf("--%s=%u", is_mapper ? "mapper" : "worker", guest);
	if (!sp->is_confined)
		return argv;
	argv[n++] = vg_strf("--confine=%u",
			    VG_SANDBOX_UID(sp->uid_base, guest, is_mapper));
	argv[n] = vg_strf("--handles=%u", sp->nr_evtchns);
	return argv;
}

static int open_log(const struct vg_spawn *sp, xen_domid_t guest,
		    bool is_mapper, int *fd)
{
	char *who = vg_strf("dom%u's %s", guest,
			    is_mapper ? "mapper" : "worker");
	int err = vg_child_log_open(sp->loop, who, fd);

	free(who);
	return err;
}

static int start(const struct vg_spawn *sp, xen_domid_t guest, bool is_mapper,
		 struct hand *hand, pid_t *pid)
{
	char **argv;
	unsigned int i;
	int err = open_log(sp, guest, is_mapper, &hand->log);

	if (err)
		return err;
	hand->is_confined = sp->is_confined;
	argv = make_args(sp, guest, is_mapper);
	*pid = sp->is_confined ? vg_sandbox_fork() : fork();
	if (*pid == 0)
		become(hand, argv);
	if (*pid < 0)
		err = -errno;
	close(hand->log);
	for (i = 0; argv[i]; i++)
		free(argv[i]);
	free(argv);
	return err;
}

static void close_all(const int *fds, unsigned int n)
{
	while (n--)
		if (fds[n] >= 0)
			close(fds[n]);
}

/* ---- with a mapper ------------------------------------------------------ */

static int open_arena(void)
{
	int fd = memfd_create("virtio-grant-arena", MFD_CLOEXEC |
			      MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	/* Neither side can take it away under the other. */
	if (ftruncate(fd, sizeof(struct vg_mapper_arena)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
		  F_SEAL_SEAL) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* What both have; fds are at their places in @hand.  Logs what fails. */
static int open_common(const struct vg_spawn *sp, struct hand *hand)
{
	unsigned int i;
	int fd;

	hand->nr = VG_EVTCHN_FD - VG_SOCK_FD + sp->nr_evtchns;
	for (i = 0; i < hand->nr; i++)
		hand->fd[i] = -1;
	fd = open_arena();
	if (fd < 0)
		return fd;
	hand->fd[VG_ARENA_FD - VG_SOCK_FD] = fd;
	fd = xen_raw_open_gntdev();
	if (fd < 0) {
		vg_err("/dev/xen/gntdev: %s (is the module xen-gntdev loaded?)",
		       strerror(-fd));
		return fd;
	}
	hand->fd[VG_GNTDEV_FD - VG_SOCK_FD] = fd;
	for (i = 0; i < sp->nr_evtchns; i++) {
		fd = xen_raw_open_evtchn();
		if (fd < 0) {
			vg_err("/dev/xen/evtchn: %s (is the module xen-evtchn loaded?)",
			       strerror(-fd));
			return fd;
		}
		hand->fd[VG_EVTCHN_FD - VG_SOCK_FD + i] = fd;
	}
	return 0;
}

/* Both processes.  @hand has what is common to them. */
static int start_pair(struct vg_spawn *sp, xen_domid_t guest,
		      struct hand *hand, int sock, int shared_fd, pid_t *pid)
{
	struct vg_mapper_process *mp;
	int rpc[2], ctl[2], err;
	pid_t mapper;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, rpc) < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ctl) < 0) {
		err = -errno;
		close_all(rpc, 2);
		return err;
	}
	hand->fd[VG_SOCK_FD - VG_SOCK_FD] = ctl[1];
	hand->fd[VG_RPC_FD - VG_SOCK_FD] = rpc[1];
	err = start(sp, guest, true, hand, &mapper);
	if (!err) {
		mp = vg_zalloc(sizeof(*mp));
		*mp = (struct vg_mapper_process){
			.next = sp->mappers, .guest = guest, .pid = mapper,
			.ctl = ctl[0],
		};
		hand->fd[VG_SOCK_FD - VG_SOCK_FD] = -1;
		sp->mappers = mp;
		hand->fd[VG_SOCK_FD - VG_SOCK_FD] = sock;
		hand->fd[VG_SHARED_FD - VG_SOCK_FD] = shared_fd;
		hand->fd[VG_RPC_FD - VG_SOCK_FD] = rpc[0];
		err = start(sp, guest, false, hand, pid);
		mp->worker = err ? 0 : *pid;
		if (err)
			vg_spawn_ended(sp, guest);
	} else {
		close(ctl[0]);
	}
	close_all(rpc, 2);
	close(ctl[1]);
	hand->fd[VG_SOCK_FD - VG_SOCK_FD] = -1;
	hand->fd[VG_SHARED_FD - VG_SOCK_FD] = -1;
	hand->fd[VG_RPC_FD - VG_SOCK_FD] = -1;
	return err;
}

static struct vg_mapper_process *find(const struct vg_spawn *sp,
				      xen_domid_t guest)
{
	struct vg_mapper_process *mp;

	for (mp = sp->mappers; mp; mp = mp->next)
		if (mp->guest == guest)
			return mp;
	return NULL;
}

int vg_spawn_worker(void *spawn, xen_domid_t guest, int sock, int shared_fd,
		    pid_t *pid)
{
	struct hand hand = { .fd = { sock, shared_fd }, .nr = 2, .log = -1 };
	struct vg_spawn *sp = spawn;
	int err;

	if (sp->is_confined) {
		vg_spawn_ended(sp, guest);
		hand.nr = 0;
		err = find(sp, guest) ? -EAGAIN : open_common(sp, &hand);
		if (!err)
			err = start_pair(sp, guest, &hand, sock, shared_fd,
					 pid);
		close_all(hand.fd, hand.nr);
	} else {
		err = start(sp, guest, false, &hand, pid);
	}
	close(sock);
	close(shared_fd);
	return err;
}

void vg_spawn_permit(void *spawn, xen_domid_t guest, unsigned int dev,
		     xen_domid_t domid, xen_ref_t ref, xen_port_t port)
{
	struct vg_mapper_permit permit = {
		.dev = dev, .domid = domid, .ref = ref, .port = port,
	};
	struct vg_spawn *sp = spawn;
	struct vg_mapper_process *mp = find(sp, guest);

	if (!mp || mp->is_ending || mp->is_killed ||
	    send(mp->ctl, &permit, sizeof(permit),
		 MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(permit))
		return;
	/*
	 * Else what was withdrawn would stay allowed.  The worker ends with it.
	 */
	vg_err("dom%u: its mapper can't be told whose page it may have: %s; it is killed",
	       guest, strerror(errno));
	kill(mp->pid, SIGKILL);
	mp->is_killed = true;
}

int vg_spawn_allow_file(void *spawn, xen_domid_t guest, uint64_t size_bytes)
{
	struct vg_spawn *sp = spawn;
	struct vg_mapper_process *mp = find(sp, guest);
	int err;

	if (!mp || mp->is_ending || size_bytes <= mp->file_max_bytes)
		return 0;
	err = vg_sandbox_set_file_max(
		mp->worker, VG_SANDBOX_UID(sp->uid_base, guest, false),
		size_bytes);
	if (!err)
		mp->file_max_bytes = size_bytes;
	return err;
}

/* Within @ms. */
static bool has_ended(const struct vg_mapper_process *mp, unsigned int ms)
{
	const struct timespec ms1 = { .tv_nsec = 1000000 };

	/* Or it is none of ours any more. */
	while (!waitpid(mp->pid, NULL, WNOHANG)) {
		if (!ms--)
			return false;
		nanosleep(&ms1, NULL);
	}
	return true;
}

void vg_spawn_ended(void *spawn, xen_domid_t guest)
{
	struct vg_spawn *sp = spawn;
	struct vg_mapper_process **p, *mp, *killed = NULL;

	mp = find(sp, guest);
	if (mp && !mp->is_ending) {
		kill(mp->pid, SIGKILL);
		close(mp->ctl);
		mp->is_ending = true;
		killed = mp;
	}
	/* And those that took longer: nobody waits for one a second time. */
	for (p = &sp->mappers; (mp = *p);) {
		if (!mp->is_ending ||
		    !has_ended(mp, mp == killed ? END_MS : 0)) {
			p = &mp->next;
			continue;
		}
		*p = mp->next;
		free(mp);
	}
}
