// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_resize.c - an image that becomes larger while its disk is served, or
 * smaller: asked for by virtio-grantctl's socket and by xenstore, under
 * requests, with workers and calls that fail meanwhile.
 *
 * As root also with a loop device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/loop.h>

#include "lib/ctl_server.h"
#include "lib/util.h"
#include "rig.h"
#include "toolstack/refusals.h"

#define GUEST	3u
#define SECTORS	(RIG_IMAGE_BYTES / 512)
#define NAME	"dom3 virtio_disk/51712"

static struct fake_disk disk;
static struct drv d;
static struct drv_buf buf;
static struct vg_ctl_server *server;
static char *sock;
/* What workers were allowed to write, and whether that fails. */
static uint64_t allowed_bytes;
static int allow_error;

static int allow(void *arg, xen_domid_t guest, uint64_t size_bytes)
{
	(void)arg;
	assert_int_equal(guest, GUEST);
	if (!allow_error)
		allowed_bytes = size_bytes;
	return allow_error;
}

static int serve(void)
{
	return vg_ctl_server_create(rig.sup_loop, sock, vg_supervisor_answer,
				    rig.sup, &server);
}

static int setup(void **state)
{
	(void)state;
	rig_up();
	rig.cfg.allow_file = allow;
	rig.cfg.queue_size_max = 16;
	rig.cfg.respawn_calm_ns = 1;
	allowed_bytes = 0;
	allow_error = 0;
	if (rig_broker_start() || rig_sup_start())
		return -1;
	sock = vg_strf("%s/ctl.sock", rig.dir);
	rig_guest(GUEST, 2);
	disk = rig_disk(GUEST, 0);
	return serve();
}

static int teardown(void **state)
{
	vg_ctl_server_destroy(server);
	free(sock);
	return rig_teardown(state);
}

static void add(void)
{
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	d.num = 16;
}

static void start(void)
{
	add();
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
	drv_irq(&d);
}

static void finish(void)
{
	drv_buf_end(&d, &buf);
	assert_false(drv_needs_reset(&d));
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
}

static int io(uint32_t type, uint64_t sector)
{
	return drv_blk_buf(&d, type, sector, &buf, 0, 512);
}

/* ---- who asks ----------------------------------------------------------- */

static int ask_only(const char *device)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char *request = vg_strf("resize %s\n", device);

	strcpy(sa.sun_path, sock);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 strlen(request));
	free(request);
	return fd;
}

static bool has_answer(int fd, char *text, size_t room)
{
	ssize_t n = recv(fd, text, room - 1, 0);

	if (n < 0)
		return false;
	text[n] = 0;
	return true;
}

/* JSON may write a '/' so. */
static void unescape(char *text)
{
	char *p;

	while ((p = strstr(text, "\\/")))
		memmove(p, p + 1, strlen(p));
}

/* A static buffer; closes @fd. */
static const char *answer(int fd, unsigned int patience_ms)
{
	uint64_t until = rig_now_ms() + patience_ms;
	static char text[1024];

	while (!has_answer(fd, text, sizeof(text))) {
		assert_true(rig_now_ms() < until);
		rig_step();
	}
	close(fd);
	unescape(text);
	return text;
}

static const char *ask(void)
{
	return answer(ask_only(NAME), 5000);
}

static void assert_says(const char *text, bool is_done, const char *what)
{
	if (strncmp(text, is_done ? "{\"done\":true," : "{\"done\":false,",
		    is_done ? 13 : 14) || !strstr(text, what))
		fail_msg("\"%s\" is not %d with \"%s\"", text, is_done, what);
}

static void image_is(uint64_t bytes)
{
	assert_int_equal(truncate(disk.params, (off_t)bytes), 0);
}

/* Told, once, and not before. */
static void capacity_is(uint64_t sectors)
{
	assert_true(rig_until(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG));
	assert_int_equal(drv_config(&d, 0, 8), sectors);
	rig_steps(5);
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
}

