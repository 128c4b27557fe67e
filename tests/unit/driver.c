// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * driver.c - see driver.h.
 */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_S		5
#define HDR_BYTES	64u	/* a header, and a status byte behind it */

static uint64_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec;
}

/* ---- registers ---------------------------------------------------------- */

uint32_t drv_read(struct drv *d, uint32_t offset)
{
	uint64_t v = UINT32_MAX;
	int err = fake_mmio_read(d->guest, d->vcpu, d->base + offset, 4, &v);

	if (err)
		fprintf(stderr, "driver: reading register 0x%x: %s\n", offset,
			strerror(-err));
	return err ? UINT32_MAX : (uint32_t)v;
}

int drv_write(struct drv *d, uint32_t offset, uint32_t value)
{
	return fake_mmio_write(d->guest, d->vcpu, d->base + offset, 4, value);
}

uint64_t drv_config(struct drv *d, uint32_t offset, unsigned int size_bytes)
{
	uint64_t v = 0, at = d->base + VIRTIO_MMIO_CONFIG + offset;

	if (size_bytes == 8)
		return drv_config(d, offset, 4) |
		       drv_config(d, offset + 4, 4) << 32;
	fake_mmio_read(d->guest, d->vcpu, at, size_bytes, &v);
	return v;
}

/* ---- memory ------------------------------------------------------------- */

struct drv_buf drv_buf(struct drv *d, uint64_t bytes, bool read_only)
{
	struct drv_buf b;

	b.pages = (unsigned int)((bytes + 4095) / 4096);
	b.pfn = fake_alloc_pages(d->guest, b.pages);
	b.va = fake_page(d->guest, b.pfn);
	b.ref = fake_grant(d->guest, d->backend, b.pfn, b.pages, read_only);
	b.addr = DRV_ADDR_GRANT | (uint64_t)b.ref << 12;
	return b;
}

static unsigned int buf_end(struct drv *d, struct drv_buf *b)
{
	unsigned int i, busy = 0;

	for (i = 0; i < b->pages; i++)
		busy += fake_grant_end(d->guest, b->ref + i) == -EBUSY;
	b->pages = 0;
	return busy;
}

void drv_buf_end(struct drv *d, const struct drv_buf *b)
{
	struct drv_buf copy = *b;

	buf_end(d, &copy);
}

/* ---- starting and ending ------------------------------------------------ */

static int set_status(struct drv *d, uint32_t bit)
{
	return drv_write(d, VIRTIO_MMIO_STATUS,
			 drv_read(d, VIRTIO_MMIO_STATUS) | bit);
}

int drv_reset(struct drv *d)
{
	int err = drv_write(d, VIRTIO_MMIO_STATUS, 0);
	uint64_t until = now_s() + WAIT_S;

	while (!err) {
		uint32_t status = drv_read(d, VIRTIO_MMIO_STATUS);

		if (!status)
			return 0;
		if (status == UINT32_MAX)
			err = -ENODEV;
		else if (now_s() > until)
			err = -ETIMEDOUT;
	}
	return err;
}

int drv_negotiate(struct drv *d)
{
	int err;

	if (drv_read(d, VIRTIO_MMIO_MAGIC_VALUE) != 0x74726976 ||
	    drv_read(d, VIRTIO_MMIO_VERSION) != 2)
		return -ENODEV;
	if (drv_read(d, VIRTIO_MMIO_DEVICE_ID) != 2)
		return -ENXIO;
	err = drv_reset(d);
	if (err)
		return err;
	set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(d, VIRTIO_CONFIG_S_DRIVER);
	drv_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	d->offered = (uint64_t)drv_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	drv_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	d->offered |= drv_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
	d->features = d->wanted ? d->wanted : d->offered;
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES,
		  (uint32_t)(d->features >> 32));
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	drv_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)d->features);
	set_status(d, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(drv_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EINVAL;
	return 0;
}

int drv_queue_init(struct drv *d, unsigned int index, unsigned int num)
{
	struct drv_queue *q = &d->q[index];
	uint32_t avail_at = 16 * num, used_at = avail_at + 6 + 2 * num;
	unsigned int i;

	if (num > DRV_NUM_MAX)
		return -E2BIG;
	used_at = (used_at + 3) & ~3u;
	memset(q, 0, sizeof(*q));
	q->index = index;
	q->num = num;
	q->mem = drv_buf(d, used_at + 6 + 8 * num, false);
	q->desc = (void *)q->mem.va;
	q->avail = (void *)(q->mem.va + avail_at);
	q->used = (void *)(q->mem.va + used_at);
	q->desc_addr = q->mem.addr;
	q->avail_addr = q->mem.addr + avail_at;
	q->used_addr = q->mem.addr + used_at;
	for (i = 0; i < num; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	q->nr_free = num;
	return 0;
}

int drv_queue_enable(struct drv *d, unsigned int index)
{
	struct drv_queue *q = &d->q[index];

	drv_write(d, VIRTIO_MMIO_QUEUE_SEL, index);
	if (drv_read(d, VIRTIO_MMIO_QUEUE_READY) ||
	    drv_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX) < q->num)
		return -EINVAL;
	drv_write(d, VIRTIO_MMIO_QUEUE_NUM, q->num);
	drv_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc_addr);
	drv_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH,
		  (uint32_t)(q->desc_addr >> 32));
	drv_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail_addr);
	drv_write(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		  (uint32_t)(q->avail_addr >> 32));
	drv_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used_addr);
	drv_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH,
		  (uint32_t)(q->used_addr >> 32));
	drv_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
	return drv_read(d, VIRTIO_MMIO_QUEUE_READY) == 1 ? 0 : -EIO;
}

