// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_hostile.c - a guest that breaks the rules of rings, descriptors,
 * addresses and registers.  Its device stops, with the right name for the
 * reason; a neighbour in the same worker and one in another go on; after a
 * reset the device works again and nothing is left mapped.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"

#define GUEST	3u
#define OTHER	4u

static struct fake_disk disk[3];	/* victim, same guest, other guest */
static struct drv d[3];
static struct drv_buf buf;		/* the victim's, 16 pages */

static void reads(struct drv *drv)
{
	struct drv_buf b = drv_buf(drv, 4096, false);

	assert_int_equal(drv_blk_buf(drv, VIRTIO_BLK_T_IN, 16, &b, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(b.va[77], unit_pattern(16 * 512 + 77));
	drv_buf_end(drv, &b);
}

static int setup(void **state)
{
	unsigned int i;

	if (rig_setup(state))
		return -1;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	for (i = 0; i < 3; i++) {
		disk[i] = i < 2 ? rig_disk(GUEST, i) : rig_disk(OTHER, 0);
		if (!rig_disk_add(&disk[i]))
			return -1;
		d[i] = rig_drv(&disk[i]);
		d[i].num = 64;
		if (drv_start(&d[i], 1))
			return -1;
	}
	buf = drv_buf(&d[0], 16 * 4096, false);
	return 0;
}

static int teardown(void **state)
{
	unsigned int i, busy = 0;

	for (i = 0; i < 3; i++)
		busy += drv_reset(&d[i]) || drv_exit(&d[i]);
	for (i = 0; i < buf.pages; i++)
		busy += fake_grant_maps(GUEST, buf.ref + i);
	return rig_teardown(state) || busy ? -1 : 0;
}

/* ---- one rule each ------------------------------------------------------ */

static struct drv_queue *q(void)
{
	return &d[0].q[0];
}

static void desc(unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	q()->desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static void offer(uint16_t head)
{
	q()->avail->ring[q()->avail_idx++ % q()->num] = head;
	drv_publish(q());
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* A proper read of one sector at descriptors 0, 1, 2; then it is bent. */
static void proper(void)
{
	struct virtio_blk_outhdr *h = (void *)buf.va;

	*h = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
	desc(0, buf.addr, 16, VRING_DESC_F_NEXT, 1);
	desc(1, buf.addr + 4096, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
	     2);
	desc(2, buf.addr + 32, 1, VRING_DESC_F_WRITE, 0);
}

static void avail_one_too_many(void)
{
	proper();
	q()->avail_idx = (uint16_t)(q()->avail->idx + q()->num);
	offer(0);
}

static void avail_far_ahead(void)
{
	proper();
	q()->avail_idx = (uint16_t)(q()->avail->idx + 0x8000);
	offer(0);
}

static void avail_backwards(void)
{
	q()->avail_idx = (uint16_t)(q()->avail->idx - 2);
	offer(0);
}

static void head_beyond(void)
{
	offer(64);
}

static void head_far_beyond(void)
{
	offer(0xffff);
}

static void next_beyond(void)
{
	proper();
	q()->desc[1].next = 64;
	offer(0);
}

static void loop_to_itself(void)
{
	proper();
	q()->desc[0].next = 0;
	offer(0);
}

static void loop_of_three(void)
{
	proper();
	desc(2, buf.addr + 32, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	offer(0);
}

/* Into the second page of buf, as an indirect table of @n; head 0 is it. */
static struct vring_desc *table(uint32_t bytes, uint16_t flags)
{
	struct vring_desc *t = (void *)(buf.va + 8192);

	proper();
	memcpy(t, q()->desc, 3 * sizeof(*t));
	desc(0, buf.addr + 8192, bytes, flags, 1);
	return t;
}

static void indirect_in_indirect(void)
{
	table(48, VRING_DESC_F_INDIRECT)[1].flags |= VRING_DESC_F_INDIRECT;
	offer(0);
}

static void indirect_with_next(void)
{
	table(48, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT);
	offer(0);
}

static void indirect_odd_length(void)
{
	table(47, VRING_DESC_F_INDIRECT);
	offer(0);
}

static void indirect_no_length(void)
{
	table(0, VRING_DESC_F_INDIRECT);
	offer(0);
}

static void indirect_huge_length(void)
{
	table(0xfffffff0, VRING_DESC_F_INDIRECT);
	offer(0);
}

static void indirect_next_beyond(void)
{
	table(48, VRING_DESC_F_INDIRECT)[1].next = 3;
	offer(0);
}

static void indirect_loop(void)
{
	table(48, VRING_DESC_F_INDIRECT)[1].next = 1;
	offer(0);
}

static void indirect_not_granted(void)
{
	table(48, VRING_DESC_F_INDIRECT);
	q()->desc[0].addr = DRV_ADDR_GRANT | 30000ull << 12;
	offer(0);
}

static void indirect_no_grant(void)
{
	table(48, VRING_DESC_F_INDIRECT);
	q()->desc[0].addr = 0x40000000;
	offer(0);
}

static void readable_behind_writable(void)
{
	proper();
	q()->desc[2].flags = 0;
	offer(0);
}

static void too_many_segments(void)
{
	struct vring_desc *t = table(16 * 512, VRING_DESC_F_INDIRECT);
	unsigned int i;

	for (i = 0; i < 511; i++)
		t[i] = (struct vring_desc){ buf.addr + 64, 16,
					    VRING_DESC_F_NEXT,
					    (uint16_t)(i + 1) };
	t[511] = (struct vring_desc){ buf.addr + 32, 1, VRING_DESC_F_WRITE, 0 };
	offer(0);
}

static void too_many_bytes(void)
{
	proper();
	desc(1, buf.addr, 0xffffffff, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
	     2);
	offer(0);
}

static void zero_length(void)
{
	proper();
	q()->desc[1].len = 0;
	offer(0);
}

static void data_no_grant(void)
{
	proper();
	q()->desc[1].addr = 0x80000000;
	offer(0);
}

static void header_no_grant(void)
{
	proper();
	q()->desc[0].addr &= ~DRV_ADDR_GRANT;
	offer(0);
}

static void data_not_granted(void)
{
	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT | 31000ull << 12;
	q()->desc[1].len = 65536;
	offer(0);
}

static void data_beyond_the_table(void)
{
	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT | 0xfffffffeull << 12;
	offer(0);
}

static void data_wraps(void)
{
	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT | 0xffffffffull << 12;
	q()->desc[1].len = 8192;
	offer(0);
}

static void data_unused_bits(void)
{
	proper();
	q()->desc[1].addr |= DRV_BIT(50);
	offer(0);
}

static void data_for_another_domain(void)
{
	unsigned int pfn = fake_alloc_pages(GUEST, 1);

	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT |
			    (uint64_t)fake_grant(GUEST, 0, pfn, 1, false) << 12;
	offer(0);
}

static void data_of_another_guest(void)
{
	struct drv_buf foreign = drv_buf(&d[2], 4096, false);
	xen_ref_t ref = 20000;

	/* The same number exists in the neighbour and would be mappable. */
	fake_grant_at(OTHER, ref, RIG_BACKEND, foreign.pfn, false);
	memset(foreign.va, 0x77, 4096);
	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT | (uint64_t)ref << 12;
	offer(0);
	assert_int_equal(foreign.va[0], 0x77);
}

static void data_read_only(void)
{
	unsigned int pfn = fake_alloc_pages(GUEST, 1);

	proper();
	q()->desc[1].addr = DRV_ADDR_GRANT | (uint64_t)fake_grant(GUEST,
			RIG_BACKEND, pfn, 1, true) << 12;
	q()->desc[1].len = 4096;
	offer(0);
}

static void data_half_granted(void)
{
	struct drv_buf b = drv_buf(&d[0], 2 * 65536, false);

	fake_grant_end(GUEST, b.ref + 20);
	proper();
	q()->desc[1].addr = b.addr;
	q()->desc[1].len = 2 * 65536;
	offer(0);
}

static void status_not_granted(void)
{
	proper();
	q()->desc[2].addr = DRV_ADDR_GRANT | 31000ull << 12;
	offer(0);
}

static void only_a_header(void)
{
	proper();
	desc(0, buf.addr, 16, 0, 0);
	offer(0);
}

static void half_a_header(void)
{
	proper();
	q()->desc[0].len = 15;
	offer(0);
}

static void no_header(void)
{
	proper();
	offer(2);
}

static const struct {
	const char *name;
	void (*act)(void);
	enum vg_broken broken;
	enum vg_mem_fault fault;
} cases[] = {
#define C(f, b)		{ #f, f, VG_BROKEN_##b, VG_MEM_OK }
#define CF(f, b, why)	{ #f, f, VG_BROKEN_##b, VG_MEM_##why }
	C(avail_one_too_many, AVAIL_INDEX),
	C(avail_far_ahead, AVAIL_INDEX),
	C(avail_backwards, AVAIL_INDEX),
	C(head_beyond, HEAD),
	C(head_far_beyond, HEAD),
	C(next_beyond, NEXT),
	C(loop_to_itself, LOOP),
	C(loop_of_three, LOOP),
	C(indirect_in_indirect, INDIRECT),
	C(indirect_with_next, INDIRECT),
	C(indirect_odd_length, INDIRECT),
	C(indirect_no_length, INDIRECT),
	C(indirect_huge_length, TOO_LONG),
	C(indirect_next_beyond, NEXT),
	C(indirect_loop, LOOP),
	CF(indirect_not_granted, ADDRESS, NOT_GRANTED),
	CF(indirect_no_grant, ADDRESS, NO_GRANT),
	C(readable_behind_writable, ORDER),
	C(too_many_segments, TOO_LONG),
	C(too_many_bytes, TOO_LONG),
	C(zero_length, ZERO_LEN),
	CF(data_no_grant, ADDRESS, NO_GRANT),
	CF(header_no_grant, ADDRESS, NO_GRANT),
	CF(data_not_granted, ADDRESS, NOT_GRANTED),
	CF(data_beyond_the_table, ADDRESS, NOT_GRANTED),
	CF(data_wraps, ADDRESS, BAD_RANGE),
	CF(data_unused_bits, ADDRESS, BAD_RANGE),
	CF(data_for_another_domain, ADDRESS, NOT_GRANTED),
	CF(data_of_another_guest, ADDRESS, NOT_GRANTED),
	CF(data_read_only, ADDRESS, NOT_GRANTED),
	CF(data_half_granted, ADDRESS, NOT_GRANTED),
	CF(status_not_granted, ADDRESS, NOT_GRANTED),
	C(only_a_header, REQUEST),
	C(half_a_header, REQUEST),
	C(no_header, REQUEST),
};

/* Or that is only found out when the answer is to be copied out. */
static bool is_broken_by(unsigned int i)
{
	const struct vg_dev_stats *st = rig_stats(&disk[0]);

	return st->broken_fault == cases[i].fault &&
	       (st->broken == cases[i].broken ||
		(cases[i].fault == VG_MEM_NOT_GRANTED &&
		 st->broken == VG_BROKEN_UNDELIVERED));
}

static void broken_and_back(unsigned int i)
{
	const struct vg_dev_stats *st = rig_stats(&disk[0]);
	uint64_t config_irqs = st->irqs_config;
	uint16_t used = d[0].q[0].used->idx;

	unit_log_start();
	cases[i].act();
	if (!rig_until(drv_needs_reset(&d[0])))
		fail_msg("%s: not noticed", cases[i].name);
	st = rig_stats(&disk[0]);
	if (!is_broken_by(i))
		fail_msg("%s: broken by %s/%s", cases[i].name,
			 vg_broken_name(st->broken),
			 vg_mem_fault_name(st->broken_fault));
	assert_int_equal(st->irqs_config, config_irqs + 1);
	assert_true(drv_irq(&d[0]) & 2);
	/* A driver would take it for done. */
	if (d[0].q[0].used->idx != used)
		fail_msg("%s: the request is shown as used", cases[i].name);
	/* Lines are limited per second, so there may be none. */
	if (unit_log_lines() && !unit_logged(vg_broken_name(st->broken)))
		fail_msg("%s: the log does not name it", cases[i].name);
	reads(&d[1]);
	reads(&d[2]);

	assert_int_equal(drv_reset(&d[0]), 0);
	if (drv_exit(&d[0]))
		fail_msg("%s: rings are mapped after a reset", cases[i].name);
	d[0].hdrs.pages = 0;
	assert_int_equal(drv_start(&d[0], 1), 0);
	reads(&d[0]);
}

static void one_rule_each(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		broken_and_back(i);
}

/* No hypercall is made for what is no grant: nothing could be read. */
static void guest_physical_addresses_are_refused(void **state)
{
	(void)state;
	fake_count_reset();
	data_no_grant();
	assert_true(rig_until(drv_needs_reset(&d[0])));
	assert_int_equal(fake_calls(RIG_BACKEND, FAKE_GNTTAB_MAP), 0);
	assert_int_equal(fake_bytes_copied(RIG_BACKEND), 0);
	assert_true(unit_logged("is no grant"));
}

/* ---- rings that can't be mapped ----------------------------------------- */

static void ring_addresses(void **state)
{
	enum { DESC, AVAIL, USED };
	static const struct {
		int part;
		uint64_t xor;		/* what is wrong with its address */
		uint64_t set;
		enum vg_mem_fault fault;
	} rings[] = {
		{ DESC, 8, 0, VG_MEM_OK },		/* alignment 16 */
		{ AVAIL, 1, 0, VG_MEM_OK },		/* alignment 2 */
		{ USED, 2, 0, VG_MEM_OK },		/* alignment 4 */
		{ DESC, DRV_ADDR_GRANT, 0, VG_MEM_NO_GRANT },
		{ AVAIL, DRV_ADDR_GRANT, 0, VG_MEM_NO_GRANT },
		{ USED, DRV_ADDR_GRANT, 0, VG_MEM_NO_GRANT },
		{ DESC, 0, DRV_ADDR_GRANT | 30000ull << 12,
		  VG_MEM_NOT_GRANTED },
		{ AVAIL, 0, DRV_ADDR_GRANT | 30000ull << 12,
		  VG_MEM_NOT_GRANTED },
		{ USED, 0, DRV_ADDR_GRANT | 30000ull << 12,
		  VG_MEM_NOT_GRANTED },
		{ USED, DRV_BIT(45), 0, VG_MEM_BAD_RANGE },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		uint64_t *addr[] = { &q()->desc_addr, &q()->avail_addr,
				     &q()->used_addr };
		const struct vg_dev_stats *st;
		unsigned int maps;

		assert_int_equal(drv_reset(&d[0]), 0);
		assert_int_equal(drv_exit(&d[0]), 0);
		d[0].hdrs.pages = 0;
		maps = fake_maps_held(RIG_BACKEND);
		assert_int_equal(drv_negotiate(&d[0]), 0);
		assert_int_equal(drv_queue_init(&d[0], 0, 64), 0);
		*addr[rings[i].part] ^= rings[i].xor;
		if (rings[i].set)
			*addr[rings[i].part] = rings[i].set;
		if (drv_queue_enable(&d[0], 0) != -EIO)
			fail_msg("ring case %u was accepted", i);
		assert_true(drv_needs_reset(&d[0]));
		st = rig_stats(&disk[0]);
		if (st->broken != VG_BROKEN_RING_ADDRESS ||
		    st->broken_fault != rings[i].fault)
			fail_msg("ring case %u: %s/%s", i,
				 vg_broken_name(st->broken),
				 vg_mem_fault_name(st->broken_fault));
		assert_int_equal(fake_maps_held(RIG_BACKEND), maps);
	}
	reads(&d[1]);
}

static void queue_sizes(void **state)
{
	static const uint32_t num[] = { 0, 3, 63, 1024, 65536, 0x80000000,
					0xffffffff };
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(num) / sizeof(num[0]); i++) {
		assert_int_equal(drv_reset(&d[0]), 0);
		assert_int_equal(drv_exit(&d[0]), 0);
		d[0].hdrs.pages = 0;
		assert_int_equal(drv_negotiate(&d[0]), 0);
		assert_int_equal(drv_queue_init(&d[0], 0, 64), 0);
		q()->num = num[i];
		drv_write(&d[0], VIRTIO_MMIO_QUEUE_NUM_MAX, 0xffffffff);
		drv_queue_enable(&d[0], 0);
		/* Past the driver's own check, which was for larger ones. */
		drv_write(&d[0], VIRTIO_MMIO_QUEUE_NUM, num[i]);
		drv_write(&d[0], VIRTIO_MMIO_QUEUE_READY, 1);
		assert_true(drv_needs_reset(&d[0]));
		if (rig_stats(&disk[0])->broken != VG_BROKEN_QUEUE_SIZE)
			fail_msg("size %u", num[i]);
		q()->num = 64;
	}
}

/* ---- registers ---------------------------------------------------------- */

/* Every offset and width, read and written; the device lives or is reset. */
static void register_sweep(void **state)
{
	static const uint64_t values[] = { 0xffffffff, 0, 0x80000001 };
	unsigned int at, size, v;
	uint64_t data;

	(void)state;
	for (at = 0; at < 0x200; at++) {
		for (size = 1; size <= 8; size *= 2) {
			uint64_t addr = d[0].base + at;

			if (at + size > 0x200)
				continue;
			assert_int_equal(fake_mmio_read(GUEST, 0, addr, size,
							&data), 0);
			for (v = 0; v < 3; v++)
				assert_int_equal(fake_mmio_write(GUEST, 0, addr,
						size, values[v]), 0);
		}
	}
	reads(&d[1]);
	reads(&d[2]);
	assert_int_equal(drv_reset(&d[0]), 0);
	assert_int_equal(drv_exit(&d[0]), 0);
	d[0].hdrs.pages = 0;
	assert_int_equal(drv_start(&d[0], 1), 0);
	reads(&d[0]);
}

static void notify_of_no_queue(void **state)
{
	uint64_t before = rig_stats(&disk[0])->spurious_notifies;

	(void)state;
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 63);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 64);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
	rig_steps(4);
	assert_int_equal(rig_stats(&disk[0])->spurious_notifies, before + 2);
	assert_false(drv_needs_reset(&d[0]));
	reads(&d[0]);
}

/* Configuring a live queue changes nothing. */
static void live_queue_is_fixed(void **state)
{
	(void)state;
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_SEL, 0);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_NUM, 3);
	drv_write(&d[0], VIRTIO_MMIO_QUEUE_READY, 1);
	reads(&d[0]);
	reads(&d[0]);
}

