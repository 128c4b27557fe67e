// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * front.c - see front.h.
 */
#include "front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/uapi/virtio_grant.h"

#define WAIT_S		5
#define POOL_PAGES	64u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#define wait_until(cond) ({ \
	uint64_t until_ = now_ns() + WAIT_S * UINT64_C(1000000000); \
	bool is_; \
	while (!(is_ = (cond)) && now_ns() < until_) \
		fake_pump(); \
	is_; \
})

/* ---- nodes -------------------------------------------------------------- */

static const char *kind_of(const struct front *f)
{
	return f->kind ? f->kind : "virtio_grant";
}

static char *path_buffer(void)
{
	static char path[8][192];
	static unsigned int turn;

	return path[turn++ % 8];
}

const char *front_path(const struct front *f, const char *key)
{
	char *p = path_buffer();

	snprintf(p, 192, "/local/domain/%u/device/%s/%u%s%s", f->guest,
		 kind_of(f), f->devid, *key ? "/" : "", key);
	return p;
}

const char *front_back_path(const struct front *f, const char *key)
{
	char *p = path_buffer();

	snprintf(p, 192, "/local/domain/%u/backend/%s/%u/%u%s%s", f->backend,
		 kind_of(f), f->guest, f->devid, *key ? "/" : "", key);
	return p;
}

static void make_dir(const char *path, xen_domid_t owner, xen_domid_t reader)
{
	char perms[32];

	snprintf(perms, sizeof(perms), "n%u r%u", owner, reader);
	fake_store_rm(0, path);
	if (fake_store_mkdir(0, path) ||
	    fake_store_set_perms(0, path, perms))
		abort();
}

static void put(const char *path, const char *value)
{
	if (fake_store_write(0, path, "%s", value))
		abort();
}

void front_nodes_make(const struct front *f, unsigned int virtio_id)
{
	make_dir(front_path(f, ""), f->guest, f->backend);
	put(front_path(f, "backend"), front_back_path(f, ""));
	fake_store_write(0, front_path(f, "backend-id"), "%u", f->backend);
	fake_store_write(0, front_path(f, "device-id"), "%u", virtio_id);
	put(front_path(f, "state"), "1");
	make_dir(front_back_path(f, ""), f->backend, f->guest);
	put(front_back_path(f, "frontend"), front_path(f, ""));
	fake_store_write(0, front_back_path(f, "frontend-id"), "%u", f->guest);
	put(front_back_path(f, "online"), "1");
	fake_store_write(0, front_back_path(f, "type"), "virtio,device%x",
			 virtio_id);
	if (f->params) {
		put(front_back_path(f, "params"), f->params);
		put(front_back_path(f, "mode"), "w");
		put(front_back_path(f, "dev"), "xvda");
	}
	put(front_back_path(f, "state"), "1");
}

void front_nodes_remove(const struct front *f)
{
	fake_store_rm(0, front_path(f, ""));
	fake_store_rm(0, front_back_path(f, ""));
}

void front_ask_close(const struct front *f)
{
	put(front_back_path(f, "online"), "0");
	put(front_back_path(f, "state"), "5");
}

void front_set_state(const struct front *f, unsigned int state)
{
	fake_store_write(f->guest, front_path(f, "state"), "%u", state);
}

static long number_at(const char *path)
{
	char *v = fake_store_read(0, path), *end;
	long n;

	if (!v)
		return -1;
	n = strtol(v, &end, 10);
	if (*end || end == v)
		n = -1;
	free(v);
	return n;
}

long front_state(const struct front *f)
{
	return number_at(front_path(f, "state"));
}

long front_back_state(const struct front *f)
{
	return number_at(front_back_path(f, "state"));
}

/* ---- the page ----------------------------------------------------------- */

/* The last key is the one by which the others count. */
void front_keys_write(const struct front *f)
{
	const char *const none = "32751";

	fake_store_write(f->guest, front_path(f, "msg-backend-id"), "%s", none);
	fake_store_write(f->guest, front_path(f, "msg-version"), "%u",
			 VIRTIO_GRANT_BUS_VERSION);
	fake_store_write(f->guest, front_path(f, "msg-ref"), "%u", f->ref);
	fake_store_write(f->guest, front_path(f, "msg-port"), "%u", f->port);
	fake_store_write(f->guest, front_path(f, "msg-backend-id"), "%u",
			 f->backend);
	front_set_state(f, 3);
}

static void page_begin(struct front *f)
{
	memset(f->page, 0, sizeof(*f->page));
	f->page->magic = VIRTIO_GRANT_BUS_MAGIC;
	f->page->version = VIRTIO_GRANT_BUS_VERSION;
	f->seq = f->used_events = f->config_events = 0;
}

