// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * channel.c - an event channel per queue, for notifications both ways, and which
 * CPUs its events go to.
 *
 * A queue without one is notified by the transport, and calls back by its
 * interrupt: slower, and nothing else.
 */
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/module.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <asm/xen/hypercall.h>

#include "queue/queue.h"

static bool use_events = true;
module_param(use_events, bool, 0644);
MODULE_PARM_DESC(use_events,
		 "an event channel per queue with backends that can have one (default: yes)");

/* Does the device have them, and are they wanted? */
bool vgrant_uses_events(const struct vgrant_device *vgd)
{
	return vgd->caps & VIRTIO_GRANT_CAP_EVTCHN && use_events;
}

bool vgrant_notify(struct virtqueue *vq)
{
	struct vgrant_queue *q = vq->priv;

	if (q->irq) {
		/*
		 * A hypercall is a full barrier to what the ring wrote before;
		 * its partner is the backend's unmasking before it looks.
		 */
		notify_remote_via_evtchn(q->port);
		return true;
	}
	q->vgd->transport->notify(vq);
	return true;
}

/*
 * An event of the backend's.  One without a cause is held against it: the
 * kernel delays the next ones (late EOI), so that a storm starves nobody.
 */
static irqreturn_t vgrant_event(int irq, void *opaque)
{
	struct vgrant_queue *q = opaque;
	struct virtqueue *vq = READ_ONCE(q->vgd->queue[q->index]);
	bool has_cause = vq && vgrant_queue_event(irq, vq);

	xen_irq_lateeoi(irq, has_cause ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

void vgrant_synchronize_cbs(struct virtio_device *vdev)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	unsigned int i;

	vgd->transport->callbacks_sync(vgd);
	for (i = 0; i < vgd->nr_queues; i++) {
		struct vgrant_queue *q;

		if (!vgd->queue[i])
			continue;
		q = vgd->queue[i]->priv;
		if (q->irq)
			synchronize_irq(q->irq);
	}
}

void vgrant_channel_close(struct vgrant_queue *q)
{
	if (q->irq)
		unbind_from_irqhandler(q->irq, q);
	q->irq = 0;
}

/* Without a channel, the transport's notifications do as well. */
void vgrant_channel_open(struct vgrant_queue *q, const char *name)
{
	struct vgrant_device *vgd = q->vgd;
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = vgd->backend,
	};
	struct evtchn_close close;
	int ret;

	if (!vgrant_uses_events(vgd))
		return;
	if (HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc))
		goto refused;
	ret = bind_evtchn_to_irqhandler_lateeoi(alloc.port, vgrant_event, 0,
						name, q);
	if (ret < 0) {
		close.port = alloc.port;
		HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
		goto refused;
	}
	q->port = alloc.port;
	q->irq = ret;
	if (!vgd->transport->set_port(vgd, q->index, q->port))
		return;
	/* No answer would say nothing: let go of it first in any case. */
	vgd->transport->clear_port(vgd, q->index);
	vgrant_channel_close(q);
refused:
	dev_warn(vgd->dev, "no event channel for queue %u: slower\n",
		 q->index);
}

/*
 * The CPUs that share queue @index of @nr: each CPU has one.  A driver that asks
 * for this (by a description of affinity) has its CPUs use the queue whose
 * events they take.
 */
void vgrant_spread(struct cpumask *cpus, unsigned int index, unsigned int nr)
{
	unsigned int turn = 0, possible = num_possible_cpus();
	int cpu;

	cpumask_clear(cpus);
	for_each_possible_cpu(cpu) {
		if (turn % nr == index || (nr > possible &&
					   turn == index % possible))
			cpumask_set_cpu(cpu, cpus);
		turn++;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vgrant_spread);

int vgrant_route(struct vgrant_queue *q)
{
	/* Where all queues share an interrupt, there is nothing to choose. */
	if (!q->irq)
		return -EINVAL;
	return irq_set_affinity(q->irq,
				cpumask_intersects(&q->cpus, cpu_online_mask) ?
				&q->cpus : cpu_online_mask);
}

int vgrant_set_vq_affinity(struct virtqueue *vq, const struct cpumask *cpus)
{
	struct vgrant_queue *q = vq->priv;

	if (cpus)
		cpumask_copy(&q->cpus, cpus);
	else
		cpumask_clear(&q->cpus);
	return vgrant_route(q);
}

const struct cpumask *vgrant_get_vq_affinity(struct virtio_device *vdev,
					     int index)
{
	struct vgrant_device *vgd = vgrant_dev_of(vdev);
	struct vgrant_queue *q;

	if (index < 0 || index >= vgd->nr_queues || !vgd->queue[index])
		return NULL;
	q = vgd->queue[index]->priv;
	return q->irq && !cpumask_empty(&q->cpus) ? &q->cpus : NULL;
}
