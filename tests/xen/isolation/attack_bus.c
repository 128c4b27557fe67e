// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_bus.c - what a backend's domain can do to a guest on the Xen bus
 * (kernel/uapi/virtio_grant_bus.h): hostile words in the message page while the
 * real backend answers, floods of its port, the front's nodes, and a backend of
 * the attacker's own, which is false in one point.
 *
 *	bus HOW FRONT BACK SECONDS	paths of the device's nodes
 *
 * The page is granted to the domain, so its root may map and write it: that is
 * allowed, and the test is what becomes of the guest and its neighbours, and of
 * the device when the attacker has gone.  Writing to the front's nodes must be
 * refused.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <xenstore.h>

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/io/xenbus.h>
#include <xen/sys/gntdev.h>

#include "../../../kernel/uapi/virtio_grant.h"
#include "../../../kernel/uapi/virtio_grant_bus.h"

#define SECTORS		(1u << 20)	/* of a toy: 512 MiB */

typedef volatile struct virtio_grant_bus_page page_t;

static struct xs_handle *xs;
static const char *front, *back;
static struct target guest = { .role = "guest" };
static int gntdev = -1;

/* What is attacked: its page, and our end of its channel. */
static page_t *page;
static uint32_t page_ref, local_port;

static uint64_t seed = 1;

static uint32_t any_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/* ---- nodes, grants, events ---------------------------------------------- */

/* -1: it is not there, or no number. */
static long node_number(const char *dir, const char *key)
{
	char path[128], *value, *end;
	unsigned int len;
	long number;

	snprintf(path, sizeof(path), "%s/%s", dir, key);
	value = xs_read(xs, XBT_NULL, path, &len);
	if (!value)
		return -1;
	number = strtol(value, &end, 10);
	if (end == value || *end)
		number = -1;
	free(value);
	return number;
}

static void node_write(const char *dir, const char *key, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, key);
	if (!xs_write(xs, XBT_NULL, path, value, (unsigned int)strlen(value)))
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
}

/* Returns 0 if it is not there to be mapped (any more). */
static int page_map(uint32_t ref)
{
	struct ioctl_gntdev_map_grant_ref op = {
		.count = 1,
		.refs = { { guest.domid, ref } },
	};
	void *p;

	if (gntdev < 0 || ioctl(gntdev, IOCTL_GNTDEV_MAP_GRANT_REF, &op))
		return 0;
	p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, gntdev,
		 (off_t)op.index);
	if (p == MAP_FAILED)
		return 0;
	page = p;
	page_ref = ref;
	return 1;
}

static long event_op(unsigned int cmd, void *arg)
{
	return xen_call(__HYPERVISOR_event_channel_op, cmd, xva(arg), 0, 0, 0);
}

/* The local end of what the real backend has bound; 0: there is none. */
static uint32_t port_find(uint32_t remote)
{
	struct evtchn_status *status = (void *)xbuf;

	for (uint32_t port = 1; port < 1024; port++) {
		memset(status, 0, sizeof(*status));
		status->dom = DOMID_SELF;
		status->port = port;
		if (!event_op(EVTCHNOP_status, status) &&
		    status->status == EVTCHNSTAT_interdomain &&
		    status->u.interdomain.dom == guest.domid &&
		    status->u.interdomain.port == remote)
			return port;
	}
	return 0;
}

static uint32_t port_bind(uint32_t remote)
{
	struct evtchn_bind_interdomain *bind = (void *)xbuf;

	memset(bind, 0, sizeof(*bind));
	bind->remote_dom = guest.domid;
	bind->remote_port = remote;
	return event_op(EVTCHNOP_bind_interdomain, bind) ? 0 : bind->local_port;
}

static void port_close(uint32_t port)
{
	struct evtchn_close *op = (void *)xbuf;

	op->port = port;
	event_op(EVTCHNOP_close, op);
}

static long notify(void)
{
	struct evtchn_send *send = (void *)xbuf;

	send->port = local_port;
	return event_op(EVTCHNOP_send, send);
}

/* ---- beside the real backend -------------------------------------------- */

/* Any word of it, the driver's as well. */
static void garbage(page_t *p)
{
	volatile uint32_t *word = (volatile uint32_t *)p;

	for (unsigned int i = 0; i < 256; i++)
		word[any_number() % 1024] = any_number() % 3 ? any_number() :
			any_number() % 2 ? 0 : ~0u;
}

