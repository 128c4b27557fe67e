/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libxl_keys.h - what libxl writes about a device, read strictly.
 *
 * Two copies exist: in the backend's node, which the driver domain may write,
 * and in /libxl/<guest>/device/<kind>/<devid>, which only the toolstack may.
 * The broker reads the second, the backend the first.  Sources:
 * tools/libs/light/libxl_device.c (libxl__device_generic_add) and
 * libxl_disk.c (device_disk_add) of Xen 4.20.
 */
#ifndef VG_LIBXL_KEYS_H
#define VG_LIBXL_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/keys.h"
#include "xen/xen.h"

/* xen/include/public/io/xenbus.h */
enum vg_xenbus_state {
	VG_XENBUS_INITIALISING = 1,
	VG_XENBUS_INIT_WAIT = 2,
	VG_XENBUS_INITIALISED = 3,
	VG_XENBUS_CONNECTED = 4,
	VG_XENBUS_CLOSING = 5,
	VG_XENBUS_CLOSED = 6,
};

/* A device kind that we serve: libxl's, or virtio-grantctl's. */
struct vg_kind {
	const char *name;	/* directory name in xenstore */
	bool is_own;		/* libxl knows nothing of it: its nodes go when
				 * we let them */
};
extern const struct vg_kind vg_kinds[];
extern const unsigned int vg_nr_kinds;

/*
 * Of a back on the bus (uapi/virtio_grant_bus.h): 1 if the toolstack made it
 * anew, for a guest that has the device already.
 */
#define VG_KEY_MOVED	"moved"

/*
 * Which device: the numbers of its paths.
 *	/local/domain/<backend>/backend/<kind>/<guest>/<devid>
 */
struct vg_devname {
	const struct vg_kind *kind;
	xen_domid_t backend, guest;
	uint32_t devid;
};
/* New strings. */
char *vg_devname_backend_path(const struct vg_devname *n);
/* /local/domain/<guest>/device/<kind>/<devid>: the driver's */
char *vg_devname_front_path(const struct vg_devname *n);
char *vg_devname_label(const struct vg_devname *n);	/* for messages */
/* -EINVAL: not exactly such a path. */
int vg_devname_parse(const char *backend_path, struct vg_devname *n);
/* The same for one of @backend's, or of what lies in it. */
int vg_devname_parse_below(const char *path, struct vg_devname *n);
/*
 * What vg_devname_label() gives, or that with '/' in place of the blank; fills
 * all but the backend.  -EINVAL with *why a new text.
 */
int vg_devname_parse_label(const char *label, struct vg_devname *n,
			   char **why);

/* The keys of a node, as long as @dir and *@xs are there. */
struct vg_keys vg_node_keys(struct xen_store **xs, const char *dir);

/*
 * Whether memory is reached through grants: 0, or negative errno with *why a
 * new string that names the key and its value.  What belongs to the device
 * type (dev/type.h) or the transport (transport/transport.h) is read there.
 */
int vg_grant_usage_read(const struct vg_keys *keys, bool *grant_usage,
			char **why);

/*
 * The value of <dir>/<key>, new; NULL with errno.  And as a number: strictly
 * parsed, 0, or negative errno with *why as above.
 */
char *vg_key_read(struct xen_store *xs, const char *dir, const char *key);
int vg_key_read_u64(struct xen_store *xs, const char *dir, const char *key,
		    uint64_t max, uint64_t *value, char **why);
int vg_key_write(struct xen_store *xs, const char *dir, const char *key,
		 const char *value);

#endif
