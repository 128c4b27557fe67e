/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_xen.h - Xen in memory: the twin of backend/xen/, for tests.
 *
 * The files of tests/fake/ implement every function of backend/xen/xen.h in
 * one process; a test program links them in place of backend/xen/.  This is
 * the tests' side of it: it makes domains, plays the guest, breaks calls on
 * purpose, and says at the end what was left behind.
 *
 * Errors and rules follow Xen 4.20 (xen/common/{grant_table,event_channel,
 * ioreq}.c, tools/xenstored/{core,watch}.c) and, where Linux stands between
 * Xen and us, its drivers/xen/{gntdev,gntalloc,evtchn}.c; where the model
 * simplifies, the comment says so.
 *
 * One thread, but that other threads may use handles of grants and event
 * channels.  Whoever opens a handle is the "current process", which lives in a
 * domain: see fake_enter().
 */
#ifndef FAKE_XEN_H
#define FAKE_XEN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../backend/xen/xen.h"

/* ---- the machine -------------------------------------------------------- */

/* Domain 0 and its xenstore exist afterwards, and it is the current one. */
void fake_init(void);
/* Frees all of it, whatever is left. */
void fake_exit(void);

/*
 * What the code under test left behind: open handles, mappings, ports,
 * watches, IOREQ servers, shared pages, vCPUs that wait.  Each is one line on
 * standard error; the number of them is returned.  Use it as
 * assert_int_equal(fake_leaks(), 0).
 */
unsigned int fake_leaks(void);

/* ---- domains and processes ---------------------------------------------- */

/*
 * Makes a domain, its /local/domain/<domid> with libxl's permissions, and
 * fires @introduceDomain.  Memory is sparse: pages not touched cost nothing.
 */
void fake_domain_create(xen_domid_t domid, unsigned int nr_vcpus,
			unsigned int nr_pages);
/*
 * The domain is gone for Xen: its ports close, its IOREQ servers are gone,
 * nothing of it can be mapped any more (what is mapped stays).  Xenstore nodes
 * stay, as libxl removes those; @releaseDomain fires.
 */
void fake_domain_destroy(xen_domid_t domid);
/* @domid may do DM ops on @target (libxl's "target"); Xen: is_priv_for. */
void fake_domain_set_target(xen_domid_t domid, xen_domid_t target);

struct fake_proc;
/* A further process in @domid; fake_exit() frees it. */
struct fake_proc *fake_proc_create(xen_domid_t domid);
/* Handles opened from now on are @domid's, in its default process. */
void fake_enter(xen_domid_t domid);
void fake_enter_proc(struct fake_proc *proc);
struct fake_proc *fake_current_proc(void);
/*
 * kill -9, as the kernel cleans up behind it: mappings, ports, shared pages,
 * watches and transactions go; IOREQ servers stay.  The objects of the code
 * under test are left to the test, which must not step them any more; calls
 * on their handles give -EBADF, and closing one is allowed.
 */
void fake_proc_crash(struct fake_proc *proc);
void fake_crash(xen_domid_t domid);	/* the default process */

/* ---- guest memory and grants -------------------------------------------- */

/* @n consecutive zeroed pages; the number of the first. */
unsigned int fake_alloc_pages(xen_domid_t domid, unsigned int n);
void *fake_page(xen_domid_t domid, unsigned int pfn);	/* the guest's view */

/* The first of @n consecutive references to @n consecutive pages. */
xen_ref_t fake_grant(xen_domid_t domid, xen_domid_t to, unsigned int pfn,
		     unsigned int n, bool read_only);
/* The same at a reference of the caller's choice. */
void fake_grant_at(xen_domid_t domid, xen_ref_t ref, xen_domid_t to,
		   unsigned int pfn, bool read_only);
/* -EBUSY while it is mapped, as gnttab_end_foreign_access_ref() has it. */
int fake_grant_end(xen_domid_t domid, xen_ref_t ref);
/* Nobody can map it any more; who does, does still. */
void fake_grant_withdraw(xen_domid_t domid, xen_ref_t ref);
/* How often it is mapped now. */
unsigned int fake_grant_maps(xen_domid_t domid, xen_ref_t ref);
/* Mappings that @domid holds now, of anybody's pages. */
unsigned int fake_maps_held(xen_domid_t domid);
/* Most pages @domid may have mapped at once (Xen's maptrack). */
void fake_set_maptrack_limit(xen_domid_t domid, unsigned int pages);

/* ---- the guest's event channels ----------------------------------------- */

xen_port_t fake_guest_alloc_unbound(xen_domid_t domid, xen_domid_t remote);
int fake_guest_bind(xen_domid_t domid, xen_domid_t remote_dom,
		    xen_port_t remote, xen_port_t *port);
int fake_guest_notify(xen_domid_t domid, xen_port_t port);
int fake_guest_close(xen_domid_t domid, xen_port_t port);
/* Whether it was notified since the last call. */
bool fake_guest_take_event(xen_domid_t domid, xen_port_t port);

/* ---- the guest's vCPUs and interrupts ----------------------------------- */

/*
 * An access to guest physical address @addr.  0: the vCPU waits from now on;
 * -ENXIO: no IOREQ server has the range (the guest gets a data abort);
 * -EBUSY: the vCPU waits already.
 */
int fake_mmio_start(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		    unsigned int size_bytes, bool is_write, uint64_t data);
/*
 * True once: it is completed and *data is what a read returned, cut to its
 * size.
 */
bool fake_mmio_done(xen_domid_t domid, unsigned int vcpu, uint64_t *data);
bool fake_mmio_waits(xen_domid_t domid, unsigned int vcpu);

