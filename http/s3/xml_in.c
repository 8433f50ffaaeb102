// SPDX-License-Identifier: Apache-2.0
/*
 * xml_in.c -- bodies of S3 requests: deletes, parts, tags, and the small configurations.
 */
#include "http/s3/xml_in.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/checksum.h"
#include "http/s3/text.h"
#include "http/s3/xml_tree.h"

static size_t count(const struct xml_node *node)
{
	size_t n = 0;

	for (; node; node = xml_next(node))
		n++;
	return n;
}

/* "true" or "false", as XML Schema has them. */
static enum s3_error truth(bool *out, const struct xml_node *node, struct s3_fault *fault)
{
	const char *text = xml_text_of(node);

	*out = !strcasecmp(text, "true") || !strcmp(text, "1");
	if (!node || *out || !strcasecmp(text, "false") || !strcmp(text, "0"))
		return S3_OK;
	return s3_fault(fault, S3_MALFORMED_XML, "<%s> must be true or false.", node->name);
}

static enum s3_error delete_item(struct s3_delete *out, const struct xml_node *node, struct s3_fault *fault)
{
	const struct xml_node *key, *version, *etag, *modified, *size;
	const struct xml_field fields[] = {
		{ "Key", XML_ONE, &key },
		{ "VersionId", XML_OPTIONAL, &version },
		{ "ETag", XML_OPTIONAL, &etag },
		{ "LastModifiedTime", XML_OPTIONAL, &modified },
		{ "Size", XML_OPTIONAL, &size },
		{ NULL, 0, NULL },
	};
	enum s3_error error = xml_fields(node, fields, fault);

	if (error)
		return error;
	if (modified || size)
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "<LastModifiedTime> and <Size> of <Object> are not implemented.");
	if (!*key->text)
		return s3_fault(fault, S3_MALFORMED_XML, "<Key> is empty.");
	*out = (struct s3_delete){ key->text, xml_text_of(version), xml_text_of(etag) };
	return S3_OK;
}

static enum s3_error delete_read(struct s3_deletes *out, const struct xml_node *root, struct s3_fault *fault)
{
	const struct xml_node *quiet, *object;
	const struct xml_field fields[] = {
		{ "Quiet", XML_OPTIONAL, &quiet }, { "Object", XML_MANY, &object }, { NULL, 0, NULL }
	};
	enum s3_error error = xml_fields(root, fields, fault);
	size_t n;

	if (!error)
		error = truth(&out->quiet, quiet, fault);
	if (error)
		return error;
	n = count(object);
	if (!n || n > S3_DELETES_MAX)
		return s3_fault(fault, S3_MALFORMED_XML, "<Delete> must have 1 to %d <Object>.", S3_DELETES_MAX);
	out->items = calloc(n, sizeof(*out->items));
	if (!out->items)
		return s3_fault(fault, S3_INTERNAL, NULL);
	for (; object && !error; object = xml_next(object))
		error = delete_item(&out->items[out->n++], object, fault);
	return error;
}

enum s3_error s3_in_delete(struct s3_deletes *out, const void *body, size_t len, struct s3_fault *fault)
{
	struct s3_deletes read = { 0 };
	enum s3_error error = xml_tree_parse(&read.tree, "Delete", body, len, fault);

	if (!error)
		error = delete_read(&read, xml_tree_root(read.tree), fault);
	if (error)
		s3_deletes_free(&read);
	else
		*out = read;
	return error;
}

void s3_deletes_free(struct s3_deletes *deletes)
{
	free(deletes->items);
	xml_tree_free(deletes->tree);
	memset(deletes, 0, sizeof(*deletes));
}

static enum s3_error complete_part(struct s3_complete_part *out, const struct xml_node *node, struct s3_fault *fault)
{
	static const char *const algorithms[] = { "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256" };
	const struct xml_node *number, *etag, *sums[5];
	const struct xml_field fields[] = {
		{ "PartNumber", XML_ONE, &number },
		{ "ETag", XML_ONE, &etag },
		{ "ChecksumCRC32", XML_OPTIONAL, &sums[0] },
		{ "ChecksumCRC32C", XML_OPTIONAL, &sums[1] },
		{ "ChecksumCRC64NVME", XML_OPTIONAL, &sums[2] },
		{ "ChecksumSHA1", XML_OPTIONAL, &sums[3] },
		{ "ChecksumSHA256", XML_OPTIONAL, &sums[4] },
		{ NULL, 0, NULL },
	};
	enum s3_error error = xml_fields(node, fields, fault);
	uint8_t value[CHECKSUM_MAX];
	enum checksum_kind kind;
	const char *text;
	long long n;
	size_t len;

