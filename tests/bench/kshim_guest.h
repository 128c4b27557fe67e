/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kshim_guest.h - the guest that kshim.h's kernel runs in. */
#ifndef KSHIM_GUEST_H
#define KSHIM_GUEST_H

#include <stddef.h>
#include <stdint.h>

/*
 * Pages that are given back are not used again, and large ones are soon gone.
 * As many pools as a grant table has room for have up to 32768.
 */
#if defined(PAGE_SHIFT) && PAGE_SHIFT > 12
#define KSHIM_PAGES	131072u
#else
#define KSHIM_PAGES	65536u
#endif

void kshim_start(unsigned int guest_domid, unsigned int backend_domid);
void kshim_stop(void);
/* Zeroed pages of the guest's, for ever. */
void *kshim_buffer(size_t bytes);
/* Grants made and ended so far: each writes the grant table. */
extern uint64_t kshim_grant_calls;
/* Of the grant table: 1, or 2. */
extern unsigned int kshim_grants_version;

#endif
