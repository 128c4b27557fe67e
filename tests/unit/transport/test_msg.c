// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_msg.c - messages as operations of a device (backend/transport/msg.c):
 * each request that is not overtaken is answered once, whatever it is.
 */
#include "held.h"

#include "kernel/uapi/virtio_grant_bus.h"
#include "transport/msg.h"

#define BUS		0x100u
#define LIVE		(ST_ACK | ST_DRIVER | ST_FEATURES | ST_LIVE)

/* A worker that only remembers, over messages; its memory has ranges. */
static struct m {
	struct flat f;
	struct vg_mem_ops ops;
	struct vg_loop *loop;
	struct vg_device *dev;
	struct vg_msg *msg;
	struct vg_state *state;
	uint32_t seq;
	unsigned int nr_replies, stops, resets, raised;
	uint32_t reply_seq;
	uint8_t reply[VG_MSG_BYTES_MAX];
	size_t reply_bytes;
	bool is_deaf;
	int range_err, bind_err;
	uint32_t bound[2];
} m;

static void m_reply(void *link, uint32_t seq, const void *msg, size_t bytes)
{
	(void)link;
	assert_true(bytes >= 8 && bytes <= sizeof(m.reply));
	m.nr_replies++;
	m.reply_seq = seq;
	m.reply_bytes = bytes;
	memcpy(m.reply, msg, bytes);
}

static bool m_raise(void *link, uint32_t what)
{
	(void)link;
	if (m.is_deaf)
		return false;
	m.raised |= what;
	return true;
}

static void m_was_reset(void *link)
{
	(void)link;
	m.resets++;
}

static const struct vg_msg_link_ops m_link_ops = {
	.reply = m_reply, .raise = m_raise, .was_reset = m_was_reset,
};

static void m_stopped(void *host)
{
	(void)host;
	m.stops++;
}

static int m_bind(void *host, unsigned int queue, uint32_t channel)
{
	(void)host;
	if (!m.bind_err)
		m.bound[queue] = channel;
	return m.bind_err;
}

static void m_unbind(void *host, unsigned int queue)
{
	(void)host;
	m.bound[queue] = 0;
}

static void m_notify(void *host, unsigned int queue)
{
	(void)host;
	(void)queue;
}

static const struct vg_host_ops m_host_ops = {
	.stopped = m_stopped, .bind_queue = m_bind, .unbind_queue = m_unbind,
	.notify_queue = m_notify,
};

static int m_range_add(struct vg_mem *mem, unsigned int index, uint64_t addr,
		       uint64_t len_bytes)
{
	(void)mem;
	(void)index;
	assert_true(addr >> 63);
	assert_int_equal(len_bytes % 4096, 0);
	return m.range_err;
}

static int m_range_remove(struct vg_mem *mem, unsigned int index)
{
	(void)mem;
	(void)index;
	return m.range_err;
}

static void m_create(enum vg_start start)
{
	struct vg_device_params p = {
		.label = "dom5 test", .type = &test_type,
		.transport_ops = &vg_msg_transport_ops, .queue_size_max = 64,
		.state = m.state, .state_nr_queues = 2, .start = start,
	};

	m.msg = p.transport = vg_msg_create(&m_link_ops, &m);
	m.ops = flat_ops;
	m.ops.range_add = m_range_add;
	m.ops.range_remove = m_range_remove;
	m.f.mem.ops = &m.ops;
	assert_int_equal(vg_device_create(&p, &m.f.mem, m.loop, &m_host_ops,
					  &m, &m.dev), 0);
	vg_msg_set_device(m.msg, m.dev);
}

