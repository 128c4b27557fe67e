/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * broken.h - why a device needs reset, by a name and in words: what a guest's
 * driver did wrong, or what of ours it can't go on without.
 */
#ifndef VG_VIRTIO_BROKEN_H
#define VG_VIRTIO_BROKEN_H

enum vg_broken {
	VG_BROKEN_NOT = 0,
	VG_BROKEN_AVAIL_INDEX, /* more new buffers than the queue has */
	VG_BROKEN_HEAD, /* head index >= queue size */
	VG_BROKEN_NEXT, /* next >= table size */
	VG_BROKEN_LOOP, /* chain longer than the table */
	VG_BROKEN_INDIRECT, /* nested, or with NEXT, or bad length */
	VG_BROKEN_ORDER, /* readable behind writable */
	VG_BROKEN_TOO_LONG, /* more segments or bytes than allowed */
	VG_BROKEN_ZERO_LEN, /* zero-length buffer or chain */
	VG_BROKEN_ADDRESS, /* see mem.faults for why */
	VG_BROKEN_RING_ADDRESS, /* ring parts misaligned or not mappable */
	VG_BROKEN_QUEUE_SIZE, /* 0, no power of two, or too large */
	VG_BROKEN_REQUEST, /* the device type refused its shape */
	VG_BROKEN_RESTARTED, /* the worker was restarted */
	VG_BROKEN_UNDER_WAY, /* a head that is under way already */
	VG_BROKEN_STATE, /* what a predecessor left makes no sense */
	VG_BROKEN_DEADLY, /* a request under way at many deaths */
	VG_BROKEN_DEATHS, /* many deaths, and nothing done between */
	VG_BROKEN_UNDELIVERED, /* a result did not reach the guest */
	VG_BROKEN_SHORTAGE, /* something of ours was short for long */
	VG_BROKEN_RESUME, /* what a driver says is under way is no sense */
	VG_BROKEN_MAX,
};
const char *vg_broken_name(enum vg_broken why);	/* "avail-index" */
const char *vg_broken_text(enum vg_broken why);	/* for an operator */

#endif
