/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_text.h -- the HTTP server's pure part: targets, routes, lists in headers, in text and out
 * numbers and strings. No socket, no clock, no server: the server, the unit tests and the fuzzers
 * call the same functions.
 */
#ifndef WEIR_HTTPD_TEXT_H
#define WEIR_HTTPD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpd.h"

#define HTTP_PARAMS_MAX 8

/* Decodes %XX of len bytes into out (at least len + 1 bytes, may be text itself), terminated. The
 * count, or -EINVAL for a broken escape or an encoded NUL. plus: '+' is a space, as in a query. */
long http_percent_decode(const char *text, size_t len, char *out, bool plus);

/* RFC 9112 section 3.2. What of a request target may be served. */
struct http_target {
	const char *path;       /* "/…" or "*", still encoded */
	size_t path_len;
	const char *query;      /* after the '?', NULL without */
	const char *authority;  /* of the absolute form, else NULL */
	size_t authority_len;
};

/* 0, or -EINVAL for what is neither origin, absolute nor asterisk form, or has control characters,
 * spaces, a fragment, a broken escape, an encoded NUL, or a dot segment, encoded or not. Points
 * into text, but for the path of an absolute form that has none, which is a literal "/". */
int http_target_parse(struct http_target *out, const char *text);
/* The same, but dot segments are let through, for who takes the path as a name and never as a path. */
int http_target_parse_any(struct http_target *out, const char *text);
bool http_target_has_dots(const struct http_target *target);

/* A token of RFC 9110 section 5.6.2 (header names, methods). */
bool http_is_token(const char *text, size_t len);
/* No control character but tab (RFC 9110 section 5.5). */
bool http_is_field_value(const char *text, size_t len);
/* Digits only, fits: 0 or -EINVAL. */
int http_length_parse(uint64_t *out, const char *text, size_t len);

/* One parameter of a matched path: where its encoded text is. */
struct http_param_at { const char *name; size_t name_len; const char *text; size_t len; };

/* Does the encoded path fit the pattern? Segments are compared before decoding, so that
 * %2F stays inside its segment. Returns the number of parameters, or -1. */
int http_route_match(const char *pattern, const char *path, size_t path_len,
		     struct http_param_at params[HTTP_PARAMS_MAX]);

/* RFC 9110 section 13.2.2 for the headers' values (NULL: absent) and a strong etag (NULL: no
 * object): 0 go on, 304 or 412. safe: GET or HEAD. */
int http_conditions_eval(const char *if_match, const char *if_none_match, const char *etag,
			 bool safe);

#endif
