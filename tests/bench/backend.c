// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * backend.c - the backend's turns of its loop, measured: everything from an
 * event of the guest to the event back, with the real device core, virtqueue,
 * guest memory and block device over the Xen of tests/fake.
 *
 * The guest is the driver of tests/unit, and like the fake it is not part of
 * what is measured: a region is one turn of the worker's loop.  What the fake
 * does in there (the hypercalls, and the system calls that stand for them) is
 * told apart by bench.py.
 *
 * Guest memory: with ranges announced (pool), or without, so that requests are
 * mapped (map), or up to a size copied (copy), each as the backend is told.
 * Engines: one that does
 * nothing, in place of engine_sync.c, which leaves our own instructions;
 * and io_uring, over a file in the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "dev/blk/engine.h"
#include "rig.h"
#include "lib/util.h"

#include "kernel/uapi/virtio_grant.h"

#define GUEST		3u
#define NUM		128u
#define DEPTH_MAX	32u
#define SLOT_BYTES	65536u
#define IMAGE_BYTES	(16u << 20)
#define COPY_MAX_BYTES	16384u

/* How the guest's memory is reached: see above. */
enum memory { POOL, MAP, COPY };

struct config {
	const char *name;
	enum vg_blk_engine engine;	/* SYNC: the null engine */
	enum memory memory;
	uint32_t type;
	uint32_t len_bytes;
	unsigned int depth;		/* requests under way */
	unsigned int batch;		/* of them, per event */
	bool is_direct;			/* descriptors, not an indirect table */
};

#define IN	VIRTIO_BLK_T_IN
#define OUT	VIRTIO_BLK_T_OUT
#define ID	VIRTIO_BLK_T_GET_ID
#define SYNC	VG_BLK_ENGINE_SYNC	/* replaced by the null engine */
#define URING	VG_BLK_ENGINE_URING

