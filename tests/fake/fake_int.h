/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_int.h - shared between the files of tests/fake/ only.
 */
#ifndef FAKE_INT_H
#define FAKE_INT_H

#include "fake_xen.h"

#define FAKE_PAGE_BYTES		4096u
#define FAKE_NR_REFS		32768u	/* 64 frames of 512 entries, v1 */
#define FAKE_FIRST_REF		8u	/* GNTTAB_NR_RESERVED_ENTRIES */
#define FAKE_NR_PORTS		1024u
#define FAKE_NR_SPIS_END	1020u
#define FAKE_NR_IOREQ_SERVERS	8u	/* MAX_NR_IOREQ_SERVERS */
#define FAKE_NR_IO_RANGES	256u	/* MAX_NR_IO_RANGES */
#define FAKE_NR_VCPUS		128u

/* GNTST_* of xen/include/public/grant_table.h */
#define FAKE_GNTST_general_error	(-1)
#define FAKE_GNTST_bad_domain		(-2)
#define FAKE_GNTST_bad_gntref		(-3)
#define FAKE_GNTST_bad_copy_arg		(-10)
#define FAKE_GNTST_no_space		(-13)

/* A broken test, not broken code under test: no way to go on. */
void fake_die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
void *fake_zalloc(size_t bytes);
char *fake_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void fake_leak(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The rest of this scope is one thread's at a time: what a worker's threads
 * call, and whatever changes what that looks at.  Nests.
 */
int fake_lock(void);
void fake_unlock(int *unused);
#define FAKE_LOCKED() \
	int fake_locked __attribute__((cleanup(fake_unlock), unused)) = \
		fake_lock()

/* ---- handles ------------------------------------------------------------ */

enum fake_kind { FAKE_H_GNTTAB, FAKE_H_GNTSHR, FAKE_H_EVTCHN, FAKE_H_STORE,
		 FAKE_H_IOREQ };

struct fake_proc {
	xen_domid_t domid;
	struct fake_handle *handles;
	struct fake_proc *next;
};

/* First member of every handle. */
struct fake_handle {
	enum fake_kind kind;
	bool dead;			/* its process crashed */
	struct fake_proc *proc;
	struct fake_handle *next;
};

/* Into the current process. */
void fake_handle_add(struct fake_handle *h, enum fake_kind kind);
/* Unlinks; frees the memory as well. */
void fake_handle_free(struct fake_handle *h);

/* ---- domains ------------------------------------------------------------ */

struct fake_grant {
	bool valid, read_only;
	bool end_deferred;		/* gntalloc: ends with the last map */
	xen_domid_t to;
	unsigned int pfn;
	unsigned int maps, write_maps;
	xen_domid_t mapped_by;
};

enum fake_port_state { FAKE_PORT_FREE, FAKE_PORT_UNBOUND, FAKE_PORT_BOUND };

struct fake_port {
	enum fake_port_state state;
	bool is_xens; /* consumer is Xen: a vCPU's IOREQ port */
	xen_domid_t remote_dom;
	xen_port_t remote_port;
	struct fake_evfile *owner;	/* NULL: the guest's, or Xen's */
	bool pending;
	bool masked; /* on the owner's ring, or taken from it */
};

struct fake_vcpu {
	bool waits;			/* an access is under way */
	bool done; /* completed, not yet fetched by the test */
	bool fetched;			/* by the IOREQ server */
	int server;			/* index; -1: it was destroyed */
	struct xen_ioreq_access access;
	uint64_t result;
};

struct fake_range { uint64_t first, last; };

struct fake_server {
	bool exists, enabled;
	xen_domid_t emulator;
	unsigned int nr_ranges;
	struct fake_range range[FAKE_NR_IO_RANGES];
	xen_port_t vcpu_port[FAKE_NR_VCPUS];	/* in the guest, Xen's */
	struct xen_ioreq *handle;	/* NULL: its process is gone */
};

struct fake_domain {
	xen_domid_t domid;
	bool alive;
	int target;			/* -1 */
	unsigned int nr_vcpus, nr_pages, next_page;
	int memfd;
	uint8_t *mem;
	unsigned int maptrack_limit, maps_held;
	struct fake_grant grant[FAKE_NR_REFS];
	xen_ref_t next_ref;
	struct fake_port port[FAKE_NR_PORTS];
	struct fake_vcpu vcpu[FAKE_NR_VCPUS];
	struct fake_server server[FAKE_NR_IOREQ_SERVERS];
	uint64_t spi[FAKE_NR_SPIS_END];
	uint64_t calls[FAKE_CALL_MAX];
	uint64_t pages_mapped, bytes_copied;
	bool special_watches;
	struct fake_proc *proc;		/* the default one */
};

/* NULL: never made.  Dead ones are found, too: see ->alive. */
struct fake_domain *fake_domain_any(unsigned int domid);
struct fake_domain *fake_domain_alive(unsigned int domid);
/* For the tests' calls: dies when there is none. */
struct fake_domain *fake_domain_need(unsigned int domid);
struct fake_domain *fake_current_domain(void);

/* Counts; a negative errno when this call is to fail. */
int fake_call(xen_domid_t domid, enum fake_call kind);
/* The same for a handle; -EBADF if its process crashed. */
int fake_hcall(const struct fake_handle *h, enum fake_call kind);

/* ---- between the files -------------------------------------------------- */

void fake_gnt_crash(struct fake_handle *h);
void fake_gnt_fini(struct fake_handle *h);
void fake_gnt_exit(void);
xen_ref_t fake_free_ref(struct fake_domain *d, unsigned int n);

void fake_evtchn_crash(struct xen_evtchn *ec);
void fake_evtchn_fini(struct xen_evtchn *ec);
void fake_evtchn_domain_gone(struct fake_domain *d);
void fake_evtchn_send(struct fake_domain *d, xen_port_t port);
xen_port_t fake_port_new(struct fake_domain *d);
void fake_port_close(struct fake_domain *d, xen_port_t port);
unsigned int fake_evtchn_leaks(void);

void fake_store_init(void);
void fake_store_exit(void);
void fake_store_crash(struct xen_store *xs);
void fake_store_fini(struct xen_store *xs);
void fake_store_domain(struct fake_domain *d);
void fake_store_special(const char *name);
unsigned int fake_store_leaks(void);

void fake_ioreq_crash(struct xen_ioreq *io);
void fake_ioreq_domain_gone(struct fake_domain *d);
unsigned int fake_ioreq_leaks(void);
unsigned int fake_gnt_leaks(void);

#endif
