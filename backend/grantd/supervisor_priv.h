/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * supervisor_priv.h - what the files of the supervisor share: supervisor.c
 * (what xenstore has, its life), devices.c, guests.c (their workers), states.c,
 * nodes.c, resize.c and status.c.  Nothing else includes it.
 */
#ifndef VG_GRANTD_SUPERVISOR_PRIV_H
#define VG_GRANTD_SUPERVISOR_PRIV_H

#include "dev/type.h"
#include "grantd/supervisor.h"
#include "grantd/worker.h"
#include "lib/log.h"
#include "toolstack/libxl_keys.h"
#include "toolstack/refusals.h"
#include "transport/transport.h"
#include "virtio/state.h"

#define NR_FAILURES		16
/* New ones that are looked at by themselves; more are a look at everything. */
#define SCAN_NAMES_MAX		16u
/* Of what happens in xenstore; the rest, when others had their turn. */
#define EVENTS_A_TURN		64u
/* For a transport to be there; libxl's own limit is 10 s. */
#define UNREACHED_WARN_NS	UINT64_C(5000000000)
/* Between state 6 and the removal of the node: libxl must have seen it. */
#define NODE_REMOVAL_NS		UINT64_C(1000000000)
/* For a worker whose devices are removed, or whose supervisor ends. */
#define WORKER_END_NS		UINT64_C(2000000000)
/*
 * For a worker's answer, which libxl waits for as well: 10 s.  Each that is
 * killed for want of it leaves its successor twice the time, up to the maximum:
 * on a machine that is slow and not hung, one must get there.
 */
#define ANSWER_NS		UINT64_C(8000000000)
#define ANSWER_MAX_NS		UINT64_C(120000000000)
/* Reasons that are remembered per device, so that each is said once. */
#define NR_SAID			8u
/* Of all devices of one guest. */
#define SAID_A_MINUTE		64u

enum dev_state {
	DEV_NEW,	/* libxl made it; not reached yet */
	DEV_STARTING,	/* given to the worker */
	DEV_READY,	/* served */
	DEV_STOPPING,	/* the worker drains it */
	DEV_CLOSED,	/* state 6 is written, the node goes soon */
	DEV_FAILED,	/* remembered until libxl removes it */
	DEV_IGNORED,	/* another backend's, or not understood */
};

/* What a device's worker has not been told yet, one bit each. */
enum tell { TELL_RELEASE, TELL_MOVE, TELL_RESIZE, TELL_REMOVE, NR_TELLS };

struct vg_sguest;

struct vg_sdev {
	struct vg_sdev *next;
	struct vg_supervisor *s;
	struct vg_sguest *guest;
	struct vg_devname name;
	char *node, *label;
	enum dev_state state;
	bool seen;
	bool wants_look;	/* something happened to it */
	bool is_looked_at;	/* ... and it is its turn */
	bool is_ours;		/* its node was read, and is for us */
	bool was_denied;	/* it was read once, and is not */
	bool is_orphan;		/* its node is gone, or another device's */
	bool is_shown;		/* what it came to stands in its node */
	/*
	 * Its node said that it is served, or that a guest has it already: then
	 * it is never given up, whatever fails, for as long as the node is
	 * there.
	 */
	bool is_promised;
	uint64_t node_state;	/* that was seen or written last */
	uint64_t since_ns;	/* its node was seen first */
	bool was_served;	/* by somebody before this worker */
	unsigned int barren;	/* deaths in a row that nothing came between */
	uint64_t shown;		/* sum of used indices at the last death */
	uint64_t locked_out_ns;	/* since when; 0: not */
	char *why; /* what it waits for; NULL: nothing that failed */
	bool is_published;	/* why, in xenstore */
	uint64_t said[NR_SAID];	/* hashes of what was, since it was ready */
	unsigned int nr_said;
	struct vg_timer *retry;	/* ... to try once more, after */
	uint64_t pause_ns;
	/*
	 * Served, but none of its requests is before these are locked, state
	 * and resource: a worker that died has I/O under way.
	 */
	bool is_held;
	int held_state_fd;
	struct vg_dev_parts held;
	struct vg_timer *hold;	/* to try the locks */
	bool remove_wanted;	/* while STARTING */
	unsigned int index;	/* in its worker, from STARTING to STOPPING */
	bool has_index;
	bool has_page;		/* its worker's mapper was told of one */
	bool has_files;		/* its worker was given some */
	uint32_t untold;	/* bits of enum tell */
	struct vg_timer *answer;	/* its worker owes one until then */
	bool wants_resize;		/* its key was there */
	bool is_resizing;		/* its worker was asked, or the last */
	struct vg_dev_change change;	/* ... what */
	uint64_t resizer;		/* ... by whom (vg_ctl_answer()) */
	struct vg_timer *resize_due;	/* the answer to that */
	bool has_where;
	struct vg_transport_where where;
	const struct vg_transport_type *transport;
	/* If that has fronts (fronts.c): */
	char *front;			/* its path; NULL: none is read */
	bool is_front_watched;
	unsigned int front_state;	/* as seen last; 0: none */
	bool has_front;			/* there was one */
	bool is_front_gone;		/* there is none now */
	bool is_front_new;		/* its driver is another than before */
	bool is_moving;			/* its worker goes to `where' */
	bool is_attached;		/* ... and is there */
	bool is_abandoned;		/* its node is ours to remove */
	bool is_unwanted;		/* by the toolstack, as seen last */
	enum vg_xenbus_state front_target;	/* of its node, once ready */
	const struct vg_dev_type *type;	/* NULL: not known yet */
	void *res;		/* of the type: what is served */
	unsigned int nr_queues;	/* 0: not decided; then it stays */
	struct vg_timer *timer;	/* NEW: not reached; CLOSED: remove the node */
};

