// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * identify.c - what is behind a register window?
 *
 * Who is not trusted: whoever answers.
 */
#include <linux/device.h>
#include <linux/io.h>
#include <linux/module.h>
#include <uapi/linux/virtio_mmio.h>

#include "mmio/mmio_priv.h"

static char *types = "block";
module_param(types, charp, 0444);
MODULE_PARM_DESC(types,
		 "types of devices that this guest accepts, by name or number, separated by commas, or any (default: block)");

static struct vgrant_types vgm_accepted;
static const char *vgm_accepted_list;

/*
 * From now on accept the types of @list and no other; NULL: of the parameter.
 *
 * Returns: 0, -ENOMEM, or -EINVAL: a word that is none, and nothing changed.
 */
int vgm_accept_types(const char *list)
{
	list = list ?: types;
	vgm_accepted_list = list;
	return vgrant_types_parse(list, &vgm_accepted);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_accept_types);

/*
 * Is there a device behind the window, and one that we can drive?  Says why if
 * not.
 *
 * Returns: 0; -EAGAIN if nobody answers; -ENODEV if there is none, or one of a
 * type that this guest does not accept; -EINVAL if it is not for us.
 */
int vgm_identify(struct vgm_device *vgm, struct vgrant_identity *id)
{
	struct device *dev = vgm->vgd.dev;
	u32 magic, version;

	memset(id, 0, sizeof(*id));
	magic = readl(vgm->base + VIRTIO_MMIO_MAGIC_VALUE);
	if (magic == VGRANT_NOBODY) {
		dev_err(dev, "no backend answers: are the broker and the backend running?\n");
		return -EAGAIN;
	}
	if (magic != VGM_MAGIC) {
		dev_err(dev, "refused: magic value %#x is not that of virtio-mmio\n",
			magic);
		return -EINVAL;
	}
	version = readl(vgm->base + VIRTIO_MMIO_VERSION);
	if (version != 2) {
		dev_err(dev, "refused: version %u of the registers, grants need 2\n",
			version);
		return -EINVAL;
	}
	id->device = readl(vgm->base + VIRTIO_MMIO_DEVICE_ID);
	if (!id->device || id->device == VGRANT_NOBODY) {
		dev_info(dev, "a place without a device\n");
		return -ENODEV;
	}
	if (vgrant_type_is_accepted(&vgm_accepted, id->device))
		id->vendor = readl(vgm->base + VIRTIO_MMIO_VENDOR_ID);
	return vgrant_identify(&vgm->vgd, &vgm_accepted, vgm_accepted_list, id);
}
EXPORT_SYMBOL_IF_KUNIT(vgm_identify);
