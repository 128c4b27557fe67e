// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus.c - devices on the Xen bus through the whole stack: the nodes that
 * virtio-grantctl or libxl make, the supervisor that opens the device and
 * follows the states of both nodes, the worker that attaches to the driver's
 * page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u

static struct front f;
static struct drv_buf data;

/* No broker: nothing here wants one. */
static int setup(void **state)
{
	(void)state;
	rig_up();
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .has_ranges = true, .has_channels = true };
	rig_guest(GUEST, 1);
	return rig_sup_start();
}

static int teardown(void **state)
{
	(void)state;
	rig.die_at = rig.die_then = 0;
	/* What is mapped is unmapped first: the guest looks. */
	front_nodes_remove(&f);
	rig_until(!rig_worker_of(GUEST));
	if (f.page)
		assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

static struct fake_disk image;

static void disk_make(unsigned int n)
{
	image = rig_disk(GUEST, n);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	f.params = image.params;
	f.devid = n;
	front_nodes_make(&f, 2);
}

/* It reads what the image has, and what it has written. */
static void io(void)
{
	static unsigned int turn;
	uint64_t sector = ++turn % 32 * 8;

	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, sector, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(data.va[5], unit_pattern(sector * 512 + 5));
	memset(data.va, (int)turn, 4096);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_OUT, 1024, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(rig_image_byte(&image, 1024 * 512 + 77),
			 (int)(uint8_t)turn);
}

static void start(void)
{
	assert_true(front_attach(&f));
	assert_int_equal(front_start(&f, 1), 0);
	front_set_state(&f, 4);
	data = front_buf(&f, 8);
}

static void closes(void)
{
	front_ask_close(&f);
	rig_steps(20);
	/* The driver has it: it is being asked. */
	assert_int_equal(front_back_state(&f), 5);
	io();
	assert_int_equal(front_close(&f), 0);
	assert_int_equal(front_back_state(&f), 6);
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void served(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	closes();
}

/* Without ranges and channels: all goes by the page. */
static void served_plainly(void **state)
{
	(void)state;
	f.has_ranges = f.has_channels = false;
	disk_make(0);
	start();
	io();
	assert_in_range(f.page->used_events, 1, 100);
	closes();
}

static void versions_are_said(void **state)
{
	char *v;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	v = fake_store_read(0, front_back_path(&f, "msg-versions"));
	assert_string_equal(v, "1-1");
	free(v);
	front_ask_close(&f);
	assert_true(rig_until(front_back_state(&f) == 6));
}

/* ---- whose the device is ------------------------------------------------ */

/* As libxl writes a disk where it gives no addresses, grant_usage or not. */
static void libxls(void **state)
{
	struct fake_disk disk = rig_disk(GUEST, 0);

	(void)state;
	image = disk;
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	disk.no_grants = true;
	fake_libxl_disk_add(&disk);
	f.kind = "virtio_disk";
	f.devid = disk.devid;
	fake_store_write(0, front_back_path(&f, "base"), "0");
	fake_store_write(0, front_back_path(&f, "irq"), "0");
	start();
	io();
	/* xl block-detach: asked, let go, closed, removed. */
	fake_libxl_disk_close(&disk);
	rig_steps(10);
	io();
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	fake_libxl_disk_remove(&disk);
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void refused(void **state)
{
	char *why;

	(void)state;
	/* Before anything else: the guest has not even been asked. */
	f.params = "/nowhere/at/all";
	front_nodes_make(&f, 2);
	assert_true(rig_until(front_back_state(&f) == -1));
	why = fake_store_read(0, "/local/domain/1/error/backend/virtio_grant/3/0/error");
	assert_non_null(why);
	assert_non_null(strstr(why, "/nowhere/at/all"));
	free(why);
	front_nodes_remove(&f);
	rig_steps(10);
	/* A front of somebody else. */
	disk_make(1);
	fake_store_write(0, front_back_path(&f, "frontend"),
			 "/local/domain/4/device/virtio_grant/1");
	assert_true(rig_until(front_back_state(&f) == -1));
	assert_true(unit_logged("is not its front"));
}

/* For a while; a device that was moved, for as long as it is there. */
static void no_worker_can_be_started(void **state)
{
	uint64_t until;

	(void)state;
	rig_sup_stop();
	rig.cfg.new_try_ns = UINT64_C(300000000);
	assert_int_equal(rig_sup_start(), 0);
	rig.spawn_fails = 3;
	disk_make(0);
	start();
	assert_int_equal(rig.spawn_fails, 0);
	io();
	assert_int_equal(front_close(&f), 0);
	front_nodes_remove(&f);
	assert_true(rig_until(!rig_worker_of(GUEST)));

	rig.spawn_fails = 1000000;
	disk_make(1);
	assert_true(rig_until(unit_logged("no worker can be started")));
	assert_int_not_equal(front_back_state(&f), -1);
	assert_true(rig_until(front_back_state(&f) == -1));
	front_nodes_remove(&f);
	rig_steps(10);

	/* Whatever the reason. */
	rig.spawn_error = EACCES;
	disk_make(2);
	fake_store_write(0, front_back_path(&f, "moved"), "1");
	for (until = rig_now_ms() + 600; rig_now_ms() < until; )
		rig_step();
	assert_int_not_equal(front_back_state(&f), -1);
	rig.spawn_fails = 0;
	start();
	io();
	assert_int_equal(front_close(&f), 0);
}

static void another_type(void **state)
{
	struct virtio_grant_msg_device_info i;

	(void)state;
	front_nodes_make(&f, 4);		/* an entropy device */
	assert_true(front_attach(&f));
	assert_int_equal(front_msg(&f, VIRTIO_GRANT_MSG_GET_DEVICE_INFO, NULL,
				   0, &i, sizeof(i)), sizeof(i));
	assert_int_equal(i.device_id, 4);
	assert_int_equal(front_close(&f), 0);
	front_ask_close(&f);
	assert_true(rig_until(front_back_state(&f) == 6));
}

/* ---- coming and going --------------------------------------------------- */

static void closes_and_returns(void **state)
{
	unsigned int i;

	(void)state;
	disk_make(0);
	for (i = 0; i < 5; i++) {
		start();
		io();
		assert_int_equal(front_close(&f), 0);
		assert_true(rig_until(front_back_state(&f) == 6));
		rig_steps(20);
		front_set_state(&f, 1);
		assert_true(rig_until(front_back_state(&f) == 2));
	}
	front_ask_close(&f);
	assert_true(rig_until(front_back_state(&f) == 6));
}

/* It closes without a word, with requests under way and all mapped. */
static void closes_silently(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	front_set_state(&f, 6);
	assert_true(rig_until(front_back_state(&f) == 6));
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

/* It closes: back and worker stay, and have nothing of it any more. */
static void shuts(void)
{
	disk_make(0);
	start();
	io();
	front_set_state(&f, 5);
	assert_true(rig_until(front_back_state(&f) == 5));
	rig_steps(20);
	assert_int_equal(front_back_state(&f), 5);
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
}

/* A guest shuts down, or a crashed one's next kernel does it: as Xen's own. */
static void shuts_down(void **state)
{
	(void)state;
	shuts();
	front_set_state(&f, 6);
	assert_true(rig_until(front_back_state(&f) == 6));
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

static void begins_while_closing(void **state)
{
	(void)state;
	shuts();
	front_set_state(&f, 1);
	assert_true(rig_until(front_back_state(&f) == 2));
	start();
	io();
	closes();
}

static void removed_while_closing(void **state)
{
	(void)state;
	shuts();
	front_ask_close(&f);
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

/* A driver that was replaced at once: nobody saw it go. */
static void starts_again(void **state)
{
	struct front old;

	(void)state;
	disk_make(0);
	start();
	io();
	old = f;
	f.page = NULL;
	f.pool.pages = f.pool_used = f.d.hdrs.pages = 0;
	front_page_make(&f);
	assert_true(rig_until(fake_grant_maps(GUEST, f.ref) == 1));
	assert_true(rig_until(fake_grant_maps(GUEST, old.ref) == 0));
	/* It resets what the one before had set up. */
	assert_int_equal(front_status(&f), 15);
	assert_int_equal(front_start(&f, 1), 0);
	assert_int_equal(front_exit(&old), 0);
	data = front_buf(&f, 8);
	front_set_state(&f, 4);
	io();
	closes();
}

/* The same numbers again: known by its state alone. */
static void starts_again_as_before(void **state)
{
	xen_port_t port;

	(void)state;
	disk_make(0);
	start();
	io();
	rig_steps(10);
	/* Which is closed to the device, although it has the same number. */
	port = f.port;
	fake_guest_close(GUEST, f.port);
	f.port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);
	assert_int_equal(f.port, port);
	memset(f.page, 0, sizeof(*f.page));
	f.page->magic = VIRTIO_GRANT_BUS_MAGIC;
	f.page->version = VIRTIO_GRANT_BUS_VERSION;
	f.seq = 0;
	front_set_state(&f, 3);
	rig_steps(20);
	assert_int_equal(front_status(&f), 15);
	closes();
}

static void front_vanishes(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	fake_store_rm(0, front_path(&f, ""));
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
}

static void domain_vanishes(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	fake_domain_destroy(GUEST);
	fake_store_rm(0, "/local/domain/3");
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
	f.page = NULL;
}

static void not_after_all(void **state)
{
	(void)state;
	disk_make(0);
	start();
	front_ask_close(&f);
	rig_steps(10);
	io();
	fake_store_write(0, front_back_path(&f, "online"), "1");
	fake_store_write(0, front_back_path(&f, "state"), "4");
	rig_steps(10);
	io();
	assert_int_equal(front_back_state(&f), 4);
	closes();
}

/* xl's forced removal: the front goes first. */
static void forced(void **state)
{
	(void)state;
	disk_make(0);
	start();
	fake_store_rm(0, front_path(&f, ""));
	front_ask_close(&f);
	assert_true(rig_until(front_back_state(&f) == 6));
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
}

/* And then the toolstack wants it no more: there is nobody to ask. */
static void removed_while_closed(void **state)
{
	(void)state;
	disk_make(0);
	start();
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	rig_steps(20);
	assert_true(rig_worker_of(GUEST));
	fake_store_write(0, front_back_path(&f, "online"), "0");
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

/* Its driver has closed, and then the daemon ends. */
static void closed_and_stopped(void)
{
	disk_make(0);
	start();
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	rig_sup_stop();
	rig_until(!rig_worker_of(GUEST));
}

static void closed_by_itself_is_no_leftover(void **state)
{
	(void)state;
	closed_and_stopped();
	assert_int_equal(rig_sup_start(), 0);
	rig_steps(20);
	assert_true(fake_store_exists(front_back_path(&f, "")));
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

/* The guest had it, and will want it again: what fails meanwhile, passes. */
static void storage_is_away_between_two_drivers(void **state)
{
	char away[512];

	(void)state;
	closed_and_stopped();
	snprintf(away, sizeof(away), "%s.away", image.params);
	assert_int_equal(rename(image.params, away), 0);
	assert_int_equal(rig_sup_start(), 0);
	rig_steps(20);
	assert_int_equal(front_back_state(&f), 6);
	assert_int_equal(rename(away, image.params), 0);
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

/* ---- an image that grows ------------------------------------------------ */

static void image_is(uint64_t bytes)
{
	assert_int_equal(truncate(image.params, (off_t)bytes), 0);
}

static uint64_t capacity(void)
{
	const struct virtio_grant_msg_get_config c = { .length = 8 };
	struct {
		uint32_t generation, offset, length;
		uint64_t sectors;
	} __attribute__((packed)) m;
	int n = front_msg(&f, VIRTIO_GRANT_MSG_GET_CONFIG, &c, sizeof(c), &m,
			  sizeof(m));

	assert_int_equal(n, sizeof(m));
	assert_int_equal(m.length, 8);
	return m.sectors;
}

/* Through the last sector, and not one further. */
static void use_the_end(uint64_t sectors)
{
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_OUT, sectors - 8, &data, 0,
				   4096), VIRTIO_BLK_S_OK);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, sectors, &data, 0, 512),
			 VIRTIO_BLK_S_IOERR);
}

static void ask_resize(void)
{
	fake_store_write(0, front_back_path(&f, "resize"), "1");
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, "resize"))));
}

