/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_cfg.h - what a guest's configuration, as xl(1) reads it, says of devices
 * on the Xen bus:
 *
 *	virtio_grant = [ "backend=DomD,type=blk,name=root,target=/dev/vg0/x", ... ]
 *
 * xl looks up the keys that it knows, and passes over others.
 *
 * Read by a parser of our own and not with libxlutil: that library's name and
 * ABI change with each release of Xen (libxlutil.so.4.17, .4.20), so a program
 * would run on one of them only; and it brings libxenlight, libxenctrl and all
 * that they may do to a process that needs none of it.  The language is that
 * of tools/libs/util/libxlu_cfg_{l.l,y.y} of Xen 4.20: settings `key = value'
 * or `key += value' with newlines or ';' between them, a value being a string
 * in ' or ", a number, or a list in [ ] over any number of lines; '#' begins a
 * comment; the last assignment counts.
 */
#ifndef VG_XL_CFG_H
#define VG_XL_CFG_H

#include <stddef.h>

struct vg_xl_text {
	char *text;
	unsigned int line, column;	/* of where it begins, from 1 */
};

struct vg_xl_cfg {
	char *name;			/* the guest's; NULL: none */
	char *uuid;			/* likewise, as it stands there */
	struct vg_xl_text *device;	/* of virtio_grant */
	unsigned int nr_devices;
};

/*
 * 0, to be freed; or negative errno, with *@why a new text "FILE:LINE:COLUMN:
 * what" and nothing to free.
 */
int vg_xl_cfg_read(const char *file, struct vg_xl_cfg *cfg, char **why);
/* The same of what has been read; @file is for messages. */
int vg_xl_cfg_parse(const char *file, const char *text, size_t bytes,
		    struct vg_xl_cfg *cfg, char **why);
void vg_xl_cfg_free(struct vg_xl_cfg *cfg);

#endif
