/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xen.h - everything that the rest of the backend may ask of Xen.
 *
 * This is a boundary (docs/architecture.md): the files in backend/xen/
 * implement it over libxengnttab, libxenevtchn, libxenstore,
 * libxendevicemodel and libxenforeignmemory; tests/fake/ implements the same
 * functions over a Xen in memory.  No other file includes a Xen header.
 *
 * Groups, each in an object of its own, so that the link line of a
 * program says what it may do:
 *
 *	gnttab	  map and copy what was granted to us	grantd
 *	evtchn	  event channels			grantd, broker
 *	store	  xenstore				supervisor, broker
 *	gntshr	  grant pages of our own		broker
 *	ioreq	  IOREQ servers, interrupts		broker only
 *	confine	  give up whatever is not needed	broker
 *
 * Errors are negative errno.  Nothing here logs: the caller does, once.
 * No handle is safe to use from two threads at once, but for xen_gnttab_map(),
 * _unmap(), _copy(), _exchange() and xen_evtchn_notify(), which keep nothing in
 * it; and none survives fork() for use by both sides.
 */
#ifndef VG_XEN_XEN_H
#define VG_XEN_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint16_t xen_domid_t;	/* 0 .. XEN_DOMID_MAX */
typedef uint32_t xen_ref_t;	/* grant reference */
typedef uint32_t xen_port_t;	/* local event channel port */

#define XEN_DOMID_MAX		0x7fef
#define XEN_GRANT_PAGE_SHIFT	12
#define XEN_GRANT_PAGE_SIZE	(1u << XEN_GRANT_PAGE_SHIFT)

/* ---- gnttab: memory that others granted to us --------------------------- */

struct xen_gnttab;

int xen_gnttab_open(struct xen_gnttab **out);
void xen_gnttab_close(struct xen_gnttab *gt);

/*
 * Maps @count pages granted by @domid, in the order of @refs, at consecutive
 * addresses.  @prot is PROT_READ or PROT_READ | PROT_WRITE and holds for all.
 * One hypercall (gntdev batches).  All or nothing: if one reference can't be
 * mapped, none is, and -EFAULT (or gntdev's errno) comes back.
 *
 * The mapping belongs to the caller until xen_gnttab_unmap().  The granter
 * may end neither the grant nor the pages' life meanwhile, but it can write
 * to them at any moment.
 */
int xen_gnttab_map(struct xen_gnttab *gt, xen_domid_t domid,
		   const xen_ref_t *refs, unsigned int count, int prot,
		   void **addr);

/* @addr and @count as they were mapped.  One hypercall. */
int xen_gnttab_unmap(struct xen_gnttab *gt, void *addr, unsigned int count);

#define XEN_COPY_NOT_TRIED	1

struct xen_copy_seg {
	xen_ref_t ref;		/* of the foreign page */
	uint16_t offset;	/* bytes, in the foreign page */
	uint16_t len_bytes;	/* offset + len <= XEN_GRANT_PAGE_SIZE */
	bool to_foreign;	/* direction */
	void *local; /* not crossing a page of ours is not required */
	int16_t status;		/* out: 0, negative GNTST_*, or ..._NOT_TRIED */
};

/*
 * GNTTABOP_copy of all of @segs in one call.  Returns 0 if every one was
 * copied, -EFAULT or another error if not.  The status is that of each,
 * whatever is returned: Xen refused it if negative.  NOT_TRIED: for reasons of
 * our own, and it may have been made nevertheless.
 */
int xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
		    struct xen_copy_seg *segs, unsigned int count);

/* One xen_gnttab_map() of several. */
struct xen_map_job {
	const xen_ref_t *refs;
	unsigned int count;
	int prot;
	void *addr;		/* out, if err is 0 */
	int err;		/* out */
};

/*
 * All that a turn wants at once: a copy of @segs, as above, then the mappings
 * of @jobs, each for itself.  What the copy returned; 0 without @segs.  A
 * process whose domain's grants another one guards asks that one once.
 */
int xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			struct xen_copy_seg *segs, unsigned int nr_segs,
			struct xen_map_job *jobs, unsigned int nr_jobs);