static const struct config configs[] = {
	{ "backend/null/pool/read-4k/qd1", SYNC, POOL, IN, 4096, 1, 1, false },
	{ "backend/null/pool/read-4k/qd16", SYNC, POOL, IN, 4096, 16, 16, false },
	{ "backend/null/pool/read-4k/qd32", SYNC, POOL, IN, 4096, 32, 32, false },
	{ "backend/null/pool/read-4k/qd32-by-8", SYNC, POOL, IN, 4096, 32, 8, false },
	{ "backend/null/pool/read-4k/qd32-by-1", SYNC, POOL, IN, 4096, 32, 1, false },
	{ "backend/null/pool/read-4k/qd32-chains", SYNC, POOL, IN, 4096, 32, 32, true },
	{ "backend/null/pool/write-4k/qd1", SYNC, POOL, OUT, 4096, 1, 1, false },
	{ "backend/null/pool/write-4k/qd16", SYNC, POOL, OUT, 4096, 16, 16, false },
	{ "backend/null/pool/write-4k/qd32", SYNC, POOL, OUT, 4096, 32, 32, false },
	{ "backend/null/pool/read-64k/qd1", SYNC, POOL, IN, 65536, 1, 1, false },
	{ "backend/null/pool/read-64k/qd16", SYNC, POOL, IN, 65536, 16, 16, false },
	{ "backend/null/map/read-4k/qd1", SYNC, MAP, IN, 4096, 1, 1, false },
	{ "backend/null/map/read-4k/qd16", SYNC, MAP, IN, 4096, 16, 16, false },
	{ "backend/null/map/read-4k/qd32", SYNC, MAP, IN, 4096, 32, 32, false },
	{ "backend/null/map/read-4k/qd1-chains", SYNC, MAP, IN, 4096, 1, 1, true },
	{ "backend/null/map/read-4k/qd16-chains", SYNC, MAP, IN, 4096, 16, 16, true },
	{ "backend/null/map/read-4k/qd32-chains", SYNC, MAP, IN, 4096, 32, 32, true },
	{ "backend/null/map/write-4k/qd1-chains", SYNC, MAP, OUT, 4096, 1, 1, true },
	{ "backend/null/map/write-4k/qd16-chains", SYNC, MAP, OUT, 4096, 16, 16, true },
	{ "backend/null/map/read-64k/qd1-chains", SYNC, MAP, IN, 65536, 1, 1, true },
	{ "backend/null/map/read-64k/qd16-chains", SYNC, MAP, IN, 65536, 16, 16, true },
	{ "backend/null/copy/read-4k/qd1", SYNC, COPY, IN, 4096, 1, 1, false },
	{ "backend/null/copy/read-4k/qd16", SYNC, COPY, IN, 4096, 16, 16, false },
	{ "backend/null/copy/read-4k/qd1-chains", SYNC, COPY, IN, 4096, 1, 1, true },
	{ "backend/null/copy/read-4k/qd16-chains", SYNC, COPY, IN, 4096, 16, 16, true },
	{ "backend/null/copy/read-4k/qd32-chains", SYNC, COPY, IN, 4096, 32, 32, true },
	{ "backend/null/copy/write-4k/qd1-chains", SYNC, COPY, OUT, 4096, 1, 1, true },
	{ "backend/null/copy/write-4k/qd16-chains", SYNC, COPY, OUT, 4096, 16, 16, true },
	{ "backend/null/copy/get-id/qd32", SYNC, COPY, ID, 20, 32, 32, false },
	{ "backend/uring/pool/read-4k/qd1", URING, POOL, IN, 4096, 1, 1, false },
	{ "backend/uring/pool/read-4k/qd16", URING, POOL, IN, 4096, 16, 16, false },
	{ "backend/uring/pool/read-4k/qd32", URING, POOL, IN, 4096, 32, 32, false },
	{ "backend/uring/pool/read-64k/qd16", URING, POOL, IN, 65536, 16, 16, false },
	{ "backend/uring/copy/read-4k/qd1-chains", URING, COPY, IN, 4096, 1, 1, true },
	{ "backend/uring/copy/read-4k/qd16-chains", URING, COPY, IN, 4096, 16, 16, true },
	{ "backend/uring/copy/read-4k/qd32-chains", URING, COPY, IN, 4096, 32, 32, true },
};

/* ---- an engine that does nothing ---------------------------------------- */

/*
 * Instead of engine_sync.c.  Operations stay under way while there are no
 * more than null_hold of them, so that the depth can exceed the batch.
 */
static unsigned int null_hold;

struct null_engine {
	struct blk_engine e;
	struct blk_op_list queue;
	unsigned int nr_queued;
};

static int64_t null_result(const struct blk_op *op)
{
	int64_t bytes = 0;
	unsigned int i;

	for (i = 0; op->kind <= BLK_OP_WRITE && i < op->nr_iov; i++)
		bytes += (int64_t)op->iov[i].iov_len;
	return bytes;
}

int64_t blk_op_run_sync(int fd, const struct blk_op *op)
{
	(void)fd;
	return null_result(op);
}

static void null_submit(struct blk_engine *e, struct blk_op *op)
{
	struct null_engine *ne = container_of(e, struct null_engine, e);

	blk_op_list_add(&ne->queue, op);
	ne->nr_queued++;
}

static void null_kick(struct blk_engine *e)
{
	struct null_engine *ne = container_of(e, struct null_engine, e);

	while (ne->nr_queued > null_hold) {
		struct blk_op *op = blk_op_list_take(&ne->queue);

		ne->nr_queued--;
		e->done(e->arg, op, null_result(op));
	}
}

static void null_destroy(struct blk_engine *e)
{
	free(container_of(e, struct null_engine, e));
}

static const struct blk_engine_ops null_ops = {
	.name = "null",
	.submit = null_submit,
	.kick = null_kick,
	.destroy = null_destroy,
};

