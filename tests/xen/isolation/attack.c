// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attack.c - the attacker: root in a driver domain, with a kernel module.
 *
 *	vg-attack SECRETS [ROLE=DOMID[/MIB]...] [step=N] [nice=N] PART [WORDS]
 *
 * Roles: self (required), guest, neighbour, dom0, xen...; PART and its
 * words are in main().  Says what it tried and what came of it, a line of
 * JSON for each kind of attempt and each target.  Exit status 0 unless it
 * could not be carried out; what the results mean, report.py decides.
 *
 * Everything that Xen lets it see is searched for the secrets (secret.h).
 * Refusals are counted by name.  Needs vg_attack.ko, but for what it tries
 * through Linux's own interfaces.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "attack.h"
#include "secret.h"

_Static_assert(SECRETS_MAX == ATTACK_SECRETS_MAX, "secret.h, attack.h");

struct target targets[TARGETS_MAX];
unsigned int nr_targets;
unsigned int step = 1;
uint16_t own_domid;

uint8_t *xbuf, *xpage;
struct vga_info xinfo;
static int xfd = -1;

#define MACHINE_FRAMES	0x80000u	/* more than any guest has */

uint64_t ram_frames(const struct target *t)
{
	return t->mem_mib ? t->mem_mib * 256ull : 65536;
}

unsigned int ram_step(const struct target *t)
{
	return ram_frames(t) > MACHINE_FRAMES ? step * 64 : step;
}

/* ---- secrets ------------------------------------------------------------ */

#define WORDS	8192u	/* slots; far more than secrets times 32 */

static struct {
	uint64_t word;
	uint8_t secret;		/* + 1 */
} words[WORDS];

static unsigned int slot_of(uint64_t word)
{
	return (unsigned int)(word * 0x9e3779b97f4a7c15u >> 51);
}

static void words_learn(void)
{
	for (unsigned int n = 0; n < nr_secrets; n++) {
		for (unsigned int i = 0; i < SECRET_BYTES; i++) {
			uint8_t byte[8];
			uint64_t word;
			unsigned int slot;

			for (unsigned int k = 0; k < 8; k++)
				byte[k] =
					secrets[n].byte[(i + k) % SECRET_BYTES];
			memcpy(&word, byte, 8);
			slot = slot_of(word);
			while (words[slot].secret)
				slot = (slot + 1) % WORDS;
			words[slot].word = word;
			words[slot].secret = (uint8_t)(n + 1);
		}
	}
}

static void objects_add(struct objects *o, uint64_t object)
{
	if (object < OBJECTS_MAX) {
		o->bit[object / 8] |= (uint8_t)(1u << object % 8);
		o->any = true;
	}
}

void attempt_search(struct attempt *a, uint64_t object, const void *data,
		    size_t bytes)
{
	const uint64_t *p = data;

	a->pages++;
	for (size_t i = 0; i < bytes / 8; i++) {
		unsigned int slot = slot_of(p[i]);

		while (words[slot].secret) {
			if (words[slot].word == p[i]) {
				unsigned int n = words[slot].secret - 1u;

				a->found[n].bytes += 8;
				objects_add(&a->found[n].objects, object);
				break;
			}
			slot = (slot + 1) % WORDS;
		}
	}
}

/* ---- attempts ----------------------------------------------------------- */

static struct attempt the_attempt;

struct attempt *attempt_begin(const char *what, const struct target *target)
{
	memset(&the_attempt, 0, sizeof(the_attempt));
	the_attempt.what = what;
	the_attempt.target = target;
	return &the_attempt;
}

void attempt_allowed(struct attempt *a, uint64_t object)
{
	a->made++;
	a->allowed++;
	objects_add(&a->allowed_objects, object);
}