void front_page_make(struct front *f)
{
	f->d.guest = f->guest;
	f->d.backend = f->backend;
	if (!f->page) {
		f->pfn = fake_alloc_pages(f->guest, 1);
		f->page = fake_page(f->guest, f->pfn);
	}
	page_begin(f);
	f->ref = fake_grant(f->guest, f->backend, f->pfn, 1, false);
	f->port = fake_guest_alloc_unbound(f->guest, f->backend);
	front_keys_write(f);
}

int front_page_end(struct front *f)
{
	int err = f->ref ? fake_grant_end(f->guest, f->ref) : 0;

	if (err)
		return err;
	if (f->port)
		fake_guest_close(f->guest, f->port);
	f->ref = f->port = 0;
	return 0;
}

/* ---- messages ----------------------------------------------------------- */

uint32_t front_send(struct front *f, unsigned int id, const void *req,
		    size_t bytes)
{
	struct virtio_grant_msg_header h = {
		.type = id & FRONT_BUS ? VIRTIO_GRANT_MSG_TYPE_BUS : 0,
		.msg_id = (uint8_t)id,
		.msg_size = (uint16_t)(sizeof(h) + bytes),
	};

	h.token = (uint16_t)++f->seq;
	memcpy(f->page->request, &h, sizeof(h));
	if (bytes)
		memcpy(f->page->request + sizeof(h), req, bytes);
	/* The message before its number; partner: take_request(). */
	__atomic_store_n(&f->page->request_seq, f->seq, __ATOMIC_RELEASE);
	fake_guest_notify(f->guest, f->port);
	return f->seq;
}

bool front_is_answered(const struct front *f)
{
	return __atomic_load_n(&f->page->response_seq, __ATOMIC_ACQUIRE) ==
	       f->seq;
}

int front_answer(const struct front *f, void *rsp, size_t rsp_max)
{
	struct virtio_grant_msg_header h, q;
	size_t n;

	memcpy(&h, f->page->response, sizeof(h));
	memcpy(&q, f->page->request, sizeof(q));
	if (!(h.type & VIRTIO_GRANT_MSG_TYPE_RESPONSE) ||
	    (h.type & ~VIRTIO_GRANT_MSG_TYPE_RESPONSE) != q.type ||
	    h.msg_id != q.msg_id || h.token != q.token || h.dev_num ||
	    h.msg_size < sizeof(h) || h.msg_size > VIRTIO_GRANT_BUS_MSG_BYTES)
		return -EPROTO;
	n = h.msg_size - sizeof(h);
	if (rsp)
		memcpy(rsp, f->page->response + sizeof(h),
		       n < rsp_max ? n : rsp_max);
	return (int)n;
}

int front_msg(struct front *f, unsigned int id, const void *req, size_t bytes,
	      void *rsp, size_t rsp_max)
{
	front_send(f, id, req, bytes);
	if (!wait_until(front_is_answered(f)))
		return -ETIMEDOUT;
	return front_answer(f, rsp, rsp_max);
}

/* ---- a driver's life ---------------------------------------------------- */

int front_status(struct front *f)
{
	struct virtio_grant_msg_status s;
	int n = front_msg(f, VIRTIO_GRANT_MSG_GET_DEVICE_STATUS, NULL, 0, &s,
			  sizeof(s));

	return n == sizeof(s) ? (int)s.status : n < 0 ? n : -EPROTO;
}

int front_set_status(struct front *f, uint32_t status)
{
	struct virtio_grant_msg_status s = { status };
	int n = front_msg(f, VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &s, sizeof(s),
			  &s, sizeof(s));

	return n == sizeof(s) ? (int)s.status : n < 0 ? n : -EPROTO;
}

bool front_attach(struct front *f)
{
	if (!wait_until(front_back_state(f) == 2))
		return false;
	front_page_make(f);
	if (!wait_until(front_back_state(f) == 4))
		return false;
	return true;
}

static int features(struct front *f)
{
	struct {
		struct virtio_grant_msg_features h;
		uint32_t block[2];
	} m = { .h = { .num_blocks = 2 } };
	int n = front_msg(f, VIRTIO_GRANT_MSG_GET_DEVICE_FEATURES, &m.h,
			  sizeof(m.h), &m, sizeof(m));

	if (n != sizeof(m))
		return n < 0 ? n : -EPROTO;
	f->d.offered = m.block[0] | (uint64_t)m.block[1] << 32;
	f->d.features = f->d.wanted ? f->d.wanted : f->d.offered;
	m.block[0] = (uint32_t)f->d.features;
	m.block[1] = (uint32_t)(f->d.features >> 32);
	return front_msg(f, VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, &m, sizeof(m),
			 NULL, 0);
}

