// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_console.c - the console (dev/console/): a driver on one side, real ptys
 * and sockets on the other, opened by the supervisor's half as it does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <linux/virtio_console.h>

#include "endpoint_faults.h"
#include "host.h"
#include "dev/type.h"
#include "grantd/sandbox_filter.h"
#include "lib/endpoint.h"
#include "lib/util.h"
#include "virtio/state.h"

#define NUM		16u
#define MULTIPORT	(UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT)
#define PORTS_MAX	VG_ENDPOINTS_MAX
#define QUEUES_MAX	(2 * (PORTS_MAX + 1))
#define FD_LOG		0u

extern const struct vg_dev_type vg_dev_console;

WRAP(epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev),
     (ep, op, fd, ev))

/* ---- the toolstack and the supervisor ------------------------------------ */

static const char *ports_key, *backing_key;
static int keys_errno = ENOENT;

static char *key_read(const struct vg_keys *keys, const char *key)
{
	const char *v = !strcmp(key, "console-ports") ? ports_key :
			!strcmp(key, "console-backing") ? backing_key : NULL;

	(void)keys;
	errno = keys_errno;
	return v ? strdup(v) : NULL;
}

static const struct vg_keys keys = { .where = "/node", .read = key_read };

static void option(const char *name, const char *arg, const char *wrong)
{
	const struct vg_dev_option *o;

	for (o = vg_dev_console.options; o->name; o++)
		if (!strcmp(o->name, name))
			break;
	assert_non_null(o->name);
	if (!wrong)
		assert_null(o->parse(arg));
	else
		assert_non_null(strstr(o->parse(arg), wrong));
}

struct env {
	struct host *h;
	char *run_dir;
	void *res;
	struct vg_dev_how how;
	struct vg_dev_parts parts;
	struct vg_state *state;
	struct flat_queue q[QUEUES_MAX];
	uint64_t rx_addr[QUEUES_MAX][NUM];
	unsigned int nr_queues;
	int peer[4];
};

static int res_open(struct env *e, char **why)
{
	*why = NULL;
	memset(&e->parts, 0, sizeof(e->parts));
	return vg_dev_console.host->open(e->res, &e->how, &e->parts, why);
}

static void parts_close(struct env *e)
{
	unsigned int i;

	for (i = 0; i < VG_DEV_FDS_MAX; i++)
		if (e->parts.fds[i] >= 0)
			close(e->parts.fds[i]);
}

/* Refused, for a reason that says @text. */
static void refused(struct env *e, int err, const char *text)
{
	char *why;

	assert_int_equal(res_open(e, &why), err);
	assert_non_null(why);
	if (!strstr(why, text))
		fail_msg("\"%s\" lacks \"%s\"", why, text);
	free(why);
}

static char *path_of(const struct env *e, const char *port)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/console/5-2%s%s", e->run_dir,
		 *port ? "/" : "", port);
	return path;
}

static void worker_start(struct env *e, enum vg_start start)
{
	struct vg_device_params p = {
		.label = "dom5 console", .type = &vg_dev_console,
		.parts = &e->parts, .queue_size_max = 64, .state = e->state,
		.state_nr_queues = e->nr_queues, .start = start,
	};
	char *why;

	assert_int_equal(res_open(e, &why), 0);
	assert_null(why);
	e->how.was_served = true;
	e->how.nr_queues = e->parts.nr_queues;
	assert_int_equal(host_device_create(e->h, &p), 0);
	if (start == VG_START_TAKE_OVER)
		vg_device_resume(e->h->dev);
	host_run(e->h);
}

/* As if it were killed: what it had begun stays begun. */
static void worker_replace(struct env *e)
{
	vg_device_leave(e->h->dev);
	host_run(e->h);
	assert_int_equal(e->h->stops, 1);
	e->h->stops = 0;
	assert_int_equal(e->h->f.reqs_now, 0);
	vg_device_destroy(e->h->dev);
	worker_start(e, VG_START_TAKE_OVER);
}

static void env_prepare(struct env *e, const char *ports, const char *backing)
{
	ports_key = ports;
	backing_key = backing;
	keys_errno = ENOENT;
	e->run_dir = unit_tmpdir();
	e->res = vg_dev_console.host->create(NULL, "dom5 console");
	e->how = (struct vg_dev_how){
		.keys = &keys, .guest = 5, .devid = 2, .run_dir = e->run_dir,
		.nr_queues = 4,
	};
	memset(e->peer, -1, sizeof(e->peer));
}

static struct env *env_create(const char *ports, const char *backing)
{
	struct env *e = calloc(1, sizeof(*e));
	const char *s = ports;

	env_prepare(e, ports, backing);
	for (e->nr_queues = 4; s && (s = strchr(s, ',')); s++)
		e->nr_queues += 2;
	e->state = calloc(1, vg_state_bytes(e->nr_queues));
	e->h = calloc(1, sizeof(*e->h));
	flat_init(&e->h->f);
	assert_int_equal(vg_loop_create(&e->h->loop), 0);
	worker_start(e, VG_START_NEW);
	return e;
}

static void env_destroy(struct env *e)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(e->peer); i++)
		if (e->peer[i] >= 0)
			close(e->peer[i]);
	if (e->h)
		host_destroy(e->h);
	vg_dev_console.host->close(e->res);
	assert_int_equal(access(path_of(e, ""), F_OK), -1);
	vg_dev_console.host->destroy(e->res);
	unit_rm_r(e->run_dir);
	free(e->state);
	free(e);
}

/* ---- the driver ---------------------------------------------------------- */

static uint64_t counter(struct env *e, const char *name)
{
	unsigned int i;

	for (i = 0; strcmp(vg_dev_console.stat_names[i], name); i++)
		;
	return vg_device_stats(e->h->dev)->type[i];
}

static unsigned int rx_of(unsigned int port)
{
	return port ? 2 + 2 * port : 0;
}

static void notify(struct env *e, unsigned int queue)
{
	vg_device_queue_notify(e->h->dev, queue);
	host_run(e->h);
}

static uint16_t post_rx(struct env *e, unsigned int queue, uint32_t len)
{
	struct drv_buf b = { flat_alloc(&e->h->f, len, 16), len, true };
	uint16_t head = drv_add(&e->q[queue], &b, 1);

	e->rx_addr[queue][head] = b.addr;
	notify(e, queue);
	return head;
}

static void driver_start(struct env *e, uint64_t without)
{
	struct host *h = e->h;
	unsigned int i;

	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER);
	host_accept(h, host_features(h) & ~without);
	host_write(h, VIRTIO_MMIO_STATUS, ST_ACK | ST_DRIVER | ST_FEATURES);
	assert_true(host_read(h, VIRTIO_MMIO_STATUS) & ST_FEATURES);
	for (i = 0; i < (without & MULTIPORT ? 2 : e->nr_queues); i++) {
		drv_init(&e->q[i], &h->f, NUM);
		host_set_queue(h, i, &e->q[i]);
	}
	host_write(h, VIRTIO_MMIO_STATUS,
		   ST_ACK | ST_DRIVER | ST_FEATURES | ST_LIVE);
	host_run(h);
}

