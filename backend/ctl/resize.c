// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resize.c - virtio-grantctl resize DEVICE: virtio-grantd of this domain looks
 * at what the device is made of, and has the guest told if that has grown.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"

#define PROGRAM "virtio-grantctl"

/* "dom3 virtio_disk/51712", as one word or as the two that it is unquoted. */
static char *device_named(char *const *words)
{
	struct vg_devname name;
	char *text, *why = NULL, *label = NULL;

	if (words[1] && words[2]) {
		fprintf(stderr, PROGRAM ": resize: one device at a time, not \"%s\", too\n",
			words[2]);
		return NULL;
	}
	text = words[1] ? vg_strf("%s %s", words[0], words[1]) :
			  vg_strdup(words[0]);
	if (vg_devname_parse_label(text, &name, &why))
		fprintf(stderr, PROGRAM ": resize: %s\n", why);
	else
		label = vg_devname_label(&name);
	free(why);
	free(text);
	return label;
}

static int show(struct json_object *answer, bool is_json)
{
	struct json_object *done, *text;

	if (is_json)
		puts(json_object_to_json_string_ext(answer,
						    JSON_C_TO_STRING_PRETTY));
	if (!json_object_object_get_ex(answer, "done", &done) ||
	    !json_object_object_get_ex(answer, "text", &text)) {
		fputs(PROGRAM ": virtio-grantd does not know this request: it is older\n",
		      stderr);
		return 1;
	}
	if (!json_object_get_boolean(done)) {
		fprintf(stderr, "refused: %s\n", json_object_get_string(text));
		return 1;
	}
	if (!is_json)
		puts(json_object_get_string(text));
	return 0;
}

static int ask(const char *run_dir, const char *label, bool is_json)
{
	char *request = vg_strf("resize %s\n", label);
	struct json_object *answer;
	int err, status = 1;

	answer = vg_ctl_ask(run_dir, "grantd.sock", request, &err);
	free(request);
	if (answer)
		status = show(answer, is_json);
	else if (err == -EIO)
		fprintf(stderr, PROGRAM ": virtio-grantd does not answer: %s may be resized yet, see " PROGRAM " status\n",
			label);
	else if (err)
		fprintf(stderr, PROGRAM ": virtio-grantd: %s\n",
			strerror(-err));
	else
		fprintf(stderr, PROGRAM ": virtio-grantd does not run in this domain (%s)\n",
			run_dir);
	json_object_put(answer);
	return status;
}

int vg_ctl_resize(const char *run_dir, char *const *words, bool is_json)
{
	char *label = device_named(words);
	int status = label ? ask(run_dir, label, is_json) : 2;

	free(label);
	return status;
}
