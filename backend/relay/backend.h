/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backend.h - virtio-mmio over a relay page (page.h): the backend's end, which
 * takes accesses from the page and gives them to transport/mmio.c.
 */
#ifndef VG_RELAY_BACKEND_H
#define VG_RELAY_BACKEND_H

#include "transport/transport.h"

extern const struct vg_transport_type vg_transport_mmio;

#endif
