/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon.h - what the main() functions of broker and backend share. */
#ifndef VG_DAEMON_H
#define VG_DAEMON_H

#include "loop.h"

#define VG_VERSION "0.1"

/*
 * SIGTERM and SIGINT stop @loop (through a signalfd); SIGPIPE is ignored.
 * 0 or negative errno.
 */
int vg_daemon_signals(struct vg_loop *loop);

/* mkdir -p of one level, 0755; logs and returns negative errno. */
int vg_daemon_run_dir(const char *dir);

/* Logs which process has the lock; see vg_pidfile_lock(). */
int vg_daemon_only_one(const char *run_dir, const char *name);

#endif
