// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_walk.c - the devices below a directory of xenstore
 * (backend/toolstack/walk.c): each is found, nothing else is, and what can't be
 * read is said.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "toolstack/walk.h"

#define BE	"/local/domain/1/backend/virtio_disk"

/* What the walk says: "3/51712=/path " and "!-5=/path ", in its order. */
static char said[1024];
static struct vg_walk walk;

static void say(const char *what, int number, unsigned int devid,
		const char *path)
{
	size_t n = strlen(said);

	if (*what == '!')
		snprintf(said + n, sizeof(said) - n, "!%d=%s ", number, path);
	else
		snprintf(said + n, sizeof(said) - n, "%d/%u=%s ", number,
			 devid, path);
}

static void on_leaf(void *arg, xen_domid_t guest, uint32_t devid,
		    const char *node)
{
	assert_ptr_equal(arg, &walk);
	say("", guest, devid, node);
}

static void on_failed(void *arg, const char *dir, int err)
{
	assert_ptr_equal(arg, &walk);
	say("!", err, 0, dir);
}

static int setup(void **state)
{
	(void)state;
	fake_init();
	fake_domain_create(1, 1, 16);
	memset(said, 0, sizeof(said));
	memset(&walk, 0, sizeof(walk));
	walk.leaf = on_leaf;
	walk.failed = on_failed;
	walk.arg = &walk;
	fake_enter(0);
	return xen_store_open(&walk.xs);
}

static int teardown(void **state)
{
	int n;

	(void)state;
	xen_store_close(walk.xs);
	n = (int)fake_leaks();
	fake_exit();
	return n ? -1 : 0;
}

static void node(const char *path)
{
	assert_int_equal(fake_store_write(0, path, "x"), 0);
}

static void expect(const char *dir, const char *want)
{
	said[0] = 0;
	vg_walk(&walk, dir);
	assert_string_equal(said, want);
}

static void devices_of_a_backend(void **state)
{
	(void)state;
	expect(BE, "");
	assert_int_equal(fake_store_mkdir(0, BE), 0);
	expect(BE, "");
	assert_int_equal(fake_store_mkdir(0, BE "/3"), 0);
	expect(BE, "");
	node(BE "/3/51712/state");
	node(BE "/3/51728/state");
	node(BE "/4/0/state");
	expect(BE, "3/51712=" BE "/3/51712 3/51728=" BE "/3/51728 "
	       "4/0=" BE "/4/0 ");
}

static void devices_of_guests(void **state)
{
	(void)state;
	walk.between = "device/virtio_disk";
	expect("/libxl", "");
	node("/libxl/3/device/vbd/1/frontend");
	node("/libxl/3/7/frontend");
	expect("/libxl", "");
	node("/libxl/3/device/virtio_disk/51712/backend");
	node("/libxl/4/device/virtio_disk/1/backend");
	expect("/libxl", "3/51712=/libxl/3/device/virtio_disk/51712 "
	       "4/1=/libxl/4/device/virtio_disk/1 ");
}

/* A driver domain may write below its own directory. */
static void what_is_no_number(void **state)
{
	(void)state;
	node(BE "/x/1/state");
	node(BE "/-1/1/state");
	node(BE "/3a/1/state");
	node(BE "/0x3/1/state");
	node(BE "/32752/1/state");		/* no domain has it */
	node(BE "/99999999999999999999999/1/state");
	node(BE "/3/y/state");
	node(BE "/3/-1/state");
	node(BE "/3/1-2/state");
	node(BE "/3/4294967296/state");
	expect(BE, "");
	node(BE "/32751/4294967295/state");
	expect(BE, "32751/4294967295=" BE "/32751/4294967295 ");
}

static void what_can_not_be_read(void **state)
{
	(void)state;
	node(BE "/3/1/state");
	node(BE "/4/1/state");
	node(BE "/5/1/state");
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, 1, EIO);
	expect(BE, "!-5=" BE " ");
	/* The others are seen all the same. */
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, 3, EACCES);
	expect(BE, "3/1=" BE "/3/1 !-13=" BE "/4 5/1=" BE "/5/1 ");
	/* It went between two look-ups. */
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, 2, ENOENT);
	expect(BE, "4/1=" BE "/4/1 5/1=" BE "/5/1 ");
	fake_fail_nth(0, FAKE_STORE_DIRECTORY, 0, 0);
	expect(BE, "3/1=" BE "/3/1 4/1=" BE "/4/1 5/1=" BE "/5/1 ");
}

/* A leaf may change what is walked: it is looked for, and not there. */
static void remove_next(void *arg, xen_domid_t guest, uint32_t devid,
			const char *path)
{
	on_leaf(arg, guest, devid, path);
	fake_store_rm(0, BE "/4");
}

static void a_leaf_removes_another(void **state)
{
	(void)state;
	walk.leaf = remove_next;
	node(BE "/3/1/state");
	node(BE "/4/1/state");
	expect(BE, "3/1=" BE "/3/1 ");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(devices_of_a_backend),
		T(devices_of_guests),
		T(what_is_no_number),
		T(what_can_not_be_read),
		T(a_leaf_removes_another),
	};

	return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
