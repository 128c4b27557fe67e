// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * types.c - types of devices that this guest accepts.
 *
 * The backend says which type its device is of, and with it which driver binds:
 * one that turned from a disk into a console would be listened to as one.  So
 * the guest says what it expects.
 */
#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/virtio_ids.h>

#include "mmio/mmio_priv.h"

char *vgm_types = "block";
module_param_named(types, vgm_types, charp, 0444);
MODULE_PARM_DESC(types,
		 "types of devices that this guest accepts, by name or number, separated by commas (default: block)");

/* Those that Linux has drivers for; the others go by their number. */
static const char * const vgm_type_names[] = {
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

static DECLARE_BITMAP(vgm_accepted, VGM_TYPES);

const char *vgm_type_name(u32 type)
{
	const char *name = type < ARRAY_SIZE(vgm_type_names) ?
			   vgm_type_names[type] : NULL;

	return name ?: "no name";
}

/* Returns 0, of which there is no device, if it is neither. */
static unsigned int vgm_type_parse(const char *word)
{
	unsigned int type;

	for (type = 0; type < ARRAY_SIZE(vgm_type_names); type++)
		if (vgm_type_names[type] && !strcmp(word, vgm_type_names[type]))
			return type;
	return !kstrtouint(word, 10, &type) && type < VGM_TYPES ? type : 0;
}

/*
 * From now on accept the types of @list and no other.
 *
 * Returns: 0, -ENOMEM, or -EINVAL: a word that is none, and nothing changed.
 */
int vgm_accept_types(const char *list)
{
	char *copy = kstrdup(list, GFP_KERNEL), *rest = copy, *word;
	DECLARE_BITMAP(accepted, VGM_TYPES) = { 0 };
	unsigned int type;
	int ret = 0;

	if (!copy)
		return -ENOMEM;
	while (!ret && (word = strsep(&rest, ","))) {
		word = strim(word);
		type = vgm_type_parse(word);
		if (type) {
			__set_bit(type, accepted);
		} else {
			pr_err("types=%s: \"%s\" is no type of device: names are block, net, console and so on, numbers 1 to %u\n",
			       list, word, VGM_TYPES - 1);
			ret = -EINVAL;
		}
	}
	if (!ret)
		bitmap_copy(vgm_accepted, accepted, VGM_TYPES);
	kfree(copy);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgm_accept_types);

bool vgm_type_is_accepted(u32 type)
{
	return type < VGM_TYPES && test_bit(type, vgm_accepted);
}
