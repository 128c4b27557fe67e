// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * endpoint.c - see endpoint.h.
 */
#include "lib/endpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "lib/stream.h"
#include "lib/util.h"

#define NAME_CHARS \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define LOG_MAX_KIB		(UINT64_C(64) << 20)

struct vg_endpoints {
	struct vg_endpoint_conf conf;
	bool is_open;
	int fd[VG_ENDPOINTS_MAX];	/* or -1 */
	char *pts[VG_ENDPOINTS_MAX];	/* "/dev/pts/3"; or NULL */
	char *dir;			/* or NULL */
	int dir_fd;
	char *log;			/* or NULL */
};

/* ---- which --------------------------------------------------------------- */

static const char *name_add(struct vg_endpoint_conf *c, const char *s,
			    size_t len)
{
	unsigned int i;
	char *name;

	if (!len || len > VG_ENDPOINT_NAME_MAX || (s[len] && s[len] != ','))
		return "no names of 1 to 32 characters (letters, digits, . _ -) with commas between";
	if (c->nr == VG_ENDPOINTS_MAX)
		return "more than 16 ports";
	name = c->name[c->nr];
	memcpy(name, s, len);
	name[len] = 0;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return ". and .. are no names";
	for (i = 0; i < c->nr; i++)
		if (!strcmp(c->name[i], name))
			return "two ports have the same name";
	c->nr++;
	return NULL;
}

static const char *parse_names(void *conf, const char *s)
{
	struct vg_endpoint_conf *c = conf;
	const char *why;
	size_t len;

	c->nr = 0;
	do {
		len = strspn(s, NAME_CHARS);
		why = name_add(c, s, len);
		s += len;
	} while (!why && *s++);
	return why;
}

static const char *parse_backing(void *conf, const char *s)
{
	struct vg_endpoint_conf *c = conf;

	c->is_socket = !strcmp(s, "socket");
	return c->is_socket || !strcmp(s, "pty") ? NULL : "none of pty, socket";
}

static struct vg_endpoint_conf options = { .nr = 1, .name = { "console" } };
static const char *log_dir;
static uint64_t log_max_bytes = 1u << 20;

const char *vg_endpoint_option_names(const char *text)
{
	return parse_names(&options, text);
}

const char *vg_endpoint_option_backing(const char *text)
{
	return parse_backing(&options, text);
}

const char *vg_endpoint_option_log(const char *text)
{
	log_dir = *text == '/' ? text : NULL;
	return log_dir ? NULL : "no absolute path";
}

const char *vg_endpoint_option_log_max(const char *text)
{
	if (vg_parse_u64(text, 10, LOG_MAX_KIB, &log_max_bytes))
		return "no number of KiB, 67108864 at the most";
	log_max_bytes <<= 10;
	return NULL;
}

static int conf_read(struct vg_endpoint_conf *c, const char *kind,
		     const struct vg_keys *keys, char **why)
{
	char *ports = vg_strf("%s-ports", kind);
	char *backing = vg_strf("%s-backing", kind);
	int err;

	*c = options;
	err = vg_keys_parse_if(keys, ports, parse_names, c, why);
	if (!err)
		err = vg_keys_parse_if(keys, backing, parse_backing, c, why);
	free(ports);
	free(backing);
	return err;
}

/* ---- the directory ------------------------------------------------------- */

/* A directory of ours: a descriptor, or negative errno. */
static int dir_make(int at, const char *name)
{
	struct stat st;
	int fd, err = 0;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (st.st_uid != geteuid())
		err = -EPERM;
	else if (fchmod(fd, 0700) < 0)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int dir_empty(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), err = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d) {
		err = -errno;
		if (copy >= 0)
			close(copy);
		return err;
	}
	while (!err && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    unlinkat(fd, e->d_name, 0) < 0)
			err = -errno;
	closedir(d);
	return err;
}

static int dir_open(struct vg_endpoints *ends, const char *all,
		    const char *owner)
{
	int fd = dir_make(AT_FDCWD, all);

	if (fd < 0)
		return fd;
	ends->dir_fd = dir_make(fd, owner);
	close(fd);
	if (ends->dir_fd < 0)
		return ends->dir_fd;
	ends->dir = vg_strf("%s/%s", all, owner);
	return dir_empty(ends->dir_fd);
}

/* ---- ends ---------------------------------------------------------------- */

