/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_fetch.c -- lists, playlists and init segments are read from an endpoint, with a token of this gateway's own, and
 * again only when their ETag is another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/media_int.h"
#include "lib/log.h"

#define TIMEOUT_MS 5000
#define TRIES	   3
#define TOKEN_S	   60

/* The address of an object (or of a listing, with its query) at an endpoint that lives; malloc'ed. */
static char *address(struct media *m, const char *bucket, const char *key, const char *query)
{
	struct token_scope scope = { .user = "weir-media", .rights = RIGHT_READ | RIGHT_LIST, .expires = time(NULL) + TOKEN_S,
				     .via_gateway = true };
	char endpoint[256], token[TOKEN_MAX], *encoded, *url = NULL;

	if (m->opt.pick(m->opt.arg, endpoint))
		return NULL;
	snprintf(scope.bucket, sizeof(scope.bucket), "%s", bucket);
	if (users_sign(m->opt.users, &scope, token))
		return NULL;
	encoded = http_percent_encode(key, true);
	if (encoded && asprintf(&url, "%s/b/%s/%s?%st=%s", endpoint, bucket, encoded, query, token) < 0)
		url = NULL;
	free(encoded);
	return url;
}

/* One GET, at several endpoints when need be. etag: in, what is had already (""); the answer is the caller's to free. The
 * status, or -EAGAIN. */
static int get(struct media *m, const char *bucket, const char *key, const char *query, const char *etag, size_t max,
	       struct httpc_answer *answer)
{
	char match[120];
	const char *const headers[] = { match, NULL };
	struct httpc_call call = { .headers = *etag ? headers : NULL, .body_max = max, .timeout_ms = TIMEOUT_MS, .stop = &m->stop };

	snprintf(match, sizeof(match), "If-None-Match: %.80s", etag);
	for (int i = 0; i < TRIES && !m->stop; i++) {
		char *url = address(m, bucket, key, query);
		int rc;

		if (!url)
			return -EAGAIN;
		call.url = url;
		memset(answer, 0, sizeof(*answer));
		rc = httpc_do(m->opt.client, &call, answer);
		free(url);
		if (!rc && answer->status / 100 != 5)
			return (int)answer->status;
		if (rc == -EMSGSIZE)
			return 413;
		httpc_answer_free(answer);
		memset(answer, 0, sizeof(*answer));
	}
	return -EAGAIN;
}

static const struct media_copy *copy_of(const struct media_set *s, const char *name)
{
	for (size_t i = 0; s && i < s->ncopies; i++)
		if (!strcmp(s->copies[i].name, name))
			return &s->copies[i];
	return NULL;
}

static int add_copy(struct media_set *s, const char *name, const char *etag, const char *data, size_t len)
{
	struct media_copy *c = &s->copies[s->ncopies];

	if (s->ncopies == MEDIA_COPIES_MAX)
		return -EBADMSG;
	c->data = malloc(len + 1);
	if (!c->data)
		return -EAGAIN;
	memcpy(c->data, data, len);
	c->data[len] = '\0';
	c->len = len;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->etag, sizeof(c->etag), "%s", etag);
	s->bytes += len;
	s->ncopies++;
	return 0;
}

/* One object into the set, unchanged from `last` when it is the same there. *changed is set when it is not. fixed: its key
 * says its content. */
static int fetch_copy(struct media *m, const char *asset, const char *name, bool fixed, const struct media_set *last,
		      struct media_set *s, bool *changed)
{
	const struct media_copy *had = copy_of(last, name);
	char bucket[64], key[MEDIA_ASSET_MAX + 130];
	struct httpc_answer answer = { 0 };
	int rc;

	if (had && fixed)
		return add_copy(s, name, had->etag, had->data, had->len);
	snprintf(bucket, sizeof(bucket), "%.*s", (int)strcspn(asset, "/"), asset);
	snprintf(key, sizeof(key), "%s/%s", strchr(asset, '/') + 1, name);
	rc = get(m, bucket, key, "", had ? had->etag : "", s->ncopies ? MEDIA_COPY_MAX : MEDIA_LIST_MAX, &answer);
	if (rc == 304 && had) {
		rc = add_copy(s, name, had->etag, had->data, had->len);
	} else if (rc == 200) {
		*changed = true;
		rc = add_copy(s, name, answer.etag, answer.body ? answer.body : "", answer.len);
	} else if (rc == 404) {
		*changed |= had != NULL;
		rc = -ENOENT;
	} else {
		rc = rc < 0 ? rc : -EBADMSG;
	}
	httpc_answer_free(&answer);
	return rc;
}

