// SPDX-License-Identifier: Apache-2.0
/*
 * listing.c -- parameters of listings, tokens, and pages as XML.
 */
#include "http/s3/listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/text.h"
#include "lib/hash.h"

#define TOKEN_FORMAT 1
#define TOKEN_HEAD   2 /* format, kind */
#define TOKEN_CRC    4

static uint32_t token_crc(const uint8_t *data, size_t len)
{
	return crc32c(0x77656972, data, len); /* "weir": not the crc of anything else */
}

int s3_token_make(char out[S3_TOKEN_MAX], const char *text, bool prefix)
{
	uint8_t bytes[TOKEN_HEAD + S3_KEY_MAX + TOKEN_CRC];
	size_t len = strlen(text);
	uint32_t crc;

	if (len > S3_KEY_MAX)
		return -EINVAL;
	bytes[0] = TOKEN_FORMAT;
	bytes[1] = prefix ? 'p' : 'k';
	memcpy(bytes + TOKEN_HEAD, text, len);
	crc = token_crc(bytes, TOKEN_HEAD + len);
	for (int i = 0; i < TOKEN_CRC; i++)
		bytes[TOKEN_HEAD + len + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
	base64url_encode(bytes, TOKEN_HEAD + len + TOKEN_CRC, out);
	return 0;
}

int s3_token_read(const char *token, char text[S3_KEY_MAX + 1], bool *prefix)
{
	uint8_t bytes[S3_TOKEN_MAX];
	size_t chars = strlen(token);
	uint32_t crc = 0;
	long len;

	if (chars >= S3_TOKEN_MAX)
		return -EINVAL;
	len = base64url_decode(token, chars, bytes, sizeof(bytes));
	if (len < TOKEN_HEAD + TOKEN_CRC || len > TOKEN_HEAD + S3_KEY_MAX + TOKEN_CRC)
		return -EINVAL;
	len -= TOKEN_CRC;
	for (int i = 0; i < TOKEN_CRC; i++)
		crc = crc << 8 | bytes[len + i];
	if (crc != token_crc(bytes, (size_t)len) || bytes[0] != TOKEN_FORMAT || (bytes[1] != 'k' && bytes[1] != 'p'))
		return -EINVAL;
	if (!s3_utf8_valid((const char *)bytes + TOKEN_HEAD, (size_t)len - TOKEN_HEAD))
		return -EINVAL;
	memcpy(text, bytes + TOKEN_HEAD, (size_t)len - TOKEN_HEAD);
	text[len - TOKEN_HEAD] = '\0';
	*prefix = bytes[1] == 'p';
	return 0;
}

size_t s3_common_prefix(const char *key, const char *prefix, const char *delimiter)
{
	size_t len = strlen(prefix);
	const char *at;

	if (!*delimiter || strncmp(key, prefix, len) != 0)
		return 0;
	at = strstr(key + len, delimiter);
	return at ? (size_t)(at - key) + strlen(delimiter) : 0;
}

static const char *query_or(const struct s3_target *target, const char *name, const char *absent)
{
	const char *value = s3_target_query(target, name);

	return value ? value : absent;
}

static enum s3_error max_parse(struct s3_list_params *out, const struct s3_target *target, const char *name,
			       struct s3_fault *fault)
{
	const char *text = s3_target_query(target, name);
	long long n;

	out->max = S3_LIST_MAX;
	if (!text || !*text)
		return S3_OK;
	n = s3_digits(text);
	if (n < 0 && text[0] == '-' && s3_digits(text + 1) >= 0)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "Argument %s must be an integer between 0 and 2147483647", name);
	if (n < 0 || n > 2147483647)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "Provided %s not an integer or within integer range", name);
	if (n < S3_LIST_MAX)
		out->max = (unsigned int)n;
	return S3_OK;
}

/* after of the version listing and of the two plain ones: is it a common prefix that was told? */
static bool is_told_prefix(const struct s3_list_params *out)
{
	size_t len = s3_common_prefix(out->after, out->prefix, out->delimiter);

	return len && !out->after[len];
}

