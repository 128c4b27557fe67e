// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_bus.c - virtio-grantctl attach, detach, list, and resize in the control
 * domain: what they write, what they say of each wrong set-up, and that a
 * failure leaves nothing behind.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bus.h"
#include "ctl/commands.h"
#include "lib/util.h"

#define IMAGE	"target=/srv/a"

static struct vg_answer answer;
static char *before;		/* the whole store */

static int setup(void **state)
{
	(void)state;
	bus_setup();
	vg_ctl_wait_ms = 5000;
	vg_session_is_interrupted = 0;
	before = fake_store_dump();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(before);
	vg_answer_free(&answer);
	assert_int_equal(fake_leaks(), 0);
	bus_teardown();
	return 0;
}

/* Words with blanks between; the exit status. */
static int ctl(void (*run)(struct vg_answer *a, int argc, char **argv),
	       const char *line)
{
	char *words = vg_strdup(line), *argv[64], *p, *save = NULL;
	int argc = 0;

	vg_answer_free(&answer);
	for (p = strtok_r(words, " ", &save); p && argc < 63;
	     p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	run(&answer, argc, argv);
	free(words);
	return answer.status;
}

static int attach(const char *line)
{
	return ctl(vg_ctl_attach, line);
}

static int detach(const char *line)
{
	return ctl(vg_ctl_detach, line);
}

static void assert_unchanged(void)
{
	char *now = fake_store_dump();

	assert_string_equal(now, before);
	free(now);
}

static void assert_says(const char *text)
{
	const char *said = answer.error ? answer.error :
			   answer.text ? answer.text : "";

	if (!strstr(said, text))
		fail_msg("\"%s\" is not in \"%s\"", text, said);
	/* One line. */
	if (answer.error)
		assert_null(strchr(answer.error, '\n'));
}

static void refused(const char *line, const char *text)
{
	assert_int_equal(attach(line), VG_EXIT_FAILED);
	assert_says(text);
	assert_unchanged();
	assert_int_equal(fake_leaks(), 0);
}

#define ATTACH	"attach g1 type=blk backend=DomD " IMAGE

/* ---- attach ------------------------------------------------------------- */

static void a_disk_is_connected(void **state)
{
	static const char *const back[][2] = {
		{ "frontend", "/local/domain/5/device/virtio_grant/0" },
		{ "frontend-id", "5" }, { "online", "1" }, { "state", "4" },
		{ "type", "virtio,device2" }, { "grant_usage", "1" },
		{ "params", "/srv/a" }, { "mode", "w" }, { "dev", "blk0" },
		{ "discard-enable", "1" },
	};
	static const char *const record[][2] = {
		{ "name", "blk0" }, { "type", "blk" }, { "device-id", "2" },
		{ "backend", "DomD" }, { "backend-id", "1" },
		{ "guest", "g1" }, { "guest-id", "5" },
		{ "key/params", "/srv/a" }, { "key/mode", "w" },
	};
	unsigned int i;

	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	assert_string_equal(answer.text, "g1 blk0: connected (blk, DomD)\n");
	for (i = 0; i < ARRAY_SIZE(back); i++)
		bus_assert_key(bus_back(1, 5, 0, back[i][0]), back[i][1]);
	for (i = 0; i < ARRAY_SIZE(record); i++)
		bus_assert_key(bus_record(0x51, 0, record[i][0]),
			       record[i][1]);
	bus_assert_key(bus_front(5, 0, "backend"),
		       "/local/domain/1/backend/virtio_grant/5/0");
	bus_assert_key(bus_front(5, 0, "backend-id"), "1");
	bus_assert_key(bus_front(5, 0, "device-id"), "2");
	bus_assert_key(bus_front(5, 0, "state"), "4");
	bus_assert_key(bus_front(5, 0, "name"), NULL);
}

/* As each of the domains. */
static void who_may_do_what(void **state)
{
	xen_domid_t other;
	char *v;

	(void)state;
	bus_domain(7, "g2", 0x72, false);
	assert_int_equal(attach(ATTACH), 0);
	for (other = 1; other < 8; other += 2) {
		if (other == 3)
			continue;
		v = fake_store_read(other, bus_record(0x51, 0, "name"));
		assert_null(v);
		assert_int_equal(errno, EACCES);
		v = fake_store_read(other, bus_front(5, 0, "backend-id"));
		assert_int_equal(!v, other == 7);
		free(v);
		v = fake_store_read(other, bus_back(1, 5, 0, "params"));
		assert_int_equal(!v, other == 7);
		free(v);
		assert_int_equal(fake_store_write(other, bus_back(1, 5, 0,
			"params"), "x"), other == 1 ? 0 : -EACCES);
		assert_int_equal(fake_store_write(other, bus_front(5, 0,
			"device-id"), "2"), other == 5 ? 0 : -EACCES);
	}
}

static void what_is_written_of_others(void **state)
{
	(void)state;
	assert_int_equal(attach("attach 5 type=console backend=1 name=con.1-a console-ports=console,agent"), 0);
	bus_assert_key(bus_back(1, 5, 0, "type"), "virtio,device3");
	bus_assert_key(bus_back(1, 5, 0, "console-ports"), "console,agent");
	bus_assert_key(bus_back(1, 5, 0, "mode"), NULL);
	assert_int_equal(attach("attach g1 type=25 backend=DomD"), 0);
	bus_assert_key(bus_back(1, 5, 1, "type"), "virtio,device19");
	bus_assert_key(bus_record(0x51, 1, "name"), "virtio25-0");
	/* Ours, if none is named. */
	assert_int_equal(attach("attach g1 type=rng"), 0);
	bus_assert_key(bus_back(0, 5, 2, "type"), "virtio,device4");
	bus_assert_key(bus_record(0x51, 2, "backend"), "Domain-0");
	assert_int_equal(attach("attach g1 type=blk access=ro serial=S discard=off backend=DomD " IMAGE), 0);
	bus_assert_key(bus_back(1, 5, 3, "mode"), "r");
	bus_assert_key(bus_back(1, 5, 3, "discard-enable"), "0");
	bus_assert_key(bus_back(1, 5, 3, "serial"), "S");
}

/* The lowest that is free in records and in fronts. */
static void numbers(void **state)
{
	(void)state;
	fake_store_mkdir(0, bus_front(5, 0, ""));
	assert_int_equal(attach(ATTACH), 0);
	bus_assert_key(bus_record(0x51, 1, "name"), "blk0");
	fake_store_rm(0, bus_front(5, 1, ""));
	assert_int_equal(attach(ATTACH), 0);
	bus_assert_key(bus_record(0x51, 2, "name"), "blk1");
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_int_equal(attach(ATTACH), 0);
	bus_assert_key(bus_record(0x51, 1, "name"), "blk0");
}

static void no_driver(void **state)
{
	(void)state;
	vg_ctl_wait_ms = 500;
	bus_guest = BUS_GUEST_NO_DRIVER;
	assert_int_equal(attach(ATTACH), VG_EXIT_NO_DRIVER);
	assert_says("g1 blk0: attached; the guest has no driver for it yet (virtio_grant_bus): it comes up when that is loaded");
	bus_assert_key(bus_back(1, 5, 0, "state"), "2");
	bus_guest = BUS_GUEST_DRIVES;
	bus_turn();
	bus_turn();
	bus_assert_key(bus_front(5, 0, "state"), "4");
}

static void no_wait(void **state)
{
	(void)state;
	bus_backend = BUS_BACKEND_ABSENT;
	assert_int_equal(attach("attach --no-wait g1 type=blk backend=DomD name=a " IMAGE), 0);
	assert_string_equal(answer.text, "g1 a: attached (blk, DomD)\n");
	assert_int_equal(bus_turns, 0);
	bus_assert_key(bus_back(1, 5, 0, "state"), "1");
}

static void json(void **state)
{
	struct json_object *o;
	FILE *f;
	char *text;
	size_t n;

	(void)state;
	assert_int_equal(attach(ATTACH " -j"), 0);
	f = open_memstream(&text, &n);
	assert_int_equal(vg_answer_print(&answer, f, f), 0);
	fclose(f);
	o = json_tokener_parse(text);
	free(text);
	assert_string_equal(json_object_get_string(json_object_object_get(
		json_object_object_get(o, "result"), "state")), "connected");
	assert_null(json_object_object_get(o, "error"));
	json_object_put(o);
	assert_int_equal(attach(ATTACH " name=blk0 -j"), 1);
	f = open_memstream(&text, &n);
	assert_int_equal(vg_answer_print(&answer, f, f), 1);
	fclose(f);
	o = json_tokener_parse(text);
	free(text);
	assert_int_equal(json_object_get_int(json_object_object_get(o,
		"status")), 1);
	assert_non_null(json_object_object_get(o, "error"));
	json_object_put(o);
}

/* ---- wrong set-ups ------------------------------------------------------ */

static void wrong_guests(void **state)
{
	(void)state;
	refused("attach g9 type=rng", "g9: no such guest");
	refused("attach 9 type=rng", "9: no such guest");
	fake_store_rm(0, "/local/domain/5/vm");
	free(before);
	before = fake_store_dump();
	refused("attach g1 type=rng", "g1: the guest is ending");
	bus_domain(8, "g2", 8, false);
	bus_domain(9, "g2", 9, false);
	free(before);
	before = fake_store_dump();
	refused("attach g2 type=rng", "g2: two domains have that name: give the number");
}

static void kill_guest(void)
{
	bus_also = NULL;
	bus_domain_gone(5);
}

static void kill_backend(void)
{
	bus_also = NULL;
	bus_domain_gone(1);
}

static void ended_meanwhile(void **state)
{
	(void)state;
	bus_backend = BUS_BACKEND_ABSENT;
	bus_also = kill_guest;
	assert_int_equal(attach(ATTACH), 1);
	assert_says("g1 blk0: the guest has ended");
	assert_false(fake_store_exists("/virtio-grant"));
	assert_false(fake_store_exists("/local/domain/5"));
	assert_false(fake_store_exists("/local/domain/1/backend/virtio_grant"));
}

static void backend_ended_meanwhile(void **state)
{
	(void)state;
	bus_also = kill_backend;
	assert_int_equal(attach(ATTACH), 1);
	assert_says("DomD has ended: start it again");
	assert_false(fake_store_exists("/virtio-grant"));
	assert_false(fake_store_exists("/local/domain/1"));
	assert_false(fake_store_exists("/local/domain/5/device/virtio_grant"));
}

static void wrong_backends(void **state)
{
	(void)state;
	refused("attach g1 type=rng backend=DomX", "backend=DomX: no such domain");
	refused("attach g1 type=rng backend=77", "backend=77: no such domain");
	bus_domain(3, "DomE", 3, false);
	bus_domain(8, "DomF", 8, true);
	bus_domain(9, "DomF", 9, true);
	free(before);
	before = fake_store_dump();
	refused("attach g1 type=rng backend=DomE", "DomE is no driver domain: driver_domain=1 in its configuration");
	refused("attach g1 type=rng backend=DomF", "two domains have that name");
	vg_ctl_wait_ms = 50;
	bus_backend = BUS_BACKEND_ABSENT;
	refused(ATTACH, "no virtio-grantd answers in DomD: is it running there?");
}

static void backends_that_refuse(void **state)
{
	static const struct {
		enum bus_backend how;
		const char *says;
	} all[] = {
		{ BUS_BACKEND_REFUSES, "g1 blk0: DomD refuses it: image /srv/a: in use by dom3" },
		{ BUS_BACKEND_REFUSES_LATE, "g1 blk0: DomD refuses it: image /srv/a: in use by dom3" },
		{ BUS_BACKEND_REFUSES_SILENTLY, "DomD refuses it: it does not say why" },
		{ BUS_BACKEND_REMOVES, "DomD removed the device's node" },
		{ BUS_BACKEND_CLOSES, "DomD closed it" },
		{ BUS_BACKEND_NONSENSE, "DomD says nonsense" },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		bus_backend = all[i].how;
		refused(ATTACH, all[i].says);
	}
}

static void drivers_that_fail(void **state)
{
	static const struct {
		enum bus_guest how;
		const char *says;
	} all[] = {
		{ BUS_GUEST_FAILS, "g1 blk0: the guest's driver: 22 the device is a console" },
		{ BUS_GUEST_FAILS_SILENTLY, "it closed the device and does not say why" },
		{ BUS_GUEST_OTHER_VERSION, "the guest's driver speaks version 7 of the bus, virtio-grantd in DomD 1-1" },
		{ BUS_GUEST_SLOW, "have not come together in time (states 3 and 4)" },
		{ BUS_GUEST_NONSENSE, "the guest says nonsense" },
		{ BUS_GUEST_REMOVES, "the guest removed the device's node" },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		vg_ctl_wait_ms = all[i].how == BUS_GUEST_SLOW ? 500 : 5000;
		vg_ctl_driver_wait_ms = vg_ctl_wait_ms;
		bus_guest = all[i].how;
		refused(ATTACH, all[i].says);
	}
}

/* What an earlier device of that number met with is not this one's. */
static void old_words_are_forgotten(void **state)
{
	(void)state;
	fake_store_write(5, "/local/domain/5/error/device/virtio_grant/0/error",
			 "old");
	fake_store_write(1, "/local/domain/1/error/backend/virtio_grant/5/0/error",
			 "old");
	assert_int_equal(attach(ATTACH), 0);
	assert_false(fake_store_exists("/local/domain/5/error/device"));
	assert_false(fake_store_exists("/local/domain/1/error/backend"));
}

static void words_of_others_are_harmless(void **state)
{
	(void)state;
	bus_backend = BUS_BACKEND_REFUSES_LATE;
	assert_int_equal(attach("attach g1 type=rng backend=DomD --no-wait"), 0);
	fake_store_write(1, "/local/domain/1/error/backend/virtio_grant/5/0/error",
			 "a\033]0;x\007\nforged: line %0600d", 7);
	fake_store_rm(1, bus_back(1, 5, 0, "state"));
	assert_int_equal(ctl(vg_ctl_list, "list"), 0);
	assert_non_null(strstr(answer.text, "refused: a?]0;x??forged"));
	assert_true(strlen(answer.text) < 600);
	assert_null(strchr(answer.text, '\033'));
}

static void a_name_twice(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH " name=root"), 0);
	free(before);
	before = fake_store_dump();
	refused(ATTACH " name=root", "g1 has a device root already");
}