/* ---- sizes and floods --------------------------------------------------- */

/* A guest that has nothing mapped can always be served; too much is named. */
static void budget(void **state)
{
	struct fake_disk small;
	struct drv_seg segs[60];
	struct drv_buf b;
	struct drv v;
	uint8_t *status[3];
	unsigned int i, k;
	int head;

	(void)state;
	rig_guest(9, 1);
	small = rig_disk(9, 0);
	assert_true(rig_disk_add(&small));
	v = rig_drv(&small);
	assert_int_equal(drv_start(&v, 1), 0);
	b = drv_buf(&v, 80 * 4096, false);
	for (i = 0; i < 60; i++)
		segs[i] = (struct drv_seg){ b.addr + i * 4096, 4096, true };
	/* Three at once do not fit together: they wait for each other. */
	for (k = 0; k < 3; k++)
		assert_true(drv_blk_add(&v, &v.q[0], VIRTIO_BLK_T_IN, 0, segs,
					60, true, &status[k]) >= 0);
	drv_kick(&v, &v.q[0], false);
	for (k = 0; k < 3; k++) {
		if (!rig_until((head = drv_take(&v.q[0], NULL)) >= 0)) {
			unit_log_dump();
			fail_msg("request %u: not answered (%d, used %u, %s)",
				 k, head, v.q[0].used->idx,
				 vg_broken_name(rig_stats(&small)->broken));
		}
		assert_true(fake_maps_held(RIG_BACKEND) <= 71);
	}
	for (k = 0; k < 3; k++)
		assert_int_equal(*status[k], VIRTIO_BLK_S_OK);
	assert_true(rig_stats(&small)->mem.mapped_pages_max <= 70);
	/* One that never can: it is the guest's fault. */
	assert_true(
		drv_blk_add(&v, &v.q[0], VIRTIO_BLK_T_IN, 0,
			    (struct drv_seg[]){ { b.addr, 80 * 4096, true } },
			    1, true, &status[0]) >= 0);
	drv_kick(&v, &v.q[0], false);
	assert_true(rig_until(drv_needs_reset(&v)));
	assert_int_equal(rig_stats(&small)->broken_fault, VG_MEM_BUDGET);
	assert_int_equal(drv_reset(&v), 0);
	assert_int_equal(drv_exit(&v), 0);
	drv_buf_end(&v, &b);
}

