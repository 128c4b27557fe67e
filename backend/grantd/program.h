/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program.h - what tells virtio-grantd from virtio-foreignd, which are the
 * same sources otherwise (main.c): each links one definition of it.
 */
#ifndef VG_PROGRAM_H
#define VG_PROGRAM_H

#include <stdbool.h>

struct vg_program {
	const char *name;
	/*
	 * NULL in virtio-grantd.  Else this program maps foreign memory:
	 * the option --memory=MODE, false for one that it does not know; its
	 * devices are those with grant_usage=0.
	 */
	bool (*set_memory)(const char *mode);
};

extern const struct vg_program vg_program;

#endif
