// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_follow.c - domains that end and come back find their devices again
 * (backend/toolstack/bus_follow.c), whatever they have written into their nodes
 * and whatever call fails meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus.h"
#include "lib/util.h"
#include "toolstack/bus_follow.h"
#include "toolstack/transact.h"

#define S	UINT64_C(1000000000)

static struct xen_store *xs;
static struct vg_follow follow;
static uint64_t now_ns;

static int setup(void **state)
{
	(void)state;
	bus_setup();
	assert_int_equal(xen_store_open(&xs), 0);
	vg_follow_init(&follow, xs, 0, 60 * S);
	now_ns = 1000 * S;
	unit_log_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unit_log_stop();
	vg_follow_exit(&follow);
	xen_store_close(xs);
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	return 0;
}

/* A disk of g1 from DomD (1), in use. */
static void make_for(xen_domid_t guest, const char *name)
{
	struct vg_bus_dev dev = { .guest = guest, .backend = 1 };
	char *why = NULL;
	unsigned int i;

	snprintf(dev.uuid, sizeof(dev.uuid), "00000000-0000-0000-0000-%012x",
		 0x51);
	assert_int_equal(vg_bus_spec_add_list(&dev.spec, "type=blk,backend=DomD,target=/srv/a", &why), 0);
	assert_int_equal(vg_bus_spec_complete(&dev.spec, &why), 0);
	dev.spec.name = vg_strdup(name);
	dev.guest_name = vg_strdup("g1");
	assert_int_equal(vg_bus_create(xs, &dev, 0), 0);
	for (i = 0; i < 4; i++)
		bus_turn();
	bus_assert_key(bus_front(guest, dev.devid, "state"), "4");
	vg_bus_dev_free(&dev);
}

static void make(const char *name)
{
	make_for(5, name);
}

static int look(void)
{
	int r = vg_follow_look(&follow, now_ns);

	now_ns += S / 10;
	return r;
}

static unsigned int nr_calls(void)
{
	return (unsigned int)(fake_calls(0, FAKE_STORE_WRITE) +
			      fake_calls(0, FAKE_STORE_RM) +
			      fake_calls(0, FAKE_STORE_PERMS));
}

static void nothing_to_do(void **state)
{
	unsigned int calls;

	(void)state;
	assert_int_equal(look(), 0);
	make("root");
	calls = nr_calls();
	assert_int_equal(look(), 0);
	assert_int_equal(nr_calls(), calls);
	assert_int_equal(follow.devices, 1);
}

static void assert_moved(xen_domid_t be, xen_domid_t fe)
{
	char *back = vg_strdup(bus_back(be, fe, 0, "")), id[12];

	snprintf(id, sizeof(id), "%u", be);
	bus_assert_key(bus_front(fe, 0, "backend"), back);
	bus_assert_key(bus_front(fe, 0, "backend-id"), id);
	bus_assert_key(bus_record(0x51, 0, "backend-id"), id);
	bus_assert_key(bus_back(be, fe, 0, "params"), "/srv/a");
	bus_assert_key(bus_back(be, fe, 0, "dev"), "root");
	bus_assert_key(bus_back(be, fe, 0, "type"), "virtio,device2");
	bus_assert_key(bus_back(be, fe, 0, "state"), "1");
	/* Nobody gives it up. */
	bus_assert_key(bus_back(be, fe, 0, "moved"), "1");
	snprintf(id, sizeof(id), "%u", fe);
	bus_assert_key(bus_record(0x51, 0, "guest-id"), id);
	free(back);
}

/* The guest is connected again by itself. */
static void assert_connects(xen_domid_t be, xen_domid_t fe)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		bus_turn();
	bus_assert_key(bus_front(fe, 0, "state"), "4");
	bus_assert_key(bus_back(be, fe, 0, "state"), "4");
	assert_int_equal(look(), 0);
}

