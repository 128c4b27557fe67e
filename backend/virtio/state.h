/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - what must outlive a worker: the registers of a device, the indices
 * of its queues, and which heads are under way.  One file per device, in a
 * directory of the supervisor's on a tmpfs; the worker maps it and writes, its
 * successor maps it and reads.
 *
 * Not trusted: whoever wrote it.  A worker is what a guest attacks, so its
 * successor takes each word as it takes a guest's: read once, bounded.  A
 * predecessor may lie about its device's registers and requests; that device
 * and its guest are all that it had anyway.
 *
 * A process can be killed between any two of its stores, and what was stored
 * before stays.  So nothing here is locked, and each change takes effect with
 * one store:
 *
 *	registers	written to the copy that does not count, with a
 *			checksum, then `turn` says that it does
 *	a head		one word in heads[]; see below
 *	a batch		`publishing` before the ring's used index is stored,
 *			`published` after it: the successor finds the index at
 *			one of the two
 *
 * One writer at a time: the device for the registers, whoever runs the queue
 * for its log.  That a predecessor is gone, and with it the last I/O that the
 * kernel does for it, is known by its lock on the file (supervisor.c).
 */
#ifndef VG_STATE_H
#define VG_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"

#define VG_STATE_MAGIC		0x31535256u	/* "VRS1" */
#define VG_STATE_VERSION	1u
#define VG_STATE_QUEUES_MAX	16u		/* VG_BLK_QUEUES_MAX */
#define VG_STATE_HEADS_MAX	1024u		/* most descriptors of a queue */
#define VG_STATE_VCPUS_MAX	128u		/* VG_RELAY_VCPUS_MAX */

/*
 * heads[h], what became of the chain that begins at descriptor h:
 *
 *	 63 62 61     56 55   48 47                                        0
 *	+-----+---------+-------+-------------------------------------------+
 *	|  0  |                 free, or used and shown to the driver       |
 *	|  1  | redone  |   0   | taken: how many were taken before it      |
 *	|  2  |         0       | used index (47:32) | bytes written (31:0) |
 *	+-----+---------+-------+-------------------------------------------+
 *
 *	take	heads[h] = TAKEN | taken, then taken + 1.  Killed between the
 *		two: a TAKEN that is not below `taken` was not taken.
 *	finish	the used entry, then heads[h] = DONE | index.
 *	publish	publishing = n; the ring's used index = n; published = n; then
 *		heads[h] = 0 for the batch.  A DONE whose index lies below
 *		`published` was shown.
 *
 * The successor executes what is TAKEN again, in the order in which it was
 * taken, and shows what is DONE and not published.
 */
#define VG_HEAD_TAKEN		(UINT64_C(1) << 62)
#define VG_HEAD_DONE		(UINT64_C(2) << 62)
#define VG_HEAD_STATE		(UINT64_C(3) << 62)
#define VG_HEAD_SEQ		((UINT64_C(1) << 48) - 1)
#define VG_HEAD_REDONE_SHIFT	56
#define VG_HEAD_REDONE_MAX	63u

struct vg_queue_log {
	uint64_t taken;			/* chains, since the queue was enabled */
	uint64_t redone;		/* a statistic */
	uint16_t publishing, published;	/* used indices */
	uint32_t reserved[11];
	uint64_t heads[VG_STATE_HEADS_MAX];
};

/* flags of a queue */
#define VG_STATE_Q_READY	1u
#define VG_STATE_Q_EVENT_IDX	2u
#define VG_STATE_Q_INDIRECT	4u

/* flags of the device */
#define VG_STATE_RESETTING	1u	/* Status = 0 was written */

struct vg_state_relay {
	uint32_t domid, ref, port;
};

struct vg_state_regs {
	uint64_t checksum;		/* of what follows */
	uint64_t driver_features;
	uint64_t type_state;		/* of the device type */
	uint32_t status, broken, config_generation;
	uint32_t offered_sel, driver_sel, queue_sel;
	uint32_t flags;
	uint32_t range_sel, range_first, range_pages;
	struct {
		uint32_t state, first, pages;	/* VIRTIO_GRANT_RANGE_* */
	} range[VG_MEM_RANGES_MAX];
	struct {
		uint64_t desc_addr, driver_addr, device_addr;
		uint32_t num, flags;
		uint32_t port_state, port, events;
		uint32_t reserved;
	} queue[VG_STATE_QUEUES_MAX];
	/* The last write of each vCPU that was carried out, over this relay. */
	struct vg_state_relay relay;
	uint32_t reserved;
	struct {
		uint32_t seq, data;
	} answered[VG_STATE_VCPUS_MAX];
};

struct vg_state {
	uint32_t magic, version;
	uint32_t virtio_id, nr_queues;
	uint64_t takeovers;		/* a statistic */
	uint32_t turn;			/* regs[turn & 1] counts */
	uint32_t reserved;
	uint64_t image[3];		/* which: vg_image_id, the supervisor's */
	uint64_t image_bytes;		/* its size as the driver was told; the
					 * worker's.  0: not known */
	struct vg_state_regs regs[2];
	struct vg_queue_log queue[VG_STATE_QUEUES_MAX];
};

_Static_assert(sizeof(struct vg_queue_log) ==
	       64 + 8 * VG_STATE_HEADS_MAX, "queue log");
_Static_assert(offsetof(struct vg_state, regs) == 64, "header");
_Static_assert(sizeof(struct vg_state_regs) % 8 == 0, "registers");

/*
 * @fd: a file of sizeof(struct vg_state) bytes at least; stays the caller's.
 * Unmapped by vg_state_unmap().
 */
int vg_state_map(int fd, struct vg_state **out);
void vg_state_unmap(struct vg_state *st);

/*
 * For who makes the file, which has its size: what it needs of the file system
 * is its own from now on.  Else a store into it would be a SIGBUS when others
 * have filled that.  0 or negative errno.
 */
int vg_state_reserve(int fd);

/*
 * A new device: whatever stood there counts no more, and until the first
 * vg_state_write() nothing does.
 */
void vg_state_init(struct vg_state *st, uint32_t virtio_id,
		   unsigned int nr_queues);
/*
 * A checked copy of the registers: 0, or -EPROTO if this is not a whole state
 * of such a device.  Only its form is checked: values are the caller's to
 * doubt.
 */
int vg_state_read(const struct vg_state *st, uint32_t virtio_id,
		  unsigned int nr_queues, struct vg_state_regs *regs);
/* Sets regs->checksum. */
void vg_state_write(struct vg_state *st, struct vg_state_regs *regs);

/* A queue that was just enabled: nothing is under way. */
void vg_queue_log_init(struct vg_queue_log *log, unsigned int num);

#endif
