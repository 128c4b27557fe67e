// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * front.c - virtio devices that the toolstack attaches over xenbus: found,
 * connected, connected again to another backend, and removed.
 *
 * Who is not trusted: the backend, in its node and its messages.  What the device
 * is, and which domain serves it, the toolstack says, in our own node.
 *
 * Who owns what: a node's device (struct vgb_device) lives from probe() to remove().
 * The virtio device in it is made when a backend answers for the first time, and
 * goes when the toolstack wants it gone or the node does.
 *
 * States are those of uapi/virtio_grant_bus.h.  Whatever changes, one work looks at
 * the nodes and does what follows; a backend that is gone (its domain ended) leaves
 * the device as it is, with requests in its queues.  One that is there thereafter,
 * maybe of another domain, gets the same pages, and goes on (queue/resume.c).
 *
 * Callbacks of watches are xenwatch's, and so may remove() be: it must not be waited
 * for by our works.  Watches are therefore changed in such a callback, in probe() and
 * in remove() alone.
 */
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/virtio_ids.h>
#include <xen/events.h>
#include <xen/xen.h>

#include "bus/bus_priv.h"

/* Between two tries while another domain holds what is to be granted anew. */
#define VGB_AGAIN_MS		100
/* For a backend to let go when the guest goes down: as xenbus waits. */
#define VGB_LET_GO_MS		5000
/* What is under way with a backend when the guest is to sleep: as long as an answer. */
#define VGB_SETTLE_MS		5000
/* Between two looks at what is waited for. */
#define VGB_POLL_MS		20
/* Of one that others disturb; then later. */
#define VGB_TRANSACTION_TRIES	16
/*
 * Looks at the nodes, each with what follows: so many at once, and one per second
 * in the long run.  To be attached takes about six.
 */
#define VGB_LOOKS		20
#define VGB_LOOK_S		1

static char *types = "any";
module_param(types, charp, 0444);
MODULE_PARM_DESC(types,
		 "types of devices that this guest accepts, by name or number, separated by commas, or any (default)");

static struct vgrant_types vgb_accepted;

/* Of all devices, for the watches that they share; also orders vgb_follow(). */
static LIST_HEAD(vgb_devices);
static DEFINE_MUTEX(vgb_devices_lock);

/* It is leaving, or frozen: from here on nothing is queued (vgb_queue()). */
static void vgb_mark(struct vgb_device *vgb, bool *mark)
{
	spin_lock(&vgb->gate);
	WRITE_ONCE(*mark, true);
	spin_unlock(&vgb->gate);
}

/* What was cancelled by who marked it before, nobody queues again. */
static void vgb_queue(struct vgb_device *vgb, struct delayed_work *work,
		      unsigned long delay)
{
	spin_lock(&vgb->gate);
	if (!vgb->is_leaving && !vgb->is_frozen)
		mod_delayed_work(system_long_wq, work, delay);
	spin_unlock(&vgb->gate);
}

static void vgb_look_soon(struct vgb_device *vgb, unsigned int ms)
{
	vgb_queue(vgb, &vgb->work, msecs_to_jiffies(ms));
}

/*
 * Whom it reaches, is set by our works, and by who has them wait no longer.  That holds:
 * who marks the device (vgb_mark()), or names another backend, does so before.
 */

static void vgb_set_down(struct vgb_device *vgb)
{
	spin_lock(&vgb->gate);
	vgb_link_set_reach(&vgb->link, VGB_DOWN);
	spin_unlock(&vgb->gate);
}

/* Who sets all up with another backend, does not wait for it any more. */
static void vgb_cut_resuming(struct vgb_device *vgb)
{
	spin_lock(&vgb->gate);
	if (vgb->link.reach == VGB_RESUMING)
		vgb_link_set_reach(&vgb->link, VGB_DOWN);
	spin_unlock(&vgb->gate);
}

/* Returns: no: nobody is to be reached by now, or another one. */
static bool vgb_try_reach(struct vgb_device *vgb, enum vgb_reach reach)
{
	bool may;

	spin_lock(&vgb->gate);
	may = !vgb->is_leaving && !vgb->is_frozen &&
	      !READ_ONCE(vgb->is_other_back);
	if (may)
		vgb_link_set_reach(&vgb->link, reach);
	spin_unlock(&vgb->gate);
	return may;
}

/* All is set up.  Returns: no: it was cut, and that may not be so. */
static bool vgb_end_resuming(struct vgb_device *vgb)
{
	bool is_resuming;

	spin_lock(&vgb->gate);
	is_resuming = vgb->link.reach == VGB_RESUMING;
	if (is_resuming)
		vgb_link_set_reach(&vgb->link, VGB_UP);
	spin_unlock(&vgb->gate);
	return is_resuming;
}

/*
 * A backend can change its node as often as it likes, and each time have us grant
 * and write anew.  Returns: how long the next look has to wait, in jiffies; if it
 * need not, it is paid for.
 */
static unsigned long vgb_look_wait(struct vgb_device *vgb)
{
	unsigned long period = max(vgrant_seconds(VGB_LOOK_S), 1UL);
	unsigned long limit = jiffies + (VGB_LOOKS - 1) * period;

	if (time_before(vgb->looks_paid, jiffies))
		vgb->looks_paid = jiffies;
	if (time_after(vgb->looks_paid, limit))
		return vgb->looks_paid - limit;
	vgb->looks_paid += period;
	return 0;
}

/* Watches */

static void vgb_back_changed(struct xenbus_watch *watch, const char *path,
			     const char *token)
{
	vgb_look_soon(container_of(watch, struct vgb_device, back_watch), 0);
}

/*
 * The first backend's state, xenbus watches: vgb_otherend_changed().  After the guest
 * was restored there may have been none for it to watch.
 */
static bool vgb_xenbus_watches(const struct vgb_device *vgb)
{
	return vgb->first_back && !READ_ONCE(vgb->was_restored) &&
	       !strcmp(vgb->first_back, vgb->back);
}

/* The backend whose node it is now: see vgb_read_own(). */
static void vgb_back_is_watched(struct vgb_device *vgb)
{
	mutex_lock(&vgb->back_lock);
	vgb->is_back_watched = true;
	mutex_unlock(&vgb->back_lock);
}

