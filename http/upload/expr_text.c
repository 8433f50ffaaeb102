// SPDX-License-Identifier: Apache-2.0
/*
 * expr_text.c -- functions of text: characters are those of UTF-8, results live in the scratch or
 * in their argument.
 */
#include <errno.h>
#include <string.h>

#include "http/upload/expr_tree.h"

static size_t characters(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (text[i] & 0xc0) != 0x80;
	return n;
}

/* The byte where character n begins; len when there are fewer. */
static size_t character_at(const char *text, size_t len, uint64_t n)
{
	size_t i = 0;

	while (i < len && n) {
		i++;
		while (i < len && (text[i] & 0xc0) == 0x80)
			i++;
		n--;
	}
	return i;
}

static char *room(struct expr_scratch *s, size_t len)
{
	char *at = s->buf + s->used;

	if (len > sizeof(s->buf) - s->used)
		return NULL;
	s->used += len;
	return at;
}

static void set_text(struct value *out, const char *text, size_t len)
{
	*out = (struct value){ .type = FIELD_STRING, .text = text, .len = len };
}

/* Letters of Latin, Greek and Cyrillic; one code point becomes one of the same length, or stays (ß,
 * ı, ÿ …). */
static unsigned int change_case(unsigned int c, bool up)
{
	if (c >= 0xc0 && c <= 0xfe && (c | 0x20) != 0xf7)
		return c == 0xdf ? c : up ? c & ~0x20u : c | 0x20;
	if ((c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177))
		return up ? c & ~1u : c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
		return up ? (c & 1 ? c : c - 1) : (c & 1 ? c + 1 : c);
	if (c >= 0x391 && c <= 0x3a9 && c != 0x3a2)
		return up ? c : c + 0x20;
	if (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2)
		return up ? c - 0x20 : c;
	if (c >= 0x400 && c <= 0x42f)
		return up ? c : c + (c < 0x410 ? 0x50 : 0x20);
	if (c >= 0x430 && c <= 0x45f)
		return up ? c - (c < 0x450 ? 0x20 : 0x50) : c;
	return c;
}

static int cased(const struct value *v, bool up, struct expr_scratch *scratch, struct value *out)
{
	char *to = room(scratch, v->len);

	if (!to)
		return -ERANGE;
	for (size_t i = 0; i < v->len; i++) {
		unsigned char a = (unsigned char)v->text[i];

		to[i] = (char)a;
		if ((a | 0x20) >= 'a' && (a | 0x20) <= 'z' && a < 0x80) {
			to[i] = (char)(up ? a & ~0x20 : a | 0x20);
		} else if (a >= 0xc3 && a <= 0xd1 && i + 1 < v->len) {
			unsigned int c = change_case(
				(a & 0x1fu) << 6 | ((unsigned char)v->text[i + 1] & 0x3fu), up);

			to[i] = (char)(0xc0 | c >> 6);
			to[++i] = (char)(0x80 | (c & 0x3f));
		}
	}
	set_text(out, to, v->len);
	return 0;
}

static bool blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* substr(text, from 1, count); what lies outside is left out. */
static int cut(const struct value *args, size_t n, struct value *out)
{
	const char *text = args[0].text;
	size_t len = args[0].len, begin;
	int64_t from = args[1].i, count = n > 2 ? args[2].i : INT64_MAX;

	if (args[1].type != FIELD_INTEGER || (n > 2 && args[2].type != FIELD_INTEGER))
		return -ERANGE;
	if (from < 1) {
		count = from < -(INT64_MAX / 2) || count < 1 ? 0 : n > 2 ? count + from - 1 : count;
		from = 1;
	}
	begin = character_at(text, len, (uint64_t)from - 1);
	len -= begin;
	set_text(out, text + begin,
		 count < 1 ? 0 : character_at(text + begin, len, (uint64_t)count));
	return 0;
}

static int join(const struct value *args, size_t n, struct expr_scratch *scratch, struct value *out)
{
	size_t begin = scratch->used;

	for (size_t i = 0; i < n; i++) {
		char number[512], *to;
		const char *text = args[i].text;
		size_t len = args[i].len;

		if (!expr_is_text(args[i].type)) {
			len = value_format(number, sizeof(number), &args[i]);
			text = number;
		}
		to = room(scratch, len);
		if (!to) {
			scratch->used = begin;
			return -ERANGE;
		}
		memcpy(to, text, len);
	}
	set_text(out, scratch->buf + begin, scratch->used - begin);
	return 0;
}

int expr_text_call(enum expr_op op, const struct value *args, size_t n,
		   struct expr_scratch *scratch, struct value *out)
{
	const char *text = args->text;
	size_t len = args->len;

	if (op == EXPR_CONCAT)
		return join(args, n, scratch, out);
	if (!expr_is_text(args->type))
		return -ERANGE;
	switch (op) {
	case EXPR_LEN:
		expr_integer(out, (int64_t)characters(text, len));
		return 0;
	case EXPR_LOWER:
	case EXPR_UPPER:
		return cased(args, op == EXPR_UPPER, scratch, out);
	case EXPR_TRIM:
		while (len && blank(*text))
			text++, len--;
		while (len && blank(text[len - 1]))
			len--;
		set_text(out, text, len);
		return 0;
	default:
		return cut(args, n, out);
	}
}
