// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_refusals.c - why devices are not served: one text of each device, of so
 * many devices.
 */
#include <stdio.h>

#include "bus.h"
#include "lib/util.h"
#include "toolstack/refusals.h"

static struct xen_store *xs;
static struct vg_refusals r;

static int setup(void **state)
{
	(void)state;
	bus_setup();
	if (xen_store_open(&xs))
		return -1;
	vg_refusals_init(&r, xs, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vg_refusals_exit(&r);
	xen_store_close(xs);
	bus_teardown();
	return 0;
}

static struct vg_devname name_in(xen_domid_t guest, unsigned int devid)
{
	return (struct vg_devname){ .kind = &vg_kinds[0], .guest = guest,
				    .devid = devid };
}

static struct vg_devname name_of(unsigned int devid)
{
	return name_in(5, devid);
}

static void say_in(xen_domid_t guest, unsigned int devid, const char *why)
{
	const struct vg_devname name = name_in(guest, devid);

	vg_refusals_say(&r, &name, why);
}

static void say(unsigned int devid, const char *why)
{
	say_in(5, devid, why);
}

static void assert_said_in(xen_domid_t guest, unsigned int devid,
			   const char *why)
{
	char *path = vg_strf("/local/domain/0/error/backend/%s/%u/%u/error",
			     vg_kinds[0].name, guest, devid);

	bus_assert_key(path, why);
	free(path);
}

static void assert_said(unsigned int devid, const char *why)
{
	assert_said_in(5, devid, why);
}

static void one_of_each_device(void **state)
{
	unsigned int i;
	char text[16];

	(void)state;
	say(1, "first");
	say(2, "second");
	/* One that changes its mind drives nobody out. */
	for (i = 0; i < 3 * VG_REFUSALS_MAX; i++) {
		snprintf(text, sizeof(text), "third %u", i);
		say(3, text);
	}
	assert_said(1, "first");
	assert_said(2, "second");
	assert_said(3, text);
}

static void the_last_of_many(void **state)
{
	const struct vg_devname free_again = name_of(3);
	unsigned int i;

	(void)state;
	for (i = 0; i < VG_REFUSALS_MAX; i++)
		say(i, "why");
	vg_refusals_forget(&r, &free_again);
	assert_said(3, NULL);
	say(100, "why");
	assert_said(0, "why");
	say(101, "why");
	say(102, "why");
	assert_said(0, NULL);
	assert_said(1, NULL);
	assert_said(2, "why");
	assert_said(100, "why");
	for (i = 0; i < 200; i++) {
		const struct vg_devname name = name_of(i);

		vg_refusals_forget(&r, &name);
	}
	assert_false(fake_store_exists("/local/domain/0/error/backend"
				       "/virtio_grant/5"));
}

/* However many devices it has, and however often they are refused. */
static void a_guest_with_many(void **state)
{
	unsigned int i;

	(void)state;
	say_in(6, 1, "theirs");
	say_in(7, 1, "theirs, too");
	for (i = 0; i < 5 * VG_REFUSALS_MAX; i++)
		say(i % (2 * VG_REFUSALS_MAX), "why");
	assert_said_in(6, 1, "theirs");
	assert_said_in(7, 1, "theirs, too");
	/* It has what nobody else needs, and no more. */
	i = (i - 1) % (2 * VG_REFUSALS_MAX);
	assert_said(i, "why");
	assert_said(i - (VG_REFUSALS_MAX - 3), "why");
	/* It gives back the oldest, down to half. */
	say_in(6, 2, "another");
	say_in(7, 2, "another");
	assert_said_in(6, 1, "theirs");
	assert_said_in(7, 1, "theirs, too");
	assert_said(i - (VG_REFUSALS_MAX / 2 - 1), "why");
	assert_said(i - VG_REFUSALS_MAX / 2, NULL);
	/* From then on each has its own. */
	say_in(6, 3, "a third");
	assert_said_in(6, 1, NULL);
	assert_said_in(6, 2, "another");
	assert_said_in(7, 1, "theirs, too");
	assert_said(i - (VG_REFUSALS_MAX / 2 - 1), "why");
}

/* By when they were said, wherever they are kept. */
static void the_oldest_goes(void **state)
{
	const struct vg_devname served = name_in(10, 1);
	unsigned int i;

	(void)state;
	for (i = 0; i < VG_REFUSALS_MAX; i++)
		say_in((xen_domid_t)(10 + i), 1, "why");
	vg_refusals_forget(&r, &served);
	say_in(10, 1, "again");
	say_in(11, 1, "again");
	say_in(30, 1, "a new one");
	assert_said_in(10, 1, "again");
	assert_said_in(11, 1, "again");
	assert_said_in(12, 1, NULL);
	assert_said_in(13, 1, "why");
	assert_said_in(30, 1, "a new one");
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(one_of_each_device), T(the_last_of_many),
		T(a_guest_with_many), T(the_oldest_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
