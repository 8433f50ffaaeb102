/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c -- what viewers' routes have in common: origins (the Fetch standard's CORS protocol), tokens, where somebody
 * comes from.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/peers/peers_int.h"
#include "lib/access.h"

bool peers_serves(struct http_req *req, struct peers *p)
{
	char why[sizeof(p->said)];

	if (p->ready && !p->stopping)
		return true;
	pthread_mutex_lock(&p->lock);
	memcpy(why, p->said, sizeof(why));
	pthread_mutex_unlock(&p->lock);
	http_add_header(req, "Retry-After", "2");
	http_reply_error(req, 503, "peers", p->stopping ? "this gateway stops: another one serves you" : "the peers secret is not known yet%s%s: "
			 "this gateway asks the registry for it; try again in a moment", *why ? " — " : "", why);
	return false;
}

static bool listed(const json_t *list, const char *origin)
{
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value)
		if (!strcmp(json_string_value(value), "*") || !strcasecmp(json_string_value(value), origin))
			return true;
	return false;
}

bool peers_origin(struct http_req *req, struct peers *p, const char *also)
{
	const char *origin = http_header(req, "Origin");
	bool may;

	if (!origin)
		return true;
	if (http_header_repeated(req, "Origin")) {
		http_reply_error(req, 400, "origin", "there are two headers Origin");
		return false;
	}
	pthread_mutex_lock(&p->lock);
	may = listed(p->set.origins, origin) || listed(p->known, origin);
	pthread_mutex_unlock(&p->lock);
	http_add_header(req, "Vary", "Origin");
	if (!may && !access_origin_own(req) && !(also && *also && !strcasecmp(also, origin))) {
		http_reply_error(req, 403, "origin", "pages of this origin may not open sessions here (gateway.peers.origins)");
		return false;
	}
	http_add_header(req, "Access-Control-Allow-Origin", origin);
	http_add_header(req, "Access-Control-Expose-Headers", "Retry-After, X-Request-Id");
	return true;
}

bool peers_token(struct http_req *req, struct peers *p, struct viewer_token *t)
{
	const char *text = http_query(req, "token");
	int rc;

	if (!peers_serves(req, p))
		return false;
	http_add_header(req, "Cache-Control", "no-store");
	rc = text ? viewer_token_verify(t, text, &p->secret, time(NULL)) : -ENOENT;
	if (!rc)
		return peers_origin(req, p, t->origin);
	/* A page shall be able to read why: that says nothing to anybody else. */
	if (!peers_origin(req, p, http_header(req, "Origin")))
		return false;
	http_reply_error(req, 401, rc == -ETIME ? "expired" : "token", "%s; POST /_/peers/session gives one",
			 rc == -ETIME	? "the viewer's token has expired" :
			 rc == -ENOENT	? "the query has no token" :
			 rc == -EBADMSG ? "the viewer's token was not signed here" :
					  "that is no viewer's token");
	return false;
}

/* A part of a path that people see: no controls (nor those of ISO 6429's 8 bits, which terminals obey), no dots that lead elsewhere. */
static bool path_valid(const char *asset)
{
	size_t len = strlen(asset);

	if (!len || asset[0] == '/' || asset[len - 1] == '/')
		return false;
	for (const unsigned char *at = (const unsigned char *)asset; *at; at++)
		if (*at < 0x20 || *at == 0x7f || *at == '\\' || *at == '?' || *at == '#' || (at[0] == 0xc2 && at[1] < 0xa0))
			return false;
	for (const char *part = asset; part; part = strchr(part, '/')) {
		size_t n;

		part += *part == '/';
		n = strcspn(part, "/");
		if (!n || (n == 1 && *part == '.') || (n == 2 && !strncmp(part, "..", 2)))
			return false;
	}
	return true;
}

bool peers_asset_valid(const char *bucket, size_t len, const char *asset)
{
	char name[64];

	if (len >= sizeof(name) || len + 1 + strlen(asset) >= PEERS_ASSET_MAX)
		return false;
	memcpy(name, bucket, len);
	name[len] = '\0';
	return token_name_valid(name) && path_valid(asset);
}

char *peers_facts(const struct http_req *req, struct peers *p, const struct viewer_token *t, char client[ADDR_PORT_STRLEN])
{
	struct addr a = { .family = AF_UNSPEC };
	uint32_t prefix = 0, as = 0;
	json_t *o;
	char *text;

	access_client(req, client);
	if (!addr_parse(&a, client))
		network_of(p->db, &a, p->network_key, &prefix, &as);
	o = json_pack("{s:I, s:I, s:b, s:b, s:b, s:b, s:o}", "prefix", (json_int_t)prefix, "as", (json_int_t)as, "consent",
		      !!(t->flags & GROUP_CONSENT), "receive", !(t->flags & VIEWER_DEAF), "metered",
		      !!(t->flags & GROUP_METERED), "cellular", !!(t->flags & GROUP_CELLULAR), "battery",
		      t->flags & GROUP_BATTERY_LOW ? json_real(0.0) : json_null());
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

enum http_next peers_no_room(struct http_req *req, int rc)
{
	if (rc == -EACCES)
		return http_reply_error(req, 403, "excluded", "this viewer was excluded for what it sent to others");
	if (rc == -EUSERS) {
		http_add_header(req, "Retry-After", "10");
		return http_reply_error(req, 429, "address", "too many viewers of one address (gateway.peers.per_address)");
	}
	http_add_header(req, "Retry-After", "10");
	return http_reply_error(req, 503, "full", "this gateway holds as many viewers as it may (gateway.peers.viewers)");
}

static enum http_next allow(struct http_req *req)
{
	http_add_header(req, "Access-Control-Allow-Methods", "GET, POST");
	http_add_header(req, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Weir-CSRF");
	http_add_header(req, "Access-Control-Max-Age", "600");
	return http_reply(req, 204, NULL, NULL, 0);
}

enum http_next peers_preflight(struct http_req *req, void *arg)
{
	return peers_origin(req, arg, NULL) ? allow(req) : HTTP_ANSWERED;
}

enum http_next peers_preflight_token(struct http_req *req, void *arg)
{
	struct viewer_token t;

	return peers_token(req, arg, &t) ? allow(req) : HTTP_ANSWERED;
}