static void nothing_changed(void)
{
	rig_steps(5);
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(drv_config(&d, 0, 8), SECTORS);
}

static bool status_says(const char *what)
{
	char *text = vg_supervisor_answer(rig.sup, "status", 0);
	bool is;

	unescape(text);
	is = strstr(text, what);
	free(text);
	return is;
}

static void new_worker(void)
{
	rig_worker_kill(rig_worker_of(GUEST));
	rig_steps(3);
	assert_true(rig_until(rig_worker_of(GUEST) &&
			      fake_libxl_disk_key(&disk, "state") == 2 &&
			      status_says("\"state\":\"ready\"")));
}

/* ---- growing ------------------------------------------------------------ */

/* Through the last sector of what there is now, and not one further. */
static void use_the_end(uint64_t sectors)
{
	memset(buf.va, 0x5a, 512);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, sectors - 1), VIRTIO_BLK_S_OK);
	memset(buf.va, 0, 512);
	assert_int_equal(io(VIRTIO_BLK_T_IN, sectors - 1), VIRTIO_BLK_S_OK);
	assert_int_equal(buf.va[511], 0x5a);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, sectors), VIRTIO_BLK_S_IOERR);
}

static void grow(void)
{
	uint32_t generation = drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION);

	image_is(2 * RIG_IMAGE_BYTES);
	rig_steps(5);
	nothing_changed();
	assert_int_equal(io(VIRTIO_BLK_T_IN, SECTORS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(allowed_bytes, RIG_IMAGE_BYTES);
	assert_says(ask(), true, NAME ": /");
	assert_int_equal(allowed_bytes, 2 * RIG_IMAGE_BYTES);
	capacity_is(2 * SECTORS);
	assert_int_not_equal(drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION),
			     generation);
	assert_true(status_says("\"size_bytes\":2097152"));
	assert_true(unit_logged(NAME ": resized: "));
}

static void grows(void **state)
{
	(void)state;
	start();
	grow();
	use_the_end(2 * SECTORS);
	/* And is as large for a successor, which has nothing to tell. */
	new_worker();
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(drv_config(&d, 0, 8), 2 * SECTORS);
	use_the_end(2 * SECTORS);
	/* Nor has there been anything to do. */
	assert_says(ask(), true, "the image has 2097152 bytes, as the guest knows");
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	finish();
}

/* What a ring has registered is the file, however large. */
static void grows_with_io_uring(void **state)
{
	(void)state;
	vg_blk_options.engine = VG_BLK_ENGINE_AUTO;
	start();
	assert_int_equal(io(VIRTIO_BLK_T_OUT, 8), VIRTIO_BLK_S_OK);
	grow();
	use_the_end(2 * SECTORS);
	finish();
}

static void grows_with_o_direct(void **state)
{
	vg_blk_options.direct_io = VG_DIRECT_IO_ON;
	grows_with_io_uring(state);
}

static void grows_read_only(void **state)
{
	(void)state;
	disk.read_only = true;
	start();
	grow();
	assert_int_equal(io(VIRTIO_BLK_T_IN, 2 * SECTORS - 1),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, 2 * SECTORS - 1),
			 VIRTIO_BLK_S_IOERR);
	finish();
}

/* The limit of a worker's files is none of block devices. */
static void grows_as_a_loop_device(void **state)
{
	const char *file = disk.params;
	int loop;

	(void)state;
	free(unit_image(file, RIG_IMAGE_BYTES));
	disk.params = unit_loop(file, &loop);
	if (!disk.params)
		skip();
	start();
	assert_int_equal(truncate(file, 2 * RIG_IMAGE_BYTES), 0);
	assert_says(ask(), true, "as the guest knows");
	assert_int_equal(ioctl(loop, LOOP_SET_CAPACITY, 0), 0);
	assert_says(ask(), true, "2097152 bytes");
	assert_int_equal(allowed_bytes, 0);
	capacity_is(2 * SECTORS);
	use_the_end(2 * SECTORS);
	assert_int_equal(truncate(file, RIG_IMAGE_BYTES), 0);
	assert_int_equal(ioctl(loop, LOOP_SET_CAPACITY, 0), 0);
	assert_says(ask(), false, "the image has 1048576 bytes now, the guest knows 2097152");
	finish();
	unit_loop_end((char *)disk.params, loop);
}

