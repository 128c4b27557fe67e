/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl_server.h - a UNIX socket on which virtio-grantctl asks for JSON.
 *
 * A connection carries one request line ("status\n") and one JSON text, and is
 * closed.  The socket's mode is 0600: its user is root, whose clients are root.
 * Some clients are served at a time, and none is waited for; one that does not
 * send or read is dropped after 10 s, or when there are too many.  What @answer
 * returns is made printable (printable.h).
 */
#ifndef VG_CTL_SERVER_H
#define VG_CTL_SERVER_H

#include "lib/loop.h"

struct vg_ctl_server;

/*
 * @answer returns a malloc'd text for @request, or NULL: unknown request.
 * -EADDRINUSE: somebody listens there already.
 */
int vg_ctl_server_create(struct vg_loop *loop, const char *path,
			 char *(*answer)(void *arg, const char *request),
			 void *arg, struct vg_ctl_server **out);
void vg_ctl_server_destroy(struct vg_ctl_server *s);

/*
 * The lock that makes a daemon the only one: <dir>/<name>.pid, made and
 * locked; 0, or -EBUSY with *other the process that has it (0: unknown).
 * The descriptor is kept open for ever.
 */
int vg_pidfile_lock(const char *dir, const char *name, int *other);

#endif
