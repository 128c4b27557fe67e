// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * answer.c - see answer.h.
 */
#include "ctl/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/printable.h"
#include "lib/util.h"

static char *format(const char *fmt, va_list ap)
{
	char *s;

	if (vasprintf(&s, fmt, ap) < 0)
		abort();
	vg_printable(s, "");
	return s;
}

void vg_answer_line(struct vg_answer *a, const char *fmt, ...)
{
	char *line, *before = a->text;
	va_list ap;

	va_start(ap, fmt);
	line = format(fmt, ap);
	va_end(ap);
	a->text = vg_strf("%s%s\n", before ? before : "", line);
	free(before);
	free(line);
}

int vg_answer_fail(struct vg_answer *a, int status, const char *fmt, ...)
{
	va_list ap;

	if (a->error)
		return a->status;
	va_start(ap, fmt);
	a->error = format(fmt, ap);
	va_end(ap);
	a->status = status;
	return status;
}

void vg_answer_add(struct vg_answer *a, const char *fmt, ...)
{
	char *more, *before = a->error;
	va_list ap;

	va_start(ap, fmt);
	more = format(fmt, ap);
	va_end(ap);
	a->error = vg_strf("%s%s", before ? before : "", more);
	free(before);
	free(more);
}

void vg_answer_set(struct json_object *o, const char *key, const char *value)
{
	char *copy = value ? vg_strdup(value) : NULL;

	if (copy)
		vg_printable(copy, "");
	json_object_object_add(o, key, copy ? json_object_new_string(copy) :
					      NULL);
	free(copy);
}

void vg_answer_set_number(struct json_object *o, const char *key,
			  unsigned int value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

static void print_json(const struct vg_answer *a, FILE *out)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "result", json_object_get(a->result));
	vg_answer_set(o, "error", a->error);
	json_object_object_add(o, "status", json_object_new_int(a->status));
	fprintf(out, "%s\n",
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
}

int vg_answer_print(struct vg_answer *a, FILE *out, FILE *err)
{
	if (a->is_json)
		print_json(a, out);
	else if (a->text)
		fputs(a->text, out);
	if (a->error && !a->is_json)
		fprintf(err, PROGRAM ": %s\n", a->error);
	if (fflush(out) || ferror(out)) {
		fprintf(err, PROGRAM ": %s\n", strerror(errno));
		return VG_EXIT_FAILED;
	}
	return a->status;
}

void vg_answer_free(struct vg_answer *a)
{
	free(a->text);
	free(a->error);
	json_object_put(a->result);
	*a = (struct vg_answer){ 0 };
}