static void interrupted(void)
{
	vg_session_is_interrupted = 1;
}

static void ctrl_c(void **state)
{
	(void)state;
	bus_also = interrupted;
	bus_backend = BUS_BACKEND_ABSENT;
	refused(ATTACH, "interrupted");
}

static void wrong_words(void **state)
{
	static const char *const all[][2] = {
		{ "attach", "which guest?" },
		{ "attach g1", "type= is missing" },
		{ "attach g1 type=", "type=: has no value" },
		{ "attach g1 type=blk", "target= is missing" },
		{ "attach g1 type=disk", "type=disk: unknown" },
		{ "attach g1 type=0", "type=0: unknown" },
		{ "attach g1 type=70000", "type=70000: unknown" },
		{ "attach g1 rng", "\"rng\": no KEY=VALUE" },
		{ "attach g1 =rng", "\"=rng\": no KEY=VALUE" },
		{ "attach g1 type=rng type=rng", "type=: given twice" },
		{ "attach g1 type=rng a=1 a=2", "a=: given twice" },
		{ "attach g1 type=rng a=\001", "a=: a control character" },
		{ "attach g1 type=rng a=\302\205", "a=: a control character" },
		{ "attach g1 type=rng a.b=1", "a.b=: no name of a key" },
		{ "attach g1 type=rng a/b=1", "a/b=: no name of a key" },
		{ "attach g1 type=rng state=4", "state=: is not yours" },
		{ "attach g1 type=rng frontend=x", "frontend=: is not yours" },
		{ "attach g1 type=rng msg-x=x", "msg-x=: is not yours" },
		{ "attach g1 type=rng name=a/b", "name=: not 1 to 64 letters" },
		{ "attach g1 type=rng --what", "no such option" },
		{ "attach g1 type=blk target=a params=b", "target= and params= are the same" },
		{ "attach g1 type=blk target=a access=x", "access=x: neither ro nor rw" },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(attach(all[i][0]), VG_EXIT_USAGE);
		assert_says(all[i][1]);
	}
	assert_unchanged();
	assert_int_equal(fake_calls(0, FAKE_STORE_OPEN), 0);
}

