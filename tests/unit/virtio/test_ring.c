// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_ring.c - the walk of a split ring, against a driver that keeps
 * the rules, one that breaks them one by one, and one that is random.
 */
#include "flat.h"
#include "virtio/ring.h"

/* Shows the batch, and asks. */
static bool publish(struct vg_vq *vq)
{
	vg_vq_show(vq);
	return vg_vq_wants_event(vq);
}

#define NUM	8u
#define SEGS	16u

struct env {
	struct flat f;
	struct flat_queue d;
	struct vg_vq vq;
	struct vg_chain c;
};

static struct vg_vq_config config(const struct flat_queue *d)
{
	return (struct vg_vq_config){
		.num = d->num,
		.desc_addr = d->desc_addr,
		.driver_addr = d->avail_addr,
		.device_addr = d->used_addr,
		.event_idx = true,
		.indirect = true,
	};
}

static void env_make(struct env *e, const struct vg_vq_config *cfg)
{
	flat_init(&e->f);
	drv_init(&e->d, &e->f, NUM);
	vg_vq_init(&e->vq, &e->f.mem, SEGS);
	if (cfg) {
		assert_int_equal(vg_vq_map(&e->vq, cfg), 0);
	} else {
		struct vg_vq_config c = config(&e->d);

		assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	}
	assert_int_equal(e->f.rings_now, 3);
}

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	env_make(e, NULL);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	vg_vq_exit(&e->vq);
	assert_int_equal(e->f.rings_now, 0);
	flat_exit(&e->f);
	free(e);
	return 0;
}

static uint64_t buf(struct env *e, size_t bytes)
{
	return flat_alloc(&e->f, bytes, 1);
}

/* The chain that a driver within its rights adds. */
static uint16_t add_good(struct env *e)
{
	static const struct drv_buf b[] = {
		{ VG_ADDR_GRANT | 0x100000, 16, false },
		{ VG_ADDR_GRANT | 0x100200, 512, true },
		{ VG_ADDR_GRANT | 0x100400, 1, true },
	};

	return drv_add(&e->d, b, 3);
}

static void expect_broken(struct env *e, enum vg_broken why)
{
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), -EPROTO);
	assert_int_equal(e->vq.broken, why);
	/* It is latched: nothing goes in or out any more. */
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), -EPROTO);
	vg_vq_push(&e->vq, 0, 1);
	assert_false(publish(&e->vq));
	assert_int_equal(e->d.used->idx, 0);
}

static void test_direct(void **state)
{
	struct env *e = *state;
	uint16_t head;

	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 0);
	head = add_good(e);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	assert_int_equal(e->c.head, head);
	assert_int_equal(e->c.nr_segs, 3);
	assert_int_equal(e->c.out_bytes, 16);
	assert_int_equal(e->c.in_bytes, 513);
	assert_false(e->c.segs[0].dev_writes);
	assert_true(e->c.segs[1].dev_writes);
	assert_int_equal(e->c.segs[2].len_bytes, 1);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 0);
}

static void test_unpop(void **state)
{
	struct env *e = *state;
	uint16_t head = add_good(e);

	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	vg_vq_unpop(&e->vq);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	assert_int_equal(e->c.head, head);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 0);
}

static void test_indirect(void **state)
{
	struct env *e = *state;
	struct drv_buf b[SEGS];
	unsigned int i;

	for (i = 0; i < SEGS; i++)
		b[i] = (struct drv_buf){ buf(e, 10), 10, i >= SEGS / 2 };
	drv_add_indirect(&e->d, b, SEGS);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	assert_int_equal(e->c.nr_segs, SEGS);
	for (i = 0; i < SEGS; i++) {
		assert_true(e->c.segs[i].addr == b[i].addr);
		assert_int_equal(e->c.segs[i].dev_writes, b[i].dev_writes);
	}
}

