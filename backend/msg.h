/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msg.h - messages of one size with descriptors, between a daemon and the
 * processes that it starts.
 *
 * Over SOCK_SEQPACKET, one end of a pair on each side.  Neither call waits, and
 * each moves a message whole or not at all.  The peer is not trusted: what is
 * not exactly one message, with no more descriptors than there is room for, is
 * refused, and whatever came along is closed.  What the words of a message say
 * is the caller's to check.
 */
#ifndef VG_MSG_H
#define VG_MSG_H

#include <stddef.h>

/* Of one message; more: -EINVAL. */
#define VG_MSG_FDS_MAX	8u

/*
 * 0; -EAGAIN: the peer does not take it now; -EPIPE, -ECONNRESET: it is gone;
 * or another negative errno.  @fds stay the caller's.
 */
int vg_msg_send(int sock, const void *msg, size_t bytes, const int *fds,
		unsigned int nr_fds);
/*
 * 1: a message; 0: the peer closed, and all that it had sent has been read (or
 * it sent an empty message, which looks the same); -EAGAIN: none now; -EPROTO:
 * what came is no message; or another negative errno.
 * With 1, what came along is in @fds, the caller's and close-on-exec; all
 * others of the @fds_max are -1.
 */
int vg_msg_recv(int sock, void *msg, size_t bytes, int *fds,
		unsigned int fds_max);
/* Those that are not -1, which all are then. */
void vg_msg_close_fds(int *fds, unsigned int n);

#endif