static void no_rights(void **state)
{
	(void)state;
	fake_fail_nth(0, FAKE_STORE_OPEN, 1, EACCES);
	refused(ATTACH, "run it as root in the control domain");
	fake_fail_nth(0, FAKE_STORE_OPEN, 1, ENOENT);
	refused(ATTACH, "xenstore can't be reached");
	/* A guest that tries. */
	fake_enter(5);
	refused(ATTACH, "run it as root in the control domain");
	assert_int_equal(detach("detach g1 blk0"), 1);
	assert_says("run it as root in the control domain");
	assert_int_equal(ctl(vg_ctl_list, "list"), 1);
	fake_enter(0);
}

/* ---- detach ------------------------------------------------------------- */

static void in_good_order(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_string_equal(answer.text, "g1 blk0: detached\n");
	assert_unchanged();
	bus_guest = BUS_GUEST_NO_DRIVER;
	assert_int_equal(attach(ATTACH " --no-wait"), 0);
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_unchanged();
}

static void a_guest_that_holds_it(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	assert_int_equal(detach("detach g1 blk0 --timeout=0"), 1);
	assert_says("g1 blk0: the guest still uses it (mounted?): unmount it there, or --force");
	assert_unchanged();
	bus_assert_key(bus_back(1, 5, 0, "online"), "1");
	bus_assert_key(bus_back(1, 5, 0, "state"), "4");
	assert_int_equal(detach("detach g1 blk0 --force"), 0);
	assert_false(fake_store_exists(bus_front(5, 0, "")));
	assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
	assert_false(fake_store_exists("/virtio-grant"));
}

