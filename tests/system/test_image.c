// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_image.c - which file or block device a disk is, who else has it, and
 * what of that the operator is told.
 *
 * As root also with loop devices; else those are skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dev/blk/image_user.h"
#include "grantd/mapper.h"
#include "toolstack/refusals.h"
#include "rig.h"
#include "virtio/state.h"
#include "lib/util.h"

#define GUEST	3u
#define OTHER	4u
#define SECTORS	(RIG_IMAGE_BYTES / 512)

static struct fake_disk disk;
static struct drv d;
static struct drv_buf buf;

static void start(void)
{
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
}

static void finish(void)
{
	drv_buf_end(&d, &buf);
	assert_int_equal(drv_reset(&d), 0);
	assert_int_equal(drv_exit(&d), 0);
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
}

static int io(uint32_t type, uint64_t sector)
{
	return drv_blk_buf(&d, type, sector, &buf, 0, 512);
}

static bool reads_pattern(uint64_t sector)
{
	memset(buf.va, 0, 512);
	return io(VIRTIO_BLK_T_IN, sector) == VIRTIO_BLK_S_OK &&
	       buf.va[7] == unit_pattern(sector * 512 + 7);
}

/* Another image, of zeroes, under the same name; the old one is at *old. */
static void replace(char **old)
{
	int fd;

	*old = vg_strf("%s.old", disk.params);
	assert_int_equal(rename(disk.params, *old), 0);
	fd = open(disk.params, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, RIG_IMAGE_BYTES), 0);
	close(fd);
}

static void new_worker(void)
{
	struct rig_worker *rw = rig_worker_of(GUEST);

	rig_worker_kill(rw);
	rig_steps(3);
	assert_true(rig_until(rig_worker_of(GUEST) &&
			      rig_stats(&disk)->takeovers));
}

/* ---- which one ---------------------------------------------------------- */

/* The supervisor knows the file itself. */
static void replaced_and_a_new_worker(void **state)
{
	char *old;

	(void)state;
	start();
	assert_true(reads_pattern(8));
	replace(&old);
	new_worker();
	assert_true(reads_pattern(16));
	assert_true(unit_logged("was replaced under its name"));
	/* The next guest gets what it asks for. */
	finish();
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
	memset(buf.va, 1, 512);
	assert_int_equal(io(VIRTIO_BLK_T_IN, 8), VIRTIO_BLK_S_OK);
	assert_int_equal(buf.va[7], 0);
	finish();
	unlink(old);
	free(old);
}

/* A new supervisor has the state. */
static void replaced_and_a_new_daemon(void **state)
{
	char *old;

	(void)state;
	start();
	assert_true(reads_pattern(8));
	rig_sup_stop();
	rig_steps(10);
	replace(&old);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(unit_logged("was replaced while the guest used it")));
	assert_false(unit_logged("ready: /other"));
	rig_steps(20);
	/* Nobody serves the other one. */
	assert_true(!rig_worker_of(GUEST) ||
		    !rig_stats(&disk)->driver_features);
	unlink(old);
	free(old);
	fake_libxl_disk_close(&disk);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 6));
	fake_libxl_disk_remove(&disk);
	rig_steps(20);
}

static void same_and_a_new_daemon(void **state)
{
	struct vg_state st;
	char *path;
	int fd;

	(void)state;
	start();
	rig_sup_stop();
	rig_steps(10);
	path = vg_strf("%s/%u-virtio_disk-%u", rig.state_dir, GUEST,
		       disk.devid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	assert_int_equal(pread(fd, &st, sizeof(st), 0), sizeof(st));
	close(fd);
	assert_true(st.resource[0] && st.resource[1]);
	assert_int_equal(st.told[0], RIG_IMAGE_BYTES);
	assert_int_equal(rig_sup_start(), 0);
	assert_true(rig_until(rig_worker_of(GUEST) &&
			      rig_stats(&disk)->takeovers));
	assert_true(reads_pattern(8));
	assert_false(unit_logged("replaced"));
	finish();
}

static void capacity_is(uint64_t sectors)
{
	assert_true(rig_until(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG));
	assert_int_equal(drv_config(&d, 0, 8), sectors);
}

static void grown_is_offered(void **state)
{
	uint32_t generation;

	(void)state;
	start();
	drv_irq(&d);
	generation = drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(truncate(disk.params, 2 * RIG_IMAGE_BYTES), 0);
	/* Not before the next occasion. */
	assert_int_equal(drv_config(&d, 0, 8), SECTORS);
	assert_int_equal(io(VIRTIO_BLK_T_IN, SECTORS), VIRTIO_BLK_S_IOERR);
	new_worker();
	capacity_is(2 * SECTORS);
	assert_int_not_equal(drv_read(&d, VIRTIO_MMIO_CONFIG_GENERATION),
			     generation);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, 2 * SECTORS - 1),
			 VIRTIO_BLK_S_OK);
	assert_true(unit_logged("grew from"));
	/* Once. */
	drv_irq(&d);
	new_worker();
	assert_true(reads_pattern(8));
	assert_false(drv_irq(&d) & VIRTIO_MMIO_INT_CONFIG);
	finish();
}