/* An answer to what was not asked, was asked before, or will be. */
static void sequence(page_t *p)
{
	static const int32_t off[] = { -1, 1, 2, INT32_MIN, INT32_MAX, -3 };

	p->response_seq = p->request_seq + (uint32_t)off[any_number() % 6];
}

/* The size that an answer to this message has, of those that have one. */
static unsigned int answer_bytes(uint8_t type, uint8_t id, uint32_t length)
{
	if (type & VIRTIO_GRANT_MSG_TYPE_BUS)
		return id == VIRTIO_GRANT_BUS_PING ? 4 : 8;
	switch (id) {
	case VIRTIO_GRANT_MSG_GET_DEVICE_INFO:
		return sizeof(struct virtio_grant_msg_device_info);
	case VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES:
		return sizeof(struct virtio_grant_msg_features) + 8;
	case VIRTIO_GRANT_MSG_GET_CONFIG:
		return sizeof(struct virtio_grant_msg_config) + length;
	case VIRTIO_GRANT_MSG_SET_CONFIG:
		return sizeof(struct virtio_grant_msg_config);
	case VIRTIO_GRANT_MSG_GET_DEVICE_STATUS:
	case VIRTIO_GRANT_MSG_SET_DEVICE_STATUS:
		return sizeof(struct virtio_grant_msg_status);
	case VIRTIO_GRANT_MSG_GET_VQUEUE:
		return sizeof(struct virtio_grant_msg_vqueue);
	default:
		return 0;
	}
}

static uint32_t request_word(page_t *p, unsigned int nr)
{
	volatile uint32_t *word = (volatile uint32_t *)p->request;

	return word[2 + nr];
}

static void answer(page_t *p, uint32_t seq, const void *payload,
		   unsigned int bytes)
{
	struct virtio_grant_msg_header header = {
		.type = p->request[0] | VIRTIO_GRANT_MSG_TYPE_RESPONSE,
		.msg_id = p->request[1],
		.token = (uint16_t)seq,
		.msg_size = (uint16_t)(sizeof(header) + bytes),
	};

	memcpy((void *)p->response, &header, sizeof(header));
	memcpy((void *)(p->response + sizeof(header)), payload, bytes);
	__atomic_store_n((uint32_t *)&p->response_seq, seq, __ATOMIC_RELEASE);
}

/* Quicker than the worker, of the right form, and false. */
static void lies(page_t *p)
{
	uint32_t payload[64];
	uint32_t seq = __atomic_load_n((uint32_t *)&p->request_seq,
				       __ATOMIC_ACQUIRE);
	unsigned int bytes;

	if (seq == p->response_seq)
		return;
	bytes = answer_bytes(p->request[0], p->request[1],
			     request_word(p, 1) % 129);
	for (unsigned int i = 0; i < 64; i++)
		payload[i] = any_number() % 2 ? any_number() : any_number() % 8;
	answer(p, seq, payload, bytes);
}

/* Each event has something new to say. */
static void flood(page_t *p)
{
	p->config_events++;
	p->used_events++;
}

static void beside(const char *how, page_t *p, const void *old)
{
	if (!strcmp(how, "garbage"))
		garbage(p);
	else if (!strcmp(how, "replay"))
		memcpy((void *)p, old, PAGE_BYTES);
	else if (!strcmp(how, "sequence"))
		sequence(p);
	else if (!strcmp(how, "lies"))
		lies(p);
	else
		flood(p);
}

static void attack_beside(const char *how, struct attempt *a, time_t end)
{
	static uint8_t old[PAGE_BYTES];
	long ref = node_number(front, "msg-ref");
	long port = node_number(front, "msg-port");

	if (ref < 0 || port < 0 || !page_map((uint32_t)ref)) {
		fprintf(stderr, "%s: no page\n", front);
		exit(2);
	}
	local_port = port_find((uint32_t)port);
	if (!local_port) {
		fprintf(stderr, "%s: no channel\n", front);
		exit(2);
	}
	memcpy(old, (void *)page, PAGE_BYTES);
	attempt_search(a, page_ref, old, PAGE_BYTES);
	while (time(NULL) < end) {
		for (unsigned int i = 0; i < 100; i++) {
			beside(how, page, old);
			attempt_errno(a, page_ref, notify());
		}
	}
	/* The worst to be left behind. */
	garbage(page);
	notify();
}

