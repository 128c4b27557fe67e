// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * types.c - the transports that there are.  The only list of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/backend.h"
#include "lib/util.h"
#include "relay/backend.h"
#include "transport/mmio_keys.h"
#include "transport/transport.h"

const struct vg_transport_type *const vg_transport_types[] = {
	&vg_transport_mmio,
	&vg_transport_bus,
};
const unsigned int vg_nr_transport_types = ARRAY_SIZE(vg_transport_types);

static const struct vg_transport_type *named(const char *name)
{
	unsigned int i;

	for (i = 0; i < vg_nr_transport_types; i++)
		if (vg_transport_types[i]->name &&
		    !strcmp(vg_transport_types[i]->name, name))
			return vg_transport_types[i];
	return NULL;
}

/* "a", or "a, b": for messages. */
static char *all_names(void)
{
	char *names = vg_strdup(vg_transport_types[0]->name), *more;
	unsigned int i;

	for (i = 1; i < vg_nr_transport_types; i++) {
		if (!vg_transport_types[i]->name)
			continue;
		more = vg_strf("%s, %s", names, vg_transport_types[i]->name);
		free(names);
		names = more;
	}
	return names;
}

int vg_transport_with_front(const char *kind, const struct vg_keys *keys,
			    const struct vg_transport_type **type)
{
	int is = !strcmp(kind, VG_BUS_KIND) ? 1 :
		 vg_mmio_has_no_window(kind, keys);

	*type = is == 1 ? &vg_transport_bus : NULL;
	return is;
}

int vg_transport_of(const char *kind, const struct vg_keys *keys,
		    const struct vg_transport_type **type, char **why)
{
	char *name, *names;
	int err;

	err = vg_transport_with_front(kind, keys, type);
	if (err < 0)
		*why = vg_strf("xenstore keys %s/transport and base: %s",
			       keys->where, strerror(-err));
	if (err)
		return err < 0 ? err : (*type)->check(kind, keys, why);
	name = vg_keys_read(keys, "transport");
	err = name ? 0 : -errno;
	if (err) {
		*why = vg_strf("xenstore key %s/transport: %s", keys->where,
			       strerror(-err));
		/* It was written with the others, or never. */
		return err == -ENOENT ? -EINVAL : err;
	}
	*type = named(name);
	if (!*type) {
		names = all_names();
		*why = vg_strf("xenstore key %s/transport: \"%s\" is no transport that is served here (%s)",
			       keys->where, name, names);
		free(names);
	}
	free(name);
	return *type ? (*type)->check(kind, keys, why) : -EINVAL;
}
