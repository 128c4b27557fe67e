// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bench.c - see bench.h.
 *
 * Allocations are counted by standing in front of the allocator, so that those
 * of libraries count as well.
 */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/syscall.h>
#include <valgrind/callgrind.h>

/* Rounds of a configuration: until so much time was measured, or so many. */
#define ROUND_TIME_NS	(150u * 1000u * 1000u)
#define ROUNDS_MAX	2000u

enum bench_mode bench_mode;
static const char *only = "";

static struct {
	const char *name;
	uint64_t begin_ns, round_ns, total_ns;
	double best_ns, each_ns[ROUNDS_MAX];	/* per unit */
	unsigned int rounds;
	uint64_t units, allocs;
	bool has_key;
} b;

static bool is_inside;

/* ---- the allocator ------------------------------------------------------ */

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *p, size_t bytes);
extern void *__libc_memalign(size_t align_bytes, size_t bytes);
extern void __libc_free(void *p);

void *malloc(size_t bytes)
{
	b.allocs += is_inside;
	return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
	b.allocs += is_inside;
	return __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes)
{
	b.allocs += is_inside;
	return __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align_bytes, size_t bytes)
{
	b.allocs += is_inside;
	return __libc_memalign(align_bytes, bytes);
}

void free(void *p)
{
	__libc_free(p);
}

/* ---- regions ------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* strace shows it, nobody else calls it, and it does nothing. */
static void mark(const char *what)
{
	if (bench_mode == BENCH_SYSCALLS)
		syscall(SYS_access, what, -1);
}

void bench_enter(void)
{
	mark("bench:enter");
	is_inside = true;
	b.begin_ns = bench_mode == BENCH_TIME ? now_ns() : 0;
	CALLGRIND_TOGGLE_COLLECT;
}

void bench_leave(void)
{
	CALLGRIND_TOGGLE_COLLECT;
	if (bench_mode == BENCH_TIME)
		b.round_ns += now_ns() - b.begin_ns;
	is_inside = false;
	mark("bench:leave");
}

/* ---- configurations ----------------------------------------------------- */

void bench_begin(const char *name)
{
	memset(&b, 0, sizeof(b));
	b.name = name;
	mark("bench:begin");
	CALLGRIND_ZERO_STATS;
}

void bench_round(unsigned int units)
{
	double each = (double)b.round_ns / units;

	if (!b.rounds || each < b.best_ns)
		b.best_ns = each;
	if (b.rounds < ROUNDS_MAX)
		b.each_ns[b.rounds] = each;
	b.rounds++;
	b.units += units;
	b.total_ns += b.round_ns;
	b.round_ns = 0;
}

bool bench_more(void)
{
	return !b.rounds || (bench_mode == BENCH_TIME &&
			     b.rounds < ROUNDS_MAX &&
			     b.total_ns < ROUND_TIME_NS);
}

static void key(const char *name)
{
	printf("%s\"%s\": ", b.has_key ? ", " : "{", name);
	b.has_key = true;
}

void bench_per_unit(const char *name, uint64_t count)
{
	key(name);
	printf("%.6g", (double)count / (double)b.units);
}

static int compare(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;

	return d < 0 ? -1 : d > 0;
}

void bench_end(void)
{
	unsigned int n = b.rounds < ROUNDS_MAX ? b.rounds : ROUNDS_MAX;

	/* Before printing, which may allocate. */
	bench_per_unit("allocations", b.allocs);
	if (bench_mode == BENCH_TIME) {
		qsort(b.each_ns, n, sizeof(b.each_ns[0]), compare);
		key("ns_best");
		printf("%.2f", b.best_ns);
		key("ns_median");
		printf("%.2f", b.each_ns[n / 2]);
	}
	key("units");
	printf("%llu", (unsigned long long)b.units);
	key("name");
	printf("\"%s\"}\n", b.name);
	fflush(stdout);
	if (bench_mode == BENCH_SYSCALLS) {
		char text[128];

		snprintf(text, sizeof(text), "bench:end %llu %s",
			 (unsigned long long)b.units, b.name);
		mark(text);
	}
	CALLGRIND_DUMP_STATS_AT(b.name);
}

bool bench_is_wanted(const char *name)
{
	return strstr(name, only);
}

void bench_init(int argc, char **argv)
{
	static const char *const modes[] = { "time", "count", "syscalls" };
	int i;

	for (i = 0; argc > 1 && i < 3; i++) {
		if (strcmp(argv[1], modes[i]))
			continue;
		bench_mode = (enum bench_mode)i;
		if (argc > 2 && !strncmp(argv[2], "--only=", 7))
			only = argv[2] + 7;
		if (argc == 2 || (argc == 3 && *only))
			return;
	}
	fprintf(stderr, "usage: %s time|count|syscalls [--only=SUBSTRING]\n",
		argv[0]);
	exit(2);
}

void bench_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}