static enum s3_error v2_params(struct s3_list_params *out, const struct s3_target *target, struct s3_fault *fault)
{
	out->start_after_said = s3_target_query(target, "start-after");
	out->token_said = s3_target_query(target, "continuation-token");
	out->fetch_owner = !strcasecmp(query_or(target, "fetch-owner", ""), "true");
	if (!out->token_said) {
		out->after = out->start_after_said ? out->start_after_said : "";
		out->after_prefix = is_told_prefix(out);
		return S3_OK;
	}
	if (s3_token_read(out->token_said, out->place, &out->after_prefix))
		return s3_fault(fault, S3_INVALID_ARGUMENT, "The continuation token provided is incorrect");
	out->after = out->place;
	return S3_OK;
}

static enum s3_error parts_params(struct s3_list_params *out, const struct s3_target *target, struct s3_fault *fault)
{
	const char *text = s3_target_query(target, "part-number-marker");
	long long n = text && *text ? s3_digits(text) : 0;

	if (n < 0 || n > 2147483647)
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"Argument part-number-marker must be an integer between 0 and 2147483647");
	out->after_part = (unsigned int)n;
	return max_parse(out, target, "max-parts", fault);
}

/* What belongs to ListObjectsV2 is not ignored by the older one. */
static enum s3_error refuse_v2(const struct s3_target *target, struct s3_fault *fault)
{
	static const char *const names[][2] = { { "start-after", "startAfter" },
						{ "continuation-token", "continuationToken" },
						{ "fetch-owner", "fetchOwner" } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (s3_target_query(target, names[i][0]))
			return s3_fault(fault, S3_INVALID_ARGUMENT,
					"%s only supported in REST.GET.BUCKET with list-type=2",
					names[i][1]);
	return S3_OK;
}

static enum s3_error marker_params(struct s3_list_params *out, const struct s3_target *target, struct s3_fault *fault)
{
	const char *name = out->kind == S3_LIST_UPLOADS ? "upload-id-marker" : "version-id-marker";

	if (out->kind == S3_LIST_V1) {
		out->marker_said = s3_target_query(target, "marker");
		out->after = out->marker_said ? out->marker_said : "";
		out->after_prefix = is_told_prefix(out);
		return refuse_v2(target, fault);
	}
	out->marker_said = s3_target_query(target, "key-marker");
	out->after = out->marker_said ? out->marker_said : "";
	out->after_version = query_or(target, name, "");
	/* Amazon ignores an upload-id-marker without key, and refuses the other. */
	if (*out->after_version && !*out->after) {
		if (out->kind == S3_LIST_VERSIONS)
			return s3_fault(fault, S3_INVALID_ARGUMENT,
					"A version-id marker cannot be specified without a key marker.");
		out->after_version = "";
	}
	out->after_prefix = !*out->after_version && is_told_prefix(out);
	return S3_OK;
}

enum s3_error s3_list_params(struct s3_list_params *out, enum s3_list_kind kind, const struct s3_target *target,
			     struct s3_fault *fault)
{
	const char *encoding = s3_target_query(target, "encoding-type");
	enum s3_error error;

	memset(out, 0, sizeof(*out));
	out->kind = kind;
	out->prefix = query_or(target, "prefix", "");
	out->delimiter = query_or(target, "delimiter", "");
	out->after = out->after_version = "";
	if (encoding && *encoding && strcmp(encoding, "url") != 0)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "Invalid Encoding Method specified in Request");
	out->url = encoding && *encoding;
	if (kind == S3_LIST_PARTS)
		return parts_params(out, target, fault);
	error = max_parse(out, target, kind == S3_LIST_UPLOADS ? "max-uploads" : "max-keys", fault);
	if (!error)
		error = kind == S3_LIST_V2 ? v2_params(out, target, fault) : marker_params(out, target, fault);
	if (!error && strlen(out->after) > S3_KEY_MAX)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "The marker is longer than a key may be (%d bytes).", S3_KEY_MAX);
	return error;
}

/* ---- pages ---- */
void s3_list_begin(struct s3_list *list, const struct s3_list_params *params, const char *bucket)
{
	memset(list, 0, sizeof(*list));
	list->params = params;
	list->bucket = bucket;
}

static void owner_as(struct xml *xml, const char *name, const struct s3_owner *owner)
{
	if (!owner->id)
		return;
	xml_open(xml, name);
	xml_text(xml, "ID", owner->id);
	xml_text(xml, "DisplayName", owner->name ? owner->name : owner->id);
	xml_close(xml, name);
}

static bool has_checksum(const struct s3_checksum_text *checksum)
{
	return checksum->algorithm && *checksum->algorithm;
}

