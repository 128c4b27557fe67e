// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * life.c - a device is born, comes back, sleeps and leaves.
 *
 * A device that failed for no other reason than that nobody answered, works again
 * when somebody does.  If that is who ran it before, its driver is frozen and
 * restored, as for suspending: the disk stays the same disk, and whoever has it
 * open can go on, having got errors meanwhile.  A device that has forgotten what
 * its driver told it may have become another: there the driver is bound anew.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/pm.h>

#include "queue/queue.h"

/* How often the driver of a device that came back is bound in vain. */
#define VGRANT_BINDS		5
/* How often a driver that has no memory to wake up with is woken: 4 seconds. */
#define VGRANT_WAKE_TRIES	10

#ifdef CONFIG_PM_SLEEP
static bool vgrant_can_go_on(struct vgrant_device *vgd)
{
	struct virtio_driver *drv = drv_to_virtio(vgd->vdev.dev.driver);
	const char *why;

	return drv->freeze && drv->restore &&
	       !(vgd->status & VIRTIO_CONFIG_S_FAILED) && !vgrant_ask(vgd, &why);
}

/*
 * Its driver sleeps, and is awake again when vgrant_wake() returns; which is as
 * it was before, or has got a device that failed.
 */
static int vgrant_sleep(struct vgrant_device *vgd)
{
	int ret;

	WRITE_ONCE(vgd->is_asleep, true);
	/* It sleeps still. */
	if (vgd->has_overslept)
		return 0;
	vgd->nr_queues_before = vgd->nr_queues;
	ret = virtio_device_freeze(&vgd->vdev);
	if (ret)
		WRITE_ONCE(vgd->is_asleep, false);
	return ret;
}

/*
 * A driver that fails for want of memory sleeps on, with all that waits for it, and
 * is not asked again by anybody.
 */
static int vgrant_wake(struct vgrant_device *vgd)
{
	unsigned int pause_ms, tries = VGRANT_WAKE_TRIES;
	int ret;

	for (pause_ms = 10; ; pause_ms = min(2 * pause_ms, 1000U)) {
		vgd->is_last_try = !--tries;
		ret = virtio_device_restore(&vgd->vdev);
		if (ret != -ENOMEM || vgd->is_last_try)
			break;
		msleep(pause_ms);
	}
	WRITE_ONCE(vgd->is_asleep, false);
	vgd->has_overslept = ret;
	if (ret)
		vgrant_dev_fail(vgd, "its driver does not wake up");
	return ret;
}

/* A driver can't be unbound while requests wait in what it stopped for its sleep. */
static void vgrant_wake_to_leave(struct vgrant_device *vgd)
{
	if (!vgd->has_overslept)
		return;
	WRITE_ONCE(vgd->is_asleep, true);
	vgrant_wake(vgd);
}

/* Returns: no: its driver has to be bound anew. */
static bool vgrant_go_on(struct vgrant_device *vgd)
{
	if (!vgrant_can_go_on(vgd) || vgrant_sleep(vgd))
		return false;
	/* Its size may be another, for one. */
	if (!vgrant_wake(vgd) && !READ_ONCE(vgd->has_failed))
		virtio_config_changed(&vgd->vdev);
	return true;
}
#else
static void vgrant_wake_to_leave(struct vgrant_device *vgd)
{
}

static bool vgrant_go_on(struct vgrant_device *vgd)
{
	return false;
}
#endif

static bool vgrant_has_to_come_back(struct vgrant_device *vgd)
{
	return (READ_ONCE(vgd->may_come_back) ||
		READ_ONCE(vgd->wants_driver)) &&
	       !READ_ONCE(vgd->is_asleep) && !READ_ONCE(vgd->is_going);
}

/* A probe that failed, perhaps for want of memory, is repeated some times. */
static void vgrant_bind_again(struct vgrant_device *vgd)
{
	struct device *dev = &vgd->vdev.dev;

	device_lock(dev);
	WRITE_ONCE(vgd->wants_driver, !dev->driver &&
		   vgd->status & VIRTIO_CONFIG_S_FAILED &&
		   vgd->nr_binds++ < VGRANT_BINDS);
	device_unlock(dev);
}

