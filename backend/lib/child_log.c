// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * child_log.c - see child_log.h.
 */
#include "lib/child_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"

#define LINE_BYTES_MAX	512u
/* Of each, at the end. */
#define LAST_READS	64u
#define PAUSE_NS	UINT64_C(1000000000)

unsigned int vg_child_log_burst = VG_CHILD_LOG_BURST_DEFAULT;

struct child_log {
	struct child_log *next;
	struct vg_loop *loop;
	char *who;
	int fd;
	struct vg_fd *vfd;		/* NULL: paused */
	struct vg_timer *pause;
	unsigned int burst, left;	/* lines */
	uint64_t filled_ns;
	uint64_t said_ns;		/* that it writes too much */
	bool is_overlong;		/* the rest of a line is dropped */
	char buf[LINE_BYTES_MAX];
	size_t len;
};

static struct child_log *logs;

static void log_free(struct child_log *l)
{
	struct child_log **p;

	for (p = &logs; *p != l; p = &(*p)->next)
		;
	*p = l->next;
	vg_loop_del_fd(l->loop, l->vfd);
	vg_timer_destroy(l->pause);
	close(l->fd);
	free(l->who);
	free(l);
}

/* As vg_log_to_parent() has them; the C library's own come without a level. */
static void say_line(struct child_log *l, const char *line)
{
	enum vg_log_level level = VG_LOG_WARN;

	if (line[0] == '<' && line[1] >= '3' && line[1] <= '7' &&
	    line[2] == '>') {
		level = line[1] == '3' ? VG_LOG_ERR :
			line[1] == '4' ? VG_LOG_WARN :
			line[1] == '7' ? VG_LOG_DEBUG : VG_LOG_INFO;
		line += 3;
	}
	if (*line)
		vg_log(level, "%s: %s", l->who, line);
}

/* Up to the @n'th byte of the buffer, which is no text any more. */
static void take_line(struct child_log *l, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!l->buf[i])
			l->buf[i] = '?';
	l->buf[n] = 0;
	if (!l->is_overlong)
		say_line(l, l->buf);
	/* Of one without end, each part counts. */
	if (l->left)
		l->left--;
}

static void take_lines(struct child_log *l)
{
	char *nl;
	size_t n;

	while (l->left && (nl = memchr(l->buf, '\n', l->len))) {
		n = (size_t)(nl - l->buf);
		take_line(l, n);
		l->is_overlong = false;
		l->len -= n + 1;
		memmove(l->buf, nl + 1, l->len);
	}
	if (l->left && l->len == sizeof(l->buf)) {
		take_line(l, sizeof(l->buf) - 1);
		l->is_overlong = true;
		l->len = 0;
	}
}

static void refill(struct child_log *l)
{
	uint64_t seconds = (vg_now_ns() - l->filled_ns) / PAUSE_NS;

	if (!seconds)
		return;
	l->filled_ns += seconds * PAUSE_NS;
	seconds = min_u(seconds, 100u);
	l->left = min_u(l->left + (unsigned int)seconds *
			max_u(l->burst / 50, 1u), l->burst);
}

static void pause_reading(struct child_log *l)
{
	uint64_t now = vg_now_ns();

	vg_loop_del_fd(l->loop, l->vfd);
	l->vfd = NULL;
	vg_timer_arm(l->pause, PAUSE_NS);
	if (l->said_ns && now - l->said_ns < 3600 * PAUSE_NS)
		return;
	l->said_ns = now;
	vg_warn("%s: writes more than %u lines: the rest comes slowly, or not at all",
		l->who, l->burst);
}

/* False: nobody can write to it any more. */
static bool read_some(struct child_log *l)
{
	ssize_t n = read(l->fd, l->buf + l->len, sizeof(l->buf) - l->len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	l->len += (size_t)n;
	take_lines(l);
	return true;
}

static void on_readable(void *arg)
{
	struct child_log *l = arg;

	refill(l);
	if (!read_some(l)) {
		if (l->len)
			take_line(l, min_u(l->len, sizeof(l->buf) - 1));
		log_free(l);
		return;
	}
	if (!l->left)
		pause_reading(l);
}

static void on_pause_over(void *arg)
{
	struct child_log *l = arg;

	refill(l);
	take_lines(l);
	if (!l->left || vg_loop_add_fd(l->loop, l->fd, on_readable, l, &l->vfd))
		vg_timer_arm(l->pause, PAUSE_NS);
}

int vg_child_log_open(struct vg_loop *loop, const char *who, int *fd)
{
	struct child_log *l;
	int p[2], err;

	/* Either end's flag is its own: the child may change it as it likes. */
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	l = vg_zalloc(sizeof(*l));
	err = vg_loop_add_fd(loop, p[0], on_readable, l, &l->vfd);
	if (err) {
		close(p[0]);
		close(p[1]);
		free(l);
		return err;
	}
	l->loop = loop;
	l->who = vg_strdup(who);
	l->fd = p[0];
	l->pause = vg_timer_create(loop, on_pause_over, l);
	l->filled_ns = vg_now_ns();
	l->burst = l->left = max_u(vg_child_log_burst, 1u);
	l->next = logs;
	logs = l;
	*fd = p[1];
	return 0;
}

void vg_child_log_close_all(void)
{
	struct child_log *l;
	unsigned int i;

	while ((l = logs)) {
		l->left = LAST_READS;
		for (i = 0; i < LAST_READS && read_some(l); i++)
			;
		if (l->len && l->left)
			take_line(l, min_u(l->len, sizeof(l->buf) - 1));
		log_free(l);
	}
}
