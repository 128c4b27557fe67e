/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - a virtio-mmio guest driver for tests: registers through MMIO
 * accesses of a vCPU of the fake, split rings and buffers in granted pages.
 *
 * It keeps the rules by itself (virtio 1.3, 3.1, 4.2, 2.7); everything is in
 * the open, so that a hostile test breaks exactly the rule it wants to.
 * Errors are negative errno.  One thread: waiting means pumping the fake.
 */
#ifndef UNIT_DRIVER_H
#define UNIT_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "fake_xen.h"

#define DRV_ADDR_GRANT	(UINT64_C(1) << 63)
#define DRV_QUEUES_MAX	4u
#define DRV_NUM_MAX	256u
#define DRV_BIT(n)	(UINT64_C(1) << (n))

/* Pages of the guest, granted to the backend. */
struct drv_buf {
	unsigned int pfn, pages;
	xen_ref_t ref;
	uint8_t *va;
	uint64_t addr;		/* for descriptors */
};

struct drv_seg {
	uint64_t addr;
	uint32_t len_bytes;
	bool dev_writes;
};

struct drv_queue {
	unsigned int index, num;
	struct drv_buf mem;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint64_t desc_addr, avail_addr, used_addr;
	uint16_t avail_idx;		/* ours, not yet shown if it differs */
	uint16_t last_used;
	uint16_t free_head;
	unsigned int nr_free;
	xen_port_t port;		/* notifications go there; 0: MMIO */
	uint16_t nr_of[DRV_NUM_MAX];	/* descriptors of the chain at head */
	struct drv_buf table[DRV_NUM_MAX];	/* indirect, made when needed */
};

struct drv {
	xen_domid_t guest, backend;
	unsigned int vcpu;
	uint64_t base;
	uint32_t irq;
	uint64_t wanted;		/* features; 0: all that are offered */
	unsigned int num;		/* queue size; 0: 64 */
	bool no_irq_ack;

	uint64_t offered, features;
	unsigned int nr_queues;
	struct drv_queue q[DRV_QUEUES_MAX];
	uint64_t spis_seen;
	struct drv_buf hdrs;		/* headers and status bytes */
	unsigned int next_hdr;
};

/* Registers: offset in the window. */
uint32_t drv_read(struct drv *d, uint32_t offset);	/* ~0 after an error */
int drv_write(struct drv *d, uint32_t offset, uint32_t value);
uint64_t drv_config(struct drv *d, uint32_t offset, unsigned int size_bytes);

struct drv_buf drv_buf(struct drv *d, uint64_t bytes, bool read_only);
void drv_buf_end(struct drv *d, const struct drv_buf *b);

/* The whole of 3.1.1: reset to DRIVER_OK, with @nr_queues queues. */
int drv_start(struct drv *d, unsigned int nr_queues);
/* Its parts: up to FEATURES_OK; one queue; DRIVER_OK. */
int drv_negotiate(struct drv *d);
int drv_queue_init(struct drv *d, unsigned int index, unsigned int num);
int drv_queue_enable(struct drv *d, unsigned int index);
int drv_driver_ok(struct drv *d);
/*
 * Status = 0, and reads back as 0; every grant of @d's rings can end then.
 * -ENODEV: it reads all ones, nobody is behind it.
 */
int drv_reset(struct drv *d);
/* Ends every grant that @d made; the number that were still mapped. */
unsigned int drv_exit(struct drv *d);

/* A chain; >= 0: its head.  Shown to the device by drv_publish(). */
int drv_add(struct drv *d, struct drv_queue *q, const struct drv_seg *segs,
	    unsigned int nr_segs, bool indirect);
void drv_publish(struct drv_queue *q);
/* QueueNotify, if the device wants it (or @always). */
void drv_kick(struct drv *d, struct drv_queue *q, bool always);
/* Takes a used entry.  -EAGAIN: none; -EPROTO: the device is wrong. */
int drv_take(struct drv_queue *q, uint32_t *len_bytes);
/*
 * Pumps until @head is used (5 s).  Another head is an error; -EIO: the device
 * raised its configuration interrupt and wants to be reset.
 */
int drv_wait(struct drv *d, struct drv_queue *q, int head,
	     uint32_t *len_bytes);
/* Interrupt: reads and acknowledges; bits of InterruptStatus. */
uint32_t drv_irq(struct drv *d);
bool drv_needs_reset(struct drv *d);

/* ---- virtio-blk --------------------------------------------------------- */

#define DRV_BLK_PENDING	0xaau	/* what a status byte is before */

/* Header, @segs, status byte: queued, not published.  >= 0: head. */
int drv_blk_add(struct drv *d, struct drv_queue *q, uint32_t type,
		uint64_t sector, const struct drv_seg *segs,
		unsigned int nr_segs, bool indirect, uint8_t **status);
/* One request to its end.  >= 0: VIRTIO_BLK_S_*. */
int drv_blk(struct drv *d, uint32_t type, uint64_t sector,
	    const struct drv_seg *segs, unsigned int nr_segs, bool indirect,
	    uint32_t *len_bytes);
/* The same with one buffer of consecutive pages. */
int drv_blk_buf(struct drv *d, uint32_t type, uint64_t sector,
		const struct drv_buf *b, uint32_t offset, uint32_t len_bytes);

#endif