static void a_backend_comes_back(void **state)
{
	char *v;

	(void)state;
	make("root");
	bus_domain_gone(1);
	assert_int_equal(look(), 1);
	bus_assert_key(bus_front(5, 0, "backend-id"), "1");
	bus_domain(9, "DomD", 0xd, false);
	/* libxl is not there yet. */
	assert_int_equal(look(), 1);
	bus_assert_key(bus_front(5, 0, "backend-id"), "1");
	fake_store_mkdir(0, "/local/domain/9/libxl");
	fake_store_set_perms(0, "/local/domain/9/libxl", "n9");
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
	/* What the driver had granted is the old one's; its state stays. */
	bus_assert_key(bus_front(5, 0, "state"), "4");
	bus_assert_key(bus_front(5, 0, "msg-ref"), NULL);
	bus_assert_key(bus_front(5, 0, "msg-version"), NULL);
	/* The new one may read all of it, and writes none. */
	v = fake_store_read(9, bus_front(5, 0, "state"));
	assert_string_equal(v, "4");
	free(v);
	v = fake_store_read(9, bus_front(5, 0, "device-id"));
	assert_string_equal(v, "2");
	free(v);
	assert_int_equal(fake_store_write(9, bus_front(5, 0, "state"), "1"),
			 -EACCES);
	assert_int_equal(fake_store_write(5, bus_front(5, 0, "state"), "4"),
			 0);
	assert_int_equal(follow.moved, 1);
	assert_true(unit_logged("g1 root: the backend's domain is back"));
	assert_connects(9, 5);
}

static void twice_quickly(void **state)
{
	(void)state;
	make("root");
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	bus_domain_gone(9);
	bus_domain(10, "DomD", 0xd, true);
	assert_int_equal(look(), 0);
	assert_moved(10, 5);
	bus_domain_gone(10);
	bus_domain(11, "DomD", 0xd, true);
	assert_int_equal(look(), 0);
	assert_moved(11, 5);
	assert_connects(11, 5);
}

/* rename-restart: the old one is there, under another name. */
static void the_old_one_is_kept(void **state)
{
	(void)state;
	make("root");
	fake_store_write(0, "/local/domain/1/name", "DomD-1");
	assert_int_equal(look(), 1);
	bus_domain(9, "DomD", 0x9d, true);
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
	assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
}

static void two_of_a_name(void **state)
{
	(void)state;
	make("root");
	bus_domain(8, "DomD", 8, true);
	assert_int_equal(look(), 0);
	bus_domain_gone(1);
	bus_domain(9, "DomD", 9, true);
	assert_int_equal(look(), 1);
	bus_assert_key(bus_front(5, 0, "backend-id"), "1");
	bus_domain_gone(8);
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
}

static void a_guest_reboots(void **state)
{
	(void)state;
	make("root");
	bus_domain_gone(5);
	/* Its backend is asked, and lets go. */
	assert_int_equal(look(), 1);
	bus_assert_key(bus_back(1, 5, 0, "state"), "5");
	bus_assert_key(bus_back(1, 5, 0, "online"), "0");
	bus_domain(6, "g1", 0x51, false);
	assert_int_equal(look(), 1);
	assert_false(fake_store_exists(bus_front(6, 0, "")));
	bus_turn();
	assert_int_equal(look(), 0);
	assert_moved(1, 6);
	bus_assert_key(bus_front(6, 0, "state"), "1");
	bus_assert_key(bus_front(6, 0, "device-id"), "2");
	assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
	assert_false(fake_store_exists("/local/domain/5"));
	assert_int_equal(follow.reattached, 1);
	assert_connects(1, 6);
}

/* Its backend says nothing: not for ever. */
static void a_backend_that_does_not_let_go(void **state)
{
	(void)state;
	make("root");
	bus_backend = BUS_BACKEND_KEEPS;
	bus_domain_gone(5);
	bus_domain(6, "g1", 0x51, false);
	assert_int_equal(look(), 1);
	now_ns += 4 * S;
	bus_turn();
	assert_int_equal(look(), 1);
	now_ns += 2 * S;
	assert_int_equal(look(), 0);
	assert_moved(1, 6);
}

