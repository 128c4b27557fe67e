/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext.h - the extension's registers (kernel/uapi/virtio_grant.h), between
 * mmio.c and device.c.  Nothing else includes it.
 */
#ifndef VG_EXT_H
#define VG_EXT_H

#include <stdbool.h>
#include <stdint.h>

struct vg_device;
struct vg_queue;
struct vg_reg_access;
struct vg_state_regs;

/* False: no register of the extension's, or none of that direction. */
bool vg_ext_read(struct vg_device *dev, uint32_t offset, uint32_t *data);
/* *later: the access is answered when the device says so. */
bool vg_ext_write(struct vg_device *dev, const struct vg_reg_access *acc,
		  bool *later);

/* Requests ended: a range that was withdrawn may be free now. */
void vg_ext_drained(struct vg_device *dev);

/* Something was short when ranges were announced; @is_last: no more tries. */
void vg_ext_again(struct vg_device *dev, bool is_last);

/* Everything is unmapped but the ranges: withdraws and unbinds all. */
void vg_ext_reset(struct vg_device *dev);

/*
 * For a successor.  Restoring maps the ranges and binds the ports: 0, or
 * negative errno with part of it done, for vg_ext_reset().
 */
void vg_ext_save(const struct vg_device *dev, struct vg_state_regs *r);
int vg_ext_restore(struct vg_device *dev, const struct vg_state_regs *r);

#endif
