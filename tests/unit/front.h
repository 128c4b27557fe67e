/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * front.h - a guest's driver on the Xen bus, for tests: a page and a port that
 * it grants, messages, and the queues and buffers of driver.h.
 *
 * It keeps the rules by itself (kernel/uapi/virtio_grant_bus.h); everything is
 * in the open, so that a hostile test breaks exactly the rule it wants to.
 * Errors are negative errno.  One thread: waiting means pumping the fake.
 */
#ifndef UNIT_FRONT_H
#define UNIT_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "fake_xen.h"
#include "kernel/uapi/virtio_grant_bus.h"

#define FRONT_BUS	0x100u		/* of a message: it is the bus's */

struct front {
	xen_domid_t guest, backend;
	const char *kind;		/* NULL: "virtio_grant" */
	unsigned int devid;
	const char *params;		/* of a disk */
	bool has_ranges, has_channels;	/* it uses them */

	unsigned int pfn;
	struct virtio_grant_bus_page *page;
	xen_ref_t ref;
	xen_port_t port;
	uint32_t seq, used_events, config_events;
	struct drv d;			/* queues, buffers; no registers */
	struct drv_buf pool;		/* all that is announced */
	unsigned int pool_used;		/* pages */
};

/* ---- nodes */

/* "/local/domain/..."; static buffers. */
const char *front_path(const struct front *f, const char *key);
const char *front_back_path(const struct front *f, const char *key);
/* As virtio-grantctl makes them, of a device with this ID; state 1 at last. */
void front_nodes_make(const struct front *f, unsigned int virtio_id);
void front_nodes_remove(const struct front *f);
/* The toolstack wants it gone, or not after all. */
void front_ask_close(const struct front *f);
/* The driver's state, and the backend's; -1: there is none. */
void front_set_state(const struct front *f, unsigned int state);
long front_state(const struct front *f);
long front_back_state(const struct front *f);

/* ---- the page */

/* Grants a page, makes a port, writes both and state 3. */
void front_page_make(struct front *f);
void front_keys_write(const struct front *f);
/* -EBUSY: it is mapped still. */
int front_page_end(struct front *f);

/*
 * A message and its answer's payload: how many bytes that has, at most @rsp_max
 * of which are copied; negative: there was none in 5 s, or a wrong one.
 */
int front_msg(struct front *f, unsigned int id, const void *req, size_t bytes,
	      void *rsp, size_t rsp_max);
/* Only sends; its request_seq. */
uint32_t front_send(struct front *f, unsigned int id, const void *req,
		    size_t bytes);
bool front_is_answered(const struct front *f);
int front_answer(const struct front *f, void *rsp, size_t rsp_max);

/* ---- a driver's life */

/* The device is there, and attached: 5 s. */
bool front_attach(struct front *f);
/* Up to DRIVER_OK, with so many queues, whose memory is made. */
int front_start(struct front *f, unsigned int nr_queues);
/* Its parts. */
int front_negotiate(struct front *f);
int front_queue_enable(struct front *f, unsigned int index);
int front_status(struct front *f);
int front_set_status(struct front *f, uint32_t status);
/*
 * The same pages for another backend, of which none may be mapped any more, and
 * a page that begins anew; then from the end of front_negotiate() on as before.
 */
int front_regrant(struct front *f, xen_domid_t backend);
/* What is not used yet of queue @index, in the order in which it was added. */
int front_tell_inflight(struct front *f, unsigned int index,
			const uint16_t *heads, unsigned int n);
/* Resets, state 6, and ends what it granted: the number still mapped. */
int front_close(struct front *f);
/* What it granted ends without asking anybody. */
unsigned int front_exit(struct front *f);

/* ---- requests */

struct drv_buf front_buf(struct front *f, unsigned int pages);
void front_kick(struct front *f, struct drv_queue *q);
/* As drv_wait(). */
int front_wait(struct front *f, struct drv_queue *q, int head,
	       uint32_t *len_bytes);
/* One request to its end.  >= 0: VIRTIO_BLK_S_*. */
int front_blk(struct front *f, uint32_t type, uint64_t sector,
	      const struct drv_buf *b, uint32_t offset, uint32_t len_bytes);

#endif
