// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_worker.c - a worker with its supervisor and its broker played by hand:
 * every message that is wrong, and every word of the relay page that a broker
 * should not write.  The worker lives, answers what can be answered with all
 * ones, and lets everything go at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "relay/page.h"
#include "unit.h"
#include "lib/util.h"
#include "dev/blk/blk.h"
#include "grantd/worker.h"

#define BE	1u
#define GUEST	3u

struct relay {
	struct vg_relay_page *page;
	xen_ref_t ref;
	xen_port_t port;
};

static struct vg_loop *loop;
static struct vg_worker *w;
static struct vg_worker_shared shared;
static int sock[2];
static bool is_gone;
static struct xen_shared_page *pages[64];	/* all that relay_new() made */
static unsigned int nr_pages;
static struct xen_evtchn *ec;
static char *dir, *image;
static unsigned int nr_fds;

static void on_gone(void *arg)
{
	(void)arg;
	is_gone = true;
}

static void turns(unsigned int n)
{
	fake_enter(BE);
	while (n--)
		assert_true(vg_loop_run_once(loop, 0) >= 0);
	fake_enter(0);
}

static struct relay relay_new(void)
{
	struct relay r;
	struct xen_shared_page *maker, **page = &pages[nr_pages++];

	fake_enter(0);
	assert_true(nr_pages < 64);
	assert_int_equal(xen_shared_page_create(BE, &maker, &r.ref), 0);
	assert_int_equal(xen_shared_page_take(dup(xen_shared_page_fd(maker)),
					      page), 0);
	xen_shared_page_close(maker);
	assert_int_equal(xen_evtchn_alloc_unbound(ec, BE, &r.port), 0);
	r.page = xen_shared_page_addr(*page);
	r.page->magic = VG_RELAY_MAGIC;
	r.page->version = VG_RELAY_VERSION;
	r.page->nr_vcpus = 2;
	r.page->nr_queues_max = VG_RELAY_QUEUES_MAX;
	return r;
}

static void relay_end(struct relay *r)
{
	unsigned int i;

	xen_evtchn_unbind(ec, r->port);
	for (i = 0; i < nr_pages; i++) {
		if (!pages[i] || xen_shared_page_addr(pages[i]) != r->page)
			continue;
		xen_shared_page_close(pages[i]);
		pages[i] = NULL;
	}
}

static int setup(void **state)
{
	char path[512];

	(void)state;
	unit_log_start();
	nr_fds = unit_nr_fds();
	dir = unit_tmpdir();
	snprintf(path, sizeof(path), "%s/image", dir);
	image = unit_image(path, 65536);
	fake_init();
	fake_domain_create(BE, 1, 64);
	fake_domain_create(GUEST, 1, 4096);
	fake_enter(0);
	if (xen_evtchn_open(&ec))
		return -1;
	memset(&shared, 0, sizeof(shared));
	is_gone = false;
	fake_enter(BE);
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) ||
	       vg_loop_create(&loop) ||
	       vg_worker_create(GUEST, loop, sock[1], &shared, on_gone, NULL,
				&w);
}

static int teardown(void **state)
{
	unsigned int n;

	(void)state;
	fake_enter(BE);
	if (w)
		vg_worker_destroy(w);
	w = NULL;
	vg_loop_destroy(loop);
	if (sock[0] >= 0)
		close(sock[0]);
	close(sock[1]);
	while (nr_pages)
		xen_shared_page_close(pages[--nr_pages]);
	xen_evtchn_close(ec);
	n = fake_leaks();
	fake_exit();
	free(image);
	unit_rm_r(dir);
	unit_log_stop();
	return n || unit_nr_fds() != nr_fds ? -1 : 0;
}

static struct vg_worker_msg add_msg(const struct relay *r)
{
	const struct vg_blk_params blk = { .engine = VG_BLK_ENGINE_SYNC };
	struct vg_worker_msg m = {
		.op = VG_WORKER_ADD,
		.where = { { 0, r->ref, r->port } },
		.queue_size_max = 64,
		.budget_pages = 8192,
		.parts.nr_queues = 1,
	};

	memcpy(m.parts.blob, &blk, sizeof(blk));
	strcpy(m.text, "dom3 test");
	return m;
}

static void tell(const struct vg_worker_msg *m, bool with_image)
{
	struct vg_worker_msg copy = *m;
	int fds[VG_WORKER_FDS_MAX];

	vg_worker_no_fds(fds);
	if (with_image)
		fds[VG_WORKER_FD_PARTS] = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(vg_worker_send(sock[0], &copy, fds), 0);
	vg_worker_close_fds(fds);
	turns(3);
}