static void cut_is_named(void **state)
{
	(void)state;
	start();
	drv_irq(&d);
	assert_int_equal(truncate(disk.params, RIG_IMAGE_BYTES / 2), 0);
	new_worker();
	capacity_is(SECTORS / 2);
	assert_true(unit_logged("was cut from"));
	assert_true(reads_pattern(8));
	/* No zeroes in place of what was lost, and none are made. */
	assert_int_equal(io(VIRTIO_BLK_T_IN, SECTORS / 2), VIRTIO_BLK_S_IOERR);
	assert_int_equal(io(VIRTIO_BLK_T_OUT, SECTORS - 1),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_image_bytes(&disk), RIG_IMAGE_BYTES / 2);
	finish();
}

/* ---- others ------------------------------------------------------------- */

static unsigned int pages_permitted, pages_taken_back;

static void permit(void *arg, xen_domid_t guest, unsigned int dev,
		   xen_domid_t domid, xen_ref_t ref, xen_port_t port)
{
	(void)arg;
	(void)guest;
	(void)dev;
	(void)ref;
	(void)port;
	if (domid == VG_MAPPER_NOBODY)
		pages_taken_back++;
	else
		pages_permitted++;
}

static void locked_for_a_moment(void **state)
{
	uint64_t until;
	int fd;

	(void)state;
	rig_sup_stop();
	rig.cfg.permit = permit;
	assert_int_equal(rig_sup_start(), 0);
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fd = open(disk.params, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	fake_libxl_disk_add(&disk);
	until = rig_now_ms() + 300;
	while (rig_now_ms() < until)
		rig_step();
	assert_int_equal(fake_libxl_disk_key(&disk, "state"), 1);
	close(fd);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	assert_false(unit_logged("locked"));
	/* The page of what is served, and not of each try. */
	assert_int_equal(pages_permitted, 1);
	assert_int_equal(pages_taken_back, 0);
	assert_true(rig_disk_remove(&disk));
	assert_int_equal(pages_permitted, 1);
	assert_int_equal(pages_taken_back, 1);
	rig_steps(10);
}

/* Then it is said who: here, this process. */
static void locked_for_long(void **state)
{
	char *who = vg_strf("is locked by process %d", (int)getpid());
	uint64_t begun = rig_now_ms();
	int fd;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fd = open(disk.params, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	fake_libxl_disk_add(&disk);
	while (!unit_logged("is locked by") && rig_now_ms() < begun + 9500)
		rig_step();
	assert_in_range(rig_now_ms() - begun, 2000, 9500);
	assert_true(unit_logged(who));
	assert_false(unit_logged("virtio-grant-broker running"));
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == -1));
	free(who);
	close(fd);
	fake_libxl_disk_remove(&disk);
	rig_steps(10);
	/* No trace of it is left. */
	assert_true(rig_disk_add(&disk));
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
}

static void two_names(bool first_reads, bool second_reads, bool is_served)
{
	char *name = vg_strf("%s.link", disk.params);
	struct fake_disk two = rig_disk(OTHER, 0);

	disk.read_only = first_reads;
	two.read_only = second_reads;
	two.params = name;
	assert_int_equal(link(disk.params, name), 0);
	assert_true(rig_disk_add(&disk));
	assert_int_equal(rig_disk_add(&two), is_served);
	if (is_served) {
		assert_true(rig_disk_remove(&two));
	} else {
		assert_true(unit_logged("in use by another device, dom3 virtio_disk/51712 (as "));
		fake_libxl_disk_remove(&two);
	}
	rig_steps(10);
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
	unlink(name);
	free(name);
}

