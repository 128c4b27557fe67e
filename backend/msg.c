// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * msg.c - see msg.h.
 */
#include "msg.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util.h"

/* Room for the descriptors of a message. */
union fd_room {
	struct cmsghdr hdr;
	char room[CMSG_SPACE(VG_MSG_FDS_MAX * sizeof(int))];
};

int vg_msg_send(int sock, const void *msg, size_t bytes, const int *fds,
		unsigned int nr_fds)
{
	struct iovec iov = { (void *)(uintptr_t)msg, bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_room ctl = { 0 };
	ssize_t n;

	if (nr_fds > VG_MSG_FDS_MAX)
		return -EINVAL;
	if (nr_fds) {
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		ctl.hdr.cmsg_level = SOL_SOCKET;
		ctl.hdr.cmsg_type = SCM_RIGHTS;
		ctl.hdr.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&ctl.hdr), fds, nr_fds * sizeof(int));
	}
	do {
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)bytes ? 0 : -EIO;
}

void vg_msg_close_fds(int *fds, unsigned int n)
{
	while (n--) {
		if (fds[n] >= 0)
			close(fds[n]);
		fds[n] = -1;
	}
}

/* How many there are in @fds now. */
static unsigned int take_fds(struct msghdr *mh, int *fds, unsigned int fds_max)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	size_t n;

	/* Nobody has asked for control messages of another kind. */
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len < CMSG_LEN(0))
		return 0;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	n = min_u(n, (size_t)fds_max);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return (unsigned int)n;
}

int vg_msg_recv(int sock, void *msg, size_t bytes, int *fds,
		unsigned int fds_max)
{
	struct iovec iov = { msg, bytes };
	union fd_room ctl;
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned int i, nr_fds;
	ssize_t n;

	for (i = 0; i < fds_max; i++)
		fds[i] = -1;
	if (fds_max > VG_MSG_FDS_MAX)
		return -EINVAL;
	if (fds_max) {
		mh.msg_control = &ctl;
		/* Not CMSG_SPACE(): its padding has room for one more. */
		mh.msg_controllen = CMSG_LEN(fds_max * sizeof(int));
	}
	do {
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/*
		 * ECONNRESET: the peer ended without reading all.  It is said
		 * once, before what the peer had sent.
		 */
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	nr_fds = take_fds(&mh, fds, fds_max);
	if (n == (ssize_t)bytes && !(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 1;
	vg_msg_close_fds(fds, nr_fds);
	/* The end of a file has nothing with it. */
	return n || nr_fds || mh.msg_flags & MSG_CTRUNC ? -EPROTO : 0;
}