/* What the worker said; 0 and the message, or fails. */
static struct vg_worker_msg said(enum vg_worker_op op)
{
	struct vg_worker_msg m;
	int fds[VG_WORKER_FDS_MAX], n;

	n = vg_worker_recv(sock[0], &m, fds);
	assert_int_equal(fds[0], -1);
	assert_int_equal(n, 1);
	assert_int_equal(m.op, op);
	return m;
}

static void said_nothing(void)
{
	struct vg_worker_msg m;
	int fds[VG_WORKER_FDS_MAX];

	assert_int_equal(vg_worker_recv(sock[0], &m, fds), -EAGAIN);
}

static struct relay added(void)
{
	struct relay r = relay_new();
	struct vg_worker_msg m = add_msg(&r);

	tell(&m, true);
	assert_int_equal(said(VG_WORKER_ADDED).error, 0);
	assert_int_equal(r.page->backend_state, VG_RELAY_BACKEND_READY);
	return r;
}

static void ask(struct relay *r, unsigned int vcpu, uint32_t seq, uint32_t op,
		uint32_t data)
{
	r->page->slot[vcpu].op = op;
	r->page->slot[vcpu].data = data;
	r->page->slot[vcpu].seq = seq;
	r->page->pending[vcpu / 32] |= 1u << (vcpu % 32);
	assert_int_equal(xen_evtchn_notify(ec, r->port), 0);
	turns(3);
}

static uint32_t answer(struct relay *r, unsigned int vcpu, uint32_t seq)
{
	if (!(r->page->answered[vcpu / 32] & (1u << (vcpu % 32))) ||
	    r->page->slot[vcpu].rsp_seq != seq)
		fail_msg("vCPU %u, request %u: not answered", vcpu, seq);
	r->page->answered[vcpu / 32] &= ~(1u << (vcpu % 32));
	return r->page->slot[vcpu].rsp_data;
}

/* Was there a notification since it was last asked? */
static bool was_told(struct relay *r)
{
	xen_port_t port;
	bool told = false;

	while (!xen_evtchn_pending(ec, &port)) {
		told |= port == r->port;
		xen_evtchn_unmask(ec, port);
	}
	return told;
}

static void still_works(struct relay *r)
{
	static uint32_t seq = 1000;

	ask(r, 0, ++seq, VG_RELAY_OP(0, 4, 0), 0);
	assert_int_equal(answer(r, 0, seq), 0x74726976);
}

/* ---- honest ------------------------------------------------------------- */

static void serves_and_removes(void **state)
{
	struct vg_worker_msg m = { .op = VG_WORKER_REMOVE };
	struct relay r = added();

	(void)state;
	still_works(&r);
	ask(&r, 1, 7, VG_RELAY_OP(8, 4, 0), 0);
	assert_int_equal(answer(&r, 1, 7), 2);
	tell(&m, false);
	assert_int_equal(said(VG_WORKER_REMOVED).index, 0);
	assert_int_equal(r.page->backend_state, VG_RELAY_BACKEND_GONE);
	assert_int_equal(fake_maps_held(BE), 0);
	relay_end(&r);
	/* And again in the same slot. */
	r = added();
	still_works(&r);
	relay_end(&r);
}

static void asked_before_it_attached(void **state)
{
	struct relay r = relay_new();
	struct vg_worker_msg m = add_msg(&r);

	(void)state;
	r.page->slot[1].op = VG_RELAY_OP(4, 4, 0);
	r.page->slot[1].seq = 5;
	r.page->pending[0] = 2;
	tell(&m, true);
	assert_int_equal(said(VG_WORKER_ADDED).error, 0);
	assert_int_equal(answer(&r, 1, 5), 2);
	relay_end(&r);
}

static void ends_when_the_supervisor_does(void **state)
{
	struct relay r = added();

	(void)state;
	close(sock[0]);
	sock[0] = -1;
	turns(2);
	assert_true(is_gone);
	fake_enter(BE);
	vg_worker_destroy(w);
	w = NULL;
	assert_int_equal(r.page->backend_state, VG_RELAY_BACKEND_GONE);
	assert_int_equal(fake_maps_held(BE), 0);
}

