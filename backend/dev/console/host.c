// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * host.c - consoles in the supervisor (struct vg_dev_host): their options, the
 * ptys and sockets of their ports, which live as long as the device and not
 * only as long as its worker, and where users find them:
 *
 *	<run_dir>/console/<guest>-<devid>/<port>	to a pty, or the socket
 *
 * Not trusted: what a dead daemon left there.  It is removed, not followed.
 */
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

#include "dev/console/console.h"
#include "lib/util.h"

#define NAME_CHARS \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define LOG_MAX_KIB		(UINT64_C(64) << 20)

struct con_config {
	unsigned int nr_ports;
	bool is_socket;
	char name[VG_CON_PORTS_MAX][VG_CON_NAME_MAX + 1];
};

/* ---- options ------------------------------------------------------------- */

static struct con_config options = { .nr_ports = 1, .name = { "console" } };
static const char *log_dir;
static uint64_t log_max_bytes = 1u << 20;

static const char *name_add(struct con_config *c, const char *s, size_t len)
{
	unsigned int i;
	char *name;

	if (!len || len > VG_CON_NAME_MAX || (s[len] && s[len] != ','))
		return "no names of 1 to 32 characters (letters, digits, . _ -) with commas between";
	if (c->nr_ports == VG_CON_PORTS_MAX)
		return "more than 16 ports";
	name = c->name[c->nr_ports];
	memcpy(name, s, len);
	name[len] = 0;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return ". and .. are no names";
	for (i = 0; i < c->nr_ports; i++)
		if (!strcmp(c->name[i], name))
			return "two ports have the same name";
	c->nr_ports++;
	return NULL;
}

static const char *ports_parse(struct con_config *c, const char *s)
{
	const char *why;
	size_t len;

	c->nr_ports = 0;
	do {
		len = strspn(s, NAME_CHARS);
		why = name_add(c, s, len);
		s += len;
	} while (!why && *s++);
	return why;
}

static const char *backing_parse(struct con_config *c, const char *s)
{
	c->is_socket = !strcmp(s, "socket");
	return c->is_socket || !strcmp(s, "pty") ? NULL :
	       "none of pty, socket";
}

static const char *parse_ports(const char *s)
{
	return ports_parse(&options, s);
}

static const char *parse_backing(const char *s)
{
	return backing_parse(&options, s);
}

static const char *parse_log(const char *s)
{
	if (*s != '/')
		return "no absolute path";
	log_dir = s;
	return NULL;
}

static const char *parse_log_max(const char *s)
{
	if (vg_parse_u64(s, 10, LOG_MAX_KIB, &log_max_bytes))
		return "no number of KiB, 67108864 at the most";
	log_max_bytes <<= 10;
	return NULL;
}

const struct vg_dev_option vg_con_options[] = {
	{ "console-ports", 0, "NAME,...",
	  "the ports of a console device, up to 16; the first is the console",
	  parse_ports },
	{ "console-backing", 0, "pty|socket", "what they are here (pty)",
	  parse_backing },
	{ "console-log", 0, "DIR",
	  "append each console's output to a file in DIR", parse_log },
	{ "console-log-max", 0, "KIB", "as long as that is no larger (1024)",
	  parse_log_max },
	{ NULL, 0, NULL, NULL, NULL },
};

/* ---- one device ---------------------------------------------------------- */

struct con_res {
	bool is_open;
	struct con_config conf;
	int fd[VG_CON_PORTS_MAX];	/* pty's master, or listening; or -1 */
	char *pts[VG_CON_PORTS_MAX];	/* "/dev/pts/3"; or NULL */
	char *dir;			/* or NULL */
	int dir_fd;
	char *log;
	uint64_t log_max_bytes;
};

static void *con_res_create(void *daemon, const char *label)
{
	struct con_res *r = vg_zalloc(sizeof(*r));
	unsigned int i;

	(void)daemon;
	(void)label;
	r->dir_fd = -1;
	for (i = 0; i < VG_CON_PORTS_MAX; i++)
		r->fd[i] = -1;
	return r;
}

static void con_close(void *res)
{
	struct con_res *r = res;
	unsigned int i;

	for (i = 0; i < VG_CON_PORTS_MAX; i++) {
		if (r->fd[i] >= 0)
			close(r->fd[i]);
		r->fd[i] = -1;
		free(r->pts[i]);
		r->pts[i] = NULL;
		if (r->dir_fd >= 0 && i < r->conf.nr_ports)
			unlinkat(r->dir_fd, r->conf.name[i], 0);
	}
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	r->dir_fd = -1;
	if (r->dir)
		rmdir(r->dir);
	free(r->dir);
	free(r->log);
	r->dir = r->log = NULL;
	r->is_open = false;
}

