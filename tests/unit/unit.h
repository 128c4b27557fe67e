/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unit.h - cmocka's headers in the order it wants them, and what every suite
 * of tests/unit/ and tests/system/ uses.
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_xen.h"

/*
 * Collects what the code under test logs, instead of writing it.
 * unit_logged(): whether a line contained @text.
 */
void unit_log_start(void);
void unit_log_stop(void);
bool unit_logged(const char *text);
unsigned int unit_log_lines(void);
/* Writes them to standard error: for a test that is about to fail. */
void unit_log_dump(void);

/* A temporary file of @bytes, filled with a pattern; removed by the test. */
char *unit_image(const char *name, uint64_t bytes);
/* The byte that unit_image() put at @offset. */
uint8_t unit_pattern(uint64_t offset);
/* How many descriptors this process has open: a leak is one more. */
unsigned int unit_nr_fds(void);
/* A fresh directory below TMPDIR, or below /tmp; NULL-safe removal. */
char *unit_tmpdir(void);
void unit_rm_r(char *dir);
/*
 * A loop device over @file: its name, to be given back with *loop; NULL: there
 * is none to be had, mostly for want of being root.
 */
char *unit_loop(const char *file, int *loop);
void unit_loop_end(char *name, int loop);

#endif
