/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus.h - a control domain with guests and driver domains that speak of
 * devices on the Xen bus through xenstore: for the tests of the toolstack.
 *
 * bus_turn() is the other sides' turn: it is called whenever the code under
 * test waits (vg_step_hook).
 */
#ifndef TESTS_BUS_H
#define TESTS_BUS_H

#include "unit.h"

#define BUS_DOMD	1u
#define BUS_GUEST	5u

enum bus_backend {
	BUS_BACKEND_SERVES, BUS_BACKEND_ABSENT, BUS_BACKEND_REFUSES,
	BUS_BACKEND_REFUSES_LATE, BUS_BACKEND_REFUSES_SILENTLY,
	BUS_BACKEND_REMOVES, BUS_BACKEND_CLOSES, BUS_BACKEND_NONSENSE,
	BUS_BACKEND_KEEPS,		/* serves, and does not close */
};
enum bus_guest {
	BUS_GUEST_DRIVES, BUS_GUEST_NO_DRIVER, BUS_GUEST_FAILS,
	BUS_GUEST_FAILS_SILENTLY, BUS_GUEST_OTHER_VERSION, BUS_GUEST_SLOW,
	BUS_GUEST_NONSENSE, BUS_GUEST_REMOVES,
	BUS_GUEST_HOLDS,		/* drives, and does not close */
};

extern enum bus_backend bus_backend;
extern enum bus_guest bus_guest;
extern void (*bus_also)(void);		/* as a turn begins; or NULL */
extern unsigned int bus_turns;

/* DomD (1) and guest g1 (5); the other sides as above, the first of each. */
void bus_setup(void);
void bus_teardown(void);
/* A domain with libxl's nodes.  @uuid: the last digits. */
void bus_domain(xen_domid_t id, const char *name, unsigned int uuid,
		bool is_driver_domain);
/* xl destroy. */
void bus_domain_gone(xen_domid_t id);
void bus_turn(void);

/* "/local/domain/..." of a device; static buffers, some at a time. */
const char *bus_front(xen_domid_t guest, unsigned int devid, const char *key);
const char *bus_back(xen_domid_t backend, xen_domid_t guest,
		     unsigned int devid, const char *key);
const char *bus_record(unsigned int uuid, unsigned int devid,
		       const char *key);
/* That is what stands there; NULL: there is nothing. */
void bus_assert_key(const char *path, const char *value);

#endif
