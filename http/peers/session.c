/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c -- POST /_/peers/session: who may read an asset becomes a viewer of it. Nothing is kept: the token says all,
 * to any gateway.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/peers/peers_int.h"
#include "lib/access.h"
#include "lib/hash.h"

struct wish {
	const char *bucket, *asset;
	bool consent, receive, metered, cellular;
	double battery; /* 0…1; 1: not said */
};

static bool take_bool(const json_t *o, const char *key, bool absent, bool *out)
{
	const json_t *value = json_object_get(o, key);

	*out = value ? json_is_true(value) : absent;
	return !value || json_is_boolean(value) || json_is_null(value);
}

static bool wish_read(struct wish *w, const json_t *o)
{
	const json_t *battery = json_object_get(o, "battery");
	bool fine = json_is_object(o) && take_bool(o, "consent", false, &w->consent) && take_bool(o, "receive", true, &w->receive) &&
		    take_bool(o, "metered", false, &w->metered) && take_bool(o, "cellular", false, &w->cellular) &&
		    (!battery || json_is_null(battery) || json_is_number(battery));

	w->bucket = json_string_value(json_object_get(o, "bucket"));
	w->asset = json_string_value(json_object_get(o, "asset"));
	w->battery = json_is_number(battery) ? json_number_value(battery) : 1;
	return fine && w->bucket && w->asset && peers_asset_valid(w->bucket, strlen(w->bucket), w->asset);
}

/* ---- where gateways are ---- */

/* What the client calls us, without a path; "" when it does not say. */
static void own_origin(const struct http_req *req, char out[VIEWER_ORIGIN_MAX])
{
	const char *host = http_header(req, "Host"), *forwarded = http_peer_uid(req) >= 0 ? http_header(req, "X-Forwarded-Host") : NULL;

	host = forwarded ? forwarded : host;
	out[0] = '\0';
	if (host && strlen(host) < VIEWER_ORIGIN_MAX - 16 && strlen(host) == strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_"))
		snprintf(out, VIEWER_ORIGIN_MAX, "%s://%s", access_is_https(req) ? "https" : "http", host);
}

static bool is_loopback(const char *origin)
{
	const char *host = strstr(origin, "://");

	host = host ? host + 3 : origin;
	return !strncmp(host, "127.", 4) || !strncmp(host, "[::1]", 5) || !strncasecmp(host, "localhost", 9);
}

/* Of no use to this client: plain addresses to a page that came by HTTPS, loopback to one that came from elsewhere. */
static bool is_usable(const char *url, const char *own)
{
	return !strncmp(url, "https:", 6) == !strncmp(own, "https:", 6) && (!is_loopback(url) || is_loopback(own));
}

static void add_once(json_t *list, const char *url)
{
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value)
		if (!strcasecmp(json_string_value(value), url))
			return;
	if (json_array_size(list) < PEERS_URLS_MAX)
		json_array_append_new(list, json_string(url));
}

/* This one first, as the client calls it; then the others. */
static json_t *origins_of(const struct http_req *req, struct peers *p)
{
	json_t *list = json_array(), *gateways = p->opt.gateways(p->opt.arg), *gateway;
	char own[VIEWER_ORIGIN_MAX];
	size_t i;

	own_origin(req, own);
	if (*own)
		json_array_append_new(list, json_string(own));
	json_array_foreach (gateways, i, gateway) {
		const char *node = json_string_value(json_object_get(gateway, "node"));
		const json_t *url;
		size_t k;

		json_array_foreach (json_object_get(gateway, "public"), k, url)
			if (node && strcmp(node, p->node) && json_is_string(url) && is_usable(json_string_value(url), own))
				add_once(list, json_string_value(url));
	}
	json_decref(gateways);
	return list;
}

static json_t *trackers_of(const json_t *origins, const char *token)
{
	json_t *list = json_array();
	const json_t *origin;
	size_t i;

	json_array_foreach (origins, i, origin) /* http → ws, https → wss */
		if (!strncmp(json_string_value(origin), "http", 4))
			json_array_append_new(list, json_sprintf("ws%s/_/tracker?token=%s", json_string_value(origin) + 4, token));
	return list;
}

/* ---- the answer ---- */

/* What p2p-media-loader is to begin with; instructions change it. */
static json_t *settings(const struct wish *w, const char *swarm, const json_t *trackers, uint32_t ahead_ms)
{
	bool alone = !w->consent && !w->receive;

	return json_pack("{s:s, s:O, s:b, s:b, s:i}", "swarmId", swarm, "announceTrackers", trackers, "isP2PDisabled", alone,
			 "isP2PUploadDisabled", !w->consent || w->metered, "p2pDownloadTimeWindow", (int)(ahead_ms / 1000));
}