static void algorithm_write(struct xml *xml, const struct s3_checksum_text *checksum)
{
	if (!has_checksum(checksum))
		return;
	xml_text(xml, "ChecksumAlgorithm", checksum->algorithm);
	xml_text(xml, "ChecksumType", checksum->type);
}

static void part_write(struct xml *xml, const struct s3_list_row *row)
{
	char name[32];

	xml_open(xml, "Part");
	xml_uint(xml, "PartNumber", row->part);
	xml_time(xml, "LastModified", row->modified);
	xml_etag(xml, "ETag", row->etag);
	xml_uint(xml, "Size", row->size);
	if (has_checksum(&row->checksum)) {
		strcpy(name, "Checksum");
		strncat(name, row->checksum.algorithm, sizeof(name) - 9);
		xml_text(xml, name, row->checksum.value);
	}
	xml_close(xml, "Part");
}

static void upload_write(struct xml *xml, const struct s3_list_row *row, bool url)
{
	xml_open(xml, "Upload");
	xml_key(xml, "Key", row->key, url);
	xml_text(xml, "UploadId", row->version);
	owner_as(xml, "Initiator", &row->owner);
	owner_as(xml, "Owner", &row->owner);
	xml_text(xml, "StorageClass", "STANDARD");
	xml_time(xml, "Initiated", row->modified);
	algorithm_write(xml, &row->checksum);
	xml_close(xml, "Upload");
}

/* An object of the plain listings, a version, or a marker. */
static void object_write(struct xml *xml, const struct s3_list_params *params, const struct s3_list_row *row)
{
	bool versions = params->kind == S3_LIST_VERSIONS;
	const char *name = versions ? row->marker ? "DeleteMarker" : "Version" : "Contents";

	xml_open(xml, name);
	xml_key(xml, "Key", row->key, params->url);
	if (versions) {
		xml_text(xml, "VersionId", row->version);
		xml_bool(xml, "IsLatest", row->latest);
	}
	xml_time(xml, "LastModified", row->modified);
	if (!versions || !row->marker) {
		xml_etag(xml, "ETag", row->etag);
		algorithm_write(xml, &row->checksum);
		xml_uint(xml, "Size", row->size);
	}
	if (params->kind != S3_LIST_V2 || params->fetch_owner)
		owner_as(xml, "Owner", &row->owner);
	if (!versions || !row->marker)
		xml_text(xml, "StorageClass", "STANDARD");
	xml_close(xml, name);
}

static void remember(char *place, size_t size, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len >= size)
		len = size - 1;
	memcpy(place, text ? text : "", len);
	place[len] = '\0';
}

int s3_list_row(struct s3_list *list, const struct s3_list_row *row)
{
	if (list->n >= list->params->max)
		return 1;
	list->n++;
	list->last_is_prefix = false;
	list->last_part = row->part;
	remember(list->last_key, sizeof(list->last_key), row->key);
	remember(list->last_version, sizeof(list->last_version), row->version);
	if (list->params->kind == S3_LIST_PARTS)
		part_write(&list->rows, row);
	else if (list->params->kind == S3_LIST_UPLOADS)
		upload_write(&list->rows, row, list->params->url);
	else
		object_write(&list->rows, list->params, row);
	return 0;
}

int s3_list_prefix(struct s3_list *list, const char *prefix)
{
	if (list->n >= list->params->max)
		return 1;
	list->n++;
	list->last_is_prefix = true;
	list->last_version[0] = '\0';
	remember(list->last_key, sizeof(list->last_key), prefix);
	xml_open(&list->prefixes, "CommonPrefixes");
	xml_key(&list->prefixes, "Prefix", prefix, list->params->url);
	xml_close(&list->prefixes, "CommonPrefixes");
	return 0;
}

/* What each head ends with; parts know no delimiter. */
static void head_end(struct xml *xml, const struct s3_list_params *p, const char *max, bool more)
{
	xml_uint(xml, max, p->max);
	if (*p->delimiter && p->kind != S3_LIST_PARTS)
		xml_key(xml, "Delimiter", p->delimiter, p->url);
	if (p->url)
		xml_text(xml, "EncodingType", "url");
	xml_bool(xml, "IsTruncated", more);
}