static void vgb_watch_back(struct vgb_device *vgb)
{
	struct xenbus_watch *watch = &vgb->back_watch;

	watch->callback = vgb_back_changed;
	if (!vgb->back)
		return;
	if (vgb_xenbus_watches(vgb)) {
		vgb_back_is_watched(vgb);
		return;
	}
	watch->node = kasprintf(GFP_KERNEL, "%s/state", vgb->back);
	if (!watch->node)
		return;
	if (!register_xenbus_watch(watch)) {
		vgb_back_is_watched(vgb);
		return;
	}
	kfree(watch->node);
	watch->node = NULL;
}

static void vgb_unwatch_back(struct vgb_device *vgb)
{
	struct xenbus_watch *watch = &vgb->back_watch;

	if (!watch->node)
		return;
	unregister_xenbus_watch(watch);
	kfree(watch->node);
	watch->node = NULL;
}

/*
 * Which backend our node names.  Under vgb_devices_lock, so that nobody puts back what he
 * read before another one.  Returns: is it another one than before; or a negative errno.
 */
static int vgb_read_own(struct vgb_device *vgb)
{
	const char *node = vgb->xdev->nodename;
	unsigned int id;
	char *back;
	int ret;

	back = xenbus_read(XBT_NIL, node, "backend", NULL);
	if (IS_ERR(back))
		return PTR_ERR(back);
	ret = xenbus_scanf(XBT_NIL, node, "backend-id", "%u", &id);
	if (ret != 1 || id >= DOMID_FIRST_RESERVED) {
		kfree(back);
		return ret < 0 ? ret : -EINVAL;
	}
	mutex_lock(&vgb->back_lock);
	ret = !vgb->back || strcmp(vgb->back, back) || vgb->back_id != id;
	if (ret) {
		swap(vgb->back, back);
		vgb->back_id = id;
		WRITE_ONCE(vgb->is_other_back, true);
		vgb->is_back_watched = false;
		/* Our work may wait for the last one just now; or is about to. */
		vgb_set_down(vgb);
	}
	mutex_unlock(&vgb->back_lock);
	kfree(back);
	return ret;
}

/* Our node's "backend" may have been changed: that one's state counts from now on. */
VISIBLE_IF_KUNIT void vgb_follow(struct vgb_device *vgb)
{
	int ret = vgb_read_own(vgb);

	/* Nobody tells us again. */
	if (ret == -ENOMEM)
		WRITE_ONCE(vgb->has_missed, true);
	else if (ret < 0)
		return;
	if (!vgb->is_back_watched) {
		vgb_unwatch_back(vgb);
		vgb_watch_back(vgb);
	}
	vgb_look_soon(vgb, 0);
}
EXPORT_SYMBOL_IF_KUNIT(vgb_follow);

/* Of whichever device; or, when a watch is set (again), of all of that kind. */
static void vgb_own_changed(struct xenbus_watch *watch, const char *path,
			    const char *token)
{
	bool is_any = !strcmp(path, watch->node);
	struct vgb_device *vgb;

	mutex_lock(&vgb_devices_lock);
	list_for_each_entry(vgb, &vgb_devices, list) {
		const char *node = vgb->xdev->nodename;
		size_t len = strlen(node);

		if (is_any || (!strncmp(path, node, len) &&
			       !strcmp(path + len, "/backend")))
			vgb_follow(vgb);
	}
	mutex_unlock(&vgb_devices_lock);
}

/*
 * One for all devices of a kind: xenstored lets a domain have 128 unless it is told
 * otherwise, and xenbus has one for each device.
 */
static struct xenbus_watch vgb_own_watch[] = {
	{ .node = "device/virtio_grant", .callback = vgb_own_changed },
#ifdef CONFIG_X86
	{ .node = "device/virtio_disk", .callback = vgb_own_changed },
#endif
};

static unsigned int vgb_own_watches;	/* that are set */

/* With the first device: xenstore is there then. */
static int vgb_watch_own(void)
{
	int ret;

	for (; vgb_own_watches < ARRAY_SIZE(vgb_own_watch); vgb_own_watches++) {
		ret = register_xenbus_watch(&vgb_own_watch[vgb_own_watches]);
		if (ret)
			return ret;
	}
	return 0;
}

static void vgb_unwatch_own(void)
{
	while (vgb_own_watches)
		unregister_xenbus_watch(&vgb_own_watch[--vgb_own_watches]);
}

/* From now on, changes of its node are followed.  Returns: 0 or an error. */
static int vgb_list_add(struct vgb_device *vgb)
{
	int ret;

	mutex_lock(&vgb_devices_lock);
	ret = vgb_watch_own();
	if (!ret) {
		list_add_tail(&vgb->list, &vgb_devices);
		vgb_follow(vgb);
	}
	mutex_unlock(&vgb_devices_lock);
	return ret;
}

static void vgb_list_del(struct vgb_device *vgb)
{
	mutex_lock(&vgb_devices_lock);
	list_del_init(&vgb->list);
	mutex_unlock(&vgb_devices_lock);
}

/* The virtio device */

static int vgb_identify(struct vgb_device *vgb, struct vgrant_identity *id)
{
	int ret = vgb_ask_info(vgb, &vgb->info);

	if (ret)
		return ret;
	memset(id, 0, sizeof(*id));
	id->device = vgb->info.device;
	id->vendor = vgb->info.vendor;
	vgb->vgd.vdev.id.device = id->device;
	if (id->device != vgb->device_id) {
		dev_err(&vgb->dev,
			"refused: the backend has type %u (%s), the toolstack says %u (%s)\n",
			id->device, vgrant_type_name(id->device),
			vgb->device_id, vgrant_type_name(vgb->device_id));
		return -ENODEV;
	}
	return vgrant_identify(&vgb->vgd, &vgb_accepted, types, id);
}

/* It may be made anew from here on, which wants a device that never was. */
static void vgb_refresh(struct vgb_device *vgb)
{
	domid_t backend = vgb->vgd.backend;

	WRITE_ONCE(vgb->has_device, false);
	memset(&vgb->vgd, 0, sizeof(vgb->vgd));
	vgrant_dev_init(&vgb->vgd, &vgb->dev, &vgb_transport, backend);
}

/* Another backend gets its pool from now on, and who wants it to leave, says so. */
static void vgb_show(struct vgb_device *vgb)
{
	mutex_lock(&vgb->device_lock);
	WRITE_ONCE(vgb->has_device, true);
	WRITE_ONCE(vgb->vgd.is_leaving, vgb->is_unwanted);
	mutex_unlock(&vgb->device_lock);
}