static int setup_mapped(void **state)
{
	int err;

	rig_copy_max_bytes = RIG_COPY_LITTLE;
	err = setup(state);
	rig_copy_max_bytes = VG_MEM_COPY_MAX_DEFAULT;
	return err;
}

static int setup_budget(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.budget_pages = 70;
	return rig_broker_start() || rig_sup_start();
}

/* Breaking in a circle: the log does not grow with it. */
static void log_is_limited(void **state)
{
	unsigned int i;

	(void)state;
	unit_log_start();
	for (i = 0; i < 200; i++) {
		head_beyond();
		assert_true(rig_until(drv_needs_reset(&d[0])));
		assert_int_equal(drv_reset(&d[0]), 0);
		drv_exit(&d[0]);
		d[0].hdrs.pages = 0;
		assert_int_equal(drv_start(&d[0], 1), 0);
	}
	/* Some per second, and this takes some seconds at the most. */
	assert_true(unit_log_lines() < 100);
	assert_true(rig_stats(&disk[0])->broken_count >= 200);
}

static uint64_t rng = 88172645463325252ull;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 11) % n;
}

static uint64_t rnd_addr(void)
{
	switch (rnd(8)) {
	case 0:
		return (uint64_t)rnd(UINT32_MAX) << rnd(32);
	case 1:
		return DRV_ADDR_GRANT | (uint64_t)rnd(32768) << 12;
	case 2:
		return q()->mem.addr + rnd(4096);
	default:
		return buf.addr + rnd(16 * 4096);
	}
}