/* Raw, for us alone, and opened once: else it never says that it is not. */
static int pty_set_up(int fd)
{
	struct termios t;
	int err = 0, slave, unlock = 0;

	if (ioctl(fd, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	slave = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	if (tcgetattr(slave, &t) < 0)
		err = -errno;
	cfmakeraw(&t);
	if (!err && (tcsetattr(slave, TCSANOW, &t) < 0 ||
		     fchmod(slave, 0600) < 0))
		err = -errno;
	close(slave);
	return err;
}

static int pty_open(struct vg_endpoints *ends, unsigned int i)
{
	unsigned int n;
	int err;

	ends->fd[i] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (ends->fd[i] < 0)
		return -errno;
	err = pty_set_up(ends->fd[i]);
	if (err)
		return err;
	if (ioctl(ends->fd[i], TIOCGPTN, &n) < 0)
		return -errno;
	ends->pts[i] = vg_strf("/dev/pts/%u", n);
	if (ends->dir &&
	    symlinkat(ends->pts[i], ends->dir_fd, ends->conf.name[i]) < 0)
		return -errno;
	return 0;
}

static int socket_open(struct vg_endpoints *ends, unsigned int i)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n;

	if (!ends->dir)
		return -ENOENT;
	/* By the directory's descriptor, however long its own path is. */
	n = snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s",
		     ends->dir_fd, ends->conf.name[i]);
	if ((size_t)n >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	ends->fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK |
			     SOCK_CLOEXEC, 0);
	/* From bind() on it has that mode. */
	if (ends->fd[i] < 0 || fchmod(ends->fd[i], 0600) < 0 ||
	    bind(ends->fd[i], (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(ends->fd[i], 1) < 0)
		return -errno;
	return 0;
}

static int end_open(struct vg_endpoints *ends, unsigned int i)
{
	return ends->conf.is_socket ? socket_open(ends, i) : pty_open(ends, i);
}

static int ends_open(struct vg_endpoints *ends, char **why)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < ends->conf.nr; i++) {
		err = end_open(ends, i);
		if (err)
			*why = vg_strf("port %s: no %s: %s", ends->conf.name[i],
				       ends->conf.is_socket ? "socket" : "pty",
				       strerror(-err));
	}
	return err;
}

void *vg_endpoints_create(void)
{
	struct vg_endpoints *ends = vg_zalloc(sizeof(*ends));

	memset(ends->fd, -1, sizeof(ends->fd));
	ends->dir_fd = -1;
	return ends;
}

void vg_endpoints_destroy(void *ends)
{
	vg_endpoints_close(ends);
	free(ends);
}

static int dir_and_ends_open(struct vg_endpoints *ends, const char *top,
			     const char *kind, const char *owner, char **why)
{
	char *all = vg_strf("%s/%s", top ? top : "", kind);
	int err = 0;

	if (top)
		err = dir_open(ends, all, owner);
	else if (ends->conf.is_socket)
		err = -ENOENT;
	if (err)
		*why = vg_strf("%s/%s, for its ports: %s", all, owner,
			       strerror(-err));
	free(all);
	return err ? err : ends_open(ends, why);
}

int vg_endpoints_open(struct vg_endpoints *ends, const char *top,
		      const char *kind, const char *owner,
		      const struct vg_keys *keys, unsigned int nr_known,
		      char **why)
{
	int err = ends->is_open ? 0 : conf_read(&ends->conf, kind, keys, why);

	if (ends->is_open)
		return 0;
	if (!err && nr_known && nr_known != ends->conf.nr) {
		*why = vg_strf("%s-ports: %u, but its guest knows %u", kind,
			       ends->conf.nr, nr_known);
		err = -EINVAL;
	}
	if (!err)
		err = dir_and_ends_open(ends, top, kind, owner, why);
	if (!err && log_dir) {
		ends->log = vg_strf("%s/dom%s.log", log_dir, owner);
		ends->conf.log_max_bytes = log_max_bytes;
	}
	ends->is_open = !err;
	if (err)
		vg_endpoints_close(ends);
	return err;
}

