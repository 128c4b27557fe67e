// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmio.c - the virtio-mmio registers as operations of a device: see mmio.h.
 *
 * Not trusted: the guest, which reads and writes anything in any order from
 * several vCPUs.  What makes no sense reads 0, is ignored when written, and
 * is counted in bad_accesses.
 *
 * Selectors, halves of 64-bit values and the states that can be read back are
 * kept here, the rest is the device's.  A write is answered when what it asks
 * for is over: at once, or when the device says so.  The answer is saved with
 * what the write did: a successor is asked again when the link has not had the
 * answer, and gives it without doing it again.
 *
 * The broker answers QueueNotify, InterruptStatus and InterruptACK itself.
 */
#include "transport/mmio.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>

#include "kernel/uapi/virtio_grant.h"
#include "lib/util.h"
#include "transport/extension.h"
#include "transport/mmio_regs.h"

_Static_assert(VG_NOTIFY_USED == VIRTIO_MMIO_INT_VRING, "InterruptStatus");
_Static_assert(VG_NOTIFY_CONFIG == VIRTIO_MMIO_INT_CONFIG, "InterruptStatus");

/* What the driver selected, and reads back. */
struct selected {
	uint32_t offered, driver, queue;	/* *Sel */
	uint32_t range, range_first, range_pages;
	uint32_t range_state[VG_MEM_RANGES_MAX]; /* VIRTIO_GRANT_RANGE_* */
	uint32_t port_state[VG_STATE_QUEUES_MAX];	/* ..._QUEUE_* */
};

/* The last write of a vCPU that was carried out. */
struct answer {
	uint32_t seq, data;
};

/* What a successor has to know; as it stands in the state. */
struct saved {
	struct selected sel;
	struct vg_mmio_link_id link;
	uint32_t reserved;
	struct answer answered[VG_MMIO_VCPUS_MAX];
};

_Static_assert(sizeof(struct saved) <= VG_STATE_TRANSPORT_BYTES, "state");

/* The write of one vCPU that waits for an operation: it has one at a time. */
struct waiter {
	bool is_waiting;
	uint32_t seq;
	enum vg_op op;
	unsigned int index;
};

struct vg_mmio {
	const struct vg_mmio_link_ops *ops;
	void *link;
	struct vg_device *dev;
	const struct vg_device_info *info;
	struct saved s;
	struct waiter waiters[VG_MMIO_VCPUS_MAX];
	uint32_t withdrawing;		/* bit per range: not over */
	uint32_t undelivered;		/* bits that there was no link for */
};

static void bad_access(struct vg_mmio *m)
{
	vg_device_count_bad(m->dev);
}

static void set_half(uint64_t *v, bool high, uint32_t half)
{
	if (high)
		*v = (*v & UINT32_MAX) | (uint64_t)half << 32;
	else
		*v = (*v & ~(uint64_t)UINT32_MAX) | half;
}

/* ---- answers ------------------------------------------------------------ */

static void answer(struct vg_mmio *m, unsigned int vcpu, uint32_t seq,
		   bool is_write, uint32_t data)
{
	if (is_write) {
		m->s.answered[vcpu] = (struct answer){ seq, data };
		vg_device_save(m->dev);
	}
	m->ops->reply(m->link, vcpu, seq, data);
}

static bool was_answered(const struct vg_mmio *m,
			 const struct vg_reg_access *acc, uint32_t *data)
{
	const struct answer *a = &m->s.answered[acc->vcpu];

	if (!vg_device_has_state(m->dev) || !acc->seq || a->seq != acc->seq)
		return false;
	*data = a->data;
	return true;
}

/* The answer to @acc comes when the operation is over. */
static bool wait_for(struct vg_mmio *m, const struct vg_reg_access *acc,
		     enum vg_op op, unsigned int index)
{
	m->waiters[acc->vcpu] = (struct waiter){ true, acc->seq, op, index };
	return true;
}

static void waiters_answer(struct vg_mmio *m, enum vg_op op,
			   unsigned int index)
{
	unsigned int i;

	for (i = 0; i < VG_MMIO_VCPUS_MAX; i++) {
		struct waiter *w = &m->waiters[i];

		/* A reset ends whatever else was under way. */
		if (!w->is_waiting ||
		    (op != VG_OP_RESET && (w->op != op || w->index != index)))
			continue;
		w->is_waiting = false;
		answer(m, i, w->seq, true, 0);
	}
}

/* ---- features, status --------------------------------------------------- */