/* 2.7.5.3.2: normal descriptors, then one indirect table; WRITE is ignored. */
static void test_direct_then_indirect(void **state)
{
	struct env *e = *state;
	uint64_t table = flat_alloc(&e->f, 32, 16);
	struct drv_buf b[] = {
		{ buf(e, 4), 4, false }, { buf(e, 5), 5, true },
	};

	drv_fill(flat_ptr(&e->f, table), 2, 0, b, 2);
	drv_desc(&e->d.desc[0], buf(e, 16), 16, VRING_DESC_F_NEXT, 1);
	drv_desc(&e->d.desc[1], table, 32,
		 VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	drv_offer(&e->d, 0);
	drv_show(&e->d);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	assert_int_equal(e->c.nr_segs, 3);
	assert_int_equal(e->c.out_bytes, 20);
	assert_int_equal(e->c.in_bytes, 5);
}

static void test_indirect_not_negotiated(void **state)
{
	struct env *e = *state;
	struct vg_vq_config c = config(&e->d);
	struct drv_buf b = { buf(e, 4), 4, false };

	vg_vq_unmap(&e->vq);
	c.indirect = false;
	assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	drv_add_indirect(&e->d, &b, 1);
	expect_broken(e, VG_BROKEN_INDIRECT);
}

static void test_indirect_nested(void **state)
{
	struct env *e = *state;
	struct drv_buf b = { buf(e, 16), 16, false };

	drv_add_indirect(&e->d, &b, 1);
	((struct vring_desc *)flat_ptr(&e->f, le64toh(e->d.desc[0].addr)))
		->flags = htole16(VRING_DESC_F_INDIRECT);
	expect_broken(e, VG_BROKEN_INDIRECT);
}

static void test_indirect_with_next(void **state)
{
	struct env *e = *state;
	struct drv_buf b = { buf(e, 16), 16, false };

	drv_add_indirect(&e->d, &b, 1);
	e->d.desc[0].flags |= htole16(VRING_DESC_F_NEXT);
	expect_broken(e, VG_BROKEN_INDIRECT);
}

static void test_indirect_length(void **state)
{
	static const uint32_t bad[] = { 0, 1, 15, 17, 0xffffffff };
	struct env *e = *state;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vg_vq_config c = config(&e->d);

		drv_desc(&e->d.desc[0], buf(e, 32), bad[i],
			 VRING_DESC_F_INDIRECT, 0);
		e->d.avail_idx = 0;
		drv_offer(&e->d, 0);
		drv_show(&e->d);
		expect_broken(e, VG_BROKEN_INDIRECT);
		vg_vq_unmap(&e->vq);
		assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	}
}

static void test_indirect_too_long(void **state)
{
	struct env *e = *state;

	drv_desc(&e->d.desc[0], VG_ADDR_GRANT, 0xfffffff0u,
		 VRING_DESC_F_INDIRECT, 0);
	drv_offer(&e->d, 0);
	drv_show(&e->d);
	expect_broken(e, VG_BROKEN_TOO_LONG);
}

static void test_indirect_unreachable(void **state)
{
	struct env *e = *state;

	drv_desc(&e->d.desc[0], 0x40000000, 32, VRING_DESC_F_INDIRECT, 0);
	drv_offer(&e->d, 0);
	drv_show(&e->d);
	expect_broken(e, VG_BROKEN_ADDRESS);
	assert_int_equal(e->vq.fault, VG_MEM_NO_GRANT);
	assert_true(e->vq.bad_value == 0x40000000);
}

static void test_indirect_loop_and_next(void **state)
{
	struct env *e = *state;
	struct drv_buf b[] = {
		{ buf(e, 16), 16, false }, { buf(e, 16), 16, false },
	};
	struct vg_vq_config c = config(&e->d);
	struct vring_desc *t;

	drv_add_indirect(&e->d, b, 2);
	t = flat_ptr(&e->f, le64toh(e->d.desc[0].addr));
	t[1].flags = htole16(VRING_DESC_F_NEXT);
	t[1].next = 0;
	expect_broken(e, VG_BROKEN_LOOP);

	vg_vq_unmap(&e->vq);
	assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	t[1].next = htole16(2);
	expect_broken(e, VG_BROKEN_NEXT);
}

