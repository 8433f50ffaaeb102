/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_config.c -- what a bucket is told to be: versioning, lifecycle, CORS, policy, ACL, tags, encryption; each a part of the
 * bucket's record (lib/bucket.h). And what CORS rules mean for a request.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/s3/cors.h"
#include "http/s3/lifecycle.h"
#include "http/store/s3_ops.h"

#define SEEN_TRIES 200 /* of 10 ms, until the watch has brought what was changed */
#define TAGS_MAX   50

/* ---- reading ---- */

static json_t *json_of(const struct s3 *s3, enum bucket_part part)
{
	const char *text = s3->config->part[part];

	return text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static char *policy_text(struct s3 *s3, size_t *len)
{
	char *text = strdup(s3->config->part[BUCKET_POLICY]);

	*len = text ? strlen(text) : 0;
	return text;
}

static char *acl_xml(struct s3 *s3, size_t *len)
{
	struct s3_owner owner = { s3_owner_of(s3->config), NULL };

	return s3_out_acl(&owner, acl_text(s3->config->no_acls ? ACL_PRIVATE : s3->config->acl), len);
}

/* The document of a part that is kept as JSON. */
static char *document(struct s3 *s3, enum bucket_part part, char *(*out)(const json_t *value, size_t *len), size_t *len)
{
	json_t *value = part == BUCKET_ENCRYPTION ? json_pack("{s:s}", "algorithm", "AES256") : json_of(s3, part);
	char *text = value ? out(value, len) : NULL;

	json_decref(value);
	return text;
}

void s3_config_get_run(struct s3 *s3)
{
	static const struct {
		enum s3_op op;
		enum bucket_part part;
		enum s3_error missing;
		char *(*out)(const json_t *value, size_t *len);
	} table[] = {
		{ S3_OP_GetBucketLifecycle, BUCKET_LIFECYCLE, S3_NO_SUCH_LIFECYCLE, s3_out_lifecycle },
		{ S3_OP_GetBucketCors, BUCKET_CORS, S3_NO_SUCH_CORS, s3_out_cors },
		{ S3_OP_GetBucketTagging, BUCKET_TAGS, S3_NO_SUCH_TAG_SET, s3_out_tagging },
		{ S3_OP_GetBucketEncryption, BUCKET_ENCRYPTION, S3_NO_SUCH_ENCRYPTION, s3_out_encryption },
	};
	char *text = NULL;
	size_t len = 0;

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (table[i].op != s3->op->op)
			continue;
		if (!s3->config->part[table[i].part]) {
			s3_reply_error(s3, table[i].missing);
			return;
		}
		text = document(s3, table[i].part, table[i].out, &len);
	}
	if (s3->op->op == S3_OP_GetBucketLifecycle) /* Terraform waits until it is told; nothing moves between classes here */
		http_add_header(s3->req, "x-amz-transition-default-minimum-object-size", "all_storage_classes_128K");
	if (s3->op->op == S3_OP_GetBucketVersioning)
		text = s3_out_versioning(s3->config->part[BUCKET_VERSIONING], &len);
	else if (s3->op->op == S3_OP_GetBucketAcl)
		text = acl_xml(s3, &len);
	s3_reply_xml(s3, 200, text, len);
}

void s3_policy_get_run(struct s3 *s3)
{
	size_t len = 0;
	char *text;

	if (!s3->config->part[BUCKET_POLICY]) {
		s3_reply_error(s3, S3_NO_SUCH_BUCKET_POLICY);
	} else if (s3->op->op == S3_OP_GetBucketPolicyStatus) {
		text = s3_out_policy_status(policy_is_public(s3->config->policy), &len);
		s3_reply_xml(s3, 200, text, len);
	} else if ((text = policy_text(s3, &len))) {
		s3_seen_answer(s3, NULL, len);
		s3_add_ids(s3);
		s3->answered = true;
		http_reply_owned(s3->req, 200, "application/json", text, len);
	} else {
		s3_reply_error(s3, S3_SERVICE_UNAVAILABLE);
	}
}

/* ---- changing ---- */

static bool is_seen(const struct s3 *s3, enum bucket_part part, const char *text)
{
	const struct bucket *now = users_bucket(s3->ep->users, s3->bucket);
	const char *there = now ? now->part[part] : NULL;
	bool seen = text && there ? !strcmp(text, there) : !text == !there;

	bucket_put(now);
	return seen;
}

/* Who changed it sees it changed, here at least. text NULL: taken away. */
enum s3_error s3_config_change(struct s3 *s3, enum bucket_part part, const char *text, enum s3_error malformed)
{
	char err[256] = "";
	int rc = bucket_edit_part(s3->ep->daemon->registry, s3->bucket, part, text, err);

