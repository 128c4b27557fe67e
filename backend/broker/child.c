// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * child.c - see child.h.
 *
 * Its life: take the guest's IOREQ server over or make one, give up everything
 * else (xen_confine()), say so, then do what the parent says until it says END
 * or is gone.  Nothing that a guest or a driver domain wrote is looked at
 * before the process is confined.
 *
 * The parent is trusted.
 */
#include "broker/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/msg.h"
#include "lib/util.h"

/* For a predecessor that is about to end: every so often, so many times. */
#define ADOPT_RETRY_NS		UINT64_C(10000000)
#define ADOPT_TRIES		300u

struct vg_bchild {
	struct vg_bchild_config cfg;
	struct vg_loop *loop;
	int sock;
	struct vg_fd *sock_fd;
	struct vg_bchild_shared *shared;
	void (*gone)(void *arg);
	void *gone_arg;
	struct vg_timer *begin;
	unsigned int tries;
	struct vg_bchild_guest *g;	/* NULL: no server (yet, any more) */
	struct vg_bchild_dev *dev[VG_BROKER_DEVICES_MAX];
};

/* ---- messages ----------------------------------------------------------- */

int vg_bchild_send(int sock, const struct vg_bchild_msg *msg, const int *fd)
{
	return vg_msg_send(sock, msg, sizeof(*msg), fd, fd ? 2 : 0);
}

int vg_bchild_recv(int sock, struct vg_bchild_msg *msg, int fd[2])
{
	int n = vg_msg_recv(sock, msg, sizeof(*msg), fd, 2);

	if (n != 1)
		return n;
	if (msg->dev_index >= VG_BROKER_DEVICES_MAX ||
	    (fd[0] >= 0) != (fd[1] >= 0)) {
		vg_msg_close_fds(fd, 2);
		return -EPROTO;
	}
	msg->label[sizeof(msg->label) - 1] = 0;
	return 1;
}

static void say(struct vg_bchild *c, const struct vg_bchild_msg *msg)
{
	/* The parent's end may be closed: then so is ours, soon. */
	if (vg_bchild_send(c->sock, msg, NULL))
		vg_debug("dom%u: the parent can't be told", c->cfg.guest);
}

/* ---- what the parent wants ---------------------------------------------- */

static void over(struct vg_bchild *c)
{
	vg_loop_del_fd(c->loop, c->sock_fd);
	c->sock_fd = NULL;
	c->gone(c->gone_arg);
}

static int add_device(struct vg_bchild *c, const struct vg_bchild_msg *msg,
		      const int fd[2])
{
	struct vg_bchild_dev_params p = {
		.label = msg->label, .base = msg->base, .irq = msg->irq,
		.port = msg->port, .shared = &c->shared->dev[msg->dev_index],
		.backend = (xen_domid_t)msg->backend,
	};
	int err;

	err = xen_shared_page_take(fd[0], &p.page);
	if (err) {
		close(fd[1]);
		return err;
	}
	err = xen_evtchn_take(fd[1], &p.ec);
	if (err) {
		xen_shared_page_close(p.page);
		return err;
	}
	if (msg->is_new)
		memset(p.shared, 0, sizeof(*p.shared));
	return vg_bchild_dev_add(c->g, &p, &c->dev[msg->dev_index]);
}

static void on_add(struct vg_bchild *c, const struct vg_bchild_msg *msg,
		   const int fd[2])
{
	struct vg_bchild_msg answer = {
		.op = VG_BCHILD_ADDED, .dev_index = msg->dev_index,
		.serial = msg->serial, .error = -EINVAL,
	};

	if (fd[0] >= 0 && !c->dev[msg->dev_index])
		answer.error = add_device(c, msg, fd);
	say(c, &answer);
}

