/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - one line per event, to standard error, in the form that
 * sd-daemon(3) understands ("<3>text") when the journal listens, plain
 * otherwise.  No control character leaves here, whoever wrote it (printable.h).
 * The caller logs once, with domain, device and queue (docs/contributing.md).
 */
#ifndef VG_LOG_H
#define VG_LOG_H

#include <stdint.h>

enum vg_log_level {
	VG_LOG_ERR = 3,
	VG_LOG_WARN = 4,
	VG_LOG_INFO = 6,
	VG_LOG_DEBUG = 7,
};

void vg_log_init(const char *program, enum vg_log_level max);
/*
 * Of a child: its standard error is a pipe of its parent's (child_log.h), who
 * wants to know the level of a line.
 */
void vg_log_to_parent(void);
void vg_log(enum vg_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* For tests: called instead of writing; NULL restores. */
void vg_log_hook(void (*hook)(enum vg_log_level level, const char *line));

#define vg_err(...)	vg_log(VG_LOG_ERR, __VA_ARGS__)
#define vg_warn(...)	vg_log(VG_LOG_WARN, __VA_ARGS__)
#define vg_info(...)	vg_log(VG_LOG_INFO, __VA_ARGS__)
#define vg_debug(...)	vg_log(VG_LOG_DEBUG, __VA_ARGS__)

/*
 * At most @burst lines per second (or per so many @seconds) for one place in
 * the code that a guest can make log: a guest must not fill the driver domain's
 * journal.
 */
struct vg_ratelimit {
	uint64_t period;
	unsigned int burst, seconds, used, suppressed;
};
_Bool vg_ratelimit_ok(struct vg_ratelimit *rl);

#endif