	if (rc == -EINVAL || rc == -E2BIG)
		return s3_fault(&s3->fault, malformed, "%s", err);
	if (rc == -ENOENT)
		return s3_fault(&s3->fault, S3_NO_SUCH_BUCKET, NULL);
	if (rc)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The registry did not answer (%s); try again.", registry_error());
	for (int i = 0; i < SEEN_TRIES && !is_seen(s3, part, text); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return S3_OK;
}

/* Takes the value. */
static enum s3_error change_json(struct s3 *s3, enum bucket_part part, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);
	enum s3_error error = text ? s3_config_change(s3, part, text, S3_MALFORMED_XML) : S3_SERVICE_UNAVAILABLE;

	free(text);
	json_decref(value);
	return error;
}

static enum s3_error put_versioning(struct s3 *s3)
{
	const char *state;
	enum s3_error error = s3_in_versioning(&state, s3->body.text, s3->body.len, &s3->fault);

	if (!error && !*state)
		error = s3_fault(&s3->fault, S3_ILLEGAL_VERSIONING, NULL);
	return error ? error
		     : s3_config_change(s3, BUCKET_VERSIONING, state,
			      users_dataset(s3->ep->users, s3->bucket) ? S3_ACCESS_DENIED : S3_ILLEGAL_VERSIONING);
}

static enum s3_error put_acl(struct s3 *s3)
{
	const char *header = s3_header(s3, "x-amz-acl"), *acl;
	enum canned_acl canned;
	enum s3_error error;

	if (header && s3->body.len)
		return s3_fault(&s3->fault, S3_UNEXPECTED_CONTENT, NULL);
	if (header)
		error = s3_acl_parse(&acl, header, &s3->fault);
	else if (s3->body.len)
		error = s3_in_acl(&acl, s3->body.text, s3->body.len, &s3->fault);
	else
		error = s3_fault(&s3->fault, S3_MISSING_SECURITY_HEADER, NULL);
	if (!error && acl_parse(acl, &canned))
		error = s3_fault(&s3->fault, S3_NOT_IMPLEMENTED, "The canned ACL %s is not implemented here.", acl);
	if (!error)
		error = s3_block_acl(s3, acl);
	return error ? error : s3_config_change(s3, BUCKET_ACL, acl, S3_INVALID_ARGUMENT);
}

static enum s3_error put_tagging(struct s3 *s3)
{
	json_t *tags;
	enum s3_error error = s3_in_tagging(&tags, TAGS_MAX, s3->body.text, s3->body.len, &s3->fault);

	if (error || json_object_size(tags))
		return error ? error : change_json(s3, BUCKET_TAGS, tags);
	json_decref(tags); /* none is what a bucket has that was never given any */
	return s3_config_change(s3, BUCKET_TAGS, NULL, S3_INTERNAL);
}

static enum s3_error put_encryption(struct s3 *s3)
{
	json_t *value;
	enum s3_error error = s3_in_encryption(&value, s3->body.text, s3->body.len, &s3->fault);

	if (error)
		return error;
	json_decref(value);
	return s3_config_change(s3, BUCKET_ENCRYPTION, "AES256", S3_MALFORMED_XML);
}

/* Of a dataset rules may end uploads alone: its files go by the upload service, with their manifests and an audit line. */
static enum s3_error check_dataset_rules(struct s3 *s3, const json_t *rules)
{
	struct s3_lifecycle *compiled = NULL;
	bool deletes;

	if (!users_dataset(s3->ep->users, s3->bucket) || s3_lifecycle_compile(&compiled, rules))
		return S3_OK;
	deletes = s3_lifecycle_objects(compiled) || s3_lifecycle_versions(compiled);
	s3_lifecycle_free(compiled);
	return deletes ? s3_fault(&s3->fault, S3_ACCESS_DENIED,
				  "%s is a dataset, whose files do not expire: of lifecycle rules it takes "
				  "AbortIncompleteMultipartUpload alone.",
				  s3->bucket)
		       : S3_OK;
}

static enum s3_error put_rules(struct s3 *s3)
{
	bool cors = s3->op->op == S3_OP_PutBucketCors;
	json_t *value;
	enum s3_error error =
		(cors ? s3_in_cors : s3_in_lifecycle)(&value, s3->body.text, s3->body.len, &s3->fault);

	if (error)
		return error;
	error = cors ? S3_OK : check_dataset_rules(s3, value);
	if (!error)
		return change_json(s3, cors ? BUCKET_CORS : BUCKET_LIFECYCLE, value);
	json_decref(value);
	return error;
}

