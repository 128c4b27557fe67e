// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_backend.c - the backend's end of a message page (backend/bus/): what
 * the driver's keys say, attaching and leaving, and a guest that writes its
 * page while it is read.
 */
#include <stdio.h>

#include "held.h"

#include "bus/backend.h"
#include "kernel/uapi/virtio_grant_bus.h"
#include "transport/ports.h"

#define BE		1u
#define GUEST		3u

static const struct vg_transport_type *const type = &vg_transport_bus;

/* ---- keys --------------------------------------------------------------- */

struct key {
	const char *name, *value;
};

static char *read_key(const struct vg_keys *keys, const char *name)
{
	const struct key *k;

	for (k = keys->arg; k->name; k++)
		if (!strcmp(k->name, name) && k->value)
			return strdup(k->value);
	errno = ENOENT;
	return NULL;
}

static int find(const char *version, const char *domid, const char *ref,
		const char *port, struct vg_transport_where *where, char **why)
{
	struct key list[] = {
		{ "msg-version", version }, { "msg-backend-id", domid },
		{ "msg-ref", ref }, { "msg-port", port }, { NULL, NULL },
	};
	const struct vg_keys front = { "/front", list, read_key };

	*why = NULL;
	return type->find(NULL, &front, BE, where, why);
}

static bool is_nobody(const struct vg_transport_where *w)
{
	return !w->word[0] && !w->word[1] && !w->word[2] && !w->word[3];
}

static void keys(void **state)
{
	static const struct {
		const char *version, *domid, *ref, *port, *why;
	} bad[] = {
		{ "1", "1", "8", NULL, "/front/msg-port: No such file" },
		{ "1", "1", NULL, "9", "/front/msg-ref: No such file" },
		{ NULL, "1", "8", "9", "/front/msg-version: No such file" },
		{ "2", "1", "8", "9", "version 2 of the bus, and this backend 1" },
		{ "0", "1", "8", "9", "version 0 of the bus" },
		{ "1", "x", "8", "9", "msg-backend-id: \"x\" is no decimal" },
		{ "1", "32752", "8", "9", "\"32752\" is out of range" },
		{ "1", "1", "8 ", "9", "msg-ref: \"8 \" is no decimal" },
		{ "1", "1", "4294967296", "9", "is out of range" },
		{ "1", "1", "8", "+9", "msg-port: \"+9\" is no decimal" },
	};
	struct vg_transport_where w;
	unsigned int i;
	char *why;

	(void)state;
	assert_int_equal(find("1", "1", "8", "9", &w, &why), 0);
	assert_int_equal(w.word[0], 1);
	assert_int_equal(w.word[1], 8);
	assert_int_equal(w.word[2], 9);
	assert_int_equal(w.word[3], 1);
	/* For another domain, or for none yet; whatever the others say. */
	assert_int_equal(find("x", "2", "8", "9", &w, &why), 0);
	assert_true(is_nobody(&w));
	assert_null(why);
	assert_int_equal(find(NULL, NULL, NULL, NULL, &w, &why), 0);
	assert_true(is_nobody(&w));
	assert_null(why);
	assert_int_equal(type->find(NULL, NULL, BE, &w, &why), 0);
	assert_true(is_nobody(&w));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_in_range(find(bad[i].version, bad[i].domid, bad[i].ref,
				     bad[i].port, &w, &why), -ERANGE, -1);
		assert_true(is_nobody(&w));
		if (!strstr(why, bad[i].why))
			fail_msg("%s: not %s", why, bad[i].why);
		free(why);
	}
}

/* ---- a worker with one device ------------------------------------------- */

static struct b {
	struct flat f;
	struct vg_loop *loop;
	struct xen_gnttab *gt;
	struct xen_evtchn *ec;
	struct vg_ports *ports;
	struct vg_deferred *end_of_turn;
	struct vg_device *dev;
	struct vg_transport *t;
	struct virtio_grant_bus_page *page;
	unsigned int pfn, stops, moves;
	xen_ref_t ref;
	xen_port_t port;
	int move_error;
	char move_text[128];
	uint32_t seq;
} b;

static void b_worked(void *arg)
{
	(void)arg;
	vg_deferred_schedule(b.end_of_turn);
}

static void b_end_of_turn(void *arg)
{
	(void)arg;
	b.t->type->end_of_turn(b.t);
}

static void b_moved(void *arg, int err, const char *text)
{
	(void)arg;
	b.moves++;
	b.move_error = err;
	snprintf(b.move_text, sizeof(b.move_text), "%s", text);
}

static void b_stopped(void *host)
{
	(void)host;
	b.stops++;
}

static const struct vg_host_ops b_host_ops = {
	.stopped = b_stopped, .worked = b_worked,
};

