/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neighbours.c -- what the peers service asks of the installation: which endpoints live of those that were there, which
 * gateways there are and where browsers find them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/gateway/neighbours.h"

#define SEEN_MAX     1024
#define FORGET_AFTER 600 /* s: an endpoint that was away so long, while others live, was taken away */

struct neighbours {
	pthread_mutex_t lock;
	json_t *seen; /* node → when (CLOCK_BOOTTIME, s) it was last alive */
};

static json_int_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (json_int_t)ts.tv_sec;
}

int neighbours_new(struct neighbours **out)
{
	struct neighbours *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	n->seen = json_object();
	*out = n;
	return 0;
}

void neighbours_free(struct neighbours *n)
{
	if (!n)
		return;
	json_decref(n->seen);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* Under the lock. */
static void forget(struct neighbours *n, json_int_t now)
{
	const char *node;
	json_t *when;
	void *next;

	json_object_foreach_safe (n->seen, next, node, when)
		if (now - json_integer_value(when) > FORGET_AFTER)
			json_object_del(n->seen, node);
}

void neighbours_endpoints(struct neighbours *n, struct view *view, unsigned int *alive, unsigned int *known)
{
	json_t *list = view_endpoints(view), *endpoint;
	json_int_t now = now_s();
	size_t i;

	*alive = 0;
	pthread_mutex_lock(&n->lock);
	json_array_foreach (list, i, endpoint) {
		const char *node = json_string_value(json_object_get(endpoint, "node"));
		const char *why = json_string_value(json_object_get(endpoint, "why"));
		bool up = json_is_true(json_object_get(endpoint, "up"));

		*alive += up;
		if (node && up && (json_object_get(n->seen, node) || json_object_size(n->seen) < SEEN_MAX))
			json_object_set_new(n->seen, node, json_integer(now));
		else if (node && why && !strcmp(why, "draining"))
			json_object_del(n->seen, node); /* nobody misses it; one without weight is missed: it is unhealthy */
	}
	if (*alive)
		forget(n, now);
	*known = (unsigned int)json_object_size(n->seen);
	pthread_mutex_unlock(&n->lock);
	json_decref(list);
}

json_t *neighbours_gateways(struct view *view)
{
	json_t *members = view_members(view), *member, *out = json_array();
	size_t i;

	json_array_foreach (members, i, member) {
		const char *role = json_string_value(json_object_get(member, "role"));
		const char *node = json_string_value(json_object_get(member, "node"));
		const char *at = json_string_value(json_object_get(member, "inside"));
		const char *scheme = json_is_true(json_object_get(member, "tls")) ? "https" : "http";
		json_t *urls = json_object_get(member, "public");

		if (role && node && !strcmp(role, "gateway"))
			json_array_append_new(out, json_pack("{s:s, s:o, s:o}", "node", node, "inside",
							     at ? json_sprintf("%s://%s", scheme, at) : json_null(), "public",
							     json_is_array(urls) ? json_incref(urls) : json_array()));
	}
	json_decref(members);
	return out;
}

static bool is_wildcard(const struct addr *a)
{
	static const uint8_t none[16];

	return !memcmp(a->bytes, none, a->family == AF_INET6 ? 16 : 4);
}

static void add_listeners(json_t *urls, const struct conf_gateway *g)
{
	char at[ADDR_PORT_STRLEN];

	for (size_t i = 0; i < g->nlisten; i++)
		if (!*g->listen[i].path && !is_wildcard(&g->listen[i].addr))
			json_array_append_new(urls, json_sprintf("http://%s", addr_port_format(&g->listen[i], at, sizeof(at))));
}

/* Scheme, host and port alone. */
static bool is_origin(const char *url)
{
	const char *rest = url ? strstr(url, "//") : NULL;

	return rest && !strchr(rest + 2, '/');
}

char *neighbours_announcement(const struct conf *conf)
{
	json_t *urls = json_array(), *o = json_pack("{s:o}", "public", urls);
	char *text;

	for (size_t i = 0; i < conf->gateway.peers.nurls; i++)
		json_array_append_new(urls, json_string(conf->gateway.peers.urls[i]));
	if (!json_array_size(urls))
		add_listeners(urls, &conf->gateway);
	if (!json_array_size(urls) && is_origin(conf->identity.url))
		json_array_append_new(urls, json_string(conf->identity.url));
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}
