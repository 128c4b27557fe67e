/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commands.h - the commands of virtio-grantctl beside status and stats.  Those
 * about devices on the Xen bus do all of it by xenstore, as the control domain;
 * nothing here makes a hypercall.
 *
 * Each gets its words, itself first, and leaves what it has to say in the
 * answer.
 */
#ifndef VG_CTL_COMMANDS_H
#define VG_CTL_COMMANDS_H

#include "ctl/answer.h"
#include "ctl/session.h"

void vg_ctl_attach(struct vg_answer *a, int argc, char **argv);
void vg_ctl_detach(struct vg_answer *a, int argc, char **argv);
void vg_ctl_list(struct vg_answer *a, int argc, char **argv);
void vg_ctl_create(struct vg_answer *a, int argc, char **argv);
void vg_ctl_resize(struct vg_answer *a, int argc, char **argv);
void vg_ctl_watch(struct vg_answer *a, int argc, char **argv);

/* How long attach and a forced detach wait, in ms; tests are in a hurry. */
extern unsigned int vg_ctl_wait_ms, vg_ctl_driver_wait_ms;

/* The first of them, of an option's text: 0 or -EINVAL. */
int vg_ctl_set_wait(const char *seconds);

/* --run-dir before the command. */
extern const char *vg_ctl_run_dir;

enum vg_attach_wait {
	VG_ATTACH_NO_WAIT,
	VG_ATTACH_BACKEND,		/* until the backend has it */
	VG_ATTACH_CONNECTED,		/* and the guest uses it */
};

/*
 * A device for @guest by @spec, which is taken.  0, VG_EXIT_NO_DRIVER, or
 * another status with the error in the answer and nothing left of the device.
 * @dev is what it became, to be freed in any case.
 */
int vg_attach(struct vg_session *s, const struct vg_domain *guest,
	      struct vg_bus_spec *spec, enum vg_attach_wait wait,
	      struct vg_bus_dev *dev);

/* Removes it, by more than one try: the answer says if that failed. */
void vg_attach_undo(struct vg_session *s, const struct vg_bus_dev *dev);

/*
 * Removes a device whose guest has ended, when its backend has let go of it or
 * had its time.  0, or a status with the error in the answer.
 */
int vg_detach_gone(struct vg_session *s, struct vg_bus_dev *dev);

#endif