static void b_run(void)
{
	unsigned int i;

	for (i = 0; i < 10000; i++)
		if (vg_loop_run_once(b.loop, 0) <= 0)
			return;
	fail_msg("the loop does not come to rest");
}

static struct vg_transport_where here(void)
{
	return (struct vg_transport_where){ { 1, b.ref, b.port, 1 } };
}

static void move(const struct vg_transport_where *where)
{
	b.t->type->move(b.t, where);
	b_run();
}

static const struct vg_transport_where nobody;

static int b_setup(void **state)
{
	const struct vg_transport_env env = {
		.guest = GUEST, .label = "dom3 test", .worked = b_worked,
		.moved = b_moved,
	};
	struct vg_transport_env e = env;
	struct vg_device_params p = {
		.label = "dom3 test", .type = &test_type,
		.transport_ops = type->device_ops, .queue_size_max = 64,
	};
	const char *why;

	(void)state;
	memset(&b, 0, sizeof(b));
	memset(&held, 0, sizeof(held));
	held.nr_queues = 1;
	unit_log_start();
	fake_init();
	fake_domain_create(BE, 1, 16);
	fake_domain_create(GUEST, 1, 64);
	fake_enter(BE);
	flat_init(&b.f);
	assert_int_equal(vg_loop_create(&b.loop), 0);
	b.end_of_turn = vg_deferred_create(b.loop, b_end_of_turn, NULL);
	assert_int_equal(xen_gnttab_open(&b.gt), 0);
	assert_int_equal(xen_evtchn_open(&b.ec), 0);
	assert_int_equal(vg_ports_create(b.ec, b.loop, &b.ports), 0);
	e.loop = b.loop;
	e.gt = b.gt;
	e.ports = b.ports;
	assert_int_equal(type->open(&e, &nobody, &b.t, &why), 0);
	p.transport = b.t->arg;
	assert_int_equal(vg_device_create(&p, &b.f.mem, b.loop, &b_host_ops,
					  NULL, &b.dev), 0);
	type->begin(b.t, b.dev);
	type->catch_up(b.t);
	b.pfn = fake_alloc_pages(GUEST, 1);
	b.page = fake_page(GUEST, b.pfn);
	b.page->magic = VIRTIO_GRANT_BUS_MAGIC;
	b.page->version = 1;
	b.ref = fake_grant(GUEST, BE, b.pfn, 1, false);
	b.port = fake_guest_alloc_unbound(GUEST, BE);
	b_run();
	assert_int_equal(b.moves, 0);
	return 0;
}

static int b_teardown(void **state)
{
	unsigned int i;

	(void)state;
	vg_read_hook = NULL;
	vg_device_stop(b.dev);
	complete(held.nr);
	for (i = 0; i < 2000 && !b.stops; i++)
		vg_loop_run_once(b.loop, 5);
	vg_device_destroy(b.dev);
	type->close(b.t, false);
	vg_ports_destroy(b.ports);
	vg_deferred_destroy(b.end_of_turn);
	xen_evtchn_close(b.ec);
	xen_gnttab_close(b.gt);
	vg_loop_destroy(b.loop);
	flat_exit(&b.f);
	assert_int_equal(fake_leaks(), 0);
	fake_exit();
	unit_log_stop();
	return 0;
}

static void attach(void)
{
	struct vg_transport_where w = here();
	unsigned int before = b.moves;

	move(&w);
	assert_int_equal(b.moves, before + 1);
	assert_int_equal(b.move_error, 0);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 1);
}

/* ---- messages ----------------------------------------------------------- */

static void put(unsigned int id, const void *req, size_t bytes)
{
	struct virtio_grant_msg_header h = {
		.msg_id = (uint8_t)id, .msg_size = (uint16_t)(8 + bytes),
	};

	h.token = (uint16_t)++b.seq;
	memcpy(b.page->request, &h, 8);
	if (bytes)
		memcpy(b.page->request + 8, req, bytes);
	__atomic_store_n(&b.page->request_seq, b.seq, __ATOMIC_RELEASE);
	fake_guest_notify(GUEST, b.port);
}

static void tell_status(uint32_t status)
{
	put(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &status, 4);
	b_run();
}

static void answers(void **state)
{
	(void)state;
	attach();
	fake_guest_take_event(GUEST, b.port);
	put(VIRTIO_GRANT_MSG_GET_DEVICE_INFO, NULL, 0);
	b_run();
	assert_int_equal(b.page->response_seq, 1);
	assert_int_equal(b.page->response[6], 8 + 24);
	assert_int_equal(b.page->response[8], 42);
	assert_true(fake_guest_take_event(GUEST, b.port));
	/* An event without a request is nothing, and no event comes of it. */
	fake_guest_notify(GUEST, b.port);
	b_run();
	assert_false(fake_guest_take_event(GUEST, b.port));
	/* One event for an answer, and all else that the turn has brought. */
	tell_status(1);
	fake_count_reset();
	vg_device_config_changed(b.dev);
	tell_status(0);
	assert_int_equal(fake_calls(BE, FAKE_EVTCHN_NOTIFY), 1);
	assert_int_equal(fake_calls(BE, FAKE_GNTTAB_MAP), 0);
}

