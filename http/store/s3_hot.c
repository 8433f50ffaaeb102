/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_hot.c -- see s3_hot.h. The order is s3.c's: signature, operation, bucket, rights, name, answer.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/s3/count.h"
#include "http/store/answer.h"
#include "http/store/parts.h"
#include "http/store/ready.h"
#include "http/store/s3_hot.h"
#include "http/store/s3_ops.h"
#include "lib/hash.h"
#include "lib/httpd_text.h"

#define LINES_MAX 100
#define TEXT_MAX  8192 /* more than user metadata may have (2 KiB) and all other lines */

struct s3_hot {
	const struct http_hot_ask *ask;
	const char *pairs[2 * LINES_MAX + 1]; /* with a NULL at the end when all were added */
	size_t npairs, used;
	bool full;
	char text[TEXT_MAX];
};

/* ---- in place of struct http_req ---- */

static const char *line_of(const struct http_hot_ask *ask, const char *name)
{
	for (size_t i = 0; i < ask->nlines; i++)
		if (!strcasecmp(ask->lines[i].name, name))
			return ask->lines[i].value;
	return NULL;
}

const char *s3_hot_header(const struct s3_hot *hot, const char *name)
{
	return line_of(hot->ask, name);
}

static const char *keep_text(struct s3_hot *hot, const char *text, size_t len)
{
	char *at = hot->text + hot->used;

	memcpy(at, text, len + 1);
	hot->used += len + 1;
	return at;
}

int s3_hot_add(struct s3_hot *hot, const char *name, const char *value)
{
	size_t name_len, value_len;

	if (!*value) /* as http_answer() has it */
		value = " ";
	name_len = strlen(name);
	value_len = strlen(value);
	if (!http_is_token(name, name_len) || !http_is_field_value(value, value_len))
		return -EINVAL;
	hot->full |= hot->npairs == 2 * LINES_MAX || name_len + value_len + 2 > TEXT_MAX - hot->used;
	if (hot->full)
		return -ENOMEM;
	hot->pairs[hot->npairs++] = keep_text(hot, name, name_len);
	hot->pairs[hot->npairs++] = keep_text(hot, value, value_len);
	return 0;
}

/* ---- who asks ---- */

/* Nobody sends a body here: what was signed of it, if anything, is that of none. */
static bool signs_no_body(const struct sigv4 *sig)
{
	static const uint8_t of_nothing[32] = { 0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
						0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
						0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55 };

	return sig->payload == SIGV4_UNSIGNED ||
	       (sig->payload == SIGV4_SIGNED && !memcmp(sig->payload_sha256, of_nothing, sizeof(of_nothing)));
}

static bool verify(struct endpoint *ep, const struct http_hot_ask *ask, int64_t now, struct sigv4 *sig, struct token_scope *who)
{
	struct sigv4_request request = { .method = http_method_name(ask->method),
					 .target = ask->target,
					 .headers = ask->lines,
					 .nheaders = ask->nlines };
	struct users_s3 key;
	bool good;

	if (sigv4_read(sig, &request, now, NULL) || sig->kind != SIGV4_HEADER || !signs_no_body(sig) ||
	    users_s3_key(ep->users, sig->id, sig->date, sig->region, now, &key))
		return false;
	good = !sigv4_check(sig, &request, key.key);
	explicit_bzero(key.key, sizeof(key.key));
	*who = key.scope;
	return good;
}

/* ---- what is asked ---- */

static bool understand(struct s3 *s3, const struct http_hot_ask *ask)
{
	const char *domains[2] = { s3->ep->s3_domain, NULL };
	struct s3_choice choice = { .copy_source = NULL };

	if (s3_target_parse(&s3->target, ask->host, ask->target, domains, NULL) ||
	    s3_operation_of(&s3->op, ask->method, &s3->target, &choice, NULL))
		return false;
	s3->bucket = s3->target.bucket;
	s3->key = s3->target.key;
	return (s3->op->op == S3_OP_GetObject || s3->op->op == S3_OP_HeadObject) &&
	       !s3_override_unknown(s3);
}

/* A policy may ask for what is not known here. */
static void look(struct policy_ask *ask, void *looked)
{
	(void)ask;
	*(bool *)looked = true;
}

/* Refusals have words of their own, and datasets' objects a line in the audit log: not here. */
static bool allowed(struct s3 *s3)
{
	bool looked = false;
	struct policy_ask ask = { .action = s3_operation_action(s3->op, &s3->target),
				  .bucket = s3->bucket,
				  .key = s3->key,
				  .look = look,
				  .look_arg = &looked };

	return users_may(s3->ep->users, &s3->who, &ask) && !looked && !users_dataset(s3->ep->users, s3->bucket);
}

/* ---- the answer ---- */

