// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ctl_server.c - see ctl_server.h.
 */
#include "lib/ctl_server.h"

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

#include "lib/printable.h"
#include "lib/util.h"

/* Others wait; whoever has been there for longest makes room. */
#define CLIENTS_MAX	16u
/* For all of a conversation. */
#define CLIENT_NS	UINT64_C(10000000000)
/* Between looks whether a slow reader has taken some. */
#define SEND_NS		UINT64_C(5000000)

struct client {
	struct client *next;
	struct vg_ctl_server *s;
	int fd;
	struct vg_fd *vfd;
	struct vg_timer *more;		/* to be sent */
	uint64_t asker;			/* its number; none has it again */
	uint64_t until_ns;
	char request[64];
	size_t request_len;
	char *text;			/* the answer; NULL: not asked yet */
	size_t text_len, sent;
};

struct vg_ctl_server {
	struct vg_ctl_server *next;	/* of this process */
	struct vg_loop *loop;
	char *path;
	int fd;
	struct vg_fd *vfd;
	vg_ctl_answer_fn *answer;
	void *arg;
	struct client *clients;		/* the newest first */
};

char vg_ctl_later[1];
static struct vg_ctl_server *servers;
static uint64_t nr_askers;

static void client_drop(struct client *c)
{
	struct client **p;

	for (p = &c->s->clients; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	vg_loop_del_fd(c->s->loop, c->vfd);
	vg_timer_destroy(c->more);
	close(c->fd);
	free(c->text);
	free(c);
}

/* What the socket has room for; a client that does not read holds up nobody. */
static void client_send(struct client *c)
{
	ssize_t n = send(c->fd, c->text + c->sent, c->text_len - c->sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		client_drop(c);
		return;
	}
	c->sent += n > 0 ? (size_t)n : 0;
	if (c->sent == c->text_len)
		client_drop(c);
	else
		vg_timer_arm(c->more, SEND_NS);
}

/* The time is up, or there may be room for more of the answer. */
static void on_more(void *arg)
{
	struct client *c = arg;

	if (!c->text || vg_now_ns() > c->until_ns)
		client_drop(c);
	else
		client_send(c);
}

static void client_answer(struct client *c, char *text)
{
	c->text = text;
	/* JSON's own escapes are text; the rest was written by anybody. */
	vg_printable(c->text, "\n");
	c->text_len = strlen(c->text);
	client_send(c);
}

static void client_ask(struct client *c)
{
	char *text;

	/* It has nothing more to say. */
	vg_loop_del_fd(c->s->loop, c->vfd);
	c->vfd = NULL;
	text = c->s->answer(c->s->arg, c->request, c->asker);
	if (!text)
		text = vg_strdup("{\"error\":\"unknown request\"}\n");
	if (text != VG_CTL_LATER)
		client_answer(c, text);
}

void vg_ctl_answer(uint64_t asker, char *text)
{
	struct vg_ctl_server *s;
	struct client *c;

	for (s = servers; s; s = s->next)
		for (c = s->clients; c; c = c->next)
			if (c->asker == asker) {
				client_answer(c, text);
				return;
			}
	free(text);
}

static void on_client(void *arg)
{
	struct client *c = arg;
	size_t room = sizeof(c->request) - 1 - c->request_len;
	ssize_t n = recv(c->fd, c->request + c->request_len, room,
			 MSG_DONTWAIT);
	char *nl;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_drop(c);
		return;
	}
	c->request_len += (size_t)n;
	nl = memchr(c->request, '\n', c->request_len);
	if (nl) {
		*nl = 0;
		client_ask(c);
	} else if (c->request_len == sizeof(c->request) - 1) {
		client_drop(c);
	}
}

static void make_room(struct vg_ctl_server *s)
{
	struct client *c, *oldest = NULL;
	unsigned int n = 0;

	for (c = s->clients; c; c = c->next, n++)
		oldest = c;
	if (n == CLIENTS_MAX)
		client_drop(oldest);
}

static void on_connect(void *arg)
{
	struct vg_ctl_server *s = arg;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd < 0)
		return;
	make_room(s);
	c = vg_zalloc(sizeof(*c));
	if (vg_loop_add_fd(s->loop, fd, on_client, c, &c->vfd)) {
		close(fd);
		free(c);
		return;
	}
	c->s = s;
	c->fd = fd;
	c->asker = ++nr_askers;
	c->until_ns = vg_now_ns() + CLIENT_NS;
	c->more = vg_timer_create(s->loop, on_more, c);
	vg_timer_arm(c->more, CLIENT_NS);
	c->next = s->clients;
	s->clients = c;
}

int vg_ctl_server_create(struct vg_loop *loop, const char *path,
			 vg_ctl_answer_fn *answer, void *arg,
			 struct vg_ctl_server **out)
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
	/*
	 * The caller holds the pidfile's lock: a socket here is a dead one's.
	 */
	unlink(path);
	/* Before it has a name, so that it never has another mode. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(fd, (int)CLIENTS_MAX) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	s = vg_zalloc(sizeof(*s));
	s->loop = loop;
	s->path = vg_strdup(path);
	s->fd = fd;
	s->answer = answer;
	s->arg = arg;
	s->next = servers;
	servers = s;
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
	struct vg_ctl_server **p;

	if (!s)
		return;
	for (p = &servers; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	while (s->clients)
		client_drop(s->clients);
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
