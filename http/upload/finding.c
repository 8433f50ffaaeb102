/* SPDX-License-Identifier: Apache-2.0 */
/*
 * finding.c -- findings as JSON, and what of a value is shown in them: short, valid UTF-8, nothing that a terminal
 * or a page would run.
 */
#include <string.h>

#include "http/upload/finding.h"
#include "lib/utf8.h"

static const char *const level_names[] = { "warn", "quarantine", "reject" };

json_t *finding_json(const struct finding *f)
{
	json_t *j = json_object();

	if (!j)
		return NULL;
	json_object_set_new(j, "level", json_string(level_names[f->level]));
	json_object_set_new(j, "row", json_integer((json_int_t)f->row));
	json_object_set_new(j, "column", json_string(f->column ? f->column : ""));
	json_object_set_new(j, "offset", json_integer((json_int_t)f->offset));
	json_object_set_new(j, "row_offset", json_integer((json_int_t)f->row_offset));
	json_object_set_new(j, "row_length", json_integer((json_int_t)f->row_length));
	json_object_set_new(j, "rule", json_string(f->rule));
	json_object_set_new(j, "value", json_string(f->value ? f->value : ""));
	json_object_set_new(j, "message", json_string(f->message));
	json_object_set_new(j, "mend", json_string(f->mend));
	return j;
}

/* The character at text as it is shown, into out (at most 4 bytes); *used: how many bytes of text it is. */
static size_t shown(char *out, const char *text, size_t len, size_t *used)
{
	unsigned char c = (unsigned char)*text;
	size_t n = utf8_char(text, len);

	*used = n ? n : 1;
	if (!n || (n == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0)) { /* no UTF-8; C1 controls */
		memcpy(out, "\xef\xbf\xbd", 3); /* U+FFFD */
		return 3;
	}
	if (c < 0x20 || c == 0x7f) { /* U+2400 and the pictures that follow, U+2421 for DEL */
		memcpy(out, "\xe2\x90", 2);
		out[2] = (char)(0x80 + (c == 0x7f ? 0x21 : c));
		return 3;
	}
	/* Marks that turn the direction of text would make a page show something else: U+202A-E, U+2066-9. */
	if (n == 3 && c == 0xe2 && (((unsigned char)text[1] == 0x80 && (unsigned char)text[2] >= 0xaa && (unsigned char)text[2] <= 0xae) ||
				    ((unsigned char)text[1] == 0x81 && (unsigned char)text[2] >= 0xa6 && (unsigned char)text[2] <= 0xa9))) {
		memcpy(out, "\xef\xbf\xbd", 3);
		return 3;
	}
	memcpy(out, text, n);
	return n;
}

void finding_value(char *out, const char *text, size_t len)
{
	size_t at = 0, n = 0;

	while (at < len) {
		char c[4];
		size_t used, size = shown(c, text + at, len - at, &used);

		if (n + size > FINDING_VALUE_MAX)
			break;
		memcpy(out + n, c, size);
		n += size;
		at += used;
	}
	if (at < len) {
		memcpy(out + n, "\xe2\x80\xa6", 3); /* … */
		n += 3;
	}
	out[n] = '\0';
}