/* Both end, and come back in either order. */
static void both_reboot(void **state)
{
	(void)state;
	make("root");
	bus_domain_gone(5);
	bus_domain_gone(1);
	assert_int_equal(look(), 1);
	bus_domain(7, "DomD", 0xd, true);
	assert_int_equal(look(), 1);
	bus_domain(8, "g1", 0x51, false);
	assert_int_equal(look(), 0);
	assert_moved(7, 8);
	bus_domain_gone(7);
	bus_domain_gone(8);
	bus_domain(9, "g1", 0x51, false);
	assert_int_equal(look(), 1);
	bus_domain(10, "DomD", 0xd, true);
	assert_int_equal(look(), 0);
	assert_moved(10, 9);
	assert_connects(10, 9);
}

/* xl migrate localhost: two of the uuid, until the old one is gone. */
static void two_of_a_uuid(void **state)
{
	(void)state;
	make("root");
	bus_domain(6, "g1--incoming", 0x51, false);
	assert_int_equal(look(), 0);
	bus_domain(7, "g1-x", 0x51, false);
	bus_domain_gone(5);
	assert_int_equal(look(), 1);
	bus_turn();
	assert_int_equal(look(), 1);
	bus_domain_gone(7);
	assert_int_equal(look(), 0);
	assert_moved(1, 6);
	bus_assert_key(bus_record(0x51, 0, "guest"), "g1--incoming");
}

static void a_guest_is_forgotten(void **state)
{
	(void)state;
	make("root");
	make("data");
	bus_domain_gone(5);
	assert_int_equal(look(), 2);
	bus_turn();
	now_ns += 50 * S;
	assert_int_equal(look(), 2);
	assert_true(fake_store_exists(bus_record(0x51, 1, "")));
	now_ns += 11 * S;
	assert_int_equal(look(), 0);
	assert_false(fake_store_exists("/virtio-grant"));
	assert_false(fake_store_exists("/local/domain/1/backend/virtio_grant"));
	assert_false(fake_store_exists("/local/domain/5"));
	assert_int_equal(follow.forgotten, 2);
	assert_int_equal(look(), 0);
}

/* One that came back in time is not counted from then on. */
static void suspend(void)
{
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
	/* When it goes on, nobody says. */
	assert_int_equal(look(), 1);
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
}

static void a_saved_guest_is_restored(void **state)
{
	(void)state;
	make("root");
	suspend();
	bus_domain_gone(5);
	assert_int_equal(look(), 1);
	bus_turn();
	now_ns += 1000000 * S;
	/* There is nothing to look for. */
	assert_int_equal(look(), 0);
	assert_int_equal(look(), 0);
	assert_true(fake_store_exists(bus_record(0x51, 0, "")));
	bus_domain(6, "g1", 0x51, false);
	assert_int_equal(look(), 1);
	assert_moved(1, 6);
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	/* It knows the device; but is not there yet. */
	bus_assert_key(bus_front(6, 0, "state"), "4");
	bus_assert_key(bus_front(6, 0, "msg-ref"), NULL);
	assert_int_equal(look(), 1);
	fake_store_write(1, bus_back(1, 6, 0, "state"), "nonsense");
	assert_int_equal(look(), 1);
	/* That failed, and is tried again. */
	bus_domain_gone(6);
	assert_int_equal(look(), 1);
	bus_turn();
	now_ns += 61 * S;
	assert_int_equal(look(), 0);
	bus_domain(7, "g1", 0x51, false);
	assert_int_equal(look(), 1);
	assert_moved(1, 7);
	assert_connects(1, 7);
	/* Until it goes on, it is looked at without being told. */
	assert_int_equal(look(), 0);
	bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
	/* It ends, and was not saved this time. */
	bus_domain_gone(7);
	assert_int_equal(look(), 1);
	bus_turn();
	now_ns += 61 * S;
	assert_int_equal(look(), 0);
	assert_false(fake_store_exists("/virtio-grant"));
}

