/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stats.h - what a device counts: fixed-size, for shared memory that the
 * supervisor reads without trusting it.  Counters only grow, until the process
 * ends.
 */
#ifndef VG_VIRTIO_STATS_H
#define VG_VIRTIO_STATS_H

#include <stdint.h>

#include "mem/mem.h"

#define VG_NO_QUEUE		UINT32_MAX
#define VG_DEV_STATS_NR_TYPE	16	/* counters of the device type */

struct vg_dev_stats {
	uint32_t status;		/* virtio 1.3, 2.1 */
	uint32_t broken;		/* enum vg_broken */
	uint32_t broken_queue;		/* where; VG_NO_QUEUE: nowhere */
	uint32_t broken_fault;		/* enum vg_mem_fault, if an address */
	uint64_t broken_value;		/* the offending address, index, ... */
	uint64_t broken_count;		/* times the device broke */
	uint64_t driver_features;
	/* From here on nothing but counters: vg_dev_stats_add(). */
	uint64_t accesses, bad_accesses;	/* bad: width, offset, state */
	uint64_t notifies, spurious_notifies;
	uint64_t irqs_used, irqs_config, irqs_suppressed;
	uint64_t events_sent, events_received;	/* over queues' channels */
	/* before going to sleep; stolen: others wanted the processor */
	uint64_t polls_hit, polls_missed, polls_stolen;
	uint64_t requests, in_flight, batches;
	uint64_t bytes_out, bytes_in;	/* read, written by the device */
	uint64_t resets;
	uint64_t takeovers, redone; /* of the device, requests; of all time */
	struct vg_mem_stats mem;
	uint64_t type[VG_DEV_STATS_NR_TYPE];	/* names: vg_dev_type */
};
/* Adds a queue's counters to its device's. */
void vg_dev_stats_add(struct vg_dev_stats *sum, const struct vg_dev_stats *q);

#endif