static int m_setup(void **state)
{
	(void)state;
	memset(&held, 0, sizeof(held));
	memset(&m, 0, sizeof(m));
	held.nr_queues = 2;
	memcpy(held.config, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	flat_init(&m.f);
	assert_int_equal(vg_loop_create(&m.loop), 0);
	unit_log_start();
	m_create(VG_START_NEW);
	return 0;
}

/* With a state, for a successor. */
static int m_setup_state(void **state)
{
	int err = m_setup(state);

	vg_device_stop(m.dev);
	vg_device_destroy(m.dev);
	vg_msg_destroy(m.msg);
	m.state = calloc(1, vg_state_bytes(2));
	m.stops = m.resets = 0;
	m_create(VG_START_NEW);
	return err;
}

static void m_run(void)
{
	unsigned int i;

	for (i = 0; i < 10000; i++)
		if (vg_loop_run_once(m.loop, 0) <= 0)
			return;
	fail_msg("the loop does not come to rest");
}

static int m_teardown(void **state)
{
	unsigned int i;

	(void)state;
	m.range_err = 0;
	vg_device_stop(m.dev);
	complete(held.nr);
	for (i = 0; i < 2000 && !m.stops; i++)
		vg_loop_run_once(m.loop, 5);
	assert_int_equal(m.stops, 1);
	assert_int_equal(m.f.reqs_now, 0);
	assert_int_equal(m.f.rings_now, 0);
	vg_device_destroy(m.dev);
	vg_msg_destroy(m.msg);
	vg_loop_destroy(m.loop);
	flat_exit(&m.f);
	free(m.state);
	unit_log_stop();
	return 0;
}

/* ---- messages ----------------------------------------------------------- */

static void send_type(uint8_t type, unsigned int id, const void *req,
		      size_t bytes)
{
	_Alignas(8) uint8_t msg[VG_MSG_BYTES_MAX];
	struct virtio_grant_msg_header h = {
		.type = type, .msg_id = (uint8_t)id,
		.token = (uint16_t)++m.seq,
		.msg_size = (uint16_t)(8 + bytes),
	};

	memcpy(msg, &h, 8);
	if (bytes)
		memcpy(msg + 8, req, bytes);
	vg_msg_request(m.msg, m.seq, msg, 8 + bytes);
}

static void send(unsigned int id, const void *req, size_t bytes)
{
	send_type(id & BUS ? VIRTIO_GRANT_MSG_TYPE_BUS : 0, id, req, bytes);
}

/* The answer's payload, in which m.reply is looked at. */
static size_t answered(void)
{
	struct virtio_grant_msg_header h;

	memcpy(&h, m.reply, 8);
	assert_int_equal(m.reply_seq, m.seq);
	assert_int_equal(h.type & 1, 1);
	assert_int_equal(h.token, (uint16_t)m.seq);
	assert_int_equal(h.msg_size, m.reply_bytes);
	assert_int_equal(h.dev_num, 0);
	return m.reply_bytes - 8;
}

static size_t ask(unsigned int id, const void *req, size_t bytes)
{
	unsigned int before = m.nr_replies;

	send(id, req, bytes);
	assert_int_equal(m.nr_replies, before + 1);
	return answered();
}

static uint32_t rsp32(unsigned int word)
{
	uint32_t v;

	memcpy(&v, m.reply + 8 + 4 * word, 4);
	return v;
}

static uint64_t bad(void)
{
	return vg_device_stats(m.dev)->bad_accesses;
}

/* Answered by the header alone, and counted. */
static void makes_no_sense(unsigned int id, const void *req, size_t bytes)
{
	uint64_t before = bad();

	assert_int_equal(ask(id, req, bytes), 0);
	assert_int_equal(bad(), before + 1);
}

static uint32_t status(uint32_t value)
{
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &value, 4), 4);
	return rsp32(0);
}

static uint32_t status_now(void)
{
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0), 4);
	return rsp32(0);
}

static void negotiate(void)
{
	uint32_t f[4] = { 0, 2, 1u << 5 | 1u << 28 | 1u << 29,
			  1u << 0 | 1u << 1 | 1u << 8 };

	status(ST_ACK);
	status(ST_ACK | ST_DRIVER);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 16), 0);
	assert_int_equal(status(ST_ACK | ST_DRIVER | ST_FEATURES),
			 ST_ACK | ST_DRIVER | ST_FEATURES);
}

static struct virtio_grant_msg_set_vqueue vqueue_of(unsigned int index,
						    const struct flat_queue *q)
{
	return (struct virtio_grant_msg_set_vqueue){
		.index = index, .size = q->num, .desc_addr = q->desc_addr,
		.driver_addr = q->avail_addr, .device_addr = q->used_addr,
	};
}

static void set_vqueue(unsigned int index, const struct flat_queue *q)
{
	struct virtio_grant_msg_set_vqueue v = vqueue_of(index, q);

	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v)), 0);
}

static uint32_t cur_size(uint32_t index)
{
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_VQUEUE, &index, 4), 40);
	assert_int_equal(rsp32(0), index);
	return rsp32(2);
}

/* Up to DRIVER_OK, with one queue. */
static void m_start(struct flat_queue *q, unsigned int num)
{
	negotiate();
	drv_init(q, &m.f, num);
	set_vqueue(0, q);
	assert_int_equal(status(LIVE), LIVE);
	m_run();
}

