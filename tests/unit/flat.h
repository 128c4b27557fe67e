/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flat.h - for tests of devices and queues: guest memory in one array, and
 * the driver's side of a split virtqueue in it.
 *
 * An address is VG_ADDR_GRANT | offset in the array.  Every buffer that a
 * request maps is counted, so that a test sees what was not given back; the
 * parts of the array are between guard bytes only where a test puts them.
 */
#ifndef FLAT_H
#define FLAT_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <linux/virtio_ring.h>

#include "kernel/uapi/virtio_grant.h"
#include "mem/mem.h"
#include "unit.h"
#include "lib/util.h"

#define VG_ADDR_GRANT	VIRTIO_GRANT_ADDR_FLAG
#define FLAT_BYTES	(8u << 20)

struct flat {
	struct vg_mem mem;
	uint8_t *ram;
	size_t next;			/* of the bump allocator */
	unsigned int reqs_now, rings_now;
	unsigned int again_after;	/* so many map_req calls work, then */
	unsigned int again;		/* so many: -EAGAIN */
	unsigned int ring_again;	/* so many: map_ring gives -EAGAIN */
	bool unmap_fails;		/* the guest took its page back */
	bool is_destroyed;
};

struct vg_mem_req {
	int unused;
};

static struct vg_mem_req flat_token;

static inline uint8_t *flat_at(struct flat *f, uint64_t addr, uint64_t len,
			       enum vg_mem_fault *fault)
{
	uint64_t off = addr & ~VG_ADDR_GRANT;

	if (!(addr & VG_ADDR_GRANT))
		*fault = VG_MEM_NO_GRANT;
	else if (off >= FLAT_BYTES || len > FLAT_BYTES - off)
		*fault = VG_MEM_NOT_GRANTED;
	else
		return f->ram + off;
	f->mem.stats.faults[*fault]++;
	return NULL;
}

static inline int flat_map_ring(struct vg_mem *m, uint64_t addr,
				size_t len_bytes, int prot, void **va,
				enum vg_mem_fault *fault)
{
	struct flat *f = (struct flat *)m;

	(void)prot;
	if (f->ring_again) {
		f->ring_again--;
		return -EAGAIN;
	}
	*va = flat_at(f, addr, len_bytes, fault);
	if (!*va)
		return -EFAULT;
	f->rings_now++;
	return 0;
}

static inline void flat_unmap_ring(struct vg_mem *m, void *va,
				   size_t len_bytes)
{
	(void)va;
	(void)len_bytes;
	assert_true(((struct flat *)m)->rings_now > 0);
	((struct flat *)m)->rings_now--;
}

static inline int flat_read(struct vg_mem *m, uint64_t addr, void *buf,
			    size_t len_bytes, enum vg_mem_fault *fault)
{
	uint8_t *p = flat_at((struct flat *)m, addr, len_bytes, fault);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, len_bytes);
	if (vg_read_hook)
		vg_read_hook(p, len_bytes);
	return 0;
}

static inline int flat_map_req(struct vg_mem *m, const struct vg_seg *segs,
			       unsigned int nr_segs, struct vg_mem_bufs *bufs,
			       struct vg_mem_req **req,
			       enum vg_mem_fault *fault)
{
	struct flat *f = (struct flat *)m;
	struct iovec *iov = bufs->iov;
	unsigned int i;

	if (f->again_after) {
		f->again_after--;
	} else if (f->again) {
		f->again--;
		return -EAGAIN;
	}
	assert_true(nr_segs <= bufs->max);
	bufs->nr_out = 0;
	for (i = 0; i < nr_segs; i++) {
		iov[i].iov_len = segs[i].len_bytes;
		iov[i].iov_base = flat_at(f, segs[i].addr, segs[i].len_bytes,
					  fault);
		if (!iov[i].iov_base)
			return -EFAULT;
		bufs->nr_out += !segs[i].dev_writes;
	}
	bufs->nr = nr_segs;
	*req = &flat_token;
	f->reqs_now++;
	return 0;
}

static inline int flat_unmap_req(struct vg_mem *m, struct vg_mem_req *req,
				 enum vg_mem_fault *fault)
{
	assert_ptr_equal(req, &flat_token);
	assert_true(((struct flat *)m)->reqs_now > 0);
	((struct flat *)m)->reqs_now--;
	*fault = VG_MEM_OK;
	return ((struct flat *)m)->unmap_fails ? -EFAULT : 0;
}

static inline void flat_destroy(struct vg_mem *m)
{
	((struct flat *)m)->is_destroyed = true;
}

static const struct vg_mem_ops flat_ops = {
	.name = "flat",
	.map_ring = flat_map_ring,
	.unmap_ring = flat_unmap_ring,
	.read = flat_read,
	.map_req = flat_map_req,
	.unmap_req = flat_unmap_req,
	.destroy = flat_destroy,
};

