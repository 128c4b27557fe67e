// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_rng.c - the entropy device (backend/dev/rng/) over flat memory: what it
 * writes, how much of it, and what a driver can do to it.
 */
#include <string.h>

#include <linux/virtio_ids.h>

#include "dev/type.h"
#include "host.h"

extern const struct vg_dev_type vg_dev_rng;

static struct host *with_rate(uint64_t rate)
{
	struct vg_dev_parts parts;
	struct host *h;

	vg_dev_parts_init(&parts);
	parts.blob[0] = rate;
	h = host_create(&vg_dev_rng, &parts);
	host_start_driver(h, 16, 0);
	return h;
}

static int teardown(void **state)
{
	if (*state)
		host_destroy(*state);
	return 0;
}

/*
 * A buffer of @len bytes at @at; its driver waits for it no longer than a
 * second.
 */
static void post(struct host *h, unsigned int at, uint32_t len)
{
	struct drv_buf b = { VG_ADDR_GRANT | (0x200000 + at), len, true };

	memset(h->f.ram + 0x200000 + at, 0, len);
	drv_add(&h->q, &b, 1);
	vg_device_queue_notify(h->dev, 0);
}

/* How many bytes came, within @ms; 0: none. */
static uint32_t got(struct host *h, unsigned int ms)
{
	uint64_t until = vg_now_ns() + ms * UINT64_C(1000000);
	uint32_t id, len;

	do {
		vg_loop_run_once(h->loop, 1);
		if (drv_used(&h->q, &id, &len))
			return len;
	} while (vg_now_ns() < until);
	return 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static void bytes_come(void **state)
{
	static const uint32_t sizes[] = { 1, 7, 64, 4095, 4096 };
	struct host *h = *state = with_rate(1 << 20);
	const uint8_t *ram = h->f.ram + 0x200000;
	uint8_t last[64];
	unsigned int i;

	assert_int_equal(host_read(h, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint32_t n, done = 0;

		/* As much as there is: the driver asks for the rest again. */
		while (done < sizes[i]) {
			post(h, done, sizes[i] - done);
			n = got(h, 1000);
			assert_in_range(n, 1, sizes[i] - done);
			done += n;
		}
		assert_true(is_zero(ram + sizes[i], 16));
	}
	assert_false(is_zero(ram, 4096));
	/* No two are the same. */
	memcpy(last, ram, sizeof(last));
	post(h, 0, 64);
	assert_true(got(h, 1000) > 16);
	assert_memory_not_equal(last, ram, 16);
	assert_int_equal(vg_device_stats(h->dev)->broken, 0);
}

/* Over a second no more than a second's worth, and that of the one before. */
static void rate_is_kept(void **state)
{
	struct host *h = *state = with_rate(20000);
	uint64_t begin = vg_now_ns(), bytes = 0, ns;

	while ((ns = vg_now_ns() - begin) < 1000000000) {
		post(h, 0, 4096);
		bytes += got(h, 100);
	}
	assert_true(bytes <= 20000 + ns * 20000 / 1000000000 + 4096);
	assert_true(bytes >= 30000);
}

/*
 * A buffer as large as Linux' (64 bytes) is filled, whatever is left: 6.12.118
 * waits for ever when it has used up one that was not.
 */
static void small_ones_are_filled(void **state)
{
	struct host *h = *state = with_rate(10000);
	uint64_t begin = vg_now_ns(), bytes = 0, ns;
	unsigned int i;

	for (i = 0; (ns = vg_now_ns() - begin) < 600000000; i++) {
		uint32_t size = i % 2 ? 64 : 7, n;

		post(h, 0, size);
		do
			n = got(h, 100);
		while (!n && vg_now_ns() - begin < 5000000000);
		assert_int_equal(n, size);
		bytes += n;
	}
	assert_true(bytes <= 10000 + ns * 10000 / 1000000000 + 64);
	assert_true(bytes >= 12000);
}

/* What nobody can have yet stays in the ring: a reset need not wait for it. */
static void reset_does_not_wait(void **state)
{
	struct host *h = *state = with_rate(1);
	unsigned int i;
	uint32_t data;

	for (i = 0; i < 8; i++)
		post(h, 4096 * i, 4096);
	while (got(h, 30))
		;
	assert_int_equal(vg_device_stats(h->dev)->in_flight, 0);
	assert_true(host_access(h, VIRTIO_MMIO_STATUS, 4, true, 0, &data));
	host_start_driver(h, 16, 0);
	post(h, 0, 64);
	/* Its rate is the device's, not the driver's. */
	assert_true(got(h, 1500) <= 2);
}

static void nothing_is_read(void **state)
{
	struct host *h = *state = with_rate(65536);
	struct drv_buf b[] = {
		{ VG_ADDR_GRANT | 0x200000, 16, false },
		{ VG_ADDR_GRANT | 0x201000, 16, true },
	};

	drv_add(&h->q, b, 2);
	vg_device_queue_notify(h->dev, 0);
	host_run(h);
	assert_int_equal(vg_device_stats(h->dev)->broken, VG_BROKEN_REQUEST);
	unit_log_start();
	unit_log_stop();
}

static void pieces(void **state)
{
	struct host *h = *state = with_rate(1 << 20);
	struct drv_buf b[16];
	unsigned int i;
	uint32_t n;

	for (i = 0; i < 16; i++) {
		b[i] = (struct drv_buf){ VG_ADDR_GRANT | (0x200000 + 64 * i), 3,
					 true };
		memset(h->f.ram + 0x200000 + 64 * i, 0, 64);
	}
	drv_add(&h->q, b, 16);
	vg_device_queue_notify(h->dev, 0);
	n = got(h, 1000);
	assert_int_equal(n, 48);
	for (i = 0; i < 16; i++)
		assert_true(is_zero(h->f.ram + 0x200000 + 64 * i + 3, 61));
}

/* As the command line and the toolstack say. */
static char *no_key(const struct vg_keys *keys, const char *key)
{
	const char *text = keys->arg;

	if (text && !strcmp(key, "rng-rate"))
		return strdup(text);
	errno = ENOENT;
	return NULL;
}

static int open_with(const char *rate, uint64_t *out, char **why)
{
	struct vg_keys keys = { "/a/node", (void *)(uintptr_t)rate, no_key };
	const struct vg_dev_how how = { .keys = &keys, .nr_queues = 4 };
	const struct vg_dev_host *host = vg_dev_rng.host;
	void *res = host->create(NULL, "dom5 virtio/0");
	struct vg_dev_parts parts;
	int err;

	*why = NULL;
	err = host->open(res, &how, &parts, why);
	*out = parts.blob[0];
	if (!err)
		assert_int_equal(parts.nr_queues, 1);
	host->destroy(res);
	return err;
}

static void options_and_keys(void **state)
{
	static const char *const bad[] = { "", "x", "1 ", "-1", "0",
					   "1073741825", "9999999999" };
	const struct vg_dev_option *o = vg_dev_rng.options;
	unsigned int i;
	uint64_t rate;
	char *why;

	*state = NULL;
	assert_int_equal(open_with(NULL, &rate, &why), 0);
	assert_int_equal(rate, 65536);
	assert_null(o->parse("1000"));
	assert_int_equal(open_with(NULL, &rate, &why), 0);
	assert_int_equal(rate, 1000);
	assert_int_equal(open_with("2000", &rate, &why), 0);
	assert_int_equal(rate, 2000);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *wrong = o->parse(bad[i]);

		/* Both refuse it, in the same words. */
		assert_non_null(wrong);
		assert_int_equal(open_with(bad[i], &rate, &why), -EINVAL);
		assert_non_null(strstr(why, "/a/node/rng-rate"));
		assert_non_null(strstr(why, wrong));
		free(why);
	}
	/* A wrong option changes nothing. */
	assert_int_equal(open_with(NULL, &rate, &why), 0);
	assert_int_equal(rate, 1000);
	assert_null(o->parse("65536"));
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, teardown)
	const struct CMUnitTest tests[] = {
		T(bytes_come), T(rate_is_kept), T(reset_does_not_wait),
		T(small_ones_are_filled),
		T(nothing_is_read), T(pieces), T(options_and_keys),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