static void successor_is_broken_until_reset(void **state)
{
	struct relay r = relay_new();
	struct vg_worker_msg m = add_msg(&r);

	(void)state;
	m.start = VG_START_RESET;
	tell(&m, true);
	assert_int_equal(said(VG_WORKER_ADDED).error, 0);
	ask(&r, 0, 1, VG_RELAY_OP(VIRTIO_MMIO_STATUS, 4, 0), 0);
	assert_true(answer(&r, 0, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(shared.dev[0].broken, VG_BROKEN_RESTARTED);
	ask(&r, 0, 2, VG_RELAY_OP(VIRTIO_MMIO_STATUS, 4, 1), 0);
	answer(&r, 0, 2);
	ask(&r, 0, 3, VG_RELAY_OP(VIRTIO_MMIO_STATUS, 4, 0), 0);
	assert_int_equal(answer(&r, 0, 3), 0);
	relay_end(&r);
}

static void another_broker(void **state)
{
	struct vg_worker_msg m = { .op = VG_WORKER_MOVE };
	struct relay r = added(), r2 = relay_new();

	(void)state;
	ask(&r, 0, 1, VG_RELAY_OP(VIRTIO_MMIO_STATUS, 4, 1), 1);
	answer(&r, 0, 1);
	m.where = (struct vg_transport_where){ { 0, r2.ref, r2.port } };
	tell(&m, false);
	assert_int_equal(r.page->backend_state, VG_RELAY_BACKEND_GONE);
	assert_int_equal(r2.page->backend_state, VG_RELAY_BACKEND_READY);
	still_works(&r2);
	/* The device's state stayed. */
	ask(&r2, 0, 2, VG_RELAY_OP(VIRTIO_MMIO_STATUS, 4, 0), 0);
	assert_int_equal(answer(&r2, 0, 2), 1);
	/* One that can't be: said, and the device waits for the next. */
	m.where.word[1] = 12345;
	tell(&m, false);
	assert_true(unit_logged("new relay"));
	m.where = (struct vg_transport_where){ { 0, r.ref, r.port } };
	tell(&m, false);
	r.page->answered[0] = 0;
	still_works(&r);
	relay_end(&r);
	relay_end(&r2);
}

static void a_broker_that_looks_is_not_told(void **state)
{
	struct vg_worker_msg m = { .op = VG_WORKER_MOVE };
	struct relay r = added();

	(void)state;
	still_works(&r);
	assert_true(was_told(&r));
	r.page->broker_looks = 1;
	still_works(&r);
	assert_false(was_told(&r));
	/* It has seen that; and now somebody lies, or it is dead. */
	usleep(20000);
	turns(2);
	assert_false(was_told(&r));
	ask(&r, 0, 77, VG_RELAY_OP(0, 4, 0), 0);
	assert_false(was_told(&r));
	usleep(20000);
	turns(2);
	assert_true(was_told(&r));
	answer(&r, 0, 77);
	/* Attaching is no answer, and always said. */
	m.where = (struct vg_transport_where){ { 0, r.ref, r.port } };
	tell(&m, false);
	assert_true(was_told(&r));
	r.page->broker_looks = 0;
	still_works(&r);
	assert_true(was_told(&r));
	relay_end(&r);
}

/* ---- relays that are none ----------------------------------------------- */

static void bad_relays(void **state)
{
	enum { MAGIC, VERSION, VCPUS, REF, PORT, DOMID };
	unsigned int i;

	(void)state;
	for (i = MAGIC; i <= DOMID; i++) {
		struct relay r = relay_new();
		struct vg_worker_msg m = add_msg(&r), back;

		switch (i) {
		case MAGIC:
			r.page->magic ^= 1;
			break;
		case VERSION:
			r.page->version++;
			break;
		case VCPUS:
			r.page->nr_vcpus = VG_RELAY_VCPUS_MAX + 1;
			break;
		case REF:
			m.where.word[1]++;
			break;
		case PORT:
			m.where.word[2]++;
			break;
		case DOMID:
			m.where.word[0] = GUEST;
			break;
		}
		tell(&m, true);
		back = said(VG_WORKER_ADDED);
		if (!back.error || !back.text[0])
			fail_msg("case %u was accepted", i);
		said_nothing();
		assert_int_equal(fake_maps_held(BE), 0);
		relay_end(&r);
	}
}

/* Another process of the backend's domain has written there. */
static void says_again_that_it_is_there(void **state)
{
	static const uint32_t states[] = {
		VG_RELAY_BACKEND_ABSENT, VG_RELAY_BACKEND_GONE,
		VG_RELAY_BACKEND_RESTARTING, 0xdeadbeef,
	};
	struct relay r = added();
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		uint32_t session = r.page->backend_session;

		was_told(&r);
		r.page->backend_state = states[i];
		assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
		turns(3);
		assert_int_equal(r.page->backend_state,
				 VG_RELAY_BACKEND_READY);
		assert_int_not_equal(r.page->backend_session, session);
		assert_true(was_told(&r));
	}
	still_works(&r);
	relay_end(&r);
}

static void says_that_it_is_there_when_asked(void **state)
{
	struct relay r = added();
	uint32_t session = r.page->backend_session;

	(void)state;
	was_told(&r);
	r.page->asked += 7;
	assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
	turns(3);
	assert_int_not_equal(r.page->backend_session, session);
	assert_true(was_told(&r));
	/* Once for each time it is asked. */
	session = r.page->backend_session;
	assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
	turns(3);
	assert_int_equal(r.page->backend_session, session);
	assert_false(was_told(&r));
	still_works(&r);
	relay_end(&r);
}

static void *mend(void *arg)
{
	struct relay *r = arg;

	usleep(20000);
	__atomic_store_n(&r->page->magic, VG_RELAY_MAGIC, __ATOMIC_RELEASE);
	return NULL;
}

/* The broker's words, too: it mends them when it gets an event. */
static void waits_for_a_relay_to_be_mended(void **state)
{
	struct relay r = relay_new();
	struct vg_worker_msg m = add_msg(&r);
	pthread_t thread;

	(void)state;
	r.page->magic ^= 1;
	assert_int_equal(pthread_create(&thread, NULL, mend, &r), 0);
	tell(&m, true);
	pthread_join(thread, NULL);
	assert_true(was_told(&r));
	assert_int_equal(said(VG_WORKER_ADDED).error, 0);
	still_works(&r);
	relay_end(&r);
}

static void impossible_accesses(void **state)
{
	static const uint32_t ops[] = {
		VG_RELAY_OP(0, 0, 0), VG_RELAY_OP(0, 3, 0),
		VG_RELAY_OP(0, 5, 0), VG_RELAY_OP(0, 7, 1),
		VG_RELAY_OP(2, 4, 0), VG_RELAY_OP(1, 2, 0),
		VG_RELAY_OP(0x1fe, 4, 0), VG_RELAY_OP(0x200, 1, 0),
		VG_RELAY_OP(0x200, 4, 1), VG_RELAY_OP(0xfff, 1, 0),
		VG_RELAY_OP(0xffc, 4, 0),
	};
	struct relay r = added();
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		ask(&r, 1, 100 + i, ops[i], 0xffffffff);
		if (answer(&r, 1, 100 + i) != UINT32_MAX)
			fail_msg("op 0x%x", ops[i]);
	}
	/* Bits that have no meaning are not one. */
	ask(&r, 1, 200, VG_RELAY_OP(0, 4, 0) | 0x7ff8f000, 0);
	assert_int_equal(answer(&r, 1, 200), 0x74726976);
	still_works(&r);
	relay_end(&r);
}

