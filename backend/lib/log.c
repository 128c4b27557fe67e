// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * log.c - see log.h.
 */
#include "lib/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/printable.h"
#include "lib/util.h"

static const char *log_program = "virtio-grant";
static enum vg_log_level log_max = VG_LOG_INFO;
static bool log_to_journal;
static void (*log_hook)(enum vg_log_level level, const char *line);

void vg_log_init(const char *program, enum vg_log_level max)
{
	log_program = program;
	log_max = max;
	/* systemd sets it for services whose stderr goes to the journal. */
	log_to_journal = getenv("JOURNAL_STREAM");
}

void vg_log_to_parent(void)
{
	log_to_journal = true;
}

void vg_log_hook(void (*hook)(enum vg_log_level level, const char *line))
{
	log_hook = hook;
}

void vg_log(enum vg_log_level level, const char *fmt, ...)
{
	char text[1024], line[1100];
	va_list ap;
	int n;

	if (level > log_max && !log_hook)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What a guest, a backend or xenstore wrote can stand in it. */
	vg_printable(text, "");
	if (log_hook) {
		log_hook(level, text);
		return;
	}
	if (log_to_journal)
		n = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
	else
		n = snprintf(line, sizeof(line), "%s: %s%s\n", log_program,
			     level == VG_LOG_ERR ? "error: " :
			     level == VG_LOG_WARN ? "warning: " : "", text);
	/* One write, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

bool vg_ratelimit_ok(struct vg_ratelimit *rl)
{
	uint64_t seconds = rl->seconds ? rl->seconds : 1;
	uint64_t period = vg_now_ns() / 1000000000u / seconds;

	if (period != rl->period) {
		rl->period = period;
		rl->used = 0;
		rl->suppressed = 0;
	}
	if (rl->used < rl->burst) {
		rl->used++;
		return true;
	}
	rl->suppressed++;
	return false;
}