static void vgrant_come_back(struct vgrant_device *vgd)
{
	struct device *dev = &vgd->vdev.dev;
	bool is_bound = false, is_unbound = false;
	int ret = 0;

	device_lock(dev);
	/* Bound in the end, perhaps by somebody else: the count begins anew. */
	if (dev->driver) {
		vgd->nr_binds = 0;
		WRITE_ONCE(vgd->wants_driver, false);
	}
	if (!vgrant_has_to_come_back(vgd)) {
		/* Nothing is left to do. */
	} else if (dev->driver) {
		dev_info(vgd->dev, "the backend answers again\n");
		/* Half a probe leaves half a device: no partitions, for one. */
		is_bound = READ_ONCE(vgd->is_half_bound) || !vgrant_go_on(vgd);
	} else if (vgd->status & VIRTIO_CONFIG_S_FAILED) {
		/* For want of an answer, its driver's probe failed. */
		is_unbound = true;
	} else {
		/* Its driver was taken away.  Who binds another, resets it. */
		WRITE_ONCE(vgd->may_come_back, false);
		WRITE_ONCE(vgd->wants_driver, false);
	}
	device_unlock(dev);
	if (is_bound)
		ret = device_reprobe(dev);
	else if (is_unbound)
		ret = device_attach(dev);
	if (ret < 0)
		dev_err(vgd->dev, "its driver can't be bound again\n");
	if (is_bound || is_unbound)
		vgrant_bind_again(vgd);
}

void vgrant_come_back_work(struct work_struct *work)
{
	struct vgrant_device *vgd = container_of(to_delayed_work(work),
						 struct vgrant_device,
						 come_back_work);
	unsigned int again_s = VGRANT_COME_BACK_S;

	/* Who stops, would have to wait for what begins now. */
	if (!vgrant_guest_stops() &&
	    vgd->transport->ask_identity(vgd) != -EAGAIN) {
		vgrant_come_back(vgd);
		if (READ_ONCE(vgd->is_buffer_held) ||
		    vgd->transport->ask_identity(vgd) == -ENODEV)
			return;
		again_s = VGRANT_COME_BACK_AGAIN_S;
	}
	if (vgrant_has_to_come_back(vgd))
		queue_delayed_work(system_long_wq, &vgd->come_back_work,
				   vgrant_seconds(again_s));
}

/* From here on its failing is that of a driver's probe. */
static void vgrant_bind_begins(struct vgrant_device *vgd)
{
	vgd->bind_began = jiffies;
	WRITE_ONCE(vgd->is_half_bound, false);
	WRITE_ONCE(vgd->is_binding, true);
}

static void vgrant_bind_ends(struct vgrant_device *vgd)
{
	WRITE_ONCE(vgd->is_binding, false);
	if (!READ_ONCE(vgd->has_failed) && vgd->vdev.dev.driver)
		vgd->bind_pause_s = 0;
}