/* What the guest has is the file, and not its name. */
static void grows_under_another_name(void **state)
{
	char *old = vg_strf("%s.old", disk.params);

	(void)state;
	start();
	assert_int_equal(rename(disk.params, old), 0);
	free(unit_image(disk.params, 4 * RIG_IMAGE_BYTES));
	assert_says(ask(), true, "as the guest knows");
	assert_int_equal(truncate(old, 2 * RIG_IMAGE_BYTES), 0);
	assert_says(ask(), true, "2097152 bytes");
	capacity_is(2 * SECTORS);
	finish();
	unlink(old);
	free(old);
}

static void grows_before_the_driver_is_there(void **state)
{
	(void)state;
	add();
	buf = drv_buf(&d, 4096, false);
	assert_int_equal(drv_negotiate(&d), 0);
	assert_int_equal(drv_config(&d, 0, 8), SECTORS);
	image_is(2 * RIG_IMAGE_BYTES);
	assert_says(ask(), true, "2097152 bytes");
	rig_steps(5);
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	/* One that had read the size already hears of it, from whomever. */
	new_worker();
	d.nr_queues = 1;
	assert_int_equal(drv_queue_init(&d, 0, d.num), 0);
	d.hdrs = drv_buf(&d, DRV_NUM_MAX * 64, false);
	assert_int_equal(drv_queue_enable(&d, 0), 0);
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(drv_driver_ok(&d), 0);
	capacity_is(2 * SECTORS);
	use_the_end(2 * SECTORS);
	finish();
}

static void is_larger_after_a_reset(void **state)
{
	(void)state;
	start();
	grow();
	drv_buf_end(&d, &buf);
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	d = rig_drv(&disk);
	d.num = 16;
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
	assert_int_equal(drv_config(&d, 0, 8), 2 * SECTORS);
	use_the_end(2 * SECTORS);
	finish();
}

/* ---- refused ------------------------------------------------------------ */

static void does_not_shrink(void **state)
{
	(void)state;
	start();
	image_is(RIG_IMAGE_BYTES / 2);
	assert_says(ask(), false, NAME ": the image has 524288 bytes now, the guest knows 1048576; a disk does not shrink while it is used");
	nothing_changed();
	image_is(0);
	assert_says(ask(), false, "the image has 0 bytes now");
	nothing_changed();
	assert_int_equal(allowed_bytes, RIG_IMAGE_BYTES);
	image_is(RIG_IMAGE_BYTES);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, SECTORS - 1), VIRTIO_BLK_S_OK);
	finish();
}

static void no_half_sectors(void **state)
{
	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES - 1);
	assert_says(ask(), false, "2097151 bytes now, which is not a multiple of 512 bytes");
	nothing_changed();
	image_is(2 * RIG_IMAGE_BYTES);
	assert_says(ask(), true, "2097152 bytes");
	capacity_is(2 * SECTORS);
	finish();
}

static void its_worker_may_not_write_more(void **state)
{
	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	allow_error = -EPERM;
	assert_says(ask(), false, "its worker can't be allowed to write so much: Operation not permitted");
	nothing_changed();
	allow_error = 0;
	assert_says(ask(), true, "2097152 bytes");
	capacity_is(2 * SECTORS);
	finish();
}

