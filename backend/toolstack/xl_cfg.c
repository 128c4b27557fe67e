// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * xl_cfg.c - see xl_cfg.h.  The file is the operator's, but what is wrong with
 * it must be said, not guessed.
 */
#include "toolstack/xl_cfg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/printable.h"
#include "lib/util.h"

#define FILE_BYTES_MAX	(1u << 20)
#define DEPTH_MAX	16u
#define ITEMS_MAX	4096u

enum token_kind {
	T_END, T_NEWLINE, T_WORD, T_NUMBER, T_STRING, T_EQUALS, T_ADD,
	T_SEMICOLON, T_COMMA, T_OPEN, T_CLOSE,
};

struct token {
	enum token_kind kind;
	char *text;			/* of a word, number or string */
	bool is_odd;			/* a string that we don't take */
	unsigned int line, column;
};

struct parser {
	const char *file;
	const char *p, *end, *line_start;
	unsigned int line, depth;
	struct token t;			/* the one that is looked at */
	char **why;
	int err;
};

/* A list, or a text as a list of one. */
struct value {
	bool is_list, has_list;		/* and one inside */
	struct vg_xl_text *item;
	unsigned int nr;
	bool is_odd;
};

static unsigned int column_of(const struct parser *ps, const char *p)
{
	return (unsigned int)(p - ps->line_start) + 1;
}

static int fail(struct parser *ps, unsigned int line, unsigned int column,
		const char *what)
{
	if (!ps->err) {
		ps->err = -EINVAL;
		*ps->why = vg_strf("%s:%u:%u: %s", ps->file, line, column,
				   what);
		vg_printable(*ps->why, "");
	}
	return ps->err;
}

static int fail_here(struct parser *ps, const char *what)
{
	return fail(ps, ps->t.line, ps->t.column, what);
}

/* ---- tokens ------------------------------------------------------------- */

static bool is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_';
}

static void take_word(struct parser *ps)
{
	const char *from = ps->p;

	ps->t.kind = *from >= '0' && *from <= '9' ? T_NUMBER : T_WORD;
	while (ps->p < ps->end && is_word_char(*ps->p))
		ps->p++;
	ps->t.text = vg_strf("%.*s", (int)(ps->p - from), from);
}

/* What stands behind a backslash; 0: a number, or nothing known. */
static char unescape(char c)
{
	static const char from[] = "\\'\"abfnrtv";
	static const char to[] = "\\'\"\a\b\f\n\r\t\v";
	const char *at = c ? strchr(from, c) : NULL;

	return at ? to[at - from] : 0;
}

/* Where it ends, or its line, or the file does. */
static const char *string_end(const struct parser *ps, char quote)
{
	const char *q = ps->p;

	while (q < ps->end && *q != '\n' && *q != quote)
		q += *q == '\\' && ps->end - q > 1 && q[1] != '\n' ? 2 : 1;
	return q;
}

static int take_string(struct parser *ps)
{
	char quote = *ps->p++, *out, c;
	const char *end = string_end(ps, quote);

	ps->t.kind = T_STRING;
	out = ps->t.text = vg_zalloc((size_t)(end - ps->p) + 1);
	if (end == ps->end || *end != quote)
		return fail_here(ps, "a string that has no end in its line");
	while (ps->p < end) {
		c = *ps->p++;
		if (c == '\\')
			c = unescape(*ps->p++);
		/* xl 4.20 drops a character that is written as a number. */
		ps->t.is_odd |= !c;
		if (c)
			*out++ = c;
	}
	ps->p++;
	return 0;
}

static int take_sign(struct parser *ps)
{
	static const char signs[] = "=;,[]";
	static const enum token_kind kinds[] = {
		T_EQUALS, T_SEMICOLON, T_COMMA, T_OPEN, T_CLOSE,
	};
	const char *at = *ps->p ? strchr(signs, *ps->p) : NULL;

	if (at) {
		ps->t.kind = kinds[at - signs];
		ps->p++;
		return 0;
	}
	if (ps->end - ps->p > 1 && ps->p[0] == '+' && ps->p[1] == '=') {
		ps->t.kind = T_ADD;
		ps->p += 2;
		return 0;
	}
	return fail_here(ps, "a character that means nothing here");
}

static void pass_blanks(struct parser *ps)
{
	while (ps->p < ps->end &&
	       (*ps->p == ' ' || *ps->p == '\t' || *ps->p == '\r'))
		ps->p++;
	if (ps->p < ps->end && *ps->p == '#')
		while (ps->p < ps->end && *ps->p != '\n')
			ps->p++;
}

