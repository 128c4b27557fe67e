/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backend.h - virtio over messages in a page that the guest granted
 * (kernel/uapi/virtio_grant_bus.h): the backend's end, which takes requests
 * from the page and gives them to transport/msg.c.
 */
#ifndef VG_BUS_BACKEND_H
#define VG_BUS_BACKEND_H

#include "transport/transport.h"

/* The toolstack's directory of devices that are on no other transport. */
#define VG_BUS_KIND	"virtio_grant"

extern const struct vg_transport_type vg_transport_bus;

#endif
