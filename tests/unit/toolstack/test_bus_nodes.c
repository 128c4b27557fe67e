// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_nodes.c - devices on the Xen bus as the toolstack keeps them
 * (backend/toolstack/bus_{spec,nodes}.c, domains.c, transact.c): what the
 * commands' own tests (tests/unit/ctl/) don't reach.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus.h"
#include "dev/type.h"
#include "lib/util.h"
#include "toolstack/bus_nodes.h"
#include "toolstack/transact.h"

static struct xen_store *xs;

static int setup(void **state)
{
	(void)state;
	bus_setup();
	assert_int_equal(xen_store_open(&xs), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xen_store_close(xs);
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	return 0;
}

static struct vg_bus_dev a_device(void)
{
	struct vg_bus_dev dev = { .guest = 5, .backend = 1 };
	char *why = NULL;

	snprintf(dev.uuid, sizeof(dev.uuid), "00000000-0000-0000-0000-%012x",
		 0x51);
	assert_int_equal(vg_bus_spec_add_list(&dev.spec, "type=rng, backend=DomD,name=a", &why), 0);
	dev.guest_name = vg_strdup("g1");
	return dev;
}

/* The words that people use are the names that the types have. */
static void every_type_has_a_word(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < vg_nr_dev_types; i++)
		assert_int_equal(vg_bus_type_id(vg_dev_types[i]->name),
				 vg_dev_types[i]->virtio_id);
}