/* A driver is about to be bound or unbound, or was, under the device's lock. */
static int vgrant_driver_event(struct notifier_block *nb, unsigned long event,
			       void *data)
{
	struct vgrant_device *vgd = container_of(nb, struct vgrant_device,
						 bus_notifier);

	if (data != &vgd->vdev.dev)
		return NOTIFY_DONE;
	switch (event) {
	case BUS_NOTIFY_BIND_DRIVER:
		/* Whoever binds one to what is being removed, has it leave at once. */
		if (!READ_ONCE(vgd->is_going))
			WRITE_ONCE(vgd->is_leaving, false);
		vgd->has_overslept = false;
		vgrant_bind_begins(vgd);
		/* Whatever became of it while nobody drove it. */
		vgrant_reset(&vgd->vdev);
		virtio_add_status(&vgd->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
		/* Whatever the probe took it for: see vgrant_dev_was_silent(). */
		if (vgrant_silences(vgd) != vgd->silences)
			vgrant_dev_give_up(vgd, "no answer to its driver's probe");
		fallthrough;
	case BUS_NOTIFY_BOUND_DRIVER:
		vgrant_bind_ends(vgd);
		break;
	case BUS_NOTIFY_UNBIND_DRIVER:
		vgrant_wake_to_leave(vgd);
		vgrant_dev_leave(vgd);
		break;
	}
	return NOTIFY_DONE;
}

static void vgrant_dev_release(struct device *dev)
{
	complete(&vgrant_dev_of(dev_to_virtio(dev))->released);
}

static const char *vgrant_bus_name(struct virtio_device *vdev)
{
	return dev_name(vgrant_dev_of(vdev)->dev);
}

VGRANT_FIND_VQS_ADAPTER(vgrant_find_vqs)

static const struct virtio_config_ops vgrant_config_ops = {
	VGRANT_FIND_VQS_OP(vgrant_find_vqs),
	.get = vgrant_get,
	.set = vgrant_set,
	.generation = vgrant_generation,
	.get_status = vgrant_get_status,
	.set_status = vgrant_set_status,
	.reset = vgrant_reset,
	.del_vqs = vgrant_del_vqs,
	.synchronize_cbs = vgrant_synchronize_cbs,
	.get_features = vgrant_get_features,
	.finalize_features = vgrant_finalize_features,
	.bus_name = vgrant_bus_name,
	.set_vq_affinity = vgrant_set_vq_affinity,
	.get_vq_affinity = vgrant_get_vq_affinity,
	/*
	 * No get_shm_region: it would have us map whatever address the backend
	 * names.
	 */
	.disable_vq_and_reset = vgrant_disable_vq_and_reset,
	.enable_vq_after_reset = vgrant_enable_vq_after_reset,
};

/* A device that nothing is known of yet; nothing to undo. */
void vgrant_dev_init(struct vgrant_device *vgd, struct device *dev,
		     const struct vgrant_transport *transport, domid_t backend)
{
	vgd->dev = dev;
	vgd->transport = transport;
	vgd->backend = backend;
	vgd->vdev.dev.parent = dev;
	vgd->vdev.dev.release = vgrant_dev_release;
	vgd->vdev.config = &vgrant_config_ops;
	init_completion(&vgd->released);
	mutex_init(&vgd->queue_lock);
	spin_lock_init(&vgd->settling.lock);
	INIT_WORK(&vgd->fault_work, vgrant_fault_work);
	/* Not deferrable: an idle guest waits for its disk, too. */
	INIT_DELAYED_WORK(&vgd->watch_work, vgrant_watch_work);
	INIT_DELAYED_WORK(&vgd->come_back_work, vgrant_come_back_work);
	vgd->bus_notifier.notifier_call = vgrant_driver_event;
}
EXPORT_SYMBOL_GPL(vgrant_dev_init);

static void vgrant_dev_destroy_pool(struct vgrant_device *vgd)
{
	vgrant_pool_detach(vgd->pool);
	vgrant_pool_destroy(vgd->pool);
}

/*
 * It is what @id says, and its DMA goes through a pool that holds what it needs.
 * vgrant_dev_register() is next.
 */
int vgrant_dev_make_pool(struct vgrant_device *vgd,
			 const struct vgrant_identity *id)
{
	struct vgrant_pool_stats stats;
	int ret;

	vgd->vdev.id.device = id->device;
	vgd->vdev.id.vendor = id->vendor;
	vgd->ring_min = id->ring_min;
	vgd->pool = vgrant_pool_create(vgd->dev, vgd->backend, &id->need);
	if (IS_ERR(vgd->pool)) {
		ret = PTR_ERR(vgd->pool);
		dev_err(vgd->dev, "no pool of granted pages: error %d\n", ret);
		return ret;
	}
	vgrant_pool_set_held_handler(vgd->pool, vgrant_buffer_held, vgd);
	vgrant_pool_attach(vgd->pool);
	vgrant_pool_set_map(vgd->pool, &vgd->vdev);
	ret = dma_set_mask_and_coherent(vgd->dev, DMA_BIT_MASK(64));
	if (ret) {
		vgrant_dev_destroy_pool(vgd);
		return ret;
	}
	vgd->caps = vgd->transport->read_caps(vgd);
	vgrant_pool_read_stats(vgd->pool, &stats);
	vgd->segs_max = max_t(u32, stats.segs_max, VGRANT_SEGS_EXTRA + 1) -
			VGRANT_SEGS_EXTRA;
	dev_info(vgd->dev, "virtio device type %u, backend in domain %u sees %u granted pages%s%s\n",
		 id->device, vgd->backend, stats.pages_total,
		 vgrant_uses_ranges(vgd) ? ", persistent" : "",
		 vgrant_uses_events(vgd) ? ", event channels" : "");
	return 0;
}
EXPORT_SYMBOL_GPL(vgrant_dev_make_pool);

/*
 * From here on a driver may bind.  If it fails, vgrant_dev_discard() is next.
 *
 * The bus is not known before, and a driver may bind at once: all of this counts as its
 * being bound.  One that is probed by another task, has the lock.
 */
int vgrant_dev_add(struct vgrant_device *vgd)
{
	int ret;

	vgrant_bind_begins(vgd);
	ret = register_virtio_device(&vgd->vdev);
	if (ret)
		return ret;
	bus_register_notifier(vgd->vdev.dev.bus, &vgd->bus_notifier);
	device_lock(&vgd->vdev.dev);
	vgrant_bind_ends(vgd);
	device_unlock(&vgd->vdev.dev);
	return 0;
}
EXPORT_SYMBOL_GPL(vgrant_dev_add);

/* What could not be registered, and its pool; nobody has it fail or leave any more. */
void vgrant_dev_discard(struct vgrant_device *vgd)
{
	WRITE_ONCE(vgd->is_going, true);
	cancel_work_sync(&vgd->fault_work);
	cancel_delayed_work_sync(&vgd->watch_work);
	cancel_delayed_work_sync(&vgd->come_back_work);
	put_device(&vgd->vdev.dev);
	wait_for_completion(&vgd->released);
	vgrant_dev_destroy_pool(vgd);
}
EXPORT_SYMBOL_GPL(vgrant_dev_discard);

/*
 * The guest goes down, or another kernel takes its place (kexec), and its grant table,
 * which Xen leaves as it is.  The virtio device was shut down before.
 */
void vgrant_dev_shutdown(struct vgrant_device *vgd)
{
	unsigned int nr_held;

	WRITE_ONCE(vgd->is_going, true);
	vgrant_dev_leave(vgd);
	cancel_delayed_work_sync(&vgd->come_back_work);
	cancel_work_sync(&vgd->fault_work);
	cancel_delayed_work_sync(&vgd->watch_work);
	vgrant_reset_status(vgd);
	nr_held = vgrant_pool_end(vgd->pool);
	if (nr_held)
		dev_err(vgd->dev, "the backend still maps %u pages of this guest, and of a kernel that takes its place\n",
			nr_held);
}
EXPORT_SYMBOL_GPL(vgrant_dev_shutdown);

/* Both: if it fails, the pool is gone as well. */
int vgrant_dev_register(struct vgrant_device *vgd)
{
	int ret = vgrant_dev_add(vgd);

	if (ret)
		vgrant_dev_discard(vgd);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_dev_register);

/*
 * Nobody answered while it was registered.  If its driver's probe failed, it did for
 * that, whatever it took for the reason: it is bound again when somebody answers.
 */
void vgrant_dev_was_silent(struct vgrant_device *vgd)
{
	if (vgd->status & VIRTIO_CONFIG_S_FAILED &&
	    !READ_ONCE(vgd->vdev.dev.driver))
		vgrant_dev_give_up(vgd, "no answer to its driver's probe");
}
EXPORT_SYMBOL_GPL(vgrant_dev_was_silent);

/* Undoes vgrant_dev_register() and vgrant_dev_make_pool(). */
void vgrant_dev_unregister(struct vgrant_device *vgd)
{
	/* What it waits for on its way back, ends as well. */
	WRITE_ONCE(vgd->is_going, true);
	vgrant_dev_leave(vgd);
	cancel_delayed_work_sync(&vgd->come_back_work);
	unregister_virtio_device(&vgd->vdev);
	bus_unregister_notifier(vgd->vdev.dev.bus, &vgd->bus_notifier);
	cancel_work_sync(&vgd->fault_work);
	cancel_delayed_work_sync(&vgd->watch_work);
	cancel_delayed_work_sync(&vgd->come_back_work);
	/* vgrant_dev_release() is code of this module, which may be leaving. */
	wait_for_completion(&vgd->released);
	vgrant_dev_destroy_pool(vgd);
}
EXPORT_SYMBOL_GPL(vgrant_dev_unregister);

#ifdef CONFIG_PM_SLEEP
static void vgrant_awake(struct vgrant_device *vgd)
{
	WRITE_ONCE(vgd->is_leaving, false);
	WRITE_ONCE(vgd->is_going, false);
	if (vgrant_has_to_come_back(vgd))
		queue_delayed_work(system_long_wq, &vgd->come_back_work,
				   vgrant_seconds(VGRANT_COME_BACK_S));
}

/*
 * Asleep, the device holds nothing of ours: its driver deletes the queues, and
 * the grants end here.  After waking up (perhaps in another grant table) they
 * are made anew and the driver starts from the beginning.
 */
int vgrant_dev_freeze(struct vgrant_device *vgd)
{
	int ret;

	/* Its driver waits for what is in the queues. */
	WRITE_ONCE(vgd->is_going, true);
	vgrant_dev_leave(vgd);
	device_lock(&vgd->vdev.dev);
	ret = vgrant_sleep(vgd);
	if (!ret) {
		/* Nobody waits for its waking up as for that. */
		WRITE_ONCE(vgd->is_leaving, false);
		WRITE_ONCE(vgd->is_going, false);
		ret = vgrant_pool_suspend(vgd->pool);
		if (ret) {
			dev_err(vgd->dev, "cannot sleep: the backend still maps the pool\n");
			vgrant_wake(vgd);
		}
	}
	device_unlock(&vgd->vdev.dev);
	if (ret)
		vgrant_awake(vgd);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_dev_freeze);

int vgrant_dev_restore(struct vgrant_device *vgd)
{
	int ret;

	device_lock(&vgd->vdev.dev);
	ret = vgrant_dev_is_gone(vgd) ? -EAGAIN :
					vgd->transport->ask_identity(vgd);
	if (ret == -EAGAIN) {
		vgrant_dev_give_up(vgd, "no answer after waking up");
	} else if (ret) {
		vgrant_dev_fail(vgd, "not the same device after waking up");
	} else {
		/* Not before: a number may be another domain's by now. */
		vgrant_pool_resume(vgd->pool);
	}
	ret = vgrant_wake(vgd);
	device_unlock(&vgd->vdev.dev);
	vgrant_awake(vgd);
	return ret;
}
EXPORT_SYMBOL_GPL(vgrant_dev_restore);
#endif /* CONFIG_PM_SLEEP */