/* No virtio device became of it. */
static void vgb_discard(struct vgb_device *vgb)
{
	mutex_lock(&vgb->device_lock);
	vgrant_dev_discard(&vgb->vgd);
	vgb_refresh(vgb);
	mutex_unlock(&vgb->device_lock);
}

/* Returns 0; -EAGAIN if nobody answers; or a negative errno: it can't be. */
static int vgb_make(struct vgb_device *vgb)
{
	unsigned int silences = READ_ONCE(vgb->link.silences);
	struct vgrant_identity id;
	int ret;

	ret = vgb_identify(vgb, &id);
	/*
	 * Who falls silent meanwhile, is no other device; nor is one without features,
	 * queues or sizes, whether it could be made or not.
	 */
	if (READ_ONCE(vgb->link.silences) != silences ||
	    READ_ONCE(vgb->link.reach) != VGB_UP)
		return -EAGAIN;
	if (ret)
		return ret;
	ret = vgrant_dev_make_pool(&vgb->vgd, &id);
	if (ret)
		return ret;
	vgb_show(vgb);
	silences = READ_ONCE(vgb->link.silences);
	ret = vgrant_dev_add(&vgb->vgd);
	if (ret)
		vgb_discard(vgb);
	else if (READ_ONCE(vgb->link.silences) != silences)
		vgrant_dev_was_silent(&vgb->vgd);
	return ret;
}

static void vgb_make_work(struct work_struct *work)
{
	struct vgb_device *vgb = container_of(work, struct vgb_device,
					      make_work);
	int ret = vgb_make(vgb);

	if (!ret) {
		xenbus_switch_state(vgb->xdev, XenbusStateConnected);
		return;
	}
	/* What failed without a backend, says nothing of the next one. */
	if (READ_ONCE(vgb->link.reach) != VGB_UP)
		ret = -EAGAIN;
	if (ret != -EAGAIN)
		WRITE_ONCE(vgb->has_failed, true);
	WRITE_ONCE(vgb->is_made, false);
	if (ret == -EAGAIN) {
		vgb_look_soon(vgb, 0);
		return;
	}
	vgb_set_down(vgb);
	xenbus_dev_error(vgb->xdev, ret,
			 "no device of type %u (%s) with this backend: see the guest's kernel log",
			 vgb->device_id, vgrant_type_name(vgb->device_id));
	xenbus_switch_state(vgb->xdev, XenbusStateClosed);
}

/*
 * A guest that was restored, runs, and its device sleeps on until a backend is
 * there: the toolstack attaches it only then.  What its driver is asked for waits, as
 * for any backend that is gone.
 */
static void vgb_wake(struct vgb_device *vgb)
{
	if (!READ_ONCE(vgb->is_asleep))
		return;
	WRITE_ONCE(vgb->is_asleep, false);
	vgrant_dev_restore(&vgb->vgd);
}

static void vgb_wake_work(struct work_struct *work)
{
	struct vgb_device *vgb = container_of(to_delayed_work(work),
					      struct vgb_device, wake_work);

	vgb_wake(vgb);
	if (READ_ONCE(vgb->link.reach) == VGB_UP)
		xenbus_switch_state(vgb->xdev, XenbusStateConnected);
}

/* Returns: no: vgb_try_reach(). */
static bool vgb_begin_making(struct vgb_device *vgb)
{
	mutex_lock(&vgb->device_lock);
	vgb->is_unwanted = false;
	mutex_unlock(&vgb->device_lock);
	if (!vgb_try_reach(vgb, VGB_UP))
		return false;
	WRITE_ONCE(vgb->is_made, true);
	queue_work(system_long_wq, &vgb->make_work);
	return true;
}

/*
 * make_work is about to be waited for.  It may be asking who the backend is, or its
 * driver's probe may be waiting for the backend: neither is to take long.
 *
 * Returns: nothing reaches the backend any more.
 */
static bool vgb_end_making(struct vgb_device *vgb)
{
	bool is_cut;

	mutex_lock(&vgb->device_lock);
	vgb->is_unwanted = true;
	is_cut = !vgb->has_device;
	if (is_cut)
		vgb_set_down(vgb);
	else
		WRITE_ONCE(vgb->vgd.is_leaving, true);
	/* What is no virtio device yet, is not looked after. */
	if (!is_cut && device_is_registered(&vgb->vgd.vdev.dev))
		vgrant_dev_leave(&vgb->vgd);
	mutex_unlock(&vgb->device_lock);
	return is_cut;
}

static void vgb_unmake(struct vgb_device *vgb)
{
	vgb_end_making(vgb);
	cancel_work_sync(&vgb->make_work);
	cancel_delayed_work_sync(&vgb->wake_work);
	if (vgb->has_device) {
		/* A driver that sleeps can't be unbound. */
		vgb_wake(vgb);
		vgrant_dev_unregister(&vgb->vgd);
		vgb_refresh(vgb);
	}
	vgb->is_made = false;
}

static int vgb_disk_is_open(struct device *dev, void *unused)
{
	return dev->class && !strcmp(dev->class->name, "block") &&
	       disk_openers(dev_to_disk(dev));
}

/* A disk is, whose device somebody has open: mounted, or a part of something. */
static bool vgb_is_in_use(struct vgb_device *vgb)
{
	bool is_in_use;

	mutex_lock(&vgb->device_lock);
	is_in_use = vgb->has_device && vgb->device_id == VIRTIO_ID_BLOCK &&
		    device_for_each_child(&vgb->vgd.vdev.dev, NULL,
					  vgb_disk_is_open);
	mutex_unlock(&vgb->device_lock);
	return is_in_use;
}

/* Connecting */

/*
 * With the state, if it is the first.  Linux from 7.1 on takes a state of 1 in the node
 * of a device that it knows to be further for another device in its place
 * (xenbus_dev_changed()), and reads one before the other: what xenbus_switch_state()
 * writes while xenwatch looks at our keys, is that.  It knows of no state here before
 * the node has had it, and then of Connected.
 */
