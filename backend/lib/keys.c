// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * keys.c - see keys.h.
 */
#include "lib/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

int vg_keys_read_radix(const struct vg_keys *k, const char *key, int radix,
		       uint64_t max, uint64_t *value, char **why)
{
	char *v = vg_keys_read(k, key);
	int err;

	if (!v) {
		err = -errno;
		*why = vg_strf("xenstore key %s/%s: %s", k->where, key,
			       strerror(-err));
		return err;
	}
	err = vg_parse_u64(v, radix, max, value);
	if (err)
		*why = vg_strf("xenstore key %s/%s: \"%s\" is %s", k->where,
			       key, v, err == -ERANGE ? "out of range" :
			       radix == 16 ? "no hexadecimal number" :
			       "no decimal number");
	free(v);
	return err;
}

int vg_keys_read_u64(const struct vg_keys *k, const char *key, uint64_t max,
		     uint64_t *value, char **why)
{
	return vg_keys_read_radix(k, key, 10, max, value, why);
}

int vg_keys_read_u64_if(const struct vg_keys *keys, const char *key,
			uint64_t max, uint64_t *value, char **why)
{
	int err = vg_keys_read_u64(keys, key, max, value, why);

	if (err != -ENOENT)
		return err;
	free(*why);
	*why = NULL;
	return 0;
}

int vg_keys_is_1(const struct vg_keys *k, const char *key)
{
	return vg_keys_is(k, key, "1");
}

int vg_keys_is(const struct vg_keys *k, const char *key, const char *value)
{
	char *v = vg_keys_read(k, key);
	int is = v ? !strcmp(v, value) : -errno;

	free(v);
	/* EINVAL: it is no text. */
	return is == -ENOENT || is == -EINVAL ? 0 : is;
}

int vg_keys_parse_if(const struct vg_keys *k, const char *key,
		     const char *(*parse)(void *arg, const char *text),
		     void *arg, char **why)
{
	char *v = vg_keys_read(k, key);
	const char *wrong;
	int err = -errno;

	if (!v && err != -ENOENT)
		*why = vg_strf("xenstore key %s/%s: %s", k->where, key,
			       strerror(-err));
	if (!v)
		return err == -ENOENT ? 0 : err;
	wrong = parse(arg, v);
	if (wrong)
		*why = vg_strf("xenstore key %s/%s: \"%s\": %s", k->where, key,
			       v, wrong);
	free(v);
	return wrong ? -EINVAL : 0;
}
