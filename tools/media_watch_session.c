/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_session.c -- a session at a gateway, the signed list of segments, reports.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"

#define LIST_MAX      (64u << 20)
#define LIST_WAIT_MS  60000 /* for the list, while no endpoint answers */
#define REPORT_MS     2000  /* when nothing else is said */
#define REPORT_LEAST  500
#define CALL_MS	      4000

/* ---- which gateway --------------------------------------------------------------------------- */

const char *viewer_gateway(struct viewer *v, size_t *at)
{
	size_t now;

	pthread_mutex_lock(&v->lock);
	now = v->gateway;
	pthread_mutex_unlock(&v->lock);
	if (at)
		*at = now;
	return v->gateways[now];
}

void viewer_gateway_failed(struct viewer *v, size_t at)
{
	pthread_mutex_lock(&v->lock);
	if (v->gateway == at && v->ngateways > 1) {
		v->gateway = (at + 1) % v->ngateways;
		v->resync = true;
	}
	pthread_mutex_unlock(&v->lock);
}

char *viewer_route(const char *base, const char *path, const char *token)
{
	char *url = NULL;

	return asprintf(&url, "%s%s?token=%s", base, path, web_part(token, false)) < 0 ? NULL : url;
}

/* ---- the session ----------------------------------------------------------------------------- */

static void keep_gateways(struct viewer *v, const json_t *list)
{
	const json_t *one;
	size_t i;

	v->gateways[v->ngateways++] = strdup(web_base(v->web));
	json_array_foreach (list, i, one) {
		const char *url = json_string_value(one);
		bool known = !url || (strncmp(url, "http://", 7) && strncmp(url, "https://", 8));

		for (size_t k = 0; !known && k < v->ngateways; k++)
			known = !strcmp(v->gateways[k], url);
		if (!known && v->ngateways < VIEWER_GATEWAYS)
			v->gateways[v->ngateways++] = strdup(url);
	}
}

static int keep_session(struct viewer *v, const json_t *o)
{
	const json_t *media = json_object_get(o, "media");
	const char *key = js_text(o, "key", ""), *token = js_text(o, "token", "");
	long n = base64_decode(key, strlen(key), v->key, sizeof(v->key));

	if (n < 16 || !*token || !*js_text(media, "list", ""))
		return cmd_fail("%s does not answer as a gateway of this version does: no token, key or list in its session",
				web_base(v->web));
	v->key_len = (size_t)n;
	v->token = strdup(token);
	v->list_path = strdup(js_text(media, "list", ""));
	v->list_key = strdup(js_text(media, "key", ""));
	snprintf(v->name, sizeof(v->name), "%.16s", js_text(o, "viewer", "?"));
	v->report_ms = js_num(o, "report_ms") >= REPORT_LEAST ? (int64_t)js_num(o, "report_ms") : REPORT_MS;
	keep_gateways(v, json_object_get(o, "gateways"));
	return v->token && v->list_path && v->list_key ? CMD_OK : cmd_fail("out of memory");
}

int viewer_session(struct viewer *v)
{
	const char *slash = strchr(v->opt.asset, '/');
	char bucket[64];
	struct web_call call = { .doing = "watch", .method = "POST", .path = "/_/peers/session", .type = "application/json" };
	json_t *answer = NULL;
	int rc;

	snprintf(bucket, sizeof(bucket), "%.*s", (int)(slash - v->opt.asset), v->opt.asset);
	call.json = json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:n}", "bucket", bucket, "asset", slash + 1, "consent",
			      v->opt.consent, "receive", v->opt.receive, "metered", 0, "cellular", 0, "battery");
	rc = web_json(v->web, &call, &answer);
	if (!rc)
		rc = keep_session(v, answer);
	json_decref(answer);
	return rc;
}

/* ---- the signed list ------------------------------------------------------------------------- */

/* Ed25519 (RFC 8032) over the payload's text. */
static bool signed_by(const char *key64, const char *signature64, const char *payload)
{
	uint8_t key[48], signature[80];
	long nkey = base64_decode(key64, strlen(key64), key, sizeof(key)),
	     nsig = base64_decode(signature64, strlen(signature64), signature, sizeof(signature));
	EVP_PKEY *pkey = nkey == 32 ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32) : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = pkey && ctx && nsig == 64 && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
		    EVP_DigestVerify(ctx, signature, 64, (const uint8_t *)payload, strlen(payload)) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return good;
}

/* Below the asset's folder, and not out of it. */
static char *uri_of(const char *uri)
{
	return *uri && !strstr(uri, "..") && !strstr(uri, "://") && *uri != '/' ? strdup(uri) : NULL;
}

