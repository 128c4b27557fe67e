// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * daemon.c - see daemon.h.
 */
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_server.h"
#include "log.h"

struct stopper {
	struct vg_loop *loop;
	int fd;
};

static void on_signal(void *arg)
{
	struct stopper *s = arg;
	struct signalfd_siginfo si;

	if (read(s->fd, &si, sizeof(si)) == sizeof(si))
		vg_info("%s, ending", strsignal((int)si.ssi_signo));
	vg_loop_stop(s->loop);
}

int vg_daemon_signals(struct vg_loop *loop)
{
	static struct stopper s;	/* for the life of the process */
	struct vg_fd *vfd;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	s.loop = loop;
	s.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s.fd < 0)
		return -errno;
	return vg_loop_add_fd(loop, s.fd, on_signal, &s, &vfd);
}

int vg_daemon_run_dir(const char *dir)
{
	if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
		int err = -errno;

		vg_err("%s: %s", dir, strerror(-err));
		return err;
	}
	return 0;
}

int vg_daemon_only_one(const char *run_dir, const char *name)
{
	int other, err = vg_pidfile_lock(run_dir, name, &other);

	if (err == -EBUSY)
		vg_err("another %s is running already (process %d)", name,
		       other);
	else if (err)
		vg_err("%s/%s.pid: %s", run_dir, name, strerror(-err));
	return err;
}
