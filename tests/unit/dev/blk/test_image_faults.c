// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_image_faults.c - each call that opening an image makes fails in turn,
 * for a new disk, for one whose worker is replaced, and for one of a
 * predecessor: it is said, nothing is left behind, and the next try works.
 *
 * image.c and image_user.c are compiled into this program with calls of ours.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "toolstack/libxl_keys.h"
#include "unit.h"
#include "lib/util.h"

static struct {
	unsigned int at, calls;		/* the at'th call fails; 0: none */
	int err;
	const char *name;		/* ... which was this one */
} k;

static bool fails(const char *name)
{
	if (++k.calls != k.at)
		return false;
	k.name = name;
	errno = k.err;
	return true;
}

static int fake_open(const char *path, int flags)
{
	return fails("open") ? -1 : open(path, flags);
}

static int fake_fstat(int fd, struct stat *st)
{
	return fails("fstat") ? -1 : fstat(fd, st);
}

static int fake_flock(int fd, int how)
{
	return fails("flock") ? -1 : flock(fd, how);
}

static int fake_statx(int fd, const char *path, int flags, unsigned int mask,
		      struct statx *sx)
{
	return fails("statx") ? -1 : statx(fd, path, flags, mask, sx);
}

/* What is read to learn who else uses an image. */
static FILE *fake_fopen(const char *path, const char *mode)
{
	return fails("look: fopen") ? NULL : fopen(path, mode);
}

static ssize_t fake_getline(char **line, size_t *room, FILE *f)
{
	return fails("look: getline") ? -1 : getline(line, room, f);
}

static DIR *fake_opendir(const char *path)
{
	return fails("look: opendir") ? NULL : opendir(path);
}

static struct dirent *fake_readdir(DIR *d)
{
	return fails("look: readdir") ? NULL : readdir(d);
}

static char *fake_realpath(const char *path, char *real)
{
	return fails("look: realpath") ? NULL : realpath(path, real);
}

static int fake_stat(const char *path, struct stat *st)
{
	return fails("look: stat") ? -1 : stat(path, st);
}

#define vg_image_kernel_user		kernel_user_under_test
#define vg_image_loop_user		loop_user_under_test
#define vg_image_process_user		process_user_under_test
#define vg_image_loop_file		loop_file_under_test
#define vg_image_init			init_under_test
#define vg_image_close			close_under_test
#define vg_image_leave			leave_under_test
#define vg_image_exit			exit_under_test
#define vg_image_open			open_under_test
#define vg_image_lock			lock_under_test
#define vg_image_grown			grown_under_test
#define vg_image_serial_is_valid	serial_under_test
#define open		fake_open
#define fstat		fake_fstat
#define flock(fd, how)	fake_flock(fd, how)
#define statx(...)	fake_statx(__VA_ARGS__)

#include "dev/blk/image.c"

#define fopen(path, mode)	fake_fopen(path, mode)
#define getline			fake_getline
#define opendir			fake_opendir
#define readdir			fake_readdir
#define realpath		fake_realpath
#define stat(path, st)		fake_stat(path, st)

#include "dev/blk/image_user.c"

#undef fopen
#undef stat
#undef open
#undef pread
#undef pwrite

enum life { NEW, NEW_WORKER, NEW_DAEMON };

static char *dir, *path;
static struct xen_store *xs;
static struct fake_disk disk;
static bool is_block;

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	dir = unit_tmpdir();
	path = vg_strf("%s/image", dir);
	free(unit_image(path, 1 << 20));
	unit_log_start();
	fake_init();
	fake_domain_create(1, 1, 64);
	fake_domain_create(3, 1, 64);
	disk = (struct fake_disk){ .guest = 3, .backend = 1, .devid = 51712,
				   .params = path };
	fake_libxl_disk_add(&disk);
	fake_enter(1);
	return xen_store_open(&xs);
}

static int teardown(void **state)
{
	(void)state;
	xen_store_close(xs);
	fake_exit();
	unit_log_stop();
	unit_rm_r(dir);
	free(path);
	return 0;
}

struct opened {
	struct vg_image im, *list;
	struct vg_image_id left;	/* as the state has it */
	struct vg_blk_params blk;
	char *why;
};

static int try(struct opened *o, bool was_served, enum vg_direct_io direct)
{
	const struct vg_image_how how = {
		.options.direct_io = direct, .was_served = was_served,
		.left = o->left, .told_bytes = was_served ? 1 << 20 : 0,
		.list = &o->list,
	};
	struct vg_keys keys = vg_node_keys(&xs, fake_libxl_disk_path(&disk));
	int err;

	o->why = NULL;
	err = vg_image_open(&o->im, &keys, &how, &o->blk, &o->why);
	if (!err)
		o->left = o->im.id;
	return err;
}

static void let_go(struct opened *o)
{
	if (o->blk.fd >= 0)
		close(o->blk.fd);
	if (o->blk.buffered_fd >= 0)
		close(o->blk.buffered_fd);
	free(o->why);
}

/* What came before it in this life. */
static void live(struct opened *o, enum life life)
{
	memset(o, 0, sizeof(*o));
	vg_image_init(&o->im, "dom3 virtio_disk/51712");
	if (life == NEW)
		return;
	assert_int_equal(try(o, false, VG_DIRECT_IO_OFF), 0);
	let_go(o);
	if (life == NEW_WORKER)
		return;
	vg_image_exit(&o->im);
	vg_image_init(&o->im, "dom3 virtio_disk/51712");
}