static int share(struct front *f)
{
	struct virtio_grant_bus_share_range r = {
		0, f->pool.ref, f->pool.pages
	};
	struct virtio_grant_bus_state s = { 0 };
	int n = front_msg(f, FRONT_BUS | VIRTIO_GRANT_BUS_SHARE_RANGE, &r,
			  sizeof(r), &s, sizeof(s));

	return n < 0 ? n : s.state == VIRTIO_GRANT_RANGE_HELD ? 0 : -EACCES;
}

/* All that it grants for queues and data is one range. */
static void pool_make(struct front *f)
{
	if (!f->pool.pages)
		f->pool = drv_buf(&f->d, POOL_PAGES * 4096, false);
}

int front_negotiate(struct front *f)
{
	int err;

	if (front_set_status(f, 0) || front_set_status(f, 1) != 1 ||
	    front_set_status(f, 3) != 3)
		return -EIO;
	err = features(f);
	if (err)
		return err;
	if (front_set_status(f, 11) != 11)
		return -EINVAL;
	pool_make(f);
	return f->has_ranges ? share(f) : 0;
}

struct drv_buf front_buf(struct front *f, unsigned int pages)
{
	unsigned int at = f->pool_used;
	struct drv_buf b;

	pool_make(f);
	if (at + pages > POOL_PAGES)
		abort();
	f->pool_used += pages;
	b = (struct drv_buf){
		.pfn = f->pool.pfn + at, .pages = pages,
		.ref = f->pool.ref + at, .va = f->pool.va + 4096 * at,
		.addr = f->pool.addr + 4096 * at,
	};
	memset(b.va, 0, 4096 * pages);
	return b;
}

