/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus_spec.h - what a user wants of a device on the Xen bus: KEY=VALUE, from
 * the command line or from a guest's configuration.
 *
 *	type=TYPE	blk, console, rng, or the number of a virtio device
 *	backend=DOMAIN	name or number; not there: the domain that we run in
 *	name=NAME	stable, unique per guest; not there: made of the type
 *			and a number
 *	KEY=VALUE	a key of the back node, as the device's type reads it;
 *			of a disk also xl's words (target, access, discard)
 *
 * Everything is checked here, since it becomes nodes and values of xenstore,
 * and since a terminal shows it again.
 */
#ifndef VG_BUS_SPEC_H
#define VG_BUS_SPEC_H

#include <stdint.h>

#define VG_BUS_KEYS_MAX		32u
#define VG_BUS_KEY_CHARS	32u
#define VG_BUS_VALUE_BYTES	1024u
#define VG_BUS_NAME_CHARS	64u

struct vg_bus_key {
	char *key, *value;
};

struct vg_bus_spec {
	char *type;			/* "blk", or "25" */
	uint32_t device_id;		/* of virtio */
	char *backend;			/* or NULL */
	char *name;			/* or NULL */
	struct vg_bus_key key[VG_BUS_KEYS_MAX];
	unsigned int nr_keys;
};

void vg_bus_spec_free(struct vg_bus_spec *spec);

/*
 * Adds one "KEY=VALUE" to a spec that was zeroed at first.  0, or -EINVAL with
 * *@why a new text that names the key.
 */
int vg_bus_spec_add(struct vg_bus_spec *spec, const char *text, char **why);
/*
 * "KEY=VALUE,KEY=VALUE,..."; blanks before a key are passed over, and what is
 * behind "target=" is its value to the end, as in xl's disks.
 */
int vg_bus_spec_add_list(struct vg_bus_spec *spec, const char *text,
			 char **why);
/* What must be there is, and what need not has its default.  As above. */
int vg_bus_spec_complete(struct vg_bus_spec *spec, char **why);

/* The name that number @n of its type gets, new. */
char *vg_bus_spec_default_name(const struct vg_bus_spec *spec, unsigned int n);
/* The value of a key of the back node, or NULL. */
const char *vg_bus_spec_value(const struct vg_bus_spec *spec,
			      const char *key);
/* NULL: it can be a device's name; or what is wrong with it. */
const char *vg_bus_name_check(const char *name);
/* Of the word that type= has: 0 if there is none such. */
uint32_t vg_bus_type_id(const char *type);

#endif