int blk_engine_sync_create(int fd,
			   void (*done)(void *arg, struct blk_op *op,
					int64_t res),
			   void *arg, struct blk_engine **out)
{
	struct null_engine *ne = vg_zalloc(sizeof(*ne));

	ne->e = (struct blk_engine){
		.ops = &null_ops, .fd = fd, .done = done, .arg = arg,
	};
	blk_op_list_init(&ne->queue);
	*out = &ne->e;
	return 0;
}

/* How often the backend reads events: the fake counts each event. */
static uint64_t event_reads;

int __real_xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port);
int __wrap_xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port);
int __wrap_xen_evtchn_pending(struct xen_evtchn *ec, xen_port_t *port)
{
	event_reads++;
	return __real_xen_evtchn_pending(ec, port);
}

unsigned int __real_xen_evtchn_pending_all(struct xen_evtchn *ec,
					   xen_port_t *ports, unsigned int max);
unsigned int __wrap_xen_evtchn_pending_all(struct xen_evtchn *ec,
					   xen_port_t *ports, unsigned int max);
unsigned int __wrap_xen_evtchn_pending_all(struct xen_evtchn *ec,
					   xen_port_t *ports, unsigned int max)
{
	event_reads++;
	return __real_xen_evtchn_pending_all(ec, ports, max);
}

/* And how often it would ask a mapper: the fake knows of none. */
static uint64_t exchanges;

int __real_xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
			   struct xen_copy_seg *segs, unsigned int count);
int __wrap_xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
			   struct xen_copy_seg *segs, unsigned int count);
int __wrap_xen_gnttab_copy(struct xen_gnttab *gt, xen_domid_t domid,
			   struct xen_copy_seg *segs, unsigned int count)
{
	exchanges++;
	return __real_xen_gnttab_copy(gt, domid, segs, count);
}

int __real_xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			       struct xen_copy_seg *segs, unsigned int nr_segs,
			       struct xen_map_job *jobs, unsigned int nr_jobs);
int __wrap_xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			       struct xen_copy_seg *segs, unsigned int nr_segs,
			       struct xen_map_job *jobs, unsigned int nr_jobs);
int __wrap_xen_gnttab_exchange(struct xen_gnttab *gt, xen_domid_t domid,
			       struct xen_copy_seg *segs, unsigned int nr_segs,
			       struct xen_map_job *jobs, unsigned int nr_jobs)
{
	exchanges++;
	return __real_xen_gnttab_exchange(gt, domid, segs, nr_segs, jobs,
					  nr_jobs);
}

/*
 * The rig can stop the backend at steps that only a build for tests has: it
 * sets this, and here nobody looks.
 */
extern void (*vg_step_hook)(void);
void (*vg_step_hook)(void);

/* ---- the guest ---------------------------------------------------------- */

static struct fake_disk disk;
static struct drv d;
static struct drv_buf data;
static struct rig_worker *worker;

/* What is under way, by head. */
static struct request {
	unsigned int slot;
	uint8_t *status;
	uint64_t sector;
} request[NUM];
static unsigned int free_slot[DEPTH_MAX], nr_free_slots;
static uint64_t next_sector;

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 9) * 13 + 5);
}

static void image_make(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	static uint8_t buf[65536];
	uint64_t at, i;

	for (at = 0; at < IMAGE_BYTES; at += sizeof(buf)) {
		for (i = 0; i < sizeof(buf); i++)
			buf[i] = pattern(at + i);
		if (pwrite(fd, buf, sizeof(buf), (off_t)at) != sizeof(buf))
			bench_die("%s: %s", path, strerror(errno));
	}
	close(fd);
}

static void announce(xen_ref_t first, uint32_t pages)
{
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_SEL, 0);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_FIRST, first);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_PAGES, pages);
	drv_write(&d, VIRTIO_GRANT_MMIO_RANGE_STATE, 1);
	if (drv_read(&d, VIRTIO_GRANT_MMIO_RANGE_STATE) !=
	    VIRTIO_GRANT_RANGE_HELD)
		bench_die("the range is refused");
}

