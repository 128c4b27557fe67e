// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_libxl_keys.c - strict paths (backend/toolstack/libxl_keys.c): what names
 * a device, and what does not.
 */
#include <errno.h>
#include <string.h>

#include "toolstack/libxl_keys.h"
#include "unit.h"
#include "lib/util.h"

static void backend_paths(void **state)
{
	static const char *const bad[] = {
		"", "/", "/local/domain/1/backend/virtio_disk/3",
		"/local/domain/1/backend/virtio_disk/3/",
		"/local/domain/1/backend/virtio_disk/3/51712/",
		"/local/domain/1/backend/virtio_disk/3/51712/x",
		"/local/domain/1/backend/virtio_disk//51712",
		"/local/domain//backend/virtio_disk/3/51712",
		"local/domain/1/backend/virtio_disk/3/51712",
		"/local/domain/1/backend/vbd/3/51712",
		"/local/domain/1/backend/virtio_disk3/51712",
		"/local/domain/1/backend/virtio_diskx/3/51712",
		"/local/domain/-1/backend/virtio_disk/3/51712",
		"/local/domain/32752/backend/virtio_disk/3/51712",
		"/local/domain/1/backend/virtio_disk/40000/51712",
		"/local/domain/1/backend/virtio_disk/3/4294967296",
		"/local/domain/1/backend/virtio_disk/3/0x5",
		"/local/domain/1/backend/virtio_disk/ 3/5",
		"/local/domain/00000000000000000000001/backend/virtio_disk/3/5",
		"/local/domain/1/../0/backend/virtio_disk/3/5",
	};
	struct vg_devname n;
	unsigned int i;
	char *path;

	(void)state;
	assert_int_equal(vg_devname_parse(
		"/local/domain/1/backend/virtio_disk/32751/4294967295", &n), 0);
	assert_int_equal(n.backend, 1);
	assert_int_equal(n.guest, 32751);
	assert_int_equal(n.devid, 4294967295u);
	assert_string_equal(n.kind->name, "virtio_disk");
	path = vg_devname_backend_path(&n);
	assert_string_equal(path,
		"/local/domain/1/backend/virtio_disk/32751/4294967295");
	free(path);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (!vg_devname_parse(bad[i], &n))
			fail_msg("\"%s\" was accepted", bad[i]);
}

/* What a watch says: the node, or something in it. */
static void paths_below(void **state)
{
	static const char *const good[] = {
		"/local/domain/1/backend/virtio_grant/3/5",
		"/local/domain/1/backend/virtio_grant/3/5/state",
		"/local/domain/1/backend/virtio_grant/3/5/a/b",
	};
	static const char *const bad[] = {
		"", "/", "/local/domain/1/backend/virtio_grant",
		"/local/domain/1/backend/virtio_grant/3",
		"/local/domain/1/backend/virtio_grant/x/5/state",
		"/local/domain/1/backend/virtio_grant/3/5x/state",
		"/local/domain/3/device/virtio_grant/5/state",
		"@introduceDomain",
	};
	struct vg_devname n;
	unsigned int i;
	char *path;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(vg_devname_parse_below(good[i], &n), 0);
		assert_int_equal(n.devid, 5);
		assert_string_equal(n.kind->name, "virtio_grant");
		path = vg_devname_front_path(&n);
		assert_string_equal(path, "/local/domain/3/device/virtio_grant/5");
		free(path);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (!vg_devname_parse_below(bad[i], &n))
			fail_msg("\"%s\" was accepted", bad[i]);
}

/* As they are printed, and with one character more or less they are none. */
static void labels(void **state)
{
	static const char *const good[] = {
		"dom0 virtio/0", "dom3 virtio_disk/51712",
		"dom32751 virtio_disk/4294967295", "dom5 virtio_grant/0",
	};
	struct vg_devname n;
	char *text, *why;
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(vg_devname_parse_label(good[i], &n, &why), 0);
		text = vg_devname_label(&n);
		assert_string_equal(text, good[i]);
		*strchr(text, ' ') = '/';
		assert_int_equal(vg_devname_parse_label(text, &n, &why), 0);
		text[1]++;
		assert_int_equal(vg_devname_parse_label(text, &n, &why),
				 -EINVAL);
		assert_non_null(strstr(why, "it has not a domain"));
		free(why);
		free(text);
		text = vg_strf("%s0x", good[i]);
		assert_int_equal(vg_devname_parse_label(text, &n, &why),
				 -EINVAL);
		assert_non_null(strstr(why, "it has not a device number"));
		free(why);
		free(text);
		text = vg_strdup(good[i]);
		strchr(text, '/')[0] = 's';
		assert_int_equal(vg_devname_parse_label(text, &n, &why),
				 -EINVAL);
		assert_non_null(strstr(why, "it has not a kind"));
		free(why);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backend_paths),
		cmocka_unit_test(paths_below),
		cmocka_unit_test(labels),
	};

	return cmocka_run_group_tests_name("libxl_keys", tests, NULL, NULL);
}
