/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmio.h - virtio-mmio, version 2 (virtio 1.3, 4.2), and the registers of
 * kernel/uapi/virtio_grant.h behind it: accesses in, operations of a device
 * (virtio/device.h) out.
 *
 * Not trusted: the guest, in everything it writes.  What forwards its accesses
 * is checked before: offset + len inside of the window, len 1, 2 or 4 and a
 * divisor of the offset, vcpu below VG_MMIO_VCPUS_MAX.
 */
#ifndef VG_TRANSPORT_MMIO_H
#define VG_TRANSPORT_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"

#define VG_MMIO_VCPUS_MAX	128u

struct vg_mmio;

struct vg_reg_access {
	unsigned int vcpu;
	uint32_t seq;		/* never 0; another one for each access */
	uint32_t offset;	/* bytes in the register window */
	uint32_t len_bytes;
	bool is_write;
	uint32_t data;
};

/* What forwards accesses, answers and interrupts. */
struct vg_mmio_link_ops {
	/* Answers an access; possibly long after, in any order. */
	void (*reply)(void *link, unsigned int vcpu, uint32_t seq,
		      uint32_t data);
	/*
	 * Raises bits of InterruptStatus (4.2.2), at the end of the turn at
	 * the latest.  False: there is nobody to do it; then
	 * vg_mmio_set_link() will come.
	 */
	bool (*raise)(void *link, uint32_t bits);
	/* The same from any thread, and at once. */
	void (*raise_now)(void *link, uint32_t bits);
};

/* Which link it is, as long as two of them can be told apart. */
struct vg_mmio_link_id {
	uint32_t word[3];
};

/*
 * For vg_device_create(): its transport and vg_mmio_transport_ops.  Then
 * vg_mmio_set_device(), before any access.
 */
struct vg_mmio *vg_mmio_create(const struct vg_mmio_link_ops *ops, void *link);
void vg_mmio_set_device(struct vg_mmio *m, struct vg_device *dev);
void vg_mmio_destroy(struct vg_mmio *m);
extern const struct vg_transport_ops vg_mmio_transport_ops;

/*
 * Accesses come over this link from now on: those over another one, answered or
 * not, will not come again, and are not answered.
 */
void vg_mmio_set_link(struct vg_mmio *m, const struct vg_mmio_link_id *id);

/*
 * Every access is answered exactly once, unless its vCPU comes with another one
 * meanwhile: then nobody waits for the answer any more.
 */
void vg_mmio_access(struct vg_mmio *m, const struct vg_reg_access *acc);

#endif
