/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_text.c -- see json_text.h.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/json_text.h"
#include "lib/utf8.h"

#define BYTES(b) (UINT64_C(0x0101010101010101) * (b))

/* Eight bytes that stand in a string as they are: ASCII, no control character, quote or backslash.
 */
static bool is_plain(const char *text)
{
	uint64_t w, quote, slash;

	memcpy(&w, text, 8);
	quote = w ^ BYTES('"');
	slash = w ^ BYTES('\\');
	/* The high bit of a byte says that it is none of them; a borrow may say so of the byte
	 * behind one that is none already. */
	return !((w | (w - BYTES(0x20)) | (quote - BYTES(1)) | (slash - BYTES(1))) & BYTES(0x80));
}

static char *put_escape(char *out, unsigned char c)
{
	static const char digits[] = "0123456789ABCDEF", shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	*out++ = '\\';
	for (size_t i = 0; i < sizeof(shorts) - 1; i += 2)
		if ((unsigned char)shorts[i] == c) {
			*out++ = shorts[i + 1];
			return out;
		}
	memcpy(out, "u00", 3);
	out[3] = digits[c >> 4];
	out[4] = digits[c & 15];
	return out + 5;
}

size_t json_text_put(char *out, const char *text, size_t len)
{
	char *begin = out;

	*out++ = '"';
	for (size_t at = 0; at < len;) {
		const unsigned char *t = (const unsigned char *)text + at;
		size_t n;

		if (len - at >= 8 && is_plain(text + at)) {
			memcpy(out, t, 8);
			out += 8;
			at += 8;
			continue;
		}
		n = utf8_char(text + at, len - at);
		if (!n) {
			memcpy(out, "\xef\xbf\xbd", 3);
			out += 3;
		} else if (n == 1 && (*t < 0x20 || *t == '"' || *t == '\\')) {
			out = put_escape(out, *t);
		} else {
			memcpy(out, t, n);
			out += n;
		}
		at += n ? n : 1;
	}
	*out++ = '"';
	return (size_t)(out - begin);
}

char *json_text_room(struct json_text *json, size_t len)
{
	size_t room = json->room ? json->room : 4096;
	char *more;

	if (json->failed)
		return NULL;
	if (json->room - json->len >= len)
		return json->text + json->len;
	while (room - json->len < len)
		room *= 2;
	more = realloc(json->text, room);
	if (!more) {
		json->failed = true;
		return NULL;
	}
	json->text = more;
	json->room = room;
	return json->text + json->len;
}

void json_text_raw(struct json_text *json, const char *text, size_t len)
{
	char *at = len ? json_text_room(json, len) : NULL;

	if (!at)
		return;
	memcpy(at, text, len);
	json->len += len;
}

void json_text_string(struct json_text *json, const char *text)
{
	size_t len = strlen(text);
	char *at = json_text_room(json, JSON_TEXT_STRING(len));

	if (at)
		json->len += json_text_put(at, text, len);
}

void json_text_int(struct json_text *json, int64_t value)
{
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	char digits[20], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + left % 10);
	while (left /= 10);
	if (value < 0)
		*--at = '-';
	json_text_raw(json, at, (size_t)(digits + sizeof(digits) - at));
}

void json_text_bool(struct json_text *json, bool value)
{
	json_text_raw(json, value ? "true" : "false", value ? 4 : 5);
}

char *json_text_take(struct json_text *json, size_t *len)
{
	char *text = json->text;

	if (json->failed || !text)
		return NULL;
	*len = json->len;
	memset(json, 0, sizeof(*json));
	return text;
}

void json_text_drop(struct json_text *json)
{
	free(json->text);
	memset(json, 0, sizeof(*json));
}
