// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bus_spec.c - see bus_spec.h.
 */
#include "toolstack/bus_spec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/printable.h"
#include "lib/util.h"

#define VIRTIO_ID_MAX	0xffffu
#define VIRTIO_ID_BLK	2u

/* Words for people; any other type goes by its number. */
static const struct {
	const char *word;
	uint32_t id;
} types[] = {
	{ "blk", VIRTIO_ID_BLK }, { "console", 3 }, { "rng", 4 },
};

/* Ours, xenbus', or libxl's. */
static const char *const reserved[] = {
	"state", "online", "frontend", "frontend-id", "backend-id",
	"device-id", "grant_usage", "transport", "base", "irq", "error",
	"msg-versions", "msg-version", "msg-backend-id", "msg-ref", "msg-port",
	"specification", "removable", "hotplug-status",
};

uint32_t vg_bus_type_id(const char *type)
{
	uint64_t id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].word, type))
			return types[i].id;
	return vg_parse_u64(type, 10, VIRTIO_ID_MAX, &id) ? 0 : (uint32_t)id;
}

static bool is_made_of(const char *s, size_t chars_max, const char *extra)
{
	size_t n = strlen(s), i;

	for (i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') ||
		      (s[i] >= 'A' && s[i] <= 'Z') ||
		      (s[i] >= '0' && s[i] <= '9') || strchr(extra, s[i])))
			return false;
	return n && n <= chars_max;
}

const char *vg_bus_name_check(const char *name)
{
	return is_made_of(name, VG_BUS_NAME_CHARS, "._-") ? NULL :
	       "not 1 to 64 letters, digits, '.', '_' or '-'";
}

void vg_bus_spec_free(struct vg_bus_spec *spec)
{
	while (spec->nr_keys) {
		spec->nr_keys--;
		free(spec->key[spec->nr_keys].key);
		free(spec->key[spec->nr_keys].value);
	}
	free(spec->type);
	free(spec->backend);
	free(spec->name);
	*spec = (struct vg_bus_spec){ 0 };
}

const char *vg_bus_spec_value(const struct vg_bus_spec *spec, const char *key)
{
	unsigned int i;

	for (i = 0; i < spec->nr_keys; i++)
		if (!strcmp(spec->key[i].key, key))
			return spec->key[i].value;
	return NULL;
}

/* ---- one key ------------------------------------------------------------ */

static int refuse(char **why, const char *key, const char *what)
{
	*why = vg_strf("%s=: %s", key, what);
	vg_printable(*why, "");
	return -EINVAL;
}

static int check_value(const char *key, const char *value, char **why)
{
	char *copy = vg_strdup(value);
	bool is_same;

	vg_printable(copy, "");
	is_same = !strcmp(copy, value);
	free(copy);
	if (!*value)
		return refuse(why, key, "has no value");
	if (strlen(value) > VG_BUS_VALUE_BYTES)
		return refuse(why, key, "longer than 1024 bytes");
	if (!is_same)
		return refuse(why, key, "a control character, or no UTF-8");
	return 0;
}

static int set_once(char **field, const char *key, const char *value,
		    char **why)
{
	if (*field)
		return refuse(why, key, "given twice");
	*field = vg_strdup(value);
	return 0;
}

static int set_type(struct vg_bus_spec *spec, const char *value, char **why)
{
	int err = set_once(&spec->type, "type", value, why);

	if (err)
		return err;
	spec->device_id = vg_bus_type_id(value);
	if (spec->device_id)
		return 0;
	*why = vg_strf("type=%s: unknown; blk, console, rng, or the number of a virtio device (virtio specification, \"Device Types\")",
		       value);
	return -EINVAL;
}

static int set_name(struct vg_bus_spec *spec, const char *value, char **why)
{
	const char *wrong = vg_bus_name_check(value);

	return wrong ? refuse(why, "name", wrong) :
		       set_once(&spec->name, "name", value, why);
}

static int set_other(struct vg_bus_spec *spec, const char *key,
		     const char *value, char **why)
{
	unsigned int i;

	if (!is_made_of(key, VG_BUS_KEY_CHARS, "_-"))
		return refuse(why, key, "no name of a key (1 to 32 letters, digits, '_' or '-')");
	for (i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(reserved[i], key))
			return refuse(why, key, "is not yours to choose");
	if (!strncmp(key, "msg-", 4))
		return refuse(why, key, "is not yours to choose");
	if (vg_bus_spec_value(spec, key))
		return refuse(why, key, "given twice");
	if (spec->nr_keys == VG_BUS_KEYS_MAX)
		return refuse(why, key, "more than 32 keys");
	spec->key[spec->nr_keys++] = (struct vg_bus_key){
		vg_strdup(key), vg_strdup(value)
	};
	return 0;
}

