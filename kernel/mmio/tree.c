// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tree.c - those "virtio,mmio" nodes of the device tree whose IOMMU is
 * "xen,grant-dma": found, taken over, probed.
 *
 * Who owns what: a claim owns a reference to its node, and the right to put back
 * what it took from the node.
 *
 * The stock driver virtio_mmio matches the same nodes.  A node whose IOMMU is
 * "xen,grant-dma" is claimed: its device gets a driver override, and the
 * property "iommus" is taken out of the node for as long as we are there.
 *
 * The latter because a kernel without CONFIG_XEN_VIRTIO has no driver that
 * such an IOMMU could be configured with, and waits for one, 10 seconds for
 * each device.  Registering as that IOMMU would do as well, but Linux 6.1
 * keeps pointing to an IOMMU driver that was unregistered (bus->iommu_ops).
 * It also keeps the layer of kernels with CONFIG_XEN_VIRTIO from replacing
 * our DMA operations: it looks for the same property.
 *
 * The other wait is for the node of the IOMMU, of which the device is said to
 * be a consumer: vgm_iommu_driver binds to it and does nothing.
 */
#include <linux/io.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/of.h>
#include <linux/of_platform.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <xen/xen.h>

#include "mmio/mmio_priv.h"

#define VGM_DRIVER_NAME		"virtio-grant-mmio"
/* Pauses between probes that nobody answers: from VGRANT_COME_BACK_S to this. */
#define VGM_ABSENT_PAUSE_MAX_S	30u

struct vgm_claim {
	struct list_head list;
	struct device_node *np;
	struct property *iommus;
	domid_t backend;
	bool is_absent;			/* nobody answered its probe */
	bool is_again;			/* the next one is by vgm_absent_work */
};

static LIST_HEAD(vgm_claims);
static DEFINE_MUTEX(vgm_claims_lock);

/*
 * A device that nobody answers for when it is probed (a guest that boots while its
 * driver domain is paused) is probed again until somebody does.
 */
static void vgm_absent_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(vgm_absent_work, vgm_absent_work_fn);
static unsigned int vgm_absent_pause_s;

static struct vgm_claim *vgm_claim_find(struct device_node *np)
{
	struct vgm_claim *claim;

	lockdep_assert_held(&vgm_claims_lock);
	list_for_each_entry(claim, &vgm_claims, list)
		if (claim->np == np)
			return claim;
	return NULL;
}

static int vgm_claimed_backend(struct device_node *np, domid_t *backend,
			       bool *is_again)
{
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	if (claim) {
		*backend = claim->backend;
		*is_again = claim->is_again;
		claim->is_again = false;
	}
	mutex_unlock(&vgm_claims_lock);
	return claim ? 0 : -ENODEV;
}

static void vgm_claim_note(struct device_node *np, bool is_absent)
{
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	if (claim && is_absent && !claim->is_absent) {
		vgm_absent_pause_s = VGRANT_COME_BACK_S;
		mod_delayed_work(system_long_wq, &vgm_absent_work,
				 vgrant_seconds(vgm_absent_pause_s));
	}
	if (claim)
		claim->is_absent = is_absent;
	mutex_unlock(&vgm_claims_lock);
}

/* ... and is probed @again if so? */
static bool vgm_is_absent(struct device_node *np, bool again)
{
	struct vgm_claim *claim;
	bool is_absent;

	mutex_lock(&vgm_claims_lock);
	claim = vgm_claim_find(np);
	is_absent = claim && claim->is_absent;
	if (is_absent)
		claim->is_again = again;
	mutex_unlock(&vgm_claims_lock);
	return is_absent;
}

static int vgm_attach_absent(struct device *dev, void *nr_absent)
{
	int ret;

	if (!dev->of_node || !vgm_is_absent(dev->of_node, true))
		return 0;
	ret = device_attach(dev);
	if (ret < 0)
		dev_err(dev, "cannot be probed again: error %d\n", ret);
	*(unsigned int *)nr_absent += vgm_is_absent(dev->of_node, false);
	return 0;
}

static void vgm_absent_work_fn(struct work_struct *work)
{
	unsigned int nr_absent = 0;

	bus_for_each_dev(&platform_bus_type, NULL, &nr_absent,
			 vgm_attach_absent);
	if (!nr_absent)
		return;
	mutex_lock(&vgm_claims_lock);
	vgm_absent_pause_s = min(2 * vgm_absent_pause_s, VGM_ABSENT_PAUSE_MAX_S);
	queue_delayed_work(system_long_wq, &vgm_absent_work,
			   vgrant_seconds(vgm_absent_pause_s));
	mutex_unlock(&vgm_claims_lock);
}

