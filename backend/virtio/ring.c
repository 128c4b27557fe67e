// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ring.c - the walk of a split virtqueue (virtio 1.3, 2.7).
 *
 * Not trusted: the guest.  See ring.h for the rules that follow.
 *
 * What one pop costs at the most: segs_max descriptors, whatever the chain
 * looks like; what a guest can make us allocate: nothing.
 */
#include "virtio/ring.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/util.h"

#define DESC_ALIGN_BYTES	16u
#define AVAIL_ALIGN_BYTES	2u
#define USED_ALIGN_BYTES	4u
/*
 * A request that was under way at so many deaths is the likely cause of them,
 * and is not tried once more.  Not one that waits (vq->waits): it is under way
 * most of the time, at whatever death.
 */
#define REDONE_MAX		8u

static int vq_break(struct vg_vq *vq, enum vg_broken why, uint64_t value)
{
	vq->broken = why;
	vq->fault = VG_MEM_OK;
	vq->bad_value = value;
	return -EPROTO;
}

static int vq_break_address(struct vg_vq *vq, enum vg_broken why,
			    enum vg_mem_fault fault, uint64_t addr)
{
	vq_break(vq, why, addr);
	vq->fault = fault;
	return -EPROTO;
}

void vg_vq_init(struct vg_vq *vq, struct vg_mem *mem, unsigned int segs_max)
{
	*vq = (struct vg_vq){ .mem = mem, .segs_max = segs_max };
	/*
	 * A driver may hand over a table with room to spare; a chain longer
	 * than segs_max is refused while it is walked.
	 */
	vq->table_max = max_u(segs_max, 1024u);
	vq->segs = vg_calloc(segs_max, sizeof(*vq->segs));
	vq->table = vg_calloc(vq->table_max, sizeof(*vq->table));
}

void vg_vq_exit(struct vg_vq *vq)
{
	vg_vq_unmap(vq);
	free(vq->segs);
	free(vq->table);
	free(vq->inflight.batch);
	free(vq->redo);
	vq->segs = NULL;
	vq->table = NULL;
	vq->inflight.batch = NULL;
	vq->redo = NULL;
}

void vg_vq_set_log(struct vg_vq *vq, struct vg_queue_log *log)
{
	vq->inflight.log = log;
	vq->inflight.batch = vg_calloc(VG_INFLIGHT_HEADS_MAX,
				       sizeof(*vq->inflight.batch));
	vq->redo = vg_calloc(VG_INFLIGHT_HEADS_MAX, sizeof(*vq->redo));
}

void vg_vq_drop_log(struct vg_vq *vq)
{
	free(vq->inflight.batch);
	free(vq->redo);
	vq->inflight.batch = NULL;
	vq->redo = NULL;
	vq->inflight.log = NULL;
}

static size_t desc_bytes(const struct vg_vq_config *c)
{
	return sizeof(struct vring_desc) * c->num;
}

static size_t avail_bytes(const struct vg_vq_config *c)
{
	return sizeof(struct vring_avail) + 2u * c->num +
	       (c->event_idx ? 2u : 0u);
}

static size_t used_bytes(const struct vg_vq_config *c)
{
	return sizeof(struct vring_used) +
	       sizeof(struct vring_used_elem) * c->num +
	       (c->event_idx ? 2u : 0u);
}

static int map_part(struct vg_vq *vq, uint64_t addr, uint64_t align_bytes,
		    size_t len_bytes, int prot, void **va)
{
	enum vg_mem_fault fault = VG_MEM_OK;
	int err;

	if (addr % align_bytes)
		return vq_break(vq, VG_BROKEN_RING_ADDRESS, addr);
	err = vq->mem->ops->map_ring(vq->mem, addr, len_bytes, prot, va,
				     &fault);
	if (!err || err == -EAGAIN)
		return err;
	vq_break_address(vq, VG_BROKEN_RING_ADDRESS, fault, addr);
	return err;
}