static int take_segments(struct viewer_rendition *r, const json_t *list)
{
	const json_t *o;
	double start = 0;
	size_t i;

	r->nsegments = (uint32_t)json_array_size(list);
	r->segments = calloc(r->nsegments ? r->nsegments : 1, sizeof(*r->segments));
	if (!r->segments || !r->nsegments)
		return -EINVAL;
	json_array_foreach (list, i, o) {
		struct viewer_segment *s = &r->segments[i];
		double duration = js_num(o, "duration");

		s->uri = uri_of(js_text(o, "uri", ""));
		s->n = (uint32_t)json_integer_value(json_object_get(o, "n"));
		s->bytes = (uint32_t)json_integer_value(json_object_get(o, "bytes"));
		if (!s->uri || !(duration > 0 && duration < 3600) || s->n != r->segments[0].n + i || !s->bytes ||
		    hex_decode(js_text(o, "sha256", ""), s->sha256, sizeof(s->sha256)))
			return -EINVAL;
		s->start_ms = (int64_t)(start * 1000 + 0.5);
		start += duration;
		s->duration_ms = (uint32_t)((int64_t)(start * 1000 + 0.5) - s->start_ms);
	}
	return 0;
}

static int take_list(struct viewer *v, const json_t *payload)
{
	const json_t *list = json_object_get(payload, "renditions"), *o;
	const struct viewer_segment *last;
	size_t i;

	if (strcmp(js_text(payload, "asset", ""), v->opt.asset))
		return cmd_fail("the signed list is that of another asset, %s", web_safe(js_text(payload, "asset", "?")));
	v->nrenditions = json_array_size(list);
	v->renditions = calloc(v->nrenditions ? v->nrenditions : 1, sizeof(*v->renditions));
	if (!v->renditions || !v->nrenditions)
		return cmd_fail("the signed list has no rendition: make the asset again (weir media add)");
	v->mine = SIZE_MAX;
	json_array_foreach (list, i, o) {
		struct viewer_rendition *r = &v->renditions[i];

		snprintf(r->name, sizeof(r->name), "%.31s", js_text(o, "name", "?"));
		r->bandwidth = (uint32_t)json_integer_value(json_object_get(o, "bandwidth"));
		if (take_segments(r, json_object_get(o, "segments")))
			return cmd_fail("the signed list is broken in rendition %s: make the asset again (weir media add)",
					web_safe(r->name));
		if (v->mine == SIZE_MAX && (!v->opt.rendition || !strcmp(v->opt.rendition, r->name)))
			v->mine = i;
	}
	if (v->mine == SIZE_MAX)
		return cmd_fail("%s has no rendition %s (weir media show NAME lists them)", v->opt.asset, v->opt.rendition);
	last = &v->renditions[v->mine].segments[v->renditions[v->mine].nsegments - 1];
	v->duration_ms = last->start_ms + last->duration_ms;
	return CMD_OK;
}

static int open_list(struct viewer *v, const struct viewer_bytes *b)
{
	json_t *o = json_loadb((const char *)b->data, b->len, 0, NULL), *payload = NULL;
	const char *text = js_text(o, "payload", "");
	int rc;

	if (strcmp(js_text(o, "key", v->list_key), v->list_key) || !signed_by(v->list_key, js_text(o, "signature", ""), text))
		rc = cmd_fail("the list of segments of %s is not signed by this installation: make the asset again (weir media add)",
			      v->opt.asset);
	else if (!(payload = json_loads(text, 0, NULL)))
		rc = cmd_fail("the signed list of %s is no JSON: make the asset again (weir media add)", v->opt.asset);
	else
		rc = take_list(v, payload);
	json_decref(payload);
	json_decref(o);
	return rc;
}

/* From "weir-tcp", asset and rendition: browsers are in other swarms. */
static void name_swarm(struct viewer *v)
{
	char text[512], encoded[64];
	uint8_t digest[32];

	snprintf(text, sizeof(text), "weir-tcp %s %s", v->opt.asset, v->renditions[v->mine].name);
	sha256_once(text, strlen(text), digest);
	base64url_encode(digest, sizeof(digest), encoded);
	snprintf(v->swarm, sizeof(v->swarm), "%.*s", VIEWER_ID, encoded);
	viewer_random_id(v->peer_id, "-WR0001-");
}

