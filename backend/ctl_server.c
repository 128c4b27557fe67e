// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ctl_server.c - see ctl_server.h.
 */
#include "ctl_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util.h"

struct vg_ctl_server {
	struct vg_loop *loop;
	char *path;
	int fd;
	struct vg_fd *vfd;
	char *(*answer)(void *arg, const char *request);
	void *arg;
	/* One client at a time; see ctl_server.h. */
	int client;
	struct vg_fd *client_vfd;
	char request[64];
	size_t request_len;
};

static void drop_client(struct vg_ctl_server *s)
{
	if (s->client < 0)
		return;
	vg_loop_del_fd(s->loop, s->client_vfd);
	close(s->client);
	s->client = -1;
}

static void send_all(int fd, const char *text)
{
	/* Blocking, but for no longer than the client may be slow. */
	struct timeval tv = { .tv_sec = 1 };
	size_t len = strlen(text);

	fcntl(fd, F_SETFL, 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void on_client(void *arg)
{
	struct vg_ctl_server *s = arg;
	size_t room = sizeof(s->request) - 1 - s->request_len;
	ssize_t n = recv(s->client, s->request + s->request_len, room, 0);
	char *nl, *text;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop_client(s);
		return;
	}
	s->request_len += (size_t)n;
	s->request[s->request_len] = 0;
	nl = strchr(s->request, '\n');
	if (!nl) {
		if (s->request_len == sizeof(s->request) - 1)
			drop_client(s);
		return;
	}
	*nl = 0;
	text = s->answer(s->arg, s->request);
	send_all(s->client, text ? text : "{\"error\":\"unknown request\"}\n");
	free(text);
	drop_client(s);
}

static void on_connect(void *arg)
{
	struct vg_ctl_server *s = arg;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	drop_client(s);
	s->client = fd;
	s->request_len = 0;
	if (vg_loop_add_fd(s->loop, fd, on_client, s, &s->client_vfd)) {
		close(fd);
		s->client = -1;
	}
}

int vg_ctl_server_create(struct vg_loop *loop, const char *path,
			 char *(*answer)(void *arg, const char *request),
			 void *arg, struct vg_ctl_server **out)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct vg_ctl_server *s;
	int fd, err;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The caller holds the pidfile's lock: a socket here is a dead one's. */
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chmod(path, 0600) < 0 || listen(fd, 8) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	s = vg_zalloc(sizeof(*s));
	s->loop = loop;
	s->path = vg_strdup(path);
	s->fd = fd;
	s->client = -1;
	s->answer = answer;
	s->arg = arg;
	err = vg_loop_add_fd(loop, fd, on_connect, s, &s->vfd);
	if (err) {
		vg_ctl_server_destroy(s);
		return err;
	}
	*out = s;
	return 0;
}

void vg_ctl_server_destroy(struct vg_ctl_server *s)
{
	if (!s)
		return;
	drop_client(s);
	vg_loop_del_fd(s->loop, s->vfd);
	close(s->fd);
	unlink(s->path);
	free(s->path);
	free(s);
}

int vg_pidfile_lock(const char *dir, const char *name, int *other)
{
	char *path = vg_strf("%s/%s.pid", dir, name), text[16];
	int fd, err = 0;
	ssize_t n;

	*other = 0;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	free(path);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		n = pread(fd, text, sizeof(text) - 1, 0);
		if (n > 0) {
			text[n] = 0;
			*other = atoi(text);
		}
		close(fd);
		return err;
	}
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
		err = -EIO;
		close(fd);
	}
	return err;
}
