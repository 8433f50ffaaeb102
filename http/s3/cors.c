// SPDX-License-Identifier: Apache-2.0
/*
 * cors.c -- which CORS rule fits a request, and the headers that it gives.
 */
#include "http/s3/cors.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/xml_out.h"

/* A pattern with at most one '*' against len bytes of text. */
static bool fits(const char *pattern, const char *text, size_t len, bool ignore_case)
{
	int (*same)(const char *a, const char *b, size_t n) = ignore_case ? strncasecmp : strncmp;
	const char *star = strchr(pattern, '*');
	size_t before, after;

	if (!star)
		return strlen(pattern) == len && !same(pattern, text, len);
	before = (size_t)(star - pattern);
	after = strlen(star + 1);
	return len >= before + after && !same(pattern, text, before) && !same(star + 1, text + len - after, after);
}

/* The first of a list that fits, or NULL. */
static const char *list_fits(const json_t *list, const char *text, size_t len, bool ignore_case)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_is_string(item) && fits(json_string_value(item), text, len, ignore_case))
			return json_string_value(item);
	return NULL;
}

/* Each header that the browser asks for must be allowed. */
static bool headers_fit(const json_t *rule, const char *asked)
{
	while (*(asked += strspn(asked, ", \t"))) {
		size_t len = strcspn(asked, ","), full = len;

		while (len && isspace((unsigned char)asked[len - 1]))
			len--;
		if (!list_fits(json_object_get(rule, "headers"), asked, len, true))
			return false;
		asked += full;
	}
	return true;
}

/* "a, b"; NULL for an empty list. */
static char *joined(const json_t *list)
{
	struct xml text = { 0 };
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *value = json_string_value(item);

		if (i)
			xml_append(&text, ", ", 2);
		xml_append(&text, value ? value : "", value ? strlen(value) : 0);
	}
	if (!text.failed)
		return text.text;
	xml_drop(&text);
	return NULL;
}

/* Lower case, as asked: a header value that browsers take. */
static char *lowered(const char *text)
{
	char *copy = strdup(text);

	for (char *p = copy; p && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

bool s3_cors_match(struct s3_cors *out, const json_t *cors, const char *origin, const char *method, const char *asked)
{
	json_t *rule;
	size_t i;

	memset(out, 0, sizeof(*out));
	out->max_age = -1;
	json_array_foreach(json_object_get(cors, "rules"), i, rule) {
		const char *allowed = list_fits(json_object_get(rule, "origins"), origin, strlen(origin), false);
		json_t *age = json_object_get(rule, "max_age");

		if (!allowed || !list_fits(json_object_get(rule, "methods"), method, strlen(method), false) ||
		    (asked && !headers_fit(rule, asked)))
			continue;
		out->credentials = strcmp(allowed, "*") != 0;
		out->origin = strdup(out->credentials ? origin : "*");
		out->methods = joined(json_object_get(rule, "methods"));
		out->headers = asked && *asked ? lowered(asked) : NULL;
		out->expose = joined(json_object_get(rule, "expose"));
		if (json_is_integer(age))
			out->max_age = (long)json_integer_value(age);
		if (out->origin && out->methods)
			return true;
		s3_cors_free(out);
		return false;
	}
	return false;
}

void s3_cors_free(struct s3_cors *cors)
{
	free(cors->origin);
	free(cors->methods);
	free(cors->headers);
	free(cors->expose);
	memset(cors, 0, sizeof(*cors));
	cors->max_age = -1;
}