/* ---- what is there ------------------------------------------------------ */

static void identity(void **state)
{
	uint32_t index = 3, ping = 0xdeadbeef;

	(void)state;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_DEVICE_INFO, NULL, 0), 24);
	assert_int_equal(rsp32(0), 42);
	assert_int_equal(rsp32(2), 64);
	assert_int_equal(rsp32(3), 10);
	assert_int_equal(rsp32(4), 2);
	assert_int_equal(rsp32(5), 0);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_SHM, &index, 4), 12);
	assert_int_equal(rsp32(0), 3);
	assert_int_equal(rsp32(1), 0);
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_PING, &ping, 4), 4);
	assert_int_equal(rsp32(0), 0xdeadbeef);
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_GET_BUS_INFO, NULL, 0), 8);
	assert_int_equal(rsp32(0), VIRTIO_GRANT_CAP_RANGES |
			 VIRTIO_GRANT_CAP_EVTCHN);
	assert_int_equal(rsp32(1), VG_MEM_RANGES_MAX);
	assert_int_equal(bad(), 0);
}

static void features(void **state)
{
	uint32_t q[3] = { 0, 8, 0 }, f[10] = { 0, 8 };
	unsigned int i;

	(void)state;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, q, 8), 40);
	assert_int_equal(rsp32(0), 0);
	assert_int_equal(rsp32(1), 8);
	assert_int_equal(rsp32(2), 1u << 5 | 1u << 28 | 1u << 29);
	assert_int_equal(rsp32(3), 1u << 0 | 1u << 1 | 1u << 8);
	for (i = 4; i < 10; i++)
		assert_int_equal(rsp32(i), 0);
	q[0] = UINT32_MAX;
	q[1] = 2;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, q, 8), 16);
	assert_int_equal(rsp32(2), 0);
	assert_int_equal(rsp32(3), 0);
	q[1] = 9;
	makes_no_sense(VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, q, 8);
	q[1] = 0;
	makes_no_sense(VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, q, 8);
	/* Blocks that there are not: nothing, or nothing can be set. */
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 40), 0);
	assert_int_equal(bad(), 2);
	f[9] = 1;
	makes_no_sense(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 40);
	negotiate();
	f[9] = 0;	/* too late */
	makes_no_sense(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 40);
}

static void config(void **state)
{
	struct {
		uint32_t generation, offset, length;
		uint8_t data[132];
	} c = { 0 };
	uint32_t q[2] = { 1, 4 };

	(void)state;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_CONFIG, q, 8), 16);
	assert_int_equal(rsp32(1), 1);
	assert_int_equal(rsp32(2), 4);
	assert_int_equal(rsp32(3), 0x05040302);
	c.generation = rsp32(0);
	c.offset = 2;
	c.length = 3;
	memcpy(c.data, "xyz", 3);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 15), 12);
	assert_int_equal(rsp32(2), 3);
	assert_memory_equal(held.config + 2, "xyz", 3);
	/* Of another generation: refused, and which one counts. */
	vg_device_config_changed(m.dev);
	memcpy(c.data, "abc", 3);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 15), 12);
	assert_int_equal(rsp32(0), c.generation + 1);
	assert_int_equal(rsp32(2), 0);
	assert_memory_equal(held.config + 2, "xyz", 3);
	assert_int_equal(bad(), 0);
	/* Beyond. */
	q[0] = 7;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_CONFIG, q, 8), 12);
	assert_int_equal(rsp32(2), 0);
	q[0] = UINT32_MAX;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_CONFIG, q, 8), 12);
	q[0] = 0;
	q[1] = 129;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_CONFIG, q, 8), 12);
	c.generation++;
	c.offset = 9;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 15), 12);
	assert_int_equal(rsp32(2), 0);
	assert_int_equal(bad(), 4);
	makes_no_sense(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 14);
	c.length = 129;
	makes_no_sense(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 141);
	c.length = 0;
	makes_no_sense(VIRTIO_GRANT_MSG_SET_CONFIG, &c, 13);
}

