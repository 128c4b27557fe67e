// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resize.c - virtio-grantctl resize: virtio-grantd of this domain looks at what
 * a device is made of, and has the guest told if that has grown.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/libxl_keys.h"

static void usage(struct vg_answer *a, const char *why)
{
	vg_answer_fail(a, VG_EXIT_USAGE, "resize: %s (usage: resize DEVICE)",
		       why);
}

/* ---- by virtio-grantd of this domain ------------------------------------ */

/* "dom3 virtio_disk/51712", new, of that or the same with a slash.  Or NULL. */
static char *label_of(struct vg_answer *a, const char *text)
{
	struct vg_devname name;
	char *why = NULL, *label = NULL;

	if (vg_devname_parse_label(text, &name, &why))
		usage(a, why);
	else
		label = vg_devname_label(&name);
	free(why);
	return label;
}

static int take_answer(struct vg_answer *a, const char *label,
		       struct json_object *said)
{
	struct json_object *done, *text;

	if (!json_object_object_get_ex(said, "done", &done) ||
	    !json_object_object_get_ex(said, "text", &text))
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not know this request: it is older");
	if (!json_object_get_boolean(done))
		return vg_answer_fail(a, VG_EXIT_FAILED, "refused: %s",
				      json_object_get_string(text));
	vg_answer_line(a, "%s", json_object_get_string(text));
	a->result = json_object_new_object();
	vg_answer_set(a->result, "device", label);
	vg_answer_set(a->result, "text", json_object_get_string(text));
	return 0;
}

static int no_answer(struct vg_answer *a, const char *label,
		     const char *run_dir, int err)
{
	if (err == -EIO)
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not answer: %s may be resized yet, see " PROGRAM " status",
				      label);
	if (err)
		return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd: %s",
				      strerror(-err));
	return vg_answer_fail(a, VG_EXIT_FAILED, "virtio-grantd does not run in this domain (%s)",
			      run_dir);
}

static void by_daemon(struct vg_answer *a, const char *text,
		      const char *run_dir)
{
	char *label = label_of(a, text), *request;
	struct json_object *said;
	int err;

	if (!label)
		return;
	request = vg_strf("resize %s\n", label);
	said = vg_ctl_ask(run_dir, "grantd.sock", request, &err);
	if (said)
		take_answer(a, label, said);
	else
		no_answer(a, label, run_dir, err);
	json_object_put(said);
	free(request);
	free(label);
}

/* ---- the command -------------------------------------------------------- */

void vg_ctl_resize(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "run-dir", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *run_dir = vg_ctl_run_dir;
	char *text;
	int c, n;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "jr:", options, NULL)) != -1) {
		if (c == 'j')
			a->is_json = true;
		else if (c == 'r')
			run_dir = optarg;
		else
			return usage(a, "no such option");
	}
	n = argc - optind;
	if (n < 1 || n > 2)
		return usage(a, n ? "one device at a time" : "which device?");
	/* As one word, or as the two that it is unquoted. */
	text = n == 1 ? vg_strdup(argv[optind]) :
			vg_strf("%s %s", argv[optind], argv[optind + 1]);
	by_daemon(a, text, run_dir);
	free(text);
}
