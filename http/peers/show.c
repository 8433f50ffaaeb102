/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show.c -- GET /_/peers, /_/peers/groups, /_/peers/top: the record, for people. Each gateway knows the assets that it owns:
 * the others are asked on their inside listeners, with the caller's own credentials. Who does not answer is named: as
 * "silent" of /_/peers, in the header X-Weir-Silent of the two lists.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/peers_int.h"
#include "lib/access.h"

#define ASK_MS	    1500
#define ANSWER_MAX  (32u << 20)
#define LOOKS_MAX   4 /* at once: each holds one of the server's workers */
#define TOP_DEFAULT 20
#define TOP_MAX	    1000

enum kind { ASSETS, GROUPS, TOP };
static const char *const paths[] = { "/_/peers", "/_/peers/groups", "/_/peers/top" };

struct look {
	struct peers *p;
	enum kind kind;
	char asset[PEERS_ASSET_MAX];
	char by[8]; /* up, down, stalls */
	size_t max;
	char *credentials; /* NULL: this gateway alone is asked */
	json_t *found, *silent;
};

static void look_free(struct look *l)
{
	l->p->looking--;
	free(l->credentials);
	json_decref(l->found);
	json_decref(l->silent);
	free(l);
}

/* ---- this gateway's ---- */

static json_t *own_assets(struct peers *p)
{
	json_t *answer = coordinator_assets(p->coordinator), *asset;
	json_t *list = json_incref(json_object_get(answer, "assets"));
	json_t *out = json_array();
	size_t i;

	json_array_foreach (list, i, asset) {
		/* one that another owns by now is kept for a while, empty */
		if (!json_integer_value(json_object_get(asset, "viewers")) &&
		    !exchange_owns(p->exchange, json_string_value(json_object_get(asset, "asset"))))
			continue;
		json_object_set_new(asset, "owner", json_string(p->node));
		json_array_append(out, asset);
	}
	json_decref(list);
	json_decref(answer);
	return out;
}

static json_t *own_groups(struct look *l)
{
	json_t *assets, *asset, *all = json_array(), *groups;
	size_t i;

	if (*l->asset) {
		groups = coordinator_groups(l->p->coordinator, l->asset);
		json_array_extend(all, groups);
		json_decref(groups);
		return all;
	}
	assets = own_assets(l->p);
	json_array_foreach (assets, i, asset) {
		groups = coordinator_groups(l->p->coordinator, json_string_value(json_object_get(asset, "asset")));
		json_array_extend(all, groups);
		json_decref(groups);
	}
	json_decref(assets);
	return all;
}

static double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

/* What "top" sorts by; the viewer's own word, but for uplinks, which receivers confirm. */
static double weight_of(const json_t *viewer, const char *by)
{
	if (!strcmp(by, "down"))
		return number(viewer, "down_server") + number(viewer, "down_peers");
	return number(viewer, by);
}

struct ranked {
	json_t *viewer;
	double weight;
};

static int heaviest_first(const void *a, const void *b)
{
	double x = ((const struct ranked *)a)->weight, y = ((const struct ranked *)b)->weight;

	return x < y ? 1 : x > y ? -1 : 0;
}

static json_t *top_of(json_t *viewers, const char *by, size_t max)
{
	size_t n = json_array_size(viewers);
	struct ranked *all = calloc(n + 1, sizeof(*all));
	json_t *out = json_array();

	for (size_t i = 0; all && i < n; i++)
		all[i] = (struct ranked){ json_array_get(viewers, i), weight_of(json_array_get(viewers, i), by) };
	if (all && n)
		qsort(all, n, sizeof(*all), heaviest_first);
	for (size_t i = 0; all && i < n && i < max; i++)
		json_array_append(out, all[i].viewer);
	free(all);
	return out;
}

/* Viewers of all groupings, with where they are. */
static json_t *own_top(struct look *l)
{
	json_t *groups = own_groups(l), *group, *all = json_array(), *viewer, *top;
	size_t i, k;

	json_array_foreach (groups, i, group)
		json_array_foreach (json_object_get(group, "viewers"), k, viewer) {
			json_t *one = json_copy(viewer);

			json_object_set(one, "asset", json_object_get(group, "asset"));
			json_object_set(one, "grouping", json_object_get(group, "grouping"));
			json_array_append_new(all, one);
		}
	json_decref(groups);
	top = top_of(all, l->by, l->max);
	json_decref(all);
	return top;
}

static json_t *own(struct look *l)
{
	return l->kind == ASSETS ? own_assets(l->p) : l->kind == GROUPS ? own_groups(l) : own_top(l);
}

/* ---- the others' ---- */

static void ask(struct look *l, const char *node, const char *inside)
{
	const char *const headers[] = { l->credentials, NULL };
	struct httpc_call call = { .headers = headers, .timeout_ms = ASK_MS, .body_max = ANSWER_MAX };
	struct httpc_answer answer = { 0 };
	json_t *value = NULL, *list;
	char *asset = http_percent_encode(l->asset, true), *url = NULL;

	if (inside && asset &&
	    asprintf(&url, "%s%s?max=%zu%s%s%s%s", inside, paths[l->kind], l->max, *asset ? "&asset=" : "", asset,
		     *l->by ? "&by=" : "", l->by) >= 0) {
		call.url = url;
		if (!httpc_do(l->p->opt.client, &call, &answer) && answer.status == 200)
			value = json_loadb(answer.body ? answer.body : "", answer.len, 0, NULL);
	}
	list = json_is_array(value) ? value : json_object_get(value, "assets");
	if (json_is_array(list))
		json_array_extend(l->found, list);
	else
		json_array_append_new(l->silent, json_pack("{s:s, s:s}", "node", node, "why",
							   !inside	 ? "it has no inside listener (gateway.inside)" :
							   *answer.error ? answer.error :
									   "it did not say"));
	json_decref(value);
	httpc_answer_free(&answer);
	free(asset);
	free(url);
}

