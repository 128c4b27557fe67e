// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * config.c - the configuration of a device, as its driver reads it.
 *
 * Who is not trusted: the backend.  What would be too much for us is corrected, or
 * is the end of the device, and reading comes to an end.
 */
#include <linux/blk_types.h>
#include <linux/device.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_ids.h>

#include "queue/queue.h"

/*
 * Linux counts the bytes of a disk in a signed number.  One that is too large
 * has been misunderstood, or is a lie.
 */
static __le64 vgrant_check_capacity(struct vgrant_device *vgd, __le64 sectors)
{
	if (le64_to_cpu(sectors) <= LLONG_MAX >> SECTOR_SHIFT)
		return sectors;
	vgrant_dev_fail(vgd, "a disk can't have so many sectors");
	return 0;
}

/*
 * A disk that wakes up has as many queues as before, whatever its configuration
 * says now: virtio_blk goes on using their numbers.
 */
static __le16 vgrant_num_queues(struct vgrant_device *vgd, __le16 value)
{
	if (!READ_ONCE(vgd->is_asleep))
		return value;
	return cpu_to_le16(max_t(u16, le16_to_cpu(value),
				 vgd->nr_queues_before));
}

static void vgrant_config_bound(struct vgrant_device *vgd, unsigned int offset,
				void *buf, unsigned int len)
{
	bool is_disk = vgd->vdev.id.device == VIRTIO_ID_BLOCK;
	__le16 half;
	__le32 word;
	__le64 whole;

	if (len == sizeof(half) && is_disk &&
	    offset == offsetof(struct virtio_blk_config, num_queues)) {
		memcpy(&half, buf, sizeof(half));
		half = vgrant_num_queues(vgd, half);
		memcpy(buf, &half, sizeof(half));
	} else if (len == sizeof(word) &&
		   offset == vgrant_seg_max_offset(vgd->vdev.id.device)) {
		/* More would not fit into the pool. */
		memcpy(&word, buf, sizeof(word));
		word = cpu_to_le32(min(le32_to_cpu(word), vgd->segs_max));
		memcpy(buf, &word, sizeof(word));
	} else if (len == sizeof(whole) && is_disk &&
		   offset == offsetof(struct virtio_blk_config, capacity)) {
		memcpy(&whole, buf, sizeof(whole));
		whole = vgrant_check_capacity(vgd, whole);
		memcpy(buf, &whole, sizeof(whole));
	}
}

/*
 * Where nobody answers, this waits, and the device fails in the end; and a failed
 * one has zeroes there, of which no driver makes more than there is.  May sleep.
 */
void vgrant_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		unsigned int len)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	unsigned int times = 0;

	while (!READ_ONCE(vgd->has_failed) &&
	       vgd->transport->config_read(vgd, offset, buf, len))
		vgrant_dev_check_unheard(vgd, ++times);
	if (READ_ONCE(vgd->has_failed))
		memset(buf, 0, len);
	/* Of zeroes as well: a disk that wakes up wants its queues. */
	vgrant_config_bound(vgd, offset, buf, len);
}

void vgrant_set(struct virtio_device *vdev, unsigned int offset,
		const void *buf, unsigned int len)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);

	vgd->transport->config_write(vgd, offset, buf, len);
}

/*
 * The virtio core reads a long field again and again until the generation is
 * the same before and after.  Is that still going to end?  Not if each reading
 * of the generation is another one.  Other readers may come in between, so one
 * that settles is a task that finds it unchanged since its own last look.
 */
bool vgrant_settles(struct vgrant_settling *s, u32 generation)
{
	bool settles;

	spin_lock(&s->lock);
	if (generation != s->generation)
		s->changes++;
	else if (s->reader == current)
		s->changes = 0;
	s->generation = generation;
	s->reader = current;
	settles = s->changes <= VGRANT_CHANGES_MAX;
	spin_unlock(&s->lock);
	return settles;
}
EXPORT_SYMBOL_IF_KUNIT(vgrant_settles);

/* Of a failed device it is always the same, as is all that is read. */
u32 vgrant_generation(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	unsigned int times = 0;
	u32 generation;

	while (!READ_ONCE(vgd->has_failed)) {
		if (vgd->transport->read_generation(vgd, &generation)) {
			vgrant_dev_check_unheard(vgd, ++times);
			continue;
		}
		if (vgrant_settles(&vgd->settling, generation))
			return generation;
		vgrant_dev_fail(vgd, "its configuration never settles");
	}
	return 0;
}
