/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_tagging.c -- what can be changed of an object without a new version: tags and canned ACL; and GetObjectAttributes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/s3_ops.h"

#define CHANGE_TRIES 10 /* others change the same entry: an endpoint that fetched the data, another client */

/* An entry and its meta. */
struct looked {
	struct name_entry entry;
	json_t *meta;
};

static enum s3_error look(struct s3 *s3, struct looked **out)
{
	struct looked *l = calloc(1, sizeof(*l));
	enum s3_error error;

	if (!l)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, NULL);
	error = s3_find(s3, s3->bucket, s3->key, s3->version, &l->entry);
	if (!error) {
		l->meta = s3_meta_of_entry(&l->entry);
		error = l->meta ? S3_OK : s3_fault(&s3->fault, S3_INTERNAL, NULL);
	}
	if (!error && s3->denied)
		error = s3_may_object(s3, NULL, s3->bucket, s3->key, s3->version, l->meta);
	else if (s3->denied) /* who may not is not told what is there */
		error = s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	if (error) {
		json_decref(l->meta);
		free(l);
		return error;
	}
	*out = l;
	return S3_OK;
}

static void look_free(struct looked *l)
{
	json_decref(l->meta);
	free(l);
}

/* Puts value (borrowed; NULL: takes away) as a member of the entry's meta. */
static enum s3_error change(struct s3 *s3, const char *member, json_t *value)
{
	enum s3_error error = S3_OK;

	for (int i = 0; i < CHANGE_TRIES; i++) {
		struct looked *l;
		int rc;

		error = look(s3, &l);
		if (error)
			return error;
		if (value)
			json_object_set(l->meta, member, value);
		else
			json_object_del(l->meta, member);
		l->entry.meta[0] = '\0';
		error = s3_meta_store(s3, l->meta, &l->entry);
		if (error) {
			look_free(l);
			return error;
		}
		rc = names_set_meta(s3->ep->names, s3->bucket, s3->key, s3_version_text(&l->entry), l->entry.seq,
				    l->entry.meta, NULL);
		if (!rc)
			s3_add_version(s3, &l->entry);
		look_free(l);
		if (rc != -ECANCELED)
			return rc ? s3_names_error(s3, rc, S3_NO_SUCH_KEY) : S3_OK;
	}
	return s3_fault(&s3->fault, S3_OPERATION_ABORTED, NULL);
}

/* ---- tags ---- */

void s3_tagging_get_run(struct s3 *s3)
{
	enum s3_error error;
	struct looked *l;
	json_t *tags;
	size_t len;
	char *text;

	error = look(s3, &l);
	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	tags = json_incref(json_object_get(l->meta, S3_META_TAGS));
	if (!tags)
		tags = json_object();
	s3_add_version(s3, &l->entry);
	text = s3_out_tagging(tags, &len);
	json_decref(tags);
	look_free(l);
	s3_reply_xml(s3, 200, text, len);
}

void s3_tagging_put_run(struct s3 *s3)
{
	json_t *tags = NULL;
	enum s3_error error;

	error = s3_in_tagging(&tags, S3_OBJECT_TAGS, s3->body.text ? s3->body.text : "",
			      s3->body.len, &s3->fault);
	if (!error && s3->denied) { /* change() asks for the rights again */
		s3->new_tags = json_incref(tags);
		s3->new_tags_known = true;
	}
	if (!error)
		error = change(s3, S3_META_TAGS, json_object_size(tags) ? tags : NULL);
	json_decref(tags);
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 200);
}

void s3_tagging_delete_run(struct s3 *s3)
{
	enum s3_error error = change(s3, S3_META_TAGS, NULL);

	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 204);
}

/* ---- ACL ---- */

void s3_acl_get_run(struct s3 *s3)
{
	const char *owner = s3->config && s3->config->owner[0] ? s3->config->owner : "weir", *acl;
	struct s3_owner who = { owner, NULL };
	enum s3_error error;
	struct looked *l;
	size_t len;
	char *text;

	error = look(s3, &l);
	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	acl = s3->config && s3->config->no_acls ? NULL : s3_meta_text(l->meta, S3_META_ACL);
	text = s3_out_acl(&who, acl ? acl : "private", &len);
	s3_add_version(s3, &l->entry);
	look_free(l);
	s3_reply_xml(s3, 200, text, len);
}

void s3_acl_put_run(struct s3 *s3)
{
	const char *header = s3_header(s3, "x-amz-acl"), *acl = NULL;
	enum s3_error error;
	json_t *value;

	if (header && s3->body.len)
		error = s3_fault(&s3->fault, S3_UNEXPECTED_CONTENT, NULL);
	else if (header)
		error = s3_acl_parse(&acl, header, &s3->fault);
	else
		error = s3_in_acl(&acl, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);
	if (!error)
		error = s3_block_acl(s3, acl);
	if (!error) {
		value = strcmp(acl, "private") ? json_string(acl) : NULL;
		error = change(s3, S3_META_ACL, value);
		json_decref(value);
	}
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 200);
}
