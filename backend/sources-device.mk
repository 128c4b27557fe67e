# SPDX-License-Identifier: GPL-2.0-or-later
# The device side of virtio-grantd: queues, registers, guest memory, devices.
# Paths from the top of the tree; needs -luring.
VG_DEVICE_SRCS := \
	$(addprefix backend/virtio/,broken.c device.c inflight.c poll.c \
		queue.c ranges.c restore.c ring.c state.c stats.c) \
	backend/transport/mmio.c backend/transport/msg.c \
	$(addprefix backend/lib/,lane.c endpoint.c stream.c) \
	$(addprefix backend/mem/,mem.c pool.c grants.c bounce.c copies.c) \
	backend/dev/types.c $(sort $(wildcard backend/dev/*/*.c))
VG_DEVICE_LIBS := -luring
