/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - what a device leaves to the next worker, so that its guest does not
 * notice that the last one was killed: what the driver set up, which chains are
 * under way (inflight.h), and what transport and type have to say themselves.
 * One file per device, in a directory of the supervisor's on a tmpfs; the
 * worker maps it and writes, its successor maps it and reads.
 *
 * Not trusted: whoever wrote it.  A worker is what a guest attacks, so its
 * successor takes each word as it takes a guest's: read once, bounded.  A
 * predecessor may lie about its device's set-up and requests; that device
 * and its guest are all that it had anyway.
 *
 * A process can be killed between any two of its stores, and what was stored
 * before stays.  So nothing here is locked, and each change takes effect with
 * one store: what was set up is written to the copy that does not count, with a
 * checksum, then `turn` says that it does.
 *
 * One writer at a time: the device's main thread, but for the queues' logs.
 * That a predecessor is gone, and with it the last I/O that the kernel does for
 * it, is known by its lock on the file (grantd/states.c).
 */
#ifndef VG_VIRTIO_STATE_H
#define VG_VIRTIO_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"
#include "virtio/inflight.h"

#define VG_STATE_MAGIC		0x31535256u	/* "VRS1" */
#define VG_STATE_VERSION	2u
/* A device with more is refused: none loses its state silently. */
#define VG_STATE_QUEUES_MAX	64u
#define VG_STATE_WORDS		4u		/* VG_DEV_WORDS */
#define VG_STATE_TYPE_BYTES	256u
#define VG_STATE_TRANSPORT_BYTES 1536u

/* flags of a queue */
#define VG_STATE_Q_READY	1u
#define VG_STATE_Q_EVENT_IDX	2u
#define VG_STATE_Q_INDIRECT	4u
#define VG_STATE_Q_CHANNEL	8u	/* `channel' is bound */
#define VG_STATE_Q_RESUMING	16u	/* its log is for when it is enabled */

/* flags of the device */
#define VG_STATE_RESETTING	1u	/* a reset was asked for */
#define VG_STATE_CONFIG_DUE	2u	/* the driver is to hear of a change */

struct vg_state_regs {
	uint64_t checksum;		/* of what follows */
	uint64_t driver_features;
	uint32_t status, broken, config_generation;
	uint32_t flags;
	struct {
		uint64_t addr, len_bytes;	/* 0: none is held */
	} range[VG_MEM_RANGES_MAX];
	struct {
		uint64_t desc_addr, driver_addr, device_addr;
		uint32_t num, flags;
		uint32_t channel, events;
	} queue[VG_STATE_QUEUES_MAX];
	/* Theirs, whatever it means: dev/type.h, virtio/device.h. */
	uint64_t type[VG_STATE_TYPE_BYTES / 8];
	uint64_t transport[VG_STATE_TRANSPORT_BYTES / 8];
};

struct vg_state {
	uint32_t magic, version;
	uint32_t virtio_id, nr_queues;
	uint64_t takeovers;		/* a statistic */
	uint32_t turn;			/* regs[turn & 1] counts */
	uint32_t reserved;
	/* dev/type.h: by what it is known again, which is the supervisor's to
	 * write; what the driver was told of it, the type's in the worker. */
	uint64_t resource[VG_STATE_WORDS], told[VG_STATE_WORDS];
	struct vg_state_regs regs[2];
	struct vg_queue_log queue[];	/* [nr_queues] */
};

_Static_assert(sizeof(struct vg_queue_log) ==
	       64 + 8 * VG_INFLIGHT_HEADS_MAX, "queue log");
_Static_assert(offsetof(struct vg_state, regs) == 96, "header");
_Static_assert(sizeof(struct vg_state_regs) % 8 == 0, "set-up");

/* Of the file; @nr_queues <= VG_STATE_QUEUES_MAX. */
size_t vg_state_bytes(unsigned int nr_queues);

/*
 * @fd: a file of vg_state_bytes(@nr_queues) at least; stays the caller's.
 * Unmapped by vg_state_unmap() with the same number.
 */
int vg_state_map(int fd, unsigned int nr_queues, struct vg_state **out);
void vg_state_unmap(struct vg_state *st, unsigned int nr_queues);

/*
 * For who makes the file, which has its size: what it needs of the file system
 * is its own from now on.  Else a store into it would be a SIGBUS when others
 * have filled that.  0 or negative errno.
 */
int vg_state_reserve(int fd, unsigned int nr_queues);

/*
 * A new device: whatever stood there counts no more, and until the first
 * vg_state_write() nothing does.
 */
void vg_state_init(struct vg_state *st, uint32_t virtio_id,
		   unsigned int nr_queues);
/*
 * A checked copy of what was set up: 0, or -EPROTO if this is not a whole state
 * of such a device.  Only its form is checked: values are the caller's to
 * doubt.
 */
int vg_state_read(const struct vg_state *st, uint32_t virtio_id,
		  unsigned int nr_queues, struct vg_state_regs *regs);
/* Sets regs->checksum. */
void vg_state_write(struct vg_state *st, struct vg_state_regs *regs);

#endif
