// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus_ctl.c - virtio-grantctl's attach, detach and resize, virtio-grantd
 * and a guest's driver together, by the nodes that the first makes.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "front.h"
#include "lib/util.h"
#include "rig.h"

#define GUEST	3u

static struct front f;
static struct drv_buf data;
static struct fake_disk image;
static struct vg_answer answer;
static bool is_mounted, has_driver, is_turn;
static char *before;

/* The driver's part. */
static void drive(void)
{
	long front, back;

	front = front_state(&f);
	back = front_back_state(&f);
	if (has_driver && front == 1 && back == 2) {
		front_page_make(&f);
	} else if (front == 3 && back == 4) {
		assert_int_equal(front_start(&f, 1), 0);
		front_set_state(&f, 4);
	} else if (front == 4 && back == 5 && !is_mounted) {
		assert_int_equal(front_close(&f), 0);
	}
}

/* Whenever virtio-grantctl waits; not for the steps of a worker. */
static void turn(void)
{
	unsigned int i;

	if (is_turn)
		return;
	is_turn = true;
	for (i = 0; i < 20; i++) {
		rig_steps(2);
		drive();
	}
	fake_enter(0);
	is_turn = false;
	vg_step_hook = turn;
}

static void name(xen_domid_t id, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/local/domain/%u/name", id);
	fake_store_write(0, path, "%s", text);
}

static int setup(void **state)
{
	char path[64];

	(void)state;
	rig_up();
	f = (struct front){ .guest = GUEST, .backend = RIG_BACKEND,
			    .has_ranges = true, .has_channels = true };
	rig_guest(GUEST, 1);
	if (rig_sup_start())
		return -1;
	snprintf(path, sizeof(path), "/local/domain/%u/libxl", RIG_BACKEND);
	if (!fake_store_exists(path))
		fake_store_mkdir(0, path);
	name(RIG_BACKEND, "DomD");
	name(GUEST, "g1");
	image = rig_disk(GUEST, 0);
	free(unit_image(image.params, RIG_IMAGE_BYTES));
	is_mounted = false;
	has_driver = true;
	vg_ctl_wait_ms = 5000;
	vg_session_is_interrupted = 0;
	vg_step_hook = turn;
	before = fake_store_dump();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vg_step_hook = NULL;
	rig.die_at = rig.die_then = 0;
	free(before);
	vg_answer_free(&answer);
	rig_until(!rig_worker_of(GUEST));
	if (f.page)
		assert_int_equal(front_exit(&f), 0);
	return rig_down() ? -1 : 0;
}

static int ctl(void (*run)(struct vg_answer *a, int argc, char **argv),
	       const char *line)
{
	char *words = vg_strdup(line), *argv[32], *p, *save = NULL;
	int argc = 0;

	vg_answer_free(&answer);
	for (p = strtok_r(words, " ", &save); p && argc < 31;
	     p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	fake_enter(0);
	vg_step_hook = turn;
	run(&answer, argc, argv);
	free(words);
	return answer.status;
}

static int attach(void)
{
	char *line = vg_strf("attach g1 type=blk backend=DomD name=a target=%s",
			     image.params);
	int status = ctl(vg_ctl_attach, line);

	free(line);
	return status;
}

static void io(void)
{
	static unsigned int n;
	uint64_t sector = ++n % 32 * 8;

	if (!data.va)
		data = front_buf(&f, 8);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_IN, sector, &data, 0, 4096),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(data.va[5], unit_pattern(sector * 512 + 5));
}

static void assert_says(const char *text)
{
	const char *said = answer.error ? answer.error :
			   answer.text ? answer.text : "";

	if (!strstr(said, text))
		fail_msg("\"%s\" is not in \"%s\"", text, said);
}

static void comes_and_goes(void **state)
{
	(void)state;
	data.va = NULL;
	attach();
	assert_says("g1 a: connected (blk, DomD)");
	io();
	ctl(vg_ctl_list, "list");
	assert_says("g1 a: connected, blk, backend DomD");
	ctl(vg_ctl_detach, "detach g1 a");
	assert_says("g1 a: detached");
	assert_true(rig_until(!rig_worker_of(GUEST)));
	assert_false(fake_store_exists(front_path(&f, "")));
	assert_false(fake_store_exists("/virtio-grant"));
}

static void is_mounted_there(void **state)
{
	(void)state;
	data.va = NULL;
	assert_int_equal(attach(), 0);
	is_mounted = true;
	assert_int_equal(ctl(vg_ctl_detach, "detach --timeout=1 g1 a"), 1);
	assert_says("the guest still uses it (mounted?)");
	rig_steps(50);
	assert_int_equal(front_back_state(&f), 4);
	io();
	/* And then it is let go. */
	is_mounted = false;
	assert_int_equal(ctl(vg_ctl_detach, "detach g1 a"), 0);
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void is_taken_away(void **state)
{
	(void)state;
	data.va = NULL;
	assert_int_equal(attach(), 0);
	io();
	is_mounted = true;
	assert_int_equal(ctl(vg_ctl_detach, "detach --force g1 a"), 0);
	assert_says("g1 a: detached");
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void has_no_image(void **state)
{
	(void)state;
	unlink(image.params);
	assert_int_equal(attach(), 1);
	assert_says("g1 a: DomD refuses it: image ");
	assert_says("No such file or directory");
	assert_false(fake_store_exists("/virtio-grant"));
	assert_false(fake_store_exists(front_path(&f, "")));
	assert_false(fake_store_exists(front_back_path(&f, "")));
}

static void driver_comes_later(void **state)
{
	unsigned int i;

	(void)state;
	data.va = NULL;
	has_driver = false;
	vg_ctl_wait_ms = 1000;
	assert_int_equal(attach(), VG_EXIT_NO_DRIVER);
	has_driver = true;
	for (i = 0; i < 200 && front_state(&f) != 4; i++)
		turn();
	io();
	assert_int_equal(ctl(vg_ctl_detach, "detach g1 a"), 0);
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

static void grows(void **state)
{
	uint32_t told;

	(void)state;
	data.va = NULL;
	assert_int_equal(attach(), 0);
	io();
	told = f.page->config_events;
	assert_int_equal(truncate(image.params, 2 * RIG_IMAGE_BYTES), 0);
	assert_int_equal(ctl(vg_ctl_resize, "resize g1 a"), 0);
	assert_says("g1 a: DomD has looked at it");
	assert_int_equal(f.page->config_events, told + 1);
	assert_int_equal(front_blk(&f, VIRTIO_BLK_T_OUT,
				   2 * RIG_IMAGE_BYTES / 512 - 8, &data, 0,
				   4096), VIRTIO_BLK_S_OK);
	assert_int_equal(truncate(image.params, RIG_IMAGE_BYTES), 0);
	assert_int_equal(ctl(vg_ctl_resize, "resize g1 a"), 1);
	assert_says("g1 a: DomD refuses it: the image has 1048576 bytes now, the guest knows 2097152");
	assert_int_equal(f.page->config_events, told + 1);
	assert_int_equal(ctl(vg_ctl_detach, "detach g1 a"), 0);
	assert_true(rig_until(!rig_worker_of(GUEST)));
}

int main(void)
{
#define T(t)	cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(comes_and_goes),
		T(is_mounted_there),
		T(is_taken_away),
		T(has_no_image),
		T(driver_comes_later),
		T(grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
