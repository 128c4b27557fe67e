/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * type.h - what a device type is: one table of functions, here and nowhere else
 * (types.c has the list of tables).  What stands between it and the guest
 * (transport, queues, memory, state, threads, processes) is the same for all.
 *
 * A type's code runs in three places:
 *
 *	supervisor	parses options and the toolstack's keys, opens what
 *			a device is made of, shows it: struct vg_dev_host
 *	worker, before	makes what can't be made later		prepare()
 *	  its sandbox
 *	worker		serves the guest			the rest
 *
 * Not trusted: the guest, whatever it asks.  The supervisor does not trust the
 * worker; a type's functions there get nothing that comes from it but counters
 * and, of a predecessor, what describe() and open() are told it left.
 */
#ifndef VG_DEV_TYPE_H
#define VG_DEV_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/keys.h"
#include "lib/loop.h"
#include "mem/mem.h"
#include "virtio/broken.h"
#include "virtio/stats.h"

struct json_object;
struct vg_device;
struct vg_req;

/* ---- requests ----------------------------------------------------------- */

/*
 * A request: bounded buffers, and nothing of rings.  The first nr_out entries
 * of iov[] are read by the device, the rest written.
 */
struct vg_req {
	struct vg_device *dev;
	unsigned int queue;
	struct iovec *iov;
	unsigned int nr_out, nr_in;
	uint64_t out_bytes, in_bytes;
	void *type_priv;	/* type->req_priv_bytes, zeroed */
};

/*
 * @used_bytes: how many bytes were written, from the start of the writable
 * buffers (virtio 1.3, 2.7.8.2).  @req is gone after this.  From the thread
 * that runs the queue.
 */
void vg_req_complete(struct vg_req *req, uint32_t used_bytes);

/*
 * It can't be finished: cancel() was called.  Used without a byte, or, when the
 * device is left to a successor, as if it had not been taken.  As above.
 */
void vg_req_cancel(struct vg_req *req);

/*
 * Somebody waits for the requests of its queue to end, so one that would take
 * long ends with an error.  Not when they are left to a successor.  From the
 * thread that runs the queue.
 */
bool vg_req_is_ending(const struct vg_req *req);

/*
 * Of a queue that is pulled from: so many requests may be started from now on,
 * in place of what was said before.  From the thread that runs the queue, also
 * from within start().
 */
void vg_queue_want(struct vg_device *dev, unsigned int queue, unsigned int n);

/* ---- a queue ------------------------------------------------------------ */

/* From creation on the same. */
struct vg_queue_traits {
	unsigned int segs_max;		/* most descriptors of a chain */
	/*
	 * A power of two: it never has more entries than that.  For one that
	 * is full of buffers all the time, since its guest has to find memory
	 * for them.  0: as many as the device's others.
	 */
	unsigned int size_max;
	/*
	 * Requests are started when vg_queue_want() asks for them; else
	 * whenever there are some.  What nobody asked for stays in the ring.
	 */
	bool is_pull;
	/* Every writable byte is written before vg_req_complete(). */
	bool fills_buffers;
	/*
	 * What a predecessor had taken and not finished is used without a
	 * byte; else it is started again.
	 */
	bool drops;
	/* The ring may be looked at, and notifications held back: poll.h. */
	bool may_poll;
	/*
	 * Queues with the same number share a thread, if the driver uses
	 * several queues; 0: the main thread.
	 */
	unsigned int thread;
};

/* ---- in the supervisor -------------------------------------------------- */

/* One option of the command line, "--NAME=ARG"; where it goes is the type's. */
struct vg_dev_option {
	const char *name;
	char letter;			/* or 0 */
	const char *arg, *help;		/* for --help: "on|off", "what it does" */
	/* NULL, or what is wrong with @arg: "none of on, off". */
	const char *(*parse)(const char *arg);
};

#define VG_DEV_FDS_MAX		20u
#define VG_DEV_BLOB_BYTES	640u
#define VG_DEV_WORDS		4u

/* What a device is made of, on its way to the worker. */
struct vg_dev_parts {
	unsigned int nr_queues;
	/* -1: none; which is which, the type knows. */
	int fds[VG_DEV_FDS_MAX];
	/* The rest, as the type has it. */
	uint64_t blob[VG_DEV_BLOB_BYTES / 8];
	/*
	 * By which a successor knows it again: it gets them as how->resource.
	 */
	uint64_t resource[VG_DEV_WORDS];
	/* The worker may write to files that are as large; 0: to none. */
	uint64_t file_max_bytes;
};

/*
 * What has become of a resource since, on its way to the worker: as the type
 * has it, and as vg_dev_parts has it.
 */