static void test_avail_index(void **state)
{
	struct env *e = *state;

	add_good(e);
	e->d.avail->idx = htole16(NUM + 1);
	expect_broken(e, VG_BROKEN_AVAIL_INDEX);
	assert_int_equal(e->vq.bad_value, NUM + 1);
}

static void test_avail_index_goes_back(void **state)
{
	struct env *e = *state;

	add_good(e);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	e->d.avail->idx = 0;
	expect_broken(e, VG_BROKEN_AVAIL_INDEX);
}

/* More outstanding than the queue has entries, although never at once new. */
static void test_avail_index_outstanding(void **state)
{
	struct env *e = *state;
	unsigned int i;

	for (i = 0; i < NUM; i++) {
		add_good(e);
		assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	}
	add_good(e);
	expect_broken(e, VG_BROKEN_AVAIL_INDEX);
}

static void test_head(void **state)
{
	struct env *e = *state;

	drv_offer(&e->d, NUM);
	drv_show(&e->d);
	expect_broken(e, VG_BROKEN_HEAD);
}

static void test_next(void **state)
{
	struct env *e = *state;

	drv_desc(&e->d.desc[0], buf(e, 1), 1, VRING_DESC_F_NEXT, NUM);
	drv_offer(&e->d, 0);
	drv_show(&e->d);
	expect_broken(e, VG_BROKEN_NEXT);
}

static void test_loop(void **state)
{
	struct env *e = *state;

	drv_desc(&e->d.desc[0], buf(e, 1), 1, VRING_DESC_F_NEXT, 1);
	drv_desc(&e->d.desc[1], buf(e, 1), 1, VRING_DESC_F_NEXT, 0);
	drv_offer(&e->d, 0);
	drv_show(&e->d);
	expect_broken(e, VG_BROKEN_LOOP);
}

static void test_order(void **state)
{
	struct env *e = *state;
	struct drv_buf b[] = {
		{ buf(e, 1), 1, true }, { buf(e, 1), 1, false },
	};

	drv_add(&e->d, b, 2);
	expect_broken(e, VG_BROKEN_ORDER);
}

static void test_zero_length(void **state)
{
	struct env *e = *state;
	struct drv_buf b = { buf(e, 1), 0, true };

	drv_add(&e->d, &b, 1);
	expect_broken(e, VG_BROKEN_ZERO_LEN);
}

static void test_too_many_segments(void **state)
{
	struct env *e = *state;
	struct drv_buf b[SEGS + 1];
	unsigned int i;

	for (i = 0; i <= SEGS; i++)
		b[i] = (struct drv_buf){ buf(e, 1), 1, true };
	drv_add_indirect(&e->d, b, SEGS + 1);
	expect_broken(e, VG_BROKEN_TOO_LONG);
}

static void test_too_many_bytes(void **state)
{
	struct env *e = *state;
	struct drv_buf b[] = {
		{ buf(e, 1), 0xffffffff, false }, { buf(e, 1), 1, true },
	};

	drv_add(&e->d, b, 2);
	expect_broken(e, VG_BROKEN_TOO_LONG);
}

static void try_map(struct env *e, const struct vg_vq_config *c,
		    enum vg_broken why, enum vg_mem_fault fault)
{
	vg_vq_unmap(&e->vq);
	assert_true(vg_vq_map(&e->vq, c) < 0);
	assert_int_equal(e->vq.broken, why);
	assert_int_equal(e->vq.fault, fault);
	assert_int_equal(e->f.rings_now, 0);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), -EPROTO);
}

static void test_map_refused(void **state)
{
	static const uint32_t sizes[] = { 0, 3, 7, 65536, 0x80000000 };
	struct env *e = *state;
	struct vg_vq_config c;
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		c = config(&e->d);
		c.num = sizes[i];
		try_map(e, &c, VG_BROKEN_QUEUE_SIZE, VG_MEM_OK);
	}
	c = config(&e->d);
	c.desc_addr += 8;
	try_map(e, &c, VG_BROKEN_RING_ADDRESS, VG_MEM_OK);
	c = config(&e->d);
	c.driver_addr += 1;
	try_map(e, &c, VG_BROKEN_RING_ADDRESS, VG_MEM_OK);
	c = config(&e->d);
	c.device_addr += 2;
	try_map(e, &c, VG_BROKEN_RING_ADDRESS, VG_MEM_OK);
	c = config(&e->d);
	c.device_addr &= ~VG_ADDR_GRANT;
	try_map(e, &c, VG_BROKEN_RING_ADDRESS, VG_MEM_NO_GRANT);
}

