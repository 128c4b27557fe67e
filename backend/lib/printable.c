// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * printable.c - see printable.h.  UTF-8: RFC 3629, 4.
 */
#include "lib/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * The bytes of the character at @s, and what it is; 0: it is none.  Stops at
 * the end of the string, which is no continuation byte.
 */
static unsigned int take_char(const unsigned char *s, uint32_t *c)
{
	unsigned int len, i;

	len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 :
	      *s < 0xf5 ? 4 : 0;
	if (len < 2) {
		*c = *s;
		return len;
	}
	*c = *s & (0x7fu >> len);
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (s[i] & 0x3f);
	}
	/* Longer than need be, half of a pair, or beyond the last. */
	if ((len == 3 && *c < 0x800) || (len == 4 && *c < 0x10000) ||
	    (*c >= 0xd800 && *c < 0xe000) || *c > 0x10ffff)
		return 0;
	return len;
}

static bool is_harmless(uint32_t c)
{
	return c >= 0x20 && (c < 0x7f || c >= 0xa0) &&
	       !(c >= 0x200b && c <= 0x200f) &&	/* no width; direction */
	       !(c >= 0x2028 && c <= 0x202e) &&	/* separators; direction */
	       !(c >= 0x2060 && c <= 0x206f) &&	/* isolates */
	       c != 0x061c && c != 0xfeff;
}

void vg_printable(char *s, const char *keep)
{
	unsigned int len;
	uint32_t c;

	for (; *s; s += len) {
		len = take_char((const unsigned char *)s, &c);
		if (len && (is_harmless(c) || (len == 1 && strchr(keep, *s))))
			continue;
		len = len ? len : 1;
		memset(s, '?', len);
	}
}