/* ---- instead of the real backend ---------------------------------------- */

static struct {
	uint32_t device_id;
	uint32_t generation;
	bool is_settled;	/* the generation is, once it was read */
	bool has_config;	/* otherwise nobody answers such questions */
	bool is_ones;		/* it has no other digit */
	bool is_short;		/* its answers are too short */
	bool is_greedy;		/* of everything as much as can be said */
	uint32_t status, queue_size;
} toy;

static void toy_init(const char *how)
{
	toy.device_id = strcmp(how, "console") ? 2 : 3;
	toy.is_settled = strcmp(how, "unsettled") != 0;
	toy.has_config = strcmp(how, "mute") != 0;
	toy.is_ones = !strcmp(how, "ones");
	toy.is_short = !strcmp(how, "short");
	toy.is_greedy = !strcmp(how, "greedy");
}

static void toy_config(uint32_t *w, uint32_t offset, uint32_t length)
{
	uint8_t config[256] = { 0 };
	uint64_t capacity = SECTORS;

	if (toy.is_ones || toy.is_greedy)
		memset(config, 0xff, sizeof(config));
	if (!toy.is_ones)
		memcpy(config, &capacity, sizeof(capacity));
	w[0] = toy.is_settled ? toy.generation : toy.generation++;
	w[1] = offset;
	w[2] = length;
	memcpy(w + 3, config + offset % 128, length % 129);
}

static void toy_transport(page_t *p, uint8_t id, uint32_t *w)
{
	uint32_t first = request_word(p, 0);

	switch (id) {
	case VIRTIO_GRANT_MSG_GET_DEVICE_INFO:
		w[0] = toy.device_id;
		w[2] = toy.is_greedy ? ~0u : 64;
		w[3] = toy.is_greedy ? ~0u : 60;
		w[4] = toy.is_greedy ? ~0u : 1;
		break;
	case VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES:
		w[1] = 2;
		w[2] = toy.is_greedy ? ~0u : 0;
		w[3] = 3;	/* VERSION_1, ACCESS_PLATFORM */
		break;
	case VIRTIO_GRANT_MSG_GET_CONFIG:
		toy_config(w, first, request_word(p, 1));
		break;
	case VIRTIO_GRANT_MSG_SET_DEVICE_STATUS:
		toy.status = first;
		if (!first)
			toy.queue_size = 0;
		w[0] = toy.status;
		break;
	case VIRTIO_GRANT_MSG_GET_DEVICE_STATUS:
		w[0] = toy.status;
		break;
	case VIRTIO_GRANT_MSG_GET_VQUEUE:
		w[0] = first;
		w[1] = toy.is_greedy ? ~0u : 128;
		w[2] = toy.queue_size;
		break;
	case VIRTIO_GRANT_MSG_SET_VQUEUE:
		toy.queue_size = request_word(p, 2);
		break;
	case VIRTIO_GRANT_MSG_RESET_VQUEUE:
		toy.queue_size = 0;
		break;
	}
}

/* Ranges and channels: it has them, and what became of one is any number. */
static void toy_bus(page_t *p, uint8_t id, uint32_t *w)
{
	w[0] = request_word(p, 0);
	if (id == VIRTIO_GRANT_BUS_GET_BUS_INFO) {
		w[0] = toy.is_greedy ? ~0u : 0;
		w[1] = w[0];
	} else {
		w[1] = any_number() % 8;
	}
}

/* One request, if there is a new one. */
static void toy_serve(page_t *p)
{
	static uint32_t mute_seq;
	uint32_t seq = __atomic_load_n((uint32_t *)&p->request_seq,
				       __ATOMIC_ACQUIRE);
	uint8_t type = p->request[0], id = p->request[1];
	uint32_t w[64] = { 0 };
	unsigned int bytes;

	if (seq == p->response_seq || seq == mute_seq)
		return;
	if (!toy.has_config && !(type & VIRTIO_GRANT_MSG_TYPE_BUS) &&
	    id == VIRTIO_GRANT_MSG_GET_CONFIG) {
		mute_seq = seq;
		return;
	}
	bytes = answer_bytes(type, id, request_word(p, 1) % 129);
	if (type & VIRTIO_GRANT_MSG_TYPE_BUS)
		toy_bus(p, id, w);
	else
		toy_transport(p, id, w);
	if (toy.is_short && bytes)
		bytes--;
	answer(p, seq, w, bytes);
	/* What the driver keeps of it, is to be asked for again. */
	if (!toy.is_settled)
		p->config_events++;
	notify();
}

