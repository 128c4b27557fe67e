// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bounce.c - where copied buffers lie, and what is kept of their memory
 * (mem/bounce.c), without a guest and without Xen.
 */
#include <errno.h>
#include <string.h>

#include "mem/bounce.h"
#include "unit.h"

#define PAGE		4096u
#define ADDR(offset)	(UINT64_C(1) << 63 | 7 * PAGE | (offset))

static const bool both[2] = { true, true };
static unsigned int nr_out;	/* given and not taken back */
static unsigned int nr_given;
static bool is_short;

/* Not zeroed, as the contract has it. */
static void *source_get(size_t bytes)
{
	void *p;

	if (is_short)
		return NULL;
	p = aligned_alloc(bytes < PAGE ? bytes : PAGE, bytes);
	assert_non_null(p);
	memset(p, 0xa5, bytes);
	nr_out++;
	nr_given++;
	return p;
}

static void source_put(void *buffer, size_t bytes)
{
	/* All of it was ours: ASan looks. */
	memset(buffer, 0x5a, bytes);
	free(buffer);
	nr_out--;
}

static const struct vg_bounce_source source = { source_get, source_put };
static struct vg_bounce_cache cache;
static struct vg_bounce b;

static int setup(void **state)
{
	(void)state;
	nr_out = nr_given = 0;
	is_short = false;
	vg_bounce_cache_init(&cache, &source);
	assert_int_equal(vg_bounce_init(&b, &cache), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vg_bounce_put(&b, &cache);
	vg_bounce_exit(&b, &cache);
	vg_bounce_cache_exit(&cache);
	return nr_out ? -1 : 0;
}

static int get(const struct vg_seg *segs, unsigned int nr)
{
	return vg_bounce_get(&b, &cache, segs, nr, both,
			     vg_bounce_bytes(segs, nr, both));
}

static bool is_all(const uint8_t *p, uint8_t value, size_t bytes)
{
	while (bytes--)
		if (*p++ != value)
			return false;
	return true;
}

/* Header and status in the request's own; data as far into a page as it was. */
static void small_and_large(void **state)
{
	const struct vg_seg segs[] = {
		{ ADDR(5), 16, false },
		{ ADDR(512), 8192, true },
		{ ADDR(100), 300, true },
		{ ADDR(9), 1, true },
	};
	struct vg_bounce_piece *p;
	unsigned int i, k;

	(void)state;
	assert_int_equal(vg_bounce_bytes(segs, 4, both),
			 512 + 8192 + (4096 + 100 - 512) + 300);
	assert_int_equal(get(segs, 4), 0);
	p = b.pieces;
	assert_int_equal(b.nr_pieces, 4);
	assert_ptr_equal(p[3].at, p[0].at + 16);
	assert_int_equal((uintptr_t)p[1].at % PAGE, 512);
	assert_int_equal((uintptr_t)p[2].at % PAGE, 100);
	/* What the device writes is clear, and none is another's. */
	for (i = 1; i < 4; i++)
		assert_true(is_all(p[i].at, 0, segs[i].len_bytes));
	for (i = 0; i < 4; i++) {
		assert_int_equal(p[i].seg.addr, segs[i].addr);
		memset(p[i].at, (int)i + 1, segs[i].len_bytes);
	}
	for (k = 0; k < 4; k++)
		assert_true(is_all(p[k].at, (uint8_t)(k + 1),
				   segs[k].len_bytes));
}

/* Small ones for which the own memory has no room go to the buffer. */
static void many_small(void **state)
{
	struct vg_seg segs[6];
	unsigned int i;

	(void)state;
	for (i = 0; i < 6; i++)
		segs[i] = (struct vg_seg){ ADDR(0), 256, true };
	assert_int_equal(vg_bounce_bytes(segs, 4, both), 0);
	assert_int_equal(vg_bounce_bytes(segs, 5, both), 256);
	assert_int_equal(vg_bounce_bytes(segs, 6, both), PAGE + 256);
	assert_int_equal(get(segs, 6), 0);
	for (i = 0; i < 6; i++)
		assert_true(is_all(b.pieces[i].at, 0, 256));
}

static void one_direction(void **state)
{
	const struct vg_seg segs[] = {
		{ ADDR(0), 16, false }, { ADDR(0), 65536, true },
	};
	const bool reads[2] = { true, false };

	(void)state;
	assert_int_equal(vg_bounce_bytes(segs, 2, reads), 0);
	assert_int_equal(vg_bounce_get(&b, &cache, segs, 2, reads, 0), 0);
	assert_int_equal(b.nr_pieces, 1);
	assert_false(b.pieces[0].seg.dev_writes);
	assert_int_equal(nr_given, 1);		/* its own */
}

/* What an earlier request left is not seen in the same buffer. */
static void kept_and_cleared(void **state)
{
	const struct vg_seg seg = { ADDR(0), 65536, true };
	uint8_t *at;

	(void)state;
	assert_int_equal(get(&seg, 1), 0);
	at = b.pieces[0].at;
	memset(at, 0x77, seg.len_bytes);
	vg_bounce_put(&b, &cache);
	assert_int_equal(b.nr_pieces, 0);
	is_short = true;	/* so it has to be the one that is there */
	assert_int_equal(get(&seg, 1), 0);
	assert_ptr_equal(b.pieces[0].at, at);
	assert_true(is_all(at, 0, seg.len_bytes));
}

/* 4 MiB in all, and none of more than 2 MiB. */
static void not_all_is_kept(void **state)
{
	struct vg_seg seg = { ADDR(0), 1 << 20, false };
	struct vg_bounce more[8];
	unsigned int i;

	(void)state;
	for (i = 0; i < 8; i++) {
		assert_int_equal(vg_bounce_init(&more[i], &cache), 0);
		assert_int_equal(vg_bounce_get(&more[i], &cache, &seg, 1, both,
					       seg.len_bytes), 0);
	}
	assert_int_equal(nr_out, 1 + 8 + 8);
	for (i = 0; i < 8; i++) {
		vg_bounce_put(&more[i], &cache);
		vg_bounce_exit(&more[i], &cache);
	}
	assert_int_equal(nr_out, 1 + 4);
	seg.len_bytes = (2 << 20) + 1;
	assert_int_equal(get(&seg, 1), 0);
	vg_bounce_put(&b, &cache);
	assert_int_equal(nr_out, 1 + 4);
}

static void no_memory(void **state)
{
	const struct vg_seg seg = { ADDR(0), 65536, true };
	struct vg_bounce other;

	(void)state;
	is_short = true;
	assert_int_equal(vg_bounce_init(&other, &cache), -EAGAIN);
	assert_int_equal(get(&seg, 1), -EAGAIN);
	assert_int_equal(b.nr_pieces, 0);
	vg_bounce_put(&b, &cache);
	is_short = false;
	assert_int_equal(get(&seg, 1), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(small_and_large),
		T(many_small),
		T(one_direction),
		T(kept_and_cleared),
		T(not_all_is_kept),
		T(no_memory),
	};

	return cmocka_run_group_tests_name("bounce", tests, NULL, NULL);
}