static void lists_of_keys(void **state)
{
	struct vg_bus_spec spec = { 0 };
	char *why = NULL, text[2000];
	unsigned int i;

	(void)state;
	assert_int_equal(vg_bus_spec_add_list(&spec, "type=blk,\tname=a-b.c_d, target=/a, b=c", &why), 0);
	assert_int_equal(vg_bus_spec_complete(&spec, &why), 0);
	assert_string_equal(vg_bus_spec_value(&spec, "params"), "/a, b=c");
	assert_string_equal(spec.name, "a-b.c_d");
	vg_bus_spec_free(&spec);
	/* As much as a node can have, and not more. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "a=", 2);
	text[VG_BUS_VALUE_BYTES + 2] = 0;
	assert_int_equal(vg_bus_spec_add(&spec, text, &why), 0);
	memcpy(text, "b=xx", 4);
	text[VG_BUS_VALUE_BYTES + 2] = 'x';
	text[VG_BUS_VALUE_BYTES + 3] = 0;
	assert_int_equal(vg_bus_spec_add(&spec, text, &why), -EINVAL);
	free(why);
	for (i = spec.nr_keys; i < VG_BUS_KEYS_MAX; i++) {
		snprintf(text, sizeof(text), "k%u=v", i);
		assert_int_equal(vg_bus_spec_add(&spec, text, &why), 0);
	}
	assert_int_equal(vg_bus_spec_add(&spec, "one=more", &why), -EINVAL);
	free(why);
	vg_bus_spec_free(&spec);
}

/* Somebody else has moved it meanwhile. */
static void moves_that_come_late(void **state)
{
	struct vg_bus_dev dev = a_device();
	struct vg_bus_devs devs;
	char *before, *after;

	(void)state;
	assert_int_equal(vg_bus_create(xs, &dev, 0), 0);
	bus_domain(7, "DomD", 7, true);
	assert_int_equal(vg_bus_devs_read(xs, NULL, &devs), 0);
	assert_int_equal(devs.nr, 1);
	assert_int_equal(vg_bus_move(xs, &dev, 5, "g1", 7, 0), 0);
	before = fake_store_dump();
	assert_int_equal(vg_bus_move(xs, &devs.d[0], 5, "g1", 0, 0),
			 -EALREADY);
	assert_int_equal(vg_bus_move(xs, &dev, 5, "g1", 7, 0), -EALREADY);
	assert_int_equal(vg_bus_move(xs, &dev, 77, "g1", 7, 0), -ESRCH);
	assert_int_equal(vg_bus_move(xs, &dev, 5, "g1", 77, 0), -ENXIO);
	bus_domain(8, "g8", 8, false);
	free(before);
	before = fake_store_dump();
	assert_int_equal(vg_bus_move(xs, &dev, 5, "g1", 8, 0), -ENODEV);
	assert_int_equal(vg_bus_move(xs, &dev, 8, "g1", 7, 0), -ESRCH);
	after = fake_store_dump();
	assert_string_equal(after, before);
	free(after);
	free(before);
	assert_int_equal(vg_bus_remove(xs, &dev), 0);
	assert_int_equal(vg_bus_move(xs, &dev, 5, "g1", 1, 0), -ENOENT);
	assert_false(fake_store_exists("/virtio-grant"));
	vg_bus_devs_free(&devs);
	vg_bus_dev_free(&dev);
}

static void what_backs_are_asked(void **state)
{
	struct vg_bus_dev dev = a_device();
	struct vg_bus_ask ask = { .dev = &dev, .state = 5, .only_if = 4 };

	(void)state;
	assert_int_equal(vg_bus_create(xs, &dev, 0), 0);
	assert_int_equal(vg_bus_ask(xs, &ask), -ESTALE);
	assert_int_equal(ask.was, 1);
	bus_assert_key(bus_back(1, 5, 0, "state"), "1");
	ask.only_if = 0;
	/* Only of a guest that is gone: it is there. */
	ask.only_if_gone = true;
	assert_int_equal(vg_bus_ask(xs, &ask), -EALREADY);
	bus_assert_key(bus_back(1, 5, 0, "state"), "1");
	bus_assert_key(bus_back(1, 5, 0, "online"), "1");
	ask.only_if_gone = false;
	assert_int_equal(vg_bus_ask(xs, &ask), 0);
	bus_assert_key(bus_back(1, 5, 0, "state"), "5");
	bus_assert_key(bus_back(1, 5, 0, "online"), "0");
	fake_store_rm(1, bus_back(1, 5, 0, "state"));
	assert_int_equal(vg_bus_ask(xs, &ask), -ENOENT);
	fake_store_write(1, bus_back(1, 5, 0, "state"), "4");
	/* The number is another guest's by now. */
	fake_store_write(0, "/local/domain/5/vm", "/vm/00000000-0000-0000-0000-%012x", 0x99);
	assert_int_equal(vg_bus_ask(xs, &ask), -ENOENT);
	assert_int_equal(vg_bus_remove_front(xs, &dev), 0);
	assert_true(fake_store_exists(bus_front(5, 0, "")));
	bus_assert_key(bus_back(1, 5, 0, "state"), "4");
	vg_bus_dev_free(&dev);
}

/* All its numbers are taken. */
static void too_many(void **state)
{
	struct vg_bus_dev dev = a_device();
	unsigned int i;
	char *before, *after;

	(void)state;
	for (i = 0; i < VG_BUS_DEVICES_MAX; i++)
		fake_store_mkdir(0, bus_front(5, i, ""));
	before = fake_store_dump();
	assert_int_equal(vg_bus_create(xs, &dev, 0), -ENOSPC);
	after = fake_store_dump();
	assert_string_equal(after, before);
	free(after);
	free(before);
	vg_bus_dev_free(&dev);
}

static void states(void **state)
{
	static const struct {
		const char *text;
		int is;
	} all[] = {
		{ "1", 1 }, { "8", 8 }, { "0", -EINVAL }, { "9", -EINVAL },
		{ "", -EINVAL }, { "4 ", -EINVAL }, { "-4", -EINVAL },
		{ "44444444444444444444444444", -EINVAL },
	};
	unsigned int i;

	(void)state;
	assert_int_equal(vg_bus_state(xs, "/a"), -ENOENT);
	fake_store_mkdir(0, "/a");
	assert_int_equal(vg_bus_state(xs, "/a"), 0);
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		fake_store_write(0, "/a/state", "%s", all[i].text);
		assert_int_equal(vg_bus_state(xs, "/a"), all[i].is);
	}
	fake_store_write_bytes(0, "/a/state", "4\0", 2);
	assert_int_equal(vg_bus_state(xs, "/a"), -EINVAL);
}

static void domains(void **state)
{
	struct vg_domains all;
	int err;

	(void)state;
	fake_store_write(0, "/local/domain/x", "y");
	fake_store_mkdir(0, "/local/domain/99999");
	fake_store_mkdir(0, "/local/domain/11");
	bus_domain(12, "11", 12, false);
	fake_store_write(0, "/local/domain/12/vm", "/vm/../../x");
	assert_int_equal(vg_domains_read(xs, &all), 0);
	assert_int_equal(all.nr, 5);
	assert_int_equal(vg_domain_find(&all, "g1", &err)->id, 5);
	/* A number is one, whatever is called like that. */
	assert_int_equal(vg_domain_find(&all, "11", &err)->id, 11);
	assert_string_equal(vg_domain_by_id(&all, 11)->name, "");
	assert_string_equal(vg_domain_by_id(&all, 12)->uuid, "");
	assert_null(vg_domain_find(&all, "", &err));
	assert_int_equal(err, -ENOENT);
	vg_domains_free(&all);
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_type_has_a_word),
		T(lists_of_keys),
		T(moves_that_come_late),
		T(what_backs_are_asked),
		T(too_many),
		T(states),
		T(domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