/* A checkpoint, after which it goes on. */
static void a_guest_sleeps_for_a_while(void **state)
{
	unsigned int calls;

	(void)state;
	make("root");
	suspend();
	calls = nr_calls();
	assert_int_equal(look(), 1);
	assert_int_equal(nr_calls(), calls);
	/* Its backend's domain comes back meanwhile. */
	bus_domain_gone(1);
	assert_int_equal(look(), 1);
	bus_domain(9, "DomD", 0xd, true);
	assert_int_equal(look(), 1);
	assert_moved(9, 5);
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	now_ns += 3 * S;
	assert_connects(9, 5);
	assert_int_equal(look(), 0);
	bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
}

/* What is noted stays for three seconds; then it goes by itself. */
static void a_short_sleep(void **state)
{
	uint64_t begun;

	(void)state;
	make("root");
	begun = now_ns;
	suspend();
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	while (now_ns < begun + 3 * S) {
		assert_int_equal(look(), 1);
		bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	}
	assert_int_equal(look(), 0);
	bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
	assert_int_equal(follow.nr_asleep, 0);
	/* The next is noted at once, and stays for as long. */
	suspend();
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	now_ns += 2 * S;
	assert_int_equal(look(), 1);
	now_ns += S;
	assert_int_equal(look(), 0);
	/* So does what a process finds that begins. */
	suspend();
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	now_ns += 2 * S;
	vg_follow_exit(&follow);
	vg_follow_init(&follow, xs, 0, 60 * S);
	assert_int_equal(look(), 1);
	now_ns += 2 * S;
	assert_int_equal(look(), 1);
	now_ns += S;
	assert_int_equal(look(), 0);
	/* A device that goes is forgotten. */
	suspend();
	fake_store_rm(0, bus_record(0x51, 0, ""));
	assert_int_equal(look(), 0);
	assert_int_equal(look(), 0);
	assert_int_equal(follow.nr_asleep, 0);
}

/* Two devices of it, as often as it is looked: thirty seconds. */
static void a_guest_that_dozes(void **state)
{
	unsigned int i, k, calls, lines;

	(void)state;
	make("root");
	make("data");
	calls = nr_calls();
	lines = unit_log_lines();
	for (i = 0; i < 300; i++) {
		for (k = 0; k < 2; k++) {
			if (i % 2)
				fake_store_rm(5, bus_front(5, k, "suspended"));
			else
				fake_store_write(5, bus_front(5, k, "suspended"),
						 "1");
		}
		assert_in_range(look(), 0, 2);
		assert_in_range(follow.nr_asleep, 0, 2);
	}
	/* Each is noted and forgotten in turn, and that at once. */
	assert_in_range(nr_calls() - calls, 2 * 16, 2 * 22);
	assert_in_range(unit_log_lines() - lines, 2 * 8, 2 * 11);
}

/* One device of many after the other, so that each look finds another one. */
static void a_guest_that_dozes_by_turns(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
	unsigned int i, k, before, changes = 0, looks = 0;

	(void)state;
	for (k = 0; k < ARRAY_SIZE(names); k++)
		make(names[k]);
	for (i = 0; i < 300; i++) {
		for (k = 0; k < ARRAY_SIZE(names); k++) {
			if (k == i % ARRAY_SIZE(names))
				fake_store_write(5, bus_front(5, k, "suspended"),
						 "1");
			else
				fake_store_rm(5, bus_front(5, k, "suspended"));
		}
		before = nr_calls();
		assert_in_range(look(), 1, ARRAY_SIZE(names));
		changes += nr_calls() - before;
		looks += nr_calls() != before;
	}
	/* No more than one device alone has changed in as many looks. */
	assert_in_range(looks, 2, 22);
	assert_in_range(changes, 2 * ARRAY_SIZE(names), 30);
	assert_int_equal(follow.nr_asleep, 1);
}