static uint32_t features_read(const struct vg_mmio *m)
{
	switch (m->s.sel.offered) {
	case 0:
		return (uint32_t)m->info->features;
	case 1:
		return (uint32_t)(m->info->features >> 32);
	default:
		return 0;
	}
}

static void features_write(struct vg_mmio *m, uint32_t data)
{
	uint64_t f = vg_device_features(m->dev);

	if (m->s.sel.driver < 2)
		set_half(&f, m->s.sel.driver, data);
	if (vg_device_set_features(m->dev, f) ||
	    (m->s.sel.driver >= 2 && data))
		bad_access(m);
}

/* Returns whether the answer will come later. */
static bool status_write(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	if (acc->data) {
		if (vg_device_set_status(m->dev, acc->data))
			bad_access(m);
		return false;
	}
	/* Before: it may be over from within. */
	wait_for(m, acc, VG_OP_RESET, 0);
	vg_device_reset(m->dev);
	return true;
}

/* ---- queues ------------------------------------------------------------- */

static void queue_write(struct vg_mmio *m, uint32_t offset, uint32_t data)
{
	struct vg_vq_config c;
	bool high = offset & 4;

	if (vg_device_queue_config(m->dev, m->s.sel.queue, &c))
		return bad_access(m);
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		c.num = data;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&c.desc_addr, high, data);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&c.driver_addr, high, data);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&c.device_addr, high, data);
		break;
	}
	if (vg_device_queue_setup(m->dev, m->s.sel.queue, &c))
		bad_access(m);
}

/* Returns whether the answer will come later. */
static bool queue_enable(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	uint32_t queue = m->s.sel.queue;
	int err;

	err = vg_device_queue_enable(m->dev, queue);
	if (err < 0)
		bad_access(m);
	return err == VG_LATER && wait_for(m, acc, VG_OP_QUEUE_ENABLE, queue);
}

/* Returns whether the answer will come later. */
static bool queue_stop(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	uint32_t queue = m->s.sel.queue;
	int err;

	/* Before: it may be over from within. */
	wait_for(m, acc, VG_OP_QUEUE_STOP, queue);
	err = vg_device_queue_stop(m->dev, queue);
	if (err == VG_LATER)
		return true;
	m->waiters[acc->vcpu].is_waiting = false;
	bad_access(m);
	return err == -EBUSY && wait_for(m, acc, VG_OP_RESET, 0);
}

/* ---- the configuration space (4.2.2) ------------------------------------ */

static uint32_t config_read(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	uint32_t v = 0;

	if (acc->offset % acc->len_bytes ||
	    vg_device_config_read(m->dev, acc->offset - VIRTIO_MMIO_CONFIG, &v,
				  acc->len_bytes))
		bad_access(m);
	return le32toh(v);
}

static void config_write(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	uint32_t v = htole32(acc->data);

	if (acc->offset % acc->len_bytes ||
	    vg_device_config_write(m->dev, acc->offset - VIRTIO_MMIO_CONFIG, &v,
				   acc->len_bytes))
		bad_access(m);
}

/* ---- the extension (kernel/uapi/virtio_grant.h) ------------------------- */

static void range_is_over(struct vg_mmio *m, enum vg_op op, unsigned int i,
			  int err)
{
	uint32_t *state = &m->s.sel.range_state[i];

	if (err == -ECANCELED)
		return;
	if (op == VG_OP_RANGE_ADD) {
		*state = vg_extension_range_state(err);
		return;
	}
	m->withdrawing &= ~(1u << i);
	*state = err ? VIRTIO_GRANT_RANGE_IN_USE : VIRTIO_GRANT_RANGE_NONE;
}

/* Returns whether the answer will come later. */
static bool range_write(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	enum vg_op op = acc->data ? VG_OP_RANGE_ADD : VG_OP_RANGE_REMOVE;
	const struct selected *sel = &m->s.sel;
	uint32_t i = sel->range;
	int err;

	if (acc->data > 1 || i >= m->info->nr_ranges) {
		bad_access(m);
		return false;
	}
	if (op == VG_OP_RANGE_ADD) {
		err = vg_device_range_add(m->dev, i,
			virtio_grant_addr(sel->range_first, 0),
			(uint64_t)sel->range_pages << VIRTIO_GRANT_PAGE_SHIFT);
	} else {
		m->withdrawing |= 1u << i;
		err = vg_device_range_remove(m->dev, i);
	}
	if (err == -EPERM) {
		m->withdrawing &= ~(1u << i);
		bad_access(m);
	} else if (err != VG_LATER) {
		range_is_over(m, op, i, err);
	}
	return err == VG_LATER && wait_for(m, acc, op, i);
}

