/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rig.h - the real broker, supervisor and workers in one process over the
 * fake: domain 0 has the broker with its process per guest, domain 1 the
 * supervisor and one worker per guest, each with its loop and its process of
 * the fake, stepped in turn.
 *
 *	guest (driver.h) --MMIO--> fake --> broker <--relay--> worker --> image
 *	                    grants <---------------------------'
 */
#ifndef UNIT_RIG_H
#define UNIT_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/broker.h"
#include "dev/blk/blk.h"
#include "mem/grants.h"
#include "driver.h"
#include "fake_xen.h"
#include "lib/loop.h"
#include "grantd/supervisor.h"
#include "unit.h"
#include "grantd/worker.h"

#define RIG_BACKEND	1u
#define RIG_WORKERS_MAX	16u
#define RIG_BCHILDREN_MAX 16u
#define RIG_IMAGE_BYTES	(1u << 20)

struct rig_worker {
	bool is_used, is_gone, is_hung;
	xen_domid_t guest;
	struct fake_proc *proc;
	struct vg_loop *loop;
	struct vg_worker *w;
	struct vg_worker_shared *shared;
	int sock;
};

/* The broker's process of one guest. */
struct rig_bchild {
	bool is_used, is_gone, is_hung;
	xen_domid_t guest;
	struct fake_proc *proc;
	struct vg_loop *loop;
	struct vg_bchild *c;
	struct vg_bchild_shared *shared;
	int sock;
};

struct rig {
	char *dir;			/* images, and the broker's run_dir */
	char state_dir[256];
	xen_domid_t backend;		/* where the supervisor is started */
	/* Before rig_broker_start(). */
	uint64_t answer_timeout_ns, watchdog_ns;
	struct vg_supervisor_config cfg;
	struct fake_proc *broker_proc, *sup_proc;
	struct vg_loop *broker_loop, *sup_loop;
	struct vg_broker *broker;	/* NULL: none runs */
	struct vg_supervisor *sup;
	bool broker_hung, sup_hung;
	struct rig_worker worker[RIG_WORKERS_MAX];
	struct rig_bchild bchild[RIG_BCHILDREN_MAX];
	unsigned int spawn_fails;	/* so many, then it works again */
	int spawn_error;		/* how; 0: EAGAIN */
	unsigned int nr_fds;		/* before rig_up() */
	bool killed;			/* somebody was: descriptors stay */
	/*
	 * A worker is killed at its so many'th vg_step() from now on; 0: none
	 * is.  die_then: and then its successor at so many steps of its own.
	 */
	unsigned int die_at, die_then;
	unsigned int deaths;		/* that came of it */
};

extern struct rig rig;
/* Whose code runs now, in this thread: for tests that have its calls fail. */
enum rig_actor { RIG_NOBODY, RIG_BROKER, RIG_SUP, RIG_WORKER };
extern __thread enum rig_actor rig_actor;
/* The watchdog's time of the next rig_up(); 0: so long that it never comes. */
extern uint64_t rig_watchdog_ns;

/*
 * Of the next rig_up(): as the programs have it, all requests are copied;
 * with RIG_COPY_LITTLE most are mapped.
 */
extern uint32_t rig_copy_max_bytes;
#define RIG_COPY_LITTLE	512u

/* fake_init(), the two daemons' domains, no guest; rig_down() checks leaks. */
void rig_up(void);
/* Ends what runs; the number of things left behind, descriptors, too. */
unsigned int rig_down(void);
/* For cmocka: rig_up() with both daemons; rig_down() must find nothing. */
int rig_setup(void **state);
int rig_teardown(void **state);

int rig_broker_start(void);
void rig_broker_stop(bool leave);
void rig_broker_kill(void);		/* kill -9, of its children, too */
void rig_broker_kill_parent(void);	/* its children read an end of file */
struct rig_bchild *rig_bchild_of(xen_domid_t guest);	/* NULL: none */
void rig_bchild_kill(struct rig_bchild *rc);
int rig_sup_start(void);
void rig_sup_stop(void);
void rig_sup_kill(void);
struct rig_worker *rig_worker_of(xen_domid_t guest);	/* NULL: none */
void rig_worker_kill(struct rig_worker *rw);

/* One turn of every loop. */
void rig_step(void);
void rig_steps(unsigned int n);
/* Steps until @cond or 5 s have passed; its last value. */
#define rig_until(cond) ({ \
	uint64_t until_ = rig_now_ms() + 5000; \
	bool is_; \
	while (!(is_ = (cond)) && rig_now_ms() < until_) \
		rig_step(); \
	is_; \
})
uint64_t rig_now_ms(void);

/* A guest with @nr_vcpus, and its disk number @n (0, 1, ...). */
void rig_guest(xen_domid_t guest, unsigned int nr_vcpus);
struct fake_disk rig_disk(xen_domid_t guest, unsigned int n);
/* Makes the image, adds it as libxl does, waits for state 2; false: not. */
bool rig_disk_add(const struct fake_disk *disk);
/* libxl's removal: waits for state 6, removes; false: it never came. */
bool rig_disk_remove(const struct fake_disk *disk);
/* A driver for it, not started. */
struct drv rig_drv(const struct fake_disk *disk);
/* Statistics as the supervisor sees them; NULL when it is not served. */
const struct vg_dev_stats *rig_stats(const struct fake_disk *disk);
/* A byte of the image on the host's side. */
int rig_image_byte(const struct fake_disk *disk, uint64_t offset);
uint64_t rig_image_bytes(const struct fake_disk *disk);

#endif
