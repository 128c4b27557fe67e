// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * status.c - what virtio-grantctl is told.
 *
 * Not trusted: the numbers in a worker's shared memory.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grantd/supervisor_priv.h"
#include "lib/util.h"

static const char *const dev_state_names[] = {
	"not reached yet", "starting", "ready", "stopping", "closed",
	"failed", "ignored",
};

/* ---- status ------------------------------------------------------------- */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_str(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static struct json_object *mem_json(const struct vg_mem_stats *m)
{
	struct json_object *o = json_object_new_object();
	struct json_object *faults = json_object_new_object();
	unsigned int f;

	add_u64(o, "maps", m->maps);
	add_u64(o, "map_pages", m->map_pages);
	add_u64(o, "unmaps", m->unmaps);
	add_u64(o, "copies", m->copies);
	add_u64(o, "copied_bytes", m->copied_bytes);
	add_u64(o, "exchanges", m->exchanges);
	add_u64(o, "mapped_pages_now", m->mapped_pages_now);
	add_u64(o, "mapped_pages_max", m->mapped_pages_max);
	add_u64(o, "waits", m->waits);
	add_u64(o, "range_maps", m->range_maps);
	add_u64(o, "range_pages", m->range_pages);
	add_u64(o, "range_hits", m->range_hits);
	for (f = 1; f < VG_MEM_FAULT_MAX; f++)
		add_u64(faults, vg_mem_fault_name(f), m->faults[f]);
	json_object_object_add(o, "faults", faults);
	return o;
}

static struct json_object *stats_json(const struct vg_dev_type *t,
				      const struct vg_dev_stats *st)
{
	struct json_object *o = json_object_new_object();
	const char *const *name = t->stat_names;
	struct json_object *type = json_object_new_object();
	unsigned int i;

	add_u64(o, "status", st->status);
	/* From the worker, which is not trusted: bounded before it is used. */
	add_str(o, "broken", st->broken == VG_BROKEN_NOT ? "" :
		st->broken < VG_BROKEN_MAX ? vg_broken_name(st->broken) :
		"invalid");
	add_u64(o, "driver_features", st->driver_features);
	add_u64(o, "accesses", st->accesses);
	add_u64(o, "notifies", st->notifies);
	add_u64(o, "spurious_notifies", st->spurious_notifies);
	add_u64(o, "irqs_used", st->irqs_used);
	add_u64(o, "irqs_config", st->irqs_config);
	add_u64(o, "irqs_suppressed", st->irqs_suppressed);
	add_u64(o, "events_sent", st->events_sent);
	add_u64(o, "events_received", st->events_received);
	add_u64(o, "polls_hit", st->polls_hit);
	add_u64(o, "polls_missed", st->polls_missed);
	add_u64(o, "polls_stolen", st->polls_stolen);
	add_u64(o, "requests", st->requests);
	add_u64(o, "in_flight", st->in_flight);
	add_u64(o, "batches", st->batches);
	add_u64(o, "bytes_out", st->bytes_out);
	add_u64(o, "bytes_in", st->bytes_in);
	add_u64(o, "resets", st->resets);
	add_u64(o, "takeovers", st->takeovers);
	add_u64(o, "redone", st->redone);
	json_object_object_add(o, "mem", mem_json(&st->mem));
	for (i = 0; i < VG_DEV_STATS_NR_TYPE && name && name[i]; i++)
		add_u64(type, name[i], st->type[i]);
	json_object_object_add(o, t->name, type);
	return o;
}

/* What each queue did, if there are several. */
static struct json_object *queues_json(const struct vg_sdev *d)
{
	struct json_object *all = json_object_new_object(), *o;
	unsigned int i;

	for (i = 0; i < d->nr_queues && d->nr_queues > 1; i++) {
		struct vg_dev_stats q = d->guest->shared->queue[d->index][i];
		char name[12];

		o = json_object_new_object();
		add_u64(o, "requests", q.requests);
		add_u64(o, "in_flight", q.in_flight);
		add_u64(o, "batches", q.batches);
		add_u64(o, "notifies", q.notifies);
		add_u64(o, "events_sent", q.events_sent);
		add_u64(o, "events_received", q.events_received);
		add_u64(o, "range_hits", q.mem.range_hits);
		add_u64(o, "maps", q.mem.maps);
		add_u64(o, "bytes_out", q.bytes_out);
		add_u64(o, "bytes_in", q.bytes_in);
		snprintf(name, sizeof(name), "%u", i);
		json_object_object_add(all, name, o);
	}
	return all;
}

/* What its type says of it. */
static void describe(const struct vg_sdev *d, const struct vg_dev_stats *st,
		     struct json_object *o)
{
	struct json_object *notes = json_object_new_array();
	char *summary = d->res ? d->type->host->summary(d->res) :
				 vg_strdup("");

	add_str(o, "type", d->type ? d->type->name : "");
	add_str(o, "summary", summary);
	free(summary);
	if (d->res && d->type->host->describe)
		d->type->host->describe(d->res, st ? st->type : NULL, o, notes);
	json_object_object_add(o, "notes", notes);
}

static struct json_object *dev_json(const struct vg_sdev *d)
{
	bool has_stats = d->has_index && d->guest->shared;
	struct json_object *o = json_object_new_object();
	struct vg_dev_stats st;

	if (has_stats)
		vg_worker_stats(d->guest->shared, d->index, d->nr_queues, &st);
	add_str(o, "device", d->label);
	add_u64(o, "guest", d->name.guest);
	add_str(o, "state", d->state == DEV_NEW && d->has_where ? "waiting" :
		dev_state_names[d->state]);
	add_str(o, "waits_for", d->why ? d->why : "");
	describe(d, has_stats ? &st : NULL, o);
	/* Its driver has come, where that is not so from the first. */
	if (d->transport && d->transport->has_front)
		json_object_object_add(o, "attached",
				json_object_new_boolean(d->is_attached));
	/* Its last worker's I/O is under way: no request is served. */
	json_object_object_add(o, "held", json_object_new_boolean(d->is_held));
	add_u64(o, "worker_pid", d->guest->pid > 0 ? (uint64_t)d->guest->pid : 0);
	add_u64(o, "worker_deaths", d->guest->deaths);
	if (has_stats) {
		json_object_object_add(o, "stats", stats_json(d->type, &st));
		json_object_object_add(o, "queues", queues_json(d));
	}
	return o;
}

char *vg_supervisor_answer(void *supervisor, const char *request,
			   uint64_t asker)
{
	struct vg_supervisor *s = supervisor;
	struct json_object *root, *devs, *fails;
	unsigned int i;
	struct vg_sdev *d;
	char *text;

	if (!strncmp(request, "resize ", 7))
		return vg_sup_resize_answer(s, request + 7, asker);
	if (strcmp(request, "status"))
		return NULL;
	root = json_object_new_object();
	add_str(root, "program", s->cfg.is_foreign ? "virtio-foreignd" :
		"virtio-grantd");
	add_u64(root, "domain", s->own_domid);
	json_object_object_add(root, "sandbox",
			       json_object_new_boolean(s->cfg.is_confined));
	devs = json_object_new_array();
	for (d = s->devs; d; d = d->next)
		json_object_array_add(devs, dev_json(d));
	json_object_object_add(root, "devices", devs);
	fails = json_object_new_array();
	for (i = s->nr_failures > NR_FAILURES ? s->nr_failures - NR_FAILURES :
						0;
	     i < s->nr_failures; i++)
		json_object_array_add(fails, json_object_new_string(
					      s->failure[i % NR_FAILURES]));
	json_object_object_add(root, "failures", fails);
	text = vg_strf("%s\n", json_object_to_json_string_ext(root,
						JSON_C_TO_STRING_PLAIN));
	json_object_put(root);
	return text;
}
