// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_mmio.c - the registers of virtio-mmio (backend/transport/mmio.c): each
 * access is answered once, whatever it is.
 */
#include "held.h"
#include "virtio/device_priv.h"

/* ---- registers ---------------------------------------------------------- */

static void test_identity(void **state)
{
	struct host *h = *state;
	unsigned int at;

	assert_int_equal(host_read(h, 0x000), 0x74726976);
	assert_int_equal(host_read(h, 0x004), 2);
	assert_int_equal(host_read(h, 0x008), 42);
	assert_int_equal(host_read(h, 0x00c), VG_MMIO_VENDOR);
	assert_int_equal(host_read(h, 0x070), 0);
	/* No shared memory region: length and base of -1. */
	host_write(h, 0x0ac, 0);
	for (at = 0x0b0; at <= 0x0bc; at += 4)
		assert_int_equal(host_read(h, at), 0xffffffff);
	/* No extension without the host's part of it. */
	for (at = 0x0d0; at < 0x0fc; at += 4)
		assert_int_equal(host_read(h, at), 0);
	assert_int_equal(stats(h)->bad_accesses, 0);
}

/* Every offset, width and direction: an answer, and no harm. */
static void test_garbage(void **state)
{
	static const uint32_t values[] = { 0, 1, 2, 0x80, 0xffffffff };
	struct host *h = *state;
	unsigned int offset, len, v;
	uint32_t data;

	for (offset = 0; offset < 0x200; offset++)
		for (len = 1; len <= 4; len *= 2) {
			assert_true(host_access(h, offset, len, false, 0,
						&data));
			for (v = 0; v < ARRAY_SIZE(values); v++)
				assert_true(host_access(h, offset, len, true,
							values[v], &data));
		}
	assert_true(stats(h)->bad_accesses > 1000);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
}

