// SPDX-License-Identifier: Apache-2.0
/*
 * operation.c -- the table of S3's operations, and which of them a request is.
 */
#include "http/s3/operation.h"

#include <string.h>
#include <strings.h>

const struct s3_operation s3_operations[S3_OPS_N] = {
	[S3_OP_NONE] = { .name = "", .query = "" },
#define S3_OP_ROW(name_, method_, level_, query_, action_, version_, right_, body_, done_) \
	[S3_OP_##name_] = { S3_OP_##name_, #name_,	    HTTP_##method_,  S3_##level_, query_, \
			    action_,	   version_, RIGHT_##right_, S3_BODY_##body_, done_ },
	S3_OPERATIONS(S3_OP_ROW)
#undef S3_OP_ROW
};

/* Parameters that a client adds to any request and that choose nothing. */
static bool says_nothing(const char *name)
{
	return !strncasecmp(name, "x-", 2) || !strcmp(name, "versionId") || !strncmp(name, "response-", 9);
}

/* Is it the sub-resource of an operation at that level, whatever the method? */
static bool is_subresource(enum s3_level level, const char *name)
{
	for (size_t i = 1; i < S3_OPS_N; i++)
		if (s3_operations[i].level == level && *s3_operations[i].query && !strcmp(s3_operations[i].query, name))
			return strcmp(name, "list-type") != 0;
	return false;
}

/* Two sub-resources in one request: which would be meant? */
static const char *second_subresource(enum s3_level level, const struct s3_target *target, const char **first)
{
	*first = NULL;
	for (unsigned int i = 0; i < target->nquery; i++) {
		if (!is_subresource(level, target->query[i].name))
			continue;
		if (*first && strcmp(*first, target->query[i].name))
			return target->query[i].name;
		*first = target->query[i].name;
	}
	return NULL;
}

/* A parameter that chooses nothing today may be an operation that is not known here: then a bucket must not be made or
 * removed instead. */
static const char *unknown_parameter(const struct s3_target *target)
{
	for (unsigned int i = 0; i < target->nquery; i++)
		if (!says_nothing(target->query[i].name))
			return target->query[i].name;
	return NULL;
}

/* The same of an object, whose sub-resources have no value: it must not be overwritten by what
 * configures it, nor be removed instead of something that it has. */
static const char *unknown_subresource(const struct s3_target *target)
{
	for (unsigned int i = 0; i < target->nquery; i++)
		if (!*target->query[i].value && !says_nothing(target->query[i].name))
			return target->query[i].name;
	return NULL;
}

static const char *unknown_of(const struct s3_operation *op, const struct s3_target *target)
{
	if (op->op == S3_OP_CreateBucket || op->op == S3_OP_DeleteBucket)
		return unknown_parameter(target);
	return op->op == S3_OP_PutObject || op->op == S3_OP_DeleteObject
		       ? unknown_subresource(target)
		       : NULL;
}

static enum s3_error check_parameters(const struct s3_operation *op, const struct s3_target *target,
				      const struct s3_choice *choice, struct s3_fault *fault)
{
	const char *part = s3_target_query(target, "partNumber"), *list = s3_target_query(target, "list-type");

	if (op->op == S3_OP_ListObjectsV2 && strcmp(list, "2") != 0)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "list-type must be 2.");
	if (op->op == S3_OP_UploadPart && !part)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "uploadId needs partNumber beside it.");
	if (op->op == S3_OP_PutObject && part)
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"This operation does not accept partNumber without uploadId");
	if (op->op == S3_OP_PostObject &&
	    (!choice || !choice->content_type || strncasecmp(choice->content_type, "multipart/form-data", 19)))
		return s3_fault(fault, S3_PRECONDITION_FAILED,
				"Bucket POST must be of the enclosure-type multipart/form-data");
	return S3_OK;
}

static const struct s3_operation *find(enum http_method method, enum s3_level level, const struct s3_target *target)
{
	for (size_t i = 1; i < S3_OPS_N; i++) {
		const struct s3_operation *op = &s3_operations[i];

		if (op->method == method && op->level == level &&
		    (!*op->query || s3_target_query(target, op->query)))
			return op;
	}
	return NULL;
}

enum s3_error s3_operation_of(const struct s3_operation **out, enum http_method method, const struct s3_target *target,
			      const struct s3_choice *choice, struct s3_fault *fault)
{
	enum s3_level level = *target->key ? S3_OBJECT : *target->bucket ? S3_BUCKET : S3_SERVICE;
	const struct s3_operation *op = find(method, level, target);
	const char *first, *second = second_subresource(level, target, &first), *unknown;
	enum s3_error error;
	bool copies;

	*out = NULL;
	if (second)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "Conflicting query string parameters: %.40s, %.40s", first,
				second);
	if (!op || (first && !*op->query && method != HTTP_HEAD && method != HTTP_OPTIONS))
		return s3_fault(fault, S3_METHOD_NOT_ALLOWED, NULL);
	unknown = unknown_of(op, target);
	if (unknown) {
		*out = op; /* its level, and what is counted */
		return s3_fault(fault, S3_NOT_IMPLEMENTED,
				"The parameter \"%.80s\" is not implemented.", unknown);
	}
	error = check_parameters(op, target, choice, fault);
	if (error)
		return error;
	copies = (choice && choice->copy_source) || s3_target_header(target, "x-amz-copy-source");
	if (copies && op->op == S3_OP_PutObject)
		op = &s3_operations[S3_OP_CopyObject];
	if (copies && op->op == S3_OP_UploadPart)
		op = &s3_operations[S3_OP_UploadPartCopy];
	*out = op;
	return op->implemented ? S3_OK : s3_fault(fault, S3_NOT_IMPLEMENTED, "%s is not implemented.", op->name);
}

const char *s3_operation_action(const struct s3_operation *op, const struct s3_target *target)
{
	return op->action_version && s3_target_query(target, "versionId") ? op->action_version : op->action;
}

const char *s3_header_unsupported(const char *(*get)(void *arg, const char *name), void *arg)
{
	static const char *const refused[] = {
		"x-amz-server-side-encryption-customer-algorithm",
		"x-amz-server-side-encryption-customer-key",
		"x-amz-server-side-encryption-customer-key-md5",
		"x-amz-copy-source-server-side-encryption-customer-algorithm",
		"x-amz-copy-source-server-side-encryption-customer-key",
		"x-amz-copy-source-server-side-encryption-customer-key-md5",
		"x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-context",
		"x-amz-object-lock-mode",
		"x-amz-object-lock-retain-until-date",
		"x-amz-object-lock-legal-hold",
		"x-amz-website-redirect-location",
		"x-amz-write-offset-bytes",
		"x-amz-if-match-size",
		"x-amz-if-match-last-modified-time",
		"x-amz-mfa",
		"x-amz-grant-full-control",
		"x-amz-grant-read",
		"x-amz-grant-read-acp",
		"x-amz-grant-write",
		"x-amz-grant-write-acp",
		NULL,
	};
	const char *value;

	for (size_t i = 0; refused[i]; i++)
		if (get(arg, refused[i]))
			return refused[i];
	value = get(arg, "x-amz-server-side-encryption");
	if (value && !strncmp(value, "aws:", 4))
		return "x-amz-server-side-encryption";
	value = get(arg, "x-amz-bucket-object-lock-enabled");
	if (value && !strcasecmp(value, "true"))
		return "x-amz-bucket-object-lock-enabled";
	return NULL;
}
