// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spawn.c - see spawn.h.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "sandbox.h"
#include "util.h"

/* In the child: only what async-signal-safe functions can do. */
static void __attribute__((noreturn))
become_worker(int sock, int shared_fd, char *const *argv)
{
	sigset_t none;
	int s, m;

	/* Out of the way first: either may stand where the other goes. */
	s = fcntl(sock, F_DUPFD, 10);
	m = fcntl(shared_fd, F_DUPFD, 10);
	if (s < 0 || m < 0 || dup2(s, VG_WORKER_SOCK_FD) < 0 ||
	    dup2(m, VG_WORKER_SHARED_FD) < 0)
		_exit(126);
	if (close_range(VG_WORKER_SHARED_FD + 1, ~0u, 0) < 0)
		for (s = VG_WORKER_SHARED_FD + 1; s < 1024; s++)
			close(s);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* The options of a worker, each to be freed, and so is the array. */
static char **worker_args(const struct vg_spawn *sp, xen_domid_t guest)
{
	unsigned int n = 0, i;
	char **argv;

	while (sp->args[n])
		n++;
	argv = vg_calloc(n + 3, sizeof(*argv));
	for (i = 0; i < n; i++)
		argv[i] = vg_strdup(sp->args[i]);
	argv[n++] = vg_strf("--worker=%u", guest);
	if (sp->is_confined)
		argv[n] = vg_strf("--confine=%u",
				  VG_SANDBOX_UID(sp->uid_base, guest, false));
	return argv;
}

int vg_spawn_worker(void *spawn, xen_domid_t guest, int sock, int shared_fd,
		    pid_t *pid)
{
	struct vg_spawn *sp = spawn;
	char **argv = worker_args(sp, guest);
	unsigned int i;
	pid_t child;
	int err = 0;

	child = sp->is_confined ? vg_sandbox_fork() : fork();
	if (child == 0)
		become_worker(sock, shared_fd, argv);
	if (child < 0)
		err = -errno;
	*pid = child;
	close(sock);
	close(shared_fd);
	for (i = 0; argv[i]; i++)
		free(argv[i]);
	free(argv);
	return err;
}
