/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * endpoint.h - ends of byte streams for users of this domain, found by name in
 * a directory of their owner's:
 *
 *	<top>/<kind>/<owner>/<name>	a listening UNIX socket, or a link to a
 *					raw pseudo-terminal
 *
 * All of them, and the last two directories, are for our user alone (0600,
 * 0700).  For who has privileges; who moves the bytes is stream.h.
 *
 * Not trusted: what lies at those paths already, of a dead process or somebody
 * else's: it is removed, if it is a name in the owner's directory, and never
 * followed.  What is above is trusted.
 */
#ifndef VG_LIB_ENDPOINT_H
#define VG_LIB_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/keys.h"

#define VG_ENDPOINTS_MAX	16u
#define VG_ENDPOINT_NAME_MAX	32u

struct json_object;
struct vg_endpoints;

/* Which: plain data, the first @nr names. */
struct vg_endpoint_conf {
	uint32_t nr;
	uint32_t is_socket;		/* they listen; else ptys */
	uint64_t log_max_bytes;		/* 0: there is no log */
	uint64_t log_left_bytes;	/* of a copy: what it takes */
	char name[VG_ENDPOINTS_MAX][VG_ENDPOINT_NAME_MAX + 1];
};

/*
 * Options: of all that are told nothing else.  "a,b,c": as many, with these names
 * of letters, digits, dots and _-, none twice; "pty" or "socket"; a directory for
 * logs; KiB.  NULL, or what is wrong with @text, which stays valid.
 */
const char *vg_endpoint_option_names(const char *text);
const char *vg_endpoint_option_backing(const char *text);
const char *vg_endpoint_option_log(const char *text);
const char *vg_endpoint_option_log_max(const char *text);

/* Those of one owner, not open.  void: as struct vg_dev_host has it. */
void *vg_endpoints_create(void);
void vg_endpoints_destroy(void *ends);
/*
 * Makes them, unless they are there, as the keys <kind>-ports and
 * <kind>-backing say, else the options; and their directory, or empties that.
 * With @top NULL there is none, so no sockets, and ptys have no names.
 * @nr_known: so many, no others; or 0.  0, or negative errno with *@why a new
 * text.
 */
int vg_endpoints_open(struct vg_endpoints *ends, const char *top,
		      const char *kind, const char *owner,
		      const struct vg_keys *keys, unsigned int nr_known,
		      char **why);
/* Removes them.  Copies stay open, of who has them. */
void vg_endpoints_close(void *ends);

/*
 * Of open ones, for who moves the bytes: close-on-exec descriptors, which are
 * the caller's: fds[0] for all that comes out of the first end to be appended
 * to, or -1; then of each a non-blocking pty's master, or listening socket.
 *
 * The log is <dir>/dom<owner>.log, for our user alone.  If it can't be had, or
 * is no file, that is an error only if it @needs_log.  0, or negative errno and
 * no descriptors; with either, *@why may be a new text.
 */
int vg_endpoints_copy(const struct vg_endpoints *ends, bool needs_log, int *fds,
		      struct vg_endpoint_conf *conf, char **why);

/* Where users find the first, and how many there are, new; "": not open. */
char *vg_endpoints_summary(const void *ends);
/*
 * Adds "ports", "backing" and "log", and a note if the log is full.  @counters:
 * as their streams' users count (enum vg_stream_stat), not trusted; or NULL.
 */
void vg_endpoints_describe(const void *ends, const uint64_t *counters,
			   struct json_object *o, struct json_object *notes);

#endif