static void port_write(struct vg_mmio *m, uint32_t port)
{
	uint32_t queue = m->s.sel.queue;
	int err = vg_device_queue_bind(m->dev, queue, port);

	if (err == -ENOENT || err == -EINVAL)
		return bad_access(m);
	m->s.sel.port_state[queue] = !port ? VIRTIO_GRANT_QUEUE_NONE :
				     err ? VIRTIO_GRANT_QUEUE_REFUSED :
					   VIRTIO_GRANT_QUEUE_BOUND;
}

static uint32_t port_state(const struct vg_mmio *m)
{
	return m->s.sel.queue < m->info->nr_queues ?
	       m->s.sel.port_state[m->s.sel.queue] :
	       VIRTIO_GRANT_QUEUE_REFUSED;
}

/* False: no register of the extension's that can be read. */
static bool ext_read(const struct vg_mmio *m, uint32_t offset, uint32_t *data)
{
	const struct selected *sel = &m->s.sel;

	if (!vg_extension_caps(m->info))
		return false;
	switch (offset) {
	case VIRTIO_GRANT_MMIO_MAGIC:
		*data = VIRTIO_GRANT_MAGIC;
		return true;
	case VIRTIO_GRANT_MMIO_CAPS:
		*data = vg_extension_caps(m->info);
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_MAX:
		*data = m->info->nr_ranges;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_STATE:
		*data = sel->range < VG_MEM_RANGES_MAX ?
			sel->range_state[sel->range] :
			VIRTIO_GRANT_RANGE_INVALID;
		return true;
	case VIRTIO_GRANT_MMIO_QUEUE_STATE:
		*data = port_state(m);
		return true;
	case VIRTIO_GRANT_MMIO_EVENTS:
		*data = vg_device_queue_events(m->dev, sel->queue);
		return true;
	}
	return false;
}

/* As above, for writing; *later: the answer comes later. */
static bool ext_write(struct vg_mmio *m, const struct vg_reg_access *acc,
		      bool *later)
{
	struct selected *sel = &m->s.sel;

	*later = false;
	if (!vg_extension_caps(m->info))
		return false;
	switch (acc->offset) {
	case VIRTIO_GRANT_MMIO_RANGE_SEL:
		sel->range = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_FIRST:
		sel->range_first = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_PAGES:
		sel->range_pages = acc->data;
		return true;
	case VIRTIO_GRANT_MMIO_RANGE_STATE:
		*later = range_write(m, acc);
		return true;
	case VIRTIO_GRANT_MMIO_QUEUE_PORT:
		port_write(m, acc->data);
		return true;
	}
	return false;
}

/* ---- registers ---------------------------------------------------------- */

static uint32_t reg_read(struct vg_mmio *m, uint32_t offset)
{
	const struct selected *sel = &m->s.sel;
	uint32_t data;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return VG_MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VG_MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return m->info->virtio_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VG_MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return features_read(m);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vg_device_queue_num_max(m->dev, sel->queue);
	case VIRTIO_MMIO_QUEUE_READY:
		return vg_device_queue_is_enabled(m->dev, sel->queue);
	case VIRTIO_MMIO_QUEUE_RESET:
		return vg_device_queue_is_stopping(m->dev, sel->queue);
	case VIRTIO_MMIO_STATUS:
		return vg_device_status(m->dev);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;	/* no such region: -1 */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return vg_device_config_generation(m->dev);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return 0;		/* the broker's to answer */
	}
	if (ext_read(m, offset, &data))
		return data;
	if (offset >= VG_MMIO_EXT_FIRST && offset <= VG_MMIO_EXT_LAST)
		return 0;		/* "no extension", a fair question */
	bad_access(m);
	return 0;
}

/* Returns whether the answer will come later. */
static bool reg_write(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	struct selected *sel = &m->s.sel;
	bool later;

	switch (acc->offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		sel->offered = acc->data;
		return false;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		features_write(m, acc->data);
		return false;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		sel->driver = acc->data;
		return false;
	case VIRTIO_MMIO_QUEUE_SEL:
		sel->queue = acc->data;
		return false;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		queue_write(m, acc->offset, acc->data);
		return false;
	case VIRTIO_MMIO_QUEUE_READY:
		return acc->data ? queue_enable(m, acc) : queue_stop(m, acc);
	case VIRTIO_MMIO_QUEUE_RESET:
		if (acc->data == 1 && vg_device_features(m->dev) &
				      UINT64_C(1) << VIRTIO_F_RING_RESET)
			return queue_stop(m, acc);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		/* No VIRTIO_F_NOTIFICATION_DATA: the value is the index. */
		vg_device_queue_notify(m->dev, acc->data);
		return false;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		return false;		/* the broker's to handle */
	case VIRTIO_MMIO_STATUS:
		return status_write(m, acc);
	case VIRTIO_MMIO_SHM_SEL:
		return false;
	}
	if (ext_write(m, acc, &later))
		return later;
	bad_access(m);
	return false;
}