/* By the key, at which virtio-grantd looks at this device alone. */
static void grows(void **state)
{
	const uint64_t sectors = RIG_IMAGE_BYTES / 512;
	uint32_t told;

	(void)state;
	disk_make(0);
	start();
	io();
	assert_int_equal(capacity(), sectors);
	told = f.page->config_events;
	image_is(2 * RIG_IMAGE_BYTES);
	rig_steps(5);
	assert_int_equal(capacity(), sectors);
	fake_guest_take_event(GUEST, f.port);
	ask_resize();
	assert_true(rig_until(f.page->config_events != told));
	assert_true(fake_guest_take_event(GUEST, f.port));
	assert_int_equal(f.page->config_events, told + 1);
	assert_int_equal(capacity(), 2 * sectors);
	use_the_end(2 * sectors);
	io();
	/* Told once, and nothing of what is no change or is refused. */
	ask_resize();
	image_is(RIG_IMAGE_BYTES);
	ask_resize();
	rig_steps(20);
	assert_true(unit_logged("a disk does not shrink while it is used"));
	assert_true(fake_store_exists("/local/domain/1/error/backend/virtio_grant/3/0/error"));
	assert_int_equal(f.page->config_events, told + 1);
	image_is(3 * RIG_IMAGE_BYTES);
	ask_resize();
	assert_true(rig_until(f.page->config_events == told + 2));
	assert_true(rig_until(!fake_store_exists("/local/domain/1/error/backend/virtio_grant/3/0/error")));
	assert_int_equal(capacity(), 3 * sectors);
	use_the_end(3 * sectors);
	closes();
}