/* The next one, in place of the one that was looked at. */
static int next(struct parser *ps)
{
	if (ps->err)
		return ps->err;
	free(ps->t.text);
	pass_blanks(ps);
	ps->t = (struct token){ .kind = T_END, .line = ps->line,
				.column = column_of(ps, ps->p) };
	if (ps->p == ps->end)
		return 0;
	if (*ps->p == '\n') {
		ps->t.kind = T_NEWLINE;
		ps->line_start = ++ps->p;
		ps->line++;
		return 0;
	}
	if (*ps->p == '"' || *ps->p == '\'')
		return take_string(ps);
	if (!is_word_char(*ps->p))
		return take_sign(ps);
	take_word(ps);
	return 0;
}

static int pass_newlines(struct parser *ps)
{
	while (!ps->err && ps->t.kind == T_NEWLINE)
		next(ps);
	return ps->err;
}

/* ---- values ------------------------------------------------------------- */

static void value_free(struct value *v)
{
	while (v->nr)
		free(v->item[--v->nr].text);
	free(v->item);
	*v = (struct value){ 0 };
}

static int add_item(struct parser *ps, struct value *v)
{
	if (v->nr == ITEMS_MAX)
		return fail_here(ps, "more than 4096 elements");
	v->item = realloc(v->item, (v->nr + 1) * sizeof(*v->item));
	if (!v->item)
		abort();
	v->item[v->nr++] = (struct vg_xl_text){ ps->t.text, ps->t.line,
						ps->t.column };
	v->is_odd |= ps->t.is_odd;
	ps->t.text = NULL;
	return next(ps);
}

static int take_list(struct parser *ps, struct value *v);

/* An element of a list goes into @v as well. */
static int take_value(struct parser *ps, struct value *v)
{
	if (ps->t.kind == T_STRING || ps->t.kind == T_NUMBER)
		return add_item(ps, v);
	if (ps->t.kind == T_OPEN)
		return take_list(ps, v);
	return fail_here(ps, "neither a string nor a number nor a list");
}

static int take_elements(struct parser *ps, struct value *v)
{
	while (!pass_newlines(ps) && ps->t.kind != T_CLOSE) {
		v->has_list |= ps->t.kind == T_OPEN;
		if (take_value(ps, v) || pass_newlines(ps))
			return ps->err;
		if (ps->t.kind == T_COMMA)
			next(ps);
		else if (ps->t.kind != T_CLOSE)
			return fail_here(ps, "no comma and no ] behind an element");
	}
	return ps->err;
}

static int take_list(struct parser *ps, struct value *v)
{
	v->is_list = true;
	if (++ps->depth > DEPTH_MAX)
		return fail_here(ps, "lists in lists in lists");
	if (next(ps) || take_elements(ps, v))
		return ps->err;
	ps->depth--;
	return next(ps);
}

/* ---- settings ----------------------------------------------------------- */

/* `+=' puts what was there before it. */
static int join(struct parser *ps, struct value *old, struct value *v)
{
	char *text;

	if (!old->nr && !old->is_list)
		return 0;
	if (old->is_list != v->is_list)
		return fail_here(ps, "+= of a list and what is none");
	if (!v->is_list) {
		text = vg_strf("%s%s", old->item[0].text, v->item[0].text);
		free(v->item[0].text);
		v->item[0].text = text;
		return 0;
	}
	if (old->nr + v->nr > ITEMS_MAX)
		return fail_here(ps, "more than 4096 elements");
	old->item = realloc(old->item, (old->nr + v->nr + 1) *
			    sizeof(*old->item));
	if (!old->item)
		abort();
	if (v->nr)
		memcpy(old->item + old->nr, v->item, v->nr * sizeof(*v->item));
	old->nr += v->nr;
	old->is_odd |= v->is_odd;
	old->has_list |= v->has_list;
	free(v->item);
	*v = *old;
	*old = (struct value){ 0 };
	return 0;
}

static int store(struct parser *ps, struct value *old, struct value *v,
		 bool is_add)
{
	if (is_add && join(ps, old, v))
		return ps->err;
	value_free(old);
	*old = *v;
	*v = (struct value){ 0 };
	return 0;
}

struct wanted {
	struct value name, uuid, devices;
};