static int vgb_write_keys(struct vgb_device *vgb)
{
	bool is_first = vgb->xdev->state == XenbusStateInitialising;
	const char *node = vgb->xdev->nodename;
	unsigned int tries = VGB_TRANSACTION_TRIES;
	struct xenbus_transaction xbt;
	int ret;

	do {
		ret = xenbus_transaction_start(&xbt);
		if (ret)
			return ret;
		ret = xenbus_printf(xbt, node, "msg-version", "%u",
				    VIRTIO_GRANT_BUS_VERSION) ?:
		      xenbus_printf(xbt, node, "msg-ref", "%u",
				    vgb->link.ref) ?:
		      xenbus_printf(xbt, node, "msg-port", "%u",
				    vgb->link.port) ?:
		      xenbus_printf(xbt, node, "msg-backend-id", "%u",
				    vgb->link.backend);
		if (!ret && is_first)
			ret = xenbus_printf(xbt, node, "state", "%d",
					    XenbusStateInitialised);
		if (ret) {
			xenbus_transaction_end(xbt, 1);
			return ret;
		}
		ret = xenbus_transaction_end(xbt, 0);
	} while (ret == -EAGAIN && --tries);
	return ret;
}

/*
 * Which versions it speaks: 0 to 0 if it says nothing that makes sense.  Returns: 0, or
 * a negative errno if that can't be read, which says nothing of the backend.
 */
static int vgb_read_versions(const char *back, unsigned int *first,
			     unsigned int *last)
{
	int ret = xenbus_scanf(XBT_NIL, back, "msg-versions", "%u-%u", first,
			       last);

	if (ret == 2)
		return 0;
	*first = 0;
	*last = 0;
	/* Its node may have gone since it was looked at. */
	if (ret == -ENOENT && !xenbus_exists(XBT_NIL, back, "state"))
		return ret;
	return ret < 0 && ret != -ENOENT && ret != -ERANGE ? ret : 0;
}

/*
 * Does it speak our version?  Says which it does if not.  A device that was made waits
 * for another one.
 */
static bool vgb_versions_meet(struct vgb_device *vgb, const char *back)
{
	unsigned int first, last;

	if (vgb_read_versions(back, &first, &last)) {
		vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
		return false;
	}
	if (first <= VIRTIO_GRANT_BUS_VERSION &&
	    last >= VIRTIO_GRANT_BUS_VERSION)
		return true;
	WRITE_ONCE(vgb->has_failed, true);
	/* For who compares the two. */
	xenbus_printf(XBT_NIL, vgb->xdev->nodename, "msg-version", "%u",
		      VIRTIO_GRANT_BUS_VERSION);
	xenbus_dev_error(vgb->xdev, -EPROTONOSUPPORT,
			 "the backend speaks versions %u to %u of the bus, this guest's driver version %u",
			 first, last, VIRTIO_GRANT_BUS_VERSION);
	if (!READ_ONCE(vgb->has_device))
		xenbus_switch_state(vgb->xdev, XenbusStateClosed);
	return false;
}

/*
 * Without a backend, make_work soon finds that nobody answers; or makes a pool for the
 * last one, and a device whose driver waits for the next: for that we do not.
 */
static void vgb_wait_made(struct vgb_device *vgb)
{
	while (!READ_ONCE(vgb->has_device) && work_busy(&vgb->make_work))
		msleep(VGB_POLL_MS);
}

static int vgb_move_pool(struct vgb_device *vgb, domid_t backend)
{
	int ret = 0;

	mutex_lock(&vgb->device_lock);
	if (vgb->has_device &&
	    (READ_ONCE(vgb->is_asleep) || vgb->vgd.backend != backend))
		ret = vgrant_pool_move(vgb->vgd.pool, backend);
	if (!ret)
		WRITE_ONCE(vgb->vgd.backend, backend);
	mutex_unlock(&vgb->device_lock);
	return ret;
}

/* Returns 0, -EAGAIN if the last backend's domain holds something, or an error. */
static int vgb_regrant(struct vgb_device *vgb, domid_t backend)
{
	int ret;

	if (!vgb_link_close(&vgb->link))
		return -EAGAIN;
	vgb_wait_made(vgb);
	ret = vgb_move_pool(vgb, backend);
	if (ret)
		return ret == -EBUSY ? -EAGAIN : ret;
	return vgb_link_open(&vgb->link, backend, dev_name(&vgb->dev));
}

/* The backend is there and waits for us. */
static void vgb_publish(struct vgb_device *vgb, const char *back,
			domid_t backend)
{
	int ret;

	if (!vgb_versions_meet(vgb, back))
		return;
	ret = vgb_regrant(vgb, backend);
	if (ret == -EAGAIN) {
		vgb_look_soon(vgb, VGB_AGAIN_MS);
		return;
	}
	if (!ret)
		ret = vgb_write_keys(vgb);
	if (ret) {
		xenbus_dev_error(vgb->xdev, ret, "granting a page to domain %u and telling it",
				 backend);
		vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
		return;
	}
	vgb->is_published = true;
	vgb->is_closed = false;
	if (vgb->xdev->state != XenbusStateInitialising)
		xenbus_switch_state(vgb->xdev, XenbusStateInitialised);
}

/*
 * libxl moves no devices: what is served under its node by now is another one, as
 * if it had been taken out and that put in.
 */
static bool vgb_replace(struct vgb_device *vgb)
{
	dev_warn(&vgb->dev, "another device has taken its place\n");
	vgb_unmake(vgb);
	return vgb_begin_making(vgb);
}

/* Its driver sleeps, and there is somebody whom it can wake up with. */
static bool vgb_wake_now(struct vgb_device *vgb)
{
	if (!vgb_try_reach(vgb, VGB_UP))
		return false;
	vgb_queue(vgb, &vgb->wake_work, 0);
	return true;
}

/*
 * Goes on where the last backend left it.  Returns: no: it is gone again, or hangs, and
 * then comes another; or it was cut, and all is set up once more.
 */
static bool vgb_resume(struct vgb_device *vgb)
{
	int ret;

	if (!vgb_try_reach(vgb, VGB_RESUMING))
		return false;
	mutex_lock(&vgb->device_lock);
	ret = vgrant_dev_resume(&vgb->vgd);
	mutex_unlock(&vgb->device_lock);
	if (ret == -EAGAIN || !vgb_end_resuming(vgb))
		return false;
	if (ret)
		return true;
	dev_info(&vgb->dev, "goes on with the backend in domain %u\n",
		 vgb->vgd.backend);
	xenbus_switch_state(vgb->xdev, XenbusStateConnected);
	return true;
}

/* It has taken what we granted. */
static void vgb_connect(struct vgb_device *vgb)
{
	if (!READ_ONCE(vgb->is_made))
		vgb->is_connected = vgb_begin_making(vgb);
	else if (READ_ONCE(vgb->is_asleep))
		vgb->is_connected = vgb_wake_now(vgb);
	else if (vgb->is_libxls)
		vgb->is_connected = vgb_replace(vgb);
	else
		vgb->is_connected = vgb_resume(vgb);
	if (vgb->is_connected)
		return;
	vgb_set_down(vgb);
	vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
}