static uint16_t tx_put(struct env *e, unsigned int port, const void *data,
		       uint32_t len)
{
	struct drv_buf b = { flat_alloc(&e->h->f, len, 1), len, false };
	uint16_t head;

	memcpy(flat_ptr(&e->h->f, b.addr), data, len);
	head = drv_add(&e->q[rx_of(port) + 1], &b, 1);
	notify(e, rx_of(port) + 1);
	return head;
}

static bool used(struct env *e, unsigned int queue)
{
	uint32_t id, len;

	return drv_used(&e->q[queue], &id, &len);
}

static bool tx(struct env *e, unsigned int port, const char *text)
{
	tx_put(e, port, text, (uint32_t)strlen(text));
	return used(e, rx_of(port) + 1);
}

static void control_raw(struct env *e, const void *data, uint32_t len)
{
	struct drv_buf b = { flat_alloc(&e->h->f, len, 1), len, false };

	memcpy(flat_ptr(&e->h->f, b.addr), data, len);
	drv_add(&e->q[3], &b, 1);
	notify(e, 3);
	assert_true(used(e, 3));
}

static void control(struct env *e, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control c = {
		.id = htole32(id), .event = htole16(event),
		.value = htole16(value),
	};

	control_raw(e, &c, sizeof(c));
}

/* Within two seconds, since others want the machine, too. */
static bool wait_used(struct env *e, unsigned int queue, uint32_t *id,
		      uint32_t *len)
{
	uint64_t end = vg_now_ns() + 2000 * UINT64_C(1000000);

	while (!drv_used(&e->q[queue], id, len)) {
		if (vg_now_ns() > end)
			return false;
		vg_loop_run_once(e->h->loop, 5);
	}
	return true;
}

/* The next message is that one, with @extra behind it; its buffer goes back. */
static void expect_extra(struct env *e, uint32_t port, uint16_t event,
			 int value, const void *extra, size_t extra_bytes)
{
	struct virtio_console_control c;
	const uint8_t *p;
	uint32_t id, len;

	if (!wait_used(e, 2, &id, &len))
		fail_msg("no message %u of port %u", event, port);
	p = flat_ptr(&e->h->f, e->rx_addr[2][id]);
	memcpy(&c, p, sizeof(c));
	assert_int_equal(le16toh(c.event), event);
	assert_int_equal(le32toh(c.id), port);
	if (value >= 0)
		assert_int_equal(le16toh(c.value), value);
	assert_int_equal(len, sizeof(c) + extra_bytes);
	assert_memory_equal(p + sizeof(c), extra, extra_bytes);
	post_rx(e, 2, 64);
}

static void expect(struct env *e, uint32_t port, uint16_t event, int value)
{
	expect_extra(e, port, event, value, "", 0);
}

static void expect_name(struct env *e, uint32_t port, const char *name)
{
	expect_extra(e, port, VIRTIO_CONSOLE_PORT_NAME, -1, name, strlen(name));
}

static void expect_nothing(struct env *e)
{
	host_run(e->h);
	assert_false(used(e, 2));
}

static void control_buffers(struct env *e, unsigned int n)
{
	while (n--)
		post_rx(e, 2, 64);
}

/* Ports are ready and open, as Linux does it. */
static void ports_up(struct env *e, unsigned int nr)
{
	unsigned int i, n;
	uint32_t id, len;

	driver_start(e, 0);
	control_buffers(e, 8);
	control(e, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (i = 0; i < nr; i++)
		expect(e, i, VIRTIO_CONSOLE_PORT_ADD, -1);
	for (i = 0; i < nr; i++) {
		control(e, i, VIRTIO_CONSOLE_PORT_READY, 1);
		control(e, i, VIRTIO_CONSOLE_PORT_OPEN, 1);
		for (n = 0; drv_used(&e->q[2], &id, &len); n++)
			post_rx(e, 2, 64);
		assert_true(n >= 2);
	}
	host_run(e->h);
}

static void run_ms(struct env *e, unsigned int ms)
{
	uint64_t end = vg_now_ns() + ms * UINT64_C(1000000);

	while (vg_now_ns() < end)
		vg_loop_run_once(e->h->loop, 5);
}

/* ---- who attaches -------------------------------------------------------- */

static int attach(struct env *e, const char *port)
{
	int fd = open(path_of(e, port), O_RDWR | O_NOCTTY | O_NONBLOCK |
		      O_CLOEXEC, 0);

	if (fd < 0)
		fail_msg("%s: %s", path_of(e, port), strerror(errno));
	return fd;
}

/* It is noticed by the clock. */
static int attach_seen(struct env *e, const char *port)
{
	uint64_t before = counter(e, "attaches");
	unsigned int i;
	int fd = attach(e, port);

	for (i = 0; i < 200 && counter(e, "attaches") == before; i++)
		vg_loop_run_once(e->h->loop, 5);
	assert_int_equal(counter(e, "attaches"), before + 1);
	host_run(e->h);
	return fd;
}

static int client(struct env *e, const char *port)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path_of(e, port));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	host_run(e->h);
	return fd;
}

/* What comes, until nothing has for a moment. */
static size_t take(struct env *e, int fd, void *buf, size_t max)
{
	size_t n = 0;
	unsigned int i;

	for (i = 0; i < 100 && n < max; i++) {
		ssize_t got = read(fd, (uint8_t *)buf + n, max - n);

		vg_loop_run_once(e->h->loop, got > 0 ? 0 : 1);
		if (got > 0) {
			n += (size_t)got;
			i = 0;
		}
	}
	return n;
}

static void expect_text(struct env *e, int fd, const char *text)
{
	char buf[256] = "";

	assert_int_equal(take(e, fd, buf, strlen(text)), strlen(text));
	assert_string_equal(buf, text);
	assert_int_equal(read(fd, buf, sizeof(buf)), -1);
}

