/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.c -- a bucket's record compiled (bucket.h). Pure but for the count of references.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bucket_impl.h"
#include "lib/log.h"

const char *const bucket_part_names[BUCKET_PARTS] = { "versioning", "acl",	 "policy",  "encryption",
						      "cors",	    "lifecycle", "tagging", "browse", "block",
						      "ownership" };

static const char *const block_words[] = { "acls", "ignore", "policy", "restrict" };

const char *bucket_block_text(unsigned int block, char out[32])
{
	size_t n = 0;

	for (unsigned int i = 0; i < 4; i++)
		if (block & 1u << i)
			n += (size_t)snprintf(out + n, 32 - n, "%s%s", n ? " " : "", block_words[i]);
	if (!n)
		strcpy(out, "none");
	return out;
}

int bucket_block_parse(const char *text, unsigned int *out)
{
	char as[32];

	for (*out = 0; *out < BLOCK_ALL; ++*out)
		if (!strcmp(text, bucket_block_text(*out, as)))
			return 0;
	return strcmp(text, bucket_block_text(BLOCK_ALL, as)) ? -EINVAL : 0;
}

struct whole {
	struct bucket b; /* first: a bucket is its whole */
	atomic_uint refs;
	json_t *record; /* the texts are in it */
	struct policy *policy;
	pthread_mutex_t lock;
	struct {
		_Atomic(void *) made;
		void (*drop)(void *made);
	} parts[BUCKET_PARTS];
};

/* A policy that this version does not understand is no reason to let anybody in. */
static const char deny_all[] = "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\","
			       "\"Action\":\"s3:*\",\"Resource\":\"*\"}}";

static int policy_check(const char *bucket, const char *text, char err[256])
{
	struct policy *policy;
	int rc = policy_parse(&policy, text, strlen(text), bucket, err);

	if (!rc)
		policy_free(policy);
	return rc;
}

int bucket_part_check(const char *bucket, enum bucket_part part, const char *text, char err[256])
{
	enum canned_acl acl;
	unsigned int block;
	const char *right = NULL;

	switch (part) {
	case BUCKET_VERSIONING:
		right = strcmp(text, "enabled") && strcmp(text, "suspended") ? "enabled or suspended" : NULL;
		break;
	case BUCKET_ACL:
		right = acl_parse(text, &acl) ? "private, public-read, public-read-write or authenticated-read" : NULL;
		break;
	case BUCKET_ENCRYPTION:
		right = strcmp(text, "AES256") ? "AES256" : NULL;
		break;
	case BUCKET_BROWSE:
		right = strcmp(text, "true") ? "true" : NULL;
		break;
	case BUCKET_BLOCK:
		right = bucket_block_parse(text, &block) ? "none, or of acls ignore policy restrict those that hold" : NULL;
		break;
	case BUCKET_OWNERSHIP:
		right = strcmp(text, "BucketOwnerEnforced") && strcmp(text, "BucketOwnerPreferred") && strcmp(text, "ObjectWriter")
				? "BucketOwnerEnforced, BucketOwnerPreferred or ObjectWriter"
				: NULL;
		break;
	case BUCKET_POLICY:
		return policy_check(bucket, text, err);
	default:
		break;
	}
	if (right) {
		snprintf(err, 256, "%s of bucket %s: must be %s", bucket_part_names[part], bucket, right);
		return -EINVAL;
	}
	if (strlen(text) <= BUCKET_PART_MAX)
		return 0;
	snprintf(err, 256, "%s of bucket %s: has more than %d bytes", bucket_part_names[part], bucket, BUCKET_PART_MAX);
	return -EINVAL;
}

static void take_policy(struct whole *w)
{
	const char *text = w->b.part[BUCKET_POLICY];
	char err[256];

	if (text && policy_parse(&w->policy, text, strlen(text), w->b.name, err)) {
		log_limited(LOG_LEVEL_WARN, 6, "the policy of bucket %s is not understood and denies everything: %s", w->b.name,
			    err);
		if (policy_parse(&w->policy, deny_all, strlen(deny_all), w->b.name, err))
			log_error("bucket %s: %s", w->b.name, err);
	}
	w->b.policy = w->policy;
}

static uint64_t number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void take_record(struct whole *w)
{
	const char *owner = json_string_value(json_object_get(w->record, "owner")), *text;
	const json_t *quota = json_object_get(w->record, "quota");

	snprintf(w->b.owner, sizeof(w->b.owner), "%s", owner ? owner : "");
	w->b.created = json_integer_value(json_object_get(w->record, "created"));
	w->b.is_public = json_is_true(json_object_get(w->record, "public"));
	w->b.quota = (struct bucket_quota){ number_of(quota, "bytes"), number_of(quota, "objects") };
	for (int part = 0; part < BUCKET_PARTS; part++)
		w->b.part[part] = json_string_value(json_object_get(w->record, bucket_part_names[part]));
	text = w->b.part[BUCKET_VERSIONING];
	w->b.versioning = !text			  ? VERSIONING_OFF
			  : strcmp(text, "enabled") ? VERSIONING_SUSPENDED
						    : VERSIONING_ENABLED;
	text = w->b.part[BUCKET_ACL];
	if (!text || acl_parse(text, &w->b.acl))
		w->b.acl = ACL_PRIVATE;
	w->b.encrypt = w->b.part[BUCKET_ENCRYPTION] != NULL;
	w->b.browse = w->b.part[BUCKET_BROWSE] != NULL;
	text = w->b.part[BUCKET_BLOCK];
	if (text)
		bucket_block_parse(text, &w->b.block);
	text = w->b.part[BUCKET_OWNERSHIP];
	w->b.no_acls = text && strcmp(text, "BucketOwnerPreferred") && strcmp(text, "ObjectWriter");
	take_policy(w);
}

struct bucket *bucket_compile(const char *name, const json_t *value, int64_t revision)
{
	struct whole *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->record = json_deep_copy(value);
	if (!w->record) {
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	atomic_init(&w->refs, 1);
	snprintf(w->b.name, sizeof(w->b.name), "%s", name);
	w->b.revision = revision;
	take_record(w);
	return &w->b;
}

const struct bucket *bucket_hold(const struct bucket *b)
{
	atomic_fetch_add_explicit(&((struct whole *)b)->refs, 1, memory_order_relaxed);
	return b;
}

void bucket_put(const struct bucket *b)
{
	struct whole *w = (struct whole *)b;

	if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (int part = 0; part < BUCKET_PARTS; part++)
		if (w->parts[part].made)
			w->parts[part].drop(w->parts[part].made);
	policy_free(w->policy);
	json_decref(w->record);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

const void *bucket_made(const struct bucket *b, enum bucket_part part, void *(*make)(const char *text, size_t len),
			void (*drop)(void *made))
{
	struct whole *w = (struct whole *)b;
	void *made = atomic_load_explicit(&w->parts[part].made, memory_order_acquire);

	if (made || !b->part[part])
		return made;
	pthread_mutex_lock(&w->lock);
	made = w->parts[part].made;
	if (!made) {
		made = make(b->part[part], strlen(b->part[part]));
		w->parts[part].drop = drop;
		atomic_store_explicit(&w->parts[part].made, made, memory_order_release);
	}
	pthread_mutex_unlock(&w->lock);
	return made;
}
