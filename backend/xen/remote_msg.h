/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * remote_msg.h - what a worker's half (remote.c) and its mapper
 * (grantd/mapper.h) say to each other.
 *
 * One request, one answer, of fixed size, over a SOCK_SEQPACKET pair; lists
 * and what is copied stand in memory that both map (the arena).
 *
 * Not trusted by the mapper: the worker, and so all that it writes here.
 */
#ifndef VG_XEN_REMOTE_MSG_H
#define VG_XEN_REMOTE_MSG_H

#include <stdint.h>

#include "xen/xen.h"

/* gntdev's own limit. */
#define VG_MAPPER_REFS_MAX	65536u
/* Pieces of one copy, of at most a page each. */
#define VG_MAPPER_SEGS_MAX	512u
#define VG_MAPPER_JOBS_MAX	128u
/* For what is copied from or to; more goes through the rooms of its pieces. */
#define VG_MAPPER_BUFFER_BYTES	(8u << 20)

enum vg_mapper_op {
	VG_MAPPER_MAP = 1,	/* count, arena.refs; answer: value = index */
	/*
	 * A copy of @count arena.segs, then @jobs arena.jobs; err is the
	 * copy's.
	 */
	VG_MAPPER_EXCHANGE,
	VG_MAPPER_BIND,		/* port, evtchn; answer: value = local port */
	VG_MAPPER_UNBIND,	/* port: a local one, evtchn */
};

struct vg_mapper_req {
	uint32_t op;
	uint32_t domid;
	uint32_t count;
	uint32_t jobs;
	uint32_t port;
	uint32_t evtchn;	/* number of the handle */
};

struct vg_mapper_rsp {
	int32_t err;		/* 0 or negative errno */
	uint32_t pad;
	uint64_t value;
};

/* The local side is at arena.data + at. */
struct vg_mapper_seg {
	uint32_t ref, at;
	uint16_t offset, len_bytes;
	uint16_t to_foreign;
	int16_t status;		/* out */
};

/* Maps the next @count of arena.refs. */
struct vg_mapper_job {
	uint32_t count;
	int32_t err;		/* out: 0 or negative errno, and then: */
	uint64_t index;
};

struct vg_mapper_arena {
	uint32_t refs[VG_MAPPER_REFS_MAX];
	struct vg_mapper_seg segs[VG_MAPPER_SEGS_MAX];
	struct vg_mapper_job jobs[VG_MAPPER_JOBS_MAX];
	/* A room for each piece, then the worker's buffers. */
	uint8_t data[VG_MAPPER_SEGS_MAX * XEN_GRANT_PAGE_SIZE +
		     VG_MAPPER_BUFFER_BYTES]
		__attribute__((aligned(XEN_GRANT_PAGE_SIZE)));
};

#endif
