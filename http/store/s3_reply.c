/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_reply.c -- answers of S3: XML, errors, and what they share.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/store/s3.h"
#include "http/store/s3_hot.h"
#include "lib/log.h"

int s3_add_header(struct s3 *s3, const char *name, const char *value)
{
	return s3->hot ? s3_hot_add(s3->hot, name, value) : http_add_header(s3->req, name, value);
}

const char *s3_header(const struct s3 *s3, const char *name)
{
	const char *value = s3->hot ? s3_hot_header(s3->hot, name) : http_header(s3->req, name);

	return value || s3->sig.kind != SIGV4_QUERY ? value : s3_target_header(&s3->target, name);
}

bool s3_header_is(const struct s3 *s3, const char *name, const char *value)
{
	const char *said = s3_header(s3, name);

	return said && !strcasecmp(said, value);
}

const char *s3_query(const struct s3 *s3, const char *name)
{
	return s3_target_query(&s3->target, name);
}

/* Amazon's second name of a request: here which node answered. */
void s3_add_ids(struct s3 *s3)
{
	if (s3->ids)
		return;
	s3->ids = true;
	http_add_header(s3->req, "x-amz-request-id", http_id(s3->req));
	http_add_header(s3->req, "x-amz-id-2", s3->ep->node);
}

void s3_reply_empty(struct s3 *s3, unsigned int status)
{
	s3->answered = true;
	s3_seen_answer(s3, NULL, 0);
	s3_add_ids(s3);
	http_reply(s3->req, status, NULL, NULL, 0);
}

/* code: of an error, or NULL */
static void send_xml(struct s3 *s3, unsigned int status, const char *code, char *text, size_t len)
{
	s3->answered = true;
	s3_seen_answer(s3, text ? code : "InternalError", text ? len : 0);
	if (s3_early_say(s3, text, len))
		return;
	s3_add_ids(s3);
	if (text)
		http_reply_owned(s3->req, status, S3_XML_TYPE, text, len);
	else
		http_reply_error(s3->req, 503, "memory", "Out of memory; try again.");
}

void s3_reply_xml(struct s3 *s3, unsigned int status, char *text, size_t len)
{
	send_xml(s3, status, NULL, text, len);
}

static char *resource_of(const struct s3 *s3, char *out, size_t size)
{
	snprintf(out, size, "/%s%s%s", s3->bucket, *s3->key ? "/" : "", s3->key);
	return out;
}

void s3_reply_code(struct s3 *s3, unsigned int status, const char *code, const char *message)
{
	char resource[S3_BUCKET_MAX + S3_KEY_MAX + 3];
	struct xml xml;
	size_t len;
	char *text;

	if (status >= 500)
		s3->failed = true;
	xml_begin(&xml, "Error", false);
	xml_text(&xml, "Code", code);
	xml_text(&xml, "Message", message);
	if (*s3->bucket)
		xml_text(&xml, "BucketName", s3->bucket);
	if (*s3->key)
		xml_text(&xml, "Key", s3->key);
	xml_text(&xml, "Resource", resource_of(s3, resource, sizeof(resource)));
	xml_text(&xml, "RequestId", s3_seen_id(s3));
	xml_text(&xml, "HostId", s3->ep->node);
	text = xml_take(&xml, "Error", &len);
	send_xml(s3, status, code, text, len);
}

void s3_reply_error(struct s3 *s3, enum s3_error error)
{
	bool told = s3->fault.error == error && s3->fault.message[0];

	if (error == S3_NOT_MODIFIED) {
		s3_reply_empty(s3, 304);
		return;
	}
	s3_reply_code(s3, s3_error_status(error), s3_error_code(error),
		      told ? s3->fault.message : s3_error_message(error));
}

enum s3_error s3_names_error(struct s3 *s3, int rc, enum s3_error missing)
{
	enum s3_error error = s3_error_of(rc, missing);

	if (error == missing || error == S3_PRECONDITION_FAILED)
		return s3_fault(&s3->fault, error, NULL);
	return s3_fault(&s3->fault, error, "%s", names_error());
}

void s3_reply_names(struct s3 *s3, int rc, enum s3_error missing)
{
	s3_reply_error(s3, s3_names_error(s3, rc, missing));
}

enum s3_error s3_store_error(struct s3 *s3, int rc)
{
	switch (rc) {
	case -ENOSPC:
		return s3_fault(&s3->fault, S3_INSUFFICIENT_STORAGE,
				"The disk is full, but for its reserve; nothing was stored.");
	case -EDQUOT:
		return s3_fault(&s3->fault, S3_QUOTA_EXCEEDED, "%s", upload_why(s3->body.upload));
	case -EFBIG:
		return s3_fault(&s3->fault, S3_ENTITY_TOO_LARGE, NULL);
	case -EAGAIN:
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE,
				"No second endpoint could take a copy (%s); nothing was stored, try again.",
				upload_why(s3->body.upload));
	case -ENOMEM:
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "Out of memory; try again.");
	default:
		return s3_fault(&s3->fault, S3_INTERNAL, "The disk failed (%s); nothing was stored.", strerror(-rc));
	}
}

const char *s3_version_text(const struct name_entry *entry)
{
	return entry->null_version ? "null" : entry->version;
}

char *s3_etag(const struct name_entry *entry, char out[S3_ETAG_MAX])
{
	return names_entry_s3_etag(entry, out);
}