/* Whatever it does to the number, each request is carried out at most once. */
static void storm(void **state)
{
	unsigned int i;
	uint64_t before;

	(void)state;
	attach();
	before = vg_device_stats(b.dev)->accesses;
	for (i = 0; i < 1000; i++) {
		put(VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
		fake_guest_notify(GUEST, b.port);
		if (i % 3 == 0)
			b_run();
		if (i % 7 == 0)
			b.page->response_seq = 0xdeadbeef;
	}
	b_run();
	assert_int_equal(b.page->response_seq, b.seq);
	assert_in_range(vg_device_stats(b.dev)->accesses - before, 300, 1000);
	assert_int_equal(vg_device_stats(b.dev)->bad_accesses, 0);
	/* The same number again is no request. */
	before = vg_device_stats(b.dev)->accesses;
	for (i = 0; i < 100; i++) {
		fake_guest_notify(GUEST, b.port);
		b_run();
	}
	assert_int_equal(vg_device_stats(b.dev)->accesses, before);
}

/* Between two reads of it, the message is another. */
static void scribble(const volatile void *word, size_t bytes)
{
	/* The device's mapping of it is another than ours. */
	uintptr_t at = (uintptr_t)word % 4096;

	if (at >= 1024 && at < 1536)
		memset((uint8_t *)b.page + at, 0xff, bytes);
}

static void read_once(void **state)
{
	uint32_t ok = 1;

	(void)state;
	attach();
	vg_read_hook = scribble;
	put(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &ok, 4);
	b_run();
	vg_read_hook = NULL;
	assert_int_equal(b.page->response_seq, b.seq);
	assert_int_equal(b.page->response[8], 1);
	assert_int_equal(vg_device_status(b.dev), 1);
	assert_int_equal(b.page->request[0], 0xff);
}

/* Each size that a header can have: never more than the page's part is read. */
static void any_size(void **state)
{
	unsigned int size;

	(void)state;
	attach();
	for (size = 0; size <= 0xffff; size += size < 300 ? 1 : 977) {
		memset(b.page->request, 0x5a, 512);
		put(VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
		memcpy(b.page->request + 6, &size, 2);
		b_run();
		assert_int_equal(b.page->response_seq, b.seq);
		assert_int_equal(b.page->response[6], size == 8 ? 12 : 8);
	}
}

/* All of the page at once, and then it goes on as if nothing had been. */
static void any_page(void **state)
{
	uint32_t x = 1;
	unsigned int i, k;

	(void)state;
	attach();
	for (i = 0; i < 300; i++) {
		uint32_t *w = (uint32_t *)b.page;

		for (k = 0; k < 1024; k++) {
			x = x * 1664525u + 1013904223u;
			w[k] = x >> 8;
		}
		b.page->request[1] %= 16;
		b.page->request[7] = 0;
		fake_guest_notify(GUEST, b.port);
		b_run();
	}
	b.seq = b.page->request_seq;
	tell_status(0);
	put(VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
	b_run();
	assert_int_equal(b.page->response_seq, b.seq);
	assert_int_equal(b.page->response[8], 0);
}

/* ---- attaching, leaving ------------------------------------------------- */

static void page_renew(void)
{
	memset(b.page, 0, sizeof(*b.page));
	b.page->magic = VIRTIO_GRANT_BUS_MAGIC;
	b.page->version = 1;
	fake_guest_close(GUEST, b.port);
	b.port = fake_guest_alloc_unbound(GUEST, BE);
	b.seq = 0;
}

static void with_a_request(void)
{
	struct virtio_grant_msg_set_vqueue v = { 0 };
	uint32_t f[4] = { 0, 2, 0, 3 };
	static struct flat_queue q;

	attach();
	tell_status(1);
	tell_status(3);
	put(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 16);
	b_run();
	tell_status(11);
	drv_init(&q, &b.f, 16);
	v.size = 16;
	v.desc_addr = q.desc_addr;
	v.driver_addr = q.avail_addr;
	v.device_addr = q.used_addr;
	put(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v));
	b_run();
	tell_status(15);
	add(NULL, &q);
	b.page->avail_events++;
	fake_guest_notify(GUEST, b.port);
	b_run();
	assert_int_equal(held.nr, 1);
}

/* Not before the request has ended: then nothing of the guest's is mapped. */
static void leaves(void **state)
{
	unsigned int before;

	(void)state;
	with_a_request();
	before = b.moves;
	move(&nobody);
	b_worked(NULL);		/* another device's turn */
	b_run();
	assert_int_equal(b.moves, before);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 1);
	/* Nor is it asked anything more. */
	put(VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
	b_run();
	assert_int_not_equal(b.page->response_seq, b.seq);
	complete(1);
	b_run();
	assert_int_equal(b.moves, before + 1);
	assert_int_equal(b.move_error, 0);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 0);
	assert_int_equal(b.f.rings_now, 0);
	assert_int_equal(vg_device_status(b.dev), 0);
	/* And again. */
	page_renew();
	attach();
	tell_status(1);
	assert_int_equal(b.page->response_seq, 1);
}

/* Told of another while it is leaving: the last one counts. */
static void leaves_and_returns(void **state)
{
	struct vg_transport_where w = here();
	unsigned int before;

	(void)state;
	with_a_request();
	before = b.moves;
	move(&nobody);
	w = here();
	move(&w);
	assert_int_equal(b.moves, before);
	move(&nobody);
	/* The same page begins anew, and has another port. */
	page_renew();
	w = here();
	move(&w);
	complete(1);
	b_run();
	assert_int_equal(b.moves, before + 1);
	assert_int_equal(b.move_error, 0);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 1);
	assert_int_equal(vg_device_status(b.dev), 0);
}

