// SPDX-License-Identifier: Apache-2.0
/*
 * target.c -- bucket, key and parameters of a request, from Host and the raw target; copy sources; tags in a header.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/checksum.h"
#include "http/s3/operation.h"
#include "http/s3/sigv4.h"
#include "http/s3/text.h"
#include "lib/httpd_text.h"

/* Could it be a bucket of the store? As names_bucket_valid(): it may be older than S3 here. */
static bool bucket_known_form(const char *bucket)
{
	size_t len = strlen(bucket);

	if (len < 3 || len > S3_BUCKET_MAX || bucket[0] == '-' || bucket[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)bucket[i]) && !isdigit((unsigned char)bucket[i]) && bucket[i] != '-' &&
		    bucket[i] != '.')
			return false;
	return true;
}

static bool ends_with(const char *text, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && !memcmp(text + len - n, end, n);
}

bool s3_bucket_name_valid(const char *bucket)
{
	static const char *const begins[] = { "xn--", "sthree-", "amzn-s3-demo-", NULL };
	static const char *const ends[] = { "-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", NULL };
	size_t len = strlen(bucket);
	struct in_addr address;

	if (!bucket_known_form(bucket) || !isalnum((unsigned char)bucket[len - 1]) || strstr(bucket, "..") ||
	    inet_pton(AF_INET, bucket, &address) == 1)
		return false;
	for (size_t i = 0; begins[i]; i++)
		if (!strncmp(bucket, begins[i], strlen(begins[i])))
			return false;
	for (size_t i = 0; ends[i]; i++)
		if (ends_with(bucket, len, ends[i]))
			return false;
	return true;
}

/* BUCKET of "BUCKET.DOMAIN:PORT", lower case, when the host is that for one of domains. */
static bool host_bucket(char *out, size_t size, const char *host, const char *const *domains)
{
	size_t len = strlen(host);
	const char *colon = strrchr(host, ':');

	if (colon && !strchr(colon, ']'))
		len = (size_t)(colon - host);
	if (len && host[len - 1] == '.')
		len--;
	for (; domains && *domains; domains++) {
		size_t n = strlen(*domains);

		if (!n || len <= n + 1 || host[len - n - 1] != '.' || strncasecmp(host + len - n, *domains, n))
			continue;
		len -= n + 1;
		if (len >= size)
			len = size - 1;
		for (size_t i = 0; i < len; i++)
			out[i] = (char)tolower((unsigned char)host[i]);
		out[len] = '\0';
		return true;
	}
	return false;
}

/* The parameters, decoded in place: text is the query, with room for a terminator. */
static enum s3_error query_parse(struct s3_target *out, char *text, struct s3_fault *fault)
{
	char *save = NULL;

	for (char *item = strtok_r(text, "&", &save); item; item = strtok_r(NULL, "&", &save)) {
		char *value = strchr(item, '=');

		if (value)
			*value++ = '\0';
		else
			value = item + strlen(item);
		if (out->nquery == S3_QUERY_MAX)
			return s3_fault(fault, S3_INVALID_URI, "The request has more than %d parameters.", S3_QUERY_MAX);
		if (http_percent_decode(item, strlen(item), item, true) < 0 ||
		    http_percent_decode(value, strlen(value), value, true) < 0)
			return s3_fault(fault, S3_INVALID_URI, "A parameter of the request has a bad percent escape.");
		if (!s3_utf8_valid(item, strlen(item)) || !s3_utf8_valid(value, strlen(value)))
			return s3_fault(fault, S3_INVALID_URI, "A parameter of the request is not UTF-8.");
		out->query[out->nquery].name = item;
		out->query[out->nquery++].value = value;
	}
	return S3_OK;
}

/* text: the path behind the bucket, still encoded. */
static enum s3_error key_parse(struct s3_target *out, char *text, struct s3_fault *fault)
{
	long len = http_percent_decode(text, strlen(text), text, false);

	if (len < 0)
		return s3_fault(fault, S3_INVALID_URI, "The key has a bad percent escape, or a NUL.");
	if (!s3_utf8_valid(text, (size_t)len))
		return s3_fault(fault, S3_INVALID_URI, "The key is not UTF-8.");
	out->key = text;
	if (len > S3_KEY_MAX) {
		text[S3_KEY_MAX] = '\0';
		return s3_fault(fault, S3_KEY_TOO_LONG, NULL);
	}
	return S3_OK;
}