static int set(struct vg_bus_spec *spec, const char *key, const char *value,
	       char **why)
{
	int err = check_value(key, value, why);

	if (err)
		return err;
	if (!strcmp(key, "type"))
		return set_type(spec, value, why);
	if (!strcmp(key, "name"))
		return set_name(spec, value, why);
	if (!strcmp(key, "backend"))
		return set_once(&spec->backend, key, value, why);
	return set_other(spec, key, value, why);
}

static int add(struct vg_bus_spec *spec, const char *text, size_t len,
	       char **why)
{
	char *key = vg_strf("%.*s", (int)len, text), *eq = strchr(key, '=');
	int err = -EINVAL;

	if (!eq || eq == key) {
		*why = vg_strf("\"%s\": no KEY=VALUE", key);
		vg_printable(*why, "");
	} else {
		*eq = 0;
		err = set(spec, key, eq + 1, why);
	}
	free(key);
	return err;
}

int vg_bus_spec_add(struct vg_bus_spec *spec, const char *text, char **why)
{
	return add(spec, text, strlen(text), why);
}

int vg_bus_spec_add_list(struct vg_bus_spec *spec, const char *text,
			 char **why)
{
	int err;

	for (;;) {
		size_t len;

		text += strspn(text, " \t");
		len = strncmp(text, "target=", 7) ? strcspn(text, ",") :
						    strlen(text);
		err = add(spec, text, len, why);
		text += len;
		if (err || !*text)
			return err;
		text++;
	}
}

/* ---- what a disk has besides -------------------------------------------- */

static void add_default(struct vg_bus_spec *spec, const char *key,
			const char *value)
{
	if (vg_bus_spec_value(spec, key) || spec->nr_keys == VG_BUS_KEYS_MAX)
		return;
	spec->key[spec->nr_keys++] = (struct vg_bus_key){
		vg_strdup(key), vg_strdup(value)
	};
}

struct synonym {
	const char *word, *key;
	const char *values[5][2];	/* NULL: any, as it is */
};

static const struct synonym disk_synonyms[] = {
	{ "target", "params", { { NULL } } },
	{ "access", "mode", { { "ro", "r" }, { "r", "r" }, { "rw", "w" },
			      { "w", "w" } } },
	{ "discard", "discard-enable", { { "1", "1" }, { "0", "0" },
					 { "on", "1" }, { "off", "0" } } },
};

static int translate_value(const struct synonym *s, struct vg_bus_key *k,
			   char **why)
{
	unsigned int i;

	for (i = 0; s->values[i][0]; i++) {
		if (strcmp(s->values[i][0], k->value))
			continue;
		free(k->value);
		k->value = vg_strdup(s->values[i][1]);
		return 0;
	}
	if (!i)
		return 0;
	*why = vg_strf("%s=%s: neither %s nor %s", s->word, k->value,
		       s->values[0][0], s->values[2][0]);
	return -EINVAL;
}

static int translate(struct vg_bus_spec *spec, const struct synonym *s,
		     char **why)
{
	unsigned int i;

	for (i = 0; i < spec->nr_keys; i++) {
		struct vg_bus_key *k = &spec->key[i];

		if (strcmp(k->key, s->word))
			continue;
		if (vg_bus_spec_value(spec, s->key)) {
			*why = vg_strf("%s= and %s= are the same: given twice",
				       s->word, s->key);
			return -EINVAL;
		}
		if (translate_value(s, k, why))
			return -EINVAL;
		free(k->key);
		k->key = vg_strdup(s->key);
	}
	return 0;
}

/* As libxl has it: writable, and then with discard. */
static int complete_disk(struct vg_bus_spec *spec, char **why)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(disk_synonyms); i++)
		if (translate(spec, &disk_synonyms[i], why))
			return -EINVAL;
	if (!vg_bus_spec_value(spec, "params")) {
		*why = vg_strf("target= is missing: the image or block device, in the backend's domain");
		return -EINVAL;
	}
	add_default(spec, "mode", "w");
	add_default(spec, "discard-enable",
		    strcmp(vg_bus_spec_value(spec, "mode"), "w") ? "0" : "1");
	return 0;
}

int vg_bus_spec_complete(struct vg_bus_spec *spec, char **why)
{
	if (!spec->type) {
		*why = vg_strf("type= is missing: blk, console, rng, or the number of a virtio device");
		return -EINVAL;
	}
	return spec->device_id == VIRTIO_ID_BLK ? complete_disk(spec, why) : 0;
}

char *vg_bus_spec_default_name(const struct vg_bus_spec *spec, unsigned int n)
{
	bool is_number = spec->type[0] >= '0' && spec->type[0] <= '9';

	return is_number ? vg_strf("virtio%s-%u", spec->type, n) :
			   vg_strf("%s%u", spec->type, n);
}
