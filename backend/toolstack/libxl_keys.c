// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libxl_keys.c - see libxl_keys.h.
 */
#include "toolstack/libxl_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

const struct vg_kind vg_kinds[] = {
	{ .name = "virtio_disk" },
	{ .name = "virtio" },
	{ .name = "virtio_grant", .is_own = true },
};
const unsigned int vg_nr_kinds = ARRAY_SIZE(vg_kinds);

char *vg_devname_backend_path(const struct vg_devname *n)
{
	return vg_strf("/local/domain/%u/backend/%s/%u/%u", n->backend,
		       n->kind->name, n->guest, n->devid);
}

char *vg_devname_front_path(const struct vg_devname *n)
{
	return vg_strf("/local/domain/%u/device/%s/%u", n->guest,
		       n->kind->name, n->devid);
}

char *vg_devname_label(const struct vg_devname *n)
{
	return vg_strf("dom%u %s/%u", n->guest, n->kind->name, n->devid);
}

/* The decimal number at *@s, up to @end ('\0' or '/'), which is passed. */
static int take_number(const char **s, char end, uint64_t max, uint64_t *v)
{
	const char *e = strchr(*s, end);
	char text[12];
	size_t len;

	if (!e)
		return -EINVAL;
	len = (size_t)(e - *s);
	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, *s, len);
	text[len] = 0;
	*s = e + 1;
	return vg_parse_u64(text, 10, max, v);
}

static bool take_word(const char **s, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*s, word, len))
		return false;
	*s += len;
	return true;
}

static int take_kind(const char **s, const struct vg_kind **kind)
{
	unsigned int i;

	for (i = 0; i < vg_nr_kinds; i++) {
		const char *p = *s;

		if (take_word(&p, vg_kinds[i].name) && *p == '/') {
			*s = p + 1;
			*kind = &vg_kinds[i];
			return 0;
		}
	}
	return -EINVAL;
}

int vg_devname_parse(const char *path, struct vg_devname *n)
{
	uint64_t be, fe, devid;

	if (!take_word(&path, "/local/domain/") ||
	    take_number(&path, '/', XEN_DOMID_MAX, &be) ||
	    !take_word(&path, "backend/") || take_kind(&path, &n->kind) ||
	    take_number(&path, '/', XEN_DOMID_MAX, &fe) ||
	    take_number(&path, '\0', UINT32_MAX, &devid))
		return -EINVAL;
	n->backend = (xen_domid_t)be;
	n->guest = (xen_domid_t)fe;
	n->devid = (uint32_t)devid;
	return 0;
}

int vg_devname_parse_below(const char *path, struct vg_devname *n)
{
	/* "/local/domain/1/backend/kind/3/51712": seven names. */
	const char *end = path;
	char *node;
	unsigned int i;
	int err;

	for (i = 0; i < 7 && end; i++)
		end = *end == '/' ? strchr(end + 1, '/') : NULL;
	node = strndup(path, end ? (size_t)(end - path) : strlen(path));
	if (!node)
		return -ENOMEM;
	err = vg_devname_parse(node, n);
	free(node);
	return err;
}

/* As we print it: with no zeroes before it. */
static int take_label_number(const char **s, char end, uint64_t max,
			     uint64_t *v)
{
	if ((*s)[0] == '0' && (*s)[1] != end)
		return -EINVAL;
	return take_number(s, end, max, v);
}

int vg_devname_parse_label(const char *label, struct vg_devname *n, char **why)
{
	const char *s = label, *what = NULL;
	uint64_t guest = 0, devid = 0;

	/* Nothing is behind a number that ends the label. */
	if (!take_word(&s, "dom") || !s[strcspn(s, " /")] ||
	    take_label_number(&s, s[strcspn(s, " /")], XEN_DOMID_MAX, &guest))
		what = "a domain (dom3)";
	else if (take_kind(&s, &n->kind))
		what = "a kind of device after that";
	else if (take_label_number(&s, '\0', UINT32_MAX, &devid))
		what = "a device number at its end";
	if (what) {
		*why = vg_strf("\"%s\" is not the name of a device, which is like \"dom3 %s/51712\": it has not %s",
			       label, vg_kinds[0].name, what);
		return -EINVAL;
	}
	n->guest = (xen_domid_t)guest;
	n->devid = (uint32_t)devid;
	return 0;
}

char *vg_key_read(struct xen_store *xs, const char *dir, const char *key)
{
	char *path = vg_strf("%s/%s", dir, key);
	char *v = xen_store_read(xs, path);
	int err = errno;

	free(path);
	errno = err;
	return v;
}

static char *node_key_read(const struct vg_keys *k, const char *key)
{
	return vg_key_read(*(struct xen_store **)k->arg, k->where, key);
}

struct vg_keys vg_node_keys(struct xen_store **xs, const char *dir)
{
	return (struct vg_keys){ .where = dir, .arg = xs,
				 .read = node_key_read };
}

int vg_key_write(struct xen_store *xs, const char *dir, const char *key,
		 const char *value)
{
	char *path = vg_strf("%s/%s", dir, key);
	int err = xen_store_write(xs, path, value);

	free(path);
	return err;
}

int vg_key_read_u64(struct xen_store *xs, const char *dir, const char *key,
		    uint64_t max, uint64_t *value, char **why)
{
	const struct vg_keys keys = vg_node_keys(&xs, dir);

	return vg_keys_read_u64(&keys, key, max, value, why);
}

int vg_grant_usage_read(const struct vg_keys *keys, bool *grant_usage,
			char **why)
{
	uint64_t v;
	int err = vg_keys_read_u64(keys, "grant_usage", 1, &v, why);

	if (!err)
		*grant_usage = v;
	return err;
}