static void con_res_destroy(void *res)
{
	con_close(res);
	free(res);
}

static int key_parse(const struct vg_keys *keys, const char *key,
		     struct con_config *c,
		     const char *(*parse)(struct con_config *c, const char *s),
		     char **why)
{
	char *v = vg_keys_read(keys, key);
	int err = v ? 0 : -errno;
	const char *wrong = v ? parse(c, v) : NULL;

	if (wrong) {
		*why = vg_strf("xenstore key %s/%s: \"%s\": %s", keys->where,
			       key, v, wrong);
		err = -EINVAL;
	} else if (err && err != -ENOENT) {
		*why = vg_strf("xenstore key %s/%s: %s", keys->where, key,
			       strerror(-err));
	}
	free(v);
	return err == -ENOENT ? 0 : err;
}

static int config_read(struct con_res *r, const struct vg_dev_how *how,
		       char **why)
{
	bool is_known = how->was_served || how->has_left;
	unsigned int nr_queues;
	int err;

	r->conf = options;
	err = key_parse(how->keys, "console-ports", &r->conf, ports_parse, why);
	if (!err)
		err = key_parse(how->keys, "console-backing", &r->conf,
				backing_parse, why);
	nr_queues = VG_CON_QUEUES(r->conf.nr_ports);
	if (err || !is_known || how->nr_queues == nr_queues)
		return err;
	*why = vg_strf("console-ports: %u, but its guest knows %u",
		       r->conf.nr_ports, how->nr_queues / 2 - 1);
	return -EINVAL;
}

/* ---- where users find it ------------------------------------------------- */

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
	if (fstat(fd, &st) < 0 || fchmod(fd, 0700) < 0)
		err = -errno;
	else if (st.st_uid != geteuid())
		err = -EPERM;
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

static int dir_open(struct con_res *r, const struct vg_dev_how *how)
{
	char *name = vg_strf("%u-%u", how->guest, how->devid);
	char *all = vg_strf("%s/console", how->run_dir);
	int err = 0, fd = dir_make(AT_FDCWD, all);

	if (fd >= 0) {
		r->dir_fd = dir_make(fd, name);
		close(fd);
		fd = r->dir_fd;
	}
	if (fd >= 0) {
		r->dir = vg_strf("%s/%s", all, name);
		err = dir_empty(fd);
	}
	free(name);
	free(all);
	return fd < 0 ? fd : err;
}

/* ---- ports --------------------------------------------------------------- */

/* Raw, for root alone, and opened once: else it never says that it is not. */
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

static int pty_open(struct con_res *r, unsigned int i)
{
	unsigned int n;
	int err;

	r->fd[i] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (r->fd[i] < 0)
		return -errno;
	err = pty_set_up(r->fd[i]);
	if (err)
		return err;
	if (ioctl(r->fd[i], TIOCGPTN, &n) < 0)
		return -errno;
	r->pts[i] = vg_strf("/dev/pts/%u", n);
	if (r->dir && symlinkat(r->pts[i], r->dir_fd, r->conf.name[i]) < 0)
		return -errno;
	return 0;
}

static int socket_open(struct con_res *r, unsigned int i)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	/* By the directory's descriptor, however long its own path is. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s",
		 r->dir_fd, r->conf.name[i]);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r->fd[i] = fd;
	/* From bind() on it has that mode. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(fd, 1) < 0)
		return -errno;
	return 0;
}

static int ports_open(struct con_res *r, const struct vg_dev_how *how,
		      char **why)
{
	unsigned int i;
	int err = 0;

	if (how->run_dir)
		err = dir_open(r, how);
	else if (r->conf.is_socket)
		err = -ENOENT;
	if (err) {
		*why = vg_strf("%s/console/%u-%u, for its ports: %s",
			       how->run_dir ? how->run_dir : "",
			       how->guest, how->devid, strerror(-err));
		return err;
	}
	for (i = 0; i < r->conf.nr_ports; i++) {
		err = r->conf.is_socket ? socket_open(r, i) : pty_open(r, i);
		if (!err)
			continue;
		*why = vg_strf("port %s: no %s: %s", r->conf.name[i],
			       r->conf.is_socket ? "socket" : "pty",
			       strerror(-err));
		return err;
	}
	return 0;
}

static int log_open(struct con_res *r, struct vg_con_parts *p, int *out)
{
	struct stat st;
	int err = 0, fd = open(r->log, O_WRONLY | O_APPEND | O_CREAT |
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
	if ((uint64_t)st.st_size < r->log_max_bytes)
		p->log_left_bytes = r->log_max_bytes - (uint64_t)st.st_size;
	*out = fd;
	return 0;
}

/* For one worker: it has descriptors of its own. */
static int parts_fill(struct con_res *r, const struct vg_dev_how *how,
		      struct vg_dev_parts *parts, char **why)
{
	struct vg_con_parts p = {
		.nr_ports = r->conf.nr_ports, .is_socket = r->conf.is_socket,
	};
	int err = r->log ? log_open(r, &p, &parts->fds[VG_CON_FD_LOG]) : 0;
	unsigned int i;