static void on_parent(void *arg)
{
	struct vg_bchild *c = arg;
	struct vg_bchild_msg msg;
	int fd[2], n, err;

	n = vg_bchild_recv(c->sock, &msg, fd);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		over(c);
		return;
	}
	switch (msg.op) {
	case VG_BCHILD_ADD:
		on_add(c, &msg, fd);
		break;
	case VG_BCHILD_REMOVE:
		if (c->dev[msg.dev_index])
			vg_bchild_dev_remove(c->dev[msg.dev_index]);
		c->dev[msg.dev_index] = NULL;
		break;
	case VG_BCHILD_START:
		err = vg_bchild_guest_start(c->g);
		if (err) {
			vg_err("dom%u: event loop: %s", c->cfg.guest,
			       strerror(-err));
			over(c);
		}
		break;
	case VG_BCHILD_PING:
		say(c, &(struct vg_bchild_msg){ .op = VG_BCHILD_PONG,
						.serial = msg.serial });
		break;
	case VG_BCHILD_END:
		vg_bchild_guest_destroy(c->g);
		c->g = NULL;
		over(c);
		break;
	}
}

/* ---- life --------------------------------------------------------------- */

static void on_begin(void *arg)
{
	struct vg_bchild *c = arg;
	struct vg_bchild_msg msg = { .op = VG_BCHILD_UP };
	const char *what = "";
	uint16_t id = 0;
	int err;

	err = vg_bchild_guest_create(c->cfg.guest, c->cfg.adopt_id,
				     c->cfg.answer_timeout_ns, &c->shared->seq,
				     c->loop, &c->g, &id);
	if (err == -EBUSY && ++c->tries < ADOPT_TRIES) {
		vg_timer_arm(c->begin, ADOPT_RETRY_NS);
		return;
	}
	if (!err) {
		vg_bchild_guest_poll(c->g, c->cfg.poll_max_ns);
		err = xen_confine(c->cfg.guest, &what);
		if (err)
			vg_err("dom%u: %s: %s", c->cfg.guest, what,
			       strerror(-err));
	}
	if (!err)
		err = vg_loop_add_fd(c->loop, c->sock, on_parent, c,
				     &c->sock_fd);
	msg.error = err;
	msg.server_id = id;
	say(c, &msg);
	if (err)
		c->gone(c->gone_arg);
}

int vg_bchild_create(const struct vg_bchild_config *cfg, struct vg_loop *loop,
		     int sock, struct vg_bchild_shared *shared,
		     void (*gone)(void *arg), void *arg,
		     struct vg_bchild **out)
{
	struct vg_bchild *c = vg_zalloc(sizeof(*c));

	c->cfg = *cfg;
	c->loop = loop;
	c->sock = sock;
	c->shared = shared;
	c->gone = gone;
	c->gone_arg = arg;
	c->begin = vg_timer_create(loop, on_begin, c);
	vg_timer_arm(c->begin, 0);
	*out = c;
	return 0;
}

void vg_bchild_destroy(struct vg_bchild *c)
{
	if (c->g)
		vg_bchild_guest_leave(c->g);
	vg_loop_del_fd(c->loop, c->sock_fd);
	vg_timer_destroy(c->begin);
	free(c);
}

static void on_gone(void *arg)
{
	vg_loop_stop(arg);
}

int vg_bchild_main(const struct vg_bchild_config *cfg, int sock,
		   int shared_fd)
{
	struct vg_bchild_shared *shared;
	struct vg_bchild *c;
	struct vg_loop *loop;
	int err;

	vg_name_process("broker", cfg->guest);
	/* It ends with its parent, and not by a signal to the group. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return 1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED, shared_fd, 0);
	if (shared == MAP_FAILED)
		return 1;
	close(shared_fd);
	err = vg_loop_create(&loop);
	if (!err)
		err = vg_bchild_create(cfg, loop, sock, shared, on_gone, loop,
				       &c);
	if (!err) {
		err = vg_loop_run(loop);
		vg_bchild_destroy(c);
	}
	if (err)
		vg_err("dom%u: event loop: %s", cfg->guest, strerror(-err));
	return err ? 1 : 0;
}