/* Its worker says that it can't: it is believed, and asked again next time. */
static void its_worker_refuses(void **state)
{
	struct rig_worker *rw;
	int fd, sup;

	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	rw = rig_worker_of(GUEST);
	rw->is_hung = true;
	fd = ask_only(NAME);
	rig_steps(10);
	{
		/* In its place, which nothing but its socket tells. */
		struct vg_worker_msg msg = { .op = VG_WORKER_RESIZED,
					     .error = -EINVAL,
					     .text = "no\x1bno" };

		assert_int_equal(vg_worker_send(rw->sock, &msg, NULL), 0);
	}
	assert_says(answer(fd, 5000), false, "its worker does not take the new size: no");
	assert_true(status_says("\"size_bytes\":1048576"));
	/* What nobody waits for changes nothing. */
	for (sup = 0; sup < 3; sup++) {
		struct vg_worker_msg msg = { .op = VG_WORKER_RESIZED };

		assert_int_equal(vg_worker_send(rw->sock, &msg, NULL), 0);
		rig_steps(5);
	}
	assert_true(status_says("\"size_bytes\":1048576"));
	rw->is_hung = false;
	assert_says(ask(), true, "2097152 bytes");
	capacity_is(2 * SECTORS);
	finish();
}

static void names(void **state)
{
	static const char *const bad[][2] = {
		{ "", "has not a domain" },
		{ "dom", "has not a domain" },
		{ "dom3", "has not a domain" },
		{ "dom3 ", "has not a kind" },
		{ "dom virtio_disk/51712", "has not a domain" },
		{ "domx virtio_disk/51712", "has not a domain" },
		{ "dom03 virtio_disk/51712", "has not a domain" },
		{ "dom-3 virtio_disk/51712", "has not a domain" },
		{ "dom65536 virtio_disk/51712", "has not a domain" },
		{ "dom3 virtio_dis/51712", "has not a kind" },
		{ "dom3 virtio_disks/51712", "has not a kind" },
		{ "dom3  virtio_disk/51712", "has not a kind" },
		{ "dom3 virtio_disk 51712", "has not a kind" },
		{ "dom3 virtio_disk/", "has not a device number" },
		{ "dom3 virtio_disk/x", "has not a device number" },
		{ "dom3 virtio_disk/051712", "has not a device number" },
		{ "dom3 virtio_disk/51712 ", "has not a device number" },
		{ "dom3 virtio_disk/4294967296", "has not a device number" },
		{ "dom3 virtio_disk/51713", "there is no such device" },
		{ "dom3 virtio/51712", "there is no such device" },
		{ "dom4/virtio_disk/51712", "there is no such device" },
	};
	unsigned int i;

	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_says(answer(ask_only(bad[i][0]), 5000), false,
			    bad[i][1]);
	nothing_changed();
	assert_says(answer(ask_only("dom3/virtio_disk/51712"), 5000), true,
		    "2097152 bytes");
	capacity_is(2 * SECTORS);
	finish();
}

/* Any line at all: an answer, and no disk that changed. */
static void any_request(void **state)
{
	static const char *const piece[] = {
		"resize", " ", "/", "dom", "3", "virtio_disk", "virtio", "0",
		"51712", "status", "\"", "\x80", "%n", "-", "4294967296",
	};
	char line[256], *request, *text;
	unsigned int i, k;

	(void)state;
	start();
	srand(1);
	for (i = 0; i < 20000; i++) {
		strcpy(line, i % 4 ? "resize dom" : "");
		for (k = (unsigned int)rand() % 8; k; k--)
			strcat(line, piece[(unsigned int)rand() %
					   ARRAY_SIZE(piece)]);
		/* Exactly as long as it is. */
		request = vg_strdup(line);
		text = vg_supervisor_answer(rig.sup, request, 0);
		assert_true(text != VG_CTL_LATER);
		free(text);
		free(request);
	}
	nothing_changed();
	finish();
}

/* ---- by xenstore -------------------------------------------------------- */

static char *key(void)
{
	return vg_strf("%s/resize", fake_libxl_disk_path(&disk));
}

