// SPDX-License-Identifier: Apache-2.0
/*
 * xml_docs.c -- the answers of S3 about buckets and objects.
 */
#include <stdio.h>
#include <string.h>

#include "http/s3/xml_in.h"
#include "http/s3/xml_out.h"

static void owner_write(struct xml *xml, const char *name, const struct s3_owner *owner)
{
	if (!owner || !owner->id)
		return;
	xml_open(xml, name);
	xml_text(xml, "ID", owner->id);
	xml_text(xml, "DisplayName", owner->name ? owner->name : owner->id);
	xml_close(xml, name);
}

void s3_out_buckets_begin(struct xml *xml, const struct s3_owner *owner)
{
	xml_begin(xml, "ListAllMyBucketsResult", true);
	owner_write(xml, "Owner", owner);
	xml_open(xml, "Buckets");
}

void s3_out_bucket(struct xml *xml, const char *name, int64_t created, const char *region)
{
	xml_open(xml, "Bucket");
	xml_text(xml, "Name", name);
	xml_time(xml, "CreationDate", created);
	xml_text(xml, "BucketRegion", region);
	xml_close(xml, "Bucket");
}

char *s3_out_buckets_end(struct xml *xml, const char *prefix, const char *next_token, size_t *len)
{
	xml_close(xml, "Buckets");
	xml_text(xml, "ContinuationToken", next_token);
	xml_text(xml, "Prefix", prefix);
	return xml_take(xml, "ListAllMyBucketsResult", len);
}

char *s3_out_location(const char *region, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "LocationConstraint", true);
	if (region && strcmp(region, "us-east-1") != 0)
		xml_escape(&xml, region, strlen(region));
	return xml_take(&xml, "LocationConstraint", len);
}

char *s3_out_versioning(const char *state, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "VersioningConfiguration", true);
	if (state && *state)
		xml_text(&xml, "Status", !strcmp(state, "enabled") ? "Enabled" : "Suspended");
	return xml_take(&xml, "VersioningConfiguration", len);
}

static void tag_write(struct xml *xml, const char *key, const json_t *value)
{
	xml_open(xml, "Tag");
	xml_text(xml, "Key", key);
	xml_text(xml, "Value", json_string_value(value));
	xml_close(xml, "Tag");
}

char *s3_out_tagging(const json_t *tags, size_t *len)
{
	const char *key;
	json_t *value;
	struct xml xml;

	xml_begin(&xml, "Tagging", true);
	xml_open(&xml, "TagSet");
	json_object_foreach((json_t *)tags, key, value)
		tag_write(&xml, key, value);
	xml_close(&xml, "TagSet");
	return xml_take(&xml, "Tagging", len);
}

static void number_in(struct xml *xml, const char *outer, const char *name, const json_t *value, const char *second,
		      const json_t *second_value)
{
	if (!json_is_integer(value) && !json_is_integer(second_value))
		return;
	xml_open(xml, outer);
	if (json_is_integer(value))
		xml_uint(xml, name, (uint64_t)json_integer_value(value));
	if (json_is_integer(second_value))
		xml_uint(xml, second, (uint64_t)json_integer_value(second_value));
	xml_close(xml, outer);
}

/* <Filter>: one condition stands alone, several stand in <And>. */
static void filter_write(struct xml *xml, const json_t *rule)
{
	const json_t *tags = json_object_get(rule, "tags"), *larger = json_object_get(rule, "larger");
	const json_t *smaller = json_object_get(rule, "smaller");
	const char *prefix = json_string_value(json_object_get(rule, "prefix")), *key;
	size_t n = (prefix && *prefix) + json_object_size(tags) + json_is_integer(larger) + json_is_integer(smaller);
	json_t *value;

	xml_open(xml, "Filter");
	if (n > 1)
		xml_open(xml, "And");
	if (prefix && (*prefix || !n))
		xml_text(xml, "Prefix", prefix);
	json_object_foreach((json_t *)tags, key, value)
		tag_write(xml, key, value);
	if (json_is_integer(larger))
		xml_uint(xml, "ObjectSizeGreaterThan", (uint64_t)json_integer_value(larger));
	if (json_is_integer(smaller))
		xml_uint(xml, "ObjectSizeLessThan", (uint64_t)json_integer_value(smaller));
	if (n > 1)
		xml_close(xml, "And");
	xml_close(xml, "Filter");
}

