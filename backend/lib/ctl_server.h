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

#include <stdint.h>

#include "lib/loop.h"

struct vg_ctl_server;

/*
 * Returns a malloc'd text for @request; NULL: unknown request; VG_CTL_LATER:
 * vg_ctl_answer() will have it for @asker, which is never 0.
 */
typedef char *vg_ctl_answer_fn(void *arg, const char *request, uint64_t asker);
#define VG_CTL_LATER	(vg_ctl_later)
extern char vg_ctl_later[];

/* -EADDRINUSE: somebody listens there already. */
int vg_ctl_server_create(struct vg_loop *loop, const char *path,
			 vg_ctl_answer_fn *answer, void *arg,
			 struct vg_ctl_server **out);
void vg_ctl_server_destroy(struct vg_ctl_server *s);
/* Takes @text; who asked may be gone, with its server, or be nobody (0). */
void vg_ctl_answer(uint64_t asker, char *text);

/*
 * The lock that makes a daemon the only one: <dir>/<name>.pid, made and
 * locked; 0, or -EBUSY with *other the process that has it (0: unknown).
 * The descriptor is kept open for ever.
 */
int vg_pidfile_lock(const char *dir, const char *name, int *other);

#endif