/* Probing */

/* @is_again: a device that was absent before is asked once, without waiting. */
static int vgm_probe_at(struct platform_device *pdev, domid_t backend,
			bool is_again)
{
	void __iomem *base;
	int ret, irq;

	if (is_again)
		ret = vgm_is_served_now(pdev) ? 0 : -EAGAIN;
	else
		ret = vgm_wait_for_server(pdev);
	if (ret)
		return ret;
	base = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(base))
		return PTR_ERR(base);
	if (is_again && readl(base + VIRTIO_MMIO_MAGIC_VALUE) == VGRANT_NOBODY)
		return -EAGAIN;
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	return vgm_create(pdev, base, irq, backend);
}

static int vgm_probe(struct platform_device *pdev)
{
	struct device_node *np = pdev->dev.of_node;
	bool is_again;
	domid_t backend;
	int ret;

	ret = vgm_claimed_backend(np, &backend, &is_again);
	if (ret)
		return ret;
	ret = vgm_probe_at(pdev, backend, is_again);
	/* Once probed again, it is so until it works or is refused. */
	vgm_claim_note(np, ret == -EAGAIN || (is_again && ret == -ENOMEM));
	/* Which the core does not complain of. */
	return ret == -EAGAIN ? -ENODEV : ret;
}

#ifdef CONFIG_PM_SLEEP
static const struct dev_pm_ops vgm_pm_ops = {
	SET_SYSTEM_SLEEP_PM_OPS(vgm_freeze, vgm_restore)
};
#define VGM_PM_OPS	(&vgm_pm_ops)
#else
#define VGM_PM_OPS	NULL
#endif

/* No table of matches: only devices that we claimed are ours. */
static struct platform_driver vgm_driver = {
	.probe = vgm_probe,
	VGRANT_REMOVE_OP(vgm_remove),
	.shutdown = vgm_shutdown,
	.driver = {
		.name = VGM_DRIVER_NAME,
		.pm = VGM_PM_OPS,
	},
};

/* Claims */

/* Is this a virtio-mmio device behind a grant IOMMU, and of which domain? */
static bool vgm_is_wanted(struct device_node *np, domid_t *backend)
{
	struct of_phandle_args spec;
	bool is_grant;

	if (!of_device_is_compatible(np, "virtio,mmio") ||
	    of_parse_phandle_with_args(np, "iommus", "#iommu-cells", 0, &spec))
		return false;
	is_grant = of_device_is_compatible(spec.np, "xen,grant-dma");
	of_node_put(spec.np);
	if (!is_grant)
		return false;
	if (spec.args_count != 1 || spec.args[0] >= DOMID_FIRST_RESERVED) {
		pr_err("%pOF: cannot tell the backend's domain from \"iommus\"\n",
		       np);
		return false;
	}
	*backend = spec.args[0];
	return true;
}

/*
 * A kernel with CONFIG_XEN_VIRTIO can serve the device by itself.  If it
 * already does, something may be mounted from it.
 */
static bool vgm_is_served(struct device *dev)
{
	return IS_ENABLED(CONFIG_XEN_VIRTIO) && READ_ONCE(dev->driver);
}

static void vgm_claim_free(struct vgm_claim *claim)
{
	of_node_put(claim->np);
	kfree(claim);
}

static int vgm_claim_node(struct platform_device *pdev, domid_t backend)
{
	struct device_node *np = pdev->dev.of_node;
	struct vgm_claim *claim;
	int ret;

	claim = kzalloc(sizeof(*claim), GFP_KERNEL);
	if (!claim)
		return -ENOMEM;
	claim->np = of_node_get(np);
	claim->backend = backend;
	claim->iommus = of_find_property(np, "iommus", NULL);
	ret = vgrant_set_override(pdev, VGM_DRIVER_NAME);
	if (ret)
		goto free_claim;
	ret = of_remove_property(np, claim->iommus);
	if (ret)
		goto clear_override;
	list_add_tail(&claim->list, &vgm_claims);
	return 0;

clear_override:
	vgrant_set_override(pdev, "");
free_claim:
	vgm_claim_free(claim);
	return ret;
}

/* Claims a device if it is for us.  Errors concern that device alone. */
static void vgm_claim(struct platform_device *pdev)
{
	domid_t backend;
	int ret;

	mutex_lock(&vgm_claims_lock);
	if (!pdev->dev.of_node || !vgm_is_wanted(pdev->dev.of_node, &backend))
		goto unlock;
	if (vgm_is_served(&pdev->dev)) {
		dev_info(&pdev->dev, "left to its driver and the grant layer of this kernel\n");
		goto unlock;
	}
	ret = vgm_claim_node(pdev, backend);
	if (ret)
		dev_err(&pdev->dev, "cannot be claimed: error %d\n", ret);
unlock:
	mutex_unlock(&vgm_claims_lock);
}

