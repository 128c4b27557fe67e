/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - one end of a byte stream (endpoint.h) in the loop of who serves
 * it, with whoever is attached to it: has the pseudo-terminal open, or is the
 * socket's client, one at a time.
 *
 * Not trusted: who is attached.  Nothing here waits for it, and a turn of the
 * loop moves no more than VG_STREAM_TURN_BYTES of its input.
 *
 * What is written while nobody is attached goes nowhere.  Input stays where it
 * is, in the kernel, until it is read: whoever has a copy of the descriptors
 * can go on after us; only a client is gone then.
 *
 * Besides what a loop does it calls read, write, close, recvmsg, and
 * VG_STREAM_SYSCALLS (number, argument or -1, its value).  SIGPIPE is ignored;
 * SIGXFSZ, too, if there is a log.
 */
#ifndef VG_LIB_STREAM_H
#define VG_LIB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "lib/loop.h"

#define VG_STREAM_TURN_BYTES	65536u
#define VG_STREAM_SYSCALLS \
	{ SYS_accept4, -1, 0 }, { SYS_ppoll, 1, 1 /* descriptor */ }, \
	{ SYS_ioctl, 1, TIOCGWINSZ }

struct vg_stream;

/* Of its user; neither destroys the stream. */
struct vg_stream_user {
	/*
	 * Somebody is attached, or no longer, or the size is another.  From
	 * within any call.
	 */
	void (*changed)(void *arg);
	/*
	 * Something may be done: read (there is @has_input, as was wanted), or
	 * written (there is room, or nobody).  From the loop, and from within
	 * vg_stream_look().
	 */
	void (*ready)(void *arg, bool has_input);
};

/* Counters, which several streams can share. */
enum vg_stream_stat {
	VG_STREAM_WRITTEN_BYTES, VG_STREAM_READ_BYTES,
	VG_STREAM_DROPPED_BYTES,
	VG_STREAM_LOG_BYTES, VG_STREAM_LOG_LOST_BYTES,
	VG_STREAM_ATTACHES,
	/* No counters: a bit per stream that is attached, or VG_STREAM_OPEN. */
	VG_STREAM_ATTACHED_MASK, VG_STREAM_OPEN_MASK,
	VG_STREAM_STAT_NR
};

/*
 * @fd, non-blocking, is the stream's from now on: a pty's master, or, with
 * @is_socket, a listening socket.  @stats: VG_STREAM_STAT_NR counters with one
 * writer, this thread; @bit: the stream's in masks.  Nobody is attached before
 * vg_stream_look(), or the loop, found out.
 */
struct vg_stream *vg_stream_create(struct vg_loop *loop, int fd, bool is_socket,
				   const struct vg_stream_user *user, void *arg,
				   uint64_t *stats, unsigned int bit);
void vg_stream_destroy(struct vg_stream *s);	/* or NULL */

/*
 * All that is put is also appended to @fd, which is the stream's, up to so many
 * bytes.  With -1 it is not.
 */
void vg_stream_log(struct vg_stream *s, int fd, uint64_t left_bytes);

/*
 * Waiting for one who does not read ends after @max_ns, and with 1/@share of
 * the time in the long run: what waits is dropped then.  Else it never does.
 */
void vg_stream_patience(struct vg_stream *s, uint64_t max_ns,
			unsigned int share);

/* What its user waits for, in place of what it did before: bits of */
enum {
	VG_STREAM_OPEN = 1,	/* somebody here takes part: then it is looked
				 * twice a second whether a pty has a user, and
				 * what one who went has left can be read */
	VG_STREAM_INPUT = 2,
	VG_STREAM_ROOM = 4,
	VG_STREAM_SIZE = 8,	/* once a second: the terminal's */
};
void vg_stream_want(struct vg_stream *s, unsigned int what);
/* Finds out now what is so, and says so. */
void vg_stream_look(struct vg_stream *s);

bool vg_stream_is_attached(const struct vg_stream *s);
/* The last that is known, as wanted.  True: it is another than that was. */
bool vg_stream_resized(const struct vg_stream *s, uint16_t *cols,
		       uint16_t *rows);

/* How many bytes there were, at most VG_STREAM_TURN_BYTES; 0: none now. */
size_t vg_stream_read(struct vg_stream *s, const struct iovec *iov,
		      unsigned int nr);
/*
 * Writes those bytes, or drops them, and moves @iov on: it is empty when it is
 * done, which is true.  False: to be called again when ready() is, with
 * VG_STREAM_ROOM wanted.  @is_urgent: what finds no room is dropped.
 */
bool vg_stream_put(struct vg_stream *s, struct iovec *iov, unsigned int nr,
		   bool is_urgent);
/* It is not called again: these count as dropped. */
void vg_stream_give_up(struct vg_stream *s, const struct iovec *iov,
		       unsigned int nr);

#endif
