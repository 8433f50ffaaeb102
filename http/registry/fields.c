/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.c -- see fields.h. The mapping is protobuf's ("JSON Mapping" of proto3's language guide).
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/registry/fields.h"
#include "lib/hash.h"

enum { CODE_INVALID = 3, CODE_UNIMPLEMENTED = 12 };

void fields_clear(struct fields *f)
{
	while (f->nblobs) {
		char *blob = f->blobs[--f->nblobs];

		free(blob);
	}
	free(f->blobs);
	f->blobs = NULL;
}

void fields_fault(struct fields *f, int code, const char *fmt, ...)
{
	va_list ap;

	if (f->fault[0])
		return;
	f->code = code;
	va_start(ap, fmt);
	vsnprintf(f->fault, sizeof(f->fault), fmt, ap);
	va_end(ap);
}

/* Is `member` the snake_case name, or its camelCase form? */
static bool same_name(const char *member, const char *name)
{
	if (!strcmp(member, name))
		return true;
	for (; *name; name++, member++) {
		if (*name == '_' && *member == toupper((unsigned char)name[1]))
			name++;
		else if (*name != *member)
			return false;
	}
	return !*member;
}

const json_t *fields_get(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	const char *member;
	json_t *other;

	if (!value && strchr(name, '_'))
		json_object_foreach ((json_t *)object, member, other)
			if (same_name(member, name))
				value = other;
	return json_is_null(value) ? NULL : value;
}

int64_t fields_i64(struct fields *f, const json_t *object, const char *name)
{
	const json_t *v = fields_get(object, name);
	const char *text;
	long long number;
	char *end;

	if (!v)
		return 0;
	if (json_is_integer(v))
		return json_integer_value(v);
	text = json_string_value(v);
	if (text && *text) {
		errno = 0;
		number = strtoll(text, &end, 10);
		if (!errno && !*end && !isspace((unsigned char)*text) && *text != '+')
			return number;
	}
	fields_fault(f, CODE_INVALID, "%s must be a whole number of 64 bits", name);
	return 0;
}

bool fields_bool(struct fields *f, const json_t *object, const char *name)
{
	const json_t *v = fields_get(object, name);

	if (v && !json_is_boolean(v))
		fields_fault(f, CODE_INVALID, "%s must be true or false", name);
	return json_is_true(v);
}

const char *fields_bytes(struct fields *f, const json_t *object, const char *name, size_t max,
			 size_t *len)
{
	const json_t *v = fields_get(object, name);
	size_t text_len = json_string_length(v), room = text_len / 4 * 3;
	char **more, *blob;
	long n;

	*len = 0;
	if (!v || (json_is_string(v) && !text_len))
		return "";
	if (!json_is_string(v)) {
		fields_fault(f, CODE_INVALID, "%s must be text in base64", name);
		return "";
	}
	if (room > max + 3) {
		fields_fault(f, CODE_INVALID,
			     "etcdserver: request is too large (%s has at most %zu bytes)", name,
			     max);
		return "";
	}
	blob = malloc(room + 4);
	more = blob ? reallocarray(f->blobs, f->nblobs + 1, sizeof(char *)) : NULL;
	if (!more) {
		free(blob);
		fields_fault(f, 8, "out of memory");
		return "";
	}
	f->blobs = more;
	f->blobs[f->nblobs++] = blob;
	n = base64_decode(json_string_value(v), text_len, blob, room + 3);
	if (n < 0)
		fields_fault(f, CODE_INVALID, "%s is not base64 with padding", name);
	else if ((size_t)n > max)
		fields_fault(f, CODE_INVALID,
			     "etcdserver: request is too large (%s has at most %zu bytes)", name,
			     max);
	else
		*len = (size_t)n;
	return blob;
}

int fields_enum(struct fields *f, const json_t *object, const char *name, const char *const *names)
{
	const json_t *v = fields_get(object, name);
	int count = 0;

	if (!v)
		return 0;
	for (; names[count]; count++)
		if (json_is_string(v) && !strcmp(json_string_value(v), names[count]))
			return count;
	if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < count)
		return (int)json_integer_value(v);
	fields_fault(f, CODE_INVALID, "%s has a value that is not known", name);
	return 0;
}

void fields_only(struct fields *f, const json_t *object, const char *const *names)
{
	const char *member;
	json_t *value;

	if (!json_is_object(object)) {
		fields_fault(f, CODE_INVALID, "a JSON object is expected");
		return;
	}
	json_object_foreach ((json_t *)object, member, value) {
		bool known = false;

		for (size_t i = 0; names[i] && !known; i++)
			known = same_name(member, names[i]);
		if (!known)
			fields_fault(f, CODE_UNIMPLEMENTED,
				     "weir-registry does not know the member %.60s here", member);
	}
}
