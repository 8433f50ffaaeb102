/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c -- see quota.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/quota.h"
#include "lib/bucket.h"

/* used, and so many bytes in one object more. what: "bucket x", "user y". */
static int compare(const struct bucket_quota *limit, const struct names_usage *used, uint64_t bytes, const char *what,
		   const char *whose, char why[QUOTA_WHY])
{
	if (limit->bytes && (bytes > limit->bytes || used->bytes > limit->bytes - bytes)) {
		snprintf(why, QUOTA_WHY,
			 "The quota of %s %s is %" PRIu64 " bytes: %" PRIu64 " are used, these would be %" PRIu64
			 " more; delete something, or ask for a larger quota.",
			 what, whose, limit->bytes, used->bytes, bytes);
		return -EDQUOT;
	}
	if (limit->objects && used->objects >= limit->objects) {
		snprintf(why, QUOTA_WHY,
			 "The quota of %s %s is %" PRIu64 " objects (versions count), which it has; delete something, or ask for a larger "
			 "quota.",
			 what, whose, limit->objects);
		return -EDQUOT;
	}
	return 0;
}

int quota_begin(struct endpoint *ep, const char *bucket, uint64_t bytes, char why[QUOTA_WHY])
{
	const struct names_usage none = { 0 };
	struct users_limits limits;
	int rc;

	if (!users_limits(ep->users, bucket, &limits))
		return 0;
	rc = compare(&limits.bucket, &none, bytes, "bucket", bucket, why);
	return rc ? rc : compare(&limits.owner, &none, bytes, "user", limits.user, why);
}

/* All that the user owns. A bucket whose primary is silent is a reason to wait, not to let it pass. */
static int used_by(struct endpoint *ep, const char *user, struct names_usage *sum)
{
	struct names_usage one;
	char (*names)[64];
	size_t n;
	int rc = 0;

	memset(sum, 0, sizeof(*sum));
	names = users_owned(ep->users, user, &n);
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < n && !rc; i++) {
		rc = names_usage(ep->names, names[i], &one);
		if (rc == -ENOENT)
			rc = 0; /* nothing was ever written there */
		else if (!rc) {
			sum->bytes += one.bytes;
			sum->objects += one.objects;
		}
	}
	free(names);
	return rc;
}

/* What this PUT will replace, unless older versions are kept. */
static void add_credit(struct endpoint *ep, const char *bucket, const char *key, struct names_usage *used)
{
	const struct bucket *b = users_bucket(ep->users, bucket);
	bool replaces = !b || b->versioning != VERSIONING_ENABLED;
	struct name_entry *entry = replaces ? calloc(1, sizeof(*entry)) : NULL;

	bucket_put(b);
	if (entry && !names_get(ep->names, bucket, key, entry)) {
		used->bytes -= entry->size < used->bytes ? entry->size : used->bytes;
		used->objects -= used->objects > 0;
	}
	free(entry);
}

struct asked {
	struct endpoint *ep;
	const char *bucket, *key, *what, *whose;
	uint64_t bytes;
	char *why;
};

/* The credit is looked up when it decides alone. */
static int judge(const struct asked *a, const struct bucket_quota *limit, struct names_usage *used)
{
	int rc = compare(limit, used, a->bytes, a->what, a->whose, a->why);

	if (!rc)
		return 0;
	add_credit(a->ep, a->bucket, a->key, used);
	return compare(limit, used, a->bytes, a->what, a->whose, a->why);
}

int quota_check(struct endpoint *ep, const char *bucket, const char *key, uint64_t bytes, char why[QUOTA_WHY])
{
	struct asked a = { ep, bucket, key, "bucket", bucket, bytes, why };
	struct names_usage used = { 0 };
	struct users_limits limits;
	int rc = 0;

	if (!users_limits(ep->users, bucket, &limits))
		return 0;
	if (limits.bucket.bytes || limits.bucket.objects) {
		rc = names_usage(ep->names, bucket, &used);
		if (!rc || rc == -ENOENT)
			rc = judge(&a, &limits.bucket, &used);
	}
	if (!rc && (limits.owner.bytes || limits.owner.objects)) {
		a.what = "user";
		a.whose = limits.user;
		rc = used_by(ep, limits.user, &used);
		if (!rc)
			rc = judge(&a, &limits.owner, &used);
	}
	if (rc && rc != -EDQUOT)
		snprintf(why, QUOTA_WHY, "what the quota still allows is not known: %s", names_error());
	return rc;
}