/* The first segment of the path is the bucket; moves *path behind it. */
static enum s3_error path_bucket(struct s3_target *out, char **path, struct s3_fault *fault)
{
	char *slash = strchr(*path, '/');
	char *end = slash ? slash : *path + strlen(*path);
	char *next = slash ? slash + 1 : end;
	char name[256];
	long len;

	if ((size_t)(end - *path) >= sizeof(name))
		return s3_fault(fault, S3_INVALID_BUCKET_NAME, NULL);
	len = http_percent_decode(*path, (size_t)(end - *path), name, false);
	*path = next;
	if (len < 0)
		return s3_fault(fault, S3_INVALID_URI, "The bucket's name has a bad percent escape.");
	if (!len && !slash)
		return S3_OK;
	if (!bucket_known_form(name))
		return s3_fault(fault, S3_INVALID_BUCKET_NAME, NULL);
	memcpy(out->bucket, name, (size_t)len + 1);
	return S3_OK;
}

/* Of an absolute target ("http://host/path") what follows the authority. */
static const char *target_path(const char *raw)
{
	const char *authority;

	if (raw[0] == '/')
		return raw;
	authority = strstr(raw, "://");
	return authority ? authority + 3 + strcspn(authority + 3, "/?") : raw;
}

enum s3_error s3_target_parse(struct s3_target *out, const char *host, const char *raw, const char *const *domains,
			      struct s3_fault *fault)
{
	char name[S3_BUCKET_MAX + 2];
	enum s3_error error, later;
	char *path, *query;

	memset(out, 0, sizeof(*out));
	out->key = "";
	raw = target_path(raw);
	if (strlen(raw) > S3_TARGET_MAX)
		return s3_fault(fault, S3_INVALID_URI, "The request's target has more than %d bytes.", S3_TARGET_MAX);
	out->text = strdup(raw);
	if (!out->text)
		return s3_fault(fault, S3_INTERNAL, NULL);
	path = out->text;
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	else
		query = path + strlen(path);
	if (*path == '/')
		path++;
	else if (*path)
		return s3_fault(fault, S3_INVALID_URI, NULL);
	error = query_parse(out, query, fault);
	if (host && host_bucket(name, sizeof(name), host, domains)) {
		out->virtual_host = true;
		if (!bucket_known_form(name))
			return s3_fault(fault, S3_INVALID_BUCKET_NAME, NULL);
		memcpy(out->bucket, name, strlen(name) + 1);
	} else {
		later = path_bucket(out, &path, fault);
		if (later)
			return later;
	}
	later = key_parse(out, path, fault);
	return later ? later : error;
}

void s3_target_free(struct s3_target *target)
{
	free(target->text);
	memset(target, 0, sizeof(*target));
	target->key = "";
}

const char *s3_target_query(const struct s3_target *target, const char *name)
{
	for (unsigned int i = 0; i < target->nquery; i++)
		if (!strcmp(target->query[i].name, name))
			return target->query[i].value;
	return NULL;
}

static bool is_body_checksum(const char *name)
{
	for (enum checksum_kind kind = 0; kind < CHECKSUM_MD5; kind++)
		if (!strcasecmp(name, checksum_header(kind)))
			return true;
	return !strcasecmp(name, "x-amz-sdk-checksum-algorithm");
}

const char *s3_target_header(const struct s3_target *target, const char *name)
{
	if (strncasecmp(name, "x-amz-", 6) || !s3_target_query(target, "X-Amz-Algorithm") || is_body_checksum(name))
		return NULL;
	for (unsigned int i = 0; i < target->nquery; i++)
		if (!strcasecmp(target->query[i].name, name))
			return target->query[i].value;
	return NULL;
}

