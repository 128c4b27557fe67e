/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kunit_priv.h - the register window of the KUnit suites: plain memory.
 */
#ifndef VIRTIO_GRANT_MMIO_KUNIT_PRIV_H
#define VIRTIO_GRANT_MMIO_KUNIT_PRIV_H

#include <linux/bits.h>
#include <uapi/linux/virtio_config.h>

#include "mmio/mmio_priv.h"

#define WINDOW_BYTES	0x200
#define MAGIC		0x74726976
#define BOTH_FEATURES	(BIT(VIRTIO_F_VERSION_1 - 32) | \
			 BIT(VIRTIO_F_ACCESS_PLATFORM - 32))

#endif /* VIRTIO_GRANT_MMIO_KUNIT_PRIV_H */
