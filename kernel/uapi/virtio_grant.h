/* SPDX-License-Identifier: GPL-2.0-or-later OR MIT */
/*
 * virtio_grant.h - the contract between a guest and a backend that reaches
 * the guest's memory through Xen grants only.
 *
 * Written down once, used by both halves and by the specification draft.
 * Anyone may implement it: this header is GPL-2.0-or-later or MIT, at your
 * choice.  It needs only fixed-width integers from its includer's world.
 *
 * Neither side trusts the other.  An address is a number that the peer chose:
 * the backend checks every address and every length before it uses them, and
 * the guest's grant table, kept by Xen, decides what a reference gives.
 *
 * The transport is virtio-mmio version 2 (virtio 1.2, section 4.2).
 */
#ifndef VIRTIO_GRANT_H
#define VIRTIO_GRANT_H

#ifdef __KERNEL__
#include <linux/types.h>
typedef __u32 virtio_grant_u32;
typedef __u64 virtio_grant_u64;
#else
#include <stdint.h>
typedef uint32_t virtio_grant_u32;
typedef uint64_t virtio_grant_u64;
#endif

/*
 * Addresses
 *
 *	 63  62          44 43            12 11         0
 *	+---+--------------+----------------+------------+
 *	| 1 |  must be 0   |   reference    |   offset   |
 *	+---+--------------+----------------+------------+
 *
 * "reference" names a page that the guest granted to the backend's domain, in
 * the guest's grant table.  A buffer that crosses the end of a page goes on at
 * offset 0 of the page granted as reference + 1, so that adding to an address
 * walks through consecutive references.  Pages are 4096 bytes, whatever the
 * guest's own page size is.
 *
 * An address without bit 63 is no grant.  It must be refused: a backend never
 * takes it for a guest-physical address.  The same holds for an address with
 * one of the bits 62..44 set, and for a buffer whose last reference would not
 * fit in 32 bits.
 *
 * Both features VIRTIO_F_VERSION_1 (32) and VIRTIO_F_ACCESS_PLATFORM (33) are
 * required: without the second a guest may use addresses of its own.  A
 * backend clears FEATURES_OK without them, a guest fails the device.
 */
#define VIRTIO_GRANT_ADDR_FLAG		((virtio_grant_u64)1 << 63)
#define VIRTIO_GRANT_PAGE_SHIFT		12
#define VIRTIO_GRANT_PAGE_BYTES		((virtio_grant_u32)1 << VIRTIO_GRANT_PAGE_SHIFT)
#define VIRTIO_GRANT_OFFSET_MASK	(VIRTIO_GRANT_PAGE_BYTES - 1)
/* Bits that are zero in every address. */
#define VIRTIO_GRANT_ADDR_RESERVED	((virtio_grant_u64)0x7ffff << 44)

static inline virtio_grant_u64 virtio_grant_addr(virtio_grant_u32 ref,
						 virtio_grant_u32 offset_bytes)
{
	return VIRTIO_GRANT_ADDR_FLAG |
	       (virtio_grant_u64)ref << VIRTIO_GRANT_PAGE_SHIFT |
	       (offset_bytes & VIRTIO_GRANT_OFFSET_MASK);
}

/* Is this an address of the form above?  Says nothing about the grant. */
static inline int virtio_grant_addr_valid(virtio_grant_u64 addr)
{
	return (addr & (VIRTIO_GRANT_ADDR_FLAG | VIRTIO_GRANT_ADDR_RESERVED)) ==
	       VIRTIO_GRANT_ADDR_FLAG;
}

static inline virtio_grant_u32 virtio_grant_addr_ref(virtio_grant_u64 addr)
{
	return (virtio_grant_u32)(addr >> VIRTIO_GRANT_PAGE_SHIFT);
}

static inline virtio_grant_u32 virtio_grant_addr_offset(virtio_grant_u64 addr)
{
	return (virtio_grant_u32)addr & VIRTIO_GRANT_OFFSET_MASK;
}