	if (err)
		*why = vg_strf("its log %s: %s", r->log, strerror(-err));
	/* A guest that was served goes on without. */
	if (err && !how->was_served && !how->has_left)
		return err;
	for (i = 0; i < p.nr_ports; i++) {
		int fd = fcntl(r->fd[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			goto fail;
		parts->fds[VG_CON_FD_PORTS + i] = fd;
	}
	memcpy(p.name, r->conf.name, sizeof(p.name));
	memcpy(parts->blob, &p, sizeof(p));
	parts->nr_queues = VG_CON_QUEUES(p.nr_ports);
	if (r->log)
		parts->file_max_bytes = r->log_max_bytes;
	return 0;
fail:
	err = -errno;
	free(*why);
	*why = vg_strf("its ports: %s", strerror(-err));
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		if (parts->fds[i] >= 0)
			close(parts->fds[i]);
	return err;
}

static int con_open(void *res, const struct vg_dev_how *how,
		    struct vg_dev_parts *parts, char **why)
{
	struct con_res *r = res;
	int err = 0;

	vg_dev_parts_init(parts);
	if (!r->is_open) {
		err = config_read(r, how, why);
		if (!err)
			err = ports_open(r, how, why);
		if (!err && log_dir)
			r->log = vg_strf("%s/dom%u-%u.log", log_dir,
					 how->guest, how->devid);
		r->log_max_bytes = log_max_bytes;
	}
	if (!err) {
		r->is_open = true;
		return parts_fill(r, how, parts, why);
	}
	con_close(r);
	return err;
}

/* ---- what is shown of it ------------------------------------------------- */

static char *port_path(const struct con_res *r, unsigned int i)
{
	if (r->dir)
		return vg_strf("%s/%s", r->dir, r->conf.name[i]);
	return vg_strdup(r->pts[i] ? r->pts[i] : "");
}

static char *con_summary(const void *res)
{
	const struct con_res *r = res;
	char *path;

	if (!r->is_open)
		return vg_strdup("");
	path = port_path(r, 0);
	if (r->conf.nr_ports > 1) {
		char *more = vg_strf("%s, %u ports", path, r->conf.nr_ports);

		free(path);
		path = more;
	}
	return path;
}

static void con_describe(const void *res, const uint64_t *counters,
			 struct json_object *o, struct json_object *notes)
{
	struct json_object *all = json_object_new_array();
	const struct con_res *r = res;
	unsigned int i;
	char *text;

	for (i = 0; r->is_open && i < r->conf.nr_ports; i++) {
		struct json_object *p = json_object_new_object();
		uint64_t bit = UINT64_C(1) << i;

		text = port_path(r, i);
		json_object_object_add(p, "name", json_object_new_string(
					       r->conf.name[i]));
		json_object_object_add(p, "path", json_object_new_string(text));
		free(text);
		json_object_object_add(p, "attached", json_object_new_boolean(
				counters && counters[VG_CON_ATTACHED] & bit));
		json_object_object_add(p, "guest_open", json_object_new_boolean(
				counters && counters[VG_CON_OPEN] & bit));
		json_object_array_add(all, p);
	}
	json_object_object_add(o, "ports", all);
	json_object_object_add(o, "backing", json_object_new_string(
				       r->conf.is_socket ? "socket" : "pty"));
	json_object_object_add(o, "log", json_object_new_string(
				       r->log ? r->log : ""));
	if (!r->log || !counters || !counters[VG_CON_LOG_LOST_BYTES])
		return;
	text = vg_strf("its log %s takes no more (at most %llu bytes): %llu bytes are not in it",
		       r->log, (unsigned long long)r->log_max_bytes,
		       (unsigned long long)counters[VG_CON_LOG_LOST_BYTES]);
	json_object_array_add(notes, json_object_new_string(text));
	free(text);
}

const struct vg_dev_host vg_con_host = {
	.create = con_res_create,
	.destroy = con_res_destroy,
	.open = con_open,
	.close = con_close,
	.summary = con_summary,
	.describe = con_describe,
};