/* Everything but the indices. */
static int map_parts(struct vg_vq *vq, const struct vg_vq_config *cfg)
{
	const struct vg_mem_ops *ops = vq->mem->ops;
	void *desc, *avail, *used;
	int err;

	vq->cfg = *cfg;
	vq->broken = VG_BROKEN_NOT;
	if (!cfg->num || cfg->num > VG_VQ_NUM_MAX ||
	    cfg->num & (cfg->num - 1) ||
	    (vq->inflight.log && cfg->num > VG_INFLIGHT_HEADS_MAX))
		return vq_break(vq, VG_BROKEN_QUEUE_SIZE, cfg->num);

	err = map_part(vq, cfg->desc_addr, DESC_ALIGN_BYTES, desc_bytes(cfg),
		       PROT_READ, &desc);
	if (err)
		return err;
	err = map_part(vq, cfg->driver_addr, AVAIL_ALIGN_BYTES,
		       avail_bytes(cfg), PROT_READ, &avail);
	if (err)
		goto unmap_desc;
	err = map_part(vq, cfg->device_addr, USED_ALIGN_BYTES, used_bytes(cfg),
		       PROT_READ | PROT_WRITE, &used);
	if (err)
		goto unmap_avail;

	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	vq->last_avail = vq->avail_seen = 0;
	vq->used_next = vq->used_published = vq->used_asked = 0;
	vq->is_notify_off = false;
	vq->nr_redo = vq->redo_at = 0;
	vq->is_redone = false;
	vq->is_resumed = false;
	vq->is_mapped = true;
	return 0;

unmap_avail:
	ops->unmap_ring(vq->mem, avail, avail_bytes(cfg));
unmap_desc:
	ops->unmap_ring(vq->mem, desc, desc_bytes(cfg));
	return err;
}

int vg_vq_map(struct vg_vq *vq, const struct vg_vq_config *cfg)
{
	int err = map_parts(vq, cfg);

	if (!err)
		vg_inflight_clear(&vq->inflight, cfg->num);
	return err;
}

void vg_vq_unmap(struct vg_vq *vq)
{
	const struct vg_vq_config *cfg = &vq->cfg;

	if (!vq->is_mapped)
		return;
	vq->is_mapped = false;
	vq->mem->ops->unmap_ring(vq->mem, vq->used, used_bytes(cfg));
	vq->mem->ops->unmap_ring(vq->mem, (void *)(uintptr_t)vq->avail,
				 avail_bytes(cfg));
	vq->mem->ops->unmap_ring(vq->mem, (void *)(uintptr_t)vq->desc,
				 desc_bytes(cfg));
	vq->desc = NULL;
	vq->avail = NULL;
	vq->used = NULL;
}

/* ---- available ring ----------------------------------------------------- */

/*
 * Reads avail->idx.  The driver can have at most num buffers outstanding that
 * we have not shown as used; an index that says more, or that went back, is
 * garbage, and with it the bound on everything that follows would be gone.
 */
static int avail_fetch(struct vg_vq *vq)
{
	uint16_t idx, outstanding, fresh;

	/* Partner: the driver's write barrier between entries and idx. */
	idx = le16toh(load_acquire(&vq->avail->idx));
	fresh = (uint16_t)(idx - vq->last_avail);
	outstanding = (uint16_t)(idx - vq->used_published);
	if (fresh > vq->cfg.num || outstanding > vq->cfg.num)
		return vq_break(vq, VG_BROKEN_AVAIL_INDEX, idx);
	vq->avail_seen = idx;
	return 0;
}

static uint16_t index_mask(const struct vg_vq *vq)
{
	return (uint16_t)(vq->cfg.num - 1);
}

/* Where an entry of either ring lies. */
static uint16_t entry_of(const struct vg_vq *vq, uint16_t index)
{
	return index & index_mask(vq);
}

/* ---- descriptors -------------------------------------------------------- */

