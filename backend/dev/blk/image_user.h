/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image_user.h - who else uses a file or a block device of this domain, in
 * words: for the operator who wonders why it can't be had.
 *
 * Found in /proc and /sys, as far as rights and namespaces allow.  What only a
 * shortage keeps from being found out (vg_error_passes()) is an error: nobody
 * can be said to use it then.
 */
#ifndef VG_IMAGE_USER_H
#define VG_IMAGE_USER_H

#include <sys/stat.h>

/*
 * *who: a new text, or NULL if nobody is found.  "is mounted on /srv", "is
 * swap", "is part of dm-3 (vg-data)", or the same of a partition of it or of
 * the disk that it is a partition of.  0, or -errno of a shortage, and no text.
 */
int vg_image_kernel_user(const struct stat *st, char **who);
/*
 * Of a file: "is behind /dev/loop3"; of a loop device, when there is another
 * one: "is over a file that is behind /dev/loop3, too".  Errors as above.
 */
int vg_image_loop_user(const struct stat *st, char **who);
/*
 * "is locked by process 812 (qemu-nbd)", "is open in process ...": a new text,
 * or NULL, be it that nobody is found or that it can't be found out.
 */
char *vg_image_process_user(const struct stat *st);

/*
 * The file that is behind a loop device, or behind the one of this partition.
 * 0, -ENOENT, or -errno of a shortage.
 */
int vg_image_loop_file(const struct stat *st, struct stat *file);

#endif