static void vcpus_that_are_none(void **state)
{
	struct relay r = added();
	uint64_t before = shared.dev[0].accesses;
	unsigned int i;

	(void)state;
	for (i = 0; i < VG_RELAY_VCPUS_MAX; i++)
		r.page->slot[i].op = VG_RELAY_OP(0, 4, 0);
	/* The number was read once: raising it later is no use. */
	r.page->nr_vcpus = 128;
	memset(r.page->pending, 0xff, sizeof(r.page->pending));
	assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
	turns(3);
	assert_int_equal(r.page->answered[0] & ~3u, 0);
	assert_true(shared.dev[0].accesses <= before + 2);
	for (i = 1; i < 4; i++)
		assert_int_equal(r.page->answered[i], 0);
	r.page->answered[0] = 0;
	still_works(&r);
	relay_end(&r);
}

static void replays_are_answered_like_requests(void **state)
{
	struct relay r = added();
	unsigned int i;

	(void)state;
	for (i = 0; i < 5; i++) {
		ask(&r, 0, 42, VG_RELAY_OP(0, 4, 0), 0);
		assert_int_equal(answer(&r, 0, 42), 0x74726976);
	}
	ask(&r, 0, 0, VG_RELAY_OP(0, 4, 0), 0);
	answer(&r, 0, 0);
	relay_end(&r);
}

