/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keys.h - what the toolstack says of a device, as text by names: for who must
 * not know where that is kept (xenstore: toolstack/libxl_keys.h).
 */
#ifndef VG_LIB_KEYS_H
#define VG_LIB_KEYS_H

#include <stdint.h>

struct vg_keys {
	const char *where;		/* for messages: "<where>/<key>" */
	void *arg;
	/* A new string; NULL with errno, ENOENT if there is no such key. */
	char *(*read)(const struct vg_keys *keys, const char *key);
};

static inline char *vg_keys_read(const struct vg_keys *keys, const char *key)
{
	return keys->read(keys, key);
}

/*
 * As a decimal number up to @max: 0, or negative errno with *@why a new text
 * that names the key and its value.
 */
int vg_keys_read_u64(const struct vg_keys *keys, const char *key, uint64_t max,
		     uint64_t *value, char **why);
/* With radix 10 or 16. */
int vg_keys_read_radix(const struct vg_keys *keys, const char *key, int radix,
		       uint64_t max, uint64_t *value, char **why);

/* The same for a key that need not be there: @value is left as it was then. */
int vg_keys_read_u64_if(const struct vg_keys *keys, const char *key,
			uint64_t max, uint64_t *value, char **why);

/*
 * What @parse, which gets @arg, makes of it, if it is there: NULL, or what is
 * wrong with it.  Errors as above.
 */
int vg_keys_parse_if(const struct vg_keys *keys, const char *key,
		     const char *(*parse)(void *arg, const char *text),
		     void *arg, char **why);

/*
 * 1 if it is there and this (or "1"), 0 if not; negative errno if that can't be
 * told now: no reason to take it for either.
 */
int vg_keys_is(const struct vg_keys *keys, const char *key, const char *value);
int vg_keys_is_1(const struct vg_keys *keys, const char *key);

#endif
