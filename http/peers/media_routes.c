/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_routes.c -- the gateway's answers about assets: a list is signed for who may write there, assets are listed for who
 * may list the bucket, and copies are given out while no endpoint lives.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media_int.h"
#include "lib/access.h"
#include "lib/media_type.h"

#define SCAN_MS	    10000 /* a bucket is looked through again after so long */
#define SCAN_ASSETS 256

/* ---- signing ---- */

/* The object whose writing is asked for: the list. */
static bool may_write(struct http_req *req, struct media *m, const char *bucket, const char *asset)
{
	struct token_scope who;
	char key[600];

	snprintf(key, sizeof(key), "%s/" MEDIA_LIST_NAME, asset);
	return access_check(req, m->opt.users, RIGHT_WRITE, bucket, key, &who);
}

enum http_next media_sign_begin(struct http_req *req, struct media *m)
{
	return may_write(req, m, http_param(req, "bucket"), http_param(req, "asset")) ? HTTP_CONTINUE : HTTP_ANSWERED;
}

enum http_next media_sign_end(struct http_req *req, struct media *m)
{
	const char *bucket = http_param(req, "bucket"), *name = http_param(req, "asset");
	char asset[640], why[160] = "", key[45], *text;
	struct media_asset *parsed = NULL;
	uint8_t seed[32];
	const char *body;
	bool named, keyed;
	size_t len;

	if (!may_write(req, m, bucket, name))
		return HTTP_ANSWERED;
	snprintf(asset, sizeof(asset), "%s/%s", bucket, name);
	body = http_body(req, &len);
	if (media_parse(&parsed, body ? body : "", len, why))
		return http_reply_error(req, 400, "list", "this is no list of segments: %s", why);
	named = !strcmp(parsed->name, asset);
	media_asset_free(parsed);
	if (!named)
		return http_reply_error(req, 400, "list", "the list is of another asset than the path");
	pthread_mutex_lock(&m->lock);
	keyed = m->keyed;
	memcpy(seed, m->seed, sizeof(seed));
	memcpy(key, m->public_key, sizeof(key));
	pthread_mutex_unlock(&m->lock);
	text = keyed ? media_key_wrap(seed, key, body, len) : NULL;
	explicit_bzero(seed, sizeof(seed));
	if (!text)
		return http_reply_error(req, 503, "no_peers_secret", "the registry gave no secret to sign with yet; try again");
	media_set_put(media_set_get(m, asset)); /* it will be here soon */
	return http_reply_owned(req, 200, "application/json", text, strlen(text));
}

/* ---- listing ---- */

static json_t *show(const struct media_set *set)
{
	const struct media_asset *a = set->asset;
	json_t *renditions = json_array();
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < a->nrenditions; i++) {
		const struct media_rendition *r = &a->renditions[i];

		for (uint32_t k = 0; k < r->nsegments; k++)
			bytes += r->segments[k].bytes;
		json_array_append_new(renditions, json_pack("{s:s, s:I, s:I, s:I, s:s, s:I}", "name", r->name, "bandwidth",
							    (json_int_t)r->bandwidth, "width", (json_int_t)r->width, "height",
							    (json_int_t)r->height, "codecs", r->codecs, "segments",
							    (json_int_t)r->nsegments));
	}
	return json_pack("{s:s, s:f, s:o, s:I}", "asset", a->name, "duration", a->duration_ms / 1000.0, "renditions", renditions, "bytes",
			 (json_int_t)bytes);
}

/* Assets of the bucket become known: their names are asked for, and each is read when it is not known yet. */
static void scan(struct media *m, const char *bucket)
{
	char(*names)[MEDIA_ASSET_MAX] = calloc(SCAN_ASSETS, sizeof(*names));
	size_t n = 0;
	int rc = 0;

	if (!names || pthread_mutex_trylock(&m->scan_lock)) { /* somebody else does */
		free(names);
		return;
	}
	if (strcmp(m->scanned, bucket) || media_now_ms() - m->scanned_ms >= SCAN_MS) {
		n = media_fetch_names(m, bucket, names, SCAN_ASSETS);
		m->scanned_ms = media_now_ms();
		snprintf(m->scanned, sizeof(m->scanned), "%s", bucket);
	}
	for (size_t i = 0; i < n && rc != -EAGAIN; i++) { /* no endpoint answers: no other name would be answered either */
		struct media_set *known = media_set_get(m, names[i]), *set = NULL;

		rc = known || m->stop ? 0 : media_fetch(m, names[i], NULL, &set);
		if (!rc && set)
			media_keep(m, names[i], set);
		media_set_put(known);
	}
	pthread_mutex_unlock(&m->scan_lock);
	free(names);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct media_set *const *)a)->asset->name, (*(struct media_set *const *)b)->asset->name);
}

static json_t *list_known(struct media *m, struct token_scope *who)
{
	struct media_set *sets[MEDIA_KNOWN_MAX];
	json_t *all = json_array();
	size_t n = 0;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->nknown && n < MEDIA_KNOWN_MAX; i++) {
		if (!m->known[i]->set)
			continue;
		m->known[i]->wanted = true; /* is it there still? */
		sets[n] = m->known[i]->set;
		atomic_fetch_add(&sets[n++]->refs, 1);
	}
	pthread_mutex_unlock(&m->lock);
	qsort(sets, n, sizeof(*sets), by_name);
	for (size_t i = 0; i < n; i++) {
		const char *name = sets[i]->asset->name, *slash = strchr(name, '/');
		char bucket[64], key[MEDIA_ASSET_MAX + 20];

		snprintf(bucket, sizeof(bucket), "%.*s", (int)(slash - name), name);
		snprintf(key, sizeof(key), "%s/" MEDIA_LIST_NAME, slash + 1);
		if (users_allow(m->opt.users, who, RIGHT_LIST, bucket, key))
			json_array_append_new(all, show(sets[i]));
		media_set_put(sets[i]);
	}
	return all;
}

static void list_work(struct http_req *req, void *arg)
{
	const char *bucket = http_query(req, "bucket") ? http_query(req, "bucket") : "media";
	struct media *m = arg;
	struct token_scope who;
	int rc = access_identify(req, m->opt.users, &who);

	if (rc && rc != -ENOENT) {
		access_refuse(req, rc);
		return;
	}
	if (rc)
		memset(&who, 0, sizeof(who));
	/* looking through a bucket costs requests, too */
	if (token_name_valid(bucket) && users_allow(m->opt.users, &who, RIGHT_LIST, bucket, ""))
		scan(m, bucket);
	http_reply_json(req, 200, list_known(m, &who));
}

enum http_next media_list_begin(struct http_req *req, struct media *m)
{
	return http_work(req, list_work, m);
}

/* ---- copies ---- */

bool media_reply(struct http_req *req, struct media *m, const char *bucket, const char *key)
{
	const struct media_copy *c = NULL;
	struct media_set *set;

	if (!m || (http_method(req) != HTTP_GET && http_method(req) != HTTP_HEAD))
		return false;
	set = media_set_find(m, bucket, key, &c);
	if (!set)
		return false;
	http_add_header(req, "ETag", c->etag);
	http_add_header(req, "Cache-Control", "no-cache");
	http_add_header(req, "X-Weir-From", "copy");
	/* it is shown by the gateway's own host: nothing in it may run there */
	http_add_header(req, "Content-Security-Policy", MEDIA_TYPE_SANDBOX);
	if (http_conditions(req, c->etag) == 304)
		http_reply(req, 304, NULL, NULL, 0);
	else
		http_reply(req, 200, media_type_of(key)->type, c->data, c->len);
	media_set_put(set);
	return true;
}