/* It goes on: what was noted by one look after the other goes at once. */
static void many_devices_sleep(void **state)
{
	uint64_t begun;

	(void)state;
	make("root");
	make("data");
	begun = now_ns;
	suspend();
	fake_store_write(5, bus_front(5, 1, "suspended"), "1");
	assert_int_equal(look(), 2);
	bus_assert_key(bus_record(0x51, 1, "suspended"), "1");
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	fake_store_rm(5, bus_front(5, 1, "suspended"));
	while (now_ns < begun + 6 * S) {
		assert_int_equal(look(), 2);
		bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
		bus_assert_key(bus_record(0x51, 1, "suspended"), "1");
	}
	assert_int_equal(look(), 0);
	bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
	bus_assert_key(bus_record(0x51, 1, "suspended"), NULL);
	assert_int_equal(follow.nr_asleep, 0);
}

/* What it says is 1 or nothing; a front that is gone says neither. */
static void odd_words_of_sleep(void **state)
{
	static const char *const odd[] = { "", "0", "11", "yes", "1\n" };
	unsigned int i;

	(void)state;
	make("root");
	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		fake_store_write(5, bus_front(5, 0, "suspended"), "%s", odd[i]);
		assert_int_equal(look(), 0);
		bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
	}
	suspend();
	fake_store_rm(0, bus_front(5, 0, ""));
	assert_int_equal(look(), 1);
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
}

static void absences_begin_anew(void **state)
{
	(void)state;
	make("root");
	bus_domain_gone(5);
	look();
	bus_turn();
	now_ns += 50 * S;
	assert_int_equal(look(), 1);
	bus_domain(6, "g1", 0x51, false);
	assert_int_equal(look(), 0);
	now_ns += 50 * S;
	assert_int_equal(look(), 0);
	bus_domain_gone(6);
	assert_int_equal(look(), 1);
	bus_turn();
	now_ns += 50 * S;
	assert_int_equal(look(), 1);
	assert_true(fake_store_exists("/virtio-grant"));
}

/* While nobody looked: all of it is found by what stands there. */
static void after_a_crash(void **state)
{
	(void)state;
	make("root");
	bus_domain_gone(1);
	look();
	bus_domain(9, "DomD", 0xd, true);
	vg_follow_exit(&follow);
	vg_follow_init(&follow, xs, 0, 60 * S);
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
}

/* ---- while it looks ----------------------------------------------------- */

/* As it reads the domains; linked in place of the real one (unit.mk). */
int __real_vg_domains_read(struct xen_store *store, struct vg_domains *all);
int __wrap_vg_domains_read(struct xen_store *store, struct vg_domains *all);
static void (*before_domains)(void), (*after_domains)(void);

int __wrap_vg_domains_read(struct xen_store *store, struct vg_domains *all)
{
	int err;

	if (before_domains)
		before_domains();
	err = __real_vg_domains_read(store, all);
	if (after_domains)
		after_domains();
	return err;
}

/* And gets a device. */
static void guest_is_made(void)
{
	before_domains = after_domains = NULL;
	bus_domain(6, "g1", 0x51, false);
	make_for(6, "root");
}

static void a_guest_is_made_meanwhile(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		bus_domain_gone(5);
		*(i ? &before_domains : &after_domains) = guest_is_made;
		assert_int_equal(look(), 0);
		bus_assert_key(bus_back(1, 6, 0, "state"), "4");
		bus_assert_key(bus_back(1, 6, 0, "online"), "1");
		assert_int_equal(look(), 0);
		teardown(state);
		setup(state);
	}
}

