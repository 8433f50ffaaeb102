/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.c -- buckets in the registry (buckets.h).
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/buckets.h"
#include "lib/bucket.h"
#include "lib/log.h"

#define TRIES	  8	 /* when others open and close it meanwhile */
#define KNOWN_MAX 100000 /* more are asked for each time */

struct buckets {
	struct registry *reg;
	pthread_mutex_t lock;
	void *known; /* a tsearch(3) tree of names */
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int buckets_new(struct buckets **out, struct registry *reg)
{
	struct buckets *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->reg = reg;
	pthread_mutex_init(&b->lock, NULL);
	*out = b;
	return 0;
}

void buckets_free(struct buckets *b)
{
	if (!b)
		return;
	tdestroy(b->known, free);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

bool buckets_known(struct buckets *b, const char *bucket)
{
	bool yes;

	pthread_mutex_lock(&b->lock);
	yes = tfind(bucket, &b->known, by_name) != NULL;
	pthread_mutex_unlock(&b->lock);
	return yes;
}

static void remember(struct buckets *b, const char *bucket)
{
	char *name = strdup(bucket), **node;

	pthread_mutex_lock(&b->lock);
	if (name && b->n < KNOWN_MAX) {
		node = tsearch(name, &b->known, by_name);
		if (node && *node == name) {
			b->n++;
			name = NULL;
		}
	}
	pthread_mutex_unlock(&b->lock);
	free(name);
}

void buckets_forget(struct buckets *b, const char *bucket)
{
	char **node, *name = NULL;

	pthread_mutex_lock(&b->lock);
	node = tfind(bucket, &b->known, by_name);
	if (node) {
		name = *node;
		tdelete(bucket, &b->known, by_name);
		b->n--;
	}
	pthread_mutex_unlock(&b->lock);
	free(name);
}

int buckets_open(struct buckets *b, struct names *names, const char *bucket)
{
	struct names_usage now;
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		rc = names_usage(names, bucket, &now);
		if (rc || !now.closed)
			return rc;
		rc = bucket_edit_touch(b->reg, bucket);
		if (rc == -ENOENT)
			buckets_forget(b, bucket);
		if (rc)
			return rc == -ENOENT ? rc : -EAGAIN;
		rc = names_bucket_open_if(names, bucket, now.seq);
		if (rc != -ECANCELED)
			return rc;
	}
	return -EAGAIN;
}

int buckets_create(struct buckets *b, struct names *names, const char *bucket, const char *owner, enum canned_acl acl,
		   int *names_open)
{
	int rc = 0;

	*names_open = 0;
	for (int i = 0; i < TRIES; i++) {
		rc = bucket_edit_create(b->reg, bucket, owner, acl);
		if (!rc || rc == -EALREADY || rc == -EEXIST)
			remember(b, bucket);
		if (rc == -EAGAIN)
			continue; /* it was there and went */
		if (rc && rc != -EALREADY)
			return rc;
		*names_open = buckets_open(b, names, bucket);
		if (*names_open != -ENOENT) /* else it was removed a moment ago */
			return rc;
	}
	return -EAGAIN;
}

int buckets_remove(struct buckets *b, struct names *names, const char *bucket, bool *registry)
{
	bool closed = false;
	int64_t revision;
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		*registry = true;
		rc = bucket_edit_look(b->reg, bucket, &revision);
		if (rc == -ENOENT)
			buckets_forget(b, bucket);
		if (rc)
			break;
		*registry = false;
		rc = names_bucket_close(names, bucket);
		if (rc)
			return rc;
		closed = *registry = true;
		rc = bucket_edit_remove(b->reg, bucket, revision);
		if (!rc || rc == -ENOENT)
			buckets_forget(b, bucket);
		if (rc != -EAGAIN)
			break;
	}
	if (rc && closed)
		buckets_open(b, names, bucket); /* if it can be; who writes to it tries again */
	return rc;
}

int buckets_ensure(struct buckets *b, const char *bucket, const char *owner)
{
	char key[sizeof(REG_BUCKETS) + 64];
	struct reg_cond absent = { key, 0 };
	struct reg_change make = { .key = key };
	json_t *root;
	char *text;
	int rc;

	if (buckets_known(b, bucket))
		return 0;
	root = json_pack("{s:s, s:b, s:s, s:I}", "name", bucket, "public", 0, "owner", owner,
			 "created", (json_int_t)time(NULL));
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	snprintf(key, sizeof(key), REG_BUCKETS "%s", bucket);
	make.value = text;
	rc = registry_txn(b->reg, &absent, 1, &make, 1, NULL);
	free(text);
	if (!rc || rc == -EAGAIN)
		remember(b, bucket);
	else
		log_limited(LOG_LEVEL_WARN, 10, "bucket %s: the registry did not answer (%s)",
			    bucket, registry_error());
	return 0;
}
