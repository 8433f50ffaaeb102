// SPDX-License-Identifier: Apache-2.0
/*
 * text.c -- UTF-8, numbers, characters of tags.
 */
#include "http/s3/text.h"

#include <ctype.h>
#include <string.h>

#include "lib/utf8.h"

bool s3_utf8_valid(const char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = text[i] ? utf8_char(text + i, len - i) : 0;
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