static inline void flat_init(struct flat *f)
{
	memset(f, 0, sizeof(*f));
	f->mem.ops = &flat_ops;
	f->ram = aligned_alloc(4096, FLAT_BYTES);
	assert_non_null(f->ram);
	memset(f->ram, 0, FLAT_BYTES);
	f->next = 4096;
}

static inline void flat_exit(struct flat *f)
{
	free(f->ram);
	f->ram = NULL;
}

static inline uint64_t flat_alloc(struct flat *f, size_t bytes, size_t align)
{
	uint64_t at = (f->next + align - 1) / align * align;

	assert_true(at + bytes <= FLAT_BYTES);
	f->next = at + bytes;
	return VG_ADDR_GRANT | at;
}

static inline void *flat_ptr(struct flat *f, uint64_t addr)
{
	return f->ram + (addr & ~VG_ADDR_GRANT);
}

/* ---- the driver's side of a queue --------------------------------------- */

struct flat_queue {
	struct flat *f;
	unsigned int num;
	uint64_t desc_addr, avail_addr, used_addr;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_seen, next_desc;
};

static inline void drv_init(struct flat_queue *q, struct flat *f,
			    unsigned int num)
{
	memset(q, 0, sizeof(*q));
	q->f = f;
	q->num = num;
	q->desc_addr = flat_alloc(f, 16 * num, 4096);
	q->avail_addr = flat_alloc(f, 6 + 2 * num, 64);
	q->used_addr = flat_alloc(f, 6 + 8 * num, 4096);
	q->desc = flat_ptr(f, q->desc_addr);
	q->avail = flat_ptr(f, q->avail_addr);
	q->used = flat_ptr(f, q->used_addr);
}

struct drv_buf {
	uint64_t addr;
	uint32_t len;
	bool dev_writes;
};

static inline void drv_desc(struct vring_desc *d, uint64_t addr, uint32_t len,
			    uint16_t flags, uint16_t next)
{
	d->addr = htole64(addr);
	d->len = htole32(len);
	d->flags = htole16(flags);
	d->next = htole16(next);
}

static inline void drv_fill(struct vring_desc *table, unsigned int size,
			    unsigned int first, const struct drv_buf *bufs,
			    unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		drv_desc(&table[(first + i) % size], bufs[i].addr, bufs[i].len,
			 (uint16_t)((bufs[i].dev_writes ? VRING_DESC_F_WRITE :
							  0) |
				    (i + 1 < nr ? VRING_DESC_F_NEXT : 0)),
			 (uint16_t)((first + i + 1) % size));
}

/* Only puts the head into the ring; drv_show() lets the device see it. */
static inline void drv_offer(struct flat_queue *q, uint16_t head)
{
	q->avail->ring[q->avail_idx % q->num] = htole16(head);
	q->avail_idx++;
}

static inline void drv_show(struct flat_queue *q)
{
	__atomic_store_n(&q->avail->idx, htole16(q->avail_idx),
			 __ATOMIC_RELEASE);
}

/* A chain of direct descriptors; its head. */
static inline uint16_t drv_add(struct flat_queue *q, const struct drv_buf *bufs,
			       unsigned int nr)
{
	uint16_t head = q->next_desc;

	drv_fill(q->desc, q->num, head, bufs, nr);
	q->next_desc = (uint16_t)((head + nr) % q->num);
	drv_offer(q, head);
	drv_show(q);
	return head;
}

static inline uint16_t drv_add_indirect(struct flat_queue *q,
					const struct drv_buf *bufs,
					unsigned int nr)
{
	uint64_t table = flat_alloc(q->f, 16 * nr, 16);
	uint16_t head = q->next_desc;

	drv_fill(flat_ptr(q->f, table), nr, 0, bufs, nr);
	drv_desc(&q->desc[head], table, 16 * nr, VRING_DESC_F_INDIRECT, 0);
	q->next_desc = (uint16_t)((head + 1) % q->num);
	drv_offer(q, head);
	drv_show(q);
	return head;
}

/* The next used element, if the device has shown one. */
static inline bool drv_used(struct flat_queue *q, uint32_t *id, uint32_t *len)
{
	struct vring_used_elem *e;

	if (le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE)) ==
	    q->used_seen)
		return false;
	e = &q->used->ring[q->used_seen++ % q->num];
	*id = le32toh(e->id);
	*len = le32toh(e->len);
	return true;
}

static inline uint16_t drv_avail_event(const struct flat_queue *q)
{
	return le16toh(*(uint16_t *)&q->used->ring[q->num]);
}

static inline void drv_set_used_event(struct flat_queue *q, uint16_t v)
{
	q->avail->ring[q->num] = htole16(v);
}

#endif