/* Each message with each size but its own; and each that there is not. */
static void sizes(void **state)
{
	static const struct {
		unsigned int id;
		size_t bytes;
		bool longer;
	} is[] = {
		{ 0x02, 0, false }, { 0x03, 8, false }, { 0x04, 8, true },
		{ 0x05, 8, false }, { 0x06, 12, true }, { 0x07, 0, false },
		{ 0x08, 4, false }, { 0x09, 4, false }, { 0x0a, 40, false },
		{ 0x0b, 4, false }, { 0x0c, 4, false },
		{ BUS | 0x03, 4, false },
		{ BUS | 0x80, 0, false }, { BUS | 0x81, 12, false },
		{ BUS | 0x82, 4, false }, { BUS | 0x83, 8, false },
		{ BUS | 0x84, 12, true },
	};
	static const uint8_t zeroes[256];
	unsigned int id, i;
	size_t n;

	(void)state;
	for (id = 0; id < 0x200; id++) {
		for (i = 0; i < ARRAY_SIZE(is) && is[i].id != id; i++)
			;
		for (n = 0; n <= 256; n++)
			if (i == ARRAY_SIZE(is) || n < is[i].bytes ||
			    (n > is[i].bytes && !is[i].longer))
				makes_no_sense(id, zeroes, n);
	}
	assert_int_equal(status_now(), 0);
}

static void headers(void **state)
{
	struct virtio_grant_msg_header h = { .msg_id = 7, .msg_size = 8 };

	(void)state;
	/* Reserved bits of the type are ignored. */
	send_type(0xfc, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
	assert_int_equal(answered(), 4);
	assert_int_equal(m.reply[0], 1);
	/* An answer, another device, another size than was copied. */
	send_type(1, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0);
	assert_int_equal(answered(), 0);
	h.dev_num = 1;
	vg_msg_request(m.msg, ++m.seq, &h, 8);
	assert_int_equal(m.reply_bytes, 8);
	h.dev_num = 0;
	h.msg_size = 0xffff;
	vg_msg_request(m.msg, ++m.seq, &h, 8);
	assert_int_equal(m.reply_bytes, 8);
	h.msg_size = 0;
	vg_msg_request(m.msg, ++m.seq, &h, 8);
	assert_int_equal(m.reply_bytes, 8);
	assert_int_equal(bad(), 4);
}

/* ---- queues, and what is over later ------------------------------------- */

static void vqueues(void **state)
{
	uint32_t none = 2, far = UINT32_MAX;
	struct virtio_grant_msg_set_vqueue v;
	struct flat_queue q;

	(void)state;
	assert_int_equal(cur_size(0), 0);
	assert_int_equal(rsp32(1), 64);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_VQUEUE, &none, 4), 40);
	assert_int_equal(rsp32(1), 0);
	assert_int_equal(ask(VIRTIO_GRANT_MSG_GET_VQUEUE, &far, 4), 40);
	assert_int_equal(rsp32(1), 0);
	drv_init(&q, &m.f, 16);
	v = vqueue_of(0, &q);
	/* Before the features. */
	makes_no_sense(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v));
	negotiate();
	v.index = 2;
	makes_no_sense(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v));
	set_vqueue(0, &q);
	assert_int_equal(cur_size(0), 16);
	assert_int_equal(rsp32(4), (uint32_t)q.desc_addr);
	assert_int_equal(rsp32(5), (uint32_t)(q.desc_addr >> 32));
	/* Twice. */
	v.index = 0;
	makes_no_sense(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v));
	assert_int_equal(status(LIVE), LIVE);
	held.complete_at_once = true;
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	assert_int_equal(q.used->idx, 1);
	assert_int_equal(m.raised, VG_NOTIFY_USED);
	none = 0;
	assert_int_equal(ask(VIRTIO_GRANT_MSG_RESET_VQUEUE, &none, 4), 0);
	assert_int_equal(cur_size(0), 0);
	makes_no_sense(VIRTIO_GRANT_MSG_RESET_VQUEUE, &far, 4);
}

static void reset_waits(void **state)
{
	unsigned int before;
	struct flat_queue q;
	uint32_t zero = 0;

	(void)state;
	m_start(&q, 16);
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	assert_int_equal(held.nr, 1);
	before = m.nr_replies;
	send(VIRTIO_GRANT_MSG_RESET_VQUEUE, &zero, 4);
	assert_int_equal(m.nr_replies, before);
	/* A reset in its place: that one is forgotten, this one answered. */
	send(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &zero, 4);
	assert_int_equal(m.nr_replies, before);
	complete(1);
	m_run();
	assert_int_equal(m.nr_replies, before + 1);
	assert_int_equal(answered(), 4);
	assert_int_equal(rsp32(0), 0);
	assert_int_equal(m.resets, 1);
	assert_int_equal(m.f.rings_now, 0);
}

