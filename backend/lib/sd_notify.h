/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sd_notify.h - tells the service manager that the daemon is ready (units of
 * Type=notify), by the protocol that sd_notify(3) describes for programs that
 * do not link libsystemd: that brings in libraries, of compression and more,
 * which have no place in a process that guests talk to.
 */
#ifndef VG_SD_NOTIFY_H
#define VG_SD_NOTIFY_H

/*
 * Sends @state ("READY=1") to the socket that $NOTIFY_SOCKET names.  0, also if
 * no manager wants to know; or negative errno.
 */
int vg_sd_notify(const char *state);

#endif
