// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_saved.c - devices of guests that are saved outlive xenstore: written
 * when they are noted, recalled by another boot of the host, and by no other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus.h"
#include "ctl/commands.h"
#include "ctl/saved.h"
#include "lib/util.h"
#include "toolstack/bus_follow.h"

#define S	UINT64_C(1000000000)

static struct xen_store *xs;
static struct vg_follow follow;
static struct vg_saved *saved;
static char *dir, *boot_id;
static uint64_t now_ns;

static char *in_dir(const char *name)
{
	static char path[2][200];
	static unsigned int turn;
	char *p = path[turn++ % 2];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

static char *get_file(const char *path)
{
	char *text = vg_zalloc(65536);
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_true(fread(text, 1, 65535, f) > 0);
	fclose(f);
	return text;
}

static void assert_file(const char *path, const char *text)
{
	char *is = get_file(path);

	assert_string_equal(is, text);
	free(is);
}

/* The program begins, in a boot of that number. */
static void begin(unsigned int boot)
{
	char text[64];

	snprintf(text, sizeof(text), "%08u-0000-0000-0000-000000000000\n",
		 boot);
	put_file(boot_id, text);
	assert_int_equal(xen_store_open(&xs), 0);
	vg_follow_init(&follow, xs, 0, 60 * S);
	saved = vg_saved_create(xs, 0, in_dir("state"));
}

static void end(void)
{
	vg_saved_destroy(saved);
	vg_follow_exit(&follow);
	xen_store_close(xs);
}

static int setup(void **state)
{
	(void)state;
	bus_setup();
	dir = unit_tmpdir();
	boot_id = vg_strdup(in_dir("boot_id"));
	vg_saved_boot_id = boot_id;
	now_ns = 1000 * S;
	unit_log_start();
	begin(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	end();
	unit_log_stop();
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	free(boot_id);
	free(dir);
	return 0;
}

static int look(void)
{
	now_ns += S;
	return vg_follow_look(&follow, now_ns);
}

static int keep(void)
{
	return vg_saved_keep(saved, follow.suspended);
}

/* As virtio-grantctl attach does it, and connected. */
static void make(const char *words)
{
	char text[300] = "attach\0g1\0", *argv[12], *p, *all = vg_strdup(words);
	struct vg_answer a = { 0 };
	int argc = 2;

	argv[0] = text;
	argv[1] = text + 7;
	for (p = strtok(all, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	vg_ctl_attach(&a, argc, argv);
	assert_int_equal(a.status, 0);
	vg_answer_free(&a);
	free(all);
}

static void two_are_saved(void)
{
	make("type=blk backend=DomD name=root target=/srv/a,b access=ro");
	make("type=rng backend=DomD name=random");
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
	fake_store_write(5, bus_front(5, 1, "suspended"), "1");
	assert_int_equal(look(), 2);
	assert_int_equal(follow.suspended, 2);
	assert_int_equal(keep(), 0);
}

/* And xenstore with it, but for what a new one has. */
static void host_is_booted(void)
{
	end();
	bus_domain_gone(5);
	bus_domain_gone(1);
	fake_store_rm(0, "/virtio-grant");
	begin(2);
	bus_domain(8, "DomD", 0xd, true);
}

/* Both that two_are_saved() made. */
static void assert_recalled(void)
{
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	bus_assert_key(bus_record(0x51, 0, "name"), "root");
	bus_assert_key(bus_record(0x51, 0, "key/mode"), "r");
	bus_assert_key(bus_record(0x51, 0, "key/params"), "/srv/a,b");
	bus_assert_key(bus_record(0x51, 1, "suspended"), "1");
	bus_assert_key(bus_record(0x51, 1, "type"), "rng");
}

static void restored_after_a_boot(void **state)
{
	(void)state;
	two_are_saved();
	host_is_booted();
	assert_int_equal(vg_saved_recall(saved), 0);
	assert_true(unit_logged("g1 root: its guest was saved before"));
	bus_assert_key(bus_record(0x51, 0, "suspended"), "1");
	bus_assert_key(bus_record(0x51, 0, "key/params"), "/srv/a,b");
	bus_assert_key(bus_record(0x51, 1, "type"), "rng");
	/* Whoever has the number that the guest had, is another one. */
	bus_assert_key(bus_record(0x51, 0, "guest-id"), "0");
	/* However long that takes. */
	assert_int_equal(look(), 0);
	now_ns += 1000000 * S;
	assert_int_equal(look(), 0);
	assert_int_equal(keep(), 0);
	bus_domain(9, "g1", 0x51, false);
	assert_int_equal(look(), 2);
	bus_assert_key(bus_front(9, 0, "state"), "4");
	bus_assert_key(bus_front(9, 0, "backend-id"), "8");
	bus_assert_key(bus_back(8, 9, 0, "params"), "/srv/a,b");
	bus_assert_key(bus_back(8, 9, 0, "moved"), "1");
	bus_assert_key(bus_record(0x51, 0, "guest-id"), "9");
}

/* What xenstore has not, was detached. */
static void the_same_boot(void **state)
{
	(void)state;
	two_are_saved();
	end();
	fake_store_rm(0, "/virtio-grant");
	begin(1);
	assert_int_equal(vg_saved_recall(saved), 0);
	assert_false(fake_store_exists("/virtio-grant"));
}

static void whom_xenstore_knows(void **state)
{
	(void)state;
	two_are_saved();
	end();
	fake_store_write(0, bus_record(0x51, 0, "name"), "other");
	begin(2);
	assert_int_equal(vg_saved_recall(saved), 0);
	bus_assert_key(bus_record(0x51, 0, "name"), "other");
	bus_assert_key(bus_record(0x51, 0, "guest-id"), "5");
}

static void only_what_changes_is_written(void **state)
{
	struct stat was, is;
	char *text;

	(void)state;
	make("type=blk backend=DomD name=root target=/srv/a");
	assert_int_equal(look(), 0);
	assert_int_equal(keep(), 0);
	assert_int_equal(access(in_dir("state"), F_OK), -1);
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
	assert_int_equal(look(), 1);
	assert_int_equal(keep(), 0);
	assert_int_equal(stat(in_dir("state/saved.json"), &was), 0);
	assert_int_equal(was.st_mode & 0777, 0600);
	assert_int_equal(look(), 1);
	assert_int_equal(keep(), 0);
	assert_int_equal(stat(in_dir("state/saved.json"), &is), 0);
	assert_int_equal(is.st_ino, was.st_ino);
	/* It goes on. */
	fake_store_rm(5, bus_front(5, 0, "suspended"));
	now_ns += 2 * S;
	assert_int_equal(look(), 0);
	assert_int_equal(keep(), 0);
	text = get_file(in_dir("state/saved.json"));
	assert_null(strstr(text, "root"));
	free(text);
	host_is_booted();
	assert_int_equal(vg_saved_recall(saved), 0);
	assert_false(fake_store_exists("/virtio-grant"));
}

static void files_that_make_no_sense(void **state)
{
#define DEV	"{\"boot\":\"x\",\"devices\":[{\"uuid\":\"00000000-0000-0000-0000-000000000051\"," \
		"\"guest\":\"g1\",\"devid\":"
	static const char *const bad[] = {
		"", "x", "[]", "{}", "{\"boot\":1,\"devices\":[]}",
		"{\"boot\":\"x\",\"devices\":{}}",
		"{\"boot\":\"x\",\"devices\":[1]}",
		"{\"boot\":\"x\",\"devices\":[{}]}",
		DEV "-1}]}", DEV "1000000}]}", DEV "\"1\"}]}", DEV "1}]}",
		DEV "1,\"spec\":[]}]}",
		DEV "1,\"spec\":[\"type=blk\",\"backend=D\",\"target=/a\"]}]}",
		DEV "1,\"spec\":[\"type=blk\",\"name=n\",\"backend=D\",\"state=4\"]}]}",
		DEV "1,\"spec\":[\"type=what\",\"name=n\",\"backend=D\"]}]}",
		DEV "1,\"spec\":[null,7]}]}",
		"{\"boot\":\"x\",\"devices\":[{\"uuid\":\"../5\",\"guest\":\"g1\","
		"\"devid\":1,\"spec\":[\"type=rng\",\"name=n\",\"backend=D\"]}]}",
	};
	unsigned int i;

	(void)state;
	assert_int_equal(mkdir(in_dir("state"), 0755), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		put_file(in_dir("state/saved.json"), bad[i]);
		if (!*bad[i])
			put_file(in_dir("state/saved.json"), "\n");
		assert_int_equal(vg_saved_recall(saved), 0);
		assert_true(unit_logged("saved.json.bad"));
		assert_false(fake_store_exists("/virtio-grant"));
		/* It is there until there is another. */
		assert_file(in_dir("state/saved.json"),
			    *bad[i] ? bad[i] : "\n");
		assert_file(in_dir("state/saved.json.bad"),
			    *bad[i] ? bad[i] : "\n");
		assert_int_equal(unlink(in_dir("state/saved.json.bad")), 0);
		unit_log_stop();
		unit_log_start();
	}
}

static const char one_of_three[] =
	"{\"boot\":\"x\",\"devices\":[{},"
	"{\"uuid\":\"00000000-0000-0000-0000-000000000051\",\"guest\":\"g1\","
	"\"devid\":1,\"spec\":[\"type=rng\",\"name=n\",\"backend=D\"]},"
	"7]}";

/* What one device has that makes no sense, is nothing to the others. */
static void one_that_makes_no_sense(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in_dir("state"), 0755), 0);
	put_file(in_dir("state/saved.json"), one_of_three);
	/* Not before all that can be known is. */
	fake_fail_nth(0, FAKE_STORE_WRITE, 1, EIO);
	assert_int_equal(vg_saved_recall(saved), -EIO);
	fake_fail_nth(0, FAKE_STORE_WRITE, 0, 0);
	assert_int_equal(access(in_dir("state/saved.json"), F_OK), 0);
	assert_int_equal(vg_saved_recall(saved), 0);
	bus_assert_key(bus_record(0x51, 1, "type"), "rng");
	assert_true(unit_logged("a device without a uuid"));
	assert_file(in_dir("state/saved.json.bad"), one_of_three);
}

/* The host stops before there is another: nothing is lost, or said anew. */
static void the_host_stops_before_the_next(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(mkdir(in_dir("state"), 0755), 0);
	put_file(in_dir("state/saved.json"), one_of_three);
	assert_int_equal(vg_saved_recall(saved), 0);
	assert_true(unit_logged("kept as"));
	host_is_booted();
	unit_log_stop();
	unit_log_start();
	assert_int_equal(vg_saved_recall(saved), 0);
	bus_assert_key(bus_record(0x51, 1, "type"), "rng");
	assert_false(unit_logged("saved.json"));
	assert_int_equal(access(in_dir("state/saved.json.bad.1"), F_OK), -1);
	/* The next has what made sense, and the other stays what it was. */
	assert_int_equal(look(), 0);
	assert_int_equal(keep(), 0);
	text = get_file(in_dir("state/saved.json"));
	assert_non_null(strstr(text, "name=n"));
	assert_string_not_equal(text, one_of_three);
	free(text);
	assert_file(in_dir("state/saved.json.bad"), one_of_three);
	end();
	fake_store_rm(0, "/virtio-grant");
	begin(3);
	assert_int_equal(vg_saved_recall(saved), 0);
	bus_assert_key(bus_record(0x51, 1, "type"), "rng");
	assert_false(unit_logged("kept"));
}

/* Each has a name of its own, as far as there are names. */
static void one_after_the_other(void **state)
{
	char name[40], text[40];
	unsigned int i;

	(void)state;
	assert_int_equal(mkdir(in_dir("state"), 0755), 0);
	for (i = 0; i < 12; i++) {
		snprintf(text, sizeof(text), "nonsense %u", i);
		put_file(in_dir("state/saved.json"), text);
		assert_int_equal(vg_saved_recall(saved), 0);
		snprintf(name, sizeof(name), i ? "saved.json.bad.%u" :
			 "saved.json.bad", i);
		assert_true(unit_logged(i < 10 ? name : "not kept: there are"));
		/* Each look of a program that begins writes another one. */
		assert_int_equal(keep(), 0);
		end();
		begin(1);
	}
	assert_file(in_dir("state/saved.json.bad"), "nonsense 0");
	assert_file(in_dir("state/saved.json.bad.1"), "nonsense 1");
	assert_file(in_dir("state/saved.json.bad.9"), "nonsense 9");
	assert_int_equal(access(in_dir("state/saved.json.bad.10"), F_OK), -1);
}

static void too_much(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(mkdir(in_dir("state"), 0755), 0);
	fd = open(in_dir("state/saved.json"), O_WRONLY | O_CREAT | O_CLOEXEC,
		  0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (64 << 20) + 1), 0);
	close(fd);
	assert_int_equal(vg_saved_recall(saved), -EFBIG);
	assert_true(unit_logged("File too large"));
}

/* What could not be written or recalled, is when it can. */
static void it_is_tried_again(void **state)
{
	static const enum fake_call calls[] = {
		FAKE_STORE_READ, FAKE_STORE_WRITE, FAKE_STORE_DIRECTORY,
		FAKE_STORE_PERMS, FAKE_STORE_BEGIN, FAKE_STORE_COMMIT,
	};
	unsigned int i, nth, failures = 0;
	bool failed;
	int err;

	(void)state;
	make("type=blk backend=DomD name=root target=/srv/a,b access=ro");
	make("type=rng backend=DomD name=random");
	fake_store_write(5, bus_front(5, 0, "suspended"), "1");
	fake_store_write(5, bus_front(5, 1, "suspended"), "1");
	assert_int_equal(look(), 2);
	put_file(in_dir("state"), "in the way");
	assert_int_equal(keep(), -ENOTDIR);
	assert_true(unit_logged("would not find their devices"));
	unlink(in_dir("state"));
	assert_int_equal(keep(), 0);
	host_is_booted();
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (nth = 1;; nth++) {
			fake_fail_nth(0, calls[i], nth, EIO);
			err = vg_saved_recall(saved);
			failed = fake_failed(calls[i]);
			fake_fail_nth(0, calls[i], 0, 0);
			if (!failed)
				break;
			failures++;
			assert_int_equal(err, -EIO);
			assert_true(unit_logged("are not known: Input/output error"));
			/* What is there, is whole, and the rest comes. */
			assert_int_equal(vg_saved_recall(saved), 0);
			assert_recalled();
			fake_store_rm(0, "/virtio-grant");
		}
		assert_int_equal(err, 0);
		fake_store_rm(0, "/virtio-grant");
	}
	assert_true(failures > 20);
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(restored_after_a_boot), T(the_same_boot),
		T(whom_xenstore_knows), T(only_what_changes_is_written),
		T(files_that_make_no_sense), T(one_that_makes_no_sense),
		T(the_host_stops_before_the_next), T(one_after_the_other),
		T(too_much), T(it_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