static void vqueue_reset_waits(void **state)
{
	unsigned int before;
	struct flat_queue q;
	uint32_t zero = 0;

	(void)state;
	m_start(&q, 16);
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	before = m.nr_replies;
	send(VIRTIO_GRANT_MSG_RESET_VQUEUE, &zero, 4);
	assert_int_equal(m.nr_replies, before);
	complete(1);
	m_run();
	assert_int_equal(m.nr_replies, before + 1);
	assert_int_equal(answered(), 0);
	assert_int_equal(cur_size(0), 0);
}

/* What is forgotten is not answered when it is over. */
static void overtaken(void **state)
{
	unsigned int before;
	struct flat_queue q;
	uint32_t zero = 0;

	(void)state;
	m_start(&q, 16);
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	send(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &zero, 4);
	assert_int_equal(status_now(), LIVE);
	before = m.nr_replies;
	complete(1);
	m_run();
	assert_int_equal(m.nr_replies, before);
	assert_int_equal(status_now(), 0);
}

static void enable_waits(void **state)
{
	struct virtio_grant_msg_set_vqueue v;
	unsigned int before, i;
	struct flat_queue q;

	(void)state;
	negotiate();
	drv_init(&q, &m.f, 16);
	v = vqueue_of(0, &q);
	m.f.ring_again = 2;
	before = m.nr_replies;
	send(VIRTIO_GRANT_MSG_SET_VQUEUE, &v, sizeof(v));
	assert_int_equal(m.nr_replies, before);
	for (i = 0; i < 100 && m.nr_replies == before; i++)
		vg_loop_run_once(m.loop, 5);
	assert_int_equal(answered(), 0);
	assert_int_equal(cur_size(0), 16);
}

/* ---- of the bus --------------------------------------------------------- */

static uint32_t range(unsigned int id, uint32_t index, int err)
{
	uint32_t r[3] = { index, 77, 4 };

	m.range_err = err;
	assert_int_equal(ask(BUS | id, r,
			     id == VIRTIO_GRANT_BUS_SHARE_RANGE ? 12 : 4), 8);
	assert_int_equal(rsp32(0), index);
	return rsp32(1);
}

static void ranges(void **state)
{
	const unsigned int add_id = VIRTIO_GRANT_BUS_SHARE_RANGE;
	const unsigned int rm = VIRTIO_GRANT_BUS_UNSHARE_RANGE;
	uint32_t r[3] = { VG_MEM_RANGES_MAX, 77, 4 };
	unsigned int before, i;

	(void)state;
	/* Not before DRIVER. */
	r[0] = 0;
	makes_no_sense(BUS | add_id, r, 12);
	makes_no_sense(BUS | rm, r, 4);
	negotiate();
	r[0] = VG_MEM_RANGES_MAX;
	makes_no_sense(BUS | add_id, r, 12);
	makes_no_sense(BUS | rm, r, 4);
	assert_int_equal(range(add_id, 1, 0), VIRTIO_GRANT_RANGE_HELD);
	assert_int_equal(range(add_id, 1, -EBUSY), VIRTIO_GRANT_RANGE_INVALID);
	assert_int_equal(range(add_id, 1, -E2BIG), VIRTIO_GRANT_RANGE_TOO_MANY);
	assert_int_equal(range(add_id, 1, -EFAULT), VIRTIO_GRANT_RANGE_REFUSED);
	assert_int_equal(range(rm, 1, 0), VIRTIO_GRANT_RANGE_NONE);
	assert_int_equal(range(rm, 1, -EBUSY), VIRTIO_GRANT_RANGE_IN_USE);
	/* Short of something, then not. */
	m.range_err = -EAGAIN;
	before = m.nr_replies;
	r[0] = 2;
	send(BUS | add_id, r, 12);
	assert_int_equal(m.nr_replies, before);
	m.range_err = 0;
	for (i = 0; i < 100 && m.nr_replies == before; i++)
		vg_loop_run_once(m.loop, 5);
	assert_int_equal(answered(), 8);
	assert_int_equal(rsp32(0), 2);
	assert_int_equal(rsp32(1), VIRTIO_GRANT_RANGE_HELD);
}

/* The end of what it overtakes is not the newer one's. */
static void range_overtaken(void **state)
{
	uint32_t r[3] = { 2, 77, 4 };
	unsigned int before;

	(void)state;
	negotiate();
	m.range_err = -EAGAIN;
	before = m.nr_replies;
	send(BUS | VIRTIO_GRANT_BUS_SHARE_RANGE, r, 12);
	assert_int_equal(m.nr_replies, before);
	m.range_err = 0;
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_UNSHARE_RANGE, r, 4), 8);
	assert_int_equal(rsp32(1), VIRTIO_GRANT_RANGE_NONE);
}