static void vgb_disconnect(struct vgb_device *vgb)
{
	if (vgb->is_connected)
		dev_warn(&vgb->dev, "its backend is gone\n");
	vgb_set_down(vgb);
	vgb->is_published = false;
	vgb->is_connected = false;
}

/*
 * The guest shuts down, its backend has answered, and xenbus waits for us to say so;
 * itself it looks at the first backend alone.
 */
static void vgb_let_go(struct vgb_device *vgb)
{
	vgb_set_down(vgb);
	vgb->is_published = false;
	vgb->is_connected = false;
	vgb->is_closed = true;
	xenbus_frontend_closed(vgb->xdev);
}

/*
 * It may have been closed by who drove it before, or for the last backend.  xenbus knows
 * the state before the node has it: see vgb_write_keys().
 */
static int vgb_begin_anew(struct xenbus_device *xdev)
{
	enum xenbus_state before = xdev->state;
	int ret;

	if (before == XenbusStateInitialising)
		return 0;
	xdev->state = XenbusStateInitialising;
	ret = xenbus_printf(XBT_NIL, xdev->nodename, "state", "%d",
			    XenbusStateInitialising);
	if (ret)
		xdev->state = before;
	return ret;
}

/*
 * A backend does not wait for a front that is closed.  Linux from 7.1 on takes one that
 * begins, and has a backend that it does not know, for another device.
 */
static void vgb_reopen(struct vgb_device *vgb, domid_t backend)
{
	if (vgb->xdev->state != XenbusStateClosed)
		return;
	vgb->xdev->otherend_id = backend;
	if (!vgb_begin_anew(vgb->xdev))
		return;
	mutex_lock(&vgb->back_lock);
	WRITE_ONCE(vgb->is_other_back, true);
	mutex_unlock(&vgb->back_lock);
	vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
}

/* Another is to serve the device: what the last one could not, this one may. */
static void vgb_change_backs(struct vgb_device *vgb, domid_t backend)
{
	vgb_disconnect(vgb);
	vgb_wait_made(vgb);
	WRITE_ONCE(vgb->has_failed, false);
	vgb_reopen(vgb, backend);
}

/* The toolstack wants it gone; or the backend, which only costs us the device. */
static void vgb_close(struct vgb_device *vgb)
{
	if (vgb->is_closed)
		return;
	if (vgb_is_in_use(vgb)) {
		if (!vgb->is_refusing)
			dev_warn(&vgb->dev, "is to be removed, and somebody uses it: not now\n");
		vgb->is_refusing = true;
		vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
		return;
	}
	vgb->is_refusing = false;
	vgb_unmake(vgb);
	vgb_set_down(vgb);
	vgb->is_published = false;
	vgb->is_connected = false;
	vgb->is_closed = true;
	xenbus_frontend_closed(vgb->xdev);
}

/*
 * What its backend's node says, as far as there is one; or -ENOMEM.  @is_other: than at
 * the last look that got as far.
 */
static int vgb_read_back(struct vgb_device *vgb, char **back, domid_t *id,
			 bool *is_other)
{
	unsigned int state;
	int ret;

	mutex_lock(&vgb->back_lock);
	*back = kstrdup(vgb->back ?: "", GFP_KERNEL);
	*id = vgb->back_id;
	*is_other = *back && vgb->is_other_back;
	if (*back)
		WRITE_ONCE(vgb->is_other_back, false);
	mutex_unlock(&vgb->back_lock);
	if (!*back)
		return -ENOMEM;
	if (!**back)
		return XenbusStateUnknown;
	ret = xenbus_scanf(XBT_NIL, *back, "state", "%u", &state);
	if (ret == -ENOMEM)
		return ret;
	return ret == 1 && state <= XenbusStateReconfigured ?
		state : XenbusStateUnknown;
}

/* What could not be found out for want of memory, and whom nobody tells of. */
static bool vgb_has_missed(struct vgb_device *vgb, int state)
{
	bool is_told;

	if (READ_ONCE(vgb->has_missed)) {
		mutex_lock(&vgb_devices_lock);
		WRITE_ONCE(vgb->has_missed, vgb_read_own(vgb) == -ENOMEM);
		mutex_unlock(&vgb_devices_lock);
		return true;
	}
	mutex_lock(&vgb->back_lock);
	is_told = !vgb->back || vgb->is_back_watched;
	mutex_unlock(&vgb->back_lock);
	return state == -ENOMEM || !is_told;
}

static void vgb_work(struct work_struct *work)
{
	struct vgb_device *vgb = container_of(to_delayed_work(work),
					      struct vgb_device, work);
	unsigned long wait;
	bool is_other;
	domid_t id;
	char *back;
	int state;

	/* vgb_awake() has it look again. */
	if (READ_ONCE(vgb->is_leaving) || READ_ONCE(vgb->is_frozen))
		return;
	wait = vgb_look_wait(vgb);
	if (wait) {
		vgb_look_soon(vgb, jiffies_to_msecs(wait));
		return;
	}
	state = vgb_read_back(vgb, &back, &id, &is_other);
	/* One that begins anew has forgotten us. */
	if (is_other)
		vgb_change_backs(vgb, id);
	else if (vgb->is_connected && state == XenbusStateInitWait)
		vgb_disconnect(vgb);
	switch (state) {
	case XenbusStateInitWait:
		if (!vgb->is_published && !READ_ONCE(vgb->has_failed))
			vgb_publish(vgb, back, id);
		break;
	case XenbusStateConnected:
		vgb->is_refusing = false;
		if (vgb->is_published && !vgb->is_connected)
			vgb_connect(vgb);
		else if (vgb->is_connected && !READ_ONCE(vgb->is_made) &&
			 !READ_ONCE(vgb->has_failed))
			vgb_connect(vgb);
		break;
	case XenbusStateClosing:
		if (vgb->xdev->state == XenbusStateClosing)
			vgb_let_go(vgb);
		else
			vgb_close(vgb);
		break;
	case XenbusStateInitialising:
	case -ENOMEM:
		break;
	default:
		if (vgb->xdev->state == XenbusStateClosing)
			vgb_let_go(vgb);
		else if (vgb->is_published)
			vgb_disconnect(vgb);
	}
	kfree(back);
	if (vgb_has_missed(vgb, state))
		vgb_look_soon(vgb, 10 * VGB_AGAIN_MS);
}

