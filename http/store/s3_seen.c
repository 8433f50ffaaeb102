/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_seen.c -- what is told of S3 requests: metrics of each operation, lines of the audit log.
 *
 * The audit log has what changes a bucket or what is told about it, everything in datasets' buckets, and what was denied to
 * somebody who signed. Strangers that are refused are counted, not written: they could fill it.
 */
#include <time.h>

#include "http/s3/count.h"
#include "http/store/s3.h"
#include "lib/access.h"

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void s3_seen_begin(struct s3 *s3)
{
	s3->seen.begun = now_ns();
}

/* Buckets come, go, or are told something. */
static bool changes_bucket(const struct s3_operation *op)
{
	return op->level == S3_BUCKET && (op->method == HTTP_PUT || op->method == HTTP_DELETE);
}

const char *s3_seen_id(const struct s3 *s3)
{
	return s3->seen.id ? s3->seen.id : http_id(s3->req);
}

/* The client's address, as the gateway or the connection says it. */
static const char *client_of(const struct s3 *s3, char address[ADDR_PORT_STRLEN])
{
	const char *from = s3->seen.from;

	if (!from && s3->inside)
		from = http_header(s3->req, "X-Weir-S3-Client");
	return from ? from : access_client(s3->req, address);
}

void s3_seen_keep(struct s3 *s3, char id[S3_SEEN_ID], char from[ADDR_PORT_STRLEN])
{
	char address[ADDR_PORT_STRLEN];

	snprintf(id, S3_SEEN_ID, "%s", http_id(s3->req));
	snprintf(from, ADDR_PORT_STRLEN, "%s", client_of(s3, address));
	s3->seen.id = id;
	s3->seen.from = from;
}

/* of one key; name: the operation's */
static void audit(struct s3 *s3, const char *name, const char *key, const char *code)
{
	bool denied = code && (!strcmp(code, "AccessDenied") || !strcmp(code, "QuotaExceeded"));
	char what[64], on[S3_BUCKET_MAX + S3_KEY_MAX + 2], address[ADDR_PORT_STRLEN];

	if (!changes_bucket(s3->op) && !(denied && s3->who.user[0]) && !users_dataset(s3->ep->users, s3->bucket))
		return;
	if (!s3->who.user[0] && code)
		return;
	snprintf(what, sizeof(what), "s3.%s", name);
	snprintf(on, sizeof(on), "%s%s%s", s3->bucket, *key ? "/" : "", key);
	audit_write(s3->ep->audit, &(struct audit_entry){ .who = s3->who.user,
							  .what = what,
							  .on = on,
							  .result = !code ? "ok" : denied ? "denied" : "failed",
							  .why = code,
							  .from = client_of(s3, address),
							  .request = s3_seen_id(s3),
							  .bytes = s3->body.got });
}

void s3_seen_answer(struct s3 *s3, const char *code, uint64_t sent)
{
	s3->seen.code = code;
	s3->seen.sent = sent;
	if (s3->op && *s3->bucket)
		audit(s3, s3->op->name, s3->key, code);
}

void s3_seen_deleted(struct s3 *s3, const char *key, const char *code)
{
	audit(s3, "DeleteObject", key, code);
}

void s3_seen_done(struct s3 *s3)
{
	s3_counts_add(s3->ep->s3_counts, &(struct s3_counted){ .op = s3->op ? s3->op->op : S3_OP_NONE,
							       .code = s3->seen.code,
							       .received = s3->body.got,
							       .sent = s3->seen.sent,
							       .seconds = (double)(now_ns() - s3->seen.begun) / 1e9 });
}