/* ---- used ring and notifications ---------------------------------------- */

static void test_publish_in_batches(void **state)
{
	struct env *e = *state;
	uint32_t id, len;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		add_good(e);
		assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
		vg_vq_push(&e->vq, e->c.head, 100 + i);
	}
	assert_false(drv_used(&e->d, &id, &len));
	assert_true(vg_vq_has_unpublished(&e->vq));
	assert_true(publish(&e->vq));
	assert_false(vg_vq_has_unpublished(&e->vq));
	for (i = 0; i < 4; i++) {
		assert_true(drv_used(&e->d, &id, &len));
		assert_int_equal(len, 100 + i);
	}
	assert_false(drv_used(&e->d, &id, &len));
	assert_false(publish(&e->vq));
}

static void one_round(struct env *e)
{
	add_good(e);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	vg_vq_push(&e->vq, e->c.head, 1);
}

/* An interrupt exactly when used_event lies in the batch; over the wrap. */
static void test_used_event(void **state)
{
	struct env *e = *state;
	uint32_t id, len, n;
	unsigned int interrupts = 0;

	drv_set_used_event(&e->d, 2);
	for (n = 0; n < 70000; n++) {
		one_round(e);
		if (publish(&e->vq)) {
			interrupts++;
			assert_int_equal(n % 3, 2);
			drv_set_used_event(&e->d, (uint16_t)(n + 3));
		}
		assert_true(drv_used(&e->d, &id, &len));
	}
	assert_int_equal(interrupts, 70000 / 3);
}

/* A batch that passes over used_event interrupts once. */
static void test_used_event_in_batch(void **state)
{
	struct env *e = *state;
	uint32_t id, len;

	drv_set_used_event(&e->d, 1);
	one_round(e);
	one_round(e);
	one_round(e);
	assert_true(publish(&e->vq));
	one_round(e);
	assert_false(publish(&e->vq));
	while (drv_used(&e->d, &id, &len))
		;
	drv_set_used_event(&e->d, 4);
	one_round(e);
	assert_true(publish(&e->vq));
}

static void test_avail_event(void **state)
{
	struct env *e = *state;

	assert_true(vg_vq_sleep(&e->vq));
	assert_int_equal(drv_avail_event(&e->d), 0);
	add_good(e);
	/* It came while we went to bed: up again. */
	assert_false(vg_vq_sleep(&e->vq));
	vg_vq_busy(&e->vq);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
	assert_int_equal(drv_avail_event(&e->d), 0);
	assert_int_equal(vg_vq_pop(&e->vq, &e->c), 0);
	assert_true(vg_vq_sleep(&e->vq));
	assert_int_equal(drv_avail_event(&e->d), 1);
}

static void test_flags_without_event_idx(void **state)
{
	struct env *e = *state;
	struct vg_vq_config c = config(&e->d);

	vg_vq_unmap(&e->vq);
	c.event_idx = false;
	assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	/* What would be the event words is not ours to touch. */
	drv_set_used_event(&e->d, 0x1234);
	*(uint16_t *)&e->d.used->ring[NUM] = htole16(0x5678);

	vg_vq_busy(&e->vq);
	assert_int_equal(e->d.used->flags, htole16(VRING_USED_F_NO_NOTIFY));
	one_round(e);
	assert_true(publish(&e->vq));
	e->d.avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	one_round(e);
	assert_false(publish(&e->vq));
	assert_true(vg_vq_sleep(&e->vq));
	assert_int_equal(e->d.used->flags, 0);
	assert_int_equal(drv_avail_event(&e->d), 0x5678);
}

