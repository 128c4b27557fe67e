// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_create.c - virtio-grantctl create, with an xl that only writes down what
 * it is asked; the guest that it would make is there already.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus.h"
#include "ctl/commands.h"
#include "lib/util.h"

static struct vg_answer answer;
static char *before, *dir, *cfg, *log_path, *old_path;

/* It fails at the word that the file "fails" has. */
static void make_xl(void)
{
	char *path = vg_strf("%s/xl", dir);
	FILE *f = fopen(path, "w");

	fprintf(f, "#!/bin/sh\n"
		"echo \"$*\" >>%s/log\n"
		"echo said by xl\n"
		"[ \"$1\" != \"$(cat %s/fails 2>/dev/null)\" ]\n", dir, dir);
	fclose(f);
	chmod(path, 0755);
	free(path);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	char *path;

	(void)state;
	bus_setup();
	vg_ctl_wait_ms = 5000;
	vg_session_is_interrupted = 0;
	bus_guest = BUS_GUEST_NO_DRIVER;	/* it is paused */
	before = fake_store_dump();
	dir = unit_tmpdir();
	cfg = vg_strf("%s/g1.cfg", dir);
	log_path = vg_strf("%s/log", dir);
	old_path = vg_strdup(getenv("PATH"));
	path = vg_strf("%s:%s", dir, old_path);
	setenv("PATH", path, 1);
	free(path);
	make_xl();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	setenv("PATH", old_path, 1);
	free(old_path);
	free(log_path);
	free(cfg);
	unit_rm_r(dir);
	free(before);
	vg_answer_free(&answer);
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	return 0;
}

