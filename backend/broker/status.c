// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * status.c - what the broker tells virtio-grantctl, and what went wrong
 * last.
 *
 * The counters of a device are written by its guest's process, and its
 * backend's state by the backend: copied, shown, and not believed.
 */
#include "broker/broker_priv.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/printable.h"
#include "relay/page.h"

void vg_broker_failed(struct vg_broker *b, const char *fmt, ...)
{
	char **oldest, text[512];
	unsigned int i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vg_printable(text, "");
	for (i = 0; i < VG_BROKER_FAILURES_MAX; i++)
		if (b->failure[i] && !strcmp(b->failure[i], text))
			return;
	oldest = &b->failure[b->nr_failures++ % VG_BROKER_FAILURES_MAX];
	vg_err("%s", text);
	free(*oldest);
	*oldest = vg_strdup(text);
}

void vg_broker_forget_failures(struct vg_broker *b)
{
	unsigned int i;

	for (i = 0; i < VG_BROKER_FAILURES_MAX; i++)
		free(b->failure[i]);
}

/* ---- for virtio-grantctl ------------------------------------------------ */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static struct json_object *dev_json(const struct vg_bparent_dev *d)
{
	/* The other process writes it: a copy. */
	const struct vg_bchild_dev_shared sh =
		d->guest->shared->dev[d->dev_index];
	const struct vg_bchild_dev_stats *s = &sh.stats;
	struct json_object *o = json_object_new_object();
	uint32_t state = vg_bparent_dev_backend(d);

	json_object_object_add(o, "device", json_object_new_string(d->label));
	add_u64(o, "guest", d->name.guest);
	add_u64(o, "backend_domain", d->name.backend);
	add_u64(o, "base", d->keys.mmio.base);
	add_u64(o, "irq", d->keys.mmio.irq);
	json_object_object_add(o, "backend", json_object_new_string(
			sh.is_dead ? "dead" :
			state == VG_RELAY_BACKEND_READY ? "ready" :
			state == VG_RELAY_BACKEND_GONE ? "gone" :
			state == VG_RELAY_BACKEND_RESTARTING ? "restarting" :
			state == VG_RELAY_BACKEND_ABSENT ? "absent" :
			"invalid"));
	add_u64(o, "process", d->guest->pid > 0 ? (uint64_t)d->guest->pid : 0);
	add_u64(o, "process_deaths", d->guest->deaths);
	add_u64(o, "traps", s->traps);
	add_u64(o, "notifies", s->notifies);
	add_u64(o, "isr_reads", s->isr_reads);
	add_u64(o, "isr_acks", s->isr_acks);
	add_u64(o, "forwarded", s->forwarded);
	add_u64(o, "bad_accesses", s->bad_accesses);
	add_u64(o, "irqs", s->irqs);
	add_u64(o, "backend_events", s->backend_events);
	add_u64(o, "bad_answers", s->bad_answers);
	add_u64(o, "repeated_answers", s->repeated_answers);
	add_u64(o, "late_answers", s->late_answers);
	add_u64(o, "timeouts", s->timeouts);
	add_u64(o, "backend_sessions", s->sessions);
	return o;
}

static struct json_object *devices_json(const struct vg_broker *b)
{
	struct json_object *devs = json_object_new_array();
	const struct vg_bparent_dev *d;

	for (d = b->devs; d; d = d->next)
		if (d->page)
			json_object_array_add(devs, dev_json(d));
	return devs;
}

/* The oldest first; then what is not ours, for as long as it is there. */
static struct json_object *failures_json(const struct vg_broker *b)
{
	const unsigned int max = VG_BROKER_FAILURES_MAX;
	unsigned int i = b->nr_failures > max ? b->nr_failures - max : 0;
	struct json_object *fails = json_object_new_array();
	const struct vg_bparent_dev *d;
	char *text;

	for (; i < b->nr_failures; i++)
		json_object_array_add(fails, json_object_new_string(
					      b->failure[i % max]));
	for (d = b->devs; d; d = d->next) {
		if (d->state != VG_BPARENT_IGNORED)
			continue;
		text = vg_bparent_dev_why_ignored(d);
		json_object_array_add(fails, json_object_new_string(text));
		free(text);
	}
	return fails;
}

char *vg_broker_answer(void *broker, const char *request, uint64_t asker)
{
	const struct vg_broker *b = broker;
	struct json_object *root;
	char *text;

	(void)asker;
	if (strcmp(request, "status"))
		return NULL;
	root = json_object_new_object();
	json_object_object_add(root, "program",
			       json_object_new_string("virtio-grant-broker"));
	add_u64(root, "answer_timeout_ms", b->cfg.answer_timeout_ns / 1000000);
	json_object_object_add(root, "devices", devices_json(b));
	json_object_object_add(root, "failures", failures_json(b));
	text = vg_strf("%s\n", json_object_to_json_string_ext(root,
						JSON_C_TO_STRING_PLAIN));
	json_object_put(root);
	return text;
}
