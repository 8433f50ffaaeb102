/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c -- see view.h.
 *
 * Watches' threads write JSON objects (key → value), one for each prefix, and rebuild the ranked
 * list when it depends on what changed; request threads read the list. Both under one lock: a pick
 * copies two strings.
 */
#include "http/gateway/view.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/tunnels.h"

#define ENDPOINTS_MAX 1024

#define REVISION "_revision" /* of a tunnel's key, beside its members */

enum { MEMBERS, RATES, DRAIN, TUNNELS, ATTACHMENTS, PUBLISHED, PREFIXES };
static const char *const prefixes[PREFIXES] = { REG_MEMBERS, REG_RATES,	      REG_DRAIN,
						REG_TUNNELS, REG_ATTACHMENTS, REG_PUBLISHED };

struct source {
	struct view *view;
	int which;
	struct reg_watch *watch;
};

struct view {
	pthread_mutex_t lock;
	json_t *known[PREFIXES]; /* rest of the key → value */
	struct source sources[PREFIXES];
	const struct conf *conf;
	struct rank_endpoint *ranked;
	size_t nranked;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* The published rate of a node relative to its service's mean; false when no service measures it.
 */
static bool weight_of(const struct view *view, const char *node, double *weight)
{
	for (size_t s = 0; s < view->conf->gateway.redirect.nservices; s++) {
		const json_t *published = json_object_get(view->known[RATES],
							  view->conf->gateway.redirect.services[s]);
		const json_t *rates = json_object_get(published, "rates"), *pair;
		double sum = 0, mine = -1;
		size_t i;

		json_array_foreach (rates, i, pair) {
			double rate = json_number_value(json_array_get(pair, 1));
			const char *name = json_string_value(json_array_get(pair, 0));

			sum += rate;
			if (name && !strcmp(name, node))
				mine = rate;
		}
		if (mine >= 0) {
			*weight = sum > 0 ? mine * (double)json_array_size(rates) / sum : 0;
			return true;
		}
	}
	return false;
}

/* Called with the lock held. */
static void rebuild(struct view *view)
{
	struct rank_endpoint *list = calloc(ENDPOINTS_MAX, sizeof(*list));
	const char *key;
	json_t *member;
	size_t n = 0;

	if (!list)
		return;
	json_object_foreach (view->known[MEMBERS], key, member) {
		struct rank_endpoint *e = &list[n];

		if (strncmp(key, "endpoint/", 9) || !*text_of(member, "url") || n == ENDPOINTS_MAX)
			continue;
		snprintf(e->node, sizeof(e->node), "%s", text_of(member, "node"));
		snprintf(e->site, sizeof(e->site), "%s", text_of(member, "site"));
		snprintf(e->url, sizeof(e->url), "%s", text_of(member, "url"));
		if (*text_of(member, "inside"))
			snprintf(e->inside, sizeof(e->inside), "%s://%s", json_is_true(json_object_get(member, "tls")) ? "https" : "http",
				 text_of(member, "inside"));
		e->draining = json_object_get(view->known[DRAIN], e->node) != NULL;
		e->weight = 1;
		e->measured = weight_of(view, e->node, &e->weight);
		n++;
	}
	rank_sort(list, n, view->conf->site);
	free(view->ranked);
	view->ranked = list;
	view->nranked = n;
}

static void changed(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct source *source = arg;
	struct view *view = source->view;
	const char *rest = kv ? kv->key + strlen(prefixes[source->which]) : NULL;

	pthread_mutex_lock(&view->lock);
	if (event == REG_PUT) {
		json_t *value = json_loadb(kv->value, kv->value_len, 0, NULL);

		if (json_is_object(value) && source->which == TUNNELS) {
			json_object_del(value, "enroll");
			json_object_set_new(value, REVISION, json_integer(kv->mod_revision));
		}
		if (json_is_object(value))
			json_object_set(view->known[source->which], rest, value);
		else
			log_limited(LOG_LEVEL_WARN, 6,
				    "the registry's %s is not a JSON object; it is ignored",
				    kv->key);
		json_decref(value);
	} else if (event == REG_DELETE) {
		json_object_del(view->known[source->which], rest);
	}
	if (source->which <= DRAIN)
		rebuild(view);
	pthread_mutex_unlock(&view->lock);
}

int view_open(struct view **out, struct registry *reg, const struct conf *conf)
{
	struct view *view = calloc(1, sizeof(*view));
	int rc = 0;

	if (!view)
		return -ENOMEM;
	pthread_mutex_init(&view->lock, NULL);
	view->conf = conf;
	for (int i = 0; i < PREFIXES; i++)
		view->known[i] = json_object();
	for (int i = 0; i < PREFIXES && !rc; i++) {
		view->sources[i] = (struct source){ .view = view, .which = i };
		rc = registry_watch(reg, &view->sources[i].watch, prefixes[i], changed,
				    &view->sources[i]);
	}
	if (rc) {
		view_close(view);
		return rc;
	}
	*out = view;
	return 0;
}

void view_close(struct view *view)
{
	if (!view)
		return;
	for (int i = 0; i < PREFIXES; i++)
		registry_unwatch(view->sources[i].watch);
	for (int i = 0; i < PREFIXES; i++)
		json_decref(view->known[i]);
	free(view->ranked);
	pthread_mutex_destroy(&view->lock);
	free(view);
}

void view_configure(struct view *view, const struct conf *conf)
{
	pthread_mutex_lock(&view->lock);
	view->conf = conf;
	rebuild(view);
	pthread_mutex_unlock(&view->lock);
}

int view_pick(struct view *view, double u, char url[256], char node[64])
{
	const struct rank_endpoint *best;
	int rc = -ENOENT;

	pthread_mutex_lock(&view->lock);
	best = rank_pick(view->ranked, view->nranked, view->conf->gateway.redirect.top, u);
	if (best) {
		memcpy(url, best->url, sizeof(best->url));
		memcpy(node, best->node, sizeof(best->node));
		rc = 0;
	}
	pthread_mutex_unlock(&view->lock);
	return rc;
}

static bool is_tried(const struct rank_endpoint *e, char (*tried)[64], size_t ntried)
{
	for (size_t i = 0; i < ntried; i++)
		if (!strcmp(e->node, tried[i]))
			return true;
	return false;
}

/* Under the lock: those that are left, ranked as they were; malloc'ed. */
static struct rank_endpoint *left_over(const struct view *view, char (*tried)[64], size_t ntried, size_t *n)
{
	struct rank_endpoint *list = calloc(view->nranked + 1, sizeof(*list));