/* One guest and its worker. */
struct vg_sguest {
	struct vg_sguest *next;
	struct vg_supervisor *s;
	xen_domid_t domid;
	pid_t pid;
	int sock;			/* -1: no worker */
	struct vg_fd *sock_fd;
	struct vg_worker_shared *shared;
	struct vg_timer *tell;		/* what it did not take: once more */
	struct vg_timer *respawn;
	struct vg_timer *replace;	/* it has files of a removed device */
	uint64_t left_ns;		/* since when; 0: it has none */
	uint64_t spawned_ns, respawn_delay_ns;
	uint64_t patience_ns;		/* for answers */
	unsigned int deaths;
	struct vg_ratelimit complaints;	/* of its devices */
	bool index_used[VG_WORKER_DEVICES_MAX];
};

/* A worker that has ended, or is about to. */
struct vg_schild {
	struct vg_schild *next;
	xen_domid_t guest;
	pid_t pid;
	bool is_expected, is_killed;
	uint64_t kill_ns;		/* then it is made to */
	uint32_t violation;		/* as its shared memory said */
};

struct vg_supervisor {
	struct vg_supervisor_config cfg;
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *xs_fd;
	xen_domid_t own_domid;
	struct vg_deferred *scan;
	bool scan_all;			/* or but those that want it, and: */
	struct vg_devname look_at[SCAN_NAMES_MAX];	/* not known yet */
	unsigned int nr_look_at;
	struct vg_sdev *devs;
	struct vg_sguest *guests;
	void **type_daemons;		/* by type: dev/type.h */
	struct vg_refusals refusals;
	struct vg_schild *children;
	struct vg_timer *reap;
	uint64_t reap_pause_ns;
	bool scan_failed;		/* not all that is there was seen */
	bool look_again;		/* what was seen may not be all */
	struct vg_timer *rescan;
	uint64_t rescan_pause_ns;
	struct vg_sdev *about;		/* what fails, is about it; or NULL */
	bool is_tidied;			/* a predecessor's states, too */
	char *failure[NR_FAILURES];
	unsigned int nr_failures;
};

/* What a predecessor says in @fd; zeroes: there was none. */
struct vg_left {
	uint32_t nr_queues;
	uint64_t resource[VG_DEV_WORDS], told[VG_DEV_WORDS];
};

/* ---- supervisor.c */

unsigned int vg_sup_type_index(const struct vg_dev_type *type);
unsigned int vg_sup_transport_index(const struct vg_transport_type *transport);
/*
 * Logs it and keeps it for virtio-grantctl.  What one try or scan after the
 * other finds is said once; of a device, it is also what that waits for.
 */