static void lifecycle_rule_write(struct xml *xml, const json_t *rule)
{
	const json_t *date = json_object_get(rule, "date"), *days = json_object_get(rule, "days");
	bool marker = json_is_true(json_object_get(rule, "marker"));

	xml_open(xml, "Rule");
	xml_text(xml, "ID", json_string_value(json_object_get(rule, "id")));
	if (json_is_true(json_object_get(rule, "old")))
		xml_text(xml, "Prefix", json_string_value(json_object_get(rule, "prefix")));
	else
		filter_write(xml, rule);
	xml_text(xml, "Status", json_is_true(json_object_get(rule, "enabled")) ? "Enabled" : "Disabled");
	if (json_is_integer(date) || json_is_integer(days) || marker) {
		xml_open(xml, "Expiration");
		if (json_is_integer(date))
			xml_time(xml, "Date", json_integer_value(date));
		else if (json_is_integer(days))
			xml_uint(xml, "Days", (uint64_t)json_integer_value(days));
		if (marker)
			xml_bool(xml, "ExpiredObjectDeleteMarker", true);
		xml_close(xml, "Expiration");
	}
	number_in(xml, "NoncurrentVersionExpiration", "NoncurrentDays", json_object_get(rule, "noncurrent_days"),
		  "NewerNoncurrentVersions", json_object_get(rule, "noncurrent_keep"));
	number_in(xml, "AbortIncompleteMultipartUpload", "DaysAfterInitiation", json_object_get(rule, "abort_days"), NULL,
		  NULL);
	xml_close(xml, "Rule");
}

char *s3_out_lifecycle(const json_t *lifecycle, size_t *len)
{
	json_t *rule;
	struct xml xml;
	size_t i;

	xml_begin(&xml, "LifecycleConfiguration", true);
	json_array_foreach(json_object_get(lifecycle, "rules"), i, rule)
		lifecycle_rule_write(&xml, rule);
	return xml_take(&xml, "LifecycleConfiguration", len);
}

static void strings_write(struct xml *xml, const char *name, const json_t *list)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		xml_text(xml, name, json_string_value(item));
}

char *s3_out_cors(const json_t *cors, size_t *len)
{
	json_t *rule, *age;
	struct xml xml;
	size_t i;

	xml_begin(&xml, "CORSConfiguration", true);
	json_array_foreach(json_object_get(cors, "rules"), i, rule) {
		xml_open(&xml, "CORSRule");
		xml_text(&xml, "ID", json_string_value(json_object_get(rule, "id")));
		strings_write(&xml, "AllowedHeader", json_object_get(rule, "headers"));
		strings_write(&xml, "AllowedMethod", json_object_get(rule, "methods"));
		strings_write(&xml, "AllowedOrigin", json_object_get(rule, "origins"));
		strings_write(&xml, "ExposeHeader", json_object_get(rule, "expose"));
		age = json_object_get(rule, "max_age");
		if (json_is_integer(age))
			xml_uint(&xml, "MaxAgeSeconds", (uint64_t)json_integer_value(age));
		xml_close(&xml, "CORSRule");
	}
	return xml_take(&xml, "CORSConfiguration", len);
}

char *s3_out_encryption(const json_t *encryption, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "ServerSideEncryptionConfiguration", true);
	xml_open(&xml, "Rule");
	xml_open(&xml, "ApplyServerSideEncryptionByDefault");
	xml_text(&xml, "SSEAlgorithm", json_string_value(json_object_get(encryption, "algorithm")));
	xml_close(&xml, "ApplyServerSideEncryptionByDefault");
	xml_bool(&xml, "BucketKeyEnabled", false);
	xml_close(&xml, "Rule");
	return xml_take(&xml, "ServerSideEncryptionConfiguration", len);
}

char *s3_out_public_block(unsigned int bits, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "PublicAccessBlockConfiguration", true);
	for (unsigned int i = 0; i < 4; i++)
		xml_bool(&xml, s3_public_block[i], bits & 1u << i);
	return xml_take(&xml, "PublicAccessBlockConfiguration", len);
}

