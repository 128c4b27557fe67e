// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * life_kunit.c - the life and death of a device (queue/life_kunit.c) over a register
 * window that is plain memory.
 */
#include <kunit/test.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/xenbus.h>
#include <asm/xen/hypercall.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_mmio.h>

#include "mmio/kunit_priv.h"
#include "queue/life_kunit.h"

struct window {
	struct platform_device *pdev;
	void __iomem *base;
	int irq;
	domid_t backend;
	u8 running[WINDOW_BYTES];	/* what it was before nobody answered */
};

static struct window *window_of(struct life *life)
{
	return life->priv;
}

static void window_reg(struct life *life, unsigned int offset, u32 value)
{
	writel(value, window_of(life)->base + offset);
}

static void window_nobody(struct life *life)
{
	struct window *window = window_of(life);

	memcpy_fromio(window->running, window->base, WINDOW_BYTES);
	memset_io(window->base, 0xff, WINDOW_BYTES);
}

static void window_is_back(struct life *life)
{
	struct window *window = window_of(life);

	memcpy_toio(window->base, window->running, WINDOW_BYTES);
}

static void window_set_status(struct life *life, u8 status)
{
	window_reg(life, VIRTIO_MMIO_STATUS, status);
}

static void window_forgets(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_STATUS, 0x7);
}

static void window_starts_anew(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_STATUS, 0);
	window_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

static void window_needs_reset(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_STATUS,
		   readl(window_of(life)->base + VIRTIO_MMIO_STATUS) |
		   VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void window_is_another(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_VENDOR_ID, LIFE_VENDOR + 1);
}

static void window_is_no_device(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_DEVICE_ID, 0);
}

static void window_is_none(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_MAGIC_VALUE, 0);
}

static void window_has_no_queue(struct life *life)
{
	window_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

/* Memory does not know that it was. */
static void window_was_reset(struct life *life)
{
	if (readl(window_of(life)->base + VIRTIO_MMIO_QUEUE_READY) == 1)
		window_reg(life, VIRTIO_MMIO_QUEUE_READY, 0);
}

static void window_heal(struct life *life)
{
	memset_io(window_of(life)->base, 0, WINDOW_BYTES);
	window_reg(life, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
	window_reg(life, VIRTIO_MMIO_VERSION, 2);
	window_reg(life, VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_BLOCK);
	window_reg(life, VIRTIO_MMIO_VENDOR_ID, LIFE_VENDOR);
	window_reg(life, VIRTIO_MMIO_DEVICE_FEATURES, BOTH_FEATURES);
	window_reg(life, VIRTIO_MMIO_QUEUE_NUM_MAX, LIFE_RING);
}

static int window_create(struct life *life)
{
	struct window *window = window_of(life);

	return vgm_create(window->pdev, window->base, window->irq,
			  window->backend);
}

static void window_destroy(struct life *life)
{
	vgm_remove(window_of(life)->pdev);
}

#ifdef CONFIG_PM_SLEEP
static int window_freeze(struct life *life)
{
	return vgm_freeze(&window_of(life)->pdev->dev);
}

static int window_restore(struct life *life)
{
	return vgm_restore(&window_of(life)->pdev->dev);
}
#endif

static const struct life_fault window_faults[] = {
	{ "nobody", window_nobody },
	{ "forgets", window_forgets },
	{ "starts anew", window_starts_anew },
	{ "needs reset", window_needs_reset },
	{ "is another", window_is_another },
	{ "is no device", window_is_no_device },
	{ "is no window", window_is_none },
	{ "has no queue", window_has_no_queue, true },
};

static const struct life_carrier window_carrier = {
	.faults = window_faults,
	.nr_faults = ARRAY_SIZE(window_faults),
	.heal = window_heal,
	.nobody = window_nobody,
	.is_back = window_is_back,
	.set_status = window_set_status,
	.was_reset = window_was_reset,
	.create = window_create,
	.destroy = window_destroy,
#ifdef CONFIG_PM_SLEEP
	.freeze = window_freeze,
	.restore = window_restore,
#endif
};

static irqreturn_t window_interrupt(int irq, void *opaque)
{
	return IRQ_NONE;
}

/* An interrupt line, which the device shares. */
static int window_irq_init(struct window *window)
{
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = 0,
	};
	int ret = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);

	if (ret)
		return ret;
	window->irq = bind_evtchn_to_irqhandler(alloc.port, window_interrupt,
						IRQF_SHARED, "life", window);
	return min(window->irq, 0);
}

static int window_init(struct kunit *test)
{
	struct window *window = kunit_kzalloc(test, sizeof(*window), GFP_KERNEL);
	void *memory = kunit_kzalloc(test, WINDOW_BYTES, GFP_KERNEL);
	int ret;

	if (!window || !memory)
		return -ENOMEM;
	window->base = (void __iomem __force *)memory;
	window->pdev = platform_device_register_simple("vgm-life", PLATFORM_DEVID_NONE,
						       NULL, 0);
	if (IS_ERR(window->pdev))
		return PTR_ERR(window->pdev);
	ret = window_irq_init(window);
	if (ret)
		goto unregister_pdev;
	ret = life_init(test, &window_carrier, window);
	if (!ret)
		return 0;

	unbind_from_irqhandler(window->irq, window);
unregister_pdev:
	platform_device_unregister(window->pdev);
	return ret;
}

static void window_exit(struct kunit *test)
{
	struct life *life = test->priv;
	struct window *window;

	if (!life)
		return;
	window = window_of(life);
	life_exit(test);
	unbind_from_irqhandler(window->irq, window);
	platform_device_unregister(window->pdev);
}

/* The guest goes down: after a kexec there is nothing that the backend could see. */
static void life_test_ungrants(struct kunit *test)
{
	struct life *life = test->priv;
	struct window *window = window_of(life);
	unsigned int i;
	u32 self;

	KUNIT_ASSERT_EQ(test, xenbus_scanf(XBT_NIL, "domid", "", "%u", &self), 1);
	window->backend = self;
	for (i = 0; i < 2; i++) {
		life_begins(life, LIFE_STAGES, NULL);
		KUNIT_EXPECT_EQ(test, life_pages_granted(life, self), 2U);
		/* The second one does not even answer. */
		if (i)
			window_nobody(life);
		vgm_shutdown(window->pdev);
		KUNIT_EXPECT_EQ(test, life_pages_granted(life, self), 0U);
		life_ends(life, "ungrants");
	}
}

static struct kunit_case life_test_cases[] = {
	KUNIT_CASE_SLOW(life_test_awake),
	KUNIT_CASE_SLOW(life_test_removal),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_sleep),
#endif
	KUNIT_CASE_SLOW(life_test_every_bit_of_status),
	KUNIT_CASE_SLOW(life_test_silence),
	KUNIT_CASE_SLOW(life_test_shortage),
	KUNIT_CASE(life_test_broken_ring),
	KUNIT_CASE_SLOW(life_test_leaves_in_vain),
	KUNIT_CASE_SLOW(life_test_probe_hangs),
	KUNIT_CASE(life_test_bound_while_going),
	KUNIT_CASE_SLOW(life_test_leaves_often),
#ifdef CONFIG_PM_SLEEP
	KUNIT_CASE_SLOW(life_test_sleeps_alone),
#endif
	KUNIT_CASE(life_test_ungrants),
	{ }
};

static struct kunit_suite life_test_suite = {
	.name = "virtio_grant_mmio_life",
	.init = window_init,
	.exit = window_exit,
	.test_cases = life_test_cases,
};

kunit_test_suite(life_test_suite);