/* ---- a random driver ---------------------------------------------------- */

static uint32_t rng_state = 2463534242u;

static uint32_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 17;
	rng_state ^= rng_state << 5;
	return rng_state;
}

static uint64_t some_addr(struct env *e)
{
	switch (rng() % 8) {
	case 0:
		return rng();
	case 1:
		return ~(uint64_t)rng();
	case 2:
		return e->d.desc_addr;	/* a table in the table itself */
	default:
		return VG_ADDR_GRANT | (rng() % (FLAT_BYTES / 16)) * 16;
	}
}

static void scribble(struct env *e, struct vring_desc *d, unsigned int n)
{
	static const uint32_t lens[] = {
		0, 1, 16, 32, 512, 4096, 65536, 0x7fffffff, 0xffffffff,
	};
	unsigned int i;

	for (i = 0; i < n; i++)
		drv_desc(&d[i], some_addr(e), lens[rng() % 9],
			 (uint16_t)(rng() % 8), (uint16_t)(rng() % (NUM + 2)));
}

static void test_random(void **state)
{
	struct env *e = *state;
	unsigned int round, good = 0, why[VG_BROKEN_MAX] = { 0 };
	struct vg_vq_config c = config(&e->d);

	for (round = 0; round < 200000; round++) {
		unsigned int i, pops = 0;
		int n;

		scribble(e, e->d.desc, NUM);
		for (i = 0; i < NUM; i++)
			e->d.avail->ring[i] =
				htole16((uint16_t)(rng() % (NUM + 1)));
		e->d.avail->idx = htole16((uint16_t)(rng() % (NUM + 2)));
		while ((n = vg_vq_pop(&e->vq, &e->c)) > 0) {
			uint64_t bytes[2] = { 0, 0 };

			assert_true(e->c.nr_segs && e->c.nr_segs <= SEGS);
			for (i = 0; i < e->c.nr_segs; i++) {
				assert_true(e->c.segs[i].len_bytes);
				assert_true(!i || e->c.segs[i].dev_writes >=
					    e->c.segs[i - 1].dev_writes);
				bytes[e->c.segs[i].dev_writes] +=
					e->c.segs[i].len_bytes;
			}
			assert_true(bytes[0] == e->c.out_bytes);
			assert_true(bytes[1] == e->c.in_bytes);
			vg_vq_push(&e->vq, e->c.head, rng());
			assert_true(++pops <= NUM);
			good++;
		}
		publish(&e->vq);
		if (n == 0)
			vg_vq_sleep(&e->vq);
		why[e->vq.broken]++;
		vg_vq_unmap(&e->vq);
		assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	}
	/* The generator is worth something: it met every kind. */
	assert_true(good > 1000);
	assert_true(why[VG_BROKEN_AVAIL_INDEX] && why[VG_BROKEN_HEAD] &&
		    why[VG_BROKEN_NEXT] && why[VG_BROKEN_LOOP] &&
		    why[VG_BROKEN_INDIRECT] && why[VG_BROKEN_ORDER] &&
		    why[VG_BROKEN_TOO_LONG] && why[VG_BROKEN_ZERO_LEN] &&
		    why[VG_BROKEN_ADDRESS]);
}

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- a driver that writes while we read --------------------------------- */

/*
 * Each word of the rings and tables changes as soon as it has been read, until
 * the call is over.  Who reads it again, or goes back to the original for what
 * was checked in a copy, sees something else.
 */
static struct {
	struct env *e;
	unsigned int kind;
	struct {
		uint8_t *at, old[16 * SEGS];
		size_t bytes;
	} undo[256];
	unsigned int nr;
} racer;

#define RACES	5u

static uint8_t raced(uint8_t old, unsigned int i)
{
	switch (racer.kind) {
	case 0:
		return (uint8_t)~old;
	case 1:
		return 0;
	case 2:
		return 0xff;
	case 3:
		return i ? old : old ^ 1;	/* NEXT, a neighbour */
	default:
		return i ? old : old ^ 6;	/* WRITE and INDIRECT */
	}
}

