/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_text.h -- JSON (RFC 8259) written as text, for answers where building a value with jansson
 * first would cost more than all else: pages of a thousand names, what a PUT is told. Strings come
 * out byte for byte as jansson's JSON_COMPACT has them.
 *
 * The caller writes commas, braces and members' names himself, by json_text_raw(). Running out of
 * memory is remembered and told by json_text_take().
 */
#ifndef WEIR_JSON_TEXT_H
#define WEIR_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for a string of len bytes, with its quotes: a control character takes six (RFC 8259 section
 * 7). */
#define JSON_TEXT_STRING(len) (6 * (size_t)(len) + 2)
/* A string, with its quotes, to out; the bytes written, without a terminator. What is no UTF-8
 * becomes U+FFFD, a byte at a time. */
size_t json_text_put(char *out, const char *text, size_t len);

/* A growing text; begin with { 0 }. */
struct json_text {
	char *text;
	size_t len, room;
	bool failed;
};
/* A place for len more bytes, behind what is there: fill them in and add them to len. NULL without
 * memory. */
char *json_text_room(struct json_text *json, size_t len);
void json_text_raw(struct json_text *json, const char *text, size_t len); /* as it is */
void json_text_string(struct json_text *json, const char *text);
void json_text_int(struct json_text *json, int64_t value);
void json_text_bool(struct json_text *json, bool value);
/* Hands the text over (freed by the caller, not terminated) and empties json; NULL when memory ran
 * out. */
char *json_text_take(struct json_text *json, size_t *len);
void json_text_drop(struct json_text *json); /* instead of json_text_take(), or behind it */

#endif