/*
 * Memory that copies are quickest from and to, aligned to its size or to a
 * page if that is less, not zeroed; NULL: there is none.  @bytes: a power of
 * two, 1024 at least.  From any thread.
 */
void *xen_gnttab_buffer_get(size_t bytes);
void xen_gnttab_buffer_put(void *buffer, size_t bytes);
/* Where they lie, as long as we live; *@bytes = 0: here and there. */
void *xen_gnttab_buffer_area(size_t *bytes);

/* ---- gntshr: pages of ours, granted to another -------------------------- */

/* One holder's part of such a page; several processes may hold the same. */
struct xen_shared_page;

/* Whether this domain can make some: 0 or negative errno. */
int xen_shared_page_probe(void);
/*
 * One zeroed page, granted read-write to @domid.  *@ref is its reference.  The
 * maker itself only reads it: who works with it takes it by its descriptor.
 * The grant ends when no holder is left and @domid has unmapped it.
 */
int xen_shared_page_create(xen_domid_t domid, struct xen_shared_page **out,
			   xen_ref_t *ref);
/* For another process, which takes it with the next call; stays ours. */
int xen_shared_page_fd(const struct xen_shared_page *sp);
/* Maps the page read-write.  @fd becomes the holder's in any case. */
int xen_shared_page_take(int fd, struct xen_shared_page **out);
void *xen_shared_page_addr(const struct xen_shared_page *sp);
void xen_shared_page_close(struct xen_shared_page *sp);

/* ---- evtchn ------------------------------------------------------------- */

struct xen_evtchn;

int xen_evtchn_open(struct xen_evtchn **out);
void xen_evtchn_close(struct xen_evtchn *ec);	/* closes every port, too */

/* Readable while a port is pending; for poll(2) and its like. */
int xen_evtchn_fd(const struct xen_evtchn *ec);
/*
 * The descriptor can be sent to another process, for which it is the same
 * handle with the same ports: they close with the last descriptor.  @fd becomes
 * the handle's in any case.
 */
int xen_evtchn_take(int fd, struct xen_evtchn **out);
/*
 * From now on the handle can bind to ports of @domid (not 0) only, and cannot
 * make new ones.  The ports that it has stay as they are.
 */
int xen_evtchn_restrict(struct xen_evtchn *ec, xen_domid_t domid);

/* A new port that only @domid can bind to.  >= 0: the port. */
int xen_evtchn_alloc_unbound(struct xen_evtchn *ec, xen_domid_t domid,
			     xen_port_t *port);
int xen_evtchn_bind_interdomain(struct xen_evtchn *ec, xen_domid_t domid,
				xen_port_t remote, xen_port_t *port);
int xen_evtchn_unbind(struct xen_evtchn *ec, xen_port_t port);
int xen_evtchn_notify(struct xen_evtchn *ec, xen_port_t port);

/*
 * The next pending port, which stays masked until xen_evtchn_unmask(): a peer
 * that floods us costs one wake-up per unmask, no more.
 * -EAGAIN: none is pending.
 */
int xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port);
int xen_evtchn_unmask(struct xen_evtchn *ec, xen_port_t port);
/*
 * The same for all that are pending, at most @max, and for @n ports, with one
 * system call each.  The number of ports, 0 if none is pending.
 */
unsigned int xen_evtchn_pending_all(struct xen_evtchn *ec, xen_port_t *ports,
				    unsigned int max);
void xen_evtchn_unmask_all(struct xen_evtchn *ec, const xen_port_t *ports,
			   unsigned int n);

/* ---- store -------------------------------------------------------------- */

struct xen_store;

int xen_store_open(struct xen_store **out);
void xen_store_close(struct xen_store *xs);
int xen_store_fd(const struct xen_store *xs);

/*
 * Transactions: xen_store_begin(), any of the calls below, then
 * xen_store_commit(), which gives -EAGAIN when the whole must be done again.
 * One at a time per handle.
 */
int xen_store_begin(struct xen_store *xs);
int xen_store_commit(struct xen_store *xs);
void xen_store_abort(struct xen_store *xs);

/*
 * The value, NUL-terminated, to be freed by the caller; NULL with errno
 * (ENOENT, EACCES, ...).  A value with a NUL inside is refused with EINVAL.
 */