int media_set_parse(struct media *m, const char *asset, struct media_set *s, char why[160])
{
	char key[45], *payload;
	int rc;

	media_public_key(m, key);
	payload = media_key_unwrap(key, s->copies[0].data, s->copies[0].len, why);
	rc = payload ? media_parse(&s->asset, payload, strlen(payload), why) : -EBADMSG;

	free(payload);
	if (!rc && strcmp(s->asset->name, asset)) {
		snprintf(why, 160, "it is the list of %.120s", s->asset->name);
		rc = -EBADMSG;
	}
	for (uint32_t i = 0; !rc && i < s->asset->nrenditions; i++)
		s->bytes += s->asset->renditions[i].nsegments * sizeof(struct media_segment);
	return rc ? -EBADMSG : 0;
}

/* Playlists and init segments; one that is missing is left out: the list alone is needed. */
static int fetch_rest(struct media *m, const char *asset, const struct media_set *last, struct media_set *s, bool *changed)
{
	static const char *const loose[] = { "master.m3u8", "manifest.mpd" };
	int rc = 0;

	for (size_t i = 0; i < 2 && rc != -EAGAIN; i++)
		rc = fetch_copy(m, asset, loose[i], false, last, s, changed);
	for (uint32_t i = 0; i < s->asset->nrenditions && rc != -EAGAIN; i++) {
		const struct media_rendition *r = &s->asset->renditions[i];
		bool fixed = !*changed; /* the list is the same: so are these */

		rc = fetch_copy(m, asset, r->playlist, fixed, last, s, changed);
		if (rc != -EAGAIN && *r->init)
			rc = fetch_copy(m, asset, r->init, fixed, last, s, changed);
	}
	return rc == -EAGAIN ? rc : 0;
}

int media_fetch(struct media *m, const char *asset, struct media_set *last, struct media_set **out)
{
	struct media_set *s = calloc(1, sizeof(*s));
	char why[160] = "";
	bool changed = false;
	int rc;

	if (!s)
		return -EAGAIN;
	s->refs = 1;
	rc = fetch_copy(m, asset, MEDIA_LIST_NAME, false, last, s, &changed);
	if (!rc)
		rc = media_set_parse(m, asset, s, why);
	if (*why)
		log_limited(LOG_LEVEL_WARN, 30, "media: %s/" MEDIA_LIST_NAME ": %s", asset, why);
	if (!rc)
		rc = fetch_rest(m, asset, last, s, &changed);
	if (!rc && last && !changed) {
		media_set_put(s);
		atomic_fetch_add(&last->refs, 1);
		s = last;
	}
	if (rc)
		media_set_put(s);
	else
		*out = s;
	return rc;
}

/* The first key after all of an asset's is the next asset's: '0' follows '/'. */
size_t media_fetch_names(struct media *m, const char *bucket, char (*out)[MEDIA_ASSET_MAX], size_t max)
{
	char after[MEDIA_ASSET_MAX] = "", query[MEDIA_ASSET_MAX * 3 + 32];
	size_t n = 0;
	bool more = true;

	while (more && n < max && !m->stop) {
		char *encoded = http_percent_encode(after, false);
		struct httpc_answer answer = { 0 };
		const char *key = NULL;
		json_t *page = NULL;

		snprintf(query, sizeof(query), "limit=1&after=%s&", encoded ? encoded : "");
		free(encoded);
		if (get(m, bucket, "", query, "", 65536, &answer) == 200)
			page = json_loadb(answer.body ? answer.body : "", answer.len, 0, NULL);
		key = json_string_value(json_object_get(json_array_get(json_object_get(page, "objects"), 0), "key"));
		more = key && strlen(bucket) + strlen(key) + 3 < MEDIA_ASSET_MAX;
		if (more) {
			snprintf(after, sizeof(after), "%.*s%s", (int)strcspn(key, "/"), key, strchr(key, '/') ? "0" : "");
			if (strchr(key, '/'))
				snprintf(out[n++], MEDIA_ASSET_MAX, "%s/%.*s", bucket, (int)strcspn(key, "/"), key);
		}
		json_decref(page);
		httpc_answer_free(&answer);
	}
	return n;
}
