/* SPDX-License-Identifier: Apache-2.0 */
/* csv_out.c -- a row as CSV text (RFC 4180, lines end in LF), with marks against spreadsheets that
 * run cells. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/number.h"
#include "http/upload/transform_parts.h"

#define BYTES NUMBER_BYTES

int csv_out_grow(struct csv_out *out, size_t len)
{
	size_t size = out->size ? out->size : 4096;
	char *more;

	while (size - out->len < len)
		size *= 2;
	more = realloc(out->data, size);
	if (!more)
		return -ENOMEM;
	out->data = more;
	out->size = size;
	return 0;
}

/* A sign, then nothing but digits, points and commas, or what value_guess() takes for a number. */
static bool is_signed_number(const char *text, size_t len)
{
	enum field_type type;
	size_t i;

	if (len > 1 && len < 64 && (*text == '-' || *text == '+')) {
		for (i = 1; i < len && strchr("0123456789.,", text[i]) && text[i]; i++)
			;
		if (i == len)
			return true;
	}
	type = len < 64 ? value_guess(text, len) : FIELD_STRING;
	return type == FIELD_INTEGER || type == FIELD_NUMBER;
}

bool csv_out_runs(const char *text, size_t len)
{
	if (!len)
		return false;
	switch (*text) {
	case '=':
	case '@':
	case '\t':
	case '\r':
	case '\n':
		return true;
	case '+':
	case '-':
		return !is_signed_number(text, len);
	default:
		return false;
	}
}

static bool needs_quotes(const struct cell *c)
{
	uint64_t odd = 0;

	if (!c->len)
		return !c->null; /* "" is a text without characters, nothing is no value */
	if (c->text[0] == ' ' || c->text[c->len - 1] == ' ')
		return true;
	for (uint32_t i = 0; i < c->len; i += 8) {
		uint64_t w = number_word(c->text + i, c->len - i), comma = w ^ BYTES(','), quote = w ^ BYTES('"'),
			 lf = w ^ BYTES('\n'), cr = w ^ BYTES('\r');

		odd |= ((comma - BYTES(1)) & ~comma) | ((quote - BYTES(1)) & ~quote) | ((lf - BYTES(1)) & ~lf) |
		       ((cr - BYTES(1)) & ~cr);
	}
	return odd & BYTES(0x80);
}

static char *put_cell(char *at, const struct cell *c, bool mark, bool quotes)
{
	if (quotes)
		*at++ = '"';
	if (mark)
		*at++ = '\'';
	if (!quotes) {
		memcpy(at, c->text, c->len);
		return at + c->len;
	}
	for (uint32_t i = 0; i < c->len; i++) {
		if (c->text[i] == '"')
			*at++ = '"';
		*at++ = c->text[i];
	}
	*at++ = '"';
	return at;
}

int csv_out_row(struct csv_out *out, const struct row *row, bool mark)
{
	size_t begin = out->len;

	for (uint32_t i = 0; i < row->ncells; i++) {
		struct cell c = row->cells[i];
		char *at;

		if (c.null)
			c.len = 0;
		if (csv_out_reserve(out, 2 * (size_t)c.len + 5) < 0) {
			out->len = begin;
			return -ENOMEM;
		}
		at = out->data + out->len;
		if (i)
			*at++ = ',';
		if (c.len || !c.null ||
		    row->ncells == 1) { /* a line without anything is no row to many */
			c.null = false;
			at = put_cell(at, &c, mark && csv_out_runs(c.text, c.len),
				      needs_quotes(&c));
		}
		out->len = (size_t)(at - out->data);
	}
	if (csv_out_put(out, "\n", 1) == 0)
		return 0;
	out->len = begin;
	return -ENOMEM;
}
