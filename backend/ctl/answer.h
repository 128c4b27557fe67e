/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer.h - what a command of virtio-grantctl has to say: lines for people, or
 * one JSON object {"result": ..., "error": ..., "status": N} for programs.
 *
 * Guests and backends have a hand in it, and it goes to a terminal: all of it
 * is made printable when it is printed.
 */
#ifndef VG_CTL_ANSWER_H
#define VG_CTL_ANSWER_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#define PROGRAM "virtio-grantctl"

/* Exit statuses, beside 0; virtio-grantctl(8) has them. */
enum {
	VG_EXIT_FAILED = 1,
	VG_EXIT_USAGE = 2,
	VG_EXIT_NO_DRIVER = 3,
};

struct vg_answer {
	bool is_json;
	int status;
	char *text;			/* lines, or NULL */
	char *error;			/* one line, or NULL */
	struct json_object *result;	/* or NULL */
};

void vg_answer_line(struct vg_answer *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The first error is the one that counts; returns @status. */
int vg_answer_fail(struct vg_answer *a, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A text behind the error that there is. */
void vg_answer_add(struct vg_answer *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Lines to @out, the error to @err, JSON to @out.  Returns the exit status. */
int vg_answer_print(struct vg_answer *a, FILE *out, FILE *err);
void vg_answer_free(struct vg_answer *a);

/* A member that is a text, or null. */
void vg_answer_set(struct json_object *o, const char *key, const char *value);
void vg_answer_set_number(struct json_object *o, const char *key,
			  unsigned int value);

#endif