/* Undoes vgm_claim(), for a device that is bound to no driver. */
static void vgm_unclaim(struct vgm_claim *claim)
{
	struct platform_device *pdev = of_find_device_by_node(claim->np);

	if (vgrant_of_put_back(claim->np, claim->iommus))
		pr_err("%pOF: \"iommus\" is lost\n", claim->np);
	if (pdev) {
		vgrant_set_override(pdev, "");
		put_device(&pdev->dev);
	}
	vgm_claim_free(claim);
}

static int vgm_claim_one(struct device *dev, void *unused)
{
	vgm_claim(to_platform_device(dev));
	return 0;
}

/* Devices that another driver was faster to bind. */
static void vgm_take_over(void)
{
	struct platform_device *pdev;
	struct vgm_claim *claim;

	mutex_lock(&vgm_claims_lock);
	list_for_each_entry(claim, &vgm_claims, list) {
		pdev = of_find_device_by_node(claim->np);
		if (!pdev)
			continue;
		if (pdev->dev.driver) {
			dev_info(&pdev->dev, "taken over from %s\n",
				 pdev->dev.driver->name);
			device_release_driver(&pdev->dev);
		}
		put_device(&pdev->dev);
	}
	mutex_unlock(&vgm_claims_lock);
}

static int vgm_bus_event(struct notifier_block *nb, unsigned long event,
			 void *data)
{
	struct device *dev = data;
	struct vgm_claim *claim;

	switch (event) {
	case BUS_NOTIFY_ADD_DEVICE:
		vgm_claim(to_platform_device(dev));
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		mutex_lock(&vgm_claims_lock);
		claim = dev->of_node ? vgm_claim_find(dev->of_node) : NULL;
		if (claim)
			list_del(&claim->list);
		mutex_unlock(&vgm_claims_lock);
		if (claim) {
			vgrant_of_put_back(claim->np, claim->iommus);
			vgm_claim_free(claim);
		}
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block vgm_bus_notifier = {
	.notifier_call = vgm_bus_event,
};

/* Nothing is bound to our drivers any more. */
static void vgm_unclaim_all(void)
{
	struct vgm_claim *claim, *next;

	bus_unregister_notifier(&platform_bus_type, &vgm_bus_notifier);
	list_for_each_entry_safe(claim, next, &vgm_claims, list)
		vgm_unclaim(claim);
	INIT_LIST_HEAD(&vgm_claims);
}

static int vgm_iommu_probe(struct platform_device *pdev)
{
	return 0;
}

static const struct of_device_id vgm_iommu_match[] = {
	{ .compatible = "xen,grant-dma" },
	{ }
};
MODULE_DEVICE_TABLE(of, vgm_iommu_match);

static struct platform_driver vgm_iommu_driver = {
	.probe = vgm_iommu_probe,
	.driver = {
		.name = "virtio-grant-iommu",
		.of_match_table = vgm_iommu_match,
		.suppress_bind_attrs = true,
	},
};

static int __init vgm_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;

	ret = vgm_accept_types(NULL);
	if (ret)
		return ret;
	ret = bus_register_notifier(&platform_bus_type, &vgm_bus_notifier);
	if (ret)
		return ret;
	bus_for_each_dev(&platform_bus_type, NULL, NULL, vgm_claim_one);
	ret = platform_driver_register(&vgm_iommu_driver);
	if (ret)
		goto unclaim;
	vgm_take_over();
	ret = platform_driver_register(&vgm_driver);
	if (ret)
		goto unregister_iommu;
	return 0;

unregister_iommu:
	platform_driver_unregister(&vgm_iommu_driver);
unclaim:
	vgm_unclaim_all();
	return ret;
}
module_init(vgm_init);

static void __exit vgm_exit(void)
{
	/* It probes, and what is probed meanwhile may ask for it again. */
	cancel_delayed_work_sync(&vgm_absent_work);
	platform_driver_unregister(&vgm_driver);
	cancel_delayed_work_sync(&vgm_absent_work);
	platform_driver_unregister(&vgm_iommu_driver);
	vgm_unclaim_all();
}
module_exit(vgm_exit);

MODULE_DESCRIPTION("virtio over memory-mapped registers and Xen grants");
MODULE_AUTHOR("The virtio-grant authors");
MODULE_LICENSE("GPL");
