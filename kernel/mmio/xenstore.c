// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * xenstore.c - may a device's window be accessed?
 *
 * Where no IOREQ server has the window, an access ends in an abort that no
 * exception table is asked about (Xen makes it an "address size fault"), and
 * the task with it.  A toolstack that wrote the device's node keeps its state
 * there, so look before the first access.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/notifier.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <xen/xenbus.h>

#include "mmio/mmio_priv.h"

/* For a device whose backend has not got that far. */
#define VGM_SERVED_MS		3000

struct vgm_store {
	struct notifier_block nb;
	bool is_there;
};

static int vgm_store_called(struct notifier_block *nb, unsigned long event,
			    void *data)
{
	container_of(nb, struct vgm_store, nb)->is_there = true;
	return NOTIFY_DONE;
}

/* A notifier is called at once if there is a xenstore; without, we would hang. */
static bool vgm_store_is_there(void)
{
	struct vgm_store store = { .nb.notifier_call = vgm_store_called };

	if (!register_xenstore_notifier(&store.nb))
		unregister_xenstore_notifier(&store.nb);
	return store.is_there;
}

/* Numbers are written in decimal, or as 0x... */
static int vgm_store_read(const char *dir, const char *node, u64 *number)
{
	char *text = xenbus_read(XBT_NIL, dir, node, NULL);
	int ret;

	if (IS_ERR(text))
		return PTR_ERR(text);
	ret = kstrtou64(text, 0, number);
	kfree(text);
	return ret;
}

/* The state of the device in @dir if it is the one at @base, or -ENODEV. */
static int vgm_store_state_of(const char *dir, const char *node,
			      phys_addr_t base)
{
	char *path = kasprintf(GFP_KERNEL, "%s/%s", dir, node), *back;
	int ret = -ENODEV;
	u64 number;

	if (!path)
		return -ENOMEM;
	back = xenbus_read(XBT_NIL, path, "backend", NULL);
	kfree(path);
	if (IS_ERR(back))
		return -ENODEV;
	if (!vgm_store_read(back, "base", &number) && number == base) {
		/* A state that was taken away: it can't be served. */
		ret = XenbusStateUnknown;
		if (!vgm_store_read(back, "state", &number) &&
		    number <= XenbusStateReconfigured)
			ret = number;
	}
	kfree(back);
	return ret;
}

static int vgm_store_state(phys_addr_t base)
{
	/* libxl's kinds of devices that have a register window. */
	static const char * const kinds[] = {
		"device/virtio_disk", "device/virtio",
	};
	unsigned int kind, i, nr;
	int state = -ENODEV;
	char **nodes;

	for (kind = 0; state < 0 && kind < ARRAY_SIZE(kinds); kind++) {
		nodes = xenbus_directory(XBT_NIL, kinds[kind], "", &nr);
		if (IS_ERR(nodes))
			continue;
		for (i = 0; state < 0 && i < nr; i++)
			state = vgm_store_state_of(kinds[kind], nodes[i], base);
		kfree(nodes);
	}
	return state;
}

static bool vgm_is_served_state(int state)
{
	switch (state) {
	case XenbusStateUnknown:
	case XenbusStateInitialising:
	case XenbusStateClosing:
	case XenbusStateClosed:
		return false;
	default:
		/* And if there is no node, it is not for us to say. */
		return true;
	}
}

/*
 * May the device's window be accessed?  With some time for a backend that is just
 * starting, says why if not.
 *
 * Returns: 0; or -EAGAIN, it may come.
 */
int vgm_wait_for_server(struct platform_device *pdev)
{
	struct resource *window = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	unsigned long end = jiffies + msecs_to_jiffies(VGM_SERVED_MS);
	int state;

	if (!window || !vgm_store_is_there())
		return 0;
	while (!vgm_is_served_state(state = vgm_store_state(window->start))) {
		if (time_after(jiffies, end)) {
			dev_err(&pdev->dev, "no backend serves it (state %d in xenstore): are the broker and the backend running?\n",
				state);
			return -EAGAIN;
		}
		msleep(100);
	}
	return 0;
}

/*
 * The same, at once and without a word, of one that nobody answered for before.
 * Where there is a xenstore, it has to say so: a node that is gone is a device
 * that was detached, and nobody has its window any more.
 */
bool vgm_is_served_now(struct platform_device *pdev)
{
	struct resource *window = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	int state;

	if (!window || !vgm_store_is_there())
		return true;
	state = vgm_store_state(window->start);
	return state >= 0 && vgm_is_served_state(state);
}