/*
 * The blocking variant calls the pump, which is to step every loop once
 * without sleeping, until the access is completed.  -ETIMEDOUT after
 * @fake_mmio_timeout_ms of real time (5000), with the vCPU still waiting.
 */
void fake_set_pump(void (*pump)(void *arg), void *arg);
void fake_pump(void);
extern unsigned int fake_mmio_timeout_ms;
int fake_mmio_read(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		   unsigned int size_bytes, uint64_t *data);
int fake_mmio_write(xen_domid_t domid, unsigned int vcpu, uint64_t addr,
		    unsigned int size_bytes, uint64_t data);

/* Rising edges of an SPI since the domain was made. */
uint64_t fake_spi_count(xen_domid_t domid, uint32_t irq);
unsigned int fake_ioreq_servers(xen_domid_t domid);

/* ---- xenstore, as any domain -------------------------------------------- */

int fake_store_write(xen_domid_t as, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* With bytes that a string can't hold. */
int fake_store_write_bytes(xen_domid_t as, const char *path, const void *data,
			   unsigned int len_bytes);
int fake_store_mkdir(xen_domid_t as, const char *path);
int fake_store_rm(xen_domid_t as, const char *path);
/* To be freed; NULL and errno. */
char *fake_store_read(xen_domid_t as, const char *path);
bool fake_store_exists(const char *path);
/*
 * @perms like "n0 r5 b7": the first is the owner with the default of all
 * others (n none, r read, w write, b both).
 */
int fake_store_set_perms(xen_domid_t as, const char *path, const char *perms);
unsigned int fake_store_nr_nodes(void);
/*
 * All of it, to be freed: a line "path=value (permissions)" per node, in the
 * order of their making.
 */
char *fake_store_dump(void);
unsigned int fake_store_nr_watches(void);
/* @domid, too, gets @introduceDomain and @releaseDomain. */
void fake_store_allow_special(xen_domid_t domid);

/* ---- what libxl does ---------------------------------------------------- */

/* Keys as libxl 4.19+ writes them for disk=['...,specification=virtio,...']. */
struct fake_disk {
	xen_domid_t guest, backend;
	unsigned int devid;
	const char *params;		/* image */
	bool read_only;
	bool no_grants;			/* grant_usage=0 */
	bool discard;
	uint64_t base;			/* 0: 0x2000000 */
	uint32_t irq;			/* 0: 33 */
};
void fake_libxl_disk_add(const struct fake_disk *disk);
/* xl destroy, first half: online=0, state=5. */
void fake_libxl_disk_close(const struct fake_disk *disk);
/* Second half: all of its directories go. */
void fake_libxl_disk_remove(const struct fake_disk *disk);
/* "/local/domain/<be>/backend/virtio_disk/<fe>/<devid>"; a static buffer. */
const char *fake_libxl_disk_path(const struct fake_disk *disk);
/* "/libxl/<fe>/device/virtio_disk/<devid>"; a static buffer. */
const char *fake_libxl_disk_libxl_path(const struct fake_disk *disk);
/* A key of the backend directory as a number; -1: missing or no number. */
long fake_libxl_disk_key(const struct fake_disk *disk, const char *key);

/* ---- counting, and breaking on purpose ---------------------------------- */

enum fake_call {
	FAKE_GNTTAB_OPEN,
	FAKE_GNTTAB_MAP,
	FAKE_GNTTAB_UNMAP,
	FAKE_GNTTAB_COPY,
	FAKE_GNTSHR_OPEN,
	FAKE_GNTSHR_SHARE,
	FAKE_GNTSHR_TAKE,
	FAKE_EVTCHN_OPEN,
	FAKE_EVTCHN_TAKE,
	FAKE_EVTCHN_ALLOC,
	FAKE_EVTCHN_BIND,
	FAKE_EVTCHN_UNBIND,
	FAKE_EVTCHN_NOTIFY,
	FAKE_EVTCHN_PENDING,
	FAKE_EVTCHN_UNMASK,
	FAKE_STORE_OPEN,
	FAKE_STORE_BEGIN,
	FAKE_STORE_COMMIT,
	FAKE_STORE_READ,
	FAKE_STORE_WRITE,
	FAKE_STORE_RM,
	FAKE_STORE_PERMS,
	FAKE_STORE_DIRECTORY,
	FAKE_STORE_WATCH,
	FAKE_IOREQ_CREATE,
	FAKE_IOREQ_ADOPT,
	FAKE_IOREQ_MAP_RANGE,
	FAKE_IOREQ_UNMAP_RANGE,
	FAKE_IOREQ_COMPLETE,
	FAKE_IOREQ_RAISE_SPI,
	FAKE_CONFINE,
	FAKE_CALL_MAX,
};
const char *fake_call_name(enum fake_call kind);

#define FAKE_ANY_DOMID	0xffffu

/* Calls made so far by @domid (or all), failed ones included. */
uint64_t fake_calls(unsigned int domid, enum fake_call kind);
/* Pages in successful map calls; bytes in successful copies. */
uint64_t fake_pages_mapped(unsigned int domid);
uint64_t fake_bytes_copied(unsigned int domid);
void fake_count_reset(void);

/*
 * The @n-th call of @kind from now (1: the next) by @domid (or any) fails
 * with @err (positive errno) and does nothing else.  One at a time per kind;
 * @n 0 disarms, FAKE_EVERY is each until then.
 */
#define FAKE_EVERY	(~0u)
void fake_fail_nth(unsigned int domid, enum fake_call kind, unsigned int n,
		   int err);
/* From the @n-th call on, @count of them. */
void fake_fail_from(unsigned int domid, enum fake_call kind, unsigned int n,
		    unsigned int count, int err);
/* Whether the armed failure has happened. */
bool fake_failed(enum fake_call kind);

#endif