void vg_sup_failed(struct vg_supervisor *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* It waits for nothing any more. */
void vg_sdev_content(struct vg_sdev *d);
/*
 * What xenstore has is looked at in this turn: all of it, or one device's.  A
 * look at all costs some reads per device, and where there are many, much
 * happens to one of them after the other.
 */
void vg_sup_scan_all(struct vg_supervisor *s);
void vg_sup_scan_device(const struct vg_sdev *d);
/* Next time, a little later.  The caller has said why. */
uint64_t vg_sup_next_pause(uint64_t *pause_ns);
void vg_sdev_wait(struct vg_sdev *d);

/* ---- nodes.c */

/* What became of it, until xenstore has it. */
void vg_sdev_show(struct vg_sdev *d);
/* It was served, or is to be: what fails keeps its reason. */
void vg_sdev_becomes(struct vg_sdev *d, enum dev_state state);
/* Why, in xenstore, once until it is content. */
void vg_sdev_publish_failure(struct vg_sdev *d);
/* This device can't be served.  The caller has said why. */
void vg_sdev_fail(struct vg_sdev *d);
int vg_sup_remove_node(struct vg_sdev *d);

/* ---- guests.c */

/* Before the worker hears of it. */
void vg_sup_permit_page(struct vg_sdev *d);
int vg_sup_allow_file(struct vg_sdev *d, uint64_t size_bytes);
/* Its process has not ended yet. */
bool vg_sup_is_ending(const struct vg_supervisor *s, xen_domid_t guest);
void vg_sup_on_reap(void *arg);
/* The supervisor ends: all at once, and not for long. */
void vg_sup_children_end(struct vg_supervisor *s);
void vg_sup_files_left(struct vg_sdev *d);
void vg_sup_index_put(struct vg_sdev *d);
/*
 * It could not be started; the caller has said why.  A device that was served
 * waits for better times; a new one, only for what passes and while libxl does.
 */
void vg_sdev_not_now(struct vg_sdev *d, int err);
/* Its worker took too long for an answer. */
void vg_sup_on_answer_due(void *arg);
/* @patience_ns: for its answer; 0: there will be none. */
void vg_sdev_ask(struct vg_sdev *d, enum tell what, uint64_t patience_ns);
int vg_sup_worker_start(struct vg_sguest *g);
struct vg_sguest *vg_sguest_get(struct vg_supervisor *s, xen_domid_t domid);
void vg_sguest_free(struct vg_sguest *g);
bool vg_sguest_has_device(const struct vg_sguest *g);

/* ---- states.c */

void vg_sup_state_remove(const struct vg_sdev *d);
/*
 * Something of a worker that died is not over yet.  False: it has been for so
 * long that it may be another's lock.
 */
bool vg_sup_lock_awaited(struct vg_sdev *d);
/*
 * -EAGAIN: it is somebody's still.  @left: what a predecessor wrote, if there
 * was one that was served.
 */
int vg_sup_state_open(struct vg_sdev *d, int *state_fd, int *hold_fd,
		      bool *is_held, struct vg_left *left);
/*
 * Makes it what a device with so many queues wants: emptied, if it is another's
 * (@left has none).  Which resource it is, is noted in any case.
 */
int vg_sup_state_fit(struct vg_sdev *d, int fd, const struct vg_left *left,
		     const struct vg_dev_parts *parts);
void vg_sup_held_drop(struct vg_sdev *d);
/* Its worker was told; it has @fds[] open as we have. */
void vg_sup_held_begin(struct vg_sdev *d, const struct vg_dev_parts *parts,
		       int fds[VG_WORKER_FDS_MAX]);
/* Its worker has both open as we have: what we lock is locked for it. */
void vg_sup_on_hold(void *arg);
/*
 * Did its worker die with requests under way, and without having shown the
 * driver any?  Or before it was there?  Read, not mapped: a worker could have
 * made the file shorter.  If it lies, its guest has the worse service.
 */
bool vg_sup_state_is_barren(struct vg_sdev *d);
void vg_sup_how_to_start(struct vg_sdev *d, struct vg_worker_msg *msg,
			 bool has_state);
void vg_sup_on_retry(void *arg);
/* Of devices that went while nobody looked. */
void vg_sup_remove_stale_states(struct vg_supervisor *s);

/* ---- fronts.c */

/* Its front is watched from now on.  -EINVAL: it is refused, for good. */
int vg_front_begin(struct vg_sdev *d);
void vg_front_end(struct vg_sdev *d);
/* As vg_sup_find_where(), which is never -ENOENT then. */
int vg_front_find(struct vg_sdev *d, struct vg_transport_where *where);
/* Its node, whose state is @state, or its front may have changed. */
void vg_front_scan(struct vg_sdev *d, uint64_t state);
/* Its worker was given it, with `where', and tells whether it got there. */
void vg_front_started(struct vg_sdev *d);
void vg_front_moved(struct vg_sdev *d, const struct vg_worker_msg *msg);
/* Its node says what it has come to. */
void vg_front_show(struct vg_sdev *d);

/* ---- resize.c */

/* Its worker's answer. */
void vg_sdev_resized(struct vg_sdev *d, const struct vg_worker_msg *msg);
/* A new worker serves it, with whatever its resource is by now. */
void vg_sdev_resize_taken_over(struct vg_sdev *d);
void vg_sdev_resize_drop(struct vg_sdev *d);
/* "resize" of its node, if it is there. */
void vg_sdev_resize_by_key(struct vg_sdev *d);
/* As vg_supervisor_answer(), of the request "resize @label". */
char *vg_sup_resize_answer(struct vg_supervisor *s, const char *label,
			   uint64_t asker);

/* ---- devices.c */

void vg_sup_res_close(struct vg_sdev *d);
/* -ENOENT: it can't be reached (yet); other errors are said. */
int vg_sup_find_where(struct vg_sdev *d, struct vg_transport_where *where);
/*
 * Where it is reached is known: opens its resource and gives both to the
 * worker.
 */
void vg_sdev_start(struct vg_sdev *d);
void vg_sdev_go_on(struct vg_sdev *d);
void vg_sdev_closed(struct vg_sdev *d);
/* libxl wants it gone. */
void vg_sdev_stop(struct vg_sdev *d);
/*
 * Its node is gone without the protocol, or is another device's by now, while
 * the worker has it still: from here on it has neither node nor state, and the
 * worker not much time.
 */
void vg_sdev_orphan(struct vg_sdev *d);
void vg_sup_on_dev_timer(void *arg);
void vg_sdev_free(struct vg_sdev *d);

#endif
