// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ask.c - see ask.h.
 */
#include "ctl/ask.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/printable.h"

/* A line of ours is one line: no text in it ends it (or does worse). */
static void make_printable(struct json_object *o)
{
	size_t i;
	char *s;

	if (json_object_is_type(o, json_type_string)) {
		s = strdup(json_object_get_string(o));
		if (!s)
			exit(1);
		vg_printable(s, "");
		json_object_set_string(o, s);
		free(s);
	} else if (json_object_is_type(o, json_type_array)) {
		for (i = 0; i < json_object_array_length(o); i++)
			make_printable(json_object_array_get_idx(o, i));
	} else if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, val) {
			(void)key;
			make_printable(val);
		}
	}
}

struct json_object *vg_ctl_ask(const char *run_dir, const char *name,
			       const char *request, int *error)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 10 };
	struct json_tokener *tok;
	struct json_object *o = NULL;
	char buf[16384];
	ssize_t n;
	int fd;

	*error = -ENAMETOOLONG;
	if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", run_dir,
		     name) >= (int)sizeof(sa.sun_path))
		return NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		*error = errno == ENOENT || errno == ECONNREFUSED ? 0 : -errno;
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	*error = -EIO;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
		close(fd);
		return NULL;
	}
	tok = json_tokener_new();
	while (!o && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
		o = json_tokener_parse_ex(tok, buf, (int)n);
	json_tokener_free(tok);
	close(fd);
	if (o)
		*error = 0;
	make_printable(o);
	return o;
}