/* Whatever stands in the ring: the daemons live and the neighbours read. */
static void random_rings(void **state)
{
	unsigned int i, k, n;

	(void)state;
	for (i = 0; i < 400; i++) {
		for (k = 0; k < 64; k++) {
			uint16_t flags =
				(uint16_t)rnd(2) | (uint16_t)(rnd(2) << 1);

			if (!rnd(6))
				flags |= VRING_DESC_F_INDIRECT;
			desc(k, rnd_addr(), rnd(3) ? 512 * rnd(9) :
			     rnd(1u << rnd(31)), flags, (uint16_t)rnd(66));
		}
		for (k = 0; k < 16 * 4096 / 16; k++)
			if (!rnd(4))
				((struct vring_desc *)buf.va)[k] =
					(struct vring_desc){ rnd_addr(),
						rnd(8192), (uint16_t)rnd(8),
						(uint16_t)rnd(70) };
		*(struct virtio_blk_outhdr *)buf.va =
			(struct virtio_blk_outhdr){ .type = rnd(15),
						    .sector = rnd(4096) };
		n = 1 + rnd(4);
		while (n--)
			q()->avail->ring[q()->avail_idx++ % 64] =
				(uint16_t)rnd(rnd(5) ? 64 : 70);
		drv_publish(q());
		drv_write(&d[0], VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		rig_steps(3);
		if (drv_needs_reset(&d[0])) {
			assert_int_equal(drv_reset(&d[0]), 0);
			assert_int_equal(drv_exit(&d[0]), 0);
			d[0].hdrs.pages = 0;
			assert_int_equal(drv_start(&d[0], 1), 0);
		}
	}
	reads(&d[1]);
	reads(&d[2]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
/* The same with most requests mapped. */
#define M(f) { #f " (mapped)", f, setup_mapped, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_rule_each), M(one_rule_each),
		T(guest_physical_addresses_are_refused),
		T(ring_addresses),
		T(queue_sizes),
		T(register_sweep),
		T(notify_of_no_queue),
		T(live_queue_is_fixed),
		cmocka_unit_test_setup_teardown(budget, setup_budget,
						rig_teardown),
		T(log_is_limited),
		T(random_rings), M(random_rings),
	};

	return cmocka_run_group_tests_name("hostile guest", tests, NULL, NULL);
}
