// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bus.c - see bus.h.
 */
#include "bus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"

#define DOMIDS_MAX	32u
#define DEVIDS_MAX	8u

enum bus_backend bus_backend;
enum bus_guest bus_guest;
void (*bus_also)(void);
unsigned int bus_turns;

/* ---- domains ------------------------------------------------------------ */

static char *path_of(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

static char *path_of(const char *fmt, ...)
{
	static char buf[16][160];
	static unsigned int turn;
	char *p = buf[turn++ % 16];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p, sizeof(buf[0]), fmt, ap);
	va_end(ap);
	return p;
}

void bus_domain(xen_domid_t id, const char *name, unsigned int uuid,
		bool is_driver_domain)
{
	if (id)
		fake_domain_create(id, 1, 16);
	fake_store_write(0, path_of("/local/domain/%u/name", id), "%s", name);
	fake_store_write(0, path_of("/local/domain/%u/vm", id),
			 "/vm/00000000-0000-0000-0000-%012x", uuid);
	if (!is_driver_domain)
		return;
	fake_store_mkdir(0, path_of("/local/domain/%u/libxl", id));
	fake_store_set_perms(0, path_of("/local/domain/%u/libxl", id),
			     path_of("n%u", id));
}

void bus_domain_gone(xen_domid_t id)
{
	fake_store_rm(0, path_of("/local/domain/%u", id));
	fake_domain_destroy(id);
}

void bus_setup(void)
{
	fake_init();
	fake_enter(0);
	bus_backend = 0;
	bus_guest = 0;
	bus_also = NULL;
	bus_turns = 0;
	bus_domain(0, "Domain-0", 0, true);
	bus_domain(BUS_DOMD, "DomD", 0xd, true);
	bus_domain(BUS_GUEST, "g1", 0x51, false);
	vg_step_hook = bus_turn;
}

void bus_teardown(void)
{
	vg_step_hook = NULL;
	fake_exit();
}

/* ---- nodes -------------------------------------------------------------- */

const char *bus_front(xen_domid_t guest, unsigned int devid, const char *key)
{
	return path_of("/local/domain/%u/device/virtio_grant/%u%s%s", guest,
		       devid, *key ? "/" : "", key);
}

const char *bus_back(xen_domid_t backend, xen_domid_t guest,
		     unsigned int devid, const char *key)
{
	return path_of("/local/domain/%u/backend/virtio_grant/%u/%u%s%s",
		       backend, guest, devid, *key ? "/" : "", key);
}

const char *bus_record(unsigned int uuid, unsigned int devid, const char *key)
{
	return path_of("/virtio-grant/00000000-0000-0000-0000-%012x/%u%s%s",
		       uuid, devid, *key ? "/" : "", key);
}

void bus_assert_key(const char *path, const char *value)
{
	char *v = fake_store_read(0, path);

	if (!value && v)
		fail_msg("%s is there: %s", path, v);
	else if (value && (!v || strcmp(v, value)))
		fail_msg("%s: \"%s\", not \"%s\"", path, v ? v : "(nothing)",
			 value);
	free(v);
}

static int state_at(xen_domid_t as, const char *path)
{
	char *v = fake_store_read(as, path);
	int state = v ? atoi(v) : errno == EACCES ? -2 : -1;

	/* Who is to see it may. */
	assert_int_not_equal(state, -2);
	free(v);
	return state;
}

/* ---- the backend -------------------------------------------------------- */

static void say_error(xen_domid_t be, xen_domid_t fe, unsigned int devid)
{
	assert_int_equal(fake_store_write(be, path_of(
		"/local/domain/%u/error/backend/virtio_grant/%u/%u/error", be,
		fe, devid), "dom%u virtio_grant/%u: image /srv/a: in use by dom3", fe,
		devid), 0);
}

static void refuse(xen_domid_t be, xen_domid_t fe, unsigned int devid)
{
	if (bus_backend == BUS_BACKEND_REFUSES)
		say_error(be, fe, devid);
	assert_int_equal(fake_store_rm(be, bus_back(be, fe, devid, "state")),
			 0);
}

static void set_back(xen_domid_t be, xen_domid_t fe, unsigned int devid,
		     const char *state)
{
	assert_int_equal(fake_store_write(be, bus_back(be, fe, devid, "state"),
					  "%s", state), 0);
}