void vg_endpoints_close(void *ends)
{
	struct vg_endpoints *e = ends;
	unsigned int i;

	for (i = 0; i < VG_ENDPOINTS_MAX; i++) {
		if (e->fd[i] >= 0)
			close(e->fd[i]);
		e->fd[i] = -1;
		free(e->pts[i]);
		e->pts[i] = NULL;
		if (e->dir && i < e->conf.nr)
			unlinkat(e->dir_fd, e->conf.name[i], 0);
	}
	if (e->dir_fd >= 0)
		close(e->dir_fd);
	e->dir_fd = -1;
	if (e->dir)
		rmdir(e->dir);
	free(e->dir);
	free(e->log);
	e->dir = e->log = NULL;
	e->is_open = false;
}

/* ---- copies -------------------------------------------------------------- */

static int log_open(const struct vg_endpoints *ends, struct vg_endpoint_conf *c)
{
	struct stat st;
	int err = 0, fd = open(ends->log, O_WRONLY | O_APPEND | O_CREAT |
			       O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	if (err) {
		close(fd);
		return err;
	}
	c->log_left_bytes = c->log_max_bytes -
			    min_u((uint64_t)st.st_size, c->log_max_bytes);
	return fd;
}

int vg_endpoints_copy(const struct vg_endpoints *ends, bool needs_log, int *fds,
		      struct vg_endpoint_conf *c, char **why)
{
	unsigned int i;
	int err;

	*c = ends->conf;
	memset(fds, -1, (c->nr + 1) * sizeof(*fds));
	fds[0] = ends->log ? log_open(ends, c) : -1;
	if (ends->log && fds[0] < 0) {
		err = fds[0];
		*why = vg_strf("its log %s: %s", ends->log, strerror(-err));
		fds[0] = -1;
		if (needs_log)
			return err;
	}
	for (i = 0; i < c->nr; i++) {
		fds[i + 1] = fcntl(ends->fd[i], F_DUPFD_CLOEXEC, 0);
		if (fds[i + 1] < 0)
			goto fail;
	}
	return 0;
fail:
	err = -errno;
	free(*why);
	*why = vg_strf("its ports: %s", strerror(-err));
	for (i = 0; i <= c->nr; i++) {
		if (fds[i] < 0)
			continue;
		close(fds[i]);
		fds[i] = -1;
	}
	return err;
}

/* ---- what is shown of them ----------------------------------------------- */

static char *path_of(const struct vg_endpoints *ends, unsigned int i)
{
	return ends->dir ? vg_strf("%s/%s", ends->dir, ends->conf.name[i]) :
			   vg_strdup(ends->pts[i]);
}

char *vg_endpoints_summary(const void *ends)
{
	const struct vg_endpoints *e = ends;
	char *path, *all;

	if (!e->is_open)
		return vg_strdup("");
	path = path_of(e, 0);
	if (e->conf.nr == 1)
		return path;
	all = vg_strf("%s, %u ports", path, e->conf.nr);
	free(path);
	return all;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

void vg_endpoints_describe(const void *res, const uint64_t *counters,
			   struct json_object *o, struct json_object *notes)
{
	static const uint64_t none[VG_STREAM_STAT_NR];
	const uint64_t *c = counters ? counters : none;
	uint64_t attached = c[VG_STREAM_ATTACHED_MASK];
	uint64_t is_open = c[VG_STREAM_OPEN_MASK];
	uint64_t log_lost_bytes = c[VG_STREAM_LOG_LOST_BYTES];
	const struct vg_endpoints *ends = res;
	struct json_object *all = json_object_new_array();
	unsigned int i;
	char *text;

	for (i = 0; ends->is_open && i < ends->conf.nr; i++) {
		struct json_object *p = json_object_new_object();

		text = path_of(ends, i);
		add_text(p, "name", ends->conf.name[i]);
		add_text(p, "path", text);
		free(text);
		json_object_object_add(p, "attached", json_object_new_boolean(
					       attached >> i & 1));
		json_object_object_add(p, "guest_open", json_object_new_boolean(
					       is_open >> i & 1));
		json_object_array_add(all, p);
	}
	json_object_object_add(o, "ports", all);
	add_text(o, "backing", ends->conf.is_socket ? "socket" : "pty");
	add_text(o, "log", ends->log ? ends->log : "");
	if (!ends->log || !log_lost_bytes)
		return;
	text = vg_strf("its log %s takes no more (at most %llu bytes): %llu bytes are not in it",
		       ends->log, (unsigned long long)ends->conf.log_max_bytes,
		       (unsigned long long)log_lost_bytes);
	json_object_array_add(notes, json_object_new_string(text));
	free(text);
}