struct vg_dev_change {
	uint64_t words[VG_DEV_WORDS];
	uint64_t file_max_bytes;
};

/* Of nothing yet. */
static inline void vg_dev_parts_init(struct vg_dev_parts *parts)
{
	unsigned int i;

	*parts = (struct vg_dev_parts){ .nr_queues = 1 };
	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		parts->fds[i] = -1;
}

struct vg_dev_how {
	const struct vg_keys *keys;
	unsigned int guest, devid;	/* which one it is */
	const char *run_dir;		/* of the daemon, for what others find
					 * there; or NULL */
	/* So many, and no less if it was served; a type may want fewer. */
	unsigned int nr_queues;
	/*
	 * By another worker: what was served is served on, and @resource and
	 * @told are what it left.  Not trusted: a worker could write it.
	 */
	bool was_served, has_left;
	uint64_t resource[VG_DEV_WORDS], told[VG_DEV_WORDS];
	/* That one's I/O is under way: the lock is tried later, see lock(). */
	bool is_held;
};

/*
 * How a device's resource is found, opened and kept.  @daemon: what all of a
 * type's devices have in common, of daemon_create(), or NULL.
 */
struct vg_dev_host {
	void *(*daemon_create)(void);
	void (*daemon_destroy)(void *daemon);

	/* @label stays valid. */
	void *(*create)(void *daemon, const char *label);
	void (*destroy)(void *res);
	/*
	 * As the keys say.  The descriptors in @parts become the caller's.
	 * Negative errno with *why a new text for the operator; -EAGAIN:
	 * somebody has it who may be gone in a moment, to be tried again soon;
	 * *why only if that takes long.  With 0, *why is NULL or what the
	 * operator should know.
	 */
	int (*open)(void *res, const struct vg_dev_how *how,
		    struct vg_dev_parts *parts, char **why);
	/* What was opened as held, if it is to be locked; errors as above. */
	int (*lock)(void *res, const struct vg_dev_parts *parts, char **why);
	/* Its worker was told to close it: others may wait.  May be NULL. */
	void (*leave)(void *res);
	/*
	 * The device is closed; its worker has closed its own descriptors.
	 * May be NULL.
	 */
	void (*close)(void *res);
	/*
	 * Looks at it again, since it may be larger by now, and keeps nothing
	 * of that: the worker gets @change, and when the guest has it
	 * resized() is called.  Negative errno with *why a new text;
	 * -EALREADY: it is as the guest knows it.  Both NULL: it has no size,
	 * or none that changes.
	 */
	int (*resize)(void *res, struct vg_dev_change *change, char **why);
	void (*resized)(void *res, const struct vg_dev_change *change);
	/* In a few words, new: "/srv/disk.img, 1048576 bytes". */
	char *(*summary)(const void *res);
	/*
	 * Adds its own keys for virtio-grantctl.  @notes: an array of lines
	 * that an operator should see.  @counters: of the worker, not trusted;
	 * or NULL.  May itself be NULL.
	 */
	void (*describe)(const void *res, const uint64_t *counters,
			 struct json_object *o, struct json_object *notes);
};

/* ---- in the worker ------------------------------------------------------ */

/* A system call, and with which argument; @arg -1: with any. */
struct vg_dev_syscall {
	int nr;				/* SYS_* */
	int arg;
	uint64_t value;			/* of its low 32 bits */
};

/* Before the sandbox; filled by prepare(). */
struct vg_dev_prepared {
	unsigned int nr_queues;		/* in: of all devices together */
	/* Of which so many register all of their device's memory. */
	unsigned int nr_registering;
	/* What devices will call, besides what a worker may anyway. */
	const struct vg_dev_syscall *syscalls;
	unsigned int nr_syscalls;
};

struct vg_dev_type {
	const char *name;		/* "blk" */
	uint32_t virtio_id;		/* VIRTIO_ID_BLOCK */
	const char *kind;		/* libxl's own, or NULL: generic */
	bool has_threads;		/* struct vg_queue_traits */
	const struct vg_dev_option *options;	/* to a NULL name; or NULL */
	const char *const *stat_names;	/* NULL-terminated, for stats.type[] */
	const struct vg_dev_host *host;

	/* Once per process, when it may do anything.  May be NULL. */
	void (*prepare)(struct vg_dev_prepared *p);

