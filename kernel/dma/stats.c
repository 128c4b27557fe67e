// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stats.c - a pool's statistics.
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/sysfs.h>

#include "dma/pool_priv.h"

void vgrant_pool_read_stats(struct vgrant_pool *pool,
			    struct vgrant_pool_stats *stats)
{
	struct vgrant_area *small = &pool->area[VGRANT_SMALL];
	int cpu;

	memset(stats, 0, sizeof(*stats));
	stats->backend = pool->backend;
	stats->first_ref = pool->first_ref;
	stats->pages_total = pool->pages;
	stats->small_total = small->end;
	stats->mapping_max_bytes = vgrant_mapping_max(pool);
	stats->segs_max = pool->segs_max;
	stats->reserve_pages = pool->reserve_pages;

	stats->pages_in_use = vgrant_pages_in_use(pool);
	stats->pages_high_water = atomic_read(&pool->pages_high_water);
	stats->small_in_use = vgrant_count(small, 0, small->end);
	stats->pages_held = READ_ONCE(pool->pages_held);

	for_each_possible_cpu(cpu) {
		struct vgrant_cpu *local = per_cpu_ptr(pool->cpu, cpu);

		stats->mappings += READ_ONCE(local->mappings);
		stats->exhaustions += READ_ONCE(local->exhaustions);
		stats->bytes_in += READ_ONCE(local->bytes_in);
		stats->bytes_out += READ_ONCE(local->bytes_out);
		stats->direct_mappings += READ_ONCE(local->direct_mappings);
	}
}
EXPORT_SYMBOL_GPL(vgrant_pool_read_stats);

/*
 * /sys/devices/.../grant_pool/NAME: the fields of struct vgrant_pool_stats,
 * one decimal number each.  They are there while the pool is attached.
 */
#define VGRANT_ATTR(field, mode)					\
static ssize_t field##_show(struct device *dev,				\
			    struct device_attribute *attr, char *buf)	\
{									\
	struct vgrant_pool_stats stats;					\
									\
	vgrant_pool_read_stats(vgrant_pool_of(dev), &stats);		\
	return sysfs_emit(buf, "%llu\n", (u64)stats.field);		\
}									\
static struct device_attribute dev_attr_##field =			\
	__ATTR(field, mode, field##_show, NULL)

VGRANT_ATTR(backend, 0444);
VGRANT_ATTR(first_ref, 0400);
VGRANT_ATTR(pages_total, 0444);
VGRANT_ATTR(pages_in_use, 0444);
VGRANT_ATTR(pages_high_water, 0444);
VGRANT_ATTR(small_total, 0444);
VGRANT_ATTR(small_in_use, 0444);
VGRANT_ATTR(mapping_max_bytes, 0444);
VGRANT_ATTR(segs_max, 0444);
VGRANT_ATTR(mappings, 0444);
VGRANT_ATTR(exhaustions, 0444);
VGRANT_ATTR(bytes_in, 0444);
VGRANT_ATTR(bytes_out, 0444);
VGRANT_ATTR(direct_mappings, 0444);
VGRANT_ATTR(pages_held, 0444);

static struct attribute *vgrant_attrs[] = {
	&dev_attr_backend.attr,
	&dev_attr_first_ref.attr,
	&dev_attr_pages_total.attr,
	&dev_attr_pages_in_use.attr,
	&dev_attr_pages_high_water.attr,
	&dev_attr_small_total.attr,
	&dev_attr_small_in_use.attr,
	&dev_attr_mapping_max_bytes.attr,
	&dev_attr_segs_max.attr,
	&dev_attr_mappings.attr,
	&dev_attr_exhaustions.attr,
	&dev_attr_bytes_in.attr,
	&dev_attr_bytes_out.attr,
	&dev_attr_direct_mappings.attr,
	&dev_attr_pages_held.attr,
	NULL
};

const struct attribute_group vgrant_group = {
	.name = "grant_pool",
	.attrs = vgrant_attrs,
};
