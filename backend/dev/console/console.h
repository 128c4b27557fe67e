/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * console.h - the virtio console (virtio 1.3, 5.3): what the supervisor
 * (host.c) opens for it, and hands to the worker (console.c, port.c).
 */
#ifndef VG_DEV_CONSOLE_H
#define VG_DEV_CONSOLE_H

#include "dev/type.h"

#define VG_CON_PORTS_MAX	16u
#define VG_CON_NAME_MAX		32u
/* Port 0's, control, then two for each port: 5.3.2. */
#define VG_CON_QUEUES(nr_ports)	(2 * ((nr_ports) + 1))

extern const struct vg_dev_type vg_dev_console;
extern const struct vg_dev_host vg_con_host;
extern const struct vg_dev_option vg_con_options[];

/* In vg_dev_parts.fds: the log, then a pty's master or a socket per port. */
#define VG_CON_FD_LOG		0u
#define VG_CON_FD_PORTS		1u

struct vg_con_parts {
	uint32_t nr_ports;
	uint32_t is_socket;		/* they listen; else ptys */
	uint64_t log_left_bytes;	/* room in the log */
	char name[VG_CON_PORTS_MAX][VG_CON_NAME_MAX + 1];
};
_Static_assert(sizeof(struct vg_con_parts) <= VG_DEV_BLOB_BYTES, "blob");
_Static_assert(VG_CON_FD_PORTS + VG_CON_PORTS_MAX <= VG_DEV_FDS_MAX, "fds");

/* stats.type[]; names in console.c. */
enum vg_con_stat {
	VG_CON_TX_BYTES, VG_CON_RX_BYTES,
	VG_CON_DROPPED_BYTES,		/* output that nobody took */
	VG_CON_EMERGENCY_BYTES,
	VG_CON_CONTROL_MESSAGES,	/* of the guest; bad ones as well */
	VG_CON_BAD_MESSAGES,
	VG_CON_OPENS, VG_CON_ATTACHES,	/* by the guest; from outside */
	VG_CON_RESIZES,
	VG_CON_LOG_BYTES, VG_CON_LOG_LOST_BYTES,
	/* No counters: a bit per port that is so now. */
	VG_CON_ATTACHED, VG_CON_OPEN,
	VG_CON_STAT_NR
};

#endif
