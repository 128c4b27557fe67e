// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * core.c - the module that transports of virtio devices over Xen grants share.
 */
#include <linux/module.h>
#include <xen/xen.h>

#include "queue/queue.h"

static int __init vgrant_init(void)
{
	return xen_domain() ? 0 : -ENODEV;
}
module_init(vgrant_init);

static void __exit vgrant_exit(void)
{
}
module_exit(vgrant_exit);

MODULE_DESCRIPTION("virtio devices whose backends see granted pages only");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