/* Its driver is not there: the next one finds the size that there is. */
static void grows_before_its_driver(void **state)
{
	const uint64_t sectors = RIG_IMAGE_BYTES / 512;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	image_is(2 * RIG_IMAGE_BYTES);
	ask_resize();
	start();
	assert_int_equal(capacity(), 2 * sectors);
	use_the_end(2 * sectors);
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	image_is(3 * RIG_IMAGE_BYTES);
	ask_resize();
	front_set_state(&f, 1);
	assert_true(rig_until(front_back_state(&f) == 2));
	start();
	assert_int_equal(capacity(), 3 * sectors);
	use_the_end(3 * sectors);
	closes();
}

/* ---- drivers that are wrong --------------------------------------------- */

/* Its state, and that no worker has died of it. */
static void stays(long back_state)
{
	rig_steps(30);
	assert_int_equal(front_back_state(&f), back_state);
	assert_true(rig_worker_of(GUEST));
	assert_false(unit_logged("ended unexpectedly"));
}

static void key(const char *name, const char *value)
{
	fake_store_write(GUEST, front_path(&f, name), "%s", value);
}

static void wrong_keys(void **state)
{
	static const struct { const char *name, *value, *says; } cases[] = {
		{ "msg-version", "2", "speaks version 2 of the bus, and this backend 1" },
		{ "msg-version", "", "msg-version: \"\" is no decimal number" },
		{ "msg-ref", "0x10", "msg-ref: \"0x10\" is no decimal number" },
		{ "msg-ref", "4294967296", "msg-ref: \"4294967296\" is out of range" },
		{ "msg-port", "-1", "msg-port: \"-1\" is no decimal number" },
		{ "msg-backend-id", "1 ", "msg-backend-id: \"1 \" is no decimal number" },
		{ "msg-backend-id", "7", NULL },
		{ "msg-port", "99", "its event channel 99" },
		{ "msg-ref", "40000", "its page, grant reference 40000" },
	};
	unsigned int i;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		unit_log_start();
		front_page_make(&f);
		/* Before the daemon has looked at it. */
		key(cases[i].name, cases[i].value);
		stays(2);
		if (cases[i].says && !unit_logged(cases[i].says)) {
			unit_log_dump();
			fail_msg("nothing said of %s", cases[i].says);
		}
		/* And then right. */
		front_keys_write(&f);
		assert_true(rig_until(front_back_state(&f) == 4));
		assert_int_equal(front_status(&f), 0);
		assert_int_equal(front_close(&f), 0);
		assert_true(rig_until(front_back_state(&f) == 6));
		front_set_state(&f, 1);
		assert_true(rig_until(front_back_state(&f) == 2));
	}
	/* Missing. */
	fake_store_rm(GUEST, front_path(&f, "msg-port"));
	fake_store_write(GUEST, front_path(&f, "msg-backend-id"), "1");
	front_set_state(&f, 3);
	stays(2);
	front_set_state(&f, 1);
}

