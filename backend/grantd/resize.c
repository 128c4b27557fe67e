// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * resize.c - a device whose resource has become another size while it is
 * served: the guest is told, if its type has it so (dev/type.h).
 *
 * Asked for by virtio-grantctl, which gets an answer, or by the key "resize" of
 * the device's node, whatever its value, which we remove: so the control domain
 * can ask as well, and reads of a refusal where it reads of others.
 *
 * A worker that dies over it is replaced by one that was given the resource as
 * it is by then.
 *
 * Not trusted: the worker.  Its answer says what is shown, and no more.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/supervisor_priv.h"
#include "lib/ctl_server.h"
#include "lib/log.h"
#include "lib/util.h"

static char *answer_text(bool is_done, const char *text)
{
	struct json_object *o = json_object_new_object();
	char *json;

	json_object_object_add(o, "done", json_object_new_boolean(is_done));
	json_object_object_add(o, "text", json_object_new_string(text));
	json = vg_strf("%s\n", json_object_to_json_string_ext(
			       o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	return json;
}

/* What was asked for of its worker has come to an end. */
static void over(struct vg_sdev *d, bool is_done, const char *text)
{
	d->is_resizing = false;
	vg_timer_cancel(d->resize_due);
	vg_ctl_answer(d->resizer, answer_text(is_done, text));
	d->resizer = 0;
}

static void done(struct vg_sdev *d)
{
	char *summary = d->type->host->summary(d->res);
	char *text = vg_strf("%s: %s", d->label, summary);

	vg_info("%s: resized: %s", d->label, summary);
	vg_refusals_forget(&d->s->refusals, &d->name);
	over(d, true, text);
	free(text);
	free(summary);
}

/* For an operator who is not there to read an answer. */
static void refused(struct vg_sdev *d, const char *text)
{
	vg_sup_failed(d->s, "%s", text);
	vg_refusals_say(&d->s->refusals, &d->name, text);
}

/*
 * 0: its worker is asked.  Else negative errno, and *why is a new text:
 * -EALREADY: there was nothing to do.
 */
static int resize(struct vg_sdev *d, char **why)
{
	const struct vg_dev_host *host = d->type->host;
	int err;

	if (!host->resize) {
		*why = vg_strf("a device of its type (%s) has no size that could change",
			       d->type->name);
		return -EOPNOTSUPP;
	}
	err = host->resize(d->res, &d->change, why);
	if (err)
		return err;
	err = vg_sup_allow_file(d, d->change.file_max_bytes);
	if (err) {
		*why = vg_strf("its worker can't be allowed to write so much: %s",
			       strerror(-err));
		return err;
	}
	d->is_resizing = true;
	vg_timer_arm(d->resize_due, d->guest->patience_ns);
	vg_sdev_ask(d, TELL_RESIZE, 0);
	return 0;
}

void vg_sdev_resized(struct vg_sdev *d, const struct vg_worker_msg *msg)
{
	char *text;

	/* Another worker's is none of this. */
	if (!d->is_resizing || d->state == DEV_STARTING)
		return;
	/* The key may stand there again. */
	vg_sup_scan_device(d);
	if (!msg->error) {
		d->type->host->resized(d->res, &d->change);
		done(d);
		return;
	}
	text = vg_strf("%s: its worker does not take the new size: %s",
		       d->label, msg->text);
	refused(d, text);
	over(d, false, text);
	free(text);
}

void vg_sdev_resize_taken_over(struct vg_sdev *d)
{
	if (d->is_resizing)
		done(d);
}

void vg_sdev_resize_drop(struct vg_sdev *d)
{
	char *text = vg_strf("%s: it is gone", d->label);

	over(d, false, text);
	free(text);
}

/* ---- who asks ----------------------------------------------------------- */

static struct vg_sdev *dev_named(struct vg_supervisor *s, const char *label,
				 char **why)
{
	struct vg_devname name = { .backend = s->own_domid };
	struct vg_sdev *d;

	if (vg_devname_parse_label(label, &name, why))
		return NULL;
	for (d = s->devs; d; d = d->next)
		if (!d->is_orphan && d->name.kind == name.kind &&
		    d->name.guest == name.guest &&
		    d->name.devid == name.devid)
			break;
	if (!d)
		*why = vg_strf("%s: there is no such device in this domain",
			       label);
	return d;
}

/* -EALREADY is no failure: what was asked for is so. */
static char *resize_for(struct vg_sdev *d, uint64_t asker)
{
	char *why = NULL, *text, *answer;
	int err = -EBUSY;

	if (d->state != DEV_READY)
		why = vg_strdup("it is not ready now, ask again when it is");
	else if (d->is_resizing)
		why = vg_strdup("its worker has not answered to the last change yet");
	else
		err = resize(d, &why);
	if (!err) {
		d->resizer = asker;
		return VG_CTL_LATER;
	}
	text = vg_strf("%s: %s", d->label, why);
	vg_info("resize: %s", text);
	answer = answer_text(err == -EALREADY, text);
	free(text);
	free(why);
	return answer;
}

char *vg_sup_resize_answer(struct vg_supervisor *s, const char *label,
			   uint64_t asker)
{
	char *why = NULL, *text;
	struct vg_sdev *d = dev_named(s, label, &why);

	if (d)
		return resize_for(d, asker);
	text = answer_text(false, why);
	free(why);
	return text;
}

/* Removed before we look: what is written later asks for another look. */
static void key_take(struct vg_sdev *d)
{
	char *value = vg_key_read(d->s->xs, d->node, "resize"), *path;
	int err = value ? 0 : -errno;

	free(value);
	if (!err) {
		path = vg_strf("%s/resize", d->node);
		err = xen_store_rm(d->s->xs, path);
		free(path);
	}
	if (!err) {
		d->wants_resize = true;
	} else if (err != -ENOENT) {
		vg_sup_failed(d->s, "%s: its key \"resize\" in xenstore: %s",
			      d->label, strerror(-err));
		d->s->look_again = true;
	}
}

/*
 * One that is not served waits for that.  If we die over it, who comes after us
 * looks at the resource in any case.
 */
void vg_sdev_resize_by_key(struct vg_sdev *d)
{
	char *why = NULL, *text;
	int err;

	if (d->state != DEV_READY || d->is_resizing)
		return;
	key_take(d);
	if (!d->wants_resize)
		return;
	err = resize(d, &why);
	d->wants_resize = err && vg_error_passes(err);
	d->s->look_again |= d->wants_resize;
	if (!err)
		return;
	text = vg_strf("%s: %s", d->label, why);
	if (err == -EALREADY)
		vg_info("resize: %s", text);
	else
		refused(d, text);
	free(text);
	free(why);
}