static void ask_others(struct look *l)
{
	json_t *gateways = l->p->opt.gateways(l->p->opt.arg), *gateway;
	size_t i;

	json_array_foreach (gateways, i, gateway) {
		const char *node = json_string_value(json_object_get(gateway, "node"));

		if (node && strcmp(node, l->p->node))
			ask(l, node, json_string_value(json_object_get(gateway, "inside")));
	}
	json_decref(gateways);
}

/* ---- the answer ---- */

static void say_silent(struct http_req *req, const json_t *silent)
{
	const json_t *one;
	char text[1024];
	size_t n = 0, i;

	json_array_foreach (silent, i, one) {
		int k = snprintf(text + n, sizeof(text) - n, "%s%s", n ? "," : "", json_string_value(json_object_get(one, "node")));

		if (k < 0 || (size_t)k >= sizeof(text) - n)
			break;
		n += (size_t)k;
	}
	if (n)
		http_add_header(req, "X-Weir-Silent", text);
}

static void reply(struct http_req *req, struct look *l)
{
	if (l->kind == ASSETS) {
		struct home_counts here;

		home_counts(l->p->home, &here);
		http_reply_json(req, 200, json_pack("{s:O, s:O, s:{s:s, s:i, s:i, s:i}}", "assets", l->found, "silent", l->silent, "here",
						    "node", l->p->node, "viewers", (int)here.viewers, "sockets", (int)here.sockets,
						    "streams", (int)here.streams));
		return;
	}
	if (l->kind == TOP) {
		json_t *top = top_of(l->found, l->by, l->max);

		json_decref(l->found);
		l->found = top;
	}
	say_silent(req, l->silent);
	http_reply_json(req, 200, json_incref(l->found));
}

static void look_work(struct http_req *req, void *arg)
{
	struct look *l = arg;

	l->found = own(l);
	l->silent = json_array();
	if (l->credentials)
		ask_others(l);
	if (l->found && l->silent)
		reply(req, l);
	else
		http_reply_error(req, 500, "memory", "out of memory");
	look_free(l);
}

/* asset, by and max of the query. False: 400 was answered. */
static bool query_read(struct http_req *req, struct look *l)
{
	const char *asset = http_query(req, "asset"), *by = http_query(req, "by"), *max = http_query(req, "max");
	unsigned long n = max ? strtoul(max, NULL, 10) : TOP_DEFAULT;

	l->max = n < 1 ? TOP_DEFAULT : n > TOP_MAX ? TOP_MAX : n;
	if (asset && strlen(asset) >= sizeof(l->asset)) {
		http_reply_error(req, 400, "asset", "that is no asset's name (BUCKET/ASSET)");
		return false;
	}
	snprintf(l->asset, sizeof(l->asset), "%s", asset ? asset : "");
	if (l->kind == TOP)
		snprintf(l->by, sizeof(l->by), "%s", by ? by : "up");
	if (l->kind == TOP && (!by || strlen(by) < sizeof(l->by)) && (!strcmp(l->by, "up") || !strcmp(l->by, "down") || !strcmp(l->by, "stalls")))
		return true;
	if (l->kind == TOP)
		http_reply_error(req, 400, "by", "by is up, down or stalls");
	return l->kind != TOP;
}

static enum http_next show(struct http_req *req, struct peers *p, enum kind kind, bool all)
{
	struct token_scope who;
	enum http_next next;
	struct look *l;

	http_add_header(req, "Cache-Control", "no-store");
	if (!access_check(req, p->opt.users, RIGHT_ADMIN, NULL, NULL, &who))
		return HTTP_ANSWERED;
	l = calloc(1, sizeof(*l));
	if (!l)
		return http_reply_error(req, 500, "memory", "out of memory");
	l->p = p;
	l->kind = kind;
	if (++p->looking > LOOKS_MAX) {
		look_free(l);
		http_add_header(req, "Retry-After", "1");
		return http_reply_error(req, 503, "busy", "others look at the groups at this moment; try again");
	}
	if (!query_read(req, l)) {
		look_free(l);
		return HTTP_ANSWERED;
	}
	l->credentials = all ? access_credentials(req) : NULL;
	next = http_work(req, look_work, l);
	if (next == HTTP_ANSWERED)
		look_free(l);
	return next;
}

enum http_next peers_show(struct http_req *req, void *arg)
{
	return show(req, arg, ASSETS, true);
}

enum http_next peers_show_groups(struct http_req *req, void *arg)
{
	return show(req, arg, GROUPS, true);
}

enum http_next peers_show_top(struct http_req *req, void *arg)
{
	return show(req, arg, TOP, true);
}

enum http_next peers_inside_show(struct http_req *req, void *arg)
{
	return show(req, arg, ASSETS, false);
}

enum http_next peers_inside_groups(struct http_req *req, void *arg)
{
	return show(req, arg, GROUPS, false);
}

enum http_next peers_inside_top(struct http_req *req, void *arg)
{
	return show(req, arg, TOP, false);
}