static void one_image_by_two_names(void **state)
{
	(void)state;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	two_names(true, true, true);
	two_names(true, false, false);
	two_names(false, true, false);
	two_names(false, false, false);
}

/* Its node was removed by force while it was served; the next guest waits. */
static void other_device_leaves(void **state)
{
	struct fake_disk two = rig_disk(OTHER, 0);
	struct rig_worker *rw;

	(void)state;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	assert_true(rig_disk_add(&disk));
	two.params = disk.params;
	rw = rig_worker_of(GUEST);
	rw->is_hung = true;
	fake_libxl_disk_remove(&disk);
	rig_steps(10);
	fake_libxl_disk_add(&two);
	rig_steps(50);
	assert_int_equal(fake_libxl_disk_key(&two, "state"), 1);
	rw->is_hung = false;
	assert_true(rig_until(fake_libxl_disk_key(&two, "state") == 2));
	assert_true(rig_disk_remove(&two));
	rig_steps(10);
}

/* ---- loop devices ------------------------------------------------------- */

static void refused(const char *params, const char *why)
{
	struct fake_disk two = rig_disk(OTHER, 0);

	two.params = params;
	if (rig_disk_add(&two))
		fail_msg("%s is served", params);
	if (!unit_logged(why)) {
		unit_log_dump();
		fail_msg("not said: %s", why);
	}
	fake_libxl_disk_remove(&two);
	rig_steps(10);
}

static void file_and_loop_device(void **state)
{
	char *name, *why;
	int loop;

	(void)state;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	name = unit_loop(disk.params, &loop);
	if (!name)
		skip();
	/* It is there, whoever uses it. */
	why = vg_strf("is behind %s", name);
	refused(disk.params, why);
	free(why);
	/* Two nodes of one device, and the file behind it. */
	disk.params = name;
	assert_true(rig_disk_add(&disk));
	why = vg_strf("%s/node", rig.dir);
	if (!mknod(why, S_IFBLK | 0600, makedev(7, atoi(name + 9)))) {
		refused(why, "in use by another device, dom3 virtio_disk/51712 (as /dev/loop");
		unlink(why);
	}
	free(why);
	why = vg_strf("%s/disk-%u-0", rig.dir, GUEST);
	refused(why, "in use by another device, dom3 virtio_disk/51712 (as /dev/loop");
	free(why);
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
	unit_loop_end(name, loop);
}

/* Who has mounted the other one writes into the same file. */
static void two_loop_devices(void **state)
{
	char *name[2], *why, *file;
	int loop[2];

	(void)state;
	rig_guest(GUEST, 1);
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	file = vg_strf("%s", disk.params);
	free(unit_image(file, RIG_IMAGE_BYTES));
	name[0] = unit_loop(file, &loop[0]);
	if (!name[0])
		skip();
	name[1] = unit_loop(file, &loop[1]);
	assert_non_null(name[1]);
	why = vg_strf("image %s is over a file that is behind %s, too", name[0],
		      name[1]);
	refused(name[0], why);
	free(why);
	unit_loop_end(name[1], loop[1]);
	disk.params = name[0];
	assert_true(rig_disk_add(&disk));
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
	unit_loop_end(name[0], loop[0]);
	free(file);
}