/*
 * Extension: persistent ranges and event channels
 *
 * Registers in space that virtio-mmio leaves unused.  All are 32 bits wide,
 * little-endian, and accessed as a whole; what other accesses read is not
 * defined, and their writes are ignored.  A device without the extension reads
 * 0 in all of them: a driver uses nothing below before MAGIC read as
 * VIRTIO_GRANT_MAGIC, and of it only what CAPS offers.  Each capability stands
 * alone.
 *
 *	MAGIC		R	VIRTIO_GRANT_MAGIC
 *	CAPS		R	VIRTIO_GRANT_CAP_*
 *	RANGE_MAX	R	ranges the device can hold, 0 .. RANGE_MAX - 1
 *	RANGE_SEL	W	which range the next three are about
 *	RANGE_FIRST	W	its first grant reference
 *	RANGE_PAGES	W	how many consecutive references, at least 1
 *	RANGE_STATE	RW	W 1: announce, W 0: withdraw;
 *				R VIRTIO_GRANT_RANGE_*
 *	QUEUE_PORT	W	event channel for the queue of QueueSel, 0: none
 *	QUEUE_STATE	R	VIRTIO_GRANT_QUEUE_*, of the queue of QueueSel
 *	EVENTS		R	how often the device looked at the channel of
 *				that queue, modulo 2^32: for statistics
 *
 * A write is complete when the access is: what it did can be read at once.
 * RANGE_STATE and QUEUE_PORT can be written from DRIVER in Status on; while the
 * device is being reset or needs reset, their writes are ignored, and so are
 * values that are not listed.  EVENTS is never set back.
 *
 * Persistent ranges.  By announcing a range the driver promises that the
 * references F .. F + N - 1 stay granted, readable and writable, to the
 * device's domain until the range is withdrawn.  The device may map them at
 * once and keep them mapped.  Addresses keep their form and meaning: the
 * announcement is about lifetime, not translation, and a buffer may be inside
 * of a range or not.  RANGE_STATE tells what became of the last write to it for
 * this range; a write that fails changes nothing:
 *
 *	RANGE_NONE	not announced, or withdrawn and unmapped
 *	RANGE_HELD	announced, and mapped where the device has room for it
 *	RANGE_INVALID	no such range, no pages, past the last reference, or
 *			held already
 *	RANGE_REFUSED	Xen did not map it: not granted, or read-only
 *	RANGE_TOO_MANY	more pages than the device gives to this driver
 *	RANGE_IN_USE	withdrawal refused: a ready queue lies in it (the range
 *			stays held)
 *
 * A withdrawal is complete when no request uses the range and it is unmapped;
 * the write may take as long as the requests do.  Reset of the device (0 to
 * Status) withdraws every range.
 *
 * Event channels.  The driver allocates an unbound port for the device's
 * domain, selects a queue and writes the port.  From QUEUE_BOUND on, the
 * device sends used-buffer notifications of this queue over the channel and
 * sets no InterruptStatus bit for them, and an event of the driver means what
 * QueueNotify with this queue's index means; QueueNotify stays valid.  Which
 * notifications are sent is a matter of the ring (VIRTIO_F_EVENT_IDX or the
 * flags), not of the channel.  Configuration changes are always by
 * InterruptStatus.  The device gives an event of its own when it has bound the
 * port.  Writing 0, or reset of the device, unbinds; then the driver may
 * close its port.  A new port takes the place of an old one.
 *
 *	QUEUE_NONE	no channel
 *	QUEUE_BOUND	in use
 *	QUEUE_REFUSED	no such queue, or the port can't be bound
 *
 * Filled buffers.  A device with CAP_FILLS has written every byte of the
 * device-writable buffers of a request before it marks the request used,
 * whatever became of the request; where it has nothing to say, zeroes.  (A
 * driver that copies out of a range then need not clear it beforehand.)
 */
#define VIRTIO_GRANT_MMIO_MAGIC		0x0d0
#define VIRTIO_GRANT_MMIO_CAPS		0x0d4
#define VIRTIO_GRANT_MMIO_RANGE_MAX	0x0d8
#define VIRTIO_GRANT_MMIO_RANGE_SEL	0x0dc
#define VIRTIO_GRANT_MMIO_RANGE_FIRST	0x0e0
#define VIRTIO_GRANT_MMIO_RANGE_PAGES	0x0e4
#define VIRTIO_GRANT_MMIO_RANGE_STATE	0x0e8
#define VIRTIO_GRANT_MMIO_QUEUE_PORT	0x0ec
#define VIRTIO_GRANT_MMIO_QUEUE_STATE	0x0f0
#define VIRTIO_GRANT_MMIO_EVENTS	0x0f4

/* "vgx1" */
#define VIRTIO_GRANT_MAGIC		0x31786776

#define VIRTIO_GRANT_CAP_RANGES		0x1
#define VIRTIO_GRANT_CAP_EVTCHN		0x2
#define VIRTIO_GRANT_CAP_FILLS		0x4

#define VIRTIO_GRANT_RANGE_NONE		0
#define VIRTIO_GRANT_RANGE_HELD		1
#define VIRTIO_GRANT_RANGE_INVALID	2
#define VIRTIO_GRANT_RANGE_REFUSED	3
#define VIRTIO_GRANT_RANGE_TOO_MANY	4
#define VIRTIO_GRANT_RANGE_IN_USE	5

#define VIRTIO_GRANT_QUEUE_NONE		0
#define VIRTIO_GRANT_QUEUE_BOUND	1
#define VIRTIO_GRANT_QUEUE_REFUSED	2

#endif /* VIRTIO_GRANT_H */
