/* SPDX-License-Identifier: GPL-2.0-or-later OR MIT */
/*
 * virtio_grant_bus.h - virtio over messages in a page that the guest grants to
 * the backend's domain: the Xen bus.
 *
 * Written down once, used by both halves and by the specification draft.
 * Anyone may implement it: GPL-2.0-or-later or MIT, at your choice.
 *
 * It is a bus of virtio-msg, in the terms of the draft of 1 December 2025
 * (github wmamills/virtio-msg-spec, branch bertrand-pr28, transport-msg.tex,
 * revision 1): that one's transport messages as they are, bus messages of our
 * own below, notifications out of band.  Devices are found through xenbus, so
 * the draft's GET_DEVICES and EVENT_DEVICE are not used.  Numbers are
 * little-endian.
 *
 * Neither side trusts the other.  Each word of the page has one writer, and the
 * other side reads it once, into a copy, and checks the copy.
 *
 * Nodes
 *
 *	front	/local/domain/<guest>/device/<kind>/<devid>
 *	back	/local/domain/<backend>/backend/<kind>/<guest>/<devid>
 *
 * <kind> is "virtio_grant", or libxl's "virtio_disk" of a device that has no
 * register window (its key "base" is 0, as libxl writes it on x86).  The
 * toolstack makes both, with the keys that xenbus has for every device.  In
 * the front:
 *
 *	device-id	virtio device ID, decimal; the driver refuses a device
 *			that says it is another.  Not there with
 *			"virtio_disk", which means 2
 *
 * The back can't write the front, so this can't be the backend's choice.  The
 * driver adds to the front, in one transaction:
 *
 *	msg-version	VIRTIO_GRANT_BUS_VERSION
 *	msg-backend-id	the domain that the page is granted to
 *	msg-ref		reference of the page
 *	msg-port	unbound port for that domain
 *
 * of which nothing counts while msg-backend-id is not the backend's domain: it
 * was for another one.  The backend adds to the back:
 *
 *	msg-versions	versions that it speaks, "<min>-<max>"
 *
 * While the guest is suspended the front has "suspended", 1: a guest that ends with
 * it has been saved, and may be restored, in another domain.  There it finds no node,
 * and waits for one of the same <devid>, for which it begins with a new page and port.
 * The toolstack makes the front of such a guest with a state of 4: Linux from 7.1 on
 * takes a state of 1 for another device.  A driver that is new in a guest which was
 * booted instead writes 1.
 *
 * States, as xenbus drivers know them:
 *
 *	back	front
 *	1	1	the toolstack made them
 *	2	1	InitWait: the backend has the device and its resource
 *	2	3	Initialised: the driver's keys are there
 *	4	3	Connected: the page is mapped, messages are answered
 *	4	4	Connected: the device is in use
 *	5	4	Closing: the toolstack wants it gone (front: let go)
 *	5, 6	5, 6	and it is.  While the back's key "online" is 1 it is the
 *			front that closes (see below): the back answers 5 when it
 *			has let go, 6 to 6, and 2 when the front says 1 again
 *
 * A driver says 5 by itself when its guest goes down or another kernel takes its place
 * (kexec), if its keys are those for this backend; where the driver does not, xenbus
 * may.  It makes no request from then on.  When the back says 5 or more, or is not
 * there, and at the latest after some seconds, the driver ends its grants, as far as
 * nobody maps them, and says 6.
 *
 * A backend's domain may end and come back under another number: the toolstack
 * writes new backs, with "moved", 1, and each front's "backend" and "backend-id".  A
 * backend that can't serve such a device yet (its image may come later) tries again
 * for as long as the back is there.  A driver that
 * finds a back in InitWait while it is connected to none grants the same pages to
 * the new domain, says Initialised again with new keys and a page that begins anew,
 * and then goes on (SET_INFLIGHT) or sets the device up from its beginning.
 *
 * The page
 *
 *	   0 +----------------------------------------------+
 *	     | magic, version, request_seq, avail_events    | driver
 *	  64 +----------------------------------------------+
 *	     | response_seq, config_events, used_events     | device
 *	1024 +----------------------------------------------+
 *	     | request:  one message                        | driver
 *	1536 +----------------------------------------------+
 *	     | response: one message                        | device
 *	2048 +----------------------------------------------+
 *	     | zero                                         |
 *	4096 +----------------------------------------------+
 *
 * One request at a time; request_seq is 0 before the first.  The driver writes it,
 * then request_seq + 1 (release),
 * and notifies the port.  The device reads request_seq (acquire), copies the
 * message, carries it out, writes the response, then response_seq = that
 * request_seq (release), and notifies.  A driver that does not wait any longer
 * may make its next request: the device answers the last one only.  What makes
 * no sense is answered with the header alone, without payload (the draft would
 * discard it; but the driver of this bus waits for an answer, and gets one).
 *
 * A process of the backend that takes over from another finds the same page; a
 * request whose response_seq is not there yet is carried out once, by whichever
 * of the two.
 *
 * config_events changes when the configuration or the status did (EVENT_CONFIG of
 * the draft), from DRIVER_OK on; a driver may keep what it read of the configuration
 * until it does, or the driver writes the status or the configuration, or the page
 * begins anew.  avail_events and used_events change with a notification of a queue
 * that has no channel of its own: which one, the other side finds out by looking
 * (EVENT_AVAIL, EVENT_USED).  Each change is followed by an event.
 */