/* One that was not in use yet is not made so. */
static void what_it_was_before(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH " --no-wait"), 0);
	vg_step_hook = NULL;
	fake_store_write(1, bus_back(1, 5, 0, "state"), "2");
	fake_store_write(5, bus_front(5, 0, "state"), "3");
	free(before);
	before = fake_store_dump();
	assert_int_equal(detach("detach g1 blk0 --timeout=0"), 1);
	assert_says("still uses it");
	assert_unchanged();
	bus_assert_key(bus_back(1, 5, 0, "state"), "2");
}

static void ctrl_c_in_detach(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	bus_also = interrupted;
	assert_int_equal(detach("detach g1 blk0"), 1);
	assert_says("interrupted: the request is taken back");
	assert_unchanged();
}

static int number;

static void signalled(void)
{
	bus_also = NULL;
	raise(number);
}

/* The shell's ways, and that of a connection which breaks. */
static void signals_in_detach(void **state)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP };
	unsigned int i;

	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	/* The test may be run by nohup itself. */
	signal(SIGHUP, SIG_DFL);
	vg_session_catch_signals();
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		number = all[i];
		bus_also = signalled;
		assert_int_equal(detach("detach g1 blk0"), 1);
		assert_says("interrupted: the request is taken back");
		assert_unchanged();
		vg_session_is_interrupted = 0;
		signal(number, SIG_DFL);
	}
}

static void nohup(void **state)
{
	(void)state;
	signal(SIGHUP, SIG_IGN);
	vg_session_catch_signals();
	assert_int_equal(attach(ATTACH), 0);
	number = SIGHUP;
	bus_also = signalled;
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_null(bus_also);
	assert_unchanged();
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
}

/* Between the last look and the taking back. */
static void let_go_now(void)
{
	static unsigned int n;

	if (++n % 2)
		return;
	bus_also = NULL;
	bus_guest = BUS_GUEST_DRIVES;
}

static void at_the_last_moment(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	bus_also = let_go_now;
	assert_int_equal(detach("detach g1 blk0 --timeout=5"), 0);
	assert_unchanged();
}

/* It is gone by the time that the request would be taken back. */
static void let_go_at_once(void)
{
	bus_also = NULL;
	bus_guest = BUS_GUEST_DRIVES;
	bus_turn();
}

static void after_the_last_moment(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	bus_also = let_go_at_once;
	assert_int_equal(detach("detach g1 blk0 --timeout=0"), 0);
	assert_string_equal(answer.text, "g1 blk0: detached\n");
	assert_unchanged();
}

static void a_backend_that_keeps_it(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	bus_backend = BUS_BACKEND_KEEPS;
	vg_ctl_wait_ms = 50;
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_says("did not answer");
	assert_unchanged();
	assert_int_equal(attach("attach --no-wait g1 type=rng backend=DomD"), 0);
	assert_int_equal(detach("detach g1 rng0 --force"), 0);
	assert_says("did not answer");
	assert_unchanged();
}

/* ---- others are at it meanwhile ----------------------------------------- */

/* As virtio-grantctl watch does it, with the only device. */
static void move_to(xen_domid_t guest, xen_domid_t backend)
{
	struct xen_store *xs;
	struct vg_bus_devs all;

	assert_int_equal(xen_store_open(&xs), 0);
	assert_int_equal(vg_bus_devs_read(xs, NULL, &all), 0);
	assert_int_equal(all.nr, 1);
	assert_int_equal(vg_bus_move(xs, &all.d[0], guest, "g1", backend, 0),
			 0);
	vg_bus_devs_free(&all);
	xen_store_close(xs);
}

static void guest_is_another(void)
{
	bus_also = NULL;
	bus_domain_gone(5);
	bus_domain(6, "g1", 0x51, false);
	move_to(6, 1);
}

