/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox_filter.h - between sandbox.c and sandbox_filter.c. */
#ifndef VG_SANDBOX_FILTER_H
#define VG_SANDBOX_FILTER_H

#include "grantd/sandbox.h"

/* Loads the filter.  0 or negative errno. */
int vg_sandbox_filter(const struct vg_sandbox *sb);

#endif