/* With the words behind the file; xl's standard error is not shown. */
static int create(const char *words)
{
	char *all = vg_strf("create|%s%s%s", cfg, *words ? "|" : "", words);
	char *argv[16], *p, *save = NULL;
	int argc = 0, err = dup(2), null;

	vg_answer_free(&answer);
	for (p = strtok_r(all, "|", &save); p && argc < 15;
	     p = strtok_r(NULL, "|", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	fflush(stderr);
	null = open("/dev/null", O_WRONLY);
	dup2(null, 2);
	vg_ctl_create(&answer, argc, argv);
	dup2(err, 2);
	close(err);
	close(null);
	free(all);
	return answer.status;
}

static void assert_log(const char *fmt)
{
	char *want = vg_strf(fmt, cfg), text[1024] = "";
	FILE *f = fopen(log_path, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
	unlink(log_path);
	assert_string_equal(text, want);
	free(want);
}

static void assert_says(const char *text)
{
	if (!answer.error || !strstr(answer.error, text))
		fail_msg("\"%s\" is not in \"%s\"", text,
			 answer.error ? answer.error : "");
}

static void assert_unchanged(void)
{
	char *now = fake_store_dump();

	assert_string_equal(now, before);
	free(now);
}

#define TWO "name='g1'\nvirtio_grant = [ 'backend=DomD, type=blk, name=root, target=/srv/a,b',\n" \
	    "  \"type=rng\" ]\n"

static void two_devices(void **state)
{
	(void)state;
	write_file(cfg, TWO);
	assert_int_equal(create(""), 0);
	assert_string_equal(answer.text, "g1 root: attached (blk, DomD)\n"
			    "g1 rng0: attached (rng, Domain-0)\n");
	assert_log("create -p %s\nunpause 5\n");
	bus_assert_key(bus_back(1, 5, 0, "params"), "/srv/a,b");
	bus_assert_key(bus_back(1, 5, 0, "state"), "2");
	bus_assert_key(bus_back(0, 5, 1, "state"), "2");
}

static void no_device(void **state)
{
	(void)state;
	write_file(cfg, "name='g1'");
	assert_int_equal(create("-q|memory=5"), 0);
	assert_log("create -p %s -q memory=5\nunpause 5\n");
	assert_unchanged();
}

static void xls_options(void **state)
{
	(void)state;
	write_file(cfg, TWO);
	assert_int_equal(create("-n"), 0);
	assert_log("create %s -n\n");
	assert_unchanged();
	assert_int_equal(create("-F"), VG_EXIT_USAGE);
	assert_int_equal(create("name='x'"), VG_EXIT_USAGE);
	assert_int_equal(create("virtio_grant=[]"), VG_EXIT_USAGE);
	assert_unchanged();
	assert_int_equal(create("-cF"), VG_EXIT_USAGE);
	assert_int_equal(create("--foreground"), VG_EXIT_USAGE);
	assert_int_equal(create("-qn"), 0);
	assert_log("create %s -qn\n");
	assert_unchanged();
	assert_int_equal(create("-cp|-fFnp"), 0);
	assert_log("create -p %s -cp -fFnp\n");
}

static void wrong_files(void **state)
{
	static const char *const all[][2] = {
		{ "name='g1", "g1.cfg:1:6: a string that has no end" },
		{ "virtio_grant=[]", "name= is missing" },
		/* g1's; and nobody's. */
		{ "name='5'\nvirtio_grant=['type=rng']",
		  "g1.cfg: name=\"5\" is the number of a domain, for xl as well: give the guest another name" },
		{ "name='00000000000000000000000077'", "is the number of a domain" },
		{ "name='g1'\n\n virtio_grant=['type=rng','type=blk']",
		  "g1.cfg:3:27: target= is missing" },
		{ "name='g1'\nvirtio_grant=[ 'type=rng,,' ]",
		  "g1.cfg:2:16: \"\": no KEY=VALUE" },
		{ "name='g1'\nvirtio_grant=[ 'type=rng,state=4' ]",
		  "g1.cfg:2:16: state=: is not yours" },
	};
	unsigned int i;

	(void)state;
	assert_int_equal(create(""), 1);
	assert_says("No such file");
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		write_file(cfg, all[i][0]);
		assert_int_equal(create(""), 1);
		assert_says(all[i][1]);
		assert_log("");
		assert_unchanged();
	}
}

static void when_a_device_fails(void **state)
{
	(void)state;
	write_file(cfg, "name='g1'\nvirtio_grant=['type=rng,backend=DomD',"
		   "'type=rng,backend=DomX']");
	assert_int_equal(create(""), 1);
	assert_says("backend=DomX: no such domain: start it first; the guest is destroyed again");
	assert_log("create -p %s\ndestroy 5\n");
	assert_unchanged();
	bus_backend = BUS_BACKEND_REFUSES;
	write_file(cfg, TWO);
	assert_int_equal(create(""), 1);
	assert_says("g1 root: DomD refuses it: image /srv/a: in use by dom3; the guest is destroyed again");
	assert_log("create -p %s\ndestroy 5\n");
	assert_unchanged();
}

static void when_xl_fails(void **state)
{
	char *fails = vg_strf("%s/fails", dir);

	(void)state;
	write_file(cfg, TWO);
	write_file(fails, "create");
	assert_int_equal(create(""), 1);
	assert_says("xl create failed (exit status 1)");
	assert_log("create -p %s\n");
	assert_unchanged();
	write_file(fails, "unpause");
	assert_int_equal(create(""), 1);
	assert_says("xl unpause 5 failed");
	assert_log("create -p %s\nunpause 5\ndestroy 5\n");
	assert_unchanged();
	setenv("PATH", "/nowhere", 1);
	assert_int_equal(create(""), 1);
	assert_says("there is no xl");
	assert_unchanged();
	free(fails);
}

/* xl made it, and it is gone again, or there are two. */
static void whom_to_give_it(void **state)
{
	(void)state;
	write_file(cfg, "name='g9'\nvirtio_grant=['type=rng']");
	assert_int_equal(create(""), 1);
	assert_says("g9: no such guest");
	assert_log("create -p %s\ndestroy g9\n");
	fake_fail_nth(0, FAKE_STORE_OPEN, 1, EACCES);
	assert_int_equal(create(""), 1);
	assert_says("run it as root");
	assert_log("");
	assert_unchanged();
}

/* Whatever fails: the guest is destroyed and nothing left, or all is well. */
static void each_call_fails(void **state)
{
	static const enum fake_call calls[] = {
		FAKE_STORE_BEGIN, FAKE_STORE_COMMIT, FAKE_STORE_WRITE,
		FAKE_STORE_RM, FAKE_STORE_PERMS, FAKE_STORE_DIRECTORY,
		FAKE_STORE_WATCH,
	};
	unsigned int i, n, step;

	(void)state;
	write_file(cfg, TWO);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		step = calls[i] == FAKE_STORE_WRITE ? 5 : 1;
		for (n = 1; n < 200; n += step) {
			fake_fail_nth(0, calls[i], n, EIO);
			create("");
			if (!answer.status)
				break;
			unlink(log_path);
			assert_unchanged();
		}
		fake_fail_nth(0, calls[i], 0, 0);
		assert_log("create -p %s\nunpause 5\n");
		fake_store_rm(0, bus_front(5, 0, ""));
		fake_store_rm(0, "/local/domain/5/device/virtio_grant");
		fake_store_rm(0, "/local/domain/1/backend");
		fake_store_rm(0, "/local/domain/0/backend");
		fake_store_rm(0, "/virtio-grant");
		assert_unchanged();
	}
}

/* Of the guest's uuid, in whatever letters it is written there. */
static void what_an_earlier_life_left(void **state)
{
	static const char text[] = "name='g6'\nvirtio_grant = [ 'type=rng,name=r' ]\n";
	char *with = vg_strf("%suuid='00000000-0000-0000-0000-0000000000AB'\n",
			     text);

	(void)state;
	bus_domain(6, "g6", 0xab, false);
	write_file(cfg, text);
	assert_int_equal(create(""), 0);
	bus_assert_key(bus_record(0xab, 0, "name"), "r");
	/* As long as it runs, it has it. */
	write_file(cfg, with);
	assert_int_equal(create(""), 1);
	assert_says("has a device r already");
	bus_assert_key(bus_record(0xab, 0, "name"), "r");
	bus_domain_gone(6);
	/* Only tried: nothing changes. */
	assert_int_equal(create("-n"), 0);
	bus_assert_key(bus_record(0xab, 0, "name"), "r");
	/* This xl makes no guest, but what it had is forgotten. */
	assert_int_equal(create(""), 1);
	assert_says("no such guest");
	bus_assert_key(bus_record(0xab, 0, "name"), NULL);
	assert_unchanged();
	free(with);
}

static int create_with(const char *option)
{
	char *own = vg_strdup(option), *file = vg_strdup("/nowhere.cfg");
	char *argv[] = { (char[]){ "create" }, own, file, NULL };

	vg_answer_free(&answer);
	vg_ctl_create(&answer, 3, argv);
	free(file);
	free(own);
	return answer.status;
}

static void usage(void **state)
{
	static const char *const wrong[] = {
		"--timeout=", "--timeout=0", "--timeout=x", "--timeout=86401",
		"--what",
	};
	char *argv[] = { (char[]){ "create" }, NULL };
	unsigned int i;

	(void)state;
	vg_ctl_create(&answer, 1, argv);
	assert_int_equal(answer.status, VG_EXIT_USAGE);
	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(create_with(wrong[i]), VG_EXIT_USAGE);
	assert_int_equal(vg_ctl_wait_ms, 5000);
	assert_int_equal(create_with("--timeout=7"), VG_EXIT_FAILED);
	assert_says("/nowhere.cfg");
	assert_int_equal(vg_ctl_wait_ms, 7000);
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(two_devices),
		T(no_device),
		T(xls_options),
		T(wrong_files),
		T(when_a_device_fails),
		T(when_xl_fails),
		T(whom_to_give_it),
		T(each_call_fails),
		T(what_an_earlier_life_left),
		T(usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