/* What says who it is was not there for a moment. */
static void guest_is_there_again(void)
{
	after_domains = NULL;
	fake_store_write(0, "/local/domain/5/vm", "/vm/00000000-0000-0000-0000-%012x", 0x51);
}

static void a_guest_comes_meanwhile(void **state)
{
	unsigned int lines;

	(void)state;
	make("root");
	fake_store_rm(0, "/local/domain/5/vm");
	after_domains = guest_is_there_again;
	lines = unit_log_lines();
	assert_int_equal(look(), 1);
	bus_assert_key(bus_back(1, 5, 0, "state"), "4");
	bus_assert_key(bus_back(1, 5, 0, "online"), "1");
	assert_int_equal(follow.failures, 0);
	assert_int_equal(unit_log_lines(), lines);
	assert_int_equal(look(), 0);
}

/* As it begins a transaction; linked in place of the real one, too. */
int __real_vg_transact(struct xen_store *store,
		       int (*body)(struct xen_store *store, void *arg),
		       void *arg);
int __wrap_vg_transact(struct xen_store *store,
		       int (*body)(struct xen_store *store, void *arg),
		       void *arg);
static void (*before_transaction)(void);

int __wrap_vg_transact(struct xen_store *store,
		       int (*body)(struct xen_store *store, void *arg),
		       void *arg)
{
	if (before_transaction)
		before_transaction();
	return __real_vg_transact(store, body, arg);
}

static void it_is_awake_again(void)
{
	before_transaction = NULL;
	fake_store_rm(5, bus_front(5, 0, "suspended"));
}

static void it_sleeps_again(void)
{
	before_transaction = NULL;
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
}

/* It counts, and is said, what was noted. */
static void a_guest_that_flaps_meanwhile(void **state)
{
	unsigned int calls, lines;

	(void)state;
	make("root");
	calls = nr_calls();
	lines = unit_log_lines();
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
	before_transaction = it_is_awake_again;
	assert_int_equal(look(), 0);
	assert_null(before_transaction);
	bus_assert_key(bus_record(0x51, 0, "suspended"), NULL);
	assert_int_equal(follow.suspended, 0);
	assert_int_equal(unit_log_lines(), lines);
	assert_int_equal(nr_calls(), calls);
	suspend();
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	now_ns += 3 * S;
	calls = nr_calls();
	before_transaction = it_sleeps_again;
	assert_int_equal(look(), 1);
	assert_null(before_transaction);
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	/* saved.json is written by it. */
	assert_int_equal(follow.suspended, 1);
	assert_int_equal(nr_calls(), calls);
}

/* ---- what domains write ------------------------------------------------- */

static void hostile_fronts(void **state)
{
	char name[400], big[1500], *v;
	unsigned int i;

	(void)state;
	make("root");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	fake_store_write(5, bus_front(5, 0, "state"), "%s", big);
	fake_store_write(5, bus_front(5, 0, "backend"),
			 "/local/domain/0/backend/virtio_grant/5/0");
	fake_store_write(5, bus_front(5, 0, "backend-id"), "0");
	fake_store_write(5, bus_front(5, 0, "device-id"), "-1");
	fake_store_write(5, bus_front(5, 0, "msg-a/b/c/d"), "x");
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "%s/n%u/below",
			 bus_front(5, 0, ""), i);
		fake_store_write(5, name, "%u", i);
	}
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	fake_count_reset();
	assert_int_equal(look(), 0);
	assert_true(nr_calls() < 150);
	assert_false(fake_store_exists("/local/domain/0/backend/virtio_grant"));
	assert_false(fake_store_exists(bus_front(5, 0, "msg-a")));
	assert_moved(9, 5);
	v = fake_store_read(5, bus_front(5, 0, "state"));
	assert_string_equal(v, big);
	free(v);
}