enum s3_error s3_copy_source_parse(const char *header, char bucket[S3_BUCKET_MAX + 1], char key[S3_KEY_MAX + 1],
				   char version[65], struct s3_fault *fault)
{
	const char *question = strstr(header, "?versionId=");
	size_t len = question ? (size_t)(question - header) : strlen(header);
	char text[S3_BUCKET_MAX + S3_KEY_MAX + 3], id[65] = "", *slash;
	char *begin = text;
	long n;

	/* Encoded, each byte takes three at most. */
	char wide[3 * sizeof(text)];

	if (!strncmp(header, "arn:", 4))
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "x-amz-copy-source: access points are not implemented.");
	if (len >= sizeof(wide))
		return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source is too long.");
	n = http_percent_decode(header, len, wide, false);
	if (n < 0 || !s3_utf8_valid(wide, (size_t)n))
		return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source must be percent-encoded UTF-8.");
	if ((size_t)n >= sizeof(text))
		return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source is too long.");
	memcpy(text, wide, (size_t)n + 1);
	if (*begin == '/')
		begin++;
	slash = strchr(begin, '/');
	if (!slash || !slash[1] || strlen(slash + 1) > S3_KEY_MAX)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source must be BUCKET/KEY, percent-encoded.");
	*slash++ = '\0';
	if (!bucket_known_form(begin))
		return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source: \"%.80s\" is no bucket's name.", begin);
	if (question) {
		question += strlen("?versionId=");
		len = strcspn(question, "&");
		if (!len || len >= sizeof(id) || http_percent_decode(question, len, id, false) < 0)
			return s3_fault(fault, S3_INVALID_ARGUMENT, "x-amz-copy-source: Invalid version id specified");
	}
	memcpy(bucket, begin, strlen(begin) + 1);
	memcpy(key, slash, strlen(slash) + 1);
	memcpy(version, id, sizeof(id));
	return S3_OK;
}

static enum s3_error tag_add(json_t *tags, char *item, struct s3_fault *fault)
{
	char *value = strchr(item, '=');

	if (value)
		*value++ = '\0';
	else
		value = item + strlen(item);
	if (http_percent_decode(item, strlen(item), item, true) < 0 ||
	    http_percent_decode(value, strlen(value), value, true) < 0 || !*item ||
	    json_object_get(tags, item))
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
				"without tag name duplicates.");
	if (!s3_tag_valid(item, 128, false))
		return s3_fault(fault, S3_INVALID_TAG, "The TagKey you have provided is invalid");
	if (!strncasecmp(item, "aws:", 4))
		return s3_fault(fault, S3_INVALID_TAG, "System tags cannot be added/updated by requester");
	if (!s3_tag_valid(value, 256, true))
		return s3_fault(fault, S3_INVALID_TAG, "The TagValue you have provided is invalid");
	if (json_object_set_new(tags, item, json_string(value)))
		return s3_fault(fault, S3_INTERNAL, NULL);
	if (json_object_size(tags) > 10)
		return s3_fault(fault, S3_BAD_REQUEST, "Object tags cannot be greater than 10");
	return S3_OK;
}

enum s3_error s3_tags_parse(json_t **out, const char *header, struct s3_fault *fault)
{
	json_t *tags = json_object();
	char *text = strdup(header), *save = NULL;
	enum s3_error error = tags && text ? S3_OK : s3_fault(fault, S3_INTERNAL, NULL);

	if (!error)
		for (char *item = strtok_r(text, "&", &save); item && !error; item = strtok_r(NULL, "&", &save))
			error = tag_add(tags, item, fault);
	free(text);
	if (error)
		json_decref(tags);
	else
		*out = tags;
	return error;
}

/* "BUCKET.DOMAIN" or "DOMAIN", with or without a port. */
static bool host_is(const char *host, const char *domain)
{
	size_t len, n;

	if (!host || !domain)
		return false;
	len = strcspn(host, ":");
	n = strlen(domain);
	if (len < n || strncasecmp(host + len - n, domain, n))
		return false;
	return len == n || host[len - n - 1] == '.';
}

/* Our own first segments have one character (/b/, /o/, /_/), buckets have three and more; files that browsers ask for by
 * themselves are nobody's bucket. */
static bool path_is_bucket(const char *target)
{
	size_t len = strcspn(target + (*target == '/'), "/?");

	return *target == '/' && len >= 3 && isalnum((unsigned char)target[1]) && strncmp(target, "/favicon.ico", 12) &&
	       strncmp(target, "/robots.txt", 11);
}

bool s3_request_is(const char *target, const char *authorization, const char *host, const char *domain)
{
	if (!target)
		return false;
	if (sigv4_kind(target, authorization) != SIGV4_NONE || path_is_bucket(target))
		return true;
	/* Health checks and the console ask by whatever name. */
	return host_is(host, domain) && strncmp(target, "/_/", 3);
}
