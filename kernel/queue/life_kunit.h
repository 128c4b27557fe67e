/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * life_kunit.h - the life of a device, for the KUnit suites of what carries it:
 * that one's device, and the ways it fails in, are struct life_carrier.
 */
#ifndef VIRTIO_GRANT_LIFE_KUNIT_H
#define VIRTIO_GRANT_LIFE_KUNIT_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <uapi/linux/virtio_ids.h>
#include <xen/grant_table.h>

#include "queue/queue.h"

#define LIFE_VENDOR	0x74736574
#define LIFE_BYTES	64
/* Entries of its ring, and buffers that its driver has. */
#define LIFE_RING	8
#define LIFE_BUFS	LIFE_RING
/* So long is a second of the driver's here; no wait takes as many of ours. */
#define LIFE_MS_PER_S	4
/* ... where it matters which of two waits it was. */
#define LIFE_MS_PER_S_LONG	20
#define LIFE_HANG_S	20

/* Moments between the steps of the driver. */
enum life_stage {
	LIFE_PROBING,
	LIFE_HAS_QUEUE,
	LIFE_READY,
	LIFE_RUNS,		/* with a buffer in the queue */
	LIFE_REMOVING,		/* likewise */
	LIFE_WAS_RESET,
	LIFE_FREEZING,
	LIFE_IS_FROZEN,
	LIFE_SLEEPS,
	LIFE_RESTORING,
	LIFE_RESTORED_QUEUE,
	LIFE_STAGES,
};

struct life;

struct life_fault {
	const char *name;
	void (*fault)(struct life *life);
	bool wants_queue;	/* or nobody notices */
};

/**
 * struct life_carrier - a device, and what carries it
 * @faults: ways it fails in, of which each is noticed at any time
 * @nr_faults: as many
 * @stride: each so many'th of the faults is tried, counted through all stages; one that
 *	has no divisor with @nr_faults comes to each fault, and to each stage
 * @heal: the same device again, and nothing known of what was before
 * @nobody: nobody answers
 * @is_back: ... but the same one again, who remembers all
 * @set_status: what the device says from now on
 * @was_reset: and has no queues; NULL: the device knows
 * @create: the driver for such a device: its virtio device's probe was called
 * @destroy: undoes it
 * @freeze: as the guest falls asleep
 * @restore: as it wakes
 */
struct life_carrier {
	const struct life_fault *faults;
	unsigned int nr_faults;
	unsigned int stride;
	void (*heal)(struct life *life);
	void (*nobody)(struct life *life);
	void (*is_back)(struct life *life);
	void (*set_status)(struct life *life, u8 status);
	void (*was_reset)(struct life *life);
	int (*create)(struct life *life);
	void (*destroy)(struct life *life);
	int (*freeze)(struct life *life);
	int (*restore)(struct life *life);
};

struct life {
	struct kunit *test;
	const struct life_carrier *carrier;
	void *priv;			/* the carrier's */
	unsigned int turn;		/* of the carrier's stride */
	enum life_stage stage;		/* at which fault is called, once */
	void (*fault)(struct life *life);
	struct virtio_device *vdev;
	struct virtqueue *vq;
	u8 *buf;
	unsigned int added;
	atomic_t in_queue;
	unsigned int done;		/* buffers that came back */
	unsigned int probes;
	unsigned int config_changes;
	unsigned int shortages;		/* so often its driver has no memory */
	u16 nr_queues;			/* its configuration said at restoring */
	struct task_struct *user;	/* of buffers, in the backend's place */
	bool reads_itself;		/* its driver's probe waits for a buffer */
	unsigned long read_for;		/* so long, in jiffies */
	bool is_fed;			/* each that comes back is added again */
	bool is_wrong;			/* one did not come back as all ones */
	bool hangs;			/* the driver waited for one in vain */
};

int life_init(struct kunit *test, const struct life_carrier *carrier,
	      void *priv);
void life_exit(struct kunit *test);
void life_begins(struct life *life, enum life_stage stage,
		 void (*fault)(struct life *life));
void life_is(struct life *life, enum life_stage stage);
int life_add(struct life *life);
void life_drain(struct life *life);
bool life_is_bound(struct life *life);
bool life_has_failed(struct life *life);
bool life_becomes(struct life *life, bool has_failed);
bool life_is_probed(struct life *life, unsigned int times);
void life_rebinds(struct life *life, const char *what);
void life_ended_well(struct life *life, const char *what);
void life_ends(struct life *life, const char *what);
bool life_is_granted(struct life *life, domid_t self, grant_ref_t ref);
unsigned int life_pages_granted(struct life *life, domid_t self);

/* Cases of each suite, whose priv life_init() sets. */
void life_test_awake(struct kunit *test);
void life_test_removal(struct kunit *test);
void life_test_sleep(struct kunit *test);
void life_test_every_bit_of_status(struct kunit *test);
void life_test_silence(struct kunit *test);
void life_test_shortage(struct kunit *test);
void life_test_broken_ring(struct kunit *test);
void life_test_leaves_in_vain(struct kunit *test);
void life_test_probe_hangs(struct kunit *test);
void life_test_bound_while_going(struct kunit *test);
void life_test_leaves_often(struct kunit *test);
void life_test_sleeps_alone(struct kunit *test);

#endif /* VIRTIO_GRANT_LIFE_KUNIT_H */
