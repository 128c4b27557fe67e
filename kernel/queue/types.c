// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * types.c - types of devices that a guest accepts.
 *
 * Where it is the backend that says which type its device is of, it says with it
 * which driver binds: one that turned from a disk into a console would be listened
 * to as one.  So the guest says what it expects.
 */
#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/virtio_ids.h>

#include "queue/queue.h"

/* Those that Linux has drivers for; the others go by their number. */
static const char * const vgrant_type_names[] = {
	[VIRTIO_ID_NET] = "net",
	[VIRTIO_ID_BLOCK] = "block",
	[VIRTIO_ID_CONSOLE] = "console",
	[VIRTIO_ID_RNG] = "rng",
	[VIRTIO_ID_BALLOON] = "balloon",
	[VIRTIO_ID_RPMSG] = "rpmsg",
	[VIRTIO_ID_SCSI] = "scsi",
	[VIRTIO_ID_9P] = "9p",
	[VIRTIO_ID_CAIF] = "caif",
	[VIRTIO_ID_GPU] = "gpu",
	[VIRTIO_ID_INPUT] = "input",
	[VIRTIO_ID_VSOCK] = "vsock",
	[VIRTIO_ID_CRYPTO] = "crypto",
	[VIRTIO_ID_IOMMU] = "iommu",
	[VIRTIO_ID_MEM] = "mem",
	[VIRTIO_ID_SOUND] = "sound",
	[VIRTIO_ID_FS] = "fs",
	[VIRTIO_ID_PMEM] = "pmem",
	[VIRTIO_ID_SCMI] = "scmi",
	[VIRTIO_ID_I2C_ADAPTER] = "i2c",
	[VIRTIO_ID_CAN] = "can",
	[VIRTIO_ID_BT] = "bt",
	[VIRTIO_ID_GPIO] = "gpio",
};

const char *vgrant_type_name(u32 type)
{
	const char *name = type < ARRAY_SIZE(vgrant_type_names) ?
			   vgrant_type_names[type] : NULL;

	return name ?: "no name";
}
EXPORT_SYMBOL_GPL(vgrant_type_name);

/* Returns 0, of which there is no device, if it is neither. */
static unsigned int vgrant_type_parse(const char *word)
{
	unsigned int type;

	for (type = 0; type < ARRAY_SIZE(vgrant_type_names); type++)
		if (vgrant_type_names[type] && !strcmp(word, vgrant_type_names[type]))
			return type;
	return !kstrtouint(word, 10, &type) && type < VGRANT_TYPES ? type : 0;
}

/**
 * vgrant_types_parse - which types of devices are accepted
 * @list: names and numbers, separated by commas; or "any"
 * @types: becomes those of @list and no others
 *
 * Returns: 0, -ENOMEM, or -EINVAL: a word that is none, and nothing changed.
 */
int vgrant_types_parse(const char *list, struct vgrant_types *types)
{
	struct vgrant_types accepted = { 0 };
	char *copy, *rest, *word;
	unsigned int type;
	int ret = 0;

	if (!strcmp(list, "any")) {
		bitmap_fill(types->accepted, VGRANT_TYPES);
		return 0;
	}
	copy = kstrdup(list, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rest = copy;
	while (!ret && (word = strsep(&rest, ","))) {
		word = strim(word);
		type = vgrant_type_parse(word);
		if (type) {
			__set_bit(type, accepted.accepted);
		} else {
			pr_err("types=%s: \"%s\" is no type of device: names are block, net, console and so on, numbers 1 to %u\n",
			       list, word, VGRANT_TYPES - 1);
			ret = -EINVAL;
		}
	}
	if (!ret)
		*types = accepted;
	kfree(copy);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_types_parse);

bool vgrant_type_is_accepted(const struct vgrant_types *types, u32 type)
{
	return type && type < VGRANT_TYPES && test_bit(type, types->accepted);
}
EXPORT_SYMBOL_GPL(vgrant_type_is_accepted);