/* A private, native-endian copy; each word of the original is read once. */
struct desc_copy {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct desc_copy desc_fetch(const struct vring_desc *d)
{
	return (struct desc_copy){
		.addr = le64toh(READ_ONCE(d->addr)),
		.len = le32toh(READ_ONCE(d->len)),
		.flags = le16toh(READ_ONCE(d->flags)),
		.next = le16toh(READ_ONCE(d->next)),
	};
}

static int chain_add(struct vg_vq *vq, struct vg_chain *c,
		     const struct desc_copy *d)
{
	bool writes = d->flags & VRING_DESC_F_WRITE;
	uint64_t total = (uint64_t)c->out_bytes + c->in_bytes + d->len;

	if (!d->len)
		return vq_break(vq, VG_BROKEN_ZERO_LEN, d->addr);
	if (!writes && c->in_bytes)
		return vq_break(vq, VG_BROKEN_ORDER, d->addr);
	if (c->nr_segs == vq->segs_max)
		return vq_break(vq, VG_BROKEN_TOO_LONG, c->nr_segs + 1u);
	/* 2.7.5.2: no chain of more than 2^32 bytes; we say less. */
	if (total > UINT32_MAX)
		return vq_break(vq, VG_BROKEN_TOO_LONG, total);

	vq->segs[c->nr_segs++] = (struct vg_seg){
		.addr = d->addr, .len_bytes = d->len, .dev_writes = writes,
	};
	if (writes)
		c->in_bytes += d->len;
	else
		c->out_bytes += d->len;
	return 0;
}

/* 2.7.5.3.  The whole table is copied first; only the copy is walked. */
static int walk_indirect(struct vg_vq *vq, struct vg_chain *c,
			 const struct desc_copy *ind)
{
	unsigned int n = ind->len / sizeof(struct vring_desc);
	enum vg_mem_fault fault = VG_MEM_OK;
	unsigned int seen, i = 0;
	int err;

	if (!vq->cfg.indirect || ind->flags & VRING_DESC_F_NEXT)
		return vq_break(vq, VG_BROKEN_INDIRECT, ind->flags);
	if (!ind->len || ind->len % sizeof(struct vring_desc))
		return vq_break(vq, VG_BROKEN_INDIRECT, ind->len);
	if (n > vq->table_max)
		return vq_break(vq, VG_BROKEN_TOO_LONG, n);
	err = vq->mem->ops->read(vq->mem, ind->addr, vq->table, ind->len,
				 &fault);
	if (err == -EAGAIN)
		return err;
	if (err)
		return vq_break_address(vq, VG_BROKEN_ADDRESS, fault,
					ind->addr);

	for (seen = 0; seen < n; seen++) {
		struct desc_copy d = desc_fetch(&vq->table[i]);

		if (d.flags & VRING_DESC_F_INDIRECT)
			return vq_break(vq, VG_BROKEN_INDIRECT, d.flags);
		err = chain_add(vq, c, &d);
		if (err)
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		if (d.next >= n)
			return vq_break(vq, VG_BROKEN_NEXT, d.next);
		i = d.next;
	}
	return vq_break(vq, VG_BROKEN_LOOP, n);
}

static int walk_chain(struct vg_vq *vq, struct vg_chain *c)
{
	unsigned int seen, i = c->head;

	for (seen = 0; seen < vq->cfg.num; seen++) {
		struct desc_copy d = desc_fetch(&vq->desc[i]);
		int err;

		if (d.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(vq, c, &d);
		err = chain_add(vq, c, &d);
		if (err)
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		if (d.next >= vq->cfg.num)
			return vq_break(vq, VG_BROKEN_NEXT, d.next);
		i = d.next;
	}
	return vq_break(vq, VG_BROKEN_LOOP, vq->cfg.num);
}

/* ---- taking chains ------------------------------------------------------ */

static void redo_count(struct vg_vq *vq, uint16_t head, int by)
{
	if (vq->is_resumed)
		return;
	if (vq->waits)
		count_add(vq->inflight.log->redone, by);
	else
		vg_inflight_redo_count(&vq->inflight, head, by);
}

/* The next chain that a predecessor had taken and not finished. */
static int pop_redo(struct vg_vq *vq, struct vg_chain *c)
{
	int err;

	*c = (struct vg_chain){ .segs = vq->segs };
	c->head = vq->redo[vq->redo_at];
	if (!vq->waits &&
	    vg_inflight_redone(&vq->inflight, c->head) >= REDONE_MAX)
		return vq_break(vq, VG_BROKEN_DEADLY, c->head);
	err = walk_chain(vq, c);
	if (err)
		return err;
	redo_count(vq, c->head, 1);
	vq->redo_at++;
	vq->is_redone = true;
	return 1;
}

static void unpop_redo(struct vg_vq *vq)
{
	redo_count(vq, vq->redo[--vq->redo_at], -1);
}

int vg_vq_pop(struct vg_vq *vq, struct vg_chain *c)
{
	int err;

	if (vq->broken || !vq->is_mapped)
		return -EPROTO;
	if (vq->redo_at < vq->nr_redo)
		return pop_redo(vq, c);
	vq->is_redone = false;
	if (vq->last_avail == vq->avail_seen) {
		err = avail_fetch(vq);
		if (err)
			return err;
		if (vq->last_avail == vq->avail_seen)
			return 0;
	}

	*c = (struct vg_chain){ .segs = vq->segs };
	c->head = le16toh(READ_ONCE(
			vq->avail->ring[entry_of(vq, vq->last_avail)]));
	if (c->head >= vq->cfg.num)
		return vq_break(vq, VG_BROKEN_HEAD, c->head);
	err = walk_chain(vq, c);
	if (err)
		return err;
	/* A head that is under way already is no driver's doing. */
	if (vq->inflight.log && !vg_inflight_taken(&vq->inflight, c->head))
		return vq_break(vq, VG_BROKEN_UNDER_WAY, c->head);
	vq->last_avail++;
	return 1;
}

void vg_vq_unpop(struct vg_vq *vq)
{
	if (vq->is_redone)
		return unpop_redo(vq);
	vq->last_avail--;
	if (vq->inflight.log)
		vg_inflight_untaken(&vq->inflight);
}

/* ---- notifications ------------------------------------------------------ */

static uint16_t *avail_event(struct vg_vq *vq)
{
	return (uint16_t *)&vq->used->ring[vq->cfg.num];
}

static const uint16_t *used_event(const struct vg_vq *vq)
{
	return &vq->avail->ring[vq->cfg.num];
}

void vg_vq_busy(struct vg_vq *vq)
{
	/* With EVENT_IDX the old avail_event already lies behind. */
	if (vq->cfg.event_idx || vq->is_notify_off || !vq->is_mapped)
		return;
	WRITE_ONCE(vq->used->flags, htole16(VRING_USED_F_NO_NOTIFY));
	vq->is_notify_off = true;
}

bool vg_vq_sleep(struct vg_vq *vq)
{
	if (vq->broken || !vq->is_mapped)
		return true;
	if (vq->cfg.event_idx) {
		WRITE_ONCE(*avail_event(vq), htole16(vq->last_avail));
	} else if (vq->is_notify_off) {
		WRITE_ONCE(vq->used->flags, 0);
		vq->is_notify_off = false;
	}
	/*
	 * The request to be notified is out before we look a last time.
	 * Partner: the driver's full barrier between its store to avail->idx
	 * and its load of avail_event (or flags).
	 */
	smp_mb();
	return avail_fetch(vq) == 0 && vq->avail_seen == vq->last_avail;
}

/* ---- used ring ---------------------------------------------------------- */

void vg_vq_push(struct vg_vq *vq, uint16_t head, uint32_t len_bytes)
{
	struct vring_used_elem *e;

	if (vq->broken || !vq->is_mapped)
		return;
	/* Never over an entry the driver has not seen: see avail_fetch(). */
	e = &vq->used->ring[entry_of(vq, vq->used_next)];
	vg_step();
	WRITE_ONCE(e->id, htole32(head));
	vg_step();
	WRITE_ONCE(e->len, htole32(len_bytes));
	if (vq->inflight.log)
		vg_inflight_done(&vq->inflight, head, vq->used_next,
				 index_mask(vq), len_bytes);
	vq->used_next++;
}

bool vg_vq_has_unpublished(const struct vg_vq *vq)
{
	return vq->used_next != vq->used_published;
}

/* Whether @event lies in the batch (@old, @next]: virtio 1.3, 2.7.10. */
static bool need_event(uint16_t event, uint16_t next, uint16_t old)
{
	return (uint16_t)(next - event - 1) < (uint16_t)(next - old);
}

void vg_vq_show(struct vg_vq *vq)
{
	uint16_t old = vq->used_published, next = vq->used_next;

	if (vq->broken || !vq->is_mapped || old == next)
		return;
	if (vq->inflight.log)
		vg_inflight_publishing(&vq->inflight, next);
	/* Partner: the driver's read barrier between idx and the entries. */
	store_release(&vq->used->idx, htole16(next));
	vq->used_published = next;
	if (vq->inflight.log)
		vg_inflight_published(&vq->inflight, old, next,
				      index_mask(vq));
}

bool vg_vq_wants_event(struct vg_vq *vq)
{
	uint16_t old = vq->used_asked, next = vq->used_published;

	if (vq->broken || !vq->is_mapped || old == next)
		return false;
	vq->used_asked = next;
	/*
	 * The index is out before we ask whether the driver sleeps.  Partner:
	 * the driver's full barrier between its store to used_event (or
	 * flags) and its last look at used->idx.
	 */
	smp_mb();
	if (vq->cfg.event_idx)
		return need_event(le16toh(READ_ONCE(*used_event(vq))), next,
				  old);
	return !(le16toh(READ_ONCE(vq->avail->flags)) &
		 VRING_AVAIL_F_NO_INTERRUPT);
}

unsigned int vg_vq_unasked(const struct vg_vq *vq)
{
	return (uint16_t)(vq->used_published - vq->used_asked);
}

unsigned int vg_vq_depth(const struct vg_vq *vq)
{
	uint16_t seen = vq->used_published;

	if (!vq->is_mapped)
		return 0;
	if (vq->cfg.event_idx)
		seen = le16toh(READ_ONCE(*used_event(vq)));
	return min_u((uint16_t)(vq->avail_seen - seen), vq->cfg.num);
}

/* ---- taking over -------------------------------------------------------- */

static int take_over(struct vg_vq *vq, struct vg_inflight_found *found,
		     bool drops)
{
	uint16_t idx = le16toh(READ_ONCE(vq->used->idx));
	unsigned int i;
	uint64_t bad;

	if (vg_inflight_gather(&vq->inflight, vq->cfg.num, idx, found, &bad))
		return vq_break(vq, VG_BROKEN_STATE, bad);
	vq->last_avail = vq->avail_seen = (uint16_t)vq->inflight.taken;
	vq->used_next = vq->used_published = vq->used_asked = idx;
	/* Its entry may not have been written; now it is. */
	for (i = 0; i < found->nr_done; i++)
		vg_vq_push(vq, found->done[i].head, found->done[i].len_bytes);
	for (i = 0; i < found->nr_redo; i++)
		if (drops)
			vg_vq_push(vq, found->redo[i].head, 0);
		else
			vq->redo[vq->nr_redo++] = found->redo[i].head;
	/* Unknown; so that vg_vq_sleep() clears it in any case. */
	vq->is_notify_off = true;
	return 0;
}

int vg_vq_take_over(struct vg_vq *vq, const struct vg_vq_config *cfg,
		    bool drops, bool waits)
{
	struct vg_inflight_found found;
	int err = map_parts(vq, cfg);

	vq->waits = waits;
	if (err)
		return err;
	found.done = vg_calloc(2 * cfg->num, sizeof(*found.done));
	found.redo = found.done + cfg->num;
	err = take_over(vq, &found, drops);
	free(found.done);
	if (err)
		vg_vq_unmap(vq);
	return err;
}

int vg_vq_resume(struct vg_vq *vq, const struct vg_vq_config *cfg, bool drops,
		 bool waits)
{
	int err = vg_vq_take_over(vq, cfg, drops, waits);

	vq->is_resumed = !err;
	return err;
}
