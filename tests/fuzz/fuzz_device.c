// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_device.c - a device of each type (registers or messages, virtqueues,
 * guest memory, the extension) driven by bytes, over the fake Xen.
 *
 * An input is a sequence of operations of a guest; most are shaped so that
 * they reach deep (descriptors point into granted pages, heads are small),
 * some are not shaped at all.  Beyond what the sanitizers find, it dies when
 * an access, or a message that no other has overtaken, is not answered exactly
 * once, when the device does not stop, or when anything is mapped after it did.
 *
 * With libFuzzer, or alone: fuzz_device FILE... replays, fuzz_device -r N runs
 * N random inputs from a fixed seed, fuzz_device -w N DIR writes them down:
 * libFuzzer by itself begins with a few bytes, which do not start a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "dev/blk/blk.h"
#include "virtio/device.h"
#include "fake_xen.h"
#include "lib/endpoint.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "kernel/uapi/virtio_grant.h"
#include "kernel/uapi/virtio_grant_bus.h"
#include "mem/grants.h"
#include "transport/mmio.h"
#include "transport/msg.h"

#define BE		1u
#define GUEST		3u
#define PAGES		64u
#define RO_PAGES	8u	/* the last of them */
#define NUM		32u
#define BUDGET_PAGES	5000u
#define IMAGE_BYTES	(1u << 20)
#define QUICK_TURNS	1000u
/*
 * 20 s: what is short for the moment is tried again every 10 ms, for a second.
 */
#define STOP_TURNS	(QUICK_TURNS + 2000u)
#define VCPUS		128u
#define CONSOLE_PORTS	2u
#define QUEUES_MAX	(2 * (CONSOLE_PORTS + 1))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct vg_dev_type vg_dev_console, vg_dev_rng;	/* types.c */

static struct xen_gnttab *gt;
static struct vg_loop *loop;
static struct vg_device *dev;
static struct vg_mmio *mmio;		/* or: */
static struct vg_msg *msg;
static uint32_t msg_asked, msg_answered;
static unsigned int pfn;
static xen_ref_t ref;
static int image;
static const struct vg_dev_type *type;
/* Of a console: what its ports are made of, and who has them open here. */
static void *console_res;
static int terminal[CONSOLE_PORTS];
static uint32_t asked;
static uint32_t
	waiting[VCPUS]; /* the access each vCPU stands still for, or 0 */
static bool is_stopped;

struct input { const uint8_t *p, *end; };

static void quiet(enum vg_log_level level, const char *line)
{
	(void)level;
	(void)line;
}

/* ---- the worker's part -------------------------------------------------- */

static void reply(void *host, unsigned int vcpu, uint32_t seq, uint32_t value)
{
	(void)host;
	(void)value;
	if (vcpu >= VCPUS || !seq || waiting[vcpu] != seq)
		abort();
	waiting[vcpu] = 0;
}

static bool raise_irq(void *host, uint32_t bits)
{
	(void)host;
	if (!bits || bits & ~(VG_NOTIFY_USED | VG_NOTIFY_CONFIG))
		abort();
	return true;
}

static void reply_msg(void *link, uint32_t seq, const void *text, size_t bytes)
{
	struct virtio_grant_msg_header h;

	(void)link;
	if (seq != msg_asked || msg_answered == seq || bytes < sizeof(h) ||
	    bytes > VG_MSG_BYTES_MAX)
		abort();
	memcpy(&h, text, sizeof(h));
	if (h.msg_size != bytes || !(h.type & VIRTIO_GRANT_MSG_TYPE_RESPONSE))
		abort();
	msg_answered = seq;
}

static void was_reset(void *link)
{
	(void)link;
}

static int bind_queue(void *host, unsigned int queue, xen_port_t remote)
{
	(void)host;
	(void)queue;
	return remote & 1 ? 0 : -1;
}

static void unbind_queue(void *host, unsigned int queue)
{
	(void)host;
	(void)queue;
}

static void stopped(void *host)
{
	(void)host;
	is_stopped = true;
}

static const struct vg_mmio_link_ops link_ops = {
	.reply = reply,
	.raise = raise_irq,
};

