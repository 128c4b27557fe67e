// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ring.c - the walk of a split virtqueue (virtio 1.3, 2.7).
 *
 * Not trusted: the guest.  See virtqueue.h for the rules that follow.
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
 * and is not tried once more.
 */
#define REDONE_MAX		8u

/* Order within this process: see state.h. */
#define order()			__atomic_signal_fence(__ATOMIC_SEQ_CST)

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
	free(vq->batch);
	free(vq->redo);
	vq->segs = NULL;
	vq->table = NULL;
	vq->batch = NULL;
	vq->redo = NULL;
}

void vg_vq_set_log(struct vg_vq *vq, struct vg_queue_log *log)
{
	vq->log = log;
	vq->batch = vg_calloc(VG_STATE_HEADS_MAX, sizeof(*vq->batch));
	vq->redo = vg_calloc(VG_STATE_HEADS_MAX, sizeof(*vq->redo));
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
	    (vq->log && cfg->num > VG_STATE_HEADS_MAX))
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
	vq->taken = 0;
	vq->nr_redo = vq->redo_at = 0;
	vq->is_redone = false;
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

	if (!err && vq->log)
		vg_queue_log_init(vq->log, cfg->num);
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

/* ---- available ring ------------------------------------------------------- */

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

static uint16_t ring_slot(const struct vg_vq *vq, uint16_t index)
{
	return index & (uint16_t)(vq->cfg.num - 1);
}

/* ---- descriptors ---------------------------------------------------------- */

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

/* ---- the log (state.h) ------------------------------------------------------ */

static void log_head(struct vg_vq *vq, uint16_t head, uint64_t word)
{
	vg_step();
	WRITE_ONCE(vq->log->heads[head], word);
	order();
}

static void log_taken(struct vg_vq *vq)
{
	vg_step();
	WRITE_ONCE(vq->log->taken, vq->taken);
	order();
}

/* A head that is under way already is no driver's doing. */
static int log_take(struct vg_vq *vq, uint16_t head)
{
	if (READ_ONCE(vq->log->heads[head]) & VG_HEAD_STATE)
		return vq_break(vq, VG_BROKEN_UNDER_WAY, head);
	log_head(vq, head, VG_HEAD_TAKEN | vq->taken);
	vq->taken++;
	log_taken(vq);
	vq->last_head = head;
	return 0;
}

static uint64_t redone_add(uint64_t word, int n)
{
	return word + ((uint64_t)n << VG_HEAD_REDONE_SHIFT);
}

static unsigned int redone_of(uint64_t word)
{
	return word >> VG_HEAD_REDONE_SHIFT & VG_HEAD_REDONE_MAX;
}

/* The next chain that a predecessor had taken and not finished. */
static int pop_redo(struct vg_vq *vq, struct vg_chain *c)
{
	uint64_t word;
	int err;

	*c = (struct vg_chain){ .segs = vq->segs };
	c->head = vq->redo[vq->redo_at];
	word = READ_ONCE(vq->log->heads[c->head]);
	if (redone_of(word) >= REDONE_MAX)
		return vq_break(vq, VG_BROKEN_DEADLY, c->head);
	err = walk_chain(vq, c);
	if (err)
		return err;
	log_head(vq, c->head, redone_add(word, 1));
	count_add(vq->log->redone, 1);
	vq->redo_at++;
	vq->is_redone = true;
	return 1;
}

static void unpop_redo(struct vg_vq *vq)
{
	uint16_t head = vq->redo[--vq->redo_at];

	log_head(vq, head, redone_add(vq->log->heads[head], -1));
	count_add(vq->log->redone, -1);
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
			vq->avail->ring[ring_slot(vq, vq->last_avail)]));
	if (c->head >= vq->cfg.num)
		return vq_break(vq, VG_BROKEN_HEAD, c->head);
	err = walk_chain(vq, c);
	if (!err && vq->log)
		err = log_take(vq, c->head);
	if (err)
		return err;
	vq->last_avail++;
	return 1;
}

void vg_vq_unpop(struct vg_vq *vq)
{
	if (vq->is_redone)
		return unpop_redo(vq);
	vq->last_avail--;
	if (!vq->log)
		return;
	/* The other way round: a TAKEN that is not below `taken` is none. */
	vq->taken--;
	log_taken(vq);
	log_head(vq, vq->last_head, 0);
}

/* ---- notifications -------------------------------------------------------- */

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

/* ---- used ring ------------------------------------------------------------ */

static uint64_t done_word(uint16_t index, uint32_t len_bytes)
{
	return VG_HEAD_DONE | (uint64_t)index << 32 | len_bytes;
}

static void log_publishing(struct vg_vq *vq, uint16_t next)
{
	vg_step();
	WRITE_ONCE(vq->log->publishing, next);
	order();
	vg_step();
}

static void log_published(struct vg_vq *vq, uint16_t old, uint16_t next)
{
	order();
	vg_step();
	WRITE_ONCE(vq->log->published, next);
	order();
	for (; old != next; old++)
		log_head(vq, vq->batch[ring_slot(vq, old)], 0);
	vg_step();
}

