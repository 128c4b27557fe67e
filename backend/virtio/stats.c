// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stats.c - see stats.h.
 */
#include "virtio/stats.h"

#include <stddef.h>

#include "lib/util.h"

void vg_dev_stats_add(struct vg_dev_stats *sum, const struct vg_dev_stats *q)
{
	/* From here on nothing but counters. */
	const size_t first = offsetof(struct vg_dev_stats, accesses) /
			     sizeof(uint64_t);
	const uint64_t *from = (const uint64_t *)q;
	uint64_t *to = (uint64_t *)sum;
	uint64_t most = max_u(sum->mem.mapped_pages_max,
			      count_read(q->mem.mapped_pages_max));
	size_t i;

	for (i = first; i < sizeof(*sum) / sizeof(uint64_t); i++)
		to[i] += count_read(from[i]);
	sum->mem.mapped_pages_max = most;	/* not ever at one time */
}
