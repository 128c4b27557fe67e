// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * daemon.c - see daemon.h.
 */
#include "lib/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ctl_server.h"
#include "lib/log.h"
#include "lib/sd_notify.h"
#include "lib/util.h"

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

/* Through a signalfd. */
static int stop_by_signals(struct vg_loop *loop)
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

static int make_run_dir(const char *dir)
{
	if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
		int err = -errno;

		vg_err("%s: %s", dir, strerror(-err));
		return err;
	}
	return 0;
}

static int lock_run_dir(const char *run_dir, const char *name)
{
	int other, err = vg_pidfile_lock(run_dir, name, &other);

	if (err == -EBUSY)
		vg_err("another %s is running already (process %d)", name,
		       other);
	else if (err)
		vg_err("%s/%s.pid: %s", run_dir, name, strerror(-err));
	return err;
}

int vg_daemon_begin(const char *run_dir, const char *name,
		    struct vg_loop **loop)
{
	int err;

	err = make_run_dir(run_dir);
	if (!err)
		err = lock_run_dir(run_dir, name);
	if (err)
		return err;
	err = vg_loop_create(loop);
	if (!err)
		err = stop_by_signals(*loop);
	if (err)
		vg_err("event loop: %s", strerror(-err));
	return err;
}

int vg_daemon_serve(struct vg_loop *loop, const char *run_dir,
		    const char *sock_name,
		    vg_ctl_answer_fn *answer, void *arg)
{
	char *sock = vg_strf("%s/%s", run_dir, sock_name);
	struct vg_ctl_server *ctl = NULL;
	int err;

	err = vg_ctl_server_create(loop, sock, answer, arg, &ctl);
	if (err)
		vg_warn("%s: %s; virtio-grantctl will not see this daemon",
			sock, strerror(-err));
	vg_info("ready");
	err = vg_sd_notify("READY=1");
	if (err)
		vg_warn("NOTIFY_SOCKET=%s: %s; the service manager is not told",
			getenv("NOTIFY_SOCKET"), strerror(-err));
	err = vg_loop_run(loop);
	if (err)
		vg_err("event loop: %s", strerror(-err));
	vg_ctl_server_destroy(ctl);
	free(sock);
	return err;
}
