/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_bucket.c -- buckets of S3: list, create, head, delete, location.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "http/s3/text.h"
#include "http/s3/xml_in.h"
#include "http/store/s3_ops.h"

static const char *region_of(const struct s3 *s3)
{
	return s3->ep->s3_region;
}

/* ---- ListBuckets ---- */

#define BUCKETS_MAX 10000 /* of one page */

/* 0: not a number that it may be. */
static unsigned long buckets_max(struct s3 *s3)
{
	const char *text = s3_query(s3, "max-buckets");
	long long n = text ? s3_digits(text) : BUCKETS_MAX;

	return n < 1 || n > BUCKETS_MAX ? 0 : (unsigned long)n;
}

void s3_buckets_run(struct s3 *s3)
{
	const char *prefix = s3_query(s3, "prefix"), *after = s3_query(s3, "continuation-token"), *next = NULL;
	struct s3_owner owner = { s3->who.user, NULL };
	unsigned long n = 0, max = buckets_max(s3);
	json_t *all, *one;
	struct xml xml;
	size_t i, len;
	char *text;

	if (!s3->who.user[0]) {
		s3_reply_error(s3, S3_ACCESS_DENIED);
		return;
	}
	if (!max) {
		s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Argument max-buckets must be an integer between 1 and %d", BUCKETS_MAX);
		s3_reply_error(s3, S3_INVALID_ARGUMENT);
		return;
	}
	all = users_buckets(s3->ep->users, &s3->who);
	s3_out_buckets_begin(&xml, &owner);
	json_array_foreach(all, i, one) {
		const char *name = json_string_value(json_object_get(one, "name"));

		if ((prefix && strncmp(name, prefix, strlen(prefix))) || (after && strcmp(name, after) <= 0))
			continue;
		if (n == max)
			break;
		next = name;
		n++;
		s3_out_bucket(&xml, name, json_integer_value(json_object_get(one, "created")), region_of(s3));
	}
	text = s3_out_buckets_end(&xml, prefix, i < json_array_size(all) ? next : NULL, &len);
	json_decref(all);
	s3_reply_xml(s3, 200, text, len);
}

/* ---- CreateBucket, DeleteBucket ---- */

static enum s3_error check_ownership(struct s3 *s3, const char *said, const char *acl)
{
	if (said && !strcmp(said, s3_ownerships[0]) && strcmp(acl, "private"))
		return s3_fault(&s3->fault, S3_ACL_WITH_OWNERSHIP, NULL);
	if (!said || s3_ownership_of(said))
		return S3_OK;
	return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid x-amz-object-ownership header: %.80s", said);
}

/* What the new bucket is told to be beside its ACL. */
static enum s3_error configure(struct s3 *s3, const char *ownership, const json_t *tags)
{
	char *text = json_object_size(tags) ? json_dumps(tags, JSON_COMPACT) : NULL;
	enum s3_error error = S3_OK;

	if (ownership)
		error = s3_config_change(s3, BUCKET_OWNERSHIP, ownership, S3_INVALID_ARGUMENT);
	if (!error && json_object_size(tags))
		error = text ? s3_config_change(s3, BUCKET_TAGS, text, S3_INVALID_TAG)
			     : S3_SERVICE_UNAVAILABLE;
	free(text);
	return error;
}

static enum s3_error create(struct s3 *s3, const json_t *tags)
{
	const char *ownership = s3_header(s3, "x-amz-object-ownership");
	enum canned_acl acl = ACL_PRIVATE;
	const char *text;
	enum s3_error error;
	int rc, opened;

	error = s3_acl_parse(&text, s3_header(s3, "x-amz-acl"), &s3->fault);
	if (!error)
		error = check_ownership(s3, ownership, text);
	if (!error && acl_parse(text, &acl))
		error = s3_fault(&s3->fault, S3_INVALID_ARGUMENT, NULL);
	if (error)
		return error;
	if (users_dataset(s3->ep->users, s3->bucket))
		return s3_fault(&s3->fault, S3_BUCKET_ALREADY_EXISTS, "A dataset has this name.");
	rc = buckets_create(s3->ep->buckets, s3->ep->names, s3->bucket, s3->who.user, acl, &opened);
	if (opened)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The bucket's names could not be opened; try again.");
	if (rc == -EALREADY)
		return s3_fault(&s3->fault, S3_BUCKET_ALREADY_YOURS, NULL);
	if (rc == -EEXIST)
		return s3_fault(&s3->fault, S3_BUCKET_ALREADY_EXISTS, NULL);
	if (rc)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The registry did not answer (%s); try again.",
				registry_error());
	bucket_put(s3->config);
	s3->config = s3_bucket_find(s3, s3->bucket); /* who made it can use it */
	return configure(s3, ownership, tags);
}

void s3_bucket_create_run(struct s3 *s3)
{
	char where[S3_BUCKET_MAX + 2], location[64];
	enum s3_error error = S3_OK;
	json_t *tags = NULL;

	if (!names_bucket_valid(s3->bucket) || !s3_bucket_name_valid(s3->bucket))
		error = S3_INVALID_BUCKET_NAME;
	else if (!s3->who.user[0])
		error = S3_ACCESS_DENIED;
	if (!error)
		error = s3_in_create_bucket(location, &tags, s3->body.text ? s3->body.text : "",
					    s3->body.len, &s3->fault);
	if (!error)
		error = create(s3, tags);
	json_decref(tags);
	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	snprintf(where, sizeof(where), "/%s", s3->bucket);
	http_add_header(s3->req, "Location", where);
	s3_reply_empty(s3, 200);
}

#define SEEN_TRIES 2000 /* of 1 ms, until the watch has brought that it is gone */

/* Who removed it sees it gone, here at least. */
static void see_gone(const struct s3 *s3)
{
	const struct bucket *there = users_bucket(s3->ep->users, s3->bucket);

	for (int i = 0; i < SEEN_TRIES && there; i++) {
		bucket_put(there);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		there = users_bucket(s3->ep->users, s3->bucket);
	}
	bucket_put(there);
}

void s3_bucket_delete_run(struct s3 *s3)
{
	bool registry;
	int rc;

	if (users_dataset(s3->ep->users, s3->bucket)) {
		s3_fault(&s3->fault, S3_ACCESS_DENIED, "%s is a dataset: weir dataset rm removes it.", s3->bucket);
		s3_reply_error(s3, S3_ACCESS_DENIED);
		return;
	}
	rc = buckets_remove(s3->ep->buckets, s3->ep->names, s3->bucket, &registry);
	if (rc == -ENOENT) {
		s3_reply_error(s3, S3_NO_SUCH_BUCKET);
	} else if (rc && !registry) {
		s3_reply_names(s3, rc, S3_NO_SUCH_BUCKET);
	} else if (rc) {
		s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The registry did not answer (%s); try again.",
			 registry_error());
		s3_reply_error(s3, S3_SERVICE_UNAVAILABLE);
	} else {
		see_gone(s3);
		s3_reply_empty(s3, 204);
	}
}

/* ---- HeadBucket, GetBucketLocation ---- */

void s3_bucket_head_run(struct s3 *s3)
{
	http_add_header(s3->req, "x-amz-access-point-alias", "false");
	s3_reply_empty(s3, 200);
}

void s3_bucket_location_run(struct s3 *s3)
{
	size_t len;
	char *text = s3_out_location(region_of(s3), &len);

	s3_reply_xml(s3, 200, text, len);
}