static void backend_is_another(void)
{
	bus_also = NULL;
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	move_to(5, 9);
}

static void both_are_others(void)
{
	guest_is_another();
	bus_domain_gone(1);
	bus_domain(9, "DomD", 0xd, true);
	move_to(6, 9);
}

static void moved_meanwhile(void **state)
{
	static void (*const also[])(void) = {
		guest_is_another, backend_is_another, both_are_others,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(also); i++) {
		bus_guest = BUS_GUEST_HOLDS;
		assert_int_equal(attach(ATTACH), 0);
		bus_backend = BUS_BACKEND_KEEPS;
		bus_also = also[i];
		assert_int_equal(detach("detach g1 blk0 --force"), 0);
		assert_says("g1 blk0: detached");
		assert_null(bus_also);
		assert_false(fake_store_exists(bus_front(5, 0, "")));
		assert_false(fake_store_exists(bus_front(6, 0, "")));
		assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
		assert_false(fake_store_exists(bus_back(1, 6, 0, "")));
		assert_false(fake_store_exists(bus_back(9, 5, 0, "")));
		assert_false(fake_store_exists(bus_back(9, 6, 0, "")));
		assert_false(fake_store_exists("/virtio-grant"));
		teardown(state);
		setup(state);
	}
}

static struct vg_answer second;

/* Another detach is quicker, and another device gets the number. */
static void device_is_another(void)
{
	char *detach_words[] = { (char[]){ "detach" }, (char[]){ "--force" },
				 (char[]){ "g1" }, (char[]){ "blk0" }, NULL };
	char *attach_words[] = { (char[]){ "attach" }, (char[]){ "--no-wait" },
				 (char[]){ "g1" }, (char[]){ "type=rng" },
				 (char[]){ "backend=DomD" }, NULL };

	bus_also = NULL;
	bus_backend = BUS_BACKEND_SERVES;
	vg_ctl_detach(&second, 4, detach_words);
	assert_int_equal(second.status, 0);
	vg_answer_free(&second);
	bus_backend = BUS_BACKEND_ABSENT;
	vg_ctl_attach(&second, 5, attach_words);
	assert_int_equal(second.status, 0);
	vg_answer_free(&second);
	free(before);
	before = fake_store_dump();
}

static void another_device_now(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	bus_backend = BUS_BACKEND_KEEPS;
	vg_ctl_wait_ms = 50;
	bus_also = device_is_another;
	assert_int_equal(detach("detach g1 blk0 --force"), 0);
	assert_says("g1 blk0: detached");
	assert_unchanged();
	bus_assert_key(bus_record(0x51, 0, "name"), "rng0");
}

static void not_there(void **state)
{
	(void)state;
	assert_int_equal(detach("detach g1 blk0"), 1);
	assert_says("g1 has no device blk0");
	assert_int_equal(detach("detach g9 blk0"), 1);
	assert_says("g9: no such guest");
	assert_int_equal(detach("detach g9"), 2);
	assert_int_equal(detach("detach g1 blk0 --timeout=x"), 2);
	assert_int_equal(detach("detach g1 blk0 --what"), 2);
	assert_unchanged();
}

static void of_a_guest_that_is_gone(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	bus_domain_gone(5);
	assert_int_equal(ctl(vg_ctl_list, "list"), 0);
	assert_string_equal(answer.text, "g1 blk0: guest is not running, blk, backend DomD (1), params=/srv/a mode=w discard-enable=1\n");
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_false(fake_store_exists("/virtio-grant"));
	assert_false(fake_store_exists("/local/domain/1/backend/virtio_grant"));
	assert_false(fake_store_exists("/local/domain/5"));
}

/* Its number is another's by now, with a device of its own. */
static void numbers_that_came_back(void **state)
{
	char *now;

	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	fake_store_write(0, "/local/domain/5/vm", "/vm/00000000-0000-0000-0000-%012x", 0x99);
	free(before);
	before = fake_store_dump();
	assert_int_equal(ctl(vg_ctl_list, "list"), 0);
	assert_says("g1 blk0: guest is not running");
	assert_int_equal(detach("detach 00000000-0000-0000-0000-000000000051 blk0 --force"), 0);
	now = fake_store_dump();
	assert_memory_equal(now, before, strstr(before, "/virtio-grant=") -
			    before);
	assert_null(strstr(now, "/virtio-grant="));
	free(now);
}

/* ---- list --------------------------------------------------------------- */