static char *session_key(struct peers *p, const char *viewer)
{
	uint8_t key[32];

	peers_secret_derive(&p->secret, "session", viewer, key);
	return base64_encode(key, sizeof(key));
}

static enum http_next answer(struct http_req *req, struct peers *p, const struct wish *w, const struct viewer_token *t, const char *token)
{
	json_t *origins = origins_of(req, p), *trackers = trackers_of(origins, token), *o;
	char *key = session_key(p, t->viewer), signer[45];
	uint32_t ahead_ms;

	pthread_mutex_lock(&p->lock);
	ahead_ms = p->set.ahead_ms;
	pthread_mutex_unlock(&p->lock);
	media_public_key(p->media, signer);
	o = json_pack("{s:s, s:s, s:s?, s:I, s:s, s:O, s:o, s:i}", "viewer", t->viewer, "token", token, "key", key, "expires",
		      (json_int_t)t->expires, "swarm", t->asset, "trackers", trackers, "gateways", origins, "report_ms", PEERS_REPORT_MS);
	json_object_set_new(o, "media", json_pack("{s:o, s:s}", "list", json_sprintf("/b/%s/weir-media.json", t->asset), "key",
						  signer));
	json_object_set_new(o, "master", json_sprintf("/b/%s/master.m3u8", t->asset));
	json_object_set_new(o, "settings", settings(w, t->asset, trackers, ahead_ms));
	/* instructions end at a moment: a viewer's clock may be wrong */
	json_object_set_new(o, "now", json_integer((json_int_t)time(NULL) * 1000));
	json_decref(trackers);
	free(key);
	p->sessions[SESSION_OPENED]++;
	return http_reply_json(req, 200, o);
}

static enum http_next open_session(struct http_req *req, struct peers *p, const struct wish *w)
{
	struct viewer_token t = { .flags = (w->consent ? GROUP_CONSENT : 0) | (w->metered ? GROUP_METERED : 0) |
					   (w->cellular ? GROUP_CELLULAR : 0) | (w->battery < 0.2 ? GROUP_BATTERY_LOW : 0) |
					   (w->consent || w->receive ? 0 : VIEWER_DEAF) };
	const char *origin = http_header(req, "Origin");
	char token[VIEWER_TOKEN_MAX], key[PEERS_ASSET_MAX + 32], client[ADDR_PORT_STRLEN];
	struct token_scope who;
	uint8_t id[PEERS_VIEWER_LEN / 2];
	int rc;

	snprintf(key, sizeof(key), "%s/weir-media.json", w->asset);
	if (!access_check(req, p->opt.users, RIGHT_READ, w->bucket, key, &who)) {
		p->sessions[SESSION_REFUSED]++;
		return HTTP_ANSWERED;
	}
	rc = home_room(p->home, access_client(req, client));
	if (rc) {
		p->sessions[SESSION_FULL]++;
		return peers_no_room(req, rc);
	}
	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), t.viewer);
	snprintf(t.asset, sizeof(t.asset), "%s/%s", w->bucket, w->asset);
	if (origin && strlen(origin) < sizeof(t.origin))
		memcpy(t.origin, origin, strlen(origin) + 1);
	pthread_mutex_lock(&p->lock);
	t.expires = time(NULL) + p->set.session_s;
	pthread_mutex_unlock(&p->lock);
	if (viewer_token_sign(token, &t, &p->secret))
		return http_reply_error(req, 400, "asset", "this asset's name or the page's origin is too long");
	return answer(req, p, w, &t, token);
}

enum http_next peers_session(struct http_req *req, void *arg)
{
	struct peers *p = arg;
	enum http_next next;
	struct wish w;
	const char *body;
	json_t *o;
	size_t len;

	http_add_header(req, "Cache-Control", "no-store");
	if (!peers_origin(req, p, NULL) || !peers_serves(req, p))
		return HTTP_ANSWERED;
	body = http_body(req, &len);
	o = json_loadb(body ? body : "", len, JSON_REJECT_DUPLICATES, NULL);
	if (wish_read(&w, o))
		next = open_session(req, p, &w);
	else
		next = http_reply_error(req, 400, "session", "the body is {\"bucket\": NAME, \"asset\": NAME} and may say consent, receive, "
					"metered, cellular (true or false) and battery (0 to 1)");
	json_decref(o);
	return next;
}
