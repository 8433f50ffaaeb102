/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.c -- see meta.h.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/meta.h"

const struct s3_meta_header s3_meta_headers[] = {
	{ S3_META_TYPE, "Content-Type" },
	{ "cc", "Cache-Control" },
	{ "cd", "Content-Disposition" },
	{ "ce", "Content-Encoding" },
	{ "cl", "Content-Language" },
	{ "ex", "Expires" },
	{ "wr", "x-amz-website-redirect-location" },
	{ NULL, NULL },
};

#define USER_PREFIX "x-amz-meta-"

json_t *s3_meta_read(const char *text)
{
	json_t *meta;

	if (!text || !*text)
		return json_object();
	meta = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (meta && !json_is_object(meta)) {
		json_decref(meta);
		return NULL;
	}
	return meta;
}

int s3_meta_write(const json_t *meta, char *out, size_t size)
{
	size_t len = json_dumpb(meta, out, size - 1, JSON_COMPACT);

	if (len >= size)
		return -E2BIG;
	out[len] = '\0';
	return 0;
}

bool s3_meta_has_checksum(const char *text, char algorithm[16], bool *composite)
{
	/* Inside a string its quotes would have backslashes. */
	static const char head[] = "\"" S3_META_CHECKSUM "\":{\"";
	const char *name = text ? strstr(text, head) : NULL, *end, *value;

	if (!name)
		return false;
	name += strlen(head);
	end = strchr(name, '"');
	if (!end || end - name >= 16 || strncmp(end, "\":\"", 3))
		return false;
	memcpy(algorithm, name, (size_t)(end - name));
	algorithm[end - name] = '\0';
	value = end + 3;
	*composite = value[strcspn(value, "-\"")] == '-'; /* base64 has none */
	return true;
}

const char *s3_meta_text(const json_t *meta, const char *member)
{
	return json_string_value(json_object_get(meta, member));
}

/* Header values are bytes: what is not UTF-8 is taken as Latin-1 (RFC 9110 section 5.5). */
static json_t *text_of(const char *value)
{
	json_t *text = json_string(value);
	size_t len = strlen(value), n = 0;
	char *utf8;

	if (text)
		return text;
	utf8 = malloc(2 * len + 1);
	if (!utf8)
		return NULL;
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p < 0x80) {
			utf8[n++] = (char)*p;
		} else {
			utf8[n++] = (char)(0xc0 | *p >> 6);
			utf8[n++] = (char)(0x80 | (*p & 0x3f));
		}
	}
	text = json_stringn(utf8, n);
	free(utf8);
	return text;
}

static size_t user_bytes(const json_t *user)
{
	const char *name;
	json_t *value;
	size_t sum = 0;

	json_object_foreach((json_t *)user, name, value)
		sum += strlen(name) + json_string_length(value);
	return sum;
}

static int take_user(json_t *meta, const char *name, const char *value)
{
	json_t *user = json_object_get(meta, S3_META_USER), *text = text_of(value), *before;
	char lower[S3_META_USER_MAX + 1];
	size_t len = strlen(name);

	if (!text || len > S3_META_USER_MAX) {
		json_decref(text);
		return text ? -E2BIG : -ENOMEM;
	}
	for (size_t i = 0; i <= len; i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	if (!user) {
		user = json_object();
		json_object_set_new(meta, S3_META_USER, user);
	}
	before = json_object_get(user, lower);
	if (before) {
		json_t *both = json_sprintf("%s,%s", json_string_value(before), json_string_value(text));

		json_decref(text);
		text = both;
	}
	if (json_object_set_new(user, lower, text))
		return -ENOMEM;
	return user_bytes(user) > S3_META_USER_MAX ? -E2BIG : 0;
}

/* "aws-chunked" is how it came, and no property of the object. */
static const char *without_chunked(const char *value, char *buf, size_t size)
{
	size_t n = 0;

	while (*value) {
		size_t len = strcspn(value, ","), at = strspn(value, " \t");

		if (at < len && strncasecmp(value + at, "aws-chunked", 11) && n + len + 2 < size) {
			size_t word = len - at;

			while (word && (value[at + word - 1] == ' ' || value[at + word - 1] == '\t'))
				word--;
			if (n)
				buf[n++] = ',';
			memcpy(buf + n, value + at, word);
			n += word;
		}
		value += len + (value[len] == ',');
	}
	buf[n] = '\0';
	return buf;
}

int s3_meta_take(json_t *meta, const char *name, const char *value)
{
	char buf[1024];

	if (!strncasecmp(name, USER_PREFIX, strlen(USER_PREFIX)))
		return name[strlen(USER_PREFIX)] ? take_user(meta, name + strlen(USER_PREFIX), value) : 0;
	for (const struct s3_meta_header *h = s3_meta_headers; h->header; h++) {
		if (strcasecmp(name, h->header))
			continue;
		if (!strcmp(h->member, "ce"))
			value = without_chunked(value, buf, sizeof(buf));
		if (!*value)
			return 0;
		if (strlen(value) > S3_META_USER_MAX)
			return -E2BIG;
		return json_object_set_new(meta, h->member, text_of(value)) ? -ENOMEM : 0;
	}
	return 0;
}