/* It removed its own front, or has one without anything in it. */
static void fronts_that_are_gone(void **state)
{
	(void)state;
	make("root");
	assert_int_equal(fake_store_rm(5, bus_front(5, 0, "")), 0);
	assert_int_equal(look(), 0);
	assert_false(fake_store_exists(bus_front(5, 0, "")));
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
	assert_connects(9, 5);
}

static void hostile_backs(void **state)
{
	static const char *const states[] = {
		"", "-1", "9", "99999999999999999999999", "0x5", "5 ", "\n",
	};
	unsigned int i, n;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		make("root");
		bus_domain_gone((xen_domid_t)5);
		fake_store_write(1, bus_back(1, 5, 0, "state"), "%s",
				 states[i]);
		fake_store_write(1, bus_back(1, 5, 0, "frontend"),
				 "/local/domain/0");
		fake_store_write(1, bus_back(1, 5, 0, "frontend-id"), "0");
		for (n = 0; n < 100; n++) {
			look();
			/* It says its nonsense again and again. */
			if (fake_store_exists(bus_back(1, 5, 0, "")))
				fake_store_write(1, bus_back(1, 5, 0, "state"),
						 "%s", states[i]);
			now_ns += S;
		}
		assert_false(fake_store_exists("/virtio-grant"));
		assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
		assert_true(fake_store_exists("/local/domain/0/name"));
		teardown(NULL);
		setup(NULL);
	}
}

/* Only the control domain writes there, but a program of it may be odd. */
static void odd_records(void **state)
{
	static const char *const odd[][2] = {
		{ "/virtio-grant/x", "" },
		{ "/virtio-grant/00000000-0000-0000-0000-000000000051/x", "" },
		{ "/virtio-grant/00000000-0000-0000-0000-000000000051/4000", "" },
		{ "/virtio-grant/00000000-0000-0000-0000-000000000051/7", "" },
		{ "/virtio-grant/00000000-0000-0000-0000-000000000051/8/name", "a" },
	};
	unsigned int i;

	(void)state;
	make("root");
	for (i = 0; i < ARRAY_SIZE(odd); i++)
		fake_store_write(0, odd[i][0], "%s", odd[i][1]);
	assert_int_equal(look(), 0);
	assert_int_equal(follow.devices, 1);
	fake_store_write(0, bus_record(0x51, 0, "backend-id"), "1x");
	assert_int_equal(look(), 0);
	assert_int_equal(follow.devices, 0);
}

/* ---- xenstore fails ----------------------------------------------------- */

static const enum fake_call calls[] = {
	FAKE_STORE_BEGIN, FAKE_STORE_COMMIT, FAKE_STORE_READ,
	FAKE_STORE_WRITE, FAKE_STORE_RM, FAKE_STORE_PERMS,
	FAKE_STORE_DIRECTORY,
};

/* Both come back, and each call on the way fails once: it gets there. */
static void each_call_fails(void **state)
{
	unsigned int i, n, k, failures = 0;
	bool was;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1, was = true; was; n++) {
			make("root");
			bus_domain_gone(5);
			bus_domain(6, "g1", 0x51, false);
			bus_domain_gone(1);
			bus_domain(9, "DomD", 0xd, true);
			fake_fail_nth(0, calls[i], n, n % 2 ? EIO : EAGAIN);
			for (k = 0; k < 4 && look(); k++)
				bus_turn();
			was = fake_failed(calls[i]);
			failures += was;
			fake_fail_nth(0, calls[i], 0, 0);
			assert_moved(9, 6);
			assert_int_equal(follow.reattached, 1);
			teardown(NULL);
			setup(NULL);
		}
	}
	assert_true(failures > 60);
}

/* It has to be noted before the guest is gone. */
static void each_call_of_noting_fails(void **state)
{
	unsigned int i, n, k, failures = 0;
	bool was;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1, was = true; was; n++) {
			make("root");
			fake_store_write(5, bus_front(5, 0, "suspended"), "1");
			fake_fail_nth(0, calls[i], n, n % 2 ? EIO : EAGAIN);
			for (k = 0; k < 3 && look(); k++)
				;
			was = fake_failed(calls[i]);
			failures += was;
			fake_fail_nth(0, calls[i], 0, 0);
			bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
			teardown(NULL);
			setup(NULL);
		}
	}
	assert_true(failures > 10);
}