static void race(const volatile void *word, size_t bytes)
{
	uint8_t *at = (uint8_t *)(uintptr_t)word;
	struct flat *f = &racer.e->f;
	unsigned int i;

	if (at < f->ram || at >= f->ram + FLAT_BYTES)
		return;
	for (i = 0; i < racer.nr; i++)
		if (at >= racer.undo[i].at &&
		    at < racer.undo[i].at + racer.undo[i].bytes)
			fail_msg("byte 0x%zx of memory is read twice",
				 (size_t)(at - f->ram));
	assert_in_range(bytes, 1, sizeof(racer.undo[0].old));
	assert_in_range(racer.nr, 0, 255);
	racer.undo[racer.nr].at = at;
	racer.undo[racer.nr].bytes = bytes;
	memcpy(racer.undo[racer.nr++].old, at, bytes);
	for (i = 0; i < bytes; i++)
		at[i] = raced(at[i], i);
}

static void race_begin(struct env *e, unsigned int kind)
{
	racer.e = e;
	racer.kind = kind;
	racer.nr = 0;
	vg_read_hook = race;
}

/* The driver has its memory as it wrote it; how many words were read. */
static unsigned int race_end(void)
{
	unsigned int i;

	vg_read_hook = NULL;
	for (i = racer.nr; i--;)
		memcpy(racer.undo[i].at, racer.undo[i].old,
		       racer.undo[i].bytes);
	return racer.nr;
}

#define RACED(call) \
	({ \
		__typeof__(call) ret_; \
		race_begin(e, kind); \
		ret_ = (call); \
		race_end(); \
		ret_; \
	})

static void expect_chain(const struct env *e, uint16_t head,
			 const struct drv_buf *b, unsigned int n)
{
	unsigned int i;

	assert_int_equal(e->c.head, head);
	assert_int_equal(e->c.nr_segs, n);
	for (i = 0; i < n; i++) {
		assert_true(e->c.segs[i].addr == b[i].addr);
		assert_int_equal(e->c.segs[i].len_bytes, b[i].len);
		assert_int_equal(e->c.segs[i].dev_writes, b[i].dev_writes);
	}
}

static void test_chains_are_read_once(void **state)
{
	struct env *e = *state;
	unsigned int kind, round;

	for (round = 0; round < 4 * NUM; round++) {
		struct drv_buf b[4] = {
			{ buf(e, 16), 16, false }, { buf(e, 60), 60, false },
			{ buf(e, 50), 50, true }, { buf(e, 1), 1, true },
		};
		unsigned int n = 2 + round % 3;
		uint16_t head[2];

		kind = round % RACES;
		head[0] = drv_add(&e->d, b + 4 - n, n);
		head[1] = drv_add_indirect(&e->d, b + 4 - n, n);
		assert_int_equal(RACED(vg_vq_pop(&e->vq, &e->c)), 1);
		expect_chain(e, head[0], b + 4 - n, n);
		assert_int_equal(RACED(vg_vq_pop(&e->vq, &e->c)), 1);
		expect_chain(e, head[1], b + 4 - n, n);
		/* Again, and no further than the index that was checked. */
		vg_vq_unpop(&e->vq);
		assert_int_equal(RACED(vg_vq_pop(&e->vq, &e->c)), 1);
		expect_chain(e, head[1], b + 4 - n, n);
		assert_int_equal(RACED(vg_vq_pop(&e->vq, &e->c)), 0);
		assert_true(RACED(vg_vq_sleep(&e->vq)));
		assert_int_equal(e->vq.broken, VG_BROKEN_NOT);
		vg_vq_push(&e->vq, head[0], 1);
		vg_vq_push(&e->vq, head[1], 1);
		vg_vq_show(&e->vq);
		assert_int_equal(e->d.used->idx, 2 * (round + 1));
	}
}

/*
 * An index that says less, or more, afterwards: the one that was checked holds.
 */
