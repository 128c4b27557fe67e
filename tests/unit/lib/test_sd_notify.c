// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_sd_notify.c - what a service manager gets to hear, and what becomes of a
 * socket that is none.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/sd_notify.h"
#include "unit.h"

static int manager;
static char name[64];

/* A manager's socket by that name, '@': abstract. */
static void listen_at(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	memcpy(at.sun_path, path, strlen(path));
	if (path[0] == '@')
		at.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_true(manager >= 0);
	assert_int_equal(
		bind(manager, (struct sockaddr *)&at,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				 strlen(path))),
		0);
	setenv("NOTIFY_SOCKET", path, 1);
}

static void assert_heard(const char *text)
{
	char got[64];
	ssize_t n = recv(manager, got, sizeof(got), MSG_DONTWAIT);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void by_path_and_by_name(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%sunit-notify-%d",
			 i ? "@" : "/tmp/", (int)getpid());
		listen_at(name);
		assert_int_equal(vg_sd_notify("READY=1"), 0);
		assert_heard("READY=1");
		assert_int_equal(recv(manager, name, 1, MSG_DONTWAIT), -1);
		close(manager);
		/* Nobody listens there any more. */
		assert_int_equal(vg_sd_notify("READY=1"), -ECONNREFUSED);
		if (!i)
			unlink(name);
	}
}

static void no_manager(void **state)
{
	char longest[110];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(vg_sd_notify("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(vg_sd_notify("READY=1"), -EAFNOSUPPORT);
	setenv("NOTIFY_SOCKET", "@", 1);
	assert_int_equal(vg_sd_notify("READY=1"), -EAFNOSUPPORT);
	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
	assert_int_equal(vg_sd_notify("READY=1"), -EAFNOSUPPORT);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[108] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(vg_sd_notify("READY=1"), -E2BIG);
	longest[107] = '\0';	/* it fits, and is not there */
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(vg_sd_notify("READY=1"), -ENOENT);
	unsetenv("NOTIFY_SOCKET");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_path_and_by_name),
		cmocka_unit_test(no_manager),
	};

	return cmocka_run_group_tests_name("sd_notify", tests, NULL, NULL);
}
