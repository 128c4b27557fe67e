// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * types.c - the device types that there are.  The only list of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dev/type.h"
#include "lib/util.h"

extern const struct vg_dev_type vg_dev_blk, vg_dev_console, vg_dev_rng;

const struct vg_dev_type *const vg_dev_types[] = {
	&vg_dev_blk,
	&vg_dev_console,
	&vg_dev_rng,
};
const unsigned int vg_nr_dev_types = ARRAY_SIZE(vg_dev_types);

const struct vg_dev_type *vg_dev_type_named(const char *name)
{
	unsigned int i;

	for (i = 0; i < vg_nr_dev_types; i++)
		if (!strcmp(vg_dev_types[i]->name, name))
			return vg_dev_types[i];
	return NULL;
}

/*
 * "virtio,device4": the virtio device ID in hexadecimal, as xl.cfg(5) has it.
 */
static const struct vg_dev_type *type_by_id(const char *text)
{
	static const char prefix[] = "virtio,device";
	uint64_t id;
	unsigned int i;

	if (strncmp(text, prefix, sizeof(prefix) - 1) ||
	    vg_parse_u64(text + sizeof(prefix) - 1, 16, UINT32_MAX, &id))
		return NULL;
	for (i = 0; i < vg_nr_dev_types; i++)
		if (vg_dev_types[i]->virtio_id == id)
			return vg_dev_types[i];
	return NULL;
}

int vg_dev_type_of(const char *kind, const struct vg_keys *keys,
		   const struct vg_dev_type **type, char **why)
{
	unsigned int i;
	char *text;
	int err;

	for (i = 0; i < vg_nr_dev_types; i++)
		if (vg_dev_types[i]->kind &&
		    !strcmp(vg_dev_types[i]->kind, kind)) {
			*type = vg_dev_types[i];
			return 0;
		}
	text = vg_keys_read(keys, "type");
	if (!text) {
		err = -errno;
		*why = vg_strf("xenstore key %s/type: %s", keys->where,
			       strerror(-err));
		return err;
	}
	*type = type_by_id(text);
	if (!*type)
		*why = vg_strf("xenstore key %s/type: \"%s\" is no \"virtio,device<ID>\" that is served here",
			       keys->where, text);
	free(text);
	return *type ? 0 : -EINVAL;
}