int viewer_list(struct viewer *v)
{
	const struct timespec pause = { .tv_sec = 1 };
	struct viewer_bytes *b = NULL;
	int64_t until = viewer_now() + LIST_WAIT_MS;
	int rc;

	while ((rc = viewer_get(v, v->list_path, LIST_MAX, &b)) != 200 && !v->quit) {
		viewer_bytes_put(b);
		b = NULL;
		if (rc == 404)
			return cmd_fail("%s is no asset: %s is not there (weir media ls shows what is; weir media add makes one)",
					v->opt.asset, v->list_path);
		if (rc == 401 || rc == 403)
			return cmd_fail("%s may not be read (%d): weir login %s, or ask its owner", v->opt.asset, rc, web_base(v->web));
		if (viewer_now() > until)
			return cmd_fail("the list of segments of %s does not come within %d s (%s %d); are the endpoints up? weir status",
					v->opt.asset, LIST_WAIT_MS / 1000, rc < 0 ? strerror(-rc) : "status", rc < 0 ? 0 : rc);
		nanosleep(&pause, NULL);
	}
	rc = rc == 200 ? open_list(v, b) : CMD_FAILED;
	viewer_bytes_put(b);
	if (!rc)
		name_swarm(v);
	return rc;
}

/* ---- reports --------------------------------------------------------------------------------- */

static json_t *have_json(const struct viewer *v)
{
	struct viewer_range ranges[VIEWER_RANGES];
	size_t n = viewer_have(v, ranges, VIEWER_RANGES);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("[i, i, i]", (int)ranges[i].rendition, (int)ranges[i].first, (int)ranges[i].last));
	return list;
}

/* Under the lock. */
static json_t *report(struct viewer *v)
{
	const struct viewer_rendition *r = &v->renditions[v->mine];
	json_t *peers = json_array(), *from = json_object(), *bad = json_array();
	size_t at = viewer_at(v, v->pos_ms);
	json_t *o;

	for (size_t i = 0; i < v->npeers; i++) {
		const struct viewer_peer *p = &v->peers[i];

		if (*p->id && !p->bad && (*p->address || p->sent))
			json_array_append_new(peers, json_string(p->id));
		if (p->received)
			json_object_set_new(from, p->id, json_integer((json_int_t)p->received));
	}
	for (size_t i = 0; i < v->bad.n; i++)
		json_array_append_new(bad, json_string(v->bad.id[i]));
	o = json_pack("{s:I, s:I, s:f, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:b, s:I}", "r",
		      (json_int_t)v->mine, "n", (json_int_t)r->segments[0].n + (json_int_t)at, "pos", (double)v->pos_ms / 1e3,
		      "buffer", (json_int_t)viewer_buffered(v), "have", have_json(v), "down_server", (json_int_t)v->count.server,
		      "down_peers", (json_int_t)v->count.peers, "up", (json_int_t)v->count.up, "stalls", (json_int_t)v->count.stalls,
		      "stall_ms", (json_int_t)v->count.stall_ms, "failed", (json_int_t)v->count.failed, "slow", v->slow, "rtt",
		      v->rtt_ms, "peers", peers, "bad", bad, "from", from, "resync", v->resync,
		      "epoch", (json_int_t)v->told.epoch);
	v->resync = false;
	v->slow = 0;
	return o;
}

static void send_report(struct viewer *v)
{
	struct httpc_answer answer;
	struct httpc_call call = { .method = "POST", .timeout_ms = CALL_MS, .stop = &v->quit };
	json_t *o;
	char *text, *url;
	int64_t began = viewer_now();
	size_t at;
	int rc;

	pthread_mutex_lock(&v->lock);
	o = report(v);
	pthread_mutex_unlock(&v->lock);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	url = viewer_route(viewer_gateway(v, &at), "/_/peers/report", v->token);
	if (text && url) {
		call.url = url;
		call.body = text;
		call.body_len = strlen(text);
		viewer_trace(v, "report", "out", text, strlen(text));
		rc = httpc_do(web_client(v->web), &call, &answer);
		if (!rc && answer.status / 100 != 2)
			viewer_trace(v, "report", "in", answer.body ? answer.body : "", answer.len);
		pthread_mutex_lock(&v->lock);
		if (!rc && answer.status / 100 == 2)
			v->rtt_ms = (double)(viewer_now() - began);
		else
			v->resync = v->resync || rc != 0;
		pthread_mutex_unlock(&v->lock);
		httpc_answer_free(&answer);
		if (rc && !v->quit)
			viewer_gateway_failed(v, at);
	}
	free(text);
	free(url);
}

/* When it is time, or at once when all instructions are asked for again. */
void *viewer_report_thread(void *arg)
{
	struct viewer *v = arg;
	int64_t at = 0, wait;

	while (!v->quit) {
		struct timespec pause = { .tv_nsec = 100 * 1000000l };

		pthread_mutex_lock(&v->lock);
		wait = at + (v->resync ? REPORT_LEAST : v->report_ms) - viewer_now();
		pthread_mutex_unlock(&v->lock);
		if (wait <= 0) {
			at = viewer_now();
			send_report(v);
		}
		nanosleep(&pause, NULL);
	}
	return NULL;
}