static void channels(void **state)
{
	uint32_t c[2] = { 1, 55 };

	(void)state;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, c, 8);
	negotiate();
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, c, 8), 8);
	assert_int_equal(rsp32(0), 1);
	assert_int_equal(rsp32(1), VIRTIO_GRANT_QUEUE_BOUND);
	assert_int_equal(m.bound[1], 55);
	m.bind_err = -EINVAL;
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, c, 8), 8);
	assert_int_equal(rsp32(1), VIRTIO_GRANT_QUEUE_REFUSED);
	c[1] = 0;
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, c, 8), 8);
	assert_int_equal(rsp32(1), VIRTIO_GRANT_QUEUE_NONE);
	c[0] = 2;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, c, 8);
}

/* ---- going on where another was ----------------------------------------- */

struct inflight {
	struct virtio_grant_bus_inflight h;
	uint16_t heads[VIRTIO_GRANT_BUS_HEADS_MAX + 1];
};

static void tell(uint16_t used_idx, uint16_t total, uint16_t first,
		 uint16_t nr, const uint16_t *heads)
{
	struct inflight i = { .h = { 0, used_idx, total, first, nr } };

	if (nr)
		memcpy(i.heads, heads, 2u * nr);
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i,
			     sizeof(i.h) + 2u * nr),
			 sizeof(struct virtio_grant_bus_state));
}

/* Chains 0, 2, ... of two, and so many of the first used already. */
static void queue_of_before(struct flat_queue *q, unsigned int n,
			    uint16_t used_idx)
{
	unsigned int i;

	drv_init(q, &m.f, 16);
	q->avail_idx = q->used_seen = q->used->idx = used_idx;
	for (i = 0; i < n; i++)
		add(NULL, q);
}

static bool is_broken(void)
{
	return status_now() & ST_BROKEN;
}

static void goes_on(void **state)
{
	static const uint16_t heads[] = { 4, 0, 2 };
	struct flat_queue q;
	uint32_t id, len;
	unsigned int i;

	(void)state;
	negotiate();
	queue_of_before(&q, 4, 65533);	/* 6 is new to everybody */
	tell(65533, 3, 0, 1, heads);
	tell(65533, 3, 1, 2, heads + 1);
	set_vqueue(0, &q);
	assert_int_equal(cur_size(0), 16);
	assert_int_equal(status(LIVE), LIVE);
	vg_msg_avail(m.msg);
	m_run();
	assert_int_equal(held.nr, 4);
	/* In their order; what is done last is first here. */
	for (i = 0; i < 4; i++) {
		static const uint16_t order[] = { 6, 2, 0, 4 };

		complete(1);
		m_run();
		assert_true(drv_used(&q, &id, &len));
		assert_int_equal(id, order[i]);
		assert_int_equal(len, 64);
	}
	assert_int_equal(q.used->idx, 1);
	assert_int_equal(vg_device_stats(m.dev)->redone, 0);
	assert_false(is_broken());
	/* Then it is a queue as any other; and a reset forgets all of it. */
	held.complete_at_once = true;
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	assert_true(drv_used(&q, &id, &len));
	assert_int_equal(status(0), 0);
	m_start(&q, 16);
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	assert_int_equal(q.used->idx, 1);
}