char *s3_out_ownership(const char *ownership, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "OwnershipControls", true);
	xml_open(&xml, "Rule");
	xml_text(&xml, "ObjectOwnership", ownership);
	xml_close(&xml, "Rule");
	return xml_take(&xml, "OwnershipControls", len);
}

char *s3_out_policy_status(bool is_public, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "PolicyStatus", true);
	xml_bool(&xml, "IsPublic", is_public);
	return xml_take(&xml, "PolicyStatus", len);
}

/* A group's grant, or the owner's when uri is NULL. */
static void grant_write(struct xml *xml, const struct s3_owner *owner, const char *uri, const char *permission)
{
	static const char open[] = "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"";

	xml_open(xml, "Grant");
	xml_append(xml, open, sizeof(open) - 1);
	if (uri) {
		xml_append(xml, "Group\">", 7);
		xml_text(xml, "URI", uri);
	} else {
		xml_append(xml, "CanonicalUser\">", 15);
		xml_text(xml, "ID", owner->id);
		xml_text(xml, "DisplayName", owner->name ? owner->name : owner->id);
	}
	xml_close(xml, "Grantee");
	xml_text(xml, "Permission", permission);
	xml_close(xml, "Grant");
}

char *s3_out_acl(const struct s3_owner *owner, const char *canned, size_t *len)
{
	static const char all[] = "http://acs.amazonaws.com/groups/global/AllUsers";
	static const char known[] = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
	struct xml xml;

	canned = canned ? canned : "private";
	xml_begin(&xml, "AccessControlPolicy", true);
	owner_write(&xml, "Owner", owner);
	xml_open(&xml, "AccessControlList");
	if (owner->id)
		grant_write(&xml, owner, NULL, "FULL_CONTROL");
	if (!strcmp(canned, "public-read") || !strcmp(canned, "public-read-write"))
		grant_write(&xml, owner, all, "READ");
	if (!strcmp(canned, "public-read-write"))
		grant_write(&xml, owner, all, "WRITE");
	if (!strcmp(canned, "authenticated-read"))
		grant_write(&xml, owner, known, "READ");
	xml_close(&xml, "AccessControlList");
	return xml_take(&xml, "AccessControlPolicy", len);
}

static void checksum_write(struct xml *xml, const struct s3_checksum_text *checksum)
{
	char name[32];

	if (!checksum || !checksum->algorithm || !*checksum->algorithm || !checksum->value)
		return;
	snprintf(name, sizeof(name), "Checksum%s", checksum->algorithm);
	xml_text(xml, name, checksum->value);
}

char *s3_out_copy(const char *root, const char *etag, int64_t modified, const struct s3_checksum_text *checksum,
		  size_t *len)
{
	struct xml xml;

	xml_begin(&xml, root, true);
	xml_time(&xml, "LastModified", modified);
	xml_etag(&xml, "ETag", etag);
	checksum_write(&xml, checksum);
	if (checksum && checksum->algorithm && *checksum->algorithm && !strcmp(root, "CopyObjectResult"))
		xml_text(&xml, "ChecksumType", checksum->type);
	return xml_take(&xml, root, len);
}

void s3_out_delete_begin(struct xml *xml)
{
	xml_begin(xml, "DeleteResult", true);
}

void s3_out_deleted(struct xml *xml, const char *key, const char *version, bool marker, const char *marker_version)
{
	xml_open(xml, "Deleted");
	xml_text(xml, "Key", key);
	if (version && *version)
		xml_text(xml, "VersionId", version);
	if (marker) {
		xml_bool(xml, "DeleteMarker", true);
		xml_text(xml, "DeleteMarkerVersionId", marker_version);
	}
	xml_close(xml, "Deleted");
}

void s3_out_delete_error(struct xml *xml, const char *key, const char *version, const char *code, const char *message)
{
	xml_open(xml, "Error");
	xml_text(xml, "Key", key);
	if (version && *version)
		xml_text(xml, "VersionId", version);
	xml_text(xml, "Code", code);
	xml_text(xml, "Message", message);
	xml_close(xml, "Error");
}