/* Nodes */

/*
 * What the toolstack says that it is, and whether that is wanted.  A node that is
 * refused stays bound to us: xenbus would say something else of it.
 */
static bool vgb_is_accepted(struct vgb_device *vgb)
{
	struct xenbus_device *xdev = vgb->xdev;

	if (!strcmp(xdev->devicetype, "virtio_disk")) {
		vgb->device_id = VIRTIO_ID_BLOCK;
		vgb->is_libxls = true;
	} else if (xenbus_scanf(XBT_NIL, xdev->nodename, "device-id", "%u",
				&vgb->device_id) != 1) {
		xenbus_dev_error(xdev, -EINVAL,
				 "the toolstack does not say what it is (device-id)");
		return false;
	}
	if (vgrant_type_is_accepted(&vgb_accepted, vgb->device_id))
		return true;
	xenbus_dev_error(xdev, -EPERM,
			 "a device of type %u (%s), this guest accepts types=%s",
			 vgb->device_id, vgrant_type_name(vgb->device_id),
			 types);
	return false;
}

static struct vgb_device *vgb_of_dev(struct device *dev)
{
	return container_of(dev, struct vgb_device, dev);
}

static void vgb_release(struct device *dev)
{
	struct vgb_device *vgb = vgb_of_dev(dev);

	kfree(vgb->first_back);
	kfree(vgb);
}

#ifdef CONFIG_PM_SLEEP
/*
 * For the toolstack: who ends with this in its node, has been saved and may come
 * back.  xenbus' state says what it is to the backend.
 */
static int vgb_tell_sleep(struct vgb_device *vgb)
{
	int ret = xenbus_printf(XBT_NIL, vgb->xdev->nodename, "suspended", "1");

	/* One that was restored and has no node yet, is known to have been saved. */
	return READ_ONCE(vgb->is_asleep) ? 0 : ret;
}

static void vgb_tell_awake(struct vgb_device *vgb)
{
	xenbus_rm(XBT_NIL, vgb->xdev->nodename, "suspended");
}

/* A device that sleeps on, wakes when its time is over; or now, where that was put off. */
static void vgb_wake_later(struct vgb_device *vgb)
{
	unsigned int wait_s = vgb->is_connected ? 0 : READ_ONCE(vgrant_wait_s);

	lockdep_assert_held(&vgb->gate);
	if (READ_ONCE(vgb->is_asleep) && (wait_s || vgb->is_connected))
		mod_delayed_work(system_long_wq, &vgb->wake_work,
				 vgrant_seconds(wait_s));
}

/* Whatever was not queued meanwhile, or cancelled, is now. */
static void vgb_awake(struct vgb_device *vgb)
{
	spin_lock(&vgb->gate);
	WRITE_ONCE(vgb->is_frozen, false);
	/* Before vgb_work() has a backend and wants it sooner. */
	if (!vgb->is_leaving)
		vgb_wake_later(vgb);
	spin_unlock(&vgb->gate);
	vgb_look_soon(vgb, 0);
}

/*
 * While its backend is away, what is in flight waits for the next one; to sleep it
 * would have to end first.
 */
static int vgb_sleep(struct vgb_device *vgb)
{
	bool is_cut;

	if (READ_ONCE(vgb->is_asleep))
		return 0;
	if (READ_ONCE(vgb->has_device) && !vgb->is_connected &&
	    !READ_ONCE(vgb->vgd.has_failed)) {
		dev_err(&vgb->dev, "cannot sleep: its backend is away\n");
		return -EBUSY;
	}
	is_cut = vgb_end_making(vgb);
	flush_work(&vgb->make_work);
	/*
	 * What could not be made before, is when the guest is awake; and what became a
	 * device all the same, reaches its backend then.
	 */
	if (is_cut && READ_ONCE(vgb->is_made))
		vgb->is_connected = false;
	return READ_ONCE(vgb->has_device) ? vgrant_dev_freeze(&vgb->vgd) : 0;
}

/*
 * Another backend is just being told of all that there is, which a slow one can have
 * take minutes: cut, it is told once more when the guest is awake.
 */
static void vgb_settle(struct vgb_device *vgb)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGB_SETTLE_MS);

	while (READ_ONCE(vgb->link.reach) == VGB_RESUMING &&
	       time_before(jiffies, end))
		msleep(VGB_POLL_MS);
	vgb_cut_resuming(vgb);
	cancel_delayed_work_sync(&vgb->work);
}

/*
 * Likewise its driver, which wakes up.  That is not cut: what waits in it would fail.
 * One that has not begun, begins when the guest is awake.  Returns: 0 or -EBUSY.
 */
static int vgb_settle_waking(struct vgb_device *vgb)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGB_SETTLE_MS);

	cancel_delayed_work(&vgb->wake_work);
	while (work_busy(&vgb->wake_work.work)) {
		if (time_after(jiffies, end)) {
			dev_err(&vgb->dev, "cannot sleep: it is just waking up\n");
			return -EBUSY;
		}
		msleep(VGB_POLL_MS);
	}
	return 0;
}

/* Works that connect and grant, exclude this by not running from here on. */
static int vgb_freeze(struct device *dev)
{
	struct vgb_device *vgb = vgb_of_dev(dev);
	int ret;

	vgb_mark(vgb, &vgb->is_frozen);
	vgb_settle(vgb);
	/* Who could not say so, would be forgotten when it is saved. */
	ret = vgb_settle_waking(vgb) ?: vgb_tell_sleep(vgb) ?: vgb_sleep(vgb);
	if (ret) {
		vgb_tell_awake(vgb);
		vgb_awake(vgb);
	}
	return ret;
}

/* In the same domain: what was granted and opened, is. */
static int vgb_thaw(struct device *dev)
{
	struct vgb_device *vgb = vgb_of_dev(dev);
	int ret = 0;

	vgb_tell_awake(vgb);
	if (READ_ONCE(vgb->has_device) && !READ_ONCE(vgb->is_asleep))
		ret = vgrant_dev_restore(&vgb->vgd);
	vgb_awake(vgb);
	return ret;
}

/*
 * Is our node the one that we wrote our keys into, and our port still one?  A restored
 * guest's node is new; and Linux forgets all ports when Xen says that the domain is.
 */