static void listed(const char *text)
{
	assert_int_equal(ctl(vg_ctl_list, "list g1"), 0);
	if (!answer.text || !strstr(answer.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, answer.text);
	assert_int_equal(json_object_array_length(answer.result), 1);
}

static void how_they_are(void **state)
{
	(void)state;
	assert_int_equal(ctl(vg_ctl_list, "list"), 0);
	assert_null(answer.text);
	bus_backend = BUS_BACKEND_ABSENT;
	bus_guest = BUS_GUEST_NO_DRIVER;
	assert_int_equal(attach(ATTACH " --no-wait"), 0);
	listed("g1 blk0: waits for virtio-grantd, blk, backend DomD (1), params=/srv/a mode=w discard-enable=1\n");
	bus_backend = BUS_BACKEND_SERVES;
	bus_turn();
	listed("waits for a driver");
	bus_guest = BUS_GUEST_SLOW;
	bus_turn();
	listed("connecting");
	bus_guest = BUS_GUEST_HOLDS;
	bus_turn();
	bus_turn();
	listed("connected");
	fake_store_write(0, bus_back(1, 5, 0, "state"), "5");
	listed("closing");
	fake_store_rm(1, bus_back(1, 5, 0, "state"));
	listed("refused: it does not say why");
	fake_store_write(0, "/local/domain/5/name", "g1-b");
	assert_int_equal(ctl(vg_ctl_list, "list g1-b"), 0);
	assert_memory_equal(answer.text, "g1-b blk0: refused", 18);
	fake_store_write(0, "/local/domain/5/name", "g1");
	bus_domain_gone(1);
	listed("waits for its backend domain");
	fake_store_rm(0, bus_front(5, 0, ""));
	bus_domain(6, "g2", 6, false);
	assert_int_equal(ctl(vg_ctl_list, "list g2"), 0);
	assert_null(answer.text);
	assert_int_equal(ctl(vg_ctl_list, "list g9"), 1);
	assert_int_equal(ctl(vg_ctl_list, "list a b"), 2);
}

/* ---- resize ------------------------------------------------------------- */

static int resize(const char *line)
{
	return ctl(vg_ctl_resize, line);
}

/* A virtio-grantd that takes the key; or says why not. */
static void takes_key(void)
{
	const char *key = bus_back(1, 5, 0, "resize");

	if (fake_store_exists(key))
		assert_int_equal(fake_store_rm(1, key), 0);
}

static unsigned int refuse_in;	/* turns after it has taken the key */

static void refuses_key(void)
{
	takes_key();
	if (!fake_store_exists(bus_back(1, 5, 0, "resize")) && !refuse_in--)
		fake_store_write(1, "/local/domain/1/error/backend/virtio_grant/5/0/error",
				 "dom5 virtio_grant/0: shorter\033");
}

static void a_disk_that_grew(void **state)
{
	struct json_object *o;

	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	/* What was refused before is not this answer's. */
	fake_store_write(1, "/local/domain/1/error/backend/virtio_grant/5/0/error",
			 "old");
	bus_also = takes_key;
	assert_int_equal(resize("resize g1 blk0"), 0);
	assert_string_equal(answer.text, "g1 blk0: DomD has looked at it; the guest is told if it has grown\n");
	o = json_object_object_get(answer.result, "state");
	assert_string_equal(json_object_get_string(o), "looked at");
	assert_unchanged();
	assert_int_equal(resize("resize -j 5 blk0"), 0);
	assert_true(answer.is_json);
	assert_unchanged();
}

static void a_disk_that_did_not(void **state)
{
	unsigned int i;

	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	bus_also = refuses_key;
	for (i = 0; i < 3; i++) {
		refuse_in = i;
		assert_int_equal(resize("resize g1 blk0"), 1);
		assert_says("g1 blk0: DomD refuses it: shorter?");
	}
	bus_also = NULL;
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_unchanged();
}

static void back_goes(void)
{
	fake_store_rm(1, bus_back(1, 5, 0, ""));
}

static void nobody_looks(void **state)
{
	static void (*const also[])(void) = { back_goes, kill_backend };
	unsigned int i;

	(void)state;
	assert_int_equal(resize("resize g1 blk0"), 1);
	assert_says("g1 has no device blk0");
	assert_int_equal(resize("resize g9 blk0"), 1);
	assert_says("g9: no such guest");
	assert_unchanged();
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	vg_ctl_wait_ms = 50;
	assert_int_equal(resize("resize g1 blk0"), 1);
	assert_says("g1 blk0: virtio-grantd in domain 1 does not take the request");
	assert_unchanged();
	vg_ctl_wait_ms = 5000;
	bus_also = interrupted;
	assert_int_equal(resize("resize g1 blk0"), 1);
	assert_says("interrupted: the request is taken back");
	assert_unchanged();
	vg_session_is_interrupted = 0;
	for (i = 0; i < ARRAY_SIZE(also); i++) {
		bus_also = also[i];
		assert_int_equal(resize("resize g1 blk0"), 1);
		assert_says("g1 blk0: it is not served now (virtio-grantctl list g1 has how it is)");
		bus_also = NULL;
		/* Nor has it been. */
		assert_int_equal(resize("resize g1 blk0"), 1);
		assert_says("it is not served now");
		assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
	}
}

/* Its number is another's, with a device that nobody has asked for. */
static void another_guest_now(void **state)
{
	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	fake_store_write(0, "/local/domain/5/vm", "/vm/00000000-0000-0000-0000-%012x", 0x99);
	free(before);
	before = fake_store_dump();
	assert_int_equal(resize("resize 00000000-0000-0000-0000-000000000051 blk0"), 1);
	assert_says("it is not served now");
	assert_unchanged();
}

/* ---- xenstore fails ----------------------------------------------------- */

static const enum fake_call calls[] = {
	FAKE_STORE_OPEN, FAKE_STORE_BEGIN, FAKE_STORE_COMMIT, FAKE_STORE_READ,
	FAKE_STORE_WRITE, FAKE_STORE_RM, FAKE_STORE_PERMS,
	FAKE_STORE_DIRECTORY, FAKE_STORE_WATCH,
};

/*
 * Each call of attach, once: it failed and left nothing, or it is connected.
 */
static void attach_and_failures(void **state)
{
	unsigned int i, n, failures = 0;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < 500; n++) {
			fake_fail_nth(0, calls[i], n, EIO);
			attach(ATTACH);
			if (!fake_failed(calls[i]))
				break;
			assert_int_equal(fake_leaks(), 0);
			failures++;
			if (answer.status) {
				assert_non_null(answer.error);
				assert_unchanged();
				continue;
			}
			assert_int_equal(detach("detach g1 blk0"), 0);
			assert_unchanged();
		}
		fake_fail_nth(0, calls[i], 0, 0);
		assert_int_equal(answer.status, 0);
		assert_int_equal(detach("detach g1 blk0"), 0);
		assert_unchanged();
	}
	assert_true(failures > 60);
}

