# SPDX-License-Identifier: GPL-2.0-or-later
# The device side of virtio-grantd: queues, registers, guest memory, devices.
# Paths from the top of the tree; needs -luring.
VG_DEVICE_SRCS := \
	backend/device.c \
	backend/ext.c \
	backend/lane.c \
	backend/poll.c \
	backend/dev/blk.c \
	backend/dev/blk_engine_sync.c \
	backend/dev/blk_engine_uring.c \
	backend/dev/blk_probe.c \
	backend/dev/blk_rings.c \
	backend/mem/map.c \
	backend/mem/mem.c \
	backend/mem/pool.c \
	backend/mmio.c \
	backend/state.c \
	backend/virtqueue.c
VG_DEVICE_LIBS := -luring
