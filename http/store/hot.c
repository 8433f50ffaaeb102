/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.c -- see hot.h. It says the same as object.c, of fewer requests: what is not certain here and now is said there.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/s3/operation.h"
#include "http/s3/sigv4.h"
#include "http/store/answer.h"
#include "http/store/hot.h"
#include "http/store/object.h"
#include "http/store/parts.h"
#include "http/store/ready.h"
#include "http/store/s3_hot.h"
#include "lib/policy.h"

#define PLAIN "/b/"

/* "/b/BUCKET/KEY" without escapes: the key is the rest of the target. */
static bool split(const char *target, char bucket[BUCKET_MAX], const char **key)
{
	const char *at = target + strlen(PLAIN), *slash;

	if (strncmp(target, PLAIN, strlen(PLAIN)) != 0)
		return false;
	slash = strchr(at, '/');
	if (!slash || slash - at >= BUCKET_MAX)
		return false;
	memcpy(bucket, at, (size_t)(slash - at));
	bucket[slash - at] = '\0';
	*key = slash + 1;
	return names_bucket_valid(bucket) && names_key_plain(*key);
}

/* A policy may ask for what is not known here. */
static void look(struct policy_ask *ask, void *looked)
{
	(void)ask;
	*(bool *)looked = true;
}

/* Refusals have words of their own, and datasets' objects a line in the audit log: not here. */
static bool allowed(struct endpoint *ep, const char *authorization, const char *bucket, const char *key)
{
	struct token_scope who = { .bucket = "" };
	bool looked = false;
	struct policy_ask ask = { .right = RIGHT_READ, .bucket = bucket, .key = key, .look = look, .look_arg = &looked };

	if (authorization && users_authorize(ep->users, authorization, time(NULL), &who))
		return false;
	return users_may(ep->users, &who, &ask) && !looked && !users_dataset(ep->users, bucket);
}

/* Both answers of an open version, made when they were not there. */
static bool answers_of(struct endpoint *ep, const char *bucket, const struct name_entry *entry, struct held *held,
		       struct ready_answer *out)
{
	struct told told;

	told_fill(&told, ep, bucket, entry);
	if (!held_attached(held) && !held_ready(held, 0, entry->size))
		return false;
	out->answer = told_small(ep, held, &told);
	out->unchanged = told_unchanged(held, &told);
	strcpy(out->etag, told.etag);
	return out->answer && out->unchanged;
}

/* By rights and name as they are now. */
static struct http_cached *answer_anew(struct endpoint *ep, const struct http_hot_ask *ask, const struct ready_for *whose,
				       struct http_warm *warm)
{
	struct ready_now now = { .second = time(NULL), .users = users_generation(ep->users) };
	struct http_cached *answer = NULL;
	struct ready_answer ready;
	char bucket[BUCKET_MAX];
	struct name_entry entry;
	struct held *held;
	const char *key;
	struct version v;

	if (!split(ask->target, bucket, &key) || s3_request_is(ask->target, ask->authorization, ask->host, ep->s3_domain) ||
	    !allowed(ep, ask->authorization, bucket, key) || !names_moment(ep->names, bucket, &now.names) ||
	    names_get_now(ep->names, bucket, key, &entry) || entry.size > TOLD_SMALL_MAX || parts_needed(&entry) ||
	    version_parse(&v, entry.version))
		return NULL;
	held = held_hot(ep->held, &v);
	if (held && answers_of(ep, bucket, &entry, held, &ready)) {
		ready_keep(ep, whose, &now, &ready);
		answer = http_cached_hold(ready_pick(&ready, ask->if_none_match));
	} else {
		if (!ask->if_none_match) /* it may need no byte of the object: then the common way reads none */
			told_warm(warm, ep, bucket, &entry);
	}
	held_put(held);
	return answer;
}

static struct http_cached *answer_plain(struct endpoint *ep, const struct http_hot_ask *ask, struct http_warm *warm)
{
	struct ready_for whose = { "", ask->target, ask->host, ask->authorization };
	struct http_cached *answer = ready_find(ep, &whose, ask->if_none_match);

	return answer ? answer : answer_anew(ep, ask, &whose, warm);
}

struct http_cached *hot_answer(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warm, void *arg)
{
	bool is_signed = ask->authorization && sigv4_kind(ask->target, ask->authorization) == SIGV4_HEADER;
	struct endpoint *ep = arg;
	struct http_cached *answer = is_signed ? s3_hot_answer(ep, ask, warm) : answer_plain(ep, ask, warm);

	if (answer && http_cached_status(answer) == 200)
		atomic_fetch_add(&ep->counts.gets, 1);
	*route = is_signed ? object_route_s3() : object_route_get();
	return answer;
}