	if (error)
		return error;
	error = xml_number(&n, number, 1, S3_PARTS_MAX, S3_INVALID_ARGUMENT, fault);
	if (error)
		return error;
	out->number = (unsigned int)n;
	text = etag->text;
	len = strlen(text);
	if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
		text++;
		len -= 2;
	}
	if (!len || len >= sizeof(out->etag))
		return s3_fault(fault, S3_INVALID_PART, NULL);
	memcpy(out->etag, text, len);
	for (int i = 0; i < 5; i++) {
		if (!sums[i])
			continue;
		if (out->algorithm[0] || !checksum_by_name(&kind, algorithms[i]) ||
		    checksum_parse(kind, sums[i]->text, value))
			return s3_fault(fault, S3_INVALID_ARGUMENT,
					"Invalid Base64 or multiple checksums present in request");
		strcpy(out->algorithm, algorithms[i]);
		strcpy(out->checksum, sums[i]->text);
	}
	return S3_OK;
}

static enum s3_error complete_read(struct s3_complete *out, const struct xml_node *root, struct s3_fault *fault)
{
	const struct xml_node *part;
	const struct xml_field fields[] = { { "Part", XML_MANY, &part }, { NULL, 0, NULL } };
	enum s3_error error = xml_fields(root, fields, fault);
	size_t n;

	if (error)
		return error;
	n = count(part);
	if (!n)
		return s3_fault(fault, S3_MALFORMED_XML, "<CompleteMultipartUpload> must have at least one <Part>.");
	if (n > S3_PARTS_MAX)
		return s3_fault(fault, S3_MALFORMED_XML, "There are more than %d parts.", S3_PARTS_MAX);
	out->parts = calloc(n, sizeof(*out->parts));
	if (!out->parts)
		return s3_fault(fault, S3_INTERNAL, NULL);
	for (; part && !error; part = xml_next(part)) {
		error = complete_part(&out->parts[out->n], part, fault);
		if (!error && out->n && out->parts[out->n].number <= out->parts[out->n - 1].number)
			error = s3_fault(fault, S3_INVALID_PART_ORDER, NULL);
		out->n++;
	}
	return error;
}

enum s3_error s3_in_complete(struct s3_complete *out, const void *body, size_t len, struct s3_fault *fault)
{
	struct s3_complete read = { 0 };
	struct xml_tree *tree = NULL;
	enum s3_error error = xml_tree_parse(&tree, "CompleteMultipartUpload", body, len, fault);

	if (!error)
		error = complete_read(&read, xml_tree_root(tree), fault);
	if (error)
		s3_complete_free(&read);
	else
		*out = read;
	xml_tree_free(tree);
	return error;
}

void s3_complete_free(struct s3_complete *complete)
{
	free(complete->parts);
	memset(complete, 0, sizeof(*complete));
}

enum s3_error s3_in_tag(json_t *tags, const struct xml_node *node, struct s3_fault *fault)
{
	const struct xml_node *key, *value;
	const struct xml_field fields[] = {
		{ "Key", XML_ONE, &key }, { "Value", XML_ONE, &value }, { NULL, 0, NULL }
	};
	enum s3_error error = xml_fields(node, fields, fault);

	if (error)
		return error;
	if (!s3_tag_valid(key->text, 128, false))
		return s3_fault(fault, S3_INVALID_TAG, "The TagKey you have provided is invalid");
	if (!s3_tag_valid(value->text, 256, true))
		return s3_fault(fault, S3_INVALID_TAG, "The TagValue you have provided is invalid");
	if (!strncasecmp(key->text, "aws:", 4))
		return s3_fault(fault, S3_INVALID_TAG, "System tags cannot be added/updated by requester");
	if (json_object_get(tags, key->text))
		return s3_fault(fault, S3_INVALID_TAG, "Cannot provide multiple Tags with the same key");
	if (json_object_set_new(tags, key->text, json_string(value->text)))
		return s3_fault(fault, S3_INTERNAL, NULL);
	return S3_OK;
}

/* The <Tag>s of a <TagSet> or <Tags>. */
static enum s3_error tag_set_read(json_t *tags, unsigned int max, const struct xml_node *set,
				  struct s3_fault *fault)
{
	const struct xml_node *tag;
	const struct xml_field inner[] = { { "Tag", XML_MANY, &tag }, { NULL, 0, NULL } };
	enum s3_error error = xml_fields(set, inner, fault);