static void queues_that_are_none(void **state)
{
	struct relay r = added();

	(void)state;
	r.page->notify[0] = r.page->notify[1] = 0xffffffff;
	assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
	turns(3);
	assert_int_equal(r.page->notify[0] | r.page->notify[1], 0);
	assert_int_equal(shared.dev[0].spurious_notifies, 64);
	still_works(&r);
	relay_end(&r);
}

/* A page full of anything, again and again: the other device is served. */
static void random_pages(void **state)
{
	struct relay r = added(), other = relay_new();
	struct vg_worker_msg m = add_msg(&other);
	uint64_t x = 4711;
	unsigned int i, k;

	(void)state;
	m.index = 5;
	tell(&m, true);
	assert_int_equal(said(VG_WORKER_ADDED).error, 0);
	for (i = 0; i < 500; i++) {
		uint32_t *word = (void *)r.page;

		for (k = 0; k < 1024; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			word[k] = (uint32_t)(x >> 20);
			/* Mostly registers that there are. */
			if (k > 256 && x % 2)
				word[k] &= 0x800401fc;
		}
		assert_int_equal(xen_evtchn_notify(ec, r.port), 0);
		turns(2);
	}
	still_works(&other);
	relay_end(&r);
	relay_end(&other);
}

static void storm_of_events(void **state)
{
	struct relay r = added(), other = relay_new();
	struct vg_worker_msg m = add_msg(&other);
	unsigned int i;

	(void)state;
	m.index = 1;
	tell(&m, true);
	said(VG_WORKER_ADDED);
	for (i = 0; i < 500; i++) {
		xen_evtchn_notify(ec, r.port);
		xen_evtchn_notify(ec, r.port);
		if (i % 25 == 0)
			still_works(&other);
	}
	relay_end(&r);
	relay_end(&other);
}

/* The broker's process dies: page and port go, the worker stays. */
static void broker_vanishes(void **state)
{
	struct relay r = added(), r2;
	struct vg_worker_msg m = { .op = VG_WORKER_MOVE };

	(void)state;
	relay_end(&r);
	turns(5);
	assert_int_equal(fake_maps_held(BE), 1);	/* its page, still */
	r2 = relay_new();
	m.where = (struct vg_transport_where){ { 0, r2.ref, r2.port } };
	tell(&m, false);
	still_works(&r2);
	assert_int_equal(fake_maps_held(BE), 1);
	relay_end(&r2);
}

/* ---- messages that are none --------------------------------------------- */

static void bad_messages(void **state)
{
	struct relay r = added();
	struct vg_worker_msg m = add_msg(&r);

	(void)state;
	/* The slot is taken. */
	tell(&m, true);
	assert_int_equal(said(VG_WORKER_ADDED).error, -EINVAL);
	/* No image. */
	m.index = 1;
	tell(&m, false);
	assert_int_equal(said(VG_WORKER_ADDED).error, -EINVAL);
	/*
	 * No such operation, no such device; a descriptor where none belongs.
	 */
	m.op = 77;
	tell(&m, true);
	m.op = VG_WORKER_REMOVE;
	m.index = 9;
	tell(&m, true);
	m.op = VG_WORKER_MOVE;
	tell(&m, false);
	said_nothing();
	still_works(&r);
	assert_false(is_gone);
	relay_end(&r);
}

static void a_message_of_another_size_is_the_end(void **state)
{
	(void)state;
	assert_int_equal(send(sock[0], "hello", 5, 0), 5);
	turns(2);
	assert_true(is_gone);
}

static void a_slot_beyond_is_the_end(void **state)
{
	struct vg_worker_msg m = { .op = VG_WORKER_REMOVE,
				   .index = VG_WORKER_DEVICES_MAX };

	(void)state;
	tell(&m, true);
	assert_true(is_gone);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(serves_and_removes),
		T(asked_before_it_attached),
		T(ends_when_the_supervisor_does),
		T(successor_is_broken_until_reset),
		T(another_broker),
		T(a_broker_that_looks_is_not_told),
		T(bad_relays),
		T(says_again_that_it_is_there),
		T(says_that_it_is_there_when_asked),
		T(waits_for_a_relay_to_be_mended),
		T(impossible_accesses),
		T(vcpus_that_are_none),
		T(replays_are_answered_like_requests),
		T(queues_that_are_none),
		T(random_pages),
		T(storm_of_events),
		T(broker_vanishes),
		T(bad_messages),
		T(a_message_of_another_size_is_the_end),
		T(a_slot_beyond_is_the_end),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