static void back_begins(xen_domid_t be, xen_domid_t fe, unsigned int devid)
{
	switch (bus_backend) {
	case BUS_BACKEND_ABSENT:
		break;
	case BUS_BACKEND_REFUSES:
	case BUS_BACKEND_REFUSES_LATE:
	case BUS_BACKEND_REFUSES_SILENTLY:
		refuse(be, fe, devid);
		break;
	case BUS_BACKEND_REMOVES:
		fake_store_rm(be, bus_back(be, fe, devid, ""));
		break;
	case BUS_BACKEND_CLOSES:
		set_back(be, fe, devid, "6");
		break;
	case BUS_BACKEND_NONSENSE:
		set_back(be, fe, devid, "-1\nforged");
		break;
	default:
		fake_store_write(be, bus_back(be, fe, devid, "msg-versions"),
				 "1-1");
		set_back(be, fe, devid, "2");
	}
}

static void back_turn(xen_domid_t be, xen_domid_t fe, unsigned int devid)
{
	int front, back;

	if (!fake_store_exists(bus_back(be, fe, devid, "")))
		return;
	front = fake_store_exists(bus_front(fe, devid, "")) ?
		state_at(be, bus_front(fe, devid, "state")) : 6;
	back = state_at(be, bus_back(be, fe, devid, "state"));
	if (back == 1)
		back_begins(be, fe, devid);
	else if (back == 2 && front == 3)
		set_back(be, fe, devid, "4");
	else if (back == 5 && front != 4 && front != 3 &&
		 bus_backend != BUS_BACKEND_KEEPS)
		set_back(be, fe, devid, "6");
	else if (back < 0 && bus_backend == BUS_BACKEND_REFUSES_LATE)
		say_error(be, fe, devid);
}

/* ---- the guest ---------------------------------------------------------- */

static void set_front(xen_domid_t fe, unsigned int devid, const char *state)
{
	assert_int_equal(fake_store_write(fe, bus_front(fe, devid, "state"),
					  "%s", state), 0);
}

static void front_fails(xen_domid_t fe, unsigned int devid)
{
	if (bus_guest == BUS_GUEST_FAILS)
		assert_int_equal(fake_store_write(fe, path_of(
			"/local/domain/%u/error/device/virtio_grant/%u/error",
			fe, devid), "22 the device is a console, not a block device"), 0);
	set_front(fe, devid, "6");
}

static void front_begins(xen_domid_t fe, unsigned int devid)
{
	switch (bus_guest) {
	case BUS_GUEST_NO_DRIVER:
		break;
	case BUS_GUEST_OTHER_VERSION:
		fake_store_write(fe, bus_front(fe, devid, "msg-version"), "7");
		set_front(fe, devid, "6");
		break;
	case BUS_GUEST_FAILS:
	case BUS_GUEST_FAILS_SILENTLY:
		front_fails(fe, devid);
		break;
	case BUS_GUEST_NONSENSE:
		set_front(fe, devid, "99999999999999999999");
		break;
	case BUS_GUEST_REMOVES:
		fake_store_rm(fe, bus_front(fe, devid, ""));
		break;
	default:
		fake_store_write(fe, bus_front(fe, devid, "msg-version"), "1");
		fake_store_write(fe, bus_front(fe, devid, "msg-ref"), "77");
		fake_store_write(fe, bus_front(fe, devid, "msg-backend-id"),
				 "1");
		set_front(fe, devid, "3");
	}
}

static void front_turn(xen_domid_t fe, unsigned int devid)
{
	char *back = fake_store_read(fe, bus_front(fe, devid, "backend"));
	int front, bs;

	if (!back)
		return;
	front = state_at(fe, bus_front(fe, devid, "state"));
	bs = fake_store_exists(back) ?
	     state_at(fe, path_of("%s/state", back)) : -1;
	free(back);
	if (front == 1 && bs == 2)
		front_begins(fe, devid);
	else if (front == 3 && bs == 4 && bus_guest != BUS_GUEST_SLOW)
		set_front(fe, devid, "4");
	/* Another backend has it now: Initialised again, with new keys. */
	else if (front == 4 && bs == 2 && bus_guest == BUS_GUEST_DRIVES)
		front_begins(fe, devid);
	else if ((front == 3 || front == 4) && bs == 5 &&
		 bus_guest != BUS_GUEST_HOLDS)
		set_front(fe, devid, "6");
}

void bus_turn(void)
{
	xen_domid_t be, fe;
	unsigned int devid;

	bus_turns++;
	if (bus_also)
		bus_also();
	for (fe = 1; fe < DOMIDS_MAX; fe++) {
		for (devid = 0; devid < DEVIDS_MAX; devid++) {
			for (be = 0; be < DOMIDS_MAX; be++)
				back_turn(be, fe, devid);
			front_turn(fe, devid);
		}
	}
}
