/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ask.h - what a daemon of this domain says on its socket. */
#ifndef VG_CTL_ASK_H
#define VG_CTL_ASK_H

#include <json-c/json.h>

/*
 * What the daemon behind the socket @name answers to the line @request, made
 * printable; NULL when there is none: *error is then 0 (no daemon) or negative
 * errno (it does not speak).
 */
struct json_object *vg_ctl_ask(const char *run_dir, const char *name,
			       const char *request, int *error);

#endif