static void write_key(const char *value)
{
	char *path = key();

	assert_int_equal(fake_store_write(0, path, "%s", value), 0);
	free(path);
}

static bool has_key(void)
{
	char *path = key();
	bool is = fake_store_exists(path);

	free(path);
	return is;
}

static char refusal[600];

static void refusal_is(void *arg, xen_domid_t domid, const char *text)
{
	(void)arg;
	assert_int_equal(domid, RIG_BACKEND);
	snprintf(refusal, sizeof(refusal), "%s", text);
}

/* As the control domain reads it. */
static const char *read_refusal(void)
{
	struct xen_store *xs;

	*refusal = 0;
	fake_enter(0);
	assert_int_equal(xen_store_open(&xs), 0);
	vg_refusals_read(xs, 0, refusal_is, NULL);
	xen_store_close(xs);
	return refusal;
}

static void by_key(void **state)
{
	(void)state;
	start();
	image_is(RIG_IMAGE_BYTES / 2);
	write_key("1");
	assert_true(rig_until(!has_key()));
	nothing_changed();
	assert_true(status_says("\"failures\":[\"" NAME ": the image has 524288 bytes now"));
	assert_non_null(strstr(read_refusal(), "a disk does not shrink"));
	image_is(2 * RIG_IMAGE_BYTES);
	write_key("");
	assert_true(rig_until(!has_key()));
	capacity_is(2 * SECTORS);
	use_the_end(2 * SECTORS);
	assert_string_equal(read_refusal(), "");
	/* Nothing to do is no failure. */
	write_key("please");
	assert_true(rig_until(!has_key()));
	assert_true(unit_logged("as the guest knows"));
	assert_string_equal(read_refusal(), "");
	finish();
}

/* Written again while its worker has not answered: not forgotten. */
static void by_key_twice(void **state)
{
	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	rig_worker_of(GUEST)->is_hung = true;
	write_key("1");
	assert_true(rig_until(!has_key()));
	assert_says(ask(), false, "its worker has not answered to the last change yet");
	image_is(3 * RIG_IMAGE_BYTES);
	write_key("1");
	rig_steps(10);
	assert_true(has_key());
	rig_worker_of(GUEST)->is_hung = false;
	assert_true(rig_until(!has_key()));
	assert_true(rig_until(drv_config(&d, 0, 8) == 3 * SECTORS));
	finish();
}

/* One that is not there yet has the size that there is then. */
static void by_key_before_it_is_served(void **state)
{
	(void)state;
	start();
	rig_worker_kill(rig_worker_of(GUEST));
	rig.spawn_fails = 3;
	rig_steps(3);
	image_is(2 * RIG_IMAGE_BYTES);
	write_key("1");
	assert_says(ask(), false, "it is not ready now");
	assert_true(has_key());
	assert_true(rig_until(!has_key()));
	capacity_is(2 * SECTORS);
	finish();
}

/* ---- what fails meanwhile ----------------------------------------------- */

static void xenstore_fails(void **state)
{
	static const enum fake_call calls[] = { FAKE_STORE_READ,
						FAKE_STORE_RM };
	unsigned int i, n, size = 1;

	(void)state;
	start();
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < 30; n++) {
			image_is(++size * RIG_IMAGE_BYTES);
			fake_fail_nth(RIG_BACKEND, calls[i], n, EIO);
			write_key("1");
			assert_true(rig_until(!has_key() &&
					      drv_config(&d, 0, 8) ==
					      size * SECTORS));
			rig_steps(20);
			if (!fake_failed(calls[i]))
				break;
		}
		assert_in_range(n, 2, 29);
		fake_fail_nth(RIG_BACKEND, calls[i], 0, 0);
	}
	assert_true(unit_logged("its key \"resize\" in xenstore: Input/output error"));
	finish();
}

