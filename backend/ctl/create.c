// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * create.c - virtio-grantctl create: xl create, with the devices that the
 * guest's configuration lists under virtio_grant there before the guest runs.
 *
 * xl does what it does, as a program: paused at first.  If a device can't be
 * had, the guest is destroyed again, as xl does with its own.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "lib/util.h"
#include "toolstack/xl_cfg.h"

struct create {
	struct vg_session s;
	const char *file;
	char **options;			/* for xl create */
	int nr_options;
	bool stays_paused, is_dry;
	struct vg_xl_cfg cfg;
	struct vg_bus_spec *spec;	/* of each device, until it is made */
	struct vg_bus_dev *dev;
	unsigned int nr_devs;		/* made */
};

/* ---- xl ----------------------------------------------------------------- */

/* Its output is no part of ours. */
static void __attribute__((noreturn)) become_xl(char **argv)
{
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execvp("xl", argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* The exit status; 127: there is no xl; 128: it did not end by itself. */
static int run_xl(char **argv)
{
	pid_t pid = fork(), got;
	int status;

	if (!pid)
		become_xl(argv);
	if (pid < 0)
		return 126;
	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	return got < 0 || !WIFEXITED(status) ? 128 : WEXITSTATUS(status);
}

static int xl(struct create *c, const char *verb, const char *what)
{
	char *argv[] = { (char[]){ "xl" }, vg_strdup(verb), vg_strdup(what),
			 NULL };
	int status = run_xl(argv);

	(void)c;
	free(argv[2]);
	free(argv[1]);
	return status;
}

static int xl_create(struct create *c)
{
	char **argv = vg_calloc((size_t)c->nr_options + 5, sizeof(*argv));
	char program[] = "xl", verb[] = "create", paused[] = "-p";
	char *file = vg_strdup(c->file);
	int i, n = 0, status;

	argv[n++] = program;
	argv[n++] = verb;
	if (!c->is_dry)
		argv[n++] = paused;
	argv[n++] = file;
	for (i = 0; i < c->nr_options; i++)
		argv[n++] = c->options[i];
	status = run_xl(argv);
	free(file);
	free(argv);
	if (status == 127)
		vg_answer_fail(c->s.a, VG_EXIT_FAILED, "there is no xl: create runs it (package xen-utils-common)");
	else if (status)
		vg_answer_fail(c->s.a, VG_EXIT_FAILED, "%s: xl create failed (exit status %d), see above",
			       c->file, status);
	return status;
}

/* ---- devices ------------------------------------------------------------ */

static int take_devices(struct create *c)
{
	unsigned int i;
	char *why = NULL;
	int err = 0;

	c->spec = vg_calloc(c->cfg.nr_devices, sizeof(*c->spec));
	c->dev = vg_calloc(c->cfg.nr_devices, sizeof(*c->dev));
	for (i = 0; i < c->cfg.nr_devices && !err; i++) {
		const struct vg_xl_text *t = &c->cfg.device[i];

		err = vg_bus_spec_add_list(&c->spec[i], t->text, &why);
		if (!err)
			err = vg_bus_spec_complete(&c->spec[i], &why);
		if (err)
			vg_answer_fail(c->s.a, VG_EXIT_FAILED, "%s:%u:%u: %s",
				       c->file, t->line, t->column, why);
	}
	free(why);
	return err;
}

static int attach_all(struct create *c, const struct vg_domain *guest)
{
	int status = 0;

	while (c->nr_devs < c->cfg.nr_devices && !status) {
		struct vg_bus_dev *dev = &c->dev[c->nr_devs];

		status = vg_attach(&c->s, guest, &c->spec[c->nr_devs],
				   VG_ATTACH_BACKEND, dev);
		if (status)
			vg_bus_dev_free(dev);
		else
			c->nr_devs++;
	}
	return status;
}

/* As xenstore has it; NULL: the configuration has none, so xl makes one. */
static char *uuid_of(const struct create *c)
{
	char *uuid, *p;

	if (!c->cfg.uuid || vg_uuid_check(c->cfg.uuid))
		return NULL;
	uuid = vg_strdup(c->cfg.uuid);
	for (p = uuid; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return uuid;
}

static bool is_there(const struct vg_domains *all, const char *uuid)
{
	unsigned int i;

	for (i = 0; i < all->nr; i++)
		if (!strcmp(all->d[i].uuid, uuid))
			return true;
	return false;
}

/*
 * What is remembered of the guest's earlier life: the configuration says what
 * it has from now on.  Before there is a domain of that uuid, to which
 * virtio-grantctl watch would give the old ones.
 */
static int forget_earlier(struct create *c)
{
	char *uuid = uuid_of(c);
	struct vg_bus_devs old;
	unsigned int i;
	int err = 0;

	if (uuid && !is_there(&c->s.domains, uuid)) {
		err = vg_bus_devs_read(c->s.xs, uuid, &old);
		if (err)
			err = vg_session_store_failed(&c->s, err);
		for (i = 0; !err && i < old.nr; i++)
			err = vg_detach_gone(&c->s, &old.d[i]);
		vg_bus_devs_free(&old);
	}
	free(uuid);
	return err;
}

/* The error that there is stays the first. */
static void undo(struct create *c, const char *guest)
{
	unsigned int i;

	for (i = 0; i < c->nr_devs; i++)
		vg_attach_undo(&c->s, &c->dev[i]);
	if (xl(c, "destroy", guest))
		vg_answer_add(c->s.a, "; and xl destroy %s failed", guest);
	else
		vg_answer_add(c->s.a, "; the guest is destroyed again");
}

static void say(struct create *c, const struct vg_domain *guest)
{
	struct vg_answer *a = c->s.a;
	struct json_object *devices = json_object_new_array();
	unsigned int i;

	a->result = json_object_new_object();
	vg_answer_set(a->result, "guest", guest->name);
	vg_answer_set_number(a->result, "guest_id", guest->id);
	json_object_object_add(a->result, "devices", devices);
	for (i = 0; i < c->nr_devs; i++) {
		json_object_array_add(devices, vg_session_json(&c->s,
							       &c->dev[i]));
		vg_answer_line(a, "%s %s: attached (%s, %s)", guest->name,
			       c->dev[i].spec.name, c->dev[i].spec.type,
			       c->dev[i].spec.backend);
	}
}

/* The guest is there, and does not run. */
static void with_guest(struct create *c)
{
	const struct vg_domain *guest = NULL;
	char *number = NULL;
	int err;

	vg_domains_free(&c->s.domains);
	err = vg_domains_read(c->s.xs, &c->s.domains);
	if (err)
		vg_session_store_failed(&c->s, err);
	else
		guest = vg_session_guest(&c->s, c->cfg.name);
	if (guest)
		number = vg_strf("%u", guest->id);
	if (guest && !attach_all(c, guest) && !c->stays_paused &&
	    xl(c, "unpause", number))
		vg_answer_fail(c->s.a, VG_EXIT_FAILED, "%s: xl unpause %s failed, see above",
			       c->file, number);
	if (c->s.a->error)
		undo(c, number ? number : c->cfg.name);
	else
		say(c, guest);
	free(number);
}

static void create(struct create *c, struct vg_answer *a)
{
	if (vg_session_open(&c->s, a))
		return;
	if (!take_devices(c) && (c->is_dry || !forget_earlier(c)) &&
	    !xl_create(c) && !c->is_dry)
		with_guest(c);
	vg_session_close(&c->s);
}

/* ---- the command -------------------------------------------------------- */

/* xl's --@name or -@letter, which may stand with others: -cp. */
static bool is_option(const char *word, char letter, const char *name)
{
	size_t i;

	if (word[0] != '-')
		return false;
	if (word[1] == '-')
		return name && !strcmp(word + 2, name);
	/* Behind f is a file's name. */
	for (i = 1; word[i] && word[i] != 'f'; i++)
		if (word[i] == letter)
			return true;
	return false;
}

/* 0, or a status: some of xl's options change what happens here. */
static int look_at_options(struct create *c, struct vg_answer *a)
{
	int i;

	for (i = 0; i < c->nr_options; i++) {
		const char *o = c->options[i];

		c->stays_paused |= is_option(o, 'p', NULL);
		c->is_dry |= is_option(o, 'n', "dryrun");
		if (is_option(o, 'F', "foreground"))
			return vg_answer_fail(a, VG_EXIT_USAGE, "create: with %s xl does not return before the guest ends: leave it out",
					      o);
		else if (!strncmp(o, "name", 4) ||
			 !strncmp(o, "virtio_grant", 12))
			return vg_answer_fail(a, VG_EXIT_USAGE, "create: %s: write it into %s",
					      o, c->file);
	}
	return 0;
}

/* For xl as for us: then that domain's, whoever it is. */
static bool is_number(const char *name)
{
	return strspn(name, "0123456789") == strlen(name);
}

static int read_file(struct create *c, struct vg_answer *a)
{
	char *why = NULL;

	if (vg_xl_cfg_read(c->file, &c->cfg, &why))
		vg_answer_fail(a, VG_EXIT_FAILED, "%s", why);
	else if (!c->cfg.name || !*c->cfg.name)
		vg_answer_fail(a, VG_EXIT_FAILED, "%s: name= is missing: the guest is found by it",
			       c->file);
	else if (is_number(c->cfg.name))
		vg_answer_fail(a, VG_EXIT_FAILED, "%s: name=\"%s\" is the number of a domain, for xl as well: give the guest another name",
			       c->file, c->cfg.name);
	free(why);
	return a->status;
}

static void create_free(struct create *c)
{
	unsigned int i;

	for (i = 0; c->spec && i < c->cfg.nr_devices; i++) {
		vg_bus_spec_free(&c->spec[i]);
		vg_bus_dev_free(&c->dev[i]);
	}
	free(c->spec);
	free(c->dev);
	vg_xl_cfg_free(&c->cfg);
}

void vg_ctl_create(struct vg_answer *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "timeout", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	struct create c = { 0 };
	int opt, err = 0;

	optind = 0;
	opterr = 0;
	/* What stands behind the file is xl's. */
	while (!err && (opt = getopt_long(argc, argv, "+j", options,
					  NULL)) != -1) {
		if (opt == 'j')
			a->is_json = true;
		else
			err = opt == 't' ? vg_ctl_set_wait(optarg) : -EINVAL;
	}
	if (err || optind == argc) {
		vg_answer_fail(a, VG_EXIT_USAGE, "create: usage: create [-j] [--timeout=SECONDS] CFG [options of xl create]");
		return;
	}
	c.file = argv[optind];
	c.options = argv + optind + 1;
	c.nr_options = argc - optind - 1;
	if (!look_at_options(&c, a) && !read_file(&c, a))
		create(&c, a);
	create_free(&c);
}