/* False: that life has fewer calls. */
static bool one_fails(enum life life, unsigned int at, int err,
		      enum vg_direct_io direct)
{
	unsigned int before = unit_nr_fds();
	struct opened o;
	bool has_failed;
	int res;

	live(&o, life);
	k.calls = 0;
	k.at = at;
	k.err = err;
	k.name = NULL;
	res = try(&o, life != NEW, direct);
	has_failed = k.name;
	k.at = 0;
	/*
	 * What is asked only to know better, or to do better, may fail; who
	 * else writes to the image is not known for want of memory or
	 * descriptors only.
	 */
	if (has_failed && !strncmp(k.name, "look: ", 6) && vg_error_passes(-err))
		assert_int_equal(res, -err);
	if (has_failed && res && (!o.why || !strstr(o.why, "image"))) {
		fail_msg("%s fails: nothing is said", k.name);
	} else if (res) {
		assert_int_equal(o.blk.fd, -1);
		/* The worker that is gone may have it still. */
		assert_int_equal(!!o.im.list, life == NEW_WORKER);
		assert_int_equal(res, -err);
	}
	let_go(&o);
	if (res) {
		assert_int_equal(try(&o, life != NEW, direct), 0);
		assert_null(o.why);
		let_go(&o);
	}
	assert_ptr_equal(o.list, &o.im);
	/* Nobody else mounts a block device meanwhile. */
	assert_int_equal(o.im.claim_fd >= 0, is_block);
	vg_image_exit(&o.im);
	assert_null(o.list);
	assert_int_equal(unit_nr_fds(), before);
	return has_failed;
}

static void each_fails(void)
{
	static const int errs[] = { EIO, ENOMEM, EMFILE };
	enum life life;
	unsigned int at, e;

	for (life = NEW; life <= NEW_DAEMON; life++) {
		for (e = 0; e < ARRAY_SIZE(errs); e++) {
			for (at = 1; one_fails(life, at, errs[e],
					       VG_DIRECT_IO_OFF); at++)
				;
			assert_in_range(at, 5, 100);
			for (at = 1; one_fails(life, at, errs[e],
					       VG_DIRECT_IO_ON); at++)
				;
		}
	}
}

static void each_call_fails(void **state)
{
	(void)state;
	each_fails();
}

static void each_call_fails_of_a_block_device(void **state)
{
	int loop;

	(void)state;
	disk.params = unit_loop(path, &loop);
	if (!disk.params)
		skip();
	fake_libxl_disk_remove(&disk);
	fake_libxl_disk_add(&disk);
	is_block = true;
	each_fails();
	is_block = false;
	unit_loop_end((char *)disk.params, loop);
}

/* Nothing is taken for its size that is none, nor anything kept open. */
static void growing_fails(void **state)
{
	static const int errs[] = { EIO, ENOMEM, EMFILE };
	unsigned int at, e, before;
	struct opened o;
	uint64_t bytes;
	char *why;
	int res;

	(void)state;
	live(&o, NEW_WORKER);
	assert_int_equal(truncate(path, 2 << 20), 0);
	before = unit_nr_fds();
	for (e = 0; e < ARRAY_SIZE(errs); e++) {
		for (at = 1;; at++) {
			bytes = 0;
			why = NULL;
			k.calls = 0;
			k.at = at;
			k.err = errs[e];
			k.name = NULL;
			res = vg_image_grown(&o.im, &bytes, &why);
			k.at = 0;
			assert_int_equal(unit_nr_fds(), before);
			if (!res && (!k.name || !strcmp(k.name, "statx"))) {
				assert_int_equal(bytes, 2 << 20);
				assert_null(why);
				if (!k.name)
					break;
				continue;
			}
			assert_int_equal(res, -errs[e]);
			assert_non_null(strstr(why, "can't be examined"));
			free(why);
		}
		assert_in_range(at, 3, 10);
	}
	/* Its inode's number is another file's by now. */
	o.im.id.birth++;
	assert_int_equal(vg_image_grown(&o.im, &bytes, &why), -ESTALE);
	free(why);
	vg_image_exit(&o.im);
}

/* The check of what a predecessor served is not skipped for want of memory. */
static void identity_is_checked(void **state)
{
	struct opened o;
	char *old = vg_strf("%s.old", path);

	(void)state;
	live(&o, NEW_DAEMON);
	assert_int_equal(rename(path, old), 0);
	free(unit_image(path, 1 << 20));
	assert_int_equal(try(&o, true, VG_DIRECT_IO_OFF), -ESTALE);
	assert_non_null(strstr(o.why, "was replaced while"));
	let_go(&o);
	/* The inode's number is not enough: it is given out again. */
	o.im.id.birth++;
	assert_int_equal(rename(old, path), 0);
	vg_image_close(&o.im);
	assert_int_equal(try(&o, true, VG_DIRECT_IO_OFF), 0);
	let_go(&o);
	vg_image_exit(&o.im);
	free(old);
}

static void birth_counts(void **state)
{
	struct vg_image_id a = { 1, 2, 3 }, b = { 1, 2, 4 }, c = { 1, 2, 0 };

	(void)state;
	assert_false(id_is_same(&a, &b));
	assert_true(id_is_same(&a, &a));
	assert_true(id_is_same(&a, &c));
	b = (struct vg_image_id){ 1, 3, 3 };
	assert_false(id_is_same(&a, &b));
	b = (struct vg_image_id){ 2, 2, 3 };
	assert_false(id_is_same(&a, &b));
}

#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_call_fails), T(each_call_fails_of_a_block_device),
		T(growing_fails), T(identity_is_checked), T(birth_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
