/* SPDX-License-Identifier: Apache-2.0 */
/* transform_json.c -- cells as JSON values (RFC 8259), for JSON Lines. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/number.h"
#include "http/upload/transform_parts.h"
#include "lib/utf8.h"

static int put_escape(struct csv_out *out, unsigned char c)
{
	static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	char buf[8];

	for (size_t i = 0; i < sizeof(shorts) - 1; i += 2)
		if ((unsigned char)shorts[i] == c) {
			buf[0] = '\\', buf[1] = shorts[i + 1];
			return csv_out_put(out, buf, 2);
		}
	snprintf(buf, sizeof(buf), "\\u%04x", c);
	return csv_out_put(out, buf, 6);
}

#define BYTES NUMBER_BYTES

/* Whether all is ASCII that stands in a JSON string as it is: eight bytes at a time, the last ones twice. */
static bool is_plain(const char *text, size_t len)
{
	uint64_t odd = 0;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = number_word(text + i, len - i), quote = w ^ BYTES('"'), slash = w ^ BYTES('\\');

		if (len - i < 8) /* behind the end are zeros */
			w |= BYTES('0') << (8 * (len - i));
		odd |= w | (w - BYTES(0x20)) | ((quote - BYTES(1)) & ~quote) | ((slash - BYTES(1)) & ~slash);
	}
	return !(odd & BYTES(0x80));
}

int json_out_string(struct csv_out *out, const char *text, size_t len)
{
	const unsigned char *t = (const unsigned char *)text;
	size_t from = 0, at = 0;
	int r;

	if (is_plain(text, len)) {
		if (csv_out_reserve(out, len + 2) < 0)
			return -ENOMEM;
		out->data[out->len] = '"';
		if (len)
			memcpy(out->data + out->len + 1, text, len);
		out->data[out->len + 1 + len] = '"';
		out->len += len + 2;
		return 0;
	}
	r = csv_out_put(out, "\"", 1);
	while (at < len) {
		size_t n = utf8_char(text + at, len - at);

		if (n && t[at] >= 0x20 && t[at] != '"' && t[at] != '\\') {
			at += n;
			continue;
		}
		r |= csv_out_put(out, text + from, at - from);
		r |= n ? put_escape(out, t[at]) : csv_out_put(out, "\xef\xbf\xbd", 3);
		from = ++at;
	}
	r |= csv_out_put(out, text + from, len - from);
	r |= csv_out_put(out, "\"", 1);
	return r ? -ENOMEM : 0;
}

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_json_number(const char *t, size_t len)
{
	const char *end = t + len, *digits;

#define DIGITS() for (digits = t; t < end && *t >= '0' && *t <= '9'; t++)
	if (t < end && *t == '-')
		t++;
	DIGITS();
	if (t == digits || (*digits == '0' && t - digits > 1))
		return false;
	if (t < end && *t == '.') {
		t++;
		DIGITS();
		if (t == digits)
			return false;
	}
	if (t < end && (*t == 'e' || *t == 'E')) {
		t++;
		if (t < end && (*t == '+' || *t == '-'))
			t++;
		DIGITS();
		if (t == digits)
			return false;
	}
#undef DIGITS
	return t == end;
}

/* A document inside of a cell: on one line, as it is meant. */
static int put_document(struct csv_out *out, const struct cell *cell)
{
	json_t *j = json_loadb(cell->text, cell->len, JSON_REJECT_DUPLICATES, NULL);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int r = text ? csv_out_put(out, text, strlen(text))
		     : json_out_string(out, cell->text, cell->len);

	free(text);
	json_decref(j);
	return r;
}

/* plain: the text's points and commas are those of JSON. */
static int put_value(struct csv_out *out, const struct value *v, const struct cell *cell,
		     bool plain)
{
	char buf[64];
	size_t n;

	if (v->type == FIELD_BOOLEAN)
		return csv_out_put(out, v->i ? "true" : "false", v->i ? 4 : 5);
	if (plain && is_json_number(cell->text,
				    cell->len)) /* all its digits, also those that no double has */
		return csv_out_put(out, cell->text, cell->len);
	if (v->type == FIELD_NUMBER && !isfinite(v->d))
		return csv_out_put(out, "null", 4);
	n = value_format(buf, sizeof(buf), v);
	return is_json_number(buf, n) ? csv_out_put(out, buf, n) : json_out_string(out, buf, n);
}

/* A text that is certainly what value_parse() takes as this type, and JSON writes alike: no groups, no exponents, no more
 * digits than there may be. Most numbers are. */
static bool is_plain_number(enum field_type type, const struct field *field, const struct cell *cell)
{
	int64_t i;
	double d;
	uint64_t word = number_word(cell->text, cell->len);

	if (field && (field->type != type || field->group || (field->decimal && field->decimal != '.') ||
		      field->format != FORMAT_NONE))
		return false;
	if (type != FIELD_INTEGER && type != FIELD_NUMBER)
		return false;
	if (number_integer(cell->text, cell->len, word, &i))
		return true;
	return type == FIELD_NUMBER && number_decimal(cell->text, cell->len, word, &d);
}

/* What is neither null, a plain number, nor certainly text. */
static __attribute__((noinline)) int put_cell(struct csv_out *out, enum field_type type, const struct field *field,
					      const struct cell *cell)
{
	struct field own = { .decimal = '.' };
	struct value v;

	if (type == FIELD_ANY && !cell->quoted && cell->len &&
	    (*cell->text == '{' || *cell->text == '['))
		return put_document(out, cell);
	if (type == FIELD_ANY)
		type = cell->quoted ? FIELD_STRING : value_guess(cell->text, cell->len);
	if (type == FIELD_OBJECT || type == FIELD_ARRAY)
		return put_document(out, cell);
	if (type == FIELD_INTEGER || type == FIELD_NUMBER || type == FIELD_BOOLEAN ||
	    type == FIELD_YEAR) {
		own.type = type;
		if (!field || field->type != type)
			field = &own;
		if (!value_parse(&v, field, cell->text, cell->len))
			return put_value(out, &v, cell,
					 !field->group &&
						 (!field->decimal || field->decimal == '.'));
	}
	return json_out_string(out, cell->text, cell->len);
}

int json_out_cell(struct csv_out *out, enum field_type type, const struct field *field,
		  const struct cell *cell)
{
	if (cell->null)
		return csv_out_put(out, "null", 4);
	if (type == FIELD_STRING || type == FIELD_DATE || type == FIELD_DATETIME || type == FIELD_TIME)
		return json_out_string(out, cell->text, cell->len);
	if (is_plain_number(type, field, cell))
		return csv_out_put(out, cell->text, cell->len);
	return put_cell(out, type, field, cell);
}
