/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * front_kunit.h - nodes of a device that the KUnit suites attach, and serve.
 */
#ifndef VIRTIO_GRANT_FRONT_KUNIT_H
#define VIRTIO_GRANT_FRONT_KUNIT_H

#include <linux/types.h>
#include <xen/xenbus.h>

#include "bus/peer_kunit.h"

#define FRONT_NODE	"data/vgb-kunit/front"
#define FRONT_BACK	"data/vgb-kunit/back"	/* and a number */
#define FRONT_WAIT_MS	20000

/**
 * struct front - a device on the bus, and who serves it
 * @xdev: its node, which xenbus knows nothing of
 * @peer: its backend
 * @self: our own domain, which is the backend's
 * @back: number of the backend's node
 * @kind: as xenbus has it
 */
struct front {
	struct xenbus_device *xdev;
	struct peer peer;
	domid_t self;
	unsigned int back;
	const char *kind;
};

int front_init(struct front *front);
void front_exit(struct front *front);
int front_make(struct front *front, const char *versions);
int front_probe(struct front *front);
void front_remove(struct front *front);
struct vgb_device *front_vgb(struct front *front);
void front_write(const char *node, const char *key, unsigned int value);
void front_set_back(struct front *front, enum xenbus_state state);
int front_new_back(struct front *front, const char *versions);
bool front_waits(struct front *front, bool (*is)(struct front *front));
enum xenbus_state front_state(void);
bool front_becomes(struct front *front, enum xenbus_state state);
bool front_is_published(struct front *front);
int front_serve(struct front *front);
int front_attach(struct front *front);

extern struct life_carrier front_carrier;

#endif /* VIRTIO_GRANT_FRONT_KUNIT_H */