	*n = 0;
	for (size_t i = 0; list && i < view->nranked; i++)
		if (view->ranked[i].inside[0] && !is_tried(&view->ranked[i], tried, ntried))
			list[(*n)++] = view->ranked[i];
	return list;
}

int view_pick_inside(struct view *view, double u, char (*tried)[64], size_t ntried, char base[256], char node[64])
{
	const struct rank_endpoint *best;
	struct rank_endpoint *left = NULL;
	int rc = -ENOENT;
	size_t n;

	pthread_mutex_lock(&view->lock);
	best = rank_pick(view->ranked, view->nranked, view->conf->gateway.redirect.top, u);
	if (best && (ntried || !best->inside[0])) { /* the list is copied only then */
		left = left_over(view, tried, ntried, &n);
		best = left ? rank_pick(left, n, view->conf->gateway.redirect.top, u) : NULL;
	}
	if (best) {
		memcpy(base, best->inside, sizeof(best->inside));
		memcpy(node, best->node, sizeof(best->node));
		rc = 0;
	}
	pthread_mutex_unlock(&view->lock);
	free(left);
	return rc;
}

json_t *view_endpoints(struct view *view)
{
	json_t *list = json_array();

	pthread_mutex_lock(&view->lock);
	for (size_t i = 0; i < view->nranked; i++) {
		const struct rank_endpoint *e = &view->ranked[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:f, s:s}", "node",
						      e->node, "site", e->site, "url", e->url, "up",
						      !e->why, "weight", e->weight, "why",
						      e->why	    ? e->why
						      : e->measured ? ""
								    : "not measured"));
	}
	pthread_mutex_unlock(&view->lock);
	return list;
}

json_t *view_members(struct view *view)
{
	json_t *list = json_array(), *member;
	const char *key;

	pthread_mutex_lock(&view->lock);
	json_object_foreach (view->known[MEMBERS], key, member)
		json_array_append_new(list, json_deep_copy(member));
	pthread_mutex_unlock(&view->lock);
	return list;
}

/* Held: {edge → attachment} of a tunnel that count, into o with the tunnel's state. */
static void add_attachments(const struct view *view, json_t *o, const char *name)
{
	json_int_t generation = json_integer_value(json_object_get(o, "generation"));
	json_t *list = json_array(), *value;
	size_t len = strlen(name), up = 0;
	const char *key;

	json_object_foreach (view->known[ATTACHMENTS], key, value) {
		bool same = json_integer_value(json_object_get(value, "generation")) == generation;
		bool draining = json_is_true(json_object_get(value, "draining"));
		json_t *a;

		if (strncmp(key, name, len) || key[len] != '/')
			continue;
		a = json_pack("{s:s, s:b, s:b, s:s}", "edge", key + len + 1, "up",
			      same && !draining, "draining", same && draining, "why",
			      same ? "" : "of an older generation");
		json_object_update(a, value);
		json_array_append_new(list, a);
		up += same && !draining;
	}
	json_object_set_new(o, "up", json_boolean(up > 0));
	json_object_set_new(o, "attachments", list);
}

json_t *view_tunnels(struct view *view)
{
	static const char *const shown[] = { "name",	 "owner",      "hostnames", "address",
					     "address6", "generation", "ports",	    "created" };
	json_t *list = json_array(), *value;
	const char *name;

	pthread_mutex_lock(&view->lock);
	json_object_foreach (view->known[TUNNELS], name, value) {
		const json_t *published = json_object_get(view->known[PUBLISHED], name);
		bool is_new = json_integer_value(json_object_get(published, "revision")) <
			      json_integer_value(json_object_get(value, REVISION));
		json_t *o = json_object();

		for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
			json_object_set_new(o, shown[i],
					    json_deep_copy(json_object_get(value, shown[i])));
		json_object_set_new(o, "published", json_boolean(published && !is_new));
		json_object_set_new(o, "silent",
				    json_deep_copy(json_object_get(published, "silent")));
		add_attachments(view, o, name);
		json_array_append_new(list, o);
	}
	pthread_mutex_unlock(&view->lock);
	return list;
}
