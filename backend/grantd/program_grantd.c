// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * program_grantd.c - see program.h: grants and nothing else.
 */
#include "grantd/program.h"

#include <stddef.h>

const struct vg_program vg_program = {
	.name = "virtio-grantd",
};
