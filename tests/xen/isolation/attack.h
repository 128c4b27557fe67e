/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * attack.h - what the parts of the attacker share: the way to Xen
 * (modules/vg_attack.h), the search for secrets, and the account of what was
 * tried.  A test's program; everything here is hostile on purpose.
 */
#ifndef VG_ISOLATION_ATTACK_H
#define VG_ISOLATION_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "modules/vg_attack.h"


#define PAGE_BYTES	4096u

/*
 * Where a guest's memory is, as the toolstack lays it out: Arm's arch-arm.h;
 * for a PVH guest xg_dom_x86.c and libxl_x86.c of Xen's tools.
 */
#ifdef __x86_64__
#define RAM_FIRST_GFN	0u
#else
#define RAM_FIRST_GFN	0x40000u
#endif
/* In a guest's kernel text, or in what it uses for sure. */
#define SOME_GFN	(RAM_FIRST_GFN + (RAM_FIRST_GFN ? 0x400u : 0x1400u))
/* Behind the memory of any guest here, and free. */
#define FREE_GFN	0x30000u

#define OBJECTS_MAX	(1u << 21)

/* Whom it is directed at. */
struct target {
	const char *role;	/* guest, neighbour, dom0, ... */
	uint16_t domid;
	uint32_t mem_mib;	/* of its memory; 0: unknown */
};

#define TARGETS_MAX	8
#define ATTACK_SECRETS_MAX 24

extern struct target targets[TARGETS_MAX];
extern unsigned int nr_targets;
/* Of the objects of a kind, each this many'th: 1 for all. */
extern unsigned int step;
extern uint16_t own_domid;

/* Its memory, and each how many'th frame of it: of a whole machine fewer. */
uint64_t ram_frames(const struct target *t);
unsigned int ram_step(const struct target *t);

/* A set of small numbers: frames, references, ports... */
struct objects {
	uint8_t bit[OBJECTS_MAX / 8];
	bool any;
};

/* One kind of attempt at one target. */
struct attempt {
	const char *what;
	const struct target *target;
	uint64_t made, allowed;
	struct {
		const char *name;
		uint64_t nr;
	} refused[24];
	unsigned int nr_refused;
	uint64_t pages;			/* searched */
	struct objects allowed_objects;
	struct {
		uint64_t bytes;
		struct objects objects;
	} found[ATTACK_SECRETS_MAX];
	const char *note;
};

/* Only one at a time; the pointer is good until attempt_end(). */
struct attempt *attempt_begin(const char *what, const struct target *target);
/* @ret: negative errno if it was refused. */
void attempt_errno(struct attempt *a, uint64_t object, long ret);
/* @status: GNTST_*. */
void attempt_grant(struct attempt *a, uint64_t object, int status);
void attempt_refused(struct attempt *a, const char *name);
void attempt_allowed(struct attempt *a, uint64_t object);
/* Bytes that the attempt gave to the attacker. */
void attempt_search(struct attempt *a, uint64_t object, const void *data,
		    size_t bytes);
/* Prints it: one line of JSON. */
void attempt_end(struct attempt *a);

/* Xen */

extern uint8_t *xbuf;			/* VGA_BUF_BYTES, shared with Xen */
extern struct vga_info xinfo;
extern uint8_t *xpage;			/* VGA_WINDOW_PAGES pages, private */

void xen_open(void);
long xen_call(uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
	      uint64_t a4);
/* The address that Xen knows this part of xbuf by. */
uint64_t xva(const void *in_xbuf);
/* Pages of the window into xpage, same places. */
void xen_look(unsigned int first, unsigned int nr);

/* The parts. */
void attack_frames(void);
void attack_privcmd(const char *how);
void attack_resources(void);
void attack_grants(void);
void attack_gntdev(void);
void attack_cache(uint64_t first_frame, uint64_t nr_frames);
void attack_events(void);
void attack_storm(unsigned int seconds);
void attack_calls(void);
#ifdef __x86_64__
/* Of attack_calls(), what only this architecture has. */
void attack_x86(const struct target *t);
void attack_x86_host(void);
#endif
void attack_store(const char *list);
void attack_floods(void);
void attack_sample(unsigned int seconds);
void attack_relay(const char *how, uint16_t domid, uint32_t ref, uint32_t port,
		  unsigned int seconds);
void attack_bus(const char *how, const char *front_path, const char *back_path,
		unsigned int seconds);

#endif
