/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon.h - what the main() functions of broker and backend share. */
#ifndef VG_DAEMON_H
#define VG_DAEMON_H

#include "lib/ctl_server.h"
#include "lib/loop.h"

#define VG_VERSION "0.1"

/*
 * The beginning of a daemon: its run directory, the lock that says that it is
 * the only one of that name, and a loop that SIGTERM and SIGINT stop.  Logs
 * what fails, and returns negative errno.
 */
int vg_daemon_begin(const char *run_dir, const char *name,
		    struct vg_loop **loop);
/*
 * The rest of its life: answers virtio-grantctl by run_dir/@sock_name, see
 * vg_ctl_server_create(), and turns the loop.  Logs, and returns what ended it.
 */
int vg_daemon_serve(struct vg_loop *loop, const char *run_dir,
		    const char *sock_name,
		    vg_ctl_answer_fn *answer, void *arg);

#endif
