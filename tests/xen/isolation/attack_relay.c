// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack_relay.c - what a backend's domain can do to the broker through a
 * relay page and its event channel (backend/relay/page.h): garbage, replays,
 * answers nobody asked for, lies, and a device of the attacker's own, which is
 * false in one point.  The page is granted to the domain, so its
 * root may map and write it: nothing here is refused, and the test is what
 * becomes of the broker, the guest and its neighbours, and of the device when
 * the attacker has gone.
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

#include "attack.h"

#define __XEN_TOOLS__ 1
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/sys/gntdev.h>

#include "../../../backend/relay/page.h"

static uint64_t seed = 1;

static uint32_t any_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/* The local end of the relay's channel; 0: there is none. */
static uint32_t find_port(uint16_t domid, uint32_t remote)
{
	struct evtchn_status *status = (void *)xbuf;

	for (uint32_t port = 1; port < 1024; port++) {
		memset(status, 0, sizeof(*status));
		status->dom = DOMID_SELF;
		status->port = port;
		if (!xen_call(__HYPERVISOR_event_channel_op, EVTCHNOP_status,
			      xva(status), 0, 0, 0) &&
		    status->status == EVTCHNSTAT_interdomain &&
		    status->u.interdomain.dom == domid &&
		    status->u.interdomain.port == remote)
			return port;
	}
	return 0;
}

static long notify(uint32_t port)
{
	struct evtchn_send *send = (void *)xbuf;

	send->port = port;
	return xen_call(__HYPERVISOR_event_channel_op, EVTCHNOP_send,
			xva(send), 0, 0, 0);
}

static void garbage(volatile uint32_t *word)
{
	for (unsigned int i = 0; i < 256; i++)
		word[any_number() % 1024] = any_number() % 3 ? any_number() :
			any_number() % 2 ? 0 : ~0u;
}

static void unasked(volatile struct vg_relay_page *page)
{
	for (unsigned int i = 0; i < VG_RELAY_VCPUS_MAX; i++) {
		page->slot[i].rsp_data = any_number();
		page->slot[i].rsp_seq = page->slot[i].seq + any_number() % 3;
	}
	for (unsigned int i = 0; i < 4; i++)
		page->answered[i] = ~0u;
	page->irq = ~0u;
	page->backend_state = any_number() % 4;
}

/* Quicker than the worker, and false. */
static void lies(volatile struct vg_relay_page *page)
{
	uint32_t bits = __atomic_exchange_n((uint32_t *)&page->pending[0], 0,
					    __ATOMIC_ACQ_REL);

	for (unsigned int i = 0; i < 32; i++) {
		if (!(bits & 1u << i))
			continue;
		page->slot[i].rsp_data = any_number();
		__atomic_store_n((uint32_t *)&page->slot[i].rsp_seq,
				 page->slot[i].seq, __ATOMIC_RELEASE);
		__atomic_fetch_or((uint32_t *)&page->answered[0], 1u << i,
				  __ATOMIC_ACQ_REL);
	}
}

/*
 * A disk of the attacker's own, as far as a guest's driver looks before it
 * gives it work.  The real one's worker must not answer meanwhile.
 */
static struct {
	uint32_t device_id;
	uint32_t generation;
	int is_settled;		/* the generation is, once it was read */
	int has_config;		/* otherwise nobody answers there... */
	int is_mute;		/* ...and has been asked */
	int is_ones;		/* it has no other digit */
	uint32_t reg[0x100 / 4];
} toy;

static uint32_t toy_read(uint32_t offset)
{
	switch (offset) {
	case 0x000:		/* MagicValue */
		return 0x74726976;
	case 0x004:		/* Version */
		return 2;
	case 0x008:		/* DeviceID */
		return toy.device_id;
	case 0x010:		/* DeviceFeatures: VERSION_1, ACCESS_PLATFORM */
		return toy.reg[0x014 / 4] == 1 ? 3 : 0;
	case 0x034:		/* QueueNumMax, of whatever queue */
		return 128;
	case 0x044:		/* QueueReady */
	case 0x070:		/* Status */
		return toy.reg[offset / 4];
	case 0x0fc:		/* ConfigGeneration */
		if (toy.is_ones)
			return ~0u;
		return toy.is_settled ? toy.generation : toy.generation++;
	case 0x100:		/* capacity: 512 MiB, in sectors */
		return toy.is_ones ? ~0u : 1u << 20;
	default:
		return toy.is_ones && offset > 0x100 ? ~0u : 0;
	}
}