static void wrong_page(void **state)
{
	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	front_page_make(&f);
	f.page->magic = 0x12345678;
	stays(2);
	assert_true(unit_logged("no message page (magic 0x12345678, not 0x31626776)"));
	f.page->magic = VIRTIO_GRANT_BUS_MAGIC;
	f.page->version = 7;
	assert_true(rig_until(unit_logged("is of version 7, and this backend speaks 1") ||
			      front_back_state(&f) == 4));
	f.page->version = 1;
	assert_true(rig_until(front_back_state(&f) == 4));
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	/* Granted read-only. */
	front_set_state(&f, 1);
	assert_true(rig_until(front_back_state(&f) == 2));
	front_page_make(&f);
	fake_grant_end(GUEST, f.ref);
	fake_grant_at(GUEST, f.ref, RIG_BACKEND, f.pfn, true);
	stays(2);
	assert_true(unit_logged("its page, grant reference"));
}

/* Xen forbids it: the operator is told what to do, where he looks. */
static void forbidden(void **state)
{
	char *why;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	fake_fail_nth(RIG_BACKEND, FAKE_EVTCHN_BIND, FAKE_EVERY, EPERM);
	front_page_make(&f);
	stays(2);
	assert_true(unit_logged("Xen's XSM forbids event channels"));
	assert_int_equal(fake_grant_maps(GUEST, f.ref), 0);
	why = fake_store_read(0, "/local/domain/1/error/backend/virtio_grant/3/0/error");
	assert_non_null(why);
	assert_non_null(strstr(why, "xsm=dummy"));
	free(why);
	fake_fail_nth(RIG_BACKEND, FAKE_EVTCHN_BIND, 0, 0);
	assert_true(rig_until(front_back_state(&f) == 4));
	assert_false(fake_store_exists("/local/domain/1/error/backend/virtio_grant/3/0/error"));
}