#ifndef VIRTIO_GRANT_BUS_H
#define VIRTIO_GRANT_BUS_H

#ifdef __KERNEL__
#include <linux/types.h>
typedef __le16 virtio_grant_le16;
typedef __le32 virtio_grant_le32;
typedef __le64 virtio_grant_le64;
typedef __u8 virtio_grant_u8;
#else
#include <stdint.h>
typedef uint16_t virtio_grant_le16;
typedef uint32_t virtio_grant_le32;
typedef uint64_t virtio_grant_le64;
typedef uint8_t virtio_grant_u8;
#endif

#define VIRTIO_GRANT_BUS_VERSION	1

/* "vgb1" */
#define VIRTIO_GRANT_BUS_MAGIC		0x31626776

/* Largest message, with its header: the most that the draft recommends. */
#define VIRTIO_GRANT_BUS_MSG_BYTES	264

struct virtio_grant_bus_page {
	/* the driver's */
	virtio_grant_le32 magic;
	virtio_grant_le32 version;
	virtio_grant_le32 request_seq;
	virtio_grant_le32 avail_events;
	virtio_grant_le32 reserved0[12];
	/* the device's */
	virtio_grant_le32 response_seq;
	virtio_grant_le32 config_events;
	virtio_grant_le32 used_events;
	virtio_grant_le32 reserved1[13];
	virtio_grant_le32 reserved2[224];
	virtio_grant_u8 request[512];	/* the driver's */
	virtio_grant_u8 response[512];	/* the device's */
	virtio_grant_u8 reserved3[2048];
};

/* Messages ("Common Message Format" of the draft) */

struct virtio_grant_msg_header {
	virtio_grant_u8 type;		/* VIRTIO_GRANT_MSG_TYPE_* */
	virtio_grant_u8 msg_id;
	virtio_grant_le16 dev_num;	/* 0: a page is one device's */
	virtio_grant_le16 token;	/* the low half of request_seq */
	virtio_grant_le16 msg_size;	/* bytes, with this header */
};

#define VIRTIO_GRANT_MSG_TYPE_RESPONSE	0x1
#define VIRTIO_GRANT_MSG_TYPE_BUS	0x2

/* Transport messages of the draft. */
#define VIRTIO_GRANT_MSG_GET_DEVICE_INFO	0x02
#define VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES	0x03
#define VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES	0x04
#define VIRTIO_GRANT_MSG_GET_CONFIG		0x05
#define VIRTIO_GRANT_MSG_SET_CONFIG		0x06
#define VIRTIO_GRANT_MSG_GET_DEVICE_STATUS	0x07
#define VIRTIO_GRANT_MSG_SET_DEVICE_STATUS	0x08
#define VIRTIO_GRANT_MSG_GET_VQUEUE		0x09
#define VIRTIO_GRANT_MSG_SET_VQUEUE		0x0a
#define VIRTIO_GRANT_MSG_RESET_VQUEUE		0x0b
#define VIRTIO_GRANT_MSG_GET_SHM		0x0c

struct virtio_grant_msg_device_info {		/* response */
	virtio_grant_le32 device_id;
	virtio_grant_le32 vendor_id;
	virtio_grant_le32 num_feature_bits;
	virtio_grant_le32 config_size;
	virtio_grant_le32 max_virtqueues;
	virtio_grant_le16 admin_vq_start;
	virtio_grant_le16 admin_vq_count;
};

/* At most so many blocks of 32 bits in a message of ours. */
#define VIRTIO_GRANT_MSG_BLOCKS_MAX	8

struct virtio_grant_msg_features {		/* both; GET asks without [] */
	virtio_grant_le32 block_index;
	virtio_grant_le32 num_blocks;
	virtio_grant_le32 features[];
};

struct virtio_grant_msg_get_config {		/* request */
	virtio_grant_le32 offset;
	virtio_grant_le32 length;
};

/* What fits behind it. */
#define VIRTIO_GRANT_MSG_CONFIG_MAX	128