void s3_config_put_run(struct s3 *s3)
{
	enum s3_error error;

	if (!s3->body.len && s3->op->op != S3_OP_PutBucketAcl) {
		s3_reply_error(s3, S3_MISSING_REQUEST_BODY);
		return;
	}
	switch (s3->op->op) {
	case S3_OP_PutBucketVersioning:
		error = put_versioning(s3);
		break;
	case S3_OP_PutBucketAcl:
		error = put_acl(s3);
		break;
	case S3_OP_PutBucketTagging:
		error = put_tagging(s3);
		break;
	case S3_OP_PutBucketEncryption:
		error = put_encryption(s3);
		break;
	case S3_OP_PutBucketPolicy:
		error = s3_block_policy(s3, s3->body.text, s3->body.len);
		if (!error)
			error = s3_config_change(s3, BUCKET_POLICY, s3->body.text, S3_MALFORMED_POLICY);
		break;
	default:
		error = put_rules(s3);
	}
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, s3->op->op == S3_OP_PutBucketPolicy || s3->op->op == S3_OP_PutBucketTagging ? 204 : 200);
}

void s3_config_delete_run(struct s3 *s3)
{
	enum s3_op op = s3->op->op;
	enum bucket_part part = op == S3_OP_DeleteBucketLifecycle ? BUCKET_LIFECYCLE
				: op == S3_OP_DeleteBucketCors	  ? BUCKET_CORS
				: op == S3_OP_DeleteBucketPolicy  ? BUCKET_POLICY
				: op == S3_OP_DeleteBucketTagging ? BUCKET_TAGS
								  : BUCKET_ENCRYPTION;
	enum s3_error error = s3_config_change(s3, part, NULL, S3_INTERNAL);

	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 204);
}

/* ---- CORS ---- */

static void *make_rules(const char *text, size_t len)
{
	return json_loadb(text, len, 0, NULL);
}

static void drop_rules(void *rules)
{
	json_decref(rules);
}

static void add_cors(struct s3 *s3, const struct s3_cors *cors, bool preflight)
{
	char age[24];

	http_add_header(s3->req, "Access-Control-Allow-Origin", cors->origin);
	http_add_header(s3->req, "Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
	if (cors->methods)
		http_add_header(s3->req, "Access-Control-Allow-Methods", cors->methods);
	if (cors->credentials)
		http_add_header(s3->req, "Access-Control-Allow-Credentials", "true");
	if (cors->expose)
		http_add_header(s3->req, "Access-Control-Expose-Headers", cors->expose);
	if (preflight && cors->headers)
		http_add_header(s3->req, "Access-Control-Allow-Headers", cors->headers);
	if (cors->max_age >= 0) {
		snprintf(age, sizeof(age), "%ld", cors->max_age);
		http_add_header(s3->req, "Access-Control-Max-Age", age);
	}
}

static bool apply_cors(struct s3 *s3, const char *origin, const char *method, const char *asked, bool preflight)
{
	const json_t *rules = s3->config ? bucket_made(s3->config, BUCKET_CORS, make_rules, drop_rules) : NULL;
	struct s3_cors cors;

	if (!rules || !s3_cors_match(&cors, rules, origin, method, asked))
		return false;
	add_cors(s3, &cors, preflight);
	s3_cors_free(&cors);
	return true;
}

void s3_cors_add(struct s3 *s3)
{
	const char *origin = s3_header(s3, "Origin"),
		   *method = s3_header(s3, "Access-Control-Request-Method");

	if (origin && s3->config && s3->config->part[BUCKET_CORS] && http_method(s3->req) != HTTP_OPTIONS)
		apply_cors(s3, origin, method ? method : http_method_name(http_method(s3->req)),
			   NULL, false);
}

void s3_preflight_run(struct s3 *s3)
{
	const char *origin = s3_header(s3, "Origin"), *method = s3_header(s3, "Access-Control-Request-Method");

	if (!origin || !method)
		s3_fault(&s3->fault, S3_BAD_REQUEST, "Insufficient information. Origin request header needed.");
	else if (!s3->config || !s3->config->part[BUCKET_CORS])
		s3_fault(&s3->fault, S3_CORS_FORBIDDEN, "CORSResponse: CORS is not enabled for this bucket.");
	else if (!apply_cors(s3, origin, method, s3_header(s3, "Access-Control-Request-Headers"), true))
		s3_fault(&s3->fault, S3_CORS_FORBIDDEN, NULL);
	if (s3->fault.error)
		s3_reply_error(s3, s3->fault.error);
	else
		s3_reply_empty(s3, 200);
}