/* As mkfs or a second daemon has it; then it is let go. */
static void exclusive_use(void **state)
{
	int loop, excl;
	char *name;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	free(unit_image(disk.params, RIG_IMAGE_BYTES));
	name = unit_loop(disk.params, &loop);
	if (!name)
		skip();
	disk.params = name;
	excl = open(name, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(excl >= 0);
	fake_libxl_disk_add(&disk);
	rig_steps(50);
	assert_int_equal(fake_libxl_disk_key(&disk, "state"), 1);
	close(excl);
	assert_true(rig_until(fake_libxl_disk_key(&disk, "state") == 2));
	/* Now it is ours, and nobody mounts it. */
	assert_int_equal(open(name, O_RDWR | O_EXCL | O_CLOEXEC), -1);
	assert_int_equal(errno, EBUSY);
	assert_true(rig_disk_remove(&disk));
	rig_steps(10);
	excl = open(name, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(excl >= 0);
	close(excl);
	unit_loop_end(name, loop);
}

/* @bytes of @type at sector 8, one range. */
static int clear(uint32_t type, uint32_t bytes)
{
	struct virtio_blk_discard_write_zeroes *range = (void *)buf.va;

	*range = (struct virtio_blk_discard_write_zeroes){
		.sector = 8, .num_sectors = bytes / 512,
	};
	return drv_blk_buf(&d, type, 0, &buf, 0, sizeof(*range));
}

/*
 * Pages of a device that is ours alone, dirty: the kernel says -EBUSY to a
 * worker.
 */
static void written_and_cleared(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD,
					  VIRTIO_BLK_T_WRITE_ZEROES };
	static const uint8_t zeroes[512];
	const char *file;
	unsigned int i, k;
	int loop;

	(void)state;
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	disk.discard = true;
	file = disk.params;
	free(unit_image(file, RIG_IMAGE_BYTES));
	disk.params = unit_loop(file, &loop);
	if (!disk.params)
		skip();
	assert_true(rig_disk_add(&disk));
	d = rig_drv(&disk);
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		memset(buf.va, 0x5a, 4096);
		for (k = 8; k < 64; k += 8)
			assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_OUT, k,
						     &buf, 0, 4096),
					 VIRTIO_BLK_S_OK);
		assert_int_equal(clear(types[i], 48 * 512), VIRTIO_BLK_S_OK);
		for (k = 8; k < 56; k += 8) {
			assert_int_equal(io(VIRTIO_BLK_T_IN, k),
					 VIRTIO_BLK_S_OK);
			assert_memory_equal(buf.va, zeroes, 512);
		}
		/* And nothing else. */
		assert_int_equal(io(VIRTIO_BLK_T_IN, 56), VIRTIO_BLK_S_OK);
		assert_int_equal(buf.va[511], 0x5a);
	}
	assert_true(reads_pattern(0));
	finish();
	unit_loop_end((char *)disk.params, loop);
}