static bool vgb_is_in_place(struct vgb_device *vgb)
{
	const char *node = vgb->xdev->nodename;
	unsigned int ref, port;

	return vgb->link.ref && vgb->link.irq &&
	       irq_from_evtchn(vgb->link.port) == vgb->link.irq &&
	       xenbus_scanf(XBT_NIL, node, "msg-ref", "%u", &ref) == 1 &&
	       xenbus_scanf(XBT_NIL, node, "msg-port", "%u", &port) == 1 &&
	       ref == vgb->link.ref && port == vgb->link.port;
}

/* What our node says; nothing if there is none. */
static enum xenbus_state vgb_read_state(struct vgb_device *vgb)
{
	unsigned int state;

	return xenbus_scanf(XBT_NIL, vgb->xdev->nodename, "state", "%u",
			    &state) == 1 ? state : XenbusStateUnknown;
}

/*
 * What xenbus did before, as in a new domain, it did to a device whose node is as it
 * was: it believes that this begins anew.
 */
static int vgb_stay(struct device *dev)
{
	struct vgb_device *vgb = vgb_of_dev(dev);
	enum xenbus_state state = vgb_read_state(vgb);

	if (state != XenbusStateUnknown)
		vgb->xdev->state = state;
	return vgb_thaw(dev);
}

/*
 * A device without a page can't tell in which of the two domains it is.  A new one's
 * node does not have what is taken back here, and the toolstack makes none that is
 * closed.
 */
static void vgb_stay_as_far(struct vgb_device *vgb)
{
	vgb_tell_awake(vgb);
	if (vgb_read_state(vgb) == XenbusStateClosed)
		vgb->xdev->state = XenbusStateClosed;
}

/*
 * In another domain, maybe of another machine: of the port, the grants and the
 * backend nothing is left, and there may be no nodes yet.
 *
 * Or in the same: where a device refused to sleep, Linux has not asked Xen whether the
 * suspending was cancelled, and takes it for done (do_suspend()).
 */
static int vgb_restore(struct device *dev)
{
	struct vgb_device *vgb = vgb_of_dev(dev);

	WRITE_ONCE(vgb->was_restored, true);
	if (vgb_is_in_place(vgb))
		return vgb_stay(dev);
	vgb_stay_as_far(vgb);
	mutex_lock(&vgb->back_lock);
	vgb->is_back_watched = false;
	mutex_unlock(&vgb->back_lock);
	vgb_link_close(&vgb->link);
	vgb->is_published = false;
	vgb->is_connected = false;
	if (READ_ONCE(vgb->has_device))
		WRITE_ONCE(vgb->is_asleep, true);
	vgb_awake(vgb);
	return 0;
}

static const struct dev_pm_ops vgb_pm_ops = {
	.suspend = vgb_freeze,
	.freeze = vgb_freeze,
	.poweroff = vgb_freeze,
	.resume = vgb_thaw,
	.thaw = vgb_thaw,
	.restore = vgb_restore,
};
#define VGB_PM_OPS	(&vgb_pm_ops)
#else
#define VGB_PM_OPS	NULL
#endif

/* Nothing is made, granted or told from here on. */
static void vgb_stop(struct vgb_device *vgb)
{
	vgb_mark(vgb, &vgb->is_frozen);
	/* They do not wait for the backend any more. */
	vgb_set_down(vgb);
	cancel_delayed_work_sync(&vgb->work);
	cancel_delayed_work_sync(&vgb->wake_work);
	cancel_work_sync(&vgb->make_work);
	WRITE_ONCE(vgb->vgd.is_going, true);
	cancel_delayed_work_sync(&vgb->vgd.come_back_work);
}

/* Does a backend serve the device, as far as its node says? */
static bool vgb_is_served(struct vgb_device *vgb)
{
	bool is_other;
	domid_t id;
	char *back;
	int state = vgb_read_back(vgb, &back, &id, &is_other);

	kfree(back);
	return state != XenbusStateUnknown && state < XenbusStateClosing;
}

/* Returns: no: the backend maps something of it still. */
static bool vgb_ungrant(struct vgb_device *vgb)
{
	bool is_pool = !vgb->has_device || !vgrant_pool_suspend(vgb->vgd.pool);

	return vgb_link_close(&vgb->link) && is_pool;
}

/* What can be, of a pool whose backend does not let go: Linux logs each page that can't. */
static void vgb_ungrant_all(struct vgb_device *vgb)
{
	unsigned int nr_held = 0;

	if (vgb->has_device)
		nr_held = vgrant_pool_end(vgb->vgd.pool);
	if (!vgb_link_close(&vgb->link))
		nr_held++;
	dev_err(&vgb->dev, "domain %u still maps %u pages of this guest, and of a kernel that takes its place\n",
		vgb->link.backend, nr_held);
}

/*
 * The guest goes down, or another kernel takes its place (kexec) and its grant table,
 * which Xen leaves as it is: who sees a page through it, would see whatever that kernel
 * has there.  The virtio device was shut down before; xenbus, who is next, finds ours
 * closed.
 */
static void vgb_shutdown(struct device *dev)
{
	unsigned long end = jiffies + msecs_to_jiffies(VGB_LET_GO_MS);
	struct vgb_device *vgb = vgb_of_dev(dev);

	/* Removed, while this waited for the lock. */
	if (vgb->is_gone)
		return;
	vgb_stop(vgb);
	if (vgb->is_published)
		xenbus_switch_state(vgb->xdev, XenbusStateClosing);
	vgb_set_down(vgb);
	/* It answers when it has let go. */
	while (vgb->is_published && vgb_is_served(vgb) &&
	       time_before(jiffies, end))
		msleep(VGB_POLL_MS);
	while (!vgb_ungrant(vgb)) {
		if (time_after(jiffies, end)) {
			vgb_ungrant_all(vgb);
			break;
		}
		msleep(VGB_AGAIN_MS);
	}
	if (vgb->is_published || vgb->xdev->state == XenbusStateConnected)
		xenbus_frontend_closed(vgb->xdev);
}

/* Of the parents of virtio devices: who they are, in messages and in sysfs. */
static struct bus_type vgb_bus = {
	.name = "virtio_grant_bus",
	.shutdown = vgb_shutdown,
};

static const struct device_type vgb_type = {
	.name = "virtio_grant_bus",
	.pm = VGB_PM_OPS,
};