/* The broker has answered something by itself: no, the backend is there. */
static void play_alive(volatile struct vg_relay_page *page)
{
	static uint32_t asked, session;

	if (toy.is_mute || (page->asked == asked &&
			    page->backend_state == VG_RELAY_BACKEND_READY))
		return;
	asked = page->asked;
	if (!session)
		session = page->backend_session;
	page->backend_session = ++session;
	__atomic_store_n((uint32_t *)&page->backend_state,
			 VG_RELAY_BACKEND_READY, __ATOMIC_RELEASE);
}

static void play(volatile struct vg_relay_page *page)
{
	uint32_t bits;

	play_alive(page);
	bits = __atomic_exchange_n((uint32_t *)&page->pending[0], 0,
				   __ATOMIC_ACQ_REL);
	for (unsigned int i = 0; i < 32; i++) {
		uint32_t op = page->slot[i].op;
		uint32_t offset = VG_RELAY_OP_OFFSET(op);

		if (!(bits & 1u << i))
			continue;
		if (!toy.has_config && offset >= 0x0fc) {
			toy.is_mute = 1;
			continue;
		}
		if (!VG_RELAY_OP_IS_WRITE(op))
			page->slot[i].rsp_data = toy_read(offset);
		else if (offset < 0x100)
			toy.reg[offset / 4] = page->slot[i].data;
		__atomic_store_n((uint32_t *)&page->slot[i].rsp_seq,
				 page->slot[i].seq, __ATOMIC_RELEASE);
		__atomic_fetch_or((uint32_t *)&page->answered[0], 1u << i,
				  __ATOMIC_ACQ_REL);
	}
}

/* Returns whether there is a device that is false in this way. */
static int toy_init(const char *how)
{
	toy.device_id = strcmp(how, "console") ? 2 : 3;
	toy.is_settled = strcmp(how, "unsettled") != 0;
	toy.has_config = strcmp(how, "mute") != 0;
	toy.is_ones = !strcmp(how, "ones");
	return toy.device_id == 3 || !toy.is_settled || !toy.has_config ||
	       toy.is_ones;
}

void attack_relay(const char *how, uint16_t domid, uint32_t ref, uint32_t port,
		  unsigned int seconds)
{
	static struct target broker = { .role = "broker" };
	static char what[32], old[PAGE_BYTES];
	struct ioctl_gntdev_map_grant_ref op = {
		.count = 1,
		.refs = { { domid, ref } },
	};
	int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);
	volatile struct vg_relay_page *page;
	int is_toy = toy_init(how);
	struct attempt *a;
	uint32_t local;
	time_t end;

	xen_open();
	broker.domid = domid;
	snprintf(what, sizeof(what), "relay.%s", how);
	a = attempt_begin(what, &broker);
	local = find_port(domid, port);
	if (fd < 0 || ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, &op)) {
		perror("relay page");
		exit(2);
	}
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)op.index);
	if (page == MAP_FAILED || !local) {
		fprintf(stderr, "relay page %u of domain %u: %s, local port %u\n",
			ref, domid,
			page == MAP_FAILED ? strerror(errno) : "mapped", local);
		exit(2);
	}
	memcpy(old, (void *)page, PAGE_BYTES);
	attempt_search(a, ref, old, PAGE_BYTES);
	for (end = time(NULL) + (time_t)seconds; time(NULL) < end;) {
		for (unsigned int i = 0; i < 100; i++) {
			if (!strcmp(how, "garbage"))
				garbage((volatile uint32_t *)page);
			else if (!strcmp(how, "replay"))
				memcpy((void *)page, old, PAGE_BYTES);
			else if (!strcmp(how, "unasked"))
				unasked(page);
			else if (!strcmp(how, "lies"))
				lies(page);
			else if (is_toy)
				play(page);
			attempt_errno(a, ref, notify(local));
		}
	}
	/* The worst to be left behind: no broker, and no backend either. */
	page->magic = ~VG_RELAY_MAGIC;
	page->version = any_number();
	page->nr_vcpus = ~0u;
	page->asked = any_number();
	page->backend_session = any_number();
	page->backend_state = VG_RELAY_BACKEND_GONE;
	attempt_end(a);
}
