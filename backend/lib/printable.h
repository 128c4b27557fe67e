/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * printable.h - text that somebody else wrote, before it reaches a log or a
 * terminal.
 */
#ifndef VG_PRINTABLE_H
#define VG_PRINTABLE_H

/*
 * Makes a '?' of each byte of @s that a terminal would obey or a reader be
 * deceived by: control characters (C0, DEL, and C1 in either form), what is no
 * UTF-8, line and paragraph separators, and those that turn the direction of
 * writing.  What is in @keep stays: "" or "\n".  Never longer than it was.
 */
void vg_printable(char *s, const char *keep);

#endif