/* Of one that is refused: its removal fails once, and is tried again. */
static void removal_and_failures(void **state)
{
	unsigned int i, n, failures = 0;

	(void)state;
	bus_backend = BUS_BACKEND_REFUSES;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < 500; n++) {
			fake_fail_nth(0, calls[i], n, EIO);
			assert_int_equal(attach(ATTACH), 1);
			assert_unchanged();
			if (!fake_failed(calls[i]))
				break;
			failures++;
		}
		fake_fail_nth(0, calls[i], 0, 0);
	}
	assert_true(failures > 60);
	/* Not for ever: then it says what is left. */
	fake_fail_from(0, FAKE_STORE_COMMIT, 2, 1000, EIO);
	assert_int_equal(attach(ATTACH), 1);
	assert_says("refuses it: image /srv/a: in use by dom3; and it could not be removed (Input/output error): virtio-grantctl detach --force 5 blk0");
	fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
	assert_int_equal(detach("detach --force 5 blk0"), 0);
	assert_unchanged();
}

/* Of detach: the device is gone, or as it was; a second one works. */
static void detach_and_failures(void **state)
{
	unsigned int i, n, failures = 0;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < 500; n++) {
			assert_int_equal(attach(ATTACH), 0);
			fake_fail_nth(0, calls[i], n, EIO);
			detach("detach g1 blk0");
			if (!fake_failed(calls[i]))
				break;
			failures++;
			if (answer.status)
				assert_int_equal(detach("detach g1 blk0"), 0);
			assert_unchanged();
		}
		fake_fail_nth(0, calls[i], 0, 0);
		assert_int_equal(answer.status, 0);
		assert_unchanged();
	}
	assert_true(failures > 40);
}

/* Of resize: nothing is left of it, or it was taken. */
static void resize_and_failures(void **state)
{
	unsigned int i, n, failures = 0;

	(void)state;
	assert_int_equal(attach(ATTACH), 0);
	free(before);
	before = fake_store_dump();
	bus_also = takes_key;
	vg_ctl_wait_ms = 50;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 1; n < 500; n++) {
			fake_fail_nth(0, calls[i], n, EIO);
			resize("resize g1 blk0");
			assert_int_equal(fake_leaks(), 0);
			assert_unchanged();
			if (!fake_failed(calls[i]))
				break;
			failures++;
		}
		fake_fail_nth(0, calls[i], 0, 0);
		/* So short a wait that a busy machine may be too slow. */
		vg_ctl_wait_ms = 5000;
		assert_int_equal(resize("resize g1 blk0"), 0);
		assert_unchanged();
		vg_ctl_wait_ms = 50;
	}
	assert_true(failures > 20);
}

static void transactions_are_repeated(void **state)
{
	(void)state;
	fake_fail_from(0, FAKE_STORE_COMMIT, 1, 5, EAGAIN);
	assert_int_equal(attach(ATTACH), 0);
	assert_int_equal(detach("detach g1 blk0"), 0);
	/* Not for ever. */
	fake_fail_nth(0, FAKE_STORE_COMMIT, FAKE_EVERY, EAGAIN);
	refused(ATTACH, "xenstore is too busy");
	fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
}

#define TRIES	32u		/* of a transaction: transact.c */

static unsigned int disturbed;

/* Whoever changes its nodes all the time, from now on. */
static void disturb(void)
{
	bus_also = NULL;
	fake_fail_from(0, FAKE_STORE_COMMIT, 1, disturbed, EAGAIN);
}

/* As the front goes; as all of it goes; and as what is empty goes. */
static void a_guest_that_disturbs(void **state)
{
	unsigned int i;

	for (i = 0; i < 6; i++) {
		bus_guest = BUS_GUEST_HOLDS;
		assert_int_equal(attach(ATTACH), 0);
		disturbed = (i / 2 + 1) * TRIES;
		bus_also = i % 2 ? disturb : NULL;
		if (!bus_also)
			disturb();
		fake_store_write(5, "/local/domain/5/error/device/virtio_grant/0/error",
				 "x");
		/* The backend has let go, so it was asked. */
		assert_int_equal(detach("detach g1 blk0 --force"), 0);
		assert_string_equal(answer.text, "g1 blk0: detached\n");
		assert_true(fake_failed(FAKE_STORE_COMMIT));
		fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
		assert_false(fake_store_exists(bus_front(5, 0, "")));
		assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
		assert_false(fake_store_exists("/local/domain/5/error/device/virtio_grant/0"));
		assert_false(fake_store_exists("/virtio-grant"));
		if (i < 2)
			assert_unchanged();
		teardown(state);
		setup(state);
	}
}

/* Then even the record's transaction fails: it is there for another time. */
static void disturbed_for_ever(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	vg_ctl_wait_ms = 50;
	fake_fail_nth(0, FAKE_STORE_COMMIT, FAKE_EVERY, EAGAIN);
	assert_int_equal(detach("detach g1 blk0 --force"), 1);
	assert_says("xenstore is too busy: others change the same nodes; try again");
	assert_false(fake_store_exists(bus_front(5, 0, "")));
	assert_false(fake_store_exists(bus_back(1, 5, 0, "")));
	bus_assert_key(bus_record(0x51, 0, "name"), "blk0");
	fake_fail_nth(0, FAKE_STORE_COMMIT, 0, 0);
	assert_int_equal(detach("detach g1 blk0 --force"), 0);
	assert_unchanged();
}