/* The next used buffer of the port has that. */
static void expect_input(struct env *e, unsigned int port, const char *text)
{
	unsigned int queue = rx_of(port);
	uint32_t id, len;

	assert_true(wait_used(e, queue, &id, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(flat_ptr(&e->h->f, e->rx_addr[queue][id]), text,
			    len);
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* ---- control messages ---------------------------------------------------- */

static void identity_and_config(void **state)
{
	struct env *e = env_create("a,b,c", NULL);
	struct host *h = e->h;

	(void)state;
	assert_int_equal(host_read(h, VIRTIO_MMIO_DEVICE_ID), 3);
	assert_int_equal(host_features(h) & 7, 7);
	assert_int_equal(vg_device_info(h->dev)->nr_queues, 8);
	assert_int_equal(host_read(h, VIRTIO_MMIO_CONFIG), 0);
	assert_int_equal(host_read(h, VIRTIO_MMIO_CONFIG + 4), 3);
	assert_int_equal(host_read(h, VIRTIO_MMIO_CONFIG + 8), 0);
	env_destroy(e);
}

static void control_protocol(void **state)
{
	struct env *e = env_create("con,agent", NULL);

	(void)state;
	driver_start(e, 0);
	control(e, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	/* Pending until there are buffers. */
	control_buffers(e, 1);
	expect(e, 0, VIRTIO_CONSOLE_PORT_ADD, -1);
	expect(e, 1, VIRTIO_CONSOLE_PORT_ADD, -1);
	expect_nothing(e);
	/* 5.3.6.2.1: not again. */
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_nothing(e);
	control(e, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(e, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect_name(e, 0, "con");
	expect(e, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_nothing(e);
	control(e, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_name(e, 1, "agent");
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	expect_nothing(e);
	assert_int_equal(counter(e, "opens"), 0);
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(counter(e, "opens"), 1);
	assert_int_equal(counter(e, "open_mask"), 2);
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(counter(e, "open_mask"), 0);
	/* The driver could not add it, and tries again. */
	control(e, 1, VIRTIO_CONSOLE_PORT_READY, 0);
	expect_nothing(e);
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(e, 1, VIRTIO_CONSOLE_PORT_ADD, -1);
	expect_nothing(e);
	assert_int_equal(counter(e, "bad_messages"), 0);
	assert_int_equal(counter(e, "control_messages"), 9);
	/* Nothing of that is left after a reset. */
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	driver_start(e, 0);
	control_buffers(e, 4);
	expect_nothing(e);
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(e, 0, VIRTIO_CONSOLE_PORT_ADD, -1);
	/* It gave up. */
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	env_destroy(e);
}

static void control_bad(void **state)
{
	static const uint8_t bytes[64] = { 0 };
	struct env *e = env_create("con,agent", NULL);
	uint32_t id, len, i;

	(void)state;
	driver_start(e, 0);
	control_raw(e, bytes, 1);
	control_raw(e, bytes, 7);
	control(e, 2, VIRTIO_CONSOLE_PORT_READY, 1);
	control(e, UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(e, 0, VIRTIO_CONSOLE_PORT_ADD, 1);
	control(e, 0, VIRTIO_CONSOLE_PORT_NAME, 1);
	control(e, 0, 0xffff, 0xffff);
	assert_int_equal(counter(e, "bad_messages"), 7);
	assert_int_equal(counter(e, "opens"), 0);
	/* One in pieces, with something behind it. */
	{
		struct virtio_console_control c = { .event = 0, .value = 1 };
		struct drv_buf b[9];
		uint64_t at = flat_alloc(&e->h->f, 64, 1);

		memcpy(flat_ptr(&e->h->f, at), &c, sizeof(c));
		for (i = 0; i < 9; i++)
			b[i] = (struct drv_buf){ at + i, i < 8 ? 1 : 20,
						 false };
		drv_add(&e->q[3], b, 9);
		notify(e, 3);
		assert_true(used(e, 3));
	}
	assert_int_equal(counter(e, "bad_messages"), 7);
	/* A buffer without room for any message is counted and goes back. */
	post_rx(e, 2, 7);
	assert_true(drv_used(&e->q[2], &id, &len));
	assert_int_equal(len, 0);
	assert_int_equal(counter(e, "bad_messages"), 8);
	control_buffers(e, 2);
	expect(e, 0, VIRTIO_CONSOLE_PORT_ADD, -1);
	expect(e, 1, VIRTIO_CONSOLE_PORT_ADD, -1);
	/* A storm leaves one message of each kind. */
	for (i = 0; i < 500; i++) {
		control(e, 1, VIRTIO_CONSOLE_PORT_READY, 1);
		control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, i & 1);
		if (!i)
			while (drv_used(&e->q[2], &id, &len))
				;
	}
	for (i = 0; i < NUM; i++)
		post_rx(e, 2, 64);
	host_run(e->h);
	for (i = 0; drv_used(&e->q[2], &id, &len); i++)
		;
	assert_true(i <= 4);
	assert_int_equal(vg_device_stats(e->h->dev)->broken, 0);
	env_destroy(e);
}

/* 5.3.6.1: the device stops until it is reset. */
static void wrong_way(void **state)
{
	static const unsigned int queue[] = { 0, 1, 2, 3 };
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(queue); i++) {
		struct env *e = env_create(NULL, NULL);
		struct drv_buf b = { flat_alloc(&e->h->f, 64, 1), 64,
				     queue[i] % 2 };

		e->peer[0] = attach(e, "console");
		driver_start(e, 0);
		control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		control(e, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
		run_ms(e, 1);
		say(e->peer[0], "x");
		run_ms(e, 1);
		drv_add(&e->q[queue[i]], &b, 1);
		notify(e, queue[i]);
		assert_int_equal(vg_device_stats(e->h->dev)->broken,
				 VG_BROKEN_REQUEST);
		env_destroy(e);
	}
}

/* ---- bytes --------------------------------------------------------------- */

static void without_multiport(void **state)
{
	struct env *e = env_create("con,agent", NULL);

	(void)state;
	e->peer[0] = attach(e, "con");
	driver_start(e, MULTIPORT);
	assert_true(tx(e, 0, "login: "));
	expect_text(e, e->peer[0], "login: ");
	post_rx(e, 0, 64);
	say(e->peer[0], "root\r");
	expect_input(e, 0, "root\r");
	assert_int_equal(counter(e, "tx_bytes"), 7);
	assert_int_equal(counter(e, "rx_bytes"), 5);
	assert_int_equal(counter(e, "dropped_bytes"), 0);
	env_destroy(e);
}

/* Sizes and chains of all kinds: each byte once, in order. */
static void bytes_both_ways(void **state)
{
	static uint8_t data[40000], got[40000];
	struct env *e = env_create("con,agent", *state);
	size_t sent = 0, came = 0, i;
	uint32_t id, len;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	ports_up(e, 2);
	e->peer[0] = *state ? client(e, "agent") : attach_seen(e, "agent");
	while (sent < sizeof(data)) {
		struct drv_buf b[3];
		uint64_t at;
		unsigned int n = 0;

		for (i = 0; i < 3 && sent < sizeof(data); i++, n++) {
			size_t l = min_u(1 + (sent * 31) % 1999,
					 sizeof(data) - sent);

			at = flat_alloc(&e->h->f, l, 1);
			memcpy(flat_ptr(&e->h->f, at), data + sent, l);
			b[n] = (struct drv_buf){ at, (uint32_t)l, false };
			sent += l;
		}
		drv_add(&e->q[5], b, n);
		notify(e, 5);
		came += take(e, e->peer[0], got + came, sent - came);
		assert_true(used(e, 5));
	}
	assert_int_equal(came, sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(counter(e, "dropped_bytes"), 0);
	/* And back: buffers of several pieces. */
	for (sent = came = 0; came < sizeof(data);) {
		uint64_t at = flat_alloc(&e->h->f, 900, 1);
		struct drv_buf b[2] = { { at, 1 + (uint32_t)came % 300, true },
					{ at + 400, 500, true } };
		uint16_t head = drv_add(&e->q[4], b, 2);

		if (sent < sizeof(data)) {
			ssize_t n = write(e->peer[0], data + sent,
					  min_u(333, sizeof(data) - sent));

			sent += n > 0 ? (size_t)n : 0;
		}
		notify(e, 4);
		if (!wait_used(e, 4, &id, &len))
			fail_msg("no input after %zu bytes", came);
		assert_int_equal(id, head);
		memcpy(got + came, flat_ptr(&e->h->f, at),
		       min_u(len, b[0].len));
		if (len > b[0].len)
			memcpy(got + came + b[0].len,
			       flat_ptr(&e->h->f, at + 400), len - b[0].len);
		came += len;
	}
	assert_memory_equal(got, data, sizeof(data));
	env_destroy(e);
}

/* Read only while the guest has the port open, and only into its buffers. */
static void input_waits(void **state)
{
	struct env *e = env_create("con,agent", *state);
	uint64_t from;

	ports_up(e, 2);
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	e->peer[0] = *state ? client(e, "agent") : attach(e, "agent");
	post_rx(e, 4, 3);
	say(e->peer[0], "hello");
	run_ms(e, 20);
	assert_false(used(e, 4));
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(e, 1, "hel");
	run_ms(e, 20);
	assert_int_equal(counter(e, "rx_bytes"), 3);
	/* Closed while a buffer is asked for: not into that one. */
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	post_rx(e, 4, 3);
	run_ms(e, 5);
	assert_false(used(e, 4));
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(e, 1, "lo");
	/* What one leaves who goes is not lost. */
	say(e->peer[0], "bye");
	close(e->peer[0]);
	e->peer[0] = -1;
	host_run(e->h);
	from = vg_now_ns();
	post_rx(e, 4, 2);
	expect_input(e, 1, "by");
	post_rx(e, 4, 2);
	expect_input(e, 1, "e");
	/* Nor does it wait for the next look. */
	assert_true(vg_now_ns() - from < 400 * UINT64_C(1000000));
	env_destroy(e);
}

/* Opened, written to and closed between two looks. */
static void input_in_passing(void **state)
{
	struct env *e = env_create(NULL, NULL);
	int fd;

	(void)state;
	ports_up(e, 1);
	post_rx(e, 0, 64);
	fd = attach(e, "console");
	say(fd, "reboot\r");
	close(fd);
	run_ms(e, 600);
	expect_input(e, 0, "reboot\r");
	env_destroy(e);
}

static void flow_control(void **state)
{
	static char big[50000], got[sizeof(big) * 2];
	struct env *e = env_create("con,agent", *state);
	size_t n, all = 0;
	unsigned int i;

	memset(big, 'x', sizeof(big));
	ports_up(e, 2);
	e->peer[0] = *state ? client(e, "agent") : attach_seen(e, "agent");
	/* More than any buffer between us takes. */
	for (i = 0; i < 10; i++) {
		tx_put(e, 1, big, sizeof(big));
		all += sizeof(big);
	}
	run_ms(e, 300);
	assert_int_equal(counter(e, "dropped_bytes"), 0);
	for (i = 0; used(e, 5); i++)
		;
	assert_true(i < 10);
	/* Its neighbour and its control messages do not wait with it. */
	assert_true(tx(e, 0, "x"));
	control(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	while ((n = take(e, e->peer[0], got, sizeof(got)))) {
		all -= n;
		while (used(e, 5))
			i++;
	}
	assert_int_equal(i, 10);
	assert_int_equal(all, 0);
	/* It goes while output waits. */
	for (i = 0; i < 10; i++)
		tx_put(e, 1, big, sizeof(big));
	close(e->peer[0]);
	e->peer[0] = -1;
	host_run(e->h);
	for (i = 0; used(e, 5); i++)
		;
	assert_int_equal(i, 10);
	assert_int_equal(counter(e, "tx_bytes") +
			 counter(e, "dropped_bytes"),
			 2 * 10 * sizeof(big) + 1);
	env_destroy(e);
}

/* As much as is taken, and a request that waits; all of its bytes. */
static uint64_t fill(struct env *e, unsigned int port)
{
	static char big[60000];
	uint64_t bytes = 0;

	do {
		tx_put(e, port, big, sizeof(big));
		bytes += sizeof(big);
	} while (used(e, rx_of(port) + 1));
	return bytes;
}

static void console_drops(void **state)
{
	struct env *e = env_create(NULL, *state);
	uint64_t from, before;
	uint32_t id, len;
	unsigned int i;

	ports_up(e, 1);
	/* Nobody there: at once. */
	assert_true(tx(e, 0, "boot"));
	assert_int_equal(counter(e, "dropped_bytes"), 4);
	e->peer[0] = *state ? client(e, "console") : attach(e, "console");
	from = vg_now_ns();
	fill(e, 0);
	assert_int_equal(counter(e, "dropped_bytes"), 4);
	assert_true(wait_used(e, 1, &id, &len));
	assert_true(vg_now_ns() - from >= 90 * UINT64_C(1000000));
	assert_true(vg_now_ns() - from < 1500 * UINT64_C(1000000));
	assert_true(counter(e, "dropped_bytes") > 1000);
	/* It is not waited for again and again. */
	before = counter(e, "dropped_bytes");
	from = vg_now_ns();
	for (i = 0; i < 100; i++) {
		tx_put(e, 0, "0123456789abcdef", 16);
		while (!used(e, 1))
			vg_loop_run_once(e->h->loop, 1);
	}
	assert_true(vg_now_ns() - from < 1500 * UINT64_C(1000000));
	assert_int_equal(counter(e, "dropped_bytes"), before + 1600);
	/* It reads again. */
	while (take(e, e->peer[0], (char[4096]){ 0 }, 4096))
		;
	assert_true(tx(e, 0, "hello"));
	expect_text(e, e->peer[0], "hello");
	env_destroy(e);
}

static void detach_and_attach(void **state)
{
	struct env *e = env_create("con,agent", *state);
	unsigned int i;

	ports_up(e, 2);
	for (i = 0; i < 3; i++) {
		/* Nothing is read of it yet: it is known all the same. */
		e->peer[0] = *state ? client(e, "agent") :
				      attach_seen(e, "agent");
		expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		assert_int_equal(counter(e, "attached_mask"), 2);
		assert_true(tx(e, 1, "one"));
		expect_text(e, e->peer[0], "one");
		close(e->peer[0]);
		e->peer[0] = -1;
		host_run(e->h);
		expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
		assert_int_equal(counter(e, "attached_mask"), 0);
		assert_true(tx(e, 1, "two"));
		assert_int_equal(counter(e, "dropped_bytes"), 3 * i + 3);
	}
	/* Coming and going is nothing to a console. */
	e->peer[0] = *state ? client(e, "con") : attach_seen(e, "con");
	expect_nothing(e);
	env_destroy(e);
}

/* One at a time; the others wait. */
static void second_client(void **state)
{
	struct env *e = env_create(NULL, "socket");

	(void)state;
	ports_up(e, 1);
	e->peer[0] = client(e, "console");
	e->peer[1] = client(e, "console");
	assert_int_equal(counter(e, "attaches"), 1);
	assert_true(tx(e, 0, "to the first"));
	expect_text(e, e->peer[0], "to the first");
	close(e->peer[0]);
	e->peer[0] = -1;
	host_run(e->h);
	assert_int_equal(counter(e, "attaches"), 2);
	assert_true(tx(e, 0, "to the second"));
	expect_text(e, e->peer[1], "to the second");
	/* One that only says that it has no more to say is gone. */
	shutdown(e->peer[1], SHUT_WR);
	host_run(e->h);
	assert_int_equal(counter(e, "attached_mask"), 0);
	/* No request waits for the next one. */
	post_rx(e, 0, 64);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	/* Nor if it goes with what it has not read. */
	e->peer[0] = client(e, "console");
	assert_true(tx(e, 0, "unread"));
	close(e->peer[0]);
	e->peer[0] = -1;
	host_run(e->h);
	assert_int_equal(counter(e, "attached_mask"), 0);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	env_destroy(e);
}

/* The loop rests, whatever state a port is in. */
static void nothing_spins(void **state)
{
	struct env *e = env_create("con,agent", *state);
	unsigned int i, n = 0;

	ports_up(e, 2);
	e->peer[0] = *state ? client(e, "agent") : attach_seen(e, "agent");
	e->peer[1] = *state ? client(e, "con") : attach_seen(e, "con");
	say(e->peer[0], "nobody takes it");
	fill(e, 1);
	for (i = 0; i < 2; i++) {
		uint64_t end = vg_now_ns() + 700 * UINT64_C(1000000);

		while (vg_now_ns() < end)
			n += vg_loop_run_once(e->h->loop, 700) > 0;
		close(e->peer[i]);
		e->peer[i] = -1;
	}
	assert_in_range(n, 1, 20);
	env_destroy(e);
}

/* ---- requests that wait, and the end ------------------------------------- */

static void cancel(void **state)
{
	struct env *e = env_create("con,agent", *state);
	uint64_t bytes;
	uint32_t v;

	ports_up(e, 2);
	e->peer[0] = *state ? client(e, "agent") : attach_seen(e, "agent");
	bytes = fill(e, 1);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 1);
	/* Of the queue. */
	host_write(e->h, VIRTIO_MMIO_QUEUE_SEL, 5);
	if (!host_access(e->h, VIRTIO_MMIO_QUEUE_READY, 4, true, 0, &v)) {
		host_run(e->h);
		assert_int_equal(e->h->nr_replies, 1);
		e->h->nr_replies = 0;
	}
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 0);
	assert_true(counter(e, "dropped_bytes") > 0);
	assert_int_equal(counter(e, "tx_bytes") +
			 counter(e, "dropped_bytes"), bytes);
	drv_init(&e->q[5], &e->h->f, NUM);
	host_set_queue(e->h, 5, &e->q[5]);
	host_run(e->h);
	bytes += fill(e, 1);
	/* Of the device. */
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	host_run(e->h);
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(e->h->f.reqs_now, 0);
	assert_int_equal(counter(e, "tx_bytes") +
			 counter(e, "dropped_bytes"), bytes);
	while (take(e, e->peer[0], (char[4096]){ 0 }, 4096))
		;
	ports_up(e, 2);
	assert_true(tx(e, 1, "again"));
	expect_text(e, e->peer[0], "again");
	fill(e, 1);
	env_destroy(e);		/* and it does not wait either */
}

/* ---- size ---------------------------------------------------------------- */

static void set_size(int fd, uint16_t cols, uint16_t rows)
{
	struct winsize ws = { .ws_col = cols, .ws_row = rows };

	assert_int_equal(ioctl(fd, TIOCSWINSZ, &ws), 0);
}

static void expect_resize(struct env *e, uint16_t cols, uint16_t rows)
{
	uint16_t size[2] = { htole16(cols), htole16(rows) };

	expect_extra(e, 0, VIRTIO_CONSOLE_RESIZE, -1, size, sizeof(size));
}

static void resize(void **state)
{
	struct env *e = env_create("con,agent", NULL);
	uint32_t generation;

	(void)state;
	e->peer[0] = attach(e, "con");
	set_size(e->peer[0], 80, 25);
	driver_start(e, 0);
	control_buffers(e, 4);
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(e, 0, VIRTIO_CONSOLE_PORT_ADD, -1);
	expect(e, 1, VIRTIO_CONSOLE_PORT_ADD, -1);
	assert_true(tx(e, 0, "x"));	/* so it is seen */
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_CONFIG), 80 | 25 << 16);
	control(e, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(e, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect_name(e, 0, "con");
	expect_resize(e, 80, 25);
	expect(e, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	generation = host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION);
	e->h->irqs_config = 0;
	set_size(e->peer[0], 132, 50);
	run_ms(e, 1100);
	expect_resize(e, 132, 50);
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_CONFIG), 132 | 50 << 16);
	assert_int_not_equal(host_read(e->h, VIRTIO_MMIO_CONFIG_GENERATION),
			     generation);
	assert_int_equal(e->h->irqs_config, 1);
	/* Nobody knows what that is to be. */
	set_size(e->peer[0], 0, 0);
	run_ms(e, 1100);
	expect_nothing(e);
	env_destroy(e);
}

/* ---- the log, and emergencies -------------------------------------------- */

static struct json_object *described(struct env *e, struct json_object **notes)
{
	struct json_object *o = json_object_new_object();

	*notes = json_object_new_array();
	vg_dev_console.host->describe(e->res,
				      vg_device_stats(e->h->dev)->type, o,
				      *notes);
	return o;
}

static const char *note(struct json_object *notes)
{
	return json_object_array_length(notes) ? json_object_get_string(
			json_object_array_get_idx(notes, 0)) : "";
}

static void log_is_bounded(void **state)
{
	struct json_object *o, *notes;
	char *dir = unit_tmpdir(), *path = vg_strf("%s/dom5-2.log", dir);
	char big[700], got[2048];
	struct env *e;
	struct stat st;
	int fd;

	(void)state;
	option("console-log", dir, NULL);
	option("console-log-max", "1", NULL);
	memset(big, 'b', sizeof(big));
	e = env_create("con,agent", NULL);
	assert_int_equal(e->parts.file_max_bytes, 1024);
	ports_up(e, 2);
	/* Whoever reads it or not, and of the console only. */
	assert_true(tx(e, 1, "other"));
	assert_true(tx(e, 0, "first "));
	e->peer[0] = attach_seen(e, "con");
	tx_put(e, 0, big, sizeof(big));
	assert_int_equal(counter(e, "log_bytes"), 706);
	o = described(e, &notes);
	assert_string_equal(note(notes), "");
	json_object_put(o);
	json_object_put(notes);
	/* A successor goes on where it ended. */
	worker_replace(e);
	tx_put(e, 0, big, sizeof(big));
	assert_int_equal(counter(e, "log_bytes"), 318);
	assert_int_equal(counter(e, "log_lost_bytes"), 382);
	o = described(e, &notes);
	assert_non_null(strstr(note(notes), "takes no more"));
	json_object_put(o);
	json_object_put(notes);
	fd = open(path, O_RDONLY, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(read(fd, got, sizeof(got)), 1024);
	assert_memory_equal(got, "first bbb", 9);
	close(fd);
	env_destroy(e);
	/* What is no file, or can't be made, is no log. */
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	e = calloc(1, sizeof(*e));
	env_prepare(e, NULL, NULL);
	refused(e, -ELOOP, path);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_NONBLOCK, 0);
	refused(e, -EINVAL, path);
	close(fd);
	/* But a guest that is served goes on without it. */
	e->how.was_served = true;
	{
		char *why;

		assert_int_equal(res_open(e, &why), 0);
		assert_non_null(strstr(why, path));
		free(why);
		assert_int_equal(e->parts.fds[FD_LOG], -1);
		parts_close(e);
	}
	env_destroy(e);
	option("console-log-max", "1024", NULL);
	unlink(path);
	free(path);
	unit_rm_r(dir);
}

static void emergency_write(void **state)
{
	struct env *e = env_create(NULL, NULL);
	uint64_t dropped, all;
	unsigned int i;
	uint32_t v;

	(void)state;
	/* Without a driver, and without anybody. */
	host_write(e->h, VIRTIO_MMIO_CONFIG + 8, 'a');
	assert_int_equal(counter(e, "dropped_bytes"), 1);
	e->peer[0] = attach(e, "console");
	host_write(e->h, VIRTIO_MMIO_CONFIG + 8, 'b' | 0x4100);
	assert_true(host_access(e->h, VIRTIO_MMIO_CONFIG + 8, 1, true, 'c',
				&v));
	/* No others are written. */
	host_write(e->h, VIRTIO_MMIO_CONFIG, 0x11223344);
	host_write(e->h, VIRTIO_MMIO_CONFIG + 4, 0x11223344);
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_CONFIG), 0);
	expect_text(e, e->peer[0], "bc");
	assert_int_equal(counter(e, "tx_bytes"), 2);
	/* It never waits. */
	driver_start(e, 0);
	fill(e, 0);
	dropped = counter(e, "dropped_bytes");
	all = dropped + counter(e, "tx_bytes");
	/* The kernel finds room for some, a little later. */
	for (i = 0; i < 100000 &&
	     counter(e, "dropped_bytes") == dropped; i++)
		host_write(e->h, VIRTIO_MMIO_CONFIG + 8, 'd');
	assert_int_equal(counter(e, "dropped_bytes"), dropped + 1);
	assert_int_equal(counter(e, "tx_bytes") + dropped + 1, all + i);
	assert_false(used(e, 1));
	/* Nor does it need the rings. */
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	host_run(e->h);
	while (take(e, e->peer[0], (char[4096]){ 0 }, 4096))
		;
	driver_start(e, 0);
	e->q[1].avail->idx = htole16(100);
	notify(e, 1);
	assert_int_not_equal(vg_device_stats(e->h->dev)->broken, 0);
	host_write(e->h, VIRTIO_MMIO_CONFIG + 8, 'e');
	expect_text(e, e->peer[0], "e");
	env_destroy(e);
}

/* ---- options and keys ---------------------------------------------------- */

static void options(void **state)
{
	static const char ports16[] = "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p";
	static const char long_name[] = "a23456789012345678901234567890123";
	struct vg_endpoint_conf conf;
	struct env *e;
	char *why;

	(void)state;
	option("console-ports", "", "no names");
	option("console-ports", "a,", "no names");
	option("console-ports", ",a", "no names");
	option("console-ports", "a,,b", "no names");
	option("console-ports", "a b", "no names");
	option("console-ports", "a/b", "no names");
	option("console-ports", "../a", "no names");
	option("console-ports", long_name, "no names");
	option("console-ports", ".", ". and ..");
	option("console-ports", "a,..", ". and ..");
	option("console-ports", "a,b,a", "same name");
	option("console-ports", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "16");
	option("console-ports", ports16, NULL);
	option("console-ports", long_name + 1, NULL);
	option("console-backing", "tty", "none of pty, socket");
	option("console-backing", "socket", NULL);
	option("console-log", "relative", "absolute");
	option("console-log-max", "1k", "KiB");
	option("console-log-max", "67108865", "KiB");
	option("console-log-max", "-1", "KiB");
	option("console-ports", "one,two", NULL);
	e = calloc(1, sizeof(*e));
	env_prepare(e, NULL, NULL);
	assert_int_equal(res_open(e, &why), 0);
	assert_int_equal(e->parts.nr_queues, 6);
	memcpy(&conf, e->parts.blob, sizeof(conf));
	assert_int_equal(conf.is_socket, 1);
	parts_close(e);
	env_destroy(e);
	option("console-backing", "pty", NULL);
	option("console-ports", "console", NULL);
}

static void keys_override(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	(void)state;
	env_prepare(e, "a,a", NULL);
	refused(e, -EINVAL, "/node/console-ports: \"a,a\": two ports");
	ports_key = NULL;
	backing_key = "pipe";
	refused(e, -EINVAL, "/node/console-backing: \"pipe\": none of");
	backing_key = NULL;
	keys_errno = EACCES;
	refused(e, -EACCES, "/node/console-ports: Permission");
	keys_errno = ENOENT;
	/* What its guest knows is not taken away from it. */
	e->how.has_left = true;
	e->how.nr_queues = 8;
	refused(e, -EINVAL, "its guest knows 3");
	e->how.has_left = false;
	/* A socket has to be somewhere. */
	e->how.run_dir = NULL;
	backing_key = "socket";
	refused(e, -ENOENT, "for its ports");
	env_destroy(e);
}

/* ---- the supervisor's side ----------------------------------------------- */

static void links(void **state)
{
	struct env *e = env_create("con,agent", *state);
	struct json_object *o, *notes;
	struct termios t;
	struct stat st;
	char *s;
	int fd;

	assert_int_equal(lstat(path_of(e, ""), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(lstat(path_of(e, "agent"), &st), 0);
	if (*state) {
		assert_true(S_ISSOCK(st.st_mode));
		assert_int_equal(st.st_mode & 0777, 0600);
	} else {
		assert_true(S_ISLNK(st.st_mode));
		fd = attach(e, "agent");
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		assert_int_equal(tcgetattr(fd, &t), 0);
		assert_false(t.c_lflag & (ECHO | ICANON | ISIG));
		assert_false(t.c_oflag & OPOST);
		close(fd);
	}
	s = vg_dev_console.host->summary(e->res);
	assert_non_null(strstr(s, "/console/5-2/con, 2 ports"));
	free(s);
	e->peer[0] = *state ? client(e, "agent") : -1;
	o = described(e, &notes);
	s = vg_strdup(json_object_to_json_string(o));
	assert_non_null(strstr(s, "\"name\": \"agent\""));
	assert_non_null(strstr(s, *state ? "\"attached\": true" :
					   "\"attached\": false"));
	assert_non_null(strstr(s, *state ? "\"backing\": \"socket\"" :
					   "\"backing\": \"pty\""));
	free(s);
	json_object_put(o);
	json_object_put(notes);
	env_destroy(e);
}

/* What a dead daemon left is replaced, and leads nowhere. */
static void stale_links(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	char *victim, *path, *why;

	env_prepare(e, "con,agent", *state);
	victim = vg_strf("%s/victim", e->run_dir);
	close(open(victim, O_CREAT | O_WRONLY, 0600));
	path = vg_strf("%s/console", e->run_dir);
	/* A link in place of a directory is not followed. */
	assert_int_equal(symlink(e->run_dir, path), 0);
	refused(e, -ENOTDIR, "/console/5-2");
	unlink(path);
	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(symlink(e->run_dir, path_of(e, "")), 0);
	refused(e, -ENOTDIR, "/console/5-2");
	assert_int_equal(access(victim, F_OK), 0);
	unlink(path_of(e, ""));
	assert_int_equal(mkdir(path_of(e, ""), 0777), 0);
	assert_int_equal(symlink(victim, path_of(e, "con")), 0);
	close(open(path_of(e, "old"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(res_open(e, &why), 0);
	parts_close(e);
	assert_int_equal(access(victim, F_OK), 0);
	assert_int_equal(access(path_of(e, "old"), F_OK), -1);
	env_destroy(e);
	free(victim);
	free(path);
}

/* Each call fails once: it says so, nothing is left, and later it works. */
static void calls_fail(void **state)
{
	struct env *e = calloc(1, sizeof(*e));
	unsigned int n, fds;
	char *why, *path;
	int err;

	env_prepare(e, "con,agent", *state);
	path = vg_strf("%s/console", e->run_dir);
	fds = unit_nr_fds();
	for (n = 1; n < 100; n++) {
		mkdir(path, 0700);
		mkdir(path_of(e, ""), 0700);
		symlink("/nowhere", path_of(e, "old"));
		nr_calls = 0;
		fail_at = n;
		err = res_open(e, &why);
		fail_at = 0;
		if (!err && nr_calls < n)
			break;
		/* An EEXIST that came as something else. */
		assert_int_equal(err, -EIO);
		assert_non_null(why);
		free(why);
		vg_dev_console.host->close(e->res);
		assert_int_equal(unit_nr_fds(), fds);
	}
	assert_true(n > 10 && n < 100);
	parts_close(e);
	env_destroy(e);
	free(path);
}

/* What the loop can't be told to watch is looked at. */
static void watch_fails(void **state)
{
	struct env *e = env_create("con,agent", NULL);

	(void)state;
	ports_up(e, 2);
	post_rx(e, 4, 64);
	e->peer[0] = attach(e, "agent");
	nr_calls = 0;
	fail_at = 1;
	fail_nr = 100;
	assert_true(tx(e, 1, "out"));
	fail_at = 0;
	fail_nr = 1;
	assert_in_range(nr_calls, 1, 99);
	expect_text(e, e->peer[0], "out");
	say(e->peer[0], "in");
	expect_input(e, 1, "in");
	close(e->peer[0]);
	e->peer[0] = -1;
	host_run(e->h);
	assert_int_equal(counter(e, "attached_mask"), 0);
	env_destroy(e);
}

/* ---- workers come and go ------------------------------------------------- */

static void take_over(void **state)
{
	struct env *e = env_create("con,agent", NULL);
	struct stat before, after;

	(void)state;
	ports_up(e, 2);
	e->peer[0] = attach_seen(e, "agent");
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	e->peer[1] = attach_seen(e, "con");
	set_size(e->peer[1], 90, 30);
	assert_int_equal(stat(path_of(e, "con"), &before), 0);
	say(e->peer[0], "typed before");
	run_ms(e, 1);
	worker_replace(e);
	assert_int_equal(stat(path_of(e, "con"), &after), 0);
	assert_int_equal(before.st_rdev, after.st_rdev);
	/* The guest sees no reset, and what changed. */
	assert_int_equal(host_read(e->h, VIRTIO_MMIO_STATUS), 0xf);
	assert_int_equal(counter(e, "open_mask"), 3);
	assert_int_equal(counter(e, "attached_mask"), 3);
	expect_resize(e, 90, 30);
	expect_nothing(e);
	post_rx(e, 4, 64);
	expect_input(e, 1, "typed before");
	assert_true(tx(e, 1, "after"));
	expect_text(e, e->peer[0], "after");
	/* It was there, and goes while nobody serves. */
	vg_device_leave(e->h->dev);
	host_run(e->h);
	e->h->stops = 0;
	vg_device_destroy(e->h->dev);
	close(e->peer[0]);
	e->peer[0] = -1;
	worker_start(e, VG_START_TAKE_OVER);
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	env_destroy(e);
}

static void take_over_pending(void **state)
{
	struct env *e = env_create("con,agent", NULL);

	(void)state;
	driver_start(e, 0);
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	worker_replace(e);
	control_buffers(e, 1);
	expect(e, 0, VIRTIO_CONSOLE_PORT_ADD, -1);
	worker_replace(e);
	expect(e, 1, VIRTIO_CONSOLE_PORT_ADD, -1);
	worker_replace(e);
	expect_nothing(e);
	control(e, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_nothing(e);
	control(e, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(e, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	worker_replace(e);
	expect_name(e, 0, "con");
	expect(e, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_nothing(e);
	env_destroy(e);
}

static void control_put(struct env *e, const struct virtio_console_control *c)
{
	struct drv_buf b = { flat_alloc(&e->h->f, 8, 8), 8, false };

	memcpy(flat_ptr(&e->h->f, b.addr), c, sizeof(*c));
	drv_add(&e->q[3], &b, 1);
	vg_device_queue_notify(e->h->dev, 3);
}

/* Whether a successor would send that port 0 is to be added. */
static bool is_pending(const struct env *e)
{
	struct vg_state_regs regs;

	assert_int_equal(vg_state_read(e->state, 3, e->nr_queues, &regs), 0);
	return ((uint8_t *)regs.type)[5] & 1;
}

/* Killed in the middle of any turn: a message is sent twice, but not lost. */
static void message_not_lost(void **state)
{
	const struct virtio_console_control c = { .value = htole16(1) };
	struct env *e = env_create(NULL, NULL);

	(void)state;
	driver_start(e, 0);
	control_buffers(e, 2);
	control_put(e, &c);
	vg_loop_run_once(e->h->loop, 0);
	/* The guest's is used: then what it asks for is saved. */
	assert_int_equal(e->q[3].used->idx, 1);
	assert_int_equal(e->q[2].used->idx, 0);
	assert_true(is_pending(e));
	/* Ours is, and something else was saved in the same turn. */
	control_put(e, &c);
	vg_loop_run_once(e->h->loop, 0);
	assert_int_equal(e->q[2].used->idx, 1);
	assert_int_equal(e->q[3].used->idx, 2);
	assert_true(is_pending(e));
	host_run(e->h);
	assert_int_equal(e->q[2].used->idx, 1);
	assert_false(is_pending(e));
	env_destroy(e);
}

/* Output that waits is written by the successor: twice, maybe, but not lost. */
static void take_over_output(void **state)
{
	static char got[200000];
	struct env *e = env_create("con,agent", NULL);
	uint64_t bytes;
	size_t n;

	(void)state;
	ports_up(e, 2);
	e->peer[0] = attach_seen(e, "agent");
	bytes = fill(e, 1);
	worker_replace(e);
	assert_int_equal(vg_device_stats(e->h->dev)->redone, 1);
	assert_int_equal(vg_device_stats(e->h->dev)->in_flight, 1);
	n = take(e, e->peer[0], got, sizeof(got));
	assert_in_range(n, bytes, 2 * bytes);
	assert_true(used(e, 5));
	assert_int_equal(counter(e, "dropped_bytes"), 0);
	env_destroy(e);
}

static void take_over_socket(void **state)
{
	struct env *e = env_create("con,agent", "socket");

	(void)state;
	ports_up(e, 2);
	e->peer[0] = client(e, "agent");
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	worker_replace(e);
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(read(e->peer[0], (char[4]){ 0 }, 4), 0);
	e->peer[1] = client(e, "agent");
	expect(e, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_true(tx(e, 1, "again"));
	expect_text(e, e->peer[1], "again");
	env_destroy(e);
}

/* A predecessor wrote nonsense. */
static void state_is_not_trusted(void **state)
{
	struct env *e = env_create("con,agent", NULL);
	struct vg_state_regs regs;

	(void)state;
	ports_up(e, 2);
	vg_device_leave(e->h->dev);
	host_run(e->h);
	e->h->stops = 0;
	vg_device_destroy(e->h->dev);
	assert_int_equal(vg_state_read(e->state, 3, e->nr_queues, &regs), 0);
	memset(regs.type, 0xff, sizeof(regs.type));
	vg_state_write(e->state, &regs);
	worker_start(e, VG_START_TAKE_OVER);
	run_ms(e, 20);
	host_write(e->h, VIRTIO_MMIO_STATUS, 0);
	ports_up(e, 2);
	env_destroy(e);
}

/* ---- in its sandbox ------------------------------------------------------ */

/* The child: a worker that echoes what is typed, until both said enough. */
static void confined(struct env *e, uint32_t *violation)
{
	struct vg_dev_prepared p = { 0 };
	/* Of ASan, before _exit(). */
	static const struct vg_dev_syscall asan = { SYS_sigaltstack, -1, 0 };
	struct vg_sandbox_calls calls[] = { { NULL, 0 }, { &asan, 1 } };
	const struct vg_sandbox sb = {
		.kind = VG_SANDBOX_WORKER, .calls = calls, .nr_calls = 2,
		.violation = violation,
	};
	unsigned int i, port;
	uint32_t id, len;

	vg_dev_console.prepare(&p);
	calls[0].of = p.syscalls;
	calls[0].nr = p.nr_syscalls;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (vg_sandbox_filter(&sb))
		_exit(2);
	ports_up(e, 2);
	post_rx(e, 0, 64);
	post_rx(e, 4, 64);
	for (i = 0; i < 2000 && counter(e, "tx_bytes") < 8; i++) {
		vg_loop_run_once(e->h->loop, 5);
		for (port = 0; port < 2; port++) {
			unsigned int q = rx_of(port);

			if (drv_used(&e->q[q], &id, &len))
				tx_put(e, port, flat_ptr(&e->h->f,
					e->rx_addr[q][id]), len);
		}
	}
	/* Its timers, and the end of both. */
	run_ms(e, 700);
	for (i = 0; i < 1000 && counter(e, "attached_mask"); i++)
		vg_loop_run_once(e->h->loop, 5);
	_exit(counter(e, "rx_bytes") == 8 &&
	      counter(e, "attached_mask") == 0 ? 0 : 3);
}

static void in_its_sandbox(void **state)
{
	struct env *e = env_create("con,agent", *state);
	static const char *const port[] = { "con", "agent" };
	unsigned int i, k;
	uint32_t *violation = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status, fd;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		confined(e, violation);
	for (i = 0; i < 2; i++) {
		char buf[5] = "";

		fd = *state ? socket(AF_UNIX, SOCK_STREAM, 0) :
			      attach(e, port[i]);
		if (*state) {
			struct sockaddr_un sa = { .sun_family = AF_UNIX };

			snprintf(sa.sun_path, sizeof(sa.sun_path), "%s",
				 path_of(e, port[i]));
			assert_int_equal(connect(fd, (struct sockaddr *)&sa,
						 sizeof(sa)), 0);
		}
		say(fd, "echo");
		for (k = 0; k < 400 && read(fd, buf, 4) != 4; k++)
			usleep(10000);
		assert_string_equal(buf, "echo");
		close(fd);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (*violation)
		fail_msg("system call %u", *violation - 1);
	munmap(violation, 4096);
	assert_int_equal(status, 0);
	env_destroy(e);
}

#define T(f)	cmocka_unit_test(f)
#define P(f)	{ #f " (pty)", f, NULL, NULL, NULL }, \
		{ #f " (socket)", f, NULL, NULL, (void *)(uintptr_t)"socket" }

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity_and_config), T(control_protocol), T(control_bad),
		T(wrong_way), T(without_multiport), P(bytes_both_ways),
		P(input_waits), T(input_in_passing), P(flow_control),
		P(console_drops), P(detach_and_attach), T(second_client),
		P(nothing_spins), P(cancel), T(resize), T(emergency_write),
		T(options), T(keys_override), P(links), P(stale_links),
		P(calls_fail), T(watch_fails), T(take_over),
		T(take_over_pending), T(message_not_lost),
		T(take_over_output), T(take_over_socket),
		T(state_is_not_trusted), P(in_its_sandbox),
		/* From here on there is a log. */
		T(log_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
