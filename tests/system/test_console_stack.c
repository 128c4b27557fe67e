// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_console_stack.c - a console through the whole stack: the node that libxl
 * makes of a line "virtio = [ ... ]", the broker's relay, the supervisor that
 * opens its pty, the worker that serves it, and the next one.  What the device
 * itself does is in tests/unit/dev/console/test_console.c.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"
#include "lib/util.h"

#define GUEST	3u
#define BACK	"/local/domain/1/backend/virtio/3/0"
#define FRONT	"/local/domain/3/device/virtio/0"
#define TOOL	"/libxl/3/device/virtio/0"
#define CONFIG	0x100u

/* In the backend's directory and below /libxl. */
static void put(const char *key, const char *value)
{
	char *path = vg_strf(BACK "/%s", key);

	assert_int_equal(fake_store_write(0, path, "%s", value), 0);
	free(path);
	path = vg_strf(TOOL "/%s", key);
	assert_int_equal(fake_store_write(0, path, "%s", value), 0);
	free(path);
}

static void console_gone(void)
{
	fake_store_rm(0, BACK);
	fake_store_rm(0, FRONT);
	fake_store_rm(0, TOOL);
	rig_steps(10);
}

static void make_dir(const char *path, const char *perms)
{
	assert_int_equal(fake_store_mkdir(0, path), 0);
	assert_int_equal(fake_store_set_perms(0, path, perms), 0);
}

/* As libxl_virtio.c of Xen 4.20 writes it. */
static void console_add(const char *ports)
{
	assert_int_equal(fake_store_mkdir(0, TOOL), 0);
	fake_store_write(0, TOOL "/frontend", FRONT);
	fake_store_write(0, TOOL "/backend", BACK);
	make_dir(FRONT, "n3 r1");
	fake_store_write(0, FRONT "/backend", BACK);
	fake_store_write(0, FRONT "/backend-id", "1");
	fake_store_write(0, FRONT "/state", "1");
	make_dir(BACK, "n1 r3");
	put("frontend", FRONT);
	put("frontend-id", "3");
	put("online", "1");
	put("type", "virtio,device3");
	put("transport", "mmio");
	put("base", "0x2000000");
	put("irq", "33");
	put("grant_usage", "1");
	if (ports)
		put("console-ports", ports);
	put("state", "1");
}

static bool is_state(const char *want)
{
	char *s = fake_store_read(0, BACK "/state");
	bool is = s && !strcmp(s, want);

	free(s);
	return is;
}

static void served(void **state)
{
	char path[512], c = 0;
	struct drv d = {
		.guest = GUEST, .backend = 1, .base = 0x2000000, .irq = 33,
	};
	int fd;

	(void)state;
	rig_guest(GUEST, 1);
	console_add("con");
	assert_true(rig_until(is_state("2")));
	snprintf(path, sizeof(path), "%s/console/3-0/con", rig.dir);
	assert_int_equal(drv_read(&d, VIRTIO_MMIO_DEVICE_ID), 3);
	assert_int_equal(drv_read(&d, CONFIG + 4), 1);
	fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(drv_write(&d, CONFIG + 8, 'a'), 0);
	assert_true(rig_until(read(fd, &c, 1) == 1));
	assert_int_equal(c, 'a');
	/* The session outlives the worker. */
	rig_worker_kill(rig_worker_of(GUEST));
	rig_steps(3);
	assert_true(rig_until(rig_worker_of(GUEST)));
	rig_steps(20);
	assert_int_equal(drv_write(&d, CONFIG + 8, 'b'), 0);
	assert_true(rig_until(read(fd, &c, 1) == 1));
	assert_int_equal(c, 'b');
	close(fd);
	/* It has no size, as the control domain is told. */
	fake_store_write(0, BACK "/resize", "1");
	assert_true(rig_until(!fake_store_exists(BACK "/resize")));
	assert_true(unit_logged("dom3 virtio/0: a device of its type (console) has no size that could change"));
	put("online", "0");
	put("state", "5");
	assert_true(rig_until(is_state("6")));
	assert_int_equal(access(path, F_OK), -1);
	console_gone();
}

static void refused(void **state)
{
	(void)state;
	rig_guest(GUEST, 1);
	console_add("con,con");
	assert_true(rig_until(unit_logged("\"con,con\": two ports")));
	console_gone();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(served, rig_setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(refused, rig_setup,
						rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