static const struct vg_msg_link_ops msg_link_ops = {
	.reply = reply_msg,
	.raise = raise_irq,
	.was_reset = was_reset,
};

static const struct vg_host_ops host_ops = {
	.bind_queue = bind_queue,
	.unbind_queue = unbind_queue,
	.notify_queue = unbind_queue,
	.stopped = stopped,
};

/* ---- the guest's part --------------------------------------------------- */

static uint32_t take(struct input *in, unsigned int bytes)
{
	uint32_t v = 0;

	while (bytes--)
		v = v << 8 | (in->p < in->end ? *in->p++ : 0);
	return v;
}

static uint8_t *page(unsigned int n)
{
	return (uint8_t *)fake_page(GUEST, pfn) + n % PAGES * 4096;
}

static uint64_t address(unsigned int n, unsigned int offset)
{
	return virtio_grant_addr(ref + n, offset);
}

/* The @n-th of waiting for something. */
static void turn(unsigned int n)
{
	vg_loop_run_once(loop, n < QUICK_TURNS ? 0 : 10);
}

static void access_reg(uint32_t offset, uint32_t len, bool is_write,
		       uint32_t value)
{
	struct vg_reg_access acc = {
		.vcpu = asked % VCPUS, .seq = asked + 1,
		.offset = offset, .len_bytes = len, .is_write = is_write,
		.data = value,
	};
	unsigned int i;

	if (!mmio)
		return;
	/* A vCPU makes no other access before its last one is answered. */
	for (i = 0; waiting[acc.vcpu] && i < STOP_TURNS; i++)
		turn(i);
	if (waiting[acc.vcpu])
		abort();
	waiting[acc.vcpu] = acc.seq;
	asked++;
	vg_mmio_access(mmio, &acc);
}

static void wr(uint32_t offset, uint32_t value)
{
	access_reg(offset, 4, true, value);
}

/* In which its ring lies. */
static unsigned int page_of(unsigned int queue)
{
	return queue ? 8 + queue : 0;
}