static void a_failure_is_said_once(void **state)
{
	unsigned int lines;

	(void)state;
	make("root");
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	fake_fail_nth(0, FAKE_STORE_PERMS, FAKE_EVERY, EIO);
	assert_int_equal(look(), 1);
	assert_true(unit_logged("g1 root: moving it: Input/output error"));
	lines = unit_log_lines();
	assert_int_equal(look(), 1);
	assert_int_equal(unit_log_lines(), lines);
	fake_fail_nth(0, FAKE_STORE_PERMS, 0, 0);
	assert_int_equal(look(), 0);
	assert_moved(9, 5);
}

/* Two devices that fail, with texts of their own, are not said by turns. */
static void failures_of_two(void **state)
{
	unsigned int lines, i;

	(void)state;
	make("root");
	make("data");
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	fake_fail_nth(0, FAKE_STORE_PERMS, FAKE_EVERY, EIO);
	lines = unit_log_lines();
	for (i = 0; i < 100; i++) {
		assert_int_equal(look(), 2);
		now_ns += 2 * S;
	}
	assert_true(unit_logged("g1 root: moving it: Input/output error"));
	assert_true(unit_logged("g1 data: moving it: Input/output error"));
	assert_int_equal(unit_log_lines(), lines + 2);
	assert_int_equal(follow.failures, 200);
	assert_int_equal(follow.nr_said, 2);
	/* By turns with another one of its own, as little. */
	for (i = 0; i < 100; i++) {
		fake_fail_nth(0, FAKE_STORE_PERMS, FAKE_EVERY,
			      i % 2 ? EIO : ENOSPC);
		assert_int_equal(look(), 2);
	}
	assert_int_equal(unit_log_lines(), lines + 4);
	assert_int_equal(follow.nr_said, 4);
	/* What is over is forgotten, and said when it comes again. */
	fake_fail_nth(0, FAKE_STORE_PERMS, 0, 0);
	assert_int_equal(look(), 0);
	assert_int_equal(follow.nr_said, 4);
	now_ns += 60 * S;
	assert_int_equal(look(), 0);
	assert_int_equal(follow.nr_said, 0);
	bus_domain_gone(9);
	bus_domain(10, "DomD", 0xd, true);
	fake_fail_nth(0, FAKE_STORE_PERMS, FAKE_EVERY, EIO);
	lines = unit_log_lines();
	assert_int_equal(look(), 2);
	assert_int_equal(unit_log_lines(), lines + 2);
	fake_fail_nth(0, FAKE_STORE_PERMS, 0, 0);
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_to_do),
		T(a_backend_comes_back),
		T(twice_quickly),
		T(the_old_one_is_kept),
		T(two_of_a_name),
		T(a_guest_reboots),
		T(a_backend_that_does_not_let_go),
		T(both_reboot),
		T(two_of_a_uuid),
		T(a_guest_is_forgotten),
		T(a_saved_guest_is_restored),
		T(a_guest_sleeps_for_a_while),
		T(a_short_sleep),
		T(a_guest_that_dozes),
		T(a_guest_that_dozes_by_turns),
		T(many_devices_sleep),
		T(odd_words_of_sleep),
		T(absences_begin_anew),
		T(after_a_crash),
		T(a_guest_is_made_meanwhile),
		T(a_guest_comes_meanwhile),
		T(a_guest_that_flaps_meanwhile),
		T(hostile_fronts),
		T(fronts_that_are_gone),
		T(hostile_backs),
		T(odd_records),
		T(each_call_fails),
		T(each_call_of_noting_fails),
		T(a_failure_is_said_once),
		T(failures_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
