// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_ctl.c - what virtio-grantctl shows of what a daemon says, when somebody
 * else had a hand in it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_xen.h"
#include "lib/util.h"
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
	char ask_[64] = "", *asked;
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
	if (recv(c, ask_, sizeof(ask_) - 1, 0) < 0 ||
	    send(c, json, strlen(json), 0) < 0)
		_exit(1);
	/* The name of a link is the shortest file. */
	asked = vg_strf("%s/asked", dir);
	if (symlink(ask_, asked))
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
		"attach", "detach", "create", "resize",
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

/* ---- resize ------------------------------------------------------------- */

/* As a shell would call it with these words; its exit status. */
static int resize(const char *words, const char **said)
{
	static char text[4096];
	char *cmd = vg_strdup(words), run_dir[128], file[128], *word;
	char name[] = "virtio-grantctl", *argv[8] = { name, run_dir };
	int status, fd, argc = 2;
	ssize_t n;
	pid_t pid;

	snprintf(run_dir, sizeof(run_dir), "--run-dir=%.90s", dir);
	snprintf(file, sizeof(file), "%.90s/out", dir);
	for (word = strtok(cmd, "|"); word; word = strtok(NULL, "|"))
		argv[argc++] = word;
	pid = fork();
	if (!pid) {
		fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		optind = 0;
		exit(vg_ctl_main(argc, argv));
	}
	waitpid(pid, &status, 0);
	free(cmd);
	fd = open(file, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	*said = text;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Which request @words become, and what of @json is shown. */
static void resize_is(const char *words, const char *json, int status,
		      const char *want)
{
	pid_t pid = daemon_says("grantd.sock", json);
	char *asked = vg_strf("%s/asked", dir), request[64] = "";
	const char *said;

	assert_int_equal(resize(words, &said), status);
	assert_string_equal(said, want);
	waitpid(pid, NULL, 0);
	assert_true(readlink(asked, request, sizeof(request) - 1) > 0);
	assert_string_equal(request, "resize dom3 virtio_disk/51712\n");
	free(asked);
	unit_rm_r(dir);
	dir = unit_tmpdir();
}

static void resize_answers(void **state)
{
	(void)state;
	resize_is("resize|dom3 virtio_disk/51712",
		  "{\"done\":true,\"text\":\"dom3 virtio_disk\\/51712: /a, 7 bytes\"}\n",
		  0, "dom3 virtio_disk/51712: /a, 7 bytes\n");
	/* As a shell has it without quotes, and as one word. */
	resize_is("resize|dom3|virtio_disk/51712",
		  "{\"done\":true,\"text\":\"a" EVIL "\"}\n", 0,
		  "a?]0;x???2J??????\n");
	resize_is("resize|dom3/virtio_disk/51712",
		  "{\"done\":false,\"text\":\"no\"}\n", 1,
		  "virtio-grantctl: refused: no\n");
	resize_is("resize|dom3/virtio_disk/51712",
		  "{\"error\":\"unknown request\"}\n", 1,
		  "virtio-grantctl: virtio-grantd does not know this request: it is older\n");
	resize_is("resize|dom3/virtio_disk/51712", "{\"done\":", 1,
		  "virtio-grantctl: virtio-grantd does not answer: dom3 virtio_disk/51712 may be resized yet, see virtio-grantctl status\n");
}

static void resize_as_json(void **state)
{
	static const struct {
		const char *words, *json, *error;
		int status;
	} all[] = {
		{ "--json|resize|dom3|virtio/0",
		  "{\"done\":true,\"text\":\"x\"}\n", NULL, 0 },
		{ "resize|dom3/virtio/0|-j",
		  "{\"done\":true,\"text\":\"x\"}\n", NULL, 0 },
		{ "resize|dom3|virtio/0|--json",
		  "{\"done\":false,\"text\":\"no\"}\n", "refused: no", 1 },
	};
	struct json_object *o;
	const char *said;
	unsigned int i;
	pid_t pid;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		pid = daemon_says("grantd.sock", all[i].json);
		assert_int_equal(resize(all[i].words, &said), all[i].status);
		o = json_tokener_parse(said);
		assert_int_equal(num(o, "status"), all[i].status);
		if (all[i].error) {
			assert_string_equal(str(o, "error"), all[i].error);
			assert_null(sub(o, "result"));
		} else {
			assert_null(sub(o, "error"));
			assert_string_equal(str(sub(o, "result"), "device"),
					    "dom3 virtio/0");
			assert_string_equal(str(sub(o, "result"), "text"),
					    "x");
		}
		json_object_put(o);
		waitpid(pid, NULL, 0);
		unit_rm_r(dir);
		dir = unit_tmpdir();
	}
}

/* Asked of nobody. */
static void resize_of_nothing(void **state)
{
	static const struct {
		const char *words, *said;
		int status;
	} bad[] = {
		{ "resize", "which device? (usage: ", 2 },
		{ "resize|", "which device? (usage: ", 2 },
		{ "resize|-x|dom3|virtio/0", "no such option", 2 },
		{ "resize|dom3", "it has not a domain", 2 },
		{ "resize|dom3 vif/0", "it has not a kind", 2 },
		{ "resize|dom3|virtio/x", "it has not a device number", 2 },
		{ "resize|dom3|virtio/0|dom4", "one device at a time", 2 },
		{ "resize|dom3|virtio/0", "does not run in this domain", 1 },
	};
	const char *said;
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(resize(bad[i].words, &said), bad[i].status);
		assert_non_null(strstr(said, bad[i].said));
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
		T(resize_answers), T(resize_as_json), T(resize_of_nothing),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