struct virtio_grant_msg_config {		/* response; SET both */
	virtio_grant_le32 generation;
	virtio_grant_le32 offset;
	virtio_grant_le32 length;		/* 0 in a response: refused */
	virtio_grant_u8 data[];
};

struct virtio_grant_msg_status {
	virtio_grant_le32 status;
};

struct virtio_grant_msg_index {	/* GET_, RESET_VQUEUE, GET_SHM; UNSHARE_RANGE */
	virtio_grant_le32 index;
};

struct virtio_grant_msg_vqueue {		/* response of GET */
	virtio_grant_le32 index;
	virtio_grant_le32 max_size;
	virtio_grant_le32 cur_size;		/* 0: not enabled */
	virtio_grant_le32 reserved;
	virtio_grant_le64 desc_addr;
	virtio_grant_le64 driver_addr;
	virtio_grant_le64 device_addr;
};

struct virtio_grant_msg_set_vqueue {
	virtio_grant_le32 index;
	virtio_grant_le32 reserved0;
	virtio_grant_le32 size;
	virtio_grant_le32 reserved1;
	virtio_grant_le64 desc_addr;
	virtio_grant_le64 driver_addr;
	virtio_grant_le64 device_addr;
};

struct virtio_grant_msg_shm {			/* response */
	virtio_grant_le32 index;
	virtio_grant_le32 length;
	virtio_grant_le32 address;
};

/*
 * Bus messages
 *
 * PING of the draft, and of our own (its range for these is 0x80 .. 0xbf):
 *
 *	GET_BUS_INFO	what the device can do beside the draft:
 *			VIRTIO_GRANT_CAP_* (virtio_grant.h, which has what they
 *			promise), and how many ranges it can hold
 *	SHARE_RANGE	announces a persistent range, as RANGE_STATE does there
 *	UNSHARE_RANGE	withdraws it; the response comes when it is unmapped
 *	SET_CHANNEL	the event channel of a queue; port 0: none
 *	SET_INFLIGHT	the queue goes on where another backend left it
 *
 * SHARE_RANGE and SET_CHANNEL from DRIVER in the status on.  The responses have
 * VIRTIO_GRANT_RANGE_* or VIRTIO_GRANT_QUEUE_*, and the index of the request.
 *
 * SET_INFLIGHT, from FEATURES_OK on, says which chains are under way: made
 * available, not used.  Their heads are `total' in number, in the order in which
 * they are to be executed, and come in one or more messages; `first' is how many
 * came before.  The used ring's index is `used_idx', and the available ring was
 * looked at up to used_idx + total.  A SET_VQUEUE thereafter enables the queue
 * there instead of at 0, and what was under way is executed as if it had just been
 * made available.  Heads that are no descriptors, come twice, or are more than the
 * ring has, and a used index that is not the ring's, break the device: the driver
 * is not trusted.  It is for a driver whose device went on without having been
 * reset; a reset forgets it.  The response has QUEUE_BOUND, also if the heads broke
 * the device, at once or when the queue is enabled: that shows in the status.  At
 * the wrong time (before FEATURES_OK, of a queue that is enabled or is none), or if
 * its size is not that of its heads, it makes no sense, and is answered as such.
 */
#define VIRTIO_GRANT_BUS_PING		0x03
#define VIRTIO_GRANT_BUS_GET_BUS_INFO	0x80
#define VIRTIO_GRANT_BUS_SHARE_RANGE	0x81
#define VIRTIO_GRANT_BUS_UNSHARE_RANGE	0x82
#define VIRTIO_GRANT_BUS_SET_CHANNEL	0x83
#define VIRTIO_GRANT_BUS_SET_INFLIGHT	0x84

struct virtio_grant_bus_ping {
	virtio_grant_le32 data;
};

struct virtio_grant_bus_info {			/* response */
	virtio_grant_le32 caps;
	virtio_grant_le32 range_max;
};

struct virtio_grant_bus_share_range {		/* request */
	virtio_grant_le32 index;
	virtio_grant_le32 first;		/* grant reference */
	virtio_grant_le32 pages;
};

struct virtio_grant_bus_set_channel {		/* request */
	virtio_grant_le32 index;		/* of the queue */
	virtio_grant_le32 port;
};

struct virtio_grant_bus_state {			/* response of those four */
	virtio_grant_le32 index;
	virtio_grant_le32 state;
};

#define VIRTIO_GRANT_BUS_HEADS_MAX	100	/* of a message */

struct virtio_grant_bus_inflight {		/* request */
	virtio_grant_le32 index;		/* of the queue */
	virtio_grant_le16 used_idx;
	virtio_grant_le16 total;
	virtio_grant_le16 first;
	virtio_grant_le16 count;		/* of heads[] */
	virtio_grant_le16 heads[];
};

#endif /* VIRTIO_GRANT_BUS_H */