/* Nothing was under way, but much before. */
static void goes_on_idle(void **state)
{
	struct flat_queue q;
	uint32_t id, len;

	(void)state;
	held.complete_at_once = true;
	negotiate();
	queue_of_before(&q, 1, 500);
	tell(500, 0, 0, 0, NULL);
	set_vqueue(0, &q);
	assert_int_equal(status(LIVE), LIVE);
	m_run();
	assert_true(drv_used(&q, &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(q.used->idx, 501);
}

/* What waits for input is used without a byte, as after a death. */
static void drops(void **state)
{
	static const struct vg_queue_traits traits = {
		.segs_max = 8, .drops = true,
	};
	static const uint16_t heads[] = { 2, 0 };
	struct flat_queue q;
	uint32_t id, len;

	vg_device_stop(m.dev);
	vg_device_destroy(m.dev);
	vg_msg_destroy(m.msg);
	held.traits = &traits;
	m.stops = 0;
	m_create(VG_START_NEW);
	(void)state;
	negotiate();
	queue_of_before(&q, 2, 9);
	tell(9, 2, 0, 2, heads);
	set_vqueue(0, &q);
	assert_int_equal(status(LIVE), LIVE);
	m_run();
	assert_int_equal(held.started, 0);
	assert_true(drv_used(&q, &id, &len));
	assert_int_equal(id, 2);
	assert_int_equal(len, 0);
	assert_true(drv_used(&q, &id, &len));
	assert_int_equal(id, 0);
}

/* Each breaks this device, and a reset mends it. */
static void lies(void **state)
{
	static const struct {
		uint16_t used_idx, total, nr, heads[3];
		bool at_once;
	} cases[] = {
		{ 9, 3, 3, { 0, 2, 2 }, true },		/* twice */
		{ 9, 3, 3, { 0, 2, 1024 }, true },	/* no descriptor */
		{ 9, 3, 3, { 0, 2, 16 }, false },	/* nor of this ring */
		{ 8, 3, 3, { 0, 2, 4 }, false },	/* another index */
		{ 9, 3, 2, { 0, 2 }, false },		/* one was not said */
		{ 9, 65, 3, { 0, 2, 4 }, true },	/* more than fit */
		{ 9, 65535, 3, { 0, 2, 4 }, true },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct flat_queue q;

		assert_int_equal(status(0), 0);
		negotiate();
		queue_of_before(&q, 3, 9);
		tell(cases[i].used_idx, cases[i].total, 0, cases[i].nr,
		     cases[i].heads);
		assert_int_equal(is_broken(), cases[i].at_once);
		if (!cases[i].at_once)
			set_vqueue(0, &q);
		assert_true(is_broken());
		assert_int_equal(cur_size(0), 0);
		assert_int_equal(vg_device_stats(m.dev)->broken,
				 VG_BROKEN_RESUME);
		assert_int_equal(m.f.rings_now, 0);
	}
	assert_int_equal(status(0), 0);
	assert_false(is_broken());
}

/* Parts that do not go together. */
static void lies_in_parts(void **state)
{
	static const uint16_t heads[] = { 0, 2, 4 };

	(void)state;
	negotiate();
	tell(9, 3, 1, 2, heads);		/* the first was not said */
	assert_true(is_broken());
	assert_int_equal(status(0), 0);
	negotiate();
	tell(9, 3, 0, 1, heads);
	tell(8, 3, 1, 2, heads + 1);
	assert_true(is_broken());
	assert_int_equal(status(0), 0);
	negotiate();
	tell(9, 3, 0, 1, heads);
	tell(9, 3, 1, 3, heads);		/* too many */
	assert_true(is_broken());
}

static void not_now(void **state)
{
	struct inflight i = { .h = { 0, 9, 1, 0, 1 } };
	struct flat_queue q;

	(void)state;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 14);
	negotiate();
	i.h.index = 2;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 14);
	i.h.index = 0;
	i.h.count = 101;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 214);
	i.h.count = 1;
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 16);
	drv_init(&q, &m.f, 16);
	set_vqueue(0, &q);
	makes_no_sense(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 14);
	assert_false(is_broken());
	/* It was told of another life. */
	assert_int_equal(status(0), 0);
	negotiate();
	assert_int_equal(ask(BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT, &i, 14),
			 sizeof(struct virtio_grant_bus_state));
	assert_int_equal(status(0), 0);
	negotiate();
	drv_init(&q, &m.f, 16);
	set_vqueue(0, &q);
	assert_false(is_broken());
	assert_int_equal(cur_size(0), 16);
}

/* ---- successors --------------------------------------------------------- */

static const struct vg_msg_link_id link_a = { { 1, 2, 3 } };
static const struct vg_msg_link_id link_b = { { 1, 2, 4 } };

static void successor(void)
{
	unsigned int i;

	vg_device_leave(m.dev);
	for (i = 0; i < 100 && !m.stops; i++)
		vg_loop_run_once(m.loop, 5);
	assert_int_equal(m.stops, 1);
	vg_device_destroy(m.dev);
	vg_msg_destroy(m.msg);
	m.stops = 0;
	m_create(VG_START_TAKE_OVER);
}

