/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * broker_priv.h - what the files of the broker's parent share.  Nothing else
 * includes it; the processes of guests, which it starts, see child.h.
 *
 *	broker.c		the life of the whole
 *	scan.c		what there is to be served, from /libxl
 *	devices.c	relays, and what the backends are told
 *	guests.c		the processes of guests
 *	servers.c	ids of IOREQ servers, kept for a successor
 *	status.c		what virtio-grantctl hears, and what went wrong
 *
 * The scan starts and stops devices; these ask for their guest's process, and
 * tell it what to do; what comes of it the guest tells its devices.
 */
#ifndef VG_BROKER_PRIV_H
#define VG_BROKER_PRIV_H

#include <errno.h>

#include "broker/broker.h"
#include "broker/child.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"
#include "transport/mmio_keys.h"

#define VG_BROKER_FAILURES_MAX	16u

enum vg_bparent_state {
	VG_BPARENT_NEW,			/* found by a scan */
	VG_BPARENT_STARTING,		/* its relay is there, the child told */
	VG_BPARENT_RUNNING,		/* announced to the backend */
	VG_BPARENT_FAILED,		/* kept until libxl removes it */
	VG_BPARENT_IGNORED,		/* likewise: another backend's */
};

/* What the toolstack wrote of a device. */
struct vg_bparent_keys {
	bool grant_usage;
	struct vg_mmio_keys mmio;
};

/* What the parent has of a device. */
struct vg_bparent_dev {
	struct vg_bparent_dev *next;
	struct vg_broker *b;
	enum vg_bparent_state state;
	struct vg_bparent_guest *guest;	/* STARTING and RUNNING */
	struct vg_devname name;
	struct vg_bparent_keys keys;
	char *label;
	unsigned int dev_index;		/* among the guest's */
	uint32_t serial;
	struct xen_shared_page *page;	/* the relay */
	xen_ref_t ref;
	struct xen_evtchn *ec;		/* with its port alone */
	xen_port_t port;
	struct vg_timer *not_taken;	/* has the backend attached by then? */
	bool is_added;			/* its process has it */
	struct vg_timer *retry;		/* of what failed and may pass */
	uint64_t retry_ns;
	bool seen;			/* by the scan under way */
};

/* And of a guest: its process. */
struct vg_bparent_guest {
	struct vg_bparent_guest *next;
	struct vg_broker *b;
	xen_domid_t domid;
	int server_id;			/* of its IOREQ server; -1: none yet */
	pid_t pid;
	bool is_dying;			/* killed; @reap looks for its end */
	struct vg_timer *reap;
	uint64_t reap_ns;
	bool was_known;			/* to a predecessor: it runs */
	unsigned int adds_owed;		/* answers to ADD */
	unsigned int nonsense;		/* answers that nobody had asked for */
	int sock;			/* -1: no process now */
	struct vg_fd *sock_fd;
	int shared_fd;
	const struct vg_bchild_shared *shared;
	bool is_up, is_started, is_ending;
	/* The watchdog. */
	struct vg_timer *watch;
	uint32_t pings, pongs;		/* numbers, of this process */
	unsigned int misses;
	bool is_hung;			/* said and killed */
	struct vg_bparent_dev *dev[VG_BROKER_DEVICES_MAX];
	struct vg_timer *respawn;
	uint64_t spawned_ns, respawn_delay_ns;
	unsigned int deaths;
};

struct vg_broker {
	struct vg_broker_config cfg;
	struct vg_loop *loop;
	struct xen_store *xs;
	struct vg_fd *xs_fd;
	xen_domid_t own_domid;
	struct vg_deferred *scan;
	struct vg_bparent_guest *guests;
	struct vg_bparent_dev *devs;	/* failed ones too, until libxl
					 * removes them */
	uint32_t serial;		/* of the last device */
	bool scan_failed;		/* not all that is there was seen */
	struct vg_timer *rescan;	/* then */
	uint64_t rescan_ns;
	/* The last things that went wrong, for virtio-grantctl. */
	char *failure[VG_BROKER_FAILURES_MAX];
	unsigned int nr_failures;
};

/* ---- what may pass ------------------------------------------------------ */

/* It is tried again, after pauses that grow. */
#define VG_BROKER_RETRY_MIN_NS	UINT64_C(10000000)
#define VG_BROKER_RETRY_MAX_NS	UINT64_C(5000000000)

static inline void vg_broker_try_again(struct vg_timer *t, uint64_t *pause_ns)
{
	if (vg_timer_is_armed(t))
		return;
	*pause_ns = min_u(max_u(*pause_ns * 2, VG_BROKER_RETRY_MIN_NS),
			  VG_BROKER_RETRY_MAX_NS);
	vg_timer_arm(t, *pause_ns);
}

