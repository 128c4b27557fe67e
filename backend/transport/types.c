// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * types.c - the transports that there are.  The only list of them.
 */
#include <string.h>

#include "lib/util.h"
#include "relay/backend.h"
#include "transport/transport.h"

const struct vg_transport_type *const vg_transport_types[] = {
	&vg_transport_mmio,
};
const unsigned int vg_nr_transport_types = ARRAY_SIZE(vg_transport_types);

const struct vg_transport_type *vg_transport_named(const char *name)
{
	unsigned int i;

	for (i = 0; i < vg_nr_transport_types; i++)
		if (!strcmp(vg_transport_types[i]->name, name))
			return vg_transport_types[i];
	return NULL;
}
