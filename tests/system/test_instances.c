// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_instances.c - which devices a backend takes for its own: --only, and
 * the devices with and without grants; and that the broker relays for none
 * without grants unless it was told to.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rig.h"

#define GUEST	3u

static int setup(void **state)
{
	(void)state;
	rig_up();	/* the daemons start in the test */
	rig_guest(GUEST, 1);
	return 0;
}

static void start(void)
{
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(rig_sup_start(), 0);
}

/* Added by libxl under that name, not looked at by anybody yet. */
static struct fake_disk disk_named(unsigned int n, const char *vdev,
				   bool no_grants)
{
	struct fake_disk disk = rig_disk(GUEST, n);
	char path[256];

	disk.no_grants = no_grants;
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	snprintf(path, sizeof(path), "%s/dev", fake_libxl_disk_path(&disk));
	fake_store_write(0, path, "%s", vdev);
	return disk;
}

static bool is_served(const struct fake_disk *disk)
{
	rig_steps(50);
	return fake_libxl_disk_key(disk, "state") == 2;
}

static void only_those_named(void **state)
{
	struct fake_disk other, first, last, longer;

	(void)state;
	rig.cfg.only = "xvdc,xvdb";
	start();
	other = disk_named(0, "xvda", false);
	first = disk_named(1, "xvdc", false);
	last = disk_named(2, "xvdb", false);
	longer = disk_named(3, "xvdb1", false);
	assert_true(is_served(&first));
	assert_true(is_served(&last));
	assert_false(is_served(&other));
	assert_false(is_served(&longer));
	assert_true(rig_disk_remove(&first));
	assert_true(rig_disk_remove(&last));
	fake_libxl_disk_remove(&other);
	fake_libxl_disk_remove(&longer);
	rig_steps(50);
}

/* virtio-foreignd, beside a broker that nobody told about it. */
static void no_relay_without_grants(void **state)
{
	struct fake_disk foreign, granted;

	(void)state;
	rig.cfg.is_foreign = true;
	start();
	foreign = disk_named(0, "xvda", true);
	granted = disk_named(1, "xvdb", false);
	assert_false(is_served(&foreign));
	assert_int_equal(fake_libxl_disk_key(&foreign, "relay-ref"), -1);
	/* This one has a relay, and is another backend's. */
	assert_false(is_served(&granted));
	assert_int_not_equal(fake_libxl_disk_key(&granted, "relay-ref"), -1);
	fake_libxl_disk_remove(&foreign);
	fake_libxl_disk_remove(&granted);
	rig_steps(50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_those_named, setup,
						rig_teardown),
		cmocka_unit_test_setup_teardown(no_relay_without_grants, setup,
						rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