char *s3_out_delete_end(struct xml *xml, size_t *len)
{
	return xml_take(xml, "DeleteResult", len);
}

char *s3_out_upload_created(const char *bucket, const char *key, const char *id, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "InitiateMultipartUploadResult", true);
	xml_text(&xml, "Bucket", bucket);
	xml_text(&xml, "Key", key);
	xml_text(&xml, "UploadId", id);
	return xml_take(&xml, "InitiateMultipartUploadResult", len);
}

char *s3_out_upload_complete(const char *location, const char *bucket, const char *key, const char *etag,
			     const struct s3_checksum_text *checksum, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "CompleteMultipartUploadResult", true);
	xml_text(&xml, "Location", location);
	xml_text(&xml, "Bucket", bucket);
	xml_text(&xml, "Key", key);
	xml_etag(&xml, "ETag", etag);
	checksum_write(&xml, checksum);
	if (checksum && checksum->algorithm && *checksum->algorithm)
		xml_text(&xml, "ChecksumType", checksum->type);
	return xml_take(&xml, "CompleteMultipartUploadResult", len);
}

unsigned int s3_attributes_parse(const char *header)
{
	static const struct {
		const char *name;
		unsigned int bit;
	} known[] = { { "ETag", S3_ATTR_ETAG },
		      { "Checksum", S3_ATTR_CHECKSUM },
		      { "ObjectParts", S3_ATTR_PARTS },
		      { "StorageClass", S3_ATTR_CLASS },
		      { "ObjectSize", S3_ATTR_SIZE } };
	unsigned int all = 0, bit;

	while (header && *(header += strspn(header, ", \t"))) {
		size_t len = strcspn(header, ", \t");

		bit = 0;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (len == strlen(known[i].name) && !memcmp(header, known[i].name, len))
				bit = known[i].bit;
		if (!bit)
			return 0;
		all |= bit;
		header += len;
	}
	return all;
}

static void attribute_parts(struct xml *xml, const struct s3_attributes *a)
{
	xml_open(xml, "ObjectParts");
	xml_uint(xml, "PartsCount", a->nparts_total);
	if (a->parts) {
		xml_uint(xml, "PartNumberMarker", a->part_after);
		xml_uint(xml, "NextPartNumberMarker", a->nparts ? a->parts[a->nparts - 1].number : a->part_after);
		xml_uint(xml, "MaxParts", a->parts_max);
		xml_bool(xml, "IsTruncated", a->more);
	}
	for (size_t i = 0; i < a->nparts; i++) {
		xml_open(xml, "Part");
		checksum_write(xml, &a->parts[i].checksum);
		xml_uint(xml, "PartNumber", a->parts[i].number);
		xml_uint(xml, "Size", a->parts[i].size);
		xml_close(xml, "Part");
	}
	xml_close(xml, "ObjectParts");
}

/* The ETag is bare here, alone of all answers of S3. */
static void attribute_etag(struct xml *xml, const char *etag)
{
	size_t len = etag ? strlen(etag) : 0;

	if (len >= 2 && etag[0] == '"') {
		etag++;
		len -= 2;
	}
	if (!etag)
		return;
	xml_open(xml, "ETag");
	xml_escape(xml, etag, len);
	xml_close(xml, "ETag");
}

char *s3_out_attributes(const struct s3_attributes *a, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "GetObjectAttributesResponse", true);
	if (a->asked & S3_ATTR_ETAG)
		attribute_etag(&xml, a->etag);
	if ((a->asked & S3_ATTR_CHECKSUM) && a->checksum.algorithm && *a->checksum.algorithm) {
		xml_open(&xml, "Checksum");
		checksum_write(&xml, &a->checksum);
		xml_text(&xml, "ChecksumType", a->checksum.type);
		xml_close(&xml, "Checksum");
	}
	if ((a->asked & S3_ATTR_PARTS) && a->nparts_total)
		attribute_parts(&xml, a);
	if (a->asked & S3_ATTR_CLASS)
		xml_text(&xml, "StorageClass", "STANDARD");
	if (a->asked & S3_ATTR_SIZE)
		xml_uint(&xml, "ObjectSize", a->size);
	return xml_take(&xml, "GetObjectAttributesResponse", len);
}