/* To another page at once: the device stays as it is. */
static void replaced(void **state)
{
	xen_ref_t old = b.ref;

	(void)state;
	old = b.ref;
	with_a_request();
	b.pfn = fake_alloc_pages(GUEST, 1);
	b.page = fake_page(GUEST, b.pfn);
	page_renew();
	b.ref = fake_grant(GUEST, BE, b.pfn, 1, false);
	attach();
	assert_int_equal(fake_grant_maps(GUEST, old), 0);
	assert_int_equal(vg_device_status(b.dev), 15);
	complete(1);
	b_run();
	assert_int_not_equal(b.page->used_events, 0);
	assert_int_equal(fake_grant_end(GUEST, old), 0);
}

static void fails_and_tries(enum fake_call call, int err, const char *text)
{
	struct vg_transport_where w = here();
	unsigned int i, before = b.moves;

	fake_fail_nth(BE, call, FAKE_EVERY, err);
	move(&w);
	for (i = 0; i < 8; i++)
		vg_loop_run_once(b.loop, 10);
	/* Said once. */
	assert_int_equal(b.moves, before + 1);
	assert_int_equal(b.move_error, -err);
	if (!strstr(b.move_text, text))
		fail_msg("%s: not %s", b.move_text, text);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 0);
	fake_fail_nth(BE, call, 0, 0);
	for (i = 0; i < 300 && b.move_error; i++)
		vg_loop_run_once(b.loop, 10);
	assert_int_equal(b.move_error, 0);
	assert_int_equal(fake_grant_maps(GUEST, b.ref), 1);
	move(&nobody);
	fake_guest_close(GUEST, b.port);
	b.port = fake_guest_alloc_unbound(GUEST, BE);
}

static void failures(void **state)
{
	struct vg_transport_where w;

	(void)state;
	fails_and_tries(FAKE_EVTCHN_BIND, EPERM, "xsm=dummy");
	fails_and_tries(FAKE_EVTCHN_BIND, EINVAL, "its event channel");
	fails_and_tries(FAKE_GNTTAB_MAP, EFAULT, "its page, grant reference");
	/* The port comes first, since it says why. */
	fake_fail_nth(BE, FAKE_EVTCHN_BIND, FAKE_EVERY, EPERM);
	fake_count_reset();
	w = here();
	move(&w);
	assert_int_equal(fake_calls(BE, FAKE_GNTTAB_MAP), 0);
	fake_fail_nth(BE, FAKE_EVTCHN_BIND, 0, 0);
	/* Nobody, while it tries. */
	move(&nobody);
	assert_int_equal(b.move_error, 0);
	fake_count_reset();
	vg_loop_run_once(b.loop, 50);
	vg_loop_run_once(b.loop, 50);
	assert_int_equal(fake_calls(BE, FAKE_EVTCHN_BIND), 0);
}

int main(void)
{
#define B(t) cmocka_unit_test_setup_teardown(t, b_setup, b_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys),
		B(answers), B(storm), B(read_once), B(any_size), B(any_page),
		B(leaves), B(leaves_and_returns), B(replaced), B(failures),
	};

	return cmocka_run_group_tests_name("bus backend", tests, NULL, NULL);
}