static struct value *wanted_of(struct wanted *w, const char *key)
{
	return !strcmp(key, "name") ? &w->name :
	       !strcmp(key, "uuid") ? &w->uuid :
	       !strcmp(key, "virtio_grant") ? &w->devices : NULL;
}

static int check_wanted(struct parser *ps, const struct token *key,
			bool is_devices, const struct value *v)
{
	if (is_devices && (!v->is_list || v->has_list))
		return fail(ps, key->line, key->column, "virtio_grant is no list of strings");
	if (!is_devices && (v->is_list || !v->nr))
		return fail(ps, key->line, key->column, *key->text == 'n' ?
			    "name is no string" : "uuid is no string");
	if (v->is_odd)
		return fail(ps, key->line, key->column, "a \\ in one of its strings that virtio-grantctl does not know");
	return 0;
}

/* The word is looked at. */
static int take_setting(struct parser *ps, struct wanted *w)
{
	struct token key = ps->t;
	struct value *to = wanted_of(w, key.text), v = { 0 };
	bool is_add;

	ps->t.text = NULL;
	next(ps);
	is_add = ps->t.kind == T_ADD;
	if (!ps->err && ps->t.kind != T_EQUALS && !is_add)
		fail_here(ps, "no = behind the name of a setting");
	next(ps);
	if (!ps->err)
		take_value(ps, &v);
	if (!ps->err && to && !check_wanted(ps, &key, to == &w->devices, &v))
		store(ps, to, &v, is_add);
	value_free(&v);
	free(key.text);
	return ps->err;
}

static int take_file(struct parser *ps, struct wanted *w)
{
	next(ps);
	while (!ps->err && ps->t.kind != T_END) {
		if (ps->t.kind == T_NEWLINE || ps->t.kind == T_SEMICOLON) {
			next(ps);
			continue;
		}
		if (ps->t.kind != T_WORD)
			return fail_here(ps, "not the name of a setting");
		if (take_setting(ps, w))
			return ps->err;
		if (ps->t.kind != T_NEWLINE && ps->t.kind != T_SEMICOLON &&
		    ps->t.kind != T_END)
			return fail_here(ps, "something behind the value of a setting");
	}
	return ps->err;
}

int vg_xl_cfg_parse(const char *file, const char *text, size_t bytes,
		    struct vg_xl_cfg *cfg, char **why)
{
	struct parser ps = { .file = file, .p = text, .end = text + bytes,
			     .line_start = text, .line = 1, .why = why };
	struct wanted w = { 0 };

	take_file(&ps, &w);
	free(ps.t.text);
	*cfg = (struct vg_xl_cfg){ 0 };
	if (!ps.err) {
		if (w.name.nr)
			cfg->name = w.name.item[0].text;
		if (w.uuid.nr)
			cfg->uuid = w.uuid.item[0].text;
		free(w.name.item);
		free(w.uuid.item);
		cfg->device = w.devices.item;
		cfg->nr_devices = w.devices.nr;
		return 0;
	}
	value_free(&w.name);
	value_free(&w.uuid);
	value_free(&w.devices);
	return ps.err;
}

void vg_xl_cfg_free(struct vg_xl_cfg *cfg)
{
	while (cfg->nr_devices)
		free(cfg->device[--cfg->nr_devices].text);
	free(cfg->device);
	free(cfg->name);
	free(cfg->uuid);
	*cfg = (struct vg_xl_cfg){ 0 };
}

/* Whole: 0 and *@bytes, or negative errno. */
static int read_file(const char *file, char *text, size_t *bytes)
{
	int err = 0, fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	*bytes = 0;
	if (fd < 0)
		return -errno;
	while (n > 0 && *bytes <= FILE_BYTES_MAX) {
		n = read(fd, text + *bytes, FILE_BYTES_MAX + 1 - *bytes);
		if (n < 0)
			err = -errno;
		else
			*bytes += (size_t)n;
	}
	close(fd);
	return err ? err : *bytes > FILE_BYTES_MAX ? -EFBIG : 0;
}

int vg_xl_cfg_read(const char *file, struct vg_xl_cfg *cfg, char **why)
{
	char *text = vg_zalloc(FILE_BYTES_MAX + 1);
	size_t bytes;
	int err = read_file(file, text, &bytes);

	if (err)
		*why = vg_strf("%s: %s", file, strerror(-err));
	else
		err = vg_xl_cfg_parse(file, text, bytes, cfg, why);
	free(text);
	return err;
}