static void start_queue(unsigned int queue)
{
	unsigned int at = page_of(queue);
	uint64_t desc = address(at, 0), avail = address(at, 1024),
		 used = address(at, 2048);

	wr(VIRTIO_MMIO_QUEUE_SEL, queue);
	wr(VIRTIO_MMIO_QUEUE_NUM, NUM);
	wr(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	wr(VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	wr(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	wr(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	wr(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	wr(VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
}

/* ---- messages ----------------------------------------------------------- */

/* @bytes of payload are copied, whatever the header says. */
static void send_msg(uint32_t what, uint16_t says, const void *payload,
		     size_t bytes)
{
	uint8_t text[VG_MSG_BYTES_MAX] = { (uint8_t)(what >> 8),
					   (uint8_t)what };

	text[6] = (uint8_t)says;
	text[7] = (uint8_t)(says >> 8);
	memcpy(text + 8, payload, bytes);
	vg_msg_request(msg, ++msg_asked, text, 8 + bytes);
}

static void send_words(uint32_t what, const uint32_t *words, unsigned int n)
{
	send_msg(what, (uint16_t)(8 + 4 * n), words, 4 * n);
}

static void set_status(uint32_t status)
{
	send_words(VIRTIO_GRANT_MSG_SET_DEVICE_STATUS, &status, 1);
}

static void start_queue_by_msg(unsigned int queue)
{
	unsigned int at = page_of(queue);
	const struct virtio_grant_msg_set_vqueue v = {
		.index = queue, .size = NUM, .desc_addr = address(at, 0),
		.driver_addr = address(at, 1024),
		.device_addr = address(at, 2048),
	};

	send_msg(VIRTIO_GRANT_MSG_SET_VQUEUE, 8 + sizeof(v), &v, sizeof(v));
}

static unsigned int nr_queues_of_type(void)
{
	return type == &vg_dev_console ? QUEUES_MAX : 1;
}

static void start_by_msg(uint32_t features)
{
	const uint32_t f[4] = { 0, 2, features, 3 };
	unsigned int i;

	set_status(1);
	set_status(3);
	send_words(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, f, 4);
	set_status(11);
	for (i = 0; i < nr_queues_of_type(); i++)
		start_queue_by_msg(i);
	set_status(15);
}

/* What is under way, maybe as the ring has it. */
static void put_inflight(struct input *in)
{
	struct {
		struct virtio_grant_bus_inflight h;
		uint16_t heads[16];
	} m = { .h = { .index = take(in, 1) % 3, .used_idx = 0 } };
	unsigned int i;

	m.h.total = (uint16_t)(take(in, 1) % 20);
	m.h.first = (uint16_t)(take(in, 1) % 4);
	m.h.count = (uint16_t)(take(in, 1) % 17);
	for (i = 0; i < m.h.count; i++)
		m.heads[i] = (uint16_t)(take(in, 1) % (NUM + 2));
	send_msg(0x200 | VIRTIO_GRANT_BUS_SET_INFLIGHT,
		 (uint16_t)(8 + sizeof(m.h) + 2 * m.h.count), &m,
		 sizeof(m.h) + 2 * m.h.count);
}

static void one_of_msg(struct input *in)
{
	uint32_t words[8] = { 0 }, what;
	unsigned int i, n;

	switch (take(in, 1) % 10) {
	case 0:			/* anything */
		what = take(in, 2);
		n = take(in, 1) % 8;
		for (i = 0; i < n; i++)
			words[i] = take(in, 4);
		send_msg(what, (uint16_t)take(in, 2), words, 4 * n);
		break;
	case 1:
	case 2:			/* of the right kind, with small numbers */
		what = 2 + take(in, 1) % 11;
		n = take(in, 1) % 6;
		for (i = 0; i < n; i++)
			words[i] = take(in, 1);
		send_words(what, words, n);
		break;
	case 3:
		what = 0x280 + take(in, 1) % 6;
		n = take(in, 1) % 4;
		for (i = 0; i < n; i++)
			words[i] = take(in, 1) % 12;
		words[1] += ref;
		send_words(what, words, n);
		break;
	case 4:
		put_inflight(in);
		break;
	case 5:
		start_queue_by_msg(take(in, 1) % 3);
		break;
	case 6:
		set_status(take(in, 1) & 15);
		break;
	case 7:
		words[0] = take(in, 1) % 3;
		send_words(VIRTIO_GRANT_MSG_RESET_VQUEUE, words, 1);
		break;
	case 8:
		vg_msg_avail(msg);
		break;
	case 9:
		set_status(3);
		words[1] = 2;
		words[2] = take(in, 4);
		words[3] = 3;
		send_words(VIRTIO_GRANT_MSG_SET_DRIVER_FEATURES, words, 4);
		set_status(11);
		break;
	}
}

/* So that most inputs begin where it is interesting. */
static void start(uint32_t features)
{
	unsigned int i;

	if (msg) {
		start_by_msg(features);
		return;
	}

	wr(VIRTIO_MMIO_STATUS, 1);
	wr(VIRTIO_MMIO_STATUS, 3);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(VIRTIO_MMIO_DRIVER_FEATURES, 3);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	wr(VIRTIO_MMIO_DRIVER_FEATURES, features);
	wr(VIRTIO_MMIO_STATUS, 11);
	for (i = 0; i < nr_queues_of_type(); i++)
		start_queue(i);
	wr(VIRTIO_MMIO_STATUS, 15);
}

static void put_desc(struct input *in, struct vring_desc *table)
{
	struct vring_desc *d = &table[take(in, 1) % 64];

	d->addr = address(take(in, 1) % (PAGES + 2), take(in, 2));
	d->len = take(in, 2);
	if (d->len & 0x8000)
		d->len <<= 4;
	d->flags = (uint16_t)(take(in, 1) & 7);
	d->next = (uint16_t)(take(in, 1) % (NUM + 2));
}

/* Header, one buffer, status, as a driver does it, at descriptors i, .. */
static void put_request(struct input *in)
{
	struct vring_desc *d = (void *)page(0);
	struct virtio_blk_outhdr *h = (void *)page(1);
	unsigned int i = take(in, 1) % (NUM - 2);
	bool is_read;

	h->type = take(in, 1) % 16;
	h->sector = take(in, 2);
	is_read = h->type != VIRTIO_BLK_T_OUT &&
		  h->type != VIRTIO_BLK_T_DISCARD &&
		  h->type != VIRTIO_BLK_T_WRITE_ZEROES;
	d[i] = (struct vring_desc){ address(1, 0), 16, VRING_DESC_F_NEXT,
				    (uint16_t)(i + 1) };
	d[i + 1] = (struct vring_desc){
		address(2 + take(in, 1) % (PAGES - 2), take(in, 2)),
		take(in, 2),
		(uint16_t)(VRING_DESC_F_NEXT |
			   (is_read ? VRING_DESC_F_WRITE : 0)),
		(uint16_t)(i + 2)
	};
	d[i + 2] = (struct vring_desc){ address(1, 64), 1, VRING_DESC_F_WRITE,
					0 };
}

static void offer(unsigned int queue, uint32_t head)
{
	struct vring_avail *a = (void *)(page(page_of(queue)) + 1024);

	a->ring[a->idx % NUM] = (uint16_t)head;
	a->idx++;
}

/* The file itself mostly, one that is cut in between sometimes. */
static void resized(uint64_t bytes, unsigned int how)
{
	const uint64_t change[VG_DEV_WORDS] = { bytes + (how == 7) };

	if (how % 4 && bytes > IMAGE_BYTES && ftruncate(image, (off_t)bytes))
		abort();
	vg_device_resized(dev, change);
}

static void one(struct input *in)
{
	uint32_t v, n;

	switch (take(in, 1) % 13) {
	case 0:
		v = take(in, 2) & 0x1fc;
		wr(v, take(in, 4));
		break;
	case 1:
		n = 1u << take(in, 1) % 3;
		v = take(in, 2) & 0x1ff & ~(n - 1);
		access_reg(v, n, take(in, 1) & 1, take(in, 4));
		break;
	case 2:
		v = take(in, 1);
		n = take(in, 2) % 4080;
		memcpy(page(v) + n, &(uint32_t){ take(in, 4) }, 4);
		break;
	case 3:
		put_desc(in, (void *)page(0));
		break;
	case 4:
		put_desc(in, (void *)page(2));
		break;
	case 5:
	case 6:
		put_request(in);
		break;
	case 7:
		offer(0, take(in, 1) % (NUM + 1));
		vg_device_queue_notify(dev, 0);
		break;
	case 8:
		vg_device_queue_notify(dev, take(in, 1) % 3);
		break;
	case 9:
		vg_loop_run_once(loop, 0);
		break;
	case 10:
		((struct vring_avail *)(page(0) + 1024))->idx =
			(uint16_t)take(in, 2);
		break;
	case 11:
		/* The extension: a range, or a channel. */
		wr(0x0dc, take(in, 1) % 5);
		wr(0x0e0, ref + take(in, 1) % PAGES);
		wr(0x0e4, take(in, 1) % PAGES);
		wr(0x0e8, take(in, 1) & 1);
		break;
	case 12:
		/* Not the guest's: its image grows, or is said to. */
		resized(take(in, 2) << 9, take(in, 1));
		break;
	}
}

/* One buffer, as a driver has it in @queue. */
static void put_buffer(unsigned int queue, unsigned int n, unsigned int offset,
		       uint32_t len)
{
	struct vring_avail *a = (void *)(page(page_of(queue)) + 1024);
	struct vring_desc *d = (void *)page(page_of(queue));
	unsigned int i = a->idx % NUM;

	d[i] = (struct vring_desc){ address(n, offset), len,
		(uint16_t)(queue % 2 ? 0 : VRING_DESC_F_WRITE), 0 };
	offer(queue, i);
	vg_device_queue_notify(dev, queue);
}

static void put_message(struct input *in)
{
	unsigned int offset = take(in, 1) * 8;
	struct virtio_console_control *c = (void *)(page(3) + offset);

	c->id = take(in, 1) % (CONSOLE_PORTS + 1);
	c->event = (uint16_t)(take(in, 1) % 8);
	c->value = (uint16_t)(take(in, 1) % 3);
	put_buffer(3, 3, offset, 8);
}

/* Who has the terminals does something. */
static void use_terminal(struct input *in, unsigned int what)
{
	int *t = &terminal[take(in, 1) % CONSOLE_PORTS];
	struct winsize ws = { .ws_row = 1, .ws_col = 2 };
	char buf[4096] = { 0 };

	if (*t < 0)
		return;
	switch (what) {
	case 0:
		if (write(*t, buf, take(in, 2) % sizeof(buf)) < 0 &&
		    errno != EAGAIN)
			abort();
		break;
	case 1:
		if (read(*t, buf, sizeof(buf)) < 0 && errno != EAGAIN)
			abort();
		break;
	case 2:
		ws.ws_row = (unsigned short)take(in, 1);
		ioctl(*t, TIOCSWINSZ, &ws);
		break;
	case 3:
		close(*t);
		*t = -1;
		break;
	}
}

static void one_of_console(struct input *in)
{
	unsigned int queue, op = take(in, 1) % 10;

	switch (op) {
	case 0:
	case 1:
		put_message(in);
		break;
	case 2:
	case 3:
	case 4:
		queue = take(in, 1) % QUEUES_MAX;
		put_buffer(queue, take(in, 1) % PAGES, 0, take(in, 2));
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		use_terminal(in, op - 5);
		break;
	case 9:
		vg_loop_run_once(loop, 0);
		break;
	}
}

/* ---- the frame ---------------------------------------------------------- */

static void init(void)
{
	vg_log_hook(quiet);
	fake_init();
	fake_domain_create(BE, 1, 16);
	fake_domain_create(GUEST, 1, 256);
	fake_enter(BE);
	pfn = fake_alloc_pages(GUEST, PAGES);
	ref = fake_grant(GUEST, BE, pfn, PAGES - RO_PAGES, false);
	fake_grant(GUEST, BE, pfn + PAGES - RO_PAGES, RO_PAGES, true);
	memset(terminal, -1, sizeof(terminal));
	signal(SIGPIPE, SIG_IGN);
	if (vg_endpoint_option_names("console,agent"))
		abort();
	image = memfd_create("image", MFD_CLOEXEC);
	if (xen_gnttab_open(&gt) || vg_loop_create(&loop) || image < 0 ||
	    ftruncate(image, IMAGE_BYTES))
		abort();
}

static char *no_key(const struct vg_keys *keys, const char *key)
{
	(void)keys;
	(void)key;
	errno = ENOENT;
	return NULL;
}

static void parts_of(struct vg_dev_parts *parts)
{
	static const struct vg_keys keys = { .where = "fuzz", .read = no_key };
	const struct vg_dev_how how = { .keys = &keys, .nr_queues = 1 };
	struct vg_blk_params blk = {
		.fd = -1, .discard = true, .engine = VG_BLK_ENGINE_SYNC,
	};
	unsigned int i;
	char *why, *name;

	if (type == &vg_dev_blk) {
		if (ftruncate(image, IMAGE_BYTES))	/* see resized() */
			abort();
		blk.fd = dup(image);
		vg_blk_parts_fill(parts, &blk);
		return;
	}
	console_res = type->host->create(NULL, "fuzz");
	if (type->host->open(console_res, &how, parts, &why))
		abort();
	for (i = 0; type == &vg_dev_console && i < CONSOLE_PORTS; i++) {
		name = ptsname(parts->fds[1 + i]);
		terminal[i] = name ? open(name, O_RDWR | O_NOCTTY |
					  O_NONBLOCK | O_CLOEXEC) : -1;
		if (terminal[i] < 0)
			abort();
	}
}

static void parts_give_back(void)
{
	unsigned int i;

	for (i = 0; i < CONSOLE_PORTS; i++)
		if (terminal[i] >= 0)
			close(terminal[i]);
	memset(terminal, -1, sizeof(terminal));
	if (!console_res)
		return;
	if (type->host->close)
		type->host->close(console_res);
	type->host->destroy(console_res);
	console_res = NULL;
}

static void device_create(bool is_by_msg)
{
	struct vg_dev_parts parts;
	struct vg_device_params p = {
		.label = "fuzz", .type = type, .parts = &parts,
		.transport_ops = &vg_mmio_transport_ops,
		.queue_size_max = 256,
	};
	struct vg_mem *mem;

	parts_of(&parts);
	mmio = is_by_msg ? NULL : vg_mmio_create(&link_ops, NULL);
	msg = is_by_msg ? vg_msg_create(&msg_link_ops, NULL) : NULL;
	p.transport = msg ? (void *)msg : mmio;
	if (msg)
		p.transport_ops = &vg_msg_transport_ops;
	if (vg_mem_pool_create(gt, GUEST, BUDGET_PAGES, 4096, &mem) ||
	    vg_device_create(&p, mem, loop, &host_ops, NULL, &dev))
		abort();
	if (msg)
		vg_msg_set_device(msg, dev);
	else
		vg_mmio_set_device(mmio, dev);
}

/* What a driver of that type accepts. */
static uint32_t features_of(void)
{
	if (type == &vg_dev_console)
		return 1u << VIRTIO_CONSOLE_F_SIZE |
		       1u << VIRTIO_CONSOLE_F_MULTIPORT;
	return type != &vg_dev_blk ? 0 : 1u << VIRTIO_BLK_F_FLUSH |
	       1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	unsigned int i;
	uint32_t mode;

	if (!gt)
		init();
	memset(fake_page(GUEST, pfn), 0, PAGES * 4096);
	asked = msg_asked = msg_answered = 0;
	memset(waiting, 0, sizeof(waiting));
	is_stopped = false;
	mode = take(&in, 1);
	type = mode >> 3 & 1 ? &vg_dev_blk :
	       mode >> 4 & 1 ? &vg_dev_console : &vg_dev_rng;
	device_create(mode & 0x20);
	if (mode & 1)	/* indirect, event index */
		start((mode & 2 ? 1u << 28 : 0) | (mode & 4 ? 1u << 29 : 0) |
		      features_of());
	while (in.p < in.end)
		if (msg && in.p[0] & 0x40)
			one_of_msg(&in);
		else if (type == &vg_dev_console && in.p[0] & 0x80)
			one_of_console(&in);
		else
			one(&in);

	vg_device_stop(dev);
	for (i = 0; !is_stopped && i < STOP_TURNS; i++)
		turn(i);
	if (!is_stopped)
		abort();
	for (i = 0; i < VCPUS; i++)
		if (waiting[i])
			abort();
	if (msg_asked != msg_answered)
		abort();
	vg_device_destroy(dev);
	vg_mmio_destroy(mmio);
	vg_msg_destroy(msg);
	parts_give_back();
	if (fake_maps_held(BE))
		abort();
	return 0;
}

#ifndef FUZZ_LIBFUZZER
static int replay(const char *path)
{
	static uint8_t buf[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (n < 0) {
		perror(path);
		return 1;
	}
	close(fd);
	return LLVMFuzzerTestOneInput(buf, (size_t)n);
}

/* The next input of a sequence; returns its length. */
static size_t random_input(uint8_t buf[600], unsigned long i)
{
	static uint64_t x = 88172645463325252ull;
	size_t k;

	for (k = 0; k < 600; k++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[k] = (uint8_t)(x >> 24);
	}
	buf[0] |= i % 8 != 0;	/* mostly started */
	return 1 + x % 600;
}

static void random_inputs(unsigned long runs)
{
	uint8_t buf[600];
	unsigned long i;

	for (i = 0; i < runs; i++) {
		size_t n = random_input(buf, i);

		LLVMFuzzerTestOneInput(buf, n);
	}
	printf("%lu random inputs, nothing found\n", runs);
}

static int write_inputs(unsigned long nr, const char *dir)
{
	uint8_t buf[600];
	char path[4096];
	unsigned long i;

	for (i = 0; i < nr; i++) {
		size_t n = random_input(buf, i);
		FILE *f;

		snprintf(path, sizeof(path), "%s/seed-%lu", dir, i);
		f = fopen(path, "w");
		if (!f || fwrite(buf, 1, n, f) != n || fclose(f)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	int i, err = 0;

	if (argc == 3 && !strcmp(argv[1], "-r")) {
		random_inputs(strtoul(argv[2], NULL, 10));
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "-w"))
		return write_inputs(strtoul(argv[2], NULL, 10), argv[3]);
	for (i = 1; i < argc; i++)
		err |= replay(argv[i]);
	return err;
}
#endif
