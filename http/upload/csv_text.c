/* SPDX-License-Identifier: Apache-2.0 */
/* csv_text.c -- encodings: is it UTF-8, and UTF-16 and Windows-1252 made into it, in pieces of any size. */
#include <string.h>

#include "http/upload/csv_text.h"
#include "lib/utf8.h"

size_t text_utf8_valid(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		size_t n;

		if (len - at >= 16) {
			uint64_t a, b;

			memcpy(&a, text + at, 8);
			memcpy(&b, text + at + 8, 8);
			if (!((a | b) & 0x8080808080808080u)) {
				at += 16;
				continue;
			}
		}
		n = utf8_char(text + at, len - at);
		if (!n)
			break;
		at += n;
	}
	return at;
}

size_t text_utf8_count(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (text[i] & 0xc0) != 0x80;
	return n;
}

static size_t utf8_put(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* Windows-1252, 0x80 to 0x9f, as the WHATWG's table has it: what is not given away is a C1 control. */
static const uint16_t windows_1252[32] = {
	0x20ac, 0x81,	0x201a, 0x192,	0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d, 0x17d, 0x8f,
	0x90,	0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178
};

static size_t latin1(const uint8_t *in, size_t len, size_t *used, char *out, size_t size)
{
	size_t n = 0, i;

	for (i = 0; i < len && n + 3 <= size; i++)
		n += utf8_put(out + n, in[i] >= 0x80 && in[i] < 0xa0 ? windows_1252[in[i] - 0x80] : in[i]);
	*used = i;
	return n;
}

static uint32_t unit(const struct text_convert *c, const uint8_t *b)
{
	return c->encoding == ENC_UTF16LE ? (uint32_t)(b[0] | b[1] << 8) : (uint32_t)(b[0] << 8 | b[1]);
}

/* One more byte of UTF-16; up to 6 bytes of UTF-8 (a lone surrogate and what followed it). */
static size_t utf16_byte(struct text_convert *c, uint8_t byte, char *out)
{
	uint32_t first, second;
	size_t n = 0;

	c->kept[c->nkept++] = byte;
	if (c->nkept & 1)
		return 0;
	first = unit(c, c->kept);
	if (c->nkept == 4) {
		second = unit(c, c->kept + 2);
		c->nkept = 0;
		if (second >= 0xdc00 && second < 0xe000)
			return utf8_put(out, 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
		c->bad = true;
		n = utf8_put(out, 0xfffd);
		if (second >= 0xd800 && second < 0xdc00) { /* may be the first of another pair */
			memcpy(c->kept, c->kept + 2, 2);
			c->nkept = 2;
			return n;
		}
		return n + utf8_put(out + n, second);
	}
	if (first >= 0xd800 && first < 0xdc00)
		return 0; /* waits for the second */
	c->nkept = 0;
	if (first >= 0xdc00 && first < 0xe000) {
		c->bad = true;
		first = 0xfffd;
	}
	return utf8_put(out, first);
}

size_t text_convert(struct text_convert *c, const void *in, size_t len, size_t *used, char *out, size_t size)
{
	const uint8_t *b = in;
	size_t n = 0, i = 0;

	if (c->encoding == ENC_LATIN1)
		return latin1(b, len, used, out, size);
	while (i < len && n + 6 <= size)
		n += utf16_byte(c, b[i++], out + n);
	*used = i;
	return n;
}

size_t text_convert_end(struct text_convert *c, char *out)
{
	if (!c->nkept)
		return 0;
	c->nkept = 0;
	c->bad = true;
	return utf8_put(out, 0xfffd);
}

size_t text_original_bytes(enum text_encoding encoding, const char *text, size_t len)
{
	size_t n = 0;

	if (encoding != ENC_LATIN1 && encoding != ENC_UTF16LE && encoding != ENC_UTF16BE)
		return len;
	for (size_t i = 0; i < len; i++) {
		unsigned char b = (unsigned char)text[i];

		n += (b & 0xc0) != 0x80;
		n += encoding != ENC_LATIN1 && b >= 0xf0; /* a pair of surrogates */
	}
	return encoding == ENC_LATIN1 ? n : 2 * n;
}
