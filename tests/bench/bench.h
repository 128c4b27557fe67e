/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench.h - what the benchmark programs share: the measured region, and what
 * is counted in it.
 *
 * A program runs in one of three ways (its first argument):
 *	time		natively; prints a line of JSON per configuration
 *	count		under callgrind: a dump per configuration
 *	syscalls	under strace: a mark at both ends of a region
 * bench.py starts them and puts together what they found.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

enum bench_mode { BENCH_TIME, BENCH_COUNT, BENCH_SYSCALLS };

extern enum bench_mode bench_mode;

/* MODE [--only=SUBSTRING]; exits if it is not understood. */
void bench_init(int argc, char **argv);
bool bench_is_wanted(const char *name);

/* Around what is measured; never nested. */
void bench_enter(void);
void bench_leave(void);

/* One configuration: begin, then rounds of regions, then end. */
void bench_begin(const char *name);
/* @units: requests or pairs since the last round or the beginning. */
void bench_round(unsigned int units);
/*
 * Whether another round is to be made: many for the time, one otherwise.
 */
bool bench_more(void);
/* An own number, per unit, beside what is always counted. */
void bench_per_unit(const char *key, uint64_t count);
void bench_end(void);

void bench_die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

#endif
