/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle.h -- a bucket's lifecycle rules: what is to go, and when.
 *
 * Of the record: {"rules":[{"id","enabled":bool,"prefix":"","tags":{…},"larger":BYTES,"smaller":BYTES,"days":N or
 * "date":UNIX_S,"marker":true (remove a delete marker that stands alone),"noncurrent_days":N,"noncurrent_keep":N,
 * "abort_days":N,"old":true (the prefix stood in Rule, not in Filter)},…]}. Days count as Amazon does: from the moment plus N days, rounded up to the next midnight UTC. Pure: the
 * clock comes in.
 */
#ifndef WEIR_S3_LIFECYCLE_H
#define WEIR_S3_LIFECYCLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct s3_lifecycle;
/* From the record's JSON, which is not kept. 0, -EINVAL (not as above), -ENOMEM. NULL in, NULL out: no rules. */
int s3_lifecycle_compile(struct s3_lifecycle **out, const json_t *lifecycle);
void s3_lifecycle_free(struct s3_lifecycle *lifecycle); /* accepts NULL */
/* Is there a rule that needs to look at objects, at old versions, at uploads? */
bool s3_lifecycle_objects(const struct s3_lifecycle *lifecycle);
bool s3_lifecycle_versions(const struct s3_lifecycle *lifecycle);
bool s3_lifecycle_uploads(const struct s3_lifecycle *lifecycle);

struct s3_lifecycle_entry {
	const char *key;
	const json_t *tags; /* {"key":"value"}, may be NULL */
	uint64_t size;
	int64_t modified;
	bool current, marker;
	/* Of one that is not current: when the next newer one came, and how many non-current ones are newer. */
	int64_t noncurrent_since;
	unsigned int noncurrent_newer;
	bool alone; /* a current marker under which there is no version */
};
enum s3_expiry {
	S3_KEEP,
	S3_EXPIRE,	  /* current: delete as a DELETE without version would (a marker in a versioned bucket) */
	S3_EXPIRE_VERSION /* remove this very version or marker */
};
enum s3_expiry s3_lifecycle_look(const struct s3_lifecycle *lifecycle, const struct s3_lifecycle_entry *entry, int64_t now);
/* An upload without end, begun then: to be aborted? */
bool s3_lifecycle_abort(const struct s3_lifecycle *lifecycle, const char *key, int64_t begun, int64_t now);
/* x-amz-expiration: 'expiry-date="…", rule-id="…"' of a current object; false: it does not expire. */
bool s3_lifecycle_header(char out[400], const struct s3_lifecycle *lifecycle, const struct s3_lifecycle_entry *entry);
/* x-amz-abort-date and x-amz-abort-rule-id of an upload begun then; false: none. id: of the rule, 256 bytes. */
bool s3_lifecycle_abort_date(int64_t *when, char id[256], const struct s3_lifecycle *lifecycle, const char *key, int64_t begun);

#endif