	/* What @parts hands over is the type's, also on failure. */
	int (*create)(struct vg_device *dev, const struct vg_dev_parts *parts,
		      void **priv);
	void (*destroy)(void *priv);
	uint64_t (*features)(void *priv);	/* device-specific bits; or
						 * NULL: none */
	unsigned int (*nr_queues)(void *priv);	/* NULL: 1 */
	const struct vg_queue_traits *(*traits)(void *priv, unsigned int queue);
	const struct vg_queue_traits *all_traits;	/* if traits is NULL */
	/*
	 * The device can be used, by a new guest or by one that a predecessor
	 * served: after put_state().  May be NULL.
	 */
	void (*begin)(void *priv, bool is_taken_over);
	/* The driver accepted @features (FEATURES_OK).  May be NULL. */
	int (*set_features)(void *priv, uint64_t features);
	/*
	 * Device reset: forget what set_features and config_write set; or NULL.
	 */
	void (*reset)(void *priv);
	/* Configuration space; offset and len are inside @config_bytes. */
	size_t config_bytes;
	void (*config_read)(void *priv, unsigned int offset, void *buf,
			    unsigned int len_bytes);
	void (*config_write)(void *priv, unsigned int offset, const void *buf,
			     unsigned int len_bytes);

	size_t req_priv_bytes;
	/*
	 * Starts a request; ends, now or later, in vg_req_complete().  A
	 * negative return says that its shape is no request of this type:
	 * the device breaks (VG_BROKEN_REQUEST), and @req is gone.  iov[] is
	 * private and the type's to change; what it points to is shared with
	 * the guest.  @queue: of queue_create(), or @priv.
	 */
	int (*start)(void *queue, struct vg_req *req);
	/* End of a batch of start()s: submit what was gathered. */
	void (*flush_batch)(void *queue);
	/*
	 * The queue stops.  Requests that wait for what may never come (room
	 * in a socket, a rate) are given up now, by vg_req_cancel(); others go
	 * on to their end.  NULL: none waits like that.
	 */
	void (*cancel)(void *queue);
	/*
	 * What a queue needs of its own, in the thread of @loop, which is the
	 * only one to use it and @stats; no thread runs when these are
	 * called.  NULL: nothing, and @priv may be used by one thread only.
	 */
	void *(*queue_create)(void *priv, unsigned int queue,
			      struct vg_loop *loop, uint64_t *stats);
	void (*queue_destroy)(void *queue);
	/*
	 * Memory that stays mapped until this is called again: buffers of
	 * requests mostly lie in it.  No thread runs; requests may be under
	 * way, in what stays the same.  May be NULL.
	 */
	void (*queue_areas)(void *queue,
			    const struct iovec areas[VG_MEM_RANGES_MAX]);
	/*
	 * What the resource has become, as host->resize() found it: the driver
	 * is told.  No thread runs; requests may be under way.  0, or negative
	 * errno and nothing has changed.  May be NULL.
	 */
	int (*resized)(void *priv, const uint64_t change[VG_DEV_WORDS]);
	/*
	 * What must survive the worker, VG_STATE_TYPE_BYTES zeroed; a
	 * successor's put_state() gets it after set_features().  Not trusted.
	 * Both NULL: nothing.
	 */
	void (*get_state)(void *priv, void *state);
	void (*put_state)(void *priv, const void *state);
};

/* ---- what a type may ask of its device ---------------------------------- */

unsigned int vg_device_queue_size_max(const struct vg_device *dev);
const char *vg_device_label(const struct vg_device *dev);
struct vg_loop *vg_device_loop(const struct vg_device *dev); /* main thread's */
/* Counters of the device's own: written by the main thread. */
uint64_t *vg_device_type_stats(struct vg_device *dev);
/*
 * The configuration space changed: generation + 1, and the driver is told; one
 * that is not there yet, when it is.
 */
void vg_device_config_changed(struct vg_device *dev);
/* What get_state() gives has changed. */
void vg_device_save(struct vg_device *dev);
/*
 * VG_DEV_WORDS words that a successor finds, and its supervisor as how->told:
 * what the driver was told of the resource.  NULL: no state is kept.
 */
uint64_t *vg_device_told(struct vg_device *dev);
/*
 * Kept open by the kernel, too, until the last I/O that it does for us is done:
 * then a successor may begin.  -1: nobody waits.  Not the type's to close.
 */
int vg_device_hold_fd(const struct vg_device *dev);
/* It can't go on, for a reason of ours: it needs reset. */
void vg_device_fail(struct vg_device *dev, enum vg_broken why);

/* ---- the list (types.c) ------------------------------------------------- */

extern const struct vg_dev_type *const vg_dev_types[];
extern const unsigned int vg_nr_dev_types;
const struct vg_dev_type *vg_dev_type_named(const char *name);
/*
 * By what the toolstack says: @kind, or the key "type" ("virtio,device4").  0,
 * or negative errno with *@why a new text; -EINVAL: there is no such type.
 */
int vg_dev_type_of(const char *kind, const struct vg_keys *keys,
		   const struct vg_dev_type **type, char **why);

#endif