static void bind_port(void)
{
	xen_port_t port = fake_guest_alloc_unbound(GUEST, RIG_BACKEND);

	drv_write(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	drv_write(&d, VIRTIO_GRANT_MMIO_QUEUE_PORT, port);
	if (drv_read(&d, VIRTIO_GRANT_MMIO_QUEUE_STATE) !=
	    VIRTIO_GRANT_QUEUE_BOUND)
		bench_die("the event channel is refused");
	d.q[0].port = port;
}

/* All memory of the guest in consecutive pages, with consecutive references. */
static void guest_start(const struct config *c)
{
	unsigned int i;
	int err = drv_negotiate(&d);

	if (err)
		bench_die("negotiation: %s", strerror(-err));
	d.nr_queues = 1;
	err = drv_queue_init(&d, 0, NUM);
	if (err)
		bench_die("queue: %s", strerror(-err));
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	for (i = 0; i < NUM; i++)
		d.q[0].table[i] = drv_buf(&d, 16 * 512, false);
	data = drv_buf(&d, DEPTH_MAX * SLOT_BYTES, false);
	if (c->memory == POOL)
		announce(d.q[0].mem.ref,
			 data.ref + data.pages - d.q[0].mem.ref);
	bind_port();
	err = drv_queue_enable(&d, 0);
	if (!err)
		err = drv_driver_ok(&d);
	if (err)
		bench_die("start: %s", strerror(-err));
	next_sector = 0;
	for (nr_free_slots = 0; nr_free_slots < DEPTH_MAX; nr_free_slots++)
		free_slot[nr_free_slots] = DEPTH_MAX - 1 - nr_free_slots;
}

static void submit(const struct config *c)
{
	struct request r = { .slot = free_slot[--nr_free_slots] };
	struct drv_seg seg = {
		data.addr + r.slot * SLOT_BYTES, c->len_bytes, c->type != OUT,
	};
	int head;

	if (c->type != ID) {
		r.sector = next_sector;
		next_sector = (next_sector + SLOT_BYTES / 512) %
			(IMAGE_BYTES / 512);
	}
	head = drv_blk_add(&d, &d.q[0], c->type, r.sector, &seg, 1,
			   !c->is_direct, &r.status);
	if (head < 0)
		bench_die("the ring is full");
	request[head] = r;
}

/* Takes what is done; the number of requests. */
static unsigned int take(void)
{
	unsigned int n = 0;
	int head;

	while ((head = drv_take(&d.q[0], NULL)) != -EAGAIN) {
		if (head < 0 || *request[head].status != VIRTIO_BLK_S_OK)
			bench_die("a request failed");
		free_slot[nr_free_slots++] = request[head].slot;
		n++;
	}
	fake_guest_take_event(GUEST, d.q[0].port);
	return n;
}

static void turn(void)
{
	bench_enter();
	vg_loop_run_once(worker->loop, 0);
	bench_leave();
}

/* @n requests, in batches, each from an event until as many are used. */
static void run(const struct config *c, unsigned int n)
{
	unsigned int i;

	for (; n >= c->batch; n -= c->batch) {
		unsigned int done = 0;
		uint64_t until = 0;

		for (i = 0; i < c->batch; i++)
			submit(c);
		drv_kick(&d, &d.q[0], false);
		while (done < c->batch) {
			if (!until)
				until = rig_now_ms() + 10000;
			else if (rig_now_ms() > until)
				bench_die("a request does not end");
			turn();
			done += take();
		}
	}
}

/* Whether data goes where it belongs; not of the null engine's. */
static void check_data(const struct config *c)
{
	unsigned int i, slot = free_slot[nr_free_slots - 1];
	uint64_t at = next_sector * 512;
	uint8_t *p = data.va + slot * SLOT_BYTES, byte;
	int fd = open(disk.params, O_RDONLY | O_CLOEXEC);

	for (i = 0; i < c->len_bytes; i++)
		p[i] = c->type == OUT ? pattern(at + i) : 0;
	submit(c);
	drv_kick(&d, &d.q[0], false);
	while (!take())
		vg_loop_run_once(worker->loop, 0);
	for (i = 0; i < c->len_bytes; i += 101)
		if (pread(fd, &byte, 1, (off_t)(at + i)) != 1 ||
		    byte != pattern(at + i) || p[i] != byte)
			bench_die("wrong data at %u", i);
	close(fd);
}

/* ---- one configuration -------------------------------------------------- */

static void measure(const struct config *c)
{
	static const enum fake_call kinds[] = {
		FAKE_GNTTAB_MAP, FAKE_GNTTAB_UNMAP, FAKE_GNTTAB_COPY,
		FAKE_EVTCHN_NOTIFY, FAKE_EVTCHN_UNMASK, FAKE_EVTCHN_PENDING,
	};
	static const char *const keys[] = {
		"maps", "unmaps", "copies", "notifies", "unmasks",
		"fake_reads",
	};
	/* A multiple of every batch. */
	unsigned int i, per_round = 512;
	unsigned int held = c->depth - c->batch;
	uint64_t calls[ARRAY_SIZE(kinds)];

	if (c->len_bytes > 4096)
		per_round /= 4;
	if (c->engine == URING)
		check_data(c);
	/* Fills the device up to its depth first; then lists have grown. */
	null_hold = held;
	for (i = 0; i < held; i++)
		submit(c);
	run(c, per_round);

	bench_begin(c->name);
	fake_count_reset();
	event_reads = exchanges = 0;
	do {
		run(c, per_round);
		bench_round(per_round);
	} while (bench_more());
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		calls[i] = fake_calls(RIG_BACKEND, kinds[i]);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		bench_per_unit(keys[i], calls[i]);
	bench_per_unit("reads", event_reads);
	bench_per_unit("exchanges", exchanges);
	bench_end();

	null_hold = 0;
	if (held) {
		/* One more brings the others out. */
		unsigned int done = 0;

		submit(c);
		drv_kick(&d, &d.q[0], true);
		while (done <= held) {
			vg_loop_run_once(worker->loop, 0);
			done += take();
		}
	}
}

/*
 * Where the image is: io_uring reads the page cache of a file on disk at once.
 * On tmpfs another thread of the kernel's does that, as for writing on ext4
 * (seen with Linux 6.18), and then there is no figure for one core.
 */
static char image[4096];

static void image_name(void)
{
	ssize_t n = readlink("/proc/self/exe", image, sizeof(image) - 8);

	if (n < 0)
		bench_die("/proc/self/exe: %s", strerror(errno));
	memcpy(image + n, ".image", 7);
}

static void run_config(const struct config *c)
{
	unsigned int i;

	rig_up();
	vg_blk_options.engine = c->engine;
	rig.cfg.copy_max_bytes = c->memory == COPY ? COPY_MAX_BYTES : 0;
	if (rig_broker_start() || rig_sup_start())
		bench_die("the daemons do not start");
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	disk.params = image;
	image_make(disk.params);
	if (!rig_disk_add(&disk))
		bench_die("the disk is not served");
	d = rig_drv(&disk);
	worker = rig_worker_of(GUEST);
	guest_start(c);
	fake_enter_proc(worker->proc);
	measure(c);
	if (drv_reset(&d) || drv_exit(&d))
		bench_die("something is still mapped");
	for (i = 0; i < data.pages; i++)
		if (fake_grant_end(GUEST, data.ref + i))
			bench_die("something is still mapped");
	if (rig_down())
		bench_die("something was left behind");
	unlink(image);
}

int main(int argc, char **argv)
{
	unsigned int i;

	bench_init(argc, argv);
	image_name();
	/* States: memory, as the daemon's are. */
	if (!getenv("TMPDIR") && !access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	for (i = 0; i < ARRAY_SIZE(configs); i++) {
		/* Its instructions depend on the kernel's timing. */
		if (configs[i].engine == URING && bench_mode == BENCH_COUNT)
			continue;
		if (bench_is_wanted(configs[i].name))
			run_config(&configs[i]);
	}
	return 0;
}
