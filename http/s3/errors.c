// SPDX-License-Identifier: Apache-2.0
/*
 * errors.c -- the table of S3's errors, and an error as XML.
 */
#include "http/s3/errors.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/s3/xml_out.h"

static const struct {
	const char *code;
	unsigned int status;
	const char *message;
} errors[S3_ERRORS_N] = {
	[S3_OK] = { "", 200, "" },
#define S3_ERROR_ROW(name, code, status, sentence) [S3_##name] = { code, status, sentence },
	S3_ERRORS(S3_ERROR_ROW)
#undef S3_ERROR_ROW
};

const char *s3_error_code(enum s3_error error)
{
	return errors[error].code;
}

unsigned int s3_error_status(enum s3_error error)
{
	return errors[error].status;
}

const char *s3_error_message(enum s3_error error)
{
	return errors[error].message;
}

enum s3_error s3_fault(struct s3_fault *fault, enum s3_error error, const char *fmt, ...)
{
	va_list ap;

	if (!fault)
		return error;
	fault->error = error;
	fault->message[0] = '\0';
	if (!fmt)
		return error;
	va_start(ap, fmt);
	vsnprintf(fault->message, sizeof(fault->message), fmt, ap);
	va_end(ap);
	return error;
}

enum s3_error s3_error_of(int rc, enum s3_error missing)
{
	switch (rc) {
	case 0:
		return S3_OK;
	case -ENOENT:
		return missing;
	case -ECANCELED:
		return S3_PRECONDITION_FAILED;
	case -EAGAIN:
	case -EBUSY:
		return S3_SERVICE_UNAVAILABLE;
	case -ETIMEDOUT:
		return S3_UNKNOWN_OUTCOME;
	case -ENOSPC:
		return S3_INSUFFICIENT_STORAGE;
	case -EDQUOT:
		return S3_QUOTA_EXCEEDED;
	case -EACCES:
	case -EPERM:
		return S3_ACCESS_DENIED;
	case -ENOTEMPTY:
		return S3_BUCKET_NOT_EMPTY;
	case -ENAMETOOLONG:
		return S3_KEY_TOO_LONG;
	case -EINVAL:
		return S3_INVALID_ARGUMENT;
	case -ERANGE:
		return S3_INVALID_RANGE;
	case -EEXIST:
		return S3_OPERATION_ABORTED;
	default:
		return S3_INTERNAL;
	}
}

enum s3_error s3_error_of_refusal(unsigned int status, const char *code)
{
	switch (status) {
	case 400:
		return S3_BAD_REQUEST;
	case 403:
		return S3_ACCESS_DENIED;
	case 405:
		return S3_METHOD_NOT_ALLOWED;
	case 413:
		return S3_ENTITY_TOO_LARGE;
	case 431:
		return S3_REQUEST_HEADER_TOO_LARGE;
	case 501:
		return S3_NOT_IMPLEMENTED;
	case 503: /* work waits: fewer requests help. Memory is missing: they may not. */
		return strcmp(code, "busy") ? S3_SERVICE_UNAVAILABLE : S3_SLOW_DOWN;
	default:
		return S3_INTERNAL;
	}
}

char *s3_error_xml(enum s3_error error, const char *message, const char *resource, const char *request_id,
		   const char *host_id, const char *const *more, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "Error", false);
	xml_text(&xml, "Code", errors[error].code);
	xml_text(&xml, "Message", message && *message ? message : errors[error].message);
	for (; more && more[0] && more[1]; more += 2)
		xml_text(&xml, more[0], more[1]);
	xml_text(&xml, "Resource", resource);
	xml_text(&xml, "RequestId", request_id);
	xml_text(&xml, "HostId", host_id);
	return xml_take(&xml, "Error", len);
}