static bool was_asked;

static void see_whether_asked(void)
{
	char *v = fake_store_read(1, bus_back(1, 5, 0, "state"));

	was_asked |= v && !strcmp(v, "5");
	free(v);
}

static void asked_all_the_same(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	vg_ctl_wait_ms = 50;
	was_asked = false;
	bus_also = see_whether_asked;
	fake_fail_from(0, FAKE_STORE_RM, 1, TRIES + 1, EAGAIN);
	assert_int_equal(detach("detach g1 blk0 --force"), 0);
	assert_says("did not answer");
	assert_true(was_asked);
	assert_unchanged();
}

/* As the tool commits; linked in place of the fake's (unit.mk). */
int __real_xen_store_commit(struct xen_store *xs);
int __wrap_xen_store_commit(struct xen_store *xs);
static void (*at_commit)(void);
static unsigned int commits;

int __wrap_xen_store_commit(struct xen_store *xs)
{
	if (at_commit)
		at_commit();
	return __real_xen_store_commit(xs);
}

/* As far as it may. */
static void guest_writes(void)
{
	commits++;
	fake_store_write(5, bus_front(5, 0, "state"), "4");
	fake_store_write(5, "/local/domain/5/error/device/virtio_grant/0/error",
			 "%u", commits);
}

static void a_guest_that_writes(void **state)
{
	(void)state;
	bus_guest = BUS_GUEST_HOLDS;
	assert_int_equal(attach(ATTACH), 0);
	at_commit = guest_writes;
	commits = 0;
	assert_int_equal(detach("detach g1 blk0 --force"), 0);
	at_commit = NULL;
	assert_string_equal(answer.text, "g1 blk0: detached\n");
	assert_in_range(commits, 2 * TRIES, 5 * TRIES);
	fake_store_rm(5, "/local/domain/5/error/device");
	assert_unchanged();
}

/* The last try of the transaction is too late as well, and for good. */
static void (*at_last)(void);

static void late(void)
{
	guest_writes();
	if (commits < TRIES)
		return;
	at_commit = NULL;
	at_last();
}

static void begin_writing(void)
{
	bus_also = NULL;
	at_commit = late;
	commits = 0;
}

static void changed_at_the_last_try(void **state)
{
	static void (*const all[])(void) = {
		guest_is_another, device_is_another,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(attach(ATTACH), 0);
		bus_backend = BUS_BACKEND_KEEPS;
		vg_ctl_wait_ms = 50;
		at_last = all[i];
		bus_also = begin_writing;
		assert_int_equal(detach("detach g1 blk0"), 0);
		assert_null(at_commit);
		if (all[i] == device_is_another)
			assert_unchanged();
		assert_int_equal(fake_store_exists("/virtio-grant"),
				 all[i] == device_is_another);
		assert_false(fake_store_exists(bus_front(6, 0, "")));
		assert_false(fake_store_exists(bus_back(1, 6, 0, "")));
		teardown(state);
		setup(state);
	}
}

/* Two at once: the second begins while the first waits. */
static void attach_second(void)
{
	char *argv[] = { (char[]){ "attach" }, (char[]){ "g1" },
			 (char[]){ "type=rng" }, (char[]){ "backend=DomD" },
			 NULL };

	bus_also = NULL;
	vg_ctl_attach(&second, 4, argv);
}

static void two_at_once(void **state)
{
	(void)state;
	bus_also = attach_second;
	assert_int_equal(attach(ATTACH), 0);
	assert_int_equal(second.status, 0);
	assert_string_equal(second.text, "g1 rng0: connected (rng, DomD)\n");
	vg_answer_free(&second);
	assert_int_equal(detach("detach g1 blk0"), 0);
	assert_int_equal(detach("detach g1 rng0"), 0);
	assert_unchanged();
}

int main(void)
{
#define T(f)	cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_disk_is_connected),
		T(who_may_do_what),
		T(what_is_written_of_others),
		T(numbers),
		T(no_driver),
		T(no_wait),
		T(json),
		T(wrong_guests),
		T(ended_meanwhile),
		T(backend_ended_meanwhile),
		T(wrong_backends),
		T(backends_that_refuse),
		T(drivers_that_fail),
		T(old_words_are_forgotten),
		T(words_of_others_are_harmless),
		T(a_name_twice),
		T(ctrl_c),
		T(wrong_words),
		T(no_rights),
		T(in_good_order),
		T(a_guest_that_holds_it),
		T(what_it_was_before),
		T(ctrl_c_in_detach),
		T(signals_in_detach),
		T(nohup),
		T(at_the_last_moment),
		T(after_the_last_moment),
		T(a_backend_that_keeps_it),
		T(moved_meanwhile),
		T(another_device_now),
		T(not_there),
		T(of_a_guest_that_is_gone),
		T(numbers_that_came_back),
		T(how_they_are),
		T(a_disk_that_grew),
		T(a_disk_that_did_not),
		T(nobody_looks),
		T(another_guest_now),
		T(attach_and_failures),
		T(removal_and_failures),
		T(detach_and_failures),
		T(resize_and_failures),
		T(transactions_are_repeated),
		T(a_guest_that_disturbs),
		T(disturbed_for_ever),
		T(asked_all_the_same),
		T(a_guest_that_writes),
		T(changed_at_the_last_try),
		T(two_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
