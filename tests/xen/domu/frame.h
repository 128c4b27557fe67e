/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line protocol between the rig's dom0 and the agent in each domain.
 *
 * It runs over the domain's first console, the one channel that every kernel
 * has from its first moment and that needs no grant, no device and no
 * privilege of its own.  The kernel writes there too, at any moment, also into
 * the middle of a line; so each frame is a line of its own with a checksum,
 * whoever asked asks again when no good answer comes, and asking twice is
 * harmless.
 *
 *	~VGQ <sequence> <crc32, hexadecimal> <base64>	dom0 asks
 *	~VGR <sequence> <crc32, hexadecimal> <base64>	the domain answers
 *
 * The payload is a line of words, then whatever data belongs to it:
 *
 *	ping				ok
 *	run ID SECONDS\n<script>	ok, and when it ends: exit STATUS
 *					(again on each repetition)
 *	put PATH OFFSET\n<data>		ok
 *	get PATH OFFSET			ok SIZE\n<data>
 *	(anything that fails)		error TEXT
 *
 * A run leaves its output in FRAME_RUN_DIR/ID.out and ID.err.
 */
#ifndef VG_RIG_FRAME_H
#define VG_RIG_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FRAME_DATA_BYTES	1536
#define FRAME_PAYLOAD_BYTES	(FRAME_DATA_BYTES + 512)
#define FRAME_LINE_BYTES	(FRAME_PAYLOAD_BYTES * 4 / 3 + 64)
#define FRAME_RUN_DIR		"/run/vg"

static inline uint32_t frame_crc(const void *data, size_t len_bytes)
{
	const unsigned char *p = data;
	uint32_t crc = ~0U;

	while (len_bytes--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static const char frame_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Write a frame as a line into @line; return its length in bytes. */
static inline size_t frame_encode(char line[FRAME_LINE_BYTES], char kind,
				  uint32_t sequence, const void *payload,
				  size_t len_bytes)
{
	const unsigned char *p = payload;
	size_t n;

	/* The line feed in front ends what the kernel may have begun. */
	n = sprintf(line, "\n~VG%c %u %08x ", kind, sequence,
		    frame_crc(payload, len_bytes));
	for (size_t i = 0; i < len_bytes; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;

		if (i + 1 < len_bytes)
			v |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < len_bytes)
			v |= p[i + 2];
		line[n++] = frame_digits[v >> 18];
		line[n++] = frame_digits[v >> 12 & 63];
		line[n++] = i + 1 < len_bytes ? frame_digits[v >> 6 & 63] : '=';
		line[n++] = i + 2 < len_bytes ? frame_digits[v & 63] : '=';
	}
	line[n++] = '\n';
	return n;
}

/*
 * Read the line @line (zero-terminated, without its line feed).  Returns the
 * payload's length in bytes, a zero byte following it, or -1 if the line holds
 * no intact frame of that kind.
 */
static inline int frame_decode(const char *line, char kind, uint32_t *sequence,
			       char payload[FRAME_PAYLOAD_BYTES + 4])
{
	char head[6] = { '~', 'V', 'G', kind, ' ', 0 };
	const char *start = strstr(line, head);
	unsigned int crc;
	size_t n = 0;
	int skip = 0;

	if (!start || sscanf(start + 5, "%u %8x %n", sequence, &crc,
			     &skip) != 2 || !skip)
		return -1;
	for (start += 5 + skip; *start && *start != '\r'; start += 4) {
		uint32_t v = 0;
		int pad = 0;

		for (int i = 0; i < 4; i++) {
			const char *digit;

			if (!start[i])
				return -1;
			digit = strchr(frame_digits, start[i]);
			if (start[i] == '=')
				pad++;
			else if (!digit || pad)
				return -1;
			v = v << 6 | (pad ? 0 : digit - frame_digits);
		}
		if (n + 3 > FRAME_PAYLOAD_BYTES || pad > 2)
			return -1;
		payload[n++] = v >> 16;
		if (pad < 2)
			payload[n++] = v >> 8;
		if (pad < 1)
			payload[n++] = v;
	}
	if (frame_crc(payload, n) != crc)
		return -1;
	payload[n] = 0;
	return n;
}

#endif