char *xen_store_read(struct xen_store *xs, const char *path);
int xen_store_write(struct xen_store *xs, const char *path, const char *value);
int xen_store_rm(struct xen_store *xs, const char *path);
/*
 * The node is @owner's, @reader, which may be the same, may read it, and no
 * other domain may do anything.  Nodes that are made below it get the same;
 * those that are there keep what they have.
 */
int xen_store_set_perms(struct xen_store *xs, const char *path,
			xen_domid_t owner, xen_domid_t reader);

/*
 * Names of the children; free with xen_store_free_dir().  A node without
 * children gives 0 names.  Negative errno on failure.
 */
int xen_store_directory(struct xen_store *xs, const char *path, char ***names);
void xen_store_free_dir(char **names);

/* Special paths "@introduceDomain", "@releaseDomain" work where permitted. */
int xen_store_watch(struct xen_store *xs, const char *path, const char *token);
/* Events of it that are under way may come still. */
void xen_store_unwatch(struct xen_store *xs, const char *path,
		       const char *token);
/* 0: *path and *token are the caller's to free.  -EAGAIN: no event waits. */
int xen_store_next_watch(struct xen_store *xs, char **path, char **token);

/* Our own domid, from xenstore's relative path "domid". */
int xen_store_own_domid(struct xen_store *xs, xen_domid_t *domid);

/* ---- ioreq: the privileged part, broker only ---------------------------- */

struct xen_ioreq;

struct xen_ioreq_access {
	uint64_t addr;		/* guest physical */
	uint64_t data;		/* of a write */
	uint32_t size_bytes;	/* 1, 2, 4 or 8 */
	bool is_write;
};

/*
 * An IOREQ server for @domid: created, its page mapped, every vCPU's port bound
 * on @ec, enabled.  *server_id is for a successor: an IOREQ server outlives its
 * process, and so do the accesses that vCPUs wait for; see xen_ioreq_adopt().
 */
int xen_ioreq_create(xen_domid_t domid, struct xen_evtchn *ec,
		     struct xen_ioreq **out, uint16_t *server_id);
void xen_ioreq_destroy(struct xen_ioreq *io);
/*
 * Ends our part and leaves the server to a successor: without a server the
 * guest's next access would be an abort inside the guest; with an idle one
 * its vCPU waits for the successor.
 */
void xen_ioreq_leave(struct xen_ioreq *io);

/*
 * Takes over the server that an earlier process of ours left behind, with its
 * ranges (unmap each before it is mapped again).  Accesses that were under
 * way are fetched again.  -ENOENT: there is no such server.
 */
int xen_ioreq_adopt(xen_domid_t domid, uint16_t server_id,
		    struct xen_evtchn *ec, struct xen_ioreq **out);

unsigned int xen_ioreq_nr_vcpus(const struct xen_ioreq *io);
int xen_ioreq_vcpu_of_port(const struct xen_ioreq *io, xen_port_t port);

/* @first_byte .. @last_byte, guest physical, both included. */
int xen_ioreq_map_range(struct xen_ioreq *io, uint64_t first_byte,
			uint64_t last_byte);
int xen_ioreq_unmap_range(struct xen_ioreq *io, uint64_t first_byte,
			  uint64_t last_byte);

/*
 * Takes the access that @vcpu waits for.  False: it waits for none.  The
 * vCPU does not run until xen_ioreq_complete().
 */
bool xen_ioreq_fetch(struct xen_ioreq *io, unsigned int vcpu,
		     struct xen_ioreq_access *access);
/* @data: what a read returns; ignored for a write. */
int xen_ioreq_complete(struct xen_ioreq *io, unsigned int vcpu, uint64_t data);

/* One rising edge on the guest's SPI @irq (32 .. 1019). */
int xen_ioreq_raise_spi(struct xen_ioreq *io, uint32_t irq);

/* ---- confine: for the broker's process of one guest --------------------- */

/*
 * To be called once, when the IOREQ server is there.  Afterwards this process
 * can issue device-model operations for @guest alone, use the event channels
 * and shared pages that it has or is sent, and nothing else: no file, no other
 * hypercall, no other mapping.  Errors say in *@what which step failed.
 */
int xen_confine(xen_domid_t guest, const char **what);

#endif