/* States in any order, and what is none. */
static void wrong_states(void **state)
{
	static const char *const words[] = {
		"2", "4", "6", "0", "7", "", "x", "5", "3", "44", "1", "6", "2",
	};
	unsigned int i;

	(void)state;
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		key("state", words[i]);
		rig_steps(5);
		assert_true(rig_worker_of(GUEST));
	}
	front_set_state(&f, 1);
	start();
	io();
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		key("state", words[i]);
		rig_steps(i % 3);
	}
	rig_steps(30);
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

/* ---- two ---------------------------------------------------------------- */

static void two_devices(void **state)
{
	struct fake_disk images[2];
	struct front two[2];
	struct drv_buf datas[2];
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
				    .has_ranges = i, .has_channels = !i };
		disk_make(i);
		start();
		two[i] = f;
		images[i] = image;
		datas[i] = data;
	}
	for (i = 0; i < 10; i++) {
		f = two[i % 2];
		image = images[i % 2];
		data = datas[i % 2];
		io();
		two[i % 2] = f;
	}
	/* The one breaks; the other does not notice. */
	f = two[0];
	f.d.q[0].avail->idx = 500;
	fake_guest_notify(GUEST, f.d.q[0].port);
	rig_steps(10);
	assert_int_equal(front_status(&f), 15 | 64);
	assert_true(f.page->config_events);
	assert_int_equal(front_close(&f), 0);
	f = two[1];
	image = images[1];
	data = datas[1];
	io();
	f = two[0];
	front_nodes_remove(&f);
	f = two[1];
}

/* ---- the daemon's deaths ------------------------------------------------ */

static void sup_again(void)
{
	rig_sup_kill();
	rig_until(!rig_worker_of(GUEST));
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(10);
}

static void worker_again(void)
{
	rig_worker_kill(rig_worker_of(GUEST));
	rig_steps(2);
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(10);
}