static void test_index_is_read_once(void **state)
{
	struct env *e = *state;
	unsigned int kind, i, n;

	for (kind = 0; kind < RACES; kind++) {
		uint16_t before = e->vq.last_avail;

		for (i = 0; i < 2; i++)
			add_good(e);
		assert_false(RACED(vg_vq_sleep(&e->vq)));
		assert_int_equal(e->vq.avail_seen, (uint16_t)(before + 2));
		for (n = 0; vg_vq_pop(&e->vq, &e->c) == 1; n++)
			vg_vq_push(&e->vq, e->c.head, 1);
		assert_int_equal(n, 2);
		vg_vq_show(&e->vq);
		assert_int_equal(e->vq.broken, VG_BROKEN_NOT);
	}
}

/* Each answer follows from one value of used_event, or of the flags. */
static void test_event_is_read_once(void **state)
{
	struct env *e = *state;
	unsigned int kind, wants, by_flags;
	struct vg_vq_config c = config(&e->d);

	for (by_flags = 0; by_flags < 2; by_flags++) {
		for (kind = 0; kind < 2 * RACES; kind++) {
			wants = kind / RACES;
			kind %= RACES;
			add_good(e);
			assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
			vg_vq_push(&e->vq, e->c.head, 1);
			vg_vq_show(&e->vq);
			e->d.avail->flags = wants ? 0 :
				htole16(VRING_AVAIL_F_NO_INTERRUPT);
			drv_set_used_event(&e->d, wants ?
					   (uint16_t)(e->d.used->idx - 1) :
					   e->d.used->idx);
			assert_int_equal(RACED(vg_vq_depth(&e->vq)),
					 by_flags || !wants ? 0 : 1);
			assert_int_equal(RACED(vg_vq_wants_event(&e->vq)),
					 wants);
			kind += wants * RACES;
		}
		vg_vq_unmap(&e->vq);
		c.event_idx = false;
		memset(e->d.used, 0, 6 + 8 * NUM);
		memset(e->d.avail, 0, 6 + 2 * NUM);
		e->d.avail_idx = e->d.next_desc = 0;
		assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	}
}

/* Taking over: of the rings only the used index is looked at. */
static void test_used_index_is_read_once(void **state)
{
	struct env *e = *state;
	struct vg_vq_config c = config(&e->d);
	static struct vg_queue_log log;
	unsigned int kind;
	uint16_t head;

	vg_vq_unmap(&e->vq);
	vg_vq_set_log(&e->vq, &log);
	assert_int_equal(vg_vq_map(&e->vq, &c), 0);
	for (kind = 0; kind < RACES; kind++) {
		head = add_good(e);
		assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
		vg_vq_push(&e->vq, head, 1);
		vg_vq_show(&e->vq);
		head = add_good(e);
		assert_int_equal(vg_vq_pop(&e->vq, &e->c), 1);
		vg_vq_unmap(&e->vq);
		assert_int_equal(RACED(vg_vq_take_over(&e->vq, &c, false,
						       false)), 0);
		assert_int_equal(e->vq.used_published, 2 * kind + 1);
		assert_int_equal(RACED(vg_vq_pop(&e->vq, &e->c)), 1);
		assert_int_equal(e->c.head, head);
		vg_vq_push(&e->vq, head, 1);
		vg_vq_show(&e->vq);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_direct), T(test_unpop), T(test_indirect),
		T(test_direct_then_indirect), T(test_indirect_not_negotiated),
		T(test_indirect_nested), T(test_indirect_with_next),
		T(test_indirect_length), T(test_indirect_too_long),
		T(test_indirect_unreachable), T(test_indirect_loop_and_next),
		T(test_avail_index), T(test_avail_index_goes_back),
		T(test_avail_index_outstanding), T(test_head), T(test_next),
		T(test_loop), T(test_order), T(test_zero_length),
		T(test_too_many_segments), T(test_too_many_bytes),
		T(test_map_refused), T(test_publish_in_batches),
		T(test_used_event), T(test_used_event_in_batch),
		T(test_avail_event), T(test_flags_without_event_idx),
		T(test_random), T(test_chains_are_read_once),
		T(test_index_is_read_once), T(test_event_is_read_once),
		T(test_used_index_is_read_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
