// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_transport.c - which transport a device's keys name, and those that are
 * the transport's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "transport/mmio_keys.h"
#include "transport/transport.h"
#include "unit.h"

struct key {
	const char *name, *value;
};

static char *read_key(const struct vg_keys *keys, const char *name)
{
	const struct key *k;

	for (k = keys->arg; k->name; k++)
		if (!strcmp(k->name, name) && k->value)
			return strdup(k->value);
	errno = ENOENT;
	return NULL;
}

static int transport_of(const char *kind, const char *transport,
			const char *base, const char *irq, char **why)
{
	struct key list[] = {
		{ "transport", transport }, { "base", base }, { "irq", irq },
		{ NULL, NULL },
	};
	const struct vg_keys keys = { "/a/node", list, read_key };
	const struct vg_transport_type *type = NULL;
	int err;

	*why = NULL;
	err = vg_transport_of(kind, &keys, &type, why);
	if (!err)
		assert_string_equal(type->name, transport);
	return err;
}

static void served(void **state)
{
	char *why;

	(void)state;
	assert_int_equal(transport_of("virtio_disk", "mmio", "33554432", "33",
				      &why), 0);
	assert_null(why);
	assert_int_equal(transport_of("virtio", "mmio", "0x2000000", "33",
				      &why), 0);
	assert_null(why);
}

/* It is said which key, and what stands there. */
static void refused(void **state)
{
	static const struct {
		const char *kind, *transport, *base, *irq;
		int err;
		const char *why;
	} cases[] = {
		/* Without a look at keys that it need not have. */
		{ "virtio", "msg", NULL, NULL, -EINVAL,
		  "xenstore key /a/node/transport: \"msg\" is no transport that is served here (mmio)" },
		{ "virtio", "", "0x2000000", "33", -EINVAL,
		  "xenstore key /a/node/transport: \"\" is no transport that is served here (mmio)" },
		{ "virtio", NULL, "0x2000000", "33", -EINVAL,
		  "xenstore key /a/node/transport: No such file or directory" },
		{ "virtio", "mmio", "0xg", "33", -EINVAL,
		  "xenstore key /a/node/base: \"0xg\" is no hexadecimal number" },
		{ "virtio_disk", "mmio", "0x2000000", "33", -EINVAL,
		  "xenstore key /a/node/base: \"0x2000000\" is no decimal number" },
		{ "virtio_disk", "mmio", NULL, "33", -ENOENT,
		  "xenstore key /a/node/base: No such file or directory" },
		{ "virtio_disk", "mmio", "33554432", "31", -EINVAL,
		  "xenstore key /a/node/irq: 31 is no SPI" },
		{ "virtio_disk", "mmio", "33554432", "1020", -ERANGE,
		  "xenstore key /a/node/irq: \"1020\" is out of range" },
	};
	unsigned int i;
	char *why;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(transport_of(cases[i].kind, cases[i].transport,
					      cases[i].base, cases[i].irq,
					      &why), cases[i].err);
		assert_string_equal(why, cases[i].why);
		free(why);
	}
}

/* Those whose drivers attach to them, by the toolstack's keys. */
static void with_front(void **state)
{
	static const struct {
		const char *kind, *transport, *base;
		bool is;
	} cases[] = {
		{ "virtio_grant", NULL, NULL, true },
		{ "virtio_grant", "mmio", "33554432", true },
		{ "virtio_disk", "mmio", "0", true },
		{ "virtio_disk", "mmio", "00", false },
		{ "virtio_disk", "mmio", "33554432", false },
		{ "virtio_disk", "pci", "0", false },
		{ "virtio_disk", NULL, "0", false },
		{ "virtio_disk", "mmio", NULL, false },
		{ "virtio", "mmio", "0", false },
		{ "virtio", "mmio", "0x0", false },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct key list[] = {
			{ "transport", cases[i].transport },
			{ "base", cases[i].base }, { "irq", "33" },
			{ NULL, NULL },
		};
		const struct vg_keys keys = { "/a/node", list, read_key };
		const struct vg_transport_type *type;
		char *why;

		assert_int_equal(vg_transport_with_front(cases[i].kind, &keys,
							 &type), cases[i].is);
		assert_int_equal(type != NULL, cases[i].is);
		if (!type)
			continue;
		assert_true(type->has_front);
		assert_int_equal(vg_transport_of(cases[i].kind, &keys, &type,
						 &why), 0);
		assert_true(type->has_front);
	}
}

/* What can't be read now may be either. */
static char *read_no_key(const struct vg_keys *keys, const char *name)
{
	const char *broken = keys->arg;

	errno = EIO;
	return strcmp(name, broken) ? strdup("mmio") : NULL;
}

static void unreadable(void **state)
{
	static const char *const broken[] = { "transport", "base" };
	const struct vg_transport_type *type;
	unsigned int i;
	char *why;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(broken); i++) {
		struct vg_keys keys = { "/a/node", (void *)(uintptr_t)broken[i],
					read_no_key };

		assert_int_equal(vg_transport_with_front("virtio_disk", &keys,
							 &type), -EIO);
		assert_null(type);
		assert_int_equal(vg_transport_of("virtio_disk", &keys, &type,
						 &why), -EIO);
		assert_non_null(strstr(why, "/a/node"));
		free(why);
		assert_int_equal(vg_transport_with_front("virtio_grant", &keys,
							 &type), 1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(served), cmocka_unit_test(refused),
		cmocka_unit_test(with_front), cmocka_unit_test(unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