static void toy_leave(void)
{
	if (!page)
		return;
	munmap((void *)page, PAGE_BYTES);
	port_close(local_port);
	page = NULL;
}

/* The driver has granted a page, maybe another one than before. */
static void toy_follow(struct attempt *a)
{
	long state = node_number(front, "state");
	long ref = node_number(front, "msg-ref");
	long port = node_number(front, "msg-port");
	long domid = node_number(front, "msg-backend-id");

	if (state != XenbusStateInitialised && state != XenbusStateConnected) {
		toy_leave();
		if (node_number(back, "state") != XenbusStateInitWait)
			node_write(back, "state", "2");
		return;
	}
	if (page || state != XenbusStateInitialised || ref < 0 || port < 0 ||
	    domid != own_domid)
		return;
	if (!page_map((uint32_t)ref))
		return;
	local_port = port_bind((uint32_t)port);
	if (!local_port) {
		munmap((void *)page, PAGE_BYTES);
		page = NULL;
		return;
	}
	attempt_allowed(a, page_ref);
	node_write(back, "state", "4");
}

static void attack_instead(const char *how, struct attempt *a, time_t end)
{
	toy_init(how);
	/* As one that begins anew. */
	node_write(back, "state", "2");
	while (time(NULL) < end) {
		toy_follow(a);
		for (unsigned int i = 0; i < 200 && page; i++) {
			toy_serve(page);
			usleep(500);
		}
		if (!page)
			usleep(50000);
	}
	toy_leave();
}

/* ---- the front's nodes --------------------------------------------------- */

/* Each key that decides something, each way to change it. */
static void attack_front(struct attempt *a)
{
	static const char *const keys[] = {
		"", "/device-id", "/backend", "/backend-id", "/state",
		"/msg-ref", "/msg-port", "/msg-backend-id", "/msg-version",
		"/of-the-attacker",
	};
	struct xs_permissions perms = { .id = own_domid, .perms =
					XS_PERM_READ | XS_PERM_WRITE };
	char path[128];

	for (unsigned int i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", front, keys[i]);
		errno = 0;
		attempt_errno(a, 4 * i, xs_write(xs, XBT_NULL, path, "3", 1) ?
			      0 : -errno);
		attempt_errno(a, 4 * i + 1, xs_mkdir(xs, XBT_NULL, path) ?
			      0 : -errno);
		attempt_errno(a, 4 * i + 2,
			      xs_set_permissions(xs, XBT_NULL, path, &perms,
						 1) ? 0 : -errno);
		attempt_errno(a, 4 * i + 3, xs_rm(xs, XBT_NULL, path) ?
			      0 : -errno);
	}
}

void attack_bus(const char *how, const char *front_path, const char *back_path,
		unsigned int seconds)
{
	static const char *const besides[] = {
		"garbage", "replay", "sequence", "lies", "flood",
	};
	time_t end = time(NULL) + (time_t)seconds;
	bool is_beside = false;
	static char what[32];
	struct attempt *a;

	front = front_path;
	back = back_path;
	for (unsigned int i = 0; i < nr_targets; i++)
		if (!strcmp(targets[i].role, "guest"))
			guest = targets[i];
	xen_open();
	xs = xs_open(0);
	gntdev = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);
	if (!xs || gntdev < 0) {
		perror("xenstore, gntdev");
		exit(2);
	}
	snprintf(what, sizeof(what), "bus.%s", how);
	a = attempt_begin(what, &guest);
	for (unsigned int i = 0; i < sizeof(besides) / sizeof(besides[0]); i++)
		is_beside |= !strcmp(how, besides[i]);
	if (!strcmp(how, "front"))
		attack_front(a);
	else if (is_beside)
		attack_beside(how, a, end);
	else
		attack_instead(how, a, end);
	attempt_end(a);
}