	if (error)
		return error;
	if (count(tag) > max)
		return s3_fault(fault, S3_BAD_REQUEST, "%s tags cannot be greater than %u",
				max > S3_OBJECT_TAGS ? "Bucket" : "Object", max);
	for (; tag && !error; tag = xml_next(tag))
		error = s3_in_tag(tags, tag, fault);
	return error;
}

static enum s3_error tagging_read(json_t *tags, unsigned int max, const struct xml_node *root,
				  struct s3_fault *fault)
{
	const struct xml_node *set;
	const struct xml_field outer[] = { { "TagSet", XML_ONE, &set }, { NULL, 0, NULL } };
	enum s3_error error = xml_fields(root, outer, fault);

	return error ? error : tag_set_read(tags, max, set, fault);
}

enum s3_error s3_in_tagging(json_t **out, unsigned int max, const void *body, size_t len, struct s3_fault *fault)
{
	json_t *tags = json_object();
	struct xml_tree *tree = NULL;
	enum s3_error error = tags ? xml_tree_parse(&tree, "Tagging", body, len, fault) : s3_fault(fault, S3_INTERNAL, NULL);

	if (!error)
		error = tagging_read(tags, max, xml_tree_root(tree), fault);
	if (error)
		json_decref(tags);
	else
		*out = tags;
	xml_tree_free(tree);
	return error;
}

enum s3_error s3_in_create_bucket(char location[64], json_t **tags, const void *body, size_t len,
				  struct s3_fault *fault)
{
	const struct xml_node *region, *directory, *bucket, *set;
	const struct xml_field fields[] = {
		{ "LocationConstraint", XML_OPTIONAL, &region },
		{ "Location", XML_OPTIONAL, &directory },
		{ "Bucket", XML_OPTIONAL, &bucket },
		{ "Tags", XML_OPTIONAL, &set },
		{ NULL, 0, NULL },
	};
	json_t *read = json_object();
	struct xml_tree *tree = NULL;
	enum s3_error error = read ? S3_OK : s3_fault(fault, S3_INTERNAL, NULL);

	location[0] = '\0';
	if (!error && len)
		error = xml_tree_parse(&tree, "CreateBucketConfiguration", body, len, fault);
	if (!error && tree)
		error = xml_fields(xml_tree_root(tree), fields, fault);
	if (!error && tree && (directory || bucket))
		error = s3_fault(fault, S3_NOT_IMPLEMENTED,
				 "Directory buckets are not implemented.");
	if (!error && tree && strlen(xml_text_of(region)) >= 64)
		error = s3_fault(fault, S3_INVALID_LOCATION, NULL);
	if (!error && tree && set)
		error = tag_set_read(read, S3_BUCKET_TAGS, set, fault);
	if (!error && tree)
		strcpy(location, xml_text_of(region));
	xml_tree_free(tree);
	if (error)
		json_decref(read);
	else
		*tags = read;
	return error;
}

static enum s3_error versioning_read(const char **out, const struct xml_node *root, struct s3_fault *fault)
{
	const struct xml_node *status, *mfa;
	const struct xml_field fields[] = {
		{ "Status", XML_OPTIONAL, &status }, { "MfaDelete", XML_OPTIONAL, &mfa }, { NULL, 0, NULL }
	};
	enum s3_error error = xml_fields(root, fields, fault);

	if (error)
		return error;
	if (mfa && strcmp(mfa->text, "Disabled") != 0)
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "MfaDelete is not implemented.");
	if (!status)
		return s3_fault(fault, S3_ILLEGAL_VERSIONING, "The Versioning element must be specified");
	if (!strcmp(status->text, "Enabled"))
		*out = "enabled";
	else if (!strcmp(status->text, "Suspended"))
		*out = "suspended";
	else
		return s3_fault(fault, S3_MALFORMED_XML, "<Status> must be Enabled or Suspended.");
	return S3_OK;
}

enum s3_error s3_in_versioning(const char **out, const void *body, size_t len, struct s3_fault *fault)
{
	struct xml_tree *tree;
	enum s3_error error = xml_tree_parse(&tree, "VersioningConfiguration", body, len, fault);

	if (error)
		return error;
	error = versioning_read(out, xml_tree_root(tree), fault);
	xml_tree_free(tree);
	return error;
}

