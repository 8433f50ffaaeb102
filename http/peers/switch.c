/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.c -- POST /_/peers/switch: the operator says when viewers carry each other, of one asset or of all ("*"). It is
 * kept in the registry, peers/switch, which every gateway watches: {"BUCKET/ASSET" or "*": "auto"|"on"|"off"}.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/peers_int.h"
#include "lib/access.h"
#include "lib/log.h"

#define KEY   REG_PEERS "switch"
#define TRIES 8

static const char *const modes[] = { [SENSE_AUTO] = "auto", [SENSE_ON] = "on", [SENSE_OFF] = "off" };

static int mode_of(const char *text)
{
	for (int i = 0; text && i < 3; i++)
		if (!strcmp(text, modes[i]))
			return i;
	return -1;
}

/* ---- what the registry says ---- */

/* Those that were and are not any more go by themselves again; "*" as the configuration has it. */
static void apply(struct peers *p, const json_t *before, const json_t *now)
{
	const char *asset;
	json_t *value;
	int mode = mode_of(json_string_value(json_object_get(now, "*")));

	coordinator_switch(p->coordinator, "*", mode < 0 ? (enum sense_mode)p->set.mode : (enum sense_mode)mode);
	json_object_foreach ((json_t *)before, asset, value)
		if (strcmp(asset, "*") && !json_object_get(now, asset))
			coordinator_switch(p->coordinator, asset, SENSE_AUTO);
	json_object_foreach ((json_t *)now, asset, value) {
		mode = mode_of(json_string_value(value));
		if (strcmp(asset, "*") && mode >= 0)
			coordinator_switch(p->coordinator, asset, (enum sense_mode)mode);
	}
}

void switch_apply(struct peers *p)
{
	pthread_mutex_lock(&p->lock);
	apply(p, NULL, p->switches);
	pthread_mutex_unlock(&p->lock);
}

static void changed(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct peers *p = arg;
	json_t *now = event == REG_PUT ? json_loadb(kv->value, kv->value_len, 0, NULL) : json_object();

	if (event == REG_SYNCED || strcmp(kv->key, KEY)) {
		json_decref(now);
		return;
	}
	if (!json_is_object(now)) {
		log_limited(LOG_LEVEL_WARN, 6, "the registry's %s is no JSON object; what was switched stays", KEY);
		json_decref(now);
		return;
	}
	pthread_mutex_lock(&p->lock);
	apply(p, p->switches, now);
	json_decref(p->switches);
	p->switches = now;
	pthread_mutex_unlock(&p->lock);
}

int switch_watch(struct peers *p)
{
	return registry_watch(p->opt.registry, &p->watch, KEY, changed, p);
}

/* ---- the route ---- */

struct wanted {
	struct peers *p;
	struct token_scope who;
	char asset[PEERS_ASSET_MAX];
	int mode;
};

static int change(struct registry *reg, const struct wanted *w)
{
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		struct reg_kv kv = { 0 };
		struct reg_cond as_read = { .key = KEY };
		struct reg_change put = { .key = KEY };
		json_t *o = NULL;
		char *text;

		rc = registry_get(reg, KEY, &kv);
		if (rc && rc != -ENOENT)
			return rc;
		if (!rc)
			o = json_loadb(kv.value, kv.value_len, 0, NULL);
		as_read.mod_revision = rc ? 0 : kv.mod_revision;
		if (!json_is_object(o)) {
			json_decref(o);
			o = json_object();
		}
		json_object_set_new(o, w->asset, json_string(modes[w->mode]));
		text = json_object_size(o) <= PEERS_SWITCHES_MAX ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		put.value = text;
		rc = text ? registry_txn(reg, &as_read, 1, &put, 1, NULL) : -E2BIG;
		free(text);
		json_decref(o);
		reg_kv_free(&kv);
	}
	return rc;
}

static void audit(const struct wanted *w, const struct http_req *req, int rc)
{
	char from[ADDR_PORT_STRLEN];
	struct audit_entry e = { .who = w->who.user,
				 .what = "peers.switch",
				 .on = w->asset,
				 .result = rc ? "failed" : "ok",
				 .why = rc ? "the registry did not take it" : modes[w->mode],
				 .from = access_client(req, from),
				 .request = http_id(req) };

	audit_write(w->p->opt.audit, &e);
}

static void change_work(struct http_req *req, void *arg)
{
	struct wanted *w = arg;
	int rc = change(w->p->opt.registry, w);

	audit(w, req, rc);
	if (!rc)
		http_reply_json(req, 200, json_pack("{s:s, s:s}", "asset", w->asset, "mode", modes[w->mode]));
	else if (rc == -E2BIG)
		http_reply_error(req, 409, "switches", "%d assets are switched one by one already: switch \"*\"", PEERS_SWITCHES_MAX);
	else
		http_reply_error(req, 503, "registry", "the registry did not take it: %s", registry_error());
	free(w);
}

/* "*", or BUCKET/ASSET: a name that no asset can have would be kept for nothing. */
static bool switchable(const char *asset)
{
	const char *slash = strchr(asset, '/');

	return !strcmp(asset, "*") || (slash && peers_asset_valid(asset, (size_t)(slash - asset), slash + 1));
}

enum http_next peers_switch(struct http_req *req, void *arg)
{
	struct peers *p = arg;
	struct token_scope who;
	const char *asset, *mode, *body;
	struct wanted *w;
	enum http_next next;
	size_t len;
	json_t *o;

	http_add_header(req, "Cache-Control", "no-store");
	if (!access_check(req, p->opt.users, RIGHT_ADMIN, NULL, NULL, &who))
		return HTTP_ANSWERED;
	body = http_body(req, &len);
	o = json_loadb(body ? body : "", len, JSON_REJECT_DUPLICATES, NULL);
	asset = json_string_value(json_object_get(o, "asset"));
	mode = json_string_value(json_object_get(o, "mode"));
	w = calloc(1, sizeof(*w));
	if (!w || !asset || !switchable(asset) || mode_of(mode) < 0) {
		json_decref(o);
		free(w);
		return http_reply_error(req, 400, "switch", "the body is {\"asset\": \"BUCKET/ASSET\" or \"*\", \"mode\": \"auto\", \"on\" or \"off\"}");
	}
	*w = (struct wanted){ .p = p, .who = who, .mode = mode_of(mode) };
	snprintf(w->asset, sizeof(w->asset), "%s", asset);
	json_decref(o);
	next = http_work(req, change_work, w);
	if (next == HTTP_ANSWERED)
		free(w);
	return next;
}