static void test_widths(void **state)
{
	struct host *h = *state;
	uint32_t v;

	assert_true(host_access(h, 0, 1, false, 0, &v));
	assert_int_equal(v, 0);
	assert_true(host_access(h, 2, 2, false, 0, &v));
	assert_int_equal(v, 0);
	assert_true(host_access(h, VIRTIO_MMIO_STATUS, 1, true, 1, &v));
	assert_int_equal(host_read(h, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(stats(h)->bad_accesses, 3);
}

static void test_config_space(void **state)
{
	const uint64_t none[VG_DEV_WORDS] = { 0 };
	struct host *h = *state;
	uint32_t v;

	assert_true(host_access(h, 0x100, 4, false, 0, &v));
	assert_int_equal(v, 0x04030201);
	assert_true(host_access(h, 0x106, 2, false, 0, &v));
	assert_int_equal(v, 0x0807);
	assert_true(host_access(h, 0x103, 1, false, 0, &v));
	assert_int_equal(v, 4);
	assert_true(host_access(h, 0x102, 2, true, 0xbbaa, &v));
	assert_int_equal(held.config[2], 0xaa);
	assert_int_equal(held.config[3], 0xbb);
	assert_int_equal(stats(h)->bad_accesses, 0);
	/* Misaligned, over the end, behind it. */
	assert_true(host_access(h, 0x101, 2, false, 0, &v));
	assert_int_equal(v, 0);
	assert_true(host_access(h, 0x106, 4, false, 0, &v));
	assert_true(host_access(h, 0x108, 4, false, 0, &v));
	assert_int_equal(v, 0);
	assert_true(host_access(h, 0x10a, 1, false, 0, &v));
	assert_true(host_access(h, 0x1ff, 1, true, 7, &v));
	assert_int_equal(stats(h)->bad_accesses, 5);
	v = host_read(h, VIRTIO_MMIO_CONFIG_GENERATION);
	vg_device_config_changed(h->dev);
	assert_int_not_equal(host_read(h, VIRTIO_MMIO_CONFIG_GENERATION), v);
	vg_device_work_later(h->dev);
	host_run(h);
	assert_int_equal(h->irqs_config, 0);	/* no driver to tell */
	/* It is told when it is there; what is reset has nothing to tell. */
	host_start_driver(h, 64, 0);
	assert_int_equal(h->irqs_config, 1);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	host_run(h);
	vg_device_config_changed(h->dev);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	host_run(h);
	host_start_driver(h, 64, 0);
	assert_int_equal(h->irqs_config, 1);
	assert_int_equal(vg_device_resized(h->dev, none), -EOPNOTSUPP);
}

static void test_features(void **state)
{
	struct host *h = *state;
	uint64_t f = host_features(h);

	assert_true(f == (UINT64_C(1) << 5 | UINT64_C(1) << 28 |
			  UINT64_C(1) << 29 | UINT64_C(1) << 32 |
			  UINT64_C(1) << 33 | UINT64_C(1) << 40));
	host_write(h, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(host_read(h, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	host_write(h, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	assert_int_equal(host_read(h, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void test_queue_registers(void **state)
{
	struct host *h = *state;
	struct flat_queue q;

	drv_init(&q, &h->f, 16);
	host_write(h, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	host_write(h, VIRTIO_MMIO_QUEUE_SEL, 2);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	host_write(h, VIRTIO_MMIO_QUEUE_SEL, 0xffffffff);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(stats(h)->bad_accesses, 0);
	/* Not before FEATURES_OK. */
	host_set_queue(h, 0, &q);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(h->f.rings_now, 0);
	try_features(h, host_features(h));
	host_set_queue(h, 0, &q);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(h->f.rings_now, 3);
	/* While it is ready it stays as it is. */
	host_write(h, VIRTIO_MMIO_QUEUE_NUM, 3);
	host_write(h, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(h->f.rings_now, 0);
	host_write(h, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(h->f.rings_now, 3);
	host_write(h, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(h->f.rings_now, 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_QUEUE_READY), 0);
}

/*
 * Registers, notifications, rings and completions in random order: every
 * access is answered, nothing leaks, nothing crashes.
 */
static uint32_t rng_state = 1u;

static uint32_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 17;
	rng_state ^= rng_state << 5;
	return rng_state;
}

static struct {
	bool waits[4];			/* vCPUs, each for its last access */
	uint64_t asked, replied, given_up;
} count;

static void take_replies(struct host *h)
{
	for (; h->nr_replies; count.replied++) {
		unsigned int vcpu = h->reply[--h->nr_replies].vcpu;

		assert_true(count.waits[vcpu]);
		count.waits[vcpu] = false;
	}
}


/* Not answered at once, maybe, or together with others. */
static void raw(struct host *h, uint32_t offset, uint32_t len, bool is_write,
		uint32_t data)
{
	struct vg_reg_access a = {
		.vcpu = rng() % 4, .seq = rng(), .offset = offset,
		.len_bytes = len, .is_write = is_write, .data = data,
	};

	take_replies(h);
	count.given_up += count.waits[a.vcpu];
	count.waits[a.vcpu] = true;
	count.asked++;
	vg_mmio_access(h->mmio, &a);
}

static void random_step(struct host *h, struct flat_queue *q)
{
	static const uint32_t status[] = { 0, 1, 3, 11, 15, 0x80, 0xff };
	switch (rng() % 12) {
	case 0:
		raw(h, rng() % 0x200, 1u << rng() % 3, rng() & 1,
		    rng() & 1 ? rng() : rng() % 4);
		break;
	case 1:
		raw(h, VIRTIO_MMIO_STATUS, 4, true, status[rng() % 7]);
		break;
	case 2:
		host_accept(h, host_features(h));
		raw(h, VIRTIO_MMIO_STATUS, 4, true, 11);
		break;
	case 3:
		host_set_queue(h, rng() % 3, q);
		break;
	case 4:
		raw(h, rng() & 1 ? VIRTIO_MMIO_QUEUE_READY :
		    VIRTIO_MMIO_QUEUE_RESET, 4, true, rng() % 2);
		break;
	case 5:
		q->avail->idx = htole16((uint16_t)rng());
		break;
	case 6:
		q->desc[rng() % q->num].flags = htole16((uint16_t)(rng() % 8));
		break;
	case 7:
		vg_device_queue_notify(h->dev, rng() % 4);
		break;
	case 8:
	case 9:
		if (held.nr)
			complete(1 + rng() % held.nr);
		break;
	case 10:
		vg_loop_run_once(h->loop, 0);
		break;
	case 11:
		q->avail_idx = le16toh(q->avail->idx);
		add(h, q);
		vg_device_queue_notify(h->dev, 0);
		break;
	}
}

static void test_random(void **state)
{
	struct host *h = *state;
	unsigned int i;

	h->vcpu = 4;
	for (i = 0; i < 200000; i++) {
		if (i % 64 == 0) {
			h->f.next = 4096;
			memset(h->f.ram, 0, 1 << 18);
			drv_init(&h->q, &h->f, 16);
		}
		random_step(h, &h->q);
		take_replies(h);
		if (held.nr > 64)
			complete(held.nr);
	}
	complete(held.nr);
	host_run(h);
	take_replies(h);
	/* Each once, sooner or later, but for what nobody waits for. */
	assert_int_equal(count.replied, count.asked - count.given_up);
	assert_true(count.given_up > 0);
	assert_true(held.started > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity), T(test_garbage), T(test_widths),
		T(test_config_space), T(test_features),
		T(test_queue_registers), T(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
