// SPDX-License-Identifier: Apache-2.0
/*
 * text.c -- UTF-8, numbers, characters of tags.
 */
#include "http/s3/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

/* The bytes of the character at p (at most left), 0: none. */
static size_t utf8_step(const uint8_t *p, size_t left)
{
	uint32_t c = p[0];
	size_t n;

	if (c < 0x80)
		return c != 0;
	n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || n > left)
		return 0;
	c &= 0x7f >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

bool s3_utf8_valid(const char *text, size_t len)
{
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_step((const uint8_t *)text + i, len - i);
		if (!n)
			return false;
	}
	return true;
}

size_t s3_utf8_count(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

long long s3_digits(const char *text)
{
	long long n = 0;
	size_t len = text ? strlen(text) : 0;

	if (!len || len > 18)
		return -1;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -1;
		n = n * 10 + (*text - '0');
	}
	return n;
}

bool s3_tag_valid(const char *text, size_t max, bool empty)
{
	if ((!*text && !empty) || !s3_utf8_valid(text, strlen(text)) || s3_utf8_count(text) > max)
		return false;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x80 && !isalnum(c) && !strchr(" +-=._:/@", c))
			return false;
	}
	return true;
}