/* What is short now, or used by others at the moment. */
static inline bool vg_broker_may_pass(int err)
{
	return vg_error_passes(err) || err == -EBUSY || err == -EIO ||
	       err == -ETIMEDOUT;
}

/* ---- scan.c ------------------------------------------------------------- */

/* Watches /libxl, and has it scanned.  Says what is wrong if it can't. */
int vg_broker_scan_begin(struct vg_broker *b);
void vg_broker_scan_end(struct vg_broker *b);

/* ---- devices.c ---------------------------------------------------------- */

/* Found by the scan under way.  It becomes one of b->devs. */
void vg_bparent_dev_new(struct vg_broker *b, const struct vg_devname *name,
			const struct vg_bparent_keys *keys);
/* A NEW one.  What comes of it, its state says. */
void vg_bparent_dev_start(struct vg_bparent_dev *d);
/* Its guest's process lets go of it, if it has it. */
void vg_bparent_dev_stop(struct vg_bparent_dev *d);
/* Not one of b->devs any more. */
void vg_bparent_dev_free(struct vg_bparent_dev *d);

/* To its guest's process, which may be another one than it was. */
void vg_bparent_dev_tell(struct vg_bparent_dev *d);
/* It has the window and serves it; or @err, and it does not. */
void vg_bparent_dev_added(struct vg_bparent_dev *d, int err);
/*
 * Can't be served; the caller has said why.  libxl waits for the backend's
 * state to become InitWait; a state that is removed makes it give up at once
 * instead of after its 10 s.
 */
void vg_bparent_dev_fail(struct vg_bparent_dev *d);

/* VG_RELAY_BACKEND_*, or whatever the backend wrote.  With a relay only. */
uint32_t vg_bparent_dev_backend(const struct vg_bparent_dev *d);
/* A new string: the device is another backend's. */
char *vg_bparent_dev_why_ignored(const struct vg_bparent_dev *d);

/* ---- guests.c ----------------------------------------------------------- */

/* NULL: it has no process, nor is one to be started again. */
struct vg_bparent_guest *vg_bparent_guest_find(struct vg_broker *b,
					       xen_domid_t domid);
int vg_bparent_guest_create(struct vg_broker *b, xen_domid_t domid,
			    struct vg_bparent_guest **out);
/* Its process has ended, or been told to. */
void vg_bparent_guest_free(struct vg_bparent_guest *g);

bool vg_bparent_guest_has_device(const struct vg_bparent_guest *g);
/* One that waits to be tried again: its window must not go meanwhile. */
bool vg_bparent_guest_has_later(const struct vg_bparent_guest *g);
/* Gives @d a number among its guest's devices; -ENOSPC: there is none left. */
int vg_bparent_guest_take(struct vg_bparent_guest *g, struct vg_bparent_dev *d);

/* @fd: NULL or two.  Without a process now, nothing is sent. */
void vg_bparent_guest_send(struct vg_bparent_guest *g,
			   const struct vg_bchild_msg *msg, const int *fd);
void vg_bparent_guest_tell(struct vg_bparent_guest *g, enum vg_bchild_op op,
			   unsigned int dev_index);
/* All that is there at first has been added; once for each process. */
void vg_bparent_guest_start(struct vg_bparent_guest *g);
/* It destroys its IOREQ server and ends. */
void vg_bparent_guest_end(struct vg_bparent_guest *g);

/* The broker ends: the process reads an end of file, and ends. */
void vg_bparent_guest_hang_up(struct vg_bparent_guest *g);
/* Waits for that, within reason; one that does not end is made to. */
void vg_bparent_guest_reap(struct vg_bparent_guest *g);

/* ---- servers.c ---------------------------------------------------------- */

void vg_broker_remember_server(struct vg_broker *b, xen_domid_t domid,
			       uint16_t id);
void vg_broker_forget_server(struct vg_broker *b, xen_domid_t domid);
/* Whether a predecessor left one, or seems to have. */
bool vg_broker_has_server(struct vg_broker *b, xen_domid_t domid);
/*
 * *id: -1: no predecessor left one.  Negative errno: it can't be found out now.
 */
int vg_broker_recall_server(struct vg_broker *b, xen_domid_t domid, int *id);

/* ---- status.c ----------------------------------------------------------- */

/* Logs it and keeps it; what one try after the other finds is said once. */
void vg_broker_failed(struct vg_broker *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void vg_broker_forget_failures(struct vg_broker *b);

#endif