static void mounted_device(void **state)
{
	char *name, *dir, *cmd, *why;
	int loop, fd;

	(void)state;
	rig_guest(OTHER, 1);
	disk = rig_disk(GUEST, 0);
	fd = open(disk.params, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	close(fd);
	name = unit_loop(disk.params, &loop);
	if (!name)
		skip();
	dir = vg_strf("%s/mnt", rig.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	cmd = vg_strf("mkfs.ext4 -q %s 2>/dev/null", name);
	if (!system(cmd) && !mount(name, dir, "ext4", 0, NULL)) {
		why = vg_strf("image %s is mounted on %s", name, dir);
		refused(name, why);
		free(why);
		/* Who only reads may. */
		disk = rig_disk(OTHER, 1);
		disk.params = name;
		disk.read_only = true;
		assert_true(rig_disk_add(&disk));
		assert_true(rig_disk_remove(&disk));
		rig_steps(10);
		umount(dir);
	} else {
		print_message("no ext4 here\n");
	}
	unit_loop_end(name, loop);
	rmdir(dir);
	free(dir);
	free(cmd);
}

/* ---- serial numbers ----------------------------------------------------- */

/* With the toolstack's key, if there is one, from the first. */
static bool add_with_serial(const char *serial)
{
	char *key = vg_strf("%s/serial", fake_libxl_disk_path(&disk));

	if (access(disk.params, F_OK))
		free(unit_image(disk.params, RIG_IMAGE_BYTES));
	fake_libxl_disk_add(&disk);
	if (serial)
		fake_store_write(0, key, "%s", serial);
	free(key);
	return rig_until(fake_libxl_disk_key(&disk, "state") != 1) &&
	       fake_libxl_disk_key(&disk, "state") == 2;
}

static void serial_is(const char *serial, const char *want)
{
	char got[21] = "";

	assert_true(add_with_serial(serial));
	d = rig_drv(&disk);
	assert_int_equal(drv_start(&d, 1), 0);
	buf = drv_buf(&d, 4096, false);
	assert_int_equal(drv_blk_buf(&d, VIRTIO_BLK_T_GET_ID, 0, &buf, 0, 20),
			 VIRTIO_BLK_S_OK);
	memcpy(got, buf.va, 20);
	assert_string_equal(got, want);
	finish();
}

static void serial_numbers(void **state)
{
	static const char *const bad[] = {
		"", "123456789012345678901", "with space", "\xc3\xa4", "a\nb",
	};
	const char *serials[] = { "/else=NO", NULL, NULL };
	unsigned int i;

	(void)state;
	rig_up();
	rig_guest(GUEST, 1);
	disk = rig_disk(GUEST, 0);
	serials[1] = vg_strf("%s=OURS-12345678901234", disk.params);
	assert_int_equal(rig_broker_start(), 0);
	assert_int_equal(rig_sup_start(), 0);
	serial_is(NULL, "xvda");
	rig_sup_stop();
	vg_blk_options.serials = serials;
	assert_int_equal(rig_sup_start(), 0);
	serial_is(NULL, "OURS-12345678901234");
	/* The toolstack's, which comes with the node. */
	serial_is("TOOLSTACK", "TOOLSTACK");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(add_with_serial(bad[i]));
		assert_true(unit_logged("/serial: not 1 to 20 visible"));
		fake_libxl_disk_remove(&disk);
		rig_steps(10);
	}
	free((char *)(uintptr_t)serials[1]);
	assert_int_equal(rig_down(), 0);
}

/* ---- what the control domain is told ------------------------------------ */

static char *told[32];
static unsigned int nr_told;

static void tell(void *arg, xen_domid_t domid, const char *text)
{
	(void)arg;
	assert_int_equal(domid, RIG_BACKEND);
	assert_true(nr_told < ARRAY_SIZE(told));
	told[nr_told++] = vg_strdup(text);
}

static void ask_dom0(void)
{
	struct fake_proc *before = fake_current_proc();
	struct xen_store *xs;

	while (nr_told)
		free(told[--nr_told]);
	fake_enter(0);
	assert_int_equal(xen_store_open(&xs), 0);
	vg_refusals_read(xs, 0, tell, NULL);
	xen_store_close(xs);
	fake_enter_proc(before);
}

static void refusals_are_told(void **state)
{
	char path[128];
	unsigned int i;

	(void)state;
	fake_store_mkdir(0, "/local/domain/1/error");
	fake_store_set_perms(0, "/local/domain/1/error", "n1");
	for (i = 0; i < 2 * VG_REFUSALS_MAX; i++) {
		rig_guest((xen_domid_t)(10 + i), 1);
		disk = rig_disk((xen_domid_t)(10 + i), 0);
		disk.params = "/nonexistent/image";
		fake_libxl_disk_add(&disk);
		assert_true(rig_until(fake_libxl_disk_key(&disk, "state") ==
				      -1));
		fake_libxl_disk_remove(&disk);
		rig_steps(3);
	}
	/* The latest, though libxl has removed all that there was. */
	ask_dom0();
	assert_int_equal(nr_told, VG_REFUSALS_MAX);
	assert_string_equal(told[nr_told - 1],
			    "dom25 virtio_disk/51712: image /nonexistent/image: No such file or directory");
	/* Until it is served. */
	disk = rig_disk(25, 0);
	assert_true(rig_disk_add(&disk));
	ask_dom0();
	assert_int_equal(nr_told, VG_REFUSALS_MAX - 1);
	assert_true(rig_disk_remove(&disk));
	/*
	 * A driver domain can write what it likes: to an operator's terminal.
	 */
	snprintf(path, sizeof(path),
		 "/local/domain/1/error/backend/virtio_disk/24/51712/error");
	fake_store_write(1, path, "\x1b[2Jevil\nline%0500d", 7);
	for (i = 0; i < 40; i++) {
		snprintf(path, sizeof(path),
			 "/local/domain/1/error/backend/virtio_disk/9/%u/error",
			 i);
		fake_store_write(1, path, "many");
	}
	ask_dom0();
	assert_int_equal(nr_told, VG_REFUSALS_MAX);
	for (i = 0; i < nr_told; i++) {
		assert_true(strlen(told[i]) <= 400);
		assert_null(strpbrk(told[i], "\x1b\n"));
	}
	while (nr_told)
		free(told[--nr_told]);
	/* A restart begins anew. */
	rig_sup_stop();
	rig_steps(5);
	assert_int_equal(rig_sup_start(), 0);
	assert_false(fake_store_exists("/local/domain/1/error/backend/virtio_disk"));
}

#define T(f)	cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(replaced_and_a_new_worker), T(replaced_and_a_new_daemon),
		T(same_and_a_new_daemon), T(grown_is_offered), T(cut_is_named),
		T(locked_for_a_moment), T(locked_for_long),
		T(one_image_by_two_names), T(other_device_leaves),
		T(file_and_loop_device),
		T(two_loop_devices),
		T(exclusive_use), T(written_and_cleared), T(mounted_device),
		cmocka_unit_test(serial_numbers), T(refusals_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
