/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctl.h - what the files of virtio-grantctl share. */
#ifndef VG_CTL_H
#define VG_CTL_H

#include <stdbool.h>

struct json_object;

/*
 * What the daemon behind the socket @name answers to the line @request, made
 * printable; NULL when there is none: *error is then 0 (no daemon) or negative
 * errno (it does not speak).
 */
struct json_object *vg_ctl_ask(const char *run_dir, const char *name,
			       const char *request, int *error);

/* resize.c: what "resize" does, with the words behind it; its exit status. */
int vg_ctl_resize(const char *run_dir, char *const *words, bool is_json);

#endif