void vg_mmio_access(struct vg_mmio *m, const struct vg_reg_access *acc)
{
	bool is_config = acc->offset >= VIRTIO_MMIO_CONFIG;
	uint32_t data = 0;

	vg_device_count_access(m->dev);
	/*
	 * A vCPU has one access at a time: its link has given up what it waited
	 * for before.  An answer to that would come in the place of this one's.
	 */
	m->waiters[acc->vcpu].is_waiting = false;
	if (acc->is_write && was_answered(m, acc, &data)) {
		;
	} else if (is_config && acc->is_write) {
		config_write(m, acc);
	} else if (is_config) {
		data = config_read(m, acc);
	} else if (acc->len_bytes != 4 || acc->offset % 4) {
		bad_access(m);
	} else if (!acc->is_write) {
		data = reg_read(m, acc->offset);
	} else if (reg_write(m, acc)) {
		return;
	}
	answer(m, acc->vcpu, acc->seq, acc->is_write, data);
}

/* ---- from the device (struct vg_transport_ops) -------------------------- */

static void mmio_notify(void *transport, uint32_t what)
{
	struct vg_mmio *m = transport;

	if (!m->ops->raise(m->link, what))
		m->undelivered |= what;
}

static void mmio_notify_now(void *transport, uint32_t what)
{
	struct vg_mmio *m = transport;

	m->ops->raise_now(m->link, what);
}

static void mmio_over(void *transport, enum vg_op op, unsigned int index,
		      int err)
{
	struct vg_mmio *m = transport;

	if (op == VG_OP_RANGE_ADD || op == VG_OP_RANGE_REMOVE)
		range_is_over(m, op, index, err);
	waiters_answer(m, op, index);
}

static void mmio_reset(void *transport)
{
	struct vg_mmio *m = transport;

	m->s.sel = (struct selected){ 0 };
	m->withdrawing = 0;
}

/* A range that is being withdrawn is none any more, to a successor. */
static void mmio_save(void *transport, void *state)
{
	const struct vg_mmio *m = transport;
	struct saved *s = state;
	uint32_t left;

	*s = m->s;
	for (left = m->withdrawing; left; left &= left - 1)
		s->sel.range_state[__builtin_ctz(left)] =
			VIRTIO_GRANT_RANGE_NONE;
}

static void mmio_restore(void *transport, const void *state)
{
	struct vg_mmio *m = transport;

	if (state)
		memcpy(&m->s, state, sizeof(m->s));
	else
		memset(&m->s, 0, sizeof(m->s));
}

static void mmio_leave(void *transport)
{
	struct vg_mmio *m = transport;
	unsigned int i;

	for (i = 0; i < VG_MMIO_VCPUS_MAX; i++)
		if (m->waiters[i].op == VG_OP_QUEUE_ENABLE ||
		    m->waiters[i].op == VG_OP_RANGE_ADD)
			m->waiters[i].is_waiting = false;
}

const struct vg_transport_ops vg_mmio_transport_ops = {
	.notify = mmio_notify,
	.notify_now = mmio_notify_now,
	.over = mmio_over,
	.reset = mmio_reset,
	.save = mmio_save,
	.restore = mmio_restore,
	.leave = mmio_leave,
};

/* ---- life --------------------------------------------------------------- */

struct vg_mmio *vg_mmio_create(const struct vg_mmio_link_ops *ops, void *link)
{
	struct vg_mmio *m = vg_zalloc(sizeof(*m));

	m->ops = ops;
	m->link = link;
	return m;
}

void vg_mmio_set_device(struct vg_mmio *m, struct vg_device *dev)
{
	m->dev = dev;
	m->info = vg_device_info(dev);
}

void vg_mmio_destroy(struct vg_mmio *m)
{
	free(m);
}

void vg_mmio_set_link(struct vg_mmio *m, const struct vg_mmio_link_id *id)
{
	if (m->undelivered && m->ops->raise(m->link, m->undelivered))
		m->undelivered = 0;
	if (!memcmp(&m->s.link, id, sizeof(*id)))
		return;
	memset(m->s.answered, 0, sizeof(m->s.answered));
	memset(m->waiters, 0, sizeof(m->waiters));
	m->s.link = *id;
	vg_device_save(m->dev);
}