/* The answer that was given is given again, and nothing done for it. */
static void answers_again(void **state)
{
	uint32_t last, accesses;
	uint8_t before[VG_MSG_BYTES_MAX];
	size_t bytes;

	(void)state;
	assert_false(vg_msg_set_link(m.msg, &link_a, true, &last));
	assert_int_equal(last, 0);
	negotiate();
	bytes = m.reply_bytes;
	memcpy(before, m.reply, bytes);
	successor();
	assert_true(vg_msg_set_link(m.msg, &link_a, false, &last));
	assert_int_equal(last, m.seq);
	memset(m.reply, 0, sizeof(m.reply));
	accesses = (uint32_t)vg_device_stats(m.dev)->accesses;
	vg_msg_repeat(m.msg);
	assert_int_equal(m.reply_seq, m.seq);
	assert_int_equal(m.reply_bytes, bytes);
	assert_memory_equal(m.reply, before, bytes);
	assert_int_equal(vg_device_stats(m.dev)->accesses, accesses);
	assert_int_equal(status_now(), ST_ACK | ST_DRIVER | ST_FEATURES);
	/* Over another link, nobody waits for it; nor over the same anew. */
	successor();
	assert_false(vg_msg_set_link(m.msg, &link_b, false, &last));
	assert_int_equal(last, 0);
	bytes = m.nr_replies;
	vg_msg_repeat(m.msg);
	assert_int_equal(m.nr_replies, bytes);
	status_now();
	assert_false(vg_msg_set_link(m.msg, &link_b, true, &last));
	assert_int_equal(last, 0);
	status_now();
	assert_false(vg_msg_set_link(m.msg, NULL, true, &last));
}

/* Said to one process, enabled by the next, used by a third. */
static void goes_on_twice(void **state)
{
	static const uint16_t heads[] = { 4, 0, 2 };
	struct flat_queue q;

	(void)state;
	negotiate();
	queue_of_before(&q, 3, 65533);
	tell(65533, 3, 0, 2, heads);
	successor();
	tell(65533, 3, 2, 1, heads + 2);
	successor();
	set_vqueue(0, &q);
	assert_int_equal(cur_size(0), 16);
	successor();
	held.complete_at_once = true;
	assert_int_equal(status(LIVE), LIVE);
	m_run();
	assert_int_equal(q.used->idx, 0);
	assert_int_equal(q.used->ring[65533 % 16].id, 4);
	assert_int_equal(q.used->ring[65534 % 16].id, 0);
	assert_int_equal(q.used->ring[65535 % 16].id, 2);
	assert_false(is_broken());
}

/* A predecessor's word is taken as a guest's. */
static void lies_of_a_predecessor(void **state)
{
	struct vg_state_regs r;
	uint32_t last;
	uint8_t *t = (uint8_t *)r.transport;

	(void)state;
	assert_false(vg_msg_set_link(m.msg, &link_a, true, &last));
	status_now();
	successor();
	assert_int_equal(vg_state_read(m.state, 42, 2, &r), 0);
	/* The answer's size: behind link, reserved and seq. */
	memset(t + 20, 0xff, 4);
	vg_state_write(m.state, &r);
	vg_device_stop(m.dev);
	vg_device_destroy(m.dev);
	vg_msg_destroy(m.msg);
	m.stops = 0;
	m_create(VG_START_TAKE_OVER);
	assert_true(vg_msg_set_link(m.msg, &link_a, false, &last));
	assert_int_equal(last, 0);
	vg_msg_repeat(m.msg);
}

/* A notification that nobody could be told, is told who comes. */
static void undelivered(void **state)
{
	struct flat_queue q;
	uint32_t last;

	(void)state;
	m_start(&q, 16);
	held.complete_at_once = true;
	m.is_deaf = true;
	add(NULL, &q);
	vg_msg_avail(m.msg);
	m_run();
	assert_int_equal(m.raised, 0);
	m.is_deaf = false;
	vg_msg_set_link(m.msg, &link_a, true, &last);
	assert_int_equal(m.raised, VG_NOTIFY_USED);
}

int main(void)
{
#define M(t) cmocka_unit_test_setup_teardown(t, m_setup, m_teardown)
#define S(t) cmocka_unit_test_setup_teardown(t, m_setup_state, m_teardown)
	const struct CMUnitTest tests[] = {
		M(identity), M(features), M(config), M(sizes), M(headers),
		M(vqueues), M(reset_waits), M(vqueue_reset_waits),
		M(overtaken), M(enable_waits), M(ranges),
		M(range_overtaken), M(channels),
		M(goes_on), S(goes_on), M(goes_on_idle), M(drops), M(lies),
		S(lies), M(lies_in_parts), M(not_now), S(answers_again),
		S(goes_on_twice), S(lies_of_a_predecessor), M(undelivered),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
