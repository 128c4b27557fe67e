// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_ctl.c - what virtio-grantctl shows of what a daemon says, when somebody
 * else had a hand in it.
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "fake_xen.h"
#include "unit.h"

#define main vg_ctl_main
int vg_ctl_main(int argc, char **argv);
#include "ctl/main.c"
#undef main

static char *dir;

static int setup(void **state)
{
	(void)state;
	/* A control domain in whose xenstore nobody has refused anything. */
	fake_init();
	fake_enter(0);
	dir = unit_tmpdir();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unit_rm_r(dir);
	fake_exit();
	return 0;
}

/* A daemon that says @json once, to whoever asks. */
static pid_t daemon_says(const char *name, const char *json)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	char ask_[64];
	pid_t pid;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.80s/%s", dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	if (pid) {
		close(fd);
		return pid;
	}
	c = accept(fd, NULL, NULL);
	if (recv(c, ask_, sizeof(ask_), 0) < 0 ||
	    send(c, json, strlen(json), 0) < 0)
		_exit(1);
	_exit(0);
}

/* As @ctl() below, ending with @exit_status. */
static const char *ctl_ends(const char *what, const char *option,
			    int exit_status)
{
	static char text[16384];
	char run_dir[128], file[128], name[] = "virtio-grantctl";
	char *argv[] = { name, run_dir, (char *)(uintptr_t)what,
			 (char *)(uintptr_t)option, NULL };
	int status, fd;
	ssize_t n;
	pid_t pid;

	snprintf(run_dir, sizeof(run_dir), "--run-dir=%.90s", dir);
	snprintf(file, sizeof(file), "%.90s/out", dir);
	pid = fork();
	if (!pid) {
		fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		dup2(fd, 1);
		optind = 0;
		exit(vg_ctl_main(option ? 4 : 3, argv));
	}
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), exit_status);
	fd = open(file, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

/* What it writes, asked for @what; a static buffer. */
static const char *ctl(const char *what, const char *option)
{
	return ctl_ends(what, option, 0);
}

#define EVIL	"\\u001b]0;x\\u0007\\u009b2J\x7f\\u202e\\r\\n"

static const char evil[] = "{\"program\":\"virtio-grantd" EVIL "\",\"domain\":1,"
	"\"devices\":[{\"device\":\"dom1" EVIL "\",\"state\":\"" EVIL "\","
	"\"image\":\"" EVIL "\",\"stats\":{\"broken\":\"" EVIL "\","
	"\"mem\":{\"faults\":{\"" EVIL "\":1}},\"" EVIL "\":7}}],"
	"\"failures\":[\"dom1: " EVIL " forged\"]}\n";

static void assert_harmless(const char *text)
{
	const unsigned char *p;

	assert_true(*text);
	for (p = (const unsigned char *)text; *p; p++)
		if ((*p < 0x20 && *p != '\n') || *p == 0x7f ||
		    (p[0] == 0xc2 && p[1] < 0xa0) ||
		    (p[0] == 0xe2 && p[1] == 0x80 && p[2] == 0xae))
			fail_msg("byte %td: 0x%02x", p - (const unsigned char *)
				 text, *p);
}

static void nothing_for_a_terminal(void **state)
{
	static const char *const how[][2] = {
		{ "status", NULL }, { "stats", NULL }, { "status", "--json" },
	};
	unsigned int i;
	pid_t pid;

	(void)state;
	for (i = 0; i < 3; i++) {
		pid = daemon_says("grantd.sock", evil);
		assert_harmless(ctl(how[i][0], how[i][1]));
		waitpid(pid, NULL, 0);
		unit_rm_r(dir);
		dir = unit_tmpdir();
	}
}

/* A line that somebody made up would begin like one of ours. */
static void no_line_is_forged(void **state)
{
	pid_t pid = daemon_says("grantd.sock", "{\"program\":\"virtio-grantd\","
		"\"domain\":1,\"devices\":[],\"failures\":[\"a\\n  failed: b\","
		"\"\\u2028c\"]}\n");

	(void)state;
	assert_string_equal(ctl("status", NULL),
			    "virtio-grantd in domain 1: 0 device(s), workers NOT confined\n"
			    "  failed: a?  failed: b\n  failed: ???c\n");
	waitpid(pid, NULL, 0);
}

static void what_is_harmless_stays(void **state)
{
	pid_t pid = daemon_says("broker.sock", "{\"devices\":[],\"failures\":"
				"[\"dom1: B\\u00e4r \\u65e5\"]}\n");

	(void)state;
	assert_string_equal(ctl("status", NULL),
			    "virtio-grant-broker: 0 device(s)\n"
			    "  failed: dom1: B\xc3\xa4r \xe6\x97\xa5\n");
	waitpid(pid, NULL, 0);
}

/* Of commands.h: found, with options before and behind them. */
static void other_commands(void **state)
{
	static const char *const usage_of[] = {
		"attach", "detach", "create",
	};
	struct json_object *o;
	unsigned int i;

	(void)state;
	assert_string_equal(ctl("list", NULL), "");
	o = json_tokener_parse(ctl("list", "-j"));
	assert_int_equal(json_object_array_length(sub(o, "result")), 0);
	json_object_put(o);
	ctl_ends("list", "--what", 2);
	ctl_ends("lists", NULL, 2);
	for (i = 0; i < ARRAY_SIZE(usage_of); i++) {
		assert_string_equal(ctl_ends(usage_of[i], NULL, 2), "");
		o = json_tokener_parse(ctl_ends(usage_of[i], "--json", 2));
		assert_int_equal(num(o, "status"), 2);
		assert_non_null(strstr(str(o, "error"), "usage: "));
		json_object_put(o);
		o = json_tokener_parse(ctl_ends("-j", usage_of[i], 2));
		assert_int_equal(num(o, "status"), 2);
		json_object_put(o);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_for_a_terminal),
		T(no_line_is_forged),
		T(what_is_harmless_stays),
		T(other_commands),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
