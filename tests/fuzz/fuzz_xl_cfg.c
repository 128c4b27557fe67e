// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_xl_cfg.c - a guest's configuration of any bytes, and what the devices
 * in it say (backend/toolstack/xl_cfg.c, bus_spec.c).
 *
 * Beyond what the sanitizers find, it dies when an error has no text or a text
 * is not for a terminal.  With libFuzzer, or alone: fuzz_xl_cfg -r N runs N
 * inputs from a fixed seed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "toolstack/bus_spec.h"
#include "toolstack/xl_cfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(char *why)
{
	char *p;

	if (!why || !*why)
		abort();
	for (p = why; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			abort();
	free(why);
}

static void check_spec(struct vg_bus_spec *spec)
{
	unsigned int i;

	if (spec->name && vg_bus_name_check(spec->name))
		abort();
	for (i = 0; i < spec->nr_keys; i++)
		if (!*spec->key[i].value || strchr(spec->key[i].key, '/') ||
		    strlen(spec->key[i].value) > VG_BUS_VALUE_BYTES)
			abort();
}

static void one_device(const char *text)
{
	struct vg_bus_spec spec = { 0 };
	char *why = NULL;

	if (vg_bus_spec_add_list(&spec, text, &why) ||
	    vg_bus_spec_complete(&spec, &why))
		check_error(why);
	else
		check_spec(&spec);
	vg_bus_spec_free(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vg_xl_cfg cfg;
	char *why = NULL;
	unsigned int i;

	if (vg_xl_cfg_parse("f", (const char *)data, size, &cfg, &why)) {
		check_error(why);
		return 0;
	}
	for (i = 0; i < cfg.nr_devices; i++)
		one_device(cfg.device[i].text);
	vg_xl_cfg_free(&cfg);
	return 0;
}

#ifndef FUZZ_LIBFUZZER
static uint64_t seed = 1;

static unsigned int dice(unsigned int n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned int)(seed >> 33) % n;
}

/* Pieces of a file, and some bytes of it changed. */
static size_t make(uint8_t *out, size_t max)
{
	static const char *const piece[] = {
		"name='g1'\n", "virtio_grant=[", "virtio_grant+=[", "]\n",
		"'type=blk,target=/a,b'", "\"type=rng,backend=DomD\"", ",",
		"\n", ";", "#x\n", "'name=a,", "state=4'", "[", "]", "\\",
		"'a\\'b'", "\"\\x41\"", "x=1", "'type=25,a=b, c=d'", "\x1b[2J",
	};
	size_t n = 0;
	unsigned int k;

	for (k = dice(24); k; k--) {
		const char *p = piece[dice(sizeof(piece) / sizeof(*piece))];

		if (n + strlen(p) > max)
			break;
		memcpy(out + n, p, strlen(p));
		n += strlen(p);
	}
	for (k = dice(3); n && k; k--)
		out[dice((unsigned int)n)] = (uint8_t)dice(256);
	return n;
}

int main(int argc, char **argv)
{
	uint8_t data[1024];
	unsigned long n = argc == 3 && !strcmp(argv[1], "-r") ?
			  strtoul(argv[2], NULL, 10) : 0;

	if (!n) {
		fprintf(stderr, "usage: %s -r N\n", argv[0]);
		return 2;
	}
	while (n--)
		LLVMFuzzerTestOneInput(data, make(data, sizeof(data)));
	return 0;
}
#endif