const char *const s3_public_block[4] = { "BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets" };

enum s3_error s3_in_public_block(unsigned int *out, const void *body, size_t len, struct s3_fault *fault)
{
	const struct xml_node *said[4];
	const struct xml_field fields[] = { { s3_public_block[0], XML_OPTIONAL, &said[0] },
					    { s3_public_block[1], XML_OPTIONAL, &said[1] },
					    { s3_public_block[2], XML_OPTIONAL, &said[2] },
					    { s3_public_block[3], XML_OPTIONAL, &said[3] },
					    { NULL, 0, NULL } };
	unsigned int bits = 0;
	struct xml_tree *tree;
	enum s3_error error = xml_tree_parse(&tree, "PublicAccessBlockConfiguration", body, len, fault);
	bool holds;

	if (error)
		return error;
	error = xml_fields(xml_tree_root(tree), fields, fault);
	for (unsigned int i = 0; !error && i < 4; i++) {
		error = truth(&holds, said[i], fault);
		bits |= (unsigned int)holds << i;
	}
	if (!error)
		*out = bits;
	xml_tree_free(tree);
	return error;
}

const char *const s3_ownerships[4] = { "BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter", NULL };

const char *s3_ownership_of(const char *text)
{
	size_t i = 0;

	while (s3_ownerships[i] && strcmp(s3_ownerships[i], text))
		i++;
	return s3_ownerships[i];
}

enum s3_error s3_in_ownership(const char **out, const void *body, size_t len, struct s3_fault *fault)
{
	const struct xml_node *rule, *said = NULL;
	const struct xml_field outer[] = { { "Rule", XML_ONE, &rule }, { NULL, 0, NULL } };
	const struct xml_field inner[] = { { "ObjectOwnership", XML_ONE, &said }, { NULL, 0, NULL } };
	struct xml_tree *tree;
	enum s3_error error = xml_tree_parse(&tree, "OwnershipControls", body, len, fault);

	if (error)
		return error;
	error = xml_fields(xml_tree_root(tree), outer, fault);
	if (!error)
		error = xml_fields(rule, inner, fault);
	if (!error && !s3_ownership_of(said->text))
		error = s3_fault(fault, S3_MALFORMED_XML, "<ObjectOwnership> is none that there is.");
	if (!error)
		*out = s3_ownership_of(said->text);
	xml_tree_free(tree);
	return error;
}

static enum s3_error encryption_read(const struct xml_node *root, struct s3_fault *fault)
{
	const struct xml_node *rule, *apply, *key_enabled, *algorithm, *key;
	const struct xml_field outer[] = { { "Rule", XML_ONE, &rule }, { NULL, 0, NULL } };
	const struct xml_field inner[] = { { "ApplyServerSideEncryptionByDefault", XML_ONE, &apply },
					   { "BucketKeyEnabled", XML_OPTIONAL, &key_enabled },
					   { NULL, 0, NULL } };
	const struct xml_field innermost[] = { { "SSEAlgorithm", XML_ONE, &algorithm },
					       { "KMSMasterKeyID", XML_OPTIONAL, &key },
					       { NULL, 0, NULL } };
	enum s3_error error = xml_fields(root, outer, fault);
	bool enabled = false;

	if (!error)
		error = xml_fields(rule, inner, fault);
	if (!error)
		error = xml_fields(apply, innermost, fault);
	if (!error)
		error = truth(&enabled, key_enabled, fault);
	if (error)
		return error;
	if (!strncmp(algorithm->text, "aws:", 4))
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "%.20s is not implemented: AES256 is.", algorithm->text);
	if (strcmp(algorithm->text, "AES256") != 0)
		return s3_fault(fault, S3_MALFORMED_XML, "<SSEAlgorithm> must be AES256.");
	if (key)
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms");
	return S3_OK;
}

enum s3_error s3_in_encryption(json_t **out, const void *body, size_t len, struct s3_fault *fault)
{
	struct xml_tree *tree;
	enum s3_error error = xml_tree_parse(&tree, "ServerSideEncryptionConfiguration", body, len, fault);

	if (error)
		return error;
	error = encryption_read(xml_tree_root(tree), fault);
	xml_tree_free(tree);
	if (error)
		return error;
	*out = json_pack("{s:s}", "algorithm", "AES256");
	return *out ? S3_OK : s3_fault(fault, S3_INTERNAL, NULL);
}