/* On failure, put_device() frees it. */
static int vgb_add(struct vgb_device *vgb)
{
	struct device *dev = &vgb->dev;
	int ret;

	dev->parent = &vgb->xdev->dev;
	dev->bus = &vgb_bus;
	dev->type = &vgb_type;
	vgb->dma_mask = DMA_BIT_MASK(64);
	dev->dma_mask = &vgb->dma_mask;
	ret = dev_set_name(dev, "%s-bus", dev_name(&vgb->xdev->dev)) ?:
	      vgb_link_init(&vgb->link, vgb_changed);
	if (ret)
		return ret;
	vgrant_dev_init(&vgb->vgd, dev, &vgb_transport, 0);
	ret = device_add(dev);
	if (ret)
		vgb_link_exit(&vgb->link);
	return ret;
}

VISIBLE_IF_KUNIT int vgb_probe(struct xenbus_device *xdev,
			       const struct xenbus_device_id *id)
{
	struct vgb_device *vgb;
	int ret;

	vgb = kzalloc(sizeof(*vgb), GFP_KERNEL);
	if (!vgb)
		return -ENOMEM;
	vgb->xdev = xdev;
	vgb->dev.release = vgb_release;
	device_initialize(&vgb->dev);
	vgb_transport_init(vgb);
	spin_lock_init(&vgb->gate);
	mutex_init(&vgb->device_lock);
	mutex_init(&vgb->back_lock);
	vgb->looks_paid = jiffies;
	INIT_LIST_HEAD(&vgb->list);
	INIT_DELAYED_WORK(&vgb->work, vgb_work);
	INIT_WORK(&vgb->make_work, vgb_make_work);
	INIT_DELAYED_WORK(&vgb->wake_work, vgb_wake_work);
	/* xenbus' own may go and come while the guest is restored. */
	vgb->first_back = kstrdup(xdev->otherend ?: "", GFP_KERNEL);
	ret = vgb_add(vgb);
	if (ret)
		goto put;
	dev_set_drvdata(&xdev->dev, vgb);
	if (!vgb_is_accepted(vgb)) {
		vgb->has_failed = true;
		xenbus_switch_state(xdev, XenbusStateClosed);
		return 0;
	}
	ret = vgb_begin_anew(xdev) ?: vgb_list_add(vgb);
	if (!ret)
		return 0;

	device_del(&vgb->dev);
	vgb_link_exit(&vgb->link);
put:
	put_device(&vgb->dev);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(vgb_probe);

VISIBLE_IF_KUNIT void vgb_remove(struct xenbus_device *xdev)
{
	struct vgb_device *vgb = dev_get_drvdata(&xdev->dev);

	vgb_mark(vgb, &vgb->is_leaving);
	/* Xenwatch does not wait until a slow backend has set all up again. */
	vgb_cut_resuming(vgb);
	vgb_list_del(vgb);
	vgb_unwatch_back(vgb);
	cancel_delayed_work_sync(&vgb->work);
	/* Not while it is being shut down: not each kernel locks our parent for that. */
	device_lock(&vgb->dev);
	vgb_unmake(vgb);
	vgb->is_gone = true;
	device_unlock(&vgb->dev);
	device_del(&vgb->dev);
	vgb_link_exit(&vgb->link);
	kfree(vgb->back);
	put_device(&vgb->dev);
}
EXPORT_SYMBOL_IF_KUNIT(vgb_remove);

/* What the first backend's node says, xenbus watches as well. */
static void vgb_otherend_changed(struct xenbus_device *xdev,
				 enum xenbus_state state)
{
	struct vgb_device *vgb = dev_get_drvdata(&xdev->dev);

	if (vgb)
		vgb_look_soon(vgb, 0);
}

static const struct xenbus_device_id vgb_ids[] = {
	{ "virtio_grant" },
#ifdef CONFIG_X86
	/* libxl's: there without a register window. */
	{ "virtio_disk" },
#endif
	{ "" }
};
MODULE_ALIAS("xen:virtio_grant");
#ifdef CONFIG_X86
MODULE_ALIAS("xen:virtio_disk");
#endif

static struct xenbus_driver vgb_driver = {
	.name = "virtio_grant_bus",
	.ids = vgb_ids,
	.probe = vgb_probe,
	.remove = vgb_remove,
	.otherend_changed = vgb_otherend_changed,
	/* Who loads us, is not kept waiting for a backend that is not there. */
	.not_essential = true,
};

/* Does xenbus have a device for this node of ours? */
static bool vgb_is_known(const char *devid)
{
	struct device *dev;
	char *name;

	name = kasprintf(GFP_KERNEL, "virtio_grant-%s", devid);
	if (!name)
		return true;
	dev = bus_find_device_by_name(vgb_driver.driver.bus, NULL, name);
	put_device(dev);
	kfree(name);
	return dev;
}

/*
 * The toolstack makes the node of a guest that was saved with a state of Connected,
 * which tells a guest that is restored that it is the device which it knows.  A kernel
 * that was booted instead knows none, and its xenbus has passed over a node that does
 * not begin with 1 (xenbus_probe_node()).
 */
VISIBLE_IF_KUNIT void vgb_claim_connected(const char *dir)
{
	unsigned int i, n, state;
	char **devids, *node;

	devids = xenbus_directory(XBT_NIL, dir, "", &n);
	if (IS_ERR(devids))
		return;
	for (i = 0; i < n; i++) {
		node = kasprintf(GFP_KERNEL, "%s/%s", dir, devids[i]);
		if (node && !vgb_is_known(devids[i]) &&
		    xenbus_scanf(XBT_NIL, node, "state", "%u", &state) == 1 &&
		    state == XenbusStateConnected)
			xenbus_printf(XBT_NIL, node, "state", "%d",
				      XenbusStateInitialising);
		kfree(node);
	}
	kfree(devids);
}
EXPORT_SYMBOL_IF_KUNIT(vgb_claim_connected);

static int __init vgb_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;
	ret = vgrant_types_parse(types, &vgb_accepted);
	if (ret)
		return ret;
	ret = bus_register(&vgb_bus);
	if (ret)
		return ret;
	ret = xenbus_register_frontend(&vgb_driver);
	if (ret)
		bus_unregister(&vgb_bus);
	else
		vgb_claim_connected("device/virtio_grant");
	return ret;
}
module_init(vgb_init);

static void __exit vgb_exit(void)
{
	xenbus_unregister_driver(&vgb_driver);
	vgb_unwatch_own();
	bus_unregister(&vgb_bus);
}
module_exit(vgb_exit);

MODULE_DESCRIPTION("virtio over messages on the Xen bus");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