/* In no domain's time: the next worker shows it, and the answer is its. */
static void killed_before_it_answers(void **state)
{
	int fd;

	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	rig_worker_of(GUEST)->is_hung = true;
	fd = ask_only(NAME);
	rig_steps(10);
	rig_worker_kill(rig_worker_of(GUEST));
	assert_says(answer(fd, 5000), true, "2097152 bytes");
	capacity_is(2 * SECTORS);
	use_the_end(2 * SECTORS);
	finish();
}

/* One that hangs is ended, as one that does not move or begin. */
static void hangs_over_it(void **state)
{
	int fd;

	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	rig_worker_of(GUEST)->is_hung = true;
	fd = ask_only(NAME);
	assert_says(answer(fd, 10000), true, "2097152 bytes");
	assert_true(unit_logged("its worker does not answer"));
	capacity_is(2 * SECTORS);
	finish();
}

static void removed_before_it_answers(void **state)
{
	int fd;

	(void)state;
	add();
	image_is(2 * RIG_IMAGE_BYTES);
	rig_worker_of(GUEST)->is_hung = true;
	fd = ask_only(NAME);
	rig_steps(10);
	fake_libxl_disk_close(&disk);
	rig_steps(5);
	fake_libxl_disk_remove(&disk);
	assert_says(answer(fd, 10000), false, NAME ": it is gone");
	rig_steps(20);
}

/* A new daemon's workers look for themselves. */
static void a_new_daemon(void **state)
{
	(void)state;
	start();
	image_is(2 * RIG_IMAGE_BYTES);
	rig_worker_of(GUEST)->is_hung = true;
	close(ask_only(NAME));
	rig_steps(5);
	vg_ctl_server_destroy(server);
	server = NULL;
	rig_sup_kill();
	rig_worker_kill(rig_worker_of(GUEST));
	rig_steps(5);
	assert_int_equal(rig_sup_start(), 0);
	assert_int_equal(serve(), 0);
	capacity_is(2 * SECTORS);
	use_the_end(2 * SECTORS);
	assert_says(ask(), true, "as the guest knows");
	finish();
}

/*
 * Killed before each store that matters: the guest ends with the new size in
 * any case, and was told of it.
 */
static void killed_at_each_step(void **state)
{
	unsigned int at, deaths, size = 2;
	uint32_t generation;

	(void)state;
	start();
	for (at = 1;; at++, size++) {
		deaths = rig.deaths;
		generation = drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION);
		image_is(size * RIG_IMAGE_BYTES);
		drv_irq(&d);
		rig.die_at = at;
		assert_says(ask(), true, NAME);
		assert_true(rig_until(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG));
		rig.die_at = 0;
		assert_true(rig_until(rig_worker_of(GUEST)));
		assert_int_equal(drv_config(&d, 0, 8), size * SECTORS);
		assert_int_not_equal(drv_read(&d,
					      VIRTIO_MMIO_CONFIG_GENERATION),
				     generation);
		use_the_end(size * SECTORS);
		assert_true(rig_until(status_says("\"state\":\"ready\"")));
		if (rig.deaths == deaths)
			break;
	}
	assert_in_range(at, 4, 100);
	print_message("%u steps\n", at - 1);
	finish();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(grows), T(grows_with_io_uring), T(grows_with_o_direct),
		T(grows_read_only), T(grows_as_a_loop_device),
		T(grows_under_another_name),
		T(grows_before_the_driver_is_there),
		T(is_larger_after_a_reset),
		T(does_not_shrink), T(no_half_sectors),
		T(its_worker_may_not_write_more), T(its_worker_refuses),
		T(names), T(any_request),
		T(by_key), T(by_key_twice), T(by_key_before_it_is_served),
		T(xenstore_fails), T(killed_before_it_answers),
		T(hangs_over_it), T(removed_before_it_answers),
		T(a_new_daemon), T(killed_at_each_step),
	};

	return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}

/* A killed process leaks what its stack held. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:vg_vq_take_over\nleak:vg_device_create\nleak:vg_loop_run_once\n";
}