void attempt_refused(struct attempt *a, const char *name)
{
	unsigned int i;

	a->made++;
	for (i = 0; i < a->nr_refused; i++)
		if (!strcmp(a->refused[i].name, name))
			break;
	if (i == a->nr_refused) {
		if (i == sizeof(a->refused) / sizeof(a->refused[0]))
			i--;
		else
			a->nr_refused++;
		a->refused[i].name = name;
	}
	a->refused[i].nr++;
}

void attempt_errno(struct attempt *a, uint64_t object, long ret)
{
	const char *name;

	if (ret >= 0) {
		attempt_allowed(a, object);
		return;
	}
	name = strerrorname_np((int)-ret);
	attempt_refused(a, name ? name : "other");
}

void attempt_grant(struct attempt *a, uint64_t object, int status)
{
	static const char *const names[] = {
		"", "general_error", "bad_domain", "bad_gntref", "bad_handle",
		"bad_virt_addr", "bad_dev_addr", "no_device_space",
		"permission_denied", "bad_page", "bad_copy_arg",
		"address_too_big", "eagain", "no_space",
	};

	if (!status)
		attempt_allowed(a, object);
	else if (status < 0 && status > -14)
		attempt_refused(a, names[-status]);
	else
		attempt_refused(a, "other");
}

/* "first-last,first-last,..."; @max of them. */
static void print_objects(const struct objects *o)
{
	unsigned int printed = 0;
	const char *comma = "";

	for (uint32_t i = 0; i < OBJECTS_MAX && o->any; i++) {
		uint32_t last;

		if (!o->bit[i / 8]) {
			i |= 7;
			continue;
		}
		if (!(o->bit[i / 8] & 1u << i % 8))
			continue;
		for (last = i; last + 1 < OBJECTS_MAX &&
		     o->bit[(last + 1) / 8] & 1u << (last + 1) % 8; last++)
			;
		if (printed++ == 2000) {
			printf(",...");
			break;
		}
		if (last > i)
			printf("%s%u-%u", comma, i, last);
		else
			printf("%s%u", comma, i);
		comma = ",";
		i = last;
	}
}

void attempt_end(struct attempt *a)
{
	const char *comma = "";

	printf("{\"what\": \"%s\", \"target\": \"%s\", \"domid\": %u, \"made\": %llu, \"allowed\": %llu, \"refused\": {",
	       a->what, a->target->role, a->target->domid,
	       (unsigned long long)a->made, (unsigned long long)a->allowed);
	for (unsigned int i = 0; i < a->nr_refused; i++) {
		printf("%s\"%s\": %llu", comma, a->refused[i].name,
		       (unsigned long long)a->refused[i].nr);
		comma = ", ";
	}
	printf("}, \"pages_searched\": %llu, \"objects\": \"",
	       (unsigned long long)a->pages);
	print_objects(&a->allowed_objects);
	printf("\", \"found\": {");
	comma = "";
	for (unsigned int n = 0; n < nr_secrets; n++) {
		if (!a->found[n].bytes)
			continue;
		printf("%s\"%s\": {\"bytes\": %llu, \"objects\": \"", comma,
		       secrets[n].name,
		       (unsigned long long)a->found[n].bytes);
		print_objects(&a->found[n].objects);
		printf("\"}");
		comma = ", ";
	}
	printf("}");
	if (a->note)
		printf(", \"note\": \"%s\"", a->note);
	printf("}\n");
	fflush(stdout);
}

/* ---- Xen ---------------------------------------------------------------- */