int drv_driver_ok(struct drv *d)
{
	set_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
	return drv_needs_reset(d) ? -EIO : 0;
}

int drv_start(struct drv *d, unsigned int nr_queues)
{
	unsigned int i;
	int err = drv_negotiate(d);

	d->spis_seen = fake_spi_count(d->guest, d->irq);
	d->nr_queues = nr_queues;
	for (i = 0; !err && i < nr_queues; i++) {
		err = drv_queue_init(d, i, d->num ? d->num : 64);
		if (!err)
			err = drv_queue_enable(d, i);
	}
	if (!err && !d->hdrs.pages)
		d->hdrs = drv_buf(d, DRV_NUM_MAX * HDR_BYTES, false);
	return err ? err : drv_driver_ok(d);
}

unsigned int drv_exit(struct drv *d)
{
	unsigned int i, k, busy = buf_end(d, &d->hdrs);

	for (i = 0; i < DRV_QUEUES_MAX; i++) {
		busy += buf_end(d, &d->q[i].mem);
		for (k = 0; k < DRV_NUM_MAX; k++)
			busy += buf_end(d, &d->q[i].table[k]);
	}
	return busy;
}

bool drv_needs_reset(struct drv *d)
{
	return drv_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

uint32_t drv_irq(struct drv *d)
{
	uint32_t bits = drv_read(d, VIRTIO_MMIO_INTERRUPT_STATUS);

	d->spis_seen = fake_spi_count(d->guest, d->irq);
	if (bits)
		drv_write(d, VIRTIO_MMIO_INTERRUPT_ACK, bits);
	return bits;
}

/* ---- rings -------------------------------------------------------------- */

static uint64_t seg_flags(const struct drv_seg *s, bool is_last)
{
	return (s->dev_writes ? VRING_DESC_F_WRITE : 0) |
	       (is_last ? 0 : VRING_DESC_F_NEXT);
}

static void desc_fill(struct vring_desc *desc, const struct drv_seg *s,
		      bool is_last)
{
	desc->addr = s->addr;
	desc->len = s->len_bytes;
	desc->flags = (uint16_t)seg_flags(s, is_last);
}

int drv_add(struct drv *d, struct drv_queue *q, const struct drv_seg *segs,
	    unsigned int nr_segs, bool indirect)
{
	unsigned int i, n = indirect ? 1 : nr_segs;
	uint16_t head = q->free_head, at = head;

	if (q->nr_free < n || !nr_segs)
		return -ENOSPC;
	if (indirect) {
		struct drv_buf *t = &q->table[head];
		struct vring_desc *table;

		if (!t->pages)
			*t = drv_buf(d, 16 * 512, true);
		if (nr_segs > 512)
			return -E2BIG;
		table = (void *)t->va;
		for (i = 0; i < nr_segs; i++) {
			desc_fill(&table[i], &segs[i], i + 1 == nr_segs);
			table[i].next = (uint16_t)(i + 1);
		}
		q->free_head = q->desc[head].next;
		q->desc[head].addr = t->addr;
		q->desc[head].len = 16 * nr_segs;
		q->desc[head].flags = VRING_DESC_F_INDIRECT;
	} else {
		for (i = 0; i < nr_segs; i++) {
			desc_fill(&q->desc[at], &segs[i], i + 1 == nr_segs);
			at = q->desc[at].next;
		}
		q->free_head = at;
	}
	q->nr_free -= n;
	q->nr_of[head] = (uint16_t)n;
	q->avail->ring[q->avail_idx++ % q->num] = head;
	return head;
}

void drv_publish(struct drv_queue *q)
{
	/* Entries before the index; partner: the device's read of idx. */
	__atomic_store_n(&q->avail->idx, q->avail_idx, __ATOMIC_RELEASE);
}

void drv_kick(struct drv *d, struct drv_queue *q, bool always)
{
	uint16_t event, old = q->avail->idx;
	bool wanted;

	drv_publish(q);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = *(volatile uint16_t *)&q->used->ring[q->num];
	if (d->features & DRV_BIT(VIRTIO_RING_F_EVENT_IDX))
		wanted = vring_need_event(event, q->avail_idx, old);
	else
		wanted = !(q->used->flags & VRING_USED_F_NO_NOTIFY);
	if ((wanted || always) && q->port)
		fake_guest_notify(d->guest, q->port);
	else if (wanted || always)
		drv_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
}

static void chain_free(struct drv_queue *q, uint16_t head)
{
	unsigned int i, n = q->nr_of[head];
	uint16_t at = head;

	for (i = 1; i < n; i++)
		at = q->desc[at].next;
	q->desc[at].next = q->free_head;
	q->free_head = head;
	q->nr_free += n;
	q->nr_of[head] = 0;
}

int drv_take(struct drv_queue *q, uint32_t *len_bytes)
{
	uint16_t idx = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
	struct vring_used_elem *e;

	if (idx == q->last_used)
		return -EAGAIN;
	e = &q->used->ring[q->last_used % q->num];
	if ((uint16_t)(idx - q->last_used) > q->num || e->id >= q->num ||
	    !q->nr_of[e->id])
		return -EPROTO;
	q->last_used++;
	/* used_event: the next one interrupts. */
	q->avail->ring[q->num] = q->last_used;
	if (len_bytes)
		*len_bytes = e->len;
	chain_free(q, (uint16_t)e->id);
	return (int)e->id;
}

int drv_wait(struct drv *d, struct drv_queue *q, int head,
	     uint32_t *len_bytes)
{
	uint64_t until = now_s() + WAIT_S;
	int got;

	for (;;) {
		/* Acknowledged first, then looked: as a driver must. */
		if (!d->no_irq_ack &&
		    fake_spi_count(d->guest, d->irq) != d->spis_seen &&
		    drv_irq(d) & 2 && drv_needs_reset(d))
			return -EIO;
		got = drv_take(q, len_bytes);
		if (got != -EAGAIN)
			break;
		if (now_s() > until)
			return -ETIMEDOUT;
		fake_pump();
	}
	if (got < 0)
		return got;
	return got == head ? 0 : -EPROTO;
}

/* ---- virtio-blk --------------------------------------------------------- */

int drv_blk_add(struct drv *d, struct drv_queue *q, uint32_t type,
		uint64_t sector, const struct drv_seg *segs,
		unsigned int nr_segs, bool indirect, uint8_t **status)
{
	uint32_t at = d->next_hdr++ % DRV_NUM_MAX * HDR_BYTES;
	struct virtio_blk_outhdr *h = (void *)(d->hdrs.va + at);
	struct drv_seg all[512];

	if (nr_segs > 510)
		return -E2BIG;
	*h = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	d->hdrs.va[at + 32] = DRV_BLK_PENDING;
	*status = &d->hdrs.va[at + 32];
	all[0] = (struct drv_seg){ d->hdrs.addr + at, sizeof(*h), false };
	if (nr_segs)
		memcpy(&all[1], segs, nr_segs * sizeof(*segs));
	all[nr_segs + 1] = (struct drv_seg){ d->hdrs.addr + at + 32, 1, true };
	return drv_add(d, q, all, nr_segs + 2, indirect);
}

int drv_blk(struct drv *d, uint32_t type, uint64_t sector,
	    const struct drv_seg *segs, unsigned int nr_segs, bool indirect,
	    uint32_t *len_bytes)
{
	struct drv_queue *q = &d->q[0];
	uint8_t *status;
	int err, head = drv_blk_add(d, q, type, sector, segs, nr_segs,
				    indirect, &status);

	if (head < 0)
		return head;
	drv_kick(d, q, false);
	err = drv_wait(d, q, head, len_bytes);
	return err ? err : *status;
}

int drv_blk_buf(struct drv *d, uint32_t type, uint64_t sector,
		const struct drv_buf *b, uint32_t offset, uint32_t len_bytes)
{
	struct drv_seg s = { b->addr + offset, len_bytes,
			     type == VIRTIO_BLK_T_IN ||
			     type == VIRTIO_BLK_T_GET_ID };

	return drv_blk(d, type, sector, &s, 1, false, NULL);
}