void vg_vq_push(struct vg_vq *vq, uint16_t head, uint32_t len_bytes)
{
	struct vring_used_elem *e;

	if (vq->broken || !vq->is_mapped)
		return;
	/* Never over an entry the driver has not seen: see avail_fetch(). */
	e = &vq->used->ring[ring_slot(vq, vq->used_next)];
	vg_step();
	WRITE_ONCE(e->id, htole32(head));
	vg_step();
	WRITE_ONCE(e->len, htole32(len_bytes));
	if (vq->log) {
		order();
		vq->batch[ring_slot(vq, vq->used_next)] = head;
		log_head(vq, head, done_word(vq->used_next, len_bytes));
	}
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
	if (vq->log)
		log_publishing(vq, next);
	/* Partner: the driver's read barrier between idx and the entries. */
	store_release(&vq->used->idx, htole16(next));
	vq->used_published = next;
	if (vq->log)
		log_published(vq, old, next);
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

bool vg_vq_publish(struct vg_vq *vq)
{
	vg_vq_show(vq);
	return vg_vq_wants_event(vq);
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

/* ---- taking over ------------------------------------------------------------ */

/*
 * What the log says of one head, in the terms of the successor: sorted by
 * `key`, what is to be executed again by when it was taken, what is to be
 * shown by its used index.
 */
struct log_entry {
	uint64_t key;
	uint16_t head;
	uint32_t len_bytes;
};

static int by_key(const void *a, const void *b)
{
	const struct log_entry *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

static int state_broken(struct vg_vq *vq, uint64_t value)
{
	return vq_break(vq, VG_BROKEN_STATE, value);
}

/*
 * Whether the last batch was shown.  The guest could have written another
 * index: then nobody can say any more what it was shown.
 */
static int settle_published(struct vg_vq *vq, uint16_t *published)
{
	uint16_t next = READ_ONCE(vq->log->publishing);
	uint16_t old = READ_ONCE(vq->log->published);
	uint16_t idx = le16toh(READ_ONCE(vq->used->idx));

	if (idx != old && idx != next)
		return state_broken(vq, idx);
	if ((uint16_t)(next - old) > vq->cfg.num)
		return state_broken(vq, next);
	*published = idx;
	return 0;
}

/* 1: *e is TAKEN; 2: *e is DONE; 0: free.  -EPROTO: it can't be. */
static int log_read(struct vg_vq *vq, uint16_t head, uint64_t taken,
		    uint16_t published, struct log_entry *e)
{
	uint64_t word = READ_ONCE(vq->log->heads[head]);
	uint64_t seq = word & VG_HEAD_SEQ;
	uint16_t index = (uint16_t)(word >> 32);

	*e = (struct log_entry){ .head = head };
	switch (word & VG_HEAD_STATE) {
	case 0:
		return 0;
	case VG_HEAD_TAKEN:
		if (seq == taken)
			return 0;		/* killed while taking it */
		e->key = seq;
		return seq < taken ? 1 : state_broken(vq, word);
	case VG_HEAD_DONE:
		if ((uint16_t)(published - 1 - index) < vq->cfg.num)
			return 0;		/* killed after showing it */
		e->key = (uint16_t)(index - published);
		e->len_bytes = (uint32_t)word;
		return e->key < vq->cfg.num ? 2 : state_broken(vq, word);
	}
	return state_broken(vq, word);
}

/* Reads all heads into @redo and @done and frees those that are neither. */
static int log_gather(struct vg_vq *vq, uint64_t taken, uint16_t published,
		      struct log_entry *redo, unsigned int *nr_redo,
		      struct log_entry *done, unsigned int *nr_done)
{
	struct log_entry e;
	unsigned int head;

	for (head = 0; head < vq->cfg.num; head++) {
		int n = log_read(vq, (uint16_t)head, taken, published, &e);

		if (n < 0)
			return n;
		if (n == 1)
			redo[(*nr_redo)++] = e;
		else if (n == 2)
			done[(*nr_done)++] = e;
		else if (vq->log->heads[head])
			log_head(vq, (uint16_t)head, 0);
	}
	return 0;
}

static int take_over(struct vg_vq *vq, struct log_entry *redo,
		     struct log_entry *done)
{
	uint64_t taken = READ_ONCE(vq->log->taken);
	unsigned int nr_redo = 0, nr_done = 0, i;
	uint16_t published;
	int err;

	err = settle_published(vq, &published);
	if (!err)
		err = log_gather(vq, taken, published, redo, &nr_redo, done,
				 &nr_done);
	if (err)
		return err;
	/* Whatever was taken is either shown, or one of these. */
	if (nr_redo + nr_done != (uint16_t)(taken - published))
		return state_broken(vq, nr_redo + nr_done);
	qsort(redo, nr_redo, sizeof(*redo), by_key);
	qsort(done, nr_done, sizeof(*done), by_key);
	for (i = 0; i < nr_done; i++)
		if (done[i].key != i)
			return state_broken(vq, done[i].key);

	log_publishing(vq, published);
	WRITE_ONCE(vq->log->published, published);
	vq->taken = taken;
	vq->last_avail = vq->avail_seen = (uint16_t)taken;
	vq->used_next = vq->used_published = vq->used_asked = published;
	for (i = 0; i < nr_redo; i++)
		vq->redo[i] = redo[i].head;
	vq->nr_redo = nr_redo;
	/* Its entry may not have been written; now it is. */
	for (i = 0; i < nr_done; i++)
		vg_vq_push(vq, done[i].head, done[i].len_bytes);
	/* Unknown; so that vg_vq_sleep() clears it in any case. */
	vq->is_notify_off = true;
	return 0;
}

int vg_vq_take_over(struct vg_vq *vq, const struct vg_vq_config *cfg)
{
	struct log_entry *entries;
	int err = map_parts(vq, cfg);

	if (err)
		return err;
	entries = vg_calloc(2 * cfg->num, sizeof(*entries));
	err = take_over(vq, entries, entries + cfg->num);
	free(entries);
	if (err)
		vg_vq_unmap(vq);
	return err;
}