void xen_open(void)
{
	if (xfd >= 0)
		return;
	xfd = open("/dev/vg-attack", O_RDWR);
	if (xfd < 0) {
		perror("/dev/vg-attack");
		exit(2);
	}
	xbuf = mmap(NULL, VGA_BUF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		    xfd, 0);
	xpage = mmap(NULL, (size_t)VGA_WINDOW_PAGES * PAGE_BYTES,
		     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (xbuf == MAP_FAILED || xpage == MAP_FAILED ||
	    ioctl(xfd, VGA_INFO, &xinfo)) {
		perror("vg-attack");
		exit(2);
	}
}

long xen_call(uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
	      uint64_t a4)
{
	struct vga_call call = { .nr = nr, .arg = { a0, a1, a2, a3, a4 } };

	if (ioctl(xfd, VGA_CALL, &call)) {
		perror("VGA_CALL");
		exit(2);
	}
	return (long)call.ret;
}

uint64_t xva(const void *in_xbuf)
{
	return xinfo.buf_va + (uint64_t)((const uint8_t *)in_xbuf - xbuf);
}

void xen_look(unsigned int first, unsigned int nr)
{
	struct vga_copy copy = {
		.first = first,
		.nr = nr,
		.user = (uint64_t)(uintptr_t)(xpage +
					      (size_t)first * PAGE_BYTES),
	};

	if (ioctl(xfd, VGA_COPY, &copy)) {
		perror("VGA_COPY");
		exit(2);
	}
}

static int usage(void)
{
	fputs("Usage: see the head of attack.c\n", stderr);
	return 2;
}

static uint64_t number(char **argv, int argc, int i)
{
	return i < argc ? strtoull(argv[i], NULL, 0) : 0;
}

int main(int argc, char **argv)
{
	bool knows_itself = false;
	const char *part;
	int i;

	if (argc < 3)
		return usage();
	secrets_read(argv[1]);
	words_learn();
	for (i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '='), *slash;
		struct target *t = &targets[nr_targets];

		if (!value)
			break;
		*value++ = 0;
		if (!strcmp(argv[i], "step")) {
			step = (unsigned int)strtoul(value, NULL, 0);
			continue;
		}
		if (!strcmp(argv[i], "nice")) {
			setpriority(PRIO_PROCESS, 0, atoi(value));
			continue;
		}
		if (!strcmp(argv[i], "self")) {
			own_domid = (uint16_t)strtoul(value, NULL, 0);
			knows_itself = true;
			continue;
		}
		if (nr_targets == TARGETS_MAX)
			return usage();
		t->role = argv[i];
		t->domid = (uint16_t)strtoul(value, &slash, 0);
		t->mem_mib = *slash == '/' ?
			(uint32_t)strtoul(slash + 1, NULL, 0) : 0;
		nr_targets++;
	}
	if (i == argc || !knows_itself || !step)
		return usage();
	part = argv[i++];
	if (!strcmp(part, "frames"))
		attack_frames();
	else if (!strcmp(part, "privcmd") && i < argc)
		attack_privcmd(argv[i]);
	else if (!strcmp(part, "resources"))
		attack_resources();
	else if (!strcmp(part, "grants"))
		attack_grants();
	else if (!strcmp(part, "gntdev"))
		attack_gntdev();
	else if (!strcmp(part, "cache") && i + 1 < argc)
		attack_cache(number(argv, argc, i), number(argv, argc, i + 1));
	else if (!strcmp(part, "events"))
		attack_events();
	else if (!strcmp(part, "storm"))
		attack_storm((unsigned int)number(argv, argc, i));
	else if (!strcmp(part, "calls"))
		attack_calls();
	else if (!strcmp(part, "store") && i < argc)
		attack_store(argv[i]);
	else if (!strcmp(part, "floods"))
		attack_floods();
	else if (!strcmp(part, "sample"))
		attack_sample((unsigned int)number(argv, argc, i));
	else if (!strcmp(part, "relay") && i + 4 < argc)
		attack_relay(argv[i], (uint16_t)number(argv, argc, i + 1),
			     (uint32_t)number(argv, argc, i + 2),
			     (uint32_t)number(argv, argc, i + 3),
			     (unsigned int)number(argv, argc, i + 4));
	else if (!strcmp(part, "bus") && i + 3 < argc)
		attack_bus(argv[i], argv[i + 1], argv[i + 2],
			   (unsigned int)number(argv, argc, i + 3));
	else
		return usage();
	return 0;
}