/* The body of what is in memory, or can be at once; it lives with held. */
static struct http_cached *body_of(struct s3 *s3, const struct name_entry *entry, struct held *held)
{
	struct http_cached *body = told_body(held);
	struct told told;

	if (body || !held_ready(held, 0, entry->size))
		return body;
	told_fill(&told, s3->ep, s3->bucket, entry);
	return told_small(s3->ep, held, &told);
}

/* As s3_send() and http_answer() add to what s3_get_tell() says. */
static struct http_cached *make_answer(struct s3 *s3, const struct name_entry *entry, struct http_cached *body)
{
	static const char *const ids[] = { "x-amz-request-id", "X-Request-Id", NULL };
	json_t *meta = s3_meta_of_entry(entry);
	struct http_cached *answer = NULL;
	char etag[S3_ETAG_MAX];
	const char *type;

	if (!meta)
		return NULL;
	type = s3_get_tell(s3, entry, meta, s3_etag(entry, etag), true);
	s3_add_header(s3, "X-Content-Type-Options", "nosniff");
	s3_add_header(s3, "x-amz-id-2", s3->ep->node);
	s3->hot->pairs[s3->hot->npairs] = NULL;
	if (!s3->hot->full)
		answer = http_cached_over(body, type, s3->hot->pairs, ids);
	json_decref(meta);
	return answer;
}

/* By bucket, rights and name as they are now. */
static struct http_cached *answer_of(struct s3 *s3, struct ready_now *now, struct http_warm *warm)
{
	struct http_cached *answer = NULL, *body;
	struct endpoint *ep = s3->ep;
	struct name_entry entry;
	struct held *held;
	struct version v;

	s3->config = users_bucket(ep->users, s3->bucket);
	if (!s3->config || !allowed(s3) || !names_bucket_valid(s3->bucket) || !names_moment(ep->names, s3->bucket, &now->names) ||
	    names_get_now(ep->names, s3->bucket, s3->key, &entry) || entry.marker || entry.size > TOLD_SMALL_MAX ||
	    parts_needed(&entry) || version_parse(&v, entry.version))
		return NULL;
	held = held_hot(ep->held, &v);
	body = held ? body_of(s3, &entry, held) : NULL;
	if (body)
		answer = make_answer(s3, &entry, body);
	else
		told_warm(warm, ep, s3->bucket, &entry);
	held_put(held);
	return answer;
}

static struct http_cached *answer_anew(struct endpoint *ep, const struct http_hot_ask *ask, const struct token_scope *who,
				       const struct ready_for *whose, struct ready_now *now, struct http_warm *warm)
{
	struct s3_hot hot;
	struct s3 s3 = { .ep = ep, .hot = &hot, .who = *who };
	struct http_cached *answer;

	hot.ask = ask; /* what it has room for is not cleared */
	hot.npairs = hot.used = 0;
	hot.full = false;
	answer = understand(&s3, ask) ? answer_of(&s3, now, warm) : NULL;
	if (answer)
		ready_keep(ep, whose, now, &(struct ready_answer){ .answer = answer });
	bucket_put(s3.config);
	s3_target_free(&s3.target);
	return answer;
}

/* Which answers are alike; NULL: the line asks for something else. */
static const char *kind_of(const struct http_hot_ask *ask)
{
	static const char *const kinds[2][2] = { { "GET", "GET with checksum" }, { "HEAD", "HEAD with checksum" } };
	const char *mode = line_of(ask, "x-amz-checksum-mode");

	return mode && strcasecmp(mode, "ENABLED") ? NULL : kinds[ask->method == HTTP_HEAD][mode != NULL];
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct http_cached *s3_hot_answer(struct endpoint *ep, const struct http_hot_ask *ask, struct http_warm *warm)
{
	struct ready_now now = { .second = time(NULL), .users = users_generation(ep->users) };
	struct ready_for whose = { kind_of(ask), ask->target, ask->host, NULL };
	bool is_head = ask->method == HTTP_HEAD;
	int64_t begun = now_ns();
	struct http_cached *answer;
	struct token_scope who;
	struct sigv4 sig;

	/* Conditions and other origins have answers of their own. */
	if (!whose.kind || ask->if_none_match || ask->origin || !verify(ep, ask, now.second, &sig, &who))
		return NULL;
	whose.who = sig.id;
	answer = ready_find(ep, &whose, NULL);
	if (!answer)
		answer = answer_anew(ep, ask, &who, &whose, &now, warm);
	if (answer)
		s3_counts_add(ep->s3_counts, &(struct s3_counted){ .op = is_head ? S3_OP_HeadObject : S3_OP_GetObject,
								   .sent = is_head ? 0 : http_cached_len(answer),
								   .seconds = (double)(now_ns() - begun) / 1e9 });
	return answer;
}