/* In each state that a device can be in. */
static void die_everywhere(void (*again)(void))
{
	disk_make(0);
	assert_true(rig_until(front_back_state(&f) == 2));
	again();
	assert_int_equal(front_back_state(&f), 2);
	front_page_make(&f);
	again();
	assert_true(rig_until(front_back_state(&f) == 4));
	assert_int_equal(front_negotiate(&f), 0);
	again();
	assert_int_equal(front_status(&f), 11);
	assert_int_equal(front_start(&f, 1), 0);
	data = front_buf(&f, 8);
	again();
	io();
	front_set_state(&f, 4);
	rig_steps(5);
	again();
	io();
	front_ask_close(&f);
	rig_steps(5);
	again();
	assert_int_equal(front_back_state(&f), 5);
	io();
	fake_store_write(0, front_back_path(&f, "online"), "1");
	fake_store_write(0, front_back_path(&f, "state"), "4");
	rig_steps(5);
	io();
	assert_int_equal(front_close(&f), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	again();
	assert_int_equal(front_back_state(&f), 6);
	front_set_state(&f, 1);
	start();
	again();
	io();
	closes();
}

static void daemon_ends_while_closing(void **state)
{
	(void)state;
	shuts();
	sup_again();
	assert_int_equal(front_back_state(&f), 5);
	front_set_state(&f, 6);
	assert_true(rig_until(front_back_state(&f) == 6));
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

static void supervisor_dies(void **state)
{
	(void)state;
	die_everywhere(sup_again);
	assert_false(unit_logged("needs reset"));
}

static void worker_dies(void **state)
{
	(void)state;
	rig.cfg.respawn_calm_ns = 1;
	die_everywhere(worker_again);
	assert_false(unit_logged("needs reset"));
}

/* A request that nobody had taken when the process died. */
static void request_outlives(void **state)
{
	struct virtio_grant_bus_ping p = { 77 };

	(void)state;
	disk_make(0);
	start();
	rig_worker_kill(rig_worker_of(GUEST));
	front_send(&f, FRONT_BUS | VIRTIO_GRANT_BUS_PING, &p, sizeof(p));
	assert_true(rig_until(front_is_answered(&f)));
	p.data = 0;
	assert_int_equal(front_answer(&f, &p, sizeof(p)), 4);
	assert_int_equal(p.data, 77);
	io();
	closes();
}

/* The driver went while nobody was there: what it left is given back. */
static void goes_meanwhile(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	rig_sup_kill();
	rig_until(!rig_worker_of(GUEST));
	front_set_state(&f, 6);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(front_back_state(&f) == 6));
	assert_int_equal(front_exit(&f), 0);
	f.page = NULL;
	front_set_state(&f, 1);
	start();
	io();
	closes();
}

/* ... and its domain with it: the node goes, when it is sure. */
static void vanishes_meanwhile(void **state)
{
	(void)state;
	disk_make(0);
	start();
	io();
	rig_sup_kill();
	rig_until(!rig_worker_of(GUEST));
	fake_domain_destroy(GUEST);
	fake_store_rm(0, "/local/domain/3");
	f.page = NULL;
	assert_int_equal(rig_sup_start(), 0);
	rig_steps(50);
	assert_true(fake_store_exists(front_back_path(&f, "")));
	rig_until(!fake_store_exists(front_back_path(&f, "")));
	rig_until(!fake_store_exists(front_back_path(&f, "")));
	assert_true(rig_until(!fake_store_exists(front_back_path(&f, ""))));
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(served), T(served_plainly), T(versions_are_said), T(libxls),
		T(refused), T(no_worker_can_be_started), T(another_type),
		T(closes_and_returns),
		T(closes_silently), T(shuts_down), T(begins_while_closing),
		T(removed_while_closing), T(daemon_ends_while_closing),
		T(starts_again), T(starts_again_as_before),
		T(front_vanishes), T(domain_vanishes), T(not_after_all),
		T(forced), T(removed_while_closed),
		T(closed_by_itself_is_no_leftover),
		T(storage_is_away_between_two_drivers),
		T(grows), T(grows_before_its_driver),
		T(wrong_keys),
		T(wrong_page), T(forbidden), T(wrong_states), T(two_devices),
		T(supervisor_dies), T(worker_dies), T(request_outlives),
		T(goes_meanwhile), T(vanishes_meanwhile),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