static void head_v1(struct xml *xml, const struct s3_list *list, bool more)
{
	const struct s3_list_params *p = list->params;

	xml_text(xml, "Name", list->bucket);
	xml_key(xml, "Prefix", p->prefix, p->url);
	xml_key(xml, "Marker", p->marker_said ? p->marker_said : "", p->url);
	if (more && *p->delimiter)
		xml_key(xml, "NextMarker", list->last_key, p->url);
	head_end(xml, p, "MaxKeys", more);
}

static void head_v2(struct xml *xml, const struct s3_list *list, bool more)
{
	const struct s3_list_params *p = list->params;
	char token[S3_TOKEN_MAX];

	xml_text(xml, "Name", list->bucket);
	xml_key(xml, "Prefix", p->prefix, p->url);
	xml_text(xml, "ContinuationToken", p->token_said);
	if (more && !s3_token_make(token, list->last_key, list->last_is_prefix))
		xml_text(xml, "NextContinuationToken", token);
	if (p->start_after_said && *p->start_after_said)
		xml_key(xml, "StartAfter", p->start_after_said, p->url);
	xml_uint(xml, "KeyCount", list->n);
	head_end(xml, p, "MaxKeys", more);
}

/* Versions and uploads: a key marker with a second one beside it. */
static void head_markers(struct xml *xml, const struct s3_list *list, bool more)
{
	const struct s3_list_params *p = list->params;
	bool uploads = p->kind == S3_LIST_UPLOADS;

	xml_text(xml, uploads ? "Bucket" : "Name", list->bucket);
	xml_key(xml, "Prefix", p->prefix, p->url);
	xml_key(xml, "KeyMarker", p->marker_said ? p->marker_said : "", p->url);
	xml_text(xml, uploads ? "UploadIdMarker" : "VersionIdMarker", p->after_version);
	if (more) {
		xml_key(xml, "NextKeyMarker", list->last_key, p->url);
		if (!list->last_is_prefix)
			xml_text(xml, uploads ? "NextUploadIdMarker" : "NextVersionIdMarker", list->last_version);
	}
	head_end(xml, p, uploads ? "MaxUploads" : "MaxKeys", more);
}

static void head_parts(struct xml *xml, const struct s3_list *list, bool more)
{
	const struct s3_list_params *p = list->params;

	xml_text(xml, "Bucket", list->bucket);
	xml_key(xml, "Key", list->upload_key, p->url);
	xml_text(xml, "UploadId", list->upload_id);
	owner_as(xml, "Initiator", &list->owner);
	owner_as(xml, "Owner", &list->owner);
	xml_text(xml, "StorageClass", "STANDARD");
	algorithm_write(xml, &list->upload_checksum);
	xml_uint(xml, "PartNumberMarker", p->after_part);
	xml_uint(xml, "NextPartNumberMarker", list->n ? list->last_part : p->after_part);
	head_end(xml, p, "MaxParts", more);
}

char *s3_list_end(struct s3_list *list, bool more, size_t *len)
{
	static void (*const heads[])(struct xml *xml, const struct s3_list *list, bool more) = {
		[S3_LIST_V1] = head_v1,		     [S3_LIST_V2] = head_v2,	   [S3_LIST_VERSIONS] = head_markers,
		[S3_LIST_UPLOADS] = head_markers, [S3_LIST_PARTS] = head_parts,
	};
	static const char *const roots[] = {
		[S3_LIST_V1] = "ListBucketResult",
		[S3_LIST_V2] = "ListBucketResult",
		[S3_LIST_VERSIONS] = "ListVersionsResult",
		[S3_LIST_UPLOADS] = "ListMultipartUploadsResult",
		[S3_LIST_PARTS] = "ListPartsResult",
	};
	enum s3_list_kind kind = list->params->kind;
	struct xml xml;

	xml_begin(&xml, roots[kind], true);
	heads[kind](&xml, list, more && list->params->max);
	xml_append(&xml, list->rows.text ? list->rows.text : "", list->rows.len);
	xml_append(&xml, list->prefixes.text ? list->prefixes.text : "", list->prefixes.len);
	xml.failed |= list->rows.failed || list->prefixes.failed;
	s3_list_drop(list);
	return xml_take(&xml, roots[kind], len);
}

void s3_list_drop(struct s3_list *list)
{
	xml_drop(&list->rows);
	xml_drop(&list->prefixes);
}
