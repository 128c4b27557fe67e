/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * secret.h - the secrets of the isolation test, and how they are recognized.
 *
 * A secret is 32 random bytes of this run; where it is planted, it is repeated
 * over and over.  Its file has one "NAME HEX" per line, the bytes inverted, so
 * that what transports the file does not contain the secret.
 *
 * A place filled with it has, at each address that is a multiple of 8, one of
 * the 32 words that the secret contains.  So whatever exposes 15 bytes in a
 * row is found, wherever the filling began, and 8 that lie right are enough.
 */
#ifndef VG_ISOLATION_SECRET_H
#define VG_ISOLATION_SECRET_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_BYTES	32u
#define SECRETS_MAX	24u

struct secret {
	char name[32];
	uint8_t byte[SECRET_BYTES];
};

static struct secret secrets[SECRETS_MAX];
static unsigned int nr_secrets;

static inline void secrets_read(const char *path)
{
	struct secret *s;
	char hex[80];
	FILE *f = fopen(path, "r");

	if (!f) {
		perror(path);
		exit(2);
	}
	while (nr_secrets < SECRETS_MAX) {
		s = &secrets[nr_secrets];
		if (fscanf(f, "%31s %79s", s->name, hex) != 2)
			break;
		for (unsigned int i = 0; i < SECRET_BYTES; i++) {
			unsigned int byte;

			if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
				fprintf(stderr, "%s: bad secret\n", path);
				exit(2);
			}
			s->byte[i] = (uint8_t)~byte;
		}
		nr_secrets++;
	}
	fclose(f);
}

static inline const struct secret *secret_named(const char *name)
{
	for (unsigned int i = 0; i < nr_secrets; i++)
		if (!strcmp(secrets[i].name, name))
			return &secrets[i];
	fprintf(stderr, "no secret called %s\n", name);
	exit(2);
}

static inline void secret_fill(const struct secret *s, uint8_t *to,
			       size_t bytes)
{
	size_t i;

	for (i = 0; i + SECRET_BYTES <= bytes; i += SECRET_BYTES)
		memcpy(to + i, s->byte, SECRET_BYTES);
	memcpy(to + i, s->byte, bytes - i);
}

#endif
