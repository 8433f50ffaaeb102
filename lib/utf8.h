/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h -- characters of UTF-8 (RFC 3629 section 4). Pure.
 */
#ifndef WEIR_UTF8_H
#define WEIR_UTF8_H

#include <stddef.h>

/* Bytes of the character at text, of which len are there: 1 to 4, also for NUL. 0: it is none (overlong, a surrogate,
 * over U+10FFFF, cut off). */
static inline size_t utf8_char(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n;

	if (!len)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (len < n || (s[1] & 0xc0) != 0x80)
		return 0;
	if (n == 2)
		return 2;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	if ((s[2] & 0xc0) != 0x80 || (n == 4 && (s[3] & 0xc0) != 0x80))
		return 0;
	return n;
}

#endif