/* As drv_queue_init(), in the pool. */
static void queue_init(struct front *f, unsigned int index, unsigned int num)
{
	struct drv_queue *q = &f->d.q[index];
	uint32_t avail_at = 16 * num, used_at = avail_at + 6 + 2 * num;
	unsigned int i;

	used_at = (used_at + 3) & ~3u;
	memset(q, 0, sizeof(*q));
	q->index = index;
	q->num = num;
	q->mem = front_buf(f, (used_at + 6 + 8 * num + 4095) / 4096);
	q->desc = (void *)q->mem.va;
	q->avail = (void *)(q->mem.va + avail_at);
	q->used = (void *)(q->mem.va + used_at);
	q->desc_addr = q->mem.addr;
	q->avail_addr = q->mem.addr + avail_at;
	q->used_addr = q->mem.addr + used_at;
	for (i = 0; i < num; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	q->nr_free = num;
}

static int channel(struct front *f, struct drv_queue *q)
{
	struct virtio_grant_bus_set_channel c = { .index = q->index };
	struct virtio_grant_bus_state s = { 0 };
	int n;

	if (!f->has_channels)
		return 0;
	q->port = fake_guest_alloc_unbound(f->guest, f->backend);
	c.port = q->port;
	n = front_msg(f, FRONT_BUS | VIRTIO_GRANT_BUS_SET_CHANNEL, &c,
		      sizeof(c), &s, sizeof(s));
	return n < 0 ? n : s.state == VIRTIO_GRANT_QUEUE_BOUND ? 0 : -EACCES;
}

int front_queue_enable(struct front *f, unsigned int index)
{
	struct drv_queue *q = &f->d.q[index];
	struct virtio_grant_msg_set_vqueue set = {
		.index = index, .size = q->num, .desc_addr = q->desc_addr,
		.driver_addr = q->avail_addr, .device_addr = q->used_addr,
	};
	struct virtio_grant_msg_index get = { index };
	struct virtio_grant_msg_vqueue vq = { 0 };
	int n = channel(f, q);

	if (n)
		return n;
	n = front_msg(f, VIRTIO_GRANT_MSG_SET_VQUEUE, &set, sizeof(set), NULL,
		      0);
	if (n < 0)
		return n;
	n = front_msg(f, VIRTIO_GRANT_MSG_GET_VQUEUE, &get, sizeof(get), &vq,
		      sizeof(vq));
	return n < 0 ? n : vq.cur_size == q->num ? 0 : -EIO;
}

int front_start(struct front *f, unsigned int nr_queues)
{
	unsigned int i;
	int err = front_negotiate(f);

	f->d.nr_queues = nr_queues;
	for (i = 0; !err && i < nr_queues; i++) {
		queue_init(f, i, f->d.num ? f->d.num : 64);
		err = front_queue_enable(f, i);
	}
	if (!f->d.hdrs.pages)
		f->d.hdrs = front_buf(f, DRV_NUM_MAX * 64 / 4096);
	return err ? err : front_set_status(f, 15) == 15 ? 0 : -EIO;
}

static unsigned int grants_end(struct front *f)
{
	unsigned int i, busy = 0;

	for (i = 0; i < f->pool.pages; i++)
		busy += fake_grant_end(f->guest, f->pool.ref + i) == -EBUSY;
	return busy;
}

static void ports_end(struct front *f)
{
	unsigned int i;

	for (i = 0; i < DRV_QUEUES_MAX; i++) {
		if (f->d.q[i].port)
			fake_guest_close(f->guest, f->d.q[i].port);
		f->d.q[i].port = 0;
	}
}

int front_regrant(struct front *f, xen_domid_t backend)
{
	unsigned int i;

	if (grants_end(f) || front_page_end(f))
		return -EBUSY;
	ports_end(f);
	f->backend = f->d.backend = backend;
	for (i = 0; i < f->pool.pages; i++)
		fake_grant_at(f->guest, f->pool.ref + i, backend,
			      f->pool.pfn + i, false);
	front_page_make(f);
	return 0;
}

int front_tell_inflight(struct front *f, unsigned int index,
			const uint16_t *heads, unsigned int n)
{
	struct {
		struct virtio_grant_bus_inflight h;
		uint16_t heads[VIRTIO_GRANT_BUS_HEADS_MAX];
	} m = { .h = {
		.index = index, .used_idx = f->d.q[index].used->idx,
		.total = (uint16_t)n,
	} };
	struct virtio_grant_bus_state state;
	unsigned int at = 0;
	int err;

	do {
		m.h.first = (uint16_t)at;
		m.h.count = (uint16_t)(n - at < VIRTIO_GRANT_BUS_HEADS_MAX ?
				       n - at : VIRTIO_GRANT_BUS_HEADS_MAX);
		memcpy(m.heads, heads + at, m.h.count * sizeof(m.heads[0]));
		err = front_msg(f, FRONT_BUS | VIRTIO_GRANT_BUS_SET_INFLIGHT,
				&m, sizeof(m.h) + 2 * m.h.count, &state,
				sizeof(state));
		if (err >= 0)
			err = err == sizeof(state) &&
			      state.state == VIRTIO_GRANT_QUEUE_BOUND ?
			      0 : -EPROTO;
		at += m.h.count;
	} while (!err && at < n);
	return err;
}

unsigned int front_exit(struct front *f)
{
	unsigned int busy = grants_end(f);

	f->pool.pages = f->pool_used = f->d.hdrs.pages = 0;
	ports_end(f);
	memset(f->d.q, 0, sizeof(f->d.q));
	return busy + (front_page_end(f) == -EBUSY);
}

int front_close(struct front *f)
{
	int err = f->port ? front_set_status(f, 0) : 0;
	unsigned int busy;

	front_set_state(f, 6);
	/* Its page is given back when the backend says so. */
	if (!wait_until(front_back_state(f) != 4 && front_back_state(f) != 5))
		return -ETIMEDOUT;
	busy = front_exit(f);
	return err ? err : (int)busy;
}

/* ---- requests ----------------------------------------------------------- */

void front_kick(struct front *f, struct drv_queue *q)
{
	if (q->port) {
		drv_kick(&f->d, q, false);
		return;
	}
	drv_publish(q);
	/* Entries before the number; partner: take_avail(). */
	__atomic_fetch_add(&f->page->avail_events, 1, __ATOMIC_RELEASE);
	fake_guest_notify(f->guest, f->port);
}

int front_wait(struct front *f, struct drv_queue *q, int head,
	       uint32_t *len_bytes)
{
	int got = -EAGAIN;

	(void)f;
	if (!wait_until((got = drv_take(q, len_bytes)) != -EAGAIN))
		return -ETIMEDOUT;
	return got < 0 ? got : got == head ? 0 : -EPROTO;
}

int front_blk(struct front *f, uint32_t type, uint64_t sector,
	      const struct drv_buf *b, uint32_t offset, uint32_t len_bytes)
{
	struct drv_seg seg = { b->addr + offset, len_bytes,
			       type == VIRTIO_BLK_T_IN };
	uint8_t *status;
	int err, head = drv_blk_add(&f->d, &f->d.q[0], type, sector, &seg, 1,
				    false, &status);

	if (head < 0)
		return head;
	front_kick(f, &f->d.q[0]);
	err = front_wait(f, &f->d.q[0], head, NULL);
	return err ? err : *status;
}
